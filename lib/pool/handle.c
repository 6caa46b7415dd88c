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
#include "pool/handle.h"
#include "pool/magazine.h"
#include "pool/maintain.h"

/* A copy of this length is waited for without sleeping: most are shorter. */
#define SPIN_NS	    200000u
#define SPIN_ROUNDS 256u

/* ---- the table --------------------------------------------------------------------- */

static void free_table(struct wr_handles *hs)
{
	uint32_t i;

	for (i = 0; i < hs->nr_slots / WR_HANDLE_SEGMENT_SLOTS; i++)
		wr_free(wr_load_relaxed(&hs->segments[i]));
	wr_free(hs->segments);
	wr_free(hs->ranges);
	wr_free(hs);
}

static size_t nr_segments_max(const struct wr_handles *hs)
{
	return hs->max_slots / WR_HANDLE_SEGMENT_SLOTS;
}

/* Number the blocks of all regions one after the other. */
static int add_ranges(struct wr_handles *hs)
{
	struct weir_pool *pool = hs->pool;
	struct wr_handle_range *range;
	uint64_t total = 0;
	size_t i;
	uint32_t k;

	hs->nr_ranges = weir_pool_nr_regions(pool);
	hs->ranges = wr_calloc(hs->nr_ranges, sizeof(*hs->ranges));
	if (!hs->ranges)
		return -ENOMEM;
	range = hs->ranges;
	for (i = 0; i < pool->nr_zones; i++) {
		for (k = 0; k < pool->zones[i].nr_regions; k++, range++) {
			range->zone = &pool->zones[i];
			range->region = &pool->zones[i].regions[k];
			range->base = range->region->map.base;
			range->first = total;
			range->nr_blocks = range->region->buddy.nr_blocks;
			total += range->nr_blocks;
		}
	}
	if (total > WR_HANDLE_LOCATION_MASK)
		return -EOPNOTSUPP;
	/* More than one live handle a block there is not; one segment is for those in between. */
	total = wr_min(total, (uint64_t)UINT32_MAX - 2 * WR_HANDLE_SEGMENT_SLOTS);
	hs->max_slots =
		(uint32_t)wr_align_up(total + WR_HANDLE_SEGMENT_SLOTS, WR_HANDLE_SEGMENT_SLOTS);
	hs->segments = wr_calloc(nr_segments_max(hs), sizeof(*hs->segments));
	return hs->segments ? 0 : -ENOMEM;
}

static int new_table(struct weir_pool *pool, struct wr_handles **ret)
{
	struct wr_handles *hs = wr_calloc_aligned(_Alignof(struct wr_handles), sizeof(*hs));
	int rc;

	if (!hs)
		return -ENOMEM;
	hs->pool = pool;
	hs->pool_number = (uint32_t)(pool->id_prefix >> WR_SPAN_POOL_SHIFT);
	hs->block_shift = pool->zones[0].block_shift;
	hs->first_free = WR_HANDLE_NONE;
	hs->last_free = WR_HANDLE_NONE;
	rc = add_ranges(hs);
	if (rc != 0) {
		free_table(hs);
		return rc;
	}
	*ret = hs;
	return 0;
}

int wr_handles_get(struct weir_pool *pool, struct wr_handles **ret)
{
	struct wr_handles *hs = wr_load_acquire(&pool->handles); /* H1 */
	struct wr_handles *other = NULL;
	int rc;

	if (!hs) {
		rc = new_table(pool, &hs);
		if (rc != 0)
			return rc;
		wr_mutex_init(&hs->lock, WR_RANK_POOL_HANDLE, "pool.handle");
		wr_mutex_init(&hs->wait_lock, WR_RANK_POOL_COMPACT, "pool.compact");
		wr_cond_init(&hs->wait);
		/* H1: pairs with the acquire above. */
		if (!wr_cas_acq_rel(&pool->handles, &other, hs)) {
			wr_cond_fini(&hs->wait);
			wr_mutex_fini(&hs->wait_lock);
			wr_mutex_fini(&hs->lock);
			free_table(hs);
			hs = other;
		}
	}
	*ret = hs;
	return 0;
}

/* As above, but none is made: NULL when the pool is not ours or has none. */
static struct wr_handles *table_of(struct weir_pool *pool)
{
	return pool && wr_pool_is_ours(pool) ? wr_load_acquire(&pool->handles) : NULL;
}

const struct wr_handle_range *wr_handle_range_of(const struct wr_handles *hs, uint64_t location)
{
	const struct wr_handle_range *range = hs->ranges;

	while (location - range->first >= range->nr_blocks)
		range++;
	return range;
}

static uint8_t *address_of(const struct wr_handles *hs, uint64_t location)
{
	const struct wr_handle_range *range = wr_handle_range_of(hs, location);

	return range->base + ((location - range->first) << hs->block_shift);
}

struct weir_span wr_handle_span(const struct wr_handles *hs, const struct wr_handle_slot *slot,
				uint64_t location)
{
	const struct wr_handle_range *range = wr_handle_range_of(hs, location);
	uint64_t block = location - range->first;

	return (struct weir_span){
		.base = range->base + (block << hs->block_shift),
		.bytes = (size_t)wr_load_relaxed(&slot->nr_blocks) << hs->block_shift,
		.id = range->zone->id_prefix | (range->region->first_block + block),
		.generation = wr_load_relaxed(&slot->span_generation),
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

/* ---- free slots -------------------------------------------------------------------- */

static void push_slot_locked(struct wr_handles *hs, uint32_t index) WR_REQUIRES(hs->lock)
{
	wr_lock_assert_held(&hs->lock);
	wr_handle_slot_at(hs, index)->next = WR_HANDLE_NONE;
	if (hs->first_free == WR_HANDLE_NONE)
		hs->first_free = index;
	else
		wr_handle_slot_at(hs, hs->last_free)->next = index;
	hs->last_free = index;
}

/* A segment that is allocated becomes the next slots, unless there are as many as can be. */
static bool add_segment_locked(struct wr_handles *hs, struct wr_handle_slot *segment)
	WR_REQUIRES(hs->lock)
{
	uint32_t nr = wr_load_relaxed(&hs->nr_slots);
	uint32_t i;

	wr_lock_assert_held(&hs->lock);
	if (nr == hs->max_slots)
		return false;
	wr_store_relaxed(&hs->segments[nr / WR_HANDLE_SEGMENT_SLOTS], segment);
	/* H2: pairs with the acquires of nr_slots. */
	wr_store_release(&hs->nr_slots, nr + WR_HANDLE_SEGMENT_SLOTS);
	for (i = 0; i < WR_HANDLE_SEGMENT_SLOTS; i++)
		push_slot_locked(hs, nr + i);
	return true;
}

/* The oldest free slot; memory for more is taken while no lock is held. */
static int take_slot(struct wr_handles *hs, uint32_t *ret)
{
	struct wr_handle_slot *segment = NULL;
	int rc = 0;

	wr_mutex_lock(&hs->lock);
	if (hs->first_free == WR_HANDLE_NONE) {
		wr_mutex_unlock(&hs->lock);
		segment = wr_calloc_aligned(WR_CACHE_LINE,
					    WR_HANDLE_SEGMENT_SLOTS * sizeof(*segment));
		if (!segment)
			return -ENOMEM;
		wr_mutex_lock(&hs->lock);
		if (hs->first_free == WR_HANDLE_NONE && add_segment_locked(hs, segment))
			segment = NULL;
	}
	if (hs->first_free != WR_HANDLE_NONE) {
		*ret = hs->first_free;
		hs->first_free = wr_handle_slot_at(hs, *ret)->next;
	} else {
		rc = -ENOSPC;
	}
	wr_mutex_unlock(&hs->lock);
	wr_free(segment);
	return rc;
}

static void put_slot(struct wr_handles *hs, uint32_t index)
{
	wr_mutex_lock(&hs->lock);
	push_slot_locked(hs, index);
	wr_mutex_unlock(&hs->lock);
}

/* ---- handles that are not live ----------------------------------------------------- */

static bool is_zero(struct weir_handle handle)
{
	return handle.slot == 0 && handle.generation == 0 && handle.pool == 0;
}

static const char *tag_of(const struct wr_handle_slot *slot)
{
	const char *tag = wr_load_relaxed(&slot->tag);

	return tag ? tag : "";
}

/* Whether the word, together with the whole generation, is the handle's. */
static bool is_of(const struct wr_handle_slot *slot, uint64_t word, struct weir_handle handle)
{
	unsigned state = wr_handle_state(word);
	uint32_t low = (uint32_t)(word >> WR_HANDLE_GENERATION_SHIFT) & WR_HANDLE_GENERATION_MASK;

	return (state == WR_HANDLE_LIVE || state == WR_HANDLE_MOVING) &&
	       low == (handle.generation & WR_HANDLE_GENERATION_MASK) &&
	       wr_load_relaxed(&slot->generation) == handle.generation;
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
		       const struct wr_handle_slot *slot)
{
	int32_t age = (int32_t)(wr_load_relaxed(&slot->generation) - handle.generation);

	if (age < 0)
		return report_foreign(hs, call, handle);
	if (age == 0) {
		wr_fetch_add_relaxed(&hs->count.nr_double_frees, 1);
		wr_log(WEIR_LOG_ERROR, "pool",
		       "%s: slot %u generation %u, tag '%s', was freed before", call, handle.slot,
		       handle.generation, tag_of(slot));
	} else {
		wr_fetch_add_relaxed(&hs->count.nr_stale, 1);
		wr_log(WEIR_LOG_ERROR, "pool",
		       "%s: slot %u generation %u was freed before; tag '%s' has the slot now",
		       call, handle.slot, handle.generation, tag_of(slot));
	}
	return -ESTALE;
}

/* The slot that a handle names, whatever is in it. */
static int find_slot(struct wr_handles *hs, const char *call, struct weir_handle handle,
		     struct wr_handle_slot **ret)
{
	/* H2: pairs with the release in add_segment_locked(). */
	if (handle.pool != hs->pool_number || handle.generation == 0 ||
	    handle.slot >= wr_load_acquire(&hs->nr_slots))
		return report_foreign(hs, call, handle);
	*ret = wr_handle_slot_at(hs, handle.slot);
	return 0;
}

/* ---- waiting for a move ------------------------------------------------------------ */

static bool is_moving(struct wr_handle_slot *slot)
{
	return wr_handle_state(wr_load_seq_cst(&slot->word)) == WR_HANDLE_MOVING;
}

static void wait_for_move(struct wr_handles *hs, struct wr_handle_slot *slot)
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

void wr_handle_publish(struct wr_handle_slot *slot, uint64_t word)
{
	/* (C): pairs with the acquire of each pin. */
	wr_store_release(&slot->word, word);
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
				       const char *tag, const struct weir_span *span)
{
	struct wr_handle_slot *slot = wr_handle_slot_at(hs, index);
	uint32_t generation = wr_load_relaxed(&slot->generation) + 1;
	uint64_t word = location_of(hs, span);

	if (generation == 0)
		generation = 1;
	wr_store_relaxed(&slot->generation, generation);
	wr_store_relaxed(&slot->tag, tag);
	wr_store_relaxed(&slot->nr_blocks, (uint32_t)(span->bytes >> hs->block_shift));
	wr_store_relaxed(&slot->span_generation, span->generation);
	word |= (uint64_t)(generation & WR_HANDLE_GENERATION_MASK) << WR_HANDLE_GENERATION_SHIFT;
	if (flags & WEIR_HANDLE_MOVABLE)
		word |= WR_HANDLE_IS_MOVABLE;
	/* H3: pairs with the acquire of whoever reads the word. */
	wr_store_release(&slot->word, wr_handle_with_state(word, WR_HANDLE_LIVE));
	wr_fetch_add_relaxed(&hs->count.nr_live, 1);
	return (struct weir_handle){
		.slot = index, .generation = generation, .pool = hs->pool_number};
}

int weir_handle_alloc(struct weir_pool *pool, size_t bytes, int node, uint32_t flags,
		      const char *tag, struct weir_handle *ret)
{
	struct weir_span span = {0};
	struct wr_handles *hs;
	uint32_t index = 0;
	int rc;

	if (!pool || !ret || flags & ~WEIR_HANDLE_MOVABLE || !wr_pool_is_ours(pool))
		return -EINVAL;
	rc = wr_handles_get(pool, &hs);
	if (rc == 0)
		rc = take_slot(hs, &index);
	if (rc != 0)
		return rc;
	if (flags & WEIR_HANDLE_MOVABLE)
		rc = wr_pool_alloc_by(pool, bytes, node, wr_zone_alloc_high, &span);
	else
		rc = weir_pool_alloc(pool, bytes, node, &span);
	if (rc == 0)
		*ret = begin_handle(hs, index, flags, tag, &span);
	else
		put_slot(hs, index);
	return rc;
}

/*
 * Only the low bits of the generation are in the word: the slot was reused a multiple of
 * 2^14 times between the look and the swap, and the block of another was taken.
 */
static void undo_change(struct wr_handle_slot *slot, uint64_t word, bool add_pin)
{
	if (add_pin)
		wr_fetch_sub_acq_rel(&slot->word, WR_HANDLE_ONE_PIN);
	else
		wr_store_seq_cst(&slot->word, word);
}

/*
 * Take the word of a live handle from LIVE to something else, waiting for a move to end.
 * @add_pin: one more pin; else to FREEING, if there is none.
 */
static int change_word(struct wr_handles *hs, const char *call, struct weir_handle handle,
		       bool add_pin, bool may_wait, struct wr_handle_slot **ret_slot,
		       uint64_t *ret_word)
{
	struct wr_handle_slot *slot;
	uint64_t word, wanted;
	int rc = find_slot(hs, call, handle, &slot);

	if (rc != 0)
		return rc;
	for (word = wr_load_acquire(&slot->word);;) {
		if (!is_of(slot, word, handle))
			return report_dead(hs, call, handle, slot);
		if (wr_handle_state(word) == WR_HANDLE_MOVING) {
			if (!may_wait)
				return -EAGAIN;
			wait_for_move(hs, slot);
			word = wr_load_acquire(&slot->word);
			continue;
		}
		if (wr_handle_pins(word) > (add_pin ? WR_HANDLE_MAX_PINS - 1 : 0))
			return -EBUSY;
		wanted = add_pin ? word + WR_HANDLE_ONE_PIN
				 : wr_handle_with_state(word, WR_HANDLE_FREEING);
		/* (C): acquire for the bytes; release only so that free orders after pins. */
		if (wr_cas_acq_rel(&slot->word, &word, wanted))
			break;
	}
	if (wr_load_relaxed(&slot->generation) != handle.generation) {
		undo_change(slot, word, add_pin);
		return report_dead(hs, call, handle, slot);
	}
	*ret_slot = slot;
	*ret_word = wanted;
	return 0;
}

int weir_handle_free(struct weir_pool *pool, struct weir_handle handle)
{
	struct wr_handles *hs = table_of(pool);
	struct wr_handle_slot *slot;
	struct weir_span span;
	uint64_t word;
	int rc;

	if (is_zero(handle))
		return 0;
	wr_might_block("freeing a handle");
	if (!hs)
		return -EINVAL;
	rc = change_word(hs, "weir_handle_free", handle, false, true, &slot, &word);
	if (rc != 0)
		return rc;
	span = wr_handle_span(hs, slot, wr_handle_location(word));
	if (word & WR_HANDLE_IS_MOVABLE)
		rc = wr_zone_free(wr_handle_range_of(hs, wr_handle_location(word))->zone, &span);
	else
		rc = weir_pool_free(pool, span);
	wr_assert(rc == 0);
	if (word & WR_HANDLE_IS_MOVABLE)
		wr_pool_room_made(pool);
	wr_store_release(&slot->word, wr_handle_with_state(word, WR_HANDLE_FREE));
	wr_fetch_sub_relaxed(&hs->count.nr_live, 1);
	put_slot(hs, handle.slot);
	return rc;
}

/* ---- pins -------------------------------------------------------------------------- */

static int pin(struct weir_pool *pool, const char *call, struct weir_handle handle, bool may_wait,
	       void **ret)
{
	struct wr_handles *hs = table_of(pool);
	struct wr_handle_slot *slot;
	uint64_t word;
	int rc;

	if (!hs || !ret)
		return -EINVAL;
	rc = change_word(hs, call, handle, true, may_wait, &slot, &word);
	if (rc == 0)
		*ret = address_of(hs, wr_handle_location(word));
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
	struct wr_handles *hs = table_of(pool);
	struct wr_handle_slot *slot;
	uint64_t word;
	int rc;

	if (is_zero(handle))
		return 0;
	if (!hs)
		return -EINVAL;
	rc = find_slot(hs, call, handle, &slot);
	if (rc != 0)
		return rc;
	word = wr_load_relaxed(&slot->word);
	do {
		if (!is_of(slot, word, handle))
			return report_dead(hs, call, handle, slot);
		if (wr_handle_pins(word) == 0) {
			wr_fetch_add_relaxed(&hs->count.nr_unpin_faults, 1);
			wr_log(WEIR_LOG_ERROR, "pool",
			       "%s: slot %u generation %u, tag '%s', has no pin", call, handle.slot,
			       handle.generation, tag_of(slot));
			return -EINVAL;
		}
		/* (C): pairs with the acquire of the CAS to MOVING or FREEING. */
	} while (!wr_cas_acq_rel(&slot->word, &word, word - WR_HANDLE_ONE_PIN));
	return 0;
}

/* ---- looking ----------------------------------------------------------------------- */

int weir_handle_info(struct weir_pool *pool, struct weir_handle handle,
		     struct weir_handle_info *ret)
{
	static const char call[] = "weir_handle_info";
	struct wr_handles *hs = table_of(pool);
	struct wr_handle_slot *slot;
	uint64_t word;
	int rc;

	if (!hs || !ret)
		return -EINVAL;
	rc = find_slot(hs, call, handle, &slot);
	if (rc != 0)
		return rc;
	word = wr_load_acquire(&slot->word);
	if (!is_of(slot, word, handle))
		return report_dead(hs, call, handle, slot);
	ret->bytes = (size_t)wr_load_relaxed(&slot->nr_blocks) << hs->block_shift;
	ret->tag = tag_of(slot);
	ret->flags = word & WR_HANDLE_IS_MOVABLE ? WEIR_HANDLE_MOVABLE : 0;
	ret->nr_pins = wr_handle_pins(word);
	ret->node = wr_handle_range_of(hs, wr_handle_location(word))->zone->node;
	return 0;
}

uint64_t wr_handles_metadata(struct weir_pool *pool)
{
	struct wr_handles *hs = table_of(pool);

	if (!hs)
		return 0;
	return sizeof(*hs) + hs->nr_ranges * sizeof(*hs->ranges) +
	       nr_segments_max(hs) * sizeof(*hs->segments) +
	       wr_load_relaxed(&hs->nr_slots) * (uint64_t)sizeof(struct wr_handle_slot);
}

void weir_handle_stats(struct weir_pool *pool, struct weir_handle_stats *ret)
{
	struct wr_handles *hs = table_of(pool);
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
	struct wr_handle_slot *slot;
	unsigned reported = 0;
	uint32_t i;

	if (wr_load_relaxed(&hs->count.nr_live) == 0)
		return;
	for (i = 0; i < nr && reported < 8; i++) {
		slot = wr_handle_slot_at(hs, i);
		if (wr_handle_state(wr_load_relaxed(&slot->word)) == WR_HANDLE_FREE)
			continue;
		reported++;
		wr_log(WEIR_LOG_ERROR, "pool",
		       "closed with a handle not freed: slot %u, tag '%s', %u pins", i,
		       tag_of(slot), wr_handle_pins(wr_load_relaxed(&slot->word)));
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
	free_table(hs);
}

#if WR_DEBUG
void wr_test_handle_set_generation(struct weir_pool *pool, uint32_t slot, uint32_t generation)
{
	wr_store_relaxed(&wr_handle_slot_at(table_of(pool), slot)->generation, generation);
}
#endif
