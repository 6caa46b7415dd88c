/* SPDX-License-Identifier: MIT */
/*
 * What a policy that starts later takes over: from the shadow that was simulated meanwhile, and
 * from the counts of all keys.
 */
#include "kselftest_harness.h"

#include <errno.h>

#include "policy/policy_ops.h"

#define SHIFT 3
#define ROOM  64u

static struct wr_policy *open_policy(struct __test_metadata *_metadata, const char *name,
				     uint64_t room)
{
	const struct wr_policy_opts opts = {.capacity_bytes = room, .nr_entries = room};
	struct wr_policy *p = NULL;

	ASSERT_EQ(wr_policy_open(name, &opts, &p), 0);
	return p;
}

static struct weir_key key_of(uint64_t i)
{
	return (struct weir_key){.lo = i};
}

static void insert(struct wr_policy *p, struct wr_policy_node *node, uint64_t i)
{
	*node = (struct wr_policy_node){
		.key = key_of(i), .bytes = 1, .next_use = WR_POLICY_UNKNOWN};
	wr_policy_miss(p, node->key, 1);
	wr_policy_insert(p, node);
}

/* References to things that do not come back, until one is admitted; at most @most. */
static uint64_t until_one_is_admitted(struct wr_policy *p, uint64_t most)
{
	for (uint64_t i = 0; i < most; i++) {
		wr_policy_miss(p, key_of(1000000 + i), 1);
		if (wr_policy_admit(p, key_of(1000000 + i), 1, WR_POLICY_UNKNOWN))
			return i;
	}
	return most;
}

TEST(loop_protects_for_as_long_as_its_shadow_on_fewer_keys_does)
{
	struct wr_policy *shadow = open_policy(_metadata, "loop", ROOM / 8);
	struct wr_policy *p = open_policy(_metadata, "loop", ROOM);
	struct wr_policy_node nodes[ROOM];
	uint64_t waited;

	for (uint64_t i = 0; i < ROOM; i++)
		insert(p, &nodes[i], i);
	/* On its own it has seen nothing come back, and protects all for good. */
	EXPECT_EQ(until_one_is_admitted(p, 2000), 2000u);
	for (uint64_t i = 0; i < ROOM; i++)
		wr_policy_hit(p, &nodes[i]);
	p->ops->follow(p, shadow, SHIFT);
	EXPECT_EQ(until_one_is_admitted(p, 2000), 2000u);
	for (uint64_t i = 0; i < ROOM; i++)
		wr_policy_hit(p, &nodes[i]);
	/* What the shadow sees later counts as well: a turn of 40, which are 320 keys. */
	for (uint64_t i = 0; i < 4000; i++)
		wr_policy_miss(shadow, key_of(i % 40), 1);
	waited = until_one_is_admitted(p, 2000) + ROOM;
	EXPECT_GE(waited, 320u);
	EXPECT_LE(waited, 320u * 9 / 8 + 8);
	wr_policy_close(p);
	wr_policy_close(shadow);
}

TEST(arc_starts_with_the_balance_of_its_shadow)
{
	struct wr_policy *shadow = open_policy(_metadata, "arc", ROOM / 8);
	struct wr_policy *p = open_policy(_metadata, "arc", ROOM);
	struct wr_policy_node nodes[ROOM / 8 + 1], recent[8], frequent[8];

	/* The shadow misses what was used once and left: it wants more room for such things. */
	for (uint64_t i = 0; i < ROOM / 8; i++)
		insert(shadow, &nodes[i], i);
	wr_policy_hit(shadow, &nodes[0]);
	for (unsigned i = 0; i < 4; i++) {
		struct wr_policy_node *victim = wr_policy_victim(shadow, NULL, NULL);
		uint64_t key = victim->key.lo;

		wr_policy_remove(shadow, victim, true);
		insert(shadow, victim, key);
	}
	for (uint64_t i = 0; i < 8; i++) {
		insert(p, &recent[i], i);
		insert(p, &frequent[i], 100 + i);
		wr_policy_hit(p, &frequent[i]);
	}
	EXPECT_EQ(wr_policy_victim(p, NULL, NULL), &recent[0]);
	p->ops->follow(p, shadow, SHIFT);
	EXPECT_EQ(wr_policy_victim(p, NULL, NULL), &frequent[0]);
	wr_policy_close(p);
	wr_policy_close(shadow);
}

FIXTURE(counts)
{
	struct wr_sketch all;
};

FIXTURE_VARIANT(counts)
{
	const char *policy;
};

FIXTURE_VARIANT_ADD(counts, lfu){.policy = "lfu"};
FIXTURE_VARIANT_ADD(counts, tinylfu){.policy = "w-tinylfu"};

FIXTURE_SETUP(counts)
{
	ASSERT_EQ(wr_sketch_init(&self->all, ROOM, UINT8_MAX), 0);
}

FIXTURE_TEARDOWN(counts)
{
	wr_sketch_fini(&self->all);
}

/* A use of long ago is forgotten by the counts of all keys; a node remembers it as long as it stays. */
TEST_F(counts, that_have_aged_are_not_raised_by_what_the_nodes_remember)
{
	struct wr_policy *old = open_policy(_metadata, "lru", ROOM);
	struct wr_policy *p = open_policy(_metadata, variant->policy, ROOM);
	struct wr_policy_node nodes[ROOM];
	const uint64_t idle = ROOM - 1;

	/* One was used 50 times, but not lately; of the others each 4 times. */
	insert(old, &nodes[idle], idle);
	for (unsigned i = 0; i < 50; i++)
		wr_policy_hit(old, &nodes[idle]);
	for (uint64_t i = 0; i < idle; i++) {
		insert(old, &nodes[i], i);
		wr_policy_hit(old, &nodes[i]);
		for (unsigned k = 0; k < 4; k++)
			wr_sketch_add(&self->all, wr_policy_hash(key_of(i), 0));
	}
	wr_sketch_add(&self->all, wr_policy_hash(key_of(idle), 0));
	/* What comes in is asked for more than the one that is idle, and less than the rest. */
	for (unsigned k = 0; k < 2; k++)
		wr_sketch_add(&self->all, wr_policy_hash(key_of(1000), 0));
	p->ops->learn(p, &self->all, 1);
	wr_policy_switch(old, p);
	wr_policy_miss(p, key_of(1000), 1);
	EXPECT_TRUE(wr_policy_admit_full(p, key_of(1000), 1, WR_POLICY_UNKNOWN));
	EXPECT_EQ(wr_policy_victim(p, NULL, NULL), &nodes[idle]);
	wr_policy_close(p);
	wr_policy_close(old);
}

TEST_HARNESS_MAIN
