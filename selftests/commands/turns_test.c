/* SPDX-License-Identifier: MIT */
/*
 * turns_test.c - weir stream on a mixture of experts: one checksum whatever the way, a budget that
 * holds from the smallest on, the vision tower read in image turns only, KV blocks that come back
 * from disk, and a trace that weir replay agrees with.
 */
#include "kselftest_harness.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "commands_help.h"
#include "harness/sanitized.h"

#define OVERHEAD_BYTES (80 << 20)
#define MAX_OPTIONS    12

FIXTURE(mixture)
{
	char dir[512];
	struct ct_path path, l3, trace;
	struct wt_run run;
};

FIXTURE_SETUP(mixture)
{
	wt_dir_make(self->dir, sizeof(self->dir), NULL);
	self->path = ct_join(self->dir, "model");
	self->l3 = ct_join(self->dir, "l3");
	self->trace = ct_join(self->dir, "trace");
	/* Six layers of sixteen experts of 150 KB. */
	ASSERT_EQ(wt_weir(&self->run, "mkmodel", "--model", "qwen3-vl-30b-a3b", "--layers", "6",
			  "--vision-blocks", "2", "--vocab", "1000", "--shrink", "8",
			  self->path.text, NULL),
		  0);
}

FIXTURE_TEARDOWN(mixture)
{
	wt_run_fini(&self->run);
	wt_dir_remove(self->dir);
}

static int stream(FIXTURE_DATA(mixture) * self, const char *const *options)
{
	const char *args[MAX_OPTIONS + 8] = {"stream",	      "--json", "--passes", "6",
					     self->path.text, "--tile", "64K"};

	for (int i = 0; i < MAX_OPTIONS && options[i]; i++)
		args[7 + i] = options[i];
	if (wt_start(&self->run, args))
		return -1;
	return wt_wait(&self->run);
}

#define STREAM(...) stream(self, (const char *const[MAX_OPTIONS]){__VA_ARGS__})

static int64_t number(FIXTURE_DATA(mixture) * self, const char *path)
{
	return wt_int(self->run.json, path);
}

TEST_F(mixture, has_one_checksum_whatever_the_way)
{
	static const char *const ways[][MAX_OPTIONS] = {
		{"--turns", "ti"},
		{"--turns", "ti", "--budget", "300%"},
		{"--turns", "ti", "--budget", "20%", "--tile", "8K"},
		{"--turns", "ti", "--policy", "lru"},
		{"--turns", "ti", "--policy", "w-tinylfu", "--together", "1"},
		{"--turns", "ti", "--foresee", "60"},
		{"--turns", "ti", "--ahead"},
		{"--turns", "ti", "--io", "mmap"},
		{"--turns", "ti", "--io", "pread", "--unit", "group"},
		{"--turns", "ti", "--io", "buffered", "--threads", "2"},
	};
	char first[2][32] = {"", ""};

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		for (int turn = 0; turn < 2; turn++) {
			char key[32];

			ASSERT_EQ(turn ? 0 : stream(self, ways[i]), 0) TH_LOG("%s", self->run.err);
			snprintf(key, sizeof(key), "turns.%d.checksum", turn);
			if (!i)
				snprintf(first[turn], sizeof(first[turn]), "%s",
					 wt_text(self->run.json, key));
			EXPECT_STREQ(wt_text(self->run.json, key), first[turn])
			{
				TH_LOG("way %zu", i);
			}
		}
	EXPECT_EQ(16, strlen(first[0]));
	EXPECT_STRNE(first[0], first[1]);
	EXPECT_EQ(STREAM("--turns", "ti", "--seed", "2"), 0);
	EXPECT_STRNE(wt_text(self->run.json, "turns.0.checksum"), first[0]);
}

TEST_F(mixture, names_the_policy_that_orders_the_experts)
{
	ASSERT_EQ(STREAM("--policy", "sieve"), 0);
	EXPECT_STREQ(wt_text(self->run.json, "policy"), "sieve");
	EXPECT_STREQ(wt_text(self->run.json, "policy_chosen"), "sieve");
	ASSERT_EQ(STREAM("--budget", "40%"), 0);
	EXPECT_STREQ(wt_text(self->run.json, "policy"), "auto");
	EXPECT_STRNE(wt_text(self->run.json, "policy_chosen"), "");
}

TEST_F(mixture, says_what_each_way_of_foreseeing_did)
{
	json_t *sources, *one;
	int64_t told = 0;
	size_t i;

	ASSERT_EQ(STREAM("--ahead", "--budget", "40%", "--passes", "40"), 0);
	sources = json_object_get(json_object_get(self->run.json, "ahead"), "sources");
	ASSERT_LT(0u, json_array_size(sources));
	json_array_foreach(sources, i, one)
		if (!strcmp(json_string_value(json_object_get(one, "name")), "expert"))
			told = json_integer_value(json_object_get(one, "told"));
	EXPECT_GT(told, 0);
}

TEST_F(mixture, reads_the_vision_tower_in_image_turns_only)
{
	int64_t vision, text;

	ASSERT_EQ(STREAM("--turns", "titt"), 0);
	vision = number(self, "turns.1.vision_read_bytes");
	EXPECT_LT(0, vision);
	for (int turn = 0; turn < 4; turn += turn ? 1 : 2) {
		char key[48];

		snprintf(key, sizeof(key), "turns.%d.vision_read_bytes", turn);
		EXPECT_EQ(number(self, key), 0);
	}
	/* The same turns without an image read as much in all; what the tower takes is not hidden. */
	text = number(self, "turns.0.read_bytes") + number(self, "turns.1.read_bytes");
	EXPECT_EQ(wt_weir(&self->run, "inspect", "--json", "--groups", self->path.text, NULL), 0);
	EXPECT_EQ(STREAM("--turns", "tttt"), 0);
	EXPECT_EQ(number(self, "turns.1.vision_read_bytes"), 0);
	EXPECT_EQ(number(self, "budget.vision_bytes"), 0);
	EXPECT_GE(text, number(self, "turns.0.read_bytes"));
}

TEST_F(mixture, runs_with_the_smallest_budget_that_is_named)
{
	char least[32];

	ASSERT_EQ(STREAM("--turns", "ti", "--budget", "4096"), 1);
	EXPECT_STREQ(wt_text(self->run.json, "error.code"), "ENOSPC");
	snprintf(least, sizeof(least), "%llu", (unsigned long long)ct_least_budget(&self->run));
	EXPECT_EQ(STREAM("--turns", "ti", "--budget", least), 0) TH_LOG("%s", self->run.err);
}

TEST_F(mixture, below_a_token_is_told_and_runs)
{
	json_t *below;

	ASSERT_EQ(STREAM("--turns", "t", "--budget", "10%", "--tile", "8K"), 0);
	below = wt_at(self->run.json, "budget.below_token");
	EXPECT_TRUE(json_is_true(below));
	EXPECT_NE(strstr(self->run.err, "more than the budget"), NULL);
	EXPECT_EQ(number(self, "turns.0.tokens"), 6);
	ASSERT_EQ(STREAM("--turns", "t", "--budget", "90%"), 0);
	EXPECT_TRUE(json_is_false(wt_at(self->run.json, "budget.below_token")));
	EXPECT_EQ(strstr(self->run.err, "more than the budget"), NULL);
}

TEST_F(mixture, divides_a_budget_that_holds)
{
	int64_t budget;

	ASSERT_EQ(STREAM("--turns", "it", "--budget", "40%", "--compute", "gemv"), 0);
	budget = number(self, "budget.bytes");
	EXPECT_LE(number(self, "budget.stream_bytes") + number(self, "budget.cache_bytes") +
			  number(self, "budget.vision_bytes"),
		  budget);
	EXPECT_EQ(number(self, "experts.hits") + number(self, "experts.misses") +
			  number(self, "experts.waits"),
		  number(self, "experts.gets"));
	EXPECT_EQ(number(self, "turns.0.experts_used") + number(self, "turns.1.experts_used"),
		  number(self, "experts.gets"));
	if (!SANITIZED)
		EXPECT_LE(number(self, "peak_bytes"), budget + OVERHEAD_BYTES);
}

TEST_F(mixture, gets_kv_blocks_back_from_disk)
{
	ASSERT_EQ(STREAM("--turns", "ttt", "--budget", "60%", "--kv", "200/64KiB", "--l3",
			 self->l3.text),
		  0)
	{
		TH_LOG("%s", self->run.err);
	}
	EXPECT_EQ(number(self, "kv.put"), 200);
	EXPECT_LE(350, number(self, "kv.checked"));
	EXPECT_EQ(number(self, "kv.wrong"), 0);
	EXPECT_EQ(number(self, "kv.lost"), 0);
	EXPECT_LT(0, number(self, "kv.demoted"));
	EXPECT_LT(0, number(self, "kv.came_back"));
}

TEST_F(mixture, says_what_to_do_when_kv_blocks_do_not_fit)
{
	ASSERT_EQ(STREAM("--budget", "30%", "--kv", "2000/64KiB"), 1);
	EXPECT_STREQ(wt_text(self->run.json, "error.code"), "ENOSPC");
	EXPECT_NE(strstr(wt_text(self->run.json, "error.message"), "--l3"), NULL);
	ASSERT_EQ(STREAM("--budget", "80%", "--kv", "4/64KiB"), 0);
	EXPECT_EQ(number(self, "kv.put"), 4);
	EXPECT_EQ(number(self, "kv.wrong") + number(self, "kv.lost"), 0);
}

/* Hits of the run, and of a replay of its trace with the same policy and budget. */
static void compare(struct __test_metadata *_metadata, FIXTURE_DATA(mixture) * self,
		    const char *policy, int64_t *ret_run, int64_t *ret_replay, int64_t *ret_refs)
{
	char budget[32];

	ASSERT_EQ(STREAM("--turns", "tttt", "--together", "1", "--policy", policy, "--budget",
			 "80%", "--trace-out", self->trace.text),
		  0);
	*ret_run = number(self, "experts.hits");
	*ret_refs = number(self, "trace_references");
	EXPECT_EQ(*ret_refs, number(self, "experts.gets"));
	snprintf(budget, sizeof(budget), "%lld", (long long)number(self, "budget.cache_bytes"));
	ASSERT_EQ(wt_weir(&self->run, "replay", "--json", "--budget", budget, "--policy", policy,
			  self->trace.text, NULL),
		  0);
	*ret_replay = number(self, "sizes.0.results.1.hits");
	EXPECT_LT(0, *ret_run);
}

TEST_F(mixture, writes_a_trace_that_replays_to_the_same_hits)
{
	int64_t run, replay, refs;

	compare(_metadata, self, "fifo", &run, &replay, &refs);
	EXPECT_EQ(run, replay);
	/* A cache tells its policy of a hit once in a while, not each time. */
	compare(_metadata, self, "lru", &run, &replay, &refs);
	EXPECT_LE(replay - refs / 50, run);
	EXPECT_GE(replay + refs / 50, run);
}

TEST_F(mixture, takes_a_recorded_routing_of_another_shape)
{
	static const char text[] = "# route_trace v1\n"
				   "turn,phase,step,layer,slot,expert,weight,residency,bytes\n"
				   "0,0,0,0,0,5,0.5,0,100\n"
				   "0,1,1,0,0,7,0.5,0,100\n0,1,1,0,1,7000,0.5,0,100\n"
				   "0,1,1,900,0,3,0.5,0,100\n"
				   "0,1,2,0,0,7,0.5,0,100\n";
	struct ct_path route = ct_join(self->dir, "route");

	ASSERT_EQ(ct_write(route.text, text, sizeof(text) - 1), 0);
	ASSERT_EQ(STREAM("--routing", route.text), 0) TH_LOG("%s", self->run.err);
	EXPECT_EQ(number(self, "model.chosen"), 2);
	/* Six tokens: the two of the file in turn, two experts and one. */
	EXPECT_EQ(number(self, "turns.0.experts_used"), 9);
	ASSERT_EQ(ct_write(route.text, "# route_trace v1\n0,1,1,900,0,3,0,0,9\n", 36), 0);
	EXPECT_EQ(STREAM("--routing", route.text), 1);
}

TEST_F(mixture, is_documented_and_fits_a_terminal)
{
	char name[64] = "";
	char *wide;

	ASSERT_EQ(STREAM("--turns", "it", "--kv", "4/64KiB"), 0);
	EXPECT_FALSE(ct_undocumented(self->run.json, "weir-stream", name, sizeof(name)))
	{
		TH_LOG("%s", name);
	}
	ASSERT_EQ(wt_weir(&self->run, "stream", "--turns", "it", "--kv", "4/64KiB", self->path.text,
			  NULL),
		  0);
	wide = ct_wide_line(self->run.out, self->path.text);
	EXPECT_EQ(wide, NULL) TH_LOG("%s", wide ? wide : "");
	free(wide);
}

TEST_F(mixture, reads_the_rows_that_tokens_need_and_no_others)
{
	char first[32];
	int64_t whole;

	ASSERT_EQ(STREAM("--turns", "tt", "--budget", "50%"), 0);
	EXPECT_EQ(number(self, "rows.tables"), 0);
	whole = number(self, "budget.always_used_bytes");
	ASSERT_EQ(STREAM("--turns", "tt", "--budget", "50%", "--rule",
			 "*embed_tokens.weight=rows,experts.0.*=pin,*gate*=stream", "--prompt",
			 "32"),
		  0)
	{
		TH_LOG("%s", self->run.out);
	}
	EXPECT_EQ(number(self, "rows.tables"), 1);
	EXPECT_EQ(number(self, "rows.asked"), 2 * (32 + 6));
	EXPECT_LE(number(self, "rows.read"), 2 * (32 + 6));
	EXPECT_LT(0, number(self, "rows.read"));
	EXPECT_LT(number(self, "rows.read_bytes"), number(self, "rows.table_bytes") / 2);
	EXPECT_EQ(number(self, "budget.always_used_bytes"),
		  whole - number(self, "rows.table_bytes"));
	snprintf(first, sizeof(first), "%s", wt_text(self->run.json, "turns.1.checksum"));
	ASSERT_EQ(STREAM("--turns", "tt", "--rule", "*embed_tokens.weight=rows", "--prompt", "32",
			 "--io", "mmap"),
		  0);
	EXPECT_STREQ(wt_text(self->run.json, "turns.1.checksum"), first);
}

TEST_F(mixture, is_compared_with_a_mapping)
{
	json_t *cases;

	ASSERT_EQ(wt_weir(&self->run, "bench", "stream", "--json", "--rounds", "1", "--passes", "2",
			  self->path.text, NULL),
		  0)
	{
		TH_LOG("%s", self->run.out);
	}
	cases = json_object_get(self->run.json, "mixture");
	EXPECT_EQ(json_array_size(cases), 2u);
	for (size_t i = 0; i < json_array_size(cases); i++) {
		json_t *one = json_array_get(cases, i);

		EXPECT_TRUE(json_is_true(json_object_get(one, "checksums_equal")));
		EXPECT_TRUE(json_is_object(json_object_get(one, "ahead")));
	}
}

TEST_F(mixture, refuses_what_has_no_meaning)
{
	EXPECT_EQ(STREAM("--rule", "x"), 2);
	EXPECT_EQ(STREAM("--rule", "=pin"), 2);
	EXPECT_EQ(STREAM("--rule", "a=pin,b=nonesuch"), 2);
	EXPECT_EQ(STREAM("--rule", "*experts.gate_up_proj=rows"), 1);
	EXPECT_EQ(STREAM("--turns", "tx"), 2);
	EXPECT_EQ(STREAM("--turns", ""), 2);
	EXPECT_EQ(STREAM("--kv", "0/64KiB"), 2);
	EXPECT_EQ(STREAM("--kv", "7"), 2);
	EXPECT_EQ(STREAM("--l3", self->l3.text), 2);
	EXPECT_EQ(STREAM("--io", "mmap", "--trace-out", self->trace.text), 2);
	EXPECT_EQ(STREAM("--experts", "all", "--foresee", "50"), 2);
	EXPECT_EQ(STREAM("--experts", "all", "--policy", "lru"), 2);
	EXPECT_EQ(STREAM("--policy", "nonesuch"), 1);
	EXPECT_EQ(STREAM("--routing", "/nonesuch"), 1);
	EXPECT_EQ(STREAM("--trace-out", "/nonesuch/trace"), 1);
}

/* ---- a dense model ---- */

FIXTURE(dense)
{
	char dir[512];
	struct ct_path path, l3, trace;
	struct wt_run run;
};

FIXTURE_SETUP(dense)
{
	wt_dir_make(self->dir, sizeof(self->dir), NULL);
	self->path = ct_join(self->dir, "model");
	self->l3 = ct_join(self->dir, "l3");
	self->trace = ct_join(self->dir, "trace");
	ASSERT_EQ(ct_make(CT_SINGLE, self->path.text), 0);
}

FIXTURE_TEARDOWN(dense)
{
	wt_run_fini(&self->run);
	wt_dir_remove(self->dir);
}

TEST_F(dense, has_turns_and_kv_blocks_too)
{
	ASSERT_EQ(wt_weir(&self->run, "stream", "--json", "--turns", "tit", "--passes", "3", "--kv",
			  "100/32KiB", "--l3", self->l3.text, "--budget", "50%", "--tile", "8K",
			  self->path.text, NULL),
		  0)
	{
		TH_LOG("%s", self->run.out);
	}
	EXPECT_EQ(wt_int(self->run.json, "turns.0.vision_read_bytes"), 0);
	EXPECT_LT(0, wt_int(self->run.json, "turns.1.vision_read_bytes"));
	EXPECT_EQ(wt_int(self->run.json, "turns.2.vision_read_bytes"), 0);
	EXPECT_EQ(wt_int(self->run.json, "kv.put"), 100);
	EXPECT_EQ(wt_int(self->run.json, "kv.wrong"), 0);
	EXPECT_EQ(wt_int(self->run.json, "kv.lost"), 0);
}

TEST_F(dense, writes_a_trace_of_its_units)
{
	int64_t refs;

	ASSERT_EQ(wt_weir(&self->run, "stream", "--json", "--passes", "4", "--tile", "8K",
			  "--trace-out", self->trace.text, self->path.text, NULL),
		  0);
	refs = wt_int(self->run.json, "trace_references");
	ASSERT_EQ(wt_weir(&self->run, "replay", "--json", "--policy", "lru", "--budget", "50%",
			  self->trace.text, NULL),
		  0);
	EXPECT_EQ(wt_int(self->run.json, "trace.references"), refs);
	EXPECT_EQ(wt_int(self->run.json, "trace.things") * 4, refs);
	/* What a pass in order does to recency. */
	EXPECT_EQ(wt_int(self->run.json, "sizes.0.results.1.hits"), 0);
}

TEST_HARNESS_MAIN
