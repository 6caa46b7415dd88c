/* SPDX-License-Identifier: MIT */
/*
 * model.safetensors.index.json and config.json of any bytes; and the names in the index, which get
 * a place in the forward pass.
 */
#include "fuzz/weights_fuzz.h"
#include "weights/place.h"

static void must_index(const struct wr_st_index *index)
{
	must(index->tensors.nr > 0 && index->shards.nr > 0);
	for (uint32_t i = 0; i < index->tensors.nr; i++) {
		const char *name = wr_names_text(&index->tensors, i);
		struct wr_place place = wr_place_of(name);

		must(index->shard_of[i] < index->shards.nr);
		must(place.kind <= WEIR_GROUP_HEAD && place.layer >= -1);
		must(place.prefix <= strlen(name));
		must(wr_names_find(&index->tensors, name, index->tensors.item[i].bytes) == i);
	}
	for (uint32_t i = 0; i < index->shards.nr; i++) {
		const char *name = wr_names_text(&index->shards, i);

		must(name[0] != '\0' && strchr(name, '/') == NULL);
		must(strcmp(name, ".") != 0 && strcmp(name, "..") != 0);
		must(strlen(name) == index->shards.item[i].bytes);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wr_st_index index = {0};
	struct wr_config config = {0};
	struct weir_error err = {0};
	struct wr_src src;
	int code;

	wr_src_mem(&src, "fuzz", data, size, size, &err);
	code = wr_st_index_parse(&src, &index);
	if (code == 0)
		must_index(&index);
	else
		must_error(code, &err, size);
	wr_st_index_fini(&index);
	wr_src_fini(&src);

	err = (struct weir_error){0};
	wr_src_mem(&src, "fuzz", data, size, size, &err);
	code = wr_config_parse(&src, &config);
	if (code == 0)
		must(config.nr_deepstack <= wr_array_size(config.deepstack));
	else
		must_error(code, &err, size);
	wr_src_fini(&src);
	return 0;
}
