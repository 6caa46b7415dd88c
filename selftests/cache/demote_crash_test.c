/* SPDX-License-Identifier: MIT */
/*
 * A process that is killed while its cache writes blocks down: the next one finds every block that
 * was flushed and not inserted again, as it was, and no block that is torn. WEIR_TEST_KILLS says
 * how often.
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

#include "cache/rig.h"
#include "tier/store_help.h"

#define NR_KEYS	   64u
#define NR_IN_L2   16u
#define BYTES	   20000u
#define ROOM	   20480u /* what such a block takes */
#define DIR_BUDGET (24u << 20)

struct shared {
	_Atomic uint64_t next;		   /* version */
	_Atomic uint64_t started[NR_KEYS]; /* the last insert that began */
	_Atomic uint64_t kept[NR_KEYS]; /* the last that was there when a flush began and ended */
	_Atomic uint64_t nr_flushes;
};

/* clang-format off */
FIXTURE(killed) {
	struct shared *sh;
	char dir[256];
};
/* clang-format on */

FIXTURE_SETUP(killed)
{
	st_dir(self->dir, sizeof(self->dir), "demote-crash");
	self->sh = mmap(NULL, sizeof(*self->sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	ASSERT_NE(self->sh, MAP_FAILED);
}

FIXTURE_TEARDOWN(killed)
{
	munmap(self->sh, sizeof(*self->sh));
	st_dir_remove(self->dir);
}

static int open_at(struct rig *rig, const char *dir)
{
	struct weir_cache_opts opts = {.l3_dir = dir, .l3_budget = DIR_BUDGET, .l3_no_sync = 1};

	return rig_open(rig, &opts, NR_IN_L2 * ROOM);
}

static void flush(struct rig *rig, struct shared *sh)
{
	uint64_t there[NR_KEYS];

	for (uint32_t n = 0; n < NR_KEYS; n++)
		there[n] = atomic_load(&sh->started[n]);
	if (weir_cache_flush(rig->cache))
		_exit(3);
	for (uint32_t n = 0; n < NR_KEYS; n++)
		atomic_store(&sh->kept[n], there[n]);
	atomic_fetch_add(&sh->nr_flushes, 1);
}

/* More than memory holds, so that blocks go down all the time. */
static void child(const char *dir, struct shared *sh, unsigned int seed)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	if (!rig || open_at(rig, dir))
		_exit(1);
	for (uint32_t i = 1;; i++) {
		uint32_t n = (uint32_t)rand_r(&seed) % NR_KEYS;
		uint64_t version = atomic_fetch_add(&sh->next, 1) + 1;

		atomic_store(&sh->started[n], version);
		if (rig_insert(rig, n, version, BYTES))
			_exit(2);
		if (i % 40 == 0)
			flush(rig, sh);
	}
}

/* Whether one key is as it may be; what is found is what there is from now on. */
static bool is_good(struct rig *rig, struct shared *sh, uint32_t n)
{
	struct weir_cache_item item = rig_item(n, 0, WEIR_CLASS_KV);
	uint64_t version = 0, kept = atomic_load(&sh->kept[n]);
	uint64_t started = atomic_load(&sh->started[n]);
	struct weir_pin p;
	int rc = weir_cache_get(rig->cache, &item, 0, &p);
	bool good;

	if (rc == -ENOENT) {
		/* Inserted again, which took the old one out, and not written since. */
		good = !started || kept != started;
		atomic_store(&sh->started[n], 0);
		atomic_store(&sh->kept[n], 0);
		return good;
	}
	if (rc)
		return false;
	good = p.bytes == BYTES && rig_check(p.data, n, BYTES, &version) && version >= kept &&
	       version <= started;
	weir_cache_put(rig->cache, &p);
	atomic_store(&sh->started[n], version);
	atomic_store(&sh->kept[n], version);
	return good;
}

/* So many more inserts, or a second: some are killed while they open. */
static void wait_for(struct shared *sh, uint64_t nr)
{
	uint64_t from = atomic_load(&sh->next);

	for (uint32_t i = 0; i < 2000 && atomic_load(&sh->next) - from < nr; i++)
		usleep(500);
}

/* The time is for a thousand kills under a sanitizer. */
TEST_F_TIMEOUT(killed, while_blocks_go_down_nothing_kept_is_lost_and_nothing_torn_is_got, 1800)
{
	const char *text = getenv("WEIR_TEST_KILLS");
	int nr = text ? atoi(text) : 30;
	struct rig *rig = calloc(1, sizeof(*rig));
	uint32_t nr_bad = 0;
	unsigned int seed = 7;

	for (int i = 0; i < nr; i++) {
		pid_t pid = fork();
		int status;

		if (!pid)
			child(self->dir, self->sh, (unsigned int)i + 1);
		ASSERT_GT(pid, 0);
		wait_for(self->sh, (unsigned int)rand_r(&seed) % 150);
		usleep((useconds_t)(rand_r(&seed) % 1000));
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		ASSERT_TRUE(WIFSIGNALED(status))
		{
			TH_LOG("round %d: the child ended with %d", i, WEXITSTATUS(status));
		}
		memset(rig, 0, sizeof(*rig));
		ASSERT_EQ(open_at(rig, self->dir), 0);
		for (uint32_t n = 0; n < NR_KEYS; n++)
			nr_bad += !is_good(rig, self->sh, n);
		EXPECT_TRUE(rig_close(rig));
	}
	TH_LOG("%d kills, %llu inserts, %llu flushes", nr, (unsigned long long)self->sh->next,
	       (unsigned long long)self->sh->nr_flushes);
	EXPECT_EQ(nr_bad, 0u);
	EXPECT_GT(atomic_load(&self->sh->next), (uint64_t)nr);
	EXPECT_GT(atomic_load(&self->sh->nr_flushes), (uint64_t)nr / 4);
	free(rig);
}

TEST_HARNESS_MAIN
