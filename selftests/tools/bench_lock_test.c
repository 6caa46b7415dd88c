/* SPDX-License-Identifier: MIT */
/* `weir bench lock` runs every arm and says which one it lacks. How fast anything is, is not tested. */
#include "kselftest_harness.h"

#include <stdlib.h>
#include <string.h>

#include "harness/run_weir.h"

static double median(const json_t *in, const char *key)
{
	return json_number_value(json_object_get(json_object_get(in, key), "median"));
}

static bool has_tsan(const json_t *all)
{
	return json_string_length(json_object_get(all, "tsan_reason")) == 0;
}

TEST(every_arm_gives_a_number)
{
	struct wt_run run = {0};
	const json_t *arms, *ratios;

	wt_weir(&run, "bench", "lock", "--rounds", "1", "--json", NULL);
	ASSERT_EQ(run.status, 0);
	ASSERT_NE(run.json, NULL);
	arms = json_object_get(run.json, "arms");
	ratios = json_object_get(run.json, "ratios");
	ASSERT_EQ(json_array_size(arms), 6u);
	ASSERT_EQ(json_array_size(ratios), 4u);
	for (size_t i = 0; i < 6; i++) {
		const json_t *arm = json_array_get(arms, i);
		const char *name = json_string_value(json_object_get(arm, "arm"));

		if (strcmp(name, "ThreadSanitizer") != 0 || has_tsan(run.json))
			EXPECT_GT(median(arm, "ns"), 0) TH_LOG("%s", name);
	}
	for (size_t i = 0; i < 4; i++) {
		const json_t *ratio = json_array_get(ratios, i);

		if (i < 3 || has_tsan(run.json))
			EXPECT_GT(median(ratio, "ratio"), 0);
	}
	wt_run_fini(&run);
}

static int hide_compilers(void *arg)
{
	(void)arg;
	return setenv("PATH", "/nowhere", 1);
}

TEST(without_a_compiler_the_arm_is_said_to_be_absent)
{
	struct wt_run run = {.prepare = hide_compilers};

	wt_weir(&run, "bench", "lock", "--rounds", "1", "--json", NULL);
	ASSERT_EQ(run.status, 0);
	ASSERT_NE(run.json, NULL);
	EXPECT_FALSE(has_tsan(run.json));
	EXPECT_TRUE(json_is_null(
		json_object_get(json_array_get(json_object_get(run.json, "arms"), 5), "ns")));
	wt_run_fini(&run);
}

TEST_HARNESS_MAIN
