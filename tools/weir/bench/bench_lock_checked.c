/* SPDX-License-Identifier: MIT */
/* bench_lock_checked.c - The arm of weir bench lock with the validator; see lock_checked.h. */
#include "lock_checked.h"

#include <pthread.h>

#include "bench_lock.h"
#include "lock/lock.h"
#include "lock/validate.h"

static struct wr_mutex outer, inner;

static void init_both(void)
{
	wr_mutex_init(&outer, WR_RANK_POOL, "bench.outer");
	wr_mutex_init(&inner, WR_RANK_IO, "bench.inner");
}

void wr_nest_check_graph(bool graph)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, init_both);
	wr_lock_set_checks(graph ? WR_LOCK_CHECK_RANK | WR_LOCK_CHECK_GRAPH : WR_LOCK_CHECK_RANK);
}

void wr_nest_checked(uint32_t nr)
{
	WR_NEST_LOOP(nr, wr_mutex_lock, wr_mutex_unlock, &outer, &inner);
}
