/* SPDX-License-Identifier: MIT */
/*
 * limit_test.c - A child is held to its limit, and nothing of it stays.
 */
#include "kselftest_harness.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "limit.h"

#define MIB (1u << 20)

struct answer {
	int pid;
	unsigned int touched_mib;
};

/* Touch *@arg MiB and say how far it came. */
static int touch(void *arg, void *result)
{
	struct answer *a = result;
	unsigned int mib = *(unsigned int *)arg;
	unsigned char *p = mmap(NULL, (size_t)mib * MIB, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	a->pid = getpid();
	if (p == MAP_FAILED)
		return 1;
	for (unsigned int i = 0; i < mib; i++) {
		memset(p + (size_t)i * MIB, 1, MIB);
		a->touched_mib = i + 1;
	}
	return 7;
}

static int die(void *arg, void *result)
{
	(void)arg;
	(void)result;
	raise(SIGUSR1);
	return 0;
}

static int leave_a_child(void *arg, void *result)
{
	(void)arg;
	(void)result;
	if (!fork()) {
		/* Not our terminal's and not our parent's: only the cgroup knows it. */
		setsid();
		for (;;)
			pause();
	}
	return 0;
}

/* Is there a folder "weir-<our pid>" anywhere below @dir (two levels)? */
static int left_behind(const char *dir, int depth)
{
	char path[512], name[64];
	DIR *d = opendir(dir);
	struct dirent *e;
	int found = 0;

	snprintf(name, sizeof(name), "weir-%d", (int)getpid());
	while (d && (e = readdir(d))) {
		if (!strcmp(e->d_name, name))
			found = 1;
		if (e->d_type != DT_DIR || e->d_name[0] == '.' || !depth)
			continue;
		snprintf(path, sizeof(path), "%.400s/%.100s", dir, e->d_name);
		found |= left_behind(path, depth - 1);
	}
	if (d)
		closedir(d);
	return found;
}

/* Run or skip. */
#define RUN(bytes, fn, arg, answer, report)                                                       \
	do {                                                                                      \
		struct weir_error err = {0};                                                      \
		int code = wr_limit_run(bytes, fn, arg, answer, sizeof(*(answer)), report, &err); \
                                                                                                  \
		if (code == -EOPNOTSUPP)                                                          \
			SKIP(return, "%s", err.message);                                          \
		ASSERT_EQ(0, code);                                                               \
	} while (0)

TEST(a_child_within_its_limit_ends_as_it_wants)
{
	struct wr_limit_report r = {0};
	struct answer a = {0};
	unsigned int mib = 8;

	RUN(64 * MIB, touch, &mib, &a, &r);
	EXPECT_EQ(7, r.status);
	EXPECT_EQ(8, a.touched_mib);
	EXPECT_NE(getpid(), a.pid);
	EXPECT_EQ(64 * MIB, r.limit_bytes);
	EXPECT_LE(8 * MIB, r.peak_bytes);
	EXPECT_GE(64 * MIB, r.peak_bytes);
	EXPECT_EQ(0, r.oom_kills);
	EXPECT_EQ(0, left_behind("/sys/fs/cgroup", 4));
}

TEST(a_child_above_its_limit_is_killed_and_its_result_is_kept)
{
	struct wr_limit_report r = {0};
	struct answer a = {0};
	unsigned int mib = 256;

	RUN(32 * MIB, touch, &mib, &a, &r);
	EXPECT_EQ(128 + SIGKILL, r.status);
	EXPECT_LT(0, a.touched_mib);
	EXPECT_GT(33, a.touched_mib);
	EXPECT_LT(0, r.oom_kills);
	EXPECT_EQ(0, left_behind("/sys/fs/cgroup", 4));
}

TEST(what_a_child_leaves_running_is_ended)
{
	struct wr_limit_report r = {0};
	struct answer a = {0};

	RUN(64 * MIB, leave_a_child, NULL, &a, &r);
	EXPECT_EQ(0, r.status);
	EXPECT_EQ(0, left_behind("/sys/fs/cgroup", 4));
}

TEST(no_limit_is_a_plain_child_that_is_in_no_group_of_its_own)
{
	struct wr_limit_report r = {.version = 77};
	struct answer a = {0};
	unsigned int mib = 8;

	ASSERT_EQ(0, wr_limit_run(0, touch, &mib, &a, sizeof(a), &r, NULL));
	EXPECT_EQ(7, r.status);
	EXPECT_EQ(8, a.touched_mib);
	EXPECT_NE(getpid(), a.pid);
	EXPECT_EQ(0, r.version);
	EXPECT_EQ(0, r.limit_bytes);
}

TEST(a_child_that_dies_is_told_from_one_that_ends)
{
	struct wr_limit_report r = {0};

	ASSERT_EQ(0, wr_limit_run(0, die, NULL, NULL, 0, &r, NULL));
	EXPECT_EQ(128 + SIGUSR1, r.status);
}

TEST_HARNESS_MAIN
