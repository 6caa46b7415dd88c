/* SPDX-License-Identifier: MIT */
/*
 * The two slots that streamed entries pass through: never more memory than they are, one is filled
 * while the other is used, pins hold, and whoever waits gets a place as soon as there can be one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"

#include "base/atomic.h"
#include "base/util.h"
#include "stream/residency.h"
#include "stream/fake_source.h"

#define NR_UNITS 300u

/* A walker over entries in order, as a stream is. */
struct walk {
	struct fake fake;
	size_t bytes[NR_UNITS];
	uint32_t ahead;
	bool in_slot[NR_UNITS]; /* fill called and not put */
};

static uint32_t random_next(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

static int get(struct fake *fake, uint32_t index, struct wr_residency_get *g)
{
	wr_residency_get_begin(fake->residency, index, g);
	return wr_residency_get_wait(fake->residency, g);
}

/* No two entries that have a place share a byte of it. */
static bool places_are_apart(struct walk *walk)
{
	for (uint32_t i = 0; i < NR_UNITS; i++) {
		for (uint32_t j = i + 1; walk->in_slot[i] && j < NR_UNITS; j++) {
			const char *a = walk->fake.entries[i].mem, *b = walk->fake.entries[j].mem;

			if (walk->in_slot[j] && a < b + walk->bytes[j] && b < a + walk->bytes[i])
				return false;
		}
	}
	return true;
}

static bool read_ahead(struct walk *walk, uint32_t current)
{
	for (walk->ahead = wr_max(walk->ahead, current + 1); walk->ahead < NR_UNITS;
	     walk->ahead++) {
		int rc = wr_residency_prefetch(walk->fake.residency, walk->ahead);

		if (rc == -EAGAIN)
			return true;
		if (rc != 1)
			return false;
		walk->in_slot[walk->ahead] = true;
	}
	return true;
}

/* The next entry that does not lie in @slot is on its way already, or there is none. */
static bool other_slot_is_being_filled(struct walk *walk, uint32_t current, unsigned slot)
{
	struct fake *fake = &walk->fake;
	uint32_t i = current + 1;

	while (i < NR_UNITS && fake->entries[i].nr_fills &&
	       fake_slot_of(fake, fake->entries[i].mem, walk->bytes[i]) == slot)
		i++;
	return i == NR_UNITS || fake->entries[i].nr_fills;
}

/* One entry of a walk; false when anything is not as it must be. */
static bool step(struct walk *walk, uint32_t i)
{
	struct fake *fake = &walk->fake;
	struct wr_residency_get g;
	unsigned slot;
	uint32_t fill;
	bool good;

	wr_residency_get_begin(fake->residency, i, &g);
	walk->in_slot[i] = true;
	good = read_ahead(walk, i) && places_are_apart(walk);
	/* Reads end in order of their starts here; only what is waited for must have ended. */
	if (fake_entry(fake, i).filling)
		fake_complete(fake, i, 0);
	if (wr_residency_get_wait(fake->residency, &g))
		return false;
	slot = fake_slot_of(fake, g.mem, walk->bytes[i]);
	good = good && slot < 2 && fake_bytes_are(fake, i, g.mem, &fill) && fill == 1;
	good = good && other_slot_is_being_filled(walk, i, slot);
	wr_residency_put(fake->residency, i);
	walk->in_slot[i] = false;
	return good;
}

TEST(a_walk_in_order_stays_in_two_slots_and_fills_one_while_it_uses_the_other)
{
	static struct walk walk;
	uint32_t random = 1, first_bad = NR_UNITS;

	for (int round = 0; round < 8; round++) {
		size_t largest = 0;

		memset(&walk, 0, sizeof(walk));
		for (uint32_t i = 0; i < NR_UNITS; i++) {
			walk.bytes[i] = 8 * (1 + random_next(&random) % (round < 4 ? 500 : 8));
			largest = wr_max(largest, walk.bytes[i]);
		}
		ASSERT_TRUE(
			fake_open(&walk.fake, FAKE_MANUAL, walk.bytes, NULL, NR_UNITS, largest));
		for (uint32_t i = 0; i < NR_UNITS && first_bad == NR_UNITS; i++)
			if (!step(&walk, i))
				first_bad = i;
		EXPECT_EQ(first_bad, NR_UNITS);
		for (uint32_t i = 0; i < NR_UNITS; i++)
			EXPECT_EQ(fake_entry(&walk.fake, i).nr_fills, 1u);
		EXPECT_EQ(wr_load_relaxed(&walk.fake.nr_wrong), 0u);
		walk.fake.end_on_cancel = true;
		fake_close(&walk.fake);
	}
}

/* clang-format off */
FIXTURE(slots) {
	struct fake fake;
};
/* clang-format on */

/* Slots of 1024 bytes; entries 0-7 fill half of one, 8-9 all of one, 10 is resident. */
static const size_t sizes[] = {512, 512, 512, 512, 512, 512, 512, 512, 1024, 1024, 512};
static const bool residents[] = {[10] = true};
#define NR (sizeof(sizes) / sizeof(sizes[0]))

FIXTURE_SETUP(slots)
{
	ASSERT_TRUE(fake_open(&self->fake, FAKE_MANUAL, sizes, residents, NR, 1024));
}

FIXTURE_TEARDOWN(slots)
{
	self->fake.end_on_cancel = true;
	fake_close(&self->fake);
	EXPECT_EQ(wr_load_relaxed(&self->fake.nr_wrong), 0u);
}

/* Read ahead entries @first to @last, and end those reads. */
static bool have(struct fake *fake, uint32_t first, uint32_t last)
{
	for (uint32_t i = first; i <= last; i++)
		if (wr_residency_prefetch(fake->residency, i) != 1 || !fake_complete(fake, i, 0))
			return false;
	return true;
}

TEST_F(slots, read_ahead_beyond_both_is_refused_and_resident_entries_are_not)
{
	ASSERT_TRUE(have(&self->fake, 0, 3));
	EXPECT_EQ(wr_residency_prefetch(self->fake.residency, 4), -EAGAIN);
	EXPECT_EQ(wr_residency_prefetch(self->fake.residency, 10), 1);
	EXPECT_EQ(self->fake.nr_order, 5u);
}

TEST_F(slots, a_slot_in_use_that_was_left_is_not_read_into_until_it_is_empty)
{
	struct wr_residency_get a, b;

	self->fake.mode = FAKE_INLINE;
	ASSERT_EQ(get(&self->fake, 0, &a), 0);
	ASSERT_EQ(get(&self->fake, 9, &b), 0);
	/* Otherwise it would never come free, and units as large as a slot would wait forever. */
	EXPECT_EQ(wr_residency_prefetch(self->fake.residency, 1), -EAGAIN);
	wr_residency_put(self->fake.residency, 0);
	EXPECT_EQ(wr_residency_prefetch(self->fake.residency, 1), 1);
	wr_residency_put(self->fake.residency, 9);
}

TEST_F(slots, a_get_takes_a_place_from_what_was_read_ahead_and_not_used)
{
	struct wr_residency_get g;
	uint32_t fill;

	ASSERT_TRUE(have(&self->fake, 0, 3));
	self->fake.mode = FAKE_INLINE;
	ASSERT_EQ(get(&self->fake, 8, &g), 0);
	EXPECT_TRUE(fake_bytes_are(&self->fake, 8, g.mem, &fill));
	/* What was read last went, what is needed first is still there. */
	EXPECT_EQ(wr_residency_prefetch(self->fake.residency, 0), 0);
	EXPECT_EQ(wr_residency_prefetch(self->fake.residency, 1), 0);
	EXPECT_EQ(wr_residency_prefetch(self->fake.residency, 2), -EAGAIN);
	wr_residency_put(self->fake.residency, 8);
}

struct waiter {
	struct fake *fake;
	uint32_t index;
	int rc;
	bool good;
	struct fake_thread thread;
};

static void *wait_for_it(void *arg)
{
	struct waiter *waiter = arg;
	struct wr_residency_get g;
	uint32_t fill;

	waiter->rc = get(waiter->fake, waiter->index, &g);
	if (waiter->rc)
		return NULL;
	waiter->good = fake_bytes_are(waiter->fake, waiter->index, g.mem, &fill);
	wr_residency_put(waiter->fake->residency, waiter->index);
	return NULL;
}

/* A thread that needs a whole slot and has gone to sleep. */
static bool start_waiter(struct waiter *waiter, struct fake *fake, uint32_t index)
{
	*waiter = (struct waiter){.fake = fake, .index = index, .rc = 1};
	if (!fake_thread_start(&waiter->thread, wait_for_it, waiter))
		return false;
	fake_thread_wait_asleep(&waiter->thread);
	return true;
}

TEST_F(slots, a_get_waits_for_reads_ahead_that_are_on_their_way_in_both)
{
	struct waiter waiter;

	for (uint32_t i = 0; i < 4; i++)
		ASSERT_EQ(wr_residency_prefetch(self->fake.residency, i), 1);
	ASSERT_TRUE(start_waiter(&waiter, &self->fake, 8));
	EXPECT_EQ(fake_entry(&self->fake, 8).nr_fills, 0u);
	self->fake.mode = FAKE_INLINE;
	for (uint32_t i = 0; i < 4; i++)
		EXPECT_TRUE(fake_complete(&self->fake, i, i & 1 ? -EIO : 0));
	fake_thread_join(&waiter.thread);
	EXPECT_EQ(waiter.rc, 0);
	EXPECT_TRUE(waiter.good);
}

TEST_F(slots, the_last_put_of_a_slot_wakes_who_waits_though_unused_reads_remain_in_it)
{
	struct wr_residency_get a, b;
	struct waiter waiter;

	ASSERT_TRUE(have(&self->fake, 0, 3));
	ASSERT_EQ(get(&self->fake, 0, &a), 0);
	ASSERT_EQ(get(&self->fake, 2, &b), 0);
	ASSERT_TRUE(start_waiter(&waiter, &self->fake, 8));
	EXPECT_EQ(fake_entry(&self->fake, 8).nr_fills, 0u);
	self->fake.mode = FAKE_INLINE;
	wr_residency_put(self->fake.residency, 0);
	fake_thread_join(&waiter.thread);
	EXPECT_EQ(waiter.rc, 0);
	EXPECT_TRUE(waiter.good);
	wr_residency_put(self->fake.residency, 2);
}

TEST_F(slots, nothing_is_read_ahead_into_a_place_that_somebody_waits_for)
{
	struct wr_residency_get a, b;
	struct waiter waiter;

	self->fake.mode = FAKE_INLINE;
	ASSERT_EQ(get(&self->fake, 9, &b), 0);
	ASSERT_EQ(get(&self->fake, 0, &a), 0);
	/* Half of the current slot is free: enough for a read ahead and not for who waits. */
	ASSERT_TRUE(start_waiter(&waiter, &self->fake, 8));
	EXPECT_EQ(wr_residency_prefetch(self->fake.residency, 1), -EAGAIN);
	EXPECT_EQ(fake_entry(&self->fake, 1).nr_fills, 0u);
	wr_residency_put(self->fake.residency, 0);
	fake_thread_join(&waiter.thread);
	EXPECT_EQ(waiter.rc, 0);
	EXPECT_EQ(wr_residency_prefetch(self->fake.residency, 1), 1);
	wr_residency_put(self->fake.residency, 9);
}

TEST_F(slots, cancel_wakes_who_waits_for_a_place)
{
	struct wr_residency_get a, b;
	struct waiter waiter;

	self->fake.mode = FAKE_INLINE;
	ASSERT_EQ(get(&self->fake, 0, &a), 0);
	ASSERT_EQ(get(&self->fake, 9, &b), 0);
	ASSERT_TRUE(start_waiter(&waiter, &self->fake, 8));
	wr_residency_cancel(self->fake.residency);
	fake_thread_join(&waiter.thread);
	EXPECT_EQ(waiter.rc, -ECANCELED);
	EXPECT_EQ(fake_entry(&self->fake, 8).nr_fills, 0u);
	wr_residency_put(self->fake.residency, 0);
	wr_residency_put(self->fake.residency, 9);
}

TEST_F(slots, a_failed_read_gives_its_place_back)
{
	struct wr_residency_get g;

	ASSERT_EQ(wr_residency_prefetch(self->fake.residency, 8), 1);
	ASSERT_EQ(wr_residency_prefetch(self->fake.residency, 9), 1);
	EXPECT_EQ(wr_residency_prefetch(self->fake.residency, 0), -EAGAIN);
	ASSERT_TRUE(fake_complete(&self->fake, 9, -EIO));
	EXPECT_EQ(wr_residency_prefetch(self->fake.residency, 0), 1);
	EXPECT_EQ(wr_residency_prefetch(self->fake.residency, 1), 1);
	ASSERT_TRUE(fake_complete(&self->fake, 8, -EIO));
	self->fake.mode = FAKE_INLINE;
	EXPECT_EQ(get(&self->fake, 9, &g), 0);
	wr_residency_put(self->fake.residency, 9);
}

TEST_F(slots, a_pin_protects_its_bytes_while_all_others_come_and_go)
{
	struct wr_residency_get pinned, g;
	uint32_t fill, before, random = 7;

	self->fake.mode = FAKE_INLINE;
	ASSERT_EQ(get(&self->fake, 3, &pinned), 0);
	ASSERT_TRUE(fake_bytes_are(&self->fake, 3, pinned.mem, &before));
	for (int i = 0; i < 2000; i++) {
		uint32_t other = random_next(&random) % NR;

		if (i % 3 == 0) {
			EXPECT_NE(wr_residency_prefetch(self->fake.residency, other), -EIO);
			continue;
		}
		ASSERT_EQ(get(&self->fake, other, &g), 0);
		EXPECT_TRUE(fake_bytes_are(&self->fake, other, g.mem, &fill));
		wr_residency_put(self->fake.residency, other);
	}
	EXPECT_TRUE(fake_bytes_are(&self->fake, 3, pinned.mem, &fill));
	EXPECT_EQ(fill, before);
	EXPECT_GT(self->fake.nr_order, 1000u);
	wr_residency_put(self->fake.residency, 3);
}

TEST_HARNESS_MAIN
