/* SPDX-License-Identifier: MIT */
/*
 * The policies hit for hit against naive ones, over references of every shape and caches of
 * several sizes; and Belady's order of weir replay against a naive one.
 */
#include "kselftest_harness.h"

#include <stdio.h>
#include <string.h>

#include "policy/naive.h"
#include "replay.h"

#define NR_REFS 6000

FIXTURE(shape)
{
	uint32_t refs[NR_REFS];
};

FIXTURE_VARIANT(shape)
{
	enum shape shape;
	uint32_t keys;
};

FIXTURE_VARIANT_ADD(shape, even){.shape = SHAPE_EVEN, .keys = 150};
FIXTURE_VARIANT_ADD(shape, skewed){.shape = SHAPE_SKEWED, .keys = 800};
FIXTURE_VARIANT_ADD(shape, loop){.shape = SHAPE_LOOP, .keys = 120};
FIXTURE_VARIANT_ADD(shape, scans){.shape = SHAPE_SCANS, .keys = 400};
FIXTURE_VARIANT_ADD(shape, drift){.shape = SHAPE_DRIFT, .keys = 600};

FIXTURE_SETUP(shape)
{
	make_refs(self->refs, NR_REFS, variant->shape, variant->keys, 3);
}

FIXTURE_TEARDOWN(shape)
{
}

static const size_t rooms[] = {1, 2, 10, 33, 100, 119, 120, 300};

typedef size_t naive_fn(const uint32_t *refs, size_t nr, size_t room);

static void expect_same(struct __test_metadata *_metadata, const char *name, naive_fn *naive,
			const uint32_t *refs)
{
	for (size_t i = 0; i < wr_array_size(rooms); i++) {
		EXPECT_EQ(drive(name, refs, NR_REFS, rooms[i], NULL),
			  naive(refs, NR_REFS, rooms[i]))
		TH_LOG("%s, room for %zu", name, rooms[i]);
	}
}

TEST_F(shape, lru_hits_what_a_naive_lru_hits)
{
	expect_same(_metadata, "lru", naive_lru, self->refs);
}

TEST_F(shape, fifo_hits_what_a_naive_fifo_hits)
{
	expect_same(_metadata, "fifo", naive_fifo, self->refs);
}

TEST_F(shape, sieve_hits_what_a_naive_hand_hits)
{
	expect_same(_metadata, "sieve", naive_sieve, self->refs);
}

TEST_F(shape, arc_hits_what_the_paper_s_figure_hits)
{
	expect_same(_metadata, "arc", naive_arc, self->refs);
}

TEST_F(shape, s3_fifo_hits_what_the_paper_s_algorithm_hits)
{
	expect_same(_metadata, "s3-fifo", naive_s3_fifo, self->refs);
}

TEST_F(shape, forecast_without_forecasts_is_lru)
{
	expect_same(_metadata, "forecast", naive_lru, self->refs);
}

TEST_F(shape, opt_hits_what_a_naive_opt_hits_and_nobody_hits_more)
{
	struct wr_trace t = {0};
	struct wr_replay_result r;

	for (size_t i = 0; i < NR_REFS; i++)
		ASSERT_EQ(wr_trace_add(&t, (struct weir_key){.lo = self->refs[i]}, WR_TRACE_OTHER,
				       10),
			  0);
	for (size_t i = 0; i < wr_array_size(rooms); i++) {
		const struct wr_replay_opts opts = {.capacity = rooms[i] * 10};

		ASSERT_EQ(wr_replay_opt(&t, &opts, &r), 0);
		EXPECT_EQ(r.hits, naive_opt(self->refs, NR_REFS, rooms[i]))
		TH_LOG("room for %zu", rooms[i]);
		for (size_t p = 0; wr_policy_name(p); p++) {
			EXPECT_LE(drive(wr_policy_name(p), self->refs, NR_REFS, rooms[i], NULL),
				  r.hits)
			TH_LOG("%s, room for %zu", wr_policy_name(p), rooms[i]);
		}
	}
	wr_trace_close(&t);
}

TEST_HARNESS_MAIN
