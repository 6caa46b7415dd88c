/* SPDX-License-Identifier: MIT */
/**
 * weir/pool_malloc.h - A pool behind pointers, for hosts that have an allocator hook.
 *
 * The same memory and the same blocks as weir/pool.h, named by their first byte alone.
 * That is less to carry and less to check: a pointer has no generation, so a pointer
 * freed twice is detected only until its block begins a new allocation. Spans and
 * pointers may be used side by side; what came as one is given back as that one.
 *
 * Sizes are rounded up to the smallest block of the pool, not to a power of two. Powers
 * of two are the fast case (docs/allocator-hooks.md, with examples). Up to half a block they
 * are rounded up to a power of two from 256 bytes on (a 64th of a block, if that is more),
 * and several lie in one block, under one lock of the pool; not in a pool that was opened
 * with WEIR_POOL_DEBUG, where each has its guard.
 */
#ifndef WEIR_POOL_MALLOC_H
#define WEIR_POOL_MALLOC_H

#include <weir/pool.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * weir_pool_malloc() - Take memory from the pool.
 * @pool:  Pool to take from; the caller's node first, then by distance.
 * @bytes: Size wanted; 0 counts as 1.
 *
 * Context: As weir_pool_alloc().
 * Owner:   The caller, until weir_pool_ptr_free() or weir_pool_realloc().
 * Return:  Memory aligned as spans are (4 KiB for 4 KiB and more; up to half a block to the
 *          size that was rounded up to), contents undefined;
 *          NULL when there is no room, or @bytes is more than an arena can ever hold.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK void *weir_pool_malloc(struct weir_pool *pool, size_t bytes);

/**
 * weir_pool_ptr_free() - Give memory back.
 * @pool: Pool it came from.
 * @ptr:  What weir_pool_malloc() or weir_pool_realloc() returned; NULL is ignored.
 *
 * In a pool opened with WEIR_POOL_DEBUG the log names the allocation that a refused pointer
 * lies in, or lay in last.
 *
 * Context: As weir_pool_free().
 * Return:  0, -EINVAL (not the beginning of a live allocation of this pool; nothing was
 *          done).
 * Since:   0.1
 */
WEIR_API int weir_pool_ptr_free(struct weir_pool *pool, void *ptr);

/**
 * weir_pool_realloc() - Change the size of an allocation.
 * @pool:  Pool it came from.
 * @ptr:   The memory, or NULL for none yet.
 * @bytes: Size wanted; 0 counts as 1.
 *
 * Stays where it is while the size fits and at least half of it is used; else the bytes
 * are copied, as many as both have.
 *
 * Context: As weir_pool_alloc().
 * Return:  The memory, @ptr is then no longer valid unless it is the same; NULL when
 *          there is no room or @ptr is not live, and @ptr is as it was.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK void *weir_pool_realloc(struct weir_pool *pool, void *ptr, size_t bytes);

/**
 * weir_pool_usable_bytes() - How much may be used behind a pointer.
 * @pool: Pool it came from.
 * @ptr:  The memory, or NULL.
 *
 * Context: Any thread. Takes POOL_SLAB for what is smaller than half a block.
 * Return:  The size, at least what was asked for; 0 for NULL and for what is not the
 *          beginning of a live allocation of this pool.
 * Since:   0.1
 */
WEIR_API size_t weir_pool_usable_bytes(struct weir_pool *pool, const void *ptr);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_POOL_MALLOC_H */
