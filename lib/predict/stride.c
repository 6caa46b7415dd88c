/* SPDX-License-Identifier: MIT */
/*
 * A stride that holds a majority of the last differences: Boyer and Moore's vote over the last 8,
 * then 16, then 32, so a change is followed soon and noise up to a half is borne (Al Maruf and
 * Chowdhury, "Effectively Prefetching Remote Memory with Leap", USENIX ATC 2020). An item that is
 * asked for twice in a row is no difference.
 */
#include <stdlib.h>
#include <string.h>

#include "predict/sources.h"

void wr_stride_init(struct wr_stride *s)
{
	memset(s, 0, sizeof(*s));
	s->last = WR_ITEM_NONE;
}

static uint32_t share_class(const struct wr_stride *s)
{
	return wr_min(s->votes * 8 / s->window, 8u) - 4;
}

static int32_t delta_at(const struct wr_stride *s, uint32_t back)
{
	return s->deltas[(s->nr - 1 - back) % WR_STRIDE_WINDOW];
}

static bool vote(struct wr_stride *s, uint32_t window)
{
	int32_t candidate = 0;
	uint32_t lead = 0, votes = 0;

	for (uint32_t i = 0; i < window; i++) {
		int32_t d = delta_at(s, i);

		if (!lead)
			candidate = d;
		if (d == candidate)
			lead++;
		else
			lead--;
	}
	for (uint32_t i = 0; i < window; i++)
		votes += delta_at(s, i) == candidate;
	if (2 * votes <= window)
		return false;
	s->stride = candidate;
	s->votes = votes;
	s->window = window;
	return true;
}

void wr_stride_observe(struct wr_stride *s, uint32_t item)
{
	bool right;

	if (s->last == WR_ITEM_NONE) {
		s->last = item;
		return;
	}
	if (item == s->last)
		return;
	if (s->stride) {
		right = (int64_t)item - s->last == s->stride;
		wr_judge(&s->judged, right);
		wr_tally_add(&s->right[share_class(s)], right, 1);
	}
	s->deltas[s->nr++ % WR_STRIDE_WINDOW] = (int32_t)(item - s->last);
	s->last = item;
	/* Twice round, so that the count never wraps to "few". */
	if (s->nr == 4 * WR_STRIDE_WINDOW)
		s->nr = 2 * WR_STRIDE_WINDOW;
	s->stride = 0;
	for (uint32_t w = 8; w <= WR_STRIDE_WINDOW && w <= s->nr; w *= 2)
		if (vote(s, w))
			return;
}

void wr_stride_guess(const struct wr_stride *s, const struct wr_catalog *cat, uint32_t min_prob,
		     uint32_t max, struct wr_guesses *ret)
{
	uint32_t prob;

	ret->nr = 0;
	if (!s->stride)
		return;
	prob = wr_tally_prob(&s->right[share_class(s)],
			     s->votes * (WR_PREDICT_SURE / 2) / s->window);
	if (prob < min_prob)
		return;
	for (uint32_t k = 1; k <= max; k++) {
		int64_t item = s->last + (int64_t)k * s->stride;

		if (item < 0 || item >= cat->nr_items)
			return;
		ret->v[ret->nr++] = (struct wr_guess){
			.item = (uint32_t)item, .prob = prob, .distance = k * s->window / s->votes};
	}
}
