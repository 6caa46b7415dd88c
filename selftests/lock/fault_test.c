/* SPDX-License-Identifier: MIT */
/*
 * Programs that are wrong, one rule each, and each must be caught. All but a few run in one thread
 * and would not hang: the point of the validator is that walking a path once is enough.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "base/atomic.h"
#include "lock/graph.h"
#include "lock/lock.h"
#include "lock/validate.h"

/* Half of these are found at compile time already. */
#if defined(__clang__)
#pragma clang diagnostic ignored "-Wthread-safety-analysis"
#endif

/* ThreadSanitizer's own search for deadlocks ends the program at 64 locks held. */
__attribute__((visibility("default"))) const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "detect_deadlocks=0";
}

static _Atomic int faults[WR_NR_LOCK_FAULTS];
static struct wr_lock_fault last;

static void count(const struct wr_lock_fault *fault)
{
	wr_fetch_add_relaxed(&faults[fault->kind], 1);
	last = *fault;
}

static int total(void)
{
	int sum = 0;

	for (int i = 0; i < WR_NR_LOCK_FAULTS; i++)
		sum += wr_load_relaxed(&faults[i]);
	return sum;
}

/* That fault, and nothing else. */
#define EXPECT_FAULTS(kind, nr)                                                  \
	do {                                                                     \
		EXPECT_EQ(wr_load_relaxed(&faults[WR_LOCK_FAULT_##kind]), (nr)); \
		EXPECT_EQ(total(), (nr));                                        \
	} while (0)

/* clang-format off */
FIXTURE(locks) {
	struct wr_mutex weir, load, cache, cache2, pool, zone, zone2, io, queue, metrics;
	struct wr_rwlock files;
	struct wr_spin spin;
	struct wr_cond cond;
};
/* clang-format on */

FIXTURE_SETUP(locks)
{
	wr_mutex_init(&self->weir, WR_RANK_WEIR, "weir");
	wr_mutex_init(&self->load, WR_RANK_LOAD, "load");
	wr_mutex_init(&self->cache, WR_RANK_CACHE, "shard");
	wr_mutex_init(&self->cache2, WR_RANK_CACHE, "shard");
	wr_mutex_init(&self->pool, WR_RANK_POOL, "pool");
	wr_mutex_init(&self->zone, WR_RANK_POOL_ZONE, "zone");
	wr_mutex_init(&self->zone2, WR_RANK_POOL_ZONE, "zone");
	wr_mutex_init(&self->io, WR_RANK_IO, "io");
	wr_mutex_init(&self->queue, WR_RANK_IO_QUEUE, "queue");
	wr_mutex_init(&self->metrics, WR_RANK_METRICS, "metrics");
	wr_rwlock_init(&self->files, WR_RANK_IO, "files");
	wr_spin_init(&self->spin, WR_RANK_METRICS, "spin");
	wr_cond_init(&self->cond);
	wr_lock_set_fault_hook(count);
}

FIXTURE_TEARDOWN(locks)
{
	wr_lock_set_fault_hook(NULL);
}

TEST_F(locks, inversion_is_caught_by_one_thread)
{
	wr_mutex_lock(&self->io);
	wr_mutex_lock(&self->pool);
	EXPECT_FAULTS(ORDER, 1);
	EXPECT_EQ(last.lock, &self->pool.lock);
	EXPECT_EQ(last.held, &self->io.lock);
	wr_mutex_unlock(&self->pool);
	wr_mutex_unlock(&self->io);
}

TEST_F(locks, inversion_is_caught_for_every_pair_of_ranks)
{
	struct wr_mutex outer, inner;
	int nr = 0;

	for (int a = 0; a < WR_NR_RANKS; a++) {
		for (int b = a + 1; b < WR_NR_RANKS; b++) {
			wr_mutex_init(&outer, a, "outer");
			wr_mutex_init(&inner, b, "inner");
			wr_mutex_lock(&inner);
			wr_mutex_lock(&outer);
			nr++;
			EXPECT_FAULTS(ORDER, nr);
			wr_mutex_unlock(&outer);
			wr_mutex_unlock(&inner);
		}
	}
	EXPECT_EQ(nr, WR_NR_RANKS * (WR_NR_RANKS - 1) / 2);
}

TEST_F(locks, inversion_is_caught_across_a_lock_between)
{
	wr_mutex_lock(&self->load);
	wr_mutex_lock(&self->queue);
	wr_mutex_lock(&self->cache);
	EXPECT_FAULTS(ORDER, 1);
	EXPECT_EQ(last.held, &self->queue.lock);
	wr_mutex_unlock(&self->cache);
	wr_mutex_unlock(&self->queue);
	wr_mutex_unlock(&self->load);
}

TEST_F(locks, inversion_is_caught_when_the_inner_lock_was_let_go_first)
{
	/* weir, load, then weir out, and weir again under load. */
	wr_mutex_lock(&self->weir);
	wr_mutex_lock(&self->load);
	wr_mutex_unlock(&self->weir);
	EXPECT_EQ(total(), 0);
	wr_mutex_lock(&self->weir);
	EXPECT_FAULTS(ORDER, 1);
	wr_mutex_unlock(&self->weir);
	wr_mutex_unlock(&self->load);
}

TEST_F(locks, inversion_is_caught_between_kinds_of_locks)
{
	wr_spin_lock(&self->spin);
	wr_mutex_lock(&self->queue);
	wr_mutex_unlock(&self->queue);
	wr_rwlock_rdlock(&self->files);
	wr_rwlock_rdunlock(&self->files);
	EXPECT_FAULTS(ORDER, 2);
	wr_spin_unlock(&self->spin);
}

TEST_F(locks, inversion_is_caught_under_a_lock_taken_by_trylock)
{
	ASSERT_TRUE(wr_mutex_trylock(&self->io));
	wr_mutex_lock(&self->pool);
	EXPECT_FAULTS(ORDER, 1);
	wr_mutex_unlock(&self->pool);
	wr_mutex_unlock(&self->io);
}

TEST_F(locks, recursion_is_caught_and_does_not_hang)
{
	wr_mutex_lock(&self->weir);
	wr_mutex_lock(&self->weir);
	EXPECT_FAULTS(RECURSION, 1);
	wr_mutex_unlock(&self->weir);
	wr_spin_lock(&self->spin);
	wr_spin_lock(&self->spin);
	EXPECT_FAULTS(RECURSION, 2);
	wr_spin_unlock(&self->spin);
}

TEST_F(locks, a_reader_that_reads_again_is_caught)
{
	wr_rwlock_rdlock(&self->files);
	wr_rwlock_rdlock(&self->files);
	EXPECT_FAULTS(RECURSION, 1);
	wr_rwlock_rdunlock(&self->files);
}

TEST_F(locks, a_reader_that_wants_to_write_is_caught)
{
	wr_rwlock_rdlock(&self->files);
	wr_rwlock_wrlock(&self->files);
	EXPECT_FAULTS(RECURSION, 1);
	wr_rwlock_rdunlock(&self->files);
	wr_rwlock_wrlock(&self->files);
	wr_rwlock_rdlock(&self->files);
	EXPECT_FAULTS(RECURSION, 2);
	wr_rwlock_wrunlock(&self->files);
}

TEST_F(locks, a_writer_let_go_as_reader_is_caught)
{
	wr_rwlock_wrlock(&self->files);
	wr_rwlock_rdunlock(&self->files);
	EXPECT_FAULTS(MODE, 1);
	wr_rwlock_rdlock(&self->files);
	wr_rwlock_wrunlock(&self->files);
	EXPECT_FAULTS(MODE, 2);
}

TEST_F(locks, release_of_a_lock_never_taken_is_caught)
{
	wr_mutex_unlock(&self->weir);
	wr_rwlock_rdunlock(&self->files);
	wr_spin_unlock(&self->spin);
	EXPECT_FAULTS(NOT_OWNER, 3);
	/* None was carried out: each lock still works. */
	wr_mutex_lock(&self->weir);
	wr_mutex_unlock(&self->weir);
	EXPECT_EQ(total(), 3);
}

static void *unlock_it(void *m)
{
	wr_mutex_unlock(m);
	return NULL;
}

TEST_F(locks, release_by_another_thread_is_caught)
{
	pthread_t thread;

	wr_mutex_lock(&self->weir);
	ASSERT_EQ(pthread_create(&thread, NULL, unlock_it, &self->weir), 0);
	pthread_join(thread, NULL);
	EXPECT_FAULTS(NOT_OWNER, 1);
	wr_mutex_unlock(&self->weir);
	EXPECT_EQ(total(), 1);
}

TEST_F(locks, a_condition_under_an_outer_lock_is_caught)
{
	wr_mutex_lock(&self->weir);
	wr_mutex_lock(&self->load);
	EXPECT_EQ(wr_cond_timedwait(&self->cond, &self->load, wr_now_ns()), -ETIMEDOUT);
	EXPECT_FAULTS(COND_OUTER, 1);
	EXPECT_EQ(last.held, &self->weir.lock);
	wr_mutex_unlock(&self->load);
	wr_mutex_unlock(&self->weir);
}

TEST_F(locks, a_condition_with_an_inner_lock_still_held_is_caught)
{
	wr_mutex_lock(&self->load);
	wr_mutex_lock(&self->io);
	EXPECT_EQ(wr_cond_timedwait(&self->cond, &self->load, wr_now_ns()), -ETIMEDOUT);
	EXPECT_FAULTS(COND_OUTER, 1);
	EXPECT_EQ(last.held, &self->io.lock);
	wr_mutex_unlock(&self->io);
	wr_mutex_unlock(&self->load);
}

TEST_F(locks, a_condition_without_its_mutex_is_caught)
{
	wr_cond_wait(&self->cond, &self->load);
	EXPECT_FAULTS(NOT_OWNER, 1);
}

TEST_F(locks, blocking_under_a_rank_that_forbids_it_is_caught)
{
	wr_mutex_lock(&self->zone);
	wr_might_block("a read");
	EXPECT_FAULTS(BLOCK, 1);
	EXPECT_STREQ(last.what, "a read");
	EXPECT_EQ(last.held, &self->zone.lock);
	wr_mutex_unlock(&self->zone);
}

TEST_F(locks, a_lock_whose_owner_may_sleep_is_caught_under_one_that_forbids_it)
{
	wr_mutex_lock(&self->cache);
	wr_mutex_lock(&self->pool);
	EXPECT_FAULTS(BLOCK, 1);
	EXPECT_EQ(last.held, &self->cache.lock);
	wr_mutex_unlock(&self->pool);
	wr_mutex_unlock(&self->cache);
}

TEST_F(locks, two_of_a_rank_that_allows_one_are_caught)
{
	struct wr_mutex io2;

	wr_mutex_init(&io2, WR_RANK_IO, "io2");
	wr_mutex_lock(&self->io);
	wr_mutex_lock(&io2);
	EXPECT_FAULTS(SAME_RANK, 1);
	wr_mutex_unlock(&io2);
	wr_mutex_unlock(&self->io);
	wr_mutex_lock(&io2);
	wr_mutex_lock(&self->io);
	EXPECT_FAULTS(SAME_RANK, 2);
	wr_mutex_unlock(&self->io);
	wr_mutex_unlock(&io2);
}

TEST_F(locks, a_pair_against_its_addresses_is_caught)
{
	wr_mutex_lock(&self->zone2);
	wr_mutex_lock(&self->zone);
	EXPECT_FAULTS(SAME_RANK, 1);
	wr_mutex_unlock(&self->zone);
	wr_mutex_unlock(&self->zone2);
}

WR_NO_THREAD_SAFETY static void needs_the_lock(struct wr_mutex *m)
{
	wr_lock_assert_held(m);
}

TEST_F(locks, a_callee_without_the_callers_lock_is_caught)
{
	needs_the_lock(&self->weir);
	EXPECT_FAULTS(NOT_HELD, 1);
	wr_lock_assert_held(&self->files);
	wr_lock_assert_held(&self->spin);
	EXPECT_FAULTS(NOT_HELD, 3);
}

static void *assert_it(void *m)
{
	needs_the_lock(m);
	return NULL;
}

TEST_F(locks, a_lock_held_by_another_thread_does_not_count)
{
	pthread_t thread;

	wr_mutex_lock(&self->weir);
	ASSERT_EQ(pthread_create(&thread, NULL, assert_it, &self->weir), 0);
	pthread_join(thread, NULL);
	EXPECT_FAULTS(NOT_HELD, 1);
	wr_mutex_unlock(&self->weir);
}

TEST_F(locks, a_callback_under_a_lock_is_caught)
{
	wr_mutex_lock(&self->load);
	wr_lock_assert_none_held("the fill callback");
	EXPECT_FAULTS(HELD, 1);
	EXPECT_STREQ(last.what, "the fill callback");
	wr_mutex_unlock(&self->load);
}

TEST_F(locks, ending_a_lock_that_is_held_is_caught)
{
	struct wr_rwlock l;

	wr_rwlock_init(&l, WR_RANK_IO, "short-lived");
	wr_rwlock_rdlock(&l);
	wr_rwlock_fini(&l);
	EXPECT_FAULTS(ENDED, 1);
}

TEST_F(locks, inversion_is_caught_with_more_than_64_held)
{
	static struct wr_mutex many[80];

	wr_mutex_lock(&self->cache);
	for (size_t i = 0; i < wr_array_size(many); i++) {
		wr_mutex_init(&many[i], WR_RANK_POOL_ZONE, "one of many");
		wr_mutex_lock(&many[i]);
	}
	EXPECT_EQ(wr_lock_nr_held(), 81u);
	EXPECT_EQ(total(), 0);
	wr_mutex_lock(&self->cache2);
	EXPECT_FAULTS(ORDER, 1);
	wr_mutex_unlock(&self->cache2);
	/* The first of the many, asked for once more, is found too. */
	wr_mutex_lock(&many[0]);
	EXPECT_EQ(wr_load_relaxed(&faults[WR_LOCK_FAULT_RECURSION]), 1);
	for (size_t i = 0; i < wr_array_size(many); i++)
		wr_mutex_unlock(&many[i]);
	wr_mutex_unlock(&self->cache);
	EXPECT_EQ(total(), 2);
	EXPECT_EQ(wr_lock_nr_held(), 0u);
}

TEST_F(locks, more_locks_than_can_be_followed_are_a_fault_of_their_own)
{
	static struct wr_mutex many[WR_LOCK_HELD_MAX + 2];

	for (size_t i = 0; i < wr_array_size(many); i++) {
		wr_mutex_init(&many[i], WR_RANK_POOL_ZONE, "one of many");
		wr_mutex_lock(&many[i]);
	}
	EXPECT_FAULTS(FULL, 2);
	EXPECT_EQ(wr_lock_nr_held(), (unsigned)wr_array_size(many));
	for (size_t i = wr_array_size(many); i-- > 0;)
		wr_mutex_unlock(&many[i]);
	EXPECT_EQ(wr_lock_nr_held(), 0u);
	EXPECT_FAULTS(FULL, 2);
}

static void nest(struct wr_mutex *outer, struct wr_mutex *inner)
{
	wr_mutex_lock(outer);
	wr_mutex_lock(inner);
	wr_mutex_unlock(inner);
	wr_mutex_unlock(outer);
}

TEST_F(locks, an_order_once_seen_is_kept_and_can_be_read)
{
	unsigned before = wr_graph_nr_edges();
	struct wr_graph_edge edge;

	wr_lock_set_checks(WR_LOCK_CHECK_GRAPH);
	nest(&self->io, &self->weir);
	ASSERT_EQ(wr_graph_nr_edges(), before + 1);
	edge = wr_graph_edge(before);
	EXPECT_STREQ(edge.from, "io");
	EXPECT_STREQ(edge.to, "weir");
	EXPECT_EQ(edge.from_rank, WR_RANK_IO);
	EXPECT_EQ(edge.to_rank, WR_RANK_WEIR);
	/* Other locks of the same names: of the same classes, so nothing is new. */
	struct wr_mutex io2, weir2;
	wr_mutex_init(&io2, WR_RANK_IO, "io");
	wr_mutex_init(&weir2, WR_RANK_WEIR, "weir");
	nest(&io2, &weir2);
	EXPECT_EQ(wr_graph_nr_edges(), before + 1);
	EXPECT_EQ(total(), 0);
	nest(&weir2, &self->io);
	EXPECT_FAULTS(CYCLE, 1);
	EXPECT_EQ(last.nr_cycle, 2u);
	/* A fault teaches nothing. */
	EXPECT_EQ(wr_graph_nr_edges(), before + 1);
	nest(&self->io, &self->weir);
	EXPECT_FAULTS(CYCLE, 1);
	wr_graph_reset();
	nest(&weir2, &io2);
	EXPECT_FAULTS(CYCLE, 1);
}

TEST_F(locks, a_switch_of_checks_looks_again_at_what_was_checked)
{
	wr_lock_set_checks(WR_LOCK_CHECK_GRAPH);
	nest(&self->io, &self->weir);
	nest(&self->io, &self->weir);
	EXPECT_EQ(total(), 0);
	wr_lock_set_checks(WR_LOCK_CHECK_GRAPH | WR_LOCK_CHECK_RANK);
	nest(&self->io, &self->weir);
	EXPECT_FAULTS(ORDER, 1);
	wr_lock_set_checks(0);
	nest(&self->io, &self->weir);
	EXPECT_FAULTS(ORDER, 1);
}

TEST_F(locks, the_order_of_more_classes_than_there_is_room_for_is_still_checked_by_rank)
{
	static char names[WR_GRAPH_CLASSES + 10][16];
	static struct wr_mutex many[WR_GRAPH_CLASSES + 10];

	for (size_t i = 0; i < wr_array_size(many); i++) {
		snprintf(names[i], sizeof(names[i]), "class %zu", i);
		wr_mutex_init(&many[i], WR_RANK_IO, names[i]);
		nest(&self->pool, &many[i]);
	}
	EXPECT_EQ(total(), 0);
	EXPECT_EQ(wr_graph_class(&many[wr_array_size(many) - 1].lock), 0u);
	nest(&many[wr_array_size(many) - 1], &self->pool);
	EXPECT_FAULTS(ORDER, 1);
}

TEST_F(locks, a_hold_beyond_the_limit_is_caught)
{
	wr_lock_set_hold_limit(1000000);
	wr_mutex_lock(&self->weir);
	wr_mutex_unlock(&self->weir);
	wr_mutex_lock(&self->load);
	usleep(20000);
	wr_mutex_unlock(&self->load);
	EXPECT_GE(wr_load_relaxed(&faults[WR_LOCK_FAULT_HELD_LONG]), 1);
	EXPECT_EQ(last.held, &self->load.lock);
	wr_lock_set_hold_limit(0);
	faults[WR_LOCK_FAULT_HELD_LONG] = 0;
	wr_mutex_lock(&self->load);
	usleep(20000);
	wr_mutex_unlock(&self->load);
	EXPECT_EQ(total(), 0);
}

/* Run in a child with its errors in @said; true when it ended by abort(). */
static bool run_and_listen(void (*run)(struct wr_mutex *, struct wr_mutex *), struct wr_mutex *a,
			   struct wr_mutex *b, char *said, size_t size)
{
	size_t length = 0;
	ssize_t got;
	int ends[2], status;
	pid_t child;

	if (pipe(ends) != 0 || (child = fork()) < 0)
		return false;
	if (child == 0) {
		dup2(ends[1], STDERR_FILENO);
		wr_lock_set_fault_hook(NULL);
		run(a, b);
		_exit(0);
	}
	close(ends[1]);
	while (length < size - 1 && (got = read(ends[0], said + length, size - 1 - length)) > 0)
		length += (size_t)got;
	said[length] = '\0';
	close(ends[0]);
	return waitpid(child, &status, 0) == child && WIFSIGNALED(status) &&
	       WTERMSIG(status) == SIGABRT;
}

static void close_a_cycle(struct wr_mutex *a, struct wr_mutex *b)
{
	wr_lock_set_checks(WR_LOCK_CHECK_GRAPH);
	nest(a, b);
	nest(b, a);
}

static unsigned nr_frames_after(const char *said, const char *text)
{
	const char *at = strstr(said, text);
	unsigned nr = 0;

	/* A line of a stack ends in an address in brackets. */
	for (at = at != NULL ? strchr(at, '\n') : NULL; at != NULL && at[1] != '\0'; nr++) {
		const char *end = strchr(at + 1, '\n');

		if (end == NULL || end[-1] != ']')
			break;
		at = end;
	}
	return nr;
}

TEST_F(locks, a_cycle_is_printed_with_the_stacks_of_both_orders)
{
	static char said[32768];

	EXPECT_TRUE(run_and_listen(close_a_cycle, &self->io, &self->pool, said, sizeof(said)));
	EXPECT_NE(strstr(said, "against an order that was seen before"), NULL);
	EXPECT_NE(strstr(said, "IO \"io\" was held when POOL \"pool\" was taken, first at:"), NULL);
	EXPECT_GE(nr_frames_after(said, "first at:"), 3u);
	EXPECT_GE(nr_frames_after(said, "this thread is at:"), 3u);
	EXPECT_GE(nr_frames_after(said, "taken from:"), 2u);
}

static void invert(struct wr_mutex *outer, struct wr_mutex *inner)
{
	wr_mutex_lock(inner);
	wr_mutex_lock(outer);
}

TEST_F(locks, without_a_hook_both_stacks_are_printed_and_the_program_ends)
{
	static char said[32768];

	EXPECT_TRUE(run_and_listen(invert, &self->pool, &self->io, said, sizeof(said)));
	EXPECT_NE(strstr(said, "POOL lock \"pool\""), NULL);
	EXPECT_NE(strstr(said, "IO lock \"io\""), NULL);
	EXPECT_GE(nr_frames_after(said, "this thread is at:"), 3u);
	EXPECT_GE(nr_frames_after(said, "taken from:"), 2u);
}

TEST_HARNESS_MAIN
