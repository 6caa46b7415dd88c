/* SPDX-License-Identifier: MIT */
/*
 * pool/zone.h - The memory of one node: regions, their buddies, and who holds what.
 *
 *   zone (a node or a device)      lock, counters
 *     region (one mapping, one page kind)
 *       buddy (bits)               which blocks are free
 *       cells (8 bytes a block)    which allocation starts there
 *
 * A cell belongs to its block for the life of the pool. Its generation counts the spans
 * that began at the block: odd while one is live, even while none is. A span carries
 * the odd number it was born with, so the code knows for each span ever given whether
 * it is live (equal), was freed (the cell is ahead) or never existed (the span is
 * ahead, or even). A generation returns after 2^31 spans that began at one block.
 */
#ifndef WR_POOL_ZONE_H
#define WR_POOL_ZONE_H

#include <stdint.h>

#include <weir/pool.h>

#include "lock/lock.h"
#include "pool/buddy.h"
#include "pool/provider.h"

/* A zone has one region now; several are for nodes that mix page kinds. */
#define WR_POOL_MAX_REGIONS 4u

/**
 * struct wr_pool_cell - What is known of a span, kept at its first block.
 * @generation: See above.
 * @detail:     Spare bytes in the last block, and IS_MULTI when the span has more blocks
 *              than one: the detail of its second block then holds their number.
 */
struct wr_pool_cell {
	uint32_t generation;
	uint32_t detail;
};

struct wr_pool_region {
	const struct wr_pool_provider *provider; /* [const] */
	struct wr_pool_mapping map;		 /* [const] */
	struct weir_pool_region info;		 /* [const] */
	uint64_t first_block;			 /* [const] number of block 0 within the zone */
	struct wr_buddy buddy;			 /* [POOL_ZONE] */
	struct wr_pool_cell *cells;		 /* [POOL_ZONE] as many as the buddy has blocks */
};

/* Everything counted in blocks or spans, so that all of it is changed in one place. */
struct wr_zone_counts {
	uint64_t used_blocks;
	uint64_t peak_used_blocks;
	uint64_t requested_bytes;
	uint64_t nr_live;
	uint64_t nr_allocs;
	uint64_t nr_frees;
	uint64_t nr_failed;
};

struct wr_pool_zone {
	_Alignas(WR_CACHE_LINE) struct wr_mutex lock; /* POOL_ZONE */
	int node;				      /* [const] -1: no such notion */
	unsigned block_shift;			      /* [const] log2 of the smallest block */
	uint32_t nr_regions;			      /* [const] */
	uint64_t id_prefix;			      /* [const] pool and zone, for span ids */
	uint64_t largest_region_bytes;		      /* [const] */
	struct wr_pool_region regions[WR_POOL_MAX_REGIONS];
	struct wr_zone_counts counts; /* [POOL_ZONE] */
};

/* @zone is zeroed memory; the zone has no regions yet. */
void wr_zone_init(struct wr_pool_zone *zone, int node, size_t block_bytes, uint64_t id_prefix);
/* Frees the bookkeeping; the mappings and the lock, which a fork child may not touch, stay. */
void wr_zone_fini(struct wr_pool_zone *zone);

/* Take over a mapping; on failure (-ENOMEM) it stays the caller's. */
int wr_zone_add_region(struct wr_pool_zone *zone, const struct wr_pool_provider *provider,
		       const struct wr_pool_mapping *map, int kind);

/* 0, -EINVAL (above the largest region), -ENOSPC. */
int wr_zone_alloc(struct wr_pool_zone *zone, size_t bytes, struct weir_span *ret);

/* The same from the high end of the zone: for what may be moved. */
int wr_zone_alloc_high(struct wr_pool_zone *zone, size_t bytes, struct weir_span *ret);

/*
 * A second span as large as a live one, within the blocks [lo, hi) of the same region, for
 * its content to move to. One of the two is given back by wr_zone_drop_twin(), whichever
 * is not wanted; between the two calls both use blocks and count as one span.
 * 0, -ENOSPC, or what wr_zone_free() says of a span that is not live.
 */
int wr_zone_twin(struct wr_pool_zone *zone, const struct weir_span *span, uint64_t lo, uint64_t hi,
		 struct weir_span *ret);
void wr_zone_drop_twin(struct wr_pool_zone *zone, const struct weir_span *span);

/* Blocks in use in each of @nr ranges of @step blocks, from @first on. */
void wr_zone_count_used(struct wr_pool_zone *zone, const struct wr_pool_region *r, uint64_t first,
			uint64_t step, size_t nr, uint32_t *ret);

/* An allocation found no room, here or in any zone it could have gone to. */
void wr_zone_count_failed(struct wr_pool_zone *zone);

/* 0, -EINVAL, -ESTALE; the span's id is known to carry this zone's prefix. */
int wr_zone_free(struct wr_pool_zone *zone, const struct weir_span *span);

/* Add this zone's numbers to a sum; largest_free_bytes is the maximum. */
void wr_zone_add_stats(struct wr_pool_zone *zone, struct weir_pool_stats *sum);

/* The parts of a span's id. */
#define WR_SPAN_POOL_SHIFT 48u
#define WR_SPAN_ZONE_SHIFT 40u
#define WR_SPAN_BLOCK_MASK ((1ull << WR_SPAN_ZONE_SHIFT) - 1)

static inline unsigned wr_span_zone(uint64_t id)
{
	return (unsigned)(id >> WR_SPAN_ZONE_SHIFT) & 0xff;
}

#endif /* WR_POOL_ZONE_H */
