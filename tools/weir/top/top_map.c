/* SPDX-License-Identifier: MIT */
/*
 * top_map.c - The pool as a picture of `weir top`: a character for a run of pieces, denser the more
 * of them is in use, a line or more for each mapping. What breaks the free memory up is seen as
 * marks between blanks.
 */
#include "top.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ui.h"

#define NR_LEVELS 5u

/* From nothing in use to all; what is in use at all is never drawn as nothing, nor part as all. */
static const char *const ascii[NR_LEVELS] = {".", "-", "+", "*", "#"};
static const char *const utf8[NR_LEVELS] = {"\u00b7", "\u2591", "\u2592", "\u2593", "\u2588"};

int wr_top_map_level(const char *text, unsigned *ret_bytes)
{
	for (unsigned i = 0; i < NR_LEVELS; i++) {
		const char *const marks[] = {ascii[i], utf8[i]};

		for (unsigned k = 0; k < 2; k++) {
			*ret_bytes = (unsigned)strlen(marks[k]);
			if (!strncmp(text, marks[k], *ret_bytes))
				return (int)i;
		}
	}
	*ret_bytes = 1;
	return -1;
}

static unsigned level_of(double share)
{
	if (!(share > 0))
		return 0;
	if (share >= 1)
		return NR_LEVELS - 1;
	return 1 + (unsigned)(share * (NR_LEVELS - 2));
}

/* The sum of @nr cells from @first on, as a share of what they can be; the row ends behind them. */
static void fold_row(const struct weir_grid *grid, const struct weir_grid_row *row,
		     const uint32_t *cells, struct wr_top_row *ret)
{
	uint32_t per = (row->nr - 1) / WR_TOP_ROW_CELLS + 1;

	memcpy(ret->text, row->text, sizeof(ret->text));
	ret->bytes = (double)row->total;
	ret->cell_bytes = (double)per * grid->full;
	ret->nr = 0;
	for (uint32_t at = 0; at < row->nr; at += per) {
		double most = fmin((double)per * grid->full,
				   (double)row->total - (double)at * grid->full);
		double sum = 0;

		for (uint32_t i = at; i < row->nr && i < at + per; i++)
			sum += cells[i];
		ret->share[ret->nr++] = (float)fmin(sum / most, 1);
	}
}

void wr_top_map_read(struct weir_segment *segment, const char *name, struct wr_top_map *ret)
{
	struct weir_grid_row row;
	struct weir_grid grid;
	uint32_t *cells;

	ret->nr_rows = 0;
	ret->bytes = 0;
	if (weir_segment_grid(segment, name, &grid) || !grid.time_ms)
		return;
	cells = calloc(grid.nr_cells, sizeof(*cells));
	if (!cells)
		return;
	/* All at once: of one round of the host. */
	if (weir_segment_grid_cells(segment, &grid, 0, grid.nr_cells, cells) == grid.nr_cells) {
		ret->time_ms = grid.time_ms;
		for (uint32_t i = 0; i < grid.nr_rows && ret->nr_rows < WR_TOP_ROWS; i++) {
			/* A row that does not fit into the grid was not written by us. */
			if (weir_segment_grid_row(segment, &grid, i, &row) ||
			    row.nr > grid.nr_cells || row.first > grid.nr_cells - row.nr)
				continue;
			fold_row(&grid, &row, cells + row.first, &ret->row[ret->nr_rows++]);
			ret->bytes += (double)row.total;
		}
		ret->nr_left_out = grid.nr_rows - ret->nr_rows;
	}
	free(cells);
}

/* The mean of the row between two places, as shares of its length. */
static double share_between(const struct wr_top_row *row, double from, double to)
{
	uint32_t first = (uint32_t)(from * row->nr), end = (uint32_t)ceil(to * row->nr);
	double sum = 0;

	end = end > row->nr ? row->nr : end;
	if (first >= end)
		first = end - 1;
	for (uint32_t i = first; i < end; i++)
		sum += (double)row->share[i];
	return sum / (end - first);
}

/* How many characters a row of @lines lines of @columns gets: at most one for each cell. */
static unsigned marks_of(const struct wr_top_row *row, unsigned lines, unsigned columns)
{
	unsigned marks = lines * columns;

	return row->nr < marks ? row->nr : marks;
}

static void draw_marks(const struct wr_top_row *row, unsigned from, unsigned to, unsigned of,
		       bool blocks, char *ret)
{
	*ret = '\0';
	for (unsigned i = from; i < to; i++) {
		double share = share_between(row, (double)i / of, (double)(i + 1) / of);

		strcat(ret, (blocks ? utf8 : ascii)[level_of(share)]);
	}
}

/* What a row gets of @lines: by its size, and one at least. */
static unsigned lines_of(const struct wr_top_map *map, const struct wr_top_row *row, unsigned lines,
			 unsigned columns)
{
	unsigned most = (row->nr - 1) / columns + 1;
	unsigned share = (unsigned)(row->bytes / map->bytes * lines);

	share = share < 1 ? 1 : share;
	return share < most ? share : most;
}

unsigned wr_top_map_draw(const struct wr_top_map *map, unsigned lines, unsigned columns,
			 bool blocks, struct wr_top_map_line *ret)
{
	unsigned nr = 0;

	if (columns > WR_TOP_MARKS)
		columns = WR_TOP_MARKS;
	for (uint32_t i = 0; i < map->nr_rows && nr < lines; i++) {
		const struct wr_top_row *row = &map->row[i];
		unsigned own = lines_of(map, row, lines, columns);
		unsigned of = marks_of(row, own, columns);

		for (unsigned line = 0; line < own && nr < lines; line++) {
			unsigned from = line * columns, to = from + columns;

			if (from >= of)
				break;
			ret[nr].row = i;
			draw_marks(row, from, to < of ? to : of, of, blocks, ret[nr++].text);
		}
	}
	return nr;
}

const char *wr_top_map_legend(char *text, size_t bytes, const struct wr_top_map *map, bool blocks)
{
	const char *const *marks = blocks ? utf8 : ascii;
	const char *other = "";

	for (uint32_t i = 1; i < map->nr_rows; i++) {
		if (strcmp(map->row[i].text, map->row[0].text) != 0)
			other = " and others";
	}
	snprintf(text, bytes, "%s free %s%s%s in part %s full; pages %s%s", marks[0], marks[1],
		 marks[2], marks[3], marks[4], map->row[0].text, other);
	return text;
}

json_t *wr_top_map_json(const struct wr_top_map *map)
{
	json_t *root, *rows = json_array();

	if (!map->nr_rows) {
		json_decref(rows);
		return json_null();
	}
	for (uint32_t i = 0; i < map->nr_rows; i++) {
		const struct wr_top_row *row = &map->row[i];
		json_t *shares = json_array();

		for (uint32_t k = 0; k < row->nr; k++)
			json_array_append_new(
				shares, json_real(round((double)row->share[k] * 1000) / 1000));
		json_array_append_new(rows, json_pack("{s:o, s:f, s:f, s:o}", "pages",
						      wr_ui_json_text(row->text), "bytes",
						      row->bytes, "cell_bytes", row->cell_bytes,
						      "used_ratio", shares));
	}
	root = json_pack("{s:I, s:o}", "time_ms", (json_int_t)map->time_ms, "mappings", rows);
	return root ? root : json_null();
}
