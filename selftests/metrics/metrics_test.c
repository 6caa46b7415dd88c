/* SPDX-License-Identifier: MIT */
/* Counting and reading: exact under threads that come and go, bounded memory, refused memory. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"

#include <weir/metrics.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"
#include "metrics/set.h"

/* clang-format off */
#define TEST_METRICS(X) \
	X(TEST_READS, COUNTER, "test_reads", "", "Reads") \
	X(TEST_LEVEL, GAUGE, "test_level_bytes", "bytes", "A level") \
	X(TEST_TIMES, HISTOGRAM, "test_time_ns", "ns", "Times")
/* clang-format on */
WR_METRICS_LIST(test, TEST_METRICS)

/* clang-format off */
FIXTURE(metrics) {
	struct weir_metrics *m;
	struct wr_metrics_set set;
	int64_t live;
};
/* clang-format on */

FIXTURE_SETUP(metrics)
{
	self->live = wr_test_alloc_live();
	ASSERT_EQ(weir_metrics_open(&self->m), 0);
	ASSERT_EQ(wr_metrics_join(self->m, test_metrics, test_nr_metrics, &self->set), 0);
}

FIXTURE_TEARDOWN(metrics)
{
	weir_metrics_close(self->m);
	EXPECT_EQ(wr_test_alloc_live(), self->live);
}

static int64_t sum_of(const struct wr_metrics_set *set, uint32_t which)
{
	int64_t value = -1;

	return weir_metrics_read_sum(set->metrics, set->first + which, &value) == 0 ? value : -2;
}

TEST_F(metrics, a_counter_starts_at_zero_and_adds_up)
{
	EXPECT_EQ(sum_of(&self->set, TEST_READS), 0);
	wr_metrics_count(&self->set, TEST_READS, 1);
	wr_metrics_count(&self->set, TEST_READS, 41);
	EXPECT_EQ(sum_of(&self->set, TEST_READS), 42);
}

static void *add_to_own_cell(void *arg)
{
	const struct wr_metrics_set *set = arg;
	int64_t *cell = weir_metrics_cell(set->metrics, set->first + TEST_READS);

	for (int i = 0; cell != NULL && i < 1000; i++)
		weir_cell_add(cell, 2);
	return cell;
}

TEST_F(metrics, each_thread_has_a_cell_of_its_own_that_counts_with_the_others)
{
	int64_t *cell = weir_metrics_cell(self->m, self->set.first + TEST_READS);
	pthread_t thread;
	void *other;

	ASSERT_NE(cell, NULL);
	ASSERT_EQ(pthread_create(&thread, NULL, add_to_own_cell, &self->set), 0);
	for (int i = 0; i < 1000; i++)
		weir_cell_add(cell, 1);
	wr_metrics_count(&self->set, TEST_READS, 5);
	pthread_join(thread, &other);
	EXPECT_NE(other, NULL);
	EXPECT_NE(other, (void *)cell);
	EXPECT_EQ(sum_of(&self->set, TEST_READS), 3005);
	EXPECT_EQ(weir_metrics_cell(self->m, self->set.first + TEST_TIMES), NULL);
	EXPECT_EQ(weir_metrics_cell(self->m, 9999), NULL);
	EXPECT_EQ(weir_metrics_cell(NULL, 0), NULL);
}

TEST_F(metrics, a_gauge_moves_both_ways_and_can_be_set)
{
	wr_metrics_count(&self->set, TEST_LEVEL, 100);
	wr_metrics_count(&self->set, TEST_LEVEL, -30);
	EXPECT_EQ(sum_of(&self->set, TEST_LEVEL), 70);
	wr_metrics_level(&self->set, TEST_LEVEL, 5);
	EXPECT_EQ(sum_of(&self->set, TEST_LEVEL), 5);
	wr_metrics_count(&self->set, TEST_LEVEL, -10);
	EXPECT_EQ(sum_of(&self->set, TEST_LEVEL), -5);
}

TEST_F(metrics, a_counter_cannot_be_set)
{
	wr_metrics_count(&self->set, TEST_READS, 3);
	wr_metrics_level(&self->set, TEST_READS, 1000);
	EXPECT_EQ(sum_of(&self->set, TEST_READS), 3);
}

TEST_F(metrics, what_is_not_there_is_not_counted)
{
	struct wr_metrics_set none;
	int64_t value = 7;

	ASSERT_EQ(wr_metrics_join(NULL, test_metrics, test_nr_metrics, &none), 0);
	wr_metrics_count(&none, TEST_READS, 1);
	wr_metrics_level(&none, TEST_LEVEL, 1);
	wr_metrics_value(&none, TEST_TIMES, 1);
	weir_metrics_add(self->m, 3, 1);
	weir_metrics_add(self->m, UINT32_MAX, 1);
	weir_metrics_set(self->m, UINT32_MAX, 1);
	weir_metrics_observe(self->m, UINT32_MAX, 1);
	EXPECT_EQ(weir_metrics_read_sum(self->m, 3, &value), -ENOENT);
	EXPECT_EQ(weir_metrics_read_approx(self->m, 3, &value), -ENOENT);
	EXPECT_EQ(value, 7);
}

TEST_F(metrics, kinds_do_not_mix)
{
	struct weir_histogram hist;

	wr_metrics_value(&self->set, TEST_READS, 5);
	wr_metrics_count(&self->set, TEST_TIMES, 5);
	EXPECT_EQ(sum_of(&self->set, TEST_READS), 0);
	EXPECT_EQ(sum_of(&self->set, TEST_TIMES), 0);
	EXPECT_EQ(weir_metrics_read_histogram(self->m, TEST_READS, &hist), -EINVAL);
	EXPECT_EQ(weir_metrics_read_histogram(self->m, 99, &hist), -ENOENT);
}

TEST_F(metrics, the_approximate_value_is_that_of_the_last_exact_read)
{
	int64_t approx = -1;

	wr_metrics_count(&self->set, TEST_READS, 5);
	ASSERT_EQ(weir_metrics_read_approx(self->m, TEST_READS, &approx), 0);
	EXPECT_EQ(approx, 0);
	EXPECT_EQ(sum_of(&self->set, TEST_READS), 5);
	wr_metrics_count(&self->set, TEST_READS, 1);
	ASSERT_EQ(weir_metrics_read_approx(self->m, TEST_READS, &approx), 0);
	EXPECT_EQ(approx, 5);
}

TEST_F(metrics, two_objects_share_the_metrics_of_their_module)
{
	struct wr_metrics_set second;

	ASSERT_EQ(wr_metrics_join(self->m, test_metrics, test_nr_metrics, &second), 0);
	EXPECT_EQ(second.first, self->set.first);
	wr_metrics_count(&self->set, TEST_LEVEL, 4);
	wr_metrics_count(&second, TEST_LEVEL, 5);
	EXPECT_EQ(sum_of(&second, TEST_LEVEL), 9);
}

TEST_F(metrics, two_registries_do_not_see_each_other)
{
	struct weir_metrics *other;
	struct wr_metrics_set set;

	ASSERT_EQ(weir_metrics_open(&other), 0);
	ASSERT_EQ(wr_metrics_join(other, test_metrics, test_nr_metrics, &set), 0);
	wr_metrics_count(&set, TEST_READS, 1);
	EXPECT_EQ(sum_of(&self->set, TEST_READS), 0);
	wr_metrics_count(&self->set, TEST_READS, 2);
	EXPECT_EQ(sum_of(&set, TEST_READS), 1);
	weir_metrics_close(other);
}

TEST_F(metrics, a_registry_in_the_place_of_a_closed_one_starts_empty)
{
	struct weir_metrics *other;
	struct wr_metrics_set set;

	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(weir_metrics_open(&other), 0);
		ASSERT_EQ(wr_metrics_join(other, test_metrics, test_nr_metrics, &set), 0);
		wr_metrics_count(&set, TEST_READS, 1);
		wr_metrics_value(&set, TEST_TIMES, 1);
		EXPECT_EQ(sum_of(&set, TEST_READS), 1);
		weir_metrics_close(other);
	}
	weir_metrics_close(NULL);
}

TEST_F(metrics, one_registry_too_many_is_refused)
{
	struct weir_metrics *more[WEIR_METRICS_REGISTRIES_MAX] = {NULL};
	uint32_t i;

	for (i = 1; i < WEIR_METRICS_REGISTRIES_MAX; i++)
		ASSERT_EQ(weir_metrics_open(&more[i]), 0);
	EXPECT_EQ(weir_metrics_open(&more[0]), -ENOSPC);
	EXPECT_EQ(more[0], NULL);
	for (i = 0; i < WEIR_METRICS_REGISTRIES_MAX; i++)
		weir_metrics_close(more[i]);
}

TEST_F(metrics, names_against_the_rules_are_refused)
{
	static const struct weir_metric_desc bad[] = {
		{WEIR_METRIC_COUNTER, "", "", ""},
		{WEIR_METRIC_COUNTER, "Reads", "", ""},
		{WEIR_METRIC_COUNTER, "1reads", "", ""},
		{WEIR_METRIC_COUNTER, "reads-done", "", ""},
		{WEIR_METRIC_COUNTER, "reads_total", "", ""},
		{WEIR_METRIC_HISTOGRAM, "reads_bucket", "", ""},
		{WEIR_METRIC_COUNTER, "reads", "bytes", ""},
		{WEIR_METRIC_COUNTER, "bytes", "bytes", ""},
		{WEIR_METRIC_COUNTER, "megabytes", "bytes", ""},
		{WEIR_METRIC_COUNTER, NULL, "", ""},
		{WEIR_METRIC_COUNTER, "reads", NULL, ""},
		{WEIR_METRIC_COUNTER, "reads", "", NULL},
		{0, "reads", "", ""},
		{6, "reads", "", ""},
	};
	uint32_t id = 77;

	for (size_t i = 0; i < wr_array_size(bad); i++) {
		EXPECT_EQ(weir_metrics_register(self->m, &bad[i], &id), -EINVAL)
		{
			TH_LOG("case %zu", i);
		}
	}
	EXPECT_EQ(id, 77u);
}

static int64_t forty_two(void *arg)
{
	return *(int64_t *)arg;
}

TEST_F(metrics, a_name_stands_for_one_thing)
{
	struct weir_metric_desc desc = {WEIR_METRIC_GAUGE, "test_reads", "", ""};
	struct weir_metric_desc list[2] = {
		{WEIR_METRIC_COUNTER, "test_new", "", ""},
		{WEIR_METRIC_COUNTER, "test_reads", "", ""},
	};
	struct wr_metrics_set set;
	int64_t value = 42;
	uint32_t id;

	EXPECT_EQ(weir_metrics_register(self->m, &desc, &id), -EEXIST);
	desc.kind = WEIR_METRIC_COUNTER;
	EXPECT_EQ(weir_metrics_register(self->m, &desc, &id), 0);
	EXPECT_EQ(id, self->set.first + TEST_READS);
	EXPECT_EQ(weir_metrics_register_read(self->m, &desc, forty_two, &value, &id), -EEXIST);
	/* Half of the list is there: nothing of it is added. */
	EXPECT_EQ(wr_metrics_join(self->m, list, 2, &set), -EEXIST);
	EXPECT_EQ(weir_metrics_find(self->m, "test_new", &id), -ENOENT);
}

TEST_F(metrics, a_list_that_runs_past_what_is_there_is_not_that_list)
{
	struct weir_metric_desc list[2] = {
		test_metrics[TEST_TIMES],
		{WEIR_METRIC_COUNTER, "test_new", "", ""},
	};
	struct wr_metrics_set set;

	EXPECT_EQ(wr_metrics_join(self->m, list, 2, &set), -EEXIST);
	EXPECT_EQ(wr_metrics_join(self->m, list, 1, &set), 0);
	EXPECT_EQ(set.first, self->set.first + TEST_TIMES);
	EXPECT_EQ(wr_metrics_join(self->m, list, 0, &set), -EINVAL);
}

TEST_F(metrics, a_number_kept_elsewhere_is_pulled_when_read)
{
	struct weir_metric_desc desc = {WEIR_METRIC_GAUGE, "elsewhere", "", "x"};
	int64_t kept = 42, value;
	uint32_t id;

	ASSERT_EQ(weir_metrics_register_read(self->m, &desc, forty_two, &kept, &id), 0);
	ASSERT_EQ(weir_metrics_read_sum(self->m, id, &value), 0);
	EXPECT_EQ(value, 42);
	kept = 43;
	weir_metrics_add(self->m, id, 1000);
	ASSERT_EQ(weir_metrics_read_sum(self->m, id, &value), 0);
	EXPECT_EQ(value, 43);
	EXPECT_EQ(weir_metrics_register_read(self->m, &desc, NULL, NULL, &id), -EINVAL);
}

TEST_F(metrics, the_waits_of_every_lock_rank_can_be_watched)
{
	int64_t value;
	uint32_t id;

	ASSERT_EQ(wr_metrics_watch_locks(self->m), 0);
	ASSERT_EQ(weir_metrics_find(self->m, "weir_lock_pool_zone_contended", &id), 0);
	ASSERT_EQ(weir_metrics_read_sum(self->m, id, &value), 0);
	EXPECT_EQ(value, 0);
	EXPECT_EQ(weir_metrics_find(self->m, "weir_lock_log_wait_ns", &id), 0);
	EXPECT_EQ(wr_metrics_watch_locks(self->m), -EEXIST);
}

TEST_F(metrics, many_metrics_have_cells_of_their_own)
{
	enum { NR = 1000 };
	char name[32];
	struct weir_metric_desc desc = {WEIR_METRIC_COUNTER, name, "", ""};
	uint32_t ids[NR];
	int64_t value;

	for (int i = 0; i < NR; i++) {
		snprintf(name, sizeof(name), "many_%d", i);
		ASSERT_EQ(weir_metrics_register(self->m, &desc, &ids[i]), 0);
		weir_metrics_add(self->m, ids[i], i);
	}
	for (int i = 0; i < NR; i++) {
		ASSERT_EQ(weir_metrics_read_sum(self->m, ids[i], &value), 0);
		EXPECT_EQ(value, i);
	}
}

enum { NR_THREADS = 8, NR_BIRTHS = 60, NR_ADDS = 500 };

static void *count_and_end(void *arg)
{
	struct wr_metrics_set *set = arg;

	for (int i = 0; i < NR_ADDS; i++) {
		wr_metrics_count(set, TEST_READS, 1);
		wr_metrics_count(set, TEST_LEVEL, i % 2 == 0 ? 3 : -3);
		wr_metrics_value(set, TEST_TIMES, (uint64_t)i * (uint64_t)i);
	}
	return NULL;
}

/* Each of these keeps one counting thread alive at a time, many in a row. */
static void *give_birth(void *arg)
{
	pthread_t child;

	for (int i = 0; i < NR_BIRTHS; i++) {
		if (pthread_create(&child, NULL, count_and_end, arg) != 0)
			abort();
		pthread_join(child, NULL);
	}
	return NULL;
}

TEST_F(metrics, threads_that_come_and_go_lose_nothing)
{
	pthread_t threads[NR_THREADS];
	struct weir_histogram hist;
	int64_t last = 0, seen, nr_births = NR_THREADS * NR_BIRTHS;
	uint64_t sum = 0, in_buckets = 0;

	for (int i = 0; i < NR_THREADS; i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, give_birth, &self->set), 0);
	/* Meanwhile a counter never goes back, and a histogram agrees with itself. */
	for (int i = 0; i < 200; i++) {
		seen = sum_of(&self->set, TEST_READS);
		EXPECT_GE(seen, last);
		last = seen;
		ASSERT_EQ(weir_metrics_read_histogram(self->m, TEST_TIMES, &hist), 0);
		in_buckets = 0;
		for (uint32_t b = 0; b < WEIR_HISTOGRAM_BUCKETS; b++)
			in_buckets += hist.buckets[b];
		EXPECT_EQ(in_buckets, hist.count);
	}
	for (int i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
	for (uint64_t i = 0; i < NR_ADDS; i++)
		sum += i * i;
	EXPECT_EQ(sum_of(&self->set, TEST_READS), nr_births * NR_ADDS);
	EXPECT_EQ(sum_of(&self->set, TEST_LEVEL), 0);
	ASSERT_EQ(weir_metrics_read_histogram(self->m, TEST_TIMES, &hist), 0);
	EXPECT_EQ(hist.count, (uint64_t)(nr_births * NR_ADDS));
	EXPECT_EQ(hist.sum, (uint64_t)nr_births * sum);
	EXPECT_EQ(weir_metrics_dropped(self->m), 0u);
}

TEST_F(metrics, memory_grows_with_the_threads_that_live_not_with_all_that_ever_did)
{
	int64_t after_first;
	pthread_t thread;

	ASSERT_EQ(pthread_create(&thread, NULL, count_and_end, &self->set), 0);
	pthread_join(thread, NULL);
	after_first = wr_test_alloc_live();
	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(pthread_create(&thread, NULL, count_and_end, &self->set), 0);
		pthread_join(thread, NULL);
	}
	EXPECT_EQ(wr_test_alloc_live(), after_first);
}

struct late {
	struct weir_metrics *m;
	struct wr_metrics_set set;
	pthread_barrier_t counted, closed;
};

static void *outlive_the_registry(void *arg)
{
	struct late *late = arg;

	count_and_end(&late->set);
	pthread_barrier_wait(&late->counted);
	pthread_barrier_wait(&late->closed);
	return NULL;
}

TEST_F(metrics, a_thread_may_end_after_the_registry_is_closed_and_its_place_taken)
{
	struct late late;
	struct weir_metrics *next;
	struct wr_metrics_set set;
	pthread_t thread;

	ASSERT_EQ(weir_metrics_open(&late.m), 0);
	ASSERT_EQ(wr_metrics_join(late.m, test_metrics, test_nr_metrics, &late.set), 0);
	pthread_barrier_init(&late.counted, NULL, 2);
	pthread_barrier_init(&late.closed, NULL, 2);
	ASSERT_EQ(pthread_create(&thread, NULL, outlive_the_registry, &late), 0);
	pthread_barrier_wait(&late.counted);
	weir_metrics_close(late.m);
	ASSERT_EQ(weir_metrics_open(&next), 0);
	ASSERT_EQ(wr_metrics_join(next, test_metrics, test_nr_metrics, &set), 0);
	pthread_barrier_wait(&late.closed);
	pthread_join(thread, NULL);
	wr_metrics_count(&set, TEST_READS, 1);
	EXPECT_EQ(sum_of(&set, TEST_READS), 1);
	weir_metrics_close(next);
}

TEST_F(metrics, counts_are_kept_when_there_is_no_memory_for_cells)
{
	struct weir_metrics *m;
	struct wr_metrics_set set;
	int64_t live = wr_test_alloc_live();
	uint64_t n = 0;

	do {
		n++;
		ASSERT_EQ(weir_metrics_open(&m), 0);
		ASSERT_EQ(wr_metrics_join(m, test_metrics, test_nr_metrics, &set), 0);
		wr_test_alloc_fail_at(n);
		wr_metrics_count(&set, TEST_READS, 7);
		wr_metrics_count(&set, TEST_LEVEL, -7);
		wr_metrics_value(&set, TEST_TIMES, 1000);
		wr_metrics_count(&set, TEST_READS, 1);
		EXPECT_EQ(sum_of(&set, TEST_READS), 8);
		EXPECT_EQ(sum_of(&set, TEST_LEVEL), -7);
		EXPECT_EQ(sum_of(&set, TEST_TIMES) + (int64_t)weir_metrics_dropped(m), 1);
		weir_metrics_close(m);
	} while (wr_test_alloc_failed());
	wr_test_alloc_fail_at(0);
	EXPECT_GE(n, 5u);
	EXPECT_EQ(wr_test_alloc_live(), live);
}

TEST_F(metrics, opening_and_registering_survive_every_refused_allocation)
{
	struct weir_metrics *m;
	struct wr_metrics_set set;
	int64_t live = wr_test_alloc_live();
	uint64_t n = 0;
	int rc;

	do {
		n++;
		wr_test_alloc_fail_at(n);
		rc = weir_metrics_open(&m);
		if (rc == 0) {
			rc = wr_metrics_join(m, test_metrics, test_nr_metrics, &set);
			weir_metrics_close(m);
		}
		EXPECT_EQ(rc, wr_test_alloc_failed() ? -ENOMEM : 0);
		EXPECT_EQ(wr_test_alloc_live(), live);
	} while (wr_test_alloc_failed());
	EXPECT_GE(n, 10u);
	wr_test_alloc_fail_at(0);
}

TEST_HARNESS_MAIN
