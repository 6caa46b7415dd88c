/* SPDX-License-Identifier: MIT */
/*
 * What goes wrong below the engine: short reads, interruptions, device errors, files that change
 * while they are read, memory that is short. Exactly the reads concerned fail, with a code that
 * says why; all others give their bytes and the engine goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "harness/holdings.h"
#include "io/io_help.h"
#include "io/io_internal.h"

#define CHUNK	   ((size_t)64 << 10)
#define FILE_BYTES (16 * CHUNK + 777)
#define BUF_BYTES  ((size_t)4 << 20)

FIXTURE(faulty)
{
	struct weir_io *io;
	struct weir_io_file *file;
	struct io_gate gate;
	struct wr_io_fault fault;
	char path[256], other[256];
	char *buf;
};

IO_EVERY_RUNG(faulty)

FIXTURE_SETUP(faulty)
{
	struct weir_io_opts opts = {
		.size = sizeof(opts),
		.backend = variant->backend,
		.chunk_bytes = CHUNK,
	};
	struct weir_error err = {0};

	IO_NEED_MEMORY_FILES(variant->memory);
	io_scratch_path(self->path, sizeof(self->path), variant->memory, "fault");
	io_scratch_path(self->other, sizeof(self->other), variant->memory, "fault-other");
	ASSERT_EQ(io_file_make(self->path, FILE_BYTES), 0);
	IO_OR_SKIP(weir_io_open(&opts, &self->io, &err), self->path, err);
	IO_OR_SKIP(weir_io_file_open(self->io, self->path, &self->file, &err), self->path, err);
	self->buf = io_buffer(BUF_BYTES);
	ASSERT_EQ(weir_io_register(self->io, self->buf, BUF_BYTES), 0);
	io_gate_init(&self->gate, false);
	self->fault = (struct wr_io_fault){.filter = io_gate_filter, .arg = &self->gate};
	wr_io_set_fault(self->io, &self->fault);
}

FIXTURE_TEARDOWN(faulty)
{
	io_gate_open(&self->gate);
	weir_io_file_close(self->file);
	weir_io_close(self->io);
	io_buffer_free(self->buf, BUF_BYTES);
	unlink(self->path);
	unlink(self->other);
}

/* The whole file; the result, or 1 when the bytes are wrong. */
static int read_whole(FIXTURE_DATA(faulty) * self)
{
	void *data;
	int rc;

	memset(self->buf, 0, BUF_BYTES);
	rc = io_read_now(self->io, self->file, 1, FILE_BYTES - 1, self->buf, BUF_BYTES, &data);
	if (rc == 0 && io_first_wrong(data, 1, FILE_BYTES - 1) != FILE_BYTES)
		return 1;
	return rc;
}

/* Attempts at one offset, and what becomes of the first few. */
struct plan {
	uint64_t offset; /* of the attempt */
	int nr;		 /* attempts so far */
	int times;	 /* how many are replaced */
	int64_t by;
};

static int64_t replace_planned(void *arg, uint64_t offset, size_t bytes, int64_t res)
{
	struct plan *p = arg;

	(void)bytes;
	if (offset != p->offset || p->nr++ >= p->times)
		return res;
	return p->by;
}

static void plan(FIXTURE_DATA(faulty) * self, struct plan *p)
{
	self->gate.arg = p;
	self->gate.replace = replace_planned;
}

static int64_t halve(void *arg, uint64_t offset, size_t bytes, int64_t res)
{
	(void)arg;
	(void)offset;
	return res > 1 && bytes > 4096 ? res / 2 + 1 : res;
}

TEST_F(faulty, short_reads_are_continued)
{
	struct weir_io_stats stats;

	self->gate.replace = halve;
	EXPECT_EQ(read_whole(self), 0);
	weir_io_stats(self->io, &stats);
	EXPECT_GE(stats.nr_short, FILE_BYTES / CHUNK);
}

struct few {
	unsigned seed;
	int64_t least;
};

static int64_t few_bytes(void *arg, uint64_t offset, size_t bytes, int64_t res)
{
	struct few *few = arg;
	int64_t n = few->least + rand_r(&few->seed) % 9000;

	(void)offset;
	(void)bytes;
	return n < res ? n : res;
}

TEST_F(faulty, short_reads_of_any_length_are_continued)
{
	struct weir_io_file_info info;
	struct few few = {.seed = 1};

	/* Of a direct read, less than a block is how a file ends. */
	weir_io_file_info(self->file, &info);
	few.least = info.offset_align;
	self->gate.replace = few_bytes;
	self->gate.arg = &few;
	EXPECT_EQ(read_whole(self), 0);
}

TEST_F(faulty, interruptions_are_repeated)
{
	struct plan p = {.offset = 3 * CHUNK, .times = 3, .by = -EINTR};
	struct weir_io_stats stats;

	plan(self, &p);
	EXPECT_EQ(read_whole(self), 0);
	p = (struct plan){.offset = 5 * CHUNK, .times = 20, .by = -EAGAIN};
	EXPECT_EQ(read_whole(self), 0);
	p = (struct plan){.offset = 5 * CHUNK, .times = 2, .by = -ENOMEM};
	EXPECT_EQ(read_whole(self), 0);
	weir_io_stats(self->io, &stats);
	EXPECT_EQ(stats.nr_retries, 25);
	EXPECT_EQ(stats.nr_failed, 0);
}

TEST_F(faulty, what_never_stops_being_interrupted_ends)
{
	struct plan p = {.offset = 3 * CHUNK, .times = 1 << 30, .by = -EAGAIN};

	plan(self, &p);
	EXPECT_EQ(read_whole(self), -EIO);
	p = (struct plan){.offset = 3 * CHUNK, .times = 1 << 30, .by = -ENOMEM};
	EXPECT_EQ(read_whole(self), -ENOMEM);
	p.times = 0;
	EXPECT_EQ(read_whole(self), 0);
}

TEST_F(faulty, a_device_error_is_tried_once_more)
{
	struct plan p = {.offset = 4 * CHUNK, .times = 1, .by = -EIO};

	plan(self, &p);
	EXPECT_EQ(read_whole(self), 0);
	EXPECT_EQ(p.nr, 2);
}

TEST_F(faulty, a_device_error_that_stays_fails_that_read_and_no_other)
{
	struct plan p = {.offset = 4 * CHUNK, .times = 1 << 30, .by = -EIO};
	struct weir_io_stats stats;
	struct io_wait w[16];
	struct weir_io_req req;

	plan(self, &p);
	for (int i = 0; i < 16; i++) {
		io_wait_init(&w[i]);
		req = io_request(self->file, (uint64_t)i * CHUNK, CHUNK,
				 self->buf + (size_t)i * CHUNK, CHUNK, (uint32_t)i % 2, &w[i]);
		ASSERT_EQ(weir_io_read(self->io, &req, NULL), 0);
	}
	for (int i = 0; i < 16; i++) {
		EXPECT_EQ(io_wait_for(&w[i]), i == 4 ? -EIO : 0);
		EXPECT_EQ(w[i].data != NULL, i != 4);
	}
	EXPECT_EQ(p.nr, 2);
	weir_io_stats(self->io, &stats);
	EXPECT_EQ(stats.nr_failed, 1);
	EXPECT_EQ(stats.nr_reads, 15);
	p.times = 0;
	EXPECT_EQ(read_whole(self), 0);
}

TEST_F(faulty, a_bad_sector_is_not_the_end_of_the_file)
{
	struct plan p = {.offset = 4 * CHUNK, .times = 1 << 30, .by = -ENODATA};

	plan(self, &p);
	EXPECT_EQ(read_whole(self), -EIO);
}

TEST_F(faulty, an_end_where_there_is_none_is_not_taken_for_bytes)
{
	struct plan p = {.offset = 4 * CHUNK, .times = 1 << 30, .by = 0};

	plan(self, &p);
	EXPECT_EQ(read_whole(self), -ENODATA);
}

TEST_F(faulty, a_buffer_that_is_no_memory_is_the_callers_mistake)
{
	void *data, *gone = io_buffer(4 * CHUNK);

	wr_io_set_fault(self->io, NULL);
	ASSERT_EQ(mprotect(gone, 4 * CHUNK, PROT_NONE), 0);
	EXPECT_EQ(io_read_now(self->io, self->file, 0, CHUNK, gone, 2 * CHUNK, &data), -EINVAL);
	ASSERT_EQ(mprotect(gone, 4 * CHUNK, PROT_READ | PROT_WRITE), 0);
	io_buffer_free(gone, 4 * CHUNK);
	EXPECT_EQ(read_whole(self), 0);
}

/* ---- files that change -------------------------------------------------------------------------- */

TEST_F(faulty, truncation_fails_what_is_gone_and_nothing_else)
{
	void *data;

	EXPECT_EQ(weir_io_file_check(self->file), 0);
	ASSERT_EQ(truncate(self->path, 8 * CHUNK + 100), 0);
	EXPECT_EQ(io_read_now(self->io, self->file, 0, 8 * CHUNK, self->buf, BUF_BYTES, &data), 0);
	EXPECT_EQ(io_first_wrong(data, 0, 8 * CHUNK), 8 * CHUNK);
	EXPECT_EQ(io_read_now(self->io, self->file, 12 * CHUNK, CHUNK, self->buf, BUF_BYTES, &data),
		  -ESTALE);
	EXPECT_EQ(data, NULL);
	EXPECT_EQ(read_whole(self), -ESTALE);
	EXPECT_EQ(weir_io_file_check(self->file), -ESTALE);
}

TEST_F(faulty, truncation_while_streaming_fails_what_is_gone)
{
	struct io_wait w[16];
	struct weir_io_req req;
	int nr_good = 0;

	self->gate.shut = true;
	for (int i = 0; i < 16; i++) {
		io_wait_init(&w[i]);
		req = io_request(self->file, (uint64_t)i * CHUNK, CHUNK,
				 self->buf + (size_t)i * CHUNK, CHUNK, WEIR_IO_DEMAND, &w[i]);
		ASSERT_EQ(weir_io_read(self->io, &req, NULL), 0);
	}
	io_gate_await(&self->gate, 1);
	ASSERT_EQ(truncate(self->path, 2 * CHUNK), 0);
	io_gate_open(&self->gate);
	for (int i = 0; i < 16; i++) {
		int rc = io_wait_for(&w[i]);

		/* What the kernel had read before is good; what it had not is gone. */
		if (i < 2) {
			EXPECT_EQ(rc, 0);
		} else {
			EXPECT_TRUE(rc == 0 || rc == -ESTALE);
		}
		if (rc == 0) {
			nr_good++;
			EXPECT_EQ(io_first_wrong(w[i].data, (uint64_t)i * CHUNK, CHUNK),
				  ((uint64_t)i + 1) * CHUNK);
		}
	}
	EXPECT_GE(nr_good, 2);
}

TEST_F(faulty, a_file_replaced_by_rename_is_noticed)
{
	ASSERT_EQ(io_file_make(self->other, FILE_BYTES), 0);
	ASSERT_EQ(rename(self->other, self->path), 0);
	EXPECT_EQ(weir_io_file_check(self->file), -ESTALE);
	/* The open file is still the old one, whole. */
	EXPECT_EQ(read_whole(self), 0);
}

TEST_F(faulty, a_device_error_of_a_replaced_file_says_stale)
{
	struct plan p = {.offset = 4 * CHUNK, .times = 1 << 30, .by = -EIO};

	plan(self, &p);
	ASSERT_EQ(unlink(self->path), 0);
	EXPECT_EQ(read_whole(self), -ESTALE);
	EXPECT_EQ(weir_io_file_check(self->file), -ESTALE);
}

TEST_F(faulty, a_file_written_to_is_noticed)
{
	const struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};

	ASSERT_EQ(utimensat(AT_FDCWD, self->path, times, 0), 0);
	EXPECT_EQ(weir_io_file_check(self->file), -ESTALE);
}

TEST_F(faulty, a_relative_path_outlives_a_change_of_folder)
{
	struct weir_io_file *file;
	char *slash = strrchr(self->path, '/');

	*slash = '\0';
	ASSERT_EQ(chdir(self->path), 0);
	ASSERT_EQ(weir_io_file_open(self->io, slash + 1, &file, NULL), 0);
	*slash = '/';
	ASSERT_EQ(chdir("/"), 0);
	EXPECT_EQ(weir_io_file_check(file), 0);
	weir_io_file_close(file);
}

/* ---- memory that is short ------------------------------------------------------------------------- */

static int open_and_read(FIXTURE_DATA(faulty) * self, const struct weir_io_opts *opts)
{
	struct weir_error err = {0};
	struct weir_io *io = NULL;
	struct weir_io_file *file = NULL;
	void *data;
	int rc;

	rc = weir_io_open(opts, &io, &err);
	if (rc == 0)
		rc = weir_io_register(io, self->buf, BUF_BYTES);
	if (rc == 0)
		rc = weir_io_file_open(io, self->path, &file, &err);
	if (rc == 0)
		rc = io_read_now(io, file, 5, 3 * CHUNK, self->buf, BUF_BYTES, &data);
	if (rc == 0 && io_first_wrong(data, 5, 3 * CHUNK) != 5 + 3 * CHUNK)
		rc = 1;
	weir_io_file_close(file);
	weir_io_close(io);
	return rc;
}

TEST_F(faulty, any_single_allocation_may_fail)
{
	struct weir_io_opts opts = {.size = sizeof(opts), .backend = variant->backend};
	int64_t live = wr_test_alloc_live();
	int nr_fds = nr_open_files(), rc;
	uint64_t n = 0;

	do {
		wr_test_alloc_fail_at(++n);
		rc = open_and_read(self, &opts);
		/* An engine free to choose may do without what it could not have. */
		if (wr_test_alloc_failed() && variant->backend != WEIR_IO_AUTO) {
			EXPECT_EQ(rc, -ENOMEM);
		} else {
			EXPECT_TRUE(rc == 0 || rc == -ENOMEM);
		}
		EXPECT_EQ(wr_test_alloc_live(), live);
		EXPECT_EQ(nr_open_files(), nr_fds);
	} while (wr_test_alloc_failed());
	wr_test_alloc_fail_at(0);
	EXPECT_EQ(rc, 0);
	EXPECT_GE(n, 6);
}

TEST_HARNESS_MAIN
