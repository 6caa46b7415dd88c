/* SPDX-License-Identifier: MIT */
/*
 * lfu: the hot list. Counts are kept of all keys, not only of resident ones, and halve now and
 * then; nodes stand in one bucket per count (above 32, per eighth of a power of two), latest
 * first. The victim is the oldest of the lowest bucket. Who is asked for less than the victim
 * stays outside. Of the policies here the best for experts, whose popularity changes slowly.
 */
#include <errno.h>

#include "base/alloc.h"
#include "policy/policy_ops.h"
#include "policy/sketch.h"

#define MAX_COUNT  255
#define NR_BUCKETS 56
/* Counts are halved after so many uses for each node that fits. */
#define PERIOD 32

struct lfu {
	struct wr_policy p;
	struct wr_policy_queue buckets[NR_BUCKETS];
	uint64_t filled; /* a bit for each bucket that may have nodes */
	struct wr_sketch sketch;
	uint64_t uses;	 /* since the last halving */
	bool has_learnt; /* the sketch knows more than the nodes do */
};

static int lfu_open(const struct wr_policy_opts *opts, struct wr_policy **ret)
{
	struct lfu *lfu = wr_calloc(1, sizeof(*lfu));
	int rc;

	if (!lfu)
		return -ENOMEM;
	wr_policy_init(&lfu->p, &wr_policy_lfu, opts, lfu->buckets, NR_BUCKETS);
	rc = wr_sketch_init(&lfu->sketch, opts->nr_entries, MAX_COUNT);
	if (rc) {
		wr_free(lfu);
		return rc;
	}
	*ret = &lfu->p;
	return 0;
}

static void lfu_close(struct wr_policy *p)
{
	struct lfu *lfu = wr_container_of(p, struct lfu, p);

	wr_sketch_fini(&lfu->sketch);
	wr_free(lfu);
}

/* 0 to 31 as they are, then 8 buckets each up to 63, 127, 255. */
static unsigned bucket_of(unsigned count)
{
	unsigned shift = 0;

	if (count < 32)
		return count;
	while (count >> shift > 15)
		shift++;
	return 32 + (shift - 2) * 8 + ((count >> shift) & 7);
}

static unsigned least_of(unsigned bucket)
{
	return bucket < 32 ? bucket : (8 + (bucket & 7)) << ((bucket - 32) / 8 + 2);
}

static void place(struct lfu *lfu, struct wr_policy_node *node, unsigned count)
{
	unsigned bucket = bucket_of(count);

	wr_queue_link(&lfu->buckets[bucket].head, node);
	lfu->filled |= (uint64_t)1 << bucket;
}

/* All of @from behind what @to has. */
static void splice(struct wr_policy_queue *from, struct wr_policy_queue *to)
{
	if (wr_queue_is_empty(from))
		return;
	from->head.next->prev = to->head.prev;
	from->head.prev->next = &to->head;
	to->head.prev->next = from->head.next;
	to->head.prev = from->head.prev;
	wr_queue_init(from);
}

static void halve(struct lfu *lfu)
{
	wr_sketch_halve(&lfu->sketch);
	for (unsigned b = 1; b < NR_BUCKETS; b++) {
		unsigned to = bucket_of(least_of(b) / 2);

		splice(&lfu->buckets[b], &lfu->buckets[to]);
		lfu->filled |= (uint64_t)1 << to;
	}
}

static unsigned use(struct lfu *lfu, uint64_t hash)
{
	if (++lfu->uses >= PERIOD * wr_policy_fit(&lfu->p)) {
		halve(lfu);
		lfu->uses = 0;
	}
	return wr_sketch_add(&lfu->sketch, hash);
}

static void lfu_miss(struct wr_policy *p, struct weir_key key, uint64_t hash, uint64_t bytes)
{
	(void)key;
	(void)bytes;
	use(wr_container_of(p, struct lfu, p), hash);
}

/* The lowest bucket that has nodes; there is one. */
static unsigned lowest(struct lfu *lfu)
{
	unsigned b = (unsigned)__builtin_ctzll(lfu->filled);

	while (wr_queue_is_empty(&lfu->buckets[b])) {
		lfu->filled &= ~((uint64_t)1 << b);
		b = (unsigned)__builtin_ctzll(lfu->filled);
	}
	return b;
}

static bool lfu_admit(struct wr_policy *p, uint64_t hash, uint64_t bytes, uint64_t next_use)
{
	struct lfu *lfu = wr_container_of(p, struct lfu, p);

	(void)bytes;
	(void)next_use;
	return !p->nr || bucket_of(wr_sketch_count(&lfu->sketch, hash)) > lowest(lfu);
}

static struct wr_policy_node *lfu_victim(struct wr_policy *p, wr_policy_may *may, void *ctx)
{
	struct lfu *lfu = wr_container_of(p, struct lfu, p);

	for (unsigned b = lowest(lfu); b < NR_BUCKETS; b++) {
		struct wr_policy_node *node = wr_queue_victim(p, b, may, ctx);

		if (node)
			return node;
	}
	return NULL;
}

static void lfu_insert(struct wr_policy *p, struct wr_policy_node *node)
{
	struct lfu *lfu = wr_container_of(p, struct lfu, p);
	uint64_t hash = wr_policy_hash(node->key, p->seed);
	unsigned count = wr_sketch_count(&lfu->sketch, hash);

	/* From another policy: what it knew of uses is a start. */
	while (!lfu->has_learnt && count < node->freq && count < MAX_COUNT)
		count = wr_sketch_add(&lfu->sketch, hash);
	place(lfu, node, count);
}

static void lfu_hit(struct wr_policy *p, struct wr_policy_node *node)
{
	struct lfu *lfu = wr_container_of(p, struct lfu, p);
	unsigned count = use(lfu, wr_policy_hash(node->key, p->seed));

	wr_queue_unlink(node);
	place(lfu, node, count);
}

static void lfu_remove(struct wr_policy *p, struct wr_policy_node *node, bool evicted)
{
	(void)p;
	(void)evicted;
	wr_queue_unlink(node);
}

static void lfu_learn(struct wr_policy *p, const struct wr_sketch *counts, unsigned times)
{
	struct lfu *lfu = wr_container_of(p, struct lfu, p);

	wr_sketch_copy(&lfu->sketch, counts, times);
	lfu->has_learnt = true;
}

const struct wr_policy_ops wr_policy_lfu = {.name = "lfu",
					    .open = lfu_open,
					    .close = lfu_close,
					    .miss = lfu_miss,
					    .admit = lfu_admit,
					    .victim = lfu_victim,
					    .insert = lfu_insert,
					    .hit = lfu_hit,
					    .remove = lfu_remove,
					    .learn = lfu_learn};
