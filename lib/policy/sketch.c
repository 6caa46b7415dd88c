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

static uint8_t *line_of(const struct wr_sketch *s, uint64_t hash)
{
	return s->lines + ((hash >> 16) & s->mask) * LINE;
}

static unsigned least(const uint8_t *line, uint64_t hash)
{
	unsigned min = UINT8_MAX;

	for (unsigned row = 0; row < ROWS; row++)
		min = wr_min(min, (unsigned)line[row * 16 + ((hash >> (row * 4)) & 15)]);
	return min;
}

unsigned wr_sketch_count(const struct wr_sketch *s, uint64_t hash)
{
	return least(line_of(s, hash), hash);
}

unsigned wr_sketch_add(struct wr_sketch *s, uint64_t hash)
{
	uint8_t *line = line_of(s, hash);
	unsigned min = least(line, hash);

	if (min >= s->limit)
		return min;
	for (unsigned row = 0; row < ROWS; row++) {
		uint8_t *count = &line[row * 16 + ((hash >> (row * 4)) & 15)];

		*count = (uint8_t)(*count + (*count == min));
	}
	return min + 1;
}

void wr_sketch_halve(struct wr_sketch *s)
{
	for (uint64_t i = 0; i < (s->mask + 1) * LINE; i++)
		s->lines[i] = (uint8_t)(s->lines[i] >> 1);
}

void wr_sketch_copy(struct wr_sketch *s, const struct wr_sketch *from)
{
	wr_assert(s->mask == from->mask);
	for (uint64_t i = 0; i < (s->mask + 1) * LINE; i++)
		s->lines[i] = wr_min(from->lines[i], s->limit);
}
