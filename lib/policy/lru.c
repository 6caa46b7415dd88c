/* SPDX-License-Identifier: MIT */
/*
 * lru and fifo: one queue. They differ in whether a use moves a node to its front.
 */
#include <errno.h>

#include "base/alloc.h"
#include "policy/policy_ops.h"

struct lru {
	struct wr_policy p;
	struct wr_policy_queue queue;
};

static int open_queue(const struct wr_policy_opts *opts, const struct wr_policy_ops *ops,
		      struct wr_policy **ret)
{
	struct lru *lru = wr_calloc(1, sizeof(*lru));

	if (!lru)
		return -ENOMEM;
	wr_policy_init(&lru->p, ops, opts, &lru->queue, 1);
	*ret = &lru->p;
	return 0;
}

static int lru_open(const struct wr_policy_opts *opts, struct wr_policy **ret)
{
	return open_queue(opts, &wr_policy_lru, ret);
}

static int fifo_open(const struct wr_policy_opts *opts, struct wr_policy **ret)
{
	return open_queue(opts, &wr_policy_fifo, ret);
}

static void lru_close(struct wr_policy *p)
{
	wr_free(wr_container_of(p, struct lru, p));
}

static struct wr_policy_node *lru_victim(struct wr_policy *p, wr_policy_may *may, void *ctx)
{
	return wr_queue_victim(p, 0, may, ctx);
}

static void lru_insert(struct wr_policy *p, struct wr_policy_node *node)
{
	wr_queue_push(p, 0, node);
}

static void lru_hit(struct wr_policy *p, struct wr_policy_node *node)
{
	wr_queue_unlink(node);
	wr_queue_link(&p->queues[0].head, node);
}

static void fifo_hit(struct wr_policy *p, struct wr_policy_node *node)
{
	(void)p;
	(void)node;
}

static void lru_remove(struct wr_policy *p, struct wr_policy_node *node, bool evicted)
{
	(void)evicted;
	wr_queue_drop(p, node);
}

const struct wr_policy_ops wr_policy_lru = {.name = "lru",
					    .by_recency = true,
					    .open = lru_open,
					    .close = lru_close,
					    .victim = lru_victim,
					    .insert = lru_insert,
					    .hit = lru_hit,
					    .remove = lru_remove};

const struct wr_policy_ops wr_policy_fifo = {.name = "fifo",
					     .open = fifo_open,
					     .close = lru_close,
					     .victim = lru_victim,
					     .insert = lru_insert,
					     .hit = fifo_hit,
					     .remove = lru_remove};
