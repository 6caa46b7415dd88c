/* SPDX-License-Identifier: MIT */
/* The files that a process runs code of, and the probe sites of weir in them. */
#ifndef WR_TRACE_SITES_H
#define WR_TRACE_SITES_H

#include <stddef.h>
#include <stdint.h>

/* Places of one probe in one file. */
#define WR_SITES_MAX 64u

struct wr_sites {
	size_t nr;
	uint64_t offset[WR_SITES_MAX];
	uint64_t semaphore[WR_SITES_MAX];
	uint64_t cookie[WR_SITES_MAX]; /* a byte for each argument, the first lowest */
};

/*
 * Calls fn() with a descriptor of each file that is mapped to be run, each once; another value than
 * 0 ends the walk. The descriptor is closed afterwards. A file that cannot be opened is left out.
 * 0, what fn() returned, or why the process cannot be looked at.
 */
int wr_sites_each_file(int pid, int (*fn)(void *arg, int fd), void *arg);

/* Sites of the probe in a file; 0 of them in what is no file with sites. 0 or -ENOMEM. */
int wr_sites_find(int fd, const char *probe, struct wr_sites *ret);

#endif /* WR_TRACE_SITES_H */
