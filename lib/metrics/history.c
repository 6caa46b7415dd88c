/* SPDX-License-Identifier: MIT */
/*
 * History: three rings of points per series, made by rounds. A round reads every series, so that
 * what others keep is in the segment too, and adds a point to each ring that is due. One round runs
 * at a time; readers take no lock: they copy, look at the count again, and leave out what may have
 * been overwritten meanwhile. The times of the points are the same for all series, and kept once.
 *
 * A ring that is due twice in one round gets one point: after a pause there is a gap, not a flood.
 */
#include <weir/metrics_sample.h>

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/atomic.h"
#include "base/util.h"
#include "lock/lock.h"
#include "metrics/registry.h"
#include "metrics/sample.h"

#define EARLY_NS 50000000u

struct ring {
	uint64_t period_ns;
	uint32_t start; /* of its points among all */
	uint32_t max;
};

static const struct ring rings[NR_RINGS] = {
#define X(nr, ms, start, max) [nr] = {(uint64_t)(ms)*1000000u, start, max},
	WR_RINGS(X)
#undef X
};

/* 480 + 1440 points are all there are, and no ring is longer than what is promised. */
_Static_assert(RING_POINTS == 480 + WEIR_HISTORY_POINTS_MAX, "rings fill the points");

/* Which rings get a point now. */
static unsigned due_rings(struct weir_metrics *metrics, uint64_t now)
{
	unsigned due = 0;

	for (uint32_t r = 0; r < NR_RINGS; r++) {
		uint64_t next = metrics->next_point[r];

		/* A round that comes a little early counts: intervals jitter. */
		if (next != 0 && now + EARLY_NS < next)
			continue;
		due |= 1u << r;
		next += rings[r].period_ns;
		metrics->next_point[r] = next > now ? next : now + rings[r].period_ns;
	}
	return due;
}

static struct history *get_history(struct weir_metrics *metrics, struct entry *entry)
{
	struct history *history = wr_load_relaxed(&entry->history);
	uint32_t offset;

	if (history != NULL || wr_load_relaxed(&metrics->nr_history) >= metrics->opts.history_max)
		return history;
	history = wr_metrics_alloc(metrics, sizeof(*history), &offset);
	if (history == NULL)
		return NULL;
	for (uint32_t r = 0; r < NR_RINGS; r++)
		wr_store_relaxed(&history->first[r], wr_load_relaxed(&metrics->times->nr[r]));
	wr_fetch_add_relaxed(&metrics->nr_history, 1);
	/* A2: pairs with the acquire in weir_metrics_history(); S2 likewise. */
	wr_store_release(&entry->history, history);
	if (entry->out != NULL)
		wr_store_release(&entry->out->history, offset);
	return history;
}

/* A gauge's point is the mean of what the rounds saw. */
static double point_of(struct entry *entry, uint32_t ring, bool due, double value, bool available)
{
	double mean;

	if (entry->kind != WEIR_METRIC_GAUGE && entry->kind != WEIR_METRIC_FLOAT)
		return value;
	if (available) {
		entry->nr_mean[ring]++;
		entry->mean[ring] += (value - entry->mean[ring]) / entry->nr_mean[ring];
	}
	if (!due)
		return 0;
	mean = entry->nr_mean[ring] > 0 ? entry->mean[ring] : wr_float_of(WR_UNAVAILABLE);
	entry->mean[ring] = 0;
	entry->nr_mean[ring] = 0;
	return mean;
}

static void add_points(struct weir_metrics *metrics, struct entry *entry, unsigned due,
		       const struct weir_metric *shown)
{
	struct history *history = get_history(metrics, entry);

	for (uint32_t r = 0; history != NULL && r < NR_RINGS; r++) {
		uint64_t nr = wr_load_relaxed(&metrics->times->nr[r]);
		double point = point_of(entry, r, due >> r & 1, shown->number, shown->available);

		/* S3: released with the count; the value alone carries the copy's later look. */
		if (due >> r & 1)
			wr_store_release(&history->points[rings[r].start + nr % rings[r].max],
					 (uint64_t)wr_bits_of(point));
	}
}

static void end_points(struct history_times *times, unsigned due)
{
	uint64_t ms = wr_unix_ms();

	for (uint32_t r = 0; r < NR_RINGS; r++) {
		uint64_t nr = wr_load_relaxed(&times->nr[r]);

		if (!(due >> r & 1))
			continue;
		wr_store_release(&times->times[rings[r].start + nr % rings[r].max], ms);
		/* S3: pairs with the acquire in wr_history_read(). */
		wr_store_release(&times->nr[r], nr + 1);
	}
}

/* The first round makes the times when the segment has none. */
static bool has_times(struct weir_metrics *metrics)
{
	uint32_t offset;

	if (wr_load_relaxed(&metrics->times) == NULL)
		/* A2: pairs with the acquires of the readers. */
		wr_store_release(&metrics->times,
				 wr_metrics_alloc(metrics, sizeof(struct history_times), &offset));
	return wr_load_relaxed(&metrics->times) != NULL;
}

void wr_history_round(struct weir_metrics *metrics)
{
	uint32_t nr_series = 0;
	struct weir_metric shown;
	struct entry *entry;
	unsigned due;
	bool times;

	wr_mutex_lock(&metrics->run);
	times = has_times(metrics);
	due = due_rings(metrics, metrics->now_ns());
	for (uint32_t id = 0; (entry = wr_metrics_entry(metrics, id)) != NULL; id++) {
		if (entry->labels != NULL)
			continue;
		nr_series++;
		wr_metrics_show(metrics, entry, &shown);
		if (times)
			add_points(metrics, entry, due, &shown);
	}
	if (times)
		end_points(metrics->times, due);
	wr_store_relaxed(&metrics->nr_history_left,
			 nr_series - wr_load_relaxed(&metrics->nr_history));
	wr_fetch_add_relaxed(&metrics->nr_collections, 1);
	if (metrics->segment != NULL && metrics->segment->fd >= 0)
		wr_store_relaxed(&metrics->segment->head->tick_ms, wr_unix_ms());
	wr_mutex_unlock(&metrics->run);
}

void wr_history_reset(struct weir_metrics *metrics)
{
	struct entry *entry;

	wr_mutex_lock(&metrics->run);
	for (uint32_t id = 0; (entry = wr_metrics_entry(metrics, id)) != NULL; id++) {
		struct history *history = wr_load_relaxed(&entry->history);

		for (uint32_t r = 0; history != NULL && r < NR_RINGS; r++) {
			wr_store_relaxed(&history->first[r],
					 wr_load_relaxed(&metrics->times->nr[r]));
			entry->nr_mean[r] = 0;
			entry->mean[r] = 0;
		}
	}
	wr_mutex_unlock(&metrics->run);
}

uint32_t wr_history_read(const struct history_times *times, const struct history *history,
			 uint32_t ring, uint32_t max, struct weir_point *ret)
{
	const struct ring *r = &rings[ring];
	/* S3: pairs with the release in end_points(). */
	uint64_t end = wr_load_acquire(&times->nr[ring]);
	uint64_t at = wr_load_relaxed(&history->first[ring]);
	uint64_t lost;
	uint32_t nr = 0, gone;

	/* The oldest place may be the one that is being written. */
	if (end >= r->max && at < end - r->max + 1)
		at = end - r->max + 1;
	if (at > end || max == 0)
		return 0;
	if (end - at > max)
		at = end - max;
	for (uint64_t k = at; k < end; k++) {
		uint32_t place = r->start + (uint32_t)(k % r->max);

		ret[nr].time_ms = wr_load_acquire(&times->times[place]);
		ret[nr++].value = wr_float_of((int64_t)wr_load_acquire(&history->points[place]));
	}
	end = wr_load_relaxed(&times->nr[ring]);
	/* What was overwritten while it was copied. */
	lost = end >= r->max && end - r->max + 1 > at ? end - r->max + 1 - at : 0;
	gone = (uint32_t)wr_min(lost, (uint64_t)nr);
	memmove(ret, ret + gone, (nr - gone) * sizeof(*ret));
	return nr - gone;
}

int weir_metrics_history(struct weir_metrics *metrics, uint32_t id, int ring, uint32_t max,
			 struct weir_point *ret)
{
	struct entry *entry = wr_metrics_entry(metrics, id);
	struct history *history;

	if (entry == NULL)
		return -ENOENT;
	if (ring < WEIR_HISTORY_1S || ring > WEIR_HISTORY_60S)
		return -EINVAL;
	/* A2: pairs with the release in get_history(). */
	history = wr_load_acquire(&entry->history);
	if (history == NULL)
		return 0;
	return (int)wr_history_read(wr_load_acquire(&metrics->times), history, (uint32_t)ring, max,
				    ret);
}
