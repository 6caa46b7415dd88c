/* SPDX-License-Identifier: MIT */
/*
 * How long it takes until things are used again: a few references are followed until their key
 * comes back, and the distances make a histogram that forgets slowly. In a loop all of them are
 * the length of the loop. Distances are in whatever the caller's clock counts: references, or
 * bytes.
 */
#ifndef WR_POLICY_REUSE_H
#define WR_POLICY_REUSE_H

#include <stdint.h>

#define WR_REUSE_SLOTS 256
/* Eight to an octave. */
#define WR_REUSE_BINS 512

struct wr_reuse {
	struct {
		uint64_t hash;
		uint64_t since; /* clock + 1; 0: free */
	} slots[WR_REUSE_SLOTS];
	uint64_t step;	   /* one is followed every so many */
	uint64_t patience; /* and for so long */
	uint64_t next;	   /* clock at which the next one is taken */
	uint32_t nr_followed;
	uint32_t nr_seen; /* that came back */
	uint64_t nr_ever; /* likewise, never halved */
	uint16_t bins[WR_REUSE_BINS];
};

/* @horizon: distances that matter are below it. */
void wr_reuse_init(struct wr_reuse *r, uint64_t horizon);

/* A reference. A nanosecond or two, more for one in step. */
void wr_reuse_use(struct wr_reuse *r, uint64_t hash, uint64_t clock);

/*
 * For how long to keep things after their use in a cache that holds @room of them at a time:
 * uses gained against time kept is a curve, whose upper hull is climbed until the room is used
 * up. UINT64_MAX while nothing came back. The idea of a protecting distance is that of Duong et
 * al., "Improving Cache Management Policies Using Dynamic Reuse Distances", MICRO 2012.
 */
uint64_t wr_reuse_best(const struct wr_reuse *r, uint64_t room);

/* The distance below which @permille of those seen are, rounded down; 0 while there are none. */
uint64_t wr_reuse_quantile(const struct wr_reuse *r, uint32_t permille);

#endif /* WR_POLICY_REUSE_H */
