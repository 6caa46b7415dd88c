/* SPDX-License-Identifier: MIT */
/*
 * The safetensors parser on bytes: what the format's own reader takes is taken, what it refuses is
 * refused, with code, offset and a sentence. The tables are the list of both.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "weights/model_builder.h"
#include "weights/weights_internal.h"

#define ENTRY(name, rest) "\"" name "\":{" rest "}"
#define F32_2		  "\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"

static int parse(const struct mb_bytes *b, uint64_t file_bytes, struct wr_table *table,
		 struct weir_error *err)
{
	uint64_t data = 0;
	struct wr_src src;
	int code;

	wr_src_mem(&src, "test", b->p, b->n, file_bytes, err);
	code = wr_st_parse(&src, table, &data);
	wr_src_fini(&src);
	return code;
}

/* ---- taken -------------------------------------------------------------------------------- */

struct good {
	const char *what;
	const char *header;
	size_t data_bytes;
	uint32_t nr;
};

static const struct good goods[] = {
	{"no tensor", "{}", 0, 0},
	{"blanks behind", "{}      ", 0, 0},
	{"all kinds of blank behind", "{} \t\n\r", 0, 0},
	{"blanks inside", "{ \"a\" : { " F32_2 " } , \"__metadata__\" : { } }", 8, 1},
	{"one tensor", "{" ENTRY("a", F32_2) "}", 8, 1},
	{"members in another order",
	 "{" ENTRY("a", "\"data_offsets\":[0,8],\"shape\":[2],\"dtype\":\"F32\"") "}", 8, 1},
	{"a scalar", "{" ENTRY("a", "\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]") "}", 4,
	 1},
	{"an empty tensor",
	 "{" ENTRY("a", "\"dtype\":\"F32\",\"shape\":[3,0],\"data_offsets\":[0,0]") "}", 0, 1},
	{"an empty tensor between two",
	 "{" ENTRY("a", F32_2) "," ENTRY(
		 "e",
		 "\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[8,"
		 "8]") "," ENTRY("b", "\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[8,9]") "}",
	 9, 3},
	{"an empty dimension before great ones",
	 "{" ENTRY("a", "\"dtype\":\"F32\",\"shape\":[0,9223372036854775808,4],\"data_offsets\":[0,"
			"0]") "}",
	 0, 1},
	{"entries in another order than the data",
	 "{" ENTRY("b", "\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]") "," ENTRY(
		 "a", F32_2) "}",
	 12, 2},
	{"metadata first", "{\"__metadata__\":{\"format\":\"pt\"}," ENTRY("a", F32_2) "}", 8, 1},
	{"metadata last", "{" ENTRY("a", F32_2) ",\"__metadata__\":{\"a\":\"\\u00e9\\n\"}}", 8, 1},
	{"metadata null", "{\"__metadata__\":null," ENTRY("a", F32_2) "}", 8, 1},
	{"a key of metadata twice", "{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, 0},
	{"members that are not known",
	 "{" ENTRY("a", F32_2 ",\"x\":{\"y\":[1,-2.5e+3,true,false,null,[],{}]},\"z\":0") "}", 8,
	 1},
	{"eight dimensions",
	 "{" ENTRY("a", "\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,2],\"data_offsets\":[0,2]") "}",
	 2, 1},
	{"half bytes",
	 "{" ENTRY("a", "\"dtype\":\"F4\",\"shape\":[2,3],\"data_offsets\":[0,3]") "}", 3, 1},
	{"three quarters of bytes",
	 "{" ENTRY("a", "\"dtype\":\"F6_E2M3\",\"shape\":[4],\"data_offsets\":[0,3]") "}", 3, 1},
	{"names of any script", "{" ENTRY("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", F32_2) "}", 8, 1},
	{"names with escapes", "{" ENTRY("\\u0061\\/\\\\\\\"\\ud83d\\ude00", F32_2) "}", 8, 1},
	{"an empty name", "{" ENTRY("", F32_2) "}", 8, 1},
	{"a name like a member", "{" ENTRY("dtype", F32_2) "}", 8, 1},
};

TEST(what_the_official_reader_takes_is_taken)
{
	for (size_t i = 0; i < wr_array_size(goods); i++) {
		struct mb_bytes b = {0};
		struct wr_table table = {0};
		struct weir_error err = {0};

		mb_st(&b, goods[i].header, goods[i].data_bytes);
		EXPECT_EQ(parse(&b, 0, &table, &err), 0)
		{
			TH_LOG("%s: %s at %llu", goods[i].what, err.message,
			       (unsigned long long)err.offset);
		}
		EXPECT_EQ(table.nr, goods[i].nr);
		wr_table_fini(&table);
		mb_free(&b);
	}
}

TEST(every_type_is_read_with_its_size)
{
	static const char *const names[] = {
		"BOOL", "U8",	"I8",	   "F8_E4M3", "F8_E5M2",     "F8_E8M0",	   "I16", "U16",
		"F16",	"BF16", "I32",	   "U32",     "F32",	     "F64",	   "I64", "U64",
		"C64",	"F4",	"F6_E2M3", "F6_E3M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"};
	static const uint32_t bits[] = {8,  8,	8,  8,	8,  8,	16, 16, 16, 16, 32,
					32, 32, 64, 64, 64, 64, 4,  6,	6,  8,	8};

	for (size_t i = 0; i < wr_array_size(names); i++) {
		struct mb_bytes b = {0};
		struct wr_table table = {0};
		char header[256];

		snprintf(header, sizeof(header),
			 "{\"a\":{\"dtype\":\"%s\",\"shape\":[4,2],\"data_offsets\":[0,%u]}}",
			 names[i], bits[i]);
		mb_st(&b, header, bits[i]);
		ASSERT_EQ(parse(&b, 0, &table, NULL), 0)
		{
			TH_LOG("%s", names[i]);
		}
		EXPECT_STREQ(weir_dtype_name((int)table.entry[0].t.dtype), names[i]);
		EXPECT_EQ(table.entry[0].t.bytes, bits[i]);
		wr_table_fini(&table);
		mb_free(&b);
	}
}

TEST(entries_come_out_by_offset_with_names_decoded)
{
	struct mb_bytes b = {0};
	struct wr_table table = {0};
	uint32_t a, c;

	mb_st(&b,
	      "{" ENTRY(
		      "z\\u00e9",
		      "\"dtype\":\"U8\",\"shape\":[2,3],\"data_offsets\":[8,14]") "," ENTRY("a",
											    F32_2) "}",
	      14);
	ASSERT_EQ(parse(&b, 0, &table, NULL), 0);
	ASSERT_EQ(table.nr, 2);
	a = wr_names_find(&table.names, "a", 1);
	c = wr_names_find(&table.names, "z\xc3\xa9", 3);
	EXPECT_EQ(table.entry[0].name, a);
	EXPECT_EQ(table.entry[1].name, c);
	EXPECT_EQ(table.entry[0].t.offset, b.n - 14);
	EXPECT_EQ(table.entry[1].t.offset, b.n - 6);
	EXPECT_EQ(table.entry[1].t.nr_rows, 2);
	EXPECT_EQ(table.entry[1].t.row_bytes, 3);
	/* Where the name stands in the header. */
	EXPECT_EQ(b.p[table.entry[0].header_at], '"');
	EXPECT_EQ(b.p[table.entry[0].header_at + 1], 'a');
	wr_table_fini(&table);
	mb_free(&b);
}

/* ---- refused ------------------------------------------------------------------------------ */

/* The offset is that of the last place of @at in the header. */
struct bad {
	const char *what;
	const char *header;
	size_t data_bytes;
	int code;
	const char *at;
};

#define DIMS_9	"[1,1,1,1,1,1,1,1,1]"
#define DIMS_16 "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,"
#define DIMS_65 "[" DIMS_16 DIMS_16 DIMS_16 DIMS_16 "1]"
#define DEEP_8	"[[[[[[[["
#define DEEP_64 DEEP_8 DEEP_8 DEEP_8 DEEP_8 DEEP_8 DEEP_8 DEEP_8 DEEP_8

static const struct bad bads[] = {
	/* JSON */
	{"blank in front", " {}", 0, -EBADMSG, " {}"},
	{"an array", "[]", 0, -EBADMSG, "[]"},
	{"no end", "{\"a\"", 0, -EBADMSG, NULL},
	{"something behind", "{} {}", 0, -EBADMSG, "{}"},
	{"a NUL behind the object", "{}\\u0000", 0, -EBADMSG, "\\"},
	{"a comma too many", "{" ENTRY("a", F32_2) ",}", 8, -EBADMSG, "}"},
	{"a comma too few", "{" ENTRY("a", F32_2) "\"b\":1}", 8, -EBADMSG, "\"b\""},
	{"no colon", "{\"a\" {}}", 0, -EBADMSG, "{}}"},
	{"a name that is no string", "{1:{}}", 0, -EBADMSG, "1:"},
	{"an entry that is no object", "{\"a\":1}", 0, -EBADMSG, "1}"},
	{"an entry as an array", "{\"a\":[\"F32\",[2],[0,8]]}", 8, -EBADMSG, "[\"F32"},
	{"an escape that is none", "{\"\\x\":1}", 0, -EBADMSG, "\\x"},
	{"half a pair of surrogates", "{\"\\ud800\":1}", 0, -EBADMSG, "\\ud800"},
	{"the second half alone", "{\"\\udc00\":1}", 0, -EBADMSG, "\\udc00"},
	{"a first half twice", "{\"\\ud800\\ud800\":1}", 0, -EBADMSG, "\\ud800\\ud800"},
	{"a short escape", "{\"\\u12\"}", 0, -EBADMSG, "\\u12"},
	{"a control character", "{\"a\n\":1}", 0, -EBADMSG, "\n"},
	{"a byte that is not UTF-8", "{\"a\xff\":1}", 0, -EBADMSG, "\xff"},
	{"a long form of UTF-8", "{\"\xc0\xaf\":1}", 0, -EBADMSG, "\xc0"},
	{"a surrogate in UTF-8", "{\"\xed\xa0\x80\":1}", 0, -EBADMSG, "\xed"},
	{"beyond Unicode", "{\"\xf4\x90\x80\x80\":1}", 0, -EBADMSG, "\xf4"},
	{"UTF-8 cut off", "{\"\xe2\x82\":1}", 0, -EBADMSG, "\xe2"},
	{"not UTF-8 in a member that is not known", "{" ENTRY("a", "\"x\":\"\xff\"," F32_2) "}", 8,
	 -EBADMSG, "\xff"},
	{"nested too deep", "{\"a\":{\"x\":" DEEP_64 DEEP_64 "1", 0, -EBADMSG, "[[[1"},
	{"closed by the wrong bracket", "{\"a\":{\"x\":[1}}}", 0, -EBADMSG, "}}}"},
	{"a word that is none", "{\"a\":{\"x\":nul}}", 0, -EBADMSG, "nul}"},
	/* entries */
	{"no dtype", "{" ENTRY("a", "\"shape\":[2],\"data_offsets\":[0,8]") "}", 8, -EBADMSG, "}"},
	{"no shape", "{" ENTRY("a", "\"dtype\":\"F32\",\"data_offsets\":[0,8]") "}", 8, -EBADMSG,
	 "}"},
	{"no offsets", "{" ENTRY("a", "\"dtype\":\"F32\",\"shape\":[2]") "}", 8, -EBADMSG, "}"},
	{"dtype twice", "{" ENTRY("a", F32_2 ",\"dtype\":\"F32\"") "}", 8, -EBADMSG,
	 "\"dtype\":\"F32\"}"},
	{"shape twice", "{" ENTRY("a", F32_2 ",\"shape\":[2]") "}", 8, -EBADMSG, "\"shape\":[2]}"},
	{"a type that is not known",
	 "{" ENTRY("a", "\"dtype\":\"Q9\",\"shape\":[2],\"data_offsets\":[0,8]") "}", 8,
	 -EOPNOTSUPP, "\"Q9\""},
	{"a type with a NUL behind",
	 "{" ENTRY("a", "\"dtype\":\"F32\\u0000\",\"shape\":[2],\"data_offsets\":[0,8]") "}", 8,
	 -EOPNOTSUPP, "\"F32"},
	{"a type that is a number",
	 "{" ENTRY("a", "\"dtype\":7,\"shape\":[2],\"data_offsets\":[0,8]") "}", 8, -EBADMSG, "7"},
	{"a dimension below 0",
	 "{" ENTRY("a", "\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]") "}", 8, -EBADMSG,
	 "-2"},
	{"a dimension with a fraction",
	 "{" ENTRY("a", "\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]") "}", 8,
	 -EBADMSG, "2.0"},
	{"a dimension with an exponent",
	 "{" ENTRY("a", "\"dtype\":\"F32\",\"shape\":[2e0],\"data_offsets\":[0,8]") "}", 8,
	 -EBADMSG, "2e0"},
	{"a dimension with a leading 0",
	 "{" ENTRY("a", "\"dtype\":\"F32\",\"shape\":[02],\"data_offsets\":[0,8]") "}", 8, -EBADMSG,
	 "02"},
	{"a dimension of 2^64",
	 "{" ENTRY("a",
		   "\"dtype\":\"F32\",\"shape\":[18446744073709551616],\"data_offsets\":[0,8]") "}",
	 8, -EOVERFLOW, "18446744073709551616"},
	{"a dimension as text",
	 "{" ENTRY("a", "\"dtype\":\"F32\",\"shape\":[\"2\"],\"data_offsets\":[0,8]") "}", 8,
	 -EBADMSG, "\"2\""},
	{"9 dimensions",
	 "{" ENTRY("a", "\"dtype\":\"U8\",\"shape\":" DIMS_9 ",\"data_offsets\":[0,1]") "}", 1,
	 -EFBIG, "1],\"data"},
	{"65 dimensions", "{\"a\":{\"shape\":" DIMS_65 "}}", 1, -EFBIG, NULL},
	{"one offset", "{" ENTRY("a", "\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8]") "}",
	 8, -EBADMSG, "[8]"},
	{"three offsets",
	 "{" ENTRY("a", "\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]") "}", 8,
	 -EBADMSG, "[0,8,8]"},
	{"offsets turned around",
	 "{" ENTRY("a", "\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]") "}", 8, -EBADMSG,
	 "[8,0]"},
	{"offsets of 2^63",
	 "{" ENTRY("a", "\"dtype\":\"F32\",\"shape\":[2],"
			"\"data_offsets\":[9223372036854775808,9223372036854775816]") "}",
	 8, -ENODATA, "\"a\""},
	{"offsets that wrap",
	 "{" ENTRY("a", "\"dtype\":\"F32\",\"shape\":[2],"
			"\"data_offsets\":[18446744073709551600,18446744073709551608]") "}",
	 8, -EOVERFLOW, "\"a\""},
	{"a shape that wraps",
	 "{" ENTRY(
		 "a",
		 "\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]") "}",
	 8, -EOVERFLOW, "\"a\""},
	{"a size that wraps",
	 "{" ENTRY("a",
		   "\"dtype\":\"F64\",\"shape\":[2305843009213693952],\"data_offsets\":[0,8]") "}",
	 8, -EOVERFLOW, "\"a\""},
	{"a size that is not the shape's",
	 "{" ENTRY("a", "\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]") "}", 8, -EBADMSG,
	 "\"a\""},
	{"half a byte", "{" ENTRY("a", "\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]") "}",
	 2, -EBADMSG, "\"a\""},
	{"a NUL in a name", "{" ENTRY("a\\u0000b", F32_2) "}", 8, -EBADMSG, "\"a\\u"},
	/* all together */
	{"a name twice",
	 "{" ENTRY("a", "\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]") "," ENTRY(
		 "a", "\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]") "}",
	 0, -EBADMSG, "\"a\""},
	{"a name twice, once with escapes",
	 "{" ENTRY("a", "\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]") "," ENTRY(
		 "\\u0061", "\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]") "}",
	 0, -EBADMSG, "\"\\u0061"},
	{"a hole at the beginning",
	 "{" ENTRY("a", "\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]") "}", 8, -EBADMSG,
	 "\"a\""},
	{"a hole between two",
	 "{" ENTRY("a", F32_2) "," ENTRY(
		 "b", "\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[9,10]") "}",
	 10, -EBADMSG, "\"b\""},
	{"an overlap",
	 "{" ENTRY("a", F32_2) "," ENTRY(
		 "b", "\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[7,9]") "}",
	 9, -EBADMSG, "\"b\""},
	{"the same bytes twice", "{" ENTRY("a", F32_2) "," ENTRY("b", F32_2) "}", 8, -EBADMSG,
	 "\"b\""},
	{"an empty tensor inside another",
	 "{" ENTRY("a", F32_2) "," ENTRY(
		 "b", "\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[4,4]") "}",
	 8, -EBADMSG, "\"b\""},
	{"data cut off", "{" ENTRY("a", F32_2) "}", 7, -ENODATA, "\"a\""},
	{"metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, -EBADMSG,
	 "\"__metadata__"},
	{"metadata with a number", "{\"__metadata__\":{\"a\":1}}", 0, -EBADMSG, "1"},
	{"metadata with an object", "{\"__metadata__\":{\"a\":{}}}", 0, -EBADMSG, "{}}}"},
	{"metadata as a list", "{\"__metadata__\":[]}", 0, -EBADMSG, "[]"},
	{"metadata like a tensor", "{\"__metadata__\":{" F32_2 "}}", 8, -EBADMSG, "[2]"},
};

static uint64_t last_place(const char *header, const char *at)
{
	const char *found = NULL, *p = header;

	while ((p = strstr(p, at)) != NULL)
		found = p++;
	return found != NULL ? 8 + (uint64_t)(found - header) : 0;
}

TEST(what_is_malformed_is_refused_with_code_and_offset)
{
	int64_t live = wr_test_alloc_live();

	for (size_t i = 0; i < wr_array_size(bads); i++) {
		const struct bad *bad = &bads[i];
		struct mb_bytes b = {0};
		struct wr_table table = {0};
		struct weir_error err = {0};

		mb_st(&b, bad->header, bad->data_bytes);
		EXPECT_EQ(parse(&b, 0, &table, &err), bad->code)
		{
			TH_LOG("%s: %s", bad->what, err.message);
		}
		EXPECT_EQ(err.code, bad->code);
		EXPECT_NE(err.message[0], '\0');
		EXPECT_STREQ(err.file, "test");
		if (bad->at != NULL) {
			EXPECT_EQ(err.offset, last_place(bad->header, bad->at))
			{
				TH_LOG("%s: %s", bad->what, err.message);
			}
		}
		wr_table_fini(&table);
		mb_free(&b);
	}
	EXPECT_EQ(wr_test_alloc_live(), live);
}

struct head {
	const char *what;
	uint64_t length;
	const char *text;
	uint64_t file_bytes;
	int code;
	uint64_t offset;
};

static const struct head heads[] = {
	{"no bytes", 0, NULL, 0, -ENODATA, 0},
	{"a length of 0", 0, "", 0, -EBADMSG, 0},
	{"a length of 1", 1, "{", 0, -EBADMSG, 0},
	{"a length beyond the file", 100, "{}", 0, -ENODATA, 0},
	{"a length of 2^63", UINT64_C(1) << 63, "{}", 0, -EFBIG, 0},
	{"a length of 2^64 - 8", UINT64_MAX - 7, "{}", 0, -EFBIG, 0},
	{"a length above 100 MB", 100000001, "{}", 200000000, -EFBIG, 0},
	{"a length of 100 MB in a longer file that is not here", 100000000, "{}", 200000000,
	 -ENODATA, 10},
	{"a byte too many", 2, "{}x", 0, -EBADMSG, 10},
};

TEST(the_length_of_the_header_is_not_believed)
{
	for (size_t i = 0; i < wr_array_size(heads); i++) {
		const struct head *h = &heads[i];
		struct mb_bytes b = {0};
		struct wr_table table = {0};
		struct weir_error err = {0};

		if (h->text != NULL) {
			mb_u64(&b, h->length);
			mb_put(&b, h->text, strlen(h->text));
		} else {
			mb_text(&b, "%s", "1234567");
		}
		EXPECT_EQ(parse(&b, h->file_bytes, &table, &err), h->code)
		{
			TH_LOG("%s: %s", h->what, err.message);
		}
		EXPECT_EQ(err.offset, h->offset)
		{
			TH_LOG("%s: %s", h->what, err.message);
		}
		wr_table_fini(&table);
		mb_free(&b);
	}
}

TEST(a_name_above_the_limit_is_refused_and_one_at_it_is_taken)
{
	for (size_t n = WR_TENSOR_NAME_MOST; n <= WR_TENSOR_NAME_MOST + 1; n++) {
		struct mb_bytes json = {0}, b = {0};
		struct wr_table table = {0};
		int code;

		mb_text(&json, "{\"");
		for (size_t i = 0; i < n; i++)
			mb_text(&json, "n");
		mb_text(&json, "\":{" F32_2 "}}");
		mb_put(&json, "", 1);
		mb_st(&b, (const char *)json.p, 8);
		code = parse(&b, 0, &table, NULL);
		EXPECT_EQ(code, n == WR_TENSOR_NAME_MOST ? 0 : -EFBIG);
		wr_table_fini(&table);
		mb_free(&json);
		mb_free(&b);
	}
}

TEST(a_file_cut_anywhere_is_an_error)
{
	struct mb_bytes b = {0};
	int64_t live = wr_test_alloc_live();

	mb_st(&b,
	      "{\"__metadata__\":{\"a\\u00e9\":\"\xc3\xa9\"}," ENTRY("a", F32_2) "," ENTRY(
		      "b", "\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[8,9]") "}",
	      9);
	for (size_t n = 0; n <= b.n; n++) {
		struct mb_bytes cut = {.p = malloc(n + 1), .n = n};
		struct wr_table table = {0};
		struct weir_error err = {0};
		int code;

		/* Exactly n bytes in a block of their own, so that a sanitizer sees one more. */
		cut.p = realloc(cut.p, n != 0 ? n : 1);
		memcpy(cut.p, b.p, n);
		code = parse(&cut, 0, &table, &err);
		EXPECT_EQ(code == 0, n == b.n);
		EXPECT_EQ(err.code, code);
		wr_table_fini(&table);
		/* The same bytes in a file that claims to go on. */
		code = parse(&cut, b.n, &table, &err);
		EXPECT_EQ(code == 0, n >= b.n - 9);
		wr_table_fini(&table);
		free(cut.p);
	}
	EXPECT_EQ(wr_test_alloc_live(), live);
	mb_free(&b);
}

TEST_HARNESS_MAIN
