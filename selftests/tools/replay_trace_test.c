/* SPDX-License-Identifier: MIT */
/*
 * Reading traces: the four formats, packed and plain, and everything that is no trace, of which
 * the error says the line.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if HAVE_ZLIB
#include <zlib.h>
#endif
#if HAVE_ZSTD
#include <zstd.h>
#endif

#include "base/util.h"
#include "replay_trace.h"

FIXTURE(trace)
{
	struct wr_trace t;
	struct weir_error err;
};

FIXTURE_SETUP(trace)
{
	memset(self, 0, sizeof(*self));
}

FIXTURE_TEARDOWN(trace)
{
	wr_trace_close(&self->t);
}

static int parse(FIXTURE_DATA(trace) * self, const char *text)
{
	wr_trace_close(&self->t);
	memset(&self->err, 0, sizeof(self->err));
	return wr_trace_open_mem("mem", text, strlen(text), 100, 0, &self->t, &self->err);
}

TEST_F(trace, our_own_format_has_times_classes_names_and_sizes)
{
	ASSERT_EQ(parse(self, "# weir trace 1\n"
			      "# a comment\n"
			      "10 weights blk.0.ffn 4096\n"
			      "\n"
			      "20 kv block:7 100\r\n"
			      "30 weights\tblk.0.ffn  4096\n"
			      "30 other blk.1.ffn 0"),
		  0);
	EXPECT_STREQ(self->t.format, "weir");
	EXPECT_EQ(self->t.nr_refs, 4u);
	EXPECT_EQ(self->t.nr_objects, 3u);
	EXPECT_EQ(self->t.refs[2], 0u);
	EXPECT_EQ(self->t.objects[0].kind, (uint32_t)WR_TRACE_WEIGHTS);
	EXPECT_EQ(self->t.objects[1].kind, (uint32_t)WR_TRACE_KV);
	EXPECT_EQ(self->t.objects[1].bytes, 100u);
	/* Nothing has no size. */
	EXPECT_EQ(self->t.objects[2].bytes, 1u);
	EXPECT_EQ(self->t.object_bytes, 4197u);
	EXPECT_EQ(self->t.ref_bytes, 8293u);
	EXPECT_FALSE(self->t.is_uniform);
	EXPECT_FALSE(weir_key_equal(self->t.objects[0].key, self->t.objects[2].key));
}

TEST_F(trace, a_size_that_changes_is_counted_and_the_first_one_stays)
{
	ASSERT_EQ(parse(self, "# weir trace 1\n1 kv a 10\n2 kv a 20\n3 kv a 10\n"), 0);
	EXPECT_EQ(self->t.nr_resized, 1u);
	EXPECT_EQ(self->t.object_bytes, 10u);
	EXPECT_TRUE(self->t.is_uniform);
}

TEST_F(trace, routes_of_experts_have_their_sizes_in_the_head)
{
	ASSERT_EQ(parse(self, "# route_trace v1\n"
			      "# model=x n_layer=2\n"
			      "# layer=0 expert_bytes=3000 dense_bytes=9\n"
			      "turn,phase,step,layer,slot,expert,weight,residency,expert_bytes\n"
			      "0,0,0,0,0,5,0.1,0,3000\n"
			      "0,1,1,0,0,6,0.1,1,0\n"
			      "0,1,1,1,0,6,0.1,1,0\n"
			      "0,1,2,0,0,6,0.1,1,2000\n"),
		  0);
	EXPECT_STREQ(self->t.format, "route");
	/* What comes before the tokens, phase 0, does not count. */
	EXPECT_EQ(self->t.nr_refs, 3u);
	EXPECT_EQ(self->t.nr_objects, 2u);
	EXPECT_EQ(self->t.objects[0].bytes, 3000u);
	EXPECT_EQ(self->t.objects[1].bytes, 100u);
}

TEST_F(trace, blocks_of_a_kv_cache_come_as_json)
{
	ASSERT_EQ(parse(self, "{\"timestamp\": 1, \"hash_ids\": [1, 2, 3]}\n"
			      "{\"hash_ids\": [1, 2, 9], \"timestamp\": 5}\n"
			      "{\"hash_ids\": []}\n"),
		  0);
	EXPECT_STREQ(self->t.format, "mooncake");
	EXPECT_EQ(self->t.nr_refs, 6u);
	EXPECT_EQ(self->t.nr_objects, 4u);
	EXPECT_EQ(self->t.object_bytes, 400u);
	EXPECT_TRUE(self->t.is_uniform);
}

TEST_F(trace, runs_of_blocks_are_expanded)
{
	ASSERT_EQ(parse(self, "10 3 0 0\n11 1 0 1\n100 0 0 2\n"), 0);
	EXPECT_STREQ(self->t.format, "arc");
	EXPECT_EQ(self->t.nr_refs, 4u);
	EXPECT_EQ(self->t.nr_objects, 3u);
	EXPECT_EQ(self->t.refs[3], 1u);
}

TEST_F(trace, what_is_malformed_is_refused_with_its_line)
{
	static const struct {
		const char *text;
		int code;
		const char *line;
	} cases[] = {
		{"# weir trace 1\n1 weights a\n", -EBADMSG, "line 2:"},
		{"# weir trace 1\n1 weights a 1\n1 weights a 1 1\n", -EBADMSG, "line 3:"},
		{"# weir trace 1\n1 food a 1\n", -EBADMSG, "line 2:"},
		{"# weir trace 1\nx kv a 1\n", -EBADMSG, "line 2:"},
		{"# weir trace 1\n1 kv a -1\n", -EBADMSG, "line 2:"},
		{"# weir trace 1\n1 kv a 99999999999999999999\n", -EBADMSG, "line 2:"},
		{"# weir trace 1\n1 kv a 18446744073709551615\n", -EOVERFLOW, "line 2:"},
		{"# weir trace 1\n", -ENODATA, ""},
		{"", -ENODATA, ""},
		{"hello\n", -EBADMSG, "line 1:"},
		{"1 1 0\n", -EBADMSG, "line 1:"},
		{"1 -1 0 0\n", -EBADMSG, "line 1:"},
		{"18446744073709551615 2 0 0\n", -EOVERFLOW, "line 1:"},
		{"# route_trace v1\n1,1,1\n", -EBADMSG, "line 2:"},
		{"# route_trace v1\n0,1,0,1024,0,6,0.1,1,0\n", -EBADMSG, "line 2:"},
		{"# route_trace v1\n0,1,0,0,0,65536,0.1,1,0\n", -EBADMSG, "line 2:"},
		{"# route_trace v1\n0,1,0,0,0,6,0.1,1,0,0\n", -EBADMSG, "line 2:"},
		{"{\"hash_ids\": 1}\n", -EBADMSG, "line 1:"},
		{"{\"hash_ids\": [1, \"a\"]}\n", -EBADMSG, "line 1:"},
		{"{\"hash_ids\": [1]}\n{\"hash_ids\": [1]\n", -EBADMSG, "line 2:"},
		{"{}\n", -EBADMSG, "line 1:"},
	};

	for (size_t i = 0; i < wr_array_size(cases); i++) {
		EXPECT_EQ(parse(self, cases[i].text), cases[i].code)
		TH_LOG("%s", cases[i].text);
		EXPECT_NE(strstr(self->err.message, cases[i].line), NULL)
		TH_LOG("%s: %s", cases[i].text, self->err.message);
		EXPECT_EQ(self->t.nr_refs, 0u);
	}
}

TEST_F(trace, zero_bytes_and_endless_lines_and_huge_runs_are_refused)
{
	static const char zero[] = "# weir trace 1\n1 kv a\0b 1\n";
	size_t size = WR_TRACE_MAX_LINE + 10;
	char *line = malloc(size);

	EXPECT_EQ(wr_trace_open_mem("mem", zero, sizeof(zero) - 1, 1, 0, &self->t, &self->err),
		  -EBADMSG);
	ASSERT_NE(line, NULL);
	memset(line, '#', size);
	EXPECT_EQ(wr_trace_open_mem("mem", line, size, 1, 0, &self->t, &self->err), -EFBIG);
	free(line);
	EXPECT_EQ(wr_trace_open_mem("mem", "0 99999999999 0 0\n", 18, 1, 100000, &self->t,
				    &self->err),
		  -EFBIG);
	EXPECT_EQ(parse(self, "0 99999999999 0 0\n"), -EFBIG);
	EXPECT_NE(strstr(self->err.message, "line 1:"), NULL);
}

TEST_F(trace, sizes_that_add_up_beyond_64_bits_are_refused)
{
	const uint64_t nr = 70000;
	size_t used = 0, size = nr * 40;
	char *text = malloc(size);

	ASSERT_NE(text, NULL);
	used += (size_t)snprintf(text, size, "# weir trace 1\n");
	for (uint64_t i = 0; i < nr; i++)
		used += (size_t)snprintf(text + used, size - used, "1 kv a%llu %llu\n",
					 (unsigned long long)i,
					 (unsigned long long)WR_TRACE_MAX_BYTES);
	EXPECT_EQ(parse(self, text), -EOVERFLOW);
	free(text);
}

#if HAVE_ZLIB
/* gzip: a head and a tail around what compress2() gives. */
static size_t pack_gzip(char *to, size_t room, const char *text)
{
	z_stream z = {0};
	size_t size;

	deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
	z.next_in = (Bytef *)(uintptr_t)text;
	z.avail_in = (uInt)strlen(text);
	z.next_out = (Bytef *)to;
	z.avail_out = (uInt)room;
	deflate(&z, Z_FINISH);
	size = room - z.avail_out;
	deflateEnd(&z);
	return size;
}
#endif

#if HAVE_ZLIB || HAVE_ZSTD
static void expect_packed(struct __test_metadata *_metadata, FIXTURE_DATA(trace) * self,
			  const char *packed, size_t size)
{
	char *twice = malloc(2 * size);

	ASSERT_NE(twice, NULL);
	EXPECT_EQ(wr_trace_open_mem("mem", packed, size, 1, 0, &self->t, &self->err), 0);
	EXPECT_EQ(self->t.nr_refs, 7u);
	wr_trace_close(&self->t);
	/* One after the other, as cat makes them. */
	memcpy(twice, packed, size);
	memcpy(twice + size, packed, size);
	EXPECT_EQ(wr_trace_open_mem("mem", twice, 2 * size, 1, 0, &self->t, &self->err), 0);
	EXPECT_EQ(self->t.nr_refs, 14u);
	wr_trace_close(&self->t);
	for (size_t cut = 5; cut < size; cut++)
		EXPECT_NE(wr_trace_open_mem("mem", packed, cut, 1, 0, &self->t, &self->err), 0);
	memcpy(twice, packed, size);
	memset(twice + size / 2, 0x55, size / 4);
	EXPECT_NE(wr_trace_open_mem("mem", twice, size, 1, 0, &self->t, &self->err), 0);
	free(twice);
}
#endif

TEST_F(trace, packed_traces_are_known_by_their_first_bytes)
{
	static const char text[] = "1 3 0 0\n5 4 0 1\n";
	char packed[200];

#if HAVE_ZLIB
	expect_packed(_metadata, self, packed, pack_gzip(packed, sizeof(packed), text));
#endif
#if HAVE_ZSTD
	expect_packed(_metadata, self, packed,
		      ZSTD_compress(packed, sizeof(packed), text, strlen(text), 3));
#endif
	(void)packed;
	(void)text;
#if !HAVE_ZLIB
	EXPECT_EQ(wr_trace_open_mem("mem", "\x1f\x8b\x08", 3, 1, 0, &self->t, &self->err),
		  -EOPNOTSUPP);
#endif
#if !HAVE_ZSTD
	EXPECT_EQ(wr_trace_open_mem("mem", "\x28\xb5\x2f\xfd", 4, 1, 0, &self->t, &self->err),
		  -EOPNOTSUPP);
#endif
}

TEST_F(trace, a_file_that_is_not_there_and_a_folder_are_refused)
{
	EXPECT_EQ(wr_trace_open("/nonexistent", 1, true, &self->t, &self->err), -ENOENT);
	EXPECT_LT(wr_trace_open("/", 1, true, &self->t, &self->err), 0);
	EXPECT_EQ(wr_trace_open("gen:nothing", 1, true, &self->t, &self->err), -ENOENT);
}

TEST_F(trace, every_generator_makes_the_same_trace_each_time)
{
	for (size_t i = 0; wr_trace_generator(i); i++) {
		struct wr_trace again = {0};
		char name[32];

		snprintf(name, sizeof(name), "gen:%s", wr_trace_generator(i));
		ASSERT_EQ(wr_trace_open(name, 10, true, &self->t, &self->err), 0);
		ASSERT_EQ(wr_trace_open(name, 10, true, &again, &self->err), 0);
		EXPECT_GE(self->t.nr_refs, 20000u);
		ASSERT_EQ(again.nr_refs, self->t.nr_refs);
		EXPECT_EQ(memcmp(again.refs, self->t.refs, again.nr_refs * sizeof(*again.refs)), 0);
		wr_trace_close(&again);
		wr_trace_close(&self->t);
	}
}

TEST_HARNESS_MAIN
