/* SPDX-License-Identifier: MIT */
/*
 * What a trace says of waits, holders and pages, against clocks and counts of the threads
 * themselves. Each number has bounds that hold however busy the machine is.
 */
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "trace/start.h"
#include "trace/waiting_pair.h"

#define NR_HOLDS 100u

static pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t second = PTHREAD_MUTEX_INITIALIZER;

/* What the trace has of a pair's lock is what the pair knows. */
static void expect_pair(struct __test_metadata *_metadata, struct weir_trace *trace,
			const struct waiting_pair *p)
{
	struct lock_found f;

	ASSERT_EQ(lock_find(trace, p->mutex, &f), 0);
	TH_LOG("%u holds: %llu waits, slept %llu times; %llu us until the wake, %llu to %llu",
	       p->nr, (unsigned long long)f.waits.waits, (unsigned long long)p->nr_blocked,
	       (unsigned long long)f.waits.held_ns / 1000 / p->nr,
	       (unsigned long long)p->least_ns / 1000 / p->nr,
	       (unsigned long long)p->most_ns / 1000 / p->nr);
	EXPECT_EQ(f.waits.kind, WEIR_WAIT_LOCK);
	/* One more or less: a thread also sleeps for memory. */
	EXPECT_GE(f.waits.waits + 1, p->nr_blocked);
	EXPECT_LE(f.waits.waits, p->nr_blocked + 1);
	EXPECT_GE(f.waits.waits, p->nr - 1);
	EXPECT_EQ(f.waits.held_ns + f.waits.runq_ns, f.waits.wait_ns);
	/* It is seen asleep a moment before it is. */
	EXPECT_GE(f.waits.held_ns, p->least_ns / 100 * 95);
	EXPECT_LE(f.waits.held_ns, p->most_ns);
	EXPECT_GE(f.waits.wait_ns, p->least_ns / 100 * 95);
	EXPECT_LE(f.waits.wait_ns, p->waited_ns);
	EXPECT_EQ(f.holder_tid, p->holder_tid);
	EXPECT_EQ(f.waits.last_waker, p->holder_tid);
}

TEST(waits_of_two_locks_at_once_are_those_of_their_threads)
{
	struct weir_trace_opts opts = {.size = sizeof(opts), .parts = WEIR_TRACE_LOCKS};
	struct weir_trace *trace;
	struct waiting_pair a, b;

	START(opts, trace);
	/* Its threads are born after the start. */
	pair_begin(&a, &first, NR_HOLDS);
	pair_begin(&b, &second, NR_HOLDS / 2);
	pair_end(&a);
	pair_end(&b);
	expect_pair(_metadata, trace, &a);
	expect_pair(_metadata, trace, &b);
	weir_trace_close(trace);
}

struct pages {
	uint64_t ino, miss, lookup;
	uint32_t dev;
};

static int look_at_file(void *arg, const struct weir_file_key *key, const struct weir_file *file)
{
	struct pages *p = arg;

	if (key->ino == p->ino && key->dev == p->dev) {
		p->miss = file->miss_pages;
		p->lookup = file->lookup_pages;
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

TEST(of_1024_cold_pages_1024_are_missing_and_of_warm_ones_none)
{
	enum { PAGES = 1024 };
	struct weir_trace_opts opts = {.size = sizeof(opts), .parts = WEIR_TRACE_PAGE_CACHE};
	char path[] = WR_TEST_BUILD "/truth-XXXXXX";
	static char page[4096];
	uint64_t cold = 0, warm = 1;
	struct weir_trace *trace;
	struct pages p = {0};
	struct stat st;
	int fd = mkstemp(path);

	ASSERT_GE(fd, 0);
	unlink(path);
	for (int i = 0; i < PAGES; i++)
		ASSERT_EQ(write(fd, page, sizeof(page)), (ssize_t)sizeof(page));
	ASSERT_EQ(fsync(fd), 0);
	ASSERT_EQ(fstat(fd, &st), 0);
	START(opts, trace);
	p.ino = st.st_ino;
	p.dev = major(st.st_dev) << 20 | minor(st.st_dev);
	/* A machine short of memory may take a page away in between: then once more. */
	for (int i = 0; i < 10 && (cold != PAGES || warm != 0); i++) {
		uint64_t before = p.miss;

		ASSERT_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
		read_all(fd);
		ASSERT_EQ(weir_trace_each_file(trace, look_at_file, &p), 0);
		cold = p.miss - before;
		read_all(fd);
		before = p.miss;
		ASSERT_EQ(weir_trace_each_file(trace, look_at_file, &p), 0);
		warm = p.miss - before;
	}
	if (cold == 0)
		SKIP(goto out, "a file system that keeps its pages in the page cache alone");
	EXPECT_EQ(cold, PAGES);
	EXPECT_EQ(warm, 0u);
	EXPECT_GE(p.lookup, 2u * PAGES);
out:
	weir_trace_close(trace);
	close(fd);
}

TEST(without_counters_there_is_no_number_of_cpu_misses)
{
	struct weir_trace_opts opts = {.size = sizeof(opts),
				       .parts = WEIR_TRACE_FAULTS | WEIR_TRACE_CPU_MISSES |
						WEIR_TRACE_PAGE_CACHE};
	struct weir_trace_totals totals;
	struct weir_trace_meta meta;
	struct weir_trace *trace;
	const char *name, *reason;

	START(opts, trace);
	if (weir_trace_part(trace, 4, &name, &reason) == 0) {
		weir_trace_close(trace);
		return;
	}
	weir_trace_meta(trace, &meta);
	weir_trace_totals(trace, &totals);
	EXPECT_STREQ(name, "cpu-misses");
	EXPECT_EQ(meta.cpu_miss_available, 0u);
	EXPECT_NE(meta.cpu_miss_errno, 0u);
	EXPECT_EQ(meta.cpu_miss_source, WEIR_MISS_NONE);
	EXPECT_EQ(totals.cpu_misses, 0u);
	EXPECT_EQ(meta.parts & WEIR_TRACE_CPU_MISSES, 0u);
	weir_trace_close(trace);
}

TEST_HARNESS_MAIN
