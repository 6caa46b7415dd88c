/* SPDX-License-Identifier: MIT */
/*
 * The public calls on an open pool.
 *
 * A pool belongs to the process that opened it. A fork child has a copy of the
 * bookkeeping and none of the memory (see provider.c), possibly with a lock held by a
 * thread that it does not have. So a count of forks is compared first in each call:
 * a pool from before the fork takes and gives nothing in the child, and closing it
 * there frees the copy and leaves the address space alone, where the child may by now
 * have something else.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"
#include "pool/debug.h"
#include "pool/handle.h"
#include "pool/magazine.h"
#include "pool/slab.h"
#include "pool/state.h"

static _Atomic unsigned fork_count; /* [atomic] written only by a child's only thread */

void wr_pool_count_fork(void)
{
	wr_fetch_add_relaxed(&fork_count, 1);
}

unsigned wr_pool_fork_count(void)
{
	return wr_load_relaxed(&fork_count);
}

bool wr_pool_is_ours(const struct weir_pool *pool)
{
	return pool->fork_count == wr_load_relaxed(&fork_count);
}

/* The first zone of a list that has room, without taking from other threads. */
static int alloc_from(struct weir_pool *pool, const uint8_t *zones, size_t nr, size_t bytes,
		      size_t align, wr_zone_take_fn *take, struct weir_span *ret)
{
	int best = -EINVAL;
	size_t i;
	int rc;

	for (i = 0; i < nr; i++) {
		if (take)
			rc = take(&pool->zones[zones[i]], bytes, align, ret);
		else
			rc = wr_magazine_alloc(pool, zones[i], bytes, ret);
		if (rc == 0)
			return 0;
		if (rc == -ENOSPC)
			best = rc;
	}
	return best;
}

/* The zones that may serve a node's request, best first. */
static int zones_for(const struct weir_pool *pool, int node, uint8_t *one, const uint8_t **ret,
		     size_t *ret_nr)
{
	int zone = 0;

	if (node == WEIR_NODE_ANY && pool->nr_zones > 1) {
		node = pool->system->current_node(pool->system->arg);
		if (node < 0 || node >= WR_POOL_MAX_NODES)
			node = -1;
		*ret = pool->order + (size_t)(node + 1) * pool->nr_zones;
		*ret_nr = pool->nr_zones;
		return 0;
	}
	if (node != WEIR_NODE_ANY)
		zone = node >= 0 && node < WR_POOL_MAX_NODES ? pool->zone_of_node[node] : -1;
	if (zone < 0)
		return -ENODEV;
	*one = (uint8_t)zone;
	*ret = one;
	*ret_nr = 1;
	return 0;
}

int wr_pool_alloc_by(struct weir_pool *pool, size_t bytes, size_t align, int node,
		     wr_zone_take_fn *take, struct weir_span *ret)
{
	uint64_t shut = wr_claim_shut_count(pool);
	const uint8_t *zones;
	uint8_t one;
	size_t nr;
	int rc;

	rc = zones_for(pool, node, &one, &zones, &nr);
	if (rc != 0)
		return rc;
	rc = alloc_from(pool, zones, nr, bytes, align, take, ret);
	/* Shut all the time: there is nothing to take from others. */
	if (rc == -ENOSPC && (shut % 2 == 0 || wr_claim_shut_count(pool) != shut))
		rc = wr_claim_alloc(pool, zones, nr, bytes, align, take ? take : wr_zone_alloc,
				    ret);
	if (rc == -ENOSPC)
		wr_zone_count_failed(&pool->zones[zones[0]]);
	return rc;
}

static __attribute__((noinline)) int alloc_slowly(struct weir_pool *pool, size_t bytes, int node,
						  struct weir_span *ret)
{
	if (!pool || !ret || !wr_pool_is_ours(pool))
		return -EINVAL;
	if (pool->debug)
		return wr_debug_alloc(pool, bytes, 1, node, 0, NULL, ret);
	return wr_pool_alloc_by(pool, bytes, 1, node, NULL, ret);
}

int weir_pool_alloc_tagged(struct weir_pool *pool, size_t bytes, int node, const char *tag,
			   struct weir_span *ret)
{
	if (!pool || !ret || !wr_pool_is_ours(pool) || !pool->debug)
		return weir_pool_alloc(pool, bytes, node, ret);
	return wr_debug_alloc(pool, bytes, 1, node, 0, tag, ret);
}

int weir_pool_alloc_aligned(struct weir_pool *pool, size_t bytes, size_t align, int node,
			    struct weir_span *ret)
{
	if (!pool || !ret || !wr_pool_is_ours(pool) || !wr_is_pow2(align))
		return -EINVAL;
	if (pool->debug)
		return wr_debug_alloc(pool, bytes, align, node, 0, NULL, ret);
	/* Magazines do not promise more than spans have anyway. */
	return wr_pool_alloc_by(pool, bytes, align, node, align > 1 ? wr_zone_alloc : NULL, ret);
}

int weir_pool_alloc(struct weir_pool *pool, size_t bytes, int node, struct weir_span *ret)
{
	/* A pool from before a fork is not in this thread's slot. */
	if (WR_LIKELY(ret != NULL) && WR_LIKELY(node == WEIR_NODE_ANY) &&
	    wr_fast_alloc(pool, bytes, ret))
		return 0;
	return alloc_slowly(pool, bytes, node, ret);
}

/* The id is of this pool and one of its zones. */
static bool is_of_pool(const struct weir_pool *pool, const struct weir_span *span)
{
	return wr_span_zone(span->id) < pool->nr_zones &&
	       span->id >> WR_SPAN_POOL_SHIFT == pool->id_prefix >> WR_SPAN_POOL_SHIFT;
}

int wr_pool_check_span(struct weir_pool *pool, const struct weir_span *span)
{
	uint64_t block = span->id & WR_SPAN_BLOCK_MASK;
	struct wr_pool_zone *zone;
	struct weir_span whole;
	uint64_t nr;

	if (!is_of_pool(pool, span))
		return -EINVAL;
	if (pool->debug) {
		whole = wr_debug_whole(pool, span);
		span = &whole;
	}
	zone = &pool->zones[wr_span_zone(span->id)];
	if (block >= zone->buddy.nr_blocks)
		return -EINVAL;
	return wr_zone_check_span(zone, block, wr_cell_load(&zone->cells[block]), span, &nr);
}

static __attribute__((noinline)) int free_slowly(struct weir_pool *pool,
						 const struct weir_span *span)
{
	int rc = -EINVAL;

	if (!span->base && !span->bytes && !span->id && !span->generation)
		return 0;
	if (!pool || !wr_pool_is_ours(pool))
		return -EINVAL;
	if (pool->debug)
		rc = wr_debug_free(pool, span);
	else if (is_of_pool(pool, span))
		rc = wr_magazine_free(pool, wr_span_zone(span->id), span);
	if (rc != 0)
		wr_fetch_add_relaxed(&pool->nr_bad_frees, 1);
	return rc;
}

int weir_pool_free(struct weir_pool *pool, struct weir_span span)
{
	if (wr_fast_free(pool, &span))
		return 0;
	return free_slowly(pool, &span);
}

int weir_pool_span_free(struct weir_pool *pool, const struct weir_span *span)
{
	if (WR_UNLIKELY(!span))
		return 0;
	if (wr_fast_free(pool, span))
		return 0;
	return free_slowly(pool, span);
}

static void release_zone(const struct wr_pool_system *system, struct wr_pool_zone *zone)
{
	const struct wr_pool_region *r;
	uint32_t i;

	for (i = 0; i < zone->nr_regions; i++) {
		r = &zone->regions[i];
		if (r->provider->unregister_map)
			r->provider->unregister_map(r->provider->arg, &r->map);
		r->provider->release(r->provider->arg, &r->map);
	}
	system->put_range(system->arg, &zone->range);
}

static void report_faults(struct weir_pool *pool)
{
	struct weir_pool_stats stats;

	weir_pool_stats(pool, &stats);
	if (stats.nr_live > 0)
		wr_log(WEIR_LOG_ERROR, "pool", "closed with %llu spans of %llu bytes not freed",
		       (unsigned long long)stats.nr_live, (unsigned long long)stats.used_bytes);
	if (stats.nr_live > 0 && pool->debug)
		wr_debug_report_live(pool);
	if (stats.nr_bad_frees > 0)
		wr_log(WEIR_LOG_ERROR, "pool", "%llu frees were of spans that were not live",
		       (unsigned long long)stats.nr_bad_frees);
}

void weir_pool_close(struct weir_pool *pool)
{
	bool ours;
	size_t i;

	if (!pool)
		return;
	wr_might_block("closing a pool");
	ours = wr_pool_is_ours(pool);
	wr_handles_close(pool, ours);
	wr_threads_remove_pool(pool);
	if (ours)
		report_faults(pool);
	wr_sets_fini(pool);
	wr_slab_fini(pool, ours);
	wr_debug_fini(pool);
	for (i = 0; i < pool->nr_zones; i++) {
		if (ours) {
			release_zone(pool->system, &pool->zones[i]);
			wr_mutex_fini(&pool->zones[i].lock);
		}
		wr_zone_fini(&pool->zones[i]);
	}
	if (ours) {
		wr_mutex_fini(&pool->claim_lock);
		wr_mutex_fini(&pool->wait_lock);
	}
	wr_reasons_fini(&pool->reasons);
	wr_free(pool->order);
	wr_free(pool->zones);
	wr_free(pool);
}

size_t weir_pool_nr_regions(const struct weir_pool *pool)
{
	size_t nr = 0;
	size_t i;

	for (i = 0; i < pool->nr_zones; i++)
		nr += pool->zones[i].nr_regions;
	return nr;
}

int weir_pool_region(const struct weir_pool *pool, size_t index, struct weir_pool_region *ret)
{
	size_t i;

	for (i = 0; i < pool->nr_zones; i++) {
		if (index < pool->zones[i].nr_regions) {
			*ret = pool->zones[i].regions[index].info;
			return 0;
		}
		index -= pool->zones[i].nr_regions;
	}
	return -EINVAL;
}

int weir_pool_page_kind(const struct weir_pool *pool)
{
	return pool->smallest_kind;
}

const char *weir_pool_page_reason(const struct weir_pool *pool)
{
	return pool->reasons.text ? pool->reasons.text : "";
}

size_t weir_pool_nr_page_steps(const struct weir_pool *pool)
{
	return pool->reasons.nr_steps;
}

int weir_pool_page_step(const struct weir_pool *pool, size_t index, struct weir_page_step *ret)
{
	if (index >= pool->reasons.nr_steps)
		return -EINVAL;
	*ret = pool->reasons.steps[index];
	return 0;
}

const char *weir_page_kind_name(int kind)
{
	static const char *const names[WEIR_PAGE_KINDS] = {
		[WEIR_PAGE_4K] = "4k",
		[WEIR_PAGE_THP] = "thp",
		[WEIR_PAGE_2M] = "2m",
		[WEIR_PAGE_1G] = "1g",
	};

	return kind >= 0 && kind < WEIR_PAGE_KINDS ? names[kind] : "unknown";
}
