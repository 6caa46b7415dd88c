/* SPDX-License-Identifier: MIT */
/*
 * First touch decides on which node a page lies and costs more than reading it from
 * disk on some machines, so it is done by threads of the page's node, all nodes at
 * once, before anyone waits for the memory.
 *
 * The threads of a mapping take pieces of it from a shared counter; a piece is large
 * enough that the counter does not matter and small enough that progress is smooth.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"
#include "lock/lock.h"
#include "pool/prefault.h"

#define PIECE_BYTES (32 * WR_POOL_MIB)
#define PROGRESS_NS 100000000ull

struct touch {
	struct wr_prefault_job *job; /* [const] */
	_Atomic size_t next;	     /* [atomic] first byte that nobody took yet */
	_Atomic int rc;		     /* [atomic] */
	size_t nr_threads;	     /* [const] once started; threads that do run */
};

struct prefault {
	const struct wr_pool_system *system; /* [const] */
	_Atomic size_t done_bytes;	     /* [atomic] */
	struct wr_mutex lock WR_RANKED(POOL);
	struct wr_cond finished;
	size_t nr_running; /* [POOL] */
};

struct worker {
	struct prefault *all;
	struct touch *touch;
	pthread_t thread;
	bool started;
};

static void touch_pieces(struct prefault *all, struct touch *t)
{
	const struct wr_prefault_job *job = t->job;
	size_t piece = wr_max(job->provider->page_bytes, (size_t)PIECE_BYTES);
	size_t at, bytes;
	int none, rc;

	while ((at = wr_fetch_add_relaxed(&t->next, piece)) < job->map->bytes) {
		if (wr_load_relaxed(&t->rc) != 0)
			return;
		bytes = wr_min(piece, job->map->bytes - at);
		rc = job->provider->commit(job->provider->arg, job->map, at, bytes);
		if (rc != 0) {
			none = 0;
			(void)wr_cas_relaxed(&t->rc, &none, rc);
			return;
		}
		wr_fetch_add_relaxed(&all->done_bytes, bytes);
	}
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	w->all->system->run_on(w->all->system->arg, w->touch->job->node);
	touch_pieces(w->all, w->touch);
	wr_mutex_lock(&w->all->lock);
	w->all->nr_running--;
	wr_cond_signal(&w->all->finished);
	wr_mutex_unlock(&w->all->lock);
	return NULL;
}

static size_t threads_wanted(const struct wr_pool_system *system, const struct wr_prefault_job *job)
{
	size_t piece = wr_max(job->provider->page_bytes, (size_t)PIECE_BYTES);
	size_t pieces = (job->map->bytes + piece - 1) / piece;
	size_t n = job->nr_threads;

	if (n == 0)
		n = wr_min(system->nr_cpus(system->arg, job->node), (size_t)WR_PREFAULT_THREADS);
	return wr_max(wr_min(n, pieces), (size_t)1);
}

/* Signals of the host belong to its own threads. */
static void start_workers(struct worker *workers, size_t nr)
{
	sigset_t every, before;
	size_t i;

	sigfillset(&every);
	pthread_sigmask(SIG_SETMASK, &every, &before);
	for (i = 0; i < nr; i++) {
		struct worker *w = &workers[i];

		wr_mutex_lock(&w->all->lock);
		w->all->nr_running++;
		wr_mutex_unlock(&w->all->lock);
		w->started = pthread_create(&w->thread, NULL, worker_main, w) == 0;
		if (w->started) {
			w->touch->nr_threads++;
			continue;
		}
		wr_mutex_lock(&w->all->lock);
		w->all->nr_running--;
		wr_mutex_unlock(&w->all->lock);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void wait_for_workers(struct prefault *all, size_t total,
			     void (*progress)(void *arg, size_t done, size_t total), void *arg)
{
	uint64_t deadline = wr_now_ns() + PROGRESS_NS;

	wr_mutex_lock(&all->lock);
	while (all->nr_running > 0) {
		if (!progress) {
			wr_cond_wait(&all->finished, &all->lock);
			continue;
		}
		if (wr_cond_timedwait(&all->finished, &all->lock, deadline) != -ETIMEDOUT)
			continue;
		wr_mutex_unlock(&all->lock);
		wr_lock_assert_none_held("the progress callback");
		progress(arg, wr_load_relaxed(&all->done_bytes), total);
		deadline = wr_now_ns() + PROGRESS_NS;
		wr_mutex_lock(&all->lock);
	}
	wr_mutex_unlock(&all->lock);
}

static void run(struct prefault *all, struct touch *touches, size_t nr_touches,
		struct worker *workers, size_t nr_workers,
		void (*progress)(void *arg, size_t done, size_t total), void *arg)
{
	size_t total = 0;
	size_t i;

	for (i = 0; i < nr_touches; i++)
		total += touches[i].job->map->bytes;
	start_workers(workers, nr_workers);
	for (i = 0; i < nr_touches; i++)
		if (touches[i].nr_threads == 0)
			touch_pieces(all, &touches[i]);
	wait_for_workers(all, total, progress, arg);
	for (i = 0; i < nr_workers; i++)
		if (workers[i].started)
			pthread_join(workers[i].thread, NULL);
	for (i = 0; i < nr_touches; i++)
		touches[i].job->rc = wr_load_relaxed(&touches[i].rc);
	if (progress)
		progress(arg, wr_load_relaxed(&all->done_bytes), total);
}

int wr_prefault(const struct wr_pool_system *system, struct wr_prefault_job *jobs, size_t nr_jobs,
		void (*progress)(void *arg, size_t done_bytes, size_t total_bytes), void *arg)
{
	struct prefault all = {.system = system};
	struct worker *workers = NULL;
	struct touch *touches;
	size_t nr_workers = 0;
	int rc = -ENOMEM;
	size_t i, n;

	wr_might_block("touching the pages of a pool");
	touches = wr_calloc(nr_jobs, sizeof(*touches));
	if (!touches)
		return -ENOMEM;
	for (i = 0; i < nr_jobs; i++) {
		touches[i].job = &jobs[i];
		nr_workers += threads_wanted(system, &jobs[i]);
	}
	workers = wr_calloc(nr_workers, sizeof(*workers));
	if (!workers)
		goto free_touches;
	wr_mutex_init(&all.lock, WR_RANK_POOL, "pool.prefault");
	wr_cond_init(&all.finished);
	nr_workers = 0;
	for (i = 0; i < nr_jobs; i++)
		for (n = threads_wanted(system, &jobs[i]); n > 0; n--)
			workers[nr_workers++] = (struct worker){.all = &all, .touch = &touches[i]};
	run(&all, touches, nr_jobs, workers, nr_workers, progress, arg);
	wr_cond_fini(&all.finished);
	wr_mutex_fini(&all.lock);
	rc = 0;
	wr_free(workers);
free_touches:
	wr_free(touches);
	return rc;
}
