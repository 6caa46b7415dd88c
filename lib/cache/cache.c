/* SPDX-License-Identifier: MIT */
/*
 * The hierarchical cache: opening, closing, budgets, statistics. What it is, the states of its
 * entries and its guarantees are in weir/cache.h; how it keeps them, in cache_internal.h.
 */
#include <weir/cache.h>

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "cache/ahead_internal.h"
#include "cache/cache_internal.h"
#include "cache/tier_packed.h"
#include "cache/tier_pool.h"
#include "tier/ops.h"
#include "tier/store.h"

#define DEFAULT_ENTRIES	  65536u
#define MIN_ENTRIES	  64u
#define DEFAULT_ROOM_WAIT 1000000000u

/* ---- opening ---- */

static int check_memory_tier(const struct weir_tier_ops *ops, bool is_main)
{
	if (ops->size < sizeof(*ops) || !ops->alloc || !ops->free ||
	    !ops->copy_in != !ops->copy_out)
		return -EINVAL;
	return is_main && ops->copy_in ? -EINVAL : 0;
}

static int check_opts(struct weir_cache_opts *o)
{
	uint64_t permille = 0;
	int rc = 0;

	o->nr_entries = o->nr_entries ? o->nr_entries : DEFAULT_ENTRIES;
	o->room_wait_ns = o->room_wait_ns ? o->room_wait_ns : DEFAULT_ROOM_WAIT;
	if (!o->pool == !o->l2 || o->nr_entries < MIN_ENTRIES ||
	    o->nr_entries > 1u << WR_MAX_ENTRIES_LOG || (o->l1 && !o->l1_budget) ||
	    (o->l3 && o->l3_dir) || !o->l3_dir != !o->l3_budget || o->l3_no_sync > 1 ||
	    o->l2_packed > 1 || (o->l2_packed && (!o->pool || !o->l2_budget)))
		return -EINVAL;
	for (uint32_t c = 0; c < WEIR_NR_CLASSES; c++) {
		if (o->classes[c].share_permille > 1000 ||
		    (o->classes[c].source.fill && o->classes[c].source.read))
			return -EINVAL;
		permille += o->classes[c].share_permille;
	}
	if (permille > 1000)
		return -EINVAL;
	if (o->l1)
		rc = check_memory_tier(o->l1, false);
	if (!rc && o->l2)
		rc = o->l2_budget ? check_memory_tier(o->l2, true) : -EINVAL;
	if (!rc && o->l3 &&
	    (o->l3->size < sizeof(*o->l3) || !o->l3->put || !o->l3->get || !o->l3->remove ||
	     !o->l3->find))
		rc = -EINVAL;
	return rc;
}

/* Names are found out now, and not when a class is first used. */
static int check_policies(const struct weir_cache_opts *o, struct weir_error *err)
{
	struct wr_policy_opts opts = {.capacity_bytes = 1 << 20, .nr_entries = 1};

	for (uint32_t c = 0; c < WEIR_NR_CLASSES; c++) {
		struct wr_policy *p;
		int rc = wr_policy_open(o->classes[c].policy, &opts, &p);

		if (rc)
			return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
					    "policy \"%s\" of class %u: %s",
					    o->classes[c].policy ? o->classes[c].policy : "auto", c,
					    weir_strerror(rc));
		wr_policy_close(p);
	}
	return 0;
}

static void set_tiers(struct weir_cache *cache, const struct weir_cache_opts *o)
{
	struct wr_tier *l1 = &cache->tiers[WR_L1], *l2 = &cache->tiers[WR_L2];
	struct weir_pool_stats stats;

	if (o->l1) {
		l1->ops = *o->l1;
		l1->arg = o->l1_arg;
		l1->budget = l1->limit = o->l1_budget;
	}
	l2->ops = o->pool ? wr_cache_pool_ops : *o->l2;
	l2->arg = o->pool ? (void *)o->pool : o->l2_arg;
	l2->budget = o->l2_budget;
	if (!l2->budget) {
		weir_pool_stats(o->pool, &stats);
		l2->budget = stats.capacity_bytes;
	}
	l2->limit = l2->budget;
	if (o->l3) {
		cache->store = *o->l3;
		cache->store_arg = o->l3_arg;
	}
	for (uint32_t c = 0; c < WEIR_NR_CLASSES; c++) {
		cache->classes[c].source = o->classes[c].source;
		cache->classes[c].share_permille = (uint32_t)o->classes[c].share_permille;
	}
}

/* After everything else: it is not made for a cache that cannot be opened. */
static int open_folder(struct weir_cache *cache, const struct weir_cache_opts *o,
		       struct weir_error *err)
{
	struct wr_store_opts store = {.size = sizeof(store),
				      .budget_bytes = o->l3_budget,
				      .io = o->l3_io,
				      .sync = o->l3_no_sync ? WR_STORE_SYNC_NONE
							    : WR_STORE_SYNC_DATA};
	int rc = o->l3_dir ? wr_store_open(o->l3_dir, &store, &cache->folder, err) : 0;

	if (rc || !o->l3_dir)
		return rc;
	cache->store = wr_store_ops;
	cache->store_arg = cache->folder;
	return 0;
}

/* The table is at most two thirds full. Memory that is not touched is not taken. */
static int make_table(struct weir_cache *cache, uint64_t nr_entries)
{
	uint64_t nr = 1;

	while (nr * 2 < nr_entries * 3)
		nr *= 2;
	cache->mask = (uint32_t)(nr - 1);
	cache->nr_entries_max = (uint32_t)nr_entries;
	cache->table_memory = wr_calloc(nr + 1, sizeof(*cache->slots));
	cache->entries = wr_calloc(nr, sizeof(*cache->entries));
	if (!cache->table_memory || !cache->entries)
		return -ENOMEM;
	cache->slots = (struct wr_slot *)wr_align_up((uintptr_t)cache->table_memory, WR_CACHE_LINE);
	return 0;
}

static int copy_names(struct weir_cache *cache, const struct weir_cache_opts *o)
{
	for (uint32_t c = 0; c < WEIR_NR_CLASSES; c++) {
		if (!o->classes[c].policy)
			continue;
		cache->classes[c].policy_name = wr_strdup(o->classes[c].policy);
		if (!cache->classes[c].policy_name)
			return -ENOMEM;
	}
	return 0;
}

static int open_packed(struct weir_cache *cache, const struct weir_cache_opts *o,
		       struct weir_error *err)
{
	int rc = o->l2_packed ? wr_packed_open(o->pool, o->l2_budget, &cache->packed) : 0;

	if (rc)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
				    "the pool has no %llu bytes for L2: %s",
				    (unsigned long long)o->l2_budget, weir_strerror(rc));
	if (!o->l2_packed)
		return 0;
	cache->tiers[WR_L2].ops = wr_cache_packed_ops;
	cache->tiers[WR_L2].arg = cache->packed;
	return 0;
}

static void free_cache(struct weir_cache *cache)
{
	wr_store_close(cache->folder);
	for (uint32_t c = 0; c < WEIR_NR_CLASSES; c++) {
		for (unsigned int tier = 0; tier < WR_NR_MEM; tier++)
			wr_policy_close(cache->tiers[tier].policies[c]);
		wr_free(cache->classes[c].policy_name);
	}
	for (uint32_t i = 0; i < WR_NR_CONDS; i++)
		wr_cond_fini(&cache->changed[i]);
	wr_cond_fini(&cache->room);
	wr_cond_fini(&cache->turn);
	wr_mutex_fini(&cache->lock);
	wr_ahead_free(wr_load_relaxed(&cache->ahead));
	wr_packed_close(cache->packed);
	wr_free(cache->plan);
	wr_free(cache->entries);
	wr_free(cache->table_memory);
	wr_free(cache);
}

int weir_cache_open(const struct weir_cache_opts *opts, struct weir_cache **ret,
		    struct weir_error *err)
{
	struct weir_cache_opts o;
	struct weir_cache *cache;
	int rc = wr_opts_copy(&o, sizeof(o), opts);

	if (!rc)
		rc = check_opts(&o);
	if (rc)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
				    "a cache needs a pool, or an L2 with its budget, and options "
				    "within their bounds");
	rc = check_policies(&o, err);
	if (rc)
		return rc;
	cache = wr_calloc_aligned(WR_CACHE_LINE, sizeof(*cache));
	if (!cache)
		return wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE, "no memory for a cache");
	wr_mutex_init(&cache->lock, WR_RANK_CACHE, "cache");
	wr_cond_init(&cache->room);
	wr_cond_init(&cache->turn);
	for (uint32_t i = 0; i < WR_NR_CONDS; i++)
		wr_cond_init(&cache->changed[i]);
	cache->room_wait_ns = o.room_wait_ns;
	cache->knobs = o.knobs;
	set_tiers(cache, &o);
	rc = make_table(cache, o.nr_entries);
	if (!rc)
		rc = copy_names(cache, &o);
	if (!rc)
		rc = wr_threads_register(cache);
	if (rc) {
		free_cache(cache);
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
				    "no memory for a table of %llu entries",
				    (unsigned long long)o.nr_entries);
	}
	rc = open_packed(cache, &o, err);
	if (!rc)
		rc = wr_cache_register_budget(cache, err);
	if (!rc)
		rc = open_folder(cache, &o, err);
	if (rc) {
		wr_threads_unregister(cache);
		free_cache(cache);
		return rc;
	}
	*ret = cache;
	return 0;
}

/* ---- closing ---- */

/* Where the running fetch of a slot may be cancelled: its source. */
static const struct weir_cache_source *cancellable(struct weir_cache *cache, uint32_t index,
						   uint64_t *ret_token) WR_REQUIRES(cache->lock)
{
	uint64_t word = wr_load_relaxed(&cache->slots[index].word);
	struct wr_entry *e = &cache->entries[index];

	if (wr_copy_state(word, WR_L2) != WR_COPY_FILLING || !e->has_started)
		return NULL;
	*ret_token = wr_tag(index, WR_L2, word);
	return e->source;
}

void weir_cache_cancel(struct weir_cache *cache)
{
	bool was, any;

	wr_mutex_lock(&cache->lock);
	was = cache->is_cancelled;
	cache->is_cancelled = true;
	any = cache->nr_filling;
	for (uint32_t i = 0; i < WR_NR_CONDS; i++)
		wr_cond_broadcast(&cache->changed[i]);
	wr_cache_room_changed(cache);
	wr_cond_broadcast(&cache->turn);
	wr_mutex_unlock(&cache->lock);
	for (uint32_t i = 0; !was && any && i <= cache->mask; i++) {
		const struct weir_cache_source *source;
		uint64_t token = 0;

		wr_mutex_lock(&cache->lock);
		source = cancellable(cache, i, &token);
		wr_mutex_unlock(&cache->lock);
		wr_lock_assert_none_held("a source's cancel");
		if (source && source->cancel)
			source->cancel(source->arg, token);
	}
}

static void free_all(struct weir_cache *cache) WR_REQUIRES(cache->lock)
{
	struct wr_dead *d;

	for (uint32_t i = 0; i <= cache->mask; i++)
		for (unsigned int tier = 0; tier < WR_NR_MEM; tier++) {
			struct wr_copy *copy = &cache->entries[i].copies[tier];

			if (wr_copy_state(wr_load_relaxed(&cache->slots[i].word), tier) ==
			    WR_COPY_NONE)
				continue;
			wr_cache_give(cache, tier, cache->entries[i].class_id, &copy->mem,
				      copy->charged);
		}
	while ((d = cache->dead)) {
		cache->dead = d->next;
		wr_copy_step(d->tier, WR_COPY_DEAD, WR_COPY_GONE);
		wr_cache_give(cache, d->tier, d->class_id, &d->mem, d->charged);
		wr_free(d);
	}
}

void weir_cache_close(struct weir_cache *cache)
{
	uint64_t tag;
	size_t nr_pins;

	if (!cache)
		return;
	wr_watch_stop(cache);
	wr_ahead_stop(cache);
	weir_cache_cancel(cache);
	wr_mutex_lock(&cache->lock);
	while (cache->nr_inside || cache->nr_filling || cache->nr_ahead)
		wr_cond_wait(&cache->room, &cache->lock);
	nr_pins = wr_cache_pinned_tags(cache, &tag, 1);
	free_all(cache);
	wr_mutex_unlock(&cache->lock);
	if (nr_pins)
		wr_log(WEIR_LOG_WARN, "cache", "closed with %zu pins that were not put", nr_pins);
	wr_threads_unregister(cache);
	free_cache(cache);
}

void weir_cache_filled(struct weir_cache *cache, uint64_t token, int result, size_t offset)
{
	wr_cache_complete(cache, token, result, offset);
}

/* ---- budgets ---- */

/* The limit of L2, between what pressure leaves and the budget; then down to it. As wr_cache_shrink(). */
static int set_limit(struct weir_cache *cache, unsigned int tier, uint64_t limit)
	WR_REQUIRES(cache->lock)
{
	int rc;

	wr_lock_assert_held(&cache->lock);
	cache->tiers[tier].limit = limit;
	wr_cache_tell_rooms(cache, tier);
	cache->nr_inside++;
	rc = wr_cache_shrink(cache, tier);
	wr_cache_left(cache, &cache->nr_inside);
	wr_cache_room_changed(cache);
	return rc;
}

int weir_cache_set_budget(struct weir_cache *cache, uint32_t tier, uint64_t bytes)
{
	struct wr_tier *t;
	int rc;

	if (tier < WEIR_TIER_L1 || tier > WEIR_TIER_L3 || !bytes)
		return -EINVAL;
	if (tier == WEIR_TIER_L3)
		return cache->folder ? wr_store_set_budget(cache->folder, bytes) : -ENODEV;
	t = &cache->tiers[tier - 1];
	if (!t->ops.size)
		return -ENODEV;
	wr_mutex_lock(&cache->lock);
	t->budget = bytes;
	if (tier == WEIR_TIER_L2)
		wr_cache_move_knob(cache, &cache->l2_knob, bytes);
	rc = set_limit(cache, tier - 1, bytes);
	wr_mutex_unlock(&cache->lock);
	return rc;
}

static void trim(struct weir_cache *cache, uint64_t used)
{
	struct wr_tier *t = &cache->tiers[WR_L2];

	wr_lock_assert_none_held("a tier's trim");
	if (t->ops.trim)
		t->ops.trim(t->arg, used);
}

int weir_cache_pressure(struct weir_cache *cache, uint32_t keep_permille)
{
	struct wr_tier *t = &cache->tiers[WR_L2];
	uint64_t used;
	int rc;

	if (keep_permille > 1000)
		return -EINVAL;
	wr_mutex_lock(&cache->lock);
	rc = set_limit(cache, WR_L2, t->budget / 1000 * keep_permille);
	if (keep_permille == 1000)
		t->limit = t->budget;
	used = t->used;
	wr_mutex_unlock(&cache->lock);
	if (keep_permille < 1000)
		trim(cache, used);
	return rc;
}

int64_t weir_cache_shed(struct weir_cache *cache, uint64_t bytes)
{
	struct wr_tier *t = &cache->tiers[WR_L2];
	uint64_t before, limit, used;

	wr_mutex_lock(&cache->lock);
	before = t->used;
	limit = t->limit;
	(void)set_limit(cache, WR_L2, before > bytes ? before - bytes : 0);
	used = t->used;
	/* Somebody may have moved it meanwhile; then that holds. */
	if (t->limit == (before > bytes ? before - bytes : 0)) {
		t->limit = limit;
		wr_cache_tell_rooms(cache, WR_L2);
		wr_cache_room_changed(cache);
	}
	wr_mutex_unlock(&cache->lock);
	trim(cache, used);
	return before > used ? (int64_t)(before - used) : 0;
}

/* ---- statistics ---- */

static void add_numbers(const struct wr_class_numbers *n, struct weir_cache_stats *ret)
{
	ret->used_bytes += n->used_bytes;
	ret->nr_entries += n->nr_entries;
	ret->nr_misses += n->nr_misses;
	ret->nr_waits += n->nr_waits;
	ret->nr_hits += n->slow_hits;
	ret->hit_bytes += n->slow_hit_bytes;
	ret->fill_bytes += n->fill_bytes;
	ret->nr_fills += n->nr_fills;
	ret->nr_failed += n->nr_failed;
	ret->nr_inserts += n->nr_inserts;
	ret->nr_evictions += n->nr_evictions;
	ret->nr_demotions += n->nr_demotions;
	ret->nr_stuck += n->nr_stuck;
	ret->nr_prefetches += n->nr_prefetches;
	ret->nr_useful += n->nr_useful;
	ret->nr_late += n->nr_late;
	ret->nr_wasted += n->nr_wasted;
	ret->nr_passed += n->nr_passed;
}

static int store_stats(struct weir_cache *cache, uint32_t class_id, struct weir_cache_stats *ret)
{
	struct weir_cache_stats sum = {0};
	struct wr_store_stats folder;

	if (!cache->store.size)
		return -ENODEV;
	wr_mutex_lock(&cache->lock);
	for (uint32_t c = 0; c < WEIR_NR_CLASSES; c++)
		if (class_id == WEIR_NR_CLASSES || class_id == c)
			add_numbers(&cache->store_numbers[c], &sum);
	wr_mutex_unlock(&cache->lock);
	if (cache->folder && class_id == WEIR_NR_CLASSES) {
		wr_store_stats(cache->folder, &folder);
		sum.budget_bytes = folder.budget_bytes;
		sum.used_bytes = folder.disk_bytes;
		sum.nr_entries = folder.nr_blocks;
	}
	sum.nr_gets = sum.nr_hits + sum.nr_misses;
	*ret = sum;
	return 0;
}

int weir_cache_stats(struct weir_cache *cache, uint32_t tier, uint32_t class_id,
		     struct weir_cache_stats *ret)
{
	struct weir_cache_stats sum = {0};
	struct wr_tier *t;

	if (tier < WEIR_TIER_L1 || tier > WEIR_TIER_L3 || class_id > WEIR_NR_CLASSES)
		return -EINVAL;
	if (tier == WEIR_TIER_L3)
		return store_stats(cache, class_id, ret);
	t = &cache->tiers[tier - 1];
	wr_mutex_lock(&cache->lock);
	for (uint32_t c = 0; c < WEIR_NR_CLASSES; c++) {
		if (class_id != WEIR_NR_CLASSES && class_id != c)
			continue;
		add_numbers(&t->numbers[c], &sum);
		sum.budget_bytes += t->ops.size ? wr_cache_share(cache, tier - 1, c) : 0;
		for (struct wr_thread *th = wr_load_acquire(&cache->threads); th;
		     th = wr_load_relaxed(&th->next)) {
			sum.nr_hits += wr_load_relaxed(&th->hits[tier - 1][c].nr);
			sum.hit_bytes += wr_load_relaxed(&th->hits[tier - 1][c].bytes);
		}
	}
	if (class_id == WEIR_NR_CLASSES) {
		sum.budget_bytes = t->budget;
		sum.peak_bytes = t->peak;
		sum.used_bytes = t->used;
	}
	wr_mutex_unlock(&cache->lock);
	sum.nr_gets = sum.nr_hits + sum.nr_misses + sum.nr_waits;
	*ret = sum;
	return 0;
}
