/* SPDX-License-Identifier: MIT */
/**
 * weir/metrics.h - Numbers about a running host: counters, gauges, histograms.
 *
 * A registry holds named metrics. Each thread that counts has cells of its own;
 * counting is one relaxed add to such a cell, without a lock, a locked
 * instruction or a line shared with another thread. Reading adds the cells of
 * all threads, those that have ended included: a thread that starts takes over
 * the cells of one that ended, with what is in them, so nothing is lost and
 * memory is bounded by the number of threads that live at one time.
 *
 * What a reader may rely on: every add that happened before the read is in it;
 * a counter never goes back; the count of a histogram is the sum of its buckets
 * as they were read, so the two never contradict each other. Different metrics
 * are read one after the other, not at one instant.
 *
 * A name is [a-z][a-z0-9_]*, and when the metric has a unit the name ends in it:
 * "weir_io_read_bytes", "bytes". A counter's name does not end in "_total"; the
 * text export puts that there.
 */
#ifndef WEIR_METRICS_H
#define WEIR_METRICS_H

#include <stdbool.h>

#include <weir/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir_metrics;

/**
 * enum weir_metric_kind - What the number of a metric means.
 * @WEIR_METRIC_COUNTER:   Only grows.
 * @WEIR_METRIC_GAUGE:     A level: goes up and down, or is set.
 * @WEIR_METRIC_HISTOGRAM: How often which values were observed.
 *
 * Since: 0.1
 */
enum weir_metric_kind {
	WEIR_METRIC_COUNTER = 1,
	WEIR_METRIC_GAUGE = 2,
	WEIR_METRIC_HISTOGRAM = 3,
};

/* The most metrics of one registry, and the most registries open at once. */
#define WEIR_METRICS_MAX	    16384u
#define WEIR_METRICS_REGISTRIES_MAX 16u

/**
 * struct weir_metric_desc - One metric as it is registered.
 * @kind: One of enum weir_metric_kind.
 * @name: See the rules at the top of this file.
 * @unit: "bytes", "seconds", ... or "" for plain counts. Never NULL.
 * @help: One line of meaning. Never NULL.
 *
 * The texts are copied.
 *
 * Since: 0.1
 */
struct weir_metric_desc {
	int kind;
	const char *name;
	const char *unit;
	const char *help;
};

/*
 * Histograms are log-linear: values below 64 have a bucket each, above that every
 * octave has 32, so the middle of a bucket is within 1.6 % of what was observed.
 */
#define WEIR_HISTOGRAM_BUCKETS 1920u

/**
 * struct weir_histogram - A histogram as it was read.
 * @count:   Observations: the sum of @buckets, always.
 * @sum:     Of the values observed. May trail @count by what was being observed
 *           while it was read.
 * @buckets: Observations in each; weir_histogram_bound() gives the bounds.
 *
 * Since: 0.1
 */
struct weir_histogram {
	uint64_t count;
	uint64_t sum;
	uint64_t buckets[WEIR_HISTOGRAM_BUCKETS];
};

/**
 * struct weir_metric - One metric as weir_metrics_for_each() shows it.
 * @id:    As returned by registration.
 * @kind:  One of enum weir_metric_kind.
 * @name:  Valid until the registry is closed, as @unit and @help.
 * @unit:  "" when there is none.
 * @help:  One line.
 * @value: Of a counter or gauge; for a histogram its count.
 * @sum:   Of a histogram's values; else 0.
 * @p50:   Quantiles of a histogram, within 1.6 %; else 0.
 * @p90:   Likewise.
 * @p99:   Likewise.
 * @max:   Upper bound of the highest bucket in use; else 0.
 *
 * Since: 0.1
 */
struct weir_metric {
	uint32_t id;
	int kind;
	const char *name;
	const char *unit;
	const char *help;
	int64_t value;
	uint64_t sum;
	uint64_t p50;
	uint64_t p90;
	uint64_t p99;
	uint64_t max;
};

/**
 * weir_metrics_open() - Make an empty registry.
 * @ret: The registry.
 *
 * Context: Any thread. Takes METRICS.
 * Owner:   The caller, until weir_metrics_close().
 * Return:  0, -ENOSPC (WEIR_METRICS_REGISTRIES_MAX are open), -ENOMEM.
 * Since:   0.1
 */
WEIR_API int weir_metrics_open(struct weir_metrics **ret) WEIR_MUST_CHECK;

/**
 * weir_metrics_close() - Give a registry back with all its cells.
 * @metrics: Registry or NULL. Nobody uses it any more, in any thread; threads that
 *           did may still be alive and may end at any time.
 *
 * Context: Any thread. Takes METRICS.
 * Since:   0.1
 */
WEIR_API void weir_metrics_close(struct weir_metrics *metrics);

/**
 * weir_metrics_register() - Register a metric, or find it again.
 * @metrics: Registry.
 * @desc:    The metric.
 * @ret:     Its id. The same for all who register the same name and kind.
 *
 * Context: Any thread. Takes METRICS.
 * Return:  0, -EINVAL (kind, name or unit against the rules), -EEXIST (the name
 *          stands for another kind or unit), -ENOSPC (WEIR_METRICS_MAX reached), -ENOMEM.
 * Since:   0.1
 */
WEIR_API int weir_metrics_register(struct weir_metrics *metrics,
				   const struct weir_metric_desc *desc,
				   uint32_t *ret) WEIR_MUST_CHECK;

/**
 * weir_metrics_register_read() - Register a number that somebody else keeps.
 * @metrics: Registry.
 * @desc:    The metric: a counter or a gauge.
 * @read:    Gives its value. Called on the reader's thread, by several at once.
 * @arg:     Passed to @read; lives until the registry is closed.
 * @ret:     Its id. Adding to it has no effect.
 *
 * Context: Any thread. Takes METRICS, but not around @read.
 * Return:  As weir_metrics_register(), and -EEXIST for every name that is taken.
 * Since:   0.1
 */
WEIR_API int weir_metrics_register_read(struct weir_metrics *metrics,
					const struct weir_metric_desc *desc,
					int64_t (*read)(void *arg), void *arg,
					uint32_t *ret) WEIR_MUST_CHECK;

/**
 * weir_metrics_add() - Add to a counter, or move a gauge.
 * @metrics: Registry; NULL does nothing.
 * @id:      Of a counter or gauge; others have no effect.
 * @delta:   How much. Never negative for a counter.
 *
 * Context: Any thread, not a signal handler. Takes no lock, except METRICS when a
 *          thread counts for the first time in this registry. Does not block.
 * Cost:    A few nanoseconds. When there is no memory for a thread's cells the add
 *          goes to a shared cell: slower, and not lost.
 * Since:   0.1
 */
WEIR_API void weir_metrics_add(struct weir_metrics *metrics, uint32_t id, int64_t delta);

/**
 * weir_metrics_set() - Set a gauge.
 * @metrics: Registry; NULL does nothing.
 * @id:      Of a gauge; others have no effect.
 * @value:   What it is now. Adds that happened before are covered by it.
 *
 * Context: Any thread, not a signal handler. Takes no lock.
 * Cost:    A relaxed store; for a gauge that is also added to, a read of all cells.
 * Since:   0.1
 */
WEIR_API void weir_metrics_set(struct weir_metrics *metrics, uint32_t id, int64_t value);

/**
 * weir_metrics_observe() - Count a value in a histogram.
 * @metrics: Registry; NULL does nothing.
 * @id:      Of a histogram; others have no effect.
 * @value:   What was observed, in the metric's unit.
 *
 * Context: As weir_metrics_add().
 * Cost:    Two adds. When there is no memory for the bucket the observation is
 *          dropped, and counted by weir_metrics_dropped().
 * Since:   0.1
 */
WEIR_API void weir_metrics_observe(struct weir_metrics *metrics, uint32_t id, uint64_t value);

/**
 * weir_metrics_read_sum() - The exact value of a metric.
 * @metrics: Registry.
 * @id:      Of a counter or gauge; for a histogram it gives the count.
 * @ret:     The value.
 *
 * Context: Any thread. Takes no lock.
 * Cost:    One load per thread that counts at one time.
 * Return:  0, -ENOENT (no such id).
 * Since:   0.1
 */
WEIR_API int weir_metrics_read_sum(struct weir_metrics *metrics, uint32_t id,
				   int64_t *ret) WEIR_MUST_CHECK;

/**
 * weir_metrics_read_approx() - The value that the last exact read of a metric gave.
 * @metrics: Registry.
 * @id:      As for weir_metrics_read_sum().
 * @ret:     The value; 0 when there was no exact read yet. weir_metrics_for_each()
 *           and weir_metrics_export() read exactly.
 *
 * Context: Any thread. Takes no lock.
 * Cost:    One load.
 * Return:  0, -ENOENT (no such id).
 * Since:   0.1
 */
WEIR_API int weir_metrics_read_approx(struct weir_metrics *metrics, uint32_t id,
				      int64_t *ret) WEIR_MUST_CHECK;

/**
 * weir_metrics_read_histogram() - All buckets of a histogram.
 * @metrics: Registry.
 * @id:      Of a histogram.
 * @ret:     The histogram.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -ENOENT (no such id), -EINVAL (not a histogram).
 * Since:   0.1
 */
WEIR_API int weir_metrics_read_histogram(struct weir_metrics *metrics, uint32_t id,
					 struct weir_histogram *ret) WEIR_MUST_CHECK;

/**
 * weir_histogram_bound() - The largest value that a bucket counts.
 * @bucket: Below WEIR_HISTOGRAM_BUCKETS. Its smallest value is one above the bound
 *          of the bucket before it.
 *
 * Context: Any thread. Takes no lock.
 * Return:  The bound; UINT64_MAX for the last bucket and beyond.
 * Since:   0.1
 */
WEIR_API uint64_t weir_histogram_bound(uint32_t bucket);

/**
 * weir_histogram_quantile() - The value below which a share of the observations lies.
 * @histogram: As it was read.
 * @q:         The share, 0 to 1; outside of that it is brought inside.
 *
 * Context: Any thread. Takes no lock.
 * Return:  The value within 1.6 %, exact below 64; 0 when nothing was observed.
 * Since:   0.1
 */
WEIR_API uint64_t weir_histogram_quantile(const struct weir_histogram *histogram, double q);

/**
 * weir_metrics_find() - The id of a name.
 * @metrics: Registry.
 * @name:    As registered.
 * @ret:     The id.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -ENOENT.
 * Since:   0.1
 */
WEIR_API int weir_metrics_find(struct weir_metrics *metrics, const char *name,
			       uint32_t *ret) WEIR_MUST_CHECK;

/**
 * weir_metrics_for_each() - Show every metric to a function, in order of registration.
 * @metrics: Registry.
 * @fn:      Called once per metric; @metric is valid during the call. Another value
 *           than 0 ends the walk. May register, count and read.
 * @arg:     Passed to @fn.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, or what @fn returned to end the walk.
 * Since:   0.1
 */
WEIR_API int weir_metrics_for_each(struct weir_metrics *metrics,
				   int (*fn)(void *arg, const struct weir_metric *metric),
				   void *arg) WEIR_MUST_CHECK;

/**
 * enum weir_metrics_format - Texts that weir_metrics_export() can write.
 * @WEIR_METRICS_OPENMETRICS: OpenMetrics 1.0, which Prometheus reads.
 * @WEIR_METRICS_JSON:        {"metrics": [{name, kind, unit, help, value}, ...]}; a
 *                            histogram has count, sum, p50, p90, p99, max for value.
 *
 * Since: 0.1
 */
enum weir_metrics_format {
	WEIR_METRICS_OPENMETRICS = 1,
	WEIR_METRICS_JSON = 2,
};

/**
 * weir_metrics_export() - Write all metrics as text.
 * @metrics: Registry.
 * @format:  One of enum weir_metrics_format.
 * @write:   Called with pieces of the text, in order; not NUL-terminated. Another
 *           value than 0 ends the export.
 * @arg:     Passed to @write.
 *
 * Context: Any thread. Takes no lock. Allocates nothing.
 * Return:  0, -EINVAL (no such format), or what @write returned to end it.
 * Since:   0.1
 */
WEIR_API int weir_metrics_export(struct weir_metrics *metrics, int format,
				 int (*write)(void *arg, const char *text, size_t bytes),
				 void *arg) WEIR_MUST_CHECK;

/**
 * weir_metrics_dropped() - Observations lost for want of memory.
 * @metrics: Registry.
 *
 * Context: Any thread. Takes no lock.
 * Return:  How many since the registry was opened; 0 unless memory ran out.
 * Since:   0.1
 */
WEIR_API uint64_t weir_metrics_dropped(struct weir_metrics *metrics);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_METRICS_H */
