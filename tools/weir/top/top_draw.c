/* SPDX-License-Identifier: MIT */
/*
 * top_draw.c - A host as lines: fitted to the width there is, and to the height by leaving out
 * locks. What is not known is "-", never 0.
 */
#include "top.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ui.h"

static void put(struct wr_top_page *page, const char *fmt, ...) WEIR_PRINTF(2, 3);
static void put(struct wr_top_page *page, const char *fmt, ...)
{
	va_list args;

	if (page->nr == page->max || page->nr == WR_TOP_LINES)
		return;
	va_start(args, fmt);
	vsnprintf(page->line[page->nr], WR_TOP_WIDTH, fmt, args);
	va_end(args);
	page->style[page->nr] = WR_TOP_PLAIN;
	page->nr++;
}

#define TEXT 32

static const char *percent(char text[static TEXT], double ratio)
{
	if (isnan(ratio))
		return "-";
	snprintf(text, TEXT, "%.0f %%", ratio * 100);
	return text;
}

static const char *number(char text[static TEXT], double value, int decimals)
{
	if (isnan(value))
		return "-";
	snprintf(text, TEXT, "%.*f", decimals, value);
	return text;
}

static const char *memory(char text[static WR_UI_TEXT], double bytes)
{
	return isnan(bytes) ? "-" : wr_ui_memory(text, bytes > 0 ? (uint64_t)bytes : 0);
}

static const char *rate(char text[static WR_UI_TEXT], double bytes)
{
	return isnan(bytes) ? "-" : wr_ui_rate(text, bytes);
}

/* As many of the latest points as fit into @columns, each a block of up to eight eighths. */
static void draw_points(const struct wr_top_host *h, bool blocks, unsigned columns, char *ret)
{
	static const char *const utf8[] = {" ",	     "\u2581", "\u2582", "\u2583", "\u2584",
					   "\u2585", "\u2586", "\u2587", "\u2588"};
	static const char *const ascii[] = {" ", ".", ".", ":", "-", "=", "+", "*", "#"};
	uint32_t nr = h->nr_points < columns ? h->nr_points : columns;
	double most = 0;

	*ret = '\0';
	for (uint32_t i = h->nr_points - nr; i < h->nr_points; i++)
		most = fmax(most, h->points[i]);
	for (uint32_t i = h->nr_points - nr; i < h->nr_points; i++) {
		double share = most > 0 && h->points[i] > 0 ? h->points[i] / most : 0;

		strcat(ret, (blocks ? utf8 : ascii)[(int)ceil(share * 8)]);
	}
}

static void draw_bar(double share, unsigned columns, char *ret)
{
	unsigned full = share > 0 ? (unsigned)lround(fmin(share, 1) * columns) : 0;

	memset(ret, '.', columns);
	memset(ret, '#', full);
	ret[columns] = '\0';
}

/* The line that was put last. */
static void set_style(struct wr_top_page *page, enum wr_top_style style)
{
	if (page->nr > 0)
		page->style[page->nr - 1] = style;
}

static void draw_head(const struct wr_top_host *h, unsigned which, unsigned nr,
		      struct wr_top_page *page)
{
	const struct weir_segment_info *i = &h->info;
	uint64_t until = i->alive ? h->now_ms : i->tick_ms;
	char up[WR_UI_TEXT], late[WR_UI_TEXT], left[WR_TOP_WIDTH];
	unsigned columns;

	wr_ui_duration(up, until > i->start_ms ? (double)(until - i->start_ms) / 1e3 : 0);
	snprintf(left, sizeof(left), "%s, pid %u.%u, %s %s", i->command, i->pid, i->context,
		 i->alive ? "up" : "ENDED after", up);
	columns = page->width > 24 ? page->width - 24 : 1;
	put(page, "weir top   %-*.*s %2u of %u", (int)columns > 12 ? (int)columns - 12 : 1,
	    (int)columns > 12 ? (int)columns - 12 : 1, left, which, nr);
	set_style(page, WR_TOP_TITLE);
	if (i->alive && (i->tick_ms == 0 || h->now_ms > i->tick_ms + 3000))
		put(page, "not heard of for %s: stopped, or overloaded",
		    i->tick_ms ? wr_ui_duration(late, (double)(h->now_ms - i->tick_ms) / 1e3)
			       : "ever");
	else
		put(page, "%s", "");
}

static void draw_machine(const struct wr_top_host *h, struct wr_top_page *page)
{
	char a[WR_UI_TEXT], b[WR_UI_TEXT], c[WR_UI_TEXT], d[WR_UI_TEXT], e[WR_UI_TEXT],
		f[WR_UI_TEXT];

	put(page, "machine    cpu %s of %s, memory %s of %s, swap %s of %s", percent(a, h->cpu),
	    number(b, h->cpus, 0), memory(c, h->memory_used), memory(d, h->memory_total),
	    memory(e, h->swap_used), memory(f, h->swap_total));
	put(page, "pressure   cpu %s, memory %s, io %s   temperature %s C",
	    percent(a, h->pressure[0]), percent(b, h->pressure[1]), percent(c, h->pressure[2]),
	    number(d, h->temperature, 0));
	if (!isnan(h->gpu) || !isnan(h->gpu_memory_total))
		put(page, "gpu        %s, memory %s of %s", percent(a, h->gpu),
		    memory(b, h->gpu_memory_used), memory(c, h->gpu_memory_total));
	put(page, "process    cpus %s, resident %s, threads %s, files %s",
	    number(a, h->process_cpus, 1), memory(b, h->resident), number(c, h->threads, 0),
	    number(d, h->fds, 0));
	put(page, "%s", "");
}

static void draw_work(const struct wr_top_host *h, struct wr_top_page *page)
{
	unsigned columns = page->width > 40 ? page->width - 28 : 12;
	char points[4 * WR_TOP_POINTS + 1];
	char a[WR_UI_TEXT], b[WR_UI_TEXT], c[WR_UI_TEXT], d[WR_UI_TEXT];

	if (columns > WR_TOP_POINTS)
		columns = WR_TOP_POINTS;
	draw_points(h, page->blocks, columns, points);
	put(page, "read       %-14s %s", rate(a, h->read_bytes), points);
	put(page, "engine     reads/s %s, under way %s, failed %s, retries %s",
	    number(a, h->reads, 0), number(b, h->under_way, 0), number(c, h->failed, 0),
	    number(d, h->retries, 0));
	put(page, "stream     units/s %s, hits %s, wait p99 %s", number(a, h->units, 0),
	    percent(b, h->hits),
	    isnan(h->stall_p99_ns) ? "-" : wr_ui_duration(c, h->stall_p99_ns / 1e9));
}

/* "l2 hits 93 %, 1.5 GiB of 2.0 GiB" for each tier there is; nothing without a cache. */
static void draw_cache(const struct wr_top_host *h, struct wr_top_page *page)
{
	char line[WR_TOP_WIDTH] = "", a[WR_UI_TEXT], b[WR_UI_TEXT];
	size_t at = 0;

	for (int i = 0; i < 3; i++) {
		const struct wr_top_tier *t = &h->tier[i];

		if (isnan(t->budget))
			continue;
		at += (size_t)snprintf(line + at, sizeof(line) - at, "%sL%d %s hit, %s used",
				       at ? "; " : "", i + 1, percent(a, t->hits),
				       memory(b, t->used));
	}
	if (at)
		put(page, "cache      %s", line);
}

/* What of the free memory no single span could have. */
static double fragmentation(const struct wr_top_host *h)
{
	return h->pool_free > 0 ? 1 - h->pool_largest / h->pool_free : (double)NAN;
}

static void draw_map(const struct wr_top_host *h, unsigned lines, struct wr_top_page *page)
{
	unsigned columns = page->width > 24 ? page->width - WR_TOP_INDENT - 1 : 12;
	struct wr_top_map_line line[WR_TOP_LINES];
	char legend[WR_TOP_WIDTH], share[TEXT];
	unsigned nr = wr_top_map_draw(&h->map, lines, columns, page->blocks, line);

	for (unsigned i = 0; i < nr; i++) {
		const char *kind = h->map.row[line[i].row].text;
		int room = WR_TOP_INDENT - 1;

		/* Each mapping is named where it begins; the first is in the legend. */
		if (i == 0)
			kind = "map";
		else if (line[i].row == line[i - 1].row)
			kind = "";
		put(page, "%-*.*s %s", room, room, kind, line[i].text);
		set_style(page, WR_TOP_MAP);
	}
	if (nr)
		put(page, "           %s; broken up %s",
		    wr_top_map_legend(legend, sizeof(legend), &h->map, page->blocks),
		    percent(share, fragmentation(h)));
}

static void draw_pool(const struct wr_top_host *h, struct wr_top_page *page)
{
	char a[WR_UI_TEXT], b[WR_UI_TEXT], c[WR_UI_TEXT], d[WR_UI_TEXT], bar[WR_TOP_WIDTH];
	/* On a screen of 24 lines three, and then five locks have room. */
	unsigned lines = page->max > 20 ? 2 + (page->max - 20) / 3 : 2;
	unsigned columns = page->width > 40 ? page->width - 28 : 12;

	put(page, "pool       %s of %s, at most %s; largest free %s", memory(a, h->pool_used),
	    memory(b, h->pool_capacity), memory(c, h->pool_peak), memory(d, h->pool_largest));
	if (h->map.nr_rows) {
		draw_map(h, lines, page);
	} else {
		draw_bar(h->pool_used / h->pool_capacity, columns, bar);
		put(page, "           %s", bar);
	}
	put(page, "%s", "");
}

void wr_top_draw(const struct wr_top_host *h, unsigned which, unsigned nr, struct wr_top_page *page)
{
	char a[TEXT], b[TEXT], c[TEXT], d[TEXT];

	page->nr = 0;
	draw_head(h, which, nr, page);
	draw_machine(h, page);
	draw_work(h, page);
	draw_cache(h, page);
	draw_pool(h, page);
	put(page, "%-20s %13s %13s %14s %13s", "LOCK", "waits/s", "ms waited/s", "waits ever",
	    "ms ever");
	set_style(page, WR_TOP_TITLE);
	for (uint32_t i = 0; i < h->nr_locks; i++) {
		const struct wr_top_lock *l = &h->locks[i];

		put(page, "%-20s %13s %13s %14s %13s", l->name, number(a, l->contended, 1),
		    number(b, l->wait_ns / 1e6, 2), number(c, l->all_contended, 0),
		    number(d, l->all_wait_ns / 1e6, 1));
	}
}

static json_t *real(double value)
{
	return isnan(value) ? json_null() : json_real(value);
}

static json_t *locks_json(const struct wr_top_host *h)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < h->nr_locks; i++) {
		const struct wr_top_lock *l = &h->locks[i];

		json_array_append_new(list, json_pack("{s:s, s:o, s:o, s:o, s:o}", "name", l->name,
						      "waits_per_second", real(l->contended),
						      "wait_ns_per_second", real(l->wait_ns),
						      "waits", real(l->all_contended), "wait_ns",
						      real(l->all_wait_ns)));
	}
	return list;
}

json_t *wr_top_json(const struct wr_top_host *h)
{
	const struct weir_segment_info *i = &h->info;
	const struct {
		const char *name;
		double value;
	} fields[] = {
		{"cpu_ratio", h->cpu},
		{"cpus", h->cpus},
		{"memory_total_bytes", h->memory_total},
		{"memory_used_bytes", h->memory_used},
		{"swap_used_bytes", h->swap_used},
		{"pressure_cpu", h->pressure[0]},
		{"pressure_memory", h->pressure[1]},
		{"pressure_io", h->pressure[2]},
		{"temperature_celsius", h->temperature},
		{"gpu_ratio", h->gpu},
		{"resident_bytes", h->resident},
		{"threads", h->threads},
		{"files", h->fds},
		{"process_cpus", h->process_cpus},
		{"read_bytes_per_second", h->read_bytes},
		{"reads_per_second", h->reads},
		{"requests_under_way", h->under_way},
		{"reads_failed", h->failed},
		{"units_per_second", h->units},
		{"hit_ratio", h->hits},
		{"stall_p99_ns", h->stall_p99_ns},
		{"pool_capacity_bytes", h->pool_capacity},
		{"pool_used_bytes", h->pool_used},
		{"pool_free_bytes", h->pool_free},
		{"pool_peak_bytes", h->pool_peak},
		{"pool_largest_free_bytes", h->pool_largest},
		{"pool_fragmentation_ratio", fragmentation(h)},
		{"cache_l1_hit_ratio", h->tier[0].hits},
		{"cache_l2_hit_ratio", h->tier[1].hits},
		{"cache_l3_hit_ratio", h->tier[2].hits},
	};
	json_t *root = json_pack("{s:I, s:I, s:o, s:b, s:I, s:I}", "pid", (json_int_t)i->pid,
				 "context", (json_int_t)i->context, "command",
				 wr_ui_json_text(i->command), "alive", i->alive, "start_ms",
				 (json_int_t)i->start_ms, "tick_ms", (json_int_t)i->tick_ms);

	for (size_t f = 0; root && f < sizeof(fields) / sizeof(fields[0]); f++)
		json_object_set_new(root, fields[f].name, real(fields[f].value));
	if (root)
		json_object_set_new(root, "pool_map", wr_top_map_json(&h->map));
	if (root)
		json_object_set_new(root, "locks", locks_json(h));
	return root;
}
