/* SPDX-License-Identifier: MIT */
/*
 * A disk that fails: errors put in between the kernel and the engine. What was acknowledged stays,
 * what failed says so, and the store goes on when the disk does.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "io/io_internal.h"
#include "tier/store_help.h"

#define BYTES 50000u

FIXTURE(fault)
{
	char dir[256];
	struct weir_io *io;
	struct wr_store *s;
	struct wr_io_fault fault;
	_Atomic int64_t code;	   /* 0: let it pass; above: bytes at most */
	_Atomic uint64_t of_bytes; /* only attempts of this size; UINT64_MAX: of any */
	_Atomic int nr_hit;
};

static int64_t filter(void *arg, uint64_t offset, size_t bytes, int64_t res)
{
	FIXTURE_DATA(fault) *self = arg;
	int64_t code = atomic_load(&self->code);
	uint64_t of = atomic_load(&self->of_bytes);

	if (code == 0 || (of != UINT64_MAX && of != bytes))
		return res;
	atomic_fetch_add(&self->nr_hit, 1);
	return code < 0 ? code : res < code ? res : code;
}

static void set(FIXTURE_DATA(fault) * self, int64_t code, uint64_t of_bytes)
{
	atomic_store(&self->of_bytes, of_bytes);
	atomic_store(&self->code, code);
}

FIXTURE_SETUP(fault)
{
	struct wr_store_opts opts = st_opts(8);

	set(self, 0, UINT64_MAX);
	self->fault = (struct wr_io_fault){.filter = filter, .arg = self};
	ASSERT_EQ(weir_io_open(NULL, &self->io, NULL), 0);
	wr_io_set_fault(self->io, &self->fault);
	st_dir(self->dir, sizeof(self->dir), "fault");
	opts.io = self->io;
	ASSERT_EQ(wr_store_open(self->dir, &opts, &self->s, NULL), 0);
	for (uint64_t n = 0; n < 10; n++)
		ASSERT_EQ(st_put(self->s, n, 1, BYTES), 0);
}

FIXTURE_TEARDOWN(fault)
{
	struct wr_store_opts opts = st_opts(8);

	set(self, 0, UINT64_MAX);
	wr_store_close(self->s);
	weir_io_close(self->io);
	/* Whatever happened: what was acknowledged is found by a healthy opening. */
	ASSERT_EQ(wr_store_open(self->dir, &opts, &self->s, NULL), 0);
	for (uint64_t n = 0; n < 10; n++)
		EXPECT_EQ(st_get(self->s, n, 1, BYTES), 0);
	wr_store_close(self->s);
	st_dir_remove(self->dir);
	EXPECT_EQ(wr_test_alloc_live(), 0);
	EXPECT_EQ(st_nr_fds_left(), 0);
}

TEST_F(fault, a_put_that_cannot_be_written_fails_and_the_next_one_goes_elsewhere)
{
	static const int codes[][2] = {
		{EIO, -EIO}, {ENOSPC, -EDQUOT}, {EROFS, -EROFS}, {ENOMEM, -ENOMEM}};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		set(self, -codes[i][0], UINT64_MAX);
		EXPECT_EQ(st_put(self->s, 100 + i, 1, BYTES), codes[i][1]);
		EXPECT_EQ(wr_store_find(self->s, st_key(100 + i), NULL), -ENOENT);
		/* In place of one that is there: that one stays. */
		EXPECT_EQ(st_put(self->s, 5, 2, BYTES), codes[i][1]);
		EXPECT_EQ(st_remove(self->s, 6), codes[i][1]);
		set(self, 0, UINT64_MAX);
		EXPECT_EQ(st_get(self->s, 5, 1, BYTES), 0);
		EXPECT_EQ(st_get(self->s, 6, 1, BYTES), 0);
		EXPECT_EQ(st_put(self->s, 100 + i, 1, BYTES), 0);
		EXPECT_EQ(st_get(self->s, 100 + i, 1, BYTES), 0);
	}
}

TEST_F(fault, a_failed_sync_is_not_an_acknowledgement)
{
	/* A sync has no bytes. */
	set(self, -EIO, 0);
	EXPECT_EQ(st_put(self->s, 100, 1, BYTES), -EIO);
	EXPECT_EQ(wr_store_find(self->s, st_key(100), NULL), -ENOENT);
	EXPECT_EQ(st_put(self->s, 5, 2, BYTES), -EIO);
	set(self, 0, UINT64_MAX);
	EXPECT_EQ(st_get(self->s, 5, 1, BYTES), 0);
	EXPECT_EQ(st_put(self->s, 100, 1, BYTES), 0);
}

TEST_F(fault, a_get_that_fails_costs_that_get_and_not_the_block)
{
	set(self, -EIO, UINT64_MAX);
	EXPECT_EQ(st_get(self->s, 3, 1, BYTES), -EIO);
	set(self, 0, UINT64_MAX);
	EXPECT_EQ(st_get(self->s, 3, 1, BYTES), 0);
}

TEST_F(fault, short_reads_and_writes_are_continued)
{
	set(self, 8192, UINT64_MAX);
	EXPECT_EQ(st_put(self->s, 100, 1, BYTES), 0);
	EXPECT_EQ(st_get(self->s, 100, 1, BYTES), 0);
	EXPECT_EQ(st_get(self->s, 3, 1, BYTES), 0);
	EXPECT_GT(atomic_load(&self->nr_hit), 10);
}

TEST_F(fault, what_cannot_be_sealed_or_cleaned_is_kept)
{
	struct wr_store_stats stats;

	/* The rest of the first segment, then fail what the keeper does. */
	for (uint64_t n = 200; n < 215; n++)
		EXPECT_EQ(st_put(self->s, n, 1, BYTES), 0);
	for (uint64_t n = 200; n < 215; n++)
		EXPECT_EQ(st_remove(self->s, n), 0);
	set(self, -EIO, UINT64_MAX);
	(void)!wr_store_set_budget(self->s, (64u << 10) + (4u << 20));
	usleep(20000);
	wr_store_close(self->s);
	self->s = NULL;
	set(self, 0, UINT64_MAX);
	{
		struct wr_store_opts opts = st_opts(8);

		ASSERT_EQ(wr_store_open(self->dir, &opts, &self->s, NULL), 0);
	}
	wr_store_stats(self->s, &stats);
	EXPECT_EQ(stats.nr_torn, 0);
	EXPECT_EQ(stats.nr_blocks, 10);
}

TEST_F(fault, a_disk_that_cannot_be_read_at_opening_costs_nothing_that_is_on_it)
{
	struct wr_store_opts opts = st_opts(8);
	struct wr_store_stats stats;

	wr_store_close(self->s);
	opts.io = self->io;
	set(self, -EIO, UINT64_MAX);
	ASSERT_EQ(wr_store_open(self->dir, &opts, &self->s, NULL), 0);
	wr_store_stats(self->s, &stats);
	EXPECT_EQ(stats.nr_bad_segments, 1);
	EXPECT_EQ(stats.nr_blocks, 0);
	/* Closed and, in the teardown, opened with the disk well again. */
}

TEST_HARNESS_MAIN
