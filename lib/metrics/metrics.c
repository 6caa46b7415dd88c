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
#include <weir/metrics_segment.h>

#include <errno.h>
#include <math.h>
#include <pthread.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"
#include "lock/lock.h"
#include "metrics/grid.h"
#include "metrics/registry.h"

struct tls_slot {
	uint64_t key; /* the registry's, 0: none */
	struct shard *shard;
};

_Static_assert((WEIR_METRICS_REGISTRIES_MAX & (WEIR_METRICS_REGISTRIES_MAX - 1)) == 0,
	       "a key's low bits are the slot");

/* Initial-exec: one instruction to reach, also in the shared library. 256 bytes. */
static _Thread_local struct tls_slot tls_slots[WEIR_METRICS_REGISTRIES_MAX]
	__attribute__((tls_model("initial-exec"))); /* [thread] */

/* Where the registry of a key has its slot. */
static inline struct tls_slot *slot_of(uint64_t wanted)
{
	return &tls_slots[wanted % WEIR_METRICS_REGISTRIES_MAX];
}

struct wr_mutex wr_metrics_mutex WR_RANKED(METRICS) = WR_MUTEX_INIT(WR_RANK_METRICS, "metrics");
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

		if (m != NULL && tls_slots[i].key == m->key) {
			tls_slots[i].shard->next_free = m->free_shards;
			m->free_shards = tls_slots[i].shard;
		}
		tls_slots[i].key = 0;
	}
	wr_mutex_unlock(&wr_metrics_mutex);
}

/*
 * fork(): the lock is free in the child, and the child's numbers are its own. Its threads that were
 * the parent's are gone; their cells stay as they are.
 */
static void before_fork(void) WR_NO_THREAD_SAFETY
{
	wr_mutex_lock(&wr_metrics_mutex);
}

static void after_fork(void) WR_NO_THREAD_SAFETY
{
	wr_mutex_unlock(&wr_metrics_mutex);
}

static void in_child(void) WR_NO_THREAD_SAFETY
{
	for (uint32_t i = 0; i < WEIR_METRICS_REGISTRIES_MAX; i++) {
		if (registries[i] == NULL)
			continue;
		if (registries[i]->segment != NULL)
			wr_segment_forked(registries[i]->segment);
		/* Whoever held these is not here. */
		wr_mutex_init(&registries[i]->data, WR_RANK_METRICS_DATA, "metrics data");
		wr_collector_forked(registries[i]);
	}
	wr_mutex_unlock(&wr_metrics_mutex);
}

static void make_key(void)
{
	has_key = pthread_key_create(&key, thread_ends) == 0;
	pthread_atfork(before_fork, after_fork, in_child);
}

void *wr_metrics_alloc(struct weir_metrics *metrics, size_t bytes, uint32_t *ret_offset)
{
	void *part = NULL;

	if (metrics->segment != NULL)
		part = wr_segment_alloc(metrics->segment, bytes, ret_offset);
	if (part == NULL) {
		*ret_offset = 0;
		part = wr_calloc_aligned(WR_CACHE_LINE, bytes);
	}
	return part;
}

void wr_metrics_free(struct weir_metrics *metrics, void *ptr)
{
	if (ptr != NULL && !wr_segment_has(metrics->segment, ptr))
		wr_free(ptr);
}

/* Give @m a place among the open ones, or -ENOSPC. */
static int take_slot(struct weir_metrics *m)
{
	uint32_t slot;

	wr_mutex_lock(&wr_metrics_mutex);
	for (slot = 0; slot < WEIR_METRICS_REGISTRIES_MAX; slot++) {
		if (registries[slot] == NULL)
			break;
	}
	if (slot < WEIR_METRICS_REGISTRIES_MAX) {
		m->slot = slot;
		m->generation = ++last_generation;
		m->key = m->generation * WEIR_METRICS_REGISTRIES_MAX + slot;
		registries[slot] = m;
	}
	wr_mutex_unlock(&wr_metrics_mutex);
	return slot < WEIR_METRICS_REGISTRIES_MAX ? 0 : -ENOSPC;
}

static void set_defaults(struct weir_metrics_opts *opts)
{
	if (opts->segment_dir == NULL)
		opts->segment_dir = WEIR_SEGMENT_DIR;
	if (opts->segment_bytes == 0)
		opts->segment_bytes = WR_SEGMENT_BYTES;
	if (opts->label_limit == 0)
		opts->label_limit = 100;
	if (opts->queue_max == 0)
		opts->queue_max = 1000;
	if (opts->buffer_max == 0)
		opts->buffer_max = 10000;
	if (opts->history_max == 0)
		opts->history_max = 1000;
}

static int open_segment(struct weir_metrics *m, struct weir_error *err)
{
	struct history_times *times;
	uint32_t offset;
	int rc;

	if (!(m->opts.flags & WEIR_METRICS_SHARED))
		return 0;
	rc = wr_segment_create(m->opts.segment_dir, m->opts.segment_bytes, &m->segment, err);
	if (rc != 0)
		return rc;
	wr_segment_clean(m->opts.segment_dir, 8, 60);
	times = wr_segment_alloc(m->segment, sizeof(*times), &offset);
	wr_store_relaxed(&m->times, times);
	/* S2: pairs with the acquire in segment_read.c. */
	if (times != NULL)
		wr_store_release(&m->segment->head->times, offset);
	return 0;
}

int weir_metrics_open_opts(const struct weir_metrics_opts *opts_arg, struct weir_metrics **ret,
			   struct weir_error *err)
{
	struct weir_metrics_opts opts;
	struct weir_metrics *m;
	int rc = wr_opts_copy(&opts, sizeof(opts), opts_arg);

	if (rc == 0 && (opts.flags & ~(uint64_t)WEIR_METRICS_SHARED) != 0)
		rc = -EINVAL;
	if (rc != 0)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
				    "options of a registry that this library does not know");
	m = wr_calloc(1, sizeof(*m));
	if (m == NULL)
		return wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE, "no memory for metrics");
	pthread_once(&key_once, make_key);
	set_defaults(&opts);
	m->opts = opts;
	m->now_ns = wr_now_ns;
	wr_mutex_init(&m->data, WR_RANK_METRICS_DATA, "metrics data");
	wr_mutex_init(&m->run, WR_RANK_METRICS_RUN, "metrics round");
	rc = open_segment(m, err);
	if (rc == 0) {
		rc = take_slot(m);
		if (rc != 0)
			wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
				     "%u registries are open, which is the most",
				     WEIR_METRICS_REGISTRIES_MAX);
	}
	if (rc != 0) {
		wr_segment_destroy(m->segment);
		wr_mutex_fini(&m->data);
		wr_mutex_fini(&m->run);
		wr_free(m);
		return rc;
	}
	m->opts.segment_dir = NULL;
	*ret = m;
	return 0;
}

int weir_metrics_open(struct weir_metrics **ret)
{
	return weir_metrics_open_opts(NULL, ret, NULL);
}

static struct weir_metrics *find_open_locked(uint64_t generation) WR_REQUIRES(wr_metrics_mutex)
{
	wr_lock_assert_held(&wr_metrics_mutex);
	for (uint32_t i = 0; i < WEIR_METRICS_REGISTRIES_MAX; i++) {
		if (registries[i] != NULL && registries[i]->generation == generation)
			return registries[i];
	}
	return NULL;
}

bool wr_metrics_is_open(uint64_t generation)
{
	bool open;

	wr_mutex_lock(&wr_metrics_mutex);
	open = find_open_locked(generation) != NULL;
	wr_mutex_unlock(&wr_metrics_mutex);
	return open;
}

void wr_metrics_forget_tracker(uint64_t generation)
{
	struct weir_metrics *m;

	wr_mutex_lock(&wr_metrics_mutex);
	m = find_open_locked(generation);
	if (m != NULL)
		wr_fetch_add_relaxed(&m->nr_trackers, -1);
	wr_mutex_unlock(&wr_metrics_mutex);
}

static void free_hists(struct weir_metrics *m, struct hist_chunk *chunk)
{
	if (chunk == NULL)
		return;
	for (uint32_t i = 0; i < CHUNK_CELLS; i++) {
		struct hist *hist = wr_load_relaxed(&chunk->hists[i]);

		for (uint32_t r = 0; hist != NULL && r < NR_ROWS; r++)
			wr_metrics_free(m, wr_load_relaxed(&hist->rows[r]));
		wr_free(hist);
	}
	wr_free(chunk);
}

static void free_shard(struct weir_metrics *m, struct shard *shard)
{
	for (uint32_t i = 0; i < NR_CHUNKS; i++) {
		wr_metrics_free(m, wr_load_relaxed(&shard->chunks[i]));
		free_hists(m, wr_load_relaxed(&shard->hist_chunks[i]));
	}
	wr_free(shard);
}

static void free_rules(struct rule *rule)
{
	struct rule *next;

	for (; rule != NULL; rule = next) {
		next = rule->next;
		wr_free(rule);
	}
}

void weir_metrics_close(struct weir_metrics *metrics)
{
	struct shard *next;

	if (metrics == NULL)
		return;
	wr_collector_end(metrics);
	wr_mutex_lock(&wr_metrics_mutex);
	registries[metrics->slot] = NULL;
	wr_mutex_unlock(&wr_metrics_mutex);
	/* From here on no ending thread touches it. */
	for (struct shard *s = wr_load_relaxed(&metrics->shards); s != NULL; s = next) {
		next = s->next;
		free_shard(metrics, s);
	}
	for (uint32_t i = 0; i < wr_load_relaxed(&metrics->nr_metrics); i++)
		wr_metrics_free_entry(metrics, metrics->entries[i]);
	free_rules(wr_load_relaxed(&metrics->rules));
	wr_queue_free(wr_load_relaxed(&metrics->queue));
	wr_recent_free(metrics->recent);
	wr_grids_free(metrics);
	wr_metrics_free(metrics, wr_load_relaxed(&metrics->times));
	wr_segment_destroy(metrics->segment);
	wr_mutex_fini(&metrics->data);
	wr_mutex_fini(&metrics->run);
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

static void publish_shard(struct wr_segment_head *head, struct shard *shard)
{
	uint32_t first = wr_load_relaxed(&head->shards);

	do {
		shard->out->next = first;
		/* S2: pairs with the acquire in segment_read.c. */
	} while (!wr_cas_acq_rel(&head->shards, &first, shard->out_offset));
}

static struct shard *new_shard(struct weir_metrics *metrics)
{
	struct shard *shard = wr_calloc_aligned(WR_CACHE_LINE, sizeof(*shard));

	if (shard == NULL)
		return NULL;
	shard->out = metrics->segment == NULL
			     ? NULL
			     : wr_segment_alloc(metrics->segment, sizeof(*shard->out),
						&shard->out_offset);
	shard->next = wr_load_relaxed(&metrics->shards);
	/* A3: pairs with the acquire in the readers. */
	while (!wr_cas_acq_rel(&metrics->shards, &shard->next, shard))
		;
	if (shard->out != NULL)
		publish_shard(metrics->segment->head, shard);
	return shard;
}

/* The calling thread's shard; NULL when there is no memory for one. */
static struct shard *own_shard(struct weir_metrics *metrics)
{
	struct tls_slot *slot = slot_of(metrics->key);
	struct shard *shard;

	if (slot->key == metrics->key)
		return slot->shard;
	shard = adopt_shard(metrics);
	if (shard == NULL)
		shard = new_shard(metrics);
	if (shard == NULL)
		return NULL;
	slot->shard = shard;
	slot->key = metrics->key;
	/* Without the key the shard stays as it is when the thread ends: counted, not reused. */
	if (has_key)
		pthread_setspecific(key, metrics);
	return shard;
}

static WR_COLD _Atomic int64_t *make_cell(struct weir_metrics *metrics, uint32_t id)
{
	struct shard *shard = own_shard(metrics);
	struct chunk *chunk;
	uint32_t offset;

	if (shard == NULL)
		return NULL;
	chunk = wr_load_relaxed(&shard->chunks[id / CHUNK_CELLS]);
	if (chunk == NULL) {
		chunk = wr_metrics_alloc(metrics, sizeof(*chunk), &offset);
		if (chunk == NULL)
			return NULL;
		/* A2: pairs with the acquire in the readers; S2 likewise. */
		wr_store_release(&shard->chunks[id / CHUNK_CELLS], chunk);
		if (shard->out != NULL)
			wr_store_release(&shard->out->chunks[id / CHUNK_CELLS], offset);
	}
	return &chunk->cells[id % CHUNK_CELLS];
}

static inline _Atomic int64_t *find_cell(struct weir_metrics *metrics, uint32_t id)
{
	uint64_t wanted = metrics->key;
	struct tls_slot *slot = slot_of(wanted);
	struct chunk *chunk;

	if (slot->key != wanted)
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
		wr_fetch_add_relaxed(&entry->live->base, delta);
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

int64_t *weir_metrics_cell(struct weir_metrics *metrics, uint32_t id)
{
	struct entry *entry = metrics != NULL ? wr_metrics_entry(metrics, id) : NULL;

	if (entry == NULL || entry->labels != NULL || entry->read != NULL ||
	    (entry->kind != WEIR_METRIC_COUNTER && entry->kind != WEIR_METRIC_GAUGE))
		return NULL;
	/* Atomic here, and in weir_cell_add() by the compiler's own atomics on the same object. */
	return (int64_t *)(uintptr_t)make_cell(metrics, id);
}

void weir_metrics_set(struct weir_metrics *metrics, uint32_t id, int64_t value)
{
	struct entry *entry = metrics != NULL ? wr_metrics_entry(metrics, id) : NULL;

	if (entry == NULL || entry->kind != WEIR_METRIC_GAUGE)
		return;
	/* What the cells hold is covered by the value: take it off beforehand. */
	wr_store_relaxed(&entry->live->base, value - wr_metrics_sum_cells(metrics, id));
}

int weir_metrics_set_float(struct weir_metrics *metrics, uint32_t id, double value)
{
	struct entry *entry = wr_metrics_entry(metrics, id);

	if (entry == NULL || entry->kind != WEIR_METRIC_FLOAT)
		return -ENOENT;
	if (!isfinite(value))
		return -EINVAL;
	wr_store_relaxed(&entry->live->base, wr_bits_of(value));
	return 0;
}

void weir_metrics_set_unavailable(struct weir_metrics *metrics, uint32_t id)
{
	struct entry *entry = metrics != NULL ? wr_metrics_entry(metrics, id) : NULL;

	if (entry != NULL && entry->kind == WEIR_METRIC_FLOAT)
		wr_store_relaxed(&entry->live->base, WR_UNAVAILABLE);
}

/* Beside @shard's part in the segment, when it has one. */
static void *make_out(struct weir_metrics *metrics, bool is_out, size_t bytes,
		      _Atomic uint32_t *where)
{
	uint32_t offset;
	void *out;

	if (!is_out)
		return NULL;
	out = wr_segment_alloc(metrics->segment, bytes, &offset);
	/* S2: pairs with the acquire in segment_read.c. */
	if (out != NULL)
		wr_store_release(where, offset);
	return out;
}

static struct hist_chunk *make_hist_chunk(struct weir_metrics *metrics, struct shard *shard,
					  uint32_t id)
{
	struct hist_chunk *chunk = wr_calloc(1, sizeof(*chunk));

	if (chunk == NULL)
		return NULL;
	chunk->out =
		make_out(metrics, shard->out != NULL, sizeof(*chunk->out),
			 shard->out != NULL ? &shard->out->hist_chunks[id / CHUNK_CELLS] : NULL);
	/* A2: pairs with the acquire in the readers. */
	wr_store_release(&shard->hist_chunks[id / CHUNK_CELLS], chunk);
	return chunk;
}

static WR_COLD struct hist *make_hist(struct weir_metrics *metrics, struct shard *shard,
				      uint32_t id)
{
	struct hist_chunk *chunk = wr_load_relaxed(&shard->hist_chunks[id / CHUNK_CELLS]);
	struct hist *hist;

	if (chunk == NULL)
		chunk = make_hist_chunk(metrics, shard, id);
	if (chunk == NULL)
		return NULL;
	hist = wr_load_relaxed(&chunk->hists[id % CHUNK_CELLS]);
	if (hist == NULL) {
		hist = wr_calloc_aligned(WR_CACHE_LINE, sizeof(*hist));
		if (hist == NULL)
			return NULL;
		hist->out =
			make_out(metrics, chunk->out != NULL, sizeof(*hist->out),
				 chunk->out != NULL ? &chunk->out->hists[id % CHUNK_CELLS] : NULL);
		/* A2 */
		wr_store_release(&chunk->hists[id % CHUNK_CELLS], hist);
	}
	return hist;
}

static WR_COLD struct row *make_row(struct weir_metrics *metrics, struct hist *hist, uint32_t index)
{
	uint32_t offset;
	struct row *row = wr_metrics_alloc(metrics, sizeof(*row), &offset);

	if (row == NULL)
		return NULL;
	/* A2: pairs with the acquire in the readers; S2 likewise. */
	wr_store_release(&hist->rows[index], row);
	if (hist->out != NULL)
		wr_store_release(&hist->out->rows[index], offset);
	return row;
}

static struct hist *find_hist(struct shard *shard, uint32_t id)
{
	struct hist_chunk *chunk = wr_load_relaxed(&shard->hist_chunks[id / CHUNK_CELLS]);

	return chunk != NULL ? wr_load_relaxed(&chunk->hists[id % CHUNK_CELLS]) : NULL;
}

/* First time in this thread, or for this part of the values. */
static WR_COLD struct row *find_row_slowly(struct weir_metrics *metrics, uint32_t id,
					   uint32_t index)
{
	struct shard *shard = own_shard(metrics);
	struct hist *hist = shard != NULL ? find_hist(shard, id) : NULL;
	struct row *row;

	if (shard != NULL && hist == NULL)
		hist = make_hist(metrics, shard, id);
	if (hist == NULL)
		return NULL;
	row = wr_load_relaxed(&hist->rows[index]);
	return row != NULL ? row : make_row(metrics, hist, index);
}

void weir_metrics_observe(struct weir_metrics *metrics, uint32_t id, uint64_t value)
{
	uint32_t bucket = wr_histogram_bucket(value);
	struct tls_slot *slot;
	struct hist *hist;
	struct row *row = NULL;

	if (!is_metric(metrics, id))
		return;
	slot = slot_of(metrics->key);
	if (slot->key == metrics->key) {
		hist = find_hist(slot->shard, id);
		if (hist != NULL)
			row = wr_load_relaxed(&hist->rows[bucket / ROW_BUCKETS]);
	}
	if (row == NULL)
		row = find_row_slowly(metrics, id, bucket / ROW_BUCKETS);
	if (row == NULL) {
		wr_fetch_add_relaxed(&metrics->nr_dropped, 1);
		return;
	}
	wr_add_own(&row->buckets[bucket % ROW_BUCKETS], 1);
	wr_add_own(&row->sum, value);
}

uint64_t weir_metrics_dropped(struct weir_metrics *metrics)
{
	return wr_load_relaxed(&metrics->nr_dropped);
}
