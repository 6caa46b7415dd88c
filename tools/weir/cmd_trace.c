/* SPDX-License-Identifier: MIT */
/*
 * weir trace - what the kernel sees of a running process: start, stop, status, report.
 *
 * start pins and ends; the tracing goes on in the kernel. Without a word it is start, wait and
 * report in one, and leaves nothing.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include <weir/trace.h>

#include "tracing.h"
#include "ui.h"

struct request {
	const char *pin_dir, *perfetto, *svg, *parts;
	uint32_t pid, seconds, min_us;
	int folded; /* enum wr_tracing_folded, or -1 */
	bool json, stacks, deep, force;
};

static int fail(const struct request *r, struct weir_error *err)
{
	return wr_ui_fail(r->json, "trace", err);
}

static int show(const struct request *r, struct weir_trace *trace)
{
	struct weir_error err = {0};
	struct wr_tracing all;
	int rc = wr_tracing_read(trace, &all);

	if (rc)
		return wr_ui_fail_code(r->json, "trace", rc, "the maps cannot be read: %s",
				       weir_strerror(rc));
	if ((r->perfetto && wr_tracing_perfetto(trace, &all, r->perfetto, &err)) ||
	    (r->svg && wr_tracing_heat(trace, &all, r->svg, &err)) ||
	    (r->folded >= 0 && wr_tracing_folded(&all, (enum wr_tracing_folded)r->folded, &err))) {
		wr_tracing_fini(&all);
		return fail(r, &err);
	}
	if (r->folded >= 0)
		rc = WR_EXIT_OK;
	else if (r->json)
		rc = wr_ui_json_print(wr_tracing_json(trace, &all));
	else
		wr_tracing_print(trace, &all);
	wr_tracing_fini(&all);
	return rc;
}

/* Parts in one line each: what works, and why the others do not. */
static int print_status(const struct request *r, const struct weir_trace *trace)
{
	json_t *parts = json_array();
	const char *name, *reason;

	for (uint32_t i = 0; i < WEIR_TRACE_NR_PARTS; i++) {
		int rc = weir_trace_part(trace, i, &name, &reason);

		if (!r->json)
			printf("%-11s %-3s  %s\n", name, rc ? "off" : "on", reason);
		json_array_append_new(parts, json_pack("{s:s, s:b, s:i, s:s}", "part", name, "on",
						       rc == 0, "errno", -rc, "reason", reason));
	}
	if (r->json)
		return wr_ui_json_print(
			json_pack("{s:i, s:o}", "pid", (int)r->pid, "parts", parts));
	json_decref(parts);
	return WR_EXIT_OK;
}

/* Names with commas between them; 0 for no list, -1 for a word that is none. */
static int64_t parts_of(const char *list)
{
	int64_t parts = 0;

	while (list && *list) {
		size_t length = strcspn(list, ",");
		uint32_t i = 0;

		while (weir_trace_part_name(i) &&
		       (strlen(weir_trace_part_name(i)) != length ||
			memcmp(weir_trace_part_name(i), list, length) != 0))
			i++;
		if (!weir_trace_part_name(i))
			return -1;
		parts |= (int64_t)1 << i;
		list += length;
		list += *list == ',';
	}
	return parts;
}

/* What it will cost, before it does: on stderr, so that reports can go elsewhere. */
static int announce_deep(const struct request *r)
{
	struct weir_trace_deep_plan plan;
	int rc = weir_trace_deep_plan((int)r->pid, &plan);
	unsigned nr = 0;

	if (rc)
		return wr_ui_fail_code(r->json, "trace", rc,
				       "--deep: no C library with locks in process %u: %s", r->pid,
				       weir_strerror(rc));
	for (uint32_t i = 0; i < plan.nr_places; i++)
		nr += plan.places[i].is_stepped;
	if (plan.is_refused && !r->force)
		return wr_ui_fail_code(
			r->json, "trace", -EOPNOTSUPP,
			"--deep: refused: in %s the kernel would execute %u of %u places by single "
			"steps, at about 27 us for each lock and unlock; --force does it",
			plan.file, nr, plan.nr_places);
	fprintf(stderr, "deep: breakpoints in %s; about %s us for each lock and unlock\n",
		plan.file, plan.is_refused ? "27" : "2.2");
	for (uint32_t i = 0; i < plan.nr_places; i++)
		fprintf(stderr, "  %s+%" PRIu32 "%s\n", plan.places[i].function,
			plan.places[i].into,
			!plan.places[i].is_stepped ? ""
			: r->force		   ? "  by single steps"
						   : "  left out: by single steps");
	return WR_EXIT_OK;
}

static int begin(const struct request *r, uint32_t flags, struct weir_trace **ret)
{
	struct weir_trace_opts opts = {.size = sizeof(opts),
				       .pid = (int)r->pid,
				       .parts = (uint32_t)parts_of(r->parts),
				       .flags = flags,
				       .min_event_ns = (uint64_t)r->min_us * 1000,
				       .pin_dir = r->pin_dir};
	struct weir_error err = {0};

	if (r->stacks || r->folded >= 0)
		opts.stacks = WEIR_TRACE_HOLDER_STACKS | WEIR_TRACE_WAITER_STACKS |
			      WEIR_TRACE_MISS_STACKS;
	if (r->deep)
		opts.parts = (opts.parts ? opts.parts : ~0u >> (32 - WEIR_TRACE_NR_PARTS)) |
			     WEIR_TRACE_DEEP;
	if (r->force)
		opts.flags |= WEIR_TRACE_MAY_STEP;
	if (opts.parts & WEIR_TRACE_DEEP && announce_deep(r) != WR_EXIT_OK)
		return WR_EXIT_FAILED;
	return weir_trace_start(&opts, ret, &err) ? fail(r, &err) : WR_EXIT_OK;
}

static int start(const struct request *r)
{
	struct weir_trace *trace;
	int status = begin(r, WEIR_TRACE_PINNED, &trace);

	if (status)
		return status;
	status = print_status(r, trace);
	weir_trace_close(trace);
	return status;
}

static int stop(const struct request *r)
{
	int rc = weir_trace_remove((int)r->pid, r->pin_dir);

	if (rc == -ENOENT)
		return wr_ui_fail_code(r->json, "trace", rc, "process %u is not traced", r->pid);
	if (rc)
		return wr_ui_fail_code(r->json, "trace", rc, "the pins cannot be removed: %s",
				       weir_strerror(rc));
	return r->json ? wr_ui_json_print(json_pack("{s:i}", "pid", (int)r->pid)) : WR_EXIT_OK;
}

static int look(const struct request *r, int (*fn)(const struct request *, struct weir_trace *))
{
	struct weir_error err = {0};
	struct weir_trace *trace;
	int status;

	if (weir_trace_find((int)r->pid, r->pin_dir, &trace, &err))
		return fail(r, &err);
	status = fn(r, trace);
	weir_trace_close(trace);
	return status;
}

static int status(const struct request *r, struct weir_trace *trace)
{
	return print_status(r, trace);
}

/* Begin, wait, show, end. */
static int record(const struct request *r)
{
	struct weir_trace *trace;
	struct weir_trace_meta meta;
	int code;

	wr_ui_interrupt_init();
	code = begin(r, 0, &trace);
	if (code)
		return code;
	for (uint32_t i = 0; i < r->seconds * 10 && !wr_ui_interrupted(); i++) {
		weir_trace_meta(trace, &meta);
		if (meta.ended_ns)
			break;
		(void)poll(NULL, 0, 100);
	}
	code = show(r, trace);
	weir_trace_close(trace);
	return code ? code : wr_ui_interrupted() ? WR_EXIT_INTERRUPTED : WR_EXIT_OK;
}

int cmd_trace(int argc, char **argv)
{
	struct request r = {.seconds = 10, .folded = -1};
	const struct wr_ui_option options[] = {
		{"pid", WR_UI_U32, "PID", "the process", &r.pid, 1, INT32_MAX},
		{"seconds", WR_UI_U32, "N", "without a word: trace so long (10)", &r.seconds, 1,
		 86400},
		{"min-us", WR_UI_U32, "US", "shorter waits leave no event (0)", &r.min_us, 0, 0},
		{"stacks", WR_UI_FLAG, NULL, "keep stacks of who waits, lets go, faults", &r.stacks,
		 0, 0},
		{"parts", WR_UI_STRING, "LIST", "only these: locks,holds,... (all)", &r.parts, 0,
		 0},
		{"deep", WR_UI_FLAG, NULL, "all locks, by breakpoints: 2.2 us for each lock",
		 &r.deep, 0, 0},
		{"force", WR_UI_FLAG, NULL, "deep: also by single steps: 27 us for each lock",
		 &r.force, 0, 0},
		{"perfetto", WR_UI_STRING, "FILE", "report: write the last events as lanes",
		 &r.perfetto, 0, 0},
		{"svg", WR_UI_STRING, "FILE", "report: draw holds over time as a heat map", &r.svg,
		 0, 0},
		{"folded", WR_UI_CHOICE, WR_TRACING_FOLDED,
		 "report: stacks for flame graphs instead", &r.folded, 0, 0},
		{"pins", WR_UI_STRING, "DIR", "in place of " WEIR_TRACE_PIN_DIR, &r.pin_dir, 0, 0},
		{"json", WR_UI_FLAG, NULL, "print one JSON object", &r.json, 0, 0},
	};
	const struct wr_ui_usage usage = {
		.name = "trace",
		.args = "[start|stop|status|report]",
		.summary = "See waits for locks, I/O, page-cache misses and faults of a process.",
		.options = options,
		.nr_options = sizeof(options) / sizeof(options[0]),
		.max_args = 1};
	int nr, rc = wr_ui_parse(&usage, argc, argv, &nr);

	if (rc != WR_UI_RUN)
		return rc;
	if (!r.pid)
		return wr_ui_usage_error(&usage, "--pid says which process");
	if (parts_of(r.parts) < 0)
		return wr_ui_usage_error(&usage, "--parts names no part of a trace: '%s'", r.parts);
	if (nr == 0)
		return record(&r);
	if (!strcmp(argv[1], "start"))
		return start(&r);
	if (!strcmp(argv[1], "stop"))
		return stop(&r);
	if (!strcmp(argv[1], "status"))
		return look(&r, status);
	if (!strcmp(argv[1], "report"))
		return look(&r, show);
	return wr_ui_usage_error(&usage, "'%s' is none of start, stop, status, report", argv[1]);
}
