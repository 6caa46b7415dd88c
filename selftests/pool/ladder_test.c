/* SPDX-License-Identifier: MIT */
/*
 * Which pages a pool gets and what it says about them, on machines that do not exist:
 * each rung of the ladder is made to give way by each of the means it can.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <weir/pool.h>

#include "base/alloc.h"
#include "base/util.h"
#include "fake_machine.h"

#define CAPACITY (1u << 20)

FIXTURE(machine)
{
	struct fake_machine m;
	struct weir_pool_opts opts;
	struct weir_pool *pool;
	struct weir_error err;
};

FIXTURE_SETUP(machine)
{
	fake_machine_init(&self->m, 1);
	memset(&self->err, 0, sizeof(self->err));
	self->pool = NULL;
	self->opts =
		(struct weir_pool_opts){.size = sizeof(self->opts), .capacity_bytes = CAPACITY};
}

FIXTURE_TEARDOWN(machine)
{
	weir_pool_close(self->pool);
	EXPECT_EQ(0, fake_machine_nr_mapped(&self->m));
	for (int kind = 0; kind < WEIR_PAGE_KINDS; kind++)
		EXPECT_EQ(0, self->m.kinds[kind].nr_registered);
	EXPECT_EQ(0, wr_test_alloc_live());
}

#define OPEN() wr_pool_open_on(&self->m.system, &self->opts, &self->pool, &self->err)
#define KIND() weir_pool_page_kind(self->pool)
#define WHY()  weir_pool_page_reason(self->pool)

TEST_F(machine, the_largest_pages_come_first_and_need_no_reason)
{
	ASSERT_EQ(0, OPEN());
	EXPECT_EQ(WEIR_PAGE_1G, KIND());
	EXPECT_STREQ("", WHY());
	EXPECT_EQ(CAPACITY, atomic_load(&self->m.kinds[WEIR_PAGE_1G].committed));
}

TEST_F(machine, what_is_touched_is_registered_once_and_taken_back_before_it_goes)
{
	ASSERT_EQ(0, OPEN());
	EXPECT_EQ(1, self->m.kinds[WEIR_PAGE_1G].nr_registered);
	EXPECT_EQ(CAPACITY, self->m.kinds[WEIR_PAGE_1G].committed_when_registered);
	EXPECT_EQ(0, self->m.kinds[WEIR_PAGE_2M].nr_registrations);
	weir_pool_close(self->pool);
	self->pool = NULL;
	EXPECT_EQ(0, self->m.kinds[WEIR_PAGE_1G].nr_registered);
	EXPECT_EQ(1, self->m.kinds[WEIR_PAGE_1G].nr_registrations);
}

TEST_F(machine, memory_that_cannot_be_registered_steps_down_and_says_so)
{
	self->m.kinds[WEIR_PAGE_1G].register_rc = -ENOMEM;
	ASSERT_EQ(0, OPEN());
	EXPECT_EQ(WEIR_PAGE_2M, KIND());
	EXPECT_NE(NULL, strstr(WHY(), "1 MiB on node 0 could not be registered: "));
	EXPECT_EQ(1, self->m.kinds[WEIR_PAGE_2M].nr_registered);
	EXPECT_EQ(0, atomic_load(&self->m.kinds[WEIR_PAGE_1G].nr_mapped));
}

TEST_F(machine, a_pool_that_nothing_can_register_is_not_opened)
{
	for (int kind = 0; kind < WEIR_PAGE_KINDS; kind++)
		self->m.kinds[kind].register_rc = -EPERM;
	EXPECT_EQ(-ENOMEM, OPEN());
	EXPECT_NE(NULL, strstr(self->err.message, "could not be registered"));
}

TEST_F(machine, what_one_node_registered_is_taken_back_when_another_cannot)
{
	fake_machine_init(&self->m, 2);
	self->opts.page_kinds = 1u << WEIR_PAGE_4K;
	self->m.kinds[WEIR_PAGE_4K].commit_rc = -ENOMEM;
	self->m.kinds[WEIR_PAGE_4K].commit_fail_node = 1;
	EXPECT_EQ(-ENOMEM, OPEN());
	EXPECT_EQ(1, self->m.kinds[WEIR_PAGE_4K].nr_registrations);
	EXPECT_EQ(0, self->m.kinds[WEIR_PAGE_4K].nr_registered);
}

/* What the regions of a pool should be, in order. */
struct want {
	int kind;
	size_t kib;
	int node;
};

static void expect_regions(struct __test_metadata *_metadata, struct weir_pool *pool,
			   const struct want *want, size_t nr)
{
	struct weir_pool_region region;
	struct weir_pool_stats stats;
	const uint8_t *end = NULL;
	size_t i;

	ASSERT_EQ(nr, weir_pool_nr_regions(pool));
	for (i = 0; i < nr; i++) {
		ASSERT_EQ(0, weir_pool_region(pool, i, &region));
		EXPECT_EQ((uint32_t)want[i].kind, region.page_kind);
		EXPECT_EQ(want[i].kib << 10, region.bytes);
		EXPECT_EQ(want[i].node, region.node);
		EXPECT_EQ(0u, (uintptr_t)region.base % region.page_bytes);
		if (i > 0 && want[i].node == want[i - 1].node)
			EXPECT_EQ((const void *)end, region.base);
		end = (const uint8_t *)region.base + region.bytes;
	}
	weir_pool_stats(pool, &stats);
	EXPECT_EQ(stats.capacity_bytes, stats.pages_4k_bytes + stats.pages_thp_bytes +
						stats.pages_2m_bytes + stats.pages_1g_bytes);
	EXPECT_EQ(stats.capacity_bytes, stats.free_bytes + stats.used_bytes + stats.cached_bytes);
	EXPECT_EQ(weir_pool_nr_page_steps(pool), stats.nr_page_steps);
}

#define EXPECT_REGIONS(...)                                                       \
	expect_regions(_metadata, self->pool, (const struct want[]){__VA_ARGS__}, \
		       wr_array_size(((const struct want[]){__VA_ARGS__})))

static void limit_kind(struct fake_kind *k, int node, uint64_t free, uint64_t total)
{
	k->free_pages[node] = free;
	k->total_pages[node] = total;
}

TEST_F(machine, the_pages_that_there_are_are_used_and_the_rest_steps_down_with_the_numbers)
{
	limit_kind(&self->m.kinds[WEIR_PAGE_1G], 0, 3, 4);
	limit_kind(&self->m.kinds[WEIR_PAGE_2M], 0, 12, 640);
	ASSERT_EQ(0, OPEN());
	EXPECT_REGIONS({WEIR_PAGE_1G, 192, 0}, {WEIR_PAGE_2M, 192, 0}, {WEIR_PAGE_THP, 640, 0});
	EXPECT_EQ(WEIR_PAGE_THP, KIND());
	EXPECT_STREQ("1 GiB pages for a part only: 16 needed, 3 of 4 free on node 0\n"
		     "2 MiB pages for a part only: 52 needed, 12 of 640 free on node 0",
		     WHY());
	EXPECT_EQ(192u << 10, atomic_load(&self->m.kinds[WEIR_PAGE_1G].committed));
	EXPECT_EQ(192u << 10, atomic_load(&self->m.kinds[WEIR_PAGE_2M].committed));
	EXPECT_EQ(640u << 10, atomic_load(&self->m.kinds[WEIR_PAGE_THP].committed));
	for (int kind = WEIR_PAGE_THP; kind <= WEIR_PAGE_1G; kind++)
		EXPECT_EQ(1, self->m.kinds[kind].nr_registered);
}

struct steps {
	size_t nr;
	struct weir_page_step step[8];
};

static void note_step(void *arg, const struct weir_page_step *step)
{
	struct steps *s = arg;

	if (s->nr < wr_array_size(s->step))
		s->step[s->nr] = *step;
	s->nr++;
}

TEST_F(machine, each_step_down_is_an_event_and_is_kept)
{
	struct weir_page_step step;
	struct steps seen = {0};
	size_t i;

	limit_kind(&self->m.kinds[WEIR_PAGE_1G], 0, 3, 4);
	limit_kind(&self->m.kinds[WEIR_PAGE_2M], 0, 0, 0);
	self->m.kinds[WEIR_PAGE_THP].commit_rc = -ENOMEM;
	self->opts.step_down = note_step;
	self->opts.step_down_arg = &seen;
	ASSERT_EQ(0, OPEN());
	EXPECT_REGIONS({WEIR_PAGE_1G, 192, 0}, {WEIR_PAGE_4K, 832, 0});
	ASSERT_EQ(3u, seen.nr);
	ASSERT_EQ(3u, weir_pool_nr_page_steps(self->pool));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, weir_pool_page_step(self->pool, i, &step));
		EXPECT_EQ(0, memcmp(&seen.step[i], &step, sizeof(step)));
		EXPECT_EQ((uint32_t)(WEIR_PAGE_1G - i), step.kind);
		EXPECT_EQ((uint32_t)(WEIR_PAGE_1G - i - 1), step.next_kind);
		EXPECT_EQ(832u << 10, step.bytes);
		EXPECT_EQ(0, step.node);
	}
	EXPECT_EQ(-EINVAL, weir_pool_page_step(self->pool, 3, &step));
	EXPECT_EQ(-ENOMEM, seen.step[0].code);
	EXPECT_EQ(-EOPNOTSUPP, seen.step[1].code);
	EXPECT_STREQ("no 2 MiB pages: 52 needed, 0 of 0 free on node 0", seen.step[1].reason);
}

TEST_F(machine, a_pool_that_is_not_opened_has_told_its_steps)
{
	struct steps seen = {0};

	self->opts.step_down = note_step;
	self->opts.step_down_arg = &seen;
	self->opts.page_kinds = 1u << WEIR_PAGE_2M;
	limit_kind(&self->m.kinds[WEIR_PAGE_2M], 0, 3, 9);
	EXPECT_EQ(-ENOMEM, OPEN());
	ASSERT_EQ(1u, seen.nr);
	EXPECT_EQ((uint32_t)WEIR_PAGE_KINDS, seen.step[0].next_kind);
	EXPECT_EQ(CAPACITY - 3 * 16384, seen.step[0].bytes);
}

TEST_F(machine, a_piece_that_cannot_be_touched_is_filled_from_below_in_its_place)
{
	limit_kind(&self->m.kinds[WEIR_PAGE_1G], 0, 4, 4);
	limit_kind(&self->m.kinds[WEIR_PAGE_2M], 0, 20, 20);
	self->m.kinds[WEIR_PAGE_1G].commit_rc = -ENOMEM;
	ASSERT_EQ(0, OPEN());
	/* There are 20 pages for the second piece and, as far as is known, for the first. */
	EXPECT_REGIONS({WEIR_PAGE_2M, 256, 0}, {WEIR_PAGE_2M, 320, 0}, {WEIR_PAGE_THP, 448, 0});
	EXPECT_EQ(0, atomic_load(&self->m.kinds[WEIR_PAGE_1G].nr_mapped));
}

TEST_F(machine, no_more_regions_than_there_is_room_for_however_the_pages_fail)
{
	int first, second;

	for (first = WEIR_PAGE_4K; first < WEIR_PAGE_KINDS; first++) {
		for (second = WEIR_PAGE_4K; second < WEIR_PAGE_KINDS; second++) {
			fake_machine_init(&self->m, 1);
			limit_kind(&self->m.kinds[WEIR_PAGE_1G], 0, 3, 4);
			limit_kind(&self->m.kinds[WEIR_PAGE_2M], 0, 7, 9);
			limit_kind(&self->m.kinds[WEIR_PAGE_THP], 0, 5, 9);
			self->m.kinds[first].commit_rc = -ENOMEM;
			self->m.kinds[second].register_rc = -ENOMEM;
			if (first == WEIR_PAGE_4K || second == WEIR_PAGE_4K) {
				EXPECT_EQ(-ENOMEM, OPEN());
			} else {
				ASSERT_EQ(0, OPEN());
				EXPECT_GE(8u, weir_pool_nr_regions(self->pool));
			}
			weir_pool_close(self->pool);
			self->pool = NULL;
			EXPECT_EQ(0, fake_machine_nr_mapped(&self->m));
		}
	}
}

TEST_F(machine, without_addresses_there_is_no_pool)
{
	self->m.range_rc = -ENOMEM;
	EXPECT_EQ(-ENOMEM, OPEN());
	EXPECT_NE(NULL, strstr(self->err.message, "no addresses for 1 MiB"));
}

TEST_F(machine, one_span_has_all_pages_and_small_ones_come_out_of_magazines_of_all_of_them)
{
	struct weir_pool_region region;
	struct weir_pool_stats stats;
	struct weir_span *span;
	struct weir_span all;
	size_t in_region[3] = {0};
	size_t i, k, nr = CAPACITY / 4096;

	limit_kind(&self->m.kinds[WEIR_PAGE_1G], 0, 3, 4);
	limit_kind(&self->m.kinds[WEIR_PAGE_2M], 0, 12, 640);
	ASSERT_EQ(0, OPEN());
	weir_pool_stats(self->pool, &stats);
	EXPECT_EQ(CAPACITY, stats.largest_free_bytes);
	ASSERT_EQ(0, weir_pool_alloc(self->pool, CAPACITY, WEIR_NODE_ANY, &all));
	memset(all.base, 0x5a, CAPACITY);
	ASSERT_EQ(0, weir_pool_free(self->pool, all));
	span = calloc(nr, sizeof(*span));
	ASSERT_NE(NULL, span);
	for (i = 0; i < nr; i++) {
		ASSERT_EQ(0, weir_pool_alloc(self->pool, 4096, WEIR_NODE_ANY, &span[i]));
		for (k = 0; k < 3; k++) {
			ASSERT_EQ(0, weir_pool_region(self->pool, k, &region));
			in_region[k] +=
				(uintptr_t)span[i].base - (uintptr_t)region.base < region.bytes;
		}
		if (i % 16 == 0) {
			weir_pool_stats(self->pool, &stats);
			EXPECT_EQ(CAPACITY,
				  stats.free_bytes + stats.used_bytes + stats.cached_bytes);
			EXPECT_EQ((i + 1) * 4096, stats.used_bytes);
		}
	}
	EXPECT_EQ(48u, in_region[0]);
	EXPECT_EQ(48u, in_region[1]);
	EXPECT_EQ(160u, in_region[2]);
	/* Freed, they are kept ready, whichever pages they have. */
	for (i = 0; i < nr; i++)
		ASSERT_EQ(0, weir_pool_free(self->pool, span[i]));
	for (k = 0; k < 3; k++)
		ASSERT_EQ(0, weir_pool_alloc(self->pool, 4096, WEIR_NODE_ANY, &span[k]));
	weir_pool_stats(self->pool, &stats);
	EXPECT_LT(0u, stats.cached_bytes);
	for (k = 0; k < 3; k++)
		ASSERT_EQ(0, weir_pool_free(self->pool, span[k]));
	free(span);
	weir_pool_trim(self->pool, 0);
	weir_pool_stats(self->pool, &stats);
	EXPECT_EQ(CAPACITY, stats.largest_free_bytes);
}

TEST_F(machine, a_refused_reservation_steps_down)
{
	self->m.kinds[WEIR_PAGE_1G].reserve_rc = -ENOMEM;
	ASSERT_EQ(0, OPEN());
	EXPECT_EQ(WEIR_PAGE_2M, KIND());
	EXPECT_NE(NULL, strstr(WHY(), "no 1 GiB pages: 1 MiB refused: "));
}

TEST_F(machine, a_page_that_cannot_be_touched_steps_down)
{
	self->m.kinds[WEIR_PAGE_1G].commit_rc = -ENOMEM;
	self->m.kinds[WEIR_PAGE_2M].commit_rc = -ENOMEM;
	self->m.kinds[WEIR_PAGE_THP].commit_rc = -ENOMEM;
	ASSERT_EQ(0, OPEN());
	EXPECT_EQ(WEIR_PAGE_4K, KIND());
	EXPECT_NE(NULL, strstr(WHY(), "no transparent huge pages: 1 MiB could not be touched: "));
	EXPECT_EQ(2, fake_machine_nr_mapped(&self->m)); /* the region, and its range */
}

TEST_F(machine, a_setting_that_is_off_is_quoted)
{
	self->opts.page_kinds = 1u << WEIR_PAGE_THP | 1u << WEIR_PAGE_4K;
	self->m.kinds[WEIR_PAGE_THP].why = "the switch is off";
	ASSERT_EQ(0, OPEN());
	EXPECT_EQ(WEIR_PAGE_4K, KIND());
	EXPECT_STREQ("no transparent huge pages: the switch is off", WHY());
}

TEST_F(machine, a_kind_that_the_caller_excludes_is_not_tried)
{
	self->opts.page_kinds = 1u << WEIR_PAGE_4K;
	ASSERT_EQ(0, OPEN());
	EXPECT_EQ(WEIR_PAGE_4K, KIND());
	EXPECT_STREQ("", WHY());
}

TEST_F(machine, a_kind_that_the_system_lacks_is_said_so)
{
	self->m.system.kinds[WEIR_PAGE_1G] = NULL;
	ASSERT_EQ(0, OPEN());
	EXPECT_EQ(WEIR_PAGE_2M, KIND());
	EXPECT_STREQ("no 1 GiB pages: this system has none", WHY());
}

TEST_F(machine, huge_pages_that_the_kernel_did_not_give_are_not_claimed)
{
	self->opts.page_kinds = 1u << WEIR_PAGE_THP | 1u << WEIR_PAGE_4K;
	self->m.kinds[WEIR_PAGE_THP].huge_percent = 0;
	ASSERT_EQ(0, OPEN());
	EXPECT_EQ(WEIR_PAGE_4K, KIND());
	EXPECT_STREQ("no transparent huge pages: the kernel gave none for 1 MiB on node 0", WHY());
}

TEST_F(machine, huge_pages_in_part_are_counted_and_said_so)
{
	struct weir_pool_stats stats;

	self->opts.page_kinds = 1u << WEIR_PAGE_THP;
	self->opts.capacity_bytes = 100u << 20;
	self->m.kinds[WEIR_PAGE_THP].huge_percent = 50;
	ASSERT_EQ(0, OPEN());
	EXPECT_EQ(WEIR_PAGE_THP, KIND());
	EXPECT_STREQ("transparent huge pages for a part only: 50 of 100 MiB on node 0", WHY());
	weir_pool_stats(self->pool, &stats);
	EXPECT_EQ(50u << 20, stats.thp_bytes);
}

TEST_F(machine, huge_pages_that_cannot_be_counted_do_not_stop_the_pool)
{
	self->opts.page_kinds = 1u << WEIR_PAGE_THP;
	self->m.kinds[WEIR_PAGE_THP].huge_rc = -EACCES;
	ASSERT_EQ(0, OPEN());
	EXPECT_NE(NULL, strstr(WHY(), "transparent huge pages not counted: "));
}

TEST_F(machine, nothing_of_the_kinds_allowed_is_not_supported)
{
	self->opts.page_kinds = 1u << WEIR_PAGE_2M;
	self->m.kinds[WEIR_PAGE_2M].free_pages[0] = 0;
	self->m.kinds[WEIR_PAGE_2M].total_pages[0] = 0;
	ASSERT_EQ(-EOPNOTSUPP, OPEN());
	EXPECT_EQ(-EOPNOTSUPP, self->err.code);
	EXPECT_NE(NULL, strstr(self->err.message, "no 2 MiB pages: 64 needed, 0 of 0 free"));
	EXPECT_EQ(NULL, self->pool);
}

TEST_F(machine, too_little_of_the_kinds_allowed_is_no_memory)
{
	self->opts.page_kinds = 1u << WEIR_PAGE_2M;
	self->m.kinds[WEIR_PAGE_2M].free_pages[0] = 3;
	self->m.kinds[WEIR_PAGE_2M].total_pages[0] = 9;
	EXPECT_EQ(-ENOMEM, OPEN());
}

TEST_F(machine, more_than_the_machine_has_is_refused_before_it_is_touched)
{
	self->m.available = CAPACITY - 1;
	self->opts.page_kinds = 1u << WEIR_PAGE_4K;
	ASSERT_EQ(-ENOMEM, OPEN());
	EXPECT_NE(NULL, strstr(self->err.message, "1 MiB needed, 0 MiB available"));
	EXPECT_EQ(0u, atomic_load(&self->m.kinds[WEIR_PAGE_4K].committed));
	/* Hugetlb pages are set aside already. */
	self->opts.page_kinds = 0;
	ASSERT_EQ(0, OPEN());
	EXPECT_EQ(WEIR_PAGE_1G, KIND());
}

TEST_F(machine, lazy_pools_touch_only_pages_that_kill_when_missing)
{
	self->opts.flags = WEIR_POOL_LAZY;
	self->opts.page_kinds = 1u << WEIR_PAGE_4K;
	ASSERT_EQ(0, OPEN());
	EXPECT_EQ(0u, atomic_load(&self->m.kinds[WEIR_PAGE_4K].committed));
	weir_pool_close(self->pool);
	self->pool = NULL;
	self->opts.page_kinds = 0;
	ASSERT_EQ(0, OPEN());
	EXPECT_EQ(CAPACITY, atomic_load(&self->m.kinds[WEIR_PAGE_1G].committed));
}

TEST_F(machine, capacity_loses_less_than_a_page_or_the_kind_is_left_out)
{
	struct weir_pool_stats stats;

	self->opts.capacity_bytes = CAPACITY + 5000;
	ASSERT_EQ(0, OPEN());
	EXPECT_EQ(WEIR_PAGE_1G, KIND());
	weir_pool_stats(self->pool, &stats);
	EXPECT_EQ(CAPACITY, stats.capacity_bytes);
	weir_pool_close(self->pool);
	self->pool = NULL;

	self->opts.capacity_bytes = 60000; /* less than one page of 64 KiB */
	ASSERT_EQ(0, OPEN());
	EXPECT_EQ(WEIR_PAGE_2M, KIND());
	EXPECT_STREQ("no 1 GiB pages: 1 MiB a node is no multiple of them", WHY());
	weir_pool_stats(self->pool, &stats);
	EXPECT_EQ(49152u, stats.capacity_bytes);
}

static void count_progress(void *arg, size_t done, size_t total)
{
	size_t *last = arg;

	/* Never back, never past the end. */
	last[1] |= done < last[0] || done > total;
	last[0] = done;
}

TEST_F(machine, progress_ends_with_everything_done)
{
	size_t seen[2] = {0, 0};

	self->opts.progress = count_progress;
	self->opts.progress_arg = seen;
	ASSERT_EQ(0, OPEN());
	EXPECT_EQ(CAPACITY, seen[0]);
	EXPECT_EQ(0u, seen[1]);
}

TEST_F(machine, every_failing_allocation_leaves_nothing_behind)
{
	fake_machine_init(&self->m, 3);
	limit_kind(&self->m.kinds[WEIR_PAGE_1G], 1, 3, 4);
	self->m.kinds[WEIR_PAGE_2M].commit_rc = -ENOMEM;
	self->opts.capacity_bytes = 3 * CAPACITY;
	EXPECT_LT(10, fake_machine_fail_opens(&self->m, &self->opts));
}

FIXTURE(nodes)
{
	struct fake_machine m;
	struct weir_pool_opts opts;
	struct weir_pool *pool;
	struct weir_error err;
};

FIXTURE_SETUP(nodes)
{
	fake_machine_init(&self->m, 3);
	self->pool = NULL;
	self->opts =
		(struct weir_pool_opts){.size = sizeof(self->opts), .capacity_bytes = 3 * CAPACITY};
}

FIXTURE_TEARDOWN(nodes)
{
	weir_pool_close(self->pool);
	EXPECT_EQ(0, fake_machine_nr_mapped(&self->m));
	EXPECT_EQ(0, wr_test_alloc_live());
}

TEST_F(nodes, each_gets_an_even_share_touched_by_its_own_threads)
{
	struct weir_pool_region region;
	size_t i;

	ASSERT_EQ(0, OPEN());
	ASSERT_EQ(3u, weir_pool_nr_regions(self->pool));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, weir_pool_region(self->pool, i, &region));
		EXPECT_EQ(CAPACITY, region.bytes);
		EXPECT_EQ((int32_t)i, region.node);
		EXPECT_EQ(0u, (uintptr_t)region.base % region.page_bytes);
		EXPECT_EQ((int)i, fake_kind_node_of(&self->m.kinds[WEIR_PAGE_1G], region.base));
		EXPECT_LT(0u, atomic_load(&self->m.run_on[i]));
	}
	EXPECT_EQ(-EINVAL, weir_pool_region(self->pool, 3, &region));
}

TEST_F(nodes, a_mask_restricts_them_and_a_missing_node_is_an_error)
{
	struct weir_pool_region region;

	self->opts.node_mask = 1u << 3;
	ASSERT_EQ(-ENODEV, OPEN());
	EXPECT_NE(NULL, strstr(self->err.message, "node 3"));
	self->opts.node_mask = 1u << 2;
	ASSERT_EQ(0, OPEN());
	ASSERT_EQ(1u, weir_pool_nr_regions(self->pool));
	ASSERT_EQ(0, weir_pool_region(self->pool, 0, &region));
	EXPECT_EQ(2, region.node);
	EXPECT_EQ(3 * CAPACITY, region.bytes);
}

TEST_F(nodes, each_steps_down_for_itself)
{
	struct weir_pool_region region;
	static const int expected[] = {WEIR_PAGE_1G, WEIR_PAGE_2M, WEIR_PAGE_1G};
	size_t i;

	self->m.kinds[WEIR_PAGE_1G].free_pages[1] = 0;
	self->m.kinds[WEIR_PAGE_1G].total_pages[1] = 0;
	ASSERT_EQ(0, OPEN());
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, weir_pool_region(self->pool, i, &region));
		EXPECT_EQ((uint32_t)expected[i], region.page_kind);
	}
	EXPECT_EQ(WEIR_PAGE_2M, KIND());
	EXPECT_STREQ("no 1 GiB pages: 16 needed, 0 of 0 free on node 1", WHY());
}

TEST_F(nodes, each_takes_what_it_has_for_itself)
{
	limit_kind(&self->m.kinds[WEIR_PAGE_1G], 0, 15, 16);
	limit_kind(&self->m.kinds[WEIR_PAGE_1G], 2, 1, 16);
	limit_kind(&self->m.kinds[WEIR_PAGE_2M], 2, 4, 16);
	ASSERT_EQ(0, OPEN());
	EXPECT_REGIONS({WEIR_PAGE_1G, 960, 0}, {WEIR_PAGE_2M, 64, 0}, {WEIR_PAGE_1G, 1024, 1},
		       {WEIR_PAGE_1G, 64, 2}, {WEIR_PAGE_2M, 64, 2}, {WEIR_PAGE_THP, 896, 2});
	EXPECT_EQ(3u, weir_pool_nr_page_steps(self->pool));
}

TEST_F(nodes, binding_that_is_forbidden_is_said_and_with_strict_refused)
{
	int kind;

	for (kind = 0; kind < WEIR_PAGE_KINDS; kind++)
		self->m.kinds[kind].bind_rc = -EPERM;
	ASSERT_EQ(0, OPEN());
	EXPECT_NE(NULL, strstr(WHY(), "node 1: placed by first touch only, cannot bind: "));
	EXPECT_FALSE(self->m.kinds[WEIR_PAGE_1G].bound_strict);
	weir_pool_close(self->pool);
	self->pool = NULL;
	self->opts.flags = WEIR_POOL_STRICT_NODE;
	EXPECT_EQ(-EOPNOTSUPP, OPEN());
}

TEST_F(nodes, strict_refuses_a_share_that_its_node_does_not_have)
{
	self->opts.page_kinds = 1u << WEIR_PAGE_4K;
	self->m.node_available[1] = CAPACITY / 2;
	ASSERT_EQ(0, OPEN());
	weir_pool_close(self->pool);
	self->pool = NULL;
	self->opts.flags = WEIR_POOL_STRICT_NODE;
	ASSERT_EQ(-ENOMEM, OPEN());
	EXPECT_NE(NULL, strstr(self->err.message, "1 MiB needed, 0 MiB available on node 1"));
}

TEST_F(nodes, pages_that_lie_elsewhere_are_told_and_with_strict_of_no_use)
{
	struct weir_page_step step;

	self->m.kinds[WEIR_PAGE_1G].misplaced_percent[1] = 25;
	ASSERT_EQ(0, OPEN());
	EXPECT_REGIONS({WEIR_PAGE_1G, 1024, 0}, {WEIR_PAGE_1G, 1024, 1}, {WEIR_PAGE_1G, 1024, 2});
	EXPECT_STREQ("1 GiB pages: 1 of 1 MiB of node 1 lie on others", WHY());
	ASSERT_EQ(1u, weir_pool_nr_page_steps(self->pool));
	ASSERT_EQ(0, weir_pool_page_step(self->pool, 0, &step));
	EXPECT_EQ(step.kind, step.next_kind);
	EXPECT_EQ(1, step.node);
	EXPECT_EQ(CAPACITY / 100 * 25, step.bytes);
	weir_pool_close(self->pool);
	self->pool = NULL;
	self->opts.flags = WEIR_POOL_STRICT_NODE;
	ASSERT_EQ(0, OPEN());
	EXPECT_REGIONS({WEIR_PAGE_1G, 1024, 0}, {WEIR_PAGE_2M, 1024, 1}, {WEIR_PAGE_1G, 1024, 2});
	EXPECT_STREQ("no 1 GiB pages: 1 of 1 MiB of node 1 lie on others", WHY());
	weir_pool_close(self->pool);
	self->pool = NULL;
	/* Where it cannot be told, that is said. */
	self->m.kinds[WEIR_PAGE_1G].misplaced_rc = -EPERM;
	ASSERT_EQ(0, OPEN());
	EXPECT_EQ(WEIR_PAGE_1G, KIND());
	EXPECT_NE(NULL, strstr(WHY(), "node 2: where the pages lie cannot be told: "));
}

TEST_F(nodes, a_machine_described_to_hwloc_gives_its_nodes_threads_and_distances)
{
	static const int expected[] = {2, 3, 0, 1};
	struct weir_pool_region region;
	struct weir_span span[4];
	size_t i;

	ASSERT_EQ(0, fake_machine_init_topo(&self->m, "pack:2 node:2 core:3 pu:1"));
	self->m.kinds[WEIR_PAGE_1G].commit_delay_us = 200;
	self->m.current_node = 2;
	self->opts.capacity_bytes = 4 * CAPACITY;
	ASSERT_EQ(0, OPEN());
	ASSERT_EQ(4u, weir_pool_nr_regions(self->pool));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, weir_pool_region(self->pool, i, &region));
		EXPECT_EQ((int)i, fake_kind_node_of(&self->m.kinds[WEIR_PAGE_1G], region.base));
		EXPECT_LT(0u, atomic_load(&self->m.run_on[i]));
		EXPECT_GE(3u, atomic_load(&self->m.run_on[i]));
	}
	/* The other node of the package before those of the other one. */
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, weir_pool_alloc(self->pool, CAPACITY, WEIR_NODE_ANY, &span[i]));
		EXPECT_EQ(expected[i], span[i].node);
	}
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, weir_pool_free(self->pool, span[i]));
}

TEST_F(nodes, a_given_node_is_never_replaced)
{
	struct weir_span a, b;

	ASSERT_EQ(0, OPEN());
	ASSERT_EQ(0, weir_pool_alloc(self->pool, CAPACITY, 1, &a));
	EXPECT_EQ(1, a.node);
	EXPECT_EQ(-ENOSPC, weir_pool_alloc(self->pool, 1, 1, &b));
	EXPECT_EQ(-ENODEV, weir_pool_alloc(self->pool, 1, 3, &b));
	EXPECT_EQ(-ENODEV, weir_pool_alloc(self->pool, 1, 1000, &b));
	EXPECT_EQ(-ENODEV, weir_pool_alloc(self->pool, 1, -2, &b));
	EXPECT_EQ(0, weir_pool_free(self->pool, a));
}

TEST_F(nodes, any_node_means_the_callers_then_the_nearest)
{
	static const int expected[] = {1, 2, 0};
	struct weir_span span[3], more;
	size_t i;

	self->m.distance[1][0] = 40;
	self->m.distance[1][2] = 15;
	self->m.current_node = 1;
	ASSERT_EQ(0, OPEN());
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, weir_pool_alloc(self->pool, CAPACITY, WEIR_NODE_ANY, &span[i]));
		EXPECT_EQ(expected[i], span[i].node);
	}
	EXPECT_EQ(-ENOSPC, weir_pool_alloc(self->pool, 1, WEIR_NODE_ANY, &more));
	EXPECT_EQ(-EINVAL, weir_pool_alloc(self->pool, CAPACITY + 1, WEIR_NODE_ANY, &more));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, weir_pool_free(self->pool, span[i]));
}

TEST_F(nodes, a_machine_without_nodes_has_one_arena_and_says_minus_one)
{
	struct weir_span span;

	self->m.nodes = 0;
	ASSERT_EQ(0, OPEN());
	ASSERT_EQ(1u, weir_pool_nr_regions(self->pool));
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 5000, WEIR_NODE_ANY, &span));
	EXPECT_EQ(-1, span.node);
	EXPECT_EQ(0, weir_pool_free(self->pool, span));
	EXPECT_EQ(0, self->m.kinds[WEIR_PAGE_1G].nr_bound);
}

TEST_F(nodes, a_page_missing_on_one_steps_only_that_one_down)
{
	static const int expected[] = {WEIR_PAGE_1G, WEIR_PAGE_1G, WEIR_PAGE_2M};
	struct weir_pool_region region;
	size_t i;

	self->m.kinds[WEIR_PAGE_1G].commit_rc = -ENOMEM;
	self->m.kinds[WEIR_PAGE_1G].commit_fail_node = 2;
	ASSERT_EQ(0, OPEN());
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, weir_pool_region(self->pool, i, &region));
		EXPECT_EQ((uint32_t)expected[i], region.page_kind);
	}
	EXPECT_STREQ("no 1 GiB pages: 1 MiB could not be touched: "
		     "the system gives no memory, or none that may be locked",
		     WHY());
}

TEST_HARNESS_MAIN
