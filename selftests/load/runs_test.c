/* SPDX-License-Identifier: MIT */
/*
 * Extents become reads: whatever they are, each lies in one read of its own file, reads stand apart
 * in memory, and neighbours are read together up to a limit.
 */
#include <errno.h>
#include <stdlib.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "base/util.h"
#include "io/io_help.h"
#include "load/area.h"
#include "load/fetch.h"
#include "stream/testmodel.h"

#define MAX_NR 400u
#define PAGE   4096ull

/* clang-format off */
FIXTURE(runs) {
	struct test_model tm;
	struct weir_io *io;
	struct wr_files files;
	struct wr_extent extents[MAX_NR];
	struct wr_extent *sorted[MAX_NR];
	struct wr_run runs[MAX_NR];
	size_t total;
};
/* clang-format on */

IO_EVERY_RUNG(runs)

FIXTURE_SETUP(runs)
{
	struct weir_io_opts opts = {.size = sizeof(opts), .backend = variant->backend};
	int rc = weir_io_open(&opts, &self->io, NULL);

	if (rc == -EOPNOTSUPP && variant->backend && variant->backend <= WEIR_IO_URING)
		SKIP_SETUP("io_uring is refused here");
	ASSERT_EQ(rc, 0);
	/* Of these only the files are looked at: the extents need not be theirs. */
	ASSERT_TRUE(tm_open(&self->tm, TM_SHARDED, 1, variant->memory));
	ASSERT_EQ(wr_files_init(&self->files, self->io, self->tm.model, NULL), 0);
}

FIXTURE_TEARDOWN(runs)
{
	wr_files_fini(&self->files);
	weir_io_close(self->io);
	tm_close(&self->tm);
}

static int plan(FIXTURE_DATA(runs) * self, uint32_t nr, uint64_t max_run_bytes)
{
	for (uint32_t i = 0; i < nr; i++)
		self->sorted[i] = &self->extents[i];
	wr_extents_sort(self->sorted, nr);
	return wr_runs_plan(&self->files, self->sorted, nr, max_run_bytes, self->runs,
			    &self->total);
}

/* Extent @e lies in run @r, at the place that this gives it. */
static bool is_in(const struct wr_run *run, const struct wr_extent *e)
{
	return run->file == e->file && e->offset >= run->offset &&
	       e->offset + e->bytes <= run->offset + run->bytes &&
	       e->place == run->landing + run->head + (e->offset - run->offset);
}

static bool runs_are_right(FIXTURE_DATA(runs) * self, uint32_t nr, int nr_runs, uint64_t max)
{
	size_t end = 0;

	for (int r = 0; r < nr_runs; r++) {
		const struct wr_run *run = &self->runs[r];
		uint32_t nr_in = 0;

		for (uint32_t i = 0; i < nr; i++)
			nr_in += is_in(run, &self->extents[i]);
		if (!nr_in || (run->bytes > max && nr_in != 1))
			return false;
		/* Apart from each other, aligned, and no byte of the buffer is missing. */
		if (run->landing != end || run->landing % PAGE ||
		    run->head + run->bytes > run->landing_bytes ||
		    (run->offset - run->lead) % PAGE || run->head % PAGE != run->offset % PAGE)
			return false;
		end = run->landing + (run->landing_bytes + PAGE - 1) / PAGE * PAGE;
	}
	for (uint32_t i = 0; i < nr; i++) {
		int nr_of = 0;

		for (int r = 0; r < nr_runs; r++)
			nr_of += is_in(&self->runs[r], &self->extents[i]);
		if (nr_of != 1)
			return false;
	}
	return self->total == end;
}

static uint32_t random_next(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 4;
}

TEST_F(runs, cover_each_extent_once_and_stand_apart_in_memory)
{
	uint32_t random = 3;

	for (int round = 0; round < 200; round++) {
		uint32_t nr = 1 + random_next(&random) % MAX_NR;
		uint64_t offset[2] = {random_next(&random) % 9000, random_next(&random) % 9000};
		uint64_t max = round % 2 ? 20000 : (uint64_t)64 << 20;
		int nr_runs;

		for (uint32_t i = 0; i < nr; i++) {
			uint32_t f = random_next(&random) % 2;
			/* Next to the one before, within the gap, or just beyond it. */
			uint64_t gap = random_next(&random) % 3 * 2049;

			self->extents[i] =
				(struct wr_extent){.file = f,
						   .offset = offset[f] + gap,
						   .bytes = 1 + random_next(&random) % 9000};
			offset[f] += gap + self->extents[i].bytes;
		}
		nr_runs = plan(self, nr, max);
		ASSERT_GT(nr_runs, 0);
		EXPECT_TRUE(runs_are_right(self, nr, nr_runs, max));
	}
}

TEST_F(runs, join_neighbours_of_one_file_only)
{
	/* Where the first file's ends the second's would begin. */
	self->extents[0] = (struct wr_extent){.file = 0, .bytes = 5000};
	self->extents[1] = (struct wr_extent){.file = 1, .offset = 5000, .bytes = 100};
	ASSERT_EQ(plan(self, 2, 1 << 20), 2);
	EXPECT_TRUE(runs_are_right(self, 2, 2, 1 << 20));
	self->extents[1].file = 0;
	EXPECT_EQ(plan(self, 2, 1 << 20), 1);
	self->extents[1].offset = 5000 + WR_RUN_GAP_BYTES;
	EXPECT_EQ(plan(self, 2, 1 << 20), 1);
	self->extents[1].offset = 5001 + WR_RUN_GAP_BYTES;
	EXPECT_EQ(plan(self, 2, 1 << 20), 2);
}

TEST_F(runs, respect_the_limit_but_for_one_extent_that_is_larger)
{
	for (uint32_t i = 0; i < 4; i++)
		self->extents[i] =
			(struct wr_extent){.offset = (uint64_t)i * 10000, .bytes = 10000};
	EXPECT_EQ(plan(self, 4, 20000), 2);
	EXPECT_EQ(plan(self, 4, 19999), 4);
	EXPECT_EQ(plan(self, 4, 5000), 4);
	EXPECT_EQ(plan(self, 4, 40000), 1);
}

TEST_F(runs, of_sizes_that_wrap_are_refused)
{
	self->extents[0] = (struct wr_extent){.offset = UINT64_MAX - 10, .bytes = 20};
	EXPECT_EQ(plan(self, 1, 1 << 20), -EOVERFLOW);
}

TEST(an_area_hands_out_what_it_was_given_and_no_more)
{
	struct weir_pool_opts opts = {.size = sizeof(opts),
				      .capacity_bytes = 64 * PAGE,
				      .page_kinds = 1u << WEIR_PAGE_4K};
	struct weir_span hole, last;
	struct weir_pool_stats stats;
	struct weir_pool *pool;
	struct wr_area area;
	char *first;

	ASSERT_EQ(weir_pool_open(&opts, &pool, NULL), 0);
	/* Two pieces of 8 and of 40 pages. */
	ASSERT_EQ(weir_pool_alloc(pool, 8 * PAGE, WEIR_NODE_ANY, &hole), 0);
	ASSERT_EQ(weir_pool_alloc(pool, 16 * PAGE, WEIR_NODE_ANY, &last), 0);
	ASSERT_EQ(weir_pool_free(pool, hole), 0);
	EXPECT_EQ(wr_area_init(&area, pool, 49 * PAGE), -ENOSPC);
	weir_pool_stats(pool, &stats);
	EXPECT_EQ(stats.free_bytes, 48 * PAGE);
	ASSERT_EQ(wr_area_init(&area, pool, 48 * PAGE), 0);
	EXPECT_EQ(area.bytes, 48 * PAGE);
	first = wr_area_take(&area, 3 * PAGE - 1);
	ASSERT_NE(first, NULL);
	EXPECT_EQ((uintptr_t)first % PAGE, 0u);
	EXPECT_EQ((char *)wr_area_take(&area, 1), first + 3 * PAGE);
	EXPECT_EQ(wr_area_take(&area, 48 * PAGE), NULL);
	while (wr_area_take(&area, PAGE))
		first += PAGE;
	weir_pool_stats(pool, &stats);
	EXPECT_EQ(stats.free_bytes, 0u);
	wr_area_fini(&area);
	weir_pool_stats(pool, &stats);
	EXPECT_EQ(stats.free_bytes, 48 * PAGE);
	ASSERT_EQ(weir_pool_free(pool, last), 0);
	weir_pool_close(pool);
}

TEST_HARNESS_MAIN
