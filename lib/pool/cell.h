/* SPDX-License-Identifier: MIT */
/*
 * pool/cell.h - What is known of a span, in the 8 bytes of its first block.
 *
 *                63        32  31     29      28      8         7     0
 *   a zone's     generation   multi  0       spare               0
 *   a magazine's generation   live   remote  spare,    size      owner
 *                                            28..12    11..8
 *
 * generation: counts the spans that began at the block: odd while one is live, even while
 *             none is. A span carries the odd number it was born with, so it is live
 *             (equal), was freed (the cell is ahead) or never existed (the span is ahead,
 *             or even). A number returns after 2^31 spans that began at one block.
 * owner:      the magazines that the block belongs to, in use or not; 0: the zone. What
 *             may change the cell follows from it, see below.
 * multi:      the span has more blocks than one; the low half of the second block's cell
 *             then holds how many. That half says nothing else while the first lives.
 * live:       as the generation says; ending a span is adding 1 << 31.
 * remote:     freed by a thread that is not the owner's, and not yet taken back.
 * size:       log2 of the span's bytes, modulo 16; magazines hold nothing but 256 bytes
 *             to 2 MiB.
 * spare:      bytes between what was asked for and the end of the last block.
 *
 * Who may write a cell of owner 0: the holder of the zone's lock. Of another owner: who is
 * inside that owner's gate (gate.h), with plain stores; and anyone by a compare-exchange
 * from a live, not remote word to the same with the generation counted on and the remote
 * mark set, which gives the one that succeeds the right to report the free. A plain store
 * that crosses with such an exchange wins, and the owner sees from the missing mark that
 * the span was freed twice (remote.c). All accesses are atomic; relaxed ones unless said.
 */
#ifndef WR_POOL_CELL_H
#define WR_POOL_CELL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"

struct wr_pool_cell {
	_Atomic uint64_t word; /* [atomic] see above */
};

#define WR_CELL_GENERATION_SHIFT 32u
#define WR_CELL_ONE		 (1ull << WR_CELL_GENERATION_SHIFT)
#define WR_CELL_MULTI		 (1ull << 31)
#define WR_CELL_LIVE		 (1ull << 31)
#define WR_CELL_REMOTE		 (1ull << 29)
#define WR_CELL_OWNER_BITS	 8u
#define WR_CELL_OWNER_MASK	 ((1ull << WR_CELL_OWNER_BITS) - 1)
/* Where the size stands it is also an index times 256: see magazine.h. */
#define WR_CELL_SIZE_SHIFT 8u
#define WR_CELL_SIZES	   16u
#define WR_CELL_SIZE_MASK  ((uint64_t)(WR_CELL_SIZES - 1) << WR_CELL_SIZE_SHIFT)
/* Of a cell of the zone's: 21 bits; of one that has an owner: 17 bits. */
#define WR_CELL_SPARE_SHIFT	  8u
#define WR_CELL_OWNED_SPARE_SHIFT 12u
#define WR_CELL_OWNED_SPARE_BITS  17u
#define WR_CELL_OWNED_SPARE_MASK \
	(((1ull << WR_CELL_OWNED_SPARE_BITS) - 1) << WR_CELL_OWNED_SPARE_SHIFT)

/* Owners that are magazines. */
#define WR_CELL_MAX_OWNER ((1u << WR_CELL_OWNER_BITS) - 2)

static inline uint64_t wr_cell_load(const struct wr_pool_cell *cell)
{
	return wr_load_relaxed(&cell->word);
}

static inline void wr_cell_store(struct wr_pool_cell *cell, uint64_t word)
{
	wr_store_relaxed(&cell->word, word);
}

static inline uint32_t wr_cell_generation(uint64_t word)
{
	return (uint32_t)(word >> WR_CELL_GENERATION_SHIFT);
}

static inline uint32_t wr_cell_owner(uint64_t word)
{
	return (uint32_t)(word & WR_CELL_OWNER_MASK);
}

/* Of a cell of the zone's. */
static inline uint32_t wr_cell_spare(uint64_t word)
{
	return (uint32_t)(word >> WR_CELL_SPARE_SHIFT) & ((1u << 21) - 1);
}

/* Of a cell that has an owner. */
static inline uint32_t wr_cell_owned_spare(uint64_t word)
{
	return (uint32_t)((word & WR_CELL_OWNED_SPARE_MASK) >> WR_CELL_OWNED_SPARE_SHIFT);
}

static inline unsigned wr_cell_size(uint64_t word)
{
	return (unsigned)((word & WR_CELL_SIZE_MASK) >> WR_CELL_SIZE_SHIFT);
}

/* Of a cell that has an owner. */
static inline uint64_t wr_cell_bytes(uint64_t word)
{
	unsigned size = wr_cell_size(word);

	return 1ull << (size < 8 ? size + WR_CELL_SIZES : size);
}

/* The number of blocks of the span that begins at @cell, whose word is @word. */
static inline uint64_t wr_cell_nr_blocks(const struct wr_pool_cell *cell, uint64_t word,
					 unsigned block_shift)
{
	if (wr_cell_owner(word) != 0)
		return 1ull << ((wr_cell_size(word) - block_shift) % WR_CELL_SIZES);
	return word & WR_CELL_MULTI ? (uint32_t)wr_cell_load(cell + 1) : 1;
}

/* Another generation, everything else as it is. A carry out of the top is the wrap. */
static inline uint64_t wr_cell_next(uint64_t word)
{
	return word + WR_CELL_ONE;
}

/* A span of a cell with an owner begins, and ends. */
static inline uint64_t wr_cell_begin(uint64_t word)
{
	return word + (WR_CELL_ONE | WR_CELL_LIVE);
}

static inline uint64_t wr_cell_end(uint64_t word)
{
	return word + WR_CELL_LIVE; /* carries into the generation */
}

#endif /* WR_POOL_CELL_H */
