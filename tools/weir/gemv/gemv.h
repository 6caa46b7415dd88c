/* SPDX-License-Identifier: MIT */
/*
 * gemv.h - The compute of a host that reads every weight once per pass.
 *
 * y = W x for a tile of whole rows, and a checksum of raw bytes. Both come in a
 * scalar form, which is the definition, and in vector forms chosen at run time,
 * which give the same bits:
 *
 *  - A row is summed in 64 float accumulators; element i goes to accumulator
 *    i mod 64 by one fused multiply-add, w * x + acc, in increasing i. Accumulator
 *    j then takes in j + 32, j + 16, ... j + 1 (for j below each width). What is
 *    not a number becomes the one quiet NaN 0x7fc00000. Any correctly rounded
 *    machine gets the same result, so variants are compared for equality.
 *  - The checksum of bytes is a sum mod 2^64 over positions in the tensor, linear
 *    in the bytes: it may be computed in pieces of any size, in any order, from
 *    any start.
 *
 * The error of a row against exact arithmetic is at most
 * (nr_cols / 64 + 7) * 2^-24 * sum |w_i x_i|, to first order and above underflow.
 *
 * The rounding mode is the default one and denormals are not flushed: code that
 * sets FTZ or DAZ gets other results.
 */
#ifndef WR_TOOLS_GEMV_H
#define WR_TOOLS_GEMV_H

#include <stddef.h>
#include <stdint.h>

enum wr_gemv_type {
	WR_GEMV_BF16,
	WR_GEMV_F16,
	WR_GEMV_F32,
};

/* Bytes of one element. */
static inline size_t wr_gemv_elem_bytes(enum wr_gemv_type type)
{
	return type == WR_GEMV_F32 ? 4 : 2;
}

/**
 * struct wr_gemv_tile - Whole rows of a matrix, row-major.
 * @w:       First row; any alignment.
 * @type:    Element type.
 * @nr_rows: Rows in the tile.
 * @nr_cols: Elements of a row; rows follow each other without a gap.
 */
struct wr_gemv_tile {
	const void *w;
	enum wr_gemv_type type;
	size_t nr_rows, nr_cols;
};

/**
 * struct wr_gemv_ops - One variant.
 * @name:  "scalar", "avx2" or "avx512".
 * @rows:  y[r] = W[r] x for every row of the tile; x and y aligned to 4.
 * @words: The checksum of whole 8-byte words; see wr_gemv_touch().
 */
struct wr_gemv_ops {
	const char *name;
	void (*rows)(const struct wr_gemv_tile *tile, const float *x, float *y);
	uint64_t (*words)(uint64_t key, uint64_t first_word, const void *data, size_t nr_words);
};

extern const struct wr_gemv_ops wr_gemv_scalar;
/* Only in builds whose compiler knows the instructions; ask wr_gemv_find(). */
extern const struct wr_gemv_ops wr_gemv_avx2;
extern const struct wr_gemv_ops wr_gemv_avx512;

/**
 * wr_gemv_find() - The variant of that name, or the fastest this CPU runs.
 * @name: NULL for the fastest.
 *
 * Return: The variant; NULL when there is none of that name or the CPU lacks it.
 */
const struct wr_gemv_ops *wr_gemv_find(const char *name);

/* ---- checksums ---- */

/* The key of a tensor, from its name. */
uint64_t wr_gemv_key(const char *name);

/**
 * wr_gemv_checksum() - What rows of a result add to a pass's checksum.
 * @key:       wr_gemv_key() of the tensor.
 * @first_row: Index in the tensor of the row that y[0] belongs to.
 * @y:         Results.
 * @nr_rows:   Their number.
 *
 * Return: To be added, mod 2^64, to what all other rows give: the sum depends on
 *         the values and their places, not on tiles, order or threads.
 */
uint64_t wr_gemv_checksum(uint64_t key, uint64_t first_row, const float *y, size_t nr_rows);

/**
 * wr_gemv_touch() - Read every byte; what they add to a pass's checksum.
 * @ops:    Variant.
 * @key:    wr_gemv_key() of the tensor.
 * @offset: Of data[0] in the tensor, in bytes; any value.
 * @data:   Any alignment.
 * @bytes:  Any number.
 *
 * The sum over 4-byte words of word * k(key, position), little endian, every byte
 * first changed by XOR with 0xa5 so that zeros count. The keys are pseudo-random, 4
 * bytes each: any change to one word shows, an exchange of two goes unseen with a
 * chance of about 2^-32.
 *
 * Return: As wr_gemv_checksum().
 */
uint64_t wr_gemv_touch(const struct wr_gemv_ops *ops, uint64_t key, uint64_t offset,
		       const void *data, size_t bytes);

/* Fill @x with values in [-1, 1) that depend on the index only. */
void wr_gemv_input(float *x, size_t nr);

/* ---- threads ---- */

struct wr_gemv_pool;

/**
 * wr_gemv_pool_open() - Start threads that share the rows of a tile.
 * @nr_threads: Including the caller; 1 starts none.
 * @cpus:       One CPU per thread to pin it to, or NULL. The caller's own entry,
 *              cpus[0], is not applied: the caller is the host's.
 * @ret:        Untouched on failure.
 *
 * Context: A pool is used by one thread at a time.
 * Return:  0, -EINVAL (0 threads or above 1024), -ENOMEM, -EAGAIN, -ENODEV (no such CPU).
 */
int wr_gemv_pool_open(unsigned int nr_threads, const int *cpus, struct wr_gemv_pool **ret);
void wr_gemv_pool_close(struct wr_gemv_pool *pool);

/* ops->rows() on all threads of the pool. */
void wr_gemv_pool_rows(struct wr_gemv_pool *pool, const struct wr_gemv_ops *ops,
		       const struct wr_gemv_tile *tile, const float *x, float *y);

/* wr_gemv_touch() on all threads of the pool. */
uint64_t wr_gemv_pool_touch(struct wr_gemv_pool *pool, const struct wr_gemv_ops *ops, uint64_t key,
			    uint64_t offset, const void *data, size_t bytes);

#endif /* WR_TOOLS_GEMV_H */
