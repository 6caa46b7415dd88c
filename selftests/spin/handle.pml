/* SPDX-License-Identifier: MIT */
/*
 * The word of one handle (lib/pool/handle.h): two threads pin it and write, one thread moves
 * it between two places, two more free it. Checked over all interleavings:
 *
 *   (B) while a pin is held the block is live and nobody copies it;
 *   (C) what was written under a pin is there under the next, wherever the block lies;
 *       the place that was left is given back once, and never read after that;
 *   (D) a thread that sleeps until a move ends is woken: no invalid end state;
 *       a free and a pin never both succeed, and of two frees one does.
 *
 * Memory order is sequential here; what the code says with acquire and release is looked at
 * by the thread sanitizer. Waiting is modelled with the lock and the announcement, because
 * that is where a wake-up can be lost; the spinning before it adds nothing.
 *
 * Seeded faults, each of which must be found:
 *   MUTANT_BLIND_MOVE    the pins are looked at first, and the word is changed afterwards
 *   MUTANT_EARLY_LOOK    the mover looks for sleepers before it publishes
 *   MUTANT_LATE_ANNOUNCE the sleeper looks at the word before it announces itself
 *   MUTANT_EARLY_COPY    the copy is made first, and counts if the word is the same after it
 */
#define FREE	0
#define LIVE	1
#define MOVING	2
#define FREEING 3
#define NONE	2

#define NR_MOVES 2

byte state = LIVE;
byte pins;
bit at;			/* where the block lies: the location in the word */
bool is_taken[2] = { true, false };	/* the two places */
byte content[2];
byte written;		/* what a reader must find */
byte nr_waiters;
bool is_locked;		/* the lock of the condition */
byte nr_asleep;		/* threads in the condition's queue */
byte nr_wakes;		/* tokens given out by a broadcast */
byte nr_freed;		/* times */

/* The mover's part in waking: only who is asleep now gets a token. */
inline broadcast() {
	atomic { nr_wakes = nr_wakes + nr_asleep; nr_asleep = 0 }
}

inline lock() {
	atomic { !is_locked; is_locked = true }
}

inline unlock() {
	is_locked = false
}

/* Sleep until the state is not MOVING. */
inline wait_for_move() {
	lock();
#ifdef MUTANT_LATE_ANNOUNCE
	do
	:: state != MOVING -> break
	:: else ->
		nr_waiters++;
		atomic { is_locked = false; nr_asleep++ };
		atomic { nr_wakes > 0; nr_wakes-- };
		lock();
		nr_waiters--
	od;
#else
	nr_waiters++;
	do
	:: state != MOVING -> break
	:: else ->
		/* wr_cond_wait(): gives up the lock and sleeps in one step */
		atomic { is_locked = false; nr_asleep++ };
		atomic { nr_wakes > 0; nr_wakes-- };
		lock()
	od;
	nr_waiters--;
#endif
	unlock()
}

proctype pinner(byte left) {
	byte seen_pins;
	bit place;
	byte value;

	do
	:: left == 0 -> break
	:: else ->
		/* the CAS loop: look, then swap if nothing changed */
		if
		:: state == FREE || state == FREEING -> break
		:: state == MOVING -> wait_for_move()
		:: atomic { state == LIVE -> seen_pins = pins; place = at };
			if
			:: atomic { state == LIVE && pins == seen_pins && at == place ->
				pins++ };
				/* (B) and (C) */
				assert(is_taken[place]);
				atomic { value = content[place]; assert(value == written) };
				/* one writer at a time is the callers' business */
				atomic { value = 1 - written; content[place] = value; written = value };
				assert(state == LIVE && at == place && is_taken[place]);
				/* the unpin */
				pins--;
				left--
			:: else -> skip /* somebody else changed the word: look again */
			fi
		fi
	od
}

proctype mover() {
	byte left = NR_MOVES;
	bit from, to;
	byte copy;

	do
	:: left == 0 -> break
	:: else ->
		left--;
		/* a place for the twin, under the zone's lock */
		atomic {
			from = at;
			to = 1 - from;
			if
			:: !is_taken[to] -> is_taken[to] = true
			:: else -> break
			fi
		};
#ifdef MUTANT_EARLY_COPY
		if
		:: state == LIVE && pins == 0 -> copy = content[from]; content[to] = copy
		:: else -> is_taken[to] = false; goto next
		fi;
#endif
#ifdef MUTANT_BLIND_MOVE
		if
		:: state == LIVE && pins == 0 && at == from -> state = MOVING
		:: else -> is_taken[to] = false; goto next
		fi;
#else
		if
		:: atomic { state == LIVE && pins == 0 && at == from -> state = MOVING }
		:: else -> is_taken[to] = false; goto next
		fi;
#endif
#ifndef MUTANT_EARLY_COPY
		copy = content[from];
		content[to] = copy;
#endif
#ifdef MUTANT_EARLY_LOOK
		if
		:: nr_waiters > 0 ->
			atomic { at = to; state = LIVE };
			lock();
			broadcast();
			unlock()
		:: else -> atomic { at = to; state = LIVE }
		fi;
#else
		atomic { at = to; state = LIVE };
		if
		:: nr_waiters > 0 ->
			lock();
			broadcast();
			unlock()
		:: else
		fi;
#endif
		is_taken[from] = false;
		content[from] = NONE /* somebody else has it */
next:		skip
	od
}

proctype freer() {
	bit place;

	do
	:: state == FREE || state == FREEING -> break /* another was first */
	:: state == MOVING -> wait_for_move()
	:: atomic { state == LIVE && pins == 0 -> state = FREEING; place = at };
		nr_freed++;
		assert(nr_freed == 1);
		assert(is_taken[place] && pins == 0);
		is_taken[place] = false;
		content[place] = NONE;
		state = FREE;
		break
	:: state == LIVE && pins > 0 -> break /* -EBUSY */
	od
}

init {
	atomic {
		run pinner(1);
		run pinner(1);
		run mover();
		run freer();
		run freer()
	};
	/* all at their ends */
	_nr_pr == 1;
	assert(pins == 0 && nr_waiters == 0 && nr_asleep == 0);
	assert(state == LIVE || state == FREE);
	assert(state == FREE || (is_taken[at] && !is_taken[1 - at]));
	assert(state == LIVE || (!is_taken[0] && !is_taken[1]));
	assert((state == FREE) == (nr_freed == 1))
}
