/* SPDX-License-Identifier: MIT */
/*
 * Rules that name a tier: what has its place on the device stays there, what has not leaves it
 * first, and what belongs into the store is written there at once and is not kept in memory.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "cache/rig.h"

#define BYTES	4096u
#define L1_ROOM 8u
#define L2_ROOM 64u

/* clang-format off */
FIXTURE(tier_rule) {
	struct rig *rig;
};
/* clang-format on */

FIXTURE_SETUP(tier_rule)
{
	struct weir_cache_opts opts = {.room_wait_ns = 50000000,
				       .l1 = &fake_device_ops,
				       .l1_budget = L1_ROOM * BYTES,
				       .l3 = &fake_store_ops};

	self->rig = calloc(1, sizeof(*self->rig));
	fake_store_init(&self->rig->l3, 16u << 20);
	self->rig->l1.capacity = L1_ROOM * BYTES;
	opts.l1_arg = &self->rig->l1;
	opts.l3_arg = &self->rig->l3;
	ASSERT_EQ(rig_open(self->rig, &opts, L2_ROOM * BYTES), 0);
}

FIXTURE_TEARDOWN(tier_rule)
{
	EXPECT_TRUE(rig_close(self->rig));
	EXPECT_LE(atomic_load(&self->rig->l1.peak), L1_ROOM * BYTES);
	EXPECT_LE(atomic_load(&self->rig->l2.peak), L2_ROOM * BYTES);
	fake_store_fini(&self->rig->l3);
	free(self->rig);
	EXPECT_EQ(wr_test_alloc_live(), 0);
}

static int touch(struct rig *rig, uint32_t n, const char *name, uint32_t tier)
{
	struct weir_cache_item item = rig_item(n, BYTES, WEIR_CLASS_WEIGHTS);
	struct weir_pin p;
	int rc;

	item.name = name;
	item.tier = tier;
	rc = weir_cache_get(rig->cache, &item, 0, &p);
	if (!rc)
		weir_cache_put(rig->cache, &p);
	return rc;
}

/* Copies to the device that getting @n there takes: 0 when it is there. */
static uint32_t copies_for(struct rig *rig, uint32_t n)
{
	uint32_t before = atomic_load(&rig->l1.nr_copies);

	if (touch(rig, n, NULL, WEIR_TIER_L1))
		return UINT32_MAX;
	return atomic_load(&rig->l1.nr_copies) - before;
}

TEST_F(tier_rule, what_belongs_on_the_device_stays_there)
{
	ASSERT_EQ(weir_cache_rule(self->rig->cache, "attn.*", WEIR_RULE_L1), 0);
	for (uint32_t n = 0; n < 4; n++)
		ASSERT_EQ(touch(self->rig, n, "attn.q", WEIR_TIER_L1), 0);
	for (uint32_t n = 100; n < 140; n++)
		ASSERT_EQ(touch(self->rig, n, "mlp.up", WEIR_TIER_L1), 0);
	for (uint32_t n = 0; n < 4; n++)
		EXPECT_EQ(copies_for(self->rig, n), 0u);
}

TEST_F(tier_rule, more_of_it_than_fits_is_no_deadlock)
{
	ASSERT_EQ(weir_cache_rule(self->rig->cache, "*", WEIR_RULE_L1), 0);
	for (uint32_t n = 0; n < 4 * L1_ROOM; n++)
		ASSERT_EQ(touch(self->rig, n, "attn.q", WEIR_TIER_L1), 0);
}

TEST_F(tier_rule, what_belongs_into_memory_leaves_the_device_first)
{
	ASSERT_EQ(weir_cache_rule(self->rig->cache, "vision.*", WEIR_RULE_L2), 0);
	for (uint32_t n = 0; n < L1_ROOM - 1; n++)
		ASSERT_EQ(touch(self->rig, n, "attn.q", WEIR_TIER_L1), 0);
	for (uint32_t n = 100; n < 120; n++)
		ASSERT_EQ(touch(self->rig, n, "vision.block", WEIR_TIER_L1), 0);
	for (uint32_t n = 0; n < L1_ROOM - 1; n++)
		EXPECT_EQ(copies_for(self->rig, n), 0u);
	/* In memory they are kept as all others. */
	for (uint32_t n = 100; n < 120; n++) {
		ASSERT_EQ(touch(self->rig, n, NULL, WEIR_TIER_L2), 0);
		EXPECT_EQ(atomic_load(&self->rig->nr_fills[n]), 1u);
	}
}

TEST_F(tier_rule, what_belongs_into_the_store_is_written_at_once_and_leaves_first)
{
	ASSERT_EQ(weir_cache_rule(self->rig->cache, "cold.*", WEIR_RULE_L3), 0);
	for (uint32_t n = 0; n < L2_ROOM - 8; n++)
		ASSERT_EQ(touch(self->rig, n, "attn.q", WEIR_TIER_L2), 0);
	for (uint32_t n = 1000; n < 1040; n++) {
		struct weir_cache_item item = rig_item(n, BYTES, WEIR_CLASS_KV);
		char bytes[BYTES];

		item.name = "cold.block";
		rig_make(bytes, n, 1, BYTES);
		ASSERT_EQ(weir_cache_insert(self->rig->cache, &item, bytes), 0);
		EXPECT_GE(self->rig->l3.nr_puts, n - 1000 + 1);
	}
	for (uint32_t n = 0; n < L2_ROOM - 8; n++) {
		ASSERT_EQ(touch(self->rig, n, NULL, WEIR_TIER_L2), 0);
		EXPECT_EQ(atomic_load(&self->rig->nr_fills[n]), 1u);
	}
	for (uint32_t n = 1000; n < 1040; n++) {
		struct weir_pin p;
		uint64_t version;

		ASSERT_EQ(rig_get(self->rig, n, BYTES, &p), 0);
		EXPECT_TRUE(rig_check(p.data, n, BYTES, &version));
		weir_cache_put(self->rig->cache, &p);
	}
}

TEST_F(tier_rule, a_kind_that_does_not_exist_is_refused)
{
	EXPECT_EQ(weir_cache_rule(self->rig->cache, "*", WEIR_RULE_L3 + 1), -EINVAL);
}

TEST_HARNESS_MAIN
