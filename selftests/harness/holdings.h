/* SPDX-License-Identifier: MIT */
/* What a process holds of the system: counted before and after, to see that nothing is left. */
#ifndef WR_TEST_HOLDINGS_H
#define WR_TEST_HOLDINGS_H

/* Open file descriptors of this process, or -errno. */
int nr_open_files(void);

/*
 * Threads of this process that have not begun to exit, or -errno. The kernel lists a thread for a
 * moment after pthread_join() has returned; such a one is not counted.
 */
int nr_living_threads(void);

#endif /* WR_TEST_HOLDINGS_H */
