/* SPDX-License-Identifier: MIT */
/*
 * kill -9 at any moment. A child puts, replaces and removes with many under way, and tells the
 * parent of each call it makes and of each acknowledgement through shared memory. After it was
 * killed the store is opened: what was acknowledged last for a key is there, or what was under way
 * behind it, never anything else.
 *
 * WEIR_TEST_KILLS sets how often; 60 otherwise.
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

#include "tier/store_help.h"

#define KEYS 48u
#define MOST (80u << 10)

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
	} else if (result != -ENOENT) {
		abort();
	}
	free(c->mem);
	atomic_fetch_add(c->nr_free, 1);
	free(c);
}

static int one_call(struct wr_store *s, struct shared *sh, unsigned *seed, _Atomic int *nr_free)
{
	struct call *c = calloc(1, sizeof(*c));
	bool put = rand_r(seed) % 4 != 0;

	*c = (struct call){.sh = sh, .n = (uint64_t)rand_r(seed) % KEYS, .nr_free = nr_free};
	/* One under way for each key: then there are two answers at most. */
	if (atomic_load(&sh->asked[c->n]) != atomic_load(&sh->acked[c->n])) {
		free(c);
		return 0;
	}
	c->version = atomic_fetch_add(&sh->next, 1) | (put ? 0 : REMOVED);
	if (put) {
		struct wr_store_put_req req = {.key = st_key(c->n), .done = ended, .arg = c};

		req.bytes = st_bytes(c->n, c->version, MOST);
		req.buf = c->mem = st_mem(req.bytes);
		st_fill(c->mem, req.bytes, c->n, c->version);
		atomic_store(&sh->asked[c->n], c->version);
		atomic_fetch_sub(nr_free, 1);
		return wr_store_put(s, &req);
	}
	if (wr_store_find(s, st_key(c->n), NULL) != 0) {
		free(c);
		return 0;
	}
	atomic_store(&sh->asked[c->n], c->version);
	atomic_fetch_sub(nr_free, 1);
	return wr_store_remove(s, st_key(c->n), ended, c);
}

static _Noreturn void child(const char *dir, struct shared *sh, unsigned seed)
{
	struct wr_store_opts opts = st_opts(12);
	_Atomic int nr_free = 12;
	struct wr_store *s;

	opts.sync = seed % 2 ? WR_STORE_SYNC_NONE : WR_STORE_SYNC_DATA;
	if (wr_store_open(dir, &opts, &s, NULL) != 0)
		(_exit)(9);
	for (;;) {
		int rc;

		while (atomic_load(&nr_free) == 0)
			usleep(50);
		rc = one_call(s, sh, &seed, &nr_free);
		if (rc == -ENOSPC)
			(_exit)(8);
		if (rc != 0)
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
};

FIXTURE_SETUP(crash)
{
	st_dir(self->dir, sizeof(self->dir), "crash");
}

FIXTURE_TEARDOWN(crash)
{
	st_dir_remove(self->dir);
}

/* The time is for a thousand kills under a sanitizer. */
TEST_F_TIMEOUT(crash, nothing_acknowledged_is_lost_and_nothing_torn_is_served_after_a_kill, 1800)
{
	const char *text = getenv("WEIR_TEST_KILLS");
	int nr = text != NULL ? atoi(text) : 60;
	struct wr_store_opts opts = st_opts(12);
	struct shared *sh =
		mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct tally tally = {0};
	uint64_t nr_torn = 0;
	unsigned seed = 11;

	ASSERT_NE(sh, MAP_FAILED);
	sh->next = 1;
	for (int i = 0; i < nr; i++) {
		struct wr_store_stats stats;
		struct weir_error err;
		struct wr_store *s;
		pid_t pid = fork();
		int status;

		if (pid == 0)
			child(self->dir, sh, (unsigned)i + 1);
		ASSERT_GT(pid, 0);
		/* Some die while opening, some while cleaning. */
		usleep((useconds_t)(rand_r(&seed) % 60000));
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		ASSERT_TRUE(WIFSIGNALED(status))
		{
			TH_LOG("round %d: the child ended with %d", i, WEXITSTATUS(status));
		}
		ASSERT_EQ(WTERMSIG(status), SIGKILL);
		ASSERT_EQ(wr_store_open(self->dir, &opts, &s, &err), 0)
		{
			TH_LOG("%s: %s", err.file, err.message);
		}
		check(s, sh, &tally);
		wr_store_stats(s, &stats);
		nr_torn += stats.nr_torn;
		EXPECT_EQ(stats.nr_bad_segments, 0);
		EXPECT_LE(st_dir_bytes(self->dir), stats.budget_bytes);
		wr_store_close(s);
	}
	TH_LOG("%d kills, %llu acknowledged, %llu torn blocks found and left out", nr,
	       (unsigned long long)sh->nr_acked, (unsigned long long)nr_torn);
	EXPECT_EQ(tally.nr_lost, 0);
	EXPECT_EQ(tally.nr_torn, 0);
	EXPECT_GT(atomic_load(&sh->nr_acked), (uint64_t)nr);
	munmap(sh, sizeof(*sh));
}

TEST_HARNESS_MAIN
