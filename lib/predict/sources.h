/* SPDX-License-Identifier: MIT */
/*
 * What the sources of forecasts have in common: they learn items one after the other and fill a
 * list of guesses, the most probable first. Nothing is allocated after init.
 */
#ifndef WR_PREDICT_SOURCES_H
#define WR_PREDICT_SOURCES_H

#include <stdbool.h>
#include <stdint.h>

#include "predict/catalog.h"
#include "predict/predict.h"
#include "predict/tally.h"

struct wr_guess {
	uint32_t item;
	uint32_t prob;
	uint32_t distance;
};

/* Sorted: the most probable first, the nearer one of two that are equal. */
struct wr_guesses {
	uint32_t nr;
	struct wr_guess v[WR_PREDICT_MAX];
};

/* How a source did on what it said silently. */
struct wr_judged {
	uint64_t nr_judged;
	uint64_t nr_right;
	struct wr_tally late;
};

static inline void wr_judge(struct wr_judged *j, bool right)
{
	j->nr_judged++;
	j->nr_right += right;
	wr_tally_add(&j->late, right, 1);
}

/* Put it where it belongs; the last one falls off when the list is full. */
void wr_guess_insert(struct wr_guesses *g, uint32_t max, struct wr_guess guess);

/* ---- sequence: what followed the same one, two, four items before --------------------------- */

#define WR_CHAIN_ORDERS 3u
#define WR_CHAIN_SURE	7u /* confirmations after which more do not count */

struct wr_link {
	uint32_t item; /* that followed */
	uint16_t tag;
	uint8_t sure; /* times confirmed less times refuted; 0 is empty */
	uint8_t generation;
};

struct wr_chain {
	struct wr_link *links[WR_CHAIN_ORDERS];
	uint32_t mask;
	uint32_t past[4]; /* the last items, the newest first */
	struct wr_tally right[WR_CHAIN_ORDERS][WR_CHAIN_SURE + 1];
	struct wr_judged judged;
};

uint64_t wr_chain_bytes(uint32_t nr_items);
int wr_chain_init(struct wr_chain *c, uint32_t nr_items) WEIR_MUST_CHECK;
void wr_chain_fini(struct wr_chain *c);
void wr_chain_observe(struct wr_chain *c, const struct wr_catalog *cat, uint32_t item);
void wr_chain_guess(const struct wr_chain *c, const struct wr_catalog *cat, uint32_t min_prob,
		    uint32_t max, struct wr_guesses *ret);

/* ---- stride --------------------------------------------------------------------------------- */

#define WR_STRIDE_WINDOW 32u

struct wr_stride {
	int32_t deltas[WR_STRIDE_WINDOW];
	uint32_t nr; /* ever */
	uint32_t last;
	int32_t stride; /* 0: no majority */
	uint32_t votes; /* of @window */
	uint32_t window;
	struct wr_tally right[5]; /* by the share of the votes: half to all */
	struct wr_judged judged;
};

void wr_stride_init(struct wr_stride *s);
void wr_stride_observe(struct wr_stride *s, uint32_t item);
void wr_stride_guess(const struct wr_stride *s, const struct wr_catalog *cat, uint32_t min_prob,
		     uint32_t max, struct wr_guesses *ret);

/* ---- rhythm: the mean interval of each item --------------------------------------------------- */

#define WR_RHYTHM_BUCKETS 1024u
#define WR_RHYTHM_STEP	  16u /* references a bucket stands for */
#define WR_RHYTHM_CLASSES 8u

struct wr_beat {
	uint64_t last;	   /* reference number, from 1; 0: never */
	uint32_t mean_x16; /* of the intervals, in 1/16 reference */
	uint32_t stray_x16;
	uint32_t next; /* in its bucket, item + 1 */
	uint32_t prev;
	uint32_t bucket; /* + 1; 0: in none */
	uint16_t nr;	 /* intervals seen, saturating */
};

struct wr_rhythm {
	struct wr_beat *beats;
	uint32_t heads[WR_RHYTHM_BUCKETS]; /* item + 1, due in this bucket */
	uint32_t nr_due;		   /* in all buckets */
	uint64_t now;
	struct wr_tally right[WR_RHYTHM_CLASSES];
	struct wr_judged judged;
};

uint64_t wr_rhythm_bytes(uint32_t nr_items);
int wr_rhythm_init(struct wr_rhythm *r, uint32_t nr_items) WEIR_MUST_CHECK;
void wr_rhythm_fini(struct wr_rhythm *r);
/* The item's number has a new key. */
void wr_rhythm_forget(struct wr_rhythm *r, uint32_t item);
void wr_rhythm_observe(struct wr_rhythm *r, uint32_t item);
void wr_rhythm_guess(const struct wr_rhythm *r, uint32_t min_prob, uint32_t max,
		     struct wr_guesses *ret);

/* ---- recur: whether an expert comes again with its layer --------------------------------------- */

#define WR_RECUR_CLASSES 128u
#define WR_RECUR_RATES	 512u

struct wr_recur {
	uint8_t *ages;	 /* [layer][width]: visits since it was chosen, UINT8_MAX: never */
	uint16_t *rates; /* [layer][width]: of the last visits, of WR_PREDICT_SURE */
	uint32_t width;
	uint8_t of_age[UINT8_MAX + 1];	 /* its first class */
	uint8_t of_rate[WR_RECUR_RATES]; /* of a rate, in steps: classes to add */
	uint32_t hits[WR_RECUR_CLASSES];
	uint32_t tries[WR_RECUR_CLASSES];
	uint32_t probs[WR_RECUR_CLASSES];
};

/* @width: a multiple of 16, at least the number of experts. */
uint64_t wr_recur_bytes(uint32_t nr_layers, uint32_t width);
int wr_recur_init(struct wr_recur *r, uint32_t nr_layers, uint32_t width) WEIR_MUST_CHECK;
void wr_recur_fini(struct wr_recur *r);
/* The classes of the first experts of a layer. */
void wr_recur_classes(const struct wr_recur *r, uint32_t layer, uint32_t nr, uint8_t *ret);
/* Hold what would have been said against what was chosen: before the two below. */
void wr_recur_judge(struct wr_recur *r, uint32_t layer, const uint16_t *chosen, uint32_t nr,
		    uint32_t nr_experts);
void wr_recur_visit(struct wr_recur *r, uint32_t layer);
void wr_recur_chosen(struct wr_recur *r, uint32_t layer, uint32_t expert);

/* ---- experts: see expert.c -------------------------------------------------------------------- */

struct wr_experts;

uint64_t wr_experts_bytes(uint32_t nr_layers, uint32_t nr_experts);
int wr_experts_open(uint32_t nr_layers, uint32_t nr_experts, uint32_t nr_ahead, uint32_t halve_at,
		    struct wr_experts **ret) WEIR_MUST_CHECK;
void wr_experts_close(struct wr_experts *x);
void wr_experts_name(struct wr_experts *x, uint32_t layer, uint32_t expert, uint32_t item);
void wr_experts_observe(struct wr_experts *x, uint32_t layer, uint32_t expert);
/* @hot: what comes from the hot list alone. */
void wr_experts_guess(struct wr_experts *x, uint32_t min_prob, uint32_t max, struct wr_guesses *ret,
		      struct wr_guesses *hot);
/* Those of the layer left last that come again likely enough with its next visit, in no order. */
uint32_t wr_experts_recur(const struct wr_experts *x, uint32_t min_prob, struct wr_guess *ret);
const struct wr_judged *wr_experts_judged(const struct wr_experts *x, bool hot);

/* ---- hints ------------------------------------------------------------------------------------ */

#define WR_HINT_LIFE 4096u

struct wr_hint {
	uint32_t item; /* WR_ITEM_NONE: free */
	uint32_t prob;
	uint64_t until; /* reference number; of need UINT64_MAX */
	bool need;
};

struct wr_hints {
	struct wr_hint v[WR_PREDICT_HINTS];
	uint32_t nr;
	uint16_t *of_item; /* place in v + 1 */
	uint64_t now;
	struct wr_judged judged[2]; /* likely, need */
	/* the plan */
	uint32_t *plan;
	uint32_t *place; /* of an item in the plan, + 1; the first one if there are several */
	uint32_t nr_plan;
	uint32_t cursor;  /* what comes next */
	uint32_t nr_lost; /* references in a row that were elsewhere */
	bool cyclic;
	struct wr_tally kept;
	struct wr_judged plan_judged;
};

uint64_t wr_hints_bytes(uint32_t nr_items);
int wr_hints_init(struct wr_hints *h, uint32_t nr_items) WEIR_MUST_CHECK;
void wr_hints_fini(struct wr_hints *h);
void wr_hints_forget(struct wr_hints *h, uint32_t item);
int wr_hints_add(struct wr_hints *h, uint32_t item, uint32_t prob, bool need) WEIR_MUST_CHECK;
void wr_hints_observe(struct wr_hints *h, uint32_t item);
void wr_hints_guess(const struct wr_hints *h, bool need, uint32_t max, struct wr_guesses *ret);
/* The plan is set item by item: begin, then wr_hints_plan_add(). */
void wr_hints_plan_begin(struct wr_hints *h, uint32_t nr_items, bool cyclic);
void wr_hints_plan_add(struct wr_hints *h, uint32_t item);
void wr_hints_plan_guess(const struct wr_hints *h, uint32_t max, struct wr_guesses *ret);

#endif /* WR_PREDICT_SOURCES_H */
