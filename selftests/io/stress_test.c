/* SPDX-License-Identifier: MIT */
/*
 * Everything at once, for ThreadSanitizer above all: threads that read, threads that promote and
 * cancel whatever token they find, fresh or long void, while outcomes fail, shorten and repeat. Each
 * read ends once; one that says 0 has its bytes.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "io/io_help.h"
#include "io/io_internal.h"

#define CHUNK	   ((size_t)64 << 10)
#define FILE_BYTES (24 * CHUNK + 333)
#define NR_READERS 3
#define NR_EACH	   400
#define WINDOW	   12
#define PART	   (4 * CHUNK)

FIXTURE(stress)
{
	struct weir_io *io;
	struct weir_io_file *file;
	struct wr_io_fault fault;
	char path[256];
	_Atomic uint64_t tokens[64];
	_Atomic bool over;
	_Atomic unsigned nr_attempts;
};

IO_EVERY_RUNG(stress)

static int64_t disturb(void *arg, uint64_t offset, size_t bytes, int64_t res)
{
	unsigned n = atomic_fetch_add((_Atomic unsigned *)arg, 1);

	(void)offset;
	(void)bytes;
	if (n % 13 == 5)
		return -EINTR;
	if (n % 17 == 3)
		return -EAGAIN;
	if (n % 7 == 2 && res > 8192)
		return res - 4096;
	return n % 101 == 50 ? -EIO : res;
}

FIXTURE_SETUP(stress)
{
	struct weir_io_opts opts = {
		.size = sizeof(opts),
		.backend = variant->backend,
		.chunk_bytes = CHUNK,
		.demand_bytes = 4 * CHUNK,
		.speculative_bytes = 3 * CHUNK,
		.depth = 6,
	};
	struct weir_error err = {0};

	IO_NEED_MEMORY_FILES(variant->memory);
	io_scratch_path(self->path, sizeof(self->path), variant->memory, "stress");
	ASSERT_EQ(io_file_make(self->path, FILE_BYTES), 0);
	IO_OR_SKIP(weir_io_open(&opts, &self->io, &err), self->path, err);
	IO_OR_SKIP(weir_io_file_open(self->io, self->path, &self->file, &err), self->path, err);
	self->fault = (struct wr_io_fault){.filter = disturb, .arg = &self->nr_attempts};
	wr_io_set_fault(self->io, &self->fault);
}

FIXTURE_TEARDOWN(stress)
{
	weir_io_file_close(self->file);
	weir_io_close(self->io);
	unlink(self->path);
}

struct reader {
	FIXTURE_DATA(stress) * self;
	unsigned seed;
	pthread_t thread;
	int nr_good, nr_cancelled, nr_failed, nr_wrong;
};

static void judge(struct reader *r, const struct weir_io_req *req, struct io_wait *w)
{
	switch (io_wait_for(w)) {
	case 0:
		r->nr_good++;
		if (io_first_wrong(w->data, req->offset, req->bytes) != req->offset + req->bytes)
			r->nr_wrong++;
		break;
	case -ECANCELED:
		r->nr_cancelled++;
		break;
	case -EIO:
		/* The same chunk was hit twice. */
		r->nr_failed++;
		break;
	default:
		r->nr_wrong++;
	}
}

static void *read_on(void *arg)
{
	struct reader *r = arg;
	struct weir_io_req reqs[WINDOW];
	struct io_wait waits[WINDOW];
	char *buf = io_buffer(WINDOW * PART);

	for (int i = 0; i < WINDOW; i++)
		io_wait_init(&waits[i]);
	for (int i = 0; i < NR_EACH + WINDOW; i++) {
		int at = i % WINDOW;
		size_t bytes = 1 + (size_t)rand_r(&r->seed) % (PART - 8192);
		uint64_t offset = (uint64_t)rand_r(&r->seed) % (FILE_BYTES - bytes);

		if (i >= WINDOW)
			judge(r, &reqs[at], &waits[at]);
		if (i >= NR_EACH)
			continue;
		reqs[at] = io_request(r->self->file, offset, bytes, buf + (size_t)at * PART, PART,
				      (uint32_t)rand_r(&r->seed) % 2, &waits[at]);
		if (weir_io_read(r->self->io, &reqs[at], &waits[at].token) != 0)
			r->nr_wrong++;
		/* Every second read is left alone, so that some are sure to come. */
		if (i % 2 == 0)
			atomic_store(&r->self->tokens[rand_r(&r->seed) % 64], waits[at].token);
	}
	for (int i = 0; i < WINDOW; i++) {
		if (atomic_load(&waits[i].nr_calls) != NR_EACH / WINDOW + (i < NR_EACH % WINDOW))
			r->nr_wrong++;
	}
	io_buffer_free(buf, WINDOW * PART);
	return NULL;
}

static void *meddle(void *arg)
{
	struct reader *r = arg;

	while (!atomic_load(&r->self->over)) {
		uint64_t token = atomic_load(&r->self->tokens[rand_r(&r->seed) % 64]);

		if (rand_r(&r->seed) % 8 == 0)
			weir_io_cancel(r->self->io, token);
		else
			weir_io_promote(r->self->io, token);
		usleep(100);
	}
	return NULL;
}

TEST_F_TIMEOUT(stress, every_read_ends_once_whatever_happens_to_it, 120)
{
	struct reader readers[NR_READERS + 2] = {{0}};
	struct weir_io_stats stats;
	uint64_t nr_good = 0, nr_cancelled = 0, nr_failed = 0;

	for (unsigned i = 0; i < NR_READERS + 2; i++) {
		readers[i].self = self;
		readers[i].seed = i + 1;
		ASSERT_EQ(pthread_create(&readers[i].thread, NULL,
					 i < NR_READERS ? read_on : meddle, &readers[i]),
			  0);
	}
	for (unsigned i = 0; i < NR_READERS + 2; i++) {
		if (i == NR_READERS)
			atomic_store(&self->over, true);
		pthread_join(readers[i].thread, NULL);
		EXPECT_EQ(readers[i].nr_wrong, 0);
		nr_good += (uint64_t)readers[i].nr_good;
		nr_cancelled += (uint64_t)readers[i].nr_cancelled;
		nr_failed += (uint64_t)readers[i].nr_failed;
	}
	EXPECT_EQ(nr_good + nr_cancelled + nr_failed, NR_READERS * NR_EACH);
	EXPECT_GT(nr_good, NR_READERS * NR_EACH / 4);
	weir_io_stats(self->io, &stats);
	EXPECT_EQ(stats.nr_reads, nr_good);
	EXPECT_EQ(stats.nr_cancelled, nr_cancelled);
	EXPECT_EQ(stats.nr_failed, nr_failed);
	EXPECT_GT(stats.nr_short, 0);
	EXPECT_GT(stats.nr_retries, 0);
	EXPECT_LE(stats.max_inflight_bytes, 7 * CHUNK);
}

TEST_HARNESS_MAIN
