/* SPDX-License-Identifier: MIT */
/* The context: opens the parts, hands them to each other, and knows nothing else. */
#include <weir/weir.h>

#include <errno.h>

#include "base/alloc.h"
#include "base/util.h"
#include "ctx/context.h"
#include "load/loading.h"
#include "stream/streaming.h"
#include "stream/units.h"

static int open_topo(struct weir *weir, const struct weir_opts *opts, struct weir_error *err)
{
	struct weir_topo_opts topo_opts = {.size = sizeof(topo_opts),
					   .synthetic = opts->topo_synthetic};

	return weir_topo_open(&topo_opts, &weir->topo, err);
}

static int open_io(struct weir *weir, const struct weir_opts *opts, struct weir_error *err)
{
	struct weir_io_opts io_opts = {.size = sizeof(io_opts),
				       .backend = opts->io_backend,
				       .threads = opts->io_threads,
				       .page_cache = opts->io_page_cache,
				       .knobs = weir->knobs};

	/* A described machine's CPUs are not this one's. */
	if (!(opts->flags & WEIR_OPEN_NO_PIN) && !opts->topo_synthetic)
		io_opts.cpu = 1 + weir_topo_io_cpu(weir->topo);
	return weir_io_open(&io_opts, &weir->io, err);
}

static int open_pool(struct weir *weir, const struct weir_opts *opts, struct weir_error *err)
{
	struct weir_pool_opts pool_opts = {.size = sizeof(pool_opts),
					   .capacity_bytes = opts->budget_bytes,
					   .node_mask = opts->node_mask,
					   .page_kinds = opts->page_kinds,
					   .progress = opts->progress,
					   .progress_arg = opts->progress_arg};

	return weir_pool_open(&pool_opts, &weir->pool, err);
}

/* Reads then land in memory whose pages are pinned once. */
static int introduce_pool_to_io(struct weir *weir, struct weir_error *err)
{
	for (size_t i = 0; i < weir_pool_nr_regions(weir->pool); i++) {
		struct weir_pool_region region;
		int rc = weir_pool_region(weir->pool, i, &region);

		if (!rc)
			rc = weir_io_register(weir->io, region.base, region.bytes);
		if (rc)
			return wr_error_set(
				err, rc, NULL, WEIR_OFFSET_NONE,
				"%zu KiB of memory cannot be registered for reading: %s%s",
				region.bytes >> 10, weir_strerror(rc),
				rc == -ENOMEM ? "; raise the memlock limit (ulimit -l) "
						"or leave the choice of the rung open"
					      : "");
	}
	return 0;
}

static int open_cache(struct weir *weir, const struct weir_opts *opts, struct weir_error *err)
{
	struct weir_cache_opts cache_opts;
	int rc;

	if (!opts->cache)
		return 0;
	rc = wr_opts_copy(&cache_opts, sizeof(cache_opts), opts->cache);
	if (rc)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "options of the cache: %s",
				    weir_strerror(rc));
	if (!cache_opts.l2)
		cache_opts.pool = weir->pool;
	if (cache_opts.l3_dir && !cache_opts.l3_io)
		cache_opts.l3_io = weir->io;
	if (!cache_opts.knobs)
		cache_opts.knobs = weir->knobs;
	return weir_cache_open(&cache_opts, &weir->cache, err);
}

/* A host that cannot be watched from outside runs all the same. */
static int open_metrics(struct weir *weir, const struct weir_opts *opts)
{
	struct weir_metrics_opts metrics_opts = {.size = sizeof(metrics_opts),
						 .flags = WEIR_METRICS_SHARED};
	struct weir_error err;

	if (opts->flags & WEIR_OPEN_PRIVATE)
		return weir_metrics_open(&weir->metrics);
	if (!weir_metrics_open_opts(&metrics_opts, &weir->metrics, &err))
		return 0;
	wr_log(WEIR_LOG_WARN, "ctx", "%s: %s", err.file, err.message);
	return weir_metrics_open(&weir->metrics);
}

static void start_collector(struct weir *weir, const struct weir_opts *opts)
{
	struct weir_error err;

	if (!(opts->flags & WEIR_OPEN_PRIVATE) && weir_collector_start(weir->metrics, NULL, &err))
		wr_log(WEIR_LOG_WARN, "ctx", "%s", err.message);
}

static int open_numbers(struct weir *weir, const struct weir_opts *opts, struct weir_error *err)
{
	int rc = open_metrics(weir, opts);

	if (!rc)
		rc = wr_ctx_register_metrics(weir);
	return rc ? wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "metrics: %s", weir_strerror(rc))
		  : 0;
}

int weir_open(const struct weir_opts *opts_arg, struct weir **ret, struct weir_error *err)
{
	struct weir_opts opts;
	struct weir *weir;
	int rc;

	rc = wr_opts_copy(&opts, sizeof(opts), opts_arg);
	if (!rc && (!opts.budget_bytes || (opts.flags & ~(WEIR_OPEN_NO_PIN | WEIR_OPEN_PRIVATE))))
		rc = -EINVAL;
	if (rc)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
				    "a context needs budget_bytes, and flags this library knows");
	weir = wr_calloc(1, sizeof(*weir));
	if (!weir)
		return wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE,
				    "no memory for a context");
	weir->budget_bytes = opts.budget_bytes;
	rc = weir_knobs_open(&weir->knobs);
	if (rc)
		wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "no memory for a table of knobs");
	if (!rc)
		rc = open_topo(weir, &opts, err);
	if (!rc)
		rc = open_io(weir, &opts, err);
	if (!rc)
		rc = open_pool(weir, &opts, err);
	if (!rc)
		rc = introduce_pool_to_io(weir, err);
	if (!rc)
		rc = open_cache(weir, &opts, err);
	if (!rc)
		rc = open_numbers(weir, &opts, err);
	if (rc) {
		weir_close(weir);
		return rc;
	}
	start_collector(weir, &opts);
	*ret = weir;
	return 0;
}

void weir_close(struct weir *weir)
{
	if (!weir)
		return;
	weir_metrics_close(weir->metrics);
	weir_cache_close(weir->cache);
	wr_free(weir->series);
	weir_io_close(weir->io);
	weir_knobs_close(weir->knobs); /* which both heed while they are open */
	weir_pool_close(weir->pool);
	weir_topo_close(weir->topo);
	wr_free(weir);
}

struct weir_pool *weir_get_pool(const struct weir *weir)
{
	return weir->pool;
}

struct weir_cache *weir_get_cache(const struct weir *weir)
{
	return weir->cache;
}

struct weir_io *weir_get_io(const struct weir *weir)
{
	return weir->io;
}

struct weir_topo *weir_get_topo(const struct weir *weir)
{
	return weir->topo;
}

struct weir_metrics *weir_get_metrics(const struct weir *weir)
{
	return weir->metrics;
}

struct weir_knobs *weir_get_knobs(const struct weir *weir)
{
	return weir->knobs;
}

/*
 * The pool's capacity is the context's budget rounded down to whole pages: a plan that asks for
 * all of that budget asks for the capacity.
 */
static int copy_plan(const struct weir *weir, struct weir_plan *dst, const struct weir_plan *src,
		     struct weir_error *err)
{
	int rc = wr_plan_copy(dst, src, err);

	if (!rc && dst->budget_bytes == weir->budget_bytes)
		dst->budget_bytes = 0;
	return rc;
}

int weir_stream_open(struct weir *weir, const struct weir_model *model,
		     const struct weir_plan *plan, struct weir_stream **ret, struct weir_error *err)
{
	struct wr_stream_parts parts = {
		.io = weir->io, .pool = weir->pool, .metrics = weir->metrics, .knobs = weir->knobs};
	struct weir_plan copy;
	int rc = copy_plan(weir, &copy, plan, err);

	return rc ? rc : wr_stream_open(&parts, model, &copy, ret, err);
}

int weir_experts_open(struct weir *weir, const struct weir_model *model, struct weir_experts **ret,
		      struct weir_error *err)
{
	return wr_stream_experts_open(weir->io, weir->cache, model, ret, err);
}

int weir_rows_open(struct weir *weir, const struct weir_model *model,
		   const struct weir_tensor *tensor, struct weir_rows **ret, struct weir_error *err)
{
	return wr_stream_rows_open(weir->io, weir->cache, model, tensor, ret, err);
}

int weir_load(struct weir *weir, const struct weir_model *model, const struct weir_plan *plan_arg,
	      struct weir_loaded **ret, struct weir_error *err)
{
	struct weir_plan plan;
	struct weir_units *units;
	int rc;

	rc = copy_plan(weir, &plan, plan_arg, err);
	if (rc)
		return rc;
	if (!plan_arg)
		plan.flags = WEIR_PLAN_VISION;
	plan.unit = WEIR_UNIT_TENSOR;
	rc = weir_units_open(model, &plan, &units, err);
	if (rc)
		return rc;
	rc = wr_load_open(weir->io, weir->pool, plan.budget_bytes, model, units->parts,
			  units->nr_parts, ret, err);
	weir_units_close(units);
	return rc;
}
