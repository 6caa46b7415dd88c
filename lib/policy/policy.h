/* SPDX-License-Identifier: MIT */
/*
 * Which of the things in a cache has to leave when room is needed, and which need not come in.
 *
 * A policy orders nodes. A node is part of the caller's own entry, so nothing is allocated per
 * entry; what a policy remembers of things that left (ghosts) and of how often keys are asked
 * for lies in tables whose size is fixed at open. Pure: no lock, no clock, no input or output;
 * the same calls in the same order give the same answers. The caller serialises all calls on
 * one policy, and calls in this order for each reference:
 *
 *	the key is resident   wr_policy_hit()
 *	it is not             wr_policy_miss(), then, if it is to be kept:
 *	                      wr_policy_admit()                     false: read it, keep it nowhere
 *	                      wr_policy_victim(), wr_policy_remove(evicted) until there is room
 *	                      wr_policy_insert()                    may be later, after the read
 *
 * Calls of several references may interleave (a read takes time); hits may come late and in a
 * slightly other order, or be lost (a lossy ring): a policy gets less clever by it, not wrong.
 * The bytes that fit are the caller's business; a policy only shapes its queues by them. admit
 * is advice: what is inserted against it is the next victim, and nothing breaks.
 *
 * lru       least recently used first; with wr_policy_expect(): see there
 * fifo      first in, first out; no better than lru, here as a yardstick
 * arc       recency and frequency lists, balanced by ghosts of both
 * s3-fifo   a small FIFO in front of a main one: what is used once leaves soon
 * sieve     one FIFO and a hand that spares what was used since it last came by
 * w-tinylfu a small LRU in front of a large segmented one; who enters is who is asked for more
 * lfu       the hot list: counts of all keys that age; who enters is who is asked for more
 * loop      for cycles larger than the cache: what is resident stays as long as it comes back,
 *           the rest passes through
 * forecast  the latest next use first, as far as somebody forecasts it; else as lru
 * auto      (default) one of the above, picked while it runs by simulating all of them on a
 *           sample of the keys, see selector.h; says which and why
 */
#ifndef WR_POLICY_POLICY_H
#define WR_POLICY_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/key.h>

#include "base/util.h"

struct wr_policy;

/* No forecast: the node is judged by its past. */
#define WR_POLICY_UNKNOWN UINT64_MAX
/* Forecast: it is not used again. */
#define WR_POLICY_NEVER (UINT64_MAX - 1)

/*
 * Part of the caller's entry. The caller sets the first three before insert and leaves all of it
 * alone until remove; the rest need not be initialised.
 */
struct wr_policy_node {
	struct weir_key key;
	uint64_t bytes;
	uint64_t next_use; /* on the policy's clock, or one of the two above */
	/* private */
	struct wr_policy_node *prev;
	struct wr_policy_node *next;
	struct wr_policy_node *child; /* the three of a heap */
	struct wr_policy_node *sibling;
	struct wr_policy_node *parent; /* or the sibling before */
	uint64_t stamp;		       /* clock at the last use */
	uint64_t due;		       /* when it may be used next, with @prob */
	uint32_t prob;		       /* of WR_POLICY_SURE; 0: nobody said */
	uint32_t rank;
	uint16_t freq; /* uses since it came, saturating */
	uint8_t queue;
	uint8_t flags;
};

struct wr_policy_opts {
	uint64_t capacity_bytes; /* room for all nodes together */
	uint64_t nr_entries;	 /* how many nodes that may be, about; sizes the tables. 0: 4096 */
	uint64_t seed;		 /* for hashing; any value */
	bool by_bytes; /* auto: compare by bytes that hit rather than by references that hit */
};

/* What `auto` has done; of another policy only name and chosen are set. Strings are the policy's. */
struct wr_policy_info {
	const char *name;   /* as opened */
	const char *chosen; /* the policy that orders the nodes now */
	const char *reason; /* one sentence, "" if there is none */
	uint64_t nr_changes;
	/* Warning: what is used in a turn is larger than the cache, so a recency order would hit nothing. */
	bool below_cycle;
	uint64_t cycle_bytes; /* length of that turn, 0 when none was seen */
};

/* Names in the order above; NULL past the last. */
const char *wr_policy_name(size_t index);

/* 0, -ENOENT (@name is none of them; NULL is auto), -EINVAL (no capacity), -ENOMEM. */
int wr_policy_open(const char *name, const struct wr_policy_opts *opts,
		   struct wr_policy **ret) WEIR_MUST_CHECK;

/* Forgets all nodes; they need not be removed before. NULL is accepted. */
void wr_policy_close(struct wr_policy *p);

/* A reference that found nothing: once for each, whether it is kept or not. */
void wr_policy_miss(struct wr_policy *p, struct weir_key key, uint64_t bytes);

/*
 * Whether to keep what is about to be read. @next_use as in the node. Always true while there is
 * room for it. Only asks: nothing changes.
 */
bool wr_policy_admit(struct wr_policy *p, struct weir_key key, uint64_t bytes, uint64_t next_use);

/* The same when the caller knows better that there is no room. */
bool wr_policy_admit_full(struct wr_policy *p, struct weir_key key, uint64_t bytes,
			  uint64_t next_use);

/*
 * The node to evict next, or NULL when @may refuses all. @may (NULL: all may) is called with
 * nodes of this policy only, must not call back into it, and says false for what is pinned.
 * The node stays in the policy until it is removed; asked again without that, the answer may
 * differ. O(1) amortised, plus one step per refused node.
 */
struct wr_policy_node *wr_policy_victim(struct wr_policy *p,
					bool (*may)(void *ctx, const struct wr_policy_node *node),
					void *ctx);

/*
 * Whether what is expected so is worth more than the victim, as far as is known, or nothing has had
 * to leave yet. @may and @ctx as above.
 */
bool wr_policy_outranks(struct wr_policy *p, uint64_t distance, uint32_t prob,
			bool (*may)(void *ctx, const struct wr_policy_node *node), void *ctx);

/* The node is resident from now on. It must not be in any policy. */
void wr_policy_insert(struct wr_policy *p, struct wr_policy_node *node);

/* A resident node was used. Some nanoseconds. */
void wr_policy_hit(struct wr_policy *p, struct wr_policy_node *node);

/* It is resident no more: @evicted remembers a ghost of it, otherwise it is forgotten. */
void wr_policy_remove(struct wr_policy *p, struct wr_policy_node *node, bool evicted);

/*
 * Next use of a resident node, as a point on wr_policy_clock(), or UNKNOWN, or NEVER. Holds
 * until the next hit. Policies other than forecast take no notice.
 */
void wr_policy_forecast(struct wr_policy *p, struct wr_policy_node *node, uint64_t next_use);

/*
 * A forecast with a doubt: a resident node will be used @distance references from now with a
 * probability of @prob, or else after as long again, and so on. Its next use is when that may be
 * expected. lru and arc look at it too: of what would leave soon, the least @prob for its distance
 * leaves first.
 */
void wr_policy_expect(struct wr_policy *p, struct wr_policy_node *node, uint64_t distance,
		      uint32_t prob);
#define WR_POLICY_SURE 65536u

/* The same of a key that is not resident: auto simulates what others would have kept. */
void wr_policy_foretell(struct wr_policy *p, struct weir_key key, uint64_t distance, uint32_t prob);

/* References so far: hits and misses. */
uint64_t wr_policy_clock(const struct wr_policy *p);

/* The room has changed. The caller evicts what is too much. The tables stay as large as they are. */
void wr_policy_resize(struct wr_policy *p, uint64_t capacity_bytes);

/* Bytes and number of the nodes in it. */
uint64_t wr_policy_bytes(const struct wr_policy *p);
uint64_t wr_policy_nodes(const struct wr_policy *p);

void wr_policy_info(const struct wr_policy *p, struct wr_policy_info *ret);

/*
 * Move all nodes of @old to @fresh, which must be empty, in the order of their last use and with
 * their counts of uses. @old is then empty and still open. No allocation; O(n log n).
 */
void wr_policy_switch(struct wr_policy *old, struct wr_policy *fresh);

#endif /* WR_POLICY_POLICY_H */
