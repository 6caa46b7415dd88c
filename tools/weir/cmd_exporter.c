/* SPDX-License-Identifier: MIT */
/*
 * weir exporter - the metrics of every running host of this user, for Prometheus.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <weir/metrics_segment.h>

#include "exporter.h"
#include "ui.h"

/* Once, without a server: what a scrape would get. */
static int print_once(const char *dir, bool json)
{
	struct wr_exporter_body body;
	int rc =
		wr_exporter_render(dir, json ? WEIR_METRICS_JSON : WEIR_METRICS_OPENMETRICS, &body);

	if (rc)
		return wr_ui_fail_code(json, "exporter", rc, "the segments cannot be read: %s",
				       weir_strerror(rc));
	fwrite(body.text, 1, body.bytes, stdout);
	wr_exporter_body_fini(&body);
	return WR_EXIT_OK;
}

static int say_where(int fd, bool json)
{
	char address[256];

	wr_exporter_address(fd, address, sizeof(address));
	if (json)
		return wr_ui_json_print(json_pack("{s:s}", "listen", address)) || fflush(stdout);
	printf("weir exporter: %s\n", address);
	return fflush(stdout);
}

int cmd_exporter(int argc, char **argv)
{
	const char *address = ":9464", *dir = NULL;
	bool json = false, once = false;
	const struct wr_ui_option options[] = {
		{"listen", WR_UI_STRING, "ADDRESS",
		 "HOST:PORT, :PORT for this machine only, or unix:PATH\n(:9464)", &address, 0, 0},
		{"once", WR_UI_FLAG, NULL, "print what a scrape would get, and end", &once, 0, 0},
		{"segments", WR_UI_STRING, "DIR", "look there for hosts (" WEIR_SEGMENT_DIR ")",
		 &dir, 0, 0},
		{"json", WR_UI_FLAG, NULL, "print one JSON object", &json, 0, 0},
	};
	const struct wr_ui_usage usage = {
		.name = "exporter",
		.args = "",
		.summary = "Serve the metrics of every running host of this user.",
		.options = options,
		.nr_options = sizeof(options) / sizeof(options[0])};
	struct weir_error err = {0};
	int nr, fd, rc;

	rc = wr_ui_parse(&usage, argc, argv, &nr);
	if (rc != WR_UI_RUN)
		return rc;
	if (once)
		return print_once(dir, json);
	if (!HAVE_MICROHTTPD)
		return wr_ui_fail_code(json, "exporter", -EOPNOTSUPP,
				       "built without libmicrohttpd; --once works");
	wr_ui_interrupt_init();
	rc = wr_exporter_listen(address, &fd, &err);
	if (rc)
		return wr_ui_fail(json, "exporter", &err);
	say_where(fd, json);
	rc = wr_exporter_serve(fd, dir);
	if (!strncmp(address, "unix:", 5))
		unlink(address + 5);
	return rc ? wr_ui_fail_code(json, "exporter", rc, "the server does not start: %s",
				    weir_strerror(rc))
		  : WR_EXIT_OK;
}
