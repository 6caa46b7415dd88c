/* SPDX-License-Identifier: MIT */
/**
 * weir/pool_map.h - Where a pool's memory is in use, now and over time.
 *
 * weir_pool_map() says for each 2 MiB of a region how much of it is taken. A recorder
 * asks that at an interval while the process runs and writes the answers to a file, which
 * `weir pool-map` draws as a picture: address upwards, time to the right.
 *
 *	struct weir_pool_recorder *rec;
 *
 *	weir_pool_record_start(pool, "pool.rec", NULL, &rec, &err);
 *	(what is to be seen)
 *	weir_pool_record_stop(rec);
 *
 *	$ weir pool-map pool.rec pool.svg
 *
 * A recording is text, one JSON object a line. The first names the format and the regions:
 *
 *	{"weir_pool_recording": 1, "piece_bytes": 2097152, "interval_ns": 10000000,
 *	 "regions": [{"bytes": 1073741824, "node": 0, "page_kind": "thp"}]}
 *
 * Each further line is a sample that differs from the one before, and the last sample:
 *
 *	{"t_ns": 20012345, "used_bytes": 3145728, "requested_bytes": 3000000,
 *	 "largest_free_bytes": 1070596096, "nr_live": 1, "regions": [[1, 2048, 1, 1024, 510, 0]]}
 *
 * t_ns counts from the start of the recording. In regions, pairs of a number of pieces and
 * the KiB taken of each of them, rounded up, from the lowest address on.
 */
#ifndef WEIR_POOL_MAP_H
#define WEIR_POOL_MAP_H

#include <weir/base.h>
#include <weir/pool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a number of a map speaks for; the last piece of a region may be smaller. */
#define WEIR_POOL_PIECE_BYTES (2u << 20)

/**
 * weir_pool_map() - How much of each piece of a region is taken.
 * @pool:  The pool.
 * @index: Region, as for weir_pool_region().
 * @nr:    Room at @ret.
 * @ret:   Bytes of each piece that are in no free block, from the lowest address on; at
 *         most @nr are written. NULL when @nr is 0.
 *
 * All numbers are of one instant. Blocks that the pool keeps ready for a thread are taken,
 * though in no span.
 *
 * Context: Any thread. Takes POOL_ZONE of the region's node. Does not block.
 * Cost:    About 2 microseconds for each GiB of 4 KiB blocks, under the lock.
 * Return:  Pieces that the region has, or -EINVAL (no such region, or a fork child).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int64_t weir_pool_map(struct weir_pool *pool, size_t index, size_t nr,
					       uint32_t *ret);

struct weir_pool_recorder;

/**
 * struct weir_pool_record_opts - How to record. Zero means the default.
 * @size:        sizeof(struct weir_pool_record_opts).
 * @interval_ns: From one look at the pool to the next, at least 100 microseconds.
 *               Default: 10 ms.
 */
struct weir_pool_record_opts {
	size_t size;
	uint64_t interval_ns;
};

/**
 * weir_pool_record_start() - Begin to write down what a pool looks like.
 * @pool: The pool; it must stay open until weir_pool_record_stop().
 * @path: File to write; what was in it is lost.
 * @opts: NULL for the defaults.
 * @ret:  The recorder; untouched on failure.
 * @err:  On failure: what failed. May be NULL.
 *
 * The first sample is taken before this returns. The file grows by up to 12 bytes for each
 * piece and sample, and not at all while the pool does not change.
 *
 * Context: Any thread that holds no lock of weir. May block. Starts a thread.
 * Owner:   The caller, until weir_pool_record_stop().
 * Return:  0, -EINVAL (the interval is too short, or a fork child), -E2BIG (newer options
 *          than this library knows), -ENOMEM, -EAGAIN (the system gives no thread), or what
 *          the file system said.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_pool_record_start(struct weir_pool *pool, const char *path,
						    const struct weir_pool_record_opts *opts,
						    struct weir_pool_recorder **ret,
						    struct weir_error *err);

/**
 * weir_pool_record_stop() - Take the last sample and close the file.
 * @rec: The recorder, or NULL.
 *
 * A file that could not be written to its end is reported through the log; what is in it
 * can be drawn.
 *
 * Context: The process that started it, any thread that holds no lock of weir. May block.
 *          Joins the thread.
 * Since:   0.1
 */
WEIR_API void weir_pool_record_stop(struct weir_pool_recorder *rec);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_POOL_MAP_H */
