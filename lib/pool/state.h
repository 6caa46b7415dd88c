/* SPDX-License-Identifier: MIT */
/*
 * pool/state.h - The pool itself: zones, the threads' magazines, and what was chosen when
 * it was opened.
 */
#ifndef WR_POOL_STATE_H
#define WR_POOL_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/pool.h>

#include "pool/ladder.h"
#include "pool/provider.h"
#include "pool/zone.h"

/* Orders that magazines may have: 256 bytes to 2 MiB. */
#define WR_MAGAZINE_ORDERS 14u

struct wr_pool_set;
struct wr_handles;
struct wr_pool_waiter;
struct wr_debug;
struct wr_slabs;

/* Fields without a mark are [const] once the pool is open. */
struct weir_pool {
	/* What each call reads. */
	uint64_t key;	    /* no other pool of this process ever has it */
	uint64_t id_prefix; /* this pool's part of a span id */
	size_t nr_zones;
	size_t magazine_limit; /* the largest size kept in magazines, 0: none */
	unsigned block_shift;  /* log2 of the smallest block */
	unsigned fork_count;   /* of the process that opened it */
	struct wr_pool_zone *zones;
	const struct wr_pool_system *system;

	uint64_t nr_blocks;			/* of all zones */
	int8_t zone_of_node[WR_POOL_MAX_NODES]; /* -1: none */
	uint8_t *order; /* row n + 1: the zones by distance from node n; row 0: unknown */
	int smallest_kind;
	bool may_purge;
	struct wr_debug *debug; /* NULL without WEIR_POOL_DEBUG; see debug.h */
	struct wr_reasons reasons;
	uint64_t populate_ns;
	uint64_t thp_bytes;
	uint64_t kind_bytes[WEIR_PAGE_KINDS];
	/* Metadata other than the zones' bits and cells, the sets, and handles. */
	uint64_t fixed_bytes;
	_Atomic(struct wr_handles *) handles; /* [atomic] made by the first use */
	_Atomic(struct wr_slabs *) slabs;     /* [atomic] made by the first use */
	size_t set_bytes;		      /* of a thread's set of magazines */
	uint32_t magazine_caps[WR_MAGAZINE_ORDERS];

	_Alignas(WR_CACHE_LINE) struct wr_mutex claim_lock WR_RANKED(POOL_CLAIM);
	uint32_t nr_sets;		/* [POOL_CLAIM] */
	_Atomic uint64_t shut_count;	/* [atomic] written under the claim lock; see claim.c */
	_Atomic uint64_t nr_bad_frees;	/* [atomic] */
	_Atomic uint64_t nr_overwrites; /* [atomic] */
	struct weir_pool *next_open;	/* [POOL_THREADS] */

	struct wr_mutex wait_lock WR_RANKED(POOL_WAIT);
	struct wr_pool_waiter *first_waiter; /* [POOL_WAIT] in the order of their coming */
	struct wr_pool_waiter *last_waiter;  /* [POOL_WAIT] */
	_Atomic uint32_t nr_waiters;	     /* [atomic] written under the wait lock */

	/* By number from 1. [atomic] written under the claim lock, each once. */
	_Atomic(struct wr_pool_set *) sets[WR_CELL_MAX_OWNER + 1];
};

/* False in a fork child of the process that opened the pool. */
bool wr_pool_is_ours(const struct weir_pool *pool);

/* A way to take a span from one zone: 0, -EINVAL, -ENOSPC. */
typedef int wr_zone_take_fn(struct wr_pool_zone *zone, size_t bytes, size_t align,
			    struct weir_span *ret);

/*
 * weir_pool_alloc() of a pool that is ours, taking from each zone as told; NULL: from this
 * thread's magazines first, which have no more than the natural alignment: @align is 1.
 */
int wr_pool_alloc_by(struct weir_pool *pool, size_t bytes, size_t align, int node,
		     wr_zone_take_fn *take, struct weir_span *ret);

/* Forks that this process is the child of; see pool.c. */
unsigned wr_pool_fork_count(void);
void wr_pool_count_fork(void);

/* weir_pool_alloc_wait() of a pool that is ours and not debugged. */
int wr_wait_alloc(struct weir_pool *pool, size_t bytes, int node, uint64_t timeout_ns,
		  struct weir_span *ret);

/* Whether a span is live, as weir_pool_free() would find: 0, -EINVAL, -ESTALE. */
int wr_pool_check_span(struct weir_pool *pool, const struct weir_span *span);

/* Before the first pool: what threads and forks need; see thread.c. */
void wr_threads_prepare(void);

#endif /* WR_POOL_STATE_H */
