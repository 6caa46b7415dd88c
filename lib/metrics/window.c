/* SPDX-License-Identifier: MIT */
/*
 * The window of a summary. Observing is what it is for a histogram; the window is what the buckets
 * hold now, less what they held when the oldest part began. So the hot path knows no time, and a
 * part ends when somebody looks: the collector every second, or a reader.
 */
#include <weir/metrics.h>

#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "metrics/registry.h"

#define NR_PARTS 6u
#define PART_NS	 10000000000u

struct part {
	uint64_t start_ns;
	uint64_t sum;
	uint64_t buckets[WEIR_HISTOGRAM_BUCKETS];
};

/* All [METRICS_DATA]. */
struct window {
	uint64_t nr; /* parts begun; the latest is nr - 1 */
	struct part parts[NR_PARTS];
};

struct window *wr_window_make(void)
{
	return wr_calloc(1, sizeof(struct window));
}

void wr_window_free(struct window *window)
{
	wr_free(window);
}

/* Only what differs is written: most pages of a part are never touched. */
static void begin_part(struct part *part, uint64_t now, const struct weir_histogram *hist)
{
	part->start_ns = now;
	part->sum = hist->sum;
	for (uint32_t i = 0; i < WEIR_HISTOGRAM_BUCKETS; i++) {
		if (part->buckets[i] != hist->buckets[i])
			part->buckets[i] = hist->buckets[i];
	}
}

/* What the buckets held when the window began. NULL: nothing yet. */
static const struct part *oldest(const struct window *window)
{
	if (window->nr == 0)
		return NULL;
	return window->nr < NR_PARTS ? NULL : &window->parts[window->nr % NR_PARTS];
}

static void subtract(const struct part *part, struct weir_histogram *ret)
{
	ret->count = 0;
	ret->sum = ret->sum > part->sum ? ret->sum - part->sum : 0;
	for (uint32_t i = 0; i < WEIR_HISTOGRAM_BUCKETS; i++) {
		/* A reader that came earlier to the cells comes later to the lock. */
		ret->buckets[i] -= wr_min(part->buckets[i], ret->buckets[i]);
		ret->count += ret->buckets[i];
	}
}

void wr_window_read(struct weir_metrics *metrics, struct entry *entry, struct weir_histogram *ret)
{
	struct window *window = entry->window;
	uint64_t now = metrics->now_ns();

	wr_metrics_sum_histogram(metrics, entry, ret);
	wr_mutex_lock(&metrics->data);
	if (window->nr == 0 ||
	    now - window->parts[(window->nr - 1) % NR_PARTS].start_ns >= PART_NS) {
		begin_part(&window->parts[window->nr % NR_PARTS], now, ret);
		window->nr++;
	}
	if (oldest(window) != NULL)
		subtract(oldest(window), ret);
	wr_mutex_unlock(&metrics->data);
}

void wr_window_reset(struct weir_metrics *metrics, struct entry *entry)
{
	wr_mutex_lock(&metrics->data);
	memset(entry->window, 0, sizeof(*entry->window));
	wr_mutex_unlock(&metrics->data);
}
