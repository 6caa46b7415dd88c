/* SPDX-License-Identifier: MIT */
/* JSON and CSV: a series is an object, or a line; the history a list, or more lines. */
#include <math.h>
#include <string.h>

#include "base/util.h"
#include "metrics/export.h"
#include "metrics/registry.h"

static void put_json_field(struct wr_out *out, const char *name, const char *text)
{
	wr_out_text(out, "\"");
	wr_out_text(out, name);
	wr_out_text(out, "\": \"");
	wr_out_escaped(out, text, true);
	wr_out_text(out, "\", ");
}

/*
 * name="value",name="value" as members of an object. What is escaped there is escaped here alike;
 * other control characters are not escaped there.
 */
static void put_json_labels(struct wr_out *out, const char *labels)
{
	char code[2] = {0};

	while (*labels != '\0') {
		size_t bytes = strcspn(labels, "=");

		wr_out_text(out, "\"");
		wr_out_put(out, labels, bytes);
		wr_out_text(out, "\": \"");
		for (labels += bytes + 2; *labels != '"' && *labels != '\0'; labels++) {
			if (*labels == '\\')
				wr_out_put(out, labels++, 1);
			code[0] = *labels;
			if ((unsigned char)*labels < 0x20)
				wr_out_escaped(out, code, true);
			else
				wr_out_put(out, labels, 1);
		}
		wr_out_text(out, "\"");
		labels += *labels == '"';
		if (*labels == ',') {
			wr_out_text(out, ", ");
			labels++;
		}
	}
}

static void put_milliseconds(struct wr_out *out, uint64_t ms)
{
	wr_out_u64(out, ms, 3);
}

static void put_json_history(struct wr_walk *walk, const struct wr_view *view, uint32_t id)
{
	struct weir_point points[WEIR_HISTORY_POINTS_MAX];
	struct wr_out *out = walk->out;

	wr_out_text(out, ", \"history\": {");
	for (int ring = 0; ring < (int)NR_RINGS; ring++) {
		int nr = view->history(view->source, id, ring, WEIR_HISTORY_POINTS_MAX, points);

		wr_out_text(out, ring > 0 ? ", \"" : "\"");
		wr_out_text(out, wr_ring_names[ring]);
		wr_out_text(out, "\": [");
		for (int i = 0; i < nr; i++) {
			wr_out_text(out, i > 0 ? ", [" : "[");
			put_milliseconds(out, points[i].time_ms);
			wr_out_text(out, ", ");
			if (isfinite(points[i].value))
				wr_out_double(out, points[i].value);
			else
				wr_out_text(out, "null");
			wr_out_text(out, "]");
		}
		wr_out_text(out, "]");
	}
	wr_out_text(out, "}");
}

static void put_json_number(struct wr_out *out, const char *before, uint64_t value)
{
	wr_out_text(out, before);
	wr_out_u64(out, value, 0);
}

static void put_json_value(struct wr_out *out, const struct weir_metric *m)
{
	if (wr_metrics_has_buckets(m->kind)) {
		put_json_number(out, "\"count\": ", (uint64_t)m->value);
		put_json_number(out, ", \"sum\": ", m->sum);
		put_json_number(out, ", \"p50\": ", m->p50);
		put_json_number(out, ", \"p90\": ", m->p90);
		put_json_number(out, ", \"p99\": ", m->p99);
		put_json_number(out, ", \"max\": ", m->max);
		return;
	}
	wr_out_text(out, "\"value\": ");
	if (!m->available)
		wr_out_text(out, "null");
	else if (m->kind == WEIR_METRIC_FLOAT)
		wr_out_double(out, m->number);
	else
		wr_out_i64(out, m->value, 0);
}

void wr_export_json(struct wr_walk *walk, const struct wr_view *view, const struct weir_metric *m)
{
	struct wr_out *out = walk->out;

	wr_out_text(out, walk->any ? ",\n  {" : "\n  {");
	walk->any = true;
	put_json_field(out, "name", m->name);
	put_json_field(out, "kind", wr_kind_name(m->kind));
	put_json_field(out, "unit", m->unit);
	put_json_field(out, "help", m->help);
	if (*view->labels != '\0' || *m->labels != '\0') {
		wr_out_text(out, "\"labels\": {");
		put_json_labels(out, view->labels);
		wr_out_text(out, *view->labels != '\0' && *m->labels != '\0' ? ", " : "");
		put_json_labels(out, m->labels);
		wr_out_text(out, "}, ");
	}
	put_json_value(out, m);
	if (walk->history)
		put_json_history(walk, view, m->id);
	wr_out_text(out, "}");
}

/* A field of RFC 4180: in quotes, which are doubled inside. */
static void put_csv_inside(struct wr_out *out, const char *text)
{
	for (; *text != '\0'; text++)
		wr_out_put(out, *text == '"' ? "\"\"" : text, *text == '"' ? 2 : 1);
}

static void put_csv_text(struct wr_out *out, const char *text)
{
	wr_out_text(out, "\"");
	put_csv_inside(out, text);
	wr_out_text(out, "\",");
}

static void put_csv_series(struct wr_out *out, const struct wr_view *view,
			   const struct weir_metric *m)
{
	wr_out_text(out, m->name);
	wr_out_text(out, ",\"");
	put_csv_inside(out, view->labels);
	wr_out_text(out, *view->labels != '\0' && *m->labels != '\0' ? "," : "");
	put_csv_inside(out, m->labels);
	wr_out_text(out, "\",");
	wr_out_text(out, wr_kind_name(m->kind));
	wr_out_text(out, ",");
	wr_out_text(out, m->unit);
	wr_out_text(out, ",");
	put_csv_text(out, m->help);
}

static void put_csv_history(struct wr_walk *walk, const struct wr_view *view,
			    const struct weir_metric *m)
{
	struct weir_point points[WEIR_HISTORY_POINTS_MAX];
	struct wr_out *out = walk->out;

	for (int ring = 0; ring < (int)NR_RINGS; ring++) {
		int nr = view->history(view->source, m->id, ring, WEIR_HISTORY_POINTS_MAX, points);

		for (int i = 0; i < nr; i++) {
			put_csv_series(out, view, m);
			put_milliseconds(out, points[i].time_ms);
			wr_out_text(out, ",");
			if (isfinite(points[i].value))
				wr_out_double(out, points[i].value);
			wr_out_text(out, ",,,,,,\r\n");
		}
	}
}

void wr_export_csv(struct wr_walk *walk, const struct wr_view *view, const struct weir_metric *m)
{
	const uint64_t parts[] = {(uint64_t)m->value, m->sum, m->p50, m->p90, m->p99, m->max};
	struct wr_out *out = walk->out;

	put_csv_series(out, view, m);
	put_milliseconds(out, walk->now_ms);
	wr_out_text(out, ",");
	if (wr_metrics_has_buckets(m->kind)) {
		for (size_t i = 0; i < wr_array_size(parts); i++) {
			wr_out_text(out, ",");
			wr_out_u64(out, parts[i], 0);
		}
		wr_out_text(out, "\r\n");
	} else {
		if (m->available && m->kind == WEIR_METRIC_FLOAT)
			wr_out_double(out, m->number);
		else if (m->available)
			wr_out_i64(out, m->value, 0);
		wr_out_text(out, ",,,,,,\r\n");
	}
	if (walk->history)
		put_csv_history(walk, view, m);
}
