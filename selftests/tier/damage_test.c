/* SPDX-License-Identifier: MIT */
/*
 * Files that are not what was written: a bit changed in every kind of byte, a cut at every kind of
 * place, names and files that are not a store's. Whatever was hit, a get gives the bytes that were
 * put or a code; and what was not hit is there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "tier/format.h"
#include "tier/store_help.h"

#define BLOCKS 12u
#define BYTES  (20000u)

FIXTURE(damage)
{
	char dir[256], path[320];
	struct wr_store_opts opts;
	struct wr_store *s;
	struct weir_error err;
};

/* A store of one sealed segment, BLOCKS blocks in it; closed. */
FIXTURE_SETUP(damage)
{
	st_dir(self->dir, sizeof(self->dir), "damage");
	self->opts = st_opts(6);
	ASSERT_EQ(wr_store_open(self->dir, &self->opts, &self->s, NULL), 0);
	for (uint64_t n = 0; n < BLOCKS; n++)
		ASSERT_EQ(st_put(self->s, n, 1, BYTES), 0);
	wr_store_close(self->s);
	self->s = NULL;
	snprintf(self->path, sizeof(self->path), "%s/seg-%016x", self->dir, 1);
}

FIXTURE_TEARDOWN(damage)
{
	wr_store_close(self->s);
	st_dir_remove(self->dir);
	EXPECT_EQ(wr_test_alloc_live(), 0);
	EXPECT_EQ(st_nr_fds_left(), 0);
}

static void flip(const char *path, uint64_t offset)
{
	unsigned char byte;
	int fd = open(path, O_RDWR);

	if (fd < 0 || pread(fd, &byte, 1, (off_t)offset) != 1)
		abort();
	byte ^= 0x10;
	if (pwrite(fd, &byte, 1, (off_t)offset) != 1)
		abort();
	close(fd);
}

static uint64_t file_bytes(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* How many blocks are there as they were put; -1: one is there with other bytes. */
static int nr_right(struct wr_store *s)
{
	int nr = 0;

	for (uint64_t n = 0; n < BLOCKS; n++) {
		int rc = st_get(s, n, 1, BYTES);

		if (rc == 1)
			return -1;
		nr += rc == 0;
	}
	return nr;
}

static int open_and_count(FIXTURE_DATA(damage) * self)
{
	int rc = wr_store_open(self->dir, &self->opts, &self->s, &self->err), nr;

	if (rc != 0)
		return rc;
	nr = nr_right(self->s);
	wr_store_close(self->s);
	self->s = NULL;
	return nr;
}

/* A copy of the files, so that each flip hits the same ones. */
static void save(FIXTURE_DATA(damage) * self, bool back)
{
	char command[1200];

	snprintf(command, sizeof(command),
		 back ? "rm -rf '%s' && cp -a '%s.saved' '%s'"
		      : "rm -rf '%s.saved' && cp -a '%s' '%s.saved'",
		 self->dir, self->dir, self->dir);
	if (system(command) != 0)
		abort();
}

static void drop_saved(FIXTURE_DATA(damage) * self)
{
	char saved[300];

	snprintf(saved, sizeof(saved), "%s.saved", self->dir);
	st_dir_remove(saved);
}

/* Hundreds of stores are opened: minutes on a machine that does much else. */
TEST_F_TIMEOUT(damage, a_bit_changed_anywhere_costs_at_most_one_block, 300)
{
	uint64_t total = file_bytes(self->path), extent = wr_store_cost(BYTES);
	uint64_t record = WR_STORE_PAGE + 5 * extent;

	save(self, false);
	/* Heads, every field of a record and of the seal, data, padding, the summary. */
	for (uint64_t i = 0; i < 330; i++) {
		uint64_t at = i < 56	? i
			      : i < 110 ? 4000 + i
			      : i < 200 ? record + (i - 110) * 4
			      : i < 230 ? record + WR_STORE_PAGE + (i - 200) * 700
			      : i < 260 ? total - WR_STORE_PAGE + (i - 230) * 10
			      : i < 290 ? total - 2 * WR_STORE_PAGE + (i - 260) * 27
					: total - 2 * WR_STORE_PAGE + 800 + (i - 290) * 80;
		int nr;

		save(self, true);
		flip(self->path, at);
		self->opts.verify = i % 2;
		nr = open_and_count(self);
		/* The version of the head says that it is of another format. */
		if (i >= 8 && i < 12 && nr == -EOPNOTSUPP)
			continue;
		EXPECT_GE(nr, (int)BLOCKS - 1)
		{
			TH_LOG("offset %llu: %d", (unsigned long long)at, nr);
		}
	}
	drop_saved(self);
}

TEST_F_TIMEOUT(damage, a_file_cut_anywhere_loses_only_what_was_cut_off, 300)
{
	uint64_t total = file_bytes(self->path), extent = wr_store_cost(BYTES);
	static const int deltas[] = {-4096, -1, 0, 1, 4096};

	save(self, false);
	for (uint64_t blocks = 0; blocks <= BLOCKS; blocks += 3) {
		for (size_t i = 0; i < sizeof(deltas) / sizeof(deltas[0]); i++) {
			uint64_t at = WR_STORE_PAGE + blocks * extent + (uint64_t)deltas[i];
			int whole =
				(int)((at - (at >= WR_STORE_PAGE ? WR_STORE_PAGE : at)) / extent);
			int nr;

			if (at >= total)
				continue;
			save(self, true);
			ASSERT_EQ(truncate(self->path, (off_t)at), 0);
			nr = open_and_count(self);
			EXPECT_EQ(nr, whole)
			{
				TH_LOG("cut at %llu", (unsigned long long)at);
			}
			/* The rest is what it was after the next opening, too. */
			EXPECT_EQ(open_and_count(self), whole);
		}
	}
	drop_saved(self);
}

TEST_F(damage, a_corrupt_block_is_reported_and_not_served_again)
{
	struct wr_store_stats stats;

	flip(self->path, WR_STORE_PAGE + WR_STORE_PAGE + 77);
	ASSERT_EQ(wr_store_open(self->dir, &self->opts, &self->s, NULL), 0);
	EXPECT_EQ(st_get(self->s, 0, 1, BYTES), -EBADMSG);
	EXPECT_EQ(wr_store_find(self->s, st_key(0), NULL), -EBADMSG);
	EXPECT_EQ(nr_right(self->s), (int)BLOCKS - 1);
	wr_store_stats(self->s, &stats);
	EXPECT_EQ(stats.nr_corrupt, 1);
	/* It can be put again. */
	EXPECT_EQ(st_put(self->s, 0, 1, BYTES), 0);
	EXPECT_EQ(nr_right(self->s), (int)BLOCKS);
}

TEST_F(damage, a_lost_manifest_is_made_anew_from_the_segments)
{
	char path[320];

	snprintf(path, sizeof(path), "%s/MANIFEST", self->dir);
	ASSERT_EQ(unlink(path), 0);
	EXPECT_EQ(open_and_count(self), (int)BLOCKS);
	flip(path, 30);
	EXPECT_EQ(open_and_count(self), (int)BLOCKS);
	ASSERT_EQ(truncate(path, 100), 0);
	EXPECT_EQ(open_and_count(self), (int)BLOCKS);
	/* The version is not a fault but another format. */
	flip(path, 8);
	EXPECT_EQ(open_and_count(self), -EOPNOTSUPP);
	EXPECT_NE(strstr(self->err.message, "format"), NULL);
	ASSERT_EQ(unlink(path), 0);
	flip(self->path, 20);
	EXPECT_EQ(open_and_count(self), -EBADMSG);
}

TEST_F(damage, a_segment_of_another_store_and_foreign_files_are_left_alone)
{
	struct wr_store_stats stats;
	char other[300], command[1200], path[320];
	struct wr_store *s;

	snprintf(other, sizeof(other), "%s-other", self->dir);
	ASSERT_EQ(wr_store_open(other, &self->opts, &s, NULL), 0);
	ASSERT_EQ(st_put(s, 3, 9, 1000), 0);
	wr_store_close(s);
	snprintf(command, sizeof(command),
		 "cp '%s/seg-0000000000000001' '%s/seg-00000000000000ff'; echo x >'%s/notes'",
		 other, self->dir, self->dir);
	ASSERT_EQ(system(command), 0);
	ASSERT_EQ(wr_store_open(self->dir, &self->opts, &self->s, NULL), 0);
	EXPECT_EQ(nr_right(self->s), (int)BLOCKS);
	wr_store_stats(self->s, &stats);
	EXPECT_EQ(stats.nr_foreign, 2);
	wr_store_close(self->s);
	self->s = NULL;
	snprintf(path, sizeof(path), "%s/notes", self->dir);
	EXPECT_EQ(access(path, F_OK), 0);
	snprintf(path, sizeof(path), "%s/seg-00000000000000ff", self->dir);
	EXPECT_EQ(access(path, F_OK), 0);
	st_dir_remove(other);
}

TEST_F(damage, a_link_in_place_of_a_segment_is_refused)
{
	char path[320];

	snprintf(path, sizeof(path), "%s/seg-00000000000000aa", self->dir);
	ASSERT_EQ(symlink("/etc/passwd", path), 0);
	EXPECT_EQ(open_and_count(self), -ELOOP);
	EXPECT_STREQ(self->err.file, "seg-00000000000000aa");
}

TEST_F(damage, a_folder_that_is_not_a_store_is_refused)
{
	char dir[300], path[320];
	FILE *f;

	snprintf(dir, sizeof(dir), "%s-photos", self->dir);
	ASSERT_EQ(mkdir(dir, 0700), 0);
	snprintf(path, sizeof(path), "%s/holiday.jpg", dir);
	f = fopen(path, "w");
	ASSERT_NE(f, NULL);
	fclose(f);
	EXPECT_EQ(wr_store_open(dir, &self->opts, &self->s, &self->err), -EINVAL);
	EXPECT_EQ(access(path, F_OK), 0);
	chmod(dir, 0777);
	EXPECT_EQ(wr_store_open(dir, &self->opts, &self->s, &self->err), -EACCES);
	chmod(dir, 0700);
	st_dir_remove(dir);
	EXPECT_EQ(wr_store_open(self->path, &self->opts, &self->s, &self->err), -ENOTDIR);
}

TEST_F(damage, files_are_for_nobody_else)
{
	struct stat st;

	ASSERT_EQ(stat(self->dir, &st), 0);
	EXPECT_EQ(st.st_mode & 0777, 0700);
	ASSERT_EQ(stat(self->path, &st), 0);
	EXPECT_EQ(st.st_mode & 0777, 0600);
}

TEST_F(damage, a_second_process_is_told_who_has_it_open)
{
	struct wr_store *again;
	char want[64];
	pid_t pid;
	int status;

	ASSERT_EQ(wr_store_open(self->dir, &self->opts, &self->s, NULL), 0);
	snprintf(want, sizeof(want), "process %d", (int)getpid());
	pid = fork();
	if (pid == 0) {
		int rc = wr_store_open(self->dir, &self->opts, &again, &self->err);

		(_exit)(rc == -EBUSY && strstr(self->err.message, want) != NULL ? 0 : 1);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	/* Nor twice in one process. */
	EXPECT_EQ(wr_store_open(self->dir, &self->opts, &again, &self->err), -EBUSY);
	EXPECT_EQ(nr_right(self->s), (int)BLOCKS);
}

/* Everything a store does, with the @at-th allocation failing. */
static int life(FIXTURE_DATA(damage) * self)
{
	int rc = wr_store_open(self->dir, &self->opts, &self->s, &self->err), nr = 0;

	if (rc != 0)
		return rc;
	for (uint64_t n = 100; n < 106 && rc == 0; n++)
		rc = st_put(self->s, n, 2, 9000);
	if (rc == 0)
		rc = st_remove(self->s, 100);
	for (uint64_t n = 0; n < BLOCKS; n++) {
		int got = st_get(self->s, n, 1, BYTES);

		nr += got == 0 || got == -ENOMEM;
	}
	wr_store_close(self->s);
	self->s = NULL;
	return rc != 0 ? rc : nr == BLOCKS ? 0 : -ENOENT;
}

TEST_F_TIMEOUT(damage, any_allocation_may_fail, 300)
{
	int64_t live = wr_test_alloc_live();
	int nr_failed = 0;

	for (uint64_t at = 1;; at++) {
		int rc;

		wr_test_alloc_fail_at(at);
		rc = life(self);
		if (!wr_test_alloc_failed())
			break;
		nr_failed++;
		EXPECT_TRUE(rc == 0 || rc == -ENOMEM || rc == -EAGAIN)
		{
			TH_LOG("allocation %llu: %d", (unsigned long long)at, rc);
		}
		EXPECT_EQ(wr_test_alloc_live(), live);
	}
	wr_test_alloc_fail_at(0);
	EXPECT_GT(nr_failed, 50);
	EXPECT_EQ(open_and_count(self), (int)BLOCKS);
}

TEST_HARNESS_MAIN
