/* SPDX-License-Identifier: MIT */
/* Passes over a model while they are watched, against passes that are not; for bench_trace.c. */
#ifndef WR_TOOLS_BENCH_TRACE_H
#define WR_TOOLS_BENCH_TRACE_H

#include "bench.h"

/* Ratios of a watched run to one that is not, and of two that are not. */
struct wr_trace_pairs {
	struct wr_bench_series seconds, cpu; /* watched: T0 and T1 */
	struct wr_bench_series null_seconds, null_cpu;
	struct wr_bench_series alone_s; /* a pass */
};

/* At least ten pairs, more when more rounds are asked for. 0 or -errno with *err. */
int wr_trace_pairs_run(const struct wr_bench_args *args, struct wr_trace_pairs *ret,
		       struct weir_error *err);
/* Nothing when it did not run. */
void wr_trace_pairs_print(const struct wr_trace_pairs *pairs);
json_t *wr_trace_pairs_json(const struct wr_trace_pairs *pairs);

#endif /* WR_TOOLS_BENCH_TRACE_H */
