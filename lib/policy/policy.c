/* SPDX-License-Identifier: MIT */
/*
 * The table of policies and what is the same for all of them: clock, sums, stamps, counts of
 * uses, and moving nodes from one to another.
 */
#include <errno.h>
#include <string.h>

#include "policy/policy_ops.h"

#define DEFAULT_ENTRIES 4096
/*
 * With forecasts at hand, so many of the nodes that would leave next are looked at: a part of all,
 * and one for so many bytes of a node at most, so that the look costs little against a read.
 */
#define TAIL_PART  8
#define TAIL_BYTES 4096
#define MOST_TAIL  128

/* The first that a name matches; auto's pick and `weir replay --policy all` follow this order. */
static const struct wr_policy_ops *const policies[] = {
	&wr_policy_lru,		&wr_policy_fifo,      &wr_policy_arc, &wr_policy_s3_fifo,
	&wr_policy_sieve,	&wr_policy_w_tinylfu, &wr_policy_lfu, &wr_policy_loop,
	&wr_policy_by_forecast, &wr_policy_auto,
};

const char *wr_policy_name(size_t index)
{
	return index < wr_array_size(policies) ? policies[index]->name : NULL;
}

void wr_policy_init(struct wr_policy *p, const struct wr_policy_ops *ops,
		    const struct wr_policy_opts *opts, struct wr_policy_queue *queues, unsigned nr)
{
	*p = (struct wr_policy){.ops = ops,
				.queues = queues,
				.nr_queues = nr,
				.capacity = opts->capacity_bytes,
				.nr_entries = opts->nr_entries,
				.seed = opts->seed};
	for (unsigned i = 0; i < nr; i++)
		wr_queue_init(&queues[i]);
}

int wr_policy_open(const char *name, const struct wr_policy_opts *opts, struct wr_policy **ret)
{
	struct wr_policy_opts full = *opts;

	if (!full.capacity_bytes)
		return -EINVAL;
	if (!full.nr_entries)
		full.nr_entries = DEFAULT_ENTRIES;
	if (!name)
		name = wr_policy_auto.name;
	for (size_t i = 0; i < wr_array_size(policies); i++)
		if (!strcmp(policies[i]->name, name))
			return policies[i]->open(&full, ret);
	return -ENOENT;
}

void wr_policy_close(struct wr_policy *p)
{
	if (p)
		p->ops->close(p);
}

void wr_policy_miss(struct wr_policy *p, struct weir_key key, uint64_t bytes)
{
	p->clock++;
	if (p->ops->miss)
		p->ops->miss(p, key, wr_policy_hash(key, p->seed), bytes);
}

bool wr_policy_admit(struct wr_policy *p, struct weir_key key, uint64_t bytes, uint64_t next_use)
{
	if (bytes > p->capacity)
		return false;
	if (p->bytes <= p->capacity - bytes)
		return true;
	return wr_policy_admit_full(p, key, bytes, next_use);
}

bool wr_policy_admit_full(struct wr_policy *p, struct weir_key key, uint64_t bytes,
			  uint64_t next_use)
{
	p->was_full = true;
	if (!p->ops->admit)
		return true;
	return p->ops->admit(p, wr_policy_hash(key, p->seed), bytes, next_use);
}

/* The next victims in order, of which the one used latest, as far as is known, is the one. */
struct tail {
	const struct wr_policy *p;
	wr_policy_may *may;
	void *ctx;
	const struct wr_policy_node *best;
	uint64_t distance; /* of the best */
	uint64_t left;	   /* to be looked at */
};

/*
 * References that a byte is held for a use, as one expects: while it is not due, the distance
 * divided by the probability. Of two that are as probable the nearer one is worth more, and one
 * that is near but improbable may be worth more than one that is far, for what is near is known
 * soon. Unused for t stands for not used for another t.
 */
static uint64_t hold_of(const struct wr_policy *p, const struct wr_policy_node *node)
{
	if (node->prob && node->next_use != WR_POLICY_UNKNOWN && node->due > p->clock)
		return (node->due - p->clock) * WR_POLICY_SURE / node->prob;
	if (node->next_use == WR_POLICY_UNKNOWN || node->next_use <= p->clock)
		return p->clock - node->stamp;
	return node->next_use - p->clock;
}

static bool look(void *ctx, const struct wr_policy_node *node)
{
	struct tail *t = ctx;
	uint64_t d;

	if (t->may && !t->may(t->ctx, node))
		return false;
	d = hold_of(t->p, node);
	if (!t->best || d > t->distance) {
		t->best = node;
		t->distance = d;
	}
	return --t->left == 0;
}

static struct wr_policy_node *latest_of_tail(struct wr_policy *p, wr_policy_may *may, void *ctx)
{
	struct tail t = {.p = p, .may = may, .ctx = ctx};

	t.left = wr_min(p->nr / TAIL_PART, (p->bytes / p->nr) / TAIL_BYTES);
	t.left = wr_min(wr_max(t.left, (uint64_t)1), (uint64_t)MOST_TAIL);
	(void)p->ops->victim(p, look, &t);
	return (struct wr_policy_node *)(uintptr_t)t.best;
}

struct wr_policy_node *wr_policy_victim(struct wr_policy *p, wr_policy_may *may, void *ctx)
{
	if (!p->nr)
		return NULL;
	p->was_full = true;
	if (p->ops->by_recency && p->told_until > p->clock)
		return latest_of_tail(p, may, ctx);
	return p->ops->victim(p, may, ctx);
}

bool wr_policy_outranks(struct wr_policy *p, uint64_t distance, uint32_t prob, wr_policy_may *may,
			void *ctx)
{
	const struct wr_policy_node *victim;

	if (!prob || !p->was_full)
		return prob;
	victim = wr_policy_victim(p, may, ctx);
	return victim && (victim->next_use == WR_POLICY_NEVER ||
			  hold_of(p, victim) > distance * WR_POLICY_SURE / prob);
}

/* Through here, so that a policy within another one does not count twice. */
static void insert(struct wr_policy *p, struct wr_policy_node *node)
{
	p->bytes += node->bytes;
	p->nr++;
	p->ops->insert(p, node);
}

void wr_policy_insert(struct wr_policy *p, struct wr_policy_node *node)
{
	node->stamp = p->clock;
	node->prob = 0;
	node->freq = 0;
	node->flags = 0;
	node->rank = 0;
	insert(p, node);
}

void wr_policy_hit(struct wr_policy *p, struct wr_policy_node *node)
{
	p->clock++;
	node->freq = (uint16_t)(node->freq + (node->freq < UINT16_MAX));
	p->ops->hit(p, node);
	node->next_use = WR_POLICY_UNKNOWN;
	node->stamp = p->clock;
}

void wr_policy_remove(struct wr_policy *p, struct wr_policy_node *node, bool evicted)
{
	wr_assert(p->nr && p->bytes >= node->bytes);
	p->ops->remove(p, node, evicted);
	p->bytes -= node->bytes;
	p->nr--;
}

void wr_policy_tell(struct wr_policy *p, struct wr_policy_node *node, uint64_t next_use)
{
	node->next_use = next_use;
	if (node->prob)
		p->told_until = wr_max(p->told_until, next_use);
	if (p->ops->forecast)
		p->ops->forecast(p, node);
}

void wr_policy_forecast(struct wr_policy *p, struct wr_policy_node *node, uint64_t next_use)
{
	node->prob = 0;
	wr_policy_tell(p, node, next_use);
}

void wr_policy_expect(struct wr_policy *p, struct wr_policy_node *node, uint64_t distance,
		      uint32_t prob)
{
	prob = wr_min(wr_max(prob, 1u), WR_POLICY_SURE);
	distance = wr_min(wr_max(distance, (uint64_t)1), (uint64_t)1 << 40);
	node->prob = prob;
	node->due = p->clock + distance;
	wr_policy_tell(p, node, p->clock + distance * WR_POLICY_SURE / prob);
}

void wr_policy_foretell(struct wr_policy *p, struct weir_key key, uint64_t distance, uint32_t prob)
{
	if (p->ops->foretell)
		p->ops->foretell(p, key, distance, prob);
}

uint64_t wr_policy_clock(const struct wr_policy *p)
{
	return p->clock;
}

void wr_policy_resize(struct wr_policy *p, uint64_t capacity_bytes)
{
	p->capacity = wr_max(capacity_bytes, (uint64_t)1);
	if (p->ops->resize)
		p->ops->resize(p);
}

uint64_t wr_policy_bytes(const struct wr_policy *p)
{
	return p->bytes;
}

uint64_t wr_policy_nodes(const struct wr_policy *p)
{
	return p->nr;
}

void wr_policy_info(const struct wr_policy *p, struct wr_policy_info *ret)
{
	*ret = (struct wr_policy_info){.name = p->ops->name, .chosen = p->ops->name, .reason = ""};
	if (p->ops->info)
		p->ops->info(p, ret);
}

/* Lists linked through next, ended by NULL: the earlier stamp first, ties as they stand. */
static struct wr_policy_node *merge(struct wr_policy_node *a, struct wr_policy_node *b)
{
	struct wr_policy_node *first = NULL;
	struct wr_policy_node **end = &first;

	while (a && b) {
		struct wr_policy_node **least = b->stamp < a->stamp ? &b : &a;

		*end = *least;
		end = &(*least)->next;
		*least = *end;
	}
	*end = a ? a : b;
	return first;
}

/* Bottom up: runs[i] is sorted and holds 2^i nodes or none. */
static struct wr_policy_node *sort(struct wr_policy_node *list)
{
	struct wr_policy_node *runs[48] = {NULL};
	struct wr_policy_node *sorted = NULL;

	while (list) {
		struct wr_policy_node *run = list;
		unsigned i = 0;

		list = list->next;
		run->next = NULL;
		for (; i + 1 < wr_array_size(runs) && runs[i]; i++) {
			run = merge(runs[i], run);
			runs[i] = NULL;
		}
		runs[i] = run;
	}
	for (unsigned i = 0; i < wr_array_size(runs); i++)
		sorted = merge(runs[i], sorted);
	return sorted;
}

void wr_policy_drain(struct wr_policy *p, struct wr_policy_queue *to)
{
	if (p->ops->drain)
		p->ops->drain(p, to);
	for (unsigned i = 0; i < p->nr_queues; i++) {
		struct wr_policy_queue *q = &p->queues[i];

		if (!wr_queue_is_empty(q)) {
			q->head.next->prev = to->head.prev;
			to->head.prev->next = q->head.next;
			q->head.prev->next = &to->head;
			to->head.prev = q->head.prev;
		}
		wr_queue_init(q);
	}
	p->bytes = 0;
	p->nr = 0;
}

void wr_policy_switch(struct wr_policy *old, struct wr_policy *fresh)
{
	struct wr_policy_queue all;
	struct wr_policy_node *node;

	wr_assert(!fresh->nr);
	wr_queue_init(&all);
	wr_policy_drain(old, &all);
	all.head.prev->next = NULL;
	node = sort(all.head.next);
	fresh->clock = wr_max(fresh->clock, old->clock);
	fresh->was_full = old->was_full;
	fresh->told_until = old->told_until;
	while (node) {
		struct wr_policy_node *next = node->next;

		node->flags = 0;
		node->rank = 0;
		insert(fresh, node);
		node = next;
	}
}
