/* SPDX-License-Identifier: MIT */
/*
 * The sources put together: what each says becomes one list in which no key stands twice.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "predict/sources.h"

struct wr_predict {
	struct wr_predict_opts opts;
	struct wr_catalog cat;
	struct wr_chain chain;
	struct wr_stride stride;
	struct wr_rhythm rhythm;
	struct wr_hints hints;
	struct wr_experts *experts; /* NULL: no mixture */
	uint32_t *marks;	    /* item -> forecast it was last told in */
	uint32_t mark;
	uint32_t confidence[WR_PREDICT_NR_SOURCES]; /* in this forecast */
	uint64_t nr_told[WR_PREDICT_NR_SOURCES];
	struct wr_guesses guesses[WR_PREDICT_NR_SOURCES];
};

static uint64_t bytes_of(const struct wr_predict_opts *o)
{
	uint64_t bytes = sizeof(struct wr_predict) + wr_catalog_bytes(o->nr_items) +
			 wr_chain_bytes(o->nr_items) + wr_rhythm_bytes(o->nr_items) +
			 wr_hints_bytes(o->nr_items) + o->nr_items * sizeof(uint32_t);

	return bytes + (o->nr_layers ? wr_experts_bytes(o->nr_layers, o->nr_experts) : 0);
}

static int fill_opts(const struct wr_predict_opts *opts, struct wr_predict_opts *o)
{
	*o = *opts;
	o->nr_items = o->nr_items ? o->nr_items : 4096;
	o->nr_ahead = o->nr_ahead ? o->nr_ahead : 2;
	o->halve_at = o->halve_at ? o->halve_at : 1024;
	o->min_prob = o->min_prob ? o->min_prob : WR_PREDICT_SURE / 64;
	o->max_bytes = o->max_bytes ? o->max_bytes : (uint64_t)256 << 20;
	if (!o->nr_layers != !o->nr_experts || o->nr_experts > WR_PREDICT_MAX ||
	    o->nr_layers > 65536 || o->nr_ahead > 2 || o->halve_at < 4 || o->halve_at > 32768 ||
	    o->nr_items > (1u << 28))
		return -EINVAL;
	return bytes_of(o) > o->max_bytes ? -E2BIG : 0;
}

static int open_sources(struct wr_predict *p)
{
	const struct wr_predict_opts *o = &p->opts;
	int rc;

	rc = wr_catalog_init(&p->cat, o->nr_items);
	if (!rc)
		rc = wr_chain_init(&p->chain, o->nr_items);
	if (!rc)
		rc = wr_rhythm_init(&p->rhythm, o->nr_items);
	if (!rc)
		rc = wr_hints_init(&p->hints, o->nr_items);
	if (!rc && o->nr_layers)
		rc = wr_experts_open(o->nr_layers, o->nr_experts, o->nr_ahead, o->halve_at,
				     &p->experts);
	if (rc)
		return rc;
	p->marks = wr_calloc(o->nr_items, sizeof(*p->marks));
	return p->marks ? 0 : -ENOMEM;
}

int wr_predict_open(const struct wr_predict_opts *opts, struct wr_predict **ret)
{
	struct wr_predict_opts o;
	struct wr_predict *p;
	int rc = fill_opts(opts, &o);

	if (rc)
		return rc;
	p = wr_calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->opts = o;
	wr_stride_init(&p->stride);
	rc = open_sources(p);
	if (rc) {
		wr_predict_close(p);
		return rc;
	}
	*ret = p;
	return 0;
}

void wr_predict_close(struct wr_predict *p)
{
	if (!p)
		return;
	wr_free(p->marks);
	wr_experts_close(p->experts);
	wr_hints_fini(&p->hints);
	wr_rhythm_fini(&p->rhythm);
	wr_chain_fini(&p->chain);
	wr_catalog_fini(&p->cat);
	wr_free(p);
}

uint64_t wr_predict_bytes(const struct wr_predict *p)
{
	return bytes_of(&p->opts);
}

/* The item of a key; whatever was known of an older key with its number is forgotten. */
static uint32_t item_of(struct wr_predict *p, struct weir_key key, uint64_t bytes)
{
	bool fresh;
	uint32_t item = wr_catalog_add(&p->cat, key, bytes, &fresh);

	if (item != WR_ITEM_NONE && fresh) {
		wr_rhythm_forget(&p->rhythm, item);
		wr_hints_forget(&p->hints, item);
	}
	return item;
}

static bool is_expert(const struct wr_predict *p, const struct wr_predict_ref *ref)
{
	return ref->layer < p->opts.nr_layers && ref->expert < p->opts.nr_experts;
}

/* An expert's item is declared: its number is kept in the experts' table. */
static uint32_t declare(struct wr_predict *p, const struct wr_predict_ref *ref)
{
	uint32_t item = item_of(p, ref->key, ref->bytes);

	if (item == WR_ITEM_NONE)
		return item;
	if (is_expert(p, ref) && !(p->cat.items[item].held & WR_HELD_DECLARED))
		wr_experts_name(p->experts, ref->layer, ref->expert, item);
	wr_catalog_hold(&p->cat, item, WR_HELD_DECLARED);
	return item;
}

int wr_predict_declare(struct wr_predict *p, const struct wr_predict_ref *ref)
{
	if ((ref->layer != WR_PREDICT_NONE || ref->expert != WR_PREDICT_NONE) && !is_expert(p, ref))
		return -EINVAL;
	return declare(p, ref) == WR_ITEM_NONE ? -ENOSPC : 0;
}

void wr_predict_observe(struct wr_predict *p, const struct wr_predict_ref *ref)
{
	bool expert = is_expert(p, ref);
	uint32_t item = expert ? declare(p, ref) : item_of(p, ref->key, ref->bytes);

	if (expert)
		wr_experts_observe(p->experts, ref->layer, ref->expert);
	if (item == WR_ITEM_NONE)
		return;
	wr_hints_observe(&p->hints, item);
	if (expert)
		return;
	wr_chain_observe(&p->chain, &p->cat, item);
	wr_stride_observe(&p->stride, item);
	wr_rhythm_observe(&p->rhythm, item);
}

void wr_guess_insert(struct wr_guesses *g, uint32_t max, struct wr_guess guess)
{
	uint32_t i = g->nr;

	if (i == max) {
		if (guess.prob <= g->v[i - 1].prob)
			return;
		i--;
	} else {
		g->nr++;
	}
	for (; i > 0; i--) {
		const struct wr_guess *before = &g->v[i - 1];

		if (before->prob > guess.prob ||
		    (before->prob == guess.prob && before->distance <= guess.distance))
			break;
		g->v[i] = g->v[i - 1];
	}
	g->v[i] = guess;
}

static void ask_all(struct wr_predict *p, uint32_t max)
{
	struct wr_guesses *g = p->guesses;
	uint32_t min = p->opts.min_prob;

	wr_hints_guess(&p->hints, true, max, &g[WR_PREDICT_NEED]);
	wr_hints_plan_guess(&p->hints, max, &g[WR_PREDICT_PLAN]);
	wr_hints_guess(&p->hints, false, max, &g[WR_PREDICT_LIKELY]);
	wr_chain_guess(&p->chain, &p->cat, min, max, &g[WR_PREDICT_SEQUENCE]);
	wr_stride_guess(&p->stride, &p->cat, min, max, &g[WR_PREDICT_STRIDE]);
	wr_rhythm_guess(&p->rhythm, min, max, &g[WR_PREDICT_RHYTHM]);
	if (p->experts)
		wr_experts_guess(p->experts, min, max, &g[WR_PREDICT_EXPERT], &g[WR_PREDICT_HOT]);
}

/* Whether the head of @a comes before the head of @b; both have one. */
static bool comes_first(const struct wr_guess *a, const struct wr_guess *b)
{
	return a->prob > b->prob || (a->prob == b->prob && a->distance < b->distance);
}

static const struct wr_judged *judged_of(const struct wr_predict *p, uint32_t source)
{
	static const struct wr_judged none;

	switch (source) {
	case WR_PREDICT_NEED:
		return &p->hints.judged[1];
	case WR_PREDICT_PLAN:
		return &p->hints.plan_judged;
	case WR_PREDICT_LIKELY:
		return &p->hints.judged[0];
	case WR_PREDICT_SEQUENCE:
		return &p->chain.judged;
	case WR_PREDICT_STRIDE:
		return &p->stride.judged;
	case WR_PREDICT_RHYTHM:
		return &p->rhythm.judged;
	case WR_PREDICT_EXPERT:
	case WR_PREDICT_HOT:
		return p->experts ? wr_experts_judged(p->experts, source == WR_PREDICT_HOT) : &none;
	default:
		return &none;
	}
}

static uint32_t confidence_of(const struct wr_predict *p, uint32_t source)
{
	uint32_t prior = source <= WR_PREDICT_LIKELY ? WR_PREDICT_SURE : WR_PREDICT_SURE / 2;

	return wr_tally_prob(&judged_of(p, source)->late, prior);
}

/* Tell one guess, unless its key was told already. */
static uint32_t tell(struct wr_predict *p, uint32_t source, const struct wr_guess *g,
		     struct wr_forecast *ret)
{
	const struct wr_item *it = &p->cat.items[g->item];

	if (p->marks[g->item] == p->mark)
		return 0;
	p->marks[g->item] = p->mark;
	p->nr_told[source]++;
	*ret = (struct wr_forecast){.key = it->key,
				    .bytes = it->bytes,
				    .prob = g->prob,
				    .confidence = p->confidence[source],
				    .distance = g->distance,
				    .source = source};
	return 1;
}

uint32_t wr_predict_forecast(struct wr_predict *p, struct wr_forecast *ret, uint32_t max)
{
	uint32_t at[WR_PREDICT_NR_SOURCES] = {0};
	uint32_t nr = 0;

	max = wr_min(max, WR_PREDICT_MAX);
	if (!max)
		return 0;
	for (uint32_t s = 0; s < WR_PREDICT_NR_SOURCES; s++)
		p->confidence[s] = confidence_of(p, s);
	ask_all(p, max);
	if (!++p->mark) {
		memset(p->marks, 0, p->opts.nr_items * sizeof(*p->marks));
		p->mark = 1;
	}
	for (uint32_t s = 0; s <= WR_PREDICT_LIKELY; s++)
		for (uint32_t i = 0; i < p->guesses[s].nr && nr < max; i++)
			nr += tell(p, s, &p->guesses[s].v[i], &ret[nr]);
	while (nr < max) {
		uint32_t best = WR_PREDICT_NR_SOURCES;

		for (uint32_t s = WR_PREDICT_LIKELY + 1; s < WR_PREDICT_NR_SOURCES; s++) {
			if (at[s] == p->guesses[s].nr)
				continue;
			if (best == WR_PREDICT_NR_SOURCES ||
			    comes_first(&p->guesses[s].v[at[s]], &p->guesses[best].v[at[best]]))
				best = s;
		}
		if (best == WR_PREDICT_NR_SOURCES)
			break;
		nr += tell(p, best, &p->guesses[best].v[at[best]], &ret[nr]);
		at[best]++;
	}
	return nr;
}

uint32_t wr_predict_recur(const struct wr_predict *p, struct wr_recurrent *ret)
{
	struct wr_guess found[WR_PREDICT_MAX];
	uint32_t nr = p->experts ? wr_experts_recur(p->experts, p->opts.min_prob, found) : 0;

	for (uint32_t i = 0; i < nr; i++)
		ret[i] = (struct wr_recurrent){.key = p->cat.items[found[i].item].key,
					       .prob = found[i].prob,
					       .distance = found[i].distance};
	return nr;
}

static int hint(struct wr_predict *p, struct weir_key key, uint64_t bytes, uint32_t prob, bool need)
{
	uint32_t item = item_of(p, key, bytes);

	if (item == WR_ITEM_NONE)
		return -ENOSPC;
	return wr_hints_add(&p->hints, item, prob, need);
}

int wr_predict_need(struct wr_predict *p, struct weir_key key, uint64_t bytes)
{
	return hint(p, key, bytes, WR_PREDICT_SURE, true);
}

int wr_predict_likely(struct wr_predict *p, struct weir_key key, uint64_t bytes, uint32_t prob)
{
	return hint(p, key, bytes, wr_min(prob, WR_PREDICT_SURE), false);
}

static void end_plan(struct wr_predict *p, bool cyclic)
{
	for (uint32_t i = 0; i < p->hints.nr_plan; i++)
		wr_catalog_release(&p->cat, p->hints.plan[i], WR_HELD_PLAN);
	wr_hints_plan_begin(&p->hints, p->opts.nr_items, cyclic);
}

int wr_predict_plan(struct wr_predict *p, const struct weir_key *keys, const uint64_t *bytes,
		    uint32_t nr, bool cyclic)
{
	end_plan(p, cyclic);
	if (nr > p->opts.nr_items)
		return -ENOSPC;
	for (uint32_t i = 0; i < nr; i++) {
		uint32_t item = item_of(p, keys[i], bytes[i]);

		if (item == WR_ITEM_NONE) {
			end_plan(p, false);
			return -ENOSPC;
		}
		wr_catalog_hold(&p->cat, item, WR_HELD_PLAN);
		wr_hints_plan_add(&p->hints, item);
	}
	return 0;
}

void wr_predict_stat(const struct wr_predict *p, uint32_t source, struct wr_predict_stat *ret)
{
	const struct wr_judged *j = judged_of(p, source);

	*ret = (struct wr_predict_stat){.nr_told = p->nr_told[source],
					.nr_judged = j->nr_judged,
					.nr_right = j->nr_right,
					.confidence = confidence_of(p, source)};
}
