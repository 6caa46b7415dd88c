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

/* Shared with the process that serves; each may be set at any time. Chances are per thousand. */
struct fault_knobs {
	_Atomic int read_code;	/* errno of reads that fail */
	_Atomic int write_code; /* of writes */
	_Atomic int sync_code;	/* of fsync and fdatasync; 0: they work */
	_Atomic uint32_t read_permille, write_permille, short_permille;
	_Atomic uint32_t delay_us;
	_Atomic int64_t
		room_bytes; /* to be allocated or written before ENOSPC; below 0: no limit */
	_Atomic uint64_t random;
	_Atomic uint64_t nr_reads, nr_writes, nr_syncs, nr_faults; /* seen; made */
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
