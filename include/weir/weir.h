/* SPDX-License-Identifier: MIT */
/**
 * weir/weir.h - The context, and all other headers.
 *
 * A context is the machine as a host wants to use it: a topology, a pool of huge-page
 * memory of a fixed size, and a read engine that knows the pool's regions. Streams and
 * loads are opened on it. There is no global state: contexts do not know of each other.
 *
 * What a process with a context uses beside the budget is stated in docs/tuning.md
 * ("What the budget does not cover") and checked by the tests.
 */
#ifndef WEIR_WEIR_H
#define WEIR_WEIR_H

#include <weir/base.h>
#include <weir/cache.h>
#include <weir/cache_ahead.h>
#include <weir/cache_rows.h>
#include <weir/experts.h>
#include <weir/io.h>
#include <weir/key.h>
#include <weir/knob.h>
#include <weir/load.h>
#include <weir/log.h>
#include <weir/metrics.h>
#include <weir/metrics_sample.h>
#include <weir/metrics_segment.h>
#include <weir/metrics_system.h>
#include <weir/pool.h>
#include <weir/rows.h>
#include <weir/stream.h>
#include <weir/topo.h>
#include <weir/weights.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir;

/* Leave the engine's thread on any CPU instead of pinning it by the topology's plan. */
#define WEIR_OPEN_NO_PIN (1u << 0)

/*
 * Keep the metrics to this process: no segment for `weir top` and `weir exporter` to read, and
 * no collector. Without this flag they are there where the system allows it.
 */
#define WEIR_OPEN_PRIVATE (1u << 1)

/**
 * struct weir_opts - How to open a context. Zero means the default.
 * @size:           sizeof(struct weir_opts).
 * @budget_bytes:   Memory for weights: the capacity of the pool. No default.
 * @io_backend:     enum weir_io_backend.
 * @page_kinds:     As in struct weir_pool_opts.
 * @flags:          WEIR_OPEN_*.
 * @io_threads:     As in struct weir_io_opts.
 * @node_mask:      As in struct weir_pool_opts.
 * @topo_synthetic: hwloc synthetic description to use instead of this machine, for
 *                  tests; NULL for the machine.
 * @progress:       As in struct weir_pool_opts: while the memory is touched.
 * @progress_arg:   Handed to @progress.
 * @cache:          Open a cache with these options; where they name no L2, it is the context's
 *                  pool, where they name a folder for L3 and no engine, the context's, and where
 *                  they name no table of knobs, the context's. Only during the call. NULL: no cache.
 * @io_page_cache:  enum weir_io_page_cache: what the files of streams, loads and experts are read
 *                  through. The knob "io.page_cache" changes it.
 */
struct weir_opts {
	size_t size;
	size_t budget_bytes;
	uint32_t io_backend;
	uint32_t page_kinds;
	uint32_t flags;
	uint32_t io_threads;
	uint64_t node_mask;
	const char *topo_synthetic;
	void (*progress)(void *arg, size_t done_bytes, size_t total_bytes);
	void *progress_arg;
	const struct weir_cache_opts *cache;
	uint64_t io_page_cache;
};

/**
 * weir_open() - Take the memory and start the engine.
 * @opts: Options; @opts->budget_bytes must be set.
 * @ret:  The context; untouched on failure.
 * @err:  On failure: what failed and what to do. May be NULL.
 *
 * Context: Any thread. May block: touching the memory takes its time, see
 *          weir_pool_open(). Starts the engine's thread(s) and the metrics' collector.
 * Owner:   The caller, until weir_close().
 * Return:  0, and the codes of weir_pool_open(), weir_io_open(), weir_topo_open() and
 *          weir_cache_open().
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_open(const struct weir_opts *opts, struct weir **ret,
				       struct weir_error *err);

/**
 * weir_close() - Stop the engine and give the memory back.
 * @weir: The context, or NULL. Its streams and loads must be closed before.
 *
 * Context: Any thread, once. May block.
 * Since:   0.1
 */
WEIR_API void weir_close(struct weir *weir);

/**
 * weir_get_pool() - The context's pool.
 * @weir: The context.
 *
 * Context: Any thread. Takes no lock.
 * Return:  The pool, owned by the context.
 * Since:   0.1
 */
WEIR_API struct weir_pool *weir_get_pool(const struct weir *weir);

/**
 * weir_get_cache() - The context's cache.
 * @weir: The context.
 *
 * What it counts is in the context's metrics, as weir_cache_l2_hits and so on.
 *
 * Context: Any thread. Takes no lock.
 * Return:  The cache, owned by the context; NULL when it was opened without.
 * Since:   0.1
 */
WEIR_API struct weir_cache *weir_get_cache(const struct weir *weir);

/**
 * weir_get_io() - The context's read engine.
 * @weir: The context.
 *
 * Context: Any thread. Takes no lock.
 * Return:  The engine, owned by the context.
 * Since:   0.1
 */
WEIR_API struct weir_io *weir_get_io(const struct weir *weir);

/**
 * weir_get_topo() - The context's topology.
 * @weir: The context.
 *
 * Context: Any thread. Takes no lock.
 * Return:  The topology, owned by the context.
 * Since:   0.1
 */
WEIR_API struct weir_topo *weir_get_topo(const struct weir *weir);

/**
 * weir_get_metrics() - What the context counts: engine, pool, streams.
 * @weir: The context.
 *
 * A host may register metrics of its own beside them.
 *
 * Context: Any thread. Takes no lock.
 * Return:  The registry, owned by the context.
 * Since:   0.1
 */
WEIR_API struct weir_metrics *weir_get_metrics(const struct weir *weir);

/**
 * weir_get_knobs() - The numbers that steer the context's streams.
 * @weir: The context.
 *
 * Knobs appear when the first stream that reads them is opened; docs/tuning.md says
 * when to move which.
 *
 * Context: Any thread. Takes no lock.
 * Return:  The table, owned by the context.
 * Since:   0.1
 */
WEIR_API struct weir_knobs *weir_get_knobs(const struct weir *weir);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_WEIR_H */
