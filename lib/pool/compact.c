/* SPDX-License-Identifier: MIT */
/*
 * Compaction: follow the plan (compact_plan.h), window by window, block by block.
 *
 * A window is begun only when each of its blocks has been given a place, because half an
 * emptied window is worth nothing. Then each block, small ones a few at a time: out of LIVE
 * with no pins, copy, publish, free. What fails at any step because somebody pins, frees or allocates is
 * left as it is; nothing is ever waited for. While a window is worked on, its places are in
 * use twice, so up to a window's blocks are missing from the free ones for that time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "pool/compact.h"
#include "pool/compact_plan.h"
#include "pool/debug.h"
#include "pool/magazine.h"
#include "pool/pause.h"

/* So many windows in a row that do not fit anywhere, and the rest will not either. */
#define MAX_FAILURES 16u
/* More victims than wanted are looked up, for those that fail. */
#define SPARE_VICTIMS 64u
/* Places looked at for one block. */
#define MAX_PLACES 4096u
/*
 * Blocks and bytes in a group: what is added to the pause of a block, 2 us at 16 GB/s, is
 * little beside what going to sleep and waking up would take.
 */
#define GROUP_MOVES 8u
#define GROUP_BYTES 32768u
/* Until copies were measured: 4 GB/s. */
#define GUESS_NS_PER_MIB  250000u
#define MAX_WINDOW_BLOCKS (1ull << 30)

_Static_assert(sizeof(struct weir_compact_opts) == 48 || sizeof(void *) != 8,
	       "a field was added to the options: copy and check it here");

/* A block that is to move, and where to. */
struct move {
	_Atomic uint64_t *slot;
	uint64_t word;	/* as it was when the place was taken */
	uint32_t place; /* window */
	uint64_t block; /* first, within the zone */
	uint64_t nr_blocks;
	bool has_twin;
};

struct run {
	struct wr_handles *hs;
	const struct weir_compact_opts *opts;
	const _Atomic bool *stop;
	struct weir_compact_report *report;
	struct wr_compact_plan *plan;
	/* Of one window: the blocks, and beside each its two places. */
	struct move *moves;
	struct wr_zone_pair *pairs;
	size_t nr_moves;
	uint64_t group_bytes;
	struct wr_zone_run left[WR_ZONE_PAIRS]; /* to be given back: nobody's content any more */
	size_t nr_left;
	size_t tail;	   /* places behind it in the line are full */
	uint64_t nr_begun; /* windows of this zone emptied */
	struct wr_pauses pauses;
};

static bool is_stopped(const struct run *run)
{
	return run->stop && wr_load_relaxed(run->stop);
}

/* ---- one block --------------------------------------------------------------------- */

static uint64_t rate_of(const struct wr_handles *hs)
{
	uint64_t rate = wr_load_relaxed(&hs->copy_ns_per_mib);

	return rate ? rate : GUESS_NS_PER_MIB;
}

static void note_copies(struct run *run, uint64_t nr, uint64_t bytes, uint64_t ns)
{
	struct wr_handle_counters *c = &run->hs->count;
	struct weir_compact_report *r = run->report;
	uint64_t rate = rate_of(run->hs);
	uint64_t now = (ns << 20) / bytes;

	/*
	 * Only one compaction runs, so nobody else writes these. A copy during which this
	 * thread was not running says little about the next.
	 */
	now = wr_min(now, 4 * rate);
	wr_store_relaxed(&run->hs->copy_ns_per_mib, rate - rate / 16 + now / 16);
	wr_add_own(&c->nr_moves, nr);
	wr_add_own(&c->moved_bytes, bytes);
	if (ns > wr_load_relaxed(&c->longest_pause_ns))
		wr_store_relaxed(&c->longest_pause_ns, ns);
	r->nr_moves += nr;
	r->moved_bytes += bytes;
	r->copy_ns += ns;
	wr_pauses_add(&run->pauses, nr, ns);
}

/* The block of the move is ours until it is published. 0; -ESTALE: freed meanwhile; -EBUSY: pinned. */
static int begin_move(struct run *run, struct move *m)
{
	uint64_t word = m->word;

	/* (C): the acquire pairs with the release of each unpin. */
	if (wr_cas_acq_rel(m->slot, &word, wr_handle_with_state(word, WR_HANDLE_MOVING)))
		return 0;
	return wr_handle_generation(run->hs, word) == wr_handle_generation(run->hs, m->word) &&
			       wr_handle_pins(word) > 0
		       ? -EBUSY
		       : -ESTALE;
}

static void give_left(struct run *run)
{
	if (run->nr_left > 0)
		wr_zone_drop(run->plan->range->zone, run->left, run->nr_left);
	run->nr_left = 0;
}

/* Soon, with others. */
static void leave(struct run *run, uint64_t block, uint64_t nr)
{
	if (run->nr_left == WR_ZONE_PAIRS)
		give_left(run);
	run->left[run->nr_left++] = (struct wr_zone_run){.block = block, .nr = nr};
}

/* Blocks that are copied one after the other and published together. */
struct group {
	size_t nr;
	size_t at[GROUP_MOVES]; /* which moves */
	uint64_t bytes;
};

/*
 * Make the next blocks from move @i on ours, as many as make a group. Where the next group
 * begins. *@ret_code: -EBUSY when one is pinned, which then is the last that was looked at.
 */
static size_t begin_group(struct run *run, size_t i, struct group *g, int *ret_code)
{
	struct move *m;
	uint64_t bytes;
	int rc;

	g->nr = 0;
	g->bytes = 0;
	for (; i < run->nr_moves && g->nr < GROUP_MOVES && *ret_code == 0; i++) {
		m = &run->moves[i];
		bytes = m->nr_blocks << run->hs->block_shift;
		if (!m->has_twin)
			continue;
		if (g->nr > 0 && g->bytes + bytes > run->group_bytes)
			break;
		m->has_twin = false;
		rc = begin_move(run, m);
		if (rc == 0) {
			g->at[g->nr++] = i;
			g->bytes += bytes;
			continue;
		}
		leave(run, run->pairs[i].twin, run->pairs[i].nr);
		run->plan->used[m->place] -= (uint32_t)m->nr_blocks;
		*ret_code = rc == -EBUSY ? rc : 0;
	}
	return i;
}

static void copy_move(const struct run *run, const struct wr_zone_pair *pair)
{
	const struct wr_handle_range *range = run->plan->range;
	unsigned shift = run->hs->block_shift;

	if (run->hs->pool->debug)
		wr_debug_move_run(run->hs->pool, range->zone, pair->old, pair->twin, pair->nr);
	else
		memcpy(range->base + (pair->twin << shift), range->base + (pair->old << shift),
		       (size_t)(pair->nr << shift));
	wr_handle_set_end(range, pair->twin, pair->nr);
}

/*
 * One group. Publishing waits until the processor has written the copy to its cache; for
 * blocks of a few pages that takes as long as the copy, so it is done once for several.
 */
static size_t move_group(struct run *run, size_t i, int *ret_code)
{
	const struct wr_handle_range *range = run->plan->range;
	const struct wr_zone_pair *pair;
	const struct move *m;
	uint64_t start;
	struct group g;
	size_t k;

	if (run->nr_left + GROUP_MOVES > WR_ZONE_PAIRS)
		give_left(run);
	start = wr_now_ns();
	i = begin_group(run, i, &g, ret_code);
	if (g.nr == 0)
		return i;
	for (k = 0; k < g.nr; k++)
		copy_move(run, &run->pairs[g.at[k]]);
	for (k = 0; k < g.nr; k++) {
		m = &run->moves[g.at[k]];
		wr_handle_publish(m->slot,
				  wr_handle_with_location(run->hs, m->word,
							  range->first + run->pairs[g.at[k]].twin));
	}
	wr_handle_wake(run->hs);
	note_copies(run, g.nr, g.bytes, wr_now_ns() - start);
	for (k = 0; k < g.nr; k++) {
		pair = &run->pairs[g.at[k]];
		wr_handle_clear_end(range, pair->old, pair->nr);
		leave(run, pair->old, pair->nr);
	}
	return i;
}

/* ---- one window -------------------------------------------------------------------- */

static int compare_moves(const void *a, const void *b)
{
	const struct move *x = a;
	const struct move *y = b;

	if (x->nr_blocks != y->nr_blocks)
		return x->nr_blocks < y->nr_blocks ? 1 : -1;
	return (x->block > y->block) - (x->block < y->block);
}

/*
 * The blocks that are in the window now. 0, -EBUSY: not all of them can be moved, or there
 * are others.
 */
static int gather(struct run *run, uint32_t window, uint64_t *ret_bytes)
{
	const struct wr_compact_plan *plan = run->plan;
	uint64_t lo, hi, first, in_window = 0;
	size_t i, begin, nr;
	struct move *m;
	bool is_mixed = false;

	wr_plan_bounds(plan, window, &lo, &hi);
	nr = wr_plan_picks_of(plan, window, &begin);
	run->nr_moves = 0;
	*ret_bytes = 0;
	for (i = begin; i < begin + nr; i++) {
		m = &run->moves[run->nr_moves];
		memset(m, 0, sizeof(*m));
		m->slot = wr_handle_word_at(run->hs, (uint32_t)plan->picks[i]);
		m->word = wr_load_acquire(m->slot); /* H3 */
		first = wr_handle_location(run->hs, m->word) - plan->range->first;
		if (wr_handle_state(m->word) != WR_HANDLE_LIVE || first >= hi)
			continue; /* freed, or moved with the window before */
		m->block = first;
		m->nr_blocks = wr_handle_nr_blocks(plan->range, first);
		if (m->nr_blocks == 0 || first + m->nr_blocks <= lo)
			continue;
		if (!(m->word & WR_HANDLE_IS_MOVABLE))
			return -EBUSY;
		if (wr_handle_pins(m->word) > 0) {
			run->report->nr_pinned++;
			return -EBUSY;
		}
		is_mixed |= m->nr_blocks != run->moves[0].nr_blocks;
		in_window += wr_min(first + m->nr_blocks, hi) - wr_max(first, lo);
		*ret_bytes += m->nr_blocks << run->hs->block_shift;
		run->nr_moves++;
	}
	wr_zone_count_used(plan->range->zone, lo, hi - lo, 1, &plan->used[window]);
	if (in_window < plan->used[window])
		return -EBUSY;
	/* Large ones find room first. One size, as in a pool of one kind, is in order. */
	if (is_mixed)
		qsort(run->moves, run->nr_moves, sizeof(*run->moves), compare_moves);
	for (i = 0; i < run->nr_moves; i++) {
		run->pairs[i].old = run->moves[i].block;
		run->pairs[i].nr = run->moves[i].nr_blocks;
	}
	return 0;
}

/*
 * Ask one window for places, from move @i on, as many as have the same size. How many have
 * places now.
 */
static size_t ask_window(struct run *run, size_t i, uint32_t window)
{
	struct wr_compact_plan *plan = run->plan;
	uint64_t nr_blocks = run->moves[i].nr_blocks;
	uint64_t lo, hi;
	size_t nr = 1, k;

	wr_plan_bounds(plan, window, &lo, &hi);
	while (i + nr < run->nr_moves && run->moves[i + nr].nr_blocks == nr_blocks &&
	       (nr + 1) * nr_blocks <= hi - lo - plan->used[window])
		nr++;
	nr = wr_zone_twins(plan->range->zone, &run->pairs[i], nr, lo, hi);
	if (nr == 0)
		plan->movable[window] = (uint32_t)nr_blocks;
	for (k = i; k < i + nr; k++) {
		plan->used[window] += (uint32_t)nr_blocks;
		run->moves[k].place = window;
		run->moves[k].has_twin = true;
	}
	return nr;
}

/* Places behind the victim for move @i and some after it. How many; 0: there is none. */
static size_t find_places_from(struct run *run, size_t victim, size_t i)
{
	struct wr_compact_plan *plan = run->plan;
	uint64_t nr_blocks = run->moves[i].nr_blocks;
	unsigned nr_looks = 0;
	uint64_t lo, hi;
	size_t at, nr;
	uint32_t w;

	for (at = run->tail; at > victim && nr_looks < MAX_PLACES; at--, nr_looks++) {
		w = wr_plan_window(plan, at);
		wr_plan_bounds(plan, w, &lo, &hi);
		if (plan->used[w] >= hi - lo) {
			run->tail -= at == run->tail;
			continue;
		}
		if (hi - lo - plan->used[w] < nr_blocks || nr_blocks >= plan->movable[w])
			continue;
		nr = ask_window(run, i, w);
		if (nr > 0)
			return nr;
	}
	return 0;
}

static void drop_twins(struct run *run)
{
	struct move *m;
	size_t i;

	for (i = 0; i < run->nr_moves; i++) {
		m = &run->moves[i];
		if (!m->has_twin)
			continue;
		m->has_twin = false;
		leave(run, run->pairs[i].twin, run->pairs[i].nr);
		run->plan->used[m->place] -= (uint32_t)m->nr_blocks;
	}
	give_left(run);
}

static int find_places(struct run *run, size_t victim)
{
	size_t i, nr;

	for (i = 0; i < run->nr_moves; i += nr) {
		nr = find_places_from(run, victim, i);
		if (nr == 0) {
			drop_twins(run);
			return -ENOSPC;
		}
	}
	return 0;
}

/* All blocks have places. -ECANCELED: told to stop. */
static int move_window(struct run *run, uint32_t window)
{
	struct wr_compact_plan *plan = run->plan;
	uint64_t before = run->report->moved_bytes;
	uint64_t lo, hi;
	uint32_t used = 0;
	size_t i = 0;
	int rc = 0;

	while (i < run->nr_moves && rc == 0) {
		if (is_stopped(run))
			rc = -ECANCELED;
		else
			i = move_group(run, i, &rc);
	}
	run->report->nr_pinned += rc == -EBUSY;
	if (rc != 0)
		drop_twins(run);
	give_left(run);
	wr_plan_bounds(plan, window, &lo, &hi);
	wr_zone_count_used(plan->range->zone, lo, hi - lo, 1, &used);
	if (used == 0) {
		run->report->nr_emptied++;
		run->nr_begun++;
	} else {
		run->report->wasted_bytes += run->report->moved_bytes - before;
	}
	return rc == -ECANCELED ? rc : 0;
}

/* ---- one zone ---------------------------------------------------------------------- */

static bool is_reached(const struct run *run)
{
	return run->report->nr_free_before + run->report->nr_emptied >= run->opts->nr_wanted;
}

/* Empty one window. Sets *ret_reason when it is the last one. */
static bool empty_window(struct run *run, size_t victim, unsigned *failures, uint32_t *ret_reason)
{
	uint32_t window = wr_plan_window(run->plan, victim);
	uint64_t bytes;
	int rc;

	if (gather(run, window, &bytes) != 0)
		return true;
	if (bytes > run->opts->max_bytes - run->report->moved_bytes) {
		*ret_reason = WEIR_COMPACT_LIMIT;
		return false;
	}
	if (find_places(run, victim) != 0) {
		wr_pool_room_made(run->hs->pool); /* what was held for a moment */
		*ret_reason = WEIR_COMPACT_NO_ROOM;
		return ++*failures < MAX_FAILURES;
	}
	*failures = 0;
	*ret_reason = WEIR_COMPACT_NO_GAIN;
	rc = move_window(run, window);
	/* Somebody may wait for just this. */
	wr_pool_room_made(run->hs->pool);
	if (rc == 0)
		return true;
	*ret_reason = WEIR_COMPACT_STOPPED;
	return false;
}

static uint32_t empty_windows(struct run *run, size_t nr_victims)
{
	uint32_t reason = WEIR_COMPACT_NO_GAIN;
	unsigned failures = 0;
	size_t victim;

	run->tail = run->plan->nr_line - 1;
	for (victim = 0; victim < nr_victims; victim++) {
		if (is_stopped(run))
			return WEIR_COMPACT_STOPPED;
		if (victim >= run->tail)
			return WEIR_COMPACT_NO_ROOM;
		if (!empty_window(run, victim, &failures, &reason))
			return reason;
		if (is_reached(run))
			return WEIR_COMPACT_REACHED;
	}
	return reason;
}

/* The largest block whose copy is likely to end in time. */
static uint64_t longest_blocks(const struct wr_handles *hs, uint64_t max_pause_ns)
{
	uint64_t kib;

	if (max_pause_ns == 0)
		return UINT64_MAX;
	kib = wr_min(max_pause_ns, UINT64_MAX >> 10) * 1024 / rate_of(hs);
	return wr_min(kib, UINT64_MAX >> 10) * 1024 >> hs->block_shift;
}

/* Nothing was copied because it looked too slow: try a little more the next time. */
static void doubt_rate(struct wr_handles *hs)
{
	wr_store_relaxed(&hs->copy_ns_per_mib, wr_max(rate_of(hs) / 8 * 7, GUESS_NS_PER_MIB / 16));
}

static uint64_t window_of(const struct wr_handles *hs, uint64_t target_bytes)
{
	return target_bytes >> hs->block_shift;
}

static int compact_zone(struct run *run, const struct wr_handle_range *range, uint32_t *ret_reason)
{
	uint64_t wanted =
		run->opts->nr_wanted - run->report->nr_free_before - run->report->nr_emptied;
	struct wr_compact_plan plan;
	int rc;

	rc = wr_plan_init(&plan, run->hs, range, window_of(run->hs, run->opts->target_bytes),
			  longest_blocks(run->hs, run->opts->max_pause_ns));
	if (rc != 0)
		goto fini;
	*ret_reason = WEIR_COMPACT_NO_GAIN;
	run->report->nr_pinned += plan.nr_pinned;
	run->report->nr_too_long += plan.nr_too_long;
	wanted = wr_min(wanted, (uint64_t)plan.nr_victims) + SPARE_VICTIMS;
	wanted = wr_min(wanted, (uint64_t)plan.nr_victims);
	if (wanted == 0)
		goto fini;
	rc = wr_plan_pick(&plan, (size_t)wanted);
	if (rc != 0)
		goto fini;
	run->moves = wr_calloc(wr_max(plan.largest_pick, (size_t)1), sizeof(*run->moves));
	run->pairs = wr_calloc(wr_max(plan.largest_pick, (size_t)1), sizeof(*run->pairs));
	if (!run->moves || !run->pairs) {
		rc = -ENOMEM;
		goto free_moves;
	}
	/* cppcheck-suppress autoVariables ; taken back before this returns */
	run->plan = &plan;
	run->nr_begun = 0;
	run->group_bytes = GROUP_BYTES;
	if (plan.longest_blocks < GROUP_BYTES >> run->hs->block_shift)
		run->group_bytes = plan.longest_blocks << run->hs->block_shift;
	*ret_reason = empty_windows(run, (size_t)wanted);
	run->report->bound_bytes += wr_plan_bound(&plan, run->nr_begun) << run->hs->block_shift;
	run->plan = NULL;
free_moves:
	wr_free(run->moves);
	wr_free(run->pairs);
	run->moves = NULL;
	run->pairs = NULL;
fini:
	wr_plan_fini(&plan);
	return rc;
}

/* ---- a pool ------------------------------------------------------------------------ */

static bool is_asked(const struct weir_compact_opts *o, const struct wr_handle_range *range)
{
	int node = range->zone->node;

	return o->node_mask == 0 || (node >= 0 && (o->node_mask >> node & 1));
}

static uint64_t count_free(struct wr_handles *hs, const struct weir_compact_opts *o)
{
	uint64_t nr = 0;
	uint64_t used;
	size_t i;

	for (i = 0; i < hs->nr_ranges; i++)
		if (is_asked(o, &hs->ranges[i]))
			nr += wr_plan_count_free(&hs->ranges[i], window_of(hs, o->target_bytes),
						 &used);
	return nr;
}

/* Of two zones' reasons, the one that says more about the whole. */
static uint32_t worse(uint32_t a, uint32_t b)
{
	static const uint8_t weight[WEIR_COMPACT_REASONS] = {
		[WEIR_COMPACT_NO_GAIN] = 1,
		[WEIR_COMPACT_NO_ROOM] = 2,
		[WEIR_COMPACT_LIMIT] = 3,
		[WEIR_COMPACT_STOPPED] = 4,
	};

	return weight[a] > weight[b] ? a : b;
}

static int compact_zones(struct run *run)
{
	struct weir_compact_report *r = run->report;
	uint32_t reason;
	size_t i;
	int rc;

	r->reason = WEIR_COMPACT_NO_GAIN;
	for (i = 0; i < run->hs->nr_ranges; i++) {
		if (!is_asked(run->opts, &run->hs->ranges[i]))
			continue;
		rc = compact_zone(run, &run->hs->ranges[i], &reason);
		if (rc != 0 && r->nr_moves == 0)
			return rc;
		if (rc != 0)
			continue; /* what was moved before is worth a report */
		r->reason = worse(r->reason, reason);
		if (reason == WEIR_COMPACT_REACHED)
			r->reason = reason;
		if (reason == WEIR_COMPACT_REACHED || reason >= WEIR_COMPACT_LIMIT)
			break;
	}
	return 0;
}

int wr_compact_run(struct wr_handles *hs, const struct weir_compact_opts *o,
		   const _Atomic bool *stop, struct weir_compact_report *ret)
{
	struct weir_compact_report report = {0};
	struct run run = {.hs = hs, .opts = o, .stop = stop, .report = &report};
	uint64_t start = wr_now_ns();
	int rc = 0;

	/* H4: pairs with the store below; what only one compaction writes goes from it to the next. */
	if (wr_exchange_acquire(&hs->is_compacting, true))
		return -EAGAIN;
	wr_fetch_add_relaxed(&hs->count.nr_compactions, 1);
	report.nr_free_before = count_free(hs, o);
	if (!is_reached(&run))
		rc = compact_zones(&run);
	if (report.nr_too_long > 0 && report.nr_moves == 0)
		doubt_rate(hs);
	report.nr_free_after = count_free(hs, o);
	report.ns = wr_now_ns() - start;
	report.longest_pause_ns = run.pauses.longest_ns;
	report.median_pause_ns = wr_pauses_quantile(&run.pauses, 500);
	report.p99_pause_ns = wr_pauses_quantile(&run.pauses, 990);
	wr_store_release(&hs->is_compacting, false);
	if (rc == 0)
		*ret = report;
	return rc;
}

bool wr_compact_is_target(const struct wr_handles *hs, uint64_t bytes)
{
	uint64_t largest = 0;
	size_t i;

	for (i = 0; i < hs->nr_ranges; i++)
		largest = wr_max(largest, hs->ranges[i].nr_blocks);
	return wr_is_pow2(bytes) && window_of(hs, bytes) >= 2 && window_of(hs, bytes) <= largest &&
	       window_of(hs, bytes) <= MAX_WINDOW_BLOCKS;
}

static int check_opts(const struct wr_handles *hs, struct weir_compact_opts *o)
{
	const struct weir_pool *pool = hs->pool;
	unsigned node;

	if (o->target_bytes == 0)
		o->target_bytes = WR_COMPACT_TARGET_BYTES;
	if (o->nr_wanted == 0)
		o->nr_wanted = 1;
	if (o->max_bytes == 0)
		o->max_bytes = UINT64_MAX;
	if (!wr_compact_is_target(hs, o->target_bytes))
		return -EINVAL;
	for (node = 0; node < WR_POOL_MAX_NODES; node++)
		if ((o->node_mask >> node & 1) && pool->zone_of_node[node] < 0)
			return -ENODEV;
	return 0;
}

int weir_pool_compact(struct weir_pool *pool, const struct weir_compact_opts *opts,
		      struct weir_compact_report *ret)
{
	struct weir_compact_report report = {0};
	struct weir_compact_opts o;
	struct wr_handles *hs;
	int rc;

	wr_might_block("compacting a pool");
	if (!pool || !wr_pool_is_ours(pool))
		return -EINVAL;
	rc = wr_opts_copy(&o, sizeof(o), opts);
	if (rc == 0)
		rc = wr_handles_get(pool, &hs);
	if (rc == 0)
		rc = check_opts(hs, &o);
	if (rc == 0) {
		/* What threads keep ready would stand in the way, and can be had. */
		weir_pool_trim(pool, 0);
		rc = wr_compact_run(hs, &o, NULL, &report);
	}
	if (rc == 0 && ret)
		*ret = report;
	return rc;
}

const char *weir_compact_reason_name(uint32_t reason)
{
	static const char *const names[WEIR_COMPACT_REASONS] = {
		[WEIR_COMPACT_REACHED] = "reached", [WEIR_COMPACT_NO_GAIN] = "no-gain",
		[WEIR_COMPACT_NO_ROOM] = "no-room", [WEIR_COMPACT_LIMIT] = "limit",
		[WEIR_COMPACT_STOPPED] = "stopped",
	};

	return reason < WEIR_COMPACT_REASONS ? names[reason] : "unknown";
}

int wr_compact_look(struct wr_handles *hs, uint64_t target_bytes, uint64_t max_pause_ns,
		    bool ask_gain, struct wr_compact_state *ret)
{
	struct wr_compact_state s = {0};
	struct wr_compact_plan plan;
	const struct wr_handle_range *range;
	uint64_t used;
	size_t i;
	int rc = 0;

	/* Not weir_pool_stats(), which stops everybody for a moment. */
	for (i = 0; i < hs->nr_ranges && rc == 0; i++) {
		range = &hs->ranges[i];
		s.free_target_bytes +=
			wr_plan_count_free(range, window_of(hs, target_bytes), &used) *
			target_bytes;
		s.capacity_bytes += range->nr_blocks << hs->block_shift;
		s.free_bytes += (range->nr_blocks - used) << hs->block_shift;
		if (!ask_gain || s.has_gain)
			continue;
		rc = wr_plan_init(&plan, hs, range, window_of(hs, target_bytes),
				  longest_blocks(hs, max_pause_ns));
		s.has_gain = rc == 0 && wr_plan_has_gain(&plan);
		wr_plan_fini(&plan);
	}
	if (rc == 0)
		*ret = s;
	return rc;
}
