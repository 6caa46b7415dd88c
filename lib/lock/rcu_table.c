/* SPDX-License-Identifier: MIT */
/*
 * Changing a table while it is read. Only the one who changes it comes here, but for each().
 *
 * Growing needs the nodes' other link, which readers of the array before may still follow. So an
 * array is replaced only when a grace period has passed since the last one was; until then chains
 * are longer than they might be.
 */
#include "lock/rcu_table.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"
#include "lock/rcu.h"

#define NR_LEAST 16

static struct wr_rcu_array *new_array(struct wr_rcu_table *table, size_t nr, unsigned which)
{
	struct wr_rcu_array *array;
	size_t nr_chains = NR_LEAST, bytes;

	while (nr_chains < nr && nr_chains <= SIZE_MAX / 2)
		nr_chains *= 2;
	if (wr_mul_overflow(nr_chains, sizeof(array->chains[0]), &bytes) ||
	    wr_add_overflow(bytes, sizeof(*array), &bytes))
		return NULL;
	array = wr_calloc(1, bytes);
	if (array == NULL)
		return NULL;
	array->table = table;
	array->mask = nr_chains - 1;
	array->which = which;
	return array;
}

int wr_rcu_table_open(struct wr_rcu_table *table, size_t nr)
{
	struct wr_rcu_array *array;
	int rc = wr_rcu_open();

	if (rc != 0)
		return rc;
	array = new_array(table, nr, 0);
	if (array == NULL) {
		wr_rcu_close();
		return -ENOMEM;
	}
	table->nr = 0;
	wr_store_relaxed(&table->is_growing, false);
	wr_rcu_publish(&table->array, array);
	return 0;
}

void wr_rcu_table_close(struct wr_rcu_table *table)
{
	if (table == NULL)
		return;
	/* The array before may still have to go, and it knows the table. */
	wr_rcu_close();
	wr_assert(!wr_load_relaxed(&table->is_growing));
	wr_free(wr_load_relaxed(&table->array));
}

static void link_node(struct wr_rcu_array *array, struct wr_rcu_node *node)
{
	_Atomic(struct wr_rcu_node *) *chain = &array->chains[node->hash & array->mask];

	wr_store_relaxed(&node->next[array->which], wr_load_relaxed(chain));
	/* T1: pairs with the loads in wr_rcu_table_find(). */
	wr_rcu_publish(chain, node);
}

static void free_array(struct wr_rcu_head *head)
{
	struct wr_rcu_array *array = wr_container_of(head, struct wr_rcu_array, head);
	struct wr_rcu_table *table = array->table;

	wr_free(array);
	/* T3: pairs with the acquire in wr_rcu_table_reserve(). */
	wr_store_release(&table->is_growing, false);
}

void wr_rcu_table_reserve(struct wr_rcu_table *table, size_t nr)
{
	struct wr_rcu_array *from = wr_load_relaxed(&table->array), *to;

	/* T3: pairs with the release in free_array(). */
	if (nr <= from->mask + 1 || wr_load_acquire(&table->is_growing))
		return;
	to = new_array(table, nr, !from->which);
	if (to == NULL)
		return;
	for (uint64_t i = 0; i <= from->mask; i++) {
		struct wr_rcu_node *node = wr_load_relaxed(&from->chains[i]);

		for (; node != NULL; node = wr_load_relaxed(&node->next[from->which]))
			link_node(to, node);
	}
	wr_store_relaxed(&table->is_growing, true);
	/* T2: pairs with the load in wr_rcu_table_find(). */
	wr_rcu_publish(&table->array, to);
	wr_rcu_call(&from->head, free_array);
}

void wr_rcu_table_add(struct wr_rcu_table *table, struct wr_rcu_node *node, uint64_t hash)
{
	node->hash = hash;
	wr_rcu_table_reserve(table, (size_t)++table->nr);
	link_node(wr_load_relaxed(&table->array), node);
}

void wr_rcu_table_del(struct wr_rcu_table *table, struct wr_rcu_node *node)
{
	struct wr_rcu_array *array = wr_load_relaxed(&table->array);
	_Atomic(struct wr_rcu_node *) *link = &array->chains[node->hash & array->mask];

	while (wr_load_relaxed(link) != node) {
		wr_assert(wr_load_relaxed(link) != NULL);
		link = &wr_load_relaxed(link)->next[array->which];
	}
	/* Readers at the node go on from it: its own link stays. T1 as in link_node(). */
	wr_rcu_publish(link, wr_load_relaxed(&node->next[array->which]));
	table->nr--;
}

void wr_rcu_table_each(struct wr_rcu_table *table, bool (*fn)(struct wr_rcu_node *node, void *arg),
		       void *arg)
{
	struct wr_rcu_array *array = wr_rcu_read(&table->array);

	for (uint64_t i = 0; i <= array->mask; i++) {
		struct wr_rcu_node *node = wr_rcu_read(&array->chains[i]);

		while (node != NULL) {
			/* Whoever changes the table may take it out, and free it, in fn. */
			struct wr_rcu_node *next = wr_rcu_read(&node->next[array->which]);

			if (!fn(node, arg))
				return;
			node = next;
		}
	}
}
