/* SPDX-License-Identifier: MIT */
/*
 * Slabs; see slab.h. One lock for all of a pool's: who has many small things has a heap for
 * them. A thread takes from slabs of its own node, if there is room on it.
 */
#include "pool/slab.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"
#include "lock/lock.h"
#include "pool/state.h"

#define FIRST_SHIFT 8u	/* 256 bytes */
#define MOST_SHIFT  6u	/* 64 objects, a bit each */
#define CLASSES	    13u /* 256 bytes to half of the largest block, which is 2 MiB */

_Static_assert(FIRST_SHIFT + CLASSES == 21, "a class for each power of two below 2 MiB");

/* One slab. [POOL_SLAB] */
struct slab {
	struct weir_span span;
	uint64_t free; /* bit set: the object is */
	struct slab *next, *before;
	unsigned zone;
	unsigned shift; /* log2 of an object's size */
};

struct slab_zone {
	struct slab **of;	       /* [POOL_SLAB] by block, NULL: none there */
	struct slab *partial[CLASSES]; /* [POOL_SLAB] those with a free object */
};

struct wr_slabs {
	struct wr_mutex lock WR_RANKED(POOL_SLAB);
	_Atomic uint64_t nr_slabs;   /* [atomic] written under the lock */
	_Atomic uint64_t nr_objects; /* [atomic] the same */
	struct slab_zone zones[];
};

static void free_slabs(struct weir_pool *pool, struct wr_slabs *slabs)
{
	uint64_t block;
	size_t i;

	for (i = 0; i < pool->nr_zones; i++) {
		/* Only those that were not given back: a leak of the caller's, told elsewhere. */
		for (block = 0; wr_load_relaxed(&slabs->nr_slabs) > 0 && slabs->zones[i].of &&
				block < pool->zones[i].buddy.nr_blocks;
		     block++)
			wr_free(slabs->zones[i].of[block]);
		wr_free(slabs->zones[i].of);
	}
	wr_free(slabs);
}

static struct wr_slabs *new_slabs(struct weir_pool *pool)
{
	struct wr_slabs *slabs =
		wr_calloc(1, sizeof(*slabs) + pool->nr_zones * sizeof(slabs->zones[0]));
	size_t i;

	for (i = 0; slabs && i < pool->nr_zones; i++) {
		/* Zeroed, and for all but small pools not touched for that. */
		slabs->zones[i].of = wr_calloc((size_t)pool->zones[i].buddy.nr_blocks,
					       sizeof(*slabs->zones[i].of));
		if (!slabs->zones[i].of) {
			free_slabs(pool, slabs);
			return NULL;
		}
	}
	return slabs;
}

/* The pool's slabs, made by the first use; NULL without memory. */
static struct wr_slabs *get_slabs(struct weir_pool *pool)
{
	struct wr_slabs *slabs = wr_load_acquire(&pool->slabs); /* L1 */
	struct wr_slabs *other = NULL;

	if (slabs)
		return slabs;
	slabs = new_slabs(pool);
	if (!slabs)
		return NULL;
	wr_mutex_init(&slabs->lock, WR_RANK_POOL_SLAB, "pool.slab");
	/* L1: pairs with the acquires above and in those who only look. */
	if (wr_cas_acq_rel(&pool->slabs, &other, slabs))
		return slabs;
	wr_mutex_fini(&slabs->lock);
	free_slabs(pool, slabs);
	return other;
}

/* log2 of the size of an object for so many bytes; 0: they are for a block of their own. */
static unsigned shift_for(const struct weir_pool *pool, size_t bytes)
{
	unsigned least =
		wr_max(FIRST_SHIFT, pool->block_shift - wr_min(pool->block_shift, MOST_SHIFT));
	unsigned shift = bytes > 1 ? 64u - (unsigned)__builtin_clzll(bytes - 1) : 0;

	shift = wr_max(shift, least);
	return shift < pool->block_shift ? shift : 0;
}

static struct slab **list_of(struct wr_slabs *slabs, unsigned zone, unsigned shift)
{
	return &slabs->zones[zone].partial[shift - FIRST_SHIFT];
}

static void link_slab(struct wr_slabs *slabs, struct slab *slab)
{
	struct slab **list = list_of(slabs, slab->zone, slab->shift);

	slab->before = NULL;
	slab->next = *list;
	if (*list)
		(*list)->before = slab;
	*list = slab;
}

static void unlink_slab(struct wr_slabs *slabs, struct slab *slab)
{
	if (slab->before)
		slab->before->next = slab->next;
	else
		*list_of(slabs, slab->zone, slab->shift) = slab->next;
	if (slab->next)
		slab->next->before = slab->before;
}

static unsigned nearest_zone(const struct weir_pool *pool)
{
	int node;

	if (pool->nr_zones == 1)
		return 0;
	node = pool->system->current_node(pool->system->arg);
	if (node < 0 || node >= WR_POOL_MAX_NODES)
		node = -1;
	return pool->order[(size_t)(node + 1) * pool->nr_zones];
}

/* A slab with all objects free, in its list. */
static struct slab *add_slab(struct weir_pool *pool, struct wr_slabs *slabs, unsigned shift)
	WR_REQUIRES(slabs->lock)
{
	size_t block_bytes = (size_t)1 << pool->block_shift;
	unsigned nr = 1u << (pool->block_shift - shift);
	struct slab *slab = wr_calloc(1, sizeof(*slab));

	if (!slab)
		return NULL;
	if (weir_pool_alloc(pool, block_bytes - 1, WEIR_NODE_ANY, &slab->span) != 0) {
		wr_free(slab);
		return NULL;
	}
	slab->zone = wr_span_zone(slab->span.id);
	slab->shift = shift;
	slab->free = nr == 64 ? UINT64_MAX : (1ull << nr) - 1;
	slabs->zones[slab->zone].of[slab->span.id & WR_SPAN_BLOCK_MASK] = slab;
	link_slab(slabs, slab);
	wr_fetch_add_relaxed(&slabs->nr_slabs, 1);
	return slab;
}

void *wr_slab_alloc(struct weir_pool *pool, size_t bytes)
{
	unsigned shift = shift_for(pool, bytes);
	struct wr_slabs *slabs;
	struct slab *slab;
	void *p = NULL;
	unsigned i;

	if (shift == 0 || pool->debug)
		return NULL;
	slabs = get_slabs(pool);
	if (!slabs)
		return NULL;
	wr_mutex_lock(&slabs->lock);
	slab = *list_of(slabs, nearest_zone(pool), shift);
	if (!slab)
		slab = add_slab(pool, slabs, shift);
	if (slab) {
		i = (unsigned)__builtin_ctzll(slab->free);
		slab->free &= slab->free - 1;
		if (slab->free == 0)
			unlink_slab(slabs, slab);
		wr_fetch_add_relaxed(&slabs->nr_objects, 1);
		p = (uint8_t *)slab->span.base + ((size_t)i << shift);
	}
	wr_mutex_unlock(&slabs->lock);
	return p;
}

/* The slab that a pointer lies in. */
static struct slab *slab_at(struct weir_pool *pool, struct wr_slabs *slabs, const void *ptr)
	WR_REQUIRES(slabs->lock)
{
	uint64_t offset;
	size_t i;

	for (i = 0; i < pool->nr_zones; i++) {
		offset = (uintptr_t)ptr - (uintptr_t)pool->zones[i].base;
		if (offset < pool->zones[i].bytes)
			return slabs->zones[i].of[offset >> pool->block_shift];
	}
	return NULL;
}

/* The bit of the live object that begins at a pointer into a slab; 0: none does. */
static uint64_t object_at(const struct slab *slab, const void *ptr)
{
	size_t offset = (size_t)((const uint8_t *)ptr - (const uint8_t *)slab->span.base);
	uint64_t bit = 1ull << (offset >> slab->shift);

	return offset % ((size_t)1 << slab->shift) == 0 && !(slab->free & bit) ? bit : 0;
}

/* The last object of a slab is free: it is a block again. */
static void remove_slab(struct weir_pool *pool, struct wr_slabs *slabs, struct slab *slab)
	WR_REQUIRES(slabs->lock)
{
	int rc;

	unlink_slab(slabs, slab);
	slabs->zones[slab->zone].of[slab->span.id & WR_SPAN_BLOCK_MASK] = NULL;
	wr_fetch_sub_relaxed(&slabs->nr_slabs, 1);
	rc = weir_pool_span_free(pool, &slab->span);
	wr_assert(rc == 0);
	(void)rc;
	wr_free(slab);
}

int wr_slab_free(struct weir_pool *pool, const void *ptr)
{
	struct wr_slabs *slabs = wr_load_acquire(&pool->slabs); /* L1 */
	struct slab *slab;
	uint64_t bit;
	int rc = 0;

	if (!slabs)
		return -ENOENT;
	wr_mutex_lock(&slabs->lock);
	slab = slab_at(pool, slabs, ptr);
	bit = slab ? object_at(slab, ptr) : 0;
	if (bit != 0) {
		if (slab->free == 0)
			link_slab(slabs, slab);
		slab->free |= bit;
		wr_fetch_sub_relaxed(&slabs->nr_objects, 1);
		if ((uint64_t)__builtin_popcountll(slab->free) << slab->shift ==
		    1ull << pool->block_shift)
			remove_slab(pool, slabs, slab);
	} else {
		rc = slab ? -EINVAL : -ENOENT;
	}
	wr_mutex_unlock(&slabs->lock);
	return rc;
}

int wr_slab_find(struct weir_pool *pool, const void *ptr, size_t *ret)
{
	struct wr_slabs *slabs = wr_load_acquire(&pool->slabs); /* L1 */
	const struct slab *slab;
	int rc = -ENOENT;

	if (!slabs)
		return -ENOENT;
	wr_mutex_lock(&slabs->lock);
	slab = slab_at(pool, slabs, ptr);
	if (slab)
		rc = object_at(slab, ptr) != 0 ? 0 : -EINVAL;
	if (rc == 0)
		*ret = (size_t)1 << slab->shift;
	wr_mutex_unlock(&slabs->lock);
	return rc;
}

void wr_slab_add_stats(struct weir_pool *pool, struct weir_pool_stats *sum)
{
	const struct wr_slabs *slabs = wr_load_acquire(&pool->slabs); /* L1 */
	uint64_t nr, index;

	if (!slabs)
		return;
	nr = wr_load_relaxed(&slabs->nr_slabs);
	index = pool->nr_blocks * sizeof(*slabs->zones[0].of);
	sum->slab_bytes = nr << pool->block_shift;
	sum->nr_slab_objects = wr_load_relaxed(&slabs->nr_objects);
	sum->metadata_bytes += sizeof(*slabs) + pool->nr_zones * sizeof(slabs->zones[0]) +
			       nr * sizeof(struct slab) + wr_min(index, nr * 4096);
}

void wr_slab_fini(struct weir_pool *pool, bool ours)
{
	struct wr_slabs *slabs = wr_load_acquire(&pool->slabs); /* L1 */

	if (!slabs)
		return;
	if (ours)
		wr_mutex_fini(&slabs->lock);
	free_slabs(pool, slabs);
	wr_store_relaxed(&pool->slabs, NULL);
}
