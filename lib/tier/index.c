/* SPDX-License-Identifier: MIT */
/*
 * The index: for each key what is on disk, and the line of what is to be done with it. A table of
 * chains that doubles when it is full; entries never move, so ops point to them.
 */
#include <string.h>

#include "base/alloc.h"
#include "tier/internal.h"

static struct wr_store_entry **bucket_of(struct wr_store *s, struct weir_key key)
{
	/* Hosts may hand out keys that are not as even as they ought to be. */
	uint64_t h = (key.lo ^ (key.hi >> 29)) * 0x9e3779b97f4a7c15ull;

	return &s->buckets[(h >> 20) & (s->nr_buckets - 1)];
}

struct wr_store_entry *wr_store_entry_find(struct wr_store *s, struct weir_key key)
{
	struct wr_store_entry *e = *bucket_of(s, key);

	while (e != NULL && !weir_key_equal(e->item.key, key))
		e = e->next;
	return e;
}

/* Without memory the chains just grow longer. */
static void grow(struct wr_store *s) WR_REQUIRES(s->lock)
{
	size_t nr = s->nr_buckets * 2;
	struct wr_store_entry **fresh = wr_calloc(nr, sizeof(struct wr_store_entry *));
	struct wr_store_entry **old = s->buckets;
	size_t nr_old = s->nr_buckets;

	if (fresh == NULL)
		return;
	s->buckets = fresh;
	s->nr_buckets = nr;
	for (size_t i = 0; i < nr_old; i++) {
		struct wr_store_entry *e, *next;

		for (e = old[i]; e != NULL; e = next) {
			struct wr_store_entry **b = bucket_of(s, e->item.key);

			next = e->next;
			e->next = *b;
			*b = e;
		}
	}
	wr_free(old);
}

struct wr_store_entry *wr_store_entry_get(struct wr_store *s, struct weir_key key)
{
	struct wr_store_entry *e = wr_store_entry_find(s, key), **b;

	if (e != NULL)
		return e;
	e = wr_calloc(1, sizeof(*e));
	if (e == NULL)
		return NULL;
	if (s->nr_entries >= s->nr_buckets)
		grow(s);
	e->item.key = key;
	e->state = WR_ENTRY_NONE;
	STAILQ_INIT(&e->line);
	b = bucket_of(s, key);
	e->next = *b;
	*b = e;
	s->nr_entries++;
	return e;
}

void wr_store_entry_put(struct wr_store *s, struct wr_store_entry *e)
{
	struct wr_store_entry **at;

	if (e->state != WR_ENTRY_NONE || !STAILQ_EMPTY(&e->line))
		return;
	for (at = bucket_of(s, e->item.key); *at != e; at = &(*at)->next)
		;
	*at = e->next;
	s->nr_entries--;
	wr_free(e);
}

void wr_store_entry_set(struct wr_store *s, struct wr_store_entry *e, struct wr_store_segment *seg,
			const struct wr_store_item *item)
{
	if (e->state != WR_ENTRY_NONE) {
		uint64_t extent = wr_store_extent(e->item.bytes);

		TAILQ_REMOVE(&e->segment->entries, e, link);
		e->segment->live_bytes -= extent;
		e->segment->stuck = false;
		s->stats.live_bytes -= extent;
		s->stats.nr_blocks -= e->state == WR_ENTRY_LIVE;
		e->segment->nr_live -= e->state == WR_ENTRY_LIVE;
	}
	e->state = WR_ENTRY_NONE;
	e->corrupt = false;
	e->segment = seg;
	if (seg == NULL)
		return;
	e->item = *item;
	e->state = item->kind == WR_STORE_BLOCK ? WR_ENTRY_LIVE : WR_ENTRY_GRAVE;
	TAILQ_INSERT_TAIL(&seg->entries, e, link);
	seg->live_bytes += wr_store_extent(item->bytes);
	s->stats.live_bytes += wr_store_extent(item->bytes);
	s->stats.nr_blocks += e->state == WR_ENTRY_LIVE;
	seg->nr_live += e->state == WR_ENTRY_LIVE;
}

void wr_store_index_fini(struct wr_store *s)
{
	for (size_t i = 0; i < s->nr_buckets && s->buckets != NULL; i++) {
		struct wr_store_entry *e, *next;

		for (e = s->buckets[i]; e != NULL; e = next) {
			next = e->next;
			wr_free(e);
		}
	}
	wr_free(s->buckets);
}
