/* SPDX-License-Identifier: MIT */
/*
 * Readers that never wait: read-copy-update.
 *
 * What is published with wr_rcu_publish() may be read between wr_rcu_read_lock() and _unlock()
 * without a lock. Whoever takes it out of the readers' reach frees it when all readers that might
 * have seen it are gone: after wr_rcu_synchronize(), or in a wr_rcu_call().
 *
 *   (a) Read sections nest, never wait and never make a writer's data wait for them.
 *   (b) A section that began before wr_rcu_synchronize() has ended when that returns; one that
 *       began before wr_rcu_call() has ended when the function runs.
 *   (c) What a section did is seen by whoever frees afterwards: also by ThreadSanitizer.
 *   (d) Functions given to wr_rcu_call() run in the order of the calls of one thread, one at a time,
 *       on a thread of their own that exists only while somebody has RCU open.
 *
 * Inside a section nothing may sleep: a grace period would be as long. Checked builds raise
 * WR_LOCK_FAULT_RCU for a lock that may block, wr_might_block(), a wait on a condition, and
 * wr_rcu_synchronize() there. Locks with NO_BLOCK may be taken.
 *
 * liburcu's "bp" flavour does the work where it is there: its readers write only their own line,
 * without a locked instruction, and any thread of the host may be one without having registered.
 * Where it is not, readers count themselves in and out, which is the same but for the cost.
 *
 * After fork() the child may read. Calls, and closing, are the parent's.
 */
#ifndef WR_LOCK_RCU_H
#define WR_LOCK_RCU_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/sanitizer.h"
#include "lock/lock.h"

#if HAVE_URCU
#include <urcu/urcu-bp.h>
#endif

/*
 * ThreadSanitizer does not see into liburcu. Each section's end releases to this one word, and the
 * end of a grace period acquires from it.
 */
#if WR_SANITIZE_THREAD
extern char wr_rcu_grace;
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define wr_rcu_tsan_acquire() __tsan_acquire(&wr_rcu_grace)
#define wr_rcu_tsan_release() __tsan_release(&wr_rcu_grace)
#else
#define wr_rcu_tsan_acquire() ((void)0)
#define wr_rcu_tsan_release() ((void)0)
#endif

#if WR_LOCK_CHECK
void wr_validate_read_begin(void);
void wr_validate_read_end(void);
#else
#define wr_validate_read_begin() ((void)0)
#define wr_validate_read_end()	 ((void)0)
#endif

/* A pointer that readers follow: declare it as _Atomic. Each publish pairs with the reads. */
#define wr_rcu_publish(p, v) wr_store_release((p), (v))
#define wr_rcu_read(p)	     wr_load_acquire(p)

#if HAVE_URCU
static inline void wr_rcu_read_lock(void)
{
	wr_validate_read_begin();
	urcu_bp_read_lock();
}

static inline void wr_rcu_read_unlock(void)
{
	wr_rcu_tsan_release();
	urcu_bp_read_unlock();
	wr_validate_read_end();
}
#else
void wr_rcu_read_lock(void);
void wr_rcu_read_unlock(void);
#endif

/* Any thread but one in a read section. Blocks: a microsecond and the longest section there is. */
void wr_rcu_synchronize(void);

/* In the object that is to be freed; found again with wr_container_of(). */
struct wr_rcu_head {
	struct wr_rcu_head *next;
	void (*fn)(struct wr_rcu_head *head);
};

/**
 * wr_rcu_open() - Begin to use wr_rcu_call(); counted.
 *
 * Context: Any thread. Takes RCU_RUN. Starts the thread when it is the first.
 * Return:  0, -EAGAIN, -ENOMEM (no thread).
 */
int wr_rcu_open(void) WEIR_MUST_CHECK;
/* Blocks until all that was called has run; with the last, ends the thread. Not in a function of
 * wr_rcu_call(). */
void wr_rcu_close(void);

/*
 * Have @fn run when all present readers are gone. Takes RCU, does not block, cannot fail; also in a
 * read section. RCU is open. Freed memory lies idle for about a millisecond.
 */
void wr_rcu_call(struct wr_rcu_head *head, void (*fn)(struct wr_rcu_head *head));

/* Blocks until all functions called before have run. RCU is open. */
void wr_rcu_barrier(void);

#endif /* WR_LOCK_RCU_H */
