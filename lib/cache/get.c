/* SPDX-License-Identifier: MIT */
/*
 * Gets and puts. A hit is pin.h and nothing else; what is not there at the first look goes the
 * slow way, under CACHE: look again, wait for who brings it, or bring it.
 */
#include <errno.h>

#include "base/stage.h"
#include "base/util.h"
#include "cache/ahead_internal.h"
#include "cache/cache_internal.h"
#include "cache/pin.h"
#include "cache/probing.h"

/* ---- the fast way ---- */

static void full_ring(struct weir_cache *cache, struct wr_thread *t)
{
	/* Lossy: when somebody is busy with the policies, these hits are not told. */
	if (!wr_mutex_trylock(&cache->lock))
		return;
	wr_cache_drain(cache, t);
	wr_mutex_unlock(&cache->lock);
}

/* Somebody foresees: every so many hits he is to look. */
static void wake_ahead(struct weir_cache *cache, struct wr_thread *t)
{
	uint32_t every = wr_load_acquire(&cache->ahead_every);

	if (every && !(wr_load_relaxed(&t->ring_tail) & (every - 1)))
		wr_ahead_wake(cache);
}

static inline void note_hit(struct weir_cache *cache, struct wr_thread *t, struct wr_slot *slot,
			    unsigned int tier, const struct weir_pin *pin)
{
	struct wr_hits *hits = &t->hits[tier][wr_load_relaxed(&slot->class_id)];
	uint8_t epoch = wr_load_relaxed(&cache->epoch);

	wr_add_own(&hits->nr, 1);
	wr_add_own(&hits->bytes, pin->bytes);
	if (wr_probe_enabled(cache_hit))
		wr_cache_probe_hit(t, tier, pin->bytes);
	if (epoch) {
		if (wr_load_relaxed(&slot->mark) == epoch)
			return;
		wr_store_relaxed(&slot->mark, epoch);
	}
	if (__builtin_expect(!wr_ring_push(t, pin->word >> WR_HAZARD_SERIAL), 0))
		full_ring(cache, t);
	if (__builtin_expect(wr_load_relaxed(&cache->ahead_every) != 0, 0))
		wake_ahead(cache, t);
}

/*
 * A pin is no more, or has not become one: who looked meanwhile saw it, and left the thing alone.
 * A waiter is announced, then has a barrier run, then looks for pins: see wait_first().
 */
static inline void tell_room_waiters(struct weir_cache *cache, _Atomic uint64_t *h)
{
	if (__builtin_expect(cache->is_heavy, 0))
		(void)wr_fetch_add_seq_cst(h, 0);
	__asm__ volatile("" ::: "memory");
	if (__builtin_expect(wr_load_seq_cst(&cache->nr_room_waiters) == 0, 1))
		return;
	wr_mutex_lock(&cache->lock);
	wr_cache_room_changed(cache);
	wr_mutex_unlock(&cache->lock);
}

/* True: pinned. False: not there, or not so simple. */
static inline bool get_fast(struct weir_cache *cache, struct weir_key key, unsigned int tier,
			    struct weir_pin *ret)
{
	struct wr_thread *t = wr_thread_self(cache);
	uint32_t i = wr_key_home(cache, key);
	_Atomic uint64_t *h;

	for (uint32_t n = 0; n <= cache->mask; n++, i = (i + 1) & cache->mask) {
		struct wr_slot *slot = &cache->slots[i];
		uint64_t word = wr_load_acquire(&slot->word); /* acquires P5 */

		if (wr_load_relaxed(&slot->lo) == key.lo && wr_load_relaxed(&slot->hi) == key.hi &&
		    (word & WR_WORD_USED)) {
			if (!(word & WR_WORD_READABLE(tier)) || (word & WR_WORD_FRESH) || !t)
				return false;
			h = wr_hazard_free(t);
			if (!h)
				return false;
			if (!wr_pin_try(cache, t, h, i, tier, word, ret)) {
				tell_room_waiters(cache, h);
				return false;
			}
			note_hit(cache, t, slot, tier, ret);
			return true;
		}
		if (!wr_load_relaxed(&slot->passed))
			return false;
	}
	return false;
}

int wr_cache_check_item(const struct weir_cache *cache, const struct weir_cache_item *item)
{
	if (item->class_id >= WEIR_NR_CLASSES || item->tier > WEIR_TIER_L2)
		return -EINVAL;
	if ((item->landing_bytes && item->landing_bytes < item->bytes) ||
	    (item->source && item->source->fill && item->source->read))
		return -EINVAL;
	if (item->bytes > SIZE_MAX / 2 || item->landing_bytes > SIZE_MAX / 2)
		return -EINVAL;
	return item->tier == WEIR_TIER_L1 && !cache->tiers[WR_L1].ops.size ? -ENODEV : 0;
}

int weir_cache_get(struct weir_cache *cache, const struct weir_cache_item *item, unsigned int flags,
		   struct weir_pin *ret)
{
	unsigned int tier = item->tier == WEIR_TIER_L1 ? WR_L1 : WR_L2;
	struct weir_pin pin;
	int rc;

	if (__builtin_expect(get_fast(cache, item->key, tier, &pin), 1)) {
		if (!item->bytes || item->bytes == pin.bytes) {
			*ret = pin;
			return 0;
		}
		(void)weir_cache_put(cache, &pin);
		return -EINVAL;
	}
	rc = wr_cache_check_item(cache, item);
	if (!rc && flags & ~(WEIR_CACHE_NO_FILL | WEIR_CACHE_NO_WAIT))
		rc = -EINVAL;
	return rc ? rc : wr_cache_get_slow(cache, item, flags, ret);
}

int weir_cache_put(struct weir_cache *cache, struct weir_pin *pin)
{
	_Atomic uint64_t *h;

	if (!pin || !pin->slot)
		return 0;
	h = pin->slot;
	if (__builtin_expect(wr_load_relaxed(h) != pin->word, 0))
		return -ESTALE;
	wr_store_release(h, 0); /* P2 */
	pin->slot = NULL;
	tell_room_waiters(cache, h);
	return 0;
}

/* ---- the slow way ---- */

struct slow {
	const struct weir_cache_item *item;
	unsigned int flags;
	unsigned int tier;
	struct wr_thread *t;
	struct weir_pin *ret;
	bool counted; /* as a miss or a wait */
	bool missed;
};

int wr_cache_wait_change(struct weir_cache *cache, uint32_t index)
{
	wr_lock_assert_held(&cache->lock);
	if (cache->is_cancelled)
		return -ECANCELED;
	wr_cond_wait(wr_entry_cond(cache, index), &cache->lock);
	return 0;
}

/* The copy is readable. 0, -EINVAL, -ENOMEM. */
static int pin_locked(struct weir_cache *cache, struct slow *s, uint32_t index)
	WR_REQUIRES(cache->lock)
{
	struct wr_slot *slot = &cache->slots[index];
	struct wr_entry *e = &cache->entries[index];
	struct wr_class_numbers *n = &cache->tiers[s->tier].numbers[e->class_id];
	struct wr_policy *policy = cache->tiers[s->tier].policies[e->class_id];
	uint64_t word = wr_load_relaxed(&slot->word);
	_Atomic uint64_t *h;
	bool is_first = false; /* get of what was prefetched: the policy knows */

	if (s->item->bytes && s->item->bytes != e->bytes)
		return -EINVAL;
	h = wr_hazard_free(s->t);
	if (!h)
		h = wr_thread_grow(s->t);
	if (!h)
		return -ENOMEM;
	if (word & WR_WORD_FRESH) {
		cache->tiers[WR_L2].numbers[e->class_id].nr_useful++;
		word &= ~WR_WORD_FRESH;
		wr_store_release(&slot->word, word);
		if (e->copies[WR_L2].is_staged) {
			wr_cache_ask_again(cache, index, WR_L2);
			is_first = s->tier == WR_L2;
		}
	}
	if (!wr_pin_try(cache, s->t, h, index, s->tier, word, s->ret)) {
		wr_assert(false);
		return -EINVAL;
	}
	if (s->counted)
		return 0;
	n->slow_hits++;
	n->slow_hit_bytes += e->bytes;
	if (wr_probe_enabled(cache_hit))
		wr_cache_probe_hit(s->t, s->tier, e->bytes);
	if (wr_load_relaxed(&cache->ahead))
		wr_ahead_got(cache, s->item->key, e->bytes, e->class_id, WR_PREFETCH_HIT);
	e->nr_uses++;
	if (is_first)
		return 0;
	if (e->copies[s->tier].is_unasked && e->copies[s->tier].is_passing) {
		wr_cache_ask_again(cache, index, s->tier);
		return 0;
	}
	if (!e->copies[s->tier].is_listed)
		return 0;
	wr_policy_hit(policy, &e->copies[s->tier].node);
	if (cache->plan)
		wr_cache_plan_reference(cache, policy, s->item->key, &e->copies[s->tier].node);
	return 0;
}

void wr_cache_promote(struct weir_cache *cache, uint32_t index)
{
	struct wr_entry *e = &cache->entries[index];
	uint64_t word = wr_load_relaxed(&cache->slots[index].word);
	const struct weir_cache_source *source = e->source;

	wr_lock_assert_held(&cache->lock);
	if (wr_copy_state(word, WR_L2) != WR_COPY_FILLING || !e->is_speculative)
		return;
	e->is_speculative = false;
	cache->tiers[WR_L2].numbers[e->class_id].nr_late++;
	if (!e->has_started || !source->promote)
		return;
	wr_mutex_unlock(&cache->lock);
	wr_lock_assert_none_held("a source's promote");
	source->promote(source->arg, wr_tag(index, WR_L2, word));
	wr_mutex_lock(&cache->lock);
}

/* How what is not there is being met, for who foresees. */
static void tell_ahead(struct weir_cache *cache, const struct slow *s, uint32_t index, bool miss)
	WR_REQUIRES(cache->lock)
{
	uint64_t word = wr_load_relaxed(&cache->slots[index].word);
	struct wr_entry *e = &cache->entries[index];
	bool is_copied = word & (WR_WORD_READABLE(WR_L1) | WR_WORD_READABLE(WR_L2));

	wr_ahead_got(cache, s->item->key, s->item->bytes ? s->item->bytes : e->bytes, e->class_id,
		     miss && !is_copied		  ? WR_PREFETCH_MISS
		     : !miss && e->is_speculative ? WR_PREFETCH_LATE
						  : WR_PREFETCH_HIT);
}

static void count(struct weir_cache *cache, struct slow *s, uint32_t index, bool miss)
	WR_REQUIRES(cache->lock)
{
	uint32_t class_id = cache->entries[index].class_id;
	struct wr_class_numbers *n = &cache->tiers[s->tier].numbers[class_id];
	struct wr_policy *policy;

	if (s->counted)
		return;
	s->counted = true;
	s->missed = miss;
	n->nr_misses += miss;
	n->nr_waits += !miss;
	if (wr_load_relaxed(&cache->ahead))
		tell_ahead(cache, s, index, miss);
	policy = cache->tiers[s->tier].policies[class_id];
	if (!miss || !policy)
		return;
	wr_policy_miss(policy, s->item->key, s->item->bytes);
	if (cache->plan)
		wr_cache_plan_reference(cache, policy, s->item->key, NULL);
}

/*
 * The entry is being fetched: wait for that. 0: it was, and is held, or there is more to wait
 * for (*held is false).
 */
static int wait_for_fetch(struct weir_cache *cache, struct slow *s, uint32_t index, bool *held)
	WR_REQUIRES(cache->lock)
{
	struct wr_waiter w = {0};
	int rc;

	count(cache, s, index, false);
	wr_cache_join(cache, index, &w);
	wr_cache_promote(cache, index);
	if (s->flags & WEIR_CACHE_NO_WAIT && !w.is_done) {
		wr_cache_leave(cache, index, &w);
		return -EINPROGRESS;
	}
	rc = wr_cache_wait(cache, index, &w);
	*held = !rc;
	/* Who brought it did not wait for room; we do. */
	if (rc == -EAGAIN && !(s->flags & WEIR_CACHE_NO_WAIT))
		return 0;
	/* Who brought it may not have been allowed to ask the source; we are. */
	if (rc == -ENOENT && !(s->flags & WEIR_CACHE_NO_FILL) && wr_cache_source(cache, s->item) &&
	    wr_cache_find(cache, s->item->key) == WR_NO_SLOT)
		rc = 0;
	return rc;
}

/* There is no copy in the tier that is wanted. As above. */
static int fetch(struct weir_cache *cache, struct slow *s, uint32_t index, bool *held)
	WR_REQUIRES(cache->lock)
{
	uint64_t word = wr_load_relaxed(&cache->slots[index].word);
	unsigned int tier = s->tier;
	struct wr_waiter w = {0};
	int rc;

	if (tier == WR_L1 && !(word & WR_WORD_READABLE(WR_L2)))
		tier = WR_L2;
	count(cache, s, index, true);
	rc = wr_cache_bring(cache, index, tier, s->flags & WEIR_CACHE_NO_FILL ? NULL : s->item,
			    s->flags & WEIR_CACHE_NO_WAIT ? WR_EAGER : WR_WAITING, &w);
	if (rc)
		return rc;
	if (s->flags & WEIR_CACHE_NO_WAIT && !w.is_done) {
		wr_cache_leave(cache, index, &w);
		return -EINPROGRESS;
	}
	rc = wr_cache_wait(cache, index, &w);
	*held = !rc;
	return rc;
}

uint32_t wr_cache_add_item(struct weir_cache *cache, const struct weir_cache_item *item)
{
	uint32_t index = wr_cache_add(cache, item->key);

	wr_lock_assert_held(&cache->lock);
	if (index == WR_NO_SLOT)
		return index;
	cache->entries[index].class_id = (uint8_t)item->class_id;
	wr_store_relaxed(&cache->slots[index].class_id, (uint8_t)item->class_id);
	wr_cache_set_name(&cache->entries[index], item->name);
	wr_cache_apply_rules(cache, index);
	return index;
}

/* An entry for the key that is nowhere. 0: there is one, or somebody else made one. */
static int make_entry(struct weir_cache *cache, struct slow *s, uint32_t *ret)
	WR_REQUIRES(cache->lock)
{
	bool can_fill = !(s->flags & WEIR_CACHE_NO_FILL) && wr_cache_source(cache, s->item);
	int rc = 0;

	if (can_fill && !s->item->bytes)
		return -EINVAL;
	if (!can_fill && !cache->store.size)
		return -ENOENT;
	if (cache->nr_entries >= cache->nr_entries_max)
		rc = wr_cache_make_place(cache, !(s->flags & WEIR_CACHE_NO_WAIT));
	if (rc)
		return rc;
	if (wr_cache_find(cache, s->item->key) != WR_NO_SLOT)
		return 0;
	*ret = wr_cache_add_item(cache, s->item);
	return 0;
}

/* One step towards the bytes. 1: pinned; 0: look again. */
static int step(struct weir_cache *cache, struct slow *s) WR_REQUIRES(cache->lock)
{
	uint32_t index = wr_cache_find(cache, s->item->key);
	bool held = false;
	uint64_t word;
	int rc = 0;

	if (index != WR_NO_SLOT) {
		word = wr_load_relaxed(&cache->slots[index].word);
		if (word & WR_WORD_READABLE(s->tier)) {
			rc = pin_locked(cache, s, index);
			return rc ? rc : 1;
		}
		if (cache->entries[index].is_busy)
			return s->flags & WEIR_CACHE_NO_WAIT ? -EINPROGRESS
							     : wr_cache_wait_change(cache, index);
	}
	if (cache->is_cancelled)
		return -ECANCELED;
	if (index == WR_NO_SLOT) {
		rc = make_entry(cache, s, &index);
		if (rc || index == WR_NO_SLOT)
			return rc;
		rc = fetch(cache, s, index, &held);
	} else if (wr_copy_state(word, WR_L1) == WR_COPY_FILLING ||
		   wr_copy_state(word, WR_L2) == WR_COPY_FILLING) {
		rc = wait_for_fetch(cache, s, index, &held);
	} else {
		rc = fetch(cache, s, index, &held);
	}
	if (!rc && held) {
		if (wr_load_relaxed(&cache->slots[index].word) & WR_WORD_READABLE(s->tier)) {
			rc = pin_locked(cache, s, index);
			rc = rc ? rc : 1;
		}
		wr_cache_unhold(cache, index);
	}
	return rc;
}

int wr_cache_get_slow(struct weir_cache *cache, const struct weir_cache_item *item,
		      unsigned int flags, struct weir_pin *ret)
{
	struct weir_pin pin = {0};
	struct slow s = {.item = item,
			 .flags = flags,
			 .tier = item->tier == WEIR_TIER_L1 ? WR_L1 : WR_L2,
			 .t = wr_thread_self(cache),
			 .ret = &pin};
	struct wr_ahead *ahead = wr_load_acquire(&cache->ahead);
	uint64_t since = wr_stage_begin();
	int rc = 0;

	if (!s.t)
		return -ENOMEM;
	if (ahead)
		wr_ahead_learn(ahead, item);
	if (!(flags & WEIR_CACHE_NO_WAIT))
		wr_might_block("a get of what is not there");
	wr_mutex_lock(&cache->lock);
	cache->nr_inside++;
	wr_cache_heed(cache);
	if (ahead)
		wr_cache_drain(cache, s.t); /* hits before this are told before it */
	while (!rc)
		rc = step(cache, &s);
	wr_cache_left(cache, &cache->nr_inside);
	wr_mutex_unlock(&cache->lock);
	if (s.missed) {
		wr_cache_probe_miss(s.tier, item->key.lo, item->bytes ? item->bytes : pin.bytes);
		wr_stage_end(WR_STAGE_FETCH, item->key.lo, since);
	}
	if (rc == 1) {
		*ret = pin;
		return 0;
	}
	return rc;
}

/* ---- several at once ---- */

/* Fetches of one call that are under way at a time. */
#define MAX_TOGETHER 32u

struct together {
	struct slow s;
	struct wr_waiter w;
	uint32_t index;
	bool is_joined;
};

/* It is nowhere yet, or in no tier that is wanted. */
static int bring_one(struct weir_cache *cache, struct together *o) WR_REQUIRES(cache->lock)
{
	uint64_t word = wr_load_relaxed(&cache->slots[o->index].word);
	unsigned int tier = o->s.tier;
	int rc;

	if (tier == WR_L1 && !(word & WR_WORD_READABLE(WR_L2)))
		tier = WR_L2;
	count(cache, &o->s, o->index, true);
	rc = wr_cache_bring(cache, o->index, tier,
			    o->s.flags & WEIR_CACHE_NO_FILL ? NULL : o->s.item, WR_WAITING, &o->w);
	o->is_joined = !rc;
	return rc;
}

/* Begin what one of them needs. 1: it was there and is pinned; 0: end_one() goes on. */
static int begin_one(struct weir_cache *cache, struct together *o) WR_REQUIRES(cache->lock)
{
	uint64_t word;
	int rc;

	o->index = wr_cache_find(cache, o->s.item->key);
	if (o->index == WR_NO_SLOT) {
		rc = cache->is_cancelled ? -ECANCELED : make_entry(cache, &o->s, &o->index);
		return rc || o->index == WR_NO_SLOT ? rc : bring_one(cache, o);
	}
	word = wr_load_relaxed(&cache->slots[o->index].word);
	if (word & WR_WORD_READABLE(o->s.tier)) {
		rc = pin_locked(cache, &o->s, o->index);
		return rc ? rc : 1;
	}
	if (cache->is_cancelled || cache->entries[o->index].is_busy)
		return cache->is_cancelled ? -ECANCELED : 0;
	if (wr_copy_state(word, WR_L1) != WR_COPY_FILLING &&
	    wr_copy_state(word, WR_L2) != WR_COPY_FILLING)
		return bring_one(cache, o);
	count(cache, &o->s, o->index, false);
	wr_cache_join(cache, o->index, &o->w);
	o->is_joined = true;
	wr_cache_promote(cache, o->index);
	return 0;
}

/* 1: pinned; else why not. */
static int end_one(struct weir_cache *cache, struct together *o) WR_REQUIRES(cache->lock)
{
	int rc = 0;

	if (o->is_joined) {
		o->is_joined = false;
		rc = wr_cache_wait(cache, o->index, &o->w);
		if (!rc) {
			bool has = wr_load_relaxed(&cache->slots[o->index].word) &
				   WR_WORD_READABLE(o->s.tier);

			if (has)
				rc = pin_locked(cache, &o->s, o->index);
			rc = has && !rc ? 1 : rc;
			wr_cache_unhold(cache, o->index);
		} else if (rc == -EAGAIN || rc == -ENOENT) {
			rc = 0; /* who brought it might wait less, or ask fewer, than we */
		}
	}
	while (!rc)
		rc = step(cache, &o->s);
	return rc;
}

static void abandon_one(struct weir_cache *cache, struct together *o) WR_REQUIRES(cache->lock)
{
	if (!o->is_joined)
		return;
	if (!o->w.is_done)
		wr_cache_leave(cache, o->index, &o->w);
	else if (!o->w.result)
		wr_cache_unhold(cache, o->index);
}

/* Those of @items that have no pin yet, from *@at on, as many as go together. */
static uint32_t collect(struct weir_cache *cache, const struct weir_cache_item *items, size_t nr,
			unsigned int flags, struct weir_pin *pins, size_t *at, struct together *set)
{
	struct wr_thread *t = wr_thread_self(cache);
	uint32_t n = 0;

	for (; *at < nr && n < MAX_TOGETHER; ++*at) {
		if (pins[*at].slot)
			continue;
		set[n++] = (struct together){
			.s = {.item = &items[*at],
			      .flags = flags,
			      .tier = items[*at].tier == WEIR_TIER_L1 ? WR_L1 : WR_L2,
			      .t = t,
			      .ret = &pins[*at]}};
	}
	return n;
}

/* How many of them were there, or an error. */
static int get_together(struct weir_cache *cache, struct together *set, uint32_t nr)
{
	uint64_t since = wr_stage_begin();
	uint32_t begun = 0, ended = 0;
	int rc = 0, nr_there = 0;

	wr_might_block("a get of what is not there");
	wr_mutex_lock(&cache->lock);
	cache->nr_inside++;
	wr_cache_heed(cache);
	if (wr_load_acquire(&cache->ahead))
		wr_cache_drain(cache, set[0].s.t); /* hits before these are told before them */
	for (; begun < nr && rc >= 0; begun++) {
		rc = begin_one(cache, &set[begun]);
		nr_there += rc == 1;
	}
	for (; ended < begun && rc >= 0; ended++)
		rc = set[ended].s.ret->slot ? 1 : end_one(cache, &set[ended]);
	for (; rc < 0 && ended < begun; ended++)
		abandon_one(cache, &set[ended]);
	wr_cache_left(cache, &cache->nr_inside);
	wr_mutex_unlock(&cache->lock);
	for (uint32_t i = 0; i < begun; i++) {
		const struct weir_cache_item *item = set[i].s.item;

		if (!set[i].s.missed)
			continue;
		wr_cache_probe_miss(set[i].s.tier, item->key.lo, item->bytes);
		wr_stage_end(WR_STAGE_FETCH, item->key.lo, since);
	}
	return rc < 0 ? rc : nr_there;
}

/* What is there at the first look; pins of the rest are cleared. How many that are, or -EINVAL. */
static int64_t get_ready(struct weir_cache *cache, const struct weir_cache_item *items, size_t nr,
			 struct weir_pin *pins)
{
	int64_t nr_there = 0;
	int rc = 0;

	for (size_t i = 0; i < nr; i++) {
		unsigned int tier = items[i].tier == WEIR_TIER_L1 ? WR_L1 : WR_L2;

		pins[i] = (struct weir_pin){0};
		rc = rc ? rc : wr_cache_check_item(cache, &items[i]);
		if (rc || !get_fast(cache, items[i].key, tier, &pins[i]))
			continue;
		nr_there++;
		if (items[i].bytes && items[i].bytes != pins[i].bytes)
			rc = -EINVAL;
	}
	return rc ? rc : nr_there;
}

int64_t weir_cache_get_all(struct weir_cache *cache, const struct weir_cache_item *items, size_t nr,
			   unsigned int flags, struct weir_pin *pins)
{
	struct together set[MAX_TOGETHER];
	int64_t nr_there;
	size_t at = 0;
	uint32_t n;
	int rc = 0;

	if (flags & ~WEIR_CACHE_NO_FILL)
		return -EINVAL;
	nr_there = get_ready(cache, items, nr, pins);
	if (nr_there == (int64_t)nr)
		return nr_there;
	if (nr_there < 0)
		rc = (int)nr_there;
	else if (!wr_thread_self(cache))
		rc = -ENOMEM;
	while (rc >= 0 && (n = collect(cache, items, nr, flags, pins, &at, set))) {
		rc = get_together(cache, set, n);
		nr_there += rc;
	}
	if (rc >= 0)
		return nr_there;
	for (size_t i = 0; i < nr; i++)
		(void)weir_cache_put(cache, &pins[i]);
	return rc;
}
