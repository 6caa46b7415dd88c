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
#include "turns.h"
#include "ui.h"

struct stream_args {
	struct wr_ui_size budget;
	struct wr_ui_size tile;
	uint32_t passes;
	uint32_t threads;
	int compute;
	int unit;
	int experts;
	int io;
	int page_cache; /* in the order of enum weir_io_page_cache */
	int pages;
	const char *pool_map;
	const char *turns;
	const char *routing;
	const char *policy;
	const char *kv;
	const char *l3_dir;
	const char *trace_out;
	const char *rules;
	struct weir_plan_rule rule[WEIR_PLAN_RULES_MAX];
	uint64_t nr_rules;
	char rule_text[4096];
	bool has_rows;
	uint32_t prompt;
	struct wr_ui_size l3_budget;
	uint64_t kv_blocks, kv_bytes;
	uint64_t seed;
	uint32_t chosen;
	uint32_t together;
	uint32_t foresee;
	bool ahead;
	bool vision;
	bool json;
};

/* In the order of the words of --io. */
static const uint32_t io_backends[] = {WEIR_IO_AUTO,  WEIR_IO_FIXED,	WEIR_IO_URING,
				       WEIR_IO_PREAD, WEIR_IO_BUFFERED, WR_ARM_MMAP};
#define NR_MMAP 5

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

static struct wr_arm arm_of(const struct stream_args *args, const char *path)
{
	return (struct wr_arm){.path = path,
			       .backend = io_backends[args->io],
			       .page_kinds = args->pages ? 1u << (args->pages - 1) : 0,
			       .page_cache = (uint32_t)args->page_cache,
			       .plan = {.size = sizeof(struct weir_plan),
					.unit = (uint32_t)args->unit,
					.flags = args->vision ? WEIR_PLAN_VISION : 0,
					.tile_bytes = (size_t)args->tile.bytes,
					.rules = args->rule,
					.nr_rules = args->nr_rules},
			       .passes = args->passes,
			       .compute = (enum wr_compute)args->compute,
			       .threads = args->threads,
			       .pool_map = args->pool_map,
			       .progress = !args->json};
}

static int run(const struct stream_args *args, const char *path)
{
	static struct wr_arm_result res;
	struct wr_arm arm = arm_of(args, path);
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

static int run_turns(const struct stream_args *args, const char *path)
{
	static struct wr_turns_result res;
	struct wr_turns turns = {.arm = arm_of(args, path),
				 .pattern = args->turns	   ? args->turns
					    : args->vision ? "i"
							   : "t",
				 .routing = args->routing,
				 .nr_chosen = args->chosen,
				 .seed = args->seed,
				 .policy = args->policy,
				 .nr_together = args->together,
				 .foresee_permille = args->foresee * 10,
				 .ahead = args->ahead,
				 .kv_blocks = args->kv_blocks,
				 .kv_bytes = args->kv_bytes,
				 .l3_dir = args->l3_dir,
				 .l3_bytes = args->l3_budget.bytes,
				 .trace_out = args->trace_out,
				 .nr_prompt = args->prompt};
	uint64_t base = 0;
	int rc;

	turns.arm.plan.flags = 0;
	rc = plan_bytes(&turns.arm, &base, &res.err);
	if (rc)
		return wr_ui_fail(args->json, "stream", &res.err);
	turns.arm.budget_bytes = wr_ui_size_bytes(&args->budget, base);
	/* A block has a page of its own to say what it is, and what is replaced is still there. */
	if (!turns.l3_bytes)
		turns.l3_bytes = 2 * args->kv_blocks * (args->kv_bytes + 8192) + (64u << 20);
	wr_ui_interrupt_init();
	rc = wr_turns_run(&turns, &res);
	if (res.interrupted)
		return wr_ui_fail_interrupted(args->json, "stream");
	if (rc)
		return wr_ui_fail(args->json, "stream", &res.err);
	return args->json ? wr_turns_print_json(&turns, &res) : wr_turns_print_text(&turns, &res);
}

/* "64/2MiB": blocks, and bytes of each. */
static bool parse_kv(struct stream_args *args)
{
	const char *slash = args->kv ? strchr(args->kv, '/') : NULL;
	struct wr_ui_size size = {0};
	char number[24];

	if (!args->kv)
		return true;
	if (!slash || (size_t)(slash - args->kv) >= sizeof(number))
		return false;
	(void)snprintf(number, sizeof(number), "%.*s", (int)(slash - args->kv), args->kv);
	if (wr_ui_parse_u64(number, &args->kv_blocks) || wr_ui_parse_size(slash + 1, &size) ||
	    size.relative || size.bytes < 8 || size.bytes > UINT32_MAX || !args->kv_blocks ||
	    args->kv_blocks > 1u << 24)
		return false;
	args->kv_bytes = size.bytes / 8 * 8;
	return true;
}

/* "GLOB=pin,GLOB=rows": how tensors are kept. */
static bool parse_rules(struct stream_args *args)
{
	static const char *const kinds[] = {"normal", "pin", "stream", "rows"};
	char *at = args->rule_text, *next, *equals;
	uint64_t kind;

	if (!args->rules)
		return true;
	if (strlen(args->rules) >= sizeof(args->rule_text))
		return false;
	strcpy(args->rule_text, args->rules);
	for (; at; at = next) {
		next = strchr(at, ',');
		if (next)
			*next++ = '\0';
		equals = strrchr(at, '=');
		if (!equals || equals == at || args->nr_rules == WEIR_PLAN_RULES_MAX)
			return false;
		*equals++ = '\0';
		for (kind = 0; kind < 4 && strcmp(equals, kinds[kind]) != 0; kind++)
			;
		if (kind == 4)
			return false;
		args->has_rows |= kind == WEIR_TENSOR_ROWS;
		args->rule[args->nr_rules++] = (struct weir_plan_rule){at, kind};
	}
	return true;
}

static int check(const struct wr_ui_usage *usage, struct stream_args *args)
{
	if (args->tile.relative || args->l3_budget.relative)
		return wr_ui_usage_error(usage, "--tile and --l3-budget take bytes, not a share");
	if (args->tile.given && !args->tile.bytes)
		return wr_ui_usage_error(usage, "--tile must be at least 1 byte");
	if (args->turns && (!args->turns[0] || strlen(args->turns) > WR_TURNS_MAX ||
			    strspn(args->turns, "ti") != strlen(args->turns)))
		return wr_ui_usage_error(usage,
					 "--turns takes a letter for each turn, t or i, at "
					 "most %d",
					 WR_TURNS_MAX);
	if (!parse_kv(args))
		return wr_ui_usage_error(usage, "--kv takes blocks and bytes of each: 64/2MiB");
	if (!parse_rules(args))
		return wr_ui_usage_error(usage, "--rule takes GLOB=pin, stream, rows or normal, "
						"and commas between several");
	if (args->l3_dir && !args->kv)
		return wr_ui_usage_error(usage, "--l3 is for KV blocks: give --kv");
	if (args->io == NR_MMAP && (args->kv || args->trace_out))
		return wr_ui_usage_error(usage, "--io mmap has no cache for --kv or --trace-out");
	return WR_UI_RUN;
}

/* By what is asked for, and by what the model is. */
static int choose(const struct wr_ui_usage *usage, struct stream_args *args, const char *path)
{
	struct weir_error err;
	bool is_mixture;
	int rc = wr_turns_is_mixture(path, &is_mixture, &err);

	if (rc)
		return wr_ui_fail(args->json, "stream", &err);
	is_mixture = is_mixture && args->experts == 0;
	if (!is_mixture && (args->routing || args->foresee || args->ahead || args->together))
		return wr_ui_usage_error(usage, "the model has no experts to choose from");
	if (!is_mixture && args->policy && strcmp(args->policy, "auto") && !args->kv)
		return wr_ui_usage_error(usage, "what stays of a dense model follows from its "
						"order; --policy is for experts and KV blocks");
	if (args->pool_map &&
	    (is_mixture || args->turns || args->kv || args->trace_out || args->has_rows))
		return wr_ui_usage_error(usage, "--pool-map is for passes over a dense model");
	if (is_mixture || args->turns || args->kv || args->trace_out || args->has_rows)
		return run_turns(args, path);
	if (args->passes > WR_ARM_MAX_PASSES)
		return wr_ui_usage_error(usage, "--passes is at most %d without --turns",
					 WR_ARM_MAX_PASSES);
	return run(args, path);
}

int cmd_stream(int argc, char **argv)
{
	struct stream_args args = {.budget = {.relative = true, .permyriad = 6000},
				   .passes = 5,
				   .chosen = 8,
				   .prompt = 64,
				   .seed = 1};
	const struct wr_ui_option options[] = {
		{"budget", WR_UI_SIZE, "SIZE", "memory for weights; N% of what a pass visits (60%)",
		 &args.budget, 0, 0},
		{"passes", WR_UI_U32, "N", "passes, or tokens of a turn (5)", &args.passes, 1,
		 100000},
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
		{"experts", WR_UI_CHOICE, "routed|all",
		 "those that tokens use, or all by plan (routed)", &args.experts, 0, 0},
		{"turns", WR_UI_STRING, "PATTERN", "a letter for each turn: t text, i image (t)",
		 &args.turns, 0, 0},
		{"routing", WR_UI_STRING, "FILE", "which experts tokens use (generated)",
		 &args.routing, 0, 0},
		{"chosen", WR_UI_U32, "N", "experts of a layer that a generated token uses (8)",
		 &args.chosen, 1, 256},
		{"seed", WR_UI_U64, "S", "of the generated routing (1)", &args.seed, 0, 0},
		{"policy", WR_UI_STRING, "NAME", "of experts and KV blocks (auto)", &args.policy, 0,
		 0},
		{"together", WR_UI_U32, "N", "experts got at a time (all of a layer)",
		 &args.together, 1, 256},
		{"foresee", WR_UI_U32, "PERCENT",
		 "experts named a layer before, right so often (0)", &args.foresee, 1, 100},
		{"ahead", WR_UI_FLAG, NULL, "foresee experts from those before, read them ahead",
		 &args.ahead, 0, 0},
		{"rule", WR_UI_STRING, "GLOB=KIND,...",
		 "how tensors are kept: pin, stream, rows, normal", &args.rules, 0, 0},
		{"prompt", WR_UI_U32, "N", "tokens a turn begins with: rows got at once (64)",
		 &args.prompt, 0, 65536},
		{"kv", WR_UI_STRING, "N/SIZE", "put N KV blocks of SIZE, and get them back",
		 &args.kv, 0, 0},
		{"l3", WR_UI_STRING, "DIR", "where KV blocks go when memory is short", &args.l3_dir,
		 0, 0},
		{"l3-budget", WR_UI_SIZE, "SIZE",
		 "of the files there (twice the blocks, and 64 MiB)", &args.l3_budget, 0, 0},
		{"trace-out", WR_UI_STRING, "FILE", "write what was asked for, for weir replay",
		 &args.trace_out, 0, 0},
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
	rc = check(&usage, &args);
	return rc == WR_UI_RUN ? choose(&usage, &args, argv[1]) : rc;
}
