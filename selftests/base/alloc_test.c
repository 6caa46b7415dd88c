/* SPDX-License-Identifier: MIT */
/* The allocator's door: refusals on order, the count of live blocks, products that wrap. */
#include <stdint.h>
#include <string.h>

#include "kselftest_harness.h"

#include "base/alloc.h"

TEST(exactly_the_nth_allocation_fails)
{
	void *p[4];

	for (uint64_t n = 1; n <= 4; n++) {
		wr_test_alloc_fail_at(n);
		for (uint64_t i = 0; i < 4; i++) {
			p[i] = wr_malloc(8);
			EXPECT_EQ(p[i] == NULL, i + 1 == n);
		}
		EXPECT_TRUE(wr_test_alloc_failed());
		for (int i = 0; i < 4; i++)
			wr_free(p[i]);
	}
}

TEST(an_order_taken_back_or_not_reached_fails_nothing)
{
	void *p;

	wr_test_alloc_fail_at(1);
	wr_test_alloc_fail_at(0);
	p = wr_malloc(8);
	EXPECT_NE(p, NULL);
	wr_free(p);
	wr_test_alloc_fail_at(5);
	p = wr_malloc(8);
	EXPECT_NE(p, NULL);
	EXPECT_FALSE(wr_test_alloc_failed());
	wr_free(p);
}

TEST(every_way_to_allocate_can_be_refused)
{
	char *kept = wr_strdup("kept");
	int64_t live = wr_test_alloc_live();

	ASSERT_NE(kept, NULL);
	wr_test_alloc_fail_at(1);
	EXPECT_EQ(wr_calloc(1, 1), NULL);
	wr_test_alloc_fail_at(1);
	EXPECT_EQ(wr_strdup("x"), NULL);
	wr_test_alloc_fail_at(1);
	EXPECT_EQ(wr_calloc_aligned(64, 64), NULL);
	wr_test_alloc_fail_at(1);
	EXPECT_EQ(wr_reallocarray(NULL, 1, 1), NULL);
	wr_test_alloc_fail_at(1);
	EXPECT_EQ(wr_realloc(kept, 100), NULL);
	/* The block that could not grow is still there. */
	EXPECT_STREQ(kept, "kept");
	EXPECT_EQ(wr_test_alloc_live(), live);
	wr_free(kept);
}

TEST(live_blocks_are_counted_through_growth_and_free)
{
	int64_t before = wr_test_alloc_live();
	char *p = wr_realloc(NULL, 10), *q;

	EXPECT_EQ(wr_test_alloc_live(), before + 1);
	q = wr_reallocarray(p, 100, 100);
	ASSERT_NE(q, NULL);
	EXPECT_EQ(wr_test_alloc_live(), before + 1);
	wr_free(q);
	wr_free(NULL);
	EXPECT_EQ(wr_test_alloc_live(), before);
}

TEST(a_product_that_wraps_is_a_refusal)
{
	volatile size_t half = SIZE_MAX / 2 + 1;

	EXPECT_EQ(wr_calloc(half, 2), NULL);
	EXPECT_EQ(wr_reallocarray(NULL, half, 2), NULL);
}

TEST(nothing_is_a_block_too)
{
	void *p = wr_malloc(0), *q = wr_calloc(0, 8), *r = wr_realloc(NULL, 0);

	EXPECT_NE(p, NULL);
	EXPECT_NE(q, NULL);
	EXPECT_NE(r, NULL);
	wr_free(p);
	wr_free(q);
	wr_free(r);
}

TEST(aligned_blocks_are_aligned_and_zero)
{
	unsigned char *p = wr_calloc_aligned(4096, 300);

	ASSERT_NE(p, NULL);
	EXPECT_EQ((uintptr_t)p % 4096, 0u);
	for (int i = 0; i < 300; i++)
		EXPECT_EQ(p[i], 0);
	wr_free(p);
}

TEST(a_copied_text_ends_where_it_is_told)
{
	char *p = wr_strndup("abcdef", 3), *q = wr_strndup("ab", 30);

	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	EXPECT_STREQ(p, "abc");
	EXPECT_STREQ(q, "ab");
	wr_free(p);
	wr_free(q);
}

TEST_HARNESS_MAIN
