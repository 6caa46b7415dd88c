/* SPDX-License-Identifier: MIT */
/* Element types: the sizes that the formats state, and what follows for a tensor's rows. */
#include <errno.h>

#include "kselftest_harness.h"

#include "weights/weights_internal.h"

struct size {
	int dtype;
	const char *name;
	uint32_t elems;
	uint32_t bytes;
};

/* Bits per weight, from the descriptions in llama.cpp's ggml-common.h; times block / 8. */
static const struct size sizes[] = {
	{WEIR_DTYPE_BOOL, "BOOL", 1, 1},
	{WEIR_DTYPE_F8_E8M0, "F8_E8M0", 1, 1},
	{WEIR_DTYPE_BF16, "BF16", 1, 2},
	{WEIR_DTYPE_C64, "C64", 1, 8},
	{WEIR_DTYPE_F4, "F4", 2, 1},
	{WEIR_DTYPE_F6_E2M3, "F6_E2M3", 4, 3},
	{WEIR_DTYPE_Q4_0, "Q4_0", 32, 32 * 45 / 80},	     /* 4.5 */
	{WEIR_DTYPE_Q4_1, "Q4_1", 32, 32 * 50 / 80},	     /* 5 */
	{WEIR_DTYPE_Q5_0, "Q5_0", 32, 32 * 55 / 80},	     /* 5.5 */
	{WEIR_DTYPE_Q5_1, "Q5_1", 32, 32 * 60 / 80},	     /* 6 */
	{WEIR_DTYPE_Q8_0, "Q8_0", 32, 32 * 85 / 80},	     /* 8.5 */
	{WEIR_DTYPE_Q2_K, "Q2_K", 256, 256 * 2625 / 8000},   /* 2.625 */
	{WEIR_DTYPE_Q3_K, "Q3_K", 256, 256 * 34375 / 80000}, /* 3.4375 */
	{WEIR_DTYPE_Q4_K, "Q4_K", 256, 256 * 45 / 80},	     /* 4.5 */
	{WEIR_DTYPE_Q5_K, "Q5_K", 256, 256 * 55 / 80},	     /* 5.5 */
	{WEIR_DTYPE_Q6_K, "Q6_K", 256, 256 * 65625 / 80000}, /* 6.5625 */
	{WEIR_DTYPE_Q8_K, "Q8_K", 256, 4 + 256 + 32},
	{WEIR_DTYPE_IQ1_S, "IQ1_S", 256, 256 * 15625 / 80000},	   /* 1.5625 */
	{WEIR_DTYPE_IQ1_M, "IQ1_M", 256, 256 * 175 / 800},	   /* 1.75 */
	{WEIR_DTYPE_IQ2_XXS, "IQ2_XXS", 256, 256 * 20625 / 80000}, /* 2.0625 */
	{WEIR_DTYPE_IQ2_XS, "IQ2_XS", 256, 256 * 23125 / 80000},   /* 2.3125 */
	{WEIR_DTYPE_IQ2_S, "IQ2_S", 256, 256 * 25625 / 80000},	   /* 2.5625 */
	{WEIR_DTYPE_IQ3_XXS, "IQ3_XXS", 256, 256 * 30625 / 80000}, /* 3.0625 */
	{WEIR_DTYPE_IQ3_S, "IQ3_S", 256, 256 * 34375 / 80000},	   /* 3.4375 */
	{WEIR_DTYPE_IQ4_NL, "IQ4_NL", 32, 32 * 45 / 80},	   /* 4.5 */
	{WEIR_DTYPE_IQ4_XS, "IQ4_XS", 256, 256 * 425 / 800},	   /* 4.25 */
	{WEIR_DTYPE_TQ1_0, "TQ1_0", 256, 256 * 16875 / 80000},	   /* 1.6875 */
	{WEIR_DTYPE_TQ2_0, "TQ2_0", 256, 256 * 20625 / 80000},	   /* 2.0625 */
	{WEIR_DTYPE_MXFP4, "MXFP4", 32, 32 * 425 / 800},	   /* 4.25 */
	{WEIR_DTYPE_NVFP4, "NVFP4", 64, 64 * 45 / 80},		   /* 4.5 */
	{WEIR_DTYPE_Q1_0, "Q1_0", 128, 128 * 1125 / 8000},	   /* 1.125 */
	{WEIR_DTYPE_Q2_0, "Q2_0", 64, 64 * 225 / 800},		   /* 2.25 */
};

TEST(block_sizes_are_those_of_the_formats)
{
	for (size_t i = 0; i < wr_array_size(sizes); i++) {
		EXPECT_STREQ(weir_dtype_name(sizes[i].dtype), sizes[i].name);
		EXPECT_EQ(weir_dtype_block_elems(sizes[i].dtype), sizes[i].elems);
		EXPECT_EQ(weir_dtype_block_bytes(sizes[i].dtype), sizes[i].bytes)
		{
			TH_LOG("%s", sizes[i].name);
		}
	}
}

TEST(every_type_has_a_name_and_a_size)
{
	for (int i = 1; i < WEIR_DTYPE_COUNT; i++) {
		EXPECT_STRNE(weir_dtype_name(i), "unknown");
		EXPECT_NE(weir_dtype_block_elems(i), 0);
		EXPECT_NE(weir_dtype_block_bytes(i), 0);
	}
	EXPECT_STREQ(weir_dtype_name(0), "unknown");
	EXPECT_STREQ(weir_dtype_name(-1), "unknown");
	EXPECT_STREQ(weir_dtype_name(WEIR_DTYPE_COUNT), "unknown");
	EXPECT_EQ(weir_dtype_block_elems(WEIR_DTYPE_COUNT), 0);
	EXPECT_EQ(weir_dtype_block_bytes(-5), 0);
}

TEST(safetensors_types_are_found_by_name_and_gguf_types_by_number)
{
	static const char *const st[] = {
		"BOOL", "U8",	"I8",	   "F8_E4M3", "F8_E5M2",     "F8_E8M0",	   "I16", "U16",
		"F16",	"BF16", "I32",	   "U32",     "F32",	     "F64",	   "I64", "U64",
		"C64",	"F4",	"F6_E2M3", "F6_E3M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"};
	static const uint32_t gone[] = {4, 5, 31, 32, 33, 36, 37, 38, 43, 1000, UINT32_MAX};
	uint32_t known = 0;

	for (size_t i = 0; i < wr_array_size(st); i++)
		EXPECT_STREQ(weir_dtype_name(wr_dtype_from_st(st[i])), st[i]);
	EXPECT_EQ(wr_dtype_from_st("Q4_K"), WEIR_DTYPE_UNKNOWN);
	EXPECT_EQ(wr_dtype_from_st("f32"), WEIR_DTYPE_UNKNOWN);
	EXPECT_EQ(wr_dtype_from_st(""), WEIR_DTYPE_UNKNOWN);
	EXPECT_EQ(wr_dtype_from_gguf(0), WEIR_DTYPE_F32);
	EXPECT_EQ(wr_dtype_from_gguf(12), WEIR_DTYPE_Q4_K);
	EXPECT_EQ(wr_dtype_from_gguf(30), WEIR_DTYPE_BF16);
	for (size_t i = 0; i < wr_array_size(gone); i++)
		EXPECT_EQ(wr_dtype_from_gguf(gone[i]), WEIR_DTYPE_UNKNOWN);
	for (uint32_t id = 0; id < 43; id++)
		known += wr_dtype_from_gguf(id) != WEIR_DTYPE_UNKNOWN;
	EXPECT_EQ(known, 43 - 8);
}

struct layout {
	int dtype;
	uint32_t nr_dims;
	uint64_t dims[4];
	int code;
	uint64_t bytes, nr_rows, row_bytes;
};

#define BIG (UINT64_C(1) << 40)

static const struct layout layouts[] = {
	{WEIR_DTYPE_BF16, 2, {6144, 2048}, 0, 25165824, 6144, 4096},
	{WEIR_DTYPE_BF16, 3, {128, 768, 2048}, 0, 402653184, 98304, 4096},
	{WEIR_DTYPE_F32, 1, {7}, 0, 28, 1, 28},
	{WEIR_DTYPE_F64, 0, {0}, 0, 8, 1, 8},
	{WEIR_DTYPE_Q4_K, 2, {10, 512}, 0, 2880, 10, 288},
	{WEIR_DTYPE_Q4_K, 2, {10, 128}, 0, 720, 1, 720},
	{WEIR_DTYPE_Q4_K, 1, {100}, -EBADMSG, 0, 0, 0},
	{WEIR_DTYPE_F4, 2, {3, 4}, 0, 6, 3, 2},
	{WEIR_DTYPE_F4, 2, {2, 3}, 0, 3, 1, 3},
	{WEIR_DTYPE_F4, 2, {3, 3}, -EBADMSG, 0, 0, 0},
	{WEIR_DTYPE_F6_E3M2, 1, {8}, 0, 6, 1, 6},
	{WEIR_DTYPE_F6_E3M2, 2, {2, 2}, 0, 3, 1, 3},
	{WEIR_DTYPE_F6_E2M3, 1, {2}, -EBADMSG, 0, 0, 0},
	{WEIR_DTYPE_F32, 2, {4, 0}, 0, 0, 0, 0},
	{WEIR_DTYPE_F32, 3, {0, BIG, BIG}, 0, 0, 0, 0},
	{WEIR_DTYPE_F32, 3, {BIG, BIG, 0}, -EOVERFLOW, 0, 0, 0},
	{WEIR_DTYPE_F64, 2, {BIG, UINT64_C(1) << 22}, -EOVERFLOW, 0, 0, 0},
};

TEST(rows_follow_from_type_and_shape)
{
	for (size_t i = 0; i < wr_array_size(layouts); i++) {
		const struct layout *l = &layouts[i];
		struct weir_tensor t = {.dtype = (uint32_t)l->dtype, .nr_dims = l->nr_dims};

		memcpy(t.dims, l->dims, sizeof(l->dims));
		ASSERT_EQ(wr_dtype_layout(&t), l->code)
		{
			TH_LOG("row %zu", i);
		}
		EXPECT_EQ(t.bytes, l->bytes);
		EXPECT_EQ(t.nr_rows, l->nr_rows);
		EXPECT_EQ(t.row_bytes, l->row_bytes);
		EXPECT_EQ(t.nr_rows * t.row_bytes, t.bytes);
	}
}

TEST_HARNESS_MAIN
