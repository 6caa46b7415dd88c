/* SPDX-License-Identifier: MIT */
/* Traces come and go: what the kernel made for them goes, too. */
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "base/util.h"
#include "trace/start.h"

#define NR_CYCLES  200
#define NR_TRACERS 4
#define MAX_IDS	   65536u

static const struct {
	const char *field; /* in fdinfo */
	int command;
} kinds[] = {
	{"map_id:", BPF_MAP_GET_FD_BY_ID},
	{"prog_id:", BPF_PROG_GET_FD_BY_ID},
	{"link_id:", BPF_LINK_GET_FD_BY_ID},
};

struct ids {
	unsigned nr;
	struct {
		uint8_t kind;
		uint32_t id;
	} of[MAX_IDS];
};

static unsigned note_fd(int fd, struct ids *ids)
{
	char path[48], line[128];
	unsigned nr = 0;
	uint32_t id;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		for (size_t k = 0; k < wr_array_size(kinds); k++) {
			size_t length = strlen(kinds[k].field);

			if (strncmp(line, kinds[k].field, length) != 0 || ids->nr == MAX_IDS ||
			    sscanf(line + length, "%u", &id) != 1)
				continue;
			ids->of[ids->nr].kind = (uint8_t)k;
			ids->of[ids->nr++].id = id;
			nr++;
		}
	if (f)
		fclose(f);
	return nr;
}

/* Numbers of all that this process has of BPF now. */
static unsigned note_all(struct ids *ids)
{
	unsigned nr = 0;

	for (int fd = 0; fd < 1024; fd++)
		nr += note_fd(fd, ids);
	return nr;
}

static bool is_there(uint8_t kind, uint32_t id)
{
	union bpf_attr attr;
	long fd;

	memset(&attr, 0, sizeof(attr));
	attr.map_id = id; /* the same place for all kinds */
	fd = syscall(SYS_bpf, kinds[kind].command, &attr, sizeof(attr));
	if (fd >= 0)
		close((int)fd);
	return fd >= 0 || errno != ENOENT;
}

/* The kernel frees in the background. */
static unsigned nr_left(const struct ids *ids)
{
	unsigned nr = ids->nr;

	for (int tries = 0; tries < 300 && nr != 0; tries++) {
		if (tries)
			sleep_ns(100000000);
		nr = 0;
		for (unsigned i = 0; i < ids->nr; i++)
			nr += is_there(ids->of[i].kind, ids->of[i].id);
	}
	return nr;
}

FIXTURE(cycles)
{
	pid_t pids[NR_TRACERS];
};

FIXTURE_SETUP(cycles)
{
}

FIXTURE_TEARDOWN(cycles)
{
}

/* Exit status of a tracer: what it leaves behind. */
static int trace_many_times(void)
{
	struct weir_trace_opts opts = {.size = sizeof(opts)};
	static struct ids ids, before;
	struct weir_trace *trace;
	unsigned nr_before = note_all(&before), nr = 0;

	for (int i = 0; i < NR_CYCLES / NR_TRACERS; i++) {
		if (weir_trace_start(&opts, &trace, NULL) != 0)
			return 1;
		nr = note_all(&ids);
		weir_trace_close(trace);
	}
	if (nr < 20 || ids.nr == MAX_IDS)
		return 2;
	if (note_all(&before) != nr_before)
		return 3;
	return nr_left(&ids) == 0 ? 0 : 4;
}

TEST_F_TIMEOUT(cycles, two_hundred_traces_leave_no_map_program_or_link, 240)
{
	struct weir_trace_opts opts = {.size = sizeof(opts)};
	struct weir_trace *trace;
	int status;

	START(opts, trace);
	weir_trace_close(trace);
	/* Several at once: the kernel mostly waits for itself. */
	for (int i = 0; i < NR_TRACERS; i++) {
		self->pids[i] = fork();
		if (self->pids[i] == 0)
			_exit(trace_many_times());
	}
	for (int i = 0; i < NR_TRACERS; i++) {
		ASSERT_EQ(waitpid(self->pids[i], &status, 0), self->pids[i]);
		EXPECT_EQ(status, 0);
	}
}

TEST_HARNESS_MAIN
