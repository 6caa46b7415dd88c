/* SPDX-License-Identifier: MIT */
/*
 * The sketch: bits 0 to 15 of a hash pick four counters of 16 in a line, the rest picks the line.
 * Updates are conservative: only the least of the four counters grow.
 */
#include <errno.h>

#include "base/alloc.h"
#include "base/util.h"
#include "policy/sketch.h"

#define LINE 64u
#define ROWS 4u

int wr_sketch_init(struct wr_sketch *s, uint64_t nr, uint8_t limit)
{
	uint64_t nr_lines = 4;

	/* 16 counters a key: with conservative updates neighbours then hardly disturb. */
	while (nr_lines * (LINE / 16) < nr && nr_lines < (uint64_t)1 << 26)
		nr_lines *= 2;
	*s = (struct wr_sketch){.mask = nr_lines - 1, .limit = limit};
	s->lines = wr_calloc_aligned(LINE, nr_lines * LINE);
	return s->lines ? 0 : -ENOMEM;
}

void wr_sketch_fini(struct wr_sketch *s)
{
	wr_free(s->lines);
	*s = (struct wr_sketch){0};
}

/* The counters of a key, one in each row. */
struct place {
	uint8_t *at[ROWS];
	unsigned least;
};

static struct place find(const struct wr_sketch *s, uint64_t hash)
{
	uint8_t *line = s->lines + ((hash >> 16) & s->mask) * LINE;
	struct place p = {{line + (hash & 15), line + 16 + (hash >> 4 & 15),
			   line + 32 + (hash >> 8 & 15), line + 48 + (hash >> 12 & 15)},
			  0};
	unsigned a = wr_min(*p.at[0], *p.at[1]);
	unsigned b = wr_min(*p.at[2], *p.at[3]);

	p.least = wr_min(a, b);
	return p;
}

unsigned wr_sketch_count(const struct wr_sketch *s, uint64_t hash)
{
	return find(s, hash).least;
}

unsigned wr_sketch_add(struct wr_sketch *s, uint64_t hash)
{
	struct place p = find(s, hash);

	if (p.least >= s->limit)
		return p.least;
	for (unsigned row = 0; row < ROWS; row++)
		*p.at[row] = (uint8_t)(*p.at[row] + (*p.at[row] == p.least));
	return p.least + 1;
}

void wr_sketch_halve(struct wr_sketch *s)
{
	for (uint64_t i = 0; i < (s->mask + 1) * LINE; i++)
		s->lines[i] = (uint8_t)(s->lines[i] >> 1);
}

void wr_sketch_copy(struct wr_sketch *s, const struct wr_sketch *from, unsigned times)
{
	wr_assert(s->mask == from->mask);
	for (uint64_t i = 0; i < (s->mask + 1) * LINE; i++)
		s->lines[i] = (uint8_t)wr_min(from->lines[i] * times, (unsigned)s->limit);
}
