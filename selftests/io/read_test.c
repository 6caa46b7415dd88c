/* SPDX-License-Identifier: MIT */
/*
 * What every rung must do alike: the right bytes, at the place it says, once, from any thread, for
 * any range of a file.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "io/io_help.h"

#define FILE_BYTES ((5u << 20) + 12345u)
#define CHUNK	   ((size_t)64 << 10)
#define BUF_BYTES  ((size_t)8 << 20)

FIXTURE(rung)
{
	struct weir_io *io;
	struct weir_io_file *file;
	char path[256];
	void *buf;
};

IO_EVERY_RUNG(rung)

FIXTURE_SETUP(rung)
{
	/* Small limits: a whole-file read passes them many times over. */
	struct weir_io_opts opts = {
		.size = sizeof(opts),
		.backend = variant->backend,
		.chunk_bytes = CHUNK,
		.demand_bytes = 4 * CHUNK,
		.speculative_bytes = 2 * CHUNK,
		.depth = 8,
	};
	struct weir_error err = {0};

	IO_NEED_MEMORY_FILES(variant->memory);
	io_scratch_path(self->path, sizeof(self->path), variant->memory, "read");
	ASSERT_EQ(io_file_make(self->path, FILE_BYTES), 0);
	IO_OR_SKIP(weir_io_open(&opts, &self->io, &err), self->path, err);
	self->buf = io_buffer(BUF_BYTES);
	ASSERT_EQ(weir_io_register(self->io, self->buf, BUF_BYTES), 0);
	IO_OR_SKIP(weir_io_file_open(self->io, self->path, &self->file, &err), self->path, err);
}

FIXTURE_TEARDOWN(rung)
{
	weir_io_file_close(self->file);
	weir_io_close(self->io);
	io_buffer_free(self->buf, BUF_BYTES);
	unlink(self->path);
}

/* Reads the range into a landing buffer of just the size asked for; what is wrong with it, or NULL. */
static const char *wrong_with(struct weir_io *io, struct weir_io_file *file, char *buf,
			      uint64_t offset, size_t bytes)
{
	size_t landing = weir_io_landing_bytes(file, offset, bytes);
	struct weir_io_file_info info;
	char *data;
	void *ret;

	weir_io_file_info(file, &info);
	if (landing < bytes || landing >= bytes + 2 * (size_t)info.offset_align + 2 * 4096)
		return "landing size";
	memset(buf, 0x5a, landing);
	buf[landing] = 0x11;
	if (io_read_now(io, file, offset, bytes, buf, landing, &ret) != 0)
		return "result";
	data = ret;
	if (data < buf || data + bytes > buf + landing)
		return "data outside the landing buffer";
	if (io_first_wrong(data, offset, bytes) != offset + bytes)
		return "bytes";
	return buf[landing] == 0x11 ? NULL : "written past the landing buffer";
}

TEST_F(rung, any_range_gives_the_bytes_of_the_file)
{
	static const struct {
		uint64_t offset;
		size_t bytes;
	} ranges[] = {
		{0, 1},
		{0, FILE_BYTES},
		{FILE_BYTES - 1, 1},
		{1, FILE_BYTES - 1},
		{4095, 2},
		{511, 513},
		{CHUNK - 1, 2},
		{CHUNK - 1, CHUNK + 2},
		{CHUNK, CHUNK},
		{3 * CHUNK + 17, 5 * CHUNK},
		{FILE_BYTES - CHUNK - 3, CHUNK + 3},
		{FILE_BYTES - 12345, 12345},
	};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		EXPECT_EQ(wrong_with(self->io, self->file, self->buf, ranges[i].offset,
				     ranges[i].bytes),
			  NULL)
		{
			TH_LOG("range %zu", i);
		}
	}
	srandom(1);
	for (int i = 0; i < 300; i++) {
		uint64_t offset = (uint64_t)random() % FILE_BYTES;
		size_t left = FILE_BYTES - offset;
		size_t bytes = 1 + (size_t)random() % (left < 300000 ? left : 300000);

		EXPECT_EQ(wrong_with(self->io, self->file, self->buf, offset, bytes), NULL)
		{
			TH_LOG("%zu bytes at %llu", bytes, (unsigned long long)offset);
		}
	}
}

TEST_F(rung, a_buffer_outside_every_region_works_too)
{
	char *buf = aligned_alloc(4096, CHUNK + 8192);

	EXPECT_EQ(wrong_with(self->io, self->file, buf, 4097, CHUNK), NULL);
	free(buf);
}

TEST_F(rung, a_speculative_read_gives_the_same_bytes)
{
	struct weir_io_req req;
	struct io_wait w;

	io_wait_init(&w);
	req = io_request(self->file, 777, FILE_BYTES - 777, self->buf, BUF_BYTES,
			 WEIR_IO_SPECULATIVE, &w);
	ASSERT_EQ(weir_io_read(self->io, &req, NULL), 0);
	EXPECT_EQ(io_wait_for(&w), 0);
	EXPECT_EQ(io_first_wrong(w.data, 777, FILE_BYTES - 777), FILE_BYTES);
}

TEST_F(rung, the_engine_runs_on_the_rung_asked_for_and_counts)
{
	struct weir_io_stats stats;
	struct weir_io_file_info info;
	void *data;

	if (variant->backend == WEIR_IO_AUTO) {
		EXPECT_NE(weir_io_backend(self->io), WEIR_IO_AUTO);
	} else {
		EXPECT_EQ(weir_io_backend(self->io), (int)variant->backend);
	}
	EXPECT_NE(weir_io_backend_reason(self->io)[0], '\0');
	weir_io_file_info(self->file, &info);
	EXPECT_EQ(info.bytes, FILE_BYTES);
	EXPECT_EQ(info.direct, variant->backend != WEIR_IO_BUFFERED && !variant->memory);
	EXPECT_EQ(info.direct, info.offset_align > 1);
	ASSERT_EQ(io_read_now(self->io, self->file, 0, FILE_BYTES, self->buf, BUF_BYTES, &data), 0);
	weir_io_stats(self->io, &stats);
	EXPECT_EQ(stats.nr_reads, 1);
	EXPECT_EQ(stats.nr_failed, 0);
	EXPECT_EQ(stats.nr_cancelled, 0);
	EXPECT_EQ(stats.bytes_wanted, FILE_BYTES);
	EXPECT_GE(stats.bytes_read, FILE_BYTES);
	EXPECT_GE(stats.nr_chunks, FILE_BYTES / CHUNK);
	EXPECT_LE(stats.max_inflight_bytes, 4 * CHUNK);
	EXPECT_GE(stats.max_inflight_bytes, CHUNK);
	EXPECT_GT(stats.demand_wait_ns, 0);
	EXPECT_EQ(stats.nr_fixed_chunks, variant->backend == WEIR_IO_FIXED ? stats.nr_chunks : 0);
}

TEST_F(rung, the_page_cache_does_not_grow)
{
	void *data;

	ASSERT_EQ(io_read_now(self->io, self->file, 100, FILE_BYTES - 200, self->buf, BUF_BYTES,
			      &data),
		  0);
	EXPECT_LE(io_resident_pages(self->path), FILE_BYTES / 4096 / 100);
}

TEST_F(rung, what_is_not_a_read_is_refused_and_never_called_back)
{
	struct weir_io_req good, req;
	struct io_wait w;
	uint64_t token = 42;

	io_wait_init(&w);
	good = io_request(self->file, 0, 100, self->buf, BUF_BYTES, WEIR_IO_DEMAND, &w);
	req = good;
	req.bytes = 0;
	EXPECT_EQ(weir_io_read(self->io, &req, &token), -EINVAL);
	req = good;
	req.io_class = 2;
	EXPECT_EQ(weir_io_read(self->io, &req, &token), -EINVAL);
	req = good;
	req.buf = (char *)self->buf + 512;
	EXPECT_EQ(weir_io_read(self->io, &req, &token), -EINVAL);
	req = good;
	req.buf = NULL;
	EXPECT_EQ(weir_io_read(self->io, &req, &token), -EINVAL);
	req = good;
	req.buf_bytes = weir_io_landing_bytes(self->file, 0, 100) - 1;
	EXPECT_EQ(weir_io_read(self->io, &req, &token), -EINVAL);
	req = good;
	req.done = NULL;
	EXPECT_EQ(weir_io_read(self->io, &req, &token), -EINVAL);
	req = good;
	req.offset = FILE_BYTES - 99;
	EXPECT_EQ(weir_io_read(self->io, &req, &token), -ENODATA);
	req = good;
	req.offset = UINT64_MAX - 10;
	EXPECT_EQ(weir_io_read(self->io, &req, &token), -ENODATA);
	EXPECT_EQ(weir_io_landing_bytes(self->file, UINT64_MAX - 10, 100), 0);
	EXPECT_EQ(token, 42);
	ASSERT_EQ(weir_io_read(self->io, &good, &token), 0);
	EXPECT_NE(token, 0);
	EXPECT_EQ(io_wait_for(&w), 0);
	weir_io_promote(self->io, token);
	weir_io_cancel(self->io, token);
	weir_io_promote(self->io, 0);
	weir_io_cancel(self->io, UINT64_MAX);
	weir_io_file_close(self->file);
	self->file = NULL;
	EXPECT_EQ(atomic_load(&w.nr_calls), 1);
}

TEST_F(rung, a_region_is_checked)
{
	EXPECT_EQ(weir_io_register(self->io, NULL, 4096), -EINVAL);
	EXPECT_EQ(weir_io_register(self->io, (char *)self->buf + 1, 4096), -EINVAL);
	EXPECT_EQ(weir_io_register(self->io, self->buf, 0), -EINVAL);
	EXPECT_EQ(weir_io_register(self->io, self->buf, 4095), -EINVAL);
}

/* ---- many threads --------------------------------------------------------------------------- */

#define NR_THREADS 4
#define NR_EACH	   200

struct submitter {
	struct weir_io *io;
	struct weir_io_file *file;
	unsigned seed;
	pthread_t thread;
	const char *wrong;
};

static void *submit(void *arg)
{
	struct submitter *s = arg;
	const size_t part = 128 << 10;
	char *buf = io_buffer(16 * part);
	struct io_wait waits[16];
	struct weir_io_req reqs[16];

	for (int i = 0; i < 16; i++)
		io_wait_init(&waits[i]);
	for (int i = 0; i < NR_EACH + 16; i++) {
		struct io_wait *w = &waits[i % 16];
		struct weir_io_req *req = &reqs[i % 16];
		uint64_t offset = (uint64_t)rand_r(&s->seed) % (FILE_BYTES - 70000);

		if (i >= 16) {
			if (io_wait_for(w) != 0)
				s->wrong = "result";
			else if (io_first_wrong(w->data, req->offset, req->bytes) !=
				 req->offset + req->bytes)
				s->wrong = "bytes";
		}
		if (i >= NR_EACH)
			continue;
		*req = io_request(s->file, offset, 1 + (size_t)rand_r(&s->seed) % 70000,
				  buf + (size_t)(i % 16) * part, part, (uint32_t)i % 2, w);
		if (weir_io_read(s->io, req, &w->token) != 0)
			s->wrong = "submission";
		if (i % 4 == 1)
			weir_io_promote(s->io, w->token);
	}
	for (int i = 0; i < 16; i++) {
		if (waits[i].nr_calls != NR_EACH / 16 + (i < NR_EACH % 16))
			s->wrong = "number of callbacks";
	}
	io_buffer_free(buf, 16 * part);
	return NULL;
}

TEST_F(rung, four_threads_submit_at_once)
{
	struct submitter s[NR_THREADS] = {{0}};
	struct weir_io_stats stats;

	for (unsigned i = 0; i < NR_THREADS; i++) {
		s[i].io = self->io;
		s[i].file = self->file;
		s[i].seed = i + 1;
		ASSERT_EQ(pthread_create(&s[i].thread, NULL, submit, &s[i]), 0);
	}
	for (unsigned i = 0; i < NR_THREADS; i++) {
		pthread_join(s[i].thread, NULL);
		EXPECT_EQ(s[i].wrong, NULL)
		{
			TH_LOG("thread %u: %s", i, s[i].wrong);
		}
	}
	weir_io_stats(self->io, &stats);
	EXPECT_EQ(stats.nr_reads, NR_THREADS * NR_EACH);
	EXPECT_LE(stats.max_inflight_bytes, 6 * CHUNK);
}

/* ---- callbacks that submit ------------------------------------------------------------------- */

struct chain {
	struct weir_io *io;
	struct weir_io_req req;
	int left;
	int result;
	struct io_wait end;
};

static void next_link(void *arg, int result, void *data)
{
	struct chain *c = arg;
	struct weir_io_req last;

	(void)data;
	if (result != 0)
		c->result = result;
	if (--c->left > 0) {
		c->req.offset += 4000;
		if (weir_io_read(c->io, &c->req, NULL) != 0)
			c->result = -1;
		return;
	}
	last = io_request(c->req.file, 0, 1, c->req.buf, c->req.buf_bytes, WEIR_IO_DEMAND, &c->end);
	if (weir_io_read(c->io, &last, NULL) != 0)
		c->result = -1;
}

TEST_F(rung, a_callback_may_submit)
{
	struct chain c = {.io = self->io, .left = 500};

	io_wait_init(&c.end);
	c.req = io_request(self->file, 0, 5000, self->buf, BUF_BYTES, WEIR_IO_SPECULATIVE, NULL);
	c.req.done = next_link;
	c.req.arg = &c;
	ASSERT_EQ(weir_io_read(self->io, &c.req, NULL), 0);
	EXPECT_EQ(io_wait_for(&c.end), 0);
	EXPECT_EQ(c.result, 0);
}

TEST_HARNESS_MAIN
