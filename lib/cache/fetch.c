/* SPDX-License-Identifier: MIT */
/*
 * How copies come: one fetch per entry at a time, from the other memory tier, from L3, or from the
 * class's source, whichever has it first. Whoever asks meanwhile waits on the entry, and is told
 * the result by whoever brings it; the entry is then held for each who waited until he has it
 * pinned, so that it cannot leave in between.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "cache/ahead_internal.h"
#include "cache/cache_internal.h"

struct wr_policy *wr_cache_policy(struct weir_cache *cache, unsigned int tier, uint32_t class_id)
{
	struct wr_policy **at = &cache->tiers[tier].policies[class_id], *policy = *at;
	uint64_t *told = &cache->tiers[tier].numbers[class_id].told_bytes;
	uint64_t bytes = wr_max(wr_cache_room_of(cache, tier, class_id), WEIR_TIER_ALIGN);
	struct wr_policy_opts opts = {
		.capacity_bytes = bytes,
		.nr_entries = wr_min((uint64_t)cache->nr_entries_max, bytes / WEIR_TIER_ALIGN + 1),
		.seed = cache->id};

	wr_lock_assert_held(&cache->lock);
	if (!policy && !wr_policy_open(cache->classes[class_id].policy_name, &opts, &policy)) {
		*at = policy;
		*told = bytes;
	}
	return policy;
}

void wr_cache_enlist(struct weir_cache *cache, uint32_t index, unsigned int tier)
{
	struct wr_entry *e = &cache->entries[index];
	struct wr_slot *slot = &cache->slots[index];
	struct wr_policy *policy = cache->tiers[tier].policies[e->class_id];
	struct wr_copy *copy = &e->copies[tier];

	wr_lock_assert_held(&cache->lock);
	copy->node.key.hi = wr_load_relaxed(&slot->hi);
	copy->node.key.lo = wr_load_relaxed(&slot->lo);
	copy->node.bytes = copy->charged;
	copy->node.next_use = wr_cache_next_use(cache, policy, copy->node.key);
	wr_policy_insert(policy, &copy->node);
	copy->is_listed = true;
}

void wr_cache_list(struct weir_cache *cache, uint32_t index, unsigned int tier)
{
	struct wr_entry *e = &cache->entries[index];
	struct wr_slot *slot = &cache->slots[index];
	struct wr_copy *copy = &e->copies[tier];

	wr_lock_assert_held(&cache->lock);
	wr_store_relaxed(&slot->mark, wr_load_relaxed(&cache->epoch));
	if (wr_entry_passes(cache, e, tier) || copy->is_unasked) {
		wr_cache_enter_line(cache, index, tier, WR_PASSING);
		return;
	}
	if (tier == WR_L2 && wr_load_relaxed(&slot->word) & WR_WORD_FRESH) {
		copy->node.prob = 0;
		wr_cache_enter_line(cache, index, tier, WR_STAGED);
		return;
	}
	wr_cache_enlist(cache, index, tier);
}

/* Of the limit, what evictions leave free for those that come next: that is no room to fill. */
#define SLACK_PART 256u

/*
 * Whether the policy wants it kept. While there is room all is, and what is larger than the room
 * that its policy knows of is nothing that it can judge.
 */
static bool is_wanted(struct weir_cache *cache, uint32_t index, unsigned int tier, uint64_t bytes)
	WR_REQUIRES(cache->lock)
{
	const struct wr_tier *t = &cache->tiers[tier];
	const struct wr_slot *slot = &cache->slots[index];
	uint32_t class_id = cache->entries[index].class_id;
	struct wr_policy *policy = t->policies[class_id];
	struct weir_key key = {wr_load_relaxed(&slot->hi), wr_load_relaxed(&slot->lo)};
	const struct wr_class_numbers *n = &t->numbers[class_id];
	uint64_t slack = t->limit / SLACK_PART;

	if (t->used + bytes + slack <= t->limit || bytes > n->told_bytes ||
	    n->used_bytes + bytes + slack <= wr_cache_room_of(cache, tier, class_id))
		return true;
	/* It need not fill its room: what passes through and what is staged takes of that too. */
	return wr_policy_admit_full(policy, key, bytes, wr_cache_next_use(cache, policy, key));
}

void wr_cache_ask_again(struct weir_cache *cache, uint32_t index, unsigned int tier)
{
	struct wr_entry *e = &cache->entries[index];
	struct wr_slot *slot = &cache->slots[index];
	struct wr_policy *policy = cache->tiers[tier].policies[e->class_id];
	struct wr_copy *copy = &e->copies[tier];
	struct weir_key key = {wr_load_relaxed(&slot->hi), wr_load_relaxed(&slot->lo)};

	wr_lock_assert_held(&cache->lock);
	wr_policy_miss(policy, key, e->bytes);
	if (cache->plan)
		wr_cache_plan_reference(cache, policy, key, NULL);
	copy->is_unasked = !is_wanted(cache, index, tier, copy->charged);
	wr_cache_unlist(cache, index, tier, false);
	wr_cache_list(cache, index, tier);
}

void wr_cache_set_name(struct wr_entry *e, const char *name)
{
	size_t len = name ? strlen(name) : 0;

	if (!len)
		return;
	if (len >= sizeof(e->name)) {
		name += len - (sizeof(e->name) - 1);
		len = sizeof(e->name) - 1;
	}
	memcpy(e->name, name, len);
	e->name[len] = '\0';
}

const struct weir_cache_source *wr_cache_source(struct weir_cache *cache,
						const struct weir_cache_item *item)
{
	const struct weir_cache_source *source =
		item->source ? item->source : &cache->classes[item->class_id].source;

	return source->fill || source->read ? source : NULL;
}

/* ---- waiting ---- */

void wr_cache_unhold(struct weir_cache *cache, uint32_t index)
{
	struct wr_entry *e = &cache->entries[index];

	wr_lock_assert_held(&cache->lock);
	wr_assert(e->nr_holds);
	if (--e->nr_holds)
		return;
	wr_cond_broadcast(wr_entry_cond(cache, index));
	wr_cache_room_changed(cache);
}

void wr_cache_join(struct weir_cache *cache, uint32_t index, struct wr_waiter *w)
{
	struct wr_entry *e = &cache->entries[index];

	wr_lock_assert_held(&cache->lock);
	w->is_done = false;
	w->next = e->waiters;
	e->waiters = w;
}

void wr_cache_leave(struct weir_cache *cache, uint32_t index, const struct wr_waiter *w)
{
	struct wr_waiter **link;

	wr_lock_assert_held(&cache->lock);
	for (link = &cache->entries[index].waiters; *link != w; link = &(*link)->next)
		;
	*link = w->next;
}

int wr_cache_wait(struct weir_cache *cache, uint32_t index, struct wr_waiter *w)
{
	wr_lock_assert_held(&cache->lock);
	while (!w->is_done) {
		if (cache->is_cancelled) {
			wr_cache_leave(cache, index, w);
			return -ECANCELED;
		}
		wr_cond_wait(wr_entry_cond(cache, index), &cache->lock);
	}
	return w->result;
}

static void tell_waiters(struct weir_cache *cache, uint32_t index, int result)
	WR_REQUIRES(cache->lock)
{
	struct wr_entry *e = &cache->entries[index];

	wr_lock_assert_held(&cache->lock);
	for (struct wr_waiter *w = e->waiters; w; w = w->next) {
		w->result = result;
		w->is_done = true;
		e->nr_holds += !result;
	}
	e->waiters = NULL;
	wr_cond_broadcast(wr_entry_cond(cache, index));
}

/* ---- the end of a fetch ---- */

static void came(struct weir_cache *cache, uint32_t index, unsigned int tier, size_t offset)
	WR_REQUIRES(cache->lock)
{
	struct wr_entry *e = &cache->entries[index];
	struct wr_class_numbers *n = &cache->tiers[tier].numbers[e->class_id];
	struct wr_slot *slot = &cache->slots[index];

	wr_store_relaxed(&slot->data[tier], (char *)e->copies[tier].mem.base + offset);
	wr_store_relaxed(&slot->bytes, e->bytes);
	if (e->is_speculative && !e->waiters)
		wr_store_relaxed(&slot->word, wr_load_relaxed(&slot->word) | WR_WORD_FRESH);
	n->nr_fills++;
	n->fill_bytes += e->bytes;
	if (tier == WR_L2 && wr_entry_is_dirty(e))
		n->dirty_bytes += e->copies[tier].charged;
	wr_cache_list(cache, index, tier);
	wr_cache_set_state(cache, index, tier, WR_COPY_READY);
}

/* Undo a bring; the memory, if there is any, goes back. Unlocks meanwhile. */
static void came_not(struct weir_cache *cache, uint32_t index, unsigned int tier)
	WR_REQUIRES(cache->lock)
{
	struct wr_entry *e = &cache->entries[index];
	struct wr_class_numbers *n = &cache->tiers[tier].numbers[e->class_id];
	struct wr_copy *copy = &e->copies[tier];

	if (copy->charged)
		wr_cache_give(cache, tier, e->class_id, &copy->mem, copy->charged);
	copy->charged = 0;
	n->nr_failed++;
	n->nr_entries--;
	n->nr_wasted += e->is_speculative;
	wr_cache_set_state(cache, index, tier, WR_COPY_NONE);
}

static void end_fetch(struct weir_cache *cache, uint32_t index, unsigned int tier, int result,
		      size_t offset) WR_REQUIRES(cache->lock)
{
	struct wr_entry *e = &cache->entries[index];

	wr_lock_assert_held(&cache->lock);
	if (e->is_ours && tier == WR_L2) {
		e->is_ours = false;
		wr_ahead_filled(cache, index, result);
	}
	if (result)
		came_not(cache, index, tier);
	else
		came(cache, index, tier, offset);
	tell_waiters(cache, index, result);
	if (e->copies[tier].cache) { /* copied: the other copy was held */
		e->copies[tier].cache = NULL;
		wr_cache_unhold(cache, index);
	}
	wr_cache_left(cache, &cache->nr_filling);
	if (result && wr_cache_is_bare(cache, index)) {
		wr_cache_del(cache, index);
		wr_cache_room_changed(cache);
	}
}

void wr_cache_complete(struct weir_cache *cache, uint64_t token, int result, size_t offset)
{
	uint32_t index = wr_tag_index(token);
	unsigned int tier = wr_tag_tier(token);
	uint64_t word;

	wr_mutex_lock(&cache->lock);
	word = wr_load_relaxed(&cache->slots[index].word);
	wr_assert(wr_tag_is_of(token, word) && wr_copy_state(word, tier) == WR_COPY_FILLING);
	end_fetch(cache, index, tier, result, offset);
	wr_mutex_unlock(&cache->lock);
}

static void copy_done(void *arg, int result)
{
	struct wr_copy *copy = arg;

	wr_cache_complete(copy->cache, copy->token, result, 0);
}

static void read_failed(struct weir_cache *cache, uint64_t token)
{
	wr_mutex_lock(&cache->lock);
	cache->store_numbers[cache->entries[wr_tag_index(token)].class_id].nr_failed++;
	wr_mutex_unlock(&cache->lock);
}

static void read_done(void *arg, int result)
{
	struct wr_copy *copy = arg;

	/* Not a copy: nothing was held for it. */
	if (result)
		read_failed(copy->reader, copy->token);
	wr_cache_complete(copy->reader, copy->token, result, 0);
}

/* ---- the ways ---- */

enum way {
	WAY_COPY,  /* from the other memory tier */
	WAY_STORE, /* from L3 */
	WAY_FILL,  /* from the class's source */
};

/* 0 when it has begun (or ended). No lock held. */
static int begin_copy(struct weir_cache *cache, uint32_t index, unsigned int tier)
{
	struct wr_slot *slot = &cache->slots[index];
	struct wr_copy *copies = cache->entries[index].copies;
	void *l2 = tier == WR_L1 ? wr_load_relaxed(&slot->data[WR_L2]) : copies[WR_L2].mem.base;
	const struct wr_tier *l1 = &cache->tiers[WR_L1];
	size_t bytes = cache->entries[index].bytes;

	if (!l1->ops.copy_in) {
		if (tier == WR_L1)
			memcpy(copies[WR_L1].mem.base, l2, bytes);
		else
			memcpy(l2, wr_load_relaxed(&slot->data[WR_L1]), bytes);
		copy_done(&copies[tier], 0);
		return 0;
	}
	if (tier == WR_L1)
		return l1->ops.copy_in(l1->arg, &copies[WR_L1].mem, l2, bytes, copy_done,
				       &copies[tier]);
	return l1->ops.copy_out(l1->arg, &copies[WR_L1].mem, l2, bytes, copy_done, &copies[tier]);
}

static int begin_read(struct weir_cache *cache, uint32_t index)
{
	struct wr_slot *slot = &cache->slots[index];
	struct wr_copy *copy = &cache->entries[index].copies[WR_L2];
	struct weir_key key = {wr_load_relaxed(&slot->hi), wr_load_relaxed(&slot->lo)};

	int rc = cache->store.get(cache->store_arg, key, copy->mem.base, copy->mem.bytes, read_done,
				  copy);

	if (rc)
		read_failed(cache, copy->token);
	return rc;
}

/* From when the source has said 0 the fetch may be promoted; one that should have been, is now. */
static void has_begun(struct weir_cache *cache, const struct weir_cache_source *source,
		      uint64_t token, bool demand)
{
	uint32_t index = wr_tag_index(token);
	struct wr_entry *e = &cache->entries[index];
	bool promote = false, cancel = false;
	uint64_t word;

	wr_mutex_lock(&cache->lock);
	word = wr_load_relaxed(&cache->slots[index].word);
	if (wr_tag_is_of(token, word) && wr_copy_state(word, WR_L2) == WR_COPY_FILLING) {
		e->has_started = true;
		promote = !demand && !e->is_speculative;
		cancel = e->is_cancelled || cache->is_cancelled;
	}
	wr_mutex_unlock(&cache->lock);
	wr_lock_assert_none_held("a source's promote or cancel");
	if (promote && source->promote)
		source->promote(source->arg, token);
	if (cancel && source->cancel)
		source->cancel(source->arg, token);
}

static int begin_fill(struct weir_cache *cache, uint32_t index, uint64_t token, void *cookie,
		      bool demand)
{
	struct wr_slot *slot = &cache->slots[index];
	struct wr_entry *e = &cache->entries[index];
	const struct weir_cache_source *source = e->source;
	struct weir_cache_fill fill = {
		.token = token,
		.key = {wr_load_relaxed(&slot->hi), wr_load_relaxed(&slot->lo)},
		.cookie = cookie,
		.mem = e->copies[WR_L2].mem.base,
		.mem_bytes = e->copies[WR_L2].mem.bytes,
		.bytes = e->bytes,
		.class_id = e->class_id,
		.demand = demand};
	size_t offset = 0;
	int rc;

	if (source->read) {
		rc = source->read(source->arg, &fill, &offset);
		if (!rc && (offset > fill.mem_bytes || fill.bytes > fill.mem_bytes - offset))
			rc = -EINVAL;
		wr_cache_complete(cache, token, rc, offset);
		return 0;
	}
	rc = source->fill(source->arg, &fill);
	if (!rc)
		has_begun(cache, source, token, demand);
	return rc;
}

/* Where the bytes are, and how many. The copy is FILLING, so that this stays so. Unlocks. */
static int find_way(struct weir_cache *cache, uint32_t index, unsigned int tier,
		    const struct weir_cache_item *item, enum way *ret) WR_REQUIRES(cache->lock)
{
	struct wr_entry *e = &cache->entries[index];
	struct wr_slot *slot = &cache->slots[index];
	struct wr_class_numbers *n = &cache->store_numbers[e->class_id];
	struct weir_store_item found;
	int rc = -ENOENT;

	if (wr_load_relaxed(&slot->word) & WR_WORD_READABLE(tier ^ 1)) {
		*ret = WAY_COPY;
		return 0;
	}
	if (cache->store.size) {
		struct weir_key key = {wr_load_relaxed(&slot->hi), wr_load_relaxed(&slot->lo)};

		wr_mutex_unlock(&cache->lock);
		rc = cache->store.find(cache->store_arg, key, &found);
		wr_mutex_lock(&cache->lock);
		n->slow_hits += !rc;
		n->slow_hit_bytes += rc ? 0 : found.bytes;
		n->nr_misses += rc == -ENOENT;
		n->nr_failed += rc && rc != -ENOENT;
	}
	if (!rc) {
		*ret = WAY_STORE;
		e->is_owned = true;
		e->is_stored = true;
		e->bytes = found.bytes;
		return 0;
	}
	e->source = item ? wr_cache_source(cache, item) : NULL;
	if (rc != -ENOENT || !e->source)
		return rc;
	if (!item->bytes)
		return -EINVAL;
	*ret = WAY_FILL;
	e->bytes = item->bytes;
	return 0;
}

/* Memory for it, and then begin. */
static int start(struct weir_cache *cache, uint32_t index, unsigned int tier,
		 const struct weir_cache_item *item, enum wr_urgency urgency)
	WR_REQUIRES(cache->lock)
{
	struct wr_entry *e = &cache->entries[index];
	struct wr_copy *copy = &e->copies[tier];
	struct weir_tier_mem mem;
	uint64_t bytes;
	enum way way = WAY_FILL;
	int rc = find_way(cache, index, tier, item, &way);

	if (rc)
		return rc;
	bytes = e->bytes;
	if (way == WAY_FILL)
		bytes = wr_max(bytes, (uint64_t)item->landing_bytes);
	bytes = wr_align_up(bytes, WEIR_TIER_ALIGN);
	if (way == WAY_COPY)
		e->nr_holds++;
	/* Only of what somebody reads and looks at now: forecasts and hints know more than it. */
	if (way == WAY_FILL && urgency == WR_WAITING && item->tier != WEIR_TIER_L1 &&
	    e->rule == WEIR_RULE_NORMAL && !is_wanted(cache, index, tier, bytes)) {
		copy->is_unasked = true;
		cache->tiers[tier].numbers[e->class_id].nr_passed++;
	}
	rc = wr_cache_take(cache, tier, e->class_id, bytes, urgency == WR_WAITING, &mem);
	if (rc) {
		if (way == WAY_COPY)
			wr_cache_unhold(cache, index);
		return rc;
	}
	copy->mem = mem;
	copy->charged = bytes;
	copy->cache = way == WAY_COPY ? cache : NULL;
	copy->reader = cache;
	copy->token = wr_tag(index, tier, wr_load_relaxed(&cache->slots[index].word));
	if (cache->is_cancelled)
		return -ECANCELED;
	wr_mutex_unlock(&cache->lock);
	wr_lock_assert_none_held("a fetch");
	if (way == WAY_COPY)
		rc = begin_copy(cache, index, tier);
	else if (way == WAY_STORE)
		rc = begin_read(cache, index);
	else
		rc = begin_fill(cache, index, copy->token, item->cookie, urgency != WR_AHEAD);
	wr_mutex_lock(&cache->lock);
	return rc;
}

int wr_cache_bring(struct weir_cache *cache, uint32_t index, unsigned int tier,
		   const struct weir_cache_item *item, enum wr_urgency urgency, struct wr_waiter *w)
{
	struct wr_entry *e = &cache->entries[index];
	struct wr_class_numbers *n = &cache->tiers[tier].numbers[e->class_id];
	const struct wr_ahead *ahead = wr_load_relaxed(&cache->ahead);
	int rc;

	wr_lock_assert_held(&cache->lock);
	wr_assert(wr_copy_state(wr_load_relaxed(&cache->slots[index].word), tier) == WR_COPY_NONE);
	e->is_speculative = urgency == WR_AHEAD;
	if (tier == WR_L2)
		e->is_ours = urgency == WR_AHEAD && ahead && wr_ahead_is_caller(ahead);
	e->has_started = false;
	e->is_cancelled = false;
	e->is_busy = false;
	e->source = NULL;
	e->copies[tier].charged = 0;
	e->copies[tier].cache = NULL;
	e->copies[tier].is_unasked = false;
	n->nr_entries++;
	n->nr_prefetches += urgency == WR_AHEAD;
	cache->nr_filling++;
	wr_cache_set_state(cache, index, tier, WR_COPY_FILLING);
	if (w)
		wr_cache_join(cache, index, w);
	rc = wr_cache_policy(cache, tier, e->class_id) ? start(cache, index, tier, item, urgency)
						       : -ENOMEM;
	if (!rc)
		return 0;
	if (w)
		wr_cache_leave(cache, index, w);
	end_fetch(cache, index, tier, rc, 0);
	return rc;
}
