/* SPDX-License-Identifier: MIT */
/*
 * Landing memory with a layout that is known beforehand.
 *
 * A stream or a load knows every size it will ever place, so it takes few large spans
 * from the pool and packs them itself: no rounding to powers of two, nothing to free in
 * between. On a machine with one node that is one span; on others one or more a node.
 */
#ifndef WR_LOAD_AREA_H
#define WR_LOAD_AREA_H

#include <weir/pool.h>

/* More nodes than this take from the first ones only. */
#define WR_AREA_MAX_SPANS 64

/* What the landing place of a read is aligned to; weir_io_req asks for it. */
#define WR_AREA_ALIGN ((size_t)4096)

/* Caller's memory; one thread at a time. */
struct wr_area {
	struct weir_pool *pool;
	size_t nr_spans;
	struct weir_span spans[WR_AREA_MAX_SPANS];
	size_t used[WR_AREA_MAX_SPANS];
	size_t bytes;
};

/*
 * Take @bytes from the pool, in as few spans as it has free runs. @ret->bytes may exceed
 * @bytes by less than a block per span.
 * 0, -ENOSPC (the pool has not that much free; @ret is empty), -ENOMEM.
 */
int wr_area_init(struct wr_area *area, struct weir_pool *pool, size_t bytes);
void wr_area_fini(struct wr_area *area);

/* The next @bytes, rounded up to WR_AREA_ALIGN; NULL when no span has them left. */
void *wr_area_take(struct wr_area *area, size_t bytes);

#endif /* WR_LOAD_AREA_H */
