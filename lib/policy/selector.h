/* SPDX-License-Identifier: MIT */
/*
 * Which policy would do best, found out while the cache runs: every candidate keeps a shadow, a
 * cache without bytes, of a sample of the keys and of the same share of the capacity. All shadows
 * see each sampled reference, so they are compared on the same ones.
 *
 * The choice moves when another candidate has gained enough on it lately: more than a change
 * costs (the new policy takes over what the old one kept, and has to replace a part of it), and
 * more than could be luck. Each change makes the next one dearer for a while, so that two
 * policies that are good by turns do not chase each other.
 *
 * It also moves, to lru, when the cache itself has hit much less than lru's shadow lately: what
 * the chosen policy's shadow hits is of no use if the cache does not become like it.
 *
 * Pure, as the policies are; the caller serialises.
 */
#ifndef WR_POLICY_SELECTOR_H
#define WR_POLICY_SELECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/key.h>

#include "base/util.h"

#define WR_SELECTOR_MAX 8

struct wr_policy;
struct wr_selector;

struct wr_selector_opts {
	uint64_t capacity_bytes; /* of the real cache */
	uint64_t nr_entries;	 /* that fit into it, about */
	uint64_t seed;
	bool by_bytes; /* compare bytes that hit, not references */
	const char *const
		*candidates;  /* names of policies, the first is chosen first; NULL: ours */
	size_t nr_candidates; /* at most WR_SELECTOR_MAX */
};

/* 0, -ENOENT (a candidate is no policy), -EINVAL, -ENOMEM. */
int wr_selector_open(const struct wr_selector_opts *opts, struct wr_selector **ret) WEIR_MUST_CHECK;
void wr_selector_close(struct wr_selector *s);

/* Keys whose hash (wr_policy_hash() of any seed) says so are in the sample. */
bool wr_selector_is_sampled(const struct wr_selector *s, uint64_t hash);

/* A reference to a sampled key, and what the cache made of it; true when the choice has changed. */
bool wr_selector_access(struct wr_selector *s, struct weir_key key, uint64_t bytes, bool was_hit);

/*
 * What wr_policy_forecast() said of a sampled key: references from now until its next use, or
 * WR_POLICY_UNKNOWN or WR_POLICY_NEVER; @prob as of wr_policy_expect(), 0 if it is certain. Whether that helps is seen in the shadow that uses it.
 */
void wr_selector_forecast(struct wr_selector *s, struct weir_key key, uint64_t distance,
			  uint32_t prob);

/*
 * How much of what the real cache holds is in the sample: corrects the shadows' size, which by
 * chance is a little too large or too small for the keys that were drawn.
 */
void wr_selector_share(struct wr_selector *s, uint64_t sampled_bytes, uint64_t bytes);

void wr_selector_resize(struct wr_selector *s, uint64_t capacity_bytes);

const char *wr_selector_choice(const struct wr_selector *s);
/* The choice's shadow, for wr_policy_ops.follow(): one key in 2^@ret_shift. */
const struct wr_policy *wr_selector_shadow(const struct wr_selector *s, unsigned *ret_shift);
/* Why, in one sentence; "" while the first choice stands. */
const char *wr_selector_reason(const struct wr_selector *s);
uint64_t wr_selector_changes(const struct wr_selector *s);

/* One key in so many is in the sample. */
uint64_t wr_selector_rate(const struct wr_selector *s);

#endif /* WR_POLICY_SELECTOR_H */
