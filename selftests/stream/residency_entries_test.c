/* SPDX-License-Identifier: MIT */
/*
 * What a residency does with one entry: the table of states in residency.h, one fill however many ask,
 * what a failed fill does, who is promoted and cancelled.
 */
#include <errno.h>
#include <pthread.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "base/atomic.h"
#include "stream/residency.h"
#include "stream/fake_source.h"

#define NR_THREADS 6

/* Two resident entries, then four that pass through slots of which each holds two. */
static const size_t sizes[] = {4096, 64, 1024, 1024, 1024, 1024};
static const bool residents[] = {true, true, false, false, false, false};
#define NR	   6u
#define SLOT_BYTES 2048u

/* clang-format off */
FIXTURE(entry) {
	struct fake fake;
};
FIXTURE_VARIANT(entry) {
	uint32_t index;
	bool resident;
};
/* clang-format on */

FIXTURE_VARIANT_ADD(entry, resident){.index = 0, .resident = true};
FIXTURE_VARIANT_ADD(entry, streamed){.index = 3, .resident = false};

FIXTURE_SETUP(entry)
{
	ASSERT_TRUE(fake_open(&self->fake, FAKE_MANUAL, sizes, residents, NR, SLOT_BYTES));
}

FIXTURE_TEARDOWN(entry)
{
	self->fake.end_on_cancel = true;
	fake_close(&self->fake);
	EXPECT_EQ(wr_load_relaxed(&self->fake.nr_wrong), 0u);
}

/* begin and wait in one, for an entry that is READY or whose fill ends inline. */
static int get(struct fake *fake, uint32_t index, struct wr_residency_get *g)
{
	wr_residency_get_begin(fake->residency, index, g);
	return wr_residency_get_wait(fake->residency, g);
}

TEST_F(entry, a_prefetch_starts_one_read_and_a_second_prefetch_none)
{
	EXPECT_EQ(wr_residency_prefetch(self->fake.residency, variant->index), 1);
	EXPECT_EQ(wr_residency_prefetch(self->fake.residency, variant->index), 0);
	EXPECT_TRUE(fake_complete(&self->fake, variant->index, 0));
	EXPECT_EQ(wr_residency_prefetch(self->fake.residency, variant->index), 0);
	EXPECT_EQ(fake_entry(&self->fake, variant->index).nr_fills, 1u);
	EXPECT_EQ(fake_entry(&self->fake, variant->index).nr_demand, 0u);
}

TEST_F(entry, what_was_read_ahead_is_got_without_waiting_and_is_no_hit)
{
	struct wr_residency_get g;

	ASSERT_EQ(wr_residency_prefetch(self->fake.residency, variant->index), 1);
	ASSERT_TRUE(fake_complete(&self->fake, variant->index, 0));
	ASSERT_EQ(get(&self->fake, variant->index, &g), 0);
	EXPECT_FALSE(g.waited);
	EXPECT_FALSE(g.was_hit);
	EXPECT_EQ(g.wait_ns, 0u);
	EXPECT_EQ(g.mem, fake_entry(&self->fake, variant->index).mem);
	EXPECT_EQ(fake_entry(&self->fake, variant->index).nr_fills, 1u);
	EXPECT_EQ(fake_entry(&self->fake, variant->index).nr_promotes, 0u);
	wr_residency_put(self->fake.residency, variant->index);
}

TEST_F(entry, a_second_get_is_a_hit_where_the_entry_stays_and_a_read_where_it_does_not)
{
	struct wr_residency_get g;

	self->fake.mode = FAKE_INLINE;
	ASSERT_EQ(get(&self->fake, variant->index, &g), 0);
	EXPECT_TRUE(g.waited);
	EXPECT_FALSE(g.was_hit);
	wr_residency_put(self->fake.residency, variant->index);
	ASSERT_EQ(get(&self->fake, variant->index, &g), 0);
	EXPECT_EQ(g.was_hit, variant->resident);
	EXPECT_EQ(g.waited, !variant->resident);
	EXPECT_EQ(fake_entry(&self->fake, variant->index).nr_fills, variant->resident ? 1u : 2u);
	wr_residency_put(self->fake.residency, variant->index);
}

TEST_F(entry, ready_lasts_until_the_last_of_several_pins_is_put)
{
	struct wr_residency_get g;

	self->fake.mode = FAKE_INLINE;
	ASSERT_EQ(get(&self->fake, variant->index, &g), 0);
	ASSERT_EQ(get(&self->fake, variant->index, &g), 0);
	EXPECT_TRUE(g.was_hit);
	wr_residency_put(self->fake.residency, variant->index);
	EXPECT_EQ(wr_residency_prefetch(self->fake.residency, variant->index), 0);
	EXPECT_EQ(fake_entry(&self->fake, variant->index).nr_fills, 1u);
	wr_residency_put(self->fake.residency, variant->index);
	EXPECT_EQ(wr_residency_prefetch(self->fake.residency, variant->index),
		  variant->resident ? 0 : 1);
}

TEST_F(entry, a_failed_fill_leaves_it_empty_and_the_next_get_reads_again)
{
	struct wr_residency_get g;

	ASSERT_EQ(wr_residency_prefetch(self->fake.residency, variant->index), 1);
	ASSERT_TRUE(fake_complete(&self->fake, variant->index, -EIO));
	EXPECT_EQ(wr_residency_prefetch(self->fake.residency, variant->index), 1);
	ASSERT_TRUE(fake_complete(&self->fake, variant->index, -EIO));
	self->fake.mode = FAKE_INLINE;
	EXPECT_EQ(get(&self->fake, variant->index, &g), 0);
	EXPECT_EQ(fake_entry(&self->fake, variant->index).nr_fills, 3u);
	EXPECT_EQ(fake_entry(&self->fake, variant->index).nr_demand, 1u);
	wr_residency_put(self->fake.residency, variant->index);
}

TEST_F(entry, the_error_of_a_fill_reaches_each_of_its_waiters_and_no_later_get)
{
	struct wr_residency_get gets[3], later;

	ASSERT_EQ(wr_residency_prefetch(self->fake.residency, variant->index), 1);
	for (int i = 0; i < 3; i++)
		wr_residency_get_begin(self->fake.residency, variant->index, &gets[i]);
	ASSERT_TRUE(fake_complete(&self->fake, variant->index, -ENODATA));
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(wr_residency_get_wait(self->fake.residency, &gets[i]), -ENODATA);
	self->fake.mode = FAKE_INLINE;
	ASSERT_EQ(get(&self->fake, variant->index, &later), 0);
	wr_residency_put(self->fake.residency, variant->index);
	EXPECT_EQ(fake_entry(&self->fake, variant->index).nr_fills, 2u);
}

TEST_F(entry, a_fill_that_is_refused_is_an_error_of_that_call_only)
{
	struct wr_residency_get g;

	self->fake.refuse = -ENOMEM;
	EXPECT_EQ(wr_residency_prefetch(self->fake.residency, variant->index), -ENOMEM);
	EXPECT_EQ(get(&self->fake, variant->index, &g), -ENOMEM);
	self->fake.refuse = 0;
	self->fake.mode = FAKE_INLINE;
	EXPECT_EQ(get(&self->fake, variant->index, &g), 0);
	wr_residency_put(self->fake.residency, variant->index);
}

TEST_F(entry, a_get_of_a_read_ahead_promotes_it_once)
{
	struct wr_residency_get first, second;

	ASSERT_EQ(wr_residency_prefetch(self->fake.residency, variant->index), 1);
	EXPECT_EQ(fake_entry(&self->fake, variant->index).nr_promotes, 0u);
	wr_residency_get_begin(self->fake.residency, variant->index, &first);
	EXPECT_EQ(fake_entry(&self->fake, variant->index).nr_promotes, 1u);
	wr_residency_get_begin(self->fake.residency, variant->index, &second);
	ASSERT_TRUE(fake_complete(&self->fake, variant->index, 0));
	ASSERT_EQ(wr_residency_get_wait(self->fake.residency, &first), 0);
	ASSERT_EQ(wr_residency_get_wait(self->fake.residency, &second), 0);
	EXPECT_EQ(fake_entry(&self->fake, variant->index).nr_promotes, 1u);
	EXPECT_EQ(fake_entry(&self->fake, variant->index).nr_fills, 1u);
	wr_residency_put(self->fake.residency, variant->index);
	wr_residency_put(self->fake.residency, variant->index);
}

TEST_F(entry, a_read_that_began_on_demand_is_never_promoted)
{
	struct wr_residency_get first, second;

	wr_residency_get_begin(self->fake.residency, variant->index, &first);
	wr_residency_get_begin(self->fake.residency, variant->index, &second);
	EXPECT_EQ(fake_entry(&self->fake, variant->index).nr_demand, 1u);
	ASSERT_TRUE(fake_complete(&self->fake, variant->index, 0));
	ASSERT_EQ(wr_residency_get_wait(self->fake.residency, &first), 0);
	ASSERT_EQ(wr_residency_get_wait(self->fake.residency, &second), 0);
	EXPECT_EQ(fake_entry(&self->fake, variant->index).nr_promotes, 0u);
	wr_residency_put(self->fake.residency, variant->index);
	wr_residency_put(self->fake.residency, variant->index);
}

static struct wr_residency_get early;

static void get_meanwhile(struct fake *fake, uint32_t index)
{
	wr_residency_get_begin(fake->residency, index, &early);
	/* Whoever starts the read has no token yet. */
	if (fake_entry(fake, index).nr_promotes)
		wr_fetch_add_relaxed(&fake->nr_wrong, 1);
}

TEST_F(entry, a_get_before_the_read_is_on_its_way_is_promoted_by_who_starts_it)
{
	self->fake.in_fill = get_meanwhile;
	ASSERT_EQ(wr_residency_prefetch(self->fake.residency, variant->index), 1);
	EXPECT_EQ(fake_entry(&self->fake, variant->index).nr_promotes, 1u);
	ASSERT_TRUE(fake_complete(&self->fake, variant->index, 0));
	ASSERT_EQ(wr_residency_get_wait(self->fake.residency, &early), 0);
	wr_residency_put(self->fake.residency, variant->index);
}

TEST_F(entry, a_read_that_ended_before_its_start_returned_is_not_promoted)
{
	self->fake.in_fill = get_meanwhile;
	self->fake.mode = FAKE_INLINE;
	ASSERT_EQ(wr_residency_prefetch(self->fake.residency, variant->index), 1);
	EXPECT_EQ(fake_entry(&self->fake, variant->index).nr_promotes, 0u);
	ASSERT_EQ(wr_residency_get_wait(self->fake.residency, &early), 0);
	wr_residency_put(self->fake.residency, variant->index);
}

TEST_F(entry, a_read_that_failed_before_its_start_returned_fails_the_get)
{
	struct wr_residency_get g;

	self->fake.mode = FAKE_INLINE;
	self->fake.inline_result = -ESTALE;
	EXPECT_EQ(get(&self->fake, variant->index, &g), -ESTALE);
	EXPECT_EQ(fake_entry(&self->fake, variant->index).nr_fills, 1u);
}

/* Threads that all get one entry, hold it together, and look at its bytes. */
struct crowd {
	struct fake *fake;
	uint32_t index;
	pthread_barrier_t begun;
	pthread_barrier_t held;
	_Atomic int nr_ok;
	_Atomic int nr_eio;
	struct fake_thread threads[NR_THREADS];
};

static void *one_of_crowd(void *arg)
{
	struct crowd *crowd = arg;
	struct wr_residency_get g;
	uint32_t fill;
	int rc;

	wr_residency_get_begin(crowd->fake->residency, crowd->index, &g);
	pthread_barrier_wait(&crowd->begun);
	rc = wr_residency_get_wait(crowd->fake->residency, &g);
	if (rc == -EIO)
		wr_fetch_add_relaxed(&crowd->nr_eio, 1);
	if (!rc && fake_bytes_are(crowd->fake, crowd->index, g.mem, &fill) && fill == 1)
		wr_fetch_add_relaxed(&crowd->nr_ok, 1);
	pthread_barrier_wait(&crowd->held);
	if (!rc)
		wr_residency_put(crowd->fake->residency, crowd->index);
	return NULL;
}

/* All of them wait when the fill ends with @result. */
static bool gather(struct crowd *crowd, struct fake *fake, uint32_t index, int result)
{
	bool completed;

	*crowd = (struct crowd){.fake = fake, .index = index};
	pthread_barrier_init(&crowd->begun, NULL, NR_THREADS + 1);
	pthread_barrier_init(&crowd->held, NULL, NR_THREADS);
	for (int i = 0; i < NR_THREADS; i++)
		if (!fake_thread_start(&crowd->threads[i], one_of_crowd, crowd))
			return false;
	pthread_barrier_wait(&crowd->begun);
	for (int i = 0; i < NR_THREADS; i++)
		fake_thread_wait_asleep(&crowd->threads[i]);
	completed = fake_complete(fake, index, result);
	for (int i = 0; i < NR_THREADS; i++)
		fake_thread_join(&crowd->threads[i]);
	pthread_barrier_destroy(&crowd->begun);
	pthread_barrier_destroy(&crowd->held);
	return completed;
}

TEST_F(entry, many_threads_that_get_one_key_cause_one_fill_and_all_see_its_bytes)
{
	struct crowd crowd;

	ASSERT_TRUE(gather(&crowd, &self->fake, variant->index, 0));
	EXPECT_EQ(wr_load_relaxed(&crowd.nr_ok), NR_THREADS);
	EXPECT_EQ(fake_entry(&self->fake, variant->index).nr_fills, 1u);
}

TEST_F(entry, many_threads_that_wait_for_a_fill_all_get_its_error)
{
	struct crowd crowd;

	ASSERT_TRUE(gather(&crowd, &self->fake, variant->index, -EIO));
	EXPECT_EQ(wr_load_relaxed(&crowd.nr_eio), NR_THREADS);
	EXPECT_EQ(fake_entry(&self->fake, variant->index).nr_fills, 1u);
	EXPECT_EQ(wr_residency_prefetch(self->fake.residency, variant->index), 1);
}

struct waiter {
	struct fake *fake;
	uint32_t index;
	int rc;
};

static void *wait_for_it(void *arg)
{
	struct waiter *waiter = arg;
	struct wr_residency_get g;

	waiter->rc = get(waiter->fake, waiter->index, &g);
	return NULL;
}

TEST_F(entry, cancel_wakes_who_waits_and_the_fill_may_still_end)
{
	struct waiter waiter = {.fake = &self->fake, .index = variant->index, .rc = 1};
	struct fake_thread thread;

	ASSERT_TRUE(fake_thread_start(&thread, wait_for_it, &waiter));
	fake_thread_wait_asleep(&thread);
	wr_residency_cancel(self->fake.residency);
	fake_thread_join(&thread);
	EXPECT_EQ(waiter.rc, -ECANCELED);
	EXPECT_TRUE(fake_complete(&self->fake, variant->index, 0));
}

TEST_F(entry, after_cancel_no_get_succeeds_and_no_fill_is_started)
{
	struct wr_residency_get g;

	ASSERT_EQ(wr_residency_prefetch(self->fake.residency, variant->index), 1);
	ASSERT_TRUE(fake_complete(&self->fake, variant->index, 0));
	EXPECT_FALSE(wr_residency_is_cancelled(self->fake.residency));
	wr_residency_cancel(self->fake.residency);
	EXPECT_TRUE(wr_residency_is_cancelled(self->fake.residency));
	EXPECT_EQ(get(&self->fake, variant->index, &g), -ECANCELED);
	EXPECT_EQ(get(&self->fake, 1, &g), -ECANCELED);
	EXPECT_EQ(get(&self->fake, 4, &g), -ECANCELED);
	EXPECT_EQ(wr_residency_prefetch(self->fake.residency, 5), -ECANCELED);
	EXPECT_EQ(self->fake.nr_order, 1u);
}

TEST_F(entry, a_pin_taken_before_cancel_keeps_its_bytes)
{
	struct wr_residency_get g;
	uint32_t fill;

	self->fake.mode = FAKE_INLINE;
	ASSERT_EQ(get(&self->fake, variant->index, &g), 0);
	wr_residency_cancel(self->fake.residency);
	EXPECT_TRUE(fake_bytes_are(&self->fake, variant->index, g.mem, &fill));
	wr_residency_put(self->fake.residency, variant->index);
}

TEST_F(entry, close_cancels_what_is_on_its_way_and_nothing_else)
{
	struct fake fake;

	ASSERT_TRUE(fake_open(&fake, FAKE_MANUAL, sizes, residents, NR, SLOT_BYTES));
	fake.end_on_cancel = true;
	ASSERT_EQ(wr_residency_prefetch(fake.residency, 1), 1);
	ASSERT_EQ(wr_residency_prefetch(fake.residency, 2), 1);
	ASSERT_TRUE(fake_complete(&fake, 2, 0));
	ASSERT_EQ(wr_residency_prefetch(fake.residency, variant->index), 1);
	wr_residency_close(fake.residency);
	fake.residency = NULL;
	EXPECT_EQ(fake_entry(&fake, 1).nr_cancels, 1u);
	EXPECT_EQ(fake_entry(&fake, variant->index).nr_cancels, 1u);
	EXPECT_EQ(fake_entry(&fake, 2).nr_cancels, 0u);
	EXPECT_EQ(fake_entry(&fake, 5).nr_cancels, 0u);
	EXPECT_FALSE(fake_entry(&fake, variant->index).filling);
	fake_close(&fake);
}

static void *close_it(void *arg)
{
	struct fake *fake = arg;

	wr_residency_close(fake->residency);
	return NULL;
}

TEST_F(entry, close_waits_for_fills_that_do_not_heed_cancel)
{
	struct fake_thread thread;
	struct fake fake;

	ASSERT_TRUE(fake_open(&fake, FAKE_MANUAL, sizes, residents, NR, SLOT_BYTES));
	ASSERT_EQ(wr_residency_prefetch(fake.residency, variant->index), 1);
	ASSERT_EQ(wr_residency_prefetch(fake.residency, 1), 1);
	ASSERT_TRUE(fake_thread_start(&thread, close_it, &fake));
	fake_thread_wait_asleep(&thread);
	EXPECT_GE(wr_load_acquire(&thread.tid), 0);
	ASSERT_TRUE(fake_complete(&fake, variant->index, 0));
	fake_thread_wait_asleep(&thread);
	EXPECT_GE(wr_load_acquire(&thread.tid), 0);
	ASSERT_TRUE(fake_complete(&fake, 1, -ECANCELED));
	fake_thread_join(&thread);
	fake.residency = NULL;
	fake_close(&fake);
}

TEST(open_gives_up_cleanly_wherever_memory_runs_out)
{
	static const struct wr_residency_ops no_ops;
	struct wr_residency_opts opts = {.nr_entries = 100, .ops = &no_ops};
	struct wr_residency *residency = NULL;
	int64_t live = wr_test_alloc_live();
	uint64_t n;

	for (n = 1; n < 100; n++) {
		int rc;

		wr_test_alloc_fail_at(n);
		rc = wr_residency_open(&opts, &residency);
		if (!wr_test_alloc_failed())
			break;
		EXPECT_EQ(rc, -ENOMEM);
		EXPECT_EQ(residency, NULL);
		EXPECT_EQ(wr_test_alloc_live(), live);
	}
	wr_test_alloc_fail_at(0);
	EXPECT_GT(n, 2u);
	EXPECT_NE(residency, NULL);
	wr_residency_close(residency);
	EXPECT_EQ(wr_test_alloc_live(), live);
	wr_residency_close(NULL);
}

TEST_HARNESS_MAIN
