/* SPDX-License-Identifier: MIT */
/*
 * pool/buddy.h - Runs of blocks out of a fixed number of blocks, by bit fields.
 *
 * It manages numbers, not memory: block i is bit i of a field that lies wherever
 * wr_malloc() put it, so the same code can serve RAM, device memory and extents of
 * a file, and nothing written into a block can damage the bookkeeping.
 *
 * Guarantees:
 *  (a) A run of n blocks occupies exactly n blocks; what a power of two is larger
 *      than n stays free.
 *  (b) Where an aligned free block of 2^ceil(log2 n) exists, the run is the head of
 *      the one with the lowest number. Where none exists, it is the lowest run of n
 *      free blocks that satisfies the alignment asked for. So -ENOSPC means that no
 *      such run exists, however n relates to powers of two, up to all blocks at once.
 *  (c) Free blocks next to each other are one run the moment the second is freed;
 *      there is no merging step that could be missed.
 *
 * Not locked: the owner of the zone holds its lock around every call.
 */
#ifndef WR_POOL_BUDDY_H
#define WR_POOL_BUDDY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Blocks in a chunk: one cache line of bits, 2 MiB at 4 KiB a block. */
#define WR_BUDDY_CHUNK_BLOCKS 512u
/* Levels of summaries: 8^12 words of 64 blocks, more than 2^40 blocks. */
#define WR_BUDDY_LEVELS 12u

/**
 * struct wr_buddy - The state of one range of blocks.
 * @free:      Bit set: the block is free. A multiple of eight words; the bits past
 *             @nr_blocks are never set.
 * @sum:       @sum[l] holds one byte for each item of level l, eight to a word, lowest
 *             item in the lowest byte: 1 + the order of the largest aligned free block
 *             in the item, 0 when there is none. Items of level 0 are words of @free,
 *             an item of level l + 1 is a word of @sum[l]; so a byte of @sum[1] speaks
 *             for a chunk.
 * @nr_sum:    Words in each @sum.
 * @top:       The level whose @sum is a single word.
 * @nr_blocks: Blocks managed.
 * @nr_free:   Of these, free.
 * @memory:    The one allocation that all arrays lie in.
 * @memory_bytes: Its size.
 */
struct wr_buddy {
	uint64_t *free;
	uint64_t *sum[WR_BUDDY_LEVELS];
	size_t nr_sum[WR_BUDDY_LEVELS];
	unsigned top;
	uint64_t nr_blocks;
	uint64_t nr_free;
	void *memory;
	size_t memory_bytes;
};

/* All blocks free. 0, -EINVAL (no blocks, or more than 2^40), -ENOMEM. */
int wr_buddy_init(struct wr_buddy *b, uint64_t nr_blocks);

/* Accepts what wr_buddy_init() failed on, and zeroes. */
void wr_buddy_fini(struct wr_buddy *b);

/**
 * wr_buddy_alloc() - Take a run.
 * @b:           The range.
 * @nr:          Blocks wanted, at least 1.
 * @align_order: The run starts at a multiple of 2^align_order blocks.
 * @ret:         Number of the first block.
 *
 * Cost:   O(log8 blocks) and one store for 64 blocks taken; when no aligned power of
 *         two is left, up to one pass over the runs that are at least a quarter of @nr.
 * Return: 0, -ENOSPC.
 */
int wr_buddy_alloc(struct wr_buddy *b, uint64_t nr, unsigned align_order, uint64_t *ret);

/*
 * The same from the other end: the head of the highest aligned free block; where there is
 * none, what wr_buddy_alloc() gives.
 */
int wr_buddy_alloc_high(struct wr_buddy *b, uint64_t nr, unsigned align_order, uint64_t *ret);

/* The same within the blocks [lo, hi). */
int wr_buddy_alloc_in(struct wr_buddy *b, uint64_t lo, uint64_t hi, uint64_t nr,
		      unsigned align_order, uint64_t *ret);

/* Give a run back, or any part of one. The blocks must be in use. */
void wr_buddy_free(struct wr_buddy *b, uint64_t start, uint64_t nr);

/* Whether every block of the run is in use. */
bool wr_buddy_is_used(const struct wr_buddy *b, uint64_t start, uint64_t nr);

/* How many of the blocks [lo, hi) are free. */
uint64_t wr_buddy_nr_free_in(const struct wr_buddy *b, uint64_t lo, uint64_t hi);

/* The first run of free blocks that begins at or after @pos: [*ret, *ret_end). False: none. */
bool wr_buddy_next_run(const struct wr_buddy *b, uint64_t pos, uint64_t *ret, uint64_t *ret_end);

/* Length of the longest run of free blocks, wherever it starts. */
uint64_t wr_buddy_longest_run(const struct wr_buddy *b);

/* Recompute every summary and compare: true when all agree. For tests. */
bool wr_buddy_is_consistent(const struct wr_buddy *b);

#endif /* WR_POOL_BUDDY_H */
