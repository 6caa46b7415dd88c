/* SPDX-License-Identifier: MIT */
/*
 * The lane of workers: threads that take chunks from the scheduler under a mutex and read them with
 * pread(), directly or through the page cache. It is the whole engine on the pread and buffered
 * rungs, and serves files without O_DIRECT on the others.
 *
 * Guarantees: the mutex is held only for bookkeeping, never across a read or a callback. A worker
 * sleeps only when there is nothing it could take; work that appears wakes one worker, which wakes
 * the next if there is more.
 *
 * Buffered reads leave the page cache as it was, as far as the kernel lets us:
 *
 *   - With RWF_DONTCACHE the kernel drops the pages that a read brought in, and no others, with
 *     read-ahead at work, until reads are known to leave parts out (advice.h). What two workers touch at the same moment stays (large folios that lie
 *     across a chunk's end), so the range of each finished request, and the file when it is closed,
 *     is dropped once more, if the file was not in the cache to begin with.
 *   - Without it each chunk's range is dropped behind it, and which of its pages were there before
 *     cannot be known: those go too. Read-ahead is off then (POSIX_FADV_RANDOM): it would make
 *     large folios, and one that is only partly in the range is not dropped.
 *
 * Measured on 2 GB, 4 workers: 1.7 GB/s at 0.16 CPU-s/GB the first way, 0.9 at 0.43 the second;
 * the second with read-ahead left all 2 GB in the cache.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "io/io_internal.h"

struct wr_io_workers {
	struct wr_io_lane lane; /* scheduler: [IO_QUEUE] */
	struct wr_mutex lock WR_RANKED(IO_QUEUE);
	struct wr_cond work; /* with lock */
	/*
	 * [atomic] workers that are, or are about to be, waiting for work. A worker counts itself,
	 * then looks at the inbox, then waits; a producer pushes, then reads the count (guarantee D
	 * in mpsc.h). The producer takes the lock to signal, so the worker is really waiting then.
	 */
	_Alignas(WR_CACHE_LINE) _Atomic uint32_t nr_sleeping;
	uint32_t nr_threads; /* [const] */
	pthread_t threads[WR_IO_MAX_THREADS];
};

static struct wr_io_workers *of_lane(struct wr_io_lane *lane)
{
	return wr_container_of(lane, struct wr_io_workers, lane);
}

static void wake(struct wr_io_lane *lane)
{
	struct wr_io_workers *w = of_lane(lane);

	if (wr_load_seq_cst(&w->nr_sleeping) == 0)
		return;
	wr_mutex_lock(&w->lock);
	wr_cond_signal(&w->work);
	wr_mutex_unlock(&w->lock);
}

/* ---- reading ------------------------------------------------------------------------------------ */

static void drop_behind(const struct wr_io_way *way, uint64_t offset, uint64_t bytes)
{
	uint64_t begin = wr_align_down(offset, WR_IO_BUF_ALIGN);
	uint64_t end = wr_align_up(offset + bytes, WR_IO_BUF_ALIGN);

	/* Whole pages only are dropped, hence the page that the range ends in is named whole. */
	(void)posix_fadvise(way->fd, (off_t)begin, (off_t)(end - begin), POSIX_FADV_DONTNEED);
}

/* What is written through the page cache leaves it once it is on the device. */
static int64_t write_chunk(const struct wr_io_chunk *c)
{
	const struct wr_io_way *way = c->req->way;
	ssize_t n;

	if (c->req->op == WR_IO_OP_SYNC) {
		if (fdatasync(way->fd) != 0)
			return -errno;
		if (!way->direct)
			(void)posix_fadvise(way->fd, 0, 0, POSIX_FADV_DONTNEED);
		return 0;
	}
	n = pwrite(way->fd, c->mem + c->done, c->bytes - c->done, (off_t)(c->offset + c->done));
	return n < 0 ? -errno : n;
}

static int64_t read_chunk(const struct wr_io_chunk *c)
{
	const struct wr_io_way *way = c->req->way;
	struct iovec iov = {.iov_base = c->mem + c->done, .iov_len = c->bytes - c->done};
	uint64_t offset = c->offset + c->done;
	ssize_t n;

	if (way->cache.dontcache)
		n = preadv2(way->fd, &iov, 1, (off_t)offset, WR_IO_RWF_DONTCACHE);
	else
		n = pread(way->fd, iov.iov_base, iov.iov_len, (off_t)offset);
	if (n < 0)
		return -errno;
	if (!way->direct && !way->cache.dontcache && !way->cache.stays)
		drop_behind(way, offset, (uint64_t)n);
	return n;
}

/* ---- the threads ------------------------------------------------------------------------------------ */

/* What a worker does next; each runs with the lock held and may let it go meanwhile. */

static bool give_back(struct wr_io_workers *w) WR_REQUIRES(w->lock)
{
	struct wr_io_request *chain = w->lane.sched.retired;

	if (chain == NULL)
		return false;
	w->lane.sched.retired = NULL;
	wr_mutex_unlock(&w->lock);
	wr_io_request_put_all(&w->lane.io->requests, chain);
	wr_mutex_lock(&w->lock);
	return true;
}

/* This worker is about to be busy: if there is more to do, somebody else should come. */
static void pass_on(struct wr_io_workers *w) WR_REQUIRES(w->lock)
{
	const struct wr_io_sched *s = &w->lane.sched;

	if (wr_load_relaxed(&w->nr_sleeping) != 0 &&
	    (wr_io_sched_has_queued(s) || !TAILQ_EMPTY(&s->ended)))
		wr_cond_signal(&w->work);
}

static bool call_back(struct wr_io_workers *w) WR_REQUIRES(w->lock)
{
	struct wr_io_request *r = wr_io_sched_pop_ended(&w->lane.sched);

	if (r == NULL)
		return false;
	pass_on(w);
	wr_mutex_unlock(&w->lock);
	if (r->op == WR_IO_OP_READ && r->way->cache.cold)
		drop_behind(r->way, r->begin, r->next - r->begin);
	wr_io_lane_call_back(&w->lane, r);
	wr_io_review(w->lane.io, wr_now_ns(), true);
	wr_mutex_lock(&w->lock);
	wr_io_sched_finished(&w->lane.sched, r);
	return true;
}

static bool carry_out(struct wr_io_workers *w) WR_REQUIRES(w->lock)
{
	struct wr_io_chunk *c = wr_io_sched_next(&w->lane.sched);
	int verdict;

	/* Looking for one may have ended a cancelled request. */
	if (c == NULL)
		return !TAILQ_EMPTY(&w->lane.sched.ended);
	pass_on(w);
	wr_mutex_unlock(&w->lock);
	verdict =
		wr_io_chunk_result(c, c->req->op == WR_IO_OP_READ ? read_chunk(c) : write_chunk(c));
	wr_mutex_lock(&w->lock);
	wr_io_sched_settle(&w->lane.sched, c, verdict);
	return true;
}

static void *worker_main(void *arg) WR_NO_THREAD_SAFETY
{
	struct wr_io_workers *w = arg;
	struct weir_io *io = w->lane.io;

	wr_mutex_lock(&w->lock);
	for (;;) {
		wr_io_lane_drain(&w->lane);
		if (wr_load_acquire(&io->closing))
			wr_io_sched_cancel_all(&w->lane.sched);
		if (give_back(w) || call_back(w) || carry_out(w))
			continue;
		/* What other workers have in hand, they bring to its end themselves. */
		if (wr_load_acquire(&io->closing) && wr_mpsc_is_empty(&w->lane.inbox))
			break;
		/* Pairs with the load in wake(). */
		wr_fetch_add_seq_cst(&w->nr_sleeping, 1u);
		if (wr_mpsc_is_empty(&w->lane.inbox) && !wr_load_seq_cst(&io->closing))
			wr_cond_wait(&w->work, &w->lock);
		wr_fetch_sub_relaxed(&w->nr_sleeping, 1u);
	}
	wr_mutex_unlock(&w->lock);
	return NULL;
}

/* ---- from outside ------------------------------------------------------------------------------------- */

struct wr_io_lane *wr_io_workers_lane(struct wr_io_workers *w)
{
	return &w->lane;
}

static void join(struct wr_io_workers *w, uint32_t nr_threads)
{
	wr_mutex_lock(&w->lock);
	wr_cond_broadcast(&w->work);
	wr_mutex_unlock(&w->lock);
	for (uint32_t i = 0; i < nr_threads; i++)
		pthread_join(w->threads[i], NULL);
}

static int start_threads(struct wr_io_workers *w)
{
	for (uint32_t i = 0; i < w->nr_threads; i++) {
		char name[24];
		int rc;

		snprintf(name, sizeof(name), "weir-io-%u", i);
		rc = wr_io_thread_start(w->lane.io, &w->threads[i], name, worker_main, w);
		if (rc == 0)
			continue;
		/* Some are better than none. */
		w->nr_threads = i;
		return i == 0 ? rc : 0;
	}
	return 0;
}

int wr_io_workers_open(struct weir_io *io, struct wr_io_workers **ret)
{
	struct wr_io_workers *w = wr_calloc_aligned(WR_CACHE_LINE, sizeof(*w));
	int rc;

	if (w == NULL)
		return -ENOMEM;
	w->lane.io = io;
	w->lane.wake = wake;
	wr_mpsc_init(&w->lane.inbox);
	atomic_init(&w->nr_sleeping, 0u);
	wr_mutex_init(&w->lock, WR_RANK_IO_QUEUE, "io workers");
	wr_cond_init(&w->work);
	w->nr_threads = io->opts.threads;
	/* A chunk in flight is one that a worker holds. */
	rc = wr_io_sched_init(&w->lane.sched, io, &w->lane, wr_min(io->opts.depth, w->nr_threads));
	if (rc == 0)
		rc = start_threads(w);
	if (rc != 0) {
		wr_io_workers_free(w);
		return rc;
	}
	*ret = w;
	return 0;
}

void wr_io_workers_stop(struct wr_io_workers *w)
{
	join(w, w->nr_threads);
}

void wr_io_workers_free(struct wr_io_workers *w)
{
	if (w == NULL)
		return;
	wr_io_sched_fini(&w->lane.sched);
	wr_cond_fini(&w->work);
	wr_mutex_fini(&w->lock);
	wr_free(w);
}
