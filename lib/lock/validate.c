/* SPDX-License-Identifier: MIT */
/*
 * The validator: what each thread holds, and the rules of lock/rank.h checked against it. All state
 * is the thread's own, except the table of places from which locks were ever taken. That table
 * keeps one stack per place, taken the first time (a stack costs about a microsecond, a look-up a
 * few nanoseconds), so debug builds stay usable under load.
 *
 * What it does not see: an order that no thread walks, locks that are not ours, and a take by
 * trylock, which is recorded as held but is not itself bound to the order since it never waits.
 */
#include "lock/validate.h"

#if WR_DEBUG

#include <errno.h>
#include <execinfo.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"

#define NR_FRAMES 16
#define NR_SITES  1024 /* power of two */
#define NR_PROBES 32   /* after so many steps a place goes without a stack of its own */

struct held {
	struct wr_lock *lock;
	enum wr_lock_mode mode;
	const void *site;
};

struct site {
	_Atomic(uintptr_t) key; /* [atomic] return address; 0: free */
	_Atomic int nr_frames;	/* [atomic] 0 until frames are written */
	void *frames[NR_FRAMES];
};

static _Thread_local struct held held[WR_LOCK_HELD_MAX]; /* [thread] */
static _Thread_local unsigned nr_held;			 /* [thread] */
static _Thread_local unsigned nr_untracked; /* [thread] held, but past the end of the list */

static struct site sites[NR_SITES];

static const char *const meanings[] = {
#define MEANING(name, text) text,
	WR_LOCK_FAULTS(MEANING)
#undef MEANING
};

/* The place's entry, or NULL when it has none and @add is false or there is no room. */
static struct site *find_site(const void *address, bool add)
{
	uintptr_t key = (uintptr_t)address;

	for (unsigned i = 0; i < NR_PROBES; i++) {
		struct site *site = &sites[((key >> 2) * 0x9e3779b1u + i) % NR_SITES];
		uintptr_t found = wr_load_relaxed(&site->key);

		if (found == 0 && add && wr_cas_relaxed(&site->key, &found, key)) {
			int nr = backtrace(site->frames, NR_FRAMES);

			/* F1: pairs with the acquire in print_held(). */
			wr_store_release(&site->nr_frames, nr);
			return site;
		}
		if (found == key)
			return site;
		if (found == 0)
			return NULL;
	}
	return NULL;
}

static void print_lock(const char *before, const struct wr_lock *lock)
{
	fprintf(stderr, "%s%s lock \"%s\" at %p", before, wr_lock_rank_name(lock->rank), lock->name,
		(const void *)lock);
}

static void print_held(const struct held *h)
{
	struct site *site = find_site(h->site, false);
	/* backtrace_symbols_fd() wants a table of non-const pointers and writes to none. */
	void *address = (void *)(uintptr_t)h->site;
	int nr = 0;

	print_lock("  holds ", h->lock);
	fprintf(stderr, "%s, taken from:\n", h->mode == WR_LOCK_SHARED ? " for reading" : "");
	/* F1: pairs with the release in find_site(). */
	if (site != NULL)
		nr = wr_load_acquire(&site->nr_frames);
	if (nr > 0)
		backtrace_symbols_fd(site->frames, nr, STDERR_FILENO);
	else
		backtrace_symbols_fd(&address, 1, STDERR_FILENO);
}

static void print_and_abort(const struct wr_lock_fault *fault)
{
	void *frames[NR_FRAMES];

	fprintf(stderr, "weir: lock fault: ");
	if (fault->lock != NULL)
		print_lock("", fault->lock);
	fprintf(stderr, "%s%s: %s\n", fault->what != NULL ? " " : "",
		fault->what != NULL ? fault->what : "", fault->meaning);
	if (fault->held != NULL) {
		print_lock("  conflicts with ", fault->held);
		fputc('\n', stderr);
	}
	fprintf(stderr, "  this thread is at:\n");
	backtrace_symbols_fd(frames, backtrace(frames, NR_FRAMES), STDERR_FILENO);
	for (unsigned i = nr_held; i-- > 0;)
		print_held(&held[i]);
	abort();
}

typedef void (*fault_hook)(const struct wr_lock_fault *fault);
static _Atomic(fault_hook) hook = print_and_abort; /* [atomic] */

void wr_lock_set_fault_hook(void (*new_hook)(const struct wr_lock_fault *fault))
{
	wr_store_relaxed(&hook, new_hook != NULL ? new_hook : print_and_abort);
}

static void raise_fault(enum wr_lock_fault_kind kind, const struct wr_lock *lock,
			const struct wr_lock *other, const char *what)
{
	struct wr_lock_fault fault = {
		.kind = kind,
		.meaning = meanings[kind],
		.what = what,
		.lock = lock,
		.held = other,
	};

	wr_load_relaxed (&hook)(&fault);
}

unsigned wr_lock_nr_held(void)
{
	return nr_held + nr_untracked;
}

static struct held *find_held(const struct wr_lock *lock)
{
	for (unsigned i = nr_held; i-- > 0;) {
		if (held[i].lock == lock)
			return &held[i];
	}
	return NULL;
}

static bool forbids_blocking(const struct wr_lock *lock)
{
	return (wr_lock_rank_flags(lock->rank) & WR_LOCK_NO_BLOCK) != 0;
}

/* The fault that taking @lock under @above would be, or WR_NR_LOCK_FAULTS. */
static enum wr_lock_fault_kind judge(const struct wr_lock *lock, const struct wr_lock *above)
{
	if (above->rank > lock->rank)
		return WR_LOCK_FAULT_ORDER;
	if (above->rank == lock->rank &&
	    ((wr_lock_rank_flags(lock->rank) & WR_LOCK_BY_ADDRESS) == 0 || above > lock))
		return WR_LOCK_FAULT_SAME_RANK;
	if (forbids_blocking(above) && !forbids_blocking(lock))
		return WR_LOCK_FAULT_BLOCK;
	return WR_NR_LOCK_FAULTS;
}

bool wr_validate_take(const struct wr_lock *lock)
{
	if (find_held(lock) != NULL) {
		raise_fault(WR_LOCK_FAULT_RECURSION, lock, lock, NULL);
		return false;
	}
	for (unsigned i = nr_held; i-- > 0;) {
		enum wr_lock_fault_kind kind = judge(lock, held[i].lock);

		if (kind != WR_NR_LOCK_FAULTS) {
			raise_fault(kind, lock, held[i].lock, NULL);
			break;
		}
	}
	return true;
}

/* Undefined for a rwlock, and a lie for a mutex: leave it out when the thread holds it. */
bool wr_validate_try(const struct wr_lock *lock)
{
	return find_held(lock) == NULL;
}

void wr_validate_taken(struct wr_lock *lock, enum wr_lock_mode mode, const void *site)
{
	wr_fetch_add_relaxed(&lock->holders, 1);
	if (nr_held == WR_LOCK_HELD_MAX) {
		nr_untracked++;
		raise_fault(WR_LOCK_FAULT_FULL, lock, NULL, NULL);
		return;
	}
	find_site(site, true);
	held[nr_held++] = (struct held){.lock = lock, .mode = mode, .site = site};
}

static void forget(struct held *h)
{
	wr_fetch_sub_relaxed(&h->lock->holders, 1);
	memmove(h, h + 1, (size_t)(&held[nr_held] - (h + 1)) * sizeof(*h));
	nr_held--;
}

bool wr_validate_release(struct wr_lock *lock, enum wr_lock_mode mode)
{
	struct held *h = find_held(lock);

	if (h == NULL && nr_untracked > 0) {
		wr_fetch_sub_relaxed(&lock->holders, 1);
		nr_untracked--;
		return true;
	}
	if (h == NULL) {
		raise_fault(WR_LOCK_FAULT_NOT_OWNER, lock, NULL, NULL);
		return false;
	}
	if (h->mode != mode)
		raise_fault(WR_LOCK_FAULT_MODE, lock, lock, NULL);
	forget(h);
	return true;
}

bool wr_validate_wait(struct wr_lock *lock)
{
	struct held *h = find_held(lock);

	if (h == NULL) {
		raise_fault(WR_LOCK_FAULT_NOT_OWNER, lock, NULL, "condition");
		return false;
	}
	if (nr_held > 1) {
		const struct wr_lock *other = held[h == &held[0] ? 1 : 0].lock;

		raise_fault(WR_LOCK_FAULT_COND_OUTER, lock, other, NULL);
	}
	forget(h);
	return true;
}

void wr_validate_ended(const struct wr_lock *lock)
{
	if (wr_load_relaxed(&lock->holders) != 0)
		raise_fault(WR_LOCK_FAULT_ENDED, lock, NULL, NULL);
}

static void assert_held(const struct wr_lock *lock)
{
	if (find_held(lock) == NULL && nr_untracked == 0)
		raise_fault(WR_LOCK_FAULT_NOT_HELD, lock, NULL, NULL);
}

WR_NO_THREAD_SAFETY void wr_mutex_assert_held(struct wr_mutex *m)
{
	assert_held(&m->lock);
}

WR_NO_THREAD_SAFETY void wr_rwlock_assert_held(struct wr_rwlock *l)
{
	assert_held(&l->lock);
}

WR_NO_THREAD_SAFETY void wr_spin_assert_held(struct wr_spin *s)
{
	assert_held(&s->lock);
}

void wr_might_block(const char *what)
{
	for (unsigned i = nr_held; i-- > 0;) {
		if (!forbids_blocking(held[i].lock))
			continue;
		raise_fault(WR_LOCK_FAULT_BLOCK, NULL, held[i].lock, what);
		return;
	}
}

void wr_lock_assert_none_held(const char *what)
{
	if (nr_held > 0)
		raise_fault(WR_LOCK_FAULT_HELD, NULL, held[nr_held - 1].lock, what);
}

#else
/* An empty translation unit is not ISO C. */
extern int wr_validate_absent;
#endif /* WR_DEBUG */
