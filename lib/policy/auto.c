/* SPDX-License-Identifier: MIT */
/*
 * auto: whichever policy the selector chooses. When the choice changes, a new policy is opened
 * and takes over the nodes; if there is no memory for one, the old one goes on.
 *
 * It also measures the turn: the shortest way, in bytes, from one use of a thing to the next. A
 * cache smaller than that can hit nothing by recency, and whoever runs it ought to know.
 */
#include <errno.h>

#include "base/alloc.h"
#include "policy/policy_ops.h"
#include "policy/reuse.h"
#include "policy/selector.h"

/* Distances of reuse before the shortest is believed. */
#define LEAST_SEEN 32
/* Turns up to so many times the cache are recognised, of caches up to so many bytes. */
#define LONGEST_TURN 32
#define MAX_CAPACITY ((uint64_t)1 << 56)
/* What may come back earlier than the turn is long. */
#define SHORT_PERMILLE 50
/* One use in so many is counted, a power of two. */
#define COUNT_ONE_IN 1u
/* Counts are halved after so many uses for each node that fits. */
#define COUNT_PERIOD 16

struct automatic {
	struct wr_policy p;
	struct wr_policy *current;
	struct wr_selector *selector;
	struct wr_policy_opts opts;
	struct wr_reuse reuse;	 /* in bytes */
	struct wr_sketch counts; /* of all keys, for policies that start later */
	uint64_t counted;	 /* uses since they were halved */
	uint64_t volume;	 /* bytes referred to so far */
	uint64_t sampled_bytes;	 /* of the resident nodes */
	uint64_t corrected;	 /* clock at the last correction of the share */
};

static void auto_close(struct wr_policy *p)
{
	struct automatic *a = wr_container_of(p, struct automatic, p);

	wr_sketch_fini(&a->counts);
	wr_policy_close(a->current);
	wr_selector_close(a->selector);
	wr_free(a);
}

static int auto_open(const struct wr_policy_opts *opts, struct wr_policy **ret)
{
	const struct wr_selector_opts how = {.capacity_bytes = opts->capacity_bytes,
					     .nr_entries = opts->nr_entries,
					     .seed = opts->seed,
					     .by_bytes = opts->by_bytes};
	struct automatic *a = wr_calloc(1, sizeof(*a));
	int rc;

	if (!a)
		return -ENOMEM;
	wr_policy_init(&a->p, &wr_policy_auto, opts, NULL, 0);
	a->opts = *opts;
	wr_reuse_init(&a->reuse, LONGEST_TURN * wr_min(opts->capacity_bytes, MAX_CAPACITY));
	rc = wr_selector_open(&how, &a->selector);
	if (!rc)
		rc = wr_sketch_init(&a->counts, opts->nr_entries, UINT8_MAX);
	if (!rc)
		rc = wr_policy_open(wr_selector_choice(a->selector), opts, &a->current);
	if (rc)
		auto_close(&a->p);
	else
		*ret = &a->p;
	return rc;
}

static void change(struct automatic *a)
{
	const struct wr_policy *shadow;
	struct wr_policy *fresh;
	unsigned shift;

	a->opts.capacity_bytes = a->p.capacity;
	if (wr_policy_open(wr_selector_choice(a->selector), &a->opts, &fresh))
		return;
	if (fresh->ops->learn)
		fresh->ops->learn(fresh, &a->counts, COUNT_ONE_IN);
	wr_policy_switch(a->current, fresh);
	shadow = wr_selector_shadow(a->selector, &shift);
	if (fresh->ops->follow)
		fresh->ops->follow(fresh, shadow, shift);
	wr_policy_close(a->current);
	a->current = fresh;
}

/* So that no loop is in step with what is counted. */
static uint64_t mix(uint64_t clock)
{
	return clock * 0x9e3779b97f4a7c15u >> 61;
}

static void count(struct automatic *a, uint64_t hash)
{
	wr_sketch_add(&a->counts, hash);
	a->counted += COUNT_ONE_IN;
	if (a->counted < COUNT_PERIOD * wr_policy_fit(&a->p))
		return;
	wr_sketch_halve(&a->counts);
	a->counted = 0;
}

/* A reference, before the current policy hears of it. */
static void watch(struct automatic *a, struct weir_key key, uint64_t hash, uint64_t bytes,
		  bool was_hit)
{
	a->volume += bytes;
	wr_reuse_use(&a->reuse, hash, a->volume);
	a->current->clock = a->p.clock;
	if (!(mix(a->p.clock) & (COUNT_ONE_IN - 1)))
		count(a, hash);
	if (!wr_selector_is_sampled(a->selector, hash))
		return;
	if (a->p.was_full && a->p.clock - a->corrected > a->p.nr) {
		a->corrected = a->p.clock;
		wr_selector_share(a->selector, a->sampled_bytes, a->p.bytes);
	}
	if (wr_selector_access(a->selector, key, bytes, was_hit))
		change(a);
}

static void auto_miss(struct wr_policy *p, struct weir_key key, uint64_t hash, uint64_t bytes)
{
	struct automatic *a = wr_container_of(p, struct automatic, p);

	watch(a, key, hash, bytes, false);
	if (a->current->ops->miss)
		a->current->ops->miss(a->current, key, hash, bytes);
}

static bool auto_admit(struct wr_policy *p, uint64_t hash, uint64_t bytes, uint64_t next_use)
{
	struct automatic *a = wr_container_of(p, struct automatic, p);

	a->current->was_full = true;
	return !a->current->ops->admit || a->current->ops->admit(a->current, hash, bytes, next_use);
}

static struct wr_policy_node *auto_victim(struct wr_policy *p, wr_policy_may *may, void *ctx)
{
	struct automatic *a = wr_container_of(p, struct automatic, p);

	return wr_policy_victim(a->current, may, ctx);
}

static bool is_sampled(const struct automatic *a, struct weir_key key)
{
	return wr_selector_is_sampled(a->selector, wr_policy_hash(key, a->p.seed));
}

/* The shadows hear of a forecast in references from now. */
static void tell(struct automatic *a, const struct wr_policy_node *node)
{
	uint64_t next = node->next_use;

	if (node->prob)
		next = node->due;
	if (next != WR_POLICY_UNKNOWN && next != WR_POLICY_NEVER)
		next = next > a->p.clock ? next - a->p.clock : 0;
	wr_selector_forecast(a->selector, node->key, next, node->prob);
}

static void auto_insert(struct wr_policy *p, struct wr_policy_node *node)
{
	struct automatic *a = wr_container_of(p, struct automatic, p);

	if (is_sampled(a, node->key)) {
		a->sampled_bytes += node->bytes;
		tell(a, node);
	}
	a->current->bytes += node->bytes;
	a->current->nr++;
	a->current->ops->insert(a->current, node);
}

static void auto_hit(struct wr_policy *p, struct wr_policy_node *node)
{
	struct automatic *a = wr_container_of(p, struct automatic, p);

	watch(a, node->key, wr_policy_hash(node->key, p->seed), node->bytes, true);
	a->current->ops->hit(a->current, node);
}

static void auto_remove(struct wr_policy *p, struct wr_policy_node *node, bool evicted)
{
	struct automatic *a = wr_container_of(p, struct automatic, p);

	if (is_sampled(a, node->key))
		a->sampled_bytes -= node->bytes;
	wr_policy_remove(a->current, node, evicted);
}

static void auto_forecast(struct wr_policy *p, struct wr_policy_node *node)
{
	struct automatic *a = wr_container_of(p, struct automatic, p);

	if (is_sampled(a, node->key))
		tell(a, node);
	a->current->clock = p->clock;
	wr_policy_tell(a->current, node, node->next_use);
}

static void auto_foretell(struct wr_policy *p, struct weir_key key, uint64_t distance,
			  uint32_t prob)
{
	struct automatic *a = wr_container_of(p, struct automatic, p);

	if (is_sampled(a, key))
		wr_selector_forecast(a->selector, key, distance, prob);
}

static void auto_resize(struct wr_policy *p)
{
	struct automatic *a = wr_container_of(p, struct automatic, p);

	wr_policy_resize(a->current, p->capacity);
	wr_selector_resize(a->selector, p->capacity);
}

static void auto_drain(struct wr_policy *p, struct wr_policy_queue *to)
{
	struct automatic *a = wr_container_of(p, struct automatic, p);

	wr_policy_drain(a->current, to);
	a->sampled_bytes = 0;
}

static void auto_info(const struct wr_policy *p, struct wr_policy_info *ret)
{
	const struct automatic *a = (const void *)p;

	_Static_assert(offsetof(struct automatic, p) == 0, "p is the first");

	ret->chosen = a->current->ops->name;
	ret->reason = wr_selector_reason(a->selector);
	ret->nr_changes = wr_selector_changes(a->selector);
	if (a->reuse.nr_ever >= LEAST_SEEN) {
		ret->cycle_bytes = wr_reuse_quantile(&a->reuse, SHORT_PERMILLE);
		ret->below_cycle = ret->cycle_bytes > p->capacity;
	}
}

const struct wr_policy_ops wr_policy_auto = {.name = "auto",
					     .open = auto_open,
					     .close = auto_close,
					     .miss = auto_miss,
					     .admit = auto_admit,
					     .victim = auto_victim,
					     .insert = auto_insert,
					     .hit = auto_hit,
					     .remove = auto_remove,
					     .forecast = auto_forecast,
					     .foretell = auto_foretell,
					     .resize = auto_resize,
					     .drain = auto_drain,
					     .info = auto_info};
