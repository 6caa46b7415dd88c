/* SPDX-License-Identifier: MIT */
/*
 * A pool that is debugged finds what was written where it should not be, and names it.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <string.h>

#include <weir/log.h>
#include <weir/pool_handle.h>
#include <weir/pool_malloc.h>
#include <weir/pool_type.h>

#include "base/alloc.h"
#include "base/util.h"
#include "fake_machine.h"

#define MIB (1ull << 20)

static char logged[4][256];
static unsigned nr_logged;

static void keep_log(void *arg, int level, const char *module, const char *text)
{
	if (level == WEIR_LOG_ERROR && strcmp(module, "pool") == 0)
		snprintf(logged[nr_logged++ % 4], sizeof(logged[0]), "%s", text);
}

FIXTURE(debug)
{
	struct fake_machine machine;
	struct weir_pool *pool;
};

FIXTURE_SETUP(debug)
{
	struct weir_pool_opts opts = {
		.size = sizeof(opts), .capacity_bytes = 8 * MIB, .flags = WEIR_POOL_DEBUG};

	fake_machine_init(&self->machine, 2);
	ASSERT_EQ(0, weir_log_set(keep_log, NULL, WEIR_LOG_DEBUG));
	nr_logged = 0;
	ASSERT_EQ(0, wr_pool_open_on(&self->machine.system, &opts, &self->pool, NULL));
}

FIXTURE_TEARDOWN(debug)
{
	weir_pool_close(self->pool);
	EXPECT_EQ(0, wr_test_alloc_live());
}

static uint64_t nr_overwrites(struct weir_pool *pool)
{
	struct weir_pool_stats s;

	weir_pool_stats(pool, &s);
	return s.nr_overwrites;
}

TEST_F(debug, clean_use_finds_nothing)
{
	static const size_t sizes[] = {1, 4095, 4096, 4097, 65536, MIB};
	struct weir_span span, again;
	size_t i;
	void *p;

	for (i = 0; i < wr_array_size(sizes); i++) {
		ASSERT_EQ(0, weir_pool_alloc(self->pool, sizes[i], -1, &span));
		EXPECT_EQ(wr_align_up(sizes[i], 4096), span.bytes);
		memset(span.base, 0, sizes[i]);
		again = span;
		ASSERT_EQ(0, weir_pool_free(self->pool, span));
		EXPECT_EQ(-ESTALE, weir_pool_free(self->pool, again));
		p = weir_pool_malloc(self->pool, sizes[i]);
		ASSERT_NE(NULL, p);
		EXPECT_EQ(wr_align_up(sizes[i], 4096), weir_pool_usable_bytes(self->pool, p));
		memset(p, 0, sizes[i]);
		p = weir_pool_realloc(self->pool, p, sizes[i] * 2);
		ASSERT_NE(NULL, p);
		EXPECT_EQ(0, weir_pool_ptr_free(self->pool, p));
		EXPECT_EQ(-EINVAL, weir_pool_ptr_free(self->pool, p));
	}
	ASSERT_EQ(0, weir_pool_alloc_wait(self->pool, 5000, -1, 1000, &span));
	ASSERT_EQ(0, weir_pool_free(self->pool, span));
	EXPECT_EQ(-ETIMEDOUT, weir_pool_alloc_wait(self->pool, 4 * MIB - 4096, 0, 0, &span) == 0
				      ? weir_pool_alloc_wait(self->pool, 1, 0, 1000, &again)
				      : -1);
	ASSERT_EQ(0, weir_pool_free(self->pool, span));
	EXPECT_EQ(-EINVAL, weir_pool_alloc(self->pool, SIZE_MAX, -1, &span));
	EXPECT_EQ(-EINVAL, weir_pool_alloc(self->pool, 0, -1, &span));
	EXPECT_EQ(0u, nr_overwrites(self->pool));
	EXPECT_EQ(2 * wr_array_size(sizes), nr_logged); /* the second frees */
	nr_logged = 0;
}

TEST_F(debug, a_byte_behind_the_end_is_found_at_the_free)
{
	static const size_t sizes[] = {100, 4096, 10000};
	struct weir_span span;
	size_t i;

	for (i = 0; i < wr_array_size(sizes); i++) {
		ASSERT_EQ(0, weir_pool_alloc_tagged(self->pool, sizes[i], -1, "rows", &span));
		((uint8_t *)span.base)[sizes[i]] = 0;
		EXPECT_EQ(0, weir_pool_free(self->pool, span));
		EXPECT_EQ(i + 1, nr_overwrites(self->pool));
	}
	EXPECT_STREQ("written behind its end: byte 100 of a span of \"rows\"", logged[0]);
	EXPECT_STREQ("written behind its end: byte 10000 of a span of \"rows\"", logged[2]);
}

TEST_F(debug, a_byte_written_after_the_free_is_found_when_it_is_given_out)
{
	struct weir_span span, next;

	ASSERT_EQ(0, weir_pool_alloc_tagged(self->pool, 8192, 0, "keys", &span));
	ASSERT_EQ(0, weir_pool_free(self->pool, span));
	((uint8_t *)span.base)[4096 + 7] = 1;
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 8192, 0, &next));
	ASSERT_EQ(span.base, next.base);
	EXPECT_EQ(1u, nr_overwrites(self->pool));
	EXPECT_STREQ("written after its free: byte 7 of a span of \"keys\"", logged[0]);
	EXPECT_EQ(0, weir_pool_free(self->pool, next));
}

TEST_F(debug, a_free_of_what_is_not_live_names_whose_memory_it_is)
{
	struct weir_span span, next, made_up;

	ASSERT_EQ(0, weir_pool_alloc_tagged(self->pool, 8192, 0, "keys", &span));
	ASSERT_EQ(0, weir_pool_free(self->pool, span));
	EXPECT_EQ(-ESTALE, weir_pool_free(self->pool, span));
	EXPECT_EQ(1u, nr_logged);
	EXPECT_TRUE(strstr(logged[0], "freed twice: 8192 bytes") == logged[0]);
	EXPECT_NE(NULL, strstr(logged[0], "the last was of \"keys\""));
	ASSERT_EQ(0, weir_pool_alloc_tagged(self->pool, 8192, 0, "values", &next));
	ASSERT_EQ(span.base, next.base);
	EXPECT_EQ(-ESTALE, weir_pool_free(self->pool, span));
	EXPECT_NE(NULL, strstr(logged[1], "now lives \"values\""));
	made_up = next;
	made_up.generation += 2;
	EXPECT_EQ(-EINVAL, weir_pool_free(self->pool, made_up));
	EXPECT_TRUE(strstr(logged[2], "freed, but no span of this pool: ") == logged[2]);
	EXPECT_NE(NULL, strstr(logged[2], "\"values\""));
	/* Of another pool: nothing is known of it here. */
	made_up.id = ~made_up.id;
	EXPECT_EQ(-EINVAL, weir_pool_free(self->pool, made_up));
	EXPECT_NE(NULL, strstr(logged[3], "\"\""));
	EXPECT_EQ(0u, nr_overwrites(self->pool));
	EXPECT_EQ(0, weir_pool_free(self->pool, next));
}

TEST_F(debug, a_pointer_that_is_not_live_names_whose_memory_it_is)
{
	struct weir_span keys, values;
	uint8_t *k, *v;
	int outside;

	ASSERT_EQ(0, weir_pool_alloc_tagged(self->pool, 10000, 0, "keys", &keys));
	ASSERT_EQ(0, weir_pool_alloc_tagged(self->pool, 8192, 0, "values", &values));
	k = keys.base;
	v = values.base;
	EXPECT_EQ(-EINVAL, weir_pool_ptr_free(self->pool, k + 8200));
	EXPECT_NE(NULL, strstr(logged[0], "not where it begins: "));
	EXPECT_NE(NULL, strstr(logged[0], "byte 8200 of \"keys\""));
	EXPECT_EQ(-EINVAL, weir_pool_ptr_free(self->pool, v + 4096));
	EXPECT_NE(NULL, strstr(logged[1], "byte 4096 of \"values\""));
	EXPECT_EQ(0, weir_pool_ptr_free(self->pool, k));
	EXPECT_EQ(2u, nr_logged);
	EXPECT_EQ(-EINVAL, weir_pool_ptr_free(self->pool, k));
	EXPECT_NE(NULL, strstr(logged[2], "not live: "));
	EXPECT_NE(NULL, strstr(logged[2], "the last was of \"keys\""));
	EXPECT_EQ(-EINVAL, weir_pool_ptr_free(self->pool, k + 4096));
	EXPECT_NE(NULL, strstr(logged[3], "the last was of \"keys\""));
	EXPECT_EQ(-EINVAL, weir_pool_ptr_free(self->pool, &outside));
	EXPECT_NE(NULL, strstr(logged[0], "no memory of this pool: "));
	/* Where there was never anything, nobody is blamed. */
	EXPECT_EQ(-EINVAL, weir_pool_ptr_free(self->pool, k + 2 * MIB));
	EXPECT_NE(NULL, strstr(logged[1], "the last was of \"\""));
	EXPECT_EQ(0, weir_pool_ptr_free(self->pool, v));
}

TEST_F(debug, typed_pools_and_leaks_work_as_ever)
{
	struct weir_types *types;
	struct weir_type_stats s;
	struct weir_span span;

	ASSERT_EQ(0, weir_types_open(self->pool, NULL, &types, NULL));
	ASSERT_EQ(0, weir_types_alloc(types, WEIR_TYPE_GENERAL, 5000, -1, 0, &span));
	ASSERT_EQ(0, weir_types_free(types, span));
	EXPECT_EQ(-ESTALE, weir_types_free(types, span));
	ASSERT_EQ(0, weir_types_stats(types, WEIR_TYPE_GENERAL, &s));
	EXPECT_EQ(0u, s.used_bytes);
	weir_types_close(types);
	ASSERT_EQ(0, weir_pool_alloc_tagged(self->pool, 5000, -1, "forgotten", &span));
	weir_pool_close(self->pool);
	EXPECT_STREQ("not freed: 5000 bytes of \"forgotten\"", logged[1]);
	self->pool = NULL;
}

static const uint32_t handle_kinds[] = {0, WEIR_HANDLE_MOVABLE};

TEST_F(debug, a_byte_behind_a_handles_end_is_found_at_the_free)
{
	struct weir_handle handle;
	struct weir_handle_info info;
	size_t i;
	void *p;

	for (i = 0; i < wr_array_size(handle_kinds); i++) {
		ASSERT_EQ(0,
			  weir_handle_alloc(self->pool, 5000, 0, handle_kinds[i], "rows", &handle));
		ASSERT_EQ(0, weir_handle_info(self->pool, handle, &info));
		EXPECT_EQ(8192u, info.bytes);
		ASSERT_EQ(0, weir_handle_pin(self->pool, handle, &p));
		memset(p, 0, 5001);
		EXPECT_EQ(0, weir_handle_unpin(self->pool, handle));
		EXPECT_EQ(0, weir_handle_free(self->pool, handle));
		EXPECT_EQ(i + 1, nr_overwrites(self->pool));
		EXPECT_STREQ("written behind its end: byte 5000 of a span of \"rows\"", logged[i]);
	}
}

TEST_F(debug, blocks_go_from_handles_to_spans_and_back_and_nobody_is_blamed)
{
	struct weir_handle handle;
	struct weir_span span;
	size_t i;
	void *p;

	/* All of a node each time, so each has what the other left. */
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, weir_pool_alloc(self->pool, 4 * MIB - 4096, 0, &span));
		memset(span.base, 1, span.bytes);
		ASSERT_EQ(0, weir_pool_free(self->pool, span));
		ASSERT_EQ(0, weir_handle_alloc(self->pool, 4 * MIB - 4096, 0, handle_kinds[i % 2],
					       NULL, &handle));
		ASSERT_EQ(0, weir_handle_pin(self->pool, handle, &p));
		memset(p, 2, 4 * MIB - 4096);
		ASSERT_EQ(0, weir_handle_unpin(self->pool, handle));
		ASSERT_EQ(0, weir_handle_free(self->pool, handle));
	}
	/* And what is written through a handle's old address is found by the next. */
	((uint8_t *)p)[3] = 1;
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 4 * MIB - 4096, 0, &span));
	ASSERT_EQ(0, weir_pool_free(self->pool, span));
	EXPECT_EQ(1u, nr_overwrites(self->pool));
	EXPECT_EQ(1u, nr_logged);
	EXPECT_EQ(-EINVAL,
		  weir_handle_alloc(self->pool, SIZE_MAX, 0, WEIR_HANDLE_MOVABLE, NULL, &handle));
	EXPECT_EQ(-EINVAL, weir_handle_alloc(self->pool, 0, 0, WEIR_HANDLE_MOVABLE, NULL, &handle));
}

TEST_F(debug, a_byte_behind_a_handles_end_is_found_before_it_moves)
{
	static struct weir_handle all[512];
	struct weir_compact_opts opts = {
		.size = sizeof(opts), .nr_wanted = WEIR_COMPACT_ALL, .node_mask = 1};
	struct weir_compact_report report;
	size_t i, k, nr = wr_array_size(all);
	uint8_t *p;
	void *at;

	/* Two blocks each with the guard: the whole node. */
	for (i = 0; i < nr; i++) {
		ASSERT_EQ(0, weir_handle_alloc(self->pool, 4000, 0, WEIR_HANDLE_MOVABLE,
					       i % 8 ? "other" : "rows", &all[i]));
		ASSERT_EQ(0, weir_handle_pin(self->pool, all[i], &at));
		memset(at, (int)i, 4000 + (i % 8 == 0));
		ASSERT_EQ(0, weir_handle_unpin(self->pool, all[i]));
	}
	for (i = 0; i < nr; i++)
		if (i % 8)
			ASSERT_EQ(0, weir_handle_free(self->pool, all[i]));
	EXPECT_EQ(0u, nr_overwrites(self->pool));
	ASSERT_EQ(0, weir_pool_compact(self->pool, &opts, &report));
	EXPECT_LT(0u, report.nr_moves);
	EXPECT_EQ(report.nr_moves, nr_overwrites(self->pool));
	EXPECT_STREQ("written behind its end: byte 4000 of a span of \"rows\"", logged[0]);
	/* Those that stayed are found at their free, and none twice. */
	for (i = 0; i < nr; i += 8) {
		ASSERT_EQ(0, weir_handle_pin(self->pool, all[i], &at));
		for (p = at, k = 0; k < 4000; k++)
			ASSERT_EQ((uint8_t)i, p[k]);
		ASSERT_EQ(0, weir_handle_unpin(self->pool, all[i]));
		ASSERT_EQ(0, weir_handle_free(self->pool, all[i]));
	}
	EXPECT_EQ(nr / 8, nr_overwrites(self->pool));
}

TEST_F(debug, a_byte_behind_the_end_of_what_is_live_is_found_at_the_close)
{
	struct weir_handle handle;
	bool is_found = false;
	size_t i;
	void *p;

	ASSERT_EQ(0, weir_handle_alloc(self->pool, 100, 0, WEIR_HANDLE_MOVABLE, "rows", &handle));
	ASSERT_EQ(0, weir_handle_pin(self->pool, handle, &p));
	((uint8_t *)p)[4096] = 0;
	ASSERT_EQ(0, weir_handle_unpin(self->pool, handle));
	weir_pool_close(self->pool);
	self->pool = NULL;
	for (i = 0; i < wr_array_size(logged); i++)
		is_found |= strcmp(logged[i], "written behind its end: byte 4096 of a span of "
					      "\"rows\"") == 0;
	EXPECT_TRUE(is_found);
}

TEST(opening_for_debugging_fails_cleanly)
{
	struct weir_pool_opts opts = {
		.size = sizeof(opts), .capacity_bytes = 8 * MIB, .flags = WEIR_POOL_DEBUG};
	struct fake_machine machine;

	fake_machine_init(&machine, 2);
	EXPECT_LT(3, fake_machine_fail_opens(&machine, &opts));
}

TEST_HARNESS_MAIN
