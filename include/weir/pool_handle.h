/* SPDX-License-Identifier: MIT */
/**
 * weir/pool_handle.h - Pool memory that may move, and moving it together.
 *
 * A pool whose small blocks were freed at random has room and no large block: after
 * seven of eight blocks of 64 KiB went, one 2 MiB range in seventy is free. A host
 * that names its blocks by handles and pins them while it looks at them lets the pool
 * move what is not pinned, and gets its large blocks back.
 *
 *	struct weir_handle h;
 *	void *p;
 *
 *	weir_handle_alloc(pool, 65536, WEIR_NODE_ANY, WEIR_HANDLE_MOVABLE, "kv", &h);
 *	weir_handle_pin(pool, h, &p);	(p is valid and stays where it is)
 *	weir_handle_unpin(pool, h);	(p may move: forget it)
 *	weir_handle_free(pool, h);
 *
 * Guarantees:
 *  (a) Between a pin and its unpin the block's address and, but for what the holders
 *      of pins write, its bytes do not change, whatever is compacted meanwhile.
 *  (b) What was written under a pin is there under every later pin, wherever the block
 *      lies by then: an unpin is a release, a pin an acquire.
 *  (c) A pin is one atomic operation on the handle's own word, and takes no lock,
 *      unless the block is being copied at that moment. Then it waits for that copy, of
 *      one block or a few small ones, to end, or, as weir_handle_pin_try(), says so.
 *  (d) Nobody waits for a pin: compaction goes round a pinned block. A pin held for
 *      ever costs room, it stops nothing.
 *  (e) A handle that is not live (freed twice, freed by another, of another pool, made
 *      up) is detected and changes nothing; the log gets a line with the name of the
 *      call, and the tag of the allocation where it is still known. No handle is ever taken
 *      for another: a slot whose generations are used up is not used again.
 *  (f) A block moves only within its NUMA node.
 *
 * Which calls may run at once: all of them, on any handles, from any threads, but for
 * weir_pool_close(). Of two frees of one handle one succeeds. Free against pin: one of
 * the two succeeds. One compaction of a pool runs at a time.
 *
 * Cost: 9 bytes a handle, taken from the system 1,024 at a time and kept until the pool
 * is closed, as many as were ever live at once; with the first handle, a bit for each
 * smallest block of the pool and 8 bytes for each 1,024 of them. Blocks of movable handles
 * need none of the 8 bytes that each block of a span costs, unless less than all of them
 * was asked for: a pool full of blocks of 4 KiB has 0.23 % of metadata. After 2^47 handles
 * a pool gives no more.
 */
#ifndef WEIR_POOL_HANDLE_H
#define WEIR_POOL_HANDLE_H

#include <weir/base.h>
#include <weir/pool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The block may be moved while nobody has it pinned. */
#define WEIR_HANDLE_MOVABLE (1u << 0)

/**
 * struct weir_handle - A block of a pool, wherever it lies.
 * @slot:       Its place in the pool's table of handles.
 * @generation: Tells it from those that had the slot before and after; never 0.
 * @pool:       Which pool of this process; opaque.
 *
 * A plain value: copies are the same handle. All zero is "no handle".
 */
struct weir_handle {
	uint32_t slot;
	uint32_t generation;
	uint32_t pool;
};

/**
 * struct weir_handle_info - What a handle stands for.
 * @bytes:   Usable size: what was asked for, rounded up to the smallest block.
 * @tag:     As given to weir_handle_alloc(); "" when that was NULL.
 * @flags:   WEIR_HANDLE_*.
 * @nr_pins: Pins held when it was looked at.
 * @node:    NUMA node, -1 when the machine has no such notion.
 */
struct weir_handle_info {
	size_t bytes;
	const char *tag;
	uint32_t flags;
	uint32_t nr_pins;
	int32_t node;
};

/**
 * struct weir_handle_stats - Counters of a pool's handles since it was opened.
 * @nr_live:           Live handles.
 * @nr_slots:          Slots there is memory for.
 * @metadata_bytes:    Memory that handles use; part of the pool's metadata_bytes.
 * @nr_double_frees:   Handles given to a call after they were freed, slot not reused.
 * @nr_stale:          The same, after the slot had been reused.
 * @nr_foreign:        Handles that this pool never gave.
 * @nr_unpin_faults:   Unpins of a block that had no pin.
 * @nr_pin_waits:      Pins and frees that met a copy and waited.
 * @nr_moves:          Blocks moved.
 * @moved_bytes:       Their bytes.
 * @longest_pause_ns:  The longest time that a block could not be pinned.
 * @nr_compactions:    Calls of weir_pool_compact(), those of the maintenance thread too.
 */
struct weir_handle_stats {
	uint64_t nr_live;
	uint64_t nr_slots;
	uint64_t metadata_bytes;
	uint64_t nr_double_frees;
	uint64_t nr_stale;
	uint64_t nr_foreign;
	uint64_t nr_unpin_faults;
	uint64_t nr_pin_waits;
	uint64_t nr_moves;
	uint64_t moved_bytes;
	uint64_t longest_pause_ns;
	uint64_t nr_compactions;
};

/**
 * weir_handle_alloc() - Take a block and get a handle for it.
 * @pool:  Pool to take from.
 * @bytes: Size wanted, as for weir_pool_alloc().
 * @node:  NUMA node, or WEIR_NODE_ANY, as for weir_pool_alloc().
 * @flags: WEIR_HANDLE_MOVABLE or 0. Movable blocks come from the high end of a node's
 *         memory and all others from the low end, so that they mix only when the
 *         memory between them has run out.
 * @tag:   A word for reports, or NULL. Kept by pointer: it must outlive the pool. Of one
 *         pool's tags the first 4,095 are kept, others are "".
 * @ret:   The handle, not pinned; untouched on failure. Contents undefined.
 *
 * Context: Any thread. Takes POOL_HANDLE, then what weir_pool_alloc() takes. Does not
 *          sleep; may take memory from the system for more slots.
 * Owner:   The caller, until weir_handle_free().
 * Return:  0, -EINVAL (bytes is 0 or above what an arena can ever hold, an unknown flag,
 *          or a fork child), -ENOSPC (no room now), -ENOMEM (no memory for the table),
 *          -ENODEV (no such node), -EOPNOTSUPP (the pool has more than 2^32 smallest blocks).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_handle_alloc(struct weir_pool *pool, size_t bytes, int node,
					       uint32_t flags, const char *tag,
					       struct weir_handle *ret);

/**
 * weir_handle_free() - Give the block back; the handle is dead.
 * @pool:   Pool the handle is of.
 * @handle: The handle, by value; a zero handle is ignored.
 *
 * Context: Any thread that holds no lock of weir. Takes what weir_pool_free() takes, then
 *          POOL_HANDLE. Sleeps only while the block is being moved.
 * Return:  0, -EINVAL (not a handle of this pool), -ESTALE (was freed before),
 *          -EBUSY (it is pinned; nothing was done).
 * Since:   0.1
 */
WEIR_API int weir_handle_free(struct weir_pool *pool, struct weir_handle handle);

/**
 * weir_handle_pin() - Keep the block where it is, and say where.
 * @pool:   Pool the handle is of.
 * @handle: The handle.
 * @ret:    First byte of the block; untouched on failure. Valid until the unpin.
 *
 * Pins are counted: each needs its weir_handle_unpin(), by any thread.
 *
 * Context: Any thread that holds no lock of weir. Takes no lock and does not sleep,
 *          unless the block is being moved: then it waits for the end of that copy.
 * Return:  0, -EINVAL (not a handle of this pool), -ESTALE (was freed before),
 *          -EBUSY (8,191 pins are held).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_handle_pin(struct weir_pool *pool, struct weir_handle handle,
					     void **ret);

/**
 * weir_handle_pin_try() - As weir_handle_pin(), but never wait.
 * @pool:   Pool the handle is of.
 * @handle: The handle.
 * @ret:    First byte of the block; untouched on failure. Valid until the unpin.
 *
 * Context: Any thread. Takes no lock and does not sleep.
 * Return:  As weir_handle_pin(), and -EAGAIN (the block is being moved).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_handle_pin_try(struct weir_pool *pool, struct weir_handle handle,
						 void **ret);

/**
 * weir_handle_unpin() - Let the block move again.
 * @pool:   Pool the handle is of.
 * @handle: The handle; a zero handle is ignored.
 *
 * Context: Any thread. Takes no lock and does not sleep.
 * Return:  0, -EINVAL (not a handle of this pool, or no pin is held), -ESTALE (was freed
 *          before).
 * Since:   0.1
 */
WEIR_API int weir_handle_unpin(struct weir_pool *pool, struct weir_handle handle);

/**
 * weir_handle_info() - Look up what a handle stands for.
 * @pool:   Pool the handle is of.
 * @handle: The handle; the caller knows that nobody frees it meanwhile.
 * @ret:    Filled; untouched on failure.
 *
 * Context: Any thread. Takes no lock and does not sleep.
 * Return:  0, -EINVAL (not a handle of this pool), -ESTALE (was freed before).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_handle_info(struct weir_pool *pool, struct weir_handle handle,
					      struct weir_handle_info *ret);

/**
 * weir_handle_stats() - Read the counters.
 * @pool: The pool.
 * @ret:  Filled; each counter by itself, not all at one instant. Zero in a fork child.
 *
 * Context: Any thread. Takes no lock.
 * Since:   0.1
 */
WEIR_API void weir_handle_stats(struct weir_pool *pool, struct weir_handle_stats *ret);

/* As @nr_wanted: as many as can be had. */
#define WEIR_COMPACT_ALL UINT64_MAX

/**
 * struct weir_compact_opts - What to reach and what it may cost. Zero means the default.
 * @size:         sizeof(struct weir_compact_opts).
 * @target_bytes: Size of the free block that is wanted, a power of two, at least twice
 *                the smallest block and not above a node's arena. Default: 2 MiB.
 * @nr_wanted:    Stop when the nodes compacted have so many free blocks of that size, at
 *                multiples of it. Default: 1. WEIR_COMPACT_ALL: while there is gain.
 * @max_bytes:    Move at most so many bytes. Default: no limit.
 * @max_pause_ns: Leave a block where it is when copying it is likely to take longer, by
 *                the speed of the copies so far. Default: no limit.
 * @node_mask:    Bit n set: compact NUMA node n. Default: all of the pool.
 */
struct weir_compact_opts {
	size_t size;
	size_t target_bytes;
	uint64_t nr_wanted;
	uint64_t max_bytes;
	uint64_t max_pause_ns;
	uint64_t node_mask;
};

/* Why a compaction ended. */
enum weir_compact_reason {
	WEIR_COMPACT_REACHED = 0, /* nr_wanted blocks are free */
	WEIR_COMPACT_NO_GAIN = 1, /* no range can be emptied: pins, unmovable blocks, no holes */
	WEIR_COMPACT_NO_ROOM = 2, /* the holes that are left do not hold what would move */
	WEIR_COMPACT_LIMIT = 3,	  /* max_bytes */
	WEIR_COMPACT_STOPPED = 4, /* weir_pool_maintain_stop() */
	WEIR_COMPACT_REASONS = 5,
};

/**
 * struct weir_compact_report - What a compaction did.
 * @reason:           enum weir_compact_reason.
 * @nr_free_before:   Free blocks of the target size, aligned, at the start,
 * @nr_free_after:    and at the end.
 * @nr_emptied:       Ranges of the target size that it emptied.
 * @nr_moves:         Blocks moved.
 * @moved_bytes:      Their bytes.
 * @bound_bytes:      What had to be moved at least to empty @nr_emptied ranges: the bytes
 *                    in use in the emptiest ones, at the start, in each node's arena.
 * @wasted_bytes:     The part of @moved_bytes that came out of ranges which were not
 *                    emptied in the end, because others pinned or allocated meanwhile.
 * @nr_pinned:        Blocks met that were pinned.
 * @nr_too_long:      Blocks left because of max_pause_ns.
 * @ns:               Time taken.
 * @copy_ns:          Of this, copying.
 * @longest_pause_ns: The longest time that a moved block could not be pinned.
 * @median_pause_ns:  Half of the moved blocks had no longer one,
 * @p99_pause_ns:     and 99 of 100 had none longer than this; both to an eighth.
 */
struct weir_compact_report {
	uint32_t reason;
	uint32_t reserved;
	uint64_t nr_free_before;
	uint64_t nr_free_after;
	uint64_t nr_emptied;
	uint64_t nr_moves;
	uint64_t moved_bytes;
	uint64_t bound_bytes;
	uint64_t wasted_bytes;
	uint64_t nr_pinned;
	uint64_t nr_too_long;
	uint64_t ns;
	uint64_t copy_ns;
	uint64_t longest_pause_ns;
	uint64_t median_pause_ns;
	uint64_t p99_pause_ns;
};

/**
 * weir_pool_compact() - Move blocks together until a large one is free.
 * @pool: The pool.
 * @opts: What is wanted; NULL for the defaults.
 * @ret:  What was done; untouched on failure. May be NULL.
 *
 * Of the aligned ranges of the target size in which every block in use is movable and
 * not pinned, the one with the least bytes in use is emptied into the fullest ranges,
 * then the next, until the target is reached or the two meet: no block moves twice. A
 * range is begun only when all its blocks have found a place. A pin waits for the copy of
 * one block at most, or of up to eight small ones that are together 32 KiB. Reaching less
 * than was wanted is not a failure; @ret says why. What threads keep ready is taken
 * back first, as by weir_pool_trim(): it would stand in the way.
 *
 * Context: Any thread that holds no lock of weir. May block. Copies in the calling thread.
 * Cost:    One pass over the handles and the bits of the pool, then the copies. Memory
 *          for the plan: 16 bytes for each range of the target size, and 8 for each
 *          block in the ranges to be emptied.
 * Return:  0, -EINVAL (an option is out of its rules, or a fork child), -E2BIG (newer
 *          options than this library knows), -ENODEV (a node that the pool does not
 *          have), -EAGAIN (another compaction of this pool is running), -ENOMEM (no
 *          memory for the plan; nothing was moved).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_pool_compact(struct weir_pool *pool,
					       const struct weir_compact_opts *opts,
					       struct weir_compact_report *ret);

/**
 * weir_compact_reason_name() - A reason as text.
 * @reason: enum weir_compact_reason.
 *
 * Context: Any thread. Takes no lock.
 * Return:  "reached", "no-gain", "no-room", "limit", "stopped", or "unknown"; static.
 * Since:   0.1
 */
WEIR_API const char *weir_compact_reason_name(uint32_t reason);

/**
 * struct weir_maintain_opts - When the pool compacts itself. Zero means the default.
 * @size:                   sizeof(struct weir_maintain_opts).
 * @target_bytes:           As in struct weir_compact_opts. Default: 2 MiB.
 * @interval_ns:            Time between two looks. Default: 100 ms. Doubled, up to 16
 *                          times, while there is nothing to do.
 * @fragmentation_permille: Compact above this; see @fragmentation_permille below.
 *                          Default: 300.
 * @utilisation_permille:   Compact above this part of the pool in use. Default: 800.
 * @bytes_per_second:       Move no more than this, averaged. Default: 1 GiB.
 * @max_pause_ns:           As in struct weir_compact_opts. Default: 10 ms.
 */
struct weir_maintain_opts {
	size_t size;
	size_t target_bytes;
	uint64_t interval_ns;
	uint64_t fragmentation_permille;
	uint64_t utilisation_permille;
	uint64_t bytes_per_second;
	uint64_t max_pause_ns;
};

/**
 * struct weir_maintain_stats - What the maintenance thread saw and did so far.
 * @is_running:             1 between start and stop.
 * @fragmentation_permille: At the last look: the part of the free bytes that lies in no
 *                          free block of the target size.
 * @utilisation_permille:   At the last look: the part of all bytes that is in use.
 * @nr_looks:               Looks so far.
 * @nr_by_fragmentation:    Looks at which fragmentation was above its threshold,
 * @nr_by_utilisation:      and, if not, utilisation.
 * @nr_no_gain:             Of these, with nothing to gain: nothing was moved.
 * @nr_runs:                Of these, with blocks moved.
 * @nr_failed:              Compactions that had no memory, or met another one.
 * @nr_emptied:             Ranges of the target size emptied.
 * @moved_bytes:            Bytes moved.
 * @ns:                     Time spent.
 * @trimmed_bytes:          Bytes taken back from threads, above a threshold.
 */
struct weir_maintain_stats {
	uint64_t is_running;
	uint64_t fragmentation_permille;
	uint64_t utilisation_permille;
	uint64_t nr_looks;
	uint64_t nr_by_fragmentation;
	uint64_t nr_by_utilisation;
	uint64_t nr_no_gain;
	uint64_t nr_runs;
	uint64_t nr_failed;
	uint64_t nr_emptied;
	uint64_t moved_bytes;
	uint64_t ns;
	uint64_t trimmed_bytes;
};

/**
 * weir_pool_maintain_start() - Let a thread compact the pool when it is worth it.
 * @pool: The pool.
 * @opts: Thresholds; NULL for the defaults.
 *
 * The thread looks at the pool from time to time. Above a threshold it takes back what
 * threads keep ready, as weir_pool_trim() does, and asks what could be gained; only if a range of the target size can be emptied does it move anything.
 *
 * Context: Any thread that holds no lock of weir. May block. Starts a thread.
 * Return:  0, -EINVAL (an option is out of its rules, or a fork child), -E2BIG (newer
 *          options than this library knows), -EALREADY (it runs), -ENOMEM, -EAGAIN (the
 *          system gives no thread).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_pool_maintain_start(struct weir_pool *pool,
						      const struct weir_maintain_opts *opts);

/**
 * weir_pool_maintain_stop() - End the thread.
 * @pool: The pool, or NULL. Nothing happens when no thread runs.
 *
 * Waits for the block that is being copied, for nothing else. weir_pool_close() does it.
 *
 * Context: Any thread that holds no lock of weir. May block. Joins the thread.
 * Since:   0.1
 */
WEIR_API void weir_pool_maintain_stop(struct weir_pool *pool);

/**
 * weir_pool_maintain_stats() - Read what the thread did.
 * @pool: The pool.
 * @ret:  Filled; zero when none was ever started, or in a fork child. Counters go on from
 *        one start to the next.
 *
 * Context: Any thread. Takes POOL_COMPACT.
 * Since:   0.1
 */
WEIR_API void weir_pool_maintain_stats(struct weir_pool *pool, struct weir_maintain_stats *ret);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_POOL_HANDLE_H */
