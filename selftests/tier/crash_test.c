/* SPDX-License-Identifier: MIT */
/*
 * kill -9 at any moment. A child puts, replaces and removes with many under way, and tells the
 * parent of each call it makes and of each acknowledgement through shared memory. After it was
 * killed the store is opened: what was acknowledged last for a key is there, or what was under way
 * behind it, never anything else: no older block, none that was removed, none that is torn.
 *
 * Every other child kills itself at a step of the store's work, the others are killed at any time.
 * WEIR_TEST_KILLS sets how often; 80 otherwise.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "tier/kill_step.h"
#include "tier/store_help.h"

#define SEGMENTS 6u /* few, so that they are cleaned all the time */
#define KEYS	 48u
#define MOST	 (80u << 10)

/* Versions: 0 is "not there"; a remove has a number too, of the high bit. */
#define REMOVED 0x80000000u

struct shared {
	_Atomic uint32_t asked[KEYS]; /* the last call that was made */
	_Atomic uint32_t acked[KEYS]; /* the last one that was acknowledged */
	_Atomic uint32_t next;
	_Atomic uint64_t nr_acked;
};

struct call {
	struct shared *sh;
	uint64_t n;
	uint32_t version;
	void *mem;
	_Atomic int *nr_free;
};

static void ended(void *arg, int result)
{
	struct call *c = arg;

	if (result == 0) {
		atomic_store(&c->sh->acked[c->n], c->version);
		atomic_fetch_add(&c->sh->nr_acked, 1);
	} else if (result != -ENOENT && result != -ENOSPC) {
		abort();
	}
	free(c->mem);
	atomic_fetch_add(c->nr_free, 1);
	free(c);
}

/* 0 when it was made; otherwise nothing of it is under way. */
static int one_call(struct wr_store *s, struct shared *sh, unsigned *seed, _Atomic int *nr_free)
{
	struct call *c = calloc(1, sizeof(*c));
	bool put = rand_r(seed) % 4 != 0;
	int rc;

	*c = (struct call){.sh = sh, .n = (uint64_t)rand_r(seed) % KEYS, .nr_free = nr_free};
	/* One under way for each key: then there are two answers at most. */
	if (atomic_load(&sh->asked[c->n]) != atomic_load(&sh->acked[c->n])) {
		free(c);
		return 0;
	}
	c->version = atomic_fetch_add(&sh->next, 1) | (put ? 0 : REMOVED);
	if (!put && wr_store_find(s, st_key(c->n), NULL) != 0) {
		free(c);
		return 0;
	}
	atomic_store(&sh->asked[c->n], c->version);
	atomic_fetch_sub(nr_free, 1);
	if (put) {
		struct wr_store_put_req req = {.key = st_key(c->n), .done = ended, .arg = c};

		req.bytes = st_bytes(c->n, c->version, MOST);
		req.buf = c->mem = st_mem(req.bytes);
		st_fill(c->mem, req.bytes, c->n, c->version);
		rc = wr_store_put(s, &req);
	} else {
		rc = wr_store_remove(s, st_key(c->n), ended, c);
	}
	if (rc != 0) {
		atomic_store(&sh->asked[c->n], atomic_load(&sh->acked[c->n]));
		atomic_fetch_add(nr_free, 1);
		free(c->mem);
		free(c);
	}
	return rc;
}

static _Noreturn void child(const char *dir, struct shared *sh, struct kill_steps *steps,
			    unsigned seed)
{
	struct wr_store_opts opts = st_opts(SEGMENTS);
	_Atomic int nr_free = 12;
	struct wr_store *s;

	opts.sync = rand_r(&seed) % 2 ? WR_STORE_SYNC_NONE : WR_STORE_SYNC_DATA;
	if (steps->aim == WR_STORE_STEP_PUT_SYNCED || steps->aim == WR_STORE_STEP_REMOVE_SYNCED)
		opts.sync = WR_STORE_SYNC_DATA;
	kill_steps_arm(steps);
	if (wr_store_open(dir, &opts, &s, NULL) != 0)
		(_exit)(9);
	for (;;) {
		int rc;

		while (atomic_load(&nr_free) == 0)
			usleep(50);
		rc = one_call(s, sh, &seed, &nr_free);
		if (rc == -ENOSPC)
			usleep(50);
		else if (rc != 0)
			(_exit)(7);
	}
}

/* 0: the key is as @version says; 1: it is not; or what is wrong with it. */
static int compare(struct wr_store *s, uint64_t n, uint32_t version)
{
	int rc;

	if (version == 0 || (version & REMOVED) != 0) {
		rc = wr_store_find(s, st_key(n), NULL);
		return rc == -ENOENT ? 0 : rc == 0 ? 1 : rc;
	}
	rc = st_get(s, n, version, st_bytes(n, version, MOST));
	return rc == -ENOENT ? 1 : rc;
}

struct tally {
	int nr_lost, nr_torn;
};

static void check(struct wr_store *s, struct shared *sh, struct tally *t)
{
	for (uint64_t n = 0; n < KEYS; n++) {
		uint32_t acked = sh->acked[n], asked = sh->asked[n];
		int rc = compare(s, n, acked);

		if (rc == 1 && asked != acked) {
			rc = compare(s, n, asked);
			acked = asked;
		}
		if (rc == 1)
			t->nr_lost++;
		else if (rc != 0)
			t->nr_torn++;
		/* From here on this is what there is. */
		sh->acked[n] = sh->asked[n] = acked;
	}
}

FIXTURE(crash)
{
	char dir[256];
	struct shared *sh;
	struct kill_steps *steps;
};

FIXTURE_SETUP(crash)
{
	st_dir(self->dir, sizeof(self->dir), "crash");
	self->sh = mmap(NULL, sizeof(*self->sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	self->steps = kill_steps_alloc();
	ASSERT_NE(self->sh, MAP_FAILED);
	ASSERT_NE(self->steps, NULL);
	self->sh->next = 1;
}

FIXTURE_TEARDOWN(crash)
{
	munmap(self->sh, sizeof(*self->sh));
	kill_steps_free(self->steps);
	st_dir_remove(self->dir);
	EXPECT_EQ(wr_test_alloc_live(), 0);
	EXPECT_EQ(st_nr_fds_left(), 0);
}

/* One child's life and death. Its wait status. */
static int run_child(FIXTURE_DATA(crash) * self, uint32_t round, unsigned int *seed)
{
	uint64_t us = (uint64_t)rand_r(seed) % 60000; /* some die while opening */
	pid_t pid;

	kill_steps_aim(self->steps, round, self->dir, seed);
	pid = fork();
	if (pid == 0)
		child(self->dir, self->sh, self->steps, round + 1);
	return pid < 0 ? -1 : kill_steps_end(self->steps, pid, us);
}

/* The time is for a thousand kills under a sanitizer. */
TEST_F_TIMEOUT(crash, nothing_acknowledged_is_lost_and_nothing_torn_is_served_after_a_kill, 1800)
{
	const char *text = getenv("WEIR_TEST_KILLS");
	uint32_t nr = text != NULL ? (uint32_t)atoi(text) : 80, nr_never;
	struct wr_store_opts opts = st_opts(SEGMENTS);
	struct tally tally = {0};
	uint64_t nr_torn = 0;
	unsigned seed = 11;

	for (uint32_t i = 0; i < nr; i++) {
		struct wr_store_stats stats;
		struct weir_error err;
		struct wr_store *s;
		int status = run_child(self, i, &seed);

		ASSERT_TRUE(WIFSIGNALED(status))
		{
			TH_LOG("round %u: the child ended with %d", i, WEXITSTATUS(status));
		}
		ASSERT_EQ(WTERMSIG(status), SIGKILL);
		ASSERT_EQ(wr_store_open(self->dir, &opts, &s, &err), 0)
		{
			TH_LOG("%s: %s", err.file, err.message);
		}
		check(s, self->sh, &tally);
		wr_store_stats(s, &stats);
		nr_torn += stats.nr_torn;
		EXPECT_EQ(stats.nr_bad_segments, 0);
		EXPECT_LE(st_dir_bytes(self->dir), stats.budget_bytes);
		wr_store_close(s);
	}
	nr_never = kill_steps_print(self->steps);
	TH_LOG("%u kills, %llu acknowledged, %llu torn blocks found and left out; lost %d, torn %d",
	       nr, (unsigned long long)self->sh->nr_acked, (unsigned long long)nr_torn,
	       tally.nr_lost, tally.nr_torn);
	EXPECT_EQ(tally.nr_lost, 0);
	EXPECT_EQ(tally.nr_torn, 0);
	EXPECT_GT(atomic_load(&self->sh->nr_acked), (uint64_t)nr);
	/* Enough for each step to have had several turns. */
	if (nr >= 8 * WR_STORE_NR_STEPS)
		EXPECT_EQ(nr_never, 0);
}

TEST_HARNESS_MAIN
