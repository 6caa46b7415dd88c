/* SPDX-License-Identifier: MIT */
/*
 * Grids: tables of cells of one kind, such as how much of each piece of a pool is in use, that other
 * processes draw as a picture. A registry without a segment has none: nobody could look.
 *
 * The registry's rounds ask for the cells; between them a grid costs nothing, and it never does where
 * the memory that it shows is taken and given back.
 */
#ifndef WR_METRICS_GRID_H
#define WR_METRICS_GRID_H

#include <weir/metrics.h>

#define WR_GRID_TEXT 24u
/* A pool of 512 GiB in pieces of 2 MiB, and a MiB of the segment. */
#define WR_GRID_CELLS_MAX ((uint32_t)1 << 18)
#define WR_GRID_ROWS_MAX  256u

/**
 * struct wr_grid_row - Cells that belong together.
 * @text:  What they are, for people; ASCII.
 * @total: What all cells are when they are full; the last one has what the others leave.
 */
struct wr_grid_row {
	char text[WR_GRID_TEXT];
	uint64_t total;
};

/**
 * struct wr_grid_desc - A grid.
 * @name: As names of metrics are.
 * @full: Of a cell.
 * @nr:   Rows, 1 to WR_GRID_ROWS_MAX.
 * @rows: Read during the call.
 * @read: Called in rounds, one at a time: what the @nr cells of a row are now.
 * @arg:  Passed to @read; must outlive the registry.
 */
struct wr_grid_desc {
	const char *name;
	uint32_t full;
	uint32_t nr;
	const struct wr_grid_row *rows;
	void (*read)(void *arg, uint32_t row, uint32_t nr, uint32_t *ret);
	void *arg;
};

/*
 * Show a grid from the next round on, once per name. 0 also where the registry has no segment.
 * -EINVAL (no row, or a row without cells), -E2BIG (too many rows or cells), -EEXIST (the name is
 * in use), -ENOSPC (the segment is full), -ENOMEM.
 */
int wr_metrics_add_grid(struct weir_metrics *metrics,
			const struct wr_grid_desc *desc) WEIR_MUST_CHECK;

/* A round: the cells of all grids. */
void wr_grids_round(struct weir_metrics *metrics);
void wr_grids_free(struct weir_metrics *metrics);

#endif /* WR_METRICS_GRID_H */
