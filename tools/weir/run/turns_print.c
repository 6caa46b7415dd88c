/* SPDX-License-Identifier: MIT */
/* What came of a run of turns, as a table or as JSON. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "turns.h"
#include "ui.h"

static bool is_mapped(const struct wr_turns_result *r)
{
	return r->backend == WR_ARM_MMAP;
}

/* ---- text ---- */

static void budget_row(struct wr_ui_table *t, const struct wr_turns_result *r)
{
	char a[WR_UI_TEXT], b[WR_UI_TEXT], c[WR_UI_TEXT], d[WR_UI_TEXT + 40];

	wr_ui_table_cell(t, "budget");
	if (is_mapped(r)) {
		wr_ui_table_cell(t, "none of its own");
		return;
	}
	if (r->vision_bytes)
		(void)snprintf(d, sizeof(d), ", %s for the vision tower's slots",
			       wr_ui_memory(c, r->vision_bytes));
	else
		d[0] = '\0';
	wr_ui_table_cell(t, "%s: %s for what is always used, %s for the rest%s",
			 wr_ui_memory(a, r->budget_bytes), wr_ui_memory(b, r->share.stream_bytes),
			 wr_ui_memory(c, r->share.cache_bytes), d);
}

static void policy_row(struct wr_ui_table *t, const struct wr_turns_result *r)
{
	const struct weir_cache_policy *p = &r->policy;
	char choice[64], why[256];
	bool is_auto = strcmp(p->name, "auto") == 0 && p->chosen[0];

	(void)snprintf(choice, sizeof(choice), "%s%s%s", p->name, is_auto ? ", now " : "",
		       is_auto ? p->chosen : "");
	(void)snprintf(why, sizeof(why), "%s%s%s", p->reason,
		       p->reason[0] && r->share.below_cycle ? "; " : "",
		       r->share.below_cycle ? "a token uses more than the budget" : "");
	wr_ui_reason(t, "policy", choice, why);
}

static int print_head(const struct wr_turns *t, const struct wr_turns_result *r)
{
	static const struct wr_ui_column columns[] = {{"", WR_UI_LEFT}, {"", WR_UI_WRAP}};
	struct wr_ui_table *table = wr_ui_table_open(columns, 2);
	char a[WR_UI_TEXT], b[WR_UI_TEXT];
	int rc;

	printf("%s: %" PRIu64 " tensors, %s\n", t->arm.path, r->nr_tensors,
	       wr_ui_bytes(a, r->model_bytes));
	if (r->experts.nr_layers) {
		wr_ui_table_cell(table, "experts");
		wr_ui_table_cell(table, "%u layers of %u, at most %u a token; routing: %s",
				 r->experts.nr_layers, r->experts.nr_experts, r->nr_chosen,
				 t->routing ? t->routing : "generated");
	}
	if (!is_mapped(r)) {
		wr_ui_table_cell(table, "token");
		wr_ui_table_cell(table, "uses %s, %s of it always",
				 wr_ui_bytes(a, r->share.cycle_bytes),
				 wr_ui_bytes(b, r->share.dense_bytes));
	}
	budget_row(table, r);
	if (r->experts.nr_layers && !is_mapped(r))
		policy_row(table, r);
	wr_ui_reason(table, "io", wr_arm_backend_name(r->backend), is_mapped(r) ? "" : r->reason);
	if (!is_mapped(r))
		wr_ui_reason(table, "pages", weir_page_kind_name((int)r->page_kind),
			     r->page_reason);
	rc = wr_ui_table_print(table, stdout);
	wr_ui_table_close(table);
	return rc;
}

static void hit_cell(struct wr_ui_table *t, uint64_t hits, uint64_t refs)
{
	if (refs)
		wr_ui_table_cell(t, "%.1f%%", 100.0 * (double)hits / (double)refs);
	else
		wr_ui_table_cell(t, "-");
}

static int print_turns(const struct wr_turns_result *r)
{
	static const struct wr_ui_column columns[] = {
		{"turn", WR_UI_LEFT},	  {"time", WR_UI_RIGHT}, {"read", WR_UI_RIGHT},
		{"experts", WR_UI_RIGHT}, {"hit", WR_UI_RIGHT},	 {"waited", WR_UI_RIGHT},
		{"p50", WR_UI_RIGHT},	  {"p99", WR_UI_RIGHT},	 {"checksum", WR_UI_LEFT}};
	struct wr_ui_table *t = wr_ui_table_open(columns, sizeof(columns) / sizeof(columns[0]));
	char text[WR_UI_TEXT];
	int rc;

	for (uint32_t i = 0; i < r->nr_turns; i++) {
		const struct wr_turn *n = &r->turns[i];

		wr_ui_table_cell(t, "%u %s", i + 1, n->has_image ? "i" : "t");
		wr_ui_table_cell(t, "%s", wr_ui_duration(text, (double)n->ns / 1e9));
		wr_ui_table_cell(t, "%s", wr_ui_bytes(text, n->vision_read + n->dense_read));
		wr_ui_table_cell(t, "%s", wr_ui_bytes(text, n->expert_read));
		if (is_mapped(r))
			wr_ui_table_cell(t, "-");
		else
			hit_cell(t, n->nr_hits, n->nr_refs);
		wr_ui_table_cell(t, "%s", wr_ui_duration(text, (double)n->stall_ns / 1e9));
		if (is_mapped(r)) {
			wr_ui_table_cell(t, "-");
			wr_ui_table_cell(t, "-");
		} else {
			wr_ui_table_cell(t, "%s",
					 wr_ui_duration(text, (double)n->wait_p50_ns / 1e9));
			wr_ui_table_cell(t, "%s",
					 wr_ui_duration(text, (double)n->wait_p99_ns / 1e9));
		}
		wr_ui_table_cell(t, "%08" PRIx64, n->checksum >> 32 ^ (n->checksum & UINT32_MAX));
	}
	printf("\n");
	rc = wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	return rc;
}

static double per_token(const struct wr_turns_result *r, double *ret_bytes)
{
	uint64_t ns = 0, bytes = 0, tokens = 0;

	for (uint32_t i = 0; i < r->nr_turns; i++) {
		ns += r->turns[i].ns;
		bytes += r->turns[i].dense_read + r->turns[i].expert_read;
		tokens += r->turns[i].nr_tokens;
	}
	*ret_bytes = tokens ? (double)bytes / (double)tokens : 0;
	return tokens ? (double)ns / 1e9 / (double)tokens : 0;
}

/* Of each way of foreseeing that has said something. */
static void print_sources(const struct wr_turns_result *r)
{
	for (uint32_t i = 0; i < r->nr_sources; i++) {
		const struct weir_cache_ahead_source *s = &r->sources[i];

		if (s->nr_told)
			printf("  %-9s %" PRIu64 " foreseen, believed %.0f %%; %" PRIu64
			       " reads, %" PRIu64 " useful, %" PRIu64 " late\n",
			       s->name, s->nr_told, (double)s->confidence_permille / 10,
			       s->nr_started, s->nr_useful, s->nr_late);
	}
}

static void print_ahead(const struct weir_cache_ahead_stats *s)
{
	char a[WR_UI_TEXT], b[WR_UI_TEXT];

	printf("ahead: %s; %" PRIu64 " reads begun, %" PRIu64 " useful, %" PRIu64 " late, %" PRIu64
	       " in vain; %s in vain, %s of thinking\n",
	       s->off_why ? "off" : "on", s->nr_started, s->nr_useful, s->nr_late,
	       s->nr_wasted + s->nr_cancelled, wr_ui_bytes(a, s->wasted_bytes),
	       wr_ui_duration(b, (double)s->spent_ns / 1e9));
}

int wr_turns_print_text(const struct wr_turns *t, const struct wr_turns_result *r)
{
	const struct weir_cache_stats *kv = &r->classes[WEIR_CLASS_KV];
	char a[WR_UI_TEXT], b[WR_UI_TEXT], c[WR_UI_TEXT];
	double bytes, seconds = per_token(r, &bytes);
	int rc = print_head(t, r);

	rc |= print_turns(r);
	printf("\na token: %s, %s read\n", wr_ui_duration(a, seconds),
	       wr_ui_bytes(b, (uint64_t)bytes));
	if (r->kv.nr_put)
		printf("KV: %" PRIu64 " blocks put, %" PRIu64 " to disk, %" PRIu64 " back; %" PRIu64
		       " looked at, %" PRIu64 " wrong, %" PRIu64 " lost\n",
		       r->kv.nr_put, kv->nr_demotions, r->stored.nr_hits, r->kv.nr_checked,
		       r->kv.nr_wrong, r->kv.nr_lost);
	if (t->ahead && !is_mapped(r)) {
		print_ahead(&r->ahead);
		print_sources(r);
	}
	if (r->rows.nr_tables && !is_mapped(r))
		printf("rows: %" PRIu64 " of %s asked for, %" PRIu64
		       " read, %s; the tables have %s\n",
		       r->rows.nr_got, wr_ui_memory(a, r->rows.row_bytes), r->rows.nr_read,
		       wr_ui_bytes(b, r->rows.read_bytes), wr_ui_bytes(c, r->rows.table_bytes));
	if (t->trace_out)
		printf("%" PRIu64 " references in %s\n", r->trace_refs, t->trace_out);
	printf("peak memory of the process: %s\n", wr_ui_memory(a, r->peak_bytes));
	return rc || r->kv.nr_wrong || r->kv.nr_lost ? WR_EXIT_FAILED : WR_EXIT_OK;
}

/* ---- JSON ---- */

static json_t *json_ns(const struct wr_turns_result *r, uint64_t ns)
{
	return is_mapped(r) ? json_null() : json_real((double)ns / 1e9);
}

static json_t *json_turn(const struct wr_turns_result *r, const struct wr_turn *n)
{
	char checksum[20];

	(void)snprintf(checksum, sizeof(checksum), "%016" PRIx64, n->checksum);
	return json_pack(
		"{s:s, s:i, s:f, s:o, s:o, s:o, s:o, s:o, s:f, s:f, s:o, s:o, s:s}", "kind",
		n->has_image ? "image" : "text", "tokens", (int)n->nr_tokens, "seconds",
		(double)n->ns / 1e9, "vision_read_bytes", wr_ui_json_u64(n->vision_read),
		"read_bytes", wr_ui_json_u64(n->dense_read), "expert_read_bytes",
		wr_ui_json_u64(n->expert_read), "experts_used", wr_ui_json_u64(n->nr_refs),
		"experts_hit", is_mapped(r) ? json_null() : wr_ui_json_u64(n->nr_hits),
		"stall_seconds", (double)n->stall_ns / 1e9, "compute_seconds",
		(double)n->compute_ns / 1e9, "wait_p50_seconds", json_ns(r, n->wait_p50_ns),
		"wait_p99_seconds", json_ns(r, n->wait_p99_ns), "checksum", checksum);
}

static json_t *json_class(const struct weir_cache_stats *s)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "gets",
			 wr_ui_json_u64(s->nr_gets), "hits", wr_ui_json_u64(s->nr_hits), "misses",
			 wr_ui_json_u64(s->nr_misses), "waits", wr_ui_json_u64(s->nr_waits),
			 "fill_bytes", wr_ui_json_u64(s->fill_bytes), "evictions",
			 wr_ui_json_u64(s->nr_evictions), "passed", wr_ui_json_u64(s->nr_passed),
			 "prefetches", wr_ui_json_u64(s->nr_prefetches), "useful",
			 wr_ui_json_u64(s->nr_useful), "late", wr_ui_json_u64(s->nr_late), "wasted",
			 wr_ui_json_u64(s->nr_wasted));
}

static json_t *json_kv(const struct wr_turns_result *r)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "put", wr_ui_json_u64(r->kv.nr_put),
			 "demoted", wr_ui_json_u64(r->classes[WEIR_CLASS_KV].nr_demotions),
			 "came_back", wr_ui_json_u64(r->stored.nr_hits), "checked",
			 wr_ui_json_u64(r->kv.nr_checked), "wrong", wr_ui_json_u64(r->kv.nr_wrong),
			 "lost", wr_ui_json_u64(r->kv.nr_lost));
}

static json_t *json_sources(const struct wr_turns_result *r)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < r->nr_sources; i++) {
		const struct weir_cache_ahead_source *s = &r->sources[i];
		json_t *one = json_pack(
			"{s:s, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name", s->name,
			"confidence_permille", (int)s->confidence_permille, "told",
			wr_ui_json_u64(s->nr_told), "judged", wr_ui_json_u64(s->nr_judged), "right",
			wr_ui_json_u64(s->nr_right), "started", wr_ui_json_u64(s->nr_started),
			"useful", wr_ui_json_u64(s->nr_useful), "late", wr_ui_json_u64(s->nr_late),
			"wasted", wr_ui_json_u64(s->nr_wasted), "cancelled",
			wr_ui_json_u64(s->nr_cancelled));

		if (json_array_append_new(list, one)) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *json_ahead(const struct wr_turns_result *r)
{
	const struct weir_cache_ahead_stats *s = &r->ahead;

	return json_pack(
		"{s:s, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:f, s:o}",
		"off", weir_cache_ahead_off_name(s->off_why), "precision_permille",
		(int)s->precision_permille, "references", wr_ui_json_u64(s->nr_references), "lost",
		wr_ui_json_u64(s->nr_lost), "forecasts", wr_ui_json_u64(s->nr_forecasts), "started",
		wr_ui_json_u64(s->nr_started), "useful", wr_ui_json_u64(s->nr_useful), "late",
		wr_ui_json_u64(s->nr_late), "wasted", wr_ui_json_u64(s->nr_wasted), "cancelled",
		wr_ui_json_u64(s->nr_cancelled), "wasted_bytes", wr_ui_json_u64(s->wasted_bytes),
		"stops", wr_ui_json_u64(s->nr_stops), "stopped_at", wr_ui_json_u64(s->stopped_at),
		"spent_seconds", (double)s->spent_ns / 1e9, "sources", json_sources(r));
}

static json_t *json_rows(const struct wr_turns_result *r)
{
	const struct wr_turns_rows *n = &r->rows;

	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:f}", "tables", wr_ui_json_u64(n->nr_tables),
			 "table_bytes", wr_ui_json_u64(n->table_bytes), "asked",
			 wr_ui_json_u64(n->nr_got), "read", wr_ui_json_u64(n->nr_read),
			 "read_bytes", wr_ui_json_u64(n->read_bytes), "seconds",
			 (double)n->ns / 1e9);
}

static json_t *json_budget(const struct wr_turns_result *r)
{
	if (is_mapped(r))
		return json_null();
	return json_pack(
		"{s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "bytes", wr_ui_json_u64(r->budget_bytes),
		"stream_bytes", wr_ui_json_u64(r->share.stream_bytes), "cache_bytes",
		wr_ui_json_u64(r->share.cache_bytes), "vision_bytes",
		wr_ui_json_u64(r->vision_bytes), "always_used_bytes",
		wr_ui_json_u64(r->share.dense_bytes), "token_bytes",
		wr_ui_json_u64(r->share.cycle_bytes), "below_token", (int)r->share.below_cycle);
}

static json_t *json_model(const struct wr_turns *t, const struct wr_turns_result *r)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:i, s:i, s:i}", "path",
			 wr_ui_json_text(t->arm.path), "bytes", wr_ui_json_u64(r->model_bytes),
			 "tensors", wr_ui_json_u64(r->nr_tensors), "groups",
			 wr_ui_json_u64(r->nr_groups), "expert_layers", (int)r->experts.nr_layers,
			 "experts", (int)r->experts.nr_experts, "chosen", (int)r->nr_chosen);
}

int wr_turns_print_json(const struct wr_turns *t, const struct wr_turns_result *r)
{
	bool mapped = is_mapped(r);
	json_t *turns = json_array();
	int rc;

	for (uint32_t i = 0; i < r->nr_turns; i++)
		json_array_append_new(turns, json_turn(r, &r->turns[i]));
	rc = wr_ui_json_print(json_pack(
		"{s:o, s:o, s:o, s:s, s:s, s:s, s:s, s:i, s:s, s:s, s:s, s:s, s:f, s:f, "
		"s:o, s:o, s:o, s:o, s:o, s:o}",
		"model", json_model(t, r), "budget", json_budget(r), "peak_bytes",
		wr_ui_json_u64(r->peak_bytes), "backend", wr_arm_backend_name(r->backend),
		"backend_reason", mapped ? "asked for" : r->reason, "page_kind",
		mapped ? "page cache" : weir_page_kind_name((int)r->page_kind), "page_kind_reason",
		r->page_reason, "threads", (int)r->threads, "variant", r->variant, "policy",
		t->policy ? t->policy : "auto", "policy_chosen", r->policy.chosen, "policy_reason",
		r->policy.reason, "open_seconds", (double)r->open_ns / 1e9, "cpu_seconds",
		(double)r->cpu_ns / 1e9, "turns", turns, "experts",
		json_class(&r->classes[WEIR_CLASS_EXPERTS]), "kv", json_kv(r), "rows", json_rows(r),
		"ahead", t->ahead ? json_ahead(r) : json_null(), "trace_references",
		wr_ui_json_u64(r->trace_refs)));
	return rc || r->kv.nr_wrong || r->kv.nr_lost ? WR_EXIT_FAILED : WR_EXIT_OK;
}
