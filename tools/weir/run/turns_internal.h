/* SPDX-License-Identifier: MIT */
/* What the parts of a run of turns share: routing, KV blocks, trace. See turns.h. */
#ifndef WR_TOOLS_TURNS_INTERNAL_H
#define WR_TOOLS_TURNS_INTERNAL_H

#include <stdio.h>

#include "route.h"
#include "turns.h"

/* More experts of one layer and token than this are not used. */
#define WR_TURNS_MAX_CHOSEN 256u

/* ---- turns_route.c: which experts a token uses ---- */

/* Experts of a group of a model. */
uint32_t wr_turns_nr_experts(const struct weir_model *model, const struct weir_group *group);

struct wr_turns_routing {
	struct wr_route route;
	uint32_t *tokens; /* first visit of each, one more than there are */
	uint32_t nr_tokens;
	uint32_t nr_layers;  /* of the model */
	uint32_t nr_experts; /* of each */
	uint32_t nr_chosen;  /* the most */
	uint64_t random;     /* of what the host foresees wrongly */
};

/*
 * Read or generate a routing for a model of that shape. One of another shape is folded: layers that
 * the model has not are left out, experts are counted modulo.
 */
int wr_turns_routing_open(const struct wr_turns *t, uint32_t nr_layers, uint32_t nr_experts,
			  struct wr_turns_routing *ret, struct weir_error *err);
void wr_turns_routing_close(struct wr_turns_routing *r);
/* How many; after the last token comes the first again. */
uint32_t wr_turns_chosen(const struct wr_turns_routing *r, uint64_t token, uint32_t layer,
			 uint32_t *ret);
/* What a host would say of it that is right @permille times in a thousand. */
uint32_t wr_turns_foreseen(struct wr_turns_routing *r, uint64_t token, uint32_t layer,
			   uint32_t permille, uint32_t *ret);

/* ---- turns_trace.c: what the cache was asked for ---- */

struct wr_turns_trace {
	FILE *file; /* NULL: none is written */
	const char *path;
	uint64_t begin_ns;
	uint64_t nr;
};

int wr_turns_trace_open(const char *path, struct wr_turns_trace *ret, struct weir_error *err);
void wr_turns_trace_add(struct wr_turns_trace *trace, uint32_t class_id, const char *name,
			uint64_t bytes);
/* 0, or why not all is in the file. */
int wr_turns_trace_close(struct wr_turns_trace *trace, struct weir_error *err);

/* ---- turns_kv.c: what must not be lost ---- */

struct wr_turns_blocks {
	struct weir_cache *cache;
	struct wr_turns_trace *trace;
	uint64_t nr, bytes;
	uint64_t nr_put;
	uint64_t *words; /* one block */
	struct wr_turns_kv *counts;
};

int wr_turns_blocks_open(const struct wr_turns *t, struct weir_cache *cache,
			 struct wr_turns_trace *trace, struct wr_turns_kv *counts,
			 struct wr_turns_blocks *ret, struct weir_error *err);
void wr_turns_blocks_close(struct wr_turns_blocks *b);
/* Put those that are due after @done of @all tokens. */
int wr_turns_blocks_put(struct wr_turns_blocks *b, uint64_t done, uint64_t all,
			struct weir_error *err);
/* Get those from @first to before @end back and compare them. */
int wr_turns_blocks_check(struct wr_turns_blocks *b, uint64_t first, uint64_t end,
			  struct weir_error *err);

/* ---- turns_rows.c: tables of which a token uses a row ---- */

#define WR_TURNS_MAX_TABLES 8u

struct wr_turns_tables {
	uint32_t nr;
	uint32_t most_rows; /* at once */
	const struct weir_tensor *tensors[WR_TURNS_MAX_TABLES];
	struct weir_rows *rows[WR_TURNS_MAX_TABLES]; /* NULL: over a mapping */
	uint64_t *numbers;			     /* of the rows drawn last */
	char *to;
	uint64_t random;
	uint64_t least_bytes, table_bytes;
	uint64_t ns;
};

/* Those that the plan's rules name. 0, -EINVAL. */
int wr_turns_rows_find(const struct wr_turns *t, const struct weir_model *model,
		       struct wr_turns_tables *ret, struct weir_error *err);
/* What of a budget is theirs. */
uint64_t wr_turns_rows_bytes(const struct wr_turns_tables *s, uint64_t budget_bytes);
/* @weir NULL: over a mapping. Closed also when this fails. */
int wr_turns_rows_open(struct wr_turns_tables *s, struct weir *weir, const struct weir_model *model,
		       struct weir_error *err);
void wr_turns_rows_close(struct wr_turns_tables *s);
/* Draw @nr rows of a table, at most most_rows, and get them. */
int wr_turns_rows_draw(struct wr_turns_tables *s, uint32_t table, uint32_t nr,
		       struct weir_error *err);
/* Row @i of those drawn last; @base: the table in a mapping, or NULL. */
struct weir_view wr_turns_rows_view(const struct wr_turns_tables *s, uint32_t table, uint32_t i,
				    const void *base);
void wr_turns_rows_note(const struct wr_turns_tables *s, struct wr_turns_rows *ret);

#endif /* WR_TOOLS_TURNS_INTERNAL_H */
