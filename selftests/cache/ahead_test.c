/* SPDX-License-Identifier: MIT */
/*
 * What the cache does before anybody waits for it: owned blocks are written before room is wanted,
 * so that it can be had by dropping; and much that leaves at a time leaves with the budget obeyed.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "cache/rig.h"

#define BYTES	4096u
#define L2_ROOM 512u

/* clang-format off */
FIXTURE(ahead) {
	struct rig *rig;
};
/* clang-format on */

FIXTURE_SETUP(ahead)
{
	struct weir_cache_opts opts = {.room_wait_ns = 50000000, .nr_entries = 4096};

	self->rig = calloc(1, sizeof(*self->rig));
	fake_store_init(&self->rig->l3, 64u << 20);
	opts.l3 = &fake_store_ops;
	opts.l3_arg = &self->rig->l3;
	ASSERT_EQ(rig_open(self->rig, &opts, L2_ROOM * BYTES), 0);
}

FIXTURE_TEARDOWN(ahead)
{
	EXPECT_TRUE(rig_close(self->rig));
	EXPECT_LE(atomic_load(&self->rig->l2.peak), L2_ROOM * BYTES);
	fake_store_fini(&self->rig->l3);
	free(self->rig);
	EXPECT_EQ(wr_test_alloc_live(), 0);
}

TEST_F(ahead, owned_blocks_are_written_before_there_is_no_room)
{
	uint32_t n = 0;

	for (; n < L2_ROOM / 2; n++)
		ASSERT_EQ(rig_insert(self->rig, n, 1, BYTES), 0);
	EXPECT_EQ(self->rig->l3.nr_puts, 0u);
	for (; n < L2_ROOM; n++)
		ASSERT_EQ(rig_insert(self->rig, n, 1, BYTES), 0);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).nr_evictions, 0u);
	EXPECT_GT(self->rig->l3.nr_puts, 0u);
	/* Not all of it: what is taken out before it must go need not have been written. */
	EXPECT_LT(self->rig->l3.nr_puts, L2_ROOM / 4);
}

TEST_F(ahead, nothing_is_lost_by_it)
{
	uint64_t version = 0;

	for (uint32_t n = 0; n < 3 * L2_ROOM; n++)
		ASSERT_EQ(rig_insert(self->rig, n, n + 1, BYTES), 0);
	for (uint32_t n = 0; n < 3 * L2_ROOM; n++) {
		struct weir_pin p;

		ASSERT_EQ(rig_get(self->rig, n, BYTES, &p), 0);
		EXPECT_TRUE(rig_check(p.data, n, BYTES, &version));
		EXPECT_EQ(version, n + 1u);
		weir_cache_put(self->rig->cache, &p);
	}
}

TEST_F(ahead, a_store_that_failed_is_left_alone_until_room_is_needed)
{
	uint32_t n = 0, failed;

	self->rig->l3.fail_permille = 1000;
	for (; n < L2_ROOM; n++)
		ASSERT_EQ(rig_insert(self->rig, n, 1, BYTES), 0);
	failed = (uint32_t)rig_stats(self->rig, WEIR_TIER_L2).nr_stuck;
	EXPECT_GT(failed, 0u);
	EXPECT_LE(failed, 32u);
	self->rig->l3.fail_permille = 0;
	EXPECT_EQ(rig_insert(self->rig, n, 1, BYTES), 0);
}

TEST_F(ahead, half_of_many_small_entries_leaves_at_once)
{
	struct weir_cache_stats stats;

	for (uint32_t n = 0; n < L2_ROOM; n++) {
		struct weir_pin p;

		ASSERT_EQ(rig_get(self->rig, n, BYTES, &p), 0);
		weir_cache_put(self->rig->cache, &p);
	}
	EXPECT_EQ(weir_cache_pressure(self->rig->cache, 500), 0);
	stats = rig_stats(self->rig, WEIR_TIER_L2);
	EXPECT_LE(stats.used_bytes, L2_ROOM * BYTES / 2);
	/* And no more of it than that asks for, but for one group. */
	EXPECT_GE(stats.nr_entries, L2_ROOM / 2 - 8);
	EXPECT_EQ(weir_cache_pressure(self->rig->cache, 1000), 0);
}

TEST_F(ahead, what_is_pinned_stays_when_much_leaves)
{
	struct weir_pin pins[16];

	for (uint32_t n = 0; n < L2_ROOM; n++) {
		struct weir_pin p;

		ASSERT_EQ(rig_get(self->rig, n, BYTES, &p), 0);
		if (n % 32)
			weir_cache_put(self->rig->cache, &p);
		else
			pins[n / 32] = p;
	}
	EXPECT_EQ(weir_cache_pressure(self->rig->cache, 10), -EBUSY);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).nr_entries, 16u);
	for (uint32_t i = 0; i < 16; i++) {
		EXPECT_TRUE(rig_check(pins[i].data, i * 32, BYTES, NULL));
		weir_cache_put(self->rig->cache, &pins[i]);
	}
}

TEST_HARNESS_MAIN
