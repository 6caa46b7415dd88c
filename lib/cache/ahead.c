/* SPDX-License-Identifier: MIT */
/*
 * Fetching ahead: opening, switching, numbers; and what the cache tells. The picture is in
 * ahead_internal.h, the thread in ahead_thread.c.
 */
#include <weir/cache_ahead.h>

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "cache/ahead_internal.h"

#define DEFAULT_ITEMS 4096u
#define MIN_ITEMS     64u
#define MAX_ITEMS     (1u << 24)
#define MAX_LAYERS    65536u
#define AHEAD_PART    16u
#define MAX_MEMORY    ((uint64_t)4 << 30)
/* Hits after which the thread is woken: for experts, which come a few at a time, and others. */
#define EVERY_EXPERT 2u
#define EVERY_OTHER  8u

/* ---- opening ---- */

static int check_opts(struct weir_cache_ahead_opts *o)
{
	uint64_t experts = (uint64_t)o->nr_layers * o->nr_experts;

	o->classes = o->classes ? o->classes : (1u << WEIR_NR_CLASSES) - 1;
	if (o->classes >> WEIR_NR_CLASSES || !o->nr_layers != !o->nr_experts ||
	    o->nr_layers > MAX_LAYERS || o->nr_experts > WR_PREDICT_MAX ||
	    o->spare_permille > 1000000 || o->latency_ns > (uint64_t)1 << 40 ||
	    o->bytes_per_second > (uint64_t)1 << 50)
		return -EINVAL;
	if (!o->nr_items)
		o->nr_items =
			(uint32_t)wr_min(wr_max(2 * experts, DEFAULT_ITEMS), (uint64_t)MAX_ITEMS);
	return o->nr_items < MIN_ITEMS || o->nr_items > MAX_ITEMS ? -EINVAL : 0;
}

static int open_parts(struct wr_ahead *a, const struct weir_cache_ahead_opts *o, uint64_t l2_bytes)
{
	const struct wr_predict_opts predict = {.nr_items = o->nr_items,
						.nr_layers = o->nr_layers,
						.nr_experts = o->nr_experts,
						.max_bytes = MAX_MEMORY};
	const struct wr_prefetch_opts prefetch = {
		.ops = &wr_ahead_ops,
		.ctx = a,
		.spare_permille = (uint32_t)o->spare_permille,
		.ahead_bytes = o->ahead_bytes ? o->ahead_bytes : l2_bytes / AHEAD_PART,
		.latency_ns = o->latency_ns,
		.bytes_per_second = o->bytes_per_second};
	int rc = wr_predict_open(&predict, &a->predict);

	if (!rc)
		rc = wr_prefetch_open(&prefetch, &a->prefetch);
	a->events = wr_calloc(WR_AHEAD_EVENTS, sizeof(*a->events));
	a->batch = wr_calloc(WR_AHEAD_EVENTS, sizeof(*a->batch));
	return rc ? rc : a->events && a->batch ? 0 : -ENOMEM;
}

static int make(struct weir_cache *cache, const struct weir_cache_ahead_opts *o,
		struct wr_ahead **ret)
{
	struct wr_ahead *a = wr_calloc(1, sizeof(*a));
	uint64_t l2_bytes;
	int rc;

	if (!a)
		return -ENOMEM;
	rc = wr_known_init(&a->known, o->nr_items);
	if (rc) {
		wr_free(a);
		return rc;
	}
	a->cache = cache;
	a->classes = o->classes;
	a->layer = WR_PREDICT_NONE;
	a->every = o->nr_layers ? EVERY_EXPERT : EVERY_OTHER;
	wr_mutex_init(&a->lock, WR_RANK_CACHE_AHEAD, "cache.ahead");
	wr_cond_init(&a->wake);
	wr_mutex_lock(&cache->lock);
	l2_bytes = cache->tiers[WR_L2].budget;
	wr_mutex_unlock(&cache->lock);
	rc = open_parts(a, o, l2_bytes);
	if (rc) {
		wr_ahead_free(a);
		return rc;
	}
	*ret = a;
	return 0;
}

void wr_ahead_free(struct wr_ahead *a)
{
	if (!a)
		return;
	wr_prefetch_close(a->prefetch);
	wr_predict_close(a->predict);
	wr_free(a->events);
	wr_free(a->batch);
	wr_known_fini(&a->known);
	wr_cond_fini(&a->wake);
	wr_mutex_fini(&a->lock);
	wr_free(a);
}

/* The cache's own from now on, until it is closed. The thread may run before this is said. */
static int attach(struct weir_cache *cache, struct wr_ahead *a)
{
	int rc = 0;

	wr_mutex_lock(&cache->lock);
	if (wr_load_relaxed(&cache->ahead)) {
		rc = -EALREADY;
	} else if (pthread_create(&a->thread, NULL, wr_ahead_work, a)) {
		rc = -EAGAIN;
	} else {
		wr_store_release(&cache->ahead, a); /* to who looks without CACHE */
		a->is_listening = true;
		a->is_on = true;
		wr_store_relaxed(&cache->epoch, 0);
		wr_store_release(&cache->ahead_every, a->every);
	}
	wr_mutex_unlock(&cache->lock);
	return rc;
}

int weir_cache_ahead(struct weir_cache *cache, const struct weir_cache_ahead_opts *opts,
		     struct weir_error *err)
{
	struct weir_cache_ahead_opts o;
	struct wr_ahead *a;
	int rc = wr_opts_copy(&o, sizeof(o), opts);

	if (!rc)
		rc = check_opts(&o);
	if (rc)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
				    "an option of fetching ahead is out of its bounds");
	rc = wr_cache_register_ahead(cache);
	if (!rc)
		rc = make(cache, &o, &a);
	if (!rc) {
		rc = attach(cache, a);
		if (rc)
			wr_ahead_free(a);
	}
	if (rc)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
				    "the cache cannot fetch ahead: %s", weir_strerror(rc));
	return 0;
}

void wr_ahead_stop(struct weir_cache *cache)
{
	struct wr_ahead *a = wr_load_acquire(&cache->ahead);
	bool is_first;

	if (!a)
		return;
	wr_mutex_lock(&cache->lock);
	is_first = !a->is_stopping;
	a->is_stopping = true;
	a->is_off = true;
	a->is_listening = false;
	wr_store_relaxed(&cache->ahead_every, 0);
	wr_cond_broadcast(&a->wake);
	while (!is_first && !a->has_ended)
		wr_cond_wait(&a->wake, &cache->lock);
	wr_mutex_unlock(&cache->lock);
	if (!is_first)
		return;
	pthread_join(a->thread, NULL);
	wr_mutex_lock(&cache->lock);
	a->has_ended = true;
	wr_cond_broadcast(&a->wake);
	wr_mutex_unlock(&cache->lock);
}

int weir_cache_ahead_end(struct weir_cache *cache)
{
	if (!wr_load_acquire(&cache->ahead))
		return -EOPNOTSUPP;
	wr_ahead_stop(cache);
	return 0;
}

void wr_ahead_switch(struct weir_cache *cache, bool on)
{
	struct wr_ahead *a = wr_load_relaxed(&cache->ahead);

	wr_lock_assert_held(&cache->lock);
	if (!a || a->is_off != on || a->is_stopping)
		return;
	a->is_off = !on;
	a->is_listening = on;
	a->is_asked = true;
	if (on)
		wr_store_relaxed(&cache->epoch, 0);
	wr_store_relaxed(&cache->ahead_every, on ? a->every : 0);
	wr_cond_signal(&a->wake);
}

int weir_cache_ahead_switch(struct weir_cache *cache, bool on)
{
	if (!wr_load_acquire(&cache->ahead))
		return -EOPNOTSUPP;
	wr_mutex_lock(&cache->lock);
	wr_cache_move_knob(cache, &cache->ahead_knob, on);
	wr_ahead_switch(cache, on);
	wr_mutex_unlock(&cache->lock);
	return 0;
}

/* ---- events ---- */

/* NULL: no room for one of its kind. */
static struct wr_ahead_event *add_event(struct weir_cache *cache, struct wr_ahead *a,
					uint32_t limit) WR_REQUIRES(cache->lock)
{
	wr_lock_assert_held(&cache->lock);
	if (a->nr_events >= limit)
		return NULL;
	return &a->events[a->nr_events++];
}

static void add_ref(struct weir_cache *cache, struct wr_ahead *a, struct wr_ahead_event event)
	WR_REQUIRES(cache->lock)
{
	struct wr_ahead_event *place = add_event(cache, a, WR_AHEAD_REFS);

	if (place)
		*place = event;
	else
		a->nr_lost++;
}

/* ---- what the host says ---- */

int weir_cache_declare(struct weir_cache *cache, const struct weir_cache_item *item, uint32_t layer,
		       uint32_t expert)
{
	struct wr_ahead *a = wr_load_acquire(&cache->ahead);
	const struct wr_predict_ref ref = {
		.key = item->key, .bytes = item->bytes, .layer = layer, .expert = expert};
	int rc = a ? wr_cache_check_item(cache, item) : -EOPNOTSUPP;

	if (!rc && (layer == WEIR_CACHE_NO_PLACE) != (expert == WEIR_CACHE_NO_PLACE))
		rc = -EINVAL;
	if (rc)
		return rc;
	wr_mutex_lock(&a->lock);
	rc = wr_predict_declare(a->predict, &ref);
	wr_mutex_unlock(&a->lock);
	return rc ? rc : wr_known_declare(&a->known, item, layer, expert);
}

/* Hints are ours while we are on; otherwise the cache does with them what it always does. */
static bool takes_hints(struct wr_ahead *a)
{
	bool takes;

	wr_mutex_lock(&a->cache->lock);
	wr_cache_heed(a->cache);
	takes = a->is_on && a->is_listening;
	wr_mutex_unlock(&a->cache->lock);
	return takes;
}

bool wr_ahead_likely(struct wr_ahead *a, const struct weir_cache_item *item, uint32_t permille)
{
	int rc;

	if (!wr_ahead_watches(a, item->class_id) || !takes_hints(a))
		return false;
	wr_known_learn(&a->known, item);
	wr_mutex_lock(&a->lock);
	rc = wr_predict_likely(a->predict, item->key, item->bytes,
			       permille * WR_PREDICT_SURE / 1000);
	wr_mutex_unlock(&a->lock);
	return !rc;
}

void wr_ahead_need(struct wr_ahead *a, const struct weir_cache_item *item)
{
	int rc;

	if (!wr_ahead_watches(a, item->class_id) || !takes_hints(a))
		return;
	wr_known_learn(&a->known, item);
	wr_mutex_lock(&a->lock);
	rc = wr_predict_need(a->predict, item->key, item->bytes);
	wr_mutex_unlock(&a->lock);
	if (rc)
		wr_log(WEIR_LOG_DEBUG, "cache", "more hints than are kept: one is dropped");
}

void wr_ahead_fetching(struct wr_ahead *a, const struct weir_cache_item *item)
{
	struct weir_cache *cache = a->cache;

	if (!wr_ahead_watches(a, item->class_id))
		return;
	wr_known_learn(&a->known, item);
	wr_mutex_lock(&cache->lock);
	if (a->is_listening)
		add_ref(cache, a,
			(struct wr_ahead_event){.key = item->key,
						.bytes = item->bytes,
						.at_ns = wr_now_ns(),
						.kind = WR_AHEAD_NEEDED,
						.class_id = (uint8_t)item->class_id});
	wr_mutex_unlock(&cache->lock);
}

/* Sizes of those that are known. NULL: no memory, and no plan then. */
static uint64_t *sizes_of(struct wr_ahead *a, const struct weir_key *keys, size_t nr)
{
	uint64_t *bytes = wr_calloc(nr, sizeof(*bytes));
	uint32_t layer, expert;

	for (size_t i = 0; bytes && i < nr; i++)
		if (!wr_known_place(&a->known, keys[i], &bytes[i], &layer, &expert))
			bytes[i] = 0;
	return bytes;
}

void wr_ahead_plan(struct wr_ahead *a, const struct weir_key *keys, size_t nr, bool is_cyclic)
{
	uint64_t *bytes = nr ? sizes_of(a, keys, nr) : NULL;
	int rc;

	wr_mutex_lock(&a->lock);
	rc = wr_predict_plan(a->predict, bytes ? keys : NULL, bytes, bytes ? (uint32_t)nr : 0,
			     is_cyclic);
	wr_mutex_unlock(&a->lock);
	if (rc || (nr && !bytes))
		wr_log(WEIR_LOG_WARN, "cache",
		       "a plan of %zu is not fetched ahead, only the policies know it", nr);
	wr_free(bytes);
	wr_ahead_look(a);
}

static void listen_again(struct weir_cache *cache, struct wr_ahead *a) WR_REQUIRES(cache->lock)
{
	wr_lock_assert_held(&cache->lock);
	a->is_listening = true;
	wr_store_relaxed(&cache->epoch, 0);
	wr_store_release(&cache->ahead_every, a->every);
}

void wr_ahead_look(struct wr_ahead *a)
{
	wr_mutex_lock(&a->cache->lock);
	if (!a->is_off && !a->is_stopping)
		listen_again(a->cache, a);
	a->is_asked = true;
	wr_cond_signal(&a->wake);
	wr_mutex_unlock(&a->cache->lock);
}

/* ---- what the cache says ---- */

bool wr_ahead_is_caller(const struct wr_ahead *a)
{
	return pthread_equal(pthread_self(), a->thread);
}

void wr_ahead_learn(struct wr_ahead *a, const struct weir_cache_item *item)
{
	if (wr_ahead_watches(a, item->class_id))
		wr_known_learn(&a->known, item);
}

void wr_ahead_got(struct weir_cache *cache, struct weir_key key, uint64_t bytes, uint32_t class_id,
		  enum wr_prefetch_outcome outcome)
{
	struct wr_ahead *a = wr_load_relaxed(&cache->ahead);
	uint64_t now;

	wr_lock_assert_held(&cache->lock);
	if (!wr_ahead_watches(a, class_id) || a->is_off || a->is_stopping)
		return;
	now = wr_now_ns();
	if (!a->is_listening) {
		if (outcome == WR_PREFETCH_HIT || now < a->deaf_until_ns)
			return;
		listen_again(cache, a);
	}
	add_ref(cache, a,
		(struct wr_ahead_event){.key = key,
					.bytes = bytes,
					.at_ns = now,
					.kind = WR_AHEAD_REF,
					.outcome = (uint8_t)outcome,
					.class_id = (uint8_t)class_id});
	if (a->nr_events >= a->enough)
		wr_cond_signal(&a->wake);
}

void wr_ahead_told(struct weir_cache *cache, uint32_t index)
{
	struct wr_ahead *a = wr_load_relaxed(&cache->ahead);
	struct wr_slot *slot = &cache->slots[index];
	const struct wr_entry *e = &cache->entries[index];

	wr_lock_assert_held(&cache->lock);
	if (!a->is_listening || !wr_ahead_watches(a, e->class_id))
		return;
	add_ref(cache, a,
		(struct wr_ahead_event){
			.key = {wr_load_relaxed(&slot->hi), wr_load_relaxed(&slot->lo)},
			.bytes = e->bytes,
			.kind = WR_AHEAD_REF,
			.outcome = WR_PREFETCH_HIT,
			.class_id = e->class_id,
			.is_owned = e->is_owned});
}

void wr_ahead_wake(struct weir_cache *cache)
{
	struct wr_ahead *a = wr_load_acquire(&cache->ahead);

	/* Lossy, as it must not wait: the next hits wake it, or the next miss. */
	if (!wr_load_relaxed(&a->is_asleep) || !wr_mutex_trylock(&cache->lock))
		return;
	wr_cache_heed(cache);
	wr_cache_drain_all(cache);
	if (a->nr_events >= a->enough)
		wr_cond_signal(&a->wake);
	wr_mutex_unlock(&cache->lock);
}

void wr_ahead_filled(struct weir_cache *cache, uint32_t index, int result)
{
	struct wr_ahead *a = wr_load_relaxed(&cache->ahead);
	struct wr_ahead_event *event = add_event(cache, a, WR_AHEAD_EVENTS);
	struct wr_slot *slot = &cache->slots[index];

	wr_lock_assert_held(&cache->lock);
	wr_assert(event);
	if (!event)
		return;
	*event = (struct wr_ahead_event){
		.key = {wr_load_relaxed(&slot->hi), wr_load_relaxed(&slot->lo)},
		.at_ns = wr_now_ns(),
		.kind = WR_AHEAD_FILLED,
		.result = result};
	if (wr_load_relaxed(&a->is_short) || a->nr_events >= WR_AHEAD_REFS)
		wr_cond_signal(&a->wake);
}

void wr_ahead_evicted(struct weir_cache *cache, uint32_t index)
{
	struct wr_ahead *a = wr_load_relaxed(&cache->ahead);
	struct wr_slot *slot = &cache->slots[index];
	struct wr_ahead_event *event;

	wr_lock_assert_held(&cache->lock);
	if (!a->is_listening)
		return;
	event = add_event(cache, a, WR_AHEAD_OTHERS);
	if (event)
		*event = (struct wr_ahead_event){
			.key = {wr_load_relaxed(&slot->hi), wr_load_relaxed(&slot->lo)},
			.kind = WR_AHEAD_EVICTED,
			.is_owned = wr_ahead_is_caller(a)};
}

/* ---- numbers ---- */

const char *weir_cache_ahead_off_name(uint32_t off_why)
{
	static const char *const names[] = {"on", "host", "idle", "loss"};

	return off_why < wr_array_size(names) ? names[off_why] : "unknown";
}

int weir_cache_ahead_stats(struct weir_cache *cache, struct weir_cache_ahead_stats *ret)
{
	struct wr_ahead *a = wr_load_acquire(&cache->ahead);
	struct wr_prefetch_stat s;
	struct wr_prefetch_info info;
	struct weir_cache_ahead_stats r = {0};
	bool is_off;

	if (!a)
		return -EOPNOTSUPP;
	wr_mutex_lock(&cache->lock);
	is_off = a->is_off;
	r.nr_lost = a->nr_lost;
	wr_mutex_unlock(&cache->lock);
	wr_mutex_lock(&a->lock);
	wr_prefetch_stat(a->prefetch, WR_PREDICT_NR_SOURCES, &s);
	wr_prefetch_info(a->prefetch, &info);
	r.nr_forecasts = a->nr_forecasts;
	r.nr_failed = a->nr_refused;
	r.spent_ns = a->spent_ns;
	wr_mutex_unlock(&a->lock);
	r.off_why = is_off	 ? WEIR_AHEAD_HOST
		    : info.on	 ? WEIR_AHEAD_ON
		    : info.lossy ? WEIR_AHEAD_LOSS
				 : WEIR_AHEAD_IDLE;
	r.precision_permille = (uint32_t)((uint64_t)s.precision * 1000 / WR_PREDICT_SURE);
	r.nr_references = info.nr_references;
	r.nr_started = s.nr_started - wr_min(r.nr_failed, s.nr_started);
	r.nr_useful = s.nr_useful;
	r.nr_late = s.nr_late;
	r.nr_wasted = s.nr_wasted;
	r.nr_cancelled = s.nr_cancelled - wr_min(r.nr_failed, s.nr_cancelled);
	r.nr_failed += s.nr_failed;
	r.nr_stops = info.nr_stops;
	r.stopped_at = info.stopped_at;
	r.started_bytes = s.started_bytes;
	r.useful_bytes = s.useful_bytes;
	r.wasted_bytes = s.wasted_bytes;
	r.nr_items = wr_known_nr(&a->known);
	*ret = r;
	return 0;
}

int weir_cache_ahead_source(struct weir_cache *cache, uint32_t index,
			    struct weir_cache_ahead_source *ret)
{
#define NAME_OF(name, text) text,
	static const char *const names[] = {WR_PREDICT_SOURCES(NAME_OF)};
#undef NAME_OF
	struct wr_ahead *a = wr_load_acquire(&cache->ahead);
	struct wr_predict_stat told;
	struct wr_prefetch_stat begun;

	if (!a)
		return -EOPNOTSUPP;
	if (index >= wr_array_size(names))
		return -ENOENT;
	wr_mutex_lock(&a->lock);
	wr_predict_stat(a->predict, index, &told);
	wr_prefetch_stat(a->prefetch, index, &begun);
	wr_mutex_unlock(&a->lock);
	*ret = (struct weir_cache_ahead_source){.name = names[index],
						.confidence_permille = (uint64_t)told.confidence *
								       1000 / WR_PREDICT_SURE,
						.nr_told = told.nr_told,
						.nr_judged = told.nr_judged,
						.nr_right = told.nr_right,
						.nr_started = begun.nr_started,
						.nr_useful = begun.nr_useful,
						.nr_late = begun.nr_late,
						.nr_wasted = begun.nr_wasted,
						.nr_cancelled = begun.nr_cancelled};
	return 0;
}
