/* SPDX-License-Identifier: MIT */
/*
 * What is done to all threads' magazines at once: statistics, trimming, and the last try
 * before an allocation fails. The pool's claim lock is held throughout, so a thread that
 * finds its gate claimed has something to wait on, and there is one claimer at a time.
 *
 * A pool that is nearly full would claim at each failure and refill magazines in between.
 * So when little is left after a claim, the gates are shut: blocks go from and to the
 * zones only. While the count of shuts is odd and does not change, all magazines are empty,
 * and a zone that has no room settles the question. The gates open again at twice the room.
 */
#include <errno.h>

#include "base/util.h"
#include "pool/handle.h"
#include "pool/magazine.h"
#include "pool/slab.h"

/* Shut below this part of the pool free, open again above twice as much. */
#define SHUT_SHARE 16u

static struct wr_pool_set *set_at(struct weir_pool *pool, uint32_t id)
{
	return wr_load_relaxed(&pool->sets[id]);
}

static void settle_outbox(struct weir_pool *pool, struct wr_pool_set *set)
{
	uint32_t i;

	for (i = 0; i < set->nr_out; i++)
		wr_remote_accept(set_at(pool, set->out[i].owner), &set->out[i]);
	set->nr_out = 0;
	set->out_bytes = 0;
}

void wr_claim_all(struct weir_pool *pool)
{
	uint32_t id;

	wr_mutex_lock(&pool->claim_lock);
	for (id = 1; id <= pool->nr_sets; id++)
		wr_gate_mark(&set_at(pool, id)->gate);
	if (pool->nr_sets > 0)
		wr_gate_barrier();
	for (id = 1; id <= pool->nr_sets; id++)
		wr_gate_wait(&set_at(pool, id)->gate);
	for (id = 1; id <= pool->nr_sets; id++) {
		wr_remote_settle(set_at(pool, id));
		settle_outbox(pool, set_at(pool, id));
	}
}

void wr_claim_end(struct weir_pool *pool)
{
	uint32_t id;

	for (id = 1; id <= pool->nr_sets; id++)
		wr_gate_unmark(&set_at(pool, id)->gate);
	wr_mutex_unlock(&pool->claim_lock);
}

void wr_claim_drain(struct wr_pool_set *set)
{
	unsigned size;
	size_t zone;

	for (zone = 0; zone < set->pool->nr_zones; zone++)
		for (size = 0; size < WR_MAGAZINE_SIZES; size++)
			wr_magazine_flush(&set->group[zone], size, 0);
}

static void claim_one(struct wr_pool_set *set)
{
	wr_gate_mark(&set->gate);
	wr_gate_barrier();
	wr_gate_wait(&set->gate);
}

void wr_claim_settle(struct weir_pool *pool, uint32_t owner)
{
	struct wr_pool_set *set;

	wr_mutex_lock(&pool->claim_lock);
	set = set_at(pool, owner);
	claim_one(set);
	wr_remote_settle(set);
	if (!wr_load_relaxed(&set->thread))
		wr_claim_drain(set);
	wr_gate_unmark(&set->gate);
	wr_mutex_unlock(&pool->claim_lock);
}

int wr_claim_free(struct weir_pool *pool, uint32_t owner, uint64_t place, uint64_t word,
		  struct wr_pool_cell *cell)
{
	unsigned size = wr_cell_size(word);
	size_t zone = (size_t)(place >> WR_SPAN_ZONE_SHIFT);
	uint32_t block = (uint32_t)place;
	struct wr_pool_set *set;
	struct wr_mag_group *g;
	int rc = -EAGAIN;

	wr_mutex_lock(&pool->claim_lock);
	set = set_at(pool, owner);
	claim_one(set);
	if (wr_cell_load(cell) == word) {
		g = &set->group[zone];
		wr_magazine_end_span(g, size, cell, word);
		wr_zone_give(g->zone, wr_magazine_order(pool, size), &block, 1);
		g->sums[size].nr_owned--;
		rc = 0;
	}
	wr_gate_unmark(&set->gate);
	wr_mutex_unlock(&pool->claim_lock);
	if (rc == 0)
		wr_pool_room_made(pool);
	return rc;
}

/* Of all zones: free blocks, and all there are. */
static void count_blocks(struct weir_pool *pool, uint64_t *ret_free, uint64_t *ret_all)
{
	size_t i;

	*ret_free = 0;
	for (i = 0; i < pool->nr_zones; i++)
		*ret_free += wr_load_relaxed(&pool->zones[i].free_blocks_hint);
	*ret_all = pool->nr_blocks;
}

static void set_shut(struct weir_pool *pool, bool shut)
{
	uint32_t id;

	for (id = 1; id <= pool->nr_sets; id++)
		wr_gate_set_shut(&set_at(pool, id)->gate, shut);
	wr_store_seq_cst(&pool->shut_count, wr_load_relaxed(&pool->shut_count) + 1);
}

int wr_claim_alloc(struct weir_pool *pool, const uint8_t *zones, size_t nr, size_t bytes,
		   size_t align, wr_zone_take_fn *take, struct weir_span *ret)
{
	uint64_t nr_free, nr_all;
	int rc = -ENOSPC;
	uint32_t id;
	size_t i;

	wr_claim_all(pool);
	for (id = 1; id <= pool->nr_sets; id++)
		wr_claim_drain(set_at(pool, id));
	for (i = 0; i < nr && rc != 0; i++)
		rc = take(&pool->zones[zones[i]], bytes, align, ret);
	count_blocks(pool, &nr_free, &nr_all);
	if (wr_claim_shut_count(pool) % 2 == 0 && nr_free < nr_all / SHUT_SHARE)
		set_shut(pool, true);
	wr_claim_end(pool);
	return rc == 0 ? 0 : -ENOSPC;
}

void wr_claim_shut(struct weir_pool *pool)
{
	uint32_t id;

	wr_claim_all(pool);
	for (id = 1; id <= pool->nr_sets; id++)
		wr_claim_drain(set_at(pool, id));
	if (wr_claim_shut_count(pool) % 2 == 0)
		set_shut(pool, true);
	wr_claim_end(pool);
}

void wr_pool_room_made(struct weir_pool *pool)
{
	uint64_t nr_free, nr_all;

	if (wr_load_seq_cst(&pool->shut_count) % 2 == 0)
		return;
	if (wr_load_seq_cst(&pool->nr_waiters) > 0) {
		wr_wait_wake(pool);
		return;
	}
	count_blocks(pool, &nr_free, &nr_all);
	if (nr_free < nr_all / SHUT_SHARE * 2)
		return;
	wr_mutex_lock(&pool->claim_lock);
	if (wr_load_relaxed(&pool->shut_count) % 2 == 1 && wr_load_seq_cst(&pool->nr_waiters) == 0)
		set_shut(pool, false);
	wr_mutex_unlock(&pool->claim_lock);
}

static void add_magazine(const struct wr_magazine *m, const struct wr_magazine_sums *sums,
			 struct weir_pool_stats *sum)
{
	uint64_t nr_live = sums->nr_owned - wr_magazine_nr(m);
	uint64_t nr_allocs = m->taken;
	uint64_t cached = (uint64_t)wr_magazine_nr(m) * m->bytes;

	sum->cached_bytes += cached;
	sum->used_bytes -= cached;
	sum->requested_bytes += nr_live * m->bytes - sums->spare_bytes;
	sum->nr_live += nr_live;
	sum->nr_allocs += nr_allocs;
	sum->nr_frees += nr_allocs - nr_live;
}

static void add_set(struct wr_pool_set *set, struct weir_pool_stats *sum)
{
	unsigned size;
	size_t zone;

	for (zone = 0; zone < set->pool->nr_zones; zone++)
		for (size = 0; size < WR_MAGAZINE_SIZES; size++)
			add_magazine(&set->group[zone].mag[size], &set->group[zone].sums[size],
				     sum);
	sum->nr_bad_frees += set->nr_late;
}

/* What is known since the pool was opened. */
static void add_constants(const struct weir_pool *pool, struct weir_pool_stats *sum)
{
	sum->populate_ns = pool->populate_ns;
	sum->thp_bytes = pool->thp_bytes;
	sum->pages_4k_bytes = pool->kind_bytes[WEIR_PAGE_4K];
	sum->pages_thp_bytes = pool->kind_bytes[WEIR_PAGE_THP];
	sum->pages_2m_bytes = pool->kind_bytes[WEIR_PAGE_2M];
	sum->pages_1g_bytes = pool->kind_bytes[WEIR_PAGE_1G];
	sum->nr_page_steps = pool->reasons.nr_steps;
}

void wr_claim_stats(struct weir_pool *pool, struct weir_pool_stats *ret)
{
	struct weir_pool_stats sum = {0};
	uint32_t id;
	size_t i;

	for (i = 0; i < pool->nr_zones; i++)
		wr_zone_add_stats(&pool->zones[i], &sum);
	for (id = 1; id <= pool->nr_sets; id++)
		add_set(set_at(pool, id), &sum);
	sum.metadata_bytes += pool->nr_sets * pool->set_bytes + pool->fixed_bytes;
	sum.metadata_bytes += wr_handles_metadata(pool);
	wr_slab_add_stats(pool, &sum);
	sum.nr_bad_frees += wr_load_relaxed(&pool->nr_bad_frees);
	sum.nr_overwrites = wr_load_relaxed(&pool->nr_overwrites);
	add_constants(pool, &sum);
	*ret = sum;
}

void weir_pool_stats(struct weir_pool *pool, struct weir_pool_stats *ret)
{
	struct weir_pool_stats sum = {.metadata_bytes = pool->fixed_bytes};

	add_constants(pool, &sum);
	if (wr_pool_is_ours(pool)) {
		wr_claim_all(pool);
		wr_claim_stats(pool, &sum);
		wr_claim_end(pool);
	}
	*ret = sum;
}

static uint64_t cached_bytes(struct weir_pool *pool)
{
	struct weir_pool_stats sum = {0};
	uint32_t id;

	for (id = 1; id <= pool->nr_sets; id++)
		add_set(set_at(pool, id), &sum);
	return sum.cached_bytes;
}

/* Empty the magazines of one size while more than @keep bytes are cached. */
static uint64_t trim_size(struct weir_pool *pool, unsigned size, uint64_t cached, uint64_t keep)
{
	struct wr_magazine *m;
	uint64_t most;
	uint32_t id, n;
	size_t zone;

	for (id = 1; id <= pool->nr_sets; id++) {
		for (zone = 0; zone < pool->nr_zones && cached > keep; zone++) {
			m = &set_at(pool, id)->group[zone].mag[size];
			most = (cached - keep - 1) / m->bytes + 1;
			n = (uint32_t)wr_min(most, (uint64_t)wr_magazine_nr(m));
			wr_magazine_flush(&set_at(pool, id)->group[zone], size,
					  wr_magazine_nr(m) - n);
			cached -= (uint64_t)n * m->bytes;
		}
	}
	return cached;
}

uint64_t weir_pool_trim(struct weir_pool *pool, uint64_t keep_bytes)
{
	uint64_t before, cached;
	unsigned order;

	if (!pool || !wr_pool_is_ours(pool))
		return 0;
	wr_claim_all(pool);
	before = cached_bytes(pool);
	cached = before;
	for (order = WR_MAGAZINE_ORDERS; order-- > 0 && cached > keep_bytes;)
		cached = trim_size(pool, wr_magazine_of_order(pool, order), cached, keep_bytes);
	wr_claim_end(pool);
	return before - cached;
}
