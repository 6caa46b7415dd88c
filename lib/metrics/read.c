/* SPDX-License-Identifier: MIT */
/*
 * Reading: the sum over the shards of all threads, without a lock. What happened before the read is
 * in it, since a shard, a chunk or a row is published before anything is counted in it. The count
 * of a histogram is made from the buckets that were read and from nothing else.
 */
#include <weir/metrics.h>

#include <errno.h>
#include <string.h>

#include "base/atomic.h"
#include "base/util.h"
#include "metrics/registry.h"

int64_t wr_metrics_sum_cells(struct weir_metrics *metrics, uint32_t id)
{
	int64_t sum = 0;

	/* A3, A2: pair with the releases in metrics.c. */
	for (struct shard *s = wr_load_acquire(&metrics->shards); s != NULL; s = s->next) {
		struct chunk *chunk = wr_load_acquire(&s->chunks[id / CHUNK_CELLS]);

		if (chunk != NULL)
			sum += wr_load_relaxed(&chunk->cells[id % CHUNK_CELLS]);
	}
	return sum;
}

static void add_hist(const struct hist *hist, struct weir_histogram *ret)
{
	ret->sum += wr_load_relaxed(&hist->sum);
	for (uint32_t r = 0; r < NR_ROWS; r++) {
		/* A2: pairs with the release in make_row(). */
		const struct row *row = wr_load_acquire(&hist->rows[r]);

		for (uint32_t i = 0; row != NULL && i < ROW_BUCKETS; i++) {
			uint64_t n = wr_load_relaxed(&row->buckets[i]);

			ret->buckets[r * ROW_BUCKETS + i] += n;
			ret->count += n;
		}
	}
}

static void sum_histogram(struct weir_metrics *metrics, uint32_t id, struct weir_histogram *ret)
{
	memset(ret, 0, sizeof(*ret));
	/* A3, A2: pair with the releases in metrics.c. */
	for (struct shard *s = wr_load_acquire(&metrics->shards); s != NULL; s = s->next) {
		struct hist_chunk *chunk = wr_load_acquire(&s->hist_chunks[id / CHUNK_CELLS]);
		struct hist *hist;

		hist = chunk != NULL ? wr_load_acquire(&chunk->hists[id % CHUNK_CELLS]) : NULL;
		if (hist != NULL)
			add_hist(hist, ret);
	}
}

/* Two readers may finish in the other order than they read: a counter does not go back. */
static void remember(struct entry *entry, int64_t value)
{
	int64_t last = wr_load_relaxed(&entry->last_sum);

	if (entry->kind == WEIR_METRIC_GAUGE) {
		wr_store_relaxed(&entry->last_sum, value);
		return;
	}
	while (last < value && !wr_cas_relaxed(&entry->last_sum, &last, value))
		;
}

static int64_t sum_value(struct weir_metrics *metrics, uint32_t id, struct entry *entry)
{
	int64_t value;

	if (entry->read != NULL)
		value = entry->read(entry->arg);
	else
		value = wr_load_relaxed(&entry->base) + wr_metrics_sum_cells(metrics, id);
	remember(entry, value);
	return value;
}

int weir_metrics_read_sum(struct weir_metrics *metrics, uint32_t id, int64_t *ret)
{
	struct entry *entry = wr_metrics_entry(metrics, id);
	struct weir_histogram hist;

	if (entry == NULL)
		return -ENOENT;
	if (entry->kind != WEIR_METRIC_HISTOGRAM) {
		*ret = sum_value(metrics, id, entry);
		return 0;
	}
	sum_histogram(metrics, id, &hist);
	remember(entry, (int64_t)hist.count);
	*ret = (int64_t)hist.count;
	return 0;
}

int weir_metrics_read_approx(struct weir_metrics *metrics, uint32_t id, int64_t *ret)
{
	struct entry *entry = wr_metrics_entry(metrics, id);

	if (entry == NULL)
		return -ENOENT;
	*ret = wr_load_relaxed(&entry->last_sum);
	return 0;
}

int weir_metrics_read_histogram(struct weir_metrics *metrics, uint32_t id,
				struct weir_histogram *ret)
{
	struct entry *entry = wr_metrics_entry(metrics, id);

	if (entry == NULL)
		return -ENOENT;
	if (entry->kind != WEIR_METRIC_HISTOGRAM)
		return -EINVAL;
	sum_histogram(metrics, id, ret);
	remember(entry, (int64_t)ret->count);
	return 0;
}

uint64_t weir_histogram_bound(uint32_t bucket)
{
	uint32_t row = bucket / ROW_BUCKETS, step = bucket % ROW_BUCKETS;

	if (bucket >= WEIR_HISTOGRAM_BUCKETS - 1)
		return UINT64_MAX;
	if (row <= 1)
		return bucket;
	return (((uint64_t)ROW_BUCKETS + step + 1) << (row - 1)) - 1;
}

/* The middle of a bucket: nothing it counts is further away than 1/64. */
static uint64_t middle(uint32_t bucket)
{
	uint64_t low = bucket == 0 ? 0 : weir_histogram_bound(bucket - 1) + 1;

	return low + (weir_histogram_bound(bucket) - low) / 2;
}

uint64_t weir_histogram_quantile(const struct weir_histogram *histogram, double q)
{
	uint64_t rank, seen = 0;
	uint32_t bucket = 0;

	if (histogram->count == 0)
		return 0;
	/* Written so that NaN becomes 0 too. */
	q = q > 0 ? wr_min(q, 1.0) : 0;
	/* The smallest value that a share of q of all values does not exceed. */
	rank = (uint64_t)(q * (double)histogram->count);
	if ((double)rank < q * (double)histogram->count)
		rank++;
	rank = wr_min(wr_max(rank, (uint64_t)1), histogram->count);
	for (; bucket < WEIR_HISTOGRAM_BUCKETS; bucket++) {
		seen += histogram->buckets[bucket];
		if (seen >= rank)
			break;
	}
	return middle(bucket);
}

static void show_histogram(struct weir_metrics *metrics, struct weir_metric *shown)
{
	struct weir_histogram hist;
	uint32_t bucket = WEIR_HISTOGRAM_BUCKETS;

	sum_histogram(metrics, shown->id, &hist);
	shown->value = (int64_t)hist.count;
	shown->sum = hist.sum;
	shown->p50 = weir_histogram_quantile(&hist, 0.5);
	shown->p90 = weir_histogram_quantile(&hist, 0.9);
	shown->p99 = weir_histogram_quantile(&hist, 0.99);
	while (bucket > 0 && hist.buckets[bucket - 1] == 0)
		bucket--;
	if (bucket > 0)
		shown->max = weir_histogram_bound(bucket - 1);
}

int weir_metrics_for_each(struct weir_metrics *metrics,
			  int (*fn)(void *arg, const struct weir_metric *metric), void *arg)
{
	struct entry *entry;
	int rc = 0;

	for (uint32_t id = 0; rc == 0 && (entry = wr_metrics_entry(metrics, id)) != NULL; id++) {
		struct weir_metric shown = {
			.id = id,
			.kind = entry->kind,
			.name = entry->name,
			.unit = entry->unit,
			.help = entry->help,
		};

		if (entry->kind == WEIR_METRIC_HISTOGRAM) {
			show_histogram(metrics, &shown);
			remember(entry, shown.value);
		} else {
			shown.value = sum_value(metrics, id, entry);
		}
		rc = fn(arg, &shown);
	}
	return rc;
}
