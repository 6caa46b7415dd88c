/* SPDX-License-Identifier: MIT */
/* Windows of summaries, points of history, resets: all by a clock that the test moves. */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "kselftest_harness.h"

#include <weir/metrics_sample.h>
#include <weir/metrics_system.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"
#include "metrics/registry.h"

static uint64_t clock_ns;

static uint64_t test_clock(void)
{
	return clock_ns;
}

static void pass_seconds(double seconds)
{
	clock_ns += (uint64_t)(seconds * 1e9);
}

/* clang-format off */
FIXTURE(window) {
	struct weir_metrics *m;
	uint32_t summary, counter, gauge, level;
	int64_t live;
};
/* clang-format on */

FIXTURE_SETUP(window)
{
	struct weir_metric_desc s = {WEIR_METRIC_SUMMARY, "test_time_ns", "ns", "Times"};
	struct weir_metric_desc c = {WEIR_METRIC_COUNTER, "test_reads", "", "Reads"};
	struct weir_metric_desc g = {WEIR_METRIC_GAUGE, "test_depth", "", "Depth"};
	struct weir_metric_desc f = {WEIR_METRIC_FLOAT, "test_ratio", "", "Ratio"};

	self->live = wr_test_alloc_live();
	clock_ns = 1000000000000;
	ASSERT_EQ(weir_metrics_open(&self->m), 0);
	self->m->now_ns = test_clock;
	ASSERT_EQ(weir_metrics_register(self->m, &s, &self->summary), 0);
	ASSERT_EQ(weir_metrics_register(self->m, &c, &self->counter), 0);
	ASSERT_EQ(weir_metrics_register(self->m, &g, &self->gauge), 0);
	ASSERT_EQ(weir_metrics_register(self->m, &f, &self->level), 0);
}

FIXTURE_TEARDOWN(window)
{
	weir_metrics_close(self->m);
	EXPECT_EQ(wr_test_alloc_live(), self->live);
}

static uint64_t in_window(struct weir_metrics *m, uint32_t id)
{
	struct weir_histogram hist;

	return weir_metrics_read_window(m, id, &hist) == 0 ? hist.count : UINT64_MAX;
}

TEST_F(window, what_is_older_than_a_minute_is_not_in_the_quantiles)
{
	struct weir_histogram hist;

	weir_metrics_observe(self->m, self->summary, 50);
	for (int i = 0; i < 4; i++) {
		EXPECT_EQ(in_window(self->m, self->summary), 1u + (uint64_t)i);
		pass_seconds(10);
		EXPECT_EQ(in_window(self->m, self->summary), 1u + (uint64_t)i);
		weir_metrics_observe(self->m, self->summary, 10);
	}
	pass_seconds(10);
	/* Now the part that began first is out, with the 50. */
	ASSERT_EQ(weir_metrics_read_window(self->m, self->summary, &hist), 0);
	EXPECT_EQ(weir_histogram_quantile(&hist, 1.0), 10u);
	pass_seconds(61);
	for (int i = 0; i < 6; i++) {
		EXPECT_LE(in_window(self->m, self->summary), 5u);
		pass_seconds(10);
	}
	EXPECT_EQ(in_window(self->m, self->summary), 0u);
	ASSERT_EQ(weir_metrics_read_histogram(self->m, self->summary, &hist), 0);
	EXPECT_EQ(hist.count, 5u);
}

TEST_F(window, only_summaries_have_one)
{
	struct weir_histogram hist;

	EXPECT_EQ(weir_metrics_read_window(self->m, self->counter, &hist), -EINVAL);
	EXPECT_EQ(weir_metrics_read_window(self->m, 999, &hist), -ENOENT);
}

TEST_F(window, summaries_are_bounded)
{
	struct weir_metric_desc desc = {WEIR_METRIC_SUMMARY, "test_many_ns", "ns", ""};
	static const char *const names[] = {"n"};
	char value[16];
	const char *values[] = {value};
	uint32_t family, id, nr = 0;
	int rc = 0;

	ASSERT_EQ(weir_metrics_register_labels(self->m, &desc, names, 1, 1000, &family), 0);
	for (; rc == 0; nr++) {
		snprintf(value, sizeof(value), "%u", nr);
		rc = weir_metrics_series(self->m, family, values, &id);
	}
	EXPECT_EQ(rc, -ENOSPC);
	/* The family and the one of the fixture are among them. */
	EXPECT_EQ(nr - 1, WEIR_METRICS_SUMMARIES_MAX - 2);
}

TEST_F(window, a_history_has_points_as_far_apart_as_its_ring_says)
{
	struct weir_point points[WEIR_HISTORY_POINTS_MAX];

	for (int i = 0; i < 130; i++) {
		weir_metrics_add(self->m, self->counter, 1);
		weir_collector_round(self->m);
		pass_seconds(1);
	}
	ASSERT_EQ(weir_metrics_history(self->m, self->counter, WEIR_HISTORY_1S, 1000, points), 119);
	EXPECT_EQ(points[118].value, 130.0);
	EXPECT_EQ(points[0].value, 12.0);
	ASSERT_EQ(weir_metrics_history(self->m, self->counter, WEIR_HISTORY_10S, 1000, points), 13);
	EXPECT_EQ(points[12].value, 121.0);
	EXPECT_EQ(points[11].value, 111.0);
	ASSERT_EQ(weir_metrics_history(self->m, self->counter, WEIR_HISTORY_60S, 1000, points), 3);
	EXPECT_EQ(points[0].value, 1.0);
	EXPECT_EQ(points[1].value, 61.0);
	EXPECT_EQ(points[2].value, 121.0);
	ASSERT_EQ(weir_metrics_history(self->m, self->counter, WEIR_HISTORY_1S, 2, points), 2);
	EXPECT_EQ(points[0].value, 129.0);
	EXPECT_EQ(weir_metrics_history(self->m, self->counter, WEIR_HISTORY_1S, 0, points), 0);
	EXPECT_EQ(weir_metrics_history(self->m, self->counter, 3, 1, points), -EINVAL);
	EXPECT_EQ(weir_metrics_history(self->m, 999, 0, 1, points), -ENOENT);
}

TEST_F(window, a_gauge_s_point_is_the_mean_and_what_is_unavailable_is_no_number)
{
	struct weir_point points[4];

	for (int i = 0; i <= 10; i++) {
		weir_metrics_set(self->m, self->gauge, i);
		if (i == 5)
			ASSERT_EQ(weir_metrics_set_float(self->m, self->level, 0.25), 0);
		if (i == 7)
			weir_metrics_set_unavailable(self->m, self->level);
		weir_collector_round(self->m);
		pass_seconds(1);
	}
	ASSERT_EQ(weir_metrics_history(self->m, self->gauge, WEIR_HISTORY_10S, 4, points), 2);
	EXPECT_EQ(points[0].value, 0.0);
	EXPECT_EQ(points[1].value, 5.5);
	ASSERT_EQ(weir_metrics_history(self->m, self->level, WEIR_HISTORY_10S, 4, points), 2);
	EXPECT_NE(points[0].value, points[0].value);
	EXPECT_EQ(points[1].value, 0.25);
}

TEST_F(window, a_series_that_comes_later_begins_later_and_the_number_of_histories_is_bounded)
{
	struct weir_metrics_opts opts = {.size = sizeof(opts), .history_max = 1};
	struct weir_metric_desc late = {WEIR_METRIC_COUNTER, "test_late", "", ""};
	struct weir_metrics_stats stats;
	struct weir_point points[4];
	struct weir_metrics *m;
	uint32_t id;

	weir_collector_round(self->m);
	pass_seconds(1);
	ASSERT_EQ(weir_metrics_register(self->m, &late, &id), 0);
	EXPECT_EQ(weir_metrics_history(self->m, id, WEIR_HISTORY_1S, 4, points), 0);
	weir_collector_round(self->m);
	EXPECT_EQ(weir_metrics_history(self->m, id, WEIR_HISTORY_1S, 4, points), 1);
	EXPECT_EQ(weir_metrics_history(self->m, self->counter, WEIR_HISTORY_1S, 4, points), 2);

	ASSERT_EQ(weir_metrics_open_opts(&opts, &m, NULL), 0);
	ASSERT_EQ(weir_metrics_register(m, &late, &id), 0);
	late.name = "test_later";
	ASSERT_EQ(weir_metrics_register(m, &late, &id), 0);
	weir_collector_round(m);
	weir_metrics_stats(m, &stats);
	EXPECT_EQ(stats.nr_history, 1u);
	EXPECT_EQ(stats.nr_history_left, 1u);
	EXPECT_EQ(stats.nr_collections, 1u);
	weir_metrics_close(m);
}

TEST_F(window, a_reset_begins_from_nothing_but_for_levels)
{
	struct weir_sample sample = {.name = "test_reads",
				     .kind = WEIR_METRIC_COUNTER,
				     .value = 2,
				     .time_ms = WEIR_TIME_NOW};
	struct weir_remembered recent[2];
	struct weir_histogram hist;
	struct weir_point points[2];
	int64_t value = -1;
	double ratio = -1;

	weir_metrics_add(self->m, self->counter, 5);
	weir_metrics_set(self->m, self->gauge, 7);
	ASSERT_EQ(weir_metrics_set_float(self->m, self->level, 0.5), 0);
	weir_metrics_observe(self->m, self->summary, 50);
	ASSERT_EQ(weir_metrics_put(self->m, &sample), 0);
	ASSERT_EQ(weir_metrics_queue(self->m, &sample), 0);
	weir_collector_round(self->m);
	pass_seconds(1);
	ASSERT_EQ(weir_metrics_queue(self->m, &sample), 0);
	ASSERT_EQ(weir_metrics_reset(self->m), 0);
	EXPECT_EQ(weir_metrics_drain(self->m), 0u);
	ASSERT_EQ(weir_metrics_read_sum(self->m, self->counter, &value), 0);
	EXPECT_EQ(value, 0);
	ASSERT_EQ(weir_metrics_read_histogram(self->m, self->summary, &hist), 0);
	EXPECT_EQ(hist.count, 0u);
	EXPECT_EQ(hist.sum, 0u);
	EXPECT_EQ(in_window(self->m, self->summary), 0u);
	EXPECT_EQ(weir_metrics_recent(self->m, 2, recent), 0u);
	EXPECT_EQ(weir_metrics_history(self->m, self->counter, WEIR_HISTORY_1S, 2, points), 0);
	ASSERT_EQ(weir_metrics_read_sum(self->m, self->gauge, &value), 0);
	EXPECT_EQ(value, 7);
	ASSERT_EQ(weir_metrics_read_float(self->m, self->level, &ratio), 0);
	EXPECT_EQ(ratio, 0.5);
	/* And it counts again, also after a second one. */
	weir_metrics_add(self->m, self->counter, 3);
	weir_metrics_observe(self->m, self->summary, 60);
	weir_metrics_observe(self->m, self->summary, 61);
	EXPECT_EQ(in_window(self->m, self->summary), 2u);
	ASSERT_EQ(weir_metrics_reset(self->m), 0);
	weir_metrics_observe(self->m, self->summary, 62);
	ASSERT_EQ(weir_metrics_read_histogram(self->m, self->summary, &hist), 0);
	EXPECT_EQ(hist.count, 1u);
	EXPECT_EQ(hist.sum, 62u);
}

struct adder {
	struct weir_metrics *m;
	uint32_t counter, summary;
};

#define NR_ADDS 200000

static void *add_many(void *arg)
{
	struct adder *a = arg;

	for (int i = 0; i < NR_ADDS; i++) {
		weir_metrics_add(a->m, a->counter, 1);
		weir_metrics_observe(a->m, a->summary, (uint64_t)i % 1000);
	}
	return NULL;
}

TEST_F(window, resets_and_reads_while_threads_count_never_contradict_themselves)
{
	struct adder adder = {self->m, self->counter, self->summary};
	struct weir_histogram hist;
	pthread_t threads[2];
	int64_t value;

	for (int i = 0; i < 2; i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, add_many, &adder), 0);
	for (int i = 0; i < 200; i++) {
		uint64_t count = 0;

		ASSERT_EQ(weir_metrics_read_sum(self->m, self->counter, &value), 0);
		EXPECT_GE(value, 0);
		EXPECT_LE(value, 2 * NR_ADDS);
		ASSERT_EQ(weir_metrics_read_histogram(self->m, self->summary, &hist), 0);
		for (uint32_t b = 0; b < WEIR_HISTOGRAM_BUCKETS; b++)
			count += hist.buckets[b];
		EXPECT_EQ(count, hist.count);
		EXPECT_LE(hist.count, 2u * NR_ADDS);
		if (i % 10 == 0)
			ASSERT_EQ(weir_metrics_reset(self->m), 0);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

TEST_F(window, refused_memory_leaves_what_was_there)
{
	uint64_t n = 0;

	do {
		int64_t value;

		n++;
		weir_metrics_add(self->m, self->counter, 1);
		weir_metrics_observe(self->m, self->summary, 1);
		wr_test_alloc_fail_at(n);
		weir_collector_round(self->m);
		(void)!weir_metrics_reset(self->m);
		ASSERT_EQ(weir_metrics_read_sum(self->m, self->counter, &value), 0);
		EXPECT_LE(value, 1);
	} while (wr_test_alloc_failed());
	wr_test_alloc_fail_at(0);
	EXPECT_GE(n, 3u);
}

TEST_HARNESS_MAIN
