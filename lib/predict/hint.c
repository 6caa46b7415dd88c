/* SPDX-License-Identifier: MIT */
/*
 * What the host says: single keys, and the order of what comes.
 *
 * A plan has a cursor. A reference that is the next of the plan moves it by one; one that stands
 * a little further on moves it there (the host left something out); any other leaves it, and
 * counts against the plan. When eight in a row were elsewhere, the cursor goes to where the last
 * of them stands in the plan, so a host that starts anew is followed.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "predict/sources.h"

#define SKIP_AHEAD 64u
#define LOST_AFTER 8u

uint64_t wr_hints_bytes(uint32_t nr_items)
{
	return (uint64_t)nr_items * (sizeof(uint16_t) + 2 * sizeof(uint32_t));
}

int wr_hints_init(struct wr_hints *h, uint32_t nr_items)
{
	memset(h, 0, sizeof(*h));
	h->of_item = wr_calloc(nr_items, sizeof(*h->of_item));
	h->plan = wr_calloc(nr_items, sizeof(*h->plan));
	h->place = wr_calloc(nr_items, sizeof(*h->place));
	if (h->of_item && h->plan && h->place)
		return 0;
	wr_hints_fini(h);
	return -ENOMEM;
}

void wr_hints_fini(struct wr_hints *h)
{
	wr_free(h->of_item);
	wr_free(h->plan);
	wr_free(h->place);
	h->of_item = NULL;
	h->plan = NULL;
	h->place = NULL;
}

static void drop(struct wr_hints *h, uint32_t place)
{
	struct wr_hint *last = &h->v[h->nr - 1];

	h->of_item[h->v[place].item] = 0;
	if (place != h->nr - 1) {
		h->v[place] = *last;
		h->of_item[last->item] = (uint16_t)(place + 1);
	}
	h->nr--;
}

void wr_hints_forget(struct wr_hints *h, uint32_t item)
{
	if (h->of_item[item])
		drop(h, h->of_item[item] - 1u);
}

static void expire(struct wr_hints *h)
{
	for (uint32_t i = h->nr; i-- > 0;) {
		if (h->v[i].until > h->now)
			continue;
		wr_judge(&h->judged[0], false);
		drop(h, i);
	}
}

int wr_hints_add(struct wr_hints *h, uint32_t item, uint32_t prob, bool need)
{
	uint32_t place = h->of_item[item];

	if (!prob) {
		wr_hints_forget(h, item);
		return 0;
	}
	/* What is needed stays so when it is called likely as well. */
	if (place && h->v[place - 1].need && !need)
		return 0;
	if (!place) {
		if (h->nr == WR_PREDICT_HINTS)
			expire(h);
		if (h->nr == WR_PREDICT_HINTS)
			return -ENOSPC;
		place = ++h->nr;
		h->of_item[item] = (uint16_t)place;
	}
	h->v[place - 1] = (struct wr_hint){.item = item,
					   .prob = prob,
					   .until = need ? UINT64_MAX : h->now + WR_HINT_LIFE,
					   .need = need};
	return 0;
}

static void plan_observe(struct wr_hints *h, uint32_t item)
{
	for (uint32_t k = 0; k < wr_min(SKIP_AHEAD, h->nr_plan); k++) {
		uint32_t at = h->cursor + k;

		if (at >= h->nr_plan && !h->cyclic)
			break;
		at %= h->nr_plan;
		if (h->plan[at] != item)
			continue;
		h->cursor = at + 1 == h->nr_plan && h->cyclic ? 0 : at + 1;
		h->nr_lost = 0;
		wr_judge(&h->plan_judged, k == 0);
		wr_tally_add(&h->kept, k == 0, 1);
		return;
	}
	wr_judge(&h->plan_judged, false);
	wr_tally_add(&h->kept, 0, 1);
	if (++h->nr_lost < LOST_AFTER || !h->place[item])
		return;
	h->cursor = h->place[item] == h->nr_plan && h->cyclic ? 0 : h->place[item];
	h->nr_lost = 0;
}

void wr_hints_observe(struct wr_hints *h, uint32_t item)
{
	uint32_t place = h->of_item[item];

	h->now++;
	if (place) {
		wr_judge(&h->judged[h->v[place - 1].need], true);
		drop(h, place - 1);
	}
	if (h->nr && h->now % WR_HINT_LIFE == 0)
		expire(h);
	if (h->nr_plan)
		plan_observe(h, item);
}

void wr_hints_guess(const struct wr_hints *h, bool need, uint32_t max, struct wr_guesses *ret)
{
	ret->nr = 0;
	for (uint32_t i = 0; i < h->nr; i++)
		if (h->v[i].need == need && h->v[i].until > h->now)
			wr_guess_insert(ret, max,
					(struct wr_guess){.item = h->v[i].item,
							  .prob = h->v[i].prob,
							  .distance = 1});
}

void wr_hints_plan_begin(struct wr_hints *h, uint32_t nr_items, bool cyclic)
{
	memset(h->place, 0, nr_items * sizeof(*h->place));
	h->nr_plan = 0;
	h->cursor = 0;
	h->nr_lost = 0;
	h->cyclic = cyclic;
	h->kept = (struct wr_tally){.hits = 16, .tries = 16};
}

void wr_hints_plan_add(struct wr_hints *h, uint32_t item)
{
	h->plan[h->nr_plan++] = item;
	if (!h->place[item])
		h->place[item] = h->nr_plan;
}

void wr_hints_plan_guess(const struct wr_hints *h, uint32_t max, struct wr_guesses *ret)
{
	uint32_t prob = wr_tally_prob(&h->kept, WR_PREDICT_SURE);

	ret->nr = 0;
	for (uint32_t k = 0; k < wr_min(max, h->nr_plan); k++) {
		uint32_t at = h->cursor + k;

		if (at >= h->nr_plan && !h->cyclic)
			return;
		ret->v[ret->nr++] = (struct wr_guess){
			.item = h->plan[at % h->nr_plan], .prob = prob, .distance = k + 1};
	}
}
