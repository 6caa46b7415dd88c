/* SPDX-License-Identifier: MIT */
/*
 * Compaction by one thread: what it reaches, what it costs against a bound that the test
 * works out for itself from addresses, what it must leave alone, and a random run against
 * a model that knows only which bytes belong to whom.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/random.h"
#include "base/util.h"
#include "handle_help.h"
#include "pool/handle.h"

#define MIB	   HELP_MIB
#define CAPACITY   (64 * MIB)
#define WINDOW	   (2 * MIB)
#define MAX_BLOCKS (CAPACITY / 4096)

static struct help_block blocks[MAX_BLOCKS];

static const struct weir_compact_opts all_of_it = {
	.size = sizeof(all_of_it),
	.nr_wanted = WEIR_COMPACT_ALL,
};

/* The bytes in use in each 2 MiB of a pool with one region, by the addresses of its blocks. */
static void count_used(struct weir_pool *pool, size_t nr_blocks, uint64_t *used)
{
	struct weir_pool_region region;
	uint64_t offset, part, left;
	size_t i;

	memset(used, 0, CAPACITY / WINDOW * sizeof(*used));
	if (weir_pool_region(pool, 0, &region) != 0)
		return;
	for (i = 0; i < nr_blocks; i++) {
		if (!blocks[i].bytes)
			continue;
		offset = (uint64_t)((uint8_t *)help_where(pool, &blocks[i]) -
				    (uint8_t *)region.base);
		for (left = wr_align_up(blocks[i].bytes, 4096); left > 0; left -= part) {
			part = wr_min(left, WINDOW - offset % WINDOW);
			used[offset / WINDOW] += part;
			offset += part;
		}
	}
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The sum of the @nr smallest that are not 0. */
static uint64_t least(const uint64_t *used, uint64_t nr)
{
	uint64_t sorted[CAPACITY / WINDOW];
	uint64_t sum = 0;
	size_t i;

	memcpy(sorted, used, sizeof(sorted));
	qsort(sorted, wr_array_size(sorted), sizeof(*sorted), compare_u64);
	for (i = 0; i < wr_array_size(sorted) && nr > 0; i++) {
		sum += sorted[i];
		nr -= sorted[i] != 0;
	}
	return sum;
}

static uint64_t nr_free_windows(const uint64_t *used)
{
	uint64_t nr = 0;
	size_t i;

	for (i = 0; i < CAPACITY / WINDOW; i++)
		nr += used[i] == 0;
	return nr;
}

FIXTURE(compact)
{
	struct fake_machine machine;
	struct weir_pool *pool;
	struct weir_compact_report report;
	uint64_t used[CAPACITY / WINDOW];
	size_t nr;
};

FIXTURE_SETUP(compact)
{
	memset(blocks, 0, sizeof(blocks));
	self->pool = help_open(&self->machine, 1, CAPACITY);
	ASSERT_NE(NULL, self->pool);
	self->nr = 0;
}

FIXTURE_TEARDOWN(compact)
{
	struct weir_pool_stats s;
	size_t i;

	for (i = 0; i < MAX_BLOCKS; i++) {
		if (!blocks[i].bytes)
			continue;
		EXPECT_TRUE(help_is_whole(self->pool, &blocks[i]));
		EXPECT_EQ(0, help_drop(self->pool, &blocks[i]));
	}
	weir_pool_trim(self->pool, 0);
	weir_pool_stats(self->pool, &s);
	EXPECT_EQ(CAPACITY, s.free_bytes);
	EXPECT_EQ(CAPACITY, s.largest_free_bytes);
	EXPECT_EQ(0u, s.nr_live);
	EXPECT_EQ(s.nr_allocs, s.nr_frees);
	EXPECT_EQ(0u, s.requested_bytes);
	weir_pool_close(self->pool);
	EXPECT_EQ(0, wr_test_alloc_live());
}

/* ---- what is reached, and what for --------------------------------------------------- */

FIXTURE(seven_eighths)
{
	struct fake_machine machine;
	struct weir_pool *pool;
};

FIXTURE_VARIANT(seven_eighths)
{
	size_t bytes;
	size_t whole; /* the next power of two */
	uint64_t seed;
	uint64_t least_percent; /* of the free bytes that must be in large blocks */
};

FIXTURE_VARIANT_ADD(seven_eighths, of_64_kib){
	.bytes = 65536,
	.whole = 65536,
	.seed = 1,
	.least_percent = 95,
};
FIXTURE_VARIANT_ADD(seven_eighths, of_64_kib_again){
	.bytes = 65536,
	.whole = 65536,
	.seed = 2,
	.least_percent = 95,
};
FIXTURE_VARIANT_ADD(seven_eighths, of_4_kib){
	.bytes = 4096,
	.whole = 4096,
	.seed = 3,
	.least_percent = 95,
};
FIXTURE_VARIANT_ADD(seven_eighths, of_256_kib){
	.bytes = 262144,
	.whole = 262144,
	.seed = 4,
	.least_percent = 95,
};
FIXTURE_VARIANT_ADD(seven_eighths, of_no_power_of_two){
	.bytes = 5 * 4096 - 96,
	.whole = 32768,
	.seed = 5,
	/* The ones that stay keep the gaps between them, of three blocks each. */
	.least_percent = 90,
};

FIXTURE_SETUP(seven_eighths)
{
	memset(blocks, 0, sizeof(blocks));
	self->pool = help_open(&self->machine, 1, CAPACITY);
	ASSERT_NE(NULL, self->pool);
}

FIXTURE_TEARDOWN(seven_eighths)
{
	weir_pool_close(self->pool);
	EXPECT_EQ(0, wr_test_alloc_live());
}

TEST_F(seven_eighths, freed_at_random_come_back_as_large_blocks_for_the_least_moved)
{
	uint64_t before[CAPACITY / WINDOW], after[CAPACITY / WINDOW];
	struct weir_compact_report r;
	struct weir_pool_stats s;
	size_t i, nr;

	nr = help_fragment(self->pool, variant->bytes, variant->seed, blocks, MAX_BLOCKS);
	/* Each lay at the head of a power of two. */
	ASSERT_EQ(CAPACITY / variant->whole, nr);
	count_used(self->pool, nr, before);
	ASSERT_EQ(0, weir_pool_compact(self->pool, &all_of_it, &r));
	count_used(self->pool, nr, after);
	weir_pool_stats(self->pool, &s);
	EXPECT_EQ(nr_free_windows(before), r.nr_free_before);
	EXPECT_EQ(nr_free_windows(after), r.nr_free_after);
	EXPECT_EQ(r.nr_emptied, r.nr_free_after - r.nr_free_before);
	EXPECT_LE(s.free_bytes / 100 * variant->least_percent, r.nr_free_after * WINDOW);
	EXPECT_EQ(least(before, r.nr_emptied), r.bound_bytes);
	EXPECT_LE(r.moved_bytes * 100, r.bound_bytes * 115);
	EXPECT_EQ(0u, r.wasted_bytes);
	EXPECT_EQ(r.moved_bytes, r.nr_moves * wr_align_up(variant->bytes, 4096));
	TH_LOG("%s: %llu of %llu free bytes in 2 MiB blocks, %llu moved for %llu, %.2f GB/s",
	       weir_compact_reason_name(r.reason), (unsigned long long)r.nr_free_after * WINDOW,
	       (unsigned long long)s.free_bytes, (unsigned long long)r.moved_bytes,
	       (unsigned long long)r.bound_bytes, (double)r.moved_bytes / (double)r.ns);
	for (i = 0; i < nr; i++) {
		if (blocks[i].bytes)
			ASSERT_TRUE(help_is_whole(self->pool, &blocks[i]));
		ASSERT_EQ(0, help_drop(self->pool, &blocks[i]));
	}
	weir_pool_stats(self->pool, &s);
	EXPECT_EQ(CAPACITY, s.largest_free_bytes);
}

TEST_F(compact, one_block_costs_the_emptiest_range)
{
	struct weir_compact_report *r = &self->report;
	struct weir_span span;

	self->nr = help_fragment(self->pool, 65536, 9, blocks, MAX_BLOCKS);
	/* In 32 ranges of 32 blocks of which an eighth is left one is empty in three runs of ten. */
	count_used(self->pool, self->nr, self->used);
	ASSERT_EQ(0u, nr_free_windows(self->used));
	ASSERT_EQ(0, weir_pool_compact(self->pool, NULL, r));
	EXPECT_EQ((uint32_t)WEIR_COMPACT_REACHED, r->reason);
	EXPECT_EQ(0u, r->nr_free_before);
	EXPECT_EQ(1u, r->nr_free_after);
	EXPECT_EQ(1u, r->nr_emptied);
	EXPECT_EQ(least(self->used, 1), r->moved_bytes);
	/* It is there, and asking again moves nothing. */
	ASSERT_EQ(0, weir_pool_compact(self->pool, NULL, r));
	EXPECT_EQ(0u, r->moved_bytes);
	EXPECT_EQ((uint32_t)WEIR_COMPACT_REACHED, r->reason);
	ASSERT_EQ(0, weir_pool_alloc(self->pool, WINDOW, 0, &span));
	EXPECT_EQ(0, weir_pool_free(self->pool, span));
}

TEST_F(compact, a_number_of_blocks_is_reached_and_not_exceeded)
{
	struct weir_compact_opts o = {.size = sizeof(o), .nr_wanted = 11};

	self->nr = help_fragment(self->pool, 65536, 10, blocks, MAX_BLOCKS);
	count_used(self->pool, self->nr, self->used);
	ASSERT_EQ(0, weir_pool_compact(self->pool, &o, &self->report));
	EXPECT_EQ(11u, self->report.nr_free_after);
	EXPECT_EQ((uint32_t)WEIR_COMPACT_REACHED, self->report.reason);
	EXPECT_EQ(least(self->used, 11 - self->report.nr_free_before), self->report.moved_bytes);
	EXPECT_LT(0u, self->report.median_pause_ns);
	EXPECT_LE(self->report.median_pause_ns, self->report.p99_pause_ns);
	EXPECT_LE(self->report.p99_pause_ns, self->report.longest_pause_ns);
}

TEST_F(compact, other_target_sizes_are_served)
{
	static const size_t targets[] = {8192, 65536, MIB, 16 * MIB, 32 * MIB};
	struct weir_compact_opts o = {.size = sizeof(o)};
	struct weir_pool_stats s;
	struct weir_span span;
	size_t i, k;

	for (i = 0; i < wr_array_size(targets); i++) {
		self->nr = help_fragment(self->pool, 4096, 20 + i, blocks, MAX_BLOCKS);
		o.target_bytes = targets[i];
		ASSERT_EQ(0, weir_pool_compact(self->pool, &o, &self->report));
		EXPECT_EQ((uint32_t)WEIR_COMPACT_REACHED, self->report.reason);
		weir_pool_stats(self->pool, &s);
		EXPECT_LE(targets[i], s.largest_free_bytes);
		ASSERT_EQ(0, weir_pool_alloc(self->pool, targets[i], 0, &span));
		EXPECT_EQ(0, weir_pool_free(self->pool, span));
		for (k = 0; k < self->nr; k++)
			ASSERT_EQ(0, help_drop(self->pool, &blocks[k]));
	}
}

/* ---- limits and what must stay ------------------------------------------------------- */

TEST_F(compact, no_more_bytes_move_than_allowed)
{
	struct weir_compact_opts o = all_of_it;
	uint64_t moved = 0;
	int runs = 0;

	self->nr = help_fragment(self->pool, 65536, 30, blocks, MAX_BLOCKS);
	o.max_bytes = MIB;
	do {
		ASSERT_EQ(0, weir_pool_compact(self->pool, &o, &self->report));
		EXPECT_LE(self->report.moved_bytes, MIB);
		moved += self->report.moved_bytes;
		runs++;
	} while (self->report.reason == WEIR_COMPACT_LIMIT && self->report.nr_moves > 0);
	/* A little at a time leads nearly as far as all at once. */
	EXPECT_LT(3, runs);
	EXPECT_LT(3 * MIB, moved);
	EXPECT_LE(18u, self->report.nr_free_after);
}

TEST_F(compact, blocks_that_take_too_long_to_copy_stay)
{
	struct weir_compact_opts o = all_of_it;
	void *where;

	ASSERT_EQ(0, help_take(self->pool, 8 * MIB - 4096, 0, WEIR_HANDLE_MOVABLE, 1, &blocks[0]));
	ASSERT_EQ(0, help_take(self->pool, 4096, 0, 0, 2, &blocks[1]));
	where = help_where(self->pool, &blocks[0]);
	o.max_pause_ns = 1;
	o.target_bytes = 32 * MIB;
	ASSERT_EQ(0, weir_pool_compact(self->pool, &o, &self->report));
	EXPECT_EQ(0u, self->report.nr_moves);
	EXPECT_EQ(1u, self->report.nr_too_long);
	EXPECT_EQ((uint32_t)WEIR_COMPACT_NO_GAIN, self->report.reason);
	EXPECT_EQ(where, help_where(self->pool, &blocks[0]));
	o.max_pause_ns = 0;
	ASSERT_EQ(0, weir_pool_compact(self->pool, &o, &self->report));
	EXPECT_EQ(1u, self->report.nr_moves);
	EXPECT_EQ(1u, self->report.nr_free_after);
	EXPECT_NE(where, help_where(self->pool, &blocks[0]));
}

TEST_F(compact, a_pin_for_ever_costs_its_range_and_stops_nothing)
{
	struct weir_pool_stats s;
	void *pinned[8];
	size_t i, k = 0;
	void *p;

	self->nr = help_fragment(self->pool, 65536, 40, blocks, MAX_BLOCKS);
	for (i = 0; i < self->nr && k < 8; i += 100) {
		while (!blocks[i].bytes)
			i++;
		ASSERT_EQ(0, weir_handle_pin(self->pool, blocks[i].handle, &pinned[k]));
		help_fill(pinned[k++], blocks[i].bytes, blocks[i].seed);
	}
	ASSERT_EQ(0, weir_pool_compact(self->pool, &all_of_it, &self->report));
	EXPECT_LT(0u, self->report.nr_pinned);
	weir_pool_stats(self->pool, &s);
	/* The live blocks fill 4 ranges, and eight pins are in at most as many. */
	EXPECT_LE(CAPACITY / WINDOW - 8 - 1, self->report.nr_free_after);
	for (i = 0, k = 0; i < self->nr && k < 8; i += 100) {
		while (!blocks[i].bytes)
			i++;
		ASSERT_EQ(0, weir_handle_pin(self->pool, blocks[i].handle, &p));
		EXPECT_EQ(pinned[k++], p);
		ASSERT_EQ(0, weir_handle_unpin(self->pool, blocks[i].handle));
		ASSERT_EQ(0, weir_handle_unpin(self->pool, blocks[i].handle));
	}
}

TEST_F(compact, unmovable_blocks_and_spans_stay_where_they_are)
{
	struct weir_span span;
	void *where[64];
	size_t i;

	ASSERT_EQ(0, weir_pool_alloc(self->pool, 4096, 0, &span));
	memset(span.base, 0x5a, span.bytes);
	self->nr = help_fragment(self->pool, 65536, 50, blocks, MAX_BLOCKS);
	/* Into the holes, among what can move. */
	for (i = 0; i < 64; i++) {
		struct help_block *b = &blocks[MAX_BLOCKS - 1 - i];

		ASSERT_EQ(0, help_take(self->pool, 65536, 0, 0, i, b));
		where[i] = help_where(self->pool, b);
	}
	ASSERT_EQ(0, weir_pool_compact(self->pool, &all_of_it, &self->report));
	EXPECT_LT(0u, self->report.nr_moves);
	for (i = 0; i < 64; i++)
		EXPECT_EQ(where[i], help_where(self->pool, &blocks[MAX_BLOCKS - 1 - i]));
	EXPECT_EQ(0x5a, *(uint8_t *)span.base);
	EXPECT_EQ(0, weir_pool_free(self->pool, span));
}

TEST_F(compact, nothing_moves_where_nothing_is_gained)
{
	struct weir_compact_report *r = &self->report;
	struct weir_span span;
	size_t i;

	ASSERT_EQ(0, weir_pool_compact(self->pool, &all_of_it, r));
	EXPECT_EQ((uint32_t)WEIR_COMPACT_NO_GAIN, r->reason);
	EXPECT_EQ(CAPACITY / WINDOW, r->nr_free_after);
	ASSERT_EQ(0, weir_pool_alloc(self->pool, CAPACITY, 0, &span));
	ASSERT_EQ(0, weir_pool_compact(self->pool, &all_of_it, r));
	EXPECT_EQ((uint32_t)WEIR_COMPACT_NO_GAIN, r->reason);
	EXPECT_EQ(0u, r->nr_free_after);
	EXPECT_EQ(0, weir_pool_free(self->pool, span));
	/* Every range has a hole, and all holes together hold no range. */
	for (i = 0; i < CAPACITY / WINDOW; i++)
		ASSERT_EQ(0, help_take(self->pool, WINDOW - 4096, 0, WEIR_HANDLE_MOVABLE, i,
				       &blocks[i]));
	ASSERT_EQ(0, weir_pool_compact(self->pool, &all_of_it, r));
	EXPECT_EQ((uint32_t)WEIR_COMPACT_NO_ROOM, r->reason);
	EXPECT_EQ(0u, r->nr_moves);
}

TEST_F(compact, options_out_of_their_rules_are_refused)
{
	struct weir_compact_opts o = {.size = sizeof(o)};
	struct {
		struct weir_compact_opts o;
		uint64_t newer;
	} newer = {.o.size = sizeof(newer), .newer = 1};
	struct weir_compact_report r = {.reason = 77};

	EXPECT_EQ(-EINVAL, weir_pool_compact(NULL, NULL, &r));
	o.target_bytes = 3 * MIB;
	EXPECT_EQ(-EINVAL, weir_pool_compact(self->pool, &o, &r));
	o.target_bytes = 4096;
	EXPECT_EQ(-EINVAL, weir_pool_compact(self->pool, &o, &r));
	o.target_bytes = 2 * CAPACITY;
	EXPECT_EQ(-EINVAL, weir_pool_compact(self->pool, &o, &r));
	o.target_bytes = CAPACITY;
	EXPECT_EQ(0, weir_pool_compact(self->pool, &o, NULL));
	o.node_mask = 2;
	EXPECT_EQ(-ENODEV, weir_pool_compact(self->pool, &o, &r));
	EXPECT_EQ(-E2BIG, weir_pool_compact(self->pool, &newer.o, &r));
	EXPECT_EQ(77u, r.reason);
	EXPECT_STREQ("reached", weir_compact_reason_name(WEIR_COMPACT_REACHED));
	EXPECT_STREQ("stopped", weir_compact_reason_name(WEIR_COMPACT_STOPPED));
	EXPECT_STREQ("unknown", weir_compact_reason_name(WEIR_COMPACT_REASONS));
}

TEST_F(compact, a_second_compaction_is_told_to_come_back)
{
	ASSERT_EQ(0, help_take(self->pool, 4096, 0, WEIR_HANDLE_MOVABLE, 1, &blocks[0]));
	wr_store_relaxed(&self->pool->handles->is_compacting, true);
	EXPECT_EQ(-EAGAIN, weir_pool_compact(self->pool, NULL, NULL));
	wr_store_relaxed(&self->pool->handles->is_compacting, false);
	EXPECT_EQ(0, weir_pool_compact(self->pool, NULL, NULL));
}

TEST_F(compact, every_allocation_may_fail_and_no_byte_is_lost)
{
	bool failed = true;
	size_t i;
	int n, rc;

	self->nr = help_fragment(self->pool, 65536, 60, blocks, MAX_BLOCKS);
	for (n = 1; failed; n++) {
		wr_test_alloc_fail_at((uint64_t)n);
		rc = weir_pool_compact(self->pool, &all_of_it, &self->report);
		failed = wr_test_alloc_failed();
		wr_test_alloc_fail_at(0);
		ASSERT_EQ(failed ? -ENOMEM : 0, rc);
	}
	EXPECT_EQ(6, n - 2); /* three arrays of the plan, its picks, a window's moves and places */
	EXPECT_LT(0u, self->report.nr_moves);
	for (i = 0; i < self->nr; i++)
		if (blocks[i].bytes)
			ASSERT_TRUE(help_is_whole(self->pool, &blocks[i]));
}

TEST(blocks_stay_on_their_node)
{
	struct weir_compact_opts o = all_of_it;
	struct weir_compact_report r;
	struct weir_handle_info info;
	struct fake_machine machine;
	struct weir_pool *pool = help_open(&machine, 3, 3 * 16 * MIB);
	uint64_t random = 99;
	size_t i, nr = 0;

	ASSERT_NE(NULL, pool);
	while (help_take(pool, 65536, (int)(nr % 3), WEIR_HANDLE_MOVABLE, nr, &blocks[nr]) == 0)
		nr++;
	ASSERT_EQ(768u, nr);
	for (i = 0; i < nr; i++)
		if (wr_xorshift64(&random) % 8 != 0)
			ASSERT_EQ(0, help_drop(pool, &blocks[i]));
	o.node_mask = 1u << 1;
	ASSERT_EQ(0, weir_pool_compact(pool, &o, &r));
	EXPECT_LE(5u, r.nr_free_after);
	EXPECT_GE(8u, r.nr_free_after);
	o.node_mask = 0;
	ASSERT_EQ(0, weir_pool_compact(pool, &o, &r));
	EXPECT_LE(5u * 3, r.nr_free_after);
	for (i = 0; i < nr; i++) {
		if (!blocks[i].bytes)
			continue;
		ASSERT_EQ(0, weir_handle_info(pool, blocks[i].handle, &info));
		ASSERT_EQ((int)(i % 3), info.node);
		ASSERT_TRUE(help_is_whole(pool, &blocks[i]));
		ASSERT_EQ(0, help_drop(pool, &blocks[i]));
	}
	weir_pool_close(pool);
	EXPECT_EQ(0, wr_test_alloc_live());
}

/* ---- a pin that meets a move ----------------------------------------------------------- */

struct waiter {
	struct weir_pool *pool;
	struct weir_handle handle;
	bool frees;
	void *p;
	int rc;
	_Atomic bool done;
};

static void *wait_for_it(void *arg)
{
	struct waiter *w = arg;

	w->rc = w->frees ? weir_handle_free(w->pool, w->handle)
			 : weir_handle_pin(w->pool, w->handle, &w->p);
	atomic_store(&w->done, true);
	return NULL;
}

TEST_F(compact, pins_and_frees_wait_for_the_end_of_a_copy_and_the_try_does_not)
{
	struct waiter pinner = {.pool = self->pool}, freer = {.pool = self->pool, .frees = true};
	_Atomic uint64_t *slot[2];
	struct weir_handle_stats s;
	uint64_t word[2];
	pthread_t threads[2];
	void *p;
	int i;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, help_take(self->pool, 4096, 0, WEIR_HANDLE_MOVABLE, (uint64_t)i,
				       &blocks[i]));
		slot[i] = wr_handle_word_at(self->pool->handles, blocks[i].handle.slot);
		word[i] = wr_load_relaxed(slot[i]);
		wr_store_seq_cst(slot[i], wr_handle_with_state(word[i], WR_HANDLE_MOVING));
	}
	pinner.handle = blocks[0].handle;
	freer.handle = blocks[1].handle;
	EXPECT_EQ(-EAGAIN, weir_handle_pin_try(self->pool, pinner.handle, &p));
	ASSERT_EQ(0, pthread_create(&threads[0], NULL, wait_for_it, &pinner));
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, wait_for_it, &freer));
	/* Long enough for both to have gone to sleep. */
	while (wr_load_relaxed(&self->pool->handles->nr_waiters) < 2)
		usleep(1000);
	EXPECT_FALSE(atomic_load(&pinner.done));
	EXPECT_FALSE(atomic_load(&freer.done));
	for (i = 0; i < 2; i++) {
		wr_handle_publish(slot[i], word[i]);
		wr_handle_wake(self->pool->handles);
		pthread_join(threads[i], NULL);
	}
	EXPECT_EQ(0, pinner.rc);
	EXPECT_EQ(0, freer.rc);
	EXPECT_EQ(0, weir_handle_unpin(self->pool, pinner.handle));
	blocks[1].bytes = 0;
	weir_handle_stats(self->pool, &s);
	EXPECT_EQ(2u, s.nr_pin_waits);
}

/* Wants 8 MiB, however long it takes. */
static void *wait_for_room(void *arg)
{
	struct waiter *w = arg;
	struct weir_span span;

	w->rc = weir_pool_alloc_wait(w->pool, 4 * WINDOW, 0, WEIR_POOL_FOREVER, &span);
	if (w->rc == 0)
		w->rc = weir_pool_free(w->pool, span);
	atomic_store(&w->done, true);
	return NULL;
}

TEST_F(compact, who_waits_for_a_large_block_gets_what_compaction_frees)
{
	struct weir_compact_opts o = {.size = sizeof(o), .target_bytes = 4 * WINDOW};
	struct waiter w = {.pool = self->pool};
	pthread_t thread;

	self->nr = help_fragment(self->pool, 65536, 9, blocks, MAX_BLOCKS);
	ASSERT_EQ(0, pthread_create(&thread, NULL, wait_for_room, &w));
	while (wr_load_relaxed(&self->pool->nr_waiters) == 0)
		usleep(1000);
	usleep(10000);
	EXPECT_FALSE(atomic_load(&w.done));
	ASSERT_EQ(0, weir_pool_compact(self->pool, &o, &self->report));
	EXPECT_EQ(1u, self->report.nr_emptied);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, w.rc);
}

/* ---- against a model ------------------------------------------------------------------ */

#define MODEL_BLOCKS 600
#define MODEL_STEPS  9000

struct model {
	struct weir_pool *pool;
	uint64_t random;
	uint64_t next_seed;
	uint64_t bytes; /* in use, rounded up */
	struct model_block {
		struct help_block b;
		uint32_t flags;
		int nr_pins;
		void *p; /* while pinned, and for ever when it is not movable */
	} blocks[MODEL_BLOCKS];
};

static bool model_take(struct model *m, struct model_block *b)
{
	static const size_t sizes[] = {4096, 65536, 300000, 2 * MIB};
	uint64_t r = wr_xorshift64(&m->random);
	size_t bytes = 1 + (r >> 20) % sizes[r % 16 == 0 ? 3 : r % 3];
	int rc;

	bytes = wr_align_up(bytes, 8);
	b->flags = (r >> 8) % 8 == 0 ? 0 : WEIR_HANDLE_MOVABLE;
	rc = help_take(m->pool, bytes, WEIR_NODE_ANY, b->flags, m->next_seed++, &b->b);
	if (rc != 0)
		return rc == -ENOSPC;
	b->p = help_where(m->pool, &b->b);
	m->bytes += wr_align_up(bytes, 4096);
	return true;
}

static bool model_drop(struct model *m, struct model_block *b)
{
	size_t bytes = b->b.bytes;
	int rc;

	if (b->nr_pins == 0 && !help_is_whole(m->pool, &b->b))
		return false;
	rc = help_drop(m->pool, &b->b);
	if (b->nr_pins > 0)
		return rc == -EBUSY;
	m->bytes -= wr_align_up(bytes, 4096);
	return rc == 0;
}

static bool model_pin(struct model *m, struct model_block *b)
{
	void *p;

	if (weir_handle_pin(m->pool, b->b.handle, &p) != 0)
		return false;
	if ((b->nr_pins > 0 || b->flags == 0) && p != b->p)
		return false;
	b->p = p;
	b->nr_pins++;
	return help_is_filled(p, b->b.bytes, b->b.seed);
}

static bool model_unpin(struct model *m, struct model_block *b)
{
	if (weir_handle_unpin(m->pool, b->b.handle) != (b->nr_pins > 0 ? 0 : -EINVAL))
		return false;
	b->nr_pins -= b->nr_pins > 0;
	return true;
}

static int compare_ranges(const void *a, const void *b)
{
	const struct help_block *x = *(const struct help_block *const *)a;
	const struct help_block *y = *(const struct help_block *const *)b;

	return (x->seed > y->seed) - (x->seed < y->seed);
}

/* Every block is whole, no two share a byte, and the pool says the same sums. */
static bool model_is_right(struct model *m)
{
	struct help_block at[MODEL_BLOCKS]; /* seed: the address */
	const struct help_block *sorted[MODEL_BLOCKS];
	struct weir_pool_stats s;
	size_t i, nr = 0;

	for (i = 0; i < MODEL_BLOCKS; i++) {
		struct model_block *b = &m->blocks[i];

		if (!b->b.bytes)
			continue;
		if (!help_is_whole(m->pool, &b->b))
			return false;
		at[nr] = b->b;
		at[nr].seed = (uintptr_t)help_where(m->pool, &b->b);
		if ((b->nr_pins > 0 || b->flags == 0) && at[nr].seed != (uintptr_t)b->p)
			return false;
		sorted[nr] = &at[nr];
		nr++;
	}
	qsort(sorted, nr, sizeof(sorted[0]), compare_ranges);
	for (i = 1; i < nr; i++)
		if (sorted[i - 1]->seed + sorted[i - 1]->bytes > sorted[i]->seed)
			return false;
	weir_pool_stats(m->pool, &s);
	return s.used_bytes == m->bytes && s.free_bytes + s.cached_bytes == CAPACITY - m->bytes &&
	       s.nr_live == nr && s.nr_allocs - s.nr_frees == nr;
}

static bool model_compact(struct model *m)
{
	static const size_t targets[] = {65536, MIB, 2 * MIB, 8 * MIB};
	uint64_t r = wr_xorshift64(&m->random);
	struct weir_compact_opts o = {.size = sizeof(o), .target_bytes = targets[r % 4]};
	struct weir_compact_report report;

	o.nr_wanted = (r >> 8) % 2 ? WEIR_COMPACT_ALL : (r >> 9) % 10;
	o.max_bytes = (r >> 16) % 4 ? 0 : (r >> 20) % (4 * MIB);
	if (weir_pool_compact(m->pool, &o, &report) != 0)
		return false;
	if (o.max_bytes && report.moved_bytes > o.max_bytes)
		return false;
	return report.nr_free_after == report.nr_free_before + report.nr_emptied &&
	       report.wasted_bytes == 0 && model_is_right(m);
}

static bool model_step(struct model *m)
{
	uint64_t r = wr_xorshift64(&m->random);
	struct model_block *b = &m->blocks[(r >> 32) % MODEL_BLOCKS];

	if (r % 100 == 0)
		return model_compact(m);
	if (!b->b.bytes)
		return model_take(m, b);
	switch ((r >> 8) % 4) {
	case 0:
		return model_pin(m, b);
	case 1:
		return model_unpin(m, b);
	default:
		return model_drop(m, b);
	}
}

TEST_F_TIMEOUT(compact, random_operations_agree_with_a_naive_model, 120)
{
	struct model *m = calloc(1, sizeof(*m));
	uint64_t seed;
	size_t i;
	int step;

	ASSERT_NE(NULL, m);
	m->pool = self->pool;
	for (seed = 1; seed <= 3; seed++) {
		m->random = seed * 0x9e3779b97f4a7c15ull;
		for (step = 0; step < MODEL_STEPS / 3; step++)
			ASSERT_TRUE(model_step(m));
		ASSERT_TRUE(model_is_right(m));
	}
	for (i = 0; i < MODEL_BLOCKS; i++) {
		while (m->blocks[i].nr_pins > 0)
			ASSERT_TRUE(model_unpin(m, &m->blocks[i]));
		if (m->blocks[i].b.bytes)
			ASSERT_TRUE(model_drop(m, &m->blocks[i]));
	}
	EXPECT_EQ(0u, m->bytes);
	free(m);
}

TEST_HARNESS_MAIN
