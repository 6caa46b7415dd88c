/* SPDX-License-Identifier: MIT */
/*
 * Planning: count the blocks in use from the bits, those that can move from the handles,
 * and sort.
 *
 * There is no list of the handles in a window, and none is kept: two passes over the slots
 * find them, 8 bytes each and in order, which costs less than the copies that follow and
 * nothing at all while nobody compacts.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "pool/compact_plan.h"

/* The zone's lock is held while so many blocks' bits are counted: some 5 us. */
#define BLOCKS_AT_ONCE (256u * WR_BUDDY_CHUNK_BLOCKS)

/* In a sort key: a window that cannot be emptied stands behind all that can. */
#define CANNOT_BIT 63u
#define USED_SHIFT 32u

static size_t windows_at_once(uint64_t window_blocks)
{
	return window_blocks < BLOCKS_AT_ONCE ? (size_t)(BLOCKS_AT_ONCE / window_blocks) : 1;
}

static uint64_t size_of_window(const struct wr_compact_plan *plan, uint32_t window)
{
	uint64_t lo, hi;

	wr_plan_bounds(plan, window, &lo, &hi);
	return hi - lo;
}

static void count_used(struct wr_compact_plan *plan)
{
	size_t step = windows_at_once(plan->window_blocks);
	size_t i, nr;

	for (i = 0; i < plan->nr_windows; i += nr) {
		nr = wr_min(step, plan->nr_windows - i);
		wr_zone_count_used(plan->range->zone, i * plan->window_blocks, plan->window_blocks,
				   nr, plan->used + i);
	}
}

uint64_t wr_plan_count_free(const struct wr_handle_range *range, uint64_t window_blocks,
			    uint64_t *ret_used)
{
	/* With the last one, which may be cut off and then is not counted as free. */
	size_t nr_windows = (size_t)((range->nr_blocks + window_blocks - 1) / window_blocks);
	uint64_t nr_free = 0, sum = 0;
	uint32_t used[64];
	size_t i, k, nr;

	for (i = 0; i < nr_windows; i += nr) {
		nr = wr_min(windows_at_once(window_blocks), nr_windows - i);
		nr = wr_min(nr, wr_array_size(used));
		wr_zone_count_used(range->zone, i * window_blocks, window_blocks, nr, used);
		for (k = 0; k < nr; k++) {
			sum += used[k];
			nr_free += used[k] == 0 && (i + k + 1) * window_blocks <= range->nr_blocks;
		}
	}
	*ret_used = sum;
	return nr_free;
}

/* A block in the plan's zone, from its slot. False: free, elsewhere, or changing. */
static bool look_at_slot(const struct wr_compact_plan *plan, uint32_t index, uint64_t *ret_word,
			 uint64_t *ret_first, uint64_t *ret_nr)
{
	uint64_t word = wr_load_acquire(wr_handle_word_at(plan->hs, index)); /* H3: for nr */
	uint64_t first = wr_handle_location(plan->hs, word) - plan->range->first;
	uint64_t nr;

	if (wr_handle_state(word) != WR_HANDLE_LIVE || first >= plan->range->nr_blocks)
		return false;
	nr = wr_handle_nr_blocks(plan->range, first);
	if (nr == 0 || nr > plan->range->nr_blocks - first)
		return false;
	*ret_word = word;
	*ret_first = first;
	*ret_nr = nr;
	return true;
}

static bool can_move(const struct wr_compact_plan *plan, uint64_t word, uint64_t nr)
{
	return (word & WR_HANDLE_IS_MOVABLE) && wr_handle_pins(word) == 0 &&
	       nr <= plan->longest_blocks;
}

static void count_movable(struct wr_compact_plan *plan)
{
	uint32_t nr_slots = wr_load_acquire(&plan->hs->nr_slots); /* H2 */
	uint64_t word, first, nr, lo, hi;
	uint32_t i;
	size_t w;

	for (i = 0; i < nr_slots; i++) {
		if (!look_at_slot(plan, i, &word, &first, &nr))
			continue;
		if (!can_move(plan, word, nr)) {
			plan->nr_pinned += wr_handle_pins(word) != 0;
			plan->nr_too_long +=
				(word & WR_HANDLE_IS_MOVABLE) && nr > plan->longest_blocks;
			continue;
		}
		for (w = (size_t)(first / plan->window_blocks); nr > 0; w++) {
			wr_plan_bounds(plan, (uint32_t)w, &lo, &hi);
			hi = wr_min(hi, first + nr);
			plan->movable[w] += (uint32_t)(hi - first);
			nr -= hi - first;
			first = hi;
		}
	}
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void make_line(struct wr_compact_plan *plan)
{
	bool can;
	uint32_t i;

	for (i = 0; i < plan->nr_windows; i++) {
		plan->nr_free +=
			plan->used[i] == 0 && size_of_window(plan, i) == plan->window_blocks;
		if (plan->used[i] == 0 || plan->used[i] == size_of_window(plan, i))
			continue;
		can = plan->movable[i] >= plan->used[i] &&
		      size_of_window(plan, i) == plan->window_blocks;
		plan->nr_victims += can;
		plan->line[plan->nr_line++] =
			(uint64_t)!can << CANNOT_BIT | (uint64_t)plan->used[i] << USED_SHIFT | i;
	}
	qsort(plan->line, plan->nr_line, sizeof(*plan->line), compare_u64);
	/* From here on: nothing is known not to fit. */
	memset(plan->movable, 0xff, plan->nr_windows * sizeof(*plan->movable));
}

int wr_plan_init(struct wr_compact_plan *plan, struct wr_handles *hs,
		 const struct wr_handle_range *range, uint64_t window_blocks, uint64_t max_blocks)
{
	uint64_t nr = (range->nr_blocks + window_blocks - 1) / window_blocks;

	memset(plan, 0, sizeof(*plan));
	plan->hs = hs;
	plan->range = range;
	plan->window_blocks = window_blocks;
	plan->longest_blocks = max_blocks;
	plan->nr_windows = (size_t)nr;
	plan->used = wr_calloc(plan->nr_windows, sizeof(*plan->used));
	plan->movable = wr_calloc(plan->nr_windows, sizeof(*plan->movable));
	plan->line = wr_calloc(plan->nr_windows, sizeof(*plan->line));
	if (!plan->used || !plan->movable || !plan->line)
		return -ENOMEM;
	/* Bits first: a block allocated in between makes its window look movable, not free. */
	count_used(plan);
	count_movable(plan);
	make_line(plan);
	return 0;
}

void wr_plan_fini(struct wr_compact_plan *plan)
{
	wr_free(plan->used);
	wr_free(plan->movable);
	wr_free(plan->line);
	wr_free(plan->picks);
}

static int add_pick(struct wr_compact_plan *plan, uint32_t window, uint32_t slot)
{
	size_t max = plan->max_picks ? plan->max_picks * 2 : 1024;
	uint64_t *picks;

	if (plan->nr_picks == plan->max_picks) {
		picks = wr_reallocarray(plan->picks, max, sizeof(*picks));
		if (!picks)
			return -ENOMEM;
		plan->picks = picks;
		plan->max_picks = max;
	}
	plan->picks[plan->nr_picks++] = (uint64_t)window << 32 | slot;
	return 0;
}

static void find_largest_pick(struct wr_compact_plan *plan)
{
	size_t i, begin = 0;

	for (i = 1; i <= plan->nr_picks; i++) {
		if (i < plan->nr_picks && plan->picks[i] >> 32 == plan->picks[begin] >> 32)
			continue;
		plan->largest_pick = wr_max(plan->largest_pick, i - begin);
		begin = i;
	}
}

int wr_plan_pick(struct wr_compact_plan *plan, size_t nr_victims)
{
	uint32_t nr_slots = wr_load_acquire(&plan->hs->nr_slots); /* H2 */
	uint64_t word, first, nr, w;
	uint32_t i;
	int rc = 0;

	for (i = 0; i < nr_victims; i++)
		plan->movable[wr_plan_window(plan, i)] = 0;
	for (i = 0; i < nr_slots && rc == 0; i++) {
		if (!look_at_slot(plan, i, &word, &first, &nr) || !can_move(plan, word, nr))
			continue;
		for (w = first / plan->window_blocks;
		     w <= (first + nr - 1) / plan->window_blocks && rc == 0; w++)
			if (plan->movable[w] == 0)
				rc = add_pick(plan, (uint32_t)w, i);
	}
	for (i = 0; i < nr_victims; i++)
		plan->movable[wr_plan_window(plan, i)] = UINT32_MAX;
	if (rc != 0 || plan->nr_picks == 0)
		return rc;
	qsort(plan->picks, plan->nr_picks, sizeof(*plan->picks), compare_u64);
	find_largest_pick(plan);
	return 0;
}

size_t wr_plan_picks_of(const struct wr_compact_plan *plan, uint32_t window, size_t *ret_first)
{
	size_t lo = 0, hi = plan->nr_picks;
	size_t mid, nr;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if (plan->picks[mid] >> 32 < window)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (nr = 0; lo + nr < plan->nr_picks && plan->picks[lo + nr] >> 32 == window; nr++)
		;
	*ret_first = lo;
	return nr;
}

bool wr_plan_has_gain(const struct wr_compact_plan *plan)
{
	uint64_t room = 0;
	uint32_t w;
	size_t i;

	if (plan->nr_victims == 0)
		return false;
	for (i = 1; i < plan->nr_line; i++) {
		w = wr_plan_window(plan, i);
		room += size_of_window(plan, w) - plan->used[w];
	}
	return room >= plan->used[wr_plan_window(plan, 0)];
}

uint64_t wr_plan_bound(const struct wr_compact_plan *plan, uint64_t nr)
{
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < nr && i < plan->nr_victims; i++)
		sum += (plan->line[i] >> USED_SHIFT) & 0x7fffffff;
	return sum;
}
