/* SPDX-License-Identifier: MIT */
/*
 * The histogram of reuse distances. Slots are picked by hash, so that following a key is one
 * comparison per reference; a slot that is busy lets the next reference be followed instead.
 */
#include <string.h>

#include "base/util.h"
#include "policy/reuse.h"

/* Followed references before all counts are halved. */
#define MEMORY 1024
/* Half the slots are busy when everything is followed to the horizon. */
#define BUSY (WR_REUSE_SLOTS / 2)

void wr_reuse_init(struct wr_reuse *r, uint64_t horizon)
{
	memset(r, 0, sizeof(*r));
	r->patience = wr_max(horizon, (uint64_t)BUSY);
	r->step = r->patience / BUSY;
}

static unsigned bin_of(uint64_t distance)
{
	unsigned shift;

	if (distance < 16)
		return (unsigned)distance;
	shift = 60u - (unsigned)__builtin_clzll(distance);
	return shift * 8 + (unsigned)(distance >> shift);
}

/* The first distance beyond a bin. */
static uint64_t end_of(unsigned bin)
{
	unsigned shift = bin < 16 ? 0 : bin / 8 - 1;
	uint64_t mantissa = bin < 16 ? bin : bin - shift * 8;

	return (mantissa + 1) << shift;
}

static void halve(struct wr_reuse *r)
{
	r->nr_followed = 0;
	r->nr_seen = 0;
	for (unsigned i = 0; i < WR_REUSE_BINS; i++) {
		r->bins[i] /= 2;
		r->nr_seen += r->bins[i];
	}
	for (unsigned i = 0; i < WR_REUSE_SLOTS; i++)
		r->nr_followed += r->slots[i].since != 0;
	r->nr_followed += r->nr_seen;
}

void wr_reuse_use(struct wr_reuse *r, uint64_t hash, uint64_t clock)
{
	uint64_t i = (hash >> 20) % WR_REUSE_SLOTS;
	uint64_t since = r->slots[i].since;

	if (since && r->slots[i].hash == hash) {
		r->bins[bin_of(clock + 1 - since)]++;
		r->nr_seen++;
		r->nr_ever++;
		r->slots[i].since = 0;
		since = 0;
	}
	if (clock < r->next || (since && clock + 1 - since < r->patience))
		return;
	r->next = clock + r->step;
	r->slots[i].hash = hash;
	r->slots[i].since = clock + 1;
	if (++r->nr_followed >= MEMORY)
		halve(r);
}

struct point {
	double kept; /* room taken when all are kept so long */
	double seen; /* share of references that hit then */
	uint64_t end;
};

/* The curve's upper hull, from nothing kept on; how many points. */
static unsigned hull(const struct wr_reuse *r, struct point points[WR_REUSE_BINS + 1])
{
	double kept = 0, seen = 0, all = (double)r->nr_followed;
	unsigned nr = 1;

	points[0] = (struct point){0};
	for (unsigned i = 0; i < WR_REUSE_BINS && seen < r->nr_seen; i++) {
		struct point p = {.end = end_of(i)};

		if (!r->bins[i])
			continue;
		seen += r->bins[i];
		kept += r->bins[i] * (double)p.end;
		p.kept = (kept + (all - seen) * (double)p.end) / all;
		p.seen = seen / all;
		/* What lies below the line from the point before it to this one goes. */
		while (nr > 1 && (points[nr - 1].seen - points[nr - 2].seen) *
						 (p.kept - points[nr - 2].kept) <=
					 (p.seen - points[nr - 2].seen) *
						 (points[nr - 1].kept - points[nr - 2].kept))
			nr--;
		points[nr++] = p;
	}
	return nr;
}

uint64_t wr_reuse_best(const struct wr_reuse *r, uint64_t room)
{
	struct point points[WR_REUSE_BINS + 1];
	unsigned nr = r->nr_seen ? hull(r, points) : 1;
	unsigned i = 1;

	while (i + 1 < nr && points[i].kept < (double)room)
		i++;
	return nr > 1 ? points[i].end : UINT64_MAX;
}

uint64_t wr_reuse_quantile(const struct wr_reuse *r, uint32_t permille)
{
	uint64_t need = ((uint64_t)r->nr_seen * permille + 999) / 1000;
	uint64_t seen = 0;

	for (unsigned i = 0; i < WR_REUSE_BINS; i++) {
		seen += r->bins[i];
		if (seen && seen >= need)
			return i ? end_of(i - 1) : 0;
	}
	return 0;
}
