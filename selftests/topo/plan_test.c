/* SPDX-License-Identifier: MIT */
/* Plans for machines that are described, with the hardware thread of every thread checked. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "kselftest_harness.h"

#include <weir/topo.h>

#include "base/alloc.h"
#include "base/util.h"

/* Numbered as Linux does: first siblings 0-3, second siblings 4-7. */
#define I5_10210U "pack:1 l3:1(size=6MB) l2:4(size=256KB) core:1 pu:2(indexes=0,4,1,5,2,6,3,7)"

struct plan_text {
	char text[1024];
};

/* The whole plan as text, which names every processor. */
static struct plan_text plan_of(const char *machine, uint32_t compute, uint32_t io,
				uint32_t background)
{
	struct weir_topo_opts opts = {.size = sizeof(opts), .synthetic = machine};
	struct weir_placement_opts want = {.size = sizeof(want),
					   .nr_compute = compute,
					   .nr_io = io,
					   .nr_background = background};
	struct plan_text ret = {"no plan"};
	struct weir_topo *topo;
	struct weir_placement *plan;

	if (weir_topo_open(&opts, &topo, NULL) != 0)
		return ret;
	if (weir_placement_open(topo, &want, &plan) == 0) {
		weir_placement_text(plan, ret.text, sizeof(ret.text));
		weir_placement_close(plan);
	}
	weir_topo_close(topo);
	return ret;
}

#define EXPECT_PLAN(machine, compute, io, background, expected)                   \
	do {                                                                      \
		struct plan_text got = plan_of(machine, compute, io, background); \
		EXPECT_STREQ(got.text, expected);                                 \
	} while (0)

TEST(i5_10210u_computes_on_four_cores_and_waits_on_their_siblings)
{
	EXPECT_PLAN(I5_10210U, 0, 0, 0,
		    "compute:    0 1 2 3\n"
		    "io:         4\n"
		    "background: 5\n");
}

TEST(i5_10210u_with_more_helpers_uses_each_sibling_before_any_twice)
{
	EXPECT_PLAN(I5_10210U, 4, 2, 4,
		    "compute:    0 1 2 3\n"
		    "io:         4* 5*\n"
		    "background: 6 7 4* 5*\n"
		    "* more than one thread\n");
}

TEST(i5_10210u_with_two_compute_threads_leaves_their_cores_alone)
{
	EXPECT_PLAN(I5_10210U, 2, 0, 0,
		    "compute:    0 1\n"
		    "io:         2\n"
		    "background: 3\n");
}

TEST(i5_10210u_with_seven_compute_threads_puts_all_helpers_on_the_eighth)
{
	EXPECT_PLAN(I5_10210U, 7, 1, 1,
		    "compute:    0 1 2 3 4 5 6\n"
		    "io:         7*\n"
		    "background: 7*\n"
		    "* more than one thread\n");
}

TEST(i5_10210u_full_of_compute_threads_shares_the_last_ones)
{
	EXPECT_PLAN(I5_10210U, 8, 1, 1,
		    "compute:    0 1 2 3 4 5 6* 7*\n"
		    "io:         7*\n"
		    "background: 6*\n"
		    "* more than one thread\n");
}

TEST(more_compute_threads_than_processors_go_round)
{
	EXPECT_PLAN("pack:1 core:2 pu:1", 5, 1, 1,
		    "compute:    0* 1* 0* 1* 0*\n"
		    "io:         1*\n"
		    "background: 1*\n"
		    "* more than one thread\n");
}

TEST(cores_without_siblings_give_the_helpers_the_last_ones)
{
	EXPECT_PLAN("pack:1 core:4 pu:1", 0, 1, 1,
		    "compute:    0 1 2* 3*\n"
		    "io:         3*\n"
		    "background: 2*\n"
		    "* more than one thread\n");
}

TEST(one_processor_carries_everything)
{
	EXPECT_PLAN("pu:1", 0, 0, 0,
		    "compute:    0*\n"
		    "io:         0*\n"
		    "background: 0*\n"
		    "* more than one thread\n");
}

TEST(nodes_take_compute_threads_in_turn)
{
	/* Node 0 has processors 0-15, node 1 has 16-31, and so on. */
	EXPECT_PLAN("pack:2 node:2 core:8 pu:2", 6, 1, 1,
		    "compute:    0 16 32 48 2 18\n"
		    "io:         4\n"
		    "background: 6\n");
}

TEST(a_large_machine_computes_once_on_every_core)
{
	struct weir_topo_opts opts = {.size = sizeof(opts),
				      .synthetic = "pack:2 node:2 core:8 pu:2"};
	struct weir_topo *topo;
	struct weir_placement *plan;
	bool used[64] = {false};
	uint32_t cpu;

	ASSERT_EQ(weir_topo_open(&opts, &topo, NULL), 0);
	ASSERT_EQ(weir_placement_open(topo, NULL, &plan), 0);
	EXPECT_EQ(weir_placement_count(plan, WEIR_ROLE_COMPUTE), 32u);
	for (uint32_t i = 0; i < 32; i++) {
		ASSERT_EQ(weir_placement_cpu(plan, WEIR_ROLE_COMPUTE, i, &cpu), 0);
		ASSERT_LT(cpu, 64u);
		EXPECT_EQ(cpu % 2, 0u);
		EXPECT_FALSE(used[cpu]);
		used[cpu] = true;
	}
	ASSERT_EQ(weir_placement_cpu(plan, WEIR_ROLE_IO, 0, &cpu), 0);
	EXPECT_EQ(cpu, 1u);
	EXPECT_EQ(weir_topo_io_cpu(topo), 1u);
	weir_placement_close(plan);
	weir_topo_close(topo);
}

TEST(an_io_thread_goes_to_the_node_of_the_disk)
{
	struct weir_topo_opts opts = {.size = sizeof(opts),
				      .synthetic = "pack:2 node:2 core:8 pu:2"};
	struct weir_placement_opts want = {.size = sizeof(want), .io_node = 1 + 2};
	struct weir_topo *topo;
	struct weir_placement *plan;
	uint32_t cpu, node;

	ASSERT_EQ(weir_topo_open(&opts, &topo, NULL), 0);
	ASSERT_EQ(weir_placement_open(topo, &want, &plan), 0);
	ASSERT_EQ(weir_placement_cpu(plan, WEIR_ROLE_IO, 0, &cpu), 0);
	ASSERT_EQ(weir_topo_node_of(topo, cpu, &node), 0);
	EXPECT_EQ(node, 2u);
	/* Only I/O threads follow the disk. */
	ASSERT_EQ(weir_placement_cpu(plan, WEIR_ROLE_BACKGROUND, 0, &cpu), 0);
	EXPECT_EQ(cpu, 1u);
	weir_placement_close(plan);
	want.io_node = 1 + 4;
	EXPECT_EQ(weir_placement_open(topo, &want, &plan), -ENODEV);
	weir_topo_close(topo);
}

TEST(what_no_plan_covers_is_refused)
{
	struct weir_topo_opts opts = {.size = sizeof(opts), .synthetic = I5_10210U};
	struct weir_placement_opts want = {.size = sizeof(want),
					   .nr_compute = WEIR_PLACEMENT_THREADS_MAX + 1};
	struct weir_topo *topo;
	struct weir_placement *plan;
	uint32_t cpu = 77;

	ASSERT_EQ(weir_topo_open(&opts, &topo, NULL), 0);
	EXPECT_EQ(weir_placement_open(topo, &want, &plan), -EINVAL);
	ASSERT_EQ(weir_placement_open(topo, NULL, &plan), 0);
	EXPECT_EQ(weir_placement_cpu(plan, WEIR_ROLE_COMPUTE, 4, &cpu), -ENODEV);
	EXPECT_EQ(weir_placement_cpu(plan, 3, 0, &cpu), -ENODEV);
	EXPECT_EQ(weir_placement_cpu(plan, -1, 0, &cpu), -ENODEV);
	EXPECT_EQ(weir_placement_count(plan, 3), 0u);
	EXPECT_EQ(cpu, 77u);
	weir_placement_close(plan);
	weir_placement_close(NULL);
	weir_topo_close(topo);
}

TEST(a_plan_outlives_its_topology_and_its_text_is_cut_not_overrun)
{
	struct weir_topo_opts opts = {.size = sizeof(opts), .synthetic = I5_10210U};
	struct weir_topo *topo;
	struct weir_placement *plan;
	char text[16];

	ASSERT_EQ(weir_topo_open(&opts, &topo, NULL), 0);
	ASSERT_EQ(weir_placement_open(topo, NULL, &plan), 0);
	weir_topo_close(topo);
	EXPECT_EQ(weir_placement_text(plan, NULL, 0), 48u);
	memset(text, 'x', sizeof(text));
	EXPECT_EQ(weir_placement_text(plan, text, sizeof(text) - 1), 48u);
	EXPECT_STREQ(text, "compute:    0 ");
	EXPECT_EQ(text[15], 'x');
	weir_placement_close(plan);
}

TEST(every_refused_allocation_is_reported_and_leaves_nothing)
{
	struct weir_topo_opts opts = {.size = sizeof(opts), .synthetic = I5_10210U};
	struct weir_error err;
	struct weir_topo *topo;
	int64_t live = wr_test_alloc_live();
	uint64_t n = 0;
	int rc;

	do {
		n++;
		wr_test_alloc_fail_at(n);
		rc = weir_topo_open(&opts, &topo, &err);
		if (rc == 0)
			weir_topo_close(topo);
		else
			EXPECT_EQ(err.code, rc);
		EXPECT_EQ(rc, wr_test_alloc_failed() ? -ENOMEM : 0);
		EXPECT_EQ(wr_test_alloc_live(), live);
	} while (wr_test_alloc_failed());
	wr_test_alloc_fail_at(0);
	EXPECT_GE(n, 10u);
}

TEST_HARNESS_MAIN
