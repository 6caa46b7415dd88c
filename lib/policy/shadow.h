/* SPDX-License-Identifier: MIT */
/*
 * Caches without bytes, one per candidate, over one index of the sampled keys. The memory is
 * fixed at open; when a shadow has more and smaller nodes than expected it evicts earlier.
 */
#ifndef WR_POLICY_SHADOW_H
#define WR_POLICY_SHADOW_H

#include "policy/policy.h"
#include "policy/selector.h"

struct wr_shadow_entry;
struct wr_shadow_node;

struct wr_shadows {
	size_t nr;
	struct wr_policy *policies[WR_SELECTOR_MAX];
	struct wr_shadow_node *free[WR_SELECTOR_MAX];
	struct wr_shadow_node *nodes; /* of all, as many for each */
	struct wr_shadow_entry *entries;
	struct wr_shadow_entry *free_entries;
	struct wr_shadow_entry **buckets;
	uint64_t mask;
	uint64_t capacity;
};

/* 0, -ENOENT, -ENOMEM. @capacity_bytes and @nr_entries are those of a shadow. */
int wr_shadows_init(struct wr_shadows *s, const struct wr_selector_opts *opts,
		    uint64_t capacity_bytes, uint64_t nr_entries);
void wr_shadows_fini(struct wr_shadows *s);

/* A reference, in all of them: a bit for each that had it. */
uint32_t wr_shadows_access(struct wr_shadows *s, struct weir_key key, uint64_t hash,
			   uint64_t bytes);
/* References of the shadows until its next use, or UNKNOWN, or NEVER; @prob: 0, or its doubt. */
void wr_shadows_forecast(struct wr_shadows *s, struct weir_key key, uint64_t hash,
			 uint64_t distance, uint32_t prob);
void wr_shadows_resize(struct wr_shadows *s, uint64_t capacity_bytes);

#endif /* WR_POLICY_SHADOW_H */
