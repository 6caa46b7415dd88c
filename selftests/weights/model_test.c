/* SPDX-License-Identifier: MIT */
/*
 * Opening models: files, directories, shards, parts; everything that may be wrong with them; and
 * what is left behind when it is.
 */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <weir/log.h>
#include <weir/weights.h>

#include "base/alloc.h"
#include "harness/sanitized.h"
#include "weights/model_builder.h"

#define INDEX "model.safetensors.index.json"

/* Two shards of two tensors each, four bytes every one. */
#define SHARD_1                                                            \
	"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}," \
	"\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}"
#define SHARD_2                                                            \
	"{\"c\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}," \
	"\"d\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}"

FIXTURE(model)
{
	char *dir;
	struct weir_model *model;
	struct weir_error err;
};

FIXTURE_SETUP(model)
{
	self->dir = mb_dir_make();
	self->model = NULL;
	memset(&self->err, 0, sizeof(self->err));
}

FIXTURE_TEARDOWN(model)
{
	weir_model_close(self->model);
	mb_dir_remove(self->dir);
}

static int write_st(const char *dir, const char *name, const char *header, size_t data_bytes)
{
	struct mb_bytes b = {0};
	int code;

	mb_st(&b, header, data_bytes);
	code = mb_file(dir, name, &b, 0);
	mb_free(&b);
	return code;
}

static int open_in(const char *dir, const char *name, struct weir_model **ret,
		   struct weir_error *err)
{
	char *path = mb_path(dir, name);
	int code = weir_model_open(path, ret, err);

	free(path);
	return code;
}

static int remove_in(const char *dir, const char *name)
{
	char *path = mb_path(dir, name);
	int code = remove(path);

	free(path);
	return code;
}

static bool ends(const char *text, const char *tail)
{
	size_t n = strlen(text), m = strlen(tail);

	return n >= m && strcmp(text + n - m, tail) == 0;
}

/* The sharded model with this weight_map. */
static int write_sharded(const char *dir, const char *map)
{
	struct mb_bytes b = {0};
	int code = write_st(dir, "s1.safetensors", SHARD_1, 8);

	if (code == 0)
		code = write_st(dir, "s2.safetensors", SHARD_2, 8);
	mb_text(&b, "{\"metadata\":{\"total_size\":16},\"weight_map\":%s}", map);
	if (code == 0)
		code = mb_file(dir, INDEX, &b, 0);
	mb_free(&b);
	return code;
}

#define RIGHT_MAP                                                                      \
	"{\"c\":\"s2.safetensors\",\"a\":\"s1.safetensors\",\"d\":\"s2.safetensors\"," \
	"\"b\":\"s1.safetensors\"}"

/* ---- what a path may be ------------------------------------------------------------------- */

TEST_F(model, a_file_opens_whatever_it_is_called)
{
	ASSERT_EQ(write_st(self->dir, "weights.bin", SHARD_1, 8), 0);
	ASSERT_EQ(open_in(self->dir, "weights.bin", &self->model, &self->err), 0);
	EXPECT_EQ(weir_model_nr_tensors(self->model), 2);
	EXPECT_TRUE(ends(weir_model_file(self->model, 0)->path, "/weights.bin"));
	EXPECT_EQ(weir_model_file(self->model, 1), NULL);
	EXPECT_EQ(weir_model_tensor(self->model, 2), NULL);
	EXPECT_EQ(weir_model_at(self->model, 2), NULL);
	EXPECT_EQ(weir_model_group(self->model, weir_model_nr_groups(self->model)), NULL);
}

TEST_F(model, a_file_is_identified_as_it_was_when_opened)
{
	const struct weir_model_file *file;
	struct stat st;

	ASSERT_EQ(write_st(self->dir, "m", SHARD_1, 8), 0);
	ASSERT_EQ(open_in(self->dir, "m", &self->model, NULL), 0);
	file = weir_model_file(self->model, 0);
	ASSERT_EQ(stat(file->path, &st), 0);
	EXPECT_EQ(file->bytes, (uint64_t)st.st_size);
	EXPECT_EQ(file->dev, st.st_dev);
	EXPECT_EQ(file->ino, st.st_ino);
	EXPECT_EQ(file->mtime_ns,
		  (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec);
	EXPECT_EQ(file->data_offset, file->bytes - 8);
}

TEST_F(model, an_index_opens_all_shards_and_files_are_by_name)
{
	ASSERT_EQ(write_sharded(self->dir, RIGHT_MAP), 0);
	for (int i = 0; i < 2; i++) {
		int code = i == 0 ? weir_model_open(self->dir, &self->model, &self->err)
				  : open_in(self->dir, INDEX, &self->model, &self->err);

		ASSERT_EQ(code, 0)
		{
			TH_LOG("%s", self->err.message);
		}
		EXPECT_EQ(weir_model_nr_files(self->model), 2);
		EXPECT_TRUE(ends(weir_model_file(self->model, 0)->path, "/s1.safetensors"));
		EXPECT_EQ(weir_model_find(self->model, "a")->file, 0);
		EXPECT_EQ(weir_model_find(self->model, "d")->file, 1);
		EXPECT_EQ(weir_model_find(self->model, "e"), NULL);
		weir_model_close(self->model);
		self->model = NULL;
	}
}

TEST_F(model, shards_may_be_links_as_in_a_download_cache)
{
	char *to = mb_path(self->dir, "s1.safetensors");
	char *blob = mb_path(self->dir, "blob");

	ASSERT_EQ(write_sharded(self->dir, RIGHT_MAP), 0);
	ASSERT_EQ(rename(to, blob), 0);
	ASSERT_EQ(symlink("blob", to), 0);
	EXPECT_EQ(weir_model_open(self->dir, &self->model, &self->err), 0);
	free(to);
	free(blob);
}

TEST_F(model, a_directory_prefers_the_single_file_then_the_index)
{
	ASSERT_EQ(write_sharded(self->dir, RIGHT_MAP), 0);
	ASSERT_EQ(write_st(self->dir, "model.safetensors", SHARD_1, 8), 0);
	ASSERT_EQ(mb_file_text(self->dir, "x.gguf", "not read"), 0);
	ASSERT_EQ(weir_model_open(self->dir, &self->model, NULL), 0);
	EXPECT_EQ(weir_model_nr_tensors(self->model), 2);
	weir_model_close(self->model);
	self->model = NULL;
	ASSERT_EQ(remove_in(self->dir, "model.safetensors"), 0);
	ASSERT_EQ(weir_model_open(self->dir, &self->model, NULL), 0);
	EXPECT_EQ(weir_model_nr_tensors(self->model), 4);
}

TEST_F(model, a_directory_with_one_file_of_any_name_is_that_model)
{
	ASSERT_EQ(write_st(self->dir, "adapter.safetensors", SHARD_2, 8), 0);
	ASSERT_EQ(mb_file_text(self->dir, "README.md", "text"), 0);
	ASSERT_EQ(weir_model_open(self->dir, &self->model, NULL), 0);
	EXPECT_NE(weir_model_find(self->model, "c"), NULL);
}

TEST_F(model, a_directory_that_leaves_a_choice_is_refused_with_the_choice)
{
	ASSERT_EQ(write_st(self->dir, "one.safetensors", SHARD_1, 8), 0);
	ASSERT_EQ(write_st(self->dir, "two.safetensors", SHARD_2, 8), 0);
	EXPECT_EQ(weir_model_open(self->dir, &self->model, &self->err), -EINVAL);
	EXPECT_NE(strstr(self->err.message, "one.safetensors"), NULL);
}

TEST_F(model, a_model_without_tensors_is_a_model)
{
	ASSERT_EQ(write_st(self->dir, "m", "{}", 0), 0);
	ASSERT_EQ(open_in(self->dir, "m", &self->model, NULL), 0);
	EXPECT_EQ(weir_model_nr_tensors(self->model), 0);
	EXPECT_EQ(weir_model_nr_groups(self->model), 0);
	EXPECT_EQ(weir_model_find(self->model, "a"), NULL);
	EXPECT_EQ(weir_model_at(self->model, 0), NULL);
}

/* ---- what it may not be ------------------------------------------------------------------- */

TEST_F(model, a_directory_without_a_model_is_refused)
{
	ASSERT_EQ(mb_file_text(self->dir, "config.json", "{}"), 0);
	EXPECT_EQ(weir_model_open(self->dir, &self->model, &self->err), -EINVAL);
	EXPECT_STREQ(self->err.file, self->dir);
}

TEST_F(model, what_is_not_there_is_not_found)
{
	EXPECT_EQ(open_in(self->dir, "absent", &self->model, &self->err), -ENOENT);
	EXPECT_TRUE(ends(self->err.file, "/absent"));
	EXPECT_EQ(self->err.offset, WEIR_OFFSET_NONE);
	ASSERT_EQ(mb_file_text(self->dir, "file", "x"), 0);
	EXPECT_EQ(open_in(self->dir, "file/below", &self->model, &self->err), -ENOTDIR);
	EXPECT_EQ(weir_model_open("", &self->model, &self->err), -ENOENT);
	EXPECT_EQ(weir_model_open(NULL, &self->model, &self->err), -EINVAL);
	EXPECT_EQ(weir_model_open(self->dir, NULL, &self->err), -EINVAL);
}

TEST_F(model, a_link_to_itself_is_a_loop)
{
	char *path = mb_path(self->dir, "loop");

	ASSERT_EQ(symlink("loop", path), 0);
	EXPECT_EQ(weir_model_open(path, &self->model, NULL), -ELOOP);
	free(path);
}

TEST_F(model, a_fifo_is_refused_and_not_waited_for)
{
	char *path = mb_path(self->dir, "model.safetensors");

	ASSERT_EQ(mkfifo(path, 0644), 0);
	EXPECT_EQ(weir_model_open(path, &self->model, &self->err), -EINVAL);
	EXPECT_EQ(weir_model_open(self->dir, &self->model, &self->err), -EINVAL);
	EXPECT_STREQ(self->err.file, path);
	free(path);
}

TEST_F(model, a_device_is_refused)
{
	EXPECT_EQ(weir_model_open("/dev/zero", &self->model, NULL), -EINVAL);
}

TEST_F(model, a_directory_with_the_name_of_a_model_is_refused)
{
	char *path = mb_path(self->dir, "model.safetensors");

	ASSERT_EQ(mkdir(path, 0755), 0);
	EXPECT_EQ(weir_model_open(self->dir, &self->model, &self->err), -EISDIR);
	free(path);
}

TEST_F(model, an_unreadable_file_is_no_access)
{
	char *path = mb_path(self->dir, "m");

	ASSERT_EQ(write_st(self->dir, "m", SHARD_1, 8), 0);
	ASSERT_EQ(chmod(path, 0), 0);
	ASSERT_EQ(chmod(self->dir, 0755), 0);
	if (geteuid() == 0)
		ASSERT_EQ(seteuid(65534), 0);
	EXPECT_EQ(weir_model_open(path, &self->model, &self->err), -EACCES);
	EXPECT_STREQ(self->err.file, path);
	if (getuid() == 0)
		ASSERT_EQ(seteuid(0), 0);
	free(path);
}

struct content {
	const char *what;
	const char *bytes;
	size_t n;
	int code;
};

static const struct content contents[] = {
	{"nothing", "", 0, -ENODATA},
	{"one byte", "G", 1, -EBADMSG},
	{"seven bytes", "\0\0\0\0\0\0\0", 7, -EBADMSG},
	{"eight zeros", "\0\0\0\0\0\0\0\0", 8, -EBADMSG},
	{"text", "once upon a time", 16, -EBADMSG},
	{"ELF", "\177ELF\2\1\1\0\0\0\0\0\0\0\0\0", 16, -EBADMSG},
	{"ZIP, as PyTorch writes it", "PK\3\4\0\0\10\10\0\0\0\0", 12, -EBADMSG},
	{"half a GGUF magic", "GGU", 3, -EBADMSG},
	{"a GGUF magic", "GGUF", 4, -ENODATA},
	{"a great header", "\377\377\377\377\377\377\377\177{}", 10, -EFBIG},
	{"an index without a map", "{\"metadata\":{}}", 15, -EBADMSG},
	{"an empty index", "{}              ", 16, -EBADMSG},
	{"an index cut off", "{\"weight_map\":{\"a\":\"b", 21, -EBADMSG},
	{"a list", "[\"weight_map\"]", 14, -EBADMSG},
};

TEST_F(model, files_that_are_no_model_are_refused)
{
	for (size_t i = 0; i < wr_array_size(contents); i++) {
		struct mb_bytes b = {0};

		mb_put(&b, contents[i].bytes, contents[i].n);
		ASSERT_EQ(mb_file(self->dir, "m", &b, 0), 0);
		EXPECT_EQ(open_in(self->dir, "m", &self->model, &self->err), contents[i].code)
		{
			TH_LOG("%s: %s", contents[i].what, self->err.message);
		}
		EXPECT_TRUE(ends(self->err.file, "/m"));
		EXPECT_EQ(self->model, NULL);
		mb_free(&b);
	}
}

TEST_F(model, a_header_that_lies_behind_a_hole_is_read_and_refused)
{
	struct mb_bytes b = {0};

	/* 100,000,000 bytes are declared and there; all but the first are zeros. */
	mb_u64(&b, 100000000);
	mb_text(&b, "{");
	ASSERT_EQ(mb_file(self->dir, "m", &b, 100000008), 0);
	EXPECT_EQ(open_in(self->dir, "m", &self->model, &self->err), -EBADMSG);
	EXPECT_EQ(self->err.offset, 9);
	mb_free(&b);
}

/* ---- indexes ------------------------------------------------------------------------------ */

struct map {
	const char *what;
	const char *map;
	int code;
	const char *file; /* that the error names */
	const char *at;	  /* in the index */
};

#define A1 "\"a\":\"s1.safetensors\""

static const struct map maps[] = {
	{"a missing shard", "{" A1 ",\"x\":\"s3.safetensors\"}", -ENOENT, "/s3.safetensors", NULL},
	{"a tensor that is absent", "{" A1 ",\"x\":\"s1.safetensors\"}", -EBADMSG, INDEX, "\"x\""},
	{"a tensor that is in another shard", "{" A1 ",\"c\":\"s1.safetensors\"}", -EBADMSG, INDEX,
	 "\"c\""},
	{"a tensor twice", "{" A1 "," A1 "}", -EBADMSG, INDEX, "\"a\""},
	{"a path upwards", "{\"a\":\"../s1.safetensors\"}", -EBADMSG, INDEX, "\"../"},
	{"a path downwards", "{\"a\":\"sub/s1.safetensors\"}", -EBADMSG, INDEX, "\"sub"},
	{"a path from the root", "{\"a\":\"/etc/passwd\"}", -EBADMSG, INDEX, "\"/etc"},
	{"the directory", "{\"a\":\".\"}", -EBADMSG, INDEX, "\".\""},
	{"the directory above", "{\"a\":\"..\"}", -EBADMSG, INDEX, "\"..\""},
	{"an empty name", "{\"a\":\"\"}", -EBADMSG, INDEX, "\"\""},
	{"a name with a NUL", "{\"a\":\"s1.safetensors\\u0000/../x\"}", -EBADMSG, INDEX, "\"s1"},
	{"an escaped path", "{\"a\":\"\\u002e\\u002e\\u002fx\"}", -EBADMSG, INDEX, "\"\\u002e"},
	{"itself", "{\"a\":\"" INDEX "\"}", -EBADMSG, INDEX, NULL},
	{"another index", "{\"a\":\"other.json\"}", -EBADMSG, "/other.json", NULL},
	{"a GGUF file", "{\"a\":\"x.gguf\"}", -EBADMSG, "/x.gguf", NULL},
	{"a directory", "{\"a\":\"sub\"}", -EISDIR, "/sub", NULL},
	{"a FIFO", "{\"a\":\"fifo\"}", -EINVAL, "/fifo", NULL},
	{"an empty file", "{\"a\":\"empty\"}", -ENODATA, "/empty", NULL},
	{"a number for a name", "{\"a\":1}", -EBADMSG, INDEX, "1}"},
	{"no tensor", "{}", -EBADMSG, INDEX, NULL},
	{"a list", "[]", -EBADMSG, INDEX, "[]"},
	{"null", "null", -EBADMSG, INDEX, "null"},
};

TEST_F(model, indexes_that_are_wrong_are_refused_with_file_and_offset)
{
	char *sub = mb_path(self->dir, "sub"), *fifo = mb_path(self->dir, "fifo");
	int64_t live;

	ASSERT_EQ(mkdir(sub, 0755), 0);
	ASSERT_EQ(mkfifo(fifo, 0644), 0);
	ASSERT_EQ(mb_file_text(self->dir, "empty", ""), 0);
	ASSERT_EQ(mb_file_text(self->dir, "other.json", "{\"weight_map\":{\"a\":\"" INDEX "\"}}"),
		  0);
	ASSERT_EQ(mb_file_text(self->dir, "x.gguf", "GGUF...."), 0);
	live = wr_test_alloc_live();
	for (size_t i = 0; i < wr_array_size(maps); i++) {
		const struct map *m = &maps[i];

		ASSERT_EQ(write_sharded(self->dir, m->map), 0);
		EXPECT_EQ(open_in(self->dir, INDEX, &self->model, &self->err), m->code)
		{
			TH_LOG("%s: %s", m->what, self->err.message);
		}
		EXPECT_TRUE(ends(self->err.file, m->file))
		{
			TH_LOG("%s: %s", m->what, self->err.file);
		}
		if (m->at != NULL) {
			const char *before = "{\"metadata\":{\"total_size\":16},\"weight_map\":";
			const char *found = NULL;

			for (const char *p = m->map; (p = strstr(p, m->at)) != NULL; p++)
				found = p;
			EXPECT_EQ(self->err.offset, strlen(before) + (size_t)(found - m->map))
			{
				TH_LOG("%s: %s", m->what, self->err.message);
			}
		}
		EXPECT_EQ(wr_test_alloc_live(), live);
	}
	free(sub);
	free(fifo);
}

static int logged;
static char log_text[512];

static void take_log(void *arg, int level, const char *module, const char *text)
{
	(void)arg;
	(void)module;
	if (level == WEIR_LOG_WARN)
		logged++;
	snprintf(log_text, sizeof(log_text), "%s", text);
}

TEST_F(model, tensors_that_the_map_does_not_give_are_left_out_and_logged)
{
	ASSERT_EQ(weir_log_set(take_log, NULL, WEIR_LOG_WARN), 0);
	ASSERT_EQ(mb_file_text(self->dir, INDEX,
			       "{\"weight_map\":{" A1 ",\"c\":\"s2.safetensors\"}}"),
		  0);
	ASSERT_EQ(write_st(self->dir, "s1.safetensors", SHARD_1, 8), 0);
	ASSERT_EQ(write_st(self->dir, "s2.safetensors", SHARD_2, 8), 0);
	ASSERT_EQ(weir_model_open(self->dir, &self->model, NULL), 0);
	EXPECT_EQ(weir_model_nr_tensors(self->model), 2);
	EXPECT_EQ(weir_model_find(self->model, "b"), NULL);
	EXPECT_EQ(logged, 2);
	EXPECT_NE(strstr(log_text, "1 tensors"), NULL);
	ASSERT_EQ(weir_log_set(NULL, NULL, WEIR_LOG_NONE), 0);
}

TEST_F(model, the_same_tensor_in_two_shards_is_the_one_that_the_map_says)
{
	ASSERT_EQ(mb_file_text(self->dir, INDEX,
			       "{\"weight_map\":{" A1 ",\"b\":\"s2.safetensors\"}}"),
		  0);
	ASSERT_EQ(write_st(self->dir, "s1.safetensors", SHARD_1, 8), 0);
	ASSERT_EQ(write_st(self->dir, "s2.safetensors", SHARD_1, 8), 0);
	ASSERT_EQ(weir_model_open(self->dir, &self->model, NULL), 0);
	EXPECT_EQ(weir_model_find(self->model, "a")->file, 0);
	EXPECT_EQ(weir_model_find(self->model, "b")->file, 1);
}

TEST_F(model, a_wrong_total_is_logged_and_an_odd_one_ignored)
{
	static const char *const totals[] = {"16",     "17",   "16.0", "1.6e1",
					     "\"16\"", "null", "-1",   "99999999999999999999"};
	static const int warnings[] = {0, 1, 0, 0, 0, 0, 0, 0};

	ASSERT_EQ(write_sharded(self->dir, RIGHT_MAP), 0);
	ASSERT_EQ(weir_log_set(take_log, NULL, WEIR_LOG_WARN), 0);
	for (size_t i = 0; i < wr_array_size(totals); i++) {
		struct mb_bytes b = {0};

		mb_text(&b,
			"{\"x\":[],\"weight_map\":" RIGHT_MAP ",\"metadata\":{\"total_size\":%s}}",
			totals[i]);
		ASSERT_EQ(mb_file(self->dir, INDEX, &b, 0), 0);
		logged = 0;
		EXPECT_EQ(weir_model_open(self->dir, &self->model, NULL), 0);
		EXPECT_EQ(logged, warnings[i])
		{
			TH_LOG("%s", totals[i]);
		}
		weir_model_close(self->model);
		self->model = NULL;
		mb_free(&b);
	}
	ASSERT_EQ(weir_log_set(NULL, NULL, WEIR_LOG_NONE), 0);
}

TEST_F(model, an_index_above_the_limit_is_too_big)
{
	struct mb_bytes b = {0};

	mb_text(&b, "{\"weight_map\":{");
	ASSERT_EQ(mb_file(self->dir, INDEX, &b, UINT64_C(64) * 1024 * 1024 + 1), 0);
	EXPECT_EQ(weir_model_open(self->dir, &self->model, &self->err), -EFBIG);
	mb_free(&b);
}

/* ---- GGUF of several files ---------------------------------------------------------------- */

/* One file with one F32 tensor @name, part @no of @count when that is not 0. */
static int write_gguf(const char *dir, const char *file, const char *arch, const char *name,
		      unsigned int no, unsigned int count, unsigned int tensors)
{
	static const uint64_t ne[] = {4};
	struct mb_bytes b = {0};
	int code;

	mb_gguf_head(&b, 3, name != NULL ? 1 : 0, count != 0 ? 4 : 1);
	mb_gguf_pair_string(&b, "general.architecture", arch);
	if (count != 0) {
		mb_gguf_pair_u16(&b, "split.no", (uint16_t)no);
		mb_gguf_pair_u16(&b, "split.count", (uint16_t)count);
		mb_gguf_pair_u32(&b, "split.tensors.count", tensors);
	}
	if (name != NULL) {
		mb_gguf_tensor(&b, name, 1, ne, 0, 0);
		mb_gguf_align(&b, 32);
		mb_zeros(&b, 16);
	}
	code = mb_file(dir, file, &b, 0);
	mb_free(&b);
	return code;
}

#define PART(n, of) "m-0000" #n "-of-0000" #of ".gguf"

/* The first part may have no tensors: gguf-split can write it so. */
static int write_parts(const char *dir)
{
	int code = write_gguf(dir, PART(1, 3), "llama", NULL, 0, 3, 2);

	if (code == 0)
		code = write_gguf(dir, PART(2, 3), "llama", "blk.0.attn_q.weight", 1, 3, 2);
	if (code == 0)
		code = write_gguf(dir, PART(3, 3), "llama", "output.weight", 2, 3, 2);
	return code;
}

TEST_F(model, any_part_of_a_split_model_opens_all)
{
	static const char *const paths[] = {PART(1, 3), PART(2, 3), PART(3, 3), "."};

	ASSERT_EQ(write_parts(self->dir), 0);
	for (size_t i = 0; i < wr_array_size(paths); i++) {
		ASSERT_EQ(open_in(self->dir, paths[i], &self->model, &self->err), 0)
		{
			TH_LOG("%s: %s", paths[i], self->err.message);
		}
		EXPECT_EQ(weir_model_nr_files(self->model), 3);
		EXPECT_EQ(weir_model_nr_tensors(self->model), 2);
		EXPECT_EQ(weir_model_at(self->model, 1),
			  weir_model_find(self->model, "output.weight"));
		weir_model_close(self->model);
		self->model = NULL;
	}
}

TEST_F(model, parts_that_do_not_fit_are_refused)
{
	ASSERT_EQ(write_parts(self->dir), 0);
	ASSERT_EQ(remove_in(self->dir, PART(2, 3)), 0);
	EXPECT_EQ(weir_model_open(self->dir, &self->model, &self->err), -ENOENT);
	EXPECT_TRUE(ends(self->err.file, PART(2, 3)));
	/* Another part's content under its name. */
	ASSERT_EQ(write_gguf(self->dir, PART(2, 3), "llama", "x", 2, 3, 2), 0);
	EXPECT_EQ(weir_model_open(self->dir, &self->model, &self->err), -EBADMSG);
	EXPECT_TRUE(ends(self->err.file, PART(2, 3)));
	/* A tensor of another part. */
	ASSERT_EQ(write_gguf(self->dir, PART(2, 3), "llama", "output.weight", 1, 3, 2), 0);
	EXPECT_EQ(weir_model_open(self->dir, &self->model, &self->err), -EBADMSG);
	/* Fewer tensors than all say. */
	ASSERT_EQ(write_gguf(self->dir, PART(2, 3), "llama", NULL, 1, 3, 2), 0);
	EXPECT_EQ(weir_model_open(self->dir, &self->model, &self->err), -EBADMSG);
	/* No GGUF file. */
	ASSERT_EQ(write_st(self->dir, PART(2, 3), SHARD_1, 8), 0);
	EXPECT_EQ(weir_model_open(self->dir, &self->model, &self->err), -EBADMSG);
	EXPECT_TRUE(ends(self->err.file, PART(2, 3)));
}

TEST_F(model, a_part_under_another_name_is_refused)
{
	static const char *const names[] = {"m.gguf", PART(2, 3), PART(1, 2), PART(0, 3),
					    "-00001-of-00003.gguf.x"};

	for (size_t i = 0; i < wr_array_size(names); i++) {
		ASSERT_EQ(write_gguf(self->dir, names[i], "llama", "x", 0, 3, 1), 0);
		EXPECT_EQ(open_in(self->dir, names[i], &self->model, &self->err), -EBADMSG)
		{
			TH_LOG("%s", names[i]);
		}
	}
	/* 65,535 parts, none of which is there. */
	ASSERT_EQ(write_gguf(self->dir, "m-00001-of-65535.gguf", "llama", "x", 0, 65535, 1), 0);
	EXPECT_EQ(open_in(self->dir, "m-00001-of-65535.gguf", &self->model, &self->err), -ENOENT);
	EXPECT_TRUE(ends(self->err.file, "m-00002-of-65535.gguf"));
}

TEST_F(model, a_text_model_and_a_projector_are_one_model_in_a_directory)
{
	ASSERT_EQ(write_gguf(self->dir, "b.gguf", "qwen3vl", "token_embd.weight", 0, 0, 0), 0);
	ASSERT_EQ(write_gguf(self->dir, "a.gguf", "clip", "v.patch_embd.weight", 0, 0, 0), 0);
	ASSERT_EQ(weir_model_open(self->dir, &self->model, &self->err), 0);
	EXPECT_EQ(weir_model_nr_files(self->model), 2);
	EXPECT_STREQ(weir_model_at(self->model, 0)->name, "v.patch_embd.weight");
	weir_model_close(self->model);
	self->model = NULL;
	/* Two of a kind, and three. */
	ASSERT_EQ(write_gguf(self->dir, "a.gguf", "qwen3vl", "output.weight", 0, 0, 0), 0);
	EXPECT_EQ(weir_model_open(self->dir, &self->model, &self->err), -EINVAL);
	EXPECT_NE(strstr(self->err.message, "two text models"), NULL);
	ASSERT_EQ(write_gguf(self->dir, "c.gguf", "clip", "v.post_ln.weight", 0, 0, 0), 0);
	EXPECT_EQ(weir_model_open(self->dir, &self->model, &self->err), -EINVAL);
	/* By name there is no question. */
	ASSERT_EQ(open_in(self->dir, "c.gguf", &self->model, &self->err), 0);
	EXPECT_EQ(weir_model_nr_tensors(self->model), 1);
}

/* ---- memory ------------------------------------------------------------------------------- */

/* Every allocation of an open fails once: -ENOMEM, nothing left, and the last try succeeds. */
static const char *refuse_each(const char *path)
{
	for (uint64_t n = 1;; n++) {
		int64_t live = wr_test_alloc_live();
		struct weir_model *model = NULL;
		struct weir_error err = {0};
		int code;

		wr_test_alloc_fail_at(n);
		code = weir_model_open(path, &model, &err);
		if (!wr_test_alloc_failed()) {
			wr_test_alloc_fail_at(0);
			weir_model_close(model);
			return code != 0		      ? "it does not open at all"
			       : n < 10			      ? "it hardly allocates"
			       : wr_test_alloc_live() != live ? "close leaves memory"
							      : NULL;
		}
		if (code == 0) { /* config.json is an extra: without it the model opens */
			weir_model_close(model);
		} else if (code != -ENOMEM || err.code != -ENOMEM) {
			return "another code than -ENOMEM";
		}
		if (wr_test_alloc_live() != live)
			return "memory is left behind";
	}
}

TEST_F(model, each_allocation_may_fail_while_shards_are_opened)
{
	ASSERT_EQ(write_sharded(self->dir, RIGHT_MAP), 0);
	EXPECT_EQ(refuse_each(self->dir), NULL);
}

TEST_F(model, each_allocation_may_fail_while_a_checkpoint_is_opened)
{
	ASSERT_EQ(mb_qwen_st(&mb_qwen_4b, self->dir), 0);
	EXPECT_EQ(refuse_each(self->dir), NULL);
}

TEST_F(model, each_allocation_may_fail_while_gguf_files_are_opened)
{
	ASSERT_EQ(write_parts(self->dir), 0);
	EXPECT_EQ(refuse_each(self->dir), NULL);
	ASSERT_EQ(write_gguf(self->dir, "mmproj.gguf", "clip", "v.post_ln.weight", 0, 0, 0), 0);
	EXPECT_EQ(refuse_each(self->dir), NULL);
}

/* Resident memory now, or its peak since the last clear_refs. */
static long status_kib(const char *field)
{
	FILE *file = fopen("/proc/self/status", "r");
	char line[256];
	long kib = -1;

	if (file == NULL)
		return -1;
	while (fgets(line, sizeof(line), file) != NULL) {
		if (strncmp(line, field, strlen(field)) == 0)
			kib = atol(line + strlen(field));
	}
	fclose(file);
	return kib;
}

static long peak_kib(void)
{
	return status_kib("VmHWM:");
}

/* 160 bytes that declare as much as they can. */
static void hostile(struct mb_bytes *b, int kind)
{
	switch (kind) {
	case 0: /* as many tensors and values as the count allows */
		mb_gguf_head(b, 3, 1, 1);
		mb_gguf_key(b, "k", 9);
		mb_u32(b, 8);
		mb_u64(b, UINT64_C(1) << 40);
		break;
	case 1: /* nested arrays */
		mb_gguf_head(b, 3, 0, 8);
		mb_gguf_key(b, "k", 9);
		mb_u32(b, 9);
		mb_u64(b, UINT64_C(1) << 33);
		break;
	case 2:
		mb_gguf_head(b, 3, UINT64_C(1) << 62, UINT64_C(1) << 62);
		break;
	case 3:
		mb_u64(b, 99999999);
		mb_text(b, "{\"a\":{\"shape\":[");
		break;
	default:
		mb_u64(b, 152);
		mb_text(b, "{\"a\":{\"dtype\":\"U8\",\"shape\":[9223372036854775807],"
			   "\"data_offsets\":[0,9223372036854775807]}}");
		break;
	}
	mb_zeros(b, 160 - b->n);
}

TEST_F(model, a_hostile_file_of_160_bytes_takes_less_than_a_mebibyte)
{
	FILE *clear = fopen("/proc/self/clear_refs", "w");
	long before;

	/* From here on the peak is counted anew; without it the test is only less exact. */
	if (clear != NULL) {
		fputs("5", clear);
		fclose(clear);
	}
	before = peak_kib();
	for (int kind = 0; kind < 5; kind++) {
		struct mb_bytes b = {0};

		hostile(&b, kind);
		ASSERT_EQ(b.n, 160);
		ASSERT_EQ(mb_file(self->dir, "m", &b, 0), 0);
		EXPECT_NE(open_in(self->dir, "m", &self->model, &self->err), 0);
		mb_free(&b);
	}
	/* A sanitizer's own memory is no measure. */
	if (!SANITIZED)
		EXPECT_LT(peak_kib() - before, 1024);
}

TEST_F(model, two_thousand_cycles_do_not_grow)
{
	char *bad = mb_path(self->dir, "bad");
	long after_100 = 0;
	int64_t live = 0;
	int fd;

	ASSERT_EQ(write_sharded(self->dir, RIGHT_MAP), 0);
	ASSERT_EQ(mb_file_text(self->dir, "bad", "no model at all"), 0);
	for (int i = 0; i < 2000; i++) {
		ASSERT_EQ(weir_model_open(self->dir, &self->model, NULL), 0);
		weir_model_close(self->model);
		self->model = NULL;
		ASSERT_EQ(weir_model_open(bad, &self->model, &self->err), -EBADMSG);
		if (i == 100) {
			after_100 = status_kib("VmRSS:");
			live = wr_test_alloc_live();
		}
	}
	EXPECT_EQ(wr_test_alloc_live(), live);
	if (!SANITIZED)
		EXPECT_LT(status_kib("VmRSS:") - after_100, 256);
	/* The next descriptor is as low as ever. */
	fd = dup(0);
	EXPECT_LT(fd, 10);
	close(fd);
	free(bad);
}

TEST_HARNESS_MAIN
