/* SPDX-License-Identifier: MIT */
/**
 * weir/metrics_sample.h - Numbers by name: checked, queued, remembered, tracked.
 *
 * A sample is a name, labels, a value and a time. Taking one finds or registers the
 * series, applies the rules, counts the value and remembers the sample in a buffer. That
 * costs some hundred nanoseconds; code that counts often registers once and uses
 * weir_metrics_add() with the id.
 *
 * A sample that is in the buffer is in the value, and the other way round, for every
 * reader; one that waits in the queue is in neither.
 */
#ifndef WEIR_METRICS_SAMPLE_H
#define WEIR_METRICS_SAMPLE_H

#include <weir/metrics.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The time of a sample: when it is taken. 0 is 1970, not now. */
#define WEIR_TIME_NOW UINT64_MAX

/* What name, unit, help and labels of a queued sample may have together, in bytes. */
#define WEIR_QUEUED_BYTES_MAX 384u

/**
 * struct weir_label - A label with its value.
 * @name:  By the rules of weir_metrics_register_labels().
 * @value: By the rules of weir_metrics_series().
 *
 * Since: 0.1
 */
struct weir_label {
	const char *name;
	const char *value;
};

/**
 * struct weir_sample - One number by name.
 * @name:      By the rules at the top of weir/metrics.h.
 * @unit:      NULL means "".
 * @help:      NULL means "". Used when the name is new.
 * @labels:    In any order; NULL when @nr_labels is 0.
 * @value:     Finite. A counter is added to: an integer, not negative. A gauge is set, to the
 *             nearest integer; a FLOAT is set. A histogram and a summary observe the nearest
 *             integer, not negative.
 * @time_ms:   Unix milliseconds, or WEIR_TIME_NOW.
 * @kind:      One of enum weir_metric_kind.
 * @nr_labels: At most WEIR_METRICS_LABELS_MAX.
 *
 * Since: 0.1
 */
struct weir_sample {
	const char *name;
	const char *unit;
	const char *help;
	const struct weir_label *labels;
	double value;
	uint64_t time_ms;
	int kind;
	uint32_t nr_labels;
};

/**
 * weir_metrics_rule() - Have the values of a name checked.
 * @metrics: Registry.
 * @name:    By the rules; need not be registered yet. A name has any number of rules.
 * @accept:  Called with each value that arrives by this name, labels or not, before it is
 *           counted, on the thread that brings it, and for a queued one on the thread that
 *           queues it. False refuses it. Takes its time out of that of the caller.
 * @arg:     Passed to @accept; lives until the registry is closed.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -EINVAL (not a name), -ENOMEM.
 * Since:   0.1
 */
WEIR_API int weir_metrics_rule(struct weir_metrics *metrics, const char *name,
			       bool (*accept)(void *arg, double value), void *arg) WEIR_MUST_CHECK;

/**
 * weir_metrics_check() - Whether a sample would be taken.
 * @metrics: Registry.
 * @sample:  The sample; nothing is counted.
 *
 * Context: Any thread. Takes no lock. Calls the rules of the name.
 * Return:  0, -EINVAL (name, unit, labels, kind or value against the rules above), -ERANGE (a
 *          rule refused the value), -EEXIST (the name stands for another kind, unit or labels).
 * Since:   0.1
 */
WEIR_API int weir_metrics_check(struct weir_metrics *metrics,
				const struct weir_sample *sample) WEIR_MUST_CHECK;

/**
 * weir_metrics_put() - Take a sample.
 * @metrics: Registry.
 * @sample:  The sample. Nothing of it is kept but copies.
 *
 * Context: Any thread, holding none of its rules' locks. Takes METRICS_DATA and METRICS.
 * Return:  As weir_metrics_check(), and -ENOSPC (the limit of labels, summaries or series is
 *          reached), -ENOMEM. On failure nothing was counted; refusals are, by
 *          weir_metrics_stats().
 * Since:   0.1
 */
WEIR_API int weir_metrics_put(struct weir_metrics *metrics,
			      const struct weir_sample *sample) WEIR_MUST_CHECK;

/**
 * weir_metrics_queue() - Leave a sample for the collector.
 * @metrics: Registry.
 * @sample:  The sample, which is copied. WEIR_TIME_NOW is the time of this call.
 *
 * The collector takes what waits at each of its rounds. Samples of one thread are taken in
 * their order.
 *
 * Context: Any thread. Does not block and takes no lock; the first call of a registry
 *          allocates the queue.
 * Return:  As weir_metrics_check(), -EAGAIN (the queue is full, which is counted), -E2BIG (texts
 *          above WEIR_QUEUED_BYTES_MAX), -ENOMEM (no queue).
 * Since:   0.1
 */
WEIR_API int weir_metrics_queue(struct weir_metrics *metrics,
				const struct weir_sample *sample) WEIR_MUST_CHECK;

/**
 * weir_metrics_drain() - Take what waits in the queue, now.
 * @metrics: Registry.
 *
 * For hosts without a collector.
 *
 * Context: As weir_metrics_put().
 * Return:  How many left the queue.
 * Since:   0.1
 */
WEIR_API uint64_t weir_metrics_drain(struct weir_metrics *metrics);

/**
 * struct weir_remembered - A sample as it is remembered.
 * @time_ms: When, unix milliseconds.
 * @value:   As it was given.
 * @id:      The series.
 * @kind:    One of enum weir_metric_kind.
 *
 * Since: 0.1
 */
struct weir_remembered {
	uint64_t time_ms;
	double value;
	uint32_t id;
	int kind;
};

/**
 * weir_metrics_recent() - The latest samples by name.
 * @metrics: Registry.
 * @max:     How many at most; 0 gives none.
 * @ret:     Room for @max; the oldest first, the latest last.
 *
 * Context: Any thread. Takes METRICS_DATA.
 * Return:  How many there are in @ret.
 * Since:   0.1
 */
WEIR_API uint32_t weir_metrics_recent(struct weir_metrics *metrics, uint32_t max,
				      struct weir_remembered *ret);

/**
 * enum weir_history_ring - How far apart the points of a history are.
 * @WEIR_HISTORY_1S:  A second, for 2 minutes.
 * @WEIR_HISTORY_10S: Ten seconds, for an hour.
 * @WEIR_HISTORY_60S: A minute, for a day.
 *
 * Since: 0.1
 */
enum weir_history_ring {
	WEIR_HISTORY_1S = 0,
	WEIR_HISTORY_10S = 1,
	WEIR_HISTORY_60S = 2,
};

/* The most points of a ring. */
#define WEIR_HISTORY_POINTS_MAX 1440u

/**
 * struct weir_point - A point of a history.
 * @time_ms: When the collector was there, unix milliseconds.
 * @value:   A counter's value then, a histogram's or summary's count; of a gauge the mean of
 *           what the rounds saw since the point before. NaN: there was no value.
 *
 * Since: 0.1
 */
struct weir_point {
	uint64_t time_ms;
	double value;
};

/**
 * weir_metrics_history() - What a series was.
 * @metrics: Registry.
 * @id:      The series.
 * @ring:    One of enum weir_history_ring.
 * @max:     How many points at most: the latest. 0 gives none.
 * @ret:     Room for @max; the oldest first.
 *
 * Context: Any thread. Takes no lock.
 * Return:  How many there are in @ret; 0 also for a series without history. -ENOENT (no such
 *          id), -EINVAL (no such ring).
 * Since:   0.1
 */
WEIR_API int weir_metrics_history(struct weir_metrics *metrics, uint32_t id, int ring, uint32_t max,
				  struct weir_point *ret) WEIR_MUST_CHECK;

/**
 * struct weir_tracked - What a tracker saw.
 * @start_ns:     weir_tracker_begin(), CLOCK_MONOTONIC.
 * @duration_ns:  From there to weir_tracker_end().
 * @start_bytes:  The process's resident memory then.
 * @delta_bytes:  By how much it grew; negative when it shrank. 0 where /proc cannot be read.
 *
 * Since: 0.1
 */
struct weir_tracked {
	uint64_t start_ns;
	uint64_t duration_ns;
	uint64_t start_bytes;
	int64_t delta_bytes;
};

/* The most trackers of one thread that are begun at one time, and the longest name. */
#define WEIR_TRACKERS_MAX     32u
#define WEIR_TRACKER_NAME_MAX 63u

/**
 * weir_tracker_begin() - Begin to time a piece of work of this thread.
 * @metrics: Registry.
 * @name:    1 to WEIR_TRACKER_NAME_MAX bytes of UTF-8. Pieces nest, also of the same name.
 *
 * Context: Any thread. Takes no lock. Reads /proc/self/statm.
 * Return:  0, -EINVAL (name), -ENOSPC (WEIR_TRACKERS_MAX are begun), -ENOMEM.
 * Since:   0.1
 */
WEIR_API int weir_tracker_begin(struct weir_metrics *metrics, const char *name) WEIR_MUST_CHECK;

/**
 * weir_tracker_end() - End the latest piece of that name that this thread began.
 * @metrics: Registry.
 * @name:    As it was begun.
 * @ret:     What it took; may be NULL.
 *
 * Counted in the summary weir_tracker_duration_ns{name="..."} and the gauge
 * weir_tracker_memory_delta_bytes{name="..."}, while their limits of labels allow. What a
 * thread began and did not end is forgotten when it ends.
 *
 * Context: The thread that began it. Takes METRICS for a new name.
 * Return:  0, -ENOENT (this thread began no such piece).
 * Since:   0.1
 */
WEIR_API int weir_tracker_end(struct weir_metrics *metrics, const char *name,
			      struct weir_tracked *ret) WEIR_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif /* WEIR_METRICS_SAMPLE_H */
