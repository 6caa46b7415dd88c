/* SPDX-License-Identifier: MIT */
/* What a pass does with the bytes; see workload.h. */
#include "workload.h"

#include <errno.h>
#include <stdlib.h>

#include <weir/topo.h>

#include "gemv.h"
#include "ui.h"

struct wr_workload {
	enum wr_compute compute;
	unsigned int nr_threads;
	const struct wr_gemv_ops *ops;
	struct wr_gemv_pool *pool;
	float *x; /* as long as the longest row */
	float *y; /* as long as the tallest view */
	uint64_t checksum;
	uint64_t ns;
};

/* What gemv multiplies: matrices, and stacks of them, of a float type. */
static bool is_matrix(const struct weir_tensor *tensor, enum wr_gemv_type *ret)
{
	if (tensor->nr_dims < 2)
		return false;
	switch (tensor->dtype) {
	case WEIR_DTYPE_BF16:
		*ret = WR_GEMV_BF16;
		return true;
	case WEIR_DTYPE_F16:
		*ret = WR_GEMV_F16;
		return true;
	case WEIR_DTYPE_F32:
		*ret = WR_GEMV_F32;
		return true;
	default:
		return false;
	}
}

static int open_vectors(struct wr_workload *work, const struct weir_units *units)
{
	uint64_t cols = 1, rows = 1;
	enum wr_gemv_type type;

	for (uint32_t i = 0; i < weir_units_nr(units); i++) {
		const struct weir_part *parts;
		int nr = weir_units_parts(units, i, &parts);

		for (int p = 0; p < nr; p++) {
			if (!is_matrix(parts[p].tensor, &type))
				continue;
			if (parts[p].tensor->row_bytes / wr_gemv_elem_bytes(type) > cols)
				cols = parts[p].tensor->row_bytes / wr_gemv_elem_bytes(type);
			if (parts[p].nr_rows > rows)
				rows = parts[p].nr_rows;
		}
	}
	work->x = calloc(cols, sizeof(*work->x));
	work->y = calloc(rows, sizeof(*work->y));
	if (!work->x || !work->y)
		return -ENOMEM;
	wr_gemv_input(work->x, cols);
	return 0;
}

/* Where the compute threads go; nowhere in particular without a topology. */
static int place_threads(struct wr_workload *work, unsigned int nr_threads, struct weir_topo *topo,
			 int **ret_cpus)
{
	struct weir_placement_opts opts = {.size = sizeof(opts), .nr_compute = nr_threads};
	struct weir_placement *placement;
	int rc = weir_placement_open(topo, &opts, &placement);

	if (rc)
		return rc;
	work->nr_threads = weir_placement_count(placement, WEIR_ROLE_COMPUTE);
	*ret_cpus = calloc(work->nr_threads, sizeof(**ret_cpus));
	rc = *ret_cpus ? 0 : -ENOMEM;
	for (uint32_t i = 0; !rc && i < work->nr_threads; i++) {
		uint32_t cpu = 0;

		rc = weir_placement_cpu(placement, WEIR_ROLE_COMPUTE, i, &cpu);
		(*ret_cpus)[i] = (int)cpu;
	}
	weir_placement_close(placement);
	return rc;
}

static int open_threads(struct wr_workload *work, unsigned int nr_threads, struct weir_topo *topo)
{
	int *cpus = NULL;
	int rc = 0;

	work->nr_threads = nr_threads ? nr_threads : 1;
	if (topo)
		rc = place_threads(work, nr_threads, topo, &cpus);
	if (!rc)
		rc = wr_gemv_pool_open(work->nr_threads, cpus, &work->pool);
	free(cpus);
	return rc;
}

int wr_workload_open(enum wr_compute compute, unsigned int nr_threads, struct weir_topo *topo,
		     const struct weir_units *units, struct wr_workload **ret)
{
	struct wr_workload *work = calloc(1, sizeof(*work));
	int rc;

	if (!work)
		return -ENOMEM;
	work->compute = compute;
	work->ops = wr_gemv_find(NULL);
	rc = open_vectors(work, units);
	if (!rc)
		rc = open_threads(work, nr_threads, topo);
	if (rc)
		wr_workload_close(work);
	else
		*ret = work;
	return rc;
}

void wr_workload_close(struct wr_workload *work)
{
	if (!work)
		return;
	wr_gemv_pool_close(work->pool);
	free(work->x);
	free(work->y);
	free(work);
}

unsigned int wr_workload_threads(const struct wr_workload *work)
{
	return work->nr_threads;
}

const char *wr_workload_variant(const struct wr_workload *work)
{
	return work->ops->name;
}

void wr_workload_begin(struct wr_workload *work)
{
	work->checksum = 0;
	work->ns = 0;
}

void wr_workload_view(struct wr_workload *work, const struct weir_view *view)
{
	const struct weir_tensor *tensor = view->tensor;
	uint64_t key = wr_gemv_key(tensor->name);
	uint64_t begin = wr_ui_now_ns();
	enum wr_gemv_type type;

	if (work->compute == WR_COMPUTE_GEMV && is_matrix(tensor, &type)) {
		struct wr_gemv_tile tile = {.w = view->data,
					    .type = type,
					    .nr_rows = (size_t)view->nr_rows,
					    .nr_cols = (size_t)tensor->row_bytes /
						       wr_gemv_elem_bytes(type)};

		wr_gemv_pool_rows(work->pool, work->ops, &tile, work->x, work->y);
		work->checksum += wr_gemv_checksum(key, view->first_row, work->y, tile.nr_rows);
	} else {
		work->checksum += wr_gemv_pool_touch(work->pool, work->ops, key,
						     view->first_row * tensor->row_bytes,
						     view->data, (size_t)view->bytes);
	}
	work->ns += wr_ui_now_ns() - begin;
}

uint64_t wr_workload_checksum(const struct wr_workload *work)
{
	return work->checksum;
}

uint64_t wr_workload_ns(const struct wr_workload *work)
{
	return work->ns;
}
