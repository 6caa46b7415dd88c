/* SPDX-License-Identifier: MIT */
/*
 * Items by key: what it takes to fetch something that the host does not ask for now. As many as
 * were allowed at init; one that was not met for long makes room, unless it was declared.
 */
#ifndef WR_CACHE_KNOWN_H
#define WR_CACHE_KNOWN_H

#include <weir/cache.h>

#include "lock/lock.h"
#include "predict/catalog.h"

struct wr_known_item {
	struct weir_cache_item item; /* its name is not; bytes 0: forgotten, or not known yet */
	uint32_t layer, expert;	     /* WR_PREDICT_NONE: no expert */
	bool is_known;		     /* may be fetched */
	char name[WEIR_CACHE_NAME_BYTES];
};

struct wr_known {
	struct wr_mutex lock WR_RANKED(CACHE_ITEMS);
	struct wr_catalog catalog;   /* [CACHE_ITEMS] */
	struct wr_known_item *items; /* [CACHE_ITEMS] by number in the catalogue */
};

int wr_known_init(struct wr_known *k, uint32_t max) WEIR_MUST_CHECK;
void wr_known_fini(struct wr_known *k);
/* An item as the host named it. Its place stays. */
void wr_known_learn(struct wr_known *k, const struct weir_cache_item *item);
/* And its place; it is never let go. 0, -ENOSPC. */
int wr_known_declare(struct wr_known *k, const struct weir_cache_item *item, uint32_t layer,
		     uint32_t expert) WEIR_MUST_CHECK;
/* What an entry without a source says of itself, when nothing was known. */
void wr_known_note(struct wr_known *k, struct weir_key key, uint64_t bytes, uint32_t class_id);
/* It is nowhere any more; what was declared stays. */
void wr_known_forget(struct wr_known *k, struct weir_key key);
/* False: not known. The name in @ret is @ret's own. */
bool wr_known_find(struct wr_known *k, struct weir_key key, struct wr_known_item *ret);
/* The same without the name: bytes and place only. */
bool wr_known_place(struct wr_known *k, struct weir_key key, uint64_t *ret_bytes,
		    uint32_t *ret_layer, uint32_t *ret_expert);
uint64_t wr_known_nr(struct wr_known *k);

#endif /* WR_CACHE_KNOWN_H */
