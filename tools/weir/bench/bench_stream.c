/* SPDX-License-Identifier: MIT */
/*
 * weir bench stream - passes under a budget: weir, a mapping under the same memory limit, fio
 * as what the disk gives, and the same compute with everything resident.
 *
 * A case is a ratio of what a pass visits to the budget, and a read_ahead_kb of the disk: the
 * kernel's readahead decides how a mapping fares, and machines differ in it, so the small
 * value that laptops have is measured beside the machine's own.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "bench_mixture.h"
#include "peak.h"
#include "turns.h"
#include "ui.h"

#define SMALL_READ_AHEAD_KB 128

/* A case that needs the disk's setting changed, which this user may not do. */
#define NOT_ROOT 1

struct stream_case {
	double ratio;		/* plan bytes / budget */
	uint64_t read_ahead_kb; /* 0: as the machine has it */
	uint64_t budget;
	uint64_t ideal;
	struct wr_bench_series weir_s, mmap_s, alone_s; /* a pass after the first */
	struct wr_bench_series weir_read, mmap_read;	/* bytes of such a pass, of the plan's */
	struct wr_bench_series over_ideal;		/* (read - ideal) / plan, % */
	struct wr_bench_series fio_rate;		/* GB/s */
	struct wr_bench_series to_bound;    /* pass time / max(read / fio rate, compute alone) */
	struct wr_bench_series speedup;	    /* mmap time / weir time */
	struct wr_bench_series to_bytes;    /* that, of the ratio of bytes read */
	struct wr_bench_series over_budget; /* peak - budget, MiB */
	bool checksums_equal;
};

struct round {
	struct wr_arm_result weir, mmap, alone;
	double fio_rate; /* bytes/s, NAN without fio */
	uint64_t peak;
};

struct stream_bench {
	const struct wr_bench_args *args;
	struct wr_bench_model m;
	struct wr_peak_device dev;
	bool has_dev;
	bool has_limit;
	struct weir_error err;
	struct round round;
	char no_fio[128];
	char no_limit[256];
};

static struct wr_arm arm_of(const struct stream_bench *b, uint32_t backend, uint64_t budget)
{
	return (struct wr_arm){
		.path = b->args->path,
		.backend = backend,
		.budget_bytes = budget,
		.plan = {.size = sizeof(struct weir_plan), .unit = (uint32_t)b->args->unit},
		.passes = b->args->passes,
		.compute = (enum wr_compute)b->args->compute};
}

static int weir_turn(struct stream_bench *b, const struct stream_case *c)
{
	struct wr_arm arm = arm_of(b, WEIR_IO_AUTO, c->budget);
	uint64_t limit = b->has_limit ? c->budget + WR_BENCH_OVERHEAD_BYTES : 0;
	uint64_t charged;
	int rc = wr_bench_arm(&b->m, &arm, limit, &b->round.weir, &charged, &b->err);

	/* Without a cgroup the process's own high-water mark; hugetlb is in neither's charge. */
	b->round.peak = b->round.weir.peak_bytes;
	if (!rc && charged > b->round.peak)
		b->round.peak = charged;
	return rc;
}

static int mmap_turn(struct stream_bench *b, const struct stream_case *c)
{
	struct wr_arm arm = arm_of(b, WR_ARM_MMAP, 0);
	uint64_t charged;

	if (!b->has_limit)
		return 0;
	return wr_bench_arm(&b->m, &arm, c->budget + WR_BENCH_OVERHEAD_BYTES, &b->round.mmap,
			    &charged, &b->err);
}

/* Everything resident: what the compute alone takes. */
static int alone_turn(struct stream_bench *b)
{
	struct wr_arm arm = arm_of(b, WEIR_IO_AUTO, 2 * b->m.plan_bytes);
	uint64_t charged;

	return wr_bench_arm(&b->m, &arm, 0, &b->round.alone, &charged, &b->err);
}

static int fio_turn(struct stream_bench *b)
{
	struct wr_fio_result res;
	int rc = wr_bench_fio(&b->m, true, &res, &b->err);

	b->round.fio_rate = rc ? NAN : res.bytes_per_second;
	snprintf(b->no_fio, sizeof(b->no_fio), "%.120s", rc ? b->err.message : res.page_reason);
	return rc == -EINTR ? rc : 0;
}

static void note_round(const struct stream_bench *b, struct stream_case *c)
{
	const struct round *r = &b->round;
	double plan = (double)b->m.plan_bytes;
	double weir_s = wr_bench_steady(&r->weir, wr_bench_pass_seconds);
	double weir_read = wr_bench_steady(&r->weir, wr_bench_pass_read);
	double alone = wr_bench_steady(&r->alone, wr_bench_pass_seconds);
	double bound = alone;

	c->ideal = r->weir.info.ideal_bytes;
	wr_bench_add(&c->weir_s, weir_s);
	wr_bench_add(&c->alone_s, alone);
	wr_bench_add(&c->weir_read, weir_read / plan);
	wr_bench_add(&c->over_ideal, 100.0 * (weir_read - (double)c->ideal) / plan);
	wr_bench_add(&c->over_budget, ((double)r->peak - (double)c->budget) / (1 << 20));
	if (!isnan(r->fio_rate)) {
		wr_bench_add(&c->fio_rate, r->fio_rate / 1e9);
		bound = fmax(bound, weir_read / r->fio_rate);
		wr_bench_add(&c->to_bound, weir_s / bound);
	}
	c->checksums_equal &= r->weir.passes[0].checksum == r->alone.passes[0].checksum;
	for (uint32_t p = 1; p < r->weir.nr_passes; p++)
		c->checksums_equal &= r->weir.passes[p].checksum == r->weir.passes[0].checksum;
	if (r->mmap.nr_passes) {
		double mmap_s = wr_bench_steady(&r->mmap, wr_bench_pass_seconds);
		double mmap_read = wr_bench_steady(&r->mmap, wr_bench_pass_read);

		wr_bench_add(&c->mmap_s, mmap_s);
		wr_bench_add(&c->mmap_read, mmap_read / plan);
		wr_bench_add(&c->speedup, mmap_s / weir_s);
		if (weir_read > 0)
			wr_bench_add(&c->to_bytes, mmap_s / weir_s / (mmap_read / weir_read));
		c->checksums_equal &= r->mmap.passes[0].checksum == r->weir.passes[0].checksum;
	}
}

static int one_round(struct stream_bench *b, struct stream_case *c, uint32_t number)
{
	int rc = 0;

	memset(&b->round, 0, sizeof(b->round));
	b->round.fio_rate = NAN;
	for (uint32_t turn = 0; turn < 4 && !rc; turn++) {
		switch (number % 2 ? 3 - turn : turn) {
		case 0:
			rc = weir_turn(b, c);
			break;
		case 1:
			rc = mmap_turn(b, c);
			break;
		case 2:
			rc = fio_turn(b);
			break;
		default:
			rc = alone_turn(b);
		}
		if (!rc && wr_ui_interrupted())
			rc = -EINTR;
	}
	if (!rc)
		note_round(b, c);
	return rc;
}

static int run_case(struct stream_bench *b, struct stream_case *c)
{
	struct wr_ui_progress progress;
	char what[64];
	int rc = 0;

	c->budget = (uint64_t)((double)b->m.plan_bytes / c->ratio);
	c->checksums_equal = true;
	if (c->read_ahead_kb && wr_peak_device_set_read_ahead(&b->dev, c->read_ahead_kb))
		return NOT_ROOT;
	snprintf(what, sizeof(what), "M/B %.1f", c->ratio);
	wr_ui_progress_start(&progress, what, b->args->rounds, b->args->json);
	for (uint32_t r = 0; r < b->args->rounds && !rc; r++) {
		rc = one_round(b, c, r);
		wr_ui_progress_update(&progress, r + 1);
	}
	wr_ui_progress_end(&progress);
	if (c->read_ahead_kb)
		wr_peak_device_restore(&b->dev);
	return rc;
}

static void print_case(const struct stream_bench *b, const struct stream_case *c)
{
	static const struct wr_ui_column columns[] = {{"a pass after the first", WR_UI_LEFT},
						      {"median [range]", WR_UI_RIGHT},
						      {"bar", WR_UI_LEFT}};
	struct wr_ui_table *t = wr_ui_table_open(columns, 3);
	char a[WR_UI_TEXT], budget[WR_UI_TEXT];
	char ahead[48] = "";

	if (c->read_ahead_kb)
		snprintf(ahead, sizeof(ahead), ", read_ahead_kb %llu",
			 (unsigned long long)c->read_ahead_kb);
	printf("\nM/B = %.1f: a pass visits %s, budget %s%s\n", c->ratio,
	       wr_ui_bytes(a, b->m.plan_bytes), wr_ui_memory(budget, c->budget), ahead);
	wr_bench_row(t, "weir, s", &c->weir_s, 3, "");
	wr_bench_row(t, "mmap under the same limit, s", &c->mmap_s, 3, "");
	wr_bench_row(t, "compute alone, all resident, s", &c->alone_s, 3, "");
	wr_bench_row(t, "fio, GB/s", &c->fio_rate, 2, "");
	wr_bench_row(t, "weir reads, of what it visits", &c->weir_read, 3, "");
	wr_bench_row(t, "mmap reads, of what it visits", &c->mmap_read, 3, "");
	wr_bench_row(t, "weir over ideal, % of M", &c->over_ideal, 2, "<= 3");
	wr_bench_row(t, "weir / max(disk, compute)", &c->to_bound, 2, "<= 1.10");
	wr_bench_row(t, "mmap time / weir time", &c->speedup, 2, c->ratio > 1 ? "> 1" : ">= 0.95");
	if (c->ratio > 1)
		wr_bench_row(t, "that / ratio of bytes read", &c->to_bytes, 2,
			     ">= 0.85 if I/O-bound");
	wr_bench_row(t, "peak over budget, MiB", &c->over_budget, 0, "<= 80");
	(void)wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	printf("checksums of all arms and passes: %s\n", c->checksums_equal ? "equal" : "DIFFER");
}

static json_t *json_case(const struct stream_case *c)
{
	return json_pack(
		"{s:f, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b}",
		"ratio", c->ratio, "read_ahead_kb",
		c->read_ahead_kb ? wr_ui_json_u64(c->read_ahead_kb) : json_null(), "budget_bytes",
		wr_ui_json_u64(c->budget), "ideal_bytes_per_pass", wr_ui_json_u64(c->ideal),
		"weir_seconds", wr_bench_json(&c->weir_s), "mmap_seconds",
		wr_bench_json(&c->mmap_s), "compute_alone_seconds", wr_bench_json(&c->alone_s),
		"fio_gb_per_second", wr_bench_json(&c->fio_rate), "weir_read_per_plan",
		wr_bench_json(&c->weir_read), "mmap_read_per_plan", wr_bench_json(&c->mmap_read),
		"over_ideal_percent", wr_bench_json(&c->over_ideal), "time_per_bound",
		wr_bench_json(&c->to_bound), "mmap_time_per_weir_time", wr_bench_json(&c->speedup),
		"speedup_per_byte_ratio", wr_bench_json(&c->to_bytes), "peak_over_budget_mib",
		wr_bench_json(&c->over_budget), "checksums_equal", c->checksums_equal);
}

/* A limit is what makes a mapping comparable: find out once whether one can be set. */
static int nothing(void *arg, void *result)
{
	(void)arg;
	(void)result;
	return 0;
}

static void probe_limit(struct stream_bench *b)
{
	struct wr_limit_report report;
	struct weir_error err;

	b->has_limit = !wr_limit_run((uint64_t)256 << 20, nothing, NULL, NULL, 0, &report, &err);
	if (!b->has_limit)
		snprintf(b->no_limit, sizeof(b->no_limit), "%s", err.message);
}

static int report(const struct stream_bench *b, const struct stream_case *cases, size_t nr)
{
	bool equal = true;
	json_t *list;

	for (size_t i = 0; i < nr; i++)
		equal &= cases[i].checksums_equal;
	if (b->args->json) {
		list = json_array();
		for (size_t i = 0; i < nr; i++)
			json_array_append_new(list, json_case(&cases[i]));
		(void)wr_ui_json_print(json_pack("{s:o, s:o, s:o, s:o}", "conditions",
						 wr_bench_conditions(b->args->path), "path",
						 wr_ui_json_text(b->args->path), "plan_bytes",
						 wr_ui_json_u64(b->m.plan_bytes), "cases", list));
	} else {
		wr_bench_print_conditions(b->args->path);
		for (size_t i = 0; i < nr; i++)
			print_case(b, &cases[i]);
		if (b->no_limit[0])
			wr_ui_say("no mmap arm: %s", b->no_limit);
		if (b->no_fio[0])
			wr_ui_say("fio: %s", b->no_fio);
	}
	return equal ? WR_EXIT_OK : WR_EXIT_FAILED;
}

int wr_bench_stream(const struct wr_bench_args *args)
{
	static struct stream_case cases[] = {{.ratio = 1.1},
					     {.ratio = 1.5},
					     {.ratio = 2.0},
					     {.ratio = 0.5},
					     {.ratio = 1.1, .read_ahead_kb = SMALL_READ_AHEAD_KB},
					     {.ratio = 1.5, .read_ahead_kb = SMALL_READ_AHEAD_KB},
					     {.ratio = 2.0, .read_ahead_kb = SMALL_READ_AHEAD_KB}};
	static struct stream_bench b;
	struct weir_plan plan = {.size = sizeof(plan), .unit = (uint32_t)args->unit};
	size_t nr = sizeof(cases) / sizeof(cases[0]), done = 0;
	bool is_mixture;
	int rc;

	b.args = args;
	rc = wr_turns_is_mixture(args->path, &is_mixture, &b.err);
	if (!rc && is_mixture)
		return wr_bench_mixture(args);
	if (rc)
		return wr_ui_fail(args->json, "bench stream", &b.err);
	rc = wr_bench_model_open(&b.m, args->path, &plan, &b.err);
	if (rc)
		return wr_ui_fail(args->json, "bench stream", &b.err);
	wr_ui_interrupt_init();
	probe_limit(&b);
	b.has_dev = !wr_peak_device_find(args->path, &b.dev);
	if (!b.has_dev || b.dev.read_ahead_kb == SMALL_READ_AHEAD_KB)
		nr = 4;
	while (done < nr && !rc) {
		rc = run_case(&b, &cases[done]);
		done += !rc;
	}
	/* Not root: the machine's own setting is all there is. */
	if (rc < 0) {
		wr_bench_model_close(&b.m);
		return rc == -EINTR ? wr_ui_fail_interrupted(args->json, "bench stream")
				    : wr_ui_fail(args->json, "bench stream", &b.err);
	}
	rc = report(&b, cases, done);
	wr_bench_model_close(&b.m);
	return rc;
}
