/* SPDX-License-Identifier: MIT */
/*
 * What is remembered of things that left a cache: two lists of 64-bit hashes with their sizes,
 * latest first, in one table whose size is fixed when it is opened. Two keys with one hash are
 * taken for one: a policy that errs once in 2^64 stays a policy.
 */
#ifndef WR_POLICY_GHOST_H
#define WR_POLICY_GHOST_H

#include <stdbool.h>
#include <stdint.h>

#define WR_GHOST_LISTS 2

struct wr_ghost {
	uint64_t hash;
	uint64_t bytes;
	uint32_t chain; /* next of the same bucket, or of the free ones */
	uint32_t prev;
	uint32_t next;
	uint32_t list;
};

struct wr_ghosts {
	struct wr_ghost *slots; /* the first WR_GHOST_LISTS are the heads of the lists */
	uint32_t *buckets;
	uint32_t nr_slots;
	uint32_t mask;
	uint32_t free;
	uint64_t bytes[WR_GHOST_LISTS];
	uint64_t nr[WR_GHOST_LISTS];
};

/* 0, -ENOMEM. Room for @nr ghosts, at most 2^28. */
int wr_ghosts_init(struct wr_ghosts *g, uint64_t nr);
void wr_ghosts_fini(struct wr_ghosts *g);

/* NULL when it is not remembered. */
const struct wr_ghost *wr_ghosts_find(const struct wr_ghosts *g, uint64_t hash);

/* As the latest of @list. When the table is full the oldest of the longer list makes room. */
void wr_ghosts_add(struct wr_ghosts *g, uint32_t list, uint64_t hash, uint64_t bytes);

/* Whether it was there. */
bool wr_ghosts_drop(struct wr_ghosts *g, uint64_t hash);

/* The oldest of @list; false when there is none. */
bool wr_ghosts_drop_oldest(struct wr_ghosts *g, uint32_t list);

#endif /* WR_POLICY_GHOST_H */
