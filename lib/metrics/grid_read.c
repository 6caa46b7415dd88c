/* SPDX-License-Identifier: MIT */
/*
 * Reading the grids of another process. As in segment_read.c nothing there is believed: offsets and
 * numbers are loaded once, checked against the mapping, and what does not hold is not there.
 */
#include <weir/metrics_segment.h>

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/util.h"
#include "metrics/grid.h"
#include "metrics/segment_map.h"

/* More grids than any host has: a list that is longer is a circle. */
#define GRIDS_MAX 64u
/* A round that is being written may have lost its CPU: wait for it, a fifth of a second in all. */
#define NR_TRIES 400u
#define PAUSE_US 500u

_Static_assert(WEIR_GRID_TEXT == WR_GRID_TEXT, "one row, inside and outside");

/* As loaded once. */
struct loaded {
	const struct wr_segment_grid *grid;
	const struct wr_segment_grid_row *rows;
	const _Atomic uint32_t *cells;
	uint32_t full, nr_rows, nr_cells;
};

static bool load_grid(const struct weir_segment *segment, uint32_t offset, struct loaded *ret)
{
	const volatile struct wr_segment_grid *in;
	uint32_t rows, cells;

	ret->grid = wr_segment_part(segment, offset, sizeof(*ret->grid));
	if (ret->grid == NULL)
		return false;
	in = ret->grid;
	ret->full = in->full;
	ret->nr_rows = in->nr_rows;
	ret->nr_cells = in->nr_cells;
	rows = in->rows;
	cells = in->cells;
	if (ret->full == 0 || ret->nr_rows == 0 || ret->nr_rows > WR_GRID_ROWS_MAX ||
	    ret->nr_cells == 0 || ret->nr_cells > WR_GRID_CELLS_MAX)
		return false;
	ret->rows = wr_segment_part(segment, rows, ret->nr_rows * sizeof(*ret->rows));
	ret->cells = wr_segment_part(segment, cells, ret->nr_cells * sizeof(*ret->cells));
	return ret->rows != NULL && ret->cells != NULL &&
	       memchr(ret->grid->name, '\0', sizeof(ret->grid->name)) != NULL;
}

int weir_segment_grid(struct weir_segment *segment, const char *name, struct weir_grid *ret)
{
	const struct wr_segment_head *head = (const void *)segment->base;
	/* S2: pairs with the release in grid.c. */
	uint32_t at = wr_load_acquire(&head->grids);
	struct loaded l;

	for (uint32_t i = 0; at != 0 && i < GRIDS_MAX; i++) {
		if (!load_grid(segment, at, &l))
			return -ENOENT;
		if (strncmp(l.grid->name, name, sizeof(l.grid->name)) == 0) {
			*ret = (struct weir_grid){
				.name = l.grid->name,
				.time_ms = wr_load_relaxed(&l.grid->time_ms),
				.full = l.full,
				.nr_rows = l.nr_rows,
				.nr_cells = l.nr_cells,
				.id = at,
			};
			return 0;
		}
		at = *(const volatile uint32_t *)&l.grid->next;
	}
	return -ENOENT;
}

int weir_segment_grid_row(struct weir_segment *segment, const struct weir_grid *grid, uint32_t row,
			  struct weir_grid_row *ret)
{
	struct weir_grid_row copy;
	struct loaded l;

	if (!load_grid(segment, grid->id, &l) || row >= l.nr_rows)
		return -ENOENT;
	memcpy(copy.text, l.rows[row].text, sizeof(copy.text));
	copy.total = ((const volatile struct wr_segment_grid_row *)l.rows)[row].total;
	copy.first = ((const volatile struct wr_segment_grid_row *)l.rows)[row].first;
	copy.nr = ((const volatile struct wr_segment_grid_row *)l.rows)[row].nr;
	copy.text[sizeof(copy.text) - 1] = '\0';
	for (char *c = copy.text; *c != '\0'; c++) {
		if (!isascii((unsigned char)*c) || !isprint((unsigned char)*c))
			*c = '?';
	}
	if (copy.nr == 0 || copy.nr > l.nr_cells || copy.first > l.nr_cells - copy.nr ||
	    copy.total == 0 || (copy.total - 1) / l.full + 1 != copy.nr)
		return -ENOENT;
	*ret = copy;
	return 0;
}

static void copy_cells(const struct loaded *l, uint32_t first, uint32_t nr, uint32_t *ret)
{
	/* A6: pairs with the releases in publish(). */
	for (uint32_t i = 0; i < nr; i++)
		ret[i] = wr_min(wr_load_acquire(&l->cells[first + i]), l->full);
}

int64_t weir_segment_grid_cells(struct weir_segment *segment, const struct weir_grid *grid,
				uint32_t first, uint32_t nr, uint32_t *ret)
{
	struct loaded l;

	if (!load_grid(segment, grid->id, &l))
		return -ENOENT;
	if (first >= l.nr_cells)
		return 0;
	nr = wr_min(nr, l.nr_cells - first);
	for (uint32_t i = 0; i < NR_TRIES; i++) {
		uint64_t seq = wr_load_acquire(&l.grid->seq);

		copy_cells(&l, first, nr, ret);
		if (seq % 2 == 0 && wr_load_relaxed(&l.grid->seq) == seq)
			break;
		usleep(PAUSE_US);
	}
	return nr;
}
