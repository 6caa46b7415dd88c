/* SPDX-License-Identifier: MIT */
/*
 * What a cache does with one entry after the other: hits, fetches, pins, eviction in order, errors,
 * prefetches, and who waits for what.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "cache/rig.h"

/* clang-format off */
FIXTURE(entry) {
	struct rig *rig;
};
FIXTURE_VARIANT(entry) {
	enum rig_mode mode;
};
/* clang-format on */

FIXTURE_VARIANT_ADD(entry, callback){.mode = RIG_INLINE};
FIXTURE_VARIANT_ADD(entry, adapter){.mode = RIG_READ};

FIXTURE_SETUP(entry)
{
	self->rig = calloc(1, sizeof(*self->rig));
	self->rig->mode = variant->mode;
	ASSERT_EQ(rig_open(self->rig, NULL, 16 * 4 * RIG_KIB), 0);
}

FIXTURE_TEARDOWN(entry)
{
	EXPECT_TRUE(rig_close(self->rig));
	free(self->rig);
}

TEST_F(entry, the_second_get_reads_nothing)
{
	struct weir_pin a, b;
	struct weir_cache_stats s;

	ASSERT_EQ(rig_get(self->rig, 1, 4096, &a), 0);
	ASSERT_EQ(rig_get(self->rig, 1, 4096, &b), 0);
	EXPECT_EQ(a.data, b.data);
	EXPECT_EQ(a.bytes, 4096u);
	EXPECT_TRUE(rig_check(a.data, 1, 4096, NULL));
	EXPECT_EQ(atomic_load(&self->rig->nr_fills[1]), 1u);
	EXPECT_EQ(weir_cache_put(self->rig->cache, &a), 0);
	EXPECT_EQ(weir_cache_put(self->rig->cache, &b), 0);
	s = rig_stats(self->rig, WEIR_TIER_L2);
	EXPECT_EQ(s.nr_gets, 2u);
	EXPECT_EQ(s.nr_hits, 1u);
	EXPECT_EQ(s.nr_misses, 1u);
	EXPECT_EQ(s.used_bytes, 4096u);
}

TEST_F(entry, a_pin_is_put_once)
{
	struct weir_pin a, copy, b;

	ASSERT_EQ(rig_get(self->rig, 1, 4096, &a), 0);
	copy = a;
	EXPECT_EQ(weir_cache_put(self->rig->cache, &a), 0);
	EXPECT_EQ(weir_cache_put(self->rig->cache, &a), 0); /* it is no pin any more */
	ASSERT_EQ(rig_get(self->rig, 1, 4096, &b), 0);
	EXPECT_EQ(weir_cache_put(self->rig->cache, &copy), -ESTALE);
	EXPECT_EQ(weir_cache_put(self->rig->cache, &b), 0);
}

TEST_F(entry, the_least_recently_used_leaves)
{
	struct weir_pin p;

	for (uint32_t n = 0; n < 16; n++) {
		ASSERT_EQ(rig_get(self->rig, n, 4096, &p), 0);
		weir_cache_put(self->rig->cache, &p);
	}
	for (uint32_t n = 0; n < 8; n++) { /* 8 is the oldest now */
		ASSERT_EQ(rig_get(self->rig, n, 4096, &p), 0);
		weir_cache_put(self->rig->cache, &p);
	}
	for (uint32_t n = 16; n < 20; n++) {
		ASSERT_EQ(rig_get(self->rig, n, 4096, &p), 0);
		weir_cache_put(self->rig->cache, &p);
	}
	for (uint32_t n = 0; n < 8; n++) {
		ASSERT_EQ(rig_get(self->rig, n, 4096, &p), 0);
		weir_cache_put(self->rig->cache, &p);
		EXPECT_EQ(atomic_load(&self->rig->nr_fills[n]), 1u);
	}
	ASSERT_EQ(rig_get(self->rig, 8, 4096, &p), 0);
	weir_cache_put(self->rig->cache, &p);
	EXPECT_EQ(atomic_load(&self->rig->nr_fills[8]), 2u);
	EXPECT_LE(atomic_load(&self->rig->l2.peak), 16u * 4096);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).nr_evictions, 5u);
}

TEST_F(entry, what_is_pinned_stays)
{
	struct weir_pin kept, p;

	ASSERT_EQ(rig_get(self->rig, 0, 4096, &kept), 0);
	for (uint32_t n = 1; n < 200; n++) {
		ASSERT_EQ(rig_get(self->rig, n, 4096, &p), 0);
		EXPECT_TRUE(rig_check(p.data, n, 4096, NULL));
		weir_cache_put(self->rig->cache, &p);
	}
	EXPECT_TRUE(rig_check(kept.data, 0, 4096, NULL));
	weir_cache_put(self->rig->cache, &kept);
	EXPECT_EQ(atomic_load(&self->rig->nr_fills[0]), 1u);
}

TEST_F(entry, more_pins_than_there_are_hazards_are_held)
{
	struct weir_pin pins[300];

	for (uint32_t i = 0; i < 300; i++)
		ASSERT_EQ(rig_get(self->rig, i % 3, 4096, &pins[i]), 0);
	for (uint32_t i = 0; i < 300; i++)
		EXPECT_TRUE(rig_check(pins[i].data, i % 3, 4096, NULL));
	for (uint32_t i = 0; i < 300; i++)
		EXPECT_EQ(weir_cache_put(self->rig->cache, &pins[i]), 0);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).nr_hits, 297u);
}

TEST_F(entry, room_is_found_among_more_pins_than_are_noted)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct weir_pin *pins = calloc(600, sizeof(*pins)), p;

	rig->mode = variant->mode;
	ASSERT_EQ(rig_open(rig, NULL, 602 * 4096), 0);
	for (uint32_t i = 0; i < 600; i++)
		ASSERT_EQ(rig_get(rig, i, 4096, &pins[i]), 0);
	for (uint32_t i = 1000; i < 1100; i++) {
		ASSERT_EQ(rig_get(rig, i, 4096, &p), 0);
		weir_cache_put(rig->cache, &p);
	}
	for (uint32_t i = 0; i < 600; i++) {
		EXPECT_TRUE(rig_check(pins[i].data, i, 4096, NULL));
		weir_cache_put(rig->cache, &pins[i]);
	}
	EXPECT_TRUE(rig_close(rig));
	free(pins);
	free(rig);
}

TEST_F(entry, a_wrong_size_is_told)
{
	struct weir_pin p;

	ASSERT_EQ(rig_get(self->rig, 0, 4096, &p), 0);
	weir_cache_put(self->rig->cache, &p);
	EXPECT_EQ(rig_get(self->rig, 0, 4097, &p), -EINVAL);
	EXPECT_EQ(rig_get(self->rig, 1, 0, &p), -EINVAL);
	EXPECT_EQ(rig_get(self->rig, 1, 17 * 4096, &p), -ENOSPC);
}

TEST_F(entry, an_error_is_the_getters_and_the_next_get_tries_again)
{
	struct weir_pin p;

	self->rig->fail_permille = 1000;
	EXPECT_EQ(rig_get(self->rig, 5, 4096, &p), -EIO);
	self->rig->fail_permille = 0;
	EXPECT_EQ(rig_get(self->rig, 5, 4096, &p), 0);
	weir_cache_put(self->rig->cache, &p);
	self->rig->refuse = -ENODATA;
	EXPECT_EQ(rig_get(self->rig, 6, 4096, &p), -ENODATA);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).nr_failed, 2u);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).used_bytes, 4096u);
}

TEST_F(entry, all_pinned_is_no_room_after_a_while)
{
	struct weir_pin pins[16], p;
	struct rig rig = {.mode = variant->mode};
	struct weir_cache_opts opts = {.room_wait_ns = 20000000};

	ASSERT_EQ(rig_open(&rig, &opts, 16 * 4096), 0);
	for (uint32_t n = 0; n < 16; n++)
		ASSERT_EQ(rig_get(&rig, n, 4096, &pins[n]), 0);
	EXPECT_EQ(rig_get(&rig, 16, 4096, &p), -ENOSPC);
	weir_cache_put(rig.cache, &pins[3]);
	EXPECT_EQ(rig_get(&rig, 16, 4096, &p), 0);
	weir_cache_put(rig.cache, &p);
	for (uint32_t n = 0; n < 16; n++)
		weir_cache_put(rig.cache, &pins[n]);
	EXPECT_TRUE(rig_close(&rig));
}

TEST_F(entry, names_and_landings_do_as_they_say)
{
	struct weir_cache_item item = rig_item(1, 5000, WEIR_CLASS_WEIGHTS);
	struct weir_pin p;

	item.landing_bytes = 3 * 4096;
	item.name = "model.layers.0.mlp.experts.127.gate_up_proj.weight of some model";
	ASSERT_EQ(weir_cache_get(self->rig->cache, &item, 0, &p), 0);
	EXPECT_TRUE(rig_check(p.data, 1, 5000, NULL));
	weir_cache_put(self->rig->cache, &p);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).used_bytes, 3u * 4096);
	item.landing_bytes = 1;
	item.key = rig_key(2);
	EXPECT_EQ(weir_cache_get(self->rig->cache, &item, 0, &p), -EINVAL);
}

TEST_F(entry, a_removed_one_is_fetched_again)
{
	struct weir_pin p, old;
	uint64_t version;

	ASSERT_EQ(rig_get(self->rig, 1, 4096, &old), 0);
	EXPECT_EQ(weir_cache_remove(self->rig->cache, rig_key(1)), 0);
	EXPECT_EQ(weir_cache_remove(self->rig->cache, rig_key(1)), -ENOENT);
	ASSERT_EQ(rig_get(self->rig, 1, 4096, &p), 0);
	EXPECT_TRUE(rig_check(p.data, 1, 4096, &version));
	EXPECT_EQ(version, 2u);
	EXPECT_TRUE(rig_check(old.data, 1, 4096, &version));
	EXPECT_EQ(version, 1u);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).used_bytes, 2u * 4096);
	weir_cache_put(self->rig->cache, &old);
	weir_cache_put(self->rig->cache, &p);
}

TEST_F(entry, a_smaller_budget_is_reached_before_the_call_returns)
{
	struct weir_pin p, kept;

	for (uint32_t n = 0; n < 16; n++) {
		ASSERT_EQ(rig_get(self->rig, n, 4096, &p), 0);
		weir_cache_put(self->rig->cache, &p);
	}
	EXPECT_EQ(weir_cache_set_budget(self->rig->cache, WEIR_TIER_L2, 4 * 4096), 0);
	EXPECT_LE(atomic_load(&self->rig->l2.used), 4u * 4096);
	EXPECT_LE(rig_stats(self->rig, WEIR_TIER_L2).used_bytes, 4u * 4096);
	ASSERT_EQ(rig_get(self->rig, 3, 4096, &kept), 0);
	EXPECT_EQ(weir_cache_set_budget(self->rig->cache, WEIR_TIER_L2, 100), -EBUSY);
	weir_cache_put(self->rig->cache, &kept);
	EXPECT_EQ(weir_cache_set_budget(self->rig->cache, WEIR_TIER_L2, 100), 0);
	EXPECT_EQ(atomic_load(&self->rig->l2.used), 0u);
	EXPECT_EQ(weir_cache_set_budget(self->rig->cache, WEIR_TIER_L1, 100), -ENODEV);
}

TEST_F(entry, a_table_that_is_full_makes_place)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct weir_cache_opts opts = {.nr_entries = 64};
	struct weir_pin p;

	rig->mode = variant->mode;
	ASSERT_EQ(rig_open(rig, &opts, 4096 * 4096), 0);
	for (uint32_t n = 0; n < 500; n++) {
		ASSERT_EQ(rig_get(rig, n, 4096, &p), 0);
		weir_cache_put(rig->cache, &p);
	}
	EXPECT_LE(rig_stats(rig, WEIR_TIER_L2).nr_entries, 64u);
	EXPECT_GT(rig_stats(rig, WEIR_TIER_L2).nr_entries, 48u);
	EXPECT_TRUE(rig_close(rig));
	free(rig);
}

/* ---- fetches that take their time ---- */

/* clang-format off */
FIXTURE(slow) {
	struct rig *rig;
};
/* clang-format on */

FIXTURE_SETUP(slow)
{
	self->rig = calloc(1, sizeof(*self->rig));
	self->rig->mode = RIG_MANUAL;
	ASSERT_EQ(rig_open(self->rig, NULL, 16 * 4 * RIG_KIB), 0);
}

FIXTURE_TEARDOWN(slow)
{
	EXPECT_TRUE(rig_close(self->rig));
	free(self->rig);
}

struct getter {
	pthread_t thread;
	struct rig *rig;
	uint32_t n;
	int rc;
	bool right;
};

static void *get_one(void *arg)
{
	struct getter *g = arg;
	struct weir_pin p;

	g->rc = rig_get(g->rig, g->n, 4096, &p);
	if (!g->rc) {
		g->right = rig_check(p.data, g->n, 4096, NULL);
		weir_cache_put(g->rig->cache, &p);
	}
	return NULL;
}

static void start_getters(struct getter *g, uint32_t nr, struct rig *rig, uint32_t n)
{
	for (uint32_t i = 0; i < nr; i++) {
		g[i] = (struct getter){.rig = rig, .n = n};
		pthread_create(&g[i].thread, NULL, get_one, &g[i]);
	}
	while (rig_stats(rig, WEIR_TIER_L2).nr_gets < nr)
		usleep(100);
}

TEST_F(slow, one_fetch_serves_all_who_ask)
{
	struct getter g[8];
	struct weir_cache_stats s;

	start_getters(g, 8, self->rig, 7);
	while (!self->rig->tokens[7])
		usleep(100);
	EXPECT_TRUE(rig_finish(self->rig, 7, 0));
	for (uint32_t i = 0; i < 8; i++) {
		pthread_join(g[i].thread, NULL);
		EXPECT_EQ(g[i].rc, 0);
		EXPECT_TRUE(g[i].right);
	}
	EXPECT_EQ(atomic_load(&self->rig->nr_fills[7]), 1u);
	s = rig_stats(self->rig, WEIR_TIER_L2);
	EXPECT_EQ(s.nr_misses, 1u);
	EXPECT_EQ(s.nr_waits, 7u);
	EXPECT_EQ(s.nr_gets, 8u);
}

TEST_F(slow, an_error_reaches_every_waiter)
{
	struct getter g[8];

	start_getters(g, 8, self->rig, 7);
	while (!self->rig->tokens[7])
		usleep(100);
	EXPECT_TRUE(rig_finish(self->rig, 7, -ENODATA));
	for (uint32_t i = 0; i < 8; i++) {
		pthread_join(g[i].thread, NULL);
		EXPECT_EQ(g[i].rc, -ENODATA);
	}
	EXPECT_EQ(atomic_load(&self->rig->nr_fills[7]), 1u);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).used_bytes, 0u);
}

TEST_F(slow, cancel_wakes_who_waits)
{
	struct getter g[4];

	start_getters(g, 4, self->rig, 7);
	while (!self->rig->tokens[7])
		usleep(100);
	usleep(1000);
	weir_cache_cancel(self->rig->cache);
	for (uint32_t i = 0; i < 4; i++) {
		pthread_join(g[i].thread, NULL);
		EXPECT_EQ(g[i].rc, -ECANCELED);
	}
	EXPECT_EQ(atomic_load(&self->rig->nr_cancels[7]), 1u);
}

TEST_F(slow, close_wakes_who_waits)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct getter g[4];

	rig->mode = RIG_MANUAL;
	ASSERT_EQ(rig_open(rig, NULL, 1 << 20), 0);
	start_getters(g, 4, rig, 7);
	while (!rig->tokens[7])
		usleep(100);
	usleep(1000);
	EXPECT_TRUE(rig_close(rig));
	for (uint32_t i = 0; i < 4; i++) {
		pthread_join(g[i].thread, NULL);
		EXPECT_EQ(g[i].rc, -ECANCELED);
	}
	free(rig);
}

TEST_F(slow, a_prefetch_that_came_in_time_was_useful)
{
	struct weir_cache_item item = rig_item(3, 4096, WEIR_CLASS_WEIGHTS);
	struct weir_cache_stats s;
	struct weir_pin p;

	EXPECT_EQ(weir_cache_prefetch(self->rig->cache, &item), 1);
	EXPECT_EQ(weir_cache_prefetch(self->rig->cache, &item), 0);
	EXPECT_TRUE(rig_finish(self->rig, 3, 0));
	EXPECT_EQ(weir_cache_prefetch(self->rig->cache, &item), 0);
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(rig_get(self->rig, 3, 4096, &p), 0);
		weir_cache_put(self->rig->cache, &p);
	}
	s = rig_stats(self->rig, WEIR_TIER_L2);
	EXPECT_EQ(s.nr_prefetches, 1u);
	EXPECT_EQ(s.nr_useful, 1u);
	EXPECT_EQ(s.nr_late, 0u);
	EXPECT_EQ(s.nr_hits, 2u);
	EXPECT_EQ(atomic_load(&self->rig->nr_promotes[3]), 0u);
}

TEST_F(slow, who_waits_for_a_prefetch_promotes_it)
{
	struct weir_cache_item item = rig_item(3, 4096, WEIR_CLASS_WEIGHTS);
	struct weir_cache_stats s;
	struct getter g[2];

	EXPECT_EQ(weir_cache_prefetch(self->rig->cache, &item), 1);
	start_getters(g, 2, self->rig, 3);
	while (!self->rig->nr_promotes[3])
		usleep(100);
	EXPECT_TRUE(rig_finish(self->rig, 3, 0));
	for (int i = 0; i < 2; i++) {
		pthread_join(g[i].thread, NULL);
		EXPECT_EQ(g[i].rc, 0);
	}
	s = rig_stats(self->rig, WEIR_TIER_L2);
	EXPECT_EQ(s.nr_late, 1u);
	EXPECT_EQ(s.nr_useful, 0u);
	EXPECT_EQ(s.nr_waits, 2u);
	EXPECT_EQ(atomic_load(&self->rig->nr_promotes[3]), 1u);
}

/* A prefetch that is about to find no room, and somebody who comes to wait for it meanwhile. */
struct late {
	struct rig *rig;
	struct weir_cache_item item;
	struct getter g;
};

static int refuse_slowly(void *arg, const struct weir_cache_fill *fill)
{
	struct late *l = arg;

	if (fill->demand)
		return -EINVAL; /* the getter has the rig's source */
	l->g = (struct getter){.rig = l->rig, .n = 3};
	pthread_create(&l->g.thread, NULL, get_one, &l->g);
	while (rig_stats(l->rig, WEIR_TIER_L2).nr_waits < 1)
		usleep(100);
	return -EAGAIN;
}

TEST_F(slow, who_waits_for_a_prefetch_that_gives_up_fetches_itself)
{
	struct late l = {.rig = self->rig, .item = rig_item(3, 4096, WEIR_CLASS_WEIGHTS)};
	struct weir_cache_source source = {.fill = refuse_slowly, .arg = &l};

	l.item.source = &source;
	EXPECT_EQ(weir_cache_prefetch(self->rig->cache, &l.item), -EAGAIN);
	while (!atomic_load(&self->rig->tokens[3]))
		usleep(100);
	EXPECT_TRUE(rig_finish(self->rig, 3, 0));
	pthread_join(l.g.thread, NULL);
	EXPECT_EQ(l.g.rc, 0);
	EXPECT_TRUE(l.g.right);
}

TEST_F(slow, a_prefetch_can_be_cancelled_and_is_wasted)
{
	struct weir_cache_item item = rig_item(3, 4096, WEIR_CLASS_WEIGHTS);

	EXPECT_EQ(weir_cache_prefetch(self->rig->cache, &item), 1);
	weir_cache_prefetch_cancel(self->rig->cache, item.key);
	EXPECT_EQ(atomic_load(&self->rig->nr_cancels[3]), 1u);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).nr_wasted, 1u);
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).used_bytes, 0u);
	weir_cache_prefetch_cancel(self->rig->cache, item.key);
	weir_cache_prefetch_cancel(self->rig->cache, rig_key(4));
}

TEST_F(slow, a_get_that_must_not_wait_begins_the_fetch)
{
	struct weir_cache_item item = rig_item(3, 4096, WEIR_CLASS_WEIGHTS);
	struct weir_pin p;

	EXPECT_EQ(weir_cache_get(self->rig->cache, &item, WEIR_CACHE_NO_WAIT, &p), -EINPROGRESS);
	EXPECT_EQ(weir_cache_get(self->rig->cache, &item, WEIR_CACHE_NO_WAIT, &p), -EINPROGRESS);
	EXPECT_TRUE(rig_finish(self->rig, 3, 0));
	EXPECT_EQ(weir_cache_get(self->rig->cache, &item, WEIR_CACHE_NO_WAIT, &p), 0);
	weir_cache_put(self->rig->cache, &p);
	EXPECT_EQ(atomic_load(&self->rig->nr_fills[3]), 1u);
	item.key = rig_key(4);
	EXPECT_EQ(weir_cache_get(self->rig->cache, &item, WEIR_CACHE_NO_FILL, &p), -ENOENT);
	EXPECT_EQ(atomic_load(&self->rig->nr_fills[4]), 0u);
}

TEST(a_failed_allocation_is_told_and_leaves_nothing)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	int64_t before = wr_test_alloc_live();
	int rc = -ENOMEM;

	for (uint64_t n = 1; rc; n++) {
		struct weir_pin p, q;

		ASSERT_LT(n, 1000u);
		wr_test_alloc_fail_at(n);
		rc = rig_open(rig, NULL, 16 * 4096);
		if (!rc) {
			rc = rig_get(rig, 1, 4096, &p);
			if (!rc)
				weir_cache_put(rig->cache, &p);
			if (!rc)
				rc = rig_insert(rig, 2, 1, 4096);
			if (!rc)
				rc = weir_cache_remove(rig->cache, rig_key(2));
			for (uint32_t i = 0; !rc && i < 65; i++)
				rc = rig_get(rig, 1, 4096, i ? &p : &q);
			wr_test_alloc_fail_at(0);
			weir_cache_close(rig->cache);
		}
		EXPECT_EQ(rc, wr_test_alloc_failed() ? -ENOMEM : 0);
		EXPECT_EQ(wr_test_alloc_live(), before);
		EXPECT_EQ(atomic_load(&rig->l2.used), 0u);
	}
	free(rig);
}

TEST_HARNESS_MAIN
