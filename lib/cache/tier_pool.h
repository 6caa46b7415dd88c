/* SPDX-License-Identifier: MIT */
/* A pool as a memory tier; its state is the struct weir_pool. */
#ifndef WR_CACHE_TIER_POOL_H
#define WR_CACHE_TIER_POOL_H

#include <weir/tier_ops.h>

#include "base/util.h"

extern const struct weir_tier_ops wr_cache_pool_ops;

#endif /* WR_CACHE_TIER_POOL_H */
