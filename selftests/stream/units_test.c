/* SPDX-License-Identifier: MIT */
/* The list of units that a plan becomes: what is visited, in which order, cut where. */
#include <errno.h>
#include <string.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "base/util.h"
#include "stream/testmodel.h"
#include "stream/units.h"

/* clang-format off */
FIXTURE(units) {
	struct test_model tm;
	struct weir_plan plan;
	struct weir_units *units;
	struct weir_error err;
};
FIXTURE_VARIANT(units) {
	enum tm_format format;
};
/* clang-format on */

FIXTURE_VARIANT_ADD(units, single){.format = TM_SINGLE};
FIXTURE_VARIANT_ADD(units, sharded){.format = TM_SHARDED};
FIXTURE_VARIANT_ADD(units, gguf){.format = TM_GGUF};

FIXTURE_SETUP(units)
{
	ASSERT_TRUE(tm_open(&self->tm, variant->format, 3, false));
	self->plan = (struct weir_plan){.size = sizeof(self->plan)};
}

FIXTURE_TEARDOWN(units)
{
	weir_units_close(self->units);
	tm_close(&self->tm);
}

/* The number of units of the plan, or why there is no list. */
static int open_units(FIXTURE_DATA(units) * self)
{
	int rc;

	weir_units_close(self->units);
	self->units = NULL;
	rc = weir_units_open(self->tm.model, &self->plan, &self->units, &self->err);
	return rc ? rc : (int)weir_units_nr(self->units);
}

static uint64_t sum_of(const struct weir_units *units)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < weir_units_nr(units); i++)
		sum += wr_units_bytes(units, i);
	return sum;
}

TEST_F(units, every_kind_covers_every_tensor_once_in_order_of_use)
{
	for (uint32_t kind = WEIR_UNIT_TILE; kind <= WEIR_UNIT_GROUP; kind++) {
		for (size_t tile = 0; tile < 100000; tile = tile * 7 + 1) {
			self->plan.unit = kind;
			self->plan.tile_bytes = tile;
			ASSERT_GT(open_units(self), 0);
			EXPECT_TRUE(tm_units_cover(&self->tm, self->units, 0));
			EXPECT_EQ(self->units->plan_bytes, sum_of(self->units));
		}
	}
}

TEST_F(units, a_tile_is_whole_rows_of_one_tensor_and_not_above_the_size_asked_for)
{
	const struct weir_part *part;
	int nr;

	self->plan.tile_bytes = 10000;
	nr = open_units(self);
	ASSERT_GT(nr, 0);
	for (int i = 0; i < nr; i++) {
		ASSERT_EQ(weir_units_parts(self->units, (uint32_t)i, &part), 1);
		EXPECT_LE(part->bytes, 10000u);
	}
	EXPECT_LE(self->units->unit_bytes, 10000u);
}

TEST_F(units, tiles_of_a_tensor_are_equal_to_within_a_row)
{
	const struct weir_part *part;
	uint64_t least = UINT64_MAX, most = 0;
	int nr;

	self->plan.tile_bytes = 30000;
	nr = open_units(self);
	for (int i = 0; i < nr; i++) {
		ASSERT_EQ(weir_units_parts(self->units, (uint32_t)i, &part), 1);
		/* The embedding has the most tiles. */
		if (part->tensor->nr_rows != TM_EMBED_ROWS)
			continue;
		least = wr_min(least, part->nr_rows);
		most = wr_max(most, part->nr_rows);
	}
	EXPECT_GT(most, 1u);
	EXPECT_LE(most - least, 1u);
}

TEST_F(units, a_row_above_the_tile_size_is_a_tile_of_its_own)
{
	const struct weir_part *part;
	int nr;

	self->plan.tile_bytes = 1;
	nr = open_units(self);
	ASSERT_GT(nr, 0);
	for (int i = 0; i < nr; i++) {
		ASSERT_EQ(weir_units_parts(self->units, (uint32_t)i, &part), 1);
		EXPECT_EQ(part->nr_rows, 1u);
	}
}

TEST_F(units, a_group_is_one_unit_of_many_parts)
{
	const struct weir_part *parts;
	int nr, most = 0;

	self->plan.unit = WEIR_UNIT_GROUP;
	nr = open_units(self);
	/* Embedding, three layers, norm, head. */
	EXPECT_EQ(nr, 6);
	for (int i = 0; i < nr; i++) {
		int parts_nr = weir_units_parts(self->units, (uint32_t)i, &parts);

		for (int p = 1; p < parts_nr; p++)
			EXPECT_EQ(parts[p].tensor->group, parts[0].tensor->group);
		most = wr_max(most, parts_nr);
	}
	EXPECT_EQ(most, variant->format == TM_GGUF ? 6 : 9);
}

TEST_F(units, the_vision_tower_is_visited_only_when_the_plan_asks)
{
	bool tower = variant->format != TM_GGUF;
	int text, all;

	text = open_units(self);
	self->plan.flags = WEIR_PLAN_VISION;
	all = open_units(self);
	EXPECT_TRUE(tm_units_cover(&self->tm, self->units, WEIR_PLAN_VISION));
	if (tower) {
		EXPECT_EQ(self->units->plan_bytes, self->tm.all_bytes);
	}
	self->plan.flags = WEIR_PLAN_VISION_ONLY;
	EXPECT_EQ(open_units(self), tower ? all - text : -EINVAL);
	if (tower) {
		EXPECT_TRUE(tm_units_cover(&self->tm, self->units, WEIR_PLAN_VISION_ONLY));
	} else {
		EXPECT_NE(strstr(self->err.message, "visits no tensor"), NULL);
	}
}

struct asked {
	const struct weir_tensor *last;
	int nr;
	int nr_out_of_order;
};

static int only_matrices(void *arg, const struct weir_tensor *tensor)
{
	struct asked *asked = arg;

	asked->nr_out_of_order += asked->last && tensor->position <= asked->last->position;
	asked->last = tensor;
	asked->nr++;
	return tensor->nr_dims == 2;
}

static int none(void *arg, const struct weir_tensor *tensor)
{
	(void)arg;
	(void)tensor;
	return 0;
}

TEST_F(units, visit_is_asked_once_a_tensor_in_order_and_its_no_leaves_it_out)
{
	struct asked asked = {0};
	const struct weir_part *part;
	int nr, nr_tensors = 0;

	for (uint32_t p = 0; p < weir_model_nr_tensors(self->tm.model); p++) {
		const struct weir_tensor *t = weir_model_at(self->tm.model, p);

		nr_tensors += t->bytes &&
			      weir_model_group(self->tm.model, t->group)->kind != WEIR_GROUP_VISION;
	}
	self->plan.unit = WEIR_UNIT_TENSOR;
	self->plan.visit = only_matrices;
	self->plan.visit_arg = &asked;
	nr = open_units(self);
	ASSERT_GT(nr, 0);
	EXPECT_EQ(asked.nr, nr_tensors);
	EXPECT_EQ(asked.nr_out_of_order, 0);
	EXPECT_LT(nr, nr_tensors);
	for (int i = 0; i < nr; i++) {
		ASSERT_EQ(weir_units_parts(self->units, (uint32_t)i, &part), 1);
		EXPECT_EQ(part->tensor->nr_dims, 2u);
	}
	self->plan.visit = none;
	EXPECT_EQ(open_units(self), -EINVAL);
}

TEST_F(units, an_index_beyond_the_list_and_a_plan_that_is_wrong_are_refused)
{
	const struct weir_part *part = NULL;
	struct {
		struct weir_plan plan;
		uint64_t newer;
	} next = {.plan = {.size = sizeof(next)}};
	int nr = open_units(self);

	EXPECT_EQ(weir_units_parts(self->units, (uint32_t)nr, &part), -EINVAL);
	EXPECT_EQ(weir_units_parts(self->units, UINT32_MAX, &part), -EINVAL);
	EXPECT_EQ(part, NULL);
	self->plan.unit = WEIR_UNIT_GROUP + 1;
	EXPECT_EQ(open_units(self), -EINVAL);
	self->plan.unit = 0;
	self->plan.flags = 1u << 30;
	EXPECT_EQ(open_units(self), -EINVAL);
	EXPECT_EQ(weir_units_open(self->tm.model, &next.plan, &self->units, NULL), 0);
	weir_units_close(self->units);
	self->units = NULL;
	next.newer = 1;
	EXPECT_EQ(weir_units_open(self->tm.model, &next.plan, &self->units, &self->err), -E2BIG);
	EXPECT_EQ(self->units, NULL);
	EXPECT_EQ(self->err.code, -E2BIG);
	/* No plan is the default plan. */
	EXPECT_EQ(weir_units_open(self->tm.model, NULL, &self->units, NULL), 0);
	EXPECT_EQ((int)weir_units_nr(self->units), nr);
}

TEST_F(units, it_gives_up_cleanly_wherever_memory_runs_out)
{
	int64_t live = wr_test_alloc_live();
	uint64_t n;

	for (n = 1; n < 100; n++) {
		int rc;

		wr_test_alloc_fail_at(n);
		rc = weir_units_open(self->tm.model, &self->plan, &self->units, &self->err);
		if (!wr_test_alloc_failed())
			break;
		EXPECT_EQ(rc, -ENOMEM);
		EXPECT_EQ(self->err.code, -ENOMEM);
		EXPECT_EQ(self->units, NULL);
		EXPECT_EQ(wr_test_alloc_live(), live);
	}
	wr_test_alloc_fail_at(0);
	EXPECT_GT(n, 3u);
	EXPECT_NE(self->units, NULL);
}

TEST_HARNESS_MAIN
