/* SPDX-License-Identifier: MIT */
/*
 * loop: for what is used in turn, over and over, and does not fit. Any order by recency then
 * evicts each thing just before it is used again; the best that can be done is to keep a part
 * and let the rest pass through. So a node is protected for as long after its use as pays best
 * (reuse.h; in a loop: for one turn), and while all are protected nothing comes in.
 *
 * When room must be made for something that was not admitted, the latest used leaves: in a loop
 * it is what is needed last.
 */
#include <errno.h>

#include "base/alloc.h"
#include "policy/policy_ops.h"
#include "policy/reuse.h"

/* Loops up to so many times the cache are recognised. */
#define LONGEST_LOOP 32

struct loop {
	struct wr_policy p;
	struct wr_policy_queue queue;
	struct wr_reuse reuse;
	uint64_t protected_for;
	uint64_t worked_out;	   /* references that had come back when that was worked out */
	const struct loop *shadow; /* works it out instead, on one key in 2^shift; or NULL */
	unsigned shift;
};

static int loop_open(const struct wr_policy_opts *opts, struct wr_policy **ret)
{
	struct loop *loop = wr_calloc(1, sizeof(*loop));

	if (!loop)
		return -ENOMEM;
	wr_policy_init(&loop->p, &wr_policy_loop, opts, &loop->queue, 1);
	wr_reuse_init(&loop->reuse, LONGEST_LOOP * opts->nr_entries);
	loop->protected_for = UINT64_MAX;
	*ret = &loop->p;
	return 0;
}

static void loop_close(struct wr_policy *p)
{
	wr_free(wr_container_of(p, struct loop, p));
}

static void watch(struct loop *loop, uint64_t hash)
{
	struct wr_reuse *reuse = &loop->reuse;

	if (loop->shadow)
		return;
	wr_reuse_use(reuse, hash, loop->p.clock);
	if (reuse->nr_ever == loop->worked_out ||
	    (reuse->nr_ever > 16 && reuse->nr_ever < loop->worked_out + 8))
		return;
	loop->worked_out = reuse->nr_ever;
	loop->protected_for = wr_reuse_best(reuse, wr_policy_fit(&loop->p));
}

static void loop_miss(struct wr_policy *p, struct weir_key key, uint64_t hash, uint64_t bytes)
{
	(void)key;
	(void)bytes;
	watch(wr_container_of(p, struct loop, p), hash);
}

static uint64_t protected_for(const struct loop *loop)
{
	uint64_t sampled = loop->shadow ? loop->shadow->protected_for : 0;

	if (!loop->shadow)
		return loop->protected_for;
	return sampled > UINT64_MAX >> loop->shift ? UINT64_MAX : sampled << loop->shift;
}

/* The node whose time is over, or NULL. */
static struct wr_policy_node *stale(struct wr_policy *p, wr_policy_may *may, void *ctx)
{
	struct loop *loop = wr_container_of(p, struct loop, p);
	struct wr_policy_node *node = wr_queue_last(&loop->queue);

	if (!node || p->clock - node->stamp <= protected_for(loop))
		return NULL;
	return !may || may(ctx, node) ? node : NULL;
}

static bool loop_admit(struct wr_policy *p, uint64_t hash, uint64_t bytes, uint64_t next_use)
{
	(void)hash;
	(void)bytes;
	(void)next_use;
	return stale(p, NULL, NULL) != NULL;
}

static struct wr_policy_node *loop_victim(struct wr_policy *p, wr_policy_may *may, void *ctx)
{
	struct wr_policy_queue *q = &p->queues[0];
	struct wr_policy_node *node = stale(p, may, ctx);

	if (node)
		return node;
	for (node = q->head.next; node != &q->head; node = node->next)
		if (!may || may(ctx, node))
			return node;
	return NULL;
}

static void loop_insert(struct wr_policy *p, struct wr_policy_node *node)
{
	wr_queue_push(p, 0, node);
}

static void loop_hit(struct wr_policy *p, struct wr_policy_node *node)
{
	watch(wr_container_of(p, struct loop, p), wr_policy_hash(node->key, p->seed));
	wr_queue_unlink(node);
	wr_queue_link(&p->queues[0].head, node);
}

static void loop_remove(struct wr_policy *p, struct wr_policy_node *node, bool evicted)
{
	(void)evicted;
	wr_queue_drop(p, node);
}

/* From then on all the time: two histograms of one load need not agree, and one is enough. */
static void loop_follow(struct wr_policy *p, const struct wr_policy *shadow, unsigned shift)
{
	struct loop *loop = wr_container_of(p, struct loop, p);

	_Static_assert(offsetof(struct loop, p) == 0, "p is the first");
	loop->shadow = (const void *)shadow;
	loop->shift = shift;
}

const struct wr_policy_ops wr_policy_loop = {.name = "loop",
					     .open = loop_open,
					     .close = loop_close,
					     .miss = loop_miss,
					     .admit = loop_admit,
					     .victim = loop_victim,
					     .insert = loop_insert,
					     .hit = loop_hit,
					     .remove = loop_remove,
					     .follow = loop_follow};
