/* SPDX-License-Identifier: MIT */
/*
 * What the host puts in and takes out: inserts, removes, flush; and prefetches, which nobody waits
 * for. An entry that is being replaced or removed is busy: gets still find what is there, all else
 * waits.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "cache/cache_internal.h"

static void enter(struct weir_cache *cache) WR_ACQUIRE(cache->lock)
{
	wr_mutex_lock(&cache->lock);
	cache->nr_inside++;
	wr_cache_heed(cache);
}

static void leave(struct weir_cache *cache) WR_RELEASE(cache->lock)
{
	wr_cache_left(cache, &cache->nr_inside);
	wr_mutex_unlock(&cache->lock);
}

/* Structs for both copies of one entry, should they be pinned. */
static int prepare_dead(struct weir_cache *cache)
{
	struct wr_dead *dead[WR_NR_MEM];
	bool is_full = true;

	for (unsigned int i = 0; i < WR_NR_MEM; i++) {
		dead[i] = wr_malloc(sizeof(*dead[i]));
		is_full = is_full && dead[i];
	}
	if (!is_full) {
		for (unsigned int i = 0; i < WR_NR_MEM; i++)
			wr_free(dead[i]);
		return -ENOMEM;
	}
	wr_mutex_lock(&cache->lock);
	for (unsigned int i = 0; i < WR_NR_MEM; i++) {
		dead[i]->next = cache->spare;
		cache->spare = dead[i];
	}
	cache->nr_spare += WR_NR_MEM;
	cache->nr_spare_wanted += WR_NR_MEM;
	wr_mutex_unlock(&cache->lock);
	return 0;
}

/* Our entry is done: what nobody else may need goes. */
static void drop_spare(struct weir_cache *cache)
{
	struct wr_dead *list = NULL, *d;

	wr_mutex_lock(&cache->lock);
	cache->nr_spare_wanted -= WR_NR_MEM;
	while (cache->nr_spare > cache->nr_spare_wanted) {
		d = cache->spare;
		cache->spare = d->next;
		cache->nr_spare--;
		d->next = list;
		list = d;
	}
	wr_mutex_unlock(&cache->lock);
	while ((d = list)) {
		list = d->next;
		wr_free(d);
	}
}

/* Nobody fetches, copies, replaces or removes it. */
static bool is_quiet(struct weir_cache *cache, uint32_t index) WR_REQUIRES(cache->lock)
{
	uint64_t word = wr_load_relaxed(&cache->slots[index].word);
	const struct wr_entry *e = &cache->entries[index];

	wr_lock_assert_held(&cache->lock);
	for (unsigned int tier = 0; tier < WR_NR_MEM; tier++) {
		enum wr_copy_state state = wr_copy_state(word, tier);

		if (state == WR_COPY_FILLING || state == WR_COPY_MOVING)
			return false;
	}
	return !e->is_busy && !e->nr_holds;
}

/*
 * Make the entry of a key ours: busy, and quiet. 0, with WR_NO_SLOT when there is none;
 * -ECANCELED.
 */
static int seize(struct weir_cache *cache, struct weir_key key, uint32_t *ret)
	WR_REQUIRES(cache->lock)
{
	int rc = 0;

	wr_lock_assert_held(&cache->lock);
	for (;;) {
		uint32_t index = wr_cache_find(cache, key);

		if (cache->is_cancelled)
			return -ECANCELED;
		if (index == WR_NO_SLOT || is_quiet(cache, index)) {
			if (index != WR_NO_SLOT)
				cache->entries[index].is_busy = true;
			*ret = index;
			return 0;
		}
		rc = wr_cache_wait_change(cache, index);
		if (rc)
			return rc;
	}
}

/* As seize(), and makes an entry where there is none. */
static int seize_or_add(struct weir_cache *cache, const struct weir_cache_item *item, uint32_t *ret)
	WR_REQUIRES(cache->lock)
{
	int rc;

	wr_lock_assert_held(&cache->lock);
	for (;;) {
		rc = seize(cache, item->key, ret);
		if (rc || *ret != WR_NO_SLOT)
			return rc;
		if (cache->nr_entries >= cache->nr_entries_max) {
			rc = wr_cache_make_place(cache, true);
			if (rc)
				return rc;
			continue; /* unlocked meanwhile */
		}
		*ret = wr_cache_add_item(cache, item);
		return 0;
	}
}

static void release(struct weir_cache *cache, uint32_t index) WR_REQUIRES(cache->lock)
{
	wr_lock_assert_held(&cache->lock);
	cache->entries[index].is_busy = false;
	wr_cond_broadcast(wr_entry_cond(cache, index));
	if (wr_cache_is_bare(cache, index))
		wr_cache_del(cache, index);
	wr_cache_room_changed(cache);
}

/* Take an old block out of L3. The entry is ours. Unlocks. 0 also when there was none. */
static int forget_stored(struct weir_cache *cache, struct weir_key key, bool *ret_was)
	WR_REQUIRES(cache->lock)
{
	struct wr_sync sync;
	int rc;

	wr_lock_assert_held(&cache->lock);
	*ret_was = false;
	if (!cache->store.size)
		return 0;
	wr_mutex_unlock(&cache->lock);
	wr_lock_assert_none_held("a store's remove");
	wr_sync_init(&sync, 1);
	rc = cache->store.remove(cache->store_arg, key, wr_sync_done, &sync);
	if (rc)
		wr_sync_done(&sync, rc);
	rc = wr_sync_wait(&sync);
	wr_mutex_lock(&cache->lock);
	*ret_was = !rc;
	return rc == -ENOENT ? 0 : rc;
}

static void detach_all(struct weir_cache *cache, uint32_t index) WR_REQUIRES(cache->lock)
{
	wr_lock_assert_held(&cache->lock);
	for (unsigned int tier = 0; tier < WR_NR_MEM; tier++)
		if (wr_copy_state(wr_load_relaxed(&cache->slots[index].word), tier) ==
		    WR_COPY_READY)
			wr_cache_detach(cache, index, tier, false);
}

/* ---- insert ---- */

/* The new bytes take the place of what was there. The entry is ours, everything is had. */
static void replace(struct weir_cache *cache, uint32_t index, const struct weir_cache_item *item,
		    const struct weir_tier_mem *mem, uint64_t charged) WR_REQUIRES(cache->lock)
{
	struct wr_entry *e = &cache->entries[index];
	struct wr_slot *slot = &cache->slots[index];
	struct wr_class_numbers *n = &cache->tiers[WR_L2].numbers[e->class_id];

	detach_all(cache, index);
	wr_cache_renew(cache, index);
	e->copies[WR_L2].mem = *mem;
	e->copies[WR_L2].charged = charged;
	e->copies[WR_L2].is_unasked = false;
	e->bytes = item->bytes;
	e->is_owned = true;
	e->is_stored = false;
	n->dirty_bytes += charged;
	wr_cache_set_name(e, item->name);
	wr_store_relaxed(&slot->data[WR_L2], mem->base);
	wr_store_relaxed(&slot->bytes, item->bytes);
	n->nr_inserts++;
	n->nr_entries++;
	n->fill_bytes += item->bytes;
	n->nr_fills++;
	wr_cache_list(cache, index, WR_L2);
	wr_cache_set_state(cache, index, WR_L2, WR_COPY_READY);
}

static int insert(struct weir_cache *cache, const struct weir_cache_item *item, const void *data)
	WR_REQUIRES(cache->lock)
{
	uint64_t charged = wr_align_up(item->bytes, WEIR_TIER_ALIGN);
	struct weir_tier_mem mem;
	uint32_t index, class_id;
	bool was_stored;
	int rc;

	rc = seize_or_add(cache, item, &index);
	if (rc)
		return rc;
	class_id = cache->entries[index].class_id;
	rc = wr_cache_policy(cache, WR_L2, class_id) ? 0 : -ENOMEM;
	if (!rc)
		rc = wr_cache_take(cache, WR_L2, class_id, charged, true, &mem);
	if (!rc) {
		wr_mutex_unlock(&cache->lock);
		memcpy(mem.base, data, item->bytes);
		wr_mutex_lock(&cache->lock);
		rc = forget_stored(cache, item->key, &was_stored);
		if (rc)
			wr_cache_give(cache, WR_L2, class_id, &mem, charged);
	}
	if (!rc)
		replace(cache, index, item, &mem, charged);
	release(cache, index);
	if (!rc && cache->entries[index].rule == WEIR_RULE_L3)
		wr_cache_write_one(cache, index);
	if (!rc)
		wr_cache_write_ahead(cache, class_id);
	return rc;
}

int weir_cache_insert(struct weir_cache *cache, const struct weir_cache_item *item,
		      const void *data)
{
	int rc;

	if (!item->bytes || item->bytes > SIZE_MAX / 2 || item->class_id >= WEIR_NR_CLASSES)
		return -EINVAL;
	rc = prepare_dead(cache);
	if (rc)
		return rc;
	wr_might_block("an insert");
	enter(cache);
	rc = insert(cache, item, data);
	leave(cache);
	drop_spare(cache);
	return rc;
}

/* ---- remove ---- */

static int remove_key(struct weir_cache *cache, struct weir_key key) WR_REQUIRES(cache->lock)
{
	struct weir_cache_item item = {.key = key, .class_id = WEIR_CLASS_OTHER};
	bool was_here, was_stored;
	uint32_t index;
	int rc;

	if (!cache->store.size) {
		rc = seize(cache, key, &index);
		if (rc || index == WR_NO_SLOT)
			return rc ? rc : -ENOENT;
	} else {
		/* An entry keeps others from bringing it from L3 while it goes there. */
		rc = seize_or_add(cache, &item, &index);
		if (rc)
			return rc;
	}
	was_here = !wr_cache_is_bare(cache, index);
	rc = forget_stored(cache, key, &was_stored);
	if (!rc) {
		detach_all(cache, index);
		wr_cache_renew(cache, index);
	}
	release(cache, index);
	return rc || was_here || was_stored ? rc : -ENOENT;
}

int weir_cache_remove(struct weir_cache *cache, struct weir_key key)
{
	int rc = prepare_dead(cache);

	if (rc)
		return rc;
	wr_might_block("a remove");
	enter(cache);
	rc = remove_key(cache, key);
	leave(cache);
	drop_spare(cache);
	return rc;
}

/* ---- prefetch ---- */

static int prefetch(struct weir_cache *cache, const struct weir_cache_item *item, bool demand)
	WR_REQUIRES(cache->lock)
{
	const struct weir_cache_source *source = wr_cache_source(cache, item);
	uint32_t index;
	int rc = 0;

	wr_lock_assert_held(&cache->lock);
	if (cache->is_cancelled)
		return -ECANCELED;
	index = wr_cache_find(cache, item->key);
	if (index != WR_NO_SLOT && demand)
		wr_cache_promote(cache, index);
	if (index != WR_NO_SLOT)
		return 0;
	if (source ? !item->bytes : !cache->store.size)
		return source ? -EINVAL : -ENOENT;
	if (cache->nr_entries >= cache->nr_entries_max)
		rc = wr_cache_make_place(cache, false);
	if (rc)
		return rc;
	if (wr_cache_find(cache, item->key) != WR_NO_SLOT)
		return 0;
	index = wr_cache_add_item(cache, item);
	if (index == WR_NO_SLOT)
		return -EAGAIN;
	rc = wr_cache_bring(cache, index, WR_L2, item, demand ? WR_EAGER : WR_AHEAD, NULL);
	return rc ? rc : 1;
}

int wr_cache_begin(struct weir_cache *cache, const struct weir_cache_item *item, bool demand)
{
	int rc = wr_cache_check_item(cache, item);

	if (rc)
		return rc;
	enter(cache);
	rc = prefetch(cache, item, demand);
	leave(cache);
	return rc;
}

int weir_cache_prefetch(struct weir_cache *cache, const struct weir_cache_item *item)
{
	return wr_cache_begin(cache, item, false);
}

void weir_cache_prefetch_cancel(struct weir_cache *cache, struct weir_key key)
{
	const struct weir_cache_source *source = NULL;
	uint64_t token = 0, word;
	uint32_t index;

	enter(cache);
	index = wr_cache_find(cache, key);
	if (index != WR_NO_SLOT) {
		struct wr_entry *e = &cache->entries[index];

		word = wr_load_relaxed(&cache->slots[index].word);
		token = wr_tag(index, WR_L2, word);
		if (wr_copy_state(word, WR_L2) == WR_COPY_FILLING && e->is_speculative &&
		    !e->waiters && !e->is_cancelled) {
			e->is_cancelled = true;
			if (e->has_started)
				source = e->source;
		}
	}
	wr_mutex_unlock(&cache->lock);
	wr_lock_assert_none_held("a source's cancel");
	if (source && source->cancel)
		source->cancel(source->arg, token);
	wr_mutex_lock(&cache->lock);
	leave(cache);
}
