/* SPDX-License-Identifier: MIT */
/*
 * A cache whose L3 is a folder: what goes down to it comes back as it was, also after a restart, and
 * is counted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "cache/rig.h"
#include "tier/store_help.h"

#define BYTES	   4096u
#define NR_IN_L2   16u
#define NR_BLOCKS  100u
#define DIR_BUDGET (20u << 20)

/* clang-format off */
FIXTURE(folder) {
	struct rig *rig;
	char dir[256];
};
/* clang-format on */

static int open_at(struct rig *rig, const char *dir, uint64_t budget)
{
	struct weir_cache_opts opts = {
		.room_wait_ns = 50000000, .l3_dir = dir, .l3_budget = budget, .l3_no_sync = 1};

	return rig_open(rig, &opts, NR_IN_L2 * 2 * BYTES);
}

FIXTURE_SETUP(folder)
{
	self->rig = calloc(1, sizeof(*self->rig));
	st_dir(self->dir, sizeof(self->dir), "cache");
	ASSERT_EQ(open_at(self->rig, self->dir, DIR_BUDGET), 0);
}

FIXTURE_TEARDOWN(folder)
{
	EXPECT_TRUE(rig_close(self->rig));
	free(self->rig);
	st_dir_remove(self->dir);
	EXPECT_EQ(wr_test_alloc_live(), 0);
}

/* No block is a multiple of what files are made of. */
static size_t bytes_of(uint32_t n)
{
	return BYTES + 8 * (n + 1);
}

static int look(struct rig *rig, uint32_t n, uint64_t *ret_version)
{
	return rig_look(rig, n, 0, bytes_of(n), ret_version);
}

/* How many of the blocks are there as they were put. */
static uint32_t count_good(struct rig *rig, uint64_t version)
{
	uint32_t nr = 0;
	uint64_t seen;

	for (uint32_t n = 0; n < NR_BLOCKS; n++)
		nr += !look(rig, n, &seen) && seen == version;
	return nr;
}

static uint32_t insert_all(struct rig *rig, uint64_t version)
{
	uint32_t nr = 0;

	for (uint32_t n = 0; n < NR_BLOCKS; n++)
		nr += !rig_insert(rig, n, version, bytes_of(n));
	return nr;
}

TEST_F(folder, owned_entries_that_leave_memory_are_read_back)
{
	struct weir_cache_stats s;

	ASSERT_EQ(insert_all(self->rig, 3), NR_BLOCKS);
	EXPECT_EQ(count_good(self->rig, 3), NR_BLOCKS);
	s = rig_stats(self->rig, WEIR_TIER_L3);
	EXPECT_GE(s.nr_entries, NR_BLOCKS - NR_IN_L2);
	EXPECT_GE(s.nr_fills, NR_BLOCKS - NR_IN_L2);
	EXPECT_GE(s.fill_bytes, s.nr_fills * BYTES);
	EXPECT_GE(s.nr_hits, NR_BLOCKS - NR_IN_L2);
	EXPECT_GE(s.hit_bytes, s.nr_hits * BYTES);
	EXPECT_EQ(s.nr_gets, s.nr_hits + s.nr_misses);
	EXPECT_EQ(s.nr_failed, 0u);
	EXPECT_EQ(s.budget_bytes, DIR_BUDGET);
	EXPECT_GT(s.used_bytes, s.nr_entries * BYTES);
	EXPECT_LE(s.used_bytes, s.budget_bytes);
}

TEST_F(folder, what_was_flushed_survives_a_restart)
{
	ASSERT_EQ(insert_all(self->rig, 4), NR_BLOCKS);
	ASSERT_EQ(weir_cache_flush(self->rig->cache), 0);
	EXPECT_TRUE(rig_close(self->rig));
	ASSERT_EQ(open_at(self->rig, self->dir, DIR_BUDGET), 0);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L3).nr_entries, NR_BLOCKS);
	EXPECT_EQ(count_good(self->rig, 4), NR_BLOCKS);
}

TEST_F(folder, a_replaced_or_removed_block_does_not_come_back)
{
	uint64_t version = 0;

	ASSERT_EQ(insert_all(self->rig, 5), NR_BLOCKS);
	ASSERT_EQ(weir_cache_flush(self->rig->cache), 0);
	ASSERT_EQ(rig_insert(self->rig, 1, 6, bytes_of(1)), 0);
	ASSERT_EQ(weir_cache_remove(self->rig->cache, rig_key(2)), 0);
	EXPECT_EQ(look(self->rig, 2, &version), -ENOENT);
	ASSERT_EQ(weir_cache_flush(self->rig->cache), 0);
	EXPECT_TRUE(rig_close(self->rig));
	ASSERT_EQ(open_at(self->rig, self->dir, DIR_BUDGET), 0);
	EXPECT_EQ(look(self->rig, 1, &version), 0);
	EXPECT_EQ(version, 6u);
	EXPECT_EQ(look(self->rig, 2, &version), -ENOENT);
	EXPECT_EQ(count_good(self->rig, 5), NR_BLOCKS - 2);
}

TEST_F(folder, a_folder_that_is_in_use_is_not_taken)
{
	struct rig *other = calloc(1, sizeof(*other));

	ASSERT_NE(other, NULL);
	EXPECT_EQ(open_at(other, self->dir, DIR_BUDGET), -EBUSY);
	EXPECT_EQ(open_at(other, self->dir, 0), -EINVAL);
	EXPECT_EQ(open_at(other, NULL, DIR_BUDGET), -EINVAL);
	free(other);
}

TEST_F(folder, a_folder_that_is_full_says_so_and_loses_nothing)
{
	size_t bytes = 24 * BYTES;
	uint64_t version;
	uint32_t nr = 0;
	int rc = 0;

	for (; !rc && nr < RIG_KEYS; nr++)
		rc = rig_insert(self->rig, nr, 7, bytes);
	EXPECT_EQ(rc, -ENOSPC);
	nr--;
	EXPECT_GT(rig_stats(self->rig, WEIR_TIER_L3).nr_failed, 0u);
	for (uint32_t n = 0; n < nr; n++) {
		struct weir_cache_item item = rig_item(n, bytes, WEIR_CLASS_KV);
		struct weir_pin p;

		/* What is only in memory stays there, and leaves no room for the others. */
		rc = weir_cache_get(self->rig->cache, &item, 0, &p);
		EXPECT_TRUE(rc == 0 || rc == -ENOSPC);
		if (rc)
			continue;
		EXPECT_TRUE(rig_check(p.data, n, bytes, &version));
		weir_cache_put(self->rig->cache, &p);
	}
	EXPECT_LE(st_dir_bytes(self->dir), DIR_BUDGET + (64u << 10));
}

TEST_F(folder, a_cache_without_one_says_that_there_is_none)
{
	struct rig *other = calloc(1, sizeof(*other));
	struct weir_cache_stats s;

	ASSERT_NE(other, NULL);
	ASSERT_EQ(rig_open(other, NULL, 1u << 20), 0);
	EXPECT_EQ(weir_cache_stats(other->cache, WEIR_TIER_L3, WEIR_CLASS_KV, &s), -ENODEV);
	EXPECT_EQ(weir_cache_stats(self->rig->cache, WEIR_TIER_L3, WEIR_CLASS_KV, &s), 0);
	EXPECT_TRUE(rig_close(other));
	free(other);
}

TEST_HARNESS_MAIN
