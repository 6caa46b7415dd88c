/* SPDX-License-Identifier: MIT */
/*
 * bench_hollow.h - A cache whose entries have addresses and no bytes: what its own work costs is
 * measured without any memory of what is in it.
 */
#ifndef WR_TOOLS_BENCH_HOLLOW_H
#define WR_TOOLS_BENCH_HOLLOW_H

#include <stddef.h>
#include <stdint.h>

#include <weir/cache.h>

/* A source that reads nothing, and says it did. */
int wr_bench_hollow_read(void *arg, const struct weir_cache_fill *fill, size_t *ret_offset);

/* All for weights by least recent use; entries that nobody may look into. */
void wr_bench_hollow_opts(uint64_t budget_bytes, uint64_t nr_entries, struct weir_cache_opts *ret);

#endif /* WR_TOOLS_BENCH_HOLLOW_H */
