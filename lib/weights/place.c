/* SPDX-License-Identifier: MIT */
/*
 * From a tensor's name to its place in the forward pass.
 *
 * A name is components between dots. One that has `layers.N`, `blk.N`, `h.N` or `blocks.N` belongs
 * to layer N; a table knows the order within a layer for the names of Qwen3-VL and its relatives,
 * in the spelling of huggingface/transformers (models/qwen3_vl/modeling_qwen3_vl.py,
 * models/qwen3_vl_moe) and of llama.cpp (gguf-py/gguf/tensor_mapping.py, constants.py); what it
 * does not know comes after, in file order. Without a layer it is part of the vision tower, the
 * embedding, the final norm, the head, or something else.
 *
 * A wrong guess costs order, never correctness: a plan that names its tensors finds them by name.
 */
#include "weights/place.h"

#include <stdlib.h>
#include <string.h>

#include <weir/weights.h>

#include "base/util.h"

#define COMPONENTS 16u

struct piece {
	const char *p;
	uint32_t bytes;
};

struct parts {
	struct piece c[COMPONENTS];
	uint32_t nr; /* without the tail */
	uint8_t tail;
};

/* Most words differ in the first letter, so this is no call. */
static inline bool is(const struct piece *piece, const char *word)
{
	for (uint32_t i = 0; i < piece->bytes; i++) {
		if (word[i] != piece->p[i])
			return false;
	}
	return word[piece->bytes] == '\0';
}

static bool begins(const struct piece *piece, const char *word)
{
	size_t n = strlen(word);

	return n <= piece->bytes && memcmp(piece->p, word, n) == 0;
}

static bool is_one_of(const struct piece *piece, const char *const *words, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		if (is(piece, words[i]))
			return true;
	}
	return false;
}

/* The value of a component of up to seven digits, -1 for any other. */
static int32_t number(const struct piece *piece)
{
	int32_t value = 0;

	if (piece->bytes == 0 || piece->bytes > 7)
		return -1;
	for (uint32_t i = 0; i < piece->bytes; i++) {
		if (piece->p[i] < '0' || piece->p[i] > '9')
			return -1;
		value = value * 10 + (piece->p[i] - '0');
	}
	return value;
}

static void split(const char *name, struct parts *parts)
{
	const char *p = name;

	parts->nr = 0;
	while (parts->nr < COMPONENTS) {
		const char *dot = strchrnul(p, '.');

		parts->c[parts->nr++] = (struct piece){p, (uint32_t)(dot - p)};
		if (*dot == '\0')
			break;
		p = dot + 1;
	}
}

/* Take off what says which tensor of a module it is: weight, weight.1, bias, scales. */
static void split_tail(struct parts *parts)
{
	static const char *const scales[] = {
		"scale",	  "scales",	   "weight_scale", "weight_scale_inv",
		"weight_scale_2", "qzeros",	   "qweight",	   "input_scale",
		"g_idx",	  "weight_packed",
	};
	const struct piece *last = &parts->c[parts->nr - 1];
	int32_t n = number(last);

	parts->tail = 0;
	if (n >= 0 && parts->nr > 2 && is(last - 1, "weight")) {
		parts->tail = (uint8_t)wr_min(n, 49);
		parts->nr -= 2;
	} else if (parts->nr > 1 && is(last, "weight")) {
		parts->nr--;
	} else if (parts->nr > 1 && is(last, "bias")) {
		parts->tail = 100;
		parts->nr--;
	} else if (parts->nr > 1 && is_one_of(last, scales, wr_array_size(scales))) {
		parts->tail = 50;
		parts->nr--;
	}
}

/* ---- within a layer ----------------------------------------------------------------------- */

struct slot {
	const char *path;
	uint16_t slot;
};

/*
 * Order of use in one layer. Attention: norm, query, key, value, output; then norm, router,
 * experts, shared expert, dense block. Vision blocks have the same shape.
 */
static const struct slot slots[] = {
	{"input_layernorm", 10},
	{"attn_norm", 10},
	{"norm1", 10},
	{"ln1", 10},
	{"ln_1", 10},
	{"layer_norm1", 10},
	{"self_attn.q_proj", 20},
	{"self_attn.qkv_proj", 20},
	{"attn_q", 20},
	{"attn_qkv", 20},
	{"attn.qkv", 20},
	{"attn.c_attn", 20},
	{"self_attn.q_norm", 21},
	{"attn_q_norm", 21},
	{"self_attn.k_proj", 22},
	{"attn_k", 22},
	{"self_attn.k_norm", 23},
	{"attn_k_norm", 23},
	{"self_attn.v_proj", 24},
	{"attn_v", 24},
	{"self_attn.o_proj", 30},
	{"attn_output", 30},
	{"attn_out", 30},
	{"attn.proj", 30},
	{"attn.c_proj", 30},
	{"post_attention_norm", 35},
	{"post_attention_layernorm", 40},
	{"ffn_norm", 40},
	{"norm2", 40},
	{"ln2", 40},
	{"ln_2", 40},
	{"layer_norm2", 40},
	{"pre_feedforward_layernorm", 41},
	{"mlp.gate", 50},
	{"mlp.router", 50},
	{"block_sparse_moe.gate", 50},
	{"ffn_gate_inp", 50},
	{"mlp.experts.gate_up_proj", 60},
	{"ffn_gate_exps", 60},
	{"ffn_gate_up_exps", 60},
	{"ffn_up_exps", 61},
	{"mlp.experts.down_proj", 62},
	{"ffn_down_exps", 62},
	{"mlp.shared_expert_gate", 69},
	{"ffn_gate_inp_shexp", 69},
	{"mlp.shared_expert.gate_proj", 70},
	{"mlp.shared_experts.gate_proj", 70},
	{"ffn_gate_shexp", 70},
	{"mlp.shared_expert.up_proj", 71},
	{"mlp.shared_experts.up_proj", 71},
	{"ffn_up_shexp", 71},
	{"mlp.shared_expert.down_proj", 72},
	{"mlp.shared_experts.down_proj", 72},
	{"ffn_down_shexp", 72},
	{"mlp.gate_proj", 80},
	{"mlp.gate_up_proj", 80},
	{"ffn_gate", 80},
	{"mlp.up_proj", 81},
	{"mlp.linear_fc1", 81},
	{"mlp.fc1", 81},
	{"fc1", 81},
	{"mlp.c_fc", 81},
	{"ffn_up", 81},
	{"mlp.down_proj", 82},
	{"mlp.linear_fc2", 82},
	{"mlp.fc2", 82},
	{"fc2", 82},
	{"mlp.c_proj", 82},
	{"ffn_down", 82},
	{"post_feedforward_layernorm", 90},
	{"post_ffw_norm", 90},
};

#define SLOT_EXPERTS 60u

static uint16_t slot_of(const char *path, uint32_t bytes)
{
	const struct piece piece = {path, bytes};

	for (size_t i = 0; i < wr_array_size(slots); i++) {
		if (is(&piece, slots[i].path))
			return slots[i].slot;
	}
	return WR_SLOT_UNKNOWN;
}

/* Which part of an expert: gate, up, down; Mixtral calls them w1, w3, w2. */
static uint8_t part_of(const struct piece *piece)
{
	if (is(piece, "gate_proj") || is(piece, "w1"))
		return 0;
	if (is(piece, "up_proj") || is(piece, "w3"))
		return 1;
	return is(piece, "down_proj") || is(piece, "w2") ? 2 : 3;
}

/* The place within a layer of the components from @from on. */
static void place_in_layer(const struct parts *parts, uint32_t from, struct wr_place *place)
{
	const struct piece *first = &parts->c[from], *last = &parts->c[parts->nr - 1];

	place->slot = WR_SLOT_UNKNOWN;
	if (from >= parts->nr)
		return;
	for (uint32_t i = from; i < parts->nr; i++) {
		int32_t expert = i + 1 < parts->nr ? number(&parts->c[i + 1]) : -1;

		if (!is(&parts->c[i], "experts"))
			continue;
		place->stacked = expert < 0;
		if (expert >= 0) {
			place->slot = SLOT_EXPERTS;
			place->single = true;
			place->expert = (uint32_t)expert;
			place->part = part_of(last);
			return;
		}
	}
	if (last->bytes > 5 && memcmp(last->p + last->bytes - 5, "_exps", 5) == 0)
		place->stacked = true;
	place->slot = slot_of(first->p, (uint32_t)(last->p - first->p) + last->bytes);
}

/* The component that numbers a layer, 0 when none does. */
static uint32_t find_layer(const struct parts *parts, uint32_t from)
{
	static const char *const words[] = {"layers", "layer",	   "blk", "blocks",
					    "block",  "resblocks", "h"};

	for (uint32_t i = from; i + 1 < parts->nr; i++) {
		if (is_one_of(&parts->c[i], words, wr_array_size(words)) &&
		    number(&parts->c[i + 1]) >= 0)
			return i + 1;
	}
	return 0;
}

/* ---- vision ------------------------------------------------------------------------------- */

/* How many components say that it is of the vision tower; 0: it is not. */
static uint32_t vision_prefix(const struct parts *parts)
{
	static const char *const words[] = {
		"visual",	   "vision_tower",	    "vision_model", "vision_encoder",
		"vision_backbone", "multi_modal_projector", "mm_projector",
	};

	if (parts->nr > 1 && is(&parts->c[0], "v"))
		return 1;
	/* Projectors of GGUF files have no further name than their number: keep it. */
	if (parts->nr > 1 && is(&parts->c[0], "mm"))
		return 1;
	for (uint32_t i = 0; i < wr_min(parts->nr, 3u); i++) {
		if (is_one_of(&parts->c[i], words, wr_array_size(words)))
			return i + 1;
	}
	return 0;
}

/* Patches and positions: the place among them, or unknown. */
static uint16_t slot_of_first(const struct parts *parts, uint32_t from)
{
	static const struct slot words[] = {
		{"patch_emb", 10}, {"conv1", 10},	 {"class_emb", 11}, {"cls_token", 11},
		{"pos_emb", 12},   {"position_emb", 12}, {"pre_l", 13},	    {"embeddings", 14},
	};

	for (size_t w = 0; w < wr_array_size(words); w++) {
		for (uint32_t i = from; i < parts->nr; i++) {
			if (begins(&parts->c[i], words[w].path))
				return words[w].slot;
		}
	}
	return WR_SLOT_UNKNOWN;
}

/* Mergers: a norm and two linear layers, which some number 0 and 2. */
static uint16_t slot_of_merger(const struct piece *last)
{
	static const struct slot words[] = {
		{"norm", 10}, {"post_ln", 10}, {"post_layernorm", 10}, {"ln_q", 10},
		{"fc1", 21},  {"fc2", 22},     {"linear_fc1", 21},     {"linear_fc2", 22},
	};
	int32_t n = number(last);

	if (n >= 0)
		return (uint16_t)(20 + wr_min(n, 100));
	for (size_t w = 0; w < wr_array_size(words); w++) {
		if (is(last, words[w].path))
			return words[w].slot;
	}
	return WR_SLOT_UNKNOWN;
}

static void place_vision(const struct parts *parts, uint32_t from, struct wr_place *place)
{
	uint32_t layer = find_layer(parts, from);

	place->kind = WEIR_GROUP_VISION;
	for (uint32_t i = from; i + 1 < parts->nr; i++) {
		bool list = is(&parts->c[i], "deepstack_merger_list");
		int32_t n = number(&parts->c[i + 1]);

		if ((list || is(&parts->c[i], "deepstack")) && n >= 0) {
			place->stage = WR_STAGE_VISION_BLOCKS;
			place->tap = true;
			place->tap_by_index = list;
			place->layer = n;
			place->slot = slot_of_merger(&parts->c[parts->nr - 1]);
			return;
		}
	}
	if (layer != 0) {
		place->stage = WR_STAGE_VISION_BLOCKS;
		place->layer = number(&parts->c[layer]);
		place_in_layer(parts, layer + 1, place);
		return;
	}
	place->stage = WR_STAGE_VISION_FIRST;
	place->slot = slot_of_first(parts, from);
	if (place->slot != WR_SLOT_UNKNOWN)
		return;
	place->stage = WR_STAGE_VISION_LAST;
	place->slot = slot_of_merger(&parts->c[parts->nr - 1]);
}

/* ---- text without a layer ----------------------------------------------------------------- */

static void place_rest(const struct parts *parts, struct wr_place *place)
{
	static const struct slot embeds[] = {
		{"embed_tokens", 10},
		{"token_embd", 10},
		{"tok_embeddings", 10},
		{"wte", 10},
		{"word_embeddings", 10},
		{"embed_in", 10},
		{"wpe", 11},
		{"position_embd", 11},
		{"embed_positions", 11},
		{"position_embeddings", 11},
		{"token_type_embeddings", 12},
		{"token_types", 12},
		{"token_embd_norm", 13},
		{"rope_freqs", 14},
	};
	static const char *const norms[] = {
		"norm",	      "output_norm",	 "ln_f", "final_layernorm", "norm_f",
		"final_norm", "final_layer_norm"};
	static const char *const heads[] = {"lm_head", "embed_out", "output"};
	const struct piece *last = &parts->c[parts->nr - 1];

	for (size_t i = 0; i < wr_array_size(embeds); i++) {
		if (is(last, embeds[i].path)) {
			place->kind = WEIR_GROUP_EMBED;
			place->slot = embeds[i].slot;
			return;
		}
	}
	if (is_one_of(last, norms, wr_array_size(norms)))
		place->kind = WEIR_GROUP_NORM;
	else if (is_one_of(last, heads, wr_array_size(heads)))
		place->kind = WEIR_GROUP_HEAD;
}

struct wr_place wr_place_of(const char *name)
{
	struct wr_place place = {
		.kind = WEIR_GROUP_OTHER,
		.layer = -1,
		.slot = WR_SLOT_UNKNOWN,
	};
	struct parts parts;
	uint32_t vision, layer;

	split(name, &parts);
	split_tail(&parts);
	place.tail = parts.tail;
	vision = vision_prefix(&parts);
	if (vision != 0) {
		place_vision(&parts, vision, &place);
		return place;
	}
	layer = find_layer(&parts, 0);
	if (layer == 0) {
		place_rest(&parts, &place);
		return place;
	}
	place.kind = WEIR_GROUP_LAYER;
	place.layer = number(&parts.c[layer]);
	place.prefix = (uint32_t)(parts.c[layer].p - name) - 1;
	place_in_layer(&parts, layer + 1, &place);
	return place;
}
