/* SPDX-License-Identifier: MIT */
/*
 * ui_test.c - Options, units and tables, and the dispatcher as a shell sees it.
 */
#include "kselftest_harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "ui.h"

struct parsed {
	bool json;
	const char *name;
	uint32_t passes;
	uint64_t seed;
	struct wr_ui_size budget;
	int mode;
};

/* Parse @line, words separated by single spaces. @ret_first is the first positional. */
static int parse(const char *line, struct parsed *p, int *ret_nr, const char **ret_first)
{
	const struct wr_ui_option options[] = {
		{"json", WR_UI_FLAG, NULL, "as JSON", &p->json, 0, 0},
		{"name", WR_UI_STRING, "NAME", "a name", &p->name, 0, 0},
		{"passes", WR_UI_U32, "N", "how many", &p->passes, 1, 100},
		{"seed", WR_UI_U64, "S", "a seed", &p->seed, 0, 0},
		{"budget", WR_UI_SIZE, "BYTES", "memory", &p->budget, 0, 0},
		{"mode", WR_UI_CHOICE, "touch|gemv", "what to do", &p->mode, 0, 0},
	};
	const struct wr_ui_usage usage = {"try", "PATH", "Try.", options, 6, 0, 2};
	static char text[256];
	static char *argv[32];
	int argc = 0;

	snprintf(text, sizeof(text), "%s", line);
	for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
		argv[argc++] = word;
	argv[argc] = NULL;
	argc = wr_ui_parse(&usage, argc, argv, ret_nr);
	*ret_first = argv[1];
	return argc;
}

TEST(options_and_arguments_may_be_mixed)
{
	struct parsed p = {0};
	const char *first;
	int nr;

	ASSERT_EQ(WR_UI_RUN, parse("try a --json --passes=5 b --name x --seed "
				   "18446744073709551615 --budget 60% --mode gemv",
				   &p, &nr, &first));
	EXPECT_EQ(2, nr);
	EXPECT_STREQ("a", first);
	EXPECT_TRUE(p.json);
	EXPECT_EQ(5, p.passes);
	EXPECT_STREQ("x", p.name);
	EXPECT_EQ(UINT64_MAX, p.seed);
	EXPECT_EQ(600, wr_ui_size_bytes(&p.budget, 1000));
	EXPECT_EQ(1, p.mode);
}

TEST(what_follows_two_dashes_is_an_argument)
{
	struct parsed p = {0};
	const char *first;
	int nr;

	ASSERT_EQ(WR_UI_RUN, parse("try -- --json", &p, &nr, &first));
	EXPECT_EQ(1, nr);
	EXPECT_STREQ("--json", first);
	EXPECT_FALSE(p.json);
}

TEST(wrong_usage_is_status_2)
{
	static const char *const lines[] = {
		"try --nothing",    "try --jso",       "try --json=yes",
		"try --name",	    "try --passes 0",  "try --passes x",
		"try --passes 101", "try --passes -1", "try --budget 12X",
		"try --mode fly",   "try --mode gem",  "try --mode touch|gemv",
		"try a b c",	    "try -x",	       "try --seed 18446744073709551616",
	};
	struct parsed p = {0};
	const char *first;
	int nr;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		EXPECT_EQ(WR_EXIT_USAGE, parse(lines[i], &p, &nr, &first))
		{
			TH_LOG("%s", lines[i]);
		}
	}
}

TEST(help_is_printed_and_is_status_0)
{
	struct parsed p = {0};
	const char *first;
	int nr;

	EXPECT_EQ(WR_EXIT_OK, parse("try --help", &p, &nr, &first));
}

TEST(sizes_are_read_exactly)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{"0", 0},
		{"4096", 4096},
		{"1.5G", 1610612736},
		{"1.5GiB", 1610612736},
		{"1.5GB", 1500000000},
		{"512MiB", 536870912},
		{"100mb", 100000000},
		{"0.000001G", 1073},
		{"16383T", 16383ull << 40},
		{"18446744073709551615", UINT64_MAX},
	};
	static const char *const bad[] = {"",	 "G",	"-1",	"1.",  ".5G", "1.1234567G",
					  "1 G", "1GX", "0x10", "1e9", "%",   "5%%"};
	struct wr_ui_size size;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ASSERT_EQ(0, wr_ui_parse_size(good[i].text, &size));
		EXPECT_EQ(good[i].bytes, size.bytes);
		EXPECT_TRUE(size.given);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		EXPECT_EQ(-EINVAL, wr_ui_parse_size(bad[i], &size))
		{
			TH_LOG("'%s'", bad[i]);
		}
	}
	EXPECT_EQ(-EOVERFLOW, wr_ui_parse_size("16777216T", &size));
	EXPECT_EQ(-EOVERFLOW, wr_ui_parse_size("18446744073709551616", &size));
	EXPECT_EQ(-EOVERFLOW, wr_ui_parse_size("200000%", &size));
}

TEST(a_percentage_is_taken_of_its_base_without_wrapping)
{
	struct wr_ui_size size;

	ASSERT_EQ(0, wr_ui_parse_size("62.5%", &size));
	EXPECT_EQ(625, wr_ui_size_bytes(&size, 1000));
	EXPECT_EQ(5000000000ull, wr_ui_size_bytes(&size, 8000000000ull));
	ASSERT_EQ(0, wr_ui_parse_size("1000%", &size));
	EXPECT_EQ(UINT64_MAX, wr_ui_size_bytes(&size, UINT64_MAX / 2));
}

TEST(numbers_are_printed_with_their_unit)
{
	char t[WR_UI_TEXT];

	EXPECT_STREQ("0 B", wr_ui_bytes(t, 0));
	EXPECT_STREQ("999 B", wr_ui_bytes(t, 999));
	EXPECT_STREQ("1.00 MB", wr_ui_bytes(t, 999999));
	EXPECT_STREQ("4.26 GB", wr_ui_bytes(t, 4255140312ull));
	EXPECT_STREQ("18.4 EB", wr_ui_bytes(t, UINT64_MAX));
	EXPECT_STREQ("768 MiB", wr_ui_memory(t, 768u << 20));
	EXPECT_STREQ("1.50 GiB", wr_ui_memory(t, 1536u << 20));
	EXPECT_STREQ("2.31 GB/s", wr_ui_rate(t, 2.31e9));
	EXPECT_STREQ("60 ns", wr_ui_duration(t, 60e-9));
	EXPECT_STREQ("1 ms", wr_ui_duration(t, 0.9999e-3));
	EXPECT_STREQ("610 ms", wr_ui_duration(t, 0.61));
	EXPECT_STREQ("1.23 s", wr_ui_duration(t, 1.234));
	EXPECT_STREQ("1 min 00 s", wr_ui_duration(t, 59.96));
	EXPECT_STREQ("2 min 05 s", wr_ui_duration(t, 125));
	EXPECT_STREQ("1 h 00 min", wr_ui_duration(t, 3600));
}

/* The table of two columns, the second of @kind, with one long cell, as text. */
static char *long_table(enum wr_ui_column_kind kind, const char *cell)
{
	const struct wr_ui_column columns[] = {{"name", WR_UI_LEFT}, {"what", kind}};
	struct wr_ui_table *t = wr_ui_table_open(columns, 2);
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	wr_ui_table_cell(t, "x");
	wr_ui_table_cell(t, "%s", cell);
	wr_ui_table_print(t, f);
	fclose(f);
	wr_ui_table_close(t);
	return text;
}

static size_t widest_line(const char *text)
{
	size_t widest = 0;

	for (const char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n')
		if (strcspn(p, "\n") > widest)
			widest = strcspn(p, "\n");
	return widest;
}

TEST(a_table_is_never_wider_than_80_columns)
{
	char cell[400], *text;

	for (size_t i = 0; i < sizeof(cell) - 1; i++)
		cell[i] = i % 9 == 8 ? ' ' : (char)('a' + i % 26);
	cell[sizeof(cell) - 1] = '\0';
	text = long_table(WR_UI_WRAP, cell);
	EXPECT_GE(80, widest_line(text));
	free(text);
	memset(cell, 'w', sizeof(cell) - 1); /* no place to break */
	text = long_table(WR_UI_WRAP, cell);
	EXPECT_GE(80, widest_line(text));
	free(text);
	text = long_table(WR_UI_CUT, cell);
	EXPECT_EQ(80, widest_line(text));
	free(text);
}

TEST(a_cut_cell_keeps_its_end)
{
	char cell[200], *text;

	memset(cell, '.', sizeof(cell));
	strcpy(cell + 180, "the_end");
	text = long_table(WR_UI_CUT, cell);
	EXPECT_NE(NULL, strstr(text, "the_end\n"));
	free(text);
}

TEST(a_table_aligns_and_leaves_no_blanks_at_the_end)
{
	const struct wr_ui_column columns[] = {{"pass", WR_UI_RIGHT}, {"kind", WR_UI_LEFT}};
	struct wr_ui_table *t = wr_ui_table_open(columns, 2);
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	wr_ui_table_cell(t, "1");
	wr_ui_table_cell(t, "a");
	wr_ui_table_cell(t, "22");
	wr_ui_table_cell(t, "%s", "");
	EXPECT_EQ(0, wr_ui_table_print(t, f));
	fclose(f);
	wr_ui_table_close(t);
	EXPECT_STREQ("pass  kind\n   1  a\n  22\n", text);
	free(text);
}

/* Run the binary with @arguments; its stdout and stderr to @ret, its status returned. */
static int shell(const char *arguments, char *ret, size_t size)
{
	char command[512];
	FILE *p;
	size_t n;
	int status;

	snprintf(command, sizeof(command), "'%s' %s 2>&1", WR_TEST_WEIR, arguments);
	p = popen(command, "r");
	n = p ? fread(ret, 1, size - 1, p) : 0;
	ret[n] = '\0';
	status = p ? pclose(p) : -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(every_command_explains_itself_in_80_columns)
{
#define NAME(id, name, help) name,
	static const char *const names[] = {WR_COMMANDS(NAME)};
	char all[8192], text[8192], line[64];

	ASSERT_EQ(WR_EXIT_OK, shell("--help", all, sizeof(all)));
	EXPECT_GE(80, widest_line(all));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(line, sizeof(line), "\n  %s ", names[i]);
		EXPECT_NE(NULL, strstr(all, line));
		snprintf(line, sizeof(line), "%s --help", names[i]);
		EXPECT_EQ(WR_EXIT_OK, shell(line, text, sizeof(text)));
		EXPECT_EQ(0, strncmp(text, "usage: weir ", 12));
		EXPECT_NE(NULL, strstr(text, "--json"));
		EXPECT_GE(80, widest_line(text))
		{
			TH_LOG("%s", line);
		}
	}
}

TEST(an_unknown_command_is_answered_with_the_nearest)
{
	char text[8192];

	EXPECT_EQ(WR_EXIT_USAGE, shell("docter", text, sizeof(text)));
	EXPECT_NE(NULL, strstr(text, "did you mean 'doctor'?"));
	EXPECT_EQ(WR_EXIT_USAGE, shell("quux", text, sizeof(text)));
	EXPECT_EQ(NULL, strstr(text, "did you mean"));
	EXPECT_EQ(WR_EXIT_USAGE, shell("", text, sizeof(text)));
}

TEST(output_that_cannot_be_written_is_a_failure)
{
	char text[8192];

	EXPECT_EQ(WR_EXIT_FAILED, shell("--version >/dev/full", text, sizeof(text)));
}

TEST_HARNESS_MAIN
