/* SPDX-License-Identifier: MIT */
/*
 * Looking a key up: the library's table read under RCU, against liburcu's own table and against
 * the same table under a rwlock. Keys are random and all are there. Arms take turns; of each the
 * middle one of a round counts: the fastest turn of two threads is the one in which they did not meet.
 */
#include "bench_lock_rcu.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"
#include "bench_race.h"
#include "lock/rcu.h"
#include "lock/rcu_table.h"

#if HAVE_URCU && HAVE_URCU_CDS
#include <urcu/rculfhash.h>
#define HAS_LFHT 1
#else
#define HAS_LFHT 0
#endif

#define NR_TURNS 9
#define NR_FINDS 200000u

static const unsigned nr_nodes[WR_BR_SIZES] = {1000, 100000};
static const char *const names[WR_BR_ARMS] = {
	[WR_BR_RCU] = "table under RCU",
	[WR_BR_LFHT] = "cds_lfht",
	[WR_BR_RWLOCK] = "table under a rwlock",
};

struct key {
	uint64_t lo, hi;
};

struct node {
	struct wr_rcu_node rcu;
	struct key key;
};

#if HAS_LFHT
struct lfht_node {
	struct cds_lfht_node lfht;
	struct key key;
};
#endif

static struct {
	struct wr_rcu_table table;
	struct node *nodes;
#if HAS_LFHT
	struct cds_lfht *lfht;
	struct lfht_node *lfht_nodes;
#endif
} indexes[WR_BR_SIZES];

static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;

/* False where this build has no liburcu; the arm has no numbers then. */
static bool has(enum wr_br_arm arm)
{
	return arm != WR_BR_LFHT || HAS_LFHT;
}

static bool is_key(struct wr_rcu_node *rcu, const void *arg)
{
	const struct node *node = wr_container_of(rcu, struct node, rcu);
	const struct key *key = arg;

	return node->key.lo == key->lo && node->key.hi == key->hi;
}

#if HAS_LFHT
static int is_lfht_key(struct cds_lfht_node *lfht, const void *arg)
{
	const struct lfht_node *node = wr_container_of(lfht, struct lfht_node, lfht);
	const struct key *key = arg;

	return node->key.lo == key->lo && node->key.hi == key->hi;
}

static int open_lfht(int size)
{
	unsigned nr_buckets = 1;

	/* As many as ours has. */
	while (nr_buckets < nr_nodes[size])
		nr_buckets *= 2;
	indexes[size].lfht_nodes = calloc(nr_nodes[size], sizeof(*indexes[size].lfht_nodes));
	indexes[size].lfht = cds_lfht_new_flavor(nr_buckets, 1, 0, 0, &urcu_bp_flavor, NULL);
	if (!indexes[size].lfht_nodes || !indexes[size].lfht)
		return -ENOMEM;
	for (unsigned i = 0; i < nr_nodes[size]; i++) {
		struct lfht_node *node = &indexes[size].lfht_nodes[i];

		node->key = indexes[size].nodes[i].key;
		urcu_bp_read_lock();
		cds_lfht_add(indexes[size].lfht, node->key.lo, &node->lfht);
		urcu_bp_read_unlock();
	}
	return 0;
}

static void close_lfht(int size)
{
	for (unsigned i = 0; indexes[size].lfht && i < nr_nodes[size]; i++) {
		urcu_bp_read_lock();
		cds_lfht_del(indexes[size].lfht, &indexes[size].lfht_nodes[i].lfht);
		urcu_bp_read_unlock();
	}
	if (indexes[size].lfht)
		cds_lfht_destroy(indexes[size].lfht, NULL);
	free(indexes[size].lfht_nodes);
}

static bool find_lfht(int size, const struct key *key)
{
	struct cds_lfht_iter iter;

	urcu_bp_read_lock();
	cds_lfht_lookup(indexes[size].lfht, key->lo, is_lfht_key, key, &iter);
	urcu_bp_read_unlock();
	return iter.node != NULL;
}
#else
static int open_lfht(int size)
{
	(void)size;
	return 0;
}

static void close_lfht(int size)
{
	(void)size;
}

static bool find_lfht(int size, const struct key *key)
{
	(void)size;
	(void)key;
	return true;
}
#endif

int wr_br_open(void)
{
	uint64_t random = 1;

	for (int s = 0; s < WR_BR_SIZES; s++) {
		int rc = wr_rcu_table_open(&indexes[s].table, nr_nodes[s]);

		if (rc)
			return rc;
		indexes[s].nodes = calloc(nr_nodes[s], sizeof(*indexes[s].nodes));
		if (!indexes[s].nodes)
			return -ENOMEM;
		for (unsigned i = 0; i < nr_nodes[s]; i++) {
			struct node *node = &indexes[s].nodes[i];

			node->key.lo = wr_splitmix64(&random);
			node->key.hi = wr_splitmix64(&random);
			wr_rcu_table_add(&indexes[s].table, &node->rcu, node->key.lo);
		}
		rc = open_lfht(s);
		if (rc)
			return rc;
	}
	return 0;
}

void wr_br_close(void)
{
	for (int s = 0; s < WR_BR_SIZES; s++) {
		close_lfht(s);
		if (indexes[s].nodes)
			wr_rcu_table_close(&indexes[s].table);
		free(indexes[s].nodes);
	}
}

static bool find(int size, enum wr_br_arm arm, const struct key *key)
{
	bool found;

	if (arm == WR_BR_LFHT)
		return find_lfht(size, key);
	if (arm == WR_BR_RWLOCK)
		pthread_rwlock_rdlock(&rwlock);
	else
		wr_rcu_read_lock();
	found = wr_rcu_table_find(&indexes[size].table, key->lo, is_key, key) != NULL;
	if (arm == WR_BR_RWLOCK)
		pthread_rwlock_unlock(&rwlock);
	else
		wr_rcu_read_unlock();
	return found;
}

struct turn {
	int size;
	enum wr_br_arm arm;
	uint64_t random;
	_Atomic unsigned nr_missing;
};

static void take_turn(void *arg, unsigned number)
{
	struct turn *t = arg;
	struct node *nodes = indexes[t->size].nodes;
	/* Not where the other thread has its own: the turn is a common cache line. */
	uint64_t random = t->random + number;
	unsigned nr_missing = 0;

	for (unsigned i = 0; i < NR_FINDS; i++) {
		unsigned which = (unsigned)(wr_splitmix64(&random) % nr_nodes[t->size]);
		const struct key key = nodes[which].key;

		nr_missing += !find(t->size, t->arm, &key);
	}
	atomic_fetch_add(&t->nr_missing, nr_missing);
}

static double one_turn(int size, enum wr_br_arm arm, unsigned nr_threads, unsigned number)
{
	struct turn turn = {.size = size, .arm = arm, .random = number * 2};
	const struct wr_bench_race race = {.work = take_turn, .arg = &turn};
	double ns = wr_bench_run_race(&race, nr_threads);

	if (turn.nr_missing)
		abort();
	return ns / NR_FINDS;
}

static void round_of(struct wr_br *br, int size, unsigned nr_threads)
{
	double ns[WR_BR_ARMS][NR_TURNS];

	for (unsigned t = 0; t < NR_TURNS; t++) {
		for (int i = 0; i < WR_BR_ARMS; i++) {
			enum wr_br_arm arm = (enum wr_br_arm)(t % 2 ? WR_BR_ARMS - 1 - i : i);

			ns[arm][t] = has(arm) ? one_turn(size, arm, nr_threads, t) : 0;
		}
	}
	for (int i = 0; i < WR_BR_ARMS; i++) {
		wr_bench_sort(ns[i], NR_TURNS);
		if (has((enum wr_br_arm)i))
			wr_bench_add(&br->ns[size][nr_threads - 1][i], ns[i][NR_TURNS / 2]);
	}
}

void wr_br_round(struct wr_br *br)
{
	for (int s = 0; s < WR_BR_SIZES; s++)
		for (unsigned nr = 1; nr <= WR_BR_THREADS; nr++)
			round_of(br, s, nr);
}

void wr_br_print(const struct wr_br *br)
{
	static const struct wr_ui_column cols[] = {{"look-up, ns", WR_UI_LEFT},
						   {"1,000 nodes", WR_UI_RIGHT},
						   {"two threads", WR_UI_RIGHT},
						   {"100,000 nodes", WR_UI_RIGHT},
						   {"two threads", WR_UI_RIGHT}};
	struct wr_ui_table *t = wr_ui_table_open(cols, 1 + WR_BR_SIZES * WR_BR_THREADS);
	char text[WR_BENCH_TEXT];

	for (int arm = 0; arm < WR_BR_ARMS; arm++) {
		wr_ui_table_cell(t, "%s", names[arm]);
		for (int s = 0; s < WR_BR_SIZES; s++)
			for (int nr = 0; nr < WR_BR_THREADS; nr++)
				wr_ui_table_cell(t, "%s",
						 wr_bench_text(text, &br->ns[s][nr][arm], 1));
	}
	(void)wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
}

json_t *wr_br_json(const struct wr_br *br)
{
	json_t *rows = json_array();

	for (int arm = 0; arm < WR_BR_ARMS; arm++)
		for (int s = 0; s < WR_BR_SIZES; s++)
			for (int nr = 0; nr < WR_BR_THREADS; nr++)
				json_array_append_new(
					rows,
					json_pack("{s:s, s:i, s:i, s:o}", "arm", names[arm],
						  "nodes", (int)nr_nodes[s], "threads", nr + 1,
						  "ns", wr_bench_json(&br->ns[s][nr][arm])));
	return rows;
}
