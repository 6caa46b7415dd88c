/* SPDX-License-Identifier: MIT */
/*
 * Handles: the table of slots, birth and death, pin and unpin. What the word of a slot
 * means and which guarantees follow stands in handle.h.
 *
 * The free slots are a queue, not a stack: a slot rests as long as possible, so a handle
 * that is used after its end mostly finds its own slot as it left it, and the report can
 * name the allocation.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "pool/debug.h"
#include "pool/handle.h"
#include "pool/magazine.h"
#include "pool/maintain.h"

/* A copy of this length is waited for without sleeping: most are shorter. */
#define SPIN_NS	    200000u
#define SPIN_ROUNDS 256u

static uint8_t *address_of(const struct wr_handles *hs, uint64_t location)
{
	const struct wr_handle_range *range = wr_handle_range_of(hs, location);

	return range->base + ((location - range->first) << hs->block_shift);
}

/* The span that an unmovable block is: the zone or a thread's magazines know it by that. */
static struct weir_span span_of(const struct wr_handles *hs, const struct wr_handle_range *range,
				uint64_t block, uint64_t nr)
{
	uint64_t word = wr_cell_load(&range->zone->cells[block]);

	return (struct weir_span){
		.base = range->base + (block << hs->block_shift),
		.bytes = (size_t)(nr << hs->block_shift),
		.id = range->zone->id_prefix | block,
		.generation = wr_cell_generation(word),
		.node = range->zone->node,
	};
}

static uint64_t location_of(const struct wr_handles *hs, const struct weir_span *span)
{
	const struct wr_handle_range *range = hs->ranges;
	const uint8_t *p = span->base;

	while (p < range->base || p >= range->base + (range->nr_blocks << hs->block_shift))
		range++;
	return range->first + ((uint64_t)(p - range->base) >> hs->block_shift);
}

/* ---- handles that are not live ----------------------------------------------------- */

static bool is_zero(struct weir_handle handle)
{
	return handle.slot == 0 && handle.generation == 0 && handle.pool == 0;
}

static bool is_of(const struct wr_handles *hs, uint64_t word, struct weir_handle handle)
{
	unsigned state = wr_handle_state(word);

	return (state == WR_HANDLE_LIVE || state == WR_HANDLE_MOVING) &&
	       wr_handle_generation(hs, word) == handle.generation;
}

static int report_foreign(struct wr_handles *hs, const char *call, struct weir_handle handle)
{
	wr_fetch_add_relaxed(&hs->count.nr_foreign, 1);
	wr_log(WEIR_LOG_ERROR, "pool", "%s: slot %u generation %u is no handle of this pool", call,
	       handle.slot, handle.generation);
	return -EINVAL;
}

/* The slot exists and has another generation, or the same and is free. */
static int report_dead(struct wr_handles *hs, const char *call, struct weir_handle handle,
		       uint64_t word)
{
	uint32_t generation = wr_handle_generation(hs, word);

	if (generation < handle.generation)
		return report_foreign(hs, call, handle);
	if (generation == handle.generation) {
		wr_fetch_add_relaxed(&hs->count.nr_double_frees, 1);
		wr_log(WEIR_LOG_ERROR, "pool",
		       "%s: slot %u generation %u, tag '%s', was freed before", call, handle.slot,
		       handle.generation, wr_handle_tag(hs, handle.slot));
	} else {
		wr_fetch_add_relaxed(&hs->count.nr_stale, 1);
		wr_log(WEIR_LOG_ERROR, "pool",
		       "%s: slot %u generation %u was freed before; tag '%s' has the slot now",
		       call, handle.slot, handle.generation, wr_handle_tag(hs, handle.slot));
	}
	return -ESTALE;
}

/* The slot that a handle names, whatever is in it. */
static int find_slot(struct wr_handles *hs, const char *call, struct weir_handle handle,
		     _Atomic uint64_t **ret)
{
	/* H2: pairs with the release in add_segment_locked(). */
	if (handle.pool != hs->pool_number || handle.generation == 0 ||
	    handle.slot >= wr_load_acquire(&hs->nr_slots))
		return report_foreign(hs, call, handle);
	*ret = wr_handle_word_at(hs, handle.slot);
	return 0;
}

/* ---- waiting for a move ------------------------------------------------------------ */

static bool is_moving(_Atomic uint64_t *slot)
{
	return wr_handle_state(wr_load_seq_cst(slot)) == WR_HANDLE_MOVING;
}

static void wait_for_move(struct wr_handles *hs, _Atomic uint64_t *slot)
{
	uint64_t deadline = wr_now_ns() + SPIN_NS;
	unsigned i;

	wr_fetch_add_relaxed(&hs->count.nr_pin_waits, 1);
	for (i = 0; i < SPIN_ROUNDS && is_moving(slot); i++)
		wr_cpu_relax();
	while (is_moving(slot) && wr_now_ns() < deadline)
		sched_yield();
	if (!is_moving(slot))
		return;
	wr_mutex_lock(&hs->wait_lock);
	wr_fetch_add_seq_cst(&hs->nr_waiters, 1); /* (D) */
	while (is_moving(slot))
		wr_cond_wait(&hs->wait, &hs->wait_lock);
	wr_fetch_sub_relaxed(&hs->nr_waiters, 1);
	wr_mutex_unlock(&hs->wait_lock);
}

void wr_handle_publish(_Atomic uint64_t *slot, uint64_t word)
{
	/* (C): pairs with the acquire of each pin. */
	wr_store_release(slot, word);
}

void wr_handle_wake(struct wr_handles *hs)
{
	/*
	 * (D): an exchange, not a load. Either it sees the announcement, or the announcement
	 * comes after it and sees all that was published before.
	 */
	if (wr_fetch_add_seq_cst(&hs->nr_waiters, 0) == 0)
		return;
	wr_mutex_lock(&hs->wait_lock);
	wr_cond_broadcast(&hs->wait);
	wr_mutex_unlock(&hs->wait_lock);
}

/* ---- birth and death --------------------------------------------------------------- */

static struct weir_handle begin_handle(struct wr_handles *hs, uint32_t index, uint32_t flags,
				       uint32_t tag, const struct weir_span *span)
{
	_Atomic uint64_t *slot = wr_handle_word_at(hs, index);
	uint32_t generation = wr_handle_generation(hs, wr_load_relaxed(slot)) + 1;
	uint64_t word = location_of(hs, span);
	const struct wr_handle_range *range = wr_handle_range_of(hs, word);

	wr_handle_set_end(range, word - range->first, span->bytes >> hs->block_shift);
	wr_handle_set_tag(hs, index, tag);
	word |= (uint64_t)generation << hs->location_bits;
	if (flags & WEIR_HANDLE_MOVABLE)
		word |= WR_HANDLE_IS_MOVABLE;
	/* H3: pairs with the acquire of whoever reads the word, for the end. */
	wr_store_release(slot, wr_handle_with_state(word, WR_HANDLE_LIVE));
	wr_fetch_add_relaxed(&hs->count.nr_live, 1);
	return (struct weir_handle){
		.slot = index, .generation = generation, .pool = hs->pool_number};
}

int weir_handle_alloc(struct weir_pool *pool, size_t bytes, int node, uint32_t flags,
		      const char *tag, struct weir_handle *ret)
{
	struct weir_span span = {0};
	struct wr_handles *hs;
	uint32_t index = 0, number = 0;
	int rc;

	if (!pool || !ret || flags & ~WEIR_HANDLE_MOVABLE || !wr_pool_is_ours(pool))
		return -EINVAL;
	rc = wr_handles_get(pool, &hs);
	if (rc == 0)
		rc = wr_handle_take_slot(hs, tag, &index, &number);
	if (rc != 0)
		return rc;
	if (!(flags & WEIR_HANDLE_MOVABLE))
		rc = weir_pool_alloc_tagged(pool, bytes, node, tag, &span);
	else if (pool->debug)
		rc = wr_debug_take_run(pool, bytes, node, tag, &span);
	else
		rc = wr_pool_alloc_by(pool, bytes, 1, node, wr_zone_take_run, &span);
	if (rc == 0)
		*ret = begin_handle(hs, index, flags, number, &span);
	else
		wr_handle_put_slot(hs, index);
	return rc;
}

/*
 * Take the word of a live handle from LIVE to something else, waiting for a move to end.
 * @add_pin: one more pin; else to FREEING, if there is none.
 */
static int change_word(struct wr_handles *hs, const char *call, struct weir_handle handle,
		       bool add_pin, bool may_wait, uint64_t *ret_word)
{
	_Atomic uint64_t *slot;
	uint64_t word, wanted;
	int rc = find_slot(hs, call, handle, &slot);

	if (rc != 0)
		return rc;
	for (word = wr_load_acquire(slot);;) {
		if (!is_of(hs, word, handle))
			return report_dead(hs, call, handle, word);
		if (wr_handle_state(word) == WR_HANDLE_MOVING) {
			if (!may_wait)
				return -EAGAIN;
			wait_for_move(hs, slot);
			word = wr_load_acquire(slot);
			continue;
		}
		if (wr_handle_pins(word) > (add_pin ? WR_HANDLE_MAX_PINS - 1 : 0))
			return -EBUSY;
		wanted = add_pin ? word + WR_HANDLE_ONE_PIN
				 : wr_handle_with_state(word, WR_HANDLE_FREEING);
		/* (C): acquire for the bytes; release only so that free orders after pins. */
		if (wr_cas_acq_rel(slot, &word, wanted))
			break;
	}
	*ret_word = wanted;
	return 0;
}

/* Give the blocks of a handle in FREEING back. */
static int free_blocks(struct wr_handles *hs, uint64_t word)
{
	const struct wr_handle_range *range = wr_handle_range_of(hs, wr_handle_location(hs, word));
	uint64_t block = wr_handle_location(hs, word) - range->first;
	uint64_t nr = wr_handle_nr_blocks(range, block);

	wr_handle_clear_end(range, block, nr);
	if (!(word & WR_HANDLE_IS_MOVABLE))
		return weir_pool_free(hs->pool, span_of(hs, range, block, nr));
	if (hs->pool->debug)
		wr_debug_end_run(hs->pool, range->zone, block, nr);
	wr_zone_free_run(range->zone, (struct wr_zone_run){.block = block, .nr = nr});
	wr_pool_room_made(hs->pool);
	return 0;
}

int weir_handle_free(struct weir_pool *pool, struct weir_handle handle)
{
	struct wr_handles *hs = wr_handles_of(pool);
	uint64_t word;
	int rc;

	if (is_zero(handle))
		return 0;
	wr_might_block("freeing a handle");
	if (!hs)
		return -EINVAL;
	rc = change_word(hs, "weir_handle_free", handle, false, true, &word);
	if (rc != 0)
		return rc;
	rc = free_blocks(hs, word);
	wr_assert(rc == 0);
	wr_fetch_sub_relaxed(&hs->count.nr_live, 1);
	wr_handle_put_slot(hs, handle.slot);
	return rc;
}

/* ---- pins -------------------------------------------------------------------------- */

static int pin(struct weir_pool *pool, const char *call, struct weir_handle handle, bool may_wait,
	       void **ret)
{
	struct wr_handles *hs = wr_handles_of(pool);
	uint64_t word;
	int rc;

	if (!hs || !ret)
		return -EINVAL;
	rc = change_word(hs, call, handle, true, may_wait, &word);
	if (rc == 0)
		*ret = address_of(hs, wr_handle_location(hs, word));
	return rc;
}

int weir_handle_pin(struct weir_pool *pool, struct weir_handle handle, void **ret)
{
	wr_might_block("pinning a handle");
	return pin(pool, "weir_handle_pin", handle, true, ret);
}

int weir_handle_pin_try(struct weir_pool *pool, struct weir_handle handle, void **ret)
{
	return pin(pool, "weir_handle_pin_try", handle, false, ret);
}

int weir_handle_unpin(struct weir_pool *pool, struct weir_handle handle)
{
	static const char call[] = "weir_handle_unpin";
	struct wr_handles *hs = wr_handles_of(pool);
	_Atomic uint64_t *slot;
	uint64_t word;
	int rc;

	if (is_zero(handle))
		return 0;
	if (!hs)
		return -EINVAL;
	rc = find_slot(hs, call, handle, &slot);
	if (rc != 0)
		return rc;
	word = wr_load_relaxed(slot);
	do {
		if (!is_of(hs, word, handle))
			return report_dead(hs, call, handle, word);
		if (wr_handle_pins(word) == 0) {
			wr_fetch_add_relaxed(&hs->count.nr_unpin_faults, 1);
			wr_log(WEIR_LOG_ERROR, "pool",
			       "%s: slot %u generation %u, tag '%s', has no pin", call, handle.slot,
			       handle.generation, wr_handle_tag(hs, handle.slot));
			return -EINVAL;
		}
		/* (C): pairs with the acquire of the CAS to MOVING or FREEING. */
	} while (!wr_cas_acq_rel(slot, &word, word - WR_HANDLE_ONE_PIN));
	return 0;
}

/* ---- looking ----------------------------------------------------------------------- */

int weir_handle_info(struct weir_pool *pool, struct weir_handle handle,
		     struct weir_handle_info *ret)
{
	static const char call[] = "weir_handle_info";
	struct wr_handles *hs = wr_handles_of(pool);
	const struct wr_handle_range *range;
	_Atomic uint64_t *slot;
	uint64_t word;
	int rc;

	if (!hs || !ret)
		return -EINVAL;
	rc = find_slot(hs, call, handle, &slot);
	if (rc != 0)
		return rc;
	word = wr_load_acquire(slot);
	if (!is_of(hs, word, handle))
		return report_dead(hs, call, handle, word);
	range = wr_handle_range_of(hs, wr_handle_location(hs, word));
	ret->bytes = (size_t)wr_handle_nr_blocks(range, wr_handle_location(hs, word) - range->first)
		     << hs->block_shift;
	if (hs->pool->debug && word & WR_HANDLE_IS_MOVABLE)
		ret->bytes -= (size_t)1 << hs->block_shift; /* the guard */
	ret->tag = wr_handle_tag(hs, handle.slot);
	ret->flags = word & WR_HANDLE_IS_MOVABLE ? WEIR_HANDLE_MOVABLE : 0;
	ret->nr_pins = wr_handle_pins(word);
	ret->node = range->zone->node;
	return 0;
}

void weir_handle_stats(struct weir_pool *pool, struct weir_handle_stats *ret)
{
	struct wr_handles *hs = wr_handles_of(pool);
	struct wr_handle_counters *c;

	memset(ret, 0, sizeof(*ret));
	if (!hs)
		return;
	c = &hs->count;
	ret->nr_live = wr_load_relaxed(&c->nr_live);
	ret->nr_slots = wr_load_relaxed(&hs->nr_slots);
	ret->metadata_bytes = wr_handles_metadata(pool);
	ret->nr_double_frees = wr_load_relaxed(&c->nr_double_frees);
	ret->nr_stale = wr_load_relaxed(&c->nr_stale);
	ret->nr_foreign = wr_load_relaxed(&c->nr_foreign);
	ret->nr_unpin_faults = wr_load_relaxed(&c->nr_unpin_faults);
	ret->nr_pin_waits = wr_load_relaxed(&c->nr_pin_waits);
	ret->nr_moves = wr_load_relaxed(&c->nr_moves);
	ret->moved_bytes = wr_load_relaxed(&c->moved_bytes);
	ret->longest_pause_ns = wr_load_relaxed(&c->longest_pause_ns);
	ret->nr_compactions = wr_load_relaxed(&c->nr_compactions);
}

/* ---- the end ----------------------------------------------------------------------- */

/* Name a few of those that were not freed; the pool reports the sum. */
static void report_live(struct wr_handles *hs)
{
	uint32_t nr = wr_load_relaxed(&hs->nr_slots);
	_Atomic uint64_t *slot;
	unsigned reported = 0;
	uint32_t i;

	if (wr_load_relaxed(&hs->count.nr_live) == 0)
		return;
	for (i = 0; i < nr && reported < 8; i++) {
		slot = wr_handle_word_at(hs, i);
		if (wr_handle_state(wr_load_relaxed(slot)) == WR_HANDLE_FREE)
			continue;
		reported++;
		wr_log(WEIR_LOG_ERROR, "pool",
		       "closed with a handle not freed: slot %u, tag '%s', %u pins", i,
		       wr_handle_tag(hs, i), wr_handle_pins(wr_load_relaxed(slot)));
	}
}

void wr_handles_close(struct weir_pool *pool, bool ours)
{
	struct wr_handles *hs = wr_load_acquire(&pool->handles);

	if (!hs)
		return;
	if (ours) {
		weir_pool_maintain_stop(pool);
		report_live(hs);
		wr_cond_fini(&hs->wait);
		wr_mutex_fini(&hs->wait_lock);
		wr_mutex_fini(&hs->lock);
	}
	wr_store_relaxed(&pool->handles, NULL);
	wr_maintain_free(hs->maintain);
	wr_handle_free_table(hs);
}
