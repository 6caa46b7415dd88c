/* SPDX-License-Identifier: MIT */
/*
 * Typed pools and allocations that wait: limits hold, lines are served in order, nobody
 * sleeps while there is room for him, and watchers hear of each crossing once.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weir/pool_type.h>

#include "base/alloc.h"
#include "base/util.h"
#include "fake_machine.h"

#define MIB    (1ull << 20)
#define SECOND 1000000000ull

FIXTURE(types)
{
	struct fake_machine machine;
	struct weir_pool *pool;
	struct weir_types *types;
	_Atomic int nr_faults;
	_Atomic bool stop;
};

FIXTURE_SETUP(types)
{
	struct weir_pool_opts opts = {.size = sizeof(opts), .capacity_bytes = 64 * MIB};
	struct weir_types_opts limits = {
		.size = sizeof(limits),
		.limit_bytes = {[WEIR_TYPE_KV_CACHE] = 8 * MIB, [WEIR_TYPE_GRADIENTS] = 100 * MIB}};

	fake_machine_init(&self->machine, 1);
	ASSERT_EQ(0, wr_pool_open_on(&self->machine.system, &opts, &self->pool, NULL));
	ASSERT_EQ(0, weir_types_open(self->pool, &limits, &self->types, NULL));
	atomic_store(&self->nr_faults, 0);
	atomic_store(&self->stop, false);
}

FIXTURE_TEARDOWN(types)
{
	weir_types_close(self->types);
	weir_pool_close(self->pool);
	EXPECT_EQ(0, wr_test_alloc_live());
}

typedef FIXTURE_DATA(types) fixture;

static struct weir_type_stats stats_of(struct weir_types *types, int type)
{
	struct weir_type_stats s = {0};

	if (weir_types_stats(types, type, &s) != 0)
		s.limit_bytes = 0;
	return s;
}

TEST_F(types, defaults_are_those_of_the_contract)
{
	static const uint64_t mib[WEIR_TYPES] = {8, 256, 128, 100, 256, 1024, 64};
	int i;

	for (i = 0; i < WEIR_TYPES; i++) {
		EXPECT_EQ(mib[i] * MIB, stats_of(self->types, i).limit_bytes);
		EXPECT_STRNE("unknown", weir_types_name(i));
	}
	EXPECT_STREQ("unknown", weir_types_name(WEIR_TYPES));
	EXPECT_STREQ("unknown", weir_types_name(-1));
}

TEST_F(types, a_limit_holds_and_others_are_not_touched_by_it)
{
	struct weir_span kv[3], other;
	struct weir_type_stats s;

	ASSERT_EQ(0, weir_types_alloc(self->types, WEIR_TYPE_KV_CACHE, 4 * MIB, -1, 0, &kv[0]));
	ASSERT_EQ(0, weir_types_alloc(self->types, WEIR_TYPE_KV_CACHE, 4 * MIB - 1, -1, 0, &kv[1]));
	EXPECT_EQ(-ENOSPC, weir_types_alloc(self->types, WEIR_TYPE_KV_CACHE, 1, -1, 0, &kv[2]));
	EXPECT_EQ(-EINVAL,
		  weir_types_alloc(self->types, WEIR_TYPE_KV_CACHE, 9 * MIB, -1, 0, &kv[2]));
	EXPECT_EQ(-EINVAL, weir_types_alloc(self->types, WEIR_TYPES, 1, -1, 0, &kv[2]));
	EXPECT_EQ(-EINVAL, weir_types_alloc(self->types, 0, 0, -1, 0, &kv[2]));
	EXPECT_EQ(-EINVAL, weir_types_alloc(self->types, 0, SIZE_MAX, -1, 0, &kv[2]));
	EXPECT_EQ(-ENODEV, weir_types_alloc(self->types, 3, 1, 7, 0, &kv[2]));
	ASSERT_EQ(0, weir_types_alloc(self->types, WEIR_TYPE_PARAMETERS, 40 * MIB, -1, 0, &other));
	s = stats_of(self->types, WEIR_TYPE_KV_CACHE);
	EXPECT_EQ(8 * MIB, s.used_bytes);
	EXPECT_EQ(2u, s.nr_live);
	EXPECT_EQ(1u, s.nr_refused);
	/* The limit may go down; then nothing is given until enough came back. */
	EXPECT_EQ(0, weir_types_resize(self->types, WEIR_TYPE_KV_CACHE, 5 * MIB));
	EXPECT_EQ(0, weir_types_free(self->types, kv[0]));
	EXPECT_EQ(-ENOSPC,
		  weir_types_alloc(self->types, WEIR_TYPE_KV_CACHE, 2 * MIB, -1, 0, &kv[0]));
	EXPECT_EQ(0, weir_types_resize(self->types, WEIR_TYPE_KV_CACHE, 6 * MIB));
	EXPECT_EQ(0, weir_types_alloc(self->types, WEIR_TYPE_KV_CACHE, 2 * MIB, -1, 0, &kv[0]));
	EXPECT_EQ(0, weir_types_free(self->types, kv[0]));
	EXPECT_EQ(0, weir_types_free(self->types, kv[1]));
	EXPECT_EQ(0, weir_types_free(self->types, other));
	s = stats_of(self->types, WEIR_TYPE_KV_CACHE);
	EXPECT_EQ(0u, s.used_bytes);
	EXPECT_EQ(8 * MIB, s.peak_bytes);
}

TEST_F(types, only_what_was_given_here_is_taken_back)
{
	struct weir_span typed, plain, none = {0};

	ASSERT_EQ(0, weir_types_alloc(self->types, WEIR_TYPE_GENERAL, 10000, -1, 0, &typed));
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 10000, -1, &plain));
	EXPECT_EQ(0, weir_types_free(self->types, none));
	EXPECT_EQ(-EINVAL, weir_types_free(self->types, plain));
	EXPECT_EQ(-EINVAL, weir_types_free(NULL, typed));
	EXPECT_EQ(0, weir_types_free(self->types, typed));
	EXPECT_EQ(-ESTALE, weir_types_free(self->types, typed));
	EXPECT_EQ(0, weir_pool_free(self->pool, plain));
	/* The place of a typed span, now without a type. */
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 10000, -1, &plain));
	EXPECT_EQ(-EINVAL, weir_types_free(self->types, plain));
	EXPECT_EQ(0, weir_pool_free(self->pool, plain));
	EXPECT_EQ(0u, stats_of(self->types, WEIR_TYPE_GENERAL).used_bytes);
}

struct heard {
	struct weir_types *types;
	int nr_high, nr_low;
	uint64_t used_bytes;
};

static void hear(void *arg, int type, bool is_high, uint64_t used_bytes)
{
	struct heard *h = arg;

	h->nr_high += is_high;
	h->nr_low += !is_high;
	/* No lock is held: the watcher may ask. */
	h->used_bytes = stats_of(h->types, type).used_bytes == used_bytes ? used_bytes : UINT64_MAX;
}

TEST_F(types, a_watcher_hears_of_each_crossing_once)
{
	struct heard h = {.types = self->types};
	struct weir_span span[8];
	int i, round;

	EXPECT_EQ(-EINVAL, weir_types_watch(self->types, WEIR_TYPE_KV_CACHE, 1, 2, hear, &h));
	ASSERT_EQ(0, weir_types_watch(self->types, WEIR_TYPE_KV_CACHE, 6 * MIB, 2 * MIB, hear, &h));
	for (round = 1; round <= 3; round++) {
		for (i = 0; i < 8; i++)
			ASSERT_EQ(0, weir_types_alloc(self->types, WEIR_TYPE_KV_CACHE, MIB, -1, 0,
						      &span[i]));
		EXPECT_EQ(round, h.nr_high);
		EXPECT_EQ(6 * MIB, h.used_bytes);
		for (i = 0; i < 8; i++)
			ASSERT_EQ(0, weir_types_free(self->types, span[i]));
		EXPECT_EQ(round, h.nr_low);
		EXPECT_EQ(2 * MIB, h.used_bytes);
	}
	ASSERT_EQ(0, weir_types_watch(self->types, WEIR_TYPE_KV_CACHE, 0, 0, NULL, NULL));
	ASSERT_EQ(0, weir_types_alloc(self->types, WEIR_TYPE_KV_CACHE, 7 * MIB, -1, 0, &span[0]));
	EXPECT_EQ(3, h.nr_high);
	ASSERT_EQ(0, weir_types_free(self->types, span[0]));
}

TEST_F(types, waiting_ends_at_its_time)
{
	struct weir_span all, span;
	uint64_t begin = wr_now_ns();

	ASSERT_EQ(0, weir_types_alloc(self->types, WEIR_TYPE_KV_CACHE, 8 * MIB, -1, 0, &all));
	EXPECT_EQ(-ETIMEDOUT,
		  weir_types_alloc(self->types, WEIR_TYPE_KV_CACHE, 1, -1, SECOND / 50, &span));
	EXPECT_EQ(0, weir_types_free(self->types, all));
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 64 * MIB, -1, &all));
	EXPECT_EQ(-ETIMEDOUT,
		  weir_types_alloc(self->types, WEIR_TYPE_KV_CACHE, 1, -1, SECOND / 50, &span));
	EXPECT_EQ(-ETIMEDOUT, weir_pool_alloc_wait(self->pool, 1, -1, SECOND / 50, &span));
	EXPECT_EQ(-ETIMEDOUT, weir_pool_alloc_wait(self->pool, 1, -1, 0, &span));
	EXPECT_EQ(-EINVAL, weir_pool_alloc_wait(self->pool, 65 * MIB, -1, SECOND, &span));
	EXPECT_LE(begin + 3 * SECOND / 50, wr_now_ns());
	EXPECT_EQ(0, weir_pool_free(self->pool, all));
	EXPECT_EQ(0u, stats_of(self->types, WEIR_TYPE_KV_CACHE).used_bytes);
	/* Nobody waits any more: threads keep blocks again. */
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 4096, -1, &span));
	ASSERT_EQ(0, weir_pool_free(self->pool, span));
	EXPECT_LT(0u, weir_pool_trim(self->pool, 0));
}

struct guest {
	fixture *f;
	pthread_t thread;
	size_t bytes;
	int through; /* 0: the pool; 1: a type */
	int rc;
	struct weir_span span;
	int place; /* in the order of being served */
};

static _Atomic int nr_served;

static void *wait_in_line(void *arg)
{
	struct guest *g = arg;

	if (g->through)
		g->rc = weir_types_alloc(g->f->types, WEIR_TYPE_KV_CACHE, g->bytes, -1,
					 WEIR_POOL_FOREVER, &g->span);
	else
		g->rc = weir_pool_alloc_wait(g->f->pool, g->bytes, -1, WEIR_POOL_FOREVER, &g->span);
	g->place = atomic_fetch_add(&nr_served, 1);
	return NULL;
}

/* Until all guests so far are in the line: nothing else tells for the pool's. */
static void let_them_queue(fixture *f, const struct guest *g, uint64_t nr)
{
	int i;

	for (i = 0; i < 1000; i++) {
		if (g->through && stats_of(f->types, WEIR_TYPE_KV_CACHE).nr_waiting >= nr)
			return;
		if (!g->through && i >= 30)
			return;
		usleep(1000);
	}
}

static int give_back(fixture *f, int through, struct weir_span span)
{
	return through ? weir_types_free(f->types, span) : weir_pool_free(f->pool, span);
}

static void check_line(struct __test_metadata *_metadata, fixture *f, int through)
{
	/* The first wants most: small ones behind it do not go before it. */
	static const size_t mib[] = {6, 1, 1, 2};
	struct guest g[4] = {{0}};
	struct weir_span held[2], span;
	size_t i;

	atomic_store(&nr_served, 0);
	if (through) {
		ASSERT_EQ(0,
			  weir_types_alloc(f->types, WEIR_TYPE_KV_CACHE, 4 * MIB, -1, 0, &held[0]));
		ASSERT_EQ(0,
			  weir_types_alloc(f->types, WEIR_TYPE_KV_CACHE, 4 * MIB, -1, 0, &held[1]));
	} else {
		ASSERT_EQ(0, weir_pool_alloc(f->pool, 60 * MIB, -1, &held[0]));
		ASSERT_EQ(0, weir_pool_alloc(f->pool, 4 * MIB, -1, &held[1]));
	}
	for (i = 0; i < 4; i++) {
		g[i] = (struct guest){.f = f, .bytes = mib[i] * MIB, .through = through};
		ASSERT_EQ(0, pthread_create(&g[i].thread, NULL, wait_in_line, &g[i]));
		let_them_queue(f, &g[i], i + 1);
	}
	EXPECT_EQ(0, give_back(f, through, held[1]));
	usleep(20000);
	EXPECT_EQ(0, atomic_load(&nr_served)); /* 4 MiB are there, 6 are wanted first */
	if (through) {
		EXPECT_EQ(-ENOSPC, weir_types_alloc(f->types, WEIR_TYPE_KV_CACHE, 1, -1, 0, &span));
		EXPECT_EQ(0, weir_types_free(f->types, held[0]));
	} else {
		EXPECT_EQ(-ETIMEDOUT, weir_pool_alloc_wait(f->pool, 1, -1, SECOND / 100, &span));
		EXPECT_EQ(0, weir_pool_free(f->pool, held[0]));
	}
	/* The first three fit together; the fourth when one of them goes. */
	for (i = 0; i < 3; i++)
		pthread_join(g[i].thread, NULL);
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, g[i].rc);
		EXPECT_EQ(0, give_back(f, through, g[i].span));
	}
	pthread_join(g[3].thread, NULL);
	EXPECT_EQ(0, g[3].rc);
	EXPECT_EQ(0, give_back(f, through, g[3].span));
	EXPECT_EQ(0u, stats_of(f->types, WEIR_TYPE_KV_CACHE).used_bytes);
}

TEST_F(types, who_waits_for_a_limit_is_served_in_order)
{
	check_line(_metadata, self, 1);
}

TEST_F(types, who_waits_for_room_is_served_in_order)
{
	check_line(_metadata, self, 0);
}

static void *come_and_go(void *arg)
{
	fixture *f = arg;
	struct weir_span span;
	int i;

	for (i = 0; i < 400; i++) {
		size_t bytes = (size_t)(1 + (i * 7) % 9) * MIB / 2;

		if (weir_types_alloc(f->types, i % 2 ? WEIR_TYPE_KV_CACHE : WEIR_TYPE_GENERAL,
				     bytes, -1, WEIR_POOL_FOREVER, &span) != 0) {
			atomic_fetch_add(&f->nr_faults, 1);
			continue;
		}
		memset(span.base, i, 64);
		if (weir_types_free(f->types, span) != 0)
			atomic_fetch_add(&f->nr_faults, 1);
	}
	return NULL;
}

TEST_F(types, nobody_sleeps_through_a_free)
{
	struct weir_pool_stats s;
	pthread_t thread[8];
	struct weir_span held;
	int i;

	/* Room for two or three at a time, so that all lines are used. */
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 54 * MIB, -1, &held));
	for (i = 0; i < 8; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, come_and_go, self));
	for (i = 0; i < 8; i++)
		pthread_join(thread[i], NULL);
	EXPECT_EQ(0, weir_pool_free(self->pool, held));
	EXPECT_EQ(0, atomic_load(&self->nr_faults));
	weir_pool_trim(self->pool, 0);
	weir_pool_stats(self->pool, &s);
	EXPECT_EQ(64 * MIB, s.largest_free_bytes);
	EXPECT_EQ(0u, stats_of(self->types, WEIR_TYPE_KV_CACHE).used_bytes);
	EXPECT_EQ(0u, stats_of(self->types, WEIR_TYPE_GENERAL).nr_live);
}

static void *take_and_give(void *arg)
{
	fixture *f = arg;
	struct weir_span span;

	while (!atomic_load(&f->stop)) {
		if (weir_types_alloc(f->types, WEIR_TYPE_GENERAL, 4096, WEIR_NODE_ANY, 0, &span))
			atomic_fetch_add(&f->nr_faults, 1);
		else if (weir_types_free(f->types, span) != 0)
			atomic_fetch_add(&f->nr_faults, 1);
	}
	return NULL;
}

static int in_child(fixture *f, struct weir_span mine)
{
	struct weir_type_stats s;
	struct weir_span span;

	alarm(20); /* for a lock of a thread that is not here */
	return (weir_types_alloc(f->types, WEIR_TYPE_GENERAL, 4096, WEIR_NODE_ANY, 0, &span) !=
		-EINVAL) |
	       (weir_types_free(f->types, mine) != -EINVAL) << 1 |
	       (weir_types_stats(f->types, WEIR_TYPE_GENERAL, &s) != -EINVAL) << 2 |
	       (weir_types_resize(f->types, WEIR_TYPE_GENERAL, MIB) != -EINVAL) << 3 |
	       (weir_types_watch(f->types, WEIR_TYPE_GENERAL, 2, 1, NULL, NULL) != -EINVAL) << 4;
}

TEST_F(types, a_fork_child_gets_nothing_and_waits_for_nobody)
{
	struct weir_span mine;
	pthread_t thread;
	int status, i;
	pid_t pid;

	ASSERT_EQ(0,
		  weir_types_alloc(self->types, WEIR_TYPE_GENERAL, 4096, WEIR_NODE_ANY, 0, &mine));
	ASSERT_EQ(0, pthread_create(&thread, NULL, take_and_give, self));
	for (i = 0; i < 50; i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (pid == 0)
			_exit(in_child(self, mine));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
	}
	atomic_store(&self->stop, true);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, atomic_load(&self->nr_faults));
	EXPECT_EQ(1u, stats_of(self->types, WEIR_TYPE_GENERAL).nr_live);
	EXPECT_EQ(0, weir_types_free(self->types, mine));
}

TEST_F(types, opening_fails_cleanly)
{
	struct weir_types_opts big = {.size = sizeof(big) + 8};
	struct weir_types *types = NULL;
	struct weir_error err;
	uint64_t n;
	int rc;

	EXPECT_EQ(-EINVAL, weir_types_open(NULL, NULL, &types, &err));
	big.size = 4;
	EXPECT_EQ(-EINVAL, weir_types_open(self->pool, &big, &types, &err));
	for (n = 1;; n++) {
		int64_t live = wr_test_alloc_live();

		wr_test_alloc_fail_at(n);
		rc = weir_types_open(self->pool, NULL, &types, NULL);
		if (!wr_test_alloc_failed())
			break;
		EXPECT_EQ(-ENOMEM, rc);
		EXPECT_EQ(live, wr_test_alloc_live());
	}
	wr_test_alloc_fail_at(0);
	ASSERT_EQ(0, rc);
	weir_types_close(types);
	weir_types_close(NULL);
}

TEST_HARNESS_MAIN
