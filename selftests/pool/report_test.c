/* SPDX-License-Identifier: MIT */
/*
 * Sizes of what is live and free against what was allocated, and the two forms of a dump.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include <weir/pool_report.h>

#include "base/alloc.h"
#include "base/util.h"
#include "fake_machine.h"

#define MIB (1ull << 20)

FIXTURE(report)
{
	struct fake_machine machine;
	struct weir_pool *pool;
};

FIXTURE_SETUP(report)
{
	struct weir_pool_opts opts = {.size = sizeof(opts), .capacity_bytes = 64 * MIB};

	fake_machine_init(&self->machine, 1);
	ASSERT_EQ(0, wr_pool_open_on(&self->machine.system, &opts, &self->pool, NULL));
}

FIXTURE_TEARDOWN(report)
{
	weir_pool_close(self->pool);
	EXPECT_EQ(0, wr_test_alloc_live());
}

static uint64_t bytes_of(const uint64_t *nr)
{
	uint64_t sum = 0;
	unsigned i;

	for (i = 0; i < WEIR_POOL_CLASSES; i++)
		sum += nr[i] * (256ull << i);
	return sum;
}

TEST_F(report, sizes_are_counted_where_they_belong)
{
	struct weir_pool_shape shape;
	struct weir_pool_stats stats;
	struct weir_span span[5];
	size_t i;

	weir_pool_shape(self->pool, &shape);
	EXPECT_EQ(1u, shape.free[18]); /* 64 MiB */
	EXPECT_EQ(0u, shape.fragmentation_permille);
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 4096, -1, &span[0]));
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 4096, -1, &span[1]));
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 12288, -1, &span[2]));
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 3 * MIB, -1, &span[3]));
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 65536, -1, &span[4]));
	weir_pool_shape(self->pool, &shape);
	weir_pool_stats(self->pool, &stats);
	EXPECT_EQ(2u, shape.live[4]);
	EXPECT_EQ(1u, shape.live[6]);
	EXPECT_EQ(1u, shape.live[8]);
	EXPECT_EQ(1u, shape.live[14]);
	EXPECT_EQ(stats.free_bytes, bytes_of(shape.free));
	for (i = 0; i < 5; i++)
		ASSERT_EQ(0, weir_pool_free(self->pool, span[i]));
	weir_pool_trim(self->pool, 0);
	weir_pool_shape(self->pool, &shape);
	EXPECT_EQ(0u, bytes_of(shape.live));
	EXPECT_EQ(1u, shape.free[18]);
}

TEST_F(report, fragmentation_is_what_no_large_block_can_have)
{
	static struct weir_span span[1024];
	struct weir_pool_shape shape;
	size_t i;

	for (i = 0; i < 1024; i++)
		ASSERT_EQ(0, weir_pool_alloc(self->pool, 65536, -1, &span[i]));
	weir_pool_shape(self->pool, &shape);
	EXPECT_EQ(0u, shape.fragmentation_permille); /* nothing is free */
	/* Every second block of the first half, and all of the rest. */
	for (i = 0; i < 1024; i++)
		if ((uint8_t *)span[i].base - (uint8_t *)span[0].base >= 0 && i % 2 == 0)
			ASSERT_EQ(0, weir_pool_free(self->pool, span[i]));
	weir_pool_trim(self->pool, 0);
	weir_pool_shape(self->pool, &shape);
	EXPECT_EQ(1000u, shape.fragmentation_permille);
	EXPECT_EQ(512u, shape.free[8]);
	EXPECT_EQ(512u, shape.live[8]);
	for (i = 1; i < 1024; i += 2)
		ASSERT_EQ(0, weir_pool_free(self->pool, span[i]));
}

TEST_F(report, a_dump_says_the_same_in_both_forms)
{
	static char text[65536], json[65536];
	struct weir_span span;
	json_error_t error;
	json_t *root;
	int64_t n;

	ASSERT_EQ(0, weir_pool_alloc(self->pool, 70000, -1, &span));
	n = weir_pool_dump(self->pool, WEIR_DUMP_TEXT, text, sizeof(text));
	EXPECT_EQ((int64_t)strlen(text), n);
	EXPECT_NE(NULL, strstr(text, "used_bytes             73728\n"));
	EXPECT_NE(NULL, strstr(text, "          131072          1 "));
	n = weir_pool_dump(self->pool, WEIR_DUMP_JSON, json, sizeof(json));
	ASSERT_EQ((int64_t)strlen(json), n);
	root = json_loads(json, JSON_REJECT_DUPLICATES, &error);
	ASSERT_NE(NULL, root);
	EXPECT_EQ(73728, json_integer_value(json_object_get(root, "used_bytes")));
	EXPECT_EQ(70000, json_integer_value(json_object_get(root, "requested_bytes")));
	EXPECT_EQ(1, json_integer_value(json_object_get(json_object_get(root, "live"), "131072")));
	EXPECT_EQ(1u, json_array_size(json_object_get(root, "regions")));
	json_decref(root);
	ASSERT_EQ(0, weir_pool_free(self->pool, span));
}

TEST_F(report, a_dump_names_each_region_and_each_step_to_smaller_pages)
{
	struct weir_pool_opts opts = {.size = sizeof(opts), .capacity_bytes = MIB};
	static char text[65536], json[65536];
	struct weir_pool *pool = NULL;
	json_t *root, *step;

	self->machine.kinds[WEIR_PAGE_1G].free_pages[0] = 3;
	self->machine.kinds[WEIR_PAGE_2M].why = "a \"switch\" is off";
	ASSERT_EQ(0, wr_pool_open_on(&self->machine.system, &opts, &pool, NULL));
	ASSERT_LT(0, weir_pool_dump(pool, WEIR_DUMP_TEXT, text, sizeof(text)));
	EXPECT_NE(NULL, strstr(text, "region 0: 196608 bytes in 1g pages on node 0\n"));
	EXPECT_NE(NULL, strstr(text, "region 1: 851968 bytes in thp pages on node 0\n"));
	EXPECT_NE(NULL, strstr(text, "step 1: 851968 bytes on node 0 from 2m to thp pages: "
				     "no 2 MiB pages: a \"switch\" is off\n"));
	EXPECT_NE(NULL, strstr(text, "nr_page_steps          2\n"));
	ASSERT_LT(0, weir_pool_dump(pool, WEIR_DUMP_JSON, json, sizeof(json)));
	root = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
	ASSERT_NE(NULL, root);
	EXPECT_EQ(2u, json_array_size(json_object_get(root, "regions")));
	EXPECT_EQ(196608, json_integer_value(json_object_get(root, "pages_1g_bytes")));
	EXPECT_EQ(851968, json_integer_value(json_object_get(root, "pages_thp_bytes")));
	ASSERT_EQ(2u, json_array_size(json_object_get(root, "page_steps")));
	step = json_array_get(json_object_get(root, "page_steps"), 1);
	EXPECT_STREQ("2m", json_string_value(json_object_get(step, "from")));
	EXPECT_STREQ("thp", json_string_value(json_object_get(step, "to")));
	EXPECT_EQ(851968, json_integer_value(json_object_get(step, "bytes")));
	EXPECT_STREQ("no 2 MiB pages: a \"switch\" is off",
		     json_string_value(json_object_get(step, "reason")));
	json_decref(root);
	weir_pool_close(pool);
}

TEST_F(report, a_dump_that_does_not_fit_is_cut_and_its_length_is_told)
{
	char small[10];
	int64_t n = weir_pool_dump(self->pool, WEIR_DUMP_JSON, NULL, 0);

	EXPECT_LT(100, n);
	EXPECT_EQ(n, weir_pool_dump(self->pool, WEIR_DUMP_JSON, small, sizeof(small)));
	EXPECT_EQ(9u, strlen(small));
	EXPECT_EQ(-EINVAL, weir_pool_dump(self->pool, 2, small, sizeof(small)));
	EXPECT_EQ(-EINVAL, weir_pool_dump(NULL, 0, small, sizeof(small)));
	EXPECT_EQ(-EINVAL, weir_pool_dump(self->pool, 0, NULL, 1));
}

TEST_HARNESS_MAIN
