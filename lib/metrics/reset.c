/* SPDX-License-Identifier: MIT */
/*
 * Beginning again, and what the registry knows of itself. Cells belong to the threads that add to
 * them, so a reset does not write them: it notes what they hold, and readers take that off.
 */
#include <weir/metrics.h>

#include <errno.h>

#include "base/atomic.h"
#include "base/util.h"
#include "lock/lock.h"
#include "metrics/registry.h"

static void reset_counter(struct weir_metrics *metrics, struct entry *entry)
{
	int64_t value = wr_load_acquire(&entry->live->base);

	value += wr_metrics_sum_cells(metrics, entry->id);
	/* Subtracted, not stored: adds that found no cell go here too. Pairs with value_of(). */
	wr_fetch_add_acq_rel(&entry->live->base, -value);
	wr_store_relaxed(&entry->live->last_sum, 0);
}

static void note(struct baseline *baseline, const struct weir_histogram *hist)
{
	uint64_t seq = wr_load_relaxed(&baseline->seq);

	/* A5: pairs with the acquires in subtract_baseline(). */
	wr_store_relaxed(&baseline->seq, seq + 1);
	wr_store_release(&baseline->sum, wr_load_relaxed(&baseline->sum) + hist->sum);
	for (uint32_t i = 0; i < WEIR_HISTOGRAM_BUCKETS; i++)
		wr_store_release(&baseline->buckets[i],
				 wr_load_relaxed(&baseline->buckets[i]) + hist->buckets[i]);
	wr_store_release(&baseline->seq, seq + 2);
}

static int reset_histogram(struct weir_metrics *metrics, struct entry *entry)
{
	struct baseline *baseline = wr_load_acquire(&entry->baseline), *none = NULL;
	struct weir_histogram hist;
	uint32_t offset = 0;

	if (baseline == NULL) {
		baseline = wr_metrics_alloc(metrics, sizeof(*baseline), &offset);
		if (baseline == NULL)
			return -ENOMEM;
		/* A2: pairs with the acquire in wr_metrics_sum_histogram(). */
		if (wr_cas_acq_rel(&entry->baseline, &none, baseline)) {
			if (entry->out != NULL)
				wr_store_release(&entry->out->baseline, offset);
		} else {
			wr_metrics_free(metrics, baseline);
			baseline = none;
		}
	}
	wr_mutex_lock(&metrics->data);
	wr_metrics_sum_histogram(metrics, entry, &hist);
	note(baseline, &hist);
	wr_store_relaxed(&entry->live->last_sum, 0);
	wr_mutex_unlock(&metrics->data);
	if (entry->window != NULL)
		wr_window_reset(metrics, entry);
	return 0;
}

int weir_metrics_reset(struct weir_metrics *metrics)
{
	struct entry *entry;
	int rc = 0;

	wr_queue_drain(metrics, false);
	for (uint32_t id = 0; rc == 0 && (entry = wr_metrics_entry(metrics, id)) != NULL; id++) {
		if (entry->labels != NULL || entry->read != NULL)
			continue;
		if (entry->kind == WEIR_METRIC_COUNTER)
			reset_counter(metrics, entry);
		else if (wr_metrics_has_buckets(entry->kind))
			rc = reset_histogram(metrics, entry);
	}
	wr_mutex_lock(&metrics->data);
	wr_recent_reset_locked(metrics);
	wr_mutex_unlock(&metrics->data);
	wr_history_reset(metrics);
	return rc;
}

static void count_entries(struct weir_metrics *metrics, struct weir_metrics_stats *ret)
{
	struct entry *entry;

	for (uint32_t id = 0; (entry = wr_metrics_entry(metrics, id)) != NULL; id++) {
		ret->nr_series += entry->labels == NULL;
		ret->nr_families += entry->family == id;
	}
}

void weir_metrics_stats(struct weir_metrics *metrics, struct weir_metrics_stats *ret)
{
	*ret = (struct weir_metrics_stats){
		.nr_label_overflow = wr_load_relaxed(&metrics->nr_overflow),
		.nr_samples = wr_load_relaxed(&metrics->nr_samples),
		.nr_refused = wr_load_relaxed(&metrics->nr_refused),
		.nr_queue_full = wr_load_relaxed(&metrics->nr_queue_full),
		.nr_queued = wr_queue_nr(metrics),
		.nr_dropped = wr_load_relaxed(&metrics->nr_dropped),
		.nr_history = wr_load_relaxed(&metrics->nr_history),
		.nr_history_left = wr_load_relaxed(&metrics->nr_history_left),
		.nr_collections = wr_load_relaxed(&metrics->nr_collections),
		.nr_trackers = (uint64_t)wr_load_relaxed(&metrics->nr_trackers),
	};
	if (metrics->segment != NULL)
		ret->segment_bytes = wr_min(wr_load_relaxed(&metrics->segment->backed),
					    (uint64_t)metrics->segment->bytes);
	count_entries(metrics, ret);
	wr_mutex_lock(&metrics->data);
	ret->nr_remembered = wr_recent_nr_locked(metrics);
	wr_mutex_unlock(&metrics->data);
}
