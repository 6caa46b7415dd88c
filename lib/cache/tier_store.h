/* SPDX-License-Identifier: MIT */
/* A folder of segment files as L3; see tier_store.c. */
#ifndef WR_CACHE_TIER_STORE_H
#define WR_CACHE_TIER_STORE_H

#include <weir/cache.h>

#include "tier/store.h"

/* On a struct wr_store. */
extern const struct weir_store_ops wr_cache_store_ops;

/* The store in opts->l3_dir. 0, and the codes of wr_store_open(). */
int wr_cache_open_store(const struct weir_cache_opts *opts, struct wr_store **ret,
			struct weir_error *err) WEIR_MUST_CHECK;

#endif /* WR_CACHE_TIER_STORE_H */
