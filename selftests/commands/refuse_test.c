/* SPDX-License-Identifier: MIT */
/*
 * refuse_test.c - Every command that opens a model says of everything that is none what is wrong,
 * where, and with which code: as an object with --json, as a line on stderr without, with status 1.
 * No file makes one hang or crash.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "commands_help.h"
#include "io/io_help.h"

static const char *const commands[][2] = {
	{"inspect"}, {"verify"}, {"load"}, {"stream"}, {"bench", "demo"}, {"bench", "load"},
};

FIXTURE(bad)
{
	char dir[512];
	struct ct_path path;
	struct wt_run run;
};

/* In /tmp: other users walk to it. */
FIXTURE_SETUP(bad)
{
	wt_dir_make(self->dir, sizeof(self->dir), "/tmp");
	ASSERT_EQ(chmod(self->dir, 0755), 0);
	self->path = ct_join(self->dir, "model.safetensors");
}

FIXTURE_TEARDOWN(bad)
{
	wt_run_fini(&self->run);
	wt_dir_remove(self->dir);
}

/* What every command says of @path: @code, about a file whose name ends with @file. */
static void expect_refused(struct __test_metadata *_metadata, struct wt_run *run, const char *path,
			   const char *code, const char *file)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		const char *args[] = {commands[i][0], commands[i][1] ? commands[i][1] : path,
				      commands[i][1] ? path : NULL, NULL, NULL};
		const char *said;

		ASSERT_EQ(wt_start(run, args), 0);
		EXPECT_EQ(wt_wait(run), 1) TH_LOG("%s %s", commands[i][0], path);
		EXPECT_STREQ(run->out, "");
		EXPECT_EQ(strncmp(run->err, "weir: ", 6), 0) TH_LOG("%s", run->err);
		EXPECT_EQ(strchr(run->err, '\n'), run->err + strlen(run->err) - 1)
		TH_LOG("%s", run->err);
		args[commands[i][1] ? 3 : 2] = "--json";
		ASSERT_EQ(wt_start(run, args), 0);
		EXPECT_EQ(wt_wait(run), 1);
		EXPECT_STREQ(run->err, "");
		ASSERT_NE(run->json, NULL) TH_LOG("%s %s: %s", commands[i][0], path, run->out);
		EXPECT_STREQ(wt_text(run->json, "error.code"), code)
		TH_LOG("%s %s", path, wt_text(run->json, "error.message"));
		EXPECT_EQ(strncmp(wt_text(run->json, "error.command"), commands[i][0],
				  strlen(commands[i][0])),
			  0);
		EXPECT_LT(5, strlen(wt_text(run->json, "error.message")));
		said = wt_text(run->json, "error.file");
		EXPECT_TRUE(strlen(said) >= strlen(file) &&
			    !strcmp(said + strlen(said) - strlen(file), file))
		TH_LOG("%s is about %s", path, said);
		EXPECT_NE(json_object_get(json_object_get(run->json, "error"), "offset"), NULL);
	}
}

#define REFUSED(path, code, file) expect_refused(_metadata, &self->run, path, code, file)

TEST_F(bad, a_path_to_nothing)
{
	REFUSED("/tmp/weir-no-such-model", "ENOENT", "/tmp/weir-no-such-model");
	REFUSED("", "ENOENT", "");
}

TEST_F(bad, a_file_of_no_format)
{
	char garbage[4096];

	for (size_t i = 0; i < sizeof(garbage); i++)
		garbage[i] = (char)(i * 2654435761u >> 13 | 0x80);
	ASSERT_EQ(ct_write(self->path.text, garbage, sizeof(garbage)), 0);
	REFUSED(self->path.text, "EBADMSG", "model.safetensors");
	EXPECT_EQ(wt_int(self->run.json, "error.offset"), 0);
}

TEST_F(bad, an_empty_file)
{
	ASSERT_EQ(ct_write(self->path.text, "", 0), 0);
	REFUSED(self->path.text, "ENODATA", "model.safetensors");
}

TEST_F(bad, files_that_were_cut)
{
	struct ct_path dir = ct_join(self->dir, "m"), gguf = ct_join(self->dir, "g");
	static const long sizes[] = {1000000, 5000, 100, 8, 7, 1};

	ASSERT_EQ(ct_make(CT_SINGLE, dir.text), 0);
	ASSERT_EQ(ct_make(CT_GGUF, gguf.text), 0);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		ASSERT_EQ(truncate(ct_join(dir.text, "model.safetensors").text, sizes[i]), 0);
		REFUSED(dir.text, sizes[i] < 8 ? "EBADMSG" : "ENODATA", "model.safetensors");
	}
	ASSERT_EQ(truncate(ct_join(gguf.text, "Qwen3VL-2B-Instruct-F16.gguf").text, 500), 0);
	REFUSED(gguf.text, "ENODATA", "Qwen3VL-2B-Instruct-F16.gguf");
}

TEST_F(bad, a_header_longer_than_the_file)
{
	static const unsigned char huge[16] = {0, 0, 0, 0, 0, 1, 0, 0, '{', '}'};
	static const unsigned char most[16] = {255, 255, 255, 255, 255, 255, 255, 255, '{'};
	static const unsigned char some[16] = {200, 0, 0, 0, 0, 0, 0, 0, '{', '}'};

	ASSERT_EQ(ct_write(self->path.text, huge, 16), 0);
	REFUSED(self->path.text, "EFBIG", "model.safetensors");
	ASSERT_EQ(ct_write(self->path.text, most, 16), 0);
	REFUSED(self->path.text, "EFBIG", "model.safetensors");
	ASSERT_EQ(ct_write(self->path.text, some, 16), 0);
	REFUSED(self->path.text, "ENODATA", "model.safetensors");
}

TEST_F(bad, offsets_beyond_what_can_be_counted)
{
	ASSERT_EQ(ct_write_header(self->path.text,
				  "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":"
				  "[9223372036854775808,9223372036854775824]}}",
				  16),
		  0);
	REFUSED(self->path.text, "ENODATA", "model.safetensors");
	ASSERT_EQ(ct_write_header(self->path.text,
				  "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":"
				  "[18446744073709551600,18446744073709551616]}}",
				  16),
		  0);
	REFUSED(self->path.text, "EOVERFLOW", "model.safetensors");
	ASSERT_EQ(ct_write_header(self->path.text,
				  "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],"
				  "\"data_offsets\":[0,16]}}",
				  16),
		  0);
	REFUSED(self->path.text, "EOVERFLOW", "model.safetensors");
}

TEST_F(bad, a_tensor_of_65_dimensions)
{
	char header[512] = "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4],\"shape\":[1";

	for (int i = 0; i < 64; i++)
		strcat(header, ",1");
	strcat(header, "]}}");
	ASSERT_EQ(ct_write_header(self->path.text, header, 4), 0);
	REFUSED(self->path.text, "EFBIG", "model.safetensors");
	EXPECT_LT(0, wt_int(self->run.json, "error.offset"));
}

TEST_F(bad, a_folder_without_a_model)
{
	REFUSED(self->dir, "EINVAL", self->dir);
	ASSERT_EQ(ct_write(ct_join(self->dir, "config.json").text, "{}", 2), 0);
	REFUSED(self->dir, "EINVAL", self->dir);
}

TEST_F(bad, a_fifo_where_a_file_should_be)
{
	struct ct_path dir = ct_join(self->dir, "m");
	struct ct_path shard = ct_join(dir.text, "model-00003-of-00007.safetensors");

	ASSERT_EQ(mkfifo(self->path.text, 0644), 0);
	REFUSED(self->path.text, "EINVAL", "model.safetensors");
	REFUSED(self->dir, "EINVAL", "model.safetensors");
	ASSERT_EQ(ct_make(CT_SHARDED, dir.text), 0);
	ASSERT_EQ(unlink(shard.text), 0);
	ASSERT_EQ(mkfifo(shard.text, 0644), 0);
	REFUSED(dir.text, "EINVAL", "model-00003-of-00007.safetensors");
}

FIXTURE(sharded)
{
	char dir[512];
	struct ct_path path, index;
	struct wt_run run;
};

FIXTURE_SETUP(sharded)
{
	wt_dir_make(self->dir, sizeof(self->dir), NULL);
	self->path = ct_join(self->dir, "model");
	self->index = ct_join(self->path.text, "model.safetensors.index.json");
	ASSERT_EQ(ct_make(CT_SHARDED, self->path.text), 0);
}

FIXTURE_TEARDOWN(sharded)
{
	wt_run_fini(&self->run);
	wt_dir_remove(self->dir);
}

#define SHARD "model-00002-of-00007.safetensors"

TEST_F(sharded, with_a_shard_missing)
{
	ASSERT_EQ(unlink(ct_join(self->path.text, SHARD).text), 0);
	REFUSED(self->path.text, "ENOENT", SHARD);
	REFUSED(self->index.text, "ENOENT", SHARD);
}

TEST_F(sharded, whose_index_names_an_absent_tensor)
{
	ASSERT_EQ(ct_replace(self->index.text, "\"model.language_model.layers.0.",
			     "\"model.language_model.layers.7."),
		  0);
	REFUSED(self->path.text, "EBADMSG", "model.safetensors.index.json");
	EXPECT_NE(strstr(wt_text(self->run.json, "error.message"), "layers.7."), NULL);
	EXPECT_LT(0, wt_int(self->run.json, "error.offset"));
}

TEST_F(sharded, whose_index_leads_out_of_the_folder)
{
	static const char *const ways[] = {"../" SHARD, "/etc/passwd", "a/../../" SHARD, "..", "."};
	const char *before = SHARD;

	ASSERT_EQ(ct_copy(self->path.text, ct_join(self->dir, "copy").text), 0);
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		char old[128], new[128];

		/* Whatever lies there must not matter. */
		snprintf(old, sizeof(old), ": \"%s\"", before);
		snprintf(new, sizeof(new), ": \"%s\"", ways[i]);
		if (ct_replace(self->index.text, old, new)) {
			snprintf(old, sizeof(old), ":\"%s\"", before);
			snprintf(new, sizeof(new), ":\"%s\"", ways[i]);
			ASSERT_EQ(ct_replace(self->index.text, old, new), 0);
		}
		before = ways[i];
		REFUSED(self->path.text, "EBADMSG", "model.safetensors.index.json");
	}
}

TEST_F(sharded, whose_index_names_itself)
{
	ASSERT_EQ(ct_replace(self->index.text, SHARD, "model.safetensors.index.json"), 0);
	REFUSED(self->path.text, "EBADMSG", "model.safetensors.index.json");
}

TEST_F(sharded, whose_index_is_no_json)
{
	ASSERT_EQ(ct_write(self->index.text, "{\"wseven_map\": {", 16), 0);
	REFUSED(self->path.text, "EBADMSG", "model.safetensors.index.json");
}

/* ---- permission ---- */

static int become_nobody(void *arg)
{
	(void)arg;
	return geteuid() ? 0 : io_drop_privileges();
}

TEST_F(bad, a_model_that_may_not_be_read)
{
	struct ct_path dir = ct_join(self->dir, "m");
	struct ct_path file = ct_join(dir.text, "model.safetensors");

	ASSERT_EQ(ct_make(CT_SINGLE, dir.text), 0);
	self->run.prepare = become_nobody;
	ASSERT_EQ(chmod(file.text, 0), 0);
	REFUSED(dir.text, "EACCES", "model.safetensors");
	REFUSED(file.text, "EACCES", "model.safetensors");
	ASSERT_EQ(chmod(file.text, 0644), 0);
	ASSERT_EQ(chmod(dir.text, 0), 0);
	REFUSED(dir.text, "EACCES", "/m");
	ASSERT_EQ(chmod(dir.text, 0755), 0);
	EXPECT_EQ(wt_weir(&self->run, "inspect", dir.text, NULL), 0);
}

/* ---- what is wrong beside the model ---- */

TEST_F(sharded, that_is_fine_and_a_picture_that_cannot_be_drawn)
{
	EXPECT_EQ(wt_weir(&self->run, "bench", "demo", "--json", "--passes", "2", "--svg",
			  "/nowhere/x.svg", self->path.text, NULL),
		  1);
	EXPECT_STREQ(wt_text(self->run.json, "error.code"), "ENOENT");
	EXPECT_STREQ(wt_text(self->run.json, "error.file"), "/nowhere/x.svg");
}

TEST(a_doctor_for_nothing)
{
	struct wt_run run = {0};

	EXPECT_EQ(wt_weir(&run, "doctor", "--json", "/tmp/weir-no-such-folder", NULL), 1);
	EXPECT_STREQ(wt_text(run.json, "error.code"), "ENOENT");
	EXPECT_STREQ(wt_text(run.json, "error.file"), "/tmp/weir-no-such-folder");
	wt_run_fini(&run);
}

TEST(a_folder_that_cannot_be_made)
{
	struct wt_run run = {0};

	EXPECT_EQ(wt_weir(&run, "mkmodel", "--json", "--model", "2b", "/nowhere/a/b", NULL), 1);
	EXPECT_STREQ(wt_text(run.json, "error.code"), "ENOENT");
	EXPECT_STREQ(wt_text(run.json, "error.file"), "/nowhere/a/b");
	wt_run_fini(&run);
}

TEST_HARNESS_MAIN
