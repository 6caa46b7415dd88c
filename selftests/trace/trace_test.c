/* SPDX-License-Identifier: MIT */
/* What a trace counts, against what the process did; see docs/tracing.md for what each number is. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <weir/trace_symbol.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"

#define NR_HOLDS 20
#define HOLD_NS	 2000000u

static pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t second = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t idle_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t idle = PTHREAD_COND_INITIALIZER;

/* The kernel or the rights are not there; WEIR_REQUIRE_BPF makes a failure of it. */
static bool is_missing(int rc)
{
	return (rc == -EPERM || rc == -EACCES || rc == -ENOENT || rc == -EOPNOTSUPP) &&
	       !getenv("WEIR_REQUIRE_BPF");
}

#define START(opts, ret)                                                                \
	do {                                                                            \
		struct weir_error start_err;                                            \
		int start_rc = weir_trace_start(&(opts), &(ret), &start_err);           \
                                                                                        \
		if (is_missing(start_rc))                                               \
			SKIP(return, "BPF: root, a kernel with BTF, libbpf and clang"); \
		ASSERT_EQ(start_rc, 0);                                                 \
	} while (0)

static void sleep_ns(uint64_t ns)
{
	struct timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR)
		;
}

struct hold {
	pthread_mutex_t *mutex;
	pthread_barrier_t meet;
	unsigned nr;
	uint64_t hold_ns;
	_Atomic uint32_t waiter_tid; /* 0: not about to take it */
	uint32_t holder_tid;	     /* read after the threads have been joined */
	uint64_t waited_ns;	     /* by the waiter's own clock */
};

/* Until the waiter, which is about to take the lock, sleeps. */
static void wait_until_it_sleeps(struct hold *h)
{
	char path[64], line[256], *state;
	uint32_t tid;
	FILE *f;

	for (;;) {
		sleep_ns(100000);
		tid = wr_load_acquire(&h->waiter_tid);
		snprintf(path, sizeof(path), "/proc/self/task/%u/stat", tid);
		f = tid != 0 ? fopen(path, "re") : NULL;
		if (!f)
			continue;
		state = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
		fclose(f);
		if (state && state[2] == 'S')
			return;
	}
}

/* Holds while the other surely waits. */
static void *hold(void *arg)
{
	struct hold *h = arg;

	h->holder_tid = (uint32_t)syscall(SYS_gettid);
	for (unsigned i = 0; i < h->nr; i++) {
		pthread_mutex_lock(h->mutex);
		pthread_barrier_wait(&h->meet);
		wait_until_it_sleeps(h);
		sleep_ns(h->hold_ns);
		pthread_mutex_unlock(h->mutex);
		pthread_barrier_wait(&h->meet);
	}
	return NULL;
}

static void *wait_for(void *arg)
{
	struct hold *h = arg;

	for (unsigned i = 0; i < h->nr; i++) {
		uint64_t start;

		pthread_barrier_wait(&h->meet);
		start = wr_now_ns();
		wr_store_release(&h->waiter_tid, (uint32_t)syscall(SYS_gettid));
		pthread_mutex_lock(h->mutex);
		wr_store_release(&h->waiter_tid, 0);
		h->waited_ns += wr_now_ns() - start;
		pthread_mutex_unlock(h->mutex);
		pthread_barrier_wait(&h->meet);
	}
	return NULL;
}

static void contend(struct hold *h, pthread_mutex_t *mutex, unsigned nr)
{
	pthread_t threads[2];

	*h = (struct hold){.mutex = mutex, .nr = nr, .hold_ns = HOLD_NS};
	if (pthread_barrier_init(&h->meet, NULL, 2) || pthread_create(&threads[0], NULL, hold, h) ||
	    pthread_create(&threads[1], NULL, wait_for, h))
		abort();
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	pthread_barrier_destroy(&h->meet);
}

struct found {
	uint64_t addr;
	bool seen;
	struct weir_lock_waits waits;
	uint32_t holder_tid;
	uint64_t blamed_times;
};

static int look_at_lock(void *arg, const struct weir_trace_lock *lock)
{
	struct found *f = arg;

	if (lock->addr == f->addr) {
		f->waits = lock->waits;
		f->seen = true;
	}
	return 0;
}

static int look_at_holder(void *arg, const struct weir_site_key *key, const struct weir_site *site)
{
	struct found *f = arg;

	if (key->addr == f->addr && site->times > f->blamed_times) {
		f->holder_tid = key->tid;
		f->blamed_times = site->times;
	}
	return 0;
}

static void find_lock(struct __test_metadata *_metadata, struct weir_trace *trace, const void *addr,
		      struct found *ret)
{
	*ret = (struct found){.addr = (uintptr_t)addr};
	EXPECT_EQ(weir_trace_each_lock(trace, look_at_lock, ret), 0);
	EXPECT_EQ(weir_trace_each_holder(trace, look_at_holder, ret), 0);
}

TEST(waits_are_those_of_the_waiter_and_the_holder_is_named)
{
	struct weir_trace_opts opts = {.size = sizeof(opts), .parts = WEIR_TRACE_LOCKS};
	struct weir_trace *trace;
	struct hold a, b;
	struct found f;

	START(opts, trace);
	/* Its threads are born after the start. */
	contend(&a, &first, NR_HOLDS);
	contend(&b, &second, NR_HOLDS / 2);
	find_lock(_metadata, trace, &first, &f);
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
	find_lock(_metadata, trace, &second, &f);
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
	struct hold h;

	START(opts, s.trace);
	contend(&h, &first, 5);
	ASSERT_EQ(weir_trace_symbols_open(s.trace, &s.symbols), 0);
	EXPECT_EQ(weir_trace_each_waiter(s.trace, name_frames, &s), 0);
	EXPECT_GT(s.nr_named, 0u);
	ASSERT_EQ(weir_trace_symbol(s.symbols, (uintptr_t)&first + 4, &symbol), 0);
	EXPECT_STREQ(symbol.name, "first");
	EXPECT_EQ(symbol.offset, 4u);
	EXPECT_EQ(weir_trace_symbol(s.symbols, (uintptr_t)&h, &symbol), -ENOENT);
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
	struct hold h;

	START(opts, trace);
	contend(&h, &first, 5);
	EXPECT_EQ(weir_trace_each_event(trace, count_events, &nr), 0);
	weir_trace_totals(trace, &totals);
	EXPECT_EQ(nr, totals.lock_waits);
	EXPECT_GE(nr, 4u);
	weir_trace_close(trace);
	opts.min_event_ns = 3600000000000;
	START(opts, trace);
	contend(&h, &first, 5);
	nr = 0;
	EXPECT_EQ(weir_trace_each_event(trace, count_events, &nr), 0);
	EXPECT_EQ(nr, 0u);
	weir_trace_close(trace);
}

struct pages {
	uint64_t ino, lookup, miss;
	uint32_t dev;
};

static int look_at_file(void *arg, const struct weir_file_key *key, const struct weir_file *file)
{
	struct pages *p = arg;

	if (key->ino == p->ino && key->dev == p->dev) {
		p->lookup += file->lookup_pages;
		p->miss += file->miss_pages;
	}
	return 0;
}

static void read_all(int fd)
{
	static char buf[65536];
	off_t at = 0;
	ssize_t n;

	while ((n = pread(fd, buf, sizeof(buf), at)) > 0)
		at += n;
}

TEST(cold_pages_are_misses_and_warm_ones_are_not)
{
	enum { PAGES = 1024 };
	struct weir_trace_opts opts = {.size = sizeof(opts), .parts = WEIR_TRACE_PAGE_CACHE};
	char path[] = WR_TEST_BUILD "/trace-XXXXXX";
	struct weir_trace *trace;
	struct pages p = {0};
	uint64_t cold;
	struct stat st;
	int fd = mkstemp(path);
	char *page = calloc(1, 4096);

	ASSERT_GE(fd, 0);
	unlink(path);
	for (int i = 0; i < PAGES; i++)
		ASSERT_EQ(write(fd, page, 4096), 4096);
	free(page);
	ASSERT_EQ(fsync(fd), 0);
	ASSERT_EQ(fstat(fd, &st), 0);
	ASSERT_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	START(opts, trace);
	p.ino = st.st_ino;
	p.dev = major(st.st_dev) << 20 | minor(st.st_dev);
	read_all(fd);
	ASSERT_EQ(weir_trace_each_file(trace, look_at_file, &p), 0);
	cold = p.miss;
	if (cold == 0)
		SKIP(goto out, "a file system that keeps its pages in the page cache alone");
	/* A machine short of memory may take a page back that was just brought in. */
	EXPECT_GE(cold, PAGES);
	EXPECT_LE(cold, PAGES + PAGES / 100);
	EXPECT_GE(p.lookup, PAGES);
	read_all(fd);
	p.miss = 0;
	ASSERT_EQ(weir_trace_each_file(trace, look_at_file, &p), 0);
	EXPECT_LE(p.miss, cold + PAGES / 100);
out:
	weir_trace_close(trace);
	close(fd);
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

static unsigned nr_fds(void)
{
	unsigned nr = 0;

	for (int fd = 0; fd < 4096; fd++)
		nr += fcntl(fd, F_GETFD) >= 0;
	return nr;
}

TEST(two_tracers_do_not_disturb_each_other_and_leave_nothing)
{
	struct weir_trace_opts opts = {.size = sizeof(opts)};
	struct weir_trace *one, *two;
	struct weir_trace_totals a, b;
	unsigned before = nr_fds();
	struct hold h;

	START(opts, one);
	START(opts, two);
	contend(&h, &first, 5);
	weir_trace_totals(one, &a);
	weir_trace_totals(two, &b);
	EXPECT_GE(a.lock_waits, 4u);
	EXPECT_EQ(a.lock_waits, b.lock_waits);
	weir_trace_close(one);
	contend(&h, &first, 5);
	weir_trace_totals(two, &b);
	EXPECT_GE(b.lock_waits, a.lock_waits + 4);
	weir_trace_close(two);
	for (int i = 0; i < 8; i++) {
		START(opts, one);
		weir_trace_close(one);
	}
	EXPECT_EQ(nr_fds(), before);
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
		SKIP(return, "BPF: root, a kernel with BTF, libbpf and clang");
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
	unsigned before = nr_fds();
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
	EXPECT_EQ(nr_fds(), before);
}

TEST_HARNESS_MAIN
