/* SPDX-License-Identifier: MIT */
/*
 * Engine, pool and cache keep numbers of their own and know no registry; here they get names. They
 * are read when somebody looks, and cost nothing until then.
 */
#include "ctx/context.h"

#include <errno.h>
#include <stdio.h>

#include <weir/cache_ahead.h>
#include <weir/pool_map.h>

#include "base/alloc.h"
#include "base/util.h"
#include "metrics/grid.h"
#include "metrics/set.h"

/* name, unit, kind, field of the statistics, meaning */
#define IO_METRICS(X)                                                                           \
	X("weir_io_reads", "", COUNTER, nr_reads, "Reads completed")                            \
	X("weir_io_failed", "", COUNTER, nr_failed, "Reads that ended with an error")           \
	X("weir_io_cancelled", "", COUNTER, nr_cancelled, "Reads that were cancelled")          \
	X("weir_io_promoted", "", COUNTER, nr_promoted, "Speculative reads that became demand") \
	X("weir_io_chunks", "", COUNTER, nr_chunks, "Reads given to the kernel")                \
	X("weir_io_fixed_chunks", "", COUNTER, nr_fixed_chunks, "With registered buffers")      \
	X("weir_io_short", "", COUNTER, nr_short, "Short reads that were continued")            \
	X("weir_io_retries", "", COUNTER, nr_retries, "Chunks that were read again")            \
	X("weir_io_demand_wait_ns", "ns", COUNTER, demand_wait_ns, "Time demand reads took")    \
	X("weir_io_under_way", "", GAUGE, nr_under_way, "Reads and writes under way now")       \
	X("weir_io_max_inflight_bytes", "bytes", GAUGE, max_inflight_bytes, "Most under way")   \
	X("weir_io_wanted_bytes", "bytes", COUNTER, bytes_wanted, "Bytes of completed reads")   \
	X("weir_io_looks", "", COUNTER, nr_looks,                                               \
	  "Times it was looked again how open files are best read")                             \
	X("weir_io_turned", "", COUNTER, nr_turned,                                             \
	  "Open files that changed between direct reads and the page cache")                    \
	X("weir_io_read_bytes", "bytes", COUNTER, bytes_read, "Bytes that came from files")

#define POOL_METRICS(X)                                                                           \
	X("weir_pool_capacity_bytes", "bytes", GAUGE, capacity_bytes, "Bytes managed")            \
	X("weir_pool_used_bytes", "bytes", GAUGE, used_bytes, "Bytes in spans")                   \
	X("weir_pool_free_bytes", "bytes", GAUGE, free_bytes, "Bytes in no span")                 \
	X("weir_pool_largest_free_bytes", "bytes", GAUGE, largest_free_bytes, "Largest run free") \
	X("weir_pool_peak_used_bytes", "bytes", GAUGE, peak_used_bytes, "Most bytes in spans")    \
	X("weir_pool_failed", "", COUNTER, nr_failed, "Allocations refused for want of room")     \
	X("weir_pool_pages_4k_bytes", "bytes", GAUGE, pages_4k_bytes, "Bytes in 4 KiB pages")     \
	X("weir_pool_pages_thp_bytes", "bytes", GAUGE, pages_thp_bytes,                           \
	  "In transparent huge ones")                                                             \
	X("weir_pool_pages_2m_bytes", "bytes", GAUGE, pages_2m_bytes, "In 2 MiB hugetlb pages")   \
	X("weir_pool_pages_1g_bytes", "bytes", GAUGE, pages_1g_bytes, "In 1 GiB hugetlb pages")   \
	X("weir_pool_page_steps", "", COUNTER, nr_page_steps, "Steps down to smaller pages")

/* By tier, for all classes together: name behind weir_cache_<tier>_, and as above. */
#define CACHE_METRICS(X)                                                                        \
	X("budget_bytes", "bytes", GAUGE, budget_bytes, "Bytes that may be used")               \
	X("peak_bytes", "bytes", GAUGE, peak_bytes, "Most bytes charged")                       \
	X("entries", "", GAUGE, nr_entries, "Copies there, or on their way")                    \
	X("waits", "", COUNTER, nr_waits, "Gets that waited for the fetch of another")          \
	X("hit_bytes", "bytes", COUNTER, hit_bytes, "Bytes of hits")                            \
	X("fill_bytes", "bytes", COUNTER, fill_bytes, "Bytes that came in")                     \
	X("fills", "", COUNTER, nr_fills, "Copies that came in")                                \
	X("failed", "", COUNTER, nr_failed, "Fetches that ended with an error")                 \
	X("inserts", "", COUNTER, nr_inserts, "Entries inserted by the host")                   \
	X("evictions", "", COUNTER, nr_evictions, "Copies that left for room")                  \
	X("passed", "", COUNTER, nr_passed, "Fetches that the policy advised not to keep")      \
	X("demotions", "", COUNTER, nr_demotions, "Copies that went down a tier")               \
	X("stuck", "", COUNTER, nr_stuck, "Copies that should have gone down and could not")    \
	X("prefetches", "", COUNTER, nr_prefetches, "Prefetches begun")                         \
	X("prefetches_useful", "", COUNTER, nr_useful, "Prefetches that came before their get") \
	X("prefetches_late", "", COUNTER, nr_late, "Prefetches that somebody had to wait for")  \
	X("prefetches_wasted", "", COUNTER, nr_wasted, "Prefetches that nobody got")

/* By tier and class, and for all classes: behind weir_cache_<tier>_[<class>_]. */
#define CACHE_CLASS_METRICS(X)                                         \
	X("used_bytes", "bytes", GAUGE, used_bytes, "Bytes charged")   \
	X("hits", "", COUNTER, nr_hits, "Gets that found their bytes") \
	X("misses", "", COUNTER, nr_misses, "Gets that began a fetch")

/* Of L3, for all classes together, and by class: behind weir_cache_l3_. */
#define CACHE_STORE_METRICS(X)                                                 \
	X("budget_bytes", "bytes", GAUGE, budget_bytes, "Bytes files may be")  \
	X("used_bytes", "bytes", GAUGE, used_bytes, "Bytes files are")         \
	X("entries", "", GAUGE, nr_entries, "Blocks there")                    \
	X("hit_bytes", "bytes", COUNTER, hit_bytes, "Bytes of blocks found")   \
	X("fill_bytes", "bytes", COUNTER, fill_bytes, "Bytes of blocks taken") \
	X("fills", "", COUNTER, nr_fills, "Blocks taken")                      \
	X("failed", "", COUNTER, nr_failed, "Reads and writes that ended with an error")

#define CACHE_STORE_CLASS_METRICS(X)                                          \
	X("hits", "", COUNTER, nr_hits, "Looked for after memory, and found") \
	X("misses", "", COUNTER, nr_misses, "Looked for after memory, not found")

/* Of what the cache fetches ahead; all 0 until it does. */
#define AHEAD_METRICS(X)                                                                           \
	X("weir_ahead_off", "", GAUGE, off_why,                                                    \
	  "0: it fetches ahead; else enum weir_cache_ahead_off")                                   \
	X("weir_ahead_precision_permille", "permille", GAUGE, precision_permille,                  \
	  "Part of fetches ahead that was got, of late")                                           \
	X("weir_ahead_items", "", GAUGE, all.nr_items, "Items known")                              \
	X("weir_ahead_references", "", COUNTER, all.nr_references, "Gets that were heard of")      \
	X("weir_ahead_lost", "", COUNTER, all.nr_lost, "Gets that came too fast to be heard of")   \
	X("weir_ahead_forecasts", "", COUNTER, all.nr_forecasts, "Times it was asked what comes")  \
	X("weir_ahead_started", "", COUNTER, all.nr_started, "Fetches begun")                      \
	X("weir_ahead_useful", "", COUNTER, all.nr_useful, "There when they were got")             \
	X("weir_ahead_late", "", COUNTER, all.nr_late, "Got while they were on their way")         \
	X("weir_ahead_wasted", "", COUNTER, all.nr_wasted, "Not got in time, or at all")           \
	X("weir_ahead_cancelled", "", COUNTER, all.nr_cancelled, "Ended unread")                   \
	X("weir_ahead_failed", "", COUNTER, all.nr_failed, "Ended with an error, or not begun")    \
	X("weir_ahead_stops", "", COUNTER, all.nr_stops, "Times it stopped by itself")             \
	X("weir_ahead_started_bytes", "bytes", COUNTER, all.started_bytes, "Bytes of those begun") \
	X("weir_ahead_useful_bytes", "bytes", COUNTER, all.useful_bytes, "Bytes that were got")    \
	X("weir_ahead_wasted_bytes", "bytes", COUNTER, all.wasted_bytes, "Bytes read in vain")     \
	X("weir_ahead_spent_ns", "ns", COUNTER, all.spent_ns, "Time of a processor it took")

/* A series reads 64 bits. */
struct ahead_stats {
	struct weir_cache_ahead_stats all;
	uint64_t off_why;
	uint64_t precision_permille;
};

/* Where a number is in the statistics of its source. */
struct number {
	struct weir_metric_desc desc;
	size_t at;
	bool by_class;
};

#define X(name, unit, kind, field, help) \
	{{WEIR_METRIC_##kind, name, unit, help}, offsetof(struct weir_io_stats, field), false},
static const struct number io_numbers[] = {IO_METRICS(X)};
#undef X
#define X(name, unit, kind, field, help) \
	{{WEIR_METRIC_##kind, name, unit, help}, offsetof(struct weir_pool_stats, field), false},
static const struct number pool_numbers[] = {POOL_METRICS(X)};
#undef X
#define X(name, unit, kind, field, help) \
	{{WEIR_METRIC_##kind, name, unit, help}, offsetof(struct ahead_stats, field), false},
static const struct number ahead_numbers[] = {AHEAD_METRICS(X)};
#undef X
/* The cache's are the same for each tier, so their names are put together. */
#define X(name, unit, kind, field, help) \
	{{WEIR_METRIC_##kind, name, unit, help}, offsetof(struct weir_cache_stats, field), false},
#define X_CLASS(name, unit, kind, field, help) \
	{{WEIR_METRIC_##kind, name, unit, help}, offsetof(struct weir_cache_stats, field), true},
static const struct number memory_numbers[] = {CACHE_METRICS(X) CACHE_CLASS_METRICS(X_CLASS)};
static const struct number store_numbers[] = {CACHE_STORE_METRICS(X)
						      CACHE_STORE_CLASS_METRICS(X_CLASS)};
#undef X
#undef X_CLASS

#define MAX_SERIES                                                                                \
	(wr_array_size(io_numbers) + wr_array_size(pool_numbers) + wr_array_size(ahead_numbers) + \
	 (2 * wr_array_size(memory_numbers) + wr_array_size(store_numbers)) *                     \
		 (1 + WEIR_NR_CLASSES))

static void read_ahead(struct weir_cache *cache, struct ahead_stats *ret)
{
	if (weir_cache_ahead_stats(cache, &ret->all))
		return; /* it does not fetch ahead */
	ret->off_why = ret->all.off_why;
	ret->precision_permille = ret->all.precision_permille;
}

static int64_t read_series(void *arg)
{
	const struct wr_ctx_series *series = arg;
	struct weir *weir = series->weir;
	union {
		struct weir_io_stats io;
		struct weir_pool_stats pool;
		struct weir_cache_stats cache;
		struct ahead_stats ahead;
	} stats = {0};

	switch (series->source) {
	case WR_CTX_IO:
		weir_io_stats(weir->io, &stats.io);
		break;
	case WR_CTX_POOL:
		weir_pool_stats(weir->pool, &stats.pool);
		break;
	case WR_CTX_CACHE:
		if (weir_cache_stats(weir->cache, series->tier, series->class_id, &stats.cache))
			return 0;
		break;
	case WR_CTX_AHEAD:
		read_ahead(weir->cache, &stats.ahead);
		break;
	}
	return (int64_t) * (const uint64_t *)(const void *)((const char *)&stats + series->at);
}

/* The next series of the context; there is room for all. */
static int register_one(struct weir *weir, const struct weir_metric_desc *desc,
			const struct wr_ctx_series *series)
{
	struct wr_ctx_series *own = &weir->series[weir->nr_series++];
	uint32_t id;

	*own = *series;
	own->weir = weir;
	return weir_metrics_register_read(weir->metrics, desc, read_series, own, &id);
}

static int register_numbers(struct weir *weir, enum wr_ctx_source source,
			    const struct number *numbers, size_t nr)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < nr; i++)
		rc = register_one(weir, &numbers[i].desc,
				  &(struct wr_ctx_series){.source = source, .at = numbers[i].at});
	return rc;
}

static int register_cache_one(struct weir *weir, const struct number *number, uint32_t tier,
			      uint32_t class_id)
{
	static const char *const classes[] = {"weights_",  "experts_", "kv_",
					      "features_", "other_",   ""};
	struct wr_ctx_series series = {
		.source = WR_CTX_CACHE, .tier = tier, .class_id = class_id, .at = number->at};
	struct weir_metric_desc desc = number->desc;
	char name[64];

	snprintf(name, sizeof(name), "weir_cache_l%u_%s%s", tier, classes[class_id],
		 number->desc.name);
	desc.name = name;
	return register_one(weir, &desc, &series);
}

static int register_tier(struct weir *weir, uint32_t tier)
{
	bool is_store = tier == WEIR_TIER_L3;
	const struct number *all = is_store ? store_numbers : memory_numbers;
	size_t nr = is_store ? wr_array_size(store_numbers) : wr_array_size(memory_numbers);
	struct weir_cache_stats stats;
	int rc = 0;

	if (weir_cache_stats(weir->cache, tier, WEIR_NR_CLASSES, &stats) ||
	    (!is_store && !stats.budget_bytes))
		return 0; /* there is no such tier */
	for (size_t i = 0; !rc && i < nr; i++) {
		uint32_t c = all[i].by_class ? 0 : WEIR_NR_CLASSES;

		for (; !rc && c <= WEIR_NR_CLASSES; c++)
			rc = register_cache_one(weir, &all[i], tier, c);
	}
	return rc;
}

/* ---- the pool's map, for a picture ---- */

static void read_pieces(void *arg, uint32_t row, uint32_t nr, uint32_t *ret)
{
	struct weir *weir = arg;
	int64_t got = weir_pool_map(weir->pool, row, nr, ret);

	for (uint32_t i = got > 0 ? (uint32_t)wr_min(got, (int64_t)nr) : 0; i < nr; i++)
		ret[i] = 0;
}

/* A pool that is too large for a picture, or has no room in the segment, runs without one. */
static int show_pool(struct weir *weir)
{
	size_t nr = weir_pool_nr_regions(weir->pool);
	struct wr_grid_row *rows = wr_calloc(nr, sizeof(*rows));
	struct wr_grid_desc desc = {.name = "weir_pool",
				    .full = WEIR_POOL_PIECE_BYTES,
				    .nr = (uint32_t)nr,
				    .rows = rows,
				    .read = read_pieces,
				    .arg = weir};
	int rc = 0;

	if (!rows)
		return -ENOMEM;
	for (size_t i = 0; !rc && i < nr; i++) {
		struct weir_pool_region region;

		rc = weir_pool_region(weir->pool, i, &region);
		if (rc)
			break;
		rows[i].total = region.bytes;
		if (region.node < 0)
			snprintf(rows[i].text, sizeof(rows[i].text), "%s",
				 weir_page_kind_name((int)region.page_kind));
		else
			snprintf(rows[i].text, sizeof(rows[i].text), "%s, node %d",
				 weir_page_kind_name((int)region.page_kind), region.node);
	}
	if (!rc)
		rc = wr_metrics_add_grid(weir->metrics, &desc);
	wr_free(rows);
	if (rc != -E2BIG && rc != -ENOSPC)
		return rc;
	wr_log(WEIR_LOG_WARN, "ctx", "no map of the pool to look at: %s", weir_strerror(rc));
	return 0;
}

int wr_ctx_register_metrics(struct weir *weir)
{
	int rc = wr_metrics_watch_locks(weir->metrics);

	if (rc)
		return rc;
	weir->series = wr_calloc(MAX_SERIES, sizeof(*weir->series));
	if (!weir->series)
		return -ENOMEM;
	rc = register_numbers(weir, WR_CTX_IO, io_numbers, wr_array_size(io_numbers));
	if (!rc)
		rc = register_numbers(weir, WR_CTX_POOL, pool_numbers, wr_array_size(pool_numbers));
	for (uint32_t tier = WEIR_TIER_L1; !rc && weir->cache && tier <= WEIR_TIER_L3; tier++)
		rc = register_tier(weir, tier);
	if (!rc && weir->cache)
		rc = register_numbers(weir, WR_CTX_AHEAD, ahead_numbers,
				      wr_array_size(ahead_numbers));
	return rc ? rc : show_pool(weir);
}
