/* SPDX-License-Identifier: MIT */
/**
 * weir/trace.h - What the kernel sees of a running process, through eBPF.
 *
 * Any process can be traced, whether it knows weir or not: which futexes its threads
 * wait for, how long, and who let them go; how long its I/O takes; which of its reads
 * missed the page cache; its page faults, and its CPU cache misses where the machine
 * has counters. A process with weir's library also tells how long its locks are held,
 * what its caches hit and miss, and when its streams read, wait and compute. The process is not stopped; where it has weir's probe
 * sites, the kernel puts breakpoints on those and takes them away again.
 *
 * Tracing has parts, WEIR_TRACE_LOCKS and others. Each works without the others, and
 * says why when it does not: a machine without hardware counters, say, or a kernel
 * without one tracepoint. The rights needed are CAP_BPF and CAP_PERFMON.
 *
 * A trace that is pinned goes on when the program that began it has ended, and any
 * program with the rights finds it again by the number of the process. The numbers lie
 * in maps whose values are the structs of weir/trace_abi.h; bpftool shows them.
 */
#ifndef WEIR_TRACE_H
#define WEIR_TRACE_H

#include <stdbool.h>

#include <weir/base.h>
#include <weir/metrics.h>
#include <weir/trace_abi.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir_trace;

/* Number of parts: bits of struct weir_trace_opts.parts. */
#define WEIR_TRACE_NR_PARTS 9u

/* Keep tracing after weir_trace_close(): pin programs and maps. */
#define WEIR_TRACE_PINNED (1u << 0)
/* WEIR_TRACE_DEEP also where the kernel must execute single steps: see weir_trace_deep_plan(). */
#define WEIR_TRACE_MAY_STEP (1u << 1)

/**
 * struct weir_trace_opts - What to trace. Zero means the default.
 * @size:         sizeof(struct weir_trace_opts).
 * @pid:          The process; 0 for the calling one.
 * @parts:        WEIR_TRACE_*; 0 for all but WEIR_TRACE_DEEP, which slows the process.
 * @stacks:       WEIR_TRACE_*_STACKS.
 * @flags:        WEIR_TRACE_PINNED, WEIR_TRACE_MAY_STEP.
 * @min_event_ns: Shorter waits and requests are counted and leave no event.
 * @pin_dir:      In place of WEIR_TRACE_PIN_DIR.
 */
struct weir_trace_opts {
	size_t size;
	int pid;
	uint32_t parts;
	uint32_t stacks;
	uint32_t flags;
	uint64_t min_event_ns;
	const char *pin_dir;
};

/**
 * weir_trace_start() - Begin to trace a process.
 * @opts: What to trace.
 * @ret:  The trace; untouched on failure.
 * @err:  On failure: what failed and what to do. May be NULL.
 *
 * Parts that cannot be had are left out, see weir_trace_part(). When none can, the call
 * fails with the reason of the first. Pinned traces of processes that have ended are
 * removed.
 *
 * Context: Any thread. May block: half a second.
 * Owner:   The caller, until weir_trace_close().
 * Return:  0, -EINVAL (unknown parts or flags, negative pid), -ENOENT (no such process,
 *          or no BTF in this kernel), -EEXIST (a trace of it is pinned there), -EPERM or
 *          -EACCES (needs CAP_BPF and CAP_PERFMON), -ENODEV (@pin_dir is on no mounted
 *          bpffs), -EOPNOTSUPP (this kernel or build lacks it, or the caller is in a pid
 *          namespace of its own), -ENOMEM.
 * Since:   0.1
 */
WEIR_API int weir_trace_start(const struct weir_trace_opts *opts, struct weir_trace **ret,
			      struct weir_error *err) WEIR_MUST_CHECK;

/**
 * weir_trace_find() - Open a pinned trace.
 * @pid:     The process that is traced.
 * @pin_dir: Where it is pinned; NULL for WEIR_TRACE_PIN_DIR.
 * @ret:     The trace; untouched on failure.
 * @err:     On failure: why. May be NULL.
 *
 * Context: Any thread. May block.
 * Owner:   The caller, until weir_trace_close().
 * Return:  0, -ENOENT (none is pinned), -EPERM or -EACCES, -EBADMSG (of another
 *          version), -EOPNOTSUPP (built without libbpf), -ENOMEM.
 * Since:   0.1
 */
WEIR_API int weir_trace_find(int pid, const char *pin_dir, struct weir_trace **ret,
			     struct weir_error *err) WEIR_MUST_CHECK;

/**
 * weir_trace_close() - Let go of a trace.
 * @trace: The trace or NULL. One that is not pinned ends.
 *
 * Context: Any thread, once. May block.
 * Since:   0.1
 */
WEIR_API void weir_trace_close(struct weir_trace *trace);

/**
 * weir_trace_remove() - End a pinned trace.
 * @pid:     The process that is traced; it may have ended.
 * @pin_dir: Where it is pinned; NULL for WEIR_TRACE_PIN_DIR.
 *
 * Context: Any thread. May block.
 * Return:  0, -ENOENT (none is pinned), -EPERM or -EACCES.
 * Since:   0.1
 */
WEIR_API int weir_trace_remove(int pid, const char *pin_dir) WEIR_MUST_CHECK;

/**
 * weir_trace_part() - Whether a part works.
 * @trace:      The trace.
 * @index:      From 0; WEIR_TRACE_NR_PARTS of them, part @index being bit @index.
 * @ret_name:   A word: "locks".
 * @ret_reason: Why it is off, or what it does when it is on. Belongs to the library.
 *
 * Context: Any thread.
 * Return:  0 (it is on), or why it is off: -ECANCELED (not asked for), -ENOENT (the
 *          kernel or the machine has no such event), -EACCES or -EPERM, ...; -EINVAL (no
 *          such part).
 * Since:   0.1
 */
WEIR_API int weir_trace_part(const struct weir_trace *trace, uint32_t index, const char **ret_name,
			     const char **ret_reason) WEIR_MUST_CHECK;

/**
 * weir_trace_part_name() - The word for a part.
 * @index: From 0; part @index being bit @index.
 *
 * Context: Any thread.
 * Return:  "locks", ...; NULL when there is no such part.
 * Since:   0.1
 */
WEIR_API const char *weir_trace_part_name(uint32_t index);

/**
 * weir_trace_enable() - Pause parts, or let them go on.
 * @trace: The trace.
 * @parts: WEIR_TRACE_*: those that count from now on, of the ones that work; the others
 *         stay attached and count nothing.
 *
 * A word in a map: it costs nothing and acts at once, where attaching anew takes a tenth
 * of a second. What a paused part still costs is the hit of its programs.
 *
 * Context: Any thread. No system call.
 * Return:  0, -EINVAL (unknown parts).
 * Since:   0.1
 */
WEIR_API int weir_trace_enable(struct weir_trace *trace, uint32_t parts) WEIR_MUST_CHECK;

/**
 * struct weir_trace_cost - What the programs of a trace took.
 * @window_ns: Time that was looked at.
 * @nr_runs:   Times that they ran in it, for any process of the system.
 * @run_ns:    Time that they took, on all processors together.
 */
struct weir_trace_cost {
	uint64_t window_ns;
	uint64_t nr_runs;
	uint64_t run_ns;
};

/**
 * weir_trace_cost() - Measure what the trace's programs take now.
 * @trace:     The trace.
 * @window_ns: How long to look.
 * @ret:       The measurement; untouched on failure.
 *
 * The kernel measures its programs while somebody asks it to, which itself adds two
 * readings of a clock to each run: that is in @run_ns. What reaching a program costs, a
 * breakpoint of a probe site most of all, is not.
 *
 * Context: Any thread. Sleeps for @window_ns.
 * Return:  0, -EPERM (needs CAP_SYS_ADMIN), -EINVAL (@window_ns is 0), -EOPNOTSUPP (this
 *          kernel or build lacks it, or it is a trace of weir_trace_find()).
 * Since:   0.1
 */
WEIR_API int weir_trace_cost(struct weir_trace *trace, uint64_t window_ns,
			     struct weir_trace_cost *ret) WEIR_MUST_CHECK;

/**
 * weir_trace_meta() - What is traced, since when.
 * @trace: The trace.
 * @ret:   A copy.
 *
 * Context: Any thread. No system call.
 * Since:   0.1
 */
WEIR_API void weir_trace_meta(const struct weir_trace *trace, struct weir_trace_meta *ret);

/**
 * weir_trace_totals() - The sums.
 * @trace: The trace.
 * @ret:   A copy.
 *
 * For those who look often, as a tuner does: two calls and a subtraction are a rate.
 *
 * Context: Any thread. No system call.
 * Since:   0.1
 */
WEIR_API void weir_trace_totals(const struct weir_trace *trace, struct weir_trace_totals *ret);

/**
 * struct weir_trace_lock - Waits at one futex.
 * @addr:  Its address in the process.
 * @name:  Of the lock, where the process times its locks (weir/lock_trace.h); else empty.
 * @waits: What was counted.
 */
struct weir_trace_lock {
	uint64_t addr;
	char name[WEIR_LOCK_NAME_BYTES];
	struct weir_lock_waits waits;
};

/**
 * weir_trace_each_lock() - Walk the futexes that were waited for.
 * @trace: The trace.
 * @fn:    Called for each; another value than 0 ends the walk. It may not close the
 *         trace.
 * @arg:   Handed to @fn.
 *
 * Context: Any thread. One system call a futex.
 * Return:  0, what @fn returned, or the error of reading.
 * Since:   0.1
 */
WEIR_API int weir_trace_each_lock(struct weir_trace *trace,
				  int (*fn)(void *arg, const struct weir_trace_lock *lock),
				  void *arg) WEIR_MUST_CHECK;

/**
 * weir_trace_each_holder() - Walk the threads that kept others waiting.
 * @trace: The trace.
 * @fn:    As for weir_trace_each_lock(): lock and thread, and what it is blamed for.
 * @arg:   Handed to @fn.
 *
 * Context: Any thread.
 * Return:  As weir_trace_each_lock().
 * Since:   0.1
 */
WEIR_API int weir_trace_each_holder(struct weir_trace *trace,
				    int (*fn)(void *arg, const struct weir_site_key *key,
					      const struct weir_site *site),
				    void *arg) WEIR_MUST_CHECK;

/**
 * struct weir_trace_hold - Holds of one lock of weir's.
 * @addr:  Its address in the process.
 * @name:  Where the process times its locks (weir/lock_trace.h); else empty.
 * @holds: What was counted.
 */
struct weir_trace_hold {
	uint64_t addr;
	char name[WEIR_LOCK_NAME_BYTES];
	struct weir_lock_holds holds;
};

/**
 * weir_trace_each_hold() - Walk the locks whose holds the probes told of.
 * @trace: The trace.
 * @fn:    As for weir_trace_each_lock().
 * @arg:   Handed to @fn.
 *
 * Context: Any thread. One system call a lock.
 * Return:  As weir_trace_each_lock().
 * Since:   0.1
 */
WEIR_API int weir_trace_each_hold(struct weir_trace *trace,
				  int (*fn)(void *arg, const struct weir_trace_hold *hold),
				  void *arg) WEIR_MUST_CHECK;

/**
 * weir_trace_each_cache() - Walk what threads did with weir's caches.
 * @trace: The trace.
 * @fn:    As for weir_trace_each_lock(): thread, tier and kind, and what was counted.
 * @arg:   Handed to @fn.
 *
 * Context: Any thread.
 * Return:  As weir_trace_each_lock().
 * Since:   0.1
 */
WEIR_API int weir_trace_each_cache(struct weir_trace *trace,
				   int (*fn)(void *arg, const struct weir_cache_key *key,
					     const struct weir_cache_events *events),
				   void *arg) WEIR_MUST_CHECK;

/* Functions of a C library that WEIR_TRACE_DEEP may use. */
#define WEIR_TRACE_DEEP_PLACES 8u

/**
 * struct weir_trace_deep_place - A place of a breakpoint.
 * @function:   Of the C library.
 * @into:       Bytes from the function's beginning.
 * @is_stepped: The kernel would have to execute the instruction there by a single step.
 */
struct weir_trace_deep_place {
	char function[32];
	uint32_t into;
	uint32_t is_stepped;
};

/**
 * struct weir_trace_deep_plan - What WEIR_TRACE_DEEP would do to a process.
 * @file:       The C library, or the program that contains it.
 * @is_refused: It will not be done without WEIR_TRACE_MAY_STEP.
 * @nr_places:  Places that were found.
 * @places:     They.
 *
 * One of trylock, timedlock, clocklock that would be stepped is left out unless
 * WEIR_TRACE_MAY_STEP is set; what it takes is then not seen.
 */
struct weir_trace_deep_plan {
	char file[WEIR_PATH_BYTES];
	uint32_t is_refused;
	uint32_t nr_places;
	struct weir_trace_deep_place places[WEIR_TRACE_DEEP_PLACES];
};

/**
 * weir_trace_deep_plan() - Say what WEIR_TRACE_DEEP would do, and do nothing.
 * @pid: The process.
 * @ret: The plan; untouched on failure.
 *
 * Breakpoints cost the process, whoever looks: about 2 us for each lock and unlock on a
 * virtual machine of 2026, or 27 us where single steps are needed.
 *
 * Context: Any thread. May block.
 * Return:  0, -ENOENT (no such process, or no C library with such locks in it), -EACCES
 *          or -EPERM, -ENOMEM.
 * Since:   0.1
 */
WEIR_API int weir_trace_deep_plan(int pid, struct weir_trace_deep_plan *ret) WEIR_MUST_CHECK;

/**
 * struct weir_trace_deep_lock - Takes and holds of one mutex.
 * @addr: Its address in the process.
 * @name: Where the process times its locks (weir/lock_trace.h); else empty.
 * @deep: What was counted.
 */
struct weir_trace_deep_lock {
	uint64_t addr;
	char name[WEIR_LOCK_NAME_BYTES];
	struct weir_lock_deep deep;
};

/**
 * weir_trace_each_deep() - Walk the mutexes that WEIR_TRACE_DEEP saw.
 * @trace: The trace.
 * @fn:    As for weir_trace_each_lock().
 * @arg:   Handed to @fn.
 *
 * Context: Any thread. One system call a mutex.
 * Return:  As weir_trace_each_lock().
 * Since:   0.1
 */
WEIR_API int weir_trace_each_deep(struct weir_trace *trace,
				  int (*fn)(void *arg, const struct weir_trace_deep_lock *lock),
				  void *arg) WEIR_MUST_CHECK;

/**
 * weir_trace_each_file() - Walk the files whose pages were looked up.
 * @trace: The trace.
 * @fn:    As for weir_trace_each_lock(): file and pages.
 * @arg:   Handed to @fn.
 *
 * Context: Any thread.
 * Return:  As weir_trace_each_lock().
 * Since:   0.1
 */
WEIR_API int weir_trace_each_file(struct weir_trace *trace,
				  int (*fn)(void *arg, const struct weir_file_key *key,
					    const struct weir_file *file),
				  void *arg) WEIR_MUST_CHECK;

/**
 * weir_trace_each_io() - Walk the kinds of I/O.
 * @trace: The trace.
 * @fn:    As for weir_trace_each_lock(): kind and times.
 * @arg:   Handed to @fn.
 *
 * Context: Any thread.
 * Return:  As weir_trace_each_lock().
 * Since:   0.1
 */
WEIR_API int weir_trace_each_io(struct weir_trace *trace,
				int (*fn)(void *arg, const struct weir_io_key *key,
					  const struct weir_io_times *times),
				void *arg) WEIR_MUST_CHECK;

/**
 * weir_trace_each_miss() - Walk faults and CPU cache misses by thread.
 * @trace: The trace.
 * @fn:    As for weir_trace_each_lock(): thread and source, and what was counted.
 * @arg:   Handed to @fn.
 *
 * Context: Any thread.
 * Return:  As weir_trace_each_lock().
 * Since:   0.1
 */
WEIR_API int weir_trace_each_miss(struct weir_trace *trace,
				  int (*fn)(void *arg, const struct weir_miss_key *key,
					    const struct weir_miss *miss),
				  void *arg) WEIR_MUST_CHECK;

/**
 * weir_trace_each_event() - Walk the last waits and requests, oldest first.
 * @trace: The trace.
 * @fn:    As for weir_trace_each_lock(): one of the last WEIR_TRACE_EVENTS.
 * @arg:   Handed to @fn.
 *
 * Context: Any thread. No system call.
 * Return:  0, or what @fn returned.
 * Since:   0.1
 */
WEIR_API int weir_trace_each_event(struct weir_trace *trace,
				   int (*fn)(void *arg, const struct weir_trace_event *event),
				   void *arg) WEIR_MUST_CHECK;

/**
 * weir_trace_each_waiter() - Walk the places in the code that waited.
 * @trace: The trace.
 * @fn:    As for weir_trace_each_lock(): lock, thread and stack, and how long it waited.
 * @arg:   Handed to @fn.
 *
 * Context: Any thread.
 * Return:  As weir_trace_each_lock().
 * Since:   0.1
 */
WEIR_API int weir_trace_each_waiter(struct weir_trace *trace,
				    int (*fn)(void *arg, const struct weir_site_key *key,
					      const struct weir_site *site),
				    void *arg) WEIR_MUST_CHECK;

/**
 * weir_trace_each_miss_site() - Walk faults and CPU cache misses by place in the code.
 * @trace: The trace.
 * @fn:    As for weir_trace_each_lock(): stack and source, and what was counted.
 * @arg:   Handed to @fn.
 *
 * Context: Any thread.
 * Return:  As weir_trace_each_lock().
 * Since:   0.1
 */
WEIR_API int weir_trace_each_miss_site(struct weir_trace *trace,
				       int (*fn)(void *arg, const struct weir_miss_site_key *key,
						 const struct weir_miss *miss),
				       void *arg) WEIR_MUST_CHECK;

/**
 * weir_trace_each_slot() - Walk a timeline: how long locks were kept, by time.
 * @trace:        The trace.
 * @timeline:     WEIR_TRACE_LOCKS: holds while somebody waited; WEIR_TRACE_HOLDS: holds
 *                that the probes of weir's locks told of; WEIR_TRACE_DEEP: all.
 * @fn:           As for weir_trace_each_lock(): a slot in which something ended, with
 *                its number; in no order.
 * @arg:          Handed to @fn.
 *
 * A slot of number n is of the 2^shift nanoseconds of CLOCK_MONOTONIC from n << shift on,
 * shift being weir_trace_slot_shift().
 *
 * Context: Any thread.
 * Return:  As weir_trace_each_lock(); -EINVAL (no such timeline).
 * Since:   0.1
 */
WEIR_API int weir_trace_each_slot(struct weir_trace *trace, uint32_t timeline,
				  int (*fn)(void *arg, const struct weir_trace_slot *slot),
				  void *arg) WEIR_MUST_CHECK;

/**
 * weir_trace_slot_shift() - How long a slot of a timeline is.
 * @trace: The trace.
 *
 * Context: Any thread. No system call.
 * Return:  A slot is 2^this nanoseconds long.
 * Since:   0.1
 */
WEIR_API uint32_t weir_trace_slot_shift(const struct weir_trace *trace);

struct weir_trace_watch;

/**
 * struct weir_trace_watch_opts - Where numbers go while a trace runs. Zero means the default.
 * @size:        sizeof(struct weir_trace_watch_opts).
 * @interval_ns: Time from one look to the next; 0 for a second, 1 ms is the least.
 * @metrics:     Series weir_trace_* are set here; NULL for none. What its part does not
 *               count is unavailable; weir_trace_part_on{part="..."} says which do.
 * @fn:          Called after each look, with the sums of now and of the look before; NULL
 *               for none. A difference of two fields is what came in between.
 * @arg:         Handed to @fn.
 *
 * @fn runs on a thread of the watch, "weir-trace", which holds no lock and has all signals
 * blocked; calls follow each other and never overlap. It may take as long as it likes: looks
 * are left out, not made up for. It may call all of this header for the trace, but neither
 * weir_trace_close() nor weir_trace_watch_stop().
 *
 * Since: 0.1
 */
struct weir_trace_watch_opts {
	size_t size;
	uint64_t interval_ns;
	struct weir_metrics *metrics;
	void (*fn)(void *arg, const struct weir_trace_totals *now,
		   const struct weir_trace_totals *before);
	void *arg;
};

/**
 * weir_trace_watch_start() - Bring a trace's sums to a registry, to a function, or both.
 * @trace: The trace; outlives the watch.
 * @opts:  Where to.
 * @ret:   The watch; untouched on failure.
 *
 * One watch at a time sets the series of a registry.
 *
 * Context: Any thread. Takes METRICS.
 * Owner:   The caller, until weir_trace_watch_stop().
 * Return:  0, -E2BIG (options of a later version), -ERANGE (the interval), -EEXIST (a series
 *          is another's), -ENOSPC (the registry is full), -EMFILE, -ENFILE, -ENOMEM.
 * Since:   0.1
 */
WEIR_API int weir_trace_watch_start(struct weir_trace *trace,
				    const struct weir_trace_watch_opts *opts,
				    struct weir_trace_watch **ret) WEIR_MUST_CHECK;

/**
 * weir_trace_watch_stop() - End a watch.
 * @watch: The watch or NULL. Its function does not run and is not called any more when this
 *         returns; its series are unavailable from now on.
 *
 * Context: Any thread but the watch's own, once. Waits for a call of the function to end.
 * Since:   0.1
 */
WEIR_API void weir_trace_watch_stop(struct weir_trace_watch *watch);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_TRACE_H */
