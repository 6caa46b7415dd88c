/* SPDX-License-Identifier: MIT */
/*
 * The small files beside the weights: config.json and the preprocessors' configurations.
 *
 * For a model of published size, config.json, preprocessor_config.json and
 * video_preprocessor_config.json are the published files to the byte (transformers' own layout: keys
 * in order, two spaces, a newline; the preprocessors' files: four spaces, no newline), and
 * generation_config.json has the published number of bytes. For a smaller one the numbers that changed
 * are written; ids of special tokens stay as they are, also when they lie beyond a cut vocabulary.
 */
#include "mkmodel_priv.h"

#include <errno.h>

static void print_text_config(struct wr_mk_buf *b, const struct wr_mk_model *m)
{
	wr_mk_buf_str(b, "  \"text_config\": {\n");
	wr_mk_buf_str(b, "    \"attention_bias\": false,\n    \"attention_dropout\": 0.0,\n"
			 "    \"bos_token_id\": 151643,\n");
	if (m->experts)
		wr_mk_buf_str(b, "    \"decoder_sparse_step\": 1,\n");
	wr_mk_buf_str(b, "    \"dtype\": \"bfloat16\",\n    \"eos_token_id\": 151645,\n");
	wr_mk_buf_printf(b, "    \"head_dim\": %u,\n    \"hidden_act\": \"silu\",\n", m->head_dim);
	wr_mk_buf_printf(b, "    \"hidden_size\": %u,\n    \"initializer_range\": 0.02,\n",
			 m->hidden);
	wr_mk_buf_printf(b, "    \"intermediate_size\": %u,\n", m->inter);
	wr_mk_buf_str(b, "    \"max_position_embeddings\": 262144,\n");
	if (m->experts)
		wr_mk_buf_str(b, "    \"mlp_only_layers\": [],\n");
	wr_mk_buf_printf(b, "    \"model_type\": \"%s\",\n",
			 m->experts ? "qwen3_vl_moe_text" : "qwen3_vl_text");
	if (m->experts)
		wr_mk_buf_printf(
			b, "    \"moe_intermediate_size\": %u,\n    \"norm_topk_prob\": true,\n",
			m->moe_inter);
	wr_mk_buf_printf(b, "    \"num_attention_heads\": %u,\n", m->heads);
	if (m->experts)
		wr_mk_buf_printf(b, "    \"num_experts\": %u,\n    \"num_experts_per_tok\": %u,\n",
				 m->experts, m->experts_used);
	wr_mk_buf_printf(b, "    \"num_hidden_layers\": %u,\n    \"num_key_value_heads\": %u,\n",
			 m->layers, m->kv_heads);
	wr_mk_buf_str(b,
		      "    \"rms_norm_eps\": 1e-06,\n    \"rope_scaling\": {\n"
		      "      \"mrope_interleaved\": true,\n      \"mrope_section\": [\n"
		      "        24,\n        20,\n        20\n      ],\n"
		      "      \"rope_type\": \"default\"\n    },\n    \"rope_theta\": 5000000,\n");
	if (m->tied)
		wr_mk_buf_str(b, "    \"tie_word_embeddings\": true,\n");
	wr_mk_buf_printf(b, "    \"use_cache\": true,\n    \"vocab_size\": %u\n  },\n", m->vocab);
}

static void print_vision_config(struct wr_mk_buf *b, const struct wr_mk_model *m)
{
	wr_mk_buf_str(b, "  \"vision_config\": {\n    \"deepstack_visual_indexes\": [\n");
	for (uint32_t j = 0; j < m->nr_deepstack; j++)
		wr_mk_buf_printf(b, "      %u%s\n", m->deepstack[j],
				 j + 1 < m->nr_deepstack ? "," : "");
	wr_mk_buf_printf(b, "    ],\n    \"depth\": %u,\n", m->v_depth);
	wr_mk_buf_str(b, "    \"hidden_act\": \"gelu_pytorch_tanh\",\n");
	wr_mk_buf_printf(b, "    \"hidden_size\": %u,\n    \"in_channels\": 3,\n", m->v_hidden);
	wr_mk_buf_printf(b, "    \"initializer_range\": 0.02,\n    \"intermediate_size\": %u,\n",
			 m->v_inter);
	wr_mk_buf_printf(b, "    \"model_type\": \"%s\",\n    \"num_heads\": %u,\n",
			 m->experts ? "qwen3_vl_moe" : "qwen3_vl", m->v_heads);
	wr_mk_buf_printf(b,
			 "    \"num_position_embeddings\": 2304,\n    \"out_hidden_size\": %u,\n",
			 m->hidden);
	wr_mk_buf_str(b, "    \"patch_size\": 16,\n    \"spatial_merge_size\": 2,\n"
			 "    \"temporal_patch_size\": 2\n  },\n");
}

static void print_config(struct wr_mk_buf *b, const struct wr_mk_model *m)
{
	wr_mk_buf_printf(b, "{\n  \"architectures\": [\n    \"%s\"\n  ],\n",
			 m->experts ? "Qwen3VLMoeForConditionalGeneration"
				    : "Qwen3VLForConditionalGeneration");
	wr_mk_buf_printf(b, "  \"image_token_id\": 151655,\n  \"model_type\": \"%s\",\n",
			 m->experts ? "qwen3_vl_moe" : "qwen3_vl");
	print_text_config(b, m);
	wr_mk_buf_printf(b, "  \"tie_word_embeddings\": %s,\n", m->tied ? "true" : "false");
	wr_mk_buf_str(b, "  \"transformers_version\": \"4.57.0.dev0\",\n"
			 "  \"video_token_id\": 151656,\n");
	print_vision_config(b, m);
	wr_mk_buf_str(b, "  \"vision_end_token_id\": 151653,\n"
			 "  \"vision_start_token_id\": 151652\n}\n");
}

/* The "edges" are areas in pixels, for video times frames. */
static void print_preprocessor(struct wr_mk_buf *b, uint32_t longest, uint32_t shortest,
			       const char *type_key, const char *type)
{
	wr_mk_buf_printf(b,
			 "{\n    \"size\": {\n        \"longest_edge\": %u,\n"
			 "        \"shortest_edge\": %u\n    },\n",
			 longest, shortest);
	wr_mk_buf_str(b, "    \"patch_size\": 16,\n    \"temporal_patch_size\": 2,\n"
			 "    \"merge_size\": 2,\n");
	wr_mk_buf_str(b,
		      "    \"image_mean\": [\n        0.5,\n        0.5,\n        0.5\n    ],\n");
	wr_mk_buf_str(b, "    \"image_std\": [\n        0.5,\n        0.5,\n        0.5\n    ],\n");
	wr_mk_buf_printf(b, "    \"processor_class\": \"Qwen3VLProcessor\",\n    \"%s\": \"%s\"\n}",
			 type_key, type);
}

static void print_generation(struct wr_mk_buf *b)
{
	wr_mk_buf_str(b,
		      "{\n    \"bos_token_id\": 151643,\n    \"pad_token_id\": 151643,\n"
		      "    \"do_sample\": true,\n"
		      "    \"eos_token_id\": [\n        151645,\n        151643\n    ],\n"
		      "    \"top_k\": 20,\n    \"top_p\": 0.8,\n    \"repetition_penalty\": 1.0,\n"
		      "    \"temperature\": 0.7,\n    \"transformers_version\": \"4.56.0\"\n}");
}

/* Also accepts f == NULL, which is a failed wr_mk_plan_add(). */
static int finish(struct wr_mk_file *f)
{
	if (!f)
		return -ENOMEM;
	f->bytes = f->head.len;
	return f->head.err;
}

int wr_mk_config_plan(const struct wr_mk_model *m, struct wr_mk_plan *p)
{
	struct wr_mk_file *f;
	int ret;

	f = wr_mk_plan_add(p, "generation_config.json");
	if (f)
		print_generation(&f->head);
	ret = finish(f);
	if (ret)
		return ret;
	f = wr_mk_plan_add(p, "preprocessor_config.json");
	if (f)
		print_preprocessor(&f->head, 16777216, 65536, "image_processor_type",
				   "Qwen2VLImageProcessorFast");
	ret = finish(f);
	if (ret)
		return ret;
	f = wr_mk_plan_add(p, "video_preprocessor_config.json");
	if (f)
		print_preprocessor(&f->head, 25165824, 4096, "video_processor_type",
				   "Qwen3VLVideoProcessor");
	ret = finish(f);
	if (ret)
		return ret;
	f = wr_mk_plan_add(p, "config.json");
	if (f)
		print_config(&f->head, m);
	return finish(f);
}
