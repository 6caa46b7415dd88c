/* SPDX-License-Identifier: MIT */
/*
 * A cache that fetches ahead: what it begins and cancels, when it stops by itself, that it and
 * demands never fetch twice, and all of it at once.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <weir/cache_ahead.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "base/random.h"
#include "base/util.h"
#include "cache/rig.h"

#define BYTES 4096u
#define ROOM  64u
/* Hundreds of times to another thread and back, on a machine that does other things: seconds. */
#define LONG	300
#define PATIENT 50000u /* times a tenth of a millisecond */

/* clang-format off */
FIXTURE(ahead) {
	struct rig *rig;
	struct fake_store l3;
};
FIXTURE_VARIANT(ahead) {
	enum rig_mode mode;
};
FIXTURE_VARIANT_ADD(ahead, inline_source) { .mode = RIG_INLINE };
FIXTURE_VARIANT_ADD(ahead, reading_source) { .mode = RIG_READ };
/* clang-format on */

static void open_rig(struct rig *rig, struct fake_store *l3, bool *ret)
{
	struct weir_cache_opts opts = {0};

	opts.l3 = l3 ? &fake_store_ops : NULL;
	opts.l3_arg = l3;
	*ret = rig_open(rig, &opts, ROOM * BYTES) == 0;
}

FIXTURE_SETUP(ahead)
{
	bool is_open;

	self->rig = calloc(1, sizeof(*self->rig));
	self->rig->mode = variant->mode;
	fake_store_init(&self->l3, 1 << 24);
	open_rig(self->rig, &self->l3, &is_open);
	ASSERT_TRUE(is_open);
}

FIXTURE_TEARDOWN(ahead)
{
	EXPECT_TRUE(rig_close(self->rig));
	fake_store_fini(&self->l3);
	free(self->rig);
}

static struct weir_cache_ahead_stats stats_of(struct weir_cache *cache)
{
	struct weir_cache_ahead_stats s = {0};

	if (weir_cache_ahead_stats(cache, &s))
		s.nr_failed = UINT64_MAX;
	return s;
}

static bool touch(struct rig *rig, uint32_t n, uint32_t class_id)
{
	struct weir_cache_item item = rig_item(n, BYTES, class_id);
	struct weir_pin p;
	bool good;

	if (class_id == WEIR_CLASS_KV)
		item.bytes = 0;
	if (weir_cache_get(rig->cache, &item, 0, &p))
		return false;
	good = rig_check(p.data, n, p.bytes, NULL);
	weir_cache_put(rig->cache, &p);
	return good;
}

/* Until the thread has heard of all that was got and has begun what it wants. */
static bool settle(struct rig *rig, uint64_t nr_references)
{
	/* A plan that ends wakes it. */
	if (weir_cache_plan(rig->cache, NULL, 0, false))
		return false;
	for (uint32_t i = 0; i < PATIENT; i++) {
		struct weir_cache_ahead_stats s = stats_of(rig->cache);

		if (s.nr_references >= nr_references &&
		    rig_stats(rig, WEIR_TIER_L2).nr_prefetches >= s.nr_started)
			return true;
		usleep(100);
	}
	return false;
}

/* Gets one thing after the other, each when the thread is done with those before. */
static bool walk(struct rig *rig, uint32_t nr_keys, uint32_t nr_gets, uint32_t class_id,
		 uint64_t *ret_hits)
{
	for (uint32_t i = 0; i < nr_gets; i++) {
		struct weir_cache_stats before = rig_stats(rig, WEIR_TIER_L2), after;

		if (!touch(rig, i % nr_keys, class_id))
			return false;
		after = rig_stats(rig, WEIR_TIER_L2);
		*ret_hits += after.nr_misses == before.nr_misses;
		if (!settle(rig, i + 1))
			return false;
	}
	return true;
}

/* What a busy machine or a sanitizer makes of thinking is little against such a fetch. */
static const struct weir_cache_ahead_opts dear = {.size = sizeof(dear), .latency_ns = 100000000};

TEST_F_TIMEOUT(ahead, a_cycle_larger_than_the_cache_is_there_when_it_is_asked_for, LONG)
{
	struct weir_cache_ahead_stats s;
	uint64_t hits = 0, later = 0;

	ASSERT_EQ(weir_cache_ahead(self->rig->cache, &dear, NULL), 0);
	ASSERT_TRUE(walk(self->rig, 2 * ROOM, 4 * ROOM, WEIR_CLASS_WEIGHTS, &hits));
	for (uint32_t i = 0; i < 2 * ROOM; i++) {
		struct weir_cache_stats before = rig_stats(self->rig, WEIR_TIER_L2), after;

		ASSERT_TRUE(touch(self->rig, i, WEIR_CLASS_WEIGHTS));
		after = rig_stats(self->rig, WEIR_TIER_L2);
		later += after.nr_misses == before.nr_misses;
		ASSERT_TRUE(settle(self->rig, 4 * ROOM + i + 1));
	}
	s = stats_of(self->rig->cache);
	EXPECT_EQ(s.off_why, (uint32_t)WEIR_AHEAD_ON);
	EXPECT_GT(s.nr_useful, 0u);
	EXPECT_GT(later, ROOM); /* lru alone: none */
	EXPECT_LE(s.nr_useful + s.nr_late + s.nr_wasted + s.nr_cancelled, s.nr_started);
}

TEST_F_TIMEOUT(ahead, each_way_of_foreseeing_has_its_own_account, LONG)
{
	struct weir_cache_ahead_source s, sum = {0};
	uint64_t hits = 0;
	uint32_t nr = 0;

	EXPECT_EQ(weir_cache_ahead_source(self->rig->cache, 0, &s), -EOPNOTSUPP);
	ASSERT_EQ(weir_cache_ahead(self->rig->cache, &dear, NULL), 0);
	ASSERT_TRUE(walk(self->rig, 2 * ROOM, 5 * ROOM, WEIR_CLASS_WEIGHTS, &hits));
	while (!weir_cache_ahead_source(self->rig->cache, nr, &s)) {
		ASSERT_NE(s.name, NULL);
		EXPECT_LE(s.nr_right, s.nr_judged);
		EXPECT_LE(s.confidence_permille, 1000u);
		/* The cycle is one, and the host has said nothing. */
		if (!strcmp(s.name, "sequence"))
			EXPECT_TRUE(s.nr_told && s.nr_right && s.confidence_permille > 500);
		if (!strcmp(s.name, "need") || !strcmp(s.name, "likely"))
			EXPECT_EQ(s.nr_told + s.nr_started, 0u);
		sum.nr_useful += s.nr_useful;
		sum.nr_late += s.nr_late;
		nr++;
	}
	EXPECT_EQ(nr, 8u);
	EXPECT_EQ(weir_cache_ahead_source(self->rig->cache, nr, &s), -ENOENT);
	EXPECT_EQ(sum.nr_useful, stats_of(self->rig->cache).nr_useful);
	EXPECT_EQ(sum.nr_late, stats_of(self->rig->cache).nr_late);
	EXPECT_GT(sum.nr_useful + sum.nr_late, 0u);
}

TEST_F_TIMEOUT(ahead, what_was_inserted_and_went_down_is_brought_up_again, LONG)
{
	uint64_t hits = 0;

	ASSERT_EQ(weir_cache_ahead(self->rig->cache, &dear, NULL), 0);
	for (uint32_t n = 0; n < 2 * ROOM; n++)
		ASSERT_EQ(rig_insert(self->rig, n, 1, BYTES), 0);
	ASSERT_TRUE(walk(self->rig, 2 * ROOM, 6 * ROOM, WEIR_CLASS_KV, &hits));
	/* How many depends on when the blocks were written down; an order by recency alone hits none. */
	EXPECT_GT(stats_of(self->rig->cache).nr_useful, 0u);
	EXPECT_GT(hits, 0u);
}

TEST_F_TIMEOUT(ahead, random_gets_turn_it_off_within_a_thousand, LONG)
{
	struct weir_cache_stats before, after;
	struct weir_cache_ahead_stats s;
	uint64_t random = 1, nr_gets = 4000;

	ASSERT_EQ(weir_cache_ahead(self->rig->cache, NULL, NULL), 0);
	before = rig_stats(self->rig, WEIR_TIER_L2);
	for (uint32_t i = 0; i < nr_gets; i++) {
		(void)wr_lcg64(&random);
		ASSERT_TRUE(
			touch(self->rig, (uint32_t)(random >> 33) % RIG_KEYS, WEIR_CLASS_WEIGHTS));
		/* Before it is off, so that none of the first are lost. */
		if (i < 1000 && i % 8 == 7)
			ASSERT_TRUE(settle(self->rig, i + 1));
		if (i != 999)
			continue;
		s = stats_of(self->rig->cache);
		EXPECT_EQ(s.nr_stops, 1u);
		EXPECT_LE(s.stopped_at, 1000u);
		EXPECT_NE(s.off_why, (uint32_t)WEIR_AHEAD_ON);
		EXPECT_STRNE(weir_cache_ahead_off_name(s.off_why), "on");
	}
	after = rig_stats(self->rig, WEIR_TIER_L2);
	EXPECT_LE(after.nr_fills - before.nr_fills, nr_gets * 5 / 4);
}

TEST_F_TIMEOUT(ahead, experts_are_foreseen_from_the_layer_before, LONG)
{
	const struct weir_cache_ahead_opts opts = {.size = sizeof(opts),
						   .nr_layers = 4,
						   .nr_experts = 64,
						   .latency_ns = dear.latency_ns};
	uint64_t nr = 0, random = 7;

	ASSERT_EQ(weir_cache_ahead(self->rig->cache, &opts, NULL), 0);
	for (uint32_t n = 0; n < 256; n++) {
		struct weir_cache_item item = rig_item(n, BYTES, WEIR_CLASS_EXPERTS);

		ASSERT_EQ(weir_cache_declare(self->rig->cache, &item, n / 64, n % 64), 0);
	}
	/* One of sixteen ways through the layers, at random. */
	for (uint32_t token = 0; token < 200; token++) {
		uint32_t way;

		(void)wr_lcg64(&random);
		way = (uint32_t)(random >> 33) % 16;
		for (uint32_t layer = 0; layer < 4; layer++) {
			for (uint32_t k = 0; k < 4; k++, nr++)
				ASSERT_TRUE(touch(self->rig,
						  layer * 64 + (way * 4 + k + layer * 8) % 64,
						  WEIR_CLASS_EXPERTS));
			ASSERT_TRUE(settle(self->rig, nr));
		}
	}
	EXPECT_GT(stats_of(self->rig->cache).nr_useful, 200u);
	EXPECT_GT(stats_of(self->rig->cache).precision_permille, 500u);
}

#define LAYERS	16u
#define EXPERTS 32u
#define CHOSEN	6u
#define STEADY	2u

/*
 * Of the experts of a layer two are those of the token before, the rest one of seven each. There
 * is room for two thirds of a token, so by recency all have left before they are wanted again.
 * Returns how many of the two were there although nobody fetched them ahead, in the last tokens.
 */
static bool count_kept(struct rig *rig, uint32_t nr_tokens, uint32_t nr_counted, uint64_t *ret)
{
	uint64_t nr = 0, random = 11;

	for (uint32_t i = 0; i < nr_tokens * LAYERS; i++) {
		for (uint32_t k = 0; k < CHOSEN; k++, nr++) {
			struct weir_cache_stats before = rig_stats(rig, WEIR_TIER_L2), after;
			uint32_t expert = k;

			(void)wr_lcg64(&random);
			if (k >= STEADY)
				expert = STEADY + (k - STEADY) * 7 + (uint32_t)(random >> 33) % 7;
			if (!touch(rig, i % LAYERS * EXPERTS + expert, WEIR_CLASS_EXPERTS))
				return false;
			after = rig_stats(rig, WEIR_TIER_L2);
			*ret += k < STEADY && i >= (nr_tokens - nr_counted) * LAYERS &&
				after.nr_misses == before.nr_misses &&
				after.nr_useful == before.nr_useful;
		}
		if (!settle(rig, nr))
			return false;
	}
	return true;
}

/* clang-format off */
FIXTURE(ordered) {
	struct rig *rig;
};
/* clang-format on */

FIXTURE_SETUP(ordered)
{
	struct weir_cache_opts opts = {.classes[WEIR_CLASS_EXPERTS] = {.policy = "forecast"}};

	self->rig = calloc(1, sizeof(*self->rig));
	self->rig->mode = RIG_INLINE;
	ASSERT_EQ(rig_open(self->rig, &opts, ROOM * BYTES), 0);
}

FIXTURE_TEARDOWN(ordered)
{
	EXPECT_TRUE(rig_close(self->rig));
	free(self->rig);
}

TEST_F_TIMEOUT(ordered, experts_that_come_again_stay_while_others_pass, LONG)
{
	const struct weir_cache_ahead_opts opts = {.size = sizeof(opts),
						   .nr_layers = LAYERS,
						   .nr_experts = EXPERTS,
						   .latency_ns = dear.latency_ns};
	uint64_t nr_kept = 0;

	ASSERT_EQ(weir_cache_ahead(self->rig->cache, &opts, NULL), 0);
	for (uint32_t n = 0; n < LAYERS * EXPERTS; n++) {
		struct weir_cache_item item = rig_item(n, BYTES, WEIR_CLASS_EXPERTS);

		ASSERT_EQ(weir_cache_declare(self->rig->cache, &item, n / EXPERTS, n % EXPERTS), 0);
	}
	EXPECT_TRUE(count_kept(self->rig, 60, 20, &nr_kept));
	EXPECT_GT(nr_kept, 20 * LAYERS * STEADY / 2);
}

TEST_F(ahead, what_cannot_be_is_refused)
{
	struct weir_cache_ahead_opts opts = {.size = sizeof(opts), .nr_layers = 1};
	struct weir_cache_item item = rig_item(0, BYTES, WEIR_CLASS_WEIGHTS);
	struct weir_cache_ahead_stats s;

	EXPECT_EQ(weir_cache_declare(self->rig->cache, &item, WEIR_CACHE_NO_PLACE,
				     WEIR_CACHE_NO_PLACE),
		  -EOPNOTSUPP);
	EXPECT_EQ(weir_cache_ahead_switch(self->rig->cache, true), -EOPNOTSUPP);
	EXPECT_EQ(weir_cache_ahead_stats(self->rig->cache, &s), -EOPNOTSUPP);
	EXPECT_EQ(weir_cache_ahead(self->rig->cache, &opts, NULL), -EINVAL);
	opts.nr_experts = 257;
	EXPECT_EQ(weir_cache_ahead(self->rig->cache, &opts, NULL), -EINVAL);
	opts.nr_experts = 8;
	opts.nr_items = 63;
	EXPECT_EQ(weir_cache_ahead(self->rig->cache, &opts, NULL), -EINVAL);
	opts.nr_items = 64;
	opts.classes = 1u << WEIR_NR_CLASSES;
	EXPECT_EQ(weir_cache_ahead(self->rig->cache, &opts, NULL), -EINVAL);
	opts.classes = 0;
	EXPECT_EQ(weir_cache_ahead(self->rig->cache, &opts, NULL), 0);
	EXPECT_EQ(weir_cache_ahead(self->rig->cache, &opts, NULL), -EALREADY);
	EXPECT_EQ(weir_cache_declare(self->rig->cache, &item, 1, 0), -EINVAL);
	EXPECT_EQ(weir_cache_declare(self->rig->cache, &item, 0, 8), -EINVAL);
	EXPECT_EQ(weir_cache_declare(self->rig->cache, &item, 0, WEIR_CACHE_NO_PLACE), -EINVAL);
	for (uint32_t n = 0; n < 64; n++) {
		item = rig_item(n, BYTES, WEIR_CLASS_WEIGHTS);
		EXPECT_EQ(weir_cache_declare(self->rig->cache, &item, WEIR_CACHE_NO_PLACE,
					     WEIR_CACHE_NO_PLACE),
			  0);
	}
	item = rig_item(64, BYTES, WEIR_CLASS_WEIGHTS);
	EXPECT_EQ(weir_cache_declare(self->rig->cache, &item, WEIR_CACHE_NO_PLACE,
				     WEIR_CACHE_NO_PLACE),
		  -ENOSPC);
	/* What is not known can be got all the same. */
	EXPECT_TRUE(touch(self->rig, 64, WEIR_CLASS_WEIGHTS));
	EXPECT_STREQ(weir_cache_ahead_off_name(77), "unknown");
}

TEST_F(ahead, a_failing_allocation_leaves_the_cache_as_it_was)
{
	int64_t live = wr_test_alloc_live();
	int rc = -ENOMEM;

	for (uint64_t n = 1; rc == -ENOMEM; n++) {
		wr_test_alloc_fail_at(n);
		rc = weir_cache_ahead(self->rig->cache, NULL, NULL);
		wr_test_alloc_fail_at(0);
		if (rc == -ENOMEM)
			EXPECT_EQ(wr_test_alloc_live(), live);
		ASSERT_LT(n, 100u);
	}
	EXPECT_EQ(rc, 0);
	EXPECT_TRUE(touch(self->rig, 1, WEIR_CLASS_WEIGHTS));
}

/* ---- fetches that end when the test says ---- */

static bool wait_fill(struct rig *rig, uint32_t n)
{
	for (uint32_t i = 0; i < PATIENT; i++) {
		if (atomic_load(&rig->tokens[n]))
			return true;
		usleep(100);
	}
	return false;
}

static void *get_one(void *arg)
{
	return touch(arg, 0, WEIR_CLASS_WEIGHTS) ? arg : NULL;
}

/* clang-format off */
FIXTURE(slow_source) {
	struct rig *rig;
};
/* clang-format on */

FIXTURE_SETUP(slow_source)
{
	struct weir_cache_item item = rig_item(0, BYTES, WEIR_CLASS_WEIGHTS);
	bool is_open;

	self->rig = calloc(1, sizeof(*self->rig));
	self->rig->mode = RIG_MANUAL;
	open_rig(self->rig, NULL, &is_open);
	ASSERT_TRUE(is_open);
	ASSERT_EQ(weir_cache_ahead(self->rig->cache, NULL, NULL), 0);
	/* A host knows best, and so is believed before anything was got. */
	ASSERT_EQ(weir_cache_likely(self->rig->cache, &item, 1, 990), 0);
	ASSERT_TRUE(wait_fill(self->rig, 0));
}

FIXTURE_TEARDOWN(slow_source)
{
	EXPECT_TRUE(rig_close(self->rig));
	free(self->rig);
}

TEST_F(slow_source, a_get_joins_the_fetch_that_is_under_way)
{
	struct weir_cache_ahead_stats s = {0};
	pthread_t thread;
	void *good;

	ASSERT_EQ(pthread_create(&thread, NULL, get_one, self->rig), 0);
	/* The source is told after the cache has counted it. */
	while (!rig_stats(self->rig, WEIR_TIER_L2).nr_late ||
	       !atomic_load(&self->rig->nr_promotes[0]))
		usleep(100);
	EXPECT_TRUE(rig_finish(self->rig, 0, 0));
	pthread_join(thread, &good);
	EXPECT_NE(good, NULL);
	EXPECT_EQ(atomic_load(&self->rig->nr_fills[0]), 1u);
	EXPECT_EQ(atomic_load(&self->rig->nr_promotes[0]), 1u);
	for (uint32_t i = 0; i < PATIENT && !s.nr_late; i++) {
		usleep(100);
		s = stats_of(self->rig->cache);
	}
	EXPECT_EQ(s.nr_late, 1u);
	EXPECT_EQ(s.useful_bytes, BYTES);
}

TEST_F(slow_source, switched_off_it_cancels_and_is_silent)
{
	struct weir_cache_item item = rig_item(1, BYTES, WEIR_CLASS_WEIGHTS);
	struct weir_cache_ahead_stats s = {0};

	ASSERT_EQ(weir_cache_ahead_switch(self->rig->cache, false), 0);
	for (uint32_t i = 0; i < PATIENT && !atomic_load(&self->rig->nr_cancels[0]); i++)
		usleep(100);
	EXPECT_EQ(atomic_load(&self->rig->nr_cancels[0]), 1u);
	for (uint32_t i = 0; i < PATIENT && !s.nr_cancelled; i++) {
		usleep(100);
		s = stats_of(self->rig->cache);
	}
	EXPECT_EQ(s.nr_cancelled, 1u);
	EXPECT_EQ(s.off_why, (uint32_t)WEIR_AHEAD_HOST);
	/* Hints are for the cache alone now. */
	EXPECT_EQ(weir_cache_likely(self->rig->cache, &item, 1, 990), 1);
	EXPECT_TRUE(rig_finish(self->rig, 1, 0));
	EXPECT_TRUE(touch(self->rig, 1, WEIR_CLASS_WEIGHTS));
	EXPECT_EQ(stats_of(self->rig->cache).nr_references, 0u);
	EXPECT_EQ(weir_cache_ahead_switch(self->rig->cache, true), 0);
	EXPECT_EQ(weir_cache_ahead_switch(self->rig->cache, true), 0);
	EXPECT_EQ(stats_of(self->rig->cache).off_why, (uint32_t)WEIR_AHEAD_ON);
}

TEST_F(slow_source, closing_waits_for_what_is_under_way)
{
	/* The fixture's end closes; the source's cancel ends the fetch. */
	EXPECT_EQ(rig_stats(self->rig, WEIR_TIER_L2).nr_prefetches, 1u);
}

/* ---- all of it at once ---- */

#define NR_THREADS 8u
#define NR_ROUNDS  400u

struct crowd {
	struct rig *rig;
	_Atomic uint32_t nr_done, nr_bad, nr_threads;
};

static uint32_t next(uint64_t *random)
{
	return (uint32_t)(wr_lcg64(random) >> 33);
}

static void do_one(struct crowd *c, uint64_t *random, uint32_t i)
{
	struct weir_cache *cache = c->rig->cache;
	struct weir_cache_item items[4];
	struct weir_key keys[32];
	uint32_t what = next(random) % 64;
	int rc = 0;

	for (uint32_t k = 0; k < 4; k++)
		items[k] = rig_item((i + k) % 200, BYTES, WEIR_CLASS_WEIGHTS);
	for (uint32_t k = 0; k < 32; k++)
		keys[k] = rig_key((i + k) % 200);
	if (what == 0)
		rc = weir_cache_remove(cache, rig_key(next(random) % 200));
	else if (what == 1)
		rc = weir_cache_set_budget(cache, WEIR_TIER_L2, (32 + next(random) % 32) * BYTES);
	else if (what == 2)
		rc = weir_cache_ahead_switch(cache, next(random) % 4 != 0);
	else if (what == 3)
		rc = weir_cache_plan(cache, keys, 32, false);
	else if (what == 4)
		rc = (int)weir_cache_likely(cache, items, 4, 1 + next(random) % 1000);
	else if (what == 5)
		rc = (int)weir_cache_need(cache, items, 4);
	else if (what == 6)
		rc = weir_cache_declare(cache, &items[0], WEIR_CACHE_NO_PLACE, WEIR_CACHE_NO_PLACE);
	else if (what == 7)
		rc = (int)stats_of(cache).nr_failed & 0;
	else if (!touch(c->rig, i % 200, WEIR_CLASS_WEIGHTS))
		rc = -EPROTO;
	if (rc < 0 && rc != -ENOENT && rc != -EBUSY)
		atomic_fetch_add(&c->nr_bad, 1);
}

static void *crowd_thread(void *arg)
{
	struct crowd *c = arg;
	uint64_t random = atomic_fetch_add(&c->nr_threads, 1) + 1;

	for (uint32_t i = 0; i < NR_ROUNDS; i++)
		do_one(c, &random, i + (uint32_t)random % 3);
	atomic_fetch_add(&c->nr_done, 1);
	return NULL;
}

/* Ends fetches in no order, some of them badly for those that nobody waits for. */
static void *finisher(void *arg)
{
	struct crowd *c = arg;

	while (atomic_load(&c->nr_done) < NR_THREADS) {
		for (uint32_t n = 0; n < 200; n++)
			rig_finish(c->rig, n, 0);
		usleep(50);
	}
	return NULL;
}

TEST(threads_budgets_removals_and_hints_go_on_at_once)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct crowd crowd = {.rig = rig};
	struct weir_cache_ahead_stats s;
	pthread_t threads[NR_THREADS], end;
	bool is_open;

	ASSERT_NE(rig, NULL);
	rig->mode = RIG_MANUAL;
	open_rig(rig, NULL, &is_open);
	ASSERT_TRUE(is_open);
	ASSERT_EQ(weir_cache_ahead(rig->cache, NULL, NULL), 0);
	ASSERT_EQ(pthread_create(&end, NULL, finisher, &crowd), 0);
	for (uint32_t i = 0; i < NR_THREADS; i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, crowd_thread, &crowd), 0);
	for (uint32_t i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
	pthread_join(end, NULL);
	EXPECT_EQ(atomic_load(&crowd.nr_bad), 0u);
	s = stats_of(rig->cache);
	EXPECT_GT(s.nr_references, 0u);
	EXPECT_LE(s.nr_useful + s.nr_late + s.nr_wasted, s.nr_started);
	/* Fetches may be under way now; the source's cancel ends them. */
	EXPECT_TRUE(rig_close(rig));
	free(rig);
}

TEST_HARNESS_MAIN
