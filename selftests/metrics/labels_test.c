/* SPDX-License-Identifier: MIT */
/* Labels: one series per set of values, a limit that is counted, texts that can be exported. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"

#include <weir/metrics.h>

#include "base/alloc.h"
#include "base/util.h"

/* clang-format off */
FIXTURE(labels) {
	struct weir_metrics *m;
	uint32_t family;
	int64_t live;
};
/* clang-format on */

static const struct weir_metric_desc reads = {WEIR_METRIC_COUNTER, "test_reads", "", "Reads"};
static const char *const names[] = {"node", "class"};

FIXTURE_SETUP(labels)
{
	self->live = wr_test_alloc_live();
	ASSERT_EQ(weir_metrics_open(&self->m), 0);
	ASSERT_EQ(weir_metrics_register_labels(self->m, &reads, names, 2, 3, &self->family), 0);
}

FIXTURE_TEARDOWN(labels)
{
	weir_metrics_close(self->m);
	EXPECT_EQ(wr_test_alloc_live(), self->live);
}

static int series(struct weir_metrics *m, uint32_t family, const char *node, const char *class,
		  uint32_t *ret)
{
	const char *values[] = {node, class};

	return weir_metrics_series(m, family, values, ret);
}

static int keep_labels(void *arg, const struct weir_metric *metric)
{
	char *text = arg;

	strcat(text, metric->name);
	strcat(text, "{");
	strcat(text, metric->labels);
	strcat(text, "};");
	return 0;
}

TEST_F(labels, the_same_values_are_the_same_series_and_others_another)
{
	uint32_t a = 90, again = 91, b = 92;
	int64_t value;

	ASSERT_EQ(series(self->m, self->family, "0", "demand", &a), 0);
	ASSERT_EQ(series(self->m, self->family, "0", "demand", &again), 0);
	ASSERT_EQ(series(self->m, self->family, "0", "ahead", &b), 0);
	EXPECT_EQ(a, again);
	EXPECT_NE(a, b);
	EXPECT_NE(a, self->family);
	weir_metrics_add(self->m, a, 3);
	weir_metrics_add(self->m, b, 5);
	ASSERT_EQ(weir_metrics_read_sum(self->m, a, &value), 0);
	EXPECT_EQ(value, 3);
	ASSERT_EQ(weir_metrics_read_sum(self->m, b, &value), 0);
	EXPECT_EQ(value, 5);
}

TEST_F(labels, a_walk_shows_the_series_with_labels_by_name_and_not_the_family)
{
	char text[256] = "";
	uint32_t id;

	ASSERT_EQ(series(self->m, self->family, "1", "demand", &id), 0);
	ASSERT_EQ(weir_metrics_for_each(self->m, keep_labels, text), 0);
	EXPECT_STREQ(text, "test_reads{class=\"demand\",node=\"1\"};");
}

TEST_F(labels, what_is_above_the_limit_is_refused_and_counted)
{
	struct weir_metrics_stats stats;
	uint32_t id;

	for (int i = 0; i < 3; i++) {
		char node[2] = {(char)('0' + i), '\0'};

		ASSERT_EQ(series(self->m, self->family, node, "x", &id), 0);
	}
	id = 77;
	EXPECT_EQ(series(self->m, self->family, "3", "x", &id), -ENOSPC);
	EXPECT_EQ(series(self->m, self->family, "4", "x", &id), -ENOSPC);
	EXPECT_EQ(id, 77u);
	/* What is there stays to be found. */
	EXPECT_EQ(series(self->m, self->family, "2", "x", &id), 0);
	EXPECT_EQ(weir_metrics_overflow(self->m, self->family), 2u);
	EXPECT_EQ(weir_metrics_overflow(self->m, 9999), 0u);
	weir_metrics_stats(self->m, &stats);
	EXPECT_EQ(stats.nr_label_overflow, 2u);
	EXPECT_EQ(stats.nr_series, 3u);
	EXPECT_EQ(stats.nr_families, 1u);
}

TEST_F(labels, names_against_the_rules_are_refused)
{
	static const char *const bad[][2] = {
		{"Node", "x"},	   {"", "x"},	     {"__node", "x"},  {"a-b", "x"},
		{"1a", "x"},	   {"le", "x"},	     {"pid", "x"},     {"x", "x"},
		{"x", "quantile"}, {"command", "x"}, {"x", "context"},
	};
	struct weir_metric_desc desc = {WEIR_METRIC_COUNTER, "test_new", "", ""};
	uint32_t id = 77;

	for (size_t i = 0; i < wr_array_size(bad); i++) {
		EXPECT_EQ(weir_metrics_register_labels(self->m, &desc, bad[i], 2, 0, &id), -EINVAL)
		{
			TH_LOG("case %zu", i);
		}
	}
	EXPECT_EQ(weir_metrics_register_labels(self->m, &desc, names, 0, 0, &id), -EINVAL);
	EXPECT_EQ(weir_metrics_register_labels(self->m, &desc, names, 9, 0, &id), -EINVAL);
	EXPECT_EQ(id, 77u);
}

TEST_F(labels, values_are_utf_8_of_bounded_length)
{
	static const char *const bad[] = {"\xff", "\xc0\x80", "a\xe2\x82", "\xed\xa0\x80",
					  "\xf4\x90\x80\x80"};
	char longest[130];
	uint32_t id;

	for (size_t i = 0; i < wr_array_size(bad); i++)
		EXPECT_EQ(series(self->m, self->family, bad[i], "x", &id), -EINVAL);
	memset(longest, 'a', sizeof(longest));
	longest[129] = '\0';
	EXPECT_EQ(series(self->m, self->family, longest, "x", &id), -EINVAL);
	longest[128] = '\0';
	EXPECT_EQ(series(self->m, self->family, longest, "x", &id), 0);
	EXPECT_EQ(series(self->m, self->family, "\xe2\x82\xac \xf0\x9f\x8c\x8a", "x", &id), 0);
	EXPECT_EQ(series(self->m, 9999, "0", "x", &id), -ENOENT);
	EXPECT_EQ(series(self->m, self->family, NULL, "x", &id), -EINVAL);
}

TEST_F(labels, a_family_is_found_again_only_as_it_is)
{
	static const char *const other[] = {"class", "node"};
	struct weir_metric_desc gauge = {WEIR_METRIC_GAUGE, "test_reads", "", "Reads"};
	uint32_t id = 77;

	EXPECT_EQ(weir_metrics_register(self->m, &reads, &id), -EEXIST);
	EXPECT_EQ(weir_metrics_register_labels(self->m, &reads, names, 1, 0, &id), -EEXIST);
	EXPECT_EQ(weir_metrics_register_labels(self->m, &reads, other, 2, 0, &id), -EEXIST);
	EXPECT_EQ(weir_metrics_register_labels(self->m, &gauge, names, 2, 0, &id), -EEXIST);
	EXPECT_EQ(id, 77u);
	EXPECT_EQ(weir_metrics_register_labels(self->m, &reads, names, 2, 0, &id), 0);
	EXPECT_EQ(id, self->family);
}

struct racer {
	struct weir_metrics *m;
	uint32_t family;
	pthread_barrier_t *start;
};

static void *make_and_add(void *arg)
{
	struct racer *r = arg;
	char node[16];
	uint32_t id;

	pthread_barrier_wait(r->start);
	for (int i = 0; i < 200; i++) {
		snprintf(node, sizeof(node), "%d", i % 50);
		if (series(r->m, r->family, node, "x", &id) == 0)
			weir_metrics_add(r->m, id, 1);
	}
	return NULL;
}

TEST_F(labels, threads_that_make_the_same_series_at_once_get_one)
{
	struct weir_metric_desc desc = {WEIR_METRIC_COUNTER, "test_raced", "", ""};
	struct weir_metrics_stats stats;
	pthread_barrier_t start;
	pthread_t threads[4];
	struct racer racer = {self->m, 0, &start};
	uint32_t id;
	int64_t value;

	ASSERT_EQ(weir_metrics_register_labels(self->m, &desc, names, 2, 50, &racer.family), 0);
	pthread_barrier_init(&start, NULL, 4);
	for (int i = 0; i < 4; i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, make_and_add, &racer), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	weir_metrics_stats(self->m, &stats);
	EXPECT_EQ(stats.nr_series, 50u);
	for (int i = 0; i < 50; i++) {
		char node[16];

		snprintf(node, sizeof(node), "%d", i);
		ASSERT_EQ(series(self->m, racer.family, node, "x", &id), 0);
		ASSERT_EQ(weir_metrics_read_sum(self->m, id, &value), 0);
		/* A thread that finds the limit reached by a series in the making is refused. */
		EXPECT_LE(value, 16);
		EXPECT_GE(value, 16 - (int64_t)weir_metrics_overflow(self->m, racer.family));
	}
}

TEST_F(labels, ten_thousand_series_are_found_by_their_values)
{
	struct weir_metric_desc desc = {WEIR_METRIC_GAUGE, "test_many", "", ""};
	uint32_t family, first = 0, id;
	char node[16];

	ASSERT_EQ(weir_metrics_register_labels(self->m, &desc, names, 2, 10000, &family), 0);
	for (int round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < 10000; i++) {
			snprintf(node, sizeof(node), "%u", i);
			ASSERT_EQ(series(self->m, family, node, "x", &id), 0);
			if (i == 0)
				first = id;
			ASSERT_EQ(id, first + i);
		}
	}
}

TEST_F(labels, every_refused_allocation_is_survived)
{
	struct weir_metric_desc desc = {WEIR_METRIC_SUMMARY, "test_refused_ns", "ns", ""};
	const char *values[] = {"0", "x"};
	uint64_t n = 0;
	int rc;

	do {
		struct weir_metrics *m;
		int64_t live = wr_test_alloc_live();
		uint32_t family, id = 0;

		n++;
		ASSERT_EQ(weir_metrics_open(&m), 0);
		wr_test_alloc_fail_at(n);
		rc = weir_metrics_register_labels(m, &desc, names, 2, 0, &family);
		if (rc == 0)
			rc = weir_metrics_series(m, family, values, &id);
		EXPECT_EQ(rc, wr_test_alloc_failed() ? -ENOMEM : 0);
		weir_metrics_close(m);
		EXPECT_EQ(wr_test_alloc_live(), live);
	} while (wr_test_alloc_failed());
	wr_test_alloc_fail_at(0);
	EXPECT_GE(n, 12u);
}

TEST_HARNESS_MAIN
