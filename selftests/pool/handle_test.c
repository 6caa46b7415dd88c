/* SPDX-License-Identifier: MIT */
/*
 * Handles without compaction: birth, pins, death, and what is said about a handle that is
 * not live.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weir/log.h>

#include "base/alloc.h"
#include "base/util.h"
#include "handle_help.h"
#include "pool/handle.h"

#define MIB	   HELP_MIB
#define NR_THREADS 8

FIXTURE(handles)
{
	struct fake_machine machine;
	struct weir_pool *pool;
	struct help_log log;
};

FIXTURE_SETUP(handles)
{
	self->pool = help_open(&self->machine, 1, 64 * MIB);
	ASSERT_NE(NULL, self->pool);
	help_listen(&self->log);
}

FIXTURE_TEARDOWN(handles)
{
	weir_pool_close(self->pool);
	EXPECT_EQ(0, wr_test_alloc_live());
	EXPECT_EQ(0, fake_machine_nr_mapped(&self->machine));
}

static struct weir_handle new_handle(struct weir_pool *pool, size_t bytes, uint32_t flags,
				     const char *tag)
{
	struct weir_handle h = {0};

	return weir_handle_alloc(pool, bytes, WEIR_NODE_ANY, flags, tag, &h) == 0
		       ? h
		       : (struct weir_handle){0};
}

TEST_F(handles, a_block_is_where_the_pin_says_and_keeps_its_bytes)
{
	struct weir_handle_info info;
	struct help_block b;
	void *p, *q;

	ASSERT_EQ(0, help_take(self->pool, 10000, 0, WEIR_HANDLE_MOVABLE, 77, &b));
	ASSERT_EQ(0, weir_handle_pin(self->pool, b.handle, &p));
	ASSERT_EQ(0, weir_handle_pin_try(self->pool, b.handle, &q));
	EXPECT_EQ(p, q);
	ASSERT_EQ(0, weir_handle_info(self->pool, b.handle, &info));
	EXPECT_EQ(12288u, info.bytes);
	EXPECT_EQ(2u, info.nr_pins);
	EXPECT_EQ(WEIR_HANDLE_MOVABLE, info.flags);
	EXPECT_EQ(0, info.node);
	EXPECT_STREQ("test", info.tag);
	EXPECT_EQ(0, weir_handle_unpin(self->pool, b.handle));
	EXPECT_EQ(0, weir_handle_unpin(self->pool, b.handle));
	EXPECT_TRUE(help_is_whole(self->pool, &b));
	EXPECT_EQ(0, help_drop(self->pool, &b));
	EXPECT_EQ(0, self->log.nr);
}

TEST_F(handles, a_pinned_block_is_not_freed)
{
	struct weir_handle h = new_handle(self->pool, 4096, 0, NULL);
	struct weir_pool_stats s;
	void *p;

	ASSERT_EQ(0, weir_handle_pin(self->pool, h, &p));
	EXPECT_EQ(-EBUSY, weir_handle_free(self->pool, h));
	weir_pool_stats(self->pool, &s);
	EXPECT_EQ(4096u, s.used_bytes);
	EXPECT_EQ(0, weir_handle_unpin(self->pool, h));
	EXPECT_EQ(0, weir_handle_free(self->pool, h));
	weir_pool_stats(self->pool, &s);
	EXPECT_EQ(0u, s.used_bytes);
}

TEST_F(handles, pins_are_counted_up_to_their_limit_and_back)
{
	struct weir_handle h = new_handle(self->pool, 4096, WEIR_HANDLE_MOVABLE, "many");
	unsigned i;
	void *p;

	for (i = 0; i < WR_HANDLE_MAX_PINS; i++)
		ASSERT_EQ(0, weir_handle_pin(self->pool, h, &p));
	EXPECT_EQ(-EBUSY, weir_handle_pin(self->pool, h, &p));
	EXPECT_EQ(-EBUSY, weir_handle_pin_try(self->pool, h, &p));
	for (i = 0; i < WR_HANDLE_MAX_PINS; i++)
		ASSERT_EQ(0, weir_handle_unpin(self->pool, h));
	EXPECT_EQ(0, weir_handle_free(self->pool, h));
}

TEST_F(handles, one_unpin_too_many_is_reported_with_the_tag)
{
	struct weir_handle h = new_handle(self->pool, 4096, 0, "attention");
	struct weir_handle_stats s;

	EXPECT_EQ(-EINVAL, weir_handle_unpin(self->pool, h));
	EXPECT_EQ(1, self->log.nr);
	EXPECT_NE(NULL, strstr(self->log.text, "attention"));
	EXPECT_NE(NULL, strstr(self->log.text, "weir_handle_unpin"));
	weir_handle_stats(self->pool, &s);
	EXPECT_EQ(1u, s.nr_unpin_faults);
	EXPECT_EQ(0, weir_handle_free(self->pool, h));
}

TEST_F(handles, a_double_free_is_reported_with_the_tag_and_changes_nothing)
{
	struct weir_handle h = new_handle(self->pool, 65536, WEIR_HANDLE_MOVABLE, "kv cache");
	struct weir_handle other = new_handle(self->pool, 65536, WEIR_HANDLE_MOVABLE, "other");
	struct weir_handle_stats s;
	void *p = NULL;

	ASSERT_EQ(0, weir_handle_free(self->pool, h));
	EXPECT_EQ(-ESTALE, weir_handle_free(self->pool, h));
	EXPECT_NE(NULL, strstr(self->log.text, "kv cache"));
	EXPECT_EQ(-ESTALE, weir_handle_pin(self->pool, h, &p));
	EXPECT_NE(NULL, strstr(self->log.text, "weir_handle_pin"));
	EXPECT_EQ(-ESTALE, weir_handle_pin_try(self->pool, h, &p));
	EXPECT_EQ(-ESTALE, weir_handle_unpin(self->pool, h));
	EXPECT_EQ(NULL, p);
	EXPECT_EQ(4, self->log.nr);
	weir_handle_stats(self->pool, &s);
	EXPECT_EQ(4u, s.nr_double_frees);
	EXPECT_EQ(1u, s.nr_live);
	EXPECT_EQ(0, weir_handle_free(self->pool, other));
}

TEST_F(handles, a_stale_handle_does_not_touch_who_has_its_slot_now)
{
	struct weir_handle h = new_handle(self->pool, 4096, 0, "old");
	struct weir_handle_info info;
	struct weir_handle_stats s;
	struct weir_handle now;
	void *p;
	int i;

	ASSERT_EQ(0, weir_handle_free(self->pool, h));
	/* The free slots are a queue: the slot comes back last. */
	do {
		now = new_handle(self->pool, 4096, 0, "new");
		ASSERT_NE(0u, now.generation);
		if (now.slot != h.slot)
			ASSERT_EQ(0, weir_handle_free(self->pool, now));
	} while (now.slot != h.slot);
	EXPECT_EQ(-ESTALE, weir_handle_free(self->pool, h));
	EXPECT_NE(NULL, strstr(self->log.text, "'new'"));
	EXPECT_EQ(-ESTALE, weir_handle_pin(self->pool, h, &p));
	EXPECT_EQ(-ESTALE, weir_handle_unpin(self->pool, h));
	EXPECT_EQ(-ESTALE, weir_handle_info(self->pool, h, &info));
	weir_handle_stats(self->pool, &s);
	EXPECT_EQ(4u, s.nr_stale);
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, weir_handle_pin(self->pool, now, &p));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, weir_handle_unpin(self->pool, now));
	EXPECT_EQ(0, weir_handle_free(self->pool, now));
}

TEST_F(handles, a_foreign_or_made_up_handle_is_refused)
{
	struct fake_machine machine;
	struct weir_pool *pool2 = help_open(&machine, 1, 4 * MIB);
	struct weir_handle h = new_handle(self->pool, 4096, 0, NULL);
	struct weir_handle bad[5];
	struct weir_handle_stats s;
	size_t i;
	void *p;

	ASSERT_NE(NULL, pool2);
	bad[0] = new_handle(pool2, 4096, 0, "theirs");
	bad[1] = h;
	bad[1].generation++;
	bad[2] = h;
	bad[2].slot = 1u << 30;
	bad[3] = h;
	bad[3].slot++; /* there, and never used */
	bad[4] = h;
	bad[4].generation = 0;
	for (i = 0; i < wr_array_size(bad); i++) {
		EXPECT_EQ(-EINVAL, weir_handle_free(self->pool, bad[i]));
		EXPECT_EQ(-EINVAL, weir_handle_pin(self->pool, bad[i], &p));
		EXPECT_EQ(-EINVAL, weir_handle_unpin(self->pool, bad[i]));
	}
	weir_handle_stats(self->pool, &s);
	EXPECT_EQ(15u, s.nr_foreign);
	EXPECT_EQ(15, self->log.nr);
	EXPECT_EQ(0, weir_handle_free(self->pool, h));
	EXPECT_EQ(0, weir_handle_free(pool2, bad[0]));
	weir_pool_close(pool2);
}

TEST_F(handles, the_zero_handle_is_no_handle)
{
	struct weir_handle zero = {0};
	void *p;

	EXPECT_EQ(0, weir_handle_free(self->pool, zero));
	EXPECT_EQ(0, weir_handle_unpin(self->pool, zero));
	EXPECT_EQ(-EINVAL, weir_handle_pin(self->pool, zero, &p));
	EXPECT_EQ(-EINVAL, weir_handle_pin(NULL, zero, &p));
	EXPECT_EQ(0, weir_handle_free(NULL, zero));
}

TEST_F(handles, calls_out_of_their_rules_take_nothing)
{
	struct weir_handle h = {.slot = 99};

	EXPECT_EQ(-EINVAL, weir_handle_alloc(self->pool, 0, 0, 0, NULL, &h));
	EXPECT_EQ(-EINVAL, weir_handle_alloc(self->pool, 65 * MIB, 0, 0, NULL, &h));
	EXPECT_EQ(-EINVAL, weir_handle_alloc(self->pool, 65 * MIB, 0, 1, NULL, &h));
	EXPECT_EQ(-EINVAL, weir_handle_alloc(self->pool, 4096, 0, 2, NULL, &h));
	EXPECT_EQ(-EINVAL, weir_handle_alloc(NULL, 4096, 0, 0, NULL, &h));
	EXPECT_EQ(-EINVAL, weir_handle_alloc(self->pool, 4096, 0, 0, NULL, NULL));
	EXPECT_EQ(-ENODEV, weir_handle_alloc(self->pool, 4096, 1, 0, NULL, &h));
	EXPECT_EQ(-ENODEV, weir_handle_alloc(self->pool, 4096, 1, 1, NULL, &h));
	EXPECT_EQ(99u, h.slot);
	h = new_handle(self->pool, 64 * MIB, WEIR_HANDLE_MOVABLE, NULL);
	EXPECT_NE(0u, h.generation);
	EXPECT_EQ(0u, new_handle(self->pool, 4096, WEIR_HANDLE_MOVABLE, NULL).generation);
	EXPECT_EQ(0u, new_handle(self->pool, 4096, 0, NULL).generation);
	EXPECT_EQ(0, weir_handle_free(self->pool, h));
}

/* A new handle in this slot; when the slot does not come within @patience, one in another. */
static struct weir_handle take_in_slot(struct weir_pool *pool, uint32_t slot, size_t patience)
{
	struct weir_handle h;

	while ((h = new_handle(pool, 4096, WEIR_HANDLE_MOVABLE, NULL)).slot != slot &&
	       patience-- > 0)
		if (h.generation == 0 || weir_handle_free(pool, h) != 0)
			break;
	return h;
}

TEST_F(handles, a_generation_never_comes_back)
{
	struct weir_handle first, last, other;
	struct weir_handle_stats s;
	uint32_t slot;
	void *p;

	first = new_handle(self->pool, 4096, WEIR_HANDLE_MOVABLE, "the first");
	slot = first.slot;
	ASSERT_EQ(0, weir_handle_free(self->pool, first));
	wr_test_handle_set_generation(self->pool, slot, UINT32_MAX - 1);
	last = take_in_slot(self->pool, slot, WR_HANDLE_SEGMENT_SLOTS);
	ASSERT_EQ(slot, last.slot);
	ASSERT_EQ(UINT32_MAX, last.generation);
	EXPECT_EQ(-ESTALE, weir_handle_pin(self->pool, first, &p));
	ASSERT_EQ(0, weir_handle_pin(self->pool, last, &p));
	ASSERT_EQ(0, weir_handle_unpin(self->pool, last));
	ASSERT_EQ(0, weir_handle_free(self->pool, last));
	/* The slot rests for ever, and says so of all its handles. */
	other = take_in_slot(self->pool, slot, 2 * WR_HANDLE_SEGMENT_SLOTS);
	ASSERT_NE(slot, other.slot);
	EXPECT_EQ(-ESTALE, weir_handle_pin(self->pool, first, &p));
	EXPECT_EQ(-ESTALE, weir_handle_pin(self->pool, last, &p));
	EXPECT_EQ(-ESTALE, weir_handle_free(self->pool, last));
	weir_handle_stats(self->pool, &s);
	EXPECT_EQ(2u, s.nr_stale);
	EXPECT_EQ(2u, s.nr_double_frees);
	EXPECT_EQ(1u, s.nr_live);
	EXPECT_EQ(0, weir_handle_free(self->pool, other));
}

TEST_F(handles, when_all_slots_of_a_segment_are_used_up_there_is_another)
{
	struct weir_handle h = {0};
	struct weir_handle_stats s;
	uint32_t i;

	for (i = 0; i < WR_HANDLE_SEGMENT_SLOTS; i++) {
		h = new_handle(self->pool, 4096, i % 2, "used up");
		ASSERT_NE(0u, h.generation);
		ASSERT_EQ(0, weir_handle_free(self->pool, h));
		wr_test_handle_set_generation(self->pool, h.slot, UINT32_MAX - 1);
	}
	for (i = 0; i < WR_HANDLE_SEGMENT_SLOTS; i++) {
		h = new_handle(self->pool, 4096, i % 2, "the last");
		ASSERT_EQ(UINT32_MAX, h.generation);
		ASSERT_EQ(0, weir_handle_free(self->pool, h));
	}
	h = new_handle(self->pool, 4096, 0, "the next");
	EXPECT_EQ(1u, h.generation);
	EXPECT_EQ(WR_HANDLE_SEGMENT_SLOTS, h.slot);
	weir_handle_stats(self->pool, &s);
	EXPECT_EQ(2 * WR_HANDLE_SEGMENT_SLOTS, s.nr_slots);
	EXPECT_EQ(0, weir_handle_free(self->pool, h));
}

TEST_F(handles, a_pool_full_of_the_smallest_costs_a_quarter_per_cent)
{
	static struct weir_handle handles[256 * MIB / 4096];
	struct weir_pool_stats s;
	size_t i, k, nr = wr_array_size(handles);

	weir_pool_close(self->pool);
	self->pool = help_open(&self->machine, 1, 256 * MIB);
	ASSERT_NE(NULL, self->pool);
	/* Twice, so that slots and blocks do not match as they did at first. */
	for (k = 0; k < 2; k++) {
		for (i = 0; i < nr; i++) {
			handles[i] = new_handle(self->pool, 4096, WEIR_HANDLE_MOVABLE, "kv");
			ASSERT_NE(0u, handles[i].generation);
		}
		weir_pool_stats(self->pool, &s);
		EXPECT_EQ(0u, s.free_bytes);
		EXPECT_EQ(nr, s.nr_live);
		EXPECT_GE(s.capacity_bytes / 400, s.metadata_bytes);
		for (i = 0; i < nr; i++)
			ASSERT_EQ(0, weir_handle_free(self->pool, handles[i * 509 % nr]));
	}
}

TEST_F(handles, sizes_and_what_was_asked_for_are_known_of_each)
{
	static const size_t sizes[] = {1, 4095, 4096, 4097, 8192, 12289, 65536, 300001, 3u << 20};
	struct weir_handle h[2][wr_array_size(sizes)];
	struct weir_handle_info info;
	struct weir_pool_stats s;
	uint64_t sum = 0;
	size_t i, k;

	for (i = 0; i < wr_array_size(sizes); i++) {
		for (k = 0; k < 2; k++) {
			h[k][i] = new_handle(self->pool, sizes[i], (uint32_t)k, "size");
			ASSERT_EQ(0, weir_handle_info(self->pool, h[k][i], &info));
			EXPECT_EQ(wr_align_up(sizes[i], (size_t)4096), info.bytes);
			sum += sizes[i];
		}
		weir_pool_stats(self->pool, &s);
		EXPECT_EQ(sum, s.requested_bytes);
	}
	for (i = 0; i < wr_array_size(sizes); i++) {
		for (k = 0; k < 2; k++) {
			ASSERT_EQ(0, weir_handle_free(self->pool, h[k][i]));
			sum -= sizes[i];
		}
		weir_pool_stats(self->pool, &s);
		EXPECT_EQ(sum, s.requested_bytes);
	}
	EXPECT_EQ(0u, s.used_bytes);
}

TEST_F(handles, blocks_go_from_spans_to_handles_and_back)
{
	struct weir_pool_stats s;
	struct weir_span spans[64], stale;
	struct weir_handle h[64];
	size_t i, round;

	for (round = 0; round < 3; round++) {
		/* All of the pool but a block, so that the next ones share their places. */
		for (i = 0; i < 64; i++)
			ASSERT_EQ(0, weir_pool_alloc(self->pool, MIB - 100, 0, &spans[i]));
		stale = spans[0];
		for (i = 0; i < 64; i++)
			ASSERT_EQ(0, weir_pool_free(self->pool, spans[i]));
		for (i = 0; i < 64; i++) {
			h[i] = new_handle(self->pool, MIB, WEIR_HANDLE_MOVABLE, "again");
			ASSERT_NE(0u, h[i].generation);
		}
		weir_pool_stats(self->pool, &s);
		EXPECT_EQ(64 * MIB, s.requested_bytes);
		EXPECT_NE(0, weir_pool_free(self->pool, stale));
		for (i = 0; i < 64; i++)
			ASSERT_EQ(0, weir_handle_free(self->pool, h[i]));
	}
	weir_pool_stats(self->pool, &s);
	EXPECT_EQ(0u, s.used_bytes);
	EXPECT_EQ(0u, s.requested_bytes);
}

TEST_F(handles, a_thousand_tags_are_told_apart)
{
	static char tags[1000][8];
	static struct weir_handle h[1000];
	struct weir_handle_info info;
	size_t i;

	for (i = 0; i < 1000; i++) {
		snprintf(tags[i], sizeof(tags[i]), "t%zu", i);
		h[i] = new_handle(self->pool, 4096, i % 2, tags[i]);
	}
	for (i = 0; i < 1000; i++) {
		ASSERT_EQ(0, weir_handle_info(self->pool, h[i], &info));
		EXPECT_TRUE(info.tag == tags[i]);
		ASSERT_EQ(0, weir_handle_free(self->pool, h[i]));
	}
	EXPECT_EQ(-ESTALE, weir_handle_free(self->pool, h[777]));
	EXPECT_NE(NULL, strstr(self->log.text, "t777"));
	/* A tag that is known has its number, whatever the slot had. */
	h[0] = new_handle(self->pool, 4096, 0, tags[3]);
	ASSERT_EQ(0, weir_handle_info(self->pool, h[0], &info));
	EXPECT_TRUE(info.tag == tags[3]);
	EXPECT_EQ(0, weir_handle_free(self->pool, h[0]));
}

TEST_F(handles, slots_are_used_again_and_their_memory_is_reported)
{
	struct weir_pool_stats before, after;
	struct weir_handle_stats s;
	struct weir_handle h;
	int i;

	weir_pool_stats(self->pool, &before);
	for (i = 0; i < 10000; i++) {
		h = new_handle(self->pool, 4096, WEIR_HANDLE_MOVABLE, NULL);
		ASSERT_EQ(0, weir_handle_free(self->pool, h));
	}
	weir_handle_stats(self->pool, &s);
	EXPECT_EQ(WR_HANDLE_SEGMENT_SLOTS, s.nr_slots);
	EXPECT_EQ(0u, s.nr_live);
	weir_pool_stats(self->pool, &after);
	EXPECT_EQ(before.metadata_bytes + s.metadata_bytes, after.metadata_bytes);
	EXPECT_LT(s.metadata_bytes, 20000u);
}

TEST_F(handles, a_handle_for_each_block_of_the_pool_is_possible_and_slots_do_not_move)
{
	static struct help_block blocks[64 * MIB / 4096];
	struct weir_handle_stats s;
	_Atomic uint64_t *first = NULL;
	size_t i, nr = wr_array_size(blocks);

	for (i = 0; i < nr; i++) {
		ASSERT_EQ(0, help_take(self->pool, 4096, 0, i % 2, i, &blocks[i]));
		if (i == 0)
			first = wr_handle_word_at(self->pool->handles, blocks[0].handle.slot);
	}
	EXPECT_EQ(first, wr_handle_word_at(self->pool->handles, blocks[0].handle.slot));
	EXPECT_EQ(0u, new_handle(self->pool, 4096, 0, NULL).generation);
	weir_handle_stats(self->pool, &s);
	EXPECT_EQ(nr, s.nr_live);
	/* The refused one had a slot for a moment. */
	EXPECT_EQ(nr + WR_HANDLE_SEGMENT_SLOTS, s.nr_slots);
	for (i = 0; i < nr; i++) {
		ASSERT_TRUE(help_is_whole(self->pool, &blocks[i]));
		ASSERT_EQ(0, help_drop(self->pool, &blocks[i]));
	}
}

TEST_F(handles, movable_blocks_and_others_meet_only_when_the_pool_is_full)
{
	static struct help_block blocks[64 * MIB / 65536];
	uint8_t *lowest_movable = NULL, *highest_fixed = NULL, *p;
	size_t i, nr = wr_array_size(blocks);

	for (i = 0; i < nr; i++) {
		ASSERT_EQ(0, help_take(self->pool, 65536, 0, i % 2, i, &blocks[i]));
		p = help_where(self->pool, &blocks[i]);
		if (i % 2 == 1 && (!lowest_movable || p < lowest_movable))
			lowest_movable = p;
		if (i % 2 == 0 && p > highest_fixed)
			highest_fixed = p;
		ASSERT_TRUE(!lowest_movable || highest_fixed < lowest_movable);
		/* All that is free lies between them: no 2 MiB holds both until the end. */
		ASSERT_TRUE(!lowest_movable ||
			    lowest_movable - highest_fixed == (ptrdiff_t)((nr - i) * 65536));
	}
	for (i = 0; i < nr; i++)
		ASSERT_EQ(0, help_drop(self->pool, &blocks[i]));
}

TEST_F(handles, a_fork_child_gets_nothing_and_harms_nobody)
{
	struct help_block b;
	int status;
	pid_t pid;

	ASSERT_EQ(0, help_take(self->pool, 65536, 0, WEIR_HANDLE_MOVABLE, 5, &b));
	ASSERT_EQ(0, weir_pool_maintain_start(self->pool, NULL));
	pid = fork();
	ASSERT_LE(0, pid);
	if (pid == 0) {
		struct weir_maintain_stats m;
		struct weir_handle_stats s;
		struct weir_handle h;
		void *p;

		if (weir_handle_alloc(self->pool, 4096, 0, 0, NULL, &h) != -EINVAL ||
		    weir_handle_pin(self->pool, b.handle, &p) != -EINVAL ||
		    weir_handle_unpin(self->pool, b.handle) != -EINVAL ||
		    weir_handle_free(self->pool, b.handle) != -EINVAL)
			_exit(2);
		if (weir_pool_compact(self->pool, NULL, NULL) != -EINVAL ||
		    weir_pool_maintain_start(self->pool, NULL) != -EINVAL)
			_exit(3);
		weir_handle_stats(self->pool, &s);
		weir_pool_maintain_stats(self->pool, &m);
		if (s.nr_live != 0 || m.is_running != 0)
			_exit(4);
		weir_pool_maintain_stop(self->pool);
		weir_pool_close(self->pool);
		_exit(wr_test_alloc_live() == 0 ? 0 : 5);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	weir_pool_maintain_stop(self->pool);
	EXPECT_TRUE(help_is_whole(self->pool, &b));
	EXPECT_EQ(0, help_drop(self->pool, &b));
}

TEST_F(handles, what_is_still_live_at_the_end_is_named)
{
	struct fake_machine machine;
	struct weir_pool *pool = help_open(&machine, 1, 4 * MIB);
	struct help_log log;

	ASSERT_NE(NULL, pool);
	ASSERT_NE(0u, new_handle(pool, 4096, 0, "forgotten").generation);
	help_listen(&log);
	weir_pool_close(pool);
	EXPECT_EQ(2, log.nr); /* the handle, and the sum over all spans */
	help_listen(&self->log);
	pool = help_open(&machine, 1, 4 * MIB);
	ASSERT_NE(NULL, pool);
	ASSERT_NE(0u, new_handle(pool, 4096, 0, "forgotten").generation);
	wr_handles_close(pool, true);
	EXPECT_NE(NULL, strstr(self->log.text, "forgotten"));
	weir_pool_close(pool);
}

TEST_F(handles, every_allocation_may_fail_and_nothing_is_lost)
{
	static struct weir_handle all[WR_HANDLE_SEGMENT_SLOTS + 1];
	struct weir_pool_stats s;
	bool failed = true;
	size_t i;
	int n, rc;

	for (n = 1; failed; n++) {
		struct fake_machine machine;
		struct weir_pool *pool = help_open(&machine, 1, 8 * MIB);

		ASSERT_NE(NULL, pool);
		wr_test_alloc_fail_at((uint64_t)n);
		rc = 0;
		for (i = 0; i < wr_array_size(all) && rc == 0; i++)
			rc = weir_handle_alloc(pool, 4096, 0, WEIR_HANDLE_MOVABLE, NULL, &all[i]);
		failed = wr_test_alloc_failed();
		wr_test_alloc_fail_at(0);
		ASSERT_EQ(failed ? -ENOMEM : 0, rc);
		weir_pool_stats(pool, &s);
		ASSERT_EQ((i - failed) * 4096, s.used_bytes);
		for (i -= failed; i-- > 0;)
			ASSERT_EQ(0, weir_handle_free(pool, all[i]));
		weir_pool_close(pool);
	}
	EXPECT_EQ(10,
		  n - 2); /* table, ranges, ends, directory; twice a segment and what tags need */
}

/* ---- threads ------------------------------------------------------------------------ */

struct crowd {
	struct weir_pool *pool;
	struct weir_handle handle;
	_Atomic int nr_ready;
	_Atomic int nr_freed;
	_Atomic int nr_stale;
	_Atomic int nr_faults;
};

static void *free_at_once(void *arg)
{
	struct crowd *c = arg;
	int rc;

	atomic_fetch_add(&c->nr_ready, 1);
	while (atomic_load(&c->nr_ready) < NR_THREADS)
		usleep(10);
	rc = weir_handle_free(c->pool, c->handle);
	if (rc == 0)
		atomic_fetch_add(&c->nr_freed, 1);
	else if (rc == -ESTALE)
		atomic_fetch_add(&c->nr_stale, 1);
	else
		atomic_fetch_add(&c->nr_faults, 1);
	return NULL;
}

TEST_F(handles, of_many_frees_of_one_handle_one_succeeds)
{
	pthread_t threads[NR_THREADS];
	struct crowd c = {.pool = self->pool};
	int round, i;

	ASSERT_EQ(0, weir_log_set(NULL, NULL, WEIR_LOG_NONE));
	for (round = 0; round < 50; round++) {
		c.handle = new_handle(self->pool, 4096, round % 2, "contended");
		atomic_store(&c.nr_ready, 0);
		for (i = 0; i < NR_THREADS; i++)
			ASSERT_EQ(0, pthread_create(&threads[i], NULL, free_at_once, &c));
		for (i = 0; i < NR_THREADS; i++)
			pthread_join(threads[i], NULL);
	}
	EXPECT_EQ(50, atomic_load(&c.nr_freed));
	EXPECT_EQ(50 * (NR_THREADS - 1), atomic_load(&c.nr_stale));
	EXPECT_EQ(0, atomic_load(&c.nr_faults));
}

/* Whether the first use of a pool's handles by many threads at once makes one table. */
static void *first_use(void *arg)
{
	struct crowd *c = arg;
	struct weir_handle h;

	atomic_fetch_add(&c->nr_ready, 1);
	while (atomic_load(&c->nr_ready) < NR_THREADS)
		usleep(10);
	if (weir_handle_alloc(c->pool, 4096, 0, 0, "first", &h) != 0 ||
	    weir_handle_free(c->pool, h) != 0)
		atomic_fetch_add(&c->nr_faults, 1);
	return NULL;
}

TEST(the_first_use_by_many_threads_makes_one_table)
{
	pthread_t threads[NR_THREADS];
	struct fake_machine machine;
	struct crowd c = {0};
	int round, i;

	for (round = 0; round < 50; round++) {
		c.pool = help_open(&machine, 1, 4 * MIB);
		ASSERT_NE(NULL, c.pool);
		atomic_store(&c.nr_ready, 0);
		for (i = 0; i < NR_THREADS; i++)
			ASSERT_EQ(0, pthread_create(&threads[i], NULL, first_use, &c));
		for (i = 0; i < NR_THREADS; i++)
			pthread_join(threads[i], NULL);
		weir_pool_close(c.pool);
		ASSERT_EQ(0, wr_test_alloc_live());
	}
	EXPECT_EQ(0, atomic_load(&c.nr_faults));
}

TEST_HARNESS_MAIN
