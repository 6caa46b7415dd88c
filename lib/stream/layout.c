/* SPDX-License-Identifier: MIT */
/* Which units stay in memory; see layout.h. */
#include "stream/layout.h"

#include <errno.h>
#include <stdlib.h>

#include <weir/stream.h>

#include "base/alloc.h"
#include "base/util.h"

/* Units up to this size stay, as long as all of them need at most this part of the room. */
#define SMALL_BYTES ((uint64_t)64 << 10)
#define SMALL_SHARE 8
/* Keep the largest units only for a gain of at least this part of the budget. */
#define LARGE_SHARE 64

struct sized {
	uint64_t bytes;
	uint32_t index;
	bool passes; /* it is not to stay */
};

static int larger_first(const void *pa, const void *pb)
{
	const struct sized *a = pa, *b = pb;

	if (a->bytes != b->bytes)
		return a->bytes < b->bytes ? 1 : -1;
	return a->index < b->index ? -1 : 1;
}

/*
 * How many of the largest units should stay because of their size. With the k largest in
 * memory the slots need only hold the next; the smallest budget is the least sum of both.
 */
static uint32_t choose_large(const struct sized *sorted, uint32_t nr, uint64_t budget,
			     uint64_t *ret_min)
{
	uint64_t sum = 0, min = UINT64_MAX, best_need = nr ? 2 * sorted[0].bytes : 0;
	uint32_t best = 0;

	for (uint32_t k = 0; k <= nr; k++) {
		uint64_t slot = k < nr ? sorted[k].bytes : 0;
		uint64_t need = sum + 2 * slot;

		min = wr_min(min, need);
		/* The gain is what the two slots become smaller by. */
		if (k && need <= budget && slot < sorted[best].bytes &&
		    (best_need > budget ||
		     2 * (sorted[best].bytes - slot) >= budget / LARGE_SHARE)) {
			best = k;
			best_need = need;
		}
		/* The slots hold at least one that passes through. */
		if (k < nr && sorted[k].passes)
			break;
		if (k < nr)
			sum += sorted[k].bytes;
	}
	*ret_min = min;
	return best;
}

static bool passes(const uint8_t *wishes, uint32_t index)
{
	return wishes && wishes[index] == WEIR_TENSOR_STREAM;
}

static void keep(bool *resident, uint32_t index, uint64_t bytes, uint64_t *room,
		 struct wr_layout *layout)
{
	resident[index] = true;
	*room -= bytes;
	layout->resident_bytes += bytes;
	layout->nr_resident++;
}

static void keep_small(const struct sized *sorted, uint32_t nr, bool *resident, uint64_t *room,
		       struct wr_layout *layout)
{
	uint64_t limit = *room / SMALL_SHARE;

	for (uint32_t k = nr; k-- && sorted[k].bytes <= SMALL_BYTES;) {
		if (resident[sorted[k].index] || sorted[k].passes)
			continue;
		if (sorted[k].bytes > limit)
			return;
		limit -= sorted[k].bytes;
		keep(resident, sorted[k].index, sorted[k].bytes, room, layout);
	}
}

/*
 * Spread what room there is over the order in proportion to the bytes: each unit earns its
 * share of the room, and stays when the shares collected since the last one pay for it.
 */
static void keep_spread(const uint64_t *bytes, const uint8_t *wishes, uint32_t nr, bool *resident,
			uint64_t *room, struct wr_layout *layout)
{
	uint64_t all = 0;
	double share, earned = 0;

	for (uint32_t i = 0; i < nr; i++)
		all += resident[i] || passes(wishes, i) ? 0 : bytes[i];
	if (!all)
		return;
	share = (double)*room / (double)all;
	for (uint32_t i = 0; i < nr; i++) {
		if (resident[i] || passes(wishes, i))
			continue;
		earned += share * (double)bytes[i];
		if (earned * 2 < (double)bytes[i] || bytes[i] > *room)
			continue;
		earned -= (double)bytes[i];
		keep(resident, i, bytes[i], room, layout);
	}
}

/* All that is not pinned, the largest first; what is pinned stays. Their number. */
static uint32_t sort_out(const uint64_t *bytes, const uint8_t *wishes, uint32_t nr,
			 struct sized *sorted, bool *resident, struct wr_layout *layout)
{
	uint32_t nr_sorted = 0;

	for (uint32_t i = 0; i < nr; i++) {
		resident[i] = wishes && wishes[i] == WEIR_TENSOR_PIN;
		layout->resident_bytes += resident[i] ? bytes[i] : 0;
		layout->nr_resident += resident[i];
		if (!resident[i])
			sorted[nr_sorted++] = (struct sized){
				.bytes = bytes[i], .index = i, .passes = passes(wishes, i)};
	}
	qsort(sorted, nr_sorted, sizeof(*sorted), larger_first);
	return nr_sorted;
}

/* Their number, if all of them may stay and fit; else 0. */
static uint32_t all_that_stay(const struct sized *sorted, uint32_t nr, uint64_t budget)
{
	uint64_t all = 0;

	for (uint32_t k = 0; k < nr; k++) {
		all += sorted[k].bytes;
		if (sorted[k].passes)
			return 0;
	}
	return all <= budget ? nr : 0;
}

int wr_layout_choose(const uint64_t *bytes, const uint8_t *wishes, uint32_t nr, uint64_t budget,
		     bool *resident, struct wr_layout *ret)
{
	struct sized *sorted = wr_calloc(nr, sizeof(*sorted));
	uint64_t pinned, room, min;
	uint32_t large, nr_sorted;

	if (!sorted)
		return -ENOMEM;
	*ret = (struct wr_layout){0};
	nr_sorted = sort_out(bytes, wishes, nr, sorted, resident, ret);
	pinned = ret->resident_bytes;
	room = budget - wr_min(pinned, budget);
	large = choose_large(sorted, nr_sorted, room, &min);
	if (all_that_stay(sorted, nr_sorted, room))
		large = nr_sorted;
	ret->min_budget_bytes = pinned + min;
	if (budget < ret->min_budget_bytes) {
		wr_free(sorted);
		return -ENOSPC;
	}
	ret->slot_bytes = large < nr_sorted ? sorted[large].bytes : 0;
	room -= 2 * ret->slot_bytes;
	for (uint32_t k = 0; k < large; k++)
		keep(resident, sorted[k].index, sorted[k].bytes, &room, ret);
	keep_small(sorted, nr_sorted, resident, &room, ret);
	keep_spread(bytes, wishes, nr, resident, &room, ret);
	/* What is left over is filled with the largest units that fit. */
	for (uint32_t k = 0; k < nr_sorted; k++)
		if (!resident[sorted[k].index] && !sorted[k].passes && sorted[k].bytes <= room)
			keep(resident, sorted[k].index, sorted[k].bytes, &room, ret);
	wr_free(sorted);
	return 0;
}
