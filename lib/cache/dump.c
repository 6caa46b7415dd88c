/* SPDX-License-Identifier: MIT */
/* Entries and orders of a cache, for those who look inside. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "cache/cache_internal.h"

static const char *state_name(uint64_t word, unsigned int tier)
{
	static const char *const names[] = {"none", "filling", "ready", "moving", "leaving"};

	return names[wr_copy_state(word, tier)];
}

/* False: there is no entry in the slot. */
static bool look(struct weir_cache *cache, uint32_t index, struct weir_cache_entry *ret,
		 char name[static WEIR_CACHE_NAME_BYTES]) WR_REQUIRES(cache->lock)
{
	const struct wr_entry *e = &cache->entries[index];
	struct wr_slot *slot = &cache->slots[index];
	uint64_t word = wr_load_relaxed(&slot->word);

	wr_lock_assert_held(&cache->lock);
	if (!(word & WR_WORD_USED))
		return false;
	memcpy(name, e->name, WEIR_CACHE_NAME_BYTES);
	*ret = (struct weir_cache_entry){
		.key = {wr_load_relaxed(&slot->hi), wr_load_relaxed(&slot->lo)},
		.name = name,
		.bytes = e->bytes,
		.nr_uses = e->nr_uses,
		.l1 = state_name(word, WR_L1),
		.l2 = state_name(word, WR_L2),
		.class_id = e->class_id,
		.is_owned = e->is_owned,
		.is_stored = e->is_stored,
		.is_kept = e->nr_keep || e->rule == WEIR_RULE_PIN,
		.is_pinned = wr_cache_is_pinned(cache, wr_tag(index, WR_L1, word)) ||
			     wr_cache_is_pinned(cache, wr_tag(index, WR_L2, word))};
	return true;
}

int weir_cache_dump(struct weir_cache *cache,
		    int (*fn)(void *arg, const struct weir_cache_entry *entry), void *arg)
{
	char name[WEIR_CACHE_NAME_BYTES];
	struct weir_cache_entry entry;
	int rc = 0;

	for (uint32_t i = 0; !rc && i <= cache->mask; i++) {
		bool is_there;

		wr_mutex_lock(&cache->lock);
		is_there = look(cache, i, &entry, name);
		wr_mutex_unlock(&cache->lock);
		wr_lock_assert_none_held("a dump");
		if (is_there)
			rc = fn(arg, &entry);
	}
	return rc;
}

int weir_cache_policy(struct weir_cache *cache, uint32_t tier, uint32_t class_id,
		      struct weir_cache_policy *ret)
{
	const struct wr_policy *policy;
	const char *asked_for;
	struct weir_cache_policy r = {0};
	struct wr_policy_info info = {.chosen = "", .reason = ""};

	if ((tier != WEIR_TIER_L1 && tier != WEIR_TIER_L2) || class_id >= WEIR_NR_CLASSES)
		return -EINVAL;
	asked_for = cache->classes[class_id].policy_name;
	wr_mutex_lock(&cache->lock);
	policy = cache->tiers[tier - 1].policies[class_id];
	if (policy)
		wr_policy_info(policy, &info);
	/* The reason is the policy's, and changes with it. */
	(void)snprintf(r.name, sizeof(r.name), "%s", asked_for ? asked_for : "auto");
	(void)snprintf(r.chosen, sizeof(r.chosen), "%s", info.chosen);
	(void)snprintf(r.reason, sizeof(r.reason), "%s", info.reason);
	r.nr_changes = info.nr_changes;
	r.cycle_bytes = info.cycle_bytes;
	r.below_cycle = info.below_cycle;
	wr_mutex_unlock(&cache->lock);
	*ret = r;
	return 0;
}
