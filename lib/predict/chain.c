/* SPDX-License-Identifier: MIT */
/*
 * Sequences and cycles: for the last one, two and four items a table says what followed them.
 *
 * Each context has two places to lie in, side by side. A link that is confirmed gains, one that is
 * refuted loses, and only one that has lost everything is replaced; so a cycle survives a stray
 * reference, and noise does not fill the table. How sure links of one strength are is measured
 * for each order; the surest of the three speaks, the longest of equals. A cycle is known after
 * one turn, whatever its length; one with repetitions too, as four items tell where it stands.
 *
 * Following the links, forecast by forecast, gives the distance; the probabilities multiply.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "predict/sources.h"

static const uint32_t lengths[WR_CHAIN_ORDERS] = {1, 2, 4};

static uint32_t nr_links(uint32_t nr_items)
{
	uint32_t n = 64;

	while (n < 2 * (uint64_t)nr_items)
		n *= 2;
	return n;
}

uint64_t wr_chain_bytes(uint32_t nr_items)
{
	return (uint64_t)WR_CHAIN_ORDERS * nr_links(nr_items) * sizeof(struct wr_link);
}

int wr_chain_init(struct wr_chain *c, uint32_t nr_items)
{
	uint32_t n = nr_links(nr_items);

	memset(c, 0, sizeof(*c));
	c->mask = n - 1;
	for (uint32_t i = 0; i < 4; i++)
		c->past[i] = WR_ITEM_NONE;
	for (uint32_t o = 0; o < WR_CHAIN_ORDERS; o++) {
		c->links[o] = wr_calloc_aligned(WR_CACHE_LINE, n * sizeof(struct wr_link));
		if (!c->links[o]) {
			wr_chain_fini(c);
			return -ENOMEM;
		}
	}
	return 0;
}

void wr_chain_fini(struct wr_chain *c)
{
	for (uint32_t o = 0; o < WR_CHAIN_ORDERS; o++) {
		wr_free(c->links[o]);
		c->links[o] = NULL;
	}
}

static uint64_t hash_of(const uint32_t past[4], uint32_t order)
{
	uint64_t h = order + 1;

	for (uint32_t i = 0; i < lengths[order]; i++) {
		h = (h ^ past[i]) * 0x9e3779b97f4a7c15u;
		h ^= h >> 29;
	}
	return h;
}

/* The pair of places of a context; *tag tells contexts that share it apart. */
static struct wr_link *pair_of(const struct wr_chain *c, const uint32_t past[4], uint32_t order,
			       uint16_t *tag)
{
	uint64_t h = hash_of(past, order);

	*tag = (uint16_t)(h >> 48);
	return &c->links[order][(uint32_t)h & c->mask & ~1u];
}

static struct wr_link *find_link(const struct wr_chain *c, const struct wr_catalog *cat,
				 const uint32_t past[4], uint32_t order)
{
	struct wr_link *pair;
	uint16_t tag;

	if (past[lengths[order] - 1] == WR_ITEM_NONE)
		return NULL;
	pair = pair_of(c, past, order, &tag);
	for (uint32_t i = 0; i < 2; i++) {
		const struct wr_link *l = &pair[i];

		if (l->sure && l->tag == tag && cat->items[l->item].generation == l->generation)
			return &pair[i];
	}
	return NULL;
}

/* A strength that was not tried yet is as good as the one below it. */
static uint32_t prob_of(const struct wr_chain *c, uint32_t order, const struct wr_link *l)
{
	uint32_t prob = WR_PREDICT_SURE / 8;

	for (uint32_t sure = 1; sure <= l->sure; sure++)
		prob = wr_tally_prob(&c->right[order][sure], prob);
	return prob;
}

static const struct wr_link *best_link(const struct wr_chain *c, const struct wr_catalog *cat,
				       const uint32_t past[4], uint32_t *ret_prob)
{
	const struct wr_link *best = NULL;

	for (uint32_t o = WR_CHAIN_ORDERS; o-- > 0;) {
		const struct wr_link *l = find_link(c, cat, past, o);
		uint32_t prob = l ? prob_of(c, o, l) : 0;

		if (l && (!best || prob > *ret_prob)) {
			best = l;
			*ret_prob = prob;
		}
	}
	return best;
}

static void learn(struct wr_chain *c, const struct wr_catalog *cat, uint32_t order, uint32_t item)
{
	struct wr_link *l = find_link(c, cat, c->past, order);
	struct wr_link *pair;
	uint16_t tag;

	if (c->past[lengths[order] - 1] == WR_ITEM_NONE)
		return;
	if (l) {
		wr_tally_add(&c->right[order][l->sure], l->item == item, 1);
		if (l->item == item)
			l->sure = (uint8_t)(l->sure + (l->sure < WR_CHAIN_SURE));
		else
			l->sure /= 2;
		if (l->sure)
			return;
	} else {
		pair = pair_of(c, c->past, order, &tag);
		l = pair[1].sure < pair[0].sure ? &pair[1] : &pair[0];
		/* An item whose number has gone to another key defends its place no longer. */
		if (l->sure && cat->items[l->item].generation == l->generation && --l->sure)
			return;
	}
	pair_of(c, c->past, order, &tag);
	*l = (struct wr_link){
		.item = item, .tag = tag, .sure = 1, .generation = cat->items[item].generation};
}

void wr_chain_observe(struct wr_chain *c, const struct wr_catalog *cat, uint32_t item)
{
	uint32_t prob = 0;
	const struct wr_link *best = best_link(c, cat, c->past, &prob);

	if (best)
		wr_judge(&c->judged, best->item == item);
	for (uint32_t o = 0; o < WR_CHAIN_ORDERS; o++)
		learn(c, cat, o, item);
	memmove(&c->past[1], &c->past[0], 3 * sizeof(c->past[0]));
	c->past[0] = item;
}

void wr_chain_guess(const struct wr_chain *c, const struct wr_catalog *cat, uint32_t min_prob,
		    uint32_t max, struct wr_guesses *ret)
{
	uint32_t past[4];
	uint64_t prob = WR_PREDICT_SURE;

	memcpy(past, c->past, sizeof(past));
	ret->nr = 0;
	for (uint32_t step = 1; ret->nr < max && step <= 2 * max; step++) {
		uint32_t p = 0;
		const struct wr_link *l = best_link(c, cat, past, &p);

		prob = l ? prob * p >> 16 : 0;
		if (!l || prob < min_prob)
			return;
		ret->v[ret->nr++] = (struct wr_guess){
			.item = l->item, .prob = (uint32_t)prob, .distance = step};
		memmove(&past[1], &past[0], 3 * sizeof(past[0]));
		past[0] = l->item;
	}
}
