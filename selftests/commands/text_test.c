/* SPDX-License-Identifier: MIT */
/*
 * text_test.c - What a person at a terminal gets: lines of 80 columns whatever the reasons say, wrong
 * usage told with what would be right and status 2, and a manual page that has every option.
 */
#include "kselftest_harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "commands_help.h"

FIXTURE(single)
{
	char dir[512];
	struct ct_path path;
	struct wt_run run;
};

FIXTURE_SETUP(single)
{
	wt_dir_make(self->dir, sizeof(self->dir), NULL);
	self->path = ct_join(self->dir, "model");
	ASSERT_EQ(ct_make(CT_SINGLE, self->path.text), 0);
}

FIXTURE_TEARDOWN(single)
{
	wt_run_fini(&self->run);
	wt_dir_remove(self->dir);
}

static void expect_narrow(struct __test_metadata *_metadata, struct wt_run *run, const char *path)
{
	char *wide;

	ASSERT_EQ(run->status, 0) TH_LOG("%s", run->err);
	EXPECT_STREQ(run->err, "");
	EXPECT_LT(0, strlen(run->out));
	wide = ct_wide_line(run->out, path);
	EXPECT_EQ(wide, NULL) TH_LOG("%s", wide);
	free(wide);
}

TEST_F(single, is_shown_in_80_columns_by_every_command)
{
	static const char *const commands[][6] = {
		{"inspect", "--tensors", "--groups"},
		{"verify", "--tensors"},
		{"load"},
		{"load", "--pages", "4k", "--io", "buffered"},
		{"stream", "--passes", "2"},
		{"stream", "--compute", "gemv", "--unit", "tensor", "--vision"},
		{"stream", "--io", "mmap"},
		{"bench", "load", "--rounds", "1"},
		{"bench", "ladder", "--rounds=1", "--passes=2"},
		{"bench", "demo", "--passes", "2"},
	};

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		const char *args[8] = {NULL};
		size_t nr = 0;

		for (; nr < 6 && commands[i][nr]; nr++)
			args[nr] = commands[i][nr];
		args[nr] = self->path.text;
		ASSERT_EQ(wt_start(&self->run, args), 0);
		wt_wait(&self->run);
		expect_narrow(_metadata, &self->run, self->path.text);
	}
}

TEST_F(single, is_made_in_80_columns)
{
	wt_weir(&self->run, "mkmodel", "--force", "--model", "30b-a3b", "--layers", "1", "--shrink",
		"16", "--vocab", "64", "--format", "gguf", self->path.text, NULL);
	expect_narrow(_metadata, &self->run, self->path.text);
}

/* ---- wrong usage ---- */

TEST(wrong_usage_is_told_on_stderr_and_ends_with_2)
{
	static const struct {
		const char *args[6], *says;
	} wrong[] = {
		{{NULL}, "usage: weir COMMAND"},
		{{"strem", "x"}, "did you mean 'stream'"},
		{{"--passes", "3"}, "there is no command '--passes'"},
		{{"help", "nothing"}, "there is no command 'nothing'"},
		{{"stream"}, "needs PATH"},
		{{"stream", "a", "b"}, "one argument too many: b"},
		{{"stream", "--", "a", "--json"}, "one argument too many: --json"},
		{{"stream", "--bugdet", "1G", "a"}, "did you mean --budget"},
		{{"stream", "-x", "a"}, "there is no option -x"},
		{{"stream", "a", "--budget"}, "--budget needs a value: SIZE"},
		{{"stream", "--budget", "lots", "a"}, "'lots' is not a size"},
		{{"stream", "--budget", "-1", "a"}, "'-1' is not a size"},
		{{"stream", "--budget=99999999T", "a"}, "is too large"},
		{{"stream", "--passes", "0", "a"}, "0 is outside 1..100000"},
		{{"stream", "--passes", "100001", "a"}, "100001 is outside 1..100000"},
		{{"stream", "--passes", "two", "a"}, "'two' is not a number"},
		{{"stream", "--threads", "0", "a"}, "0 is outside 1..1024"},
		{{"stream", "--io", "magic", "a"}, "'magic' is none of auto|fixed|uring"},
		{{"stream", "--tile", "0", "a"}, "--tile"},
		{{"stream", "--tile", "10%", "a"}, "--tile"},
		{{"stream", "--json=yes", "a"}, "--json takes no value"},
		{{"load"}, "needs PATH"},
		{{"load", "--io", "mmap", "a"}, "'mmap' is none of"},
		{{"inspect", "--json"}, "needs PATH"},
		{{"verify", "--json"}, "needs PATH"},
		{{"doctor", "a", "b"}, "one argument too many: b"},
		{{"mkmodel", "--model", "2b"}, "needs DIR"},
		{{"mkmodel", "a"}, "--model is missing"},
		{{"mkmodel", "--model", "3b", "a"}, "there is no model '3b'"},
		{{"mkmodel", "--model", "2b", "--layers", "0", "a"}, "0 is outside"},
		{{"bench"}, "needs BENCHMARK [PATH]"},
		{{"bench", "speed", "a"}, "there is no benchmark \"speed\""},
		{{"bench", "demo"}, "demo needs a PATH"},
		{{"bench", "gemv", "a"}, "one argument too many: a"},
		{{"bench", "pool", "a"}, "one argument too many: a"},
		{{"bench", "--budget", "10MiB", "demo", "a"}, "--budget takes a share"},
		{{"bench", "--passes", "1", "demo", "a"}, "1 is outside 2..64"},
	};
	struct wt_run run = {0};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		ASSERT_EQ(wt_start(&run, wrong[i].args), 0);
		EXPECT_EQ(wt_wait(&run), 2) TH_LOG("case %zu", i);
		EXPECT_STREQ(run.out, "") TH_LOG("case %zu", i);
		EXPECT_NE(strstr(run.err, wrong[i].says), NULL) TH_LOG("%s", run.err);
	}
	wt_run_fini(&run);
}

/* ---- help and manual ---- */

/* The page of a command without its backslashes, to be freed. */
static char *page_of(const char *name)
{
	char path[CT_PATH], *text = calloc(1, 1 << 16);
	size_t bytes, n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/docs/man/weir-%s.1", WR_TEST_SRCDIR, name);
	f = fopen(path, "re");
	bytes = f && text ? fread(text, 1, (1 << 16) - 1, f) : 0;
	for (size_t i = 0; i < bytes; i++)
		if (text[i] != '\\')
			text[n++] = text[i];
	if (text)
		text[n] = '\0';
	if (f)
		fclose(f);
	return text;
}

TEST(every_option_of_a_command_is_in_its_manual_page_and_the_other_way_round)
{
#define NAME(id, name, help) name,
	static const char *const names[] = {WR_COMMANDS(NAME)};
	struct wt_run run = {0};
	char option[64];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char *page = page_of(names[i]);

		ASSERT_EQ(wt_weir(&run, names[i], "--help", NULL), 0);
		for (const char *p = strstr(run.out, "\n  --"); p; p = strstr(p + 1, "\n  --")) {
			snprintf(option, sizeof(option), "%.*s", (int)strcspn(p + 3, " \n"), p + 3);
			EXPECT_NE(strstr(page, option), NULL)
			TH_LOG("weir-%s.1 has no %s", names[i], option);
		}
		for (const char *p = strstr(page, " --"); p; p = strstr(p + 1, " --")) {
			size_t len = strspn(p + 3, "abcdefghijklmnopqrstuvwxyz-");

			snprintf(option, sizeof(option), "--%.*s", (int)len, p + 3);
			EXPECT_NE(strstr(run.out, option), NULL)
			TH_LOG("weir-%s.1 has %s, which the command has not", names[i], option);
		}
		free(page);
	}
	wt_run_fini(&run);
}

TEST_HARNESS_MAIN
