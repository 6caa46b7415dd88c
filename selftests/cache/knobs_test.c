/* SPDX-License-Identifier: MIT */
/*
 * A cache that shows in a table of knobs what can be moved while it runs: moving one is heeded by
 * the next call that has the lock anyway, and what functions change the knobs show.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include <weir/cache_ahead.h>
#include <weir/knob.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "cache/rig.h"

#define BYTES	4096u
#define ROOM	64u
#define PATIENT 50000u /* times a tenth of a millisecond */

/* clang-format off */
FIXTURE(knobs) {
	struct weir_knobs *table;
	struct rig *rig;
};
/* clang-format on */

static int open_with(struct rig *rig, struct weir_knobs *table, uint64_t l2_bytes)
{
	struct weir_cache_opts opts = {.knobs = table, .room_wait_ns = 50000000};

	return rig_open(rig, &opts, l2_bytes);
}

FIXTURE_SETUP(knobs)
{
	ASSERT_EQ(weir_knobs_open(&self->table), 0);
	self->rig = calloc(1, sizeof(*self->rig));
	ASSERT_EQ(open_with(self->rig, self->table, ROOM * BYTES), 0);
}

FIXTURE_TEARDOWN(knobs)
{
	EXPECT_TRUE(rig_close(self->rig));
	free(self->rig);
	weir_knobs_close(self->table);
}

static uint32_t knob(struct weir_knobs *table, const char *name)
{
	uint32_t id = UINT32_MAX;

	return weir_knob_find(table, name, &id) ? UINT32_MAX : id;
}

static int touch(struct rig *rig, uint32_t n)
{
	struct weir_pin p;
	int rc = rig_get(rig, n, BYTES, &p);

	return rc ? rc : weir_cache_put(rig->cache, &p);
}

TEST_F(knobs, a_smaller_budget_is_obeyed_by_the_next_that_needs_room)
{
	uint32_t id = knob(self->table, "cache.l2_bytes");

	EXPECT_EQ(weir_knob_get(self->table, id), ROOM * BYTES);
	for (uint32_t n = 0; n < ROOM; n++)
		ASSERT_EQ(touch(self->rig, n), 0);
	ASSERT_EQ(rig_stats(self->rig, WEIR_TIER_L2).used_bytes, ROOM * BYTES);
	ASSERT_EQ(weir_knob_set(self->table, id, ROOM * BYTES / 4), 0);
	ASSERT_EQ(touch(self->rig, ROOM), 0);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).budget_bytes, ROOM * BYTES / 4);
	EXPECT_LE(rig_stats(self->rig, WEIR_TIER_L2).used_bytes, ROOM * BYTES / 4);
	ASSERT_EQ(weir_knob_set_text(self->table, "cache.l2_bytes=default", NULL), 0);
	for (uint32_t n = 0; n < ROOM; n++)
		ASSERT_EQ(touch(self->rig, n), 0);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).budget_bytes, ROOM * BYTES);
	EXPECT_GT(rig_stats(self->rig, WEIR_TIER_L2).used_bytes, ROOM * BYTES / 2);
}

TEST_F(knobs, it_has_the_budget_as_its_most_and_an_eighth_as_its_least)
{
	uint32_t id = knob(self->table, "cache.l2_bytes");

	EXPECT_EQ(weir_knob_set(self->table, id, ROOM * BYTES + 1), -ERANGE);
	EXPECT_EQ(weir_knob_set(self->table, id, ROOM * BYTES / 8 - 1), -ERANGE);
	EXPECT_EQ(weir_knob_set(self->table, id, ROOM * BYTES / 8), 0);
}

TEST_F(knobs, a_budget_that_is_set_shows_in_the_knob_and_is_not_undone_by_it)
{
	uint32_t id = knob(self->table, "cache.l2_bytes");

	ASSERT_EQ(weir_cache_set_budget(self->rig->cache, WEIR_TIER_L2, ROOM * BYTES / 2), 0);
	EXPECT_EQ(weir_knob_get(self->table, id), ROOM * BYTES / 2);
	/* Beyond its bounds it shows the nearest, and leaves it at that. */
	ASSERT_EQ(weir_cache_set_budget(self->rig->cache, WEIR_TIER_L2, 2 * ROOM * BYTES), 0);
	EXPECT_EQ(weir_knob_get(self->table, id), ROOM * BYTES);
	ASSERT_EQ(touch(self->rig, 1), 0);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).budget_bytes, 2 * ROOM * BYTES);
	ASSERT_EQ(weir_cache_set_budget(self->rig->cache, WEIR_TIER_L2, ROOM * BYTES), 0);
}

TEST_F(knobs, fetching_ahead_can_be_switched_once_there_is_any)
{
	struct weir_cache_ahead_stats s;
	uint32_t id;

	EXPECT_EQ(knob(self->table, "cache.ahead"), UINT32_MAX);
	ASSERT_EQ(weir_cache_ahead(self->rig->cache, NULL, NULL), 0);
	id = knob(self->table, "cache.ahead");
	EXPECT_EQ(weir_knob_get(self->table, id), 1u);
	ASSERT_EQ(weir_knob_set(self->table, id, 0), 0);
	ASSERT_EQ(touch(self->rig, 1), 0);
	ASSERT_EQ(weir_cache_ahead_stats(self->rig->cache, &s), 0);
	EXPECT_EQ(s.off_why, WEIR_AHEAD_HOST);
	ASSERT_EQ(weir_knob_set(self->table, id, 1), 0);
	ASSERT_EQ(touch(self->rig, 2), 0);
	ASSERT_EQ(weir_cache_ahead_stats(self->rig->cache, &s), 0);
	EXPECT_NE(s.off_why, WEIR_AHEAD_HOST);
	ASSERT_EQ(weir_cache_ahead_switch(self->rig->cache, false), 0);
	EXPECT_EQ(weir_knob_get(self->table, id), 0u);
	ASSERT_EQ(touch(self->rig, 3), 0);
	ASSERT_EQ(weir_cache_ahead_stats(self->rig->cache, &s), 0);
	EXPECT_EQ(s.off_why, WEIR_AHEAD_HOST);
}

TEST_F(knobs, what_was_ended_no_switch_brings_back)
{
	struct weir_cache_ahead_stats before, s;

	EXPECT_EQ(weir_cache_ahead_end(self->rig->cache), -EOPNOTSUPP);
	ASSERT_EQ(weir_cache_ahead(self->rig->cache, NULL, NULL), 0);
	ASSERT_EQ(touch(self->rig, 1), 0);
	EXPECT_EQ(weir_cache_ahead_end(self->rig->cache), 0);
	EXPECT_EQ(weir_cache_ahead_end(self->rig->cache), 0);
	ASSERT_EQ(weir_cache_ahead_stats(self->rig->cache, &before), 0);
	ASSERT_EQ(weir_cache_ahead_switch(self->rig->cache, true), 0);
	ASSERT_EQ(weir_knob_set_text(self->table, "cache.ahead=0", NULL), 0);
	ASSERT_EQ(weir_knob_set_text(self->table, "cache.ahead=1", NULL), 0);
	for (uint32_t n = 0; n < 4 * ROOM; n++)
		ASSERT_EQ(touch(self->rig, n % (2 * ROOM)), 0);
	ASSERT_EQ(weir_cache_ahead_stats(self->rig->cache, &s), 0);
	EXPECT_EQ(s.off_why, WEIR_AHEAD_HOST);
	EXPECT_EQ(s.nr_references, before.nr_references);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).nr_prefetches, 0u);
}

TEST_F(knobs, hits_alone_are_enough_to_switch_it_off)
{
	struct weir_cache_ahead_stats s = {0};

	ASSERT_EQ(weir_cache_ahead(self->rig->cache, NULL, NULL), 0);
	ASSERT_EQ(touch(self->rig, 1), 0);
	ASSERT_EQ(weir_knob_set_text(self->table, "cache.ahead=0", NULL), 0);
	for (uint32_t i = 0; i < PATIENT && s.off_why != WEIR_AHEAD_HOST; i++) {
		ASSERT_EQ(touch(self->rig, 1), 0);
		ASSERT_EQ(weir_cache_ahead_stats(self->rig->cache, &s), 0);
		usleep(100);
	}
	EXPECT_EQ(s.off_why, WEIR_AHEAD_HOST);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).nr_misses, 1u);
}

TEST_F(knobs, a_second_cache_with_another_budget_is_refused_in_the_same_table)
{
	struct weir_cache_opts opts = {.knobs = self->table};
	struct rig *other = calloc(1, sizeof(*other));
	int64_t before = wr_test_alloc_live();

	EXPECT_EQ(rig_open(other, &opts, 2 * ROOM * BYTES), -EEXIST);
	EXPECT_EQ(wr_test_alloc_live(), before);
	free(other);
}

TEST(a_failing_allocation_leaves_no_half_a_knob)
{
	struct weir_knobs *table;
	int rc = -ENOMEM;

	for (uint64_t n = 1; rc && n < 200; n++) {
		struct rig *rig = calloc(1, sizeof(*rig));

		ASSERT_EQ(weir_knobs_open(&table), 0);
		wr_test_alloc_fail_at(n);
		rc = open_with(rig, table, ROOM * BYTES);
		wr_test_alloc_fail_at(0);
		EXPECT_TRUE(!rc || rc == -ENOMEM);
		if (!rc)
			EXPECT_TRUE(rig_close(rig));
		weir_knobs_close(table);
		free(rig);
	}
	EXPECT_EQ(rc, 0);
}

/* ---- all at once ---- */

struct racer {
	struct rig *rig;
	struct weir_knobs *table;
	_Atomic bool stop;
	_Atomic uint32_t nr_bad;
};

static void *get_things(void *arg)
{
	struct racer *r = arg;

	for (uint32_t i = 0; !atomic_load(&r->stop); i++)
		if (touch(r->rig, i * 7 % (2 * ROOM)))
			atomic_fetch_add(&r->nr_bad, 1);
	return NULL;
}

TEST_F(knobs, they_may_be_moved_while_everything_goes_on)
{
	struct racer r = {.rig = self->rig, .table = self->table};
	uint32_t l2 = knob(self->table, "cache.l2_bytes");
	pthread_t threads[2];

	ASSERT_EQ(weir_cache_ahead(self->rig->cache, NULL, NULL), 0);
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, get_things, &r), 0);
	for (uint32_t i = 0; i < 300; i++) {
		ASSERT_EQ(weir_knob_set(self->table, l2, (1 + i % 8) * ROOM * BYTES / 8), 0);
		ASSERT_EQ(weir_knob_set_text(self->table, i & 1 ? "cache.ahead=1" : "cache.ahead=0",
					     NULL),
			  0);
		if (i % 10 == 9)
			ASSERT_EQ(weir_cache_ahead_switch(self->rig->cache, true), 0);
		usleep(1000);
	}
	atomic_store(&r.stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(atomic_load(&r.nr_bad), 0u);
	EXPECT_LE(rig_stats(self->rig, WEIR_TIER_L2).peak_bytes, ROOM * BYTES);
}

TEST_HARNESS_MAIN
