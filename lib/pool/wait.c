/* SPDX-License-Identifier: MIT */
/*
 * Allocations that wait for room, first come first served.
 *
 * Each stands in a list with a condition of its own; only the first tries. While the list
 * is not empty the pool's gates are shut, so that every free goes to a zone and then looks
 * at the number of those who wait. No wake-up is lost: the number is counted up, and the
 * gates are shut, before the first try, and the try and the sleep are one stay under the
 * wait lock, which a waker takes too. A free whose zone was not yet seen by the try comes
 * after it under the zone's lock, and so finds the number (W1, by the zone's lock).
 */
#include <errno.h>

#include "base/util.h"
#include "pool/debug.h"
#include "pool/magazine.h"
#include "pool/state.h"

struct wr_pool_waiter {
	struct wr_cond wake;
	struct wr_pool_waiter *next; /* [POOL_WAIT] */
};

static void stand_in_line(struct weir_pool *pool, struct wr_pool_waiter *w)
	WR_REQUIRES(pool->wait_lock)
{
	w->next = NULL;
	if (pool->last_waiter)
		pool->last_waiter->next = w;
	else
		pool->first_waiter = w;
	pool->last_waiter = w;
	wr_fetch_add_seq_cst(&pool->nr_waiters, 1); /* W1 */
}

static void step_out(struct weir_pool *pool, struct wr_pool_waiter *w) WR_REQUIRES(pool->wait_lock)
{
	struct wr_pool_waiter *before = NULL;
	struct wr_pool_waiter **p;

	for (p = &pool->first_waiter; *p != w; p = &(*p)->next)
		before = *p;
	*p = w->next;
	if (pool->last_waiter == w)
		pool->last_waiter = before;
	wr_fetch_add_seq_cst(&pool->nr_waiters, (uint32_t)-1);
	/* The next may have been waiting for this one only. */
	if (pool->first_waiter)
		wr_cond_signal(&pool->first_waiter->wake);
}

void wr_wait_wake(struct weir_pool *pool)
{
	wr_mutex_lock(&pool->wait_lock);
	if (pool->first_waiter)
		wr_cond_signal(&pool->first_waiter->wake);
	wr_mutex_unlock(&pool->wait_lock);
}

static uint64_t deadline_of(uint64_t timeout_ns)
{
	uint64_t deadline_ns;

	/* A time far away is as good as none, and fits a timespec. */
	if (wr_add_overflow(wr_now_ns(), timeout_ns, &deadline_ns) || deadline_ns > INT64_MAX)
		return INT64_MAX;
	return deadline_ns;
}

static int wait_for_room(struct weir_pool *pool, size_t bytes, int node, uint64_t deadline_ns,
			 struct weir_span *ret)
{
	struct wr_pool_waiter w;
	int late = 0;
	int rc;

	wr_cond_init(&w.wake);
	wr_mutex_lock(&pool->wait_lock);
	stand_in_line(pool, &w);
	wr_claim_shut(pool);
	for (;;) {
		rc = -ENOSPC;
		if (pool->first_waiter == &w)
			rc = wr_pool_alloc_by(pool, bytes, 1, node, NULL, ret);
		if (rc != -ENOSPC || late != 0)
			break;
		late = wr_cond_timedwait(&w.wake, &pool->wait_lock, deadline_ns);
	}
	step_out(pool, &w);
	wr_mutex_unlock(&pool->wait_lock);
	wr_cond_fini(&w.wake);
	wr_pool_room_made(pool); /* maybe this was the last who waited */
	return rc == -ENOSPC ? -ETIMEDOUT : rc;
}

int wr_wait_alloc(struct weir_pool *pool, size_t bytes, int node, uint64_t timeout_ns,
		  struct weir_span *ret)
{
	int rc = -ENOSPC;

	if (wr_load_relaxed(&pool->nr_waiters) == 0)
		rc = wr_pool_alloc_by(pool, bytes, 1, node, NULL, ret);
	if (rc == -ENOSPC && timeout_ns == 0)
		return -ETIMEDOUT;
	if (rc == -ENOSPC)
		rc = wait_for_room(pool, bytes, node, deadline_of(timeout_ns), ret);
	return rc;
}

int weir_pool_alloc_wait(struct weir_pool *pool, size_t bytes, int node, uint64_t timeout_ns,
			 struct weir_span *ret)
{
	int rc;

	if (!pool || !ret || !wr_pool_is_ours(pool))
		return -EINVAL;
	if (timeout_ns > 0)
		wr_might_block("waiting for room in a pool");
	if (!pool->debug)
		return wr_wait_alloc(pool, bytes, node, timeout_ns, ret);
	rc = wr_debug_alloc(pool, bytes, 1, node, timeout_ns, NULL, ret);
	return rc == -ENOSPC ? -ETIMEDOUT : rc;
}
