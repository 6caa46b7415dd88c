/* SPDX-License-Identifier: MIT */
/*
 * The locks with everything compiled out (WR_LOCK_PLAIN): pthread's calls in the caller. Part of
 * lock/lock.h. selftests/lock/plain_test.sh compares the object code with pthread's.
 */
#ifndef WR_LOCK_PLAIN_H
#define WR_LOCK_PLAIN_H

#include "lock/lock.h"

#if WR_LOCK_IS_PLAIN

WR_NO_THREAD_SAFETY static inline void wr_mutex_lock(struct wr_mutex *m) WR_ACQUIRE(*m)
{
	pthread_mutex_lock(&m->mutex);
}

WEIR_MUST_CHECK WR_NO_THREAD_SAFETY static inline bool wr_mutex_trylock(struct wr_mutex *m)
	WR_TRY_ACQUIRE(true, *m)
{
	return pthread_mutex_trylock(&m->mutex) == 0;
}

WR_NO_THREAD_SAFETY static inline void wr_mutex_unlock(struct wr_mutex *m) WR_RELEASE(*m)
{
	pthread_mutex_unlock(&m->mutex);
}

WR_NO_THREAD_SAFETY static inline void wr_rwlock_rdlock(struct wr_rwlock *l) WR_ACQUIRE_SHARED(*l)
{
	pthread_rwlock_rdlock(&l->rwlock);
}

WR_NO_THREAD_SAFETY static inline void wr_rwlock_rdunlock(struct wr_rwlock *l) WR_RELEASE_SHARED(*l)
{
	pthread_rwlock_unlock(&l->rwlock);
}

WR_NO_THREAD_SAFETY static inline void wr_rwlock_wrlock(struct wr_rwlock *l) WR_ACQUIRE(*l)
{
	pthread_rwlock_wrlock(&l->rwlock);
}

WR_NO_THREAD_SAFETY static inline void wr_rwlock_wrunlock(struct wr_rwlock *l) WR_RELEASE(*l)
{
	pthread_rwlock_unlock(&l->rwlock);
}

WR_NO_THREAD_SAFETY static inline void wr_spin_lock(struct wr_spin *s) WR_ACQUIRE(*s)
{
	pthread_spin_lock(&s->spin);
}

WEIR_MUST_CHECK WR_NO_THREAD_SAFETY static inline bool wr_spin_trylock(struct wr_spin *s)
	WR_TRY_ACQUIRE(true, *s)
{
	return pthread_spin_trylock(&s->spin) == 0;
}

WR_NO_THREAD_SAFETY static inline void wr_spin_unlock(struct wr_spin *s) WR_RELEASE(*s)
{
	pthread_spin_unlock(&s->spin);
}

#endif /* WR_LOCK_IS_PLAIN */

#endif /* WR_LOCK_PLAIN_H */
