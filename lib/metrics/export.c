/* SPDX-License-Identifier: MIT */
/*
 * All metrics as text: OpenMetrics or JSON, in pieces to the caller's function, from a buffer on
 * the stack. Allocates nothing and holds no lock. In OpenMetrics a histogram has one bucket per
 * octave, which is what a scraper can carry; JSON has the quantiles instead.
 */
#include <weir/metrics.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "metrics/registry.h"

struct out {
	int (*write)(void *arg, const char *text, size_t bytes);
	void *arg;
	int rc; /* what write returned to end it; nothing is written any more */
	size_t used;
	char buffer[4096];
};

static void flush(struct out *out)
{
	if (out->rc == 0 && out->used > 0)
		out->rc = out->write(out->arg, out->buffer, out->used);
	out->used = 0;
}

static void put(struct out *out, const char *text, size_t bytes)
{
	while (bytes > 0) {
		size_t part = wr_min(bytes, sizeof(out->buffer) - out->used);

		memcpy(out->buffer + out->used, text, part);
		out->used += part;
		text += part;
		bytes -= part;
		if (out->used == sizeof(out->buffer))
			flush(out);
	}
}

static void put_text(struct out *out, const char *text)
{
	put(out, text, strlen(text));
}

/* For numbers and the like: at most 127 bytes. */
static void put_format(struct out *out, const char *fmt, ...) WEIR_PRINTF(2, 3);
static void put_format(struct out *out, const char *fmt, ...)
{
	char text[128];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	put_text(out, text);
}

/* Backslash, quote and newline, which are the same in both formats; JSON escapes the rest too. */
static void put_escaped(struct out *out, const char *text, bool json)
{
	for (; *text != '\0'; text++) {
		if (*text == '\\' || *text == '"')
			put_format(out, "\\%c", *text);
		else if (*text == '\n')
			put_text(out, "\\n");
		else if (json && (unsigned char)*text < 0x20)
			put_format(out, "\\u%04x", (unsigned)(unsigned char)*text);
		else
			put(out, text, 1);
	}
}

static const char *kind_name(int kind)
{
	switch (kind) {
	case WEIR_METRIC_COUNTER:
		return "counter";
	case WEIR_METRIC_GAUGE:
		return "gauge";
	default:
		return "histogram";
	}
}

struct walk {
	struct weir_metrics *metrics;
	struct out *out;
	bool any;
};

/* From the buckets as read now, not from what the walk showed: the parts agree with each other. */
static void openmetrics_buckets(struct walk *walk, const struct weir_metric *m)
{
	struct weir_histogram hist;
	uint64_t seen = 0;

	if (weir_metrics_read_histogram(walk->metrics, m->id, &hist) != 0)
		return;
	for (uint32_t row = 0; row < NR_ROWS && seen < hist.count; row++) {
		for (uint32_t i = 0; i < ROW_BUCKETS; i++)
			seen += hist.buckets[row * ROW_BUCKETS + i];
		put_text(walk->out, m->name);
		put_format(walk->out, "_bucket{le=\"%" PRIu64 ".0\"} %" PRIu64 "\n",
			   weir_histogram_bound(row * ROW_BUCKETS + ROW_BUCKETS - 1), seen);
	}
	put_text(walk->out, m->name);
	put_format(walk->out, "_bucket{le=\"+Inf\"} %" PRIu64 "\n", hist.count);
	put_text(walk->out, m->name);
	put_format(walk->out, "_count %" PRIu64 "\n", hist.count);
	put_text(walk->out, m->name);
	put_format(walk->out, "_sum %" PRIu64 "\n", hist.sum);
}

static void openmetrics_head(struct out *out, const char *what, const char *name, const char *text)
{
	put_text(out, "# ");
	put_text(out, what);
	put_text(out, " ");
	put_text(out, name);
	put_text(out, " ");
	put_escaped(out, text, false);
	put_text(out, "\n");
}

static int openmetrics_one(void *arg, const struct weir_metric *m)
{
	struct walk *walk = arg;

	openmetrics_head(walk->out, "TYPE", m->name, kind_name(m->kind));
	if (*m->unit != '\0')
		openmetrics_head(walk->out, "UNIT", m->name, m->unit);
	openmetrics_head(walk->out, "HELP", m->name, m->help);
	if (m->kind == WEIR_METRIC_HISTOGRAM) {
		openmetrics_buckets(walk, m);
	} else {
		put_text(walk->out, m->name);
		put_text(walk->out, m->kind == WEIR_METRIC_COUNTER ? "_total" : "");
		put_format(walk->out, " %" PRId64 "\n", m->value);
	}
	return walk->out->rc;
}

static void json_field(struct out *out, const char *name, const char *text)
{
	put_text(out, "\"");
	put_text(out, name);
	put_text(out, "\": \"");
	put_escaped(out, text, true);
	put_text(out, "\", ");
}

static int json_one(void *arg, const struct weir_metric *m)
{
	struct walk *walk = arg;
	struct out *out = walk->out;

	put_text(out, walk->any ? ",\n  {" : "\n  {");
	walk->any = true;
	json_field(out, "name", m->name);
	json_field(out, "kind", kind_name(m->kind));
	json_field(out, "unit", m->unit);
	json_field(out, "help", m->help);
	if (m->kind == WEIR_METRIC_HISTOGRAM) {
		put_format(out, "\"count\": %" PRId64 ", \"sum\": %" PRIu64, m->value, m->sum);
		put_format(out, ", \"p50\": %" PRIu64 ", \"p90\": %" PRIu64, m->p50, m->p90);
		put_format(out, ", \"p99\": %" PRIu64 ", \"max\": %" PRIu64 "}", m->p99, m->max);
	} else {
		put_format(out, "\"value\": %" PRId64 "}", m->value);
	}
	return out->rc;
}

int weir_metrics_export(struct weir_metrics *metrics, int format,
			int (*write)(void *arg, const char *text, size_t bytes), void *arg)
{
	struct out out = {.write = write, .arg = arg};
	struct walk walk = {.metrics = metrics, .out = &out};
	int rc;

	switch (format) {
	case WEIR_METRICS_OPENMETRICS:
		rc = weir_metrics_for_each(metrics, openmetrics_one, &walk);
		put_text(&out, "# EOF\n");
		break;
	case WEIR_METRICS_JSON:
		put_text(&out, "{\"metrics\": [");
		rc = weir_metrics_for_each(metrics, json_one, &walk);
		put_text(&out, "\n]}\n");
		break;
	default:
		return -EINVAL;
	}
	flush(&out);
	return rc != 0 ? rc : out.rc;
}
