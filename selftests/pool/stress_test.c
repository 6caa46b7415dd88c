/* SPDX-License-Identifier: MIT */
/*
 * Eight threads take, hand to each other and give back, while one reads the statistics:
 * the sums hold in every snapshot, no byte of a span changes under its owner, and at
 * the end everything is one free run again. Meant for TSan as well.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include <weir/pool.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/random.h"
#include "base/util.h"
#include "fake_machine.h"

#define MIB	   (1ull << 20)
#define NR_THREADS 8
#define NR_STEPS   20000
#define NR_OWN	   64
#define NR_SHELF   128

struct shelf_slot {
	pthread_mutex_t lock;
	struct weir_span span;
};

struct stress {
	struct weir_pool *pool;
	int nr_nodes;
	struct shelf_slot shelf[NR_SHELF]; /* spans on their way to another thread */
	_Atomic int nr_running;
	_Atomic int nr_faults;
	_Atomic uint64_t nr_full;
};

struct worker {
	struct stress *stress;
	uint64_t random;
	struct weir_span own[NR_OWN];
	pthread_t thread;
};

/* Mark both ends of a span as this allocation's. */
static void stamp(const struct weir_span *span)
{
	uint64_t mark = span->id ^ ((uint64_t)span->generation << 32);

	memcpy(span->base, &mark, sizeof(mark));
	memcpy((uint8_t *)span->base + span->bytes - sizeof(mark), &mark, sizeof(mark));
}

static bool is_stamped(const struct weir_span *span)
{
	uint64_t mark = span->id ^ ((uint64_t)span->generation << 32);

	return memcmp(span->base, &mark, sizeof(mark)) == 0 &&
	       memcmp((uint8_t *)span->base + span->bytes - sizeof(mark), &mark, sizeof(mark)) == 0;
}

static void fault(struct stress *s)
{
	atomic_fetch_add(&s->nr_faults, 1);
}

static void give_back(struct stress *s, struct weir_span *span)
{
	if (span->bytes == 0)
		return;
	if (!is_stamped(span) || weir_pool_span_free(s->pool, span) != 0)
		fault(s);
	if (weir_pool_free(s->pool, *span) != -ESTALE)
		fault(s);
	memset(span, 0, sizeof(*span));
}

static void take(struct worker *w, struct weir_span *span)
{
	struct stress *s = w->stress;
	uint64_t r = wr_xorshift64(&w->random);
	int node = (int)(r % (unsigned)(s->nr_nodes + 1)) - 1;
	size_t bytes = 1 + (size_t)((r >> 8) % (r % 16 == 0 ? 2 * MIB : 40000));
	int rc;

	/* Half of them are the sizes that threads keep ready. */
	if (r >> 63) {
		node = WEIR_NODE_ANY;
		bytes = (size_t)4096 << (r >> 8) % 5;
	}
	rc = weir_pool_alloc(s->pool, bytes, node, span);

	if (rc == 0)
		stamp(span);
	else if (rc == -ENOSPC)
		atomic_fetch_add(&s->nr_full, 1);
	else
		fault(s);
}

static void swap_with_shelf(struct worker *w, struct weir_span *span)
{
	struct shelf_slot *slot = &w->stress->shelf[wr_xorshift64(&w->random) % NR_SHELF];
	struct weir_span mine = *span;

	pthread_mutex_lock(&slot->lock);
	*span = slot->span;
	slot->span = mine;
	pthread_mutex_unlock(&slot->lock);
}

/* Until the pool is full: what one thread holds alone would not fill it, and threads may run in turn. */
static void fill(struct worker *w)
{
	size_t i;

	for (i = 0; i < NR_OWN; i++) {
		int rc;

		give_back(w->stress, &w->own[i]);
		rc = weir_pool_alloc(w->stress->pool, MIB, WEIR_NODE_ANY, &w->own[i]);
		if (rc == -ENOSPC) {
			atomic_fetch_add(&w->stress->nr_full, 1);
			return;
		}
		if (rc != 0)
			fault(w->stress);
		else
			stamp(&w->own[i]);
	}
	fault(w->stress);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	size_t i;
	int step;

	for (step = 0; step < NR_STEPS; step++) {
		struct weir_span *span = &w->own[wr_xorshift64(&w->random) % NR_OWN];

		if (wr_xorshift64(&w->random) % 4 == 0)
			swap_with_shelf(w, span);
		else if (span->bytes != 0)
			give_back(w->stress, span);
		else
			take(w, span);
	}
	fill(w);
	for (i = 0; i < NR_OWN; i++)
		give_back(w->stress, &w->own[i]);
	atomic_fetch_sub(&w->stress->nr_running, 1);
	return NULL;
}

static void check_stats(struct stress *s, uint64_t capacity)
{
	struct weir_pool_stats t;

	weir_pool_stats(s->pool, &t);
	if (t.capacity_bytes != capacity ||
	    t.free_bytes + t.used_bytes + t.cached_bytes != capacity)
		fault(s);
	if (t.requested_bytes > t.used_bytes || t.peak_used_bytes < t.used_bytes)
		fault(s);
	if (t.nr_allocs - t.nr_frees != t.nr_live || t.largest_free_bytes > t.free_bytes)
		fault(s);
}

FIXTURE(threads)
{
	struct fake_machine machine;
	struct stress stress;
	struct worker workers[NR_THREADS];
};

FIXTURE_VARIANT(threads)
{
	int nr_nodes;
	uint64_t nr_large; /* pages of 64 KiB a node; 0: as many as wanted */
};

FIXTURE_VARIANT_ADD(threads, on_one_node){
	.nr_nodes = 1,
};
FIXTURE_VARIANT_ADD(threads, on_three_nodes){
	.nr_nodes = 3,
};

FIXTURE_VARIANT_ADD(threads, on_pages_of_three_kinds){
	.nr_nodes = 1,
	.nr_large = 100,
};

FIXTURE_SETUP(threads)
{
	struct weir_pool_opts opts = {.size = sizeof(opts), .capacity_bytes = 24 * MIB};
	size_t i;

	memset(&self->stress, 0, sizeof(self->stress));
	memset(self->workers, 0, sizeof(self->workers));
	fake_machine_init(&self->machine, variant->nr_nodes);
	if (variant->nr_large > 0) {
		self->machine.kinds[WEIR_PAGE_1G].free_pages[0] = variant->nr_large;
		self->machine.kinds[WEIR_PAGE_2M].free_pages[0] = variant->nr_large;
	}
	ASSERT_EQ(0, wr_pool_open_on(&self->machine.system, &opts, &self->stress.pool, NULL));
	self->stress.nr_nodes = variant->nr_nodes;
	for (i = 0; i < NR_SHELF; i++)
		pthread_mutex_init(&self->stress.shelf[i].lock, NULL);
}

FIXTURE_TEARDOWN(threads)
{
	weir_pool_close(self->stress.pool);
	EXPECT_EQ(0, wr_test_alloc_live());
}

TEST_F(threads, sums_hold_in_every_snapshot_and_nothing_is_lost)
{
	struct stress *s = &self->stress;
	struct weir_pool_stats stats;
	uint64_t nr_snapshots = 0;
	size_t i;

	s->nr_running = NR_THREADS;
	for (i = 0; i < NR_THREADS; i++) {
		self->workers[i].stress = s;
		self->workers[i].random = 0x9e3779b97f4a7c15ull * (i + 1);
		ASSERT_EQ(0,
			  pthread_create(&self->workers[i].thread, NULL, work, &self->workers[i]));
	}
	while (atomic_load(&s->nr_running) > 0) {
		check_stats(s, 24 * MIB);
		atomic_store(&self->machine.current_node,
			     (int)(nr_snapshots++ % (unsigned)s->nr_nodes));
		usleep(100);
	}
	for (i = 0; i < NR_THREADS; i++)
		pthread_join(self->workers[i].thread, NULL);
	for (i = 0; i < NR_SHELF; i++)
		give_back(s, &s->shelf[i].span);
	EXPECT_EQ(0, atomic_load(&s->nr_faults));
	EXPECT_LT(0u, atomic_load(&s->nr_full)); /* full pools were seen too */
	weir_pool_trim(s->pool, 0);
	weir_pool_stats(s->pool, &stats);
	EXPECT_EQ(24 * MIB, stats.free_bytes);
	EXPECT_EQ(24 * MIB / (unsigned)s->nr_nodes, stats.largest_free_bytes);
	EXPECT_EQ(stats.nr_allocs, stats.nr_frees);
	EXPECT_EQ(atomic_load(&s->nr_full), stats.nr_failed);
	EXPECT_EQ(0u, stats.requested_bytes);
}

TEST_HARNESS_MAIN
