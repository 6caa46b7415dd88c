/* SPDX-License-Identifier: MIT */
/* Which hits fire their probe; see cache/probing.h. */
#include "cache/probing.h"

#include "base/random.h"

WR_PROBE_DEFINE(cache_hit);
WR_PROBE_DEFINE(cache_miss);
WR_PROBE_DEFINE(cache_evict);

/*
 * The countdown is random: entries are often got in a fixed order, and a fixed countdown would see
 * the same of them each time.
 */
static uint32_t next_countdown(struct wr_thread *t)
{
	uint32_t seed = t->probe_seed ? t->probe_seed : (uint32_t)((uintptr_t)t >> 6) | 1;

	t->probe_seed = wr_xorshift32(&seed);
	return 1 + (uint32_t)((uint64_t)seed * (2 * WR_PROBE_HITS_EVERY - 1) >> 32);
}

void wr_cache_probe_hit(struct wr_thread *t, unsigned int tier, uint64_t bytes)
{
	if (t->probe_in > 1) {
		t->probe_in--;
		return;
	}
	/* The first hit of all only starts the countdown. */
	if (t->probe_in == 1)
		wr_probe3(cache_hit, tier + 1, bytes, WR_PROBE_HITS_EVERY);
	t->probe_in = next_countdown(t);
}
