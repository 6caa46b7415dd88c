/* SPDX-License-Identifier: MIT */
/*
 * Pinned traces through the command: they outlive who began them, bpftool reads them, two rights
 * suffice, and the dead are cleared away. Each test has a BPF file system of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <grp.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <weir/trace.h>

#include "harness/run_weir.h"
#include "lock/lock.h"
#include "lock/timing.h"
#include "trace/pinned_host.h"

static char text[1 << 20];

/* A process whose two threads wait for each other at a lock of a known address. */
static pthread_mutex_t contended = PTHREAD_MUTEX_INITIALIZER;

static struct wr_mutex ours = WR_MUTEX_INIT(WR_RANK_LOAD, "ours");

static void *take_turns(void *arg)
{
	for (;;) {
		pthread_mutex_lock(&contended);
		usleep(2000);
		pthread_mutex_unlock(&contended);
		usleep(100);
		wr_mutex_lock(&ours);
		usleep(200);
		wr_mutex_unlock(&ours);
	}
	return arg;
}

static pid_t make_host(void)
{
	pid_t pid = fork();
	pthread_t thread;

	if (pid != 0)
		return pid;
	if (pthread_create(&thread, NULL, take_turns, NULL))
		_exit(1);
	take_turns(NULL);
	_exit(0);
}

FIXTURE(host)
{
	pid_t pid;
	const char *missing;
};

FIXTURE_SETUP(host)
{
	self->pid = 0;
	self->missing = NO_BPF_FS;
	if (!bpf_fs_mount())
		return;
	self->pid = make_host();
	ASSERT_GT(self->pid, 0);
	self->missing = pinned_start(self->pid);
}

FIXTURE_TEARDOWN(host)
{
	pinned_stop(self->pid);
}

static int run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int run(const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	FILE *f;
	size_t n;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	f = popen(line, "re");
	if (!f)
		return -1;
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = '\0';
	return WEXITSTATUS(pclose(f));
}

TEST_F(host, is_traced_after_the_command_has_ended)
{
	struct wt_run report = {0};
	char pid[16];
	json_t *lock;

	if (self->missing)
		SKIP(return, "%s", self->missing);
	snprintf(pid, sizeof(pid), "%d", (int)self->pid);
	usleep(300000);
	ASSERT_EQ(wt_weir(&report, "trace", "report", "--pid", pid, "--json", NULL), 0);
	EXPECT_EQ(wt_int(report.json, "pid"), self->pid);
	lock = wt_at(report.json, "locks.0");
	ASSERT_NE(lock, NULL);
	EXPECT_EQ(wt_int(lock, "addr"), (int64_t)(uintptr_t)&contended);
	EXPECT_STREQ(wt_text(lock, "kind"), "lock");
	EXPECT_GT(wt_int(lock, "waits"), 10);
	EXPECT_GT(wt_int(lock, "holder.tid"), 0);
	wt_run_fini(&report);
	/* Once is enough. */
	EXPECT_EQ(wt_weir(&report, "trace", "start", "--pid", pid, NULL), 1);
	EXPECT_NE(strstr(report.err, "traced already"), NULL);
	wt_run_fini(&report);
	EXPECT_EQ(wt_weir(&report, "trace", "stop", "--pid", pid, NULL), 0);
	wt_run_fini(&report);
	EXPECT_EQ(wt_weir(&report, "trace", "report", "--pid", pid, NULL), 1);
	wt_run_fini(&report);
	EXPECT_EQ(access("/sys/fs/bpf/weir", F_OK), 0);
	EXPECT_EQ(run("ls /sys/fs/bpf/weir"), 0);
	EXPECT_STREQ(text, "");
}

TEST_F(host, is_read_by_bpftool_with_names)
{
	if (self->missing)
		SKIP(return, "%s", self->missing);
	if (run("command -v bpftool") != 0)
		SKIP(return, "bpftool is not installed");
	usleep(300000);
	ASSERT_EQ(run("bpftool map dump pinned /sys/fs/bpf/weir/%d/lock_waits", (int)self->pid), 0);
	EXPECT_NE(strstr(text, "\"held_ns\": "), NULL);
	EXPECT_NE(strstr(text, "\"runq_ns\": "), NULL);
	EXPECT_NE(strstr(text, "\"kind\": \"WEIR_WAIT_LOCK\""), NULL);
	ASSERT_EQ(run("bpftool map dump pinned /sys/fs/bpf/weir/%d/meta", (int)self->pid), 0);
	EXPECT_NE(strstr(text, "\"cpu_miss_source\": \"WEIR_MISS_"), NULL);
	ASSERT_EQ(run("bpftool map show pinned /sys/fs/bpf/weir/%d/lock_waits", (int)self->pid), 0);
	EXPECT_NE(strstr(text, "btf_id"), NULL);
	ASSERT_EQ(run("stat -c %%a /sys/fs/bpf/weir/%d", (int)self->pid), 0);
	EXPECT_STREQ(text, "700\n");
}

/* What is at @path of the array that bpftool printed. */
static json_t *dumped(const char *path)
{
	json_t *root = json_loads(text, 0, NULL);
	json_t *at = root ? wt_at(root, path) : NULL;

	json_incref(at);
	json_decref(root);
	return at;
}

TEST_F(host, has_types_in_every_map_and_names_in_what_bpftool_formats)
{
	static const char *const maps[] = {
		"config",	"totals",	"events",     "stacks",
		"modules",	"lock_names",	"waiting",    "lock_waits",
		"lock_holders", "lock_waiters", "timeline",   "page_cache",
		"io_times",	"cache_misses", "miss_sites", "meta",
	};
	static const char *const fields[] = {"waits",	"no_waker",    "wait_ns",     "held_ns",
					     "runq_ns", "max_wait_ns", "max_held_ns", "last_waker"};
	json_t *value;
	char at[64];

	if (self->missing)
		SKIP(return, "%s", self->missing);
	if (run("command -v bpftool") != 0)
		SKIP(return, "bpftool is not installed");
	usleep(300000);
	for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
		ASSERT_EQ(run("bpftool -j map show pinned /sys/fs/bpf/weir/%d/%s", (int)self->pid,
			      maps[i]),
			  0);
		/* A map of stacks has none: the kernel takes no types for it. */
		if (strcmp(maps[i], "stacks") != 0)
			EXPECT_NE(strstr(text, "\"btf_id\":"), NULL);
	}
	ASSERT_EQ(run("bpftool -j map dump pinned /sys/fs/bpf/weir/%d/lock_waits", (int)self->pid),
		  0);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		snprintf(at, sizeof(at), "0.formatted.value.%s", fields[i]);
		value = dumped(at);
		EXPECT_TRUE(json_is_integer(value));
		json_decref(value);
	}
	value = dumped("0.formatted.value.kind");
	EXPECT_EQ(
		strncmp(json_string_value(value) ? json_string_value(value) : "", "WEIR_WAIT_", 10),
		0);
	json_decref(value);
	value = dumped("0.formatted.value.held_log2_ns");
	EXPECT_EQ(json_array_size(value), 32u);
	json_decref(value);
	ASSERT_EQ(run("bpftool -j map dump pinned /sys/fs/bpf/weir/%d/modules", (int)self->pid), 0);
	value = dumped("0.formatted.value.path");
	EXPECT_TRUE(json_is_string(value));
	json_decref(value);
	EXPECT_EQ(run("bpftool -j link show pinned /sys/fs/bpf/weir/%d/link_on_switch",
		      (int)self->pid),
		  0);
	EXPECT_NE(strstr(text, "\"tp_name\":\"sched_switch\""), NULL);
	EXPECT_EQ(run("bpftool -j prog show name on_switch"), 0);
	EXPECT_NE(strstr(text, "\"name\":\"on_switch\""), NULL);
}

TEST_F(host, has_names_also_when_it_is_dead)
{
	struct wt_run report = {0};
	char pid[16];

	if (self->missing)
		SKIP(return, "%s", self->missing);
	usleep(300000);
	kill(self->pid, SIGKILL);
	waitpid(self->pid, NULL, 0);
	snprintf(pid, sizeof(pid), "%d", (int)self->pid);
	ASSERT_EQ(wt_weir(&report, "trace", "report", "--pid", pid, "--json", NULL), 0);
	EXPECT_GT(wt_int(report.json, "ended_ns"), 0);
	EXPECT_STREQ(wt_text(report.json, "locks.0.symbol"), "contended");
	wt_run_fini(&report);
}

TEST_F(host, is_cleared_away_when_it_is_dead_and_another_is_traced)
{
	pid_t other;

	if (self->missing)
		SKIP(return, "%s", self->missing);
	kill(self->pid, SIGKILL);
	waitpid(self->pid, NULL, 0);
	/* Its numbers can still be read. */
	EXPECT_EQ(wt_shell(text, sizeof(text), "trace report --pid %d", (int)self->pid), 0);
	EXPECT_NE(strstr(text, "The process has ended."), NULL);
	other = make_host();
	ASSERT_GT(other, 0);
	EXPECT_EQ(wt_shell(text, sizeof(text), "trace start --pid %d", (int)other), 0);
	EXPECT_EQ(wt_shell(text, sizeof(text), "trace report --pid %d 2>&1", (int)self->pid), 1);
	EXPECT_EQ(wt_shell(text, sizeof(text), "trace stop --pid %d", (int)other), 0);
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
}

TEST_F(host, needs_two_rights_and_no_more)
{
	if (self->missing)
		SKIP(return, "%s", self->missing);
	if (run("command -v setpriv") != 0)
		SKIP(return, "setpriv is not installed");
	EXPECT_EQ(run("setpriv --inh-caps -all,+bpf,+perfmon --bounding-set -all,+bpf,+perfmon "
		      "%s trace --seconds 1 --pid %d 2>&1",
		      wt_binary(), (int)self->pid),
		  0);
	EXPECT_NE(strstr(text, "locks       on"), NULL);
	EXPECT_NE(strstr(text, "faults      on"), NULL);
	EXPECT_NE(strstr(text, "holds       on"), NULL);
	EXPECT_EQ(run("setpriv --inh-caps -all,+perfmon --bounding-set -all,+perfmon "
		      "%s trace --seconds 1 --pid %d 2>&1",
		      wt_binary(), (int)self->pid),
		  1);
	EXPECT_NE(strstr(text, "CAP_BPF and CAP_PERFMON"), NULL);
	EXPECT_EQ(run("setpriv --inh-caps -all,+bpf --bounding-set -all,+bpf "
		      "%s trace --seconds 1 --pid %d 2>&1",
		      wt_binary(), (int)self->pid),
		  1);
	EXPECT_NE(strstr(text, "CAP_BPF and CAP_PERFMON"), NULL);
}

TEST_F(host, keeps_the_parts_that_need_no_btf_where_there_is_none)
{
	if (self->missing)
		SKIP(return, "%s", self->missing);
	ASSERT_EQ(mount("tmpfs", "/sys/kernel/btf", "tmpfs", 0, NULL), 0);
	EXPECT_EQ(wt_shell(text, sizeof(text), "trace --seconds 1 --pid %d", (int)self->pid), 0);
	EXPECT_NE(strstr(text, "locks       off"), NULL);
	EXPECT_NE(strstr(text, "faults      on"), NULL);
	EXPECT_NE(strstr(text, "holds       on"), NULL);
	umount("/sys/kernel/btf");
}

TEST_F(host, needs_no_tracefs)
{
	if (self->missing)
		SKIP(return, "%s", self->missing);
	/* In this mount namespace only. */
	while (umount2("/sys/kernel/debug/tracing", MNT_DETACH) == 0)
		;
	while (umount2("/sys/kernel/tracing", MNT_DETACH) == 0)
		;
	ASSERT_NE(access("/sys/kernel/tracing/events", F_OK), 0);
	EXPECT_EQ(wt_shell(text, sizeof(text), "trace --seconds 1 --pid %d", (int)self->pid), 0);
	EXPECT_NE(strstr(text, "locks       on"), NULL);
	EXPECT_NE(strstr(text, "page-cache  on"), NULL);
	EXPECT_NE(strstr(text, "holds       on"), NULL);
}

TEST_F(host, is_told_where_pins_have_no_place)
{
	if (self->missing)
		SKIP(return, "%s", self->missing);
	ASSERT_EQ(umount("/sys/fs/bpf"), 0);
	ASSERT_EQ(mount("tmpfs", "/sys/fs/bpf", "tmpfs", 0, NULL), 0);
	EXPECT_EQ(wt_shell(text, sizeof(text), "trace start --pid %d 2>&1", (int)self->pid), 1);
	EXPECT_NE(strstr(text, "mount -t bpf"), NULL);
	EXPECT_EQ(wt_shell(text, sizeof(text), "trace --seconds 1 --pid %d", (int)self->pid), 0);
	umount("/sys/fs/bpf");
}

/* Exit status of a child that is nobody and does @fn. */
static int as_nobody(int (*fn)(pid_t pid), pid_t target)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (setgroups(0, NULL) || setresgid(65534, 65534, 65534) ||
		    setresuid(65534, 65534, 65534))
			_exit(0);
		_exit(-fn(target));
	}
	waitpid(pid, &status, 0);
	return -WEXITSTATUS(status);
}

static int begin_trace(pid_t pid)
{
	struct weir_trace_opts opts = {.size = sizeof(opts), .pid = pid};
	struct weir_trace *trace;

	return weir_trace_start(&opts, &trace, NULL);
}

static int find_trace(pid_t pid)
{
	struct weir_trace *trace;

	return weir_trace_find(pid, NULL, &trace, NULL);
}

static int remove_trace(pid_t pid)
{
	return weir_trace_remove(pid, NULL);
}

TEST_F(host, is_not_for_others)
{
	if (self->missing)
		SKIP(return, "%s", self->missing);
	EXPECT_EQ(as_nobody(begin_trace, self->pid), -EPERM);
	EXPECT_EQ(as_nobody(find_trace, self->pid), -EACCES);
	EXPECT_EQ(as_nobody(remove_trace, self->pid), -EACCES);
	EXPECT_EQ(find_trace(getpid()), -ENOENT);
}

/* The counter of the probe in the host, which has it where we do. */
static int semaphore_of(pid_t pid)
{
	unsigned short value;
	struct iovec here = {&value, sizeof(value)};
	struct iovec there = {(void *)(uintptr_t)&wr_probe_lock_release, sizeof(value)};

	return process_vm_readv(pid, &here, 1, &there, 1, 0) == sizeof(value) ? value : -1;
}

TEST_F(host, is_probed_until_the_trace_is_stopped)
{
	if (self->missing)
		SKIP(return, "%s", self->missing);
	usleep(300000);
	EXPECT_GT(semaphore_of(self->pid), 0);
	EXPECT_EQ(semaphore_of(getpid()), 0);
	if (run("command -v bpftool") == 0) {
		ASSERT_EQ(run("bpftool map dump pinned /sys/fs/bpf/weir/%d/lock_holds",
			      (int)self->pid),
			  0);
		EXPECT_NE(strstr(text, "\"contended\": "), NULL);
		EXPECT_NE(strstr(text, "\"hold_log2_ns\": "), NULL);
		ASSERT_EQ(run("bpftool map show pinned /sys/fs/bpf/weir/%d/cache_events",
			      (int)self->pid),
			  0);
		EXPECT_NE(strstr(text, "btf_id"), NULL);
	}
	EXPECT_EQ(wt_shell(text, sizeof(text), "trace stop --pid %d", (int)self->pid), 0);
	for (int i = 0; i < 500 && semaphore_of(self->pid) != 0; i++)
		usleep(10000);
	EXPECT_EQ(semaphore_of(self->pid), 0);
}

TEST_F(host, leaves_no_pins_after_any_number_of_traces)
{
	if (self->missing)
		SKIP(return, "%s", self->missing);
	for (int i = 0; i < 10; i++) {
		ASSERT_EQ(wt_shell(text, sizeof(text), "trace stop --pid %d", (int)self->pid), 0);
		ASSERT_EQ(run("ls -A /sys/fs/bpf/weir"), 0);
		ASSERT_STREQ(text, "");
		ASSERT_EQ(wt_shell(text, sizeof(text), "trace start --pid %d --parts locks,holds",
				   (int)self->pid),
			  0);
		EXPECT_NE(strstr(text, "faults      off  not asked for"), NULL);
	}
	EXPECT_EQ(wt_shell(text, sizeof(text), "trace start --parts lock --pid %d 2>&1",
			   (int)self->pid),
		  2);
}

TEST_HARNESS_MAIN
