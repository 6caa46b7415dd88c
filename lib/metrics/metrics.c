/* SPDX-License-Identifier: MIT */
/*
 * The hot path and what stands behind it: which cells the calling thread owns in which registry.
 *
 * Guarantees: (a) an add that finds its cell is one load and one store of the thread's own memory;
 * (b) no add is lost, neither when its thread ends nor when memory runs out; (c) memory grows with
 * the threads that live at one time, not with all that ever lived; (d) a thread may end while a
 * registry it used is being closed, or long after.
 *
 * A thread finds its shard through a table of thread-local slots, one per open registry. A slot is
 * valid only if its generation is the registry's, so a slot left over from a closed registry is
 * never followed. Tried and dropped: folding the cells of an ending thread into a retired shard,
 * which needs readers and folders to exclude each other.
 */
#include <weir/metrics.h>

#include <errno.h>
#include <pthread.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"
#include "lock/lock.h"
#include "metrics/registry.h"

struct tls_slot {
	uint64_t generation;
	struct shard *shard;
};

/* Initial-exec: one instruction to reach, also in the shared library. 256 bytes. */
static _Thread_local struct tls_slot tls_slots[WEIR_METRICS_REGISTRIES_MAX]
	__attribute__((tls_model("initial-exec"))); /* [thread] */

struct wr_mutex wr_metrics_mutex = WR_MUTEX_INIT(WR_RANK_METRICS, "metrics");
static struct weir_metrics *registries[WEIR_METRICS_REGISTRIES_MAX] WR_GLOBAL_GUARDED_BY(
	wr_metrics_mutex);
static uint64_t last_generation WR_GLOBAL_GUARDED_BY(wr_metrics_mutex);

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool has_key;

/* Runs in an ending thread that owns shards: leave them, with their counts, for another. */
static void thread_ends(void *unused)
{
	(void)unused;
	wr_mutex_lock(&wr_metrics_mutex);
	for (uint32_t i = 0; i < WEIR_METRICS_REGISTRIES_MAX; i++) {
		struct weir_metrics *m = registries[i];

		if (m != NULL && tls_slots[i].generation == m->generation) {
			tls_slots[i].shard->next_free = m->free_shards;
			m->free_shards = tls_slots[i].shard;
		}
		tls_slots[i].generation = 0;
	}
	wr_mutex_unlock(&wr_metrics_mutex);
}

static void make_key(void)
{
	has_key = pthread_key_create(&key, thread_ends) == 0;
}

int weir_metrics_open(struct weir_metrics **ret)
{
	struct weir_metrics *m = wr_calloc(1, sizeof(*m));
	uint32_t slot;

	if (m == NULL)
		return -ENOMEM;
	pthread_once(&key_once, make_key);
	wr_mutex_lock(&wr_metrics_mutex);
	for (slot = 0; slot < WEIR_METRICS_REGISTRIES_MAX; slot++) {
		if (registries[slot] == NULL)
			break;
	}
	if (slot < WEIR_METRICS_REGISTRIES_MAX) {
		m->slot = slot;
		m->generation = ++last_generation;
		registries[slot] = m;
	}
	wr_mutex_unlock(&wr_metrics_mutex);
	if (slot == WEIR_METRICS_REGISTRIES_MAX) {
		wr_free(m);
		return -ENOSPC;
	}
	*ret = m;
	return 0;
}

static void free_hists(struct hist_chunk *chunk)
{
	if (chunk == NULL)
		return;
	for (uint32_t i = 0; i < CHUNK_CELLS; i++) {
		struct hist *hist = wr_load_relaxed(&chunk->hists[i]);

		for (uint32_t r = 0; hist != NULL && r < NR_ROWS; r++)
			wr_free(wr_load_relaxed(&hist->rows[r]));
		wr_free(hist);
	}
	wr_free(chunk);
}

static void free_shard(struct shard *shard)
{
	for (uint32_t i = 0; i < NR_CHUNKS; i++) {
		wr_free(wr_load_relaxed(&shard->chunks[i]));
		free_hists(wr_load_relaxed(&shard->hist_chunks[i]));
	}
	wr_free(shard);
}

void weir_metrics_close(struct weir_metrics *metrics)
{
	struct shard *next;

	if (metrics == NULL)
		return;
	wr_mutex_lock(&wr_metrics_mutex);
	registries[metrics->slot] = NULL;
	wr_mutex_unlock(&wr_metrics_mutex);
	/* From here on no ending thread touches it. */
	for (struct shard *s = wr_load_relaxed(&metrics->shards); s != NULL; s = next) {
		next = s->next;
		free_shard(s);
	}
	for (uint32_t i = 0; i < wr_load_relaxed(&metrics->nr_metrics); i++)
		wr_metrics_free_entry(metrics->entries[i]);
	wr_free(metrics);
}

/* A shard for this thread that ended threads left behind, or NULL. */
static struct shard *adopt_shard(struct weir_metrics *metrics)
{
	struct shard *shard;

	wr_mutex_lock(&wr_metrics_mutex);
	shard = metrics->free_shards;
	if (shard != NULL)
		metrics->free_shards = shard->next_free;
	wr_mutex_unlock(&wr_metrics_mutex);
	return shard;
}

static struct shard *new_shard(struct weir_metrics *metrics)
{
	struct shard *shard = wr_calloc_aligned(WR_CACHE_LINE, sizeof(*shard));

	if (shard == NULL)
		return NULL;
	shard->next = wr_load_relaxed(&metrics->shards);
	/* A3: pairs with the acquire in the readers. */
	while (!wr_cas_acq_rel(&metrics->shards, &shard->next, shard))
		;
	return shard;
}

/* The calling thread's shard; NULL when there is no memory for one. */
static struct shard *own_shard(struct weir_metrics *metrics)
{
	struct tls_slot *slot = &tls_slots[metrics->slot];
	struct shard *shard;

	if (slot->generation == metrics->generation)
		return slot->shard;
	shard = adopt_shard(metrics);
	if (shard == NULL)
		shard = new_shard(metrics);
	if (shard == NULL)
		return NULL;
	slot->shard = shard;
	slot->generation = metrics->generation;
	/* Without the key the shard stays as it is when the thread ends: counted, not reused. */
	if (has_key)
		pthread_setspecific(key, metrics);
	return shard;
}

static WR_COLD _Atomic int64_t *make_cell(struct weir_metrics *metrics, uint32_t id)
{
	struct shard *shard = own_shard(metrics);
	struct chunk *chunk;

	if (shard == NULL)
		return NULL;
	chunk = wr_load_relaxed(&shard->chunks[id / CHUNK_CELLS]);
	if (chunk == NULL) {
		chunk = wr_calloc_aligned(WR_CACHE_LINE, sizeof(*chunk));
		if (chunk == NULL)
			return NULL;
		/* A2: pairs with the acquire in the readers. */
		wr_store_release(&shard->chunks[id / CHUNK_CELLS], chunk);
	}
	return &chunk->cells[id % CHUNK_CELLS];
}

static inline _Atomic int64_t *find_cell(struct weir_metrics *metrics, uint32_t id)
{
	struct tls_slot *slot = &tls_slots[metrics->slot];
	struct chunk *chunk;

	if (slot->generation != metrics->generation)
		return NULL;
	chunk = wr_load_relaxed(&slot->shard->chunks[id / CHUNK_CELLS]);
	return chunk != NULL ? &chunk->cells[id % CHUNK_CELLS] : NULL;
}

static inline bool is_metric(struct weir_metrics *metrics, uint32_t id)
{
	return metrics != NULL && id < wr_load_relaxed(&metrics->nr_metrics);
}

/* First time in this thread, or for this part of the ids. */
static WR_COLD void add_slowly(struct weir_metrics *metrics, uint32_t id, int64_t delta)
{
	_Atomic int64_t *cell = make_cell(metrics, id);
	struct entry *entry = wr_metrics_entry(metrics, id);

	if (cell != NULL)
		wr_add_own(cell, delta);
	else
		wr_fetch_add_relaxed(&entry->base, delta);
}

void weir_metrics_add(struct weir_metrics *metrics, uint32_t id, int64_t delta)
{
	_Atomic int64_t *cell;

	if (!is_metric(metrics, id))
		return;
	cell = find_cell(metrics, id);
	if (cell != NULL)
		wr_add_own(cell, delta);
	else
		add_slowly(metrics, id, delta);
}

void weir_metrics_set(struct weir_metrics *metrics, uint32_t id, int64_t value)
{
	struct entry *entry = metrics != NULL ? wr_metrics_entry(metrics, id) : NULL;

	if (entry == NULL || entry->kind != WEIR_METRIC_GAUGE)
		return;
	/* What the cells hold is covered by the value: take it off beforehand. */
	wr_store_relaxed(&entry->base, value - wr_metrics_sum_cells(metrics, id));
}

static WR_COLD struct hist *make_hist(struct shard *shard, uint32_t id)
{
	struct hist_chunk *chunk = wr_load_relaxed(&shard->hist_chunks[id / CHUNK_CELLS]);
	struct hist *hist;

	if (chunk == NULL) {
		chunk = wr_calloc(1, sizeof(*chunk));
		if (chunk == NULL)
			return NULL;
		/* A2: pairs with the acquire in the readers. */
		wr_store_release(&shard->hist_chunks[id / CHUNK_CELLS], chunk);
	}
	hist = wr_load_relaxed(&chunk->hists[id % CHUNK_CELLS]);
	if (hist == NULL) {
		hist = wr_calloc_aligned(WR_CACHE_LINE, sizeof(*hist));
		/* A2 */
		if (hist != NULL)
			wr_store_release(&chunk->hists[id % CHUNK_CELLS], hist);
	}
	return hist;
}

static WR_COLD struct row *make_row(struct hist *hist, uint32_t index)
{
	struct row *row = wr_calloc_aligned(WR_CACHE_LINE, sizeof(*row));

	/* A2: pairs with the acquire in the readers. */
	if (row != NULL)
		wr_store_release(&hist->rows[index], row);
	return row;
}

static struct hist *find_hist(struct shard *shard, uint32_t id)
{
	struct hist_chunk *chunk = wr_load_relaxed(&shard->hist_chunks[id / CHUNK_CELLS]);
	struct hist *hist;

	hist = chunk != NULL ? wr_load_relaxed(&chunk->hists[id % CHUNK_CELLS]) : NULL;
	return hist != NULL ? hist : make_hist(shard, id);
}

void weir_metrics_observe(struct weir_metrics *metrics, uint32_t id, uint64_t value)
{
	uint32_t bucket = wr_histogram_bucket(value);
	struct shard *shard;
	struct hist *hist;
	struct row *row = NULL;

	if (!is_metric(metrics, id))
		return;
	shard = own_shard(metrics);
	hist = shard != NULL ? find_hist(shard, id) : NULL;
	if (hist != NULL) {
		row = wr_load_relaxed(&hist->rows[bucket / ROW_BUCKETS]);
		if (row == NULL)
			row = make_row(hist, bucket / ROW_BUCKETS);
	}
	if (row == NULL) {
		wr_fetch_add_relaxed(&metrics->nr_dropped, 1);
		return;
	}
	wr_add_own(&row->buckets[bucket % ROW_BUCKETS], 1);
	wr_add_own(&hist->sum, value);
}

uint64_t weir_metrics_dropped(struct weir_metrics *metrics)
{
	return wr_load_relaxed(&metrics->nr_dropped);
}
