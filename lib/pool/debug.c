/* SPDX-License-Identifier: MIT */
/*
 * Finding who writes where he should not. Behind the bytes that were asked for, up to the
 * end of the guard block, lies a pattern, checked when the span is freed; what is freed is
 * filled with another one, checked when a block of it is given out again. A finding is a
 * line in the log with the tag of the allocation and a count in the statistics; nothing is
 * refused for it.
 *
 * Checking, filling and freeing are one under the debug lock, so that of two frees of a
 * span the second does not fill what is another's by then.
 */
#include "pool/debug.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "pool/magazine.h"
#include "pool/state.h"

#define NEW_BYTE   0xcd
#define FREE_BYTE  0xdd
#define GUARD_BYTE 0xfb

#define MOST_LINES 32u

/* What is known of each block. Of a span, all of it at its first block but @is_filled. */
struct wr_debug_zone {
	const char **tags;  /* [POOL_DEBUG] of the span that began last at the block */
	size_t *asked;	    /* [POOL_DEBUG] bytes it was asked for, 0 when it is not live */
	uint8_t *is_filled; /* [POOL_DEBUG] the block is free and full of FREE_BYTE */
};

struct wr_debug {
	struct wr_mutex lock WR_RANKED(POOL_DEBUG);
	struct wr_debug_zone zones[];
};

/* Something found, to be said when no lock is held. */
struct finding {
	const char *what;
	const char *tag;
	uint64_t offset;
};

static size_t block_bytes(const struct weir_pool *pool)
{
	return (size_t)1 << pool->block_shift;
}

/* The first byte that differs, @nr when none does. */
static size_t first_other(const uint8_t *p, size_t nr, uint8_t byte)
{
	size_t i;

	if (nr == 0 || (p[0] == byte && memcmp(p, p + 1, nr - 1) == 0))
		return nr;
	for (i = 0; p[i] == byte; i++)
		;
	return i;
}

static void report(struct weir_pool *pool, const struct finding *f)
{
	if (!f->what)
		return;
	wr_fetch_add_relaxed(&pool->nr_overwrites, 1);
	wr_log(WEIR_LOG_ERROR, "pool", "%s: byte %llu of a span of \"%s\"", f->what,
	       (unsigned long long)f->offset, f->tag ? f->tag : "");
}

struct weir_span wr_debug_whole(const struct weir_pool *pool, const struct weir_span *span)
{
	struct weir_span whole = *span;

	whole.bytes += block_bytes(pool);
	return whole;
}

/* The new owner of the blocks looks whether they are as they were left. */
static void check_filled(struct weir_pool *pool, const struct weir_span *whole, struct finding *f)
{
	struct wr_debug_zone *z = &pool->debug->zones[wr_span_zone(whole->id)];
	uint64_t first = whole->id & WR_SPAN_BLOCK_MASK;
	const uint8_t *p = whole->base;
	size_t size = block_bytes(pool);
	size_t at, i;

	for (i = 0; i < whole->bytes / size; i++, p += size) {
		if (!z->is_filled[first + i])
			continue;
		z->is_filled[first + i] = 0;
		at = first_other(p, size, FREE_BYTE);
		if (at < size && !f->what)
			*f = (struct finding){"written after its free", z->tags[first + i], at};
	}
}

/* The blocks are taken: note whose they are, and lay the patterns. */
static void begin_span(struct weir_pool *pool, const struct weir_span *whole, size_t bytes,
		       const char *tag)
{
	struct wr_debug_zone *z = &pool->debug->zones[wr_span_zone(whole->id)];
	struct finding f = {0};

	wr_mutex_lock(&pool->debug->lock);
	check_filled(pool, whole, &f);
	z->tags[whole->id & WR_SPAN_BLOCK_MASK] = tag;
	z->asked[whole->id & WR_SPAN_BLOCK_MASK] = bytes;
	wr_mutex_unlock(&pool->debug->lock);
	memset(whole->base, NEW_BYTE, bytes);
	memset((uint8_t *)whole->base + bytes, GUARD_BYTE, whole->bytes - bytes);
	report(pool, &f);
}

int wr_debug_alloc(struct weir_pool *pool, size_t bytes, size_t align, int node,
		   uint64_t timeout_ns, const char *tag, struct weir_span *ret)
{
	struct weir_span whole;
	size_t with_guard;
	int rc;

	if (bytes == 0 || wr_add_overflow(bytes, block_bytes(pool), &with_guard))
		return -EINVAL;
	if (timeout_ns == 0)
		rc = wr_pool_alloc_by(pool, with_guard, align, node, wr_zone_alloc, &whole);
	else
		rc = wr_wait_alloc(pool, with_guard, node, timeout_ns, &whole);
	if (rc != 0)
		return rc;
	begin_span(pool, &whole, bytes, tag);
	*ret = whole;
	ret->bytes -= block_bytes(pool);
	return 0;
}

int wr_debug_take_run(struct weir_pool *pool, size_t bytes, int node, const char *tag,
		      struct weir_span *ret)
{
	size_t with_guard;
	int rc;

	if (bytes == 0 || wr_add_overflow(bytes, block_bytes(pool), &with_guard))
		return -EINVAL;
	rc = wr_pool_alloc_by(pool, with_guard, 1, node, wr_zone_take_run, ret);
	if (rc == 0)
		begin_span(pool, ret, bytes, tag);
	return rc;
}

/* Whether the bytes behind those that were asked for are as they were left. */
static void check_guard(struct weir_pool *pool, const struct weir_span *whole, struct finding *f)
	WR_REQUIRES(pool->debug->lock)
{
	const struct wr_debug_zone *z = &pool->debug->zones[wr_span_zone(whole->id)];
	uint64_t first = whole->id & WR_SPAN_BLOCK_MASK;
	size_t asked = z->asked[first];
	size_t at;

	at = first_other((uint8_t *)whole->base + asked, whole->bytes - asked, GUARD_BYTE);
	if (at < whole->bytes - asked)
		*f = (struct finding){"written behind its end", z->tags[first], asked + at};
}

/* The span is live: look at its guard, and leave it as free memory should be. */
static void end_span(struct weir_pool *pool, const struct weir_span *whole, struct finding *f)
	WR_REQUIRES(pool->debug->lock)
{
	struct wr_debug_zone *z = &pool->debug->zones[wr_span_zone(whole->id)];
	uint64_t first = whole->id & WR_SPAN_BLOCK_MASK;
	size_t i;

	check_guard(pool, whole, f);
	memset(whole->base, FREE_BYTE, whole->bytes);
	z->asked[first] = 0;
	for (i = 0; i < whole->bytes / block_bytes(pool); i++) {
		z->is_filled[first + i] = 1;
		z->tags[first + i] = z->tags[first];
	}
}

static struct weir_span run_of(const struct weir_pool *pool, const struct wr_pool_zone *zone,
			       uint64_t block, uint64_t nr)
{
	return (struct weir_span){.base = zone->base + (block << pool->block_shift),
				  .bytes = (size_t)(nr << pool->block_shift),
				  .id = zone->id_prefix | block};
}

void wr_debug_end_run(struct weir_pool *pool, const struct wr_pool_zone *zone, uint64_t block,
		      uint64_t nr)
{
	struct weir_span whole = run_of(pool, zone, block, nr);
	struct finding f = {0};

	wr_mutex_lock(&pool->debug->lock);
	end_span(pool, &whole, &f);
	wr_mutex_unlock(&pool->debug->lock);
	report(pool, &f);
}

void wr_debug_move_run(struct weir_pool *pool, const struct wr_pool_zone *zone, uint64_t old,
		       uint64_t twin, uint64_t nr)
{
	struct wr_debug_zone *z = &pool->debug->zones[wr_span_zone(zone->id_prefix)];
	struct weir_span from = run_of(pool, zone, old, nr);
	struct weir_span to = run_of(pool, zone, twin, nr);
	struct finding before = {0}, behind = {0};
	size_t asked;

	wr_mutex_lock(&pool->debug->lock);
	check_filled(pool, &to, &before);
	asked = z->asked[old];
	z->asked[twin] = asked;
	z->tags[twin] = z->tags[old];
	memcpy(to.base, from.base, asked);
	/* Whole again: what was found is said once. */
	memset((uint8_t *)to.base + asked, GUARD_BYTE, to.bytes - asked);
	end_span(pool, &from, &behind);
	wr_mutex_unlock(&pool->debug->lock);
	report(pool, &before);
	report(pool, &behind);
}

/*
 * A span that is not live is freed. The tag is of what lies at its first block, or lay there
 * last: of a second free that is the span itself, unless the block was given out again.
 */
static void report_bad_free(struct weir_pool *pool, const struct weir_span *span, int rc)
{
	unsigned zone = wr_span_zone(span->id);
	uint64_t block = span->id & WR_SPAN_BLOCK_MASK;
	const char *tag = NULL;
	bool is_live = false;

	if (span->id >> WR_SPAN_POOL_SHIFT == pool->id_prefix >> WR_SPAN_POOL_SHIFT &&
	    zone < pool->nr_zones && block < pool->zones[zone].buddy.nr_blocks) {
		wr_mutex_lock(&pool->debug->lock);
		tag = pool->debug->zones[zone].tags[block];
		is_live = pool->debug->zones[zone].asked[block] != 0;
		wr_mutex_unlock(&pool->debug->lock);
	}
	wr_log(WEIR_LOG_ERROR, "pool", "%s: %zu bytes at %p, where %s \"%s\"",
	       rc == -ESTALE ? "freed twice" : "freed, but no span of this pool", span->bytes,
	       span->base, is_live ? "now lives" : "the last was of", tag ? tag : "");
}

/* The first block of the live span that a block lies in, or the block itself. */
static uint64_t first_of(const struct weir_pool *pool, const struct wr_debug_zone *z,
			 uint64_t block)
{
	uint64_t first = block;
	uint64_t nr;

	while (first > 0 && z->asked[first] == 0 && !z->is_filled[first])
		first--;
	nr = ((uint64_t)z->asked[first] + 2 * block_bytes(pool) - 1) >> pool->block_shift;
	return z->asked[first] > 0 && block - first < nr ? first : block;
}

void wr_debug_report_ptr(struct weir_pool *pool, const void *ptr)
{
	const struct wr_debug_zone *z;
	const struct wr_pool_zone *zone;
	const char *tag = NULL;
	uint64_t offset = 0, block, first;
	bool is_live = false;
	size_t i;

	for (i = 0; i < pool->nr_zones; i++) {
		zone = &pool->zones[i];
		offset = (uintptr_t)ptr - (uintptr_t)zone->base;
		if (offset < zone->bytes)
			break;
	}
	if (i == pool->nr_zones) {
		wr_log(WEIR_LOG_ERROR, "pool", "freed, but no memory of this pool: %p", ptr);
		return;
	}
	block = offset >> pool->block_shift;
	z = &pool->debug->zones[i];
	wr_mutex_lock(&pool->debug->lock);
	first = first_of(pool, z, block);
	is_live = z->asked[first] > 0;
	tag = z->tags[first];
	wr_mutex_unlock(&pool->debug->lock);
	if (is_live)
		wr_log(WEIR_LOG_ERROR, "pool",
		       "freed, but not where it begins: %p, byte %llu of \"%s\"", ptr,
		       (unsigned long long)(offset - (first << pool->block_shift)), tag ? tag : "");
	else
		wr_log(WEIR_LOG_ERROR, "pool",
		       "freed, but not live: %p, where the last was of \"%s\"", ptr,
		       tag ? tag : "");
}

int wr_debug_free(struct weir_pool *pool, const struct weir_span *span)
{
	struct weir_span whole = wr_debug_whole(pool, span);
	struct finding f = {0};
	int rc;

	wr_mutex_lock(&pool->debug->lock);
	rc = wr_pool_check_span(pool, span);
	if (rc == 0) {
		end_span(pool, &whole, &f);
		rc = wr_zone_free(&pool->zones[wr_span_zone(span->id)], &whole);
	}
	wr_mutex_unlock(&pool->debug->lock);
	if (rc == 0)
		wr_pool_room_made(pool);
	else
		report_bad_free(pool, span, rc);
	report(pool, &f);
	return rc;
}

/* A span that is live when the pool is closed. */
static void check_live(struct weir_pool *pool, size_t zone, uint64_t block)
{
	size_t asked = pool->debug->zones[zone].asked[block];
	uint64_t nr = ((uint64_t)asked + 2 * block_bytes(pool) - 1) >> pool->block_shift;
	struct weir_span whole = run_of(pool, &pool->zones[zone], block, nr);
	struct finding f = {0};

	wr_mutex_lock(&pool->debug->lock);
	check_guard(pool, &whole, &f);
	wr_mutex_unlock(&pool->debug->lock);
	report(pool, &f);
}

void wr_debug_report_live(struct weir_pool *pool)
{
	unsigned lines = 0;
	uint64_t block;
	size_t i;

	for (i = 0; i < pool->nr_zones; i++) {
		const struct wr_debug_zone *z = &pool->debug->zones[i];

		for (block = 0; block < pool->zones[i].buddy.nr_blocks; block++) {
			if (z->asked[block] == 0)
				continue;
			check_live(pool, i, block);
			if (lines++ >= MOST_LINES)
				continue;
			wr_log(WEIR_LOG_ERROR, "pool", "not freed: %zu bytes of \"%s\"",
			       z->asked[block], z->tags[block] ? z->tags[block] : "");
		}
	}
}

void wr_debug_fini(struct weir_pool *pool)
{
	size_t i;

	if (!pool->debug)
		return;
	for (i = 0; i < pool->nr_zones; i++) {
		wr_free(pool->debug->zones[i].tags);
		wr_free(pool->debug->zones[i].asked);
		wr_free(pool->debug->zones[i].is_filled);
	}
	if (wr_pool_is_ours(pool))
		wr_mutex_fini(&pool->debug->lock);
	wr_free(pool->debug);
	pool->debug = NULL;
}

int wr_debug_init(struct weir_pool *pool)
{
	struct wr_debug_zone *z;
	uint64_t nr;
	size_t i;

	pool->debug = wr_calloc(1, sizeof(*pool->debug) + pool->nr_zones * sizeof(*z));
	if (!pool->debug)
		return -ENOMEM;
	wr_mutex_init(&pool->debug->lock, WR_RANK_POOL_DEBUG, "pool.debug");
	for (i = 0; i < pool->nr_zones; i++) {
		z = &pool->debug->zones[i];
		nr = pool->zones[i].buddy.nr_blocks;
		z->tags = wr_calloc(nr, sizeof(*z->tags));
		z->asked = wr_calloc(nr, sizeof(*z->asked));
		z->is_filled = wr_calloc(nr, 1);
		if (!z->tags || !z->asked || !z->is_filled) {
			wr_debug_fini(pool);
			return -ENOMEM;
		}
		pool->fixed_bytes += nr * (sizeof(*z->tags) + sizeof(*z->asked) + 1);
	}
	return 0;
}
