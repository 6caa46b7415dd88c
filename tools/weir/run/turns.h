/* SPDX-License-Identifier: MIT */
/*
 * turns.h - A conversation with a model: turns of tokens, some with an image, experts by routing.
 *
 * What a pass over a dense model is to arm.h, a token is here: the attention as a stream, the
 * experts that a routing names out of the cache, the vision tower only in turns that have an image,
 * and blocks of a KV cache that must not be lost. Runs on weir, or over a mapping of the files.
 */
#ifndef WR_TOOLS_TURNS_H
#define WR_TOOLS_TURNS_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/weir.h>

#include "arm.h"

#define WR_TURNS_MAX 64
/* Ways of foreseeing that are told of, at most. */
#define WR_TURNS_SOURCES 16

/**
 * struct wr_turns - What to run.
 * @arm:          Model, backend, budget, plan and compute; its passes are the tokens of a turn.
 * @pattern:      A letter for each turn: t text, i image. At most WR_TURNS_MAX.
 * @routing:      File of the format "route", or NULL: generated.
 * @nr_chosen:    Experts of a layer that a generated token uses.
 * @seed:         Of what is generated.
 * @policy:       Of the cache's classes, or NULL: auto.
 * @nr_together:  Experts got at a time; 0: those of a layer.
 * @ahead:        The cache foresees by itself what comes, and reads it ahead.
 * @foresee_permille: The host names the experts of the next layer a layer before, and is right so
 *                often; 0: it does not.
 * @kv_blocks:    Blocks of a KV cache, put evenly over all tokens.
 * @kv_bytes:     Of each.
 * @l3_dir:       Where they go when memory is short, or NULL.
 * @l3_bytes:     Of the files there at most.
 * @trace_out:    Write what the cache was asked for here, or NULL.
 * @nr_prompt:    Tokens that a turn begins with: rows of each table that are got at once.
 *
 * Tensors that a rule of the plan says to be read by rows are tables: each token uses one row.
 */
struct wr_turns {
	struct wr_arm arm;
	const char *pattern;
	const char *routing;
	uint32_t nr_chosen;
	uint64_t seed;
	const char *policy;
	uint32_t nr_together;
	uint32_t foresee_permille;
	bool ahead;
	uint64_t kv_blocks;
	uint64_t kv_bytes;
	const char *l3_dir;
	uint64_t l3_bytes;
	const char *trace_out;
	uint32_t nr_prompt;
};

/* One turn. Reads of a mapping are all in @dense_read. */
struct wr_turn {
	uint32_t has_image;
	uint32_t nr_tokens;
	uint64_t ns;
	uint64_t stall_ns;
	uint64_t compute_ns;
	uint64_t vision_read;
	uint64_t dense_read;
	uint64_t expert_read;
	uint64_t nr_refs;     /* experts wanted, */
	uint64_t nr_hits;     /* and in memory */
	uint64_t wait_p50_ns; /* of a layer, for its bytes */
	uint64_t wait_p99_ns;
	uint64_t checksum;
};

/* The blocks of the KV cache. */
struct wr_turns_kv {
	uint64_t nr_put;
	uint64_t nr_checked;
	uint64_t nr_wrong; /* not what was put */
	uint64_t nr_lost;
};

/* Tables that are read by rows. */
struct wr_turns_rows {
	uint64_t nr_tables;
	uint64_t table_bytes;
	uint64_t row_bytes; /* the largest */
	uint64_t nr_got;
	uint64_t nr_read;
	uint64_t read_bytes;
	uint64_t ns; /* that getting them took */
};

struct wr_turns_result {
	uint32_t backend;
	uint32_t page_kind;
	uint32_t threads;
	uint32_t interrupted;
	uint32_t nr_turns;
	uint32_t nr_chosen; /* by a token in a layer, at most */
	uint64_t model_bytes;
	uint64_t nr_tensors;
	uint64_t nr_groups;
	uint64_t budget_bytes; /* in use */
	uint64_t vision_bytes; /* of it, for the vision tower's slots */
	uint64_t open_ns;
	uint64_t cpu_ns;
	uint64_t peak_bytes;
	uint64_t trace_refs;
	struct weir_experts_share share;
	struct weir_experts_info experts; /* all 0: the model has none */
	struct weir_stream_info stream;
	struct wr_turn turns[WR_TURNS_MAX];
	struct weir_cache_stats classes[WEIR_NR_CLASSES]; /* in L2 */
	struct weir_cache_stats stored;			  /* class kv in L3 */
	struct weir_cache_policy policy;		  /* of the experts */
	struct wr_turns_kv kv;
	struct wr_turns_rows rows;
	struct weir_cache_ahead_stats ahead;			  /* all 0: nothing was foreseen */
	struct weir_cache_ahead_source sources[WR_TURNS_SOURCES]; /* nr_sources of them */
	uint32_t nr_sources;
	char reason[512];
	char page_reason[512];
	char variant[16];
	struct weir_error err;
};

/* Whether the model at @path is a mixture; 0, or why it cannot be opened. */
int wr_turns_is_mixture(const char *path, bool *ret, struct weir_error *err);

/* Run it in this process. 0, or a negative errno: then ret->err says why; -EINTR after ^C. */
int wr_turns_run(const struct wr_turns *t, struct wr_turns_result *ret);

/* Exit status. */
int wr_turns_print_text(const struct wr_turns *t, const struct wr_turns_result *r);
int wr_turns_print_json(const struct wr_turns *t, const struct wr_turns_result *r);

#endif /* WR_TOOLS_TURNS_H */
