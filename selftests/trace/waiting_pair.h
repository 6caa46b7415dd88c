/* SPDX-License-Identifier: MIT */
/*
 * Two threads of which one surely sleeps at the other's lock, by their own clocks, and what a trace
 * has of that lock.
 */
#ifndef WR_SELFTESTS_WAITING_PAIR_H
#define WR_SELFTESTS_WAITING_PAIR_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <weir/trace.h>

struct waiting_pair {
	pthread_mutex_t *mutex;
	pthread_barrier_t meet;
	pthread_t threads[2];
	unsigned nr;
	_Atomic uint32_t waiter_tid; /* 0: not about to take it */
	_Atomic uint64_t before_ns;  /* the waiter's take */
	/* Read after the end. */
	uint32_t holder_tid;
	uint64_t least_ns, most_ns; /* between which the time until the wakes must be */
	uint64_t waited_ns;	    /* by the waiter's own clock */
	uint64_t nr_blocked;	    /* times that the waiter slept in its takes */
};

/* The lock is held @nr times, two milliseconds each from when the other sleeps. */
void pair_begin(struct waiting_pair *pair, pthread_mutex_t *mutex, unsigned nr);
void pair_end(struct waiting_pair *pair);

struct lock_found {
	uint64_t addr;
	bool seen;
	struct weir_lock_waits waits;
	uint32_t holder_tid; /* that was blamed most */
	uint64_t blamed_times;
};

/* Of the lock at @addr; 0 or what the trace says. */
int lock_find(struct weir_trace *trace, const void *addr, struct lock_found *ret);

#endif /* WR_SELFTESTS_WAITING_PAIR_H */
