/* SPDX-License-Identifier: MIT */
/*
 * The buddy against a model that is too simple to be wrong: an array with a byte a block,
 * searched from the front. Both must agree on every address, not only on success.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/random.h"
#include "base/util.h"
#include "pool/buddy.h"

#define MAX_RUNS 4096

struct model {
	uint8_t *used;
	uint64_t nr_blocks;
};

static bool model_is_free(const struct model *m, uint64_t start, uint64_t nr)
{
	if (start + nr > m->nr_blocks)
		return false;
	return memchr(m->used + start, 1, nr) == NULL;
}

static bool model_find(const struct model *m, uint64_t nr, uint64_t step, uint64_t whole,
		       uint64_t *ret)
{
	uint64_t start;

	for (start = 0; start < m->nr_blocks; start += step) {
		if (!model_is_free(m, start, whole) || nr > whole)
			continue;
		*ret = start;
		return true;
	}
	return false;
}

static int model_alloc(struct model *m, uint64_t nr, unsigned align_order, uint64_t *ret)
{
	uint64_t whole = 1ull << align_order;

	while (whole < nr)
		whole *= 2;
	if (!model_find(m, nr, whole, whole, ret) &&
	    !model_find(m, nr, 1ull << align_order, nr, ret))
		return -ENOSPC;
	memset(m->used + *ret, 1, nr);
	return 0;
}

static uint64_t model_longest(const struct model *m)
{
	uint64_t i, run = 0, longest = 0;

	for (i = 0; i < m->nr_blocks; i++) {
		run = m->used[i] ? 0 : run + 1;
		longest = wr_max(longest, run);
	}
	return longest;
}

FIXTURE(random_runs)
{
	struct wr_buddy buddy;
	struct model model;
	uint64_t start[MAX_RUNS];
	uint64_t nr[MAX_RUNS];
	size_t live;
	uint64_t random;
};

FIXTURE_VARIANT(random_runs)
{
	uint64_t nr_blocks;
	uint64_t largest;
	unsigned align;
	unsigned nr_steps;
	uint64_t seed;
};

FIXTURE_VARIANT_ADD(random_runs, one_word){
	.nr_blocks = 64,
	.largest = 20,
	.align = 2,
	.nr_steps = 100000,
	.seed = 1,
};
FIXTURE_VARIANT_ADD(random_runs, a_few_blocks){
	.nr_blocks = 13,
	.largest = 13,
	.align = 1,
	.nr_steps = 100000,
	.seed = 2,
};
FIXTURE_VARIANT_ADD(random_runs, odd_chunks){
	.nr_blocks = 512 * 3 + 77,
	.largest = 700,
	.align = 4,
	.nr_steps = 100000,
	.seed = 3,
};
FIXTURE_VARIANT_ADD(random_runs, single_blocks){
	.nr_blocks = 4096,
	.largest = 3,
	.align = 1,
	.nr_steps = 100000,
	.seed = 4,
};
FIXTURE_VARIANT_ADD(random_runs, many_chunks){
	.nr_blocks = 512 * 77 + 5,
	.largest = 4000,
	.align = 10,
	.nr_steps = 10000,
	.seed = 5,
};
FIXTURE_VARIANT_ADD(random_runs, runs_above_a_chunk){
	.nr_blocks = 512 * 64 * 2,
	.largest = 30000,
	.align = 1,
	.nr_steps = 4000,
	.seed = 6,
};

FIXTURE_SETUP(random_runs)
{
	self->random = variant->seed * 0x9e3779b97f4a7c15ull;
	self->live = 0;
	self->model.nr_blocks = variant->nr_blocks;
	self->model.used = calloc(1, variant->nr_blocks);
	ASSERT_NE(NULL, self->model.used);
	ASSERT_EQ(0, wr_buddy_init(&self->buddy, variant->nr_blocks));
}

FIXTURE_TEARDOWN(random_runs)
{
	wr_buddy_fini(&self->buddy);
	free(self->model.used);
}

TEST_F(random_runs, agree_with_the_naive_model)
{
	uint64_t nr, expected = 0, got = 0;
	unsigned step, align;
	size_t pick;
	int rc;

	for (step = 0; step < variant->nr_steps; step++) {
		/* Periods of growth and of shrinking, so that full and empty are both seen. */
		bool grow = wr_xorshift64(&self->random) % 8 < ((step / 512) % 2 ? 2u : 6u);

		if (grow && self->live < MAX_RUNS) {
			nr = 1 + wr_xorshift64(&self->random) % variant->largest;
			if (wr_xorshift64(&self->random) % 4 == 0)
				nr = 1 + nr % 4;
			align = (unsigned)(wr_xorshift64(&self->random) % (variant->align + 1));
			rc = model_alloc(&self->model, nr, align, &expected);
			ASSERT_EQ(rc, wr_buddy_alloc(&self->buddy, nr, align, &got));
			if (rc)
				continue;
			ASSERT_EQ(expected, got);
			self->start[self->live] = got;
			self->nr[self->live++] = nr;
		} else if (self->live > 0) {
			pick = wr_xorshift64(&self->random) % self->live;
			wr_buddy_free(&self->buddy, self->start[pick], self->nr[pick]);
			memset(self->model.used + self->start[pick], 0, self->nr[pick]);
			self->live--;
			self->start[pick] = self->start[self->live];
			self->nr[pick] = self->nr[self->live];
		}
		if (step % 64 == 0) {
			ASSERT_EQ(model_longest(&self->model), wr_buddy_longest_run(&self->buddy));
		}
		if (step % 512 == 0)
			ASSERT_TRUE(wr_buddy_is_consistent(&self->buddy));
	}
	while (self->live > 0) {
		self->live--;
		wr_buddy_free(&self->buddy, self->start[self->live], self->nr[self->live]);
	}
	EXPECT_EQ(variant->nr_blocks, wr_buddy_longest_run(&self->buddy));
	EXPECT_EQ(variant->nr_blocks, self->buddy.nr_free);
	EXPECT_TRUE(wr_buddy_is_consistent(&self->buddy));
}

static bool model_find_high(const struct model *m, uint64_t whole, uint64_t *ret)
{
	uint64_t i;

	for (i = wr_align_down(m->nr_blocks, whole) / whole; i-- > 0;)
		if (model_is_free(m, i * whole, whole)) {
			*ret = i * whole;
			return true;
		}
	return false;
}

static int model_alloc_high(struct model *m, uint64_t nr, unsigned align_order, uint64_t *ret)
{
	uint64_t whole = 1ull << align_order;

	while (whole < nr)
		whole *= 2;
	if (!model_find_high(m, whole, ret))
		return model_alloc(m, nr, align_order, ret);
	memset(m->used + *ret, 1, nr);
	return 0;
}

/* As model_alloc(), with all that is outside of [lo, hi) taken for used. */
static int model_alloc_in(struct model *m, uint64_t lo, uint64_t hi, uint64_t nr,
			  unsigned align_order, uint64_t *ret)
{
	struct model inside = {.used = malloc(m->nr_blocks), .nr_blocks = hi};
	int rc;

	memcpy(inside.used, m->used, m->nr_blocks);
	memset(inside.used, 1, lo);
	rc = model_alloc(&inside, nr, align_order, ret);
	if (rc == 0)
		memset(m->used + *ret, 1, nr);
	free(inside.used);
	return rc;
}

TEST_F(random_runs, agree_with_the_model_from_above_and_within_bounds)
{
	uint64_t nr, lo, hi, expected = 0, got = 0;
	unsigned step, align;
	size_t pick;
	int rc;

	for (step = 0; step < variant->nr_steps / 8; step++) {
		bool grow = wr_xorshift64(&self->random) % 8 < ((step / 512) % 2 ? 2u : 6u);

		if (grow && self->live < MAX_RUNS) {
			nr = 1 + wr_xorshift64(&self->random) % variant->largest;
			align = (unsigned)(wr_xorshift64(&self->random) % (variant->align + 1));
			lo = wr_xorshift64(&self->random) % variant->nr_blocks;
			hi = lo + wr_xorshift64(&self->random) % (variant->nr_blocks - lo + 1);
			if (step % 2) {
				rc = model_alloc_high(&self->model, nr, align, &expected);
				ASSERT_EQ(rc, wr_buddy_alloc_high(&self->buddy, nr, align, &got));
			} else {
				/* Bounds are multiples of what is asked for, or not. */
				if (step % 4) {
					lo = wr_align_down(lo, 512);
					hi = wr_align_down(hi, 512);
				}
				hi = wr_max(lo, hi);
				rc = model_alloc_in(&self->model, lo, hi, nr, align, &expected);
				ASSERT_EQ(rc,
					  wr_buddy_alloc_in(&self->buddy, lo, hi, nr, align, &got));
			}
			if (rc)
				continue;
			ASSERT_EQ(expected, got);
			self->start[self->live] = got;
			self->nr[self->live++] = nr;
		} else if (self->live > 0) {
			pick = wr_xorshift64(&self->random) % self->live;
			wr_buddy_free(&self->buddy, self->start[pick], self->nr[pick]);
			memset(self->model.used + self->start[pick], 0, self->nr[pick]);
			self->live--;
			self->start[pick] = self->start[self->live];
			self->nr[pick] = self->nr[self->live];
		}
		if (step % 64 == 0) {
			lo = wr_xorshift64(&self->random) % variant->nr_blocks;
			hi = lo + wr_xorshift64(&self->random) % (variant->nr_blocks - lo + 1);
			for (nr = 0, pick = lo; pick < hi; pick++)
				nr += !self->model.used[pick];
			ASSERT_EQ(nr, wr_buddy_nr_free_in(&self->buddy, lo, hi));
		}
	}
	EXPECT_TRUE(wr_buddy_is_consistent(&self->buddy));
}

TEST(every_length_of_run_takes_exactly_its_blocks)
{
	const uint64_t nr_blocks = 512 * 9;
	struct wr_buddy b;
	uint64_t nr, start;

	ASSERT_EQ(0, wr_buddy_init(&b, nr_blocks));
	for (nr = 1; nr <= nr_blocks; nr++) {
		ASSERT_EQ(0, wr_buddy_alloc(&b, nr, 0, &start));
		ASSERT_EQ(0u, start);
		ASSERT_EQ(nr_blocks - nr, b.nr_free);
		ASSERT_TRUE(wr_buddy_is_used(&b, 0, nr));
		/* The very next block is free: it can be taken. */
		if (nr < nr_blocks) {
			ASSERT_EQ(nr_blocks - nr, wr_buddy_longest_run(&b));
		}
		wr_buddy_free(&b, start, nr);
	}
	EXPECT_EQ(nr_blocks, wr_buddy_longest_run(&b));
	wr_buddy_fini(&b);
}

TEST(a_run_of_every_block_is_possible_though_no_power_of_two)
{
	static const uint64_t sizes[] = {1, 3, 63, 65, 511, 513, 778 * 256, 512 * 4097 + 1};
	struct wr_buddy b;
	uint64_t start, one;
	size_t i;

	for (i = 0; i < wr_array_size(sizes); i++) {
		ASSERT_EQ(0, wr_buddy_init(&b, sizes[i]));
		ASSERT_EQ(0, wr_buddy_alloc(&b, sizes[i], 0, &start));
		EXPECT_EQ(0u, start);
		EXPECT_EQ(0u, b.nr_free);
		EXPECT_EQ(0u, wr_buddy_longest_run(&b));
		EXPECT_EQ(-ENOSPC, wr_buddy_alloc(&b, 1, 0, &one));
		wr_buddy_free(&b, start, sizes[i]);
		EXPECT_EQ(sizes[i], wr_buddy_longest_run(&b));
		EXPECT_TRUE(wr_buddy_is_consistent(&b));
		wr_buddy_fini(&b);
	}
}

TEST(the_longest_run_can_be_taken_wherever_it_starts)
{
	const uint64_t nr_blocks = 512 * 20 + 3;
	uint64_t start, longest;
	struct wr_buddy b;

	ASSERT_EQ(0, wr_buddy_init(&b, nr_blocks));
	ASSERT_EQ(0, wr_buddy_alloc(&b, 1, 0, &start));
	longest = wr_buddy_longest_run(&b);
	EXPECT_EQ(nr_blocks - 1, longest);
	EXPECT_EQ(-ENOSPC, wr_buddy_alloc(&b, longest + 1, 0, &start));
	ASSERT_EQ(0, wr_buddy_alloc(&b, longest, 0, &start));
	EXPECT_EQ(1u, start);
	wr_buddy_fini(&b);
}

TEST(a_checkerboard_merges_back_into_one_run)
{
	const uint64_t nr_blocks = 512 * 16;
	struct wr_buddy b;
	uint64_t i, start;

	ASSERT_EQ(0, wr_buddy_init(&b, nr_blocks));
	for (i = 0; i < nr_blocks; i++) {
		ASSERT_EQ(0, wr_buddy_alloc(&b, 1, 0, &start));
		ASSERT_EQ(i, start); /* lowest first */
	}
	for (i = 0; i < nr_blocks; i += 2)
		wr_buddy_free(&b, i, 1);
	EXPECT_EQ(1u, wr_buddy_longest_run(&b));
	EXPECT_EQ(-ENOSPC, wr_buddy_alloc(&b, 2, 0, &start));
	for (i = 1; i < nr_blocks; i += 2)
		wr_buddy_free(&b, i, 1);
	EXPECT_EQ(nr_blocks, wr_buddy_longest_run(&b));
	EXPECT_TRUE(wr_buddy_is_consistent(&b));
	wr_buddy_fini(&b);
}

TEST(a_run_may_be_given_back_in_parts)
{
	struct wr_buddy b;
	uint64_t start;

	ASSERT_EQ(0, wr_buddy_init(&b, 2048));
	ASSERT_EQ(0, wr_buddy_alloc(&b, 1500, 0, &start));
	wr_buddy_free(&b, start + 700, 800);
	EXPECT_EQ(2048u - 700, wr_buddy_longest_run(&b));
	wr_buddy_free(&b, start, 300);
	wr_buddy_free(&b, start + 300, 400);
	EXPECT_EQ(2048u, wr_buddy_longest_run(&b));
	wr_buddy_fini(&b);
}

TEST(sizes_out_of_range_and_missing_memory_are_refused)
{
	struct wr_buddy b;

	EXPECT_EQ(-EINVAL, wr_buddy_init(&b, 0));
	EXPECT_EQ(-EINVAL, wr_buddy_init(&b, (1ull << 40) + 1));
	wr_test_alloc_fail_at(1);
	EXPECT_EQ(-ENOMEM, wr_buddy_init(&b, 512));
	wr_test_alloc_fail_at(0);
	wr_buddy_fini(&b);
	EXPECT_EQ(0, wr_test_alloc_live());
}

TEST(bit_fields_and_summaries_cost_less_than_a_ten_thousandth)
{
	const uint64_t nr_blocks = 24ull << 18; /* 24 GiB of 4 KiB */
	struct wr_buddy b;

	ASSERT_EQ(0, wr_buddy_init(&b, nr_blocks));
	EXPECT_LT(b.memory_bytes, nr_blocks * 4096 / 10000);
	wr_buddy_fini(&b);
}

TEST_HARNESS_MAIN
