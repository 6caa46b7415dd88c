/* SPDX-License-Identifier: MIT */
/*
 * places_test.c - The commands where a machine gives less: a small memlock limit, no huge pages, no
 * io_uring, no file system with direct reads, no privileges, a memory cgroup of just the size that is
 * promised. Each works, gives the same checksum, and says what it lacks and why.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "commands_help.h"
#include "harness/sanitized.h"
#include "io/io_help.h"
#include "limit.h"

#define CAP_IPC_LOCK 14 /* linux/capability.h */

FIXTURE(place)
{
	char dir[512];
	struct ct_path path;
	struct wt_run run;
	char checksum[32]; /* in an ordinary place */
};

/* In /tmp: other users walk to it. */
FIXTURE_SETUP(place)
{
	wt_dir_make(self->dir, sizeof(self->dir), "/tmp");
	ASSERT_EQ(chmod(self->dir, 0755), 0);
	self->path = ct_join(self->dir, "model");
	ASSERT_EQ(ct_make(CT_SINGLE, self->path.text), 0);
	ASSERT_EQ(wt_weir(&self->run, "stream", "--json", "--passes", "1", "--io", "mmap",
			  self->path.text, NULL),
		  0);
	snprintf(self->checksum, sizeof(self->checksum), "%s",
		 wt_text(self->run.json, "passes.0.checksum"));
}

FIXTURE_TEARDOWN(place)
{
	wt_run_fini(&self->run);
	wt_dir_remove(self->dir);
}

/* Stream from there, with two more options; the same comes out. */
static void expect_works(struct __test_metadata *_metadata, FIXTURE_DATA(place) * self,
			 const char *option, const char *value)
{
	ASSERT_EQ(wt_weir(&self->run, "stream", "--json", "--passes", "2", self->path.text, option,
			  value, NULL),
		  0)
	TH_LOG("%s", self->run.out);
	EXPECT_STREQ(self->run.err, "");
	EXPECT_STREQ(wt_text(self->run.json, "passes.1.checksum"), self->checksum);
}

#define EXPECT_SAYS(run, member, what)                              \
	EXPECT_NE(strstr(wt_text((run)->json, member), what), NULL) \
	TH_LOG("%s: %s", member, wt_text((run)->json, member))

/* ---- memlock ---- */

/* 64 KiB, and not the right to exceed it: root's comes back with exec, unless it is unbounded. */
static int limit_memlock(void *arg)
{
	struct rlimit limit = {64 << 10, 64 << 10};

	(void)arg;
	if (prctl(PR_CAPBSET_READ, CAP_IPC_LOCK, 0, 0, 0) == 1 && !geteuid() &&
	    prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0))
		return -1;
	return setrlimit(RLIMIT_MEMLOCK, &limit);
}

TEST_F(place, with_a_memlock_limit_of_64_kib)
{
	bool has_fixed;

	wt_weir(&self->run, "stream", "--json", "--passes", "1", self->path.text, NULL);
	has_fixed = !strcmp(wt_text(self->run.json, "backend"), "fixed");
	self->run.prepare = limit_memlock;
	expect_works(_metadata, self, NULL, NULL);
	EXPECT_STRNE(wt_text(self->run.json, "backend"), "fixed");
	if (has_fixed)
		EXPECT_SAYS(&self->run, "backend_reason", "memlock limit is 64 KiB");
	ASSERT_EQ(wt_weir(&self->run, "load", "--json", self->path.text, NULL), 0);
	if (has_fixed)
		EXPECT_SAYS(&self->run, "backend_reason", "memlock");
	ASSERT_EQ(wt_weir(&self->run, "stream", "--json", "--io", "fixed", self->path.text, NULL),
		  1);
	EXPECT_TRUE(!strcmp(wt_text(self->run.json, "error.code"), "ENOMEM") ||
		    !strcmp(wt_text(self->run.json, "error.code"), "EOPNOTSUPP"));
}

/* ---- pages ---- */

TEST_F(place, with_small_pages_only)
{
	expect_works(_metadata, self, "--pages", "4k");
	EXPECT_STREQ(wt_text(self->run.json, "page_kind"), "4k");
	ASSERT_EQ(wt_weir(&self->run, "load", "--json", "--pages", "4k", self->path.text, NULL), 0);
	EXPECT_STREQ(wt_text(self->run.json, "page_kind"), "4k");
}

#define THP	 "/sys/kernel/mm/transparent_hugepage/enabled"
#define IO_URING "/proc/sys/kernel/io_uring_disabled"

static bool write_setting(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* The word in brackets, or all of the line. */
static bool read_setting(const char *path, char *ret, size_t size)
{
	FILE *f = fopen(path, "re");
	char line[128] = "", *from, *to;

	if (!f)
		return false;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	fclose(f);
	line[strcspn(line, "\n")] = '\0';
	from = strchr(line, '[');
	to = from ? strchr(from, ']') : NULL;
	if (to)
		*to = '\0';
	snprintf(ret, size, "%s", to ? from + 1 : line);
	return line[0];
}

TEST_F(place, with_transparent_huge_pages_switched_off)
{
	char before[64];

	if (!read_setting(THP, before, sizeof(before)) || !write_setting(THP, "never"))
		SKIP(return, "root, and a kernel with transparent huge pages");
	wt_weir(&self->run, "stream", "--json", "--passes", "2", "--budget", "4MiB",
		self->path.text, NULL);
	EXPECT_TRUE(write_setting(THP, before));
	ASSERT_EQ(self->run.status, 0);
	EXPECT_STREQ(wt_text(self->run.json, "passes.1.checksum"), self->checksum);
	if (!strcmp(wt_text(self->run.json, "page_kind"), "4k"))
		EXPECT_SAYS(&self->run, "page_kind_reason",
			    "transparent_hugepage/enabled is never");
}

static int disable_thp(void *arg)
{
	(void)arg;
	return prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
}

TEST_F(place, without_huge_pages_for_this_process)
{
	self->run.prepare = disable_thp;
	expect_works(_metadata, self, "--budget", "4MiB");
	/* Root may have set hugetlb pages aside; a kernel may have no transparent ones at all. */
	EXPECT_STRNE(wt_text(self->run.json, "page_kind"), "thp");
	if (!strcmp(wt_text(self->run.json, "page_kind"), "4k"))
		EXPECT_SAYS(&self->run, "page_kind_reason", "no transparent huge pages: ");
}

/* ---- io_uring ---- */

static int forbid_uring(void *arg)
{
	(void)arg;
	return io_forbid(SYS_io_uring_setup, EPERM, -1) ? 0 : -1;
}

/* The commands where io_uring is refused for @reason. */
static void expect_without_uring(struct __test_metadata *_metadata, FIXTURE_DATA(place) * self,
				 const char *reason)
{
	static const char *const rungs[] = {"fixed", "uring"};

	expect_works(_metadata, self, NULL, NULL);
	EXPECT_TRUE(!strcmp(wt_text(self->run.json, "backend"), "pread") ||
		    !strcmp(wt_text(self->run.json, "backend"), "buffered"));
	EXPECT_SAYS(&self->run, "backend_reason", reason);
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(wt_weir(&self->run, "stream", "--json", "--io", rungs[i], self->path.text,
				  NULL),
			  1);
		EXPECT_STREQ(wt_text(self->run.json, "error.code"), "EOPNOTSUPP");
		EXPECT_SAYS(&self->run, "error.message", reason);
	}
	expect_works(_metadata, self, "--io", "pread");
	EXPECT_EQ(wt_weir(&self->run, "verify", "--json", self->path.text, NULL), 0);
	EXPECT_SAYS(&self->run, "backend_reason", reason);
	EXPECT_EQ(wt_weir(&self->run, "load", "--json", self->path.text, NULL), 0);
	EXPECT_SAYS(&self->run, "backend_reason", reason);
	EXPECT_EQ(wt_weir(&self->run, "bench", "ladder", "--json", "--rounds", "1", "--passes", "2",
			  self->path.text, NULL),
		  0);
	EXPECT_TRUE(json_is_false(wt_at(self->run.json, "rungs.0.works")));
	EXPECT_SAYS(&self->run, "rungs.0.reason", reason);
	EXPECT_TRUE(json_is_true(wt_at(self->run.json, "rungs.3.works")));
}

TEST_F(place, where_a_filter_forbids_io_uring)
{
	char *wide;

	self->run.prepare = forbid_uring;
	if (wt_weir(&self->run, "--version", NULL) == 125)
		SKIP(return, "seccomp filters");
	expect_without_uring(_metadata, self, "seccomp");
	/* The longest reasons of all are shown in 80 columns, too. */
	for (int i = 0; i < 3; i++) {
		static const char *const commands[] = {"stream", "load", "verify"};

		ASSERT_EQ(wt_weir(&self->run, commands[i], self->path.text, NULL), 0);
		wide = ct_wide_line(self->run.out, self->path.text);
		EXPECT_EQ(wide, NULL) TH_LOG("%s", wide);
		free(wide);
	}
}

/* The setting is the whole machine's: back at once, before anything is looked at. */
TEST_F(place, where_a_setting_forbids_io_uring)
{
	static const char reason[] = "kernel.io_uring_disabled is 2";
	struct wt_run named = {0};
	char before[64];

	if (!read_setting(IO_URING, before, sizeof(before)) || !write_setting(IO_URING, "2"))
		SKIP(return, "root and kernel.io_uring_disabled (Linux 6.6)");
	wt_weir(&self->run, "stream", "--json", "--passes", "2", self->path.text, NULL);
	wt_weir(&named, "stream", "--json", "--io", "uring", self->path.text, NULL);
	EXPECT_TRUE(write_setting(IO_URING, before));
	EXPECT_EQ(self->run.status, 0);
	EXPECT_STREQ(wt_text(self->run.json, "passes.1.checksum"), self->checksum);
	EXPECT_TRUE(!strcmp(wt_text(self->run.json, "backend"), "pread") ||
		    !strcmp(wt_text(self->run.json, "backend"), "buffered"));
	EXPECT_SAYS(&self->run, "backend_reason", reason);
	EXPECT_EQ(named.status, 1);
	EXPECT_STREQ(wt_text(named.json, "error.code"), "EOPNOTSUPP");
	EXPECT_SAYS(&named, "error.message", reason);
	wt_run_fini(&named);
}

/* ---- other places ---- */

TEST_F(place, on_a_file_system_in_memory)
{
	struct ct_path copy;
	char dir[256];

	if (access("/dev/shm", W_OK))
		SKIP(return, "there is no /dev/shm");
	wt_dir_make(dir, sizeof(dir), "/dev/shm");
	copy = ct_join(dir, "model");
	ASSERT_EQ(ct_copy(self->path.text, copy.text), 0);
	self->path = copy;
	expect_works(_metadata, self, NULL, NULL);
	/* What is said is what happens to the files, not what the engine could do elsewhere. */
	EXPECT_EQ(wt_weir(&self->run, "stream", "--json", "--passes", "1", copy.text, NULL), 0);
	EXPECT_STREQ(wt_text(self->run.json, "backend"), "buffered");
	EXPECT_EQ(wt_weir(&self->run, "load", "--json", copy.text, NULL), 0);
	EXPECT_STREQ(wt_text(self->run.json, "backend"), "buffered");
	EXPECT_SAYS(&self->run, "backend_reason", "O_DIRECT");
	expect_works(_metadata, self, "--io", "buffered");
	/* Direct reads, asked for by name, are never replaced silently. */
	if (wt_weir(&self->run, "stream", "--json", "--io", "pread", copy.text, NULL)) {
		EXPECT_STREQ(wt_text(self->run.json, "error.code"), "EOPNOTSUPP");
		EXPECT_SAYS(&self->run, "error.message", "O_DIRECT");
		EXPECT_SAYS(&self->run, "error.file", "model.safetensors");
	}
	EXPECT_EQ(wt_weir(&self->run, "verify", "--json", copy.text, NULL), 0);
	EXPECT_EQ(wt_weir(&self->run, "load", "--json", copy.text, NULL), 0);
	EXPECT_EQ(wt_weir(&self->run, "bench", "load", "--json", "--rounds", "1", copy.text, NULL),
		  0);
	wt_dir_remove(dir);
}

static int become_nobody(void *arg)
{
	(void)arg;
	return geteuid() ? 0 : io_drop_privileges();
}

TEST_F(place, for_an_ordinary_user)
{
	self->run.prepare = become_nobody;
	expect_works(_metadata, self, NULL, NULL);
	expect_works(_metadata, self, "--budget", "4MiB");
	EXPECT_EQ(wt_weir(&self->run, "load", "--json", self->path.text, NULL), 0);
	EXPECT_EQ(wt_weir(&self->run, "verify", "--json", self->path.text, NULL), 0);
	EXPECT_EQ(wt_weir(&self->run, "doctor", "--json", self->path.text, NULL), 0);
	/* Without the right to a cgroup there is no mapping to compare with, and that is said. */
	EXPECT_EQ(wt_weir(&self->run, "bench", "demo", "--passes", "2", self->path.text, NULL), 0);
	EXPECT_STREQ(self->run.err, "");
}

/* ---- a memory cgroup ---- */

struct job {
	const char *path;
	const char *pages;
	char budget[32];
};

/* The binary in place of the child that wr_limit_run() has put into its group. */
static int exec_stream(void *arg, void *result)
{
	struct job *job = arg;

	(void)result;
	if (!freopen("/dev/null", "w", stdout))
		return 99;
	execl(wt_binary(), "weir", "stream", "--json", "--passes", "3", "--compute", "gemv",
	      "--budget", job->budget, "--pages", job->pages, job->path, (char *)NULL);
	return 98;
}

TEST(within_a_memory_cgroup_of_its_budget_and_80_mib)
{
	static const char *const pages[] = {"4k", "auto"};
	struct wr_limit_report report = {0};
	struct weir_error err = {0};
	char dir[512];
	struct ct_path path;
	const uint64_t budget = 48 << 20;

	if (SANITIZED)
		SKIP(return, "a build without sanitizers");
	wt_dir_make(dir, sizeof(dir), NULL);
	path = ct_join(dir, "model");
	ASSERT_EQ(ct_make(CT_BIG, path.text), 0);
	for (int i = 0; i < 2; i++) {
		struct job job = {.path = path.text, .pages = pages[i]};
		int rc;

		snprintf(job.budget, sizeof(job.budget), "%llu", (unsigned long long)budget);
		rc = wr_limit_run(budget + (80 << 20), exec_stream, &job, NULL, 0, &report, &err);
		if (rc == -EOPNOTSUPP)
			SKIP(wt_dir_remove(dir); return, "%s", err.message);
		ASSERT_EQ(rc, 0);
		EXPECT_EQ(report.status, 0);
		EXPECT_EQ(report.oom_kills, 0);
		EXPECT_GE(budget + (80 << 20), report.peak_bytes);
		EXPECT_LT(budget / 2, report.peak_bytes);
	}
	wt_dir_remove(dir);
}

TEST_HARNESS_MAIN
