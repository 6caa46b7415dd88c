/* SPDX-License-Identifier: MIT */
/*
 * s3-fifo, after Yang et al., "FIFO Queues are All You Need for Cache Eviction", SOSP 2023: a
 * small queue of a tenth that new nodes pass through, a main one, and ghosts of what left the
 * small one. A use only counts, up to three; what leaves the small queue with two or more uses,
 * or comes back as a ghost, goes to the main one, where each use buys one more round.
 */
#include <errno.h>

#include "base/alloc.h"
#include "policy/ghost.h"
#include "policy/policy_ops.h"

#define MAX_USES     3
#define USES_TO_STAY 2

enum { SMALL, MAIN };

struct s3 {
	struct wr_policy p;
	struct wr_policy_queue queues[2];
	struct wr_ghosts ghosts; /* the first of its lists is used */
};

static int s3_open(const struct wr_policy_opts *opts, struct wr_policy **ret)
{
	struct s3 *s3 = wr_calloc(1, sizeof(*s3));
	int rc;

	if (!s3)
		return -ENOMEM;
	wr_policy_init(&s3->p, &wr_policy_s3_fifo, opts, s3->queues, 2);
	rc = wr_ghosts_init(&s3->ghosts, opts->nr_entries);
	if (rc) {
		wr_free(s3);
		return rc;
	}
	*ret = &s3->p;
	return 0;
}

static void s3_close(struct wr_policy *p)
{
	struct s3 *s3 = wr_container_of(p, struct s3, p);

	wr_ghosts_fini(&s3->ghosts);
	wr_free(s3);
}

/* The last of queue @i that earned nothing more; those before it get what they earned. */
static struct wr_policy_node *pass(struct wr_policy *p, unsigned i, wr_policy_may *may, void *ctx)
{
	/* Each node at most as often as it has uses, and once more: pinned ones only go round. */
	uint64_t steps = p->queues[i].nr * (MAX_USES + 1);

	for (; steps && !wr_queue_is_empty(&p->queues[i]); steps--) {
		struct wr_policy_node *node = wr_queue_last(&p->queues[i]);

		if (i == SMALL && node->rank >= USES_TO_STAY) {
			wr_queue_drop(p, node);
			node->rank = 0;
			wr_queue_push(p, MAIN, node);
			continue;
		}
		if (i == MAIN && node->rank) {
			node->rank--;
		} else if (!may || may(ctx, node)) {
			return node;
		}
		wr_queue_unlink(node);
		wr_queue_link(&p->queues[i].head, node);
	}
	return NULL;
}

static struct wr_policy_node *s3_victim(struct wr_policy *p, wr_policy_may *may, void *ctx)
{
	unsigned first = p->queues[SMALL].bytes > p->capacity / 10 ? SMALL : MAIN;
	struct wr_policy_node *node = pass(p, first, may, ctx);

	if (!node)
		node = pass(p, !first, may, ctx);
	/* The small queue may have emptied itself into the main one. */
	return node || first == SMALL ? node : pass(p, MAIN, may, ctx);
}

static void s3_insert(struct wr_policy *p, struct wr_policy_node *node)
{
	struct s3 *s3 = wr_container_of(p, struct s3, p);
	bool is_known = wr_ghosts_drop(&s3->ghosts, wr_policy_hash(node->key, p->seed));

	wr_queue_push(p, is_known || node->freq ? MAIN : SMALL, node);
}

static void s3_hit(struct wr_policy *p, struct wr_policy_node *node)
{
	(void)p;
	node->rank += node->rank < MAX_USES;
}

static void trim(struct wr_policy *p)
{
	struct s3 *s3 = wr_container_of(p, struct s3, p);

	while (s3->ghosts.bytes[0] > p->capacity - p->capacity / 10)
		wr_ghosts_drop_oldest(&s3->ghosts, 0);
}

static void s3_remove(struct wr_policy *p, struct wr_policy_node *node, bool evicted)
{
	struct s3 *s3 = wr_container_of(p, struct s3, p);

	wr_queue_drop(p, node);
	if (!evicted || node->queue != SMALL)
		return;
	wr_ghosts_add(&s3->ghosts, 0, wr_policy_hash(node->key, p->seed), node->bytes);
	trim(p);
}

const struct wr_policy_ops wr_policy_s3_fifo = {.name = "s3-fifo",
						.open = s3_open,
						.close = s3_close,
						.victim = s3_victim,
						.insert = s3_insert,
						.hit = s3_hit,
						.remove = s3_remove,
						.resize = trim};
