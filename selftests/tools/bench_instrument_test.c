/* SPDX-License-Identifier: MIT */
/* weir bench instrument: every load takes part in every comparison. What the ratios are is no matter here. */
#include <libgen.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "harness/run_weir.h"

FIXTURE(bench)
{
	int unused;
};
FIXTURE_SETUP(bench)
{
	self->unused = 0;
}
FIXTURE_TEARDOWN(bench)
{
	self->unused = 0;
}

/* Four libraries with 256 MiB each, on a machine that others use. */
TEST_F_TIMEOUT(bench, pool_and_cache_are_compared_with_a_null_arm, 180)
{
	static const char *const loads[] = {"4 KiB", "mix, 2 threads", "cache hit",
					    "cache hit, 2 threads"};
	struct wt_run run = {0};
	char path[512], bare[600];

	snprintf(path, sizeof(path), "%s", wt_binary());
	snprintf(bare, sizeof(bare), "%s/bare/libweir.so", dirname(path));
	if (access(bare, R_OK) != 0)
		SKIP(return, "bare/libweir.so is not there: make instrument");
	ASSERT_EQ(wt_weir(&run, "bench", "instrument", "--rounds", "1", "--json", NULL), 0);
	for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
		unsigned nr = 0, nr_null = 0;
		json_t *row;
		size_t k;

		json_array_foreach(wt_at(run.json, "ratios"), k, row) {
			if (strcmp(wt_text(row, "load"), loads[i]) != 0)
				continue;
			nr++;
			nr_null += !strcmp(wt_text(row, "arm"), "compiled out, again");
			/* Two threads of the pool have no number where others use the machine. */
			if (i != 1)
				EXPECT_GT(wt_real(row, "ns.median"), 0.0);
		}
		EXPECT_EQ(nr, 3u);
		EXPECT_EQ(nr_null, 1u);
	}
	wt_run_fini(&run);
}

TEST_HARNESS_MAIN
