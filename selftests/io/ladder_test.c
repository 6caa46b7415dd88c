/* SPDX-License-Identifier: MIT */
/*
 * The ladder: what the engine does where something is forbidden, short or missing. Each test takes
 * something away from its own process; only the two that turn a sysctl touch the machine, and put it
 * back.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "io/io_help.h"

#define CHUNK	   ((size_t)64 << 10)
#define FILE_BYTES (4 * CHUNK + 99)
#define BUF_BYTES  ((size_t)4 << 20)

/* include/uapi/linux/io_uring.h */
#define REGISTER_BUFFERS  0
#define REGISTER_FILES2	  13
#define REGISTER_BUFFERS2 15
/* include/uapi/asm-generic/unistd.h, include/uapi/linux/fs.h */
#define SYS_CACHESTAT	  451
#define RWF_DONTCACHE_BIT 0x80

FIXTURE(ladder)
{
	struct weir_io_opts opts;
	struct weir_io *io;
	struct weir_io_file *file;
	struct weir_error err;
	char path[256];
	char *buf;
};

FIXTURE_SETUP(ladder)
{
	self->opts = (struct weir_io_opts){.size = sizeof(self->opts), .chunk_bytes = CHUNK};
	self->io = NULL;
	self->file = NULL;
	io_scratch_path(self->path, sizeof(self->path), false, "ladder");
	ASSERT_EQ(io_file_make(self->path, FILE_BYTES), 0);
	self->buf = io_buffer(BUF_BYTES);
}

FIXTURE_TEARDOWN(ladder)
{
	weir_io_file_close(self->file);
	weir_io_close(self->io);
	io_buffer_free(self->buf, BUF_BYTES);
	unlink(self->path);
}

static int open_engine(FIXTURE_DATA(ladder) * self, uint32_t backend)
{
	self->opts.backend = backend;
	memset(&self->err, 0, sizeof(self->err));
	return weir_io_open(&self->opts, &self->io, &self->err);
}

/* Opens the file and reads all of it; 1 when the bytes are wrong. */
static int read_whole(FIXTURE_DATA(ladder) * self)
{
	void *data;
	int rc = 0;

	if (self->file == NULL)
		rc = weir_io_file_open(self->io, self->path, &self->file, &self->err);
	if (rc == 0)
		rc = io_read_now(self->io, self->file, 3, FILE_BYTES - 3, self->buf, BUF_BYTES,
				 &data);
	if (rc == 0 && io_first_wrong(data, 3, FILE_BYTES - 3) != FILE_BYTES)
		rc = 1;
	return rc;
}

/* First in a test that takes one thing away: the machine must give all of it to begin with. */
#define NEED_HIGHEST_RUNG()                                                              \
	do {                                                                             \
		ASSERT_EQ(open_engine(self, WEIR_IO_AUTO), 0);                           \
		if (weir_io_backend(self->io) != WEIR_IO_FIXED)                          \
			SKIP(return, "%s", weir_io_backend_reason(self->io));            \
		if (read_whole(self) != 0 || !is_direct(self))                           \
			SKIP(return, "this file system has no direct reads (O_DIRECT)"); \
		close_all(self);                                                         \
	} while (0)

static void close_all(FIXTURE_DATA(ladder) * self)
{
	weir_io_file_close(self->file);
	weir_io_close(self->io);
	self->file = NULL;
	self->io = NULL;
}

static bool is_direct(FIXTURE_DATA(ladder) * self)
{
	struct weir_io_file_info info;

	weir_io_file_info(self->file, &info);
	return info.direct != 0;
}

static bool reason_has(FIXTURE_DATA(ladder) * self, const char *text)
{
	return strstr(weir_io_backend_reason(self->io), text) != NULL;
}

/* ---- io_uring refused -------------------------------------------------------------------------- */

TEST_F(ladder, nothing_refused_is_the_highest_rung)
{
	NEED_HIGHEST_RUNG();
	ASSERT_EQ(open_engine(self, WEIR_IO_AUTO), 0);
	EXPECT_EQ(weir_io_backend(self->io), WEIR_IO_FIXED);
	EXPECT_STREQ(weir_io_backend_reason(self->io), "highest rung");
	EXPECT_STREQ(weir_io_backend_name(weir_io_backend(self->io)), "fixed");
	EXPECT_STREQ(weir_io_backend_name(17), "unknown");
	EXPECT_EQ(read_whole(self), 0);
}

/* On whichever way io_uring is refused. */
static void expect_pread(struct __test_metadata *_metadata, FIXTURE_DATA(ladder) * self,
			 const char *reason)
{
	ASSERT_EQ(open_engine(self, WEIR_IO_AUTO), 0);
	EXPECT_EQ(weir_io_backend(self->io), WEIR_IO_PREAD);
	EXPECT_TRUE(reason_has(self, reason))
	{
		TH_LOG("%s", weir_io_backend_reason(self->io));
	}
	EXPECT_EQ(weir_io_register(self->io, self->buf, BUF_BYTES), 0);
	EXPECT_EQ(read_whole(self), 0);
	close_all(self);
	EXPECT_EQ(open_engine(self, WEIR_IO_URING), -EOPNOTSUPP);
	EXPECT_EQ(self->err.code, -EOPNOTSUPP);
	EXPECT_NE(strstr(self->err.message, reason), NULL);
	EXPECT_EQ(open_engine(self, WEIR_IO_FIXED), -EOPNOTSUPP);
	EXPECT_EQ(self->io, NULL);
}

TEST_F(ladder, a_filter_that_says_permission_denied)
{
	NEED_HIGHEST_RUNG();
	if (!io_forbid(SYS_io_uring_setup, EPERM, -1))
		SKIP(return, "system call filters (seccomp)");
	expect_pread(_metadata, self, "Operation not permitted (by a seccomp filter");
}

TEST_F(ladder, a_filter_or_kernel_without_the_call)
{
	NEED_HIGHEST_RUNG();
	if (!io_forbid(SYS_io_uring_setup, ENOSYS, -1))
		SKIP(return, "system call filters (seccomp)");
	expect_pread(_metadata, self, "a kernel without io_uring");
}

TEST_F(ladder, a_ring_that_cannot_be_entered)
{
	NEED_HIGHEST_RUNG();
	if (!io_forbid(SYS_io_uring_enter, EPERM, -1))
		SKIP(return, "system call filters (seccomp)");
	expect_pread(_metadata, self, "cannot be entered");
}

TEST_F(ladder, a_ring_that_cannot_be_asked)
{
	NEED_HIGHEST_RUNG();
	if (!io_forbid(SYS_io_uring_register, EPERM, -1))
		SKIP(return, "system call filters (seccomp)");
	expect_pread(_metadata, self, "does not list its operations");
}

/* The sysctl at @value while @self opens an engine; false when it cannot be set. */
static bool with_sysctl(char value, char *ret_before)
{
	const char *path = "/proc/sys/kernel/io_uring_disabled";
	int fd = open(path, O_RDWR | O_CLOEXEC);
	bool ok = fd >= 0 && (ret_before == NULL || pread(fd, ret_before, 1, 0) == 1) &&
		  pwrite(fd, &value, 1, 0) == 1;

	if (fd >= 0)
		close(fd);
	return ok;
}

/* In a child, so that the value is put back whatever the engine does. */
static int auto_engine_under_sysctl(FIXTURE_DATA(ladder) * self, char value, bool as_nobody,
				    const char *reason)
{
	char before;
	int status = -1;
	pid_t pid;

	if (!with_sysctl(value, &before))
		return 77;
	pid = fork();
	if (pid == 0) {
		if (as_nobody && io_drop_privileges() != 0)
			_exit(2);
		if (open_engine(self, WEIR_IO_AUTO) != 0)
			_exit(3);
		if (weir_io_backend(self->io) != WEIR_IO_PREAD || !reason_has(self, reason))
			_exit(4);
		_exit(read_whole(self) == 0 ? 0 : 5);
	}
	waitpid(pid, &status, 0);
	if (!with_sysctl(before, NULL))
		return 78;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 79;
}

TEST_F(ladder, the_sysctl_that_forbids_it_to_all)
{
	int rc;

	NEED_HIGHEST_RUNG();
	rc = auto_engine_under_sysctl(self, '2', false, "kernel.io_uring_disabled is 2");
	if (rc == 77)
		SKIP(return, "root and kernel.io_uring_disabled (Linux 6.6)");
	EXPECT_EQ(rc, 0);
}

TEST_F(ladder, the_sysctl_that_forbids_it_to_most)
{
	int rc;

	NEED_HIGHEST_RUNG();
	rc = auto_engine_under_sysctl(self, '1', true, "kernel.io_uring_disabled is 1");
	if (rc == 77)
		SKIP(return, "root and kernel.io_uring_disabled (Linux 6.6)");
	EXPECT_EQ(rc, 0);
}

/* ---- registration refused --------------------------------------------------------------------- */

TEST_F(ladder, no_registered_buffers_at_all)
{
	NEED_HIGHEST_RUNG();
	if (!io_forbid(SYS_io_uring_register, EPERM, REGISTER_BUFFERS) ||
	    !io_forbid(SYS_io_uring_register, EPERM, REGISTER_BUFFERS2))
		SKIP(return, "system call filters (seccomp)");
	EXPECT_EQ(open_engine(self, WEIR_IO_FIXED), -EOPNOTSUPP);
	ASSERT_EQ(open_engine(self, WEIR_IO_AUTO), 0);
	EXPECT_EQ(weir_io_backend(self->io), WEIR_IO_URING);
	EXPECT_TRUE(reason_has(self, "fixed: registered buffers are refused"));
	EXPECT_EQ(weir_io_register(self->io, self->buf, BUF_BYTES), 0);
	EXPECT_EQ(read_whole(self), 0);
}

TEST_F(ladder, tables_without_holes)
{
	struct weir_io_stats stats;
	int64_t live;

	NEED_HIGHEST_RUNG();
	if (!io_forbid(SYS_io_uring_register, EINVAL, REGISTER_BUFFERS2) ||
	    !io_forbid(SYS_io_uring_register, EINVAL, REGISTER_FILES2))
		SKIP(return, "system call filters (seccomp)");
	ASSERT_EQ(open_engine(self, WEIR_IO_FIXED), 0);
	EXPECT_EQ(weir_io_register(self->io, self->buf + BUF_BYTES / 2, BUF_BYTES / 2), 0);
	EXPECT_EQ(read_whole(self), 0);
	weir_io_stats(self->io, &stats);
	EXPECT_EQ(stats.nr_fixed_chunks, 0);
	EXPECT_EQ(weir_io_register(self->io, self->buf, BUF_BYTES / 2), 0);
	EXPECT_EQ(weir_io_register(self->io, self->buf, 4096), -EINVAL);
	live = wr_test_alloc_live();
	/* Memory that is not there: the table before stays. */
	EXPECT_EQ(weir_io_register(self->io, (void *)4096, 4096), -EINVAL);
	EXPECT_EQ(wr_test_alloc_live(), live);
	EXPECT_EQ(read_whole(self), 0);
	weir_io_stats(self->io, &stats);
	EXPECT_GE(stats.nr_fixed_chunks, FILE_BYTES / CHUNK);
}

TEST_F(ladder, a_region_of_many_pieces)
{
	const size_t part = 2 << 20, nr = 514, bytes = nr * part, at = (size_t)1 << 30;
	struct weir_io_stats stats;
	void *data;
	int fd = memfd_create("region", MFD_CLOEXEC);
	/* The same 2 MiB all over: a region of more than 1 GiB without the memory. */
	char *base = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	NEED_HIGHEST_RUNG();
	ASSERT_EQ(ftruncate(fd, (off_t)part), 0);
	ASSERT_NE((void *)base, MAP_FAILED);
	for (size_t i = 0; i < nr; i++)
		ASSERT_EQ(mmap(base + i * part, part, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_FIXED, fd, 0),
			  (void *)(base + i * part));
	ASSERT_EQ(open_engine(self, WEIR_IO_FIXED), 0);
	ASSERT_EQ(weir_io_register(self->io, base, bytes), 0);
	EXPECT_EQ(weir_io_register(self->io, base + at, part), -EINVAL);
	ASSERT_EQ(weir_io_file_open(self->io, self->path, &self->file, NULL), 0);
	/* In the second piece, then across the border between the two. */
	EXPECT_EQ(io_read_now(self->io, self->file, 0, CHUNK, base + at, part, &data), 0);
	EXPECT_EQ(io_first_wrong(data, 0, CHUNK), CHUNK);
	weir_io_stats(self->io, &stats);
	EXPECT_EQ(stats.nr_fixed_chunks, 1);
	EXPECT_EQ(io_read_now(self->io, self->file, 0, CHUNK, base + at - 8192, part, &data), 0);
	EXPECT_EQ(io_first_wrong(data, 0, CHUNK), CHUNK);
	weir_io_stats(self->io, &stats);
	EXPECT_EQ(stats.nr_fixed_chunks, 1);
	EXPECT_EQ(stats.nr_chunks, 2);
	close_all(self);
	munmap(base, bytes);
	close(fd);
}

TEST_F(ladder, a_region_that_is_not_mapped_is_the_callers_mistake)
{
	NEED_HIGHEST_RUNG();
	ASSERT_EQ(open_engine(self, WEIR_IO_AUTO), 0);
	EXPECT_EQ(weir_io_register(self->io, (void *)4096, 1 << 20), -EINVAL);
	EXPECT_EQ(weir_io_backend(self->io), WEIR_IO_FIXED);
	EXPECT_EQ(weir_io_register(self->io, self->buf, BUF_BYTES), 0);
	EXPECT_EQ(read_whole(self), 0);
}

/* Without the right to lock memory, and with 64 KiB of it. False when it cannot be had. */
static bool little_lockable_memory(size_t bytes)
{
	const struct rlimit limit = {.rlim_cur = bytes, .rlim_max = bytes};

	return setrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
	       (geteuid() != 0 || io_drop_privileges() == 0);
}

TEST_F(ladder, little_lockable_memory_steps_down_with_a_reason)
{
	const char *before;

	NEED_HIGHEST_RUNG();
	ASSERT_EQ(chmod(self->path, 0644), 0);
	if (!little_lockable_memory(64 << 10))
		SKIP(return, "a user other than root");
	ASSERT_EQ(open_engine(self, WEIR_IO_AUTO), 0);
	EXPECT_EQ(weir_io_backend(self->io), WEIR_IO_FIXED);
	before = weir_io_backend_reason(self->io);
	ASSERT_EQ(weir_io_file_open(self->io, self->path, &self->file, NULL), 0);
	EXPECT_EQ(weir_io_register(self->io, self->buf, BUF_BYTES), 0);
	EXPECT_EQ(weir_io_backend(self->io), WEIR_IO_URING);
	EXPECT_TRUE(reason_has(self, "memlock limit is 64 KiB"))
	{
		TH_LOG("%s", weir_io_backend_reason(self->io));
	}
	EXPECT_STREQ(before, "highest rung");
	EXPECT_EQ(weir_io_register(self->io, self->buf, BUF_BYTES), 0);
	EXPECT_EQ(read_whole(self), 0);
}

TEST_F(ladder, little_lockable_memory_fails_a_rung_asked_for)
{
	NEED_HIGHEST_RUNG();
	if (!little_lockable_memory(64 << 10))
		SKIP(return, "a user other than root");
	ASSERT_EQ(open_engine(self, WEIR_IO_FIXED), 0);
	EXPECT_EQ(weir_io_register(self->io, self->buf, BUF_BYTES), -ENOMEM);
	EXPECT_EQ(weir_io_backend(self->io), WEIR_IO_FIXED);
	EXPECT_EQ(read_whole(self), 0);
}

TEST_F(ladder, an_ordinary_user_gets_what_the_limit_allows)
{
	struct weir_io_stats stats;

	NEED_HIGHEST_RUNG();
	if (!little_lockable_memory(8 << 20))
		SKIP(return, "a user other than root");
	ASSERT_EQ(open_engine(self, WEIR_IO_AUTO), 0);
	ASSERT_EQ(weir_io_register(self->io, self->buf, BUF_BYTES), 0);
	EXPECT_EQ(weir_io_backend(self->io), WEIR_IO_FIXED);
	EXPECT_EQ(read_whole(self), 0);
	weir_io_stats(self->io, &stats);
	EXPECT_EQ(stats.nr_fixed_chunks, stats.nr_chunks);
}

/* ---- files that cannot be read directly ---------------------------------------------------------- */

TEST_F(ladder, a_file_in_memory_is_read_buffered_unless_a_direct_rung_was_asked_for)
{
	struct weir_io_file_info info;

	NEED_HIGHEST_RUNG();
	if (access("/dev/shm", W_OK) != 0)
		SKIP(return, "there is no /dev/shm");
	unlink(self->path);
	io_scratch_path(self->path, sizeof(self->path), true, "ladder");
	ASSERT_EQ(io_file_make(self->path, FILE_BYTES), 0);
	for (uint32_t b = WEIR_IO_AUTO; b <= WEIR_IO_BUFFERED; b++) {
		ASSERT_EQ(open_engine(self, b), 0);
		if (b == WEIR_IO_AUTO || b == WEIR_IO_BUFFERED) {
			EXPECT_EQ(read_whole(self), 0);
			weir_io_file_info(self->file, &info);
			EXPECT_EQ(info.direct, 0);
			EXPECT_EQ(info.offset_align, 1);
		} else {
			EXPECT_EQ(read_whole(self), -EOPNOTSUPP);
			EXPECT_NE(strstr(self->err.message, "O_DIRECT"), NULL);
		}
		close_all(self);
	}
}

TEST_F(ladder, a_kernel_that_cannot_say_how_to_align_is_tried)
{
	struct weir_io_file_info info;

	NEED_HIGHEST_RUNG();
	if (!io_forbid(SYS_statx, ENOSYS, -1))
		SKIP(return, "system call filters (seccomp)");
	ASSERT_EQ(open_engine(self, WEIR_IO_AUTO), 0);
	ASSERT_EQ(read_whole(self), 0);
	weir_io_file_info(self->file, &info);
	EXPECT_EQ(info.direct, 1);
	EXPECT_EQ(info.offset_align, 4096);
	EXPECT_EQ(info.memory_align, 4096);
}

TEST_F(ladder, a_kernel_without_reads_that_leave_no_pages_drops_them_behind)
{
	NEED_HIGHEST_RUNG();
	if (!io_forbid(SYS_preadv2, EOPNOTSUPP, -1))
		SKIP(return, "system call filters (seccomp)");
	ASSERT_EQ(open_engine(self, WEIR_IO_BUFFERED), 0);
	ASSERT_EQ(read_whole(self), 0);
	EXPECT_LE(io_resident_pages(self->path), 1);
}

/* All of the file through the page cache, which then has it. */
static bool fill_cache(FIXTURE_DATA(ladder) * self)
{
	int fd = open(self->path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : pread(fd, self->buf, BUF_BYTES, 0);

	if (fd >= 0)
		close(fd);
	return n == (ssize_t)FILE_BYTES &&
	       io_resident_pages(self->path) > (long)(FILE_BYTES / 8192);
}

TEST_F(ladder, a_file_that_was_not_cached_is_not_cached_afterwards)
{
	NEED_HIGHEST_RUNG();
	if (syscall(SYS_CACHESTAT, -1, NULL, NULL, 0) != 0 && errno == ENOSYS)
		SKIP(return, "cachestat (Linux 6.5)");
	ASSERT_EQ(open_engine(self, WEIR_IO_BUFFERED), 0);
	ASSERT_EQ(weir_io_file_open(self->io, self->path, &self->file, NULL), 0);
	/* As if several readers had met in a page, and it had stayed. */
	ASSERT_TRUE(fill_cache(self));
	ASSERT_EQ(read_whole(self), 0);
	EXPECT_LE(io_resident_pages(self->path), 1);
	ASSERT_TRUE(fill_cache(self));
	weir_io_file_close(self->file);
	self->file = NULL;
	EXPECT_EQ(io_resident_pages(self->path), 0);
}

TEST_F(ladder, a_file_that_was_cached_stays_cached)
{
	struct iovec iov = {.iov_base = self->buf, .iov_len = 1};
	long before = 0, after = -1;
	int fd;

	NEED_HIGHEST_RUNG();
	fd = open(self->path, O_RDONLY | O_CLOEXEC);
	if (preadv2(fd, &iov, 1, FILE_BYTES, RWF_DONTCACHE_BIT) != 0)
		SKIP(return, "reads that leave no pages behind (Linux 6.14)");
	close(fd);
	/* The kernel may take a page at any time of itself, but not each time. */
	for (uint32_t i = 0; i < 10 && after != before; i++) {
		ASSERT_TRUE(fill_cache(self));
		before = io_resident_pages(self->path);
		ASSERT_EQ(open_engine(self, WEIR_IO_BUFFERED), 0);
		ASSERT_EQ(read_whole(self), 0);
		close_all(self);
		after = io_resident_pages(self->path);
	}
	EXPECT_EQ(after, before);
}

/* ---- options and threads ---------------------------------------------------------------------------- */

TEST_F(ladder, options_out_of_range_are_refused_with_a_text)
{
	const struct weir_io_opts wrong[] = {
		{.backend = 5},
		{.chunk_bytes = 32 << 10},
		{.chunk_bytes = 32 << 20},
		{.chunk_bytes = 100000},
		{.chunk_bytes = 1 << 20, .demand_bytes = 1 << 19},
		{.chunk_bytes = 1 << 20, .speculative_bytes = 1 << 19},
		{.threads = 65},
		{.depth = 4097},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		self->opts = wrong[i];
		self->opts.size = sizeof(self->opts);
		EXPECT_EQ(weir_io_open(&self->opts, &self->io, &self->err), -EINVAL);
		EXPECT_NE(self->err.message[0], '\0');
	}
	self->opts = (struct weir_io_opts){.size = 4};
	EXPECT_EQ(weir_io_open(&self->opts, &self->io, &self->err), -EINVAL);
	EXPECT_EQ(self->io, NULL);
}

TEST_F(ladder, a_large_chunk_brings_large_limits_with_it)
{
	self->opts.chunk_bytes = 16 << 20;
	self->opts.depth = 4096;
	ASSERT_EQ(open_engine(self, WEIR_IO_AUTO), 0);
	EXPECT_EQ(read_whole(self), 0);
}

TEST_F(ladder, a_cpu_that_is_not_there_is_no_device)
{
	NEED_HIGHEST_RUNG();
	self->opts.cpu = 1 + 1000;
	for (uint32_t b = WEIR_IO_AUTO; b <= WEIR_IO_BUFFERED; b++)
		EXPECT_EQ(open_engine(self, b), -ENODEV);
	self->opts.cpu = 1 + 100000;
	EXPECT_EQ(open_engine(self, WEIR_IO_AUTO), -ENODEV);
	self->opts.cpu = 1;
	ASSERT_EQ(open_engine(self, WEIR_IO_AUTO), 0);
	EXPECT_EQ(read_whole(self), 0);
}

/* Of the engine's threads, those with these signals blocked. */
static int nr_threads_that_block(uint64_t signals)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *e;
	int nr = 0;

	while (dir != NULL && (e = readdir(dir)) != NULL) {
		char path[300], line[128];
		unsigned long long blocked;
		bool ours = false;
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/status", e->d_name);
		f = fopen(path, "re");
		while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
			ours |= strncmp(line, "Name:\tweir-io-", 14) == 0;
			if (sscanf(line, "SigBlk: %llx", &blocked) == 1)
				nr += ours && (blocked & signals) == signals;
		}
		if (f != NULL)
			fclose(f);
	}
	if (dir != NULL)
		closedir(dir);
	return nr;
}

TEST_F(ladder, no_thread_to_be_had)
{
	struct rlimit before, none;

	NEED_HIGHEST_RUNG();
	ASSERT_EQ(getrlimit(RLIMIT_NPROC, &before), 0);
	none = before;
	none.rlim_cur = 0;
	ASSERT_EQ(setrlimit(RLIMIT_NPROC, &none), 0);
	if (geteuid() == 0)
		ASSERT_EQ(io_drop_privileges(), 0);
	for (uint32_t b = WEIR_IO_AUTO; b <= WEIR_IO_BUFFERED; b++) {
		EXPECT_EQ(open_engine(self, b), -EAGAIN);
		EXPECT_NE(self->err.message[0], '\0');
	}
	EXPECT_EQ(nr_threads_that_block(0), 0);
	ASSERT_EQ(setrlimit(RLIMIT_NPROC, &before), 0);
}

TEST_F(ladder, the_engines_threads_leave_signals_to_the_host)
{
	const uint64_t signals = (uint64_t)1 << (SIGINT - 1) | (uint64_t)1 << (SIGTERM - 1);

	NEED_HIGHEST_RUNG();
	ASSERT_EQ(open_engine(self, WEIR_IO_PREAD), 0);
	ASSERT_EQ(read_whole(self), 0);
	EXPECT_EQ(nr_threads_that_block(signals), 4);
}

TEST_HARNESS_MAIN
