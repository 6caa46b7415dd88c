/* SPDX-License-Identifier: MIT */
/*
 * weir bench load - cold loads into touched memory, against fio on the same files.
 *
 * fio runs twice a round: in 2 MiB pages, which is the limit to come near to, and in its
 * default buffers, which is what a program gets that does not think of pages.
 */
#include <errno.h>
#include <stdio.h>

#include "bench.h"
#include "loadrun.h"
#include "ui.h"

struct load_series {
	struct wr_bench_series rate;	 /* weir, GB/s */
	struct wr_bench_series huge;	 /* fio in huge pages, GB/s */
	struct wr_bench_series plain;	 /* fio in default buffers, GB/s */
	struct wr_bench_series to_huge;	 /* weir / fio huge, per round */
	struct wr_bench_series to_plain; /* weir / fio default, per round */
	struct wr_bench_series cpu;	 /* weir, CPU s/GB */
	struct wr_bench_series cpu_huge; /* fio huge, CPU s/GB */
	struct wr_bench_series cpu_ratio;
	struct wr_bench_series cache; /* page cache growth, per cent of the model */
	char page_reason[128];	      /* why fio had no huge pages; "" when it had */
	char fio[32];
	char no_fio[128]; /* why there is no number of fio's; "" when there is */
};

static int weir_turn(struct wr_loadrun *run, struct load_series *s, struct weir_error *err)
{
	struct wr_loadrun_result res;
	int rc = wr_loadrun_once(run, &res, err);

	if (rc)
		return rc;
	wr_bench_add(&s->rate, (double)res.bytes / (double)res.ns);
	wr_bench_add(&s->cpu, (double)res.cpu_ns / (double)res.bytes);
	wr_bench_add(&s->cache, 100.0 * (double)res.cache_growth / (double)res.bytes);
	return 0;
}

static int fio_turn(const struct wr_bench_model *m, bool huge, struct load_series *s,
		    struct weir_error *err)
{
	struct wr_fio_result res;
	int rc = wr_bench_fio(m, huge, &res, err);

	/* fio is a peer: where it does not run, weir's own numbers remain. */
	if (rc && rc != -EINTR)
		snprintf(s->no_fio, sizeof(s->no_fio), "%.120s", err->message);
	if (rc)
		return rc == -EINTR ? rc : 0;
	wr_bench_add(huge ? &s->huge : &s->plain, res.bytes_per_second / 1e9);
	snprintf(s->fio, sizeof(s->fio), "%s", res.version);
	if (!huge)
		return 0;
	wr_bench_add(&s->cpu_huge, res.cpu_seconds / ((double)res.bytes / 1e9));
	snprintf(s->page_reason, sizeof(s->page_reason), "%s", res.page_reason);
	return 0;
}

/* A B C, then C B A, and so on: drift hits all arms alike. */
static int one_round(struct wr_loadrun *run, const struct wr_bench_model *m, uint32_t number,
		     struct load_series *s, struct weir_error *err)
{
	uint32_t i = s->rate.nr;
	int rc = 0;

	for (uint32_t turn = 0; turn < 3 && !rc; turn++) {
		uint32_t arm = number % 2 ? 2 - turn : turn;

		rc = arm == 0 ? weir_turn(run, s, err) : fio_turn(m, arm == 1, s, err);
	}
	if (rc)
		return rc;
	if (s->huge.nr > i) {
		wr_bench_add(&s->to_huge, s->rate.v[i] / s->huge.v[i]);
		wr_bench_add(&s->cpu_ratio, s->cpu.v[i] / s->cpu_huge.v[i]);
	}
	if (s->plain.nr > i)
		wr_bench_add(&s->to_plain, s->rate.v[i] / s->plain.v[i]);
	return 0;
}

static int print_text(const struct wr_loadrun *run, const struct load_series *s)
{
	static const struct wr_ui_column columns[] = {
		{"cold load", WR_UI_LEFT}, {"median [range]", WR_UI_RIGHT}, {"bar", WR_UI_LEFT}};
	struct wr_ui_table *t = wr_ui_table_open(columns, 3);
	struct weir_io *io = weir_get_io(run->weir);
	int rc;

	wr_bench_row(t, "weir, GB/s", &s->rate, 2, "");
	wr_bench_row(t, "fio io_uring O_DIRECT 1 MiB QD 16, 2 MiB pages, GB/s", &s->huge, 2, "");
	wr_bench_row(t, "the same, default buffers, GB/s", &s->plain, 2, "");
	wr_bench_row(t, "weir / fio in 2 MiB pages", &s->to_huge, 2, ">= 0.95");
	wr_bench_row(t, "weir / fio in default buffers", &s->to_plain, 2, ">= 1.5");
	wr_bench_row(t, "weir, CPU s/GB", &s->cpu, 3, "");
	wr_bench_row(t, "weir / fio in 2 MiB pages, CPU s/GB", &s->cpu_ratio, 2, "<= 1.3");
	wr_bench_row(t, "page cache growth, % of the model", &s->cache, 2, "< 1");
	rc = wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	wr_ui_say("weir: io %s, pages %s; %s", weir_io_backend_name(weir_io_backend(io)),
		  weir_page_kind_name(weir_pool_page_kind(weir_get_pool(run->weir))),
		  s->fio[0] ? s->fio : s->no_fio);
	if (s->page_reason[0])
		wr_ui_say("fio had no huge pages: %s", s->page_reason);
	return rc ? WR_EXIT_FAILED : WR_EXIT_OK;
}

static int print_json(const struct wr_bench_args *args, const struct wr_loadrun *run,
		      const struct load_series *s)
{
	struct weir_io *io = weir_get_io(run->weir);

	return wr_ui_json_print(json_pack(
		"{s:o, s:o, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
		"conditions", wr_bench_conditions(args->path), "path", wr_ui_json_text(args->path),
		"backend", weir_io_backend_name(weir_io_backend(io)), "page_kind",
		weir_page_kind_name(weir_pool_page_kind(weir_get_pool(run->weir))), "fio", s->fio,
		"fio_page_reason", s->page_reason, "weir_gb_per_second", wr_bench_json(&s->rate),
		"fio_huge_gb_per_second", wr_bench_json(&s->huge), "fio_default_gb_per_second",
		wr_bench_json(&s->plain), "weir_per_fio_huge", wr_bench_json(&s->to_huge),
		"weir_per_fio_default", wr_bench_json(&s->to_plain), "weir_cpu_seconds_per_gb",
		wr_bench_json(&s->cpu), "fio_huge_cpu_seconds_per_gb", wr_bench_json(&s->cpu_huge),
		"cpu_ratio", wr_bench_json(&s->cpu_ratio), "page_cache_growth_percent",
		wr_bench_json(&s->cache)));
}

int wr_bench_load(const struct wr_bench_args *args)
{
	static struct load_series series;
	struct wr_ui_progress progress;
	struct wr_bench_model m;
	struct wr_loadrun run;
	struct weir_error err;
	int rc;

	wr_ui_interrupt_init();
	rc = wr_bench_model_open(&m, args->path, NULL, &err);
	if (rc)
		return wr_ui_fail(args->json, "bench load", &err);
	rc = wr_loadrun_open(&run, args->path, WEIR_IO_AUTO, 0, args->json, &err);
	if (rc)
		goto close;
	wr_ui_progress_start(&progress, "rounds", args->rounds, args->json);
	for (uint32_t r = 0; !rc && r < args->rounds; r++) {
		rc = one_round(&run, &m, r, &series, &err);
		wr_ui_progress_update(&progress, r + 1);
		if (!rc && wr_ui_interrupted())
			rc = -EINTR;
	}
	wr_ui_progress_end(&progress);
	if (!rc)
		rc = args->json ? print_json(args, &run, &series) : print_text(&run, &series);
	else if (rc != -EINTR)
		rc = wr_ui_fail(args->json, "bench load", &err);
	else
		rc = wr_ui_fail_interrupted(args->json, "bench load");
	wr_loadrun_close(&run);
	wr_bench_model_close(&m);
	return rc;
close:
	wr_bench_model_close(&m);
	return wr_ui_fail(args->json, "bench load", &err);
}
