/* SPDX-License-Identifier: MIT */
/*
 * A host that is traced puts its own lock times into the trace's maps, and takes them out again: the
 * tracer is another process, and all the host does for it is its collector's round.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <weir/lock_trace.h>
#include <weir/metrics_system.h>
#include <weir/trace.h>

#include "harness/run_weir.h"
#include "lock/lock.h"
#include "trace/pinned_host.h"

#if defined(__clang__)
#pragma clang diagnostic ignored "-Wthread-safety-analysis"
#endif

static struct wr_mutex timed WR_RANKED(LOAD) = WR_MUTEX_INIT(WR_RANK_LOAD, "times itself");

static char text[4 << 20];

static void be_host(void)
{
	struct weir_collector_opts opts = {
		.size = sizeof(opts), .interval_ms = 50, .flags = WEIR_COLLECT_NO_SYSTEM};
	struct weir_metrics *m;

	if (weir_metrics_open(&m) != 0 || weir_collector_start(m, &opts, NULL) != 0)
		(_exit)(1);
	for (;;) {
		wr_mutex_lock(&timed);
		usleep(200);
		wr_mutex_unlock(&timed);
	}
}

/* clang-format off */
FIXTURE(traced) {
	pid_t pid;
	const char *missing;
};
/* clang-format on */

FIXTURE_SETUP(traced)
{
	self->missing = NO_BPF_FS;
	if (!bpf_fs_mount())
		return;
	self->pid = fork();
	if (self->pid == 0)
		be_host();
	ASSERT_GT(self->pid, 0);
	self->missing = pinned_start(self->pid);
}

FIXTURE_TEARDOWN(traced)
{
	pinned_stop(self->pid);
}

/* Within ten seconds, times of the lock in maps, or none at all: 0 or -ETIMEDOUT. */
static int wait_for(pid_t pid, bool in_maps, struct weir_lock_self *ret)
{
	struct weir_lock_reader *reader;

	for (int i = 0; i < 1000; i++) {
		int rc = weir_lock_reader_open((int)pid, &reader);

		if (rc == -ENOENT && !in_maps)
			return 0;
		if (rc == 0) {
			struct weir_lock_meta meta;
			bool is_it;

			weir_lock_reader_meta(reader, &meta);
			is_it = in_maps && meta.slots_at == 0 &&
				weir_lock_reader_find(reader, (uintptr_t)&timed, ret) == 0 &&
				ret->sampled >= 3;
			weir_lock_reader_close(reader);
			if (is_it)
				return 0;
		}
		usleep(10000);
	}
	return -ETIMEDOUT;
}

TEST_F(traced, its_own_times_are_in_the_maps_while_it_is_traced_and_no_longer)
{
	struct weir_lock_self got = {0};
	char command[128];
	FILE *f;
	size_t n;

	if (self->missing)
		SKIP(return, "%s", self->missing);
	ASSERT_EQ(wait_for(self->pid, true, &got), 0);
	EXPECT_STREQ(got.name, "times itself");
	EXPECT_GE(got.max_hold_ns, 200000u);
	EXPECT_GE(got.acquisitions, got.sampled);
	EXPECT_EQ(wt_shell(text, sizeof(text), "trace stop --pid %d 2>&1", (int)self->pid), 0);
	EXPECT_EQ(wait_for(self->pid, false, &got), 0);
	EXPECT_EQ(wt_shell(text, sizeof(text), "trace start --pid %d 2>&1", (int)self->pid), 0);
	ASSERT_EQ(wait_for(self->pid, true, &got), 0);
	if (access("/usr/sbin/bpftool", X_OK) != 0)
		return;
	snprintf(command, sizeof(command),
		 "/usr/sbin/bpftool map lookup pinned " WEIR_TRACE_PIN_DIR
		 "/%d/lock_self key 0 0 0 0",
		 (int)self->pid);
	f = popen(command, "re");
	ASSERT_NE(f, NULL);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = '\0';
	EXPECT_EQ(pclose(f), 0);
	EXPECT_NE(strstr(text, "\"hold_all_ns\""), NULL);
}

TEST(a_process_that_traces_itself_does_so_at_once)
{
	struct weir_trace_opts opts = {
		.size = sizeof(opts), .parts = WEIR_TRACE_LOCKS, .flags = WEIR_TRACE_PINNED};
	struct weir_lock_reader *reader;
	struct weir_lock_meta meta;
	struct weir_trace *trace;
	int rc;

	if (!bpf_fs_mount())
		SKIP(return, NO_BPF_FS);
	ASSERT_EQ(weir_lock_trace_start(1), 0);
	rc = weir_trace_start(&opts, &trace, NULL);
	if (rc != 0)
		SKIP(return, NO_BPF);
	weir_trace_close(trace);
	ASSERT_EQ(weir_lock_reader_open(0, &reader), 0);
	weir_lock_reader_meta(reader, &meta);
	weir_lock_reader_close(reader);
	EXPECT_EQ(meta.slots_at, 0u);
	EXPECT_EQ(meta.sample_every, 1u);
	EXPECT_EQ(weir_trace_remove(getpid(), NULL), 0);
	ASSERT_EQ(weir_lock_reader_open(0, &reader), 0);
	weir_lock_reader_meta(reader, &meta);
	weir_lock_reader_close(reader);
	EXPECT_NE(meta.slots_at, 0u);
	weir_lock_trace_stop();
}

TEST_HARNESS_MAIN
