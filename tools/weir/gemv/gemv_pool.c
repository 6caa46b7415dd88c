/* SPDX-License-Identifier: MIT */
/*
 * gemv_pool.c - Threads that share the rows of a tile.
 *
 * A tile is split into as many contiguous parts as there are threads; the caller
 * does the first. Between tiles the threads look for work for some microseconds
 * and then sleep: tiles of one stream follow each other closely, but a host that
 * waits for the disk should not burn its other cores.
 *
 * Guarantees: (A) when a call returns, no thread reads the tile, x or y any more;
 * (B) results are the same for every number of threads, because rows (and words of
 * a checksum) do not depend on each other.
 */
#include "gemv.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#define MAX_THREADS 1024
#define SPINS	    2000

struct job {
	void (*run)(void *arg, unsigned int part, unsigned int nr_parts);
	void *arg;
};

struct worker {
	struct wr_gemv_pool *pool;
	pthread_t thread;
	unsigned int part; /* [const] 1.. */
};

struct wr_gemv_pool {
	unsigned int nr;	 /* [const] threads, the caller included */
	unsigned int nr_started; /* [const] after open */
	struct job job;		 /* written before, read after a change of round */
	atomic_uint round;	 /* [atomic] a new value is a new job, or the end */
	atomic_uint left;	 /* [atomic] workers not done with this round */
	bool stop;		 /* as job */
	pthread_mutex_t lock;	 /* protects sleeping only */
	pthread_cond_t work, done;
	struct worker workers[];
};

static void pause_cpu(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}

/* Wait until the round is no longer @seen. */
static unsigned int wait_round(struct wr_gemv_pool *p, unsigned int seen)
{
	unsigned int round;

	for (int i = 0; i < SPINS; i++) {
		/* G1: pairs with the release in start_round(). */
		round = atomic_load_explicit(&p->round, memory_order_acquire);
		if (round != seen)
			return round;
		pause_cpu();
	}
	pthread_mutex_lock(&p->lock);
	while ((round = atomic_load_explicit(&p->round, memory_order_acquire)) == seen)
		pthread_cond_wait(&p->work, &p->lock);
	pthread_mutex_unlock(&p->lock);
	return round;
}

static void start_round(struct wr_gemv_pool *p)
{
	atomic_store_explicit(&p->left, p->nr_started, memory_order_relaxed);
	pthread_mutex_lock(&p->lock);
	atomic_fetch_add_explicit(&p->round, 1, memory_order_release); /* G1 */
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
}

static void end_part(struct wr_gemv_pool *p)
{
	/* G2: pairs with the acquire in wait_done(). */
	if (atomic_fetch_sub_explicit(&p->left, 1, memory_order_acq_rel) != 1)
		return;
	pthread_mutex_lock(&p->lock);
	pthread_cond_signal(&p->done);
	pthread_mutex_unlock(&p->lock);
}

static void wait_done(struct wr_gemv_pool *p)
{
	for (int i = 0; i < SPINS; i++) {
		if (!atomic_load_explicit(&p->left, memory_order_acquire))
			return;
		pause_cpu();
	}
	pthread_mutex_lock(&p->lock);
	while (atomic_load_explicit(&p->left, memory_order_acquire))
		pthread_cond_wait(&p->done, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct wr_gemv_pool *p = w->pool;
	unsigned int seen = 0;

	for (;;) {
		seen = wait_round(p, seen);
		if (p->stop)
			return NULL;
		p->job.run(p->job.arg, w->part, p->nr);
		end_part(p);
	}
}

static int start_worker(struct wr_gemv_pool *p, unsigned int part, const int *cpus)
{
	struct worker *w = &p->workers[part - 1];
	pthread_attr_t attr;
	cpu_set_t set;
	int code;

	w->pool = p;
	w->part = part;
	if (cpus && (cpus[part] < 0 || cpus[part] >= CPU_SETSIZE))
		return -ENODEV;
	if (pthread_attr_init(&attr))
		return -ENOMEM;
	if (cpus) {
		CPU_ZERO(&set);
		CPU_SET((unsigned int)cpus[part], &set);
		pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	}
	code = pthread_create(&w->thread, &attr, worker_main, w);
	pthread_attr_destroy(&attr);
	return code == EINVAL ? -ENODEV : -code;
}

int wr_gemv_pool_open(unsigned int nr_threads, const int *cpus, struct wr_gemv_pool **ret)
{
	struct wr_gemv_pool *p;
	int code;

	if (!nr_threads || nr_threads > MAX_THREADS)
		return -EINVAL;
	p = calloc(1, sizeof(*p) + (nr_threads - 1) * sizeof(p->workers[0]));
	if (!p)
		return -ENOMEM;
	p->nr = nr_threads;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->done, NULL);
	for (unsigned int part = 1; part < nr_threads; part++) {
		code = start_worker(p, part, cpus);
		if (code) {
			wr_gemv_pool_close(p);
			return code;
		}
		p->nr_started++;
	}
	*ret = p;
	return 0;
}

void wr_gemv_pool_close(struct wr_gemv_pool *pool)
{
	if (!pool)
		return;
	pool->stop = true;
	start_round(pool);
	for (unsigned int i = 0; i < pool->nr_started; i++)
		pthread_join(pool->workers[i].thread, NULL);
	pthread_cond_destroy(&pool->done);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

static void run_all(struct wr_gemv_pool *p, struct job job)
{
	if (p->nr == 1) {
		job.run(job.arg, 0, 1);
		return;
	}
	p->job = job;
	start_round(p);
	job.run(job.arg, 0, p->nr);
	wait_done(p);
}

/* Where part @part of @nr things begins. */
static size_t part_start(size_t nr, unsigned int part, unsigned int nr_parts)
{
	return nr / nr_parts * part + nr % nr_parts * part / nr_parts;
}

struct rows_job {
	const struct wr_gemv_ops *ops;
	const struct wr_gemv_tile *tile;
	const float *x;
	float *y;
};

static void rows_part(void *arg, unsigned int part, unsigned int nr_parts)
{
	const struct rows_job *j = arg;
	size_t first = part_start(j->tile->nr_rows, part, nr_parts);
	size_t end = part_start(j->tile->nr_rows, part + 1, nr_parts);
	size_t row_bytes = j->tile->nr_cols * wr_gemv_elem_bytes(j->tile->type);
	struct wr_gemv_tile tile = *j->tile;

	tile.w = (const unsigned char *)tile.w + first * row_bytes;
	tile.nr_rows = end - first;
	j->ops->rows(&tile, j->x, j->y + first);
}

void wr_gemv_pool_rows(struct wr_gemv_pool *pool, const struct wr_gemv_ops *ops,
		       const struct wr_gemv_tile *tile, const float *x, float *y)
{
	struct rows_job j = {ops, tile, x, y};

	run_all(pool, (struct job){rows_part, &j});
}

struct touch_job {
	const struct wr_gemv_ops *ops;
	uint64_t key, offset;
	const unsigned char *data;
	size_t bytes;
	_Atomic uint64_t sum;
};

static void touch_part(void *arg, unsigned int part, unsigned int nr_parts)
{
	struct touch_job *j = arg;
	size_t first = part_start(j->bytes, part, nr_parts);
	size_t end = part_start(j->bytes, part + 1, nr_parts);
	uint64_t sum =
		wr_gemv_touch(j->ops, j->key, j->offset + first, j->data + first, end - first);

	atomic_fetch_add_explicit(&j->sum, sum, memory_order_relaxed);
}

uint64_t wr_gemv_pool_touch(struct wr_gemv_pool *pool, const struct wr_gemv_ops *ops, uint64_t key,
			    uint64_t offset, const void *data, size_t bytes)
{
	struct touch_job j = {ops, key, offset, data, bytes, 0};

	run_all(pool, (struct job){touch_part, &j});
	return j.sum;
}
