/* SPDX-License-Identifier: MIT */
/*
 * The lock validator of checked builds (WR_LOCK_CHECK, which follows WR_DEBUG). Each thread keeps
 * the list of what it holds; every operation is checked against that list before it is carried
 * out, so a fault is found whether or not it would have hung this time. Plain builds contain none
 * of it.
 *
 * Two checks of order, each of which can be switched: RANK compares with lib/lock/rank.h, GRAPH
 * with what the process itself did before (lib/lock/graph.h), so it also orders what the list does
 * not. Recursion, ownership, conditions, blocking and the rule for pairs are always checked.
 *
 * A fault goes to a hook. The default prints what is wrong, this thread's stack, for each lock held
 * where it was taken and the first stack by which that place was ever reached, and for an order
 * seen before the stack at which it was first seen; then it aborts. Tests set a hook that counts
 * and returns; then an operation that would hang or is undefined (recursion, release by a thread
 * that does not hold it) is left out, and all others are done.
 */
#ifndef WR_LOCK_VALIDATE_H
#define WR_LOCK_VALIDATE_H

#include <stdbool.h>

#include "lock/lock.h"

#if WR_LOCK_CHECK

/* X(name, meaning) */
#define WR_LOCK_FAULTS(X)                                                           \
	X(ORDER, "taken under a lock that stands below it in lib/lock/rank.h")      \
	X(CYCLE, "taken against an order that was seen before")                     \
	X(SAME_RANK, "taken under a lock of its own rank")                          \
	X(RECURSION, "taken by a thread that holds it")                             \
	X(NOT_OWNER, "released, or waited with, by a thread that does not hold it") \
	X(MODE, "held for reading and released as written, or the reverse")         \
	X(COND_OUTER, "waiting on a condition with another lock held")              \
	X(BLOCK, "sleeping, or about to, under a rank that forbids it")             \
	X(NOT_HELD, "not held where the caller must hold it")                       \
	X(HELD, "held across a call out of the library")                            \
	X(HELD_LONG, "held longer than the limit")                                  \
	X(RCU, "sleeping, or about to, where RCU is read")                          \
	X(ENDED, "ended while it is held")                                          \
	X(FULL, "more locks held than the validator can follow")

enum wr_lock_fault_kind {
#define WR_LOCK_FAULT_ENUM(name, text) WR_LOCK_FAULT_##name,
	WR_LOCK_FAULTS(WR_LOCK_FAULT_ENUM)
#undef WR_LOCK_FAULT_ENUM
		WR_NR_LOCK_FAULTS
};

struct wr_lock_fault {
	enum wr_lock_fault_kind kind;
	const char *meaning;
	const char *what;	    /* of might_block and assert_none_held; else NULL */
	const struct wr_lock *lock; /* the one asked for; NULL where it is about none */
	const struct wr_lock *held; /* the one it conflicts with; NULL where there is none */
	unsigned nr_cycle;	    /* of CYCLE: classes on the shortest way round; else 0 */
};

/* How many locks a thread may hold and still be followed. */
#define WR_LOCK_HELD_MAX 256

/* Called on the thread at fault, maybe by several at once. NULL brings the default back. */
void wr_lock_set_fault_hook(void (*hook)(const struct wr_lock_fault *fault));

/*
 * Which orders are checked; both at the start. A lock that is held while GRAPH is switched on is
 * followed from its next take.
 */
#define WR_LOCK_CHECK_RANK  1u
#define WR_LOCK_CHECK_GRAPH 2u
#define WR_LOCK_CHECK_HOLD  4u /* set and cleared by the limit below */
void wr_lock_set_checks(unsigned checks);

/* A hold that lasted longer is a fault, found at the release; 0, as at the start, for no limit. */
void wr_lock_set_hold_limit(uint64_t limit_ns);

/* Locks the calling thread holds. */
unsigned wr_lock_nr_held(void);

#endif /* WR_LOCK_CHECK */

#endif /* WR_LOCK_VALIDATE_H */
