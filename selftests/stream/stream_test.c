/* SPDX-License-Identifier: MIT */
/*
 * A stream over real files, on every rung: the bytes of every unit in every pass, what is read and
 * what stays, what the numbers say, and the budget.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"

#include <weir/weir.h>

#include "base/util.h"
#include "io/io_help.h"
#include "stream/testmodel.h"

#define NR_LAYERS  4
#define NR_PASSES  4u
#define POOL_BYTES ((size_t)16 << 20)
#define TILE_BYTES 40000

/* clang-format off */
FIXTURE(stream) {
	struct test_model tm;
	struct weir *weir;
	struct weir_plan plan;
	struct weir_units *units;
	struct weir_stream *stream;
	struct weir_stream_info info;
	struct weir_error err;
};
/* clang-format on */

IO_EVERY_RUNG(stream)

FIXTURE_SETUP(stream)
{
	IO_OPEN_WEIR(POOL_BYTES, &self->weir);
	ASSERT_TRUE(tm_open(&self->tm, TM_SINGLE, NR_LAYERS, variant->memory));
	self->plan = (struct weir_plan){.size = sizeof(self->plan), .tile_bytes = TILE_BYTES};
}

FIXTURE_TEARDOWN(stream)
{
	weir_stream_close(self->stream);
	weir_units_close(self->units);
	weir_close(self->weir);
	tm_close(&self->tm);
}

static void end_stream(FIXTURE_DATA(stream) * self)
{
	weir_stream_close(self->stream);
	weir_units_close(self->units);
	self->stream = NULL;
	self->units = NULL;
}

/* A stream of self->plan with @budget. */
static int begin_stream(FIXTURE_DATA(stream) * self, size_t budget)
{
	int rc;

	end_stream(self);
	self->plan.budget_bytes = budget;
	rc = weir_units_open(self->tm.model, &self->plan, &self->units, &self->err);
	if (!rc)
		rc = weir_stream_open(self->weir, self->tm.model, &self->plan, &self->stream,
				      &self->err);
	if (!rc)
		weir_stream_info(self->stream, &self->info);
	return rc;
}

/* The smallest budget of self->plan. */
static size_t min_budget(FIXTURE_DATA(stream) * self)
{
	return begin_stream(self, 0) ? 0 : self->info.min_budget_bytes;
}

/* The one that the message that refuses a page names: for a context, in whole huge pages. */
static size_t named_budget(FIXTURE_DATA(stream) * self)
{
	const char *number;

	if (begin_stream(self, 4096) != -ENOSPC)
		return 0;
	number = strstr(self->err.message, "smallest");
	number = number ? strpbrk(number, "0123456789") : NULL;
	return number ? strtoull(number, NULL, 10) : 0;
}

static uint64_t bytes_in_use(struct weir *weir)
{
	struct weir_pool_stats stats;

	weir_pool_stats(weir_get_pool(weir), &stats);
	return stats.used_bytes;
}

/*
 * What one pass over the units that are not resident reads, for units of one part: from the page
 * of the file that holds the first byte to the end of the block that holds the last.
 */
static uint64_t landing_bytes(FIXTURE_DATA(stream) * self, const bool *hit)
{
	struct weir_io_file *files[TM_MAX_FILES];
	const struct weir_part *part;
	uint64_t sum = 0;

	for (uint32_t f = 0; f < weir_model_nr_files(self->tm.model); f++)
		if (weir_io_file_open(weir_get_io(self->weir), tm_path(&self->tm, f), &files[f],
				      NULL))
			abort();
	for (uint32_t i = 0; i < weir_units_nr(self->units); i++) {
		uint64_t lead;

		if (hit[i] || weir_units_parts(self->units, i, &part) != 1)
			continue;
		lead = part->offset % 4096;
		sum += weir_io_landing_bytes(files[part->tensor->file], part->offset - lead,
					     part->bytes + lead);
	}
	for (uint32_t f = 0; f < weir_model_nr_files(self->tm.model); f++)
		weir_io_file_close(files[f]);
	return sum;
}

/* All passes; each later one hits what is resident and nothing else. False when not. */
static bool passes_are_right(FIXTURE_DATA(stream) * self)
{
	struct tm_walk walk = {0};
	struct weir_pass_stats stats;
	uint64_t read_later = 0;

	for (uint32_t p = 0; p < NR_PASSES; p++) {
		if (tm_walk_pass(&self->tm, self->stream, self->units, &walk) != 0)
			return false;
		weir_stream_pass(self->stream, &stats);
		if (stats.pass != p || !stats.complete || stats.nr_units != self->info.nr_units ||
		    stats.nr_hits != (p ? self->info.nr_resident : 0) ||
		    stats.bytes_hit != (p ? self->info.resident_bytes : 0))
			return false;
		if (stats.bytes_read < self->info.plan_bytes - stats.bytes_hit)
			return false;
		/* Every pass but the first reads the same. */
		if (p > 1 && stats.bytes_read != read_later)
			return false;
		read_later = p ? stats.bytes_read : 0;
	}
	return !walk.nr_wrong && walk.nr_units == NR_PASSES * (uint64_t)self->info.nr_units &&
	       walk.bytes == NR_PASSES * self->info.plan_bytes;
}

/* From the least that works to more than there is. */
static unsigned bad_budgets(FIXTURE_DATA(stream) * self)
{
	size_t least = min_budget(self), all;
	unsigned nr_bad = 0;

	if (!least || begin_stream(self, POOL_BYTES))
		return 100;
	all = self->info.budget_bytes;
	for (unsigned step = 0; step <= 4; step++) {
		size_t budget = least + (all - least) / 4 * step + (step == 4 ? 8192 : 0);
		bool good = begin_stream(self, budget) == 0;

		good = good && self->info.budget_bytes <= budget &&
		       self->info.min_budget_bytes == least &&
		       bytes_in_use(self->weir) == self->info.budget_bytes &&
		       (step == 4) == (self->info.window_bytes == 0) && passes_are_right(self);
		nr_bad += !good;
	}
	end_stream(self);
	return nr_bad + (bytes_in_use(self->weir) != 0);
}

TEST_F(stream, shows_the_files_bytes_in_every_kind_of_unit_at_every_budget)
{
	for (uint32_t kind = WEIR_UNIT_TILE; kind <= WEIR_UNIT_GROUP; kind++) {
		self->plan.unit = kind;
		EXPECT_EQ(bad_budgets(self), 0u);
	}
}

TEST_F(stream, shows_the_bytes_of_two_shards)
{
	tm_close(&self->tm);
	ASSERT_TRUE(tm_open(&self->tm, TM_SHARDED, NR_LAYERS, variant->memory));
	ASSERT_EQ(weir_model_nr_files(self->tm.model), 2u);
	for (uint32_t kind = WEIR_UNIT_TILE; kind <= WEIR_UNIT_GROUP; kind++) {
		self->plan.unit = kind;
		self->plan.flags = kind == WEIR_UNIT_TENSOR ? WEIR_PLAN_VISION : 0;
		EXPECT_EQ(bad_budgets(self), 0u);
	}
}

TEST_F(stream, shows_the_bytes_of_a_gguf_file)
{
	tm_close(&self->tm);
	ASSERT_TRUE(tm_open(&self->tm, TM_GGUF, NR_LAYERS, variant->memory));
	for (uint32_t kind = WEIR_UNIT_TILE; kind <= WEIR_UNIT_GROUP; kind++) {
		self->plan.unit = kind;
		EXPECT_EQ(bad_budgets(self), 0u);
	}
}

TEST_F(stream, a_later_pass_reads_exactly_the_landing_bytes_of_what_does_not_stay)
{
	struct weir_pass_stats stats;
	struct weir_unit unit;
	bool hit[4096] = {false};
	struct tm_walk walk = {0};
	int rc;

	ASSERT_EQ(begin_stream(self, 2000000), 0);
	ASSERT_LT(self->info.nr_units, wr_array_size(hit));
	EXPECT_GT(self->info.nr_resident, 0u);
	EXPECT_LT(self->info.nr_resident, self->info.nr_units);
	ASSERT_EQ(tm_walk_pass(&self->tm, self->stream, self->units, &walk), 0);
	weir_stream_pass(self->stream, &stats);
	EXPECT_EQ(stats.bytes_read, landing_bytes(self, hit));
	while ((rc = weir_stream_next(self->stream, &unit, NULL)) > 0)
		hit[unit.index] = unit.was_hit;
	ASSERT_EQ(rc, 0);
	weir_stream_pass(self->stream, &stats);
	EXPECT_EQ(stats.bytes_read, landing_bytes(self, hit));
}

TEST_F(stream, says_what_it_made_of_the_plan)
{
	uint64_t kept;

	ASSERT_EQ(begin_stream(self, 1500000), 0);
	EXPECT_EQ(self->info.nr_units, weir_units_nr(self->units));
	EXPECT_LE(self->info.unit_bytes, (uint64_t)TILE_BYTES);
	kept = 1500000 / 4096 * 4096 - 2 * self->info.unit_bytes;
	EXPECT_EQ(self->info.ideal_bytes, self->info.plan_bytes - kept);
	EXPECT_LE(self->info.budget_bytes, 1500000u);
	EXPECT_GE(self->info.window_bytes, 2 * self->info.unit_bytes);
	EXPECT_LE(self->info.resident_bytes + self->info.window_bytes, self->info.budget_bytes);
	ASSERT_EQ(begin_stream(self, 0), 0);
	EXPECT_EQ(self->info.ideal_bytes, 0u);
	EXPECT_EQ(self->info.window_bytes, 0u);
	EXPECT_EQ(self->info.nr_resident, self->info.nr_units);
	EXPECT_EQ(self->info.resident_bytes, self->info.plan_bytes);
}

static struct weir_io_stats io_stats(FIXTURE_DATA(stream) * self)
{
	struct weir_io_stats stats;

	weir_io_stats(weir_get_io(self->weir), &stats);
	return stats;
}

/* Reads that began since, once those under way have ended. */
static uint64_t reads_since(FIXTURE_DATA(stream) * self, uint64_t nr_before)
{
	weir_stream_close(self->stream);
	self->stream = NULL;
	return io_stats(self).nr_reads + io_stats(self).nr_cancelled - nr_before;
}

TEST_F(stream, reads_nothing_for_a_pass_that_never_comes)
{
	uint64_t before = io_stats(self).nr_reads, nr_missed, nr_read;
	struct tm_walk walk = {0};

	self->plan.passes = 2;
	ASSERT_EQ(begin_stream(self, 1000000), 0);
	for (int p = 0; p < 2; p++)
		ASSERT_EQ(tm_walk_pass(&self->tm, self->stream, self->units, &walk), 0);
	EXPECT_EQ(walk.nr_wrong, 0u);
	/* A tile is one read. */
	nr_missed = walk.nr_units - walk.nr_hits;
	nr_read = reads_since(self, before);
	EXPECT_EQ(nr_read, nr_missed);
	EXPECT_EQ(io_stats(self).nr_cancelled, 0u);
}

TEST_F(stream, reads_into_the_next_pass_when_it_does_not_know_the_last)
{
	struct tm_walk walk = {0};
	struct weir_pass_stats stats;
	struct weir_unit unit;
	uint64_t before = io_stats(self).nr_reads;

	ASSERT_EQ(begin_stream(self, 1000000), 0);
	ASSERT_EQ(tm_walk_pass(&self->tm, self->stream, self->units, &walk), 0);
	EXPECT_EQ(weir_stream_next(self->stream, &unit, NULL), 1);
	weir_stream_pass(self->stream, &stats);
	EXPECT_EQ(stats.pass, 1u);
	EXPECT_FALSE(stats.complete);
	EXPECT_EQ(stats.nr_units, 1u);
	EXPECT_GT(reads_since(self, before), walk.nr_units);
}

TEST_F(stream, more_passes_than_were_announced_still_show_the_bytes)
{
	struct tm_walk walk = {0};

	self->plan.passes = 1;
	ASSERT_EQ(begin_stream(self, 1000000), 0);
	for (int p = 0; p < 3; p++)
		ASSERT_EQ(tm_walk_pass(&self->tm, self->stream, self->units, &walk), 0);
	EXPECT_EQ(walk.nr_wrong, 0u);
	end_stream(self);
}

TEST_F(stream, a_number_of_passes_that_wraps_when_multiplied_is_no_announcement)
{
	uint64_t before = io_stats(self).nr_reads;
	struct weir_unit unit;

	self->plan.passes = UINT64_MAX / 2 + 1;
	ASSERT_EQ(begin_stream(self, 1000000), 0);
	/* For the product to be 0, and all of it beyond the end. */
	ASSERT_EQ(self->info.nr_units % 2, 0u);
	ASSERT_EQ(weir_stream_next(self->stream, &unit, NULL), 1);
	EXPECT_GT(reads_since(self, before), 1u);
}

TEST_F(stream, leaves_no_more_in_the_page_cache_than_it_found)
{
	struct tm_walk walk = {0};

	if (variant->memory)
		return; /* The file itself is there. */
	self->plan.passes = 4;
	ASSERT_EQ(begin_stream(self, 2000000), 0);
	for (int p = 0; p < 4; p++)
		ASSERT_EQ(tm_walk_pass(&self->tm, self->stream, self->units, &walk), 0);
	EXPECT_EQ(walk.nr_wrong, 0u);
	/* Of more than a thousand; a page that two reads share may stay. */
	EXPECT_LE(io_resident_pages(tm_path(&self->tm, 0)), 64);
}

TEST_F(stream, goes_on_reading_ahead_when_a_pass_ends)
{
	uint64_t nr_begun[2], before;
	size_t min = min_budget(self);
	struct weir_unit unit;

	/* Closed after the last unit, and after the end of the pass as well. */
	for (int end = 0; end < 2; end++) {
		ASSERT_EQ(begin_stream(self, min), 0);
		before = io_stats(self).nr_reads + io_stats(self).nr_cancelled;
		for (uint32_t i = 0; i < self->info.nr_units; i++)
			ASSERT_EQ(weir_stream_next(self->stream, &unit, NULL), 1);
		if (end)
			ASSERT_EQ(weir_stream_next(self->stream, &unit, NULL), 0);
		nr_begun[end] = reads_since(self, before);
	}
	EXPECT_GT(nr_begun[1], nr_begun[0]);
}

TEST_F(stream, a_view_exists_only_while_its_unit_is_pinned)
{
	struct weir_pass_stats stats;
	struct weir_view view = {0};
	struct weir_unit unit = {0};
	struct tm_walk walk = {0};

	ASSERT_EQ(begin_stream(self, 1000000), 0);
	EXPECT_EQ(weir_stream_view(self->stream, 0, &view), -EINVAL);
	weir_stream_pass(self->stream, &stats);
	EXPECT_EQ(stats.nr_units, 0u);
	ASSERT_EQ(weir_stream_next(self->stream, &unit, NULL), 1);
	EXPECT_EQ(weir_stream_view(self->stream, unit.nr_views, &view), -EINVAL);
	EXPECT_EQ(weir_stream_view(self->stream, UINT32_MAX, &view), -EINVAL);
	EXPECT_EQ(view.data, NULL);
	EXPECT_EQ(weir_stream_view(self->stream, 0, &view), 0);
	EXPECT_TRUE(tm_view_is_right(&self->tm, &view));
	ASSERT_EQ(tm_walk_pass(&self->tm, self->stream, self->units, &walk), 0);
	EXPECT_EQ(weir_stream_view(self->stream, 0, &view), -EINVAL);
}

TEST_F(stream, a_plan_of_the_vision_tower_alone_shows_it)
{
	struct tm_walk walk = {0};

	self->plan.flags = WEIR_PLAN_VISION_ONLY;
	ASSERT_EQ(begin_stream(self, 0), 0);
	EXPECT_TRUE(tm_units_cover(&self->tm, self->units, WEIR_PLAN_VISION_ONLY));
	ASSERT_EQ(tm_walk_pass(&self->tm, self->stream, self->units, &walk), 0);
	EXPECT_EQ(walk.nr_wrong, 0u);
	EXPECT_EQ(walk.bytes, self->info.plan_bytes);
}

static int only_layer_1(void *arg, const struct weir_tensor *tensor)
{
	(void)arg;
	return strstr(tensor->name, "layers.1.") != NULL;
}

TEST_F(stream, visit_chooses_what_a_pass_shows)
{
	struct tm_walk walk = {0};

	self->plan.visit = only_layer_1;
	self->plan.unit = WEIR_UNIT_GROUP;
	ASSERT_EQ(begin_stream(self, 0), 0);
	EXPECT_EQ(self->info.nr_units, 1u);
	for (uint32_t p = 0; p < NR_PASSES; p++)
		ASSERT_EQ(tm_walk_pass(&self->tm, self->stream, self->units, &walk), 0);
	EXPECT_EQ(walk.nr_units, NR_PASSES);
	EXPECT_EQ(walk.nr_hits, NR_PASSES - 1);
	EXPECT_EQ(walk.nr_wrong, 0u);
}

TEST_F(stream, the_minimum_works_and_a_page_less_does_not)
{
	for (uint32_t kind = WEIR_UNIT_TILE; kind <= WEIR_UNIT_GROUP; kind++) {
		struct tm_walk walk = {0};
		size_t min;

		self->plan.unit = kind;
		min = min_budget(self);
		ASSERT_GT(min, 4096u);
		EXPECT_EQ(begin_stream(self, min - 4096), -ENOSPC);
		EXPECT_EQ(self->err.code, -ENOSPC);
		ASSERT_EQ(begin_stream(self, min), 0);
		ASSERT_EQ(tm_walk_pass(&self->tm, self->stream, self->units, &walk), 0);
		EXPECT_EQ(walk.nr_wrong, 0u);
		end_stream(self);
	}
	EXPECT_EQ(begin_stream(self, 2 * POOL_BYTES), -ENOSPC);
	EXPECT_NE(strstr(self->err.message, "smallest"), NULL);
	EXPECT_EQ(bytes_in_use(self->weir), 0u);
}

TEST_F(stream, the_budget_that_the_refusal_names_does_for_a_context_on_any_pages)
{
	struct weir_opts opts = {.size = sizeof(opts), .io_backend = variant->backend};
	struct tm_walk walk = {0};
	size_t named, min;
	int rc;

	self->plan.unit = WEIR_UNIT_GROUP;
	named = named_budget(self);
	min = min_budget(self);
	/* More than one huge page, and not two. */
	EXPECT_GT(min, (size_t)2 << 20);
	EXPECT_NE(min % ((size_t)2 << 20), 0u);
	EXPECT_GE(named, min);
	EXPECT_LT(named, min + ((size_t)2 << 20) * weir_pool_nr_regions(weir_get_pool(self->weir)));
	end_stream(self);
	weir_close(self->weir);
	self->weir = NULL;
	opts.budget_bytes = named;
	ASSERT_EQ(weir_open(&opts, &self->weir, NULL), 0);
	ASSERT_EQ(begin_stream(self, 0), 0);
	ASSERT_EQ(tm_walk_pass(&self->tm, self->stream, self->units, &walk), 0);
	EXPECT_EQ(walk.nr_wrong, 0u);
	end_stream(self);
	weir_close(self->weir);
	self->weir = NULL;
	opts.budget_bytes = min - 4096;
	rc = weir_open(&opts, &self->weir, NULL);
	EXPECT_TRUE(rc == -EINVAL || (rc == 0 && begin_stream(self, 0) == -ENOSPC));
}

TEST_F(stream, two_streams_of_one_context_share_its_memory_and_not_their_places)
{
	struct weir_stream *second = NULL, *third = NULL;
	struct tm_walk a = {0}, b = {0};
	struct weir_unit unit;
	int rc_a, rc_b;

	ASSERT_EQ(begin_stream(self, 1000000), 0);
	ASSERT_EQ(weir_stream_open(self->weir, self->tm.model, &self->plan, &second, NULL), 0);
	self->plan.budget_bytes = POOL_BYTES - 1500000;
	EXPECT_EQ(weir_stream_open(self->weir, self->tm.model, &self->plan, &third, NULL), -ENOSPC);
	EXPECT_EQ(third, NULL);
	for (unsigned i = 0; i < 3 * self->info.nr_units; i++) {
		rc_a = weir_stream_next(self->stream, &unit, NULL);
		if (rc_a > 0)
			tm_check_unit(&self->tm, self->stream, self->units, &unit, &a);
		rc_b = i % 2 ? weir_stream_next(second, &unit, NULL) : 0;
		if (rc_b > 0)
			tm_check_unit(&self->tm, second, self->units, &unit, &b);
		ASSERT_GE(rc_a, 0);
		ASSERT_GE(rc_b, 0);
	}
	EXPECT_EQ(a.nr_wrong + b.nr_wrong, 0u);
	EXPECT_GT(a.nr_units, b.nr_units);
	weir_stream_close(second);
	EXPECT_EQ(bytes_in_use(self->weir), self->info.budget_bytes);
}

TEST_HARNESS_MAIN
