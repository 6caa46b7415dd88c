/* SPDX-License-Identifier: MIT */
/*
 * What a policy of lib/policy is made of: its table of operations, and the queues most of them
 * keep their nodes in. policy.c does what is the same for all: the clock, the sums, and each
 * node's stamp and count of uses, from which wr_policy_switch() rebuilds another policy.
 */
#ifndef WR_POLICY_OPS_H
#define WR_POLICY_OPS_H

#include "policy/policy.h"
#include "policy/sketch.h"

typedef bool wr_policy_may(void *ctx, const struct wr_policy_node *node);

/* First: the latest. A ring through a head of its own, so a node leaves without knowing it. */
struct wr_policy_queue {
	struct wr_policy_node head;
	uint64_t bytes;
	uint64_t nr;
};

struct wr_policy_ops {
	const char *name;
	bool by_recency; /* the order of victims; refusing one changes nothing */
	/* opts are complete. The policy's own struct begins with a struct wr_policy. */
	int (*open)(const struct wr_policy_opts *opts, struct wr_policy **ret);
	void (*close)(struct wr_policy *p);
	/* From here on NULL means: nothing to do; of admit: true. */
	void (*miss)(struct wr_policy *p, struct weir_key key, uint64_t hash, uint64_t bytes);
	/* Asked only when there is no room. */
	bool (*admit)(struct wr_policy *p, uint64_t hash, uint64_t bytes, uint64_t next_use);
	struct wr_policy_node *(*victim)(struct wr_policy *p, wr_policy_may *may, void *ctx);
	void (*insert)(struct wr_policy *p, struct wr_policy_node *node);
	/* stamp is still that of the use before. */
	void (*hit)(struct wr_policy *p, struct wr_policy_node *node);
	void (*remove)(struct wr_policy *p, struct wr_policy_node *node, bool evicted);
	void (*forecast)(struct wr_policy *p, struct wr_policy_node *node);
	void (*foretell)(struct wr_policy *p, struct weir_key key, uint64_t distance,
			 uint32_t prob);
	void (*resize)(struct wr_policy *p);
	/* Start from counts of one use in so many, made with wr_sketch_init(nr_entries, 255). */
	void (*learn)(struct wr_policy *p, const struct wr_sketch *counts, unsigned times);
	/*
	 * Work with what @shadow has found out: the same policy, on one key in 2^@shift and as
	 * much of the capacity. It may be looked at from then on and lives longer than @p.
	 */
	void (*follow)(struct wr_policy *p, const struct wr_policy *shadow, unsigned shift);
	/* Nodes that are in no queue go to @to, in any order. */
	void (*drain)(struct wr_policy *p, struct wr_policy_queue *to);
	void (*info)(const struct wr_policy *p, struct wr_policy_info *ret);
};

struct wr_policy {
	const struct wr_policy_ops *ops;
	struct wr_policy_queue *queues; /* what a node's queue counts in */
	unsigned nr_queues;
	uint64_t capacity;
	uint64_t clock;
	uint64_t bytes;
	uint64_t nr;
	uint64_t nr_entries;
	uint64_t seed;
	bool was_full;	     /* nr says how many fit */
	uint64_t told_until; /* the latest next use that was forecast */
};

extern const struct wr_policy_ops wr_policy_lru;
extern const struct wr_policy_ops wr_policy_fifo;
extern const struct wr_policy_ops wr_policy_arc;
extern const struct wr_policy_ops wr_policy_s3_fifo;
extern const struct wr_policy_ops wr_policy_sieve;
extern const struct wr_policy_ops wr_policy_w_tinylfu;
extern const struct wr_policy_ops wr_policy_lfu;
extern const struct wr_policy_ops wr_policy_loop;
extern const struct wr_policy_ops wr_policy_by_forecast;
extern const struct wr_policy_ops wr_policy_auto;

/* What every open does first. @queues is part of the policy's own struct. */
void wr_policy_init(struct wr_policy *p, const struct wr_policy_ops *ops,
		    const struct wr_policy_opts *opts, struct wr_policy_queue *queues, unsigned nr);

/* What a forecast does once due and prob are set. */
void wr_policy_tell(struct wr_policy *p, struct wr_policy_node *node, uint64_t next_use);

/* All nodes of @p to the end of @to, in any order; @p is empty then. */
void wr_policy_drain(struct wr_policy *p, struct wr_policy_queue *to);

/* How many nodes fit, about: as seen once it has been full, before that as told. */
static inline uint64_t wr_policy_fit(const struct wr_policy *p)
{
	return p->was_full ? wr_max(p->nr, (uint64_t)1) : p->nr_entries;
}

/* Both halves of a key into 64 bits, whatever the keys look like. */
static inline uint64_t wr_policy_hash(struct weir_key key, uint64_t seed)
{
	__extension__ unsigned __int128 m =
		(unsigned __int128)(key.lo ^ 0x9e3779b97f4a7c15u ^ seed) *
		((key.hi << 1) ^ 0xd1342543de82ef95u);
	uint64_t h = (uint64_t)m ^ (uint64_t)(m >> 64) ^ key.hi;

	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93u;
	return h ^ (h >> 32);
}

static inline void wr_queue_init(struct wr_policy_queue *q)
{
	q->head.next = &q->head;
	q->head.prev = &q->head;
	q->bytes = 0;
	q->nr = 0;
}

static inline bool wr_queue_is_empty(const struct wr_policy_queue *q)
{
	return q->head.next == &q->head;
}

/* NULL when there is none. */
static inline struct wr_policy_node *wr_queue_last(struct wr_policy_queue *q)
{
	return wr_queue_is_empty(q) ? NULL : q->head.prev;
}

static inline void wr_queue_link(struct wr_policy_node *after, struct wr_policy_node *node)
{
	node->prev = after;
	node->next = after->next;
	after->next->prev = node;
	after->next = node;
}

static inline void wr_queue_unlink(struct wr_policy_node *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
}

/* Into queue @i of @p, as its first or as its last. */
static inline void wr_queue_push(struct wr_policy *p, unsigned i, struct wr_policy_node *node)
{
	struct wr_policy_queue *q = &p->queues[i];

	wr_queue_link(&q->head, node);
	q->bytes += node->bytes;
	q->nr++;
	node->queue = (uint8_t)i;
}

static inline void wr_queue_append(struct wr_policy *p, unsigned i, struct wr_policy_node *node)
{
	struct wr_policy_queue *q = &p->queues[i];

	wr_queue_link(q->head.prev, node);
	q->bytes += node->bytes;
	q->nr++;
	node->queue = (uint8_t)i;
}

/* Out of the queue it is in. */
static inline void wr_queue_drop(struct wr_policy *p, struct wr_policy_node *node)
{
	struct wr_policy_queue *q = &p->queues[node->queue];

	wr_queue_unlink(node);
	q->bytes -= node->bytes;
	q->nr--;
}

/* The last of queue @i that @may allows, or NULL. */
static inline struct wr_policy_node *wr_queue_victim(struct wr_policy *p, unsigned i,
						     wr_policy_may *may, void *ctx)
{
	struct wr_policy_queue *q = &p->queues[i];

	for (struct wr_policy_node *n = q->head.prev; n != &q->head; n = n->prev)
		if (!may || may(ctx, n))
			return n;
	return NULL;
}

#endif /* WR_POLICY_OPS_H */
