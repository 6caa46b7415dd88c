/* SPDX-License-Identifier: MIT */
/* Opening a stream on the parts of a context; ctx wires them to struct weir. */
#ifndef WR_STREAM_STREAMING_H
#define WR_STREAM_STREAMING_H

#include <weir/io.h>
#include <weir/pool.h>
#include <weir/stream.h>

/* As weir_stream_open(). */
int wr_stream_open(struct weir_io *io, struct weir_pool *pool, const struct weir_model *model,
		   const struct weir_plan *plan, struct weir_stream **ret, struct weir_error *err);

#endif /* WR_STREAM_STREAMING_H */
