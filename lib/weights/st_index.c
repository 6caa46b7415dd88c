/* SPDX-License-Identifier: MIT */
/*
 * model.safetensors.index.json: which shard holds which tensor.
 *
 * The format is that of huggingface/transformers: {"metadata": {"total_size": n}, "weight_map":
 * {"tensor": "file"}}. A file is a name beside the index and nothing else: no path, so that a model
 * cannot name files of its host. (Links beside it are followed: the download cache of
 * huggingface_hub consists of them.) total_size is a hint that published models get wrong, so it is
 * kept where it is a whole number and never refused.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "weights/json_scan.h"
#include "weights/weights_internal.h"

#define FILE_NAME_MOST 255u
/* Of the keys in metadata. */
#define KEY_MOST 65535u

static int grow(struct wr_st_index *index)
{
	uint32_t room = index->room != 0 ? index->room * 2 : 64;
	uint32_t *shard_of = wr_reallocarray(index->shard_of, room, sizeof(*shard_of));
	uint64_t *entry_at;

	if (shard_of == NULL)
		return -ENOMEM;
	index->shard_of = shard_of;
	entry_at = wr_reallocarray(index->entry_at, room, sizeof(*entry_at));
	if (entry_at == NULL)
		return -ENOMEM;
	index->entry_at = entry_at;
	index->room = room;
	return 0;
}

static bool plain_file_name(const struct wr_json *json)
{
	const char *name = json->text;

	return json->text_bytes != 0 && strlen(name) == json->text_bytes &&
	       strchr(name, '/') == NULL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* The shard that the map names, by number. */
static bool read_shard(struct wr_json *json, struct wr_st_index *index, uint32_t *ret)
{
	int code;

	if (!wr_json_string(json, FILE_NAME_MOST))
		return false;
	if (!plain_file_name(json)) {
		wr_json_fail(json, -EBADMSG, json->text_at,
			     "'%.100s' is not the name of a file beside the index", json->text);
		return false;
	}
	code = wr_names_add(&index->shards, json->text, json->text_bytes, ret);
	if (code == -EEXIST)
		return true;
	if (code != 0)
		wr_json_fail(json, code, json->text_at, "no memory for the names of shards");
	else if (index->shards.nr > WR_SHARDS_MOST)
		wr_json_fail(json, -EFBIG, json->text_at,
			     "more than %u shards, the most that are read", WR_SHARDS_MOST);
	return json->code == 0;
}

static bool read_mapping(struct wr_json *json, struct wr_st_index *index)
{
	uint32_t nr = 0;
	uint64_t at;
	int code = 0;

	if (!wr_json_key(json, WR_TENSOR_NAME_MOST))
		return false;
	at = json->text_at;
	if (index->tensors.nr == index->room)
		code = grow(index);
	if (code == 0)
		code = wr_names_add(&index->tensors, json->text, json->text_bytes, &nr);
	if (code == -EEXIST)
		wr_json_fail(json, -EBADMSG, at, "weight_map has tensor '%.100s' twice",
			     json->text);
	else if (code != 0)
		wr_json_fail(json, code, at, "no memory for the weight_map");
	if (json->code != 0)
		return false;
	index->entry_at[nr] = at;
	return read_shard(json, index, &index->shard_of[nr]);
}

static void read_weight_map(struct wr_json *json, struct wr_st_index *index)
{
	if (index->tensors.nr != 0) {
		wr_json_fail(json, -EBADMSG, json->text_at, "weight_map stands twice");
		return;
	}
	wr_json_open(json, '{');
	for (bool first = true; wr_json_next(json, '}', &first);) {
		if (!read_mapping(json, index))
			return;
	}
}

static void read_metadata(struct wr_json *json, struct wr_st_index *index)
{
	if (wr_json_peek(json) != '{') {
		wr_json_skip(json);
		return;
	}
	wr_json_open(json, '{');
	for (bool first = true; wr_json_next(json, '}', &first);) {
		if (!wr_json_key(json, KEY_MOST))
			return;
		if (wr_json_is(json, "total_size"))
			wr_json_maybe_u64(json, &index->has_total, &index->total_bytes);
		else
			wr_json_skip(json);
	}
}

int wr_st_index_parse(struct wr_src *src, struct wr_st_index *index)
{
	struct wr_json json;

	if (src->bytes > WR_INDEX_MOST)
		return wr_src_fail(src, -EFBIG, WEIR_OFFSET_NONE,
				   "an index of %" PRIu64 " bytes is above the limit of %u",
				   src->bytes, WR_INDEX_MOST);
	wr_json_init(&json, src, 0, src->bytes);
	wr_json_open(&json, '{');
	for (bool first = true; wr_json_next(&json, '}', &first);) {
		if (!wr_json_key(&json, KEY_MOST))
			break;
		if (wr_json_is(&json, "weight_map"))
			read_weight_map(&json, index);
		else if (wr_json_is(&json, "metadata"))
			read_metadata(&json, index);
		else
			wr_json_skip(&json);
	}
	wr_json_finish(&json);
	if (index->tensors.nr == 0)
		wr_json_fail(&json, -EBADMSG, 0, "no weight_map that names a tensor");
	wr_json_fini(&json);
	return json.code;
}

void wr_st_index_fini(struct wr_st_index *index)
{
	wr_names_fini(&index->tensors);
	wr_names_fini(&index->shards);
	wr_free(index->shard_of);
	wr_free(index->entry_at);
	*index = (struct wr_st_index){0};
}
