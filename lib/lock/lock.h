/* SPDX-License-Identifier: MIT */
/*
 * Mutex, condition, rwlock and spin lock, each with a rank from lock/rank.h and a name.
 *
 * Plain builds: the pthread call, and a count of contended waits. Checked builds (WR_LOCK_CHECK,
 * which debug builds are): every take, release and wait is checked first, before anything can
 * block, so a path walked once by one thread proves its order; lock/validate.h lists the faults. The layout of the structs does
 * not depend on the build. clang's -Wthread-safety knows the functions and the WR_ marks below.
 *
 * Which lock: a mutex, unless readers sleep while they read (rwlock), or the lock protects a few
 * instructions and is never held across a call (spin).
 */
#ifndef WR_LOCK_LOCK_H
#define WR_LOCK_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/util.h"
#include "lock/rank.h"

/* 1: the validator is compiled in. */
#ifndef WR_LOCK_CHECK
#define WR_LOCK_CHECK WR_DEBUG
#endif

/*
 * 1: nothing is compiled in, where no validator is either: no counts, no times, no probes. The
 * calls are then pthread's own, in the caller, down to the same object code (lock/plain.h).
 */
#ifndef WR_LOCK_PLAIN
#define WR_LOCK_PLAIN (!WR_INSTRUMENT)
#endif
#define WR_LOCK_IS_PLAIN (WR_LOCK_PLAIN && !WR_LOCK_CHECK)

#if defined(__clang__)
#define WR_TSA(x) __attribute__((x))
#else
#define WR_TSA(x)
#endif

/*
 * WR_GUARDED_BY(m) on a field: touched only with @m, a lock in the same struct, held. For readers:
 * in C, clang before 20 cannot name a member here. WR_GLOBAL_GUARDED_BY(m) on a variable of static
 * storage is checked. On a prototype, also checked: the caller holds the lock (WR_REQUIRES), the
 * function takes it (WR_ACQUIRE), lets it go (WR_RELEASE), wants it not held (WR_EXCLUDES).
 */
#define WR_GUARDED_BY(m)
#define WR_GLOBAL_GUARDED_BY(m)	  WR_TSA(guarded_by(m))
#define WR_REQUIRES(m)		  WR_TSA(requires_capability(m))
#define WR_REQUIRES_SHARED(m)	  WR_TSA(requires_shared_capability(m))
#define WR_ACQUIRE(m)		  WR_TSA(acquire_capability(m))
#define WR_ACQUIRE_SHARED(m)	  WR_TSA(acquire_shared_capability(m))
#define WR_RELEASE(m)		  WR_TSA(release_capability(m))
#define WR_RELEASE_SHARED(m)	  WR_TSA(release_shared_capability(m))
#define WR_TRY_ACQUIRE(result, m) WR_TSA(try_acquire_capability(result, m))
#define WR_EXCLUDES(m)		  WR_TSA(locks_excluded(m))
#define WR_ASSERT_HELD(m)	  WR_TSA(assert_capability(m))
#define WR_ASSERT_HELD_SHARED(m)  WR_TSA(assert_shared_capability(m))
#define WR_CAPABILITY(name)	  WR_TSA(capability(name))
/*
 * On a lock where it is declared: its rank, as it is initialised with. tools/build/check-lock-order
 * compares the two, and has clang compare the order in each function with the list.
 */
#if defined(WR_RANK_ORDER)
#define WR_RANKED(r)                               \
	WR_TSA(acquired_after(wr_rank_before_##r)) \
	WR_TSA(acquired_before(wr_rank_after_##r))
#else
#define WR_RANKED(r)
#endif
/* Where the analysis cannot follow: open and close, while nobody else knows the object. */
#define WR_NO_THREAD_SAFETY WR_TSA(no_thread_safety_analysis)

/* What all kinds share. [holder]: whoever holds it for writing. */
struct wr_lock {
	const char *name;	       /* [const] static text */
	enum wr_lock_rank rank;	       /* [const] */
	uint32_t kind;		       /* [const] WEIR_LOCK_RWLOCK, ...; 0 for a static mutex */
	_Atomic uint64_t nr_contended; /* [atomic] takes that had to wait */
	_Atomic uint32_t
		holder_tid;	   /* [atomic] who held it when one last had to wait; 0: unknown */
	_Atomic uint32_t class_id; /* [atomic] checked builds: see lock/graph.h; 0: not known yet */
	_Atomic uint64_t holders;  /* [atomic] checked builds: threads that hold it */
	uint64_t since_ns;	   /* [holder] when it was taken; 0: this take is not timed */
	uint64_t waited_ns;	   /* [holder] of a timed take */
	uint32_t weight;	   /* [holder] takes that a timed take stands for */
	uint32_t sample_in;	   /* [holder] uncontended takes until one is timed */
	_Atomic uint32_t slot;	   /* [atomic] see lock/timing.h; 0: none */
};

struct WR_CAPABILITY("mutex") wr_mutex {
	pthread_mutex_t mutex;
	struct wr_lock lock;
};

struct WR_CAPABILITY("rwlock") wr_rwlock {
	pthread_rwlock_t rwlock;
	struct wr_lock lock;
};

struct WR_CAPABILITY("spin") wr_spin {
	pthread_spinlock_t spin;
	struct wr_lock lock;
};

struct wr_cond {
	pthread_cond_t cond;
};

/* For a lock of static storage: `static struct wr_mutex m = WR_MUTEX_INIT(WR_RANK_LOG, "x");` */
#define WR_MUTEX_INIT(lock_rank, lock_name)                         \
	{                                                           \
		.mutex = PTHREAD_MUTEX_INITIALIZER,                 \
		.lock = {.name = (lock_name), .rank = (lock_rank)}, \
	}

/* @name is static text. Nothing here can fail. A lock that is held must not be ended. */
void wr_mutex_init(struct wr_mutex *m, enum wr_lock_rank rank, const char *name);
void wr_mutex_fini(struct wr_mutex *m);

/*
 * Waits may end without a signal: loop. No other lock may be held. @deadline_ns is a value of
 * wr_now_ns(); the timed wait returns 0 or -ETIMEDOUT, with the mutex held again in both cases.
 */
void wr_cond_init(struct wr_cond *c);
void wr_cond_fini(struct wr_cond *c);
void wr_cond_wait(struct wr_cond *c, struct wr_mutex *m) WR_REQUIRES(*m);
int wr_cond_timedwait(struct wr_cond *c, struct wr_mutex *m, uint64_t deadline_ns) WR_REQUIRES(*m);
void wr_cond_signal(struct wr_cond *c);
void wr_cond_broadcast(struct wr_cond *c);

/* A waiting writer goes before new readers, so a reader must not take it a second time. */
void wr_rwlock_init(struct wr_rwlock *l, enum wr_lock_rank rank, const char *name);
void wr_rwlock_fini(struct wr_rwlock *l);

/* The rank must be NO_BLOCK. */
void wr_spin_init(struct wr_spin *s, enum wr_lock_rank rank, const char *name);
void wr_spin_fini(struct wr_spin *s);

/* try: false when somebody holds it, the caller included. Not bound to the order: it never waits. */
#if WR_LOCK_IS_PLAIN
#include "lock/plain.h"
#else
void wr_mutex_lock(struct wr_mutex *m) WR_ACQUIRE(*m);
bool wr_mutex_trylock(struct wr_mutex *m) WR_TRY_ACQUIRE(true, *m) WEIR_MUST_CHECK;
void wr_mutex_unlock(struct wr_mutex *m) WR_RELEASE(*m);
void wr_rwlock_rdlock(struct wr_rwlock *l) WR_ACQUIRE_SHARED(*l);
void wr_rwlock_rdunlock(struct wr_rwlock *l) WR_RELEASE_SHARED(*l);
void wr_rwlock_wrlock(struct wr_rwlock *l) WR_ACQUIRE(*l);
void wr_rwlock_wrunlock(struct wr_rwlock *l) WR_RELEASE(*l);
void wr_spin_lock(struct wr_spin *s) WR_ACQUIRE(*s);
bool wr_spin_trylock(struct wr_spin *s) WR_TRY_ACQUIRE(true, *s) WEIR_MUST_CHECK;
void wr_spin_unlock(struct wr_spin *s) WR_RELEASE(*s);
#endif

/*
 * The thread that holds it, for writing if that can differ, at some moment of the call; 0 when none
 * does or the C library does not say.
 */
uint32_t wr_mutex_owner(struct wr_mutex *m);
uint32_t wr_rwlock_owner(struct wr_rwlock *l);

/* Contended waits, always counted. */
struct wr_lock_stats {
	uint64_t nr_contended;
	uint64_t wait_ns;
};

/* Of all locks of a rank since the process began, ended locks included. */
void wr_lock_rank_stats(enum wr_lock_rank rank, struct wr_lock_stats *ret);
const char *wr_lock_rank_name(enum wr_lock_rank rank);
unsigned wr_lock_rank_flags(enum wr_lock_rank rank);

/*
 * Checks that cost nothing in plain builds.
 *
 * wr_lock_assert_held(&p->lock): first line of a function whose prototype says WR_REQUIRES. Any kind
 * of lock; for a rwlock, held in either way.
 * wr_might_block("read of the header"): first line of a function that may sleep or do I/O.
 * wr_lock_assert_none_held("the fill callback"): on the line before a call out of the library.
 */
#define wr_lock_assert_held(l)                              \
	_Generic((l), struct wr_mutex *                     \
		 : wr_mutex_assert_held, struct wr_rwlock * \
		 : wr_rwlock_assert_held, struct wr_spin *  \
		 : wr_spin_assert_held)(l)

#if WR_LOCK_CHECK
void wr_mutex_assert_held(struct wr_mutex *m) WR_ASSERT_HELD(*m);
void wr_rwlock_assert_held(struct wr_rwlock *l) WR_ASSERT_HELD_SHARED(*l);
void wr_spin_assert_held(struct wr_spin *s) WR_ASSERT_HELD(*s);
void wr_might_block(const char *what);
void wr_lock_assert_none_held(const char *what);
#else
static inline void wr_mutex_assert_held(struct wr_mutex *m) WR_ASSERT_HELD(*m)
{
	(void)m;
}

static inline void wr_rwlock_assert_held(struct wr_rwlock *l) WR_ASSERT_HELD_SHARED(*l)
{
	(void)l;
}

static inline void wr_spin_assert_held(struct wr_spin *s) WR_ASSERT_HELD(*s)
{
	(void)s;
}

static inline void wr_might_block(const char *what)
{
	(void)what;
}

static inline void wr_lock_assert_none_held(const char *what)
{
	(void)what;
}
#endif

#endif /* WR_LOCK_LOCK_H */
