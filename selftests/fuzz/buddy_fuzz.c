/* SPDX-License-Identifier: MIT */
/*
 * The buddy against an array of bytes: any sequence of takes, gives and looks. What the
 * header of pool/buddy.h promises is checked at each step in the plainest way there is.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "fuzz/fuzz.h"
#include "pool/buddy.h"

#define MOST_BLOCKS 5000u

static uint8_t is_used[MOST_BLOCKS];

static uint64_t nr_used_in(uint64_t start, uint64_t nr)
{
	uint64_t sum = 0;
	uint64_t i;

	for (i = start; i < start + nr; i++)
		sum += is_used[i];
	return sum;
}

/* The lowest free run at multiples of @step, UINT64_MAX when there is none. */
static uint64_t lowest(uint64_t nr_blocks, uint64_t nr, uint64_t step)
{
	uint64_t start;

	for (start = 0; start + nr <= nr_blocks; start += step)
		if (nr_used_in(start, nr) == 0)
			return start;
	return UINT64_MAX;
}

static void take(struct wr_buddy *b, uint64_t nr, unsigned align_order)
{
	uint64_t whole = 1ull << align_order;
	uint64_t start = 0, want;
	int rc;

	while (whole < nr)
		whole *= 2;
	/* The head of the lowest aligned power of two, else the lowest run that is aligned. */
	want = lowest(b->nr_blocks, whole, whole);
	if (want == UINT64_MAX)
		want = lowest(b->nr_blocks, nr, 1ull << align_order);
	rc = wr_buddy_alloc(b, nr, align_order, &start);
	must(rc == (want == UINT64_MAX ? -ENOSPC : 0));
	if (rc != 0)
		return;
	must(start == want);
	memset(is_used + start, 1, nr);
}

static void give(struct wr_buddy *b, uint64_t start, uint64_t nr)
{
	while (start < b->nr_blocks && !is_used[start])
		start++;
	if (start == b->nr_blocks)
		return;
	while (nr > 1 && (start + nr > b->nr_blocks || nr_used_in(start, nr) != nr))
		nr /= 2;
	must(wr_buddy_is_used(b, start, nr));
	wr_buddy_free(b, start, nr);
	memset(is_used + start, 0, nr);
}

static void look(const struct wr_buddy *b)
{
	uint64_t longest = 0, run = 0, pos = 0;
	uint64_t i, start, end;

	must(wr_buddy_is_consistent(b));
	must(b->nr_free == b->nr_blocks - nr_used_in(0, b->nr_blocks));
	for (i = 0; i < b->nr_blocks; i++) {
		run = is_used[i] ? 0 : run + 1;
		longest = wr_max(longest, run);
	}
	must(wr_buddy_longest_run(b) == longest);
	while (wr_buddy_next_run(b, pos, &start, &end)) {
		must(start >= pos && end > start && nr_used_in(pos, start - pos) == start - pos);
		must(nr_used_in(start, end - start) == 0);
		must(end == b->nr_blocks || is_used[end]);
		pos = end;
	}
	must(nr_used_in(pos, b->nr_blocks - pos) == b->nr_blocks - pos);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wr_buddy b;
	size_t i;

	if (size < 2)
		return 0;
	memset(is_used, 0, sizeof(is_used));
	must(wr_buddy_init(&b, 1 + (data[0] | data[1] << 8) % MOST_BLOCKS) == 0);
	for (i = 2; i + 3 <= size && i < 3 * 400; i += 3) {
		uint64_t nr = 1 + (uint64_t)(data[i + 1] | (data[i] >> 6) << 8);

		if (data[i] % 8 < 4)
			take(&b, nr, data[i] / 8 % 5);
		else
			give(&b, (uint64_t)data[i + 2] * b.nr_blocks / 256, nr);
		if (i % 24 == 2)
			look(&b);
	}
	look(&b);
	wr_buddy_fini(&b);
	return 0;
}
