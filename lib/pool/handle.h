/* SPDX-License-Identifier: MIT */
/*
 * pool/handle.h - The table of handles of one pool.
 *
 * One atomic word a slot says all that a pin needs:
 *
 *   bits 62-63  state: FREE, LIVE, MOVING, FREEING
 *   bit  61     movable
 *   bits 48-60  pins
 *   bits  L-47  generation
 *   bits 0-L-1  location: number of the first block, counted over all zones of the pool;
 *               L is as small as the pool allows
 *
 * In FREE the generation is that of the last handle, and location, pins and movable
 * together are the next free slot and one, 0: none.
 *
 *            alloc                CAS from pins 0              store
 *   FREE ------------> LIVE <-------------------------> MOVING
 *     ^                  |         publish, new location
 *     '--- FREEING <-----' CAS from pins 0
 *
 * In LIVE the word changes only by compare-and-swap; in MOVING it belongs to the one
 * compaction of the pool, in FREEING to the thread that frees, in FREE to the lock.
 *
 * Guarantees:
 *  (A) A pin is a CAS from LIVE with the right generation, so a handle that is stale
 *      changes nothing, not even for a moment: nobody's free fails because of it. A
 *      generation never comes back: a slot that had the last one is not used again. That
 *      is after 2^47 handles of the pool.
 *  (B) A block is copied only in MOVING, which is entered with no pins and in which no
 *      pin succeeds. So no reader sees half a copy, and none writes to the old place
 *      after it was read.
 *  (C) The CAS to MOVING is an acquire and each unpin a release: the copy has all that
 *      was written under pins. The publishing store is a release and each pin an
 *      acquire: whoever sees the new location sees the copied bytes.
 *  (D) A thread that waits for a move announces itself before it looks at the word again;
 *      the compaction publishes before it looks for announcements. Announcing and looking
 *      for it are exchanges of one word, so one of them sees what came before the other:
 *      either the waiter sees the new word or it is woken.
 *  (E) A slot never moves and its memory stays until the pool is closed: reading the word
 *      of any slot number below nr_slots is always allowed.
 *
 * Which may run at once on one slot (yes: any number; one: one at a time, by the state):
 *
 *            pin  unpin  free  alloc  move
 *   pin      yes  yes    yes   yes    yes, waits
 *   unpin         yes    yes   yes    no: a move begins without pins
 *   free                 one   one    one
 *   alloc                      one    no
 *   move                              one in a pool
 *
 * (A) and (B) with (D) are checked over all interleavings by selftests/spin/handle.pml.
 */
#ifndef WR_POOL_HANDLE_H
#define WR_POOL_HANDLE_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/pool_handle.h>

#include "base/atomic.h"
#include "lock/lock.h"
#include "pool/state.h"

enum wr_handle_state {
	WR_HANDLE_FREE = 0,
	WR_HANDLE_LIVE = 1,
	WR_HANDLE_MOVING = 2,
	WR_HANDLE_FREEING = 3,
};

#define WR_HANDLE_PIN_BITS	  13u
#define WR_HANDLE_LOCATION_BITS	  32u /* at most */
#define WR_HANDLE_GENERATION_BITS 32u /* at most */

#define WR_HANDLE_PIN_SHIFT   48u
#define WR_HANDLE_MAX_PINS    ((1u << WR_HANDLE_PIN_BITS) - 1)
#define WR_HANDLE_ONE_PIN     (1ull << WR_HANDLE_PIN_SHIFT)
#define WR_HANDLE_IS_MOVABLE  (1ull << (WR_HANDLE_PIN_SHIFT + WR_HANDLE_PIN_BITS))
#define WR_HANDLE_STATE_SHIFT (WR_HANDLE_PIN_SHIFT + WR_HANDLE_PIN_BITS + 1)

_Static_assert(WR_HANDLE_STATE_SHIFT == 62, "two bits of the word are left for the state");
_Static_assert(WR_HANDLE_MAX_PINS == 8191, "as documented in weir/pool_handle.h");

/* Slots come in groups that never move. */
#define WR_HANDLE_SEGMENT_SLOTS 1024u
#define WR_HANDLE_NONE		UINT32_MAX

/**
 * struct wr_handle_segment - Room for so many handles.
 * @word:     See above.
 * @tag:      Low byte of the number of the tag of the handle that is or was the last one.
 * @tag_high: High bytes, NULL while all are 0.
 *
 * Tags are [atomic] only so that who looks at a slot without knowing its state reads
 * something; what was read counts when the word says so.
 */
struct wr_handle_segment {
	_Atomic uint64_t word[WR_HANDLE_SEGMENT_SLOTS];
	_Atomic uint8_t tag[WR_HANDLE_SEGMENT_SLOTS];
	_Atomic(_Atomic uint8_t *) tag_high; /* [atomic] written under POOL_HANDLE, once */
};

/* Tags are kept once each, and known by number. 0 is none; so are those that do not fit. */
#define WR_HANDLE_TAG_PAGE  64u
#define WR_HANDLE_TAG_PAGES 64u
#define WR_HANDLE_TAG_LISTS 128u

struct wr_handle_tag {
	_Atomic(const char *) text; /* [atomic] written once */
	uint16_t next;		    /* [POOL_HANDLE] the next of its list, 0: none */
};

/* One zone of the pool, at its place in the numbering of locations. [const] */
struct wr_handle_range {
	uint64_t first; /* location of its block 0 */
	uint64_t nr_blocks;
	uint8_t *base;
	struct wr_pool_zone *zone;
	_Atomic uint64_t *ends; /* [atomic] a bit for each block: the last one of a handle */
};

/* What weir_handle_stats() gives and is not known otherwise. [atomic] */
struct wr_handle_counters {
	_Atomic uint64_t nr_live;
	_Atomic uint64_t nr_double_frees;
	_Atomic uint64_t nr_stale;
	_Atomic uint64_t nr_foreign;
	_Atomic uint64_t nr_unpin_faults;
	_Atomic uint64_t nr_pin_waits;
	_Atomic uint64_t nr_moves;
	_Atomic uint64_t moved_bytes;
	_Atomic uint64_t longest_pause_ns;
	_Atomic uint64_t nr_compactions;
};

struct wr_maintain;

struct wr_handles {
	struct weir_pool *pool;		/* [const] */
	uint32_t pool_number;		/* [const] of struct weir_handle */
	unsigned block_shift;		/* [const] */
	size_t nr_ranges;		/* [const] */
	struct wr_handle_range *ranges; /* [const] */
	unsigned location_bits;
	uint32_t last_generation;
	uint32_t max_slots;
	_Atomic(struct wr_handle_segment *) *segments;		   /* [atomic] set once each */
	_Atomic(struct wr_handle_tag *) tags[WR_HANDLE_TAG_PAGES]; /* [atomic] set once each */
	_Alignas(WR_CACHE_LINE) _Atomic uint32_t nr_slots;	   /* [atomic] grows under lock */
	_Atomic bool is_compacting;				   /* [atomic] by one thread */
	_Atomic uint64_t copy_ns_per_mib; /* [atomic] of the copies so far, smoothed */
	struct wr_handle_counters count;
	/* Written with each group that moves: not beside what each pin reads. */
	_Alignas(WR_CACHE_LINE) _Atomic uint32_t nr_waiters; /* [atomic] for the end of a move */
	_Alignas(WR_CACHE_LINE) struct wr_mutex lock WR_RANKED(POOL_HANDLE);
	uint32_t first_free;			/* [POOL_HANDLE] oldest free slot */
	uint32_t last_free;			/* [POOL_HANDLE] */
	uint32_t nr_tags;			/* [POOL_HANDLE] the number of the last one */
	uint16_t tag_list[WR_HANDLE_TAG_LISTS]; /* [POOL_HANDLE] first tags, by address */
	_Atomic uint64_t added_bytes;		/* [atomic] memory beside the fixed one */
	struct wr_mutex wait_lock WR_RANKED(POOL_COMPACT);
	struct wr_cond wait;	      /* a move ended; the thread shall stop */
	struct wr_maintain *maintain; /* [POOL_COMPACT] NULL: never started */
};

static inline unsigned wr_handle_state(uint64_t word)
{
	return (unsigned)(word >> WR_HANDLE_STATE_SHIFT);
}

static inline uint64_t wr_handle_with_state(uint64_t word, enum wr_handle_state state)
{
	return (word & ((1ull << WR_HANDLE_STATE_SHIFT) - 1)) | (uint64_t)state
									<< WR_HANDLE_STATE_SHIFT;
}

static inline uint32_t wr_handle_pins(uint64_t word)
{
	return (uint32_t)(word >> WR_HANDLE_PIN_SHIFT) & WR_HANDLE_MAX_PINS;
}

static inline uint64_t wr_handle_location(const struct wr_handles *hs, uint64_t word)
{
	return word & ((1ull << hs->location_bits) - 1);
}

static inline uint64_t wr_handle_with_location(const struct wr_handles *hs, uint64_t word,
					       uint64_t location)
{
	return word - wr_handle_location(hs, word) + location;
}

static inline uint32_t wr_handle_generation(const struct wr_handles *hs, uint64_t word)
{
	uint64_t low = word & ((1ull << WR_HANDLE_PIN_SHIFT) - 1);

	return (uint32_t)(low >> hs->location_bits);
}

/* @index is below nr_slots, read as an acquire. */
static inline struct wr_handle_segment *wr_handle_segment_of(struct wr_handles *hs, uint32_t index)
{
	return wr_load_relaxed(&hs->segments[index / WR_HANDLE_SEGMENT_SLOTS]);
}

static inline _Atomic uint64_t *wr_handle_word_at(struct wr_handles *hs, uint32_t index)
{
	return &wr_handle_segment_of(hs, index)->word[index % WR_HANDLE_SEGMENT_SLOTS];
}

/* The table of a pool that is ours, made by the first call. 0, -ENOMEM, -EOPNOTSUPP. */
int wr_handles_get(struct weir_pool *pool, struct wr_handles **ret);

/* As above, but none is made: NULL when the pool is not ours or has none. */
struct wr_handles *wr_handles_of(struct weir_pool *pool);

/* Without its locks, which are gone by then. */
void wr_handle_free_table(struct wr_handles *hs);

/*
 * The oldest free slot, for a handle with that tag; *@ret_tag for wr_handle_set_tag().
 * 0, -ENOMEM, -ENOSPC (all generations of all slots are used up).
 */
int wr_handle_take_slot(struct wr_handles *hs, const char *tag, uint32_t *ret, uint32_t *ret_tag);
/* The word says which generation was the last. */
void wr_handle_put_slot(struct wr_handles *hs, uint32_t index);

void wr_handle_set_tag(struct wr_handles *hs, uint32_t index, uint32_t number);
/* "" when there is none. */
const char *wr_handle_tag(struct wr_handles *hs, uint32_t index);

/* The range that a location lies in. */
const struct wr_handle_range *wr_handle_range_of(const struct wr_handles *hs, uint64_t location);

/*
 * Blocks of the handle that lies at a block of a range, which is right if the handle was
 * live all the time; 0: none ends there.
 */
uint64_t wr_handle_nr_blocks(const struct wr_handle_range *range, uint64_t block);

/* Note, or forget, that a handle has the blocks [block, block + nr): before and after that. */
void wr_handle_set_end(const struct wr_handle_range *range, uint64_t block, uint64_t nr);
void wr_handle_clear_end(const struct wr_handle_range *range, uint64_t block, uint64_t nr);

/* End a move: the block lies where @word says. wr_handle_wake() has to follow. */
void wr_handle_publish(_Atomic uint64_t *slot, uint64_t word);

/* Wake who waits for one of the moves that ended. */
void wr_handle_wake(struct wr_handles *hs);

/* Memory of the table. */
uint64_t wr_handles_metadata(struct weir_pool *pool);

/*
 * The pool is being closed. In the process that opened it (@ours) the maintenance thread is
 * ended and handles that are still live are named in the log.
 */
void wr_handles_close(struct weir_pool *pool, bool ours);

#if WR_DEBUG
/* The next handle born in this free slot has generation @generation + 1. */
void wr_test_handle_set_generation(struct weir_pool *pool, uint32_t slot, uint32_t generation);
#endif

#endif /* WR_POOL_HANDLE_H */
