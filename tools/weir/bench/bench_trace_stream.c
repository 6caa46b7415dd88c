/* SPDX-License-Identifier: MIT */
/*
 * See bench_trace.h. A round is three runs in an order that turns: watched by T0 (locks time
 * themselves) and T1 (waits, from the kernel), and twice not. The time of a run is that of its
 * shortest pass after the first, as the rest of the machine only ever makes one longer; processor
 * time, which it hardly touches, is that of all.
 */
#include "bench_trace.h"

#include <errno.h>

#include <weir/lock_trace.h>
#include <weir/trace.h>

#define MIN_PAIRS 10u

enum run { ALONE, WATCHED, ALONE_AGAIN, NR_RUNS };

static int one_run(const struct wr_bench_args *args, uint64_t budget, enum run run,
		   struct wr_arm_result *ret, struct weir_error *err)
{
	const struct wr_arm arm = {
		.path = args->path,
		.backend = WEIR_IO_AUTO,
		.budget_bytes = budget,
		.plan = {.size = sizeof(struct weir_plan), .unit = (uint32_t)args->unit},
		.passes = args->passes,
		.compute = (enum wr_compute)args->compute};
	struct weir_trace_opts opts = {.size = sizeof(opts), .parts = WEIR_TRACE_LOCKS};
	struct weir_trace *trace = NULL;
	int rc = run == WATCHED ? weir_trace_start(&opts, &trace, err) : 0;

	if (rc)
		return rc;
	if (run == WATCHED)
		rc = weir_lock_trace_start(WEIR_LOCK_SAMPLE_EVERY);
	if (!rc) {
		rc = wr_arm_run(&arm, ret);
		if (rc)
			*err = ret->err;
	}
	if (run == WATCHED)
		weir_lock_trace_stop();
	weir_trace_close(trace);
	return rc;
}

static double shortest(const struct wr_arm_result *res)
{
	double least = 0;

	for (uint32_t p = 1; p < res->nr_passes; p++) {
		double s = wr_bench_pass_seconds(&res->passes[p]);

		least = least == 0 || s < least ? s : least;
	}
	return least;
}

static int one_round(const struct wr_bench_args *args, uint64_t budget, uint32_t number,
		     struct wr_trace_pairs *ret, struct weir_error *err)
{
	static struct wr_arm_result res[NR_RUNS];
	double s[NR_RUNS], cpu[NR_RUNS];
	int rc = 0;

	for (uint32_t i = 0; i < NR_RUNS && !rc; i++) {
		enum run run = (enum run)((i + number) % NR_RUNS);

		rc = one_run(args, budget, run, &res[run], err);
		if (!rc && wr_ui_interrupted())
			rc = -EINTR;
		s[run] = shortest(&res[run]);
		cpu[run] = (double)res[run].cpu_ns;
	}
	if (rc)
		return rc;
	wr_bench_add(&ret->alone_s, s[ALONE]);
	wr_bench_add(&ret->seconds, s[WATCHED] / s[ALONE]);
	wr_bench_add(&ret->cpu, cpu[WATCHED] / cpu[ALONE]);
	wr_bench_add(&ret->null_seconds, s[ALONE_AGAIN] / s[ALONE]);
	wr_bench_add(&ret->null_cpu, cpu[ALONE_AGAIN] / cpu[ALONE]);
	return 0;
}

int wr_trace_pairs_run(const struct wr_bench_args *args, struct wr_trace_pairs *ret,
		       struct weir_error *err)
{
	struct weir_plan plan = {.size = sizeof(plan), .unit = (uint32_t)args->unit};
	uint32_t nr = args->rounds > MIN_PAIRS ? args->rounds : MIN_PAIRS;
	struct wr_ui_progress progress;
	struct wr_bench_model m;
	int rc = wr_bench_model_open(&m, args->path, &plan, err);

	if (rc)
		return rc;
	wr_ui_progress_start(&progress, "passes, watched and not", nr, args->json);
	for (uint32_t r = 0; r < nr && !rc; r++) {
		rc = one_round(args, m.plan_bytes / 1000 * args->budget_permille, r, ret, err);
		wr_ui_progress_update(&progress, r + 1);
	}
	wr_ui_progress_end(&progress);
	wr_bench_model_close(&m);
	return rc;
}

void wr_trace_pairs_print(const struct wr_trace_pairs *pairs)
{
	static const struct wr_ui_column columns[] = {{"passes, ratio of pairs", WR_UI_LEFT},
						      {"median [range]", WR_UI_RIGHT},
						      {"bar", WR_UI_LEFT}};
	struct wr_ui_table *t;

	if (pairs->seconds.nr == 0)
		return;
	t = wr_ui_table_open(columns, 3);
	printf("\n");
	wr_bench_row(t, "a pass alone, s", &pairs->alone_s, 3, "");
	wr_bench_row(t, "time, watched (T0 + T1)", &pairs->seconds, 3, "<= 1.01");
	wr_bench_row(t, "time, not watched again", &pairs->null_seconds, 3, "noise");
	wr_bench_row(t, "processor time, watched", &pairs->cpu, 3, "");
	wr_bench_row(t, "processor time, not watched again", &pairs->null_cpu, 3, "noise");
	(void)wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
}

json_t *wr_trace_pairs_json(const struct wr_trace_pairs *pairs)
{
	if (pairs->seconds.nr == 0)
		return json_null();
	return json_pack(
		"{s:o, s:o, s:o, s:o, s:o, s:f}", "alone_seconds", wr_bench_json(&pairs->alone_s),
		"time_ratio", wr_bench_json(&pairs->seconds), "null_time_ratio",
		wr_bench_json(&pairs->null_seconds), "cpu_ratio", wr_bench_json(&pairs->cpu),
		"null_cpu_ratio", wr_bench_json(&pairs->null_cpu), "bar_time_ratio", 1.01);
}
