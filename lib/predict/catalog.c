/* SPDX-License-Identifier: MIT */
/*
 * The catalogue: a table of items, and an index over it with linear probing at half load or less.
 * Removing shifts what follows back, so there are no tombstones and a search ends at a hole.
 */
#include <errno.h>

#include "base/alloc.h"
#include "predict/catalog.h"

static uint32_t nr_slots(uint32_t max_items)
{
	uint32_t n = 16;

	while (n < 2 * (uint64_t)max_items)
		n *= 2;
	return n;
}

static uint32_t home_of(const struct wr_catalog *c, struct weir_key key)
{
	uint64_t h = (key.lo ^ (key.hi * 0x9e3779b97f4a7c15u)) * 0xd6e8feb86659fd93u;

	return (uint32_t)(h >> 32) & c->mask;
}

uint64_t wr_catalog_bytes(uint32_t max_items)
{
	return (uint64_t)max_items * sizeof(struct wr_item) +
	       (uint64_t)nr_slots(max_items) * sizeof(uint32_t);
}

int wr_catalog_init(struct wr_catalog *c, uint32_t max_items)
{
	uint32_t n = nr_slots(max_items);

	*c = (struct wr_catalog){.mask = n - 1, .max_items = max_items};
	c->items = wr_calloc(max_items, sizeof(*c->items));
	c->slots = wr_calloc(n, sizeof(*c->slots));
	if (c->items && c->slots)
		return 0;
	wr_catalog_fini(c);
	return -ENOMEM;
}

void wr_catalog_fini(struct wr_catalog *c)
{
	wr_free(c->items);
	wr_free(c->slots);
	c->items = NULL;
	c->slots = NULL;
}

/* The slot that holds @key, or the hole where it would go. */
static uint32_t slot_of(const struct wr_catalog *c, struct weir_key key)
{
	uint32_t s = home_of(c, key);

	while (c->slots[s] && !weir_key_equal(c->items[c->slots[s] - 1].key, key))
		s = (s + 1) & c->mask;
	return s;
}

uint32_t wr_catalog_find(const struct wr_catalog *c, struct weir_key key)
{
	uint32_t entry = c->slots[slot_of(c, key)];

	return entry ? entry - 1 : WR_ITEM_NONE;
}

static void unlink_item(struct wr_catalog *c, uint32_t item)
{
	uint32_t hole = slot_of(c, c->items[item].key);

	wr_assert(c->slots[hole] == item + 1);
	for (uint32_t s = (hole + 1) & c->mask; c->slots[s]; s = (s + 1) & c->mask) {
		uint32_t home = home_of(c, c->items[c->slots[s] - 1].key);

		/* It may move to the hole unless its home lies after the hole. */
		if (((s - home) & c->mask) < ((s - hole) & c->mask))
			continue;
		c->slots[hole] = c->slots[s];
		hole = s;
	}
	c->slots[hole] = 0;
}

/* An item that nobody uses: a new one, or the first the hand finds unused for a turn. */
static uint32_t take_item(struct wr_catalog *c)
{
	if (c->nr_items < c->max_items)
		return c->nr_items++;
	if (c->nr_held == c->max_items)
		return WR_ITEM_NONE;
	for (;;) {
		uint32_t item = c->hand;
		struct wr_item *it = &c->items[item];

		c->hand = c->hand + 1 == c->max_items ? 0 : c->hand + 1;
		if (it->held)
			continue;
		if (!it->used) {
			unlink_item(c, item);
			return item;
		}
		it->used = false;
	}
}

uint32_t wr_catalog_add(struct wr_catalog *c, struct weir_key key, uint64_t bytes, bool *fresh)
{
	uint32_t item = wr_catalog_find(c, key);
	struct wr_item *it;

	*fresh = item == WR_ITEM_NONE;
	if (*fresh) {
		item = take_item(c);
		if (item == WR_ITEM_NONE)
			return item;
		it = &c->items[item];
		it->key = key;
		it->generation++;
		it->in_use = true;
		c->slots[slot_of(c, key)] = item + 1;
	}
	it = &c->items[item];
	it->bytes = bytes;
	it->used = true;
	return item;
}

void wr_catalog_hold(struct wr_catalog *c, uint32_t item, uint32_t why)
{
	c->nr_held += !c->items[item].held;
	c->items[item].held |= (uint8_t)why;
}

void wr_catalog_release(struct wr_catalog *c, uint32_t item, uint32_t why)
{
	c->nr_held -= c->items[item].held == why;
	c->items[item].held &= (uint8_t)~why;
}
