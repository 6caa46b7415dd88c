/* SPDX-License-Identifier: MIT */
/* Begin a trace, or skip the test where the kernel or the rights for it are missing. */
#ifndef WR_SELFTESTS_TRACE_START_H
#define WR_SELFTESTS_TRACE_START_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <weir/trace.h>

#include "trace/pinned_host.h"

/* WEIR_REQUIRE_BPF makes a failure of it. */
static inline bool start_is_missing(int rc)
{
	return (rc == -EPERM || rc == -EACCES || rc == -ENOENT || rc == -EOPNOTSUPP) &&
	       !getenv("WEIR_REQUIRE_BPF");
}

#define START(opts, ret)                                                      \
	do {                                                                  \
		struct weir_error start_err;                                  \
		int start_rc = weir_trace_start(&(opts), &(ret), &start_err); \
                                                                              \
		if (start_is_missing(start_rc))                               \
			SKIP(return, NO_BPF);                                 \
		ASSERT_EQ(start_rc, 0);                                       \
	} while (0)

static inline void sleep_ns(uint64_t ns)
{
	struct timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR)
		;
}

#endif /* WR_SELFTESTS_TRACE_START_H */
