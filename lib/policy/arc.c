/* SPDX-License-Identifier: MIT */
/*
 * arc, after Megiddo and Modha, "ARC: A Self-Tuning, Low Overhead Replacement Cache", FAST 2003,
 * in bytes instead of pages: T1 holds what was used once, T2 what was used more often, B1 and B2
 * remember what left them. A miss on a ghost moves the target size of T1.
 *
 * The paper trims its ghosts before it replaces; here that is done after the insert, which keeps
 * the same nodes and ghosts when all have one size.
 */
#include <errno.h>

#include "base/alloc.h"
#include "policy/ghost.h"
#include "policy/policy_ops.h"

/* The queues, and the list of ghosts of each. */
enum { T1, T2 };

struct arc {
	struct wr_policy p;
	struct wr_policy_queue queues[2];
	struct wr_ghosts ghosts;
	double target;	 /* bytes that T1 ought to have */
	bool is_from_b2; /* the last miss was on a ghost of T2 */
};

static int arc_open(const struct wr_policy_opts *opts, struct wr_policy **ret)
{
	struct arc *arc = wr_calloc(1, sizeof(*arc));
	int rc;

	if (!arc)
		return -ENOMEM;
	wr_policy_init(&arc->p, &wr_policy_arc, opts, arc->queues, 2);
	/* One more than fit: a ghost comes before the oldest goes. */
	rc = wr_ghosts_init(&arc->ghosts, opts->nr_entries + 2);
	if (rc) {
		wr_free(arc);
		return rc;
	}
	*ret = &arc->p;
	return 0;
}

static void arc_close(struct wr_policy *p)
{
	struct arc *arc = wr_container_of(p, struct arc, p);

	wr_ghosts_fini(&arc->ghosts);
	wr_free(arc);
}

static double at_least_one(uint64_t a, uint64_t b)
{
	return a > b && b ? (double)a / (double)b : 1;
}

static void arc_miss(struct wr_policy *p, struct weir_key key, uint64_t hash, uint64_t bytes)
{
	struct arc *arc = wr_container_of(p, struct arc, p);
	const struct wr_ghosts *ghosts = &arc->ghosts;
	const struct wr_ghost *ghost = wr_ghosts_find(ghosts, hash);
	double capacity = (double)p->capacity;

	(void)key;
	arc->is_from_b2 = ghost && ghost->list == T2;
	if (!ghost)
		return;
	if (ghost->list == T1)
		arc->target += at_least_one(ghosts->bytes[T2], ghosts->bytes[T1]) * (double)bytes;
	else
		arc->target -= at_least_one(ghosts->bytes[T1], ghosts->bytes[T2]) * (double)bytes;
	arc->target = wr_min(wr_max(arc->target, 0.0), capacity);
}

static struct wr_policy_node *arc_victim(struct wr_policy *p, wr_policy_may *may, void *ctx)
{
	struct arc *arc = wr_container_of(p, struct arc, p);
	double recent = (double)arc->queues[T1].bytes;
	unsigned first =
		recent > arc->target || (arc->is_from_b2 && recent > 0 && recent >= arc->target)
			? T1
			: T2;
	struct wr_policy_node *node = wr_queue_victim(p, first, may, ctx);

	return node ? node : wr_queue_victim(p, !first, may, ctx);
}

static void trim(struct arc *arc)
{
	const struct wr_ghosts *ghosts = &arc->ghosts;
	uint64_t capacity = arc->p.capacity;
	uint64_t twice = capacity > UINT64_MAX / 2 ? UINT64_MAX : 2 * capacity;

	while (arc->queues[T1].bytes + ghosts->bytes[T1] > capacity)
		if (!wr_ghosts_drop_oldest(&arc->ghosts, T1))
			break;
	while (arc->p.bytes + ghosts->bytes[T1] + ghosts->bytes[T2] > twice)
		if (!wr_ghosts_drop_oldest(&arc->ghosts, T2))
			break;
}

static void arc_insert(struct wr_policy *p, struct wr_policy_node *node)
{
	struct arc *arc = wr_container_of(p, struct arc, p);
	bool is_known = wr_ghosts_drop(&arc->ghosts, wr_policy_hash(node->key, p->seed));

	wr_queue_push(p, is_known || node->freq ? T2 : T1, node);
	trim(arc);
}

static void arc_hit(struct wr_policy *p, struct wr_policy_node *node)
{
	wr_queue_drop(p, node);
	wr_queue_push(p, T2, node);
}

static void arc_remove(struct wr_policy *p, struct wr_policy_node *node, bool evicted)
{
	struct arc *arc = wr_container_of(p, struct arc, p);

	wr_queue_drop(p, node);
	if (evicted)
		wr_ghosts_add(&arc->ghosts, node->queue, wr_policy_hash(node->key, p->seed),
			      node->bytes);
}

static void arc_resize(struct wr_policy *p)
{
	struct arc *arc = wr_container_of(p, struct arc, p);

	arc->target = wr_min(arc->target, (double)p->capacity);
	trim(arc);
}

/* The target, as a share of the capacity. */
static void arc_follow(struct wr_policy *p, const struct wr_policy *shadow, unsigned shift)
{
	struct arc *arc = wr_container_of(p, struct arc, p);
	const struct arc *from = (const void *)shadow;

	_Static_assert(offsetof(struct arc, p) == 0, "p is the first");
	(void)shift;
	arc->target = from->target / (double)shadow->capacity * (double)p->capacity;
}

const struct wr_policy_ops wr_policy_arc = {.name = "arc",
					    .by_recency = true,
					    .open = arc_open,
					    .close = arc_close,
					    .miss = arc_miss,
					    .victim = arc_victim,
					    .insert = arc_insert,
					    .hit = arc_hit,
					    .remove = arc_remove,
					    .resize = arc_resize,
					    .follow = arc_follow};
