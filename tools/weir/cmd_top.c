/* SPDX-License-Identifier: MIT */
/*
 * weir top - a running host, live; or one that crashed, as it was at its end.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "top.h"
#include "ui.h"

static uint64_t unix_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* One look, as lines or as an object. */
static int print_one(const struct wr_top_args *args)
{
	static struct wr_top_page page = {.max = WR_TOP_LINES, .width = 80};
	static struct wr_top_host host;
	struct weir_segment *segment;
	unsigned which, nr;
	int rc = wr_top_find(args, 0, &which, &nr, &segment);

	if (rc == -ENOENT)
		return wr_ui_fail_code(args->json, "top", rc,
				       args->post_mortem ? "no host of that number left anything"
				       : args->pid	 ? "no host of that number runs"
							 : "no host runs");
	if (rc)
		return wr_ui_fail_code(args->json, "top", rc, "the segments cannot be read: %s",
				       weir_strerror(rc));
	wr_top_read(segment, unix_ms(), &host);
	weir_segment_close(segment);
	if (args->json)
		return wr_ui_json_print(wr_top_json(&host));
	wr_top_draw(&host, which, nr, &page);
	for (unsigned i = 0; i < page.nr; i++)
		puts(page.line[i]);
	return WR_EXIT_OK;
}

static int print(const struct wr_top_args *args)
{
	uint32_t count = args->count ? args->count : args->post_mortem || args->json ? 1 : 0;
	int rc = WR_EXIT_OK;

	for (uint32_t i = 0; rc == WR_EXIT_OK && (!count || i < count); i++) {
		if (i > 0 && (poll(NULL, 0, (int)args->interval_ms) || wr_ui_interrupted()))
			break;
		if (i > 0 && !args->json)
			putchar('\n');
		rc = print_one(args);
		/* Who reads has gone. */
		if (fflush(stdout))
			return WR_EXIT_FAILED;
	}
	return wr_ui_interrupted() ? WR_EXIT_INTERRUPTED : rc;
}

int cmd_top(int argc, char **argv)
{
	struct wr_top_args args = {.interval_ms = 1000};
	uint32_t post_mortem = 0;
	bool batch = false;
	const struct wr_ui_option options[] = {
		{"pid", WR_UI_U32, "PID", "this host (the one that started last)", &args.pid, 1,
		 INT32_MAX},
		{"post-mortem", WR_UI_U32, "PID", "a host that ended without closing", &post_mortem,
		 1, INT32_MAX},
		{"batch", WR_UI_FLAG, NULL, "print lines instead of drawing a screen", &batch, 0,
		 0},
		{"count", WR_UI_U32, "N", "end after so many looks", &args.count, 1, 0},
		{"interval", WR_UI_U32, "MS", "milliseconds between two looks (1000)",
		 &args.interval_ms, 100, 3600000},
		{"segments", WR_UI_STRING, "DIR", "look there for hosts (" WEIR_SEGMENT_DIR ")",
		 &args.dir, 0, 0},
		{"json", WR_UI_FLAG, NULL, "print one JSON object", &args.json, 0, 0},
	};
	const struct wr_ui_usage usage = {
		.name = "top",
		.args = "",
		.summary = "Watch a running host, or look at one that crashed.",
		.options = options,
		.nr_options = sizeof(options) / sizeof(options[0])};
	int nr, rc;

	rc = wr_ui_parse(&usage, argc, argv, &nr);
	if (rc != WR_UI_RUN)
		return rc;
	if (post_mortem && args.pid)
		return wr_ui_usage_error(&usage, "--pid and --post-mortem exclude each other");
	if (args.json && args.count > 1)
		return wr_ui_usage_error(&usage, "--json prints one object: no --count");
	args.post_mortem = post_mortem != 0;
	if (post_mortem)
		args.pid = post_mortem;
	wr_ui_interrupt_init();
	if (batch || args.json || args.post_mortem || !isatty(STDOUT_FILENO) ||
	    !wr_top_has_screen())
		return print(&args);
	return wr_top_screen(&args);
}
