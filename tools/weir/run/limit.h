/* SPDX-License-Identifier: MIT */
/*
 * limit.h - Run a function in a child that may use only so much memory.
 *
 * The child lives in a memory cgroup of its own, version 1 or 2, whichever has the
 * memory controller. Page cache that it reads in counts, which is what makes mmap
 * under a limit a fair opponent; hugetlb pages do not count there.
 */
#ifndef WR_TOOLS_LIMIT_H
#define WR_TOOLS_LIMIT_H

#include <stddef.h>
#include <stdint.h>

#include <weir/base.h>

/**
 * struct wr_limit_report - How the child fared.
 * @status:      Its exit status, or 128 + the signal that ended it.
 * @version:     1 or 2: the cgroup version that held it; 0 without a limit.
 * @limit_bytes: The limit as the kernel took it (whole pages).
 * @peak_bytes:  Most memory it was charged with at one time.
 * @oom_kills:   How often the kernel killed for the limit.
 */
struct wr_limit_report {
	int status;
	int version;
	uint64_t limit_bytes;
	uint64_t peak_bytes;
	uint64_t oom_kills;
};

/**
 * wr_limit_run() - Run @fn in a child under a memory limit and wait for it.
 * @bytes:        The limit; swap is not allowed on top where that can be said. 0: none, and
 *                no cgroup either: just a child whose counters begin anew.
 * @fn:           Runs in the child; its return value is the exit status (0 to 255).
 *                What it stores at @result the caller finds there.
 * @arg:          For @fn.
 * @result:       @result_bytes that @fn fills; all zero when it does not.
 * @result_bytes: May be 0.
 * @ret:          Untouched on failure.
 * @err:          On failure; may be NULL.
 *
 * The cgroup is removed in every case, with whatever still runs in it. SIGINT and
 * SIGTERM are held back meanwhile and act afterwards; the child gets a ^C like any
 * other process of the terminal.
 *
 * Context: The process has one thread: the child is a plain fork().
 * Return:  0 (the child ran; see @ret), -EOPNOTSUPP (no memory cgroup can be made, and
 *          why), -ENOMEM, -EAGAIN (no further process).
 */
int wr_limit_run(uint64_t bytes, int (*fn)(void *arg, void *result), void *arg, void *result,
		 size_t result_bytes, struct wr_limit_report *ret, struct weir_error *err);

#endif /* WR_TOOLS_LIMIT_H */
