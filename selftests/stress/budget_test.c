/* SPDX-License-Identifier: MIT */
/*
 * Budgets of all three tiers go up and down while eight threads get, insert and remove. Another one
 * looks all the time at what is charged and at what is really there, in the device, the pool and the
 * folder: it is never above the budget, or above the former one while a lower one is being reached.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "base/util.h"
#include "cache/rig.h"
#include "harness/holdings.h"
#include "tier/store_help.h"

#define NR_THREADS 8u
#define NR_OWN	   10u /* owned keys of a thread */
#define NR_CLEAN   200u
#define BYTES	   65536u
#define MIB	   ((uint64_t)1 << 20)
#define POOL_BYTES (16 * MIB)
#define RUN_NS	   2500000000u

static const struct {
	uint64_t least, most, step;
} ranges[WEIR_NR_TIERS] = {
	[WEIR_TIER_L1] = {4 * BYTES, 2 * MIB, BYTES},
	[WEIR_TIER_L2] = {16 * BYTES, 12 * MIB, BYTES},
	[WEIR_TIER_L3] = {16 * MIB + 65536, 48 * MIB, 3 * MIB / 2},
};

/* Of one tier: what may be there at the moment, and what was seen. */
struct contract {
	uint64_t budget, allowed;
	uint64_t nr_looks, nr_strict, nr_over;
	uint64_t most_over;
	uint64_t nr_changes, nr_not_yet;
};

struct budgets {
	struct rig rig;
	struct weir_pool *pool;
	char dir[256];
	pthread_mutex_t lock;
	struct contract tiers[WEIR_NR_TIERS];
	_Atomic uint64_t until_ns;
	_Atomic bool stop;
	_Atomic uint64_t nr_gets, nr_refused, nr_bad, nr_lost;
	_Atomic int last_rc;
};

struct worker {
	pthread_t thread;
	struct budgets *b;
	uint32_t number;
	uint64_t random;
	uint64_t nr_inserts;
	uint64_t version[NR_OWN]; /* 0: not there */
	bool is_unsure[NR_OWN];	  /* the last call for it was refused */
};

static uint32_t next(uint64_t *random)
{
	*random = *random * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*random >> 33);
}

/* ---- what the threads do ---- */

static void bad(struct budgets *b, int rc)
{
	atomic_fetch_add(&b->nr_bad, 1);
	atomic_store(&b->last_rc, rc);
}

static void get_own(struct worker *w, uint32_t i, uint32_t tier)
{
	uint32_t n = w->number * NR_OWN + i;
	struct weir_cache_item item = rig_item(n, 0, WEIR_CLASS_KV);
	struct budgets *b = w->b;
	uint64_t version = 0;
	struct weir_pin p;
	int rc;

	item.tier = tier;
	rc = weir_cache_get(b->rig.cache, &item, 0, &p);
	if (!rc) {
		if (!rig_check(p.data, n, p.bytes, &version) ||
		    (!w->is_unsure[i] && version != w->version[i]))
			bad(b, 1);
		weir_cache_put(b->rig.cache, &p);
	} else if (rc == -ENOENT) {
		atomic_fetch_add(&b->nr_lost, w->version[i] && !w->is_unsure[i]);
	} else if (rc == -ENOSPC) {
		atomic_fetch_add(&b->nr_refused, 1);
	} else {
		bad(b, rc);
	}
	atomic_fetch_add(&b->nr_gets, 1);
}

static void change_own(struct worker *w, uint32_t i)
{
	uint32_t n = w->number * NR_OWN + i;
	bool insert = next(&w->random) % 4;
	uint64_t version = insert ? ++w->nr_inserts : 0;
	int rc = insert ? rig_insert(&w->b->rig, n, version, BYTES)
			: weir_cache_remove(w->b->rig.cache, rig_key(n));

	w->is_unsure[i] = rc == -ENOSPC;
	if (!rc || rc == -ENOENT)
		w->version[i] = version;
	else if (rc != -ENOSPC)
		bad(w->b, rc);
}

static void get_clean(struct worker *w, uint32_t n, uint32_t tier)
{
	size_t bytes = 4096 * (1 + n % 24);
	struct weir_cache_item item = rig_item(1000 + n, bytes, WEIR_CLASS_WEIGHTS);
	struct weir_pin p;
	int rc;

	item.tier = tier;
	rc = weir_cache_get(w->b->rig.cache, &item, 0, &p);
	if (!rc) {
		if (!rig_check(p.data, 1000 + n, bytes, NULL))
			bad(w->b, 1);
		weir_cache_put(w->b->rig.cache, &p);
	} else if (rc != -ENOSPC) {
		bad(w->b, rc);
	}
	atomic_fetch_add(&w->b->nr_gets, 1);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	while (wr_now_ns() < w->b->until_ns) {
		uint32_t what = next(&w->random) % 10;
		uint32_t tier = next(&w->random) % 4 ? WEIR_TIER_L2 : WEIR_TIER_L1;

		if (what < 4)
			get_own(w, next(&w->random) % NR_OWN, tier);
		else if (what < 7)
			get_clean(w, next(&w->random) % NR_CLEAN, tier);
		else
			change_own(w, next(&w->random) % NR_OWN);
	}
	return NULL;
}

/* ---- who looks ---- */

static uint64_t allowed(struct budgets *b, uint32_t tier, bool *ret_is_strict)
{
	uint64_t bytes;

	pthread_mutex_lock(&b->lock);
	bytes = b->tiers[tier].allowed;
	*ret_is_strict = bytes == b->tiers[tier].budget;
	pthread_mutex_unlock(&b->lock);
	return bytes;
}

static uint64_t really_there(struct budgets *b, uint32_t tier)
{
	struct weir_pool_stats pool;
	uint64_t least = UINT64_MAX;

	if (tier == WEIR_TIER_L1)
		return atomic_load(&b->rig.l1.used);
	if (tier == WEIR_TIER_L2) {
		weir_pool_stats(b->pool, &pool);
		return pool.used_bytes;
	}
	/* A file that came while one was counted that has gone: not seen three times. */
	for (int i = 0; i < 3; i++)
		least = wr_min(least, st_dir_bytes(b->dir));
	return least;
}

static void look_at(struct budgets *b, uint32_t tier)
{
	struct contract *c = &b->tiers[tier];
	bool was_strict, is_strict;
	uint64_t before = allowed(b, tier, &was_strict), may, seen;

	seen = wr_max(rig_stats(&b->rig, tier).used_bytes, really_there(b, tier));
	may = wr_max(before, allowed(b, tier, &is_strict));
	c->nr_looks++;
	c->nr_strict += was_strict && is_strict;
	c->nr_over += seen > may;
	c->most_over = wr_max(c->most_over, seen > may ? seen - may : 0);
}

static void *look(void *arg)
{
	struct budgets *b = arg;

	while (!atomic_load(&b->stop)) {
		for (uint32_t tier = WEIR_TIER_L1; tier <= WEIR_TIER_L3; tier++)
			look_at(b, tier);
		usleep(100);
	}
	return NULL;
}

/* ---- who changes ---- */

static void change_budget(struct budgets *b, uint32_t tier, uint64_t bytes)
{
	struct contract *c = &b->tiers[tier];
	int rc;

	pthread_mutex_lock(&b->lock);
	c->budget = bytes;
	c->allowed = wr_max(c->allowed, bytes);
	pthread_mutex_unlock(&b->lock);
	rc = weir_cache_set_budget(b->rig.cache, tier, bytes);
	pthread_mutex_lock(&b->lock);
	if (!rc)
		c->allowed = bytes;
	pthread_mutex_unlock(&b->lock);
	c->nr_changes++;
	c->nr_not_yet += rc != 0;
	if (rc && rc != -EBUSY && rc != -EINPROGRESS && rc != -ENOSPC)
		bad(b, rc);
}

static void change_budgets(struct budgets *b)
{
	uint64_t random = 99;

	while (wr_now_ns() < b->until_ns) {
		uint32_t tier = WEIR_TIER_L1 + next(&random) % 3;
		uint64_t nr = (ranges[tier].most - ranges[tier].least) / ranges[tier].step;

		change_budget(b, tier, ranges[tier].least + next(&random) % nr * ranges[tier].step);
		usleep(next(&random) % 8000);
	}
}

/* clang-format off */
FIXTURE(budgets) {
	struct budgets *b;
	int nr_fds;
};
/* clang-format on */

FIXTURE_SETUP(budgets)
{
	struct weir_pool_opts pool = {.size = sizeof(pool),
				      .capacity_bytes = POOL_BYTES,
				      .page_kinds = 1u << WEIR_PAGE_4K,
				      .flags = WEIR_POOL_LAZY};
	struct budgets *b = calloc(1, sizeof(*b));
	struct weir_cache_opts opts = {.room_wait_ns = 100000000,
				       .l1 = &fake_device_ops,
				       .l1_arg = &b->rig.l1,
				       .l1_budget = ranges[WEIR_TIER_L1].most,
				       .l2_budget = ranges[WEIR_TIER_L2].most,
				       .l3_dir = b->dir,
				       .l3_budget = ranges[WEIR_TIER_L3].most,
				       .l3_no_sync = 1};

	self->b = b;
	self->nr_fds = nr_open_files();
	pthread_mutex_init(&b->lock, NULL);
	st_dir(b->dir, sizeof(b->dir), "budgets");
	b->rig.l1.capacity = UINT64_MAX; /* the cache's budget is what holds */
	ASSERT_EQ(weir_pool_open(&pool, &b->pool, NULL), 0);
	opts.pool = b->pool;
	ASSERT_EQ(rig_open(&b->rig, &opts, 0), 0);
	for (uint32_t tier = WEIR_TIER_L1; tier <= WEIR_TIER_L3; tier++)
		b->tiers[tier].budget = b->tiers[tier].allowed = ranges[tier].most;
}

FIXTURE_TEARDOWN(budgets)
{
	struct weir_pool_stats pool;

	EXPECT_TRUE(rig_close(&self->b->rig));
	weir_pool_stats(self->b->pool, &pool);
	EXPECT_EQ(pool.used_bytes, 0u);
	weir_pool_close(self->b->pool);
	st_dir_remove(self->b->dir);
	pthread_mutex_destroy(&self->b->lock);
	free(self->b);
	EXPECT_EQ(wr_test_alloc_live(), 0);
	EXPECT_EQ(nr_open_files(), self->nr_fds);
}

static void print(struct __test_metadata *_metadata, const struct budgets *b)
{
	for (uint32_t tier = WEIR_TIER_L1; tier <= WEIR_TIER_L3; tier++) {
		const struct contract *c = &b->tiers[tier];

		TH_LOG("L%u: %llu changes (%llu not reached at once), %llu looks, %llu of them at "
		       "the budget itself; above: %llu, by %llu bytes at most",
		       tier, (unsigned long long)c->nr_changes, (unsigned long long)c->nr_not_yet,
		       (unsigned long long)c->nr_looks, (unsigned long long)c->nr_strict,
		       (unsigned long long)c->nr_over, (unsigned long long)c->most_over);
	}
	TH_LOG("%llu gets, %llu refused for want of room", (unsigned long long)b->nr_gets,
	       (unsigned long long)b->nr_refused);
}

TEST_F_TIMEOUT(budgets, that_change_under_load_are_never_exceeded, 300)
{
	struct budgets *b = self->b;
	struct worker w[NR_THREADS] = {0};
	pthread_t looker;

	b->until_ns = wr_now_ns() + RUN_NS;
	ASSERT_EQ(pthread_create(&looker, NULL, look, b), 0);
	for (uint32_t i = 0; i < NR_THREADS; i++) {
		w[i] = (struct worker){.b = b, .number = i, .random = i * 77 + 1};
		ASSERT_EQ(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	change_budgets(b);
	for (uint32_t i = 0; i < NR_THREADS; i++)
		pthread_join(w[i].thread, NULL);
	for (uint32_t tier = WEIR_TIER_L1; tier <= WEIR_TIER_L3; tier++)
		change_budget(b, tier, ranges[tier].most);
	for (uint32_t i = 0; i < NR_THREADS; i++)
		for (uint32_t k = 0; k < NR_OWN; k++)
			get_own(&w[i], k, WEIR_TIER_L2);
	atomic_store(&b->stop, true);
	pthread_join(looker, NULL);
	print(_metadata, b);
	for (uint32_t tier = WEIR_TIER_L1; tier <= WEIR_TIER_L3; tier++) {
		EXPECT_EQ(b->tiers[tier].nr_over, 0u);
		EXPECT_GT(b->tiers[tier].nr_strict, 0u);
		EXPECT_GT(b->tiers[tier].nr_changes, 4u);
	}
	EXPECT_EQ(atomic_load(&b->nr_bad), 0u);
	EXPECT_EQ(atomic_load(&b->last_rc), 0);
	EXPECT_EQ(atomic_load(&b->nr_lost), 0u);
	EXPECT_GT(atomic_load(&b->nr_gets), 1000u);
}

TEST_HARNESS_MAIN
