/* SPDX-License-Identifier: MIT */
/* What a trace counts, against what the process did; see docs/tracing.md for what each number is. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <weir/trace_symbol.h>

#include "base/alloc.h"
#include "harness/holdings.h"
#include "trace/start.h"
#include "trace/waiting_pair.h"

#define NR_HOLDS 20

static pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t second = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t idle_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t idle = PTHREAD_COND_INITIALIZER;

static void contend(struct waiting_pair *pair, pthread_mutex_t *mutex, unsigned nr)
{
	pair_begin(pair, mutex, nr);
	pair_end(pair);
}

TEST(waits_are_those_of_the_waiter_and_the_holder_is_named)
{
	struct weir_trace_opts opts = {.size = sizeof(opts), .parts = WEIR_TRACE_LOCKS};
	struct weir_trace *trace;
	struct waiting_pair a, b;
	struct lock_found f;

	START(opts, trace);
	/* Its threads are born after the start. */
	contend(&a, &first, NR_HOLDS);
	contend(&b, &second, NR_HOLDS / 2);
	ASSERT_EQ(lock_find(trace, &first, &f), 0);
	ASSERT_TRUE(f.seen);
	EXPECT_EQ(f.waits.kind, WEIR_WAIT_LOCK);
	EXPECT_GE(f.waits.waits, NR_HOLDS);
	/* A machine that is busy may let the holder in again before the waiter runs. */
	EXPECT_LE(f.waits.waits, NR_HOLDS + NR_HOLDS / 5);
	EXPECT_EQ(f.waits.held_ns + f.waits.runq_ns, f.waits.wait_ns);
	/* The same time by two clocks: the waiter's own covers the call around the wait. */
	EXPECT_LE(f.waits.wait_ns, a.waited_ns);
	EXPECT_GE(f.waits.wait_ns, a.waited_ns / 100 * 80);
	EXPECT_EQ(f.holder_tid, a.holder_tid);
	EXPECT_EQ(f.waits.last_waker, a.holder_tid);
	ASSERT_EQ(lock_find(trace, &second, &f), 0);
	ASSERT_TRUE(f.seen);
	EXPECT_GE(f.waits.waits, NR_HOLDS / 2);
	EXPECT_LE(f.waits.waits, NR_HOLDS / 2 + NR_HOLDS / 5);
	EXPECT_EQ(f.holder_tid, b.holder_tid);
	weir_trace_close(trace);
}

struct search {
	struct weir_trace *trace;
	struct weir_trace_symbols *symbols;
	unsigned nr_named;
};

static int name_frames(void *arg, const struct weir_site_key *key, const struct weir_site *site)
{
	struct search *s = arg;
	uint64_t frames[WEIR_TRACE_FRAMES];
	int nr = weir_trace_stack(s->trace, key->stack_id, frames);

	(void)site;
	for (int i = 0; i < nr; i++) {
		struct weir_trace_symbol symbol;

		/* The innermost is in the C library, whatever it is called there. */
		s->nr_named += weir_trace_symbol(s->symbols, frames[i] - (i > 0), &symbol) == 0 &&
			       symbol.file[0] == '/';
	}
	return 0;
}

static int count_slots(void *arg, const struct weir_trace_slot *slot)
{
	uint64_t *nr = arg;

	for (unsigned i = 0; i < WEIR_LOCK_BUCKETS; i++)
		*nr += slot->log2_ns[i];
	return 0;
}

TEST(stacks_and_static_locks_have_names)
{
	struct weir_trace_opts opts = {.size = sizeof(opts),
				       .parts = WEIR_TRACE_LOCKS,
				       .stacks = WEIR_TRACE_WAITER_STACKS};
	struct weir_trace_symbol symbol;
	struct weir_trace_totals totals;
	struct search s = {0};
	uint64_t nr = 0, frames[WEIR_TRACE_FRAMES];
	struct waiting_pair pair;

	START(opts, s.trace);
	contend(&pair, &first, 5);
	ASSERT_EQ(weir_trace_symbols_open(s.trace, &s.symbols), 0);
	EXPECT_EQ(weir_trace_each_waiter(s.trace, name_frames, &s), 0);
	EXPECT_GT(s.nr_named, 0u);
	ASSERT_EQ(weir_trace_symbol(s.symbols, (uintptr_t)&first + 4, &symbol), 0);
	EXPECT_STREQ(symbol.name, "first");
	EXPECT_EQ(symbol.offset, 4u);
	EXPECT_EQ(weir_trace_symbol(s.symbols, (uintptr_t)&pair, &symbol), -ENOENT);
	EXPECT_EQ(weir_trace_symbol(s.symbols, UINT64_MAX, &symbol), -ENOENT);
	EXPECT_EQ(weir_trace_stack(s.trace, -2, frames), -2);
	EXPECT_EQ(weir_trace_stack(s.trace, INT32_MAX, frames), -ENOENT);
	/* What is in the timeline is what was counted. */
	EXPECT_EQ(weir_trace_each_slot(s.trace, WEIR_TRACE_LOCKS, count_slots, &nr), 0);
	weir_trace_totals(s.trace, &totals);
	EXPECT_EQ(nr, totals.lock_waits + totals.maybe_waits);
	EXPECT_EQ(weir_trace_each_slot(s.trace, 0, count_slots, &nr), -EINVAL);
	weir_trace_symbols_close(s.symbols);
	weir_trace_close(s.trace);
}

TEST(a_condition_is_not_a_lock)
{
	struct weir_trace_opts opts = {.size = sizeof(opts), .parts = WEIR_TRACE_LOCKS};
	struct weir_trace_totals totals = {0};
	struct weir_trace *trace;
	struct timespec until;

	START(opts, trace);
	pthread_mutex_lock(&idle_lock);
	/* On a busy machine the time may be over before the wait begins: that is none. */
	for (int i = 0; i < 1000 && totals.other_waits < 10; i++) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 2000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
		pthread_cond_timedwait(&idle, &idle_lock, &until);
		weir_trace_totals(trace, &totals);
	}
	pthread_mutex_unlock(&idle_lock);
	EXPECT_EQ(totals.lock_waits, 0u);
	EXPECT_EQ(totals.lock_wait_ns, 0u);
	EXPECT_GE(totals.other_waits, 10u);
	EXPECT_GT(totals.other_wait_ns, 0u);
	weir_trace_close(trace);
}

static int count_events(void *arg, const struct weir_trace_event *event)
{
	uint64_t *nr = arg;

	*nr += event->kind == WEIR_EVENT_LOCK_WAIT && event->start_ns <= event->woken_ns &&
	       event->woken_ns <= event->end_ns;
	return 0;
}

TEST(each_wait_leaves_an_event_until_the_least_time_is_raised)
{
	struct weir_trace_opts opts = {.size = sizeof(opts),
				       .parts = WEIR_TRACE_LOCKS,
				       .stacks = WEIR_TRACE_HOLDER_STACKS};
	struct weir_trace_totals totals;
	struct weir_trace *trace;
	uint64_t nr = 0;
	struct waiting_pair pair;

	START(opts, trace);
	contend(&pair, &first, 5);
	EXPECT_EQ(weir_trace_each_event(trace, count_events, &nr), 0);
	weir_trace_totals(trace, &totals);
	EXPECT_EQ(nr, totals.lock_waits);
	EXPECT_GE(nr, 4u);
	weir_trace_close(trace);
	opts.min_event_ns = 3600000000000;
	START(opts, trace);
	contend(&pair, &first, 5);
	nr = 0;
	EXPECT_EQ(weir_trace_each_event(trace, count_events, &nr), 0);
	EXPECT_EQ(nr, 0u);
	weir_trace_close(trace);
}

static int look_at_miss(void *arg, const struct weir_miss_key *key, const struct weir_miss *miss)
{
	uint64_t *nr = arg;

	if (key->source == WEIR_MISS_FAULT_MINOR)
		*nr += miss->events;
	return 0;
}

TEST(faults_are_counted_and_are_not_cpu_misses)
{
	enum { PAGES = 16384 };
	struct weir_trace_opts opts = {.size = sizeof(opts),
				       .parts = WEIR_TRACE_FAULTS | WEIR_TRACE_CPU_MISSES};
	struct weir_trace_totals totals;
	struct weir_trace_meta meta;
	struct weir_trace *trace;
	struct rusage before, after;
	const char *name, *reason;
	uint64_t nr = 0, faults;
	char *mem = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	int rc;

	ASSERT_NE(mem, MAP_FAILED);
	madvise(mem, PAGES * 4096, MADV_NOHUGEPAGE);
	START(opts, trace);
	getrusage(RUSAGE_SELF, &before);
	for (int i = 0; i < PAGES; i++)
		mem[i * 4096] = 1;
	getrusage(RUSAGE_SELF, &after);
	faults = (uint64_t)(after.ru_minflt - before.ru_minflt);
	ASSERT_GE(faults, PAGES);
	ASSERT_EQ(weir_trace_each_miss(trace, look_at_miss, &nr), 0);
	/* A sample in 16. */
	EXPECT_GE(nr, faults / 5 * 4);
	EXPECT_LE(nr, faults / 5 * 6);
	weir_trace_meta(trace, &meta);
	weir_trace_totals(trace, &totals);
	/* Read a moment later. */
	EXPECT_GE(totals.minor_faults, nr);
	EXPECT_LE(totals.minor_faults, nr + faults / 5);
	rc = weir_trace_part(trace, 4, &name, &reason);
	EXPECT_STREQ(name, "cpu-misses");
	EXPECT_EQ(meta.cpu_miss_available, rc == 0);
	EXPECT_EQ(meta.cpu_miss_errno, (uint32_t)-rc);
	if (rc != 0) {
		EXPECT_EQ(totals.cpu_misses, 0u);
		EXPECT_EQ(meta.cpu_miss_source, WEIR_MISS_NONE);
	}
	EXPECT_EQ(weir_trace_part(trace, 0, &name, &reason), -ECANCELED);
	EXPECT_EQ(weir_trace_part(trace, WEIR_TRACE_NR_PARTS, &name, &reason), -EINVAL);
	weir_trace_close(trace);
}

TEST(two_tracers_do_not_disturb_each_other_and_leave_nothing)
{
	struct weir_trace_opts opts = {.size = sizeof(opts)};
	struct weir_trace *one, *two;
	struct weir_trace_totals a, b;
	int before = nr_open_files();
	struct waiting_pair pair;

	START(opts, one);
	START(opts, two);
	contend(&pair, &first, 5);
	weir_trace_totals(one, &a);
	weir_trace_totals(two, &b);
	EXPECT_GE(a.lock_waits, 4u);
	EXPECT_EQ(a.lock_waits, b.lock_waits);
	weir_trace_close(one);
	contend(&pair, &first, 5);
	weir_trace_totals(two, &b);
	EXPECT_GE(b.lock_waits, a.lock_waits + 4);
	weir_trace_close(two);
	for (int i = 0; i < 8; i++) {
		START(opts, one);
		weir_trace_close(one);
	}
	EXPECT_EQ(nr_open_files(), before);
}

TEST(a_process_that_ends_or_runs_another_program_is_told)
{
	struct weir_trace_opts opts = {.size = sizeof(opts), .parts = WEIR_TRACE_LOCKS};
	struct weir_trace_meta meta;
	struct weir_trace *trace;
	int status, go[2];
	char byte = 0;

	ASSERT_EQ(pipe(go), 0);
	opts.pid = fork();
	if (opts.pid == 0) {
		if (read(go[0], &byte, 1) != 1)
			_exit(1);
		execl("/bin/true", "true", (char *)NULL);
		_exit(1);
	}
	START(opts, trace);
	ASSERT_EQ(write(go[1], &byte, 1), 1);
	ASSERT_EQ(waitpid(opts.pid, &status, 0), opts.pid);
	weir_trace_meta(trace, &meta);
	EXPECT_EQ(meta.nr_execs, 1u);
	EXPECT_NE(meta.ended_ns, 0u);
	weir_trace_close(trace);
	EXPECT_EQ(weir_trace_start(&opts, &trace, NULL), -ENOENT);
}

TEST(what_is_wrong_is_refused)
{
	struct weir_trace_opts opts = {.size = sizeof(opts), .pid = -1};
	struct weir_trace *trace;
	int rc = weir_trace_start(&opts, &trace, NULL);

	if (rc == -EOPNOTSUPP)
		SKIP(return, NO_BPF);
	EXPECT_EQ(rc, -EINVAL);
	opts = (struct weir_trace_opts){.size = sizeof(opts), .parts = 1u << WEIR_TRACE_NR_PARTS};
	EXPECT_EQ(weir_trace_start(&opts, &trace, NULL), -EINVAL);
	opts = (struct weir_trace_opts){.size = sizeof(opts),
					.parts = WEIR_TRACE_LOCKS,
					.flags = WEIR_TRACE_PINNED,
					.pin_dir = "/tmp/weir"};
	EXPECT_EQ(weir_trace_start(&opts, &trace, NULL), -ENODEV);
	EXPECT_EQ(weir_trace_find(1, "/tmp/weir", &trace, NULL), -ENOENT);
	EXPECT_EQ(weir_trace_remove(1, "/tmp/weir"), -ENOENT);
	weir_trace_close(NULL);
}

TEST(without_memory_a_trace_is_refused_and_nothing_stays)
{
	struct weir_trace_opts opts = {.size = sizeof(opts), .parts = WEIR_TRACE_LOCKS};
	int before = nr_open_files();
	struct weir_trace *trace;
	int rc = -ENOMEM;

	START(opts, trace);
	weir_trace_close(trace);
	for (uint64_t n = 1; rc == -ENOMEM && n < 100; n++) {
		wr_test_alloc_fail_at(n);
		rc = weir_trace_start(&opts, &trace, NULL);
		wr_test_alloc_fail_at(0);
		if (rc == 0)
			weir_trace_close(trace);
	}
	EXPECT_EQ(rc, 0);
	EXPECT_EQ(nr_open_files(), before);
}

TEST_HARNESS_MAIN
