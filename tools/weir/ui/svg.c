/* SPDX-License-Identifier: MIT */
/*
 * svg.c - Charts as SVG text.
 *
 * The value axis always starts at 0, because the eye compares the lengths of bars.
 * Colours are those of Okabe and Ito, told apart by all kinds of colour vision
 * (https://jfly.uni-koeln.de/color/), and for charts of many lines two more. Values stand above their bars while there is
 * room for them.
 */
#include "svg.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define WIDTH	     860.0
#define LEFT	     76.0
#define RIGHT	     24.0
#define PANEL_HEIGHT 250.0
#define PANEL_GAP    78.0
#define PLOT_WIDTH   (WIDTH - LEFT - RIGHT)

static const char *const colours[] = {"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9",
				      "#d55e00", "#000000", "#882255", "#999933", "#f0e442"};
_Static_assert(sizeof(colours) / sizeof(colours[0]) == WR_SVG_MAX_SERIES, "one colour per series");

/* Text with what XML reserves replaced; bytes below space become spaces. */
static void put_text(FILE *f, const char *text)
{
	for (; *text; text++) {
		if (*text == '<')
			fputs("&lt;", f);
		else if (*text == '>')
			fputs("&gt;", f);
		else if (*text == '&')
			fputs("&amp;", f);
		else if (*text == '"')
			fputs("&quot;", f);
		else
			fputc((unsigned char)*text < ' ' ? ' ' : *text, f);
	}
}

void wr_svg_label(FILE *f, double x, double y, int size, const char *anchor, const char *colour,
		  const char *text)
{
	fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%d\" text-anchor=\"%s\" fill=\"%s\">",
		x, y, size, anchor, colour);
	put_text(f, text);
	fputs("</text>\n", f);
}

/* Three significant digits, without an exponent where that is readable. */
static void value_text(char *text, size_t size, double v)
{
	double a = fabs(v);

	if (a >= 1e6 || (a > 0 && a < 1e-3))
		snprintf(text, size, "%.2e", v);
	else
		snprintf(text, size, "%.*f", a >= 99.95 || a == 0 ? 0 : a >= 9.995 ? 1 : 2, v);
}

/* The step of a value axis up to @max: 1, 2 or 5 times a power of ten, four to eight of them. */
static double axis_step(double max)
{
	double step = pow(10, floor(log10(max / 4)));

	if (max / step > 16)
		return step * 5;
	return max / step > 8 ? step * 2 : step;
}

static double largest(const struct wr_svg_panel *p)
{
	double max = 0;

	for (size_t s = 0; s < p->nr_series; s++)
		for (size_t g = 0; g < p->nr_groups; g++)
			if (isfinite(p->series[s].values[g]) && p->series[s].values[g] > max)
				max = p->series[s].values[g];
	return max > 0 ? max : 1;
}

/* The colour of a name: its place among all names of the chart. */
static size_t colour_of(const struct wr_svg_chart *c, const char *name)
{
	const char *seen[WR_SVG_MAX_SERIES * WR_SVG_MAX_PANELS];
	size_t nr = 0;

	for (size_t p = 0; p < c->nr_panels; p++) {
		for (size_t s = 0; s < c->panels[p].nr_series; s++) {
			size_t i = 0;

			while (i < nr && strcmp(seen[i], c->panels[p].series[s].name))
				i++;
			if (!strcmp(c->panels[p].series[s].name, name))
				return i % WR_SVG_MAX_SERIES;
			if (i == nr)
				seen[nr++] = c->panels[p].series[s].name;
		}
	}
	return 0;
}

/* Where things of one panel lie. */
struct frame {
	const struct wr_svg_chart *chart;
	const struct wr_svg_panel *panel;
	double top, scale; /* pixels per unit */
	double group_width, bar_width;
	size_t nr_bars;
};

static double y_of(const struct frame *fr, double value)
{
	return fr->top + PANEL_HEIGHT - value * fr->scale;
}

static struct frame make_frame(const struct wr_svg_chart *c, const struct wr_svg_panel *p,
			       double top)
{
	struct frame fr = {.chart = c, .panel = p, .top = top};
	double step = axis_step(largest(p));

	/* Some air above the tallest bar for its number. */
	fr.scale = PANEL_HEIGHT / (ceil(largest(p) * 1.06 / step) * step);
	fr.group_width = PLOT_WIDTH / (double)p->nr_groups;
	for (size_t s = 0; s < p->nr_series; s++)
		fr.nr_bars += !p->series[s].line;
	fr.bar_width = fr.group_width * 0.78 / (double)(fr.nr_bars ? fr.nr_bars : 1);
	if (fr.bar_width > 64)
		fr.bar_width = 64;
	return fr;
}

static void draw_axes(FILE *f, const struct frame *fr)
{
	const struct wr_svg_panel *p = fr->panel;
	double step = axis_step(largest(p));
	double base = fr->top + PANEL_HEIGHT;
	size_t every = 1 + p->nr_groups / 24;
	char text[32];

	for (int i = 0; i * step * fr->scale <= PANEL_HEIGHT + 0.5; i++) {
		double y = y_of(fr, i * step);

		fprintf(f,
			"<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n",
			LEFT, y, WIDTH - RIGHT, y, i ? "#dddddd" : WR_SVG_INK);
		snprintf(text, sizeof(text), "%g", i * step);
		wr_svg_label(f, LEFT - 8, y + 4, 12, "end", WR_SVG_SOFT, text);
	}
	wr_svg_label(f, LEFT, fr->top - 14, 15, "start", WR_SVG_INK, p->title);
	fprintf(f,
		"<text transform=\"translate(%.1f %.1f) rotate(-90)\" font-size=\"12\" "
		"text-anchor=\"middle\" fill=\"%s\">",
		24.0, fr->top + PANEL_HEIGHT / 2, WR_SVG_SOFT);
	put_text(f, p->unit);
	fputs("</text>\n", f);
	for (size_t g = 0; g < p->nr_groups; g += every)
		wr_svg_label(f, LEFT + ((double)g + 0.5) * fr->group_width, base + 17, 12, "middle",
			     WR_SVG_INK, p->groups[g]);
	wr_svg_label(f, LEFT + PLOT_WIDTH / 2, base + 35, 12, "middle", WR_SVG_SOFT, p->group_axis);
}

static void draw_bars(FILE *f, const struct frame *fr, const struct wr_svg_series *s, size_t bar)
{
	const char *colour = colours[colour_of(fr->chart, s->name)];
	double width = fr->bar_width * (double)fr->nr_bars;
	char text[32];

	for (size_t g = 0; g < fr->panel->nr_groups; g++) {
		double v = s->values[g];
		double x = LEFT + ((double)g + 0.5) * fr->group_width - width / 2 +
			   (double)bar * fr->bar_width;

		if (!isfinite(v) || v < 0)
			continue;
		fprintf(f,
			"<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
			"fill=\"%s\"/>\n",
			x + 1, y_of(fr, v), fr->bar_width - 2, v * fr->scale, colour);
		value_text(text, sizeof(text), v);
		/* A digit of 11 px is about 6.2 px wide. */
		if ((double)strlen(text) * 6.2 < fr->bar_width + 2)
			wr_svg_label(f, x + fr->bar_width / 2, y_of(fr, v) - 4, 11, "middle",
				     WR_SVG_INK, text);
	}
}

static void draw_line(FILE *f, const struct frame *fr, const struct wr_svg_series *s)
{
	const char *colour = colours[colour_of(fr->chart, s->name)];
	bool open = false;

	for (size_t g = 0; g < fr->panel->nr_groups; g++) {
		double x = LEFT + ((double)g + 0.5) * fr->group_width;

		if (open && !isfinite(s->values[g]))
			fputs("\"/>\n", f);
		else if (isfinite(s->values[g]) && !open)
			fprintf(f,
				"<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\" "
				"stroke-dasharray=\"7 4\" d=\"M",
				colour);
		open = isfinite(s->values[g]);
		if (open)
			fprintf(f, " %.1f %.1f", x, y_of(fr, s->values[g]));
	}
	if (open)
		fputs("\"/>\n", f);
	for (size_t g = 0; g < fr->panel->nr_groups; g++)
		if (isfinite(s->values[g]))
			fprintf(f,
				"<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\" "
				"stroke=\"#ffffff\"/>\n",
				LEFT + ((double)g + 0.5) * fr->group_width, y_of(fr, s->values[g]),
				colour);
}

/* Names and colours of a panel, from right to left above it. */
static void draw_legend(FILE *f, const struct frame *fr)
{
	double x = WIDTH - RIGHT;

	for (size_t s = fr->panel->nr_series; s-- > 0;) {
		const struct wr_svg_series *series = &fr->panel->series[s];
		const char *colour = colours[colour_of(fr->chart, series->name)];

		/* Set from the left, so a wide name at worst comes close to the next one. */
		x -= (double)strlen(series->name) * 7.2;
		wr_svg_label(f, x, fr->top - 14, 12, "start", WR_SVG_INK, series->name);
		x -= 18;
		if (series->line)
			fprintf(f,
				"<path d=\"M %.1f %.1f h 14\" stroke=\"%s\" stroke-width=\"2\" "
				"stroke-dasharray=\"5 3\"/>\n",
				x - 1, fr->top - 18, colour);
		else
			fprintf(f,
				"<rect x=\"%.1f\" y=\"%.1f\" width=\"12\" height=\"12\" "
				"fill=\"%s\"/>\n",
				x, fr->top - 24, colour);
		x -= 18;
	}
}

static void draw_panel(FILE *f, const struct wr_svg_chart *c, const struct wr_svg_panel *p,
		       double top)
{
	struct frame fr = make_frame(c, p, top);
	size_t bar = 0;

	draw_axes(f, &fr);
	for (size_t s = 0; s < p->nr_series; s++)
		if (!p->series[s].line)
			draw_bars(f, &fr, &p->series[s], bar++);
	for (size_t s = 0; s < p->nr_series; s++)
		if (p->series[s].line)
			draw_line(f, &fr, &p->series[s]);
	draw_legend(f, &fr);
}

/* The lines of the subtitle; returns where they end. */
static double draw_head(FILE *f, const struct wr_svg_chart *c)
{
	const char *line = c->subtitle;
	double y = 34;
	char text[256];

	fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"19\" font-weight=\"bold\" fill=\"%s\">",
		LEFT, y, WR_SVG_INK);
	put_text(f, c->title);
	fputs("</text>\n", f);
	while (*line) {
		size_t len = strcspn(line, "\n");

		y += 18;
		snprintf(text, sizeof(text), "%.*s", (int)(len < 255 ? len : 255), line);
		wr_svg_label(f, LEFT, y, 12, "start", WR_SVG_SOFT, text);
		line += len + (line[len] == '\n');
	}
	return y;
}

static size_t nr_lines(const char *text)
{
	size_t nr = *text != '\0';

	for (; *text; text++)
		nr += *text == '\n' && text[1];
	return nr;
}

static void draw(FILE *f, const void *chart)
{
	const struct wr_svg_chart *c = chart;
	double height = 34 + 18 * (double)nr_lines(c->subtitle) +
			(PANEL_HEIGHT + PANEL_GAP) * (double)c->nr_panels + 36;
	double y;

	fprintf(f,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
		"viewBox=\"0 0 %.0f %.0f\" %s>\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n",
		WIDTH, height, WIDTH, height, WR_SVG_FONT);
	y = draw_head(f, c) + 56;
	for (size_t p = 0; p < c->nr_panels; p++, y += PANEL_HEIGHT + PANEL_GAP)
		draw_panel(f, c, &c->panels[p], y);
	fputs("</svg>\n", f);
}

static bool drawable(const struct wr_svg_chart *c)
{
	if (!c->nr_panels || c->nr_panels > WR_SVG_MAX_PANELS)
		return false;
	for (size_t p = 0; p < c->nr_panels; p++)
		if (!c->panels[p].nr_groups || !c->panels[p].nr_series ||
		    c->panels[p].nr_series > WR_SVG_MAX_SERIES)
			return false;
	return true;
}

int wr_svg_save(const char *path, void (*draw_all)(FILE *f, const void *arg), const void *arg,
		struct weir_error *err)
{
	char *partial;
	int code = 0;
	FILE *f;

	if (asprintf(&partial, "%s.part", path) < 0)
		return wr_error_set(err, -ENOMEM, path, WEIR_OFFSET_NONE, "no memory");
	f = fopen(partial, "we");
	if (!f) {
		code = -errno;
		goto out;
	}
	draw_all(f, arg);
	if (ferror(f))
		code = -EIO;
	if (fclose(f) && !code)
		code = -errno;
	if (!code && rename(partial, path))
		code = -errno;
	if (code)
		remove(partial);
out:
	free(partial);
	if (code)
		return wr_error_set(err, code, path, WEIR_OFFSET_NONE,
				    "the chart could not be written: %s", strerror(-code));
	return 0;
}

int wr_svg_write(const struct wr_svg_chart *chart, const char *path, struct weir_error *err)
{
	if (!drawable(chart))
		return wr_error_set(err, -EINVAL, path, WEIR_OFFSET_NONE,
				    "a chart needs 1 to %d panels of 1 to %d series",
				    WR_SVG_MAX_PANELS, WR_SVG_MAX_SERIES);
	return wr_svg_save(path, draw, chart, err);
}
