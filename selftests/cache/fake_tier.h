/* SPDX-License-Identifier: MIT */
/*
 * Tiers of a cache under test: memory of a device, to and from which bytes are only copied; main
 * memory that is no pool; a store that keeps blocks in a table. Each checks what it is given, and
 * delays and fails as the test says.
 */
#ifndef WR_SELFTESTS_FAKE_TIER_H
#define WR_SELFTESTS_FAKE_TIER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <weir/cache.h>

/* All zero but the capacity is a tier without faults. */
struct fake_mem {
	uint64_t capacity;
	_Atomic uint64_t used, peak;
	_Atomic uint32_t nr_wrong; /* frees of what is not live */
	_Atomic uint32_t nr_copies;
	_Atomic uint32_t fail_permille; /* of copies */
	_Atomic uint32_t delay_us;	/* of copies */
	_Atomic uint64_t random;
};

extern const struct weir_tier_ops fake_device_ops, fake_memory_ops;

struct fake_block {
	struct fake_block *next;
	struct weir_store_item item;
	void *data;
};

struct fake_store {
	pthread_mutex_t lock;
	struct fake_block *blocks[256];
	uint64_t capacity, used;
	uint64_t nr_puts, nr_gets, nr_removes;
	_Atomic uint32_t fail_permille;	       /* of puts and gets */
	_Atomic uint32_t fail_remove_permille; /* these have no effect */
	_Atomic uint32_t keep_permille; /* removes that are acknowledged and not done: a bug */
	_Atomic uint32_t delay_us;
	_Atomic int refuse; /* what put returns instead of 0 */
	_Atomic uint64_t random;
};

extern const struct weir_store_ops fake_store_ops;

void fake_store_init(struct fake_store *s, uint64_t capacity);
void fake_store_fini(struct fake_store *s);

/* True in @permille of a thousand calls. */
bool fake_chance(_Atomic uint64_t *random, uint32_t permille);

#endif /* WR_SELFTESTS_FAKE_TIER_H */
