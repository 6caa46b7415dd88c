/* SPDX-License-Identifier: MIT */
/**
 * weir/trace_abi.h - What a running process writes for others to read.
 *
 * These structs lie in memory that two programs share: the process that holds
 * the locks and the one that watches, or a BPF program and whoever maps its
 * pinned maps. So they contain fixed-size fields only, no padding the compiler
 * chose, no pointers and no enums, and the header needs nothing but
 * linux/types.h: a BPF program can include it too.
 *
 * Lock timing (T0) is three tables, each an array that can be mapped:
 *
 *   meta    one struct weir_lock_meta
 *   ranks   struct weir_lock_rank, one for each rank, by its number
 *   slots   struct weir_lock_self, one for each lock that has one
 *
 * A process that times its locks keeps them one after the other in a memfd named
 * WEIR_LOCK_MEMFD, at the offsets that meta states; weir/lock_trace.h reads it.
 * As maps, each table is one BPF array of that value, and the offsets are 0.
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
#define WEIR_LOCK_ABI	1u
#define WEIR_LOCK_MEMFD "weir-locks"

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
 * @pad:          0.
 * @ranks_at:     Where the table of ranks begins in the file.
 * @slots_at:     Where the table of slots begins in the file.
 * @nr_dropped:   Timed takes of locks for which there was no slot.
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
	__u32 pad;
	__u64 ranks_at;
	__u64 slots_at;
	__u64 nr_dropped;
	__u64 reserved[7];
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

/* A layout is an assert: whole cache lines, the counters apart from the names. */
#if defined(__cplusplus)
static_assert(sizeof(struct weir_lock_meta) == 128, "weir_lock_meta");
static_assert(sizeof(struct weir_lock_rank) == 96, "weir_lock_rank");
static_assert(sizeof(struct weir_lock_self) == 384, "weir_lock_self");
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
_Static_assert(sizeof(struct weir_lock_meta) == 128, "weir_lock_meta");
_Static_assert(sizeof(struct weir_lock_rank) == 96, "weir_lock_rank");
_Static_assert(sizeof(struct weir_lock_self) == 384, "weir_lock_self");
#endif

#endif /* WEIR_TRACE_ABI_H */
