/* SPDX-License-Identifier: MIT */
/*
 * gemv_scalar.c - The definition of the kernels, one element at a time.
 *
 * What the vector variants are compared with, and what runs where they do not.
 * fmaf() is the instruction where there is one and exact in software elsewhere.
 */
#include "gemv_kernel.h"

#include <math.h>
#include <string.h>

static float bf16_to_float(uint16_t bits)
{
	uint32_t wide = (uint32_t)bits << 16;
	float value;

	memcpy(&value, &wide, sizeof(value));
	return value;
}

/* Exact: every half is a float. */
static float half_to_float(uint16_t bits)
{
	uint32_t sign = (uint32_t)(bits & 0x8000) << 16;
	uint32_t exponent = (bits >> 10) & 0x1f;
	uint32_t fraction = bits & 0x3ff;
	uint32_t wide;
	float value;

	if (exponent == 0) {
		value = (float)fraction * 0x1p-24f;
		return sign ? -value : value;
	}
	if (exponent == 0x1f)
		wide = sign | 0x7f800000 | fraction << 13;
	else
		wide = sign | (exponent + 127 - 15) << 23 | fraction << 13;
	memcpy(&value, &wide, sizeof(value));
	return value;
}

static float element(const unsigned char *row, enum wr_gemv_type type, size_t i)
{
	uint16_t bits;
	float value;

	if (type == WR_GEMV_F32) {
		memcpy(&value, row + i * 4, sizeof(value));
		return value;
	}
	memcpy(&bits, row + i * 2, sizeof(bits));
	return type == WR_GEMV_BF16 ? bf16_to_float(bits) : half_to_float(bits);
}

static void rows(const struct wr_gemv_tile *tile, const float *x, float *y)
{
	size_t row_bytes = tile->nr_cols * wr_gemv_elem_bytes(tile->type);
	const unsigned char *row = tile->w;

	for (size_t r = 0; r < tile->nr_rows; r++, row += row_bytes) {
		float lane[WR_GEMV_LANES] = {0};

		for (size_t i = 0; i < tile->nr_cols; i++)
			lane[i % WR_GEMV_LANES] =
				fmaf(element(row, tile->type, i), x[i], lane[i % WR_GEMV_LANES]);
		y[r] = wr_gemv_reduce(lane, WR_GEMV_LANES);
	}
}

static uint64_t words(uint64_t key, uint64_t first_word, const void *data, size_t nr_words)
{
	const unsigned char *p = data;
	uint64_t t = key + first_word * WR_GEMV_KEY_STEP;
	uint64_t sum = 0;

	for (size_t i = 0; i < nr_words; i++, t += WR_GEMV_KEY_STEP) {
		uint64_t word;

		memcpy(&word, p + i * 8, sizeof(word));
		sum += wr_gemv_word(word ^ WR_GEMV_FLIP, t);
	}
	return sum;
}

const struct wr_gemv_ops wr_gemv_scalar = {"scalar", rows, words};
