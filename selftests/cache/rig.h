/* SPDX-License-Identifier: MIT */
/*
 * A cache over fake tiers, and a source whose bytes say which key and which fetch they are of. Keys
 * are small numbers; key_of() spreads them.
 */
#ifndef WR_SELFTESTS_CACHE_RIG_H
#define WR_SELFTESTS_CACHE_RIG_H

#include "cache/fake_tier.h"

#define RIG_KEYS 4096u
#define RIG_KIB	 ((size_t)1024)

enum rig_mode {
	RIG_INLINE, /* a fetch has ended when fill returns */
	RIG_MANUAL, /* rig_finish() ends it */
	RIG_READ,   /* through the synchronous adapter */
};

struct rig {
	struct weir_cache *cache;
	struct fake_mem l1, l2;
	struct fake_store l3;
	enum rig_mode mode;
	_Atomic uint32_t nr_fills[RIG_KEYS], nr_promotes[RIG_KEYS], nr_cancels[RIG_KEYS];
	_Atomic uint64_t tokens[RIG_KEYS]; /* of the fetch under way; 0: none */
	_Atomic(void *) mems[RIG_KEYS];
	_Atomic uint64_t sizes[RIG_KEYS];
	_Atomic uint32_t fail_permille; /* of fetches */
	_Atomic uint32_t delay_us;	/* of fetches */
	_Atomic int refuse;		/* what fill returns instead of 0 */
	_Atomic uint64_t random;
	_Atomic uint32_t nr_wrong;
	int nr_fds; /* of the process before the cache was there; -1: it does not matter */
};

/* What is not set in @opts is L2 of @l2_bytes, and a source for all classes but KV and FEATURES. */
int rig_open(struct rig *rig, struct weir_cache_opts *opts, uint64_t l2_bytes);
/* The cache, and checks that all memory and descriptors have come back. True: they have. */
bool rig_close(struct rig *rig);

struct weir_key rig_key(uint32_t n);
struct weir_cache_item rig_item(uint32_t n, size_t bytes, uint32_t class_id);
/* Bytes for inserts; a version tells one insert from another. */
void rig_make(void *buf, uint32_t n, uint64_t version, size_t bytes);
/* Whether the bytes are all of one version of @n; which. */
bool rig_check(const void *buf, uint32_t n, size_t bytes, uint64_t *ret_version);
int rig_get(struct rig *rig, uint32_t n, size_t bytes, struct weir_pin *ret);
int rig_insert(struct rig *rig, uint32_t n, uint64_t version, size_t bytes);
/* 0 and the version of what was inserted, @bytes of it unless that is 0, or what the get said. */
int rig_look(struct rig *rig, uint32_t n, uint32_t tier, size_t bytes, uint64_t *ret_version);
/* Ends the fetch of @n; false when there is none. */
bool rig_finish(struct rig *rig, uint32_t n, int result);
struct weir_cache_stats rig_stats(struct rig *rig, uint32_t tier);

#endif /* WR_SELFTESTS_CACHE_RIG_H */
