/* SPDX-License-Identifier: MIT */
/*
 * forecast: the latest next use leaves first, as in Belady's optimal order, as far as somebody
 * forecasts. Nodes with a forecast stand in a heap and in a queue by recency; those without, and
 * those whose forecast did not come true, in another queue by recency. Of the head of the heap
 * and the oldest of the second queue the one leaves that is expected later, where "unused for t"
 * stands for "not used for another t". Without any forecast this is lru.
 */
#include <errno.h>

#include "base/alloc.h"
#include "policy/policy_ops.h"

/* Nodes looked at per victim for forecasts that did not come true. */
#define CHECKED 4

enum { GUESSED, FORECAST };

struct forecast {
	struct wr_policy p;
	struct wr_policy_queue queues[2];
	struct wr_policy_node *top;  /* of the heap: the latest next use */
	struct wr_policy_node *hand; /* goes round the second queue; NULL: at its end */
};

static int forecast_open(const struct wr_policy_opts *opts, struct wr_policy **ret)
{
	struct forecast *f = wr_calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	wr_policy_init(&f->p, &wr_policy_by_forecast, opts, f->queues, 2);
	*ret = &f->p;
	return 0;
}

static void forecast_close(struct wr_policy *p)
{
	wr_free(wr_container_of(p, struct forecast, p));
}

/* ---- a pairing heap: child, sibling, and parent or the sibling before ---- */

static struct wr_policy_node *meld(struct wr_policy_node *a, struct wr_policy_node *b)
{
	struct wr_policy_node *top, *under;

	if (!a || !b)
		return a ? a : b;
	top = a->next_use >= b->next_use ? a : b;
	under = top == a ? b : a;
	under->sibling = top->child;
	if (top->child)
		top->child->parent = under;
	under->parent = top;
	top->child = under;
	top->sibling = NULL;
	top->parent = NULL;
	return top;
}

/* Two passes over the children of a node that leaves. */
static struct wr_policy_node *meld_children(struct wr_policy_node *first)
{
	struct wr_policy_node *pairs = NULL;
	struct wr_policy_node *top = NULL;

	while (first) {
		struct wr_policy_node *a = first;
		struct wr_policy_node *b = a->sibling;

		first = b ? b->sibling : NULL;
		a->sibling = a->parent = NULL;
		if (b)
			b->sibling = b->parent = NULL;
		a = meld(a, b);
		a->sibling = pairs;
		pairs = a;
	}
	while (pairs) {
		struct wr_policy_node *next = pairs->sibling;

		pairs->sibling = NULL;
		top = meld(top, pairs);
		pairs = next;
	}
	return top;
}

static void heap_add(struct forecast *f, struct wr_policy_node *node)
{
	node->child = node->sibling = node->parent = NULL;
	f->top = meld(f->top, node);
}

static void heap_drop(struct forecast *f, struct wr_policy_node *node)
{
	struct wr_policy_node *rest = meld_children(node->child);

	if (f->top == node) {
		f->top = rest;
		return;
	}
	if (node->parent->child == node)
		node->parent->child = node->sibling;
	else
		node->parent->sibling = node->sibling;
	if (node->sibling)
		node->sibling->parent = node->parent;
	f->top = meld(f->top, rest);
}

/* ---- the policy ---- */

static bool is_ahead(const struct wr_policy *p, uint64_t next_use)
{
	return next_use != WR_POLICY_UNKNOWN && next_use > p->clock;
}

static void put(struct forecast *f, struct wr_policy_node *node, bool is_oldest)
{
	unsigned i = is_ahead(&f->p, node->next_use) ? FORECAST : GUESSED;

	if (i == FORECAST)
		heap_add(f, node);
	if (is_oldest)
		wr_queue_append(&f->p, i, node);
	else
		wr_queue_push(&f->p, i, node);
}

static void take(struct forecast *f, struct wr_policy_node *node)
{
	if (f->hand == node)
		f->hand = node->prev == &f->queues[FORECAST].head ? NULL : node->prev;
	if (node->queue == FORECAST)
		heap_drop(f, node);
	wr_queue_drop(&f->p, node);
}

/* What ought to have come by now is judged by its past. */
static void check_forecasts(struct forecast *f)
{
	struct wr_policy_queue *q = &f->queues[FORECAST];

	for (unsigned i = 0; i < CHECKED && !wr_queue_is_empty(q); i++) {
		struct wr_policy_node *node = f->hand ? f->hand : q->head.prev;

		f->hand = node->prev == &q->head ? NULL : node->prev;
		if (is_ahead(&f->p, node->next_use))
			continue;
		take(f, node);
		put(f, node, true);
	}
}

/* References until the next use, as one expects. */
static uint64_t distance(const struct wr_policy *p, const struct wr_policy_node *node)
{
	return node->queue == FORECAST ? node->next_use - p->clock : p->clock - node->stamp;
}

/*
 * The head of the heap, or, while it is refused, the next one. Refused nodes come out and go
 * back in, linked through parent, which nobody needs meanwhile.
 */
static struct wr_policy_node *latest(struct forecast *f, wr_policy_may *may, void *ctx)
{
	struct wr_policy_node *refused = NULL;
	struct wr_policy_node *found;

	while (f->top && may && !may(ctx, f->top)) {
		struct wr_policy_node *node = f->top;

		heap_drop(f, node);
		node->parent = refused;
		refused = node;
	}
	found = f->top;
	while (refused) {
		struct wr_policy_node *next = refused->parent;

		heap_add(f, refused);
		refused = next;
	}
	return found;
}

static struct wr_policy_node *forecast_victim(struct wr_policy *p, wr_policy_may *may, void *ctx)
{
	struct forecast *f = wr_container_of(p, struct forecast, p);
	struct wr_policy_node *late, *old;

	check_forecasts(f);
	late = latest(f, may, ctx);
	old = wr_queue_victim(p, GUESSED, may, ctx);
	if (!late || !old)
		return late ? late : old;
	return late->next_use == WR_POLICY_NEVER || distance(p, late) >= distance(p, old) ? late
											  : old;
}

static bool forecast_admit(struct wr_policy *p, uint64_t hash, uint64_t bytes, uint64_t next_use)
{
	struct forecast *f = wr_container_of(p, struct forecast, p);
	struct wr_policy_node *old = wr_queue_last(&f->queues[GUESSED]);

	(void)hash;
	(void)bytes;
	if (!is_ahead(p, next_use))
		return true;
	if (old && next_use - p->clock <= distance(p, old))
		return true;
	return f->top && next_use < f->top->next_use;
}

static void forecast_insert(struct wr_policy *p, struct wr_policy_node *node)
{
	put(wr_container_of(p, struct forecast, p), node, false);
}

static void forecast_hit(struct wr_policy *p, struct wr_policy_node *node)
{
	struct forecast *f = wr_container_of(p, struct forecast, p);

	take(f, node);
	node->next_use = WR_POLICY_UNKNOWN;
	put(f, node, false);
}

static void forecast_set(struct wr_policy *p, struct wr_policy_node *node)
{
	struct forecast *f = wr_container_of(p, struct forecast, p);
	bool is_oldest = wr_queue_last(&f->queues[node->queue]) == node;

	/* The heap is left through the node's links, whatever it says by now. */
	take(f, node);
	put(f, node, is_oldest);
}

static void forecast_remove(struct wr_policy *p, struct wr_policy_node *node, bool evicted)
{
	(void)evicted;
	take(wr_container_of(p, struct forecast, p), node);
}

static void forecast_drain(struct wr_policy *p, struct wr_policy_queue *to)
{
	struct forecast *f = wr_container_of(p, struct forecast, p);

	(void)to;
	f->top = NULL;
	f->hand = NULL;
}

const struct wr_policy_ops wr_policy_by_forecast = {.name = "forecast",
						    .open = forecast_open,
						    .close = forecast_close,
						    .admit = forecast_admit,
						    .victim = forecast_victim,
						    .insert = forecast_insert,
						    .hit = forecast_hit,
						    .remove = forecast_remove,
						    .forecast = forecast_set,
						    .drain = forecast_drain};
