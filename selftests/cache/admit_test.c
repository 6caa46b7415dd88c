/* SPDX-License-Identifier: MIT */
/*
 * What a policy advises not to keep: it can be got and pinned as all else, displaces nothing that is
 * kept, and is kept when it is asked for often enough.
 */
#include <errno.h>
#include <stdlib.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "cache/rig.h"

#define BYTES	4096u
#define NR_KEPT 64u

/* clang-format off */
FIXTURE(admit) {
	struct rig *rig;
};
FIXTURE_VARIANT(admit) {
	const char *policy;
};
/* clang-format on */

FIXTURE_VARIANT_ADD(admit, lfu){.policy = "lfu"};
FIXTURE_VARIANT_ADD(admit, loop){.policy = "loop"};
FIXTURE_VARIANT_ADD(admit, lru){.policy = "lru"};

FIXTURE_SETUP(admit)
{
	struct weir_cache_opts opts = {.room_wait_ns = 50000000};

	opts.classes[WEIR_CLASS_WEIGHTS].policy = variant->policy;
	opts.classes[WEIR_CLASS_WEIGHTS].share_permille = 1000;
	self->rig = calloc(1, sizeof(*self->rig));
	ASSERT_EQ(rig_open(self->rig, &opts, NR_KEPT * BYTES), 0);
}

FIXTURE_TEARDOWN(admit)
{
	EXPECT_TRUE(rig_close(self->rig));
	EXPECT_LE(atomic_load(&self->rig->l2.peak), NR_KEPT * BYTES);
	free(self->rig);
	EXPECT_EQ(wr_test_alloc_live(), 0);
}

/* Keys from @first on, one after the other. True: all were right. */
static bool get_all(struct rig *rig, uint32_t first, uint32_t nr)
{
	bool good = true;

	for (uint32_t n = first; n < first + nr; n++) {
		struct weir_pin p;

		if (rig_get(rig, n, BYTES, &p))
			return false;
		good = good && rig_check(p.data, n, BYTES, NULL);
		weir_cache_put(rig->cache, &p);
	}
	return good;
}

/* Hits of one pass over the keys. */
static uint64_t hits_of_pass(struct rig *rig, uint32_t first, uint32_t nr)
{
	uint64_t before = rig_stats(rig, WEIR_TIER_L2).nr_hits;

	return get_all(rig, first, nr) ? rig_stats(rig, WEIR_TIER_L2).nr_hits - before : 0;
}

TEST_F(admit, a_loop_larger_than_the_cache_hits_what_is_kept)
{
	uint64_t hits = 0;

	for (uint32_t i = 0; i < 20; i++)
		hits = hits_of_pass(self->rig, 0, 2 * NR_KEPT);
	if (variant->policy[1] == 'r') {
		EXPECT_EQ(hits, 0u);
		EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).nr_passed, 0u);
		return;
	}
	EXPECT_GE(hits, NR_KEPT - 4);
	EXPECT_GT(rig_stats(self->rig, WEIR_TIER_L2).nr_passed, NR_KEPT);
}

TEST_F(admit, what_passes_through_stays_while_it_is_pinned)
{
	struct weir_pin pins[NR_KEPT / 2];

	for (uint32_t i = 0; i < 8; i++)
		ASSERT_TRUE(get_all(self->rig, 0, NR_KEPT));
	for (uint32_t i = 0; i < NR_KEPT / 2; i++)
		ASSERT_EQ(rig_get(self->rig, 1000 + i, BYTES, &pins[i]), 0);
	EXPECT_TRUE(get_all(self->rig, 2000, 2 * NR_KEPT));
	for (uint32_t i = 0; i < NR_KEPT / 2; i++) {
		EXPECT_TRUE(rig_check(pins[i].data, 1000 + i, BYTES, NULL));
		weir_cache_put(self->rig->cache, &pins[i]);
	}
}

TEST_F(admit, a_scan_displaces_hardly_anything_that_is_used_often)
{
	if (variant->policy[1] != 'f')
		return;
	for (uint32_t i = 0; i < 8; i++)
		ASSERT_TRUE(get_all(self->rig, 0, NR_KEPT));
	ASSERT_TRUE(get_all(self->rig, 1000, 10 * NR_KEPT));
	EXPECT_GE(rig_stats(self->rig, WEIR_TIER_L2).nr_passed, 9 * NR_KEPT);
	EXPECT_GE(hits_of_pass(self->rig, 0, NR_KEPT), NR_KEPT - 2);
}

TEST_F(admit, what_is_asked_for_often_is_kept_after_all)
{
	uint64_t hits;

	if (variant->policy[1] != 'f')
		return;
	for (uint32_t i = 0; i < 4; i++)
		ASSERT_TRUE(get_all(self->rig, 0, NR_KEPT));
	for (uint32_t i = 0; i < 40; i++)
		ASSERT_TRUE(get_all(self->rig, 1000, 2));
	ASSERT_TRUE(get_all(self->rig, 2000, NR_KEPT));
	hits = hits_of_pass(self->rig, 1000, 2);
	EXPECT_EQ(hits, 2u);
}

TEST_F(admit, what_a_hint_wants_is_not_asked_about)
{
	struct weir_cache_item item = rig_item(1000, BYTES, WEIR_CLASS_WEIGHTS);
	uint64_t before;

	for (uint32_t i = 0; i < 8; i++)
		ASSERT_TRUE(get_all(self->rig, 0, NR_KEPT));
	before = rig_stats(self->rig, WEIR_TIER_L2).nr_passed;
	EXPECT_EQ(weir_cache_need(self->rig->cache, &item, 1), 1);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).nr_passed, before);
	EXPECT_EQ(hits_of_pass(self->rig, 1000, 1), 1u);
}

/* ---- shares ---- */

/* Half of what is asked for in turn fits the tier, a tenth the class's share. */
TEST(a_class_that_is_alone_has_the_whole_tier_also_to_its_policy)
{
	struct weir_cache_opts opts = {.room_wait_ns = 50000000};
	struct rig *rig = calloc(1, sizeof(*rig));
	uint64_t hits = 0;

	opts.classes[WEIR_CLASS_WEIGHTS].policy = "loop";
	ASSERT_EQ(rig_open(rig, &opts, 5 * NR_KEPT * BYTES), 0);
	for (uint32_t i = 0; i < 20; i++)
		hits = hits_of_pass(rig, 0, 10 * NR_KEPT);
	EXPECT_GE(hits, 5 * NR_KEPT - 16);

	/* Others come, and have their share; what is left is still used. */
	for (uint32_t n = 0; n < NR_KEPT; n++) {
		struct weir_cache_item item = rig_item(2000 + n, BYTES, WEIR_CLASS_OTHER);
		struct weir_pin p;

		ASSERT_EQ(weir_cache_get(rig->cache, &item, 0, &p), 0);
		weir_cache_put(rig->cache, &p);
	}
	for (uint32_t i = 0; i < 20; i++)
		hits = hits_of_pass(rig, 0, 10 * NR_KEPT);
	EXPECT_GE(hits, 4 * NR_KEPT - 16);

	/* And when the tier shrinks, it is told. */
	ASSERT_EQ(weir_cache_set_budget(rig->cache, WEIR_TIER_L2, 3 * NR_KEPT * BYTES), 0);
	for (uint32_t i = 0; i < 20; i++)
		hits = hits_of_pass(rig, 0, 10 * NR_KEPT);
	EXPECT_GE(hits, 2 * NR_KEPT - 16);
	EXPECT_TRUE(rig_close(rig));
	free(rig);
}

TEST_F(admit, a_class_says_which_order_it_has)
{
	struct weir_cache *cache = self->rig->cache;
	struct weir_cache_policy p = {.nr_changes = 7};

	EXPECT_EQ(weir_cache_policy(cache, WEIR_TIER_L3, WEIR_CLASS_WEIGHTS, &p), -EINVAL);
	EXPECT_EQ(weir_cache_policy(cache, WEIR_TIER_L2, WEIR_NR_CLASSES, &p), -EINVAL);
	EXPECT_EQ(p.nr_changes, 7u);
	ASSERT_EQ(weir_cache_policy(cache, WEIR_TIER_L2, WEIR_CLASS_WEIGHTS, &p), 0);
	EXPECT_STREQ(p.name, variant->policy);
	EXPECT_STREQ(p.chosen, "");
	ASSERT_TRUE(get_all(self->rig, 0, 2 * NR_KEPT));
	ASSERT_EQ(weir_cache_policy(cache, WEIR_TIER_L2, WEIR_CLASS_WEIGHTS, &p), 0);
	EXPECT_STREQ(p.chosen, variant->policy);
	EXPECT_STREQ(p.reason, "");
	/* Another class has its own, the rig's. */
	ASSERT_EQ(weir_cache_policy(cache, WEIR_TIER_L2, WEIR_CLASS_OTHER, &p), 0);
	EXPECT_STREQ(p.name, "lru");
}

TEST(auto_says_why_it_changed)
{
	struct weir_cache_opts opts = {.room_wait_ns = 50000000};
	struct weir_cache_policy p;
	struct rig *rig = calloc(1, sizeof(*rig));

	opts.classes[WEIR_CLASS_WEIGHTS].policy = "auto";
	opts.classes[WEIR_CLASS_WEIGHTS].share_permille = 1000;
	ASSERT_EQ(rig_open(rig, &opts, NR_KEPT * BYTES), 0);
	/* A loop that recency would never hit. */
	for (int i = 0; i < 200; i++)
		ASSERT_TRUE(get_all(rig, 0, 2 * NR_KEPT));
	ASSERT_EQ(weir_cache_policy(rig->cache, WEIR_TIER_L2, WEIR_CLASS_WEIGHTS, &p), 0);
	EXPECT_STREQ(p.name, "auto");
	EXPECT_STRNE(p.chosen, "lru");
	EXPECT_STRNE(p.chosen, "");
	EXPECT_STRNE(p.reason, "");
	EXPECT_GT(p.nr_changes, 0u);
	EXPECT_EQ(p.below_cycle, 1u);
	EXPECT_TRUE(rig_close(rig));
	free(rig);
}

TEST_HARNESS_MAIN
