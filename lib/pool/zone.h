/* SPDX-License-Identifier: MIT */
/*
 * pool/zone.h - The memory of one node: regions, their buddies, and who holds what.
 *
 *   zone (a node or a device)      lock, counters
 *     buddy (bits)                 which blocks are free
 *     cells (8 bytes a block)      which allocation starts there
 *     regions                      one mapping each, of one page kind
 *
 * The regions lie one behind the other in one range of addresses: to the buddy, the
 * magazines and the handles a zone is one row of blocks, and a span may reach from one
 * kind of page into the next. Large pages come first, and low blocks are taken first.
 *
 * A cell belongs to its block for the life of the pool; see cell.h.
 *
 * A block is free in its buddy, or taken: in a span, or in the magazines of a thread
 * (magazine.h), which take and give many blocks of one order at once.
 */
#ifndef WR_POOL_ZONE_H
#define WR_POOL_ZONE_H

#include <stdint.h>

#include <weir/pool.h>

#include "lock/lock.h"
#include "pool/buddy.h"
#include "pool/cell.h"
#include "pool/provider.h"

/*
 * Of each kind one, and where pages could not be touched others in their place: the kinds
 * below it may be there twice, those below these four times.
 */
#define WR_POOL_MAX_REGIONS 8u

struct wr_pool_region {
	const struct wr_pool_provider *provider; /* [const] */
	struct wr_pool_mapping map;		 /* [const] */
	struct weir_pool_region info;		 /* [const] */
};

/* Cells in a page of memory, which at 4 KiB a block are those of a chunk. */
#define WR_CELL_PAGE_BYTES 4096u
#define WR_CELL_PAGE	   (WR_CELL_PAGE_BYTES / 8)

/* Sizes by powers of two from 256 bytes; what is larger than the last counts as the last. */
#define WR_ZONE_CLASSES 33u

/*
 * Everything counted in blocks or spans, so that all of it is changed in one place. Spans
 * that came out of magazines are counted there; of them only the blocks are counted here.
 */
struct wr_zone_counts {
	uint64_t used_blocks; /* taken out of the buddies: in spans, or in magazines */
	uint64_t peak_used_blocks;
	uint64_t requested_bytes;
	uint64_t nr_live;
	uint64_t nr_allocs;
	uint64_t nr_frees;
	uint64_t nr_failed;
	uint64_t aside_blocks; /* of @used_blocks: set aside */
	uint64_t live_by_class[WR_ZONE_CLASSES];
};

struct wr_pool_zone {
	_Alignas(WR_CACHE_LINE) struct wr_mutex lock WR_RANKED(POOL_ZONE);
	int node;		      /* [const] -1: no such notion */
	unsigned block_shift;	      /* [const] log2 of the smallest block */
	uint32_t nr_regions;	      /* [const] */
	uint64_t id_prefix;	      /* [const] pool and zone, for span ids */
	uint8_t *base;		      /* [const] of the first region */
	uint64_t bytes;		      /* [const] of all regions */
	struct wr_buddy buddy;	      /* [POOL_ZONE] */
	struct wr_pool_cell *cells;   /* [const] as many as the buddy has blocks */
	void *cell_memory;	      /* [const] that the cells lie in */
	uint64_t *cell_pages;	      /* [POOL_ZONE] bit set: a cell was written */
	uint64_t nr_cell_pages;	      /* [POOL_ZONE] how many of them */
	struct wr_zone_counts counts; /* [POOL_ZONE] */
	struct wr_pool_range range;   /* [const] that the regions lie in */
	struct wr_pool_region regions[WR_POOL_MAX_REGIONS];
	_Atomic uint64_t
		free_blocks_hint; /* [atomic] free in the buddies; written under the lock */
};

/* @zone is zeroed memory; the zone has no regions yet. */
void wr_zone_init(struct wr_pool_zone *zone, int node, size_t block_bytes, uint64_t id_prefix);
/* Frees the bookkeeping; the mappings and the lock, which a fork child may not touch, stay. */
void wr_zone_fini(struct wr_pool_zone *zone);

/* Take over a mapping that begins where the one before ends. */
void wr_zone_add_region(struct wr_pool_zone *zone, const struct wr_pool_provider *provider,
			const struct wr_pool_mapping *map, int kind);

/* All regions are there: make the bookkeeping. 0, -ENOMEM. */
int wr_zone_build(struct wr_pool_zone *zone);

/*
 * The first byte at a multiple of @align, a power of two; spans of a page begin at a page
 * anyway. 0, -EINVAL (above the zone, or the zone has no such place), -ENOSPC.
 */
int wr_zone_alloc(struct wr_pool_zone *zone, size_t bytes, size_t align, struct weir_span *ret);

/*
 * Runs: blocks that a handle stands for, and that are in no span. Their cells stay as they
 * are, so a chunk in which there was never a span has none in memory; only when less was
 * asked for than there is, the first cell keeps the difference. Who holds a run knows where
 * it is and how long: nothing is checked.
 */
struct wr_zone_run {
	uint64_t block;
	uint64_t nr;
};

/* A run from the high end of the zone, as a span of generation 0. As wr_zone_alloc(). */
int wr_zone_take_run(struct wr_pool_zone *zone, size_t bytes, size_t align, struct weir_span *ret);
void wr_zone_free_run(struct wr_pool_zone *zone, struct wr_zone_run run);

/* Where a run of @nr blocks is, and where its content may move. */
struct wr_zone_pair {
	uint64_t old, twin; /* first blocks */
	uint64_t nr;
};

/* Pairs that are worked on under one hold of the zone's lock: some microseconds. */
#define WR_ZONE_PAIRS 64u

/*
 * For each pair, a second run as large as @old, within the blocks [lo, hi). One of the two is given back by wr_zone_drop(), whichever is not wanted; between
 * the two calls both use blocks and count as one. @old need not be live any more.
 *
 * Return: how many of the pairs, from the first on, have twins now; at most WR_ZONE_PAIRS.
 */
size_t wr_zone_twins(struct wr_pool_zone *zone, struct wr_zone_pair *pairs, size_t nr, uint64_t lo,
		     uint64_t hi);

/* Give runs back whose content is elsewhere, and that stay counted there. */
void wr_zone_drop(struct wr_pool_zone *zone, const struct wr_zone_run *runs, size_t nr);

/* Blocks in use in each of @nr ranges of @step blocks, from @first on. */
void wr_zone_count_used(struct wr_pool_zone *zone, uint64_t first, uint64_t step, size_t nr,
			uint32_t *ret);
/**
 * wr_zone_take() - Take blocks of one order, for magazines.
 * @zone:  The zone.
 * @order: Each is a run of 2^order blocks, aligned where such a one is free.
 * @owner: Noted in the cells.
 * @want:  How many, at least 1.
 * @ret:   Their first blocks.
 *
 * Return: How many, 0 when there is no room for one.
 */
uint32_t wr_zone_take(struct wr_pool_zone *zone, unsigned order, uint32_t owner, uint32_t want,
		      uint32_t *ret);

/* The reverse: the blocks are in no span, the caller is inside their owner's gate. */
void wr_zone_give(struct wr_pool_zone *zone, unsigned order, const uint32_t *blocks, uint32_t nr);

/*
 * Take the blocks [first, first + nr) out of use for a while, if all are free,
 * and put them back. They count as cached meanwhile.
 */
bool wr_zone_set_aside(struct wr_pool_zone *zone, uint64_t first, uint64_t nr);
void wr_zone_put_back(struct wr_pool_zone *zone, uint64_t first, uint64_t nr);

/* The first block of a region. */
static inline uint64_t wr_zone_first_block(const struct wr_pool_zone *zone,
					   const struct wr_pool_region *r)
{
	return (uint64_t)((uint8_t *)r->map.base - zone->base) >> zone->block_shift;
}

/*
 * Whether a span is the one that a cell describes, by the word just read from the cell.
 * 0, -EINVAL, -ESTALE. On 0 @ret_nr is the number of blocks.
 */
int wr_zone_check_span(const struct wr_pool_zone *zone, uint64_t block, uint64_t word,
		       const struct weir_span *span, uint64_t *ret_nr);

/* An allocation found no room, here or in any zone it could have gone to. */
void wr_zone_count_failed(struct wr_pool_zone *zone);

/*
 * 0, -EINVAL, -ESTALE; the span's id is known to carry this zone's prefix. -EAGAIN: the
 * span is live and its block belongs to magazines, not to the zone.
 */
int wr_zone_free(struct wr_pool_zone *zone, const struct weir_span *span);

/*
 * Add this zone's numbers to a sum; largest_free_bytes is the maximum. What magazines hold
 * counts as used.
 */
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
