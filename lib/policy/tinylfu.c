/* SPDX-License-Identifier: MIT */
/*
 * w-tinylfu, after Einziger, Friedman and Manes, "TinyLFU: A Highly Efficient Cache Admission
 * Policy", TOS 2017: new nodes pass through a window of a hundredth; what leaves it takes the
 * place of the main part's oldest only if it is asked for more often. The main part is a
 * segmented LRU: probation, and four fifths protected for what was used there again.
 */
#include <errno.h>

#include "base/alloc.h"
#include "policy/policy_ops.h"
#include "policy/sketch.h"

#define MAX_COUNT 15
/* Counts are halved after so many uses for each node that fits. */
#define PERIOD 10

enum { WINDOW, PROBATION, PROTECTED };

struct tinylfu {
	struct wr_policy p;
	struct wr_policy_queue queues[3];
	struct wr_sketch sketch;
	uint64_t uses;	   /* since the last halving */
	uint64_t incoming; /* bytes of the last miss */
	bool has_learnt;   /* the sketch knows more than the nodes do */
};

static int tinylfu_open(const struct wr_policy_opts *opts, struct wr_policy **ret)
{
	struct tinylfu *t = wr_calloc(1, sizeof(*t));
	int rc;

	if (!t)
		return -ENOMEM;
	wr_policy_init(&t->p, &wr_policy_w_tinylfu, opts, t->queues, 3);
	rc = wr_sketch_init(&t->sketch, opts->nr_entries, MAX_COUNT);
	if (rc) {
		wr_free(t);
		return rc;
	}
	*ret = &t->p;
	return 0;
}

static void tinylfu_close(struct wr_policy *p)
{
	struct tinylfu *t = wr_container_of(p, struct tinylfu, p);

	wr_sketch_fini(&t->sketch);
	wr_free(t);
}

static void count(struct tinylfu *t, uint64_t hash)
{
	wr_sketch_add(&t->sketch, hash);
	if (++t->uses >= PERIOD * wr_policy_fit(&t->p)) {
		wr_sketch_halve(&t->sketch);
		t->uses /= 2;
	}
}

static void move(struct wr_policy *p, unsigned to, struct wr_policy_node *node)
{
	wr_queue_drop(p, node);
	wr_queue_push(p, to, node);
}

static void tinylfu_miss(struct wr_policy *p, struct weir_key key, uint64_t hash, uint64_t bytes)
{
	struct tinylfu *t = wr_container_of(p, struct tinylfu, p);

	(void)key;
	count(t, hash);
	t->incoming = bytes;
}

static unsigned estimate(struct tinylfu *t, const struct wr_policy_node *node)
{
	return wr_sketch_count(&t->sketch, wr_policy_hash(node->key, t->p.seed));
}

static struct wr_policy_node *main_victim(struct wr_policy *p, wr_policy_may *may, void *ctx)
{
	struct wr_policy_node *node = wr_queue_victim(p, PROBATION, may, ctx);

	return node ? node : wr_queue_victim(p, PROTECTED, may, ctx);
}

static struct wr_policy_node *tinylfu_victim(struct wr_policy *p, wr_policy_may *may, void *ctx)
{
	struct tinylfu *t = wr_container_of(p, struct tinylfu, p);
	uint64_t window = p->capacity / 100;
	struct wr_policy_queue *q = &t->queues[WINDOW];
	struct wr_policy_node *candidate, *victim;

	/* While the main part has room of its own nobody has to lose. */
	while (q->bytes > window &&
	       p->bytes - q->bytes + q->head.prev->bytes <= p->capacity - window)
		move(p, PROBATION, q->head.prev);
	candidate = q->bytes + t->incoming > window ? wr_queue_victim(p, WINDOW, may, ctx) : NULL;
	victim = main_victim(p, may, ctx);
	if (!candidate)
		return victim ? victim : wr_queue_victim(p, WINDOW, may, ctx);
	if (!victim || estimate(t, candidate) <= estimate(t, victim))
		return candidate;
	move(p, PROBATION, candidate);
	return victim;
}

static void protect(struct wr_policy *p, struct wr_policy_node *node)
{
	struct wr_policy_queue *q = &p->queues[PROTECTED];
	uint64_t limit = (p->capacity - p->capacity / 100) / 5 * 4;

	move(p, PROTECTED, node);
	while (q->bytes > limit && q->nr > 1)
		move(p, PROBATION, q->head.prev);
}

static void tinylfu_insert(struct wr_policy *p, struct wr_policy_node *node)
{
	struct tinylfu *t = wr_container_of(p, struct tinylfu, p);
	uint64_t hash;

	wr_queue_push(p, WINDOW, node);
	if (!node->freq)
		return;
	/* From another policy: what it knew of uses is a start. */
	hash = wr_policy_hash(node->key, p->seed);
	for (unsigned i = 0; !t->has_learnt && i < node->freq && i < MAX_COUNT; i++)
		wr_sketch_add(&t->sketch, hash);
	protect(p, node);
}

static void tinylfu_hit(struct wr_policy *p, struct wr_policy_node *node)
{
	count(wr_container_of(p, struct tinylfu, p), wr_policy_hash(node->key, p->seed));
	if (node->queue == PROBATION)
		protect(p, node);
	else
		move(p, node->queue, node);
}

static void tinylfu_remove(struct wr_policy *p, struct wr_policy_node *node, bool evicted)
{
	(void)evicted;
	wr_queue_drop(p, node);
}

static void tinylfu_learn(struct wr_policy *p, const struct wr_sketch *counts, unsigned times)
{
	struct tinylfu *t = wr_container_of(p, struct tinylfu, p);

	wr_sketch_copy(&t->sketch, counts, times);
	t->has_learnt = true;
}

const struct wr_policy_ops wr_policy_w_tinylfu = {.name = "w-tinylfu",
						  .open = tinylfu_open,
						  .close = tinylfu_close,
						  .miss = tinylfu_miss,
						  .victim = tinylfu_victim,
						  .insert = tinylfu_insert,
						  .hit = tinylfu_hit,
						  .remove = tinylfu_remove,
						  .learn = tinylfu_learn};
