/* SPDX-License-Identifier: MIT */
/*
 * The validator: what each thread holds, and the rules of lock/rank.h and lock/graph.h checked
 * against it. All state is the thread's own, except the graph and the table of places from which
 * locks were ever taken. That table keeps one stack per place, taken the first time (a stack costs
 * about a microsecond, a look-up a few nanoseconds), so debug builds stay usable under load.
 *
 * A take is usually settled by one comparison. Without the graph, the ranks that a thread holds are
 * a mask, and one more mask per rank says which of them could be wrong: none of those held, nothing
 * to find. With the graph, the classes that a thread holds make a number, and a number that was
 * checked before needs no second look. Only what is left walks the list. A pair of one rank is
 * always left, so recursion and the order of addresses are seen each time.
 *
 * What it does not see: an order that no thread walks, locks that are not ours, and a take by
 * trylock, which is recorded as held but is not itself bound to the order since it never waits.
 */
#include "lock/validate.h"

#if WR_LOCK_CHECK

#include <errno.h>
#include <execinfo.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "lock/graph.h"
#include "lock/held.h"
#include "lock/rcu.h"

#define NR_FRAMES 16
#define NR_SITES  1024 /* power of two */
#define NR_PROBES 32   /* after so many steps a place goes without a stack of its own */

_Thread_local struct wr_lock_thread wr_lock_self;
#define self (&wr_lock_self)

struct site {
	_Atomic(uintptr_t) key; /* [atomic] return address; 0: free */
	_Atomic int nr_frames;	/* [atomic] 0 until frames are written */
	void *frames[NR_FRAMES];
};

static struct site sites[NR_SITES];

_Atomic unsigned wr_lock_checks = WR_LOCK_CHECK_RANK | WR_LOCK_CHECK_GRAPH;
static _Atomic uint64_t hold_limit_ns; /* [atomic] 0 while CHECK_HOLD is not set */

static const char *const meanings[] = {
#define MEANING(name, text) text,
	WR_LOCK_FAULTS(MEANING)
#undef MEANING
};

_Static_assert(WR_NR_RANKS <= 64, "ranks are bits of a word");

/* The ranks that forbid blocking. */
enum {
	NO_BLOCK_RANKS = UINT64_C(0)
#define NO_BLOCK_BIT(rank_name, flags, text) \
	| (((flags)&WR_LOCK_NO_BLOCK) != 0 ? UINT64_C(1) << WR_RANK_##rank_name : 0)
		WR_LOCK_RANKS(NO_BLOCK_BIT)
#undef NO_BLOCK_BIT
};

/*
 * For each rank, those under which taking it may be a fault: its own and what stands below it, and
 * for a rank that may block all that forbid it.
 */
const uint64_t wr_lock_conflicts[] = {
#define CONFLICTS(rank_name, flags, text)             \
	~((UINT64_C(1) << WR_RANK_##rank_name) - 1) | \
		(((flags)&WR_LOCK_NO_BLOCK) != 0 ? 0u : (uint64_t)NO_BLOCK_RANKS),
	WR_LOCK_RANKS(CONFLICTS)
#undef CONFLICTS
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

static void print_held(const struct wr_lock_held *h)
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
	if (fault->kind == WR_LOCK_FAULT_CYCLE)
		wr_graph_print_way(wr_load_relaxed(&fault->lock->class_id),
				   wr_load_relaxed(&fault->held->class_id));
	fprintf(stderr, "  this thread is at:\n");
	backtrace_symbols_fd(frames, backtrace(frames, NR_FRAMES), STDERR_FILENO);
	for (unsigned i = self->nr_held; i-- > 0;)
		print_held(&self->held[i]);
	abort();
}

typedef void (*fault_hook)(const struct wr_lock_fault *fault);
static _Atomic(fault_hook) hook = print_and_abort; /* [atomic] */

void wr_lock_set_fault_hook(void (*new_hook)(const struct wr_lock_fault *fault))
{
	wr_store_relaxed(&hook, new_hook != NULL ? new_hook : print_and_abort);
}

void wr_lock_set_checks(unsigned checks)
{
	unsigned hold = wr_load_relaxed(&wr_lock_checks) & WR_LOCK_CHECK_HOLD;

	wr_store_relaxed(&wr_lock_checks, (checks & ~WR_LOCK_CHECK_HOLD) | hold);
	/* What was checked by other rules is to be checked again. */
	for (size_t i = 0; i < wr_array_size(wr_graph_chains); i++)
		wr_store_relaxed(&wr_graph_chains[i], 0);
}

void wr_lock_set_hold_limit(uint64_t limit_ns)
{
	wr_store_relaxed(&hold_limit_ns, limit_ns);
	if (limit_ns != 0)
		wr_fetch_or_relaxed(&wr_lock_checks, WR_LOCK_CHECK_HOLD);
	else
		wr_fetch_and_acq_rel(&wr_lock_checks, ~WR_LOCK_CHECK_HOLD);
}

static void raise_cycle(enum wr_lock_fault_kind kind, const struct wr_lock *lock,
			const struct wr_lock *other, const char *what, unsigned nr_cycle)
{
	struct wr_lock_fault fault = {
		.kind = kind,
		.meaning = meanings[kind],
		.what = what,
		.lock = lock,
		.held = other,
		.nr_cycle = nr_cycle,
	};

	wr_load_relaxed (&hook)(&fault);
}

static void raise_fault(enum wr_lock_fault_kind kind, const struct wr_lock *lock,
			const struct wr_lock *other, const char *what)
{
	raise_cycle(kind, lock, other, what, 0);
}

unsigned wr_lock_nr_held(void)
{
	return self->nr_held + self->nr_untracked;
}

static struct wr_lock_held *find_held(const struct wr_lock *lock)
{
	for (unsigned i = self->nr_held; i-- > 0;) {
		if (self->held[i].lock == lock)
			return &self->held[i];
	}
	return NULL;
}

static bool has_flag(const struct wr_lock *lock, unsigned flag)
{
	return (wr_lock_rank_flags(lock->rank) & flag) != 0;
}

/* The fault that taking @lock under @above would be by the list, or WR_NR_LOCK_FAULTS. */
static enum wr_lock_fault_kind judge(const struct wr_lock *lock, const struct wr_lock *above,
				     unsigned on)
{
	if (above->rank == lock->rank) {
		if (has_flag(lock, WR_LOCK_BY_ADDRESS))
			return above > lock ? WR_LOCK_FAULT_SAME_RANK : WR_NR_LOCK_FAULTS;
		/* Without the list, locks of one rank and different names are ordered as seen. */
		if ((on & WR_LOCK_CHECK_RANK) != 0 || above->class_id == lock->class_id)
			return WR_LOCK_FAULT_SAME_RANK;
		return WR_NR_LOCK_FAULTS;
	}
	if ((on & WR_LOCK_CHECK_RANK) != 0 && above->rank > lock->rank)
		return WR_LOCK_FAULT_ORDER;
	if (has_flag(above, WR_LOCK_NO_BLOCK) && !has_flag(lock, WR_LOCK_NO_BLOCK))
		return WR_LOCK_FAULT_BLOCK;
	return WR_NR_LOCK_FAULTS;
}

/* Learn all orders that taking @lock now shows. False when one of them closes a cycle. */
static bool learn(struct wr_lock *lock)
{
	for (unsigned i = self->nr_held; i-- > 0;) {
		struct wr_lock *above = self->held[i].lock;
		unsigned nr_cycle = 0;

		/* Pairs by address have an order of their own. */
		if (above->rank == lock->rank && has_flag(lock, WR_LOCK_BY_ADDRESS))
			continue;
		if (wr_graph_learn(wr_graph_class(above), wr_graph_class(lock), &nr_cycle) ==
		    WR_GRAPH_CYCLE) {
			raise_cycle(WR_LOCK_FAULT_CYCLE, lock, above, NULL, nr_cycle);
			return false;
		}
	}
	return true;
}

bool wr_validate_take_slowly(struct wr_lock *lock, unsigned on, uint64_t chain)
{
	if (find_held(lock) != NULL) {
		raise_fault(WR_LOCK_FAULT_RECURSION, lock, lock, NULL);
		return false;
	}
	for (unsigned i = self->nr_held; i-- > 0;) {
		enum wr_lock_fault_kind kind = judge(lock, self->held[i].lock, on);

		if (kind != WR_NR_LOCK_FAULTS) {
			raise_fault(kind, lock, self->held[i].lock, NULL);
			return true;
		}
	}
	if ((on & WR_LOCK_CHECK_GRAPH) == 0 || !learn(lock))
		return true;
	if ((self->ranks & UINT64_C(1) << lock->rank) == 0)
		wr_graph_chain_add(chain);
	return true;
}

/* A lock that may block, in a read section of RCU. */
void wr_validate_reading(const struct wr_lock *lock)
{
	if (!has_flag(lock, WR_LOCK_NO_BLOCK))
		raise_fault(WR_LOCK_FAULT_RCU, lock, NULL, NULL);
}

void wr_validate_read_begin(void)
{
	self->nr_readers++;
}

void wr_validate_read_end(void)
{
	wr_assert(self->nr_readers > 0);
	self->nr_readers--;
}

/* Undefined for a rwlock, and a lie for a mutex: leave it out when the thread holds it. */
bool wr_validate_try(const struct wr_lock *lock)
{
	return find_held(lock) == NULL;
}

void wr_validate_full(struct wr_lock *lock)
{
	self->nr_untracked++;
	raise_fault(WR_LOCK_FAULT_FULL, lock, NULL, NULL);
}

void wr_validate_site(const void *site)
{
	find_site(site, true);
}

/* Takes out one of the list's middle: what is above it no longer stands on it. */
static void forget(struct wr_lock_held *h)
{
	struct wr_lock_held *end = &self->held[--self->nr_held];
	unsigned on = wr_load_relaxed(&wr_lock_checks);

	wr_validate_count(h->lock, h->mode, (uint64_t)-1);
	self->ranks = h->ranks;
	self->chain = h->chain;
	if (h == end)
		return;
	memmove(h, h + 1, (size_t)(end - h) * sizeof(*h));
	for (; h < end; h++)
		wr_validate_push(self, h, on);
}

static void check_hold(const struct wr_lock_held *h)
{
	uint64_t limit_ns = wr_load_relaxed(&hold_limit_ns);

	if (limit_ns != 0 && wr_now_ns() - h->since_ns > limit_ns)
		raise_fault(WR_LOCK_FAULT_HELD_LONG, h->lock, h->lock, NULL);
}

bool wr_validate_release_slowly(struct wr_lock *lock, enum wr_lock_mode mode)
{
	struct wr_lock_held *h = find_held(lock);

	if (h == NULL && self->nr_untracked > 0) {
		wr_validate_count(lock, mode, (uint64_t)-1);
		self->nr_untracked--;
		return true;
	}
	if (h == NULL) {
		raise_fault(WR_LOCK_FAULT_NOT_OWNER, lock, NULL, NULL);
		return false;
	}
	if (h->mode != mode)
		raise_fault(WR_LOCK_FAULT_MODE, lock, lock, NULL);
	if (h->since_ns != 0)
		check_hold(h);
	forget(h);
	return true;
}

bool wr_validate_wait(struct wr_lock *lock)
{
	struct wr_lock_held *h = find_held(lock);

	if (h == NULL) {
		raise_fault(WR_LOCK_FAULT_NOT_OWNER, lock, NULL, "condition");
		return false;
	}
	if (self->nr_readers > 0)
		raise_fault(WR_LOCK_FAULT_RCU, lock, NULL, NULL);
	if (self->nr_held > 1) {
		const struct wr_lock *other = self->held[h == &self->held[0] ? 1 : 0].lock;

		raise_fault(WR_LOCK_FAULT_COND_OUTER, lock, other, NULL);
	}
	if (h->since_ns != 0)
		check_hold(h);
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
	if (find_held(lock) == NULL && self->nr_untracked == 0)
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
	if (self->nr_readers > 0) {
		raise_fault(WR_LOCK_FAULT_RCU, NULL, NULL, what);
		return;
	}
	for (unsigned i = self->nr_held; i-- > 0;) {
		if (!has_flag(self->held[i].lock, WR_LOCK_NO_BLOCK))
			continue;
		raise_fault(WR_LOCK_FAULT_BLOCK, NULL, self->held[i].lock, what);
		return;
	}
}

void wr_lock_assert_none_held(const char *what)
{
	if (self->nr_held > 0)
		raise_fault(WR_LOCK_FAULT_HELD, NULL, self->held[self->nr_held - 1].lock, what);
}

#else
/* An empty translation unit is not ISO C. */
extern int wr_validate_absent;
#endif /* WR_LOCK_CHECK */
