/* SPDX-License-Identifier: MIT */
/*
 * Policies once more, as their papers tell them, on arrays and without a thought for time: what
 * lib/policy must agree with, hit for hit. And a loop that drives lib/policy over references.
 */
#ifndef WR_SELFTESTS_NAIVE_H
#define WR_SELFTESTS_NAIVE_H

#include <stddef.h>
#include <stdint.h>

#include "policy/policy.h"

/* References are small numbers, below NAIVE_KEYS. */
#define NAIVE_KEYS 4096

/* Each: how many of @nr references hit in a cache of @room things. */
size_t naive_lru(const uint32_t *refs, size_t nr, size_t room);
size_t naive_fifo(const uint32_t *refs, size_t nr, size_t room);
size_t naive_sieve(const uint32_t *refs, size_t nr, size_t room);
size_t naive_arc(const uint32_t *refs, size_t nr, size_t room);
size_t naive_s3_fifo(const uint32_t *refs, size_t nr, size_t room);
/* Belady's order, which may let things pass through. */
size_t naive_opt(const uint32_t *refs, size_t nr, size_t room);

/* The same of a policy of the library; things of one size. SIZE_MAX when it cannot be opened. */
size_t drive(const char *policy, const uint32_t *refs, size_t nr, size_t room,
	     struct wr_policy_info *info);

/* References of several shapes. */
enum shape { SHAPE_EVEN, SHAPE_SKEWED, SHAPE_LOOP, SHAPE_SCANS, SHAPE_DRIFT, NR_SHAPES };
void make_refs(uint32_t *refs, size_t nr, enum shape shape, uint32_t keys, uint64_t seed);

#endif /* WR_SELFTESTS_NAIVE_H */
