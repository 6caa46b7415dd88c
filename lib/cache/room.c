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
#include "pool/gate.h"

/* Victims taken at a time: one barrier for all of them. */
#define MAX_BATCH 32u
/* Pins that are noted before choosing; with more, each candidate is looked for. */
#define MAX_PINS 256u
/* More than what is needed is dropped at a time, so that small things share a barrier. */
#define BATCH_PART 512u
/* Of the limit, what was prefetched and not got since may keep; what is more leaves, oldest first. */
#define STAGED_PART 8u

struct victim {
	uint32_t index;
	uint64_t tag;
};

struct batch {
	struct weir_cache *cache;
	unsigned int tier;
	bool only_drops; /* nothing that would have to be copied */
	uint32_t nr_drops, nr_moves;
	uint64_t bytes; /* of both */
	struct victim drops[MAX_BATCH], moves[MAX_BATCH];
	size_t nr_pins;
	uint64_t pins[MAX_PINS];
};

void wr_cache_room_changed(struct weir_cache *cache)
{
	wr_lock_assert_held(&cache->lock);
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
	if (!can_drop(cache, index, b->tier) && (b->only_drops || !has_below(cache, b->tier)))
		return false;
	if (b->nr_pins > MAX_PINS)
		return !wr_cache_is_pinned(cache, tag);
	for (size_t i = 0; i < b->nr_pins; i++)
		if (b->pins[i] == tag)
			return false;
	return true;
}

static bool may_leave_node(void *arg, const struct wr_policy_node *node)
{
	struct batch *b = arg;

	return may_leave(b, index_of(b->cache, node));
}

/* The class that is most above its share goes first; @done: those that had nothing. */
static uint32_t next_class(struct weir_cache *cache, unsigned int tier, unsigned int done)
	WR_REQUIRES(cache->lock)
{
	uint32_t best = WEIR_NR_CLASSES;
	int64_t most = INT64_MIN;

	wr_lock_assert_held(&cache->lock);
	for (uint32_t c = 0; c < WEIR_NR_CLASSES; c++) {
		int64_t above = (int64_t)cache->tiers[tier].numbers[c].used_bytes -
				(int64_t)wr_cache_share(cache, tier, c);

		if (done & 1u << c || !cache->tiers[tier].policies[c] || above <= most)
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
		class_id = next_class(cache, b->tier, done);
		if (class_id == WEIR_NR_CLASSES)
			return first_of(cache, b, WR_STAGED);
		node = wr_policy_victim(t->policies[class_id], may_leave_node, b);
		done |= 1u << class_id;
	}
	return node;
}

static bool choose_one(struct weir_cache *cache, struct batch *b) WR_REQUIRES(cache->lock)
{
	struct wr_policy_node *node = choose_node(cache, b);
	struct victim *v;
	uint32_t index;

	if (!node)
		return false;
	index = index_of(cache, node);
	v = can_drop(cache, index, b->tier) ? &b->drops[b->nr_drops++] : &b->moves[b->nr_moves++];
	v->index = index;
	v->tag = wr_tag(index, b->tier, wr_load_relaxed(&cache->slots[index].word));
	wr_cache_set_state(cache, index, b->tier,
			   can_drop(cache, index, b->tier) ? WR_COPY_LEAVING : WR_COPY_MOVING);
	b->bytes += cache->entries[index].copies[b->tier].charged;
	return true;
}

static void choose(struct weir_cache *cache, struct batch *b, uint64_t bytes)
	WR_REQUIRES(cache->lock)
{
	uint64_t some = cache->tiers[b->tier].limit / BATCH_PART;

	wr_cache_drain_all(cache);
	b->nr_drops = 0;
	b->nr_moves = 0;
	b->bytes = 0;
	b->nr_pins = wr_cache_pinned_tags(cache, b->pins, MAX_PINS);
	while (b->bytes < wr_max(bytes, some) && b->nr_drops < MAX_BATCH &&
	       b->nr_moves < MAX_BATCH && choose_one(cache, b))
		;
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
	n->nr_entries--;
	wr_cache_set_state(cache, index, tier, WR_COPY_NONE);
}

void wr_cache_give(struct weir_cache *cache, unsigned int tier, uint32_t class_id,
		   const struct weir_tier_mem *mem, uint64_t charged)
{
	struct wr_tier *t = &cache->tiers[tier];
	struct weir_tier_mem copy = *mem;

	wr_lock_assert_held(&cache->lock);
	t->leaving += charged;
	wr_mutex_unlock(&cache->lock);
	wr_lock_assert_none_held("a tier's free");
	t->ops.free(t->arg, &copy);
	wr_mutex_lock(&cache->lock);
	t->leaving -= charged;
	t->used -= charged;
	t->numbers[class_id].used_bytes -= charged;
	wr_cache_room_changed(cache);
}

/* Take the marked ones that nobody pinned meanwhile. Their number. */
static uint32_t drop(struct weir_cache *cache, struct batch *b) WR_REQUIRES(cache->lock)
{
	struct {
		struct weir_tier_mem mem;
		uint64_t charged;
		uint32_t class_id;
	} out[MAX_BATCH];
	uint32_t nr = 0;

	if (b->nr_drops)
		wr_gate_barrier(); /* P3 */
	for (uint32_t i = 0; i < b->nr_drops; i++) {
		uint32_t index = b->drops[i].index;
		struct wr_entry *e = &cache->entries[index];

		if (wr_cache_is_pinned(cache, b->drops[i].tag)) {
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
	for (uint32_t i = 0; i < nr; i++)
		wr_cache_give(cache, b->tier, out[i].class_id, &out[i].mem, out[i].charged);
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
	*dead = (struct wr_dead){cache->dead, tag, mem, charged, tier, class_id};
	cache->dead = dead;
}

bool wr_cache_reap(struct weir_cache *cache)
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
		wr_cache_give(cache, d->tier, d->class_id, &d->mem, d->charged);
		wr_free(d);
		any = true;
		link = &cache->dead; /* the lock was let go */
	}
	return any;
}

/* ---- going down ---- */

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

/* One write that a thread waits for together with others. */
struct put {
	struct wr_sync *sync;
	int result;
};

static void put_done(void *arg, int result)
{
	struct put *put = arg;

	put->result = result;
	wr_sync_done(put->sync, 0);
}

static void ask_store(struct weir_cache *cache, const struct victim *v, struct put *put)
{
	struct wr_entry *e = &cache->entries[v->index]; /* MOVING: it stays as it is */
	struct wr_slot *slot = &cache->slots[v->index];
	struct weir_store_item item = {
		.key = {wr_load_relaxed(&slot->hi), wr_load_relaxed(&slot->lo)},
		.bytes = e->bytes,
		.class_id = e->class_id,
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
static int write_down(struct weir_cache *cache, const struct victim *v, uint32_t nr, int *ret_first)
	WR_REQUIRES(cache->lock)
{
	struct put puts[MAX_BATCH];
	struct wr_sync sync;
	uint32_t nr_good = 0;

	cache->nr_moving += nr;
	wr_mutex_unlock(&cache->lock);
	wr_lock_assert_none_held("a store's put");
	wr_sync_init(&sync, nr);
	for (uint32_t i = 0; i < nr; i++) {
		puts[i].sync = &sync;
		ask_store(cache, &v[i], &puts[i]);
	}
	(void)wr_sync_wait(&sync);
	wr_mutex_lock(&cache->lock);
	cache->nr_moving -= nr;
	for (uint32_t i = 0; i < nr; i++) {
		struct wr_entry *e = &cache->entries[v[i].index];
		struct wr_class_numbers *n = &cache->tiers[WR_L2].numbers[e->class_id];
		struct wr_class_numbers *below = &cache->store_numbers[e->class_id];

		wr_cache_set_state(cache, v[i].index, WR_L2, WR_COPY_READY);
		below->nr_fills += !puts[i].result;
		below->fill_bytes += puts[i].result ? 0 : e->bytes;
		below->nr_failed += puts[i].result != 0;
		n->nr_demotions += !puts[i].result;
		n->nr_stuck += puts[i].result != 0;
		e->is_stored |= !puts[i].result;
		nr_good += !puts[i].result;
		*ret_first = *ret_first ? *ret_first : puts[i].result;
		wr_cond_broadcast(wr_entry_cond(cache, v[i].index));
	}
	wr_cache_room_changed(cache);
	return nr_good ? 0 : *ret_first;
}

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
static int copy_down(struct weir_cache *cache, const struct victim *v, uint32_t nr)
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

static int move(struct weir_cache *cache, struct batch *b) WR_REQUIRES(cache->lock)
{
	int first = 0;

	return b->tier == WR_L1 ? copy_down(cache, b->moves, b->nr_moves)
				: write_down(cache, b->moves, b->nr_moves, &first);
}

/* ---- making room ---- */

/*
 * Let @bytes leave, or some of them. 0 when something left, or can now without copying; -EAGAIN
 * when there is nothing that can; or what a lower tier said. Unlocks meanwhile.
 */
static int evict(struct weir_cache *cache, unsigned int tier, uint64_t bytes, bool demand)
	WR_REQUIRES(cache->lock)
{
	struct batch b = {.cache = cache, .tier = tier, .only_drops = !demand};
	int rc;

	wr_lock_assert_held(&cache->lock);
	if (cache->dead && wr_cache_reap(cache))
		return 0;
	choose(cache, &b, bytes);
	rc = b.nr_drops || b.nr_moves ? 0 : -EAGAIN;
	/* The moves first: they stay readable, and the drops are marked until the barrier. */
	if (drop(cache, &b))
		rc = 0;
	else if (b.nr_drops && !b.nr_moves)
		rc = -EAGAIN; /* all were pinned in the meantime */
	if (b.nr_moves) {
		rc = move(cache, &b);
		if (rc) {
			b.only_drops = true;
			choose(cache, &b, bytes);
			if (drop(cache, &b))
				rc = 0;
		}
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
 * sees that somebody waits.
 */
static int wait_first(struct weir_cache *cache, unsigned int tier, struct wr_in_line *me)
	WR_REQUIRES(cache->lock)
{
	wr_lock_assert_held(&cache->lock);
	if (!me->deadline_ns) {
		me->deadline_ns = wr_now_ns() + cache->room_wait_ns;
		wr_fetch_add_seq_cst(&cache->nr_room_waiters, 1);
		wr_gate_barrier();
		return 0;
	}
	if (!may_change(cache, tier))
		return -ENOSPC;
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
		rc = -EAGAIN;
		if (fits == has_place || !is_coming(&cache->tiers[tier], bytes))
			rc = evict(cache, tier, bytes, demand);
		if (rc == -EAGAIN && demand)
			rc = wait_first(cache, tier, &me);
	}
	leave_queue(cache, line, &me);
	return rc;
}

int wr_cache_make_room(struct weir_cache *cache, unsigned int tier, uint32_t class_id,
		       uint64_t bytes, bool demand)
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
	int rc = wr_cache_make_room(cache, tier, class_id, bytes, demand);

	if (rc)
		return rc;
	for (uint32_t n = 0;; n++) {
		wr_mutex_unlock(&cache->lock);
		wr_lock_assert_none_held("a tier's alloc");
		rc = t->ops.alloc(t->arg, bytes, ret);
		wr_mutex_lock(&cache->lock);
		if (rc != -ENOSPC || n == MAX_PIECES || evict(cache, tier, bytes, demand))
			break;
	}
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
		rc = evict(cache, tier, t->used - t->limit, true);
	}
	return rc == -EAGAIN ? -EBUSY : rc;
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
	struct victim v[MAX_BATCH];
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
				one = copy_down(cache, &v[nr], 1);
				rc = rc ? rc : one;
				if (!wants_flush(cache, i) || one)
					continue;
			}
			wr_cache_set_state(cache, i, WR_L2, WR_COPY_MOVING);
			nr++;
		}
		if (nr == MAX_BATCH) {
			(void)write_down(cache, v, nr, &rc);
			nr = 0;
		}
	}
	if (nr)
		(void)write_down(cache, v, nr, &rc);
	if (--cache->nr_inside == 0 && cache->is_cancelled)
		wr_cond_broadcast(&cache->room);
	wr_mutex_unlock(&cache->lock);
	return rc;
}
