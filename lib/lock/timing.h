/* SPDX-License-Identifier: MIT */
/*
 * True hold and wait times of locks, between lock.c, timing.c and segment.c.
 *
 * A take is timed when it had to wait, or when the lock's countdown says so. The countdown is the
 * lock's own and starts anew at a random number around N: a countdown of the thread, or a fixed
 * one, would time the same lock of a nest each time. It is part of the lock and moved by its
 * holder, so nothing is shared that was not shared before. Readers of a rwlock hold it together;
 * their countdown and their times are the thread's.
 *
 * A timed take reads the clock when it has the lock and again just before it lets go; everything
 * else is done after the release: the table is written, the probe weir:lock_release fires. By then
 * the lock may be gone, so what is needed is copied before.
 */
#ifndef WR_LOCK_TIMING_H
#define WR_LOCK_TIMING_H

#include <weir/lock_trace.h>

#include "base/atomic.h"
#include "base/probe.h"
#include "lock/lock.h"

/*
 * weir:lock_contended(lock, owner's tid or 0): a take is about to wait.
 * weir:lock_release(lock, wait_ns, hold_ns): a take that was timed was released; wait_ns is 0 for
 * one that did not wait. While a tracer looks and timing is off, the sampling rate is the default.
 */
WR_PROBE_DECLARE(lock_contended);
WR_PROBE_DECLARE(lock_release);

extern _Atomic uint32_t wr_timing_every; /* [atomic] 0: off */

/* A timed take, from its release on. */
struct wr_timed {
	const void *addr;
	uint64_t wait_ns, hold_ns;
	uint32_t weight;     /* takes that it stands for */
	uint32_t slot;	     /* 0: none */
	uint32_t holder_tid; /* that was in the way */
};

/* A take is about to wait for @owner_tid, 0 where that is not known. */
void wr_timing_contended(struct wr_lock *lock, const void *addr, uint32_t owner_tid);
void wr_timing_begin_slowly(struct wr_lock *lock, uint64_t wait_ns, uint32_t every);
void wr_timing_end_slowly(struct wr_lock *lock, const void *addr, struct wr_timed *ret);
void wr_timing_read_begin(struct wr_lock *lock, uint64_t wait_ns);
bool wr_timing_read_end(struct wr_lock *lock, const void *addr, struct wr_timed *ret);
void wr_timing_record(const struct wr_timed *timed);

static inline bool wr_timing_is_on(uint32_t every)
{
	return __builtin_expect(every != 0, false) || wr_probe_enabled(lock_release);
}

/* @wait_ns is 0 where nobody was in the way. The caller holds the lock, for writing. */
static inline void wr_timing_begin(struct wr_lock *lock, uint64_t wait_ns)
{
	uint32_t every = wr_load_relaxed(&wr_timing_every);

	if (!wr_timing_is_on(every))
		return;
	/* A countdown that is longer than the rate allows comes from another rate. */
	if (wait_ns == 0 && lock->sample_in > 1 && lock->sample_in <= 2 * every)
		lock->sample_in--;
	else
		wr_timing_begin_slowly(lock, wait_ns, every);
}

/* Before the release: true when the take was timed, and *ret is for wr_timing_record() after it. */
static inline bool wr_timing_end(struct wr_lock *lock, const void *addr, struct wr_timed *ret)
{
	if (__builtin_expect(lock->since_ns == 0, true))
		return false;
	wr_timing_end_slowly(lock, addr, ret);
	return true;
}

/*
 * segment.c: the shared memory. A slot is a number that stays with the lock; it also says in which
 * memory, so one from before a stop is not taken for one of now.
 */
uint32_t wr_segment_slot(struct wr_lock *lock, const void *addr);
void wr_segment_add(const struct wr_timed *timed);
/* The lock ends: its numbers go to its rank. */
void wr_segment_forget(struct wr_lock *lock);

#endif /* WR_LOCK_TIMING_H */
