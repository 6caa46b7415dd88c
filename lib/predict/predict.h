/* SPDX-License-Identifier: MIT */
/*
 * What will be asked for next, from what was asked for so far.
 *
 * References go in, one after the other; a ranked list of keys comes out, each with how probable
 * it is, how many references away, and who says so. Pure: no clock, no lock, no input or output,
 * no floating point; the same calls in the same order give the same bits, so a recorded run is
 * repeated exactly. All memory is taken at open. The caller serialises all calls on one object.
 *
 * need      the host says so: certain
 * plan      the host gave the order of what comes; believed as far as it was kept so far
 * likely    the host says so, with a probability of its own
 * sequence  what followed the last four, two or one references before: finds cycles of any
 *           length, also with repetitions, after one turn
 * stride    one distance between neighbours holds a majority of a window (Boyer and Moore's vote
 *           over 8, 16 or 32 differences, as Leap does): a pass over what is numbered
 * rhythm    each key's mean interval and how far it strays from it
 * expert    mixture of experts: which follow the ones chosen one and two layers before, joined as
 *           independent evidence over each layer's hot list
 * hot       the hot list alone, where the layers before say nothing yet
 *
 * Each source measures itself: what it foresaw against what came, in classes of how sure it was.
 * The probability it gives is that measurement, not an assumption. Hints come before all sources.
 *
 * Keys are numbered by a catalogue as they are declared, then as they first appear; differences
 * for the stride are those of these numbers. When the catalogue is full, a key that was not used
 * for long makes room, unless it was declared.
 */
#ifndef WR_PREDICT_PREDICT_H
#define WR_PREDICT_PREDICT_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/key.h>

#include "base/util.h"

struct wr_predict;

/* Probabilities are integers: this is 1. */
#define WR_PREDICT_SURE 65536u
/* No layer, no expert. */
#define WR_PREDICT_NONE UINT32_MAX
/* The most forecasts of one call, and the most experts of one layer that are told apart. */
#define WR_PREDICT_MAX 256u
/* The most hints `need` and `likely` together. */
#define WR_PREDICT_HINTS 1024u

/* X(name, text) */
#define WR_PREDICT_SOURCES(X)   \
	X(NEED, "need")         \
	X(PLAN, "plan")         \
	X(LIKELY, "likely")     \
	X(SEQUENCE, "sequence") \
	X(STRIDE, "stride")     \
	X(RHYTHM, "rhythm")     \
	X(EXPERT, "expert")     \
	X(HOT, "hot")

enum wr_predict_source {
#define WR_PREDICT_SOURCE_ENUM(name, text) WR_PREDICT_##name,
	WR_PREDICT_SOURCES(WR_PREDICT_SOURCE_ENUM)
#undef WR_PREDICT_SOURCE_ENUM
		WR_PREDICT_NR_SOURCES
};

struct wr_predict_opts {
	uint32_t nr_items;   /* keys that are known at a time; 0: 4096 */
	uint32_t nr_layers;  /* of a mixture of experts; 0: none */
	uint32_t nr_experts; /* of each layer, at most WR_PREDICT_MAX */
	uint32_t nr_ahead;   /* layers foreseen, 1 or 2; 0: 2 */
	uint32_t halve_at;   /* visits of a layer or row after which counts are halved; 0: 1024 */
	uint32_t min_prob;   /* what is less probable is not told; 0: 1/64 */
	uint64_t max_bytes;  /* of all memory; 0: 256 MiB */
};

/* One reference, or one key that is declared. */
struct wr_predict_ref {
	struct weir_key key;
	uint64_t bytes;
	uint32_t layer;	 /* WR_PREDICT_NONE: not an expert's */
	uint32_t expert; /* likewise */
};

struct wr_forecast {
	struct weir_key key;
	uint64_t bytes;	     /* as declared or last seen */
	uint32_t prob;	     /* of WR_PREDICT_SURE */
	uint32_t confidence; /* share of the source's forecasts that came true of late */
	uint32_t distance;   /* references until then, at least 1 */
	uint32_t source;     /* enum wr_predict_source */
};

/* How a source did. */
struct wr_predict_stat {
	uint64_t nr_told; /* forecasts given */
	uint64_t
		nr_judged; /* times it was asked silently what comes now, or how probable each was */
	uint64_t nr_right;   /* and it was so */
	uint32_t confidence; /* of WR_PREDICT_SURE, of late */
};

/* 0, -EINVAL (layers without experts or the like), -E2BIG (above max_bytes), -ENOMEM. */
int wr_predict_open(const struct wr_predict_opts *opts, struct wr_predict **ret) WEIR_MUST_CHECK;
void wr_predict_close(struct wr_predict *p);

/* Memory taken at open. */
uint64_t wr_predict_bytes(const struct wr_predict *p);

/*
 * Make a key known that was not referenced yet; it is never forgotten. 0, -ENOSPC (the catalogue
 * is full of declared keys), -EINVAL (no such layer or expert).
 */
int wr_predict_declare(struct wr_predict *p, const struct wr_predict_ref *ref) WEIR_MUST_CHECK;

/* @ref was asked for. Layers that were not announced at open count as none. */
void wr_predict_observe(struct wr_predict *p, const struct wr_predict_ref *ref);

/*
 * What comes after the last reference: at most @max (up to WR_PREDICT_MAX), no key twice. Hints
 * first, in the order of enum wr_predict_source; then by probability, by distance, by source.
 * Does not change what is foreseen. Returns how many.
 */
uint32_t wr_predict_forecast(struct wr_predict *p, struct wr_forecast *ret, uint32_t max);

/* An expert that comes again. */
struct wr_recurrent {
	struct weir_key key;
	uint32_t prob;	   /* that its layer's next visit uses it */
	uint64_t distance; /* references until then */
};

/*
 * How probable each expert of the layer that was left last is at the layer's next visit, in no
 * order, without those below min_prob. Of a layer this is asked once, when the next one has begun.
 * @ret has room for WR_PREDICT_MAX. Returns how many.
 */
uint32_t wr_predict_recur(const struct wr_predict *p, struct wr_recurrent *ret);

/*
 * Hints. A hint holds until its key is referenced, or for `likely` until 4,096 references have
 * passed. -ENOSPC: WR_PREDICT_HINTS are there already, or the catalogue is full. A `likely` of 0
 * takes the hint back.
 */
int wr_predict_need(struct wr_predict *p, struct weir_key key, uint64_t bytes) WEIR_MUST_CHECK;
int wr_predict_likely(struct wr_predict *p, struct weir_key key, uint64_t bytes,
		      uint32_t prob) WEIR_MUST_CHECK;

/*
 * The order of what comes, replacing an older plan; @nr 0 ends it. Its keys are kept as long as it
 * holds. A cyclic plan begins again at its end. A plan that is not kept is believed less and less, and
 * found again when references come back to it. 0, -ENOSPC (more than nr_items; the older plan is
 * ended all the same).
 */
int wr_predict_plan(struct wr_predict *p, const struct weir_key *keys, const uint64_t *bytes,
		    uint32_t nr, bool cyclic) WEIR_MUST_CHECK;

void wr_predict_stat(const struct wr_predict *p, uint32_t source, struct wr_predict_stat *ret);

#endif /* WR_PREDICT_PREDICT_H */
