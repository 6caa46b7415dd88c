/* SPDX-License-Identifier: MIT */
/* Writes and syncs through the engine, on every rung: what is written is read back; faults. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "io/io_help.h"
#include "io/io_internal.h"
#include "io/write.h"

#define BYTES ((size_t)5 << 20)

FIXTURE(write)
{
	char path[256];
	struct weir_io *io;
	struct weir_io_file *file;
	char *buf;
	char *back;
	struct io_gate gate;
	struct wr_io_fault fault;
	int nr_left; /* outcomes that are replaced */
	int64_t code;
};

IO_EVERY_RUNG(write)

static int64_t replace(void *arg, uint64_t offset, size_t bytes, int64_t res)
{
	FIXTURE_DATA(write) *self = arg;

	if (self->nr_left == 0)
		return res;
	self->nr_left--;
	/* A short write has really written that much. */
	return self->code < 0 ? self->code : res < self->code ? res : self->code;
}

FIXTURE_SETUP(write)
{
	struct weir_io_opts opts = {
		.size = sizeof(opts), .backend = variant->backend, .chunk_bytes = 256 << 10};
	struct weir_error err;
	int fd;

	IO_NEED_MEMORY_FILES(variant->memory);
	io_scratch_path(self->path, sizeof(self->path), variant->memory, "write");
	IO_OR_SKIP(weir_io_open(&opts, &self->io, &err), self->path, err);
	io_gate_init(&self->gate, false);
	self->gate.replace = replace;
	self->gate.arg = self;
	self->fault = (struct wr_io_fault){.filter = io_gate_filter, .arg = &self->gate};
	wr_io_set_fault(self->io, &self->fault);
	fd = open(self->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(ftruncate(fd, (off_t)BYTES), 0);
	IO_OR_SKIP(wr_io_file_adopt(self->io, fd, self->path, BYTES, &self->file, &err), self->path,
		   err);
	self->buf = io_buffer(BYTES);
	self->back = io_buffer(BYTES);
	for (size_t i = 0; i < BYTES; i++)
		self->buf[i] = (char)io_byte_at(i);
}

FIXTURE_TEARDOWN(write)
{
	weir_io_file_close(self->file);
	weir_io_close(self->io);
	io_buffer_free(self->buf, BYTES);
	io_buffer_free(self->back, BYTES);
	unlink(self->path);
	EXPECT_EQ(wr_test_alloc_live(), 0);
}

static int write_now(FIXTURE_DATA(write) * self, uint64_t offset, size_t bytes)
{
	struct io_wait w;
	struct weir_io_req req;
	int rc;

	io_wait_init(&w);
	req = io_request(self->file, offset, bytes, self->buf + offset, bytes, WEIR_IO_DEMAND, &w);
	rc = wr_io_write(self->io, &req, NULL);
	return rc != 0 ? rc : io_wait_for(&w);
}

static int sync_now(FIXTURE_DATA(write) * self)
{
	struct io_wait w;
	struct weir_io_req req;
	int rc;

	io_wait_init(&w);
	req = io_request(self->file, 0, 0, NULL, 0, WEIR_IO_DEMAND, &w);
	rc = wr_io_sync(self->io, &req, NULL);
	return rc != 0 ? rc : io_wait_for(&w);
}

TEST_F(write, what_is_written_is_read_back)
{
	struct weir_io_stats stats;
	void *data;

	ASSERT_EQ(write_now(self, 0, BYTES), 0);
	ASSERT_EQ(sync_now(self), 0);
	ASSERT_EQ(io_read_now(self->io, self->file, 0, BYTES, self->back, BYTES, &data), 0);
	EXPECT_EQ(io_first_wrong(data, 0, BYTES), BYTES);
	weir_io_stats(self->io, &stats);
	EXPECT_EQ(stats.nr_writes, 2);
	EXPECT_EQ(stats.nr_syncs, 1);
	EXPECT_EQ(stats.bytes_written, BYTES);
	EXPECT_EQ(stats.nr_reads, 1);
}

TEST_F(write, short_writes_go_on_where_they_stopped)
{
	void *data;

	self->nr_left = 6;
	self->code = 8192;
	ASSERT_EQ(write_now(self, 0, BYTES), 0);
	ASSERT_EQ(io_read_now(self->io, self->file, 0, BYTES, self->back, BYTES, &data), 0);
	EXPECT_EQ(io_first_wrong(data, 0, BYTES), BYTES);
	EXPECT_EQ(self->nr_left, 0);
}

TEST_F(write, a_device_error_is_tried_again_once)
{
	self->nr_left = 1;
	self->code = -EIO;
	EXPECT_EQ(write_now(self, 0, 65536), 0);
	self->nr_left = 2;
	EXPECT_EQ(write_now(self, 0, 65536), -EIO);
	EXPECT_EQ(self->nr_left, 0);
}

TEST_F(write, a_full_file_system_is_named_and_not_tried_again)
{
	static const int codes[][2] = {
		{ENOSPC, -EDQUOT}, {EDQUOT, -EDQUOT}, {EROFS, -EROFS}, {EFBIG, -EFBIG}};

	for (size_t i = 0; i < 4; i++) {
		self->nr_left = 1;
		self->code = -codes[i][0];
		EXPECT_EQ(write_now(self, 0, 65536), codes[i][1]);
		EXPECT_EQ(self->nr_left, 0);
	}
}

TEST_F(write, a_failed_sync_is_never_tried_again)
{
	self->nr_left = 1;
	self->code = -EIO;
	EXPECT_EQ(sync_now(self), -EIO);
	EXPECT_EQ(self->nr_left, 0);
	EXPECT_EQ(sync_now(self), 0);
}

TEST_F(write, a_write_must_be_aligned_inside_the_file_and_to_one_of_ours)
{
	struct weir_io_file_info info;
	struct weir_io_file *read_only;
	struct weir_io_req req;
	struct io_wait w;

	weir_io_file_info(self->file, &info);
	if (info.direct)
		EXPECT_EQ(write_now(self, 4096, 100), -EINVAL);
	EXPECT_EQ(write_now(self, BYTES - 4096, 8192), -ENODATA);
	ASSERT_EQ(weir_io_file_open(self->io, self->path, &read_only, NULL), 0);
	io_wait_init(&w);
	req = io_request(read_only, 0, 4096, self->buf, 4096, WEIR_IO_DEMAND, &w);
	EXPECT_EQ(wr_io_write(self->io, &req, NULL), -EINVAL);
	EXPECT_EQ(wr_io_sync(self->io, &req, NULL), -EINVAL);
	weir_io_file_close(read_only);
}

TEST_HARNESS_MAIN
