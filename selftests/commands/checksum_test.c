/* SPDX-License-Identifier: MIT */
/*
 * checksum_test.c - The checksum says what was computed on, and nothing else: it is the same for
 * every budget, unit, tile, backend, kind of page and number of threads, and for a model in one file
 * and in seven; it differs for another seed and another computation.
 */
#include "kselftest_harness.h"

#include <stdio.h>
#include <string.h>

#include "commands_help.h"

#define MAX_OPTIONS 8

FIXTURE(model)
{
	char dir[512];
	struct ct_path path;
	struct wt_run run;
};

FIXTURE_VARIANT(model)
{
	enum ct_model kind;
	const char *compute;
};

#define VARIANT(name, of, how)              \
	FIXTURE_VARIANT_ADD(model, name)    \
	{                                   \
		.kind = of, .compute = how, \
	}

VARIANT(single_touch, CT_SINGLE, "touch");
VARIANT(single_gemv, CT_SINGLE, "gemv");
VARIANT(sharded_touch, CT_SHARDED, "touch");
VARIANT(gguf_touch, CT_GGUF, "touch");
VARIANT(gguf_gemv, CT_GGUF, "gemv");
VARIANT(moe_gemv, CT_MOE, "gemv");

FIXTURE_SETUP(model)
{
	wt_dir_make(self->dir, sizeof(self->dir), NULL);
	self->path = ct_join(self->dir, ct_model_names[variant->kind]);
	ASSERT_EQ(ct_make(variant->kind, self->path.text), 0);
}

FIXTURE_TEARDOWN(model)
{
	wt_run_fini(&self->run);
	wt_dir_remove(self->dir);
}

/* The checksum of two passes over @path with @options; "" when the machine lacks what they ask. */
static const char *checksum(struct __test_metadata *_metadata, struct wt_run *run, const char *path,
			    const char *compute, const char *const *options)
{
	const char *args[MAX_OPTIONS + 10] = {"stream",	   "--json", "--passes",  "2",	path,
					      "--compute", compute,  "--experts", "all"};
	const char *code;

	for (int i = 0; i < MAX_OPTIONS && options[i]; i++)
		args[9 + i] = options[i];
	if (wt_start(run, args))
		return "";
	if (wt_wait(run) == 1) {
		code = wt_text(run->json, "error.code");
		EXPECT_TRUE(!strcmp(code, "EOPNOTSUPP") || !strcmp(code, "ENOMEM"))
		TH_LOG("%s %s: %s", options[0], options[1], run->out);
		return "";
	}
	EXPECT_EQ(run->status, 0);
	EXPECT_EQ(16, strlen(wt_text(run->json, "passes.0.checksum")));
	EXPECT_STREQ(wt_text(run->json, "passes.0.checksum"),
		     wt_text(run->json, "passes.1.checksum"));
	return wt_text(run->json, "passes.0.checksum");
}

TEST_F(model, has_one_checksum_whatever_the_way)
{
	static const char *const ways[][MAX_OPTIONS] = {
		{"--budget", "300%"},
		{"--budget", "60%", "--tile", "16K"},
		{"--budget", "25%", "--tile", "8K"},
		{"--unit", "tensor"},
		{"--unit", "group", "--budget", "98%"},
		{"--io", "fixed", "--budget", "25%", "--tile", "8K"},
		{"--io", "uring", "--budget", "25%", "--tile", "8K"},
		{"--io", "pread", "--budget", "25%", "--tile", "8K"},
		{"--io", "buffered", "--budget", "25%", "--tile", "8K"},
		{"--io", "mmap"},
		{"--io", "mmap", "--unit", "group"},
		{"--pages", "4k"},
		{"--pages", "thp", "--budget", "4MiB"},
		{"--pages", "2m", "--budget", "4MiB"},
		{"--threads", "1"},
		{"--threads", "2", "--tile", "8K"},
		{"--threads", "3", "--unit", "tensor"},
	};
	char first[32] = "", least[32];
	size_t nr = 0;

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		const char *sum =
			checksum(_metadata, &self->run, self->path.text, variant->compute, ways[i]);

		if (!first[0])
			snprintf(first, sizeof(first), "%s", sum);
		if (*sum) {
			EXPECT_STREQ(sum, first) TH_LOG("%s %s", ways[i][0], ways[i][1]);
			nr++;
		}
	}
	EXPECT_LT(12, nr); /* fixed, uring, thp, 2m: a machine may lack them */
	EXPECT_EQ(wt_weir(&self->run, "stream", "--tile", "8K", "--budget", "0", self->path.text,
			  NULL),
		  1);
	snprintf(least, sizeof(least), "%llu", (unsigned long long)ct_least_budget(&self->run));
	EXPECT_STREQ(checksum(_metadata, &self->run, self->path.text, variant->compute,
			      (const char *const[MAX_OPTIONS]){"--tile", "8K", "--budget", least}),
		     first);
}

TEST(a_model_in_one_file_and_in_seven_is_one_model_and_another_seed_is_another)
{
	static const char *const none[MAX_OPTIONS] = {NULL};
	static const char *const vision[MAX_OPTIONS] = {"--vision"};
	static const enum ct_model kinds[] = {CT_SINGLE, CT_SHARDED, CT_OTHER};
	char dir[512], sums[3][4][32];
	struct wt_run run = {0};

	wt_dir_make(dir, sizeof(dir), NULL);
	for (int k = 0; k < 3; k++) {
		struct ct_path path = ct_join(dir, ct_model_names[kinds[k]]);

		ASSERT_EQ(ct_make(kinds[k], path.text), 0);
		for (int i = 0; i < 4; i++)
			snprintf(sums[k][i], sizeof(sums[k][i]), "%s",
				 checksum(_metadata, &run, path.text, i & 1 ? "gemv" : "touch",
					  i & 2 ? vision : none));
	}
	for (int i = 0; i < 4; i++) {
		EXPECT_STREQ(sums[0][i], sums[1][i]);
		EXPECT_STRNE(sums[0][i], sums[2][i]);
		for (int j = 0; j < i; j++)
			EXPECT_STRNE(sums[0][i], sums[0][j]);
	}
	wt_run_fini(&run);
	wt_dir_remove(dir);
}

TEST_HARNESS_MAIN
