/* SPDX-License-Identifier: MIT */
/*
 * What the files of the io module share.
 *
 * An engine has one or two lanes. A lane is an inbox (mpsc.h), a scheduler (sched.c) and whoever
 * carries chunks out: the ring (ring.c: one thread, io_uring) or the workers (threads.c: pread).
 * On the io_uring rungs what is read with O_DIRECT goes through the ring and all else through
 * workers, which start when the first file needs them.
 *
 * The life of a request:
 *
 *   free -> submitted -> accepted -> queued -> cut into chunks -> all chunks settled -> ended -> free
 *           (inbox)      (scheduler, exclusively by its lane's driver)         (callback)
 *
 * Promotion and cancellation come from any thread at any time. They set a flag in the request's
 * state word, compared with the generation in the token, and post the request's second message;
 * while that message is on its way the request is not recycled (WR_IO_REQ_CHANGE).
 *
 * "Driver" below is who may touch a lane's scheduler: the ring's thread, or whoever holds the
 * workers' mutex; after the threads have been joined, weir_io_close().
 *
 * How a file is read may change while it is open (review.c): each way has a descriptor of its own,
 * and a request goes to its end the way it began.
 */
#ifndef WR_IO_INTERNAL_H
#define WR_IO_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include <weir/io.h>

#include "base/atomic.h"
#include "base/util.h"
#include "io/mpsc.h"
#include "io/choice.h"
#include "lock/lock.h"

#define WR_IO_BUF_ALIGN	   4096u       /* of landing buffers and regions, stated in io.h */
#define WR_IO_MIN_CHUNK	   (64u << 10) /* largest file alignment a direct read may need */
#define WR_IO_MAX_CHUNK	   (16u << 20)
#define WR_IO_MAX_DEPTH	   4096u
#define WR_IO_MAX_THREADS  64u
#define WR_IO_PIECE_BYTES  ((size_t)1 << 30) /* one registered buffer; the kernel's limit */
#define WR_IO_REASON_BYTES 512

struct weir_knobs;
struct wr_io_lane;
struct wr_io_ring;
struct wr_io_way;
struct wr_io_workers;

/* ---- messages ------------------------------------------------------------------------------ */

enum wr_io_msg_kind {
	WR_IO_MSG_READ,	   /* a new request */
	WR_IO_MSG_CHANGE,  /* promote or cancel: which, is in the request's state */
	WR_IO_MSG_CONTROL, /* struct wr_io_control, for the ring's thread */
};

struct wr_io_msg {
	struct wr_mpsc_node node;
	uint32_t kind; /* [const] */
};

/* ---- requests (request.c) -------------------------------------------------------------------- */

/* Low bits of wr_io_request.state; the generation stands above them. */
#define WR_IO_REQ_LIVE	  (1u << 0) /* submitted, callback not yet returned */
#define WR_IO_REQ_PROMOTE (1u << 1)
#define WR_IO_REQ_CANCEL  (1u << 2)
#define WR_IO_REQ_CHANGE  (1u << 3) /* change_msg is in an inbox */
#define WR_IO_REQ_ENDED	  (1u << 4) /* callback returned; waits for change_msg to come out */
#define WR_IO_REQ_BITS	  8

/* Tokens: generation << 24 | slot. 2^40 generations of a slot do not run out. */
#define WR_IO_SLOT_BITS	    24
#define WR_IO_SLOT_FIRST    64u /* requests in the first segment; each further one doubles */
#define WR_IO_SLOT_SEGMENTS 18u

TAILQ_HEAD(wr_io_chunk_list, wr_io_chunk);
TAILQ_HEAD(wr_io_request_list, wr_io_request);

enum wr_io_op {
	WR_IO_OP_READ,
	WR_IO_OP_WRITE,
	WR_IO_OP_SYNC,
};

struct wr_io_request {
	struct wr_io_msg read_msg;
	struct wr_io_msg change_msg;
	_Atomic uint64_t state;		 /* [atomic] */
	uint32_t slot;			 /* [const] */
	struct wr_io_request *next_free; /* [IO_QUEUE] while free; [driver] while retired */

	/* Written by the submitter before the push, then [driver]. */
	struct weir_io_req user;
	uint32_t op;		     /* enum wr_io_op */
	const struct wr_io_way *way; /* [const] while live */
	struct wr_io_lane *lane;     /* [const] while live: the way's */
	uint64_t begin;		     /* file offset of the landing buffer's first byte */
	uint64_t next;		     /* file offset of the first byte not cut yet */
	uint64_t end;		     /* file offset after the last byte to cut */
	uint64_t waiting_since_ns;
	int result;
	uint32_t nr_chunks; /* cut and not settled */
	bool accepted;	    /* read_msg has come out */
	bool queued;	    /* on its class's queue: bytes left to cut */
	bool cancelled;
	bool ended; /* on the list of those whose callback is due, or past it */
	TAILQ_ENTRY(wr_io_request) link;
	struct wr_io_chunk_list chunks;
};

/*
 * All requests of an engine. They lie in segments that are never moved or given back while the
 * engine is open, so a token finds its slot without a lock; the memory is bounded by the largest
 * number of reads outstanding at one time, and a read allocates only when that number grows.
 */
struct wr_io_requests {
	struct wr_spin lock WR_RANKED(IO_QUEUE);
	struct wr_io_request *free;				       /* [IO_QUEUE] */
	uint32_t nr_segments;					       /* [IO_QUEUE] */
	_Atomic(struct wr_io_request *) segments[WR_IO_SLOT_SEGMENTS]; /* [atomic] set once */
};

void wr_io_requests_init(struct wr_io_requests *rs);
void wr_io_requests_fini(struct wr_io_requests *rs);

/* A request with fresh state, not live yet. 0, -ENOMEM. */
int wr_io_request_get(struct wr_io_requests *rs, struct wr_io_request **ret) WEIR_MUST_CHECK;
/* A chain of retired requests, linked by next_free; NULL is none. */
void wr_io_request_put_all(struct wr_io_requests *rs, struct wr_io_request *chain);

/* Make it live and name it. From here on tokens find it. */
uint64_t wr_io_request_start(struct wr_io_request *r);
/*
 * Ask for @flag (WR_IO_REQ_PROMOTE or _CANCEL). The request when its change_msg must now be pushed
 * to its lane; NULL when the read has ended or the message is already on its way.
 */
struct wr_io_request *wr_io_request_change(struct wr_io_requests *rs, uint64_t token,
					   uint32_t flag);
/* Driver: change_msg has come out. What was asked, as flags. */
uint32_t wr_io_request_changed(struct wr_io_request *r);
/* Driver: the callback has returned. True when the request is free to retire now. */
bool wr_io_request_end(struct wr_io_request *r);
/* Driver: make old tokens void. Then it may go to wr_io_request_put_all(). */
void wr_io_request_retire(struct wr_io_request *r);

/* ---- chunks and the scheduler (sched.c, result.c) --------------------------------------------- */

/* One read given to the kernel. [driver]; between next and settle its fields are the carrier's. */
struct wr_io_chunk {
	struct wr_io_request *req; /* NULL while free */
	uint64_t offset;
	char *mem;	   /* where offset lands */
	uint32_t bytes;	   /* to read */
	uint32_t needed;   /* of these must arrive; the rest may lie past the end of the file */
	uint32_t done;	   /* arrived, a multiple of the file's alignment until all is there */
	uint32_t io_class; /* whose byte limit it is charged to */
	uint32_t nr_again;
	uint32_t nr_errors;
	uint32_t nr_stalls;
	bool fixed;			  /* the last attempt used a registered buffer */
	TAILQ_ENTRY(wr_io_chunk) link;	  /* free or to be read again */
	TAILQ_ENTRY(wr_io_chunk) sibling; /* of the same request */
};

/* Verdicts of wr_io_chunk_result() beside 0 and errors. */
#define WR_IO_AGAIN 1

struct wr_io_sched {
	struct weir_io *io;
	struct wr_io_lane *lane;
	struct wr_io_request_list queue[2]; /* per class, bytes left to cut */
	struct wr_io_request_list ended;    /* callback due */
	struct wr_io_request *retired;	    /* for wr_io_request_put_all() */
	struct wr_io_chunk_list again;
	struct wr_io_chunk_list free;
	struct wr_io_chunk *chunks;
	uint32_t depth;
	uint32_t nr_free;
	uint32_t reserve; /* chunks that speculative reads leave free */
	size_t inflight_bytes[2];
	size_t limit_bytes[2];
	size_t chunk_bytes;
	uint64_t cautious_until_ns; /* a read came on demand not long before; 0: never */
};

int wr_io_sched_init(struct wr_io_sched *s, struct weir_io *io, struct wr_io_lane *lane,
		     uint32_t depth) WEIR_MUST_CHECK;
void wr_io_sched_fini(struct wr_io_sched *s);

/* All of these: driver. None calls back, blocks or calls the system. */
void wr_io_sched_accept(struct wr_io_sched *s, struct wr_io_request *r);
void wr_io_sched_promote(struct wr_io_sched *s, struct wr_io_request *r);
void wr_io_sched_cancel(struct wr_io_sched *s, struct wr_io_request *r);
void wr_io_sched_cancel_all(struct wr_io_sched *s);
/* The chunk to carry out now; NULL when there is none or a limit is reached. */
struct wr_io_chunk *wr_io_sched_next(struct wr_io_sched *s);
void wr_io_sched_settle(struct wr_io_sched *s, struct wr_io_chunk *c, int verdict);
/* The next request whose callback is due; NULL when there is none. */
struct wr_io_request *wr_io_sched_pop_ended(struct wr_io_sched *s);
/* The callback of @r has returned. */
void wr_io_sched_finished(struct wr_io_sched *s, struct wr_io_request *r);
bool wr_io_sched_is_idle(const struct wr_io_sched *s);
bool wr_io_sched_has_queued(const struct wr_io_sched *s);

/*
 * What the outcome of one attempt means: 0 (the chunk is complete), WR_IO_AGAIN (read from
 * offset + done on), or a negative errno as the callback gets it. Carrier, no lock held: may ask
 * the file system whether the file has changed, and may sleep for a moment.
 */
int wr_io_chunk_result(struct wr_io_chunk *c, int64_t res);

/* ---- lanes ------------------------------------------------------------------------------------- */

struct wr_io_lane {
	struct weir_io *io;
	struct wr_mpsc inbox;
	struct wr_io_sched sched; /* [driver] */
	/* Any thread: see that the inbox is looked at. Never blocks. */
	void (*wake)(struct wr_io_lane *lane);
	/* Driver: ask the kernel to drop a chunk in flight. NULL where that cannot be done. */
	void (*cancel_chunk)(struct wr_io_lane *lane, struct wr_io_chunk *c);
	/* Driver: a WR_IO_MSG_CONTROL came out. */
	void (*control)(struct wr_io_lane *lane, struct wr_io_msg *msg);
};

/* Driver: empty the inbox into the scheduler. */
void wr_io_lane_drain(struct wr_io_lane *lane);
/* No lock held: the callback of @r, and the counters. */
void wr_io_lane_call_back(struct wr_io_lane *lane, struct wr_io_request *r);
/* After the threads are gone: end what came too late. */
void wr_io_lane_sweep(struct wr_io_lane *lane);

/* ---- carriers ------------------------------------------------------------------------------------ */

/*
 * Start the ring. 0; -EOPNOTSUPP (io_uring, or with @fixed the registered part of it, does not work
 * here: @why says it); other codes of weir_io_open() when the engine cannot be had at all.
 */
int wr_io_ring_open(struct weir_io *io, bool fixed, struct wr_io_ring **ret,
		    char why[WR_IO_REASON_BYTES]) WEIR_MUST_CHECK;
/* io->closing is set. Every callback has returned afterwards, unless another lane still runs. */
void wr_io_ring_stop(struct wr_io_ring *ring);
void wr_io_ring_free(struct wr_io_ring *ring);
struct wr_io_lane *wr_io_ring_lane(struct wr_io_ring *ring);
bool wr_io_ring_is_current(const struct wr_io_ring *ring);
/* Registration; see ring_table.c. -ENOMEM, -EINVAL (not mapped), -ENOSPC, -EOPNOTSUPP. */
int wr_io_ring_add_region(struct wr_io_ring *ring, void *base, size_t bytes) WEIR_MUST_CHECK;
void wr_io_ring_add_file(struct wr_io_ring *ring, struct wr_io_way *way);
void wr_io_ring_remove_file(struct wr_io_ring *ring, struct wr_io_way *way);

int wr_io_workers_open(struct weir_io *io, struct wr_io_workers **ret) WEIR_MUST_CHECK;
void wr_io_workers_stop(struct wr_io_workers *w);
void wr_io_workers_free(struct wr_io_workers *w);
struct wr_io_lane *wr_io_workers_lane(struct wr_io_workers *w);

/*
 * A thread of the engine: all signals blocked, so that they go to the host's threads; pinned when
 * the options say so. 0, -EAGAIN, -ENODEV (no such CPU).
 */
int wr_io_thread_start(const struct weir_io *io, pthread_t *ret, const char *name,
		       void *(*main)(void *), void *arg) WEIR_MUST_CHECK;

/* ---- probing (probe.c) ---------------------------------------------------------------------------- */

/* Why io_uring_setup() or a registration gave @code, as a sentence part. */
void wr_io_refusal(int code, char *text, size_t text_bytes);

/*
 * Alignment that direct reads of @fd need, in the file and in memory; 0, or -EOPNOTSUPP when the
 * file cannot be read directly. O_DIRECT is on afterwards exactly if this returns 0.
 */
int wr_io_probe_direct(int fd, uint32_t *ret_offset_align,
		       uint32_t *ret_memory_align) WEIR_MUST_CHECK;

/* For a file that is read through the page cache; see threads.c. */
struct wr_io_cache_use {
	bool dontcache; /* RWF_DONTCACHE works */
	bool cold;	/* little of the file was in the cache when it was opened */
	bool stays;	/* what is in the cache is to stay there */
};

struct wr_io_cache_use wr_io_probe_cache(int fd, uint64_t file_bytes);
/* Bytes of the file that are in the page cache; 0 also where the kernel does not say (before 6.5). */
uint64_t wr_io_probe_cached(int fd);

#define WR_IO_RWF_DONTCACHE 0x80 /* Linux 6.14, include/uapi/linux/fs.h */

/* ---- files (file.c) ---------------------------------------------------------------------------------- */

/* Past the page cache, or through it. All [const] once it has a lane. */
struct wr_io_way {
	struct wr_io_lane *lane; /* NULL: not opened */
	int fd;
	int slot; /* in the ring's file table, or -1 */
	bool direct;
	struct wr_io_cache_use cache; /* when not direct */
};

struct wr_io_why {
	struct wr_io_why *older;
	char text[WR_IO_CHOICE_BYTES];
};

#define WR_IO_NR_WAYS 3u /* by enum wr_io_access */

struct weir_io_file {
	struct weir_io *io;    /* NULL after weir_io_close(); the caller keeps these apart */
	int fd;		       /* [const] of one of the ways: what it was opened with */
	bool owned;	       /* [const] adopted: written by us, compared with nothing */
	bool may_change;       /* [const] it can be read either way */
	_Atomic bool has_gaps; /* [atomic] reads leave parts out */
	uint32_t align;	       /* [const] of offsets and lengths given to the kernel, either way */
	struct weir_io_file_info info; /* [const] but for direct, which the way says */
	char *path;		       /* [const] absolute */
	/* [atomic] W1: how what is submitted from now on is read; written under [IO] once open */
	_Atomic(const struct wr_io_way *) way;
	struct wr_io_way ways[WR_IO_NR_WAYS];  /* [IO] to open */
	_Atomic(const struct wr_io_why *) why; /* [atomic] as way; all stay until the close */
	struct wr_io_why first_why;
	struct wr_io_standing standing; /* [IO] */
	TAILQ_ENTRY(weir_io_file) link; /* [IO] */
};

/* W1: acquire; pairs with the release in wr_io_file_turn(). */
static inline const struct wr_io_way *wr_io_file_way(const struct weir_io_file *file)
{
	return wr_load_acquire(&file->way);
}

/* What somebody chose, or how it is to be found out; of one file. */
uint32_t wr_io_file_mode(const struct weir_io_file *file);
TAILQ_HEAD(wr_io_file_list, weir_io_file);

/* -ESTALE when the open file or, with @path_too, what its path names is not what was opened. */
int wr_io_file_changed(const struct weir_io_file *file, bool path_too) WEIR_MUST_CHECK;

/* ---- the engine (io.c) --------------------------------------------------------------------------------- */

#define WR_IO_COUNTERS(X)     \
	X(nr_reads)           \
	X(nr_failed)          \
	X(nr_cancelled)       \
	X(nr_promoted)        \
	X(nr_chunks)          \
	X(nr_fixed_chunks)    \
	X(nr_short)           \
	X(nr_retries)         \
	X(bytes_wanted)       \
	X(bytes_read)         \
	X(demand_wait_ns)     \
	X(max_inflight_bytes) \
	X(nr_writes)          \
	X(nr_syncs)           \
	X(bytes_written)      \
	X(nr_looks)           \
	X(nr_turned)

struct wr_io_fault;

struct weir_io {
	struct weir_io_opts opts;		 /* [const] defaults filled in */
	bool by_name;				 /* [const] the rung was asked for */
	_Atomic uint32_t page_cache;		 /* [atomic] enum weir_io_page_cache */
	struct weir_knobs *knobs;		 /* [const] NULL: none */
	uint32_t page_cache_knob;		 /* [const] its id */
	const char *root;			 /* [const] "", or where tests put /proc */
	struct wr_io_refaults refaults;		 /* [IO] when they were last looked at */
	_Atomic uint64_t look_at_ns;		 /* [atomic] when the files are due again */
	_Atomic uint64_t busy_ns;		 /* [atomic] the ring had reads under way */
	_Atomic uint64_t direct_bytes;		 /* [atomic] read directly */
	uint64_t busy_seen_ns, bytes_seen;	 /* [IO] of both, when they were used */
	_Atomic int backend;			 /* [atomic] */
	_Atomic(const char *) reason;		 /* [atomic] one of the texts below */
	char reason_at_open[WR_IO_REASON_BYTES]; /* [const] */
	char reason_after_step[WR_IO_REASON_BYTES + 128]; /* written before reason points to it */

	struct wr_io_requests requests;
	struct wr_io_ring *ring; /* [const] NULL on the pread rungs */
	struct wr_mutex lock WR_RANKED(IO);
	struct wr_cond changed;	       /* with lock: a control call or a thread's start is done */
	struct wr_io_workers *workers; /* [IO] NULL until needed */
	struct wr_io_file_list files;  /* [IO] */

	_Atomic bool closing;		 /* [atomic] */
	_Atomic uint64_t nr_outstanding; /* [atomic] submitted, callback not returned */
	_Atomic uint64_t inflight_bytes; /* [atomic] both lanes */
#define WR_IO_COUNTER(name) _Atomic uint64_t name;
	struct {
		WR_IO_COUNTERS(WR_IO_COUNTER)
	} stats; /* [atomic] */
#undef WR_IO_COUNTER
#if WR_DEBUG
	_Atomic(const struct wr_io_fault *) fault; /* [atomic] */
#endif
};

#define wr_io_count(io, name, n) ((void)wr_fetch_add_relaxed(&(io)->stats.name, (n)))

/*
 * Have a way ready. 0; -ESTALE (the path is another file by now), or the codes of
 * weir_io_file_open().
 */
int wr_io_file_open_way(struct weir_io *io, struct weir_io_file *file, enum wr_io_access access)
	WR_REQUIRES(io->lock) WEIR_MUST_CHECK;
/* From now on that way, which is ready, for this reason. 0, -ENOMEM. */
int wr_io_file_turn(struct weir_io *io, struct weir_io_file *file, enum wr_io_access access,
		    const char *why) WR_REQUIRES(io->lock) WEIR_MUST_CHECK;

/* Open a lane of workers if there is none yet. 0, -ENOMEM, -EAGAIN, -ENODEV. */
int wr_io_need_workers_locked(struct weir_io *io, struct wr_io_lane **ret)
	WR_REQUIRES(io->lock) WEIR_MUST_CHECK;
int wr_io_need_workers(struct weir_io *io, struct wr_io_lane **ret) WEIR_MUST_CHECK;

/* ---- looking again (review.c) --------------------------------------------------------------- */

/* A file that may change has been opened. */
void wr_io_review_expect(struct weir_io *io);
/* An engine's thread between two reads: if it is time, it looks. @may_read: it may also wait for
 * the device. No lock held. */
void wr_io_review(struct weir_io *io, uint64_t now_ns, bool may_read);

/* ---- faults ----------------------------------------------------------------------------------------------- */

#if WR_DEBUG
/*
 * Tests put themselves between the kernel and the engine. The filter sees every attempt's outcome
 * and what it returns is taken instead: fewer bytes, 0, -EIO, -EINTR... It may wait; on the ring
 * that holds up the whole lane, on the workers one thread. No lock is held.
 */
struct wr_io_fault {
	int64_t (*filter)(void *arg, uint64_t offset, size_t bytes, int64_t res);
	void *arg;
};

/* Before the first file; @root stays until weir_io_close(): what it has of /proc and /sys counts. */
void wr_io_set_root(struct weir_io *io, const char *root);
/* Look at all files that are open, at the next occasion, and not for a while otherwise. */
void wr_io_review_soon(struct weir_io *io);

/* Before the first read; @fault stays until weir_io_close(). */
void wr_io_set_fault(struct weir_io *io, const struct wr_io_fault *fault);
#endif

#endif /* WR_IO_INTERNAL_H */
