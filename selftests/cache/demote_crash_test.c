/* SPDX-License-Identifier: MIT */
/*
 * A process that is killed while its cache writes blocks down: the next one finds every block that
 * was flushed and neither inserted again nor removed, as it was; no older one than was inserted
 * last, none that was removed, and none that is torn. Every other child kills itself at a step of
 * the store's work. WEIR_TEST_KILLS says how many; 50 otherwise.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "cache/rig.h"
#include "tier/kill_step.h"
#include "tier/store_help.h"

#define NR_KEYS	   80u
#define NR_IN_L2   16u
#define BYTES	   60000u
#define ROOM	   61440u		       /* what such a block takes */
#define DIR_BUDGET ((16u << 20) + (64u << 10)) /* four segments: they are cleaned all the time */

struct shared {
	_Atomic uint64_t next;		    /* version */
	_Atomic uint64_t started[NR_KEYS];  /* the last insert that began */
	_Atomic uint64_t inserted[NR_KEYS]; /* the last that ended */
	_Atomic uint64_t kept[NR_KEYS];	  /* the last that was there when a flush began and ended */
	_Atomic bool is_leaving[NR_KEYS]; /* its remove has begun, and no insert since */
	_Atomic bool is_gone[NR_KEYS];	  /* and has ended */
	_Atomic uint64_t nr_flushes, nr_removes;
};

/* clang-format off */
FIXTURE(killed) {
	struct shared *sh;
	struct kill_steps *steps;
	char dir[256];
};
/* clang-format on */

FIXTURE_SETUP(killed)
{
	st_dir(self->dir, sizeof(self->dir), "demote-crash");
	self->sh = mmap(NULL, sizeof(*self->sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	self->steps = kill_steps_alloc();
	ASSERT_NE(self->sh, MAP_FAILED);
	ASSERT_NE(self->steps, NULL);
}

FIXTURE_TEARDOWN(killed)
{
	munmap(self->sh, sizeof(*self->sh));
	kill_steps_free(self->steps);
	st_dir_remove(self->dir);
	EXPECT_EQ(wr_test_alloc_live(), 0);
}

enum verdict { GOOD, LOST, CAME_BACK, TORN, NR_VERDICTS };

static int open_at(struct rig *rig, const char *dir, uint32_t no_sync)
{
	struct weir_cache_opts opts = {
		.l3_dir = dir, .l3_budget = DIR_BUDGET, .l3_no_sync = no_sync};

	return rig_open(rig, &opts, NR_IN_L2 * ROOM);
}

static void flush(struct rig *rig, struct shared *sh)
{
	uint64_t there[NR_KEYS];

	for (uint32_t n = 0; n < NR_KEYS; n++)
		there[n] = sh->is_leaving[n] ? 0 : atomic_load(&sh->started[n]);
	if (weir_cache_flush(rig->cache))
		_exit(3);
	for (uint32_t n = 0; n < NR_KEYS; n++)
		atomic_store(&sh->kept[n], there[n]);
	atomic_fetch_add(&sh->nr_flushes, 1);
}

static void insert(struct rig *rig, struct shared *sh, uint32_t n)
{
	uint64_t version = atomic_fetch_add(&sh->next, 1) + 1;

	atomic_store(&sh->started[n], version);
	atomic_store(&sh->is_gone[n], false);
	atomic_store(&sh->is_leaving[n], false);
	if (rig_insert(rig, n, version, BYTES))
		_exit(2);
	atomic_store(&sh->inserted[n], version);
}

static void take_out(struct rig *rig, struct shared *sh, uint32_t n)
{
	int rc;

	atomic_store(&sh->is_leaving[n], true);
	rc = weir_cache_remove(rig->cache, rig_key(n));
	if (rc && rc != -ENOENT)
		_exit(4);
	atomic_store(&sh->is_gone[n], true);
	atomic_fetch_add(&sh->nr_removes, 1);
}

/* More than memory holds, so that blocks go down all the time. */
static void child(const char *dir, struct shared *sh, struct kill_steps *steps, unsigned int seed)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	bool needs_sync =
		steps->aim == WR_STORE_STEP_PUT_SYNCED || steps->aim == WR_STORE_STEP_REMOVE_SYNCED;
	bool may_sync = steps->aim == WR_STORE_NR_STEPS && rand_r(&seed) % 4 == 0;

	kill_steps_arm(steps);
	if (!rig || open_at(rig, dir, !needs_sync && !may_sync))
		_exit(1);
	for (uint32_t i = 1;; i++) {
		uint32_t n = (uint32_t)rand_r(&seed) % NR_KEYS;

		if (rand_r(&seed) % 8)
			insert(rig, sh, n);
		else
			take_out(rig, sh, n);
		if (i % 40 == 0)
			flush(rig, sh);
	}
}

/* What is found is what there is from now on. */
static void settle(struct shared *sh, uint32_t n, uint64_t version)
{
	atomic_store(&sh->started[n], version);
	atomic_store(&sh->inserted[n], version);
	atomic_store(&sh->kept[n], version);
	atomic_store(&sh->is_leaving[n], false);
	atomic_store(&sh->is_gone[n], false);
}

/* Whether one key is as it may be. */
static enum verdict judge(struct rig *rig, struct shared *sh, uint32_t n)
{
	struct weir_cache_item item = rig_item(n, 0, WEIR_CLASS_KV);
	uint64_t version = 0, kept = sh->kept[n], started = sh->started[n];
	uint64_t inserted = sh->inserted[n];
	bool is_gone = sh->is_gone[n], is_leaving = sh->is_leaving[n];
	struct weir_pin p;
	int rc = weir_cache_get(rig->cache, &item, 0, &p);

	if (rc == -ENOENT) {
		settle(sh, n, 0);
		/* Inserted again, which took the old one out, and not written since; or removed. */
		return !started || kept != started || is_leaving ? GOOD : LOST;
	}
	if (rc)
		return TORN;
	rc = p.bytes == BYTES && rig_check(p.data, n, BYTES, &version) ? 0 : -EBADMSG;
	weir_cache_put(rig->cache, &p);
	settle(sh, n, version);
	if (rc)
		return TORN;
	return is_gone || version < kept || version < inserted || version > started ? CAME_BACK
										    : GOOD;
}

/* The time is for a thousand kills under a sanitizer. */
TEST_F_TIMEOUT(killed, while_blocks_go_down_nothing_kept_is_lost_and_nothing_torn_is_got, 1800)
{
	const char *text = getenv("WEIR_TEST_KILLS");
	uint32_t nr = text ? (uint32_t)atoi(text) : 50;
	struct rig *rig = calloc(1, sizeof(*rig));
	uint32_t seen[NR_VERDICTS] = {0};
	unsigned int seed = 7;

	for (uint32_t i = 0; i < nr; i++) {
		uint64_t us = (uint64_t)rand_r(&seed) % 150000;
		pid_t pid;
		int status;

		kill_steps_aim(self->steps, i, self->dir, &seed);
		pid = fork();
		if (!pid)
			child(self->dir, self->sh, self->steps, i + 1);
		ASSERT_GT(pid, 0);
		status = kill_steps_end(self->steps, pid, us);
		ASSERT_TRUE(WIFSIGNALED(status))
		{
			TH_LOG("round %u: the child ended with %d", i, WEXITSTATUS(status));
		}
		memset(rig, 0, sizeof(*rig));
		ASSERT_EQ(open_at(rig, self->dir, 1), 0);
		for (uint32_t n = 0; n < NR_KEYS; n++)
			seen[judge(rig, self->sh, n)]++;
		EXPECT_TRUE(rig_close(rig));
		EXPECT_LE(st_dir_bytes(self->dir), DIR_BUDGET);
	}
	(void)kill_steps_print(self->steps);
	TH_LOG("%u kills, %llu inserts, %llu removes, %llu flushes; %u lost, %u came back, %u torn",
	       nr, (unsigned long long)self->sh->next, (unsigned long long)self->sh->nr_removes,
	       (unsigned long long)self->sh->nr_flushes, seen[LOST], seen[CAME_BACK], seen[TORN]);
	EXPECT_EQ(seen[LOST], 0u);
	EXPECT_EQ(seen[CAME_BACK], 0u);
	EXPECT_EQ(seen[TORN], 0u);
	EXPECT_GT(seen[GOOD], 0u);
	EXPECT_GT(atomic_load(&self->sh->next), (uint64_t)nr);
	EXPECT_GT(atomic_load(&self->sh->nr_flushes), (uint64_t)nr / 4);
	free(rig);
}

TEST_HARNESS_MAIN
