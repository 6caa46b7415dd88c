/* SPDX-License-Identifier: MIT */
/*
 * Rules of a plan: what is pinned, read in every pass, or left out for its rows to come one by one;
 * and those rows: their bytes, how much is read for them, what fails.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <weir/weir.h>

#include "base/alloc.h"
#include "base/util.h"
#include "stream/testmodel.h"

#define NR_LAYERS   4u
#define CACHE_BYTES ((uint64_t)256 << 10)
#define POOL_BYTES  ((size_t)16 << 20)

/* clang-format off */
FIXTURE(rows) {
	struct test_model tm;
	struct weir *weir;
	const struct weir_tensor *embed;
	struct weir_error err;
};
FIXTURE_VARIANT(rows) {
	enum tm_format format;
	uint32_t backend;
};
FIXTURE_VARIANT_ADD(rows, shards) { .format = TM_SHARDED, .backend = WEIR_IO_AUTO };
FIXTURE_VARIANT_ADD(rows, gguf) { .format = TM_GGUF, .backend = WEIR_IO_AUTO };
FIXTURE_VARIANT_ADD(rows, buffered) { .format = TM_SINGLE, .backend = WEIR_IO_BUFFERED };
/* clang-format on */

static int open_context(FIXTURE_DATA(rows) * self, bool has_cache, uint32_t backend)
{
	struct weir_cache_opts cache = {
		.size = sizeof(cache), .l2_budget = CACHE_BYTES, .room_wait_ns = 1000000};
	struct weir_opts opts = {.size = sizeof(opts),
				 .budget_bytes = POOL_BYTES,
				 .page_kinds = 1u << WEIR_PAGE_4K,
				 .io_backend = backend,
				 .flags = WEIR_OPEN_PRIVATE,
				 .cache = has_cache ? &cache : NULL};

	return weir_open(&opts, &self->weir, &self->err);
}

FIXTURE_SETUP(rows)
{
	ASSERT_TRUE(tm_open(&self->tm, variant->format, NR_LAYERS, false));
	ASSERT_EQ(open_context(self, true, variant->backend), 0);
	for (uint32_t g = 0; g < weir_model_nr_groups(self->tm.model); g++) {
		const struct weir_group *group = weir_model_group(self->tm.model, g);

		if (group->kind == WEIR_GROUP_EMBED)
			self->embed = weir_model_at(self->tm.model, group->first);
	}
	ASSERT_NE(self->embed, NULL);
}

FIXTURE_TEARDOWN(rows)
{
	weir_close(self->weir);
	tm_close(&self->tm);
}

static bool is_right(FIXTURE_DATA(rows) * self, uint64_t row, const uint8_t *bytes)
{
	return !memcmp(tm_tensor(&self->tm, self->embed) + row * self->embed->row_bytes, bytes,
		       self->embed->row_bytes);
}

TEST_F(rows, are_those_of_the_file_and_little_else_is_read)
{
	struct weir_rows *rows;
	struct weir_rows_info info;
	uint64_t numbers[100];
	uint8_t *to = malloc(100 * self->embed->row_bytes);

	ASSERT_EQ(weir_rows_open(self->weir, self->tm.model, self->embed, &rows, &self->err), 0);
	for (uint64_t i = 0; i < 100; i++)
		numbers[i] = i * 7919 % self->embed->nr_rows;
	numbers[99] = numbers[0]; /* once more */
	numbers[1] = self->embed->nr_rows - 1;
	ASSERT_EQ(weir_rows_get(rows, numbers, 100, to, &self->err), 0)
	{
		TH_LOG("%s", self->err.message);
	}
	for (uint64_t i = 0; i < 100; i++)
		EXPECT_TRUE(is_right(self, numbers[i], to + i * self->embed->row_bytes));
	weir_rows_info(rows, &info);
	EXPECT_EQ(info.row_bytes, self->embed->row_bytes);
	EXPECT_EQ(info.nr_rows, self->embed->nr_rows);
	EXPECT_EQ(info.nr_got, 100u);
	EXPECT_GE(info.nr_read, 99u);
	EXPECT_LE(info.read_bytes, info.nr_read * info.entry_bytes);
	/* What was read last is in memory. */
	ASSERT_EQ(weir_rows_get(rows, &numbers[95], 2, to, &self->err), 0);
	EXPECT_TRUE(is_right(self, numbers[96], to + self->embed->row_bytes));
	weir_rows_close(rows);
	free(to);
}

TEST_F(rows, that_are_closed_leave_the_cache_empty)
{
	struct weir_cache_stats stats;
	struct weir_rows *rows;
	uint64_t numbers[] = {1, 2, 3};
	uint8_t *to = malloc(3 * self->embed->row_bytes);

	ASSERT_EQ(weir_rows_open(self->weir, self->tm.model, self->embed, &rows, &self->err), 0);
	ASSERT_EQ(weir_rows_get(rows, numbers, 3, to, &self->err), 0);
	weir_rows_close(rows);
	ASSERT_EQ(
		weir_cache_stats(weir_get_cache(self->weir), WEIR_TIER_L2, WEIR_NR_CLASSES, &stats),
		0);
	EXPECT_EQ(stats.nr_entries, 0u);
	EXPECT_EQ(stats.used_bytes, 0u);
	free(to);
}

TEST_F(rows, what_cannot_be_is_refused)
{
	struct weir_rows *rows = NULL;
	uint64_t none = self->embed->nr_rows;
	uint8_t to[1];

	ASSERT_EQ(weir_rows_open(self->weir, self->tm.model, self->embed, &rows, &self->err), 0);
	EXPECT_EQ(weir_rows_get(rows, &none, 1, to, &self->err), -EINVAL);
	EXPECT_EQ(weir_rows_get(rows, &none, 0, to, &self->err), 0);
	weir_rows_close(rows);
	weir_close(self->weir);
	ASSERT_EQ(open_context(self, false, variant->backend), 0);
	EXPECT_EQ(weir_rows_open(self->weir, self->tm.model, self->embed, &rows, &self->err),
		  -EINVAL);
}

TEST_F(rows, of_a_file_that_was_cut_say_so)
{
	struct weir_rows *rows;
	uint64_t last = self->embed->nr_rows - 1;
	uint8_t *to = malloc(self->embed->row_bytes);

	ASSERT_EQ(weir_rows_open(self->weir, self->tm.model, self->embed, &rows, &self->err), 0);
	ASSERT_EQ(truncate(tm_path(&self->tm, self->embed->file), 4096), 0);
	EXPECT_EQ(weir_rows_get(rows, &last, 1, to, &self->err), -ESTALE);
	EXPECT_NE(strstr(self->err.message, self->embed->name), NULL);
	weir_rows_close(rows);
	free(to);
}

TEST_F(rows, a_failing_allocation_leaves_nothing)
{
	uint8_t *to = malloc(4 * self->embed->row_bytes);
	uint64_t numbers[] = {9, 5, 3000, 17};
	int rc = -ENOMEM;

	for (uint64_t n = 1; rc && n < 200; n++) {
		int64_t before = wr_test_alloc_live();
		struct weir_rows *rows = NULL;

		wr_test_alloc_fail_at(n);
		rc = weir_rows_open(self->weir, self->tm.model, self->embed, &rows, &self->err);
		if (!rc)
			rc = weir_rows_get(rows, numbers, 4, to, &self->err);
		wr_test_alloc_fail_at(0);
		weir_rows_close(rows);
		EXPECT_TRUE(!rc || rc == -ENOMEM);
		/* What the cache and the engine keep for the next time is theirs. */
		if (n > 20)
			EXPECT_LE(wr_test_alloc_live(), before + 8);
	}
	EXPECT_EQ(rc, 0);
	free(to);
}

/* ---- rules ---- */

/* Bytes that a pass visits, and of these those of tensors of that name. */
static uint64_t visited(FIXTURE_DATA(rows) * self, const struct weir_plan *plan, const char *name,
			uint64_t *ret_of)
{
	struct weir_units *units;
	const struct weir_part *parts;
	uint64_t all = 0;

	*ret_of = 0;
	if (weir_units_open(self->tm.model, plan, &units, &self->err))
		return 0;
	for (uint32_t i = 0; i < weir_units_nr(units); i++)
		for (int p = weir_units_parts(units, i, &parts); p-- > 0;) {
			all += parts[p].bytes;
			*ret_of += strcmp(parts[p].tensor->name, name) ? 0 : parts[p].bytes;
		}
	weir_units_close(units);
	return all;
}

TEST_F(rows, a_tensor_with_that_rule_is_in_no_pass)
{
	struct weir_plan_rule rules[] = {{self->embed->name, WEIR_TENSOR_ROWS},
					 {"*", WEIR_TENSOR_NORMAL}};
	struct weir_plan plan = {.size = sizeof(plan)};
	uint64_t all, of, rest;

	all = visited(self, &plan, self->embed->name, &of);
	EXPECT_EQ(of, self->embed->bytes);
	plan.rules = rules;
	plan.nr_rules = 2;
	EXPECT_EQ(weir_plan_rule(&plan, self->embed), WEIR_TENSOR_ROWS);
	rest = visited(self, &plan, self->embed->name, &of);
	EXPECT_EQ(of, 0u);
	EXPECT_EQ(rest, all - self->embed->bytes);
	rules[0].kind = WEIR_TENSOR_ROWS + 1;
	EXPECT_EQ(visited(self, &plan, self->embed->name, &of), 0u);
	rules[0] = (struct weir_plan_rule){NULL, WEIR_TENSOR_PIN};
	EXPECT_EQ(visited(self, &plan, self->embed->name, &of), 0u);
	plan.nr_rules = WEIR_PLAN_RULES_MAX + 1;
	EXPECT_EQ(visited(self, &plan, self->embed->name, &of), 0u);
}

/* Units of the second pass that were hits, of tensors whose name ends so, and all of those. */
static uint32_t hits_of(FIXTURE_DATA(rows) * self, const struct weir_plan *plan, const char *end,
			uint32_t *ret_all)
{
	struct weir_stream *stream;
	struct weir_unit unit;
	struct weir_view view;
	uint32_t hits = 0;

	*ret_all = 0;
	if (weir_stream_open(self->weir, self->tm.model, plan, &stream, &self->err))
		return UINT32_MAX;
	for (int pass = 0; pass < 2; pass++)
		while (weir_stream_next(stream, &unit, &self->err) > 0) {
			size_t len;

			if (weir_stream_view(stream, 0, &view) ||
			    !tm_view_is_right(&self->tm, &view))
				return UINT32_MAX;
			len = strlen(view.tensor->name);
			if (!pass || len < strlen(end) ||
			    strcmp(view.tensor->name + len - strlen(end), end))
				continue;
			hits += unit.was_hit;
			++*ret_all;
		}
	weir_stream_close(stream);
	return hits;
}

TEST_F(rows, what_is_pinned_stays_and_what_is_streamed_does_not)
{
	bool is_gguf = variant->format == TM_GGUF;
	const char *end = is_gguf ? "ffn_up.weight" : "up_proj.weight";
	struct weir_plan_rule rule = {is_gguf ? "*ffn_up.weight" : "*up_proj.weight",
				      WEIR_TENSOR_PIN};
	struct weir_plan plan = {
		.size = sizeof(plan), .unit = WEIR_UNIT_TENSOR, .rules = &rule, .nr_rules = 1};
	uint32_t all = 0;

	plan.budget_bytes = 1;
	EXPECT_EQ(hits_of(self, &plan, end, &all), UINT32_MAX);
	EXPECT_EQ(self->err.code, -ENOSPC);
	plan.budget_bytes = 0;
	EXPECT_EQ(hits_of(self, &plan, end, &all), all);
	EXPECT_GE(all, NR_LAYERS);
	rule.kind = WEIR_TENSOR_STREAM;
	EXPECT_EQ(hits_of(self, &plan, end, &all), 0u);
	EXPECT_GE(all, NR_LAYERS);
}

TEST_HARNESS_MAIN
