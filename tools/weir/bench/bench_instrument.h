/* SPDX-License-Identifier: MIT */
/* bench_instrument.h - The cache's side of weir bench instrument. */
#ifndef WR_TOOLS_BENCH_INSTRUMENT_H
#define WR_TOOLS_BENCH_INSTRUMENT_H

#include <weir/cache.h>

#define WR_BI_ARMS 4

/* One library's cache, reached through its own functions. */
struct wr_bi_cache {
	struct weir_cache *cache;
	__typeof__(weir_cache_get) *get;
	__typeof__(weir_cache_put) *put;
};

/* For weir_opts.cache: no memory behind it, a source that is always ready. */
void wr_bi_cache_opts(struct weir_cache_opts *ret);

/* Fetch all keys once: 0 or why one cannot be. */
int wr_bi_cache_fill(const struct wr_bi_cache *cache);

/*
 * Nanoseconds of a get and a put that find their bytes, all arms in turns of microseconds, in
 * another order each time: of each the batch that a quarter were faster than. -EIO: a get missed.
 */
int wr_bi_cache_pairs(const struct wr_bi_cache arms[WR_BI_ARMS], double ret[WR_BI_ARMS]);

/* The same by two threads at once, for one arm: processor time of the slower one. */
int wr_bi_cache_threads(const struct wr_bi_cache *arm, double *ret);

#endif /* WR_TOOLS_BENCH_INSTRUMENT_H */
