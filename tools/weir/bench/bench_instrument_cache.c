/* SPDX-License-Identifier: MIT */
/*
 * See bench_instrument.h. Few enough keys that all arms' indexes lie in the processor's caches: what
 * is compared costs least there, so what is added to it weighs most.
 */
#include "bench_instrument.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/random.h"
#include "base/util.h"
#include "bench.h"
#include "bench_hollow.h"
#include "bench_race.h"

#define NR_KEYS	     1024u
#define ENTRY_BYTES  4096u
#define BATCH	     512u
#define NR_BATCHES   400u
#define THREAD_STEPS 400000u

void wr_bi_cache_opts(struct weir_cache_opts *ret)
{
	wr_bench_hollow_opts((uint64_t)2 * NR_KEYS * ENTRY_BYTES, 4 * NR_KEYS, ret);
}

static struct weir_cache_item item_of(uint32_t key)
{
	return (struct weir_cache_item){.key = {key * 0x9e3779b97f4a7c15u, key},
					.bytes = ENTRY_BYTES};
}

int wr_bi_cache_fill(const struct wr_bi_cache *cache)
{
	int rc = 0;

	for (uint32_t i = 0; !rc && i < NR_KEYS; i++) {
		struct weir_cache_item item = item_of(i);
		struct weir_pin pin;

		rc = cache->get(cache->cache, &item, 0, &pin);
		if (!rc)
			(void)cache->put(cache->cache, &pin);
	}
	return rc;
}

/* How many of @nr gets missed. */
static uint32_t steps(const struct wr_bi_cache *arm, uint64_t *random, uint32_t nr)
{
	uint32_t nr_missed = 0;

	for (uint32_t i = 0; i < nr; i++) {
		struct weir_cache_item item = item_of(wr_xorshift64(random) >> 32 & (NR_KEYS - 1));
		struct weir_pin pin;

		if (arm->get(arm->cache, &item, WEIR_CACHE_NO_FILL, &pin))
			nr_missed++;
		else
			(void)arm->put(arm->cache, &pin);
	}
	return nr_missed;
}

/* A few steps before warm what other arms displaced. */
static double time_batch(const struct wr_bi_cache *arm, uint64_t *random, uint32_t *nr_missed)
{
	uint64_t begin;

	*nr_missed += steps(arm, random, BATCH / 8);
	begin = wr_now_ns();
	*nr_missed += steps(arm, random, BATCH);
	return (double)(wr_now_ns() - begin) / BATCH;
}

int wr_bi_cache_pairs(const struct wr_bi_cache arms[WR_BI_ARMS], double ret[WR_BI_ARMS])
{
	double(*ns)[NR_BATCHES] = calloc(WR_BI_ARMS, sizeof(*ns));
	uint64_t order = 88172645463325252u, random[WR_BI_ARMS];
	uint32_t nr_missed = 0;

	if (!ns)
		return -ENOMEM;
	for (unsigned i = 0; i < WR_BI_ARMS; i++)
		random[i] = 88172645463325252u;
	for (uint32_t b = 0; b < NR_BATCHES; b++) {
		/* One of the orders in which each follows each as often. */
		uint64_t x = wr_xorshift64(&order) >> 32;
		unsigned first = x % WR_BI_ARMS, step = x & 16 ? 1 : 3;

		for (unsigned k = 0; k < WR_BI_ARMS; k++) {
			unsigned i = (first + k * step) % WR_BI_ARMS;

			ns[i][b] = time_batch(&arms[i], &random[i], &nr_missed);
		}
	}
	for (unsigned i = 0; i < WR_BI_ARMS; i++) {
		wr_bench_sort(ns[i], NR_BATCHES);
		ret[i] = ns[i][NR_BATCHES / 4];
	}
	free(ns);
	return nr_missed ? -EIO : 0;
}

struct turn {
	const struct wr_bi_cache *arm;
	_Atomic uint32_t nr_missed;
};

static void take_turn(void *arg, unsigned number)
{
	struct turn *t = arg;
	uint64_t random = 88172645463325252u + number;

	atomic_fetch_add(&t->nr_missed, steps(t->arm, &random, THREAD_STEPS));
}

int wr_bi_cache_threads(const struct wr_bi_cache *arm, double *ret)
{
	struct turn turn = {.arm = arm};
	const struct wr_bench_race race = {.work = take_turn, .arg = &turn};
	double ns = wr_bench_run_race(&race, 2);

	*ret = ns / THREAD_STEPS;
	return turn.nr_missed ? -EIO : 0;
}
