/* SPDX-License-Identifier: MIT */
/*
 * The manager: from forecasts to reads, and from references to judgements.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "prefetch/manager.h"

/* A forecast counts as wrong when half as many references again have passed, and these. */
#define PATIENCE 4u
/* Foreseen at least so surely, a resident key is worth a word to the cache. */
#define WORTH_EXPECTING (WR_PREDICT_SURE / 16)

static int fill_opts(const struct wr_prefetch_opts *opts, struct wr_prefetch_opts *o)
{
	*o = *opts;
	if (!o->ops || !o->ops->start || !o->ops->resident)
		return -EINVAL;
	o->nr_tracked = o->nr_tracked ? o->nr_tracked : 1024;
	o->spare_permille = o->spare_permille ? o->spare_permille : 240;
	o->burst_bytes = o->burst_bytes ? o->burst_bytes : (uint64_t)256 << 20;
	o->ahead_bytes = o->ahead_bytes ? o->ahead_bytes : (uint64_t)16 << 20;
	o->latency_ns = o->latency_ns ? o->latency_ns : 100000;
	o->bytes_per_second = o->bytes_per_second ? o->bytes_per_second : 1000000000;
	o->chunk_bytes = o->chunk_bytes ? o->chunk_bytes : (uint64_t)1 << 20;
	if (o->nr_tracked > 1u << 24 || o->spare_permille > 1000000 ||
	    o->burst_bytes > (uint64_t)1 << 50 || o->latency_ns > (uint64_t)1 << 40 ||
	    o->chunk_bytes > (uint64_t)1 << 40)
		return -EINVAL;
	return 0;
}

int wr_prefetch_open(const struct wr_prefetch_opts *opts, struct wr_prefetch **ret)
{
	struct wr_prefetch_opts o;
	struct wr_prefetch *m;
	int rc = fill_opts(opts, &o);

	if (rc)
		return rc;
	m = wr_calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->opts = o;
	rc = wr_tracks_init(&m->tracks, o.nr_tracked);
	if (rc) {
		wr_free(m);
		return rc;
	}
	wr_value_init(&m->value, &o);
	wr_switch_init(&m->on);
	*ret = m;
	return 0;
}

void wr_prefetch_close(struct wr_prefetch *m)
{
	if (!m)
		return;
	wr_tracks_fini(&m->tracks);
	wr_free(m);
}

/* ---- judging -------------------------------------------------------------------------------- */

/* Whether what was said of it came true, once. */
static void judge(struct wr_prefetch *m, struct wr_track *t, bool right)
{
	for (uint32_t i = 0; i < t->nr_said; i++)
		wr_tally_add(&m->value.right[t->said[i].source][t->said[i].class], right, 1);
	t->nr_said = 0;
}

/* @done: of its bytes, those that were there when it was used. */
static void count_useful(struct wr_prefetch *m, struct wr_track *t, uint64_t done)
{
	struct wr_prefetch_stat *s = &m->stats[t->source];
	uint32_t part = (uint32_t)(16 * wr_min(done, t->bytes) / t->bytes);

	if (done < t->bytes)
		s->nr_late++;
	else
		s->nr_useful++;
	s->useful_bytes += t->bytes;
	wr_tally_add(&m->precision[t->source], 1, 1);
	wr_tally_add(&m->value.in_time[t->reach], part, 16);
	wr_value_refund(&m->value, t->bytes);
	wr_value_earn(&m->value, t->bytes);
	m->on.gained_ns += (int64_t)wr_value_read_ns(&m->value, t->bytes) * part / 16;
}

static void count_wasted(struct wr_prefetch *m, struct wr_track *t)
{
	struct wr_prefetch_stat *s = &m->stats[t->source];

	s->nr_wasted++;
	s->wasted_bytes += t->bytes;
	wr_tally_add(&m->precision[t->source], 0, 1);
	m->on.gained_ns -= (int64_t)wr_value_cost_ns(&m->value, t->bytes);
}

/* It was used after all. */
static void count_used_late(struct wr_prefetch *m, struct wr_track *t)
{
	struct wr_prefetch_stat *s = &m->stats[t->source];

	s->nr_wasted--;
	s->wasted_bytes -= t->bytes;
	m->on.gained_ns += (int64_t)wr_value_cost_ns(&m->value, t->bytes);
	count_useful(m, t, t->bytes);
}

/* It no longer is something that is ahead: used, gone, or given up. */
static void forget(struct wr_prefetch *m, struct wr_track *t)
{
	if (t->state == WR_TRACK_READING || t->state == WR_TRACK_READY)
		m->ahead_bytes -= t->bytes;
	wr_tracks_remove(&m->tracks, t);
}

static void go_overdue(struct wr_prefetch *m, struct wr_track *t)
{
	judge(m, t, false);
	switch (t->state) {
	case WR_TRACK_READING:
		wr_tracks_unlink(&m->tracks, t);
		break;
	case WR_TRACK_READY:
		count_wasted(m, t);
		if (m->opts.ops->unwanted)
			m->opts.ops->unwanted(m->opts.ctx, t->key);
		m->ahead_bytes -= t->bytes;
		wr_tracks_make_stale(&m->tracks, t);
		break;
	default:
		m->stats[t->source].nr_dropped += t->state == WR_TRACK_QUEUED;
		forget(m, t);
	}
}

/* Of its bytes, those that are there after the time for which it is being read. */
static uint64_t guess_done(const struct wr_prefetch *m, const struct wr_track *t, uint64_t now_ns)
{
	uint64_t took = now_ns > t->started_ns ? now_ns - t->started_ns : 0;
	uint64_t all = wr_value_read_ns(&m->value, t->bytes);

	return took >= all ? t->bytes : t->bytes / 16 * (16 * took / all);
}

static void meet(struct wr_prefetch *m, uint64_t now_ns, struct wr_track *t,
		 enum wr_prefetch_outcome outcome, uint64_t done)
{
	judge(m, t, true);
	switch (t->state) {
	case WR_TRACK_READING:
		if (outcome == WR_PREFETCH_LATE && !t->used) {
			t->used = true;
			if (done == UINT64_MAX)
				done = guess_done(m, t, now_ns);
			count_useful(m, t, wr_min(done, t->bytes - 1));
		}
		return;
	case WR_TRACK_READY:
		if (outcome == WR_PREFETCH_HIT)
			count_useful(m, t, t->bytes);
		else
			count_wasted(m, t);
		break;
	case WR_TRACK_STALE:
		if (outcome == WR_PREFETCH_HIT)
			count_used_late(m, t);
		break;
	default:
		m->stats[t->source].nr_dropped += t->state == WR_TRACK_QUEUED;
		break;
	}
	forget(m, t);
}

/* ---- references and completions ------------------------------------------------------------- */

static void drop_queue(struct wr_prefetch *m)
{
	for (uint32_t i = m->at; i < m->nr_queue; i++) {
		struct wr_track *t = &m->tracks.v[m->queue[i]];

		if (t->state == WR_TRACK_QUEUED && t->queue_at == i)
			t->state = WR_TRACK_SHADOW;
	}
	m->nr_queue = m->at = 0;
}

static void meet_miss(struct wr_prefetch *m, uint64_t now_ns, struct weir_key key, uint64_t bytes)
{
	m->nr_misses++;
	if (m->nr_reading)
		wr_value_hold_up(&m->value, now_ns);
	if (!wr_value_was_displaced(&m->value, key, bytes)) {
		wr_value_earn(&m->value, bytes);
		return;
	}
	m->nr_missed++;
	m->on.gained_ns -= (int64_t)wr_value_read_ns(&m->value, bytes);
}

void wr_prefetch_reference(struct wr_prefetch *m, uint64_t now_ns, struct weir_key key,
			   uint64_t bytes, enum wr_prefetch_outcome outcome, uint64_t done_bytes)
{
	struct wr_track *t;

	m->nr_refs++;
	wr_value_reference(&m->value, now_ns, bytes);
	if (wr_switch_reference(&m->on, m->nr_refs)) {
		drop_queue(m);
		wr_value_forgive(&m->value);
	}
	t = wr_tracks_find(&m->tracks, key);
	if (t)
		meet(m, now_ns, t, outcome, done_bytes);
	if (outcome == WR_PREFETCH_MISS)
		meet_miss(m, now_ns, key, bytes);
	if (m->nr_refs % WR_TRACK_STEP)
		return;
	while ((t = wr_tracks_overdue(&m->tracks, m->nr_refs)))
		go_overdue(m, t);
}

/* It ended early: what was not read need not be paid for. */
static void count_unread(struct wr_prefetch *m, const struct wr_track *t, uint64_t read_bytes)
{
	if (t->used)
		return;
	wr_value_refund(&m->value, t->bytes - read_bytes);
	m->stats[t->source].started_bytes -= t->bytes - read_bytes;
	m->stats[t->source].wasted_bytes += read_bytes;
	if (read_bytes)
		m->on.gained_ns -= (int64_t)wr_value_cost_ns(&m->value, read_bytes);
}

static void remove_reading(struct wr_prefetch *m, const struct wr_track *t)
{
	uint32_t i = 0;

	while (&m->tracks.v[m->reading[i]] != t)
		i++;
	m->reading[i] = m->reading[--m->nr_reading];
}

void wr_prefetch_filled(struct wr_prefetch *m, uint64_t now_ns, struct weir_key key, int result,
			uint64_t read_bytes)
{
	struct wr_track *t = wr_tracks_find(&m->tracks, key);
	uint64_t took;

	if (!t || t->state != WR_TRACK_READING)
		return;
	remove_reading(m, t);
	took = now_ns > t->started_ns ? now_ns - t->started_ns : 0;
	if (!result)
		wr_value_learn_read(&m->value, t->bytes, took);
	else
		count_unread(m, t, wr_min(read_bytes, t->bytes));
	m->stats[t->source].nr_cancelled += result == -ECANCELED;
	m->stats[t->source].nr_failed += result && result != -ECANCELED;
	if (result || t->used) {
		forget(m, t);
		return;
	}
	t->state = WR_TRACK_READY;
	if (t->bucket == WR_TRACK_BUCKETS)
		go_overdue(m, t);
}

void wr_prefetch_evicted(struct wr_prefetch *m, struct weir_key key, bool ours)
{
	struct wr_track *t = wr_tracks_find(&m->tracks, key);

	if (t && (t->state == WR_TRACK_READY || t->state == WR_TRACK_STALE)) {
		judge(m, t, false);
		if (t->state == WR_TRACK_READY)
			count_wasted(m, t);
		forget(m, t);
		return;
	}
	wr_value_evicted(&m->value, key, ours);
}

void wr_prefetch_missed(struct wr_prefetch *m, uint64_t now_ns, struct weir_key key, uint64_t bytes)
{
	meet_miss(m, now_ns, key, bytes);
}

void wr_prefetch_spent(struct wr_prefetch *m, uint64_t ns)
{
	/* While nothing is foreseen yet it is what learning takes, and no loss. */
	if (m->on.nr_worth)
		m->on.gained_ns -= (int64_t)wr_min(ns, (uint64_t)1 << 40);
}

/* ---- forecasts ------------------------------------------------------------------------------ */

bool wr_prefetch_wants(struct wr_prefetch *m)
{
	return wr_switch_wants(&m->on);
}

static void note_said(struct wr_track *t, uint32_t source, uint32_t class)
{
	for (uint32_t i = 0; i < t->nr_said; i++)
		if (t->said[i].source == source && t->said[i].class == class)
			return;
	if (t->nr_said == WR_TRACK_SAID)
		return;
	t->said[t->nr_said].source = (uint8_t)source;
	t->said[t->nr_said].class = (uint8_t) class;
	t->nr_said++;
}

static uint64_t displaced_ns(const struct wr_prefetch *m, uint64_t bytes)
{
	if (m->opts.ops->displaced)
		return m->opts.ops->displaced(m->opts.ctx, bytes);
	return wr_value_displaced_ns(&m->value, bytes);
}

static int64_t value_of(const struct wr_prefetch *m, const struct wr_track *t)
{
	return wr_value_of(&m->value, t->prob, t->reach, t->bytes, displaced_ns(m, t->bytes));
}

static void expect(struct wr_prefetch *m, const struct wr_forecast *f)
{
	if (m->opts.ops->expect && f->prob >= WORTH_EXPECTING)
		m->opts.ops->expect(m->opts.ctx, f->key, f->prob, f->distance);
}

/* What follows a forecast: the key's track, or NULL when there is nothing to read or judge. */
static struct wr_track *track_of(struct wr_prefetch *m, const struct wr_forecast *f)
{
	struct wr_track *t = wr_tracks_find(&m->tracks, f->key);
	uint64_t ahead = wr_min(f->distance + f->distance / 2 + (uint64_t)PATIENCE,
				(uint64_t)WR_TRACK_STEP * (WR_TRACK_BUCKETS - 2));

	if (t && t->state >= WR_TRACK_READING) {
		if (t->state != WR_TRACK_READING)
			expect(m, f);
		return t;
	}
	if (m->opts.ops->resident(m->opts.ctx, f->key)) {
		expect(m, f);
		if (t)
			forget(m, t);
		return NULL;
	}
	if (t)
		return t;
	t = wr_tracks_add(&m->tracks, f->key, m->nr_refs + ahead);
	if (t)
		m->stats[f->source].nr_asked++;
	return t;
}

/* Whether a forecast is worth a read; if so, and not off, it is put into the queue. */
static bool consider(struct wr_prefetch *m, uint64_t now_ns, const struct wr_forecast *f)
{
	struct wr_track *t;

	if (f->source >= WR_PREDICT_NR_SOURCES || !f->bytes || f->bytes > (uint64_t)1 << 40)
		return false;
	t = track_of(m, f);
	if (!t)
		return false;
	t->epoch = m->epoch;
	t->deadline_ns = now_ns + (m->value.ref_ns_x16 * f->distance >> 4);
	if (t->state >= WR_TRACK_READING)
		return t->state == WR_TRACK_READING;
	t->bytes = f->bytes;
	t->source = (uint8_t)f->source;
	t->reach = (uint8_t)wr_value_reach(f->distance);
	t->prob = wr_value_prob(&m->value, f->source, f->prob, m->on.on);
	note_said(t, f->source, wr_value_class(f->prob));
	t->value_ns = value_of(m, t);
	t->state = WR_TRACK_SHADOW;
	if (t->value_ns <= 0)
		return false;
	if (m->on.on && m->nr_queue < wr_array_size(m->queue)) {
		t->state = WR_TRACK_QUEUED;
		m->queue[m->nr_queue++] = (uint32_t)(t - m->tracks.v);
	}
	return true;
}

static bool goes_before(const struct wr_track *a, const struct wr_track *b)
{
	return a->deadline_ns < b->deadline_ns ||
	       (a->deadline_ns == b->deadline_ns && a->value_ns > b->value_ns);
}

static void sort_queue(struct wr_prefetch *m)
{
	const struct wr_track *v = m->tracks.v;

	for (uint32_t i = 1; i < m->nr_queue; i++) {
		uint32_t place = m->queue[i], j = i;

		for (; j > 0 && goes_before(&v[place], &v[m->queue[j - 1]]); j--)
			m->queue[j] = m->queue[j - 1];
		m->queue[j] = place;
	}
	for (uint32_t i = 0; i < m->nr_queue; i++)
		m->tracks.v[m->queue[i]].queue_at = (uint16_t)i;
}

/*
 * Reads that are forecast no more: those of a layer at once, as its time is over; others when
 * they are overdue, for a forecast may be back with the next reference.
 */
static void cancel_forgotten(struct wr_prefetch *m)
{
	for (uint32_t i = 0; i < m->nr_reading; i++) {
		struct wr_track *t = &m->tracks.v[m->reading[i]];
		bool by_layer = t->source == WR_PREDICT_EXPERT || t->source == WR_PREDICT_HOT;

		if (!t->used && !t->cancelled && t->epoch != m->epoch &&
		    (by_layer || t->bucket == WR_TRACK_BUCKETS)) {
			t->cancelled = true;
			m->opts.ops->cancel(m->opts.ctx, t->key);
		}
	}
}

void wr_prefetch_forecast(struct wr_prefetch *m, uint64_t now_ns, const struct wr_forecast *list,
			  uint32_t nr)
{
	uint32_t old[WR_PREDICT_MAX], nr_old = 0, nr_worth = 0;

	for (uint32_t i = m->at; i < m->nr_queue; i++) {
		const struct wr_track *t = &m->tracks.v[m->queue[i]];

		if (t->state == WR_TRACK_QUEUED && t->queue_at == i)
			old[nr_old++] = m->queue[i];
	}
	drop_queue(m);
	m->epoch++;
	for (uint32_t i = 0; i < nr; i++)
		nr_worth += consider(m, now_ns, &list[i]);
	for (uint32_t i = 0; i < nr_old; i++) {
		const struct wr_track *t = &m->tracks.v[old[i]];

		m->stats[t->source].nr_dropped += t->epoch != m->epoch;
	}
	wr_switch_forecast(&m->on, nr_worth);
	if (m->opts.ops->cancel && m->nr_reading)
		cancel_forgotten(m);
	sort_queue(m);
	wr_prefetch_run(m, now_ns);
}

/* 0: begun, or not worth it any more. */
static int start(struct wr_prefetch *m, uint64_t now_ns, struct wr_track *t)
{
	int rc;

	t->value_ns = value_of(m, t);
	if (t->value_ns <= 0 || m->opts.ops->resident(m->opts.ctx, t->key)) {
		t->state = WR_TRACK_SHADOW;
		return 0;
	}
	if (!wr_value_spend(&m->value, t->bytes))
		return -EAGAIN;
	rc = m->opts.ops->start(m->opts.ctx, t->key, t->bytes, t->deadline_ns);
	if (rc) {
		wr_value_refund(&m->value, t->bytes);
		if (rc != -EAGAIN) {
			m->stats[t->source].nr_failed++;
			t->state = WR_TRACK_SHADOW;
		}
		return rc == -EAGAIN ? rc : 0;
	}
	t->state = WR_TRACK_READING;
	t->started_ns = now_ns;
	m->reading[m->nr_reading++] = (uint32_t)(t - m->tracks.v);
	m->ahead_bytes += t->bytes;
	m->stats[t->source].nr_started++;
	m->stats[t->source].started_bytes += t->bytes;
	wr_value_started(&m->value);
	return 0;
}

void wr_prefetch_run(struct wr_prefetch *m, uint64_t now_ns)
{
	for (; m->at < m->nr_queue; m->at++) {
		struct wr_track *t = &m->tracks.v[m->queue[m->at]];

		if (t->state != WR_TRACK_QUEUED || t->queue_at != m->at)
			continue;
		if (m->nr_reading == WR_PREFETCH_READING ||
		    (m->ahead_bytes && m->ahead_bytes + t->bytes > m->opts.ahead_bytes))
			return;
		if (start(m, now_ns, t))
			return;
	}
}

/* ---- looking -------------------------------------------------------------------------------- */

static void add_stat(struct wr_prefetch_stat *sum, const struct wr_prefetch_stat *s)
{
	sum->nr_asked += s->nr_asked;
	sum->nr_started += s->nr_started;
	sum->nr_useful += s->nr_useful;
	sum->nr_late += s->nr_late;
	sum->nr_wasted += s->nr_wasted;
	sum->nr_cancelled += s->nr_cancelled;
	sum->nr_failed += s->nr_failed;
	sum->nr_dropped += s->nr_dropped;
	sum->started_bytes += s->started_bytes;
	sum->useful_bytes += s->useful_bytes;
	sum->wasted_bytes += s->wasted_bytes;
}

void wr_prefetch_stat(const struct wr_prefetch *m, uint32_t source, struct wr_prefetch_stat *ret)
{
	uint32_t hits = 0, tries = 0;

	memset(ret, 0, sizeof(*ret));
	for (uint32_t s = 0; s < WR_PREDICT_NR_SOURCES; s++) {
		if (source != s && source != WR_PREDICT_NR_SOURCES)
			continue;
		add_stat(ret, &m->stats[s]);
		hits += m->precision[s].hits;
		tries += m->precision[s].tries;
	}
	ret->precision = tries ? (uint32_t)((uint64_t)hits * WR_PREDICT_SURE / tries) : 0;
}

void wr_prefetch_info(const struct wr_prefetch *m, struct wr_prefetch_info *ret)
{
	*ret = (struct wr_prefetch_info){.on = m->on.on,
					 .lossy = m->on.lossy,
					 .nr_references = m->nr_refs,
					 .nr_misses = m->nr_misses,
					 .nr_missed = m->nr_missed,
					 .nr_stops = m->on.nr_stops,
					 .stopped_at = m->on.stopped_at,
					 .tokens_bytes = m->value.tokens,
					 .ahead_bytes = m->ahead_bytes,
					 .read_ns =
						 wr_value_read_ns(&m->value, m->value.mean_bytes),
					 .nr_tracked = m->tracks.nr,
					 .nr_waiting = m->nr_queue - m->at};
}
