/* SPDX-License-Identifier: MIT */
/*
 * The table that a parser fills: one entry a tensor, names apart and unique. Grows with what a file
 * really contains, by doubling, never by what it declares.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "weights/weights_internal.h"

static int grow(struct wr_table *table)
{
	uint32_t room = table->room != 0 ? table->room * 2 : 16;
	struct wr_entry *entry = wr_reallocarray(table->entry, room, sizeof(*entry));

	if (entry == NULL)
		return -ENOMEM;
	table->entry = entry;
	table->room = room;
	return 0;
}

int wr_table_add(struct wr_table *table, struct wr_src *src, const struct wr_entry *entry,
		 const char *name, size_t bytes)
{
	uint32_t number = 0;
	int code = 0;

	if (table->nr >= WR_TENSORS_MOST)
		return wr_src_fail(src, -EFBIG, entry->header_at,
				   "more than %u tensors, the most that are read", WR_TENSORS_MOST);
	if (table->nr == table->room)
		code = grow(table);
	if (code == 0)
		code = wr_names_add(&table->names, name, bytes, &number);
	if (code == -EEXIST)
		return wr_src_fail(src, -EBADMSG, entry->header_at,
				   "two tensors have the name '%.*s'",
				   (int)wr_min(bytes, (size_t)120), name);
	if (code != 0)
		return wr_src_fail(src, code, entry->header_at, "no memory for %u tensors",
				   table->nr + 1);
	table->entry[table->nr] = *entry;
	table->entry[table->nr++].name = number;
	return 0;
}

void wr_table_fini(struct wr_table *table)
{
	wr_names_fini(&table->names);
	wr_free(table->entry);
	*table = (struct wr_table){0};
}

/* Numbers break ties, so that the result does not depend on the sort. */
static int by_place(const void *a, const void *b)
{
	const struct wr_entry *x = a, *y = b;

	if (x->t.file != y->t.file)
		return x->t.file < y->t.file ? -1 : 1;
	if (x->t.offset != y->t.offset)
		return x->t.offset < y->t.offset ? -1 : 1;
	if (x->t.bytes != y->t.bytes)
		return x->t.bytes < y->t.bytes ? -1 : 1;
	return (x->name > y->name) - (x->name < y->name);
}

static bool is_sorted(const struct wr_table *table)
{
	for (uint32_t i = 1; i < table->nr; i++) {
		if (by_place(&table->entry[i - 1], &table->entry[i]) > 0)
			return false;
	}
	return true;
}

/* Writers list tensors in file order, so there is mostly nothing to do. */
void wr_table_sort(struct wr_table *table)
{
	if (!is_sorted(table))
		qsort(table->entry, table->nr, sizeof(*table->entry), by_place);
}
