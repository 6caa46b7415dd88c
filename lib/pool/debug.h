/* SPDX-License-Identifier: MIT */
/*
 * pool/debug.h - What a pool opened with WEIR_POOL_DEBUG does beside: a guard behind each
 * span, patterns in what is new, free and spare, and the tag of each allocation.
 *
 * A span of such a pool is one block shorter than what it occupies; that block is the
 * guard. There are no magazines: each call comes here.
 */
#ifndef WR_POOL_DEBUG_H
#define WR_POOL_DEBUG_H

#include <weir/pool.h>

/* 0, -ENOMEM. */
int wr_debug_init(struct weir_pool *pool);
void wr_debug_fini(struct weir_pool *pool);

/* With a timeout @align is 1. */
int wr_debug_alloc(struct weir_pool *pool, size_t bytes, size_t align, int node,
		   uint64_t timeout_ns, const char *tag, struct weir_span *ret);

/* 0, -EINVAL, -ESTALE; a damaged guard is reported and the span freed all the same. */
int wr_debug_free(struct weir_pool *pool, const struct weir_span *span);

/* A pointer was freed at which no live span begins: say whose memory it is, or was. */
void wr_debug_report_ptr(struct weir_pool *pool, const void *ptr);

/* What the span occupies, guard and all. */
struct weir_span wr_debug_whole(const struct weir_pool *pool, const struct weir_span *span);

/* Log each live span with its tag, as far as a few lines go. */
void wr_debug_report_live(struct weir_pool *pool);

#endif /* WR_POOL_DEBUG_H */
