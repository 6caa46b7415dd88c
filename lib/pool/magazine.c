/* SPDX-License-Identifier: MIT */
/*
 * What a thread does inside its own gate when the fast way did not do: fill a magazine from
 * the inbox or the zone, empty one to half, free a span whose gate is shut, and send frees
 * to where the cell says they belong.
 */
#include "pool/magazine.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"

void wr_magazine_wait(struct weir_pool *pool)
{
	/* The claimer holds it for as long as it keeps others out. */
	wr_mutex_lock(&pool->claim_lock);
	wr_mutex_unlock(&pool->claim_lock);
}

void wr_magazine_flush(struct wr_mag_group *g, unsigned size, uint32_t keep)
{
	struct wr_magazine *m = &g->mag[size];
	unsigned order = (size - g->zone->block_shift) % WR_MAGAZINE_SIZES;
	uint32_t nr;

	if (wr_magazine_nr(m) <= keep)
		return;
	/* The oldest go: the newest are in the processor's cache. */
	nr = wr_magazine_nr(m) - keep;
	wr_zone_give(g->zone, order, m->slot, nr);
	g->sums[size].nr_owned -= nr;
	memmove(m->slot, m->slot + nr, keep * sizeof(m->slot[0]));
	m->given -= nr;
}

void wr_magazine_push(struct wr_pool_set *set, size_t zone, unsigned size, uint32_t block)
{
	struct wr_mag_group *g = &set->group[zone];
	struct wr_magazine *m = &g->mag[size];

	if (wr_load_relaxed(&set->gate.state) & WR_GATE_SHUT) {
		wr_zone_give(g->zone, wr_magazine_order(set->pool, size), &block, 1);
		g->sums[size].nr_owned--;
		return;
	}
	if (wr_magazine_nr(m) >= m->cap)
		wr_magazine_flush(g, size, m->cap / 2);
	m->slot[wr_magazine_nr(m)] = block;
	m->given++;
}

void wr_magazine_end_span(struct wr_mag_group *g, unsigned size, struct wr_pool_cell *cell,
			  uint64_t word)
{
	g->sums[size].spare_bytes -= wr_cell_owned_spare(word);
	wr_cell_store(cell, wr_cell_end(word) & ~WR_CELL_OWNED_SPARE_MASK);
}

/* A magazine takes no more than this part of what is free in the zone. */
#define REFILL_SHARE 16u

static void refill(struct wr_pool_set *set, struct wr_mag_group *g, unsigned size)
{
	unsigned order = wr_magazine_order(set->pool, size);
	struct wr_magazine *m = &g->mag[size];
	uint32_t block, nr, i;
	uint64_t share;

	if (wr_load_relaxed(&set->nr_in) > 0)
		wr_remote_settle(set);
	if (wr_magazine_nr(m) > 0)
		return;
	share = (wr_load_relaxed(&g->zone->free_blocks_hint) >> order) / REFILL_SHARE;
	share = wr_max(wr_min(share, (uint64_t)m->cap / 2), (uint64_t)1);
	nr = wr_zone_take(g->zone, order, set->id, (uint32_t)share, m->slot);
	m->given += nr;
	g->sums[size].nr_owned += nr;
	/* The lowest is to be used first. */
	for (i = 0; i < nr / 2; i++) {
		block = m->slot[i];
		m->slot[i] = m->slot[nr - 1 - i];
		m->slot[nr - 1 - i] = block;
	}
}

/* Take the last block of a magazine that is not empty for a span. [GATE] */
static void pop(struct wr_mag_group *g, unsigned size, size_t bytes, struct weir_span *ret)
{
	struct wr_magazine *m = &g->mag[size];
	uint32_t block = m->slot[wr_magazine_nr(m) - 1];
	uint64_t word = wr_cell_begin(wr_cell_load(&g->zone->cells[block]));

	wr_assert(wr_cell_generation(word) % 2 == 1 && (word & WR_CELL_LIVE));
	word += (m->bytes - bytes) << WR_CELL_OWNED_SPARE_SHIFT;
	wr_cell_store(&g->zone->cells[block], word);
	m->taken++;
	g->sums[size].spare_bytes += m->bytes - bytes;
	ret->base = g->zone->base + ((uint64_t)block << g->zone->block_shift);
	ret->bytes = m->bytes;
	ret->id = g->zone->id_prefix | block;
	ret->generation = wr_cell_generation(word);
	ret->node = g->zone->node;
}

/* From the set's magazine. 0, -ENOSPC, -EAGAIN: the gate is shut. */
static int alloc_own(struct wr_pool_set *set, size_t zone, unsigned size, size_t bytes,
		     struct weir_span *ret)
{
	struct wr_mag_group *g = &set->group[zone];
	uint32_t state = wr_gate_enter(&set->gate);
	int rc = -EAGAIN;

	while (state & WR_GATE_CLAIMED) {
		wr_magazine_wait(set->pool);
		state = wr_gate_enter(&set->gate);
	}
	if (!(state & WR_GATE_SHUT)) {
		if (wr_magazine_nr(&g->mag[size]) == 0)
			refill(set, g, size);
		rc = wr_magazine_nr(&g->mag[size]) > 0 ? 0 : -ENOSPC;
		if (rc == 0)
			pop(g, size, bytes, ret);
	}
	wr_gate_leave(&set->gate);
	return rc;
}

int wr_magazine_alloc(struct weir_pool *pool, size_t zone, size_t bytes, struct weir_span *ret)
{
	int size = wr_magazine_for(pool, bytes);
	struct wr_pool_set *set = size >= 0 ? wr_set_of_thread(pool) : NULL;
	int rc = -EAGAIN;

	if (set)
		rc = alloc_own(set, zone, (unsigned)size, bytes, ret);
	if (rc == -EAGAIN)
		rc = wr_zone_alloc(&pool->zones[zone], bytes, 1, ret);
	return rc;
}

/* The span is this thread's set's, or was when its cell held @word. */
static int free_own(struct weir_pool *pool, struct wr_pool_set *set, uint64_t place, uint64_t word,
		    struct wr_pool_cell *cell)
{
	size_t zone = (size_t)(place >> WR_SPAN_ZONE_SHIFT);
	unsigned size = wr_cell_size(word);
	uint32_t state = wr_gate_enter(&set->gate);

	if (state & WR_GATE_CLAIMED) {
		wr_magazine_wait(pool);
		return -EAGAIN;
	}
	if (wr_cell_load(cell) != word) {
		wr_gate_leave(&set->gate);
		return -EAGAIN;
	}
	wr_magazine_end_span(&set->group[zone], size, cell, word);
	wr_magazine_push(set, zone, size, (uint32_t)place);
	wr_gate_leave(&set->gate);
	if (state & WR_GATE_SHUT)
		wr_pool_room_made(pool);
	return 0;
}

int wr_magazine_free(struct weir_pool *pool, size_t zone, const struct weir_span *span)
{
	uint64_t block = span->id & WR_SPAN_BLOCK_MASK;
	struct wr_pool_zone *z = &pool->zones[zone];
	uint64_t place = (uint64_t)zone << WR_SPAN_ZONE_SHIFT | block;
	struct wr_pool_set *set = NULL;
	struct wr_pool_cell *cell;
	uint64_t word, nr;
	int rc;

	if (block >= z->buddy.nr_blocks)
		return -EINVAL;
	cell = &z->cells[block];
	do {
		word = wr_cell_load(cell);
		rc = wr_zone_check_span(z, block, word, span, &nr);
		if (rc != 0)
			return rc;
		if (wr_cell_owner(word) == 0) {
			rc = wr_zone_free(z, span);
			if (rc == 0)
				wr_pool_room_made(pool);
			continue;
		}
		if (!set)
			set = wr_set_of_thread(pool);
		if (set && wr_cell_owner(word) == set->id)
			rc = free_own(pool, set, place, word, cell);
		else
			rc = wr_remote_free(pool, set, place, word, cell);
	} while (rc == -EAGAIN);
	return rc;
}
