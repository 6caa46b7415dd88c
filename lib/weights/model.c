/* SPDX-License-Identifier: MIT */
/*
 * Opening a model: what a path stands for, and which files belong together.
 *
 * A directory holds, in this order of preference (that of huggingface/transformers for the first
 * two), model.safetensors; model.safetensors.index.json; one other index or one other safetensors
 * file; or GGUF: one text model, whole or split, and at most one projector (mmproj) beside it. A
 * directory that leaves a choice is refused with what there is to choose from.
 *
 * A sharded model is what its index maps: tensors that a shard has and the map does not give it are
 * left out, with a line in the log, as the loader of transformers reads by the map; a tensor that
 * the map names and the shard lacks is an error. One shard opened by itself is a model of its own.
 *
 * One file is open at a time, and none when this returns.
 */
#include <weir/weights.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "weights/directory.h"
#include "weights/weights_internal.h"

struct opener {
	struct weir_model *model;
	struct weir_error *err;
};

static int no_memory(const struct opener *o, const char *path)
{
	return wr_error_set(o->err, -ENOMEM, path, WEIR_OFFSET_NONE, "no memory to index it");
}

/* ---- what a file is ----------------------------------------------------------------------- */

/*
 * GGUF begins with its name. A safetensors file begins with a length below 2^32, so with zeros in
 * bytes 4 to 7, which no text has.
 */
int wr_file_kind(struct wr_src *src, enum wr_file_kind *ret)
{
	const uint8_t *p;
	size_t n = (size_t)wr_min(src->bytes, UINT64_C(9));
	int code = wr_src_get(src, 0, n, &p);

	if (code != 0)
		return code;
	*ret = WR_FILE_OTHER;
	if (n >= 4 && (memcmp(p, "GGUF", 4) == 0 || memcmp(p, "FUGG", 4) == 0))
		*ret = WR_FILE_GGUF;
	else if (n >= 8 && (memcmp(p + 4, "\0\0\0\0", 4) == 0 || (n == 9 && p[8] == '{')))
		*ret = WR_FILE_SAFETENSORS;
	else if (n > 0 &&
		 (p[0] == '{' || p[0] == ' ' || p[0] == '\n' || p[0] == '\t' || p[0] == '\r'))
		*ret = WR_FILE_JSON;
	return 0;
}

static int check_kind(struct wr_src *src, enum wr_file_kind *ret)
{
	int code;

	if (src->bytes == 0)
		return wr_src_fail(src, -ENODATA, 0, "the file is empty");
	code = wr_file_kind(src, ret);
	if (code == 0 && *ret == WR_FILE_OTHER)
		return wr_src_fail(src, -EBADMSG, 0,
				   "neither safetensors nor GGUF nor an index of shards");
	return code;
}

/* ---- one file ----------------------------------------------------------------------------- */

/* Move the tensors of @from that @index gives to @shard into the model; all when it is NULL. */
static int merge(struct opener *o, struct wr_src *src, struct wr_table *from,
		 const struct wr_st_index *index, uint32_t shard, bool *found, uint32_t *ret_left)
{
	struct wr_table *to = &o->model->table;

	for (uint32_t i = 0; i < from->nr; i++) {
		struct wr_entry e = from->entry[i];
		const struct wr_name *item = &from->names.item[e.name];
		const char *name = wr_names_text(&from->names, e.name);
		int code;

		if (index != NULL) {
			uint32_t nr = wr_names_find(&index->tensors, name, item->bytes);

			if (nr == WR_NAMES_NONE || index->shard_of[nr] != shard) {
				(*ret_left)++;
				continue;
			}
			found[nr] = true;
		}
		e.t.file = o->model->nr_files - 1;
		code = wr_table_add(to, src, &e, name, item->bytes);
		if (code != 0)
			return code;
	}
	return 0;
}

/* Add the parsed file to the model; @table is taken over or merged. */
static int add_file(struct opener *o, struct wr_src *src, const struct stat *st,
		    uint64_t data_offset, struct wr_table *table)
{
	if (wr_model_add_file(o->model, src->path, st, data_offset) != 0)
		return no_memory(o, src->path);
	if (o->model->table.nr == 0) {
		wr_table_fini(&o->model->table);
		o->model->table = *table;
		*table = (struct wr_table){0};
		for (uint32_t i = 0; i < o->model->table.nr; i++)
			o->model->table.entry[i].t.file = o->model->nr_files - 1;
		return 0;
	}
	return merge(o, src, table, NULL, 0, NULL, NULL);
}

static int load_safetensors(struct opener *o, struct wr_src *src, const struct stat *st)
{
	struct wr_table table = {0};
	uint64_t data_offset = 0;
	int code = wr_st_parse(src, &table, &data_offset);

	if (code == 0)
		code = add_file(o, src, st, data_offset, &table);
	wr_table_fini(&table);
	o->model->format = WEIR_FORMAT_SAFETENSORS;
	return code;
}

/* ---- sharded safetensors ------------------------------------------------------------------ */

/* Open a file that another one names, of a known kind; @where ends what is said of a directory. */
static int open_named(struct opener *o, const char *path, const char *where, struct wr_src *src,
		      struct stat *st, enum wr_file_kind *ret)
{
	int code = wr_src_open(src, path, st, o->err);

	if (code != 0)
		return code;
	if (S_ISDIR(st->st_mode))
		code = wr_src_fail(src, -EISDIR, WEIR_OFFSET_NONE, "a directory where %s", where);
	if (code == 0)
		code = check_kind(src, ret);
	if (code != 0)
		wr_src_fini(src);
	return code;
}

static int load_shard(struct opener *o, const char *path, const struct wr_st_index *index,
		      uint32_t shard, bool *found)
{
	enum wr_file_kind kind = WR_FILE_OTHER;
	struct wr_table table = {0};
	uint64_t data_offset = 0;
	uint32_t left = 0;
	struct wr_src src;
	struct stat st;
	int code = open_named(o, path, "the index names a file", &src, &st, &kind);

	if (code != 0)
		return code;
	if (kind != WR_FILE_SAFETENSORS)
		code = wr_src_fail(&src, -EBADMSG, 0, "the index names %s as a shard",
				   kind == WR_FILE_JSON ? "an index" : "a GGUF file");
	if (code == 0)
		code = wr_st_parse(&src, &table, &data_offset);
	if (code == 0 && wr_model_add_file(o->model, path, &st, data_offset) != 0)
		code = no_memory(o, path);
	if (code == 0)
		code = merge(o, &src, &table, index, shard, found, &left);
	if (code == 0 && left != 0)
		wr_log(WEIR_LOG_WARN, "weights",
		       "%s: %" PRIu32 " tensors that the index does not give it are left out", path,
		       left);
	wr_table_fini(&table);
	wr_src_fini(&src);
	return code;
}

/* Every tensor of the map must have been in its shard. */
static int check_found(struct opener *o, const char *path, const struct wr_st_index *index,
		       const bool *found)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < index->tensors.nr; i++) {
		if (!found[i])
			return wr_error_set(o->err, -EBADMSG, path, index->entry_at[i],
					    "tensor '%.100s' is not in its shard '%.80s'",
					    wr_names_text(&index->tensors, i),
					    wr_names_text(&index->shards, index->shard_of[i]));
	}
	for (uint32_t i = 0; i < o->model->table.nr; i++)
		total += o->model->table.entry[i].t.bytes;
	if (index->has_total && index->total_bytes != total)
		wr_log(WEIR_LOG_WARN, "weights",
		       "%s: total_size is %" PRIu64 ", the tensors have %" PRIu64 " bytes", path,
		       index->total_bytes, total);
	return 0;
}

struct shard_name {
	const char *name;
	uint32_t nr;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct shard_name *)a)->name, ((const struct shard_name *)b)->name);
}

/* Shards in the order of their names, so that files are numbered as people number them. */
static int load_shards(struct opener *o, const char *path, const struct wr_st_index *index,
		       struct shard_name *sorted, bool *found)
{
	uint32_t nr = index->shards.nr;
	int code = 0;

	for (uint32_t i = 0; i < nr; i++)
		sorted[i] = (struct shard_name){wr_names_text(&index->shards, i), i};
	qsort(sorted, nr, sizeof(*sorted), by_name);
	for (uint32_t i = 0; code == 0 && i < nr; i++) {
		char *shard = wr_path_beside(path, sorted[i].name);

		if (shard == NULL)
			return no_memory(o, path);
		if (strcmp(sorted[i].name, wr_path_name(path)) == 0)
			code = wr_error_set(o->err, -EBADMSG, path, WEIR_OFFSET_NONE,
					    "the index names itself as a shard");
		if (code == 0)
			code = load_shard(o, shard, index, sorted[i].nr, found);
		wr_free(shard);
	}
	return code != 0 ? code : check_found(o, path, index, found);
}

static int load_index(struct opener *o, struct wr_src *src)
{
	struct wr_st_index index = {0};
	struct shard_name *sorted = NULL;
	bool *found = NULL;
	int code = wr_st_index_parse(src, &index);

	if (code == 0) {
		sorted = wr_calloc(index.shards.nr, sizeof(*sorted));
		found = wr_calloc(index.tensors.nr, sizeof(*found));
		code = sorted != NULL && found != NULL
			       ? load_shards(o, src->path, &index, sorted, found)
			       : no_memory(o, src->path);
	}
	wr_free(sorted);
	wr_free(found);
	wr_st_index_fini(&index);
	o->model->format = WEIR_FORMAT_SAFETENSORS;
	return code;
}

/* ---- GGUF --------------------------------------------------------------------------------- */

static int load_gguf(struct opener *o, struct wr_src *src, const struct stat *st,
		     struct wr_gguf_info *ret)
{
	struct wr_table table = {0};
	int code = wr_gguf_parse(src, &table, ret);

	if (code == 0)
		code = add_file(o, src, st, ret->data_offset, &table);
	wr_table_fini(&table);
	o->model->format = WEIR_FORMAT_GGUF;
	return code;
}

static int load_gguf_path(struct opener *o, const char *path, struct wr_gguf_info *ret)
{
	enum wr_file_kind kind = WR_FILE_OTHER;
	struct wr_src src;
	struct stat st;
	int code = open_named(o, path, "a GGUF file belongs", &src, &st, &kind);

	if (code != 0)
		return code;
	if (kind != WR_FILE_GGUF)
		code = wr_src_fail(&src, -EBADMSG, 0, "no GGUF file, but it belongs to one");
	if (code == 0)
		code = load_gguf(o, &src, &st, ret);
	wr_src_fini(&src);
	return code;
}

/* A part of a split model that is not the one it began with. */
static int load_part(struct opener *o, const char *path, uint64_t no,
		     const struct wr_gguf_info *whole)
{
	struct wr_gguf_info info = {0};
	int code = load_gguf_path(o, path, &info);

	if (code != 0)
		return code;
	if (info.split_count != whole->split_count || info.split_no != no)
		return wr_error_set(o->err, -EBADMSG, path, info.split_at,
				    "it says it is part %" PRIu64 " of %" PRIu64
				    " (from 0), its name says %" PRIu64 " of %" PRIu64,
				    info.split_no, info.split_count, no, whole->split_count);
	return 0;
}

/* The other parts of the split model that @path is a part of. */
static int load_parts(struct opener *o, const char *path, const struct wr_gguf_info *info,
		      uint32_t tensors_before)
{
	size_t stem = strlen(path) - wr_min(strlen(path), (size_t)WR_SPLIT_TAIL_BYTES);
	uint64_t no, count, nr_tensors;
	int code = 0;

	if (!wr_split_name(path, &no, &count) || no != info->split_no || count != info->split_count)
		return wr_error_set(o->err, -EBADMSG, path, info->split_at,
				    "it says it is part %" PRIu64 " of %" PRIu64
				    " (from 0), which its name does not",
				    info->split_no, info->split_count);
	for (uint64_t i = 0; code == 0 && i < count; i++) {
		size_t room = stem + WR_SPLIT_TAIL_BYTES + 1;
		char *part;

		if (i == info->split_no)
			continue;
		part = wr_malloc(room);
		if (part == NULL)
			return no_memory(o, path);
		snprintf(part, room, "%.*s-%05u-of-%05u.gguf", (int)stem, path, (unsigned int)i + 1,
			 (unsigned int)count);
		code = load_part(o, part, i, info);
		wr_free(part);
	}
	if (code != 0)
		return code;
	nr_tensors = o->model->table.nr - tensors_before;
	if (info->split_tensors != UINT64_MAX && info->split_tensors != nr_tensors)
		return wr_error_set(o->err, -EBADMSG, path, info->split_at,
				    "split.tensors.count is %" PRIu64 ", the parts have %" PRIu64,
				    info->split_tensors, nr_tensors);
	return 0;
}

/* A GGUF model with all its parts. */
static int load_gguf_model(struct opener *o, const char *path, struct wr_gguf_info *ret)
{
	uint32_t before = o->model->table.nr;
	int code = load_gguf_path(o, path, ret);

	if (code == 0 && ret->split_count > 1)
		code = load_parts(o, path, ret, before);
	return code;
}

/* ---- directories -------------------------------------------------------------------------- */

static int load_path(struct opener *o, const char *path);

/* A text model and a projector, whichever of the two names is which. */
static int load_pair(struct opener *o, const char *dir, const struct wr_listing *list)
{
	struct wr_gguf_info info[2] = {{0}, {0}};
	int code = 0;

	for (int i = 0; code == 0 && i < 2; i++) {
		char *path = wr_path_join(dir, list->name[i]);

		if (path == NULL)
			return no_memory(o, dir);
		code = load_gguf_model(o, path, &info[i]);
		wr_free(path);
	}
	if (code == 0 && info[0].is_projector == info[1].is_projector)
		code = wr_error_set(o->err, -EINVAL, dir, WEIR_OFFSET_NONE,
				    "'%.80s' and '%.80s' are two %s: name one of them",
				    list->name[0], list->name[1],
				    info[0].is_projector ? "projectors" : "text models");
	return code;
}

static int load_directory(struct opener *o, struct wr_src *src, const char *dir)
{
	struct wr_listing list;
	char *path = NULL;
	int code = wr_listing_read(&list, src);

	if (code != 0)
		return code;
	if (list.nr == 0) {
		code = wr_error_set(o->err, -EINVAL, dir, WEIR_OFFSET_NONE,
				    "the directory holds no .safetensors and no .gguf file");
	} else if (list.nr == 2 && list.gguf) {
		code = load_pair(o, dir, &list);
	} else if (list.nr > 1) {
		code = wr_error_set(o->err, -EINVAL, dir, WEIR_OFFSET_NONE,
				    "the directory holds %zu models, '%.80s' among them: name one",
				    list.nr, list.name[0]);
	} else {
		path = wr_path_join(dir, list.name[0]);
		code = path != NULL ? load_path(o, path) : no_memory(o, dir);
	}
	wr_free(path);
	wr_listing_fini(&list);
	return code;
}

/* ---- open --------------------------------------------------------------------------------- */

static int load_opened(struct opener *o, struct wr_src *src, const struct stat *st)
{
	enum wr_file_kind kind = WR_FILE_OTHER;
	struct wr_gguf_info info = {0};
	int code = check_kind(src, &kind);

	if (code != 0)
		return code;
	switch (kind) {
	case WR_FILE_GGUF:
		code = load_gguf(o, src, st, &info);
		if (code == 0 && info.split_count > 1)
			code = load_parts(o, src->path, &info, 0);
		return code;
	case WR_FILE_JSON:
		return load_index(o, src);
	default:
		return load_safetensors(o, src, st);
	}
}

/* A file, or a directory the first time; what a directory names must be a file. */
static int load_path(struct opener *o, const char *path)
{
	struct wr_src src;
	struct stat st;
	int code = wr_src_open(&src, path, &st, o->err);

	if (code != 0)
		return code;
	if (!S_ISDIR(st.st_mode))
		code = load_opened(o, &src, &st);
	else
		code = wr_src_fail(&src, -EISDIR, WEIR_OFFSET_NONE,
				   "a directory where a file belongs");
	wr_src_fini(&src);
	return code;
}

static int load(struct opener *o, const char *path)
{
	struct wr_src src;
	struct stat st;
	int code = wr_src_open(&src, path, &st, o->err);

	if (code != 0)
		return code;
	if (S_ISDIR(st.st_mode))
		code = load_directory(o, &src, path);
	else
		code = load_opened(o, &src, &st);
	wr_src_fini(&src);
	return code;
}

/* What config.json beside the model says, if it is there and makes sense. */
static bool read_config(const struct weir_model *model, struct wr_config *ret)
{
	char *path = wr_path_beside(model->file[0].path, "config.json");
	struct weir_error err;
	struct wr_src src;
	struct stat st;
	int code;

	if (path == NULL)
		return false;
	code = wr_src_open(&src, path, &st, &err);
	if (code == 0) {
		code = S_ISREG(st.st_mode) ? wr_config_parse(&src, ret) : -EINVAL;
		wr_src_fini(&src);
	}
	if (code != 0 && code != -ENOENT)
		wr_log(WEIR_LOG_WARN, "weights", "%s: not used, error %d", path, code);
	wr_free(path);
	return code == 0;
}

int weir_model_open(const char *path, struct weir_model **ret, struct weir_error *err)
{
	struct opener o = {.err = err};
	struct wr_config config = {0};
	bool has_config;
	int code;

	if (path == NULL || ret == NULL)
		return wr_error_set(err, -EINVAL, path, WEIR_OFFSET_NONE, "no path or no result");
	o.model = wr_calloc(1, sizeof(*o.model));
	if (o.model == NULL)
		return no_memory(&o, path);
	code = load(&o, path);
	if (code == 0) {
		has_config =
			wr_order_needs_config(&o.model->table) && read_config(o.model, &config);
		if (wr_model_finish(o.model, has_config ? &config : NULL) != 0)
			code = no_memory(&o, path);
	}
	if (code != 0) {
		weir_model_close(o.model);
		return code;
	}
	*ret = o.model;
	return 0;
}
