/* SPDX-License-Identifier: MIT */
/*
 * pool/gate.h - A lock that costs its owner two plain stores and a load.
 *
 * One thread, the owner, goes in and out all the time; others may claim the gate now and
 * then, and pay for both sides: after a claimer has said so, it makes the kernel run a
 * memory barrier on every processor that runs this process (membarrier), so that either
 * the owner's next look shows the claim, or the claimer sees that the owner is inside.
 *
 *   owner                             claimer, the only one (it holds the pool's claim lock)
 *   inside = 1                        state |= CLAIMED
 *   (the compiler keeps the order)    wr_gate_barrier()
 *   look at state: CLAIMED? out       wait until inside == 0
 *   ...                               ...
 *   inside = 0             [G1]       state &= ~CLAIMED      [G2]
 *
 * Guarantees:
 *  (a) What is done inside and what is done under a claim never happen at once.
 *  (b) Each sees all that the other did before: G1 is a release that the claimer's wait
 *      acquires, G2 a release that the owner's look acquires.
 *  (c) Entering never waits. An owner that is refused waits for the claim lock to be free.
 *
 * Which may run at once: one owner, one claimer. The owner must not sleep inside and may
 * take there only locks under which nobody waits for a gate. Not for signal handlers.
 *
 * Where the kernel has no membarrier the owner's first store is a full barrier instead:
 * the mark HEAVY keeps it from the fast way in.
 * selftests/spin/magazine.pml is the protocol as a model.
 */
#ifndef WR_POOL_GATE_H
#define WR_POOL_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"

#define WR_GATE_CLAIMED 1u
/* No claim: a word to the owner that it should not keep anything. */
#define WR_GATE_SHUT 2u
/* No claim: there is no membarrier here, and the owner has to be careful itself. */
#define WR_GATE_HEAVY 4u

struct wr_gate {
	_Atomic uint32_t inside; /* [atomic] written by the owner */
	_Atomic uint32_t state;	 /* [atomic] WR_GATE_*; written under the claim lock */
};

/* Once before the first gate is used; cheap when repeated. */
void wr_gate_prepare(void);
void wr_gate_init(struct wr_gate *gate);

/*
 * 0 when the owner is inside and nothing is to be minded. Otherwise it is not inside.
 */
static inline __attribute__((always_inline)) uint32_t wr_gate_enter_fast(struct wr_gate *gate)
{
	uint32_t state;

	wr_store_relaxed(&gate->inside, 1);
	__asm__ volatile("" ::: "memory");     /* the processors' part: wr_gate_barrier() */
	state = wr_load_seq_cst(&gate->state); /* acquires G2 */
	if (__builtin_expect(state != 0, 0))
		wr_store_release(&gate->inside, 0);
	return state;
}

/* The state that the owner found; with CLAIMED in it, it is not inside. */
static inline uint32_t wr_gate_enter(struct wr_gate *gate)
{
	uint32_t state;

	/* An exchange is a barrier, for where the kernel gives none; here it can be afforded. */
	wr_exchange_seq_cst(&gate->inside, 1);
	state = wr_load_seq_cst(&gate->state); /* acquires G2 */
	if (state & WR_GATE_CLAIMED)
		wr_store_release(&gate->inside, 0);
	return state;
}

static inline void wr_gate_leave(struct wr_gate *gate)
{
	wr_store_release(&gate->inside, 0); /* G1 */
}

/* A claim of many gates: mark each, one barrier, wait for each. */
void wr_gate_mark(struct wr_gate *gate);
void wr_gate_barrier(void);
void wr_gate_wait(struct wr_gate *gate);
void wr_gate_unmark(struct wr_gate *gate);

/* Nothing of the owner's may be kept from now on, or may again. Under the claim lock. */
void wr_gate_set_shut(struct wr_gate *gate, bool shut);

#endif /* WR_POOL_GATE_H */
