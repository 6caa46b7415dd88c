/* SPDX-License-Identifier: MIT */
/*
 * The published Qwen3-VL checkpoints, without their values: names, shapes, shards and bytes.
 *
 * Names and shapes: huggingface/transformers, models/qwen3_vl/modeling_qwen3_vl.py and
 * models/qwen3_vl_moe; numbers: the published config.json files; GGUF names: llama.cpp,
 * gguf-py/gguf/tensor_mapping.py and tools/mtmd/clip-impl.h. File layout: safetensors/src/tensor.rs
 * (by name within a type) and the greedy split at 5e9 bytes of huggingface_hub.
 */
#include "weights/model_builder.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VOCAB	    151936
#define SHARD_BYTES UINT64_C(5000000000)
#define TENSORS	    2048

const struct mb_qwen mb_qwen_2b = {"2b", 2048, 28,   16, 8,    6144, 0,
				   0,	 1024, 4096, 24, 2048, true, {5, 11, 17}};
const struct mb_qwen mb_qwen_4b = {"4b", 2560, 36,   32, 8,    9728, 0,
				   0,	 1024, 4096, 24, 2560, true, {5, 11, 17}};
const struct mb_qwen mb_qwen_8b = {"8b", 4096, 36,   32, 8,    12288, 0,
				   0,	 1152, 4304, 27, 4096, false, {8, 16, 24}};
const struct mb_qwen mb_qwen_30b = {"30b", 2048, 48,   32, 4,	 6144,	128,
				    768,   1152, 4304, 27, 2048, false, {8, 16, 24}};

struct tensor {
	char name[96];
	uint32_t nr_dims;
	uint64_t dims[5];
	uint64_t bytes;
	uint32_t shard;
	uint32_t type; /* GGUF */
};

struct list {
	struct tensor *t;
	uint32_t nr;
};

static struct tensor *add(struct list *l, const char *fmt, ...) WEIR_PRINTF(2, 3);

static struct tensor *add(struct list *l, const char *fmt, ...)
{
	struct tensor *t = &l->t[l->nr++];
	va_list args;

	if (l->nr > TENSORS)
		abort();
	*t = (struct tensor){.bytes = 2};
	va_start(args, fmt);
	vsnprintf(t->name, sizeof(t->name), fmt, args);
	va_end(args);
	return t;
}

static void dim(struct tensor *t, uint64_t n)
{
	t->dims[t->nr_dims++] = n;
	t->bytes *= n;
}

static void dims1(struct tensor *t, uint64_t a)
{
	dim(t, a);
}

static void dims2(struct tensor *t, uint64_t a, uint64_t b)
{
	dim(t, a);
	dim(t, b);
}

static void dims3(struct tensor *t, uint64_t a, uint64_t b, uint64_t c)
{
	dims2(t, a, b);
	dim(t, c);
}

/* ---- safetensors names -------------------------------------------------------------------- */

static void st_linear(struct list *l, const char *name, uint64_t out, uint64_t in)
{
	dims2(add(l, "%s.weight", name), out, in);
	dims1(add(l, "%s.bias", name), out);
}

static void st_norm(struct list *l, const char *name, uint64_t n)
{
	dims1(add(l, "%s.weight", name), n);
	dims1(add(l, "%s.bias", name), n);
}

static void st_layer(const struct mb_qwen *q, struct list *l, uint32_t n)
{
	uint64_t a = q->heads * 128u, k = q->kv_heads * 128u, h = q->hidden;
	char p[64];

	snprintf(p, sizeof(p), "model.language_model.layers.%u", n);
	dims2(add(l, "%s.self_attn.q_proj.weight", p), a, h);
	dims2(add(l, "%s.self_attn.o_proj.weight", p), h, a);
	dims2(add(l, "%s.self_attn.k_proj.weight", p), k, h);
	dims2(add(l, "%s.self_attn.v_proj.weight", p), k, h);
	dims1(add(l, "%s.self_attn.q_norm.weight", p), 128);
	dims1(add(l, "%s.self_attn.k_norm.weight", p), 128);
	dims1(add(l, "%s.input_layernorm.weight", p), h);
	dims1(add(l, "%s.post_attention_layernorm.weight", p), h);
	if (q->experts != 0) {
		dims2(add(l, "%s.mlp.gate.weight", p), q->experts, h);
		dims3(add(l, "%s.mlp.experts.gate_up_proj", p), q->experts, h, 2u * q->moe_inter);
		dims3(add(l, "%s.mlp.experts.down_proj", p), q->experts, q->moe_inter, h);
	} else {
		dims2(add(l, "%s.mlp.gate_proj.weight", p), q->inter, h);
		dims2(add(l, "%s.mlp.up_proj.weight", p), q->inter, h);
		dims2(add(l, "%s.mlp.down_proj.weight", p), h, q->inter);
	}
}

static void st_merger(const struct mb_qwen *q, struct list *l, const char *p, uint64_t norm)
{
	uint64_t m = 4u * q->v_hidden;
	char name[96];

	snprintf(name, sizeof(name), "%s.norm", p);
	st_norm(l, name, norm);
	snprintf(name, sizeof(name), "%s.linear_fc1", p);
	st_linear(l, name, m, m);
	snprintf(name, sizeof(name), "%s.linear_fc2", p);
	st_linear(l, name, q->v_out, m);
}

static void st_block(const struct mb_qwen *q, struct list *l, uint32_t n)
{
	static const char *const names[] = {"norm1",	 "norm2",	   "attn.qkv",
					    "attn.proj", "mlp.linear_fc1", "mlp.linear_fc2"};
	uint64_t h = q->v_hidden, i = q->v_inter;
	const uint64_t shapes[][2] = {{h, 0}, {h, 0}, {3 * h, h}, {h, h}, {i, h}, {h, i}};

	for (uint32_t k = 0; k < 6; k++) {
		char name[96];

		snprintf(name, sizeof(name), "model.visual.blocks.%u.%s", n, names[k]);
		if (shapes[k][1] == 0)
			st_norm(l, name, shapes[k][0]);
		else
			st_linear(l, name, shapes[k][0], shapes[k][1]);
	}
}

/* In the order in which the published files were split. */
static void st_tensors(const struct mb_qwen *q, struct list *l)
{
	struct tensor *t;

	dims2(add(l, "model.language_model.embed_tokens.weight"), VOCAB, q->hidden);
	for (uint32_t n = 0; n < q->layers; n++)
		st_layer(q, l, n);
	dims1(add(l, "model.language_model.norm.weight"), q->hidden);
	t = add(l, "model.visual.patch_embed.proj.weight");
	dims3(t, q->v_hidden, 3, 2);
	dims2(t, 16, 16);
	dims1(add(l, "model.visual.patch_embed.proj.bias"), q->v_hidden);
	dims2(add(l, "model.visual.pos_embed.weight"), 2304, q->v_hidden);
	for (uint32_t n = 0; n < q->v_depth; n++)
		st_block(q, l, n);
	st_merger(q, l, "model.visual.merger", q->v_hidden);
	for (uint32_t j = 0; j < 3; j++) {
		char p[64];

		snprintf(p, sizeof(p), "model.visual.deepstack_merger_list.%u", j);
		st_merger(q, l, p, 4u * q->v_hidden);
	}
	if (!q->tied)
		dims2(add(l, "lm_head.weight"), VOCAB, q->hidden);
}

static uint32_t split(struct list *l)
{
	uint64_t bytes = 0;
	uint32_t shard = 0;

	for (uint32_t i = 0; i < l->nr; i++) {
		if (bytes != 0 && bytes + l->t[i].bytes > SHARD_BYTES) {
			shard++;
			bytes = 0;
		}
		bytes += l->t[i].bytes;
		l->t[i].shard = shard;
	}
	return shard + 1;
}

static int by_shard_and_name(const void *a, const void *b)
{
	const struct tensor *x = a, *y = b;

	if (x->shard != y->shard)
		return x->shard < y->shard ? -1 : 1;
	return strcmp(x->name, y->name);
}

static void shard_name(char name[64], uint32_t shard, uint32_t nr)
{
	if (nr == 1)
		snprintf(name, 64, "model.safetensors");
	else
		snprintf(name, 64, "model-%05u-of-%05u.safetensors", shard + 1, nr);
}

static int st_file(const struct list *l, const char *dir, uint32_t shard, uint32_t nr)
{
	struct mb_bytes json = {0}, file = {0};
	uint64_t at = 0;
	char name[64];
	int code;

	mb_text(&json, "{\"__metadata__\":{\"format\":\"pt\"}");
	for (uint32_t i = 0; i < l->nr; i++) {
		const struct tensor *t = &l->t[i];

		if (t->shard != shard)
			continue;
		mb_text(&json, ",\"%s\":{\"dtype\":\"BF16\",\"shape\":[", t->name);
		for (uint32_t d = 0; d < t->nr_dims; d++)
			mb_text(&json, "%s%llu", d != 0 ? "," : "", (unsigned long long)t->dims[d]);
		mb_text(&json, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at,
			(unsigned long long)(at + t->bytes));
		at += t->bytes;
	}
	mb_text(&json, "}");
	while (json.n % 8 != 0)
		mb_text(&json, " ");
	mb_u64(&file, json.n);
	mb_put(&file, json.p, json.n);
	shard_name(name, shard, nr);
	code = mb_file(dir, name, &file, file.n + at);
	mb_free(&json);
	mb_free(&file);
	return code;
}

static int st_index(const struct list *l, const char *dir, uint32_t nr)
{
	struct mb_bytes json = {0};
	uint64_t total = 0;
	int code;

	for (uint32_t i = 0; i < l->nr; i++)
		total += l->t[i].bytes;
	mb_text(&json,
		"{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n  \"weight_map\": {\n",
		(unsigned long long)total);
	for (uint32_t i = 0; i < l->nr; i++) {
		char name[64];

		shard_name(name, l->t[i].shard, nr);
		mb_text(&json, "    \"%s\": \"%s\"%s\n", l->t[i].name, name,
			i + 1 < l->nr ? "," : "");
	}
	mb_text(&json, "  }\n}\n");
	code = mb_file(dir, "model.safetensors.index.json", &json, 0);
	mb_free(&json);
	return code;
}

int mb_qwen_st(const struct mb_qwen *q, const char *dir)
{
	struct list l = {.t = calloc(TENSORS, sizeof(struct tensor))};
	char config[256];
	uint32_t nr;
	int code = 0;

	if (l.t == NULL)
		abort();
	st_tensors(q, &l);
	nr = split(&l);
	qsort(l.t, l.nr, sizeof(*l.t), by_shard_and_name);
	for (uint32_t shard = 0; code == 0 && shard < nr; shard++)
		code = st_file(&l, dir, shard, nr);
	if (code == 0 && nr > 1)
		code = st_index(&l, dir, nr);
	snprintf(config, sizeof(config),
		 "{\"text_config\": {}, \"vision_config\": {\"depth\": %u, "
		 "\"deepstack_visual_indexes\": [%u, %u, %u]}}",
		 q->v_depth, q->deepstack[0], q->deepstack[1], q->deepstack[2]);
	if (code == 0)
		code = mb_file_text(dir, "config.json", config);
	free(l.t);
	return code;
}

/* ---- GGUF --------------------------------------------------------------------------------- */

enum {
	F32 = 0,
	F16 = 1,
};

static void gguf_type(struct tensor *t, uint32_t type)
{
	t->type = type;
	t->bytes *= type == F32 ? 2 : 1;
}

static void gguf_pair(struct list *l, const char *name, uint64_t out, uint64_t in)
{
	struct tensor *w = add(l, "%s.weight", name), *b;

	if (in != 0)
		dims2(w, out, in);
	else
		dims1(w, out);
	gguf_type(w, in != 0 ? F16 : F32);
	b = add(l, "%s.bias", name);
	dims1(b, out);
	gguf_type(b, F32);
}

static void gguf_weight(struct list *l, uint32_t n, const char *name, uint64_t out, uint64_t in)
{
	struct tensor *t = add(l, "blk.%u.%s.weight", n, name);

	if (out != 0)
		dims2(t, out, in);
	else
		dims1(t, in);
	gguf_type(t, out != 0 ? F16 : F32);
}

static void gguf_experts(struct list *l, uint32_t n, const char *name, uint64_t e, uint64_t out,
			 uint64_t in)
{
	struct tensor *t = add(l, "blk.%u.%s.weight", n, name);

	dims3(t, e, out, in);
	gguf_type(t, F16);
}

static void gguf_text(const struct mb_qwen *q, struct list *l)
{
	uint64_t a = q->heads * 128u, k = q->kv_heads * 128u, h = q->hidden;
	struct tensor *t;

	if (!q->tied) {
		t = add(l, "output.weight");
		dims2(t, VOCAB, h);
		gguf_type(t, F16);
	}
	t = add(l, "output_norm.weight");
	dims1(t, h);
	gguf_type(t, F32);
	t = add(l, "token_embd.weight");
	dims2(t, VOCAB, h);
	gguf_type(t, F16);
	for (uint32_t n = 0; n < q->layers; n++) {
		gguf_weight(l, n, "attn_k", k, h);
		gguf_weight(l, n, "attn_k_norm", 0, 128);
		gguf_weight(l, n, "attn_norm", 0, h);
		gguf_weight(l, n, "attn_output", h, a);
		gguf_weight(l, n, "attn_q", a, h);
		gguf_weight(l, n, "attn_q_norm", 0, 128);
		gguf_weight(l, n, "attn_v", k, h);
		if (q->experts != 0) {
			gguf_experts(l, n, "ffn_down_exps", q->experts, h, q->moe_inter);
			gguf_experts(l, n, "ffn_gate_exps", q->experts, q->moe_inter, h);
			t = add(l, "blk.%u.ffn_gate_inp.weight", n);
			dims2(t, q->experts, h);
			gguf_type(t, F32);
			gguf_experts(l, n, "ffn_up_exps", q->experts, q->moe_inter, h);
		} else {
			gguf_weight(l, n, "ffn_down", h, q->inter);
			gguf_weight(l, n, "ffn_gate", q->inter, h);
			gguf_weight(l, n, "ffn_up", q->inter, h);
		}
		gguf_weight(l, n, "ffn_norm", 0, h);
	}
}

static void gguf_merger(const struct mb_qwen *q, struct list *l, const char *p, const char *fc1,
			const char *fc2)
{
	uint64_t m = 4u * q->v_hidden;
	char name[96];

	snprintf(name, sizeof(name), "%s%s", p, fc1);
	gguf_pair(l, name, m, m);
	snprintf(name, sizeof(name), "%s%s", p, fc2);
	gguf_pair(l, name, q->v_out, m);
}

static void gguf_vision(const struct mb_qwen *q, struct list *l)
{
	static const char *const blocks[] = {"ln1",	 "ln2",	   "attn_qkv",
					     "attn_out", "ffn_up", "ffn_down"};
	uint64_t h = q->v_hidden, i = q->v_inter;
	const uint64_t shapes[][2] = {{h, 0}, {h, 0}, {3 * h, h}, {h, h}, {i, h}, {h, i}};
	struct tensor *t;
	char name[96];

	gguf_merger(q, l, "mm.", "0", "2");
	t = add(l, "v.patch_embd.bias");
	dims1(t, h);
	gguf_type(t, F32);
	for (int k = 0; k < 2; k++) {
		t = add(l, k == 0 ? "v.patch_embd.weight" : "v.patch_embd.weight.1");
		dims2(t, h, 3);
		dims2(t, 16, 16);
		gguf_type(t, F32);
	}
	t = add(l, "v.position_embd.weight");
	dims2(t, 2304, h);
	gguf_type(t, F32);
	gguf_pair(l, "v.post_ln", h, 0);
	for (uint32_t n = 0; n < q->v_depth; n++) {
		for (uint32_t k = 0; k < 6; k++) {
			snprintf(name, sizeof(name), "v.blk.%u.%s", n, blocks[k]);
			gguf_pair(l, name, shapes[k][0], shapes[k][1]);
		}
	}
	for (uint32_t j = 0; j < 3; j++) {
		snprintf(name, sizeof(name), "v.deepstack.%u.", q->deepstack[j]);
		gguf_merger(q, l, name, "fc1", "fc2");
		snprintf(name, sizeof(name), "v.deepstack.%u.norm", q->deepstack[j]);
		gguf_pair(l, name, 4 * h, 0);
	}
}

static int gguf_file(const struct list *l, const char *dir, const char *name, const char *arch)
{
	struct mb_bytes b = {0};
	uint64_t at = 0;
	int code;

	mb_gguf_head(&b, 3, l->nr, 2);
	mb_gguf_pair_string(&b, "general.architecture", arch);
	mb_gguf_pair_string(&b, "general.name", "test");
	for (uint32_t i = 0; i < l->nr; i++) {
		const struct tensor *t = &l->t[i];
		uint64_t ne[5];

		for (uint32_t d = 0; d < t->nr_dims; d++)
			ne[d] = t->dims[t->nr_dims - 1 - d];
		mb_gguf_tensor(&b, t->name, t->nr_dims, ne, t->type, at);
		at = (at + t->bytes + 31) / 32 * 32;
	}
	mb_gguf_align(&b, 32);
	code = mb_file(dir, name, &b, b.n + at);
	mb_free(&b);
	return code;
}

int mb_qwen_gguf(const struct mb_qwen *q, const char *dir)
{
	struct list l = {.t = calloc(TENSORS, sizeof(struct tensor))};
	int code;

	if (l.t == NULL)
		abort();
	gguf_text(q, &l);
	code = gguf_file(&l, dir, "text.gguf", q->experts != 0 ? "qwen3vlmoe" : "qwen3vl");
	l.nr = 0;
	gguf_vision(q, &l);
	if (code == 0)
		code = gguf_file(&l, dir, "mmproj.gguf", "clip");
	free(l.t);
	return code;
}
