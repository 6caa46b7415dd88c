/* SPDX-License-Identifier: MIT */
/*
 * The five published sizes of Qwen3-VL as a table, and how options make one smaller.
 *
 * The numbers are those of config.json in the Qwen/Qwen3-VL-*-Instruct repositories (revisions
 * 89644892, ebb281ec, 0c351dd0, 0cfaf481 and the 30B-A3B of the same release), not the defaults of
 * the class in transformers' configuration_qwen3_vl.py, which differ. What all sizes share
 * (patch 16, temporal patch 2, merge 2, 2304 positions) is in mkmodel_shapes.c and
 * mkmodel_config.c, where it is used.
 */
#include "mkmodel_priv.h"

#include <string.h>

#include "base/util.h"

#define VOCAB 151936

static const struct wr_mk_model models[] = {
	{.name = "qwen3-vl-2b",
	 .title = "Qwen3VL-2B-Instruct",
	 .hidden = 2048,
	 .layers = 28,
	 .heads = 16,
	 .kv_heads = 8,
	 .head_dim = 128,
	 .inter = 6144,
	 .vocab = VOCAB,
	 .tied = true,
	 .v_hidden = 1024,
	 .v_inter = 4096,
	 .v_depth = 24,
	 .v_heads = 16,
	 .deepstack = {5, 11, 17},
	 .nr_deepstack = 3},
	{.name = "qwen3-vl-4b",
	 .title = "Qwen3VL-4B-Instruct",
	 .hidden = 2560,
	 .layers = 36,
	 .heads = 32,
	 .kv_heads = 8,
	 .head_dim = 128,
	 .inter = 9728,
	 .vocab = VOCAB,
	 .tied = true,
	 .v_hidden = 1024,
	 .v_inter = 4096,
	 .v_depth = 24,
	 .v_heads = 16,
	 .deepstack = {5, 11, 17},
	 .nr_deepstack = 3},
	{.name = "qwen3-vl-8b",
	 .title = "Qwen3VL-8B-Instruct",
	 .hidden = 4096,
	 .layers = 36,
	 .heads = 32,
	 .kv_heads = 8,
	 .head_dim = 128,
	 .inter = 12288,
	 .vocab = VOCAB,
	 .tied = false,
	 .v_hidden = 1152,
	 .v_inter = 4304,
	 .v_depth = 27,
	 .v_heads = 16,
	 .deepstack = {8, 16, 24},
	 .nr_deepstack = 3},
	{.name = "qwen3-vl-32b",
	 .title = "Qwen3VL-32B-Instruct",
	 .hidden = 5120,
	 .layers = 64,
	 .heads = 64,
	 .kv_heads = 8,
	 .head_dim = 128,
	 .inter = 25600,
	 .vocab = VOCAB,
	 .tied = false,
	 .v_hidden = 1152,
	 .v_inter = 4304,
	 .v_depth = 27,
	 .v_heads = 16,
	 .deepstack = {8, 16, 24},
	 .nr_deepstack = 3},
	{.name = "qwen3-vl-30b-a3b",
	 .title = "Qwen3VL-30B-A3B-Instruct",
	 .hidden = 2048,
	 .layers = 48,
	 .heads = 32,
	 .kv_heads = 4,
	 .head_dim = 128,
	 .inter = 6144,
	 .experts = 128,
	 .experts_used = 8,
	 .moe_inter = 768,
	 .vocab = VOCAB,
	 .tied = false,
	 .v_hidden = 1152,
	 .v_inter = 4304,
	 .v_depth = 27,
	 .v_heads = 16,
	 .deepstack = {8, 16, 24},
	 .nr_deepstack = 3},
};

const struct wr_mk_model *wr_mk_model_find(const char *name)
{
	static const char prefix[] = "qwen3-vl-";

	for (size_t i = 0; i < wr_array_size(models); i++) {
		if (!strcmp(name, models[i].name) ||
		    !strcmp(name, models[i].name + sizeof(prefix) - 1))
			return &models[i];
	}
	return NULL;
}

/*
 * The last blocks that remain take over what deeper ones did, each merger a block of its own: with
 * the blocks of two mergers equal, their names in GGUF would be equal too.
 */
static void clamp_deepstack(struct wr_mk_model *m)
{
	if (m->nr_deepstack > m->v_depth)
		m->nr_deepstack = m->v_depth;
	for (uint32_t j = 0; j < m->nr_deepstack; j++) {
		uint32_t last = m->v_depth - m->nr_deepstack + j;

		if (m->deepstack[j] > last)
			m->deepstack[j] = last;
	}
}

static void divide(uint32_t *width, uint32_t divisor)
{
	*width = *width > divisor ? *width / divisor : 1;
}

static void divide_widths(struct wr_mk_model *m, uint32_t divisor)
{
	divide(&m->hidden, divisor);
	divide(&m->heads, divisor);
	divide(&m->kv_heads, divisor);
	divide(&m->inter, divisor);
	divide(&m->v_hidden, divisor);
	divide(&m->v_inter, divisor);
	divide(&m->v_heads, divisor);
	if (!m->experts)
		return;
	divide(&m->experts, divisor);
	divide(&m->moe_inter, divisor);
	if (m->experts_used > m->experts)
		m->experts_used = m->experts;
}

const char *wr_mk_model_shrink(struct wr_mk_model *m, const struct wr_mk_shrink *s)
{
	uint32_t d = s->divisor ? s->divisor : 1;

	if (s->layers > m->layers)
		return "--layers is more than the model has";
	if (s->vision_blocks > m->v_depth)
		return "--vision-blocks is more than the model has";
	if (s->vocab > m->vocab)
		return "--vocab is more than the model has";
	if (d > 16 || (d & (d - 1)))
		return "--shrink is not 1, 2, 4, 8 or 16";
	if (s->layers)
		m->layers = s->layers;
	if (s->vocab)
		m->vocab = s->vocab;
	if (s->vision_blocks)
		m->v_depth = s->vision_blocks;
	clamp_deepstack(m);
	divide_widths(m, d);
	return NULL;
}
