/* SPDX-License-Identifier: MIT */
/*
 * Each item's mean interval: when it is due, and how reliable that is.
 *
 * Items lie in the bucket of a wheel in which they are due, so what comes soon is found without
 * looking at all of them. Mean and mean deviation follow with a weight of 1/8. Items of one class
 * of relative deviation are judged together: right is what comes within twice its deviation, an
 * eighth of its interval at most (and half a bucket's width), of when it was due. What is overdue by more is judged wrong and taken from
 * the wheel until it is seen again. Intervals beyond the wheel's turn are not foreseen.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "predict/sources.h"

#define MIN_INTERVALS 2u
#define HORIZON	      (WR_RHYTHM_BUCKETS / 2 * WR_RHYTHM_STEP)

uint64_t wr_rhythm_bytes(uint32_t nr_items)
{
	return (uint64_t)nr_items * sizeof(struct wr_beat);
}

int wr_rhythm_init(struct wr_rhythm *r, uint32_t nr_items)
{
	memset(r, 0, sizeof(*r));
	r->beats = wr_calloc(nr_items, sizeof(*r->beats));
	return r->beats ? 0 : -ENOMEM;
}

void wr_rhythm_fini(struct wr_rhythm *r)
{
	wr_free(r->beats);
	r->beats = NULL;
}

static uint32_t bucket_of(uint64_t due)
{
	return (uint32_t)(due / WR_RHYTHM_STEP % WR_RHYTHM_BUCKETS);
}

static void unlink_beat(struct wr_rhythm *r, uint32_t item)
{
	struct wr_beat *b = &r->beats[item];

	if (!b->bucket)
		return;
	if (b->prev)
		r->beats[b->prev - 1].next = b->next;
	else
		r->heads[b->bucket - 1] = b->next;
	if (b->next)
		r->beats[b->next - 1].prev = b->prev;
	b->bucket = b->next = b->prev = 0;
	r->nr_due--;
}

static void link_beat(struct wr_rhythm *r, uint32_t item, uint64_t due)
{
	struct wr_beat *b = &r->beats[item];
	uint32_t bucket = bucket_of(due);

	b->bucket = bucket + 1;
	b->prev = 0;
	b->next = r->heads[bucket];
	if (b->next)
		r->beats[b->next - 1].prev = item + 1;
	r->heads[bucket] = item + 1;
	r->nr_due++;
}

void wr_rhythm_forget(struct wr_rhythm *r, uint32_t item)
{
	unlink_beat(r, item);
	memset(&r->beats[item], 0, sizeof(r->beats[item]));
}

static uint64_t due_of(const struct wr_beat *b)
{
	return b->last + (b->mean_x16 + 8) / 16;
}

/* References it may be late or early and still be right. */
static uint64_t slack_of(const struct wr_beat *b)
{
	return wr_min(b->stray_x16 / 8, b->mean_x16 / 128) + WR_RHYTHM_STEP / 2;
}

static uint32_t class_of(const struct wr_beat *b)
{
	return (uint32_t)wr_min(b->stray_x16 * (uint64_t)16 / (b->mean_x16 + 1u),
				(uint64_t)WR_RHYTHM_CLASSES - 1);
}

static void judge(struct wr_rhythm *r, const struct wr_beat *b, bool right)
{
	wr_judge(&r->judged, right);
	wr_tally_add(&r->right[class_of(b)], right, 1);
}

/* What should have come by now is judged when the wheel has turned past it. */
static void drop_overdue(struct wr_rhythm *r)
{
	uint32_t bucket = bucket_of(r->now + WR_RHYTHM_BUCKETS / 2 * WR_RHYTHM_STEP);

	while (r->heads[bucket]) {
		uint32_t item = r->heads[bucket] - 1;

		judge(r, &r->beats[item], false);
		unlink_beat(r, item);
	}
}

static void follow(struct wr_beat *b, uint64_t now)
{
	uint64_t x16 = wr_min(now - b->last, (uint64_t)UINT32_MAX / 32) * 16;
	uint64_t stray = x16 > b->mean_x16 ? x16 - b->mean_x16 : b->mean_x16 - x16;

	if (!b->nr) {
		b->mean_x16 = (uint32_t)x16;
		b->stray_x16 = (uint32_t)x16 / 4;
	} else {
		b->mean_x16 = (uint32_t)(((uint64_t)b->mean_x16 * 7 + x16 + 4) / 8);
		b->stray_x16 = (uint32_t)(((uint64_t)b->stray_x16 * 7 + stray) / 8);
	}
	b->nr = (uint16_t)(b->nr + (b->nr < UINT16_MAX));
}

void wr_rhythm_observe(struct wr_rhythm *r, uint32_t item)
{
	struct wr_beat *b = &r->beats[item];

	r->now++;
	if (r->now % WR_RHYTHM_STEP == 0)
		drop_overdue(r);
	if (b->bucket) {
		uint64_t due = due_of(b);
		uint64_t off = due > r->now ? due - r->now : r->now - due;

		judge(r, b, off <= slack_of(b));
		unlink_beat(r, item);
	}
	if (b->last)
		follow(b, r->now);
	b->last = r->now;
	if (b->nr >= MIN_INTERVALS && b->mean_x16 / 16 < HORIZON && b->mean_x16 >= 16)
		link_beat(r, item, due_of(b));
}

void wr_rhythm_guess(const struct wr_rhythm *r, uint32_t min_prob, uint32_t max,
		     struct wr_guesses *ret)
{
	uint32_t seen = 0;

	ret->nr = 0;
	for (uint32_t i = 0; r->nr_due && i < WR_RHYTHM_BUCKETS / 16 && seen < 2 * max; i++) {
		uint32_t next = r->heads[bucket_of(r->now + 1 + i * WR_RHYTHM_STEP)];

		for (; next && seen < 2 * max; next = r->beats[next - 1].next, seen++) {
			const struct wr_beat *b = &r->beats[next - 1];
			uint64_t due = due_of(b);
			uint32_t p = wr_tally_prob(&r->right[class_of(b)], WR_PREDICT_SURE / 16);

			if (p < min_prob || due + slack_of(b) <= r->now)
				continue;
			due = due > r->now ? due - r->now : 1;
			wr_guess_insert(ret, max,
					(struct wr_guess){.item = next - 1,
							  .prob = p,
							  .distance = (uint32_t)due});
		}
	}
}
