/* SPDX-License-Identifier: MIT */
/*
 * The JSON scanner: accepts what RFC 8259 does and nothing else. Where jansson is there, both are
 * asked about the same texts and about every text that differs from one of them in a byte.
 */
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "weights/json_scan.h"

#if HAVE_JANSSON
#include <jansson.h>
#endif

static const char *const right[] = {
	"0",
	"-0",
	"12",
	"-1.5",
	"1e5",
	"1E+5",
	"1.25e-7",
	"\"\"",
	"\"a\"",
	"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
	"\"\\u00e9\\uD83D\\uDE00\"",
	"\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x7f\"",
	"true",
	"false",
	"null",
	"[]",
	"{}",
	"[1,2,[3,{\"a\":[]}],\"x\"]",
	"{\"a\":1,\"b\":{\"c\":[true,null]},\"d\":\"e\"}",
	" \t\r\n[ \t\r\n1 \t\r\n, \t\r\n2 \t\r\n] \t\r\n",
};

static const char *const wrong[] = {
	"",
	" ",
	"01",
	"-",
	"+1",
	".5",
	"1.",
	"1e",
	"1e+",
	"0x1",
	"1 2",
	"\"",
	"\"\\\"",
	"\"\\a\"",
	"\"\\u00g0\"",
	"\"\\ud83d\"",
	"\"\\ude00\"",
	"\"\\ud83d\\u0041\"",
	"\"\t\"",
	"\"\x80\"",
	"\"\xe0\x80\x80\"",
	"\"\xc3\"",
	"tru",
	"True",
	"nulls",
	"[",
	"]",
	"[1",
	"[1,",
	"[1,]",
	"[,1]",
	"[1 2]",
	"{",
	"}",
	"{\"a\"}",
	"{\"a\":}",
	"{\"a\":1,}",
	"{a:1}",
	"{\"a\" 1}",
	"{\"a\":1 \"b\":2}",
	"{1:2}",
	"[}",
	"{]",
	"[1}",
	"{\"a\":1]",
	"[]]",
	"\xef\xbb\xbf[]",
};

/* Is the whole text one value? */
static bool scan(const char *text, size_t n)
{
	struct wr_json json;
	struct wr_src src;
	bool ok;

	wr_src_mem(&src, "test", text, n, 0, NULL);
	wr_json_init(&json, &src, 0, n);
	wr_json_skip(&json);
	wr_json_finish(&json);
	ok = json.code == 0;
	wr_json_fini(&json);
	return ok;
}

TEST(right_texts_are_taken)
{
	for (size_t i = 0; i < wr_array_size(right); i++) {
		EXPECT_TRUE(scan(right[i], strlen(right[i])))
		{
			TH_LOG("%s", right[i]);
		}
	}
}

TEST(wrong_texts_are_refused)
{
	for (size_t i = 0; i < wr_array_size(wrong); i++) {
		EXPECT_FALSE(scan(wrong[i], strlen(wrong[i])))
		{
			TH_LOG("%s", wrong[i]);
		}
	}
}

TEST(a_nul_byte_is_refused_wherever_it_stands)
{
	static const char text[] = "{\"a\":[1,true,\"b\"]}";
	char copy[sizeof(text)];

	for (size_t at = 0; at + 1 < sizeof(text); at++) {
		memcpy(copy, text, sizeof(text));
		copy[at] = '\0';
		EXPECT_FALSE(scan(copy, sizeof(text) - 1));
	}
}

#if HAVE_JANSSON
/*
 * jansson refuses \u0000 in keys and numbers that overflow a double; it takes a NUL byte for the end,
 * so that byte is left out below.
 */
static bool theirs(const char *text, size_t n)
{
	json_error_t error;
	json_t *value = json_loadb(
		text, n, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
	bool ok = value != NULL || json_error_code(&error) == json_error_numeric_overflow ||
		  json_error_code(&error) == json_error_null_byte_in_key;

	json_decref(value);
	return ok;
}
#endif

TEST(jansson_says_the_same_of_every_text_one_byte_away)
{
#if HAVE_JANSSON
	uint32_t asked = 0;

	for (size_t i = 0; i < wr_array_size(right) + wr_array_size(wrong); i++) {
		const char *from =
			i < wr_array_size(right) ? right[i] : wrong[i - wr_array_size(right)];
		size_t n = strlen(from);
		char *text = strdup(from);

		for (size_t at = 0; at < n; at++) {
			for (int c = 1; c < 256; c++) {
				text[at] = (char)c;
				ASSERT_EQ(scan(text, n), theirs(text, n))
				{
					TH_LOG("'%s' with byte 0x%02x at %zu", from, c, at);
				}
				asked++;
			}
			text[at] = from[at];
			ASSERT_EQ(scan(text, at), theirs(text, at));
		}
		free(text);
	}
	EXPECT_GT(asked, 50000);
#else
	SKIP(return, "no jansson to compare with");
#endif
}

/* Windows of a file end anywhere; a source that hands out n bytes at a time has every such end. */
TEST(texts_read_from_a_file_in_windows_are_the_same)
{
	char path[] = "/tmp/weir-json-XXXXXX";
	/* One value that is longer than three windows, with an escape or sequence at every phase. */
	size_t n = 900 * 1024, at = 0, kept = 0;
	char *text = malloc(n + 64);
	struct wr_json json;
	struct wr_src src;
	struct stat st;
	int fd = mkstemp(path);

	ASSERT_NE(text, NULL);
	ASSERT_GE(fd, 0);
	text[at++] = '"';
	while (at < n) {
		static const char *const pieces[] = {"\\u00e9", "\xf0\x9f\x98\x80",
						     "\\ud83d\\ude00", "x", "\\n"};
		static const size_t bytes[] = {2, 4, 4, 1, 1};
		size_t k = (at * 7 + at / 13) % 5;

		memcpy(text + at, pieces[k], strlen(pieces[k]));
		at += strlen(pieces[k]);
		kept += bytes[k];
	}
	text[at++] = '"';
	ASSERT_EQ(write(fd, text, at), (ssize_t)at);
	close(fd);
	ASSERT_EQ(wr_src_open(&src, path, &st, NULL), 0);
	wr_json_init(&json, &src, 0, src.bytes);
	EXPECT_TRUE(wr_json_string(&json, n * 2));
	EXPECT_EQ(json.text_bytes, kept);
	EXPECT_TRUE(wr_json_finish(&json));
	wr_json_fini(&json);
	wr_src_fini(&src);
	unlink(path);
	free(text);
}

TEST(depth_is_bounded_where_serde_json_bounds_it)
{
	char text[2 * WR_JSON_DEPTH + 3];

	for (size_t depth = WR_JSON_DEPTH; depth <= WR_JSON_DEPTH + 1; depth++) {
		memset(text, '[', depth);
		memset(text + depth, ']', depth);
		EXPECT_EQ(scan(text, 2 * depth), depth == WR_JSON_DEPTH);
	}
}

struct number {
	const char *text;
	int code;
	uint64_t value;
	bool maybe;
};

static const struct number numbers[] = {
	{"0", 0, 0, true},
	{"18446744073709551615", 0, UINT64_MAX, true},
	{"18446744073709551616", -EOVERFLOW, 0, false},
	{"99999999999999999999999", -EOVERFLOW, 0, false},
	{"-1", -EBADMSG, 0, false},
	{"1.0", -EBADMSG, 0, false},
	{"1e3", -EBADMSG, 0, false},
	{"\"1\"", -EBADMSG, 0, false},
	{"null", -EBADMSG, 0, false},
};

TEST(whole_numbers_are_exact_and_nothing_else_is_one)
{
	for (size_t i = 0; i < wr_array_size(numbers); i++) {
		const struct number *n = &numbers[i];
		struct wr_json json;
		struct wr_src src;
		uint64_t value = 0;
		bool is = true;

		wr_src_mem(&src, "test", n->text, strlen(n->text), 0, NULL);
		wr_json_init(&json, &src, 0, src.bytes);
		EXPECT_EQ(wr_json_u64(&json, &value), n->code == 0);
		EXPECT_EQ(json.code, n->code);
		EXPECT_EQ(value, n->value);
		wr_json_init(&json, &src, 0, src.bytes);
		EXPECT_TRUE(wr_json_maybe_u64(&json, &is, &value));
		EXPECT_EQ(is, n->maybe);
		EXPECT_TRUE(wr_json_finish(&json));
		wr_json_fini(&json);
	}
}

TEST(after_a_fault_nothing_more_is_read)
{
	struct weir_error err = {0};
	struct wr_json json;
	struct wr_src src;
	uint64_t value = 7;
	bool first = true;

	wr_src_mem(&src, "test", "[1,x,2]", 7, 0, &err);
	wr_json_init(&json, &src, 0, 7);
	EXPECT_TRUE(wr_json_open(&json, '['));
	EXPECT_TRUE(wr_json_next(&json, ']', &first));
	EXPECT_TRUE(wr_json_u64(&json, &value));
	EXPECT_TRUE(wr_json_next(&json, ']', &first));
	EXPECT_FALSE(wr_json_u64(&json, &value));
	EXPECT_EQ(err.offset, 3);
	EXPECT_FALSE(wr_json_next(&json, ']', &first));
	EXPECT_FALSE(wr_json_skip(&json));
	EXPECT_FALSE(wr_json_string(&json, 10));
	EXPECT_FALSE(wr_json_finish(&json));
	EXPECT_EQ(err.offset, 3);
	EXPECT_EQ(value, 1);
	wr_json_fini(&json);
}

TEST_HARNESS_MAIN
