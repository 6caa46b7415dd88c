/* SPDX-License-Identifier: MIT */
/*
 * A test program with faults, for runner_test.sh: the harness and the runner must see each. It lies in a folder of its
 * own so that the build does not take it for a test.
 */
#include "kselftest_harness.h"

#include <signal.h>

TEST(a_true_one_passes)
{
	ASSERT_EQ(1, 1);
}

TEST(a_false_one_fails)
{
	ASSERT_EQ(1, 2);
}

TEST(a_crash_fails)
{
	raise(SIGSEGV);
}

TEST(a_skip_says_why)
{
	SKIP(return, "no moon in sight");
}

TEST_HARNESS_MAIN
