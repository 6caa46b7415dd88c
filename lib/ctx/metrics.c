/* SPDX-License-Identifier: MIT */
/*
 * Engine and pool keep numbers of their own and know no registry; here they get names. They
 * are read when somebody looks, and cost nothing until then.
 */
#include "ctx/context.h"

#include "base/util.h"
#include "metrics/set.h"

/* name, unit, kind, field of the statistics, meaning */
#define IO_METRICS(X)                                                                           \
	X("weir_io_reads", "", COUNTER, nr_reads, "Reads completed")                            \
	X("weir_io_failed", "", COUNTER, nr_failed, "Reads that ended with an error")           \
	X("weir_io_cancelled", "", COUNTER, nr_cancelled, "Reads that were cancelled")          \
	X("weir_io_promoted", "", COUNTER, nr_promoted, "Speculative reads that became demand") \
	X("weir_io_chunks", "", COUNTER, nr_chunks, "Reads given to the kernel")                \
	X("weir_io_fixed_chunks", "", COUNTER, nr_fixed_chunks, "With registered buffers")      \
	X("weir_io_short", "", COUNTER, nr_short, "Short reads that were continued")            \
	X("weir_io_retries", "", COUNTER, nr_retries, "Chunks that were read again")            \
	X("weir_io_demand_wait_ns", "ns", COUNTER, demand_wait_ns, "Time demand reads took")    \
	X("weir_io_max_inflight_bytes", "bytes", GAUGE, max_inflight_bytes, "Most under way")   \
	X("weir_io_wanted_bytes", "bytes", COUNTER, bytes_wanted, "Bytes of completed reads")   \
	X("weir_io_read_bytes", "bytes", COUNTER, bytes_read, "Bytes that came from files")

#define POOL_METRICS(X)                                                                           \
	X("weir_pool_capacity_bytes", "bytes", GAUGE, capacity_bytes, "Bytes managed")            \
	X("weir_pool_used_bytes", "bytes", GAUGE, used_bytes, "Bytes in spans")                   \
	X("weir_pool_free_bytes", "bytes", GAUGE, free_bytes, "Bytes in no span")                 \
	X("weir_pool_largest_free_bytes", "bytes", GAUGE, largest_free_bytes, "Largest run free") \
	X("weir_pool_peak_used_bytes", "bytes", GAUGE, peak_used_bytes, "Most bytes in spans")    \
	X("weir_pool_failed", "", COUNTER, nr_failed, "Allocations refused for want of room")

#define X(name, unit, kind, field, help)          \
	static int64_t read_io_##field(void *arg) \
	{                                         \
		struct weir *weir = arg;          \
		struct weir_io_stats stats;       \
                                                  \
		weir_io_stats(weir->io, &stats);  \
		return (int64_t)stats.field;      \
	}
IO_METRICS(X)
#undef X

#define X(name, unit, kind, field, help)             \
	static int64_t read_pool_##field(void *arg)  \
	{                                            \
		struct weir *weir = arg;             \
		struct weir_pool_stats stats;        \
                                                     \
		weir_pool_stats(weir->pool, &stats); \
		return (int64_t)stats.field;         \
	}
POOL_METRICS(X)
#undef X

int wr_ctx_register_metrics(struct weir *weir)
{
	static const struct {
		struct weir_metric_desc desc;
		int64_t (*read)(void *arg);
	} all[] = {
#define X(name, unit, kind, field, help) {{WEIR_METRIC_##kind, name, unit, help}, read_io_##field},
		IO_METRICS(X)
#undef X
#define X(name, unit, kind, field, help) \
	{{WEIR_METRIC_##kind, name, unit, help}, read_pool_##field},
			POOL_METRICS(X)
#undef X
	};
	uint32_t id;
	int rc = wr_metrics_watch_locks(weir->metrics);

	for (size_t i = 0; !rc && i < wr_array_size(all); i++)
		rc = weir_metrics_register_read(weir->metrics, &all[i].desc, all[i].read, weir,
						&id);
	return rc;
}
