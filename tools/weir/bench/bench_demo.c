/* SPDX-License-Identifier: MIT */
/*
 * weir bench demo - the main job once, pass by pass, next to what people run today.
 *
 * weir under a budget, a mapping of the same files under the same memory limit, and what fio
 * reads from the same disk: one table to read, one picture to look at.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "peak.h"
#include "svg.h"
#include "ui.h"

struct demo {
	const struct wr_bench_args *args;
	struct wr_bench_model m;
	uint64_t budget;
	struct wr_arm_result weir, mmap;
	uint64_t weir_peak;
	struct wr_fio_result fio; /* bytes_per_second 0: none */
	char no_mmap[256];
	char no_fio[256];
};

static int run_arms(struct demo *d, struct weir_error *err)
{
	struct wr_arm arm = {.path = d->args->path,
			     .budget_bytes = d->budget,
			     .plan = {.size = sizeof(arm.plan), .unit = (uint32_t)d->args->unit},
			     .passes = d->args->passes,
			     .compute = (enum wr_compute)d->args->compute,
			     .progress = !d->args->json};
	uint64_t limit = d->budget + WR_BENCH_OVERHEAD_BYTES, peak;
	int rc;

	rc = wr_bench_arm(&d->m, &arm, limit, &d->weir, &d->weir_peak, err);
	if (rc == -EOPNOTSUPP && !d->weir.nr_passes) {
		/* The arm itself may have refused; what it says then is said again here. */
		snprintf(d->no_mmap, sizeof(d->no_mmap), "%s", err->message);
		rc = wr_bench_arm(&d->m, &arm, 0, &d->weir, &d->weir_peak, err);
	}
	if (rc)
		return rc;
	if (d->weir.peak_bytes > d->weir_peak)
		d->weir_peak = d->weir.peak_bytes;
	arm.backend = WR_ARM_MMAP;
	if (!d->no_mmap[0])
		rc = wr_bench_arm(&d->m, &arm, limit, &d->mmap, &peak, err);
	if (rc)
		return rc;
	rc = wr_bench_fio(&d->m, true, &d->fio, err);
	if (rc == -EINTR)
		return rc;
	if (rc)
		snprintf(d->no_fio, sizeof(d->no_fio), "%s", err->message);
	else if (d->fio.page_reason[0])
		snprintf(d->no_fio, sizeof(d->no_fio), "in its default buffers: %s",
			 d->fio.page_reason);
	return 0;
}

static bool checksums_equal(const struct demo *d)
{
	for (uint32_t p = 0; p < d->weir.nr_passes; p++) {
		if (d->weir.passes[p].checksum != d->weir.passes[0].checksum)
			return false;
		if (p < d->mmap.nr_passes &&
		    d->mmap.passes[p].checksum != d->weir.passes[0].checksum)
			return false;
	}
	return true;
}

static void print_passes(const struct demo *d)
{
	static const struct wr_ui_column columns[] = {
		{"pass", WR_UI_RIGHT},	     {"weir reads", WR_UI_RIGHT},
		{"weir takes", WR_UI_RIGHT}, {"mmap reads", WR_UI_RIGHT},
		{"mmap takes", WR_UI_RIGHT}, {"faster", WR_UI_RIGHT}};
	struct wr_ui_table *t = wr_ui_table_open(columns, 6);
	char text[WR_UI_TEXT];

	for (uint32_t p = 0; p < d->weir.nr_passes; p++) {
		const struct wr_arm_pass *a = &d->weir.passes[p], *b = &d->mmap.passes[p];
		bool both = p < d->mmap.nr_passes;

		wr_ui_table_cell(t, "%u", p + 1);
		wr_ui_table_cell(t, "%s", wr_ui_bytes(text, a->bytes_read));
		wr_ui_table_cell(t, "%s", wr_ui_duration(text, (double)a->ns / 1e9));
		wr_ui_table_cell(t, "%s", both ? wr_ui_bytes(text, b->bytes_read) : "-");
		wr_ui_table_cell(t, "%s", both ? wr_ui_duration(text, (double)b->ns / 1e9) : "-");
		if (both)
			wr_ui_table_cell(t, "%.2f x", (double)b->ns / (double)a->ns);
		else
			wr_ui_table_cell(t, "-");
	}
	(void)wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
}

static int print_text(const struct demo *d)
{
	double read = wr_bench_steady(&d->weir, wr_bench_pass_read);
	double seconds = wr_bench_steady(&d->weir, wr_bench_pass_seconds);
	char a[WR_UI_TEXT], b[WR_UI_TEXT], c[WR_UI_TEXT];

	wr_bench_print_conditions(d->args->path);
	wr_ui_say("a pass visits %s; budget %s (%u %%); io %s, pages %s, %u compute threads (%s)",
		  wr_ui_bytes(a, d->m.plan_bytes), wr_ui_memory(b, d->budget),
		  d->args->budget_permille / 10, wr_arm_backend_name(d->weir.backend),
		  weir_page_kind_name((int)d->weir.page_kind), d->weir.threads, d->weir.variant);
	printf("\n");
	print_passes(d);
	printf("\n");
	wr_ui_say("least a pass can read in this budget, two units kept free: %s; weir reads %s",
		  wr_ui_bytes(a, d->weir.info.ideal_bytes), wr_ui_bytes(b, (uint64_t)read));
	if (d->fio.bytes_per_second > 0)
		wr_ui_say("fio reads %s here, so these bytes take %s at best; the pass takes %s",
			  wr_ui_rate(a, d->fio.bytes_per_second),
			  wr_ui_duration(b, read / d->fio.bytes_per_second),
			  wr_ui_duration(c, seconds));
	if (d->no_fio[0])
		wr_ui_say("fio: %s", d->no_fio);
	printf("peak memory of the weir process: %s, %.0f MiB above its budget\n",
	       wr_ui_memory(a, d->weir_peak),
	       ((double)d->weir_peak - (double)d->budget) / (1 << 20));
	if (d->no_mmap[0])
		wr_ui_say("no mmap next to it: %s", d->no_mmap);
	else
		printf("both ran in a memory cgroup of budget + %u MiB\n",
		       (unsigned int)(WR_BENCH_OVERHEAD_BYTES >> 20));
	printf("checksums of all passes: %s\n",
	       checksums_equal(d) ? "equal, so the same bytes were computed on" : "DIFFER");
	return checksums_equal(d) ? WR_EXIT_OK : WR_EXIT_FAILED;
}

/* Values of the picture: a series each of GB and of seconds per pass. */
struct picture {
	char names[WR_ARM_MAX_PASSES][16];
	const char *groups[WR_ARM_MAX_PASSES];
	double weir_gb[WR_ARM_MAX_PASSES], mmap_gb[WR_ARM_MAX_PASSES];
	double ideal_gb[WR_ARM_MAX_PASSES];
	double weir_s[WR_ARM_MAX_PASSES], mmap_s[WR_ARM_MAX_PASSES], fio_s[WR_ARM_MAX_PASSES];
};

static void fill_picture(const struct demo *d, struct picture *pic)
{
	for (uint32_t p = 0; p < d->weir.nr_passes; p++) {
		bool both = p < d->mmap.nr_passes;

		snprintf(pic->names[p], sizeof(pic->names[p]), "%u", p + 1);
		pic->groups[p] = pic->names[p];
		pic->weir_gb[p] = (double)d->weir.passes[p].bytes_read / 1e9;
		pic->weir_s[p] = (double)d->weir.passes[p].ns / 1e9;
		pic->mmap_gb[p] = both ? (double)d->mmap.passes[p].bytes_read / 1e9 : NAN;
		pic->mmap_s[p] = both ? (double)d->mmap.passes[p].ns / 1e9 : NAN;
		pic->ideal_gb[p] = (double)(p ? d->weir.info.ideal_bytes : d->m.plan_bytes) / 1e9;
		pic->fio_s[p] = d->fio.bytes_per_second > 0
					? pic->weir_gb[p] * 1e9 / d->fio.bytes_per_second
					: NAN;
	}
}

static int draw(const struct demo *d, struct weir_error *err)
{
	static struct picture pic;
	struct wr_svg_series bytes[] = {{"weir", pic.weir_gb, false},
					{"mmap", pic.mmap_gb, false},
					{"least possible", pic.ideal_gb, true}};
	struct wr_svg_series seconds[] = {{"weir", pic.weir_s, false},
					  {"mmap", pic.mmap_s, false},
					  {"weir's bytes at fio's rate", pic.fio_s, true}};
	struct wr_svg_panel panels[] = {
		{"Bytes read per pass", "GB", "pass", pic.groups, d->weir.nr_passes, bytes, 3},
		{"Time per pass", "s", "pass", pic.groups, d->weir.nr_passes, seconds, 3}};
	char subtitle[256], a[WR_UI_TEXT], b[WR_UI_TEXT];
	struct wr_svg_chart chart = {.title = "Streaming a model that does not fit",
				     .subtitle = subtitle,
				     .panels = panels,
				     .nr_panels = 2};

	fill_picture(d, &pic);
	snprintf(subtitle, sizeof(subtitle),
		 "a pass visits %s; budget %s; both arms under the same memory limit",
		 wr_ui_bytes(a, d->m.plan_bytes), wr_ui_memory(b, d->budget));
	return wr_svg_write(&chart, d->args->svg, err);
}

static json_t *json_arm(const struct wr_arm_result *res)
{
	json_t *passes = json_array();

	for (uint32_t p = 0; p < res->nr_passes; p++)
		json_array_append_new(
			passes, json_pack("{s:f, s:o}", "seconds", (double)res->passes[p].ns / 1e9,
					  "bytes_read", wr_ui_json_u64(res->passes[p].bytes_read)));
	return passes;
}

/* Null without fio, and where fio's clock did not tick. */
static json_t *json_rate(double rate)
{
	return isfinite(rate) && rate > 0 ? json_real(rate) : json_null();
}

static int print_json(const struct demo *d)
{
	int rc = wr_ui_json_print(json_pack(
		"{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "conditions",
		wr_bench_conditions(d->args->path), "path", wr_ui_json_text(d->args->path),
		"plan_bytes", wr_ui_json_u64(d->m.plan_bytes), "budget_bytes",
		wr_ui_json_u64(d->budget), "peak_bytes", wr_ui_json_u64(d->weir_peak),
		"ideal_bytes_per_pass", wr_ui_json_u64(d->weir.info.ideal_bytes), "weir",
		json_arm(&d->weir), "mmap", json_arm(&d->mmap), "fio_bytes_per_second",
		json_rate(d->fio.bytes_per_second), "checksums_equal", checksums_equal(d)));

	return checksums_equal(d) ? rc : WR_EXIT_FAILED;
}

int wr_bench_demo(const struct wr_bench_args *args)
{
	static struct demo d;
	struct weir_plan plan = {.size = sizeof(plan), .unit = (uint32_t)args->unit};
	struct weir_error err;
	int rc;

	d.args = args;
	rc = wr_bench_model_open(&d.m, args->path, &plan, &err);
	if (rc)
		return wr_ui_fail(args->json, "bench demo", &err);
	d.budget = d.m.plan_bytes / 1000 * args->budget_permille;
	wr_ui_interrupt_init();
	rc = run_arms(&d, &err);
	if (!rc && args->svg)
		rc = draw(&d, &err);
	if (rc == -EINTR)
		rc = wr_ui_fail_interrupted(args->json, "bench demo");
	else if (rc)
		rc = wr_ui_fail(args->json, "bench demo", &err);
	else
		rc = args->json ? print_json(&d) : print_text(&d);
	if (rc == WR_EXIT_OK && args->svg && !args->json)
		printf("picture: %s\n", args->svg);
	wr_bench_model_close(&d.m);
	return rc;
}
