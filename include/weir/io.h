/* SPDX-License-Identifier: MIT */
/**
 * weir/io.h - Bytes of a file into memory, past the page cache, in two classes.
 *
 * An engine owns its threads and a submission queue into them: one thread on the
 * io_uring rungs, several on the others. A read names a byte range of a file and
 * a landing buffer; the engine cuts it into chunks, keeps the device busy within the
 * byte limit of the read's class, and calls back once, when every chunk is in or the
 * read failed. Demand reads overtake speculative ones that have not been handed to
 * the kernel yet: no speculative chunk starts while a demand read has one left. A
 * speculative read can be promoted when somebody starts waiting for it, or cancelled.
 *
 * Direct reads start and end on device blocks, so the engine reads a little more
 * than asked and says where in the landing buffer the wanted bytes begin: no second
 * copy and no split read, whatever the alignment in the file.
 *
 * How the bytes come is one rung of a ladder: io_uring with registered buffers
 * ("fixed"), io_uring ("uring"), threads with pread and O_DIRECT ("pread"), threads
 * with buffered pread that drop what they read from the page cache ("buffered").
 * The engine takes the highest rung that a probe finds working and says why.
 */
#ifndef WEIR_IO_H
#define WEIR_IO_H

#include <stdbool.h>

#include <weir/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir_io;
struct weir_io_file;
struct weir_knobs;

/* Rungs of the ladder. */
enum weir_io_backend {
	WEIR_IO_AUTO = 0,     /* the highest that works */
	WEIR_IO_FIXED = 1,    /* io_uring, O_DIRECT, registered buffers and files */
	WEIR_IO_URING = 2,    /* io_uring, O_DIRECT */
	WEIR_IO_PREAD = 3,    /* pread threads, O_DIRECT */
	WEIR_IO_BUFFERED = 4, /* pread threads through the page cache, dropped behind */
};

/* Classes of read. */
enum weir_io_class {
	WEIR_IO_DEMAND = 0,	 /* somebody waits for it */
	WEIR_IO_SPECULATIVE = 1, /* somebody probably will */
};

/* What files are read through that could be read past the page cache. */
enum weir_io_page_cache {
	WEIR_IO_CACHE_AUTO = 0,	  /* the page cache where the file is in it, and that is faster */
	WEIR_IO_CACHE_NEVER = 1,  /* always past it */
	WEIR_IO_CACHE_ALWAYS = 2, /* always through it, and what comes in stays there */
	WEIR_IO_CACHE_SPARE = 3,  /* as AUTO, and like ALWAYS while memory for the file is spare */
};

/**
 * struct weir_io_opts - How to open an engine. Zero means the default.
 * @size:              sizeof(struct weir_io_opts).
 * @backend:           enum weir_io_backend. A rung asked for by name is an error when
 *                     it does not work; it is never replaced silently.
 * @cpu:               1 + the CPU to pin the engine's thread to; 0 leaves it free.
 * @chunk_bytes:       Largest single read given to the kernel: a power of two, 64 KiB to
 *                     16 MiB. Default 1 MiB.
 * @demand_bytes:      Bytes of demand reads in flight at most, at least @chunk_bytes.
 *                     Default 32 MiB.
 * @speculative_bytes: Bytes of speculative reads in flight at most, at least
 *                     @chunk_bytes; a quarter of that, or one chunk, while reads come on
 *                     demand too, which would wait for them. Default 16 MiB. A promoted
 *                     read's chunks in flight stay in the account of speculation.
 * @threads:           Threads of the pread and buffered rungs, 1 to 64. Default 4.
 * @depth:             Chunks in flight at most, 1 to 4096; on the pread and buffered
 *                     rungs also at most @threads. Speculation uses three quarters of
 *                     them. Default 64.
 * @page_cache:        enum weir_io_page_cache; weir_io_set_page_cache() changes it. With a rung
 *                     asked for by name AUTO and SPARE are NEVER. ALWAYS and SPARE use memory
 *                     beyond any budget of weir's.
 * @knobs:             A table, open longer than the engine, in which it shows @page_cache as
 *                     "io.page_cache", and heeds it. NULL: none.
 *
 * On the io_uring rungs, files without O_DIRECT are read by @threads threads beside the
 * engine's own, within limits of their own of the same size.
 */
struct weir_io_opts {
	size_t size;
	uint32_t backend;
	uint32_t cpu;
	size_t chunk_bytes;
	size_t demand_bytes;
	size_t speculative_bytes;
	uint32_t threads;
	uint32_t depth;
	uint64_t page_cache;
	struct weir_knobs *knobs;
};

/**
 * typedef weir_io_done_fn - A read has ended.
 * @arg:    As given in the request.
 * @result: 0, or a negative errno: -EIO (device error, after one retry), -ENODATA
 *          (the file ends before the range does), -ESTALE (the file is no longer the
 *          one that was opened: changed, truncated or replaced), -ECANCELED
 *          (weir_io_cancel(), weir_io_close()), -EINVAL (the landing buffer is not
 *          writable memory), -ENOMEM (the kernel has none for the read).
 * @data:   First wanted byte, inside the landing buffer; NULL on failure.
 *
 * On failure the contents of the landing buffer are undefined.
 *
 * Context: A thread of the engine, no lock held. With more than one thread, callbacks
 *          of different reads run at the same time. Must not block, and must not call
 *          weir_io_close(). It may submit, promote and cancel. Only in weir_io_close()
 *          can it be the closing thread.
 */
typedef void (*weir_io_done_fn)(void *arg, int result, void *data);

/**
 * struct weir_io_req - One read.
 * @file:      From weir_io_file_open() of the same engine.
 * @offset:    First byte wanted; any alignment.
 * @bytes:     How many, at least 1.
 * @buf:       Landing buffer, aligned to 4096 bytes; inside a registered region on the
 *             fixed rung it is used without pinning, elsewhere as a plain buffer.
 * @buf_bytes: Its size, at least weir_io_landing_bytes(@file, @offset, @bytes).
 * @io_class:  enum weir_io_class.
 * @done:      Called exactly once if the submission returned 0, never otherwise.
 * @arg:       Handed to @done.
 *
 * The request itself is copied; file and buffer must stay until @done is called.
 */
struct weir_io_req {
	struct weir_io_file *file;
	uint64_t offset;
	size_t bytes;
	void *buf;
	size_t buf_bytes;
	uint32_t io_class;
	weir_io_done_fn done;
	void *arg;
};

/**
 * struct weir_io_file_info - What the engine knows of an open file.
 * @bytes:        Size when opened.
 * @dev:          Device number, as st_dev.
 * @ino:          Inode number.
 * @mtime_ns:     Modification time when opened.
 * @offset_align: Alignment direct reads need in the file; 1 where there are none.
 * @memory_align: Alignment direct reads need in memory; 1 where there are none.
 * @direct:       1 when the file is read with O_DIRECT now.
 */
struct weir_io_file_info {
	uint64_t bytes;
	uint64_t dev;
	uint64_t ino;
	uint64_t mtime_ns;
	uint32_t offset_align;
	uint32_t memory_align;
	uint32_t direct;
};

/**
 * struct weir_io_stats - Counters since the engine was opened, and how much it has to do.
 * @nr_reads:          Requests completed with 0.
 * @nr_failed:         Requests completed with an error other than -ECANCELED.
 * @nr_cancelled:      Requests completed with -ECANCELED.
 * @nr_promoted:       Speculative requests that became demand.
 * @nr_chunks:         Reads given to the kernel, by any rung.
 * @nr_fixed_chunks:   Of these, with registered buffers.
 * @nr_short:          Short reads that were continued.
 * @nr_retries:        Chunks read again after EIO, EINTR or EAGAIN.
 * @bytes_wanted:      Bytes of completed requests.
 * @bytes_read:        Bytes that came from the files, over-read included.
 * @demand_wait_ns:    Sum over demand requests of submission, or promotion, to
 *                     completion.
 * @max_inflight_bytes: Largest number of bytes in flight at one time.
 * @nr_writes:         Writes by weir itself, completed with 0.
 * @nr_syncs:          Of these, requests to have a file's bytes on the device.
 * @bytes_written:     Bytes of completed writes.
 * @nr_under_way:      Requests submitted and not completed, now: the depth of the queue.
 * @nr_looks:          Times it was looked again how open files are best read, and
 * @nr_turned:         files that this changed between direct reads and the page cache.
 */
struct weir_io_stats {
	uint64_t nr_reads;
	uint64_t nr_failed;
	uint64_t nr_cancelled;
	uint64_t nr_promoted;
	uint64_t nr_chunks;
	uint64_t nr_fixed_chunks;
	uint64_t nr_short;
	uint64_t nr_retries;
	uint64_t bytes_wanted;
	uint64_t bytes_read;
	uint64_t demand_wait_ns;
	uint64_t max_inflight_bytes;
	uint64_t nr_writes;
	uint64_t nr_syncs;
	uint64_t bytes_written;
	uint64_t nr_under_way;
	uint64_t nr_looks;
	uint64_t nr_turned;
};

/**
 * weir_io_open() - Start an engine.
 * @opts: Options, or NULL for all defaults.
 * @ret:  The engine; untouched on failure.
 * @err:  On failure: which rung was refused and why. May be NULL.
 *
 * Context: Any thread. May block. Starts the engine's thread(s).
 * Owner:   The caller, until weir_io_close().
 * Return:  0, -EINVAL (an option is out of range), -E2BIG (newer options than this
 *          library knows), -EOPNOTSUPP (the rung asked for does not work here),
 *          -ENOMEM (memory or lockable memory is short), -ENODEV (no such CPU),
 *          -EAGAIN (the system gives no further thread); of @opts->knobs: -EEXIST (an engine with
 *          another default is in it), -ENOSPC (it is full).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_io_open(const struct weir_io_opts *opts, struct weir_io **ret,
					  struct weir_error *err);

/**
 * weir_io_close() - Stop an engine.
 * @io: The engine, or NULL. Its files are closed before or afterwards, not meanwhile.
 *
 * Reads not yet handed to the kernel complete with -ECANCELED; reads in the kernel
 * are cancelled or awaited. Every callback has returned when this returns, and no
 * buffer is written to afterwards.
 *
 * Context: Any thread but the engine's, once; no other call on the engine may be under
 *          way but those of its callbacks, whose submissions get -ECANCELED. May block.
 * Since:   0.1
 */
WEIR_API void weir_io_close(struct weir_io *io);

/**
 * weir_io_backend() - The rung the engine runs on.
 * @io: The engine.
 *
 * Context: Any thread. Takes no lock. May step down once, from fixed to uring, when
 *          registration of a region fails; see weir_io_register().
 * Return:  enum weir_io_backend, never WEIR_IO_AUTO.
 * Since:   0.1
 */
WEIR_API int weir_io_backend(const struct weir_io *io);

/**
 * weir_io_backend_name() - A rung as text.
 * @backend: enum weir_io_backend.
 *
 * Context: Any thread. Takes no lock.
 * Return:  "auto", "fixed", "uring", "pread", "buffered" or "unknown"; static storage.
 * Since:   0.1
 */
WEIR_API const char *weir_io_backend_name(int backend);

/**
 * weir_io_backend_reason() - Why the engine runs on that rung.
 * @io: The engine.
 *
 * For example "io_uring is refused: Operation not permitted (seccomp or
 * kernel.io_uring_disabled)", or "highest rung" when nothing was refused.
 *
 * Context: Any thread. Takes no lock.
 * Return:  Text owned by the engine, valid until weir_io_close(); never NULL. After
 *          a step down it is another text; the earlier one stays valid too.
 * Since:   0.1
 */
WEIR_API const char *weir_io_backend_reason(const struct weir_io *io);

/**
 * weir_io_register() - Make known where buffers will lie.
 * @io:    The engine.
 * @base:  First byte, aligned to 4096.
 * @bytes: Size, a multiple of 4096. Registered in pieces of at most 1 GiB.
 *
 * On the fixed rung the pages are pinned now and not at every read. When the system
 * refuses (memlock limit), an engine opened with WEIR_IO_AUTO steps down to uring,
 * says so in weir_io_backend_reason() and returns 0; one opened with WEIR_IO_FIXED
 * fails and keeps what was registered before. On the other rungs only the arguments
 * are checked. Not while reads are in flight. A landing buffer that crosses the border
 * of two pieces is read there as a plain buffer.
 *
 * Context: Any thread but the engine's. May block.
 * Owner:   The caller keeps the memory and must not unmap it before weir_io_close().
 * Return:  0, -EINVAL (alignment; not all mapped; overlaps a region), -ENOMEM (memlock
 *          limit on WEIR_IO_FIXED), -EOPNOTSUPP (memory that cannot be pinned, on
 *          WEIR_IO_FIXED), -EBUSY (reads are in flight), -ENOSPC (more than 1024 pieces).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_io_register(struct weir_io *io, void *base, size_t bytes);

/**
 * weir_io_file_open() - Open a regular file for reading.
 * @io:   The engine.
 * @path: The file.
 * @ret:  The file; untouched on failure.
 * @err:  On failure: what and why. May be NULL.
 *
 * Uses O_DIRECT when the file system has it (statx(STATX_DIOALIGN), else a trial
 * read); on the io_uring and pread rungs a file without it is read by the threads of
 * the buffered rung, which weir_io_file_info() tells. tmpfs has none. Never blocks on a
 * FIFO. A file read buffered that was not in the page cache when it was opened is
 * dropped from it again when it is closed.
 *
 * Of a file that can be read either way it is looked again while it is read, once a second at
 * most: memory that gets short has it read directly at once, what speaks for a change otherwise
 * must last. What is under way ends as it began; each way has a descriptor of its own.
 *
 * Context: Any thread but the engine's. May block. May start threads.
 * Owner:   The caller, until weir_io_file_close().
 * Return:  0, -ENOENT, -EACCES, -EINVAL (not a regular file), -ELOOP, -ENAMETOOLONG,
 *          -EMFILE, -ENFILE, -ENOMEM, -EIO, -EOPNOTSUPP (the engine was opened for a direct
 *          rung by name and the file system has no O_DIRECT), -EAGAIN (the system gives
 *          no further thread).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_io_file_open(struct weir_io *io, const char *path,
					       struct weir_io_file **ret, struct weir_error *err);

/**
 * weir_io_file_close() - Close a file.
 * @file: The file, or NULL. No read of it may be in flight; the engine may be closed.
 *
 * Context: Any thread but the engine's. May block.
 * Since:   0.1
 */
WEIR_API void weir_io_file_close(struct weir_io_file *file);

/**
 * weir_io_file_info() - Describe an open file.
 * @file: The file.
 * @ret:  Filled.
 *
 * Context: Any thread. Takes no lock. All but direct is constant while the file is open.
 * Since:   0.1
 */
WEIR_API void weir_io_file_info(const struct weir_io_file *file, struct weir_io_file_info *ret);

/**
 * weir_io_file_reason() - Why a file is read the way it is.
 * @file: File.
 *
 * "page cache: 100 % of it is there, which gives 6.1 GB/s, the device 1.4", for instance. Another
 * when that changes.
 *
 * Context: Any thread. Takes no lock.
 * Return:  One sentence, valid until the file is closed.
 * Since:   0.1
 */
WEIR_API const char *weir_io_file_reason(const struct weir_io_file *file);

/**
 * weir_io_set_page_cache() - Change what files are read through.
 * @io:   Engine.
 * @mode: enum weir_io_page_cache.
 *
 * Those that are open follow while they are read, within a second or two. Moves the knob, where
 * the engine has one.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -EINVAL.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_io_set_page_cache(struct weir_io *io, uint32_t mode);

/**
 * weir_io_page_cache() - What it stands at.
 * @io: Engine.
 *
 * Context: Any thread. Takes no lock.
 * Return:  enum weir_io_page_cache.
 * Since:   0.1
 */
WEIR_API uint32_t weir_io_page_cache(const struct weir_io *io);

/**
 * weir_io_file_check() - Is the path still the file that was opened, unchanged?
 * @file: The file.
 *
 * Compares device, inode, size and modification time, of the open file and of what
 * the path names now.
 *
 * Context: Any thread. May block.
 * Return:  0, -ESTALE (changed, truncated, replaced or removed), -EIO (cannot be
 *          examined).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_io_file_check(const struct weir_io_file *file);

/**
 * weir_io_landing_bytes() - How large the landing buffer of a read must be.
 * @file:   The file.
 * @offset: As in the request.
 * @bytes:  As in the request.
 *
 * Context: Any thread. Takes no lock.
 * Return:  From the block boundary before the first byte to the one after the last;
 *          0 when that overflows.
 * Since:   0.1
 */
WEIR_API size_t weir_io_landing_bytes(const struct weir_io_file *file, uint64_t offset,
				      size_t bytes);

/**
 * weir_io_read() - Submit a read.
 * @io:  The engine.
 * @req: The request; copied.
 * @ret: A token for weir_io_promote() and weir_io_cancel(); may be NULL. Written before
 *       @req->done can run. Never 0; not reused while the engine is open.
 *
 * Context: Any thread, also the engine's own inside a callback. Takes IO_QUEUE. Does not
 *          block.
 * Cost:    One allocation from a free list, one queue push, a wake-up if the engine sleeps.
 *          The free list grows with the largest number of reads outstanding at one time
 *          and is kept until weir_io_close().
 * Return:  0 (the callback will be called), -EINVAL (size, buffer, class, or a file of
 *          another engine), -ENODATA (the range is not inside the file), -ENOMEM,
 *          -ECANCELED (the engine is closing).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_io_read(struct weir_io *io, const struct weir_io_req *req,
					  uint64_t *ret);

/**
 * weir_io_promote() - Somebody waits now: make a speculative read a demand read.
 * @io:    The engine.
 * @token: From weir_io_read(); a read that has ended is ignored.
 *
 * Context: Any thread. Takes IO_QUEUE. Does not block.
 * Since:   0.1
 */
WEIR_API void weir_io_promote(struct weir_io *io, uint64_t token);

/**
 * weir_io_cancel() - Ask for a read to end early.
 * @io:    The engine.
 * @token: From weir_io_read(); a read that has ended is ignored.
 *
 * The callback still comes exactly once: with -ECANCELED, or with 0 or an error when
 * the read was faster. The buffer is the engine's until then.
 *
 * Context: Any thread. Takes IO_QUEUE. Does not block.
 * Since:   0.1
 */
WEIR_API void weir_io_cancel(struct weir_io *io, uint64_t token);

/**
 * weir_io_stats() - Read the counters.
 * @io:  The engine.
 * @ret: Filled. Counters of reads in flight may be ahead of each other.
 *
 * Context: Any thread. Does not block.
 * Since:   0.1
 */
WEIR_API void weir_io_stats(struct weir_io *io, struct weir_io_stats *ret);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_IO_H */
