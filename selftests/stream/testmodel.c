/* SPDX-License-Identifier: MIT */
/* Small real models, and walks that compare every byte; see testmodel.h. */
#include "stream/testmodel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/random.h"
#include "weights/model_builder.h"

#define MAX_TENSORS 512

/* A tensor to be written; dims outermost first. */
struct tm_tensor {
	char name[96];
	const char *dtype; /* as safetensors spells it */
	uint32_t nr_dims;
	uint64_t dims[4];
	size_t bytes;
};

struct tm_list {
	struct tm_tensor tensors[MAX_TENSORS];
	uint32_t nr;
};

static size_t dtype_bytes(const char *dtype)
{
	return !strcmp(dtype, "F32") ? 4 : !strcmp(dtype, "U8") ? 1 : 2;
}

static void add(struct tm_list *list, const char *dtype, uint32_t nr_dims, uint64_t rows,
		uint64_t cols, const char *fmt, unsigned number)
{
	struct tm_tensor *t = &list->tensors[list->nr++];

	if (list->nr > MAX_TENSORS)
		abort();
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(t->name, sizeof(t->name), fmt, number);
#pragma GCC diagnostic pop
	t->dtype = dtype;
	t->nr_dims = nr_dims;
	t->dims[0] = nr_dims == 1 ? cols : rows;
	t->dims[1] = cols;
	t->bytes = dtype_bytes(dtype) * (nr_dims == 0 ? 1 : nr_dims == 1 ? cols : rows * cols);
}

#define LAYER "model.language_model.layers.%u."
#define BLOCK "model.visual.blocks.%u."

/* In an order that is not the order of use. */
static void list_safetensors(struct tm_list *list, unsigned layers)
{
	add(list, "BF16", 2, 1500, 97, "lm_head.weight", 0);
	add(list, "BF16", 2, TM_EMBED_ROWS, 96, "model.language_model.embed_tokens.weight", 0);
	for (unsigned i = layers; i--;) {
		add(list, "F32", 1, 1, 96, LAYER "input_layernorm.weight", i);
		add(list, "F32", 2, 97, 512, LAYER "mlp.down_proj.weight", i);
		add(list, "BF16", 2, 512, 97, LAYER "mlp.gate_proj.weight", i);
		add(list, "BF16", 2, 512, 97, LAYER "mlp.up_proj.weight", i);
	}
	/* Apart from the first half of their layers: a layer is two reads. */
	for (unsigned i = layers; i--;) {
		/* Three bytes: what follows begins at an odd offset. */
		add(list, "U8", 1, 1, 3, LAYER "self_attn.q_norm.weight", i);
		add(list, "BF16", 2, 64, 97, LAYER "self_attn.k_proj.weight", i);
		add(list, "F16", 2, 97, 333, LAYER "self_attn.o_proj.weight", i);
		add(list, "BF16", 2, 333, 97, LAYER "self_attn.q_proj.weight", i);
		add(list, "BF16", 2, 0, 97, LAYER "self_attn.v_proj.weight", i);
		add(list, "F32", 0, 1, 1, LAYER "self_attn.scale", i);
	}
	add(list, "F32", 1, 1, 96, "model.language_model.norm.weight", 0);
	for (unsigned i = 0; i < 3; i++) {
		add(list, "BF16", 2, 195, 65, BLOCK "attn.qkv.weight", i);
		add(list, "F32", 1, 1, 65, BLOCK "norm1.weight", i);
	}
	add(list, "BF16", 2, 65, 192, "model.visual.patch_embed.proj.weight", 0);
}

/* Stacked, of sizes that end on no page, so that neighbours share them. */
static void add_experts(struct tm_list *list, uint64_t rows, uint64_t cols, const char *fmt,
			unsigned number)
{
	struct tm_tensor *t;

	add(list, "BF16", 2, TM_NR_EXPERTS * rows, cols, fmt, number);
	t = &list->tensors[list->nr - 1];
	t->nr_dims = 3;
	t->dims[0] = TM_NR_EXPERTS;
	t->dims[1] = rows;
	t->dims[2] = cols;
}

/* The same, a tensor for each; the last expert first in the file. */
static void add_singles(struct tm_list *list, uint64_t rows, uint64_t cols, const char *part,
			unsigned number)
{
	char fmt[96];

	for (unsigned e = TM_NR_EXPERTS; e--;) {
		snprintf(fmt, sizeof(fmt), "%smlp.experts.%u.%s.weight", LAYER, e, part);
		add(list, "BF16", 2, rows, cols, fmt, number);
	}
}

static void list_mixture(struct tm_list *list, unsigned layers, bool is_stacked)
{
	add(list, "BF16", 2, 1500, 97, "lm_head.weight", 0);
	add(list, "BF16", 2, 3000, 96, "model.language_model.embed_tokens.weight", 0);
	for (unsigned i = layers; i--;) {
		add(list, "F32", 1, 1, 96, LAYER "input_layernorm.weight", i);
		add(list, "BF16", 2, 333, 97, LAYER "self_attn.q_proj.weight", i);
		add(list, "BF16", 2, TM_NR_EXPERTS, 96, LAYER "mlp.gate.weight", i);
		if (is_stacked) {
			add_experts(list, 97, 131, LAYER "mlp.experts.gate_up_proj", i);
			add_experts(list, 65, 97, LAYER "mlp.experts.down_proj", i);
			continue;
		}
		add_singles(list, 65, 97, "down_proj", i);
		add_singles(list, 97, 131, "up_proj", i);
	}
	add(list, "F32", 1, 1, 96, "model.language_model.norm.weight", 0);
	add(list, "BF16", 2, 195, 65, BLOCK "attn.qkv.weight", 0);
	add(list, "BF16", 2, 65, 192, "model.visual.patch_embed.proj.weight", 0);
}

static void list_gguf(struct tm_list *list, unsigned layers)
{
	add(list, "F16", 2, 1500, 97, "output.weight", 0);
	add(list, "F16", 2, TM_EMBED_ROWS, 96, "token_embd.weight", 0);
	for (unsigned i = layers; i--;) {
		add(list, "F32", 1, 1, 96, "blk.%u.attn_norm.weight", i);
		add(list, "F32", 2, 97, 512, "blk.%u.ffn_down.weight", i);
		add(list, "F16", 2, 512, 97, "blk.%u.ffn_gate.weight", i);
		add(list, "F16", 2, 512, 97, "blk.%u.ffn_up.weight", i);
		add(list, "F16", 2, 97, 333, "blk.%u.attn_output.weight", i);
		add(list, "F16", 2, 333, 97, "blk.%u.attn_q.weight", i);
	}
	add(list, "F32", 1, 1, 96, "output_norm.weight", 0);
}

static void put_random(struct mb_bytes *b, size_t bytes, uint64_t *state)
{
	while (bytes) {
		size_t n = bytes < 8 ? bytes : 8;

		(void)wr_lcg64(state);
		mb_put(b, state, n);
		bytes -= n;
	}
}

/* Tensors @from to @to - 1 as one file. */
static bool write_safetensors(const struct test_model *tm, const char *name,
			      const struct tm_list *list, uint32_t from, uint32_t to,
			      uint64_t *state)
{
	struct mb_bytes header = {0}, file = {0};
	size_t offset = 0;
	int rc;

	for (uint32_t i = from; i < to; i++) {
		const struct tm_tensor *t = &list->tensors[i];

		mb_text(&header, "%c\"%s\":{\"dtype\":\"%s\",\"shape\":[", i == from ? '{' : ',',
			t->name, t->dtype);
		for (uint32_t d = 0; d < t->nr_dims; d++)
			mb_text(&header, "%s%llu", d ? "," : "", (unsigned long long)t->dims[d]);
		mb_text(&header, "],\"data_offsets\":[%zu,%zu]}", offset, offset + t->bytes);
		offset += t->bytes;
	}
	mb_text(&header, "}");
	while (header.n % 8)
		mb_text(&header, " ");
	mb_u64(&file, header.n);
	mb_put(&file, header.p, header.n);
	put_random(&file, offset, state);
	rc = mb_file(tm->dir, name, &file, file.n);
	mb_free(&header);
	mb_free(&file);
	return rc == 0;
}

#define SHARD_1 "model-00001-of-00002.safetensors"
#define SHARD_2 "model-00002-of-00002.safetensors"

static bool write_sharded(const struct test_model *tm, const struct tm_list *list, uint64_t *state)
{
	uint32_t half = list->nr / 2;
	struct mb_bytes index = {0};
	bool good;

	mb_text(&index, "{\"metadata\":{},\"weight_map\":{");
	for (uint32_t i = 0; i < list->nr; i++)
		mb_text(&index, "%s\"%s\":\"%s\"", i ? "," : "", list->tensors[i].name,
			i < half ? SHARD_1 : SHARD_2);
	mb_text(&index, "}}");
	good = mb_file(tm->dir, "model.safetensors.index.json", &index, index.n) == 0 &&
	       write_safetensors(tm, SHARD_1, list, 0, half, state) &&
	       write_safetensors(tm, SHARD_2, list, half, list->nr, state);
	mb_free(&index);
	return good;
}

static bool write_gguf(const struct test_model *tm, const struct tm_list *list, uint64_t *state)
{
	struct mb_bytes file = {0};
	uint64_t offset = 0;
	int rc;

	mb_gguf_head(&file, 3, list->nr, 1);
	mb_gguf_pair_string(&file, "general.architecture", "qwen3vl");
	for (uint32_t i = 0; i < list->nr; i++) {
		const struct tm_tensor *t = &list->tensors[i];
		uint64_t ne[2] = {t->dims[t->nr_dims - 1], t->dims[0]};

		mb_gguf_tensor(&file, t->name, t->nr_dims, ne, !strcmp(t->dtype, "F32") ? 0 : 1,
			       offset);
		offset += (t->bytes + 31) / 32 * 32;
	}
	mb_gguf_align(&file, 32);
	put_random(&file, offset, state);
	rc = mb_file(tm->dir, "model.gguf", &file, file.n);
	mb_free(&file);
	return rc == 0;
}

static bool make_dir(struct test_model *tm, bool memory)
{
	const char *base = memory ? "/dev/shm" : WR_TEST_BUILD "/stream-scratch";

	/* Open to all: a test that has dropped its rights writes here too. */
	if (!memory && mkdir(base, 0777) == 0)
		(void)chmod(base, 0777);
	tm->dir = mb_path(base, "weir-stream-XXXXXX");
	return mkdtemp(tm->dir) != NULL;
}

static bool write_model(struct test_model *tm, unsigned layers)
{
	struct tm_list *list = calloc(1, sizeof(*list));
	uint64_t state = 42;
	bool good = false;

	if (!list)
		return false;
	if (tm->format == TM_GGUF)
		list_gguf(list, layers);
	else if (tm->format == TM_EXPERTS || tm->format == TM_SINGLES)
		list_mixture(list, layers, tm->format == TM_EXPERTS);
	else
		list_safetensors(list, layers);
	if (tm->format == TM_SINGLE || tm->format == TM_EXPERTS || tm->format == TM_SINGLES)
		good = write_safetensors(tm, "model.safetensors", list, 0, list->nr, &state);
	if (tm->format == TM_SHARDED)
		good = write_sharded(tm, list, &state);
	if (tm->format == TM_GGUF)
		good = write_gguf(tm, list, &state);
	for (uint32_t i = 0; i < list->nr; i++)
		tm->all_bytes += list->tensors[i].bytes;
	free(list);
	return good;
}

/* Read by plain pread, and drop it from the page cache. */
static bool keep_bytes(struct test_model *tm, uint32_t f)
{
	int fd = open(tm_path(tm, f), O_RDWR | O_CLOEXEC);
	struct stat st;
	bool good = false;

	if (fd < 0)
		return false;
	if (fstat(fd, &st) == 0) {
		tm->nr_bytes[f] = (size_t)st.st_size;
		tm->bytes[f] = malloc(tm->nr_bytes[f]);
		good = tm->bytes[f] && pread(fd, tm->bytes[f], tm->nr_bytes[f], 0) == st.st_size;
		good = good && fdatasync(fd) == 0;
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	}
	close(fd);
	return good;
}

bool tm_open(struct test_model *tm, enum tm_format format, unsigned layers, bool memory)
{
	struct weir_error err;

	*tm = (struct test_model){.format = format};
	if (!make_dir(tm, memory) || !write_model(tm, layers))
		return false;
	if (weir_model_open(tm->dir, &tm->model, &err)) {
		fprintf(stderr, "%s at %llu: %s\n", err.file, (unsigned long long)err.offset,
			err.message);
		return false;
	}
	if (weir_model_nr_files(tm->model) > TM_MAX_FILES)
		return false;
	for (uint32_t f = 0; f < weir_model_nr_files(tm->model); f++)
		if (!keep_bytes(tm, f))
			return false;
	return true;
}

void tm_close(struct test_model *tm)
{
	weir_model_close(tm->model);
	for (uint32_t f = 0; f < TM_MAX_FILES; f++)
		free(tm->bytes[f]);
	if (tm->dir)
		mb_dir_remove(tm->dir);
	*tm = (struct test_model){0};
}

const char *tm_path(const struct test_model *tm, uint32_t index)
{
	return weir_model_file(tm->model, index)->path;
}

const uint8_t *tm_tensor(const struct test_model *tm, const struct weir_tensor *tensor)
{
	return tm->bytes[tensor->file] + tensor->offset;
}

bool tm_view_is_right(const struct test_model *tm, const struct weir_view *view)
{
	const struct weir_tensor *t = view->tensor;
	uint64_t at = view->first_row * t->row_bytes;

	if (!view->nr_rows || view->first_row + view->nr_rows > t->nr_rows ||
	    view->bytes != view->nr_rows * t->row_bytes)
		return false;
	if (((uintptr_t)view->data ^ (t->offset + at)) & 4095)
		return false;
	return memcmp(view->data, tm_tensor(tm, t) + at, view->bytes) == 0;
}

static bool unit_is_right(const struct test_model *tm, const struct weir_stream *stream,
			  const struct weir_units *units, const struct weir_unit *unit)
{
	const struct weir_part *parts;
	uint64_t bytes = 0;
	struct weir_view view;
	int nr = weir_units_parts(units, unit->index, &parts);

	if (nr < 1 || unit->nr_views != (uint32_t)nr || unit->group != parts[0].tensor->group)
		return false;
	for (int p = 0; p < nr; p++) {
		if (weir_stream_view(stream, (uint32_t)p, &view))
			return false;
		if (view.tensor != parts[p].tensor || view.first_row != parts[p].first_row ||
		    view.nr_rows != parts[p].nr_rows || view.bytes != parts[p].bytes ||
		    !tm_view_is_right(tm, &view))
			return false;
		bytes += view.bytes;
	}
	return bytes == unit->bytes && weir_stream_view(stream, (uint32_t)nr, &view) == -EINVAL;
}

void tm_check_unit(const struct test_model *tm, const struct weir_stream *stream,
		   const struct weir_units *units, const struct weir_unit *unit,
		   struct tm_walk *walk)
{
	bool right = unit->index == walk->nr_units % weir_units_nr(units) &&
		     unit->pass == walk->nr_units / weir_units_nr(units) &&
		     unit_is_right(tm, stream, units, unit);

	if (!right && !walk->nr_wrong++)
		walk->first_wrong = unit->index;
	walk->nr_units++;
	walk->bytes += unit->bytes;
	walk->nr_hits += unit->was_hit;
}

int tm_walk_pass(const struct test_model *tm, struct weir_stream *stream,
		 const struct weir_units *units, struct tm_walk *walk)
{
	struct weir_unit unit;

	while ((walk->rc = weir_stream_next(stream, &unit, &walk->err)) > 0)
		tm_check_unit(tm, stream, units, &unit, walk);
	return walk->rc;
}

static bool is_visited(const struct test_model *tm, const struct weir_tensor *tensor,
		       uint32_t flags)
{
	bool vision = weir_model_group(tm->model, tensor->group)->kind == WEIR_GROUP_VISION;

	if (flags & WEIR_PLAN_VISION_ONLY)
		return tensor->bytes && vision;
	return tensor->bytes && (!vision || (flags & WEIR_PLAN_VISION));
}

bool tm_units_cover(const struct test_model *tm, const struct weir_units *units, uint32_t flags)
{
	const struct weir_part *parts = NULL;
	uint32_t unit = 0, nr = weir_units_nr(units), left = 0;

	for (uint32_t p = 0; p < weir_model_nr_tensors(tm->model); p++) {
		const struct weir_tensor *t = weir_model_at(tm->model, p);
		uint64_t row = 0;

		while (is_visited(tm, t, flags) && row < t->nr_rows) {
			int got = 0;

			if (!left && unit < nr)
				got = weir_units_parts(units, unit++, &parts);
			left += got > 0 ? (uint32_t)got : 0;
			if (!left || parts->tensor != t || parts->first_row != row ||
			    parts->offset != t->offset + row * t->row_bytes ||
			    parts->bytes != parts->nr_rows * t->row_bytes || !parts->nr_rows)
				return false;
			row += parts->nr_rows;
			parts++;
			left--;
		}
		if (is_visited(tm, t, flags) && row != t->nr_rows)
			return false;
	}
	return !left && unit == nr;
}
