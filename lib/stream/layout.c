/* SPDX-License-Identifier: MIT */
/* Which units stay in memory; see layout.h. */
#include "stream/layout.h"

#include <errno.h>
#include <stdlib.h>

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
	uint64_t sum = 0, min = UINT64_MAX, best_need = 2 * sorted[0].bytes;
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
		if (k < nr)
			sum += sorted[k].bytes;
	}
	*ret_min = min;
	return best;
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
		if (resident[sorted[k].index])
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
static void keep_spread(const uint64_t *bytes, uint32_t nr, bool *resident, uint64_t *room,
			struct wr_layout *layout)
{
	uint64_t all = 0;
	double share, earned = 0;

	for (uint32_t i = 0; i < nr; i++)
		all += resident[i] ? 0 : bytes[i];
	if (!all)
		return;
	share = (double)*room / (double)all;
	for (uint32_t i = 0; i < nr; i++) {
		if (resident[i])
			continue;
		earned += share * (double)bytes[i];
		if (earned * 2 < (double)bytes[i] || bytes[i] > *room)
			continue;
		earned -= (double)bytes[i];
		keep(resident, i, bytes[i], room, layout);
	}
}

int wr_layout_choose(const uint64_t *bytes, uint32_t nr, uint64_t budget, bool *resident,
		     struct wr_layout *ret)
{
	struct sized *sorted = wr_calloc(nr, sizeof(*sorted));
	uint64_t all = 0, room, min;
	uint32_t large;

	if (!sorted)
		return -ENOMEM;
	*ret = (struct wr_layout){0};
	for (uint32_t i = 0; i < nr; i++) {
		sorted[i] = (struct sized){.bytes = bytes[i], .index = i};
		resident[i] = false;
		all += bytes[i];
	}
	qsort(sorted, nr, sizeof(*sorted), larger_first);
	large = all <= budget ? nr : choose_large(sorted, nr, budget, &min);
	if (all <= budget)
		(void)choose_large(sorted, nr, budget, &min);
	ret->min_budget_bytes = min;
	if (budget < min) {
		wr_free(sorted);
		return -ENOSPC;
	}
	ret->slot_bytes = large < nr ? sorted[large].bytes : 0;
	room = budget - 2 * ret->slot_bytes;
	for (uint32_t k = 0; k < large; k++)
		keep(resident, sorted[k].index, sorted[k].bytes, &room, ret);
	keep_small(sorted, nr, resident, &room, ret);
	keep_spread(bytes, nr, resident, &room, ret);
	/* What is left over is filled with the largest units that fit. */
	for (uint32_t k = 0; k < nr; k++)
		if (!resident[sorted[k].index] && sorted[k].bytes <= room)
			keep(resident, sorted[k].index, sorted[k].bytes, &room, ret);
	wr_free(sorted);
	return 0;
}
