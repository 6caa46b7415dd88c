/* SPDX-License-Identifier: MIT */
/* docs/grafana.json shows what a host has, in queries that Prometheus understands. */
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include <weir/weir.h>

#include "kselftest_harness.h"

#define DASHBOARD WR_TEST_SRCDIR "/docs/grafana.json"

static int keep(void *arg, const char *text, size_t bytes)
{
	return fwrite(text, 1, bytes, arg) == bytes ? 0 : -5;
}

/* What a scrape of a host with all its parts open would get; the caller frees it. */
static char *scrape(void)
{
	struct weir_opts opts = {.size = sizeof(opts),
				 .budget_bytes = 4 << 20,
				 .page_kinds = 1u << WEIR_PAGE_4K,
				 .flags = WEIR_OPEN_PRIVATE | WEIR_OPEN_NO_PIN};
	struct weir_error err;
	struct weir *weir;
	char *text = NULL;
	size_t bytes;
	FILE *out;

	if (weir_open(&opts, &weir, &err) != 0)
		return NULL;
	if (weir_collector_start(weir_get_metrics(weir), NULL, &err) == 0)
		weir_collector_round(weir_get_metrics(weir));
	if (weir_tracker_begin(weir_get_metrics(weir), "work") != 0 ||
	    weir_tracker_end(weir_get_metrics(weir), "work", NULL) != 0)
		abort();
	out = open_memstream(&text, &bytes);
	if (out == NULL ||
	    weir_metrics_export(weir_get_metrics(weir), WEIR_METRICS_PROMETHEUS, keep, out) != 0)
		abort();
	fclose(out);
	weir_close(weir);
	return text;
}

/* Calls @fn with every query of the dashboard; how many there are, or -1. */
static int for_each_query(void (*fn)(const char *query, void *arg), void *arg)
{
	json_t *root = json_load_file(DASHBOARD, JSON_REJECT_DUPLICATES, NULL), *panel, *target;
	size_t p, t;
	int nr = 0;

	if (root == NULL)
		return -1;
	json_array_foreach(json_object_get(root, "panels"), p, panel) {
		json_array_foreach(json_object_get(panel, "targets"), t, target) {
			fn(json_string_value(json_object_get(target, "expr")), arg);
			nr++;
		}
	}
	json_decref(root);
	return nr;
}

struct wanted {
	const char *name;
	bool found;
};

/* The pattern ends at a quote. */
static bool matches(const char *pattern, const char *name)
{
	char whole[256];
	regex_t regex;
	bool is;

	snprintf(whole, sizeof(whole), "^(%.*s)$", (int)strcspn(pattern, "\""), pattern);
	if (regcomp(&regex, whole, REG_EXTENDED | REG_NOSUB) != 0)
		return false;
	is = regexec(&regex, name, 0, NULL, 0) == 0;
	regfree(&regex);
	return is;
}

/* The name stands in it, and does not go on, but for what a histogram's buckets are called. */
static void look(const char *query, void *arg)
{
	struct wanted *w = arg;
	const char *at = strstr(query, w->name), *pattern = strstr(query, "__name__=~\"");

	if (pattern != NULL) {
		w->found = w->found || matches(pattern + 11, w->name);
		return;
	}
	if (at == NULL)
		return;
	at += strlen(w->name);
	w->found = w->found || *at == '{' || strncmp(at, "_bucket{", 8) == 0;
}

TEST(every_series_of_a_host_is_in_a_panel)
{
	char *text = scrape(), *line, *save = NULL;
	int nr = 0;

	ASSERT_NE(text, NULL);
	for (line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
		char name[128];
		struct wanted w = {.name = name};

		if (sscanf(line, "# TYPE %127s", name) != 1)
			continue;
		nr++;
		EXPECT_GT(for_each_query(look, &w), 0);
		EXPECT_TRUE(w.found) TH_LOG("%s is in no panel", name);
	}
	EXPECT_GT(nr, 50);
	free(text);
}

static void put_replaced(const char *text, FILE *out)
{
	for (; *text != '\0'; text++) {
		if (strncmp(text, "$__rate_interval", 16) == 0) {
			fputs("1m", out);
			text += 15;
		} else if (strncmp(text, "$pid", 4) == 0) {
			fputs(".*", out);
			text += 3;
		} else {
			fputc(*text, out);
		}
	}
}

static void put_rule(const char *query, void *out)
{
	static int nr;

	fprintf(out, "  - record: query:%d\n    expr: '", nr++);
	put_replaced(query, out);
	fprintf(out, "'\n");
}

TEST(prometheus_understands_every_query)
{
	char path[] = "/tmp/weir-rules-XXXXXX", command[64];
	int fd;
	FILE *out;

	if (system("command -v promtool >/dev/null 2>&1") != 0)
		SKIP(return, "promtool is not installed");
	fd = mkstemp(path);
	ASSERT_GE(fd, 0);
	out = fdopen(fd, "w");
	ASSERT_NE(out, NULL);
	fprintf(out, "groups:\n- name: dashboard\n  rules:\n");
	EXPECT_GT(for_each_query(put_rule, out), 20);
	fclose(out);
	snprintf(command, sizeof(command), "promtool check rules %s >/dev/null", path);
	EXPECT_EQ(system(command), 0);
	unlink(path);
}

TEST_HARNESS_MAIN
