/* SPDX-License-Identifier: MIT */
/*
 * A region's recording as a picture: on top where it is taken, address upwards and time to
 * the right; below how much is taken, asked for, and free in one piece, on the same axis.
 *
 * Pieces that are taken in part are what keeps large blocks from being had, so they alone
 * are in warm colours. Rectangles of a colour are one path, and a piece that stays as it is
 * is one rectangle however long: a picture of hours is not larger than one of seconds.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "poolmap.h"
#include "ui.h"

#define WIDTH	    860.0
#define LEFT	    82.0
#define RIGHT	    24.0
#define PLOT_WIDTH  (WIDTH - LEFT - RIGHT)
#define MAP_TOP	    112.0
#define MAP_HEIGHT  384.0
#define LINE_HEIGHT 150.0
#define LINE_GAP    76.0
#define MAX_ROWS    384u
#define MAX_COLUMNS 377u /* two pixels each */
#define FONT	    "font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\""
#define INK	    "#222222"
#define SOFT	    "#666666"

enum level { FREE, QUARTER, HALF, MOST, ALMOST, FULL, NR_LEVELS };

/* Full in the blue of the charts (svg.c); in part, from sand to brown. */
static const struct {
	const char *colour, *name;
} levels[NR_LEVELS] = {
	[FREE] = {"#eeeeee", "free"},	       [QUARTER] = {"#fbe3b9", "up to 25 % taken"},
	[HALF] = {"#f5c05c", "to 50 %"},       [MOST] = {"#e08214", "to 75 %"},
	[ALMOST] = {"#a04a06", "below 100 %"}, [FULL] = {"#0072b2", "full"},
};

static const struct {
	const char *colour, *name;
	double width; /* where lines meet, a thin one on a wide one */
	size_t offset;
} lines[] = {
	{"#d55e00", "largest free run", 1.8,
	 offsetof(struct wr_poolmap_sample, largest_free_bytes)},
	{"#0072b2", "taken by spans", 3.0, offsetof(struct wr_poolmap_sample, used_bytes)},
	{"#7fd3ff", "asked for", 1.0, offsetof(struct wr_poolmap_sample, requested_bytes)},
};

/* What is drawn, and how numbers become places. */
struct picture {
	const struct wr_poolmap *map;
	const struct wr_poolmap_region *region;
	FILE *f;
	uint64_t row_pieces; /* of a row; the last may have fewer */
	uint32_t nr_rows;
	double seconds;	   /* of the time axis */
	size_t nr_columns; /* samples that are drawn */
	size_t *column;	   /* their numbers */
};

static uint64_t first_piece(const struct picture *p, uint32_t row)
{
	return wr_min(row * p->row_pieces, p->region->nr_pieces);
}

static double x_of(const struct picture *p, double seconds)
{
	return LEFT + seconds / p->seconds * PLOT_WIDTH;
}

/* Of column @c; that behind the last is the end. */
static double column_x(const struct picture *p, size_t c)
{
	if (c >= p->nr_columns)
		return LEFT + PLOT_WIDTH;
	return x_of(p, (double)p->map->samples[p->column[c]].t_ns / 1e9);
}

/* The lower edge of a row. */
static double row_y(const struct picture *p, uint32_t row)
{
	return MAP_TOP + MAP_HEIGHT -
	       MAP_HEIGHT * (double)first_piece(p, row) / (double)p->region->nr_pieces;
}

/* Free and full are exact; the pieces of a row are taken together. */
static enum level level_of(const struct picture *p, size_t column, uint32_t row)
{
	const uint16_t *kib = p->map->samples[p->column[column]].kib + p->region->first_piece;
	uint64_t first = first_piece(p, row), end = first_piece(p, row + 1);
	uint64_t taken = 0, all = (end - first) * (p->map->piece_bytes / 1024);

	for (uint64_t i = first; i < end; i++)
		taken += kib[i];
	if (end == p->region->nr_pieces && p->region->bytes % p->map->piece_bytes)
		all -= (p->map->piece_bytes - p->region->bytes % p->map->piece_bytes) / 1024;
	if (taken == 0)
		return FREE;
	if (taken >= all)
		return FULL;
	return (enum level)(QUARTER + wr_min(taken * 4 / all, (uint64_t)3));
}

static void put_text(FILE *f, const char *text)
{
	for (; *text; text++) {
		if (*text == '<' || *text == '>' || *text == '&')
			fprintf(f, "&#%d;", *text);
		else
			fputc((unsigned char)*text < ' ' ? ' ' : *text, f);
	}
}

static void put_label(FILE *f, double x, double y, int size, const char *anchor, const char *colour,
		      const char *text)
{
	fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%d\" text-anchor=\"%s\" fill=\"%s\">",
		x, y, size, anchor, colour);
	put_text(f, text);
	fputs("</text>\n", f);
}

/* All rectangles of one colour. */
static void draw_level(const struct picture *p, const enum level *cells, enum level level)
{
	fprintf(p->f, "<path fill=\"%s\" d=\"", levels[level].colour);
	for (uint32_t row = 0; row < p->nr_rows; row++) {
		const enum level *line = cells + row * p->nr_columns;
		size_t c = 0;

		while (c < p->nr_columns) {
			double height = row_y(p, row) - row_y(p, row + 1);
			size_t begin = c;

			while (c < p->nr_columns && line[c] == line[begin])
				c++;
			if (line[begin] != level)
				continue;
			fprintf(p->f, "M%.1f %.2fH%.1fv%.2fH%.1fz", column_x(p, begin),
				row_y(p, row + 1), column_x(p, c), height, column_x(p, begin));
		}
	}
	fputs("\"/>\n", p->f);
}

static int draw_map(const struct picture *p)
{
	enum level *cells = calloc(p->nr_rows * p->nr_columns, sizeof(*cells));

	if (!cells)
		return -ENOMEM;
	for (uint32_t row = 0; row < p->nr_rows; row++)
		for (size_t c = 0; c < p->nr_columns; c++)
			cells[row * p->nr_columns + c] = level_of(p, c, row);
	fprintf(p->f,
		"<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n"
		"<g shape-rendering=\"crispEdges\">\n",
		LEFT, MAP_TOP, PLOT_WIDTH, MAP_HEIGHT, levels[FREE].colour);
	for (int level = QUARTER; level < NR_LEVELS; level++)
		draw_level(p, cells, (enum level)level);
	fputs("</g>\n", p->f);
	free(cells);
	return 0;
}

/* The step of an axis up to @max: 1, 2 or 5 times a power of ten, four to eight of them. */
static double decimal_step(double max)
{
	double step = 1e-9;

	while (max / step > 80)
		step *= 10;
	return max / step > 40	 ? step * 10
	       : max / step > 16 ? step * 5
	       : max / step > 8	 ? step * 2
				 : step;
}

/* The same for memory, in powers of two. */
static uint64_t memory_step(uint64_t max, unsigned most)
{
	uint64_t step = 4096;

	while (max / step > most)
		step *= 2;
	return step;
}

static void draw_seconds(const struct picture *p, double top, double height, bool labels)
{
	double step = decimal_step(p->seconds);
	char text[32];

	for (int i = 0; i * step <= p->seconds * 1.0001; i++) {
		double x = x_of(p, i * step);

		fprintf(p->f,
			"<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n",
			x, top + height, x, top + height + 4, SOFT);
		snprintf(text, sizeof(text), "%g", i * step);
		if (labels)
			put_label(p->f, x, top + height + 17, 12, "middle", INK, text);
	}
	if (labels)
		put_label(p->f, LEFT + PLOT_WIDTH / 2, top + height + 35, 12, "middle", SOFT,
			  "seconds");
}

/* Labels of memory at the left; @ruled: with lines through the plot. */
static void draw_memory_axis(const struct picture *p, double top, double height, uint64_t max,
			     bool ruled)
{
	uint64_t step = memory_step(max, ruled ? 4 : 8);
	char text[WR_UI_TEXT];

	for (uint64_t v = 0; v <= max; v += step) {
		double y = top + height - height * (double)v / (double)max;

		fprintf(p->f,
			"<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n",
			LEFT - 4, y, ruled ? LEFT + PLOT_WIDTH : LEFT, y, ruled ? "#dddddd" : SOFT);
		put_label(p->f, LEFT - 8, y + 4, 12, "end", SOFT, v ? wr_ui_memory(text, v) : "0");
	}
}

static void draw_line(const struct picture *p, double top, uint64_t max, size_t which)
{
	double y = 0;

	fprintf(p->f, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"%.1f\" d=\"",
		lines[which].colour, lines[which].width);
	for (size_t c = 0; c < p->nr_columns; c++) {
		const struct wr_poolmap_sample *s = &p->map->samples[p->column[c]];
		uint64_t value =
			*(const uint64_t *)(const void *)((const char *)s + lines[which].offset);

		y = top + LINE_HEIGHT - LINE_HEIGHT * (double)wr_min(value, max) / (double)max;
		fprintf(p->f, c ? "H%.1fV%.1f" : "M%.1f %.1f", column_x(p, c), y);
	}
	fprintf(p->f, "H%.1f\"/>\n", LEFT + PLOT_WIDTH);
}

static uint64_t pool_bytes(const struct wr_poolmap *map)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < map->nr_regions; i++)
		sum += map->regions[i].bytes;
	return sum;
}

static void draw_lines(const struct picture *p)
{
	double top = MAP_TOP + MAP_HEIGHT + LINE_GAP;
	uint64_t max = pool_bytes(p->map);
	double x = WIDTH - RIGHT;

	draw_memory_axis(p, top, LINE_HEIGHT, max, true);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		draw_line(p, top, max, i);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		/* A letter of 12 px is about 6.4 px wide. */
		x -= (double)strlen(lines[i].name) * 6.4;
		put_label(p->f, x, top - 12, 12, "start", INK, lines[i].name);
		fprintf(p->f, "<path d=\"M%.1f %.1fh14\" stroke=\"%s\" stroke-width=\"2.5\"/>\n",
			x - 20, top - 16, lines[i].colour);
		x -= 38;
	}
	put_label(p->f, LEFT, top - 12, 14, "start", INK, "the whole pool");
	draw_seconds(p, top, LINE_HEIGHT, true);
}

static void draw_legend(const struct picture *p)
{
	double x = LEFT;

	for (int i = 0; i < NR_LEVELS; i++) {
		fprintf(p->f,
			"<rect x=\"%.1f\" y=\"%.1f\" width=\"12\" height=\"12\" fill=\"%s\" "
			"stroke=\"#bbbbbb\" stroke-width=\"0.5\"/>\n",
			x, MAP_TOP - 28, levels[i].colour);
		put_label(p->f, x + 18, MAP_TOP - 18, 12, "start", INK, levels[i].name);
		x += 18 + (double)strlen(levels[i].name) * 6.6 + 20;
	}
}

static void draw_head(const struct picture *p, const char *title)
{
	char a[WR_UI_TEXT], b[WR_UI_TEXT], c[WR_UI_TEXT], text[256];

	fprintf(p->f,
		"<text x=\"%.1f\" y=\"34\" font-size=\"19\" font-weight=\"bold\" fill=\"%s\">",
		LEFT, INK);
	put_text(p->f, title);
	fputs("</text>\n", p->f);
	snprintf(text, sizeof(text),
		 "region %u of %u: %s, pages %s, node %d; a row is %s, %zu changes in %s%s",
		 (unsigned)(p->region - p->map->regions), p->map->nr_regions,
		 wr_ui_memory(a, p->region->bytes), p->region->page_kind, p->region->node,
		 wr_ui_memory(b, p->row_pieces * p->map->piece_bytes), p->map->nr_samples,
		 wr_ui_duration(c, p->seconds), p->map->was_cut ? ", cut short" : "");
	put_label(p->f, LEFT, 54, 12, "start", SOFT, text);
}

static int draw(const struct picture *p, const char *title)
{
	double height = MAP_TOP + MAP_HEIGHT + LINE_GAP + LINE_HEIGHT + 52;
	int rc;

	fprintf(p->f,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
		"viewBox=\"0 0 %.0f %.0f\" %s>\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n",
		WIDTH, height, WIDTH, height, FONT);
	draw_head(p, title);
	draw_legend(p);
	rc = draw_map(p);
	draw_memory_axis(p, MAP_TOP, MAP_HEIGHT, p->region->bytes, false);
	draw_seconds(p, MAP_TOP, MAP_HEIGHT, false);
	draw_lines(p);
	fputs("</svg>\n", p->f);
	return rc;
}

/* Of the samples that fall on the same two pixels the last is drawn. */
static int choose_columns(struct picture *p)
{
	const struct wr_poolmap *map = p->map;
	size_t nr = 0;
	long at = -1;

	p->seconds = (double)map->samples[map->nr_samples - 1].t_ns / 1e9;
	if (p->seconds <= 0)
		p->seconds = 1e-6;
	p->column = calloc(wr_min(map->nr_samples, (size_t)MAX_COLUMNS + 1), sizeof(*p->column));
	if (!p->column)
		return -ENOMEM;
	for (size_t i = 0; i < map->nr_samples; i++) {
		long bin =
			(long)((double)map->samples[i].t_ns / 1e9 / p->seconds * (MAX_COLUMNS - 1));

		nr += bin != at;
		at = bin;
		p->column[nr - 1] = i;
	}
	p->nr_columns = nr;
	return 0;
}

static int write_picture(struct picture *p, const char *title, const char *path)
{
	char *partial;
	int rc;

	if (asprintf(&partial, "%s.part", path) < 0)
		return -ENOMEM;
	p->f = fopen(partial, "we");
	if (!p->f) {
		rc = -errno;
		free(partial);
		return rc;
	}
	rc = draw(p, title);
	if (ferror(p->f) && !rc)
		rc = -EIO;
	if (fclose(p->f) && !rc)
		rc = -errno;
	if (!rc && rename(partial, path))
		rc = -errno;
	if (rc)
		remove(partial);
	free(partial);
	return rc;
}

int wr_poolmap_draw(const struct wr_poolmap *map, uint32_t region, const char *title,
		    const char *path, struct weir_error *err)
{
	struct picture p = {.map = map};
	int rc;

	if (region >= map->nr_regions)
		return wr_error_set(err, -EINVAL, path, WEIR_OFFSET_NONE,
				    "there is no region %u, the recording has %u", region,
				    map->nr_regions);
	p.region = &map->regions[region];
	p.row_pieces = (p.region->nr_pieces + MAX_ROWS - 1) / MAX_ROWS;
	p.nr_rows = (uint32_t)((p.region->nr_pieces + p.row_pieces - 1) / p.row_pieces);
	rc = choose_columns(&p);
	if (!rc)
		rc = write_picture(&p, title, path);
	free(p.column);
	if (rc)
		return wr_error_set(err, rc, path, WEIR_OFFSET_NONE,
				    "the picture could not be written: %s", weir_strerror(rc));
	return 0;
}
