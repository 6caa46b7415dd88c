/* SPDX-License-Identifier: MIT */
/* What the benchmarks share; see bench.h. */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "peak.h"
#include "ui.h"

void wr_bench_add(struct wr_bench_series *series, double v)
{
	/* What took no time that the clock can tell has no rate, and a quotient by it none. */
	if (isfinite(v) && series->nr < WR_BENCH_MAX_ROUNDS)
		series->v[series->nr++] = v;
}

static int by_value(const void *pa, const void *pb)
{
	double a = *(const double *)pa, b = *(const double *)pb;

	return (a > b) - (a < b);
}

void wr_bench_sort(double *v, size_t nr)
{
	qsort(v, nr, sizeof(*v), by_value);
}

struct wr_bench_summary wr_bench_summary(const struct wr_bench_series *series)
{
	struct wr_bench_series sorted = *series;
	uint32_t nr = sorted.nr;

	if (!nr)
		return (struct wr_bench_summary){NAN, NAN, NAN};
	wr_bench_sort(sorted.v, nr);
	return (struct wr_bench_summary){.median = (sorted.v[(nr - 1) / 2] + sorted.v[nr / 2]) / 2,
					 .min = sorted.v[0],
					 .max = sorted.v[nr - 1]};
}

const char *wr_bench_text(char text[static WR_BENCH_TEXT], const struct wr_bench_series *series,
			  int decimals)
{
	struct wr_bench_summary s = wr_bench_summary(series);

	if (!series->nr)
		snprintf(text, WR_BENCH_TEXT, "-");
	else if (series->nr == 1)
		snprintf(text, WR_BENCH_TEXT, "%.*f", decimals, s.median);
	else
		snprintf(text, WR_BENCH_TEXT, "%.*f [%.*f-%.*f]", decimals, s.median, decimals,
			 s.min, decimals, s.max);
	return text;
}

void wr_bench_row(struct wr_ui_table *t, const char *what, const struct wr_bench_series *series,
		  int decimals, const char *bar)
{
	char text[WR_BENCH_TEXT];

	wr_ui_table_cell(t, "%s", what);
	wr_ui_table_cell(t, "%s", wr_bench_text(text, series, decimals));
	wr_ui_table_cell(t, "%s", bar);
}

json_t *wr_bench_json(const struct wr_bench_series *series)
{
	struct wr_bench_summary s = wr_bench_summary(series);

	if (!series->nr)
		return json_null();
	return json_pack("{s:f, s:f, s:f, s:i}", "median", s.median, "min", s.min, "max", s.max,
			 "runs", (int)series->nr);
}

int wr_bench_model_open(struct wr_bench_model *m, const char *path, const struct weir_plan *plan,
			struct weir_error *err)
{
	struct weir_units *units = NULL;
	int rc;

	memset(m, 0, sizeof(*m));
	rc = weir_model_open(path, &m->model, err);
	if (rc)
		return rc;
	rc = weir_units_open(m->model, plan, &units, err);
	if (rc)
		goto close;
	m->nr_files = weir_model_nr_files(m->model);
	m->files = calloc(m->nr_files, sizeof(*m->files));
	if (!m->files) {
		rc = -ENOMEM;
		*err = (struct weir_error){.code = rc, .offset = WEIR_OFFSET_NONE};
		goto close;
	}
	for (size_t i = 0; i < m->nr_files; i++)
		m->files[i] = weir_model_file(m->model, (uint32_t)i)->path;
	m->plan_bytes = wr_units_total(units);
close:
	weir_units_close(units);
	if (rc)
		wr_bench_model_close(m);
	return rc;
}

void wr_bench_model_close(struct wr_bench_model *m)
{
	free(m->files);
	weir_model_close(m->model);
	memset(m, 0, sizeof(*m));
}

static int run_arm(void *arg, void *result)
{
	wr_ui_interrupt_init();
	(void)wr_arm_run(arg, result);
	return 0;
}

int wr_bench_arm(const struct wr_bench_model *m, const struct wr_arm *arm, uint64_t limit,
		 struct wr_arm_result *ret, uint64_t *peak, struct weir_error *err)
{
	struct wr_limit_report report = {0};
	struct wr_arm copy = *arm;
	int rc;

	for (size_t i = 0; i < m->nr_files; i++)
		wr_peak_drop_cache(m->files[i]);
	rc = wr_limit_run(limit, run_arm, &copy, ret, sizeof(*ret), &report, err);
	if (rc)
		return rc;
	/* Only we may have been told to stop, as by kill(1); the child saw its work to the end. */
	if (ret->interrupted || report.status == WR_EXIT_INTERRUPTED || wr_ui_interrupted())
		return -EINTR;
	if (!ret->rc && !ret->nr_passes) {
		*err = (struct weir_error){.code = -EIO, .offset = WEIR_OFFSET_NONE};
		snprintf(err->message, sizeof(err->message),
			 "the child ended with status %d under a limit of %llu bytes (%llu OOM "
			 "kills)",
			 report.status, (unsigned long long)report.limit_bytes,
			 (unsigned long long)report.oom_kills);
		return -EIO;
	}
	if (ret->rc)
		*err = ret->err;
	*peak = report.peak_bytes;
	return ret->rc;
}

int wr_bench_fio(const struct wr_bench_model *m, bool huge, struct wr_fio_result *ret,
		 struct weir_error *err)
{
	struct wr_fio_opts opts = {.files = m->files, .nr_files = m->nr_files, .huge_pages = huge};

	return wr_fio_read(&opts, ret, err);
}

double wr_bench_pass_seconds(const struct wr_arm_pass *pass)
{
	return (double)pass->ns / 1e9;
}

double wr_bench_pass_read(const struct wr_arm_pass *pass)
{
	return (double)pass->bytes_read;
}

double wr_bench_steady(const struct wr_arm_result *res, double (*get)(const struct wr_arm_pass *))
{
	struct wr_bench_series series = {0};

	for (uint32_t p = res->nr_passes > 1 ? 1 : 0; p < res->nr_passes; p++)
		wr_bench_add(&series, get(&res->passes[p]));
	return wr_bench_summary(&series).median;
}

/* The word in brackets: what the kernel does. */
static const char *thp_setting(char text[static WR_UI_TEXT])
{
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");
	char line[128], *open, *close;

	snprintf(text, WR_UI_TEXT, "none");
	if (!f)
		return text;
	if (fgets(line, sizeof(line), f) && (open = strchr(line, '[')) &&
	    (close = strchr(open, ']')))
		snprintf(text, WR_UI_TEXT, "%.*s", (int)(close - open - 1), open + 1);
	fclose(f);
	return text;
}

json_t *wr_bench_conditions(const char *path)
{
	char thp[WR_UI_TEXT];
	struct wr_peak_device dev;
	struct utsname uts;
	double load[3] = {0};
	json_t *root;

	if (uname(&uts))
		return json_null();
	if (getloadavg(load, 3) < 1)
		load[0] = -1;
	root = json_pack("{s:s, s:f, s:s, s:s}", "kernel", uts.release, "load_average", load[0],
			 "weir", weir_version(), "transparent_huge_pages", thp_setting(thp));
	if (path && !wr_peak_device_find(path, &dev)) {
		json_object_set_new(root, "device", json_string(dev.name));
		json_object_set_new(root, "read_ahead_kb", wr_ui_json_u64(dev.read_ahead_kb));
		json_object_set_new(root, "scheduler", json_string(dev.scheduler));
	}
	return root;
}

void wr_bench_print_conditions(const char *path)
{
	struct wr_peak_device dev;
	char thp[WR_UI_TEXT];
	struct utsname uts;
	double load[3] = {0};

	if (uname(&uts) || getloadavg(load, 3) < 1)
		return;
	wr_ui_say("weir %s, Linux %s, load %.1f, THP %s", weir_version(), uts.release, load[0],
		  thp_setting(thp));
	if (path && !wr_peak_device_find(path, &dev))
		wr_ui_say("%s: read_ahead_kb %llu, scheduler %s", dev.name,
			  (unsigned long long)dev.read_ahead_kb, dev.scheduler);
}
