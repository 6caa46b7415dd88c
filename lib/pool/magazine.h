/* SPDX-License-Identifier: MIT */
/*
 * pool/magazine.h - Blocks kept ready for a thread, so that most calls take no lock.
 *
 *   set (a thread in a pool)
 *     gate               the thread inside, or whoever claimed it: "[GATE]" below
 *     group (a zone)
 *       magazine (an order)   a stack of block numbers
 *     outbox             blocks that this thread freed for the sets that own them
 *     inbox              what others' outboxes brought
 *
 * A block that leaves a zone for a magazine belongs to that set, in use or not, until the
 * set gives it back to the zone; the number of the set stands in the block's cell. Only
 * inside the gate of that set is it decided whether a span of the block is live, so the
 * owner allocates and frees with plain stores. Another thread frees by one exchange on the
 * cell and brings the block home, many at a time.
 *
 * A magazine is filled to half and emptied to half: a thread that allocates and frees in
 * turn at the edge does not go to the zone each time.
 *
 * An allocation fails only if no thread's magazines hold what would serve it: before it
 * does, it claims all gates, gives everything back, and looks again while they are claimed.
 * When the pool is nearly full by then, the gates are shut: blocks go straight to the
 * zones, and a failure there is final, until there is room again (claim.c).
 *
 * Which may run at once: everything, on any threads, but for opening and closing.
 */
#ifndef WR_POOL_MAGAZINE_H
#define WR_POOL_MAGAZINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <weir/pool.h>

#include "pool/gate.h"
#include "pool/state.h"
#include "pool/zone.h"

#define WR_MAGAZINE_SLOTS 54u
struct wr_tls_slot;

#define WR_OUTBOX_SLOTS 32u
#define WR_OUTBOX_BYTES (4ull << 20) /* full, too, with so much */
#define WR_INBOX_SLOTS	128u

/**
 * struct wr_magazine - Free blocks of one size. [GATE]
 * @given:    Counts up with each block that is put in,
 * @taken:    and this with each that begins a span; their difference is how many are in
 *            @slot, the last of which was used last. Two counts, so that neither a free nor
 *            an allocation waits for what the other just stored; and @taken is a statistic.
 * @bytes:    [const] The size.
 * @key:      [const] Turns a cell into a span's last 8 bytes: @low_word ^ the node.
 * @low_word: [const] The low half of the cell of a span of all those bytes.
 * @cap:      [const] How many there may be; 0: this size goes to the zone.
 */
struct wr_magazine {
	uint64_t given;
	uint64_t taken;
	uint64_t bytes;
	uint64_t key;
	uint32_t low_word;
	uint32_t cap;
	uint32_t slot[WR_MAGAZINE_SLOTS];
};

_Static_assert(sizeof(struct wr_magazine) == 1u << WR_CELL_SIZE_SHIFT,
	       "a cell's size is an offset");

static inline uint32_t wr_magazine_nr(const struct wr_magazine *m)
{
	return (uint32_t)(m->given - m->taken);
}

/* What is seldom needed of a magazine. [GATE] */
struct wr_magazine_sums {
	uint64_t nr_owned;    /* blocks that belong to the set: those in the slots, and the live */
	uint64_t spare_bytes; /* of the live spans, what was not asked for */
};

/* By log2 of the size, modulo this; of these, 22 and 23 are of no use but as targets. */
#define WR_MAGAZINE_SIZES WR_CELL_SIZES

/* The magazines for a zone. */
struct wr_mag_group {
	struct wr_magazine mag[WR_MAGAZINE_SIZES];
	struct wr_magazine_sums sums[WR_MAGAZINE_SIZES];
	struct wr_pool_zone *zone; /* [const] */
};

/**
 * struct wr_remote - A block freed by another thread than its owner's.
 * @place:      Zone and block, as in a span's id.
 * @generation: What the exchange left in the cell; an even number.
 * @owner:      The set it belongs to.
 */
struct wr_remote {
	uint64_t place;
	uint32_t generation;
	uint32_t owner;
};

/*
 * The first line is what the fast way reads; it serves the first zone, which is all
 * there is on a machine with one node.
 */
struct wr_pool_set {
	_Alignas(WR_CACHE_LINE) struct wr_gate gate;
	uint64_t nr_blocks;	    /* [const] */
	uint64_t live_word;	    /* [const] a cell of this set's: live, and @id */
	struct wr_pool_cell *cells; /* [const] */
	uint8_t *base;		    /* [const] */
	uint64_t id_prefix;	    /* [const] */
	uint32_t block_shift;	    /* [const] */
	uint32_t block_bytes;	    /* [const] */

	struct weir_pool *pool; /* [const] */
	uint32_t id;		/* [const] 1 to WR_CELL_MAX_OWNER */
	uint32_t nr_out;	/* [GATE] */
	uint64_t out_bytes;	/* [GATE] */
	uint64_t nr_late;	/* [GATE] frees found to be second ones when they came home */
	_Atomic(struct wr_tls_slot *)
		thread; /* [atomic] whose it is, NULL: vacant; under POOL_CLAIM */
	struct wr_remote out[WR_OUTBOX_SLOTS]; /* [GATE] */
	_Alignas(WR_CACHE_LINE) struct wr_spin inbox_lock WR_RANKED(POOL_INBOX);
	_Atomic uint32_t nr_in;		     /* [atomic] written under the inbox lock */
	struct wr_remote in[WR_INBOX_SLOTS]; /* [POOL_INBOX] */
	struct wr_mag_group group[];
};

/* --- a thread and its sets: thread.c --------------------------------------------------- */

/* [thread] The set that this thread used last. */
struct wr_tls_slot {
	_Atomic(struct weir_pool *) pool; /* [atomic] set by the thread, taken by a close */
	struct wr_pool_set *set;
};

/* What the slot holds when it holds none; so a pool that is NULL is not found either. */
#define WR_TLS_NO_POOL ((struct weir_pool *)1)

extern __thread struct wr_tls_slot wr_pool_tls
	__attribute__((tls_model("initial-exec"), visibility("hidden")));

/* This thread's set in the pool, made when there is none. NULL: it has to go without. */
struct wr_pool_set *wr_set_of_thread(struct weir_pool *pool);

/* List the pool, so that threads that end give back what they hold, or take it off. */
void wr_threads_add_pool(struct weir_pool *pool);
void wr_threads_remove_pool(struct weir_pool *pool);

/* The capacity of each order's magazines; all 0 leaves the pool without. */
void wr_magazines_configure(struct weir_pool *pool, bool off);

/* Free the sets; no other thread uses the pool. */
void wr_sets_fini(struct weir_pool *pool);

/* --- inside one's gate: magazine.c ------------------------------------------------------ */

/* All that is left when the fast way did not do. -ENOSPC: not in this zone or magazine. */
int wr_magazine_alloc(struct weir_pool *pool, size_t zone, size_t bytes, struct weir_span *ret);

/* 0, -EINVAL, -ESTALE; the id is known to be of this pool and one of its zones. */
int wr_magazine_free(struct weir_pool *pool, size_t zone, const struct weir_span *span);

/* Put a block that is in no span into its magazine, or into the zone. [GATE] */
void wr_magazine_push(struct wr_pool_set *set, size_t zone, unsigned size, uint32_t block);

/* Give blocks back to the zone until @keep are left. [GATE] */
void wr_magazine_flush(struct wr_mag_group *g, unsigned size, uint32_t keep);

/* A span of a set's own ends: its cell and the sums; the block is the caller's. [GATE] */
void wr_magazine_end_span(struct wr_mag_group *g, unsigned size, struct wr_pool_cell *cell,
			  uint64_t word);

/* Wait until a claim that was met is over. */
void wr_magazine_wait(struct weir_pool *pool);

/* --- frees by other threads: remote.c --------------------------------------------------- */

/*
 * Free a span of another set's. @word is what its cell held when it was checked.
 * 0, -EAGAIN (look at the cell again).
 */
int wr_remote_free(struct weir_pool *pool, struct wr_pool_set *set, uint64_t place, uint64_t word,
		   struct wr_pool_cell *cell);

/* Take in what others brought. [GATE] */
void wr_remote_settle(struct wr_pool_set *set);

/* Take a block home that was freed remotely, or find that it was freed twice. [GATE] */
void wr_remote_accept(struct wr_pool_set *set, const struct wr_remote *remote);

/* --- claims: claim.c ---------------------------------------------------------------------- */

/* Claim all gates and bring every block home; between the two nobody else is inside. */
void wr_claim_all(struct weir_pool *pool) WR_ACQUIRE(pool->claim_lock);
void wr_claim_end(struct weir_pool *pool) WR_RELEASE(pool->claim_lock);

/* Under a claim of all: the statistics. */
void wr_claim_stats(struct weir_pool *pool, struct weir_pool_stats *ret);

/* Under a claim of all: empty the magazines of a set. */
void wr_claim_drain(struct wr_pool_set *set);

/* Bring home what lies in one set's inbox, which is full or has no thread to look at it. */
void wr_claim_settle(struct weir_pool *pool, uint32_t owner);

/* Free a span of set @owner as if its thread did. 0, -EAGAIN. */
int wr_claim_free(struct weir_pool *pool, uint32_t owner, uint64_t place, uint64_t word,
		  struct wr_pool_cell *cell);

/*
 * The last resort: give all magazines back and allocate from the first zone of a list that
 * has room. 0, -ENOSPC.
 */
int wr_claim_alloc(struct weir_pool *pool, const uint8_t *zones, size_t nr, size_t bytes,
		   size_t align, wr_zone_take_fn *take, struct weir_span *ret);

/* Odd: the gates are shut, and all magazines are empty. */
static inline uint64_t wr_claim_shut_count(struct weir_pool *pool)
{
	return wr_load_seq_cst(&pool->shut_count);
}

/* Empty all magazines and keep them so while somebody waits for room. */
void wr_claim_shut(struct weir_pool *pool);

/*
 * After room was made in a zone: wake who waits, or let the threads keep blocks again when
 * it is enough. Every free that makes room in a shut pool comes here.
 */
void wr_pool_room_made(struct weir_pool *pool);

/* Somebody waits: let the first look again. */
void wr_wait_wake(struct weir_pool *pool);

/* --- the fast way --------------------------------------------------------------------------- */

#define WR_LIKELY(x)   __builtin_expect((x) != 0, 1)
#define WR_UNLIKELY(x) __builtin_expect((x) != 0, 0)
/* Left to itself the compiler calls these, which is a fifth of the time. */
#define WR_INLINE inline __attribute__((always_inline))

/* The index of the magazine of 2^order blocks, and the reverse. */
static inline unsigned wr_magazine_of_order(const struct weir_pool *pool, unsigned order)
{
	return (order + pool->block_shift) % WR_MAGAZINE_SIZES;
}

static inline unsigned wr_magazine_order(const struct weir_pool *pool, unsigned size)
{
	return (size - pool->block_shift) % WR_MAGAZINE_SIZES;
}

/* The index of the magazine for so many bytes, -1 when there is none. */
static inline int wr_magazine_for(const struct weir_pool *pool, size_t bytes)
{
	uint64_t last = (uint64_t)(bytes - 1) >> pool->block_shift;

	if (bytes - 1 >= pool->magazine_limit || (last & (last + 1)) != 0)
		return -1;
	return (int)wr_magazine_of_order(pool, (unsigned)__builtin_ctzll(last + 1));
}

static WR_INLINE struct wr_magazine *wr_magazine_at(struct wr_pool_set *set, uint64_t offset)
{
	struct wr_magazine *m = (struct wr_magazine *)(void *)((char *)set->group[0].mag + offset);

	__asm__("" : "+r"(m)); /* keep the address: it is computed once for each field else */
	return m;
}

/* Only a power of two finds its own magazine: compare the size. (0 has no lowest bit.) */
static WR_INLINE struct wr_magazine *wr_magazine_guess(struct wr_pool_set *set, size_t bytes)
{
	return wr_magazine_at(set,
			      ((uint64_t)__builtin_ctzll(bytes | 1u << 24) << WR_CELL_SIZE_SHIFT) &
				      WR_CELL_SIZE_MASK);
}

/*
 * Begin a span of a block of exactly @bytes, a power of two. NULL: nothing was done. Else
 * the magazine that it came from.
 */
static WR_INLINE const struct wr_magazine *wr_fast_pop(struct wr_pool_set *set, size_t bytes,
						       uint64_t *ret_block, uint64_t *ret_word)
{
	struct wr_magazine *m = wr_magazine_guess(set, bytes);
	uint64_t word, block, nr;

	if (WR_UNLIKELY(m->bytes != bytes) || WR_UNLIKELY(wr_gate_enter_fast(&set->gate) != 0))
		return NULL;
	nr = m->given - m->taken;
	if (WR_UNLIKELY(nr == 0)) {
		wr_gate_leave(&set->gate);
		return NULL;
	}
	m->taken++;
	block = m->slot[nr - 1];
	word = wr_cell_begin(wr_cell_load(&set->cells[block]));
	wr_cell_store(&set->cells[block], word);
	wr_gate_leave(&set->gate);
	*ret_block = block;
	*ret_word = word;
	return m;
}

/* Put back the block of a live span of the set's own. False: nothing was done. [GATE] */
static WR_INLINE bool wr_fast_push(struct wr_pool_set *set, struct wr_magazine *m, uint64_t block,
				   uint64_t word)
{
	uint32_t nr = wr_magazine_nr(m);

	if (WR_UNLIKELY(nr >= m->cap))
		return false;
	m->slot[nr] = (uint32_t)block;
	m->given++;
	wr_cell_store(&set->cells[block], wr_cell_end(word));
	return true;
}

/* A span's node and generation are moved as one number, which looks like a cell. */
_Static_assert(offsetof(struct weir_span, generation) == offsetof(struct weir_span, node) + 4 &&
		       sizeof(struct weir_span) == offsetof(struct weir_span, generation) + 4,
	       "node and generation end a span");

/* Of a little-endian machine; others have the halves the other way round. */
static WR_INLINE uint64_t wr_magazine_turn(uint64_t x)
{
	return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? x : x << 32 | x >> 32;
}

static WR_INLINE void wr_magazine_mark_span(struct weir_span *span, uint64_t word, uint64_t key)
{
	uint64_t mark = wr_magazine_turn(word ^ key);

	memcpy(&span->node, &mark, sizeof(mark));
}

/* What the cell holds if the span is one of that magazine, live and of full use. */
static WR_INLINE uint64_t wr_magazine_word(const struct weir_span *span, uint64_t key)
{
	uint64_t mark;

	memcpy(&mark, &span->node, sizeof(mark));
	return wr_magazine_turn(mark) ^ key;
}

/*
 * True: done. False: nothing was done. For pools of one zone: in others the node has to be
 * found first, and no set is in the slot.
 */
static WR_INLINE bool wr_fast_alloc(struct weir_pool *pool, size_t bytes, struct weir_span *ret)
{
	struct wr_pool_set *set = wr_pool_tls.set;
	const struct wr_magazine *m;
	uint64_t word, block;

	if (WR_UNLIKELY(wr_load_relaxed(&wr_pool_tls.pool) != pool))
		return false;
	m = wr_fast_pop(set, bytes, &block, &word);
	if (WR_UNLIKELY(!m))
		return false;
	ret->base = set->base + block * set->block_bytes;
	ret->bytes = bytes;
	ret->id = set->id_prefix + block;
	wr_magazine_mark_span(ret, word, m->key);
	return true;
}

static WR_INLINE bool wr_fast_free(struct weir_pool *pool, const struct weir_span *span)
{
	struct wr_pool_set *set = wr_pool_tls.set;
	struct wr_magazine *m;
	uint64_t block, word;

	if (WR_UNLIKELY(wr_load_relaxed(&wr_pool_tls.pool) != pool))
		return false;
	/* An id of another pool or zone gives a number that is no block's. */
	block = span->id - set->id_prefix;
	if (WR_UNLIKELY(block >= set->nr_blocks) ||
	    WR_UNLIKELY(span->base != set->base + block * set->block_bytes) ||
	    WR_UNLIKELY(wr_gate_enter_fast(&set->gate) != 0))
		return false;
	word = wr_cell_load(&set->cells[block]);
	m = wr_magazine_at(set, word & WR_CELL_SIZE_MASK);
	/* Live, of this generation and node, this set's, of this size, and all of it used. */
	if (WR_UNLIKELY(span->bytes != m->bytes) ||
	    WR_UNLIKELY(word != wr_magazine_word(span, m->key)) ||
	    WR_UNLIKELY(!wr_fast_push(set, m, block, word))) {
		wr_gate_leave(&set->gate);
		return false;
	}
	wr_gate_leave(&set->gate);
	return true;
}

#endif /* WR_POOL_MAGAZINE_H */
