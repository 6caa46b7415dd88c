/* SPDX-License-Identifier: MIT */
/*
 * Reading: the sum over the shards of all threads, without a lock. What happened before the read is
 * in it, since a shard, a chunk or a row is published before anything is counted in it. The count
 * of a histogram is made from the buckets that were read and from nothing else.
 */
#include <weir/metrics.h>

#include <errno.h>
#include <math.h>
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
	for (uint32_t r = 0; r < NR_ROWS; r++) {
		/* A2: pairs with the release in make_row(). */
		const struct row *row = wr_load_acquire(&hist->rows[r]);

		if (row == NULL)
			continue;
		ret->sum += wr_load_relaxed(&row->sum);
		for (uint32_t i = 0; i < ROW_BUCKETS; i++)
			ret->buckets[r * ROW_BUCKETS + i] += wr_load_relaxed(&row->buckets[i]);
	}
}

/* Take from @ret what @baseline holds, or add nothing. Before the buckets are read. */
static void subtract_baseline(struct baseline *baseline, struct weir_histogram *ret)
{
	uint64_t seq;

	if (baseline == NULL)
		return;
	do {
		/* A5: pairs with the releases in reset_histogram(). */
		seq = wr_load_acquire(&baseline->seq);
		ret->sum = 0 - wr_load_acquire(&baseline->sum);
		for (uint32_t i = 0; i < WEIR_HISTOGRAM_BUCKETS; i++)
			ret->buckets[i] = 0 - wr_load_acquire(&baseline->buckets[i]);
	} while (seq % 2 != 0 || wr_load_relaxed(&baseline->seq) != seq);
}

/* What was counted since the last reset, of all time. */
void wr_metrics_sum_histogram(struct weir_metrics *metrics, struct entry *entry,
			      struct weir_histogram *ret)
{
	uint32_t id = entry->id;

	memset(ret, 0, sizeof(*ret));
	/* First: buckets read after what they held then cannot be below it. */
	subtract_baseline(wr_load_acquire(&entry->baseline), ret);
	/* A3, A2: pair with the releases in metrics.c. */
	for (struct shard *s = wr_load_acquire(&metrics->shards); s != NULL; s = s->next) {
		struct hist_chunk *chunk = wr_load_acquire(&s->hist_chunks[id / CHUNK_CELLS]);
		struct hist *hist;

		hist = chunk != NULL ? wr_load_acquire(&chunk->hists[id % CHUNK_CELLS]) : NULL;
		if (hist != NULL)
			add_hist(hist, ret);
	}
	for (uint32_t i = 0; i < WEIR_HISTOGRAM_BUCKETS; i++)
		ret->count += ret->buckets[i];
}

/* Two readers may finish in the other order than they read: a counter does not go back. */
static void remember(struct entry *entry, int64_t value)
{
	_Atomic int64_t *where = &entry->live->last_sum;
	int64_t last = wr_load_relaxed(where);

	if (entry->kind == WEIR_METRIC_GAUGE || entry->kind == WEIR_METRIC_FLOAT) {
		wr_store_relaxed(where, value);
		return;
	}
	while (last < value && !wr_cas_relaxed(where, &last, value))
		;
}

/* The integer nearest to a FLOAT; what is out of range is the end of it. */
static int64_t nearest(int64_t bits)
{
	double value = wr_float_of(bits);

	if (!wr_is_available(bits))
		return 0;
	if (value >= 9223372036854775807.0)
		return INT64_MAX;
	return value <= -9223372036854775808.0 ? INT64_MIN : llround(value);
}

/* The value now; remembers it. */
static int64_t value_of(struct weir_metrics *metrics, struct entry *entry)
{
	struct weir_histogram hist;
	int64_t value;

	if (wr_metrics_has_buckets(entry->kind)) {
		wr_metrics_sum_histogram(metrics, entry, &hist);
		value = (int64_t)hist.count;
	} else if (entry->kind == WEIR_METRIC_FLOAT) {
		value = nearest(wr_load_relaxed(&entry->live->base));
	} else if (entry->read != NULL) {
		value = entry->read(entry->arg);
	} else {
		/* The base first: pairs with the exchange in weir_metrics_reset(). */
		value = wr_load_acquire(&entry->live->base);
		value += wr_metrics_sum_cells(metrics, entry->id);
	}
	remember(entry, value);
	return value;
}

int weir_metrics_read_sum(struct weir_metrics *metrics, uint32_t id, int64_t *ret)
{
	struct entry *entry = wr_metrics_entry(metrics, id);

	if (entry == NULL)
		return -ENOENT;
	*ret = value_of(metrics, entry);
	return 0;
}

int weir_metrics_read_float(struct weir_metrics *metrics, uint32_t id, double *ret)
{
	struct entry *entry = wr_metrics_entry(metrics, id);
	int64_t bits;

	if (entry == NULL || entry->kind != WEIR_METRIC_FLOAT || entry->labels != NULL)
		return -ENOENT;
	bits = wr_load_relaxed(&entry->live->base);
	if (!wr_is_available(bits))
		return -ENODATA;
	*ret = wr_float_of(bits);
	return 0;
}

int weir_metrics_read_approx(struct weir_metrics *metrics, uint32_t id, int64_t *ret)
{
	struct entry *entry = wr_metrics_entry(metrics, id);

	if (entry == NULL)
		return -ENOENT;
	*ret = wr_load_relaxed(&entry->live->last_sum);
	return 0;
}

int weir_metrics_read_histogram(struct weir_metrics *metrics, uint32_t id,
				struct weir_histogram *ret)
{
	struct entry *entry = wr_metrics_entry(metrics, id);

	if (entry == NULL)
		return -ENOENT;
	if (!wr_metrics_has_buckets(entry->kind))
		return -EINVAL;
	wr_metrics_sum_histogram(metrics, entry, ret);
	remember(entry, (int64_t)ret->count);
	return 0;
}

int weir_metrics_read_window(struct weir_metrics *metrics, uint32_t id, struct weir_histogram *ret)
{
	struct entry *entry = wr_metrics_entry(metrics, id);

	if (entry == NULL)
		return -ENOENT;
	if (entry->window == NULL)
		return -EINVAL;
	wr_window_read(metrics, entry, ret);
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

void wr_histogram_show(const struct weir_histogram *hist, uint64_t ret[4])
{
	uint32_t bucket = WEIR_HISTOGRAM_BUCKETS;

	ret[0] = weir_histogram_quantile(hist, 0.5);
	ret[1] = weir_histogram_quantile(hist, 0.9);
	ret[2] = weir_histogram_quantile(hist, 0.99);
	while (bucket > 0 && hist->buckets[bucket - 1] == 0)
		bucket--;
	ret[3] = bucket > 0 ? weir_histogram_bound(bucket - 1) : 0;
}

static void show_buckets(struct weir_metrics *metrics, struct entry *entry, struct weir_metric *ret)
{
	struct weir_histogram hist;
	uint64_t parts[4];

	wr_metrics_sum_histogram(metrics, entry, &hist);
	remember(entry, (int64_t)hist.count);
	ret->value = (int64_t)hist.count;
	ret->sum = hist.sum;
	if (entry->window != NULL)
		wr_window_read(metrics, entry, &hist);
	wr_histogram_show(&hist, parts);
	for (uint32_t i = 0; entry->window != NULL && i < wr_array_size(parts); i++)
		wr_store_relaxed(&entry->live->window[i], parts[i]);
	ret->p50 = parts[0];
	ret->p90 = parts[1];
	ret->p99 = parts[2];
	ret->max = parts[3];
}

void wr_metrics_show(struct weir_metrics *metrics, struct entry *entry, struct weir_metric *ret)
{
	int64_t bits;

	*ret = (struct weir_metric){
		.id = entry->id,
		.kind = entry->kind,
		.name = entry->name,
		.unit = entry->unit,
		.help = entry->help,
		.labels = entry->text,
		.family = entry->family,
		.available = true,
	};
	if (wr_metrics_has_buckets(entry->kind))
		show_buckets(metrics, entry, ret);
	else
		ret->value = value_of(metrics, entry);
	ret->number = (double)ret->value;
	if (entry->kind == WEIR_METRIC_FLOAT) {
		bits = wr_load_relaxed(&entry->live->base);
		ret->available = wr_is_available(bits);
		ret->number = ret->available ? wr_float_of(bits) : 0;
		ret->value = nearest(bits);
	}
}

int weir_metrics_for_each(struct weir_metrics *metrics,
			  int (*fn)(void *arg, const struct weir_metric *metric), void *arg)
{
	struct weir_metric shown;
	struct entry *entry;
	int rc = 0;

	for (uint32_t id = 0; rc == 0 && (entry = wr_metrics_entry(metrics, id)) != NULL; id++) {
		if (entry->labels != NULL)
			continue;
		wr_metrics_show(metrics, entry, &shown);
		rc = fn(arg, &shown);
	}
	return rc;
}
