/* SPDX-License-Identifier: MIT */
/*
 * Opening a pool: check the options, share the capacity out to the nodes, get the
 * memory, and build the zones over it.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"
#include "pool/debug.h"
#include "pool/magazine.h"
#include "pool/state.h"

#define KNOWN_FLAGS                                                                              \
	(WEIR_POOL_LAZY | WEIR_POOL_STRICT_NODE | WEIR_POOL_NO_MAGAZINES | WEIR_POOL_MAY_PURGE | \
	 WEIR_POOL_DEBUG)
#define ALL_KINDS	((1u << WEIR_PAGE_KINDS) - 1)
#define MIN_BLOCK_BYTES 256u
#define MAX_BLOCK_BYTES (2 * WR_POOL_MIB)
#define MAX_THREADS	1024u

_Static_assert(sizeof(struct weir_pool_opts) == 80 || sizeof(void *) != 8,
	       "a field was added to the options: copy and check it here");

static int check_opts(struct weir_pool_opts *o, struct weir_error *err)
{
	const char *what = NULL;

	if (o->block_bytes == 0)
		o->block_bytes = 4096;
	if (o->page_kinds == 0)
		o->page_kinds = ALL_KINDS;
	if (o->capacity_bytes == 0)
		what = "capacity_bytes is not set";
	else if (!wr_is_pow2(o->block_bytes) || o->block_bytes < MIN_BLOCK_BYTES ||
		 o->block_bytes > MAX_BLOCK_BYTES)
		what = "block_bytes is no power of two from 256 to 2097152";
	else if (o->page_kinds & ~ALL_KINDS)
		what = "page_kinds has a bit that is no page kind";
	else if (o->flags & ~KNOWN_FLAGS)
		what = "flags has a bit that is no flag";
	else if (o->prefault_threads > MAX_THREADS)
		what = "prefault_threads is above 1024";
	if (!what)
		return 0;
	return wr_error_set(err, -EINVAL, NULL, WEIR_OFFSET_NONE, "pool options: %s", what);
}

/* Fill the rungs with the nodes to use and their shares. */
static int share_out(const struct wr_pool_system *system, const struct weir_pool_opts *o,
		     struct wr_rung *rungs, size_t *ret_nr, struct weir_error *err)
{
	uint64_t nodes = system->nodes(system->arg);
	size_t unit = wr_max(o->block_bytes, (size_t)4096);
	size_t nr = 0;
	size_t i;
	int node;

	if (o->node_mask & ~nodes)
		return wr_error_set(err, -ENODEV, NULL, WEIR_OFFSET_NONE,
				    "node_mask names node %d, which has no memory for this process",
				    __builtin_ctzll(o->node_mask & ~nodes));
	if (o->node_mask)
		nodes = o->node_mask;
	for (node = 0; node < WR_POOL_MAX_NODES; node++)
		if (nodes & (1ull << node))
			rungs[nr++].node = node;
	if (nr == 0)
		rungs[nr++].node = -1;
	for (i = 0; i < nr; i++) {
		rungs[i].share_bytes = (size_t)wr_align_down(o->capacity_bytes / nr, unit);
	}
	if (rungs[0].share_bytes == 0)
		return wr_error_set(err, -EINVAL, NULL, WEIR_OFFSET_NONE,
				    "capacity_bytes %zu is less than a page or block for each of "
				    "%zu nodes",
				    o->capacity_bytes, nr);
	*ret_nr = nr;
	return 0;
}

/* A row: the zones by distance from a node, and by number where that is equal. */
static void sort_by_distance(const struct weir_pool *pool, int node, uint8_t *row)
{
	const struct wr_pool_system *s = pool->system;
	int distance[WR_POOL_MAX_NODES] = {0};
	size_t i, j;

	for (i = 0; i < pool->nr_zones; i++) {
		if (node >= 0)
			distance[i] = s->distance(s->arg, node, pool->zones[i].node);
		for (j = i; j > 0 && distance[row[j - 1]] > distance[i]; j--)
			row[j] = row[j - 1];
		row[j] = (uint8_t)i;
	}
}

static int build_order(struct weir_pool *pool)
{
	uint64_t nodes = pool->system->nodes(pool->system->arg);
	size_t bytes = (WR_POOL_MAX_NODES + 1) * pool->nr_zones;
	int node;

	if (pool->nr_zones == 1)
		return 0;
	pool->order = wr_calloc(1, bytes);
	if (!pool->order)
		return -ENOMEM;
	pool->fixed_bytes += bytes;
	for (node = -1; node < WR_POOL_MAX_NODES; node++)
		sort_by_distance(pool, node >= 0 && (nodes & (1ull << node)) ? node : -1,
				 pool->order + (size_t)(node + 1) * pool->nr_zones);
	return 0;
}

/* The number of this pool among all of this process, never 0; and as the top of a span's id. */
static void number_pool(struct weir_pool *pool)
{
	static _Atomic uint64_t nr_opened;
	uint64_t nr = wr_fetch_add_relaxed(&nr_opened, 1);

	pool->key = nr + 1;
	pool->id_prefix = (nr % 0xffff + 1) << WR_SPAN_POOL_SHIFT;
}

static void fini_zones(struct weir_pool *pool, size_t nr)
{
	while (nr-- > 0) {
		wr_mutex_fini(&pool->zones[nr].lock);
		wr_zone_fini(&pool->zones[nr]);
	}
}

static void add_regions(struct weir_pool *pool, struct wr_pool_zone *zone,
			const struct wr_rung *rung)
{
	const struct wr_piece *piece;

	for (piece = rung->pieces; piece < &rung->pieces[rung->nr_pieces]; piece++) {
		wr_zone_add_region(zone, pool->system->kinds[piece->kind], &piece->map,
				   piece->kind);
		pool->thp_bytes += piece->thp_bytes;
		pool->kind_bytes[piece->kind] += piece->map.bytes;
		pool->smallest_kind = wr_min(pool->smallest_kind, piece->kind);
	}
	zone->range = rung->range;
	pool->nr_blocks += zone->bytes >> pool->block_shift;
}

static int build_zones(struct weir_pool *pool, const struct wr_rung *rungs, size_t block_bytes)
{
	struct wr_pool_zone *zone;
	size_t i;
	int rc = 0;

	for (i = 0; i < pool->nr_zones && rc == 0; i++) {
		zone = &pool->zones[i];
		wr_zone_init(zone, rungs[i].node, block_bytes,
			     pool->id_prefix | (uint64_t)i << WR_SPAN_ZONE_SHIFT);
		if (rungs[i].node >= 0)
			pool->zone_of_node[rungs[i].node] = (int8_t)i;
		add_regions(pool, zone, &rungs[i]);
		rc = wr_zone_build(zone);
	}
	if (rc == 0)
		rc = build_order(pool);
	if (rc != 0)
		fini_zones(pool, i);
	return rc;
}

static int get_memory(struct weir_pool *pool, const struct weir_pool_opts *o, struct wr_rung *rungs,
		      struct weir_error *err)
{
	const char *last;
	int rc;

	rc = wr_ladder_descend(pool->system, o, rungs, pool->nr_zones, &pool->reasons,
			       &pool->populate_ns);
	if (rc == 0)
		return 0;
	/* The last step is what finally stood in the way. */
	last = pool->reasons.text ? strrchr(pool->reasons.text, '\n') : NULL;
	last = last ? last + 1 : pool->reasons.text;
	return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "no memory for the pool: %s",
			    last ? last : weir_strerror(rc));
}

static int new_pool(const struct wr_pool_system *system, size_t nr_zones, struct weir_pool **ret)
{
	struct weir_pool *pool;

	wr_threads_prepare();
	pool = wr_calloc_aligned(_Alignof(struct weir_pool), sizeof(*pool));
	if (!pool)
		return -ENOMEM;
	pool->zones =
		wr_calloc_aligned(_Alignof(struct wr_pool_zone), nr_zones * sizeof(*pool->zones));
	if (!pool->zones) {
		wr_free(pool);
		return -ENOMEM;
	}
	pool->system = system;
	pool->nr_zones = nr_zones;
	pool->fork_count = wr_pool_fork_count();
	number_pool(pool);
	wr_mutex_init(&pool->claim_lock, WR_RANK_POOL_CLAIM, "pool.claim");
	wr_mutex_init(&pool->wait_lock, WR_RANK_POOL_WAIT, "pool.wait");
	pool->smallest_kind = WEIR_PAGE_KINDS - 1;
	pool->fixed_bytes = sizeof(*pool) + nr_zones * sizeof(*pool->zones);
	memset(pool->zone_of_node, -1, sizeof(pool->zone_of_node));
	*ret = pool;
	return 0;
}

int wr_pool_open_on(const struct wr_pool_system *system, const struct weir_pool_opts *opts,
		    struct weir_pool **ret, struct weir_error *err)
{
	struct wr_rung rungs[WR_POOL_MAX_NODES] = {0};
	struct weir_pool *pool = NULL;
	struct weir_pool_opts o;
	size_t nr = 0;
	int rc;

	wr_might_block("opening a pool");
	rc = wr_opts_copy(&o, sizeof(o), opts);
	if (rc != 0)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "pool options: %s",
				    weir_strerror(rc));
	rc = check_opts(&o, err);
	if (rc == 0)
		rc = share_out(system, &o, rungs, &nr, err);
	if (rc != 0)
		return rc;
	rc = new_pool(system, nr, &pool);
	if (rc != 0)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "no memory for bookkeeping");
	pool->block_shift = (unsigned)__builtin_ctzll(o.block_bytes);
	rc = get_memory(pool, &o, rungs, err);
	if (rc != 0)
		goto free_pool;
	rc = build_zones(pool, rungs, o.block_bytes);
	if (rc == 0 && o.flags & WEIR_POOL_DEBUG) {
		rc = wr_debug_init(pool);
		if (rc != 0)
			fini_zones(pool, pool->nr_zones);
	}
	if (rc != 0) {
		wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "no memory for bookkeeping");
		goto release;
	}
	pool->fixed_bytes += pool->reasons.length;
	pool->fixed_bytes += pool->reasons.nr_steps * sizeof(*pool->reasons.steps);
	pool->may_purge = (o.flags & WEIR_POOL_MAY_PURGE) != 0;
	wr_magazines_configure(pool, (o.flags & (WEIR_POOL_NO_MAGAZINES | WEIR_POOL_DEBUG)) != 0);
	wr_threads_add_pool(pool);
	*ret = pool;
	return 0;

release:
	wr_ladder_release(system, rungs, nr);
free_pool:
	wr_mutex_fini(&pool->claim_lock);
	wr_mutex_fini(&pool->wait_lock);
	wr_reasons_fini(&pool->reasons);
	wr_free(pool->order);
	wr_free(pool->zones);
	wr_free(pool);
	return rc;
}

int weir_pool_open(const struct weir_pool_opts *opts, struct weir_pool **ret,
		   struct weir_error *err)
{
	return wr_pool_open_on(wr_pool_system_real(), opts, ret, err);
}
