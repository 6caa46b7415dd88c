/* SPDX-License-Identifier: MIT */
/* The texts that leave: OpenMetrics line by line, JSON, escapes, a writer that has had enough. */
#include <errno.h>
#include <string.h>

#include "kselftest_harness.h"

#include <weir/metrics.h>

#include "base/alloc.h"
#include "base/util.h"

struct text {
	size_t used;
	int calls, end_at;
	char bytes[65536];
};

static int keep(void *arg, const char *bytes, size_t nr)
{
	struct text *t = arg;

	if (++t->calls == t->end_at || nr >= sizeof(t->bytes) - t->used)
		return -EIO;
	memcpy(t->bytes + t->used, bytes, nr);
	t->used += nr;
	t->bytes[t->used] = '\0';
	return 0;
}

/* clang-format off */
FIXTURE(export) {
	struct weir_metrics *m;
	struct text text;
	uint32_t counter, gauge, hist;
};
/* clang-format on */

FIXTURE_SETUP(export)
{
	struct weir_metric_desc c = {WEIR_METRIC_COUNTER, "weir_reads", "", "Reads \"done\"\\"};
	struct weir_metric_desc g = {WEIR_METRIC_GAUGE, "weir_used_bytes", "bytes", "Now\nused"};
	struct weir_metric_desc h = {WEIR_METRIC_HISTOGRAM, "weir_wait_ns", "ns", "Waits"};

	ASSERT_EQ(weir_metrics_open(&self->m), 0);
	ASSERT_EQ(weir_metrics_register(self->m, &c, &self->counter), 0);
	ASSERT_EQ(weir_metrics_register(self->m, &g, &self->gauge), 0);
	ASSERT_EQ(weir_metrics_register(self->m, &h, &self->hist), 0);
	weir_metrics_add(self->m, self->counter, 3);
	weir_metrics_set(self->m, self->gauge, -4);
	weir_metrics_observe(self->m, self->hist, 7);
	weir_metrics_observe(self->m, self->hist, 40);
	weir_metrics_observe(self->m, self->hist, 41);
}

FIXTURE_TEARDOWN(export)
{
	weir_metrics_close(self->m);
}

TEST_F(export, openmetrics_is_exactly_this)
{
	ASSERT_EQ(weir_metrics_export(self->m, WEIR_METRICS_OPENMETRICS, keep, &self->text), 0);
	EXPECT_STREQ(self->text.bytes, "# TYPE weir_reads counter\n"
				       "# HELP weir_reads Reads \\\"done\\\"\\\\\n"
				       "weir_reads_total 3\n"
				       "# TYPE weir_used_bytes gauge\n"
				       "# UNIT weir_used_bytes bytes\n"
				       "# HELP weir_used_bytes Now\\nused\n"
				       "weir_used_bytes -4\n"
				       "# TYPE weir_wait_ns histogram\n"
				       "# UNIT weir_wait_ns ns\n"
				       "# HELP weir_wait_ns Waits\n"
				       "weir_wait_ns_bucket{le=\"31.0\"} 1\n"
				       "weir_wait_ns_bucket{le=\"63.0\"} 3\n"
				       "weir_wait_ns_bucket{le=\"+Inf\"} 3\n"
				       "weir_wait_ns_count 3\n"
				       "weir_wait_ns_sum 88\n"
				       "# EOF\n");
}

TEST_F(export, json_is_exactly_this)
{
	ASSERT_EQ(weir_metrics_export(self->m, WEIR_METRICS_JSON, keep, &self->text), 0);
	EXPECT_STREQ(self->text.bytes,
		     "{\"metrics\": [\n"
		     "  {\"name\": \"weir_reads\", \"kind\": \"counter\", \"unit\": \"\", "
		     "\"help\": \"Reads \\\"done\\\"\\\\\", \"value\": 3},\n"
		     "  {\"name\": \"weir_used_bytes\", \"kind\": \"gauge\", \"unit\": \"bytes\", "
		     "\"help\": \"Now\\nused\", \"value\": -4},\n"
		     "  {\"name\": \"weir_wait_ns\", \"kind\": \"histogram\", \"unit\": \"ns\", "
		     "\"help\": \"Waits\", \"count\": 3, \"sum\": 88, \"p50\": 40, \"p90\": 41, "
		     "\"p99\": 41, \"max\": 41}\n"
		     "]}\n");
}

TEST_F(export, a_text_longer_than_the_buffer_arrives_whole)
{
	char name[32], line[64];
	struct weir_metric_desc desc = {WEIR_METRIC_COUNTER, name, "", "One of many"};
	uint32_t id;

	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "many_%d", i);
		ASSERT_EQ(weir_metrics_register(self->m, &desc, &id), 0);
		weir_metrics_add(self->m, id, i);
	}
	ASSERT_EQ(weir_metrics_export(self->m, WEIR_METRICS_OPENMETRICS, keep, &self->text), 0);
	EXPECT_GT(self->text.calls, 1);
	for (int i = 0; i < 300; i++) {
		snprintf(line, sizeof(line), "\nmany_%d_total %d\n", i, i);
		EXPECT_NE(strstr(self->text.bytes, line), NULL);
	}
	EXPECT_STREQ(self->text.bytes + self->text.used - 6, "# EOF\n");
}

TEST_F(export, a_writer_that_fails_ends_it_with_its_code)
{
	self->text.end_at = 1;
	EXPECT_EQ(weir_metrics_export(self->m, WEIR_METRICS_JSON, keep, &self->text), -EIO);
	EXPECT_EQ(self->text.calls, 1);
	EXPECT_EQ(weir_metrics_export(self->m, 3, keep, &self->text), -EINVAL);
}

TEST_F(export, nothing_is_allocated)
{
	wr_test_alloc_fail_at(1);
	EXPECT_EQ(weir_metrics_export(self->m, WEIR_METRICS_OPENMETRICS, keep, &self->text), 0);
	EXPECT_EQ(weir_metrics_export(self->m, WEIR_METRICS_JSON, keep, &self->text), 0);
	EXPECT_FALSE(wr_test_alloc_failed());
	wr_test_alloc_fail_at(0);
}

static int stop_at_second(void *arg, const struct weir_metric *metric)
{
	int *calls = arg;

	(void)metric;
	return ++*calls == 2 ? 17 : 0;
}

TEST_F(export, a_walk_ends_when_told)
{
	int calls = 0;

	EXPECT_EQ(weir_metrics_for_each(self->m, stop_at_second, &calls), 17);
	EXPECT_EQ(calls, 2);
}

TEST_HARNESS_MAIN
