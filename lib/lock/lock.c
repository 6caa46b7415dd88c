/* SPDX-License-Identifier: MIT */
/*
 * The locks: pthread's, with a rank, a name and a count of contended waits. A take tries first and
 * reads the clock only when it must wait, so the count costs nothing where nobody waits. Checked
 * builds ask the validator around each operation.
 */
#include "lock/lock.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#include "base/atomic.h"
#include "lock/held.h"

#if WR_LOCK_CHECK
#define SITE __builtin_return_address(0)
#else
#define SITE			   NULL
#define wr_validate_take(l)	   true
#define wr_validate_try(l)	   true
#define wr_validate_taken(l, m, s) ((void)0)
#define wr_validate_release(l, m)  true
#define wr_validate_wait(l)	   true
#define wr_validate_ended(l)	   ((void)0)
#endif

/* Spins this often before it lets others run: the holder may be off the processor. */
#define SPINS 128

struct rank {
	const char *name;
	unsigned flags;
};

static const struct rank ranks[] = {
#define RANK(rank_name, rank_flags, text) {.name = #rank_name, .flags = (rank_flags)},
	WR_LOCK_RANKS(RANK)
#undef RANK
};

struct total {
	_Alignas(WR_CACHE_LINE) _Atomic uint64_t nr_contended; /* [atomic] */
	_Atomic uint64_t wait_ns;			       /* [atomic] */
};

static struct total totals[WR_NR_RANKS];

const char *wr_lock_rank_name(enum wr_lock_rank rank)
{
	wr_assert(rank < WR_NR_RANKS);
	return ranks[rank].name;
}

unsigned wr_lock_rank_flags(enum wr_lock_rank rank)
{
	wr_assert(rank < WR_NR_RANKS);
	return ranks[rank].flags;
}

void wr_lock_rank_stats(enum wr_lock_rank rank, struct wr_lock_stats *ret)
{
	wr_assert(rank < WR_NR_RANKS);
	ret->nr_contended = wr_load_relaxed(&totals[rank].nr_contended);
	ret->wait_ns = wr_load_relaxed(&totals[rank].wait_ns);
}

static void count_wait(struct wr_lock *lock, uint64_t since_ns)
{
	wr_fetch_add_relaxed(&lock->nr_contended, 1);
	wr_fetch_add_relaxed(&totals[lock->rank].nr_contended, 1);
	wr_fetch_add_relaxed(&totals[lock->rank].wait_ns, wr_now_ns() - since_ns);
}

static void lock_init(struct wr_lock *lock, enum wr_lock_rank rank, const char *name)
{
	wr_assert(rank < WR_NR_RANKS);
	lock->name = name;
	lock->rank = rank;
	wr_store_relaxed(&lock->class_id, 0);
	wr_store_relaxed(&lock->nr_contended, 0);
	wr_store_relaxed(&lock->holders, 0);
}

/* A pthread call on a lock of ours fails only when the lock is not one. */
static void must(int rc)
{
	wr_assert(rc == 0);
	(void)rc;
}

void wr_mutex_init(struct wr_mutex *m, enum wr_lock_rank rank, const char *name)
{
	lock_init(&m->lock, rank, name);
	must(pthread_mutex_init(&m->mutex, NULL));
}

void wr_mutex_fini(struct wr_mutex *m)
{
	if (m == NULL)
		return;
	wr_validate_ended(&m->lock);
	pthread_mutex_destroy(&m->mutex);
}

WR_NO_THREAD_SAFETY void wr_mutex_lock(struct wr_mutex *m)
{
	if (!wr_validate_take(&m->lock))
		return;
	if (pthread_mutex_trylock(&m->mutex) != 0) {
		uint64_t since_ns = wr_now_ns();

		must(pthread_mutex_lock(&m->mutex));
		count_wait(&m->lock, since_ns);
	}
	wr_validate_taken(&m->lock, WR_LOCK_EXCLUSIVE, SITE);
}

WR_NO_THREAD_SAFETY bool wr_mutex_trylock(struct wr_mutex *m)
{
	if (!wr_validate_try(&m->lock) || pthread_mutex_trylock(&m->mutex) != 0)
		return false;
	wr_validate_taken(&m->lock, WR_LOCK_EXCLUSIVE, SITE);
	return true;
}

WR_NO_THREAD_SAFETY void wr_mutex_unlock(struct wr_mutex *m)
{
	if (wr_validate_release(&m->lock, WR_LOCK_EXCLUSIVE))
		must(pthread_mutex_unlock(&m->mutex));
}

void wr_cond_init(struct wr_cond *c)
{
	pthread_condattr_t attr;

	must(pthread_condattr_init(&attr));
	must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
	must(pthread_cond_init(&c->cond, &attr));
	pthread_condattr_destroy(&attr);
}

void wr_cond_fini(struct wr_cond *c)
{
	if (c != NULL)
		pthread_cond_destroy(&c->cond);
}

void wr_cond_wait(struct wr_cond *c, struct wr_mutex *m)
{
	if (!wr_validate_wait(&m->lock))
		return;
	must(pthread_cond_wait(&c->cond, &m->mutex));
	wr_validate_taken(&m->lock, WR_LOCK_EXCLUSIVE, SITE);
}

int wr_cond_timedwait(struct wr_cond *c, struct wr_mutex *m, uint64_t deadline_ns)
{
	struct timespec until = {
		.tv_sec = (time_t)(deadline_ns / 1000000000u),
		.tv_nsec = (long)(deadline_ns % 1000000000u),
	};
	int rc;

	if (!wr_validate_wait(&m->lock))
		return -ETIMEDOUT;
	rc = pthread_cond_timedwait(&c->cond, &m->mutex, &until);
	wr_assert(rc == 0 || rc == ETIMEDOUT);
	wr_validate_taken(&m->lock, WR_LOCK_EXCLUSIVE, SITE);
	return -rc;
}

void wr_cond_signal(struct wr_cond *c)
{
	must(pthread_cond_signal(&c->cond));
}

void wr_cond_broadcast(struct wr_cond *c)
{
	must(pthread_cond_broadcast(&c->cond));
}

void wr_rwlock_init(struct wr_rwlock *l, enum wr_lock_rank rank, const char *name)
{
	pthread_rwlockattr_t attr;

	lock_init(&l->lock, rank, name);
	must(pthread_rwlockattr_init(&attr));
	must(pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP));
	must(pthread_rwlock_init(&l->rwlock, &attr));
	pthread_rwlockattr_destroy(&attr);
}

void wr_rwlock_fini(struct wr_rwlock *l)
{
	if (l == NULL)
		return;
	wr_validate_ended(&l->lock);
	pthread_rwlock_destroy(&l->rwlock);
}

WR_NO_THREAD_SAFETY void wr_rwlock_rdlock(struct wr_rwlock *l)
{
	if (!wr_validate_take(&l->lock))
		return;
	if (pthread_rwlock_tryrdlock(&l->rwlock) != 0) {
		uint64_t since_ns = wr_now_ns();

		must(pthread_rwlock_rdlock(&l->rwlock));
		count_wait(&l->lock, since_ns);
	}
	wr_validate_taken(&l->lock, WR_LOCK_SHARED, SITE);
}

WR_NO_THREAD_SAFETY void wr_rwlock_rdunlock(struct wr_rwlock *l)
{
	if (wr_validate_release(&l->lock, WR_LOCK_SHARED))
		must(pthread_rwlock_unlock(&l->rwlock));
}

WR_NO_THREAD_SAFETY void wr_rwlock_wrlock(struct wr_rwlock *l)
{
	if (!wr_validate_take(&l->lock))
		return;
	if (pthread_rwlock_trywrlock(&l->rwlock) != 0) {
		uint64_t since_ns = wr_now_ns();

		must(pthread_rwlock_wrlock(&l->rwlock));
		count_wait(&l->lock, since_ns);
	}
	wr_validate_taken(&l->lock, WR_LOCK_EXCLUSIVE, SITE);
}

WR_NO_THREAD_SAFETY void wr_rwlock_wrunlock(struct wr_rwlock *l)
{
	if (wr_validate_release(&l->lock, WR_LOCK_EXCLUSIVE))
		must(pthread_rwlock_unlock(&l->rwlock));
}

void wr_spin_init(struct wr_spin *s, enum wr_lock_rank rank, const char *name)
{
	lock_init(&s->lock, rank, name);
	wr_assert((ranks[rank].flags & WR_LOCK_NO_BLOCK) != 0);
	must(pthread_spin_init(&s->spin, PTHREAD_PROCESS_PRIVATE));
}

void wr_spin_fini(struct wr_spin *s)
{
	if (s == NULL)
		return;
	wr_validate_ended(&s->lock);
	pthread_spin_destroy(&s->spin);
}

static void spin_slowly(struct wr_spin *s)
{
	uint64_t since_ns = wr_now_ns();

	for (unsigned i = 1; pthread_spin_trylock(&s->spin) != 0; i++) {
		if (i % SPINS == 0)
			sched_yield();
		else
			wr_cpu_relax();
	}
	count_wait(&s->lock, since_ns);
}

WR_NO_THREAD_SAFETY void wr_spin_lock(struct wr_spin *s)
{
	if (!wr_validate_take(&s->lock))
		return;
	if (pthread_spin_trylock(&s->spin) != 0)
		spin_slowly(s);
	wr_validate_taken(&s->lock, WR_LOCK_EXCLUSIVE, SITE);
}

WR_NO_THREAD_SAFETY bool wr_spin_trylock(struct wr_spin *s)
{
	if (!wr_validate_try(&s->lock) || pthread_spin_trylock(&s->spin) != 0)
		return false;
	wr_validate_taken(&s->lock, WR_LOCK_EXCLUSIVE, SITE);
	return true;
}

WR_NO_THREAD_SAFETY void wr_spin_unlock(struct wr_spin *s)
{
	if (wr_validate_release(&s->lock, WR_LOCK_EXCLUSIVE))
		must(pthread_spin_unlock(&s->spin));
}
