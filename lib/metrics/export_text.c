/* SPDX-License-Identifier: MIT */
/*
 * OpenMetrics 1.0 and the text format 0.0.4 before it. A histogram has one bucket per octave, which
 * is what a scraper can carry. Numbers in ns are shown in seconds, by moving the point: nothing is
 * rounded.
 */
#include <string.h>

#include "base/util.h"
#include "metrics/export.h"
#include "metrics/registry.h"

static const struct wr_unit units[] = {
	{"ns", "seconds", 9},
	{"microjoules", "joules", 6},
};

static const struct wr_unit *unit_of(const struct weir_metric *m)
{
	for (size_t i = 0; i < wr_array_size(units); i++) {
		if (strcmp(m->unit, units[i].unit) == 0)
			return &units[i];
	}
	return NULL;
}

static void put_name(struct wr_out *out, const struct weir_metric *m, const struct wr_unit *unit,
		     const char *end)
{
	if (unit != NULL) {
		wr_out_put(out, m->name, strlen(m->name) - strlen(unit->unit));
		wr_out_text(out, unit->shown);
	} else {
		wr_out_text(out, m->name);
	}
	wr_out_text(out, end);
}

static void put_line(struct wr_walk *walk, const char *what, const struct weir_metric *m,
		     const struct wr_unit *unit)
{
	/* The older format knows a counter by its whole name. */
	bool whole = walk->format == WEIR_METRICS_PROMETHEUS && m->kind == WEIR_METRIC_COUNTER;

	wr_out_text(walk->out, "# ");
	wr_out_text(walk->out, what);
	wr_out_text(walk->out, " ");
	put_name(walk->out, m, unit, whole ? "_total " : " ");
}

/* The older format has no escape for quotes here. */
static void put_help(struct wr_walk *walk, const char *help)
{
	if (walk->format == WEIR_METRICS_OPENMETRICS) {
		wr_out_escaped(walk->out, help, false);
		return;
	}
	for (; *help != '\0'; help++) {
		if (*help == '\\')
			wr_out_text(walk->out, "\\\\");
		else if (*help == '\n')
			wr_out_text(walk->out, "\\n");
		else
			wr_out_put(walk->out, help, 1);
	}
}

static void put_head(struct wr_walk *walk, const struct weir_metric *m, const struct wr_unit *unit)
{
	struct wr_out *out = walk->out;

	put_line(walk, "TYPE", m, unit);
	wr_out_text(out, wr_kind_name(m->kind));
	wr_out_text(out, "\n");
	if (*m->unit != '\0' && walk->format == WEIR_METRICS_OPENMETRICS) {
		put_line(walk, "UNIT", m, unit);
		wr_out_text(out, unit != NULL ? unit->shown : m->unit);
		wr_out_text(out, "\n");
	}
	put_line(walk, "HELP", m, unit);
	put_help(walk, m->help);
	wr_out_text(out, "\n");
	walk->head = true;
}

/* All labels of a series, with one more that is open at its value; nothing when there are none. */
static bool open_labels(struct wr_out *out, const struct wr_view *view, const struct weir_metric *m,
			const char *more)
{
	const char *parts[] = {view->labels, m->labels, more};
	const char *before = "{";

	for (size_t i = 0; i < wr_array_size(parts); i++) {
		if (*parts[i] == '\0')
			continue;
		wr_out_text(out, before);
		wr_out_text(out, parts[i]);
		before = ",";
	}
	return *before == ',';
}

static void put_labels(struct wr_out *out, const struct wr_view *view, const struct weir_metric *m,
		       const char *more)
{
	wr_out_text(out, open_labels(out, view, m, more) ? "} " : " ");
}

static void put_count_and_sum(struct wr_walk *walk, const struct wr_view *view,
			      const struct weir_metric *m, const struct wr_unit *unit,
			      uint64_t count, uint64_t sum)
{
	put_name(walk->out, m, unit, "_count");
	put_labels(walk->out, view, m, "");
	wr_out_u64(walk->out, count, 0);
	wr_out_text(walk->out, "\n");
	put_name(walk->out, m, unit, "_sum");
	put_labels(walk->out, view, m, "");
	wr_out_u64(walk->out, sum, unit != NULL ? unit->digits : 0);
	wr_out_text(walk->out, "\n");
}

static void put_bound(struct wr_out *out, uint64_t bound, const struct wr_unit *unit)
{
	uint64_t whole = 1;

	for (unsigned i = 0; unit != NULL && i < unit->digits; i++)
		whole *= 10;
	wr_out_u64(out, bound, unit != NULL ? unit->digits : 0);
	if (bound % whole == 0)
		wr_out_text(out, ".0");
	wr_out_text(out, "\"} ");
}

/* From the buckets as read now, not from what the walk showed: the parts agree with each other. */
static void put_histogram(struct wr_walk *walk, const struct wr_view *view,
			  const struct weir_metric *m, const struct wr_unit *unit)
{
	struct weir_histogram hist;
	uint64_t seen = 0;

	if (view->histogram(view->source, m->id, &hist) != 0)
		return;
	for (uint32_t row = 0; row < NR_ROWS && seen < hist.count; row++) {
		for (uint32_t i = 0; i < ROW_BUCKETS; i++)
			seen += hist.buckets[row * ROW_BUCKETS + i];
		put_name(walk->out, m, unit, "_bucket");
		open_labels(walk->out, view, m, "le=\"");
		put_bound(walk->out, weir_histogram_bound(row * ROW_BUCKETS + ROW_BUCKETS - 1),
			  unit);
		wr_out_u64(walk->out, seen, 0);
		wr_out_text(walk->out, "\n");
	}
	put_name(walk->out, m, unit, "_bucket");
	put_labels(walk->out, view, m, "le=\"+Inf\"");
	wr_out_u64(walk->out, hist.count, 0);
	wr_out_text(walk->out, "\n");
	put_count_and_sum(walk, view, m, unit, hist.count, hist.sum);
}

static void put_summary(struct wr_walk *walk, const struct wr_view *view,
			const struct weir_metric *m, const struct wr_unit *unit)
{
	static const char *const labels[] = {"quantile=\"0.5\"", "quantile=\"0.9\"",
					     "quantile=\"0.99\""};
	const uint64_t values[] = {m->p50, m->p90, m->p99};

	for (size_t i = 0; i < wr_array_size(values); i++) {
		put_name(walk->out, m, unit, "");
		put_labels(walk->out, view, m, labels[i]);
		wr_out_u64(walk->out, values[i], unit != NULL ? unit->digits : 0);
		wr_out_text(walk->out, "\n");
	}
	put_count_and_sum(walk, view, m, unit, (uint64_t)m->value, m->sum);
}

void wr_export_text(struct wr_walk *walk, const struct wr_view *view, const struct weir_metric *m)
{
	const struct wr_unit *unit = m->kind != WEIR_METRIC_FLOAT ? unit_of(m) : NULL;
	struct wr_out *out = walk->out;

	if (!m->available)
		return;
	if (!walk->head)
		put_head(walk, m, unit);
	if (m->kind == WEIR_METRIC_HISTOGRAM) {
		put_histogram(walk, view, m, unit);
		return;
	}
	if (m->kind == WEIR_METRIC_SUMMARY) {
		put_summary(walk, view, m, unit);
		return;
	}
	put_name(out, m, unit, m->kind == WEIR_METRIC_COUNTER ? "_total" : "");
	put_labels(out, view, m, "");
	if (m->kind == WEIR_METRIC_FLOAT)
		wr_out_double(out, m->number);
	else
		wr_out_i64(out, m->value, unit != NULL ? unit->digits : 0);
	wr_out_text(out, "\n");
}
