/* SPDX-License-Identifier: MIT */
/*
 * ahead.h - A simulated host that reads ahead: visits, a cache, a device, predictor and prefetch.
 *
 * A visit is what must be there at once, as the experts of a layer; then the host computes. The
 * device serves one chunk after another, reads on demand before those ahead of it. Time is
 * simulated, so a run says the same on every machine.
 */
#ifndef WR_TOOLS_AHEAD_H
#define WR_TOOLS_AHEAD_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/key.h>

#include "replay_trace.h"
#include "route.h"

#include "predict/predict.h"
#include "prefetch/prefetch.h"

struct wr_ahead_object {
	struct weir_key key;
	uint64_t bytes;
	uint32_t layer, expert; /* WR_PREDICT_NONE for others */
};

/* What a host does: references, cut into visits. */
struct wr_ahead_work {
	struct wr_ahead_object *objects;
	uint32_t nr_objects;
	uint32_t nr_used; /* objects that are referred to */
	uint32_t *refs;
	uint32_t nr_refs;
	uint32_t *visits; /* where each begins in refs; one more than there are */
	uint32_t nr_visits;
	uint32_t nr_layers, nr_experts;
	uint64_t used_bytes; /* of the objects that are referred to */
};

/* 0, -ENOMEM. The objects of a routing are all experts, used or not: a host knows its model. */
int wr_ahead_from_route(const struct wr_route *r, struct wr_ahead_work *ret);
/* Each reference a visit, at most @max of them. */
int wr_ahead_from_trace(const struct wr_trace *t, uint32_t max, struct wr_ahead_work *ret);
/* @a, then @b, of objects that they do not share. */
int wr_ahead_join(const struct wr_ahead_work *a, const struct wr_ahead_work *b,
		  struct wr_ahead_work *ret);
void wr_ahead_work_close(struct wr_ahead_work *w);

/**
 * struct wr_ahead_opts - How to run.
 * @capacity:   Bytes of the cache.
 * @policy:     That orders it.
 * @prefetch:   With or without.
 * @device_bps: Bytes per second of the device.
 * @latency_ns: Before the first byte of a read.
 * @compute_ns: After each visit.
 * @chunk_bytes: That are not interrupted.
 * @nr_asked:   Forecasts taken at a time. 0: 24.
 */
struct wr_ahead_opts {
	uint64_t capacity;
	const char *policy;
	bool prefetch;
	uint64_t device_bps;
	uint64_t latency_ns;
	uint64_t compute_ns;
	uint64_t chunk_bytes;
	uint32_t nr_asked;
};

struct wr_ahead_result {
	uint64_t hits; /* references that were resident */
	uint64_t late;
	uint64_t misses;
	uint64_t read_bytes;
	uint64_t total_ns;
	uint64_t late_refs;	  /* after the first quarter of the visits: references, */
	uint64_t late_hits;	  /* hits, */
	uint64_t late_read_bytes; /* and bytes read */
	uint64_t wait_p99_ns;	  /* of a visit, for its reads */
	uint64_t stopped_after; /* references until it was off and never on again; nr_refs if not */
	struct wr_prefetch_stat stat;
	struct wr_prefetch_stat sources[WR_PREDICT_NR_SOURCES];
	struct wr_prefetch_info info;
};

/* 0, -ENOENT (no such policy), -ENOMEM, -EINTR. */
int wr_ahead_run(const struct wr_ahead_work *w, const struct wr_ahead_opts *opts,
		 struct wr_ahead_result *ret);

/* How well the predictor alone does: of the experts used, after a quarter of the visits. */
struct wr_ahead_recall {
	double recall[3]; /* among the best k, 2k, 4k for the next layer */
	double ns_visit;  /* observing a layer and foreseeing the next */
	uint64_t nr_visits;
};

int wr_ahead_measure_recall(const struct wr_ahead_work *w, struct wr_ahead_recall *ret);

#endif /* WR_TOOLS_AHEAD_H */
