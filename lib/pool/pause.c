/* SPDX-License-Identifier: MIT */
/* Counting pauses; see pause.h. */
#include "pool/pause.h"

#include "base/util.h"

#define PARTS_SHIFT 3u

_Static_assert(WR_PAUSE_PARTS == 1u << PARTS_SHIFT, "the parts of an octave are low bits");

/* Below 16 each length has its own; then the top four bits say which. */
static unsigned index_of(uint64_t ns)
{
	unsigned shift;

	if (ns < 2 * WR_PAUSE_PARTS)
		return (unsigned)ns;
	shift = 63u - (unsigned)__builtin_clzll(ns) - PARTS_SHIFT;
	return (shift << PARTS_SHIFT) + (unsigned)(ns >> shift);
}

/* The longest that is counted there. */
static uint64_t length_of(unsigned index)
{
	unsigned shift;

	if (index < 2 * WR_PAUSE_PARTS)
		return index;
	shift = (index >> PARTS_SHIFT) - 1;
	return ((uint64_t)(index - (shift << PARTS_SHIFT) + 1) << shift) - 1;
}

void wr_pauses_add(struct wr_pauses *p, uint64_t nr_blocks, uint64_t ns)
{
	p->nr += nr_blocks;
	p->longest_ns = wr_max(p->longest_ns, ns);
	p->count[index_of(ns)] += (uint32_t)nr_blocks;
}

uint64_t wr_pauses_quantile(const struct wr_pauses *p, unsigned permille)
{
	/* The rank without overflow, rounded up. */
	uint64_t rank = p->nr / 1000 * permille + (p->nr % 1000 * permille + 999) / 1000;
	uint64_t seen = 0;
	unsigned i;

	for (i = 0; i < WR_PAUSE_COUNTS; i++) {
		seen += p->count[i];
		if (seen >= rank && seen > 0)
			return wr_min(length_of(i), p->longest_ns);
	}
	return 0;
}
