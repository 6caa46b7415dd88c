/* SPDX-License-Identifier: MIT */
/*
 * The binary writing: what it leaves in the folder when it succeeds, when it is refused, when there is
 * no room and when it is interrupted.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "mkmodel/mkmodel_help.h"
#include "mkmodel_priv.h"

#define TINY "--layers", "2", "--vision-blocks", "3", "--vocab", "96", "--shrink", "16"

FIXTURE(folder)
{
	char top[512];
	char a[600];
	char b[600];
};

FIXTURE_SETUP(folder)
{
	wt_dir_make(self->top, sizeof(self->top), NULL);
	snprintf(self->a, sizeof(self->a), "%s/a", self->top);
	snprintf(self->b, sizeof(self->b), "%s/b", self->top);
}

FIXTURE_TEARDOWN(folder)
{
	wt_dir_remove(self->top);
}

static bool same_file(const char *a, const char *b, const char *name)
{
	size_t len_a = 0, len_b = 0;
	unsigned char *da = mkt_read(a, name, &len_a), *db = mkt_read(b, name, &len_b);
	bool same = da && db && len_a == len_b && !memcmp(da, db, len_a);

	free(da);
	free(db);
	return same;
}

/* The code of the error that a command ends with, "" when there is none. */
static void error_code(const char *const *args, char *ret, size_t size, int *ret_status)
{
	json_t *root = mkt_run_json(args, ret_status);
	const json_t *error = json_object_get(root, "error");
	const char *code = json_string_value(json_object_get(error, "code"));

	snprintf(ret, size, "%s", code ? code : "");
	json_decref(root);
}

static void make_file(const char *dir, const char *name, const char *text)
{
	char path[1024];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	if (f) {
		fputs(text, f);
		fclose(f);
	}
}

TEST_F(folder, what_is_written_is_what_the_plan_says)
{
	const char *args[] = {"--model", "8b", TINY, "--threads", "3", self->a, NULL};
	struct wr_mk_plan p;
	unsigned char *want, *got;
	size_t len = 0;

	ASSERT_EQ(mkt_run(args), 0);
	ASSERT_EQ(mkt_plan("8b", MKT_SAFETENSORS, 1, &p), 0);
	want = mkt_render(&p.files[0]);
	got = mkt_read(self->a, "model.safetensors", &len);
	ASSERT_EQ(len, p.files[0].bytes);
	EXPECT_EQ(memcmp(want, got, len), 0);
	EXPECT_EQ(mkt_count_files(self->a), 5);
	free(want);
	free(got);
	wr_mk_plan_fini(&p);
}

TEST_F(folder, a_seed_gives_the_same_files_with_any_number_of_threads)
{
	/* Large enough for several chunks a thread. */
	const char *one[] = {"--model",	  "2b",	     "--layers", "1",	     "--vision-blocks",
			     "1",	  "--vocab", "96",	 "--shrink", "2",
			     "--threads", "1",	     self->a,	 NULL};
	const char *more[] = {"--model",   "2b",      "--layers", "1",	      "--vision-blocks",
			      "1",	   "--vocab", "96",	  "--shrink", "2",
			      "--threads", "5",	      self->b,	  NULL};

	ASSERT_EQ(mkt_run(one), 0);
	ASSERT_EQ(mkt_run(more), 0);
	EXPECT_TRUE(same_file(self->a, self->b, "model.safetensors"));
	EXPECT_TRUE(same_file(self->a, self->b, "config.json"));
}

TEST_F(folder, another_seed_gives_other_weights)
{
	const char *one[] = {"--model", "2b", TINY, "--seed", "1", self->a, NULL};
	const char *two[] = {"--model", "2b", TINY, "--seed", "2", self->b, NULL};

	ASSERT_EQ(mkt_run(one), 0);
	ASSERT_EQ(mkt_run(two), 0);
	EXPECT_FALSE(same_file(self->a, self->b, "model.safetensors"));
	EXPECT_TRUE(same_file(self->a, self->b, "config.json"));
}

/* First bytes of the SHA-256 of what was published, in the order of the models. */
TEST_F(folder, small_files_are_the_published_ones)
{
	static const struct {
		const char *model, *file, *sha256;
	} published[] = {
		{"2b", "config.json", "bec4b3d446ef"},
		{"4b", "config.json", "edac77033291"},
		{"8b", "config.json", "5cd452860dc1"},
		{"32b", "config.json", "d2dd0c60d01b"},
		{"30b-a3b", "config.json", "6129b3f54d51"},
		{"2b", "preprocessor_config.json", "27225450ac9c"},
		{"2b", "video_preprocessor_config.json", "7768af27c1fa"},
	};

	for (size_t i = 0; i < sizeof(published) / sizeof(published[0]); i++) {
		struct wr_mk_plan p = {0};
		char command[1024], digest[13] = "";
		FILE *f;

		ASSERT_EQ(wr_mk_config_plan(wr_mk_model_find(published[i].model), &p), 0);
		for (size_t k = 0; k < p.nr_files; k++) {
			if (strcmp(p.files[k].name, published[i].file))
				continue;
			wr_mk_buf_add(&p.files[k].head, "", 1);
			make_file(self->top, "small", p.files[k].head.data);
		}
		snprintf(command, sizeof(command), "sha256sum '%s/small'", self->top);
		f = popen(command, "r");
		ASSERT_NE(f, NULL);
		EXPECT_NE(fgets(digest, sizeof(digest), f), NULL);
		pclose(f);
		EXPECT_STREQ(digest, published[i].sha256);
		wr_mk_plan_fini(&p);
	}
}

TEST_F(folder, a_model_that_is_there_is_kept_unless_forced)
{
	const char *one[] = {"--model", "2b", TINY, "--seed", "1", self->a, NULL};
	const char *two[] = {"--model", "2b", TINY, "--seed", "2", self->a, NULL};
	const char *forced[] = {"--model", "2b", TINY, "--seed", "2", "--force", self->a, NULL};
	const char *other[] = {"--model", "2b", TINY, "--seed", "2", self->b, NULL};
	char code[32];
	int status;

	ASSERT_EQ(mkt_run(one), 0);
	ASSERT_EQ(mkt_run(other), 0);
	error_code(two, code, sizeof(code), &status);
	EXPECT_EQ(status, 1);
	EXPECT_STREQ(code, "EEXIST");
	EXPECT_FALSE(same_file(self->a, self->b, "model.safetensors"));
	EXPECT_EQ(mkt_run(forced), 0);
	EXPECT_TRUE(same_file(self->a, self->b, "model.safetensors"));
	EXPECT_EQ(mkt_count_files(self->a), 5);
}

TEST_F(folder, replacing_a_model_removes_its_shards_and_nothing_else)
{
	const char *split[] = {"--model", "2b", TINY, "--shard-bytes", "400KB", self->a, NULL};
	const char *single[] = {"--model", "2b", TINY, "--force", self->a, NULL};

	ASSERT_EQ(mkt_run(split), 0);
	ASSERT_TRUE(mkt_exists(self->a, "model.safetensors.index.json"));
	ASSERT_GT(mkt_count_files(self->a), 6);
	make_file(self->a, "README.md", "mine");
	ASSERT_EQ(mkt_run(single), 0);
	EXPECT_TRUE(mkt_exists(self->a, "model.safetensors"));
	EXPECT_TRUE(mkt_exists(self->a, "README.md"));
	EXPECT_EQ(mkt_count_files(self->a), 6);
}

TEST_F(folder, what_a_killed_run_left_is_written_over)
{
	const char *args[] = {"--model", "2b", TINY, self->top, NULL};

	make_file(self->top, ".model.safetensors.part", "half a model");
	ASSERT_EQ(mkt_run(args), 0);
	EXPECT_FALSE(mkt_exists(self->top, ".model.safetensors.part"));
	EXPECT_EQ(mkt_count_files(self->top), 5);
}

TEST_F(folder, two_runs_do_not_write_into_one_folder)
{
	const char *args[] = {"--model", "2b", TINY, self->top, NULL};
	int fd = open(self->top, O_RDONLY | O_DIRECTORY), status;
	char code[32];

	ASSERT_GE(fd, 0);
	ASSERT_EQ(flock(fd, LOCK_EX), 0);
	error_code(args, code, sizeof(code), &status);
	EXPECT_EQ(status, 1);
	EXPECT_STREQ(code, "EBUSY");
	EXPECT_EQ(mkt_count_files(self->top), 0);
	close(fd);
}

TEST_F(folder, a_folder_that_cannot_be_made_is_said)
{
	char below[700], code[32];
	const char *args[] = {"--model", "2b", TINY, below, NULL};
	int status;

	snprintf(below, sizeof(below), "%s/no/such", self->top);
	error_code(args, code, sizeof(code), &status);
	EXPECT_EQ(status, 1);
	EXPECT_STREQ(code, "ENOENT");
	make_file(self->top, "file", "not a folder");
	snprintf(below, sizeof(below), "%s/file", self->top);
	error_code(args, code, sizeof(code), &status);
	EXPECT_EQ(status, 1);
	EXPECT_STREQ(code, "ENOTDIR");
}

TEST_F(folder, too_little_room_is_known_before_anything_is_written)
{
	const char *args[] = {"--model", "32b", "/dev/shm/mkmodel-no-room", NULL};
	struct statvfs fs;
	char code[32];
	int status;

	if (statvfs("/dev/shm", &fs))
		SKIP(return, "there is no /dev/shm");
	if ((uint64_t)fs.f_bavail * fs.f_frsize > UINT64_C(66000000000))
		SKIP(return, "/dev/shm has room for 66 GB");
	error_code(args, code, sizeof(code), &status);
	EXPECT_EQ(status, 1);
	EXPECT_STREQ(code, "ENOSPC");
	EXPECT_EQ(mkt_count_files("/dev/shm/mkmodel-no-room"), -1);
}

TEST_F(folder, a_write_that_fails_leaves_no_file)
{
	const char *args[] = {"--model", "2b", TINY, self->a, NULL};
	struct rlimit old, small = {100000, 100000};
	struct wt_run run = {0};

	ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
	small.rlim_max = old.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
	ASSERT_EQ(mkt_start(&run, args), 0);
	setrlimit(RLIMIT_FSIZE, &old);
	EXPECT_EQ(wt_wait(&run), 1);
	wt_run_fini(&run);
	EXPECT_EQ(mkt_count_files(self->a), -1);
}

/* Waits until a temporary file is there. */
static bool wait_for_part(const char *dir, const char *name)
{
	struct timespec pause = {.tv_nsec = 2000000};

	for (int i = 0; i < 5000; i++) {
		if (mkt_exists(dir, name))
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

TEST_F(folder, an_interrupted_run_leaves_no_file)
{
	static const int signals[] = {SIGINT, SIGTERM};
	struct statvfs fs;

	ASSERT_EQ(statvfs(self->top, &fs), 0);
	if ((uint64_t)fs.f_bavail * fs.f_frsize < UINT64_C(20000000000))
		SKIP(return, "less than 20 GB free");
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		/* Its first shard alone takes longer than the signal. */
		const char *args[] = {"--model", "8b", "--threads", "1", self->a, NULL};
		struct wt_run run = {0};

		ASSERT_EQ(mkt_start(&run, args), 0);
		EXPECT_TRUE(wait_for_part(self->a, ".model-00001-of-00004.safetensors.part"));
		kill(run.pid, signals[i]);
		EXPECT_EQ(wt_wait(&run), 130);
		EXPECT_FALSE(run.killed);
		wt_run_fini(&run);
		EXPECT_EQ(mkt_count_files(self->a), -1);
	}
}

TEST(wrong_usage_exits_with_2)
{
	static const char *const wrong[][6] = {
		{"nowhere"},
		{"--model", "2b"},
		{"--model", "7b", "nowhere"},
		{"--model", "2b", "--layers", "29", "nowhere"},
		{"--model", "2b", "--layers", "0", "nowhere"},
		{"--model", "2b", "--shrink", "3", "nowhere"},
		{"--model", "2b", "--gguf-type", "q3", "nowhere"},
		{"--model", "2b", "nowhere", "else"},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		EXPECT_EQ(mkt_run(wrong[i]), 2) TH_LOG("case %zu", i);
	}
}

TEST_HARNESS_MAIN
