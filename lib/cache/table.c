/* SPDX-License-Identifier: MIT */
/*
 * The index: which slot a key is in. Searches without the lock are in pin.h; here is what changes
 * it, under CACHE. A search goes from the key's home slot by slot until it finds the key or a slot
 * that no key went past. An entry never moves, so a search that runs meanwhile finds each key that
 * was there all the time.
 */
#include "cache/cache_internal.h"

#include <string.h>

static struct weir_key key_of(const struct wr_slot *slot)
{
	return (struct weir_key){wr_load_relaxed(&slot->hi), wr_load_relaxed(&slot->lo)};
}

uint32_t wr_cache_find(struct weir_cache *cache, struct weir_key key)
{
	uint32_t i = wr_key_home(cache, key);

	wr_lock_assert_held(&cache->lock);
	for (uint32_t n = 0; n <= cache->mask; n++, i = (i + 1) & cache->mask) {
		struct wr_slot *slot = &cache->slots[i];

		if ((wr_load_relaxed(&slot->word) & WR_WORD_USED) &&
		    weir_key_equal(key_of(slot), key))
			return i;
		if (!wr_load_relaxed(&slot->passed))
			return WR_NO_SLOT;
	}
	return WR_NO_SLOT;
}

/* The generation is never 0, so that no tag is. */
static uint64_t next_generation(uint64_t word)
{
	uint64_t gen = (word >> WR_WORD_GEN_SHIFT) + 1;

	if (gen >> WR_TAG_BITS_GEN)
		gen = 1;
	return gen << WR_WORD_GEN_SHIFT;
}

uint32_t wr_cache_add(struct weir_cache *cache, struct weir_key key)
{
	uint32_t i = wr_key_home(cache, key);
	struct wr_slot *slot = &cache->slots[i];

	wr_lock_assert_held(&cache->lock);
	if (cache->nr_entries >= cache->nr_entries_max)
		return WR_NO_SLOT;
	while (wr_load_relaxed(&slot->word) & WR_WORD_USED) {
		wr_store_relaxed(&slot->passed, wr_load_relaxed(&slot->passed) + 1);
		i = (i + 1) & cache->mask;
		slot = &cache->slots[i];
	}
	wr_store_relaxed(&slot->hi, key.hi);
	wr_store_relaxed(&slot->lo, key.lo);
	/* P5: with the key; a reader that sees USED sees it, or another generation later. */
	wr_store_release(&slot->word, next_generation(wr_load_relaxed(&slot->word)) | WR_WORD_USED);
	memset(&cache->entries[i], 0, sizeof(cache->entries[i]));
	cache->entries[i].is_busy = true;
	cache->nr_entries++;
	cache->nr_adds++;
	return i;
}

void wr_cache_del(struct weir_cache *cache, uint32_t index)
{
	struct wr_slot *slot = &cache->slots[index];
	uint64_t word = wr_load_relaxed(&slot->word);

	wr_lock_assert_held(&cache->lock);
	wr_assert(wr_cache_is_bare(cache, index) && !cache->entries[index].waiters &&
		  !cache->entries[index].nr_holds);
	wr_store_release(&slot->word, word >> WR_WORD_GEN_SHIFT << WR_WORD_GEN_SHIFT);
	for (uint32_t i = wr_key_home(cache, key_of(slot)); i != index; i = (i + 1) & cache->mask)
		wr_store_relaxed(&cache->slots[i].passed,
				 wr_load_relaxed(&cache->slots[i].passed) - 1);
	cache->nr_entries--;
	wr_cond_broadcast(wr_entry_cond(cache, index));
}

#if WR_DEBUG
_Atomic uint64_t wr_test_copy_steps[2][WR_NR_COPY_STATES][WR_NR_COPY_STATES];

static bool is_in_table(unsigned int from, unsigned int to)
{
#define X(a, b, why)                                  \
	if (from == WR_COPY_##a && to == WR_COPY_##b) \
		return true;
	WR_COPY_STEPS(X)
#undef X
	return false;
}
#endif

void wr_copy_step(unsigned int tier, unsigned int from, unsigned int to)
{
#if WR_DEBUG
	wr_assert(is_in_table(from, to));
	wr_fetch_add_relaxed(&wr_test_copy_steps[tier][from][to], 1);
#else
	(void)tier;
	(void)from;
	(void)to;
#endif
}

void wr_cache_set_state(struct weir_cache *cache, uint32_t index, unsigned int tier,
			enum wr_copy_state state)
{
	struct wr_slot *slot = &cache->slots[index];
	uint64_t word = wr_load_relaxed(&slot->word);

	wr_lock_assert_held(&cache->lock);
	wr_copy_step(tier, wr_copy_state(word, tier), state);
	word &= ~((uint64_t)7 << WR_WORD_SHIFT(tier));
	/* P5: what the copy is, was written before. P3: and before hazards are looked at. */
	wr_store_seq_cst(&slot->word, word | (uint64_t)state << WR_WORD_SHIFT(tier));
}

void wr_cache_renew(struct weir_cache *cache, uint32_t index)
{
	struct wr_slot *slot = &cache->slots[index];
	uint64_t word = wr_load_relaxed(&slot->word);
	uint64_t low = word & (((uint64_t)1 << WR_WORD_GEN_SHIFT) - 1);

	wr_lock_assert_held(&cache->lock);
	wr_store_release(&slot->word, next_generation(word) | low);
}

bool wr_cache_is_bare(struct weir_cache *cache, uint32_t index)
{
	uint64_t word = wr_load_relaxed(&cache->slots[index].word);

	wr_lock_assert_held(&cache->lock);
	return wr_copy_state(word, WR_L1) == WR_COPY_NONE &&
	       wr_copy_state(word, WR_L2) == WR_COPY_NONE;
}
