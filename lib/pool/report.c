/* SPDX-License-Identifier: MIT */
/*
 * A pool as numbers by size, and as text. The text is put together in the caller's memory,
 * which may be too small: it is cut there, and its length counted all the same.
 */
#include <weir/pool_report.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "pool/magazine.h"
#include "pool/state.h"

#define FIRST_CLASS_SHIFT 8u  /* 256 bytes */
#define LARGE_SHIFT	  21u /* 2 MiB */

_Static_assert(WR_ZONE_CLASSES == WEIR_POOL_CLASSES, "a zone counts what is reported");

struct out {
	char *text;
	size_t size;
	uint64_t length; /* of the whole */
};

static void put(struct out *o, const char *fmt, ...) WEIR_PRINTF(2, 3);

static void put(struct out *o, const char *fmt, ...)
{
	size_t room = o->length < o->size ? o->size - (size_t)o->length : 0;
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(room > 0 ? o->text + o->length : NULL, room, fmt, args);
	va_end(args);
	if (n > 0)
		o->length += (uint64_t)n;
}

/* Free blocks of a zone by order, each at a multiple of its size and as large as it can. */
static void count_free(const struct wr_buddy *b, unsigned shift, struct weir_pool_shape *shape)
{
	uint64_t pos = 0, end;
	unsigned order;

	while (wr_buddy_next_run(b, pos, &pos, &end)) {
		while (pos < end) {
			order = 63u - (unsigned)__builtin_clzll(end - pos);
			if (pos != 0)
				order = wr_min(order, (unsigned)__builtin_ctzll(pos));
			order = wr_min(order, WEIR_POOL_CLASSES - 1 + FIRST_CLASS_SHIFT - shift);
			shape->free[order + shift - FIRST_CLASS_SHIFT]++;
			pos += 1ull << order;
		}
	}
}

static void count_zone(struct wr_pool_zone *zone, struct weir_pool_shape *shape)
{
	unsigned i;

	wr_mutex_lock(&zone->lock);
	for (i = 0; i < WEIR_POOL_CLASSES; i++)
		shape->live[i] += zone->counts.live_by_class[i];
	count_free(&zone->buddy, zone->block_shift, shape);
	wr_mutex_unlock(&zone->lock);
}

static void count_set(const struct wr_pool_set *set, struct weir_pool_shape *shape)
{
	const struct wr_mag_group *g;
	unsigned size, log2;
	size_t zone;

	for (zone = 0; zone < set->pool->nr_zones; zone++) {
		g = &set->group[zone];
		for (size = 0; size < WR_MAGAZINE_SIZES; size++) {
			log2 = (unsigned)__builtin_ctzll(g->mag[size].bytes);
			shape->live[log2 - FIRST_CLASS_SHIFT] +=
				g->sums[size].nr_owned - wr_magazine_nr(&g->mag[size]);
		}
	}
}

static uint64_t fragmentation(const struct weir_pool_shape *shape)
{
	uint64_t small = 0, all = 0;
	unsigned i;

	for (i = 0; i < WEIR_POOL_CLASSES; i++) {
		all += shape->free[i] << (i + FIRST_CLASS_SHIFT);
		if (i + FIRST_CLASS_SHIFT < LARGE_SHIFT)
			small += shape->free[i] << (i + FIRST_CLASS_SHIFT);
	}
	return all > 0 ? (uint64_t)((double)small * 1000 / (double)all) : 0;
}

/* Of one instant, but for the spans that go past the magazines between the zones. */
static void look(struct weir_pool *pool, struct weir_pool_stats *stats,
		 struct weir_pool_shape *shape)
{
	uint32_t id;
	size_t i;

	wr_claim_all(pool);
	wr_claim_stats(pool, stats);
	for (i = 0; i < pool->nr_zones; i++)
		count_zone(&pool->zones[i], shape);
	for (id = 1; id <= pool->nr_sets; id++)
		count_set(wr_load_relaxed(&pool->sets[id]), shape);
	wr_claim_end(pool);
	shape->fragmentation_permille = fragmentation(shape);
}

void weir_pool_shape(struct weir_pool *pool, struct weir_pool_shape *ret)
{
	struct weir_pool_shape shape = {.fragmentation_permille = 0};
	struct weir_pool_stats stats;

	if (wr_pool_is_ours(pool))
		look(pool, &stats, &shape);
	*ret = shape;
}

/* The statistics, in the order of the text: name and field. */
#define NUMBERS(X)            \
	X(capacity_bytes)     \
	X(free_bytes)         \
	X(used_bytes)         \
	X(cached_bytes)       \
	X(requested_bytes)    \
	X(peak_used_bytes)    \
	X(largest_free_bytes) \
	X(nr_live)            \
	X(nr_allocs)          \
	X(nr_frees)           \
	X(nr_failed)          \
	X(nr_bad_frees)       \
	X(nr_overwrites)      \
	X(metadata_bytes)     \
	X(populate_ns)        \
	X(thp_bytes)          \
	X(pages_4k_bytes)     \
	X(pages_thp_bytes)    \
	X(pages_2m_bytes)     \
	X(pages_1g_bytes)     \
	X(nr_page_steps)      \
	X(slab_bytes)         \
	X(nr_slab_objects)

static void put_json_classes(struct out *o, const char *name, const uint64_t *nr)
{
	const char *comma = "";
	unsigned i;

	put(o, ",\"%s\":{", name);
	for (i = 0; i < WEIR_POOL_CLASSES; i++) {
		if (nr[i] == 0)
			continue;
		put(o, "%s\"%" PRIu64 "\":%" PRIu64, comma, (uint64_t)1 << (i + FIRST_CLASS_SHIFT),
		    nr[i]);
		comma = ",";
	}
	put(o, "}");
}

static const char *next_kind_name(const struct weir_page_step *step)
{
	return step->next_kind < WEIR_PAGE_KINDS ? weir_page_kind_name((int)step->next_kind)
						 : "none";
}

/* A reason may quote what a system said. */
static void put_json_string(struct out *o, const char *text)
{
	const unsigned char *c;

	put(o, "\"");
	for (c = (const unsigned char *)text; *c; c++) {
		if (*c == '"' || *c == '\\')
			put(o, "\\%c", *c);
		else if (*c < 0x20)
			put(o, "\\u%04x", *c);
		else
			put(o, "%c", *c);
	}
	put(o, "\"");
}

static void put_json(struct out *o, struct weir_pool *pool, const struct weir_pool_stats *s,
		     const struct weir_pool_shape *shape)
{
	struct weir_page_step step;
	struct weir_pool_region r;
	const char *comma = "";
	size_t i;

	put(o, "{");
#define NUMBER(field)                                         \
	put(o, "%s\"" #field "\":%" PRIu64, comma, s->field); \
	comma = ",";
	NUMBERS(NUMBER)
#undef NUMBER
	put(o, ",\"fragmentation_permille\":%" PRIu64, shape->fragmentation_permille);
	put_json_classes(o, "live", shape->live);
	put_json_classes(o, "free", shape->free);
	put(o, ",\"regions\":[");
	for (i = 0; weir_pool_region(pool, i, &r) == 0; i++)
		put(o, "%s{\"bytes\":%zu,\"page_bytes\":%zu,\"page_kind\":\"%s\",\"node\":%d}",
		    i > 0 ? "," : "", r.bytes, r.page_bytes, weir_page_kind_name((int)r.page_kind),
		    r.node);
	put(o, "],\"page_steps\":[");
	for (i = 0; weir_pool_page_step(pool, i, &step) == 0; i++) {
		put(o,
		    "%s{\"node\":%d,\"from\":\"%s\",\"to\":\"%s\",\"bytes\":%" PRIu64
		    ",\"reason\":",
		    i > 0 ? "," : "", step.node, weir_page_kind_name((int)step.kind),
		    next_kind_name(&step), step.bytes);
		put_json_string(o, step.reason);
		put(o, "}");
	}
	put(o, "]}");
}

static void put_text(struct out *o, struct weir_pool *pool, const struct weir_pool_stats *s,
		     const struct weir_pool_shape *shape)
{
	struct weir_page_step step;
	struct weir_pool_region r;
	size_t i;

#define NUMBER(field) put(o, "%-22s %" PRIu64 "\n", #field, s->field);
	NUMBERS(NUMBER)
#undef NUMBER
	put(o, "%-22s %" PRIu64 "\n", "fragmentation_permille", shape->fragmentation_permille);
	put(o, "%16s %10s %10s\n", "size", "live", "free");
	for (i = 0; i < WEIR_POOL_CLASSES; i++)
		if (shape->live[i] > 0 || shape->free[i] > 0)
			put(o, "%16" PRIu64 " %10" PRIu64 " %10" PRIu64 "\n",
			    (uint64_t)1 << (i + FIRST_CLASS_SHIFT), shape->live[i], shape->free[i]);
	for (i = 0; weir_pool_region(pool, i, &r) == 0; i++)
		put(o, "region %zu: %zu bytes in %s pages on node %d\n", i, r.bytes,
		    weir_page_kind_name((int)r.page_kind), r.node);
	for (i = 0; weir_pool_page_step(pool, i, &step) == 0; i++)
		put(o, "step %zu: %" PRIu64 " bytes on node %d from %s to %s pages: %s\n", i,
		    step.bytes, step.node, weir_page_kind_name((int)step.kind),
		    next_kind_name(&step), step.reason);
}

int64_t weir_pool_dump(struct weir_pool *pool, int format, char *text, size_t size)
{
	struct out o = {.text = text, .size = size};
	struct weir_pool_shape shape = {.fragmentation_permille = 0};
	struct weir_pool_stats stats = {0};

	if (!pool || !wr_pool_is_ours(pool) ||
	    (format != WEIR_DUMP_TEXT && format != WEIR_DUMP_JSON) || (!text && size > 0))
		return -EINVAL;
	look(pool, &stats, &shape);
	if (format == WEIR_DUMP_JSON)
		put_json(&o, pool, &stats, &shape);
	else
		put_text(&o, pool, &stats, &shape);
	return (int64_t)o.length;
}
