/* SPDX-License-Identifier: MIT */
/*
 * How a module declares its metrics: one list at the top of its <module>.c, from which the enum and
 * the descriptions come.
 *
 *   #define POOL_METRICS(X)                                                             \
 *           X(POOL_ALLOCS, COUNTER, "weir_pool_allocs", "", "Spans handed out")         \
 *           X(POOL_USED, GAUGE, "weir_pool_used_bytes", "bytes", "Bytes of live spans")
 *   WR_METRICS_LIST(pool, POOL_METRICS)
 *
 * Opening:   rc = wr_metrics_join(metrics, pool_metrics, pool_nr_metrics, &p->set);
 * Counting:  wr_metrics_count(&p->set, POOL_ALLOCS, 1);
 *
 * Two objects of a module on one registry share the metrics: counters and gauges that are moved,
 * not set, show their sum. A set that was joined with a NULL registry counts nothing.
 */
#ifndef WR_METRICS_SET_H
#define WR_METRICS_SET_H

#include <weir/metrics.h>

#include "base/util.h"

#define WR_METRICS_ENUM_(id, kind, name, unit, help) id,
#define WR_METRICS_DESC_(id, kind, name, unit, help) \
	[id] = {WEIR_METRIC_##kind, (name), (unit), (help)},

#define WR_METRICS_LIST(prefix, list)                                     \
	enum prefix##_metric{list(WR_METRICS_ENUM_) prefix##_nr_metrics}; \
	static const struct weir_metric_desc prefix##_metrics[] = {list(WR_METRICS_DESC_)};

/* [const] after joining */
struct wr_metrics_set {
	struct weir_metrics *metrics;
	uint32_t first;
};

/*
 * Register @nr metrics whose ids follow each other, or find them where an earlier object of the
 * module registered them. Returns as weir_metrics_register(); -EEXIST also when only a part of the
 * list is there. All or nothing.
 */
int wr_metrics_join(struct weir_metrics *metrics, const struct weir_metric_desc *descs, uint32_t nr,
		    struct wr_metrics_set *ret) WEIR_MUST_CHECK;

static inline void wr_metrics_count(const struct wr_metrics_set *set, uint32_t which, int64_t delta)
{
	if (WR_INSTRUMENT)
		weir_metrics_add(set->metrics, set->first + which, delta);
}

static inline void wr_metrics_level(const struct wr_metrics_set *set, uint32_t which, int64_t value)
{
	if (WR_INSTRUMENT)
		weir_metrics_set(set->metrics, set->first + which, value);
}

static inline void wr_metrics_value(const struct wr_metrics_set *set, uint32_t which,
				    uint64_t value)
{
	if (WR_INSTRUMENT)
		weir_metrics_observe(set->metrics, set->first + which, value);
}

/*
 * Pull the contended waits of all lock ranks into @metrics: locks keep counters and know nothing of
 * this module. Call once per registry. Returns as weir_metrics_register_read().
 */
int wr_metrics_watch_locks(struct weir_metrics *metrics) WEIR_MUST_CHECK;

#endif /* WR_METRICS_SET_H */
