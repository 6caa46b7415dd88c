/* SPDX-License-Identifier: MIT */
/*
 * What each thread has in a cache: hazards for its pins, a ring of its hits, counts. A thread gets
 * one at its first call and keeps it until it ends; then the next new thread takes it over, with
 * the pins in it that are not put yet. So there are as many as threads were ever at once.
 *
 * A thread finds its own by the number of the cache, which no other cache ever gets.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "cache/ahead_internal.h"
#include "cache/cache_internal.h"
#include "cache/pin.h"
#include "pool/gate.h"

/* Up to here telling the policies of each hit costs nothing against what it saves. */
#define RECORD_ALL_ENTRIES 4096u

static struct wr_mutex caches_lock WR_RANKED(CACHE_THREADS) = WR_MUTEX_INIT(WR_RANK_CACHE_THREADS,
									    "cache.threads");
static struct weir_cache *caches WR_GLOBAL_GUARDED_BY(caches_lock);
static uint64_t next_id WR_GLOBAL_GUARDED_BY(caches_lock) = 1;

_Thread_local struct wr_thread_last wr_thread_last
	__attribute__((tls_model("initial-exec"), visibility("hidden")));

static pthread_key_t at_exit; /* [const] after prepare() */
static bool has_key;	      /* [const] after prepare() */

/* An address that no other living thread has. */
static const void *this_thread(void)
{
	return &wr_thread_last;
}

static void thread_ends(void *unused)
{
	(void)unused;
	wr_mutex_lock(&caches_lock);
	for (struct weir_cache *c = caches; c; c = c->next_open)
		for (struct wr_thread *t = wr_load_acquire(&c->threads); t;
		     t = wr_load_relaxed(&t->next))
			if (wr_load_relaxed(&t->owner) == this_thread())
				wr_store_release(&t->owner, NULL); /* to the next owner */
	wr_mutex_unlock(&caches_lock);
	wr_thread_last.cache_id = 0;
}

static void prepare(void)
{
	has_key = pthread_key_create(&at_exit, thread_ends) == 0;
	wr_gate_prepare();
}

int wr_threads_register(struct weir_cache *cache)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct wr_gate gate;

	pthread_once(&once, prepare);
	if (!has_key)
		return -ENOMEM;
	wr_gate_init(&gate);
	cache->is_heavy = wr_load_relaxed(&gate.state) & WR_GATE_HEAVY;
	wr_mutex_lock(&caches_lock);
	cache->id = next_id++;
	cache->next_open = caches;
	caches = cache;
	wr_mutex_unlock(&caches_lock);
	return 0;
}

void wr_threads_unregister(struct weir_cache *cache)
{
	struct wr_thread *t, *next;
	struct weir_cache **link;

	wr_mutex_lock(&caches_lock);
	for (link = &caches; *link && *link != cache; link = &(*link)->next_open)
		;
	if (*link)
		*link = cache->next_open;
	wr_mutex_unlock(&caches_lock);
	for (t = wr_load_acquire(&cache->threads); t; t = next) {
		struct wr_hazards *h = wr_load_acquire(&t->hazards.next);

		next = wr_load_relaxed(&t->next);
		while (h) {
			struct wr_hazards *more = wr_load_acquire(&h->next);

			wr_free(h);
			h = more;
		}
		wr_free(t);
	}
}

static struct wr_thread *find_or_make(struct weir_cache *cache) WR_REQUIRES(caches_lock)
{
	struct wr_thread *t;

	wr_lock_assert_held(&caches_lock);
	for (t = wr_load_acquire(&cache->threads); t; t = wr_load_relaxed(&t->next))
		if (wr_load_relaxed(&t->owner) == this_thread())
			return t;
	for (t = wr_load_acquire(&cache->threads); t; t = wr_load_relaxed(&t->next))
		if (!wr_load_acquire(&t->owner)) {
			wr_store_relaxed(&t->owner, this_thread());
			return t;
		}
	t = wr_calloc_aligned(WR_CACHE_LINE, sizeof(*t));
	if (!t)
		return NULL;
	t->current = &t->hazards;
	wr_store_relaxed(&t->owner, this_thread());
	wr_store_relaxed(&t->next, wr_load_relaxed(&cache->threads));
	wr_store_seq_cst(&cache->threads, t); /* before any hazard in it: acquired by who looks */
	return t;
}

struct wr_thread *wr_thread_find(struct weir_cache *cache)
{
	struct wr_thread *t;

	if (pthread_setspecific(at_exit, &wr_thread_last))
		return NULL;
	wr_mutex_lock(&caches_lock);
	t = find_or_make(cache);
	wr_mutex_unlock(&caches_lock);
	if (t) {
		wr_thread_last.t = t;
		wr_thread_last.cache_id = cache->id;
	}
	return t;
}

_Atomic uint64_t *wr_thread_grow(struct wr_thread *t)
{
	struct wr_hazards *last = &t->hazards, *next;
	_Atomic uint64_t *h;

	/* Another part of it may have come free. */
	for (;; last = next) {
		t->current = last;
		h = wr_hazard_free(t);
		if (h)
			return h;
		next = wr_load_relaxed(&last->next);
		if (!next)
			break;
	}
	next = wr_calloc_aligned(WR_CACHE_LINE, sizeof(*next));
	if (!next)
		return NULL;
	wr_store_seq_cst(&last->next, next);
	t->current = next;
	t->cursor = 0;
	return &next->word[0];
}

bool wr_cache_is_pinned(struct weir_cache *cache, uint64_t tag)
{
	for (struct wr_thread *t = wr_load_seq_cst(&cache->threads); t;
	     t = wr_load_relaxed(&t->next))
		for (struct wr_hazards *h = &t->hazards; h; h = wr_load_seq_cst(&h->next))
			for (uint32_t i = 0; i < WR_NR_HAZARDS; i++)
				/* P4: acquires P2 */
				if (wr_load_seq_cst(&h->word[i]) >> WR_HAZARD_SERIAL == tag)
					return true;
	return false;
}

size_t wr_cache_pinned_tags(struct weir_cache *cache, uint64_t *tags, size_t max)
{
	size_t nr = 0;

	for (struct wr_thread *t = wr_load_seq_cst(&cache->threads); t;
	     t = wr_load_relaxed(&t->next))
		for (struct wr_hazards *h = &t->hazards; h; h = wr_load_seq_cst(&h->next))
			for (uint32_t i = 0; i < WR_NR_HAZARDS; i++) {
				uint64_t word = wr_load_seq_cst(&h->word[i]);

				if (word && nr < max)
					tags[nr] = word >> WR_HAZARD_SERIAL;
				nr += word != 0;
			}
	return nr;
}

static void tell(struct weir_cache *cache, uint64_t tag) WR_REQUIRES(cache->lock)
{
	uint32_t index = wr_tag_index(tag);
	unsigned int tier = wr_tag_tier(tag);
	uint64_t word = wr_load_relaxed(&cache->slots[index].word);
	struct wr_entry *e = &cache->entries[index];
	struct wr_copy *copy = &e->copies[tier];

	if (!wr_tag_is_of(tag, word))
		return;
	if (wr_load_relaxed(&cache->ahead))
		wr_ahead_told(cache, index);
	if (!copy->is_listed && !copy->is_unasked)
		return;
	e->nr_uses++;
	if (!copy->is_listed) {
		if (copy->is_passing)
			wr_cache_ask_again(cache, index, tier);
		return;
	}
	wr_policy_hit(cache->tiers[tier].policies[e->class_id], &copy->node);
	if (cache->plan)
		wr_cache_plan_reference(cache, cache->tiers[tier].policies[e->class_id],
					copy->node.key, &copy->node);
}

/*
 * A new epoch, from which on hits are told anew, when an eighth of what is there has come since the
 * last: where nothing comes, nothing leaves, and no policy needs to know who is used.
 */
static void turn_epoch(struct weir_cache *cache) WR_REQUIRES(cache->lock)
{
	uint8_t epoch = wr_load_relaxed(&cache->epoch), next = epoch;

	if (cache->nr_entries <= RECORD_ALL_ENTRIES || wr_load_relaxed(&cache->ahead_every))
		next = 0;
	else if (!epoch || (cache->nr_adds - cache->epoch_adds) * 8 > cache->nr_entries)
		next = epoch == UINT8_MAX ? 1 : (uint8_t)(epoch + 1);
	if (next == epoch)
		return;
	cache->epoch_adds = cache->nr_adds;
	wr_store_relaxed(&cache->epoch, next);
}

void wr_cache_drain(struct weir_cache *cache, struct wr_thread *t)
{
	uint32_t head = wr_load_relaxed(&t->ring_head);
	uint32_t tail = wr_load_acquire(&t->ring_tail);

	wr_lock_assert_held(&cache->lock);
	for (; head != tail; head++)
		tell(cache, wr_load_relaxed(&t->ring[head % WR_RING_SIZE]));
	wr_store_release(&t->ring_head, head);
	turn_epoch(cache);
}

void wr_cache_drain_all(struct weir_cache *cache)
{
	for (struct wr_thread *t = wr_load_acquire(&cache->threads); t;
	     t = wr_load_relaxed(&t->next))
		wr_cache_drain(cache, t);
}
