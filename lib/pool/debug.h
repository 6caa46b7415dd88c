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

struct wr_pool_zone;

/* 0, -ENOMEM. */
int wr_debug_init(struct weir_pool *pool);
void wr_debug_fini(struct weir_pool *pool);

/* With a timeout @align is 1. */
int wr_debug_alloc(struct weir_pool *pool, size_t bytes, size_t align, int node,
		   uint64_t timeout_ns, const char *tag, struct weir_span *ret);

/* 0, -EINVAL, -ESTALE; a damaged guard is reported and the span freed all the same. */
int wr_debug_free(struct weir_pool *pool, const struct weir_span *span);

/*
 * The same for the blocks of a movable handle, which have no cell. @ret has the guard's block
 * too, as has all that is said about them afterwards.
 */
int wr_debug_take_run(struct weir_pool *pool, size_t bytes, int node, const char *tag,
		      struct weir_span *ret);

/* They are about to be free; still the caller's. */
void wr_debug_end_run(struct weir_pool *pool, const struct wr_pool_zone *zone, uint64_t block,
		      uint64_t nr);

/* Copy them to blocks that are taken, with what is known of them. Nobody has a pin. */
void wr_debug_move_run(struct weir_pool *pool, const struct wr_pool_zone *zone, uint64_t old,
		       uint64_t twin, uint64_t nr);

/* A pointer was freed at which no live span begins: say whose memory it is, or was. */
void wr_debug_report_ptr(struct weir_pool *pool, const void *ptr);

/* What the span occupies, guard and all. */
struct weir_span wr_debug_whole(const struct weir_pool *pool, const struct weir_span *span);

/* Look at the guard of each live span, and log it with its tag, as far as a few lines go. */
void wr_debug_report_live(struct weir_pool *pool);

#endif /* WR_POOL_DEBUG_H */
