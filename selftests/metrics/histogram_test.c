/* SPDX-License-Identifier: MIT */
/* Buckets cover every value once, and quantiles keep the error that the header states. */
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"

#include <weir/metrics.h>

#include "base/random.h"
#include "base/util.h"

/* clang-format off */
FIXTURE(histogram) {
	struct weir_metrics *m;
	uint32_t id;
	struct weir_histogram hist;
};
/* clang-format on */

FIXTURE_SETUP(histogram)
{
	struct weir_metric_desc desc = {WEIR_METRIC_HISTOGRAM, "values", "", ""};

	ASSERT_EQ(weir_metrics_open(&self->m), 0);
	ASSERT_EQ(weir_metrics_register(self->m, &desc, &self->id), 0);
}

FIXTURE_TEARDOWN(histogram)
{
	weir_metrics_close(self->m);
}

/* The bucket that one observation of @value went to, read back. */
static uint32_t bucket_of(struct weir_metrics *m, uint32_t id, uint64_t value)
{
	static struct weir_histogram before, after;
	uint32_t b = 0;

	if (weir_metrics_read_histogram(m, id, &before) != 0)
		abort();
	weir_metrics_observe(m, id, value);
	if (weir_metrics_read_histogram(m, id, &after) != 0)
		abort();
	while (b < WEIR_HISTOGRAM_BUCKETS && before.buckets[b] == after.buckets[b])
		b++;
	return b;
}

TEST_F(histogram, bounds_grow_and_end_at_the_largest_value)
{
	for (uint32_t b = 1; b < WEIR_HISTOGRAM_BUCKETS; b++)
		EXPECT_GT(weir_histogram_bound(b), weir_histogram_bound(b - 1));
	EXPECT_EQ(weir_histogram_bound(0), 0u);
	EXPECT_EQ(weir_histogram_bound(WEIR_HISTOGRAM_BUCKETS - 1), UINT64_MAX);
	EXPECT_EQ(weir_histogram_bound(WEIR_HISTOGRAM_BUCKETS), UINT64_MAX);
}

TEST_F(histogram, both_edges_of_every_bucket_fall_into_it)
{
	for (uint32_t b = 0; b < WEIR_HISTOGRAM_BUCKETS; b++) {
		uint64_t low = b == 0 ? 0 : weir_histogram_bound(b - 1) + 1;

		EXPECT_EQ(bucket_of(self->m, self->id, low), b);
		EXPECT_EQ(bucket_of(self->m, self->id, weir_histogram_bound(b)), b);
	}
}

TEST_F(histogram, values_below_64_are_exact)
{
	for (uint64_t v = 0; v < 64; v++) {
		memset(&self->hist, 0, sizeof(self->hist));
		self->hist.count = 1;
		self->hist.buckets[bucket_of(self->m, self->id, v)] = 1;
		EXPECT_EQ(weir_histogram_quantile(&self->hist, 0.5), v);
	}
}

TEST_F(histogram, nothing_observed_has_quantile_zero)
{
	ASSERT_EQ(weir_metrics_read_histogram(self->m, self->id, &self->hist), 0);
	EXPECT_EQ(self->hist.count, 0u);
	EXPECT_EQ(weir_histogram_quantile(&self->hist, 0.99), 0u);
}

enum { NR_VALUES = 20000 };

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

enum shape { UNIFORM, NARROW, POWERS, HEAVY_TAIL, TWO_HUMPS, CONSTANT, NR_SHAPES };

static uint64_t draw(enum shape shape, uint64_t *state)
{
	uint64_t r = wr_xorshift64(state);

	switch (shape) {
	case UNIFORM:
		return r % 1000000;
	case NARROW:
		return 5000 + r % 100;
	case POWERS:
		return UINT64_C(1) << (r % 64);
	case HEAVY_TAIL:
		return UINT64_MAX / (r | 1);
	case TWO_HUMPS:
		return (r & 1) != 0 ? 300 + r % 50 : 9000000 + r % 100000;
	default:
		return 123457;
	}
}

TEST_F(histogram, quantiles_are_within_the_stated_error_of_an_exact_sort)
{
	static const double qs[] = {0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1};
	static uint64_t values[NR_VALUES];
	uint64_t state = 88172645463325252u;

	for (int shape = 0; shape < NR_SHAPES; shape++) {
		char name[] = "shape_0";
		struct weir_metric_desc desc = {WEIR_METRIC_HISTOGRAM, name, "", ""};
		uint32_t id;

		name[6] = (char)('0' + shape);
		ASSERT_EQ(weir_metrics_register(self->m, &desc, &id), 0);
		for (int i = 0; i < NR_VALUES; i++) {
			values[i] = draw(shape, &state);
			weir_metrics_observe(self->m, id, values[i]);
		}
		qsort(values, NR_VALUES, sizeof(values[0]), by_value);
		ASSERT_EQ(weir_metrics_read_histogram(self->m, id, &self->hist), 0);
		for (size_t i = 0; i < wr_array_size(qs); i++) {
			double rank = qs[i] * NR_VALUES;
			size_t at = (size_t)rank + ((double)(size_t)rank < rank ? 1 : 0);
			double exact = (double)values[at > 0 ? at - 1 : 0];
			double got = (double)weir_histogram_quantile(&self->hist, qs[i]);

			EXPECT_LE(got, exact * 1.016)
			{
				TH_LOG("shape %d, q %g", shape, qs[i]);
			}
			EXPECT_GE(got, exact * 0.984)
			{
				TH_LOG("shape %d, q %g", shape, qs[i]);
			}
		}
	}
}

TEST_F(histogram, a_quantile_is_a_value_that_was_observed_not_one_below)
{
	weir_metrics_observe(self->m, self->id, 10);
	weir_metrics_observe(self->m, self->id, 20);
	weir_metrics_observe(self->m, self->id, 30);
	ASSERT_EQ(weir_metrics_read_histogram(self->m, self->id, &self->hist), 0);
	EXPECT_EQ(weir_histogram_quantile(&self->hist, 0.33), 10u);
	EXPECT_EQ(weir_histogram_quantile(&self->hist, 0.5), 20u);
	EXPECT_EQ(weir_histogram_quantile(&self->hist, 0.67), 30u);
}

TEST_F(histogram, a_share_outside_of_0_to_1_is_brought_inside)
{
	weir_metrics_observe(self->m, self->id, 10);
	weir_metrics_observe(self->m, self->id, 20);
	ASSERT_EQ(weir_metrics_read_histogram(self->m, self->id, &self->hist), 0);
	EXPECT_EQ(weir_histogram_quantile(&self->hist, -1), 10u);
	EXPECT_EQ(weir_histogram_quantile(&self->hist, 0.0 / 0.0), 10u);
	EXPECT_EQ(weir_histogram_quantile(&self->hist, 7), 20u);
}

TEST_HARNESS_MAIN
