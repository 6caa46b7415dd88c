/* SPDX-License-Identifier: MIT */
/*
 * Gathering rows of a table: each row is an entry. All of a window's rows are asked for without
 * waiting, then taken in order, so that as many as the window has are under way at a time.
 */
#include <weir/cache_rows.h>

#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "cache/cache_internal.h"

#define DEFAULT_DEPTH 64u
#define MAX_DEPTH     256u

static struct weir_cache_item row_item(const struct weir_cache_table *table, uint64_t row)
{
	uint64_t a = (table->key.lo + row) * 0x9e3779b97f4a7c15u;

	a = (a ^ a >> 30) * 0xbf58476d1ce4e5b9u;
	a ^= a >> 27;
	return (struct weir_cache_item){.key = {table->key.hi ^ row * 0x94d049bb133111ebu, a},
					.bytes = table->row_bytes,
					.landing_bytes = table->landing_bytes,
					.class_id = table->class_id,
					.cookie = (void *)(uintptr_t)row,
					.source = table->source};
}

static int take_row(struct weir_cache *cache, const struct weir_cache_item *item,
		    unsigned int flags, char *to)
{
	struct weir_pin pin;
	int rc = weir_cache_get(cache, item, flags, &pin);

	if (rc)
		return rc;
	memcpy(to, pin.data, item->bytes);
	(void)weir_cache_put(cache, &pin);
	return 0;
}

/*
 * What is under way: positions in the caller's array, the oldest first. They are kept until they
 * are taken: what came and was not used yet would leave before what was used already.
 */
struct window {
	size_t at[MAX_DEPTH];
	bool is_kept[MAX_DEPTH];
	uint32_t first, nr;
};

static void begin(struct weir_cache *cache, struct window *w, size_t at,
		  const struct weir_cache_item *item)
{
	uint32_t i = (w->first + w->nr++) % MAX_DEPTH;

	w->at[i] = at;
	w->is_kept[i] = !weir_cache_keep(cache, item->key, true);
}

static int take_oldest(struct weir_cache *cache, const struct weir_cache_table *table,
		       const uint64_t *rows, char *to, struct window *w)
{
	uint32_t i = w->first;
	struct weir_cache_item item = row_item(table, rows[w->at[i]]);
	int gone, rc = take_row(cache, &item, 0, to + w->at[i] * table->row_bytes);

	w->first = (i + 1) % MAX_DEPTH;
	w->nr--;
	/* One that was removed meanwhile, or did not come, is kept by nobody. */
	gone = w->is_kept[i] ? weir_cache_keep(cache, item.key, false) : 0;
	(void)gone;
	return rc;
}

int weir_cache_rows(struct weir_cache *cache, const struct weir_cache_table *table,
		    const uint64_t *rows, size_t nr, void *to)
{
	uint32_t depth = table->depth ? table->depth : DEFAULT_DEPTH;
	struct window w = {.nr = 0};
	size_t bytes;
	int rc = 0, one;

	if (depth > MAX_DEPTH || !table->row_bytes || table->class_id >= WEIR_NR_CLASSES ||
	    wr_mul_overflow(nr, table->row_bytes, &bytes))
		return -EINVAL;
	for (size_t i = 0; i < nr; i++)
		if (rows[i] >= table->nr_rows)
			return -EINVAL;
	for (size_t i = 0; !rc && i < nr; i++) {
		struct weir_cache_item item = row_item(table, rows[i]);
		char *row = (char *)to + i * table->row_bytes;

		rc = take_row(cache, &item, WEIR_CACHE_NO_WAIT, row);
		/* Only what may wait can have room: take what we keep, then wait. */
		while (rc == -EAGAIN && w.nr) {
			rc = take_oldest(cache, table, rows, to, &w);
			if (!rc)
				rc = take_row(cache, &item, WEIR_CACHE_NO_WAIT, row);
		}
		if (rc == -EAGAIN)
			rc = take_row(cache, &item, 0, row);
		if (rc != -EINPROGRESS)
			continue;
		begin(cache, &w, i, &item);
		rc = w.nr < depth ? 0 : take_oldest(cache, table, rows, to, &w);
	}
	while (w.nr) {
		one = take_oldest(cache, table, rows, to, &w);
		rc = rc ? rc : one;
	}
	return rc;
}

int64_t weir_cache_rows_remove(struct weir_cache *cache, const struct weir_cache_table *table)
{
	int64_t nr = 0;
	int rc = 0;

	for (uint64_t row = 0; row < table->nr_rows; row++) {
		int one = weir_cache_remove(cache, row_item(table, row).key);

		nr += !one;
		rc = rc || one == -ENOENT ? rc : one;
	}
	return rc ? rc : nr;
}
