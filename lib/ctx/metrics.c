/* SPDX-License-Identifier: MIT */
/*
 * Engine, pool and cache keep numbers of their own and know no registry; here they get names. They
 * are read when somebody looks, and cost nothing until then.
 */
#include "ctx/context.h"

#include <errno.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/util.h"
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
	X("weir_io_max_inflight_bytes", "bytes", GAUGE, max_inflight_bytes, "Most under way")   \
	X("weir_io_wanted_bytes", "bytes", COUNTER, bytes_wanted, "Bytes of completed reads")   \
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

#define X(name, unit, kind, field, help)          \
	static int64_t read_io_##field(void *arg) \
	{                                         \
		struct weir *weir = arg;          \
		struct weir_io_stats stats;       \
                                                  \
		weir_io_stats(weir->io, &stats);  \
		return (int64_t)stats.field;      \
	}
IO_METRICS(X)
#undef X

#define X(name, unit, kind, field, help)             \
	static int64_t read_pool_##field(void *arg)  \
	{                                            \
		struct weir *weir = arg;             \
		struct weir_pool_stats stats;        \
                                                     \
		weir_pool_stats(weir->pool, &stats); \
		return (int64_t)stats.field;         \
	}
POOL_METRICS(X)
#undef X

/* ---- the cache: the same numbers of each tier, so the names are put together ---- */

struct cache_metric {
	struct weir_metric_desc desc;
	size_t at;
	bool by_class;
};

#define X(name, unit, kind, field, help) \
	{{WEIR_METRIC_##kind, name, unit, help}, offsetof(struct weir_cache_stats, field), false},
#define X_CLASS(name, unit, kind, field, help) \
	{{WEIR_METRIC_##kind, name, unit, help}, offsetof(struct weir_cache_stats, field), true},
static const struct cache_metric memory_metrics[] = {CACHE_METRICS(X) CACHE_CLASS_METRICS(X_CLASS)};
static const struct cache_metric store_metrics[] = {CACHE_STORE_METRICS(X)
							    CACHE_STORE_CLASS_METRICS(X_CLASS)};
#undef X
#undef X_CLASS

#define MAX_CACHE_SERIES \
	((2 * wr_array_size(memory_metrics) + wr_array_size(store_metrics)) * (1 + WEIR_NR_CLASSES))

static int64_t read_cache(void *arg)
{
	const struct wr_ctx_series *series = arg;
	struct weir_cache_stats stats;

	if (weir_cache_stats(series->cache, series->tier, series->class_id, &stats))
		return 0;
	return (int64_t) * (const uint64_t *)(const void *)((const char *)&stats + series->at);
}

static int register_cache_one(struct weir *weir, const struct cache_metric *metric, uint32_t tier,
			      uint32_t class_id, struct wr_ctx_series *series)
{
	static const char *const classes[] = {"weights_",  "experts_", "kv_",
					      "features_", "other_",   ""};
	struct weir_metric_desc desc = metric->desc;
	char name[64];
	uint32_t id;

	snprintf(name, sizeof(name), "weir_cache_l%u_%s%s", tier, classes[class_id],
		 metric->desc.name);
	desc.name = name;
	*series = (struct wr_ctx_series){weir->cache, tier, class_id, metric->at};
	return weir_metrics_register_read(weir->metrics, &desc, read_cache, series, &id);
}

static int register_tier(struct weir *weir, uint32_t tier, struct wr_ctx_series **series)
{
	bool is_store = tier == WEIR_TIER_L3;
	const struct cache_metric *all = is_store ? store_metrics : memory_metrics;
	size_t nr = is_store ? wr_array_size(store_metrics) : wr_array_size(memory_metrics);
	struct weir_cache_stats stats;
	int rc = 0;

	if (weir_cache_stats(weir->cache, tier, WEIR_NR_CLASSES, &stats) ||
	    (!is_store && !stats.budget_bytes))
		return 0; /* there is no such tier */
	for (size_t i = 0; !rc && i < nr; i++) {
		uint32_t c = all[i].by_class ? 0 : WEIR_NR_CLASSES;

		for (; !rc && c <= WEIR_NR_CLASSES; c++)
			rc = register_cache_one(weir, &all[i], tier, c, (*series)++);
	}
	return rc;
}

static int register_cache(struct weir *weir)
{
	struct wr_ctx_series *series = wr_calloc(MAX_CACHE_SERIES, sizeof(*series));
	int rc = 0;

	if (!series)
		return -ENOMEM;
	weir->series = series;
	for (uint32_t tier = WEIR_TIER_L1; !rc && tier <= WEIR_TIER_L3; tier++)
		rc = register_tier(weir, tier, &series);
	return rc;
}

int wr_ctx_register_metrics(struct weir *weir)
{
	static const struct {
		struct weir_metric_desc desc;
		int64_t (*read)(void *arg);
	} all[] = {
#define X(name, unit, kind, field, help) {{WEIR_METRIC_##kind, name, unit, help}, read_io_##field},
		IO_METRICS(X)
#undef X
#define X(name, unit, kind, field, help) \
	{{WEIR_METRIC_##kind, name, unit, help}, read_pool_##field},
			POOL_METRICS(X)
#undef X
	};
	uint32_t id;
	int rc = wr_metrics_watch_locks(weir->metrics);

	for (size_t i = 0; !rc && i < wr_array_size(all); i++)
		rc = weir_metrics_register_read(weir->metrics, &all[i].desc, all[i].read, weir,
						&id);
	if (!rc && weir->cache)
		rc = register_cache(weir);
	return rc;
}
