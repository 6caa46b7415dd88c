/* SPDX-License-Identifier: MIT */
/*
 * ahead.c - The simulated host.
 *
 * One server stands for the device. It works on a chunk at a time and takes reads on demand
 * first, so one that comes while a chunk is read ahead waits for the rest of that. A read ahead
 * that somebody waits for goes on as one on demand; one that is cancelled ends after its chunk.
 *
 * What was read ahead is staged: it takes room, but the policy hears of it when it is used, as of
 * a miss. So the policy decides as it would without us, and what passes through a cache that
 * keeps something else passes through still.
 */
#include "ahead.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "policy/policy.h"
#include "ui.h"

/* STAGED: read ahead, not used yet, and unknown to the policy. */
enum where { OUT, QUEUED, STAGED, RESIDENT };

struct object {
	struct wr_policy_node node;
	uint64_t pinned; /* visit that needs it */
	uint64_t left;	 /* bytes to be read */
	uint64_t due;	 /* STAGED: when it may be used next, with @prob */
	uint32_t prob;
	uint32_t next; /* in a queue */
	uint8_t where;
	bool ahead;  /* being read ahead */
	bool demand; /* somebody waits for it */
	bool begun;  /* latency is paid */
	bool cancelled;
	bool stale;
};

#define NONE	  UINT32_MAX
#define MAX_STALE 256u

struct queue {
	uint32_t first, last;
};

struct sim {
	const struct wr_ahead_work *w;
	const struct wr_ahead_opts *o;
	struct object *objects;
	struct wr_policy *policy;
	struct wr_predict *predict;
	struct wr_prefetch *prefetch;
	struct queue demand, ahead;
	uint64_t now;
	uint64_t device_now; /* end of its last chunk, or later if it is idle */
	uint64_t chunk, chunk_end;
	uint32_t serving; /* object whose chunk is read, or NONE */
	uint64_t visit;
	uint32_t nr_waiting; /* objects this visit waits for */
	uint64_t staged_bytes;
	uint32_t stale[MAX_STALE]; /* a ring of objects, staged and not used when they should be */
	uint32_t nr_stale, stale_at;
	uint64_t ahead_limit; /* of what is staged or being read ahead */
	uint64_t reserve;     /* of the capacity, for that */
	uint64_t *waits;
	struct wr_forecast forecasts[WR_PREDICT_MAX];
	struct wr_ahead_result r;
};

/* ---- queues and device ------------------------------------------------------------------------ */

static void push(struct sim *s, struct queue *q, uint32_t i)
{
	s->objects[i].next = NONE;
	if (q->first == NONE)
		q->first = i;
	else
		s->objects[q->last].next = i;
	q->last = i;
}

static void unlink_object(struct sim *s, struct queue *q, uint32_t i)
{
	uint32_t before = NONE;

	for (uint32_t j = q->first; j != i; j = s->objects[j].next)
		before = j;
	if (before == NONE)
		q->first = s->objects[i].next;
	else
		s->objects[before].next = s->objects[i].next;
	if (q->last == i)
		q->last = before;
}

static bool may_leave(void *ctx, const struct wr_policy_node *node)
{
	const struct sim *s = ctx;

	return wr_container_of((struct wr_policy_node *)(uintptr_t)node, struct object, node)
		       ->pinned != s->visit;
}

static void set_reserve(struct sim *s, uint64_t reserve)
{
	if (reserve != s->reserve)
		wr_policy_resize(s->policy, s->o->capacity - reserve);
	s->reserve = reserve;
}

static void unstage(struct sim *s, struct object *o)
{
	o->where = OUT;
	o->stale = false;
	s->staged_bytes -= o->node.bytes;
}

/* The oldest of what is stale goes; false: there is none. */
static bool drop_stale(struct sim *s)
{
	while (s->nr_stale) {
		struct object *old = &s->objects[s->stale[s->stale_at]];

		s->stale_at = (s->stale_at + 1) % MAX_STALE;
		s->nr_stale--;
		if (old->where != STAGED || !old->stale)
			continue;
		unstage(s, old);
		return true;
	}
	return false;
}

/* The policy's part of the room for @bytes; false: all that is there is pinned. */
static bool make_room(struct sim *s, uint64_t bytes, bool ours)
{
	while (wr_policy_bytes(s->policy) + bytes > s->o->capacity - s->reserve) {
		struct wr_policy_node *node;

		if (!ours && drop_stale(s)) {
			set_reserve(s, s->staged_bytes);
			continue;
		}
		node = wr_policy_victim(s->policy, may_leave, s);
		if (!node)
			return false;
		wr_policy_remove(s->policy, node, true);
		wr_container_of(node, struct object, node)->where = OUT;
		if (s->prefetch)
			wr_prefetch_evicted(s->prefetch, node->key, ours);
	}
	return true;
}

/* Room among what is staged: of what is stale, or more of the policy's. */
static bool stage(struct sim *s, struct object *o)
{
	while (s->staged_bytes + o->node.bytes > s->reserve && drop_stale(s))
		;
	s->staged_bytes += o->node.bytes;
	set_reserve(s, wr_max(s->reserve, s->staged_bytes));
	o->where = STAGED;
	o->prob = 0;
	if (make_room(s, 0, true))
		return true;
	unstage(s, o);
	return false;
}

/* On demand, or used for the first time: the policy hears of it now, and not before. */
static void keep(struct sim *s, struct object *o)
{
	o->where = OUT;
	if (!wr_policy_admit(s->policy, o->node.key, o->node.bytes, WR_POLICY_UNKNOWN) ||
	    !make_room(s, o->node.bytes, false))
		return;
	o->node.next_use = WR_POLICY_UNKNOWN;
	wr_policy_insert(s->policy, &o->node);
	o->where = RESIDENT;
}

static void end_read(struct sim *s, uint32_t i, int result)
{
	struct object *o = &s->objects[i];
	bool ours = o->ahead, kept = true;

	if (o->demand) {
		s->nr_waiting -= o->pinned == s->visit;
		keep(s, o);
	} else {
		o->where = OUT;
		kept = !result && stage(s, o);
	}
	o->ahead = o->demand = o->cancelled = false;
	if (ours && s->prefetch) {
		wr_prefetch_filled(s->prefetch, s->device_now, o->node.key, result,
				   o->node.bytes - o->left);
		if (!kept && !result)
			wr_prefetch_evicted(s->prefetch, o->node.key, false);
		wr_prefetch_run(s->prefetch, s->device_now);
	}
}

/* What is served next begins its next chunk; false: there is nothing to do. */
static bool begin_chunk(struct sim *s)
{
	struct queue *q = s->demand.first != NONE ? &s->demand : &s->ahead;
	struct object *o = q->first == NONE ? NULL : &s->objects[q->first];

	if (!o)
		return false;
	s->serving = q->first;
	s->chunk = o->cancelled && !o->demand ? 0 : wr_min(o->left, s->o->chunk_bytes);
	s->chunk_end = s->device_now;
	if (s->chunk)
		s->chunk_end += (o->begun ? 0 : s->o->latency_ns) +
				s->chunk * 1000000000 / s->o->device_bps;
	o->begun = true;
	return true;
}

static void end_chunk(struct sim *s)
{
	uint32_t i = s->serving;
	struct object *o = &s->objects[i];
	bool gone = o->cancelled && !o->demand;

	s->serving = NONE;
	s->device_now = s->chunk_end;
	o->left -= s->chunk;
	s->r.read_bytes += s->chunk;
	if (o->left && !gone)
		return;
	unlink_object(s, o->demand ? &s->demand : &s->ahead, i);
	end_read(s, i, o->left ? -ECANCELED : 0);
}

/* The next thing that the device does until then; false: nothing ends before. */
static bool serve(struct sim *s, uint64_t until)
{
	if (s->serving == NONE && !begin_chunk(s))
		return false;
	if (s->chunk_end > until)
		return false;
	end_chunk(s);
	return true;
}

static void serve_until(struct sim *s, uint64_t until)
{
	while (serve(s, until))
		;
	if (s->serving == NONE)
		s->device_now = wr_max(s->device_now, until);
}

static void begin_read(struct sim *s, uint32_t i, bool demand)
{
	struct object *o = &s->objects[i];

	o->where = QUEUED;
	o->left = o->node.bytes;
	o->begun = false;
	o->demand = demand;
	o->ahead = !demand;
	o->cancelled = false;
	push(s, demand ? &s->demand : &s->ahead, i);
}

/* ---- what the manager is given ---------------------------------------------------------------- */

static uint32_t index_of(const struct sim *s, struct weir_key key)
{
	/* Experts are in order; of others the first word of the key is kept for this. */
	return (uint32_t)(s->w->nr_layers && !(key.hi >> 63) ? key.hi * s->w->nr_experts + key.lo
							     : key.lo);
}

static int op_start(void *ctx, struct weir_key key, uint64_t bytes, uint64_t deadline_ns)
{
	struct sim *s = ctx;

	(void)bytes;
	(void)deadline_ns;
	begin_read(s, index_of(s, key), false);
	return 0;
}

static void op_cancel(void *ctx, struct weir_key key)
{
	struct sim *s = ctx;

	s->objects[index_of(s, key)].cancelled = true;
}

static bool op_resident(void *ctx, struct weir_key key)
{
	const struct sim *s = ctx;

	return s->objects[index_of(s, key)].where != OUT;
}

static void op_expect(void *ctx, struct weir_key key, uint32_t prob, uint32_t distance)
{
	struct sim *s = ctx;
	struct object *o = &s->objects[index_of(s, key)];

	if (o->where == RESIDENT)
		wr_policy_expect(s->policy, &o->node, distance, prob);
}

/* It will come back before what would leave for it: the policy has it from now on. */
static bool stays(struct sim *s, struct object *o)
{
	uint64_t clock = wr_policy_clock(s->policy), distance = o->due - wr_min(clock, o->due);

	if (!wr_policy_outranks(s->policy, distance, o->prob, may_leave, s))
		return false;
	unstage(s, o);
	if (!make_room(s, o->node.bytes, true))
		return true;
	o->node.next_use = WR_POLICY_UNKNOWN;
	wr_policy_insert(s->policy, &o->node);
	wr_policy_expect(s->policy, &o->node, distance, o->prob);
	o->where = RESIDENT;
	return true;
}

static void op_unwanted(void *ctx, struct weir_key key)
{
	struct sim *s = ctx;
	uint32_t i = index_of(s, key);

	if (s->objects[i].where != STAGED || stays(s, &s->objects[i]))
		return;
	s->objects[i].stale = true;
	if (s->nr_stale == MAX_STALE)
		unstage(s, &s->objects[i]);
	else
		s->stale[(s->stale_at + s->nr_stale++) % MAX_STALE] = i;
}

static const struct wr_prefetch_ops ops = {.start = op_start,
					   .cancel = op_cancel,
					   .resident = op_resident,
					   .expect = op_expect,
					   .unwanted = op_unwanted};

/* ---- a visit ---------------------------------------------------------------------------------- */

static struct wr_predict_ref ref_of(const struct sim *s, uint32_t i)
{
	const struct wr_ahead_object *o = &s->w->objects[i];

	return (struct wr_predict_ref){.key = s->objects[i].node.key,
				       .bytes = o->bytes,
				       .layer = o->layer,
				       .expert = o->expert};
}

static enum wr_prefetch_outcome demand_one(struct sim *s, uint32_t i)
{
	struct object *o = &s->objects[i];

	o->pinned = s->visit;
	if (o->where == RESIDENT) {
		s->r.hits++;
		/* What would not have been kept had it been read on demand may leave again. */
		if (o->ahead &&
		    !wr_policy_admit(s->policy, o->node.key, o->node.bytes, WR_POLICY_UNKNOWN))
			op_unwanted(s, o->node.key);
		wr_policy_hit(s->policy, &o->node);
		o->ahead = false;
		return WR_PREFETCH_HIT;
	}
	if (o->where == QUEUED && o->demand) /* twice in a visit */
		return WR_PREFETCH_HIT;
	wr_policy_miss(s->policy, o->node.key, o->node.bytes);
	if (o->where == STAGED) {
		s->r.hits++;
		unstage(s, o);
		keep(s, o);
		return WR_PREFETCH_HIT;
	}
	s->nr_waiting++;
	if (o->where == QUEUED) {
		s->r.late++;
		unlink_object(s, &s->ahead, i);
		o->demand = true;
		push(s, &s->demand, i);
		return WR_PREFETCH_LATE;
	}
	s->r.misses++;
	begin_read(s, i, true);
	return WR_PREFETCH_MISS;
}

/* Room that was set apart for what is ahead and is not used goes back little by little. */
static void follow_switch(struct sim *s, uint32_t nr_refs)
{
	struct wr_prefetch_info info;
	uint64_t unused = s->reserve - wr_min(s->reserve, s->staged_bytes);

	wr_prefetch_info(s->prefetch, &info);
	if (info.on)
		s->r.stopped_after = nr_refs;
	set_reserve(s, s->reserve - (info.on ? unused / 4 : unused));
}

/* The policy hears when those of the layer before will come again. */
static void tell_recurrent(struct sim *s)
{
	struct wr_recurrent list[WR_PREDICT_MAX];
	uint32_t nr = wr_predict_recur(s->predict, list);

	for (uint32_t i = 0; i < nr; i++) {
		struct object *o = &s->objects[index_of(s, list[i].key)];

		if (o->where == RESIDENT)
			wr_policy_expect(s->policy, &o->node, list[i].distance, list[i].prob);
		else
			wr_policy_foretell(s->policy, o->node.key, list[i].distance, list[i].prob);
		if (o->where == STAGED) {
			o->due = wr_policy_clock(s->policy) + list[i].distance;
			o->prob = list[i].prob;
		}
	}
}

static void run_visit(struct sim *s, uint32_t v)
{
	uint32_t from = s->w->visits[v], to = s->w->visits[v + 1];
	uint64_t begun;

	s->visit = v + 1;
	s->nr_waiting = 0;
	for (uint32_t k = from; k < to; k++) {
		uint32_t i = s->w->refs[k];
		enum wr_prefetch_outcome outcome = demand_one(s, i);
		struct wr_predict_ref ref = ref_of(s, i);

		if (!s->prefetch)
			continue;
		wr_predict_observe(s->predict, &ref);
		wr_prefetch_reference(s->prefetch, s->now, ref.key, ref.bytes, outcome,
				      ref.bytes - s->objects[i].left);
	}
	if (s->prefetch)
		tell_recurrent(s);
	if (s->prefetch && wr_prefetch_wants(s->prefetch)) {
		uint32_t nr = wr_predict_forecast(s->predict, s->forecasts,
						  s->o->nr_asked ? s->o->nr_asked : 24);

		wr_prefetch_forecast(s->prefetch, s->now, s->forecasts, nr);
	}
	begun = s->now;
	if (s->nr_waiting) {
		while (s->nr_waiting)
			serve(s, UINT64_MAX);
		s->now = s->device_now;
	}
	s->waits[v] = s->now - begun;
	s->now += s->o->compute_ns;
	serve_until(s, s->now);
	if (s->prefetch)
		follow_switch(s, to);
}

/* ---- runs ------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int open_prefetch(struct sim *s)
{
	const struct wr_predict_opts predict = {.nr_items = wr_max(s->w->nr_objects, 64u),
						.nr_layers = s->w->nr_layers,
						.nr_experts = s->w->nr_experts,
						.max_bytes = (uint64_t)1 << 32};
	const struct wr_prefetch_opts prefetch = {.ops = &ops,
						  .ctx = s,
						  .latency_ns = s->o->latency_ns,
						  .bytes_per_second = s->o->device_bps,
						  .chunk_bytes = s->o->chunk_bytes,
						  .ahead_bytes = s->ahead_limit};
	int rc = wr_predict_open(&predict, &s->predict);

	for (uint32_t i = 0; !rc && i < s->w->nr_objects; i++) {
		struct wr_predict_ref ref = ref_of(s, i);

		if (ref.layer != WR_PREDICT_NONE)
			rc = wr_predict_declare(s->predict, &ref);
	}
	return rc ? rc : wr_prefetch_open(&prefetch, &s->prefetch);
}

static int open_sim(struct sim *s)
{
	const struct wr_policy_opts policy = {
		.capacity_bytes = s->o->capacity,
		.nr_entries = s->w->nr_used,
		.seed = 1,
	};
	int rc = wr_policy_open(s->o->policy, &policy, &s->policy);

	if (rc)
		return rc;
	s->objects = calloc(s->w->nr_objects, sizeof(*s->objects));
	s->waits = calloc(s->w->nr_visits, sizeof(*s->waits));
	if (!s->objects || !s->waits)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->w->nr_objects; i++) {
		const struct wr_ahead_object *o = &s->w->objects[i];
		struct weir_key key = {.hi = (uint64_t)1 << 63, .lo = i};

		/* Other keys are numbers here: a place in the table. */
		s->objects[i].node.key = o->layer == WR_PREDICT_NONE ? key : o->key;
		s->objects[i].node.bytes = o->bytes;
	}
	s->ahead_limit = wr_min((uint64_t)64 << 20, s->o->capacity / 16);
	s->demand.first = s->ahead.first = s->serving = NONE;
	return s->o->prefetch ? open_prefetch(s) : 0;
}

static void close_sim(struct sim *s)
{
	wr_prefetch_close(s->prefetch);
	wr_predict_close(s->predict);
	wr_policy_close(s->policy);
	free(s->objects);
	free(s->waits);
}

static void finish(struct sim *s)
{
	s->r.total_ns = s->now;
	qsort(s->waits, s->w->nr_visits, sizeof(*s->waits), compare);
	s->r.wait_p99_ns = s->waits[(uint64_t)s->w->nr_visits * 99 / 100];
	if (!s->prefetch)
		return;
	wr_prefetch_info(s->prefetch, &s->r.info);
	wr_prefetch_stat(s->prefetch, WR_PREDICT_NR_SOURCES, &s->r.stat);
	for (uint32_t i = 0; i < WR_PREDICT_NR_SOURCES; i++)
		wr_prefetch_stat(s->prefetch, i, &s->r.sources[i]);
}

int wr_ahead_run(const struct wr_ahead_work *w, const struct wr_ahead_opts *opts,
		 struct wr_ahead_result *ret)
{
	struct sim *s = calloc(1, sizeof(*s));
	struct wr_ahead_result quarter = {0};
	int rc;

	if (!s)
		return -ENOMEM;
	s->w = w;
	s->o = opts;
	rc = open_sim(s);
	for (uint32_t v = 0; !rc && v < w->nr_visits; v++) {
		if (v == w->nr_visits / 4) {
			quarter = s->r;
			quarter.late_refs = w->nr_refs - w->visits[v];
		}
		run_visit(s, v);
		if (v % 4096 == 0 && wr_ui_interrupted())
			rc = -EINTR;
	}
	if (!rc) {
		s->r.late_refs = quarter.late_refs;
		s->r.late_hits = s->r.hits - quarter.hits;
		s->r.late_read_bytes = s->r.read_bytes - quarter.read_bytes;
		finish(s);
		*ret = s->r;
	}
	close_sim(s);
	free(s);
	return rc;
}

/* ---- the predictor alone ---------------------------------------------------------------------- */

static void count_recall(const struct wr_ahead_work *w, uint32_t v, const struct wr_forecast *f,
			 uint32_t nr, uint64_t found[3])
{
	const uint32_t *refs = &w->refs[w->visits[v]];
	uint32_t k = w->visits[v + 1] - w->visits[v], rank = 0;

	for (uint32_t i = 0; i < nr && rank < 4 * k; i++) {
		bool used = false;

		if (f[i].key.hi != w->objects[refs[0]].layer)
			continue;
		for (uint32_t j = 0; j < k; j++)
			used |= w->objects[refs[j]].expert == f[i].key.lo;
		found[0] += used && rank < k;
		found[1] += used && rank < 2 * k;
		found[2] += used;
		rank++;
	}
}

static void observe_visit(struct wr_predict *p, const struct wr_ahead_work *w, uint32_t v)
{
	for (uint32_t k = w->visits[v]; k < w->visits[v + 1]; k++) {
		const struct wr_ahead_object *o = &w->objects[w->refs[k]];
		const struct wr_predict_ref ref = {
			.key = o->key, .bytes = o->bytes, .layer = o->layer, .expert = o->expert};

		wr_predict_observe(p, &ref);
	}
}

static int declare_all(struct wr_predict *p, const struct wr_ahead_work *w)
{
	int rc = 0;

	for (uint32_t i = 0; i < w->nr_objects && !rc; i++) {
		const struct wr_ahead_object *o = &w->objects[i];
		const struct wr_predict_ref ref = {
			.key = o->key, .bytes = o->bytes, .layer = o->layer, .expert = o->expert};

		rc = wr_predict_declare(p, &ref);
	}
	return rc;
}

static int compare_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/*
 * What a visit costs, the same visits once more: the lower quartile of batches, for what else runs
 * on the machine only adds.
 */
static double measure_cost(struct wr_predict *p, const struct wr_ahead_work *w)
{
	enum { BATCH = 64, MOST = 1024 };
	struct wr_recurrent again[WR_PREDICT_MAX];
	struct wr_forecast f[WR_PREDICT_MAX];
	double batches[MOST] = {0};
	uint32_t nr = 0;

	for (uint32_t v = 0; v + BATCH <= w->nr_visits && nr < MOST; v += BATCH) {
		uint64_t begun = wr_now_ns();

		for (uint32_t i = v; i < v + BATCH; i++) {
			observe_visit(p, w, i);
			(void)wr_predict_recur(p, again);
			(void)wr_predict_forecast(p, f, 24);
		}
		batches[nr++] = (double)(wr_now_ns() - begun) / BATCH;
	}
	qsort(batches, nr, sizeof(*batches), compare_double);
	return nr ? batches[nr / 4] : 0;
}

int wr_ahead_measure_recall(const struct wr_ahead_work *w, struct wr_ahead_recall *ret)
{
	const struct wr_predict_opts opts = {.nr_items = w->nr_objects,
					     .nr_layers = w->nr_layers,
					     .nr_experts = w->nr_experts,
					     .max_bytes = (uint64_t)1 << 32};
	struct wr_forecast f[WR_PREDICT_MAX];
	uint64_t found[3] = {0}, nr_used = 0;
	struct wr_predict *p;
	int rc = wr_predict_open(&opts, &p);

	if (rc)
		return rc;
	rc = declare_all(p, w);
	for (uint32_t v = 0; !rc && v < w->nr_visits; v++) {
		uint32_t nr = wr_predict_forecast(p, f, WR_PREDICT_MAX);

		if (v >= w->nr_visits / 4) {
			count_recall(w, v, f, nr, found);
			nr_used += w->visits[v + 1] - w->visits[v];
		}
		observe_visit(p, w, v);
	}
	if (!rc) {
		for (uint32_t i = 0; i < 3; i++)
			ret->recall[i] = (double)found[i] / (double)nr_used;
		ret->ns_visit = measure_cost(p, w);
		ret->nr_visits = w->nr_visits;
	}
	wr_predict_close(p);
	return rc;
}
