/* SPDX-License-Identifier: MIT */
/*
 * What of a cache is moved by knobs. A knob is only a number; whoever has the lock anyway, and is
 * not in a hurry, looks whether it has moved and does what it says. None of it waits: a smaller
 * budget is obeyed by whoever makes room next. What a function of the cache changes the knob
 * follows, so that it always shows what holds, as far as its bounds go.
 */
#include <errno.h>

#include <weir/knob.h>

#include "base/util.h"
#include "cache/ahead_internal.h"
#include "cache/cache_internal.h"

/* Of the budget, the least that a knob can leave: what pressure leaves too. */
#define LEAST_PART 8u

static int add_knob(struct weir_cache *cache, const struct weir_knob_desc *desc,
		    struct wr_cache_knob *knob)
{
	uint32_t id;
	int rc = weir_knob_register(cache->knobs, desc, &id);

	if (rc)
		return rc;
	wr_mutex_lock(&cache->lock);
	*knob = (struct wr_cache_knob){.is_there = true, .id = id, .seen = desc->default_value};
	wr_mutex_unlock(&cache->lock);
	return 0;
}

int wr_cache_register_budget(struct weir_cache *cache, struct weir_error *err)
{
	struct weir_knob_desc desc = {.name = "cache.l2_bytes",
				      .unit = "bytes",
				      .help = "how much the cache may keep in main memory"};
	int rc;

	if (!cache->knobs)
		return 0;
	wr_mutex_lock(&cache->lock);
	desc.default_value = desc.max = cache->tiers[WR_L2].budget;
	wr_mutex_unlock(&cache->lock);
	desc.min = wr_max(desc.max / LEAST_PART, (uint64_t)1);
	rc = add_knob(cache, &desc, &cache->l2_knob);
	return rc ? wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "knob %s: %s", desc.name,
				 weir_strerror(rc))
		  : 0;
}

int wr_cache_register_ahead(struct weir_cache *cache)
{
	const struct weir_knob_desc desc = {
		.name = "cache.ahead",
		.unit = "",
		.help = "1: the cache fetches ahead what it foresees; 0: it does not",
		.default_value = 1,
		.max = 1};

	return cache->knobs ? add_knob(cache, &desc, &cache->ahead_knob) : 0;
}

static bool has_moved(struct weir_cache *cache, struct wr_cache_knob *knob) WR_REQUIRES(cache->lock)
{
	uint64_t value;

	wr_lock_assert_held(&cache->lock);
	if (!knob->is_there)
		return false;
	value = weir_knob_get(cache->knobs, knob->id);
	if (value == knob->seen)
		return false;
	knob->seen = value;
	return true;
}

void wr_cache_heed_knobs(struct weir_cache *cache)
{
	struct wr_tier *l2 = &cache->tiers[WR_L2];

	wr_lock_assert_held(&cache->lock);
	if (wr_load_relaxed(&cache->ahead) && has_moved(cache, &cache->ahead_knob))
		wr_ahead_switch(cache, cache->ahead_knob.seen != 0);
	if (!has_moved(cache, &cache->l2_knob))
		return;
	l2->budget = l2->limit = cache->l2_knob.seen;
	wr_cache_tell_rooms(cache, WR_L2);
	wr_cache_room_changed(cache);
}

void wr_cache_move_knob(struct weir_cache *cache, struct wr_cache_knob *knob, uint64_t value)
{
	struct weir_knob k;

	wr_lock_assert_held(&cache->lock);
	if (!knob->is_there || weir_knob_at(cache->knobs, knob->id, &k))
		return;
	knob->seen = wr_min(wr_max(value, k.desc.min), k.desc.max);
	if (weir_knob_set(cache->knobs, knob->id, knob->seen))
		wr_assert(false); /* it is within the bounds */
}
