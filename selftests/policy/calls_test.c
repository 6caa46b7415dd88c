/* SPDX-License-Identifier: MIT */
/*
 * What every policy promises, whichever it is: any order of calls, pinned nodes, a room that
 * changes, a policy that takes over from another, and no memory.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/random.h"
#include "policy/naive.h"

#define NR_THINGS 300
#define ROOM	  (uint64_t)2000

struct thing {
	struct wr_policy_node node;
	bool is_resident;
	bool is_pinned;
};

FIXTURE(policy)
{
	struct wr_policy *p;
	struct thing things[NR_THINGS];
	uint64_t state;
	uint64_t bytes, nr; /* of what is resident, by our own count */
	uint64_t room;
};

FIXTURE_VARIANT(policy)
{
	const char *name;
};

FIXTURE_VARIANT_ADD(policy, lru){.name = "lru"};
FIXTURE_VARIANT_ADD(policy, fifo){.name = "fifo"};
FIXTURE_VARIANT_ADD(policy, arc){.name = "arc"};
FIXTURE_VARIANT_ADD(policy, s3_fifo){.name = "s3-fifo"};
FIXTURE_VARIANT_ADD(policy, sieve){.name = "sieve"};
FIXTURE_VARIANT_ADD(policy, w_tinylfu){.name = "w-tinylfu"};
FIXTURE_VARIANT_ADD(policy, lfu){.name = "lfu"};
FIXTURE_VARIANT_ADD(policy, loop){.name = "loop"};
FIXTURE_VARIANT_ADD(policy, forecast){.name = "forecast"};
FIXTURE_VARIANT_ADD(policy, automatic){.name = "auto"};

FIXTURE_SETUP(policy)
{
	/* Too few on purpose: tables that are too small must do. */
	const struct wr_policy_opts opts = {.capacity_bytes = ROOM, .nr_entries = 20, .seed = 5};

	memset(self->things, 0, sizeof(self->things));
	self->state = 1;
	self->bytes = self->nr = 0;
	self->room = ROOM;
	ASSERT_EQ(wr_policy_open(variant->name, &opts, &self->p), 0);
	for (uint32_t i = 0; i < NR_THINGS; i++) {
		self->things[i].node.key = (struct weir_key){.hi = i / 7, .lo = i};
		self->things[i].node.bytes = 1 + i % 90;
	}
}

FIXTURE_TEARDOWN(policy)
{
	wr_policy_close(self->p);
	EXPECT_EQ(wr_test_alloc_live(), 0);
}

static uint64_t draw(FIXTURE_DATA(policy) * self)
{
	return wr_lcg64(&self->state) >> 33;
}

static bool may(void *ctx, const struct wr_policy_node *node)
{
	uint64_t *asked = ctx;

	(*asked)++;
	return !((const struct thing *)(const void *)node)->is_pinned;
}

static void drop(FIXTURE_DATA(policy) * self, struct thing *t, bool evicted)
{
	wr_policy_remove(self->p, &t->node, evicted);
	t->is_resident = false;
	self->bytes -= t->node.bytes;
	self->nr--;
}

/* Evict until @bytes more fit; false when everything is pinned. */
static bool make_room(FIXTURE_DATA(policy) * self, uint64_t bytes)
{
	while (self->bytes + bytes > self->room) {
		uint64_t asked = 0;
		struct wr_policy_node *node = wr_policy_victim(self->p, may, &asked);

		if (!node)
			return false;
		drop(self, wr_container_of(node, struct thing, node), true);
	}
	return true;
}

static void reference(FIXTURE_DATA(policy) * self, struct thing *t)
{
	t->node.next_use =
		draw(self) % 3 ? WR_POLICY_UNKNOWN : wr_policy_clock(self->p) + draw(self) % 500;
	if (t->is_resident) {
		wr_policy_hit(self->p, &t->node);
		if (draw(self) % 4 == 0)
			wr_policy_forecast(self->p, &t->node,
					   draw(self) % 9 ? wr_policy_clock(self->p) + 50
							  : WR_POLICY_NEVER);
		else if (draw(self) % 4 == 0)
			wr_policy_expect(self->p, &t->node, draw(self) % 500,
					 (uint32_t)draw(self) % (WR_POLICY_SURE + 2));
		return;
	}
	wr_policy_miss(self->p, t->node.key, t->node.bytes);
	if (draw(self) % 4 == 0)
		wr_policy_foretell(self->p, t->node.key, draw(self) % 500,
				   (uint32_t)draw(self) % (WR_POLICY_SURE + 2));
	/* Some come in against the advice. */
	if ((!wr_policy_admit(self->p, t->node.key, t->node.bytes, t->node.next_use) &&
	     draw(self) % 3) ||
	    !make_room(self, t->node.bytes))
		return;
	wr_policy_insert(self->p, &t->node);
	t->is_resident = true;
	self->bytes += t->node.bytes;
	self->nr++;
}

TEST_F(policy, any_order_of_calls_keeps_its_sums)
{
	for (unsigned i = 0; i < 30000; i++) {
		struct thing *t = &self->things[draw(self) % NR_THINGS * (draw(self) % NR_THINGS) /
						NR_THINGS];

		switch (draw(self) % 16) {
		case 0:
			t->is_pinned = !t->is_pinned && draw(self) % 2;
			break;
		case 1:
			if (t->is_resident)
				drop(self, t, draw(self) % 2);
			break;
		case 2:
			if (draw(self) % 64)
				break;
			self->room = ROOM / 2 + draw(self) % ROOM;
			wr_policy_resize(self->p, self->room);
			make_room(self, 0);
			break;
		default:
			reference(self, t);
		}
		ASSERT_EQ(wr_policy_bytes(self->p), self->bytes);
		ASSERT_EQ(wr_policy_nodes(self->p), self->nr);
	}
	EXPECT_GT(self->nr, 0u);
}

TEST_F(policy, pinned_nodes_are_never_the_victim)
{
	uint64_t asked = 0;

	for (uint32_t i = 0; i < 40; i++)
		reference(self, &self->things[i]);
	for (uint32_t i = 0; i < NR_THINGS; i++)
		self->things[i].is_pinned = self->things[i].is_resident;
	EXPECT_EQ(wr_policy_victim(self->p, may, &asked), NULL);
	EXPECT_GE(asked, self->nr);
	/* Each in turn is the only one that may leave. */
	for (uint32_t i = 0; i < 40; i++) {
		if (!self->things[i].is_resident)
			continue;
		self->things[i].is_pinned = false;
		EXPECT_EQ(wr_policy_victim(self->p, may, &asked), &self->things[i].node);
		self->things[i].is_pinned = true;
	}
}

TEST_F(policy, a_policy_without_nodes_has_no_victim)
{
	EXPECT_EQ(wr_policy_victim(self->p, NULL, NULL), NULL);
	reference(self, &self->things[0]);
	drop(self, &self->things[0], false);
	EXPECT_EQ(wr_policy_victim(self->p, NULL, NULL), NULL);
}

TEST_F(policy, with_room_left_everything_is_admitted)
{
	for (uint32_t i = 0; i < 20; i++) {
		wr_policy_miss(self->p, self->things[i].node.key, 10);
		EXPECT_TRUE(
			wr_policy_admit(self->p, self->things[i].node.key, 10, WR_POLICY_UNKNOWN));
	}
	EXPECT_FALSE(
		wr_policy_admit(self->p, self->things[0].node.key, ROOM + 1, WR_POLICY_UNKNOWN));
}

/* Take over from each of the others, and give back to it. */
TEST_F(policy, a_switch_moves_every_node_once)
{
	const struct wr_policy_opts opts = {.capacity_bytes = ROOM, .nr_entries = 20};
	struct wr_policy *other;

	for (size_t i = 0; wr_policy_name(i); i++) {
		for (unsigned r = 0; r < 500; r++)
			reference(self, &self->things[draw(self) % NR_THINGS]);
		ASSERT_EQ(wr_policy_open(wr_policy_name(i), &opts, &other), 0);
		for (unsigned back = 0; back < 2; back++) {
			struct wr_policy *was = self->p;

			wr_policy_switch(self->p, other);
			self->p = other;
			other = was;
			EXPECT_EQ(wr_policy_nodes(other), 0u);
			EXPECT_EQ(wr_policy_bytes(other), 0u);
			EXPECT_EQ(wr_policy_nodes(self->p), self->nr);
			EXPECT_EQ(wr_policy_bytes(self->p), self->bytes);
			for (unsigned r = 0; r < 200; r++)
				reference(self, &self->things[draw(self) % NR_THINGS]);
		}
		wr_policy_close(other);
	}
	/* All of them can still be found and evicted. */
	for (uint64_t left = self->nr; left > 0; left--) {
		struct wr_policy_node *node = wr_policy_victim(self->p, NULL, NULL);

		ASSERT_NE(node, NULL);
		drop(self, wr_container_of(node, struct thing, node), true);
	}
	EXPECT_EQ(wr_policy_bytes(self->p), 0u);
}

TEST_F(policy, no_memory_at_any_point_of_open_leaves_nothing_behind)
{
	const struct wr_policy_opts opts = {.capacity_bytes = ROOM, .nr_entries = 20};
	int64_t live = wr_test_alloc_live();
	struct wr_policy *p = NULL;
	int rc = -1;

	for (uint64_t n = 1; rc; n++) {
		wr_test_alloc_fail_at(n);
		rc = wr_policy_open(variant->name, &opts, &p);
		if (wr_test_alloc_failed()) {
			EXPECT_EQ(rc, -ENOMEM);
			EXPECT_EQ(wr_test_alloc_live(), live);
		}
		ASSERT_LT(n, 200u);
	}
	wr_test_alloc_fail_at(0);
	wr_policy_close(p);
}

TEST(a_switch_keeps_the_order_of_the_last_use)
{
	const struct wr_policy_opts opts = {.capacity_bytes = 100, .nr_entries = 100};
	struct wr_policy_node nodes[50];
	struct wr_policy *from, *to;

	ASSERT_EQ(wr_policy_open("s3-fifo", &opts, &from), 0);
	ASSERT_EQ(wr_policy_open("lru", &opts, &to), 0);
	for (uint64_t i = 0; i < 50; i++) {
		nodes[i].key = (struct weir_key){.lo = i};
		nodes[i].bytes = 1;
		nodes[i].next_use = WR_POLICY_UNKNOWN;
		wr_policy_miss(from, nodes[i].key, 1);
		wr_policy_insert(from, &nodes[i]);
	}
	/* The last use of i is at (i * 7) mod 50. */
	for (uint64_t i = 0; i < 50; i++)
		wr_policy_hit(from, &nodes[i * 43 % 50]);
	wr_policy_switch(from, to);
	for (uint64_t i = 0; i < 50; i++) {
		struct wr_policy_node *victim = wr_policy_victim(to, NULL, NULL);

		EXPECT_EQ(victim, &nodes[i * 43 % 50]);
		wr_policy_remove(to, victim, true);
	}
	wr_policy_close(from);
	wr_policy_close(to);
}

TEST(forecasts_decide_who_leaves)
{
	const struct wr_policy_opts opts = {.capacity_bytes = 4, .nr_entries = 4};
	struct wr_policy_node nodes[4];
	const uint64_t next[4] = {100, 400, 300, 200};
	struct wr_policy *p;

	ASSERT_EQ(wr_policy_open("forecast", &opts, &p), 0);
	for (uint64_t i = 0; i < 4; i++) {
		nodes[i] =
			(struct wr_policy_node){.key = {.lo = i}, .bytes = 1, .next_use = next[i]};
		wr_policy_miss(p, nodes[i].key, 1);
		wr_policy_insert(p, &nodes[i]);
	}
	EXPECT_EQ(wr_policy_victim(p, NULL, NULL), &nodes[1]);
	/* Whoever is needed after all of them need not come in. */
	EXPECT_FALSE(wr_policy_admit(p, (struct weir_key){.lo = 9}, 1, 500));
	EXPECT_TRUE(wr_policy_admit(p, (struct weir_key){.lo = 9}, 1, 350));
	wr_policy_forecast(p, &nodes[1], 50);
	EXPECT_EQ(wr_policy_victim(p, NULL, NULL), &nodes[2]);
	wr_policy_forecast(p, &nodes[0], WR_POLICY_NEVER);
	EXPECT_EQ(wr_policy_victim(p, NULL, NULL), &nodes[0]);
	/* A hit uses its forecast up. */
	wr_policy_hit(p, &nodes[0]);
	EXPECT_EQ(wr_policy_victim(p, NULL, NULL), &nodes[2]);
	wr_policy_close(p);
}

/* 64 nodes of a megabyte, the first the oldest. */
static struct wr_policy *open_aged(const char *name, struct wr_policy_node *nodes)
{
	const struct wr_policy_opts opts = {.capacity_bytes = (uint64_t)64 << 20, .nr_entries = 64};
	struct wr_policy *p;

	if (wr_policy_open(name, &opts, &p))
		return NULL;
	for (uint64_t i = 0; i < 64; i++) {
		nodes[i] = (struct wr_policy_node){
			.key = {.lo = i}, .bytes = 1 << 20, .next_use = WR_POLICY_UNKNOWN};
		wr_policy_miss(p, nodes[i].key, 1 << 20);
		wr_policy_insert(p, &nodes[i]);
	}
	return p;
}

TEST(of_the_oldest_the_least_probable_for_its_distance_leaves)
{
	static const char *const names[] = {"lru", "arc"};
	struct wr_policy_node nodes[64];

	for (size_t n = 0; n < wr_array_size(names); n++) {
		struct wr_policy *p = open_aged(names[n], nodes);

		ASSERT_NE(p, NULL);
		/* Nothing had to leave so far. */
		EXPECT_TRUE(wr_policy_outranks(p, 300, 1, NULL, NULL));
		EXPECT_FALSE(wr_policy_outranks(p, 300, 0, NULL, NULL));
		EXPECT_EQ(wr_policy_victim(p, NULL, NULL), &nodes[0]);
		/* What is sure to be used by then changes nothing, as before. */
		wr_policy_forecast(p, &nodes[0], 1000);
		EXPECT_EQ(wr_policy_victim(p, NULL, NULL), &nodes[0]);
		wr_policy_expect(p, &nodes[0], 10, WR_POLICY_SURE / 2);
		wr_policy_expect(p, &nodes[1], 300, WR_POLICY_SURE / 4);
		wr_policy_expect(p, &nodes[2], 300, WR_POLICY_SURE / 2);
		EXPECT_EQ(wr_policy_victim(p, NULL, NULL), &nodes[1]);
		/* Near but improbable, and far out of the tail. */
		wr_policy_expect(p, &nodes[0], 10, WR_POLICY_SURE / 256);
		wr_policy_expect(p, &nodes[60], 300, 1);
		EXPECT_EQ(wr_policy_victim(p, NULL, NULL), &nodes[0]);
		/* Worth more than that, and not. */
		EXPECT_TRUE(wr_policy_outranks(p, 300, WR_POLICY_SURE / 2, NULL, NULL));
		EXPECT_FALSE(wr_policy_outranks(p, 300, WR_POLICY_SURE / 64, NULL, NULL));
		EXPECT_FALSE(wr_policy_outranks(p, 300, 0, NULL, NULL));
		/* A hit uses it up. */
		wr_policy_hit(p, &nodes[0]);
		EXPECT_EQ(wr_policy_victim(p, NULL, NULL), &nodes[1]);
		wr_policy_close(p);
	}
}

TEST(what_was_expected_and_did_not_come_is_judged_by_its_age)
{
	struct wr_policy_node nodes[64];
	struct wr_policy *p = open_aged("lru", nodes);

	ASSERT_NE(p, NULL);
	wr_policy_expect(p, &nodes[0], 2, WR_POLICY_SURE);
	EXPECT_EQ(wr_policy_victim(p, NULL, NULL), &nodes[1]);
	for (uint64_t i = 0; i < 4; i++)
		wr_policy_hit(p, &nodes[63]);
	EXPECT_EQ(wr_policy_victim(p, NULL, NULL), &nodes[0]);
	wr_policy_close(p);
}

TEST(a_wrong_open_is_refused)
{
	struct wr_policy_opts opts = {.capacity_bytes = 100};
	struct wr_policy *p = NULL;

	EXPECT_EQ(wr_policy_open("belady", &opts, &p), -ENOENT);
	EXPECT_EQ(wr_policy_open("", &opts, &p), -ENOENT);
	opts.capacity_bytes = 0;
	EXPECT_EQ(wr_policy_open("lru", &opts, &p), -EINVAL);
	EXPECT_EQ(p, NULL);
	wr_policy_close(NULL);
	opts.capacity_bytes = 100;
	ASSERT_EQ(wr_policy_open(NULL, &opts, &p), 0);
	wr_policy_close(p);
	EXPECT_EQ(wr_policy_name(1000), NULL);
}

TEST_HARNESS_MAIN
