/* SPDX-License-Identifier: MIT */
/*
 * exporter_http.c - What `weir exporter` answers.
 *
 * A scrape maps the segments of the hosts that run at that moment, writes them as one text, and
 * unmaps them: hosts come and go, and nothing is kept in between.
 */
#include "exporter.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include <weir/metrics_segment.h>

#include "ui.h"

static int append(void *arg, const char *text, size_t bytes)
{
	struct wr_exporter_body *body = arg;

	if (bytes > body->room - body->bytes) {
		size_t room = 2 * (body->room + bytes);
		char *grown = realloc(body->text, room);

		if (!grown)
			return -ENOMEM;
		body->text = grown;
		body->room = room;
	}
	memcpy(body->text + body->bytes, text, bytes);
	body->bytes += bytes;
	return 0;
}

int wr_exporter_render(const char *dir, int format, struct wr_exporter_body *ret)
{
	struct weir_segment_info *infos = calloc(WEIR_SEGMENTS_MAX, sizeof(*infos));
	struct weir_segment *segments[WEIR_SEGMENTS_MAX];
	struct wr_exporter_body body = {0};
	uint32_t nr = 0;
	int rc;

	if (!infos)
		return -ENOMEM;
	/* The living come first. */
	rc = weir_segments_find(dir, WEIR_SEGMENTS_MAX, infos);
	for (int i = 0; i < rc && i < (int)WEIR_SEGMENTS_MAX && infos[i].alive; i++) {
		/* One that ends right now is none. */
		if (!weir_segment_open(infos[i].path, &segments[nr], NULL))
			nr++;
	}
	if (rc >= 0)
		rc = weir_segments_export(segments, nr, format, append, &body);
	while (nr > 0)
		weir_segment_close(segments[--nr]);
	free(infos);
	if (rc)
		wr_exporter_body_fini(&body);
	else
		*ret = body;
	return rc;
}

void wr_exporter_body_fini(struct wr_exporter_body *body)
{
	free(body->text);
	*body = (struct wr_exporter_body){0};
}

#if HAVE_MICROHTTPD
#include <microhttpd.h>

static const struct {
	const char *url;
	int format;
	const char *type;
} pages[] = {
	{"/metrics", WEIR_METRICS_PROMETHEUS, "text/plain; version=0.0.4; charset=utf-8"},
	{"/metrics.json", WEIR_METRICS_JSON, "application/json"},
	{"/metrics.csv", WEIR_METRICS_CSV, "text/csv; charset=utf-8; header=present"},
};

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type,
			      struct wr_exporter_body *body)
{
	struct MHD_Response *response;
	enum MHD_Result rc;

	response = MHD_create_response_from_buffer(body->bytes, body->text, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		wr_exporter_body_fini(body);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	rc = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return rc;
}

static enum MHD_Result say(struct MHD_Connection *connection, unsigned status, const char *text)
{
	struct wr_exporter_body body = {0};

	if (append(&body, text, strlen(text)))
		return MHD_NO;
	return answer(connection, status, "text/plain; charset=utf-8", &body);
}

static enum MHD_Result handle(void *dir, struct MHD_Connection *connection, const char *url,
			      const char *method, const char *version, const char *upload,
			      size_t *upload_bytes, void **state)
{
	const char *accept = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Accept");
	struct wr_exporter_body body;

	(void)version;
	(void)upload;
	(void)upload_bytes;
	(void)state;
	if (strcmp(method, "GET") && strcmp(method, "HEAD"))
		return say(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET or HEAD\n");
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		bool open = i == 0 && accept && strstr(accept, "application/openmetrics-text");

		if (strcmp(url, pages[i].url))
			continue;
		if (wr_exporter_render(dir, open ? WEIR_METRICS_OPENMETRICS : pages[i].format,
				       &body))
			return say(connection, MHD_HTTP_INTERNAL_SERVER_ERROR,
				   "the segments cannot be read\n");
		return answer(connection, MHD_HTTP_OK,
			      open ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
				   : pages[i].type,
			      &body);
	}
	return say(connection, strcmp(url, "/") ? MHD_HTTP_NOT_FOUND : MHD_HTTP_OK,
		   "weir exporter: /metrics, /metrics.json, /metrics.csv\n");
}

int wr_exporter_serve(int fd, const char *dir)
{
	struct MHD_Daemon *daemon;

	daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL, 0, NULL, NULL,
				  handle, (void *)(uintptr_t)dir, MHD_OPTION_LISTEN_SOCKET, fd,
				  MHD_OPTION_CONNECTION_LIMIT, 32u, MHD_OPTION_CONNECTION_TIMEOUT,
				  10u, MHD_OPTION_END);
	if (!daemon)
		return -ENOMEM;
	while (!wr_ui_interrupted())
		poll(NULL, 0, 200);
	MHD_stop_daemon(daemon);
	return 0;
}
#else
int wr_exporter_serve(int fd, const char *dir)
{
	(void)fd;
	(void)dir;
	return -EOPNOTSUPP;
}
#endif
