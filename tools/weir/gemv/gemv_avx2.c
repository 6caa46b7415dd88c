/* SPDX-License-Identifier: MIT */
/*
 * gemv_avx2.c - The kernels with AVX2, FMA and F16C.
 *
 * Eight accumulators of eight lanes are the 64 of the definition in order: eight
 * elements at a time keep their places, so no sum is taken in another order. The
 * last fewer than eight elements go through a small buffer, and lanes without an
 * element keep their value untouched (adding a zero product would turn -0 to +0).
 */
#include "gemv_kernel.h"

#include <string.h>
#include <immintrin.h>

#define NR_ACC (WR_GEMV_LANES / 8)

static inline __attribute__((always_inline)) __m256 load8(const unsigned char *p,
							  enum wr_gemv_type type)
{
	__m128i half;

	if (type == WR_GEMV_F32)
		return _mm256_loadu_ps((const float *)p);
	half = _mm_loadu_si128((const __m128i *)p);
	if (type == WR_GEMV_F16)
		return _mm256_cvtph_ps(half);
	return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/* The last @nr < 8 elements of a row. */
static __m256 partial(const unsigned char *p, enum wr_gemv_type type, const float *x, size_t nr,
		      __m256 acc)
{
	const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
	__m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)nr), index);
	unsigned char w8[32] = {0};
	float x8[8] = {0};
	__m256 sum;

	memcpy(w8, p, nr * wr_gemv_elem_bytes(type));
	memcpy(x8, x, nr * sizeof(*x));
	sum = _mm256_fmadd_ps(load8(w8, type), _mm256_loadu_ps(x8), acc);
	return _mm256_blendv_ps(acc, sum, _mm256_castsi256_ps(mask));
}

static float reduce(__m256 *acc)
{
	float lane[8];

	for (size_t w = NR_ACC / 2; w; w /= 2)
		for (size_t j = 0; j < w; j++)
			acc[j] = _mm256_add_ps(acc[j], acc[j + w]);
	_mm256_storeu_ps(lane, acc[0]);
	return wr_gemv_reduce(lane, 8);
}

/*
 * Add @nr elements of a row to its accumulators; @nr is a multiple of 64 but at the row's end.
 * Weights @ahead bytes further on are asked for.
 */
static inline __attribute__((always_inline)) void dot(const unsigned char *row, const float *x,
						      size_t nr, enum wr_gemv_type type,
						      __m256 *ret, ptrdiff_t ahead)
{
	const size_t step = 8 * wr_gemv_elem_bytes(type);
	__m256 acc[NR_ACC];
	size_t i = 0;

	for (size_t j = 0; j < NR_ACC; j++)
		acc[j] = ret[j];
	for (; i + WR_GEMV_LANES <= nr; i += WR_GEMV_LANES, row += NR_ACC * step) {
		wr_gemv_prefetch(row, ahead, NR_ACC * step);
#pragma GCC unroll 8
		for (size_t j = 0; j < NR_ACC; j++)
			acc[j] = _mm256_fmadd_ps(load8(row + j * step, type),
						 _mm256_loadu_ps(x + i + j * 8), acc[j]);
	}
	for (size_t j = 0; j < NR_ACC; j++)
		ret[j] = acc[j];
	for (size_t j = 0; i < nr; j++, i += 8, row += step) {
		if (nr - i < 8)
			ret[j] = partial(row, type, x + i, nr - i, ret[j]);
		else
			ret[j] = _mm256_fmadd_ps(load8(row, type), _mm256_loadu_ps(x + i), ret[j]);
	}
}

/* One body per type, not inlined further: the accumulators must stay in registers. */
#define DEFINE_DOT(name, type)                                                               \
	static __attribute__((noinline)) void name(const unsigned char *row, const float *x, \
						   size_t nr, __m256 *ret, ptrdiff_t ahead)  \
	{                                                                                    \
		dot(row, x, nr, type, ret, ahead);                                           \
	}
DEFINE_DOT(dot_bf16, WR_GEMV_BF16)
DEFINE_DOT(dot_f16, WR_GEMV_F16)
DEFINE_DOT(dot_f32, WR_GEMV_F32)

typedef void dot_fn(const unsigned char *row, const float *x, size_t nr, __m256 *ret,
		    ptrdiff_t ahead);

/* @nr rows, column block by column block. */
static void dot_rows(const unsigned char *w, size_t nr, size_t cols, enum wr_gemv_type type,
		     const float *x, float *y)
{
	dot_fn *const dot_type = type == WR_GEMV_BF16  ? dot_bf16
				 : type == WR_GEMV_F16 ? dot_f16
						       : dot_f32;
	const size_t elem = wr_gemv_elem_bytes(type);
	__m256 acc[WR_GEMV_ROWS][NR_ACC];

	for (size_t r = 0; r < nr; r++)
		for (size_t j = 0; j < NR_ACC; j++)
			acc[r][j] = _mm256_setzero_ps();
	for (size_t c = 0; c < cols; c += WR_GEMV_COLS) {
		size_t n = nr == 1 ? cols : cols - c < WR_GEMV_COLS ? cols - c : WR_GEMV_COLS;

		for (size_t r = 0; r < nr; r++)
			dot_type(w + (r * cols + c) * elem, x + c, n, acc[r],
				 wr_gemv_ahead(r, nr, c, cols, elem));
		if (nr == 1)
			break;
	}
	for (size_t r = 0; r < nr; r++)
		y[r] = reduce(acc[r]);
}

static void rows(const struct wr_gemv_tile *tile, const float *x, float *y)
{
	const size_t row_bytes = tile->nr_cols * wr_gemv_elem_bytes(tile->type);
	const unsigned char *w = tile->w;
	size_t nr = wr_gemv_rows_at_once(tile->nr_cols);

	for (size_t r = 0; r < tile->nr_rows; r += nr) {
		if (nr > tile->nr_rows - r)
			nr = tile->nr_rows - r;
		dot_rows(w + r * row_bytes, nr, tile->nr_cols, tile->type, x, y + r);
	}
}

static uint64_t words(uint64_t key, uint64_t first_word, const void *data, size_t nr_words)
{
	const unsigned char *p = data;
	const __m256i flip = _mm256_set1_epi64x((long long)WR_GEMV_FLIP);
	const __m256i step = _mm256_set1_epi64x((long long)(4 * WR_GEMV_KEY_STEP));
	uint64_t t0 = key + first_word * WR_GEMV_KEY_STEP;
	__m256i t = _mm256_setr_epi64x((long long)t0, (long long)(t0 + WR_GEMV_KEY_STEP),
				       (long long)(t0 + 2 * WR_GEMV_KEY_STEP),
				       (long long)(t0 + 3 * WR_GEMV_KEY_STEP));
	__m256i low = _mm256_setzero_si256(), high = low;
	uint64_t lane[4];
	size_t i = 0;

	for (; i + 4 <= nr_words; i += 4) {
		__m256i w = _mm256_loadu_si256((const __m256i *)(p + i * 8));
		__m256i t_high = _mm256_srli_epi64(t, 32);

		w = _mm256_xor_si256(w, flip);
		low = _mm256_add_epi64(low, _mm256_mul_epu32(w, _mm256_xor_si256(t, t_high)));
		high = _mm256_add_epi64(high, _mm256_mul_epu32(_mm256_srli_epi64(w, 32), t_high));
		t = _mm256_add_epi64(t, step);
	}
	_mm256_storeu_si256((__m256i *)lane, _mm256_add_epi64(low, high));
	return lane[0] + lane[1] + lane[2] + lane[3] +
	       wr_gemv_scalar.words(key, first_word + i, p + i * 8, nr_words - i);
}

const struct wr_gemv_ops wr_gemv_avx2 = {"avx2", rows, words};
