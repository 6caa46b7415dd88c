/* SPDX-License-Identifier: MIT */
/*
 * pool/provider_real.h - What the providers that call the kernel have in common; the
 * functions are those of struct wr_pool_provider, whose own address is their @arg.
 */
#ifndef WR_POOL_PROVIDER_REAL_H
#define WR_POOL_PROVIDER_REAL_H

#include "pool/provider.h"

/* Addresses without access, with a guard page at each end and no more than that. */
int wr_real_get_range(void *arg, size_t bytes, size_t align, struct wr_pool_range *ret);
void wr_real_put_range(void *arg, const struct wr_pool_range *range);

/* A mapping in a range, not for fork children; @flags and @fd as for mmap(). */
int wr_real_place(void *at, size_t bytes, int flags, int fd);

int wr_real_hugetlb_info(void *arg, int node, struct wr_pool_supply *ret);
int wr_real_small_info(void *arg, int node, struct wr_pool_supply *ret);
int wr_real_bind(void *arg, const struct wr_pool_mapping *map, int node, bool strict);
int wr_real_commit(void *arg, const struct wr_pool_mapping *map, size_t offset, size_t bytes);
int wr_real_misplaced(void *arg, const struct wr_pool_mapping *map, int node, uint64_t *ret);
void wr_real_release(void *arg, const struct wr_pool_mapping *map);
int wr_real_no_huge_bytes(void *arg, const struct wr_pool_mapping *map, uint64_t *ret);

#endif /* WR_POOL_PROVIDER_REAL_H */
