/* SPDX-License-Identifier: MIT */
/*
 * weir replay - recorded references through every policy, next to the order that knows the future.
 *
 * Which policy a load needs, and how much memory, is answered here without running the load.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy.h"
#include "replay.h"

struct replay_args {
	struct wr_ui_size budget;
	struct wr_ui_size block;
	struct wr_ui_size rate;
	uint32_t latency_us;
	const char *policy;
	const char *sizes;
	const char *svg;
	bool by_bytes;
	bool matrix;
	bool json;
};

static const char default_sizes[] = "1%,2%,5%,10%,20%,30%,50%,75%";

static int pick_policies(struct wr_replay_table *table, const char *wanted)
{
	bool all = !strcmp(wanted, "all");

	for (size_t i = 0; wr_policy_name(i); i++)
		if (all || !strcmp(wr_policy_name(i), wanted))
			table->policies[table->nr_policies++] = wr_policy_name(i);
	return table->nr_policies ? 0 : -ENOENT;
}

static int by_capacity(const void *a, const void *b)
{
	const struct wr_replay_point *x = a, *y = b;

	return (x->capacity > y->capacity) - (x->capacity < y->capacity);
}

/* A list of sizes, of which shares refer to @base. 0, -EINVAL, -ENOMEM. */
static int pick_sizes(struct wr_replay_table *table, const char *list, uint64_t base)
{
	char *copy = strdup(list);
	char *rest = copy;
	char *word;
	int rc = copy ? 0 : -ENOMEM;

	table->points = calloc(WR_REPLAY_MAX_SIZES, sizeof(*table->points));
	if (!table->points)
		rc = -ENOMEM;
	while (!rc && (word = strsep(&rest, ",")) != NULL) {
		struct wr_ui_size size = {0};

		if (table->nr_points == WR_REPLAY_MAX_SIZES || wr_ui_parse_size(word, &size))
			rc = -EINVAL;
		else
			table->points[table->nr_points].capacity = wr_ui_size_bytes(&size, base);
		if (!rc && !table->points[table->nr_points++].capacity)
			rc = -EINVAL;
	}
	if (!rc)
		qsort(table->points, table->nr_points, sizeof(*table->points), by_capacity);
	free(copy);
	return rc;
}

static int fail(const struct replay_args *args, int rc, const char *what)
{
	if (rc == -EINTR)
		return wr_ui_fail_interrupted(args->json, "replay");
	return wr_ui_fail_code(args->json, "replay", rc, "%s", what);
}

static int replay(const struct replay_args *args, struct wr_replay_table *table)
{
	const struct wr_trace *t = table->trace;
	struct wr_ui_progress progress;
	const struct wr_replay_opts opts = {.device_bps = args->rate.bytes,
					    .latency_ns = (uint64_t)args->latency_us * 1000,
					    .by_bytes = args->by_bytes,
					    .progress = &progress};
	struct weir_error err;
	int rc;

	wr_ui_progress_start(&progress, "replayed",
			     t->ref_bytes * (table->nr_policies + 1) * table->nr_points,
			     args->json);
	rc = wr_replay_fill(table, &opts);
	wr_ui_progress_end(&progress);
	if (rc)
		return fail(args, rc, "the replay failed");
	if (args->svg) {
		rc = wr_replay_draw(table, args->svg, &err);
		if (rc)
			return wr_ui_fail(args->json, "replay", &err);
	}
	return args->json ? wr_replay_print_json(table) : wr_replay_print_text(table);
}

static int run(const struct replay_args *args, const struct wr_ui_usage *usage, const char *path)
{
	struct wr_replay_table table = {.path = path, .is_timed = args->rate.bytes != 0};
	struct weir_error err;
	struct wr_trace trace;
	char budget[64];
	const char *sizes = args->sizes;
	int rc;

	if (pick_policies(&table, args->policy))
		return wr_ui_usage_error(usage, "there is no policy %s", args->policy);
	rc = wr_trace_open(path, args->block.bytes, args->json, &trace, &err);
	if (rc == -EINTR)
		return wr_ui_fail_interrupted(args->json, "replay");
	if (rc)
		return wr_ui_fail(args->json, "replay", &err);
	table.trace = &trace;
	snprintf(budget, sizeof(budget), "%llu",
		 (unsigned long long)wr_ui_size_bytes(&args->budget, trace.object_bytes));
	if (!sizes)
		sizes = args->svg && !args->budget.given ? default_sizes : budget;
	rc = pick_sizes(&table, sizes, trace.object_bytes);
	if (rc == -EINVAL)
		rc = wr_ui_usage_error(usage, "sizes are at most %d, above 0, as in 10%%,4GiB",
				       WR_REPLAY_MAX_SIZES);
	else
		rc = rc ? fail(args, rc, "no memory") : replay(args, &table);
	free(table.points);
	wr_trace_close(&trace);
	return rc;
}

int cmd_replay(int argc, char **argv)
{
	struct replay_args args = {.budget = {.relative = true, .permyriad = 1000},
				   .block = {.bytes = 4096},
				   .policy = "all"};
	const struct wr_ui_option options[] = {
		{"budget", WR_UI_SIZE, "SIZE", "the cache; N% of the bytes of all things (10%)",
		 &args.budget, 0, 0},
		{"policy", WR_UI_STRING, "NAME", "one policy, or all (all)", &args.policy, 0, 0},
		{"sizes", WR_UI_STRING, "LIST", "several budgets, separated by commas", &args.sizes,
		 0, 0},
		{"svg", WR_UI_STRING, "FILE", "draw hits over size (for --sizes or eight sizes)",
		 &args.svg, 0, 0},
		{"by-bytes", WR_UI_FLAG, NULL, "auto compares bytes that hit, not references",
		 &args.by_bytes, 0, 0},
		{"block", WR_UI_SIZE, "SIZE", "size of things where the trace states none (4KiB)",
		 &args.block, 0, 0},
		{"device-rate", WR_UI_SIZE, "SIZE", "bytes a second of a device: print the time",
		 &args.rate, 0, 0},
		{"latency", WR_UI_U32, "USEC", "of each read from that device (0)",
		 &args.latency_us, 0, 0},
		{"matrix", WR_UI_FLAG, NULL, "auto against the best, on all traces and generators",
		 &args.matrix, 0, 0},
		{"json", WR_UI_FLAG, NULL, "print one JSON object", &args.json, 0, 0},
	};
	const struct wr_ui_usage usage = {
		.name = "replay",
		.args = "TRACE...",
		.summary = "Run a recorded trace through cache policies, next to the best order.",
		.options = options,
		.nr_options = sizeof(options) / sizeof(options[0]),
		.min_args = 0,
		.max_args = -1};
	int nr, rc;

	rc = wr_ui_parse(&usage, argc, argv, &nr);
	if (rc != WR_UI_RUN)
		return rc;
	if (args.block.relative || !args.block.bytes)
		return wr_ui_usage_error(&usage, "--block takes bytes, above 0");
	if (args.rate.relative)
		return wr_ui_usage_error(&usage, "--device-rate takes bytes a second");
	if (!args.matrix && nr != 1)
		return wr_ui_usage_error(&usage, "one trace, or --matrix and any number of them");
	wr_ui_interrupt_init();
	if (args.matrix)
		return wr_replay_matrix(argv + 1, (size_t)nr, args.block.bytes, args.json);
	return run(&args, &usage, argv[1]);
}
