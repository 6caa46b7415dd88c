/* SPDX-License-Identifier: MIT */
/* Items by key; see known.h. Its lock is held for a look and a copy only. */
#include "cache/known.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "predict/predict.h"

int wr_known_init(struct wr_known *k, uint32_t max)
{
	int rc = wr_catalog_init(&k->catalog, max);

	if (rc)
		return rc;
	k->items = wr_calloc(max, sizeof(*k->items));
	if (!k->items) {
		wr_catalog_fini(&k->catalog);
		return -ENOMEM;
	}
	wr_mutex_init(&k->lock, WR_RANK_CACHE_ITEMS, "cache.items");
	return 0;
}

void wr_known_fini(struct wr_known *k)
{
	wr_mutex_fini(&k->lock);
	wr_catalog_fini(&k->catalog);
	wr_free(k->items);
}

static void set_name(struct wr_known_item *i, const char *name)
{
	size_t len = name ? strlen(name) : 0;

	/* The end of a long one, as an entry keeps it. */
	if (len >= sizeof(i->name)) {
		name += len - (sizeof(i->name) - 1);
		len = sizeof(i->name) - 1;
	}
	if (len)
		memcpy(i->name, name, len);
	i->name[len] = '\0';
}

/* WR_ITEM_NONE: all places are declared. */
static uint32_t place_of(struct wr_known *k, const struct weir_cache_item *item)
	WR_REQUIRES(k->lock)
{
	bool fresh;
	uint32_t n = wr_catalog_add(&k->catalog, item->key, item->bytes, &fresh);

	wr_lock_assert_held(&k->lock);
	if (n == WR_ITEM_NONE)
		return n;
	if (fresh)
		k->items[n].layer = k->items[n].expert = WR_PREDICT_NONE;
	if (fresh || !k->items[n].is_known || item->name)
		set_name(&k->items[n], item->name);
	if (!item->bytes && !fresh)
		k->catalog.items[n].bytes = k->items[n].item.bytes;
	k->items[n].item = *item;
	k->items[n].item.name = NULL;
	k->items[n].item.bytes = k->catalog.items[n].bytes;
	k->items[n].is_known = true;
	return n;
}

void wr_known_learn(struct wr_known *k, const struct weir_cache_item *item)
{
	wr_mutex_lock(&k->lock);
	(void)place_of(k, item);
	wr_mutex_unlock(&k->lock);
}

int wr_known_declare(struct wr_known *k, const struct weir_cache_item *item, uint32_t layer,
		     uint32_t expert)
{
	uint32_t n;

	wr_mutex_lock(&k->lock);
	n = place_of(k, item);
	if (n != WR_ITEM_NONE) {
		wr_catalog_hold(&k->catalog, n, WR_HELD_DECLARED);
		k->items[n].layer = layer;
		k->items[n].expert = expert;
	}
	wr_mutex_unlock(&k->lock);
	return n == WR_ITEM_NONE ? -ENOSPC : 0;
}

void wr_known_note(struct wr_known *k, struct weir_key key, uint64_t bytes, uint32_t class_id)
{
	const struct weir_cache_item item = {
		.key = key, .bytes = (size_t)bytes, .class_id = class_id};
	uint32_t n;

	wr_mutex_lock(&k->lock);
	n = wr_catalog_find(&k->catalog, key);
	if (n == WR_ITEM_NONE || !k->items[n].is_known)
		(void)place_of(k, &item);
	else if (!k->items[n].item.bytes)
		k->items[n].item.bytes = (size_t)bytes;
	wr_mutex_unlock(&k->lock);
}

void wr_known_forget(struct wr_known *k, struct weir_key key)
{
	uint32_t n;

	wr_mutex_lock(&k->lock);
	n = wr_catalog_find(&k->catalog, key);
	if (n != WR_ITEM_NONE && !k->catalog.items[n].held)
		k->items[n].is_known = false;
	wr_mutex_unlock(&k->lock);
}

bool wr_known_find(struct wr_known *k, struct weir_key key, struct wr_known_item *ret)
{
	bool found = false;
	uint32_t n;

	wr_mutex_lock(&k->lock);
	n = wr_catalog_find(&k->catalog, key);
	if (n != WR_ITEM_NONE && k->items[n].is_known) {
		*ret = k->items[n];
		found = true;
	}
	wr_mutex_unlock(&k->lock);
	return found;
}

bool wr_known_place(struct wr_known *k, struct weir_key key, uint64_t *ret_bytes,
		    uint32_t *ret_layer, uint32_t *ret_expert)
{
	uint32_t n;

	wr_mutex_lock(&k->lock);
	n = wr_catalog_find(&k->catalog, key);
	if (n != WR_ITEM_NONE) {
		k->catalog.items[n].used = true;
		*ret_bytes = k->items[n].item.bytes;
		*ret_layer = k->items[n].layer;
		*ret_expert = k->items[n].expert;
	}
	wr_mutex_unlock(&k->lock);
	return n != WR_ITEM_NONE;
}

uint64_t wr_known_nr(struct wr_known *k)
{
	uint64_t nr;

	wr_mutex_lock(&k->lock);
	nr = k->catalog.nr_items;
	wr_mutex_unlock(&k->lock);
	return nr;
}
