/* SPDX-License-Identifier: MIT */
/*
 * Classes, promotion, cancellation and limits, on every rung. Reads are held in flight by a gate, so
 * each test states an order, never a time.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "io/io_help.h"
#include "io/io_internal.h"

#define CHUNK	   ((size_t)64 << 10)
#define FILE_BYTES (64 * CHUNK)
#define NR	   8

FIXTURE(one_at_a_time)
{
	struct weir_io *io;
	struct weir_io_file *file;
	struct io_gate gate;
	struct wr_io_fault fault;
	char path[256];
	char *buf;
	struct io_wait wait[NR];
	struct weir_io_req req[NR];
};

IO_EVERY_RUNG(one_at_a_time)

FIXTURE_SETUP(one_at_a_time)
{
	struct weir_io_opts opts = {
		.size = sizeof(opts),
		.backend = variant->backend,
		.chunk_bytes = CHUNK,
		.threads = 1,
		.depth = 1,
	};
	struct weir_error err = {0};

	IO_NEED_MEMORY_FILES(variant->memory);
	io_scratch_path(self->path, sizeof(self->path), variant->memory, "order");
	ASSERT_EQ(io_file_make(self->path, FILE_BYTES), 0);
	IO_OR_SKIP(weir_io_open(&opts, &self->io, &err), self->path, err);
	IO_OR_SKIP(weir_io_file_open(self->io, self->path, &self->file, &err), self->path, err);
	self->buf = io_buffer(NR * 4 * CHUNK);
	io_gate_init(&self->gate, true);
	self->fault = (struct wr_io_fault){.filter = io_gate_filter, .arg = &self->gate};
	wr_io_set_fault(self->io, &self->fault);
	for (int i = 0; i < NR; i++)
		io_wait_init(&self->wait[i]);
}

FIXTURE_TEARDOWN(one_at_a_time)
{
	io_gate_open(&self->gate);
	weir_io_file_close(self->file);
	weir_io_close(self->io);
	io_buffer_free(self->buf, NR * 4 * CHUNK);
	unlink(self->path);
}

/* Read number @i: chunks 4 * i and on. */
static int put(FIXTURE_DATA(one_at_a_time) * self, int i, size_t chunks, uint32_t io_class)
{
	char *buf = self->buf + (size_t)i * 4 * CHUNK;

	self->req[i] = io_request(self->file, (uint64_t)i * 4 * CHUNK, chunks * CHUNK, buf,
				  4 * CHUNK, io_class, &self->wait[i]);
	return weir_io_read(self->io, &self->req[i], &self->wait[i].token);
}

#define BEFORE(a, b) EXPECT_LT(self->wait[a].position, self->wait[b].position)

TEST_F(one_at_a_time, demand_overtakes_speculation_that_the_kernel_does_not_have)
{
	ASSERT_EQ(put(self, 0, 1, WEIR_IO_SPECULATIVE), 0);
	io_gate_await(&self->gate, 1);
	ASSERT_EQ(put(self, 1, 4, WEIR_IO_SPECULATIVE), 0);
	ASSERT_EQ(put(self, 2, 1, WEIR_IO_SPECULATIVE), 0);
	ASSERT_EQ(put(self, 3, 4, WEIR_IO_DEMAND), 0);
	ASSERT_EQ(put(self, 4, 1, WEIR_IO_DEMAND), 0);
	io_gate_open(&self->gate);
	for (int i = 0; i < 5; i++)
		EXPECT_EQ(io_wait_for(&self->wait[i]), 0);
	BEFORE(0, 3);
	BEFORE(3, 4);
	BEFORE(4, 1);
	BEFORE(1, 2);
}

TEST_F(one_at_a_time, demand_overtakes_in_the_middle_of_a_speculative_read)
{
	ASSERT_EQ(put(self, 0, 4, WEIR_IO_SPECULATIVE), 0);
	io_gate_await(&self->gate, 1);
	ASSERT_EQ(put(self, 1, 1, WEIR_IO_DEMAND), 0);
	io_gate_open(&self->gate);
	EXPECT_EQ(io_wait_for(&self->wait[0]), 0);
	EXPECT_EQ(io_wait_for(&self->wait[1]), 0);
	BEFORE(1, 0);
}

TEST_F(one_at_a_time, a_promoted_read_goes_where_demand_goes)
{
	struct weir_io_stats stats;

	ASSERT_EQ(put(self, 0, 1, WEIR_IO_DEMAND), 0);
	io_gate_await(&self->gate, 1);
	ASSERT_EQ(put(self, 1, 2, WEIR_IO_SPECULATIVE), 0);
	ASSERT_EQ(put(self, 2, 2, WEIR_IO_SPECULATIVE), 0);
	ASSERT_EQ(put(self, 3, 2, WEIR_IO_SPECULATIVE), 0);
	weir_io_promote(self->io, self->wait[3].token);
	weir_io_promote(self->io, self->wait[3].token);
	ASSERT_EQ(put(self, 4, 1, WEIR_IO_DEMAND), 0);
	weir_io_promote(self->io, self->wait[4].token);
	io_gate_open(&self->gate);
	for (int i = 0; i < 5; i++)
		EXPECT_EQ(io_wait_for(&self->wait[i]), 0);
	BEFORE(3, 4);
	BEFORE(4, 1);
	BEFORE(1, 2);
	weir_io_stats(self->io, &stats);
	EXPECT_EQ(stats.nr_promoted, 1);
}

TEST_F(one_at_a_time, a_queued_read_is_cancelled_and_the_others_come)
{
	struct weir_io_stats stats;

	ASSERT_EQ(put(self, 0, 1, WEIR_IO_DEMAND), 0);
	io_gate_await(&self->gate, 1);
	ASSERT_EQ(put(self, 1, 4, WEIR_IO_SPECULATIVE), 0);
	ASSERT_EQ(put(self, 2, 4, WEIR_IO_DEMAND), 0);
	ASSERT_EQ(put(self, 3, 1, WEIR_IO_DEMAND), 0);
	weir_io_cancel(self->io, self->wait[1].token);
	weir_io_cancel(self->io, self->wait[2].token);
	weir_io_promote(self->io, self->wait[2].token);
	io_gate_open(&self->gate);
	EXPECT_EQ(io_wait_for(&self->wait[1]), -ECANCELED);
	EXPECT_EQ(self->wait[1].data, NULL);
	EXPECT_EQ(io_wait_for(&self->wait[2]), -ECANCELED);
	EXPECT_EQ(io_wait_for(&self->wait[3]), 0);
	EXPECT_EQ(io_wait_for(&self->wait[0]), 0);
	/* Both chunks, of the two reads that were not cancelled: nothing else was read. */
	EXPECT_EQ(self->gate.nr_passed, 2);
	weir_io_stats(self->io, &stats);
	EXPECT_EQ(stats.nr_cancelled, 2);
	EXPECT_EQ(stats.nr_reads, 2);
	EXPECT_EQ(stats.nr_failed, 0);
}

TEST_F(one_at_a_time, a_read_is_cancelled_half_way)
{
	ASSERT_EQ(put(self, 0, 4, WEIR_IO_DEMAND), 0);
	io_gate_await(&self->gate, 1);
	weir_io_cancel(self->io, self->wait[0].token);
	ASSERT_EQ(put(self, 1, 1, WEIR_IO_DEMAND), 0);
	io_gate_open(&self->gate);
	EXPECT_EQ(io_wait_for(&self->wait[0]), -ECANCELED);
	EXPECT_EQ(io_wait_for(&self->wait[1]), 0);
	EXPECT_LE(self->gate.nr_passed, 3);
	EXPECT_EQ(atomic_load(&self->wait[0].nr_calls), 1);
}

TEST_F(one_at_a_time, a_read_that_is_all_in_flight_may_win_against_its_cancellation)
{
	int rc;

	ASSERT_EQ(put(self, 0, 1, WEIR_IO_DEMAND), 0);
	io_gate_await(&self->gate, 1);
	weir_io_cancel(self->io, self->wait[0].token);
	io_gate_open(&self->gate);
	rc = io_wait_for(&self->wait[0]);
	EXPECT_TRUE(rc == 0 || rc == -ECANCELED);
	EXPECT_EQ(self->wait[0].data != NULL, rc == 0);
	/* The token is void: nothing else is hit. */
	ASSERT_EQ(put(self, 1, 1, WEIR_IO_DEMAND), 0);
	weir_io_cancel(self->io, self->wait[0].token);
	EXPECT_EQ(io_wait_for(&self->wait[1]), 0);
	EXPECT_EQ(atomic_load(&self->wait[0].nr_calls), 1);
}

TEST_F(one_at_a_time, registering_waits_for_a_quiet_engine)
{
	ASSERT_EQ(put(self, 0, 1, WEIR_IO_DEMAND), 0);
	io_gate_await(&self->gate, 1);
	EXPECT_EQ(weir_io_register(self->io, self->buf, 1 << 20), -EBUSY);
	io_gate_open(&self->gate);
	EXPECT_EQ(io_wait_for(&self->wait[0]), 0);
	EXPECT_EQ(weir_io_register(self->io, self->buf, 1 << 20), 0);
}

TEST_F(one_at_a_time, closing_cancels_what_waits_and_awaits_what_runs)
{
	struct io_wait *w = self->wait;

	ASSERT_EQ(put(self, 0, 4, WEIR_IO_DEMAND), 0);
	io_gate_await(&self->gate, 1);
	for (int i = 1; i < NR; i++)
		ASSERT_EQ(put(self, i, 4, (uint32_t)i % 2), 0);
	io_gate_open(&self->gate);
	weir_io_close(self->io);
	self->io = NULL;
	for (int i = 0; i < NR; i++) {
		EXPECT_EQ(atomic_load(&w[i].nr_calls), 1);
		EXPECT_TRUE(w[i].result == 0 || w[i].result == -ECANCELED);
	}
	/* The file is closed after the engine: see the teardown. */
}

/* ---- limits ----------------------------------------------------------------------------------- */

FIXTURE(many)
{
	struct weir_io *io;
	struct weir_io_file *file;
	struct wr_io_fault fault;
	char path[256];
	char *buf;
};

IO_EVERY_RUNG(many)

FIXTURE_SETUP(many)
{
	struct weir_io_opts opts = {
		.size = sizeof(opts),
		.backend = variant->backend,
		.chunk_bytes = CHUNK,
		.demand_bytes = 3 * CHUNK,
		.speculative_bytes = 2 * CHUNK,
		.threads = 16,
		.depth = 16,
	};
	struct weir_error err = {0};

	IO_NEED_MEMORY_FILES(variant->memory);
	io_scratch_path(self->path, sizeof(self->path), variant->memory, "many");
	ASSERT_EQ(io_file_make(self->path, FILE_BYTES), 0);
	IO_OR_SKIP(weir_io_open(&opts, &self->io, &err), self->path, err);
	IO_OR_SKIP(weir_io_file_open(self->io, self->path, &self->file, &err), self->path, err);
	self->buf = io_buffer(2 * FILE_BYTES);
}

FIXTURE_TEARDOWN(many)
{
	weir_io_file_close(self->file);
	weir_io_close(self->io);
	io_buffer_free(self->buf, 2 * FILE_BYTES);
	unlink(self->path);
}

static uint64_t read_all(FIXTURE_DATA(many) * self, uint32_t first_class, uint32_t second_class,
			 int *ret_wrong)
{
	struct weir_io_stats stats;
	struct io_wait w[2];
	struct weir_io_req req;

	for (uint32_t i = 0; i < 2; i++) {
		io_wait_init(&w[i]);
		req = io_request(self->file, 0, FILE_BYTES, self->buf + i * FILE_BYTES, FILE_BYTES,
				 i == 0 ? first_class : second_class, &w[i]);
		if (weir_io_read(self->io, &req, NULL) != 0)
			*ret_wrong = 1;
	}
	for (uint32_t i = 0; i < 2; i++) {
		if (io_wait_for(&w[i]) != 0 ||
		    io_first_wrong(w[i].data, 0, FILE_BYTES) != FILE_BYTES)
			*ret_wrong = 1;
	}
	weir_io_stats(self->io, &stats);
	return stats.max_inflight_bytes;
}

TEST_F(many, demand_stays_within_its_bytes)
{
	int wrong = 0;

	EXPECT_LE(read_all(self, WEIR_IO_DEMAND, WEIR_IO_DEMAND, &wrong), 3 * CHUNK);
	EXPECT_EQ(wrong, 0);
}

TEST_F(many, speculation_stays_within_its_bytes)
{
	int wrong = 0;

	EXPECT_LE(read_all(self, WEIR_IO_SPECULATIVE, WEIR_IO_SPECULATIVE, &wrong), 2 * CHUNK);
	EXPECT_EQ(wrong, 0);
}

TEST_F(many, both_classes_together_stay_within_both_limits)
{
	int wrong = 0;

	EXPECT_LE(read_all(self, WEIR_IO_SPECULATIVE, WEIR_IO_DEMAND, &wrong), 5 * CHUNK);
	EXPECT_EQ(wrong, 0);
}

TEST_F(many, speculation_leaves_room_in_the_depth)
{
	struct weir_io_opts opts = {
		.size = sizeof(opts),
		.backend = variant->backend,
		.chunk_bytes = CHUNK,
		.threads = 4,
		.depth = 4,
	};
	struct weir_io_file *file;
	struct weir_io *io;
	struct io_gate gate;
	struct io_wait w[2];
	struct weir_io_req req;
	struct weir_io_stats stats;

	io_gate_init(&gate, true);
	self->fault = (struct wr_io_fault){.filter = io_gate_filter, .arg = &gate};
	ASSERT_EQ(weir_io_open(&opts, &io, NULL), 0);
	ASSERT_EQ(weir_io_file_open(io, self->path, &file, NULL), 0);
	wr_io_set_fault(io, &self->fault);
	io_wait_init(&w[0]);
	io_wait_init(&w[1]);
	req = io_request(file, 0, FILE_BYTES, self->buf, FILE_BYTES, WEIR_IO_SPECULATIVE, &w[0]);
	ASSERT_EQ(weir_io_read(io, &req, NULL), 0);
	/* Four chunks fit the depth; speculation takes three, and they wait in the gate. */
	do {
		usleep(1000);
		weir_io_stats(io, &stats);
	} while (stats.max_inflight_bytes < 3 * CHUNK);
	io_gate_open(&gate);
	EXPECT_EQ(io_wait_for(&w[0]), 0);
	weir_io_stats(io, &stats);
	EXPECT_EQ(stats.max_inflight_bytes, 3 * CHUNK);
	weir_io_file_close(file);
	weir_io_close(io);
}

TEST_HARNESS_MAIN
