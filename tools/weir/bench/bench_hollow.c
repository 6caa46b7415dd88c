/* SPDX-License-Identifier: MIT */
/* See bench_hollow.h. */
#include "bench_hollow.h"

#include <stdatomic.h>

static int take(void *tier, size_t bytes, struct weir_tier_mem *ret)
{
	static _Atomic uintptr_t next = 1u << 20;

	(void)tier;
	*ret = (struct weir_tier_mem){.base = (void *)atomic_fetch_add(&next, bytes),
				      .bytes = bytes};
	return 0;
}

static void give(void *tier, const struct weir_tier_mem *mem)
{
	(void)tier;
	(void)mem;
}

int wr_bench_hollow_read(void *arg, const struct weir_cache_fill *fill, size_t *ret_offset)
{
	(void)arg;
	(void)fill;
	*ret_offset = 0;
	return 0;
}

void wr_bench_hollow_opts(uint64_t budget_bytes, uint64_t nr_entries, struct weir_cache_opts *ret)
{
	static const struct weir_tier_ops ops = {.size = sizeof(ops), .alloc = take, .free = give};

	*ret = (struct weir_cache_opts){.size = sizeof(*ret),
					.l2 = &ops,
					.l2_budget = budget_bytes,
					.nr_entries = nr_entries};
	ret->classes[WEIR_CLASS_WEIGHTS].source.read = wr_bench_hollow_read;
	ret->classes[WEIR_CLASS_WEIGHTS].policy = "lru";
	ret->classes[WEIR_CLASS_WEIGHTS].share_permille = 1000;
}
