/* SPDX-License-Identifier: MIT */
/*
 * Room: budgets, who leaves, and going down a tier.
 *
 * Bytes are charged before they are taken from a tier and until they are back there, so that what
 * is charged is never below what is used, and never above the limit. Who needs room picks victims
 * in the order of the policies, of the class that is most above its share first. What can be had
 * again, or is in another tier too, is dropped; the rest is copied down first, several at a time,
 * by the thread that needs the room. Copying and giving back happen outside the lock.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "cache/cache_internal.h"
#include "cache/probing.h"
#include "pool/gate.h"

/* Victims taken at a time: one barrier for all of them; and when much has to leave. */
#define NR_DROPS  32u
#define MAX_DROPS 256u
/* Pins that are noted before choosing; with more, each candidate is looked for. */
#define MAX_PINS 256u
/* More than what is needed is dropped at a time, so that small things share a barrier. */
#define BATCH_PART 512u
/* Of the limit, what was prefetched and not got since may keep; what is more leaves, oldest first. */
#define STAGED_PART 8u
/* A change of a class's room by less than such a part of it is not worth telling its policy. */
#define TELL_PART 16u

/* What may be chosen. */
enum choice {
	CHOOSE_ALL,
	CHOOSE_DROPS,	/* nothing that would have to be copied */
	CHOOSE_SURPLUS, /* the same, and of no class that has not more than its share */
	CHOOSE_MOVES,	/* what would have to be written, and nothing else */
};

struct batch {
	struct weir_cache *cache;
	unsigned int tier;
	enum choice choice;
	bool is_last_resort; /* also what a rule wants to leave after all others */
	uint32_t max_drops;
	uint32_t nr_drops, nr_moves;
	uint64_t bytes; /* of both */
	struct wr_victim drops[MAX_DROPS], moves[WR_NR_MOVES];
	size_t nr_pins;
	uint64_t pins[MAX_PINS];
};

void wr_cache_room_changed(struct weir_cache *cache)
{
	wr_lock_assert_held(&cache->lock);
	cache->nr_room_changes++;
	wr_cond_broadcast(&cache->room);
}

void wr_cache_left(struct weir_cache *cache, uint32_t *nr)
{
	wr_lock_assert_held(&cache->lock);
	if (--*nr == 0 && cache->is_cancelled)
		wr_cond_broadcast(&cache->room);
}

uint64_t wr_cache_share(struct weir_cache *cache, unsigned int tier, uint32_t class_id)
{
	uint64_t limit = cache->tiers[tier].limit;
	uint32_t given = 0, others = 0;

	wr_lock_assert_held(&cache->lock);
	for (uint32_t c = 0; c < WEIR_NR_CLASSES; c++) {
		given += cache->classes[c].share_permille;
		others += !cache->classes[c].share_permille;
	}
	if (cache->classes[class_id].share_permille)
		return limit / 1000 * cache->classes[class_id].share_permille;
	return limit / 1000 * (1000 - given) / others;
}

uint64_t wr_cache_room_of(struct weir_cache *cache, unsigned int tier, uint32_t class_id)
{
	const struct wr_tier *t = &cache->tiers[tier];
	uint64_t others = 0;

	wr_lock_assert_held(&cache->lock);
	for (uint32_t c = 0; c < WEIR_NR_CLASSES; c++)
		others += c == class_id ? 0 : t->numbers[c].used_bytes;
	others = wr_min(others, t->limit);
	return wr_max(wr_cache_share(cache, tier, class_id), t->limit - others);
}

void wr_cache_tell_rooms(struct weir_cache *cache, unsigned int tier)
{
	struct wr_tier *t = &cache->tiers[tier];

	wr_lock_assert_held(&cache->lock);
	for (uint32_t c = 0; c < WEIR_NR_CLASSES; c++) {
		uint64_t told = t->numbers[c].told_bytes, room;

		if (!t->policies[c])
			continue;
		room = wr_max(wr_cache_room_of(cache, tier, c), WEIR_TIER_ALIGN);
		/* A policy resizes what it simulates: not for every entry that comes and goes. */
		if (room < told ? told - room <= told / TELL_PART : room - told <= told / TELL_PART)
			continue;
		t->numbers[c].told_bytes = room;
		wr_policy_resize(t->policies[c], room);
	}
}

/* ---- choosing ---- */

/* The bytes are in another tier too, or can be had again. */
static bool can_drop(struct weir_cache *cache, uint32_t index, unsigned int tier)
	WR_REQUIRES(cache->lock)
{
	const struct wr_entry *e = &cache->entries[index];
	enum wr_copy_state other =
		wr_copy_state(wr_load_relaxed(&cache->slots[index].word), tier ^ 1);

	wr_lock_assert_held(&cache->lock);
	return !e->is_owned || e->is_stored || other == WR_COPY_READY || other == WR_COPY_MOVING;
}

static bool has_below(const struct weir_cache *cache, unsigned int tier)
{
	return tier == WR_L1 || cache->store.size;
}

static uint32_t index_of(const struct weir_cache *cache, const struct wr_policy_node *node)
{
	size_t at = (size_t)((const char *)node - (const char *)cache->entries);

	return (uint32_t)(at / sizeof(struct wr_entry));
}

/* When the pins were noted. */
static bool is_pinned(const struct batch *b, uint64_t tag)
{
	if (b->nr_pins > MAX_PINS)
		return wr_cache_is_pinned(b->cache, tag);
	for (size_t i = 0; i < b->nr_pins; i++)
		if (b->pins[i] == tag)
			return true;
	return false;
}

static bool may_move(const struct batch *b)
{
	return (b->choice == CHOOSE_ALL || b->choice == CHOOSE_MOVES) &&
	       has_below(b->cache, b->tier);
}

/* Called by policies, under CACHE. */
static WR_NO_THREAD_SAFETY bool may_leave(struct batch *b, uint32_t index)
{
	struct weir_cache *cache = b->cache;
	const struct wr_entry *e = &cache->entries[index];
	uint64_t word = wr_load_relaxed(&cache->slots[index].word);
	uint64_t tag = wr_tag(index, b->tier, word);

	if (wr_copy_state(word, b->tier) != WR_COPY_READY || e->nr_holds || e->nr_keep ||
	    e->rule == WEIR_RULE_PIN || e->is_busy)
		return false;
	if (e->rule == WEIR_RULE_L1 && b->tier == WR_L1 && !b->is_last_resort)
		return false;
	if (can_drop(cache, index, b->tier) ? b->choice == CHOOSE_MOVES : !may_move(b))
		return false;
	return !is_pinned(b, tag);
}

static bool may_leave_node(void *arg, const struct wr_policy_node *node)
{
	struct batch *b = arg;

	return may_leave(b, index_of(b->cache, node));
}

/* Nothing of it could be dropped: to look at each of its entries would be in vain. */
static bool is_all_dirty(const struct weir_cache *cache, const struct batch *b, uint32_t class_id)
{
	const struct wr_tier *t = &cache->tiers[b->tier];

	return !may_move(b) && b->tier == WR_L2 && !cache->tiers[WR_L1].ops.size &&
	       wr_policy_bytes(t->policies[class_id]) <= t->numbers[class_id].dirty_bytes;
}

/* The class that is most above its share goes first; @done: those that had nothing. */
static uint32_t next_class(struct weir_cache *cache, const struct batch *b, unsigned int done)
	WR_REQUIRES(cache->lock)
{
	uint32_t best = WEIR_NR_CLASSES;
	int64_t most = b->choice == CHOOSE_SURPLUS ? 0 : INT64_MIN;

	wr_lock_assert_held(&cache->lock);
	for (uint32_t c = 0; c < WEIR_NR_CLASSES; c++) {
		int64_t above = (int64_t)cache->tiers[b->tier].numbers[c].used_bytes -
				(int64_t)wr_cache_share(cache, b->tier, c);

		if (done & 1u << c || !cache->tiers[b->tier].policies[c] || above <= most ||
		    is_all_dirty(cache, b, c))
			continue;
		most = above;
		best = c;
	}
	return best;
}

/* The first of a line that may leave. */
static struct wr_policy_node *first_of(struct weir_cache *cache, struct batch *b,
				       enum wr_chain chain) WR_REQUIRES(cache->lock)
{
	uint32_t at = cache->tiers[b->tier].first[chain];

	for (; at; at = cache->entries[at - 1].copies[b->tier].after)
		if (may_leave(b, at - 1))
			return &cache->entries[at - 1].copies[b->tier].node;
	return NULL;
}

/* What passes through, then what is staged beyond its part, then by the policies, then the rest. */
static struct wr_policy_node *choose_node(struct weir_cache *cache, struct batch *b)
	WR_REQUIRES(cache->lock)
{
	const struct wr_tier *t = &cache->tiers[b->tier];
	struct wr_policy_node *node = first_of(cache, b, WR_PASSING);
	unsigned int done = 0;
	uint32_t class_id;

	if (!node && t->staged > t->limit / STAGED_PART)
		node = first_of(cache, b, WR_STAGED);
	while (!node) {
		class_id = next_class(cache, b, done);
		if (class_id == WEIR_NR_CLASSES)
			return first_of(cache, b, WR_STAGED);
		node = wr_policy_victim(t->policies[class_id], may_leave_node, b);
		done |= 1u << class_id;
	}
	return node;
}

/* Into the batch, and marked as what will be done with it. */
static void take(struct weir_cache *cache, struct batch *b, struct wr_policy_node *node)
	WR_REQUIRES(cache->lock)
{
	uint32_t index = index_of(cache, node);
	bool drops = can_drop(cache, index, b->tier);
	struct wr_victim *v = drops ? &b->drops[b->nr_drops++] : &b->moves[b->nr_moves++];

	v->index = index;
	v->tag = wr_tag(index, b->tier, wr_load_relaxed(&cache->slots[index].word));
	wr_cache_set_state(cache, index, b->tier, drops ? WR_COPY_LEAVING : WR_COPY_MOVING);
	b->bytes += cache->entries[index].copies[b->tier].charged;
}

static bool choose_one(struct weir_cache *cache, struct batch *b) WR_REQUIRES(cache->lock)
{
	struct wr_policy_node *node = choose_node(cache, b);

	if (node)
		take(cache, b, node);
	return node;
}

#if WR_DEBUG
void (*wr_test_cache_choosing)(void);
#endif

static void begin_batch(struct weir_cache *cache, struct batch *b) WR_REQUIRES(cache->lock)
{
	b->nr_drops = 0;
	b->nr_moves = 0;
	b->bytes = 0;
	b->nr_pins = wr_cache_pinned_tags(cache, b->pins, MAX_PINS);
#if WR_DEBUG
	if (wr_test_cache_choosing)
		wr_test_cache_choosing();
#endif
}

static void choose(struct weir_cache *cache, struct batch *b, uint64_t bytes)
	WR_REQUIRES(cache->lock)
{
	uint64_t some = cache->tiers[b->tier].limit / BATCH_PART;

	wr_cache_drain_all(cache);
	wr_cache_tell_rooms(cache, b->tier);
	begin_batch(cache, b);
	while (b->bytes < wr_max(bytes, some) && b->nr_drops < b->max_drops &&
	       b->nr_moves < WR_NR_MOVES && choose_one(cache, b))
		;
}

uint32_t wr_cache_choose_moves(struct weir_cache *cache, uint32_t class_id, uint64_t bytes,
			       struct wr_victim *v, uint32_t max)
{
	struct batch b = {.cache = cache, .tier = WR_L2, .choice = CHOOSE_MOVES};
	struct wr_policy *policy = cache->tiers[WR_L2].policies[class_id];

	wr_lock_assert_held(&cache->lock);
	begin_batch(cache, &b);
	while (b.bytes < bytes && b.nr_moves < wr_min(max, WR_NR_MOVES)) {
		struct wr_policy_node *node = wr_policy_victim(policy, may_leave_node, &b);

		if (!node)
			break;
		take(cache, &b, node);
		v[b.nr_moves - 1] = b.moves[b.nr_moves - 1];
	}
	return b.nr_moves;
}

/* ---- dropping ---- */

/* What a copy was is out of the index; the memory is still charged. */
static void forget_copy(struct weir_cache *cache, uint32_t index, unsigned int tier, bool evicted)
	WR_REQUIRES(cache->lock)
{
	struct wr_entry *e = &cache->entries[index];
	struct wr_class_numbers *n = &cache->tiers[tier].numbers[e->class_id];
	struct wr_slot *slot = &cache->slots[index];

	wr_cache_unlist(cache, index, tier, evicted);
	if (tier == WR_L2 && (wr_load_relaxed(&slot->word) & WR_WORD_FRESH)) {
		n->nr_wasted++;
		wr_store_relaxed(&slot->word, wr_load_relaxed(&slot->word) & ~WR_WORD_FRESH);
	}
	n->nr_evictions += evicted;
	if (evicted)
		wr_cache_probe_evict(tier, wr_load_relaxed(&slot->lo), e->bytes);
	n->nr_entries--;
	if (tier == WR_L2 && wr_entry_is_dirty(e))
		n->dirty_bytes -= e->copies[tier].charged;
	wr_cache_set_state(cache, index, tier, WR_COPY_NONE);
}

/* Memory that is out of the index. */
struct loose {
	struct weir_tier_mem mem;
	uint64_t charged;
	uint32_t class_id;
};

/* All of it back to the tier, then the charges with it, and one word to who waits. Unlocks. */
static void give_back(struct weir_cache *cache, unsigned int tier, const struct loose *loose,
		      uint32_t nr) WR_REQUIRES(cache->lock)
{
	struct wr_tier *t = &cache->tiers[tier];
	uint64_t sum = 0;

	wr_lock_assert_held(&cache->lock);
	for (uint32_t i = 0; i < nr; i++)
		sum += loose[i].charged;
	t->leaving += sum;
	wr_mutex_unlock(&cache->lock);
	wr_lock_assert_none_held("a tier's free");
	for (uint32_t i = 0; i < nr; i++)
		t->ops.free(t->arg, &loose[i].mem);
	wr_mutex_lock(&cache->lock);
	t->leaving -= sum;
	t->used -= sum;
	for (uint32_t i = 0; i < nr; i++)
		t->numbers[loose[i].class_id].used_bytes -= loose[i].charged;
	wr_cache_room_changed(cache);
}

void wr_cache_give(struct weir_cache *cache, unsigned int tier, uint32_t class_id,
		   const struct weir_tier_mem *mem, uint64_t charged)
{
	struct loose loose = {.mem = *mem, .charged = charged, .class_id = class_id};

	give_back(cache, tier, &loose, 1);
}

/* Take the marked ones that nobody pinned meanwhile. Their number. */
static uint32_t drop(struct weir_cache *cache, struct batch *b) WR_REQUIRES(cache->lock)
{
	struct loose out[MAX_DROPS];
	uint32_t nr = 0;

	if (!b->nr_drops)
		return 0;
	wr_gate_barrier(); /* P3 */
	b->nr_pins = wr_cache_pinned_tags(cache, b->pins, MAX_PINS);
	for (uint32_t i = 0; i < b->nr_drops; i++) {
		uint32_t index = b->drops[i].index;
		struct wr_entry *e = &cache->entries[index];

		if (is_pinned(b, b->drops[i].tag)) {
			wr_cache_set_state(cache, index, b->tier, WR_COPY_READY);
			continue;
		}
		out[nr].mem = e->copies[b->tier].mem;
		out[nr].charged = e->copies[b->tier].charged;
		out[nr++].class_id = e->class_id;
		forget_copy(cache, index, b->tier, true);
		if (wr_cache_is_bare(cache, index) && !e->nr_holds && !e->waiters)
			wr_cache_del(cache, index);
	}
	if (nr)
		give_back(cache, b->tier, out, nr);
	return nr;
}

void wr_cache_detach(struct weir_cache *cache, uint32_t index, unsigned int tier, bool evicted)
{
	struct wr_entry *e = &cache->entries[index];
	struct wr_copy *copy = &e->copies[tier];
	uint64_t tag = wr_tag(index, tier, wr_load_relaxed(&cache->slots[index].word));
	struct weir_tier_mem mem = copy->mem;
	uint64_t charged = copy->charged;
	uint32_t class_id = e->class_id;
	struct wr_dead *dead;

	wr_lock_assert_held(&cache->lock);
	wr_cache_set_state(cache, index, tier, WR_COPY_LEAVING);
	wr_gate_barrier(); /* P3 */
	forget_copy(cache, index, tier, evicted);
	if (!wr_cache_is_pinned(cache, tag)) {
		wr_cache_give(cache, tier, class_id, &mem, charged);
		return;
	}
	dead = cache->spare;
	cache->spare = dead->next;
	cache->nr_spare--;
	wr_copy_step(tier, WR_COPY_LEAVING, WR_COPY_DEAD);
	*dead = (struct wr_dead){cache->dead, tag, mem, charged, tier, class_id};
	cache->dead = dead;
}

/* Free what is dead and no longer pinned. True if there was any. Unlocks meanwhile. */
static bool reap(struct weir_cache *cache) WR_REQUIRES(cache->lock)
{
	struct wr_dead **link = &cache->dead, *d;
	bool any = false;

	wr_lock_assert_held(&cache->lock);
	while ((d = *link)) {
		if (wr_cache_is_pinned(cache, d->tag)) {
			link = &d->next;
			continue;
		}
		*link = d->next;
		wr_copy_step(d->tier, WR_COPY_DEAD, WR_COPY_GONE);
		wr_cache_give(cache, d->tier, d->class_id, &d->mem, d->charged);
		wr_free(d);
		any = true;
		link = &cache->dead; /* the lock was let go */
	}
	return any;
}

/* ---- making room ---- */

/* Drop what @choice allows. Whether something left. Unlocks. */
static bool drop_some(struct weir_cache *cache, struct batch *b, enum choice choice, uint64_t bytes)
	WR_REQUIRES(cache->lock)
{
	b->choice = choice;
	choose(cache, b, bytes);
	return drop(cache, b) != 0;
}

/* What can be dropped and what can go down, in the order of the policies. As evict(). Unlocks. */
static int evict_any(struct weir_cache *cache, struct batch *b, uint64_t bytes)
	WR_REQUIRES(cache->lock)
{
	int rc;

	b->choice = CHOOSE_ALL;
	choose(cache, b, bytes);
	rc = b->nr_drops || b->nr_moves ? 0 : -EAGAIN;
	/* The moves first: they stay readable, and the drops are marked until the barrier. */
	if (drop(cache, b))
		rc = 0;
	else if (b->nr_drops && !b->nr_moves)
		rc = -EAGAIN; /* all were pinned in the meantime */
	if (b->nr_moves) {
		rc = wr_cache_move(cache, b->tier, b->moves, b->nr_moves);
		if (rc && drop_some(cache, b, CHOOSE_DROPS, bytes))
			rc = 0;
	}
	return rc;
}

/*
 * Let @bytes leave, or some of them, at most @max_drops at a time. 0 when something left, or can
 * now without copying; -EAGAIN when there is nothing that can; or what a lower tier said. Unlocks
 * meanwhile.
 */
static int evict(struct weir_cache *cache, unsigned int tier, uint64_t bytes, bool demand,
		 uint32_t max_drops) WR_REQUIRES(cache->lock)
{
	struct batch b = {.cache = cache, .tier = tier, .max_drops = max_drops};
	int rc;

	wr_lock_assert_held(&cache->lock);
	if (cache->dead && reap(cache))
		return 0;
	if (!demand)
		return drop_some(cache, &b, CHOOSE_DROPS, bytes) ? 0 : -EAGAIN;
	/* Nobody waits for a write as long as a class that has too much has what can be dropped. */
	if (drop_some(cache, &b, CHOOSE_SURPLUS, bytes))
		return 0;
	for (uint32_t c = 0; tier == WR_L2 && c < WEIR_NR_CLASSES; c++)
		wr_cache_write_ahead(cache, c);
	if (tier == WR_L2 && cache->nr_ahead)
		return -EAGAIN; /* soon there is */
	rc = evict_any(cache, &b, bytes);
	if (rc == -EAGAIN && tier == WR_L1) {
		b.is_last_resort = true;
		rc = evict_any(cache, &b, bytes);
	}
	return rc;
}

typedef bool (*fits_fn)(struct weir_cache *cache, unsigned int tier, uint64_t bytes);

static bool charge(struct weir_cache *cache, unsigned int tier, uint64_t bytes)
{
	struct wr_tier *t = &cache->tiers[tier];

	if (t->used > t->limit || bytes > t->limit - t->used)
		return false;
	t->used += bytes;
	t->peak = wr_max(t->peak, t->used);
	return true;
}

static bool has_place(struct weir_cache *cache, unsigned int tier, uint64_t bytes)
{
	(void)tier;
	(void)bytes;
	return cache->nr_entries < cache->nr_entries_max;
}

/* What others are giving back is enough: to drop more would be a waste. */
static bool is_coming(const struct wr_tier *t, uint64_t bytes)
{
	return t->leaving && t->used - t->leaving <= t->limit &&
	       bytes <= t->limit - (t->used - t->leaving);
}

/* Pins, or something under way, of which room may come. Our own fetch counts as one. */
static bool may_change(struct weir_cache *cache, unsigned int tier) WR_REQUIRES(cache->lock)
{
	uint64_t tag;

	wr_lock_assert_held(&cache->lock);
	return cache->dead || cache->nr_moving || cache->nr_inside > 1 || cache->nr_filling > 1 ||
	       cache->tiers[tier].leaving || wr_cache_pinned_tags(cache, &tag, 1);
}

static bool is_first(const struct wr_line *line, const struct wr_in_line *me)
{
	return !line->first || line->first == me;
}

static void enter_queue(struct wr_line *line, struct wr_in_line *me)
{
	struct wr_in_line **link = &line->first;

	if (me->is_queued)
		return;
	while (*link)
		link = &(*link)->next;
	*link = me;
	me->next = NULL;
	me->is_queued = true;
}

static void leave_queue(struct weir_cache *cache, struct wr_line *line, struct wr_in_line *me)
	WR_REQUIRES(cache->lock)
{
	struct wr_in_line **link = &line->first;

	if (me->deadline_ns)
		wr_fetch_sub_relaxed(&cache->nr_room_waiters, 1);
	if (!me->is_queued)
		return;
	while (*link != me)
		link = &(*link)->next;
	*link = me->next;
	if (line->first)
		wr_cond_broadcast(&cache->turn); /* somebody is first now */
}

/*
 * The first in line found nothing that could leave: wait until something changes. Who waits is
 * announced first and looks once more, so that either he sees that a pin was put, or who puts it
 * sees that somebody waits. @seen: of the changes, those before the look, which lets the lock go:
 * what changed meanwhile has woken nobody.
 */
static int wait_first(struct weir_cache *cache, unsigned int tier, uint64_t seen,
		      struct wr_in_line *me) WR_REQUIRES(cache->lock)
{
	wr_lock_assert_held(&cache->lock);
	if (!me->deadline_ns) {
		me->deadline_ns = wr_now_ns() + cache->room_wait_ns;
		wr_fetch_add_seq_cst(&cache->nr_room_waiters, 1);
		wr_gate_barrier();
		return 0;
	}
	if (cache->nr_room_changes != seen && wr_now_ns() < me->deadline_ns)
		return 0;
	if (!may_change(cache, tier))
		return -ENOSPC;
	if (tier == WR_L2 && cache->nr_ahead) { /* which ends, however slow L3 is */
		wr_cond_wait(&cache->room, &cache->lock);
		me->deadline_ns = wr_now_ns() + cache->room_wait_ns;
		return 0;
	}
	return wr_cond_timedwait(&cache->room, &cache->lock, me->deadline_ns) ? -ENOSPC : 0;
}

/*
 * Until it fits: evict, then wait. Who came first is served first; the time that is waited for
 * pins begins when one is the first.
 */
static int until_it_fits(struct weir_cache *cache, unsigned int tier, uint64_t bytes, bool demand,
			 fits_fn fits) WR_REQUIRES(cache->lock)
{
	struct wr_line *line = fits == has_place ? &cache->place_line : &cache->tiers[tier].line;
	struct wr_in_line me = {0};
	uint64_t seen;
	int rc = 0;

	wr_lock_assert_held(&cache->lock);
	while (!rc) {
		rc = cache->is_cancelled ? -ECANCELED : 0;
		if (rc || (is_first(line, &me) && fits(cache, tier, bytes)))
			break;
		if (!demand && !is_first(line, &me)) {
			rc = -EAGAIN;
			break;
		}
		enter_queue(line, &me);
		if (!is_first(line, &me)) {
			wr_cond_wait(&cache->turn, &cache->lock);
			continue;
		}
		seen = cache->nr_room_changes;
		rc = -EAGAIN;
		if (fits == has_place || !is_coming(&cache->tiers[tier], bytes))
			rc = evict(cache, tier, bytes, demand, NR_DROPS);
		if (rc == -EAGAIN && demand)
			rc = wait_first(cache, tier, seen, &me);
	}
	leave_queue(cache, line, &me);
	return rc;
}

/* Charge @bytes of a tier to a class. As wr_cache_take(). */
static int make_room(struct weir_cache *cache, unsigned int tier, uint32_t class_id, uint64_t bytes,
		     bool demand) WR_REQUIRES(cache->lock)
{
	int rc;

	wr_lock_assert_held(&cache->lock);
	if (bytes > cache->tiers[tier].budget)
		return -ENOSPC;
	rc = until_it_fits(cache, tier, bytes, demand, charge);
	if (!rc)
		cache->tiers[tier].numbers[class_id].used_bytes += bytes;
	return rc;
}

int wr_cache_make_place(struct weir_cache *cache, bool demand)
{
	int rc = until_it_fits(cache, WR_L2, 1, demand, has_place);

	if ((rc == -ENOSPC || rc == -EAGAIN) && cache->tiers[WR_L1].ops.size)
		rc = until_it_fits(cache, WR_L1, 1, demand, has_place);
	return rc;
}

/* How often a tier may say that its room is in pieces before we believe that it stays so. */
#define MAX_PIECES 64u

int wr_cache_take(struct weir_cache *cache, unsigned int tier, uint32_t class_id, uint64_t bytes,
		  bool demand, struct weir_tier_mem *ret)
{
	struct wr_tier *t = &cache->tiers[tier];
	struct wr_in_line me = {0};
	int rc = make_room(cache, tier, class_id, bytes, demand);

	if (rc)
		return rc;
	for (uint32_t n = 0;; n++) {
		uint64_t seen = cache->nr_room_changes;
		int more;

		wr_mutex_unlock(&cache->lock);
		wr_lock_assert_none_held("a tier's alloc");
		rc = t->ops.alloc(t->arg, bytes, ret);
		wr_mutex_lock(&cache->lock);
		if (rc != -ENOSPC || n == MAX_PIECES)
			break;
		more = evict(cache, tier, bytes, demand, NR_DROPS);
		/* What could leave may be on its way down. */
		if (more == -EAGAIN && demand)
			more = wait_first(cache, tier, seen, &me);
		if (more)
			break;
	}
	leave_queue(cache, &t->line, &me);
	if (rc) {
		t->used -= bytes;
		t->numbers[class_id].used_bytes -= bytes;
		wr_cache_room_changed(cache);
	}
	return rc;
}

int wr_cache_shrink(struct weir_cache *cache, unsigned int tier)
{
	struct wr_tier *t = &cache->tiers[tier];
	int rc = 0;

	wr_lock_assert_held(&cache->lock);
	while (!rc && t->used > t->limit) {
		if (is_coming(t, 0)) {
			wr_mutex_unlock(&cache->lock);
			sched_yield();
			wr_mutex_lock(&cache->lock);
			continue;
		}
		rc = evict(cache, tier, t->used - t->limit, true, MAX_DROPS);
		if (rc == -EAGAIN && tier == WR_L2 && cache->nr_ahead) {
			wr_cond_wait(&cache->room, &cache->lock);
			rc = 0;
		}
	}
	return rc == -EAGAIN ? -EBUSY : rc;
}
