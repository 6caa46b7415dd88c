/* SPDX-License-Identifier: MIT */
/*
 * `weir bench pool` gives back what it takes, leaves out who is absent, and notices an
 * allocator that gives nothing. How fast anything is, is not tested.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <weir/pool_malloc.h>

#include "bench_pool.h"

FIXTURE(arms)
{
	struct wr_pb_arm arms[WR_PB_ARMS];
	struct weir_error err;
};

/* A peer that costs nothing, whatever sanitizers make of malloc(): always the same block. */
static void *give_the_same(size_t bytes)
{
	static char block[64];

	(void)bytes;
	return block;
}

static void take_back(void *p)
{
	(void)p;
}

/* Weir and one peer: not every machine has the real ones, nor do sanitizers bear them. */
FIXTURE_SETUP(arms)
{
	struct weir_pool_opts opts = {.size = sizeof(opts),
				      .capacity_bytes = 512u << 20,
				      .page_kinds = 1u << WEIR_PAGE_4K,
				      .flags = WEIR_POOL_LAZY};
	struct wr_pb_arm *weir = &self->arms[WR_PB_WEIR], *libc = &self->arms[WR_PB_GLIBC];

	memset(self->arms, 0, sizeof(self->arms));
	ASSERT_EQ(0, weir_pool_open(&opts, &weir->pool, NULL));
	weir->is_there = true;
	weir->form = WR_PB_SPANS;
	weir->take = weir_pool_alloc;
	weir->give = weir_pool_span_free;
	weir->give_copy = weir_pool_free;
	weir->pool_alloc = weir_pool_malloc;
	weir->pool_release = weir_pool_ptr_free;
	libc->is_there = true;
	libc->alloc = give_the_same;
	libc->release = take_back;
}

FIXTURE_TEARDOWN(arms)
{
	weir_pool_close(self->arms[WR_PB_WEIR].pool);
}

static uint64_t nr_live(const struct wr_pb_arm *arm)
{
	struct weir_pool_stats stats;

	weir_pool_stats(arm->pool, &stats);
	return stats.nr_live;
}

static void *give_nothing(size_t bytes)
{
	(void)bytes;
	return NULL;
}

TEST_F(arms, pairs_are_timed_for_those_who_are_there_and_given_back)
{
	double ns[WR_PB_ARMS];
	struct weir_pool_stats stats;

	for (int size = 0; size < WR_PB_SIZES; size++) {
		ASSERT_EQ(0, wr_pb_pairs(self->arms, (enum wr_pb_size)size, ns));
		EXPECT_LT(0, ns[WR_PB_WEIR]);
		EXPECT_LT(0, ns[WR_PB_GLIBC]);
		EXPECT_TRUE(isnan(ns[WR_PB_TCMALLOC]));
	}
	weir_pool_stats(self->arms[WR_PB_WEIR].pool, &stats);
	EXPECT_EQ(0u, stats.nr_live);
	EXPECT_LT(4u * 160 * 512, stats.nr_allocs);
}

TEST_F(arms, blocks_of_threads_are_given_back)
{
	struct wr_pb_arm *weir = &self->arms[WR_PB_WEIR];
	double ns = 0;

	for (int form = WR_PB_SPANS; form <= WR_PB_POOL_POINTERS; form++) {
		weir->form = (enum wr_pb_form)form;
		for (int way = WR_PB_ONE; way <= WR_PB_FLOW; way++) {
			ASSERT_EQ(0, wr_pb_threads(weir, WR_PB_64K, (enum wr_pb_way)way, &ns));
			EXPECT_TRUE(isnan(ns) || ns > 0);
			EXPECT_EQ(0u, nr_live(weir));
		}
	}
}

TEST_F(arms, an_arm_that_gives_no_block_is_an_error)
{
	struct wr_pb_arm *libc = &self->arms[WR_PB_GLIBC];
	double ns[WR_PB_ARMS];

	libc->alloc = give_nothing;
	EXPECT_EQ(-ENOSPC, wr_pb_pairs(self->arms, WR_PB_4K, ns));
	EXPECT_EQ(-ENOSPC, wr_pb_threads(libc, WR_PB_4K, WR_PB_ONE, ns));
	EXPECT_EQ(-ENOSPC, wr_pb_threads(libc, WR_PB_4K, WR_PB_FLOW, ns));
}

TEST(tensors_leave_the_pool_in_one_piece)
{
	struct wr_pb_tensors result;
	struct weir_error err;

	ASSERT_EQ(0, wr_pb_tensors("qwen3-vl-2b", 10, &result, &err));
	EXPECT_EQ(10u, result.rounds);
	EXPECT_LT(500u, result.nr_tensors);
	EXPECT_LE(1u, result.nr_regions);
	EXPECT_EQ(result.nr_regions, result.nr_whole);
}

TEST(waste_is_what_was_taken_beyond_the_bytes_of_the_tensors)
{
	struct wr_pb_tensors result;
	struct weir_error err;

	ASSERT_EQ(0, wr_pb_tensors("qwen3-vl-8b", 0, &result, &err));
	EXPECT_LE(result.bytes, result.used_bytes);
	/* Each wastes less than a block. */
	EXPECT_GT(result.bytes + result.nr_tensors * 4096, result.used_bytes);
}

TEST(a_model_that_is_not_known_is_an_error)
{
	struct wr_pb_tensors result;
	struct weir_error err;

	EXPECT_EQ(-EINVAL, wr_pb_tensors("qwen3-vl-9b", 0, &result, &err));
}

TEST(compaction_gathers_what_is_free_and_loses_nothing)
{
	static const size_t blocks[] = {4096, 65536};
	struct wr_pb_compact result;
	struct weir_error err;

	for (size_t i = 0; i < 2; i++) {
		ASSERT_EQ(0, wr_pb_compact(64u << 20, blocks[i], 2, &result, &err));
		ASSERT_EQ(2u, result.after.nr);
		EXPECT_LT(wr_bench_summary(&result.before).max, 50);
		/* All that is left is movable: what is not gathered is less than a piece. */
		EXPECT_LT(90, wr_bench_summary(&result.after).min);
		EXPECT_LE(1, wr_bench_summary(&result.moved).min);
		EXPECT_LT(0, wr_bench_summary(&result.per_memcpy).min);
		EXPECT_LT(0, wr_bench_summary(&result.median_us).min);
		EXPECT_LE(result.median_us.v[0], result.p99_us.v[0]);
		EXPECT_LE(result.p99_us.v[0], result.longest_us.v[0]);
	}
}

TEST(compaction_is_drawn_and_the_recording_removed)
{
	char dir[] = "/tmp/weir-bench-pool-XXXXXX", path[64], recording[80];
	struct weir_error err;

	ASSERT_NE(NULL, mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/svg", dir);
	snprintf(recording, sizeof(recording), "%s.recording", path);
	EXPECT_EQ(0, wr_pb_compact_draw(16u << 20, path, &err));
	EXPECT_EQ(0, access(path, F_OK));
	EXPECT_NE(0, access(recording, F_OK));
	EXPECT_EQ(-ENOENT, wr_pb_compact_draw(16u << 20, "/nonexistent/svg", &err));
	unlink(path);
	EXPECT_EQ(0, rmdir(dir));
}

TEST_HARNESS_MAIN
