/* SPDX-License-Identifier: MIT */
/*
 * Rows of a tensor as entries of a cache: the cache gathers, and this reads one row for it. A row is
 * where its number says, so nothing is planned; what a read needs besides its place it has from an
 * allocation of its own, next to kilobytes of reading.
 */
#include <weir/rows.h>

#include <errno.h>

#include <xxhash.h>

#include <weir/cache_rows.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"
#include "load/files.h"
#include "stream/streaming.h"

struct weir_rows {
	struct weir_cache *cache; /* [const] as all but the counts */
	struct wr_files files;
	const struct weir_tensor *tensor;
	struct weir_cache_source source;
	struct weir_cache_table table;
	_Atomic uint64_t nr_got, nr_read, read_bytes; /* [atomic] */
};

struct row_read {
	struct weir_rows *rows;
	uint64_t token;
	char *mem;
};

static void row_came(void *arg, int result, void *data)
{
	struct row_read *read = arg;
	struct weir_rows *rows = read->rows;
	uint64_t token = read->token;
	size_t offset = result ? 0 : (size_t)((char *)data - read->mem);

	wr_free(read);
	weir_cache_filled(rows->cache, token, result, offset);
}

static int fill_row(void *arg, const struct weir_cache_fill *fill)
{
	struct weir_rows *rows = arg;
	const struct weir_tensor *tensor = rows->tensor;
	uint64_t row = (uintptr_t)fill->cookie;
	struct row_read *read = wr_malloc(sizeof(*read));
	struct weir_io_req req = {.file = rows->files.files[tensor->file],
				  .offset = tensor->offset + row * tensor->row_bytes,
				  .bytes = (size_t)tensor->row_bytes,
				  .buf = fill->mem,
				  .buf_bytes = fill->mem_bytes,
				  .io_class = fill->demand ? WEIR_IO_DEMAND : WEIR_IO_SPECULATIVE,
				  .done = row_came,
				  .arg = read};
	int rc;

	if (!read)
		return -ENOMEM;
	*read = (struct row_read){rows, fill->token, fill->mem};
	rc = weir_io_read(rows->files.io, &req, NULL);
	if (rc) {
		wr_free(read);
		return rc;
	}
	(void)wr_fetch_add_relaxed(&rows->nr_read, 1u);
	(void)wr_fetch_add_relaxed(&rows->read_bytes,
				   weir_io_landing_bytes(req.file, req.offset, req.bytes));
	return 0;
}

/* The largest that any of them lands in: how a row lies towards the blocks repeats soon. */
static int set_table(struct weir_rows *rows)
{
	const struct weir_tensor *tensor = rows->tensor;
	const struct weir_model_file *file = weir_model_file(rows->files.model, tensor->file);
	const uint64_t what[] = {file->dev,   file->ino,      file->mtime_ns,
				 file->bytes, tensor->offset, tensor->row_bytes};
	XXH128_hash_t hash = XXH3_128bits(what, sizeof(what));
	struct weir_io_file_info info;
	uint64_t align, landing;

	weir_io_file_info(rows->files.files[tensor->file], &info);
	align = wr_max(info.offset_align, info.memory_align);
	if (wr_add_overflow(tensor->row_bytes, 2 * align, &landing) || landing > SIZE_MAX / 2)
		return -EOVERFLOW;
	rows->source = (struct weir_cache_source){.fill = fill_row, .arg = rows};
	rows->table = (struct weir_cache_table){.key = {hash.high64, hash.low64},
						.row_bytes = (size_t)tensor->row_bytes,
						.nr_rows = tensor->nr_rows,
						.source = &rows->source,
						.class_id = WEIR_CLASS_WEIGHTS,
						.landing_bytes = (size_t)landing};
	return 0;
}

int wr_stream_rows_open(struct weir_io *io, struct weir_cache *cache,
			const struct weir_model *model, const struct weir_tensor *tensor,
			struct weir_rows **ret, struct weir_error *err)
{
	struct weir_rows *rows;
	int rc;

	if (!cache || !tensor->nr_rows)
		return wr_error_set(err, -EINVAL, NULL, WEIR_OFFSET_NONE,
				    cache ? "%s has no rows" : "rows of %s need a cache",
				    tensor->name);
	rows = wr_calloc(1, sizeof(*rows));
	if (!rows)
		return wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE, "no memory for rows");
	rows->tensor = tensor;
	rc = wr_files_init(&rows->files, io, model, err);
	if (!rc) {
		wr_files_expect_gaps(&rows->files);
		rc = set_table(rows);
		if (rc)
			wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "rows of %s: %s",
				     tensor->name, weir_strerror(rc));
	}
	if (rc) {
		weir_rows_close(rows);
		return rc;
	}
	rows->cache = cache;
	*ret = rows;
	return 0;
}

void weir_rows_close(struct weir_rows *rows)
{
	int64_t rc = 0;

	if (!rows)
		return;
	/* Their source is ours: what is left may not be asked for it any more. */
	if (rows->cache)
		rc = weir_cache_rows_remove(rows->cache, &rows->table);
	wr_assert(rc >= 0 || rc == -ECANCELED || rc == -ENOMEM);
	(void)rc;
	wr_files_fini(&rows->files);
	wr_free(rows);
}

int weir_rows_get(struct weir_rows *rows, const uint64_t *numbers, size_t nr, void *to,
		  struct weir_error *err)
{
	int rc = weir_cache_rows(rows->cache, &rows->table, numbers, nr, to);

	if (rc)
		return wr_error_set(err, rc,
				    weir_model_file(rows->files.model, rows->tensor->file)->path,
				    WEIR_OFFSET_NONE, "%zu rows of %s: %s", nr, rows->tensor->name,
				    weir_strerror(rc));
	(void)wr_fetch_add_relaxed(&rows->nr_got, (uint64_t)nr);
	return 0;
}

void weir_rows_info(const struct weir_rows *rows, struct weir_rows_info *ret)
{
	*ret = (struct weir_rows_info){.row_bytes = rows->table.row_bytes,
				       .nr_rows = rows->table.nr_rows,
				       .entry_bytes = rows->table.landing_bytes,
				       .nr_got = wr_load_relaxed(&rows->nr_got),
				       .nr_read = wr_load_relaxed(&rows->nr_read),
				       .read_bytes = wr_load_relaxed(&rows->read_bytes)};
}
