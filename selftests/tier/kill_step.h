/* SPDX-License-Identifier: MIT */
/*
 * Where in its work a store's process is killed: a child kills itself at a step that was chosen for
 * it, or is killed at any time by its parent; which step that was is counted.
 */
#ifndef WR_TEST_KILL_STEP_H
#define WR_TEST_KILL_STEP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tier/internal.h"

/* Shared by parent and child; all zero at first. */
struct kill_steps {
	uint32_t aim;	      /* the step to die at; WR_STORE_NR_STEPS: none */
	_Atomic int64_t left; /* times it is passed before */
	_Atomic uint32_t now; /* the last that was passed, + 1 */
	_Atomic bool has_hit; /* the child has killed itself */
	_Atomic uint64_t nr_passed[WR_STORE_NR_STEPS];
	uint64_t nr_at[WR_STORE_NR_STEPS]; /* died at it */
	uint64_t nr_after[WR_STORE_NR_STEPS +
			  1]; /* was killed between it and the next; last: before any */
};

/* NULL: no memory. */
struct kill_steps *kill_steps_alloc(void);
void kill_steps_free(struct kill_steps *k);

/*
 * Before a child is made: every other one gets a step to die at, all steps in turn. The store in @dir
 * loses its manifest where the step is of making one.
 */
void kill_steps_aim(struct kill_steps *k, uint32_t round, const char *dir, unsigned int *seed);
/* In the child. */
void kill_steps_arm(struct kill_steps *k);
/* Kill @pid after at most @us, or when it has been seen dead. Its wait status. */
int kill_steps_end(struct kill_steps *k, pid_t pid, uint64_t us);
/* A table to stderr, and how many steps nobody died at or after. */
uint32_t kill_steps_print(const struct kill_steps *k);

#endif /* WR_TEST_KILL_STEP_H */
