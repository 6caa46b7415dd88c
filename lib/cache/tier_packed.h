/* SPDX-License-Identifier: MIT */
/*
 * A part of a pool as L2, in which things lie side by side.
 *
 * A buddy gives whole powers of two and takes tails back, so of things a little larger than one
 * it holds little more than half of what the bytes say: an expert of 9 MiB keeps 16 from its like.
 * Here all memory is taken once, and pieces are cut from it to the page, the smallest free one
 * that fits. Things of one size then leave no gap at all; of several sizes gaps are closed as
 * neighbours leave, and the cache lets more leave when there is no gap that is large enough.
 */
#ifndef WR_CACHE_TIER_PACKED_H
#define WR_CACHE_TIER_PACKED_H

#include <weir/pool.h>
#include <weir/tier_ops.h>

struct wr_packed;

extern const struct weir_tier_ops wr_cache_packed_ops;

/* Takes @bytes of @pool in as few spans as it has free runs. 0, -ENOSPC, -ENOMEM. */
int wr_packed_open(struct weir_pool *pool, uint64_t bytes, struct wr_packed **ret);
/* All pieces are back. NULL is accepted. */
void wr_packed_close(struct wr_packed *p);

#endif /* WR_CACHE_TIER_PACKED_H */
