/* SPDX-License-Identifier: MIT */
/*
 * The values of a made-up model: any byte range of any tensor, on its own.
 *
 * Two neighbouring elements come from one 32-bit word, a keyed hash of the pair's number; the key is
 * a hash of the seed and of the tensor's name in the checkpoint. Nothing depends on what was asked for
 * before, so order, threads, chunks and container format leave no trace in the bytes. A tensor that
 * GGUF stores transposed or split asks for the same elements by their number in the source tensor.
 *
 * The value of an element is always a BF16 number. Weights: the sum of two bytes, centred, scaled to
 * a standard deviation of 0.02 (a triangle, |x| < 0.049), made with one float multiplication of an
 * exact integer, so that every machine rounds alike. Weights of norms: 1 plus a few units of the last
 * place. No value is an infinity or NaN, the smallest that is not zero is 2^-12.4. Other types are
 * made from these numbers (mkmodel_convert.c).
 */
#include "mkmodel_priv.h"
#include "mkmodel_vector.h"

#include <assert.h>
#include <string.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "both formats store little-endian");

const struct wr_mk_dtype_info wr_mk_dtypes[WR_MK_NR_DTYPES] = {
	[WR_MK_BF16] = {"BF16", 30, 32, 1, 2},
	[WR_MK_F16] = {"F16", 1, 1, 1, 2},
	[WR_MK_F32] = {"F32", 0, 0, 1, 4},
	[WR_MK_Q8_0] = {"Q8_0", 8, 7, 32, 34},
};

/* Elements made per step of conversion; a multiple of every block. */
#define SCRATCH_ELEMS 2048

/* 0.02 over the standard deviation of the sum of two uniform bytes, sqrt((256^2 - 1) / 6). */
#define WEIGHT_SCALE 1.9136741e-4f

uint64_t wr_mk_key(uint64_t seed, const char *name)
{
	/* FNV-1a over the name, started from the seed, then mixed so that both halves depend on all. */
	uint64_t h = UINT64_C(0xcbf29ce484222325) ^ (seed * UINT64_C(0x9e3779b97f4a7c15));

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
	h ^= h >> 32;
	h *= UINT64_C(0xd6e8feb86659fd93);
	h ^= h >> 32;
	h *= UINT64_C(0xd6e8feb86659fd93);
	return h ^ h >> 32;
}

/* Hashes the numbers of pairs. */
ALWAYS_INLINE void mix(v8u *word, uint32_t k0, uint32_t k1)
{
	v8u x = *word;

	x = (x ^ k0) * 0x9e3779b1u;
	x ^= x >> 15;
	x = (x ^ k1) * 0x85ebca77u;
	x ^= x >> 13;
	x *= 0xc2b2ae3du;
	*word = x ^ x >> 16;
}

/* What 16 random bits make of an element of a weight. */
ALWAYS_INLINE void weight_bits(v8u *half)
{
	v8i sum = (v8i)((*half & 0xff) + (*half >> 8 & 0xff)) - 255;
	v8f value = __builtin_convertvector(sum, v8f) * WEIGHT_SCALE;

	*half = (v8u)value >> 16;
}

/* The same for a norm: 1 - 8/256 .. 1 + 7/128 in steps of the last place. */
ALWAYS_INLINE void norm_bits(v8u *half)
{
	*half = (*half & 0xf) + (0x3f80 - 8);
}

/* Numbers of pairs become pairs, the even element in the low half. */
ALWAYS_INLINE void make_pairs(v8u *word, uint32_t k0, uint32_t k1, bool is_norm)
{
	v8u low, high;

	mix(word, k0, k1);
	low = *word & 0xffff;
	high = *word >> 16;
	if (is_norm) {
		norm_bits(&low);
		norm_bits(&high);
	} else {
		weight_bits(&low);
		weight_bits(&high);
	}
	*word = low | high << 16;
}

/* Elements @first, @first + @step, ... of the tensor with key k0, k1. */
ALWAYS_INLINE void fill_strided(uint16_t *ret, size_t nr, uint32_t first, uint32_t step,
				uint32_t k0, uint32_t k1, bool is_norm)
{
	const v8u lane = {0, 1, 2, 3, 4, 5, 6, 7};

	for (size_t i = 0; i < nr; i += LANES) {
		v8u elem = (lane + (uint32_t)i) * step + first;
		v8u bits = elem >> 1;
		size_t left = nr - i < LANES ? nr - i : LANES;

		make_pairs(&bits, k0, k1, is_norm);
		bits >>= (elem & 1) * 16;
		for (size_t k = 0; k < left; k++)
			ret[i + k] = (uint16_t)bits[k];
	}
}

/* Whole pairs: @first even, @nr even. */
ALWAYS_INLINE void fill_pairs(uint16_t *ret, size_t nr, uint32_t first, uint32_t k0, uint32_t k1,
			      bool is_norm)
{
	const v8u lane = {0, 1, 2, 3, 4, 5, 6, 7};
	v8u word = lane + first / 2;

	for (; nr >= 2 * LANES; nr -= 2 * LANES, ret += 2 * LANES, word += LANES) {
		v8u bits = word;

		make_pairs(&bits, k0, k1, is_norm);
		memcpy(ret, &bits, sizeof(bits));
	}
	if (nr) {
		v8u bits = word;

		make_pairs(&bits, k0, k1, is_norm);
		memcpy(ret, &bits, nr * sizeof(*ret));
	}
}

/* One row piece of a view: @nr elements, the first numbered @first, @step apart. */
struct piece {
	uint32_t first;
	uint32_t step;
	size_t nr;
	uint32_t k0;
	uint32_t k1;
	bool is_norm;
};

ALWAYS_INLINE void fill_piece(const struct piece *p, uint16_t *ret)
{
	uint32_t first = p->first;
	size_t nr = p->nr;

	if (p->step != 1) {
		fill_strided(ret, nr, first, p->step, p->k0, p->k1, p->is_norm);
		return;
	}
	if (nr && first & 1) {
		fill_strided(ret, 1, first, 1, p->k0, p->k1, p->is_norm);
		ret++;
		first++;
		nr--;
	}
	if (p->is_norm)
		fill_pairs(ret, nr & ~(size_t)1, first, p->k0, p->k1, true);
	else
		fill_pairs(ret, nr & ~(size_t)1, first, p->k0, p->k1, false);
	if (nr & 1)
		fill_strided(ret + nr - 1, 1, first + (uint32_t)nr - 1, 1, p->k0, p->k1,
			     p->is_norm);
}

static void fill_piece_any(const struct piece *p, uint16_t *ret)
{
	fill_piece(p, ret);
}

WR_MK_AVX2 static void fill_piece_avx2(const struct piece *p, uint16_t *ret)
{
	fill_piece(p, ret);
}

/* Elements [@first, @first + @nr) of @t, in the order in which @t stores them. */
static void fill_bf16(const struct wr_mk_tensor *t, uint64_t first, size_t nr, uint16_t *ret)
{
	const struct wr_mk_view *v = &t->view;
	void (*fill)(const struct piece *, uint16_t *) =
		wr_mk_has_avx2() ? fill_piece_avx2 : fill_piece_any;

	while (nr) {
		uint64_t row = first / v->row_elems, col = first % v->row_elems;
		uint64_t start = v->off + row / v->rows * v->outer + row % v->rows * v->inner;
		uint64_t left = v->row_elems - col;
		struct piece p = {
			.first = (uint32_t)(start + col * v->step),
			.step = (uint32_t)v->step,
			.nr = left < nr ? (size_t)left : nr,
			.k0 = (uint32_t)t->key,
			.k1 = (uint32_t)(t->key >> 32),
			.is_norm = t->is_norm,
		};

		fill(&p, ret);
		ret += p.nr;
		first += p.nr;
		nr -= p.nr;
	}
}

/* Whole blocks [@first, @first + @nr) of @t; @nr at most SCRATCH_ELEMS over the block's size. */
static void fill_blocks(const struct wr_mk_tensor *t, uint64_t first, size_t nr, unsigned char *ret)
{
	uint32_t block = wr_mk_dtypes[t->dtype].block_elems;
	uint16_t src[SCRATCH_ELEMS];
	size_t elems = nr * block;

	fill_bf16(t, first * block, elems, src);
	wr_mk_convert(t->dtype, src, nr, ret);
}

/* @len bytes from the middle of one block: a chunk of a file may begin or end anywhere. */
static void fill_part(const struct wr_mk_tensor *t, uint64_t block, size_t skip, size_t len,
		      unsigned char *ret)
{
	unsigned char whole[64];

	fill_blocks(t, block, 1, whole);
	memcpy(ret, whole + skip, len);
}

void wr_mk_tensor_fill(const struct wr_mk_tensor *t, uint64_t first, size_t len, unsigned char *ret)
{
	const struct wr_mk_dtype_info *type = &wr_mk_dtypes[t->dtype];
	size_t most = SCRATCH_ELEMS / type->block_elems;

	while (len) {
		uint64_t block = first / type->block_bytes;
		size_t skip = (size_t)(first % type->block_bytes);
		size_t done, nr = len / type->block_bytes;

		if (skip || !nr) {
			done = type->block_bytes - skip;
			done = done < len ? done : len;
			fill_part(t, block, skip, done, ret);
		} else if (t->dtype == WR_MK_BF16 && !((uintptr_t)ret & 1)) {
			done = nr * 2;
			fill_bf16(t, block, nr, (uint16_t *)(void *)ret);
		} else {
			nr = nr < most ? nr : most;
			done = nr * type->block_bytes;
			fill_blocks(t, block, nr, ret);
		}
		ret += done;
		first += done;
		len -= done;
	}
}
