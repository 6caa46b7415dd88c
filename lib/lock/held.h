/* SPDX-License-Identifier: MIT */
/*
 * Between lock.c and validate.c: what a thread holds, and the part of each check that settles the
 * usual case. It is here to be compiled into the functions of lock.c: a nest of two locks is 20 ns,
 * so a call for each step would be a good part of the whole.
 */
#ifndef WR_LOCK_HELD_H
#define WR_LOCK_HELD_H

#include "base/atomic.h"
#include "lock/graph.h"
#include "lock/lock.h"
#include "lock/validate.h"

#if WR_LOCK_CHECK

enum wr_lock_mode { WR_LOCK_SHARED, WR_LOCK_EXCLUSIVE };

struct wr_lock_held {
	struct wr_lock *lock;
	const void *site;  /* return address; stays after the release, see wr_validate_taken() */
	uint64_t since_ns; /* 0 when there was no limit at the take */
	uint64_t chain;	   /* of what is held before it */
	uint64_t ranks;	   /* mask of what is held before it */
	enum wr_lock_mode mode;
};

struct wr_lock_thread {
	unsigned nr_held;
	unsigned nr_readers;   /* read sections of RCU, nested */
	unsigned nr_untracked; /* held, but past the end of the list */
	uint64_t ranks;	       /* mask of the ranks in the list */
	uint64_t chain;	       /* of the classes in the list */
	struct wr_lock_held held[WR_LOCK_HELD_MAX];
};

extern _Thread_local struct wr_lock_thread wr_lock_self; /* [thread] */
extern _Atomic unsigned wr_lock_checks;			 /* [atomic] */
/* For each rank, a mask of those under which taking it may be a fault. */
extern const uint64_t wr_lock_conflicts[];

/* The rest of each; false: leave the operation out. */
bool wr_validate_take_slowly(struct wr_lock *lock, unsigned on, uint64_t chain);
bool wr_validate_release_slowly(struct wr_lock *lock, enum wr_lock_mode mode);
void wr_validate_reading(const struct wr_lock *lock);
void wr_validate_full(struct wr_lock *lock);
void wr_validate_site(const void *site);
bool wr_validate_try(const struct wr_lock *lock);
bool wr_validate_wait(struct wr_lock *lock);
void wr_validate_ended(const struct wr_lock *lock);

/* What stands for the lock in a chain; its rank where the graph has no room for its class. */
static inline uint32_t wr_validate_chain_id(struct wr_lock *lock)
{
	uint32_t class_id = wr_load_relaxed(&lock->class_id);

	if (__builtin_expect(class_id - 1 >= WR_GRAPH_CLASSES, false))
		class_id = wr_graph_class(lock);
	return class_id != 0 ? class_id : WR_GRAPH_CLASSES + (uint32_t)lock->rank;
}

static inline bool wr_validate_take(struct wr_lock *lock)
{
	struct wr_lock_thread *self = &wr_lock_self;
	unsigned on = wr_load_relaxed(&wr_lock_checks);
	uint64_t chain = 0;

	if (__builtin_expect(self->nr_readers != 0, false))
		wr_validate_reading(lock);
	if (self->nr_held == 0)
		return true;
	if ((on & WR_LOCK_CHECK_GRAPH) != 0) {
		chain = wr_graph_chain(self->chain, wr_validate_chain_id(lock));
		if (wr_graph_chain_known(chain))
			return true;
	} else if ((self->ranks & wr_lock_conflicts[lock->rank]) == 0) {
		return true;
	}
	return wr_validate_take_slowly(lock, on, chain);
}

/* Only one thread at a time holds it for writing, so that count needs no locked add. */
static inline void wr_validate_count(struct wr_lock *lock, enum wr_lock_mode mode, uint64_t by)
{
	if (mode == WR_LOCK_EXCLUSIVE)
		wr_add_own(&lock->holders, by);
	else
		wr_fetch_add_relaxed(&lock->holders, by);
}

static inline void wr_validate_push(struct wr_lock_thread *self, struct wr_lock_held *h,
				    unsigned on)
{
	h->ranks = self->ranks;
	h->chain = self->chain;
	self->ranks |= UINT64_C(1) << h->lock->rank;
	if ((on & WR_LOCK_CHECK_GRAPH) != 0)
		self->chain = wr_graph_chain(self->chain, wr_validate_chain_id(h->lock));
}

/*
 * @site is the caller's return address. The place's stack is kept the first time; a thread that
 * takes the same number of locks from the same place again need not ask whether it was.
 */
static inline void wr_validate_taken(struct wr_lock *lock, enum wr_lock_mode mode, const void *site)
{
	struct wr_lock_thread *self = &wr_lock_self;
	unsigned on = wr_load_relaxed(&wr_lock_checks);
	struct wr_lock_held *h = &self->held[self->nr_held];

	wr_validate_count(lock, mode, 1);
	if (__builtin_expect(self->nr_held == WR_LOCK_HELD_MAX, false)) {
		wr_validate_full(lock);
		return;
	}
	if (h->site != site)
		wr_validate_site(site);
	h->site = site;
	h->lock = lock;
	h->mode = mode;
	h->since_ns = (on & WR_LOCK_CHECK_HOLD) != 0 ? wr_now_ns() : 0;
	self->nr_held++;
	wr_validate_push(self, h, on);
}

static inline bool wr_validate_release(struct wr_lock *lock, enum wr_lock_mode mode)
{
	struct wr_lock_thread *self = &wr_lock_self;
	struct wr_lock_held *h = &self->held[self->nr_held == 0 ? 0 : self->nr_held - 1];

	if (self->nr_held == 0 || h->lock != lock || h->mode != mode || h->since_ns != 0)
		return wr_validate_release_slowly(lock, mode);
	wr_validate_count(lock, mode, (uint64_t)-1);
	self->nr_held--;
	self->ranks = h->ranks;
	self->chain = h->chain;
	return true;
}

#endif /* WR_LOCK_CHECK */

#endif /* WR_LOCK_HELD_H */
