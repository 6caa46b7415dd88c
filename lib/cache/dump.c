/* SPDX-License-Identifier: MIT */
/* All entries of a cache, for those who look inside. */
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
