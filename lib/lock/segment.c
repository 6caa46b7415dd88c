/* SPDX-License-Identifier: MIT */
/*
 * Writing lock times into shared memory: three tables laid out as weir/trace_abi.h says, in a memfd
 * or in the pinned maps of a trace (tables.c). Writers are the threads that release locks; several may write to one slot,
 * so each number is a relaxed locked add. That is dear only where it is rare: sampled takes, and
 * takes that waited anyway.
 *
 * Guarantees:
 * a) A writer never touches memory that stop() gave back: it counts itself in before it looks at
 *    the pointer, and stop() takes the pointer away and then waits for that count.
 * b) A slot is freed by the end of its lock, which nobody holds. A record that is still on its way
 *    then finds another address in the slot and is dropped; only if the slot changes hands in the
 *    middle of one record does the next lock get a number that is not its own.
 * c) The file cannot shrink (sealed), so a reader's map stays valid whatever we do.
 * d) When the tables move to another memory, no record is lost and none is counted twice: writers
 *    wait outside while they are copied. Tried and dropped: letting them go on in the new tables
 *    and adding the old numbers later, which loses the records of slots that are taken meanwhile.
 *
 * Nothing here takes a lock of ours: it would be timed.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "lock/tables.h"
#include "lock/timing.h"

#define NR_SLOTS WEIR_LOCK_SLOTS

/* A lock's slot number: which memory, and the slot in it plus one. */
#define SLOT_BITS 16
_Static_assert(NR_SLOTS < 1u << SLOT_BITS, "a slot and the number of its memory share 32 bits");

_Static_assert(offsetof(struct weir_lock_self, name) % 8 == 0, "cleared by words");
_Static_assert(WEIR_LOCK_NO_BLOCK == WR_LOCK_NO_BLOCK, "flags are the same inside and outside");
_Static_assert(WEIR_LOCK_BY_ADDRESS == WR_LOCK_BY_ADDRESS, "flags are the same inside and outside");

struct segment {
	struct wr_lock_tables t; /* changed only while nobody is in */
	uint32_t number;	 /* from 1 on, and again from 1 after 2^16 */
	_Atomic uint32_t nr_used;
	_Atomic uint8_t used[NR_SLOTS];
};

/* start() and stop(), and fork() between them; a plain one, see above. */
static pthread_mutex_t switching = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static struct segment segment;		  /* [switching], read by writers while current is set */
static struct segment moving;		  /* its address: the tables are between two places */
static _Atomic(struct segment *) current; /* [atomic] NULL: off */
static _Atomic uint32_t nr_writers;	  /* [atomic] */
static char follow_dir[256] = WEIR_TRACE_PIN_DIR; /* [switching] */
static bool is_asked_for;			  /* [switching] not only by a trace */
static uint32_t refused_pin;			  /* [switching] stopped in spite of it */

/* What is shared with others is of plain types: see weir/trace_abi.h. */
static void add(__u64 *to, uint64_t n)
{
	__atomic_fetch_add(to, n, __ATOMIC_RELAXED);
}

static void raise_to(__u64 *to, uint64_t n)
{
	__u64 seen = __atomic_load_n(to, __ATOMIC_RELAXED);

	while (seen < n &&
	       !__atomic_compare_exchange_n(to, &seen, n, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

static void leave(void)
{
	/* L2: pairs with the acquire in empty(): what we wrote is written. */
	wr_fetch_sub_release(&nr_writers, 1);
}

/* Sleeps, since who moves the tables may be of a lower priority than we. */
static struct segment *enter(void)
{
	for (;;) {
		struct segment *s;

		/* L1: pairs with the exchange in empty(): either it sees us or we see what it put. */
		wr_fetch_add_seq_cst(&nr_writers, 1);
		s = wr_load_seq_cst(&current);
		if (s != &moving)
			return s;
		leave();
		nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
	}
}

static uint32_t index_of(uint32_t ref)
{
	return (ref & ((1u << SLOT_BITS) - 1)) - 1;
}

/* NULL when the number is of another memory. */
static struct weir_lock_self *slot_of(struct segment *s, uint32_t ref)
{
	return s != NULL && ref >> SLOT_BITS == s->number ? &s->t.slots[index_of(ref)] : NULL;
}

/* The number of a slot that was free, or 0. */
static uint32_t take_slot(struct segment *s)
{
	static _Atomic uint32_t hint;
	uint32_t at = wr_load_relaxed(&hint);

	if (wr_load_relaxed(&s->nr_used) == NR_SLOTS)
		return 0;
	for (uint32_t i = 0; i < NR_SLOTS; i++) {
		uint32_t slot = (at + i) % NR_SLOTS;
		uint8_t was = 0;

		if (wr_load_relaxed(&s->used[slot]) != 0 ||
		    !wr_cas_acq_rel(&s->used[slot], &was, 1))
			continue;
		wr_fetch_add_relaxed(&s->nr_used, 1);
		wr_store_relaxed(&hint, slot + 1);
		return s->number << SLOT_BITS | (slot + 1);
	}
	return 0;
}

static void free_slot(struct segment *s, uint32_t ref)
{
	wr_fetch_sub_relaxed(&s->nr_used, 1);
	/* S1: pairs with the compare in take_slot(). */
	wr_store_release(&s->used[index_of(ref)], 0);
}

/* A reader that sees an odd number, or another after than before, reads again. */
static void begin_change(struct weir_lock_self *slot)
{
	__atomic_fetch_add(&slot->seq, 1, __ATOMIC_ACQ_REL);
}

static void end_change(struct weir_lock_self *slot)
{
	__atomic_fetch_add(&slot->seq, 1, __ATOMIC_RELEASE);
}

/* Everything but the number of changes, by words: a late record may still be adding. */
static void clear_slot(struct weir_lock_self *slot)
{
	__u64 *word = (__u64 *)(void *)slot->name;

	begin_change(slot);
	__atomic_store_n(&slot->addr, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&slot->kind, 0, __ATOMIC_RELAXED);
	for (; (void *)word < (void *)(slot + 1); word++)
		__atomic_store_n(word, 0, __ATOMIC_RELAXED);
	end_change(slot);
}

static void name_slot(struct weir_lock_self *slot, const struct wr_lock *lock, const void *addr)
{
	begin_change(slot);
	slot->kind = lock->kind == 0 ? WEIR_LOCK_MUTEX : lock->kind;
	slot->rank = lock->rank;
	slot->bytes = lock->kind == WEIR_LOCK_RWLOCK ? sizeof(pthread_rwlock_t)
		      : lock->kind == WEIR_LOCK_SPIN ? sizeof(pthread_spinlock_t)
						     : sizeof(pthread_mutex_t);
	if (lock->name != NULL)
		strncpy(slot->name, lock->name, sizeof(slot->name) - 1);
	__atomic_store_n(&slot->addr, (uintptr_t)addr, __ATOMIC_RELAXED);
	end_change(slot);
}

uint32_t wr_segment_slot(struct wr_lock *lock, const void *addr)
{
	uint32_t ref = wr_load_acquire(&lock->slot), fresh;
	struct segment *s = enter();

	if (s == NULL || slot_of(s, ref) != NULL) {
		leave();
		return s == NULL ? 0 : ref;
	}
	fresh = take_slot(s);
	if (fresh == 0)
		add(&s->t.meta->nr_dropped, 1);
	if (fresh != 0)
		name_slot(&s->t.slots[index_of(fresh)], lock, addr);
	/* S2: pairs with the acquire at the top. Two readers may come here for one lock. */
	if (fresh != 0 && !wr_cas_acq_rel(&lock->slot, &ref, fresh)) {
		clear_slot(&s->t.slots[index_of(fresh)]);
		free_slot(s, fresh);
		fresh = ref;
	}
	leave();
	return fresh;
}

static unsigned bucket(uint64_t ns)
{
	unsigned bits = ns == 0 ? 0 : 64 - (unsigned)__builtin_clzll(ns);

	return wr_min(bits, WEIR_LOCK_BUCKETS - 1);
}

void wr_segment_add(const struct wr_timed *timed)
{
	struct segment *s = enter();
	struct weir_lock_self *slot = slot_of(s, timed->slot);

	/* Of another lock by now: see b) above. */
	if (slot == NULL ||
	    __atomic_load_n(&slot->addr, __ATOMIC_RELAXED) != (uintptr_t)timed->addr)
		goto out;
	add(&slot->acquisitions, timed->weight);
	add(&slot->hold_ns, timed->hold_ns);
	add(&slot->hold_all_ns, timed->hold_ns * timed->weight);
	raise_to(&slot->max_hold_ns, timed->hold_ns);
	__atomic_fetch_add(&slot->hold_log2_ns[bucket(timed->hold_ns)], 1, __ATOMIC_RELAXED);
	if (timed->wait_ns == 0) {
		add(&slot->sampled, 1);
		goto out;
	}
	add(&slot->contended, 1);
	add(&slot->wait_ns, timed->wait_ns);
	raise_to(&slot->max_wait_ns, timed->wait_ns);
	__atomic_fetch_add(&slot->wait_log2_ns[bucket(timed->wait_ns)], 1, __ATOMIC_RELAXED);
	__atomic_store_n(&slot->holder_tid, timed->holder_tid, __ATOMIC_RELAXED);
out:
	leave();
}

void wr_segment_forget(struct wr_lock *lock)
{
	uint32_t ref = wr_load_acquire(&lock->slot);
	struct weir_lock_self *slot;
	struct weir_lock_rank *rank;
	struct segment *s;

	if (ref == 0)
		return;
	s = enter();
	slot = slot_of(s, ref);
	if (slot != NULL) {
		rank = &s->t.ranks[lock->rank];
		add(&rank->acquisitions, slot->acquisitions);
		add(&rank->contended, slot->contended);
		add(&rank->sampled, slot->sampled);
		add(&rank->wait_ns, slot->wait_ns);
		add(&rank->hold_ns, slot->hold_ns);
		add(&rank->hold_all_ns, slot->hold_all_ns);
		__atomic_fetch_add(&rank->nr_ended, 1, __ATOMIC_RELAXED);
		clear_slot(slot);
		free_slot(s, ref);
	}
	leave();
	wr_store_relaxed(&lock->slot, 0);
}

/* From here on @to is all that enters, and nobody is in. */
static void empty(struct segment *to)
{
	/* L1: pairs with the add in enter(). */
	wr_exchange_seq_cst(&current, to);
	/* L2: pairs with the release in leave(). */
	while (wr_load_acquire(&nr_writers) != 0)
		sched_yield();
}

/* Readers see that nothing more comes; pinned maps, which stay, are nobody's again. */
static void end_tables(struct wr_lock_tables *t, uint32_t moved)
{
	__atomic_store_n(&t->meta->sample_every, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&t->meta->moved, moved, __ATOMIC_RELEASE);
	if (t->fd < 0)
		__atomic_store_n(&t->meta->magic, 0, __ATOMIC_RELEASE);
	wr_tables_close(t);
}

/* Into tables that may hold the numbers of an earlier time. */
static void begin_tables(struct wr_lock_tables *t)
{
	__atomic_store_n(&t->meta->magic, 0, __ATOMIC_RELEASE);
	memset(t->ranks, 0, WR_NR_RANKS * sizeof(*t->ranks));
	memset(t->slots, 0, NR_SLOTS * sizeof(*t->slots));
	wr_tables_fill(t);
}

/* Pinned maps when a trace has some for us, else a memfd. */
static int choose_tables(struct wr_lock_tables *ret)
{
	return wr_tables_open_pinned(follow_dir, 0, true, ret) == 0 ? 0 : wr_tables_make(ret);
}

static int bring(struct segment *s)
{
	uint32_t number = s->number % ((1u << SLOT_BITS) - 1) + 1;
	struct wr_lock_tables tables;
	int rc = choose_tables(&tables);

	if (rc != 0)
		return rc;
	begin_tables(&tables);
	memset(s, 0, sizeof(*s));
	s->number = number;
	s->t = tables;
	wr_store_seq_cst(&current, s);
	return 0;
}

static void take_away(struct segment *s)
{
	wr_store_relaxed(&wr_timing_every, 0);
	empty(NULL);
	end_tables(&s->t, 0);
}

/* Nobody is in, and each slot is as it was: the locks keep their numbers. */
static void copy_tables(const struct segment *s, struct wr_lock_tables *to)
{
	to->meta->started_ns = s->t.meta->started_ns;
	to->meta->nr_dropped = s->t.meta->nr_dropped;
	memcpy(to->ranks, s->t.ranks, WR_NR_RANKS * sizeof(*to->ranks));
	for (uint32_t i = 0; i < NR_SLOTS; i++) {
		if (wr_load_relaxed(&s->used[i]) != 0)
			to->slots[i] = s->t.slots[i];
	}
	__atomic_store_n(&to->meta->sample_every, s->t.meta->sample_every, __ATOMIC_RELAXED);
}

/* What can take long, the pages of the new tables, is done while the old ones are in use. */
static void move(struct segment *s, struct wr_lock_tables *to)
{
	struct wr_lock_tables old = s->t;

	begin_tables(to);
	empty(&moving);
	copy_tables(s, to);
	s->t = *to;
	wr_store_seq_cst(&current, s);
	end_tables(&old, 1);
}

static void before_fork(void)
{
	pthread_mutex_lock(&switching);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&switching);
}

/* The child writes to memory of its own or to none; what other threads were writing is not ours. */
static void after_fork_in_child(void)
{
	wr_store_relaxed(&nr_writers, 0);
	if (wr_load_relaxed(&current) != NULL) {
		wr_store_relaxed(&wr_timing_every, 0);
		wr_store_relaxed(&current, NULL);
		is_asked_for = false;
		/* Pinned maps are the parent's still: nothing is written there. */
		wr_tables_close(&segment.t);
	}
	pthread_mutex_unlock(&switching);
}

static void watch_forks(void)
{
	(void)pthread_atfork(before_fork, after_fork, after_fork_in_child);
}

static int start(uint32_t sample_every)
{
	int rc = 0;

	if (wr_load_relaxed(&current) == NULL)
		rc = bring(&segment);
	if (rc == 0) {
		__atomic_store_n(&segment.t.meta->sample_every, sample_every, __ATOMIC_RELAXED);
		wr_store_relaxed(&wr_timing_every, sample_every);
	}
	return rc;
}

int weir_lock_trace_start(uint32_t sample_every)
{
	int rc;

	if (sample_every == 0 || sample_every > WEIR_LOCK_SAMPLE_MAX)
		return -EINVAL;
	pthread_once(&fork_once, watch_forks);
	pthread_mutex_lock(&switching);
	rc = start(sample_every);
	if (rc == 0) {
		is_asked_for = true;
		refused_pin = 0;
	}
	pthread_mutex_unlock(&switching);
	return rc;
}

void weir_lock_trace_stop(void)
{
	pthread_mutex_lock(&switching);
	if (wr_load_relaxed(&current) != NULL) {
		refused_pin = segment.t.pin_id;
		take_away(&segment);
	}
	is_asked_for = false;
	pthread_mutex_unlock(&switching);
}

/* The trace is another one than the times are in. */
static int go_to_pins(void)
{
	struct wr_lock_tables tables;

	/* Not ours to write, or gone by now: all stays as it is. */
	if (wr_tables_open_pinned(follow_dir, 0, true, &tables) != 0)
		return 0;
	if (wr_load_relaxed(&current) != NULL) {
		move(&segment, &tables);
		return 0;
	}
	wr_tables_close(&tables);
	return start(WEIR_LOCK_SAMPLE_EVERY);
}

/* The pins are gone. Who did not ask for times has none again. */
static int go_back(void)
{
	struct wr_lock_tables tables;
	int rc = is_asked_for ? wr_tables_make(&tables) : 0;

	if (rc != 0 || !is_asked_for)
		take_away(&segment);
	else
		move(&segment, &tables);
	return rc;
}

int weir_lock_trace_follow(const char *pin_dir)
{
	uint32_t id;
	bool pinned;
	int rc = 0;

	if (pin_dir != NULL && strlen(pin_dir) >= sizeof(follow_dir))
		return -ENAMETOOLONG;
	pthread_once(&fork_once, watch_forks);
	pthread_mutex_lock(&switching);
	if (pin_dir != NULL)
		strcpy(follow_dir, pin_dir);
	id = wr_tables_pin_id(follow_dir);
	pinned = wr_load_relaxed(&current) != NULL && segment.t.fd < 0;
	if (id != 0 && !(pinned && id == segment.t.pin_id) && id != refused_pin)
		rc = go_to_pins();
	else if (id == 0 && pinned)
		rc = go_back();
	pthread_mutex_unlock(&switching);
	return rc;
}
