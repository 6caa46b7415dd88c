/* SPDX-License-Identifier: MIT */
/* How much of each 2 MiB of a region is taken, from the bits of its buddy. */
#include <errno.h>

#include <weir/pool_map.h>

#include "base/util.h"
#include "pool/state.h"

/* Bits set in [start, start + nr). */
static uint64_t count_bits(const uint64_t *words, uint64_t start, uint64_t nr)
{
	uint64_t sum = 0;

	while (nr > 0) {
		unsigned first = (unsigned)(start % 64);
		uint64_t in_word = wr_min(nr, (uint64_t)(64 - first));
		uint64_t word = words[start / 64] >> first;

		if (in_word < 64)
			word &= (1ull << in_word) - 1;
		sum += (uint64_t)__builtin_popcountll(word);
		start += in_word;
		nr -= in_word;
	}
	return sum;
}

static int64_t map_region(struct wr_pool_zone *zone, const struct wr_pool_region *r, size_t nr,
			  uint32_t *ret)
{
	unsigned shift = zone->block_shift;
	uint64_t piece = WEIR_POOL_PIECE_BYTES >> shift;
	uint64_t nr_blocks = r->map.bytes >> shift;
	uint64_t first = wr_zone_first_block(zone, r);
	uint64_t nr_pieces = (nr_blocks + piece - 1) / piece;
	uint64_t i, in_piece;

	wr_mutex_lock(&zone->lock);
	for (i = 0; i < nr_pieces && i < nr; i++) {
		in_piece = wr_min(piece, nr_blocks - i * piece);
		ret[i] = (uint32_t)((in_piece -
				     count_bits(zone->buddy.free, first + i * piece, in_piece))
				    << shift);
	}
	wr_mutex_unlock(&zone->lock);
	return (int64_t)nr_pieces;
}

int64_t weir_pool_map(struct weir_pool *pool, size_t index, size_t nr, uint32_t *ret)
{
	size_t i;

	if (!pool || pool->fork_count != wr_pool_fork_count() || (nr > 0 && !ret))
		return -EINVAL;
	for (i = 0; i < pool->nr_zones; i++) {
		struct wr_pool_zone *zone = &pool->zones[i];

		if (index < zone->nr_regions)
			return map_region(zone, &zone->regions[index], nr, ret);
		index -= zone->nr_regions;
	}
	return -EINVAL;
}
