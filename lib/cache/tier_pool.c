/* SPDX-License-Identifier: MIT */
/* A pool as L2. */
#include "cache/tier_pool.h"

#include <weir/pool.h>

static int pool_alloc(void *tier, size_t bytes, struct weir_tier_mem *ret)
{
	struct weir_span span;
	int rc = weir_pool_alloc(tier, bytes, WEIR_NODE_ANY, &span);

	if (rc)
		return rc;
	ret->base = span.base;
	ret->bytes = span.bytes;
	ret->priv[0] = span.id;
	ret->priv[1] = span.generation;
	ret->priv[2] = (uint64_t)(int64_t)span.node;
	return 0;
}

static void pool_free(void *tier, const struct weir_tier_mem *mem)
{
	struct weir_span span = {.base = mem->base,
				 .bytes = mem->bytes,
				 .id = mem->priv[0],
				 .generation = (uint32_t)mem->priv[1],
				 .node = (int32_t)(int64_t)mem->priv[2]};
	int rc = weir_pool_free(tier, span);

	wr_assert(!rc);
	(void)rc;
}

/* Of a pool whose pages may go back; from another they are not asked for. */
static void pool_trim(void *tier, uint64_t used_bytes)
{
	int64_t bytes = weir_pool_purge(tier, 0);

	(void)used_bytes;
	(void)bytes;
}

const struct weir_tier_ops wr_cache_pool_ops = {
	.size = sizeof(wr_cache_pool_ops),
	.alloc = pool_alloc,
	.free = pool_free,
	.trim = pool_trim,
};
