/* SPDX-License-Identifier: MIT */
/* The texts that leave: OpenMetrics line by line, JSON, CSV, escapes, a writer that has had enough. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "kselftest_harness.h"

#include <weir/metrics_sample.h>
#include <weir/metrics_system.h>

#include "base/alloc.h"
#include "base/util.h"
#include "metrics/set.h"

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
				       "# TYPE weir_wait_seconds histogram\n"
				       "# UNIT weir_wait_seconds seconds\n"
				       "# HELP weir_wait_seconds Waits\n"
				       "weir_wait_seconds_bucket{le=\"0.000000031\"} 1\n"
				       "weir_wait_seconds_bucket{le=\"0.000000063\"} 3\n"
				       "weir_wait_seconds_bucket{le=\"+Inf\"} 3\n"
				       "weir_wait_seconds_count 3\n"
				       "weir_wait_seconds_sum 0.000000088\n"
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
	EXPECT_EQ(weir_metrics_export(self->m, 99, keep, &self->text), -EINVAL);
}

/* A family with two series, a family of nothing, a FLOAT that is set and one that is not, a summary. */
static void add_more(struct weir_metrics *m)
{
	struct weir_metric_desc r = {WEIR_METRIC_COUNTER, "weir_waits_ns", "ns", "Waits"};
	struct weir_metric_desc f = {WEIR_METRIC_FLOAT, "weir_heat_celsius", "celsius", "Heat"};
	struct weir_metric_desc s = {WEIR_METRIC_SUMMARY, "weir_pass_ns", "ns", "Passes"};
	static const char *const names[] = {"node"};
	const char *zero[] = {"a\"b\\c\nd\te"}, *one[] = {"1"};
	uint32_t family, id;

	if (weir_metrics_register_labels(m, &r, names, 1, 0, &family) != 0 ||
	    weir_metrics_series(m, family, zero, &id) != 0)
		abort();
	weir_metrics_add(m, id, 1500000000);
	if (weir_metrics_register(m, &f, &id) != 0 || weir_metrics_set_float(m, id, 45.25) != 0)
		abort();
	f.name = "weir_cold_celsius";
	if (weir_metrics_register(m, &f, &id) != 0 || weir_metrics_register(m, &s, &id) != 0)
		abort();
	weir_metrics_observe(m, id, 50);
	/* Registered last, shown with its family. */
	if (weir_metrics_series(m, family, one, &id) != 0)
		abort();
	weir_metrics_add(m, id, 2);
	r.name = "weir_empty_ns";
	if (weir_metrics_register_labels(m, &r, names, 1, 0, &family) != 0)
		abort();
}

TEST_F(export, families_stand_together_with_their_labels_escaped)
{
	static struct weir_metrics *m;

	ASSERT_EQ(weir_metrics_open(&m), 0);
	add_more(m);
	ASSERT_EQ(weir_metrics_export(m, WEIR_METRICS_PROMETHEUS, keep, &self->text), 0);
	EXPECT_STREQ(self->text.bytes, "# TYPE weir_waits_seconds_total counter\n"
				       "# HELP weir_waits_seconds_total Waits\n"
				       "weir_waits_seconds_total{node=\"a\\\"b\\\\c\\nd\te\"} 1.5\n"
				       "weir_waits_seconds_total{node=\"1\"} 0.000000002\n"
				       "# TYPE weir_heat_celsius gauge\n"
				       "# HELP weir_heat_celsius Heat\n"
				       "weir_heat_celsius 45.25\n"
				       "# TYPE weir_pass_seconds summary\n"
				       "# HELP weir_pass_seconds Passes\n"
				       "weir_pass_seconds{quantile=\"0.5\"} 0.00000005\n"
				       "weir_pass_seconds{quantile=\"0.9\"} 0.00000005\n"
				       "weir_pass_seconds{quantile=\"0.99\"} 0.00000005\n"
				       "weir_pass_seconds_count 1\n"
				       "weir_pass_seconds_sum 0.00000005\n");
	weir_metrics_close(m);
}

TEST_F(export, json_reads_back_with_labels_null_and_history)
{
	struct weir_metrics *m;
	json_t *root, *list, *one;

	ASSERT_EQ(weir_metrics_open(&m), 0);
	add_more(m);
	weir_collector_round(m);
	ASSERT_EQ(weir_metrics_export(m, WEIR_METRICS_JSON | WEIR_METRICS_WITH_HISTORY, keep,
				      &self->text),
		  0);
	root = json_loads(self->text.bytes, JSON_REJECT_DUPLICATES, NULL);
	ASSERT_NE(root, NULL);
	list = json_object_get(root, "metrics");
	ASSERT_EQ(json_array_size(list), 5u);
	one = json_array_get(list, 0);
	EXPECT_STREQ(json_string_value(json_object_get(json_object_get(one, "labels"), "node")),
		     "a\"b\\c\nd\te");
	EXPECT_EQ(json_integer_value(json_object_get(one, "value")), 1500000000);
	one = json_array_get(list, 2);
	EXPECT_EQ(json_real_value(json_object_get(one, "value")), 45.25);
	one = json_object_get(json_object_get(one, "history"), "10s");
	ASSERT_EQ(json_array_size(one), 1u);
	EXPECT_EQ(json_real_value(json_array_get(json_array_get(one, 0), 1)), 45.25);
	one = json_array_get(list, 3);
	EXPECT_TRUE(json_is_null(json_object_get(one, "value")));
	json_decref(root);
	weir_metrics_close(m);
}

TEST_F(export, csv_has_a_line_per_series_and_per_point)
{
	struct weir_metrics *m;
	int lines = 0;

	ASSERT_EQ(weir_metrics_open(&m), 0);
	add_more(m);
	weir_collector_round(m);
	ASSERT_EQ(weir_metrics_export(m, WEIR_METRICS_CSV, keep, &self->text), 0);
	EXPECT_EQ(
		strncmp(self->text.bytes,
			"name,labels,kind,unit,help,time,value,count,sum,p50,p90,p99,max\r\n"
			"weir_waits_ns,\"node=\"\"a\\\"\"b\\\\c\\nd\te\"\"\",counter,ns,\"Waits\",",
			strlen("name,labels,kind,unit,help,time,value,count,sum,p50,p90,p99,max\r\n"
			       "weir_waits_ns,\"node=\"\"a\\\"\"b\\\\c\\nd\te\"\"\",counter,ns,"
			       "\"Waits\",")),
		0);
	EXPECT_NE(strstr(self->text.bytes, ",,1,50,50,50,50,50\r\n"), NULL);
	EXPECT_NE(strstr(self->text.bytes, ",45.25,,,,,,\r\n"), NULL);
	for (char *c = self->text.bytes; *c != '\0'; c++)
		lines += *c == '\r';
	EXPECT_EQ(lines, 6);
	self->text.used = 0;
	ASSERT_EQ(weir_metrics_export(m, WEIR_METRICS_CSV | WEIR_METRICS_WITH_HISTORY, keep,
				      &self->text),
		  0);
	lines = 0;
	for (char *c = self->text.bytes; *c != '\0'; c++)
		lines += *c == '\r';
	EXPECT_EQ(lines, 6 + 5 * 3);
	weir_metrics_close(m);
}

TEST_F(export, promtool_accepts_it)
{
	struct weir_metrics *m;
	FILE *promtool;

	if (system("command -v promtool >/dev/null 2>&1") != 0)
		SKIP(return, "promtool is not installed");
	ASSERT_EQ(weir_metrics_open(&m), 0);
	add_more(m);
	ASSERT_EQ(wr_metrics_watch_locks(m), 0);
	ASSERT_EQ(weir_collector_start(m, NULL, NULL), 0);
	weir_collector_round(m);
	weir_collector_stop(m);
	ASSERT_EQ(weir_metrics_export(m, WEIR_METRICS_PROMETHEUS, keep, &self->text), 0);
	promtool = popen("promtool check metrics", "w");
	ASSERT_NE(promtool, NULL);
	ASSERT_EQ(fwrite(self->text.bytes, 1, self->text.used, promtool), self->text.used);
	EXPECT_EQ(pclose(promtool), 0);
	weir_metrics_close(m);
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
