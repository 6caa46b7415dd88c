/* SPDX-License-Identifier: MIT */
/*
 * pool/state.h - The pool itself: zones, and what was chosen when it was opened.
 */
#ifndef WR_POOL_STATE_H
#define WR_POOL_STATE_H

#include <stdint.h>

#include <weir/pool.h>

#include "pool/ladder.h"
#include "pool/provider.h"
#include "pool/zone.h"

struct wr_handles;

/*
 * Everything here is [const] once the pool is open, but @handles; what changes is in the
 * zones and behind it.
 */
struct weir_pool {
	const struct wr_pool_system *system;
	unsigned fork_count; /* of the process that opened it */
	uint64_t id_prefix;  /* this pool's part of a span id */
	size_t nr_zones;
	struct wr_pool_zone *zones;
	int8_t zone_of_node[WR_POOL_MAX_NODES]; /* -1: none */
	uint8_t *order; /* row n + 1: the zones by distance from node n; row 0: unknown */
	int smallest_kind;
	struct wr_reasons reasons;
	uint64_t populate_ns;
	uint64_t thp_bytes;
	uint64_t fixed_bytes; /* metadata other than the zones' bits and cells, and handles */
	_Atomic(struct wr_handles *) handles; /* [atomic] made by the first use */
};

/* False in a fork child of the process that opened the pool. */
bool wr_pool_is_ours(const struct weir_pool *pool);

/* A way to take a span from one zone: 0, -EINVAL, -ENOSPC. */
typedef int wr_zone_take_fn(struct wr_pool_zone *zone, size_t bytes, struct weir_span *ret);

/* weir_pool_alloc() of a pool that is ours, taking from each zone as told. */
int wr_pool_alloc_by(struct weir_pool *pool, size_t bytes, int node, wr_zone_take_fn *take,
		     struct weir_span *ret);

/* Forks that this process is the child of; see pool.c. */
unsigned wr_pool_fork_count(void);

#endif /* WR_POOL_STATE_H */
