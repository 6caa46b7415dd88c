/* SPDX-License-Identifier: MIT */
/* What files a process has mapped, and the way to the very files. */
#ifndef WR_TRACE_MAPS_H
#define WR_TRACE_MAPS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct wr_mapping {
	uint64_t begin, end;
	uint64_t offset;	   /* in the file */
	unsigned int major, minor; /* of the device that the inode is of */
	uint64_t ino;
	bool is_code;
	char path[PATH_MAX]; /* as the process sees it */
};

/* Field by field; false: not a line of /proc/PID/maps, or of no file. */
bool wr_mapping_line(const char *line, struct wr_mapping *ret);

/*
 * Calls fn() for each mapping of a file; another value than 0 ends the walk. 0, what fn() returned,
 * or why the process cannot be looked at.
 */
int wr_mapping_each(int pid, int (*fn)(void *arg, const struct wr_mapping *m), void *arg);

/*
 * A descriptor of what is mapped, not of what bears its name now: through map_files, or, where the
 * rights for that are missing, by the name when the inode is the one that is mapped.
 */
int wr_mapping_open(int pid, const struct wr_mapping *m);

/* The regular file @path as process @pid sees it, or as this one does when that has ended. */
int wr_mapping_open_path(int pid, const char *path);

#endif /* WR_TRACE_MAPS_H */
