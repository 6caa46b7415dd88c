/* SPDX-License-Identifier: MIT */
/* The ground: checked arithmetic, options structs, sizes that people type, errors, versions. */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <weir/base.h>

#include "base/atomic.h"
#include "base/util.h"

TEST(sums_and_products_that_wrap_are_seen)
{
	uint64_t r64;
	size_t size;
	uint32_t r32;

	EXPECT_FALSE(wr_add_overflow(UINT64_MAX - 1, (uint64_t)1, &r64));
	EXPECT_EQ(r64, UINT64_MAX);
	EXPECT_TRUE(wr_add_overflow(UINT64_MAX, (uint64_t)1, &r64));
	EXPECT_TRUE(wr_mul_overflow((uint64_t)1 << 33, (uint64_t)1 << 31, &r64));
	EXPECT_FALSE(wr_mul_overflow((uint64_t)1 << 32, (uint64_t)1 << 31, &r64));
	EXPECT_TRUE(wr_mul_overflow(SIZE_MAX, (size_t)2, &size));
	EXPECT_TRUE(wr_sub_overflow((uint64_t)1, (uint64_t)2, &r64));
	/* A wide sum into a narrow place. */
	EXPECT_TRUE(wr_add_overflow(UINT64_C(0xffffffff), UINT64_C(1), &r32));
}

TEST(alignment_rounds_to_the_power_of_two_given)
{
	uint64_t r;

	EXPECT_EQ(wr_align_down(4097, 4096), 4096u);
	EXPECT_EQ(wr_align_up(4097, 4096), 8192u);
	EXPECT_EQ(wr_align_up(4096, 4096), 4096u);
	EXPECT_EQ(wr_align_up(0, 4096), 0u);
	EXPECT_TRUE(wr_align_up_overflow(UINT64_MAX - 10, 4096, &r));
	EXPECT_FALSE(wr_align_up_overflow(UINT64_MAX - 4095, 4096, &r));
	EXPECT_EQ(r, UINT64_MAX - 4095);
	EXPECT_TRUE(wr_is_pow2(1));
	EXPECT_TRUE(wr_is_pow2(UINT64_C(1) << 63));
	EXPECT_FALSE(wr_is_pow2(0));
	EXPECT_FALSE(wr_is_pow2(6));
}

TEST(min_and_max_evaluate_each_argument_once_and_nest)
{
	int calls = 0;

	EXPECT_EQ(wr_min(calls++, 5), 0);
	EXPECT_EQ(calls, 1);
	EXPECT_EQ(wr_max(wr_min(3, 4), wr_min(9, 2)), 3);
}

struct outer {
	int first;
	struct {
		int x;
	} member;
};

TEST(container_of_finds_the_struct_around_a_member)
{
	struct outer o;

	EXPECT_EQ(&o, wr_container_of(&o.member, struct outer, member));
}

struct opts_v1 {
	size_t size;
	uint64_t a;
};

struct opts_v2 {
	size_t size;
	uint64_t a, b;
};

TEST(options_of_an_older_caller_get_defaults_for_the_rest)
{
	struct opts_v1 old = {.size = sizeof(old), .a = 7};
	struct opts_v2 ours;

	memset(&ours, 0xff, sizeof(ours));
	ASSERT_EQ(wr_opts_copy(&ours, sizeof(ours), &old), 0);
	EXPECT_EQ(ours.size, sizeof(ours));
	EXPECT_EQ(ours.a, 7u);
	EXPECT_EQ(ours.b, 0u);
}

TEST(options_of_a_newer_caller_pass_while_the_new_part_is_zero)
{
	struct opts_v2 newer = {.size = sizeof(newer), .a = 7};
	struct opts_v1 ours = {.a = 1};

	ASSERT_EQ(wr_opts_copy(&ours, sizeof(ours), &newer), 0);
	EXPECT_EQ(ours.size, sizeof(ours));
	EXPECT_EQ(ours.a, 7u);
	/* The last byte of the new part decides too. */
	newer.b = UINT64_C(1) << 63;
	ours.a = 1;
	EXPECT_EQ(wr_opts_copy(&ours, sizeof(ours), &newer), -E2BIG);
	EXPECT_EQ(ours.a, 1u);
}

TEST(no_options_are_all_defaults_and_a_size_of_zero_is_a_mistake)
{
	struct opts_v1 ours = {.size = 1, .a = 1}, zero = {.size = 0, .a = 9};

	EXPECT_EQ(wr_opts_copy(&ours, sizeof(ours), &zero), -EINVAL);
	EXPECT_EQ(ours.a, 1u);
	ASSERT_EQ(wr_opts_copy(&ours, sizeof(ours), NULL), 0);
	EXPECT_EQ(ours.size, sizeof(ours));
	EXPECT_EQ(ours.a, 0u);
}

TEST(options_are_read_only_as_far_as_their_size_says)
{
	/* Exactly one field on the heap: the address sanitizer sees a byte too many. */
	size_t *only_size = malloc(sizeof(*only_size));
	struct opts_v2 ours;

	ASSERT_NE(only_size, NULL);
	*only_size = sizeof(*only_size);
	EXPECT_EQ(wr_opts_copy(&ours, sizeof(ours), only_size), 0);
	EXPECT_EQ(ours.a, 0u);
	free(only_size);
}

TEST(typed_sizes_know_the_binary_suffixes)
{
	static const struct {
		const char *text;
		uint64_t value;
	} good[] = {
		{"0", 0},
		{"18446744073709551615", UINT64_MAX},
		{"4k", 4096},
		{"4KiB", 4096},
		{"3M", UINT64_C(3) << 20},
		{"2GiB", UINT64_C(2) << 30},
		{"1t", UINT64_C(1) << 40},
	};
	uint64_t value;

	for (size_t i = 0; i < wr_array_size(good); i++) {
		value = 1;
		EXPECT_EQ(wr_parse_size(good[i].text, &value), 0)
		{
			TH_LOG("%s", good[i].text);
		}
		EXPECT_EQ(value, good[i].value)
		{
			TH_LOG("%s", good[i].text);
		}
	}
}

TEST(what_is_not_a_size_is_refused_and_writes_nothing)
{
	static const char *const bad[] = {"",	 " 1", "1 ",	"-1",	"+1",  "k",  "1kk",
					  "1kb", "1X", "1KiBs", "0x10", "1.5", "1Ki"};
	uint64_t value = 42;

	for (size_t i = 0; i < wr_array_size(bad); i++) {
		EXPECT_EQ(wr_parse_size(bad[i], &value), -EINVAL)
		{
			TH_LOG("'%s'", bad[i]);
		}
	}
	EXPECT_EQ(wr_parse_size("18446744073709551616", &value), -ERANGE);
	EXPECT_EQ(wr_parse_size("99999999999999999999999999", &value), -ERANGE);
	EXPECT_EQ(wr_parse_size("16777216T", &value), -ERANGE);
	EXPECT_EQ(value, 42u);
}

TEST(an_error_keeps_the_end_of_a_long_path)
{
	struct weir_error err;
	char path[1024];

	memset(path, 'd', sizeof(path));
	strcpy(path + sizeof(path) - sizeof("/the-file"), "/the-file");
	EXPECT_EQ(wr_error_set(&err, -EBADMSG, path, 17, "bad %s", "thing"), -EBADMSG);
	EXPECT_EQ(err.code, -EBADMSG);
	EXPECT_EQ(err.offset, 17u);
	EXPECT_STREQ(err.message, "bad thing");
	EXPECT_EQ(strlen(err.file), sizeof(err.file) - 1);
	EXPECT_EQ(strncmp(err.file, "...", 3), 0);
	EXPECT_STREQ(err.file + strlen(err.file) - strlen("/the-file"), "/the-file");
}

TEST(an_error_from_below_can_be_refined_with_its_own_file)
{
	struct weir_error err;

	(void)!wr_error_set(&err, -EIO, "/x/y", 1, "low");
	EXPECT_EQ(wr_error_set(&err, -ESTALE, err.file, 2, "high"), -ESTALE);
	EXPECT_STREQ(err.file, "/x/y");
}

TEST(a_message_is_printable_ascii_whatever_a_file_put_in)
{
	struct weir_error err;
	char longer[600];

	wr_error_set(&err, -EBADMSG, NULL, WEIR_OFFSET_NONE, "name '%s'", "a\x1b[2J\n\xc3\xa9");
	EXPECT_STREQ(err.message, "name 'a?[2J"
				  "??"
				  "?'");
	EXPECT_STREQ(err.file, "");
	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	wr_error_set(&err, -EBADMSG, NULL, WEIR_OFFSET_NONE, "%s", longer);
	EXPECT_EQ(strlen(err.message), sizeof(err.message) - 1);
}

TEST(an_error_may_be_unwanted)
{
	EXPECT_EQ(wr_error_set(NULL, -EIO, "f", 0, "x"), -EIO);
}

TEST(the_version_is_that_of_the_header)
{
	char text[64];

	snprintf(text, sizeof(text), "%d.%d.%d", WEIR_VERSION_MAJOR, WEIR_VERSION_MINOR,
		 WEIR_VERSION_PATCH);
	EXPECT_STREQ(weir_version(), text);
}

TEST(a_code_that_weir_does_not_use_has_a_text_too)
{
	EXPECT_STREQ(weir_strerror(0), "success");
	EXPECT_STREQ(weir_strerror(-100000), weir_strerror(12));
	EXPECT_STRNE(weir_strerror(-ENOSPC), weir_strerror(12));
}

TEST(the_texts_of_codes_are_those_of_the_document)
{
	FILE *doc = fopen(WR_TEST_SRCDIR "/docs/errors.md", "r");
	char line[512], *name, *text, *end;
	int nr = 0, code;

	ASSERT_NE(doc, NULL);
	while (fgets(line, sizeof(line), doc) != NULL) {
		if (strncmp(line, "| -E", 4) != 0)
			continue;
		name = line + 3;
		text = strstr(name, " | ");
		ASSERT_NE(text, NULL);
		*text = '\0';
		text += 3;
		end = strstr(text, " | ");
		ASSERT_NE(end, NULL);
		*end = '\0';
		/* The kernel's numbers by the C library's names. */
		for (code = 1; code < 200; code++) {
			if (strerrorname_np(code) != NULL &&
			    strcmp(strerrorname_np(code), name) == 0)
				break;
		}
		if (strcmp(name, "EOPNOTSUPP") == 0)
			code = EOPNOTSUPP;
		EXPECT_STREQ(weir_strerror(-code), text)
		{
			TH_LOG("%s", name);
		}
		nr++;
	}
	fclose(doc);
	EXPECT_EQ(nr, 34);
}

/* Not TEST_SIGNAL: the harness takes SIGABRT for its own. */
TEST(a_false_assert_aborts_a_debug_build_and_says_where)
{
	char said[512] = "";
	int ends[2], status;
	pid_t child;

	ASSERT_EQ(pipe(ends), 0);
	child = fork();
	ASSERT_GE(child, 0);
	if (child == 0) {
		dup2(ends[1], STDERR_FILENO);
		wr_assert(1 + 1 == 3);
		_exit(0);
	}
	close(ends[1]);
	ASSERT_GT(read(ends[0], said, sizeof(said) - 1), 0);
	close(ends[0]);
	ASSERT_EQ(waitpid(child, &status, 0), child);
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	EXPECT_NE(strstr(said, "util_test.c"), NULL);
	EXPECT_NE(strstr(said, "1 + 1 == 3"), NULL);
}

TEST_HARNESS_MAIN
