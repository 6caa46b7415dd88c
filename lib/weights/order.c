/* SPDX-License-Identifier: MIT */
/*
 * The order of execution: every tensor gets a position, and neighbours that are used together a
 * group. Vision tower first (patches, blocks with the mergers that tap them, last merger), then
 * embedding, layers by number, final norm, head, and last what no rule places.
 *
 * A model may have several stacks of layers (an encoder, a draft head). Each prefix is a stack of
 * its own: encoders come first, then the one with most tensors, which is the model proper and whose
 * groups are called layers.N; groups of the others carry their prefix.
 *
 * Guarantees: positions are a permutation; the result depends on names, shapes and offsets only.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "weights/place.h"
#include "weights/weights_internal.h"

/* More stacks than any model has; tensors of further ones are placed nowhere. */
#define STACKS_MOST 64u
/* "visual.deepstack." and ten digits. */
#define SHORT_NAME_BYTES 32u

struct stack {
	const char *prefix; /* of a tensor's name */
	uint32_t bytes;
	uint32_t nr; /* tensors in it */
	uint32_t id; /* order of coming */
	uint32_t rank;
	bool encoder;
};

struct key {
	uint64_t group; /* equal within a group */
	uint64_t inner;
	uint32_t entry;
	uint32_t stack;
	struct wr_place place;
};

struct sort {
	struct weir_model *model;
	const struct wr_config *config;
	struct key *key;
	struct stack stack[STACKS_MOST];
	uint32_t nr_stacks;
	uint32_t nr_blocks; /* of the vision tower */
	uint32_t nr_taps;   /* that are numbered by themselves */
};

static const char *name_of(const struct weir_model *model, uint32_t entry)
{
	return wr_names_text(&model->table.names, model->table.entry[entry].name);
}

/* ---- stacks of layers --------------------------------------------------------------------- */

static bool has_encoder(const char *prefix, uint32_t bytes)
{
	return memmem(prefix, bytes, "encoder.", 8) != NULL;
}

/* The stack with this prefix, STACKS_MOST when there are too many. */
static uint32_t find_stack(struct sort *s, const char *name, uint32_t bytes)
{
	uint32_t i;

	for (i = 0; i < s->nr_stacks; i++) {
		if (s->stack[i].bytes == bytes && memcmp(s->stack[i].prefix, name, bytes) == 0)
			return i;
	}
	if (i < STACKS_MOST) {
		s->stack[i] = (struct stack){
			.prefix = name,
			.bytes = bytes,
			.id = i,
			.encoder = has_encoder(name, bytes),
		};
		s->nr_stacks++;
	}
	return i;
}

static int by_rank(const void *a, const void *b)
{
	const struct stack *x = *(const struct stack *const *)a;
	const struct stack *y = *(const struct stack *const *)b;

	if (x->encoder != y->encoder)
		return x->encoder ? -1 : 1;
	if (x->nr != y->nr)
		return x->nr > y->nr ? -1 : 1;
	return x->id < y->id ? -1 : 1;
}

static void rank_stacks(struct sort *s)
{
	struct stack *sorted[STACKS_MOST];

	for (uint32_t i = 0; i < s->nr_stacks; i++)
		sorted[i] = &s->stack[i];
	/* cppcheck-suppress uninitvar ; the loop above set as many as are sorted */
	qsort(sorted, s->nr_stacks, sizeof(sorted[0]), by_rank);
	for (uint32_t i = 0; i < s->nr_stacks; i++)
		sorted[i]->rank = i;
}

/* The stack that is the model proper, whose groups need no prefix. */
static uint32_t main_rank(const struct sort *s)
{
	uint32_t encoders = 0;

	for (uint32_t i = 0; i < s->nr_stacks; i++)
		encoders += s->stack[i].encoder ? 1 : 0;
	return encoders < s->nr_stacks ? encoders : 0;
}

/* ---- keys --------------------------------------------------------------------------------- */

/*
 * Block that merger @index taps when config.json does not say: evenly, each behind an equal part of
 * the tower, as in the published 24-block tower (5, 11, 17). The published 27-block tower has 8,
 * 16, 24, which no such rule gives.
 */
static uint32_t default_tap(const struct sort *s, uint32_t index)
{
	uint64_t at;

	if (s->nr_blocks == 27 && s->nr_taps == 3)
		return (index + 1) * 8;
	at = (uint64_t)(index + 1) * s->nr_blocks / (s->nr_taps + 1);
	return at != 0 ? (uint32_t)at - 1 : 0;
}

static void place_tap(const struct sort *s, struct wr_place *place)
{
	uint32_t index = (uint32_t)place->layer;

	if (s->config != NULL && index < s->config->nr_deepstack)
		place->layer = (int32_t)s->config->deepstack[index];
	else
		place->layer = (int32_t)default_tap(s, index);
}

/* Kinds in the order in which they are used. */
static uint64_t kind_rank(uint8_t kind)
{
	return kind == WEIR_GROUP_OTHER ? WEIR_GROUP_HEAD + 1u : kind;
}

static void make_key(const struct sort *s, struct key *key)
{
	struct wr_place *place = &key->place;
	uint64_t rank = 0;

	if (place->tap_by_index)
		place_tap(s, place);
	if (place->kind == WEIR_GROUP_LAYER)
		rank = s->stack[key->stack].rank;
	key->group = kind_rank(place->kind) << 56 | (uint64_t)place->stage << 52 | rank << 40 |
		     (uint64_t)(uint32_t)(place->layer + 1) << 1 | (place->tap ? 1 : 0);
	key->inner = (uint64_t)place->slot << 48;
	if (place->slot != WR_SLOT_UNKNOWN)
		key->inner |=
			(uint64_t)place->expert << 16 | (uint64_t)place->part << 8 | place->tail;
}

static void place_all(struct sort *s)
{
	for (uint32_t i = 0; i < s->model->table.nr; i++) {
		struct key *key = &s->key[i];
		const char *name = name_of(s->model, i);
		struct wr_place *place = &key->place;

		key->entry = i;
		*place = wr_place_of(name);
		if (place->kind == WEIR_GROUP_LAYER) {
			key->stack = find_stack(s, name, place->prefix);
			if (key->stack < STACKS_MOST)
				s->stack[key->stack].nr++;
			else
				*place = (struct wr_place){.layer = -1, .slot = WR_SLOT_UNKNOWN};
		}
		if (place->stage == WR_STAGE_VISION_BLOCKS && !place->tap)
			s->nr_blocks = wr_max(s->nr_blocks, (uint32_t)place->layer + 1);
		if (place->tap_by_index)
			s->nr_taps = wr_max(s->nr_taps, (uint32_t)place->layer + 1);
	}
	rank_stacks(s);
	for (uint32_t i = 0; i < s->model->table.nr; i++)
		make_key(s, &s->key[i]);
}

static int by_key(const void *a, const void *b)
{
	const struct key *x = a, *y = b;

	if (x->group != y->group)
		return x->group < y->group ? -1 : 1;
	if (x->inner != y->inner)
		return x->inner < y->inner ? -1 : 1;
	return x->entry < y->entry ? -1 : 1;
}

/* ---- groups ------------------------------------------------------------------------------- */

/* Like snprintf(): the length it has, however much of it fits. */
static size_t group_name(const struct sort *s, const struct key *key, char *to, size_t room)
{
	const struct wr_place *place = &key->place;
	const struct stack *stack;
	int n = 0;

	switch (place->kind) {
	case WEIR_GROUP_VISION:
		if (place->stage == WR_STAGE_VISION_BLOCKS)
			n = snprintf(to, room, "visual.%s.%" PRId32,
				     place->tap ? "deepstack" : "blocks", place->layer);
		else
			n = snprintf(to, room, "visual.%s",
				     place->stage == WR_STAGE_VISION_FIRST ? "embed" : "merger");
		break;
	case WEIR_GROUP_LAYER:
		stack = &s->stack[key->stack];
		if (stack->rank == main_rank(s))
			n = snprintf(to, room, "layers.%" PRId32, place->layer);
		else
			n = snprintf(to, room, "%.*s.%" PRId32, (int)stack->bytes, stack->prefix,
				     place->layer);
		break;
	default:
		n = snprintf(to, room, "%s", weir_group_kind_name(place->kind));
		break;
	}
	return (size_t)n;
}

/* Count the groups and the bytes of their names. */
static uint32_t count_groups(const struct sort *s, size_t *ret_text)
{
	uint32_t nr = 0;
	size_t text = 0;

	for (uint32_t i = 0; i < s->model->table.nr; i++) {
		if (i != 0 && s->key[i].group == s->key[i - 1].group)
			continue;
		nr++;
		text += group_name(s, &s->key[i], NULL, 0) + 1;
	}
	*ret_text = text;
	return nr;
}

/* Experts of a stacked tensor are extents of their own when each has whole bytes and rows. */
static uint32_t slices(const struct weir_tensor *t, const struct wr_place *place)
{
	if (!place->stacked || t->nr_dims < 2 || t->bytes == 0 || t->dims[0] > UINT32_MAX ||
	    t->nr_rows % t->dims[0] != 0)
		return 1;
	return (uint32_t)t->dims[0];
}

/*
 * Tensors of one expert each, which stand together in the order of their numbers: experts, when
 * there are two and none is missing. A number alone promises nothing.
 */
static void number_experts(struct sort *s, const struct weir_group *group)
{
	uint32_t next = 0;
	bool whole = true;

	for (uint32_t i = group->first; i < group->first + group->nr; i++) {
		const struct wr_place *place = &s->key[i].place;
		const struct weir_tensor *t = &s->model->table.entry[s->key[i].entry].t;

		if (!place->single || t->bytes == 0)
			continue;
		whole = whole && place->expert <= next && place->expert + 1 >= next;
		next = place->expert == next ? next + 1 : next;
	}
	for (uint32_t i = group->first; i < group->first + group->nr; i++) {
		const struct wr_place *place = &s->key[i].place;
		struct weir_tensor *t = &s->model->table.entry[s->key[i].entry].t;

		if (place->single && t->bytes != 0 && whole && next > 1)
			t->expert = (int32_t)place->expert;
	}
}

static void fill_groups(struct sort *s, size_t text_bytes)
{
	struct weir_model *model = s->model;
	struct weir_group *group = NULL;
	size_t text = 0;

	for (uint32_t i = 0; i < model->table.nr; i++) {
		const struct key *key = &s->key[i];
		struct weir_tensor *t = &model->table.entry[key->entry].t;

		if (i == 0 || key->group != s->key[i - 1].group) {
			group = &model->group[model->nr_groups++];
			*group = (struct weir_group){
				.name = model->group_text + text,
				.kind = key->place.kind,
				.layer = key->place.layer,
				.first = i,
			};
			text += group_name(s, key, model->group_text + text, text_bytes - text) + 1;
		}
		group->nr++;
		group->bytes += t->bytes;
		t->group = model->nr_groups - 1;
		t->position = i;
		t->nr_slices = slices(t, &key->place);
		t->expert = -1;
		model->order[i] = key->entry;
	}
	for (uint32_t g = 0; g < model->nr_groups; g++)
		number_experts(s, &model->group[g]);
}

static int make_groups(struct sort *s)
{
	struct weir_model *model = s->model;
	size_t text_bytes = 0;
	uint32_t nr = count_groups(s, &text_bytes);

	model->order = wr_calloc(model->table.nr, sizeof(*model->order));
	model->group = wr_calloc(nr, sizeof(*model->group));
	model->group_text = wr_malloc(text_bytes);
	if (model->order == NULL || model->group == NULL || model->group_text == NULL)
		return -ENOMEM;
	fill_groups(s, text_bytes);
	wr_assert(model->nr_groups == nr);
	return 0;
}

int wr_order_model(struct weir_model *model, const struct wr_config *config)
{
	struct sort s = {.model = model, .config = config};
	int code;

	s.key = wr_calloc(model->table.nr, sizeof(*s.key));
	if (s.key == NULL)
		return -ENOMEM;
	place_all(&s);
	qsort(s.key, model->table.nr, sizeof(*s.key), by_key);
	code = make_groups(&s);
	wr_free(s.key);
	return code;
}

bool wr_order_needs_config(const struct wr_table *table)
{
	for (uint32_t i = 0; i < table->nr; i++) {
		if (strstr(wr_names_text(&table->names, table->entry[i].name),
			   "deepstack_merger_list.") != NULL)
			return true;
	}
	return false;
}
