/* SPDX-License-Identifier: MIT */
/*
 * GGUF version 3: the text model in one file, the vision tower in an mmproj file beside it.
 *
 * Names, keys, element types and the splitting and transposing of tensors are those of llama.cpp's
 * conversion (conversion/qwen3vl.py@06e514f6, conversion/base.py@00bd27a6 prepare_tensors,
 * tools/mtmd/clip-impl.h@a4492511). Tensors stand in the order in which the conversion meets them:
 * shard by shard of the safetensors checkpoint, by name within each, so layers.10 before layers.2.
 * The data section then has the published number of bytes.
 *
 * There is no tokenizer here to put in: the tokenizer keys are written without the token, merge and
 * type arrays, and the size of the vocabulary as its own key.
 */
#include "mkmodel_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"

enum kv_type {
	KV_U32 = 4,
	KV_I32 = 5,
	KV_F32 = 6,
	KV_BOOL = 7,
	KV_STRING = 8,
	KV_ARRAY = 9,
};

/* The keys of a file and how many they are; arch stands before keys that begin with a dot. */
struct kv {
	struct wr_mk_buf buf;
	const char *arch;
	uint64_t nr;
};

static void put_u32(struct wr_mk_buf *b, uint32_t v)
{
	wr_mk_buf_add(b, &v, sizeof(v));
}

static void put_u64(struct wr_mk_buf *b, uint64_t v)
{
	wr_mk_buf_add(b, &v, sizeof(v));
}

static void put_string(struct wr_mk_buf *b, const char *s)
{
	put_u64(b, strlen(s));
	wr_mk_buf_str(b, s);
}

static void put_key(struct kv *kv, const char *key, enum kv_type type)
{
	const char *arch = key[0] == '.' ? kv->arch : "";

	put_u64(&kv->buf, strlen(arch) + strlen(key));
	wr_mk_buf_str(&kv->buf, arch);
	wr_mk_buf_str(&kv->buf, key);
	put_u32(&kv->buf, (uint32_t)type);
	kv->nr++;
}

static void kv_u32(struct kv *kv, const char *key, uint32_t v)
{
	put_key(kv, key, KV_U32);
	put_u32(&kv->buf, v);
}

static void kv_f32(struct kv *kv, const char *key, float v)
{
	put_key(kv, key, KV_F32);
	wr_mk_buf_add(&kv->buf, &v, sizeof(v));
}

static void kv_bool(struct kv *kv, const char *key, bool v)
{
	unsigned char byte = v;

	put_key(kv, key, KV_BOOL);
	wr_mk_buf_add(&kv->buf, &byte, 1);
}

static void kv_string(struct kv *kv, const char *key, const char *v)
{
	put_key(kv, key, KV_STRING);
	put_string(&kv->buf, v);
}

static void kv_array(struct kv *kv, const char *key, enum kv_type type, uint64_t nr)
{
	put_key(kv, key, KV_ARRAY);
	put_u32(&kv->buf, (uint32_t)type);
	put_u64(&kv->buf, nr);
}

static void print_text_keys(struct kv *kv, const struct wr_mk_model *m, enum wr_mk_dtype type)
{
	static const int32_t sections[4] = {24, 20, 20, 0};

	kv_string(kv, "general.architecture", kv->arch);
	kv_string(kv, "general.type", "model");
	kv_string(kv, "general.name", m->title);
	kv_u32(kv, ".block_count", m->layers);
	kv_u32(kv, ".context_length", 262144);
	kv_u32(kv, ".embedding_length", m->hidden);
	kv_u32(kv, ".feed_forward_length", m->inter);
	kv_u32(kv, ".attention.head_count", m->heads);
	kv_u32(kv, ".attention.head_count_kv", m->kv_heads);
	kv_f32(kv, ".rope.freq_base", 5000000.0f);
	kv_f32(kv, ".attention.layer_norm_rms_epsilon", 1e-6f);
	if (m->experts) {
		kv_u32(kv, ".expert_count", m->experts);
		kv_u32(kv, ".expert_used_count", m->experts_used);
	}
	kv_u32(kv, ".attention.key_length", m->head_dim);
	kv_u32(kv, ".attention.value_length", m->head_dim);
	kv_u32(kv, "general.file_type", wr_mk_dtypes[type].gguf_ftype);
	kv_array(kv, ".rope.dimension_sections", KV_I32, 4);
	wr_mk_buf_add(&kv->buf, sections, sizeof(sections));
	if (m->experts)
		kv_u32(kv, ".expert_feed_forward_length", m->moe_inter);
	kv_u32(kv, ".n_deepstack_layers", m->nr_deepstack);
	kv_u32(kv, ".vocab_size", m->vocab);
	kv_u32(kv, "general.quantization_version", 2);
	kv_string(kv, "tokenizer.ggml.model", "gpt2");
	kv_string(kv, "tokenizer.ggml.pre", "qwen2");
	kv_u32(kv, "tokenizer.ggml.eos_token_id", 151645);
	kv_u32(kv, "tokenizer.ggml.padding_token_id", 151643);
	kv_u32(kv, "tokenizer.ggml.bos_token_id", 151643);
	kv_bool(kv, "tokenizer.ggml.add_bos_token", false);
}

static void print_mmproj_keys(struct kv *kv, const struct wr_mk_model *m, enum wr_mk_dtype type)
{
	static const float half[3] = {0.5f, 0.5f, 0.5f};

	kv_string(kv, "general.architecture", kv->arch);
	kv_string(kv, "general.type", "mmproj");
	kv_string(kv, "general.name", m->title);
	kv_u32(kv, "general.file_type", wr_mk_dtypes[type].gguf_ftype);
	kv_bool(kv, ".has_vision_encoder", true);
	kv_u32(kv, ".vision.projection_dim", m->hidden);
	kv_u32(kv, ".vision.image_size", 768);
	kv_u32(kv, ".vision.patch_size", 16);
	kv_u32(kv, ".vision.embedding_length", m->v_hidden);
	kv_u32(kv, ".vision.feed_forward_length", m->v_inter);
	kv_u32(kv, ".vision.block_count", m->v_depth);
	kv_u32(kv, ".vision.attention.head_count", m->v_heads);
	kv_array(kv, ".vision.image_mean", KV_F32, 3);
	wr_mk_buf_add(&kv->buf, half, sizeof(half));
	kv_array(kv, ".vision.image_std", KV_F32, 3);
	wr_mk_buf_add(&kv->buf, half, sizeof(half));
	kv_string(kv, ".projector_type", "qwen3vl_merger");
	kv_bool(kv, ".use_gelu", true);
	kv_u32(kv, ".vision.spatial_merge_size", 2);
	kv_f32(kv, ".vision.attention.layer_norm_epsilon", 1e-6f);
	kv_array(kv, ".vision.is_deepstack_layers", KV_BOOL, m->v_depth);
	for (uint32_t n = 0; n < m->v_depth; n++) {
		unsigned char is_deepstack = 0;

		for (uint32_t j = 0; j < m->nr_deepstack; j++)
			is_deepstack |= m->deepstack[j] == n;
		wr_mk_buf_add(&kv->buf, &is_deepstack, 1);
	}
	kv_u32(kv, "general.quantization_version", 2);
}

static bool ends_with(const char *s, const char *end)
{
	size_t len = strlen(s), end_len = strlen(end);

	return len >= end_len && !strcmp(s + len - end_len, end);
}

/* Which type a tensor gets in a file of mostly @type. */
static enum wr_mk_dtype dtype_of(const struct wr_mk_tensor *t, enum wr_mk_dtype type)
{
	if (!strncmp(t->name, "v.patch_embd.weight", strlen("v.patch_embd.weight")))
		return type == WR_MK_F16 ? WR_MK_F16 : WR_MK_F32;
	if (t->nr_dims == 1 || ends_with(t->name, "_norm.weight") ||
	    ends_with(t->name, "ffn_gate_inp.weight") ||
	    !strcmp(t->name, "v.position_embd.weight") || !ends_with(t->name, ".weight"))
		return WR_MK_F32;
	if (t->shape[t->nr_dims - 1] % wr_mk_dtypes[type].block_elems)
		return WR_MK_F16; /* rows that are not whole blocks */
	return type;
}

static void finish_tensor(struct wr_mk_tensor *t, enum wr_mk_dtype type)
{
	struct wr_mk_view view = t->view;

	t->dtype = dtype_of(t, type);
	wr_mk_tensor_finish(t);
	t->view = view;
}

/* [h,c,2,p,p] at time @time as [h,c,p,p]. */
static void view_time(struct wr_mk_tensor *t, const struct wr_mk_tensor *src, uint64_t time)
{
	uint64_t patch = src->shape[3] * src->shape[4];

	t->nr_dims = 4;
	t->shape[2] = src->shape[3];
	t->shape[3] = src->shape[4];
	t->shape[4] = 0;
	t->view = (struct wr_mk_view){
		.row_elems = patch, .rows = 1, .outer = 2 * patch, .step = 1, .off = time * patch};
}

/* [e,r,c] as [e,n,r], from column @col on, @nr columns. */
static void view_columns(struct wr_mk_tensor *t, const struct wr_mk_tensor *src, uint64_t col,
			 uint64_t nr)
{
	uint64_t rows = src->shape[1], cols = src->shape[2];

	t->shape[1] = nr;
	t->shape[2] = rows;
	t->view = (struct wr_mk_view){.row_elems = rows,
				      .rows = nr,
				      .outer = rows * cols,
				      .inner = 1,
				      .step = cols,
				      .off = col};
}

static struct wr_mk_tensor *add_named(struct wr_mk_tensors *l, const struct wr_mk_tensor *src,
				      const char *tmpl)
{
	struct wr_mk_tensor *t = wr_mk_tensors_add(l);

	if (!t)
		return NULL;
	*t = *src;
	wr_mk_name(t->name, sizeof(t->name), tmpl, src->gguf_index);
	return t;
}

/* Adds what conversion makes of @src: one tensor or two. */
static void convert(struct wr_mk_tensors *l, const struct wr_mk_tensor *src, enum wr_mk_dtype type)
{
	struct wr_mk_tensor *t = add_named(l, src, src->gguf_tmpl);

	if (!t)
		return;
	switch (src->conv) {
	case WR_MK_CONV_NONE:
		break;
	case WR_MK_CONV_TRANSPOSE:
		view_columns(t, src, 0, src->shape[2]);
		break;
	case WR_MK_CONV_SPLIT_EXPERTS:
		view_columns(t, src, 0, src->shape[2] / 2);
		finish_tensor(t, type);
		t = add_named(l, src, "blk.#.ffn_up_exps.weight");
		if (t)
			view_columns(t, src, src->shape[2] / 2, src->shape[2] / 2);
		break;
	case WR_MK_CONV_SPLIT_TIME:
		view_time(t, src, 0);
		finish_tensor(t, type);
		t = add_named(l, src, "v.patch_embd.weight.1");
		if (t)
			view_time(t, src, 1);
		break;
	}
	if (t)
		finish_tensor(t, type);
}

/* Builds the head of a file from its keys and tensors and lays the tensors out. */
static int finish_file(struct wr_mk_file *f, const struct kv *kv)
{
	struct wr_mk_buf *b = &f->head;
	uint64_t data = 0;

	if (kv->buf.err || f->tensors.err)
		return kv->buf.err ? kv->buf.err : f->tensors.err;
	wr_mk_buf_add(b, "GGUF", 4);
	put_u32(b, 3);
	put_u64(b, f->tensors.nr);
	put_u64(b, kv->nr);
	wr_mk_buf_add(b, kv->buf.data, kv->buf.len);
	for (size_t i = 0; i < f->tensors.nr; i++) {
		struct wr_mk_tensor *t = &f->tensors.v[i];

		put_string(b, t->name);
		put_u32(b, t->nr_dims);
		for (uint32_t d = t->nr_dims; d > 0; d--)
			put_u64(b, t->shape[d - 1]);
		put_u32(b, wr_mk_dtypes[t->dtype].gguf_type);
		put_u64(b, data);
		t->offset = data;
		data = wr_align_up(data + t->bytes, WR_MK_GGUF_ALIGN);
	}
	while (!b->err && b->len % WR_MK_GGUF_ALIGN)
		wr_mk_buf_add(b, "", 1);
	for (size_t i = 0; i < f->tensors.nr; i++)
		f->tensors.v[i].offset += b->len;
	f->bytes = b->len + data;
	return b->err;
}

struct gguf_file {
	const char *prefix; /* of the file's name */
	const char *arch;
	bool vision;
	void (*print_keys)(struct kv *kv, const struct wr_mk_model *m, enum wr_mk_dtype type);
};

static int add_file(const struct gguf_file *g, const struct wr_mk_model *m,
		    const struct wr_mk_plan *shards, enum wr_mk_dtype type, struct wr_mk_plan *p)
{
	struct kv kv = {.arch = g->arch};
	char name[WR_MK_NAME_BYTES];
	struct wr_mk_file *f;
	int ret;

	snprintf(name, sizeof(name), "%s%s-%s.gguf", g->prefix, m->title, wr_mk_dtypes[type].name);
	f = wr_mk_plan_add(p, name);
	if (!f)
		return -ENOMEM;
	g->print_keys(&kv, m, type);
	for (size_t i = 0; i < shards->nr_files; i++) {
		const struct wr_mk_tensors *l = &shards->files[i].tensors;

		for (size_t k = 0; k < l->nr; k++) {
			bool vision = !strncmp(l->v[k].name, "model.visual.", 13);

			if (vision == g->vision)
				convert(&f->tensors, &l->v[k], type);
		}
	}
	ret = finish_file(f, &kv);
	wr_mk_buf_fini(&kv.buf);
	return ret;
}

int wr_mk_gguf_plan(const struct wr_mk_model *m, const struct wr_mk_tensors *all,
		    enum wr_mk_dtype type, struct wr_mk_plan *p)
{
	const struct gguf_file text = {"", m->experts ? "qwen3vlmoe" : "qwen3vl", false,
				       print_text_keys};
	const struct gguf_file mmproj = {"mmproj-", "clip", true, print_mmproj_keys};
	struct wr_mk_plan shards = {0};
	int ret = wr_mk_st_plan(all, WR_MK_SHARD_BYTES, &shards);

	if (!ret)
		ret = add_file(&text, m, &shards, type, p);
	if (!ret)
		ret = add_file(&mmproj, m, &shards, type, p);
	wr_mk_plan_fini(&shards);
	return ret;
}
