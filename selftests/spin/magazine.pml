/* SPDX-License-Identifier: MIT */
/*
 * The gate and the cell of lib/pool, as a model: an owner that allocates and frees a block
 * out of its magazine with plain stores, a thread that frees the same span remotely, and a
 * claimer that drains the magazine and hands the block to a third party.
 *
 * Plain stores of the owner go through a store buffer of two words, which may be emptied at
 * any time and in order, as on x86; everybody else's actions are locked instructions or
 * system calls, which empty their own. The barrier empties the owner's: that is membarrier.
 * What compilers may do is outside of this model.
 *
 * Checked:
 *  - nobody is inside the gate while it is claimed                    (assert in CLAIMER)
 *  - a block is in one place: a magazine, an outbox, the zone, or live (place counts)
 *  - a span freed by two is one block given back, however it went     (assert at the end)
 *
 * Seeded faults, each of which must be found:
 *   MUTANT_NO_BARRIER  the claimer does not make the owner's store visible
 *   MUTANT_NO_CHECK  a remote block comes home without a look at what its cell holds
 */

#define EVEN 0 /* the cell: in no span; 1: live; 2: freed remotely */
#define LIVE 1
#define REMOTE 2

byte cell = EVEN;
bit inside = 0;
bit claimed = 0;
byte magazine = 1; /* how often the block lies there; the owner's, [GATE] */
byte outbox = 0;   /* how often it is on its way home */
byte zone = 0;

/* The owner's store buffer: what and which value, oldest first. */
#define TO_INSIDE 1
#define TO_CELL 2
byte b_what[2];
byte b_value[2];
byte b_nr = 0;

inline empty_one()
{
	if
	:: b_what[0] == TO_INSIDE -> inside = b_value[0]
	:: b_what[0] == TO_CELL -> cell = b_value[0]
	fi;
	b_what[0] = b_what[1];
	b_value[0] = b_value[1];
	b_what[1] = 0;
	b_nr = b_nr - 1
}

inline store(what, value)
{
	atomic {
		b_nr < 2;
		b_what[b_nr] = what;
		b_value[b_nr] = value;
		b_nr = b_nr + 1
	}
}

/* A load sees the thread's own stores, the newest first. */
inline load_cell(ret)
{
	d_step {
		if
		:: b_nr == 2 && b_what[1] == TO_CELL -> ret = b_value[1]
		:: else ->
			if
			:: b_nr > 0 && b_what[0] == TO_CELL -> ret = b_value[0]
			:: else -> ret = cell
			fi
		fi
	}
}

bit given = 0; /* the owner has published the span */
byte nr_told = 0;
bit owner_done = 0;
bit remote_done = 0;
byte nr_inside = 0; /* who is where only one may be */

proctype BUFFER()
{
	do
	:: atomic { b_nr > 0 -> empty_one() }
	:: owner_done && b_nr == 0 -> break
	od
}

inline enter()
{
	do
	:: store(TO_INSIDE, 1);
	   if
	   :: claimed == 0 -> break
	   :: else -> store(TO_INSIDE, 0); claimed == 0
	   fi
	od;
	nr_inside++
}

inline leave()
{
	nr_inside--;
	store(TO_INSIDE, 0)
}

proctype OWNER()
{
	byte word;

	/* Allocate, if the block is there. */
	enter();
	if
	:: magazine > 0 ->
		magazine--;
		load_cell(word);
		assert(word == EVEN);
		store(TO_CELL, LIVE);
		leave();
		/* Handing the span to another thread is a locked instruction somewhere. */
		b_nr == 0;
		given = 1;
		/* And free it. */
		enter();
		load_cell(word);
		if
		:: word == LIVE ->
			store(TO_CELL, EVEN);
			magazine++;
			nr_told++
		:: else -> skip
		fi;
		leave();
		/* And allocate again, what the magazine has. */
		enter();
		if
		:: magazine > 0 ->
			assert(magazine == 1);
			load_cell(word);
			assert(word != LIVE)
		:: else -> skip
		fi;
		leave()
	:: else -> leave()
	fi;
	owner_done = 1
}

proctype REMOTE_FREE()
{
	(given == 1 || owner_done);
	if
	:: given ->
		atomic {
			if
			:: cell == LIVE -> cell = REMOTE; outbox++; nr_told++
			:: else -> skip
			fi
		}
	:: else -> skip
	fi;
	remote_done = 1
}

/* Twice: in the middle, and when all is done, to bring everything home. */
inline claim()
{
	claimed = 1;
#ifndef MUTANT_NO_BARRIER
	atomic {
		do
		:: b_nr > 0 -> empty_one()
		:: else -> break
		od
	};
#endif
	inside == 0;
	nr_inside++;
	assert(nr_inside == 1);
	/* Bring home what was freed remotely. */
	do
	:: outbox > 0 ->
		outbox--;
#ifndef MUTANT_NO_CHECK
		if
		:: cell == REMOTE -> cell = EVEN; magazine++
		:: else -> skip /* the owner's free covered it: it was freed twice */
		fi
#else
		cell = EVEN;
		magazine++
#endif
	:: else -> break
	od;
	/* Drain. */
	zone = zone + magazine;
	magazine = 0;
	assert(zone <= 1);
	nr_inside--;
	claimed = 0
}

proctype CLAIMER()
{
	if
	:: claim()
	:: skip
	fi;
	(owner_done && remote_done && b_nr == 0);
	claim();
	assert(zone == 1)
}

init
{
	atomic {
		run BUFFER();
		run OWNER();
		run REMOTE_FREE();
		run CLAIMER()
	}
}
