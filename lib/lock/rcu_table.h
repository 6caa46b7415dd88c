/* SPDX-License-Identifier: MIT */
/*
 * A hash table that is read without locks: an index from keys to the user's nodes.
 *
 * Which operations may run at once:
 *
 *              find, each     add, del, reserve
 *   find,each  yes            yes
 *   add, ...   yes            no: the caller lets one in at a time, by a lock of its own
 *
 *   (a) A find or an each is in one RCU read section, and what it gave is used in the same one.
 *   (b) A node that is in the table during all of a find is found; one that is in it during all of an
 *       each is met, once. Of what comes or goes meanwhile either may be true.
 *   (c) A node that was taken out stays readable until a grace period later (wr_rcu_call()), and
 *       is not put in again before.
 *   (d) Adding never fails: without memory to grow the chains grow longer.
 *
 * Each node has two links, and the table uses one: growing links all nodes by the other into a
 * larger array and publishes that, while readers go on in the old one. A find is about three
 * dependent loads, two thirds of the time of liburcu's cds_lfht, whose resizing also needs threads
 * of its own; `weir bench lock` has the comparison.
 */
#ifndef WR_LOCK_RCU_TABLE_H
#define WR_LOCK_RCU_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/util.h"
#include "lock/rcu.h"

/* In the user's object, which wr_container_of() finds. */
struct wr_rcu_node {
	_Atomic(struct wr_rcu_node *) next[2]; /* T1: each store pairs with the loads of a find */
	uint64_t hash;			       /* [const] while in a table; all bits are good */
};

struct wr_rcu_array {
	struct wr_rcu_head head;    /* [caller] of one that was replaced */
	struct wr_rcu_table *table; /* [const] */
	uint64_t mask;		    /* [const] */
	unsigned which;		    /* [const] the link that its chains use */
	_Atomic(struct wr_rcu_node *) chains[];
};

struct wr_rcu_table {
	_Atomic(struct wr_rcu_array *) array; /* T2: publish pairs with the load of a find */
	uint64_t nr;			      /* [caller] nodes */
	_Atomic bool is_growing;	      /* T3: false when nobody reads the array before */
};

/**
 * wr_rcu_table_open() - An empty table, in the caller's memory.
 * @nr: Room for so many nodes in short chains; it grows with more.
 *
 * Context: Any thread. Takes RCU_RUN (wr_rcu_open()).
 * Return:  0, -ENOMEM, -EAGAIN (no thread).
 */
int wr_rcu_table_open(struct wr_rcu_table *table, size_t nr) WEIR_MUST_CHECK;
/* Nodes that are in it are left alone. Nobody reads. May block. */
void wr_rcu_table_close(struct wr_rcu_table *table);

/* One at a time. May grow the table: O(nodes), once for each doubling; else O(1). */
void wr_rcu_table_add(struct wr_rcu_table *table, struct wr_rcu_node *node, uint64_t hash);
/* One at a time. The node is in the table. */
void wr_rcu_table_del(struct wr_rcu_table *table, struct wr_rcu_node *node);
/* One at a time. Grow ahead of time, so that adding up to @nr nodes does not. */
void wr_rcu_table_reserve(struct wr_rcu_table *table, size_t nr);

/* Each node, in no order, until @fn says false. In a read section, or by the one who changes it. */
void wr_rcu_table_each(struct wr_rcu_table *table, bool (*fn)(struct wr_rcu_node *node, void *arg),
		       void *arg);

/*
 * The node for which @match says true, or NULL. In a read section, or by the one who changes it.
 * Inline: a constant @match becomes part of it.
 */
static inline struct wr_rcu_node *wr_rcu_table_find(struct wr_rcu_table *table, uint64_t hash,
						    bool (*match)(struct wr_rcu_node *node,
								  const void *key),
						    const void *key)
{
	/* T2, T1: pair with the publishes in add and grow. */
	struct wr_rcu_array *array = wr_rcu_read(&table->array);
	struct wr_rcu_node *node = wr_rcu_read(&array->chains[hash & array->mask]);

	while (node != NULL && !(node->hash == hash && match(node, key)))
		node = wr_rcu_read(&node->next[array->which]);
	return node;
}

#endif /* WR_LOCK_RCU_TABLE_H */
