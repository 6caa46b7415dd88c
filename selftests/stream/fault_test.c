/* SPDX-License-Identifier: MIT */
/*
 * What goes wrong under a stream: failing reads, files that change, cancellation and close while
 * reads are in flight. Exactly the unit concerned fails, with file and offset, and can be tried
 * again; bytes that are shown are right in any case.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <weir/weir.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/random.h"
#include "harness/holdings.h"
#include "stream/fake_source.h"
#include "io/io_help.h"
#include "io/io_internal.h"
#include "stream/testmodel.h"

#define NR_LAYERS  4
#define POOL_BYTES ((size_t)8 << 20)
#define TILE_BYTES 40000

/* Bytes of the file that cannot be read. */
struct bad_range {
	_Atomic uint64_t from;
	_Atomic uint64_t to;
	_Atomic int nr_left; /* attempts that fail */
};

/* clang-format off */
FIXTURE(troubled) {
	struct test_model tm;
	struct weir *weir;
	struct weir_plan plan;
	struct weir_units *units;
	struct weir_stream *stream;
	struct weir_error err;
	struct io_gate gate;
	struct wr_io_fault fault;
	struct bad_range bad;
	struct tm_walk walk;
};
/* clang-format on */

IO_EVERY_RUNG(troubled)

static int64_t replace(void *arg, uint64_t offset, size_t bytes, int64_t res)
{
	struct bad_range *bad = arg;

	if (offset >= wr_load_relaxed(&bad->to) || offset + bytes <= wr_load_relaxed(&bad->from))
		return res;
	return wr_fetch_sub_relaxed(&bad->nr_left, 1) > 0 ? -EIO : res;
}

FIXTURE_SETUP(troubled)
{
	IO_OPEN_WEIR(POOL_BYTES, &self->weir);
	ASSERT_TRUE(tm_open(&self->tm, TM_SINGLE, NR_LAYERS, variant->memory));
	io_gate_init(&self->gate, false);
	self->gate.replace = replace;
	self->gate.arg = &self->bad;
	self->fault = (struct wr_io_fault){.filter = io_gate_filter, .arg = &self->gate};
	wr_io_set_fault(weir_get_io(self->weir), &self->fault);
	self->plan = (struct weir_plan){
		.size = sizeof(self->plan), .tile_bytes = TILE_BYTES, .budget_bytes = 1000000};
}

FIXTURE_TEARDOWN(troubled)
{
	io_gate_open(&self->gate);
	weir_stream_close(self->stream);
	weir_units_close(self->units);
	weir_close(self->weir);
	tm_close(&self->tm);
}

static int begin_stream(FIXTURE_DATA(troubled) * self)
{
	int rc = weir_units_open(self->tm.model, &self->plan, &self->units, NULL);

	return rc ? rc
		  : weir_stream_open(self->weir, self->tm.model, &self->plan, &self->stream, NULL);
}

/* Nothing of the file that @part lies in the middle of can be read, @times attempts long. */
static void break_part(FIXTURE_DATA(troubled) * self, const struct weir_part *part, int times)
{
	wr_store_relaxed(&self->bad.nr_left, times);
	wr_store_relaxed(&self->bad.from, part->offset + part->bytes / 2);
	wr_store_relaxed(&self->bad.to, part->offset + part->bytes / 2 + 1);
}

static const struct weir_part *part_of(FIXTURE_DATA(troubled) * self, uint32_t unit, int part)
{
	const struct weir_part *parts;

	return weir_units_parts(self->units, unit, &parts) > part ? &parts[part] : NULL;
}

/* A unit in the second half that is large enough for its middle to be in no other unit's read. */
static uint32_t large_unit(FIXTURE_DATA(troubled) * self)
{
	uint32_t i = weir_units_nr(self->units) / 2;

	while (part_of(self, i, 0)->bytes < 16384)
		i++;
	return i;
}

TEST_F(troubled, a_device_error_fails_the_unit_concerned_and_no_other)
{
	const struct weir_part *part;
	uint32_t bad;

	ASSERT_EQ(begin_stream(self), 0);
	bad = large_unit(self);
	part = part_of(self, bad, 0);
	break_part(self, part, 1 << 20);
	EXPECT_EQ(tm_walk_pass(&self->tm, self->stream, self->units, &self->walk), -EIO);
	EXPECT_EQ(self->walk.nr_units, bad);
	EXPECT_EQ(self->walk.nr_wrong, 0u);
	EXPECT_EQ(self->walk.err.code, -EIO);
	EXPECT_STREQ(self->walk.err.file, tm_path(&self->tm, 0));
	EXPECT_EQ(self->walk.err.offset, part->offset);
	EXPECT_NE(strstr(self->walk.err.message, part->tensor->name), NULL);
	/* Again the same, for as long as it lasts. */
	EXPECT_EQ(tm_walk_pass(&self->tm, self->stream, self->units, &self->walk), -EIO);
	EXPECT_EQ(self->walk.nr_units, bad);
	wr_store_relaxed(&self->bad.nr_left, 0);
	for (int p = 0; p < 3; p++)
		EXPECT_EQ(tm_walk_pass(&self->tm, self->stream, self->units, &self->walk), 0);
	EXPECT_EQ(self->walk.nr_units, 3 * weir_units_nr(self->units));
	EXPECT_EQ(self->walk.nr_wrong, 0u);
}

TEST_F(troubled, a_unit_of_several_reads_names_the_one_that_failed)
{
	const struct weir_part *part = NULL;
	uint32_t unit;

	self->plan.unit = WEIR_UNIT_GROUP;
	self->plan.budget_bytes = 2500000;
	ASSERT_EQ(begin_stream(self), 0);
	/* The second layer: what lies in the later of its two reads. */
	for (unit = 0; !part && unit < weir_units_nr(self->units); unit++)
		for (int p = 0; !part && (part = part_of(self, unit, p)); p++)
			if (!strstr(part->tensor->name, "layers.1.self_attn.q_proj"))
				part = NULL;
	ASSERT_NE(part, NULL);
	break_part(self, part, 1 << 20);
	EXPECT_EQ(tm_walk_pass(&self->tm, self->stream, self->units, &self->walk), -EIO);
	EXPECT_EQ(self->walk.nr_units, unit - 1);
	EXPECT_LE(self->walk.err.offset, part->offset);
	EXPECT_GT(self->walk.err.offset + 300000, part->offset);
	wr_store_relaxed(&self->bad.nr_left, 0);
	EXPECT_EQ(tm_walk_pass(&self->tm, self->stream, self->units, &self->walk), 0);
	EXPECT_EQ(self->walk.nr_wrong, 0u);
}

TEST_F(troubled, a_read_ahead_that_failed_is_read_again_when_it_is_needed)
{
	struct weir_io_stats stats = {0};
	struct weir_unit unit;
	uint32_t bad = 3;

	ASSERT_EQ(begin_stream(self), 0);
	while (part_of(self, bad, 0)->bytes < 16384)
		bad++;
	/* Once, and once more where the engine tries again itself. */
	break_part(self, part_of(self, bad, 0), 2);
	do {
		EXPECT_EQ(weir_stream_next(self->stream, &unit, NULL), 1);
		tm_check_unit(&self->tm, self->stream, self->units, &unit, &self->walk);
	} while (unit.index + 1 < bad);
	/* It was begun, since the slots and the rest of the budget hold more than three units. */
	for (int i = 0; !stats.nr_failed && i < 5000; i++) {
		usleep(1000);
		weir_io_stats(weir_get_io(self->weir), &stats);
	}
	ASSERT_EQ(stats.nr_failed, 1u);
	EXPECT_EQ(tm_walk_pass(&self->tm, self->stream, self->units, &self->walk), 0);
	EXPECT_EQ(self->walk.nr_wrong, 0u);
	EXPECT_EQ(self->walk.nr_units, weir_units_nr(self->units));
}

TEST_F(troubled, random_errors_are_all_survived_by_trying_again)
{
	uint64_t nr_errors = 0, random = 9;
	struct weir_unit unit;
	int rc, nr_ended = 0;

	ASSERT_EQ(begin_stream(self), 0);
	for (int i = 0; nr_ended < 4 && i < 100000; i++) {
		if (wr_lcg64(&random) >> 60 == 0)
			break_part(self,
				   part_of(self,
					   (uint32_t)(random >> 33) % weir_units_nr(self->units),
					   0),
				   4);
		rc = weir_stream_next(self->stream, &unit, NULL);
		if (rc > 0)
			tm_check_unit(&self->tm, self->stream, self->units, &unit, &self->walk);
		nr_errors += rc < 0;
		nr_ended += rc == 0;
		EXPECT_TRUE(rc >= 0 || rc == -EIO);
	}
	EXPECT_EQ(nr_ended, 4);
	EXPECT_GT(nr_errors, 0u);
	EXPECT_EQ(self->walk.nr_wrong, 0u);
	EXPECT_EQ(self->walk.nr_units, 4 * weir_units_nr(self->units));
}

TEST_F(troubled, a_file_that_is_cut_off_gives_an_error_with_file_and_offset)
{
	uint64_t half = weir_model_file(self->tm.model, 0)->bytes / 2;
	struct weir_unit unit;
	int rc;

	ASSERT_EQ(begin_stream(self), 0);
	ASSERT_EQ(weir_stream_next(self->stream, &unit, NULL), 1);
	tm_check_unit(&self->tm, self->stream, self->units, &unit, &self->walk);
	ASSERT_EQ(truncate(tm_path(&self->tm, 0), (off_t)half), 0);
	rc = tm_walk_pass(&self->tm, self->stream, self->units, &self->walk);
	EXPECT_TRUE(rc == -ENODATA || rc == -ESTALE);
	EXPECT_EQ(self->walk.err.code, rc);
	EXPECT_STREQ(self->walk.err.file, tm_path(&self->tm, 0));
	EXPECT_NE(self->walk.err.offset, WEIR_OFFSET_NONE);
	EXPECT_GE(self->walk.err.offset + TILE_BYTES, half);
	EXPECT_EQ(self->walk.nr_wrong, 0u);
	/* It stays so. */
	rc = weir_stream_next(self->stream, &unit, NULL);
	EXPECT_TRUE(rc == -ENODATA || rc == -ESTALE);
}

/* Another file takes the path's place. */
static bool put_another_in_place(const char *path)
{
	char other[512];
	int fd;

	snprintf(other, sizeof(other), "%s.other", path);
	fd = open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	close(fd);
	return rename(other, path) == 0;
}

TEST_F(troubled, a_file_that_is_replaced_shows_its_old_bytes_and_the_pass_does_not_end_well)
{
	struct weir_unit unit;

	ASSERT_EQ(begin_stream(self), 0);
	ASSERT_EQ(weir_stream_next(self->stream, &unit, NULL), 1);
	tm_check_unit(&self->tm, self->stream, self->units, &unit, &self->walk);
	ASSERT_TRUE(put_another_in_place(tm_path(&self->tm, 0)));
	EXPECT_EQ(tm_walk_pass(&self->tm, self->stream, self->units, &self->walk), -ESTALE);
	EXPECT_EQ(self->walk.nr_wrong, 0u);
	EXPECT_EQ(self->walk.nr_units, weir_units_nr(self->units));
	EXPECT_STREQ(self->walk.err.file, tm_path(&self->tm, 0));
	EXPECT_EQ(weir_stream_next(self->stream, &unit, NULL), -ESTALE);
}

static bool write_a_byte(const char *path, uint64_t offset)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 12345}};
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good;

	if (fd < 0)
		return false;
	/* Whatever the clock's grain, this time is another. */
	good = pwrite(fd, "!", 1, (off_t)offset) == 1 && futimens(fd, times) == 0;
	close(fd);
	return good;
}

TEST_F(troubled, a_file_that_is_written_to_is_noticed_before_the_pass_ends)
{
	struct weir_unit unit;

	ASSERT_EQ(begin_stream(self), 0);
	ASSERT_EQ(weir_stream_next(self->stream, &unit, NULL), 1);
	ASSERT_TRUE(write_a_byte(tm_path(&self->tm, 0), 9));
	do
		self->walk.rc = weir_stream_next(self->stream, &unit, &self->err);
	while (self->walk.rc > 0);
	EXPECT_EQ(self->walk.rc, -ESTALE);
	EXPECT_STREQ(self->err.file, tm_path(&self->tm, 0));
}

TEST_F(troubled, a_file_changed_before_a_pass_gives_none_of_its_bytes)
{
	struct weir_unit unit;

	ASSERT_EQ(begin_stream(self), 0);
	ASSERT_EQ(tm_walk_pass(&self->tm, self->stream, self->units, &self->walk), 0);
	ASSERT_TRUE(write_a_byte(tm_path(&self->tm, 0), 9));
	EXPECT_EQ(weir_stream_next(self->stream, &unit, &self->err), -ESTALE);
	EXPECT_EQ(weir_stream_next(self->stream, &unit, &self->err), -ESTALE);
	EXPECT_STREQ(self->err.file, tm_path(&self->tm, 0));
}

TEST_F(troubled, a_file_that_is_not_the_one_indexed_is_refused_at_open)
{
	struct weir_stream *stream = NULL;

	ASSERT_TRUE(write_a_byte(tm_path(&self->tm, 0), 9));
	EXPECT_EQ(weir_stream_open(self->weir, self->tm.model, &self->plan, &stream, &self->err),
		  -ESTALE);
	EXPECT_STREQ(self->err.file, tm_path(&self->tm, 0));
	ASSERT_EQ(unlink(tm_path(&self->tm, 0)), 0);
	EXPECT_EQ(weir_stream_open(self->weir, self->tm.model, &self->plan, &stream, &self->err),
		  -ENOENT);
	EXPECT_EQ(self->err.code, -ENOENT);
	EXPECT_EQ(stream, NULL);
}

static void shut(struct io_gate *gate)
{
	pthread_mutex_lock(&gate->lock);
	gate->shut = true;
	pthread_mutex_unlock(&gate->lock);
}

static void *walk_in_thread(void *arg)
{
	FIXTURE_DATA(troubled) *self = arg;

	(void)tm_walk_pass(&self->tm, self->stream, self->units, &self->walk);
	return NULL;
}

TEST_F(troubled, cancel_wakes_a_waiting_next_and_every_later_one_fails)
{
	struct fake_thread thread;
	struct weir_unit unit;

	ASSERT_EQ(begin_stream(self), 0);
	ASSERT_EQ(weir_stream_next(self->stream, &unit, NULL), 1);
	tm_check_unit(&self->tm, self->stream, self->units, &unit, &self->walk);
	shut(&self->gate);
	ASSERT_TRUE(fake_thread_start(&thread, walk_in_thread, self));
	fake_thread_wait_asleep(&thread);
	weir_stream_cancel(self->stream);
	fake_thread_join(&thread);
	EXPECT_EQ(self->walk.rc, -ECANCELED);
	EXPECT_EQ(self->walk.nr_wrong, 0u);
	EXPECT_EQ(self->walk.err.code, -ECANCELED);
	EXPECT_EQ(weir_stream_next(self->stream, &unit, NULL), -ECANCELED);
	io_gate_open(&self->gate);
	EXPECT_EQ(weir_stream_next(self->stream, &unit, NULL), -ECANCELED);
}

TEST_F(troubled, after_cancel_no_unit_is_shown_though_all_are_in_memory)
{
	struct weir_unit unit;
	struct weir_view view;

	self->plan.budget_bytes = 0;
	ASSERT_EQ(begin_stream(self), 0);
	ASSERT_EQ(tm_walk_pass(&self->tm, self->stream, self->units, &self->walk), 0);
	ASSERT_EQ(weir_stream_next(self->stream, &unit, NULL), 1);
	weir_stream_cancel(self->stream);
	EXPECT_EQ(weir_stream_view(self->stream, 0, &view), 0);
	EXPECT_TRUE(tm_view_is_right(&self->tm, &view));
	EXPECT_EQ(weir_stream_next(self->stream, &unit, NULL), -ECANCELED);
	EXPECT_EQ(weir_stream_view(self->stream, 0, &view), -EINVAL);
}

TEST_F(troubled, after_cancel_a_pass_does_not_end_either)
{
	struct weir_unit unit;

	ASSERT_EQ(begin_stream(self), 0);
	for (uint32_t i = 0; i < weir_units_nr(self->units); i++)
		ASSERT_EQ(weir_stream_next(self->stream, &unit, NULL), 1);
	weir_stream_cancel(self->stream);
	EXPECT_EQ(weir_stream_next(self->stream, &unit, NULL), -ECANCELED);
}

static void *close_in_thread(void *arg)
{
	FIXTURE_DATA(troubled) *self = arg;

	weir_stream_close(self->stream);
	return NULL;
}

/* Until @nr reads more than @before have ended. */
static void await_reads(struct weir *weir, uint64_t before, uint64_t nr)
{
	struct weir_io_stats stats = {0};

	for (int i = 0; stats.nr_reads < before + nr && i < 10000; i++) {
		usleep(1000);
		weir_io_stats(weir_get_io(weir), &stats);
	}
}

TEST_F(troubled, close_in_the_middle_waits_for_reads_in_flight_and_leaves_nothing)
{
	struct weir_io_stats io_stats;
	struct weir_stream_info info;
	struct weir_pool_stats stats;
	struct fake_thread thread;
	struct weir_unit unit;
	int64_t live;
	int nr_fds;

	/* The embedding stays; the layers, two reads each, pass through two slots for one each. */
	self->plan.unit = WEIR_UNIT_GROUP;
	self->plan.budget_bytes = 0;
	ASSERT_EQ(begin_stream(self), 0);
	weir_stream_info(self->stream, &info);
	ASSERT_EQ(tm_walk_pass(&self->tm, self->stream, self->units, &self->walk), 0);
	weir_stream_close(self->stream);
	weir_units_close(self->units);
	/* What the engine keeps it has by now. */
	live = wr_test_alloc_live();
	nr_fds = nr_open_files();
	weir_io_stats(weir_get_io(self->weir), &io_stats);
	self->plan.budget_bytes = info.min_budget_bytes;
	ASSERT_EQ(begin_stream(self), 0);
	ASSERT_EQ(weir_stream_next(self->stream, &unit, NULL), 1);
	ASSERT_EQ(weir_stream_next(self->stream, &unit, NULL), 1);
	await_reads(self->weir, io_stats.nr_reads, 5);
	shut(&self->gate);
	/* This frees the first slot, and the third layer is read into it. */
	ASSERT_EQ(weir_stream_next(self->stream, &unit, NULL), 1);
	io_gate_await(&self->gate, 1);
	ASSERT_TRUE(fake_thread_start(&thread, close_in_thread, self));
	fake_thread_wait_asleep(&thread);
	EXPECT_GT(wr_load_acquire(&thread.tid), 0);
	io_gate_open(&self->gate);
	fake_thread_join(&thread);
	self->stream = NULL;
	weir_units_close(self->units);
	self->units = NULL;
	weir_pool_stats(weir_get_pool(self->weir), &stats);
	EXPECT_EQ(stats.used_bytes, 0u);
	EXPECT_EQ(nr_open_files(), nr_fds);
	/* A histogram takes a block for each power of two it meets. */
	EXPECT_LE(wr_test_alloc_live(), live + 8);
}

TEST_HARNESS_MAIN
