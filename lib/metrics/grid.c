/* SPDX-License-Identifier: MIT */
/*
 * The owner's side of grids: see grid.h, and segment.h for how they lie there. A round reads into
 * memory of its own first, since what is asked may take a lock, and then copies; a reader that meets
 * the copying looks again.
 */
#include "metrics/grid.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "metrics/registry.h"
#include "metrics/sample.h"

/* All [METRICS_RUN]. */
struct grid {
	struct grid *next;
	struct wr_segment_grid *out;
	_Atomic uint32_t *cells;
	void (*read)(void *arg, uint32_t row, uint32_t nr, uint32_t *ret);
	void *arg;
	uint32_t nr_rows;
	uint32_t nr_cells;
	char name[64];
	uint32_t *
		nr_of; /* cells of each row, behind @fresh: what lies in the segment is not believed */
	uint32_t fresh[]; /* nr_cells */
};

/* How many cells there are in all, 0 when the description is wrong; UINT32_MAX: too many. */
static uint32_t count_cells(const struct wr_grid_desc *desc)
{
	uint64_t nr = 0;

	if (desc->nr == 0 || desc->full == 0 || !wr_metrics_is_name(desc->name) ||
	    strlen(desc->name) >= sizeof(((struct grid *)NULL)->name))
		return 0;
	for (uint32_t i = 0; i < desc->nr; i++) {
		if (desc->rows[i].total == 0)
			return 0;
		nr += (desc->rows[i].total - 1) / desc->full + 1;
		if (nr > WR_GRID_CELLS_MAX)
			return UINT32_MAX;
	}
	return (uint32_t)nr;
}

static bool is_there_locked(const struct weir_metrics *metrics, const char *name)
{
	for (const struct grid *g = metrics->grids; g != NULL; g = g->next) {
		if (strcmp(g->name, name) == 0)
			return true;
	}
	return false;
}

static void fill_rows(const struct wr_grid_desc *desc, struct wr_segment_grid_row *rows,
		      uint32_t *nr_of)
{
	uint32_t first = 0;

	for (uint32_t i = 0; i < desc->nr; i++) {
		memcpy(rows[i].text, desc->rows[i].text, sizeof(rows[i].text) - 1);
		rows[i].total = desc->rows[i].total;
		rows[i].first = first;
		rows[i].nr = (uint32_t)((desc->rows[i].total - 1) / desc->full + 1);
		nr_of[i] = rows[i].nr;
		first += rows[i].nr;
	}
}

/* One block: the grid, its rows, its cells. */
static int place(struct weir_metrics *metrics, const struct wr_grid_desc *desc, struct grid *grid)
{
	size_t rows_at = sizeof(struct wr_segment_grid);
	size_t cells_at = rows_at + desc->nr * sizeof(struct wr_segment_grid_row);
	struct wr_segment_grid_row *rows;
	uint32_t offset;
	char *at = wr_segment_alloc(metrics->segment, cells_at + grid->nr_cells * sizeof(uint32_t),
				    &offset);

	if (at == NULL)
		return -ENOSPC;
	grid->out = (struct wr_segment_grid *)(void *)at;
	rows = (struct wr_segment_grid_row *)(void *)(at + rows_at);
	grid->cells = (_Atomic uint32_t *)(void *)(at + cells_at);
	fill_rows(desc, rows, grid->nr_of);
	memcpy(grid->out->name, grid->name, sizeof(grid->out->name));
	grid->out->full = desc->full;
	grid->out->nr_rows = desc->nr;
	grid->out->nr_cells = grid->nr_cells;
	grid->out->rows = offset + (uint32_t)rows_at;
	grid->out->cells = offset + (uint32_t)cells_at;
	grid->out->next = wr_load_relaxed(&metrics->segment->head->grids);
	/* S2: pairs with the acquire in grid_read.c. */
	wr_store_release(&metrics->segment->head->grids, offset);
	return 0;
}

int wr_metrics_add_grid(struct weir_metrics *metrics, const struct wr_grid_desc *desc)
{
	uint32_t nr = count_cells(desc);
	struct grid *grid;
	int rc = 0;

	if (nr == 0)
		return -EINVAL;
	if (desc->nr > WR_GRID_ROWS_MAX || nr == UINT32_MAX)
		return -E2BIG;
	if (metrics->segment == NULL)
		return 0;
	grid = wr_calloc(1, sizeof(*grid) + ((size_t)nr + desc->nr) * sizeof(grid->fresh[0]));
	if (grid == NULL)
		return -ENOMEM;
	grid->read = desc->read;
	grid->arg = desc->arg;
	grid->nr_rows = desc->nr;
	grid->nr_cells = nr;
	grid->nr_of = &grid->fresh[nr];
	strcpy(grid->name, desc->name);
	wr_mutex_lock(&metrics->run);
	rc = is_there_locked(metrics, desc->name) ? -EEXIST : place(metrics, desc, grid);
	if (rc == 0) {
		grid->next = metrics->grids;
		metrics->grids = grid;
	}
	wr_mutex_unlock(&metrics->run);
	if (rc != 0)
		wr_free(grid);
	return rc;
}

static void publish(struct grid *grid)
{
	uint64_t seq = wr_load_relaxed(&grid->out->seq);

	wr_store_relaxed(&grid->out->seq, seq + 1);
	/* A6: each cell's release pairs with the acquire in copy_cells(): who sees the cell sees
	 * the odd number. */
	for (uint32_t i = 0; i < grid->nr_cells; i++)
		wr_store_release(&grid->cells[i], grid->fresh[i]);
	wr_store_relaxed(&grid->out->time_ms, wr_unix_ms());
	wr_store_release(&grid->out->seq, seq + 2);
}

void wr_grids_round(struct weir_metrics *metrics)
{
	if (metrics->segment == NULL)
		return;
	wr_mutex_lock(&metrics->run);
	/* A child's segment is nobody's to look at. */
	for (struct grid *g = metrics->segment->fd >= 0 ? metrics->grids : NULL; g != NULL;
	     g = g->next) {
		uint32_t *at = g->fresh;

		for (uint32_t row = 0; row < g->nr_rows; at += g->nr_of[row++])
			g->read(g->arg, row, g->nr_of[row], at);
		publish(g);
	}
	wr_mutex_unlock(&metrics->run);
}

void wr_grids_free(struct weir_metrics *metrics)
{
	struct grid *next;

	for (struct grid *g = metrics->grids; g != NULL; g = next) {
		next = g->next;
		wr_free(g);
	}
	metrics->grids = NULL;
}
