/* SPDX-License-Identifier: MIT */
/*
 * verify_test.c - inspect and verify as a shell sees them, on a small model.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "harness/run_weir.h"
#include "verify.h"

FIXTURE(model)
{
	char dir[512];
};

#define OUTPUT (1u << 20)
static char output[OUTPUT];

FIXTURE_SETUP(model)
{
	snprintf(self->dir, sizeof(self->dir), "%s/verify-XXXXXX", WR_TEST_BUILD);
	ASSERT_NE(NULL, mkdtemp(self->dir));
	ASSERT_EQ(0,
		  wt_shell(output, OUTPUT,
			   "mkmodel --model qwen3-vl-2b --layers 1 --vision-blocks 1 --shrink 16 "
			   "--vocab 1000 --json --force '%s'",
			   self->dir));
}

FIXTURE_TEARDOWN(model)
{
	char command[600];

	snprintf(command, sizeof(command), "rm -rf '%s'", self->dir);
	EXPECT_EQ(0, system(command));
}

TEST_F(model, is_described_in_json_with_every_field_of_the_schema)
{
	json_t *root, *tensor;
	uint64_t sum = 0;
	size_t i;

	ASSERT_EQ(0, wt_shell(output, OUTPUT, "inspect '%s' --json", self->dir));
	root = json_loads(output, JSON_REJECT_DUPLICATES, NULL);
	ASSERT_NE(NULL, root);
	EXPECT_STREQ("safetensors", json_string_value(json_object_get(root, "format")));
	ASSERT_LT(20, json_array_size(json_object_get(root, "tensors")));
	EXPECT_LT(3, json_array_size(json_object_get(root, "groups")));
	json_array_foreach(json_object_get(root, "tensors"), i, tensor) {
		EXPECT_TRUE(json_is_string(json_object_get(tensor, "name")));
		EXPECT_STREQ("BF16", json_string_value(json_object_get(tensor, "dtype")));
		EXPECT_TRUE(json_is_array(json_object_get(tensor, "shape")));
		EXPECT_TRUE(json_is_string(json_object_get(tensor, "file")));
		EXPECT_TRUE(json_is_integer(json_object_get(tensor, "offset")));
		EXPECT_TRUE(json_is_string(json_object_get(tensor, "group")));
		sum += (uint64_t)json_integer_value(json_object_get(tensor, "bytes"));
	}
	EXPECT_EQ(sum, (uint64_t)json_integer_value(json_object_get(root, "bytes")));
	json_decref(root);
}

TEST_F(model, is_shown_in_80_columns)
{
	ASSERT_EQ(0, wt_shell(output, OUTPUT, "inspect '%s' --groups --tensors", self->dir));
	for (char *line = strtok(output, "\n"); line; line = strtok(NULL, "\n"))
		if (!strchr(line, '/')) /* paths are printed whole */
			EXPECT_GE(80, strlen(line));
}

TEST_F(model, verifies_with_the_same_hashes_on_every_rung)
{
	static const char *const rungs[] = {"auto", "fixed", "uring", "pread", "buffered"};
	json_t *first = NULL, *root;

	for (size_t i = 0; i < 5; i++) {
		int status =
			wt_shell(output, OUTPUT, "verify '%s' --json --io %s", self->dir, rungs[i]);

		root = json_loads(output, 0, NULL);
		ASSERT_NE(NULL, root);
		if (status == 1 && json_object_get(root, "error")) { /* this machine lacks it */
			json_decref(root);
			continue;
		}
		ASSERT_EQ(0, status);
		EXPECT_EQ(0, json_integer_value(json_object_get(root, "mismatches")));
		if (!first)
			first = json_incref(json_object_get(root, "tensors"));
		EXPECT_TRUE(json_equal(first, json_object_get(root, "tensors")));
		json_decref(root);
	}
	ASSERT_NE(NULL, first);
	EXPECT_LT(20, json_array_size(first));
	EXPECT_EQ(16, strlen(json_string_value(json_object_get(json_array_get(first, 0), "xxh3"))));
	json_decref(first);
}

TEST_F(model, that_is_damaged_gives_an_error_object)
{
	char path[600];
	json_t *root, *error;

	snprintf(path, sizeof(path), "%s/model.safetensors", self->dir);
	ASSERT_EQ(0, truncate(path, 4000));
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(1, wt_shell(output, OUTPUT, "%s '%s' --json", i ? "verify" : "inspect",
				      self->dir));
		root = json_loads(output, 0, NULL);
		ASSERT_NE(NULL, root);
		error = json_object_get(root, "error");
		EXPECT_STREQ("ENODATA", json_string_value(json_object_get(error, "code")));
		EXPECT_NE(NULL, strstr(json_string_value(json_object_get(error, "file")),
				       "model.safetensors"));
		EXPECT_NE(NULL, json_string_value(json_object_get(error, "message")));
		json_decref(root);
	}
}

/* Start verify with its output dropped, send ^C after @delay_us; the status, -1 when it was killed. */
static int interrupted_after(const char *dir, unsigned int delay_us)
{
	const char *args[] = {"verify", dir, NULL};
	struct wt_run run = {0};
	int status;

	if (wt_start(&run, args))
		return -1;
	usleep(delay_us);
	kill(run.pid, SIGINT);
	status = wt_wait(&run);
	status = run.killed ? -1 : status;
	wt_run_fini(&run);
	return status;
}

TEST_F(model, verification_that_is_interrupted_ends_with_130)
{
	/* Large enough to be in the middle: 200 MB of embedding. */
	ASSERT_EQ(0,
		  wt_shell(output, OUTPUT,
			   "mkmodel --model qwen3-vl-2b --layers 1 --vision-blocks 1 --vocab 50000 "
			   "--json --force '%s'",
			   self->dir));
	for (unsigned int delay = 10000; delay < 1000000; delay += 10000) {
		int status = interrupted_after(self->dir, delay);

		if (status == 130)
			return;
		/* Too early: the handler is not there yet. Too late: it is done. */
		ASSERT_TRUE(status == 0 || status == -1);
	}
	EXPECT_TRUE(false);
}

TEST_F(model, whose_bytes_change_between_the_two_sides_has_one_mismatch)
{
	atomic_bool stop = false;
	uint64_t hash[2][64] = {{0}};
	struct wr_verify engine = {.hash = hash[0], .stop = &stop}, plain = engine;
	const struct weir_tensor *t;
	struct weir_model *m;
	struct weir_io *io;
	int fd;

	ASSERT_EQ(0, weir_model_open(self->dir, &m, NULL));
	ASSERT_EQ(0, weir_io_open(NULL, &io, NULL));
	ASSERT_GE(64, weir_model_nr_tensors(m));
	engine.model = plain.model = m;
	plain.hash = hash[1];
	ASSERT_EQ(0, wr_verify_engine(&engine, io, NULL));
	ASSERT_EQ(0, wr_verify_plain(&plain, NULL));
	EXPECT_EQ(0, memcmp(hash[0], hash[1], sizeof(hash[0])));
	t = weir_model_tensor(m, 3);
	fd = open(weir_model_file(m, t->file)->path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(1, pwrite(fd, "x", 1, (off_t)(t->offset + t->bytes - 1)));
	close(fd);
	ASSERT_EQ(0, wr_verify_plain(&plain, NULL));
	for (uint32_t i = 0; i < weir_model_nr_tensors(m); i++)
		EXPECT_EQ(i == 3, hash[0][i] != hash[1][i]);
	atomic_store(&stop, true);
	EXPECT_EQ(-ECANCELED, wr_verify_engine(&engine, io, NULL));
	EXPECT_EQ(-ECANCELED, wr_verify_plain(&plain, NULL));
	weir_io_close(io);
	weir_model_close(m);
}

TEST_HARNESS_MAIN
