/* SPDX-License-Identifier: MIT */
/*
 * Routings: what a file says, what is refused, and that the generator repeats itself.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <string.h>

#include "ahead.h"
#include "route.h"

static const char text[] = "# route_trace v1\n"
			   "# layer=1 expert_bytes=77 dense_bytes=5\n"
			   "turn,phase,step,layer,slot,expert,weight,residency,expert_bytes\n"
			   "0,0,0,0,0,9,0.5,0,77\n"
			   "0,1,0,0,0,3,0.5,0,77\n"
			   "0,1,0,0,1,4,0.5,0,77\n"
			   "0,1,0,1,0,5,0.5,0,77\n"
			   "0,1,1,0,0,6,0.5,0,77\n";

TEST(a_file_becomes_visits_of_layers)
{
	struct weir_error err;
	struct wr_route r;

	ASSERT_EQ(0, wr_route_open_mem("x", text, strlen(text), WR_ROUTE_DECODE, &r, &err));
	ASSERT_EQ(3, r.nr_visits);
	EXPECT_EQ(4, r.nr_uses);
	EXPECT_EQ(2, r.nr_layers);
	EXPECT_EQ(7, r.nr_experts);
	EXPECT_EQ(2, r.visits[0].nr);
	EXPECT_EQ(4, r.experts[1]);
	EXPECT_EQ(1, r.visits[1].layer);
	EXPECT_EQ(1, r.visits[2].step);
	EXPECT_EQ(77, r.layer_bytes[1]);
	wr_route_close(&r);
	ASSERT_EQ(0, wr_route_open_mem("x", text, strlen(text), WR_ROUTE_ALL, &r, &err));
	EXPECT_EQ(4, r.nr_visits);
	EXPECT_EQ(10, r.nr_experts);
	wr_route_close(&r);
}

TEST(what_is_no_routing_is_refused_with_its_line)
{
	static const struct {
		const char *text;
		int code;
	} bad[] = {
		{"0,1,0,0,0,3,0.5\n", -EBADMSG},
		{"0,1,0,99999,0,3,0.5,0,7\n", -EBADMSG},
		{"0,1,0,0,0,99999999999999999999999,0.5,0,7\n", -EBADMSG},
		{"0,1,-1,0,0,3,0.5,0,7\n", -EBADMSG},
		{"# nothing\n", -ENODATA},
	};
	struct weir_error err;
	struct wr_route r;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		EXPECT_EQ(bad[i].code, wr_route_open_mem("x", bad[i].text, strlen(bad[i].text),
							 WR_ROUTE_ALL, &r, &err));
}

TEST(the_generator_repeats_itself_and_keeps_to_its_options)
{
	const struct wr_route_opts opts = {
		.nr_layers = 4, .nr_experts = 16, .nr_chosen = 3, .nr_turns = 2, .nr_steps = 10};
	const struct wr_route_opts wrong = {.follow_permille = 900, .stay_permille = 200};
	struct wr_route a, b;

	ASSERT_EQ(0, wr_route_generate(&opts, &a));
	ASSERT_EQ(0, wr_route_generate(&opts, &b));
	ASSERT_EQ(80, a.nr_visits);
	ASSERT_EQ(240, a.nr_uses);
	EXPECT_EQ(0, memcmp(a.experts, b.experts, a.nr_uses * sizeof(*a.experts)));
	for (uint32_t v = 0; v < a.nr_visits; v++) {
		const uint16_t *e = &a.experts[a.visits[v].first];

		ASSERT_EQ(3, a.visits[v].nr);
		EXPECT_TRUE(e[0] != e[1] && e[0] != e[2] && e[1] != e[2]);
		EXPECT_TRUE(e[0] < 16 && e[1] < 16 && e[2] < 16);
	}
	wr_route_close(&a);
	wr_route_close(&b);
	EXPECT_EQ(-EINVAL, wr_route_generate(&wrong, &a));
}

TEST(prefetch_over_a_routing_stays_within_its_reads_and_is_repeated_exactly)
{
	const struct wr_route_opts opts = {.nr_layers = 8, .nr_experts = 32, .nr_chosen = 4};
	struct wr_ahead_opts o = {.policy = "lru",
				  .device_bps = 2000000000,
				  .latency_ns = 100000,
				  .compute_ns = 20000000,
				  .chunk_bytes = 1 << 20};
	struct wr_ahead_result without, with[2];
	struct wr_ahead_work w;
	struct wr_route r;

	ASSERT_EQ(0, wr_route_generate(&opts, &r));
	ASSERT_EQ(0, wr_ahead_from_route(&r, &w));
	o.capacity = w.used_bytes / 5;
	ASSERT_EQ(0, wr_ahead_run(&w, &o, &without));
	o.prefetch = true;
	ASSERT_EQ(0, wr_ahead_run(&w, &o, &with[0]));
	ASSERT_EQ(0, wr_ahead_run(&w, &o, &with[1]));
	EXPECT_EQ(0, memcmp(&with[0], &with[1], sizeof(with[0])));
	EXPECT_LE(with[0].read_bytes, without.read_bytes + without.read_bytes / 4);
	EXPECT_GE(with[0].hits + w.nr_refs / 300, without.hits);
	EXPECT_LE(with[0].total_ns, without.total_ns + without.total_ns / 50);
	wr_ahead_work_close(&w);
	wr_route_close(&r);
}

TEST_HARNESS_MAIN
