/* SPDX-License-Identifier: MIT */
/*
 * What the programs of a trace take: the kernel counts runs and time of every program while
 * somebody holds the switch for it.
 */
#include <weir/trace.h>

#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "lock/lock.h"
#include "trace/session.h"

#if WR_TRACE_BPF

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

static int read_programs(const struct weir_trace *t, struct weir_trace_cost *ret)
{
	*ret = (struct weir_trace_cost){.window_ns = wr_now_ns()};
	for (unsigned i = 0; i < WR_TRACE_NR_PROGRAMS; i++) {
		struct bpf_program *program;

		if (!t->object[i])
			continue;
		bpf_object__for_each_program(program, t->object[i])
		{
			struct bpf_prog_info info = {0};
			__u32 bytes = sizeof(info);
			int fd = bpf_program__fd(program);

			if (fd < 0)
				continue;
			if (bpf_obj_get_info_by_fd(fd, &info, &bytes) != 0)
				return -errno;
			ret->nr_runs += info.run_cnt;
			ret->run_ns += info.run_time_ns;
		}
	}
	return 0;
}

static void sleep_ns(uint64_t ns)
{
	struct timespec left = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
}

int weir_trace_cost(struct weir_trace *trace, uint64_t window_ns, struct weir_trace_cost *ret)
{
	struct weir_trace_cost before, after;
	int fd, rc;

	if (window_ns == 0)
		return -EINVAL;
	if (trace->nr_links == 0)
		return -EOPNOTSUPP;
	wr_might_block("a measurement of what tracing costs");
	fd = bpf_enable_stats(BPF_STATS_RUN_TIME);
	if (fd < 0)
		return errno == EINVAL ? -EOPNOTSUPP : -errno;
	rc = read_programs(trace, &before);
	if (!rc) {
		sleep_ns(window_ns);
		rc = read_programs(trace, &after);
	}
	close(fd);
	if (!rc)
		*ret = (struct weir_trace_cost){.window_ns = after.window_ns - before.window_ns,
						.nr_runs = after.nr_runs - before.nr_runs,
						.run_ns = after.run_ns - before.run_ns};
	return rc;
}

#else

int weir_trace_cost(struct weir_trace *trace, uint64_t window_ns, struct weir_trace_cost *ret)
{
	(void)trace;
	(void)window_ns;
	(void)ret;
	return -EOPNOTSUPP;
}

#endif
