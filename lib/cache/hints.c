/* SPDX-License-Identifier: MIT */
/*
 * What a host says of the future: needs, likelihoods, plans, what to keep; and rules by name. None
 * of it changes what a get returns.
 */
#include <errno.h>
#include <fnmatch.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "cache/ahead_internal.h"
#include "cache/cache_internal.h"

/* Below this a forecast alone does not pay for a read. */
#define PREFETCH_PERMILLE 500u
#define MAX_PLAN	  ((size_t)1 << 24)

/* ---- rules ---- */

void wr_cache_apply_rules(struct weir_cache *cache, uint32_t index)
{
	struct wr_entry *e = &cache->entries[index];

	wr_lock_assert_held(&cache->lock);
	e->rule = WEIR_RULE_NORMAL;
	if (!e->name[0])
		return;
	for (uint32_t i = 0; i < cache->nr_rules; i++)
		if (!fnmatch(cache->rules[i].glob, e->name, 0)) {
			e->rule = cache->rules[i].kind;
			return;
		}
}

/* What passes through from now on, or no longer, changes its place. */
static void apply_again(struct weir_cache *cache, uint32_t index) WR_REQUIRES(cache->lock)
{
	struct wr_entry *e = &cache->entries[index];
	bool passed[WR_NR_MEM];

	for (unsigned int tier = 0; tier < WR_NR_MEM; tier++)
		passed[tier] = wr_entry_passes(cache, e, tier);
	wr_cache_apply_rules(cache, index);
	for (unsigned int tier = 0; tier < WR_NR_MEM; tier++) {
		const struct wr_copy *copy = &e->copies[tier];

		if (passed[tier] == wr_entry_passes(cache, e, tier) ||
		    (!copy->is_listed && !copy->is_passing && !copy->is_staged))
			continue;
		wr_cache_unlist(cache, index, tier, false);
		wr_cache_list(cache, index, tier);
	}
}

int weir_cache_rule(struct weir_cache *cache, const char *glob, uint32_t kind)
{
	struct wr_rule *rule;
	size_t len = glob ? strlen(glob) : 0;

	if (!len || kind > WEIR_RULE_L3)
		return -EINVAL;
	if (len >= WEIR_CACHE_GLOB_BYTES)
		return -ENAMETOOLONG;
	wr_mutex_lock(&cache->lock);
	if (cache->nr_rules == WR_NR_RULES) {
		wr_mutex_unlock(&cache->lock);
		return -ENOSPC;
	}
	rule = &cache->rules[cache->nr_rules++];
	memcpy(rule->glob, glob, len + 1);
	rule->kind = (uint8_t)kind;
	for (uint32_t i = 0; i <= cache->mask; i++)
		if (wr_load_relaxed(&cache->slots[i].word) & WR_WORD_USED)
			apply_again(cache, i);
	wr_cache_room_changed(cache);
	wr_mutex_unlock(&cache->lock);
	return 0;
}

int weir_cache_keep(struct weir_cache *cache, struct weir_key key, bool keep)
{
	uint32_t index;
	int rc = 0;

	wr_mutex_lock(&cache->lock);
	index = wr_cache_find(cache, key);
	if (index == WR_NO_SLOT || wr_cache_is_bare(cache, index))
		rc = -ENOENT;
	else if (!keep && !cache->entries[index].nr_keep)
		rc = -EINVAL;
	else if (keep)
		cache->entries[index].nr_keep++;
	else
		cache->entries[index].nr_keep--;
	wr_cache_room_changed(cache);
	wr_mutex_unlock(&cache->lock);
	return rc;
}

/* ---- needs and likelihoods ---- */

/* What found no room now comes before all else that is foreseen, as far as somebody foresees. */
static void need_later(struct weir_cache *cache, const struct weir_cache_item *items, size_t nr)
{
	struct wr_ahead *ahead = wr_load_acquire(&cache->ahead);

	for (size_t i = 0; ahead && i < nr; i++)
		if (!wr_cache_check_item(cache, &items[i]))
			wr_ahead_need(ahead, &items[i]);
	if (ahead)
		wr_ahead_look(ahead);
}

int64_t weir_cache_need(struct weir_cache *cache, const struct weir_cache_item *items, size_t nr)
{
	struct wr_ahead *ahead = wr_load_acquire(&cache->ahead);

	for (size_t i = 0; i < nr; i++) {
		int rc = wr_cache_begin(cache, &items[i], true);

		if (rc == -EINVAL || rc == -ECANCELED || rc == -ENODEV)
			return rc;
		if (rc == 1 && ahead)
			wr_ahead_fetching(ahead, &items[i]);
		if (rc < 0) {
			need_later(cache, &items[i], nr - i);
			return (int64_t)i;
		}
	}
	return (int64_t)nr;
}

/* Of what is there: it will be used so many references from now. */
static void foresee(struct weir_cache *cache, const struct weir_cache_item *item, uint64_t distance)
{
	uint32_t index;

	wr_mutex_lock(&cache->lock);
	index = wr_cache_find(cache, item->key);
	for (unsigned int tier = 0; index != WR_NO_SLOT && tier < WR_NR_MEM; tier++) {
		struct wr_entry *e = &cache->entries[index];
		struct wr_policy *policy = cache->tiers[tier].policies[e->class_id];

		if (e->copies[tier].is_listed)
			wr_policy_forecast(policy, &e->copies[tier].node,
					   wr_policy_clock(policy) + distance);
	}
	wr_mutex_unlock(&cache->lock);
}

int64_t weir_cache_likely(struct weir_cache *cache, const struct weir_cache_item *items, size_t nr,
			  uint32_t permille)
{
	struct wr_ahead *ahead = wr_load_acquire(&cache->ahead);
	int64_t nr_begun = 0;
	bool has_room = permille >= PREFETCH_PERMILLE;

	if (!permille || permille > 1000)
		return -EINVAL;
	for (size_t i = 0; i < nr; i++) {
		int rc = wr_cache_check_item(cache, &items[i]);

		/* Who foresees weighs it against all else, and begins it if it is worth it. */
		if (!rc && has_room && !(ahead && wr_ahead_likely(ahead, &items[i], permille)))
			rc = wr_cache_begin(cache, &items[i], false);

		if (rc == -EINVAL || rc == -ECANCELED || rc == -ENODEV)
			return rc;
		has_room = has_room && rc != -EAGAIN;
		nr_begun += rc == 1;
		if (rc != 1)
			foresee(cache, &items[i], (i + 1) * 1000 / permille);
	}
	if (ahead)
		wr_ahead_look(ahead);
	return nr_begun;
}

/* ---- plans ---- */

static struct wr_plan_slot *plan_slot(struct wr_plan *plan, struct weir_key key)
{
	uint32_t i = (uint32_t)(key.lo ^ key.hi >> 17) & plan->mask;

	while (plan->slots[i].position && !weir_key_equal(plan->slots[i].key, key))
		i = (i + 1) & plan->mask;
	return &plan->slots[i];
}

static int make_plan(const struct weir_key *keys, size_t nr, bool is_cyclic, struct wr_plan **ret)
{
	struct wr_plan *plan;
	uint32_t size = 2;

	while (size < nr * 2)
		size *= 2;
	plan = wr_calloc(1, sizeof(*plan) + size * sizeof(plan->slots[0]));
	if (!plan)
		return -ENOMEM;
	plan->nr = (uint32_t)nr;
	plan->mask = size - 1;
	plan->is_cyclic = is_cyclic;
	for (uint32_t i = 0; i < nr; i++) {
		struct wr_plan_slot *slot = plan_slot(plan, keys[i]);

		if (slot->position) {
			wr_free(plan);
			return -EEXIST;
		}
		slot->key = keys[i];
		slot->position = i + 1;
	}
	*ret = plan;
	return 0;
}

uint64_t wr_cache_next_use(struct weir_cache *cache, const struct wr_policy *policy,
			   struct weir_key key)
{
	struct wr_plan *plan = cache->plan;
	uint32_t position;

	wr_lock_assert_held(&cache->lock);
	if (!plan)
		return WR_POLICY_UNKNOWN;
	position = plan_slot(plan, key)->position;
	if (!position)
		return WR_POLICY_UNKNOWN;
	position--;
	if (position >= plan->at)
		return wr_policy_clock(policy) + (position - plan->at) + 1;
	if (!plan->is_cyclic)
		return WR_POLICY_NEVER;
	return wr_policy_clock(policy) + (plan->nr - plan->at + position) + 1;
}

void wr_cache_plan_reference(struct weir_cache *cache, struct wr_policy *policy,
			     struct weir_key key, struct wr_policy_node *node)
{
	struct wr_plan *plan = cache->plan;
	uint32_t position = plan_slot(plan, key)->position;

	wr_lock_assert_held(&cache->lock);
	if (!position)
		return;
	plan->at = position == plan->nr && plan->is_cyclic ? 0 : position;
	if (node)
		wr_policy_forecast(policy, node, wr_cache_next_use(cache, policy, key));
}

int weir_cache_plan(struct weir_cache *cache, const struct weir_key *keys, size_t nr,
		    bool is_cyclic)
{
	struct wr_plan *plan = NULL, *old;
	int rc = 0;

	if (nr > MAX_PLAN || !keys != !nr)
		return -EINVAL;
	if (nr)
		rc = make_plan(keys, nr, is_cyclic, &plan);
	if (rc)
		return rc;
	wr_mutex_lock(&cache->lock);
	old = cache->plan;
	cache->plan = plan;
	/* Without a plan before and now, what others forecast stands. */
	for (uint32_t i = 0; (old || plan) && i <= cache->mask; i++)
		for (unsigned int tier = 0; tier < WR_NR_MEM; tier++) {
			struct wr_entry *e = &cache->entries[i];
			struct wr_copy *copy = &e->copies[tier];
			struct wr_policy *policy = cache->tiers[tier].policies[e->class_id];

			if (copy->is_listed)
				wr_policy_forecast(
					policy, &copy->node,
					wr_cache_next_use(cache, policy, copy->node.key));
		}
	wr_mutex_unlock(&cache->lock);
	wr_free(old);
	if (wr_load_acquire(&cache->ahead))
		wr_ahead_plan(wr_load_acquire(&cache->ahead), keys, nr, is_cyclic);
	return 0;
}
