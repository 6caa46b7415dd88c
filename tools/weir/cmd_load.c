/* SPDX-License-Identifier: MIT */
/*
 * weir load - read a whole model cold into memory and time it.
 *
 * Memory is touched before the clock starts, since a host does that once and then keeps it;
 * how long that took is printed as a row of its own.
 */
#include <inttypes.h>
#include <stdio.h>

#include "loadrun.h"
#include "peak.h"
#include "ui.h"

static int print_json(const struct wr_loadrun *run, const struct wr_loadrun_result *res)
{
	struct weir_io *io = weir_get_io(run->weir);
	struct weir_pool *pool = weir_get_pool(run->weir);
	double seconds = (double)res->ns / 1e9;

	return wr_ui_json_print(json_pack(
		"{s:o, s:o, s:f, s:f, s:f, s:f, s:s, s:s, s:s, s:s, s:I, s:o}", "bytes",
		wr_ui_json_u64(res->bytes), "bytes_read", wr_ui_json_u64(res->bytes_read),
		"seconds", seconds, "bytes_per_second", (double)res->bytes / seconds, "cpu_seconds",
		(double)res->cpu_ns / 1e9, "open_seconds", (double)run->open_ns / 1e9, "backend",
		weir_io_backend_name(weir_io_backend(io)), "backend_reason",
		weir_io_backend_reason(io), "page_kind",
		weir_page_kind_name(weir_pool_page_kind(pool)), "page_kind_reason",
		weir_pool_page_reason(pool), "page_cache_growth_bytes",
		(json_int_t)res->cache_growth, "peak_bytes", wr_ui_json_u64(wr_peak_bytes())));
}

static int print_text(const struct wr_loadrun *run, const struct wr_loadrun_result *res)
{
	struct weir_io *io = weir_get_io(run->weir);
	struct weir_pool *pool = weir_get_pool(run->weir);
	char a[WR_UI_TEXT], b[WR_UI_TEXT], c[WR_UI_TEXT];
	double seconds = (double)res->ns / 1e9;

	printf("loaded       %s in %s: %s, %.3f CPU s/GB\n", wr_ui_bytes(a, res->bytes),
	       wr_ui_duration(b, seconds), wr_ui_rate(c, (double)res->bytes / seconds),
	       (double)res->cpu_ns / (double)res->bytes);
	printf("io           %s: %s\n", weir_io_backend_name(weir_io_backend(io)),
	       weir_io_backend_reason(io));
	printf("pages        %s: %s\n", weir_page_kind_name(weir_pool_page_kind(pool)),
	       weir_pool_page_reason(pool));
	printf("page cache   grew by %" PRId64 " bytes\n", res->cache_growth);
	printf("before that  %s to open and touch the memory\n",
	       wr_ui_duration(a, (double)run->open_ns / 1e9));
	printf("peak memory  %s\n", wr_ui_memory(a, wr_peak_bytes()));
	return WR_EXIT_OK;
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
