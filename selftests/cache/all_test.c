/* SPDX-License-Identifier: MIT */
/*
 * Several things got at once: side by side, what was there counted, all or none.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "cache/rig.h"

#define BYTES 4096u
#define ROOM  16u

/* clang-format off */
FIXTURE(all) {
	struct rig *rig;
	struct weir_cache_item items[40];
	struct weir_pin pins[40];
};
/* clang-format on */

FIXTURE_SETUP(all)
{
	struct weir_cache_opts opts = {.size = sizeof(opts), .room_wait_ns = 1000000};

	self->rig = calloc(1, sizeof(*self->rig));
	ASSERT_EQ(rig_open(self->rig, &opts, ROOM * BYTES), 0);
	for (uint32_t i = 0; i < 40; i++)
		self->items[i] = rig_item(i, BYTES, WEIR_CLASS_EXPERTS);
}

FIXTURE_TEARDOWN(all)
{
	EXPECT_TRUE(rig_close(self->rig));
	free(self->rig);
	EXPECT_EQ(wr_test_alloc_live(), 0);
}

static int64_t get(FIXTURE_DATA(all) * self, uint32_t from, uint32_t nr)
{
	return weir_cache_get_all(self->rig->cache, &self->items[from], nr, 0, &self->pins[from]);
}

static void put(FIXTURE_DATA(all) * self, uint32_t from, uint32_t nr)
{
	for (uint32_t i = from; i < from + nr; i++)
		weir_cache_put(self->rig->cache, &self->pins[i]);
}

TEST_F(all, what_was_there_is_counted)
{
	EXPECT_EQ(get(self, 0, 4), 0);
	put(self, 0, 4);
	EXPECT_EQ(get(self, 2, 4), 2);
	for (uint32_t i = 2; i < 6; i++)
		EXPECT_TRUE(rig_check(self->pins[i].data, i, BYTES, NULL));
	put(self, 2, 4);
	EXPECT_EQ(get(self, 0, 6), 6);
	put(self, 0, 6);
	EXPECT_EQ(get(self, 0, 0), 0);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).nr_misses, 6);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).nr_hits, 8);
}

TEST_F(all, what_is_asked_for_twice_is_fetched_once)
{
	self->items[1] = self->items[0];
	EXPECT_EQ(get(self, 0, 3), self->rig->mode == RIG_INLINE ? 1 : 0);
	EXPECT_EQ(self->pins[0].data, self->pins[1].data);
	EXPECT_EQ(atomic_load(&self->rig->nr_fills[0]), 1);
	put(self, 0, 3);
}

static void *get_six(void *arg)
{
	FIXTURE_DATA(all) *self = arg;
	int64_t rc = get(self, 0, 6);

	put(self, 0, 6);
	return (void *)(intptr_t)rc;
}

static bool all_are_on_their_way(struct rig *rig, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++)
		if (!atomic_load(&rig->tokens[i]))
			return false;
	return true;
}

TEST_F(all, fetches_are_under_way_together)
{
	pthread_t thread;
	void *rc = NULL;

	self->rig->mode = RIG_MANUAL;
	ASSERT_EQ(pthread_create(&thread, NULL, get_six, self), 0);
	while (!all_are_on_their_way(self->rig, 6))
		usleep(100);
	for (uint32_t i = 6; i--;)
		EXPECT_TRUE(rig_finish(self->rig, i, 0));
	pthread_join(thread, &rc);
	EXPECT_EQ((intptr_t)rc, 0);
}

TEST_F(all, one_that_fails_leaves_no_pin)
{
	pthread_t thread;
	void *rc = NULL;

	EXPECT_EQ(get(self, 0, 2), 0);
	put(self, 0, 2);
	self->rig->mode = RIG_MANUAL;
	ASSERT_EQ(pthread_create(&thread, NULL, get_six, self), 0);
	while (!atomic_load(&self->rig->tokens[5]))
		usleep(100);
	EXPECT_TRUE(rig_finish(self->rig, 5, 0));
	EXPECT_TRUE(rig_finish(self->rig, 3, -EIO));
	EXPECT_TRUE(rig_finish(self->rig, 2, 0));
	pthread_join(thread, &rc);
	EXPECT_EQ((intptr_t)rc, -EIO);
	/* It ends after whoever wanted it has gone. */
	EXPECT_TRUE(rig_finish(self->rig, 4, 0));
	self->rig->mode = RIG_INLINE;
	EXPECT_EQ(get(self, 0, 6), 5);
	put(self, 0, 6);
}

TEST_F(all, more_than_the_budget_is_refused_and_given_back)
{
	EXPECT_EQ(get(self, 0, ROOM + 1), -ENOSPC);
	for (uint32_t i = 0; i <= ROOM; i++)
		EXPECT_EQ(self->pins[i].slot, NULL);
	EXPECT_EQ(get(self, ROOM, ROOM), 0);
	put(self, ROOM, ROOM);
}

TEST_F(all, a_wrong_call_gets_nothing)
{
	EXPECT_EQ(get(self, 0, 1), 0);
	put(self, 0, 1);
	self->items[0].bytes = 2 * BYTES;
	EXPECT_EQ(get(self, 0, 2), -EINVAL);
	self->items[1].class_id = WEIR_NR_CLASSES;
	self->items[0].bytes = BYTES;
	EXPECT_EQ(get(self, 0, 2), -EINVAL);
	EXPECT_EQ(weir_cache_get_all(self->rig->cache, self->items, 1, WEIR_CACHE_NO_WAIT,
				     self->pins),
		  -EINVAL);
	EXPECT_EQ(weir_cache_get_all(self->rig->cache, &self->items[9], 1, WEIR_CACHE_NO_FILL,
				     self->pins),
		  -ENOENT);
}

TEST_F(all, more_than_go_together_go_one_set_after_the_other)
{
	struct weir_cache_opts opts = {.size = sizeof(opts)};

	EXPECT_TRUE(rig_close(self->rig));
	ASSERT_EQ(rig_open(self->rig, &opts, 64 * BYTES), 0);
	EXPECT_EQ(get(self, 0, 40), 0);
	for (uint32_t i = 0; i < 40; i++)
		EXPECT_TRUE(rig_check(self->pins[i].data, i, BYTES, NULL));
	put(self, 0, 40);
}

TEST_HARNESS_MAIN
