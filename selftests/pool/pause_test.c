/* SPDX-License-Identifier: MIT */
/* Quantiles of pauses against what was counted. */
#include "kselftest_harness.h"

#include <string.h>

#include "pool/pause.h"

TEST(nothing_counted_is_no_pause)
{
	struct wr_pauses p = {0};

	EXPECT_EQ(0u, wr_pauses_quantile(&p, 500));
	EXPECT_EQ(0u, wr_pauses_quantile(&p, 1000));
}

TEST(every_length_is_found_again_to_an_eighth)
{
	struct wr_pauses p;
	uint64_t ns, got;

	for (ns = 0; ns < UINT64_MAX / 3; ns += 1 + ns / 5) {
		memset(&p, 0, sizeof(p));
		wr_pauses_add(&p, 1, ns);
		wr_pauses_add(&p, 1, UINT64_MAX);
		got = wr_pauses_quantile(&p, 500);
		EXPECT_LE(ns, got);
		EXPECT_LE(got - ns, ns / 8);
		EXPECT_EQ(UINT64_MAX, wr_pauses_quantile(&p, 1000));
	}
}

TEST(quantiles_count_blocks_and_are_no_longer_than_the_longest)
{
	struct wr_pauses p = {0};

	wr_pauses_add(&p, 8, 100);
	wr_pauses_add(&p, 90, 1000);
	wr_pauses_add(&p, 1, 5000);
	wr_pauses_add(&p, 1, 9999);
	EXPECT_LE(100u, wr_pauses_quantile(&p, 80));
	EXPECT_GT(120u, wr_pauses_quantile(&p, 80));
	EXPECT_LE(1000u, wr_pauses_quantile(&p, 500));
	EXPECT_GT(1130u, wr_pauses_quantile(&p, 500));
	EXPECT_LE(5000u, wr_pauses_quantile(&p, 990));
	EXPECT_GT(5700u, wr_pauses_quantile(&p, 990));
	EXPECT_EQ(9999u, wr_pauses_quantile(&p, 1000));
}

TEST_HARNESS_MAIN
