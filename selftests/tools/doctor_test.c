/* SPDX-License-Identifier: MIT */
/*
 * doctor_test.c - The doctor describes any machine, changes nothing, and fits the screen.
 */
#include "kselftest_harness.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "harness/run_weir.h"

#define OUTPUT (1u << 16)
static char output[OUTPUT];

/* Run `weir doctor` with @arguments; stdout and stderr to @output; the status. */
static int doctor(const char *arguments)
{
	return wt_shell(output, OUTPUT, "doctor %s 2>&1", arguments);
}

/* The finding of that name; NULL when there is none. */
static json_t *finding(json_t *root, const char *name)
{
	json_t *f;
	size_t i;

	json_array_foreach(json_object_get(root, "findings"), i, f) {
		if (!strcmp(json_string_value(json_object_get(f, "name")), name))
			return f;
	}
	return NULL;
}

TEST(every_finding_has_a_state_and_every_fix_an_advice)
{
	json_t *root, *f;
	size_t i;

	ASSERT_EQ(0, doctor("--json"));
	root = json_loads(output, JSON_REJECT_DUPLICATES, NULL);
	ASSERT_NE(NULL, root);
	EXPECT_LT(12, json_array_size(json_object_get(root, "findings")));
	json_array_foreach(json_object_get(root, "findings"), i, f) {
		const char *state = json_string_value(json_object_get(f, "state"));

		EXPECT_TRUE(!strcmp(state, "ok") || !strcmp(state, "note") ||
			    !strcmp(state, "fix"));
		EXPECT_LT(0, json_string_length(json_object_get(f, "found")));
		if (!strcmp(state, "ok"))
			EXPECT_TRUE(json_is_null(json_object_get(f, "advice")));
		/* One advice serves all rungs that are refused for the same reason. */
		if (!strcmp(state, "fix") &&
		    strncmp(json_string_value(json_object_get(f, "name")), "io ", 3))
			EXPECT_TRUE(json_is_string(json_object_get(f, "advice")));
	}
	EXPECT_NE(NULL, finding(root, "processor"));
	EXPECT_NE(NULL, finding(root, "memlock"));
	EXPECT_NE(NULL, finding(root, "io fixed"));
	EXPECT_NE(NULL, finding(root, "O_DIRECT"));
	EXPECT_TRUE(
		json_is_integer(json_object_get(json_object_get(root, "machine"), "memory_bytes")));
	json_decref(root);
}

TEST(the_table_fits_80_columns)
{
	ASSERT_EQ(0, doctor(""));
	for (char *line = strtok(output, "\n"); line; line = strtok(NULL, "\n")) {
		if (!strncmp(line, "    ", 4)) /* commands are not broken */
			continue;
		EXPECT_GE(80, strlen(line))
		{
			TH_LOG("%s", line);
		}
	}
}

TEST(a_folder_that_was_tried_is_left_as_it_was)
{
	char dir[] = "/tmp/weir-doctor-XXXXXX", path[64];

	ASSERT_NE(NULL, mkdtemp(dir));
	snprintf(path, sizeof(path), "'%s'", dir);
	EXPECT_EQ(0, doctor(path));
	EXPECT_EQ(0, rmdir(dir));
}

TEST(a_file_system_without_direct_reads_is_found)
{
	json_t *root, *works;

	if (access("/dev/shm", W_OK))
		SKIP(return, "there is no /dev/shm");
	ASSERT_EQ(0, doctor("/dev/shm --json"));
	root = json_loads(output, 0, NULL);
	ASSERT_NE(NULL, root);
	works = json_object_get(json_object_get(json_object_get(root, "machine"), "direct"),
				"works");
	EXPECT_STREQ(json_is_true(works) ? "ok" : "fix",
		     json_string_value(json_object_get(finding(root, "O_DIRECT"), "state")));
	json_decref(root);
}

TEST(a_small_memlock_limit_binds_an_ordinary_user)
{
	json_t *root, *f;
	char copy[] = "/tmp/weir-doctor-XXXXXX", command[1024];

	if (geteuid())
		SKIP(return, "not root: cannot become another user");
	/* The build folder may be closed to others: run a copy. */
	ASSERT_NE(NULL, mkdtemp(copy));
	ASSERT_EQ(0, chmod(copy, 0755));
	snprintf(command, sizeof(command),
		 "cp '%s' '%s/weir' && ulimit -l 64 && "
		 "setpriv --reuid 65534 --regid 65534 --clear-groups '%s/weir' doctor --json /tmp "
		 "> '%s/out'; cat '%s/out'; rm -r '%s'",
		 WR_TEST_WEIR, copy, copy, copy, copy, copy);
	{
		FILE *p = popen(command, "r");

		ASSERT_NE(NULL, p);
		root = json_loadf(p, 0, NULL);
		pclose(p);
	}
	if (!root)
		SKIP(return, "setpriv is not installed");
	f = finding(root, "memlock");
	EXPECT_STREQ("fix", json_string_value(json_object_get(f, "state")));
	EXPECT_NE(NULL, strstr(json_string_value(json_object_get(f, "command")), "sudo tee"));
	json_decref(root);
}

TEST(a_path_that_is_not_there_is_an_error)
{
	json_t *root;

	EXPECT_EQ(1, doctor("/tmp/weir-no-such-folder"));
	EXPECT_EQ(0, strncmp(output, "weir: doctor: ", 14));
	EXPECT_EQ(1, doctor("--json /tmp/weir-no-such-folder"));
	root = json_loads(output, 0, NULL);
	EXPECT_STREQ("ENOENT",
		     json_string_value(json_object_get(json_object_get(root, "error"), "code")));
	json_decref(root);
}

TEST_HARNESS_MAIN
