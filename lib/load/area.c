/* SPDX-License-Identifier: MIT */
/* Landing memory with a layout that is known beforehand; see area.h. */
#include "load/area.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"

/* Others may take from the pool between looking and taking. */
#define NR_TRIES 100

/* One more span: the largest free run of the pool, or what is still missing. */
static int add_span(struct wr_area *area, size_t missing)
{
	struct weir_pool_stats stats;
	struct weir_span *span;
	size_t bytes;
	int rc = -ENOSPC;

	if (area->nr_spans == WR_AREA_MAX_SPANS)
		return -ENOSPC;
	span = &area->spans[area->nr_spans];
	for (int i = 0; rc == -ENOSPC && i < NR_TRIES; i++) {
		weir_pool_stats(area->pool, &stats);
		bytes = wr_min(missing, (size_t)stats.largest_free_bytes);
		if (bytes < WR_AREA_ALIGN)
			return -ENOSPC;
		rc = weir_pool_alloc(area->pool, bytes, WEIR_NODE_ANY, span);
	}
	if (rc)
		return rc;
	area->used[area->nr_spans++] = 0;
	area->bytes += span->bytes;
	return 0;
}

int wr_area_init(struct wr_area *area, struct weir_pool *pool, size_t bytes)
{
	int rc = 0;

	memset(area, 0, sizeof(*area));
	area->pool = pool;
	while (!rc && area->bytes < bytes)
		rc = add_span(area, bytes - area->bytes);
	if (rc)
		wr_area_fini(area);
	return rc;
}

void wr_area_fini(struct wr_area *area)
{
	for (size_t i = 0; i < area->nr_spans; i++)
		weir_pool_free(area->pool, area->spans[i]);
	area->nr_spans = 0;
	area->bytes = 0;
}

void *wr_area_take(struct wr_area *area, size_t bytes)
{
	size_t need = wr_align_up(bytes, WR_AREA_ALIGN);

	for (size_t i = 0; i < area->nr_spans; i++) {
		if (area->spans[i].bytes - area->used[i] >= need) {
			char *mem = (char *)area->spans[i].base + area->used[i];

			area->used[i] += need;
			return mem;
		}
	}
	return NULL;
}
