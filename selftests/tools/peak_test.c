/* SPDX-License-Identifier: MIT */
/*
 * peak_test.c - Numbers about this process, files and devices, and fio's answers.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fio.h"
#include "peak.h"

#define MIB ((size_t)1 << 20)

/* A file of @bytes in the build folder, which is on a disk where /tmp may not be. */
static int make_file(char *path, size_t size, size_t bytes)
{
	char *data = calloc(1, bytes);
	int fd;

	snprintf(path, size, "%s/peak-XXXXXX", WR_TEST_BUILD);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0 && write(fd, data, bytes) == (ssize_t)bytes)
		fsync(fd);
	free(data);
	return fd;
}

TEST(memory_that_was_touched_and_given_back_is_in_the_high_water_mark)
{
	struct wr_peak_memory before, after;
	void *p;

	ASSERT_EQ(0, wr_peak_memory(&before));
	p = mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	memset(p, 1, 64 * MIB);
	munmap(p, 64 * MIB);
	ASSERT_EQ(0, wr_peak_memory(&after));
	EXPECT_LE(before.anon_bytes + 60 * MIB, after.high_water_bytes);
	EXPECT_GT(32 * MIB, after.anon_bytes);
}

TEST(cached_bytes_of_a_file_follow_what_is_read)
{
	char path[512];
	uint64_t cached;
	int fd = make_file(path, sizeof(path), 4 * MIB);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, wr_peak_cached(path, &cached));
	EXPECT_EQ(4 * MIB, cached);
	ASSERT_EQ(0, posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	ASSERT_EQ(0, wr_peak_cached(path, &cached));
	/* A file system without a disk keeps its pages. */
	EXPECT_TRUE(cached == 0 || cached == 4 * MIB);
	unlink(path);
	close(fd);
	EXPECT_EQ(-ENOENT, wr_peak_cached(path, &cached));
	EXPECT_EQ(-EINVAL, wr_peak_cached("/", &cached));
}

TEST(read_ahead_is_changed_and_restored)
{
	struct wr_peak_device dev, seen;

	if (wr_peak_device_find(WR_TEST_BUILD, &dev))
		SKIP(return, "the build folder is on no block device");
	if (wr_peak_device_set_read_ahead(&dev, dev.read_ahead_kb))
		SKIP(return, "read_ahead_kb cannot be written: not root");
	EXPECT_TRUE(dev.changed);
	ASSERT_EQ(0, wr_peak_device_find(WR_TEST_BUILD, &seen));
	EXPECT_EQ(dev.read_ahead_kb, seen.read_ahead_kb);
	wr_peak_device_restore(&dev);
	EXPECT_FALSE(dev.changed);
	wr_peak_device_restore(&dev);
	wr_peak_device_restore(NULL);
}

TEST(a_file_on_no_device_has_none)
{
	struct wr_peak_device dev;

	EXPECT_EQ(-ENODEV, wr_peak_device_find("/proc/self/status", &dev));
	EXPECT_EQ(-ENOENT, wr_peak_device_find("/nowhere/at/all", &dev));
}

static uint64_t huge_pages(void)
{
	FILE *f = fopen("/proc/sys/vm/nr_hugepages", "r");
	unsigned long long n = 0;

	if (f && fscanf(f, "%llu", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n;
}

TEST(fio_reads_every_file_and_pages_reserved_for_it_are_given_back)
{
	char path[2][512];
	const char *files[2] = {path[0], path[1]};
	struct wr_fio_opts opts = {.files = files, .nr_files = 2, .huge_pages = true};
	struct wr_fio_result r;
	struct weir_error err = {0};
	uint64_t before = huge_pages();
	int fds[2], code;

	for (int i = 0; i < 2; i++) {
		fds[i] = make_file(path[i], sizeof(path[i]), (size_t)(i + 1) * 8 * MIB);
		ASSERT_LE(0, fds[i]);
	}
	code = wr_fio_read(&opts, &r, &err);
	for (int i = 0; i < 2; i++) {
		close(fds[i]);
		unlink(path[i]);
	}
	EXPECT_EQ(before, huge_pages());
	if (code == -ENOENT)
		SKIP(return, "fio is not installed");
	if (code == -EIO)
		SKIP(return, "fio cannot use io_uring or O_DIRECT here");
	ASSERT_EQ(0, code);
	EXPECT_EQ(24 * MIB, r.bytes);
	EXPECT_LT(0, r.bytes_per_second);
	EXPECT_EQ(0, strncmp(r.version, "fio-", 4));
	EXPECT_EQ(r.huge_pages, !r.page_reason[0]);
}

TEST(a_machine_without_fio_is_told_apart)
{
	const char *file = "/proc/version";
	struct wr_fio_opts opts = {.files = &file, .nr_files = 1};
	struct wr_fio_result r;
	struct weir_error err = {0};

	ASSERT_EQ(0, setenv("PATH", "/nowhere", 1));
	EXPECT_EQ(-ENOENT, wr_fio_read(&opts, &r, &err));
	EXPECT_NE(NULL, strstr(err.message, "not installed"));
	opts.nr_files = 0;
	EXPECT_EQ(-EINVAL, wr_fio_read(&opts, &r, &err));
}

TEST(fio_is_not_asked_for_files_that_are_not_there)
{
	const char *file = "/tmp/weir-no-such-folder/file";
	struct wr_fio_opts opts = {.files = &file, .nr_files = 1};
	struct wr_fio_result r;
	struct weir_error err = {0};

	EXPECT_EQ(-EINVAL, wr_fio_read(&opts, &r, &err));
	EXPECT_STREQ(file, err.file);
	EXPECT_NE(0, access("/tmp/weir-no-such-folder", F_OK));
}

TEST(fio_that_fails_is_an_error)
{
	const char *file = "/proc/version"; /* a regular file of no bytes */
	struct wr_fio_opts opts = {.files = &file, .nr_files = 1};
	struct wr_fio_result r = {.bytes = 77};
	struct weir_error err = {0};
	int code = wr_fio_read(&opts, &r, &err);

	if (code == -ENOENT)
		SKIP(return, "fio is not installed");
	EXPECT_EQ(-EIO, code);
	EXPECT_EQ(77, r.bytes);
}

TEST_HARNESS_MAIN
