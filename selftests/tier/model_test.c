/* SPDX-License-Identifier: MIT */
/*
 * The store against a map of what was put last: any sequence of puts, removes, gets and restarts
 * gives the same answers, on every rung of the engine, while segments are cleaned under it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "harness/sanitized.h"
#include "harness/skip.h"
#include "tier/store_help.h"

#define KEYS 64u
#define MOST (100u << 10)

FIXTURE(model)
{
	char dir[256];
	struct weir_io *io;
	struct wr_store *s;
	struct wr_store_opts opts;
	uint64_t version[KEYS]; /* 0: not there */
	uint64_t next_version;
	unsigned seed;
};

FIXTURE_VARIANT(model)
{
	uint32_t backend;
	uint32_t sync;
};
FIXTURE_VARIANT_ADD(model, highest){.backend = WEIR_IO_AUTO};
#if !SANITIZED /* the same code of ours on all rungs but the highest */
FIXTURE_VARIANT_ADD(model, uring){.backend = WEIR_IO_URING};
FIXTURE_VARIANT_ADD(model, buffered){.backend = WEIR_IO_BUFFERED};
#endif
FIXTURE_VARIANT_ADD(model, pread){.backend = WEIR_IO_PREAD};
FIXTURE_VARIANT_ADD(model, unsynced){.backend = WEIR_IO_AUTO, .sync = WR_STORE_SYNC_NONE};

FIXTURE_SETUP(model)
{
	struct weir_io_opts io = {.size = sizeof(io), .backend = variant->backend};
	struct weir_error err;
	int rc;

	self->next_version = 1;
	self->seed = 7;
	rc = weir_io_open(&io, &self->io, &err);
	if (rc == -EOPNOTSUPP)
		SKIP_SETUP("io_uring is refused here");
	ASSERT_EQ(rc, 0);
	st_dir(self->dir, sizeof(self->dir), "model");
	self->opts = st_opts(12);
	self->opts.io = self->io;
	self->opts.sync = variant->sync;
	rc = wr_store_open(self->dir, &self->opts, &self->s, &err);
	ASSERT_EQ(rc, 0)
	{
		TH_LOG("%s: %s", err.file, err.message);
	}
}

FIXTURE_TEARDOWN(model)
{
	wr_store_close(self->s);
	weir_io_close(self->io);
	st_dir_remove(self->dir);
	EXPECT_EQ(wr_test_alloc_live(), 0);
	EXPECT_EQ(st_nr_fds_left(), 0);
}

static int check_all(struct __test_metadata *_metadata, FIXTURE_DATA(model) * self)
{
	for (uint64_t n = 0; n < KEYS; n++) {
		uint64_t v = self->version[n];
		int rc = st_get(self->s, n, v, v != 0 ? st_bytes(n, v, MOST) : 0);

		EXPECT_EQ(rc, v != 0 ? 0 : -ENOENT)
		{
			TH_LOG("key %u version %u", (unsigned)n, (unsigned)v);
		}
		if (rc != (v != 0 ? 0 : -ENOENT))
			return -1;
	}
	return 0;
}

static void one_step(struct __test_metadata *_metadata, FIXTURE_DATA(model) * self)
{
	uint64_t n = (uint64_t)rand_r(&self->seed) % KEYS, v = self->version[n];
	int what = rand_r(&self->seed) % 10;

	if (what < 6) {
		uint64_t fresh = self->next_version++;

		ASSERT_EQ(st_put(self->s, n, fresh, st_bytes(n, fresh, MOST)), 0);
		self->version[n] = fresh;
	} else if (what < 8) {
		ASSERT_EQ(st_remove(self->s, n), v != 0 ? 0 : -ENOENT);
		self->version[n] = 0;
	} else {
		ASSERT_EQ(st_get(self->s, n, v, v != 0 ? st_bytes(n, v, MOST) : 0),
			  v != 0 ? 0 : -ENOENT);
	}
}

TEST_F_TIMEOUT(model, any_order_of_calls_and_restarts_gives_what_a_map_gives, 300)
{
	struct wr_store_stats stats;
	uint64_t nr_cleaned = 0;

	for (int round = 0; round < 5; round++) {
		for (int step = 0; step < 160; step++) {
			one_step(_metadata, self);
			wr_store_stats(self->s, &stats);
			ASSERT_LE(stats.disk_bytes, stats.budget_bytes);
			ASSERT_LE(st_dir_bytes(self->dir), stats.budget_bytes);
		}
		ASSERT_EQ(check_all(_metadata, self), 0);
		wr_store_stats(self->s, &stats);
		nr_cleaned += stats.nr_cleaned;
		wr_store_close(self->s);
		self->s = NULL;
		self->opts.verify = round % 2;
		ASSERT_EQ(wr_store_open(self->dir, &self->opts, &self->s, NULL), 0);
		ASSERT_EQ(check_all(_metadata, self), 0);
		wr_store_stats(self->s, &stats);
		EXPECT_EQ(stats.nr_torn, 0);
		EXPECT_EQ(stats.nr_bad_segments, 0);
		if (round % 2 == 0)
			EXPECT_EQ(stats.nr_scanned, 0);
	}
	/* The budget is a few times smaller than what was written. */
	EXPECT_GT(nr_cleaned, 10);
}

TEST_F_TIMEOUT(model, a_full_store_says_so_and_takes_more_after_removes, 300)
{
	struct wr_store_stats stats;
	uint64_t n;
	int rc = 0;

	for (n = 0; rc == 0 && n < 1000; n++)
		rc = st_put(self->s, n, 1, 64 << 10);
	EXPECT_EQ(rc, -ENOSPC);
	wr_store_stats(self->s, &stats);
	/* Seven eighths of all but two segments, as the header says. */
	EXPECT_GE(stats.live_bytes + wr_store_cost(64 << 10), (uint64_t)(10u << 20) / 8 * 7);
	EXPECT_LE(st_dir_bytes(self->dir), stats.budget_bytes);
	/* Holes everywhere: only cleaning makes room of them. */
	for (uint64_t i = 0; i + 1 < n; i += 2)
		ASSERT_EQ(st_remove(self->s, i), 0);
	/* The records of these removes take a little of it. */
	for (uint64_t i = 0; i + 20 < n; i += 2)
		ASSERT_EQ(st_put(self->s, 2000 + i, 3, 64 << 10), 0);
	wr_store_stats(self->s, &stats);
	EXPECT_GT(stats.copied_bytes, 0);
	EXPECT_LE(st_dir_bytes(self->dir), stats.budget_bytes);
	for (uint64_t i = 0; i + 20 < n; i++)
		ASSERT_EQ(st_get(self->s, i % 2 ? i : 2000 + i, i % 2 ? 1 : 3, 64 << 10), 0);
}

TEST_F_TIMEOUT(model, a_lower_budget_is_reached_and_a_higher_one_used, 300)
{
	struct wr_store_stats stats;

	for (uint64_t n = 0; n < 100; n++)
		ASSERT_EQ(st_put(self->s, n, 1, 60 << 10), 0);
	for (uint64_t n = 0; n < 100; n++) {
		if (n % 4 != 0)
			ASSERT_EQ(st_remove(self->s, n), 0);
	}
	EXPECT_EQ(wr_store_set_budget(self->s, 1 << 20), -EINVAL);
	(void)!wr_store_set_budget(self->s, (64u << 10) + (5u << 20));
	for (int i = 0; i < 500; i++) {
		wr_store_stats(self->s, &stats);
		ASSERT_LE(st_dir_bytes(self->dir), (64u << 10) + (12u << 20));
		if (stats.disk_bytes <= stats.budget_bytes)
			break;
		usleep(10000);
	}
	EXPECT_LE(stats.disk_bytes, stats.budget_bytes);
	for (uint64_t n = 0; n < 100; n += 4)
		ASSERT_EQ(st_get(self->s, n, 1, 60 << 10), 0);
	ASSERT_EQ(wr_store_set_budget(self->s, (64u << 10) + (16u << 20)), 0);
	for (uint64_t n = 200; n < 320; n++)
		ASSERT_EQ(st_put(self->s, n, 1, 60 << 10), 0);
}

TEST_HARNESS_MAIN
