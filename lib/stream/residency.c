/* SPDX-License-Identifier: MIT */
/*
 * Entries in memory; see residency.h for the states and the guarantees.
 *
 * One lock for the table: an entry is megabytes, so the lock is taken some hundred times a
 * second. Fills and promotions happen outside it; what they need is decided under it. A fill
 * that somebody begins to wait for before its starter has returned from ops->fill, and so
 * perhaps before it can be promoted, is promoted by the starter.
 */
#include "stream/residency.h"

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
	void *mem;	 /* [STREAM] where the bytes are or go; NULL while streamed and EMPTY */
	uint32_t pins;	 /* [STREAM] gets begun and not put */
	uint32_t next;	 /* [STREAM] next entry of the same slot */
	uint32_t serial; /* [STREAM] counts fills ended, so that a waiter knows its own */
	int result;	 /* [STREAM] of the last fill */
	uint8_t state;	 /* [STREAM] enum entry_state */
	uint8_t slot;	 /* [STREAM] of a streamed entry that is not EMPTY */
	bool started;	 /* [STREAM] ops->fill has returned for the running fill */
	bool demand;	 /* [STREAM] the running fill has been promoted, or began so */
	bool fresh;	 /* [STREAM] filled, or filling, since it was last got */
};

struct slot {
	char *base;	 /* [const] */
	size_t used;	 /* [STREAM] from the beginning */
	uint32_t live;	 /* [STREAM] entries in it that are not EMPTY */
	uint32_t pinned; /* [STREAM] of these, with pins */
	uint32_t first;	 /* [STREAM] list through entry.next, EMPTY ones unlinked */
};

struct wr_residency {
	struct wr_mutex lock WR_RANKED(STREAM);
	struct wr_cond changed; /* a fill ended, a slot came free, or cancelled was set */
	const struct wr_residency_ops *ops; /* [const] */
	void *ctx;			    /* [const] */
	size_t slot_bytes;		    /* [const] */
	uint32_t nr_entries;		    /* [const] */
	uint32_t nr_filling;		    /* [STREAM] */
	uint32_t nr_wanted;    /* [STREAM] streamed entries that are EMPTY and pinned */
	uint32_t current;      /* [STREAM] slot that streamed entries are placed in */
	bool cancelled;	       /* [STREAM] never false again */
	struct slot slots[2];  /* tagged field by field */
	struct entry *entries; /* [const] where they lie; tagged field by field */
};

int wr_residency_open(const struct wr_residency_opts *opts, struct wr_residency **ret)
{
	struct wr_residency *residency = wr_calloc(1, sizeof(*residency));

	if (!residency)
		return -ENOMEM;
	residency->entries = wr_calloc(opts->nr_entries, sizeof(*residency->entries));
	if (!residency->entries) {
		wr_free(residency);
		return -ENOMEM;
	}
	wr_mutex_init(&residency->lock, WR_RANK_STREAM, "residency");
	wr_cond_init(&residency->changed);
	residency->ops = opts->ops;
	residency->ctx = opts->ctx;
	residency->nr_entries = opts->nr_entries;
	residency->slot_bytes = opts->slot_bytes;
	for (unsigned int s = 0; s < 2; s++)
		residency->slots[s] = (struct slot){.base = opts->slots[s], .first = NO_ENTRY};
	for (uint32_t i = 0; i < opts->nr_entries; i++)
		residency->entries[i].slot = NO_SLOT;
	*ret = residency;
	return 0;
}

void wr_residency_place(struct wr_residency *residency, uint32_t index, size_t bytes, void *mem)
{
	struct entry *e = &residency->entries[index];

	wr_assert(mem || bytes <= residency->slot_bytes);
	e->bytes = bytes;
	e->place = mem;
}

static bool slot_fits(const struct wr_residency *residency, const struct slot *slot, size_t bytes)
{
	return residency->slot_bytes - slot->used >= bytes;
}

/* Take the entry out of its slot; a slot without entries begins anew. */
static void leave_slot_locked(struct wr_residency *residency, uint32_t index)
	WR_REQUIRES(residency->lock)
{
	struct entry *e = &residency->entries[index];
	struct slot *slot;
	uint32_t *link;

	wr_lock_assert_held(&residency->lock);
	e->state = ENTRY_EMPTY;
	e->mem = NULL;
	if (e->slot == NO_SLOT)
		return;
	slot = &residency->slots[e->slot];
	for (link = &slot->first; *link != index; link = &residency->entries[*link].next)
		;
	*link = e->next;
	e->slot = NO_SLOT;
	if (e->pins) {
		slot->pinned--;
		residency->nr_wanted++;
	}
	if (--slot->live == 0) {
		slot->used = 0;
		wr_cond_broadcast(&residency->changed);
	}
}

/*
 * Give up entries nobody uses, so that the slot can begin anew: what was read ahead and is
 * not wanted by whoever waits now. Does nothing while one of them is pinned.
 */
static void reclaim_slot_locked(struct wr_residency *residency, struct slot *slot)
	WR_REQUIRES(residency->lock)
{
	uint32_t i, next;

	wr_lock_assert_held(&residency->lock);
	if (slot->pinned)
		return;
	for (i = slot->first; i != NO_ENTRY; i = next) {
		next = residency->entries[i].next;
		if (residency->entries[i].state == ENTRY_READY)
			leave_slot_locked(residency, i);
	}
}

/*
 * A slot with room: the current one, or else the other if it is empty. One that is in use
 * has lost its turn; only a read somebody waits for may go to its end.
 */
static unsigned int find_slot_locked(struct wr_residency *residency, size_t bytes, bool demand)
	WR_REQUIRES(residency->lock)
{
	unsigned int s = residency->current;

	wr_lock_assert_held(&residency->lock);
	if (slot_fits(residency, &residency->slots[s], bytes))
		return s;
	s ^= 1;
	if (slot_fits(residency, &residency->slots[s], bytes) &&
	    (demand || !residency->slots[s].live))
		return s;
	return NO_SLOT;
}

/* Find memory for a streamed entry; false when both slots are in use. */
static bool enter_slot_locked(struct wr_residency *residency, uint32_t index, bool demand)
	WR_REQUIRES(residency->lock)
{
	struct entry *e = &residency->entries[index];
	unsigned int s = find_slot_locked(residency, e->bytes, demand);
	struct slot *slot;

	/* The current slot first: what was read ahead last is needed last. */
	for (unsigned int i = 0; s == NO_SLOT && demand && i < 2; i++) {
		reclaim_slot_locked(residency, &residency->slots[residency->current ^ i]);
		s = find_slot_locked(residency, e->bytes, demand);
	}
	/* A get without a place goes first: reads ahead of it could keep the slots forever. */
	if (s == NO_SLOT || (!demand && residency->nr_wanted))
		return false;
	residency->current = s;
	slot = &residency->slots[s];
	e->mem = slot->base + slot->used;
	e->slot = (uint8_t)s;
	e->next = slot->first;
	slot->first = index;
	slot->used += e->bytes;
	slot->live++;
	if (e->pins) {
		slot->pinned++;
		residency->nr_wanted--;
	}
	return true;
}

/* EMPTY to FILLING; false when there is no place now. The caller goes on with run_fill(). */
static bool begin_fill_locked(struct wr_residency *residency, uint32_t index, bool demand)
	WR_REQUIRES(residency->lock)
{
	struct entry *e = &residency->entries[index];

	wr_lock_assert_held(&residency->lock);
	if (residency->cancelled)
		return false;
	if (e->place)
		e->mem = e->place;
	else if (!enter_slot_locked(residency, index, demand))
		return false;
	e->state = ENTRY_FILLING;
	e->started = false;
	e->demand = demand;
	e->fresh = true;
	residency->nr_filling++;
	return true;
}

/* FILLING to READY or EMPTY. */
static void end_fill_locked(struct wr_residency *residency, uint32_t index, int result)
	WR_REQUIRES(residency->lock)
{
	struct entry *e = &residency->entries[index];

	wr_lock_assert_held(&residency->lock);
	wr_assert(e->state == ENTRY_FILLING);
	e->result = result;
	e->serial++;
	residency->nr_filling--;
	if (result)
		leave_slot_locked(residency, index);
	else
		e->state = ENTRY_READY;
	wr_cond_broadcast(&residency->changed);
}

/* The part of a fill that happens outside the lock. On failure the entry is EMPTY again. */
static int run_fill(struct wr_residency *residency, uint32_t index, void *mem, bool demand,
		    uint32_t serial)
{
	struct entry *e = &residency->entries[index];
	bool promote = false;
	int rc;

	wr_lock_assert_none_held("the stream's fill");
	rc = residency->ops->fill(residency->ctx, index, mem, demand);
	wr_mutex_lock(&residency->lock);
	if (rc) {
		end_fill_locked(residency, index, rc);
	} else if (e->serial == serial) {
		/* Still the read that we started: from now on others may promote it. */
		e->started = true;
		promote = e->demand && !demand;
	}
	wr_mutex_unlock(&residency->lock);
	if (promote) {
		wr_lock_assert_none_held("the stream's promote");
		residency->ops->promote(residency->ctx, index);
	}
	return rc;
}

int wr_residency_prefetch(struct wr_residency *residency, uint32_t index)
{
	struct entry *e = &residency->entries[index];
	uint32_t serial;
	void *mem;
	int rc = 0;

	wr_mutex_lock(&residency->lock);
	if (residency->cancelled)
		rc = -ECANCELED;
	else if (e->state == ENTRY_EMPTY)
		rc = begin_fill_locked(residency, index, false) ? 1 : -EAGAIN;
	mem = e->mem;
	serial = e->serial;
	wr_mutex_unlock(&residency->lock);
	if (rc != 1)
		return rc;
	rc = run_fill(residency, index, mem, false, serial);
	return rc ? rc : 1;
}

static void pin_locked(struct wr_residency *residency, struct entry *e) WR_REQUIRES(residency->lock)
{
	wr_lock_assert_held(&residency->lock);
	if (e->pins++ || e->place)
		return;
	if (e->slot != NO_SLOT)
		residency->slots[e->slot].pinned++;
	else
		residency->nr_wanted++;
}

static void unpin_locked(struct wr_residency *residency, uint32_t index)
	WR_REQUIRES(residency->lock)
{
	struct entry *e = &residency->entries[index];

	wr_lock_assert_held(&residency->lock);
	wr_assert(e->pins);
	if (--e->pins || e->place)
		return;
	if (e->slot == NO_SLOT) {
		residency->nr_wanted--;
		return;
	}
	/* Others of the slot, read ahead and not used, may be given up from now on. */
	if (--residency->slots[e->slot].pinned == 0)
		wr_cond_broadcast(&residency->changed);
	if (e->state == ENTRY_READY)
		leave_slot_locked(residency, index);
}

/*
 * Start the read of a pinned entry, or promote it, if it needs that and there is a place.
 * Unlocks meanwhile, and says so: what the caller knew is then to be looked at again.
 */
static bool demand_locked(struct wr_residency *residency, uint32_t index)
	WR_REQUIRES(residency->lock)
{
	struct entry *e = &residency->entries[index];
	bool fill = false, promote = false;
	uint32_t serial = e->serial;
	void *mem;

	if (e->state == ENTRY_EMPTY) {
		fill = begin_fill_locked(residency, index, true);
	} else if (e->state == ENTRY_FILLING && !e->demand) {
		e->demand = true;
		promote = e->started;
	}
	if (!fill && !promote)
		return false;
	mem = e->mem;
	wr_mutex_unlock(&residency->lock);
	if (fill) {
		(void)run_fill(residency, index, mem, true, serial); /* the waiter sees e->result */
	} else {
		wr_lock_assert_none_held("the stream's promote");
		residency->ops->promote(residency->ctx, index);
	}
	wr_mutex_lock(&residency->lock);
	return true;
}

void wr_residency_get_begin(struct wr_residency *residency, uint32_t index,
			    struct wr_residency_get *get)
{
	struct entry *e = &residency->entries[index];

	wr_mutex_lock(&residency->lock);
	*get = (struct wr_residency_get){.index = index, .serial = e->serial};
	get->waited = e->state != ENTRY_READY;
	pin_locked(residency, e);
	(void)demand_locked(residency, index);
	wr_mutex_unlock(&residency->lock);
}

int wr_residency_get_wait(struct wr_residency *residency, struct wr_residency_get *get)
{
	struct entry *e = &residency->entries[get->index];
	uint64_t begin = get->waited ? wr_now_ns() : 0;
	int rc = 0;

	wr_might_block("a unit's bytes");
	wr_mutex_lock(&residency->lock);
	for (;;) {
		if (residency->cancelled)
			rc = -ECANCELED;
		else if (e->state == ENTRY_EMPTY && e->serial != get->serial)
			rc = e->result;
		if (rc || e->state == ENTRY_READY)
			break;
		if (!demand_locked(residency, get->index))
			wr_cond_wait(&residency->changed, &residency->lock);
	}
	if (rc) {
		unpin_locked(residency, get->index);
	} else {
		get->mem = e->mem;
		get->was_hit = !e->fresh;
		e->fresh = false;
	}
	wr_mutex_unlock(&residency->lock);
	get->wait_ns = get->waited ? wr_now_ns() - begin : 0;
	return rc;
}

void wr_residency_put(struct wr_residency *residency, uint32_t index)
{
	wr_mutex_lock(&residency->lock);
	unpin_locked(residency, index);
	wr_mutex_unlock(&residency->lock);
}

void wr_residency_filled(struct wr_residency *residency, uint32_t index, int result)
{
	wr_mutex_lock(&residency->lock);
	end_fill_locked(residency, index, result);
	wr_mutex_unlock(&residency->lock);
}

void wr_residency_cancel(struct wr_residency *residency)
{
	wr_mutex_lock(&residency->lock);
	residency->cancelled = true;
	wr_cond_broadcast(&residency->changed);
	wr_mutex_unlock(&residency->lock);
}

bool wr_residency_is_cancelled(struct wr_residency *residency)
{
	bool cancelled;

	wr_mutex_lock(&residency->lock);
	cancelled = residency->cancelled;
	wr_mutex_unlock(&residency->lock);
	return cancelled;
}

void wr_residency_close(struct wr_residency *residency)
{
	if (!residency)
		return;
	for (uint32_t i = 0; i < residency->nr_entries; i++) {
		bool filling;

		wr_mutex_lock(&residency->lock);
		wr_assert(!residency->entries[i].pins);
		filling = residency->entries[i].state == ENTRY_FILLING;
		wr_mutex_unlock(&residency->lock);
		if (filling)
			residency->ops->cancel(residency->ctx, i);
	}
	wr_mutex_lock(&residency->lock);
	while (residency->nr_filling)
		wr_cond_wait(&residency->changed, &residency->lock);
	wr_mutex_unlock(&residency->lock);
	wr_cond_fini(&residency->changed);
	wr_mutex_fini(&residency->lock);
	wr_free(residency->entries);
	wr_free(residency);
}
