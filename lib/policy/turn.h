/* SPDX-License-Identifier: MIT */
/*
 * How long it takes until things are used again: the reuse distance of a few keys, followed
 * from one use to the next. In a loop all of them are the length of the loop.
 */
#ifndef WR_POLICY_TURN_H
#define WR_POLICY_TURN_H

#include <stdint.h>

#define WR_TURN_PROBES 128

struct wr_turn {
	struct {
		uint64_t hash;
		uint64_t since; /* clock + 1 at its last use; 0: no key */
	} probes[WR_TURN_PROBES];
	uint64_t longest;  /* distance of late, 0 when none was seen */
	uint64_t shortest; /* likewise */
	uint64_t nr;	   /* distances seen */
	uint64_t patience; /* at least so long a key is waited for */
};

/*
 * Zeroed is empty. Once per reference; some nanoseconds. @clock counts references, or bytes: what
 * is measured is what it counts.
 */
static inline void wr_turn_use(struct wr_turn *turn, uint64_t hash, uint64_t clock)
{
	uint64_t i = (hash >> 20) % WR_TURN_PROBES;
	uint64_t since = turn->probes[i].since;

	if (turn->probes[i].hash == hash && since) {
		uint64_t seen = clock + 1 - since;

		turn->probes[i].since = clock + 1;
		if (seen > turn->longest)
			turn->longest = seen;
		else
			turn->longest -= (turn->longest - seen) / 16;
		if (seen < turn->shortest || !turn->nr)
			turn->shortest = seen;
		else
			turn->shortest += (seen - turn->shortest) / 64;
		turn->nr++;
		return;
	}
	/* Whoever has not come back for long makes room. */
	if (!since || (clock + 1 - since > 4 * turn->longest && clock + 1 - since > turn->patience)) {
		turn->probes[i].hash = hash;
		turn->probes[i].since = clock + 1;
	}
}

#endif /* WR_POLICY_TURN_H */
