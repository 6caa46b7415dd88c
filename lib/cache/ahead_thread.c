/* SPDX-License-Identifier: MIT */
/*
 * The thread that foresees: takes events out of the cache in batches, feeds predictor and manager,
 * and does what they want done when no lock is held.
 *
 * It sleeps until a miss, some hits, the end of a fetch or a hint wakes it; an idle cache never
 * does. When the manager has switched itself off, it listens to so many more references for signs
 * that it would pay again, and is then deaf for as much time as bounds what listening costs.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "cache/ahead_internal.h"

/* Forecasts asked for at a time. */
#define NR_ASKED 24u
/* Off: references listened to, and then it is deaf until that was at most 1 in so many + 1. */
#define LISTEN_REFS 2048u
#define DEAF_FACTOR 63u
/*
 * Experts that leave in a better order are worth listening for while that takes less than one read
 * in so many: of those on demand the order alone saves about one in eight.
 */
#define ORDER_SAVES 16u
#define LONG_NS	    ((uint64_t)1 << 30)
/* Of its part of the time, what it may save up. */
#define MOST_FREE_NS 5000000u
#define ENOUGH_OFF   32u
/* What something is taken for whose size nobody said yet. */
#define LEAST_BYTES 4096u

static uint64_t own_time_ns(void)
{
	struct timespec t;

	if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t))
		return 0;
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- what the manager is given; it only notes ---- */

static int op_start(void *ctx, struct weir_key key, uint64_t bytes, uint64_t deadline_ns)
{
	struct wr_ahead *a = ctx;

	(void)bytes;
	(void)deadline_ns;
	if (a->nr_starts + a->nr_under_way + a->nr_ended >= WR_PREFETCH_READING)
		return -EAGAIN;
	a->starts[a->nr_starts++] = key;
	return 0;
}

static void op_cancel(void *ctx, struct weir_key key)
{
	struct wr_ahead *a = ctx;

	if (a->nr_cancels < WR_PREFETCH_READING)
		a->cancels[a->nr_cancels++] = key;
}

/* A look without a lock: it may be wrong as soon as it is taken, and is then found out later. */
static bool op_resident(void *ctx, struct weir_key key)
{
	const struct wr_ahead *a = ctx;
	struct weir_cache *cache = a->cache;
	uint32_t i = wr_key_home(cache, key);

	for (uint32_t n = 0; n <= cache->mask; n++, i = (i + 1) & cache->mask) {
		struct wr_slot *slot = &cache->slots[i];
		uint64_t word = wr_load_acquire(&slot->word);

		if (wr_load_relaxed(&slot->lo) == key.lo && wr_load_relaxed(&slot->hi) == key.hi &&
		    (word & WR_WORD_USED))
			return wr_copy_state(word, WR_L1) || wr_copy_state(word, WR_L2);
		if (!wr_load_relaxed(&slot->passed))
			return false;
	}
	return false;
}

static void op_expect(void *ctx, struct weir_key key, uint32_t prob, uint32_t distance)
{
	struct wr_ahead *a = ctx;

	if (a->nr_expected < WR_AHEAD_EXPECT)
		a->expected[a->nr_expected++] = (struct wr_ahead_expected){key, distance, prob};
}

static void op_unwanted(void *ctx, struct weir_key key)
{
	struct wr_ahead *a = ctx;

	if (a->nr_unwanted < WR_PREFETCH_READING)
		a->unwanted[a->nr_unwanted++] = key;
}

const struct wr_prefetch_ops wr_ahead_ops = {.start = op_start,
					     .cancel = op_cancel,
					     .resident = op_resident,
					     .expect = op_expect,
					     .unwanted = op_unwanted};

/* ---- thinking ---- */

static void ended(struct wr_ahead *a, const struct wr_ahead_event *event) WR_REQUIRES(a->lock)
{
	wr_lock_assert_held(&a->lock);
	for (uint32_t i = 0; i < a->nr_under_way; i++)
		if (weir_key_equal(a->under_way[i], event->key)) {
			a->under_way[i] = a->under_way[--a->nr_under_way];
			break;
		}
	wr_prefetch_filled(a->prefetch, event->at_ns, event->key, event->result, 0);
}

/*
 * The experts of a layer come a few at a time, and say what follows when all are there: as many as
 * in the layer before.
 */
static void follow_layer(struct wr_ahead *a, uint32_t layer)
{
	if (layer != a->layer) {
		a->nr_typical = a->nr_chosen;
		a->nr_chosen = 0;
		a->layer = layer;
	}
	a->nr_chosen++;
}

static bool is_amid_layer(const struct wr_ahead *a)
{
	return a->layer != WR_PREDICT_NONE && a->nr_chosen < a->nr_typical;
}

static void referred(struct wr_ahead *a, const struct wr_ahead_event *event, uint64_t now)
	WR_REQUIRES(a->lock)
{
	struct wr_predict_ref ref = {.key = event->key,
				     .bytes = event->bytes,
				     .layer = WR_PREDICT_NONE,
				     .expert = WR_PREDICT_NONE};
	uint64_t bytes = 0;

	wr_lock_assert_held(&a->lock);
	if (!wr_known_place(&a->known, ref.key, &bytes, &ref.layer, &ref.expert) || !bytes)
		if (event->is_owned)
			wr_known_note(&a->known, ref.key, ref.bytes, event->class_id);
	ref.bytes = ref.bytes ? ref.bytes : bytes ? bytes : LEAST_BYTES;
	wr_predict_observe(a->predict, &ref);
	if (ref.layer != a->layer && a->nr_recurs + WR_PREDICT_MAX <= WR_AHEAD_RECUR)
		a->nr_recurs += wr_predict_recur(a->predict, &a->recurs[a->nr_recurs]);
	a->recur_class = event->class_id;
	follow_layer(a, ref.layer);
	wr_prefetch_reference(a->prefetch, event->at_ns ? event->at_ns : now, ref.key, ref.bytes,
			      (enum wr_prefetch_outcome)event->outcome, UINT64_MAX);
	a->heard++;
	a->nr_missed += event->outcome != WR_PREFETCH_HIT;
}

static void missed(struct wr_ahead *a, const struct wr_ahead_event *event) WR_REQUIRES(a->lock)
{
	wr_lock_assert_held(&a->lock);
	wr_prefetch_missed(a->prefetch, event->at_ns, event->key,
			   wr_max(event->bytes, (uint64_t)1));
	a->nr_missed++;
}

static void foresee(struct wr_ahead *a, uint64_t now) WR_REQUIRES(a->lock)
{
	uint32_t nr;

	wr_lock_assert_held(&a->lock);
	if (is_amid_layer(a) && !a->has_hints) {
		wr_prefetch_run(a->prefetch, now);
		return;
	}
	if (!wr_prefetch_wants(a->prefetch))
		return;
	nr = wr_predict_forecast(a->predict, a->forecasts, NR_ASKED);
	a->nr_forecasts++;
	wr_prefetch_forecast(a->prefetch, now, a->forecasts, nr);
}

/* Long enough without use: no more for a while. */
static void judge_listening(struct wr_ahead *a, uint64_t spent_ns) WR_REQUIRES(a->lock)
{
	struct wr_prefetch_info info;

	wr_lock_assert_held(&a->lock);
	wr_prefetch_info(a->prefetch, &info);
	if (info.on) {
		a->heard = 0;
		a->nr_missed = 0;
		a->listening_ns = 0;
		a->listens_since_ns = 0;
	}
	if (!a->listens_since_ns)
		a->listens_since_ns = a->thought_at_ns;
	a->listening_ns += spent_ns;
	a->is_worth_it = info.on;
	wr_store_relaxed(&a->is_short, info.nr_waiting != 0);
	a->wants_off =
		a->heard >= LISTEN_REFS &&
		(a->layer == WR_PREDICT_NONE ||
		 a->listening_ns > a->nr_missed * wr_min(info.read_ns, LONG_NS) / ORDER_SAVES);
}

/* What it takes beyond its part of the time, saved up over some hundred gets, is a loss. */
static void charge(struct wr_ahead *a, uint64_t now, uint64_t spent_ns) WR_REQUIRES(a->lock)
{
	uint64_t passed = a->thought_at_ns ? now - a->thought_at_ns : 0;

	wr_lock_assert_held(&a->lock);
	a->thought_at_ns = now;
	a->free_ns = wr_min(a->free_ns + passed / (DEAF_FACTOR + 1), (uint64_t)MOST_FREE_NS);
	if (spent_ns > a->free_ns)
		wr_prefetch_spent(a->prefetch, spent_ns - a->free_ns);
	a->free_ns -= wr_min(spent_ns, a->free_ns);
}

/* Events that are worth a wake-up: all of a layer, each miss, or many when it is off. */
static uint32_t enough(const struct wr_ahead *a)
{
	if (!a->is_worth_it)
		return ENOUGH_OFF;
	if (a->layer == WR_PREDICT_NONE)
		return 1;
	return is_amid_layer(a) ? a->nr_typical - a->nr_chosen : wr_max(a->nr_typical, 1u);
}

static void think(struct wr_ahead *a, bool is_off)
{
	uint64_t now = wr_now_ns(), own, spent;
	bool any_refs = false;

	wr_mutex_lock(&a->lock);
	for (uint32_t i = 0; i < a->nr_batch; i++) {
		const struct wr_ahead_event *event = &a->batch[i];

		if (event->kind == WR_AHEAD_FILLED)
			ended(a, event);
		else if (event->kind == WR_AHEAD_NEEDED)
			missed(a, event);
		else if (event->kind == WR_AHEAD_EVICTED)
			wr_prefetch_evicted(a->prefetch, event->key, event->is_owned);
		else
			referred(a, event, now);
		any_refs |= event->kind == WR_AHEAD_REF;
	}
	for (uint32_t i = 0; i < a->nr_ended; i++)
		wr_prefetch_filled(a->prefetch, now, a->ended[i].key, a->ended[i].result, 0);
	a->nr_refused += a->nr_ended;
	a->nr_ended = 0;
	if (is_off)
		wr_prefetch_forecast(a->prefetch, now, NULL, 0);
	else if (any_refs || a->has_hints)
		foresee(a, now);
	else
		wr_prefetch_run(a->prefetch, now);
	own = own_time_ns(); /* of all this thread did, beginning fetches too */
	spent = own - wr_min(a->spent_ns, own);
	a->spent_ns = own;
	charge(a, now, spent);
	judge_listening(a, spent);
	wr_mutex_unlock(&a->lock);
}

/* ---- acting ---- */

static void start(struct wr_ahead *a, struct weir_key key)
{
	struct wr_known_item known;
	int rc = -ENOENT;

	if (wr_known_find(&a->known, key, &known)) {
		known.item.name = known.name[0] ? known.name : NULL;
		a->under_way[a->nr_under_way++] = key;
		rc = wr_cache_begin(a->cache, &known.item, false);
		if (rc == 1)
			return;
		a->nr_under_way--;
	}
	if (rc == -ENOENT)
		wr_known_forget(&a->known, key);
	/* It is there, or there is no room: no fault of the forecast. */
	if (!rc || rc == -EAGAIN)
		rc = -ECANCELED;
	a->ended[a->nr_ended++] = (struct wr_ahead_event){.key = key, .result = rc};
}

/* Of the layers that were left, which experts will come again, for the policies. */
static void tell_recurrent(struct weir_cache *cache, struct wr_ahead *a) WR_REQUIRES(cache->lock)
{
	wr_lock_assert_held(&cache->lock);
	for (uint32_t i = 0; i < a->nr_recurs; i++) {
		const struct wr_recurrent *r = &a->recurs[i];
		uint32_t index = wr_cache_find(cache, r->key);
		uint32_t class_id =
			index == WR_NO_SLOT ? a->recur_class : cache->entries[index].class_id;
		struct wr_policy *policy = cache->tiers[WR_L2].policies[class_id];
		struct wr_copy *copy =
			index == WR_NO_SLOT ? NULL : &cache->entries[index].copies[WR_L2];

		if (!policy)
			continue;
		if (copy && copy->is_listed) {
			wr_policy_expect(policy, &copy->node, r->distance, r->prob);
			continue;
		}
		wr_policy_foretell(policy, r->key, r->distance, r->prob);
		if (copy && copy->is_staged) {
			copy->node.due = wr_policy_clock(policy) + r->distance;
			copy->node.prob = r->prob;
		}
	}
}

/* What was fetched and not got in time, but will be back before what would leave for it. */
static bool stays(struct weir_cache *cache, uint32_t index) WR_REQUIRES(cache->lock)
{
	struct wr_entry *e = &cache->entries[index];
	struct wr_copy *copy = &e->copies[WR_L2];
	struct wr_policy *policy = cache->tiers[WR_L2].policies[e->class_id];
	uint64_t due = copy->node.due, clock = wr_policy_clock(policy);
	uint64_t distance = due - wr_min(due, clock);
	uint32_t prob = copy->node.prob;

	wr_lock_assert_held(&cache->lock);
	if (!prob || !wr_policy_outranks(policy, distance, prob, NULL, NULL))
		return false;
	wr_cache_unlist(cache, index, WR_L2, false);
	wr_cache_enlist(cache, index, WR_L2);
	wr_policy_expect(policy, &copy->node, distance, prob);
	return true;
}

/* Those that should leave first, and those that will be used, for the policies. */
static void tell_cache(struct weir_cache *cache, struct wr_ahead *a)
{
	uint32_t index;

	wr_mutex_lock(&cache->lock);
	tell_recurrent(cache, a);
	for (uint32_t i = 0; i < a->nr_unwanted; i++) {
		index = wr_cache_find(cache, a->unwanted[i]);
		if (index == WR_NO_SLOT || !cache->entries[index].copies[WR_L2].is_staged ||
		    stays(cache, index))
			continue;
		wr_cache_unlist(cache, index, WR_L2, false);
		cache->entries[index].copies[WR_L2].is_unasked = true;
		wr_cache_enter_line(cache, index, WR_L2, WR_PASSING);
	}
	for (uint32_t i = 0; i < a->nr_expected; i++) {
		struct wr_policy *policy;
		struct wr_copy *copy;

		index = wr_cache_find(cache, a->expected[i].key);
		if (index == WR_NO_SLOT)
			continue;
		copy = &cache->entries[index].copies[WR_L2];
		policy = cache->tiers[WR_L2].policies[cache->entries[index].class_id];
		if (copy->is_listed)
			wr_policy_expect(policy, &copy->node, a->expected[i].distance,
					 a->expected[i].prob);
	}
	wr_mutex_unlock(&cache->lock);
}

static void act(struct weir_cache *cache, struct wr_ahead *a, bool is_off)
{
	if (is_off && !a->was_off)
		for (uint32_t i = 0; i < a->nr_under_way; i++)
			weir_cache_prefetch_cancel(cache, a->under_way[i]);
	a->was_off = is_off;
	for (uint32_t i = 0; i < a->nr_cancels; i++)
		weir_cache_prefetch_cancel(cache, a->cancels[i]);
	if (a->nr_unwanted || a->nr_expected || a->nr_recurs)
		tell_cache(cache, a);
	for (uint32_t i = 0; i < a->nr_starts; i++)
		start(a, a->starts[i]);
	a->nr_cancels = a->nr_unwanted = a->nr_expected = a->nr_recurs = a->nr_starts = 0;
}

/* ---- the loop ---- */

/* What there is to think about. False: nothing. */
static bool take(struct weir_cache *cache, struct wr_ahead *a) WR_REQUIRES(cache->lock)
{
	wr_lock_assert_held(&cache->lock);
	if (a->is_listening)
		wr_cache_drain_all(cache);
	a->has_hints = a->is_asked;
	a->is_asked = false;
	a->nr_batch = a->nr_events;
	a->nr_events = 0;
	memcpy(a->batch, a->events, a->nr_batch * sizeof(a->batch[0]));
	return a->has_hints || a->nr_batch || a->nr_ended;
}

/* Deaf until listening was a small part of the time, unless it was that all along. */
static void go_deaf(struct weir_cache *cache, struct wr_ahead *a) WR_REQUIRES(cache->lock)
{
	uint64_t now = wr_now_ns(),
		 until = a->listens_since_ns + (DEAF_FACTOR + 1) * a->listening_ns;

	wr_lock_assert_held(&cache->lock);
	a->wants_off = false;
	a->heard = 0;
	a->nr_missed = 0;
	a->listening_ns = 0;
	a->listens_since_ns = 0;
	if (until <= now)
		return;
	a->deaf_until_ns = until;
	a->is_listening = false;
	wr_store_relaxed(&cache->ahead_every, 0);
}

void *wr_ahead_work(void *arg)
{
	struct wr_ahead *a = arg;
	struct weir_cache *cache = a->cache;
	bool is_off;

	wr_mutex_lock(&cache->lock);
	while (!a->is_stopping) {
		wr_cache_heed(cache);
		if (a->wants_off && a->is_listening)
			go_deaf(cache, a);
		if (!take(cache, a)) {
			wr_store_relaxed(&a->is_asleep, true);
			wr_cond_wait(&a->wake, &cache->lock);
			wr_store_relaxed(&a->is_asleep, false);
			continue;
		}
		is_off = a->is_off;
		wr_mutex_unlock(&cache->lock);
		think(a, is_off);
		act(cache, a, is_off);
		wr_mutex_lock(&cache->lock);
		a->is_on = a->is_worth_it;
		a->enough = enough(a);
	}
	wr_mutex_unlock(&cache->lock);
	return NULL;
}
