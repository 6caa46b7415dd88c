/* SPDX-License-Identifier: MIT */
/*
 * A queue that any thread pushes to and one thread empties: how requests reach an engine.
 *
 * Design: a stack of intrusive nodes. A push is one compare-and-swap on the head; the consumer takes
 * the whole stack with one exchange and turns it round. Tried and dropped: the linked queue with a
 * stub node, in which a push that is interrupted between its two stores hides everything pushed
 * after it, so the consumer would have to spin on a thread that does not run.
 *
 * Which operations may run at the same time on one queue:
 *
 *            push   take   is_empty
 *   push     yes    yes    yes
 *   take     yes    no     yes
 *   is_empty yes    yes    yes
 *
 * "no" means the callers must keep them apart, by being one thread or by a lock.
 *
 * Guarantees:
 *   A. push is lock-free and take is wait-free; neither allocates, waits or calls the system.
 *   B. Everything written before a push is seen by the consumer that takes the node.
 *   C. Nodes come out in the order of their pushes, so each producer's come in its own order.
 *   D. push and is_empty are in the one order of all seq_cst operations. A producer that pushes and
 *      then reads a flag, and a consumer that sets that flag and then finds is_empty, cannot both
 *      miss each other: the base of every sleep and wake-up in this module.
 *   E. A node may be pushed again, or freed, as soon as it has been taken. The head a push compares
 *      with is never followed by the push, so a head that went and came back (ABA) is harmless.
 */
#ifndef WR_IO_MPSC_H
#define WR_IO_MPSC_H

#include <stdbool.h>
#include <stddef.h>

#include "base/atomic.h"
#include "base/util.h"

struct wr_mpsc_node {
	struct wr_mpsc_node *next; /* [thread] the producer until pushed, then the consumer */
};

struct wr_mpsc {
	_Alignas(WR_CACHE_LINE) _Atomic(struct wr_mpsc_node *) head; /* [atomic] newest */
};

static inline void wr_mpsc_init(struct wr_mpsc *q)
{
	atomic_init(&q->head, (struct wr_mpsc_node *)NULL);
}

static inline void wr_mpsc_push(struct wr_mpsc *q, struct wr_mpsc_node *n)
{
	struct wr_mpsc_node *head = wr_load_relaxed(&q->head);

	do {
		n->next = head;
		/* A1: release for B, pairs with the acquire in wr_mpsc_take(); seq_cst for D. */
	} while (!wr_cas_seq_cst(&q->head, &head, n));
}

static inline bool wr_mpsc_is_empty(struct wr_mpsc *q)
{
	/* Guarantee D. */
	return wr_load_seq_cst(&q->head) == NULL;
}

/* All nodes, oldest first, linked by next; NULL when there are none. */
static inline struct wr_mpsc_node *wr_mpsc_take(struct wr_mpsc *q)
{
	struct wr_mpsc_node *list = NULL, *n, *next;

	if (wr_load_relaxed(&q->head) == NULL)
		return NULL;
	/*
	 * Pairs with A1. Every push but the oldest was made by a read-modify-write on top of the
	 * one before, so this acquire is ordered after all of them, not only after the newest.
	 */
	for (n = wr_exchange_acquire(&q->head, (struct wr_mpsc_node *)NULL); n != NULL; n = next) {
		next = n->next;
		n->next = list;
		list = n;
	}
	return list;
}

#endif /* WR_IO_MPSC_H */
