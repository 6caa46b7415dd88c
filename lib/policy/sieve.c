/* SPDX-License-Identifier: MIT */
/*
 * sieve, after Zhang et al., "SIEVE is Simpler than LRU", NSDI 2024: one queue in the order of
 * arrival and a hand that moves from its old end to its new one. What was used since the hand
 * passed is spared once; the first that was not is the victim, wherever it stands.
 */
#include <errno.h>

#include "base/alloc.h"
#include "policy/policy_ops.h"

#define USED 1

struct sieve {
	struct wr_policy p;
	struct wr_policy_queue queue;
	struct wr_policy_node *hand; /* where to look first; NULL: at the oldest */
};

static int sieve_open(const struct wr_policy_opts *opts, struct wr_policy **ret)
{
	struct sieve *sieve = wr_calloc(1, sizeof(*sieve));

	if (!sieve)
		return -ENOMEM;
	wr_policy_init(&sieve->p, &wr_policy_sieve, opts, &sieve->queue, 1);
	*ret = &sieve->p;
	return 0;
}

static void sieve_close(struct wr_policy *p)
{
	wr_free(wr_container_of(p, struct sieve, p));
}

static struct wr_policy_node *newer(struct sieve *sieve, struct wr_policy_node *node)
{
	return node->prev == &sieve->queue.head ? NULL : node->prev;
}

static struct wr_policy_node *sieve_victim(struct wr_policy *p, wr_policy_may *may, void *ctx)
{
	struct sieve *sieve = wr_container_of(p, struct sieve, p);

	/* Twice round: the first time may only have taken marks away. */
	for (uint64_t steps = 2 * p->nr; steps; steps--) {
		struct wr_policy_node *node =
			sieve->hand ? sieve->hand : wr_queue_last(&sieve->queue);
		bool is_used = node->flags & USED;

		sieve->hand = node;
		if (!is_used && (!may || may(ctx, node)))
			return node;
		node->flags = 0;
		sieve->hand = newer(sieve, node);
	}
	return NULL;
}

static void sieve_insert(struct wr_policy *p, struct wr_policy_node *node)
{
	node->flags = node->freq ? USED : 0;
	wr_queue_push(p, 0, node);
}

static void sieve_hit(struct wr_policy *p, struct wr_policy_node *node)
{
	(void)p;
	node->flags = USED;
}

static void sieve_remove(struct wr_policy *p, struct wr_policy_node *node, bool evicted)
{
	struct sieve *sieve = wr_container_of(p, struct sieve, p);

	(void)evicted;
	if (sieve->hand == node)
		sieve->hand = newer(sieve, node);
	wr_queue_drop(p, node);
}

static void sieve_drain(struct wr_policy *p, struct wr_policy_queue *to)
{
	(void)to;
	wr_container_of(p, struct sieve, p)->hand = NULL;
}

const struct wr_policy_ops wr_policy_sieve = {.name = "sieve",
					      .open = sieve_open,
					      .close = sieve_close,
					      .victim = sieve_victim,
					      .insert = sieve_insert,
					      .hit = sieve_hit,
					      .remove = sieve_remove,
					      .drain = sieve_drain};
