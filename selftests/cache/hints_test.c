/* SPDX-License-Identifier: MIT */
/*
 * What a host says of the future, rules by name, rows, dumps; and what becomes of L2 when memory is
 * short.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <weir/cache_rows.h>
#include <weir/pool.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "base/util.h"
#include "cache/rig.h"

#define BYTES 4096u
#define ROOM  16u

/* clang-format off */
FIXTURE(hints) {
	struct rig *rig;
};
/* clang-format on */

FIXTURE_SETUP(hints)
{
	self->rig = calloc(1, sizeof(*self->rig));
	ASSERT_EQ(rig_open(self->rig, NULL, ROOM * BYTES), 0);
}

FIXTURE_TEARDOWN(hints)
{
	EXPECT_TRUE(rig_close(self->rig));
	free(self->rig);
	EXPECT_EQ(wr_test_alloc_live(), 0);
}

static int touch_named(struct rig *rig, uint32_t n, const char *name)
{
	struct weir_cache_item item = rig_item(n, BYTES, WEIR_CLASS_WEIGHTS);
	struct weir_pin p;
	int rc;

	item.name = name;
	rc = weir_cache_get(rig->cache, &item, 0, &p);
	if (!rc)
		weir_cache_put(rig->cache, &p);
	return rc;
}

static int touch(struct rig *rig, uint32_t n)
{
	return touch_named(rig, n, NULL);
}

static uint32_t fills(struct rig *rig, uint32_t n)
{
	return atomic_load(&rig->nr_fills[n]);
}

TEST_F(hints, what_a_rule_pins_stays)
{
	ASSERT_EQ(weir_cache_rule(self->rig->cache, "lm_head.*", WEIR_RULE_PIN), 0);
	ASSERT_EQ(touch_named(self->rig, 0, "lm_head.weight"), 0);
	ASSERT_EQ(touch_named(self->rig, 1, "model.norm.weight"), 0);
	ASSERT_EQ(weir_cache_rule(self->rig->cache, "*.norm.*", WEIR_RULE_PIN), 0);
	for (uint32_t n = 2; n < 200; n++)
		ASSERT_EQ(touch(self->rig, n), 0);
	ASSERT_EQ(touch(self->rig, 0), 0);
	ASSERT_EQ(touch(self->rig, 1), 0);
	EXPECT_EQ(fills(self->rig, 0), 1u);
	EXPECT_EQ(fills(self->rig, 1), 1u);
	EXPECT_EQ(weir_cache_rule(self->rig->cache, "", WEIR_RULE_PIN), -EINVAL);
	EXPECT_EQ(weir_cache_rule(self->rig->cache, "x", 77), -EINVAL);
	for (uint32_t i = 2; i < 64; i++)
		EXPECT_EQ(weir_cache_rule(self->rig->cache, "x", WEIR_RULE_NORMAL), 0);
	EXPECT_EQ(weir_cache_rule(self->rig->cache, "x", WEIR_RULE_NORMAL), -ENOSPC);
}

TEST_F(hints, what_streams_leaves_before_all_others)
{
	ASSERT_EQ(weir_cache_rule(self->rig->cache, "vision.*", WEIR_RULE_STREAM), 0);
	for (uint32_t n = 0; n < ROOM - 2; n++)
		ASSERT_EQ(touch(self->rig, n), 0);
	for (uint32_t n = 100; n < 150; n++)
		ASSERT_EQ(touch_named(self->rig, n, "vision.block"), 0);
	for (uint32_t n = 0; n < ROOM - 2; n++) {
		ASSERT_EQ(touch(self->rig, n), 0);
		EXPECT_EQ(fills(self->rig, n), 1u);
	}
}

TEST_F(hints, what_is_kept_stays_until_it_is_not)
{
	EXPECT_EQ(weir_cache_keep(self->rig->cache, rig_key(0), true), -ENOENT);
	ASSERT_EQ(touch(self->rig, 0), 0);
	EXPECT_EQ(weir_cache_keep(self->rig->cache, rig_key(0), false), -EINVAL);
	EXPECT_EQ(weir_cache_keep(self->rig->cache, rig_key(0), true), 0);
	for (uint32_t n = 1; n < 100; n++)
		ASSERT_EQ(touch(self->rig, n), 0);
	ASSERT_EQ(touch(self->rig, 0), 0);
	EXPECT_EQ(fills(self->rig, 0), 1u);
	EXPECT_EQ(weir_cache_keep(self->rig->cache, rig_key(0), false), 0);
	for (uint32_t n = 1; n < 100; n++)
		ASSERT_EQ(touch(self->rig, n), 0);
	ASSERT_EQ(touch(self->rig, 0), 0);
	EXPECT_EQ(fills(self->rig, 0), 2u);
}

TEST_F(hints, needs_are_fetched_and_likely_ones_are_prefetched)
{
	struct weir_cache_item items[8];
	struct weir_cache_stats s;

	for (uint32_t i = 0; i < 8; i++)
		items[i] = rig_item(i, BYTES, WEIR_CLASS_WEIGHTS);
	EXPECT_EQ(weir_cache_need(self->rig->cache, items, 4), 4);
	EXPECT_EQ(weir_cache_need(self->rig->cache, items, 4), 4);
	s = rig_stats(self->rig, WEIR_TIER_L2);
	EXPECT_EQ(s.nr_fills, 4u);
	EXPECT_EQ(s.nr_prefetches, 0u);
	EXPECT_EQ(weir_cache_likely(self->rig->cache, items, 8, 300), 0);
	EXPECT_EQ(weir_cache_likely(self->rig->cache, items, 8, 600), 4);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).nr_prefetches, 4u);
	EXPECT_EQ(weir_cache_likely(self->rig->cache, items, 8, 0), -EINVAL);
	for (uint32_t i = 0; i < 8; i++)
		ASSERT_EQ(touch(self->rig, i), 0);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).nr_useful, 4u);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).nr_fills, 8u);
}

/* Hits of @passes over a loop of @nr. */
static uint64_t loop_hits(struct rig *rig, uint32_t nr, uint32_t passes)
{
	uint64_t before = rig_stats(rig, WEIR_TIER_L2).nr_hits;

	for (uint32_t i = 0; i < passes * nr; i++)
		if (touch(rig, i % nr))
			return 0;
	return rig_stats(rig, WEIR_TIER_L2).nr_hits - before;
}

TEST(a_plan_lets_forecast_come_near_the_optimum)
{
	struct weir_cache_opts opts = {0};
	struct rig *rig = calloc(1, sizeof(*rig));
	struct weir_key keys[32];
	uint64_t planned;

	opts.classes[WEIR_CLASS_WEIGHTS].policy = "forecast";
	opts.classes[WEIR_CLASS_WEIGHTS].share_permille = 1000;
	ASSERT_EQ(rig_open(rig, &opts, ROOM * BYTES), 0);
	for (uint32_t i = 0; i < 32; i++)
		keys[i] = rig_key(i);
	ASSERT_EQ(weir_cache_plan(rig->cache, keys, 32, true), 0);
	(void)loop_hits(rig, 32, 2);
	planned = loop_hits(rig, 32, 10);
	/* Of 320 references the optimum hits (16 - 1) / (32 - 1) of them. */
	TH_LOG("%llu of 320 hit, the optimum is %u", (unsigned long long)planned, 320 * 15 / 31);
	EXPECT_GE(planned, 320 * 15 / 31 * 95 / 100);
	keys[3] = keys[4];
	EXPECT_EQ(weir_cache_plan(rig->cache, keys, 32, true), -EEXIST);
	EXPECT_EQ(weir_cache_plan(rig->cache, NULL, 1, true), -EINVAL);
	EXPECT_EQ(weir_cache_plan(rig->cache, NULL, 0, true), 0);
	EXPECT_EQ(loop_hits(rig, 32, 2) > 64, false);
	EXPECT_TRUE(rig_close(rig));
	free(rig);
}

/* ---- rows ---- */

struct row_source {
	struct rig *rig;
	uint64_t tokens[512];
	uint64_t rows[512];
	void *mems[512];
	uint32_t nr, most, nr_fills;
	uint32_t depth; /* so many must be under way before any ends */
};

static void end_rows(struct row_source *s)
{
	while (s->nr) {
		uint32_t i = --s->nr;

		rig_make(s->mems[i], (uint32_t)s->rows[i] & 0xffffff, 1, 2048);
		weir_cache_filled(s->rig->cache, s->tokens[i], 0, 0);
	}
}

static int row_fill(void *arg, const struct weir_cache_fill *fill)
{
	struct row_source *s = arg;

	s->tokens[s->nr] = fill->token;
	s->rows[s->nr] = (uint64_t)(uintptr_t)fill->cookie;
	s->mems[s->nr++] = fill->mem;
	s->most = wr_max(s->most, s->nr);
	s->nr_fills++;
	if (s->nr == s->depth)
		end_rows(s);
	return 0;
}

TEST_F(hints, rows_are_gathered_at_depth_and_each_is_fetched_once)
{
	struct row_source s = {.rig = self->rig, .depth = 8};
	struct weir_cache_source source = {.fill = row_fill, .arg = &s};
	struct weir_cache_table table = {.key = rig_key(1000),
					 .row_bytes = 2048,
					 .nr_rows = 100000,
					 .source = &source,
					 .depth = 8};
	uint64_t rows[64];
	char *to = malloc(64 * 2048);

	for (uint32_t i = 0; i < 64; i++)
		rows[i] = i * 7919u % 100000;
	ASSERT_EQ(weir_cache_rows(self->rig->cache, &table, rows, 64, to), 0);
	for (uint32_t i = 0; i < 64; i++)
		EXPECT_TRUE(rig_check(to + i * 2048, (uint32_t)rows[i], 2048, NULL));
	EXPECT_EQ(s.most, 8u);
	EXPECT_EQ(s.nr_fills, 64u);
	/* The same few over and over. */
	s.depth = 1;
	for (uint32_t i = 0; i < 64; i++)
		rows[i] = i % 8;
	ASSERT_EQ(weir_cache_rows(self->rig->cache, &table, rows, 64, to), 0);
	EXPECT_LE(s.nr_fills, 72u);
	rows[3] = 100000;
	EXPECT_EQ(weir_cache_rows(self->rig->cache, &table, rows, 64, to), -EINVAL);
	free(to);
}

/* ---- looking inside ---- */

struct seen {
	uint32_t nr, nr_pinned, nr_named, nr_owned;
	size_t bytes;
};

static int see(void *arg, const struct weir_cache_entry *entry)
{
	struct seen *s = arg;

	s->nr++;
	s->nr_pinned += entry->is_pinned;
	s->nr_owned += entry->is_owned;
	s->nr_named += !strcmp(entry->name, "a name");
	s->bytes += entry->bytes;
	return strcmp(entry->l2, "ready") ? -EINVAL : 0;
}

TEST_F(hints, a_dump_shows_what_there_is)
{
	struct seen s = {0};
	struct weir_pin p;

	ASSERT_EQ(touch_named(self->rig, 0, "a name"), 0);
	ASSERT_EQ(rig_get(self->rig, 1, BYTES, &p), 0);
	ASSERT_EQ(rig_insert(self->rig, 2, 1, 100), 0);
	EXPECT_EQ(weir_cache_dump(self->rig->cache, see, &s), 0);
	EXPECT_EQ(s.nr, 3u);
	EXPECT_EQ(s.nr_pinned, 1u);
	EXPECT_EQ(s.nr_named, 1u);
	EXPECT_EQ(s.nr_owned, 1u);
	EXPECT_EQ(s.bytes, 2u * BYTES + 100);
	weir_cache_put(self->rig->cache, &p);
}

/* ---- pressure ---- */

TEST_F(hints, pressure_shrinks_and_is_forgotten)
{
	for (uint32_t n = 0; n < ROOM; n++)
		ASSERT_EQ(touch(self->rig, n), 0);
	EXPECT_EQ(weir_cache_pressure(self->rig->cache, 250), 0);
	EXPECT_LE(atomic_load(&self->rig->l2.used), ROOM * BYTES / 4);
	for (uint32_t n = 0; n < ROOM; n++)
		ASSERT_EQ(touch(self->rig, n), 0);
	EXPECT_LE(atomic_load(&self->rig->l2.used), ROOM * BYTES / 4);
	EXPECT_EQ(weir_cache_pressure(self->rig->cache, 1000), 0);
	for (uint32_t n = 0; n < ROOM; n++)
		ASSERT_EQ(touch(self->rig, n), 0);
	EXPECT_EQ(atomic_load(&self->rig->l2.used), ROOM * BYTES);
	EXPECT_EQ(weir_cache_shed(self->rig->cache, 3 * BYTES), 3 * BYTES);
	EXPECT_EQ(atomic_load(&self->rig->l2.used), (ROOM - 3) * BYTES);
	EXPECT_EQ(weir_cache_pressure(self->rig->cache, 1001), -EINVAL);
}

TEST_F(hints, a_watch_that_cannot_be_says_why)
{
	struct weir_cache_watch_opts opts = {.size = sizeof(opts), .path = "/nowhere/at/all"};
	struct weir_error err = {0};

	EXPECT_EQ(weir_cache_watch(self->rig->cache, &opts, &err), -ENOENT);
	EXPECT_NE(strstr(err.message, "not to be had"), NULL);
	EXPECT_STREQ(err.file, opts.path);
	opts.window_us = 1;
	EXPECT_EQ(weir_cache_watch(self->rig->cache, &opts, &err), -EINVAL);
}

TEST_F(hints, a_watch_ends_with_the_cache)
{
	struct weir_error err = {0};
	int rc = weir_cache_watch(self->rig->cache, NULL, &err);

	if (rc == -EOPNOTSUPP || rc == -EPERM || rc == -EACCES)
		SKIP(return, "triggers of pressure stall information (%s)", err.message);
	ASSERT_EQ(rc, 0);
	EXPECT_EQ(weir_cache_watch(self->rig->cache, NULL, &err), -EALREADY);
}

/* ---- a real pool as L2 ---- */

TEST(a_pool_is_a_tier_and_gets_everything_back)
{
	struct weir_pool_opts pool_opts = {.size = sizeof(pool_opts),
					   .capacity_bytes = 4 << 20,
					   .page_kinds = 1u << WEIR_PAGE_4K,
					   .flags = WEIR_POOL_LAZY};
	struct weir_cache_opts opts = {0};
	struct rig *rig = calloc(1, sizeof(*rig));
	struct weir_pool_stats stats;

	ASSERT_EQ(weir_pool_open(&pool_opts, &opts.pool, NULL), 0);
	ASSERT_EQ(rig_open(rig, &opts, 0), 0);
	EXPECT_EQ(rig_stats(rig, WEIR_TIER_L2).budget_bytes, 4u << 20);
	for (uint32_t i = 0; i < 3000; i++) {
		/* Sizes that leave the room in pieces. */
		struct weir_cache_item item =
			rig_item(i % 700, 4096 * (1 + i % 700 % 37), WEIR_CLASS_WEIGHTS);
		struct weir_pin p;

		ASSERT_EQ(weir_cache_get(rig->cache, &item, 0, &p), 0);
		ASSERT_TRUE(rig_check(p.data, i % 700, item.bytes, NULL));
		weir_cache_put(rig->cache, &p);
	}
	EXPECT_LE(rig_stats(rig, WEIR_TIER_L2).peak_bytes, 4u << 20);
	EXPECT_TRUE(rig_close(rig));
	weir_pool_stats(opts.pool, &stats);
	EXPECT_EQ(stats.used_bytes, 0u);
	weir_pool_close(opts.pool);
	free(rig);
}

TEST_F(hints, what_was_prefetched_stays_until_it_is_got)
{
	struct weir_cache_item item = rig_item(1000, BYTES, WEIR_CLASS_WEIGHTS);

	ASSERT_EQ(weir_cache_prefetch(self->rig->cache, &item), 1);
	for (uint32_t n = 0; n < 4 * ROOM; n++)
		ASSERT_EQ(touch(self->rig, n), 0);
	ASSERT_EQ(touch(self->rig, 1000), 0);
	EXPECT_EQ(fills(self->rig, 1000), 1u);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).nr_useful, 1u);
	/* From then on it is the policy's. */
	for (uint32_t n = 0; n < 4 * ROOM; n++)
		ASSERT_EQ(touch(self->rig, n), 0);
	ASSERT_EQ(touch(self->rig, 1000), 0);
	EXPECT_EQ(fills(self->rig, 1000), 2u);
}

TEST_F(hints, what_was_prefetched_in_vain_keeps_an_eighth_at_most)
{
	struct weir_cache_item item;
	uint32_t nr_left = 0;

	for (uint32_t n = 0; n < ROOM; n++) {
		item = rig_item(1000 + n, BYTES, WEIR_CLASS_WEIGHTS);
		ASSERT_EQ(weir_cache_prefetch(self->rig->cache, &item), 1);
	}
	for (uint32_t n = 0; n < 2 * ROOM; n++)
		ASSERT_EQ(touch(self->rig, n), 0);
	for (uint32_t n = 0; n < ROOM; n++)
		nr_left += weir_cache_keep(self->rig->cache, rig_key(1000 + n), true) == 0;
	EXPECT_EQ(nr_left, ROOM / 8);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).nr_wasted, ROOM - ROOM / 8);
	/* The latest of them, and of the others what was used last. */
	EXPECT_EQ(touch(self->rig, 1000 + ROOM - 1), 0);
	EXPECT_EQ(fills(self->rig, 1000 + ROOM - 1), 1u);
	EXPECT_EQ(touch(self->rig, 2 * ROOM - 1), 0);
	EXPECT_EQ(fills(self->rig, 2 * ROOM - 1), 1u);
}

TEST_HARNESS_MAIN
