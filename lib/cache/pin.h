/* SPDX-License-Identifier: MIT */
/*
 * The way of a hit: search the index, write a hazard, look again. All of it inline, no lock, and
 * no store to memory that other threads write to, but for the mark of an entry that was not used
 * in this epoch. cache_internal.h says why it is right.
 */
#ifndef WR_CACHE_PIN_H
#define WR_CACHE_PIN_H

#include "cache/cache_internal.h"

/* What a thread used last: saves looking for its struct. */
struct wr_thread_last {
	uint64_t cache_id;
	struct wr_thread *t;
};

extern _Thread_local struct wr_thread_last wr_thread_last
	__attribute__((tls_model("initial-exec"), visibility("hidden")));

static inline struct wr_thread *wr_thread_self(struct weir_cache *cache)
{
	if (__builtin_expect(wr_thread_last.cache_id == cache->id, 1))
		return wr_thread_last.t;
	return wr_thread_find(cache);
}

/* A hazard of this thread that holds nothing, NULL when all of the present ones are in use. */
static inline _Atomic uint64_t *wr_hazard_free(struct wr_thread *t)
{
	for (uint32_t n = 0; n < WR_NR_HAZARDS; n++) {
		_Atomic uint64_t *h = &t->current->word[t->cursor];

		if (!wr_load_relaxed(h))
			return h;
		t->cursor = (t->cursor + 1) % WR_NR_HAZARDS;
	}
	return NULL;
}

/*
 * Pin what @word, just read from @slot, says is there. True: *ret is filled. False: there is
 * nothing to pin, or it went away meanwhile.
 */
static inline bool wr_pin_try(struct weir_cache *cache, struct wr_thread *t, _Atomic uint64_t *h,
			      uint32_t index, unsigned int tier, uint64_t word,
			      struct weir_pin *ret)
{
	struct wr_slot *slot = &cache->slots[index];
	uint64_t hazard = wr_tag(index, tier, word) << WR_HAZARD_SERIAL | (t->serial & 0xffff);
	uint64_t again;

	/* P1. The compiler keeps the order; the processors' part is the taker's barrier. */
	wr_store_release(h, hazard);
	if (__builtin_expect(cache->is_heavy, 0))
		wr_exchange_seq_cst(h, hazard);
	__asm__ volatile("" ::: "memory");
	again = wr_load_seq_cst(&slot->word); /* acquires P5 */
	if (__builtin_expect(
		    (again ^ word) >> WR_WORD_GEN_SHIFT || !(again & WR_WORD_READABLE(tier)), 0)) {
		wr_store_release(h, 0);
		return false;
	}
	t->serial++;
	ret->data = wr_load_relaxed(&slot->data[tier]);
	ret->bytes = wr_load_relaxed(&slot->bytes);
	ret->slot = h;
	ret->word = hazard;
	return true;
}

/* Note the hit for the policy; false when the ring is full. */
static inline bool wr_ring_push(struct wr_thread *t, uint64_t tag)
{
	uint32_t tail = wr_load_relaxed(&t->ring_tail);

	if (tail - wr_load_acquire(&t->ring_head) >= WR_RING_SIZE)
		return false;
	wr_store_relaxed(&t->ring[tail % WR_RING_SIZE], tag);
	wr_store_release(&t->ring_tail, tail + 1); /* acquired in wr_cache_drain() */
	return true;
}

#endif /* WR_CACHE_PIN_H */
