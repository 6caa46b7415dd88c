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
 * @progress:   Updated with references done since it was started; may be NULL.
 * @done:       References done before this run, for @progress.
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
 * @passed: Misses that were read and not kept.
 * @ns:     Time of all reads, one after another; 0 without timing.
 * @p99_ns: Of the waits of single references.
 */
struct wr_replay_result {
	uint64_t hits;
	uint64_t hit_bytes;
	uint64_t evictions;
	uint64_t passed;
	double ns;
	double p99_ns;
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

#endif /* WR_TOOLS_REPLAY_H */
