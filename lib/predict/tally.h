/* SPDX-License-Identifier: MIT */
/*
 * Counting how often something came true, with the past fading: hits and tries are halved
 * together when the tries reach a limit, so the last few hundred judgements decide.
 */
#ifndef WR_PREDICT_TALLY_H
#define WR_PREDICT_TALLY_H

#include <stdbool.h>
#include <stdint.h>

#define WR_TALLY_MAX 512u

struct wr_tally {
	uint16_t hits;
	uint16_t tries;
};

static inline void wr_tally_add(struct wr_tally *t, uint32_t hits, uint32_t tries)
{
	t->hits = (uint16_t)(t->hits + hits);
	t->tries = (uint16_t)(t->tries + tries);
	while (t->tries >= WR_TALLY_MAX) {
		t->hits /= 2;
		t->tries /= 2;
	}
}

/*
 * Share of 65536, as if @prior of 65536 had been seen in one try before: never quite 0 or 1
 * while there is little evidence.
 */
static inline uint32_t wr_tally_prob(const struct wr_tally *t, uint32_t prior)
{
	return (t->hits * 65536u + prior) / (t->tries + 1u);
}

/* 8 * log2(x), rounded down to the eighth; 0 for x of 0. */
static inline uint32_t wr_log8(uint64_t x)
{
	/* Where 2^(i/8) begins, of 256. */
	static const uint16_t steps[9] = {256, 280, 305, 332, 363, 395, 431, 470, 512};
	uint32_t whole, frac, i;

	if (!x)
		return 0;
	whole = 63u - (uint32_t)__builtin_clzll(x);
	frac = (uint32_t)((x << (63 - whole)) >> 55);
	i = (frac - 256) >> 5;
	/* It is at most one too many or too few. */
	i = i - (frac < steps[i]) + (frac >= steps[i + 1]);
	return whole * 8 + i;
}

#endif /* WR_PREDICT_TALLY_H */
