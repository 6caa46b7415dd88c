/* SPDX-License-Identifier: MIT */
/*
 * The maintenance thread: it compacts above its thresholds when there is something to gain,
 * leaves everything alone otherwise, keeps to its rate, and ends when told to.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/util.h"
#include "handle_help.h"
#include "pool/handle.h"

#define MIB	   HELP_MIB
#define CAPACITY   (32 * MIB)
#define MAX_BLOCKS (CAPACITY / 65536)
#define MS	   1000000ull
#define PATIENCE   20000 /* milliseconds, on a machine that does other things too */

static struct help_block blocks[MAX_BLOCKS];

FIXTURE(maintain)
{
	struct fake_machine machine;
	struct weir_pool *pool;
	struct weir_maintain_opts opts;
	struct weir_maintain_stats stats;
};

FIXTURE_SETUP(maintain)
{
	memset(blocks, 0, sizeof(blocks));
	self->opts = (struct weir_maintain_opts){
		.size = sizeof(self->opts), .interval_ns = MS, .max_pause_ns = 60000 * MS};
	self->pool = help_open(&self->machine, 1, CAPACITY);
	ASSERT_NE(NULL, self->pool);
}

FIXTURE_TEARDOWN(maintain)
{
	size_t i;

	weir_pool_maintain_stop(self->pool);
	for (i = 0; i < MAX_BLOCKS; i++) {
		if (blocks[i].bytes)
			EXPECT_TRUE(help_is_whole(self->pool, &blocks[i]));
		EXPECT_EQ(0, help_drop(self->pool, &blocks[i]));
	}
	weir_pool_close(self->pool);
	EXPECT_EQ(0, wr_test_alloc_live());
}

/* Wait until a counter of the statistics is at least so high. */
static bool comes_to(struct weir_pool *pool, const uint64_t *counter,
		     struct weir_maintain_stats *stats, uint64_t value)
{
	int ms;

	for (ms = 0; ms < PATIENCE; ms++) {
		weir_pool_maintain_stats(pool, stats);
		if (*counter >= value)
			return true;
		usleep(1000);
	}
	return false;
}

TEST_F(maintain, a_fragmented_pool_is_compacted)
{
	struct weir_maintain_stats *s = &self->stats;
	struct weir_pool_stats p;

	help_fragment(self->pool, 65536, 1, blocks, MAX_BLOCKS);
	ASSERT_EQ(0, weir_pool_maintain_start(self->pool, &self->opts));
	ASSERT_TRUE(comes_to(self->pool, &s->nr_runs, s, 1));
	ASSERT_TRUE(comes_to(self->pool, &s->nr_emptied, s, 9));
	EXPECT_EQ(1u, s->is_running);
	EXPECT_LE(1u, s->nr_by_fragmentation);
	EXPECT_LT(0u, s->moved_bytes);
	weir_pool_stats(self->pool, &p);
	EXPECT_LE(18 * MIB, p.largest_free_bytes);
	/* Then the pool is below the threshold, and rests. */
	ASSERT_TRUE(comes_to(self->pool, &s->nr_looks, s, s->nr_looks + 3));
	EXPECT_GT(300u, s->fragmentation_permille);
}

TEST_F(maintain, a_pool_below_its_thresholds_is_left_alone)
{
	struct weir_maintain_stats *s = &self->stats;

	help_fragment(self->pool, 65536, 2, blocks, MAX_BLOCKS);
	self->opts.fragmentation_permille = 1000;
	ASSERT_EQ(0, weir_pool_maintain_start(self->pool, &self->opts));
	ASSERT_TRUE(comes_to(self->pool, &s->nr_looks, s, 4));
	EXPECT_LT(300u, s->fragmentation_permille);
	EXPECT_EQ(0u, s->nr_by_fragmentation);
	EXPECT_EQ(0u, s->nr_by_utilisation);
	EXPECT_EQ(0u, s->nr_runs);
	EXPECT_EQ(0u, s->moved_bytes);
}

TEST_F(maintain, nothing_moves_when_nothing_can_be_gained)
{
	struct weir_maintain_stats *s = &self->stats;
	struct weir_handle_stats h;
	size_t i, nr;
	void *p;

	nr = help_fragment(self->pool, 65536, 3, blocks, MAX_BLOCKS);
	for (i = 0; i < nr; i++)
		if (blocks[i].bytes)
			ASSERT_EQ(0, weir_handle_pin(self->pool, blocks[i].handle, &p));
	ASSERT_EQ(0, weir_pool_maintain_start(self->pool, &self->opts));
	ASSERT_TRUE(comes_to(self->pool, &s->nr_no_gain, s, 3));
	EXPECT_EQ(s->nr_by_fragmentation, s->nr_no_gain);
	EXPECT_EQ(0u, s->moved_bytes);
	weir_handle_stats(self->pool, &h);
	EXPECT_EQ(0u, h.nr_compactions);
	/* The pins go: now there is. */
	for (i = 0; i < nr; i++)
		if (blocks[i].bytes)
			ASSERT_EQ(0, weir_handle_unpin(self->pool, blocks[i].handle));
	EXPECT_TRUE(comes_to(self->pool, &s->nr_runs, s, 1));
}

/* Take the whole pool, give all of it back in another order, and stay. */
struct idler {
	pthread_t thread;
	pthread_barrier_t barrier;
	struct weir_pool *pool;
	struct weir_span spans[CAPACITY / 4096];
	size_t nr;
};

static void *keep_blocks(void *arg)
{
	struct idler *idler = arg;
	size_t i, at, nr;

	while (weir_pool_alloc(idler->pool, 4096, WEIR_NODE_ANY, &idler->spans[idler->nr]) == 0)
		if (++idler->nr == wr_array_size(idler->spans))
			break;
	nr = idler->nr;
	/* 509 is a prime and no divisor: each once, far from the one before. */
	for (i = 0; i < nr; i++) {
		at = i * 509 % nr;
		if (weir_pool_free(idler->pool, idler->spans[at]) != 0)
			break;
	}
	idler->nr = i;
	pthread_barrier_wait(&idler->barrier);
	pthread_barrier_wait(&idler->barrier);
	return NULL;
}

TEST_F(maintain, what_idle_threads_keep_is_taken_back_when_it_stands_in_the_way)
{
	static struct idler idler;
	struct weir_maintain_stats *s = &self->stats;
	struct weir_pool_stats before, after;

	idler.pool = self->pool;
	ASSERT_EQ(0, pthread_barrier_init(&idler.barrier, NULL, 2));
	ASSERT_EQ(0, pthread_create(&idler.thread, NULL, keep_blocks, &idler));
	pthread_barrier_wait(&idler.barrier);
	EXPECT_EQ(wr_array_size(idler.spans), idler.nr);
	weir_pool_stats(self->pool, &before);
	EXPECT_LT(0u, before.cached_bytes);
	EXPECT_GT(CAPACITY, before.largest_free_bytes);
	ASSERT_EQ(0, weir_pool_maintain_start(self->pool, &self->opts));
	EXPECT_TRUE(comes_to(self->pool, &s->trimmed_bytes, s, before.cached_bytes));
	weir_pool_stats(self->pool, &after);
	EXPECT_EQ(0u, after.cached_bytes);
	EXPECT_EQ(CAPACITY, after.largest_free_bytes);
	EXPECT_EQ(0u, s->moved_bytes);
	/* Then there is nothing to take back, and nothing is taken. */
	ASSERT_TRUE(comes_to(self->pool, &s->nr_looks, s, s->nr_looks + 3));
	EXPECT_EQ(before.cached_bytes, s->trimmed_bytes);
	pthread_barrier_wait(&idler.barrier);
	pthread_join(idler.thread, NULL);
	pthread_barrier_destroy(&idler.barrier);
}

TEST_F(maintain, a_full_pool_with_holes_is_compacted_for_its_utilisation)
{
	struct weir_maintain_stats *s = &self->stats;
	struct weir_span span;
	size_t i;

	for (i = 0; i < MAX_BLOCKS; i++)
		ASSERT_EQ(0, help_take(self->pool, 65536, 0, WEIR_HANDLE_MOVABLE, i, &blocks[i]));
	for (i = 0; i < MAX_BLOCKS; i += 8)
		ASSERT_EQ(0, help_drop(self->pool, &blocks[i]));
	self->opts.fragmentation_permille = 1000;
	ASSERT_EQ(0, weir_pool_maintain_start(self->pool, &self->opts));
	ASSERT_TRUE(comes_to(self->pool, &s->nr_runs, s, 1));
	EXPECT_LE(1u, s->nr_by_utilisation);
	EXPECT_EQ(0u, s->nr_by_fragmentation);
	EXPECT_EQ(875u, s->utilisation_permille);
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 2 * MIB, 0, &span));
	EXPECT_EQ(0, weir_pool_free(self->pool, span));
}

TEST_F(maintain, bytes_are_moved_at_the_rate_allowed)
{
	struct weir_maintain_stats *s = &self->stats;
	uint64_t start, seconds;

	help_fragment(self->pool, 65536, 4, blocks, MAX_BLOCKS);
	self->opts.bytes_per_second = 5 * MIB;
	start = wr_now_ns();
	ASSERT_EQ(0, weir_pool_maintain_start(self->pool, &self->opts));
	ASSERT_TRUE(comes_to(self->pool, &s->nr_runs, s, 2));
	seconds = (wr_now_ns() - start) / (1000 * MS) + 1;
	/* What comes with the start is a tenth of a second's worth. */
	EXPECT_LE(s->moved_bytes, seconds * 5 * MIB + 5 * MIB / 10);
}

TEST_F(maintain, it_stops_when_told_and_starts_again)
{
	struct weir_maintain_stats *s = &self->stats;
	uint64_t start, ns, longest = 0;
	int i;

	self->opts.interval_ns = 3600000 * MS;
	for (i = 0; i < 20; i++) {
		weir_pool_maintain_stats(self->pool, s);
		ASSERT_EQ(0, weir_pool_maintain_start(self->pool, &self->opts));
		EXPECT_EQ(-EALREADY, weir_pool_maintain_start(self->pool, &self->opts));
		if (i % 2)
			ASSERT_TRUE(comes_to(self->pool, &s->nr_looks, s, s->nr_looks + 1));
		start = wr_now_ns();
		weir_pool_maintain_stop(self->pool);
		ns = wr_now_ns() - start;
		longest = ns > longest ? ns : longest;
		weir_pool_maintain_stats(self->pool, s);
		ASSERT_EQ(0u, s->is_running);
	}
	TH_LOG("a stop took at most %.1f ms", (double)longest / 1e6);
	weir_pool_maintain_stop(self->pool);
	weir_pool_maintain_stop(NULL);
}

TEST_F(maintain, it_stops_in_the_middle_of_a_compaction)
{
	struct weir_maintain_stats *s = &self->stats;
	uint64_t start, ns, longest = 0;
	size_t i, k;

	for (i = 0; i < 10; i++) {
		help_fragment(self->pool, 65536, 10 + i, blocks, MAX_BLOCKS);
		ASSERT_EQ(0, weir_pool_maintain_start(self->pool, &self->opts));
		usleep((useconds_t)(i * 300));
		start = wr_now_ns();
		weir_pool_maintain_stop(self->pool);
		ns = wr_now_ns() - start;
		longest = ns > longest ? ns : longest;
		for (k = 0; k < MAX_BLOCKS; k++) {
			if (blocks[k].bytes)
				ASSERT_TRUE(help_is_whole(self->pool, &blocks[k]));
			ASSERT_EQ(0, help_drop(self->pool, &blocks[k]));
		}
	}
	weir_pool_maintain_stats(self->pool, s);
	TH_LOG("a stop took at most %.1f ms; %llu bytes were moved", (double)longest / 1e6,
	       (unsigned long long)s->moved_bytes);
}

TEST_F(maintain, a_pool_may_be_closed_while_it_runs)
{
	struct fake_machine machine;
	struct weir_pool *pool = help_open(&machine, 2, 8 * MIB);

	ASSERT_NE(NULL, pool);
	ASSERT_EQ(0, weir_pool_maintain_start(pool, NULL));
	weir_pool_close(pool);
}

TEST_F(maintain, another_compaction_at_the_same_time_is_let_finish)
{
	struct weir_maintain_stats *s = &self->stats;

	help_fragment(self->pool, 65536, 5, blocks, MAX_BLOCKS);
	wr_store_relaxed(&self->pool->handles->is_compacting, true);
	ASSERT_EQ(0, weir_pool_maintain_start(self->pool, &self->opts));
	EXPECT_TRUE(comes_to(self->pool, &s->nr_failed, s, 1));
	EXPECT_EQ(0u, s->nr_runs);
	wr_store_release(&self->pool->handles->is_compacting, false);
	EXPECT_TRUE(comes_to(self->pool, &s->nr_runs, s, 1));
}

TEST_F(maintain, options_out_of_their_rules_are_refused)
{
	struct {
		struct weir_maintain_opts o;
		uint64_t newer;
	} newer = {.o.size = sizeof(newer), .newer = 1};
	struct weir_maintain_opts o = {.size = sizeof(o)};

	EXPECT_EQ(-EINVAL, weir_pool_maintain_start(NULL, NULL));
	EXPECT_EQ(-E2BIG, weir_pool_maintain_start(self->pool, &newer.o));
	o.target_bytes = 12345;
	EXPECT_EQ(-EINVAL, weir_pool_maintain_start(self->pool, &o));
	o.target_bytes = 0;
	o.fragmentation_permille = 1001;
	EXPECT_EQ(-EINVAL, weir_pool_maintain_start(self->pool, &o));
	o.fragmentation_permille = 0;
	o.utilisation_permille = 1001;
	EXPECT_EQ(-EINVAL, weir_pool_maintain_start(self->pool, &o));
	o.utilisation_permille = 0;
	o.interval_ns = UINT64_MAX;
	EXPECT_EQ(-EINVAL, weir_pool_maintain_start(self->pool, &o));
	o.interval_ns = 0;
	o.bytes_per_second = UINT64_MAX;
	EXPECT_EQ(-EINVAL, weir_pool_maintain_start(self->pool, &o));
	weir_pool_maintain_stats(self->pool, &self->stats);
	EXPECT_EQ(0u, self->stats.is_running);
}

TEST_F(maintain, every_allocation_of_a_start_may_fail)
{
	bool failed = true;
	int n, rc;

	for (n = 1; failed; n++) {
		wr_test_alloc_fail_at((uint64_t)n);
		rc = weir_pool_maintain_start(self->pool, &self->opts);
		failed = wr_test_alloc_failed();
		wr_test_alloc_fail_at(0);
		if (rc == 0)
			break;
		ASSERT_EQ(-ENOMEM, rc);
	}
	/* The table, its range and that one's ends, its directory, the thread's record. */
	EXPECT_EQ(6, n);
}

TEST_F(maintain, a_look_without_memory_is_counted_and_the_next_one_works)
{
	struct weir_maintain_stats *s = &self->stats;

	help_fragment(self->pool, 65536, 6, blocks, MAX_BLOCKS);
	ASSERT_EQ(0, help_drop(self->pool, &blocks[0]));
	wr_test_alloc_fail_at(2); /* the first is the thread's record */
	ASSERT_EQ(0, weir_pool_maintain_start(self->pool, &self->opts));
	EXPECT_TRUE(comes_to(self->pool, &s->nr_failed, s, 1));
	wr_test_alloc_fail_at(0);
	EXPECT_TRUE(comes_to(self->pool, &s->nr_runs, s, 1));
	EXPECT_EQ(1u, s->is_running);
}

TEST_HARNESS_MAIN
