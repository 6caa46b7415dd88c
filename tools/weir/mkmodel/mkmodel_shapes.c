/* SPDX-License-Identifier: MIT */
/*
 * The tensors of a Qwen3-VL checkpoint: names, shapes and the order in which the published files
 * were filled with them.
 *
 * Rows are data: a name with '#' where the layer, block or merger is counted, a letter per
 * dimension, the name that llama.cpp's conversion gives the tensor, and what it does to it.
 * Sources: transformers modeling_qwen3_vl.py@68a7b7e2, modeling_qwen3_vl_moe.py@ede92a87;
 * llama.cpp gguf-py/gguf/tensor_mapping.py@0024aa74, conversion/qwen3vl.py@06e514f6.
 *
 * The order inside a layer is known only as far as the sizes of published shards reveal it: q and o
 * before the rest, and everything before the MLP. Within those bounds it is a choice.
 */
#include "mkmodel_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"

struct row {
	const char *name;
	const char *dims;
	const char *gguf;
	enum wr_mk_conv conv;
	bool is_norm;
};

#define LM "model.language_model."
#define LY LM "layers.#."
#define VI "model.visual."
#define BK VI "blocks.#."
#define DS VI "deepstack_merger_list.#."

static const struct row embed_rows[] = {
	{LM "embed_tokens.weight", "VH", "token_embd.weight", WR_MK_CONV_NONE, false},
};

static const struct row layer_rows[] = {
	{LY "self_attn.q_proj.weight", "AH", "blk.#.attn_q.weight", WR_MK_CONV_NONE, false},
	{LY "self_attn.o_proj.weight", "HA", "blk.#.attn_output.weight", WR_MK_CONV_NONE, false},
	{LY "self_attn.k_proj.weight", "KH", "blk.#.attn_k.weight", WR_MK_CONV_NONE, false},
	{LY "self_attn.v_proj.weight", "KH", "blk.#.attn_v.weight", WR_MK_CONV_NONE, false},
	{LY "self_attn.q_norm.weight", "D", "blk.#.attn_q_norm.weight", WR_MK_CONV_NONE, true},
	{LY "self_attn.k_norm.weight", "D", "blk.#.attn_k_norm.weight", WR_MK_CONV_NONE, true},
	{LY "input_layernorm.weight", "H", "blk.#.attn_norm.weight", WR_MK_CONV_NONE, true},
	{LY "post_attention_layernorm.weight", "H", "blk.#.ffn_norm.weight", WR_MK_CONV_NONE, true},
};

static const struct row dense_rows[] = {
	{LY "mlp.gate_proj.weight", "IH", "blk.#.ffn_gate.weight", WR_MK_CONV_NONE, false},
	{LY "mlp.up_proj.weight", "IH", "blk.#.ffn_up.weight", WR_MK_CONV_NONE, false},
	{LY "mlp.down_proj.weight", "HI", "blk.#.ffn_down.weight", WR_MK_CONV_NONE, false},
};

/* Experts are stored input-major, against the manner of nn.Linear, and without ".weight". */
static const struct row moe_rows[] = {
	{LY "mlp.gate.weight", "EH", "blk.#.ffn_gate_inp.weight", WR_MK_CONV_NONE, false},
	{LY "mlp.experts.gate_up_proj", "EHG", "blk.#.ffn_gate_exps.weight",
	 WR_MK_CONV_SPLIT_EXPERTS, false},
	{LY "mlp.experts.down_proj", "EFH", "blk.#.ffn_down_exps.weight", WR_MK_CONV_TRANSPOSE,
	 false},
};

static const struct row norm_rows[] = {
	{LM "norm.weight", "H", "output_norm.weight", WR_MK_CONV_NONE, true},
};

static const struct row vision_rows[] = {
	{VI "patch_embed.proj.weight", "hctpp", "v.patch_embd.weight", WR_MK_CONV_SPLIT_TIME,
	 false},
	{VI "patch_embed.proj.bias", "h", "v.patch_embd.bias", WR_MK_CONV_NONE, false},
	{VI "pos_embed.weight", "nh", "v.position_embd.weight", WR_MK_CONV_NONE, false},
};

static const struct row block_rows[] = {
	{BK "norm1.weight", "h", "v.blk.#.ln1.weight", WR_MK_CONV_NONE, true},
	{BK "norm1.bias", "h", "v.blk.#.ln1.bias", WR_MK_CONV_NONE, false},
	{BK "norm2.weight", "h", "v.blk.#.ln2.weight", WR_MK_CONV_NONE, true},
	{BK "norm2.bias", "h", "v.blk.#.ln2.bias", WR_MK_CONV_NONE, false},
	{BK "attn.qkv.weight", "qh", "v.blk.#.attn_qkv.weight", WR_MK_CONV_NONE, false},
	{BK "attn.qkv.bias", "q", "v.blk.#.attn_qkv.bias", WR_MK_CONV_NONE, false},
	{BK "attn.proj.weight", "hh", "v.blk.#.attn_out.weight", WR_MK_CONV_NONE, false},
	{BK "attn.proj.bias", "h", "v.blk.#.attn_out.bias", WR_MK_CONV_NONE, false},
	{BK "mlp.linear_fc1.weight", "ih", "v.blk.#.ffn_up.weight", WR_MK_CONV_NONE, false},
	{BK "mlp.linear_fc1.bias", "i", "v.blk.#.ffn_up.bias", WR_MK_CONV_NONE, false},
	{BK "mlp.linear_fc2.weight", "hi", "v.blk.#.ffn_down.weight", WR_MK_CONV_NONE, false},
	{BK "mlp.linear_fc2.bias", "h", "v.blk.#.ffn_down.bias", WR_MK_CONV_NONE, false},
};

static const struct row merger_rows[] = {
	{VI "merger.norm.weight", "h", "v.post_ln.weight", WR_MK_CONV_NONE, true},
	{VI "merger.norm.bias", "h", "v.post_ln.bias", WR_MK_CONV_NONE, false},
	{VI "merger.linear_fc1.weight", "mm", "mm.0.weight", WR_MK_CONV_NONE, false},
	{VI "merger.linear_fc1.bias", "m", "mm.0.bias", WR_MK_CONV_NONE, false},
	{VI "merger.linear_fc2.weight", "Hm", "mm.2.weight", WR_MK_CONV_NONE, false},
	{VI "merger.linear_fc2.bias", "H", "mm.2.bias", WR_MK_CONV_NONE, false},
};

/* Unlike the main merger's, these norms come after the 2x2 shuffle: m wide. */
static const struct row deepstack_rows[] = {
	{DS "norm.weight", "m", "v.deepstack.#.norm.weight", WR_MK_CONV_NONE, true},
	{DS "norm.bias", "m", "v.deepstack.#.norm.bias", WR_MK_CONV_NONE, false},
	{DS "linear_fc1.weight", "mm", "v.deepstack.#.fc1.weight", WR_MK_CONV_NONE, false},
	{DS "linear_fc1.bias", "m", "v.deepstack.#.fc1.bias", WR_MK_CONV_NONE, false},
	{DS "linear_fc2.weight", "Hm", "v.deepstack.#.fc2.weight", WR_MK_CONV_NONE, false},
	{DS "linear_fc2.bias", "H", "v.deepstack.#.fc2.bias", WR_MK_CONV_NONE, false},
};

static const struct row head_rows[] = {
	{"lm_head.weight", "VH", "output.weight", WR_MK_CONV_NONE, false},
};

/* What a letter of a row's dims means for a model. */
static uint64_t dim_of(const struct wr_mk_model *m, char letter)
{
	switch (letter) {
	case 'V':
		return m->vocab;
	case 'H':
		return m->hidden;
	case 'A':
		return (uint64_t)m->heads * m->head_dim;
	case 'K':
		return (uint64_t)m->kv_heads * m->head_dim;
	case 'D':
		return m->head_dim;
	case 'I':
		return m->inter;
	case 'E':
		return m->experts;
	case 'F':
		return m->moe_inter;
	case 'G':
		return 2 * (uint64_t)m->moe_inter;
	case 'h':
		return m->v_hidden;
	case 'i':
		return m->v_inter;
	case 'q':
		return 3 * (uint64_t)m->v_hidden;
	case 'm':
		return 4 * (uint64_t)m->v_hidden;
	case 'n':
		return 2304;
	case 'c':
		return 3;
	case 't':
		return 2;
	case 'p':
		return 16;
	default:
		return 0;
	}
}

void wr_mk_name(char *ret, size_t size, const char *tmpl, uint32_t index)
{
	const char *hash = strchr(tmpl, '#');

	if (hash)
		snprintf(ret, size, "%.*s%u%s", (int)(hash - tmpl), tmpl, index, hash + 1);
	else
		snprintf(ret, size, "%s", tmpl);
}

void wr_mk_tensor_finish(struct wr_mk_tensor *t)
{
	const struct wr_mk_dtype_info *type = &wr_mk_dtypes[t->dtype];

	t->elems = 1;
	for (uint32_t d = 0; d < t->nr_dims; d++)
		t->elems *= t->shape[d];
	t->bytes = t->elems / type->block_elems * type->block_bytes;
	t->view = (struct wr_mk_view){.row_elems = t->elems, .rows = 1, .step = 1};
}

struct walk {
	const struct wr_mk_model *model;
	uint64_t seed;
	struct wr_mk_tensors *list;
};

static void add_rows(const struct walk *w, const struct row *rows, size_t nr, uint32_t index,
		     uint32_t gguf_index)
{
	for (size_t i = 0; i < nr; i++) {
		struct wr_mk_tensor *t = wr_mk_tensors_add(w->list);

		if (!t)
			return;
		wr_mk_name(t->name, sizeof(t->name), rows[i].name, index);
		t->gguf_tmpl = rows[i].gguf;
		t->index = index;
		t->gguf_index = gguf_index;
		t->conv = rows[i].conv;
		t->is_norm = rows[i].is_norm;
		t->dtype = WR_MK_BF16;
		t->nr_dims = (uint32_t)strlen(rows[i].dims);
		for (uint32_t d = 0; d < t->nr_dims; d++)
			t->shape[d] = dim_of(w->model, rows[i].dims[d]);
		t->key = wr_mk_key(w->seed, t->name);
		wr_mk_tensor_finish(t);
	}
}

#define ADD(w, rows, index, gguf_index) add_rows(w, rows, wr_array_size(rows), index, gguf_index)

int wr_mk_shapes(const struct wr_mk_model *m, uint64_t seed, struct wr_mk_tensors *ret)
{
	struct wr_mk_tensors list = {0};
	struct walk w = {.model = m, .seed = seed, .list = &list};

	ADD(&w, embed_rows, 0, 0);
	for (uint32_t n = 0; n < m->layers; n++) {
		ADD(&w, layer_rows, n, n);
		if (m->experts)
			ADD(&w, moe_rows, n, n);
		else
			ADD(&w, dense_rows, n, n);
	}
	ADD(&w, norm_rows, 0, 0);
	ADD(&w, vision_rows, 0, 0);
	for (uint32_t n = 0; n < m->v_depth; n++)
		ADD(&w, block_rows, n, n);
	ADD(&w, merger_rows, 0, 0);
	for (uint32_t j = 0; j < m->nr_deepstack; j++)
		ADD(&w, deepstack_rows, j, m->deepstack[j]);
	if (!m->tied)
		ADD(&w, head_rows, 0, 0);
	if (list.err) {
		int err = list.err;

		wr_mk_tensors_fini(&list);
		return err;
	}
	*ret = list;
	return 0;
}
