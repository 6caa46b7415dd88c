/* SPDX-License-Identifier: MIT */
/*
 * A heat map of how long locks were kept, from the timelines of a trace: each column is one of its
 * slots or several, each row a power of two. Colours run by the logarithm of the number, in the
 * order of brightness, so that they also read in grey.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "svg.h"
#include "tracing.h"

#define WIDTH	    860.0
#define LEFT	    82.0
#define RIGHT	    24.0
#define PLOT_WIDTH  (WIDTH - LEFT - RIGHT)
#define HEAD	    92.0
#define ROW_HEIGHT  14.0
#define GAP	    96.0
#define FOOT	    30.0
#define MAX_COLUMNS 256u
#define NR_COLOURS  6u

/* From light to dark. */
static const char *const colours[NR_COLOURS] = {"#fde9c4", "#fbc46d", "#f08a3c",
						"#cf4b3f", "#8f2469", "#3b0f4f"};

struct map {
	const char *title;
	uint32_t timeline;
	uint64_t first, last; /* slots; none when first > last */
	uint64_t step;	      /* slots of a column */
	uint32_t nr_columns, low, high;
	uint64_t max, total;
	uint64_t (*count)[WEIR_LOCK_BUCKETS];
};

struct picture {
	const struct wr_tracing *t;
	uint32_t shift;
	struct map maps[3];
	size_t nr_maps;
};

static int find_ends(void *arg, const struct weir_trace_slot *slot)
{
	struct map *m = arg;

	m->first = wr_min(m->first, (uint64_t)slot->stamp);
	m->last = wr_max(m->last, (uint64_t)slot->stamp);
	return 0;
}

static int add_slot(void *arg, const struct weir_trace_slot *slot)
{
	struct map *m = arg;
	uint64_t column = (slot->stamp - m->first) / m->step;

	/* One that was begun since the ends were looked for. */
	if (slot->stamp < m->first || column >= m->nr_columns)
		return 0;
	for (uint32_t i = 0; i < WEIR_LOCK_BUCKETS; i++) {
		uint64_t *n = &m->count[column][i];

		if (slot->log2_ns[i] == 0)
			continue;
		*n += slot->log2_ns[i];
		m->total += slot->log2_ns[i];
		m->max = wr_max(m->max, *n);
		m->low = wr_min(m->low, i);
		m->high = wr_max(m->high, i);
	}
	return 0;
}

/* The ring holds so many slots: what is older by that is of an earlier round. */
static int read_map(struct weir_trace *trace, struct map *m)
{
	int rc;

	m->first = UINT64_MAX;
	m->low = WEIR_LOCK_BUCKETS;
	rc = weir_trace_each_slot(trace, m->timeline, find_ends, m);
	if (rc || m->first == UINT64_MAX)
		return rc;
	if (m->last - m->first >= WEIR_TRACE_SLOTS)
		m->first = m->last - (WEIR_TRACE_SLOTS - 1);
	m->step = (m->last - m->first) / MAX_COLUMNS + 1;
	m->nr_columns = (uint32_t)((m->last - m->first) / m->step + 1);
	m->count = calloc(m->nr_columns, sizeof(*m->count));
	return m->count ? weir_trace_each_slot(trace, m->timeline, add_slot, m) : -ENOMEM;
}

static unsigned colour_of(const struct map *m, uint64_t n)
{
	double share = m->max > 1 ? log((double)n) / log((double)m->max) : 1;

	return (unsigned)wr_min((uint64_t)(share * NR_COLOURS), (uint64_t)NR_COLOURS - 1);
}

static const char *time_text(char text[static 32], uint64_t ns)
{
	if (ns < 1000)
		snprintf(text, 32, "%" PRIu64 " ns", ns);
	else if (ns < 1000000)
		snprintf(text, 32, "%.3g us", (double)ns / 1e3);
	else if (ns < 1000000000)
		snprintf(text, 32, "%.3g ms", (double)ns / 1e6);
	else
		snprintf(text, 32, "%.3g s", (double)ns / 1e9);
	return text;
}

static double height_of(const struct map *m)
{
	return m->total ? (m->high - m->low + 1) * ROW_HEIGHT : ROW_HEIGHT;
}

static void draw_cells(FILE *f, const struct map *m, double top)
{
	double width = PLOT_WIDTH / m->nr_columns;

	fputs("<g shape-rendering=\"crispEdges\">\n", f);
	for (uint32_t c = 0; c < m->nr_columns; c++)
		for (uint32_t i = m->low; i <= m->high; i++) {
			char low[32], high[32];

			if (m->count[c][i] == 0)
				continue;
			time_text(low, i ? 1ull << (i - 1) : 0);
			time_text(high, 1ull << i);
			fprintf(f,
				"<rect x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\" "
				"fill=\"%s\"><title>%" PRIu64 " of %s to %s</title></rect>\n",
				LEFT + c * width, top + (m->high - i) * ROW_HEIGHT, width,
				ROW_HEIGHT, colours[colour_of(m, m->count[c][i])], m->count[c][i],
				low, high);
		}
	fputs("</g>\n", f);
}

static void draw_axes(FILE *f, const struct picture *p, const struct map *m, double top)
{
	double base = top + height_of(m);
	double slot_s = ldexp(1e-9, (int)p->shift);
	char text[64];

	for (uint32_t i = m->low; i <= m->high + 1; i += 2) {
		char label[32];

		wr_svg_label(f, LEFT - 8, top + (m->high + 1 - i) * ROW_HEIGHT + 4, 11, "end",
			     WR_SVG_SOFT, time_text(label, i ? 1ull << (i - 1) : 0));
	}
	/* When: from the beginning of the trace on. */
	for (int i = 0; i <= 4; i++) {
		double slot = (double)m->first + (double)m->nr_columns * (double)m->step * i / 4;
		double s = slot * slot_s - (double)p->t->meta.started_ns / 1e9;

		snprintf(text, sizeof(text), "%.1f s", s < 0 ? 0 : s);
		wr_svg_label(f, LEFT + PLOT_WIDTH * i / 4, base + 17, 11,
			     i == 0   ? "start"
			     : i == 4 ? "end"
				      : "middle",
			     WR_SVG_SOFT, text);
	}
	wr_svg_label(f, LEFT + PLOT_WIDTH / 2, base + 33, 12, "middle", WR_SVG_SOFT,
		     "since tracing began");
}

/* From one to the most, as the colours part them. */
static void draw_legend(FILE *f, const struct map *m, double y)
{
	char text[64];

	for (unsigned i = 0; i < NR_COLOURS; i++)
		fprintf(f, "<rect x=\"%.1f\" y=\"%.1f\" width=\"18\" height=\"10\" fill=\"%s\"/>\n",
			LEFT + PLOT_WIDTH - 18.0 * (NR_COLOURS - i) - 90, y - 9, colours[i]);
	wr_svg_label(f, LEFT + PLOT_WIDTH - 18.0 * NR_COLOURS - 96, y, 11, "end", WR_SVG_SOFT, "1");
	snprintf(text, sizeof(text), "%" PRIu64, m->max);
	wr_svg_label(f, LEFT + PLOT_WIDTH - 84, y, 11, "start", WR_SVG_SOFT, text);
}

static void draw_map(FILE *f, const struct picture *p, const struct map *m, double top)
{
	char text[128];

	snprintf(text, sizeof(text), "%s: %" PRIu64, m->title, m->total);
	wr_svg_label(f, LEFT, top - 12, 14, "start", WR_SVG_INK, text);
	if (m->total) {
		draw_cells(f, m, top);
		draw_axes(f, p, m, top);
		draw_legend(f, m, top - 12);
	}
	fprintf(f,
		"<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"none\" "
		"stroke=\"%s\"/>\n",
		LEFT, top, PLOT_WIDTH, height_of(m), WR_SVG_SOFT);
}

static void draw(FILE *f, const void *arg)
{
	const struct picture *p = arg;
	const char *name, *reason;
	double height = HEAD + FOOT, y = HEAD;
	char text[256];

	for (size_t i = 0; i < p->nr_maps; i++)
		height += height_of(&p->maps[i]) + GAP;
	fprintf(f,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
		"viewBox=\"0 0 %.0f %.0f\" %s>\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n",
		WIDTH, height, WIDTH, height, WR_SVG_FONT);
	snprintf(text, sizeof(text), "How long locks of process %" PRIu32 " were kept",
		 p->t->meta.tgid);
	wr_svg_label(f, LEFT, 30, 18, "start", WR_SVG_INK, text);
	snprintf(text, sizeof(text),
		 "each row a power of two, each column %.3g s or more; colour by number",
		 ldexp(1e-9, (int)p->shift));
	wr_svg_label(f, LEFT, 50, 12, "start", WR_SVG_SOFT, text);
	for (size_t i = 0; i < p->nr_maps; i++) {
		draw_map(f, p, &p->maps[i], y);
		y += height_of(&p->maps[i]) + GAP;
	}
	if (weir_trace_part(p->t->trace, 4, &name, &reason) != 0)
		snprintf(text, sizeof(text), "CPU cache misses: %s", reason);
	else
		snprintf(text, sizeof(text), "CPU cache misses (%s): about %" PRIu64,
			 wr_tracing_miss_source((int)p->t->meta.cpu_miss_source),
			 (uint64_t)p->t->totals.cpu_misses);
	wr_svg_label(f, LEFT, height - 14, 11, "start", WR_SVG_SOFT, text);
	fputs("</svg>\n", f);
}

int wr_tracing_heat(struct weir_trace *trace, const struct wr_tracing *t, const char *path,
		    struct weir_error *err)
{
	struct picture p = {.t = t, .shift = weir_trace_slot_shift(trace)};
	int rc = 0;

	p.maps[p.nr_maps++] =
		(struct map){.title = "Holds while somebody waited", .timeline = WEIR_TRACE_LOCKS};
	if (t->meta.parts & WEIR_TRACE_HOLDS)
		p.maps[p.nr_maps++] = (struct map){.title = "Holds of weir's locks, sampled",
						   .timeline = WEIR_TRACE_HOLDS};
	if (t->meta.parts & WEIR_TRACE_DEEP)
		p.maps[p.nr_maps++] =
			(struct map){.title = "Holds of all mutexes", .timeline = WEIR_TRACE_DEEP};
	for (size_t i = 0; !rc && i < p.nr_maps; i++)
		rc = read_map(trace, &p.maps[i]);
	rc = rc ? wr_error_set(err, rc, path, WEIR_OFFSET_NONE, "the timeline cannot be read: %s",
			       weir_strerror(rc))
		: wr_svg_save(path, draw, &p, err);
	for (size_t i = 0; i < p.nr_maps; i++)
		free(p.maps[i].count);
	return rc;
}
