/* SPDX-License-Identifier: MIT */
/*
 * The queue of samples: bounded, many threads put, one at a time takes. Each place has a sequence
 * number that says whose turn it is (the design of D. Vyukov's bounded queue), so putting is one
 * compare-and-swap and a copy, and never waits. Exactly queue_max samples fit.
 *
 * A place at position p: free when seq == p, filled when seq == p + 1, free for the next round when
 * seq == p + max.
 *
 *   Q1  sample written, seq p + 1 released    seq acquired, sample read
 *   Q2  sample read, seq p + max released     seq acquired, sample written
 */
#include <weir/metrics_sample.h>

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"
#include "lock/lock.h"
#include "metrics/registry.h"
#include "metrics/sample.h"

struct place {
	_Atomic uint64_t seq;
	struct weir_sample sample; /* texts point into @text */
	struct weir_label labels[WEIR_METRICS_LABELS_MAX];
	char text[WEIR_QUEUED_BYTES_MAX];
};

struct queue {
	uint32_t max;		   /* [const] */
	_Atomic uint64_t nr_put;   /* [atomic] */
	_Atomic uint64_t nr_taken; /* [METRICS_RUN] writes */
	struct place places[];
};

static struct queue *get_queue(struct weir_metrics *metrics)
{
	struct queue *queue = wr_load_acquire(&metrics->queue), *none = NULL;

	if (queue != NULL)
		return queue;
	queue = wr_calloc(1, sizeof(*queue) +
				     (size_t)metrics->opts.queue_max * sizeof(queue->places[0]));
	if (queue == NULL)
		return NULL;
	queue->max = metrics->opts.queue_max;
	for (uint32_t i = 0; i < queue->max; i++)
		wr_store_relaxed(&queue->places[i].seq, i);
	/* A2: pairs with the acquires of who uses it. */
	if (wr_cas_acq_rel(&metrics->queue, &none, queue))
		return queue;
	wr_free(queue);
	return none;
}

/* Copy @text behind what is in @place; NULL stays NULL. */
static const char *keep(struct place *place, size_t *used, const char *text)
{
	size_t bytes;
	char *to = place->text + *used;

	if (text == NULL)
		return NULL;
	bytes = strlen(text) + 1;
	memcpy(to, text, bytes);
	*used += bytes;
	return to;
}

static size_t bytes_of(const struct weir_sample *sample)
{
	size_t bytes = strlen(sample->name) + 1;

	bytes += sample->unit != NULL ? strlen(sample->unit) + 1 : 0;
	bytes += sample->help != NULL ? strlen(sample->help) + 1 : 0;
	for (uint32_t i = 0; i < sample->nr_labels; i++)
		bytes += strlen(sample->labels[i].name) + strlen(sample->labels[i].value) + 2;
	return bytes;
}

static void fill(struct place *place, const struct weir_sample *sample)
{
	struct weir_sample *to = &place->sample;
	size_t used = 0;

	*to = *sample;
	to->name = keep(place, &used, sample->name);
	to->unit = keep(place, &used, sample->unit);
	to->help = keep(place, &used, sample->help);
	for (uint32_t i = 0; i < sample->nr_labels; i++) {
		place->labels[i].name = keep(place, &used, sample->labels[i].name);
		place->labels[i].value = keep(place, &used, sample->labels[i].value);
	}
	to->labels = place->labels;
	if (to->time_ms == WEIR_TIME_NOW)
		to->time_ms = wr_unix_ms();
}

int weir_metrics_queue(struct weir_metrics *metrics, const struct weir_sample *sample)
{
	int rc = wr_metrics_check_counted(metrics, sample);
	struct queue *queue;
	struct place *place;
	uint64_t at;

	if (rc != 0)
		return rc;
	if (bytes_of(sample) > WEIR_QUEUED_BYTES_MAX)
		return -E2BIG;
	queue = get_queue(metrics);
	if (queue == NULL)
		return -ENOMEM;
	at = wr_load_relaxed(&queue->nr_put);
	for (;;) {
		place = &queue->places[at % queue->max];
		/* Q2: pairs with the release in take(). */
		int64_t ahead = (int64_t)(wr_load_acquire(&place->seq) - at);

		if (ahead < 0) {
			wr_fetch_add_relaxed(&metrics->nr_queue_full, 1);
			return -EAGAIN;
		}
		if (ahead > 0)
			at = wr_load_relaxed(&queue->nr_put);
		else if (wr_cas_relaxed(&queue->nr_put, &at, at + 1))
			break;
	}
	fill(place, sample);
	/* Q1: pairs with the acquire in take(). */
	wr_store_release(&place->seq, at + 1);
	return 0;
}

/* Take the next one; false when there is none that is complete. */
static bool take(struct weir_metrics *metrics, struct queue *queue, bool count)
{
	uint64_t at = wr_load_relaxed(&queue->nr_taken);
	struct place *place = &queue->places[at % queue->max];

	/* Q1: pairs with the release in weir_metrics_queue(). */
	if (wr_load_acquire(&place->seq) != at + 1)
		return false;
	/* The names may stand for something else by now: what is refused is counted. */
	if (count && wr_metrics_take(metrics, &place->sample) != 0)
		wr_fetch_add_relaxed(&metrics->nr_refused, 1);
	wr_store_relaxed(&queue->nr_taken, at + 1);
	/* Q2: pairs with the acquire in weir_metrics_queue(). */
	wr_store_release(&place->seq, at + queue->max);
	return true;
}

uint64_t wr_queue_drain(struct weir_metrics *metrics, bool count)
{
	struct queue *queue = wr_load_acquire(&metrics->queue);
	uint64_t nr = 0;

	if (queue == NULL)
		return 0;
	wr_mutex_lock(&metrics->run);
	/* Not more than there is room for: threads that keep putting do not keep us here. */
	while (nr < queue->max && take(metrics, queue, count))
		nr++;
	wr_mutex_unlock(&metrics->run);
	return nr;
}

uint64_t weir_metrics_drain(struct weir_metrics *metrics)
{
	return wr_queue_drain(metrics, true);
}

uint64_t wr_queue_nr(const struct weir_metrics *metrics)
{
	struct queue *queue = wr_load_acquire(&metrics->queue);
	uint64_t taken;

	if (queue == NULL)
		return 0;
	taken = wr_load_relaxed(&queue->nr_taken);
	return wr_load_relaxed(&queue->nr_put) - taken;
}

void wr_queue_free(struct queue *queue)
{
	wr_free(queue);
}
