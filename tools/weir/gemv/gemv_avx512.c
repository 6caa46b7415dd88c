/* SPDX-License-Identifier: MIT */
/*
 * gemv_avx512.c - The kernels with AVX-512 F, BW and VL.
 *
 * Four accumulators of sixteen lanes are the 64 of the definition in order. The end
 * of a row is loaded and added under a mask: nothing behind the row is read, and
 * lanes without an element keep their value.
 */
#include "gemv_kernel.h"

#include <immintrin.h>

#define NR_ACC (WR_GEMV_LANES / 16)

static inline __attribute__((always_inline)) __m512 load16(const unsigned char *p,
							   enum wr_gemv_type type, __mmask16 mask)
{
	__m256i half;

	if (type == WR_GEMV_F32)
		return _mm512_maskz_loadu_ps(mask, p);
	half = _mm256_maskz_loadu_epi16(mask, p);
	if (type == WR_GEMV_F16)
		return _mm512_cvtph_ps(half);
	return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

static float reduce(__m512 *acc)
{
	float lane[16];

	for (size_t w = NR_ACC / 2; w; w /= 2)
		for (size_t j = 0; j < w; j++)
			acc[j] = _mm512_add_ps(acc[j], acc[j + w]);
	_mm512_storeu_ps(lane, acc[0]);
	return wr_gemv_reduce(lane, 16);
}

/*
 * Add @nr elements of a row to its accumulators; @nr is a multiple of 64 but at the row's end.
 * Weights @ahead bytes further on are asked for.
 */
static inline __attribute__((always_inline)) void dot(const unsigned char *row, const float *x,
						      size_t nr, enum wr_gemv_type type,
						      __m512 *ret, ptrdiff_t ahead)
{
	const size_t step = 16 * wr_gemv_elem_bytes(type);
	const __mmask16 all = 0xffff;
	__m512 acc[NR_ACC];
	size_t i = 0;

	for (size_t j = 0; j < NR_ACC; j++)
		acc[j] = ret[j];
	for (; i + WR_GEMV_LANES <= nr; i += WR_GEMV_LANES, row += NR_ACC * step) {
		wr_gemv_prefetch(row, ahead, NR_ACC * step);
#pragma GCC unroll 4
		for (size_t j = 0; j < NR_ACC; j++)
			acc[j] = _mm512_fmadd_ps(load16(row + j * step, type, all),
						 _mm512_loadu_ps(x + i + j * 16), acc[j]);
	}
	for (size_t j = 0; j < NR_ACC; j++)
		ret[j] = acc[j];
	for (size_t j = 0; i < nr; j++, i += 16, row += step) {
		__mmask16 mask = nr - i < 16 ? (__mmask16)((1u << (nr - i)) - 1) : all;

		ret[j] = _mm512_mask3_fmadd_ps(load16(row, type, mask),
					       _mm512_maskz_loadu_ps(mask, x + i), ret[j], mask);
	}
}

/* One body per type, not inlined further: the accumulators must stay in registers. */
#define DEFINE_DOT(name, type)                                                               \
	static __attribute__((noinline)) void name(const unsigned char *row, const float *x, \
						   size_t nr, __m512 *ret, ptrdiff_t ahead)  \
	{                                                                                    \
		dot(row, x, nr, type, ret, ahead);                                           \
	}
DEFINE_DOT(dot_bf16, WR_GEMV_BF16)
DEFINE_DOT(dot_f16, WR_GEMV_F16)
DEFINE_DOT(dot_f32, WR_GEMV_F32)

typedef void dot_fn(const unsigned char *row, const float *x, size_t nr, __m512 *ret,
		    ptrdiff_t ahead);

/* @nr rows, column block by column block. */
static void dot_rows(const unsigned char *w, size_t nr, size_t cols, enum wr_gemv_type type,
		     const float *x, float *y)
{
	dot_fn *const dot_type = type == WR_GEMV_BF16  ? dot_bf16
				 : type == WR_GEMV_F16 ? dot_f16
						       : dot_f32;
	const size_t elem = wr_gemv_elem_bytes(type);
	__m512 acc[WR_GEMV_ROWS][NR_ACC];

	for (size_t r = 0; r < nr; r++)
		for (size_t j = 0; j < NR_ACC; j++)
			acc[r][j] = _mm512_setzero_ps();
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

/* _mm512_reduce_add_epi64() of gcc 12 adds signed numbers in the end, which may not wrap. */
static uint64_t sum_words(__m512i all)
{
	__m256i four =
		_mm256_add_epi64(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
	__m128i two =
		_mm_add_epi64(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1));

	return (uint64_t)_mm_cvtsi128_si64(two) + (uint64_t)_mm_extract_epi64(two, 1);
}

static uint64_t words(uint64_t key, uint64_t first_word, const void *data, size_t nr_words)
{
	const unsigned char *p = data;
	const __m512i flip = _mm512_set1_epi64((long long)WR_GEMV_FLIP);
	const __m512i step = _mm512_set1_epi64((long long)(8 * WR_GEMV_KEY_STEP));
	__m512i low = _mm512_setzero_si512(), high = low, t;
	uint64_t first[8];
	size_t i = 0;

	for (size_t j = 0; j < 8; j++)
		first[j] = key + (first_word + j) * WR_GEMV_KEY_STEP;
	t = _mm512_loadu_si512(first);
	for (; i + 8 <= nr_words; i += 8) {
		__m512i w = _mm512_xor_si512(_mm512_loadu_si512(p + i * 8), flip);
		__m512i t_high = _mm512_srli_epi64(t, 32);

		low = _mm512_add_epi64(low, _mm512_mul_epu32(w, _mm512_xor_si512(t, t_high)));
		high = _mm512_add_epi64(high, _mm512_mul_epu32(_mm512_srli_epi64(w, 32), t_high));
		t = _mm512_add_epi64(t, step);
	}
	return sum_words(_mm512_add_epi64(low, high)) +
	       wr_gemv_scalar.words(key, first_word + i, p + i * 8, nr_words - i);
}

const struct wr_gemv_ops wr_gemv_avx512 = {"avx512", rows, words};
