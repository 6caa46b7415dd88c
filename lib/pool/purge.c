/* SPDX-License-Identifier: MIT */
/*
 * Giving pages back. A unit of 2 MiB that is free as a whole is set aside, decommitted
 * without the zone's lock, and put back. The claim lock is held for one unit at a time: an
 * allocation that finds no room meanwhile comes to that lock before it fails, and then the
 * unit is free again. In a pool that is nearly full nothing is purged.
 */
#include <errno.h>

#include "base/util.h"
#include "pool/magazine.h"
#include "pool/state.h"

#define UNIT_BYTES (2 * WR_POOL_MIB)

/* 1: given back, 0: it is in use, or nothing should be; or the provider's error. */
static int purge_unit(struct weir_pool *pool, struct wr_pool_zone *zone,
		      const struct wr_pool_region *r, uint64_t offset)
{
	uint64_t first = wr_zone_first_block(zone, r) + (offset >> pool->block_shift);
	uint64_t nr = UNIT_BYTES >> pool->block_shift;
	int rc = 0;

	wr_mutex_lock(&pool->claim_lock);
	if (wr_claim_shut_count(pool) % 2 == 0 && wr_zone_set_aside(zone, first, nr)) {
		rc = r->provider->decommit(r->provider->arg, &r->map, (size_t)offset, UNIT_BYTES);
		wr_zone_put_back(zone, first, nr);
		rc = rc == 0 ? 1 : rc;
	}
	wr_mutex_unlock(&pool->claim_lock);
	return rc;
}

static int64_t purge_region(struct weir_pool *pool, struct wr_pool_zone *zone,
			    const struct wr_pool_region *r, uint64_t keep_bytes)
{
	uint64_t head, offset;
	int64_t sum = 0;
	int rc;

	if (r->provider->eager || r->provider->page_bytes > UNIT_BYTES)
		return 0;
	/* The base is aligned to the page; a unit should be to 2 MiB, too. */
	head = wr_align_up((uintptr_t)r->map.base, UNIT_BYTES) - (uintptr_t)r->map.base;
	if (r->map.bytes < head + UNIT_BYTES)
		return 0;
	offset = head + wr_align_down(r->map.bytes - head, UNIT_BYTES);
	while (offset > head) {
		offset -= UNIT_BYTES;
		if (wr_load_relaxed(&zone->free_blocks_hint) << pool->block_shift <
		    keep_bytes + (uint64_t)sum + UNIT_BYTES)
			break;
		rc = purge_unit(pool, zone, r, offset);
		if (rc < 0)
			return rc;
		sum += rc * (int64_t)UNIT_BYTES;
	}
	return sum;
}

int64_t weir_pool_purge(struct weir_pool *pool, uint64_t keep_bytes)
{
	int64_t sum = 0;
	int64_t n;
	size_t i;
	uint32_t k;

	if (!pool || !wr_pool_is_ours(pool) || !pool->may_purge)
		return -EINVAL;
	wr_might_block("giving pages back to the system");
	for (i = 0; i < pool->nr_zones; i++) {
		for (k = 0; k < pool->zones[i].nr_regions; k++) {
			/* What is to be kept is kept on each node in equal parts. */
			n = purge_region(pool, &pool->zones[i], &pool->zones[i].regions[k],
					 keep_bytes / pool->nr_zones);
			if (n < 0)
				return n;
			sum += n;
		}
	}
	return sum;
}
