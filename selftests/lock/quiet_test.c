/* SPDX-License-Identifier: MIT */
/* Correct programs: the locks do their work and the validator stays silent. */
#include <errno.h>
#include <pthread.h>

#include "kselftest_harness.h"

#include "base/atomic.h"
#include "lock/lock.h"
#include "lock/validate.h"

/* The compile-time analysis follows neither locks in an array nor a trylock inside an ASSERT. */
#if defined(__clang__)
#pragma clang diagnostic ignored "-Wthread-safety-analysis"
#endif

static _Atomic int nr_faults;

static void count(const struct wr_lock_fault *fault)
{
	(void)fault;
	wr_fetch_add_relaxed(&nr_faults, 1);
}

/* clang-format off */
FIXTURE(quiet) {
	int unused;
};
/* clang-format on */

FIXTURE_SETUP(quiet)
{
	wr_lock_set_fault_hook(count);
}

FIXTURE_TEARDOWN(quiet)
{
	EXPECT_EQ(wr_load_relaxed(&nr_faults), 0);
	EXPECT_EQ(wr_lock_nr_held(), 0u);
}

TEST_F(quiet, every_pair_in_the_order_of_the_list_that_may_block)
{
	struct wr_mutex outer, inner;

	for (int a = 0; a < WR_NR_RANKS; a++) {
		for (int b = a + 1; b < WR_NR_RANKS; b++) {
			if ((wr_lock_rank_flags(a) & WR_LOCK_NO_BLOCK) != 0 &&
			    (wr_lock_rank_flags(b) & WR_LOCK_NO_BLOCK) == 0)
				continue;
			wr_mutex_init(&outer, a, "outer");
			wr_mutex_init(&inner, b, "inner");
			wr_mutex_lock(&outer);
			wr_mutex_lock(&inner);
			wr_lock_assert_held(&outer);
			wr_mutex_unlock(&outer);
			wr_mutex_unlock(&inner);
			wr_mutex_fini(&outer);
			wr_mutex_fini(&inner);
		}
	}
}

TEST_F(quiet, a_pair_of_shards_by_address)
{
	struct wr_mutex shard[3];

	for (int i = 0; i < 3; i++)
		wr_mutex_init(&shard[i], WR_RANK_CACHE, "shard");
	for (int i = 0; i < 3; i++)
		wr_mutex_lock(&shard[i]);
	for (int i = 0; i < 3; i++)
		wr_mutex_unlock(&shard[i]);
}

TEST_F(quiet, a_try_against_the_order)
{
	struct wr_mutex outer, inner;

	wr_mutex_init(&outer, WR_RANK_POOL, "outer");
	wr_mutex_init(&inner, WR_RANK_IO, "inner");
	wr_mutex_lock(&inner);
	ASSERT_TRUE(wr_mutex_trylock(&outer));
	/* Ours already: an answer, not a fault. */
	EXPECT_FALSE(wr_mutex_trylock(&outer));
	wr_mutex_unlock(&outer);
	wr_mutex_unlock(&inner);
}

TEST_F(quiet, blocking_under_a_rank_that_allows_it_and_under_none)
{
	struct wr_mutex pool;

	wr_mutex_init(&pool, WR_RANK_POOL, "pool");
	wr_might_block("a read");
	wr_mutex_lock(&pool);
	wr_might_block("mmap");
	wr_mutex_unlock(&pool);
	wr_lock_assert_none_held("a callback");
}

static struct wr_mutex static_mutex = WR_MUTEX_INIT(WR_RANK_LOG, "static");

TEST_F(quiet, a_lock_of_static_storage)
{
	wr_mutex_lock(&static_mutex);
	wr_lock_assert_held(&static_mutex);
	wr_mutex_unlock(&static_mutex);
	wr_mutex_fini(NULL);
	wr_rwlock_fini(NULL);
	wr_spin_fini(NULL);
	wr_cond_fini(NULL);
}

enum { NR_THREADS = 4, NR_ROUNDS = 5000 };

static struct shared {
	struct wr_mutex mutex;
	struct wr_rwlock rwlock;
	struct wr_spin spin;
	struct wr_cond cond;
	int by_mutex, by_rwlock, by_spin, torn;
	int turn, turns_taken;
} shared;

static void shared_init(void)
{
	wr_mutex_init(&shared.mutex, WR_RANK_LOAD, "mutex");
	wr_rwlock_init(&shared.rwlock, WR_RANK_IO, "rwlock");
	wr_spin_init(&shared.spin, WR_RANK_METRICS, "spin");
	wr_cond_init(&shared.cond);
}

static void *change_all(void *arg)
{
	(void)arg;
	for (int i = 0; i < NR_ROUNDS; i++) {
		wr_mutex_lock(&shared.mutex);
		shared.by_mutex++;
		if (i % 4 == 0) {
			wr_rwlock_wrlock(&shared.rwlock);
			shared.by_rwlock += 2;
			wr_rwlock_wrunlock(&shared.rwlock);
		} else {
			wr_rwlock_rdlock(&shared.rwlock);
			shared.torn += shared.by_rwlock % 2;
			wr_rwlock_rdunlock(&shared.rwlock);
		}
		wr_mutex_unlock(&shared.mutex);
		wr_spin_lock(&shared.spin);
		shared.by_spin++;
		wr_spin_unlock(&shared.spin);
	}
	return NULL;
}

TEST_F(quiet, threads_under_all_kinds_lose_nothing)
{
	pthread_t threads[NR_THREADS];

	shared_init();
	for (int i = 0; i < NR_THREADS; i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, change_all, NULL), 0);
	for (int i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(shared.by_mutex, NR_THREADS * NR_ROUNDS);
	EXPECT_EQ(shared.by_spin, NR_THREADS * NR_ROUNDS);
	EXPECT_EQ(shared.by_rwlock, NR_THREADS * NR_ROUNDS / 4 * 2);
	EXPECT_EQ(shared.torn, 0);
	wr_mutex_fini(&shared.mutex);
	wr_rwlock_fini(&shared.rwlock);
	wr_spin_fini(&shared.spin);
	wr_cond_fini(&shared.cond);
}

static void *take_turns(void *arg)
{
	int mine = (int)(intptr_t)arg;

	for (int i = 0; i < 200; i++) {
		wr_mutex_lock(&shared.mutex);
		while (shared.turn != mine)
			wr_cond_wait(&shared.cond, &shared.mutex);
		wr_lock_assert_held(&shared.mutex);
		shared.turn = 1 - mine;
		shared.turns_taken++;
		wr_cond_broadcast(&shared.cond);
		wr_mutex_unlock(&shared.mutex);
	}
	return NULL;
}

TEST_F(quiet, a_condition_hands_over_its_mutex)
{
	pthread_t threads[2];

	shared_init();
	for (intptr_t i = 0; i < 2; i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, take_turns, (void *)i), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(shared.turns_taken, 400);
}

TEST_F(quiet, a_timed_wait_ends_at_its_deadline_with_the_mutex_held)
{
	uint64_t deadline;

	shared_init();
	wr_mutex_lock(&shared.mutex);
	deadline = wr_now_ns() + 20000000;
	EXPECT_EQ(wr_cond_timedwait(&shared.cond, &shared.mutex, deadline), -ETIMEDOUT);
	EXPECT_GE(wr_now_ns(), deadline);
	wr_lock_assert_held(&shared.mutex);
	wr_mutex_unlock(&shared.mutex);
}

static _Atomic bool waiting;

static void *wait_for_it(void *arg)
{
	wr_store_release(&waiting, true);
	wr_mutex_lock(arg);
	wr_mutex_unlock(arg);
	return NULL;
}

TEST_F(quiet, a_wait_is_counted_on_the_lock_and_its_rank)
{
	struct wr_lock_stats before, after;
	struct wr_mutex m;
	pthread_t thread;

	wr_mutex_init(&m, WR_RANK_STREAM, "fought over");
	wr_lock_rank_stats(WR_RANK_STREAM, &before);
	/* Once free of charge. */
	wr_mutex_lock(&m);
	EXPECT_EQ(wr_load_relaxed(&m.lock.nr_contended), 0u);
	ASSERT_EQ(pthread_create(&thread, NULL, wait_for_it, &m), 0);
	while (!wr_load_acquire(&waiting))
		usleep(100);
	usleep(50000);
	wr_mutex_unlock(&m);
	pthread_join(thread, NULL);
	wr_lock_rank_stats(WR_RANK_STREAM, &after);
	EXPECT_EQ(wr_load_relaxed(&m.lock.nr_contended), 1u);
	EXPECT_EQ(after.nr_contended - before.nr_contended, 1u);
	EXPECT_GT(after.wait_ns, before.wait_ns);
	wr_mutex_fini(&m);
}

TEST_HARNESS_MAIN
