/* SPDX-License-Identifier: MIT */
/*
 * Eight threads do everything a cache offers at once, over tiers that are slow and fail, under a
 * budget that changes. What must hold in spite of it is checked at every get: the bytes are those
 * of the key, of a version that somebody put, not older than what was acknowledged or seen before.
 * And each row of the table of states in weir/cache.h is walked; debug builds of the library stop
 * at a step that is not in it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "base/random.h"
#include "base/util.h"
#include "cache/cache_internal.h"
#include "cache/rig.h"
#include "harness/holdings.h"

#define NR_THREADS 8u
#define NR_KEYS	   96u
#define NR_CLEAN   64u
#define BYTES	   8192u
#define L1_ROOM	   8u
#define L2_ROOM	   40u
#define NR_HELD	   3u /* pins that a thread keeps for a while */
#define RUN_NS	   2500000000u

/* History of one owned key. Its writer is one thread; anybody reads. */
struct key {
	_Atomic uint64_t started; /* operations begun */
	_Atomic uint64_t done;	  /* twice the last that took effect, + 1 if it was an insert */
	_Atomic uint64_t removed; /* last remove begun */
	_Atomic uint64_t seen;	  /* newest version a get has returned */
};

struct stress {
	struct rig rig;
	struct key keys[NR_KEYS];
	uint64_t until_ns;
	pthread_barrier_t all_put;
	_Atomic uint64_t nr_gets, nr_hits, nr_bad, nr_stale, nr_lost, nr_refused, nr_over;
	_Atomic int last_rc;
};

struct worker {
	pthread_t thread;
	struct stress *s;
	uint32_t number;
	uint64_t random;
	struct weir_pin held[NR_HELD];
	uint32_t held_key[NR_HELD];
	uint64_t held_version[NR_HELD];
};

static uint32_t next(struct worker *w)
{
	return (uint32_t)(wr_lcg64(&w->random) >> 33);
}

static bool is_fault(int rc)
{
	return rc == -EIO || rc == -ENOSPC;
}

static void bad(struct stress *s, int rc)
{
	atomic_fetch_add(&s->nr_bad, 1);
	atomic_store(&s->last_rc, rc);
}

static void saw(struct key *k, uint64_t version)
{
	uint64_t seen = k->seen;

	while (version > seen && !atomic_compare_exchange_weak(&k->seen, &seen, version))
		;
}

/* What one get of an owned key may return, from what was known before and is known after it. */
static void judge(struct stress *s, struct key *k, int rc, uint64_t version, uint64_t done,
		  uint64_t seen)
{
	if (rc == -ENOENT) {
		/* A remove that is not older than what was there before, or there was nothing. */
		if (((done & 1) || seen > done / 2) && k->removed <= wr_max(done / 2, seen))
			atomic_fetch_add(&s->nr_lost, 1);
	} else if (!rc) {
		if (version > k->started || version < done / 2 || version < seen ||
		    (version == done / 2 && !(done & 1)))
			atomic_fetch_add(&s->nr_stale, 1);
		saw(k, version);
	} else if (!is_fault(rc)) {
		bad(s, rc);
	}
}

static void get_owned(struct worker *w, uint32_t n, uint32_t tier)
{
	struct weir_cache_item item = rig_item(n, 0, WEIR_CLASS_KV);
	struct stress *s = w->s;
	uint64_t seen = s->keys[n].seen, done = s->keys[n].done, version = 0;
	struct weir_pin p;
	int rc;

	item.tier = tier;
	rc = weir_cache_get(s->rig.cache, &item, 0, &p);
	if (!rc) {
		if (!rig_check(p.data, n, p.bytes, &version))
			atomic_fetch_add(&s->nr_bad, 1);
		if (next(w) % 16 == 0)
			usleep(50);
		if (!rig_check(p.data, n, p.bytes, NULL))
			atomic_fetch_add(&s->nr_bad, 1);
		weir_cache_put(s->rig.cache, &p);
	}
	atomic_fetch_add(&s->nr_gets, 1);
	atomic_fetch_add(&s->nr_refused, is_fault(rc));
	judge(s, &s->keys[n], rc, version, done, seen);
}

/* What a pin shows stays, whatever happens to the entry: put one that was held, and hold another. */
static void hold(struct worker *w, uint32_t n, uint32_t tier)
{
	struct weir_cache_item item = rig_item(n, 0, WEIR_CLASS_KV);
	uint32_t i = next(w) % NR_HELD;
	struct weir_pin *p = &w->held[i];
	uint64_t version = 0;

	if (p->slot) {
		if (!rig_check(p->data, w->held_key[i], p->bytes, &version) ||
		    version != w->held_version[i])
			atomic_fetch_add(&w->s->nr_bad, 1);
		weir_cache_put(w->s->rig.cache, p);
		p->slot = NULL;
	}
	item.tier = tier;
	/* Of what is there, so that who holds pins does not wait for others who do. */
	if (weir_cache_get(w->s->rig.cache, &item, WEIR_CACHE_NO_WAIT, p)) {
		p->slot = NULL;
		return;
	}
	w->held_key[i] = n;
	if (!rig_check(p->data, n, p->bytes, &w->held_version[i]))
		atomic_fetch_add(&w->s->nr_bad, 1);
}

static void put_held(struct worker *w)
{
	for (uint32_t i = 0; i < NR_HELD; i++)
		if (w->held[i].slot)
			weir_cache_put(w->s->rig.cache, &w->held[i]);
}

static void get_clean(struct worker *w, uint32_t n, uint32_t tier)
{
	struct weir_cache_item item = rig_item(n, BYTES, WEIR_CLASS_WEIGHTS);
	struct stress *s = w->s;
	struct weir_pin p;
	int rc;

	item.tier = tier;
	rc = weir_cache_get(s->rig.cache, &item, 0, &p);
	if (!rc) {
		if (!rig_check(p.data, n, BYTES, NULL))
			atomic_fetch_add(&s->nr_bad, 1);
		weir_cache_put(s->rig.cache, &p);
	} else if (!is_fault(rc)) {
		bad(s, rc);
	}
	atomic_fetch_add(&s->nr_gets, 1);
}

/* Insert or remove one of this thread's own keys. */
static void change_own(struct worker *w)
{
	uint32_t n = next(w) % (NR_KEYS / NR_THREADS) * NR_THREADS + w->number;
	struct stress *s = w->s;
	struct key *k = &s->keys[n];
	uint64_t i = atomic_load(&k->started) + 1;
	bool insert = next(w) % 4 != 0;
	int rc;

	if (!insert)
		atomic_store(&k->removed, i);
	atomic_store(&k->started, i);
	if (insert)
		rc = rig_insert(&s->rig, n, i, BYTES);
	else
		rc = weir_cache_remove(s->rig.cache, rig_key(n));
	if (!rc || rc == -ENOENT)
		atomic_store(&k->done, 2 * i + insert);
	else if (!is_fault(rc))
		bad(s, rc);
	if (rc == -ENOENT && insert)
		atomic_fetch_add(&s->nr_bad, 1);
}

static void change_budget(struct worker *w)
{
	struct stress *s = w->s;
	bool is_l1 = next(w) % 2;
	uint32_t room = is_l1 ? L1_ROOM : L2_ROOM;
	uint64_t budget = (room / 2 + next(w) % (room / 2 + 1)) * BYTES;
	int rc;

	rc = weir_cache_set_budget(s->rig.cache, is_l1 ? WEIR_TIER_L1 : WEIR_TIER_L2, budget);
	/* Nobody but this thread raises it again. */
	if (!rc && atomic_load(is_l1 ? &s->rig.l1.used : &s->rig.l2.used) > budget)
		atomic_fetch_add(&s->nr_over, 1);
	if (rc && rc != -EBUSY && !is_fault(rc))
		bad(s, rc);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct stress *s = w->s;
	struct weir_cache_item item;

	while (wr_now_ns() < s->until_ns) {
		uint32_t what = next(w) % 100;
		uint32_t tier = next(w) % 4 ? WEIR_TIER_L2 : WEIR_TIER_L1;

		if (what < 45)
			get_owned(w, next(w) % NR_KEYS, tier);
		else if (what < 50)
			hold(w, next(w) % NR_KEYS, w->number ? WEIR_TIER_L2 : tier);
		else if (what < 75)
			get_clean(w, NR_KEYS + next(w) % NR_CLEAN, tier);
		else if (what < 92)
			change_own(w);
		else if (what < 94)
			(void)!weir_cache_remove(s->rig.cache,
						 rig_key(NR_KEYS + next(w) % NR_CLEAN));
		else if (what < 97) {
			item = rig_item(NR_KEYS + next(w) % NR_CLEAN, BYTES, WEIR_CLASS_WEIGHTS);
			(void)!weir_cache_prefetch(s->rig.cache, &item);
		} else if (what == 97 && !w->number)
			change_budget(w);
		else if (what == 98 && !w->number)
			(void)!weir_cache_flush(s->rig.cache);
	}
	put_held(w);
	return NULL;
}

static int open_stress(struct stress *s, uint32_t fail_permille)
{
	struct weir_cache_opts opts = {.room_wait_ns = 100000000,
				       .l1 = &fake_device_ops,
				       .l1_arg = &s->rig.l1,
				       .l1_budget = L1_ROOM * BYTES,
				       .l3 = &fake_store_ops,
				       .l3_arg = &s->rig.l3};

	s->rig.l1.capacity = L1_ROOM * BYTES;
	s->rig.l1.fail_permille = fail_permille;
	s->rig.l3.fail_permille = fail_permille;
	s->rig.fail_permille = fail_permille;
	s->rig.l3.delay_us = 20;
	s->rig.l1.delay_us = 5;
	fake_store_init(&s->rig.l3, 1 << 30);
	s->rig.l3.fail_permille = fail_permille;
	s->rig.l3.fail_remove_permille = fail_permille;
	s->rig.l3.delay_us = 20;
	return rig_open(&s->rig, &opts, L2_ROOM * BYTES);
}

/* clang-format off */
FIXTURE(storm) {
	struct stress *s;
	int nr_fds;
};
FIXTURE_VARIANT(storm) {
	uint32_t fail_permille;
};
/* clang-format on */

FIXTURE_VARIANT_ADD(storm, calm){.fail_permille = 0};
FIXTURE_VARIANT_ADD(storm, faults){.fail_permille = 30};

#define NR_WANTED 8u

/* What is pinned between the look at pins and the choice of what leaves; see give_time(). */
static struct {
	struct stress *s;
	uint64_t random;
	struct weir_cache_item wanted[NR_WANTED];
	uint32_t nr_wanted;
	_Atomic uint32_t turn; /* odd: they are to be pinned */
} meanwhile;

/* Under CACHE: what is there can be got without it, and is, by pin_meanwhile(). */
static WR_NO_THREAD_SAFETY void give_time(void)
{
	struct weir_cache *cache = meanwhile.s ? meanwhile.s->rig.cache : NULL;
	static uint32_t nr;
	uint32_t turn = atomic_load(&meanwhile.turn);

	if (!cache || turn % 2 || nr++ % 8)
		return;
	meanwhile.nr_wanted = 0;
	for (uint32_t i = 0; i < 4 * NR_WANTED && meanwhile.nr_wanted < NR_WANTED; i++) {
		uint32_t n = (uint32_t)(meanwhile.random++ * 2654435761u % (NR_KEYS + NR_CLEAN));
		bool is_clean = n >= NR_KEYS;
		struct weir_cache_item item = rig_item(n, is_clean ? BYTES : 0, WEIR_CLASS_KV);
		uint32_t index = wr_cache_find(cache, item.key);
		unsigned int tier = i % 2;

		item.tier = tier + 1;
		item.class_id = is_clean ? WEIR_CLASS_WEIGHTS : WEIR_CLASS_KV;
		if (index != WR_NO_SLOT && wr_copy_state(wr_load_relaxed(&cache->slots[index].word),
							 tier) == WR_COPY_READY)
			meanwhile.wanted[meanwhile.nr_wanted++] = item;
	}
	atomic_store(&meanwhile.turn, turn + 1);
	for (uint32_t i = 0; i < 20 && atomic_load(&meanwhile.turn) == turn + 1; i++)
		usleep(20);
}

static void *pin_meanwhile(void *arg)
{
	struct stress *s = arg;
	struct weir_pin p[NR_WANTED];

	while (wr_now_ns() < s->until_ns) {
		uint32_t turn = atomic_load(&meanwhile.turn), nr = 0;

		if (turn % 2 == 0) {
			usleep(10);
			continue;
		}
		while (nr < meanwhile.nr_wanted &&
		       !weir_cache_get(s->rig.cache, &meanwhile.wanted[nr], WEIR_CACHE_NO_WAIT,
				       &p[nr]))
			nr++;
		atomic_store(&meanwhile.turn, turn + 1);
		usleep(50);
		while (nr)
			weir_cache_put(s->rig.cache, &p[--nr]);
	}
	return NULL;
}

FIXTURE_SETUP(storm)
{
	wr_test_cache_choosing = give_time;
	self->nr_fds = nr_open_files();
	self->s = calloc(1, sizeof(*self->s));
	ASSERT_EQ(open_stress(self->s, variant->fail_permille), 0);
}

FIXTURE_TEARDOWN(storm)
{
	struct stress *s = self->s;

	EXPECT_TRUE(rig_close(&s->rig));
	fake_store_fini(&s->rig.l3);
	free(s);
	EXPECT_EQ(wr_test_alloc_live(), 0);
	EXPECT_EQ(nr_open_files(), self->nr_fds);
}

/* One row of the table of states, for each tier. */
static uint64_t row(struct __test_metadata *_metadata, const char *from, const char *to,
		    unsigned int from_state, unsigned int to_state, const char *why)
{
	uint64_t l1 = wr_test_copy_steps[WR_L1][from_state][to_state];
	uint64_t l2 = wr_test_copy_steps[WR_L2][from_state][to_state];

	TH_LOG("%-8s -> %-8s L1 %8llu  L2 %8llu  %s", from, to, (unsigned long long)l1,
	       (unsigned long long)l2, why);
	/* Inserts are into L2. */
	return from_state == WR_COPY_NONE && to_state == WR_COPY_READY ? l2 : wr_min(l1, l2);
}

static void every_row_was_walked(struct __test_metadata *_metadata, bool has_faults)
{
#define X(from, to, why)                                                          \
	if (row(_metadata, #from, #to, WR_COPY_##from, WR_COPY_##to, why) == 0 && \
	    (has_faults || WR_COPY_##from != WR_COPY_FILLING))                    \
		EXPECT_STREQ(#from " -> " #to, "walked");
	WR_COPY_STEPS(X)
#undef X
}

TEST_F(storm, every_get_is_right)
{
	struct stress *s = self->s;
	struct worker w[NR_THREADS];
	struct weir_cache_stats st;
	pthread_t pinner;

	s->until_ns = wr_now_ns() + RUN_NS;
	meanwhile.s = s;
	ASSERT_EQ(pthread_create(&pinner, NULL, pin_meanwhile, s), 0);
	for (uint32_t i = 0; i < NR_THREADS; i++) {
		w[i] = (struct worker){.s = s, .number = i, .random = i * 77 + 1};
		ASSERT_EQ(pthread_create(&w[i].thread, NULL, i < NR_THREADS ? work : pin_meanwhile,
					 &w[i]),
			  0);
	}
	while (wr_now_ns() < s->until_ns) {
		st = rig_stats(&s->rig, WEIR_TIER_L2);
		EXPECT_EQ(st.nr_gets, st.nr_hits + st.nr_misses + st.nr_waits);
		EXPECT_LE(st.nr_useful + st.nr_late + st.nr_wasted, st.nr_prefetches);
		EXPECT_LE(st.used_bytes, st.peak_bytes);
		usleep(1000);
	}
	for (uint32_t i = 0; i < NR_THREADS; i++)
		pthread_join(w[i].thread, NULL);
	pthread_join(pinner, NULL);
	meanwhile.s = NULL;
	EXPECT_EQ(atomic_load(&s->nr_bad), 0u);
	EXPECT_EQ(atomic_load(&s->last_rc), 0);
	EXPECT_EQ(atomic_load(&s->nr_stale), 0u);
	EXPECT_EQ(atomic_load(&s->nr_lost), 0u);
	EXPECT_EQ(atomic_load(&s->nr_over), 0u);
	if (!variant->fail_permille)
		EXPECT_EQ(atomic_load(&s->nr_refused), 0u);
	EXPECT_GT(atomic_load(&s->nr_gets), 1000u);
	EXPECT_LE(atomic_load(&s->rig.l2.peak), L2_ROOM * BYTES);
	EXPECT_LE(atomic_load(&s->rig.l1.peak), L1_ROOM * BYTES);
	st = rig_stats(&s->rig, WEIR_TIER_L2);
	EXPECT_LE(st.peak_bytes, L2_ROOM * BYTES);
	EXPECT_GT(st.nr_demotions, 0u);
	/* No thread is there any more: what is owned is still to be had, each as its writer left it. */
	s->rig.l3.fail_permille = s->rig.l1.fail_permille = s->rig.fail_permille = 0;
	s->rig.l3.fail_remove_permille = 0;
	ASSERT_EQ(weir_cache_set_budget(s->rig.cache, WEIR_TIER_L2, L2_ROOM * BYTES), 0);
	for (uint32_t n = 0; n < NR_KEYS; n++)
		get_owned(&w[0], n, WEIR_TIER_L2);
	EXPECT_EQ(s->nr_lost + s->nr_stale + atomic_load(&s->nr_bad), 0u);
	every_row_was_walked(_metadata, variant->fail_permille);
	TH_LOG("%llu gets, %llu refused for faults", (unsigned long long)s->nr_gets,
	       (unsigned long long)s->nr_refused);
}

/* ---- what the origin did: 6 threads put 20 things each and get them, under eviction ---- */

#define ORIGIN_THREADS 6u
#define ORIGIN_PUTS    20u
#define ORIGIN_GETS    312123u

static void *put_and_get(void *arg)
{
	struct worker *w = arg;
	struct stress *s = w->s;
	uint64_t version;

	for (uint32_t i = 0; i < ORIGIN_PUTS; i++)
		if (rig_insert(&s->rig, w->number * ORIGIN_PUTS + i, 1, BYTES))
			atomic_fetch_add(&s->nr_bad, 1);
	pthread_barrier_wait(&s->all_put);
	while (atomic_fetch_add(&s->nr_gets, 1) < ORIGIN_GETS) {
		uint32_t n = next(w) % (ORIGIN_THREADS * ORIGIN_PUTS);
		struct weir_cache_item item = rig_item(n, 0, WEIR_CLASS_KV);
		struct weir_pin p;
		int rc;

		item.tier = next(w) % 4 ? WEIR_TIER_L2 : WEIR_TIER_L1;
		rc = weir_cache_get(s->rig.cache, &item, 0, &p);

		if (rc) {
			atomic_store(&s->last_rc, rc);
			atomic_fetch_add(&s->nr_lost, 1);
			continue;
		}
		if (!rig_check(p.data, n, p.bytes, &version))
			atomic_fetch_add(&s->nr_bad, 1);
		weir_cache_put(s->rig.cache, &p);
	}
	return NULL;
}

TEST(no_get_of_what_was_put_is_missed)
{
	struct stress *s = calloc(1, sizeof(*s));
	struct worker w[ORIGIN_THREADS];
	struct weir_cache_stats st;

	ASSERT_EQ(open_stress(s, 0), 0);
	s->rig.l3.delay_us = 0;
	s->rig.l1.delay_us = 0;
	pthread_barrier_init(&s->all_put, NULL, ORIGIN_THREADS);
	for (uint32_t i = 0; i < ORIGIN_THREADS; i++) {
		w[i] = (struct worker){.s = s, .number = i, .random = i * 77 + 1};
		ASSERT_EQ(pthread_create(&w[i].thread, NULL, put_and_get, &w[i]), 0);
	}
	for (uint32_t i = 0; i < ORIGIN_THREADS; i++)
		pthread_join(w[i].thread, NULL);
	EXPECT_EQ(atomic_load(&s->nr_lost), 0u);
	EXPECT_EQ(atomic_load(&s->last_rc), 0);
	EXPECT_EQ(atomic_load(&s->nr_bad), 0u);
	st = rig_stats(&s->rig, WEIR_TIER_L2);
	EXPECT_GT(st.nr_evictions, ORIGIN_GETS / 10);
	TH_LOG("%u gets, %llu missed; %llu evictions, %llu demotions", ORIGIN_GETS,
	       (unsigned long long)s->nr_lost, (unsigned long long)st.nr_evictions,
	       (unsigned long long)st.nr_demotions);
	EXPECT_TRUE(rig_close(&s->rig));
	fake_store_fini(&s->rig.l3);
	free(s);
}

TEST_HARNESS_MAIN
