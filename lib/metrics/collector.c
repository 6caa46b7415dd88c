/* SPDX-License-Identifier: MIT */
/*
 * The collector's thread: sleeps on a condition, so that stopping does not wait for an interval,
 * and does a round. Rounds of different threads follow each other. The thread belongs to the
 * process that started it: a child of fork() begins without one.
 */
#include <weir/metrics_system.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include <weir/lock_trace.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"
#include "lock/lock.h"
#include "metrics/grid.h"
#include "metrics/registry.h"
#include "metrics/system.h"

struct weir_collector {
	struct wr_mutex mutex WR_RANKED(METRICS_RUN);
	struct wr_cond cond;		  /* with @mutex: @stopping, @running */
	bool running;			  /* [METRICS_RUN] */
	bool stopping;			  /* [METRICS_RUN] */
	pthread_t thread;		  /* [METRICS_RUN] */
	uint64_t interval_ns;		  /* [METRICS_RUN] changed only while nothing runs */
	struct wr_system *system;	  /* [METRICS_RUN of the registry] */
	struct weir_collector *inherited; /* [const] of a child: the next one */
};

static struct weir_collector *get_collector(struct weir_metrics *metrics)
{
	struct weir_collector *c = wr_load_acquire(&metrics->collector), *none = NULL;

	if (c != NULL)
		return c;
	c = wr_calloc(1, sizeof(*c));
	if (c == NULL)
		return NULL;
	wr_mutex_init(&c->mutex, WR_RANK_METRICS_RUN, "collector");
	wr_cond_init(&c->cond);
	/* A2: pairs with the acquires of who uses it. */
	if (wr_cas_acq_rel(&metrics->collector, &none, c))
		return c;
	wr_cond_fini(&c->cond);
	wr_mutex_fini(&c->mutex);
	wr_free(c);
	return none;
}

void weir_collector_round(struct weir_metrics *metrics)
{
	struct weir_collector *c = wr_load_acquire(&metrics->collector);

	wr_queue_drain(metrics, true);
	if (c != NULL) {
		wr_mutex_lock(&metrics->run);
		if (c->system != NULL)
			wr_system_read(c->system);
		wr_mutex_unlock(&metrics->run);
	}
	wr_grids_round(metrics);
	wr_history_round(metrics);
	/* A trace may have begun or ended. */
	if (weir_lock_trace_follow(NULL) != 0)
		wr_log(WEIR_LOG_WARN, "metrics", "no memory for the times of locks any more");
}

static void *collect(void *arg)
{
	struct weir_metrics *metrics = arg;
	struct weir_collector *c = wr_load_acquire(&metrics->collector);
	uint64_t next = wr_now_ns();

	wr_mutex_lock(&c->mutex);
	while (!c->stopping) {
		uint64_t now = wr_now_ns();

		if (now < next) {
			wr_cond_timedwait(&c->cond, &c->mutex, next);
			continue;
		}
		/* After a pause, say of the whole machine, rounds are not made up for. */
		next = next + c->interval_ns > now ? next + c->interval_ns : now + c->interval_ns;
		wr_mutex_unlock(&c->mutex);
		weir_collector_round(metrics);
		wr_mutex_lock(&c->mutex);
	}
	wr_mutex_unlock(&c->mutex);
	return NULL;
}

/* Signals are for the host's threads. */
static int start_thread(struct weir_collector *c, struct weir_metrics *metrics)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&c->thread, NULL, collect, metrics);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc == 0)
		pthread_setname_np(c->thread, "weir-metrics");
	return -rc;
}

/* The new eyes on the machine take the place of the old ones. */
static void swap_system(struct weir_metrics *metrics, struct weir_collector *c,
			struct wr_system *system)
{
	struct wr_system *old;

	wr_mutex_lock(&metrics->run);
	old = c->system;
	c->system = system;
	wr_mutex_unlock(&metrics->run);
	wr_system_close(old);
}

static bool is_running(struct weir_collector *c)
{
	bool running;

	wr_mutex_lock(&c->mutex);
	running = c->running;
	wr_mutex_unlock(&c->mutex);
	return running;
}

int weir_collector_start(struct weir_metrics *metrics, const struct weir_collector_opts *opts_arg,
			 struct weir_error *err)
{
	struct weir_collector_opts opts;
	struct wr_system *system = NULL;
	struct weir_collector *c;
	int rc = wr_opts_copy(&opts, sizeof(opts), opts_arg);

	if (rc == 0 && ((opts.flags & ~WEIR_COLLECT_NO_SYSTEM) != 0 ||
			(opts.interval_ms != 0 && opts.interval_ms < 10)))
		rc = -EINVAL;
	if (rc != 0)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
				    "options of a collector that this library does not know");
	c = get_collector(metrics);
	rc = c == NULL ? -ENOMEM : is_running(c) ? -EALREADY : 0;
	if (rc == 0 && !(opts.flags & WEIR_COLLECT_NO_SYSTEM))
		rc = wr_system_open(metrics, &opts, &system);
	if (rc != 0)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "the collector: %s",
				    weir_strerror(rc));
	swap_system(metrics, c, system);
	wr_mutex_lock(&c->mutex);
	/* Another thread may have been faster. */
	rc = c->running ? -EALREADY : 0;
	if (rc == 0) {
		c->interval_ns =
			(opts.interval_ms != 0 ? opts.interval_ms : 1000) * UINT64_C(1000000);
		rc = start_thread(c, metrics);
		c->running = rc == 0;
	}
	wr_mutex_unlock(&c->mutex);
	return rc == 0 ? 0
		       : wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "the collector's thread: %s",
				      weir_strerror(rc));
}

void weir_collector_stop(struct weir_metrics *metrics)
{
	struct weir_collector *c = wr_load_acquire(&metrics->collector);
	pthread_t thread;

	if (c == NULL)
		return;
	wr_mutex_lock(&c->mutex);
	/* Somebody else stops it: be back when it has stopped. */
	while (c->running && c->stopping)
		wr_cond_wait(&c->cond, &c->mutex);
	if (!c->running) {
		wr_mutex_unlock(&c->mutex);
		return;
	}
	c->stopping = true;
	thread = c->thread;
	wr_cond_broadcast(&c->cond);
	wr_mutex_unlock(&c->mutex);
	pthread_join(thread, NULL);
	wr_mutex_lock(&c->mutex);
	c->running = false;
	c->stopping = false;
	wr_cond_broadcast(&c->cond);
	wr_mutex_unlock(&c->mutex);
}

int weir_collector_source(struct weir_metrics *metrics, uint32_t index, struct weir_source *ret)
{
	struct weir_collector *c = wr_load_acquire(&metrics->collector);
	int rc = -ENOENT;

	if (c == NULL)
		return rc;
	wr_mutex_lock(&metrics->run);
	if (c->system != NULL)
		rc = wr_system_source(c->system, index, ret);
	wr_mutex_unlock(&metrics->run);
	return rc;
}

void wr_collector_forked(struct weir_metrics *metrics)
{
	struct weir_collector *c = wr_load_relaxed(&metrics->collector);

	wr_mutex_init(&metrics->run, WR_RANK_METRICS_RUN, "metrics round");
	if (c == NULL)
		return;
	c->inherited = metrics->inherited;
	metrics->inherited = c;
	wr_store_relaxed(&metrics->collector, NULL);
}

void wr_collector_end(struct weir_metrics *metrics)
{
	struct weir_collector *c = wr_load_acquire(&metrics->collector);

	for (struct weir_collector *i = metrics->inherited, *next; i != NULL; i = next) {
		next = i->inherited;
		wr_system_close(i->system);
		wr_free(i);
	}
	if (c == NULL)
		return;
	weir_collector_stop(metrics);
	wr_system_close(c->system);
	wr_cond_fini(&c->cond);
	wr_mutex_fini(&c->mutex);
	wr_free(c);
	wr_store_relaxed(&metrics->collector, NULL);
}
