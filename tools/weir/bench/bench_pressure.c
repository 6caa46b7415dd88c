/* SPDX-License-Identifier: MIT */
/*
 * For weir bench cache: how long a cache full of small entries takes to give half of its memory
 * back when memory is short, while a thread goes on getting. Of the clock and of the processor, as
 * the former also counts who else runs on the machine.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <weir/cache.h>
#include <weir/pool.h>

#include "base/random.h"
#include "base/util.h"
#include "bench.h"
#include "bench_hollow.h"
#include "bench_race.h"

#define NR_ENTRIES  131072u
#define ENTRY_BYTES 4096u
#define L2_BYTES    ((uint64_t)NR_ENTRIES * ENTRY_BYTES)
#define NR_KEYS	    (NR_ENTRIES + NR_ENTRIES / 8)

struct reader {
	struct weir_cache *cache;
	_Atomic bool stop;
	uint64_t nr;
};

static int get(struct weir_cache *cache, uint64_t i, unsigned int flags)
{
	struct weir_cache_item item = {.key = {i * 0x9e3779b97f4a7c15u + 1, i},
				       .bytes = ENTRY_BYTES};
	struct weir_pin pin;
	int rc = weir_cache_get(cache, &item, flags, &pin);

	if (!rc)
		(void)weir_cache_put(cache, &pin);
	return rc;
}

static void *read_on(void *arg)
{
	struct reader *r = arg;
	uint64_t random = 1;

	while (!atomic_load_explicit(&r->stop, memory_order_relaxed)) {
		(void)get(r->cache, (wr_lcg64(&random) >> 33) % NR_KEYS, 0);
		r->nr++;
	}
	return NULL;
}

static int open_both(struct weir_pool **ret_pool, struct weir_cache **ret)
{
	const struct weir_pool_opts pool_opts = {.size = sizeof(pool_opts),
						 .capacity_bytes = L2_BYTES + ((size_t)32 << 20),
						 .flags = WEIR_POOL_MAY_PURGE};
	struct weir_cache_opts opts = {
		.size = sizeof(opts), .l2_budget = L2_BYTES, .nr_entries = NR_ENTRIES};
	struct weir_error err;
	int rc = weir_pool_open(&pool_opts, ret_pool, &err);

	if (rc)
		return rc;
	opts.pool = *ret_pool;
	opts.classes[WEIR_CLASS_WEIGHTS].source.read = wr_bench_hollow_read;
	return weir_cache_open(&opts, ret, &err);
}

static int shrink(struct weir_cache *cache, struct wr_bench_pressure *b)
{
	struct weir_cache_stats stats;
	struct reader reader = {.cache = cache};
	uint64_t begin, cpu;
	pthread_t thread;
	int rc;

	if (pthread_create(&thread, NULL, read_on, &reader))
		return -EAGAIN;
	begin = wr_now_ns();
	cpu = wr_bench_cpu_ns();
	rc = weir_cache_pressure(cache, 500);
	wr_bench_add(&b->ms, (double)(wr_now_ns() - begin) / 1e6);
	wr_bench_add(&b->cpu_ms, (double)(wr_bench_cpu_ns() - cpu) / 1e6);
	atomic_store(&reader.stop, true);
	pthread_join(thread, NULL);
	if (!rc)
		rc = weir_cache_stats(cache, WEIR_TIER_L2, WEIR_NR_CLASSES, &stats);
	if (!rc && stats.used_bytes > L2_BYTES / 2)
		rc = -EBUSY;
	return rc;
}

int wr_bench_pressure_round(struct wr_bench_pressure *b)
{
	struct weir_cache *cache = NULL;
	struct weir_pool *pool = NULL;
	int rc = open_both(&pool, &cache);

	for (uint64_t i = 0; !rc && i < NR_KEYS; i++)
		rc = get(cache, i, 0);
	if (!rc)
		rc = shrink(cache, b);
	weir_cache_close(cache);
	weir_pool_close(pool);
	return rc;
}
