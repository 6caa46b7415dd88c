/* SPDX-License-Identifier: MIT */
/*
 * weir load - read a whole model cold into memory and time it.
 *
 * Memory is touched before the clock starts, since a host does that once and then keeps it;
 * how long that took is printed as a row of its own.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "loadrun.h"
#include "peak.h"
#include "rung.h"
#include "ui.h"

static int print_json(const struct wr_loadrun *run, const struct wr_loadrun_result *res)
{
	struct weir_pool *pool = weir_get_pool(run->weir);
	double seconds = (double)res->ns / 1e9;
	struct wr_rung rung;

	wr_rung_of(weir_get_io(run->weir), run->model, &rung);
	return wr_ui_json_print(json_pack(
		"{s:o, s:o, s:f, s:f, s:f, s:f, s:s, s:s, s:s, s:s, s:I, s:o}", "bytes",
		wr_ui_json_u64(res->bytes), "bytes_read", wr_ui_json_u64(res->bytes_read),
		"seconds", seconds, "bytes_per_second", (double)res->bytes / seconds, "cpu_seconds",
		(double)res->cpu_ns / 1e9, "open_seconds", (double)run->open_ns / 1e9, "backend",
		weir_io_backend_name((int)rung.backend), "backend_reason", rung.reason, "page_kind",
		weir_page_kind_name(weir_pool_page_kind(pool)), "page_kind_reason",
		weir_pool_page_reason(pool), "page_cache_growth_bytes",
		(json_int_t)res->cache_growth, "peak_bytes", wr_ui_json_u64(wr_peak_bytes())));
}

static int print_text(const struct wr_loadrun *run, const struct wr_loadrun_result *res)
{
	static const struct wr_ui_column columns[] = {{"", WR_UI_LEFT}, {"", WR_UI_WRAP}};
	struct wr_ui_table *t = wr_ui_table_open(columns, 2);
	struct weir_pool *pool = weir_get_pool(run->weir);
	char a[WR_UI_TEXT], b[WR_UI_TEXT], c[WR_UI_TEXT];
	double seconds = (double)res->ns / 1e9;
	struct wr_rung rung;
	int rc;

	wr_rung_of(weir_get_io(run->weir), run->model, &rung);
	wr_ui_table_cell(t, "loaded");
	wr_ui_table_cell(t, "%s in %s: %s, %.3f CPU s/GB", wr_ui_bytes(a, res->bytes),
			 wr_ui_duration(b, seconds), wr_ui_rate(c, (double)res->bytes / seconds),
			 res->bytes ? (double)res->cpu_ns / (double)res->bytes : 0.0);
	wr_ui_reason(t, "io", weir_io_backend_name((int)rung.backend), rung.reason);
	wr_ui_reason(t, "pages", weir_page_kind_name(weir_pool_page_kind(pool)),
		     weir_pool_page_reason(pool));
	wr_ui_table_cell(t, "page cache");
	wr_ui_table_cell(t, "grew by %" PRId64 " bytes", res->cache_growth);
	wr_ui_table_cell(t, "before that");
	wr_ui_table_cell(t, "%s to open and touch the memory",
			 wr_ui_duration(a, (double)run->open_ns / 1e9));
	wr_ui_table_cell(t, "peak memory");
	wr_ui_table_cell(t, "%s", wr_ui_memory(a, wr_peak_bytes()));
	rc = wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	return rc ? wr_ui_fail_code(false, "load", rc, "no memory for the table") : WR_EXIT_OK;
}

/* A load has nothing to put back in order, and the library ends none half-way. */
static void stop_now(int signal_number)
{
	(void)signal_number;
	_exit(WR_EXIT_INTERRUPTED);
}

int cmd_load(int argc, char **argv)
{
	int io = 0, pages = 0;
	bool json = false;
	const struct wr_ui_option options[] = {
		{"io", WR_UI_CHOICE, "auto|fixed|uring|pread|buffered", "how the bytes come (auto)",
		 &io, 0, 0},
		{"pages", WR_UI_CHOICE, "auto|4k|thp|2m|1g",
		 "pages to use (auto: largest to be had)", &pages, 0, 0},
		{"json", WR_UI_FLAG, NULL, "print one JSON object", &json, 0, 0},
	};
	const struct wr_ui_usage usage = {.name = "load",
					  .args = "PATH",
					  .summary = "Read a whole model cold into memory.",
					  .options = options,
					  .nr_options = sizeof(options) / sizeof(options[0]),
					  .min_args = 1,
					  .max_args = 1};
	struct wr_loadrun_result res;
	struct wr_loadrun run;
	struct weir_error err;
	int nr, rc;

	rc = wr_ui_parse(&usage, argc, argv, &nr);
	if (rc != WR_UI_RUN)
		return rc;
	signal(SIGINT, stop_now);
	signal(SIGTERM, stop_now);
	/* --io's words are in the order of enum weir_io_backend. */
	rc = wr_loadrun_open(&run, argv[1], (uint32_t)io, pages ? 1u << (pages - 1) : 0, json,
			     &err);
	if (rc)
		return wr_ui_fail(json, "load", &err);
	rc = wr_loadrun_once(&run, &res, &err);
	if (rc)
		rc = wr_ui_fail(json, "load", &err);
	else
		rc = json ? print_json(&run, &res) : print_text(&run, &res);
	wr_loadrun_close(&run);
	return rc;
}
