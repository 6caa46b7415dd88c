/* SPDX-License-Identifier: MIT */
/*
 * Entries in memory; see cache.h for the states and the guarantees.
 *
 * One lock for the table: an entry is megabytes, so the lock is taken some hundred times a
 * second. Fills and promotions happen outside it; what they need is decided under it. A fill
 * that somebody begins to wait for before its starter has returned from ops->fill, and so
 * perhaps before it can be promoted, is promoted by the starter.
 */
#include "cache/cache.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/util.h"
#include "lock/lock.h"

enum entry_state {
	ENTRY_EMPTY = 0,
	ENTRY_FILLING,
	ENTRY_READY,
};

#define NO_SLOT	 2u
#define NO_ENTRY UINT32_MAX

struct entry {
	size_t bytes;	 /* [const] after placing */
	void *place;	 /* [const] after placing; NULL: streamed */
	void *mem;	 /* [CACHE] where the bytes are or go; NULL while streamed and EMPTY */
	uint32_t pins;	 /* [CACHE] gets begun and not put */
	uint32_t next;	 /* [CACHE] next entry of the same slot */
	uint32_t serial; /* [CACHE] counts fills ended, so that a waiter knows its own */
	int result;	 /* [CACHE] of the last fill */
	uint8_t state;	 /* [CACHE] enum entry_state */
	uint8_t slot;	 /* [CACHE] of a streamed entry that is not EMPTY */
	bool started;	 /* [CACHE] ops->fill has returned for the running fill */
	bool demand;	 /* [CACHE] the running fill has been promoted, or began so */
	bool fresh;	 /* [CACHE] filled, or filling, since it was last got */
};

struct slot {
	char *base;	 /* [const] */
	size_t used;	 /* [CACHE] from the beginning */
	uint32_t live;	 /* [CACHE] entries in it that are not EMPTY */
	uint32_t pinned; /* [CACHE] of these, with pins */
	uint32_t first;	 /* [CACHE] list through entry.next, EMPTY ones unlinked */
};

struct wr_cache {
	struct wr_mutex lock WR_RANKED(CACHE);
	struct wr_cond changed;		/* a fill ended, a slot came free, or cancelled was set */
	const struct wr_cache_ops *ops; /* [const] */
	void *ctx;			/* [const] */
	size_t slot_bytes;		/* [const] */
	uint32_t nr_entries;		/* [const] */
	uint32_t nr_filling;		/* [CACHE] */
	uint32_t nr_wanted;		/* [CACHE] streamed entries that are EMPTY and pinned */
	uint32_t current;		/* [CACHE] slot that streamed entries are placed in */
	bool cancelled;			/* [CACHE] never false again */
	struct slot slots[2];		/* tagged field by field */
	struct entry *entries;		/* [const] where they lie; tagged field by field */
};

int wr_cache_open(const struct wr_cache_opts *opts, struct wr_cache **ret)
{
	struct wr_cache *cache = wr_calloc(1, sizeof(*cache));

	if (!cache)
		return -ENOMEM;
	cache->entries = wr_calloc(opts->nr_entries, sizeof(*cache->entries));
	if (!cache->entries) {
		wr_free(cache);
		return -ENOMEM;
	}
	wr_mutex_init(&cache->lock, WR_RANK_CACHE, "cache");
	wr_cond_init(&cache->changed);
	cache->ops = opts->ops;
	cache->ctx = opts->ctx;
	cache->nr_entries = opts->nr_entries;
	cache->slot_bytes = opts->slot_bytes;
	for (unsigned int s = 0; s < 2; s++)
		cache->slots[s] = (struct slot){.base = opts->slots[s], .first = NO_ENTRY};
	for (uint32_t i = 0; i < opts->nr_entries; i++)
		cache->entries[i].slot = NO_SLOT;
	*ret = cache;
	return 0;
}

void wr_cache_place(struct wr_cache *cache, uint32_t index, size_t bytes, void *mem)
{
	struct entry *e = &cache->entries[index];

	wr_assert(mem || bytes <= cache->slot_bytes);
	e->bytes = bytes;
	e->place = mem;
}

static bool slot_fits(const struct wr_cache *cache, const struct slot *slot, size_t bytes)
{
	return cache->slot_bytes - slot->used >= bytes;
}

/* Take the entry out of its slot; a slot without entries begins anew. */
static void leave_slot_locked(struct wr_cache *cache, uint32_t index) WR_REQUIRES(cache->lock)
{
	struct entry *e = &cache->entries[index];
	struct slot *slot;
	uint32_t *link;

	wr_lock_assert_held(&cache->lock);
	e->state = ENTRY_EMPTY;
	e->mem = NULL;
	if (e->slot == NO_SLOT)
		return;
	slot = &cache->slots[e->slot];
	for (link = &slot->first; *link != index; link = &cache->entries[*link].next)
		;
	*link = e->next;
	e->slot = NO_SLOT;
	if (e->pins) {
		slot->pinned--;
		cache->nr_wanted++;
	}
	if (--slot->live == 0) {
		slot->used = 0;
		wr_cond_broadcast(&cache->changed);
	}
}

/*
 * Give up entries nobody uses, so that the slot can begin anew: what was read ahead and is
 * not wanted by whoever waits now. Does nothing while one of them is pinned.
 */
static void reclaim_slot_locked(struct wr_cache *cache, struct slot *slot) WR_REQUIRES(cache->lock)
{
	uint32_t i, next;

	wr_lock_assert_held(&cache->lock);
	if (slot->pinned)
		return;
	for (i = slot->first; i != NO_ENTRY; i = next) {
		next = cache->entries[i].next;
		if (cache->entries[i].state == ENTRY_READY)
			leave_slot_locked(cache, i);
	}
}

/*
 * A slot with room: the current one, or else the other if it is empty. One that is in use
 * has lost its turn; only a read somebody waits for may go to its end.
 */
static unsigned int find_slot_locked(struct wr_cache *cache, size_t bytes, bool demand)
	WR_REQUIRES(cache->lock)
{
	unsigned int s = cache->current;

	wr_lock_assert_held(&cache->lock);
	if (slot_fits(cache, &cache->slots[s], bytes))
		return s;
	s ^= 1;
	if (slot_fits(cache, &cache->slots[s], bytes) && (demand || !cache->slots[s].live))
		return s;
	return NO_SLOT;
}

/* Find memory for a streamed entry; false when both slots are in use. */
static bool enter_slot_locked(struct wr_cache *cache, uint32_t index, bool demand)
	WR_REQUIRES(cache->lock)
{
	struct entry *e = &cache->entries[index];
	unsigned int s = find_slot_locked(cache, e->bytes, demand);
	struct slot *slot;

	/* The current slot first: what was read ahead last is needed last. */
	for (unsigned int i = 0; s == NO_SLOT && demand && i < 2; i++) {
		reclaim_slot_locked(cache, &cache->slots[cache->current ^ i]);
		s = find_slot_locked(cache, e->bytes, demand);
	}
	/* A get without a place goes first: reads ahead of it could keep the slots forever. */
	if (s == NO_SLOT || (!demand && cache->nr_wanted))
		return false;
	cache->current = s;
	slot = &cache->slots[s];
	e->mem = slot->base + slot->used;
	e->slot = (uint8_t)s;
	e->next = slot->first;
	slot->first = index;
	slot->used += e->bytes;
	slot->live++;
	if (e->pins) {
		slot->pinned++;
		cache->nr_wanted--;
	}
	return true;
}

/* EMPTY to FILLING; false when there is no place now. The caller goes on with run_fill(). */
static bool begin_fill_locked(struct wr_cache *cache, uint32_t index, bool demand)
	WR_REQUIRES(cache->lock)
{
	struct entry *e = &cache->entries[index];

	wr_lock_assert_held(&cache->lock);
	if (cache->cancelled)
		return false;
	if (e->place)
		e->mem = e->place;
	else if (!enter_slot_locked(cache, index, demand))
		return false;
	e->state = ENTRY_FILLING;
	e->started = false;
	e->demand = demand;
	e->fresh = true;
	cache->nr_filling++;
	return true;
}

/* FILLING to READY or EMPTY. */
static void end_fill_locked(struct wr_cache *cache, uint32_t index, int result)
	WR_REQUIRES(cache->lock)
{
	struct entry *e = &cache->entries[index];

	wr_lock_assert_held(&cache->lock);
	wr_assert(e->state == ENTRY_FILLING);
	e->result = result;
	e->serial++;
	cache->nr_filling--;
	if (result)
		leave_slot_locked(cache, index);
	else
		e->state = ENTRY_READY;
	wr_cond_broadcast(&cache->changed);
}

/* The part of a fill that happens outside the lock. On failure the entry is EMPTY again. */
static int run_fill(struct wr_cache *cache, uint32_t index, void *mem, bool demand, uint32_t serial)
{
	struct entry *e = &cache->entries[index];
	bool promote = false;
	int rc;

	wr_lock_assert_none_held("the cache's fill");
	rc = cache->ops->fill(cache->ctx, index, mem, demand);
	wr_mutex_lock(&cache->lock);
	if (rc) {
		end_fill_locked(cache, index, rc);
	} else if (e->serial == serial) {
		/* Still the read that we started: from now on others may promote it. */
		e->started = true;
		promote = e->demand && !demand;
	}
	wr_mutex_unlock(&cache->lock);
	if (promote) {
		wr_lock_assert_none_held("the cache's promote");
		cache->ops->promote(cache->ctx, index);
	}
	return rc;
}

int wr_cache_prefetch(struct wr_cache *cache, uint32_t index)
{
	struct entry *e = &cache->entries[index];
	uint32_t serial;
	void *mem;
	int rc = 0;

	wr_mutex_lock(&cache->lock);
	if (cache->cancelled)
		rc = -ECANCELED;
	else if (e->state == ENTRY_EMPTY)
		rc = begin_fill_locked(cache, index, false) ? 1 : -EAGAIN;
	mem = e->mem;
	serial = e->serial;
	wr_mutex_unlock(&cache->lock);
	if (rc != 1)
		return rc;
	rc = run_fill(cache, index, mem, false, serial);
	return rc ? rc : 1;
}

static void pin_locked(struct wr_cache *cache, struct entry *e) WR_REQUIRES(cache->lock)
{
	wr_lock_assert_held(&cache->lock);
	if (e->pins++ || e->place)
		return;
	if (e->slot != NO_SLOT)
		cache->slots[e->slot].pinned++;
	else
		cache->nr_wanted++;
}

static void unpin_locked(struct wr_cache *cache, uint32_t index) WR_REQUIRES(cache->lock)
{
	struct entry *e = &cache->entries[index];

	wr_lock_assert_held(&cache->lock);
	wr_assert(e->pins);
	if (--e->pins || e->place)
		return;
	if (e->slot == NO_SLOT) {
		cache->nr_wanted--;
		return;
	}
	/* Others of the slot, read ahead and not used, may be given up from now on. */
	if (--cache->slots[e->slot].pinned == 0)
		wr_cond_broadcast(&cache->changed);
	if (e->state == ENTRY_READY)
		leave_slot_locked(cache, index);
}

/*
 * Start the read of a pinned entry, or promote it, if it needs that and there is a place.
 * Unlocks meanwhile, and says so: what the caller knew is then to be looked at again.
 */
static bool demand_locked(struct wr_cache *cache, uint32_t index) WR_REQUIRES(cache->lock)
{
	struct entry *e = &cache->entries[index];
	bool fill = false, promote = false;
	uint32_t serial = e->serial;
	void *mem;

	if (e->state == ENTRY_EMPTY) {
		fill = begin_fill_locked(cache, index, true);
	} else if (e->state == ENTRY_FILLING && !e->demand) {
		e->demand = true;
		promote = e->started;
	}
	if (!fill && !promote)
		return false;
	mem = e->mem;
	wr_mutex_unlock(&cache->lock);
	if (fill) {
		(void)run_fill(cache, index, mem, true, serial); /* the waiter sees e->result */
	} else {
		wr_lock_assert_none_held("the cache's promote");
		cache->ops->promote(cache->ctx, index);
	}
	wr_mutex_lock(&cache->lock);
	return true;
}

void wr_cache_get_begin(struct wr_cache *cache, uint32_t index, struct wr_cache_get *get)
{
	struct entry *e = &cache->entries[index];

	wr_mutex_lock(&cache->lock);
	*get = (struct wr_cache_get){.index = index, .serial = e->serial};
	get->waited = e->state != ENTRY_READY;
	pin_locked(cache, e);
	(void)demand_locked(cache, index);
	wr_mutex_unlock(&cache->lock);
}

int wr_cache_get_wait(struct wr_cache *cache, struct wr_cache_get *get)
{
	struct entry *e = &cache->entries[get->index];
	uint64_t begin = get->waited ? wr_now_ns() : 0;
	int rc = 0;

	wr_might_block("cache get");
	wr_mutex_lock(&cache->lock);
	for (;;) {
		if (cache->cancelled)
			rc = -ECANCELED;
		else if (e->state == ENTRY_EMPTY && e->serial != get->serial)
			rc = e->result;
		if (rc || e->state == ENTRY_READY)
			break;
		if (!demand_locked(cache, get->index))
			wr_cond_wait(&cache->changed, &cache->lock);
	}
	if (rc) {
		unpin_locked(cache, get->index);
	} else {
		get->mem = e->mem;
		get->was_hit = !e->fresh;
		e->fresh = false;
	}
	wr_mutex_unlock(&cache->lock);
	get->wait_ns = get->waited ? wr_now_ns() - begin : 0;
	return rc;
}

void wr_cache_put(struct wr_cache *cache, uint32_t index)
{
	wr_mutex_lock(&cache->lock);
	unpin_locked(cache, index);
	wr_mutex_unlock(&cache->lock);
}

void wr_cache_filled(struct wr_cache *cache, uint32_t index, int result)
{
	wr_mutex_lock(&cache->lock);
	end_fill_locked(cache, index, result);
	wr_mutex_unlock(&cache->lock);
}

void wr_cache_cancel(struct wr_cache *cache)
{
	wr_mutex_lock(&cache->lock);
	cache->cancelled = true;
	wr_cond_broadcast(&cache->changed);
	wr_mutex_unlock(&cache->lock);
}

bool wr_cache_is_cancelled(struct wr_cache *cache)
{
	bool cancelled;

	wr_mutex_lock(&cache->lock);
	cancelled = cache->cancelled;
	wr_mutex_unlock(&cache->lock);
	return cancelled;
}

void wr_cache_close(struct wr_cache *cache)
{
	if (!cache)
		return;
	for (uint32_t i = 0; i < cache->nr_entries; i++) {
		bool filling;

		wr_mutex_lock(&cache->lock);
		wr_assert(!cache->entries[i].pins);
		filling = cache->entries[i].state == ENTRY_FILLING;
		wr_mutex_unlock(&cache->lock);
		if (filling)
			cache->ops->cancel(cache->ctx, i);
	}
	wr_mutex_lock(&cache->lock);
	while (cache->nr_filling)
		wr_cond_wait(&cache->changed, &cache->lock);
	wr_mutex_unlock(&cache->lock);
	wr_cond_fini(&cache->changed);
	wr_mutex_fini(&cache->lock);
	wr_free(cache->entries);
	wr_free(cache);
}
