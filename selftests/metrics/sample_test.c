/* SPDX-License-Identifier: MIT */
/* Samples by name: rules that run, a buffer, a queue with a bound, trackers per thread. */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"

#include <weir/metrics_sample.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"

/* clang-format off */
FIXTURE(sample) {
	struct weir_metrics *m;
	int64_t live;
};
/* clang-format on */

FIXTURE_SETUP(sample)
{
	struct weir_metrics_opts opts = {.size = sizeof(opts), .queue_max = 5, .buffer_max = 4};

	self->live = wr_test_alloc_live();
	ASSERT_EQ(weir_metrics_open_opts(&opts, &self->m, NULL), 0);
}

FIXTURE_TEARDOWN(sample)
{
	weir_metrics_close(self->m);
	EXPECT_EQ(wr_test_alloc_live(), self->live);
}

static struct weir_sample make(int kind, const char *name, double value)
{
	struct weir_sample s = {
		.kind = kind, .name = name, .value = value, .time_ms = WEIR_TIME_NOW};

	return s;
}

static int64_t value_of(struct weir_metrics *m, const char *name)
{
	int64_t value = -1;
	uint32_t id;

	if (weir_metrics_find(m, name, &id) != 0)
		return -2;
	return weir_metrics_read_sum(m, id, &value) == 0 ? value : -3;
}

TEST_F(sample, each_kind_does_with_a_value_what_it_is)
{
	struct weir_sample s = make(WEIR_METRIC_COUNTER, "test_counter", 2);
	struct weir_histogram hist;
	double ratio = 0;
	uint32_t id;

	ASSERT_EQ(weir_metrics_put(self->m, &s), 0);
	ASSERT_EQ(weir_metrics_put(self->m, &s), 0);
	EXPECT_EQ(value_of(self->m, "test_counter"), 4);
	s = make(WEIR_METRIC_GAUGE, "test_gauge", 2.6);
	ASSERT_EQ(weir_metrics_put(self->m, &s), 0);
	EXPECT_EQ(value_of(self->m, "test_gauge"), 3);
	s = make(WEIR_METRIC_FLOAT, "test_float", 0.125);
	ASSERT_EQ(weir_metrics_put(self->m, &s), 0);
	ASSERT_EQ(weir_metrics_find(self->m, "test_float", &id), 0);
	ASSERT_EQ(weir_metrics_read_float(self->m, id, &ratio), 0);
	EXPECT_EQ(ratio, 0.125);
	s = make(WEIR_METRIC_SUMMARY, "test_summary", 41);
	ASSERT_EQ(weir_metrics_put(self->m, &s), 0);
	ASSERT_EQ(weir_metrics_find(self->m, "test_summary", &id), 0);
	ASSERT_EQ(weir_metrics_read_window(self->m, id, &hist), 0);
	EXPECT_EQ(hist.count, 1u);
	EXPECT_EQ(hist.sum, 41u);
}

TEST_F(sample, values_and_names_against_the_rules_count_nothing)
{
	const struct weir_sample bad[] = {
		make(WEIR_METRIC_FLOAT, "test_x", NAN),
		make(WEIR_METRIC_FLOAT, "test_x", INFINITY),
		make(WEIR_METRIC_COUNTER, "test_x", -1),
		make(WEIR_METRIC_COUNTER, "test_x", 0.5),
		make(WEIR_METRIC_COUNTER, "test_x", 1e19),
		make(WEIR_METRIC_HISTOGRAM, "test_x", -5),
		make(WEIR_METRIC_HISTOGRAM, "test_x", 1e20),
		make(WEIR_METRIC_GAUGE, "test_x", 1e19),
		make(WEIR_METRIC_GAUGE, "test_x\n", 1),
		make(WEIR_METRIC_GAUGE, "Test", 1),
		make(WEIR_METRIC_GAUGE, NULL, 1),
		make(0, "test_x", 1),
		make(9, "test_x", 1),
	};
	struct weir_metrics_stats stats;

	for (size_t i = 0; i < wr_array_size(bad); i++) {
		EXPECT_EQ(weir_metrics_check(self->m, &bad[i]), -EINVAL)
		{
			TH_LOG("case %zu", i);
		}
		EXPECT_EQ(weir_metrics_put(self->m, &bad[i]), -EINVAL);
		EXPECT_EQ(weir_metrics_queue(self->m, &bad[i]), -EINVAL);
	}
	weir_metrics_stats(self->m, &stats);
	EXPECT_EQ(stats.nr_refused, 2 * wr_array_size(bad));
	EXPECT_EQ(stats.nr_samples, 0u);
	EXPECT_EQ(stats.nr_series, 0u);
}

static bool is_positive(void *arg, double value)
{
	++*(int *)arg;
	return value > 0;
}

static bool is_even(void *arg, double value)
{
	(void)arg;
	return fmod(value, 2) == 0;
}

TEST_F(sample, a_rule_runs_on_every_value_of_its_name_and_no_other)
{
	struct weir_label label = {"node", "1"};
	struct weir_sample s = make(WEIR_METRIC_FLOAT, "test_x", -5);
	int calls = 0;

	ASSERT_EQ(weir_metrics_rule(self->m, "test_x", is_positive, &calls), 0);
	s.labels = &label;
	s.nr_labels = 1;
	EXPECT_EQ(weir_metrics_put(self->m, &s), -ERANGE);
	EXPECT_EQ(weir_metrics_queue(self->m, &s), -ERANGE);
	s.value = 3;
	EXPECT_EQ(weir_metrics_put(self->m, &s), 0);
	EXPECT_EQ(calls, 3);
	/* A second rule holds, too. */
	ASSERT_EQ(weir_metrics_rule(self->m, "test_x", is_even, NULL), 0);
	EXPECT_EQ(weir_metrics_put(self->m, &s), -ERANGE);
	s.value = 4;
	EXPECT_EQ(weir_metrics_put(self->m, &s), 0);
	s = make(WEIR_METRIC_FLOAT, "test_y", -5);
	EXPECT_EQ(weir_metrics_put(self->m, &s), 0);
	EXPECT_EQ(weir_metrics_rule(self->m, "no name", is_even, NULL), -EINVAL);
	EXPECT_EQ(weir_metrics_rule(self->m, "test_x", NULL, NULL), -EINVAL);
}

TEST_F(sample, labels_come_in_any_order_and_must_be_those_of_the_name)
{
	struct weir_label ab[] = {{"a", "1"}, {"b", "2"}}, ba[] = {{"b", "2"}, {"a", "1"}};
	struct weir_label other[] = {{"a", "1"}, {"c", "2"}}, twice[] = {{"a", "1"}, {"a", "2"}};
	struct weir_sample s = make(WEIR_METRIC_COUNTER, "test_x", 1);
	struct weir_metrics_stats stats;

	s.labels = ab;
	s.nr_labels = 2;
	ASSERT_EQ(weir_metrics_put(self->m, &s), 0);
	s.labels = ba;
	ASSERT_EQ(weir_metrics_put(self->m, &s), 0);
	weir_metrics_stats(self->m, &stats);
	EXPECT_EQ(stats.nr_series, 1u);
	s.labels = other;
	EXPECT_EQ(weir_metrics_put(self->m, &s), -EEXIST);
	s.nr_labels = 0;
	EXPECT_EQ(weir_metrics_put(self->m, &s), -EEXIST);
	s.name = "test_y";
	s.labels = twice;
	s.nr_labels = 2;
	EXPECT_EQ(weir_metrics_put(self->m, &s), -EINVAL);
	twice[1] = (struct weir_label){"b", "\xff"};
	EXPECT_EQ(weir_metrics_put(self->m, &s), -EINVAL);
	s.nr_labels = 9;
	EXPECT_EQ(weir_metrics_put(self->m, &s), -EINVAL);
}

TEST_F(sample, the_buffer_keeps_the_latest_and_their_times)
{
	struct weir_sample s = make(WEIR_METRIC_GAUGE, "test_x", 0);
	struct weir_remembered recent[8];

	EXPECT_EQ(weir_metrics_recent(self->m, 8, recent), 0u);
	for (int i = 0; i < 6; i++) {
		s.value = i;
		/* 0 is a time, not "now". */
		s.time_ms = (uint64_t)(5 - i);
		ASSERT_EQ(weir_metrics_put(self->m, &s), 0);
	}
	ASSERT_EQ(weir_metrics_recent(self->m, 8, recent), 4u);
	EXPECT_EQ(recent[0].value, 2.0);
	EXPECT_EQ(recent[3].value, 5.0);
	EXPECT_EQ(recent[3].time_ms, 0u);
	ASSERT_EQ(weir_metrics_recent(self->m, 1, recent), 1u);
	EXPECT_EQ(recent[0].value, 5.0);
	EXPECT_EQ(weir_metrics_recent(self->m, 0, recent), 0u);
}

TEST_F(sample, the_queue_is_invisible_until_drained_and_full_at_its_bound)
{
	struct weir_label label = {"node", "1"};
	struct weir_sample s = make(WEIR_METRIC_COUNTER, "test_x", 1);
	struct weir_metrics_stats stats;

	s.help = "Help";
	s.labels = &label;
	s.nr_labels = 1;
	for (int i = 0; i < 5; i++)
		ASSERT_EQ(weir_metrics_queue(self->m, &s), 0);
	EXPECT_EQ(weir_metrics_queue(self->m, &s), -EAGAIN);
	weir_metrics_stats(self->m, &stats);
	EXPECT_EQ(stats.nr_queued, 5u);
	EXPECT_EQ(stats.nr_queue_full, 1u);
	EXPECT_EQ(stats.nr_series, 0u);
	EXPECT_EQ(stats.nr_remembered, 0u);
	EXPECT_EQ(weir_metrics_drain(self->m), 5u);
	weir_metrics_stats(self->m, &stats);
	EXPECT_EQ(stats.nr_queued, 0u);
	EXPECT_EQ(stats.nr_series, 1u);
	EXPECT_EQ(stats.nr_samples, 5u);
	EXPECT_EQ(stats.nr_remembered, 4u);
	/* Round after round. */
	for (int i = 0; i < 23; i++) {
		ASSERT_EQ(weir_metrics_queue(self->m, &s), 0);
		ASSERT_EQ(weir_metrics_drain(self->m), 1u);
	}
}

TEST_F(sample, what_is_too_long_for_the_queue_is_refused)
{
	struct weir_sample s = make(WEIR_METRIC_COUNTER, "test_x", 1);
	char help[WEIR_QUEUED_BYTES_MAX + 1];

	memset(help, 'x', sizeof(help));
	help[sizeof(help) - 1] = '\0';
	s.help = help;
	EXPECT_EQ(weir_metrics_queue(self->m, &s), -E2BIG);
	help[WEIR_QUEUED_BYTES_MAX - strlen("test_x") - 2] = '\0';
	EXPECT_EQ(weir_metrics_queue(self->m, &s), 0);
}

struct putter {
	struct weir_metrics *m;
	_Atomic uint64_t nr_put, nr_full;
};

static void *queue_many(void *arg)
{
	struct putter *p = arg;
	struct weir_sample s = make(WEIR_METRIC_COUNTER, "test_x", 1);

	for (int i = 0; i < 5000; i++) {
		int rc = weir_metrics_queue(p->m, &s);

		wr_fetch_add_relaxed(rc == 0 ? &p->nr_put : &p->nr_full, 1);
	}
	return NULL;
}

TEST_F(sample, what_threads_queue_is_taken_once)
{
	struct putter p = {.m = self->m};
	struct weir_metrics_stats stats;
	pthread_t threads[3];

	for (int i = 0; i < 3; i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, queue_many, &p), 0);
	for (int i = 0; i < 2000; i++)
		weir_metrics_drain(self->m);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	weir_metrics_drain(self->m);
	EXPECT_EQ(wr_load_relaxed(&p.nr_put) + wr_load_relaxed(&p.nr_full), 15000u);
	weir_metrics_stats(self->m, &stats);
	EXPECT_EQ(stats.nr_samples, wr_load_relaxed(&p.nr_put));
	EXPECT_EQ(stats.nr_queue_full, wr_load_relaxed(&p.nr_full));
	EXPECT_EQ(value_of(self->m, "test_x"), (int64_t)wr_load_relaxed(&p.nr_put));
}

static void *put_many(void *arg)
{
	struct putter *p = arg;
	struct weir_sample s = make(WEIR_METRIC_COUNTER, "test_x", 1);

	for (int i = 0; i < 5000; i++) {
		if (weir_metrics_put(p->m, &s) == 0)
			wr_fetch_add_relaxed(&p->nr_put, 1);
	}
	return NULL;
}

TEST_F(sample, a_sample_in_the_value_is_in_the_buffer_too)
{
	struct weir_metrics_opts opts = {.size = sizeof(opts), .buffer_max = 20000};
	struct weir_remembered *recent = calloc(20000, sizeof(*recent));
	struct putter p = {0};
	pthread_t threads[2];

	ASSERT_NE(recent, NULL);
	ASSERT_EQ(weir_metrics_open_opts(&opts, &p.m, NULL), 0);
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, put_many, &p), 0);
	for (int i = 0; i < 300; i++) {
		int64_t before = value_of(p.m, "test_x");
		int64_t nr = weir_metrics_recent(p.m, 20000, recent);
		int64_t after = value_of(p.m, "test_x");

		EXPECT_GE(nr, before);
		if (nr > 0)
			EXPECT_GE(after, nr);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(value_of(p.m, "test_x"), 10000);
	weir_metrics_close(p.m);
	free(recent);
}

TEST_F(sample, trackers_nest_and_end_by_name)
{
	struct weir_tracked outer, inner, again;
	struct weir_metrics_stats stats;

	ASSERT_EQ(weir_tracker_begin(self->m, "load"), 0);
	ASSERT_EQ(weir_tracker_begin(self->m, "parse"), 0);
	ASSERT_EQ(weir_tracker_begin(self->m, "parse"), 0);
	weir_metrics_stats(self->m, &stats);
	EXPECT_EQ(stats.nr_trackers, 3u);
	ASSERT_EQ(weir_tracker_end(self->m, "parse", &inner), 0);
	/* The outer one may end before what it holds. */
	ASSERT_EQ(weir_tracker_end(self->m, "load", &outer), 0);
	ASSERT_EQ(weir_tracker_end(self->m, "parse", &again), 0);
	EXPECT_LE(outer.start_ns, again.start_ns);
	EXPECT_LE(again.start_ns, inner.start_ns);
	EXPECT_GE(again.duration_ns, inner.duration_ns);
	EXPECT_GT(outer.start_bytes, 0u);
	EXPECT_EQ(weir_tracker_end(self->m, "parse", &inner), -ENOENT);
	EXPECT_EQ(weir_tracker_end(self->m, "never", NULL), -ENOENT);
	weir_metrics_stats(self->m, &stats);
	EXPECT_EQ(stats.nr_trackers, 0u);
	/* Two names: a duration and a memory each. */
	EXPECT_EQ(stats.nr_series, 4u);
}

TEST_F(sample, a_tracker_sees_memory_grow)
{
	size_t bytes = 32 << 20;
	struct weir_tracked tracked;
	char *block;

	ASSERT_EQ(weir_tracker_begin(self->m, "grow"), 0);
	block = malloc(bytes);
	ASSERT_NE(block, NULL);
	memset(block, 1, bytes);
	__asm__ volatile("" ::"r"(block) : "memory");
	ASSERT_EQ(weir_tracker_end(self->m, "grow", &tracked), 0);
	EXPECT_GT(tracked.delta_bytes, (int64_t)bytes / 2);
	free(block);
}

static void *end_of_another(void *arg)
{
	struct weir_metrics *m = arg;
	bool as_expected =
		weir_tracker_end(m, "mine", NULL) == -ENOENT && weir_tracker_begin(m, "left") == 0;

	return as_expected ? m : NULL;
}

TEST_F(sample, a_tracker_belongs_to_its_thread_and_goes_with_it)
{
	struct weir_metrics_stats stats;
	pthread_t thread;
	void *result;

	ASSERT_EQ(weir_tracker_begin(self->m, "mine"), 0);
	ASSERT_EQ(pthread_create(&thread, NULL, end_of_another, self->m), 0);
	pthread_join(thread, &result);
	EXPECT_EQ(result, self->m);
	weir_metrics_stats(self->m, &stats);
	EXPECT_EQ(stats.nr_trackers, 1u);
	ASSERT_EQ(weir_tracker_end(self->m, "mine", NULL), 0);
}

static void *bounds_of_trackers(void *arg)
{
	struct weir_metrics *m = arg, *other;
	char longest[WEIR_TRACKER_NAME_MAX + 2];
	bool as_expected = true;

	memset(longest, 'x', sizeof(longest));
	longest[WEIR_TRACKER_NAME_MAX + 1] = '\0';
	as_expected &= weir_tracker_begin(m, longest) == -EINVAL;
	as_expected &= weir_tracker_begin(m, "") == -EINVAL;
	as_expected &= weir_tracker_begin(m, "\xff") == -EINVAL;
	if (weir_metrics_open(&other) != 0)
		return NULL;
	for (uint32_t i = 0; i < WEIR_TRACKERS_MAX; i++)
		as_expected &= weir_tracker_begin(i % 2 ? m : other, "deep") == 0;
	as_expected &= weir_tracker_begin(m, "deep") == -ENOSPC;
	/* What was begun in a registry that is closed makes room. */
	weir_metrics_close(other);
	as_expected &= weir_tracker_begin(m, "deep") == 0;
	return as_expected ? m : NULL;
}

TEST_F(sample, trackers_are_bounded)
{
	pthread_t thread;
	void *result;

	ASSERT_EQ(pthread_create(&thread, NULL, bounds_of_trackers, self->m), 0);
	pthread_join(thread, &result);
	EXPECT_EQ(result, self->m);
}

TEST_F(sample, every_refused_allocation_is_survived)
{
	struct weir_label label = {"node", "1"};
	uint64_t n = 0;

	do {
		struct weir_sample s = make(WEIR_METRIC_COUNTER, "test_x", 1);
		int64_t live = wr_test_alloc_live();
		struct weir_metrics *m;
		int put, queued;

		s.labels = &label;
		s.nr_labels = 1;
		n++;
		ASSERT_EQ(weir_metrics_open(&m), 0);
		wr_test_alloc_fail_at(n);
		put = weir_metrics_put(m, &s);
		EXPECT_TRUE(put == 0 || put == -ENOMEM);
		queued = weir_metrics_queue(m, &s);
		EXPECT_TRUE(queued == 0 || queued == -ENOMEM);
		weir_metrics_drain(m);
		weir_metrics_close(m);
		EXPECT_EQ(wr_test_alloc_live(), live);
	} while (wr_test_alloc_failed());
	wr_test_alloc_fail_at(0);
	EXPECT_GE(n, 15u);
}

TEST_HARNESS_MAIN
