/* SPDX-License-Identifier: MIT */
/*
 * Recordings of pools: what is right is read as it was written, what is wrong is refused
 * with its line, and the picture is whole.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <weir/pool_map.h>

#include "commands.h"
#include "poolmap.h"

#define HEAD                                                                    \
	"{\"weir_pool_recording\":1,\"piece_bytes\":2097152,\"interval_ns\":1," \
	"\"regions\":[{\"bytes\":7340032,\"node\":0,\"page_kind\":\"4k\"}]}\n"
#define SAMPLE(t, pairs)                                                                    \
	"{\"t_ns\":" #t ",\"used_bytes\":1,\"requested_bytes\":1,\"largest_free_bytes\":1," \
	"\"nr_live\":1,\"regions\":[" pairs "]}\n"

static int parse(const char *text, struct wr_poolmap *ret, struct weir_error *err)
{
	return wr_poolmap_parse(text, strlen(text), "test", ret, err);
}

TEST(a_recording_is_read_as_it_was_written)
{
	struct wr_poolmap map;

	ASSERT_EQ(0, parse(HEAD SAMPLE(0, "[4,0]") SAMPLE(5, "[1,2048,2,7,1,1024]"), &map, NULL));
	EXPECT_EQ(2u, map.nr_samples);
	EXPECT_EQ(4u, map.nr_pieces);
	EXPECT_EQ(5u, map.samples[1].t_ns);
	EXPECT_EQ(0, map.samples[0].kib[3]);
	EXPECT_EQ(2048, map.samples[1].kib[0]);
	EXPECT_EQ(7, map.samples[1].kib[2]);
	EXPECT_EQ(1024, map.samples[1].kib[3]);
	EXPECT_STREQ("4k", map.regions[0].page_kind);
	EXPECT_FALSE(map.was_cut);
	wr_poolmap_fini(&map);
}

TEST(a_last_line_that_is_not_whole_is_left_out)
{
	struct wr_poolmap map;

	ASSERT_EQ(0, parse(HEAD SAMPLE(0, "[4,0]") "{\"t_ns\":7,\"used_", &map, NULL));
	EXPECT_EQ(1u, map.nr_samples);
	EXPECT_TRUE(map.was_cut);
	wr_poolmap_fini(&map);
}

TEST(what_is_no_recording_is_refused_with_its_line)
{
	static const struct {
		const char *text, *line;
	} bad[] = {
		{"", "line 0"},
		{"{}\n", "line 1"},
		{"[]\n", "line 1"},
		{"\xff\xfe\n", "line 1"},
		{HEAD, "line 1"},
		{HEAD "x\n", "line 2"},
		{HEAD "{}\n", "line 2"},
		{HEAD SAMPLE(0, "[5,0]"), "line 2"},
		{HEAD SAMPLE(0, "[3,0]"), "line 2"},
		{HEAD SAMPLE(0, "[4,2049]"), "line 2"},
		{HEAD SAMPLE(0, "[4,-1]"), "line 2"},
		{HEAD SAMPLE(0, "[-4,1]"), "line 2"},
		{HEAD SAMPLE(0, "[4.5,1]"), "line 2"},
		{HEAD SAMPLE(0, "[4,0],[4,0]"), "line 2"},
		{HEAD SAMPLE(0, ""), "line 2"},
		{HEAD SAMPLE(9, "[4,0]") SAMPLE(8, "[4,0]"), "line 3"},
		{"{\"weir_pool_recording\":2,\"piece_bytes\":2097152,\"interval_ns\":1,"
		 "\"regions\":[{\"bytes\":1}]}\n",
		 "line 1"},
		{"{\"weir_pool_recording\":1,\"piece_bytes\":1,\"interval_ns\":1,"
		 "\"regions\":[{\"bytes\":1}]}\n",
		 "line 1"},
		{"{\"weir_pool_recording\":1,\"piece_bytes\":2097152,\"interval_ns\":1,"
		 "\"regions\":[]}\n",
		 "line 1"},
		{"{\"weir_pool_recording\":1,\"piece_bytes\":1024,\"interval_ns\":1,"
		 "\"regions\":[{\"bytes\":9223372036854775807}]}\n",
		 "line 1"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct wr_poolmap map = {.nr_samples = 77};
		struct weir_error err = {0};

		EXPECT_EQ(-EBADMSG, parse(bad[i].text, &map, &err));
		EXPECT_NE(NULL, strstr(err.message, bad[i].line))
		{
			TH_LOG("%s: %s", bad[i].text, err.message);
		}
		EXPECT_EQ(77u, map.nr_samples);
	}
}

TEST(every_prefix_of_a_recording_is_read_or_refused)
{
	static const char text[] = HEAD SAMPLE(0, "[4,0]") SAMPLE(5, "[1,2048,2,7,1,1024]");

	for (size_t n = 0; n < sizeof(text); n++) {
		/* Its own memory, so that a read behind the end is seen. */
		char *copy = malloc(n + 1);
		struct wr_poolmap map;
		int rc;

		ASSERT_NE(NULL, copy);
		memcpy(copy, text, n);
		rc = wr_poolmap_parse(copy, n, "test", &map, NULL);
		EXPECT_TRUE(rc == 0 || rc == -EBADMSG);
		if (!rc)
			wr_poolmap_fini(&map);
		free(copy);
	}
}

FIXTURE(files)
{
	char dir[64], recording[80], picture[80];
};

FIXTURE_SETUP(files)
{
	snprintf(self->dir, sizeof(self->dir), "/tmp/weir-poolmap-XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	snprintf(self->recording, sizeof(self->recording), "%s/rec", self->dir);
	snprintf(self->picture, sizeof(self->picture), "%s/svg", self->dir);
}

FIXTURE_TEARDOWN(files)
{
	unlink(self->recording);
	unlink(self->picture);
	EXPECT_EQ(0, rmdir(self->dir));
}

/* The whole file, with a NUL; the caller frees it. */
static char *read_text(const char *path)
{
	FILE *f = fopen(path, "re");
	char *text = calloc(1, 1 << 20);

	if (f && text)
		text[fread(text, 1, (1 << 20) - 1, f)] = '\0';
	if (f)
		fclose(f);
	return text;
}

static size_t count(const char *text, const char *what)
{
	size_t nr = 0;

	while ((text = strstr(text, what))) {
		text += strlen(what);
		nr++;
	}
	return nr;
}

static int pool_map(const char *recording, const char *picture, const char *option)
{
	char name[] = "pool-map", a[96], b[96], c[96];
	char *argv[] = {name, a, b, option ? c : NULL, NULL};

	snprintf(a, sizeof(a), "%s", recording);
	snprintf(b, sizeof(b), "%s", picture);
	snprintf(c, sizeof(c), "%s", option ? option : "");
	return cmd_pool_map(option ? 4 : 3, argv);
}

TEST_F(files, what_a_pool_recorded_can_be_drawn)
{
	struct weir_pool_opts opts = {.size = sizeof(opts),
				      .capacity_bytes = 64u << 20,
				      .page_kinds = 1u << WEIR_PAGE_4K,
				      .flags = WEIR_POOL_LAZY};
	struct weir_pool_recorder *rec = NULL;
	struct weir_pool *pool = NULL;
	struct weir_span span;
	char *text;

	ASSERT_EQ(0, weir_pool_open(&opts, &pool, NULL));
	ASSERT_EQ(0, weir_pool_record_start(pool, self->recording, NULL, &rec, NULL));
	ASSERT_EQ(0, weir_pool_alloc(pool, 9u << 20, WEIR_NODE_ANY, &span));
	weir_pool_record_stop(rec);
	weir_pool_free(pool, span);
	weir_pool_close(pool);
	ASSERT_EQ(WR_EXIT_OK, pool_map(self->recording, self->picture, "--title=a<b"));
	text = read_text(self->picture);
	ASSERT_NE(NULL, text);
	EXPECT_EQ(0, strncmp(text, "<svg ", 5));
	EXPECT_STREQ("</svg>\n", text + strlen(text) - 7);
	EXPECT_EQ(1u, count(text, "a&#60;b"));
	/* A level is drawn once, free ones not at all. */
	EXPECT_EQ(5u, count(text, "<path fill=\"#"));
	EXPECT_EQ(NULL, strstr(text, "nan"));
	EXPECT_EQ(NULL, strstr(text, "inf"));
	free(text);
}

TEST_F(files, a_region_that_was_not_recorded_is_not_drawn)
{
	FILE *f = fopen(self->recording, "we");

	ASSERT_NE(NULL, f);
	fputs(HEAD SAMPLE(0, "[4,0]"), f);
	ASSERT_EQ(0, fclose(f));
	EXPECT_EQ(WR_EXIT_FAILED, pool_map(self->recording, self->picture, "--region=1"));
	EXPECT_NE(0, access(self->picture, F_OK));
	/* A single sample without time is a picture all the same. */
	EXPECT_EQ(WR_EXIT_OK, pool_map(self->recording, self->picture, NULL));
	EXPECT_EQ(WR_EXIT_FAILED, pool_map("/nonexistent", self->picture, NULL));
}

TEST(the_command_is_called_with_a_dash)
{
	int status = system("'" WR_TEST_WEIR "' pool-map --help >/dev/null");

	EXPECT_EQ(0, status);
	EXPECT_NE(0, system("'" WR_TEST_WEIR "' pool_map --help >/dev/null 2>&1"));
}

TEST_HARNESS_MAIN
