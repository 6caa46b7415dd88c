/* SPDX-License-Identifier: MIT */
/*
 * pool/compact_plan.h - What to empty and where to put it, for one zone.
 *
 * A window is an aligned range of the size that shall become free. The windows that hold
 * something and have room stand in one line:
 *
 *   [ can be emptied: least in use ... most in use | cannot: least ... most in use ]
 *     victims, from this end ->                 <- places, from this end
 *
 * A victim's blocks go to places that stand behind it. So no window is first filled and
 * then emptied, and no block moves twice; what is moved is the least that empties as many.
 *
 * The plan is made without stopping anybody, from words and bits that change meanwhile. It
 * is only advice: each step that follows it checks for itself.
 */
#ifndef WR_POOL_COMPACT_PLAN_H
#define WR_POOL_COMPACT_PLAN_H

#include "pool/handle.h"

struct wr_compact_plan {
	struct wr_handles *hs;
	const struct wr_handle_range *range;
	uint64_t window_blocks;
	size_t nr_windows; /* the last one may be cut off: a place, never a victim */
	uint32_t *used;	   /* blocks in use, of each window */
	/*
	 * First the blocks in use that can be moved; once the line stands, the fewest blocks
	 * that did not fit there.
	 */
	uint32_t *movable;
	uint64_t *line;	   /* sort keys; see wr_plan_window() */
	size_t nr_line;	   /* windows in the line */
	size_t nr_victims; /* of these, the first that can be emptied */
	uint64_t *picks;   /* window << 32 | slot, sorted: the blocks of the first victims */
	size_t nr_picks;
	size_t max_picks;	 /* room in @picks */
	size_t largest_pick;	 /* most blocks of one window in @picks */
	uint64_t nr_free;	 /* windows wholly free */
	uint64_t nr_pinned;	 /* blocks in the way because of a pin */
	uint64_t nr_too_long;	 /* and because a copy takes too long */
	uint64_t longest_blocks; /* blocks above this size stay */
};

/*
 * Look at a zone and put its windows in line. @max_blocks: larger blocks stay where they
 * are. 0, -ENOMEM; wr_plan_fini() in both cases.
 */
int wr_plan_init(struct wr_compact_plan *plan, struct wr_handles *hs,
		 const struct wr_handle_range *range, uint64_t window_blocks, uint64_t max_blocks);
void wr_plan_fini(struct wr_compact_plan *plan);

/* Find the blocks of the first @nr_victims in line. 0, -ENOMEM. */
int wr_plan_pick(struct wr_compact_plan *plan, size_t nr_victims);

/* The picks of a window: the first, and how many. */
size_t wr_plan_picks_of(const struct wr_compact_plan *plan, uint32_t window, size_t *ret_first);

/* Whether the first in line would fit into the room behind it, sizes of blocks aside. */
bool wr_plan_has_gain(const struct wr_compact_plan *plan);

/* Blocks in use in the @nr emptiest windows that could be emptied, as it was planned. */
uint64_t wr_plan_bound(const struct wr_compact_plan *plan, uint64_t nr);

/* Wholly free windows of a zone, now; *@ret_used: blocks in use in all of it. */
uint64_t wr_plan_count_free(const struct wr_handle_range *range, uint64_t window_blocks,
			    uint64_t *ret_used);

static inline uint32_t wr_plan_window(const struct wr_compact_plan *plan, size_t place)
{
	return (uint32_t)plan->line[place];
}

/* The blocks [*ret_lo, *ret_hi) of a window. */
static inline void wr_plan_bounds(const struct wr_compact_plan *plan, uint32_t window,
				  uint64_t *ret_lo, uint64_t *ret_hi)
{
	*ret_lo = window * plan->window_blocks;
	*ret_hi = wr_min(*ret_lo + plan->window_blocks, plan->range->nr_blocks);
}

#endif /* WR_POOL_COMPACT_PLAN_H */
