/* SPDX-License-Identifier: MIT */
/*
 * replay_print.c - What a replay found: tables, JSON, a picture.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replay.h"
#include "svg.h"

#include "base/util.h"

static const char bound_exact[] = "opt is Belady's order: no policy can have more hits";
static const char bound_approximate[] =
	"opt is Belady's order, which is an approximation of the best where sizes differ";

static const struct wr_replay_result *find(const struct wr_replay_table *table,
					   const struct wr_replay_point *point, const char *policy)
{
	for (size_t i = 0; i <= table->nr_policies; i++)
		if (!strcmp(point->results[i].policy, policy))
			return &point->results[i];
	return NULL;
}

static double regret(const struct wr_replay_table *table, const struct wr_replay_point *point,
		     const struct wr_replay_result *r)
{
	return 100 *
	       (wr_replay_hits(table->trace, &point->results[0]) - wr_replay_hits(table->trace, r));
}

static void print_head(const struct wr_replay_table *table)
{
	const struct wr_trace *t = table->trace;
	char a[WR_UI_TEXT], b[WR_UI_TEXT];

	printf("%s: format %s, %" PRIu64 " references to %" PRIu64 " things\n", table->path,
	       t->format, t->nr_refs, t->nr_objects);
	printf("%s in all, %s referred to%s\n\n", wr_ui_bytes(a, t->object_bytes),
	       wr_ui_bytes(b, t->ref_bytes), t->is_uniform ? ", all of one size" : "");
	if (t->nr_resized)
		printf("%" PRIu64
		       " references give another size than the first; that one counts\n\n",
		       t->nr_resized);
}

/* What auto did, and the warning. */
static void print_auto(const struct wr_replay_table *table, const struct wr_replay_point *point)
{
	const struct wr_replay_result *r = find(table, point, "auto");
	char a[WR_UI_TEXT], b[WR_UI_TEXT];

	if (!r)
		return;
	wr_ui_say("auto ends with %s after %" PRIu64 " changes%s%s.", r->chosen, r->nr_changes,
		  *r->reason ? "; the last because " : "", r->reason);
	if (r->below_cycle)
		wr_ui_say("Warning: the budget, %s, is below one cycle of %s: an order by recency "
			  "hits nothing or little; a resident part does.",
			  wr_ui_memory(a, point->capacity), wr_ui_memory(b, r->cycle_bytes));
}

static int print_point(const struct wr_replay_table *table, const struct wr_replay_point *point)
{
	static const struct wr_ui_column columns[] = {
		{"policy", WR_UI_LEFT},	   {"hits", WR_UI_RIGHT},    {"bytes hit", WR_UI_RIGHT},
		{"regret", WR_UI_RIGHT},   {"evicted", WR_UI_RIGHT}, {"passed", WR_UI_RIGHT},
		{"read time", WR_UI_RIGHT}};
	struct wr_ui_table *t = wr_ui_table_open(columns, table->is_timed ? 7 : 6);
	char text[WR_UI_TEXT];
	int rc;

	for (size_t i = 0; i <= table->nr_policies; i++) {
		const struct wr_replay_result *r = &point->results[i];

		wr_ui_table_cell(t, "%s", r->policy);
		wr_ui_table_cell(t, "%.2f %%", 100 * wr_replay_hits(table->trace, r));
		wr_ui_table_cell(t, "%.2f %%", 100 * wr_replay_hit_bytes(table->trace, r));
		wr_ui_table_cell(t, "%.2f", regret(table, point, r));
		wr_ui_table_cell(t, "%" PRIu64, r->evictions);
		wr_ui_table_cell(t, "%" PRIu64, r->passed);
		if (table->is_timed)
			wr_ui_table_cell(t, "%s", wr_ui_duration(text, r->seconds));
	}
	printf("budget %s\n", wr_ui_memory(text, point->capacity));
	rc = wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	printf("\n");
	print_auto(table, point);
	return rc;
}

/* Several sizes: a column each, as many as there is room for in a line. */
static int print_sizes(const struct wr_replay_table *table, size_t from, size_t to)
{
	struct wr_ui_column columns[16] = {{"hits, %", WR_UI_LEFT}};
	char titles[16][WR_UI_TEXT];
	struct wr_ui_table *t;
	int rc;

	for (size_t i = from; i < to; i++)
		columns[1 + i - from] = (struct wr_ui_column){
			wr_ui_memory(titles[i - from], table->points[i].capacity), WR_UI_RIGHT};
	t = wr_ui_table_open(columns, 1 + to - from);
	for (size_t p = 0; p <= table->nr_policies; p++) {
		wr_ui_table_cell(t, "%s", table->points[0].results[p].policy);
		for (size_t i = from; i < to; i++)
			wr_ui_table_cell(
				t, "%.2f",
				100 * wr_replay_hits(table->trace, &table->points[i].results[p]));
	}
	rc = wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	printf("\n");
	return rc;
}

int wr_replay_print_text(const struct wr_replay_table *table)
{
	const size_t in_a_line = 5;
	int rc = 0;

	print_head(table);
	if (table->nr_points == 1) {
		rc = print_point(table, &table->points[0]);
	} else {
		for (size_t i = 0; !rc && i < table->nr_points; i += in_a_line)
			rc = print_sizes(table, i,
					 i + in_a_line < table->nr_points ? i + in_a_line
									  : table->nr_points);
	}
	wr_ui_say("%s; regret is in points below it.",
		  table->trace->is_uniform ? bound_exact : bound_approximate);
	return rc ? WR_EXIT_FAILED : WR_EXIT_OK;
}

static json_t *json_result(const struct wr_replay_table *table, const struct wr_replay_point *point,
			   const struct wr_replay_result *r)
{
	json_t *o = json_pack("{s:s, s:f, s:f, s:f, s:o, s:o, s:o, s:o}", "policy", r->policy,
			      "hit_ratio", wr_replay_hits(table->trace, r), "byte_hit_ratio",
			      wr_replay_hit_bytes(table->trace, r), "regret_points",
			      regret(table, point, r), "hits", wr_ui_json_u64(r->hits), "hit_bytes",
			      wr_ui_json_u64(r->hit_bytes), "evictions",
			      wr_ui_json_u64(r->evictions), "passed", wr_ui_json_u64(r->passed));

	json_object_set_new(o, "read_seconds",
			    table->is_timed ? json_real(r->seconds) : json_null());
	if (strcmp(r->policy, "auto"))
		return o;
	json_object_set_new(o, "chosen", json_string(r->chosen));
	json_object_set_new(o, "changes", wr_ui_json_u64(r->nr_changes));
	json_object_set_new(o, "reason", json_string(r->reason));
	json_object_set_new(o, "cycle_bytes", wr_ui_json_u64(r->cycle_bytes));
	json_object_set_new(o, "below_cycle", json_boolean(r->below_cycle));
	return o;
}

int wr_replay_print_json(const struct wr_replay_table *table)
{
	const struct wr_trace *t = table->trace;
	json_t *sizes = json_array();

	for (size_t i = 0; i < table->nr_points; i++) {
		const struct wr_replay_point *point = &table->points[i];
		json_t *results = json_array();

		for (size_t p = 0; p <= table->nr_policies; p++)
			json_array_append_new(results,
					      json_result(table, point, &point->results[p]));
		json_array_append_new(sizes, json_pack("{s:o, s:o}", "budget_bytes",
						       wr_ui_json_u64(point->capacity), "results",
						       results));
	}
	return wr_ui_json_print(
		json_pack("{s:{s:o, s:s, s:o, s:o, s:o, s:o, s:b}, s:s, s:o}", "trace", "path",
			  wr_ui_json_text(table->path), "format", t->format, "references",
			  wr_ui_json_u64(t->nr_refs), "things", wr_ui_json_u64(t->nr_objects),
			  "bytes", wr_ui_json_u64(t->object_bytes), "referred_bytes",
			  wr_ui_json_u64(t->ref_bytes), "uniform", t->is_uniform, "bound",
			  t->is_uniform ? "exact" : "approximate", "sizes", sizes));
}

int wr_replay_draw(const struct wr_replay_table *table, const char *path, struct weir_error *err)
{
	struct wr_svg_series series[WR_SVG_MAX_SERIES];
	const char *groups[WR_REPLAY_MAX_SIZES];
	char names[WR_REPLAY_MAX_SIZES][WR_UI_TEXT];
	char title[160], subtitle[160], a[WR_UI_TEXT];
	double *values = calloc((table->nr_policies + 1) * table->nr_points, sizeof(*values));
	const struct wr_svg_panel panel = {.title = "hits",
					   .unit = "% of references",
					   .group_axis = "budget",
					   .groups = groups,
					   .nr_groups = table->nr_points,
					   .series = series,
					   .nr_series = 0};
	struct wr_svg_panel drawn = panel;
	const struct wr_svg_chart chart = {
		.title = title, .subtitle = subtitle, .panels = &drawn, .nr_panels = 1};
	int rc;

	if (!values)
		return wr_error_set(err, -ENOMEM, path, WEIR_OFFSET_NONE, "no memory to draw");
	for (size_t i = 0; i < table->nr_points; i++)
		groups[i] = wr_ui_memory(names[i], table->points[i].capacity);
	for (size_t p = 0; p <= table->nr_policies; p++) {
		const char *name = table->points[0].results[p].policy;
		double *v = values + p * table->nr_points;

		/* The yardstick makes room where there are more lines than colours. */
		if (drawn.nr_series == WR_SVG_MAX_SERIES ||
		    (table->nr_policies >= WR_SVG_MAX_SERIES && !strcmp(name, "fifo")))
			continue;
		for (size_t i = 0; i < table->nr_points; i++)
			v[i] = 100 * wr_replay_hits(table->trace, &table->points[i].results[p]);
		series[drawn.nr_series++] =
			(struct wr_svg_series){.name = name, .values = v, .line = true};
	}
	snprintf(title, sizeof(title), "Hits over cache size");
	snprintf(subtitle, sizeof(subtitle), "%.80s\n%" PRIu64 " references, %s",
		 strrchr(table->path, '/') ? strrchr(table->path, '/') + 1 : table->path,
		 table->trace->nr_refs, wr_ui_bytes(a, table->trace->object_bytes));
	rc = wr_svg_write(&chart, path, err);
	free(values);
	return rc;
}
