/* SPDX-License-Identifier: MIT */
/*
 * A full store whose process ends, again and again, while the segment that is kept for removes is
 * in use: whoever opens the folder next can remove, and what that makes free can be used.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "tier/store_help.h"

#define MOST_BLOCKS 4096u
#define SEGMENTS    6u

struct shared {
	_Atomic uint64_t nr_removed; /* acknowledged */
	_Atomic int result;	     /* of the last remove */
};

FIXTURE(spare)
{
	char dir[256];
	struct wr_store_opts opts;
	struct shared *sh;
	uint64_t nr; /* blocks that were put */
};

FIXTURE_VARIANT(spare)
{
	size_t bytes;	  /* of a block */
	uint32_t at_once; /* removed by each process */
	bool is_killed;	  /* or it closes the store */
};
FIXTURE_VARIANT_ADD(spare, killed){.bytes = 20000, .at_once = 2, .is_killed = true};
FIXTURE_VARIANT_ADD(spare, closed){.bytes = 20000, .at_once = 4, .is_killed = false};
FIXTURE_VARIANT_ADD(spare,
		    killed_with_large_blocks){.bytes = 300000, .at_once = 1, .is_killed = true};
FIXTURE_VARIANT_ADD(spare,
		    killed_with_small_blocks){.bytes = 100, .at_once = 20, .is_killed = true};

FIXTURE_SETUP(spare)
{
	struct wr_store *s;
	int rc = 0;

	st_dir(self->dir, sizeof(self->dir), "spare");
	self->opts = st_opts(SEGMENTS);
	self->opts.sync = WR_STORE_SYNC_NONE;
	self->sh = mmap(NULL, sizeof(*self->sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	ASSERT_NE(self->sh, MAP_FAILED);
	ASSERT_EQ(wr_store_open(self->dir, &self->opts, &s, NULL), 0);
	while (rc == 0 && self->nr < MOST_BLOCKS) {
		rc = st_put(s, self->nr, 1, variant->bytes);
		self->nr += rc == 0;
	}
	wr_store_close(s);
	ASSERT_EQ(rc, -ENOSPC);
}

FIXTURE_TEARDOWN(spare)
{
	munmap(self->sh, sizeof(*self->sh));
	st_dir_remove(self->dir);
	EXPECT_EQ(wr_test_alloc_live(), 0);
	EXPECT_EQ(st_nr_fds_left(), 0);
}

/* Removes, and is gone before the store is closed. */
static _Noreturn void child(const char *dir, const struct wr_store_opts *opts, struct shared *sh,
			    uint32_t at_once, bool is_killed)
{
	struct wr_store *s;
	int rc = wr_store_open(dir, opts, &s, NULL);

	for (uint32_t i = 0; rc == 0 && i < at_once; i++) {
		rc = st_remove(s, atomic_load(&sh->nr_removed));
		if (rc == 0)
			atomic_fetch_add(&sh->nr_removed, 1);
	}
	atomic_store(&sh->result, rc);
	if (is_killed)
		kill(getpid(), SIGKILL);
	wr_store_close(s);
	(_exit)(0);
}

TEST_F_TIMEOUT(spare, can_always_be_had_again, 300)
{
	struct shared *sh = self->sh;
	struct wr_store_stats stats;
	struct wr_store *s;
	uint64_t most = 0, nr_rounds = 0, again = 0;
	int rc = 0;

	while (atomic_load(&sh->nr_removed) + variant->at_once <= self->nr / 4 * 3) {
		pid_t pid = fork();
		int status;

		if (pid == 0)
			child(self->dir, &self->opts, sh, variant->at_once, variant->is_killed);
		ASSERT_GT(pid, 0);
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		ASSERT_EQ(atomic_load(&sh->result), 0)
		{
			TH_LOG("process %llu: %d", (unsigned long long)nr_rounds, sh->result);
		}
		nr_rounds++;
		most = st_dir_bytes(self->dir) > most ? st_dir_bytes(self->dir) : most;
	}
	EXPECT_LE(most, self->opts.budget_bytes);
	ASSERT_EQ(wr_store_open(self->dir, &self->opts, &s, NULL), 0);
	for (uint64_t n = 0; n < self->nr; n++)
		EXPECT_EQ(st_get(s, n, 1, variant->bytes),
			  n < atomic_load(&sh->nr_removed) ? -ENOENT : 0);
	/* What they took is there for others. */
	while (rc == 0 && again < self->nr) {
		rc = st_put(s, MOST_BLOCKS + again, 1, variant->bytes);
		again += rc == 0;
	}
	/* Less what the records of the removes take, of which all are needed here. */
	EXPECT_GE(again, self->nr / 4);
	wr_store_stats(s, &stats);
	EXPECT_LE(stats.disk_bytes, stats.budget_bytes);
	TH_LOG("%llu blocks, %llu processes, %llu put after them; %llu of %llu bytes",
	       (unsigned long long)self->nr, (unsigned long long)nr_rounds,
	       (unsigned long long)again, (unsigned long long)most,
	       (unsigned long long)self->opts.budget_bytes);
	wr_store_close(s);
}

TEST_F(spare, is_had_under_a_lower_budget_too)
{
	struct wr_store_opts lower = st_opts(4);
	struct wr_store_stats stats;
	struct wr_store *s;
	int rc = 0;

	ASSERT_EQ(wr_store_open(self->dir, &lower, &s, NULL), 0);
	for (uint64_t n = 0; n < self->nr / 4 * 3 && rc == 0; n++) {
		rc = st_remove(s, n);
		wr_store_stats(s, &stats);
		ASSERT_EQ(rc, 0)
		{
			TH_LOG("block %llu of %llu: %llu of %llu bytes in %llu files",
			       (unsigned long long)n, (unsigned long long)self->nr,
			       (unsigned long long)stats.disk_bytes,
			       (unsigned long long)stats.budget_bytes,
			       (unsigned long long)stats.nr_segments);
		}
	}
	for (int i = 0; i < 500; i++) {
		wr_store_stats(s, &stats);
		if (stats.disk_bytes <= stats.budget_bytes)
			break;
		usleep(10000);
	}
	EXPECT_LE(stats.disk_bytes, lower.budget_bytes);
	for (uint64_t n = 0; n < self->nr; n++)
		EXPECT_EQ(st_get(s, n, 1, variant->bytes), n < self->nr / 4 * 3 ? -ENOENT : 0);
	wr_store_close(s);
}

TEST_HARNESS_MAIN
