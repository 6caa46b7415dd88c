/* SPDX-License-Identifier: MIT */
/**
 * weir/cache_rows.h - Tables in a cache whose rows are entries, got many at a time.
 *
 * For a tensor of a model there is weir/rows.h, which reads them from its file.
 */
#ifndef WEIR_CACHE_ROWS_H
#define WEIR_CACHE_ROWS_H

#include <weir/base.h>
#include <weir/cache.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct weir_cache_table - Rows of one size, such as an embedding's.
 * @key:       Of the table; a row's key is made of it and the row's number.
 * @row_bytes: Of a row; each is an entry of its own.
 * @nr_rows:   How many there are.
 * @source:    Where rows come from; the fill's cookie is the row's number. NULL: from the class's.
 * @class_id:  enum weir_cache_class.
 * @depth:     Rows fetched at a time, 1 to 256. 0: 64.
 * @landing_bytes: As of an item: what a fill needs to bring any of the rows. 0: @row_bytes.
 */
struct weir_cache_table {
	struct weir_key key;
	size_t row_bytes;
	uint64_t nr_rows;
	const struct weir_cache_source *source;
	uint32_t class_id;
	uint32_t depth;
	size_t landing_bytes;
};

/**
 * weir_cache_rows() - Gather rows of a table.
 * @cache: The cache.
 * @table: The table.
 * @rows:  Array of @nr row numbers, in any order, also repeated.
 * @nr:    How many.
 * @to:    Where row @rows[i] goes: @to + i * row_bytes.
 *
 * Rows that are not there are fetched @depth at a time, each once.
 *
 * Context: Any thread. As weir_cache_get(). May block.
 * Return:  0, -EINVAL (a row that does not exist, before anything is done), and the codes of
 *          weir_cache_get(): then @to is undefined.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_cache_rows(struct weir_cache *cache,
					     const struct weir_cache_table *table,
					     const uint64_t *rows, size_t nr, void *to);

/**
 * weir_cache_rows_remove() - Forget all rows of a table.
 * @cache: The cache.
 * @table: The table: its key and number of rows are looked at.
 *
 * Fetches of them that are under way are awaited: the source may go then.
 *
 * Context: Any thread. Takes CACHE, row by row. May block.
 * Return:  How many there were, 0 or more; what weir_cache_remove() said first.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int64_t weir_cache_rows_remove(struct weir_cache *cache,
							const struct weir_cache_table *table);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_CACHE_ROWS_H */
