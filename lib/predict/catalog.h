/* SPDX-License-Identifier: MIT */
/*
 * Keys as small numbers: everything else in this module works on items, 0 to nr_items - 1.
 *
 * A full catalogue gives the number of a key that was not used for a whole turn of a clock's hand
 * to the new one. Keys that are declared or part of a plan stay. The generation of a number tells its keys apart, so that
 * what was learnt of the old key is not taken for the new one.
 */
#ifndef WR_PREDICT_CATALOG_H
#define WR_PREDICT_CATALOG_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/key.h>

#include "base/util.h"

#define WR_ITEM_NONE UINT32_MAX

#define WR_HELD_DECLARED 1u
#define WR_HELD_PLAN	 2u

struct wr_item {
	struct weir_key key;
	uint64_t bytes;
	uint8_t generation;
	bool in_use;
	uint8_t held; /* WR_HELD_*: its number stays its own */
	bool used;    /* since the hand came by */
};

struct wr_catalog {
	struct wr_item *items;
	uint32_t *slots; /* item + 1, 0 for none; open addressing */
	uint32_t mask;
	uint32_t nr_items; /* in use */
	uint32_t max_items;
	uint32_t nr_held;
	uint32_t hand;
};

uint64_t wr_catalog_bytes(uint32_t max_items);
int wr_catalog_init(struct wr_catalog *c, uint32_t max_items) WEIR_MUST_CHECK;
void wr_catalog_fini(struct wr_catalog *c);

uint32_t wr_catalog_find(const struct wr_catalog *c, struct weir_key key);

/* The key's item, made if need be; *fresh: it was. WR_ITEM_NONE: all are held. */
uint32_t wr_catalog_add(struct wr_catalog *c, struct weir_key key, uint64_t bytes, bool *fresh);

void wr_catalog_hold(struct wr_catalog *c, uint32_t item, uint32_t why);
void wr_catalog_release(struct wr_catalog *c, uint32_t item, uint32_t why);

#endif /* WR_PREDICT_CATALOG_H */
