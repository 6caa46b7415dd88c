/* SPDX-License-Identifier: MIT */
/*
 * The pool behind pointers.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weir/pool_malloc.h>

#include "base/alloc.h"
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
		r ^= r << 13;
		r ^= r >> 7;
		r ^= r << 17;
		i = r % 1024;
		if (p[i]) {
			ASSERT_EQ((uint8_t)i, p[i][0]);
			ASSERT_EQ((uint8_t)i, p[i][bytes[i] - 1]);
			ASSERT_EQ(0, weir_pool_ptr_free(self->pool, p[i]));
			p[i] = NULL;
			continue;
		}
		bytes[i] = (r >> 20) % 4 ? (size_t)4096 << ((r >> 24) % 5) : 1 + (r >> 30) % 60000;
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

TEST_HARNESS_MAIN
