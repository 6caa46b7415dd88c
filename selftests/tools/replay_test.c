/* SPDX-License-Identifier: MIT */
/*
 * weir replay as people and scripts call it; and, where the recorded traces of the literature are
 * at hand (WEIR_TRACES names their folder), their counts and the hit ratios measured with another
 * simulator.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "harness/run_weir.h"
#include "replay.h"

FIXTURE(replay)
{
	struct wt_run run;
	char dir[512];
	char file[600];
};

FIXTURE_SETUP(replay)
{
	memset(&self->run, 0, sizeof(self->run));
	wt_dir_make(self->dir, sizeof(self->dir), NULL);
	snprintf(self->file, sizeof(self->file), "%s/x", self->dir);
}

FIXTURE_TEARDOWN(replay)
{
	wt_run_fini(&self->run);
	wt_dir_remove(self->dir);
}

TEST_F(replay, every_policy_stands_next_to_the_bound)
{
	json_t *results, *one;
	size_t i;

	ASSERT_EQ(wt_weir(&self->run, "replay", "gen:lirs", "--budget", "50%", "--device-rate",
			  "1MB", "--latency", "1000", "--json", NULL),
		  0);
	ASSERT_NE(self->run.json, NULL);
	EXPECT_EQ(wt_int(self->run.json, "trace.references"), 505500);
	EXPECT_EQ(wt_int(self->run.json, "trace.things"), 1011);
	EXPECT_STREQ(wt_text(self->run.json, "bound"), "exact");
	results = wt_at(self->run.json, "sizes.0.results");
	EXPECT_EQ(json_array_size(results), 11u);
	EXPECT_STREQ(wt_text(results, "0.policy"), "opt");
	json_array_foreach(results, i, one) {
		double hits = wt_real(one, "hit_ratio");

		EXPECT_GE(wt_real(one, "regret_points"), 0.0);
		EXPECT_EQ(fabs(wt_real(one, "byte_hit_ratio") - hits) < 1e-9, true);
		/* 1 ms and 4096 bytes at 1 MB/s for each read. */
		EXPECT_EQ(fabs(wt_real(one, "read_seconds") - (1 - hits) * 505500 * 0.005096) < 0.1,
			  true);
	}
	EXPECT_STREQ(wt_text(results, "10.policy"), "auto");
	EXPECT_STREQ(wt_text(results, "10.chosen"), "loop");
	EXPECT_EQ(json_is_true(wt_at(results, "10.below_cycle")), true);
}

TEST_F(replay, one_policy_and_several_sizes_and_a_picture)
{
	char head[64] = "";
	FILE *f;

	ASSERT_EQ(wt_weir(&self->run, "replay", "gen:experts", "--policy", "lfu", "--sizes",
			  "50%,1MiB,10%", "--svg", self->file, "--json", NULL),
		  0);
	ASSERT_NE(self->run.json, NULL);
	EXPECT_EQ(json_array_size(wt_at(self->run.json, "sizes")), 3u);
	EXPECT_EQ(wt_int(self->run.json, "sizes.0.budget_bytes"), 1 << 20);
	EXPECT_EQ(json_array_size(wt_at(self->run.json, "sizes.0.results")), 2u);
	EXPECT_EQ(json_is_null(wt_at(self->run.json, "sizes.0.results.1.read_seconds")), true);
	f = fopen(self->file, "r");
	ASSERT_NE(f, NULL);
	EXPECT_NE(fgets(head, sizeof(head), f), NULL);
	EXPECT_EQ(strncmp(head, "<svg", 4), 0);
	fclose(f);
}

TEST_F(replay, the_text_warns_below_one_cycle_and_says_what_the_bound_is)
{
	ASSERT_EQ(wt_weir(&self->run, "replay", "gen:loop", "--budget", "20%", NULL), 0);
	EXPECT_NE(strstr(self->run.out, "below one cycle"), NULL);
	EXPECT_NE(strstr(self->run.out, "auto ends with loop"), NULL);
	EXPECT_NE(strstr(self->run.out, "no policy can have more"), NULL);
	ASSERT_EQ(wt_weir(&self->run, "replay", "gen:zipf80", "--budget", "20%", NULL), 0);
	EXPECT_EQ(strstr(self->run.out, "below one cycle"), NULL);
	ASSERT_EQ(wt_weir(&self->run, "replay", "gen:zipf80", "--sizes", "1%,2%", NULL), 0);
}

TEST_F(replay, different_sizes_make_the_bound_an_approximation)
{
	FILE *f = fopen(self->file, "w");

	ASSERT_NE(f, NULL);
	fprintf(f, "# weir trace 1\n");
	for (unsigned i = 0; i < 1000; i++)
		fprintf(f, "%u weights w%u %u\n", i, i % 10, 1000 + i % 10);
	fclose(f);
	ASSERT_EQ(wt_weir(&self->run, "replay", self->file, "--json", NULL), 0);
	EXPECT_STREQ(wt_text(self->run.json, "bound"), "approximate");
	ASSERT_EQ(wt_weir(&self->run, "replay", self->file, NULL), 0);
	EXPECT_NE(strstr(self->run.out, "approximation"), NULL);
}

TEST_F(replay, what_is_wrong_is_refused)
{
	FILE *f = fopen(self->file, "w");

	ASSERT_NE(f, NULL);
	fprintf(f, "# weir trace 1\n1 weights w\n");
	fclose(f);
	EXPECT_EQ(wt_weir(&self->run, "replay", self->file, NULL), 1);
	EXPECT_NE(strstr(self->run.err, "line 2"), NULL);
	EXPECT_EQ(wt_weir(&self->run, "replay", self->file, "--json", NULL), 1);
	EXPECT_STREQ(wt_text(self->run.json, "error.code"), "EBADMSG");
	EXPECT_EQ(wt_weir(&self->run, "replay", NULL), 2);
	EXPECT_EQ(wt_weir(&self->run, "replay", "gen:loop", "gen:loop", NULL), 2);
	EXPECT_EQ(wt_weir(&self->run, "replay", "gen:loop", "--policy", "best", NULL), 2);
	EXPECT_EQ(wt_weir(&self->run, "replay", "gen:loop", "--sizes", "1%,,2%", NULL), 2);
	EXPECT_EQ(wt_weir(&self->run, "replay", "gen:loop", "--budget", "0", NULL), 2);
	EXPECT_EQ(wt_weir(&self->run, "replay", "gen:loop", "--block", "10%", NULL), 2);
	EXPECT_EQ(wt_weir(&self->run, "replay", "gen:loop", "--block", "0", NULL), 2);
	EXPECT_EQ(wt_weir(&self->run, "replay", "gen:none", NULL), 1);
	EXPECT_EQ(wt_weir(&self->run, "replay", "gen:loop", "--svg", "/nonexistent/x.svg", NULL),
		  1);
}

/* ---- recorded traces ---- */

struct recorded {
	struct wr_trace t;
	bool is_there;
};

static void open_recorded(struct __test_metadata *_metadata, struct recorded *r, const char *name)
{
	const char *folder = getenv("WEIR_TRACES");
	struct weir_error err;
	char path[600];

	r->is_there = false;
	if (!folder)
		return;
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (access(path, R_OK))
		return;
	ASSERT_EQ(wr_trace_open(path, 4096, true, &r->t, &err), 0) TH_LOG("%s", err.message);
	r->is_there = true;
}

struct cell {
	const char *policy;
	double hits;
};

/* Of another simulator, in things of one size; see docs/policies.md. */
static void expect_cells(struct __test_metadata *_metadata, const struct wr_trace *t,
			 uint64_t percent, const struct cell *cells, size_t nr)
{
	const struct wr_replay_opts opts = {.capacity = t->object_bytes / 100 * percent};

	for (size_t i = 0; i < nr; i++) {
		struct wr_replay_result r;

		ASSERT_EQ(strcmp(cells[i].policy, "opt")
				  ? wr_replay_run(t, cells[i].policy, &opts, &r)
				  : wr_replay_opt(t, &opts, &r),
			  0);
		EXPECT_LT(fabs(wr_replay_hits(t, &r) - cells[i].hits), 0.01)
		TH_LOG("%s: %.4f, elsewhere %.3f", cells[i].policy, wr_replay_hits(t, &r),
		       cells[i].hits);
	}
}

TEST(the_arc_paper_s_oltp_trace_has_the_paper_s_counts)
{
	static const struct cell cells[] = {
		{"lru", 0.601},	      {"arc", 0.610}, {"s3-fifo", 0.621}, {"sieve", 0.600},
		{"w-tinylfu", 0.587}, {"lfu", 0.538}, {"opt", 0.726}};
	struct recorded r;

	open_recorded(_metadata, &r, "arc-oltp.lis.zst");
	if (!r.is_there)
		SKIP(return, "WEIR_TRACES names no folder with arc-oltp.lis.zst");
	EXPECT_EQ(r.t.nr_refs, 914145u);
	EXPECT_EQ(r.t.nr_objects, 186880u);
	expect_cells(_metadata, &r.t, 5, cells, wr_array_size(cells));
	wr_trace_close(&r.t);
}

TEST(kv_blocks_hit_what_another_simulator_found)
{
	static const struct cell cells[] = {{"lru", 0.260},	  {"arc", 0.265},
					    {"s3-fifo", 0.262},	  {"sieve", 0.176},
					    {"w-tinylfu", 0.209}, {"opt", 0.506}};
	struct recorded r;

	open_recorded(_metadata, &r, "kv-mooncake-synthetic.jsonl.gz");
	if (!r.is_there)
		SKIP(return, "WEIR_TRACES names no folder with kv-mooncake-synthetic.jsonl.gz");
	EXPECT_EQ(r.t.nr_refs, 121877u);
	EXPECT_EQ(r.t.nr_objects, 43924u);
	expect_cells(_metadata, &r.t, 10, cells, wr_array_size(cells));
	wr_trace_close(&r.t);
}

TEST(experts_hit_what_another_simulator_found)
{
	static const struct cell cells[] = {{"lru", 0.495},   {"arc", 0.512}, {"s3-fifo", 0.515},
					    {"sieve", 0.371}, {"lfu", 0.531}, {"opt", 0.739}};
	struct recorded r;

	open_recorded(_metadata, &r, "moe-qwen3-30b-a3b.route.csv.gz");
	if (!r.is_there)
		SKIP(return, "WEIR_TRACES names no folder with moe-qwen3-30b-a3b.route.csv.gz");
	EXPECT_EQ(r.t.nr_refs, 36864u);
	EXPECT_EQ(r.t.nr_objects, 3059u);
	expect_cells(_metadata, &r.t, 20, cells, wr_array_size(cells));
	wr_trace_close(&r.t);
}

TEST_HARNESS_MAIN
