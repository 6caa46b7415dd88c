/* SPDX-License-Identifier: MIT */
/*
 * The element types of both formats, in one table.
 *
 * Sizes: safetensors/src/tensor.rs of huggingface/safetensors (bitsize); ggml/src/ggml-common.h
 * and gguf-py/gguf/constants.py of ggml-org/llama.cpp (block sizes), where a super-block of the K,
 * IQ and TQ types has 256 elements. Q8_1 has 36 bytes in ggml-common.h (two half floats and 32
 * bytes) and 40 in gguf-py, which is older; it never stands in a file. Type numbers 4, 5, 31 to 33
 * and 36 to 38 were withdrawn from the format.
 */
#include <weir/weights.h>

#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "weights/weights_internal.h"

#define NO_GGUF UINT32_MAX

struct dtype {
	const char *name;
	uint16_t elems; /* of one block */
	uint16_t bytes;
	uint32_t gguf; /* number there, or NO_GGUF */
	bool st;       /* stands in safetensors files under its name */
};

/* clang-format off */
static const struct dtype dtypes[WEIR_DTYPE_COUNT] = {
	[WEIR_DTYPE_UNKNOWN]	= {"unknown",	  0,   0, NO_GGUF, false},
	[WEIR_DTYPE_BOOL]	= {"BOOL",	  1,   1, NO_GGUF, true},
	[WEIR_DTYPE_U8]		= {"U8",	  1,   1, NO_GGUF, true},
	[WEIR_DTYPE_I8]		= {"I8",	  1,   1, 24,	   true},
	[WEIR_DTYPE_F8_E4M3]	= {"F8_E4M3",	  1,   1, NO_GGUF, true},
	[WEIR_DTYPE_F8_E5M2]	= {"F8_E5M2",	  1,   1, NO_GGUF, true},
	[WEIR_DTYPE_F8_E8M0]	= {"F8_E8M0",	  1,   1, NO_GGUF, true},
	[WEIR_DTYPE_U16]	= {"U16",	  1,   2, NO_GGUF, true},
	[WEIR_DTYPE_I16]	= {"I16",	  1,   2, 25,	   true},
	[WEIR_DTYPE_F16]	= {"F16",	  1,   2, 1,	   true},
	[WEIR_DTYPE_BF16]	= {"BF16",	  1,   2, 30,	   true},
	[WEIR_DTYPE_U32]	= {"U32",	  1,   4, NO_GGUF, true},
	[WEIR_DTYPE_I32]	= {"I32",	  1,   4, 26,	   true},
	[WEIR_DTYPE_F32]	= {"F32",	  1,   4, 0,	   true},
	[WEIR_DTYPE_U64]	= {"U64",	  1,   8, NO_GGUF, true},
	[WEIR_DTYPE_I64]	= {"I64",	  1,   8, 27,	   true},
	[WEIR_DTYPE_F64]	= {"F64",	  1,   8, 28,	   true},
	[WEIR_DTYPE_C64]	= {"C64",	  1,   8, NO_GGUF, true},
	[WEIR_DTYPE_F4]		= {"F4",	  2,   1, NO_GGUF, true},
	[WEIR_DTYPE_F6_E2M3]	= {"F6_E2M3",	  4,   3, NO_GGUF, true},
	[WEIR_DTYPE_F6_E3M2]	= {"F6_E3M2",	  4,   3, NO_GGUF, true},
	[WEIR_DTYPE_Q4_0]	= {"Q4_0",	 32,  18, 2,	   false},
	[WEIR_DTYPE_Q4_1]	= {"Q4_1",	 32,  20, 3,	   false},
	[WEIR_DTYPE_Q5_0]	= {"Q5_0",	 32,  22, 6,	   false},
	[WEIR_DTYPE_Q5_1]	= {"Q5_1",	 32,  24, 7,	   false},
	[WEIR_DTYPE_Q8_0]	= {"Q8_0",	 32,  34, 8,	   false},
	[WEIR_DTYPE_Q8_1]	= {"Q8_1",	 32,  36, 9,	   false},
	[WEIR_DTYPE_Q2_K]	= {"Q2_K",	256,  84, 10,	   false},
	[WEIR_DTYPE_Q3_K]	= {"Q3_K",	256, 110, 11,	   false},
	[WEIR_DTYPE_Q4_K]	= {"Q4_K",	256, 144, 12,	   false},
	[WEIR_DTYPE_Q5_K]	= {"Q5_K",	256, 176, 13,	   false},
	[WEIR_DTYPE_Q6_K]	= {"Q6_K",	256, 210, 14,	   false},
	[WEIR_DTYPE_Q8_K]	= {"Q8_K",	256, 292, 15,	   false},
	[WEIR_DTYPE_IQ1_S]	= {"IQ1_S",	256,  50, 19,	   false},
	[WEIR_DTYPE_IQ1_M]	= {"IQ1_M",	256,  56, 29,	   false},
	[WEIR_DTYPE_IQ2_XXS]	= {"IQ2_XXS",	256,  66, 16,	   false},
	[WEIR_DTYPE_IQ2_XS]	= {"IQ2_XS",	256,  74, 17,	   false},
	[WEIR_DTYPE_IQ2_S]	= {"IQ2_S",	256,  82, 22,	   false},
	[WEIR_DTYPE_IQ3_XXS]	= {"IQ3_XXS",	256,  98, 18,	   false},
	[WEIR_DTYPE_IQ3_S]	= {"IQ3_S",	256, 110, 21,	   false},
	[WEIR_DTYPE_IQ4_NL]	= {"IQ4_NL",	 32,  18, 20,	   false},
	[WEIR_DTYPE_IQ4_XS]	= {"IQ4_XS",	256, 136, 23,	   false},
	[WEIR_DTYPE_TQ1_0]	= {"TQ1_0",	256,  54, 34,	   false},
	[WEIR_DTYPE_TQ2_0]	= {"TQ2_0",	256,  66, 35,	   false},
	[WEIR_DTYPE_MXFP4]	= {"MXFP4",	 32,  17, 39,	   false},
	[WEIR_DTYPE_NVFP4]	= {"NVFP4",	 64,  36, 40,	   false},
	[WEIR_DTYPE_Q1_0]	= {"Q1_0",	128,  18, 41,	   false},
	[WEIR_DTYPE_Q2_0]	= {"Q2_0",	 64,  18, 42,	   false},
	[WEIR_DTYPE_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 1,  1, NO_GGUF, true},
	[WEIR_DTYPE_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 1,  1, NO_GGUF, true},
};
/* clang-format on */

static const struct dtype *get(int dtype)
{
	return &dtypes[dtype > 0 && dtype < WEIR_DTYPE_COUNT ? dtype : WEIR_DTYPE_UNKNOWN];
}

const char *weir_dtype_name(int dtype)
{
	return get(dtype)->name;
}

uint32_t weir_dtype_block_elems(int dtype)
{
	return get(dtype)->elems;
}

uint32_t weir_dtype_block_bytes(int dtype)
{
	return get(dtype)->bytes;
}

int wr_dtype_from_st(const char *name)
{
	for (int i = 1; i < WEIR_DTYPE_COUNT; i++) {
		if (dtypes[i].st && strcmp(dtypes[i].name, name) == 0)
			return i;
	}
	return WEIR_DTYPE_UNKNOWN;
}

int wr_dtype_from_gguf(uint32_t id)
{
	for (int i = 1; id != NO_GGUF && i < WEIR_DTYPE_COUNT; i++) {
		if (dtypes[i].gguf == id)
			return i;
	}
	return WEIR_DTYPE_UNKNOWN;
}

int wr_dtype_layout(struct weir_tensor *t)
{
	const struct dtype *type = get((int)t->dtype);
	uint64_t elems = 1, bytes, last;

	/* From the outside in, as the format's own reader multiplies: [0, 2^40, 2^40] is empty. */
	for (uint32_t i = 0; i < t->nr_dims; i++) {
		if (wr_mul_overflow(elems, t->dims[i], &elems))
			return -EOVERFLOW;
	}
	if (elems % type->elems != 0)
		return -EBADMSG;
	if (wr_mul_overflow(elems / type->elems, (uint64_t)type->bytes, &bytes))
		return -EOVERFLOW;
	last = t->nr_dims != 0 ? t->dims[t->nr_dims - 1] : 1;
	t->bytes = bytes;
	if (elems == 0) {
		t->nr_rows = 0;
		t->row_bytes = 0;
	} else if (last % type->elems == 0) {
		t->row_bytes = last / type->elems * type->bytes;
		t->nr_rows = elems / last;
	} else { /* rows share bytes: all of it is one */
		t->row_bytes = bytes;
		t->nr_rows = 1;
	}
	return 0;
}
