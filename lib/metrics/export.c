/* SPDX-License-Identifier: MIT */
/*
 * The walk of an export: family by family, in order of registration; of several views, the series
 * of all that have the family. Allocates nothing; what it knows is on the stack. How one series
 * looks is in export_text.c for Prometheus, and export_table.c for JSON and CSV.
 */
#include "metrics/export.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "metrics/registry.h"
#include "metrics/sample.h"

const char *const wr_ring_names[3] = {"1s", "10s", "60s"};

const char *wr_kind_name(int kind)
{
	switch (kind) {
	case WEIR_METRIC_COUNTER:
		return "counter";
	case WEIR_METRIC_HISTOGRAM:
		return "histogram";
	case WEIR_METRIC_SUMMARY:
		return "summary";
	default:
		return "gauge";
	}
}

/* The family of this name, or NO_ID. */
static uint32_t find_family(const struct wr_view *view, const char *name, struct weir_metric *ret)
{
	uint32_t nr = view->nr(view->source);

	for (uint32_t id = 0; id < nr; id++) {
		if (view->peek(view->source, id, ret) && ret->family == id &&
		    strcmp(ret->name, name) == 0)
			return id;
	}
	return NO_ID;
}

static void write_series(struct wr_walk *walk, const struct wr_view *view, uint32_t family)
{
	struct weir_metric shown;
	bool is_series;

	for (uint32_t id = family; id != NO_ID && walk->out->rc == 0;
	     id = view->next(view->source, id)) {
		if (!view->show(view->source, id, &shown, &is_series) || !is_series)
			continue;
		if (walk->format == WEIR_METRICS_JSON)
			wr_export_json(walk, view, &shown);
		else if (walk->format == WEIR_METRICS_CSV)
			wr_export_csv(walk, view, &shown);
		else
			wr_export_text(walk, view, &shown);
	}
}

static bool was_written(const struct wr_walk *walk, uint32_t view, const char *name)
{
	struct weir_metric other;

	for (uint32_t v = 0; v < view; v++) {
		if (find_family(&walk->views[v], name, &other) != NO_ID)
			return true;
	}
	return false;
}

static void write_family(struct wr_walk *walk, uint32_t view, const struct weir_metric *family)
{
	struct weir_metric other;

	walk->head = false;
	write_series(walk, &walk->views[view], family->id);
	for (uint32_t v = view + 1; v < walk->nr; v++) {
		uint32_t id = find_family(&walk->views[v], family->name, &other);

		if (id != NO_ID && other.kind == family->kind &&
		    strcmp(other.unit, family->unit) == 0)
			write_series(walk, &walk->views[v], id);
	}
}

static void write_families(struct wr_walk *walk)
{
	struct weir_metric family;

	for (uint32_t v = 0; v < walk->nr; v++) {
		const struct wr_view *view = &walk->views[v];
		uint32_t nr = view->nr(view->source);

		for (uint32_t id = 0; id < nr && walk->out->rc == 0; id++) {
			if (view->peek(view->source, id, &family) && family.family == id &&
			    !was_written(walk, v, family.name))
				write_family(walk, v, &family);
		}
	}
}

int wr_views_export(const struct wr_view *views, uint32_t nr, int format,
		    int (*write)(void *arg, const char *text, size_t bytes), void *arg)
{
	struct wr_out out = {.write = write, .arg = arg};
	struct wr_walk walk = {.views = views,
			       .nr = nr,
			       .out = &out,
			       .format = format & ~WEIR_METRICS_WITH_HISTORY,
			       .history = (format & WEIR_METRICS_WITH_HISTORY) != 0,
			       .now_ms = wr_unix_ms()};
	const char *begin = "", *end = "";

	switch (format) {
	case WEIR_METRICS_OPENMETRICS:
		end = "# EOF\n";
		break;
	case WEIR_METRICS_PROMETHEUS:
		break;
	case WEIR_METRICS_JSON:
	case WEIR_METRICS_JSON | WEIR_METRICS_WITH_HISTORY:
		begin = "{\"metrics\": [";
		end = "\n]}\n";
		break;
	case WEIR_METRICS_CSV:
	case WEIR_METRICS_CSV | WEIR_METRICS_WITH_HISTORY:
		begin = "name,labels,kind,unit,help,time,value,count,sum,p50,p90,p99,max\r\n";
		break;
	default:
		return -EINVAL;
	}
	wr_out_text(&out, begin);
	write_families(&walk);
	wr_out_text(&out, end);
	wr_out_flush(&out);
	return out.rc;
}

static uint32_t registry_nr(void *source)
{
	struct weir_metrics *metrics = source;

	/* A1: pairs with the release in link_locked(). */
	return wr_load_acquire(&metrics->nr_metrics);
}

static bool registry_peek(void *source, uint32_t id, struct weir_metric *ret)
{
	struct entry *entry = wr_metrics_entry(source, id);

	ret->id = id;
	ret->family = entry->family;
	ret->kind = entry->kind;
	ret->name = entry->name;
	ret->unit = entry->unit;
	ret->help = entry->help;
	return true;
}

static bool registry_show(void *source, uint32_t id, struct weir_metric *ret, bool *ret_is_series)
{
	struct entry *entry = wr_metrics_entry(source, id);

	*ret_is_series = entry->labels == NULL;
	if (*ret_is_series)
		wr_metrics_show(source, entry, ret);
	return true;
}

static uint32_t registry_next(void *source, uint32_t id)
{
	/* A4: pairs with the release in append_locked(). */
	return wr_load_acquire(&wr_metrics_entry(source, id)->next);
}

static int registry_histogram(void *source, uint32_t id, struct weir_histogram *ret)
{
	return weir_metrics_read_histogram(source, id, ret);
}

static int registry_history(void *source, uint32_t id, int ring, uint32_t max,
			    struct weir_point *ret)
{
	return weir_metrics_history(source, id, ring, max, ret);
}

int weir_metrics_export(struct weir_metrics *metrics, int format,
			int (*write)(void *arg, const char *text, size_t bytes), void *arg)
{
	struct wr_view view = {
		.source = metrics,
		.nr = registry_nr,
		.show = registry_show,
		.peek = registry_peek,
		.next = registry_next,
		.histogram = registry_histogram,
		.history = registry_history,
	};

	return wr_views_export(&view, 1, format, write, arg);
}
