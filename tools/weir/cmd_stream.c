/* SPDX-License-Identifier: MIT */
/*
 * weir stream - passes over a model in execution order under a memory budget.
 *
 * The main job, and the number a host's author wants: what a pass costs, in bytes and in
 * seconds, next to the least it could cost.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "arm.h"
#include "ui.h"

struct stream_args {
	struct wr_ui_size budget;
	struct wr_ui_size tile;
	uint32_t passes;
	uint32_t threads;
	int compute;
	int unit;
	int io;
	int page_cache; /* in the order of enum weir_io_page_cache */
	int pages;
	const char *pool_map;
	bool vision;
	bool json;
};

/* In the order of the words of --io. */
static const uint32_t io_backends[] = {WEIR_IO_AUTO,  WEIR_IO_FIXED,	WEIR_IO_URING,
				       WEIR_IO_PREAD, WEIR_IO_BUFFERED, WR_ARM_MMAP};

static json_t *json_pass(const struct wr_arm_pass *pass)
{
	char checksum[20];

	snprintf(checksum, sizeof(checksum), "%016" PRIx64, pass->checksum);
	return json_pack("{s:f, s:o, s:o, s:f, s:f, s:s}", "seconds", (double)pass->ns / 1e9,
			 "bytes_read", wr_ui_json_u64(pass->bytes_read), "bytes_hit",
			 wr_ui_json_u64(pass->bytes_hit), "stall_seconds",
			 (double)pass->stall_ns / 1e9, "compute_seconds",
			 (double)pass->compute_ns / 1e9, "checksum", checksum);
}

static int print_json(const struct wr_arm *arm, const struct wr_arm_result *res)
{
	bool mapped = res->backend == WR_ARM_MMAP;
	json_t *passes = json_array();
	json_t *root;

	for (uint32_t p = 0; p < res->nr_passes; p++)
		json_array_append_new(passes, json_pass(&res->passes[p]));
	root = json_pack(
		"{s:{s:o, s:o, s:o, s:o}, s:o, s:o, s:o, s:o, s:s, s:s, s:s, s:s, s:i,"
		" s:s, s:f, s:f, s:o, s:o, s:o, s:o}",
		"model", "path", wr_ui_json_text(arm->path), "bytes",
		wr_ui_json_u64(res->model_bytes), "tensors", wr_ui_json_u64(res->nr_tensors),
		"groups", wr_ui_json_u64(res->nr_groups), "plan_bytes",
		wr_ui_json_u64(res->info.plan_bytes), "unit_bytes",
		wr_ui_json_u64(res->info.unit_bytes), "budget_bytes",
		mapped ? json_null() : wr_ui_json_u64(arm->budget_bytes), "peak_bytes",
		wr_ui_json_u64(res->peak_bytes), "backend", wr_arm_backend_name(res->backend),
		"backend_reason", mapped ? "asked for" : res->reason, "page_kind",
		mapped ? "page cache" : weir_page_kind_name((int)res->page_kind),
		"page_kind_reason", res->page_reason, "threads", (int)res->threads, "variant",
		res->variant, "open_seconds", (double)res->open_ns / 1e9, "cpu_seconds",
		(double)res->cpu_ns / 1e9, "resident_bytes",
		wr_ui_json_u64(res->info.resident_bytes), "window_bytes",
		wr_ui_json_u64(res->info.window_bytes), "passes", passes, "ideal_bytes_per_pass",
		mapped ? json_null() : wr_ui_json_u64(res->info.ideal_bytes));
	return wr_ui_json_print(root);
}

/* Rows of a name and what is to be said of it, broken where the line ends. */
static int print_head(const struct wr_arm *arm, const struct wr_arm_result *res)
{
	static const struct wr_ui_column columns[] = {{"", WR_UI_LEFT}, {"", WR_UI_WRAP}};
	struct wr_ui_table *t = wr_ui_table_open(columns, 2);
	char a[WR_UI_TEXT], b[WR_UI_TEXT], c[WR_UI_TEXT];
	int rc;

	printf("%s: %" PRIu64 " tensors, %s\n", arm->path, res->nr_tensors,
	       wr_ui_bytes(a, res->model_bytes));
	wr_ui_table_cell(t, "pass");
	wr_ui_table_cell(t, "visits %s in %" PRIu32 " units of at most %s",
			 wr_ui_bytes(a, res->info.plan_bytes), res->info.nr_units,
			 wr_ui_memory(b, res->info.unit_bytes));
	wr_ui_table_cell(t, "budget");
	if (res->backend == WR_ARM_MMAP)
		wr_ui_table_cell(t, "none of its own");
	else
		wr_ui_table_cell(t, "%s: %s stay, two slots take %s",
				 wr_ui_memory(a, arm->budget_bytes),
				 wr_ui_memory(b, res->info.resident_bytes),
				 wr_ui_memory(c, res->info.window_bytes));
	wr_ui_reason(t, "io", wr_arm_backend_name(res->backend),
		     res->backend == WR_ARM_MMAP ? "" : res->reason);
	if (res->backend != WR_ARM_MMAP)
		wr_ui_reason(t, "pages", weir_page_kind_name((int)res->page_kind),
			     res->page_reason);
	rc = wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	return rc;
}

static int print_text(const struct wr_arm *arm, const struct wr_arm_result *res)
{
	static const struct wr_ui_column columns[] = {
		{"pass", WR_UI_RIGHT},	 {"time", WR_UI_RIGHT},	   {"read", WR_UI_RIGHT},
		{"hit", WR_UI_RIGHT},	 {"stalled", WR_UI_RIGHT}, {"compute", WR_UI_RIGHT},
		{"checksum", WR_UI_LEFT}};
	struct wr_ui_table *t = wr_ui_table_open(columns, sizeof(columns) / sizeof(columns[0]));
	char text[WR_UI_TEXT];
	int rc = print_head(arm, res);

	for (uint32_t p = 0; p < res->nr_passes; p++) {
		const struct wr_arm_pass *pass = &res->passes[p];

		wr_ui_table_cell(t, "%" PRIu32, p + 1);
		wr_ui_table_cell(t, "%s", wr_ui_duration(text, (double)pass->ns / 1e9));
		wr_ui_table_cell(t, "%s", wr_ui_bytes(text, pass->bytes_read));
		wr_ui_table_cell(t, "%s", wr_ui_bytes(text, pass->bytes_hit));
		wr_ui_table_cell(t, "%s", wr_ui_duration(text, (double)pass->stall_ns / 1e9));
		wr_ui_table_cell(t, "%s", wr_ui_duration(text, (double)pass->compute_ns / 1e9));
		wr_ui_table_cell(t, "%016" PRIx64, pass->checksum);
	}
	printf("\n");
	rc |= wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	if (res->backend != WR_ARM_MMAP)
		printf("\nleast a pass can read with two units kept free: %s\n",
		       wr_ui_bytes(text, res->info.ideal_bytes));
	printf("peak memory of the process: %s\n", wr_ui_memory(text, res->peak_bytes));
	return rc ? WR_EXIT_FAILED : WR_EXIT_OK;
}

/* What "60%" refers to. */
static int plan_bytes(const struct wr_arm *arm, uint64_t *ret, struct weir_error *err)
{
	struct weir_model *model;
	struct weir_units *units;
	int rc;

	rc = weir_model_open(arm->path, &model, err);
	if (rc)
		return rc;
	rc = weir_units_open(model, &arm->plan, &units, err);
	if (!rc) {
		*ret = wr_units_total(units);
		weir_units_close(units);
	}
	weir_model_close(model);
	return rc;
}

static int run(const struct stream_args *args, const char *path)
{
	struct wr_arm arm = {.path = path,
			     .backend = io_backends[args->io],
			     .page_kinds = args->pages ? 1u << (args->pages - 1) : 0,
			     .page_cache = (uint32_t)args->page_cache,
			     .plan = {.size = sizeof(arm.plan),
				      .unit = (uint32_t)args->unit,
				      .flags = args->vision ? WEIR_PLAN_VISION : 0,
				      .tile_bytes = (size_t)args->tile.bytes},
			     .passes = args->passes,
			     .compute = (enum wr_compute)args->compute,
			     .threads = args->threads,
			     .pool_map = args->pool_map,
			     .progress = !args->json};
	static struct wr_arm_result res;
	uint64_t base = 0;
	int rc;

	rc = plan_bytes(&arm, &base, &res.err);
	if (rc)
		return wr_ui_fail(args->json, "stream", &res.err);
	arm.budget_bytes = wr_ui_size_bytes(&args->budget, base);
	wr_ui_interrupt_init();
	rc = wr_arm_run(&arm, &res);
	if (res.interrupted)
		return wr_ui_fail_interrupted(args->json, "stream");
	if (rc)
		return wr_ui_fail(args->json, "stream", &res.err);
	return args->json ? print_json(&arm, &res) : print_text(&arm, &res);
}

int cmd_stream(int argc, char **argv)
{
	struct stream_args args = {.budget = {.relative = true, .permyriad = 6000}, .passes = 5};
	const struct wr_ui_option options[] = {
		{"budget", WR_UI_SIZE, "SIZE", "memory for weights; N% of what a pass visits (60%)",
		 &args.budget, 0, 0},
		{"passes", WR_UI_U32, "N", "how many passes, at most 64 (5)", &args.passes, 1,
		 WR_ARM_MAX_PASSES},
		{"compute", WR_UI_CHOICE, "touch|gemv", "what to do with the bytes (touch)",
		 &args.compute, 0, 0},
		{"unit", WR_UI_CHOICE, "tile|tensor|group", "what is handed over at a time (tile)",
		 &args.unit, 0, 0},
		{"tile", WR_UI_SIZE, "SIZE", "largest tile (4 to 16 MiB by the plan's size)",
		 &args.tile, 0, 0},
		{"io", WR_UI_CHOICE, "auto|fixed|uring|pread|buffered|mmap",
		 "how the bytes come; mmap: over a mapping (auto)", &args.io, 0, 0},
		{"page-cache", WR_UI_CHOICE, "auto|never|always|spare",
		 "read through it (auto: what is there already)", &args.page_cache, 0, 0},
		{"pages", WR_UI_CHOICE, "auto|4k|thp|2m|1g",
		 "pages to use (auto: largest to be had)", &args.pages, 0, 0},
		{"threads", WR_UI_U32, "N", "compute threads (one per core)", &args.threads, 1,
		 1024},
		{"vision", WR_UI_FLAG, NULL, "visit the vision tower too", &args.vision, 0, 0},
		{"pool-map", WR_UI_STRING, "FILE", "record the pool for weir pool-map",
		 &args.pool_map, 0, 0},
		{"json", WR_UI_FLAG, NULL, "print one JSON object", &args.json, 0, 0},
	};
	const struct wr_ui_usage usage = {
		.name = "stream",
		.args = "PATH",
		.summary = "Run passes over a model in execution order under a memory budget.",
		.options = options,
		.nr_options = sizeof(options) / sizeof(options[0]),
		.min_args = 1,
		.max_args = 1};
	int nr, rc;

	rc = wr_ui_parse(&usage, argc, argv, &nr);
	if (rc != WR_UI_RUN)
		return rc;
	if (args.tile.relative)
		return wr_ui_usage_error(&usage, "--tile takes bytes, not a share");
	if (args.tile.given && !args.tile.bytes)
		return wr_ui_usage_error(&usage, "--tile must be at least 1 byte");
	return run(&args, argv[1]);
}
