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
#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"
#include "pool/handle.h"
#include "pool/state.h"

static _Atomic unsigned fork_count; /* [atomic] written only by a child's only thread */

static void count_fork(void)
{
	wr_fetch_add_relaxed(&fork_count, 1);
}

static void watch_forks(void)
{
	/* Without memory for the handler a child's calls are not refused; that is all. */
	(void)pthread_atfork(NULL, NULL, count_fork);
}

unsigned wr_pool_fork_count(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, watch_forks);
	return wr_load_relaxed(&fork_count);
}

bool wr_pool_is_ours(const struct weir_pool *pool)
{
	return pool->fork_count == wr_load_relaxed(&fork_count);
}

/* The caller's zone first, then the nearest that has room. */
static int alloc_anywhere(struct weir_pool *pool, size_t bytes, wr_zone_take_fn *take,
			  struct weir_span *ret)
{
	int node = pool->system->current_node(pool->system->arg);
	const uint8_t *row;
	int best = -EINVAL;
	size_t i;
	int rc;

	if (node < 0 || node >= WR_POOL_MAX_NODES)
		node = -1;
	row = pool->order + (size_t)(node + 1) * pool->nr_zones;
	for (i = 0; i < pool->nr_zones; i++) {
		rc = take(&pool->zones[row[i]], bytes, ret);
		if (rc == 0)
			return 0;
		if (rc == -ENOSPC)
			best = rc;
	}
	if (best == -ENOSPC)
		wr_zone_count_failed(&pool->zones[row[0]]);
	return best;
}

int wr_pool_alloc_by(struct weir_pool *pool, size_t bytes, int node, wr_zone_take_fn *take,
		     struct weir_span *ret)
{
	int zone, rc;

	if (node == WEIR_NODE_ANY && pool->nr_zones > 1)
		return alloc_anywhere(pool, bytes, take, ret);
	zone = 0;
	if (node != WEIR_NODE_ANY)
		zone = node >= 0 && node < WR_POOL_MAX_NODES ? pool->zone_of_node[node] : -1;
	if (zone < 0)
		return -ENODEV;
	rc = take(&pool->zones[zone], bytes, ret);
	if (rc == -ENOSPC)
		wr_zone_count_failed(&pool->zones[zone]);
	return rc;
}

int weir_pool_alloc(struct weir_pool *pool, size_t bytes, int node, struct weir_span *ret)
{
	if (!pool || !ret || !wr_pool_is_ours(pool))
		return -EINVAL;
	return wr_pool_alloc_by(pool, bytes, node, wr_zone_alloc, ret);
}

int weir_pool_free(struct weir_pool *pool, struct weir_span span)
{
	unsigned zone = wr_span_zone(span.id);

	if (!span.base && !span.bytes && !span.id && !span.generation)
		return 0;
	if (!pool || !wr_pool_is_ours(pool) || zone >= pool->nr_zones ||
	    span.id >> WR_SPAN_POOL_SHIFT != pool->id_prefix >> WR_SPAN_POOL_SHIFT)
		return -EINVAL;
	return wr_zone_free(&pool->zones[zone], &span);
}

void weir_pool_stats(struct weir_pool *pool, struct weir_pool_stats *ret)
{
	struct weir_pool_stats sum = {.metadata_bytes = pool->fixed_bytes,
				      .populate_ns = pool->populate_ns,
				      .thp_bytes = pool->thp_bytes};
	size_t i;

	for (i = 0; wr_pool_is_ours(pool) && i < pool->nr_zones; i++)
		wr_zone_add_stats(&pool->zones[i], &sum);
	sum.metadata_bytes += wr_handles_metadata(pool);
	*ret = sum;
}

static void release_zone(struct wr_pool_zone *zone)
{
	const struct wr_pool_region *r;
	uint32_t i;

	for (i = 0; i < zone->nr_regions; i++) {
		r = &zone->regions[i];
		if (r->provider->unregister_map)
			r->provider->unregister_map(r->provider->arg, &r->map);
		r->provider->release(r->provider->arg, &r->map);
	}
}

static void report_leak(struct weir_pool *pool)
{
	struct weir_pool_stats stats;

	weir_pool_stats(pool, &stats);
	if (stats.nr_live > 0)
		wr_log(WEIR_LOG_ERROR, "pool", "closed with %llu spans of %llu bytes not freed",
		       (unsigned long long)stats.nr_live, (unsigned long long)stats.used_bytes);
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
	if (ours)
		report_leak(pool);
	for (i = 0; i < pool->nr_zones; i++) {
		if (ours) {
			release_zone(&pool->zones[i]);
			wr_mutex_fini(&pool->zones[i].lock);
		}
		wr_zone_fini(&pool->zones[i]);
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
