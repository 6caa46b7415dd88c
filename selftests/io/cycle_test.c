/* SPDX-License-Identifier: MIT */
/* Ends: thousands of reads outstanding at close, and engines opened and closed again and again. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "harness/holdings.h"
#include "harness/sanitized.h"
#include "io/io_help.h"
#include "io/io_internal.h"

#define CHUNK	   ((size_t)64 << 10)
#define FILE_BYTES (16 * CHUNK)
#define NR_READS   5000
#define BUF_BYTES  (NR_READS * (size_t)4096)

FIXTURE(ending)
{
	struct weir_io_opts opts;
	char path[256];
	char *buf;
};

IO_EVERY_RUNG(ending)

FIXTURE_SETUP(ending)
{
	struct weir_error err = {0};
	struct weir_io_file *file;
	struct weir_io *io;

	self->opts = (struct weir_io_opts){
		.size = sizeof(self->opts),
		.backend = variant->backend,
		.chunk_bytes = CHUNK,
	};
	IO_NEED_MEMORY_FILES(variant->memory);
	io_scratch_path(self->path, sizeof(self->path), variant->memory, "ending");
	ASSERT_EQ(io_file_make(self->path, FILE_BYTES), 0);
	IO_OR_SKIP(weir_io_open(&self->opts, &io, &err), self->path, err);
	IO_OR_SKIP(weir_io_file_open(io, self->path, &file, &err), self->path, err);
	weir_io_file_close(file);
	weir_io_close(io);
	self->buf = io_buffer(BUF_BYTES);
}

FIXTURE_TEARDOWN(ending)
{
	io_buffer_free(self->buf, BUF_BYTES);
	unlink(self->path);
}

struct tally {
	_Atomic int nr;
	_Atomic int calls[NR_READS];
};

struct mark {
	struct tally *tally;
	int index;
	_Atomic int result;
};

static void on_done(void *arg, int result, void *data)
{
	struct mark *m = arg;

	(void)data;
	atomic_store(&m->result, result);
	atomic_fetch_add(&m->tally->calls[m->index], 1);
	atomic_fetch_add(&m->tally->nr, 1);
}

TEST_F(ending, every_callback_has_come_once_when_close_returns)
{
	struct tally *tally = calloc(1, sizeof(*tally));
	struct mark *marks = calloc(NR_READS, sizeof(*marks));
	struct weir_io *io;
	struct weir_io_file *file;
	int nr_done = 0, nr_cancelled = 0;
	struct wr_io_fault fault;
	struct io_gate gate;

	/* Nothing ends before all are submitted. */
	io_gate_init(&gate, true);
	fault = (struct wr_io_fault){.filter = io_gate_filter, .arg = &gate};
	ASSERT_EQ(weir_io_open(&self->opts, &io, NULL), 0);
	ASSERT_EQ(weir_io_file_open(io, self->path, &file, NULL), 0);
	wr_io_set_fault(io, &fault);
	for (int i = 0; i < NR_READS; i++) {
		struct weir_io_req req =
			io_request(file, (uint64_t)i % 256 * 4096, 4096,
				   self->buf + (size_t)i * 4096, 4096, (uint32_t)i % 2, NULL);
		uint64_t token;

		marks[i].tally = tally;
		marks[i].index = i;
		req.done = on_done;
		req.arg = &marks[i];
		ASSERT_EQ(weir_io_read(io, &req, &token), 0);
		if (i % 7 == 0)
			weir_io_promote(io, token);
		if (i % 5 == 0)
			weir_io_cancel(io, token);
	}
	io_gate_open(&gate);
	weir_io_close(io);
	EXPECT_EQ(atomic_load(&tally->nr), NR_READS);
	for (int i = 0; i < NR_READS; i++) {
		EXPECT_EQ(atomic_load(&tally->calls[i]), 1);
		nr_done += atomic_load(&marks[i].result) == 0;
		nr_cancelled += atomic_load(&marks[i].result) == -ECANCELED;
	}
	EXPECT_EQ(nr_done + nr_cancelled, NR_READS);
	/* Every fifth was cancelled; those that the kernel had by then may have been faster. */
	EXPECT_GE(nr_cancelled, NR_READS / 5 - 64);
	weir_io_file_close(file);
	free(marks);
	free(tally);
}

/* ---- callbacks that go on submitting while the engine closes ------------------------------------ */

struct stubborn {
	struct weir_io *io;
	struct weir_io_req req;
	_Atomic int nr_submitted;
	_Atomic int nr_called;
	int refusal;
};

static void submit_again(void *arg, int result, void *data)
{
	struct stubborn *s = arg;
	int rc;

	(void)result;
	(void)data;
	atomic_fetch_add(&s->nr_called, 1);
	rc = weir_io_read(s->io, &s->req, NULL);
	/* Once submitted, the next callback may be running beside this one. */
	if (rc == 0)
		atomic_fetch_add(&s->nr_submitted, 1);
	else
		s->refusal = rc;
}

TEST_F(ending, callbacks_that_submit_again_are_refused_at_last)
{
	struct stubborn s[8] = {{0}};
	struct weir_io_file *file;
	struct weir_io *io;

	ASSERT_EQ(weir_io_open(&self->opts, &io, NULL), 0);
	ASSERT_EQ(weir_io_file_open(io, self->path, &file, NULL), 0);
	for (int i = 0; i < 8; i++) {
		s[i].io = io;
		s[i].req = io_request(file, 0, CHUNK, self->buf + (size_t)i * CHUNK, CHUNK,
				      WEIR_IO_DEMAND, NULL);
		s[i].req.done = submit_again;
		s[i].req.arg = &s[i];
		s[i].nr_submitted = 1;
		ASSERT_EQ(weir_io_read(io, &s[i].req, NULL), 0);
	}
	while (atomic_load(&s[7].nr_called) < 20)
		usleep(1000);
	weir_io_close(io);
	for (int i = 0; i < 8; i++) {
		EXPECT_EQ(atomic_load(&s[i].nr_called), atomic_load(&s[i].nr_submitted));
		EXPECT_EQ(s[i].refusal, -ECANCELED);
	}
	weir_io_file_close(file);
}

/* ---- again and again -------------------------------------------------------------------------------- */

#define NR_CYCLES (SANITIZED ? 100 : 2000)

static int cycle(FIXTURE_DATA(ending) * self)
{
	struct weir_io *io;
	struct weir_io_file *file;
	void *data;
	int rc = weir_io_open(&self->opts, &io, NULL);

	if (rc != 0)
		return rc;
	rc = weir_io_register(io, self->buf, BUF_BYTES);
	if (rc == 0)
		rc = weir_io_file_open(io, self->path, &file, NULL);
	if (rc == 0) {
		rc = io_read_now(io, file, 1000, CHUNK, self->buf, BUF_BYTES, &data);
		weir_io_file_close(file);
	}
	weir_io_close(io);
	return rc;
}

TEST_F_TIMEOUT(ending, two_thousand_engines_leave_nothing_behind, 120)
{
	int nr_fds, nr_threads;
	int64_t live;
	long rss;

	for (int i = 0; i < NR_CYCLES / 10; i++)
		ASSERT_EQ(cycle(self), 0);
	nr_fds = nr_open_files();
	nr_threads = nr_living_threads();
	live = wr_test_alloc_live();
	rss = io_status_kib("VmRSS");
	for (int i = 0; i < NR_CYCLES; i++)
		ASSERT_EQ(cycle(self), 0);
	EXPECT_EQ(nr_open_files(), nr_fds);
	EXPECT_EQ(nr_living_threads(), nr_threads);
	EXPECT_EQ(wr_test_alloc_live(), live);
	EXPECT_EQ(io_status_kib("VmPin"), 0);
	if (!SANITIZED) {
		EXPECT_LE(io_status_kib("VmRSS"), rss + 512);
	}
}

TEST_HARNESS_MAIN
