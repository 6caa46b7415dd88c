/* SPDX-License-Identifier: MIT */
/*
 * From the BF16 values that mkmodel_fill.c makes to the types of GGUF files.
 *
 * F32 and F16 hold every such value exactly. Q8_0 is computed as gguf-py's quants.py and ggml do it,
 * to the bit: the scale is the largest magnitude over 127, quotients are rounded half away from zero.
 * No result depends on contraction: each product is rounded before it is used.
 */
#include <string.h>

#include "mkmodel_priv.h"
#include "mkmodel_vector.h"

ALWAYS_INLINE void load_floats(const uint16_t *src, v8f *ret)
{
	v8h bits;
	v8u wide;

	memcpy(&bits, src, sizeof(bits));
	wide = __builtin_convertvector(bits, v8u) << 16;
	memcpy(ret, &wide, sizeof(wide));
}

ALWAYS_INLINE void to_f32(const uint16_t *src, size_t nr, unsigned char *ret)
{
	size_t i = 0;

	for (; i + LANES <= nr; i += LANES) {
		v8f x;

		load_floats(src + i, &x);
		memcpy(ret + 4 * i, &x, sizeof(x));
	}
	for (; i < nr; i++) {
		uint32_t wide = (uint32_t)src[i] << 16;

		memcpy(ret + 4 * i, &wide, sizeof(wide));
	}
}

/* Exponents fit without a subnormal, 7 bits of fraction fit in 10; zero stays zero. */
ALWAYS_INLINE void to_half(const uint16_t *src, size_t nr, unsigned char *ret)
{
	v8h x = {0}, magnitude;

	memcpy(&x, src, nr * sizeof(*src));
	magnitude = x & 0x7fff;
	x = (x & 0x8000) | (((magnitude - ((127 - 15) << 7)) << 3) & (v8h)(magnitude != 0));
	memcpy(ret, &x, nr * sizeof(*src));
}

ALWAYS_INLINE void to_f16(const uint16_t *src, size_t nr, unsigned char *ret)
{
	size_t i = 0;

	for (; i + LANES <= nr; i += LANES)
		to_half(src + i, LANES, ret + 2 * i);
	if (i < nr)
		to_half(src + i, nr - i, ret + 2 * i);
}

/* Nearest, ties to even. For finite values whose result is neither infinite nor a NaN. */
static uint16_t f32_to_f16(float f)
{
	uint32_t bits, magnitude, shift, half, rest;

	memcpy(&bits, &f, sizeof(bits));
	magnitude = bits & 0x7fffffff;
	if (magnitude >= 0x38800000) { /* 2^-14, the smallest normal number */
		magnitude -= (127 - 15) << 23;
		magnitude += 0xfff + (magnitude >> 13 & 1);
		return (uint16_t)((bits >> 16 & 0x8000) | magnitude >> 13);
	}
	if (magnitude < 0x33000000) /* below half of 2^-24 */
		return (uint16_t)(bits >> 16 & 0x8000);
	shift = 126 - (magnitude >> 23);
	magnitude = (magnitude & 0x7fffff) | 0x800000;
	half = magnitude >> shift;
	rest = magnitude & ((1u << shift) - 1);
	if (rest > 1u << (shift - 1) || (rest == 1u << (shift - 1) && half & 1))
		half++;
	return (uint16_t)((bits >> 16 & 0x8000) | half);
}

/* The largest magnitude of a block; without their signs BF16 numbers are ordered as integers. */
ALWAYS_INLINE float block_top(const uint16_t *src)
{
	v8h top = {0};
	uint32_t largest = 0;
	float f;

	for (int v = 0; v < 32 / LANES; v++) {
		v8h x, greater;

		memcpy(&x, src + LANES * v, sizeof(x));
		x &= 0x7fff;
		greater = (v8h)(x > top);
		top = (x & greater) | (top & ~greater);
	}
	for (int i = 0; i < LANES; i++)
		largest = top[i] > largest ? top[i] : largest;
	largest <<= 16;
	memcpy(&f, &largest, sizeof(f));
	return f;
}

/* Floats, held as bits, to the nearest of integers that a byte holds; in the low byte. */
ALWAYS_INLINE void quantise(v8u *x, float inverse)
{
	v8f scaled = (v8f)*x * inverse;
	v8i whole = __builtin_convertvector(scaled, v8i);
	v8f rest = scaled - __builtin_convertvector(whole, v8f);

	/* A comparison gives -1 where it holds. */
	whole += (rest <= -0.5f) - (rest >= 0.5f);
	*x = (v8u)whole & 0xff;
}

/*
 * A half-precision scale, then 32 signed bytes. Lane j of the k-th vector has element 4 j + k, so that
 * four vectors of results need only be shifted and joined to be in order.
 */
ALWAYS_INLINE void to_q8_0(const uint16_t *src, unsigned char *ret)
{
	float scale = block_top(src) / 127.0f;
	float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
	uint16_t half = f32_to_f16(scale);
	v8u first, last, even, odd, x[4], bytes;

	memcpy(ret, &half, sizeof(half));
	memcpy(&first, src, sizeof(first));
	memcpy(&last, src + 16, sizeof(last));
	even = __builtin_shufflevector(first, last, 0, 2, 4, 6, 8, 10, 12, 14);
	odd = __builtin_shufflevector(first, last, 1, 3, 5, 7, 9, 11, 13, 15);
	x[0] = even << 16;
	x[1] = even & 0xffff0000;
	x[2] = odd << 16;
	x[3] = odd & 0xffff0000;
	for (int k = 0; k < 4; k++)
		quantise(&x[k], inverse);
	bytes = x[0] | x[1] << 8 | x[2] << 16 | x[3] << 24;
	memcpy(ret + 2, &bytes, sizeof(bytes));
}

ALWAYS_INLINE void convert(enum wr_mk_dtype dtype, const uint16_t *src, size_t nr,
			   unsigned char *ret)
{
	switch (dtype) {
	case WR_MK_F32:
		to_f32(src, nr, ret);
		break;
	case WR_MK_F16:
		to_f16(src, nr, ret);
		break;
	case WR_MK_Q8_0:
		for (size_t i = 0; i < nr; i++)
			to_q8_0(src + 32 * i, ret + 34 * i);
		break;
	case WR_MK_BF16:
	case WR_MK_NR_DTYPES:
		memcpy(ret, src, nr * sizeof(*src));
		break;
	}
}

static void convert_any(enum wr_mk_dtype dtype, const uint16_t *src, size_t nr, unsigned char *ret)
{
	convert(dtype, src, nr, ret);
}

WR_MK_AVX2 static void convert_avx2(enum wr_mk_dtype dtype, const uint16_t *src, size_t nr,
				    unsigned char *ret)
{
	convert(dtype, src, nr, ret);
}

void wr_mk_convert(enum wr_mk_dtype dtype, const uint16_t *src, size_t nr, unsigned char *ret)
{
	if (wr_mk_has_avx2())
		convert_avx2(dtype, src, nr, ret);
	else
		convert_any(dtype, src, nr, ret);
}
