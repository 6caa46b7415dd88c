/* SPDX-License-Identifier: MIT */
/*
 * The predictor as a whole: hints, memory, and that the same references give the same bits.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/random.h"
#include "predict/predict.h"

static struct weir_key key_of(uint64_t i)
{
	return (struct weir_key){.lo = i};
}

static void use(struct wr_predict *p, uint64_t i)
{
	const struct wr_predict_ref ref = {.key = key_of(i),
					   .bytes = 64,
					   .layer = i % 3 ? WR_PREDICT_NONE : (uint32_t)i % 8,
					   .expert = i % 3 ? WR_PREDICT_NONE : (uint32_t)i % 16};

	wr_predict_observe(p, &ref);
}

static const struct wr_predict_opts mixed = {.nr_items = 256, .nr_layers = 8, .nr_experts = 16};

TEST(the_same_references_give_the_same_bits)
{
	struct wr_forecast f[2][40];
	struct wr_predict *p[2];
	uint64_t state = 1;

	memset(f, 0, sizeof(f));
	ASSERT_EQ(0, wr_predict_open(&mixed, &p[0]));
	ASSERT_EQ(0, wr_predict_open(&mixed, &p[1]));
	for (uint32_t i = 0; i < 20000; i++) {
		uint32_t nr[2];

		(void)wr_lcg64(&state);
		for (uint32_t k = 0; k < 2; k++) {
			use(p[k], i / 1000 % 2 ? state >> 56 : i % 60);
			nr[k] = wr_predict_forecast(p[k], f[k], 40);
		}
		ASSERT_EQ(nr[0], nr[1]);
		ASSERT_EQ(0, memcmp(f[0], f[1], nr[0] * sizeof(f[0][0])));
	}
	wr_predict_close(p[0]);
	wr_predict_close(p[1]);
}

TEST(no_key_is_told_twice_and_the_surest_come_first)
{
	struct wr_forecast f[WR_PREDICT_MAX];
	struct wr_predict *p;
	uint64_t state = 1;

	ASSERT_EQ(0, wr_predict_open(&mixed, &p));
	for (uint32_t i = 0; i < 5000; i++) {
		uint32_t nr;

		(void)wr_lcg64(&state);
		use(p, i % 5 ? i % 64 : state >> 57);
		nr = wr_predict_forecast(p, f, WR_PREDICT_MAX);
		for (uint32_t a = 1; a < nr; a++) {
			ASSERT_GE(f[a - 1].prob, f[a].prob);
			for (uint32_t b = 0; b < a; b++)
				ASSERT_FALSE(weir_key_equal(f[a].key, f[b].key));
		}
	}
	wr_predict_close(p);
}

TEST(hints_come_before_everything_that_was_learnt)
{
	const struct wr_predict_opts opts = {.nr_items = 128};
	const struct weir_key plan[] = {{.lo = 70}, {.lo = 71}, {.lo = 72}};
	const uint64_t bytes[] = {10, 11, 12};
	struct wr_forecast f[32];
	struct wr_predict *p;

	ASSERT_EQ(0, wr_predict_open(&opts, &p));
	for (uint32_t i = 0; i < 500; i++)
		use(p, i % 50 * 3 + 1);
	ASSERT_EQ(0, wr_predict_likely(p, key_of(90), 9, WR_PREDICT_SURE / 8));
	ASSERT_EQ(0, wr_predict_need(p, key_of(80), 8));
	ASSERT_EQ(0, wr_predict_plan(p, plan, bytes, 3, false));
	ASSERT_EQ(32, wr_predict_forecast(p, f, 32));
	EXPECT_EQ(WR_PREDICT_NEED, f[0].source);
	EXPECT_EQ(80, f[0].key.lo);
	EXPECT_EQ(WR_PREDICT_SURE, f[0].prob);
	for (uint32_t i = 0; i < 3; i++) {
		EXPECT_EQ(WR_PREDICT_PLAN, f[1 + i].source);
		EXPECT_EQ(70 + i, f[1 + i].key.lo);
		EXPECT_EQ(1 + i, f[1 + i].distance);
	}
	EXPECT_EQ(WR_PREDICT_LIKELY, f[4].source);
	EXPECT_EQ(90, f[4].key.lo);
	EXPECT_EQ(WR_PREDICT_SEQUENCE, f[5].source);
	use(p, 80); /* met: the hint is over */
	ASSERT_LE(1, wr_predict_forecast(p, f, 32));
	EXPECT_EQ(WR_PREDICT_PLAN, f[0].source);
	ASSERT_EQ(0, wr_predict_likely(p, key_of(90), 9, 0));
	ASSERT_EQ(0, wr_predict_plan(p, NULL, NULL, 0, false));
	for (uint32_t nr = wr_predict_forecast(p, f, 32); nr-- > 0;)
		EXPECT_LT(WR_PREDICT_LIKELY, f[nr].source);
	wr_predict_close(p);
}

TEST(a_plan_is_followed_also_when_the_host_leaves_something_out)
{
	const struct wr_predict_opts opts = {.nr_items = 128};
	struct weir_key plan[40];
	uint64_t bytes[40];
	struct wr_forecast f[2];
	struct wr_predict *p;

	for (uint32_t i = 0; i < 40; i++) {
		plan[i] = key_of(i * 3 + 1);
		bytes[i] = 1;
	}
	ASSERT_EQ(0, wr_predict_open(&opts, &p));
	ASSERT_EQ(0, wr_predict_plan(p, plan, bytes, 40, true));
	use(p, plan[0].lo);
	use(p, plan[5].lo);
	ASSERT_EQ(2, wr_predict_forecast(p, f, 2));
	EXPECT_TRUE(weir_key_equal(plan[6], f[0].key));
	EXPECT_TRUE(weir_key_equal(plan[7], f[1].key));
	EXPECT_EQ(2, f[1].distance);
	wr_predict_close(p);
}

TEST(more_hints_or_keys_than_there_is_room_for_are_refused)
{
	const struct wr_predict_opts opts = {.nr_items = 2 * WR_PREDICT_HINTS};
	const struct wr_predict_opts small = {.nr_items = 2};
	const struct wr_predict_ref a = {{0, 1}, 1, WR_PREDICT_NONE, WR_PREDICT_NONE};
	const struct wr_predict_ref b = {{0, 2}, 1, WR_PREDICT_NONE, WR_PREDICT_NONE};
	const struct wr_predict_ref c = {{0, 3}, 1, WR_PREDICT_NONE, WR_PREDICT_NONE};
	const struct wr_predict_ref expert = {{0, 3}, 1, 0, 0};
	struct wr_predict *p;

	ASSERT_EQ(0, wr_predict_open(&opts, &p));
	for (uint32_t i = 0; i < WR_PREDICT_HINTS; i++)
		ASSERT_EQ(0, wr_predict_need(p, key_of(i), 1));
	EXPECT_EQ(-ENOSPC, wr_predict_need(p, key_of(5000), 1));
	EXPECT_EQ(0, wr_predict_need(p, key_of(3), 1));
	wr_predict_close(p);
	ASSERT_EQ(0, wr_predict_open(&small, &p));
	EXPECT_EQ(0, wr_predict_declare(p, &a));
	EXPECT_EQ(0, wr_predict_declare(p, &b));
	EXPECT_EQ(-ENOSPC, wr_predict_declare(p, &c));
	EXPECT_EQ(-EINVAL, wr_predict_declare(p, &expert));
	wr_predict_observe(p, &c); /* not an error: nobody remembers it */
	wr_predict_close(p);
}

TEST(memory_is_bounded_and_taken_at_open)
{
	struct wr_predict_opts opts = mixed;
	struct wr_forecast f[16];
	struct wr_predict *p;
	uint64_t state = 1;
	int64_t live;

	opts.max_bytes = 1024;
	EXPECT_EQ(-E2BIG, wr_predict_open(&opts, &p));
	opts = mixed;
	opts.nr_experts = 0;
	EXPECT_EQ(-EINVAL, wr_predict_open(&opts, &p));
	ASSERT_EQ(0, wr_predict_open(&mixed, &p));
	EXPECT_LT(wr_predict_bytes(p), (uint64_t)1 << 20);
	live = wr_test_alloc_live();
	for (uint32_t i = 0; i < 50000; i++) {
		(void)wr_lcg64(&state);
		use(p, state >> 40);
		(void)wr_predict_forecast(p, f, 16);
	}
	EXPECT_EQ(live, wr_test_alloc_live());
	wr_predict_close(p);
}

TEST(every_allocation_that_fails_is_reported_and_nothing_leaks)
{
	int64_t live = wr_test_alloc_live();
	struct wr_predict *p;
	int rc = -ENOMEM;

	for (uint32_t n = 1; rc; n++) {
		wr_test_alloc_fail_at(n);
		rc = wr_predict_open(&mixed, &p);
		wr_test_alloc_fail_at(0);
		if (rc) {
			ASSERT_EQ(-ENOMEM, rc);
			ASSERT_EQ(live, wr_test_alloc_live());
		}
		ASSERT_LT(n, 100);
	}
	wr_predict_close(p);
	EXPECT_EQ(live, wr_test_alloc_live());
}

TEST_HARNESS_MAIN
