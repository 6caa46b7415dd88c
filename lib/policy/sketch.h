/* SPDX-License-Identifier: MIT */
/*
 * How often keys were asked for lately, resident or not, in a few bytes per key that fits: a
 * count-min sketch whose four counters of a key lie in one cache line, and which is halved now
 * and then. An estimate is never below the true count since the last halving, up to the limit.
 */
#ifndef WR_POLICY_SKETCH_H
#define WR_POLICY_SKETCH_H

#include <stdint.h>

struct wr_sketch {
	uint8_t *lines; /* of 64 counters each */
	uint64_t mask;
	uint8_t limit;
};

/* 0, -ENOMEM. For about @nr keys at a time, counts up to @limit. */
int wr_sketch_init(struct wr_sketch *s, uint64_t nr, uint8_t limit);
void wr_sketch_fini(struct wr_sketch *s);

/* Count one use; the new estimate. */
unsigned wr_sketch_add(struct wr_sketch *s, uint64_t hash);
unsigned wr_sketch_count(const struct wr_sketch *s, uint64_t hash);
void wr_sketch_halve(struct wr_sketch *s);

/* So many times the counts of another sketch for as many keys, up to the own limit. */
void wr_sketch_copy(struct wr_sketch *s, const struct wr_sketch *from, unsigned times);

#endif /* WR_POLICY_SKETCH_H */
