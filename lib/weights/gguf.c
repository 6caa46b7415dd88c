/* SPDX-License-Identifier: MIT */
/*
 * GGUF, versions 2 and 3, little endian: magic, counts, key-value pairs, tensor list, data.
 *
 * Rules from ggml-org/ggml, docs/gguf.md, and ggml/src/gguf.cpp: general.alignment is a u32 and a
 * power of two; at most four dimensions, fewer than 2^63 elements; rows of whole blocks; offsets
 * are multiples of the alignment, counted from the aligned end of the tensor list. ggml wants the
 * tensors in file order without gaps; here any order and gaps are taken, overlaps are not.
 *
 * Nothing is believed before the bytes are there: a count must fit the bytes that are left at the
 * least size of what it counts, arrays are stepped over and not read, nested arrays go to a fixed
 * depth without recursion. What is kept is one entry a tensor and the set of keys, both made of
 * bytes that were in the file.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "weights/weights_internal.h"

#define DEFAULT_ALIGNMENT 32u
/* ggml has no bound; a page of the largest kind in use is 64 KiB. */
#define ALIGNMENT_MOST (1u << 20)
#define DIMS_MOST      4u
#define ARRAY_DEPTH    4u
/* Key length, one byte of key, type, one byte of value. */
#define PAIR_LEAST (8u + 1u + 4u + 1u)
/* Name length, no name, number of dimensions, type, offset. */
#define TENSOR_LEAST (8u + 4u + 4u + 8u)

enum value_type {
	TYPE_U8,
	TYPE_I8,
	TYPE_U16,
	TYPE_I16,
	TYPE_U32,
	TYPE_I32,
	TYPE_F32,
	TYPE_BOOL,
	TYPE_STRING,
	TYPE_ARRAY,
	TYPE_U64,
	TYPE_I64,
	TYPE_F64,
	TYPE_COUNT,
};

/* 0: the size depends on the value. */
static const uint8_t value_bytes[TYPE_COUNT] = {
	[TYPE_U8] = 1,	[TYPE_I8] = 1,	[TYPE_U16] = 2, [TYPE_I16] = 2,
	[TYPE_U32] = 4, [TYPE_I32] = 4, [TYPE_F32] = 4, [TYPE_BOOL] = 1,
	[TYPE_U64] = 8, [TYPE_I64] = 8, [TYPE_F64] = 8,
};

struct parse {
	struct wr_src *src;
	struct wr_table *table;
	struct wr_gguf_info info;
	struct wr_names keys;
	uint64_t at; /* next byte */
	uint64_t nr_tensors;
	uint64_t nr_pairs;
};

/* ---- pieces ------------------------------------------------------------------------------- */

static int take_u32(struct parse *p, uint32_t *ret)
{
	int code = wr_src_u32(p->src, p->at, ret);

	p->at += code == 0 ? 4 : 0;
	return code;
}

static int take_u64(struct parse *p, uint64_t *ret)
{
	int code = wr_src_u64(p->src, p->at, ret);

	p->at += code == 0 ? 8 : 0;
	return code;
}

/* Step over bytes that need not be read, but must be there. */
static int step(struct parse *p, uint64_t bytes)
{
	uint64_t at = p->at;

	if (bytes > p->src->bytes - at)
		return wr_src_fail(p->src, -ENODATA, at,
				   "a value of %" PRIu64 " bytes at %" PRIu64
				   " goes past the end at %" PRIu64,
				   bytes, at, p->src->bytes);
	p->at += bytes;
	if (p->at > WR_GGUF_HEADER_MOST)
		return wr_src_fail(p->src, -EFBIG, at,
				   "metadata goes on past byte %" PRIu64 ", the most that is read",
				   WR_GGUF_HEADER_MOST);
	return 0;
}

/* A length and as many bytes, which stay valid until the next call. */
static int take_string(struct parse *p, uint64_t most, const char **ret, size_t *ret_bytes)
{
	uint64_t at = p->at, bytes;
	const uint8_t *text;
	int code = take_u64(p, &bytes);

	if (code != 0)
		return code;
	if (bytes > p->src->bytes - p->at)
		return wr_src_fail(p->src, -ENODATA, at,
				   "a name of %" PRIu64 " bytes, and %" PRIu64 " are left", bytes,
				   p->src->bytes - p->at);
	if (bytes > most)
		return wr_src_fail(p->src, -EFBIG, at,
				   "a name of %" PRIu64 " bytes, %" PRIu64 " are the most", bytes,
				   most);
	code = wr_src_get(p->src, p->at, (size_t)bytes, &text);
	if (code != 0)
		return code;
	*ret = (const char *)text;
	*ret_bytes = (size_t)bytes;
	return step(p, bytes);
}

static int step_string(struct parse *p)
{
	uint64_t bytes;
	int code = take_u64(p, &bytes);

	return code != 0 ? code : step(p, bytes);
}

/* Is there room for @count things of at least @least bytes each? */
static int check_count(struct parse *p, uint64_t at, uint64_t count, uint64_t least,
		       const char *what)
{
	uint64_t left = p->src->bytes - p->at;

	if (count <= left / least)
		return 0;
	return wr_src_fail(p->src, -ENODATA, at,
			   "%" PRIu64 " %s need more than the %" PRIu64 " bytes that are left",
			   count, what, left);
}

static int take_type(struct parse *p, uint32_t *ret)
{
	uint64_t at = p->at;
	int code = take_u32(p, ret);

	if (code == 0 && *ret >= TYPE_COUNT)
		return wr_src_fail(p->src, -EBADMSG, at, "%" PRIu32 " is no type of a value", *ret);
	return code;
}

/* ---- key-value pairs ---------------------------------------------------------------------- */

/* The elements of an array whose type and length are taken; those of plain types only. */
static int step_elements(struct parse *p, uint32_t type, uint64_t count)
{
	uint64_t bytes;
	int code = 0;

	if (type == TYPE_STRING) {
		for (uint64_t i = 0; code == 0 && i < count; i++)
			code = step_string(p);
		return code;
	}
	if (wr_mul_overflow(count, (uint64_t)value_bytes[type], &bytes))
		return wr_src_fail(p->src, -EOVERFLOW, p->at,
				   "an array of %" PRIu64 " elements wraps", count);
	return step(p, bytes);
}

/* An array, whose elements may be arrays. */
static int step_array(struct parse *p)
{
	uint64_t left[ARRAY_DEPTH]; /* arrays still to come on each level */
	uint32_t depth = 0;

	for (;;) {
		uint64_t at = p->at, count = 0;
		uint32_t type;
		int code = take_type(p, &type);

		if (code == 0)
			code = take_u64(p, &count);
		if (code == 0 && type == TYPE_STRING)
			code = check_count(p, at, count, 8, "strings");
		if (code == 0 && type == TYPE_ARRAY)
			code = check_count(p, at, count, 12, "arrays");
		if (code == 0 && type != TYPE_ARRAY)
			code = step_elements(p, type, count);
		if (code != 0)
			return code;
		if (type == TYPE_ARRAY) {
			if (depth == ARRAY_DEPTH)
				return wr_src_fail(p->src, -EBADMSG, at,
						   "arrays are nested more than %u deep",
						   ARRAY_DEPTH);
			left[depth++] = count;
		}
		while (depth > 0 && left[depth - 1] == 0)
			depth--;
		if (depth == 0)
			return 0;
		left[depth - 1]--;
	}
}

static int step_value(struct parse *p, uint32_t type)
{
	if (type == TYPE_STRING)
		return step_string(p);
	if (type == TYPE_ARRAY)
		return step_array(p);
	return step(p, value_bytes[type]);
}

/* An integer of any width that is not below 0. */
static int take_whole(struct parse *p, uint32_t type, uint64_t *ret)
{
	bool is_signed =
		type == TYPE_I8 || type == TYPE_I16 || type == TYPE_I32 || type == TYPE_I64;
	bool is_whole = is_signed || type == TYPE_U8 || type == TYPE_U16 || type == TYPE_U32 ||
			type == TYPE_U64;
	uint64_t at = p->at, value = 0;
	const uint8_t *bytes;
	int code;

	if (!is_whole)
		return wr_src_fail(p->src, -EBADMSG, at,
				   "a value of type %" PRIu32 " where a whole number belongs",
				   type);
	code = wr_src_get(p->src, at, value_bytes[type], &bytes);
	if (code != 0)
		return code;
	for (int i = value_bytes[type] - 1; i >= 0; i--)
		value = value << 8 | bytes[i];
	if (is_signed && value >> (8 * value_bytes[type] - 1) != 0)
		return wr_src_fail(p->src, -EBADMSG, at, "a count is below 0");
	*ret = value;
	return step(p, value_bytes[type]);
}

static int take_alignment(struct parse *p, uint32_t type)
{
	uint64_t at = p->at;
	int code;

	if (type != TYPE_U32)
		return wr_src_fail(p->src, -EBADMSG, at,
				   "general.alignment has type %" PRIu32 " and not u32", type);
	code = take_whole(p, type, &p->info.alignment);
	if (code != 0)
		return code;
	if (!wr_is_pow2(p->info.alignment))
		return wr_src_fail(p->src, -EBADMSG, at,
				   "an alignment of %" PRIu64 " is no power of two",
				   p->info.alignment);
	if (p->info.alignment > ALIGNMENT_MOST)
		return wr_src_fail(p->src, -EFBIG, at,
				   "an alignment of %" PRIu64 " is above %u, the most that is read",
				   p->info.alignment, ALIGNMENT_MOST);
	return 0;
}

static int take_architecture(struct parse *p, uint32_t type)
{
	const char *text;
	size_t bytes;
	int code;

	if (type != TYPE_STRING)
		return wr_src_fail(p->src, -EBADMSG, p->at,
				   "general.architecture has type %" PRIu32 " and is no string",
				   type);
	code = take_string(p, WR_TENSOR_NAME_MOST, &text, &bytes);
	if (code == 0)
		p->info.is_projector = bytes == 4 && memcmp(text, "clip", 4) == 0;
	return code;
}

enum key {
	KEY_OTHER,
	KEY_ALIGNMENT,
	KEY_ARCHITECTURE,
	KEY_SPLIT_NO,
	KEY_SPLIT_COUNT,
	KEY_SPLIT_TENSORS,
};

static enum key which_key(const char *text, size_t bytes)
{
	static const char *const known[] = {
		[KEY_ALIGNMENT] = "general.alignment",
		[KEY_ARCHITECTURE] = "general.architecture",
		[KEY_SPLIT_NO] = "split.no",
		[KEY_SPLIT_COUNT] = "split.count",
		[KEY_SPLIT_TENSORS] = "split.tensors.count",
	};

	for (unsigned int i = 1; i < wr_array_size(known); i++) {
		if (strlen(known[i]) == bytes && memcmp(known[i], text, bytes) == 0)
			return (enum key)i;
	}
	return KEY_OTHER;
}

/* The key's meaning; it must be new. */
static int take_key(struct parse *p, enum key *ret)
{
	uint64_t at = p->at;
	const char *text;
	uint32_t number;
	size_t bytes;
	int code = take_string(p, WR_NAME_MOST, &text, &bytes);

	if (code != 0)
		return code;
	if (bytes == 0)
		return wr_src_fail(p->src, -EBADMSG, at, "a key is empty");
	code = wr_names_add(&p->keys, text, bytes, &number);
	if (code == -EEXIST)
		return wr_src_fail(p->src, -EBADMSG, at, "two values have the key '%.*s'",
				   (int)wr_min(bytes, (size_t)120), text);
	if (code != 0)
		return wr_src_fail(p->src, code, at, "no memory for %" PRIu32 " keys", p->keys.nr);
	*ret = which_key(text, bytes);
	return 0;
}

static int take_pair(struct parse *p)
{
	enum key key = KEY_OTHER;
	uint32_t type = 0;
	int code = take_key(p, &key);

	if (code == 0)
		code = take_type(p, &type);
	if (code != 0)
		return code;
	switch (key) {
	case KEY_ALIGNMENT:
		return take_alignment(p, type);
	case KEY_ARCHITECTURE:
		return take_architecture(p, type);
	case KEY_SPLIT_NO:
		return take_whole(p, type, &p->info.split_no);
	case KEY_SPLIT_COUNT:
		p->info.split_at = p->at;
		return take_whole(p, type, &p->info.split_count);
	case KEY_SPLIT_TENSORS:
		return take_whole(p, type, &p->info.split_tensors);
	case KEY_OTHER:
		break;
	}
	return step_value(p, type);
}

/* ---- tensors ------------------------------------------------------------------------------ */

/* ggml's order, fastest first, turned around. */
static int take_dims(struct parse *p, struct weir_tensor *t)
{
	uint64_t at = p->at, elems = 1;
	int code = take_u32(p, &t->nr_dims);

	if (code != 0)
		return code;
	if (t->nr_dims > DIMS_MOST)
		return wr_src_fail(p->src, -EBADMSG, at,
				   "a tensor of %" PRIu32 " dimensions, %u are the most",
				   t->nr_dims, DIMS_MOST);
	for (uint32_t i = t->nr_dims; i-- > 0;) {
		uint64_t dim_at = p->at, *dim = &t->dims[i];

		code = take_u64(p, dim);
		if (code != 0)
			return code;
		if (*dim > INT64_MAX || wr_mul_overflow(elems, *dim, &elems) || elems >= INT64_MAX)
			return wr_src_fail(
				p->src, -EOVERFLOW, dim_at,
				"a dimension of %" PRIu64 " makes more elements than fit", *dim);
	}
	return 0;
}

static int take_dtype(struct parse *p, struct weir_tensor *t)
{
	uint64_t at = p->at, row;
	uint32_t id, block;
	int code = take_u32(p, &id);

	if (code != 0)
		return code;
	t->dtype = (uint32_t)wr_dtype_from_gguf(id);
	if (t->dtype == WEIR_DTYPE_UNKNOWN)
		return wr_src_fail(p->src, -EOPNOTSUPP, at,
				   "the type number %" PRIu32 " is not known", id);
	block = weir_dtype_block_elems((int)t->dtype);
	row = t->nr_dims != 0 ? t->dims[t->nr_dims - 1] : 1;
	if (row % block != 0)
		return wr_src_fail(p->src, -EBADMSG, at,
				   "a row of %" PRIu64 " elements is not whole blocks of %" PRIu32
				   " of %s",
				   row, block, weir_dtype_name((int)t->dtype));
	code = wr_dtype_layout(t);
	if (code != 0)
		return wr_src_fail(p->src, code, at, "the size of a tensor does not fit 64 bits");
	return 0;
}

static int take_tensor(struct parse *p)
{
	struct wr_entry e = {.header_at = p->at};
	char name[WR_TENSOR_NAME_MOST];
	const char *text;
	uint64_t at;
	size_t bytes;
	int code = take_string(p, sizeof(name), &text, &bytes);

	if (code != 0)
		return code;
	if (memchr(text, '\0', bytes) != NULL || !wr_utf8_valid(text, bytes))
		return wr_src_fail(p->src, -EBADMSG, e.header_at,
				   "the name of a tensor has a NUL in it or is not UTF-8");
	memcpy(name, text, bytes);
	code = take_dims(p, &e.t);
	if (code == 0)
		code = take_dtype(p, &e.t);
	at = p->at;
	if (code == 0)
		code = take_u64(p, &e.t.offset);
	if (code != 0)
		return code;
	if (e.t.offset % p->info.alignment != 0)
		return wr_src_fail(p->src, -EBADMSG, at,
				   "offset %" PRIu64 " of tensor '%.*s' is no multiple of %" PRIu64,
				   e.t.offset, (int)wr_min(bytes, (size_t)100), name,
				   p->info.alignment);
	return wr_table_add(p->table, p->src, &e, name, bytes);
}

/* Offsets count from here; now they can be checked against the file. */
static int place_data(struct parse *p)
{
	uint64_t data;

	if (wr_align_up_overflow(p->at, p->info.alignment, &data))
		return wr_src_fail(p->src, -EOVERFLOW, p->at, "the beginning of the data wraps");
	p->info.data_offset = wr_min(data, p->src->bytes);
	for (uint32_t i = 0; i < p->table->nr; i++) {
		struct wr_entry *e = &p->table->entry[i];
		const char *name = wr_names_text(&p->table->names, e->name);
		uint64_t end;

		if (wr_add_overflow(data, e->t.offset, &e->t.offset) ||
		    wr_add_overflow(e->t.offset, e->t.bytes, &end))
			return wr_src_fail(p->src, -EOVERFLOW, e->header_at,
					   "the end of tensor '%.100s' wraps", name);
		if (end > p->src->bytes)
			return wr_src_fail(p->src, -ENODATA, e->header_at,
					   "tensor '%.80s' ends at byte %" PRIu64
					   " of a file of %" PRIu64,
					   name, end, p->src->bytes);
	}
	return 0;
}

static int check_overlap(struct parse *p)
{
	uint64_t end = 0;

	wr_table_sort(p->table);
	for (uint32_t i = 0; i < p->table->nr; i++) {
		const struct wr_entry *e = &p->table->entry[i];

		if (e->t.bytes == 0)
			continue;
		if (e->t.offset < end)
			return wr_src_fail(p->src, -EBADMSG, e->header_at,
					   "tensor '%.80s' begins at byte %" PRIu64
					   ", another ends at %" PRIu64 ": an overlap",
					   wr_names_text(&p->table->names, e->name), e->t.offset,
					   end);
		end = e->t.offset + e->t.bytes;
	}
	return 0;
}

/* ---- the file ----------------------------------------------------------------------------- */

static int take_version(struct parse *p)
{
	uint64_t at;
	const uint8_t *magic;
	int code = wr_src_get(p->src, 0, 4, &magic);

	if (code != 0)
		return code;
	if (memcmp(magic, "FUGG", 4) == 0)
		return wr_src_fail(p->src, -EOPNOTSUPP, 0, "a GGUF file of a big-endian machine");
	if (memcmp(magic, "GGUF", 4) != 0)
		return wr_src_fail(p->src, -EBADMSG, 0, "the file does not begin with GGUF");
	at = p->at = 4;
	code = take_u32(p, &p->info.version);
	if (code != 0)
		return code;
	/* The magic is bytes, the version a number: swapped, its low half is 0. */
	if (p->info.version != 0 && (p->info.version & 0xffff) == 0)
		return wr_src_fail(p->src, -EOPNOTSUPP, at, "a GGUF file of a big-endian machine");
	if (p->info.version == 0)
		return wr_src_fail(p->src, -EBADMSG, at, "GGUF has no version 0");
	if (p->info.version != 2 && p->info.version != 3)
		return wr_src_fail(p->src, -EOPNOTSUPP, at,
				   "GGUF version %" PRIu32 "; 2 and 3 are known", p->info.version);
	return 0;
}

static int parse(struct parse *p)
{
	int code = take_version(p);

	if (code == 0)
		code = take_u64(p, &p->nr_tensors);
	if (code == 0)
		code = take_u64(p, &p->nr_pairs);
	if (code == 0)
		code = check_count(p, 8, p->nr_tensors, TENSOR_LEAST, "tensors");
	if (code == 0)
		code = check_count(p, 16, p->nr_pairs, PAIR_LEAST, "values");
	if (code == 0 && p->nr_pairs > WR_GGUF_PAIRS_MOST)
		code = wr_src_fail(p->src, -EFBIG, 16,
				   "%" PRIu64 " values are above the limit of %u", p->nr_pairs,
				   WR_GGUF_PAIRS_MOST);
	for (uint64_t i = 0; code == 0 && i < p->nr_pairs; i++)
		code = take_pair(p);
	if (code == 0)
		code = check_count(p, 8, p->nr_tensors, TENSOR_LEAST, "tensors");
	for (uint64_t i = 0; code == 0 && i < p->nr_tensors; i++)
		code = take_tensor(p);
	if (code == 0)
		code = place_data(p);
	if (code == 0)
		code = check_overlap(p);
	return code;
}

int wr_gguf_parse(struct wr_src *src, struct wr_table *table, struct wr_gguf_info *ret)
{
	struct parse p = {
		.src = src,
		.table = table,
		.info = {.alignment = DEFAULT_ALIGNMENT, .split_tensors = UINT64_MAX},
	};
	int code;

	wr_assert(table->nr == 0);
	code = parse(&p);
	wr_names_fini(&p.keys);
	if (code == 0)
		*ret = p.info;
	return code;
}
