/* SPDX-License-Identifier: MIT */
/*
 * What a process holds of the system: counted before and after, to see that nothing is left; and
 * what its threads do.
 */
#ifndef WR_TEST_HOLDINGS_H
#define WR_TEST_HOLDINGS_H

#include <stdbool.h>

/* Open file descriptors of this process, or -errno. */
int nr_open_files(void);

/*
 * Threads of this process that have not begun to exit, or -errno. The kernel lists a thread for a
 * moment after pthread_join() has returned; such a one is not counted.
 */
int nr_living_threads(void);

/* Whether a thread of this process waits for something now; not when there is none of that number. */
bool thread_sleeps(int tid);

#endif /* WR_TEST_HOLDINGS_H */
