/* SPDX-License-Identifier: MIT */
/*
 * The GGUF parser on bytes. Each malformed file is a function that writes it and returns where the
 * fault lies; the table gives the code that belongs to it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "weights/model_builder.h"
#include "weights/weights_internal.h"

enum {
	U8 = 0,
	I8 = 1,
	U16 = 2,
	U32 = 4,
	I32 = 5,
	F32_VALUE = 6,
	STRING = 8,
	ARRAY = 9,
	U64 = 10,
	F32 = 0,
	F16 = 1,
	Q4_K = 12,
};

static const uint64_t two[] = {2};

static int parse(const struct mb_bytes *b, uint64_t file_bytes, struct wr_table *table,
		 struct wr_gguf_info *info, struct weir_error *err)
{
	struct wr_src src;
	int code;

	wr_src_mem(&src, "test", b->p, b->n, file_bytes, err);
	code = wr_gguf_parse(&src, table, info);
	wr_src_fini(&src);
	return code;
}

/* ---- taken -------------------------------------------------------------------------------- */

/* All types of value, arrays of all of them, and arrays of arrays. */
static void all_values(struct mb_bytes *b)
{
	static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
	char key[32];

	for (uint32_t type = 0; type < 13; type++) {
		if (sizes[type] == 0)
			continue;
		snprintf(key, sizeof(key), "scalar.%u", type);
		mb_gguf_key(b, key, type);
		mb_zeros(b, sizes[type]);
		snprintf(key, sizeof(key), "array.%u", type);
		mb_gguf_key(b, key, ARRAY);
		mb_u32(b, type);
		mb_u64(b, 3);
		mb_zeros(b, 3u * sizes[type]);
	}
	mb_gguf_pair_string(b, "string", "");
	mb_gguf_key(b, "strings", ARRAY);
	mb_u32(b, STRING);
	mb_u64(b, 2);
	mb_gguf_string(b, "one");
	mb_gguf_string(b, "");
	mb_gguf_key(b, "empty", ARRAY);
	mb_u32(b, ARRAY);
	mb_u64(b, 0);
	mb_gguf_key(b, "nested", ARRAY);
	mb_u32(b, ARRAY);
	mb_u64(b, 2);
	mb_u32(b, ARRAY);
	mb_u64(b, 1);
	mb_u32(b, U8);
	mb_u64(b, 2);
	mb_zeros(b, 2);
	mb_u32(b, STRING);
	mb_u64(b, 1);
	mb_gguf_string(b, "deep");
}

#define ALL_VALUES (2 * 11 + 4)

TEST(values_of_every_type_are_stepped_over)
{
	struct mb_bytes b = {0};
	struct wr_table table = {0};
	struct wr_gguf_info info;
	struct weir_error err = {0};

	mb_gguf_head(&b, 3, 1, ALL_VALUES);
	all_values(&b);
	mb_gguf_tensor(&b, "t", 1, two, F32, 0);
	mb_gguf_align(&b, 32);
	mb_zeros(&b, 8);
	ASSERT_EQ(parse(&b, 0, &table, &info, &err), 0)
	{
		TH_LOG("%s at %llu", err.message, (unsigned long long)err.offset);
	}
	EXPECT_EQ(info.version, 3);
	EXPECT_EQ(info.alignment, 32);
	EXPECT_EQ(info.data_offset, b.n - 8);
	EXPECT_EQ(table.entry[0].t.offset, b.n - 8);
	EXPECT_EQ(table.entry[0].t.bytes, 8);
	EXPECT_EQ(info.split_count, 0);
	EXPECT_FALSE(info.is_projector);
	wr_table_fini(&table);
	mb_free(&b);
}

TEST(tensors_of_any_order_with_gaps_come_out_by_offset)
{
	static const uint64_t ne[] = {512, 3}, none[] = {0, 4};
	struct mb_bytes b = {0};
	struct wr_table table = {0};
	struct wr_gguf_info info;
	uint64_t data;

	mb_gguf_head(&b, 2, 4, 2);
	mb_gguf_pair_string(&b, "general.architecture", "clip");
	mb_gguf_pair_u32(&b, "general.alignment", 64);
	mb_gguf_tensor(&b, "q", 2, ne, Q4_K, 1024);
	mb_gguf_tensor(&b, "f", 1, two, F16, 64);
	mb_gguf_tensor(&b, "scalar", 0, NULL, F32, 0);
	mb_gguf_tensor(&b, "none", 2, none, F32, 0);
	mb_gguf_align(&b, 64);
	data = b.n;
	mb_zeros(&b, 1024 + 2 * 144 * 3);
	ASSERT_EQ(parse(&b, 0, &table, &info, NULL), 0);
	EXPECT_EQ(info.version, 2);
	EXPECT_TRUE(info.is_projector);
	ASSERT_EQ(table.nr, 4);
	EXPECT_STREQ(wr_names_text(&table.names, table.entry[0].name), "none");
	EXPECT_STREQ(wr_names_text(&table.names, table.entry[1].name), "scalar");
	EXPECT_STREQ(wr_names_text(&table.names, table.entry[2].name), "f");
	EXPECT_STREQ(wr_names_text(&table.names, table.entry[3].name), "q");
	EXPECT_EQ(table.entry[0].t.bytes, 0);
	EXPECT_EQ(table.entry[1].t.bytes, 4);
	EXPECT_EQ(table.entry[1].t.nr_rows, 1);
	EXPECT_EQ(table.entry[3].t.offset, data + 1024);
	EXPECT_EQ(table.entry[3].t.nr_rows, 3);
	EXPECT_EQ(table.entry[3].t.row_bytes, 288);
	/* Outermost first. */
	EXPECT_EQ(table.entry[3].t.dims[0], 3);
	EXPECT_EQ(table.entry[3].t.dims[1], 512);
	wr_table_fini(&table);
	mb_free(&b);
}

TEST(a_file_without_tensors_is_a_model_without_tensors)
{
	struct mb_bytes b = {0};
	struct wr_table table = {0};
	struct wr_gguf_info info;

	mb_gguf_head(&b, 3, 0, 1);
	mb_gguf_pair_u16(&b, "split.count", 3);
	EXPECT_EQ(parse(&b, 0, &table, &info, NULL), 0);
	EXPECT_EQ(table.nr, 0);
	EXPECT_EQ(info.split_count, 3);
	EXPECT_EQ(info.split_tensors, UINT64_MAX);
	wr_table_fini(&table);
	mb_free(&b);
}

/* ---- refused ------------------------------------------------------------------------------ */

static uint64_t wrong_magic(struct mb_bytes *b)
{
	mb_text(b, "GGML");
	mb_zeros(b, 60);
	return 0;
}

static uint64_t swapped_magic(struct mb_bytes *b)
{
	mb_text(b, "FUGG");
	mb_zeros(b, 60);
	return 0;
}

static uint64_t version(struct mb_bytes *b, uint32_t v)
{
	mb_gguf_head(b, v, 0, 0);
	return 4;
}

static uint64_t version_0(struct mb_bytes *b)
{
	return version(b, 0);
}

static uint64_t version_1(struct mb_bytes *b)
{
	return version(b, 1);
}

static uint64_t version_4(struct mb_bytes *b)
{
	return version(b, 4);
}

static uint64_t version_3_swapped(struct mb_bytes *b)
{
	return version(b, 0x03000000);
}

static uint64_t too_many_tensors(struct mb_bytes *b)
{
	mb_gguf_head(b, 3, UINT64_C(1) << 60, 0);
	mb_zeros(b, 100);
	return 8;
}

static uint64_t too_many_values(struct mb_bytes *b)
{
	mb_gguf_head(b, 3, 0, UINT64_MAX);
	mb_zeros(b, 100);
	return 16;
}

static uint64_t more_values_than_are_read(struct mb_bytes *b)
{
	mb_gguf_head(b, 3, 0, 65537);
	mb_zeros(b, 65537 * 14);
	return 16;
}

/* The tensors fit before the values are read, and no longer after. */
static uint64_t too_many_tensors_after_the_values(struct mb_bytes *b)
{
	mb_gguf_head(b, 3, 10, 1);
	mb_gguf_key(b, "k", STRING);
	mb_u64(b, 400);
	mb_zeros(b, 400);
	return 8;
}

static uint64_t empty_key(struct mb_bytes *b)
{
	uint64_t at;

	mb_gguf_head(b, 3, 0, 1);
	at = b->n;
	mb_gguf_pair_u32(b, "", 1);
	return at;
}

static uint64_t key_twice(struct mb_bytes *b)
{
	uint64_t at;

	mb_gguf_head(b, 3, 0, 2);
	mb_gguf_pair_u32(b, "key", 1);
	at = b->n;
	mb_gguf_pair_u32(b, "key", 2);
	return at;
}

static uint64_t key_beyond_the_file(struct mb_bytes *b)
{
	uint64_t at;

	mb_gguf_head(b, 3, 0, 1);
	at = b->n;
	mb_u64(b, UINT64_MAX);
	mb_zeros(b, 100);
	return at;
}

static uint64_t key_too_long(struct mb_bytes *b)
{
	uint64_t at;

	mb_gguf_head(b, 3, 0, 1);
	at = b->n;
	mb_u64(b, 65536);
	mb_zeros(b, 70000);
	return at;
}

static uint64_t value_type(struct mb_bytes *b)
{
	mb_gguf_head(b, 3, 0, 1);
	mb_gguf_key(b, "key", 13);
	mb_zeros(b, 100);
	return b->n - 104;
}

static uint64_t string_beyond_the_file(struct mb_bytes *b)
{
	uint64_t at;

	mb_gguf_head(b, 3, 0, 1);
	mb_gguf_key(b, "key", STRING);
	mb_u64(b, 101);
	at = b->n;
	mb_zeros(b, 100);
	return at;
}

static uint64_t string_that_wraps(struct mb_bytes *b)
{
	uint64_t at;

	mb_gguf_head(b, 3, 0, 1);
	mb_gguf_key(b, "key", STRING);
	mb_u64(b, UINT64_MAX - 4);
	at = b->n;
	mb_zeros(b, 100);
	return at;
}

static uint64_t array(struct mb_bytes *b, uint32_t type, uint64_t count)
{
	mb_gguf_head(b, 3, 0, 1);
	mb_gguf_key(b, "key", ARRAY);
	mb_u32(b, type);
	mb_u64(b, count);
	mb_zeros(b, 100);
	return b->n - 100;
}

static uint64_t array_beyond_the_file(struct mb_bytes *b)
{
	return array(b, U8, 101);
}

static uint64_t array_that_wraps(struct mb_bytes *b)
{
	return array(b, U64, (UINT64_C(1) << 61) + 1);
}

static uint64_t strings_beyond_the_file(struct mb_bytes *b)
{
	return array(b, STRING, UINT64_C(1) << 60) - 12;
}

static uint64_t arrays_beyond_the_file(struct mb_bytes *b)
{
	return array(b, ARRAY, UINT64_C(1) << 60) - 12;
}

static uint64_t array_type(struct mb_bytes *b)
{
	return array(b, 77, 1) - 12;
}

static uint64_t nested_too_deep(struct mb_bytes *b)
{
	mb_gguf_head(b, 3, 0, 1);
	mb_gguf_key(b, "key", ARRAY);
	for (int i = 0; i < 5; i++) {
		mb_u32(b, ARRAY);
		mb_u64(b, 1);
	}
	mb_zeros(b, 100);
	return b->n - 112;
}

static uint64_t alignment(struct mb_bytes *b, uint32_t v)
{
	mb_gguf_head(b, 3, 0, 1);
	mb_gguf_pair_u32(b, "general.alignment", v);
	return b->n - 4;
}

static uint64_t alignment_0(struct mb_bytes *b)
{
	return alignment(b, 0);
}

static uint64_t alignment_48(struct mb_bytes *b)
{
	return alignment(b, 48);
}

static uint64_t alignment_2_31(struct mb_bytes *b)
{
	return alignment(b, UINT32_C(1) << 31);
}

static uint64_t alignment_type(struct mb_bytes *b)
{
	mb_gguf_head(b, 3, 0, 1);
	mb_gguf_key(b, "general.alignment", U64);
	mb_u64(b, 32);
	return b->n - 8;
}

static uint64_t architecture_type(struct mb_bytes *b)
{
	mb_gguf_head(b, 3, 0, 1);
	mb_gguf_pair_u32(b, "general.architecture", 1);
	return b->n - 4;
}

static uint64_t split_type(struct mb_bytes *b)
{
	mb_gguf_head(b, 3, 0, 1);
	mb_gguf_key(b, "split.count", F32_VALUE);
	mb_zeros(b, 4);
	return b->n - 4;
}

static uint64_t split_below_0(struct mb_bytes *b)
{
	mb_gguf_head(b, 3, 0, 1);
	mb_gguf_key(b, "split.tensors.count", I32);
	mb_u32(b, UINT32_MAX);
	return b->n - 4;
}

/* One tensor and room behind it. Returns where its description begins. */
static uint64_t tensor(struct mb_bytes *b, const char *name, uint32_t nr_dims, const uint64_t *ne,
		       uint32_t type, uint64_t offset)
{
	uint64_t at;

	mb_gguf_head(b, 3, 1, 0);
	at = b->n;
	mb_gguf_tensor(b, name, nr_dims, ne, type, offset);
	mb_zeros(b, 4096);
	return at;
}

/* Bytes before the fields of a tensor called "t". */
#define AT_NR_DIMS 9
#define AT_DIMS	   13

static uint64_t five_dims(struct mb_bytes *b)
{
	static const uint64_t ne[] = {1, 1, 1, 1, 1};

	return tensor(b, "t", 5, ne, F32, 0) + AT_NR_DIMS;
}

static uint64_t sixty_five_dims(struct mb_bytes *b)
{
	static const uint64_t ne[65] = {0};

	return tensor(b, "t", 65, ne, F32, 0) + AT_NR_DIMS;
}

static uint64_t two_to_32_dims(struct mb_bytes *b)
{
	uint64_t at = tensor(b, "t", 1, two, F32, 0) + AT_NR_DIMS;

	memset(b->p + at, 0xff, 4);
	return at;
}

static uint64_t dim_below_0(struct mb_bytes *b)
{
	static const uint64_t ne[] = {UINT64_MAX};

	return tensor(b, "t", 1, ne, F32, 0) + AT_DIMS;
}

static uint64_t dims_that_wrap(struct mb_bytes *b)
{
	static const uint64_t ne[] = {UINT64_C(1) << 32, UINT64_C(1) << 31};

	return tensor(b, "t", 2, ne, F32, 0) + AT_DIMS + 8;
}

static uint64_t size_that_wraps(struct mb_bytes *b)
{
	static const uint64_t ne[] = {UINT64_C(1) << 62};

	return tensor(b, "t", 1, ne, F32, 0) + AT_DIMS + 8;
}

static uint64_t unknown_type(struct mb_bytes *b)
{
	return tensor(b, "t", 1, two, 99, 0) + AT_DIMS + 8;
}

static uint64_t withdrawn_type(struct mb_bytes *b)
{
	return tensor(b, "t", 1, two, 4, 0) + AT_DIMS + 8;
}

static uint64_t half_a_block(struct mb_bytes *b)
{
	static const uint64_t ne[] = {128, 2};

	return tensor(b, "t", 2, ne, Q4_K, 0) + AT_DIMS + 16;
}

static uint64_t scalar_block(struct mb_bytes *b)
{
	return tensor(b, "t", 0, NULL, Q4_K, 0) + AT_DIMS;
}

static uint64_t offset_not_aligned(struct mb_bytes *b)
{
	return tensor(b, "t", 1, two, F32, 16) + AT_DIMS + 8 + 4;
}

static uint64_t offset_beyond_the_file(struct mb_bytes *b)
{
	return tensor(b, "t", 1, two, F32, 65536);
}

static uint64_t offset_that_wraps(struct mb_bytes *b)
{
	return tensor(b, "t", 1, two, F32, UINT64_MAX - 31);
}

static uint64_t data_cut_off(struct mb_bytes *b)
{
	static const uint64_t ne[] = {2000};

	return tensor(b, "t", 1, ne, F32, 0);
}

static uint64_t name_with_nul(struct mb_bytes *b)
{
	uint64_t at = tensor(b, "name", 1, two, F32, 0);

	b->p[at + 10] = 0;
	return at;
}

static uint64_t name_not_utf8(struct mb_bytes *b)
{
	return tensor(b, "na\xff", 1, two, F32, 0);
}

static uint64_t name_too_long(struct mb_bytes *b)
{
	char name[WR_TENSOR_NAME_MOST + 2];

	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	return tensor(b, name, 1, two, F32, 0);
}

static uint64_t second_tensor(struct mb_bytes *b, const char *name, uint64_t offset)
{
	static const uint64_t ne[] = {10};
	uint64_t at;

	mb_gguf_head(b, 3, 2, 0);
	mb_gguf_tensor(b, "first", 1, ne, F32, 0);
	at = b->n;
	mb_gguf_tensor(b, name, 1, ne, F32, offset);
	mb_zeros(b, 4096);
	return at;
}

static uint64_t name_twice(struct mb_bytes *b)
{
	return second_tensor(b, "first", 64);
}

static uint64_t overlap(struct mb_bytes *b)
{
	return second_tensor(b, "second", 32);
}

static uint64_t same_bytes_twice(struct mb_bytes *b)
{
	return second_tensor(b, "second", 0);
}

struct bad {
	const char *what;
	uint64_t (*write)(struct mb_bytes *b);
	int code;
};

#define BAD(write, code)            \
	{                           \
#write, write, code \
	}

static const struct bad bads[] = {
	BAD(wrong_magic, -EBADMSG),
	BAD(swapped_magic, -EOPNOTSUPP),
	BAD(version_0, -EBADMSG),
	BAD(version_1, -EOPNOTSUPP),
	BAD(version_4, -EOPNOTSUPP),
	BAD(version_3_swapped, -EOPNOTSUPP),
	BAD(too_many_tensors, -ENODATA),
	BAD(too_many_values, -ENODATA),
	BAD(more_values_than_are_read, -EFBIG),
	BAD(too_many_tensors_after_the_values, -ENODATA),
	BAD(empty_key, -EBADMSG),
	BAD(key_twice, -EBADMSG),
	BAD(key_beyond_the_file, -ENODATA),
	BAD(key_too_long, -EFBIG),
	BAD(value_type, -EBADMSG),
	BAD(string_beyond_the_file, -ENODATA),
	BAD(string_that_wraps, -ENODATA),
	BAD(array_beyond_the_file, -ENODATA),
	BAD(array_that_wraps, -EOVERFLOW),
	BAD(strings_beyond_the_file, -ENODATA),
	BAD(arrays_beyond_the_file, -ENODATA),
	BAD(array_type, -EBADMSG),
	BAD(nested_too_deep, -EBADMSG),
	BAD(alignment_0, -EBADMSG),
	BAD(alignment_48, -EBADMSG),
	BAD(alignment_2_31, -EFBIG),
	BAD(alignment_type, -EBADMSG),
	BAD(architecture_type, -EBADMSG),
	BAD(split_type, -EBADMSG),
	BAD(split_below_0, -EBADMSG),
	BAD(five_dims, -EBADMSG),
	BAD(sixty_five_dims, -EBADMSG),
	BAD(two_to_32_dims, -EBADMSG),
	BAD(dim_below_0, -EOVERFLOW),
	BAD(dims_that_wrap, -EOVERFLOW),
	BAD(size_that_wraps, -EOVERFLOW),
	BAD(unknown_type, -EOPNOTSUPP),
	BAD(withdrawn_type, -EOPNOTSUPP),
	BAD(half_a_block, -EBADMSG),
	BAD(scalar_block, -EBADMSG),
	BAD(offset_not_aligned, -EBADMSG),
	BAD(offset_beyond_the_file, -ENODATA),
	BAD(offset_that_wraps, -EOVERFLOW),
	BAD(data_cut_off, -ENODATA),
	BAD(name_with_nul, -EBADMSG),
	BAD(name_not_utf8, -EBADMSG),
	BAD(name_too_long, -EFBIG),
	BAD(name_twice, -EBADMSG),
	BAD(overlap, -EBADMSG),
	BAD(same_bytes_twice, -EBADMSG),
};

TEST(what_is_malformed_is_refused_with_code_and_offset)
{
	int64_t live = wr_test_alloc_live();

	for (size_t i = 0; i < wr_array_size(bads); i++) {
		struct mb_bytes b = {0};
		struct wr_table table = {0};
		struct wr_gguf_info info;
		struct weir_error err = {0};
		uint64_t offset = bads[i].write(&b);

		EXPECT_EQ(parse(&b, 0, &table, &info, &err), bads[i].code)
		{
			TH_LOG("%s: %s", bads[i].what, err.message);
		}
		EXPECT_EQ(err.code, bads[i].code);
		EXPECT_EQ(err.offset, offset)
		{
			TH_LOG("%s: %s", bads[i].what, err.message);
		}
		EXPECT_NE(err.message[0], '\0');
		wr_table_fini(&table);
		mb_free(&b);
	}
	EXPECT_EQ(wr_test_alloc_live(), live);
}

TEST(a_file_cut_anywhere_is_an_error)
{
	struct mb_bytes b = {0};
	int64_t live = wr_test_alloc_live();

	mb_gguf_head(&b, 3, 2, ALL_VALUES + 2);
	all_values(&b);
	mb_gguf_pair_u32(&b, "general.alignment", 32);
	mb_gguf_pair_string(&b, "general.architecture", "qwen3vl");
	mb_gguf_tensor(&b, "a", 1, two, F32, 0);
	mb_gguf_tensor(&b, "b", 1, two, F16, 32);
	mb_gguf_align(&b, 32);
	mb_zeros(&b, 36);
	for (size_t n = 0; n <= b.n; n++) {
		struct mb_bytes cut = {.p = malloc(n != 0 ? n : 1), .n = n};
		struct wr_table table = {0};
		struct wr_gguf_info info;
		struct weir_error err = {0};
		int code;

		memcpy(cut.p, b.p, n);
		code = parse(&cut, 0, &table, &info, &err);
		EXPECT_EQ(code == 0, n == b.n);
		EXPECT_EQ(err.code, code);
		wr_table_fini(&table);
		free(cut.p);
	}
	EXPECT_EQ(wr_test_alloc_live(), live);
	mb_free(&b);
}

TEST_HARNESS_MAIN
