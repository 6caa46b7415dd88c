/* SPDX-License-Identifier: MIT */
/*
 * The parts of a cache, for the files of this module. The states and guarantees are in
 * weir/cache.h; here is how they come about.
 *
 * Index. A table of slots of one cache line, open addressing, of a size fixed at open. A key is
 * in one slot from the moment its entry is made until it is gone; nothing is ever moved, so a
 * reader walks it without a lock. Each slot counts the keys that went past it to a later one:
 * where that is 0 a search ends.
 *
 * Pins. A thread writes what it pins into a slot of its own (hazard), and then looks whether the
 * entry is still there. Who wants to take a copy away marks it LEAVING, has a barrier run on all
 * processors (wr_gate_barrier()), and then looks through all threads' hazards. Either the reader
 * sees the mark and steps back, or the taker sees the hazard. A pin is put by a plain store.
 *
 *   reader                          taker, holding CACHE
 *   hazard = tag          [P1]      slot.word: READY -> LEAVING        [P3]
 *   (compiler barrier)              wr_gate_barrier()
 *   slot.word still READY?          any hazard == tag?
 *   ... reads the bytes ...         no: the memory is free             [P4]
 *   hazard = 0, release   [P2]
 *
 * Where there is no membarrier(), the first store is an exchange, and all of these are sequentially
 * consistent. P2 is acquired by the taker's look (P4): all reading was before the memory goes. A slot's data
 * and size are written before its word says READY (release, P5) and read after the second look
 * (acquire).
 *
 * Everything else is under CACHE, one lock for the whole cache: an entry is kilobytes to megabytes,
 * so what is not a hit is about as long as reading it takes, and the lock is held for none of that.
 *
 * Who may write what:
 *
 *   slot.word, hi, lo, passed, data, bytes   the holder of CACHE
 *   slot.mark                                anybody, any value: a hint
 *   hazards                                  0 -> tag by the thread, tag -> 0 by who puts
 *   ring                                     tail the thread, head the holder of CACHE
 *   struct wr_entry and the rest             the holder of CACHE
 */
#ifndef WR_CACHE_CACHE_INTERNAL_H
#define WR_CACHE_CACHE_INTERNAL_H

#include <weir/cache.h>

#include "base/atomic.h"
#include "lock/lock.h"
#include "policy/policy.h"

#define WR_NO_SLOT UINT32_MAX

/* Memory tiers by index: WEIR_TIER_L1 - 1, WEIR_TIER_L2 - 1. */
#define WR_L1	  0u
#define WR_L2	  1u
#define WR_NR_MEM 2u

/* State of a copy: three bits of the slot's word for each memory tier; bit 1 is "readable". */
enum wr_copy_state {
	WR_COPY_NONE = 0,
	WR_COPY_FILLING = 1,
	WR_COPY_READY = 2,
	WR_COPY_MOVING = 3,
	WR_COPY_LEAVING = 4,
};

/*
 * Which state a copy comes from and goes to: the table in weir/cache.h, and in debug builds all that
 * wr_cache_set_state() lets pass. GONE is memory that was out of the index and has been freed; DEAD
 * and GONE never stand in a word.
 */
#define WR_COPY_STEPS(X)                                                         \
	X(NONE, FILLING, "a get, a prefetch, or a copy from the other tier")     \
	X(NONE, READY, "an insert")                                              \
	X(FILLING, READY, "the bytes came")                                      \
	X(FILLING, NONE, "they did not")                                         \
	X(READY, MOVING, "chosen to be copied to another tier")                  \
	X(MOVING, READY, "that has ended")                                       \
	X(READY, LEAVING, "chosen to be dropped, or removed or replaced")        \
	X(LEAVING, NONE, "nobody had it pinned")                                 \
	X(LEAVING, READY, "somebody pinned it before he saw that it was chosen") \
	X(LEAVING, DEAD, "removed or replaced, and somebody has it pinned")      \
	X(DEAD, GONE, "the last pin was put")

#define WR_COPY_DEAD	  5
#define WR_COPY_GONE	  6
#define WR_NR_COPY_STATES 7

#if WR_DEBUG
/* How often each was made: of the process, by tier. */
extern _Atomic uint64_t wr_test_copy_steps[2][WR_NR_COPY_STATES][WR_NR_COPY_STATES];
/* Called between the look at what is pinned and the choice of what leaves, under CACHE. */
extern void (*wr_test_cache_choosing)(void);
#endif
/* Debug builds count it, and stop where it is not in the table. */
void wr_copy_step(unsigned int tier, unsigned int from, unsigned int to);

#define WR_WORD_SHIFT(tier)    ((tier)*3u)
#define WR_WORD_READABLE(tier) ((uint64_t)2 << WR_WORD_SHIFT(tier))
#define WR_WORD_USED	       ((uint64_t)1 << 6)
#define WR_WORD_FRESH	       ((uint64_t)1 << 7) /* prefetched, and not got since */
#define WR_WORD_GEN_SHIFT      44

/* A tag: index 26 bits, tier 2, generation 20. A hazard: the tag, then 16 bits that differ each time. */
#define WR_TAG_BITS_GEN	   20u
#define WR_TAG_BITS_TIER   2u
#define WR_HAZARD_SERIAL   16u
#define WR_MAX_ENTRIES_LOG 25u

/* [CACHE] for writing; see the table above. */
struct wr_slot {
	_Atomic uint64_t word;
	_Atomic uint64_t hi, lo;
	_Atomic(void *) data[WR_NR_MEM];
	_Atomic uint64_t bytes;
	_Atomic uint32_t passed;
	_Atomic uint8_t class_id;
	_Atomic uint8_t mark; /* epoch in which a hit was last told to the policy */
} __attribute__((aligned(WR_CACHE_LINE)));

_Static_assert(sizeof(struct wr_slot) == WR_CACHE_LINE, "a hit reads one line of the index");

/* Somebody who waits for a copy to come, on his own stack. */
struct wr_waiter {
	struct wr_waiter *next;
	int result;
	bool is_done;
};

/* How a copy is brought. */
enum wr_urgency {
	WR_AHEAD,   /* a read of the speculative class; room only by dropping */
	WR_EAGER,   /* a read on demand; room only by dropping */
	WR_WAITING, /* somebody waits, also for room */
};

/* Lines of copies that are in no policy, in the order of coming. */
enum wr_chain {
	WR_PASSING, /* leaves before all others */
	WR_STAGED,  /* prefetched: the policy hears of it when it is first got */
	WR_NR_CHAINS,
};

/* One copy of an entry. */
struct wr_copy {
	struct weir_tier_mem mem;
	uint64_t charged;
	struct wr_policy_node node; /* in the policy of tier and class while is_listed */
	struct weir_cache *reader;  /* for who brings it */
	struct weir_cache *cache; /* the same while it is copied from the other copy, held for it */
	uint64_t token;
	bool is_listed;
	bool is_passing;	/* instead: in the tier's line of what leaves first */
	bool is_staged;		/* or in that of what was prefetched and not got since */
	bool is_unasked;	/* the policy advised not to keep it: it passes through */
	uint32_t before, after; /* in that line: index + 1; 0: none */
};

struct wr_entry {
	struct wr_copy copies[WR_NR_MEM];
	struct wr_waiter *waiters;
	const struct weir_cache_source *source; /* while it is being fetched */
	uint64_t bytes;
	uint64_t nr_uses;
	uint32_t nr_holds; /* of threads that are about to pin, or copy from it */
	uint32_t nr_keep;  /* hints that want it kept */
	uint8_t class_id;
	bool is_owned;	/* inserted; otherwise it can be fetched again */
	bool is_stored; /* L3 has these bytes */
	bool is_busy;	/* somebody replaces or removes it, or it is only a place in the index */
	bool is_speculative; /* the running fetch was not asked for by anybody who waits */
	bool has_started;    /* the source's fill has returned: it may be promoted and cancelled */
	uint8_t rule;	     /* enum weir_cache_rule_kind */
	bool is_cancelled;
	bool is_ours; /* the running fetch to L2 is one of the thread that foresees */
	char name[WEIR_CACHE_NAME_BYTES];
};

/* Copies that leave, or go down, together. */
struct wr_victim {
	uint32_t index;
	uint64_t tag;
};

/* Those that go down at a time. */
#define WR_NR_MOVES 32u

/* Memory out of the index that somebody still had pinned. */
struct wr_dead {
	struct wr_dead *next;
	uint64_t tag;
	struct weir_tier_mem mem;
	uint64_t charged;
	uint32_t tier;
	uint32_t class_id;
};

#define WR_NR_HAZARDS 64u
#define WR_RING_SIZE  64u

struct wr_hazards {
	_Atomic uint64_t word[WR_NR_HAZARDS];
	struct wr_hazards *_Atomic next; /* [atomic] grows at the end; freed with the cache */
};

/* Hits of one thread that stay its own; added up by who reads statistics. */
struct wr_hits {
	_Atomic uint64_t nr;
	_Atomic uint64_t bytes;
};

/* What a thread has in one cache. Belongs to one thread at a time, and stays until the close. */
struct wr_thread {
	struct wr_hazards hazards;
	struct wr_hazards *current;	     /* [thread] where it last found a free hazard */
	uint32_t cursor;		     /* [thread] */
	uint32_t serial;		     /* [thread] */
	uint32_t probe_in, probe_seed;	     /* [thread] see cache/probing.h */
	_Atomic uint32_t ring_head;	     /* [CACHE] */
	_Atomic uint32_t ring_tail;	     /* [thread] */
	_Atomic uint64_t ring[WR_RING_SIZE]; /* tags of hits */
	struct wr_hits hits[WR_NR_MEM][WEIR_NR_CLASSES]; /* [thread] */
	struct wr_thread *_Atomic next;			 /* [const] once it is in the list */
	_Atomic(const void *) owner; /* address of something of the thread's; NULL: free */
} __attribute__((aligned(WR_CACHE_LINE)));

/* Counted under CACHE. */
struct wr_class_numbers {
	uint64_t used_bytes;
	uint64_t told_bytes;  /* what its policy takes for its room */
	uint64_t dirty_bytes; /* L2: charged for what is owned and not stored */
	uint64_t nr_entries, nr_misses, nr_waits, fill_bytes, nr_fills, nr_failed, nr_inserts;
	uint64_t slow_hits, slow_hit_bytes, nr_evictions, nr_demotions, nr_stuck;
	uint64_t nr_prefetches, nr_useful, nr_late, nr_wasted, nr_passed;
};

struct wr_class {
	struct weir_cache_source source; /* [const] */
	char *policy_name;		 /* [const] ours; NULL: the default */
	uint32_t share_permille;	 /* [const] */
};

/* Who wants room, on his own stack, and those who do, in the order of coming. */
struct wr_in_line {
	struct wr_in_line *next;
	uint64_t deadline_ns; /* 0: he has not had to wait for others */
	bool is_queued;
};

struct wr_line {
	struct wr_in_line *first;
};

struct wr_tier {
	struct weir_tier_ops ops; /* [const] size 0: there is no such tier */
	void *arg;		  /* [const] */
	uint64_t budget;	  /* [CACHE] asked for by the host */
	uint64_t limit;		  /* [CACHE] budget, or less while memory is short */
	uint64_t used;		  /* [CACHE] charged */
	uint64_t peak;		  /* [CACHE] */
	uint64_t leaving;	  /* [CACHE] of used: memory on its way back to the tier */
	struct wr_line line;	  /* [CACHE] */
	uint32_t first[WR_NR_CHAINS], last[WR_NR_CHAINS]; /* [CACHE] index + 1; 0: none */
	uint64_t staged; /* [CACHE] bytes charged for what is in WR_STAGED */
	struct wr_policy *policies[WEIR_NR_CLASSES]; /* [CACHE] made at first use */
	struct wr_class_numbers numbers[WEIR_NR_CLASSES];
};

struct wr_rule {
	char glob[WEIR_CACHE_GLOB_BYTES];
	uint8_t kind;
};

#define WR_NR_RULES 64u

/* The order of a pass, by key. */
struct wr_plan {
	uint32_t nr, mask;
	bool is_cyclic;
	uint32_t at; /* position after the last reference */
	struct wr_plan_slot {
		struct weir_key key;
		uint32_t position; /* + 1; 0: empty */
	} slots[];
};

struct wr_watch; /* watch.c */
struct wr_ahead; /* ahead_internal.h */
struct wr_store; /* of the module tier */

#define WR_NR_CONDS 16u

/* A number that is moved from outside: see knobs.c. */
struct wr_cache_knob {
	bool is_there;
	uint32_t id;
	uint64_t seen; /* heeded last */
};

struct weir_cache {
	/* Read by every hit, written never or hardly ever. */
	uint64_t id;	       /* [const] of no other cache, ever */
	struct wr_slot *slots; /* [const] where they lie, in table_memory */
	uint32_t mask;	       /* [const] */
	bool is_heavy;	       /* [const] there is no membarrier: hazards need a full one */
	_Atomic uint8_t
		epoch; /* [atomic] written under CACHE; 0: every hit is told to the policy */
	_Atomic uint8_t ahead_every;	   /* [atomic] written under CACHE; 0: nobody foresees */
	_Atomic uint32_t nr_room_waiters;  /* [atomic] written under CACHE */
	struct wr_thread *_Atomic threads; /* [atomic] grows at the front */

	void *table_memory; /* [const] */
	struct wr_mutex lock WR_RANKED(CACHE) __attribute__((aligned(WR_CACHE_LINE)));
	struct wr_cond changed[WR_NR_CONDS]; /* an entry changed; by its index */
	struct wr_cond room;	   /* bytes, places or pins came free: for who is first in line */
	uint64_t nr_room_changes;  /* [CACHE] times @room was told of */
	struct wr_cond turn;	   /* somebody left a line */
	struct wr_entry *entries;  /* [const] where they lie; [CACHE] */
	uint32_t nr_entries_max;   /* [const] */
	uint32_t nr_entries;	   /* [CACHE] slots in use */
	uint32_t nr_inside;	   /* [CACHE] threads in calls that may wait */
	uint32_t nr_moving;	   /* [CACHE] copies that are being written to L3 */
	uint32_t nr_ahead;	   /* [CACHE] of those: nobody waits for them */
	bool is_store_bad;	   /* [CACHE] the last write to L3 failed */
	uint32_t nr_filling;	   /* [CACHE] copies that are FILLING */
	struct wr_line place_line; /* [CACHE] for places in the table */
	uint64_t nr_adds;	   /* [CACHE] entries ever made */
	uint64_t epoch_adds;	   /* [CACHE] nr_adds when the epoch began */
	bool is_cancelled;	   /* [CACHE] never false again */
	struct wr_dead *dead;	   /* [CACHE] */
	struct wr_dead *spare;	   /* [CACHE] structs for the next that die */
	uint32_t nr_spare, nr_spare_wanted; /* [CACHE] two for each call that may need them */
	struct wr_tier tiers[WR_NR_MEM];
	struct weir_store_ops store; /* [const] size 0: none */
	void *store_arg;	     /* [const] */
	struct wr_packed *packed;    /* [const] L2, when it is of that kind */
	struct wr_store *folder;     /* [const] the same where it is ours; NULL otherwise */
	struct wr_class_numbers store_numbers[WEIR_NR_CLASSES]; /* [CACHE] */
	uint64_t room_wait_ns;					/* [const] */
	struct wr_class classes[WEIR_NR_CLASSES];
	struct wr_rule rules[WR_NR_RULES]; /* [CACHE] */
	uint32_t nr_rules;		   /* [CACHE] */
	struct wr_plan *plan;		   /* [CACHE] NULL: none */
	struct wr_watch *watch;		   /* [CACHE] NULL: nobody looks at the system's memory */
	struct wr_ahead *_Atomic ahead;	   /* [atomic] written under CACHE once; NULL: none */
	struct weir_cache *next_open;	   /* list of open caches, see threads.c */
	struct weir_knobs *knobs;	   /* [const] NULL: none */
	struct wr_cache_knob l2_knob;	   /* [CACHE] */
	struct wr_cache_knob ahead_knob;   /* [CACHE] */
};

static inline enum wr_copy_state wr_copy_state(uint64_t word, unsigned int tier)
{
	return (enum wr_copy_state)(word >> WR_WORD_SHIFT(tier) & 7);
}

static inline uint64_t wr_tag(uint32_t index, unsigned int tier, uint64_t word)
{
	return (uint64_t)index << (WR_TAG_BITS_TIER + WR_TAG_BITS_GEN) |
	       (uint64_t)tier << WR_TAG_BITS_GEN | word >> WR_WORD_GEN_SHIFT;
}

static inline uint32_t wr_tag_index(uint64_t tag)
{
	return (uint32_t)(tag >> (WR_TAG_BITS_TIER + WR_TAG_BITS_GEN));
}

static inline unsigned int wr_tag_tier(uint64_t tag)
{
	return (unsigned int)(tag >> WR_TAG_BITS_GEN & ((1u << WR_TAG_BITS_TIER) - 1));
}

static inline bool wr_tag_is_of(uint64_t tag, uint64_t word)
{
	return (tag & (((uint64_t)1 << WR_TAG_BITS_GEN) - 1)) == word >> WR_WORD_GEN_SHIFT;
}

static inline struct wr_cond *wr_entry_cond(struct weir_cache *cache, uint32_t index)
{
	return &cache->changed[index % WR_NR_CONDS];
}

/* ---- table.c: the index ---- */

/* Where keys begin to be looked for. */
static inline uint32_t wr_key_home(const struct weir_cache *cache, struct weir_key key)
{
	return (uint32_t)((key.lo ^ key.hi * 0x9e3779b97f4a7c15u) * 0xd6e8feb86659fd93u >> 32) &
	       cache->mask;
}

uint32_t wr_cache_find(struct weir_cache *cache, struct weir_key key) WR_REQUIRES(cache->lock);
/* A new entry, busy, with a new generation; WR_NO_SLOT: the table is full. */
uint32_t wr_cache_add(struct weir_cache *cache, struct weir_key key) WR_REQUIRES(cache->lock);
/* It must have no copies and nobody waiting. The caller tells who waits for a place. */
void wr_cache_del(struct weir_cache *cache, uint32_t index) WR_REQUIRES(cache->lock);
void wr_cache_set_state(struct weir_cache *cache, uint32_t index, unsigned int tier,
			enum wr_copy_state state) WR_REQUIRES(cache->lock);
/* Pins of what was there until now do not stand for what will be. */
void wr_cache_renew(struct weir_cache *cache, uint32_t index) WR_REQUIRES(cache->lock);
/* No copy in any state but NONE. */
bool wr_cache_is_bare(struct weir_cache *cache, uint32_t index) WR_REQUIRES(cache->lock);

/* ---- threads.c: hazards and rings ---- */

int wr_threads_register(struct weir_cache *cache);
void wr_threads_unregister(struct weir_cache *cache);
/* The calling thread's, made if need be; NULL: no memory. */
struct wr_thread *wr_thread_find(struct weir_cache *cache);
/* One hazard more than there are; NULL: no memory. */
_Atomic uint64_t *wr_thread_grow(struct wr_thread *t);
/* Whether somebody has it pinned. After a barrier, and LEAVING, the answer no is final. */
bool wr_cache_is_pinned(struct weir_cache *cache, uint64_t tag);
/* The first @max tags that are pinned; how many there were. */
size_t wr_cache_pinned_tags(struct weir_cache *cache, uint64_t *tags, size_t max);
/* Tell the policies of hits: of one thread's, or all. */
void wr_cache_drain(struct weir_cache *cache, struct wr_thread *t) WR_REQUIRES(cache->lock);
void wr_cache_drain_all(struct weir_cache *cache) WR_REQUIRES(cache->lock);

/* ---- room.c: budgets, eviction, going down ---- */

/*
 * Memory of a tier, charged to a class, evicting as need be: also more than the sum of bytes says,
 * when the tier's alloc wants it. Unlocks meanwhile. @demand: also by copying down, and by waiting
 * for pins. 0, -ENOSPC, -EAGAIN (not @demand), -ECANCELED, or what a lower tier said.
 */
int wr_cache_take(struct weir_cache *cache, unsigned int tier, uint32_t class_id, uint64_t bytes,
		  bool demand, struct weir_tier_mem *ret) WR_REQUIRES(cache->lock);
/* A place in the table for one more entry. As above. */
int wr_cache_make_place(struct weir_cache *cache, bool demand) WR_REQUIRES(cache->lock);
/* Give memory back and its charge with it. Unlocks meanwhile. */
void wr_cache_give(struct weir_cache *cache, unsigned int tier, uint32_t class_id,
		   const struct weir_tier_mem *mem, uint64_t charged) WR_REQUIRES(cache->lock);
/* Take a copy out of the index. It is READY; pins make it dead. The entry is renewed. */
void wr_cache_detach(struct weir_cache *cache, uint32_t index, unsigned int tier, bool evicted)
	WR_REQUIRES(cache->lock);
/* Down to the limit. 0, -EBUSY, or what a lower tier said. */
int wr_cache_shrink(struct weir_cache *cache, unsigned int tier) WR_REQUIRES(cache->lock);
/* What leaves L2 next of a class and could be written now, marked MOVING. Their number. */
uint32_t wr_cache_choose_moves(struct weir_cache *cache, uint32_t class_id, uint64_t bytes,
			       struct wr_victim *v, uint32_t max) WR_REQUIRES(cache->lock);
/* What a class can count on: its share, or what the others leave of the limit, if that is more. */
uint64_t wr_cache_room_of(struct weir_cache *cache, unsigned int tier, uint32_t class_id)
	WR_REQUIRES(cache->lock);
/* Tell the policies of a tier what their classes can count on, where that has changed much. */
void wr_cache_tell_rooms(struct weir_cache *cache, unsigned int tier) WR_REQUIRES(cache->lock);
uint64_t wr_cache_share(struct weir_cache *cache, unsigned int tier, uint32_t class_id)
	WR_REQUIRES(cache->lock);
/* Somebody waits for room: tell him to look again. */
void wr_cache_room_changed(struct weir_cache *cache) WR_REQUIRES(cache->lock);
/* One of those that a close waits for has ended: @nr_inside or @nr_filling. */
void wr_cache_left(struct weir_cache *cache, uint32_t *nr) WR_REQUIRES(cache->lock);

/* ---- down.c: from a tier to the one below ---- */

/*
 * Wait until they are down. They are MOVING, and READY afterwards. 0 when at least one went well,
 * otherwise what the first ended with. Unlocks.
 */
int wr_cache_move(struct weir_cache *cache, unsigned int tier, const struct wr_victim *v,
		  uint32_t nr) WR_REQUIRES(cache->lock);
/* Have what leaves L2 soon written to the store, and do not wait. Unlocks. */
void wr_cache_write_ahead(struct weir_cache *cache, uint32_t class_id) WR_REQUIRES(cache->lock);
/* The same of one entry, if it is READY in L2 and nowhere else. */
void wr_cache_write_one(struct weir_cache *cache, uint32_t index) WR_REQUIRES(cache->lock);

/* ---- lines.c: copies that are in no policy ---- */

/* Behind the others of a line. */
void wr_cache_enter_line(struct weir_cache *cache, uint32_t index, unsigned int tier,
			 enum wr_chain chain) WR_REQUIRES(cache->lock);
/* Out of its policy or line. */
void wr_cache_unlist(struct weir_cache *cache, uint32_t index, unsigned int tier, bool evicted)
	WR_REQUIRES(cache->lock);

/* ---- hints.c ---- */

void wr_cache_apply_rules(struct weir_cache *cache, uint32_t index) WR_REQUIRES(cache->lock);
/* When a key is used next, on its policy's clock, as far as the plan says. */
uint64_t wr_cache_next_use(struct weir_cache *cache, const struct wr_policy *policy,
			   struct weir_key key) WR_REQUIRES(cache->lock);
/* A reference, which moves the plan's position; @node: its copy, listed; NULL: none. */
void wr_cache_plan_reference(struct weir_cache *cache, struct wr_policy *policy,
			     struct weir_key key, struct wr_policy_node *node)
	WR_REQUIRES(cache->lock);

/* ---- owned.c ---- */

/* weir_cache_prefetch(), or the same on demand. */
int wr_cache_begin(struct weir_cache *cache, const struct weir_cache_item *item, bool demand);

/* ---- knobs.c ---- */

/* Into the table what can be moved. No lock held. */
int wr_cache_register_budget(struct weir_cache *cache, struct weir_error *err);
int wr_cache_register_ahead(struct weir_cache *cache);
/* Do what was asked for by moving them; waits for nothing. */
void wr_cache_heed_knobs(struct weir_cache *cache) WR_REQUIRES(cache->lock);
/* A function has changed the same: the knob follows, within its bounds. */
void wr_cache_move_knob(struct weir_cache *cache, struct wr_cache_knob *knob, uint64_t value)
	WR_REQUIRES(cache->lock);

static inline void wr_cache_heed(struct weir_cache *cache) WR_REQUIRES(cache->lock)
{
	if (cache->knobs)
		wr_cache_heed_knobs(cache);
}

/* ---- watch.c ---- */

/* Ends the thread, if there is one. No lock held. */
void wr_watch_stop(struct weir_cache *cache);

/* ---- fetch.c: how copies come ---- */

/*
 * Begin bringing an entry to a tier in which it has no copy: from the other memory tier, from L3,
 * or from its class's source. @item: what is wanted, NULL when a copy is there. @w, if any, is
 * told what came of it, and then holds the entry. Unlocks meanwhile. On an error nothing is left
 * of the attempt, and @w is not used.
 */
int wr_cache_bring(struct weir_cache *cache, uint32_t index, unsigned int tier,
		   const struct weir_cache_item *item, enum wr_urgency urgency, struct wr_waiter *w)
	WR_REQUIRES(cache->lock);
/* Wait as well for the copy that is FILLING. */
void wr_cache_join(struct weir_cache *cache, uint32_t index, struct wr_waiter *w)
	WR_REQUIRES(cache->lock);
/* Wait no more; not told yet. */
void wr_cache_leave(struct weir_cache *cache, uint32_t index, const struct wr_waiter *w)
	WR_REQUIRES(cache->lock);
/* 0: the copy is there, and a hold on the entry is the caller's. */
int wr_cache_wait(struct weir_cache *cache, uint32_t index, struct wr_waiter *w)
	WR_REQUIRES(cache->lock);
void wr_cache_unhold(struct weir_cache *cache, uint32_t index) WR_REQUIRES(cache->lock);
/* A copy that was FILLING has come, or not. Takes CACHE. */
void wr_cache_complete(struct weir_cache *cache, uint64_t token, int result, size_t offset);
/* The policy of a class in a tier, opened if need be; NULL: no memory. */
struct wr_policy *wr_cache_policy(struct weir_cache *cache, unsigned int tier, uint32_t class_id)
	WR_REQUIRES(cache->lock);
/* Into its policy, whatever else could be done with it. */
void wr_cache_enlist(struct weir_cache *cache, uint32_t index, unsigned int tier)
	WR_REQUIRES(cache->lock);
/* A copy is there: into its policy with it. */
void wr_cache_list(struct weir_cache *cache, uint32_t index, unsigned int tier)
	WR_REQUIRES(cache->lock);
/*
 * A hit on what is in no policy, because that advised not to keep it or has not heard of it: to the
 * policy it is a miss, and then it is to be kept, or passes through.
 */
void wr_cache_ask_again(struct weir_cache *cache, uint32_t index, unsigned int tier)
	WR_REQUIRES(cache->lock);
/* A name as the host gave it. */
void wr_cache_set_name(struct wr_entry *e, const char *name);

/* Where an item comes from when it is in no tier; NULL: from nowhere. */
const struct weir_cache_source *wr_cache_source(struct weir_cache *cache,
						const struct weir_cache_item *item);

/* ---- get.c ---- */

/* Somebody wants what may be being prefetched: say so to who brings it. Unlocks. */
void wr_cache_promote(struct weir_cache *cache, uint32_t index) WR_REQUIRES(cache->lock);
/* 0, -EINVAL, -ENODEV. */
int wr_cache_check_item(const struct weir_cache *cache, const struct weir_cache_item *item);
/* wr_cache_add() and what an entry has from its item. */
uint32_t wr_cache_add_item(struct weir_cache *cache, const struct weir_cache_item *item)
	WR_REQUIRES(cache->lock);

/* What is not there at the first look. As weir_cache_get(). */
int wr_cache_get_slow(struct weir_cache *cache, const struct weir_cache_item *item,
		      unsigned int flags, struct weir_pin *ret);

/* The bytes of an entry are in L2 and in no tier below, and nowhere else. */
static inline bool wr_entry_is_dirty(const struct wr_entry *e)
{
	return e->is_owned && !e->is_stored;
}

/* By a rule it leaves the tier before all others. */
static inline bool wr_entry_passes(const struct weir_cache *cache, const struct wr_entry *e,
				   unsigned int tier)
{
	return e->rule == WEIR_RULE_STREAM || (e->rule == WEIR_RULE_L2 && tier == WR_L1) ||
	       (e->rule == WEIR_RULE_L3 && cache->store.size);
}

/* Wait until an entry that is busy, or being fetched or moved, changes. 0, -ECANCELED. */
int wr_cache_wait_change(struct weir_cache *cache, uint32_t index) WR_REQUIRES(cache->lock);

/* ---- down.c: waiting for what others do ---- */
/* A completion that somebody waits for on his stack. */
struct wr_sync {
	struct wr_mutex lock WR_RANKED(CACHE_SYNC);
	struct wr_cond done;
	uint32_t nr_left;
	int result;
};

void wr_sync_init(struct wr_sync *s, uint32_t nr);
void wr_sync_done(void *arg, int result);
int wr_sync_wait(struct wr_sync *s);

#endif /* WR_CACHE_CACHE_INTERNAL_H */
