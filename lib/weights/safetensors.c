/* SPDX-License-Identifier: MIT */
/*
 * safetensors: eight bytes of header length, a JSON object, then the data.
 *
 * Rules from huggingface/safetensors, README.md and safetensors/src/tensor.rs: a header of at most
 * 100,000,000 bytes that begins with '{'; entries in any order, sorted by offset here; data without
 * holes or overlaps that ends where the file ends, so that nothing can hide in it; sizes that follow
 * from type and shape, every product checked. "__metadata__" maps strings to strings and may stand
 * anywhere; what else an entry has besides dtype, shape and data_offsets is ignored.
 *
 * Stricter than that reader where C or sense demands: duplicate names are refused, as the format
 * says and its reader does not always; so are names with a NUL or above WR_TENSOR_NAME_MOST
 * bytes, and more than WEIR_MAX_DIMS dimensions. An entry written as an array, which serde happens to take, is refused.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "weights/json_scan.h"
#include "weights/weights_internal.h"

#define LENGTH_BYTES 8u
/* Longer than any type's name and any member's. */
#define WORD_MOST 64u

struct parse {
	struct wr_src *src;
	struct wr_table *table;
	struct wr_json json;
	uint64_t data_at;
	bool has_metadata;
	char name[WR_TENSOR_NAME_MOST + 1u];
};

static int read_length(struct wr_src *src, uint64_t *ret)
{
	const uint8_t *p;
	uint64_t n;
	int code;

	if (src->bytes < LENGTH_BYTES)
		return wr_src_fail(src, -ENODATA, 0,
				   "%" PRIu64 " bytes are less than the length of a header",
				   src->bytes);
	code = wr_src_u64(src, 0, &n);
	if (code != 0)
		return code;
	if (n > WR_ST_HEADER_MOST)
		return wr_src_fail(src, -EFBIG, 0,
				   "a header of %" PRIu64 " bytes is above the limit of %u", n,
				   WR_ST_HEADER_MOST);
	if (n > src->bytes - LENGTH_BYTES)
		return wr_src_fail(src, -ENODATA, 0,
				   "a header of %" PRIu64 " bytes in a file of %" PRIu64, n,
				   src->bytes);
	if (n < 2)
		return wr_src_fail(src, -EBADMSG, 0,
				   "a header of %" PRIu64 " bytes cannot be an object", n);
	code = wr_src_get(src, LENGTH_BYTES, 1, &p);
	if (code != 0)
		return code;
	if (p[0] != '{')
		return wr_src_fail(src, -EBADMSG, LENGTH_BYTES,
				   "the header begins with byte 0x%02x and not with '{'", p[0]);
	*ret = n;
	return 0;
}

/* "__metadata__": strings by string, or null. Nothing of it is used. */
static void read_metadata(struct parse *p, uint64_t at)
{
	struct wr_json *json = &p->json;

	if (p->has_metadata) {
		wr_json_fail(json, -EBADMSG, at, "__metadata__ stands twice");
		return;
	}
	p->has_metadata = true;
	if (wr_json_null(json) || !wr_json_open(json, '{'))
		return;
	for (bool first = true; wr_json_next(json, '}', &first);) {
		if (!wr_json_key(json, WR_NAME_MOST) || !wr_json_skip_string(json))
			return;
	}
}

static void read_dtype(struct wr_json *json, struct weir_tensor *t)
{
	int dtype;

	if (!wr_json_string(json, WORD_MOST))
		return;
	dtype = wr_dtype_from_st(json->text);
	if (strlen(json->text) != json->text_bytes)
		dtype = WEIR_DTYPE_UNKNOWN;
	if (dtype == WEIR_DTYPE_UNKNOWN)
		wr_json_fail(json, -EOPNOTSUPP, json->text_at, "the type '%s' is not known",
			     json->text);
	t->dtype = (uint32_t)dtype;
}

static void read_shape(struct wr_json *json, struct weir_tensor *t)
{
	wr_json_open(json, '[');
	for (bool first = true; wr_json_next(json, ']', &first);) {
		wr_json_peek(json);
		if (t->nr_dims == WEIR_MAX_DIMS) {
			wr_json_fail(json, -EFBIG, wr_json_at(json),
				     "a tensor of more than %d dimensions, the most that are read",
				     WEIR_MAX_DIMS);
			return;
		}
		if (!wr_json_u64(json, &t->dims[t->nr_dims]))
			return;
		t->nr_dims++;
	}
}

/* Begin and end, relative to the data. */
static void read_offsets(struct wr_json *json, uint64_t offsets[2])
{
	uint64_t at;
	uint32_t nr = 0;

	wr_json_peek(json);
	at = wr_json_at(json);
	wr_json_open(json, '[');
	for (bool first = true; wr_json_next(json, ']', &first); nr++) {
		if (!wr_json_u64(json, &offsets[wr_min(nr, 1u)]))
			return;
	}
	if (nr != 2 || (json->code == 0 && offsets[0] > offsets[1]))
		wr_json_fail(json, -EBADMSG, at,
			     "data_offsets are not a begin and an end behind it");
}

enum member {
	MEMBER_DTYPE = 1,
	MEMBER_SHAPE = 2,
	MEMBER_OFFSETS = 4,
	MEMBERS_ALL = 7,
};

static int member(const struct wr_json *json)
{
	if (wr_json_is(json, "dtype"))
		return MEMBER_DTYPE;
	if (wr_json_is(json, "shape"))
		return MEMBER_SHAPE;
	return wr_json_is(json, "data_offsets") ? MEMBER_OFFSETS : 0;
}

static bool read_members(struct wr_json *json, struct weir_tensor *t, uint64_t offsets[2])
{
	unsigned int seen = 0;

	wr_json_open(json, '{');
	for (bool first = true; wr_json_next(json, '}', &first);) {
		unsigned int which;

		if (!wr_json_key(json, WR_NAME_MOST))
			return false;
		which = (unsigned int)member(json);
		if ((seen & which) != 0)
			wr_json_fail(json, -EBADMSG, json->text_at, "'%s' stands twice",
				     json->text);
		seen |= which;
		if (which == MEMBER_DTYPE)
			read_dtype(json, t);
		else if (which == MEMBER_SHAPE)
			read_shape(json, t);
		else if (which == MEMBER_OFFSETS)
			read_offsets(json, offsets);
		else
			wr_json_skip(json);
	}
	if (seen != MEMBERS_ALL)
		wr_json_fail(json, -EBADMSG, wr_json_at(json), "an entry without %s ends here",
			     (seen & MEMBER_DTYPE) == 0	  ? "dtype"
			     : (seen & MEMBER_SHAPE) == 0 ? "shape"
							  : "data_offsets");
	return json->code == 0;
}

/* Do type, shape and offsets agree, and does the file hold the bytes? */
static int check_entry(struct parse *p, struct wr_entry *e, const uint64_t offsets[2])
{
	struct weir_tensor *t = &e->t;
	uint64_t end;
	int code = wr_dtype_layout(t);

	if (code == -EOVERFLOW)
		return wr_src_fail(p->src, code, e->header_at,
				   "the size of tensor '%.100s' does not fit 64 bits", p->name);
	if (code != 0)
		return wr_src_fail(p->src, code, e->header_at,
				   "tensor '%.100s' of type %s is no whole number of bytes",
				   p->name, weir_dtype_name((int)t->dtype));
	if (t->bytes != offsets[1] - offsets[0])
		return wr_src_fail(p->src, -EBADMSG, e->header_at,
				   "tensor '%.80s' has %" PRIu64 " bytes by shape and %" PRIu64
				   " by offsets",
				   p->name, t->bytes, offsets[1] - offsets[0]);
	if (wr_add_overflow(p->data_at, offsets[1], &end))
		return wr_src_fail(p->src, -EOVERFLOW, e->header_at,
				   "tensor '%.80s' ends at %" PRIu64 " of the data, which wraps",
				   p->name, offsets[1]);
	if (end > p->src->bytes)
		return wr_src_fail(p->src, -ENODATA, e->header_at,
				   "tensor '%.80s' ends at byte %" PRIu64 " of a file of %" PRIu64,
				   p->name, end, p->src->bytes);
	t->offset = p->data_at + offsets[0];
	return 0;
}

static bool read_entry(struct parse *p)
{
	struct wr_json *json = &p->json;
	struct wr_entry e = {.header_at = json->text_at};
	size_t bytes = json->text_bytes;
	uint64_t offsets[2] = {0, 0};
	int code;

	if (memchr(json->text, '\0', bytes) != NULL) {
		wr_json_fail(json, -EBADMSG, json->text_at, "the name of a tensor has a NUL in it");
		return false;
	}
	memcpy(p->name, json->text, bytes + 1);
	if (!read_members(json, &e.t, offsets))
		return false;
	code = check_entry(p, &e, offsets);
	if (code == 0)
		code = wr_table_add(p->table, p->src, &e, p->name, bytes);
	if (code != 0)
		wr_json_stop(json, code);
	return code == 0;
}

static int read_header(struct parse *p, uint64_t length)
{
	struct wr_json *json = &p->json;

	wr_json_init(json, p->src, LENGTH_BYTES, LENGTH_BYTES + length);
	wr_json_open(json, '{');
	for (bool first = true; wr_json_next(json, '}', &first);) {
		if (!wr_json_key(json, WR_TENSOR_NAME_MOST))
			break;
		if (wr_json_is(json, "__metadata__"))
			read_metadata(p, json->text_at);
		else if (!read_entry(p))
			break;
	}
	wr_json_finish(json);
	wr_json_fini(json);
	return json->code;
}

/* The entries, sorted, must cover the data from its first byte to the end of the file. */
static int check_cover(struct parse *p)
{
	uint64_t at = p->data_at;

	for (uint32_t i = 0; i < p->table->nr; i++) {
		const struct wr_entry *e = &p->table->entry[i];
		const char *name = wr_names_text(&p->table->names, e->name);

		if (e->t.offset != at)
			return wr_src_fail(p->src, -EBADMSG, e->header_at,
					   "tensor '%.80s' begins at byte %" PRIu64
					   " where %" PRIu64 " is expected: %s",
					   name, e->t.offset, at,
					   e->t.offset > at ? "a hole" : "an overlap");
		at += e->t.bytes;
	}
	if (at != p->src->bytes)
		return wr_src_fail(p->src, -EBADMSG, at,
				   "the data ends at byte %" PRIu64 " and the file at %" PRIu64, at,
				   p->src->bytes);
	return 0;
}

int wr_st_parse(struct wr_src *src, struct wr_table *table, uint64_t *ret_data_offset)
{
	struct parse p = {.src = src, .table = table};
	uint64_t length = 0;
	int code;

	wr_assert(table->nr == 0);
	code = read_length(src, &length);
	if (code != 0)
		return code;
	p.data_at = LENGTH_BYTES + length;
	code = read_header(&p, length);
	if (code != 0)
		return code;
	wr_table_sort(table);
	code = check_cover(&p);
	if (code == 0)
		*ret_data_offset = p.data_at;
	return code;
}
