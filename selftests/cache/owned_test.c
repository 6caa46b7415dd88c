/* SPDX-License-Identifier: MIT */
/*
 * Entries that exist nowhere else: what is inserted can be got until it is removed, whichever tier
 * it is in, and what cannot be kept is refused.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "cache/rig.h"

#define BYTES	 4096u
#define L2_ROOM	 16u
#define L1_ROOM	 4u
#define L3_BYTES (64u << 20)

/* clang-format off */
FIXTURE(owned) {
	struct rig *rig;
};
FIXTURE_VARIANT(owned) {
	bool has_l1, has_l3;
};
/* clang-format on */

FIXTURE_VARIANT_ADD(owned, memory){.has_l1 = false, .has_l3 = false};
FIXTURE_VARIANT_ADD(owned, files){.has_l1 = false, .has_l3 = true};
FIXTURE_VARIANT_ADD(owned, device){.has_l1 = true, .has_l3 = false};
FIXTURE_VARIANT_ADD(owned, all_tiers){.has_l1 = true, .has_l3 = true};

static int open_tiers(struct rig *rig, bool has_l1, bool has_l3)
{
	struct weir_cache_opts opts = {.room_wait_ns = 50000000};

	if (has_l1) {
		opts.l1 = &fake_device_ops;
		opts.l1_arg = &rig->l1;
		opts.l1_budget = L1_ROOM * BYTES;
		rig->l1.capacity = L1_ROOM * BYTES;
	}
	if (has_l3) {
		opts.l3 = &fake_store_ops;
		opts.l3_arg = &rig->l3;
	}
	return rig_open(rig, &opts, L2_ROOM * BYTES);
}

FIXTURE_SETUP(owned)
{
	self->rig = calloc(1, sizeof(*self->rig));
	fake_store_init(&self->rig->l3, L3_BYTES);
	ASSERT_EQ(open_tiers(self->rig, variant->has_l1, variant->has_l3), 0);
}

FIXTURE_TEARDOWN(owned)
{
	EXPECT_TRUE(rig_close(self->rig));
	EXPECT_LE(atomic_load(&self->rig->l1.peak), L1_ROOM * BYTES);
	EXPECT_LE(atomic_load(&self->rig->l2.peak), L2_ROOM * BYTES);
	fake_store_fini(&self->rig->l3);
	free(self->rig);
	EXPECT_EQ(wr_test_alloc_live(), 0);
}

static int look(struct rig *rig, uint32_t n, uint32_t tier, uint64_t *ret_version)
{
	return rig_look(rig, n, tier, 0, ret_version);
}

TEST_F(owned, what_is_inserted_can_be_got)
{
	uint64_t version = 0;

	EXPECT_EQ(look(self->rig, 1, 0, &version), -ENOENT);
	EXPECT_EQ(rig_insert(self->rig, 1, 7, BYTES), 0);
	EXPECT_EQ(look(self->rig, 1, 0, &version), 0);
	EXPECT_EQ(version, 7u);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).nr_inserts, 1u);
}

TEST_F(owned, an_insert_replaces_and_old_pins_keep_what_they_show)
{
	struct weir_cache_item item = rig_item(1, 0, WEIR_CLASS_KV);
	uint64_t version = 0;
	struct weir_pin old;

	ASSERT_EQ(rig_insert(self->rig, 1, 7, BYTES), 0);
	ASSERT_EQ(weir_cache_get(self->rig->cache, &item, 0, &old), 0);
	ASSERT_EQ(rig_insert(self->rig, 1, 8, 2 * BYTES), 0);
	EXPECT_EQ(look(self->rig, 1, 0, &version), 0);
	EXPECT_EQ(version, 8u);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).used_bytes, 3u * BYTES);
	EXPECT_TRUE(rig_check(old.data, 1, BYTES, &version));
	EXPECT_EQ(version, 7u);
	EXPECT_EQ(weir_cache_remove(self->rig->cache, rig_key(1)), 0);
	EXPECT_TRUE(rig_check(old.data, 1, BYTES, &version));
	weir_cache_put(self->rig->cache, &old);
	EXPECT_EQ(look(self->rig, 1, 0, &version), -ENOENT);
}

TEST_F(owned, nothing_is_lost_when_there_is_more_than_memory_holds)
{
	uint64_t version = 0;
	uint32_t nr = 0;
	int rc = 0;

	for (uint32_t n = 0; n < 100 && !rc; n++) {
		rc = rig_insert(self->rig, n, n + 1, BYTES);
		nr += !rc;
	}
	if (variant->has_l3) {
		EXPECT_EQ(nr, 100u);
		EXPECT_GE(self->rig->l3.nr_puts, 100u - L2_ROOM);
	} else {
		EXPECT_EQ(rc, -ENOSPC);
		EXPECT_EQ(nr, L2_ROOM);
	}
	for (uint32_t n = 0; n < nr; n++) {
		EXPECT_EQ(look(self->rig, n, 0, &version), 0);
		EXPECT_EQ(version, n + 1u);
	}
	EXPECT_EQ(weir_cache_remove(self->rig->cache, rig_key(0)), 0);
	EXPECT_EQ(look(self->rig, 0, 0, &version), -ENOENT);
	EXPECT_EQ(weir_cache_remove(self->rig->cache, rig_key(0)), -ENOENT);
}

TEST_F(owned, a_block_is_not_written_twice)
{
	uint64_t version = 0, puts;

	if (!variant->has_l3)
		return;
	for (uint32_t n = 0; n < 40; n++)
		ASSERT_EQ(rig_insert(self->rig, n, 1, BYTES), 0);
	ASSERT_EQ(weir_cache_flush(self->rig->cache), 0);
	puts = self->rig->l3.nr_puts;
	EXPECT_EQ(puts, 40u);
	for (uint32_t i = 0; i < 200; i++)
		EXPECT_EQ(look(self->rig, i % 40, 0, &version), 0);
	EXPECT_EQ(self->rig->l3.nr_puts, puts);
}

TEST_F(owned, a_store_that_is_full_is_told_and_nothing_is_lost)
{
	uint64_t version = 0;
	uint32_t nr = 0;
	int rc = 0;

	if (!variant->has_l3)
		return;
	self->rig->l3.capacity = 10 * BYTES;
	for (; nr < 100; nr++) {
		rc = rig_insert(self->rig, nr, 5, BYTES);
		if (rc)
			break;
	}
	EXPECT_EQ(rc, -ENOSPC);
	/* The one in memory of each of which there is no copy, and what the store holds. */
	EXPECT_GE(nr, L2_ROOM + 9);
	for (uint32_t n = 0; n < nr; n++) {
		rc = look(self->rig, n, 0, &version);
		EXPECT_TRUE(rc == 0 || rc == -ENOSPC);
		if (rc) /* it is in the store, and there is no room in memory for it */
			continue;
		EXPECT_EQ(version, 5u);
	}
	self->rig->l3.capacity = L3_BYTES;
	for (uint32_t n = 0; n < nr; n++) {
		EXPECT_EQ(look(self->rig, n, 0, &version), 0);
		EXPECT_EQ(version, 5u);
	}
	EXPECT_GT(rig_stats(self->rig, WEIR_TIER_L2).nr_stuck, 0u);
}

TEST_F(owned, a_store_that_fails_loses_nothing)
{
	uint64_t version = 0;
	uint32_t nr = 0;
	int rc = 0;

	if (!variant->has_l3)
		return;
	for (uint32_t n = 0; n < L2_ROOM; n++)
		ASSERT_EQ(rig_insert(self->rig, n, 5, BYTES), 0);
	self->rig->l3.fail_permille = 1000;
	/* What was written ahead can make room. */
	for (nr = L2_ROOM; nr < 2 * L2_ROOM && !rc; nr += !rc)
		rc = rig_insert(self->rig, nr, 5, BYTES);
	EXPECT_EQ(rc, -EIO);
	EXPECT_LT(nr, 2 * L2_ROOM);
	EXPECT_EQ(weir_cache_flush(self->rig->cache), -EIO);
	EXPECT_EQ(look(self->rig, nr - 1, 0, &version), 0);
	EXPECT_EQ(look(self->rig, nr, 0, &version), -ENOENT);
	self->rig->l3.fail_permille = 0;
	for (uint32_t n = 0; n < nr; n++) {
		EXPECT_EQ(look(self->rig, n, 0, &version), 0);
		EXPECT_EQ(version, 5u);
	}
	EXPECT_EQ(rig_insert(self->rig, nr, 5, BYTES), 0);
}

TEST_F(owned, another_cache_on_the_store_finds_what_was_flushed)
{
	uint64_t version = 0;

	if (!variant->has_l3) {
		EXPECT_EQ(weir_cache_flush(self->rig->cache), -ENODEV);
		return;
	}
	for (uint32_t n = 0; n < 20; n++)
		ASSERT_EQ(rig_insert(self->rig, n, 3, BYTES), 0);
	ASSERT_EQ(weir_cache_flush(self->rig->cache), 0);
	ASSERT_EQ(rig_insert(self->rig, 5, 4, BYTES), 0); /* the old block must go */
	EXPECT_TRUE(rig_close(self->rig));
	ASSERT_EQ(open_tiers(self->rig, variant->has_l1, true), 0);
	for (uint32_t n = 0; n < 20; n++)
		EXPECT_EQ(look(self->rig, n, 0, &version), n == 5 ? -ENOENT : 0);
	EXPECT_EQ(weir_cache_remove(self->rig->cache, rig_key(7)), 0);
	EXPECT_EQ(look(self->rig, 7, 0, &version), -ENOENT);
}

TEST_F(owned, the_device_gets_copies_and_gives_its_own_back)
{
	uint64_t version = 0;

	if (!variant->has_l1) {
		EXPECT_EQ(look(self->rig, 1, WEIR_TIER_L1, &version), -ENODEV);
		return;
	}
	for (uint32_t n = 0; n < L2_ROOM; n++)
		ASSERT_EQ(rig_insert(self->rig, n, 9, BYTES), 0);
	for (uint32_t i = 0; i < 5 * L2_ROOM; i++) {
		EXPECT_EQ(look(self->rig, i % L2_ROOM, WEIR_TIER_L1, &version), 0);
		EXPECT_EQ(version, 9u);
	}
	/* What is on the device need not be in memory too. */
	for (uint32_t n = 0; n < L1_ROOM; n++)
		EXPECT_EQ(rig_insert(self->rig, L2_ROOM + n, 9, BYTES), 0);
	/* Both are full of what is nowhere else: without L3 some cannot change places. */
	for (uint32_t n = 0; n < 2 * (L2_ROOM + L1_ROOM); n++) {
		int rc = look(self->rig, n / 2, n % 2 ? WEIR_TIER_L1 : WEIR_TIER_L2, &version);

		EXPECT_TRUE(rc == 0 || (rc == -ENOSPC && !variant->has_l3));
	}
	self->rig->l2.capacity = 2 * L2_ROOM * BYTES;
	ASSERT_EQ(weir_cache_set_budget(self->rig->cache, WEIR_TIER_L2, 2 * L2_ROOM * BYTES), 0);
	for (uint32_t n = 0; n < 2 * (L2_ROOM + L1_ROOM); n++) {
		EXPECT_EQ(look(self->rig, n / 2, n % 2 ? WEIR_TIER_L1 : WEIR_TIER_L2, &version), 0);
		EXPECT_EQ(version, 9u);
	}
	ASSERT_EQ(weir_cache_set_budget(self->rig->cache, WEIR_TIER_L2, L2_ROOM * BYTES), 0);
	self->rig->l2.peak = 0;
}

TEST_F(owned, a_device_whose_copies_fail_loses_nothing)
{
	uint64_t version = 0;

	if (!variant->has_l1)
		return;
	for (uint32_t n = 0; n < 8; n++)
		ASSERT_EQ(rig_insert(self->rig, n, 9, BYTES), 0);
	self->rig->l1.fail_permille = 500;
	for (uint32_t i = 0; i < 400; i++) {
		int rc = look(self->rig, i % 8, WEIR_TIER_L1, &version);

		EXPECT_TRUE(rc == 0 || rc == -EIO);
		EXPECT_EQ(look(self->rig, i % 8, 0, &version), 0);
	}
}

TEST_F(owned, clean_entries_go_before_owned_ones_are_refused)
{
	uint64_t version = 0;
	struct weir_pin p;

	for (uint32_t n = 0; n < L2_ROOM; n++) {
		ASSERT_EQ(rig_get(self->rig, 100 + n, BYTES, &p), 0);
		weir_cache_put(self->rig->cache, &p);
	}
	for (uint32_t n = 0; n < L2_ROOM; n++)
		ASSERT_EQ(rig_insert(self->rig, n, 9, BYTES), 0);
	for (uint32_t n = 0; n < L2_ROOM; n++)
		EXPECT_EQ(look(self->rig, n, 0, &version), 0);
	EXPECT_EQ(rig_get(self->rig, 100, BYTES, &p), variant->has_l3 ? 0 : -ENOSPC);
	if (variant->has_l3)
		weir_cache_put(self->rig->cache, &p);
	EXPECT_EQ(weir_cache_set_budget(self->rig->cache, WEIR_TIER_L2, 2 * BYTES),
		  variant->has_l3 ? 0 : -EBUSY);
	for (uint32_t n = 0; n < L2_ROOM; n++)
		EXPECT_EQ(look(self->rig, n, 0, &version), 0);
}

TEST_HARNESS_MAIN
