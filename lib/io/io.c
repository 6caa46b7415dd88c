/* SPDX-License-Identifier: MIT */
/*
 * The engine: options, the choice of the rung, and the calls that any thread makes. They touch the
 * scheduler only by messages, so they neither wait for it nor for the device.
 */
#include <weir/io.h>
#include <weir/knob.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "io/io_internal.h"
#include "io/write.h"

#define DEFAULT_CHUNK_BYTES	  ((size_t)1 << 20)
#define DEFAULT_DEMAND_BYTES	  ((size_t)32 << 20)
#define DEFAULT_SPECULATIVE_BYTES ((size_t)16 << 20)
#define DEFAULT_THREADS		  4u
#define DEFAULT_DEPTH		  64u

static int range_error(struct weir_error *err, const char *what)
{
	return wr_error_set(err, -EINVAL, NULL, WEIR_OFFSET_NONE, "io option out of range: %s",
			    what);
}

static int take_opts(struct weir_io_opts *o, const struct weir_io_opts *opts,
		     struct weir_error *err)
{
	int rc;

	_Static_assert(sizeof(struct weir_io_opts) == 4 * sizeof(size_t) + 4 * sizeof(uint32_t) +
							      sizeof(uint64_t) + sizeof(void *),
		       "options have no padding");
	rc = wr_opts_copy(o, sizeof(*o), opts);
	if (rc != 0)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
				    "io options are of another version of weir");
	o->chunk_bytes = o->chunk_bytes ? o->chunk_bytes : DEFAULT_CHUNK_BYTES;
	o->demand_bytes =
		o->demand_bytes ? o->demand_bytes : wr_max(DEFAULT_DEMAND_BYTES, o->chunk_bytes);
	o->speculative_bytes = o->speculative_bytes
				       ? o->speculative_bytes
				       : wr_max(DEFAULT_SPECULATIVE_BYTES, o->chunk_bytes);
	o->threads = o->threads ? o->threads : DEFAULT_THREADS;
	o->depth = o->depth ? o->depth : DEFAULT_DEPTH;
	if (o->backend > WEIR_IO_BUFFERED)
		return range_error(err, "backend");
	if (!wr_is_pow2(o->chunk_bytes) || o->chunk_bytes < WR_IO_MIN_CHUNK ||
	    o->chunk_bytes > WR_IO_MAX_CHUNK)
		return range_error(err, "chunk_bytes is a power of two, 64 KiB to 16 MiB");
	if (o->demand_bytes < o->chunk_bytes)
		return range_error(err, "demand_bytes is at least chunk_bytes");
	if (o->speculative_bytes < o->chunk_bytes)
		return range_error(err, "speculative_bytes is at least chunk_bytes");
	if (o->threads > WR_IO_MAX_THREADS)
		return range_error(err, "threads is 1 to 64");
	if (o->depth > WR_IO_MAX_DEPTH)
		return range_error(err, "depth is 1 to 4096");
	if (o->page_cache > WEIR_IO_CACHE_SPARE)
		return range_error(err, "page_cache");
	if (o->cpu > CPU_SETSIZE)
		return wr_error_set(err, -ENODEV, NULL, WEIR_OFFSET_NONE, "there is no CPU %u",
				    o->cpu - 1);
	return 0;
}

int wr_io_thread_start(const struct weir_io *io, pthread_t *ret, const char *name,
		       void *(*main)(void *), void *arg)
{
	sigset_t all, before;
	pthread_attr_t attr;
	int rc;

	if (pthread_attr_init(&attr) != 0)
		return -EAGAIN;
	if (io->opts.cpu != 0) {
		cpu_set_t cpus;

		CPU_ZERO(&cpus);
		CPU_SET(io->opts.cpu - 1, &cpus);
		pthread_attr_setaffinity_np(&attr, sizeof(cpus), &cpus);
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(ret, &attr, main, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (rc == EINVAL && io->opts.cpu != 0)
		return -ENODEV;
	if (rc != 0)
		return -EAGAIN;
	pthread_setname_np(*ret, name);
	return 0;
}

int wr_io_need_workers_locked(struct weir_io *io, struct wr_io_lane **ret)
{
	int rc = 0;

	wr_lock_assert_held(&io->lock);
	if (io->workers == NULL)
		rc = wr_io_workers_open(io, &io->workers);
	if (rc == 0)
		*ret = wr_io_workers_lane(io->workers);
	return rc;
}

int wr_io_need_workers(struct weir_io *io, struct wr_io_lane **ret)
{
	int rc;

	wr_mutex_lock(&io->lock);
	rc = wr_io_need_workers_locked(io, ret);
	wr_mutex_unlock(&io->lock);
	return rc;
}

/* ---- opening and closing -------------------------------------------------------------------- */

static void note_step(struct weir_io *io, const char *rung, const char *why)
{
	size_t used = strlen(io->reason_at_open);

	snprintf(io->reason_at_open + used, sizeof(io->reason_at_open) - used, "%s%s: %s",
		 used == 0 ? "" : "; ", rung, why);
	wr_log(WEIR_LOG_INFO, "io", "%s: %s", rung, why);
}

/* Go down the ladder from io->opts.backend; a rung asked for by name is the only one tried. */
static int climb_down(struct weir_io *io, struct weir_error *err)
{
	int rung = io->by_name ? (int)io->opts.backend : WEIR_IO_FIXED;
	struct wr_io_lane *lane;
	int rc;

	for (; rung <= WEIR_IO_URING; rung++) {
		char why[WR_IO_REASON_BYTES] = "";

		rc = wr_io_ring_open(io, rung == WEIR_IO_FIXED, &io->ring, why);
		if (rc == 0)
			break;
		if (rc != -EOPNOTSUPP)
			return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
					    "the engine's thread cannot be started: %s",
					    strerror(-rc));
		if (io->by_name)
			return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "%s: %s",
					    weir_io_backend_name(rung), why);
		note_step(io, weir_io_backend_name(rung), why);
	}
	wr_store_relaxed(&io->backend, rung);
	if (rung >= WEIR_IO_PREAD) {
		rc = wr_io_need_workers(io, &lane);
		if (rc != 0)
			return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
					    "the engine's threads cannot be started: %s",
					    strerror(-rc));
	}
	if (io->by_name)
		snprintf(io->reason_at_open, sizeof(io->reason_at_open), "asked for by name");
	else if (rung == WEIR_IO_FIXED)
		snprintf(io->reason_at_open, sizeof(io->reason_at_open), "highest rung");
	return 0;
}

static void engine_free(struct weir_io *io)
{
	wr_io_ring_free(io->ring);
	wr_io_workers_free(io->workers);
	wr_io_requests_fini(&io->requests);
	wr_cond_fini(&io->changed);
	wr_mutex_fini(&io->lock);
	wr_free(io);
}

static int register_knob(struct weir_io *io, struct weir_error *err)
{
	const struct weir_knob_desc desc = {
		.name = "io.page_cache",
		.unit = "",
		.help = "what files are read through: 0 by measurement, 1 past the page cache, 2 "
			"the page cache, 3 as 0 and spare memory",
		.default_value = wr_load_relaxed(&io->page_cache),
		.max = WEIR_IO_CACHE_SPARE};
	int rc = 0;

	if (io->opts.knobs != NULL)
		rc = weir_knob_register(io->opts.knobs, &desc, &io->page_cache_knob);
	if (rc != 0)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "knob %s: %s", desc.name,
				    weir_strerror(rc));
	io->knobs = io->opts.knobs;
	return 0;
}

int weir_io_open(const struct weir_io_opts *opts, struct weir_io **ret, struct weir_error *err)
{
	struct weir_io_opts taken;
	struct weir_io *io;
	int rc;

	wr_might_block("opening an I/O engine");
	rc = take_opts(&taken, opts, err);
	if (rc != 0)
		return rc;
	io = wr_calloc_aligned(WR_CACHE_LINE, sizeof(*io));
	if (io == NULL)
		return wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE, "out of memory");
	io->opts = taken;
	io->by_name = taken.backend != WEIR_IO_AUTO;
	wr_store_relaxed(&io->page_cache, (uint32_t)taken.page_cache);
	wr_store_relaxed(&io->look_at_ns, UINT64_MAX);
	io->root = "";
	atomic_init(&io->reason, (const char *)io->reason_at_open);
	wr_mutex_init(&io->lock, WR_RANK_IO, "io engine");
	wr_cond_init(&io->changed);
	wr_io_requests_init(&io->requests);
	TAILQ_INIT(&io->files);
	rc = register_knob(io, err);
	if (rc == 0)
		rc = climb_down(io, err);
	if (rc != 0) {
		engine_free(io);
		return rc;
	}
	*ret = io;
	return 0;
}

int weir_io_set_page_cache(struct weir_io *io, uint32_t mode)
{
	if (mode > WEIR_IO_CACHE_SPARE)
		return -EINVAL;
	wr_store_relaxed(&io->page_cache, mode);
	return io->knobs == NULL ? 0 : weir_knob_set(io->knobs, io->page_cache_knob, mode);
}

uint32_t weir_io_page_cache(const struct weir_io *io)
{
	return io->knobs == NULL ? wr_load_relaxed(&io->page_cache)
				 : (uint32_t)weir_knob_get(io->knobs, io->page_cache_knob);
}

void weir_io_close(struct weir_io *io)
{
	struct weir_io_file *file;
	struct wr_io_workers *workers;

	if (io == NULL)
		return;
	wr_might_block("closing an I/O engine");
	wr_assert(io->ring == NULL || !wr_io_ring_is_current(io->ring));
	wr_store_seq_cst(&io->closing, true);
	wr_mutex_lock(&io->lock);
	workers = io->workers;
	wr_mutex_unlock(&io->lock);
	if (io->ring != NULL)
		wr_io_ring_stop(io->ring);
	if (workers != NULL)
		wr_io_workers_stop(workers);
	/* A callback of one lane may have submitted to the other after that had stopped. */
	if (io->ring != NULL)
		wr_io_lane_sweep(wr_io_ring_lane(io->ring));
	if (workers != NULL)
		wr_io_lane_sweep(wr_io_workers_lane(workers));
	wr_assert(wr_load_relaxed(&io->nr_outstanding) == 0);
	wr_mutex_lock(&io->lock);
	TAILQ_FOREACH(file, &io->files, link)
		file->io = NULL;
	wr_mutex_unlock(&io->lock);
	engine_free(io);
}

/* ---- reading ---------------------------------------------------------------------------------- */

static int check_request(const struct weir_io *io, const struct weir_io_req *req)
{
	uint64_t end;
	size_t landing;

	if (req->file == NULL || req->file->io != io || req->done == NULL || req->bytes == 0 ||
	    req->io_class > WEIR_IO_SPECULATIVE)
		return -EINVAL;
	if (req->buf == NULL || ((uintptr_t)req->buf & (WR_IO_BUF_ALIGN - 1)) != 0)
		return -EINVAL;
	if (wr_add_overflow(req->offset, req->bytes, &end) || end > req->file->info.bytes)
		return -ENODATA;
	landing = weir_io_landing_bytes(req->file, req->offset, req->bytes);
	return landing == 0 || req->buf_bytes < landing ? -EINVAL : 0;
}

static void post(struct wr_io_lane *lane, struct wr_io_msg *msg)
{
	wr_mpsc_push(&lane->inbox, &msg->node);
	lane->wake(lane);
}

/* @req is checked. */
static int submit(struct weir_io *io, const struct weir_io_req *req, uint32_t op, uint64_t *ret)
{
	struct wr_io_request *r;
	uint64_t token;
	int rc = wr_io_request_get(&io->requests, &r);

	if (rc != 0)
		return rc;
	r->user = *req;
	r->op = op;
	r->way = wr_io_file_way(req->file);
	r->lane = r->way->lane;
	r->begin = r->next = wr_align_down(req->offset, req->file->align);
	r->end = wr_align_up(req->offset + req->bytes, req->file->align);
	r->waiting_since_ns = wr_now_ns();
	wr_fetch_add_relaxed(&io->nr_outstanding, 1u);
	token = wr_io_request_start(r);
	if (ret != NULL)
		*ret = token;
	post(r->lane, &r->read_msg);
	return 0;
}

int weir_io_read(struct weir_io *io, const struct weir_io_req *req, uint64_t *ret)
{
	int rc;

	if (wr_load_acquire(&io->closing))
		return -ECANCELED;
	rc = check_request(io, req);
	return rc != 0 ? rc : submit(io, req, WR_IO_OP_READ, ret);
}

int wr_io_write(struct weir_io *io, const struct weir_io_req *req, uint64_t *ret)
{
	int rc;

	if (wr_load_acquire(&io->closing))
		return -ECANCELED;
	rc = check_request(io, req);
	if (rc == 0 && (!req->file->owned || ((req->offset | req->bytes) & (req->file->align - 1))))
		rc = -EINVAL;
	return rc != 0 ? rc : submit(io, req, WR_IO_OP_WRITE, ret);
}

int wr_io_sync(struct weir_io *io, const struct weir_io_req *req, uint64_t *ret)
{
	struct weir_io_req sync = *req;

	if (wr_load_acquire(&io->closing))
		return -ECANCELED;
	if (req->file == NULL || req->file->io != io || !req->file->owned || req->done == NULL ||
	    req->io_class > WEIR_IO_SPECULATIVE)
		return -EINVAL;
	sync.offset = sync.bytes = sync.buf_bytes = 0;
	sync.buf = NULL;
	return submit(io, &sync, WR_IO_OP_SYNC, ret);
}

static void change(struct weir_io *io, uint64_t token, uint32_t flag)
{
	struct wr_io_request *r = wr_io_request_change(&io->requests, token, flag);

	if (r != NULL)
		post(r->lane, &r->change_msg);
}

void weir_io_promote(struct weir_io *io, uint64_t token)
{
	change(io, token, WR_IO_REQ_PROMOTE);
}

void weir_io_cancel(struct weir_io *io, uint64_t token)
{
	change(io, token, WR_IO_REQ_CANCEL);
}

/* ---- the rest ----------------------------------------------------------------------------------- */

int weir_io_register(struct weir_io *io, void *base, size_t bytes)
{
	uintptr_t begin = (uintptr_t)base, end;

	wr_might_block("registering memory");
	if (base == NULL || bytes == 0 || ((begin | bytes) & (WR_IO_BUF_ALIGN - 1)) != 0 ||
	    wr_add_overflow(begin, bytes, &end))
		return -EINVAL;
	if (wr_load_acquire(&io->nr_outstanding) != 0)
		return -EBUSY;
	if (weir_io_backend(io) != WEIR_IO_FIXED)
		return 0;
	return wr_io_ring_add_region(io->ring, base, bytes);
}

int weir_io_backend(const struct weir_io *io)
{
	return wr_load_acquire(&io->backend);
}

const char *weir_io_backend_name(int backend)
{
	static const char *const names[] = {"auto", "fixed", "uring", "pread", "buffered"};

	if (backend < 0 || (size_t)backend >= wr_array_size(names))
		return "unknown";
	return names[backend];
}

const char *weir_io_backend_reason(const struct weir_io *io)
{
	/* Pairs with the release in step_down(). */
	return wr_load_acquire(&io->reason);
}

void weir_io_stats(struct weir_io *io, struct weir_io_stats *ret)
{
#define COPY(name) ret->name = wr_load_relaxed(&io->stats.name);
	WR_IO_COUNTERS(COPY)
#undef COPY
	ret->nr_under_way = wr_load_relaxed(&io->nr_outstanding);
}

#if WR_DEBUG
void wr_io_set_fault(struct weir_io *io, const struct wr_io_fault *fault)
{
	/* Pairs with the acquire in wr_io_chunk_result(). */
	wr_store_release(&io->fault, fault);
}
#endif
