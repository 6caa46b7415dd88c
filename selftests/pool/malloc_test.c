/* SPDX-License-Identifier: MIT */
/*
 * The pool behind pointers.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weir/pool_malloc.h>

#include "base/alloc.h"
#include "base/random.h"
#include "base/util.h"
#include "fake_machine.h"

#define MIB (1ull << 20)

FIXTURE(pointers)
{
	struct fake_machine machine;
	struct weir_pool *pool;
};

FIXTURE_SETUP(pointers)
{
	struct weir_pool_opts opts = {.size = sizeof(opts), .capacity_bytes = 64 * MIB};

	fake_machine_init(&self->machine, 1);
	ASSERT_EQ(0, wr_pool_open_on(&self->machine.system, &opts, &self->pool, NULL));
}

FIXTURE_TEARDOWN(pointers)
{
	weir_pool_close(self->pool);
	EXPECT_EQ(0, wr_test_alloc_live());
}

TEST_F(pointers, memory_is_as_large_as_it_says)
{
	static const size_t sizes[] = {0,     1,      4096,    5000,	   12288,
				       65536, 100000, 2 * MIB, 3 * MIB + 1};
	uint8_t *p;
	size_t i;

	for (i = 0; i < wr_array_size(sizes); i++) {
		p = weir_pool_malloc(self->pool, sizes[i]);
		ASSERT_NE(NULL, p);
		EXPECT_LE(sizes[i], weir_pool_usable_bytes(self->pool, p));
		memset(p, 0x5a, weir_pool_usable_bytes(self->pool, p));
		EXPECT_EQ(0, weir_pool_ptr_free(self->pool, p));
		EXPECT_EQ(0u, weir_pool_usable_bytes(self->pool, p));
		EXPECT_EQ(-EINVAL, weir_pool_ptr_free(self->pool, p));
	}
	EXPECT_EQ(NULL, weir_pool_malloc(self->pool, 65 * MIB));
	EXPECT_EQ(NULL, weir_pool_malloc(self->pool, SIZE_MAX));
	EXPECT_EQ(NULL, weir_pool_malloc(NULL, 1));
}

TEST_F(pointers, what_is_not_the_beginning_of_an_allocation_is_refused)
{
	uint8_t *small = weir_pool_malloc(self->pool, 4096);
	uint8_t *large = weir_pool_malloc(self->pool, 3 * 4096);
	struct weir_pool_stats s;
	int here;

	EXPECT_EQ(0, weir_pool_ptr_free(self->pool, NULL));
	EXPECT_EQ(-EINVAL, weir_pool_ptr_free(self->pool, &here));
	EXPECT_EQ(-EINVAL, weir_pool_ptr_free(self->pool, small + 1));
	EXPECT_EQ(-EINVAL, weir_pool_ptr_free(self->pool, small + 2048));
	EXPECT_EQ(-EINVAL, weir_pool_ptr_free(self->pool, large + 4096));
	EXPECT_EQ(-EINVAL, weir_pool_ptr_free(self->pool, large + 64 * MIB));
	EXPECT_EQ(-EINVAL, weir_pool_ptr_free(NULL, small));
	EXPECT_EQ(0u, weir_pool_usable_bytes(self->pool, large + 4096));
	EXPECT_EQ(NULL, weir_pool_realloc(self->pool, large + 4096, 10));
	weir_pool_stats(self->pool, &s);
	EXPECT_EQ(2u, s.nr_live);
	EXPECT_EQ(5u, s.nr_bad_frees);
	EXPECT_EQ(0, weir_pool_ptr_free(self->pool, small));
	EXPECT_EQ(0, weir_pool_ptr_free(self->pool, large));
}

TEST_F(pointers, growing_and_shrinking_keep_the_bytes)
{
	static const size_t sizes[] = {10000, 12000, 50000, 9 * MIB, 5 * MIB, 6000, 0, 4097};
	size_t i, k, had = 0;
	uint8_t *p = NULL;

	for (i = 0; i < wr_array_size(sizes); i++) {
		p = weir_pool_realloc(self->pool, p, sizes[i]);
		ASSERT_NE(NULL, p);
		ASSERT_LE(sizes[i], weir_pool_usable_bytes(self->pool, p));
		for (k = 0; k < wr_min(had, sizes[i]); k += 97)
			ASSERT_EQ((uint8_t)(k * 7), p[k]);
		had = weir_pool_usable_bytes(self->pool, p);
		for (k = 0; k < had; k++)
			p[k] = (uint8_t)(k * 7);
	}
	EXPECT_EQ(NULL, weir_pool_realloc(self->pool, p, 100 * MIB));
	EXPECT_EQ(7, p[1]); /* as it was */
	EXPECT_EQ(0, weir_pool_ptr_free(self->pool, p));
}

/* Only a thread's first call may need memory of the system, and goes without. */
TEST_F(pointers, every_allocation_may_fail_and_memory_is_had)
{
	uint8_t *p;
	uint64_t n;

	for (n = 1;; n++) {
		wr_test_alloc_fail_at(n);
		p = weir_pool_malloc(self->pool, 5000);
		ASSERT_NE(NULL, p);
		p[0] = 42;
		p = weir_pool_realloc(self->pool, p, 70000);
		ASSERT_NE(NULL, p);
		EXPECT_EQ(42, p[0]);
		EXPECT_EQ(0, weir_pool_ptr_free(self->pool, p));
		EXPECT_EQ(-EINVAL, weir_pool_ptr_free(self->pool, p));
		if (!wr_test_alloc_failed())
			break;
	}
	wr_test_alloc_fail_at(0);
	EXPECT_LT(1u, n);
}

TEST_F(pointers, a_fork_child_gets_nothing_and_harms_nobody)
{
	void *p = weir_pool_malloc(self->pool, 4096);
	struct weir_pool_stats s;
	int status;
	pid_t pid;

	ASSERT_NE(NULL, p);
	pid = fork();
	ASSERT_LE(0, pid);
	if (pid == 0)
		_exit((weir_pool_malloc(self->pool, 4096) != NULL) |
		      (weir_pool_malloc(self->pool, 5000) != NULL) << 1 |
		      (weir_pool_ptr_free(self->pool, p) != -EINVAL) << 2 |
		      (weir_pool_realloc(self->pool, p, 1) != NULL) << 3 |
		      (weir_pool_usable_bytes(self->pool, p) != 0) << 4);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	weir_pool_stats(self->pool, &s);
	EXPECT_EQ(1u, s.nr_live);
	EXPECT_EQ(0u, s.nr_bad_frees);
	EXPECT_EQ(0, weir_pool_ptr_free(self->pool, p));
}

TEST_F(pointers, no_two_overlap_and_all_come_back)
{
	static uint8_t *p[1024];
	static size_t bytes[1024];
	uint64_t r = 88172645463325252ull;
	struct weir_pool_stats s;
	size_t i, step;

	for (step = 0; step < 30000; step++) {
		i = wr_xorshift64(&r) % 1024;
		if (p[i]) {
			ASSERT_EQ((uint8_t)i, p[i][0]);
			ASSERT_EQ((uint8_t)i, p[i][bytes[i] - 1]);
			ASSERT_EQ(0, weir_pool_ptr_free(self->pool, p[i]));
			p[i] = NULL;
			continue;
		}
		bytes[i] = (r >> 20) % 4 ? (size_t)4096 << ((r >> 24) % 5)
					 : 1 + (r >> 30) % (r & 1 << 28 ? 60000 : 3000);
		p[i] = weir_pool_malloc(self->pool, bytes[i]);
		ASSERT_NE(NULL, p[i]);
		p[i][0] = (uint8_t)i;
		p[i][bytes[i] - 1] = (uint8_t)i;
	}
	for (i = 0; i < 1024; i++)
		ASSERT_EQ(0, weir_pool_ptr_free(self->pool, p[i]));
	weir_pool_trim(self->pool, 0);
	weir_pool_stats(self->pool, &s);
	EXPECT_EQ(64 * MIB, s.largest_free_bytes);
}

TEST_F(pointers, small_ones_share_a_block_and_nothing_is_kept_of_them)
{
	static uint8_t *p[16];
	struct weir_pool_stats s;
	size_t size, i, nr;

	for (size = 256; size <= 2048; size *= 2) {
		nr = 4096 / size;
		for (i = 0; i < nr; i++) {
			p[i] = weir_pool_malloc(self->pool, size - i);
			ASSERT_NE(NULL, p[i]);
			EXPECT_EQ(0u, (uintptr_t)p[i] % size);
			EXPECT_EQ((uintptr_t)p[0] / 4096, (uintptr_t)p[i] / 4096);
			EXPECT_EQ(size, weir_pool_usable_bytes(self->pool, p[i]));
			memset(p[i], (int)i, size);
		}
		weir_pool_stats(self->pool, &s);
		EXPECT_EQ(4096u, s.used_bytes);
		EXPECT_EQ(4096u, s.slab_bytes);
		EXPECT_EQ(nr, s.nr_slab_objects);
		EXPECT_EQ(s.capacity_bytes, s.free_bytes + s.used_bytes + s.cached_bytes);
		/* In the middle of one, and where one was. */
		EXPECT_EQ(-EINVAL, weir_pool_ptr_free(self->pool, p[1] + 128));
		EXPECT_EQ(0u, weir_pool_usable_bytes(self->pool, p[1] + 128));
		EXPECT_EQ(0, weir_pool_ptr_free(self->pool, p[0]));
		EXPECT_EQ(-EINVAL, weir_pool_ptr_free(self->pool, p[0]));
		EXPECT_EQ(0u, weir_pool_usable_bytes(self->pool, p[0]));
		/* The hole is used again. */
		EXPECT_EQ(p[0], (uint8_t *)weir_pool_malloc(self->pool, size / 2 + 1));
		for (i = 0; i < nr; i++) {
			EXPECT_EQ(i == 0 ? p[0][0] : (uint8_t)i, p[i][size - 1]);
			EXPECT_EQ(0, weir_pool_ptr_free(self->pool, p[i]));
		}
		EXPECT_EQ(-EINVAL, weir_pool_ptr_free(self->pool, p[1]));
		weir_pool_stats(self->pool, &s);
		EXPECT_EQ(0u, s.used_bytes);
		EXPECT_EQ(0u, s.slab_bytes);
		EXPECT_EQ(0u, s.nr_slab_objects);
	}
	weir_pool_stats(self->pool, &s);
	EXPECT_EQ(12u, s.nr_bad_frees);
}

TEST_F(pointers, small_ones_grow_out_of_their_block_and_back)
{
	uint8_t *p = weir_pool_malloc(self->pool, 200);
	size_t i;

	ASSERT_NE(NULL, p);
	for (i = 0; i < 200; i++)
		p[i] = (uint8_t)i;
	p = weir_pool_realloc(self->pool, p, 3000);
	ASSERT_NE(NULL, p);
	EXPECT_EQ(4096u, weir_pool_usable_bytes(self->pool, p));
	p = weir_pool_realloc(self->pool, p, 50000);
	ASSERT_NE(NULL, p);
	p = weir_pool_realloc(self->pool, p, 200);
	ASSERT_NE(NULL, p);
	EXPECT_EQ(256u, weir_pool_usable_bytes(self->pool, p));
	for (i = 0; i < 200; i++)
		ASSERT_EQ((uint8_t)i, p[i]);
	EXPECT_EQ(0, weir_pool_ptr_free(self->pool, p));
}

struct sharer {
	struct weir_pool *pool;
	uint64_t random;
	_Atomic(uint8_t *) *shelf; /* pointers that anybody may take and free */
	int nr_faults;
};

#define SHELF 64

static void *share_small_ones(void *arg)
{
	struct sharer *s = arg;
	uint8_t *p, *old;
	size_t bytes;
	int step;

	for (step = 0; step < 20000; step++) {
		bytes = 2 + (wr_xorshift64(&s->random) >> 20) % 2500;
		p = weir_pool_malloc(s->pool, bytes);
		if (p) {
			p[0] = p[1] = (uint8_t)s->random;
		}
		old = atomic_exchange(&s->shelf[s->random % SHELF], p);
		if (!old)
			continue;
		s->nr_faults += old[0] != old[1];
		s->nr_faults += weir_pool_ptr_free(s->pool, old) != 0;
	}
	return NULL;
}

TEST_F(pointers, small_ones_are_freed_by_whoever_has_them)
{
	static _Atomic(uint8_t *) shelf[SHELF];
	struct sharer sharer[4];
	struct weir_pool_stats s;
	pthread_t thread[4];
	size_t i;

	for (i = 0; i < 4; i++) {
		sharer[i] = (struct sharer){
			.pool = self->pool, .random = 88172645463325252ull + i, .shelf = shelf};
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, share_small_ones, &sharer[i]));
	}
	for (i = 0; i < 4; i++) {
		pthread_join(thread[i], NULL);
		EXPECT_EQ(0, sharer[i].nr_faults);
	}
	for (i = 0; i < SHELF; i++)
		EXPECT_EQ(0, weir_pool_ptr_free(self->pool, atomic_load(&shelf[i])));
	weir_pool_stats(self->pool, &s);
	EXPECT_EQ(0u, s.used_bytes);
	EXPECT_EQ(0u, s.nr_slab_objects);
	EXPECT_EQ(0u, s.nr_bad_frees);
}

static int use_slabs_in_child(struct weir_pool *pool, uint8_t *p)
{
	int faults = (weir_pool_malloc(pool, 300) != NULL) |
		     (weir_pool_ptr_free(pool, p) != -EINVAL) << 1 |
		     (weir_pool_realloc(pool, p, 600) != NULL) << 2 |
		     (weir_pool_usable_bytes(pool, p) != 0) << 3;

	weir_pool_close(pool);
	return faults;
}

/* Whoever has the lock of the slabs when the process forks is not in the child. */
TEST_F(pointers, a_fork_child_does_not_wait_for_slabs)
{
	static _Atomic(uint8_t *) shelf[SHELF];
	struct sharer sharer = {.pool = self->pool, .random = 88172645463325252ull, .shelf = shelf};
	struct weir_pool_stats s;
	pthread_t thread;
	int status, i;
	uint8_t *p;
	pid_t pid;

	p = weir_pool_malloc(self->pool, 300);
	ASSERT_NE(NULL, p);
	memset(p, 7, 512);
	ASSERT_EQ(0, pthread_create(&thread, NULL, share_small_ones, &sharer));
	for (i = 0; i < 20; i++) {
		pid = fork();
		if (pid == 0) {
			alarm(20);
			/* Past a sanitizer, which would miss the parent's thread. */
			syscall(SYS_exit_group, use_slabs_in_child(self->pool, p));
		}
		ASSERT_LT(0, pid);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
	}
	pthread_join(thread, NULL);
	EXPECT_EQ(0, sharer.nr_faults);
	for (i = 0; i < SHELF; i++)
		EXPECT_EQ(0, weir_pool_ptr_free(self->pool, atomic_load(&shelf[i])));
	for (i = 0; i < 512; i++)
		EXPECT_EQ(7, p[i]);
	EXPECT_EQ(0, weir_pool_ptr_free(self->pool, p));
	weir_pool_stats(self->pool, &s);
	EXPECT_EQ(0u, s.slab_bytes);
	EXPECT_EQ(0u, s.nr_bad_frees);
}

/* Without memory for what is known of a slab, a small thing has a block of its own. */
TEST(every_allocation_may_fail_and_small_things_have_room)
{
	struct weir_pool_opts opts = {
		.size = sizeof(opts), .capacity_bytes = 8 * MIB, .flags = WEIR_POOL_LAZY};
	struct fake_machine machine;
	struct weir_pool *pool = NULL;
	struct weir_pool_stats s;
	uint8_t *p, *q;
	bool failed = true;
	uint64_t n;

	fake_machine_init(&machine, 2);
	for (n = 1; failed; n++) {
		ASSERT_EQ(0, wr_pool_open_on(&machine.system, &opts, &pool, NULL));
		wr_test_alloc_fail_at(n);
		p = weir_pool_malloc(pool, 300);
		q = weir_pool_malloc(pool, 1500);
		ASSERT_NE(NULL, p);
		ASSERT_NE(NULL, q);
		p[0] = 42;
		p = weir_pool_realloc(pool, p, 800);
		ASSERT_NE(NULL, p);
		EXPECT_EQ(42, p[0]);
		EXPECT_LE(800u, weir_pool_usable_bytes(pool, p));
		EXPECT_EQ(0, weir_pool_ptr_free(pool, p));
		EXPECT_EQ(-EINVAL, weir_pool_ptr_free(pool, p));
		EXPECT_EQ(0, weir_pool_ptr_free(pool, q));
		failed = wr_test_alloc_failed();
		wr_test_alloc_fail_at(0);
		weir_pool_stats(pool, &s);
		EXPECT_EQ(0u, s.nr_live);
		EXPECT_EQ(0u, s.used_bytes);
		EXPECT_EQ(0u, s.slab_bytes);
		weir_pool_close(pool);
		ASSERT_EQ(0, wr_test_alloc_live());
	}
	/* At least the table, an index for each node and a slab. */
	EXPECT_LT(4u, n - 2);
}

TEST(small_ones_of_pools_with_other_blocks)
{
	static const size_t blocks[] = {256, 512, 16384, 65536, 2 * MIB};
	static const size_t least[] = {256, 256, 256, 1024, 32768};
	struct weir_pool_opts opts = {.size = sizeof(opts), .capacity_bytes = 8 * MIB};
	struct fake_machine machine;
	struct weir_pool *pool = NULL;
	size_t i;
	void *p;

	for (i = 0; i < wr_array_size(blocks); i++) {
		fake_machine_init(&machine, 2);
		opts.block_bytes = blocks[i];
		ASSERT_EQ(0, wr_pool_open_on(&machine.system, &opts, &pool, NULL));
		p = weir_pool_malloc(pool, 1);
		ASSERT_NE(NULL, p);
		EXPECT_EQ(least[i], weir_pool_usable_bytes(pool, p));
		/* Not freed: the pool is closed over it. */
		weir_pool_close(pool);
		EXPECT_EQ(0, wr_test_alloc_live());
	}
}

TEST_HARNESS_MAIN
