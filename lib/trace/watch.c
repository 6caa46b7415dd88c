/* SPDX-License-Identifier: MIT */
/*
 * A trace's numbers to others while it runs: into a registry of metrics, and to one function, such
 * as a tuner's. One thread looks at the mapped sums, which takes no system call, and sleeps.
 *
 * A number whose part is off is unavailable: never 0, and never another number in its place.
 */
#include <weir/trace.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/util.h"
#include "lock/lock.h"
#include "trace/session.h"

#define DEFAULT_INTERVAL_NS 1000000000ull
#define MIN_INTERVAL_NS	    1000000ull

/* part, kind, field of the totals, name, unit, meaning */
#define TRACE_METRICS(X)                                                                          \
	X(LOCKS, FLOAT, lock_waits, "weir_trace_lock_waits", "", "Waits for locks that ended")    \
	X(LOCKS, FLOAT, lock_wait_ns, "weir_trace_lock_wait_ns", "ns",                            \
	  "Time that threads waited for locks")                                                   \
	X(LOCKS, FLOAT, lock_held_ns, "weir_trace_lock_held_ns", "ns",                            \
	  "Of that, until the lock was let go")                                                   \
	X(LOCKS, FLOAT, lock_runq_ns, "weir_trace_lock_runq_ns", "ns",                            \
	  "Of that, waiting for a CPU")                                                           \
	X(LOCKS, FLOAT, maybe_waits, "weir_trace_maybe_waits", "",                                \
	  "Waits for locks or for conditions")                                                    \
	X(LOCKS, FLOAT, other_waits, "weir_trace_other_waits", "",                                \
	  "Waits for conditions, semaphores, the end of threads")                                 \
	X(PAGE_CACHE, FLOAT, lookup_pages, "weir_trace_lookup_pages", "pages",                    \
	  "Pages looked up in the page cache")                                                    \
	X(PAGE_CACHE, FLOAT, miss_pages, "weir_trace_miss_pages", "pages",                        \
	  "Pages brought into the page cache")                                                    \
	X(IO, FLOAT, io_requests, "weir_trace_io_requests", "", "Requests completed by io_uring") \
	X(IO, FLOAT, io_ns, "weir_trace_io_ns", "ns", "Their time")                               \
	X(IO, FLOAT, block_requests, "weir_trace_block_requests", "",                             \
	  "Requests completed by block devices")                                                  \
	X(IO, FLOAT, block_ns, "weir_trace_block_ns", "ns", "Their time")                         \
	X(IO, FLOAT, block_bytes, "weir_trace_block_bytes", "bytes", "Their size")                \
	X(FAULTS, FLOAT, minor_faults, "weir_trace_minor_faults", "",                             \
	  "Page faults served from memory, sampled")                                              \
	X(FAULTS, FLOAT, major_faults, "weir_trace_major_faults", "",                             \
	  "Page faults that read a device")                                                       \
	X(CPU_MISSES, FLOAT, cpu_misses, "weir_trace_cpu_misses", "",                             \
	  "Last-level cache misses of the CPU, sampled")                                          \
	X(HOLDS, FLOAT, holds, "weir_trace_holds", "",                                            \
	  "Holds of weir's locks that were timed: sampled ones and contended")                    \
	X(HOLDS, FLOAT, hold_ns, "weir_trace_hold_ns", "ns", "Their time")                        \
	X(CACHE, FLOAT, cache_hits, "weir_trace_cache_hits", "",                                  \
	  "Gets that a cache of weir's served, sampled")                                          \
	X(CACHE, FLOAT, cache_misses, "weir_trace_cache_misses", "",                              \
	  "Gets of a cache of weir's that began a fetch")                                         \
	X(CACHE, FLOAT, cache_evictions, "weir_trace_cache_evictions", "",                        \
	  "Copies that left a cache of weir's for room")                                          \
	X(DEEP, FLOAT, deep_takes, "weir_trace_deep_takes", "",                                   \
	  "Takes of mutexes that breakpoints saw")                                                \
	X(DEEP, FLOAT, deep_wait_ns, "weir_trace_deep_wait_ns", "ns",                             \
	  "Time in the calls that took them, breakpoints included")                               \
	X(DEEP, FLOAT, deep_holds, "weir_trace_deep_holds", "",                                   \
	  "Holds of these mutexes that ended")                                                    \
	X(DEEP, FLOAT, deep_hold_ns, "weir_trace_deep_hold_ns", "ns", "Their time")               \
	X(STAGES, FLOAT, stages, "weir_trace_stages", "",                                         \
	  "Reads, waits and computing of streams, fetches of caches")

static const struct {
	uint32_t part;
	size_t at;
	struct weir_metric_desc desc;
} series[] = {
#define SERIES(part, kind, field, name, unit, help) \
	{WEIR_TRACE_##part,                         \
	 offsetof(struct weir_trace_totals, field), \
	 {WEIR_METRIC_##kind, name, unit, help}},
	TRACE_METRICS(SERIES)
#undef SERIES
};

#define NR_SERIES wr_array_size(series)

/* All [const] from start to stop, but what the thread keeps. */
struct weir_trace_watch {
	struct weir_trace *trace;
	struct weir_trace_watch_opts opts;
	pthread_t thread;
	int stop_fd;
	uint32_t ids[NR_SERIES];
	uint32_t part_ids[WEIR_TRACE_NR_PARTS];
	uint32_t dropped_id;
	struct weir_trace_totals before; /* [thread] */
};

static int join_metrics(struct weir_trace_watch *w)
{
	static const struct weir_metric_desc part_desc = {WEIR_METRIC_FLOAT, "weir_trace_part_on",
							  "", "1 while this part of a trace works"};
	static const struct weir_metric_desc dropped_desc = {
		WEIR_METRIC_FLOAT, "weir_trace_dropped", "", "Records that found no room"};
	static const char *const label = "part";
	uint32_t family;
	int rc = 0;

	if (!w->opts.metrics)
		return 0;
	for (size_t i = 0; !rc && i < NR_SERIES; i++)
		rc = weir_metrics_register(w->opts.metrics, &series[i].desc, &w->ids[i]);
	if (!rc)
		rc = weir_metrics_register(w->opts.metrics, &dropped_desc, &w->dropped_id);
	if (!rc)
		rc = weir_metrics_register_labels(w->opts.metrics, &part_desc, &label, 1, 0,
						  &family);
	for (uint32_t i = 0; !rc && i < WEIR_TRACE_NR_PARTS; i++) {
		const char *name, *reason;

		(void)!weir_trace_part(w->trace, i, &name, &reason);
		rc = weir_metrics_series(w->opts.metrics, family, &name, &w->part_ids[i]);
	}
	return rc;
}

static void publish(const struct weir_trace_watch *w, const struct weir_trace_totals *totals)
{
	struct weir_trace_meta meta;

	if (!w->opts.metrics)
		return;
	weir_trace_meta(w->trace, &meta);
	for (size_t i = 0; i < NR_SERIES; i++) {
		__u64 value;

		memcpy(&value, (const char *)totals + series[i].at, sizeof(value));
		if (meta.parts & series[i].part)
			(void)!weir_metrics_set_float(w->opts.metrics, w->ids[i], (double)value);
		else
			weir_metrics_set_unavailable(w->opts.metrics, w->ids[i]);
	}
	(void)!weir_metrics_set_float(w->opts.metrics, w->dropped_id, (double)meta.nr_dropped);
	for (uint32_t i = 0; i < WEIR_TRACE_NR_PARTS; i++)
		(void)!weir_metrics_set_float(w->opts.metrics, w->part_ids[i],
					      meta.parts >> i & 1 ? 1 : 0);
}

static void look(struct weir_trace_watch *w)
{
	struct weir_trace_totals now;

	weir_trace_totals(w->trace, &now);
	publish(w, &now);
	if (w->opts.fn)
		w->opts.fn(w->opts.arg, &now, &w->before);
	w->before = now;
}

static void *watch(void *arg)
{
	struct weir_trace_watch *w = arg;
	uint64_t next = wr_now_ns();

	for (;;) {
		struct pollfd stop = {.fd = w->stop_fd, .events = POLLIN};
		struct timespec left = {0};
		uint64_t now = wr_now_ns();

		/* A round that took too long is not made up for. */
		next = wr_max(next + w->opts.interval_ns, now);
		left.tv_sec = (time_t)((next - now) / 1000000000);
		left.tv_nsec = (long)((next - now) % 1000000000);
		if (ppoll(&stop, 1, &left, NULL) > 0)
			return NULL;
		look(w);
	}
}

/* Signals are for the host's threads. */
static int start_thread(struct weir_trace_watch *w)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = -pthread_create(&w->thread, NULL, watch, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!rc)
		pthread_setname_np(w->thread, "weir-trace");
	return rc == -EAGAIN ? -ENOMEM : rc;
}

int weir_trace_watch_start(struct weir_trace *trace, const struct weir_trace_watch_opts *opts,
			   struct weir_trace_watch **ret)
{
	struct weir_trace_watch *w = wr_calloc(1, sizeof(*w));
	int rc;

	if (!w)
		return -ENOMEM;
	rc = wr_opts_copy(&w->opts, sizeof(w->opts), opts);
	if (rc)
		goto free;
	if (w->opts.interval_ns == 0)
		w->opts.interval_ns = DEFAULT_INTERVAL_NS;
	rc = -ERANGE;
	if (w->opts.interval_ns < MIN_INTERVAL_NS)
		goto free;
	w->trace = trace;
	rc = join_metrics(w);
	if (rc)
		goto free;
	w->stop_fd = eventfd(0, EFD_CLOEXEC);
	rc = w->stop_fd < 0 ? -errno : 0;
	if (rc)
		goto free;
	weir_trace_totals(trace, &w->before);
	publish(w, &w->before);
	rc = start_thread(w);
	if (rc)
		goto close;
	*ret = w;
	return 0;

close:
	close(w->stop_fd);
free:
	wr_free(w);
	return rc;
}

void weir_trace_watch_stop(struct weir_trace_watch *watch_)
{
	const uint64_t one = 1;

	if (!watch_)
		return;
	wr_might_block("the end of a watch");
	/* An eventfd that holds 0 takes 1. */
	while (write(watch_->stop_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	pthread_join(watch_->thread, NULL);
	close(watch_->stop_fd);
	if (watch_->opts.metrics) {
		for (size_t i = 0; i < NR_SERIES; i++)
			weir_metrics_set_unavailable(watch_->opts.metrics, watch_->ids[i]);
		weir_metrics_set_unavailable(watch_->opts.metrics, watch_->dropped_id);
		for (uint32_t i = 0; i < WEIR_TRACE_NR_PARTS; i++)
			weir_metrics_set_unavailable(watch_->opts.metrics, watch_->part_ids[i]);
	}
	wr_free(watch_);
}
