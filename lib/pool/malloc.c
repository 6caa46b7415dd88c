/* SPDX-License-Identifier: MIT */
/*
 * Allocations named by their first byte. What a span carries is read out of the cell of the
 * block that the pointer leads to; a cell that has no live span there ends the matter.
 */
#include <weir/pool_malloc.h>

#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "pool/debug.h"
#include "pool/magazine.h"
#include "pool/slab.h"
#include "pool/state.h"

static __attribute__((noinline)) void *malloc_slowly(struct weir_pool *pool, size_t bytes)
{
	struct weir_span span;
	void *p;

	if (!pool || !wr_pool_is_ours(pool))
		return NULL;
	p = wr_slab_alloc(pool, bytes);
	if (p)
		return p;
	if (weir_pool_alloc(pool, bytes > 0 ? bytes : 1, WEIR_NODE_ANY, &span) != 0)
		return NULL;
	return span.base;
}

void *weir_pool_malloc(struct weir_pool *pool, size_t bytes)
{
	struct wr_pool_set *set = wr_pool_tls.set;
	uint64_t block, word;

	if (WR_LIKELY(wr_load_relaxed(&wr_pool_tls.pool) == pool) &&
	    WR_LIKELY(wr_fast_pop(set, bytes, &block, &word)))
		return set->base + block * set->block_bytes;
	return malloc_slowly(pool, bytes);
}

/* The live span that begins at a pointer. */
static int span_at(struct weir_pool *pool, const void *ptr, struct weir_span *ret)
{
	struct wr_pool_zone *zone;
	uint64_t block, word, offset;
	size_t i;

	for (i = 0; i < pool->nr_zones; i++) {
		zone = &pool->zones[i];
		offset = (uintptr_t)ptr - (uintptr_t)zone->base;
		if (offset >= zone->bytes)
			continue;
		block = offset >> pool->block_shift;
		if (block << pool->block_shift != offset)
			return -EINVAL;
		word = wr_cell_load(&zone->cells[block]);
		if (wr_cell_generation(word) % 2 == 0)
			return -EINVAL;
		ret->base = zone->base + offset;
		ret->bytes = (size_t)wr_cell_nr_blocks(&zone->cells[block], word, pool->block_shift)
			     << pool->block_shift;
		ret->id = zone->id_prefix | block;
		ret->generation = wr_cell_generation(word);
		ret->node = zone->node;
		if (pool->debug)
			ret->bytes -= (size_t)1 << pool->block_shift;
		return 0;
	}
	return -EINVAL;
}

static WR_INLINE bool fast_free(struct wr_pool_set *set, const void *ptr)
{
	uint64_t offset = (uintptr_t)ptr - (uintptr_t)set->base;
	unsigned shift = set->block_shift;
	/* Turned round, so that an offset within a block is no block's number. */
	uint64_t block = offset >> shift | offset << (64 - shift);
	struct wr_magazine *m;
	uint64_t word;

	if (WR_UNLIKELY(block >= set->nr_blocks) ||
	    WR_UNLIKELY(wr_gate_enter_fast(&set->gate) != 0))
		return false;
	word = wr_cell_load(&set->cells[block]);
	m = wr_magazine_at(set, word & WR_CELL_SIZE_MASK);
	/* Its half for the span is all that counts: a pointer has no generation. */
	if (WR_UNLIKELY((uint32_t)word != m->low_word) ||
	    WR_UNLIKELY(!wr_fast_push(set, m, block, word))) {
		wr_gate_leave(&set->gate);
		return false;
	}
	wr_gate_leave(&set->gate);
	return true;
}

static __attribute__((noinline)) int free_slowly(struct weir_pool *pool, const void *ptr)
{
	struct weir_span span;
	int rc;

	if (!ptr)
		return 0;
	if (!pool || !wr_pool_is_ours(pool))
		return -EINVAL;
	rc = wr_slab_free(pool, ptr);
	if (rc == 0)
		return 0;
	/* A span that ends between the look and the free was freed by two; so says the free. */
	if (rc == -EINVAL || span_at(pool, ptr, &span) != 0) {
		wr_fetch_add_relaxed(&pool->nr_bad_frees, 1);
		if (pool->debug)
			wr_debug_report_ptr(pool, ptr);
		return -EINVAL;
	}
	return weir_pool_free(pool, span) == 0 ? 0 : -EINVAL;
}

int weir_pool_ptr_free(struct weir_pool *pool, void *ptr)
{
	if (WR_LIKELY(wr_load_relaxed(&wr_pool_tls.pool) == pool) &&
	    fast_free(wr_pool_tls.set, ptr))
		return 0;
	return free_slowly(pool, ptr);
}

size_t weir_pool_usable_bytes(struct weir_pool *pool, const void *ptr)
{
	struct weir_span span;
	size_t bytes;
	int rc;

	if (!ptr || !pool || !wr_pool_is_ours(pool))
		return 0;
	rc = wr_slab_find(pool, ptr, &bytes);
	if (rc == 0)
		return bytes;
	return rc == -ENOENT && span_at(pool, ptr, &span) == 0 ? span.bytes : 0;
}

void *weir_pool_realloc(struct weir_pool *pool, void *ptr, size_t bytes)
{
	size_t old;
	void *p;

	if (!ptr)
		return weir_pool_malloc(pool, bytes);
	old = weir_pool_usable_bytes(pool, ptr);
	if (old == 0)
		return NULL;
	if (bytes <= old && (bytes > old / 2 || old <= (size_t)1 << pool->block_shift))
		return ptr;
	p = weir_pool_malloc(pool, bytes);
	if (!p)
		return NULL;
	memcpy(p, ptr, wr_min(old, bytes));
	(void)weir_pool_ptr_free(pool, ptr);
	return p;
}
