/* SPDX-License-Identifier: MIT */
/*
 * gemv_kernel.h - What the variants of gemv share: the definition's constants.
 *
 * For gemv*.c and their tests only.
 */
#ifndef WR_TOOLS_GEMV_KERNEL_H
#define WR_TOOLS_GEMV_KERNEL_H

#include "gemv.h"

#define WR_GEMV_LANES 64

/* Distance between the keys of neighbouring words: 2^64 / golden ratio. */
#define WR_GEMV_KEY_STEP 0x9e3779b97f4a7c15ull
#define WR_GEMV_FLIP	 0xa5a5a5a5a5a5a5a5ull

/* One 8-byte word's share of wr_gemv_touch(): @word already flipped, @t = key + index * step. */
static inline uint64_t wr_gemv_word(uint64_t word, uint64_t t)
{
	uint64_t low = (uint32_t)word * (uint64_t)(uint32_t)(t ^ (t >> 32));

	return low + (word >> 32) * (t >> 32);
}

/*
 * A long row is taken in blocks of columns, each for some rows in turn: the part of x
 * then stays in the first-level cache, which twice the bytes of a 2-byte row would
 * otherwise pass through. Both variants ask for weights ahead of their use, because
 * the hardware does not look beyond a 4 KiB page.
 */
#define WR_GEMV_COLS  4096
#define WR_GEMV_ROWS  4
#define WR_GEMV_AHEAD 8192
_Static_assert(WR_GEMV_COLS % WR_GEMV_LANES == 0, "a block must not cut a turn of the lanes");

static inline size_t wr_gemv_rows_at_once(size_t nr_cols)
{
	return nr_cols > 2 * WR_GEMV_COLS ? WR_GEMV_ROWS : 1;
}

/* How far from row @r, column @c of a group the weights are that are needed next but one. */
static inline ptrdiff_t wr_gemv_ahead(size_t r, size_t nr, size_t c, size_t cols, size_t elem)
{
	if (nr == 1)
		return WR_GEMV_AHEAD;
	if (r + 1 < nr)
		return (ptrdiff_t)(cols * elem);
	if (c + WR_GEMV_COLS < cols)
		return (ptrdiff_t)(WR_GEMV_COLS * elem) - (ptrdiff_t)(r * cols * elem);
	return (ptrdiff_t)((cols - c) * elem);
}

/* May lie outside the tile, so not by way of a pointer; a prefetch never faults. */
static inline void wr_gemv_prefetch(const unsigned char *p, ptrdiff_t ahead, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += 64)
		__builtin_prefetch((const void *)((uintptr_t)p + (uintptr_t)ahead + i));
}

/* The end of every row: 64 accumulators to one result. */
static inline float wr_gemv_reduce(float *lane, size_t width)
{
	for (size_t w = width / 2; w; w /= 2)
		for (size_t j = 0; j < w; j++)
			lane[j] += lane[j + w];
	return lane[0] == lane[0] ? lane[0] : __builtin_nanf("");
}

#endif /* WR_TOOLS_GEMV_KERNEL_H */
