/* SPDX-License-Identifier: MIT */
/**
 * weir/pool_type.h - A pool shared out by what the memory is for.
 *
 * KV blocks, image features, text embeddings, gradients, activations and parameters live
 * in one pool, and each kind has a limit: a long conversation cannot take the room that
 * the next layer's parameters need. A limit is a promise about the most, not memory set
 * aside: nothing is taken before it is allocated, and what one kind does not use is there
 * for the others. Limits may add up to more than the pool; then room is what runs out.
 *
 * Which calls may run at once: all of them, from any threads, but for weir_types_close().
 */
#ifndef WEIR_POOL_TYPE_H
#define WEIR_POOL_TYPE_H

#include <weir/pool.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir_types;

/* What memory is for. */
enum weir_type {
	WEIR_TYPE_KV_CACHE = 0,
	WEIR_TYPE_IMAGE_FEATURES = 1,
	WEIR_TYPE_TEXT_EMBEDDINGS = 2,
	WEIR_TYPE_GRADIENTS = 3,
	WEIR_TYPE_ACTIVATIONS = 4,
	WEIR_TYPE_PARAMETERS = 5,
	WEIR_TYPE_GENERAL = 6,
	WEIR_TYPES = 7,
};

/**
 * struct weir_types_opts - The limits. Zero means the default.
 * @size:        sizeof(struct weir_types_opts).
 * @limit_bytes: By enum weir_type. Defaults: 512, 256, 128, 512, 256, 1024 MiB, and for
 *               WEIR_TYPE_GENERAL the pool's capacity.
 */
struct weir_types_opts {
	size_t size;
	uint64_t limit_bytes[WEIR_TYPES];
};

/**
 * struct weir_type_stats - One kind at one instant.
 * @limit_bytes: The limit.
 * @used_bytes:  In spans, rounding to the smallest block included; above the limit only
 *               after the limit was lowered.
 * @peak_bytes:  Largest @used_bytes so far.
 * @nr_live:     Live spans.
 * @nr_allocs:   Spans given so far.
 * @nr_refused:  Allocations that the limit, or the pool, did not allow, at once or in time.
 * @nr_waiting:  Calls waiting for the limit now.
 */
struct weir_type_stats {
	uint64_t limit_bytes;
	uint64_t used_bytes;
	uint64_t peak_bytes;
	uint64_t nr_live;
	uint64_t nr_allocs;
	uint64_t nr_refused;
	uint64_t nr_waiting;
};

/**
 * weir_types_open() - Share a pool out.
 * @pool: The pool; it must outlive the result.
 * @opts: Limits, or NULL for the defaults.
 * @ret:  Untouched on failure.
 * @err:  On failure: what failed. May be NULL.
 *
 * Costs 1 byte for each smallest block of the pool.
 *
 * Context: Any thread. Takes memory.
 * Owner:   The caller, until weir_types_close().
 * Return:  0, -EINVAL (no pool, or one from before a fork), -E2BIG (newer options than
 *          this library knows), -ENOMEM.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_types_open(struct weir_pool *pool,
					     const struct weir_types_opts *opts,
					     struct weir_types **ret, struct weir_error *err);

/**
 * weir_types_close() - Forget the limits.
 * @types: As opened, or NULL. Spans still live stay the pool's and are given back with
 *         weir_pool_free(); how many is reported through the log.
 *
 * Context: Any thread, once, when no other thread uses it.
 * Since:   0.1
 */
WEIR_API void weir_types_close(struct weir_types *types);

/**
 * weir_types_alloc() - Take a span for a purpose.
 * @types:      As opened.
 * @type:       enum weir_type.
 * @bytes:      As for weir_pool_alloc().
 * @node:       As for weir_pool_alloc().
 * @timeout_ns: How long to wait for the limit and for room; 0 does not wait,
 *              WEIR_POOL_FOREVER has no end.
 * @ret:        The span; untouched on failure.
 *
 * Within a kind, calls are served in the order of coming while any waits: one that does
 * not wait is then refused, even if there is room.
 *
 * Context: Any thread; with a timeout, one that holds no lock of weir, and may block.
 *          Takes POOL_TYPE, and what weir_pool_alloc() takes.
 * Owner:   The caller, until weir_types_free().
 * Return:  0, -EINVAL (no such type; bytes is 0, or above the limit or what an arena can
 *          ever hold; a fork child), -ENOSPC (not now, and @timeout_ns is 0), -ETIMEDOUT, -ENODEV (no
 *          such node).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_types_alloc(struct weir_types *types, int type, size_t bytes,
					      int node, uint64_t timeout_ns, struct weir_span *ret);

/**
 * weir_types_free() - Give a span back.
 * @types: As opened.
 * @span:  The span, by value; a zero span is ignored. Which kind it is of is known.
 *
 * Context: As weir_pool_free(). Takes POOL_TYPE. May call a watcher.
 * Return:  0, -EINVAL (not a live span that weir_types_alloc() gave, or a fork child),
 *          -ESTALE (was freed before).
 * Since:   0.1
 */
WEIR_API int weir_types_free(struct weir_types *types, struct weir_span span);

/**
 * weir_types_resize() - Change a limit.
 * @types:       As opened.
 * @type:        enum weir_type.
 * @limit_bytes: The new limit; below what is used, nothing is taken away, and nothing
 *               given until enough was freed.
 *
 * Context: Any thread. Takes POOL_TYPE.
 * Return:  0, -EINVAL (no such type, a limit of 0, or a fork child).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_types_resize(struct weir_types *types, int type,
					       uint64_t limit_bytes);

/**
 * weir_types_watch() - Be told when a kind fills up and when it is relieved.
 * @types:      As opened.
 * @type:       enum weir_type.
 * @high_bytes: Tell when the use rises to this or above.
 * @low_bytes:  Then tell when it falls to this or below; at most @high_bytes.
 * @call:       Called on the thread that crossed the mark, with no lock held; @is_high
 *              says which mark, @used_bytes is a recent value. Between the two calls of a
 *              pair there is one each way, but two threads may be in it at once. NULL: no
 *              longer; a call that has begun may still be running.
 * @arg:        Handed to @call.
 *
 * Context: Any thread. Takes POOL_TYPE.
 * Return:  0, -EINVAL (no such type, @low_bytes above @high_bytes, or a fork child).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_types_watch(
	struct weir_types *types, int type, uint64_t high_bytes, uint64_t low_bytes,
	void (*call)(void *arg, int type, bool is_high, uint64_t used_bytes), void *arg);

/**
 * weir_types_stats() - Read one kind's numbers.
 * @types: As opened.
 * @type:  enum weir_type.
 * @ret:   Filled, all of one instant; untouched on failure.
 *
 * Context: Any thread. Takes POOL_TYPE.
 * Return:  0, -EINVAL (no such type, or a fork child).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_types_stats(struct weir_types *types, int type,
					      struct weir_type_stats *ret);

/**
 * weir_types_name() - A kind as text.
 * @type: enum weir_type.
 *
 * Context: Any thread. Takes no lock.
 * Return:  "kv-cache", "image-features" and so on, or "unknown"; static storage.
 * Since:   0.1
 */
WEIR_API const char *weir_types_name(int type);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_POOL_TYPE_H */
