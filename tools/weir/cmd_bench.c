/* SPDX-License-Identifier: MIT */
/*
 * weir bench - ratios against peers and limits, both measured in the same run.
 */
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "ui.h"

static const struct {
	const char *name;
	int (*run)(const struct wr_bench_args *args);
	bool needs_path;
	const char *help;
} benches[] = {
	{"load", wr_bench_load, true, "cold loads against fio"},
	{"stream", wr_bench_stream, true,
	 "passes against mmap under the same memory limit, and the bounds"},
	{"ladder", wr_bench_ladder, true, "passes on every rung of the io ladder"},
	{"demo", wr_bench_demo, true,
	 "one run of each arm, pass by pass, as a table and a picture"},
	{"store", wr_bench_store, true,
	 "the store of owned blocks against fio, in the folder PATH"},
	{"pool", wr_bench_pool, false, "the memory pool against packaged allocators"},
	{"lock", wr_bench_lock, false, "the locks against pthread and ThreadSanitizer"},
	{"cache", wr_bench_cache, false, "hits of the cache, against RocksDB's caches"},
	{"metrics", wr_bench_metrics, false, "what counting costs, against prometheus-cpp"},
	{"instrument", wr_bench_instrument, false, "what counting and probing cost pool and cache"},
	{"trace", wr_bench_trace, false,
	 "what watching a process costs it, over PATH also passes (BPF)"},
	{"predict", wr_bench_predict, false,
	 "what reading ahead is worth, simulated; PATH, if any: a trace"},
	{"ahead", wr_bench_ahead, true,
	 "a cache that fetches ahead, in time; PATH: a folder, or a routing"},
	{"gemv", wr_bench_gemv, false, "the compute kernels against a plain read of memory"},
};

/* What the command does, and a line for each benchmark. */
static const char *summary(char *text, size_t size)
{
	size_t at = (size_t)snprintf(
		text, size, "%s\n\nBenchmarks:\n",
		"Measure against peers and limits, alternating, as paired ratios.");

	for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]) && at < size; i++) {
		int left = snprintf(text + at, size - at, "  %s%s", benches[i].name,
				    benches[i].needs_path ? " PATH" : "");

		at += (size_t)left;
		if (at < size)
			at += (size_t)snprintf(text + at, size - at, "%*s%s\n", 15 - left, "",
					       benches[i].help);
	}
	/* The caller ends the line. */
	if (at && at <= size)
		text[at - 1] = '\0';
	return text;
}

int cmd_bench(int argc, char **argv)
{
	char about[2048];
	struct wr_ui_size budget = {.relative = true, .permyriad = 6000};
	struct wr_bench_args args = {.rounds = 5, .passes = 5, .compute = WR_COMPUTE_GEMV};
	const struct wr_ui_option options[] = {
		{"rounds", WR_UI_U32, "N", "how often every arm runs (5)", &args.rounds, 1,
		 WR_BENCH_MAX_ROUNDS},
		{"passes", WR_UI_U32, "N", "passes of a run (5)", &args.passes, 2,
		 WR_ARM_MAX_PASSES},
		{"compute", WR_UI_CHOICE, "touch|gemv", "what to do with the bytes (gemv)",
		 &args.compute, 0, 0},
		{"unit", WR_UI_CHOICE, "tile|tensor|group", "what is handed over at a time (tile)",
		 &args.unit, 0, 0},
		{"budget", WR_UI_SIZE, "N%", "ladder, demo: of what a pass visits (60%)", &budget,
		 0, 0},
		{"svg", WR_UI_STRING, "FILE", "draw a picture", &args.svg, 0, 0},
		{"json", WR_UI_FLAG, NULL, "print one JSON object", &args.json, 0, 0},
	};
	const struct wr_ui_usage usage = {.name = "bench",
					  .args = "BENCHMARK [PATH]",
					  .summary = summary(about, sizeof(about)),
					  .options = options,
					  .nr_options = sizeof(options) / sizeof(options[0]),
					  .min_args = 1,
					  .max_args = 2};
	int nr, rc;

	rc = wr_ui_parse(&usage, argc, argv, &nr);
	if (rc != WR_UI_RUN)
		return rc;
	if (!budget.relative || !budget.permyriad)
		return wr_ui_usage_error(&usage, "--budget takes a share, such as 60%%");
	args.budget_permille = budget.permyriad / 10;
	args.path = nr > 1 ? argv[2] : NULL;
	for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++) {
		if (strcmp(argv[1], benches[i].name))
			continue;
		if (benches[i].needs_path && !args.path)
			return wr_ui_usage_error(&usage, "%s needs a PATH", argv[1]);
		if (!benches[i].needs_path && args.path && benches[i].run != wr_bench_predict &&
		    benches[i].run != wr_bench_trace)
			return wr_ui_usage_error(&usage, "one argument too many: %s", args.path);
		return benches[i].run(&args);
	}
	return wr_ui_usage_error(&usage, "there is no benchmark \"%s\"", argv[1]);
}
