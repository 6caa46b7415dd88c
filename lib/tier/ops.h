/* SPDX-License-Identifier: MIT */
/* A store of files as a cache's L3; its state is the struct wr_store. */
#ifndef WR_TIER_OPS_TABLE_H
#define WR_TIER_OPS_TABLE_H

#include <weir/tier_ops.h>

extern const struct weir_store_ops wr_store_ops;

#endif /* WR_TIER_OPS_TABLE_H */
