/* SPDX-License-Identifier: MIT */
/*
 * A file system that shows a folder and fails on request: a process of its own, mounted by FUSE, that
 * the test tells by shared memory what is to go wrong. Short reads, errors, delays and a full disk
 * then come through the kernel as they do from a device.
 */
#ifndef WR_TEST_FAULT_FS_H
#define WR_TEST_FAULT_FS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What a store asks of a file system. */
enum fault_op {
	FAULT_READ,
	FAULT_WRITE,
	FAULT_SYNC,	/* fsync and fdatasync of a file */
	FAULT_SYNC_DIR, /* fsync of a folder */
	FAULT_RENAME,
	FAULT_CREATE,
	FAULT_ALLOCATE,
	FAULT_TRUNCATE,
	FAULT_UNLINK,
	FAULT_NR_OPS
};

/* Of one kind of call. Chances are per thousand. */
struct fault_knob {
	_Atomic int code;		 /* errno of calls that fail */
	_Atomic uint32_t permille;	 /* that fail */
	_Atomic uint32_t short_permille; /* of reads and writes that do half of what was asked */
	_Atomic uint32_t delay_us;
	_Atomic uint64_t nr_calls, nr_faults; /* seen; made: failures, short ones and delays */
};

/* Shared with the process that serves; each may be set at any time. */
struct fault_knobs {
	struct fault_knob op[FAULT_NR_OPS];
	_Atomic int64_t
		room_bytes; /* to be allocated or written before ENOSPC; below 0: no limit */
	_Atomic uint64_t random;
};

struct fault_fs {
	char backing[256];
	char mount[256];
	pid_t server;
	struct fault_knobs *knobs;
};

/* Two folders beside each other; call with one thread. NULL, or what is missing here. */
const char *fault_fs_start(struct fault_fs *fs, const char *backing, const char *mount);
void fault_fs_stop(struct fault_fs *fs);

#endif /* WR_TEST_FAULT_FS_H */
