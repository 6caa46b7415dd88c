/* SPDX-License-Identifier: MIT */
/*
 * Going down a tier: what is owned and nowhere else is copied from L1 to L2, or written from L2 to
 * the store, while it stays readable; then it may be dropped. Either who needs the room waits for
 * it, several at a time, or it is begun ahead, in the order in which it will have to leave, so that
 * nobody need wait.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "cache/cache_internal.h"

/* ---- a completion that somebody waits for ---- */

void wr_sync_init(struct wr_sync *s, uint32_t nr)
{
	wr_mutex_init(&s->lock, WR_RANK_CACHE_SYNC, "cache.sync");
	wr_cond_init(&s->done);
	s->nr_left = nr;
	s->result = 0;
}

void wr_sync_done(void *arg, int result)
{
	struct wr_sync *s = arg;

	wr_mutex_lock(&s->lock);
	if (result && !s->result)
		s->result = result;
	if (--s->nr_left == 0)
		wr_cond_broadcast(&s->done);
	wr_mutex_unlock(&s->lock);
}

int wr_sync_wait(struct wr_sync *s)
{
	wr_might_block("a copy or write of the cache");
	wr_mutex_lock(&s->lock);
	while (s->nr_left)
		wr_cond_wait(&s->done, &s->lock);
	wr_mutex_unlock(&s->lock);
	wr_cond_fini(&s->done);
	wr_mutex_fini(&s->lock);
	return s->result;
}

/* ---- writing to the store ---- */

/* Writes begun ahead at a time. */
#define MAX_AHEAD 32u
/* Write ahead when less than such a part of the limit could be dropped of a class, up to twice that. */
#define AHEAD_PART 32u
/* And when less than such a part of the limit is free. */
#define FREE_PART 8u

/* One write: of several that a thread waits for, or of nobody's. */
struct put {
	struct wr_sync *sync; /* NULL: nobody waits; the struct is freed at the end */
	struct weir_cache *cache;
	uint32_t index;
	int result;
};

/* What was MOVING is READY again, and dropped without more ado if the write went well. */
static void end_put(struct weir_cache *cache, uint32_t index, int result) WR_REQUIRES(cache->lock)
{
	struct wr_entry *e = &cache->entries[index];
	struct wr_class_numbers *n = &cache->tiers[WR_L2].numbers[e->class_id];
	struct wr_class_numbers *below = &cache->store_numbers[e->class_id];

	wr_lock_assert_held(&cache->lock);
	wr_cache_set_state(cache, index, WR_L2, WR_COPY_READY);
	below->nr_fills += !result;
	below->fill_bytes += result ? 0 : e->bytes;
	below->nr_failed += result != 0;
	n->nr_demotions += !result;
	n->nr_stuck += result != 0;
	if (!result && wr_entry_is_dirty(e)) {
		e->is_stored = true;
		n->dirty_bytes -= e->copies[WR_L2].charged;
	}
	/* What cannot be written is not tried again before somebody needs the room. */
	cache->is_store_bad = result != 0;
	wr_cond_broadcast(wr_entry_cond(cache, index));
}

static void put_ahead_done(struct put *put)
{
	struct weir_cache *cache = put->cache;

	wr_mutex_lock(&cache->lock);
	end_put(cache, put->index, put->result);
	cache->nr_moving--;
	cache->nr_ahead--;
	wr_cache_room_changed(cache);
	wr_mutex_unlock(&cache->lock);
	wr_free(put);
}

static void put_done(void *arg, int result)
{
	struct put *put = arg;

	put->result = result;
	if (put->sync)
		wr_sync_done(put->sync, 0);
	else
		put_ahead_done(put);
}

/* The entry is MOVING: it stays as it is. No lock held. */
static void ask_store(struct put *put)
{
	struct weir_cache *cache = put->cache;
	struct wr_entry *e = &cache->entries[put->index];
	struct wr_slot *slot = &cache->slots[put->index];
	struct weir_store_item item = {
		.key = {wr_load_relaxed(&slot->hi), wr_load_relaxed(&slot->lo)},
		.bytes = e->bytes,
		.class_id = e->class_id,
		.is_ahead = !put->sync,
		.name = e->name[0] ? e->name : NULL};
	int rc = cache->store.put(cache->store_arg, &item, wr_load_relaxed(&slot->data[WR_L2]),
				  put_done, put);

	if (rc)
		put_done(put, rc);
}

/*
 * Write what is MOVING from L2 to the store. Unlocks. 0 when at least one went well, otherwise
 * what the first that did not ended with, which *ret_first, 0 before, is in any case.
 */
static int write_down(struct weir_cache *cache, const struct wr_victim *v, uint32_t nr,
		      int *ret_first) WR_REQUIRES(cache->lock)
{
	struct put puts[WR_NR_MOVES];
	struct wr_sync sync;
	uint32_t nr_good = 0;

	cache->nr_moving += nr;
	wr_mutex_unlock(&cache->lock);
	wr_lock_assert_none_held("a store's put");
	wr_sync_init(&sync, nr);
	for (uint32_t i = 0; i < nr; i++) {
		puts[i] = (struct put){.sync = &sync, .cache = cache, .index = v[i].index};
		ask_store(&puts[i]);
	}
	(void)wr_sync_wait(&sync);
	wr_mutex_lock(&cache->lock);
	cache->nr_moving -= nr;
	for (uint32_t i = 0; i < nr; i++) {
		end_put(cache, v[i].index, puts[i].result);
		nr_good += !puts[i].result;
		*ret_first = *ret_first ? *ret_first : puts[i].result;
	}
	wr_cache_room_changed(cache);
	return nr_good ? 0 : *ret_first;
}

/* How much of a class should be written ahead, so that room for the next can be had by dropping. */
static uint64_t wanted_ahead(const struct weir_cache *cache, uint32_t class_id)
	WR_REQUIRES(cache->lock)
{
	const struct wr_tier *t = &cache->tiers[WR_L2];
	const struct wr_class_numbers *n = &t->numbers[class_id];
	uint64_t part = t->limit / AHEAD_PART;
	uint64_t clean = n->used_bytes - wr_min(n->dirty_bytes, n->used_bytes);

	if (!cache->store.size || cache->is_store_bad || cache->is_cancelled || cache->nr_ahead ||
	    !n->dirty_bytes || clean >= part || t->used + t->limit / FREE_PART <= t->limit)
		return 0;
	return wr_min(2 * part - clean, n->dirty_bytes);
}

/* What is MOVING; nobody waits. Unlocks. */
static void begin_puts(struct weir_cache *cache, const struct wr_victim *v, uint32_t nr)
	WR_REQUIRES(cache->lock)
{
	struct put *puts[MAX_AHEAD];
	uint32_t nr_puts = 0;

	wr_lock_assert_held(&cache->lock);
	for (uint32_t i = 0; i < nr; i++) {
		struct put *put = wr_malloc(sizeof(*put));

		if (!put) {
			wr_cache_set_state(cache, v[i].index, WR_L2, WR_COPY_READY);
			wr_cond_broadcast(wr_entry_cond(cache, v[i].index));
			continue;
		}
		*put = (struct put){.cache = cache, .index = v[i].index};
		puts[nr_puts++] = put;
	}
	if (!nr_puts)
		return;
	cache->nr_moving += nr_puts;
	cache->nr_ahead += nr_puts;
	wr_mutex_unlock(&cache->lock);
	wr_lock_assert_none_held("a store's put");
	for (uint32_t i = 0; i < nr_puts; i++)
		ask_store(puts[i]);
	wr_mutex_lock(&cache->lock);
}

void wr_cache_write_ahead(struct weir_cache *cache, uint32_t class_id)
{
	uint64_t bytes = wanted_ahead(cache, class_id);
	struct wr_victim v[MAX_AHEAD];

	if (bytes)
		begin_puts(cache, v, wr_cache_choose_moves(cache, class_id, bytes, v, MAX_AHEAD));
}

void wr_cache_write_one(struct weir_cache *cache, uint32_t index)
{
	struct wr_victim v = {.index = index};
	struct wr_entry *e = &cache->entries[index];
	uint64_t word = wr_load_relaxed(&cache->slots[index].word);

	wr_lock_assert_held(&cache->lock);
	if (!cache->store.size || cache->is_store_bad || cache->is_cancelled ||
	    cache->nr_ahead >= MAX_AHEAD || e->is_busy || !wr_entry_is_dirty(e) ||
	    wr_copy_state(word, WR_L2) != WR_COPY_READY)
		return;
	wr_cache_set_state(cache, index, WR_L2, WR_COPY_MOVING);
	begin_puts(cache, &v, 1);
}

/* ---- from L1 ---- */

/* One copy of L1 that is MOVING; somebody may have begun to bring it to L2 himself. */
static int copy_one_down(struct weir_cache *cache, uint32_t index) WR_REQUIRES(cache->lock)
{
	enum wr_copy_state below = wr_copy_state(wr_load_relaxed(&cache->slots[index].word), WR_L2);
	struct wr_entry *e = &cache->entries[index];
	struct wr_waiter w = {0};
	int rc = 0;

	wr_lock_assert_held(&cache->lock);
	e->nr_holds++;
	wr_cache_set_state(cache, index, WR_L1, WR_COPY_READY);
	if (below == WR_COPY_FILLING)
		wr_cache_join(cache, index, &w);
	else if (below == WR_COPY_NONE)
		rc = wr_cache_bring(cache, index, WR_L2, NULL, WR_WAITING, &w);
	if (!rc && (below == WR_COPY_FILLING || below == WR_COPY_NONE)) {
		rc = wr_cache_wait(cache, index, &w);
		if (!rc)
			wr_cache_unhold(cache, index);
	}
	cache->tiers[WR_L1].numbers[e->class_id].nr_demotions += !rc;
	cache->tiers[WR_L1].numbers[e->class_id].nr_stuck += rc != 0;
	wr_cache_unhold(cache, index);
	return rc;
}

/* L1 to L2, one after the other. As above. */
static int copy_down(struct weir_cache *cache, const struct wr_victim *v, uint32_t nr)
	WR_REQUIRES(cache->lock)
{
	int first = 0;
	uint32_t nr_good = 0;

	for (uint32_t i = 0; i < nr; i++) {
		int rc = copy_one_down(cache, v[i].index);

		nr_good += !rc;
		first = first ? first : rc;
	}
	return nr_good ? 0 : first;
}

int wr_cache_move(struct weir_cache *cache, unsigned int tier, const struct wr_victim *v,
		  uint32_t nr)
{
	int first = 0;

	return tier == WR_L1 ? copy_down(cache, v, nr) : write_down(cache, v, nr, &first);
}

/* ---- flush ---- */

static bool wants_flush(struct weir_cache *cache, uint32_t index) WR_REQUIRES(cache->lock)
{
	const struct wr_entry *e = &cache->entries[index];
	uint64_t word = wr_load_relaxed(&cache->slots[index].word);

	return (word & WR_WORD_USED) && e->is_owned && !e->is_stored && !e->is_busy &&
	       (wr_copy_state(word, WR_L2) == WR_COPY_READY ||
		(wr_copy_state(word, WR_L1) == WR_COPY_READY &&
		 wr_copy_state(word, WR_L2) == WR_COPY_NONE));
}

int weir_cache_flush(struct weir_cache *cache)
{
	struct wr_victim v[WR_NR_MOVES];
	uint32_t nr = 0;
	int rc = 0, one;

	if (!cache->store.size)
		return -ENODEV;
	wr_mutex_lock(&cache->lock);
	cache->nr_inside++;
	for (uint32_t i = 0; i <= cache->mask && !cache->is_cancelled; i++) {
		if (wants_flush(cache, i)) {
			v[nr].index = i;
			v[nr].tag = 0;
			if (wr_copy_state(wr_load_relaxed(&cache->slots[i].word), WR_L2) ==
			    WR_COPY_NONE) {
				wr_cache_set_state(cache, i, WR_L1, WR_COPY_MOVING);
				one = copy_down(cache, &v[nr], 1);
				rc = rc ? rc : one;
				if (!wants_flush(cache, i) || one)
					continue;
			}
			wr_cache_set_state(cache, i, WR_L2, WR_COPY_MOVING);
			nr++;
		}
		if (nr == WR_NR_MOVES) {
			(void)write_down(cache, v, nr, &rc);
			nr = 0;
		}
	}
	if (nr)
		(void)write_down(cache, v, nr, &rc);
	wr_cache_left(cache, &cache->nr_inside);
	wr_mutex_unlock(&cache->lock);
	return rc;
}
