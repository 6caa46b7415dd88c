/* SPDX-License-Identifier: MIT */
/* Breakpoints in the C library: where they may stand, and what they count. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <weir/trace.h>

#include "base/util.h"
#include "harness/sanitized.h"
#include "trace/deep.h"
#include "trace/step.h"

#define NR_HOLDS 20u
#define HOLD_US	 2000u

/* ---- places ---- */

static int place(const char *code, size_t bytes, bool second, uint32_t *ret)
{
	uint8_t buffer[WR_STEP_BYTES];

	/* Behind it are returns, which are stepped. */
	memset(buffer, 0xc3, sizeof(buffer));
	memcpy(buffer, code, bytes);
	return wr_step_place(buffer, sizeof(buffer), second, ret);
}

#define PLACE(text, second, ret) place(text, sizeof(text) - 1, second, ret)

TEST(a_place_is_the_first_instruction_that_needs_no_step)
{
	uint32_t at = 99;

#if !defined(__x86_64__)
	SKIP(return, "instructions are known of x86-64 only");
#endif
	EXPECT_EQ(PLACE("\x55", false, &at), 0); /* push %rbp */
	EXPECT_EQ(at, 0u);
	EXPECT_EQ(PLACE("\x41\x57", true, &at), 0); /* push %r15 */
	EXPECT_EQ(at, 0u);
	/* mov $1,%esi; jmp */
	EXPECT_EQ(PLACE("\xbe\x01\x00\x00\x00\xe9\xf6\xfe\xff\xff", false, &at), 0);
	EXPECT_EQ(at, 5u);
	/* endbr64; mov %fs:0x28,%rax; mov 0x10(%rdi),%eax; lea 8(%rsp,%rax,4),%rcx; push %rbx */
	EXPECT_EQ(PLACE("\xf3\x0f\x1e\xfa\x64\x48\x8b\x04\x25\x28\x00\x00\x00\x8b\x47\x10"
			"\x48\x8d\x4c\x84\x08\x53",
			false, &at),
		  0);
	EXPECT_EQ(at, 21u);
	/* nop of five bytes; cmp $1,%esi; jcc: the nop is never chosen. */
	EXPECT_EQ(PLACE("\x0f\x1f\x44\x00\x00\x83\xfe\x01\x77\x0b", true, &at), 0);
	EXPECT_EQ(at, 8u);
}

TEST(a_function_without_such_a_place_is_refused)
{
	uint32_t at = 99;

	/* endbr64; sub $8,%rsp: the return address is no longer where it was. */
	EXPECT_EQ(PLACE("\xf3\x0f\x1e\xfa\x48\x83\xec\x08\x53", false, &at), -EOPNOTSUPP);
	/* mov $1,%edi; push: the lock is no longer in its register. */
	EXPECT_EQ(PLACE("\xbf\x01\x00\x00\x00\x53", false, &at), -EOPNOTSUPP);
	EXPECT_EQ(PLACE("\x48\x89\xf7\x53", false, &at), -EOPNOTSUPP); /* mov %rsi,%rdi */
	EXPECT_EQ(PLACE("\xbe\x01\x00\x00\x00\x53", true, &at), -EOPNOTSUPP);
	EXPECT_EQ(PLACE("\x31\xf6\x53", true, &at), -EOPNOTSUPP);      /* xor %esi,%esi */
	EXPECT_EQ(PLACE("\xc3", false, &at), -EOPNOTSUPP);	       /* ret */
	EXPECT_EQ(PLACE("\xff\xe0", false, &at), -EOPNOTSUPP);	       /* jmp *%rax */
	EXPECT_EQ(PLACE("\x66\xe9\x00\x00", false, &at), -EOPNOTSUPP); /* jmp rel16 */
	EXPECT_EQ(PLACE("\x0f\x05\x53", false, &at), -EOPNOTSUPP);     /* syscall */
	EXPECT_EQ(PLACE("\xf0\x0f\xb1\x17\x53", false, &at), -EOPNOTSUPP);
	EXPECT_EQ(at, 99u);
}

TEST(any_bytes_give_a_place_within_them_or_none)
{
	uint8_t code[WR_STEP_BYTES];
	uint32_t at, seed = 1;

	for (unsigned i = 0; i < 200000; i++) {
		size_t bytes = i % (WR_STEP_BYTES + 1);

		for (size_t k = 0; k < sizeof(code); k++)
			code[k] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
		if (wr_step_place(code, bytes, i & 1, &at) == 0)
			ASSERT_LT(at, bytes);
	}
}

TEST(the_library_of_this_machine_has_places_and_a_file_without_locks_has_none)
{
	struct weir_trace_deep_plan plan;
	struct wr_deep_plan other;
	int fd, rc = weir_trace_deep_plan(getpid(), &plan);

	if (rc == -ENOENT)
		SKIP(return, "a C library with locks that is a file of its own");
	ASSERT_EQ(rc, 0);
	EXPECT_GE(plan.nr_places, 4u);
	EXPECT_STREQ(plan.places[0].function, "pthread_mutex_lock");
	EXPECT_EQ(plan.file[0], '/');
	EXPECT_EQ(weir_trace_deep_plan(INT32_MAX, &plan), -ENOENT);
	fd = open(WR_TEST_SRCDIR "/selftests/data/fuzz/elf/symbols", O_RDONLY | O_CLOEXEC);
	ASSERT_GE(fd, 0);
	EXPECT_LT(wr_deep_read(fd, &other), 0);
	close(fd);
}

/* A C library of the test's own, whose lock begins as the argument says. */
static int make_library(const char *path, const char *first)
{
	char command[1024];

	snprintf(command, sizeof(command),
		 "printf '.globl pthread_mutex_lock, pthread_mutex_unlock\\n"
		 ".type pthread_mutex_lock,@function\\n.type pthread_mutex_unlock,@function\\n"
		 "pthread_mutex_lock: %s\\nret\\n.size pthread_mutex_lock,.-pthread_mutex_lock\\n"
		 "pthread_mutex_unlock: push %%%%rbx\\npop %%%%rbx\\nret\\n"
		 ".size pthread_mutex_unlock,.-pthread_mutex_unlock\\n"
		 ".section .note.GNU-stack,\"\",@progbits\\n' | "
		 "%s -x assembler -shared -nostdlib -o %s - 2>/dev/null",
		 first, getenv("WR_TEST_CC") ? getenv("WR_TEST_CC") : "cc", path);
	return system(command);
}

TEST(a_library_whose_lock_would_be_stepped_is_refused)
{
	static const char *const first[] = {"push %%rbx\\npop %%rbx",
					    "endbr64\\nsub $8,%%rsp\\nadd $8,%%rsp"};
	char path[] = "/tmp/weir-deep-XXXXXX";
	int fd = mkstemp(path);

#if !defined(__x86_64__)
	SKIP(return, "instructions are known of x86-64 only");
#endif
	ASSERT_GE(fd, 0);
	close(fd);
	for (unsigned i = 0; i < 2; i++) {
		struct wr_deep_plan plan;

		if (make_library(path, first[i]) != 0) {
			unlink(path);
			SKIP(return, "a compiler that assembles");
		}
		fd = open(path, O_RDONLY | O_CLOEXEC);
		ASSERT_GE(fd, 0);
		EXPECT_EQ(wr_deep_read(fd, &plan), 0);
		EXPECT_EQ(wr_deep_is_refused(&plan), i == 1);
		EXPECT_EQ(plan.places[0].is_stepped, i == 1);
		EXPECT_FALSE(plan.places[1].is_stepped);
		close(fd);
	}
	unlink(path);
}

/* ---- what is counted ---- */

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t brief = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t recursive;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;

/* Known holds, of which nobody waits for any: the kernel alone would see none of them. */
static void take_known_holds(void)
{
	pthread_mutexattr_t attr;
	struct timespec until;

	for (unsigned i = 0; i < NR_HOLDS; i++) {
		pthread_mutex_lock(&held);
		usleep(HOLD_US);
		pthread_mutex_unlock(&held);
	}
	/* A try that fails, and one that does not. */
	if (pthread_mutex_trylock(&brief) == 0)
		pthread_mutex_unlock(&brief);
	/* The wait for a condition is no hold. */
	pthread_mutex_lock(&brief);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 1;
	pthread_cond_timedwait(&never, &brief, &until);
	pthread_mutex_unlock(&brief);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&recursive, &attr);
	pthread_mutex_lock(&recursive);
	pthread_mutex_lock(&recursive);
	pthread_mutex_unlock(&recursive);
	usleep(HOLD_US);
	pthread_mutex_unlock(&recursive);
}

FIXTURE(host)
{
	int go[2], done[2];
	pid_t pid;
	struct weir_trace *trace;
	const char *missing;
};

static void run_host(int go, int done)
{
	char byte = 0;

	if (read(go, &byte, 1) != 1)
		(_exit)(1);
	take_known_holds();
	if (write(done, &byte, 1) != 1 || read(go, &byte, 1) != 1)
		(_exit)(1);
	(_exit)(7);
}

FIXTURE_SETUP(host)
{
	struct weir_trace_opts opts = {.size = sizeof(opts), .parts = WEIR_TRACE_DEEP};
	struct weir_trace_deep_plan plan;
	int rc;

	self->trace = NULL;
	ASSERT_EQ(pipe(self->go), 0);
	ASSERT_EQ(pipe(self->done), 0);
	self->pid = fork();
	ASSERT_GE(self->pid, 0);
	if (self->pid == 0) {
		close(self->go[1]);
		run_host(self->go[0], self->done[1]);
	}
	opts.pid = self->pid;
	self->missing =
		"BPF: root, links of many places (Linux 6.6), x86-64, a C library that is a "
		"file of its own";
	if (weir_trace_deep_plan(self->pid, &plan) != 0 || plan.is_refused)
		return;
	rc = weir_trace_start(&opts, &self->trace, NULL);
	if (rc == 0)
		self->missing = NULL;
	else if (getenv("WEIR_REQUIRE_BPF"))
		ASSERT_EQ(rc, 0);
}

FIXTURE_TEARDOWN(host)
{
	weir_trace_close(self->trace);
	for (int i = 0; i < 2; i++) {
		close(self->go[i]);
		close(self->done[i]);
	}
	kill(self->pid, SIGKILL);
	waitpid(self->pid, NULL, 0);
}

struct found {
	uint64_t addr;
	bool seen;
	struct weir_lock_deep deep;
};

static int look(void *arg, const struct weir_trace_deep_lock *lock)
{
	struct found *f = arg;

	if (lock->addr == f->addr) {
		f->deep = lock->deep;
		f->seen = true;
	}
	return 0;
}

TEST_F(host, holds_that_nobody_waited_for_are_counted)
{
	struct found f = {.addr = (uintptr_t)&held}, b = {.addr = (uintptr_t)&brief};
	struct found r = {.addr = (uintptr_t)&recursive};
	struct weir_trace_totals totals;
	char byte = 0;

	if (self->missing)
		SKIP(return, "%s", self->missing);
	ASSERT_EQ(write(self->go[1], &byte, 1), 1);
	ASSERT_EQ(read(self->done[0], &byte, 1), 1);
	ASSERT_EQ(weir_trace_each_deep(self->trace, look, &f), 0);
	ASSERT_TRUE(f.seen);
	EXPECT_EQ(f.deep.takes, NR_HOLDS);
	EXPECT_EQ(f.deep.holds, NR_HOLDS);
	EXPECT_EQ(f.deep.unknown, 0u);
	EXPECT_GE(f.deep.hold_ns, (uint64_t)NR_HOLDS * HOLD_US * 1000);
	EXPECT_EQ(f.deep.last_holder, (uint32_t)self->pid);
	ASSERT_EQ(weir_trace_each_deep(self->trace, look, &b), 0);
	ASSERT_TRUE(b.seen);
	EXPECT_EQ(b.deep.takes, 2u);
	EXPECT_EQ(b.deep.holds, 2u);
	/* The unlock behind the wait; the second that it took is in no hold. */
	EXPECT_EQ(b.deep.unknown, 1u);
	EXPECT_LT(b.deep.hold_ns, 900000000u);
	ASSERT_EQ(weir_trace_each_deep(self->trace, look, &r), 0);
	weir_trace_totals(self->trace, &totals);
	EXPECT_GE(totals.deep_takes, f.deep.takes + b.deep.takes + r.deep.takes);
	EXPECT_GE(totals.deep_holds, f.deep.holds + b.deep.holds + r.deep.holds);
	EXPECT_GE(totals.deep_hold_ns, f.deep.hold_ns + b.deep.hold_ns + r.deep.hold_ns);
	EXPECT_GE(totals.deep_wait_ns, f.deep.wait_ns);
	EXPECT_EQ(r.deep.takes, 1u);
	EXPECT_EQ(r.deep.holds, 1u);
	EXPECT_GE(r.deep.hold_ns, (uint64_t)HOLD_US * 1000);
}

TEST_F(host, holds_are_series_of_a_watch)
{
	struct weir_trace_watch_opts to = {.size = sizeof(to)};
	struct weir_trace_watch *watch;
	char byte = 0;
	double value = -1;
	uint32_t id;

	if (self->missing)
		SKIP(return, "%s", self->missing);
	ASSERT_EQ(write(self->go[1], &byte, 1), 1);
	ASSERT_EQ(read(self->done[0], &byte, 1), 1);
	ASSERT_EQ(weir_metrics_open(&to.metrics), 0);
	ASSERT_EQ(weir_trace_watch_start(self->trace, &to, &watch), 0);
	ASSERT_EQ(weir_metrics_find(to.metrics, "weir_trace_deep_holds", &id), 0);
	ASSERT_EQ(weir_metrics_read_float(to.metrics, id, &value), 0);
	EXPECT_GE(value, NR_HOLDS);
	ASSERT_EQ(weir_metrics_find(to.metrics, "weir_trace_lock_waits", &id), 0);
	EXPECT_NE(weir_metrics_read_float(to.metrics, id, &value), 0);
	weir_trace_watch_stop(watch);
	weir_metrics_close(to.metrics);
}

/* The library's code as the process has it. */
static void read_code(struct __test_metadata *_metadata, pid_t pid, const void *at, uint8_t *ret,
		      size_t bytes)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(pread(fd, ret, bytes, (off_t)(uintptr_t)at), (ssize_t)bytes);
	close(fd);
}

TEST_F(host, has_its_code_back_when_tracing_ends_and_may_end_itself)
{
	uint8_t own[32], its[32];
	void *at = (void *)(uintptr_t)pthread_mutex_lock;
	char byte = 0;
	int status;

	if (self->missing)
		SKIP(return, "%s", self->missing);
	if (SANITIZED)
		SKIP(return, "a program without a sanitizer, whose lock is the library's");
	ASSERT_EQ(write(self->go[1], &byte, 1), 1);
	ASSERT_EQ(read(self->done[0], &byte, 1), 1);
	memcpy(own, at, sizeof(own));
	read_code(_metadata, self->pid, at, its, sizeof(its));
	EXPECT_NE(memcmp(own, its, sizeof(own)), 0);
	weir_trace_close(self->trace);
	self->trace = NULL;
	read_code(_metadata, self->pid, at, its, sizeof(its));
	EXPECT_EQ(memcmp(own, its, sizeof(own)), 0);
	ASSERT_EQ(write(self->go[1], &byte, 1), 1);
	ASSERT_EQ(waitpid(self->pid, &status, 0), self->pid);
	EXPECT_EQ(WEXITSTATUS(status), 7);
}

TEST_F(host, may_end_while_it_is_traced)
{
	struct weir_trace_opts opts = {.size = sizeof(opts), .parts = WEIR_TRACE_DEEP};
	struct found f = {.addr = (uintptr_t)&held};
	char byte = 0;
	int status;

	if (self->missing)
		SKIP(return, "%s", self->missing);
	ASSERT_EQ(write(self->go[1], "xx", 2), 2);
	ASSERT_EQ(read(self->done[0], &byte, 1), 1);
	ASSERT_EQ(waitpid(self->pid, &status, 0), self->pid);
	EXPECT_EQ(WEXITSTATUS(status), 7);
	/* Its numbers stay until the trace is closed. */
	ASSERT_EQ(weir_trace_each_deep(self->trace, look, &f), 0);
	EXPECT_EQ(f.deep.holds, NR_HOLDS);
	opts.pid = self->pid;
	EXPECT_EQ(weir_trace_start(&opts, &self->trace, NULL), -ENOENT);
}

TEST(what_slows_a_process_is_not_done_unasked)
{
	struct weir_trace_opts opts = {.size = sizeof(opts)};
	const char *name, *reason;
	struct weir_trace *trace;

	if (weir_trace_start(&opts, &trace, NULL) != 0)
		SKIP(return, "BPF: root, libbpf and clang");
	EXPECT_EQ(weir_trace_part(trace, 7, &name, &reason), -ECANCELED);
	EXPECT_STREQ(name, "deep");
	weir_trace_close(trace);
}

TEST_HARNESS_MAIN
