/* SPDX-License-Identifier: MIT */
/*
 * A map agrees with what was allocated, and a recording holds what happened.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include <weir/log.h>
#include <weir/pool_map.h>

#include "base/alloc.h"
#include "fake_machine.h"

#define MIB  ((size_t)1 << 20)
#define MANY 16

static struct weir_pool *open_pool(size_t bytes, size_t block)
{
	struct weir_pool_opts opts = {.size = sizeof(opts),
				      .capacity_bytes = bytes,
				      .page_kinds = 1u << WEIR_PAGE_4K,
				      .flags = WEIR_POOL_LAZY,
				      .block_bytes = block};
	struct weir_pool *pool = NULL;

	return weir_pool_open(&opts, &pool, NULL) ? NULL : pool;
}

FIXTURE(map)
{
	struct weir_pool *pool;
	uint32_t piece[MANY];
	char path[64];
};

FIXTURE_SETUP(map)
{
	int fd;

	self->pool = open_pool(15 * MIB, 4096);
	ASSERT_NE(NULL, self->pool);
	snprintf(self->path, sizeof(self->path), "/tmp/weir-map-test-XXXXXX");
	fd = mkstemp(self->path);
	ASSERT_LE(0, fd);
	close(fd);
	memset(self->piece, 0xff, sizeof(self->piece));
}

FIXTURE_TEARDOWN(map)
{
	weir_pool_close(self->pool);
	unlink(self->path);
	EXPECT_EQ(0, wr_test_alloc_live());
}

TEST_F(map, an_empty_pool_has_nothing_taken)
{
	/* 15 MiB are seven pieces and a half. */
	ASSERT_EQ(8, weir_pool_map(self->pool, 0, MANY, self->piece));
	for (int i = 0; i < 8; i++)
		EXPECT_EQ(0u, self->piece[i]);
	EXPECT_EQ(UINT32_MAX, self->piece[8]);
}

TEST_F(map, a_span_is_taken_in_the_pieces_that_it_lies_in)
{
	struct weir_pool_region region;
	struct weir_span span;
	uint64_t first, end, sum = 0;

	ASSERT_EQ(0, weir_pool_region(self->pool, 0, &region));
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 3 * MIB + 5000, WEIR_NODE_ANY, &span));
	first = (uint64_t)((uint8_t *)span.base - (uint8_t *)region.base);
	end = first + span.bytes;
	ASSERT_EQ(8, weir_pool_map(self->pool, 0, MANY, self->piece));
	for (uint64_t i = 0; i < 8; i++) {
		uint64_t from = i * 2 * MIB > first ? i * 2 * MIB : first;
		uint64_t to = (i + 1) * 2 * MIB < end ? (i + 1) * 2 * MIB : end;

		EXPECT_EQ(to > from ? to - from : 0, self->piece[i]);
		sum += self->piece[i];
	}
	EXPECT_EQ(span.bytes, sum);
	EXPECT_EQ(0, weir_pool_free(self->pool, span));
}

TEST_F(map, a_full_pool_is_taken_to_the_last_piece)
{
	struct weir_span span;

	ASSERT_EQ(0, weir_pool_alloc(self->pool, 15 * MIB, WEIR_NODE_ANY, &span));
	ASSERT_EQ(8, weir_pool_map(self->pool, 0, MANY, self->piece));
	for (int i = 0; i < 7; i++)
		EXPECT_EQ(2 * MIB, self->piece[i]);
	EXPECT_EQ(MIB, self->piece[7]);
	EXPECT_EQ(0, weir_pool_free(self->pool, span));
}

TEST_F(map, no_more_is_written_than_there_is_room_for)
{
	ASSERT_EQ(8, weir_pool_map(self->pool, 0, 3, self->piece));
	EXPECT_EQ(0u, self->piece[2]);
	EXPECT_EQ(UINT32_MAX, self->piece[3]);
	EXPECT_EQ(8, weir_pool_map(self->pool, 0, 0, NULL));
}

TEST_F(map, a_region_that_is_not_there_is_an_error)
{
	EXPECT_EQ(-EINVAL, weir_pool_map(self->pool, 1, MANY, self->piece));
	EXPECT_EQ(-EINVAL, weir_pool_map(self->pool, 0, MANY, NULL));
	EXPECT_EQ(-EINVAL, weir_pool_map(NULL, 0, MANY, self->piece));
	EXPECT_EQ(UINT32_MAX, self->piece[0]);
}

TEST(a_span_that_lies_in_two_regions_is_on_both_maps)
{
	struct weir_pool_opts opts = {.size = sizeof(opts), .capacity_bytes = 12 * MIB};
	struct weir_pool *pool = NULL;
	struct fake_machine machine;
	struct weir_span low, span;
	uint32_t piece[MANY];

	fake_machine_init(&machine, 1);
	machine.kinds[WEIR_PAGE_1G].free_pages[0] = (5 * MIB) / 65536;
	ASSERT_EQ(0, wr_pool_open_on(&machine.system, &opts, &pool, NULL));
	ASSERT_EQ(2u, weir_pool_nr_regions(pool));
	ASSERT_EQ(0, weir_pool_alloc(pool, 4 * MIB, WEIR_NODE_ANY, &low));
	ASSERT_EQ(0, weir_pool_alloc(pool, 4 * MIB, WEIR_NODE_ANY, &span));
	ASSERT_EQ(3, weir_pool_map(pool, 0, MANY, piece));
	EXPECT_EQ(2 * MIB, piece[0]);
	EXPECT_EQ(2 * MIB, piece[1]);
	EXPECT_EQ(MIB, piece[2]);
	ASSERT_EQ(4, weir_pool_map(pool, 1, MANY, piece));
	EXPECT_EQ(2 * MIB, piece[0]);
	EXPECT_EQ(MIB, piece[1]);
	EXPECT_EQ(0u, piece[2]);
	EXPECT_EQ(0, weir_pool_free(pool, low));
	ASSERT_EQ(3, weir_pool_map(pool, 0, MANY, piece));
	EXPECT_EQ(0u, piece[0]);
	EXPECT_EQ(MIB, piece[2]);
	EXPECT_EQ(0, weir_pool_free(pool, span));
	weir_pool_close(pool);
}

TEST_F(map, a_fork_child_gets_no_map)
{
	int status = -1;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (pid == 0)
		_exit(weir_pool_map(self->pool, 0, MANY, self->piece) == -EINVAL ? 0 : 1);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST(pieces_are_the_same_whatever_the_block)
{
	static const size_t blocks[] = {256, 4096, 65536, 2 * MIB};
	uint32_t piece[MANY];
	struct weir_span span;

	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
		struct weir_pool *pool = open_pool(8 * MIB, blocks[i]);

		ASSERT_NE(NULL, pool);
		ASSERT_EQ(0, weir_pool_alloc(pool, 2 * MIB, WEIR_NODE_ANY, &span));
		ASSERT_EQ(4, weir_pool_map(pool, 0, MANY, piece));
		EXPECT_EQ(2 * MIB, (size_t)piece[0] + piece[1] + piece[2] + piece[3]);
		EXPECT_EQ(0, weir_pool_free(pool, span));
		weir_pool_close(pool);
	}
	EXPECT_EQ(0, wr_test_alloc_live());
}

static void wait_ms(long ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&ts, NULL);
}

/* The KiB taken by the first region's pieces, summed. */
static json_int_t taken_kib(const json_t *sample)
{
	json_t *region = json_array_get(json_object_get(sample, "regions"), 0);
	json_int_t sum = 0;

	for (size_t i = 0; i + 1 < json_array_size(region); i += 2)
		sum += json_integer_value(json_array_get(region, i)) *
		       json_integer_value(json_array_get(region, i + 1));
	return sum;
}

static json_int_t number(const json_t *sample, const char *name)
{
	return json_integer_value(json_object_get(sample, name));
}

/* All lines as an array. */
static json_t *read_lines(const char *path)
{
	json_t *lines = json_array(), *line;
	FILE *f = fopen(path, "re");

	if (!f)
		return lines;
	while ((line = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL)))
		json_array_append_new(lines, line);
	fclose(f);
	return lines;
}

TEST_F(map, a_recording_begins_with_the_regions_and_ends_with_the_last_state)
{
	struct weir_pool_recorder *rec = NULL;
	struct weir_span span;
	json_t *lines, *head, *last;
	size_t nr;

	ASSERT_EQ(0, weir_pool_record_start(self->pool, self->path, NULL, &rec, NULL));
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 3 * MIB, WEIR_NODE_ANY, &span));
	weir_pool_record_stop(rec);
	lines = read_lines(self->path);
	nr = json_array_size(lines);
	ASSERT_LE(3u, nr);
	head = json_array_get(lines, 0);
	EXPECT_EQ(1, number(head, "weir_pool_recording"));
	EXPECT_EQ(WEIR_POOL_PIECE_BYTES, number(head, "piece_bytes"));
	EXPECT_EQ(15 * MIB, number(json_array_get(json_object_get(head, "regions"), 0), "bytes"));
	EXPECT_EQ(0, taken_kib(json_array_get(lines, 1)));
	last = json_array_get(lines, nr - 1);
	EXPECT_EQ(3 * MIB, number(last, "used_bytes"));
	EXPECT_EQ(1, number(last, "nr_live"));
	EXPECT_EQ(3 * 1024, taken_kib(last));
	json_decref(lines);
	EXPECT_EQ(0, weir_pool_free(self->pool, span));
}

TEST_F(map, a_pool_that_does_not_change_is_written_twice_only)
{
	struct weir_pool_record_opts opts = {.size = sizeof(opts), .interval_ns = 200000};
	struct weir_pool_recorder *rec = NULL;
	json_t *lines;

	ASSERT_EQ(0, weir_pool_record_start(self->pool, self->path, &opts, &rec, NULL));
	wait_ms(30);
	weir_pool_record_stop(rec);
	lines = read_lines(self->path);
	EXPECT_EQ(3u, json_array_size(lines));
	json_decref(lines);
}

TEST_F(map, changes_are_seen_in_the_order_in_which_they_came)
{
	struct weir_pool_record_opts opts = {.size = sizeof(opts), .interval_ns = 500000};
	struct weir_pool_recorder *rec = NULL;
	struct weir_span span[6];
	json_int_t t = -1, kib = 0;
	json_t *lines;

	ASSERT_EQ(0, weir_pool_record_start(self->pool, self->path, &opts, &rec, NULL));
	for (int i = 0; i < 6; i++) {
		ASSERT_EQ(0, weir_pool_alloc(self->pool, 2 * MIB, WEIR_NODE_ANY, &span[i]));
		wait_ms(10);
	}
	weir_pool_record_stop(rec);
	lines = read_lines(self->path);
	ASSERT_LE(3u, json_array_size(lines));
	for (size_t i = 1; i < json_array_size(lines); i++) {
		const json_t *sample = json_array_get(lines, i);

		EXPECT_LE(t, number(sample, "t_ns"));
		EXPECT_LE(kib, taken_kib(sample));
		t = number(sample, "t_ns");
		kib = taken_kib(sample);
	}
	EXPECT_EQ(12 * 1024, kib);
	json_decref(lines);
	for (int i = 0; i < 6; i++)
		EXPECT_EQ(0, weir_pool_free(self->pool, span[i]));
}

TEST_F(map, what_cannot_be_recorded_is_refused)
{
	struct weir_pool_record_opts opts = {.size = sizeof(opts), .interval_ns = 1};
	struct weir_pool_recorder *rec = NULL;
	struct weir_error err;

	EXPECT_EQ(-EINVAL, weir_pool_record_start(self->pool, self->path, &opts, &rec, &err));
	EXPECT_EQ(-EINVAL, weir_pool_record_start(NULL, self->path, NULL, &rec, &err));
	EXPECT_EQ(-EINVAL, weir_pool_record_start(self->pool, NULL, NULL, &rec, &err));
	EXPECT_EQ(-ENOENT, weir_pool_record_start(self->pool, "/nonexistent/x", NULL, &rec, &err));
	EXPECT_EQ(-ENOENT, err.code);
	EXPECT_EQ(NULL, rec);
	weir_pool_record_stop(NULL);
}

TEST_F(map, each_allocation_of_a_recorder_may_fail)
{
	struct weir_pool_recorder *rec = NULL;
	int64_t live = wr_test_alloc_live();
	uint64_t n;

	for (n = 1; n < 100; n++) {
		int rc;

		wr_test_alloc_fail_at(n);
		rc = weir_pool_record_start(self->pool, self->path, NULL, &rec, NULL);
		wr_test_alloc_fail_at(0);
		if (rc == 0)
			break;
		ASSERT_EQ(-ENOMEM, rc);
		ASSERT_EQ(NULL, rec);
		ASSERT_EQ(live, wr_test_alloc_live());
	}
	EXPECT_LT(4u, n);
	EXPECT_GT(100u, n);
	weir_pool_record_stop(rec);
}

static void count_errors(void *arg, int level, const char *module, const char *text)
{
	(void)module;
	if (level == WEIR_LOG_ERROR && strstr(text, "/dev/full"))
		++*(int *)arg;
}

TEST_F(map, a_full_disk_is_reported_once_and_stops_nothing)
{
	struct weir_pool_recorder *rec = NULL;
	int errors = 0;

	ASSERT_EQ(0, weir_log_set(count_errors, &errors, WEIR_LOG_ERROR));
	ASSERT_EQ(0, weir_pool_record_start(self->pool, "/dev/full", NULL, &rec, NULL));
	weir_pool_record_stop(rec);
	ASSERT_EQ(0, weir_log_set(NULL, NULL, WEIR_LOG_NONE));
	EXPECT_EQ(1, errors);
}

TEST_HARNESS_MAIN
