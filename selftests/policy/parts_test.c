/* SPDX-License-Identifier: MIT */
/* The tables that policies are made of: ghosts, counts of uses, distances of reuse. */
#include "kselftest_harness.h"

#include <errno.h>

#include "base/alloc.h"
#include "policy/ghost.h"
#include "policy/reuse.h"
#include "policy/sketch.h"

static uint64_t mix(uint64_t i)
{
	i = (i + 1) * 0x9e3779b97f4a7c15u;
	i = (i ^ i >> 31) * 0xbf58476d1ce4e5b9u;
	return i ^ i >> 29;
}

TEST(ghosts_leave_the_oldest_first_and_the_longer_list_first)
{
	struct wr_ghosts g;

	ASSERT_EQ(wr_ghosts_init(&g, 100), 0);
	for (uint64_t i = 0; i < 60; i++)
		wr_ghosts_add(&g, 0, mix(i), 2);
	for (uint64_t i = 100; i < 140; i++)
		wr_ghosts_add(&g, 1, mix(i), 3);
	EXPECT_EQ(g.nr[0], 60u);
	EXPECT_EQ(g.bytes[1], 120u);
	/* It is full. */
	for (uint64_t i = 200; i < 210; i++)
		wr_ghosts_add(&g, 1, mix(i), 3);
	EXPECT_EQ(g.nr[0], 50u);
	EXPECT_EQ(g.bytes[0], 100u);
	EXPECT_EQ(wr_ghosts_find(&g, mix(9)), NULL);
	ASSERT_NE(wr_ghosts_find(&g, mix(10)), NULL);
	EXPECT_EQ(wr_ghosts_find(&g, mix(10))->list, 0u);
	/* Again: once, and as the latest. */
	wr_ghosts_add(&g, 1, mix(10), 5);
	EXPECT_EQ(g.nr[0], 49u);
	EXPECT_EQ(wr_ghosts_find(&g, mix(10))->list, 1u);
	EXPECT_TRUE(wr_ghosts_drop(&g, mix(10)));
	EXPECT_FALSE(wr_ghosts_drop(&g, mix(10)));
	for (unsigned i = 0; i < 49; i++)
		EXPECT_TRUE(wr_ghosts_drop_oldest(&g, 0));
	EXPECT_FALSE(wr_ghosts_drop_oldest(&g, 0));
	EXPECT_EQ(g.bytes[0], 0u);
	wr_ghosts_fini(&g);
}

TEST(ghosts_without_memory_leave_nothing_behind)
{
	struct wr_ghosts g;

	for (uint64_t n = 1; n <= 2; n++) {
		wr_test_alloc_fail_at(n);
		EXPECT_EQ(wr_ghosts_init(&g, 100), -ENOMEM);
		EXPECT_EQ(wr_test_alloc_live(), 0);
	}
	wr_test_alloc_fail_at(0);
}

TEST(a_sketch_never_counts_too_little_and_seldom_too_much)
{
	const unsigned keys = 2000;
	struct wr_sketch s;
	unsigned wrong = 0;

	ASSERT_EQ(wr_sketch_init(&s, keys, 255), 0);
	for (unsigned i = 0; i < keys; i++)
		for (unsigned k = 0; k <= i % 7; k++)
			wr_sketch_add(&s, mix(i));
	for (unsigned i = 0; i < keys; i++) {
		EXPECT_GE(wr_sketch_count(&s, mix(i)), 1 + i % 7);
		wrong += wr_sketch_count(&s, mix(i)) > 1 + i % 7;
	}
	EXPECT_LT(wrong, keys / 10);
	wr_sketch_halve(&s);
	EXPECT_GE(wr_sketch_count(&s, mix(6)), 3u);
	EXPECT_LE(wr_sketch_count(&s, mix(6)), 5u);
	wr_sketch_fini(&s);
}

TEST(a_sketch_stops_at_its_limit_and_copies_up_to_it)
{
	struct wr_sketch s, small;

	ASSERT_EQ(wr_sketch_init(&s, 100, 255), 0);
	ASSERT_EQ(wr_sketch_init(&small, 100, 15), 0);
	for (unsigned i = 0; i < 1000; i++)
		wr_sketch_add(&s, mix(1));
	EXPECT_EQ(wr_sketch_count(&s, mix(1)), 255u);
	wr_sketch_copy(&small, &s, 1);
	EXPECT_EQ(wr_sketch_count(&small, mix(1)), 15u);
	EXPECT_EQ(wr_sketch_add(&small, mix(1)), 15u);
	wr_sketch_fini(&s);
	wr_sketch_fini(&small);
}

TEST(in_a_loop_all_distances_are_its_length)
{
	static struct wr_reuse r;

	wr_reuse_init(&r, 100000);
	EXPECT_EQ(wr_reuse_best(&r, 100), UINT64_MAX);
	EXPECT_EQ(wr_reuse_quantile(&r, 500), 0u);
	for (uint64_t i = 0; i < 50000; i++)
		wr_reuse_use(&r, mix(i % 1000), i);
	/* Bins are an eighth wide. */
	EXPECT_GE(wr_reuse_best(&r, 100), 1000u);
	EXPECT_LE(wr_reuse_best(&r, 100), 1125u);
	EXPECT_LE(wr_reuse_quantile(&r, 50), 1000u);
	EXPECT_GE(wr_reuse_quantile(&r, 50), 888u);
}

TEST(what_is_used_soon_is_kept_for_short_while_there_is_no_room_for_more)
{
	static struct wr_reuse r;
	uint64_t fresh = 1000000;
	uint32_t before;

	wr_reuse_init(&r, 100000);
	/* One of ten hot things, and one of a loop of 5000, in turn. */
	for (uint64_t i = 0; i < 200000; i++)
		wr_reuse_use(&r, i % 2 ? mix(i / 2 % 10) : mix(1000 + i / 2 % 5000), i);
	EXPECT_LE(wr_reuse_best(&r, 5), 40u);
	EXPECT_GE(wr_reuse_best(&r, 1000), 10000u);
	before = r.nr_seen;
	/* Then nothing comes back any more. */
	for (uint64_t i = 200000; i < 2000000; i++)
		wr_reuse_use(&r, mix(fresh++), i);
	EXPECT_LE(r.nr_seen, before / 4);
}

TEST_HARNESS_MAIN
