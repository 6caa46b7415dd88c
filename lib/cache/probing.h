/* SPDX-License-Identifier: MIT */
/*
 * The probes of a cache. Misses and evictions fire each time: beside reading an entry or giving its
 * memory back, a probe that somebody looks at costs nothing. A hit is shorter than a probe, so one
 * in about WR_PROBE_HITS_EVERY of a thread's hits fires and says for how many it stands.
 *
 * weir:cache_hit(tier, bytes, for so many hits)
 * weir:cache_miss(tier, key, bytes): a get that began a fetch ended; bytes are what was asked for,
 *   or what came where the size was not known, 0 where nothing did.
 * weir:cache_evict(tier, key, bytes): a copy left for room.
 *
 * tier is 1 or 2, as in weir/cache.h; key is the lower half of the entry's.
 */
#ifndef WR_CACHE_PROBING_H
#define WR_CACHE_PROBING_H

#include "base/probe.h"
#include "cache/cache_internal.h"

#define WR_PROBE_HITS_EVERY 64u

WR_PROBE_DECLARE(cache_hit);
WR_PROBE_DECLARE(cache_miss);
WR_PROBE_DECLARE(cache_evict);

void wr_cache_probe_hit(struct wr_thread *t, unsigned int tier, uint64_t bytes);

static inline void wr_cache_probe_miss(unsigned int tier, uint64_t key, uint64_t bytes)
{
	if (wr_probe_enabled(cache_miss))
		wr_probe3(cache_miss, tier + 1, key, bytes);
}

static inline void wr_cache_probe_evict(unsigned int tier, uint64_t key, uint64_t bytes)
{
	if (wr_probe_enabled(cache_evict))
		wr_probe3(cache_evict, tier + 1, key, bytes);
}

#endif /* WR_CACHE_PROBING_H */
