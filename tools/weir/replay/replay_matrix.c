/* SPDX-License-Identifier: MIT */
/*
 * replay_matrix.c - What choosing costs: auto against the best fixed policy, which only somebody
 * who has seen the trace can name, and against lru.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "policy/policy.h"
#include "replay.h"

static const uint32_t percents[] = {1, 5, 10, 20, 30, 50};
#define NR_PERCENTS (sizeof(percents) / sizeof(percents[0]))

struct sums {
	struct wr_ui_table *table;
	json_t *points;
	uint32_t nr;
	double regret, worst, over_lru, least_over_lru;
};

/* The best of what needs no forecast. */
static const struct wr_replay_result *best_static(const struct wr_replay_table *table)
{
	const struct wr_replay_point *point = &table->points[0];
	const struct wr_replay_result *best = &point->results[1];

	for (size_t i = 1; i <= table->nr_policies; i++) {
		const struct wr_replay_result *r = &point->results[i];

		if (strcmp(r->policy, "auto") && strcmp(r->policy, "forecast") &&
		    r->hits > best->hits)
			best = r;
	}
	return best;
}

static const struct wr_replay_result *named(const struct wr_replay_table *table, const char *name)
{
	size_t i = 0;

	while (strcmp(table->points[0].results[i].policy, name))
		i++;
	return &table->points[0].results[i];
}

static void add_point(struct sums *s, const struct wr_replay_table *table, uint32_t percent)
{
	const struct wr_replay_result *best = best_static(table);
	const struct wr_replay_result *chosen = named(table, "auto");
	double lru = 100 * wr_replay_hits(table->trace, named(table, "lru"));
	double hits = 100 * wr_replay_hits(table->trace, chosen);
	double regret = 100 * wr_replay_hits(table->trace, best) - hits;
	const char *name = strrchr(table->path, '/') ? strrchr(table->path, '/') + 1 : table->path;

	s->worst = s->nr && s->worst > regret ? s->worst : regret;
	s->least_over_lru =
		s->nr && s->least_over_lru < hits - lru ? s->least_over_lru : hits - lru;
	s->regret += regret;
	s->over_lru += hits - lru;
	s->nr++;
	json_array_append_new(s->points,
			      json_pack("{s:o, s:i, s:f, s:f, s:s, s:f, s:f, s:f, s:o}", "trace",
					wr_ui_json_text(name), "percent", (int)percent, "opt",
					wr_replay_hits(table->trace, &table->points[0].results[0]),
					"best", wr_replay_hits(table->trace, best), "best_policy",
					best->policy, "auto", hits / 100, "lru", lru / 100,
					"regret_points", regret, "changes",
					wr_ui_json_u64(chosen->nr_changes)));
	wr_ui_table_cell(s->table, "%.24s", name);
	wr_ui_table_cell(s->table, "%u %%", percent);
	wr_ui_table_cell(s->table, "%.2f",
			 100 * wr_replay_hits(table->trace, &table->points[0].results[0]));
	wr_ui_table_cell(s->table, "%.2f", lru);
	wr_ui_table_cell(s->table, "%.2f", 100 * wr_replay_hits(table->trace, best));
	wr_ui_table_cell(s->table, "%s", best->policy);
	wr_ui_table_cell(s->table, "%.2f", hits);
	wr_ui_table_cell(s->table, "%.2f", regret);
}

static int run_trace(struct sums *s, const char *path, uint64_t block_bytes, bool quiet,
		     struct weir_error *err)
{
	struct wr_ui_progress progress;
	struct wr_replay_opts opts = {.progress = &progress};
	struct wr_replay_point point;
	struct wr_replay_table table = {.path = path, .points = &point, .nr_points = 1};
	struct wr_trace trace;
	int rc = wr_trace_open(path, block_bytes, quiet, &trace, err);

	if (rc)
		return rc;
	table.trace = &trace;
	while (wr_policy_name(table.nr_policies)) {
		table.policies[table.nr_policies] = wr_policy_name(table.nr_policies);
		table.nr_policies++;
	}
	wr_ui_progress_start(&progress, path,
			     trace.ref_bytes * (table.nr_policies + 1) * NR_PERCENTS, quiet);
	for (size_t i = 0; !rc && i < NR_PERCENTS; i++) {
		point.capacity = wr_max(trace.object_bytes / 100 * percents[i], (uint64_t)1);
		rc = wr_replay_fill(&table, &opts);
		opts.done += trace.ref_bytes * (table.nr_policies + 1);
		if (!rc)
			add_point(s, &table, percents[i]);
	}
	wr_ui_progress_end(&progress);
	wr_trace_close(&trace);
	return rc ? wr_error_set(err, rc, path, WEIR_OFFSET_NONE, "the replay failed") : 0;
}

static int print_sums(struct sums *s, bool json)
{
	int rc;

	if (json) {
		rc = wr_ui_json_print(json_pack(
			"{s:O, s:f, s:f, s:f, s:f}", "points", s->points, "mean_regret_points",
			s->regret / s->nr, "worst_regret_points", s->worst, "mean_over_lru_points",
			s->over_lru / s->nr, "least_over_lru_points", s->least_over_lru));
		return rc;
	}
	rc = wr_ui_table_print(s->table, stdout);
	printf("\n");
	wr_ui_say("auto against the best fixed policy of each of %u points: mean regret %.2f "
		  "points, worst %.2f; against lru: mean %+.2f, worst %+.2f.",
		  s->nr, s->regret / s->nr, s->worst, s->over_lru / s->nr, s->least_over_lru);
	return rc ? WR_EXIT_FAILED : WR_EXIT_OK;
}

int wr_replay_matrix(char *const *paths, size_t nr, uint64_t block_bytes, bool json)
{
	static const struct wr_ui_column columns[] = {
		{"trace", WR_UI_CUT},  {"size", WR_UI_RIGHT},  {"opt", WR_UI_RIGHT},
		{"lru", WR_UI_RIGHT},  {"best", WR_UI_RIGHT},  {"which", WR_UI_LEFT},
		{"auto", WR_UI_RIGHT}, {"regret", WR_UI_RIGHT}};
	struct sums s = {.table = wr_ui_table_open(columns, 8), .points = json_array()};
	struct weir_error err = {0};
	char generated[64];
	int rc = 0;

	for (size_t i = 0; !rc && i < nr; i++)
		rc = run_trace(&s, paths[i], block_bytes, json, &err);
	for (size_t i = 0; !rc && wr_trace_generator(i); i++) {
		snprintf(generated, sizeof(generated), "gen:%s", wr_trace_generator(i));
		rc = run_trace(&s, generated, block_bytes, json, &err);
	}
	if (rc == -EINTR)
		rc = wr_ui_fail_interrupted(json, "replay");
	else if (rc)
		rc = wr_ui_fail(json, "replay", &err);
	else
		rc = print_sums(&s, json);
	wr_ui_table_close(s.table);
	json_decref(s.points);
	return rc;
}
