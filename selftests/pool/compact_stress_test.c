/* SPDX-License-Identifier: MIT */
/*
 * Compaction under load: eight threads take, pin, read, write, unpin and free, some hold pins
 * for ever, one compacts without end. No byte is lost, no address changes under a pin, the
 * statistics add up, and all comes back at the end. Meant for TSan as well.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/random.h"
#include "base/util.h"
#include "handle_help.h"

#define MIB	   HELP_MIB
#define CAPACITY   (12 * MIB)
#define NR_THREADS 8
#define NR_STEPS   20000
#define NR_OWN	   40
#define NR_SHARED  32

struct load {
	struct weir_pool *pool;
	struct help_block shared[NR_SHARED]; /* read by all, freed by none */
	struct help_block held[4];	     /* pinned from the first to the last moment */
	_Atomic int nr_running;
	_Atomic int nr_faults;
	_Atomic uint64_t nr_again;
	_Atomic uint64_t nr_full;
};

struct hand {
	struct load *load;
	uint64_t random;
	struct help_block own[NR_OWN];
	void *pinned[NR_OWN]; /* where, while this thread has a pin over several steps */
	pthread_t thread;
};

static void fault(struct load *l)
{
	atomic_fetch_add(&l->nr_faults, 1);
}

static void take(struct hand *h, size_t i)
{
	struct load *l = h->load;
	uint64_t r = wr_xorshift64(&h->random);
	size_t bytes = 4096u << (r % 6);
	uint32_t flags = (r >> 8) % 8 ? WEIR_HANDLE_MOVABLE : 0;
	int rc = help_take(l->pool, bytes, (int)((r >> 16) % 2), flags, r, &h->own[i]);

	if (rc == -ENOSPC)
		atomic_fetch_add(&l->nr_full, 1);
	else if (rc != 0)
		fault(l);
}

/* Write new content under a pin, and look whether it is there under the next one. */
static void rewrite(struct hand *h, size_t i)
{
	struct help_block *b = &h->own[i];
	void *p;

	if (weir_handle_pin(h->load->pool, b->handle, &p) != 0) {
		fault(h->load);
		return;
	}
	if (!help_is_filled(p, b->bytes, b->seed))
		fault(h->load);
	b->seed = wr_xorshift64(&h->random);
	help_fill(p, b->bytes, b->seed);
	if (weir_handle_unpin(h->load->pool, b->handle) != 0)
		fault(h->load);
}

/* Pin it now, unpin it when it is met again: the address and the bytes stay. */
static void hold(struct hand *h, size_t i)
{
	struct help_block *b = &h->own[i];
	int rc;

	if (h->pinned[i]) {
		if (help_where(h->load->pool, b) != h->pinned[i] ||
		    !help_is_filled(h->pinned[i], b->bytes, b->seed) ||
		    weir_handle_free(h->load->pool, b->handle) != -EBUSY ||
		    weir_handle_unpin(h->load->pool, b->handle) != 0)
			fault(h->load);
		h->pinned[i] = NULL;
		return;
	}
	rc = weir_handle_pin_try(h->load->pool, b->handle, &h->pinned[i]);
	if (rc == -EAGAIN)
		atomic_fetch_add(&h->load->nr_again, 1);
	else if (rc != 0)
		fault(h->load);
}

static void give_back(struct hand *h, size_t i)
{
	struct help_block b = h->own[i];

	if (h->pinned[i])
		hold(h, i);
	if (!help_is_whole(h->load->pool, &b) || help_drop(h->load->pool, &h->own[i]) != 0)
		fault(h->load);
	if (weir_handle_free(h->load->pool, b.handle) != -ESTALE)
		fault(h->load);
}

static void *work(void *arg)
{
	struct hand *h = arg;
	uint64_t r;
	size_t i;
	int step;

	for (step = 0; step < NR_STEPS; step++) {
		r = wr_xorshift64(&h->random);
		i = (r >> 8) % NR_OWN;
		if (r % 4 == 0) {
			if (!help_is_whole(h->load->pool, &h->load->shared[(r >> 16) % NR_SHARED]))
				fault(h->load);
		} else if (!h->own[i].bytes) {
			take(h, i);
		} else if ((r >> 24) % 4 == 0) {
			give_back(h, i);
		} else if ((r >> 24) % 4 == 1 || h->pinned[i]) {
			hold(h, i);
		} else {
			rewrite(h, i);
		}
	}
	for (i = 0; i < NR_OWN; i++)
		if (h->own[i].bytes)
			give_back(h, i);
	atomic_fetch_sub(&h->load->nr_running, 1);
	return NULL;
}

static void check_stats(struct load *l)
{
	struct weir_pool_stats s;

	weir_pool_stats(l->pool, &s);
	if (s.free_bytes + s.used_bytes + s.cached_bytes != CAPACITY ||
	    s.requested_bytes > s.used_bytes || s.nr_allocs - s.nr_frees != s.nr_live)
		fault(l);
}

FIXTURE(load)
{
	struct fake_machine machine;
	struct load load;
	struct hand hands[NR_THREADS];
};

FIXTURE_SETUP(load)
{
	struct load *l = &self->load;
	size_t i;
	void *p;

	memset(l, 0, sizeof(*l));
	memset(self->hands, 0, sizeof(self->hands));
	l->pool = help_open(&self->machine, 2, CAPACITY);
	ASSERT_NE(NULL, l->pool);
	for (i = 0; i < NR_SHARED; i++)
		ASSERT_EQ(0, help_take(l->pool, 32768, (int)(i % 2), WEIR_HANDLE_MOVABLE, i,
				       &l->shared[i]));
	for (i = 0; i < wr_array_size(l->held); i++) {
		ASSERT_EQ(0, help_take(l->pool, 65536, (int)(i % 2), WEIR_HANDLE_MOVABLE, i,
				       &l->held[i]));
		ASSERT_EQ(0, weir_handle_pin(l->pool, l->held[i].handle, &p));
	}
}

FIXTURE_TEARDOWN(load)
{
	struct load *l = &self->load;
	struct weir_handle_stats h;
	struct weir_pool_stats s;
	size_t i;

	for (i = 0; i < wr_array_size(l->held); i++) {
		EXPECT_EQ(0, weir_handle_unpin(l->pool, l->held[i].handle));
		EXPECT_TRUE(help_is_whole(l->pool, &l->held[i]));
		EXPECT_EQ(0, help_drop(l->pool, &l->held[i]));
	}
	for (i = 0; i < NR_SHARED; i++) {
		EXPECT_TRUE(help_is_whole(l->pool, &l->shared[i]));
		EXPECT_EQ(0, help_drop(l->pool, &l->shared[i]));
	}
	EXPECT_EQ(0, atomic_load(&l->nr_faults));
	weir_pool_trim(l->pool, 0);
	weir_pool_stats(l->pool, &s);
	EXPECT_EQ(CAPACITY, s.free_bytes);
	EXPECT_EQ(CAPACITY / 2, s.largest_free_bytes);
	EXPECT_EQ(s.nr_allocs, s.nr_frees);
	EXPECT_EQ(0u, s.requested_bytes);
	weir_handle_stats(l->pool, &h);
	EXPECT_EQ(0u, h.nr_live);
	EXPECT_LT(0u, h.nr_moves);
	EXPECT_EQ(0u, h.nr_foreign);
	TH_LOG("%llu moves, %llu pins waited, %llu tries met a move, longest pause %llu us",
	       (unsigned long long)h.nr_moves, (unsigned long long)h.nr_pin_waits,
	       (unsigned long long)atomic_load(&l->nr_again),
	       (unsigned long long)h.longest_pause_ns / 1000);
	weir_pool_close(l->pool);
	EXPECT_EQ(0, wr_test_alloc_live());
}

static bool start_hands(struct hand *hands, struct load *l)
{
	size_t i;

	l->nr_running = NR_THREADS;
	for (i = 0; i < NR_THREADS; i++) {
		hands[i].load = l;
		hands[i].random = 0x9e3779b97f4a7c15ull * (i + 1);
		if (pthread_create(&hands[i].thread, NULL, work, &hands[i]) != 0)
			return false;
	}
	return true;
}

TEST_F(load, no_byte_is_lost_while_everything_moves)
{
	struct weir_compact_opts o = {.size = sizeof(o), .nr_wanted = WEIR_COMPACT_ALL};
	struct weir_compact_report r;
	struct load *l = &self->load;
	uint64_t runs = 0;
	size_t i;

	ASSERT_TRUE(start_hands(self->hands, l));
	while (atomic_load(&l->nr_running) > 0) {
		o.target_bytes = (64u << 10) << (runs++ % 6);
		if (weir_pool_compact(l->pool, &o, &r) != 0 || r.moved_bytes < r.wasted_bytes)
			fault(l);
		check_stats(l);
		usleep(50);
	}
	for (i = 0; i < NR_THREADS; i++)
		pthread_join(self->hands[i].thread, NULL);
}

TEST_F(load, no_byte_is_lost_while_the_pool_maintains_itself)
{
	struct weir_maintain_opts o = {.size = sizeof(o),
				       .target_bytes = 128u << 10,
				       .interval_ns = 100000,
				       .fragmentation_permille = 1,
				       .utilisation_permille = 1,
				       .max_pause_ns = 1000000000};
	struct load *l = &self->load;
	size_t i;

	ASSERT_EQ(0, weir_pool_maintain_start(l->pool, &o));
	ASSERT_TRUE(start_hands(self->hands, l));
	while (atomic_load(&l->nr_running) > 0) {
		check_stats(l);
		usleep(500);
		/* Stopped and started in the middle of things, too. */
		weir_pool_maintain_stop(l->pool);
		ASSERT_EQ(0, weir_pool_maintain_start(l->pool, &o));
		usleep(5000);
	}
	for (i = 0; i < NR_THREADS; i++)
		pthread_join(self->hands[i].thread, NULL);
	weir_pool_maintain_stop(l->pool);
}

/* ---- one block that many look at while it goes to and fro ------------------------------ */

#define NR_ROUNDS 200

struct ball {
	struct weir_pool *pool;
	struct help_block block;
	_Atomic bool stop;
	_Atomic int nr_faults;
	_Atomic uint64_t nr_pins;
	_Atomic uint64_t nr_again;
};

static void *watch(void *arg)
{
	struct ball *ball = arg;
	const struct help_block *b = &ball->block;
	uint64_t random = (uintptr_t)&random | 1;
	uint64_t *words, i;
	int rc, k;
	void *p;

	while (!atomic_load(&ball->stop)) {
		rc = wr_xorshift64(&random) % 2 ? weir_handle_pin(ball->pool, b->handle, &p)
						: weir_handle_pin_try(ball->pool, b->handle, &p);
		if (rc == -EAGAIN) {
			atomic_fetch_add(&ball->nr_again, 1);
			continue;
		}
		words = p;
		for (k = 0; rc == 0 && k < 8; k++) {
			i = wr_xorshift64(&random) % (b->bytes / 8);
			if (words[i] != b->seed + i * 0x9e3779b97f4a7c15ull)
				rc = -EIO;
		}
		if (rc != 0 || weir_handle_unpin(ball->pool, b->handle) != 0)
			atomic_fetch_add(&ball->nr_faults, 1);
		atomic_fetch_add(&ball->nr_pins, 1);
		usleep((useconds_t)(wr_xorshift64(&random) % 500));
	}
	return NULL;
}

/* Half of the window that the block is not in is in use and stays: the block must go there. */
static bool play(struct ball *ball, uint32_t flags)
{
	struct weir_compact_report r = {0};
	struct help_block ballast = {0};
	int tries;
	void *p;

	if (help_take(ball->pool, MIB, 0, flags, 1, &ballast) != 0 ||
	    weir_handle_pin(ball->pool, ballast.handle, &p) != 0)
		return false;
	for (tries = 0; tries < 10000 && r.nr_moves == 0; tries++) {
		if (weir_pool_compact(ball->pool, NULL, &r) != 0)
			return false;
		usleep(r.nr_moves == 0 ? 100 : 0);
	}
	if (weir_handle_unpin(ball->pool, ballast.handle) != 0)
		return false;
	return help_drop(ball->pool, &ballast) == 0 && r.nr_moves == 1;
}

TEST(whoever_pins_a_block_that_goes_to_and_fro_sees_all_of_it)
{
	struct ball ball = {0};
	pthread_t threads[NR_THREADS];
	struct weir_handle_stats h;
	struct fake_machine machine;
	int i;

	ball.pool = help_open(&machine, 1, 4 * MIB);
	ASSERT_NE(NULL, ball.pool);
	ASSERT_EQ(0, help_take(ball.pool, MIB / 2, 0, WEIR_HANDLE_MOVABLE, 7, &ball.block));
	for (i = 0; i < NR_THREADS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, watch, &ball));
	/* What cannot move lies low and what can lies high, so it goes down and up. */
	for (i = 0; i < NR_ROUNDS; i++)
		ASSERT_TRUE(play(&ball, i % 2 ? WEIR_HANDLE_MOVABLE : 0));
	atomic_store(&ball.stop, true);
	for (i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(0, atomic_load(&ball.nr_faults));
	EXPECT_TRUE(help_is_whole(ball.pool, &ball.block));
	weir_handle_stats(ball.pool, &h);
	EXPECT_EQ((uint64_t)NR_ROUNDS, h.nr_moves);
	TH_LOG("%llu pins, %llu waited, %llu tries met a move, longest pause %llu us",
	       (unsigned long long)atomic_load(&ball.nr_pins), (unsigned long long)h.nr_pin_waits,
	       (unsigned long long)atomic_load(&ball.nr_again),
	       (unsigned long long)h.longest_pause_ns / 1000);
	EXPECT_EQ(0, help_drop(ball.pool, &ball.block));
	weir_pool_close(ball.pool);
	EXPECT_EQ(0, wr_test_alloc_live());
}

TEST_HARNESS_MAIN
