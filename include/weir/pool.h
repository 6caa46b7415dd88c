/* SPDX-License-Identifier: MIT */
/**
 * weir/pool.h - Memory the weights land in: huge pages, one arena per NUMA node.
 *
 * A pool reserves its whole capacity once, backs it with the largest pages the
 * machine gives (1 GiB hugetlb, 2 MiB hugetlb, transparent huge pages, 4 KiB, in this
 * order: what the large ones do not suffice for is given by the next, and each step down
 * is reported with its reason), touches it from threads
 * of its node, and never gives it back while it is open. Blocks are cut from it
 * by a buddy allocator that returns the tail of a rounded-up block, so that a
 * span occupies exactly its size in units of the smallest block. The metadata
 * lies outside the managed memory: nothing the caller writes can corrupt it. It is
 * 8 bytes and a few bits for each smallest block: 0.2 % at 4 KiB, 3.1 % at 256 B. The
 * 8 bytes are taken for 512 blocks at a time, when the first of them becomes a span.
 *
 * A pool belongs to the process that opened it. A fork child does not get the memory
 * (a page shared for copy-on-write while a device writes into it would be lost to one
 * of the two): in the child every call on the pool is -EINVAL, its statistics are
 * zero, and only weir_pool_close() does something, to the child's copy alone.
 *
 * Why huge pages and touching first: a direct read into 4 KiB pages costs the
 * kernel one segment per page, and fresh pages on a virtual machine arrive more
 * slowly than the disk reads (docs/measuring.md).
 */
#ifndef WEIR_POOL_H
#define WEIR_POOL_H

#include <stdbool.h>

#include <weir/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir_pool;

/* Kinds of page, smallest first. As a mask: 1u << kind. */
enum weir_page_kind {
	WEIR_PAGE_4K = 0,  /* ordinary pages */
	WEIR_PAGE_THP = 1, /* ordinary memory the kernel backs with 2 MiB pages */
	WEIR_PAGE_2M = 2,  /* 2 MiB hugetlb pages */
	WEIR_PAGE_1G = 3,  /* 1 GiB hugetlb pages */
	WEIR_PAGE_KINDS = 4,
};

/*
 * Do not touch the pages at open; the first user pays for each. Hugetlb pages are
 * touched nevertheless: one that is missing at first use would kill the process.
 */
#define WEIR_POOL_LAZY (1u << 0)
/* Fail where a node cannot give its share, instead of taking pages of other nodes. */
#define WEIR_POOL_STRICT_NODE (1u << 1)
/*
 * Keep no blocks ready for threads: each call takes the lock of a node's arena (about 20
 * times as long), and what is free is always one buddy's to give, lowest address first.
 */
#define WEIR_POOL_NO_MAGAZINES (1u << 2)
/*
 * weir_pool_purge() may give pages back to the system. Not for a pool whose regions are
 * registered with a device or an engine: that would go on using the pages it was shown.
 */
#define WEIR_POOL_MAY_PURGE (1u << 3)
/*
 * Find who writes where he should not: a guard block behind each span, patterns in memory
 * that is new, spare or free, and the tags of allocations in reports. Slow, and each span
 * costs a block more. A movable handle's guard is also looked at before its block moves, and
 * those of all that is live when the pool is closed.
 */
#define WEIR_POOL_DEBUG (1u << 4)

/**
 * struct weir_page_step - Memory of a node that a kind of page did not give.
 * @node:      The node, -1 when the machine has no such notion.
 * @kind:      enum weir_page_kind that was tried.
 * @next_kind: Tried next for these bytes; WEIR_PAGE_KINDS when no other is allowed. The
 *             same as @kind: there are such pages, but they lie on other nodes.
 * @code:      -ENOMEM (there are such pages, and too few), -EOPNOTSUPP (this system has
 *             none, or none that suit).
 * @bytes:     How much of the node's share.
 * @reason:    One sentence, as in weir_pool_page_reason().
 */
struct weir_page_step {
	int32_t node;
	uint32_t kind;
	uint32_t next_kind;
	int32_t code;
	uint64_t bytes;
	char reason[200];
};

/**
 * struct weir_pool_opts - How to open a pool. Zero means the default.
 * @size:              sizeof(struct weir_pool_opts).
 * @capacity_bytes:    Bytes to manage, summed over all nodes; each node's share is
 *                     rounded down to the size of the pages obtained (less than 2 MiB
 *                     a node are lost that way). No default: 0 is -EINVAL.
 * @node_mask:         Bit n set: use NUMA node n. Default: all nodes with memory
 *                     that this process may use. The capacity is split evenly.
 * @page_kinds:        Mask of 1u << enum weir_page_kind that may be used.
 *                     Default: all. WEIR_PAGE_4K alone also switches THP off.
 * @flags:             WEIR_POOL_*.
 * @block_bytes:       Smallest block, a power of two from 256 to 2 MiB.
 *                     Default 4096.
 * @prefault_threads:  Threads that touch the memory, per node. Default: as many
 *                     as the node has cores, at most 8.
 * @progress:          Called from the opening thread while pages are touched, at
 *                     most ten times a second and once at the end, with bytes done
 *                     and in all. Starts again from 0 when a page kind turned out
 *                     not to be had. Must not call weir. NULL: not called.
 * @progress_arg:      Handed to @progress.
 * @step_down:         Called from the opening thread for each step to smaller pages, also
 *                     when the pool cannot be opened in the end. Must not call weir. NULL:
 *                     not called; weir_pool_page_step() has them, too.
 * @step_down_arg:     Handed to @step_down.
 */
struct weir_pool_opts {
	size_t size;
	size_t capacity_bytes;
	uint64_t node_mask;
	uint32_t page_kinds;
	uint32_t flags;
	size_t block_bytes;
	size_t prefault_threads;
	void (*progress)(void *arg, size_t done_bytes, size_t total_bytes);
	void *progress_arg;
	void (*step_down)(void *arg, const struct weir_page_step *step);
	void *step_down_arg;
};

/**
 * struct weir_span - A piece of pool memory.
 * @base:       First byte; aligned to the smallest block, and to 4 KiB for spans of
 *              4 KiB and more.
 * @bytes:      Usable size: what was asked for, rounded up to the smallest block.
 * @id:         Names the allocation inside the pool; opaque.
 * @node:       NUMA node the span lies on, -1 when the machine has no such notion.
 * @generation: Tells this allocation from earlier ones at the same place.
 *
 * A plain value: copies are the same span. All zero is "no span".
 */
struct weir_span {
	void *base;
	size_t bytes;
	uint64_t id;
	int32_t node;
	uint32_t generation;
};

/**
 * struct weir_pool_region - One mapping of a pool, for registration with devices.
 * @base:      First byte, aligned to @page_bytes.
 * @bytes:     Size, a multiple of @page_bytes.
 * @page_bytes: 4096, 2 MiB or 1 GiB. For WEIR_PAGE_THP this is 2 MiB.
 * @page_kind: enum weir_page_kind.
 * @node:      NUMA node, -1 when unknown.
 */
struct weir_pool_region {
	void *base;
	size_t bytes;
	size_t page_bytes;
	uint32_t page_kind;
	int32_t node;
};

/**
 * struct weir_pool_stats - What a pool holds at one instant.
 * @capacity_bytes:     Managed bytes; @free_bytes + @used_bytes + @cached_bytes equals it
 *                      always.
 * @free_bytes:         In no span, free to become one of any size.
 * @used_bytes:         In spans, rounding to the smallest block included.
 * @cached_bytes:       In no span, kept ready in threads' magazines.
 * @requested_bytes:    What the callers of the live spans asked for.
 * @peak_used_bytes:    Largest @used_bytes + @cached_bytes so far, summed over the nodes,
 *                      each of which may have had its peak at another time.
 * @largest_free_bytes: Largest span that an allocation could return now. An allocation
 *                      of up to this size on its node succeeds, power of two or not
 *                      (where blocks are below 4 KiB, less what reaching a page takes).
 * @nr_live:            Live spans.
 * @nr_allocs:          Successful allocations so far.
 * @nr_frees:           Frees so far.
 * @nr_failed:          Allocations refused with -ENOSPC so far.
 * @nr_bad_frees:       Frees so far of spans that were not live. Two threads that free one
 *                      span at the same instant may both be told 0; the second is found
 *                      and counted here later. No block is ever handed out twice.
 * @nr_overwrites:      With WEIR_POOL_DEBUG: spans found written behind their end or after
 *                      their free.
 * @metadata_bytes:     Memory the pool uses beside @capacity_bytes, at most; without what
 *                      belongs to blocks that were in no span so far.
 * @populate_ns:        Time spent getting and touching pages at open.
 * @thp_bytes:          Bytes of THP regions that the kernel really backed with huge
 *                      pages when last looked at (open), else 0.
 * @pages_4k_bytes:     Of @capacity_bytes, in regions of 4 KiB pages,
 * @pages_thp_bytes:    of transparent huge pages,
 * @pages_2m_bytes:     of 2 MiB pages,
 * @pages_1g_bytes:     and of 1 GiB pages.
 * @nr_page_steps:      Steps to smaller pages when the pool was opened.
 * @slab_bytes:         Of @used_bytes, in blocks that are cut into small objects; each such
 *                      block counts as one span.
 * @nr_slab_objects:    Live small objects (weir/pool_malloc.h) in them.
 */
struct weir_pool_stats {
	uint64_t capacity_bytes;
	uint64_t free_bytes;
	uint64_t used_bytes;
	uint64_t cached_bytes;
	uint64_t requested_bytes;
	uint64_t peak_used_bytes;
	uint64_t largest_free_bytes;
	uint64_t nr_live;
	uint64_t nr_allocs;
	uint64_t nr_frees;
	uint64_t nr_failed;
	uint64_t nr_bad_frees;
	uint64_t nr_overwrites;
	uint64_t metadata_bytes;
	uint64_t populate_ns;
	uint64_t thp_bytes;
	uint64_t pages_4k_bytes;
	uint64_t pages_thp_bytes;
	uint64_t pages_2m_bytes;
	uint64_t pages_1g_bytes;
	uint64_t nr_page_steps;
	uint64_t slab_bytes;
	uint64_t nr_slab_objects;
};

/**
 * weir_pool_open() - Reserve, back and touch memory.
 * @opts: Options; @opts->capacity_bytes must be set.
 * @ret:  The pool; untouched on failure.
 * @err:  On failure: what failed and what to do. May be NULL.
 *
 * Takes as long as the machine needs to give the pages (0.3 to 20 GB/s; see
 * struct weir_pool_stats.populate_ns), unless WEIR_POOL_LAZY is set.
 *
 * Context: Any thread. May block. Starts threads and joins them.
 * Owner:   The caller, until weir_pool_close().
 * More than the machine has available is refused before it is touched. A limit that a
 * memory cgroup sets is not known here; beyond it the kernel kills.
 *
 * Return:  0, -EINVAL (an option is out of range), -E2BIG (newer options than this
 *          library knows), -ENOMEM (the system does not give the memory),
 *          -ENODEV (a node in node_mask does not exist), -EOPNOTSUPP (none of the
 *          page kinds allowed is to be had here).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_pool_open(const struct weir_pool_opts *opts,
					    struct weir_pool **ret, struct weir_error *err);

/**
 * weir_pool_close() - Give all memory back to the system.
 * @pool: The pool, or NULL. Spans still live become invalid; that is the caller's
 *        mistake and is reported through the log as a leak with count and bytes.
 *
 * Context: Any thread, once, when no other thread uses the pool. May block.
 * Since:   0.1
 */
WEIR_API void weir_pool_close(struct weir_pool *pool);

/**
 * weir_pool_alloc() - Take a span from the pool.
 * @pool:  Pool to take from.
 * @bytes: Size wanted, 1 to the size of a node's arena; rounded up to the smallest
 *         block. Taken from the head of the lowest aligned power of two that is free;
 *         where there is none, from the lowest run of blocks that is long enough.
 * @node:  NUMA node, or WEIR_NODE_ANY: the caller's node first, then by distance. A
 *         given node is never replaced by another.
 * @ret:   The span; untouched on failure. Contents undefined.
 *
 * Context: Any thread. Takes POOL_ZONE. Does not block.
 * Owner:   The caller, until weir_pool_free().
 * Cost:    O(log of the arena's blocks) and a store for 64 blocks taken; in a pool that
 *          has no power of two left, one pass over its larger free runs. No system
 *          call, no memory taken.
 * Return:  0, -EINVAL (bytes is 0 or above what an arena can ever hold, or a fork
 *          child), -ENOSPC (no room now: free something and retry), -ENODEV (no such
 *          node).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_pool_alloc(struct weir_pool *pool, size_t bytes, int node,
					     struct weir_span *ret);

/**
 * weir_pool_alloc_tagged() - Take a span and say what for.
 * @pool:  As for weir_pool_alloc().
 * @bytes: As for weir_pool_alloc().
 * @node:  As for weir_pool_alloc().
 * @tag:   Named when the span is written behind its end or after its free, or not freed:
 *         in a pool opened with WEIR_POOL_DEBUG; of others it is not kept. By pointer: it
 *         must outlive the pool. May be NULL.
 * @ret:   As for weir_pool_alloc().
 *
 * Context: As weir_pool_alloc().
 * Return:  As weir_pool_alloc(): 0, -EINVAL, -ENOSPC, -ENODEV.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_pool_alloc_tagged(struct weir_pool *pool, size_t bytes, int node,
						    const char *tag, struct weir_span *ret);

/**
 * weir_pool_alloc_aligned() - Take a span that begins at a multiple of something.
 * @pool:  As for weir_pool_alloc().
 * @bytes: As for weir_pool_alloc(); not rounded up to @align.
 * @align: A power of two, at most 1 GiB, and at most the largest power of two that is in a
 *         node's share of the capacity. 1 asks for no more than weir_pool_alloc() gives.
 * @node:  As for weir_pool_alloc().
 * @ret:   As for weir_pool_alloc().
 *
 * Context: As weir_pool_alloc(); with an @align above 1 always takes POOL_ZONE.
 * Return:  As weir_pool_alloc(), and -EINVAL (@align is no power of two, or too large).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_pool_alloc_aligned(struct weir_pool *pool, size_t bytes,
						     size_t align, int node, struct weir_span *ret);

/**
 * weir_pool_purge() - Give pages of free memory back to the system.
 * @pool:       The pool, opened with WEIR_POOL_MAY_PURGE.
 * @keep_bytes: Leave so much of the free memory as it is.
 *
 * In units of 2 MiB, each free as a whole, from the highest address down: a huge page is
 * never broken. The address space stays; the pages come back, zeroed, at first touch.
 * Hugetlb pages are kept: one that could not be had again would kill its first user.
 *
 * Context: Any thread. Takes POOL_CLAIM and POOL_ZONE, each for one unit at a time; calls
 *          the system.
 * Return:  Bytes given back, counting units that were given back before and not touched
 *          since; -EINVAL (no pool, one from before a fork, or one opened without
 *          WEIR_POOL_MAY_PURGE), or what the system said.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int64_t weir_pool_purge(struct weir_pool *pool, uint64_t keep_bytes);

/* As a timeout: until there is room, however long that takes. */
#define WEIR_POOL_FOREVER UINT64_MAX

/**
 * weir_pool_alloc_wait() - Take a span, waiting until there is room for it.
 * @pool:       Pool to take from.
 * @bytes:      As for weir_pool_alloc().
 * @node:       As for weir_pool_alloc().
 * @timeout_ns: How long to wait; 0 does not wait, WEIR_POOL_FOREVER has no end.
 * @ret:        The span; untouched on failure.
 *
 * Who waits is served in the order of coming: a later call of this kind does not go before
 * an earlier one, even if it wants less and there is room for that. weir_pool_alloc() does
 * not stand in line. While somebody waits no thread keeps blocks for itself.
 *
 * Context: Any thread that holds no lock of weir. May block. Takes POOL_WAIT.
 * Return:  0, -ETIMEDOUT (no room until then, or others came first), and the codes of
 *          weir_pool_alloc() but -ENOSPC.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_pool_alloc_wait(struct weir_pool *pool, size_t bytes, int node,
						  uint64_t timeout_ns, struct weir_span *ret);

/**
 * weir_pool_free() - Give a span back.
 * @pool: Pool the span came from.
 * @span: The span, by value; a zero span is ignored.
 *
 * A span that is not live (freed twice, of another pool, changed) is detected by its
 * id and generation: nothing is changed and the code says so. Only a span kept while
 * 2^31 others began at its place would be taken for the one that is there.
 *
 * Context: Any thread. Takes POOL_ZONE. Does not block.
 * Return:  0, -EINVAL (not a live span of this pool), -ESTALE (was freed before).
 * Since:   0.1
 */
WEIR_API int weir_pool_free(struct weir_pool *pool, struct weir_span span);

/**
 * weir_pool_span_free() - Give a span back, named by where it is noted.
 * @pool: As for weir_pool_free().
 * @span: The span, not changed; NULL or a zero span is ignored.
 *
 * The same as weir_pool_free(), without copying the span for the call. That is a fifth of
 * the time of the fast case: for lists of spans that are given back in large numbers.
 *
 * Context: As weir_pool_free().
 * Return:  As weir_pool_free(): 0, -EINVAL, -ESTALE.
 * Since:   0.1
 */
WEIR_API int weir_pool_span_free(struct weir_pool *pool, const struct weir_span *span);

/**
 * weir_pool_nr_regions() - How many mappings a pool consists of.
 * @pool: The pool.
 *
 * One for each kind of page that a node's memory consists of, largest pages first. Those
 * of a node lie one behind the other, and a span may begin in one and end in the next.
 *
 * Context: Any thread. Takes no lock; constant while the pool is open.
 * Return:  The number, at least 1.
 * Since:   0.1
 */
WEIR_API size_t weir_pool_nr_regions(const struct weir_pool *pool);

/**
 * weir_pool_region() - Describe one mapping.
 * @pool:  The pool.
 * @index: 0 to weir_pool_nr_regions() - 1.
 * @ret:   The region; untouched on failure. Valid until weir_pool_close().
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -EINVAL (no such index).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_pool_region(const struct weir_pool *pool, size_t index,
					      struct weir_pool_region *ret);

/**
 * weir_pool_page_kind() - The smallest page kind that backs any part of the pool.
 * @pool: The pool.
 *
 * Context: Any thread. Takes no lock.
 * Return:  enum weir_page_kind.
 * Since:   0.1
 */
WEIR_API int weir_pool_page_kind(const struct weir_pool *pool);

/**
 * weir_pool_page_reason() - Why the pool has the pages it has.
 * @pool: The pool.
 *
 * One sentence a line for every step down the ladder, for example
 * "no 2 MiB pages: 389 needed, 12 of 640 free on node 0". Empty when the largest kind
 * allowed was obtained in full.
 *
 * Context: Any thread. Takes no lock.
 * Return:  Text owned by the pool, valid until weir_pool_close(); never NULL.
 * Since:   0.1
 */
WEIR_API const char *weir_pool_page_reason(const struct weir_pool *pool);

/**
 * weir_pool_nr_page_steps() - How many steps to smaller pages were taken at open.
 * @pool: The pool.
 *
 * Context: Any thread. Takes no lock; constant while the pool is open.
 * Return:  The number; 0 when the largest kind allowed was obtained in full.
 * Since:   0.1
 */
WEIR_API size_t weir_pool_nr_page_steps(const struct weir_pool *pool);

/**
 * weir_pool_page_step() - Describe one of them.
 * @pool:  The pool.
 * @index: 0 to weir_pool_nr_page_steps() - 1, in the order in which they were taken.
 * @ret:   The step; untouched on failure.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -EINVAL (no such index).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_pool_page_step(const struct weir_pool *pool, size_t index,
						 struct weir_page_step *ret);

/**
 * weir_page_kind_name() - A page kind as text.
 * @kind: enum weir_page_kind.
 *
 * Context: Any thread. Takes no lock.
 * Return:  "4k", "thp", "2m", "1g", or "unknown"; static storage.
 * Since:   0.1
 */
WEIR_API const char *weir_page_kind_name(int kind);

/**
 * weir_pool_stats() - Read the statistics.
 * @pool: The pool.
 * @ret:  Filled; the sums hold within one snapshot.
 *
 * Context: Any thread. Takes POOL_CLAIM, and POOL_ZONE of each node in turn. Stops the
 *          other threads' calls on the pool for some microseconds; not for hot paths.
 * Since:   0.1
 */
WEIR_API void weir_pool_stats(struct weir_pool *pool, struct weir_pool_stats *ret);

/**
 * weir_pool_trim() - Take back what threads keep ready.
 * @pool:       The pool.
 * @keep_bytes: Leave them so much, over all threads; the largest blocks go first.
 *
 * An allocation that finds no room does this by itself before it fails. The memory stays
 * the pool's.
 *
 * Context: Any thread. Takes POOL_CLAIM and POOL_ZONE. Stops the other threads' calls on
 *          the pool for some microseconds.
 * Return:  Bytes that are free now and were cached before; 0 in a fork child.
 * Since:   0.1
 */
WEIR_API uint64_t weir_pool_trim(struct weir_pool *pool, uint64_t keep_bytes);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_POOL_H */
