/* SPDX-License-Identifier: MIT */
/**
 * weir/metrics.h - Numbers about a running host: counters, gauges, histograms, summaries.
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
 * A metric with labels is a family of series, one for each set of label values, with a
 * limit: what comes above it is refused and counted. A registry may keep its numbers in
 * a shared-memory segment that other processes map: weir/metrics_segment.h. Numbers by
 * name, with rules, a queue and a buffer: weir/metrics_sample.h. The thread that collects
 * in the background: weir/metrics_system.h.
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
 * @WEIR_METRIC_SUMMARY:   Like a histogram; its quantiles are of the last minute.
 * @WEIR_METRIC_FLOAT:     A gauge that is no integer; it is only set, and may be
 *                         unavailable, which it is until it is set first.
 *
 * Since: 0.1
 */
enum weir_metric_kind {
	WEIR_METRIC_COUNTER = 1,
	WEIR_METRIC_GAUGE = 2,
	WEIR_METRIC_HISTOGRAM = 3,
	WEIR_METRIC_SUMMARY = 4,
	WEIR_METRIC_FLOAT = 5,
};

/* The most series of one registry, and the most registries open at once. */
#define WEIR_METRICS_MAX	    16384u
#define WEIR_METRICS_REGISTRIES_MAX 16u

/* The most summaries of one registry: each keeps a minute, up to 110 KiB. */
#define WEIR_METRICS_SUMMARIES_MAX 256u

/* The most labels of a metric, and the longest label value in bytes. */
#define WEIR_METRICS_LABELS_MAX	     8u
#define WEIR_METRICS_LABEL_BYTES_MAX 128u

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
 * @labels: 'name="value",name="value"' in the order of the names, values escaped with
 *         backslashes as in the text formats; "" when there are none.
 * @number: @value as a floating point number; of a FLOAT the value itself.
 * @available: False for a FLOAT that nobody could measure: @value and @number are 0.
 * @family: The id that stands for all series of this name.
 *
 * A summary has @p50 to @max of the last minute, @value and @sum of all time.
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
	const char *labels;
	double number;
	bool available;
	uint32_t family;
};

/* Keep the numbers in a segment that other processes of this user can map. */
#define WEIR_METRICS_SHARED 1u

/**
 * struct weir_metrics_opts - How a registry is opened; zero means the default.
 * @size:          sizeof(struct weir_metrics_opts).
 * @segment_dir:   Where the segment is made; NULL means WEIR_SEGMENT_DIR.
 * @segment_bytes: The most the segment grows to; 0 means 64 MiB, 4 MiB is the least. Memory
 *                 is taken only for what is used.
 * @flags:         WEIR_METRICS_SHARED or 0.
 * @label_limit:   Series of a metric whose limit nobody states; 0 means 100.
 * @queue_max:     Samples that wait for the collector; 0 means 1,000.
 * @buffer_max:    Samples that are remembered; 0 means 10,000.
 * @history_max:   Series with a history; 0 means 1,000.
 *
 * Since: 0.1
 */
struct weir_metrics_opts {
	size_t size;
	const char *segment_dir;
	size_t segment_bytes;
	uint64_t flags;
	uint32_t label_limit;
	uint32_t queue_max;
	uint32_t buffer_max;
	uint32_t history_max;
};

/**
 * struct weir_metrics_stats - A registry about itself.
 * @nr_series:         Series that have values.
 * @nr_families:       Names.
 * @nr_label_overflow: Series refused because a metric's limit of labels was reached.
 * @nr_samples:        Samples by name that were taken.
 * @nr_refused:        Samples by name against a rule.
 * @nr_queue_full:     Samples that found the queue full.
 * @nr_queued:         Samples waiting now.
 * @nr_remembered:     Samples in the buffer now.
 * @nr_dropped:        Observations lost for want of memory.
 * @nr_history:        Series with a history.
 * @nr_history_left:   Series without, because history_max was reached or memory ran out.
 * @nr_collections:    Rounds of the collector.
 * @nr_trackers:       Trackers begun and not ended, of all threads.
 * @segment_bytes:     Memory of the segment; 0 when there is none.
 *
 * Since: 0.1
 */
struct weir_metrics_stats {
	uint64_t nr_series;
	uint64_t nr_families;
	uint64_t nr_label_overflow;
	uint64_t nr_samples;
	uint64_t nr_refused;
	uint64_t nr_queue_full;
	uint64_t nr_queued;
	uint64_t nr_remembered;
	uint64_t nr_dropped;
	uint64_t nr_history;
	uint64_t nr_history_left;
	uint64_t nr_collections;
	uint64_t nr_trackers;
	uint64_t segment_bytes;
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
 * weir_metrics_open_opts() - Make an empty registry, stating how.
 * @opts: Options, or NULL for those of weir_metrics_open().
 * @ret:  The registry.
 * @err:  On failure: why. May be NULL.
 *
 * With WEIR_METRICS_SHARED a segment is made and those of this user's hosts that ended
 * without closing are removed, all but the latest eight and none younger than a minute.
 * A child made by fork() keeps its numbers for itself: they are not in the segment.
 *
 * Context: Any thread. Takes METRICS. May block.
 * Owner:   The caller, until weir_metrics_close().
 * Return:  0, -EINVAL, -E2BIG (options), -ENOSPC (WEIR_METRICS_REGISTRIES_MAX are open, or
 *          no room for the segment), -ENOMEM, -ENOENT, -ENOTDIR, -EACCES, -EROFS, -EMFILE,
 *          -ENFILE, -EIO (the segment cannot be made).
 * Since:   0.1
 */
WEIR_API int weir_metrics_open_opts(const struct weir_metrics_opts *opts, struct weir_metrics **ret,
				    struct weir_error *err) WEIR_MUST_CHECK;

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
 * weir_metrics_register_labels() - Register a metric with labels, or find it again.
 * @metrics: Registry.
 * @desc:    The metric.
 * @labels:  Names of its labels: [a-z_][a-z0-9_]*, none twice, none beginning with "__", and
 *           none of "le", "quantile", "pid", "context", "command", which the exports use.
 * @nr:      Their number, 1 to WEIR_METRICS_LABELS_MAX.
 * @limit:   The most series; 0 means the registry's label_limit.
 * @ret:     The family: for weir_metrics_series(). It has no value of its own.
 *
 * Context: Any thread. Takes METRICS.
 * Return:  As weir_metrics_register(); -EEXIST also for other labels.
 * Since:   0.1
 */
WEIR_API int weir_metrics_register_labels(struct weir_metrics *metrics,
					  const struct weir_metric_desc *desc,
					  const char *const *labels, uint32_t nr, uint32_t limit,
					  uint32_t *ret) WEIR_MUST_CHECK;

/**
 * weir_metrics_series() - The series of some label values.
 * @metrics: Registry.
 * @family:  As weir_metrics_register_labels() gave it.
 * @values:  A value for each label, in the order of the names there. UTF-8 of at most
 *           WEIR_METRICS_LABEL_BYTES_MAX bytes.
 * @ret:     Its id; the same for the same values. Keep it: finding it again costs more
 *           than counting.
 *
 * Context: Any thread. Takes METRICS when the values are new.
 * Cost:    Hashing the values.
 * Return:  0, -ENOENT (no such family), -EINVAL (a value against the rules), -ENOSPC (the
 *          metric's limit or WEIR_METRICS_MAX reached; counted), -ENOMEM.
 * Since:   0.1
 */
WEIR_API int weir_metrics_series(struct weir_metrics *metrics, uint32_t family,
				 const char *const *values, uint32_t *ret) WEIR_MUST_CHECK;

/**
 * weir_metrics_overflow() - Series of one metric that its limit refused.
 * @metrics: Registry.
 * @family:  As weir_metrics_register_labels() gave it.
 *
 * Context: Any thread. Takes no lock.
 * Return:  How many calls; 0 for no such family.
 * Since:   0.1
 */
WEIR_API uint64_t weir_metrics_overflow(struct weir_metrics *metrics, uint32_t family);

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
 * weir_metrics_cell() - The calling thread's own cell of a counter or gauge.
 * @metrics: Registry; NULL gives NULL.
 * @id:      Of a counter or gauge that is counted here.
 *
 * For loops in which even a call is too much. Only this thread may add to the cell, with
 * weir_cell_add(), until it ends or the registry is closed.
 *
 * Context: Any thread. Takes METRICS when it counts for the first time in this registry.
 * Return:  The cell; NULL for another id, or without memory.
 * Since:   0.1
 */
WEIR_API int64_t *weir_metrics_cell(struct weir_metrics *metrics, uint32_t id);

/* Add to a cell of this thread: a load and a store. */
static inline void weir_cell_add(int64_t *cell, int64_t delta)
{
#if defined(__GNUC__)
	__atomic_store_n(cell, __atomic_load_n(cell, __ATOMIC_RELAXED) + delta, __ATOMIC_RELAXED);
#else
	*(volatile int64_t *)cell += delta;
#endif
}

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
 * weir_metrics_set_float() - Set a gauge that is no integer.
 * @metrics: Registry.
 * @id:      Of a FLOAT.
 * @value:   What it is now.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -ENOENT (no FLOAT has that id), -EINVAL (not finite).
 * Since:   0.1
 */
WEIR_API int weir_metrics_set_float(struct weir_metrics *metrics, uint32_t id,
				    double value) WEIR_MUST_CHECK;

/**
 * weir_metrics_set_unavailable() - Say that a number cannot be had.
 * @metrics: Registry; NULL does nothing.
 * @id:      Of a FLOAT; others have no effect.
 *
 * Until it is set again the exports leave it out (text), or say null (JSON) or
 * nothing (CSV).
 *
 * Context: Any thread. Takes no lock.
 * Since:   0.1
 */
WEIR_API void weir_metrics_set_unavailable(struct weir_metrics *metrics, uint32_t id);

/**
 * weir_metrics_observe() - Count a value in a histogram or summary.
 * @metrics: Registry; NULL does nothing.
 * @id:      Of a histogram or summary; others have no effect.
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
 * @id:      Of a counter or gauge; a histogram gives its count, a FLOAT its nearest
 *           integer, or 0 when it is unavailable.
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
 * weir_metrics_read_float() - The value of a FLOAT.
 * @metrics: Registry.
 * @id:      Of a FLOAT.
 * @ret:     The value.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -ENOENT (no FLOAT has that id), -ENODATA (it is unavailable).
 * Since:   0.1
 */
WEIR_API int weir_metrics_read_float(struct weir_metrics *metrics, uint32_t id,
				     double *ret) WEIR_MUST_CHECK;

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
 * weir_metrics_read_histogram() - All buckets of a histogram or summary, of all time.
 * @metrics: Registry.
 * @id:      Of a histogram or summary.
 * @ret:     The histogram.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -ENOENT (no such id), -EINVAL (not a histogram).
 * Since:   0.1
 */
WEIR_API int weir_metrics_read_histogram(struct weir_metrics *metrics, uint32_t id,
					 struct weir_histogram *ret) WEIR_MUST_CHECK;

/**
 * weir_metrics_read_window() - The buckets of a summary's window.
 * @metrics: Registry.
 * @id:      Of a summary.
 * @ret:     What was observed in the last 50 to 60 seconds: six parts of ten seconds, the
 *           latest of them growing. Without a collector the parts end when somebody reads,
 *           and the window is as long as reads are apart when that is longer.
 *
 * Context: Any thread. Takes METRICS_DATA.
 * Return:  0, -ENOENT (no such id), -EINVAL (not a summary).
 * Since:   0.1
 */
WEIR_API int weir_metrics_read_window(struct weir_metrics *metrics, uint32_t id,
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
 * @ret:     The id; of a metric with labels the family.
 *
 * Context: Any thread. Takes no lock.
 * Cost:    Hashing the name.
 * Return:  0, -ENOENT.
 * Since:   0.1
 */
WEIR_API int weir_metrics_find(struct weir_metrics *metrics, const char *name,
			       uint32_t *ret) WEIR_MUST_CHECK;

/**
 * weir_metrics_for_each() - Show every series to a function, in order of registration.
 * @metrics: Registry.
 * @fn:      Called once per series; @metric is valid during the call. Another value
 *           than 0 ends the walk. May register, count and read.
 * @arg:     Passed to @fn.
 *
 * Context: Any thread. Takes METRICS_DATA for summaries, not around @fn.
 * Return:  0, or what @fn returned to end the walk.
 * Since:   0.1
 */
WEIR_API int weir_metrics_for_each(struct weir_metrics *metrics,
				   int (*fn)(void *arg, const struct weir_metric *metric),
				   void *arg) WEIR_MUST_CHECK;

/**
 * enum weir_metrics_format - Texts that weir_metrics_export() can write.
 * @WEIR_METRICS_OPENMETRICS: OpenMetrics 1.0, which Prometheus reads.
 * @WEIR_METRICS_JSON:        {"metrics": [{name, kind, unit, help, labels, value}, ...]};
 *                            labels, an object, only where there are any; histogram and
 *                            summary have count, sum, p50, p90, p99, max for value.
 * @WEIR_METRICS_CSV:         A line of titles, then one per series: name, labels, kind, unit,
 *                            help, time, value, count, sum, p50, p90, p99, max. RFC 4180.
 *                            Times are seconds since 1970.
 * @WEIR_METRICS_PROMETHEUS:  The older text format 0.0.4 of Prometheus.
 *
 * In the formats for Prometheus the series of a family follow each other and units are
 * the base units it asks for: "x_ns", "ns" becomes "x_seconds", "seconds", the values with
 * it; so does "microjoules". A family that has no value now is left out.
 *
 * Since: 0.1
 */
enum weir_metrics_format {
	WEIR_METRICS_OPENMETRICS = 1,
	WEIR_METRICS_JSON = 2,
	WEIR_METRICS_CSV = 3,
	WEIR_METRICS_PROMETHEUS = 4,
};

/*
 * Added to JSON or CSV: the history too, see weir_metrics_history(). JSON: "history":
 * {"1s": [[time, value], ...], "10s": ..., "60s": ...}. CSV: the line of a point has its time
 * and value; the line of the series itself comes first and has the time of the export.
 */
#define WEIR_METRICS_WITH_HISTORY 0x100

/**
 * weir_metrics_export() - Write all metrics as text.
 * @metrics: Registry.
 * @format:  One of enum weir_metrics_format.
 * @write:   Called with pieces of the text, in order; not NUL-terminated. Another
 *           value than 0 ends the export.
 * @arg:     Passed to @write.
 *
 * Context: Any thread. Takes METRICS_DATA for summaries, not around @write. Allocates
 *          nothing.
 * Return:  0, -EINVAL (no such format), or what @write returned to end it.
 * Since:   0.1
 */
WEIR_API int weir_metrics_export(struct weir_metrics *metrics, int format,
				 int (*write)(void *arg, const char *text, size_t bytes),
				 void *arg) WEIR_MUST_CHECK;

/**
 * weir_metrics_reset() - Begin again from nothing.
 * @metrics: Registry.
 *
 * Counters, histograms and summaries are 0; the buffer and the history are empty, and what
 * waits in the queue is forgotten. Names, gauges and numbers that others keep stay as they
 * are. What is added meanwhile by other threads is counted once: before or after.
 *
 * Context: Any thread. Takes METRICS_DATA.
 * Return:  0, -ENOMEM (a histogram was not reset, nor what was registered after it).
 * Since:   0.1
 */
WEIR_API int weir_metrics_reset(struct weir_metrics *metrics) WEIR_MUST_CHECK;

/**
 * weir_metrics_stats() - What the registry did so far.
 * @metrics: Registry.
 * @ret:     The numbers, each exact at some moment of the call.
 *
 * Context: Any thread. Takes METRICS_DATA.
 * Since:   0.1
 */
WEIR_API void weir_metrics_stats(struct weir_metrics *metrics, struct weir_metrics_stats *ret);

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
