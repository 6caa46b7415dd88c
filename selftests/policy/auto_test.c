/* SPDX-License-Identifier: MIT */
/*
 * The choice of a policy while it runs, measured in hits, which do not depend on the machine: in
 * loops close to the best there is, elsewhere close to the best fixed policy.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/naive.h"
#include "policy/selector.h"
#include "replay.h"

static const char *const fixed[] = {"lru", "arc", "s3-fifo", "sieve", "w-tinylfu", "lfu", "loop"};

static void run_loop(struct __test_metadata *_metadata, const char *policy, uint64_t keys,
		     uint64_t rounds, uint64_t room, double share)
{
	struct wr_trace t = {0};
	struct wr_replay_result opt, r;
	const struct wr_replay_opts opts = {.capacity = room};

	for (uint64_t i = 0; i < keys * rounds; i++)
		ASSERT_EQ(wr_trace_add(&t, (struct weir_key){.lo = i % keys}, WR_TRACE_WEIGHTS, 1),
			  0);
	ASSERT_EQ(wr_replay_opt(&t, &opts, &opt), 0);
	ASSERT_EQ(wr_replay_run(&t, policy, &opts, &r), 0);
	EXPECT_GE((double)r.hits, share * (double)opt.hits)
	TH_LOG("%s, room for %llu of %llu: %llu of %llu", policy, (unsigned long long)room,
	       (unsigned long long)keys, (unsigned long long)r.hits, (unsigned long long)opt.hits);
	/* Distances are known to an eighth. */
	if (room < keys * 8 / 9)
		EXPECT_EQ(r.below_cycle, !strcmp(policy, "auto"));
	wr_trace_close(&t);
}

FIXTURE(loop)
{
	int unused;
};

FIXTURE_VARIANT(loop)
{
	uint64_t keys;
};

FIXTURE_VARIANT_ADD(loop, small){.keys = 100};
FIXTURE_VARIANT_ADD(loop, of_a_model){.keys = 5120};
FIXTURE_VARIANT_ADD(loop, large){.keys = 30000};

FIXTURE_SETUP(loop)
{
}

FIXTURE_TEARDOWN(loop)
{
}

TEST_F(loop, a_quarter_to_nine_tenths_of_it_give_what_opt_gives)
{
	static const uint64_t percents[] = {25, 50, 75, 90};

	for (size_t i = 0; i < wr_array_size(percents); i++) {
		uint64_t room = variant->keys * percents[i] / 100;

		run_loop(_metadata, "loop", variant->keys, 20, room, 0.95);
		run_loop(_metadata, "auto", variant->keys, 30, room, 0.95);
	}
}

TEST_F(loop, a_small_part_of_it_gives_at_least_half_of_opt)
{
	static const uint64_t percents[] = {2, 5, 10, 15};

	for (size_t i = 0; i < wr_array_size(percents); i++) {
		uint64_t room = variant->keys * percents[i] / 100;

		run_loop(_metadata, "loop", variant->keys, 20, room, 0.5);
		run_loop(_metadata, "auto", variant->keys, 30, room, 0.5);
	}
}

static double best_of(struct __test_metadata *_metadata, const struct wr_trace *t,
		      const struct wr_replay_opts *opts, double *lru)
{
	double best = 0;

	for (size_t i = 0; i < wr_array_size(fixed); i++) {
		struct wr_replay_result r;
		double hits;

		ASSERT_EQ(wr_replay_run(t, fixed[i], opts, &r), 0);
		hits = wr_replay_hits(t, &r);
		best = hits > best ? hits : best;
		*lru = i ? *lru : hits;
	}
	return best;
}

/* Wider than what is reached (docs/policies.md), so that a better policy does not fail it. */
TEST(auto_loses_little_against_the_best_fixed_policy)
{
	static const uint64_t percents[] = {5, 20, 50};
	double regret = 0;
	unsigned nr = 0;

	for (size_t g = 0; wr_trace_generator(g); g++) {
		struct wr_trace t = {0};

		ASSERT_EQ(wr_trace_generate(wr_trace_generator(g), 1, &t), 0);
		for (size_t i = 0; i < wr_array_size(percents); i++) {
			const struct wr_replay_opts opts = {.capacity = t.nr_objects * percents[i] /
									100};
			struct wr_replay_result r;
			double lru = 0;
			double best = best_of(_metadata, &t, &opts, &lru);
			double hits;

			ASSERT_EQ(wr_replay_run(&t, "auto", &opts, &r), 0);
			hits = wr_replay_hits(&t, &r);
			EXPECT_GE(hits, best - 0.02)
			TH_LOG("%s at %llu %%: %.4f, best %.4f", wr_trace_generator(g),
			       (unsigned long long)percents[i], hits, best);
			EXPECT_GE(hits, lru - 0.02);
			regret += 100 * (best - hits);
			nr++;
		}
		wr_trace_close(&t);
	}
	EXPECT_LE(regret / nr, 0.5);
}

TEST(auto_says_what_it_chose_and_why)
{
	const struct wr_replay_opts opts = {.capacity = 1000};
	struct wr_trace t = {0};
	struct wr_replay_result r;

	ASSERT_EQ(wr_trace_generate("loop", 1, &t), 0);
	ASSERT_EQ(wr_replay_run(&t, "auto", &opts, &r), 0);
	EXPECT_STREQ(r.chosen, "loop");
	EXPECT_EQ(strncmp(r.reason, "loop hits ", 10), 0) TH_LOG("%s", r.reason);
	EXPECT_GE(r.nr_changes, 1u);
	EXPECT_TRUE(r.below_cycle);
	EXPECT_GE(r.cycle_bytes, 5120u * 8 / 9);
	EXPECT_LE(r.cycle_bytes, 5120u);
	wr_trace_close(&t);
}

/* The last policy that hits nothing of a loop must not be kept, nor chased by two that tie. */
TEST(two_policies_that_are_good_by_turns_do_not_chase_each_other)
{
	const struct wr_replay_opts opts = {.capacity = 2490};
	struct wr_trace t = {0};
	struct wr_replay_result r;

	ASSERT_EQ(wr_trace_generate("mix", 1, &t), 0);
	ASSERT_EQ(wr_replay_run(&t, "auto", &opts, &r), 0);
	EXPECT_LE(r.nr_changes, 20u);
	wr_trace_close(&t);
}

/* All see the same few things, so no shadow is better than another; only the cache is worse. */
static uint64_t until_it_changes(struct __test_metadata *_metadata, const char *const *candidates,
				 size_t nr, const char **ret_reason)
{
	static char reason[200];
	const struct wr_selector_opts opts = {.capacity_bytes = 100,
					      .nr_entries = 100,
					      .candidates = candidates,
					      .nr_candidates = nr};
	struct wr_selector *s;
	uint64_t i = 0;

	ASSERT_EQ(wr_selector_open(&opts, &s), 0);
	while (i < 150 && !wr_selector_access(s, (struct weir_key){.lo = i % 4}, 1, false))
		i++;
	if (i < 150)
		EXPECT_STREQ(wr_selector_choice(s), "lru");
	snprintf(reason, sizeof(reason), "%s", wr_selector_reason(s));
	*ret_reason = reason;
	wr_selector_close(s);
	return i;
}

TEST(a_cache_that_lags_behind_lru_turns_to_it)
{
	static const char *const candidates[] = {"fifo", "arc", "lru"};
	const char *reason;

	/* In hits: 0.2 for each entry, and 8; a while before the shadow that was chosen is doubted. */
	EXPECT_LT(until_it_changes(_metadata, candidates, 3, &reason), 40u);
	EXPECT_STREQ(reason, "lru had over 28 hits more than the cache on all keys");
	EXPECT_EQ(until_it_changes(_metadata, candidates, 2, &reason), 150u);
	EXPECT_EQ(until_it_changes(_metadata, candidates + 2, 1, &reason), 150u);
}

TEST(a_forecast_that_is_right_is_found_out)
{
	const uint32_t keys = 1000;
	const struct wr_policy_opts opts = {.capacity_bytes = 300, .nr_entries = 300};
	struct wr_policy_node *nodes = calloc(keys, sizeof(*nodes));
	bool *is_resident = calloc(keys, sizeof(*is_resident));
	uint32_t *refs = calloc(60000, sizeof(*refs));
	uint64_t *next = calloc(60000, sizeof(*next));
	uint64_t last[1000];
	struct wr_policy_info info;
	struct wr_policy *p;

	ASSERT_EQ(wr_policy_open("auto", &opts, &p), 0);
	make_refs(refs, 60000, SHAPE_EVEN, keys, 9);
	for (uint32_t i = 0; i < keys; i++)
		last[i] = WR_POLICY_NEVER;
	for (uint64_t i = 60000; i-- > 0;) {
		next[i] = last[refs[i]];
		last[refs[i]] = i + 1;
	}
	for (uint64_t i = 0; i < 60000; i++) {
		struct wr_policy_node *node = &nodes[refs[i]];

		if (is_resident[refs[i]]) {
			wr_policy_hit(p, node);
			wr_policy_forecast(p, node, next[i]);
			continue;
		}
		*node = (struct wr_policy_node){
			.key = {.lo = refs[i]}, .bytes = 1, .next_use = next[i]};
		wr_policy_miss(p, node->key, 1);
		if (!wr_policy_admit(p, node->key, 1, next[i]))
			continue;
		while (wr_policy_bytes(p) >= 300) {
			struct wr_policy_node *victim = wr_policy_victim(p, NULL, NULL);

			wr_policy_remove(p, victim, true);
			is_resident[victim - nodes] = false;
		}
		wr_policy_insert(p, node);
		is_resident[refs[i]] = true;
	}
	wr_policy_info(p, &info);
	EXPECT_STREQ(info.chosen, "forecast");
	wr_policy_close(p);
	free(nodes);
	free(is_resident);
	free(refs);
	free(next);
}

TEST(a_selector_refuses_what_is_no_policy)
{
	static const char *const wrong[] = {"lru", "best"};
	struct wr_selector_opts opts = {
		.capacity_bytes = 100, .nr_entries = 10, .candidates = wrong, .nr_candidates = 2};
	struct wr_selector *s = NULL;

	EXPECT_EQ(wr_selector_open(&opts, &s), -ENOENT);
	opts.nr_candidates = 0;
	EXPECT_EQ(wr_selector_open(&opts, &s), -EINVAL);
	opts.nr_candidates = WR_SELECTOR_MAX + 1;
	EXPECT_EQ(wr_selector_open(&opts, &s), -EINVAL);
	opts.nr_candidates = 1;
	ASSERT_EQ(wr_selector_open(&opts, &s), 0);
	EXPECT_STREQ(wr_selector_choice(s), "lru");
	EXPECT_STREQ(wr_selector_reason(s), "");
	EXPECT_EQ(wr_selector_rate(s), 1u);
	wr_selector_close(s);
}

TEST(one_key_in_many_is_in_the_sample)
{
	struct wr_selector_opts opts = {.capacity_bytes = 1 << 20, .nr_entries = 8192};
	struct wr_selector *s;
	uint64_t nr = 0;

	ASSERT_EQ(wr_selector_open(&opts, &s), 0);
	EXPECT_EQ(wr_selector_rate(s), 16u);
	for (uint64_t i = 0; i < 16000; i++)
		nr += wr_selector_is_sampled(s, i * 0x9e3779b97f4a7c15u);
	EXPECT_GT(nr, 900u);
	EXPECT_LT(nr, 1100u);
	wr_selector_close(s);
}

TEST_HARNESS_MAIN
