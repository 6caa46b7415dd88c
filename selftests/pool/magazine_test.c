/* SPDX-License-Identifier: MIT */
/*
 * What threads keep ready: it is found when memory runs out, it comes back when they end,
 * frees by others find their way home, and a span freed by two at once is given out once.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weir/pool_malloc.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/sanitizer.h"
#include "base/util.h"
#include "fake_machine.h"
#include "pool/gate.h"
#include "pool/state.h"

#define MIB (1ull << 20)

static struct weir_pool_stats stats_of(struct weir_pool *pool)
{
	struct weir_pool_stats s;

	weir_pool_stats(pool, &s);
	return s;
}

static bool sums_hold(const struct weir_pool_stats *s)
{
	return s->free_bytes + s->used_bytes + s->cached_bytes == s->capacity_bytes &&
	       s->nr_allocs - s->nr_frees == s->nr_live && s->requested_bytes <= s->used_bytes;
}

FIXTURE(magazines)
{
	struct fake_machine machine;
	struct weir_pool *pool;
	pthread_barrier_t barrier;
	struct weir_span spans[256];
	_Atomic int nr_faults;
};

FIXTURE_VARIANT(magazines)
{
	int nr_nodes;
};

FIXTURE_VARIANT_ADD(magazines, on_one_node){
	.nr_nodes = 1,
};
FIXTURE_VARIANT_ADD(magazines, on_two_nodes){
	.nr_nodes = 2,
};

FIXTURE_SETUP(magazines)
{
	struct weir_pool_opts opts = {.size = sizeof(opts), .capacity_bytes = 64 * MIB};

	fake_machine_init(&self->machine, variant->nr_nodes);
	ASSERT_EQ(0, wr_pool_open_on(&self->machine.system, &opts, &self->pool, NULL));
	pthread_barrier_init(&self->barrier, NULL, 2);
	atomic_store(&self->nr_faults, 0);
}

FIXTURE_TEARDOWN(magazines)
{
	pthread_barrier_destroy(&self->barrier);
	weir_pool_close(self->pool);
	EXPECT_EQ(0, wr_test_alloc_live());
	EXPECT_EQ(0, fake_machine_nr_mapped(&self->machine));
}

typedef FIXTURE_DATA(magazines) fixture;

static void *run(fixture *f, void *(*work)(void *))
{
	pthread_t thread;
	void *ret = NULL;

	if (pthread_create(&thread, NULL, work, f) == 0)
		pthread_join(thread, &ret);
	else
		atomic_fetch_add(&f->nr_faults, 1);
	return ret;
}

static void expect(fixture *f, bool holds)
{
	if (!holds)
		atomic_fetch_add(&f->nr_faults, 1);
}

TEST_F(magazines, trimming_leaves_what_it_is_told_to)
{
	struct weir_pool_stats s;
	size_t bytes;

	for (bytes = 4096; bytes <= 64 * 1024; bytes *= 2) {
		ASSERT_EQ(0, weir_pool_alloc(self->pool, bytes, 0, &self->spans[0]));
		ASSERT_EQ(0, weir_pool_free(self->pool, self->spans[0]));
	}
	s = stats_of(self->pool);
	EXPECT_TRUE(sums_hold(&s));
	EXPECT_LT(200 * 1024u, s.cached_bytes);
	weir_pool_trim(self->pool, 100 * 1024);
	s = stats_of(self->pool);
	EXPECT_TRUE(sums_hold(&s));
	EXPECT_GE(100 * 1024u, s.cached_bytes);
	EXPECT_LT(0u, s.cached_bytes);
	bytes = s.cached_bytes;
	EXPECT_EQ(bytes, weir_pool_trim(self->pool, 0));
	EXPECT_EQ(0u, weir_pool_trim(self->pool, 0));
	s = stats_of(self->pool);
	EXPECT_EQ(64 * MIB, s.free_bytes);
}

/* Fill this thread's magazines, tell the other, and wait until it has had its way. */
static void *keep_some(void *arg)
{
	fixture *f = arg;
	struct weir_span span[8];
	size_t i;

	for (i = 0; i < 8; i++)
		expect(f, weir_pool_alloc(f->pool, (size_t)4096 << (i % 4), WEIR_NODE_ANY,
					  &span[i]) == 0);
	for (i = 0; i < 8; i++)
		expect(f, weir_pool_free(f->pool, span[i]) == 0);
	pthread_barrier_wait(&f->barrier);
	pthread_barrier_wait(&f->barrier);
	/* And its thread goes on as if nothing had been taken. */
	expect(f, weir_pool_alloc(f->pool, 4096, WEIR_NODE_ANY, &span[0]) == 0);
	expect(f, weir_pool_free(f->pool, span[0]) == 0);
	return NULL;
}

TEST_F(magazines, nothing_fails_while_another_thread_keeps_the_blocks)
{
	size_t bytes = 64 * MIB / (unsigned)variant->nr_nodes;
	struct weir_span all;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, keep_some, self));
	pthread_barrier_wait(&self->barrier);
	EXPECT_LT(0u, stats_of(self->pool).cached_bytes);
	/* Each node's whole memory, of which the other thread has pieces. */
	EXPECT_EQ(0, weir_pool_alloc(self->pool, bytes, 0, &all));
	EXPECT_EQ(0, weir_pool_free(self->pool, all));
	pthread_barrier_wait(&self->barrier);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, atomic_load(&self->nr_faults));
}

static void *use_and_end(void *arg)
{
	fixture *f = arg;
	struct weir_span span;

	expect(f, weir_pool_alloc(f->pool, 4096, WEIR_NODE_ANY, &span) == 0);
	expect(f, weir_pool_free(f->pool, span) == 0);
	return NULL;
}

TEST_F(magazines, a_thread_that_ends_gives_everything_back)
{
	struct weir_pool_stats first, s;
	int i;

	run(self, use_and_end);
	first = stats_of(self->pool);
	EXPECT_EQ(64 * MIB, first.free_bytes);
	for (i = 0; i < 300; i++)
		run(self, use_and_end);
	s = stats_of(self->pool);
	EXPECT_EQ(64 * MIB, s.free_bytes);
	EXPECT_EQ(301u, s.nr_allocs);
	EXPECT_EQ(301u, s.nr_frees);
	/* The next thread takes over what the last one left. */
	EXPECT_EQ(first.metadata_bytes, s.metadata_bytes);
	EXPECT_EQ(0, atomic_load(&self->nr_faults));
}

static pthread_key_t late_key;

static void use_late(void *arg)
{
	use_and_end(arg);
	use_and_end(arg);
}

static void *end_with_a_destructor(void *arg)
{
	pthread_setspecific(late_key, arg);
	return use_and_end(arg);
}

TEST_F(magazines, a_destructor_of_an_ending_thread_may_use_the_pool)
{
	ASSERT_EQ(0, pthread_key_create(&late_key, use_late));
	run(self, end_with_a_destructor);
	EXPECT_EQ(64 * MIB, stats_of(self->pool).free_bytes);
	EXPECT_EQ(3u, stats_of(self->pool).nr_frees);
	EXPECT_EQ(0, atomic_load(&self->nr_faults));
	pthread_key_delete(late_key);
}

static void *take_all(void *arg)
{
	fixture *f = arg;
	size_t i;

	for (i = 0; i < wr_array_size(f->spans); i++)
		expect(f, weir_pool_alloc(f->pool, i % 3 ? 4096 : 7000, WEIR_NODE_ANY,
					  &f->spans[i]) == 0);
	return NULL;
}

static void *free_all(void *arg)
{
	fixture *f = arg;
	size_t i;

	for (i = 0; i < wr_array_size(f->spans); i++)
		expect(f, weir_pool_free(f->pool, f->spans[i]) == 0);
	for (i = 0; i < wr_array_size(f->spans); i++)
		expect(f, weir_pool_free(f->pool, f->spans[i]) == -ESTALE);
	return NULL;
}

TEST_F(magazines, a_free_by_another_thread_is_a_free_at_once)
{
	struct weir_pool_stats s;
	int round;

	for (round = 0; round < 3; round++) {
		if (round == 1)
			take_all(self);
		else
			run(self, take_all);
		s = stats_of(self->pool);
		EXPECT_TRUE(sums_hold(&s));
		EXPECT_EQ(256u, s.nr_live);
		if (round == 0)
			free_all(self);
		else
			run(self, free_all);
		s = stats_of(self->pool);
		EXPECT_TRUE(sums_hold(&s));
		EXPECT_EQ(0u, s.used_bytes);
		EXPECT_EQ(0u, s.requested_bytes);
		EXPECT_EQ(256u * (unsigned)(round + 1), s.nr_bad_frees);
	}
	weir_pool_trim(self->pool, 0);
	EXPECT_EQ(64 * MIB, stats_of(self->pool).free_bytes);
	EXPECT_EQ(0, atomic_load(&self->nr_faults));
}

struct race {
	fixture *f;
	struct weir_span span;
	_Atomic int go;
	_Atomic int nr_freed;
};

static void *race_to_free(void *arg)
{
	struct race *r = arg;
	int round = 0;

	for (round = 1; round <= 2000; round++) {
		while (atomic_load(&r->go) < round)
			sched_yield();
		if (weir_pool_free(r->f->pool, r->span) == 0)
			atomic_fetch_add(&r->nr_freed, 1);
		atomic_fetch_add(&r->go, 1000000); /* done */
		while (atomic_load(&r->go) >= 1000000)
			sched_yield();
	}
	return NULL;
}

TEST_F(magazines, a_span_freed_by_two_at_once_is_given_out_once)
{
	struct race r = {.f = self};
	struct weir_pool_stats s;
	struct weir_span other;
	uint64_t nr_twice = 0;
	pthread_t thread;
	int round;

	ASSERT_EQ(0, pthread_create(&thread, NULL, race_to_free, &r));
	for (round = 1; round <= 2000; round++) {
		ASSERT_EQ(0, weir_pool_alloc(self->pool, 4096, 0, &r.span));
		atomic_store(&r.nr_freed, 0);
		atomic_store(&r.go, round);
		if (weir_pool_free(self->pool, r.span) == 0)
			atomic_fetch_add(&r.nr_freed, 1);
		while (atomic_load(&r.go) < 1000000)
			sched_yield();
		ASSERT_LE(1, atomic_load(&r.nr_freed));
		nr_twice += atomic_load(&r.nr_freed) == 2;
		/* The place is nobody's now: two that are taken differ. */
		ASSERT_EQ(0, weir_pool_alloc(self->pool, 4096, 0, &self->spans[0]));
		ASSERT_EQ(0, weir_pool_alloc(self->pool, 4096, 0, &other));
		ASSERT_NE(self->spans[0].base, other.base);
		ASSERT_EQ(0, weir_pool_free(self->pool, self->spans[0]));
		ASSERT_EQ(0, weir_pool_free(self->pool, other));
		atomic_store(&r.go, round);
	}
	pthread_join(thread, NULL);
	s = stats_of(self->pool);
	EXPECT_TRUE(sums_hold(&s));
	EXPECT_EQ(0u, s.nr_live);
	EXPECT_EQ(3 * 2000u, s.nr_frees);
	/* Each second free was refused, or was told 0 and found later. */
	EXPECT_EQ(2000u, s.nr_bad_frees);
	EXPECT_GE(2000u, nr_twice);
}

TEST_F(magazines, a_full_pool_keeps_nothing_and_opens_again_when_there_is_room)
{
	size_t max = 64 * MIB / 4096;
	struct weir_span *all = calloc(max, sizeof(*all));
	struct weir_pool_stats s;
	size_t nr = 0, i;

	ASSERT_NE(NULL, all);
	while (nr < max && weir_pool_alloc(self->pool, 4096, WEIR_NODE_ANY, &all[nr]) == 0)
		nr++;
	EXPECT_EQ(max, nr);
	EXPECT_EQ(-ENOSPC, weir_pool_alloc(self->pool, 4096, WEIR_NODE_ANY, &self->spans[0]));
	s = stats_of(self->pool);
	EXPECT_EQ(64 * MIB, s.used_bytes);
	/* While it is nearly full what is freed can be had by anyone at once. */
	for (i = 0; i < 16; i++)
		ASSERT_EQ(0, weir_pool_free(self->pool, all[--nr]));
	EXPECT_EQ(0u, stats_of(self->pool).cached_bytes);
	while (nr > 0)
		ASSERT_EQ(0, weir_pool_free(self->pool, all[--nr]));
	EXPECT_LT(0u, stats_of(self->pool).cached_bytes);
	free(all);
}

struct churn {
	fixture *f;
	_Atomic bool stop;
};

static void *churn(void *arg)
{
	struct churn *c = arg;
	struct weir_span span[4] = {{0}};
	unsigned i = 0;

	while (!atomic_load(&c->stop)) {
		i++;
		weir_pool_free(c->f->pool, span[i % 4]);
		memset(&span[i % 4], 0, sizeof(span[0]));
		expect(c->f, weir_pool_alloc(c->f->pool, (size_t)4096 << (i % 5), WEIR_NODE_ANY,
					     &span[i % 4]) == 0);
	}
	for (i = 0; i < 4; i++)
		weir_pool_free(c->f->pool, span[i]);
	return NULL;
}

static int in_child(fixture *f)
{
	/* Touching the pages would start threads. */
	struct weir_pool_opts opts = {.size = sizeof(opts),
				      .capacity_bytes = 8 * MIB,
				      .page_kinds = 1u << WEIR_PAGE_4K,
				      .flags = WEIR_POOL_LAZY};
	struct weir_pool *mine = NULL;
	struct weir_span span;

	if (weir_pool_alloc(f->pool, 4096, WEIR_NODE_ANY, &span) != -EINVAL)
		return 1;
	if (weir_pool_trim(f->pool, 0) != 0 || weir_pool_malloc(f->pool, 4096))
		return 2;
	weir_pool_close(f->pool);
	if (wr_pool_open_on(&f->machine.system, &opts, &mine, NULL) != 0)
		return 3;
	f->pool = mine;
	/* The thread sanitizer ends a child that starts threads after a fork of many. */
	if (!WR_SANITIZE_THREAD)
		run(f, use_and_end);
	use_and_end(f);
	if (atomic_load(&f->nr_faults) != 0)
		return 4;
	weir_pool_close(mine);
	return 0;
}

TEST_F(magazines, a_fork_in_the_middle_of_it_harms_neither_side)
{
	struct churn c = {.f = self};
	pthread_t thread[2];
	int status, i;
	pid_t pid;

	/* It has locks of its own, which a thread that the child does not have may hold for ever. */
	if (WR_SANITIZE_ADDRESS)
		SKIP(return, "an address sanitizer that forks among threads");
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, churn, &c));
	for (i = 0; i < 20; i++) {
		use_and_end(self);
		pid = fork();
		ASSERT_LE(0, pid);
		if (pid == 0)
			_exit(in_child(self));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
	}
	atomic_store(&c.stop, true);
	for (i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	EXPECT_EQ(0, atomic_load(&self->nr_faults));
}

TEST_F(magazines, a_thread_without_memory_for_magazines_goes_without)
{
	struct weir_span span;
	uint64_t n;

	for (n = 1;; n++) {
		wr_test_alloc_fail_at(n);
		ASSERT_EQ(0, weir_pool_alloc(self->pool, 4096, 0, &span));
		ASSERT_EQ(0, weir_pool_free(self->pool, span));
		if (!wr_test_alloc_failed())
			break;
	}
	wr_test_alloc_fail_at(0);
	EXPECT_LT(1u, n);
}

/* The block that the next allocation of its size gets, as if so many spans had begun there. */
static void age(struct weir_pool *pool, const struct weir_span *freed, uint32_t generation)
{
	struct wr_pool_cell *cells = pool->zones[0].cells;
	struct wr_pool_cell *cell = &cells[freed->id & WR_SPAN_BLOCK_MASK];
	uint64_t word = wr_cell_load(cell) & (WR_CELL_ONE - 1);

	wr_cell_store(cell, word | (uint64_t)generation << WR_CELL_GENERATION_SHIFT);
}

TEST_F(magazines, generations_wrap_where_blocks_are_kept)
{
	struct weir_span old, span;
	struct weir_pool_stats s;
	unsigned i;
	void *p;

	ASSERT_EQ(0, weir_pool_alloc(self->pool, 4096, WEIR_NODE_ANY, &old));
	ASSERT_EQ(0, weir_pool_free(self->pool, old));
	age(self->pool, &old, UINT32_MAX - 3); /* even: not live */
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, weir_pool_alloc(self->pool, 4096, WEIR_NODE_ANY, &span));
		ASSERT_EQ(old.base, span.base);
		EXPECT_EQ(UINT32_MAX - 2 + 2 * i, span.generation);
		if (i > 0) {
			EXPECT_EQ(-ESTALE, weir_pool_free(self->pool, old));
		}
		ASSERT_EQ(0, weir_pool_free(self->pool, span));
		EXPECT_EQ(-ESTALE, weir_pool_free(self->pool, span));
		old = span;
	}
	age(self->pool, &old, UINT32_MAX - 1);
	for (i = 0; i < 4; i++) {
		p = weir_pool_malloc(self->pool, 4096);
		ASSERT_EQ(old.base, p);
		ASSERT_EQ(0, weir_pool_ptr_free(self->pool, p));
		EXPECT_EQ(-EINVAL, weir_pool_ptr_free(self->pool, p));
	}
	weir_pool_stats(self->pool, &s);
	EXPECT_EQ(0u, s.nr_live);
	EXPECT_EQ(9u, s.nr_allocs);
	EXPECT_EQ(9u, s.nr_frees);
}

TEST(opening_fails_cleanly_at_each_allocation)
{
	struct weir_pool_opts opts = {.size = sizeof(opts), .capacity_bytes = 8 * MIB};
	struct fake_machine machine;

	fake_machine_init(&machine, 2);
	EXPECT_LT(3, fake_machine_fail_opens(&machine, &opts));
}

TEST(pools_that_take_turns_keep_their_blocks_apart)
{
	struct weir_pool_opts opts = {.size = sizeof(opts), .capacity_bytes = 8 * MIB};
	struct weir_pool *pool[12];
	struct weir_span span[12];
	struct fake_machine machine;
	int i, round;

	fake_machine_init(&machine, 1);
	for (round = 0; round < 3; round++) {
		for (i = 0; i < 12; i++)
			ASSERT_EQ(0, wr_pool_open_on(&machine.system, &opts, &pool[i], NULL));
		for (i = 0; i < 12; i++)
			ASSERT_EQ(0, weir_pool_alloc(pool[i], 8192, WEIR_NODE_ANY, &span[i]));
		for (i = 0; i < 12; i++) {
			EXPECT_EQ(-EINVAL, weir_pool_free(pool[i], span[(i + 1) % 12]));
			EXPECT_EQ(0, weir_pool_free(pool[i], span[i]));
			EXPECT_EQ(-ESTALE, weir_pool_free(pool[i], span[i]));
		}
		for (i = 0; i < 12; i++)
			weir_pool_close(pool[i]);
	}
	EXPECT_EQ(0, wr_test_alloc_live());
}

struct gated {
	struct wr_gate gate;
	uint64_t count; /* [GATE] */
	_Atomic uint64_t nr_refused;
};

static void *go_in_and_out(void *arg)
{
	struct gated *g = arg;
	uint64_t done = 0;

	while (done < 2000000) {
		if (wr_gate_enter_fast(&g->gate) != 0) {
			wr_add_own(&g->nr_refused, 1);
			sched_yield();
			continue;
		}
		g->count++;
		wr_gate_leave(&g->gate);
		done++;
	}
	return NULL;
}

TEST(a_gate_lets_in_one_at_a_time)
{
	struct gated g = {.count = 0};
	pthread_t thread;
	int i;

	wr_gate_prepare();
	wr_gate_init(&g.gate);
	if (wr_load_relaxed(&g.gate.state) != 0)
		SKIP(return, "the system call membarrier");
	ASSERT_EQ(0, pthread_create(&thread, NULL, go_in_and_out, &g));
	for (i = 0; i < 2000; i++) {
		wr_gate_mark(&g.gate);
		wr_gate_barrier();
		wr_gate_wait(&g.gate);
		g.count++;
		wr_gate_unmark(&g.gate);
		if (i % 64 == 0)
			usleep(50);
	}
	pthread_join(thread, NULL);
	EXPECT_EQ(2002000u, g.count);
}

TEST_HARNESS_MAIN
