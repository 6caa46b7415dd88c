/* SPDX-License-Identifier: MIT */
/*
 * Lines: copies that are in no policy, linked by index in the order of coming. What passes through
 * waits in one until room is wanted, what was prefetched in the other until it is first got. A copy
 * is in its policy, in one line, or in neither; all of this is under CACHE.
 */
#include "cache/ahead_internal.h"
#include "cache/cache_internal.h"

static void leave_line(struct weir_cache *cache, struct wr_copy *copy, unsigned int tier)
	WR_REQUIRES(cache->lock)
{
	enum wr_chain chain = copy->is_staged ? WR_STAGED : WR_PASSING;
	struct wr_tier *t = &cache->tiers[tier];

	if (copy->before)
		cache->entries[copy->before - 1].copies[tier].after = copy->after;
	else
		t->first[chain] = copy->after;
	if (copy->after)
		cache->entries[copy->after - 1].copies[tier].before = copy->before;
	else
		t->last[chain] = copy->before;
	t->staged -= copy->is_staged ? copy->charged : 0;
	copy->is_passing = false;
	copy->is_staged = false;
}

void wr_cache_enter_line(struct weir_cache *cache, uint32_t index, unsigned int tier,
			 enum wr_chain chain)
{
	struct wr_copy *copy = &cache->entries[index].copies[tier];
	struct wr_tier *t = &cache->tiers[tier];

	wr_lock_assert_held(&cache->lock);
	copy->before = t->last[chain];
	copy->after = 0;
	copy->is_passing = chain == WR_PASSING;
	copy->is_staged = chain == WR_STAGED;
	t->staged += copy->is_staged ? copy->charged : 0;
	if (t->last[chain])
		cache->entries[t->last[chain] - 1].copies[tier].after = index + 1;
	else
		t->first[chain] = index + 1;
	t->last[chain] = index + 1;
}

void wr_cache_unlist(struct weir_cache *cache, uint32_t index, unsigned int tier, bool evicted)
{
	struct wr_entry *e = &cache->entries[index];
	struct wr_copy *copy = &e->copies[tier];

	wr_lock_assert_held(&cache->lock);
	if (copy->is_listed)
		wr_policy_remove(cache->tiers[tier].policies[e->class_id], &copy->node, evicted);
	copy->is_listed = false;
	if (copy->is_passing || copy->is_staged)
		leave_line(cache, copy, tier);
	if (evicted && tier == WR_L2 && wr_load_relaxed(&cache->ahead))
		wr_ahead_evicted(cache, index);
}
