/* SPDX-License-Identifier: MIT */
/*
 * numbers_test.c - What the project promises of bytes and memory, on a model whose pass visits more
 * than 100 MB: a pass after the first reads no more than the least it can plus 3 % of what it visits,
 * the process stays within its budget and 80 MiB, and the least budget that is named is one.
 */
#include "kselftest_harness.h"

#include <stdio.h>
#include <string.h>

#include "commands_help.h"
#include "harness/sanitized.h"

#define OVERHEAD_BYTES (80 << 20)

FIXTURE(big)
{
	char dir[512];
	struct ct_path path;
	struct wt_run run;
};

FIXTURE_SETUP(big)
{
	wt_dir_make(self->dir, sizeof(self->dir), NULL);
	self->path = ct_join(self->dir, "model");
	ASSERT_EQ(ct_make(CT_BIG, self->path.text), 0);
}

FIXTURE_TEARDOWN(big)
{
	wt_run_fini(&self->run);
	wt_dir_remove(self->dir);
}

static int64_t plan_bytes(FIXTURE_DATA(big) * self)
{
	wt_weir(&self->run, "stream", "--json", "--passes", "1", "--io", "mmap", self->path.text,
		NULL);
	return wt_int(self->run.json, "plan_bytes");
}

TEST_F(big, a_pass_reads_the_least_it_can_within_three_per_cent)
{
	static const int ratio_tenths[] = {11, 15, 20};
	int64_t plan = plan_bytes(self), unit, budget, ideal;
	char text[32];

	ASSERT_LT(100000000, plan);
	for (size_t i = 0; i < 3; i++) {
		budget = plan * 10 / ratio_tenths[i];
		snprintf(text, sizeof(text), "%lld", (long long)budget);
		ASSERT_EQ(wt_weir(&self->run, "stream", "--json", "--passes", "4", "--budget", text,
				  self->path.text, NULL),
			  0);
		unit = wt_int(self->run.json, "unit_bytes");
		ideal = plan - (budget - 2 * unit);
		EXPECT_EQ(wt_int(self->run.json, "budget_bytes"), budget);
		EXPECT_GE(wt_int(self->run.json, "ideal_bytes_per_pass"), ideal);
		EXPECT_LT(wt_int(self->run.json, "ideal_bytes_per_pass"), ideal + 4096);
		for (int p = 1; p < 4; p++) {
			char key[32];

			snprintf(key, sizeof(key), "passes.%d.bytes_read", p);
			EXPECT_LE(wt_int(self->run.json, key), ideal + plan * 3 / 100);
			EXPECT_LT(0, wt_int(self->run.json, key));
		}
	}
}

TEST_F(big, the_process_stays_within_its_budget_and_80_mib)
{
	static const char *const pages[] = {"auto", "4k", "thp"};
	static const char *const ios[] = {"auto", "buffered"};

	if (SANITIZED)
		SKIP(return, "a build without sanitizers");
	for (int i = 0; i < 6; i++) {
		wt_weir(&self->run, "stream", "--json", "--passes", "2", "--compute", "gemv",
			"--budget", "50%", "--pages", pages[i % 3], "--io", ios[i / 3],
			self->path.text, NULL);
		if (self->run.status == 1 && i % 3 == 2)
			continue; /* a machine without transparent huge pages */
		ASSERT_EQ(self->run.status, 0) TH_LOG("%s", self->run.out);
		EXPECT_LE(wt_int(self->run.json, "peak_bytes"),
			  wt_int(self->run.json, "budget_bytes") + OVERHEAD_BYTES);
		EXPECT_GE(wt_int(self->run.json, "peak_bytes"),
			  wt_int(self->run.json, "resident_bytes"));
	}
}

TEST_F(big, the_least_budget_that_is_named_works_and_half_of_it_does_not)
{
	static const char *const tight[] = {"0", "1", "4095", "0%", "1MiB"};
	static const char *const units[] = {"tile", "tensor", "group"};
	char least[32], below[32];

	for (size_t u = 0; u < 3; u++) {
		uint64_t bytes = 0;

		for (size_t i = 0; i < 5; i++) {
			EXPECT_EQ(wt_weir(&self->run, "stream", "--json", "--unit", units[u],
					  "--budget", tight[i], self->path.text, NULL),
				  1);
			EXPECT_STREQ(wt_text(self->run.json, "error.code"), "ENOSPC");
			if (!bytes)
				bytes = ct_least_budget(&self->run);
			EXPECT_LT(0, bytes);
			EXPECT_EQ(ct_least_budget(&self->run), bytes);
		}
		snprintf(least, sizeof(least), "%llu", (unsigned long long)bytes);
		/* It is in whole huge pages, so a little less may do as well; half does not. */
		snprintf(below, sizeof(below), "%llu", (unsigned long long)bytes / 2);
		EXPECT_EQ(wt_weir(&self->run, "stream", "--unit", units[u], "--budget", below,
				  self->path.text, NULL),
			  1);
		EXPECT_EQ(ct_least_budget(&self->run), bytes) TH_LOG("%s", self->run.err);
		EXPECT_EQ(wt_weir(&self->run, "stream", "--json", "--passes", "2", "--unit",
				  units[u], "--budget", least, self->path.text, NULL),
			  0);
		EXPECT_STREQ(wt_text(self->run.json, "passes.0.checksum"),
			     wt_text(self->run.json, "passes.1.checksum"));
	}
}

TEST_HARNESS_MAIN
