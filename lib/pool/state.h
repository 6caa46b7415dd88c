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

/* Everything here is [const] once the pool is open; what changes is in the zones. */
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
	uint64_t fixed_bytes; /* metadata other than the zones' bits and cells */
};

/* Forks that this process is the child of; see pool.c. */
unsigned wr_pool_fork_count(void);

#endif /* WR_POOL_STATE_H */
