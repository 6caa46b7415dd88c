/* SPDX-License-Identifier: MIT */
/*
 * replay.h - Traces run through policies, and through the order that knows the future.
 */
#ifndef WR_TOOLS_REPLAY_H
#define WR_TOOLS_REPLAY_H

#include "replay_trace.h"
#include "ui.h"

/* Long enough for auto's reasons. */
#define WR_REPLAY_REASON 200

/**
 * struct wr_replay_opts - How to run.
 * @capacity:   Bytes.
 * @device_bps: Bytes per second of the simulated device, 0 for no timing.
 * @latency_ns: Of each read from it.
 * @seed:       Of the policy's hashes.
 * @by_bytes:   What auto compares by.
 * @progress:   Updated with the bytes referred to so far; may be NULL.
 * @done:       Bytes of the runs before this one, for @progress.
 */
struct wr_replay_opts {
	uint64_t capacity;
	uint64_t device_bps;
	uint64_t latency_ns;
	uint64_t seed;
	bool by_bytes;
	struct wr_ui_progress *progress;
	uint64_t done;
};

/**
 * struct wr_replay_result - What came of it.
 * @policy:    Its name; "opt" for Belady's order.
 * @passed:    Misses that were read and not kept.
 * @seconds:   Of all reads, one after another; 0 without timing.
 */
struct wr_replay_result {
	const char *policy;
	uint64_t hits;
	uint64_t hit_bytes;
	uint64_t evictions;
	uint64_t passed;
	double seconds;
	uint64_t nr_changes;
	uint64_t cycle_bytes;
	bool below_cycle;
	char chosen[16];
	char reason[WR_REPLAY_REASON];
};

/**
 * wr_replay_run() - One policy.
 *
 * The policy named forecast is told, at each use, that the next one comes after as many
 * references as passed since the last: what a host's predictor of intervals would say.
 *
 * Return: 0, -ENOENT (no such policy), -ENOMEM, -EINTR.
 */
int wr_replay_run(const struct wr_trace *t, const char *policy, const struct wr_replay_opts *opts,
		  struct wr_replay_result *ret);

/**
 * wr_replay_opt() - Belady's order: what is used next the latest leaves, or does not come in.
 *
 * With objects of one size no policy can have more hits. With several sizes it is only close
 * to the best.
 *
 * Return: 0, -ENOMEM, -EINTR.
 */
int wr_replay_opt(const struct wr_trace *t, const struct wr_replay_opts *opts,
		  struct wr_replay_result *ret);

/* Of the references: what of them hit. */
double wr_replay_hits(const struct wr_trace *t, const struct wr_replay_result *r);
double wr_replay_hit_bytes(const struct wr_trace *t, const struct wr_replay_result *r);

/* Policies there are, without Belady's order, and room for that. */
#define WR_REPLAY_MAX_POLICIES 16
#define WR_REPLAY_MAX_SIZES    64

/**
 * struct wr_replay_point - Several policies at one size.
 * @results: The first is Belady's order.
 */
struct wr_replay_point {
	uint64_t capacity;
	struct wr_replay_result results[WR_REPLAY_MAX_POLICIES];
};

/**
 * struct wr_replay_table - All that was run on one trace.
 * @policies: Names, NULL-terminated; opt is not among them.
 * @points:   In ascending size.
 */
struct wr_replay_table {
	const char *path;
	const struct wr_trace *trace;
	const char *policies[WR_REPLAY_MAX_POLICIES];
	size_t nr_policies;
	struct wr_replay_point *points;
	size_t nr_points;
	bool is_timed;
};

/* Run all; opts->capacity is not looked at. 0, -ENOMEM, -EINTR. */
int wr_replay_fill(struct wr_replay_table *table, const struct wr_replay_opts *opts);

/* Exit status. */
int wr_replay_print_text(const struct wr_replay_table *table);
int wr_replay_print_json(const struct wr_replay_table *table);
/* Share of hits over size as a picture. */
int wr_replay_draw(const struct wr_replay_table *table, const char *path, struct weir_error *err);

/* All traces and generators at six sizes: what auto loses against the best. Exit status. */
int wr_replay_matrix(char *const *paths, size_t nr, uint64_t block_bytes, bool json);

#endif /* WR_TOOLS_REPLAY_H */
