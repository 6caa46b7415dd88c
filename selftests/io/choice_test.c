/* SPDX-License-Identifier: MIT */
/*
 * Past the page cache or through it: what the choice says to facts that are made up, and what
 * happens to a file of this machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "io/choice.h"
#include "io/io_help.h"
#include "io/io_internal.h"

#define GB	   ((uint64_t)1000000000)
#define MIB	   ((uint64_t)1 << 20)
#define FILE_BYTES (16 * MIB)

static struct wr_io_facts usual(void)
{
	return (struct wr_io_facts){.file_bytes = 4 * GB,
				    .spare_bytes = 20 * GB,
				    .total_bytes = 24 * GB,
				    .device_bps = GB + GB / 2,
				    .cache_bps = 6 * GB};
}

TEST(a_cold_file_is_read_directly)
{
	struct wr_io_facts f = usual();
	char why[WR_IO_CHOICE_BYTES];

	EXPECT_EQ(wr_io_choose(&f, why), WR_IO_DIRECT);
	f.cached_bytes = f.file_bytes / 2;
	EXPECT_EQ(wr_io_choose(&f, why), WR_IO_DIRECT);
	EXPECT_STREQ(why, "direct: 50 % of it is in the page cache");
}

TEST(a_warm_file_is_read_from_the_page_cache_where_that_is_faster)
{
	struct wr_io_facts f = usual();
	char why[WR_IO_CHOICE_BYTES];

	f.cached_bytes = f.file_bytes;
	EXPECT_EQ(wr_io_choose(&f, why), WR_IO_FROM_CACHE);
	EXPECT_STREQ(why, "page cache: 100 % of it is there, which gives 6.0 GB/s, the device 1.5");
	f.device_bps = 5 * GB;
	EXPECT_EQ(wr_io_choose(&f, why), WR_IO_DIRECT);
	EXPECT_NE(strstr(why, "5.0"), NULL);
	f.device_bps = 0;
	EXPECT_EQ(wr_io_choose(&f, why), WR_IO_DIRECT);
}

TEST(a_page_cache_that_is_thrown_out_again_is_left_alone)
{
	struct wr_io_facts f = usual();
	char why[WR_IO_CHOICE_BYTES];

	f.cached_bytes = f.file_bytes;
	f.stall_permyriad = 1234;
	EXPECT_EQ(wr_io_choose(&f, why), WR_IO_DIRECT);
	EXPECT_NE(strstr(why, "12.3 %"), NULL);
	f.stall_permyriad = 10;
	f.refault_bps = GB / 2;
	EXPECT_EQ(wr_io_choose(&f, why), WR_IO_DIRECT);
	EXPECT_NE(strstr(why, "0.50 GB/s"), NULL);
	f.refault_bps = MIB;
	EXPECT_EQ(wr_io_choose(&f, why), WR_IO_FROM_CACHE);
}

TEST(spare_memory_is_used_only_where_the_host_says_so_and_there_is_enough)
{
	struct wr_io_facts f = usual();
	char why[WR_IO_CHOICE_BYTES];

	EXPECT_EQ(wr_io_choose(&f, why), WR_IO_DIRECT);
	f.mode = WEIR_IO_CACHE_SPARE;
	EXPECT_EQ(wr_io_choose(&f, why), WR_IO_THROUGH);
	EXPECT_NE(strstr(why, "20.0 GB"), NULL);
	f.spare_bytes = 6 * GB;
	EXPECT_EQ(wr_io_choose(&f, why), WR_IO_DIRECT);
	f.cached_bytes = 2 * GB;
	EXPECT_EQ(wr_io_choose(&f, why), WR_IO_THROUGH);
	f.stall_permyriad = 2000;
	EXPECT_EQ(wr_io_choose(&f, why), WR_IO_DIRECT);
}

TEST(who_asks_for_one_gets_it)
{
	struct wr_io_facts f = usual();
	char why[WR_IO_CHOICE_BYTES];

	f.cached_bytes = f.file_bytes;
	f.mode = WEIR_IO_CACHE_NEVER;
	EXPECT_EQ(wr_io_choose(&f, why), WR_IO_DIRECT);
	f.mode = WEIR_IO_CACHE_ALWAYS;
	f.stall_permyriad = 9000;
	EXPECT_EQ(wr_io_choose(&f, why), WR_IO_THROUGH);
}

TEST(nothing_known_of_an_empty_file_is_direct)
{
	struct wr_io_facts f = {0};
	char why[WR_IO_CHOICE_BYTES];

	EXPECT_EQ(wr_io_choose(&f, why), WR_IO_DIRECT);
	EXPECT_FALSE(wr_io_is_warm(&f));
}

/* ---- on this machine ---- */

/* clang-format off */
FIXTURE(live) {
	char path[4096];
	int fd;
	void *mem;
	struct weir_io *io;
};
/* clang-format on */

static void cool(int fd)
{
	fsync(fd);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

FIXTURE_SETUP(live)
{
	struct weir_error err;
	struct weir_io_opts opts = {.size = sizeof(opts)};
	unsigned int align, memory;
	int probe;

	io_scratch_path(self->path, sizeof(self->path), false, "choice");
	self->fd = open(self->path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	ASSERT_GE(self->fd, 0);
	ASSERT_EQ(posix_memalign(&self->mem, 4096, MIB), 0);
	for (uint64_t i = 0; i < FILE_BYTES / MIB; i++) {
		memset(self->mem, (int)i + 1, MIB);
		ASSERT_EQ(write(self->fd, self->mem, MIB), (ssize_t)MIB);
	}
	cool(self->fd);
	probe = open(self->path, O_RDONLY);
	ASSERT_GE(probe, 0);
	self->io = NULL;
	if (wr_io_probe_direct(probe, &align, &memory)) {
		close(probe);
		SKIP_SETUP("this file system has no direct reads (O_DIRECT)");
	}
	close(probe);
	ASSERT_EQ(weir_io_open(&opts, &self->io, &err), 0);
}

FIXTURE_TEARDOWN(live)
{
	weir_io_close(self->io);
	unlink(self->path);
	close(self->fd);
	free(self->mem);
}

struct wait {
	sem_t sem;
	int result;
	void *data;
};

static void done(void *arg, int result, void *data)
{
	struct wait *w = arg;

	w->result = result;
	w->data = data;
	sem_post(&w->sem);
}

/* The whole file; whether all bytes were right. */
static bool read_all(struct weir_io *io, struct weir_io_file *file, void *mem)
{
	bool good = true;

	for (uint64_t i = 0; i < FILE_BYTES / MIB; i++) {
		struct wait w = {0};
		struct weir_io_req req = {.file = file,
					  .offset = i * MIB,
					  .bytes = MIB,
					  .buf = mem,
					  .buf_bytes = MIB,
					  .done = done,
					  .arg = &w};

		sem_init(&w.sem, 0, 0);
		if (weir_io_read(io, &req, NULL))
			return false;
		while (sem_wait(&w.sem))
			;
		good = good && !w.result && *(unsigned char *)w.data == i + 1;
		sem_destroy(&w.sem);
	}
	return good;
}

TEST_F(live, what_was_asked_for_is_done_and_what_comes_in_stays)
{
	struct weir_io_file_info info;
	struct weir_io_file *file;

	ASSERT_EQ(weir_io_set_page_cache(self->io, WEIR_IO_CACHE_ALWAYS), 0);
	EXPECT_EQ(weir_io_page_cache(self->io), WEIR_IO_CACHE_ALWAYS);
	ASSERT_EQ(weir_io_file_open(self->io, self->path, &file, NULL), 0);
	weir_io_file_info(file, &info);
	EXPECT_EQ(info.direct, 0u);
	EXPECT_STREQ(weir_io_file_reason(file), "page cache: asked for");
	EXPECT_TRUE(read_all(self->io, file, self->mem));
	weir_io_file_close(file);
	if (wr_io_probe_cached(self->fd))
		EXPECT_GE(wr_io_probe_cached(self->fd), FILE_BYTES / 2);

	ASSERT_EQ(weir_io_set_page_cache(self->io, WEIR_IO_CACHE_NEVER), 0);
	ASSERT_EQ(weir_io_file_open(self->io, self->path, &file, NULL), 0);
	weir_io_file_info(file, &info);
	EXPECT_EQ(info.direct, 1u);
	EXPECT_TRUE(read_all(self->io, file, self->mem));
	weir_io_file_close(file);
	EXPECT_EQ(weir_io_set_page_cache(self->io, 4), -EINVAL);
}

TEST_F(live, a_file_that_nobody_has_read_is_read_directly_and_stays_out)
{
	struct weir_io_file_info info;
	struct weir_io_file *file;

	ASSERT_EQ(weir_io_file_open(self->io, self->path, &file, NULL), 0);
	weir_io_file_info(file, &info);
	EXPECT_EQ(info.direct, 1u);
	EXPECT_EQ(strncmp(weir_io_file_reason(file), "direct: ", 8), 0);
	EXPECT_TRUE(read_all(self->io, file, self->mem));
	EXPECT_LE(wr_io_probe_cached(self->fd), FILE_BYTES / 8);
	weir_io_file_close(file);
}

TEST_F(live, facts_of_this_machine_are_plausible)
{
	struct wr_io_refaults since = {0};
	struct wr_io_facts f = {0};
	int fd = open(self->path, O_RDONLY | O_DIRECT);

	ASSERT_GE(fd, 0);
	wr_io_measure_system("", &since, &f);
	f.file_bytes = FILE_BYTES;
	f.cached_bytes = wr_io_probe_cached(fd);
	EXPECT_EQ(f.file_bytes, FILE_BYTES);
	EXPECT_LE(f.cached_bytes, FILE_BYTES);
	EXPECT_GT(f.spare_bytes, 0u);
	EXPECT_GE(f.total_bytes, f.spare_bytes);
	EXPECT_LE(f.stall_permyriad, 10000u);
	EXPECT_GT(since.at_ns, 0u);
	wr_io_measure_rates(fd, &f);
	EXPECT_GT(f.device_bps, 0u);
	EXPECT_GT(f.cache_bps, 0u);
	EXPECT_NE(fcntl(fd, F_GETFL) & O_DIRECT, 0);
	close(fd);
}

TEST_F(live, a_file_in_the_page_cache_is_told_with_its_rates)
{
	struct weir_io_file *file;
	const char *why;

	for (uint64_t i = 0; i < FILE_BYTES / MIB; i++)
		ASSERT_EQ(pread(self->fd, self->mem, MIB, (off_t)(i * MIB)), (ssize_t)MIB);
	if (wr_io_probe_cached(self->fd) < FILE_BYTES)
		SKIP(return, "the kernel does not say what is in the page cache, or drops it");
	ASSERT_EQ(weir_io_file_open(self->io, self->path, &file, NULL), 0);
	why = weir_io_file_reason(file);
	EXPECT_TRUE(strstr(why, "GB/s") || strstr(why, "memory is short"));
	EXPECT_TRUE(read_all(self->io, file, self->mem));
	weir_io_file_close(file);
}

TEST_HARNESS_MAIN
