/* SPDX-License-Identifier: MIT */
/*
 * A store on a file system that fails: what was acknowledged is got or reported, never wrong and
 * never forgotten; what could not be done is said; and when the failing ends, so do its effects.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "tier/fault_fs.h"
#include "tier/store_help.h"

#define NR_KEYS	    40u
#define MOST	    50000u
#define MOST_FAILED 8u

FIXTURE(faulty)
{
	struct fault_fs fs;
	struct fault_knobs *knobs;
	const char *missing; /* why there is no such file system here, or NULL */
	char backing[256], mount[256], dir[300], below[300];
	struct wr_store *s;
	uint64_t version[NR_KEYS]; /* acknowledged; 0: none */
	/* Failed since then: any of them may be found after a restart. */
	uint64_t maybe[NR_KEYS][MOST_FAILED];
	unsigned int nr_maybe[NR_KEYS];
};

#define NEED_FUSE()                                        \
	do {                                               \
		if (self->missing)                         \
			SKIP(return, "%s", self->missing); \
	} while (0)

static int start(FIXTURE_DATA(faulty) * self)
{
	struct wr_store_opts opts = st_opts(8);
	struct weir_error err = {0};
	int rc;

	wr_store_close(self->s);
	self->s = NULL;
	rc = wr_store_open(self->dir, &opts, &self->s, &err);
	if (rc)
		fprintf(stderr, "# %s: %s\n", err.file, err.message);
	return rc;
}

FIXTURE_SETUP(faulty)
{
	st_dir(self->backing, sizeof(self->backing), "backing");
	st_dir(self->mount, sizeof(self->mount), "mount");
	snprintf(self->dir, sizeof(self->dir), "%s/s", self->mount);
	snprintf(self->below, sizeof(self->below), "%s/s", self->backing);
	st_dir_remove(self->below);
	st_dir_remove(self->backing);
	self->missing = fault_fs_start(&self->fs, self->backing, self->mount);
	if (self->missing)
		return;
	self->knobs = self->fs.knobs;
	ASSERT_EQ(start(self), 0);
}

FIXTURE_TEARDOWN(faulty)
{
	wr_store_close(self->s);
	fault_fs_stop(&self->fs);
	st_dir_remove(self->below);
	st_dir_remove(self->backing);
	EXPECT_EQ(wr_test_alloc_live(), 0);
}

/* Versions from @from on; what is acknowledged is noted. How many failed. */
static unsigned int put_all(FIXTURE_DATA(faulty) * self, uint64_t from)
{
	unsigned int nr = 0;

	for (uint64_t k = 0; k < NR_KEYS; k++) {
		int rc = st_put(self->s, k, from + k, st_bytes(k, from + k, MOST));

		if (rc == 0) {
			self->version[k] = from + k;
			self->nr_maybe[k] = 0;
		} else if (self->nr_maybe[k] < MOST_FAILED) {
			self->maybe[k][self->nr_maybe[k]++] = from + k;
		}
		nr += rc != 0;
	}
	return nr;
}

/* 0: the acknowledged version, or after a restart one whose put failed. Else what went wrong. */
static int check(FIXTURE_DATA(faulty) * self, uint64_t k)
{
	uint64_t version = self->version[k];
	int rc = st_get(self->s, k, version, st_bytes(k, version, MOST));

	for (unsigned int i = 0; i < self->nr_maybe[k] && (rc == 1 || (rc == 0 && !version)); i++) {
		version = self->maybe[k][i];
		rc = st_get(self->s, k, version, st_bytes(k, version, MOST));
	}
	return rc == -ENOENT && self->version[k] == 0 ? 0 : rc;
}

static void check_all(struct __test_metadata *_metadata, FIXTURE_DATA(faulty) * self)
{
	for (uint64_t k = 0; k < NR_KEYS; k++)
		ASSERT_EQ(check(self, k), 0);
}

TEST_F(faulty, short_and_slow_reads_give_whole_blocks)
{
	NEED_FUSE();
	ASSERT_EQ(put_all(self, 1), 0);
	self->knobs->short_permille = 500;
	self->knobs->delay_us = 500;
	check_all(_metadata, self);
	ASSERT_EQ(start(self), 0);
	check_all(_metadata, self);
	EXPECT_GT(atomic_load(&self->knobs->nr_faults), 0);
}

TEST_F(faulty, failing_reads_are_reported_and_pass)
{
	unsigned int nr_failed = 0;

	NEED_FUSE();
	ASSERT_EQ(put_all(self, 1), 0);
	self->knobs->read_code = EIO;
	self->knobs->read_permille = 700;
	for (uint64_t k = 0; k < NR_KEYS; k++) {
		int rc = check(self, k);

		ASSERT_TRUE(rc == 0 || rc == -EIO);
		nr_failed += rc != 0;
	}
	EXPECT_GT(nr_failed, 0);
	self->knobs->read_permille = 0;
	check_all(_metadata, self);
}

TEST_F(faulty, failing_writes_lose_nothing_that_was_acknowledged)
{
	NEED_FUSE();
	ASSERT_EQ(put_all(self, 1), 0);
	self->knobs->write_code = EIO;
	self->knobs->write_permille = 300;
	for (uint64_t round = 1; round < 6; round++)
		put_all(self, 1000 * round);
	check_all(_metadata, self);
	self->knobs->write_permille = 0;
	ASSERT_EQ(start(self), 0);
	check_all(_metadata, self);
	EXPECT_EQ(put_all(self, 9000), 0);
	ASSERT_EQ(start(self), 0);
	check_all(_metadata, self);
}

TEST_F(faulty, a_failing_sync_acknowledges_nothing)
{
	NEED_FUSE();
	ASSERT_EQ(put_all(self, 1), 0);
	self->knobs->sync_code = EIO;
	EXPECT_EQ(put_all(self, 1000), NR_KEYS);
	check_all(_metadata, self);
	self->knobs->sync_code = 0;
	ASSERT_EQ(start(self), 0);
	check_all(_metadata, self);
	EXPECT_EQ(put_all(self, 2000), 0);
}

TEST_F(faulty, a_full_file_system_is_named_and_nothing_is_lost)
{
	int rc = 0;

	NEED_FUSE();
	ASSERT_EQ(put_all(self, 1), 0);
	self->knobs->room_bytes = 600000;
	for (uint64_t n = 0; n < 100 && rc == 0; n++)
		rc = st_put(self->s, 1000 + n, 1, 60000);
	EXPECT_EQ(rc, -EDQUOT);
	check_all(_metadata, self);
	self->knobs->room_bytes = -1;
	EXPECT_EQ(put_all(self, 3000), 0);
	ASSERT_EQ(start(self), 0);
	check_all(_metadata, self);
}

TEST_F(faulty, opening_where_nothing_can_be_read_says_so_or_finds_it_later)
{
	NEED_FUSE();
	ASSERT_EQ(put_all(self, 1), 0);
	wr_store_close(self->s);
	self->s = NULL;
	self->knobs->read_code = EIO;
	self->knobs->read_permille = 1000;
	(void)!start(self);
	self->knobs->read_permille = 0;
	ASSERT_EQ(start(self), 0);
	check_all(_metadata, self);
}

TEST_HARNESS_MAIN
