/* SPDX-License-Identifier: MIT */
/* Hold and wait times of locks, as another process reads them. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <weir/lock_trace.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "lock/lock.h"

#if defined(__clang__)
#pragma clang diagnostic ignored "-Wthread-safety-analysis"
#endif

#define MS 1000000u

/* clang-format off */
FIXTURE(timing) {
	struct weir_lock_reader *reader;
	struct wr_mutex mutex, other;
	struct wr_rwlock rwlock;
	struct wr_spin spin;
	struct wr_cond cond;
};
/* clang-format on */

FIXTURE_SETUP(timing)
{
	wr_mutex_init(&self->mutex, WR_RANK_LOAD, "a mutex");
	wr_mutex_init(&self->other, WR_RANK_POOL, "another");
	wr_rwlock_init(&self->rwlock, WR_RANK_IO, "a rwlock");
	wr_spin_init(&self->spin, WR_RANK_METRICS, "a spin lock with a long name");
	wr_cond_init(&self->cond);
	ASSERT_EQ(weir_lock_trace_start(1), 0);
	ASSERT_EQ(weir_lock_reader_open(0, &self->reader), 0);
}

FIXTURE_TEARDOWN(timing)
{
	weir_lock_reader_close(self->reader);
	weir_lock_trace_stop();
}

static void hold(struct wr_mutex *m, unsigned usec)
{
	wr_mutex_lock(m);
	usleep(usec);
	wr_mutex_unlock(m);
}

static uint64_t sum_from(const __u32 *buckets, unsigned first)
{
	uint64_t n = 0;

	for (unsigned i = first; i < WEIR_LOCK_BUCKETS; i++)
		n += buckets[i];
	return n;
}

static uint64_t sum(const __u32 *buckets)
{
	return sum_from(buckets, 0);
}

TEST_F(timing, a_hold_is_measured_under_the_locks_name)
{
	struct weir_lock_self got;
	struct weir_lock_rank rank;

	hold(&self->mutex, 20000);
	ASSERT_EQ(weir_lock_reader_find(self->reader, (uintptr_t)&self->mutex, &got), 0);
	EXPECT_EQ(got.addr, (uintptr_t)&self->mutex);
	EXPECT_STREQ(got.name, "a mutex");
	EXPECT_EQ(got.kind, WEIR_LOCK_MUTEX);
	EXPECT_EQ(got.acquisitions, 1u);
	EXPECT_EQ(got.sampled, 1u);
	EXPECT_EQ(got.contended, 0u);
	EXPECT_GE(got.hold_ns, 20 * MS);
	EXPECT_EQ(got.hold_all_ns, got.hold_ns);
	EXPECT_EQ(got.max_hold_ns, got.hold_ns);
	EXPECT_EQ(got.wait_ns, 0u);
	EXPECT_EQ(sum(got.hold_log2_ns), 1u);
	/* 20 ms are 2^24.25 ns; the machine may make it longer, not shorter. */
	EXPECT_EQ(sum_from(got.hold_log2_ns, 25), 1u);
	ASSERT_EQ(weir_lock_reader_rank(self->reader, got.rank, &rank), 0);
	EXPECT_STREQ(rank.name, "LOAD");
	EXPECT_EQ(rank.flags, 0u);
	EXPECT_EQ(weir_lock_reader_rank(self->reader, WR_NR_RANKS, &rank), -ENOENT);
}

TEST_F(timing, all_kinds_are_measured_and_can_be_walked)
{
	struct weir_lock_self got;
	uint32_t cursor = 0;
	unsigned seen = 0;

	hold(&self->mutex, 0);
	wr_rwlock_rdlock(&self->rwlock);
	wr_rwlock_rdunlock(&self->rwlock);
	wr_rwlock_wrlock(&self->rwlock);
	wr_rwlock_wrunlock(&self->rwlock);
	wr_spin_lock(&self->spin);
	wr_spin_unlock(&self->spin);
	while (weir_lock_reader_next(self->reader, &cursor, &got) == 0) {
		if (got.addr == (uintptr_t)&self->rwlock) {
			EXPECT_EQ(got.kind, WEIR_LOCK_RWLOCK);
			EXPECT_EQ(got.acquisitions, 2u);
		} else if (got.addr == (uintptr_t)&self->spin) {
			EXPECT_EQ(got.kind, WEIR_LOCK_SPIN);
			EXPECT_STREQ(got.name, "a spin lock with a long");
		} else if (got.addr == (uintptr_t)&self->mutex) {
			EXPECT_EQ(got.bytes, sizeof(pthread_mutex_t));
		} else {
			continue;
		}
		seen++;
	}
	EXPECT_EQ(seen, 3u);
	EXPECT_EQ(weir_lock_reader_next(self->reader, &cursor, &got), -ENOENT);
	/* A futex inside the rwlock is the rwlock's; what follows it is not. */
	EXPECT_EQ(weir_lock_reader_find(self->reader, (uintptr_t)&self->rwlock + 8, &got), 0);
	EXPECT_EQ(weir_lock_reader_find(self->reader,
					(uintptr_t)&self->rwlock + sizeof(pthread_rwlock_t), &got),
		  -ENOENT);
}

struct waiter {
	struct wr_mutex *mutex;
	pthread_t thread;
	_Atomic bool started;
};

static void *wait_for_it(void *arg)
{
	struct waiter *w = arg;

	wr_store_release(&w->started, true);
	wr_mutex_lock(w->mutex);
	wr_mutex_unlock(w->mutex);
	return NULL;
}

TEST_F(timing, a_wait_is_measured_with_who_was_in_the_way)
{
	struct waiter w = {.mutex = &self->mutex};
	struct weir_lock_self got;
	uint64_t before, waited;

	/* Only waits are timed at this rate. */
	ASSERT_EQ(weir_lock_trace_start(WEIR_LOCK_SAMPLE_MAX), 0);
	wr_mutex_lock(&self->mutex);
	EXPECT_EQ(wr_mutex_owner(&self->mutex), (uint32_t)gettid());
	before = wr_now_ns();
	ASSERT_EQ(pthread_create(&w.thread, NULL, wait_for_it, &w), 0);
	while (!wr_load_acquire(&w.started))
		usleep(100);
	while (wr_load_relaxed(&self->mutex.lock.holder_tid) == 0)
		usleep(100);
	usleep(20000);
	wr_mutex_unlock(&self->mutex);
	pthread_join(w.thread, NULL);
	waited = wr_now_ns() - before;
	EXPECT_EQ(wr_mutex_owner(&self->mutex), 0u);
	ASSERT_EQ(weir_lock_reader_find(self->reader, (uintptr_t)&self->mutex, &got), 0);
	EXPECT_EQ(got.contended, 1u);
	EXPECT_EQ(got.sampled, 0u);
	EXPECT_EQ(got.acquisitions, 1u);
	EXPECT_GE(got.wait_ns, 20 * MS);
	EXPECT_LE(got.wait_ns, waited);
	EXPECT_EQ(got.max_wait_ns, got.wait_ns);
	EXPECT_EQ(got.holder_tid, (uint32_t)gettid());
	EXPECT_EQ(sum(got.wait_log2_ns), 1u);
}

TEST_F(timing, a_wait_for_a_condition_is_neither_a_wait_nor_a_hold)
{
	struct weir_lock_self got;

	wr_mutex_lock(&self->mutex);
	EXPECT_EQ(wr_cond_timedwait(&self->cond, &self->mutex, wr_now_ns() + 200 * MS), -ETIMEDOUT);
	wr_mutex_unlock(&self->mutex);
	ASSERT_EQ(weir_lock_reader_find(self->reader, (uintptr_t)&self->mutex, &got), 0);
	EXPECT_EQ(got.wait_ns, 0u);
	EXPECT_EQ(got.sampled, 2u);
	EXPECT_LT(got.hold_ns, 200 * MS);
}

TEST_F(timing, a_sample_stands_for_the_takes_it_was_chosen_from)
{
	enum { ROUNDS = 200000, EVERY = 16 };
	struct weir_lock_self outer, inner;

	ASSERT_EQ(weir_lock_trace_start(EVERY), 0);
	for (int i = 0; i < ROUNDS; i++) {
		wr_mutex_lock(&self->mutex);
		wr_mutex_lock(&self->other);
		wr_mutex_unlock(&self->other);
		wr_mutex_unlock(&self->mutex);
	}
	/* Both locks of the nest are sampled; 12,500 samples are within 5 % by far. */
	ASSERT_EQ(weir_lock_reader_find(self->reader, (uintptr_t)&self->mutex, &outer), 0);
	ASSERT_EQ(weir_lock_reader_find(self->reader, (uintptr_t)&self->other, &inner), 0);
	EXPECT_GT(outer.acquisitions, ROUNDS * 0.95);
	EXPECT_LT(outer.acquisitions, ROUNDS * 1.05);
	EXPECT_GT(inner.acquisitions, ROUNDS * 0.95);
	EXPECT_LT(inner.acquisitions, ROUNDS * 1.05);
	EXPECT_EQ(outer.sampled * EVERY + outer.contended, outer.acquisitions);
	EXPECT_EQ(sum(outer.hold_log2_ns), outer.sampled + outer.contended);
	/* What all holds took is more than what the timed ones did, whatever the machine was at. */
	EXPECT_GT(outer.hold_all_ns, outer.hold_ns);
}

TEST_F(timing, a_lower_rate_is_seen_by_locks_that_were_counting_down)
{
	struct weir_lock_self got;

	ASSERT_EQ(weir_lock_trace_start(WEIR_LOCK_SAMPLE_MAX), 0);
	for (int i = 0; i < 100; i++)
		hold(&self->mutex, 0);
	EXPECT_EQ(weir_lock_reader_find(self->reader, (uintptr_t)&self->mutex, &got), -ENOENT);
	ASSERT_EQ(weir_lock_trace_start(1), 0);
	for (int i = 0; i < 100; i++)
		hold(&self->mutex, 0);
	ASSERT_EQ(weir_lock_reader_find(self->reader, (uintptr_t)&self->mutex, &got), 0);
	EXPECT_GE(got.sampled, 99u);
}

TEST_F(timing, a_lock_that_ends_leaves_its_numbers_to_its_rank)
{
	struct weir_lock_rank before, after;
	struct weir_lock_self got;

	ASSERT_EQ(weir_lock_reader_rank(self->reader, WR_RANK_LOAD, &before), 0);
	/* More locks than there are slots, one after the other. */
	for (unsigned i = 0; i < WEIR_LOCK_SLOTS + 100; i++) {
		struct wr_mutex m;

		wr_mutex_init(&m, WR_RANK_LOAD, "short-lived");
		hold(&m, 0);
		wr_mutex_fini(&m);
		/* A walk over all slots. */
		if (i % 64 == 0)
			EXPECT_EQ(weir_lock_reader_find(self->reader, (uintptr_t)&m, &got),
				  -ENOENT);
	}
	ASSERT_EQ(weir_lock_reader_rank(self->reader, WR_RANK_LOAD, &after), 0);
	EXPECT_EQ(after.nr_ended - before.nr_ended, WEIR_LOCK_SLOTS + 100);
	EXPECT_EQ(after.acquisitions - before.acquisitions, WEIR_LOCK_SLOTS + 100);
	EXPECT_GT(after.hold_ns, before.hold_ns);
}

TEST_F(timing, locks_beyond_the_slots_are_counted_as_dropped)
{
	static struct wr_mutex many[WEIR_LOCK_SLOTS + 10];
	struct weir_lock_meta meta;

	for (size_t i = 0; i < wr_array_size(many); i++) {
		wr_mutex_init(&many[i], WR_RANK_LOAD, "one of many");
		hold(&many[i], 0);
	}
	weir_lock_reader_meta(self->reader, &meta);
	EXPECT_EQ(meta.nr_dropped, 10u);
	for (size_t i = 0; i < wr_array_size(many); i++)
		wr_mutex_fini(&many[i]);
	hold(&self->mutex, 0);
	weir_lock_reader_meta(self->reader, &meta);
	EXPECT_EQ(meta.nr_dropped, 10u);
}

TEST_F(timing, a_stop_and_a_new_start_begin_at_zero)
{
	struct weir_lock_reader *reader;
	struct weir_lock_meta meta;
	struct weir_lock_self got;

	hold(&self->mutex, 0);
	wr_mutex_lock(&self->other);
	weir_lock_trace_stop();
	weir_lock_trace_stop();
	wr_mutex_unlock(&self->other);
	hold(&self->mutex, 0);
	/* The old reader keeps what there was. */
	ASSERT_EQ(weir_lock_reader_find(self->reader, (uintptr_t)&self->mutex, &got), 0);
	EXPECT_EQ(got.acquisitions, 1u);
	weir_lock_reader_meta(self->reader, &meta);
	EXPECT_EQ(meta.sample_every, 0u);
	EXPECT_EQ(weir_lock_reader_open(0, &reader), -ENOENT);
	ASSERT_EQ(weir_lock_trace_start(1), 0);
	ASSERT_EQ(weir_lock_reader_open(0, &reader), 0);
	EXPECT_EQ(weir_lock_reader_find(reader, (uintptr_t)&self->mutex, &got), -ENOENT);
	hold(&self->mutex, 0);
	ASSERT_EQ(weir_lock_reader_find(reader, (uintptr_t)&self->mutex, &got), 0);
	EXPECT_EQ(got.acquisitions, 1u);
	weir_lock_reader_close(reader);
}

TEST_F(timing, another_process_reads_it_and_keeps_it_when_we_are_gone)
{
	struct weir_lock_reader *reader;
	struct weir_lock_self got;
	struct weir_lock_meta meta;
	int ends[2], status;
	char c = 0;
	pid_t child;

	ASSERT_EQ(pipe(ends), 0);
	child = fork();
	ASSERT_GE(child, 0);
	if (child == 0) {
		/* A child does not time by itself, and does not write to its parent's memory. */
		hold(&self->other, 0);
		if (weir_lock_reader_open(0, &reader) != -ENOENT || weir_lock_trace_start(1) != 0)
			_exit(1);
		hold(&self->mutex, 0);
		if (write(ends[1], &c, 1) != 1)
			_exit(1);
		pause();
	}
	ASSERT_EQ(read(ends[0], &c, 1), 1);
	ASSERT_EQ(weir_lock_reader_open(child, &reader), 0);
	kill(child, SIGKILL);
	ASSERT_EQ(waitpid(child, &status, 0), child);
	weir_lock_reader_meta(reader, &meta);
	EXPECT_EQ(meta.tgid, (uint32_t)child);
	ASSERT_EQ(weir_lock_reader_find(reader, (uintptr_t)&self->mutex, &got), 0);
	EXPECT_EQ(got.acquisitions, 1u);
	EXPECT_EQ(weir_lock_reader_find(self->reader, (uintptr_t)&self->other, &got), -ENOENT);
	weir_lock_reader_close(reader);
	EXPECT_EQ(weir_lock_reader_open(child, &reader), -ENOENT);
}

enum { NR_THREADS = 4, NR_ROUNDS = 20000 };

static void *fight(void *arg)
{
	struct wr_mutex *m = arg;

	for (int i = 0; i < NR_ROUNDS; i++) {
		struct wr_mutex mine;

		wr_mutex_lock(m);
		wr_mutex_unlock(m);
		if (i % 64 != 0)
			continue;
		wr_mutex_init(&mine, WR_RANK_IO, "a thread's own");
		hold(&mine, 0);
		wr_mutex_fini(&mine);
	}
	return NULL;
}

TEST_F(timing, threads_that_fight_lose_no_take)
{
	pthread_t threads[NR_THREADS];
	struct weir_lock_self got;
	struct weir_lock_rank rank;

	for (int i = 0; i < NR_THREADS; i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, fight, &self->mutex), 0);
	for (int i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
	ASSERT_EQ(weir_lock_reader_find(self->reader, (uintptr_t)&self->mutex, &got), 0);
	EXPECT_EQ(got.acquisitions, NR_THREADS * NR_ROUNDS);
	EXPECT_EQ(got.sampled + got.contended, NR_THREADS * NR_ROUNDS);
	EXPECT_EQ(got.contended, wr_load_relaxed(&self->mutex.lock.nr_contended));
	EXPECT_EQ(sum(got.hold_log2_ns), NR_THREADS * NR_ROUNDS);
	EXPECT_EQ(sum(got.wait_log2_ns), got.contended);
	ASSERT_EQ(weir_lock_reader_rank(self->reader, WR_RANK_IO, &rank), 0);
	EXPECT_EQ(rank.acquisitions, NR_THREADS * ((NR_ROUNDS + 63) / 64));
}

TEST_F(timing, it_is_switched_while_threads_fight)
{
	pthread_t threads[NR_THREADS];

	for (int i = 0; i < NR_THREADS; i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, fight, &self->mutex), 0);
	for (uint32_t i = 0; i < 200; i++) {
		weir_lock_trace_stop();
		ASSERT_EQ(weir_lock_trace_start(1 + i % 3), 0);
	}
	for (int i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
}

TEST(wrong_arguments_are_refused)
{
	struct weir_lock_reader *reader;

	EXPECT_EQ(weir_lock_trace_start(0), -EINVAL);
	EXPECT_EQ(weir_lock_trace_start(WEIR_LOCK_SAMPLE_MAX + 1), -EINVAL);
	EXPECT_EQ(weir_lock_reader_open(-1, &reader), -EINVAL);
	EXPECT_EQ(weir_lock_reader_open(0, &reader), -ENOENT);
	weir_lock_reader_close(NULL);
	weir_lock_trace_stop();
}

TEST(memory_that_only_has_the_name_is_refused)
{
	struct weir_lock_reader *reader;
	struct weir_lock_meta meta = {.magic = WEIR_LOCK_MAGIC, .abi = WEIR_LOCK_ABI};
	int fd = memfd_create(WEIR_LOCK_MEMFD, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(weir_lock_reader_open(0, &reader), -EBADMSG);
	ASSERT_EQ(ftruncate(fd, 65536), 0);
	EXPECT_EQ(weir_lock_reader_open(0, &reader), -EBADMSG);
	ASSERT_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	EXPECT_EQ(weir_lock_reader_open(0, &reader), -EBADMSG);
	ASSERT_EQ(pwrite(fd, &meta, sizeof(meta), 0), (ssize_t)sizeof(meta));
	EXPECT_EQ(weir_lock_reader_open(0, &reader), -EOPNOTSUPP);
	meta.rank_bytes = sizeof(struct weir_lock_rank);
	meta.slot_bytes = sizeof(struct weir_lock_self);
	meta.nr_slots = 1;
	for (unsigned i = 0; i < 3; i++) {
		static const uint64_t bad[] = {65536 - 8, UINT64_MAX - 7, 129};

		meta.slots_at = bad[i];
		ASSERT_EQ(pwrite(fd, &meta, sizeof(meta), 0), (ssize_t)sizeof(meta));
		EXPECT_EQ(weir_lock_reader_open(0, &reader), -EBADMSG);
	}
	meta.slots_at = 128;
	ASSERT_EQ(pwrite(fd, &meta, sizeof(meta), 0), (ssize_t)sizeof(meta));
	ASSERT_EQ(weir_lock_reader_open(0, &reader), 0);
	weir_lock_reader_close(reader);
	meta.abi = WEIR_LOCK_ABI + 1;
	ASSERT_EQ(pwrite(fd, &meta, sizeof(meta), 0), (ssize_t)sizeof(meta));
	EXPECT_EQ(weir_lock_reader_open(0, &reader), -EOPNOTSUPP);
	close(fd);
}

TEST(a_reader_without_memory_is_no_reader)
{
	struct weir_lock_reader *reader;
	int64_t live;

	ASSERT_EQ(weir_lock_trace_start(1), 0);
	live = wr_test_alloc_live();
	wr_test_alloc_fail_at(1);
	EXPECT_EQ(weir_lock_reader_open(0, &reader), -ENOMEM);
	wr_test_alloc_fail_at(0);
	EXPECT_EQ(wr_test_alloc_live(), live);
	weir_lock_trace_stop();
}

TEST_HARNESS_MAIN
