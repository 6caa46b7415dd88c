/* SPDX-License-Identifier: MIT */
/* See trace/waiting_pair.h. */
#include "trace/waiting_pair.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/util.h"
#include "harness/holdings.h"

#define HOLD_US 2000u

/* Until the waiter, which is about to take the lock, sleeps. */
static void wait_until_it_sleeps(const struct waiting_pair *p)
{
	uint32_t tid;

	do {
		usleep(50);
		tid = wr_load_acquire(&p->waiter_tid);
	} while (tid == 0 || !thread_sleeps((int)tid));
}

static void *hold(void *arg)
{
	struct waiting_pair *p = arg;

	p->holder_tid = (uint32_t)syscall(SYS_gettid);
	for (unsigned i = 0; i < p->nr; i++) {
		uint64_t asleep_ns, let_go_ns;

		pthread_mutex_lock(p->mutex);
		pthread_barrier_wait(&p->meet);
		wait_until_it_sleeps(p);
		asleep_ns = wr_now_ns();
		usleep(HOLD_US);
		let_go_ns = wr_now_ns();
		pthread_mutex_unlock(p->mutex);
		p->most_ns += wr_now_ns() - wr_load_acquire(&p->before_ns);
		p->least_ns += let_go_ns - asleep_ns;
		pthread_barrier_wait(&p->meet);
	}
	return NULL;
}

static uint64_t nr_slept(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return (uint64_t)usage.ru_nvcsw;
}

static void *wait_for(void *arg)
{
	struct waiting_pair *p = arg;

	for (unsigned i = 0; i < p->nr; i++) {
		uint64_t slept, before;

		pthread_barrier_wait(&p->meet);
		slept = nr_slept();
		before = wr_now_ns();
		wr_store_release(&p->before_ns, before);
		wr_store_release(&p->waiter_tid, (uint32_t)syscall(SYS_gettid));
		pthread_mutex_lock(p->mutex);
		p->waited_ns += wr_now_ns() - before;
		p->nr_blocked += nr_slept() - slept;
		wr_store_release(&p->waiter_tid, 0);
		pthread_mutex_unlock(p->mutex);
		pthread_barrier_wait(&p->meet);
	}
	return NULL;
}

void pair_begin(struct waiting_pair *pair, pthread_mutex_t *mutex, unsigned nr)
{
	*pair = (struct waiting_pair){.mutex = mutex, .nr = nr};
	if (pthread_barrier_init(&pair->meet, NULL, 2) ||
	    pthread_create(&pair->threads[0], NULL, hold, pair) ||
	    pthread_create(&pair->threads[1], NULL, wait_for, pair))
		abort();
}

void pair_end(struct waiting_pair *pair)
{
	pthread_join(pair->threads[0], NULL);
	pthread_join(pair->threads[1], NULL);
	pthread_barrier_destroy(&pair->meet);
}

static int look_at_lock(void *arg, const struct weir_trace_lock *lock)
{
	struct lock_found *f = arg;

	if (lock->addr == f->addr) {
		f->waits = lock->waits;
		f->seen = true;
	}
	return 0;
}

static int look_at_holder(void *arg, const struct weir_site_key *key, const struct weir_site *site)
{
	struct lock_found *f = arg;

	if (key->addr == f->addr && site->times > f->blamed_times) {
		f->holder_tid = key->tid;
		f->blamed_times = site->times;
	}
	return 0;
}

int lock_find(struct weir_trace *trace, const void *addr, struct lock_found *ret)
{
	int rc;

	*ret = (struct lock_found){.addr = (uintptr_t)addr};
	rc = weir_trace_each_lock(trace, look_at_lock, ret);
	return rc ? rc : weir_trace_each_holder(trace, look_at_holder, ret);
}
