/* SPDX-License-Identifier: MIT */
/* Opening a stream on the parts of a context; ctx wires them to struct weir. */
#ifndef WR_STREAM_STREAMING_H
#define WR_STREAM_STREAMING_H

#include <weir/cache.h>
#include <weir/experts.h>
#include <weir/io.h>
#include <weir/knob.h>
#include <weir/metrics.h>
#include <weir/pool.h>
#include <weir/rows.h>
#include <weir/stream.h>

/* What a stream works with; outlives it. */
struct wr_stream_parts {
	struct weir_io *io;
	struct weir_pool *pool;
	struct weir_metrics *metrics; /* NULL: nothing is counted */
	struct weir_knobs *knobs;     /* NULL: defaults */
};

/* As weir_stream_open(); @parts is copied. */
int wr_stream_open(const struct wr_stream_parts *parts, const struct weir_model *model,
		   const struct weir_plan *plan, struct weir_stream **ret, struct weir_error *err);

/* As weir_experts_open(). @cache may be NULL: -EINVAL. */
int wr_stream_experts_open(struct weir_io *io, struct weir_cache *cache,
			   const struct weir_model *model, struct weir_experts **ret,
			   struct weir_error *err);

/* As weir_rows_open(). @cache may be NULL: -EINVAL. */
int wr_stream_rows_open(struct weir_io *io, struct weir_cache *cache,
			const struct weir_model *model, const struct weir_tensor *tensor,
			struct weir_rows **ret, struct weir_error *err);

#endif /* WR_STREAM_STREAMING_H */
