/* SPDX-License-Identifier: MIT */
/*
 * A store on a file system that fails: what was acknowledged is got or reported, never wrong and
 * never forgotten; what could not be done is said; and when the failing ends, so do its effects.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <weir/log.h>

#include "base/alloc.h"
#include "tier/fault_fs.h"
#include "tier/store_help.h"

#define NR_KEYS	    40u
#define MOST	    50000u
#define SEGMENTS    8u
#define MOST_FAILED 24u

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
	int last_code;		  /* of a put that failed */
	uint32_t nr_device;	  /* of the last puts, that the device failed */
	bool is_leaving[NR_KEYS]; /* a remove of it has failed: it may be gone, or not */
};

#define NEED_FUSE()                                        \
	do {                                               \
		if (self->missing)                         \
			SKIP(return, "%s", self->missing); \
	} while (0)

static int start(FIXTURE_DATA(faulty) * self)
{
	struct wr_store_opts opts = st_opts(SEGMENTS);
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
	EXPECT_EQ(st_nr_fds_left(), 0);
}

/* Versions from @from on; what is acknowledged is noted. How many failed. */
static unsigned int put_all(FIXTURE_DATA(faulty) * self, uint64_t from)
{
	unsigned int nr = 0;

	self->nr_device = 0;
	for (uint64_t k = 0; k < NR_KEYS; k++) {
		int rc = st_put(self->s, k, from + k, st_bytes(k, from + k, MOST));

		if (rc == 0) {
			self->version[k] = from + k;
			self->nr_maybe[k] = 0;
			self->is_leaving[k] = false;
		} else if (self->nr_maybe[k] < MOST_FAILED) {
			self->maybe[k][self->nr_maybe[k]++] = from + k;
		}
		nr += rc != 0;
		self->last_code = rc != 0 ? rc : self->last_code;
		self->nr_device += rc == -EIO || rc == -EDQUOT;
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
	self->knobs->op[FAULT_READ].short_permille = 500;
	self->knobs->op[FAULT_READ].delay_us = 500;
	check_all(_metadata, self);
	ASSERT_EQ(start(self), 0);
	check_all(_metadata, self);
	EXPECT_GT(atomic_load(&self->knobs->op[FAULT_READ].nr_faults), 0);
}

TEST_F(faulty, failing_reads_are_reported_and_pass)
{
	unsigned int nr_failed = 0;

	NEED_FUSE();
	ASSERT_EQ(put_all(self, 1), 0);
	self->knobs->op[FAULT_READ].code = EIO;
	self->knobs->op[FAULT_READ].permille = 700;
	for (uint64_t k = 0; k < NR_KEYS; k++) {
		int rc = check(self, k);

		ASSERT_TRUE(rc == 0 || rc == -EIO);
		nr_failed += rc != 0;
	}
	EXPECT_GT(nr_failed, 0);
	self->knobs->op[FAULT_READ].permille = 0;
	check_all(_metadata, self);
}

TEST_F(faulty, failing_writes_lose_nothing_that_was_acknowledged)
{
	NEED_FUSE();
	ASSERT_EQ(put_all(self, 1), 0);
	self->knobs->op[FAULT_WRITE].code = EIO;
	self->knobs->op[FAULT_WRITE].permille = 300;
	for (uint64_t round = 1; round < 6; round++)
		put_all(self, 1000 * round);
	check_all(_metadata, self);
	self->knobs->op[FAULT_WRITE].permille = 0;
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
	self->knobs->op[FAULT_SYNC].code = EIO;
	self->knobs->op[FAULT_SYNC].permille = 1000;
	EXPECT_EQ(put_all(self, 1000), NR_KEYS);
	check_all(_metadata, self);
	self->knobs->op[FAULT_SYNC].permille = 0;
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
	self->knobs->op[FAULT_READ].code = EIO;
	self->knobs->op[FAULT_READ].permille = 1000;
	(void)!start(self);
	self->knobs->op[FAULT_READ].permille = 0;
	ASSERT_EQ(start(self), 0);
	check_all(_metadata, self);
}

/* ---- every fault at every call ---- */

enum fault_kind { KIND_EIO, KIND_ENOSPC, KIND_SHORT, KIND_DELAY, NR_KINDS };

static const char *const op_names[FAULT_NR_OPS] = {
	[FAULT_READ] = "read",	       [FAULT_WRITE] = "write",
	[FAULT_SYNC] = "fsync",	       [FAULT_SYNC_DIR] = "fsync of the folder",
	[FAULT_RENAME] = "rename",     [FAULT_CREATE] = "create",
	[FAULT_ALLOCATE] = "allocate", [FAULT_TRUNCATE] = "truncate",
	[FAULT_UNLINK] = "unlink",
};

static const char *const kind_names[NR_KINDS] = {"EIO", "ENOSPC", "short", "delay"};

/* Of one cell. */
struct outcome {
	uint64_t nr_faults;
	uint32_t nr_calls, nr_failed;
	int last_code;	    /* of one that failed */
	uint32_t nr_codes;  /* of puts, removes and gets that failed: other than may be */
	uint32_t nr_device; /* that the device or a full file system was to blame for */
	uint32_t nr_mute;   /* of those, that no message named the block of */
};

static _Atomic uint32_t nr_messages; /* that name a block */

static void count_message(void *arg, int level, const char *module, const char *text)
{
	(void)arg;
	(void)level;
	(void)module;
	atomic_fetch_add(&nr_messages, strstr(text, "block ") != NULL);
}

static void set_fault(struct fault_knob *k, enum fault_kind kind, uint32_t permille, bool on)
{
	atomic_store(&k->code, kind == KIND_EIO ? EIO : ENOSPC);
	atomic_store(&k->permille, on && kind <= KIND_ENOSPC ? permille : 0);
	atomic_store(&k->short_permille, on && kind == KIND_SHORT ? 500 : 0);
	atomic_store(&k->delay_us, on && kind == KIND_DELAY ? 1000 : 0);
}

/* What a call may say when the disk does not do what it is told. */
static void note(struct outcome *o, int rc)
{
	o->nr_calls++;
	o->nr_failed += rc != 0;
	o->last_code = rc != 0 ? rc : o->last_code;
	o->nr_device += rc == -EIO || rc == -EDQUOT;
	o->nr_codes += rc != 0 && rc != -EIO && rc != -EDQUOT && rc != -ENOSPC;
}

static void remove_noted(FIXTURE_DATA(faulty) * self, struct outcome *o, uint64_t k)
{
	int rc;

	if (!self->version[k])
		return;
	rc = st_remove(self->s, k);
	note(o, rc);
	if (rc == 0) {
		self->version[k] = 0;
		self->nr_maybe[k] = 0;
	} else {
		self->is_leaving[k] = true;
	}
}

/* All that a store does: puts, removes, segments made, sealed, cleaned and given back, gets. */
static void use(FIXTURE_DATA(faulty) * self, uint64_t from, uint64_t nr_rounds, struct outcome *o)
{
	for (uint64_t round = 0; round < nr_rounds; round++) {
		uint32_t failed = put_all(self, from + 1000 * round);

		o->nr_calls += NR_KEYS;
		o->nr_failed += failed;
		o->last_code = failed != 0 ? self->last_code : o->last_code;
		o->nr_device += self->nr_device;
		for (uint64_t k = round % 7; k < NR_KEYS; k += 7)
			remove_noted(self, o, k);
	}
	(void)!wr_store_set_budget(self->s, (64u << 10) + (4u << 20));
	for (uint64_t k = 0; k < NR_KEYS; k++) {
		int rc = check(self, k);

		if (rc != 1)
			note(o, rc == -ENOENT && self->is_leaving[k] ? 0 : rc);
		else
			o->nr_codes++;
	}
}

/* Opened while it fails, without its manifest: open, or told why not and where. */
static bool reopen(FIXTURE_DATA(faulty) * self)
{
	struct wr_store_opts opts = st_opts(SEGMENTS);
	struct weir_error err = {0};
	char path[400];
	int rc;

	wr_store_close(self->s);
	self->s = NULL;
	snprintf(path, sizeof(path), "%s/MANIFEST", self->below);
	unlink(path);
	rc = wr_store_open(self->dir, &opts, &self->s, &err);
	return rc == 0 || (err.code == rc && err.message[0] != '\0' && err.file[0] != '\0');
}

/* What is there is as it was put; what a remove failed for may be gone. */
static void check_cell(struct __test_metadata *_metadata, FIXTURE_DATA(faulty) * self)
{
	for (uint64_t n = 0; n < NR_KEYS; n++) {
		int rc = check(self, n);

		EXPECT_TRUE(rc == 0 || (rc == -ENOENT && self->is_leaving[n]))
		{
			TH_LOG("key %llu: %d", (unsigned long long)n, rc);
		}
	}
}

/* The disk is well: so is the store, without being opened again, if not at the first call. */
static uint32_t put_when_well(FIXTURE_DATA(faulty) * self, uint64_t from)
{
	uint32_t nr_failed = NR_KEYS;

	(void)!wr_store_set_budget(self->s, st_opts(SEGMENTS).budget_bytes);
	for (uint32_t i = 0; i < 50 && nr_failed; i++) {
		nr_failed = put_all(self, from + i * NR_KEYS);
		if (nr_failed)
			usleep(100000);
	}
	return nr_failed;
}

static struct outcome run_cell(struct __test_metadata *_metadata, FIXTURE_DATA(faulty) * self,
			       enum fault_op op, enum fault_kind kind, uint64_t from)
{
	struct fault_knob *k = &self->knobs->op[op];
	/* What happens once a segment needs more of them. */
	uint32_t permille = op < FAULT_SYNC_DIR ? 350 : 500;
	uint64_t before = atomic_load(&k->nr_faults), nr_rounds = op < FAULT_SYNC_DIR ? 3 : 12;
	struct outcome o = {0};

	EXPECT_EQ(put_all(self, from), 0);
	atomic_store(&nr_messages, 0);
	set_fault(k, kind, permille, true);
	use(self, from + 1000, nr_rounds, &o);
	set_fault(k, kind, 0, false);
	o.nr_mute = o.nr_device > atomic_load(&nr_messages);
	check_cell(_metadata, self);
	EXPECT_EQ(put_when_well(self, from + 15000), 0u);
	check_cell(_metadata, self);
	set_fault(k, kind, permille, true);
	EXPECT_TRUE(reopen(self));
	set_fault(k, kind, 0, false);
	o.nr_faults = atomic_load(&k->nr_faults) - before;
	EXPECT_EQ(start(self), 0);
	check_cell(_metadata, self);
	EXPECT_EQ(put_all(self, from + 19000), 0);
	return o;
}

/* Reads and writes are done in part, nothing else can be. */
static bool is_a_cell(enum fault_op op, enum fault_kind kind)
{
	return kind != KIND_SHORT || op == FAULT_READ || op == FAULT_WRITE;
}

TEST_F_TIMEOUT(faulty, every_fault_at_every_call_is_met_and_loses_nothing, 300)
{
	uint64_t from = 10000;

	NEED_FUSE();
	ASSERT_EQ(weir_log_set(count_message, NULL, WEIR_LOG_WARN), 0);
	for (int op = 0; op < FAULT_NR_OPS; op++) {
		for (int kind = 0; kind < NR_KINDS; kind++) {
			struct outcome o;

			if (!is_a_cell(op, kind))
				continue;
			o = run_cell(_metadata, self, op, kind, from);
			from += 30000;
			TH_LOG("%-20s %-6s %4llu faults, %3u of %3u calls failed (%s)",
			       op_names[op], kind_names[kind], (unsigned long long)o.nr_faults,
			       o.nr_failed, o.nr_calls,
			       o.last_code != 0 ? weir_strerror(o.last_code) : "-");
			EXPECT_GT(o.nr_faults, 0u);
			EXPECT_EQ(o.nr_codes, 0u);
			EXPECT_EQ(o.nr_mute, 0u);
			/* A short write: the kernel's fuse_get_res_by_io() makes it EIO. */
			if (kind == KIND_DELAY || (kind == KIND_SHORT && op == FAULT_READ))
				EXPECT_EQ(o.nr_failed, 0u);
		}
	}
	ASSERT_EQ(weir_log_set(NULL, NULL, WEIR_LOG_WARN), 0);
}

TEST_HARNESS_MAIN
