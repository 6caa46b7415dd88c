/* SPDX-License-Identifier: MIT */
/*
 * Each source of forecasts on references whose continuation is known.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/random.h"
#include "predict/predict.h"

static struct weir_key key_of(uint64_t i)
{
	return (struct weir_key){.hi = 7, .lo = i * 0x9e3779b97f4a7c15u};
}

static void use(struct wr_predict *p, uint64_t i)
{
	const struct wr_predict_ref ref = {.key = key_of(i),
					   .bytes = 4096 + i,
					   .layer = WR_PREDICT_NONE,
					   .expert = WR_PREDICT_NONE};

	wr_predict_observe(p, &ref);
}

static void use_expert(struct wr_predict *p, uint32_t layer, uint32_t expert)
{
	const struct wr_predict_ref ref = {.key = {.hi = layer, .lo = expert},
					   .bytes = 1 << 20,
					   .layer = layer,
					   .expert = expert};

	wr_predict_observe(p, &ref);
}

static struct wr_predict *open_plain(uint32_t nr_items)
{
	const struct wr_predict_opts opts = {.nr_items = nr_items};
	struct wr_predict *p = NULL;

	return wr_predict_open(&opts, &p) ? NULL : p;
}

TEST(a_cycle_is_foreseen_after_one_turn_in_order)
{
	struct wr_predict *p = open_plain(1024);
	struct wr_forecast f[16];

	ASSERT_NE(NULL, p);
	for (uint32_t i = 0; i < 3 * 100; i++)
		use(p, i * 37 % 100);
	ASSERT_EQ(16, wr_predict_forecast(p, f, 16));
	for (uint32_t i = 0; i < 16; i++) {
		EXPECT_TRUE(weir_key_equal(f[i].key, key_of(i * 37 % 100)));
		EXPECT_EQ(i + 1, f[i].distance);
		EXPECT_EQ(4096 + i * 37 % 100, f[i].bytes);
		EXPECT_GT(f[i].prob, WR_PREDICT_SURE * 8 / 10);
		EXPECT_LE(f[i].prob, WR_PREDICT_SURE);
	}
	wr_predict_close(p);
}

TEST(a_cycle_with_repetitions_is_told_apart_by_what_came_before)
{
	static const uint8_t cycle[] = {1, 2, 1, 3, 1, 2, 4, 5};
	struct wr_predict *p = open_plain(64);
	struct wr_forecast f[4];

	ASSERT_NE(NULL, p);
	for (uint32_t i = 0; i < 20 * sizeof(cycle); i++)
		use(p, cycle[i % sizeof(cycle)]);
	/* After "4 5" comes "1 2 1 3". */
	ASSERT_LE(3, wr_predict_forecast(p, f, 4));
	EXPECT_TRUE(weir_key_equal(f[0].key, key_of(1)));
	EXPECT_TRUE(weir_key_equal(f[1].key, key_of(2)));
	EXPECT_TRUE(weir_key_equal(f[2].key, key_of(3)));
	EXPECT_EQ(4, f[2].distance);
	wr_predict_close(p);
}

TEST(a_stride_over_declared_keys_is_followed_before_they_were_seen)
{
	struct wr_predict *p = open_plain(4096);
	struct wr_predict_stat stat;
	struct wr_forecast f[8];
	uint32_t nr;

	ASSERT_NE(NULL, p);
	for (uint32_t i = 0; i < 1000; i++) {
		const struct wr_predict_ref ref = {.key = key_of(i),
						   .bytes = 1,
						   .layer = WR_PREDICT_NONE,
						   .expert = WR_PREDICT_NONE};

		ASSERT_EQ(0, wr_predict_declare(p, &ref));
	}
	for (uint32_t i = 0; i < 64; i++)
		use(p, i * 3);
	nr = wr_predict_forecast(p, f, 8);
	ASSERT_EQ(8, nr);
	for (uint32_t i = 0; i < nr; i++) {
		EXPECT_EQ(WR_PREDICT_STRIDE, f[i].source);
		EXPECT_TRUE(weir_key_equal(f[i].key, key_of((64 + i) * 3)));
		EXPECT_EQ(i + 1, f[i].distance);
	}
	wr_predict_stat(p, WR_PREDICT_STRIDE, &stat);
	EXPECT_GT(stat.confidence, WR_PREDICT_SURE * 9 / 10);
	wr_predict_close(p);
}

/* In how many references @key is foreseen by its rhythm; 0: it is not. */
static uint32_t due_of(struct wr_predict *p, uint64_t key)
{
	struct wr_forecast f[WR_PREDICT_MAX];
	uint32_t nr = wr_predict_forecast(p, f, WR_PREDICT_MAX);

	for (uint32_t i = 0; i < nr; i++)
		if (weir_key_equal(f[i].key, key_of(key)) && f[i].source == WR_PREDICT_RHYTHM)
			return f[i].distance;
	return 0;
}

TEST(a_key_with_a_beat_is_due_when_its_mean_interval_has_passed)
{
	struct wr_predict *p = open_plain(1 << 16);
	uint64_t fresh = 1000;

	ASSERT_NE(NULL, p);
	for (uint32_t i = 0; i < 100 * 50; i++)
		use(p, i % 50 ? fresh++ : 1);
	EXPECT_EQ(1, due_of(p, 1));
	use(p, 1);
	for (uint32_t i = 1; i < 40; i++)
		use(p, fresh++);
	EXPECT_EQ(11, due_of(p, 1));
	EXPECT_EQ(0, due_of(p, fresh - 1));
	wr_predict_close(p);
}

TEST(noise_is_not_foreseen)
{
	struct wr_predict *p = open_plain(1 << 14);
	struct wr_forecast f[32];
	uint64_t state = 88172645463325252u, sure = 0;

	ASSERT_NE(NULL, p);
	for (uint32_t i = 0; i < 20000; i++) {
		use(p, wr_xorshift64(&state) % 5000);
		if (i < 10000)
			continue;
		for (uint32_t k = wr_predict_forecast(p, f, 32); k-- > 0;)
			sure += f[k].prob > WR_PREDICT_SURE / 4;
	}
	EXPECT_LT(sure, 100);
	wr_predict_close(p);
}

/* Expert e of a layer is always followed by e + 1 and e + 2 of the next. */
static struct wr_predict *open_experts(uint32_t halve_at, uint32_t nr_tokens)
{
	const struct wr_predict_opts opts = {
		.nr_items = 256, .nr_layers = 4, .nr_experts = 32, .halve_at = halve_at};
	struct wr_predict *p = NULL;
	uint64_t state = 12345;

	if (wr_predict_open(&opts, &p))
		return NULL;
	for (uint32_t t = 0; t < nr_tokens; t++) {
		uint32_t e = (uint32_t)(wr_xorshift64(&state) % 32);

		for (uint32_t l = 0; l < 4; l++) {
			use_expert(p, l, (e + 5 * l) % 32);
			use_expert(p, l, (e + 5 * l + 7) % 32);
		}
	}
	return p;
}

TEST(experts_follow_those_of_the_layer_before)
{
	struct wr_predict *p = open_experts(0, 500);
	struct wr_forecast f[4];

	ASSERT_NE(NULL, p);
	use_expert(p, 0, 3);
	use_expert(p, 0, 10);
	use_expert(p, 1, 8);
	use_expert(p, 1, 15);
	ASSERT_EQ(4, wr_predict_forecast(p, f, 4));
	for (uint32_t i = 0; i < 4; i++) {
		EXPECT_EQ(WR_PREDICT_EXPERT, f[i].source);
		EXPECT_GT(f[i].prob, WR_PREDICT_SURE * 8 / 10);
		/* Of the next layer 13 and 20, of the one after it 18 and 25. */
		EXPECT_TRUE((f[i].key.hi == 2 && (f[i].key.lo == 13 || f[i].key.lo == 20)) ||
			    (f[i].key.hi == 3 && (f[i].key.lo == 18 || f[i].key.lo == 25)));
		EXPECT_EQ(f[i].key.hi == 2 ? 1 : 3, f[i].distance);
	}
	wr_predict_close(p);
}

TEST(counts_that_are_halved_forget_what_is_over)
{
	struct wr_predict *p = open_experts(8, 4000);
	struct wr_forecast f[2];

	ASSERT_NE(NULL, p);
	/* From now on expert 1 of layer 0 is followed by 30. */
	for (uint32_t i = 0; i < 64; i++) {
		use_expert(p, 0, 1);
		use_expert(p, 1, 30);
		use_expert(p, 2, 2);
		use_expert(p, 3, 3);
	}
	use_expert(p, 0, 1);
	/* That, and expert 2 of layer 2, which comes as surely. */
	ASSERT_EQ(2, wr_predict_forecast(p, f, 2));
	EXPECT_EQ(3, f[0].key.hi + f[1].key.hi);
	EXPECT_EQ(30, f[f[0].key.hi == 1 ? 0 : 1].key.lo);
	wr_predict_close(p);
}

/* Expert 0 of a layer at every token, 1 at every second one, all others evenly at random. */
static struct wr_predict *open_recurring(uint32_t nr_tokens)
{
	const struct wr_predict_opts opts = {.nr_items = 1024, .nr_layers = 6, .nr_experts = 64};
	uint64_t state = 3;
	struct wr_predict *p;

	if (wr_predict_open(&opts, &p))
		return NULL;
	for (uint32_t i = 0; i < nr_tokens * 6; i++) {
		use_expert(p, i % 6, 0);
		use_expert(p, i % 6, i / 6 % 2 ? 1 : 2 + (uint32_t)(wr_xorshift64(&state) % 62));
	}
	return p;
}

TEST(experts_of_the_layer_just_left_are_told_as_often_as_they_come_back)
{
	struct wr_predict *p = open_recurring(2000);
	struct wr_recurrent r[WR_PREDICT_MAX];
	uint32_t nr, found = 0;

	ASSERT_NE(NULL, p);
	/* The last reference was to layer 5; begin layer 0 again. */
	EXPECT_LT(2, wr_predict_recur(p, r));
	EXPECT_EQ(4, r[0].key.hi);
	use_expert(p, 0, 0);
	nr = wr_predict_recur(p, r);
	for (uint32_t i = 0; i < nr; i++) {
		EXPECT_EQ(5, r[i].key.hi);
		EXPECT_TRUE(r[i].distance >= 8 && r[i].distance <= 12);
		found += r[i].key.lo == 0 && r[i].prob > WR_PREDICT_SURE * 9 / 10;
		/* 1 came just now, and never does twice running. */
		if (r[i].key.lo)
			EXPECT_LT(r[i].prob, WR_PREDICT_SURE / 2);
	}
	EXPECT_EQ(1, found);
	wr_predict_close(p);
}

TEST(without_experts_or_a_layer_that_was_left_nothing_recurs)
{
	struct wr_predict *p = open_plain(1024);
	struct wr_recurrent r[WR_PREDICT_MAX];

	ASSERT_NE(NULL, p);
	use(p, 1);
	EXPECT_EQ(0, wr_predict_recur(p, r));
	wr_predict_close(p);
	p = open_experts(0, 0);
	ASSERT_NE(NULL, p);
	EXPECT_EQ(0, wr_predict_recur(p, r));
	use_expert(p, 2, 1);
	EXPECT_EQ(0, wr_predict_recur(p, r));
	wr_predict_close(p);
}

TEST(a_prompt_feeds_the_hot_list_and_overflows_nothing)
{
	const struct wr_predict_opts opts = {.nr_items = 512, .nr_layers = 2, .nr_experts = 200};
	struct wr_predict *p;
	struct wr_forecast f[WR_PREDICT_MAX];

	ASSERT_EQ(0, wr_predict_open(&opts, &p));
	for (uint32_t i = 0; i < 3000; i++)
		for (uint32_t e = 0; e < 100; e++)
			use_expert(p, i % 2, e);
	for (uint32_t k = wr_predict_forecast(p, f, WR_PREDICT_MAX); k-- > 0;) {
		EXPECT_EQ(WR_PREDICT_HOT, f[k].source);
		EXPECT_LE(f[k].prob, WR_PREDICT_SURE);
	}
	wr_predict_close(p);
}

TEST_HARNESS_MAIN
