/* SPDX-License-Identifier: MIT */
/*
 * A residency under test, and a source of bytes that ends its fills when the test says so: on the
 * test's word, before ops->fill returns, or from threads of its own. What is filled says which
 * entry it is and which fill brought it, so a reader sees bytes that are not its own.
 */
#ifndef WR_SELFTESTS_FAKE_SOURCE_H
#define WR_SELFTESTS_FAKE_SOURCE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stream/residency.h"

#define FAKE_MAX_WORKERS 4

enum fake_mode {
	FAKE_MANUAL,  /* fake_complete() ends a fill */
	FAKE_INLINE,  /* a fill has ended when ops->fill returns, with inline_result */
	FAKE_WORKERS, /* threads end fills in random order */
};

/* Sizes are multiples of 8, at least 8. */
struct fake_entry {
	size_t bytes;
	void *place; /* NULL: streamed */
	void *mem;   /* where the running or last fill goes */
	uint32_t nr_fills;
	uint32_t nr_demand; /* of these, with demand */
	uint32_t nr_promotes;
	uint32_t nr_cancels;
	bool filling;
};

struct fake {
	struct wr_residency *residency;
	enum fake_mode mode;
	uint32_t nr;
	size_t slot_bytes;
	void *slots[2];
	int inline_result;
	int refuse;		/* what ops->fill returns instead of 0 */
	unsigned fail_permille; /* of workers' fills, and of calls of ops->fill, that fail */
	bool end_on_cancel;	/* ops->cancel ends the fill with -ECANCELED */
	/* Called inside ops->fill, before anything is ended. */
	void (*in_fill)(struct fake *fake, uint32_t index);

	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct fake_entry *entries;
	uint32_t *order; /* indexes in the order of their fills, of the first order_room */
	uint32_t nr_order;
	uint32_t order_room;
	uint32_t *pending; /* for the workers */
	uint32_t nr_pending;
	bool stop;
	uint32_t random;
	unsigned nr_workers;
	pthread_t workers[FAKE_MAX_WORKERS];
	_Atomic uint32_t nr_wrong; /* calls that a residency must not make */
};

/*
 * Entries 0 to @nr - 1 of @bytes[i]; those for which @resident says so (NULL: none) have places.
 * Everything else of @fake that is not set here is zero, and may be set by the test afterwards.
 */
bool fake_open(struct fake *fake, enum fake_mode mode, const size_t *bytes, const bool *resident,
	       uint32_t nr, size_t slot_bytes);
/* The residency too. */
void fake_close(struct fake *fake);

/* End a fill that was started. False when none was. */
bool fake_complete(struct fake *fake, uint32_t index, int result);

/* A copy, taken under the lock. */
struct fake_entry fake_entry(struct fake *fake, uint32_t index);

/* Which slot @mem lies in, 2 for none. An entry reaching over the end counts as in none. */
unsigned fake_slot_of(const struct fake *fake, const void *mem, size_t bytes);

/* Whether the bytes are those that one single fill of @index left, and which fill. */
bool fake_bytes_are(const struct fake *fake, uint32_t index, const void *mem, uint32_t *ret_fill);

/* A thread that runs @main and whose sleep can be waited for. */
struct fake_thread {
	pthread_t thread;
	_Atomic int tid;
	void *(*main)(void *);
	void *arg;
};

bool fake_thread_start(struct fake_thread *t, void *(*main)(void *), void *arg);
/* Until the thread sleeps (or has ended): a hint that makes a lost wake-up show, no guarantee. */
void fake_thread_wait_asleep(const struct fake_thread *t);
void fake_thread_join(struct fake_thread *t);

#endif /* WR_SELFTESTS_FAKE_SOURCE_H */
