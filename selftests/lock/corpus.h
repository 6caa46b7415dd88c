/* SPDX-License-Identifier: MIT */
/*
 * Small programs that take locks, as tables: which locks there are and what each thread does. The
 * wrong ones say which fault the validator must find, by the list of ranks and by the order it saw;
 * the right ones must leave it silent.
 *
 * What a thread does is a text of steps, each an operation, the letter of a lock, and for one lock
 * of several a number:
 *
 *   +a -a   take and release: mutex, spin, rwlock for writing
 *   <a >a   the same for reading
 *   ?a      try; when somebody holds it, the next -a is left out
 *   &a  *a  !a  /a   of several: hand over hand from the first to the last; take all from the first
 *           on; take all from the last on; release all
 *   ca      wait for a condition with a, until a moment that is past
 *   b n     about to block; about to call out of the library
 *   ha ea   the caller must hold a; a ends
 */
#ifndef WR_SELFTESTS_LOCK_CORPUS_H
#define WR_SELFTESTS_LOCK_CORPUS_H

#include "lock/lock.h"
#include "lock/validate.h"

enum corpus_kind { CORPUS_MUTEX, CORPUS_RWLOCK, CORPUS_SPIN };

#define CORPUS_MAX_LOCKS   6
#define CORPUS_MAX_THREADS 5

struct corpus_lock {
	char id; /* 0 ends the list */
	enum corpus_kind kind;
	enum wr_lock_rank rank;
	unsigned nr;	   /* 0: one */
	bool many_classes; /* of several: each has a name of its own */
};

/* No fault. */
#define CORPUS_SILENT WR_NR_LOCK_FAULTS

struct corpus_program {
	const char *name;
	struct corpus_lock locks[CORPUS_MAX_LOCKS + 1];
	const char *threads[CORPUS_MAX_THREADS + 1];
	/* The first fault that each check finds when it is the only one. */
	enum wr_lock_fault_kind by_rank, by_graph;
	unsigned nr_cycle; /* of CYCLE */
};

extern const struct corpus_program corpus_wrong[];
extern const unsigned corpus_nr_wrong;
extern const struct corpus_program corpus_right[];
extern const unsigned corpus_nr_right;

struct corpus_result {
	enum wr_lock_fault_kind first; /* CORPUS_SILENT: none */
	unsigned nr_cycle;
	unsigned nr_faults;
	bool ended; /* false: it hung or crashed */
};

/*
 * Run @program in a process of its own with @checks: its threads one after the other, or, @rounds
 * times over, all at once. A wrong program run one after the other never hangs.
 */
struct corpus_result corpus_run(const struct corpus_program *program, unsigned checks,
				unsigned rounds);

/* Two programs that differ only in the letters of their locks have the same form. */
#define CORPUS_FORM_BYTES 4096
void corpus_form(const struct corpus_program *program, char form[static CORPUS_FORM_BYTES]);

#endif /* WR_SELFTESTS_LOCK_CORPUS_H */
