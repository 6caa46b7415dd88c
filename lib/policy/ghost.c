/* SPDX-License-Identifier: MIT */
/*
 * The table of ghosts: slots linked by number, so that it is two blocks of memory whatever
 * happens, with a hash chain through each bucket and a ring through each list.
 */
#include <errno.h>

#include "base/alloc.h"
#include "base/util.h"
#include "policy/ghost.h"

#define NONE UINT32_MAX

int wr_ghosts_init(struct wr_ghosts *g, uint64_t nr)
{
	uint32_t nr_buckets = 16;

	nr = wr_min(wr_max(nr, (uint64_t)8), (uint64_t)1 << 28);
	while (nr_buckets < nr)
		nr_buckets *= 2;
	*g = (struct wr_ghosts){.nr_slots = (uint32_t)nr + WR_GHOST_LISTS, .mask = nr_buckets - 1};
	g->slots = wr_calloc(g->nr_slots, sizeof(*g->slots));
	g->buckets = wr_calloc(nr_buckets, sizeof(*g->buckets));
	if (!g->slots || !g->buckets) {
		wr_ghosts_fini(g);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < nr_buckets; i++)
		g->buckets[i] = NONE;
	for (uint32_t i = 0; i < WR_GHOST_LISTS; i++)
		g->slots[i] = (struct wr_ghost){.prev = i, .next = i};
	g->free = NONE;
	for (uint32_t i = g->nr_slots; i-- > WR_GHOST_LISTS;) {
		g->slots[i].chain = g->free;
		g->free = i;
	}
	return 0;
}

void wr_ghosts_fini(struct wr_ghosts *g)
{
	wr_free(g->slots);
	wr_free(g->buckets);
	*g = (struct wr_ghosts){0};
}

static uint32_t find(const struct wr_ghosts *g, uint64_t hash)
{
	uint32_t i = g->buckets[hash & g->mask];

	while (i != NONE && g->slots[i].hash != hash)
		i = g->slots[i].chain;
	return i;
}

static void drop(struct wr_ghosts *g, uint32_t i)
{
	struct wr_ghost *slot = &g->slots[i];
	uint32_t *link = &g->buckets[slot->hash & g->mask];

	while (*link != i)
		link = &g->slots[*link].chain;
	*link = slot->chain;
	g->slots[slot->prev].next = slot->next;
	g->slots[slot->next].prev = slot->prev;
	g->bytes[slot->list] -= slot->bytes;
	g->nr[slot->list]--;
	slot->chain = g->free;
	g->free = i;
}

const struct wr_ghost *wr_ghosts_find(const struct wr_ghosts *g, uint64_t hash)
{
	uint32_t i = find(g, hash);

	return i == NONE ? NULL : &g->slots[i];
}

void wr_ghosts_add(struct wr_ghosts *g, uint32_t list, uint64_t hash, uint64_t bytes)
{
	uint32_t i = find(g, hash);

	if (i != NONE)
		drop(g, i);
	else if (g->free == NONE)
		wr_ghosts_drop_oldest(g, g->nr[1] > g->nr[0]);
	i = g->free;
	g->free = g->slots[i].chain;
	g->slots[i] = (struct wr_ghost){.hash = hash,
					.bytes = bytes,
					.chain = g->buckets[hash & g->mask],
					.prev = list,
					.next = g->slots[list].next,
					.list = list};
	g->buckets[hash & g->mask] = i;
	g->slots[g->slots[list].next].prev = i;
	g->slots[list].next = i;
	g->bytes[list] += bytes;
	g->nr[list]++;
}

bool wr_ghosts_drop(struct wr_ghosts *g, uint64_t hash)
{
	uint32_t i = find(g, hash);

	if (i == NONE)
		return false;
	drop(g, i);
	return true;
}

bool wr_ghosts_drop_oldest(struct wr_ghosts *g, uint32_t list)
{
	uint32_t i = g->slots[list].prev;

	if (i == list)
		return false;
	drop(g, i);
	return true;
}
