/* SPDX-License-Identifier: MIT */
/*
 * weir bench stream, of a mixture of experts - turns of tokens under a budget: weir, the same with
 * the cache fetching ahead, and a mapping of the files under the same memory limit, of which the
 * pages are touched of the experts that the same routing names.
 */
#include "bench_mixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "peak.h"
#include "turns.h"
#include "ui.h"

/* Tokens of a turn, in passes; of the turns the first is for warming up. */
#define TOKENS	4u
#define PATTERN "ttt"
/* A token of the published models uses one in sixteen. */
#define CHOSEN_PART 16u

enum arm { ALONE, AHEAD, MAPPED, NR_ARMS };

static const char *const arm_names[] = {"weir", "weir, fetching ahead", "mmap, same limit"};

struct mixture_case {
	uint32_t permille; /* of what the model has */
	uint64_t budget;
	struct wr_bench_series seconds[NR_ARMS], read[NR_ARMS]; /* of a token */
	struct wr_bench_series hits[NR_ARMS];			/* % */
	struct wr_bench_series p99[NR_ARMS];			/* ms that a layer waits */
	struct wr_bench_series speedup, ahead_speedup, ahead_hits, ahead_p99, over_budget;
	bool checksums_equal;
};

struct mixture_bench {
	const struct wr_bench_args *args;
	struct wr_bench_model m;
	uint32_t nr_chosen;
	bool has_limit;
	char no_limit[256];
	struct weir_error err;
	struct wr_turns_result results[NR_ARMS];
	uint64_t peaks[NR_ARMS];
};

static int run_turns(void *arg, void *result)
{
	struct wr_turns_result *r = result;
	int rc;

	wr_ui_interrupt_init();
	rc = wr_turns_run(arg, r);
	if (rc && !r->err.code)
		r->err.code = rc;
	return 0;
}

static int run_arm(struct mixture_bench *b, const struct mixture_case *c, enum arm arm)
{
	struct wr_turns turns = {
		.arm = {.path = b->args->path,
			.backend = arm == MAPPED ? WR_ARM_MMAP : WEIR_IO_AUTO,
			.budget_bytes = c->budget,
			.plan = {.size = sizeof(struct weir_plan), .unit = (uint32_t)b->args->unit},
			.passes = TOKENS * b->args->passes,
			.compute = (enum wr_compute)b->args->compute},
		.pattern = PATTERN,
		.nr_chosen = b->nr_chosen,
		.seed = 1,
		.ahead = arm == AHEAD};
	struct wr_turns_result *r = &b->results[arm];
	struct wr_limit_report report = {0};
	int rc;

	memset(r, 0, sizeof(*r));
	if (arm == MAPPED && !b->has_limit)
		return 0;
	for (size_t i = 0; i < b->m.nr_files; i++)
		wr_peak_drop_cache(b->m.files[i]);
	rc = wr_limit_run(b->has_limit ? c->budget + WR_BENCH_OVERHEAD_BYTES : 0, run_turns, &turns,
			  r, sizeof(*r), &report, &b->err);
	if (rc)
		return rc;
	if (r->interrupted || report.status == WR_EXIT_INTERRUPTED || wr_ui_interrupted())
		return -EINTR;
	if (!r->err.code && r->nr_turns != strlen(PATTERN))
		return wr_error_set(&b->err, -EIO, NULL, WEIR_OFFSET_NONE,
				    "%s: the child ended with status %d (%llu OOM kills)",
				    arm_names[arm], report.status,
				    (unsigned long long)report.oom_kills);
	b->peaks[arm] = r->peak_bytes > report.peak_bytes ? r->peak_bytes : report.peak_bytes;
	if (r->err.code)
		b->err = r->err;
	return r->err.code;
}

/* Of turns after the first, a token. */
static double note_arm(const struct wr_turns_result *r, struct mixture_case *c, enum arm arm)
{
	uint64_t ns = 0, read = 0, tokens = 0, refs = 0, hits = 0, p99 = 0;

	for (uint32_t i = 1; i < r->nr_turns; i++) {
		const struct wr_turn *t = &r->turns[i];

		ns += t->ns;
		read += t->dense_read + t->expert_read;
		tokens += t->nr_tokens;
		refs += t->nr_refs;
		hits += t->nr_hits;
		p99 = t->wait_p99_ns > p99 ? t->wait_p99_ns : p99;
	}
	if (!tokens || !refs)
		return 0;
	wr_bench_add(&c->seconds[arm], (double)ns / 1e9 / (double)tokens);
	wr_bench_add(&c->read[arm], (double)read / 1e6 / (double)tokens);
	if (arm != MAPPED) {
		wr_bench_add(&c->hits[arm], 100.0 * (double)hits / (double)refs);
		wr_bench_add(&c->p99[arm], (double)p99 / 1e6);
	}
	return (double)ns / 1e9 / (double)tokens;
}

static double last(const struct wr_bench_series *s)
{
	return s->nr ? s->v[s->nr - 1] : 0;
}

static void note_round(struct mixture_bench *b, struct mixture_case *c)
{
	double seconds[NR_ARMS];

	for (int arm = 0; arm < NR_ARMS; arm++) {
		const struct wr_turns_result *r = &b->results[arm];

		seconds[arm] = note_arm(r, c, (enum arm)arm);
		for (uint32_t i = 0; i < r->nr_turns; i++)
			c->checksums_equal &=
				r->turns[i].checksum == b->results[ALONE].turns[i].checksum;
	}
	wr_bench_add(&c->ahead_speedup, seconds[ALONE] / seconds[AHEAD]);
	wr_bench_add(&c->ahead_hits, last(&c->hits[AHEAD]) - last(&c->hits[ALONE]));
	if (last(&c->p99[ALONE]) > 0)
		wr_bench_add(&c->ahead_p99, last(&c->p99[AHEAD]) / last(&c->p99[ALONE]));
	if (seconds[MAPPED] > 0)
		wr_bench_add(&c->speedup, seconds[MAPPED] / seconds[ALONE]);
	wr_bench_add(&c->over_budget, ((double)b->peaks[ALONE] - (double)c->budget) / (1 << 20));
}

static int run_case(struct mixture_bench *b, struct mixture_case *c)
{
	struct wr_ui_progress progress;
	char what[64];
	int rc = 0;

	c->budget = b->m.plan_bytes / 1000 * c->permille;
	c->checksums_equal = true;
	snprintf(what, sizeof(what), "a budget of %u %%", c->permille / 10);
	wr_ui_progress_start(&progress, what, b->args->rounds, b->args->json);
	for (uint32_t r = 0; r < b->args->rounds && !rc; r++) {
		for (uint32_t i = 0; i < NR_ARMS && !rc; i++)
			rc = run_arm(b, c, (enum arm)(r % 2 ? NR_ARMS - 1 - i : i));
		if (!rc)
			note_round(b, c);
		wr_ui_progress_update(&progress, r + 1);
	}
	wr_ui_progress_end(&progress);
	return rc;
}

static void print_case(const struct mixture_bench *b, const struct mixture_case *c)
{
	static const struct wr_ui_column columns[] = {{"a token after the first turn", WR_UI_LEFT},
						      {"median [range]", WR_UI_RIGHT},
						      {"bar", WR_UI_LEFT}};
	struct wr_ui_table *t = wr_ui_table_open(columns, 3);
	char what[96], a[WR_UI_TEXT], all[WR_UI_TEXT];

	printf("\nbudget %s, %u %% of %s; %u experts of a layer a token\n",
	       wr_ui_memory(a, c->budget), c->permille / 10, wr_ui_bytes(all, b->m.plan_bytes),
	       b->nr_chosen);
	for (int arm = 0; arm < NR_ARMS; arm++) {
		snprintf(what, sizeof(what), "%s, s", arm_names[arm]);
		wr_bench_row(t, what, &c->seconds[arm], 4, "");
		snprintf(what, sizeof(what), "    reads, MB");
		wr_bench_row(t, what, &c->read[arm], 1, "");
	}
	wr_bench_row(t, "experts in memory, %", &c->hits[ALONE], 1, "");
	wr_bench_row(t, "    fetching ahead, points more", &c->ahead_hits, 1, "> 0");
	wr_bench_row(t, "a layer's wait, 99th percentile, ms", &c->p99[ALONE], 2, "");
	wr_bench_row(t, "    fetching ahead / without", &c->ahead_p99, 2, "<= 1.10");
	wr_bench_row(t, "time without / fetching ahead", &c->ahead_speedup, 2, ">= 0.98");
	wr_bench_row(t, "mmap time / weir time", &c->speedup, 2, "> 1");
	wr_bench_row(t, "peak over budget, MiB", &c->over_budget, 0, "<= 80");
	(void)wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	printf("checksums of all arms and turns: %s\n", c->checksums_equal ? "equal" : "DIFFER");
}

static json_t *json_arm(const struct mixture_case *c, enum arm arm)
{
	return json_pack("{s:o, s:o, s:o, s:o}", "token_seconds", wr_bench_json(&c->seconds[arm]),
			 "token_read_mb", wr_bench_json(&c->read[arm]), "hits_percent",
			 wr_bench_json(&c->hits[arm]), "wait_p99_ms", wr_bench_json(&c->p99[arm]));
}

static json_t *json_case(const struct mixture_case *c)
{
	return json_pack("{s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b}",
			 "budget_permille", (int)c->permille, "budget_bytes",
			 wr_ui_json_u64(c->budget), "weir", json_arm(c, ALONE), "ahead",
			 json_arm(c, AHEAD), "mmap", json_arm(c, MAPPED), "mmap_time_per_weir_time",
			 wr_bench_json(&c->speedup), "time_per_ahead_time",
			 wr_bench_json(&c->ahead_speedup), "ahead_hits_points",
			 wr_bench_json(&c->ahead_hits), "ahead_p99_ratio",
			 wr_bench_json(&c->ahead_p99), "peak_over_budget_mib",
			 wr_bench_json(&c->over_budget), "checksums_equal", c->checksums_equal);
}

static int report(const struct mixture_bench *b, const struct mixture_case *cases, size_t nr)
{
	json_t *list = json_array();
	bool equal = true;

	for (size_t i = 0; i < nr; i++) {
		equal &= cases[i].checksums_equal;
		json_array_append_new(list, json_case(&cases[i]));
	}
	if (b->args->json) {
		(void)wr_ui_json_print(json_pack("{s:o, s:o, s:o, s:i, s:o}", "conditions",
						 wr_bench_conditions(b->args->path), "path",
						 wr_ui_json_text(b->args->path), "plan_bytes",
						 wr_ui_json_u64(b->m.plan_bytes), "chosen",
						 (int)b->nr_chosen, "mixture", list));
		return equal ? WR_EXIT_OK : WR_EXIT_FAILED;
	}
	json_decref(list);
	wr_bench_print_conditions(b->args->path);
	for (size_t i = 0; i < nr; i++)
		print_case(b, &cases[i]);
	if (b->no_limit[0])
		wr_ui_say("no mmap arm: %s", b->no_limit);
	return equal ? WR_EXIT_OK : WR_EXIT_FAILED;
}

static uint32_t most_experts(const struct weir_model *model)
{
	uint32_t most = 0;

	for (uint32_t i = 0; i < weir_model_nr_tensors(model); i++) {
		uint32_t nr = weir_tensor_experts(weir_model_tensor(model, i));

		most = nr > most ? nr : most;
	}
	return most;
}

/* A limit is what makes a mapping comparable: find out once whether one can be set. */
static int nothing(void *arg, void *result)
{
	(void)arg;
	(void)result;
	return 0;
}

int wr_bench_mixture(const struct wr_bench_args *args)
{
	static struct mixture_case cases[] = {{.permille = 300}, {.permille = 500}};
	static struct mixture_bench b;
	struct weir_plan plan = {.size = sizeof(plan), .unit = (uint32_t)args->unit};
	struct wr_limit_report limit;
	struct weir_error err;
	int rc;

	b.args = args;
	rc = wr_bench_model_open(&b.m, args->path, &plan, &b.err);
	if (rc)
		return wr_ui_fail(args->json, "bench stream", &b.err);
	b.nr_chosen = most_experts(b.m.model) / CHOSEN_PART;
	b.nr_chosen = b.nr_chosen ? b.nr_chosen : 1;
	wr_ui_interrupt_init();
	b.has_limit = !wr_limit_run((uint64_t)256 << 20, nothing, NULL, NULL, 0, &limit, &err);
	if (!b.has_limit)
		snprintf(b.no_limit, sizeof(b.no_limit), "%.250s", err.message);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && !rc; i++)
		rc = run_case(&b, &cases[i]);
	if (!rc)
		rc = report(&b, cases, sizeof(cases) / sizeof(cases[0]));
	else
		rc = rc == -EINTR ? wr_ui_fail_interrupted(args->json, "bench stream")
				  : wr_ui_fail(args->json, "bench stream", &b.err);
	wr_bench_model_close(&b.m);
	return rc;
}
