/* SPDX-License-Identifier: MIT */
/* Readers that never wait: nothing is freed under them, and what they look up is there. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "base/atomic.h"
#include "harness/holdings.h"
#include "lock/rcu.h"
#include "lock/rcu_table.h"
#include "lock/validate.h"

#define MS 1000u

/* A reader that stays in its section until it is told to go. */
struct reader {
	pthread_t thread;
	_Atomic bool is_in;
	_Atomic bool go;
	_Atomic bool is_out;
	unsigned nest;
};

static void *stay_in(void *arg)
{
	struct reader *r = arg;

	for (unsigned i = 0; i < r->nest; i++)
		wr_rcu_read_lock();
	/* All but one of the sections end here. */
	for (unsigned i = 1; i < r->nest; i++)
		wr_rcu_read_unlock();
	wr_store_release(&r->is_in, true);
	while (!wr_load_acquire(&r->go))
		usleep(100);
	wr_store_release(&r->is_out, true);
	wr_rcu_read_unlock();
	return NULL;
}

static void start(struct reader *r)
{
	if (pthread_create(&r->thread, NULL, stay_in, r) != 0)
		abort();
	while (!wr_load_acquire(&r->is_in))
		usleep(100);
}

static void *let_go_soon(void *arg)
{
	struct reader *r = arg;

	usleep(30 * MS);
	wr_store_release(&r->go, true);
	return NULL;
}

TEST(a_grace_period_lasts_as_long_as_a_section_that_began_before)
{
	struct reader r = {.nest = 1};
	pthread_t helper;

	start(&r);
	ASSERT_EQ(pthread_create(&helper, NULL, let_go_soon, &r), 0);
	wr_rcu_synchronize();
	EXPECT_TRUE(wr_load_acquire(&r.is_out));
	pthread_join(helper, NULL);
	pthread_join(r.thread, NULL);
}

TEST(a_section_within_a_section_does_not_end_it)
{
	struct reader r = {.nest = 3};
	pthread_t helper;

	start(&r);
	ASSERT_EQ(pthread_create(&helper, NULL, let_go_soon, &r), 0);
	wr_rcu_synchronize();
	EXPECT_TRUE(wr_load_acquire(&r.is_out));
	pthread_join(helper, NULL);
	pthread_join(r.thread, NULL);
}

struct call {
	struct wr_rcu_head head;
	_Atomic bool has_run;
	int number;
};

static int last_number;

static void note(struct wr_rcu_head *head)
{
	struct call *c = wr_container_of(head, struct call, head);

	if (c->number == last_number + 1)
		last_number = c->number;
	wr_store_release(&c->has_run, true);
}

TEST(a_call_runs_when_the_reader_has_gone)
{
	struct reader r = {.nest = 1};
	struct call c = {.number = 1};

	ASSERT_EQ(wr_rcu_open(), 0);
	start(&r);
	wr_rcu_call(&c.head, note);
	usleep(20 * MS);
	EXPECT_FALSE(wr_load_acquire(&c.has_run));
	wr_store_release(&r.go, true);
	wr_rcu_barrier();
	EXPECT_TRUE(wr_load_acquire(&c.has_run));
	pthread_join(r.thread, NULL);
	wr_rcu_close();
}

TEST(calls_run_in_their_order_and_a_barrier_waits_for_all)
{
	static struct call calls[1000];

	last_number = 0;
	ASSERT_EQ(wr_rcu_open(), 0);
	for (int i = 0; i < 1000; i++) {
		calls[i].number = i + 1;
		wr_rcu_call(&calls[i].head, note);
	}
	wr_rcu_barrier();
	EXPECT_EQ(last_number, 1000);
	wr_rcu_close();
}

TEST(closing_runs_what_was_called_and_leaves_no_thread)
{
	struct call c = {.number = 1};
	int before;

	/* A sanitizer starts a thread of its own with the first of ours. */
	ASSERT_EQ(wr_rcu_open(), 0);
	wr_rcu_close();
	usleep(10 * MS);
	before = nr_living_threads();
	for (int i = 0; i < 100; i++) {
		wr_store_relaxed(&c.has_run, false);
		ASSERT_EQ(wr_rcu_open(), 0);
		ASSERT_EQ(wr_rcu_open(), 0);
		wr_rcu_call(&c.head, note);
		wr_rcu_close();
		EXPECT_TRUE(wr_load_acquire(&c.has_run));
		wr_rcu_close();
	}
	EXPECT_EQ(nr_living_threads(), before);
}

static _Atomic int nr_faults;

static void count(const struct wr_lock_fault *fault)
{
	if (fault->kind == WR_LOCK_FAULT_RCU)
		wr_fetch_add_relaxed(&nr_faults, 1);
}

TEST(sleeping_in_a_section_is_a_fault_and_taking_what_does_not_sleep_is_none)
{
	struct wr_mutex may_sleep, may_not;
	struct wr_spin spin;
	struct wr_cond cond;

	wr_lock_set_fault_hook(count);
	wr_mutex_init(&may_sleep, WR_RANK_POOL, "may sleep");
	wr_mutex_init(&may_not, WR_RANK_POOL_ZONE, "may not");
	wr_spin_init(&spin, WR_RANK_METRICS, "spin");
	wr_cond_init(&cond);

	wr_rcu_read_lock();
	wr_mutex_lock(&may_not);
	wr_spin_lock(&spin);
	wr_spin_unlock(&spin);
	wr_mutex_unlock(&may_not);
	EXPECT_EQ(wr_load_relaxed(&nr_faults), 0);
	wr_mutex_lock(&may_sleep);
	wr_mutex_unlock(&may_sleep);
	EXPECT_EQ(wr_load_relaxed(&nr_faults), 1);
	wr_might_block("a read of a file");
	EXPECT_EQ(wr_load_relaxed(&nr_faults), 2);
	wr_mutex_lock(&may_not);
	EXPECT_EQ(wr_cond_timedwait(&cond, &may_not, wr_now_ns()), -ETIMEDOUT);
	wr_mutex_unlock(&may_not);
	EXPECT_EQ(wr_load_relaxed(&nr_faults), 3);
	wr_rcu_read_unlock();

	wr_mutex_lock(&may_sleep);
	wr_might_block("a read of a file");
	wr_mutex_unlock(&may_sleep);
	EXPECT_EQ(wr_load_relaxed(&nr_faults), 3);
	wr_lock_set_fault_hook(NULL);
	wr_cond_fini(&cond);
	wr_spin_fini(&spin);
	wr_mutex_fini(&may_not);
	wr_mutex_fini(&may_sleep);
}

#define ALIVE UINT64_C(0x600df00d600df00d)

struct item {
	struct wr_rcu_node node;
	struct wr_rcu_head head;
	uint64_t key;
	uint64_t is_alive;
	unsigned nr_met;
};

static uint64_t hash_of(uint64_t key)
{
	return (key + 1) * UINT64_C(0x9e3779b97f4a7c15) >> 20;
}

static bool has_key(struct wr_rcu_node *node, const void *key)
{
	return wr_container_of(node, struct item, node)->key == *(const uint64_t *)key;
}

static struct item *find(struct wr_rcu_table *table, uint64_t key)
{
	struct wr_rcu_node *node = wr_rcu_table_find(table, hash_of(key), has_key, &key);

	return node != NULL ? wr_container_of(node, struct item, node) : NULL;
}

static struct item *add(struct wr_rcu_table *table, uint64_t key)
{
	struct item *item = calloc(1, sizeof(*item));

	if (item == NULL)
		abort();
	item->key = key;
	item->is_alive = ALIVE;
	wr_rcu_table_add(table, &item->node, hash_of(key));
	return item;
}

static void bury(struct wr_rcu_head *head)
{
	struct item *item = wr_container_of(head, struct item, head);

	item->is_alive = 0;
	free(item);
}

static void take_out(struct wr_rcu_table *table, struct item *item)
{
	wr_rcu_table_del(table, &item->node);
	wr_rcu_call(&item->head, bury);
}

static bool meet(struct wr_rcu_node *node, void *arg)
{
	wr_container_of(node, struct item, node)->nr_met++;
	++*(unsigned *)arg;
	return true;
}

static bool meet_one(struct wr_rcu_node *node, void *arg)
{
	(void)node;
	++*(unsigned *)arg;
	return false;
}

static bool free_all(struct wr_rcu_node *node, void *arg)
{
	(void)arg;
	free(wr_container_of(node, struct item, node));
	return true;
}

TEST(a_table_finds_what_is_in_it_and_meets_each_node_once)
{
	struct wr_rcu_table table;
	unsigned nr = 0;

	ASSERT_EQ(wr_rcu_table_open(&table, 0), 0);
	for (uint64_t k = 0; k < 10000; k++) {
		add(&table, k);
		/* Let arrays go, so that there is more than one to grow into. */
		if (k % 100 == 0)
			wr_rcu_barrier();
	}
	for (uint64_t k = 0; k < 10000; k += 3)
		take_out(&table, find(&table, k));
	wr_rcu_read_lock();
	for (uint64_t k = 0; k < 10001; k++)
		EXPECT_EQ(find(&table, k) != NULL, k < 10000 && k % 3 != 0);
	wr_rcu_table_each(&table, meet, &nr);
	EXPECT_EQ(nr, 6666u);
	for (uint64_t k = 1; k < 10000; k += k % 3)
		EXPECT_EQ(find(&table, k)->nr_met, 1u);
	nr = 0;
	wr_rcu_table_each(&table, meet_one, &nr);
	EXPECT_EQ(nr, 1u);
	wr_rcu_read_unlock();
	EXPECT_EQ(table.nr, 6666u);
	EXPECT_GE(wr_load_relaxed(&table.array)->mask + 1, 8192u);
	wr_rcu_table_each(&table, free_all, NULL);
	wr_rcu_table_close(&table);
}

TEST(nodes_of_one_hash_are_told_apart)
{
	struct wr_rcu_table table;
	static struct item items[8];

	ASSERT_EQ(wr_rcu_table_open(&table, 0), 0);
	for (uint64_t k = 0; k < 8; k++) {
		items[k].key = k;
		wr_rcu_table_add(&table, &items[k].node, 7);
	}
	wr_rcu_table_del(&table, &items[3].node);
	for (uint64_t k = 0; k < 8; k++) {
		struct wr_rcu_node *node = wr_rcu_table_find(&table, 7, has_key, &k);

		EXPECT_EQ(node, k == 3 ? NULL : &items[k].node);
	}
	wr_rcu_table_close(&table);
}

TEST(without_memory_a_table_does_not_grow_and_loses_nothing)
{
	int64_t live = wr_test_alloc_live();
	struct wr_rcu_table table;

	for (uint64_t n = 1;; n++) {
		bool failed;
		int rc;

		wr_test_alloc_fail_at(n);
		rc = wr_rcu_table_open(&table, 0);
		if (rc == 0) {
			for (uint64_t k = 0; k < 40; k++)
				add(&table, k);
			for (uint64_t k = 0; k < 40; k++)
				EXPECT_NE(find(&table, k), NULL);
		} else {
			EXPECT_EQ(rc, -ENOMEM);
		}
		failed = wr_test_alloc_failed();
		wr_test_alloc_fail_at(0);
		if (rc == 0) {
			wr_rcu_table_each(&table, free_all, NULL);
			wr_rcu_table_close(&table);
		}
		EXPECT_EQ(wr_test_alloc_live(), live);
		if (!failed)
			break;
	}
}

#define NR_STABLE  64
#define NR_CHURN   512
#define NR_READERS 2
#define NR_CHANGES 30000

struct stress {
	struct wr_rcu_table table;
	_Atomic bool stop;
	_Atomic uint64_t nr_missing, nr_dead, nr_short, nr_found;
};

static void look(struct stress *s, uint64_t key)
{
	struct item *item = find(&s->table, key);

	if (item == NULL) {
		if (key < NR_STABLE)
			wr_fetch_add_relaxed(&s->nr_missing, 1);
		return;
	}
	if (item->is_alive != ALIVE || item->key != key)
		wr_fetch_add_relaxed(&s->nr_dead, 1);
	wr_fetch_add_relaxed(&s->nr_found, 1);
}

static bool count_stable(struct wr_rcu_node *node, void *arg)
{
	if (wr_container_of(node, struct item, node)->key < NR_STABLE)
		++*(unsigned *)arg;
	return true;
}

static void *read_on(void *arg)
{
	struct stress *s = arg;

	for (uint64_t i = 0; !wr_load_relaxed(&s->stop); i++) {
		wr_rcu_read_lock();
		look(s, i % (NR_STABLE + NR_CHURN));
		look(s, i % NR_STABLE);
		if (i % 256 == 0) {
			unsigned nr = 0;

			wr_rcu_table_each(&s->table, count_stable, &nr);
			if (nr != NR_STABLE)
				wr_fetch_add_relaxed(&s->nr_short, 1);
		}
		wr_rcu_read_unlock();
	}
	return NULL;
}

TEST(readers_find_whole_nodes_while_others_come_and_go)
{
	static struct stress s;
	pthread_t readers[NR_READERS];
	unsigned seed = 1;

	/* Small at first: it grows under the readers. */
	ASSERT_EQ(wr_rcu_table_open(&s.table, 0), 0);
	for (uint64_t k = 0; k < NR_STABLE; k++)
		add(&s.table, k);
	for (int i = 0; i < NR_READERS; i++)
		ASSERT_EQ(pthread_create(&readers[i], NULL, read_on, &s), 0);
	/* On a busy machine the changes could be over before the first reader has a CPU. */
	while (wr_load_relaxed(&s.nr_found) == 0)
		usleep(1000);
	for (int i = 0; i < NR_CHANGES; i++) {
		uint64_t key = NR_STABLE + (unsigned)rand_r(&seed) % NR_CHURN;
		struct item *item = find(&s.table, key);

		if (item != NULL)
			take_out(&s.table, item);
		else
			add(&s.table, key);
		if (i % 1000 == 0)
			wr_rcu_table_reserve(&s.table, 1u << (7 + i / 5000));
	}
	wr_store_relaxed(&s.stop, true);
	for (int i = 0; i < NR_READERS; i++)
		pthread_join(readers[i], NULL);
	EXPECT_EQ(wr_load_relaxed(&s.nr_missing), 0u);
	EXPECT_EQ(wr_load_relaxed(&s.nr_dead), 0u);
	EXPECT_EQ(wr_load_relaxed(&s.nr_short), 0u);
	EXPECT_GT(wr_load_relaxed(&s.nr_found), 0u);
	wr_rcu_barrier();
	wr_rcu_table_each(&s.table, free_all, NULL);
	wr_rcu_table_close(&s.table);
}

TEST_HARNESS_MAIN
