/* SPDX-License-Identifier: MIT */
/*
 * pool/provider_real.h - What the providers that call the kernel have in common; the
 * functions are those of struct wr_pool_provider, whose own address is their @arg.
 */
#ifndef WR_POOL_PROVIDER_REAL_H
#define WR_POOL_PROVIDER_REAL_H

#include "pool/provider.h"

/* Address space without access, with a guard page at each end and no more than that. */
int wr_real_reserve(size_t bytes, size_t align, struct wr_pool_mapping *ret);

int wr_real_hugetlb_info(void *arg, int node, struct wr_pool_supply *ret);
int wr_real_small_info(void *arg, int node, struct wr_pool_supply *ret);
int wr_real_bind(void *arg, const struct wr_pool_mapping *map, int node, bool strict);
int wr_real_commit(void *arg, const struct wr_pool_mapping *map, size_t offset, size_t bytes);
int wr_real_no_huge_bytes(void *arg, const struct wr_pool_mapping *map, uint64_t *ret);

#endif /* WR_POOL_PROVIDER_REAL_H */
