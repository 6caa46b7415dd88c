/* SPDX-License-Identifier: MIT */
/*
 * pool/slab.h - Pointers to less than half a block: several in one block.
 *
 * A slab is one smallest block of the pool, cut into 2 to 64 objects of one power of two
 * from 256 bytes to half the block. What is known of it lies outside of it, found by the
 * number of the block, so nothing that is written into an object can damage it. A slab
 * goes back to the pool with its last object: no memory is kept here.
 *
 * The block is taken as a span that is a byte shorter than the block, and so is none that
 * the fast way of freeing a pointer takes for its own.
 */
#ifndef WR_POOL_SLAB_H
#define WR_POOL_SLAB_H

#include <stdbool.h>
#include <stddef.h>

#include <weir/pool.h>

struct wr_slabs;

/* NULL: too large for a slab, or no room or no memory for one. */
void *wr_slab_alloc(struct weir_pool *pool, size_t bytes);

/* 0, -ENOENT (the pointer lies in no slab), -EINVAL (it does, and is no live object's). */
int wr_slab_free(struct weir_pool *pool, const void *ptr);

/* The size of the live object; 0, -ENOENT and -EINVAL as above. */
int wr_slab_find(struct weir_pool *pool, const void *ptr, size_t *ret);

void wr_slab_add_stats(struct weir_pool *pool, struct weir_pool_stats *sum);

/* The pool is being closed; in a fork child (not @ours) the lock is left alone. */
void wr_slab_fini(struct weir_pool *pool, bool ours);

#endif /* WR_POOL_SLAB_H */
