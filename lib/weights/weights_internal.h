/* SPDX-License-Identifier: MIT */
/*
 * What the files of the weights module share: the table that parsers fill, the parsers, which work
 * on bytes from memory as well as from a file, and the steps that turn a table into a model.
 */
#ifndef WR_WEIGHTS_INTERNAL_H
#define WR_WEIGHTS_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/weights.h>

#include "weights/names.h"
#include "weights/window.h"

/* Limits of this library; each is -EFBIG and named in weights.h or docs. */
#define WR_ST_HEADER_MOST   100000000u		/* the limit of the format's own reader */
#define WR_GGUF_HEADER_MOST (UINT64_C(1) << 30) /* metadata and tensor list */
#define WR_INDEX_MOST	    (64u << 20)		/* model.safetensors.index.json */
#define WR_CONFIG_MOST	    (1u << 20)		/* config.json */
/* Ten times what the largest published models have; keys of one file, a thousand times. */
#define WR_TENSORS_MOST	   (1u << 20)
#define WR_GGUF_PAIRS_MOST 65536u
#define WR_SHARDS_MOST	   4096u
/* ggml keeps 63 bytes of a name; the longest of published safetensors files have about 150. */
#define WR_TENSOR_NAME_MOST 1023u

/* ---- the table ---------------------------------------------------------------------------- */

struct wr_entry {
	struct weir_tensor t; /* t.name is set by wr_model_finish() */
	uint32_t name;	      /* number in wr_table.names */
	uint64_t header_at;   /* where the file describes it */
};

/* All zero is an empty table. Entry i has any name; names are unique. */
struct wr_table {
	struct wr_names names;
	struct wr_entry *entry;
	uint32_t nr;
	uint32_t room;
};

/*
 * Append @entry, whose name is @name. Returns 0, -EBADMSG (the name is taken), -EFBIG, -ENOMEM;
 * the error of @src is filled and points at entry->header_at.
 */
int wr_table_add(struct wr_table *table, struct wr_src *src, const struct wr_entry *entry,
		 const char *name, size_t bytes);
void wr_table_fini(struct wr_table *table);

/* By file and offset, the empty ones before others of the same offset. */
void wr_table_sort(struct wr_table *table);

/* ---- types -------------------------------------------------------------------------------- */

/* WEIR_DTYPE_UNKNOWN when the format has no such type, or this library does not know it. */
int wr_dtype_from_st(const char *name);
int wr_dtype_from_gguf(uint32_t id);

/*
 * Set bytes, nr_rows and row_bytes of @t from its type and dimensions. Returns 0, -EOVERFLOW,
 * -EBADMSG (no whole number of blocks, or of bytes for types below one).
 */
int wr_dtype_layout(struct weir_tensor *t);

/* ---- parsers ------------------------------------------------------------------------------ */

/*
 * Read one safetensors file into @table, which is empty before; its entries are sorted by offset
 * after. On failure the table may be partly filled and is only good for wr_table_fini().
 *
 * Returns 0 or what weir_model_open() returns, with the error of @src filled.
 */
int wr_st_parse(struct wr_src *src, struct wr_table *table, uint64_t *ret_data_offset);

/* What the key-value part of a GGUF file says, as far as it is used. */
struct wr_gguf_info {
	uint32_t version;
	uint64_t alignment;
	uint64_t data_offset;
	bool is_projector;	/* general.architecture is "clip": a vision tower for a text file */
	uint64_t split_no;	/* from 0 */
	uint64_t split_count;	/* 0 when the file says nothing of a split */
	uint64_t split_tensors; /* of all files together; UINT64_MAX when not said */
	uint64_t split_at;	/* where split.count stands */
};

int wr_gguf_parse(struct wr_src *src, struct wr_table *table, struct wr_gguf_info *ret);

/* model.safetensors.index.json. */
struct wr_st_index {
	struct wr_names tensors;
	struct wr_names shards;
	uint32_t *shard_of; /* of a tensor */
	uint64_t *entry_at; /* where it stands in the index */
	uint32_t room;
	bool has_total;
	uint64_t total_bytes;
};

int wr_st_index_parse(struct wr_src *src, struct wr_st_index *index);
void wr_st_index_fini(struct wr_st_index *index);

/* The vision blocks after which config.json taps the vision tower. */
struct wr_config {
	uint32_t nr_deepstack;
	uint32_t deepstack[16];
};

int wr_config_parse(struct wr_src *src, struct wr_config *ret);

/* Which of them a file is, by content; fills @ret with one of the kinds below. */
enum wr_file_kind {
	WR_FILE_OTHER,
	WR_FILE_SAFETENSORS,
	WR_FILE_GGUF,
	WR_FILE_JSON,
};

int wr_file_kind(struct wr_src *src, enum wr_file_kind *ret);

/* ---- the model ---------------------------------------------------------------------------- */

struct weir_model {
	int format;
	struct wr_table table; /* entries by file and offset */
	uint32_t *order;       /* entry of a position */
	uint32_t *by_name;     /* entry of a name's number */
	struct weir_group *group;
	uint32_t nr_groups;
	char *group_text; /* their names */
	struct weir_model_file *file;
	uint32_t nr_files;
	uint32_t room_files;
};

/*
 * Turn the filled table and files into a model: sort, name, order, group. Returns 0, -ENOMEM.
 */
int wr_model_finish(struct weir_model *model, const struct wr_config *config);

/* Fill positions, groups and slices; the entries are in their final order. In order.c. */
int wr_order_model(struct weir_model *model, const struct wr_config *config);

/* Does any tensor's place depend on config.json? */
bool wr_order_needs_config(const struct wr_table *table);

/* Append a file as it was opened. Returns 0, -ENOMEM. */
int wr_model_add_file(struct weir_model *model, const char *path, const struct stat *st,
		      uint64_t data_offset);

#endif /* WR_WEIGHTS_INTERNAL_H */
