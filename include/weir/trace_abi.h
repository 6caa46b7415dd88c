/* SPDX-License-Identifier: MIT */
/**
 * weir/trace_abi.h - What a running process writes for others to read.
 *
 * These structs lie in memory that two programs share: the process that holds
 * the locks and the one that watches, or a BPF program and whoever maps its
 * pinned maps. So they contain fixed-size fields only, no padding the compiler
 * chose and no pointers, and the header needs nothing but linux/types.h: a BPF
 * program can include it too. Where an enum stands in a struct it is four bytes,
 * and there for bpftool, which prints its names.
 *
 * Lock timing (T0) is three tables, each an array that can be mapped:
 *
 *   meta    one struct weir_lock_meta
 *   ranks   struct weir_lock_rank, one for each rank, by its number
 *   slots   struct weir_lock_self, one for each lock that has one
 *
 * A process that times its locks keeps them one after the other in a memfd named
 * WEIR_LOCK_MEMFD, at the offsets that meta states; weir/lock_trace.h reads it.
 * While a trace of the process is pinned, they are the BPF arrays lock_meta,
 * lock_ranks and lock_self of that trace, and the offsets are 0.
 *
 * Counters only grow, except when a slot changes hands. Each is read by itself;
 * two counters of one slot may be from slightly different moments.
 */
#ifndef WEIR_TRACE_ABI_H
#define WEIR_TRACE_ABI_H

#include <linux/types.h>

/* "weirlock" as bytes, in the order of the machine that wrote it. */
#define WEIR_LOCK_MAGIC 0x6b636f6c72696577ULL
/* Raised when a struct below changes. A reader refuses what it does not know. */
#define WEIR_LOCK_ABI	2u
#define WEIR_LOCK_MEMFD "weir-locks"
/* Locks that can have numbers of their own at one time, and the most ranks. */
#define WEIR_LOCK_SLOTS 4096u
#define WEIR_LOCK_RANKS 64u
/* Where traces are pinned, each in a folder named by the number of its process. */
#define WEIR_TRACE_PIN_DIR "/sys/fs/bpf/weir"

/* Of names, with the NUL at the end; longer ones are cut. */
#define WEIR_LOCK_NAME_BYTES 24u
/* Bucket i counts times from 2^(i-1) to below 2^i nanoseconds; the last, all above. */
#define WEIR_LOCK_BUCKETS 32u

/* What kind of lock a slot belongs to: a mutex also stands for what conditions wait with. */
#define WEIR_LOCK_MUTEX	 1u
#define WEIR_LOCK_RWLOCK 2u
#define WEIR_LOCK_SPIN	 3u

/* Bits of weir_lock_rank.flags. */
#define WEIR_LOCK_NO_BLOCK   1u
#define WEIR_LOCK_BY_ADDRESS 2u

/**
 * struct weir_lock_meta - The first table: one element.
 * @magic:        WEIR_LOCK_MAGIC; written last, so what has it is complete.
 * @abi:          WEIR_LOCK_ABI.
 * @tgid:         The process, as it sees itself.
 * @started_ns:   CLOCK_MONOTONIC when timing was switched on.
 * @sample_every: One in so many uncontended takes is timed now; 0: none, timing is off.
 * @nr_ranks:     Elements of the table of ranks.
 * @nr_slots:     Elements of the table of slots.
 * @rank_bytes:   sizeof(struct weir_lock_rank).
 * @slot_bytes:   sizeof(struct weir_lock_self).
 * @moved:        1: the process goes on elsewhere, from these numbers: open it again.
 * @ranks_at:     Where the table of ranks begins in the file.
 * @slots_at:     Where the table of slots begins in the file.
 * @nr_dropped:   Timed takes of locks for which there was no slot.
 * @start_ticks:  When the process began, field 22 of /proc/PID/stat.
 * @reserved:     0.
 */
struct weir_lock_meta {
	__u64 magic;
	__u32 abi;
	__u32 tgid;
	__u64 started_ns;
	__u32 sample_every;
	__u32 nr_ranks;
	__u32 nr_slots;
	__u32 rank_bytes;
	__u32 slot_bytes;
	__u32 moved;
	__u64 ranks_at;
	__u64 slots_at;
	__u64 nr_dropped;
	__u64 start_ticks;
	__u64 reserved[6];
};

/**
 * struct weir_lock_rank - A rank: its name, and what its ended locks left.
 * @name:         As in lib/lock/rank.h.
 * @flags:        WEIR_LOCK_NO_BLOCK and others.
 * @nr_ended:     Locks that had a slot and are gone. The rest sums over those.
 * @acquisitions: As in struct weir_lock_self, and so on.
 * @contended:    See there.
 * @sampled:      See there.
 * @wait_ns:      See there.
 * @hold_ns:      See there.
 * @hold_all_ns:  See there.
 * @reserved:     0.
 */
struct weir_lock_rank {
	char name[WEIR_LOCK_NAME_BYTES];
	__u32 flags;
	__u32 nr_ended;
	__u64 acquisitions;
	__u64 contended;
	__u64 sampled;
	__u64 wait_ns;
	__u64 hold_ns;
	__u64 hold_all_ns;
	__u64 reserved[2];
};

/**
 * struct weir_lock_self - A lock and what was measured of it.
 * @addr:         Of the lock; of a mutex, also of the word it waits on (futex). 0: the slot
 *                belongs to no lock.
 * @seq:          Odd while the slot changes hands, and another value afterwards.
 * @kind:         WEIR_LOCK_MUTEX, ...
 * @name:         Of the lock; several locks may share one.
 * @rank:         Its index in the table of ranks.
 * @bytes:        A futex from @addr to below @addr + @bytes is this lock's.
 * @acquisitions: Takes: the contended ones counted, the others estimated from the sample.
 * @contended:    Takes that had to wait: every one of them.
 * @sampled:      Uncontended takes that were timed.
 * @wait_ns:      Time waited by the contended takes: all of it.
 * @hold_ns:      Time held by the takes that were timed, contended or sampled.
 * @hold_all_ns:  The same with each sample counted for those it stands for: an estimate of
 *                all the time the lock was held.
 * @max_wait_ns:  The longest of those waits.
 * @max_hold_ns:  The longest of those holds.
 * @holder_tid:   Thread that held it when a take last had to wait; 0: not known.
 * @pad:          0.
 * @reserved:     0.
 * @wait_log2_ns: Histogram of the waits.
 * @hold_log2_ns: Histogram of the holds that were timed.
 *
 * The time that a condition is waited for is neither a wait nor a hold: the hold ends where
 * the wait for the condition begins, and another begins where it ends.
 */
struct weir_lock_self {
	__u64 addr;
	__u32 seq;
	__u32 kind;
	char name[WEIR_LOCK_NAME_BYTES];
	__u32 rank;
	__u32 bytes;
	__u64 acquisitions;
	__u64 contended;
	__u64 sampled;
	__u64 wait_ns;
	__u64 hold_ns;
	__u64 hold_all_ns;
	__u64 max_wait_ns;
	__u64 max_hold_ns;
	__u32 holder_tid;
	__u32 pad;
	__u64 reserved;
	__u32 wait_log2_ns[WEIR_LOCK_BUCKETS];
	__u32 hold_log2_ns[WEIR_LOCK_BUCKETS];
};

/*
 * What the BPF programs write, in maps of the names given here; docs/tracing.md shows them with
 * bpftool. Each counter is added to atomically and only grows. All times are CLOCK_MONOTONIC.
 */

/* Raised when a struct below changes. */
#define WEIR_TRACE_ABI 3u

/* Of a thread's name, with the NUL at the end. */
#define WEIR_COMM_BYTES 16u
/* Elements of the maps events and timeline. */
#define WEIR_TRACE_EVENTS 16384u
#define WEIR_TRACE_SLOTS  1024u
/* Elements of the map modules, and of a path in it, with the NUL at the end. */
#define WEIR_TRACE_MODULES 512u
#define WEIR_PATH_BYTES	   256u
/* Addresses of a stack, the innermost first. */
#define WEIR_TRACE_FRAMES 32u

/*
 * What a thread waits for at a futex.
 * LOCK:       the C library's mutex, or a lock that the kernel hands over (priority inheritance).
 * MAYBE_LOCK: a timed mutex, a rwlock, a lock of another runtime; some conditions look so, too.
 * OTHER:      a condition, a semaphore, the end of a thread: no lock was held against it.
 */
enum weir_wait_kind {
	WEIR_WAIT_UNKNOWN = 0,
	WEIR_WAIT_LOCK = 1,
	WEIR_WAIT_MAYBE_LOCK = 2,
	WEIR_WAIT_OTHER = 3,
};

/*
 * Where a number of misses comes from. None of them is ever written under another's name.
 * NONE:        there is no number.
 * HW_LLC:      the CPU's counter of last-level misses, as the kernel chooses it.
 * HW_LL_READ:  the same of reads, where the first is not to be had.
 * FAULT_MAJOR: page faults that read a device.
 * FAULT_MINOR: page faults served from memory.
 */
enum weir_miss_source {
	WEIR_MISS_NONE = 0,
	WEIR_MISS_HW_LLC = 1,
	WEIR_MISS_HW_LL_READ = 2,
	WEIR_MISS_FAULT_MAJOR = 3,
	WEIR_MISS_FAULT_MINOR = 4,
};

/*
 * Where a request was seen.
 * URING: from its submission through io_uring to its completion.
 * BLOCK: from its issue to a block device to its completion.
 */
enum weir_io_source {
	WEIR_IO_SOURCE_NONE = 0,
	WEIR_IO_SOURCE_URING = 1,
	WEIR_IO_SOURCE_BLOCK = 2,
};

/*
 * What a cache of weir's told.
 * HIT:   a get that found its bytes.
 * MISS:  a get that began a fetch.
 * EVICT: a copy that left for room.
 */
enum weir_cache_event {
	WEIR_CACHE_EVENT_NONE = 0,
	WEIR_CACHE_EVENT_HIT = 1,
	WEIR_CACHE_EVENT_MISS = 2,
	WEIR_CACHE_EVENT_EVICT = 3,
};

/*
 * What an event is: a wait of one of the kinds above, a request, or a stage of a weir host.
 * IO_URING and BLOCK_IO overlap in one thread, waits do not.
 * STAGE_READ:    a unit of a stream was read: from its start to its last byte.
 * STAGE_WAIT:    a stream's user waited for a unit.
 * STAGE_COMPUTE: it had the unit: from one call of weir_stream_next() to the next.
 * STAGE_FETCH:   a get of a cache that began a fetch, until its call returned.
 */
enum weir_event_kind {
	WEIR_EVENT_NONE = 0,
	WEIR_EVENT_LOCK_WAIT = 1,
	WEIR_EVENT_MAYBE_LOCK_WAIT = 2,
	WEIR_EVENT_OTHER_WAIT = 3,
	WEIR_EVENT_IO_URING = 4,
	WEIR_EVENT_BLOCK_IO = 5,
	WEIR_EVENT_STAGE_READ = 6,
	WEIR_EVENT_STAGE_WAIT = 7,
	WEIR_EVENT_STAGE_COMPUTE = 8,
	WEIR_EVENT_STAGE_FETCH = 9,
};

/* Bits of weir_trace_config.enabled and of weir_trace_meta.parts. */
#define WEIR_TRACE_LOCKS      (1u << 0) /* waits at futexes (T1): sched.bpf.c */
#define WEIR_TRACE_PAGE_CACHE (1u << 1) /* pagecache.bpf.c */
#define WEIR_TRACE_IO	      (1u << 2) /* io.bpf.c */
#define WEIR_TRACE_FAULTS     (1u << 3) /* page faults: miss.bpf.c */
#define WEIR_TRACE_CPU_MISSES (1u << 4) /* hardware counters: miss.bpf.c */
#define WEIR_TRACE_HOLDS      (1u << 5) /* holds, by the probes of weir's locks (T2): usdt.bpf.c */
#define WEIR_TRACE_CACHE      (1u << 6) /* by the probes of weir's cache: usdt.bpf.c */
#define WEIR_TRACE_DEEP	      (1u << 7) /* all locks, by breakpoints in the C library (T3): deep.bpf.c */
#define WEIR_TRACE_STAGES     (1u << 8) /* by the probe of weir's streams and caches: usdt.bpf.c */

/* Bits of weir_trace_config.stacks. */
#define WEIR_TRACE_HOLDER_STACKS (1u << 0)
#define WEIR_TRACE_WAITER_STACKS (1u << 1)
#define WEIR_TRACE_MISS_STACKS	 (1u << 2)

/**
 * struct weir_trace_meta - Map meta, one element: what this tracing is.
 * @abi:                WEIR_TRACE_ABI.
 * @tgid:               The process.
 * @started_ns:         When tracing began.
 * @target_start_ticks: When the process began, field 22 of /proc/PID/stat: tells it from a
 *                      later one of that number.
 * @parts:              WEIR_TRACE_*: what could be attached.
 * @cpu_miss_available: 1: CPU cache misses are counted; 0: there is no number, see
 *                      @cpu_miss_errno.
 * @cpu_miss_errno:     Why not.
 * @cpu_miss_source:    Which counter it is.
 * @miss_period:        Events for each sample of that counter.
 * @fault_period:       Minor faults for each sample.
 * @ended_ns:           When the last thread of the process ended; 0: it runs.
 * @nr_execs:           Since then the process runs another program at other addresses.
 * @nr_dropped:         Records that found no room in a map.
 * @part_errno:         By the bit of a part: 0, or why it could not be attached.
 * @modules_errno:      0, or why the map modules is empty.
 * @pad:                0.
 */
struct weir_trace_meta {
	__u32 abi;
	__u32 tgid;
	__u64 started_ns;
	__u64 target_start_ticks;
	__u32 parts;
	__u32 cpu_miss_available;
	__u32 cpu_miss_errno;
	enum weir_miss_source cpu_miss_source;
	__u32 miss_period;
	__u32 fault_period;
	__u64 ended_ns;
	__u64 nr_execs;
	__u64 nr_dropped;
	__u32 part_errno[12];
	__u32 modules_errno;
	__u32 pad;
};

/**
 * struct weir_trace_config - Map config, one element: may be changed while tracing.
 * @enabled:      WEIR_TRACE_*: the others return at once.
 * @stacks:       WEIR_TRACE_*_STACKS.
 * @min_event_ns: Shorter waits, holds and requests are counted but leave no event.
 * @slot_shift:   A slot of the timelines is 2^slot_shift ns long.
 * @pad:          0.
 * @libc_begin:   Addresses of the C library in the process: who calls a lock is outside of it.
 * @libc_end:     The first behind it; 0: not known, callers are not looked for.
 * @reserved:     0.
 */
struct weir_trace_config {
	__u32 enabled;
	__u32 stacks;
	__u64 min_event_ns;
	__u32 slot_shift;
	__u32 pad;
	__u64 libc_begin;
	__u64 libc_end;
	__u32 reserved[6];
};

/**
 * struct weir_trace_totals - Map totals, one element: sums over everything.
 * @lock_waits:   Waits of WEIR_WAIT_LOCK that ended.
 * @maybe_waits:  Of WEIR_WAIT_MAYBE_LOCK.
 * @other_waits:  Of WEIR_WAIT_OTHER.
 * @lock_wait_ns: Of @lock_waits: from blocking to running again.
 * @lock_held_ns: Part of it until the lock was released: held by somebody else.
 * @lock_runq_ns: The rest: the lock was free, but no CPU was.
 * @other_wait_ns: Of @other_waits.
 * @lookup_pages: Pages looked up in the page cache.
 * @miss_pages:   Pages that were brought into it.
 * @io_requests:  io_uring requests completed.
 * @io_ns:        Their time.
 * @block_requests: Requests to block devices completed.
 * @block_ns:     Their time.
 * @block_bytes:  Their size.
 * @minor_faults: Page faults served from memory, estimated from the samples.
 * @major_faults: Page faults that read a device.
 * @cpu_misses:   CPU cache misses, estimated; 0 and not a number where there is no counter.
 * @events:       Events written; the last WEIR_TRACE_EVENTS of them are in the map.
 * @holds:        Holds that a probe told of: sampled ones, and all that followed a wait.
 * @hold_ns:      Their time.
 * @cache_hits:   Gets that a cache of weir's served, estimated from the samples.
 * @cache_misses: Gets that began a fetch.
 * @cache_evictions: Copies that left for room.
 * @deep_takes:   Takes of mutexes that breakpoints saw.
 * @deep_wait_ns: Time in the calls that took them, what the breakpoints cost included.
 * @deep_holds:   Holds that ended.
 * @deep_hold_ns: Their time.
 * @stages:       Stages of a weir host that ended.
 */
struct weir_trace_totals {
	__u64 lock_waits;
	__u64 maybe_waits;
	__u64 other_waits;
	__u64 lock_wait_ns;
	__u64 lock_held_ns;
	__u64 lock_runq_ns;
	__u64 other_wait_ns;
	__u64 lookup_pages;
	__u64 miss_pages;
	__u64 io_requests;
	__u64 io_ns;
	__u64 block_requests;
	__u64 block_ns;
	__u64 block_bytes;
	__u64 minor_faults;
	__u64 major_faults;
	__u64 cpu_misses;
	__u64 events;
	__u64 holds;
	__u64 hold_ns;
	__u64 cache_hits;
	__u64 cache_misses;
	__u64 cache_evictions;
	__u64 deep_takes;
	__u64 deep_wait_ns;
	__u64 deep_holds;
	__u64 deep_hold_ns;
	__u64 stages;
};

/**
 * struct weir_addr_key - Key of lock_waits.
 * @addr: The futex, as the process sees it.
 */
struct weir_addr_key {
	__u64 addr;
};

/**
 * struct weir_lock_waits - Map lock_waits: waits at a futex.
 * @waits:        That ended.
 * @no_waker:     Of these, without a thread of the process that woke: time-outs, signals, a
 *                wake by another process.
 * @wait_ns:      From blocking to running again: @held_ns + @runq_ns.
 * @held_ns:      From blocking to the wake. A lower bound of the hold: it began before.
 * @runq_ns:      From the wake to running: waiting for a CPU, not for the lock.
 * @max_wait_ns:  The longest wait.
 * @max_held_ns:  The longest time to a wake.
 * @last_waker:   Thread that woke last.
 * @kind:         What the last wait was for.
 * @wait_log2_ns: Histogram of the waits.
 * @held_log2_ns: Histogram of the times to the wake.
 */
struct weir_lock_waits {
	__u64 waits;
	__u64 no_waker;
	__u64 wait_ns;
	__u64 held_ns;
	__u64 runq_ns;
	__u64 max_wait_ns;
	__u64 max_held_ns;
	__u32 last_waker;
	enum weir_wait_kind kind;
	__u32 wait_log2_ns[WEIR_LOCK_BUCKETS];
	__u32 held_log2_ns[WEIR_LOCK_BUCKETS];
};

/**
 * struct weir_site_key - Key of lock_holders and lock_waiters: who, and where in the code.
 * @addr:     The futex.
 * @tid:      The thread.
 * @stack_id: In the map stacks; negative: none, the reason as -errno.
 * @caller:   The address behind the call into the C library; 0: not known. The stack lacks it,
 *            because that library keeps no frame pointers.
 */
struct weir_site_key {
	__u64 addr;
	__u32 tid;
	__s32 stack_id;
	__u64 caller;
};

/**
 * struct weir_site - Value of lock_holders and lock_waiters.
 * @times: Wakes that ended somebody's wait; or waits.
 * @ns:    Time that others waited for it; or time waited.
 * @comm:  The thread's name.
 */
struct weir_site {
	__u64 times;
	__u64 ns;
	char comm[WEIR_COMM_BYTES];
};

/**
 * struct weir_waiting - Map waiting, by tid: threads that are blocked at a futex now.
 * @addr:     The futex.
 * @since_ns: When it blocked.
 * @woken_ns: When it was woken; 0: not yet.
 * @waker:    By which thread; 0: by none of the process.
 * @owner:    Of a LOCK of the C library: who held it when the thread blocked; else 0.
 * @kind:     What it waits for.
 * @stack_id: The waker's stack when it released.
 * @own_stack_id: The thread's own.
 * @pad:      0.
 * @waker_caller: As in struct weir_site_key, of the waker.
 * @own_caller: The thread's own.
 * @waker_comm: The waker's name.
 */
struct weir_waiting {
	__u64 addr;
	__u64 since_ns;
	__u64 woken_ns;
	__u32 waker;
	__u32 owner;
	enum weir_wait_kind kind;
	__s32 stack_id;
	__s32 own_stack_id;
	__u32 pad;
	__u64 waker_caller;
	__u64 own_caller;
	char waker_comm[WEIR_COMM_BYTES];
};

/**
 * struct weir_miss_key - Key of cache_misses.
 * @tid:    The thread.
 * @source: What is counted.
 */
struct weir_miss_key {
	__u32 tid;
	enum weir_miss_source source;
};

/**
 * struct weir_miss_site_key - Key of miss_sites.
 * @stack_id: Place in the code, in the map stacks; negative: none, the reason as -errno.
 * @source:   What is counted.
 */
struct weir_miss_site_key {
	__s32 stack_id;
	enum weir_miss_source source;
};

/**
 * struct weir_miss - Value of cache_misses and miss_sites.
 * @samples:   Times that the program ran.
 * @events:    Events that these stand for.
 * @last_addr: Of a page fault: the address; else 0.
 * @comm:      The thread's name.
 */
struct weir_miss {
	__u64 samples;
	__u64 events;
	__u64 last_addr;
	char comm[WEIR_COMM_BYTES];
};

/**
 * struct weir_file_key - Key of page_cache: a file.
 * @ino: Its inode.
 * @dev: Its device as the kernel keeps it: major << 20 | minor.
 * @pad: 0.
 */
struct weir_file_key {
	__u64 ino;
	__u32 dev;
	__u32 pad;
};

/**
 * struct weir_file - Value of page_cache, one for each CPU.
 * @lookup_pages: Looked up by read calls of the process.
 * @miss_pages:   Brought into the cache by them, read-ahead included.
 * @map_pages:    Mapped by faults around an address.
 * @faults:       Faults of a mapping that had to look.
 */
struct weir_file {
	__u64 lookup_pages;
	__u64 miss_pages;
	__u64 map_pages;
	__u64 faults;
};

/**
 * struct weir_io_key - Key of io_times.
 * @source: Where it was seen.
 * @op:     Of io_uring: IORING_OP_*; of a block device: read (0), write (1), or another of
 *          REQ_OP_*.
 */
struct weir_io_key {
	enum weir_io_source source;
	__u32 op;
};

/**
 * struct weir_io_times - Value of io_times.
 * @requests: That were completed.
 * @ns:       Their time.
 * @max_ns:   The longest.
 * @bytes:    Their size; of io_uring 0.
 * @log2_ns:  Histogram of the times.
 */
struct weir_io_times {
	__u64 requests;
	__u64 ns;
	__u64 max_ns;
	__u64 bytes;
	__u32 log2_ns[WEIR_LOCK_BUCKETS];
};

/**
 * struct weir_trace_event - Map events: the last WEIR_TRACE_EVENTS things that took time.
 * @seq:      Its number from 1 on, written last: at index (seq - 1) % WEIR_TRACE_EVENTS.
 * @addr:     The futex, the lock; of a stage its unit or the lower half of its key; or 0.
 * @start_ns: When it began.
 * @woken_ns: Of a wait: the wake; else @end_ns.
 * @end_ns:   When it ended.
 * @tid:      The thread.
 * @other:    Of a wait: who woke it; of I/O: the operation.
 * @stack_id: Of a wait: the waker's stack.
 * @kind:     What it was.
 * @comm:     The thread's name.
 */
struct weir_trace_event {
	__u64 seq;
	__u64 addr;
	__u64 start_ns;
	__u64 woken_ns;
	__u64 end_ns;
	__u32 tid;
	__u32 other;
	__s32 stack_id;
	enum weir_event_kind kind;
	char comm[WEIR_COMM_BYTES];
};

/**
 * struct weir_trace_slot - Map timeline: a stretch of time.
 * @stamp:   Its number: CLOCK_MONOTONIC >> slot_shift; at index stamp % WEIR_TRACE_SLOTS.
 * @log2_ns: Histogram of the times to a wake, of the lock waits that ended in it.
 */
struct weir_trace_slot {
	__u64 stamp;
	__u32 log2_ns[WEIR_LOCK_BUCKETS];
};

/**
 * struct weir_lock_holds - Map lock_holds, by the lock's address: true holds.
 * @samples:      Takes of a free lock that were sampled, one in WEIR_LOCK_SAMPLE_EVERY or as
 *                the process times its locks itself.
 * @contended:    Takes that had waited: all that began since.
 * @hold_ns:      Time held by both.
 * @wait_ns:      Time that the contended ones had waited.
 * @max_hold_ns:  The longest hold of them.
 * @max_wait_ns:  The longest wait.
 * @blocked:      Takes that began to wait.
 * @last_holder:  Thread that released last.
 * @last_owner:   Who was in the way when a take last began to wait; 0: not known.
 * @hold_log2_ns: Histogram of the holds.
 */
struct weir_lock_holds {
	__u64 samples;
	__u64 contended;
	__u64 hold_ns;
	__u64 wait_ns;
	__u64 max_hold_ns;
	__u64 max_wait_ns;
	__u64 blocked;
	__u32 last_holder;
	__u32 last_owner;
	__u32 hold_log2_ns[WEIR_LOCK_BUCKETS];
};

/**
 * struct weir_cache_key - Key of cache_events.
 * @tid:   The thread.
 * @tier:  1 or 2, as in weir/cache.h.
 * @event: What happened.
 * @pad:   0.
 */
struct weir_cache_key {
	__u32 tid;
	__u32 tier;
	enum weir_cache_event event;
	__u32 pad;
};

/**
 * struct weir_cache_site_key - Key of cache_sites.
 * @stack_id: Place in the code, in the map stacks; negative: none, the reason as -errno.
 * @event:    What happened there.
 */
struct weir_cache_site_key {
	__s32 stack_id;
	enum weir_cache_event event;
};

/**
 * struct weir_cache_events - Value of cache_events and cache_sites.
 * @samples:  Times that the probe fired.
 * @events:   Events that these stand for.
 * @bytes:    Of the entries, for as many.
 * @last_key: Of a miss or an eviction: the lower half of the entry's key; else 0.
 * @comm:     The thread's name.
 */
struct weir_cache_events {
	__u64 samples;
	__u64 events;
	__u64 bytes;
	__u64 last_key;
	char comm[WEIR_COMM_BYTES];
};

/**
 * struct weir_lock_deep - Map lock_deep, by the mutex's address: takes and holds, all of them.
 * @takes:        Times it was taken.
 * @holds:        Times it was let go, of those that were seen to be taken.
 * @wait_ns:      Time in the call that took it, what the breakpoints cost included.
 * @hold_ns:      Time held by @holds.
 * @max_wait_ns:  The longest wait.
 * @max_hold_ns:  The longest hold.
 * @unknown:      Times it was let go without having been seen to be taken: before tracing
 *                began, or while a condition was waited for.
 * @last_holder:  Thread that let it go last.
 * @pad:          0.
 * @wait_log2_ns: Histogram of the waits.
 * @hold_log2_ns: Histogram of the holds.
 */
struct weir_lock_deep {
	__u64 takes;
	__u64 holds;
	__u64 wait_ns;
	__u64 hold_ns;
	__u64 max_wait_ns;
	__u64 max_hold_ns;
	__u64 unknown;
	__u32 last_holder;
	__u32 pad;
	__u32 wait_log2_ns[WEIR_LOCK_BUCKETS];
	__u32 hold_log2_ns[WEIR_LOCK_BUCKETS];
};

/**
 * struct weir_module - Map modules, by number from 0 on: a file that the process runs code of, so that its addresses
 *                      have names also when the process has ended.
 * @begin:          Its first address in the process.
 * @end:            The first behind it.
 * @bias:           What is added to an address in the file to get the one in the process.
 * @ino:            Of the file, and so on: what it was when it was mapped.
 * @bytes:          Its size.
 * @mtime_ns:       When it was written.
 * @build_id_bytes: Of its build id; 0: it has none.
 * @build_id:       What its linker called it, cut at 20 bytes.
 * @path:           As the process sees it; a longer one is cut at its front.
 */
struct weir_module {
	__u64 begin;
	__u64 end;
	__u64 bias;
	__u64 ino;
	__u64 bytes;
	__u64 mtime_ns;
	__u32 build_id_bytes;
	__u8 build_id[20];
	char path[WEIR_PATH_BYTES];
};

/**
 * struct weir_lock_name - Map lock_names, by address: what a process that times its locks calls
 *                         them, as last seen.
 * @bytes: A futex from that address to below it + @bytes is this lock's.
 * @name:  Of the lock.
 */
struct weir_lock_name {
	__u64 bytes;
	char name[WEIR_LOCK_NAME_BYTES];
};

/* A layout is an assert: whole cache lines, the counters apart from the names. */
#if defined(__cplusplus)
#define WEIR_ABI_BYTES(type, bytes) static_assert(sizeof(struct type) == (bytes), #type)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define WEIR_ABI_BYTES(type, bytes) _Static_assert(sizeof(struct type) == (bytes), #type)
#endif
#ifdef WEIR_ABI_BYTES
WEIR_ABI_BYTES(weir_lock_meta, 128);
WEIR_ABI_BYTES(weir_lock_rank, 96);
WEIR_ABI_BYTES(weir_lock_self, 384);
WEIR_ABI_BYTES(weir_trace_meta, 128);
WEIR_ABI_BYTES(weir_trace_config, 64);
WEIR_ABI_BYTES(weir_trace_totals, 224);
WEIR_ABI_BYTES(weir_lock_waits, 320);
WEIR_ABI_BYTES(weir_site_key, 24);
WEIR_ABI_BYTES(weir_site, 32);
WEIR_ABI_BYTES(weir_waiting, 80);
WEIR_ABI_BYTES(weir_miss, 40);
WEIR_ABI_BYTES(weir_file, 32);
WEIR_ABI_BYTES(weir_io_times, 160);
WEIR_ABI_BYTES(weir_trace_event, 72);
WEIR_ABI_BYTES(weir_trace_slot, 136);
WEIR_ABI_BYTES(weir_lock_holds, 192);
WEIR_ABI_BYTES(weir_cache_key, 16);
WEIR_ABI_BYTES(weir_cache_events, 48);
WEIR_ABI_BYTES(weir_lock_deep, 320);
WEIR_ABI_BYTES(weir_module, 328);
WEIR_ABI_BYTES(weir_lock_name, 32);
#undef WEIR_ABI_BYTES
#endif

#endif /* WEIR_TRACE_ABI_H */
