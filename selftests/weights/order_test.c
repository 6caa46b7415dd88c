/* SPDX-License-Identifier: MIT */
/*
 * Execution order: the published Qwen3-VL models in both formats, group by group and tensor by
 * tensor, and the rules for models that nobody told weir about.
 */
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"

#include <weir/weights.h>

#include "base/util.h"
#include "weights/model_builder.h"

FIXTURE(order)
{
	char *dir;
	struct weir_model *model;
};

FIXTURE_SETUP(order)
{
	self->dir = mb_dir_make();
	self->model = NULL;
}

FIXTURE_TEARDOWN(order)
{
	weir_model_close(self->model);
	mb_dir_remove(self->dir);
}

/* Positions are a permutation, groups are runs of it, and sizes agree. NULL or what is wrong. */
static const char *inconsistent(const struct weir_model *m)
{
	uint32_t nr = weir_model_nr_tensors(m), at = 0;
	bool *seen = calloc(nr + 1, sizeof(*seen));
	const char *what = NULL;

	for (uint32_t i = 0; i < nr; i++) {
		const struct weir_tensor *t = weir_model_tensor(m, i);

		if (t->position >= nr || seen[t->position] || weir_model_at(m, t->position) != t)
			what = "positions are no permutation";
		else
			seen[t->position] = true;
		if (weir_model_find(m, t->name) != t)
			what = "a tensor is not found by its name";
		if (t->nr_rows * t->row_bytes != t->bytes || t->nr_slices == 0)
			what = "rows or slices do not make up a tensor";
		if (i != 0 && t->file == t[0].file &&
		    weir_model_tensor(m, i - 1)->file == t->file &&
		    weir_model_tensor(m, i - 1)->offset > t->offset)
			what = "tensors are not by offset";
	}
	for (uint32_t g = 0; g < weir_model_nr_groups(m); g++) {
		const struct weir_group *group = weir_model_group(m, g);
		uint64_t bytes = 0;

		if (group->first != at || group->nr == 0)
			what = "groups are no runs";
		for (uint32_t i = 0; i < group->nr; i++) {
			bytes += weir_model_at(m, at + i)->bytes;
			if (weir_model_at(m, at + i)->group != g)
				what = "a tensor is in another group";
		}
		if (bytes != group->bytes)
			what = "a group's bytes are wrong";
		at += group->nr;
	}
	if (at != nr)
		what = "groups do not hold all tensors";
	free(seen);
	return what;
}

static const struct weir_group *find_group(const struct weir_model *m, const char *name)
{
	for (uint32_t g = 0; g < weir_model_nr_groups(m); g++) {
		if (strcmp(weir_model_group(m, g)->name, name) == 0)
			return weir_model_group(m, g);
	}
	return NULL;
}

/* Does the group hold exactly these tensors, which begin with @prefix, in this order? */
static bool holds(const struct weir_model *m, const char *group, const char *prefix,
		  const char *const *names, uint32_t nr)
{
	const struct weir_group *g = find_group(m, group);

	if (g == NULL || g->nr != nr)
		return false;
	for (uint32_t i = 0; i < nr; i++) {
		char want[256];

		snprintf(want, sizeof(want), "%s%s", prefix, names[i]);
		if (strcmp(weir_model_at(m, g->first + i)->name, want) != 0) {
			printf("# %s has %s where %s belongs\n", group,
			       weir_model_at(m, g->first + i)->name, want);
			return false;
		}
	}
	return true;
}

#define HOLDS(group, prefix, ...)                                             \
	holds(self->model, group, prefix, (const char *const[]){__VA_ARGS__}, \
	      (uint32_t)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)))

static uint64_t kind_bytes(const struct weir_model *m, uint32_t kind)
{
	uint64_t bytes = 0;

	for (uint32_t g = 0; g < weir_model_nr_groups(m); g++)
		bytes += weir_model_group(m, g)->kind == kind ? weir_model_group(m, g)->bytes : 0;
	return bytes;
}

/* The groups of a Qwen3-VL model, whatever its format. NULL or the first that differs. */
static const char *wrong_groups(const struct weir_model *m, const struct mb_qwen *q)
{
	static char want[64];
	uint32_t g = 0;

#define NEXT(k, l, ...)                                                                      \
	do {                                                                                 \
		const struct weir_group *group = weir_model_group(m, g++);                   \
		snprintf(want, sizeof(want), __VA_ARGS__);                                   \
		if (group == NULL || strcmp(group->name, want) != 0 || group->kind != (k) || \
		    group->layer != (l))                                                     \
			return want;                                                         \
	} while (0)

	NEXT(WEIR_GROUP_VISION, -1, "visual.embed");
	for (uint32_t n = 0; n < q->v_depth; n++) {
		NEXT(WEIR_GROUP_VISION, (int)n, "visual.blocks.%u", n);
		if (n == q->deepstack[0] || n == q->deepstack[1] || n == q->deepstack[2])
			NEXT(WEIR_GROUP_VISION, (int)n, "visual.deepstack.%u", n);
	}
	NEXT(WEIR_GROUP_VISION, -1, "visual.merger");
	NEXT(WEIR_GROUP_EMBED, -1, "embed");
	for (uint32_t n = 0; n < q->layers; n++)
		NEXT(WEIR_GROUP_LAYER, (int)n, "layers.%u", n);
	NEXT(WEIR_GROUP_NORM, -1, "norm");
	if (!q->tied)
		NEXT(WEIR_GROUP_HEAD, -1, "head");
#undef NEXT
	return g == weir_model_nr_groups(m) ? NULL : "more groups than that";
}

TEST_F(order, the_2b_checkpoint_has_its_published_numbers)
{
	ASSERT_EQ(mb_qwen_st(&mb_qwen_2b, self->dir), 0);
	ASSERT_EQ(weir_model_open(self->dir, &self->model, NULL), 0);
	EXPECT_EQ(weir_model_format(self->model), WEIR_FORMAT_SAFETENSORS);
	EXPECT_EQ(weir_model_nr_files(self->model), 1);
	EXPECT_EQ(weir_model_nr_tensors(self->model), 625);
	EXPECT_EQ(weir_model_file(self->model, 0)->bytes, 4255140312);
	EXPECT_EQ(weir_model_file(self->model, 0)->data_offset, 76240 + 8);
	EXPECT_EQ(inconsistent(self->model), NULL);
	EXPECT_EQ(wrong_groups(self->model, &mb_qwen_2b), NULL);
	EXPECT_EQ(weir_model_nr_groups(self->model), 1 + 24 + 3 + 1 + 1 + 28 + 1);
	EXPECT_EQ(kind_bytes(self->model, WEIR_GROUP_VISION), 813914112);
	EXPECT_EQ(kind_bytes(self->model, WEIR_GROUP_EMBED), 622329856);
	EXPECT_EQ(kind_bytes(self->model, WEIR_GROUP_LAYER), 28 * UINT64_C(100672000));
	EXPECT_EQ(find_group(self->model, "visual.blocks.7")->bytes, 25192448);
	EXPECT_EQ(weir_model_tensor(self->model, 0)->offset, 76248);
}

TEST_F(order, tensors_of_a_group_are_in_the_order_of_their_use)
{
	const struct weir_tensor *t;

	ASSERT_EQ(mb_qwen_st(&mb_qwen_2b, self->dir), 0);
	ASSERT_EQ(weir_model_open(self->dir, &self->model, NULL), 0);
	EXPECT_TRUE(HOLDS("visual.embed", "model.visual.", "patch_embed.proj.weight",
			  "patch_embed.proj.bias", "pos_embed.weight"));
	EXPECT_TRUE(HOLDS("visual.blocks.11", "model.visual.blocks.11.", "norm1.weight",
			  "norm1.bias", "attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight",
			  "attn.proj.bias", "norm2.weight", "norm2.bias", "mlp.linear_fc1.weight",
			  "mlp.linear_fc1.bias", "mlp.linear_fc2.weight", "mlp.linear_fc2.bias"));
	EXPECT_TRUE(HOLDS("visual.deepstack.11", "model.visual.deepstack_merger_list.1.",
			  "norm.weight", "norm.bias", "linear_fc1.weight", "linear_fc1.bias",
			  "linear_fc2.weight", "linear_fc2.bias"));
	EXPECT_TRUE(HOLDS("visual.merger", "model.visual.merger.", "norm.weight", "norm.bias",
			  "linear_fc1.weight", "linear_fc1.bias", "linear_fc2.weight",
			  "linear_fc2.bias"));
	EXPECT_TRUE(HOLDS("layers.27", "model.language_model.layers.27.", "input_layernorm.weight",
			  "self_attn.q_proj.weight", "self_attn.q_norm.weight",
			  "self_attn.k_proj.weight", "self_attn.k_norm.weight",
			  "self_attn.v_proj.weight", "self_attn.o_proj.weight",
			  "post_attention_layernorm.weight", "mlp.gate_proj.weight",
			  "mlp.up_proj.weight", "mlp.down_proj.weight"));
	t = weir_model_find(self->model, "model.language_model.layers.3.mlp.down_proj.weight");
	ASSERT_NE(t, NULL);
	EXPECT_EQ(t->dtype, WEIR_DTYPE_BF16);
	EXPECT_EQ(t->nr_dims, 2);
	EXPECT_EQ(t->dims[0], 2048);
	EXPECT_EQ(t->dims[1], 6144);
	EXPECT_EQ(t->nr_rows, 2048);
	EXPECT_EQ(t->row_bytes, 12288);
	EXPECT_EQ(t->nr_slices, 1);
	t = weir_model_find(self->model, "model.visual.patch_embed.proj.weight");
	ASSERT_NE(t, NULL);
	EXPECT_EQ(t->nr_dims, 5);
	EXPECT_EQ(t->position, 0);
	EXPECT_EQ(weir_model_find(self->model, "lm_head.weight"), NULL);
	EXPECT_EQ(weir_model_find(self->model, ""), NULL);
}

TEST_F(order, the_4b_checkpoint_is_one_model_over_two_shards)
{
	const struct weir_group *g;
	uint32_t nr[2] = {0, 0}, in_first = 0;

	ASSERT_EQ(mb_qwen_st(&mb_qwen_4b, self->dir), 0);
	ASSERT_EQ(weir_model_open(self->dir, &self->model, NULL), 0);
	ASSERT_EQ(weir_model_nr_files(self->model), 2);
	EXPECT_EQ(weir_model_file(self->model, 0)->bytes, 4967229296);
	EXPECT_EQ(weir_model_file(self->model, 1)->bytes, 3908490048);
	EXPECT_EQ(weir_model_file(self->model, 0)->data_offset % 4096, 1392);
	EXPECT_EQ(weir_model_file(self->model, 1)->data_offset % 4096, 320);
	EXPECT_EQ(weir_model_nr_tensors(self->model), 713);
	for (uint32_t i = 0; i < 713; i++)
		nr[weir_model_tensor(self->model, i)->file]++;
	EXPECT_EQ(nr[0], 231);
	EXPECT_EQ(nr[1], 482);
	EXPECT_EQ(inconsistent(self->model), NULL);
	EXPECT_EQ(wrong_groups(self->model, &mb_qwen_4b), NULL);
	/* The layer that straddles the shards is one group. */
	g = find_group(self->model, "layers.20");
	ASSERT_NE(g, NULL);
	EXPECT_EQ(g->bytes, 201861632);
	for (uint32_t i = 0; i < g->nr; i++)
		in_first += weir_model_at(self->model, g->first + i)->file == 0;
	EXPECT_GT(in_first, 0);
	EXPECT_LT(in_first, g->nr);
}

TEST_F(order, the_8b_checkpoint_has_a_head_and_other_taps)
{
	ASSERT_EQ(mb_qwen_st(&mb_qwen_8b, self->dir), 0);
	ASSERT_EQ(weir_model_open(self->dir, &self->model, NULL), 0);
	ASSERT_EQ(weir_model_nr_files(self->model), 4);
	EXPECT_EQ(weir_model_file(self->model, 0)->bytes, 4902275944);
	EXPECT_EQ(weir_model_file(self->model, 3)->bytes, 2716270024);
	EXPECT_EQ(weir_model_nr_tensors(self->model), 750);
	EXPECT_EQ(inconsistent(self->model), NULL);
	EXPECT_EQ(wrong_groups(self->model, &mb_qwen_8b), NULL);
	EXPECT_EQ(kind_bytes(self->model, WEIR_GROUP_HEAD), 1244659712);
	EXPECT_TRUE(HOLDS("visual.deepstack.24", "model.visual.deepstack_merger_list.2.",
			  "norm.weight", "norm.bias", "linear_fc1.weight", "linear_fc1.bias",
			  "linear_fc2.weight", "linear_fc2.bias"));
}

TEST_F(order, experts_of_the_30b_checkpoint_are_extents_of_their_own)
{
	const struct weir_tensor *t;

	ASSERT_EQ(mb_qwen_st(&mb_qwen_30b, self->dir), 0);
	ASSERT_EQ(weir_model_open(self->dir, &self->model, NULL), 0);
	EXPECT_EQ(weir_model_nr_files(self->model), 13);
	EXPECT_EQ(weir_model_nr_tensors(self->model), 882);
	EXPECT_EQ(inconsistent(self->model), NULL);
	EXPECT_EQ(wrong_groups(self->model, &mb_qwen_30b), NULL);
	EXPECT_TRUE(HOLDS("layers.47", "model.language_model.layers.47.", "input_layernorm.weight",
			  "self_attn.q_proj.weight", "self_attn.q_norm.weight",
			  "self_attn.k_proj.weight", "self_attn.k_norm.weight",
			  "self_attn.v_proj.weight", "self_attn.o_proj.weight",
			  "post_attention_layernorm.weight", "mlp.gate.weight",
			  "mlp.experts.gate_up_proj", "mlp.experts.down_proj"));
	t = weir_model_find(self->model, "model.language_model.layers.5.mlp.experts.gate_up_proj");
	ASSERT_NE(t, NULL);
	EXPECT_EQ(t->nr_slices, 128);
	EXPECT_EQ(t->bytes / t->nr_slices, 6291456);
	EXPECT_EQ(t->nr_rows, 128 * 2048);
	EXPECT_EQ(t->row_bytes, 3072);
	t = weir_model_find(self->model, "model.language_model.layers.5.mlp.experts.down_proj");
	ASSERT_NE(t, NULL);
	EXPECT_EQ(t->nr_slices, 128);
	EXPECT_EQ(t->bytes / t->nr_slices, 3145728);
	t = weir_model_find(self->model, "model.language_model.layers.5.mlp.gate.weight");
	ASSERT_NE(t, NULL);
	EXPECT_EQ(t->nr_slices, 1);
}

TEST_F(order, a_gguf_model_with_its_projector_has_the_same_groups)
{
	ASSERT_EQ(mb_qwen_gguf(&mb_qwen_2b, self->dir), 0);
	ASSERT_EQ(weir_model_open(self->dir, &self->model, NULL), 0);
	EXPECT_EQ(weir_model_format(self->model), WEIR_FORMAT_GGUF);
	EXPECT_EQ(weir_model_nr_files(self->model), 2);
	EXPECT_EQ(weir_model_nr_tensors(self->model), 310 + 316);
	EXPECT_EQ(inconsistent(self->model), NULL);
	EXPECT_EQ(wrong_groups(self->model, &mb_qwen_2b), NULL);
	EXPECT_TRUE(HOLDS("visual.embed", "v.", "patch_embd.weight", "patch_embd.weight.1",
			  "patch_embd.bias", "position_embd.weight"));
	EXPECT_TRUE(HOLDS("visual.blocks.0", "v.blk.0.", "ln1.weight", "ln1.bias",
			  "attn_qkv.weight", "attn_qkv.bias", "attn_out.weight", "attn_out.bias",
			  "ln2.weight", "ln2.bias", "ffn_up.weight", "ffn_up.bias",
			  "ffn_down.weight", "ffn_down.bias"));
	EXPECT_TRUE(HOLDS("visual.deepstack.17", "v.deepstack.17.", "norm.weight", "norm.bias",
			  "fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"));
	EXPECT_TRUE(HOLDS("visual.merger", "", "v.post_ln.weight", "v.post_ln.bias", "mm.0.weight",
			  "mm.0.bias", "mm.2.weight", "mm.2.bias"));
	EXPECT_TRUE(HOLDS("layers.9", "blk.9.", "attn_norm.weight", "attn_q.weight",
			  "attn_q_norm.weight", "attn_k.weight", "attn_k_norm.weight",
			  "attn_v.weight", "attn_output.weight", "ffn_norm.weight",
			  "ffn_gate.weight", "ffn_up.weight", "ffn_down.weight"));
	EXPECT_TRUE(HOLDS("embed", "", "token_embd.weight"));
	EXPECT_TRUE(HOLDS("norm", "", "output_norm.weight"));
}

TEST_F(order, gguf_experts_are_stacked_outermost)
{
	const struct weir_tensor *t;

	ASSERT_EQ(mb_qwen_gguf(&mb_qwen_30b, self->dir), 0);
	ASSERT_EQ(weir_model_open(self->dir, &self->model, NULL), 0);
	EXPECT_EQ(weir_model_nr_tensors(self->model), 579 + 352);
	EXPECT_EQ(wrong_groups(self->model, &mb_qwen_30b), NULL);
	EXPECT_EQ(inconsistent(self->model), NULL);
	EXPECT_TRUE(HOLDS("layers.0", "blk.0.", "attn_norm.weight", "attn_q.weight",
			  "attn_q_norm.weight", "attn_k.weight", "attn_k_norm.weight",
			  "attn_v.weight", "attn_output.weight", "ffn_norm.weight",
			  "ffn_gate_inp.weight", "ffn_gate_exps.weight", "ffn_up_exps.weight",
			  "ffn_down_exps.weight"));
	t = weir_model_find(self->model, "blk.0.ffn_down_exps.weight");
	ASSERT_NE(t, NULL);
	EXPECT_EQ(t->nr_slices, 128);
	EXPECT_EQ(t->dims[0], 128);
	EXPECT_EQ(t->dims[1], 2048);
	EXPECT_EQ(t->dims[2], 768);
	EXPECT_EQ(weir_model_find(self->model, "blk.0.ffn_gate_inp.weight")->nr_slices, 1);
}

/* ---- experts in tensors of their own ------------------------------------------------------ */

/* A file of tensors of a byte each, of these names. */
static int make_named(const char *dir, const char *const *names, uint32_t nr)
{
	struct mb_bytes header = {0}, file = {0};
	int rc;

	for (uint32_t i = 0; i < nr; i++)
		mb_text(&header,
			"%c\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%u,%u]}",
			i ? ',' : '{', names[i], i, i + 1);
	mb_text(&header, "}");
	while (header.n % 8)
		mb_text(&header, " ");
	mb_u64(&file, header.n);
	mb_put(&file, header.p, header.n);
	for (uint32_t i = 0; i < nr; i++)
		mb_put(&file, "x", 1);
	rc = mb_file(dir, "model.safetensors", &file, file.n);
	mb_free(&header);
	mb_free(&file);
	return rc;
}

TEST_F(order, experts_in_tensors_of_their_own_are_numbered)
{
	static const char *const names[] = {
		"model.layers.0.mlp.experts.1.up_proj.weight",
		"model.layers.0.mlp.experts.0.down_proj.weight",
		"model.layers.0.mlp.experts.0.gate_proj.weight",
		"model.layers.0.mlp.experts.0.gate_proj.weight_scale_inv",
		"model.layers.0.mlp.experts.1.gate_proj.weight",
		"model.layers.0.mlp.experts.0.up_proj.weight",
		"model.layers.0.mlp.experts.1.down_proj.weight",
		"model.layers.0.mlp.gate.weight",
		"model.layers.0.mlp.shared_experts.up_proj.weight",
		/* One is missing, so these are not. */
		"model.layers.1.block_sparse_moe.experts.0.w1.weight",
		"model.layers.1.block_sparse_moe.experts.2.w1.weight",
		/* And one alone is none. */
		"model.layers.2.mlp.experts.0.up_proj.weight",
		"model.layers.3.mlp.experts.9999999.up_proj.weight",
		"model.layers.3.mlp.experts.0.up_proj.weight",
	};
	static const int expected[] = {1, 0, 0, 0, 1, 0, 1, -1, -1, -1, -1, -1, -1, -1};

	ASSERT_EQ(make_named(self->dir, names, 14), 0);
	ASSERT_EQ(weir_model_open(self->dir, &self->model, NULL), 0);
	for (uint32_t i = 0; i < 14; i++) {
		const struct weir_tensor *t = weir_model_find(self->model, names[i]);

		ASSERT_NE(t, NULL);
		EXPECT_EQ(t->expert, expected[i]) TH_LOG("%s", names[i]);
		EXPECT_EQ(weir_tensor_experts(t), (uint32_t)(expected[i] + 1));
	}
	EXPECT_TRUE(HOLDS("layers.0", "model.layers.0.mlp.", "gate.weight",
			  "experts.0.gate_proj.weight", "experts.0.gate_proj.weight_scale_inv",
			  "experts.0.up_proj.weight", "experts.0.down_proj.weight",
			  "experts.1.gate_proj.weight", "experts.1.up_proj.weight",
			  "experts.1.down_proj.weight", "shared_experts.up_proj.weight"));
}

/* ---- taps without config.json, and with a strange one ------------------------------------- */

TEST_F(order, without_config_the_published_towers_are_tapped_where_they_are)
{
	static const struct mb_qwen *const models[] = {&mb_qwen_2b, &mb_qwen_8b};

	for (int i = 0; i < 2; i++) {
		char *config = mb_path(self->dir, "config.json");

		ASSERT_EQ(mb_qwen_st(models[i], self->dir), 0);
		ASSERT_EQ(remove(config), 0);
		free(config);
		weir_model_close(self->model);
		if (i == 1) {
			char *single = mb_path(self->dir, "model.safetensors");

			ASSERT_EQ(remove(single), 0);
			free(single);
		}
		ASSERT_EQ(weir_model_open(self->dir, &self->model, NULL), 0);
		EXPECT_EQ(wrong_groups(self->model, models[i]), NULL);
	}
}

static void write_names(struct mb_bytes *json, const char *const *names, size_t nr)
{
	mb_text(json, "{");
	for (size_t i = 0; i < nr; i++)
		mb_text(json,
			"%s\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%zu,%zu]}",
			i != 0 ? "," : "", names[i], i, i + 1);
	mb_text(json, "}");
	mb_put(json, "", 1);
}

/* Write a file of one-byte tensors with these names and open it. */
static int open_names(const char *dir, const char *const *names, size_t nr, struct weir_model **ret)
{
	struct mb_bytes json = {0}, b = {0};
	char *path = mb_path(dir, "model.safetensors");
	int code;

	write_names(&json, names, nr);
	mb_st(&b, (const char *)json.p, nr);
	code = mb_file(dir, "model.safetensors", &b, 0);
	if (code == 0)
		code = weir_model_open(path, ret, NULL);
	mb_free(&json);
	mb_free(&b);
	free(path);
	return code;
}

TEST_F(order, config_says_after_which_block_a_merger_comes)
{
	static const char *const names[] = {
		"model.visual.blocks.0.norm1.weight",
		"model.visual.blocks.1.norm1.weight",
		"model.visual.blocks.2.norm1.weight",
		"model.visual.deepstack_merger_list.0.norm.weight",
		"model.visual.deepstack_merger_list.1.norm.weight",
	};

	ASSERT_EQ(mb_file_text(self->dir, "config.json",
			       "{\"vision_config\": {\"deepstack_visual_indexes\": [2, 0]}}"),
		  0);
	ASSERT_EQ(open_names(self->dir, names, 5, &self->model), 0);
	EXPECT_STREQ(weir_model_at(self->model, 1)->name, names[4]);
	EXPECT_STREQ(weir_model_at(self->model, 4)->name, names[3]);
	EXPECT_EQ(inconsistent(self->model), NULL);
}

TEST_F(order, a_config_that_makes_no_sense_changes_nothing)
{
	static const char *const names[] = {
		"model.visual.blocks.0.norm1.weight",
		"model.visual.blocks.1.norm1.weight",
		"model.visual.deepstack_merger_list.0.norm.weight",
	};
	static const char *const configs[] = {
		"",
		"[]",
		"{",
		"{\"vision_config\": 1}",
		"{\"vision_config\": {\"deepstack_visual_indexes\": [-1]}}",
		"{\"vision_config\": {\"deepstack_visual_indexes\": [99999999999]}}",
		"{\"vision_config\": {\"deepstack_visual_indexes\": \"5\"}}",
		("{\"vision_config\": {\"deepstack_visual_indexes\": "
		 "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}}"),
	};

	for (size_t i = 0; i < wr_array_size(configs); i++) {
		ASSERT_EQ(mb_file_text(self->dir, "config.json", configs[i]), 0);
		ASSERT_EQ(open_names(self->dir, names, 3, &self->model), 0);
		/* One merger, two blocks: behind the first. */
		EXPECT_STREQ(weir_model_at(self->model, 1)->name, names[2]);
		weir_model_close(self->model);
		self->model = NULL;
	}
}

/* ---- any model ---------------------------------------------------------------------------- */

/* The names are given in execution order and written in reverse. */
static const char *out_of_order(const char *dir, const char *const *names, size_t nr,
				struct weir_model **ret)
{
	const char *reversed[64] = {0};

	for (size_t i = 0; i < nr; i++)
		reversed[i] = names[nr - 1 - i];
	if (open_names(dir, reversed, nr, ret) != 0)
		return "it does not open";
	for (uint32_t i = 0; i < nr; i++) {
		if (strcmp(weir_model_at(*ret, i)->name, names[i]) != 0)
			return weir_model_at(*ret, i)->name;
	}
	return inconsistent(*ret);
}

#define OUT_OF_ORDER(...)                                           \
	out_of_order(self->dir, (const char *const[]){__VA_ARGS__}, \
		     sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), &self->model)

TEST_F(order, layers_are_by_number_and_not_by_name)
{
	EXPECT_EQ(OUT_OF_ORDER("model.embed_tokens.weight", "model.layers.0.input_layernorm.weight",
			       "model.layers.2.input_layernorm.weight",
			       "model.layers.10.input_layernorm.weight", "model.norm.weight",
			       "lm_head.weight", "something.else"),
		  NULL);
	EXPECT_EQ(weir_model_nr_groups(self->model), 7);
	EXPECT_STREQ(weir_model_group(self->model, 6)->name, "other");
	EXPECT_EQ(weir_model_group(self->model, 6)->layer, -1);
}

TEST_F(order, experts_in_tensors_of_their_own_are_by_number)
{
	EXPECT_EQ(OUT_OF_ORDER("model.layers.0.post_attention_layernorm.weight",
			       "model.layers.0.mlp.gate.weight",
			       "model.layers.0.mlp.experts.0.gate_proj.weight",
			       "model.layers.0.mlp.experts.0.up_proj.weight",
			       "model.layers.0.mlp.experts.0.down_proj.weight",
			       "model.layers.0.mlp.experts.2.gate_proj.weight",
			       "model.layers.0.mlp.experts.10.gate_proj.weight",
			       "model.layers.0.mlp.experts.10.down_proj.weight",
			       "model.layers.0.mlp.shared_expert.gate_proj.weight"),
		  NULL);
	EXPECT_EQ(weir_model_at(self->model, 2)->nr_slices, 1);
}

TEST_F(order, names_that_no_table_knows_keep_their_place_in_the_file)
{
	static const char *const names[] = {
		"transformer.h.1.z", "transformer.h.1.a",      "transformer.h.0.m",
		"transformer.h.0.b", "transformer.wte.weight", "transformer.ln_f.weight",
	};

	ASSERT_EQ(open_names(self->dir, names, 6, &self->model), 0);
	EXPECT_STREQ(weir_model_at(self->model, 0)->name, "transformer.wte.weight");
	EXPECT_STREQ(weir_model_at(self->model, 1)->name, "transformer.h.0.m");
	EXPECT_STREQ(weir_model_at(self->model, 2)->name, "transformer.h.0.b");
	EXPECT_STREQ(weir_model_at(self->model, 3)->name, "transformer.h.1.z");
	EXPECT_STREQ(weir_model_at(self->model, 4)->name, "transformer.h.1.a");
	EXPECT_STREQ(weir_model_at(self->model, 5)->name, "transformer.ln_f.weight");
	EXPECT_STREQ(weir_model_group(self->model, 1)->name, "layers.0");
}

TEST_F(order, an_encoder_comes_before_its_decoder_and_a_draft_head_after)
{
	EXPECT_EQ(OUT_OF_ORDER("model.encoder.layers.0.fc1.weight",
			       "model.decoder.layers.0.fc1.weight",
			       "model.decoder.layers.0.fc2.weight",
			       "model.decoder.layers.1.fc1.weight", "mtp.layers.0.fc1.weight"),
		  NULL);
	ASSERT_EQ(weir_model_nr_groups(self->model), 4);
	EXPECT_STREQ(weir_model_group(self->model, 0)->name, "model.encoder.layers.0");
	EXPECT_STREQ(weir_model_group(self->model, 1)->name, "layers.0");
	EXPECT_STREQ(weir_model_group(self->model, 2)->name, "layers.1");
	EXPECT_STREQ(weir_model_group(self->model, 3)->name, "mtp.layers.0");
}

TEST_F(order, more_stacks_than_any_model_has_are_other)
{
	char text[200][32];
	const char *names[200];

	for (int i = 0; i < 200; i++) {
		snprintf(text[i], sizeof(text[i]), "s%d.layers.0.x", i);
		names[i] = text[i];
	}
	ASSERT_EQ(open_names(self->dir, names, 200, &self->model), 0);
	EXPECT_EQ(inconsistent(self->model), NULL);
	EXPECT_EQ(weir_model_nr_groups(self->model), 65);
	EXPECT_EQ(weir_model_group(self->model, 64)->nr, 200 - 64);
}

TEST_F(order, strange_names_are_placed_somewhere_and_found)
{
	static const char *const names[] = {
		"",
		".",
		"..",
		"...weight",
		"layers",
		"layers.",
		"layers.0",
		"layers.00000000000001.x",
		"layers.99999999.x",
		"layers.9999999.x",
		"weight",
		"bias",
		"v",
		"v.",
		"mm.",
		"mm.0",
		"v.blk.3",
		"visual",
		"visual.",
		"experts.3",
		"h.0.experts.1",
		"blk.0._exps",
		"a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t",
		"visual.deepstack_merger_list.9999999",
		"visual.deepstack_merger_list.x",
		"visual.deepstack.",
		"weight.1",
		"x.weight.1",
	};

	ASSERT_EQ(open_names(self->dir, names, wr_array_size(names), &self->model), 0);
	EXPECT_EQ(inconsistent(self->model), NULL);
	EXPECT_EQ(weir_model_nr_tensors(self->model), wr_array_size(names));
}

TEST_HARNESS_MAIN
