/* SPDX-License-Identifier: MIT */
/*
 * weir bench ladder - the same passes on every rung of the io ladder.
 *
 * Every rung must give the same checksum; what the lower ones cost in time and in CPU is the
 * price of a machine that refuses the upper ones.
 */
#include <errno.h>
#include <stdio.h>

#include "bench.h"
#include "ui.h"

#define NR_RUNGS 4

struct rung {
	uint32_t backend;
	struct wr_bench_series seconds;
	struct wr_bench_series to_first; /* of the time of the first rung that works */
	struct wr_bench_series cpu;	 /* s a pass */
	uint64_t checksum;
	bool works;
	char reason[256];
};

static int one_turn(const struct wr_bench_args *args, const struct wr_bench_model *m,
		    struct rung *rung, struct weir_error *err)
{
	static struct wr_arm_result res;
	struct wr_arm arm = {.path = args->path,
			     .backend = rung->backend,
			     .budget_bytes = m->plan_bytes / 1000 * args->budget_permille,
			     .plan = {.size = sizeof(arm.plan), .unit = (uint32_t)args->unit},
			     .passes = args->passes,
			     .compute = (enum wr_compute)args->compute};
	uint64_t peak;
	int rc = wr_bench_arm(m, &arm, 0, &res, &peak, err);

	if (rc == -EOPNOTSUPP || rc == -ENOMEM) {
		snprintf(rung->reason, sizeof(rung->reason), "%s", err->message);
		return 0;
	}
	if (rc)
		return rc;
	rung->works = true;
	rung->checksum = res.passes[0].checksum;
	for (uint32_t p = 1; p < res.nr_passes; p++)
		if (res.passes[p].checksum != rung->checksum)
			rung->checksum = 0;
	wr_bench_add(&rung->seconds, wr_bench_steady(&res, wr_bench_pass_seconds));
	wr_bench_add(&rung->cpu, (double)res.cpu_ns / 1e9 / args->passes);
	return 0;
}

static void relate(struct rung *rungs)
{
	const struct rung *first = NULL;

	for (size_t i = 0; i < NR_RUNGS; i++) {
		if (!rungs[i].works)
			continue;
		if (!first)
			first = &rungs[i];
		for (uint32_t r = 0; r < rungs[i].seconds.nr; r++)
			wr_bench_add(&rungs[i].to_first,
				     rungs[i].seconds.v[r] / first->seconds.v[r]);
	}
}

static bool equal(const struct rung *rungs)
{
	const struct rung *first = NULL;

	for (size_t i = 0; i < NR_RUNGS; i++) {
		if (!rungs[i].works)
			continue;
		if (!rungs[i].checksum || (first && rungs[i].checksum != first->checksum))
			return false;
		first = &rungs[i];
	}
	return first;
}

static int print_text(const struct wr_bench_args *args, const struct rung *rungs)
{
	static const struct wr_ui_column columns[] = {{"rung", WR_UI_LEFT},
						      {"s a pass", WR_UI_RIGHT},
						      {"of the first", WR_UI_RIGHT},
						      {"CPU s a pass", WR_UI_RIGHT}};
	struct wr_ui_table *t = wr_ui_table_open(columns, 4);
	char text[WR_BENCH_TEXT];

	wr_bench_print_conditions(args->path);
	for (size_t i = 0; i < NR_RUNGS; i++) {
		wr_ui_table_cell(t, "%s", wr_arm_backend_name(rungs[i].backend));
		wr_ui_table_cell(t, "%s", wr_bench_text(text, &rungs[i].seconds, 3));
		wr_ui_table_cell(t, "%s", wr_bench_text(text, &rungs[i].to_first, 2));
		wr_ui_table_cell(t, "%s", wr_bench_text(text, &rungs[i].cpu, 3));
	}
	(void)wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	for (size_t i = 0; i < NR_RUNGS; i++)
		if (!rungs[i].works)
			wr_ui_say("%s does not work here: %s",
				  wr_arm_backend_name(rungs[i].backend), rungs[i].reason);
	printf("checksums: %s; bar: pread within 1.20 of uring\n",
	       equal(rungs) ? "equal on every rung" : "DIFFER");
	return equal(rungs) ? WR_EXIT_OK : WR_EXIT_FAILED;
}

static int print_json(const struct wr_bench_args *args, const struct rung *rungs)
{
	json_t *list = json_array();
	int rc;

	for (size_t i = 0; i < NR_RUNGS; i++)
		json_array_append_new(list,
				      json_pack("{s:s, s:b, s:s, s:o, s:o, s:o}", "rung",
						wr_arm_backend_name(rungs[i].backend), "works",
						rungs[i].works, "reason", rungs[i].reason,
						"seconds", wr_bench_json(&rungs[i].seconds),
						"per_first_rung", wr_bench_json(&rungs[i].to_first),
						"cpu_seconds", wr_bench_json(&rungs[i].cpu)));
	rc = wr_ui_json_print(json_pack(
		"{s:o, s:o, s:b, s:o}", "conditions", wr_bench_conditions(args->path), "path",
		wr_ui_json_text(args->path), "checksums_equal", equal(rungs), "rungs", list));
	return equal(rungs) ? rc : WR_EXIT_FAILED;
}

int wr_bench_ladder(const struct wr_bench_args *args)
{
	static struct rung rungs[NR_RUNGS] = {{.backend = WEIR_IO_FIXED},
					      {.backend = WEIR_IO_URING},
					      {.backend = WEIR_IO_PREAD},
					      {.backend = WEIR_IO_BUFFERED}};
	struct weir_plan plan = {.size = sizeof(plan), .unit = (uint32_t)args->unit};
	struct wr_bench_model m;
	struct weir_error err;
	int rc;

	rc = wr_bench_model_open(&m, args->path, &plan, &err);
	if (rc)
		return wr_ui_fail(args->json, "bench ladder", &err);
	wr_ui_interrupt_init();
	for (uint32_t r = 0; r < args->rounds && !rc; r++)
		for (uint32_t i = 0; i < NR_RUNGS && !rc; i++)
			rc = one_turn(args, &m, &rungs[r % 2 ? NR_RUNGS - 1 - i : i], &err);
	wr_bench_model_close(&m);
	if (rc)
		return rc == -EINTR ? wr_ui_fail_interrupted(args->json, "bench ladder")
				    : wr_ui_fail(args->json, "bench ladder", &err);
	relate(rungs);
	return args->json ? print_json(args, rungs) : print_text(args, rungs);
}
