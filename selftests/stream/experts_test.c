/* SPDX-License-Identifier: MIT */
/*
 * Experts out of the cache: the bytes of every slice, budgets that hold and are divided, hints, what
 * fails and what then is left.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <weir/weir.h>

#include "base/alloc.h"
#include "base/util.h"
#include "stream/testmodel.h"

#define NR_LAYERS   5u
#define NR_CHOSEN   3u
#define CACHE_BYTES ((uint64_t)320 << 10) /* eight experts */
#define POOL_BYTES  ((size_t)8 << 20)

/* clang-format off */
FIXTURE(experts) {
	struct test_model tm;
	struct weir *weir;
	struct weir_experts *experts;
	struct weir_experts_info info;
	struct weir_error err;
};
FIXTURE_VARIANT(experts) {
	enum tm_format format;
};
FIXTURE_VARIANT_ADD(experts, stacked) { .format = TM_EXPERTS };
FIXTURE_VARIANT_ADD(experts, singles) { .format = TM_SINGLES };
/* clang-format on */

static int open_context(FIXTURE_DATA(experts) * self, bool has_cache, bool is_packed)
{
	struct weir_cache_opts cache = {.size = sizeof(cache),
					.l2_budget = CACHE_BYTES,
					.l2_packed = is_packed,
					.room_wait_ns = 1000000};
	struct weir_opts opts = {.size = sizeof(opts),
				 .budget_bytes = POOL_BYTES,
				 .page_kinds = 1u << WEIR_PAGE_4K,
				 .flags = WEIR_OPEN_PRIVATE,
				 .cache = has_cache ? &cache : NULL};

	return weir_open(&opts, &self->weir, &self->err);
}

FIXTURE_SETUP(experts)
{
	ASSERT_TRUE(tm_open(&self->tm, variant->format, NR_LAYERS, false));
	ASSERT_EQ(open_context(self, true, true), 0);
	ASSERT_EQ(weir_experts_open(self->weir, self->tm.model, &self->experts, &self->err), 0);
	weir_experts_info(self->experts, &self->info);
}

FIXTURE_TEARDOWN(experts)
{
	weir_experts_close(self->experts);
	weir_close(self->weir);
	tm_close(&self->tm);
}

/* Of a stack its slice, or a whole tensor of its own. */
static bool is_of(const struct weir_view *view, uint32_t expert)
{
	if (view->tensor->nr_slices == TM_NR_EXPERTS)
		return view->first_row == expert * view->nr_rows;
	return view->tensor->expert == (int32_t)expert && view->nr_rows == view->tensor->nr_rows;
}

/* All views of a pinned expert, which is put. How many of them were right; less than 0: one was not. */
static int check(FIXTURE_DATA(experts) * self, uint32_t layer, uint32_t expert,
		 struct weir_pin *pin)
{
	struct weir_view view;
	int nr = 0;

	while (nr >= 0 &&
	       !weir_experts_view(self->experts, layer, expert, pin, (uint32_t)nr, &view))
		nr = tm_view_is_right(&self->tm, &view) && is_of(&view, expert) ? nr + 1 : -1;
	weir_cache_put(weir_get_cache(self->weir), pin);
	return nr;
}

static int64_t get(FIXTURE_DATA(experts) * self, uint32_t layer, uint32_t first, uint32_t nr,
		   bool *ret_right)
{
	uint32_t chosen[TM_NR_EXPERTS] = {0};
	struct weir_pin pins[TM_NR_EXPERTS];
	int64_t rc;

	for (uint32_t i = 0; i < nr; i++)
		chosen[i] = (first + i) % TM_NR_EXPERTS;
	rc = weir_experts_get(self->experts, layer, chosen, nr, pins, &self->err);
	*ret_right = true;
	for (uint32_t i = 0; rc >= 0 && i < nr; i++)
		*ret_right &= check(self, layer, chosen[i], &pins[i]) == 2;
	return rc;
}

static struct weir_cache_stats stats(FIXTURE_DATA(experts) * self)
{
	struct weir_cache_stats s;

	if (weir_cache_stats(weir_get_cache(self->weir), WEIR_TIER_L2, WEIR_CLASS_EXPERTS, &s))
		abort();
	return s;
}

TEST_F(experts, are_those_of_the_file)
{
	EXPECT_EQ(self->info.nr_layers, NR_LAYERS);
	EXPECT_EQ(self->info.nr_experts, TM_NR_EXPERTS);
	for (uint32_t turn = 0; turn < 3; turn++)
		for (uint32_t layer = 0; layer < NR_LAYERS; layer++)
			for (uint32_t e = 0; e < TM_NR_EXPERTS; e += 2) {
				bool right;

				ASSERT_LE(0, get(self, layer, e + turn, NR_CHOSEN, &right))
				{
					TH_LOG("%s", self->err.message);
				}
				EXPECT_TRUE(right);
			}
	EXPECT_LT(0, stats(self).nr_evictions);
	EXPECT_LE(stats(self).used_bytes, CACHE_BYTES);
}

TEST_F(experts, fill_the_budget_and_no_more)
{
	struct weir_cache_item item;
	bool right;

	for (uint32_t e = 0; e < TM_NR_EXPERTS; e++)
		EXPECT_EQ(get(self, 0, e, 1, &right), 0);
	ASSERT_EQ(weir_experts_item(self->experts, 0, 0, &item), 0);
	/* Packed: as many as their bytes say. */
	EXPECT_EQ(stats(self).nr_entries, CACHE_BYTES / wr_align_up(item.bytes, WEIR_TIER_ALIGN));
}

TEST_F(experts, that_stay_are_hits)
{
	bool right;

	EXPECT_EQ(get(self, 1, 0, NR_CHOSEN, &right), 0);
	EXPECT_EQ(get(self, 1, 1, NR_CHOSEN, &right), 2);
	EXPECT_EQ(get(self, 2, 1, NR_CHOSEN, &right), 0);
	EXPECT_EQ(stats(self).nr_hits, 2);
	EXPECT_EQ(stats(self).nr_misses, 7);
}

TEST_F(experts, that_are_likely_are_there_when_they_are_wanted)
{
	uint32_t likely[] = {3, 7};
	bool right;

	EXPECT_EQ(weir_experts_likely(self->experts, 3, likely, 2, 900), 2);
	EXPECT_EQ(get(self, 3, 3, 1, &right) >= 0 && right, true);
	EXPECT_EQ(get(self, 3, 7, 1, &right) >= 0 && right, true);
	EXPECT_EQ(stats(self).nr_prefetches, 2);
	EXPECT_EQ(stats(self).nr_useful + stats(self).nr_late, 2);
	likely[1] = TM_NR_EXPERTS;
	EXPECT_EQ(weir_experts_likely(self->experts, 3, likely, 2, 900), -EINVAL);
	EXPECT_EQ(weir_experts_likely(self->experts, NR_LAYERS, likely, 1, 900), -EINVAL);
}

TEST_F(experts, foreseen_by_the_cache_are_the_same)
{
	bool right;

	ASSERT_EQ(weir_experts_foresee(self->experts, &self->err), 0);
	for (uint32_t turn = 0; turn < 60; turn++)
		for (uint32_t layer = 0; layer < NR_LAYERS; layer++) {
			ASSERT_LE(0, get(self, layer, turn + layer, NR_CHOSEN, &right));
			ASSERT_TRUE(right);
		}
	EXPECT_EQ(weir_experts_foresee(self->experts, &self->err), -EALREADY);
	weir_experts_close(self->experts);
	self->experts = NULL;
	EXPECT_EQ(stats(self).nr_entries, 0);
}

TEST_F(experts, read_ahead_may_be_closed_on)
{
	uint32_t likely[] = {0, 1, 2, 3};

	for (int i = 0; i < 20; i++) {
		EXPECT_LE(0, weir_experts_likely(self->experts, (uint32_t)i % NR_LAYERS, likely, 4,
						 900));
		weir_experts_close(self->experts);
		self->experts = NULL;
		ASSERT_EQ(weir_experts_open(self->weir, self->tm.model, &self->experts, &self->err),
			  0);
		EXPECT_EQ(stats(self).nr_entries, 0);
	}
}

TEST_F(experts, are_told_from_what_is_none)
{
	struct weir_cache_item item;
	struct weir_pin pin = {0};
	struct weir_view view;
	bool right;

	EXPECT_EQ(get(self, NR_LAYERS, 0, 1, &right), -EINVAL);
	EXPECT_EQ(weir_experts_item(self->experts, 0, TM_NR_EXPERTS, &item), -EINVAL);
	EXPECT_EQ(weir_experts_view(self->experts, 0, 0, &pin, 0, &view), -EINVAL);
	for (uint32_t g = 0; g < weir_model_nr_groups(self->tm.model); g++) {
		const struct weir_group *group = weir_model_group(self->tm.model, g);
		bool is_layer = group->kind == WEIR_GROUP_LAYER;

		EXPECT_EQ(weir_experts_layer(self->experts, g), is_layer ? group->layer : -ENOENT);
	}
}

TEST_F(experts, too_many_at_once_are_refused_and_fewer_are_not)
{
	bool right;

	EXPECT_EQ(get(self, 0, 0, TM_NR_EXPERTS, &right), -ENOSPC);
	EXPECT_NE(strstr(self->err.message, "12 experts"), NULL);
	EXPECT_LE(0, get(self, 0, 0, NR_CHOSEN, &right));
	EXPECT_TRUE(right);
}

TEST_F(experts, a_file_that_was_cut_fails_those_that_are_gone)
{
	bool right;

	ASSERT_EQ(truncate(tm_path(&self->tm, 0), (off_t)self->tm.nr_bytes[0] / 2), 0);
	for (uint32_t layer = 0; layer < NR_LAYERS; layer++) {
		const struct weir_group *group = NULL;
		const struct weir_tensor *last = NULL;
		uint64_t end = 0;
		int64_t rc;

		for (uint32_t g = 0; g < weir_model_nr_groups(self->tm.model); g++)
			if (weir_experts_layer(self->experts, g) == (int)layer)
				group = weir_model_group(self->tm.model, g);
		for (uint32_t p = group->first; p < group->first + group->nr; p++) {
			last = weir_model_at(self->tm.model, p);
			end = weir_tensor_experts(last) == TM_NR_EXPERTS
				      ? wr_max(end, last->offset + last->bytes)
				      : end;
		}
		rc = get(self, layer, TM_NR_EXPERTS - 1, 1, &right);
		if (end < self->tm.nr_bytes[0] / 2) {
			EXPECT_EQ(rc, 0);
			EXPECT_TRUE(right);
		} else if (end > self->tm.nr_bytes[0] / 2 + (1u << 20)) {
			EXPECT_EQ(rc, -ESTALE);
			EXPECT_STREQ(self->err.file, tm_path(&self->tm, 0));
			EXPECT_NE(strstr(self->err.message, "experts."), NULL);
		}
	}
}

TEST_F(experts, allocation_may_fail_at_any_point)
{
	struct weir_experts *second = NULL;
	int64_t live = wr_test_alloc_live();
	int rc = -ENOMEM;

	for (unsigned int n = 1; rc == -ENOMEM && n < 1000; n++) {
		wr_test_alloc_fail_at(n);
		rc = weir_experts_open(self->weir, self->tm.model, &second, &self->err);
		wr_test_alloc_fail_at(0);
		if (rc)
			EXPECT_EQ(wr_test_alloc_live(), live);
	}
	EXPECT_EQ(rc, 0);
	weir_experts_close(second);
}

TEST_F(experts, need_a_cache_and_a_mixture)
{
	struct weir_experts *experts;
	struct test_model dense;

	EXPECT_EQ(weir_experts_share(self->tm.model, NULL, 1 << 20, 0,
				     &(struct weir_experts_share){0}, &self->err),
		  -EINVAL);
	ASSERT_TRUE(tm_open(&dense, TM_SINGLE, 1, false));
	EXPECT_EQ(weir_experts_open(self->weir, dense.model, &experts, &self->err), -ENODATA);
	tm_close(&dense);
	weir_experts_close(self->experts);
	self->experts = NULL;
	weir_close(self->weir);
	ASSERT_EQ(open_context(self, false, false), 0);
	EXPECT_EQ(weir_experts_open(self->weir, self->tm.model, &experts, &self->err), -EINVAL);
}

TEST_F(experts, are_not_visited_by_a_plan_without_them)
{
	struct weir_plan plan = {.size = sizeof(plan), .flags = WEIR_PLAN_NO_EXPERTS};
	struct weir_units *units;
	const struct weir_part *parts;
	int nr;

	ASSERT_EQ(weir_units_open(self->tm.model, &plan, &units, &self->err), 0);
	for (uint32_t i = 0; i < weir_units_nr(units); i++) {
		nr = weir_units_parts(units, i, &parts);
		for (int p = 0; p < nr; p++)
			EXPECT_EQ(weir_tensor_experts(parts[p].tensor), 0u);
	}
	weir_units_close(units);
}

/* A context and a token with a budget; true when every byte was right. */
static bool runs_with(FIXTURE_DATA(experts) * self, uint64_t budget)
{
	struct weir_plan plan = {
		.size = sizeof(plan), .flags = WEIR_PLAN_NO_EXPERTS, .tile_bytes = 40000};
	struct weir_experts_share share;
	struct weir_stream *stream = NULL;
	struct weir_unit unit;
	struct weir_view view;
	bool right = true;
	int rc = weir_experts_share(self->tm.model, &plan, budget, NR_CHOSEN, &share, &self->err);
	struct weir_cache_opts cache = {
		.size = sizeof(cache), .l2_budget = share.cache_bytes, .l2_packed = 1};
	struct weir_opts opts = {.size = sizeof(opts),
				 .budget_bytes = wr_align_up(budget, (uint64_t)2 << 20),
				 .page_kinds = 1u << WEIR_PAGE_4K,
				 .flags = WEIR_OPEN_PRIVATE,
				 .cache = &cache};

	if (rc || share.stream_bytes + share.cache_bytes > budget)
		return false;
	weir_experts_close(self->experts);
	weir_close(self->weir);
	self->experts = NULL;
	self->weir = NULL;
	plan.budget_bytes = share.stream_bytes;
	rc = weir_open(&opts, &self->weir, &self->err);
	rc = rc ? rc : weir_stream_open(self->weir, self->tm.model, &plan, &stream, &self->err);
	rc = rc ? rc : weir_experts_open(self->weir, self->tm.model, &self->experts, &self->err);
	while (!rc && weir_stream_next(stream, &unit, &self->err) > 0)
		for (uint32_t i = 0; i < unit.nr_views; i++)
			right = right && !weir_stream_view(stream, i, &view) &&
				tm_view_is_right(&self->tm, &view);
	for (uint32_t layer = 0; !rc && layer < NR_LAYERS; layer++)
		for (uint32_t i = 0; i < NR_CHOSEN; i += share.nr_together) {
			bool good;

			rc = get(self, layer, layer + i, wr_min(share.nr_together, NR_CHOSEN - i),
				 &good) < 0;
			right = right && good;
		}
	weir_stream_close(stream);
	return !rc && right;
}

TEST_F(experts, any_budget_from_the_smallest_on_is_enough)
{
	struct weir_plan plan = {.size = sizeof(plan), .tile_bytes = 40000};
	struct weir_experts_share share;
	char number[32];

	ASSERT_EQ(weir_experts_share(self->tm.model, &plan, 0, NR_CHOSEN, &share, &self->err),
		  -ENOSPC);
	snprintf(number, sizeof(number), "%llu", (unsigned long long)share.min_bytes);
	EXPECT_NE(strstr(self->err.message, number), NULL);
	EXPECT_EQ(share.below_cycle, 1);
	EXPECT_EQ(weir_experts_share(self->tm.model, &plan, share.min_bytes - 1, NR_CHOSEN, &share,
				     &self->err),
		  -ENOSPC);
	for (uint64_t b = share.min_bytes; b < share.all_bytes * 2; b += b / 3 + 4095) {
		bool good = runs_with(self, b);

		EXPECT_TRUE(good)
		{
			TH_LOG("%llu: %s", (unsigned long long)b, self->err.message);
		}
	}
}

TEST_F(experts, what_is_always_used_stays_first)
{
	struct weir_plan plan = {.size = sizeof(plan), .tile_bytes = 40000};
	struct weir_experts_share half, all;

	ASSERT_EQ(weir_experts_share(self->tm.model, &plan, (uint64_t)1 << 20, NR_CHOSEN, &half,
				     &self->err),
		  0);
	EXPECT_LT(half.stream_bytes, half.dense_bytes);
	EXPECT_EQ(half.nr_together, NR_CHOSEN);
	EXPECT_LT(half.dense_bytes, half.cycle_bytes);
	EXPECT_LT(half.cycle_bytes, half.all_bytes);
	ASSERT_EQ(weir_experts_share(self->tm.model, &plan, (uint64_t)4 << 20, NR_CHOSEN, &all,
				     &self->err),
		  0);
	EXPECT_LE(all.dense_bytes, all.stream_bytes);
	EXPECT_LT(half.cache_bytes, all.cache_bytes);
	EXPECT_EQ(all.below_cycle, 0);
}

TEST_HARNESS_MAIN
