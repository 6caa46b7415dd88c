/* SPDX-License-Identifier: MIT */
/*
 * Pieces of a few spans. What is free is a list in the order of addresses, whose links lie in the
 * free memory itself; a thing is large and a read is long, so the list is walked.
 */
#include "cache/tier_packed.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/util.h"
#include "lock/lock.h"

#define MAX_SPANS 64u
/* Others may take from the pool between looking and taking. */
#define NR_TRIES 100

struct piece {
	struct piece *next;
	size_t bytes;
};

struct wr_packed {
	struct weir_pool *pool;		   /* [const] */
	uint32_t nr_spans;		   /* [const] after open */
	struct weir_span spans[MAX_SPANS]; /* [const] after open */
	struct wr_mutex lock WR_RANKED(CACHE_SYNC);
	struct piece *first WR_GUARDED_BY(lock);
};

/* Reads land in registered memory, one region of it at a time: spans are not joined. */
static bool begins_span(const struct wr_packed *p, const void *at)
{
	for (uint32_t i = 0; i < p->nr_spans; i++)
		if (p->spans[i].base == at)
			return true;
	return false;
}

static char *end_of(struct piece *piece)
{
	return (char *)piece + piece->bytes;
}

static void give(struct wr_packed *p, void *base, size_t bytes) WR_REQUIRES(p->lock)
{
	struct piece **link = &p->first, *before = NULL, *here = base;

	while (*link && (char *)*link < (char *)base) {
		before = *link;
		link = &before->next;
	}
	here->next = *link;
	here->bytes = bytes;
	*link = here;
	if (here->next && end_of(here) == (char *)here->next && !begins_span(p, here->next)) {
		here->bytes += here->next->bytes;
		here->next = here->next->next;
	}
	if (before && end_of(before) == (char *)here && !begins_span(p, here)) {
		before->bytes += here->bytes;
		before->next = here->next;
	}
}

static int packed_alloc(void *tier, size_t bytes, struct weir_tier_mem *ret)
{
	struct wr_packed *p = tier;
	struct piece **best = NULL, *piece;

	wr_mutex_lock(&p->lock);
	for (struct piece **link = &p->first; *link; link = &(*link)->next)
		if ((*link)->bytes >= bytes && (!best || (*link)->bytes < (*best)->bytes))
			best = link;
	if (!best) {
		wr_mutex_unlock(&p->lock);
		return -ENOSPC;
	}
	piece = *best;
	piece->bytes -= bytes;
	*ret = (struct weir_tier_mem){.base = end_of(piece), .bytes = bytes};
	if (!piece->bytes)
		*best = piece->next;
	wr_mutex_unlock(&p->lock);
	return 0;
}

static void packed_free(void *tier, const struct weir_tier_mem *mem)
{
	struct wr_packed *p = tier;

	wr_mutex_lock(&p->lock);
	give(p, mem->base, mem->bytes);
	wr_mutex_unlock(&p->lock);
}

const struct weir_tier_ops wr_cache_packed_ops = {
	.size = sizeof(wr_cache_packed_ops), .alloc = packed_alloc, .free = packed_free};

/* The largest free run of the pool, or what is still missing. */
static int add_span(struct wr_packed *p, uint64_t missing, uint64_t *ret)
{
	struct weir_span *span = &p->spans[p->nr_spans];
	int rc = -ENOSPC;

	if (p->nr_spans == MAX_SPANS)
		return -ENOSPC;
	for (int i = 0; rc == -ENOSPC && i < NR_TRIES; i++) {
		struct weir_pool_stats stats;
		uint64_t bytes;

		weir_pool_stats(p->pool, &stats);
		bytes = wr_min(missing, (uint64_t)stats.largest_free_bytes);
		if (bytes < WEIR_TIER_ALIGN)
			return -ENOSPC;
		rc = weir_pool_alloc(p->pool, (size_t)bytes, WEIR_NODE_ANY, span);
	}
	if (rc)
		return rc;
	p->nr_spans++;
	*ret = wr_align_down(span->bytes, WEIR_TIER_ALIGN);
	return 0;
}

int wr_packed_open(struct weir_pool *pool, uint64_t bytes, struct wr_packed **ret)
{
	struct wr_packed *p = wr_calloc(1, sizeof(*p));
	int rc = 0;

	if (!p)
		return -ENOMEM;
	p->pool = pool;
	wr_mutex_init(&p->lock, WR_RANK_CACHE_SYNC, "cache.packed");
	wr_mutex_lock(&p->lock);
	for (uint64_t have = 0, more = 0; !rc && have < bytes; have += more) {
		wr_mutex_unlock(&p->lock);
		rc = add_span(p, bytes - have, &more);
		wr_mutex_lock(&p->lock);
		if (!rc)
			give(p, p->spans[p->nr_spans - 1].base, more);
	}
	wr_mutex_unlock(&p->lock);
	if (rc)
		wr_packed_close(p);
	else
		*ret = p;
	return rc;
}

void wr_packed_close(struct wr_packed *p)
{
	if (!p)
		return;
	for (uint32_t i = 0; i < p->nr_spans; i++) {
		int rc = weir_pool_free(p->pool, p->spans[i]);

		wr_assert(!rc);
		(void)rc;
	}
	wr_mutex_fini(&p->lock);
	wr_free(p);
}
