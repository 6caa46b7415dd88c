/* SPDX-License-Identifier: MIT */
/*
 * The one thing that config.json is read for: after which vision blocks Qwen3-VL taps the tower
 * (vision_config.deepstack_visual_indexes), since the names of a safetensors file number the
 * mergers and not the blocks. It decides an order and nothing else, so whoever calls this goes on
 * without it.
 */
#include <errno.h>
#include <inttypes.h>

#include "weights/json_scan.h"
#include "weights/weights_internal.h"

#define KEY_MOST   65535u
#define BLOCK_MOST 1000000u

static void read_indexes(struct wr_json *json, struct wr_config *config)
{
	config->nr_deepstack = 0;
	wr_json_open(json, '[');
	for (bool first = true; wr_json_next(json, ']', &first);) {
		uint64_t block;

		if (!wr_json_u64(json, &block))
			return;
		if (config->nr_deepstack == wr_array_size(config->deepstack) ||
		    block > BLOCK_MOST) {
			wr_json_fail(json, -EFBIG, wr_json_at(json),
				     "more or greater deepstack_visual_indexes than are read");
			return;
		}
		config->deepstack[config->nr_deepstack++] = (uint32_t)block;
	}
}

static void read_vision(struct wr_json *json, struct wr_config *config)
{
	if (wr_json_peek(json) != '{') {
		wr_json_skip(json);
		return;
	}
	wr_json_open(json, '{');
	for (bool first = true; wr_json_next(json, '}', &first);) {
		if (!wr_json_key(json, KEY_MOST))
			return;
		if (wr_json_is(json, "deepstack_visual_indexes") && wr_json_peek(json) == '[')
			read_indexes(json, config);
		else
			wr_json_skip(json);
	}
}

int wr_config_parse(struct wr_src *src, struct wr_config *ret)
{
	struct wr_config config = {0};
	struct wr_json json;

	if (src->bytes > WR_CONFIG_MOST)
		return wr_src_fail(src, -EFBIG, WEIR_OFFSET_NONE,
				   "%" PRIu64 " bytes are above the limit of %u", src->bytes,
				   WR_CONFIG_MOST);
	wr_json_init(&json, src, 0, src->bytes);
	wr_json_open(&json, '{');
	for (bool first = true; wr_json_next(&json, '}', &first);) {
		if (!wr_json_key(&json, KEY_MOST))
			break;
		if (wr_json_is(&json, "vision_config"))
			read_vision(&json, &config);
		else
			wr_json_skip(&json);
	}
	wr_json_finish(&json);
	wr_json_fini(&json);
	if (json.code == 0)
		*ret = config;
	return json.code;
}
