/* SPDX-License-Identifier: MIT */
/*
 * A test program whose tests all pass, and which is wrong: sanitizer_test.sh builds it in each flavour and looks that
 * the sanitizer turns what is wrong into a failed test.
 */
#include "kselftest_harness.h"

#include <limits.h>
#include <pthread.h>

static int shared;
static volatile int big = INT_MAX;
static void *volatile kept;

static void *add_one(void *arg)
{
	(void)arg;
	shared++;
	return NULL;
}

TEST(memory_is_lost)
{
	kept = malloc(100);
	kept = NULL;
}

TEST(memory_is_used_after_its_end)
{
	volatile char *p = malloc(100);

	free((void *)p);
	p[0] = 1;
}

TEST(a_sum_wraps)
{
	big = big + 1;
}

TEST(two_threads_race)
{
	pthread_t a, b;

	ASSERT_EQ(0, pthread_create(&a, NULL, add_one, NULL));
	ASSERT_EQ(0, pthread_create(&b, NULL, add_one, NULL));
	pthread_join(a, NULL);
	pthread_join(b, NULL);
}

TEST_HARNESS_MAIN
