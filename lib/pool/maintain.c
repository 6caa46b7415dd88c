/* SPDX-License-Identifier: MIT */
/*
 * The maintenance thread: look, and compact when a threshold is passed and there is
 * something to gain.
 *
 * A look costs the counting of the free bits. Taking back what threads keep ready stops
 * them for some microseconds, and the question what could be gained costs a pass over the
 * handles; so both are done only above a threshold, and looks become rarer while nothing
 * is gained. What is moved is paid from an allowance that grows with time and
 * is worth a second at most: the thread cannot save up for a burst.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "pool/compact.h"
#include "pool/maintain.h"

#define DEFAULT_INTERVAL_NS	 100000000ull
#define DEFAULT_FRAGMENTATION	 300u
#define DEFAULT_UTILISATION	 800u
#define DEFAULT_BYTES_PER_SECOND (1ull << 30)
#define DEFAULT_MAX_PAUSE_NS	 10000000ull
#define MAX_INTERVAL_NS		 3600000000000ull
#define MAX_BYTES_PER_SECOND	 (1ull << 50)
#define MAX_SLOWDOWN		 16u
#define NS_PER_S		 1000000000ull

_Static_assert(sizeof(struct weir_maintain_opts) == 56 || sizeof(void *) != 8,
	       "a field was added to the options: copy and check it here");

/* All of it under the table's wait_lock [POOL_COMPACT], but what is the thread's own. */
struct wr_maintain {
	struct wr_handles *hs;		  /* [const] */
	struct weir_maintain_opts opts;	  /* [const] while the thread runs */
	pthread_t thread;		  /* [const] while it runs */
	bool is_running;		  /* [POOL_COMPACT] */
	_Atomic bool stop;		  /* [atomic] set under the lock */
	uint64_t allowance_bytes;	  /* [thread] */
	uint64_t allowance_ns;		  /* [thread] when it was counted last */
	struct weir_maintain_stats stats; /* [POOL_COMPACT] */
};

void wr_maintain_free(struct wr_maintain *m)
{
	wr_free(m);
}

static uint64_t permille(uint64_t part, uint64_t whole)
{
	return whole == 0 ? 0 : (uint64_t)((long double)part * 1000 / (long double)whole);
}

static void add_allowance(struct wr_maintain *m)
{
	uint64_t now = wr_now_ns();
	uint64_t ns = wr_min(now - m->allowance_ns, NS_PER_S);
	uint64_t rate = m->opts.bytes_per_second;

	m->allowance_ns = now;
	m->allowance_bytes = wr_min(m->allowance_bytes + rate / 1000 * (ns / 1000) / 1000, rate);
}

/* Above a threshold: gain something if that is possible. Adds what happened to @s. */
static void compact(struct wr_maintain *m, struct weir_maintain_stats *s)
{
	struct weir_compact_opts o = {
		.size = sizeof(o),
		.target_bytes = m->opts.target_bytes,
		.nr_wanted = WEIR_COMPACT_ALL,
		.max_bytes = m->allowance_bytes,
		.max_pause_ns = m->opts.max_pause_ns,
	};
	struct weir_compact_report report;
	int rc;

	rc = wr_compact_run(m->hs, &o, &m->stop, &report);
	if (rc != 0) {
		s->nr_failed++;
		return;
	}
	m->allowance_bytes -= wr_min(report.moved_bytes, m->allowance_bytes);
	s->nr_runs += report.nr_moves > 0;
	s->nr_emptied += report.nr_emptied;
	s->moved_bytes += report.moved_bytes;
}

/* One look. True when it was worth it. */
static bool look(struct wr_maintain *m, struct weir_maintain_stats *s)
{
	const struct weir_maintain_opts *o = &m->opts;
	struct wr_compact_state state;
	uint64_t target = o->target_bytes;
	uint64_t emptied = s->nr_emptied;
	uint64_t trimmed;

	s->nr_looks++;
	if (wr_compact_look(m->hs, target, 0, false, &state) != 0)
		return false;
	s->fragmentation_permille =
		permille(state.free_bytes - state.free_target_bytes, state.free_bytes);
	s->utilisation_permille =
		permille(state.capacity_bytes - state.free_bytes, state.capacity_bytes);
	if (s->fragmentation_permille > o->fragmentation_permille)
		s->nr_by_fragmentation++;
	else if (s->utilisation_permille > o->utilisation_permille)
		s->nr_by_utilisation++;
	else
		return false;
	/* What idle threads keep ready stands in ranges that are free otherwise. */
	trimmed = weir_pool_trim(m->hs->pool, 0);
	s->trimmed_bytes += trimmed;
	if (wr_compact_look(m->hs, target, o->max_pause_ns, true, &state) != 0) {
		s->nr_failed++;
		return false;
	}
	if (!state.has_gain) {
		s->nr_no_gain++;
		return false;
	}
	if (wr_load_relaxed(&m->stop))
		return false;
	compact(m, s);
	return s->nr_emptied > emptied;
}

static void *maintain(void *arg)
{
	struct wr_maintain *m = arg;
	struct wr_handles *hs = m->hs;
	struct weir_maintain_stats s;
	uint64_t start, deadline;
	unsigned slowdown = 1;

	wr_mutex_lock(&hs->wait_lock);
	s = m->stats;
	while (!wr_load_relaxed(&m->stop)) {
		wr_mutex_unlock(&hs->wait_lock);
		start = wr_now_ns();
		add_allowance(m);
		slowdown = look(m, &s) ? 1 : wr_min(slowdown * 2, MAX_SLOWDOWN);
		s.ns += wr_now_ns() - start;
		deadline = wr_now_ns() + m->opts.interval_ns * slowdown;
		wr_mutex_lock(&hs->wait_lock);
		s.is_running = 1;
		m->stats = s;
		while (!wr_load_relaxed(&m->stop) &&
		       wr_cond_timedwait(&hs->wait, &hs->wait_lock, deadline) == 0)
			;
	}
	wr_mutex_unlock(&hs->wait_lock);
	return NULL;
}

static int check_opts(const struct wr_handles *hs, struct weir_maintain_opts *o)
{
	if (o->target_bytes == 0)
		o->target_bytes = WR_COMPACT_TARGET_BYTES;
	if (o->interval_ns == 0)
		o->interval_ns = DEFAULT_INTERVAL_NS;
	if (o->fragmentation_permille == 0)
		o->fragmentation_permille = DEFAULT_FRAGMENTATION;
	if (o->utilisation_permille == 0)
		o->utilisation_permille = DEFAULT_UTILISATION;
	if (o->bytes_per_second == 0)
		o->bytes_per_second = DEFAULT_BYTES_PER_SECOND;
	if (o->max_pause_ns == 0)
		o->max_pause_ns = DEFAULT_MAX_PAUSE_NS;
	if (!wr_compact_is_target(hs, o->target_bytes) || o->interval_ns > MAX_INTERVAL_NS ||
	    o->bytes_per_second > MAX_BYTES_PER_SECOND || o->fragmentation_permille > 1000 ||
	    o->utilisation_permille > 1000)
		return -EINVAL;
	return 0;
}

/* The record of the thread, made by the first start and kept for its counters. */
static int start_locked(struct wr_handles *hs, const struct weir_maintain_opts *o,
			struct wr_maintain *fresh) WR_REQUIRES(hs->wait_lock)
{
	struct wr_maintain *m = hs->maintain ? hs->maintain : fresh;
	int rc;

	wr_lock_assert_held(&hs->wait_lock);
	if (m->is_running)
		return -EALREADY;
	m->hs = hs;
	m->opts = *o;
	m->allowance_bytes = o->bytes_per_second / 10;
	m->allowance_ns = wr_now_ns();
	wr_store_relaxed(&m->stop, false);
	rc = -pthread_create(&m->thread, NULL, maintain, m);
	if (rc != 0)
		return rc;
	m->is_running = true;
	m->stats.is_running = 1;
	hs->maintain = m;
	return 0;
}

int weir_pool_maintain_start(struct weir_pool *pool, const struct weir_maintain_opts *opts)
{
	struct weir_maintain_opts o;
	struct wr_maintain *m;
	struct wr_handles *hs;
	int rc;

	wr_might_block("starting a pool's maintenance");
	if (!pool || !wr_pool_is_ours(pool))
		return -EINVAL;
	rc = wr_opts_copy(&o, sizeof(o), opts);
	if (rc == 0)
		rc = wr_handles_get(pool, &hs);
	if (rc == 0)
		rc = check_opts(hs, &o);
	if (rc != 0)
		return rc;
	m = wr_calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	wr_mutex_lock(&hs->wait_lock);
	rc = start_locked(hs, &o, m);
	if (hs->maintain == m)
		m = NULL;
	wr_mutex_unlock(&hs->wait_lock);
	wr_free(m);
	return rc;
}

void weir_pool_maintain_stop(struct weir_pool *pool)
{
	struct wr_handles *hs;
	struct wr_maintain *m;
	bool is_running;

	wr_might_block("stopping a pool's maintenance");
	if (!pool || !wr_pool_is_ours(pool))
		return;
	hs = wr_load_acquire(&pool->handles); /* H1 */
	if (!hs)
		return;
	wr_mutex_lock(&hs->wait_lock);
	m = hs->maintain;
	is_running = m && m->is_running && !wr_load_relaxed(&m->stop);
	if (is_running) {
		wr_store_relaxed(&m->stop, true);
		wr_cond_broadcast(&hs->wait);
	}
	wr_mutex_unlock(&hs->wait_lock);
	if (!is_running)
		return;
	pthread_join(m->thread, NULL);
	wr_mutex_lock(&hs->wait_lock);
	m->is_running = false;
	m->stats.is_running = 0;
	wr_mutex_unlock(&hs->wait_lock);
}

void weir_pool_maintain_stats(struct weir_pool *pool, struct weir_maintain_stats *ret)
{
	struct wr_handles *hs = NULL;

	memset(ret, 0, sizeof(*ret));
	if (pool && wr_pool_is_ours(pool))
		hs = wr_load_acquire(&pool->handles); /* H1 */
	if (!hs)
		return;
	wr_mutex_lock(&hs->wait_lock);
	if (hs->maintain)
		*ret = hs->maintain->stats;
	wr_mutex_unlock(&hs->wait_lock);
}
