/* SPDX-License-Identifier: MIT */
/*
 * The order of locks as it was seen: a graph whose nodes are classes, a class being a rank and a
 * name, with an edge from what was held to what was taken under it. An edge that closes a cycle is
 * a fault, even if the threads that walked its parts never met. Checked builds only.
 *
 * Only new edges are looked at: a matrix of bits says for each class what can be reached from it,
 * so the question "does this close a cycle" is one bit, and adding an edge touches as many rows as
 * there are classes before it. Each edge keeps the first stack by which it was made. A fault adds
 * no edge: otherwise the right order would be reported afterwards.
 *
 * In front of the graph stands a table of chains: a number made from the classes a thread holds, in
 * their order, and the one it takes. A chain found there was checked before; that is the usual case
 * and costs one load. Two chains share a number with probability 2^-64.
 */
#ifndef WR_LOCK_GRAPH_H
#define WR_LOCK_GRAPH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "lock/lock.h"

#if WR_LOCK_CHECK

/* Classes that can be told apart; locks of later ones are not ordered by the graph. */
#define WR_GRAPH_CLASSES 256
#define WR_GRAPH_EDGES	 8192

/* The lock's class, from 1 on; 0 when there are too many. Takes a mutex the first time. */
uint32_t wr_graph_class(struct wr_lock *lock);

enum wr_graph_verdict {
	WR_GRAPH_KNOWN, /* the edge is there, or cannot be followed */
	WR_GRAPH_NEW,
	WR_GRAPH_CYCLE,
};

/* Learn that @to was taken under @from; @ret_nr: of a cycle, classes on the shortest way round. */
enum wr_graph_verdict wr_graph_learn(uint32_t from, uint32_t to, unsigned *ret_nr);

/* Edges on the shortest way from @from to @to, with their stacks, to stderr. */
void wr_graph_print_way(uint32_t from, uint32_t to);

/* What the graph holds, edge by edge in the order they were made. */
struct wr_graph_edge {
	const char *from, *to; /* names */
	enum wr_lock_rank from_rank, to_rank;
};

unsigned wr_graph_nr_edges(void);
struct wr_graph_edge wr_graph_edge(unsigned i);

/* Forget all edges and chains; no thread may be taking locks. */
void wr_graph_reset(void);

/*
 * The table of chains: a cache, so an entry may be lost to another and is then checked again. A
 * chain is 0 when nothing is held.
 */
#define WR_GRAPH_CHAIN_BITS 13
extern _Atomic uint64_t wr_graph_chains[1u << WR_GRAPH_CHAIN_BITS]; /* [atomic] */

static inline uint64_t wr_graph_chain(uint64_t chain, uint32_t class_id)
{
	return (((chain << 7) | (chain >> 57)) ^ class_id) * UINT64_C(0x9e3779b97f4a7c15);
}

static inline bool wr_graph_chain_known(uint64_t chain)
{
	return wr_load_relaxed(&wr_graph_chains[chain >> (64 - WR_GRAPH_CHAIN_BITS)]) == chain;
}

static inline void wr_graph_chain_add(uint64_t chain)
{
	wr_store_relaxed(&wr_graph_chains[chain >> (64 - WR_GRAPH_CHAIN_BITS)], chain);
}

#endif /* WR_LOCK_CHECK */

#endif /* WR_LOCK_GRAPH_H */
