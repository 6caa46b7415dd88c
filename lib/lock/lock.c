/* SPDX-License-Identifier: MIT */
/*
 * The locks: pthread's, with a rank, a name and a count of contended waits. A take tries first and
 * reads the clock only when it must wait, so the count costs nothing where nobody waits. Checked
 * builds ask the validator around each operation; timing (lock/timing.h) begins after the take and
 * ends before the release, and what it found is written after it.
 */
#include "lock/lock.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "base/atomic.h"
#include "lock/held.h"
#include "lock/timing.h"

#if WR_LOCK_CHECK
#define SITE __builtin_return_address(0)
#else
#define SITE			   NULL
#define wr_validate_take(l)	   true
#define wr_validate_try(l)	   true
#define wr_validate_taken(l, m, s) ((void)(s))
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

#if !WR_LOCK_IS_PLAIN
/* How long it was waited, never 0. */
static uint64_t count_wait(struct wr_lock *lock, uint64_t since_ns)
{
	uint64_t wait_ns = wr_max(wr_now_ns() - since_ns, UINT64_C(1));

	wr_fetch_add_relaxed(&lock->nr_contended, 1);
	wr_fetch_add_relaxed(&totals[lock->rank].nr_contended, 1);
	wr_fetch_add_relaxed(&totals[lock->rank].wait_ns, wait_ns);
	return wait_ns;
}
#endif

static void lock_init(struct wr_lock *lock, enum wr_lock_rank rank, const char *name, uint32_t kind)
{
	wr_assert(rank < WR_NR_RANKS);
	memset(lock, 0, sizeof(*lock));
	lock->name = name;
	lock->rank = rank;
	lock->kind = kind;
}

static void lock_fini(struct wr_lock *lock)
{
	wr_validate_ended(lock);
	wr_segment_forget(lock);
}

/* A pthread call on a lock of ours fails only when the lock is not one. */
static void must(int rc)
{
	wr_assert(rc == 0);
	(void)rc;
}

void wr_mutex_init(struct wr_mutex *m, enum wr_lock_rank rank, const char *name)
{
	lock_init(&m->lock, rank, name, WEIR_LOCK_MUTEX);
	must(pthread_mutex_init(&m->mutex, NULL));
}

void wr_mutex_fini(struct wr_mutex *m)
{
	if (m == NULL)
		return;
	lock_fini(&m->lock);
	pthread_mutex_destroy(&m->mutex);
}

/*
 * glibc keeps the holder's thread id in the lock; nothing is written by us for it. Also the address
 * of the lock is that of the member: its first word is the futex that the kernel sees.
 */
uint32_t wr_mutex_owner(struct wr_mutex *m)
{
#if defined(__GLIBC__)
	return (uint32_t)__atomic_load_n(&m->mutex.__data.__owner, __ATOMIC_RELAXED);
#else
	(void)m;
	return 0;
#endif
}

uint32_t wr_rwlock_owner(struct wr_rwlock *l)
{
#if defined(__GLIBC__)
	return (uint32_t)__atomic_load_n(&l->rwlock.__data.__cur_writer, __ATOMIC_RELAXED);
#else
	(void)l;
	return 0;
#endif
}

#if !WR_LOCK_IS_PLAIN
/* Out of line: the usual take does not come here. Returns how long it was waited. */
__attribute__((noinline)) static uint64_t wait_for_mutex(struct wr_mutex *m)
{
	uint64_t since_ns = wr_now_ns();

	wr_timing_contended(&m->lock, &m->mutex, wr_mutex_owner(m));
	must(pthread_mutex_lock(&m->mutex));
	return count_wait(&m->lock, since_ns);
}

WR_NO_THREAD_SAFETY void wr_mutex_lock(struct wr_mutex *m)
{
	uint64_t wait_ns = 0;

	if (!wr_validate_take(&m->lock))
		return;
	if (pthread_mutex_trylock(&m->mutex) != 0)
		wait_ns = wait_for_mutex(m);
	wr_validate_taken(&m->lock, WR_LOCK_EXCLUSIVE, SITE);
	wr_timing_begin(&m->lock, wait_ns);
}

WR_NO_THREAD_SAFETY bool wr_mutex_trylock(struct wr_mutex *m)
{
	if (!wr_validate_try(&m->lock) || pthread_mutex_trylock(&m->mutex) != 0)
		return false;
	wr_validate_taken(&m->lock, WR_LOCK_EXCLUSIVE, SITE);
	wr_timing_begin(&m->lock, 0);
	return true;
}

WR_NO_THREAD_SAFETY void wr_mutex_unlock(struct wr_mutex *m)
{
	struct wr_timed timed;
	bool is_timed;

	if (!wr_validate_release(&m->lock, WR_LOCK_EXCLUSIVE))
		return;
	is_timed = wr_timing_end(&m->lock, &m->mutex, &timed);
	must(pthread_mutex_unlock(&m->mutex));
	if (is_timed)
		wr_timing_record(&timed);
}
#endif

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

/*
 * A wait for a condition ends one hold and begins another. It is not a wait for the lock: who waits
 * for work is not in anybody's way.
 */
static int cond_wait(struct wr_cond *c, struct wr_mutex *m, const struct timespec *until,
		     const void *site)
{
	struct wr_timed timed;
	int rc;

	if (!wr_validate_wait(&m->lock))
		return until != NULL ? ETIMEDOUT : 0;
	/* The record is written before the wait: the wait may be long. */
	if (wr_timing_end(&m->lock, &m->mutex, &timed))
		wr_timing_record(&timed);
	rc = until != NULL ? pthread_cond_timedwait(&c->cond, &m->mutex, until)
			   : pthread_cond_wait(&c->cond, &m->mutex);
	wr_assert(rc == 0 || (until != NULL && rc == ETIMEDOUT));
	wr_validate_taken(&m->lock, WR_LOCK_EXCLUSIVE, site);
	wr_timing_begin(&m->lock, 0);
	return rc;
}

void wr_cond_wait(struct wr_cond *c, struct wr_mutex *m)
{
	(void)cond_wait(c, m, NULL, SITE);
}

int wr_cond_timedwait(struct wr_cond *c, struct wr_mutex *m, uint64_t deadline_ns)
{
	struct timespec until = {
		.tv_sec = (time_t)(deadline_ns / 1000000000u),
		.tv_nsec = (long)(deadline_ns % 1000000000u),
	};

	return -cond_wait(c, m, &until, SITE);
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

	lock_init(&l->lock, rank, name, WEIR_LOCK_RWLOCK);
	must(pthread_rwlockattr_init(&attr));
	must(pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP));
	must(pthread_rwlock_init(&l->rwlock, &attr));
	pthread_rwlockattr_destroy(&attr);
}

void wr_rwlock_fini(struct wr_rwlock *l)
{
	if (l == NULL)
		return;
	lock_fini(&l->lock);
	pthread_rwlock_destroy(&l->rwlock);
}

#if !WR_LOCK_IS_PLAIN
/* Out of line, as for the mutex. */
__attribute__((noinline)) static uint64_t wait_for_rwlock(struct wr_rwlock *l, bool write)
{
	uint64_t since_ns = wr_now_ns();

	wr_timing_contended(&l->lock, &l->rwlock, wr_rwlock_owner(l));
	if (write)
		must(pthread_rwlock_wrlock(&l->rwlock));
	else
		must(pthread_rwlock_rdlock(&l->rwlock));
	return count_wait(&l->lock, since_ns);
}

WR_NO_THREAD_SAFETY void wr_rwlock_rdlock(struct wr_rwlock *l)
{
	uint64_t wait_ns = 0;

	if (!wr_validate_take(&l->lock))
		return;
	if (pthread_rwlock_tryrdlock(&l->rwlock) != 0)
		wait_ns = wait_for_rwlock(l, false);
	wr_validate_taken(&l->lock, WR_LOCK_SHARED, SITE);
	wr_timing_read_begin(&l->lock, wait_ns);
}

WR_NO_THREAD_SAFETY void wr_rwlock_rdunlock(struct wr_rwlock *l)
{
	struct wr_timed timed;
	bool is_timed;

	if (!wr_validate_release(&l->lock, WR_LOCK_SHARED))
		return;
	is_timed = wr_timing_read_end(&l->lock, &l->rwlock, &timed);
	must(pthread_rwlock_unlock(&l->rwlock));
	if (is_timed)
		wr_timing_record(&timed);
}

WR_NO_THREAD_SAFETY void wr_rwlock_wrlock(struct wr_rwlock *l)
{
	uint64_t wait_ns = 0;

	if (!wr_validate_take(&l->lock))
		return;
	if (pthread_rwlock_trywrlock(&l->rwlock) != 0)
		wait_ns = wait_for_rwlock(l, true);
	wr_validate_taken(&l->lock, WR_LOCK_EXCLUSIVE, SITE);
	wr_timing_begin(&l->lock, wait_ns);
}

WR_NO_THREAD_SAFETY void wr_rwlock_wrunlock(struct wr_rwlock *l)
{
	struct wr_timed timed;
	bool is_timed;

	if (!wr_validate_release(&l->lock, WR_LOCK_EXCLUSIVE))
		return;
	is_timed = wr_timing_end(&l->lock, &l->rwlock, &timed);
	must(pthread_rwlock_unlock(&l->rwlock));
	if (is_timed)
		wr_timing_record(&timed);
}
#endif

void wr_spin_init(struct wr_spin *s, enum wr_lock_rank rank, const char *name)
{
	lock_init(&s->lock, rank, name, WEIR_LOCK_SPIN);
	wr_assert((ranks[rank].flags & WR_LOCK_NO_BLOCK) != 0);
	must(pthread_spin_init(&s->spin, PTHREAD_PROCESS_PRIVATE));
}

void wr_spin_fini(struct wr_spin *s)
{
	if (s == NULL)
		return;
	lock_fini(&s->lock);
	pthread_spin_destroy(&s->spin);
}

#if !WR_LOCK_IS_PLAIN
/* A spin lock does not say who holds it. */
__attribute__((noinline)) static uint64_t spin_slowly(struct wr_spin *s)
{
	uint64_t since_ns = wr_now_ns();

	wr_timing_contended(&s->lock, (const void *)(uintptr_t)&s->spin, 0);
	for (unsigned i = 1; pthread_spin_trylock(&s->spin) != 0; i++) {
		if (i % SPINS == 0)
			sched_yield();
		else
			wr_cpu_relax();
	}
	return count_wait(&s->lock, since_ns);
}

WR_NO_THREAD_SAFETY void wr_spin_lock(struct wr_spin *s)
{
	uint64_t wait_ns = 0;

	if (!wr_validate_take(&s->lock))
		return;
	if (pthread_spin_trylock(&s->spin) != 0)
		wait_ns = spin_slowly(s);
	wr_validate_taken(&s->lock, WR_LOCK_EXCLUSIVE, SITE);
	wr_timing_begin(&s->lock, wait_ns);
}

WR_NO_THREAD_SAFETY bool wr_spin_trylock(struct wr_spin *s)
{
	if (!wr_validate_try(&s->lock) || pthread_spin_trylock(&s->spin) != 0)
		return false;
	wr_validate_taken(&s->lock, WR_LOCK_EXCLUSIVE, SITE);
	wr_timing_begin(&s->lock, 0);
	return true;
}

WR_NO_THREAD_SAFETY void wr_spin_unlock(struct wr_spin *s)
{
	struct wr_timed timed;
	bool is_timed;

	if (!wr_validate_release(&s->lock, WR_LOCK_EXCLUSIVE))
		return;
	is_timed = wr_timing_end(&s->lock, (const void *)(uintptr_t)&s->spin, &timed);
	must(pthread_spin_unlock(&s->spin));
	if (is_timed)
		wr_timing_record(&timed);
}
#endif
