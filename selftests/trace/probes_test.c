/* SPDX-License-Identifier: MIT */
/*
 * What the probes of weir's own locks and caches tell a trace, against what locks and caches count
 * themselves; and that nothing of it stays behind.
 */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <weir/lock_trace.h>
#include <weir/trace.h>

#include "base/atomic.h"
#include "base/probe.h"
#include "cache/probing.h"
#include "cache/rig.h"
#include "lock/lock.h"
#include "lock/timing.h"
#include "trace/multi.h"
#include "trace/start.h"

#define NR_HOLDS 20u
#define HOLD_NS	 2000000u

static struct wr_mutex one = WR_MUTEX_INIT(WR_RANK_LOAD, "one");
static struct wr_mutex two = WR_MUTEX_INIT(WR_RANK_LOAD, "two");

struct holder {
	struct wr_mutex *mutex;
	unsigned nr;
	uint32_t tid;
	uint64_t held_ns; /* by its own clock */
};

static void *hold(void *arg)
{
	struct holder *h = arg;

	h->tid = (uint32_t)syscall(SYS_gettid);
	for (unsigned i = 0; i < h->nr; i++) {
		uint64_t since;

		wr_mutex_lock(h->mutex);
		since = wr_now_ns();
		sleep_ns(HOLD_NS);
		h->held_ns += wr_now_ns() - since;
		wr_mutex_unlock(h->mutex);
	}
	return NULL;
}

struct seen {
	const void *addr;
	bool found;
	struct weir_trace_hold hold;
};

static int look_at_hold(void *arg, const struct weir_trace_hold *hold)
{
	struct seen *s = arg;

	if (hold->addr == (uintptr_t)s->addr) {
		s->found = true;
		s->hold = *hold;
	}
	return 0;
}

static struct seen seen_of(struct weir_trace *trace, const void *addr)
{
	struct seen s = {.addr = addr};

	if (weir_trace_each_hold(trace, look_at_hold, &s) != 0)
		s.found = false;
	return s;
}

FIXTURE(way)
{
	struct weir_trace_opts opts;
};
FIXTURE_VARIANT(way)
{
	bool no_multi;
};
FIXTURE_VARIANT_ADD(way, links_of_many_places){.no_multi = false};
FIXTURE_VARIANT_ADD(way, perf_events){.no_multi = true};

FIXTURE_SETUP(way)
{
	self->opts = (struct weir_trace_opts){.size = sizeof(self->opts),
					      .parts = WEIR_TRACE_HOLDS | WEIR_TRACE_CACHE};
	wr_test_no_multi = variant->no_multi;
}

FIXTURE_TEARDOWN(way)
{
	wr_test_no_multi = false;
	weir_lock_trace_stop();
}

TEST_F(way, holds_are_those_of_the_holder)
{
	struct holder a = {.mutex = &one, .nr = NR_HOLDS}, b = {.mutex = &two, .nr = NR_HOLDS / 2};
	struct weir_trace *trace;
	pthread_t threads[2];
	struct seen s;

	START(self->opts, trace);
	ASSERT_EQ(weir_lock_trace_start(1), 0);
	/* Born after the start. */
	ASSERT_EQ(pthread_create(&threads[0], NULL, hold, &a), 0);
	ASSERT_EQ(pthread_create(&threads[1], NULL, hold, &b), 0);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	s = seen_of(trace, &one);
	ASSERT_TRUE(s.found);
	/* The first take of a lock only starts its countdown. */
	EXPECT_GE(s.hold.holds.samples, NR_HOLDS - 1);
	EXPECT_LE(s.hold.holds.samples, NR_HOLDS);
	EXPECT_EQ(s.hold.holds.contended, 0u);
	EXPECT_EQ(s.hold.holds.last_holder, a.tid);
	EXPECT_STREQ(s.hold.name, "one");
	/* The same time by two clocks, of which one is read inside of the other. */
	EXPECT_GE(s.hold.holds.hold_ns, a.held_ns / 100 * 90);
	EXPECT_GE(s.hold.holds.max_hold_ns, HOLD_NS);
	EXPECT_GE(s.hold.holds.hold_ns, s.hold.holds.samples * HOLD_NS);
	s = seen_of(trace, &two);
	ASSERT_TRUE(s.found);
	EXPECT_GE(s.hold.holds.samples, NR_HOLDS / 2 - 1);
	EXPECT_LE(s.hold.holds.samples, NR_HOLDS / 2);
	EXPECT_EQ(s.hold.holds.last_holder, b.tid);
	weir_trace_close(trace);
	EXPECT_FALSE(wr_probe_enabled(lock_release));
}

TEST_F(way, each_take_that_waited_is_counted)
{
	struct holder a = {.mutex = &one, .nr = NR_HOLDS}, b = {.mutex = &one, .nr = NR_HOLDS};
	struct wr_lock_stats before, after;
	struct weir_trace *trace;
	pthread_t threads[2];
	struct seen s;

	wr_lock_rank_stats(WR_RANK_LOAD, &before);
	START(self->opts, trace);
	ASSERT_EQ(pthread_create(&threads[0], NULL, hold, &a), 0);
	ASSERT_EQ(pthread_create(&threads[1], NULL, hold, &b), 0);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	wr_lock_rank_stats(WR_RANK_LOAD, &after);
	s = seen_of(trace, &one);
	ASSERT_TRUE(s.found);
	EXPECT_EQ(s.hold.holds.blocked, after.nr_contended - before.nr_contended);
	EXPECT_EQ(s.hold.holds.contended, after.nr_contended - before.nr_contended);
	EXPECT_EQ(s.hold.holds.wait_ns, after.wait_ns - before.wait_ns);
	EXPECT_TRUE(s.hold.holds.last_owner == a.tid || s.hold.holds.last_owner == b.tid);
	weir_trace_close(trace);
}

TEST_F(way, a_paused_part_counts_nothing)
{
	struct holder a = {.mutex = &one, .nr = 5};
	struct weir_trace_totals t;
	struct weir_trace *trace;

	START(self->opts, trace);
	ASSERT_EQ(weir_lock_trace_start(1), 0);
	ASSERT_EQ(weir_trace_enable(trace, WEIR_TRACE_CACHE), 0);
	hold(&a);
	weir_trace_totals(trace, &t);
	EXPECT_EQ(t.holds, 0u);
	ASSERT_EQ(weir_trace_enable(trace, WEIR_TRACE_HOLDS | WEIR_TRACE_CACHE), 0);
	hold(&a);
	weir_trace_totals(trace, &t);
	EXPECT_GE(t.holds, 4u);
	EXPECT_EQ(weir_trace_enable(trace, 1u << WEIR_TRACE_NR_PARTS), -EINVAL);
	weir_trace_close(trace);
}

struct told {
	struct weir_cache_events of[WEIR_CACHE_EVENT_EVICT + 1];
	uint32_t tid;
};

static int look_at_cache(void *arg, const struct weir_cache_key *key,
			 const struct weir_cache_events *events)
{
	struct told *t = arg;

	t->of[key->event].events += events->events;
	t->of[key->event].samples += events->samples;
	t->of[key->event].bytes += events->bytes;
	t->tid = key->tid;
	return 0;
}

TEST_F(way, a_cache_tells_what_it_counts)
{
	enum { KEYS = 64, ROUNDS = 1000, BYTES = 4096 };
	struct weir_cache_stats before, after;
	struct weir_cache_opts opts = {0};
	struct weir_trace *trace;
	struct told told = {0};
	struct weir_pin pin;
	uint64_t hits;
	static struct rig r;

	ASSERT_EQ(rig_open(&r, &opts, (KEYS / 2) * BYTES), 0);
	START(self->opts, trace);
	before = rig_stats(&r, WEIR_TIER_L2);
	for (uint32_t i = 0; i < KEYS; i++) {
		ASSERT_EQ(rig_get(&r, i, BYTES, &pin), 0);
		ASSERT_EQ(weir_cache_put(r.cache, &pin), 0);
	}
	for (uint32_t i = 0; i < ROUNDS * 64; i++) {
		ASSERT_EQ(rig_get(&r, KEYS - 1 - i % 4, BYTES, &pin), 0);
		ASSERT_EQ(weir_cache_put(r.cache, &pin), 0);
	}
	after = rig_stats(&r, WEIR_TIER_L2);
	ASSERT_EQ(weir_trace_each_cache(trace, look_at_cache, &told), 0);
	EXPECT_EQ(told.of[WEIR_CACHE_EVENT_MISS].events, after.nr_misses - before.nr_misses);
	EXPECT_EQ(told.of[WEIR_CACHE_EVENT_MISS].bytes,
		  (after.nr_misses - before.nr_misses) * BYTES);
	EXPECT_EQ(told.of[WEIR_CACHE_EVENT_EVICT].events, after.nr_evictions - before.nr_evictions);
	EXPECT_GE(told.of[WEIR_CACHE_EVENT_EVICT].events, KEYS / 4);
	/* One in 64; of 1000 samples, within a fifth. */
	hits = after.nr_hits - before.nr_hits;
	EXPECT_GE(told.of[WEIR_CACHE_EVENT_HIT].events, hits / 5 * 4);
	EXPECT_LE(told.of[WEIR_CACHE_EVENT_HIT].events, hits / 5 * 6);
	EXPECT_EQ(told.of[WEIR_CACHE_EVENT_HIT].samples * WR_PROBE_HITS_EVERY,
		  told.of[WEIR_CACHE_EVENT_HIT].events);
	EXPECT_EQ(told.tid, (uint32_t)syscall(SYS_gettid));
	weir_trace_close(trace);
	EXPECT_FALSE(wr_probe_enabled(cache_hit));
	EXPECT_FALSE(wr_probe_enabled(cache_miss));
	EXPECT_FALSE(wr_probe_enabled(cache_evict));
	EXPECT_TRUE(rig_close(&r));
}

/* Raised by a tracer of this process; given time, because links are cut in the background. */
static bool comes_to(bool enabled)
{
	for (int i = 0; i < 500 && wr_probe_enabled(lock_release) != enabled; i++)
		sleep_ns(10000000);
	return wr_probe_enabled(lock_release) == enabled;
}

TEST_F(way, nothing_stays_of_a_tracer_that_is_killed)
{
	struct weir_trace *trace;
	int ready[2];
	char byte = 0;
	pid_t loader;

	/* Can it be done here at all? */
	START(self->opts, trace);
	weir_trace_close(trace);
	ASSERT_TRUE(comes_to(false));
	ASSERT_EQ(pipe(ready), 0);
	self->opts.pid = getpid();
	loader = fork();
	if (loader == 0) {
		if (weir_trace_start(&self->opts, &trace, NULL) || write(ready[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	ASSERT_EQ(read(ready[0], &byte, 1), 1);
	EXPECT_TRUE(comes_to(true));
	kill(loader, SIGKILL);
	waitpid(loader, NULL, 0);
	EXPECT_TRUE(comes_to(false));
	close(ready[0]);
}

TEST_F(way, two_tracers_both_count_and_do_not_disturb_each_other)
{
	struct holder a = {.mutex = &one, .nr = 5};
	struct weir_trace *first, *second;
	struct weir_trace_totals t, u;

	START(self->opts, first);
	START(self->opts, second);
	ASSERT_EQ(weir_lock_trace_start(1), 0);
	hold(&a);
	weir_trace_totals(first, &t);
	weir_trace_totals(second, &u);
	EXPECT_GE(t.holds, 4u);
	EXPECT_EQ(t.holds, u.holds);
	weir_trace_close(first);
	EXPECT_TRUE(wr_probe_enabled(lock_release));
	hold(&a);
	weir_trace_totals(second, &t);
	EXPECT_GE(t.holds, u.holds + 5);
	weir_trace_close(second);
	EXPECT_TRUE(comes_to(false));
}

TEST_F(way, a_process_that_ends_or_runs_another_program_takes_its_probes_along)
{
	struct holder a = {.mutex = &one, .nr = 5};
	struct weir_trace_totals t;
	struct weir_trace *trace;
	int go[2], status;
	char byte = 0;

	ASSERT_EQ(pipe(go), 0);
	for (int runs_another = 0; runs_another < 2; runs_another++) {
		self->opts.pid = fork();
		if (self->opts.pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (read(go[0], &byte, 1) != 1 || weir_lock_trace_start(1))
				_exit(1);
			hold(&a);
			if (runs_another)
				execl("/bin/true", "true", (char *)NULL);
			_exit(0);
		}
		START(self->opts, trace);
		ASSERT_EQ(write(go[1], &byte, 1), 1);
		ASSERT_EQ(waitpid(self->opts.pid, &status, 0), self->opts.pid);
		EXPECT_EQ(status, 0);
		weir_trace_totals(trace, &t);
		EXPECT_GE(t.holds, 4u);
		weir_trace_close(trace);
		EXPECT_TRUE(comes_to(false));
	}
	close(go[0]);
	close(go[1]);
}

#if WR_PROBES && defined(__x86_64__)
/* A site of the probe with data below the stack pointer around it, as a leaf function has. */
__attribute__((noinline)) static bool site_keeps_red_zone(uint64_t value)
{
	uint64_t near, far;

	__asm__ volatile(
		"movq -8(%%rsp), %%r8\n"
		"movq -16(%%rsp), %%r9\n"
		"movq %[value], -8(%%rsp)\n"
		"movq %[value], -16(%%rsp)\n" WR_PROBE_SITE(
			lock_release, "8@%[value] 8@%[zero] 8@%[value]") "movq -8(%%rsp), %[near]\n"
									 "movq -16(%%rsp), %[far]\n"
									 "movq %%r8, -8(%%rsp)\n"
									 "movq %%r9, -16(%%rsp)\n"
		: [near] "=&r"(near), [far] "=&r"(far)
		: [value] "r"(value), [zero] "r"((uint64_t)0)
		: "r8", "r9", "memory");
	return near == value && far == value;
}

TEST_F(way, the_red_zone_stays_as_it_is)
{
	struct weir_trace *trace;
	unsigned nr_kept = 0;
	struct seen s;

	START(self->opts, trace);
	for (unsigned i = 0; i < 1000; i++)
		nr_kept += site_keeps_red_zone(0x1234);
	EXPECT_EQ(nr_kept, 1000u);
	s = seen_of(trace, (void *)0x1234);
	ASSERT_TRUE(s.found);
	EXPECT_EQ(s.hold.holds.samples, 1000u);
	EXPECT_EQ(s.hold.holds.hold_ns, 1000u * 0x1234);
	weir_trace_close(trace);
}
#endif

TEST(a_process_without_sites_says_so_and_others_keep_theirs)
{
	struct weir_trace_opts opts = {.size = sizeof(opts),
				       .parts = WEIR_TRACE_FAULTS | WEIR_TRACE_HOLDS};
	struct weir_trace *trace;
	const char *name, *reason;
	int status;

	opts.pid = fork();
	if (opts.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl("/bin/sleep", "sleep", "60", (char *)NULL);
		_exit(1);
	}
	sleep_ns(100000000);
	START(opts, trace);
	EXPECT_EQ(weir_trace_part(trace, 3, &name, &reason), 0);
	EXPECT_EQ(weir_trace_part(trace, 5, &name, &reason), -ENOENT);
	EXPECT_STREQ(name, "holds");
	EXPECT_STREQ(reason, "this process has no probe sites of weir");
	weir_trace_close(trace);
	kill(opts.pid, SIGKILL);
	waitpid(opts.pid, &status, 0);
}

TEST(what_a_trace_costs_can_be_measured)
{
	struct weir_trace_opts opts = {.size = sizeof(opts),
				       .parts = WEIR_TRACE_HOLDS | WEIR_TRACE_LOCKS};
	struct weir_trace_cost cost = {0};
	struct weir_trace *trace;
	int rc;

	START(opts, trace);
	rc = weir_trace_cost(trace, 200000000, &cost);
	if (rc == -EPERM)
		SKIP(goto out, NO_BPF);
	ASSERT_EQ(rc, 0);
	EXPECT_GE(cost.window_ns, 200000000u);
	EXPECT_GT(cost.nr_runs, 0u);
	EXPECT_GT(cost.run_ns, 0u);
	EXPECT_EQ(weir_trace_cost(trace, 0, &cost), -EINVAL);
out:
	weir_trace_close(trace);
}

struct heard {
	_Atomic uint32_t nr;
	_Atomic uint64_t holds;
	_Atomic uint32_t tid;
};

static void hear(void *arg, const struct weir_trace_totals *now,
		 const struct weir_trace_totals *before)
{
	struct heard *h = arg;

	wr_fetch_add_relaxed(&h->holds, now->holds - before->holds);
	wr_store_relaxed(&h->tid, (uint32_t)syscall(SYS_gettid));
	wr_fetch_add_relaxed(&h->nr, 1);
}

static bool value_of(struct weir_metrics *m, const char *name, double *ret)
{
	uint32_t id;

	return weir_metrics_find(m, name, &id) == 0 && weir_metrics_read_float(m, id, ret) == 0;
}

TEST(a_watch_brings_numbers_to_metrics_and_to_a_function)
{
	struct weir_trace_opts opts = {.size = sizeof(opts), .parts = WEIR_TRACE_HOLDS};
	struct weir_trace_watch_opts to = {.size = sizeof(to), .interval_ns = 1000000, .fn = hear};
	struct weir_trace_watch *watch;
	struct holder a = {.mutex = &one, .nr = 10};
	struct weir_trace_totals totals;
	struct weir_trace *trace;
	struct heard heard = {0};
	double value = -1;
	uint32_t nr;

	START(opts, trace);
	ASSERT_EQ(weir_metrics_open(&to.metrics), 0);
	to.arg = &heard;
	ASSERT_EQ(weir_trace_watch_start(trace, &to, &watch), 0);
	/* There from the start, and what is off has no number. */
	EXPECT_TRUE(value_of(to.metrics, "weir_trace_holds", &value));
	EXPECT_FALSE(value_of(to.metrics, "weir_trace_lock_waits", &value));
	EXPECT_FALSE(value_of(to.metrics, "weir_trace_cpu_misses", &value));
	EXPECT_FALSE(value_of(to.metrics, "weir_trace_deep_takes", &value));
	EXPECT_FALSE(value_of(to.metrics, "weir_trace_stages", &value));
	ASSERT_EQ(weir_lock_trace_start(1), 0);
	hold(&a);
	weir_lock_trace_stop();
	weir_trace_totals(trace, &totals);
	EXPECT_GE(totals.holds, 9u);
	nr = wr_load_relaxed(&heard.nr);
	for (int i = 0; i < 500 && wr_load_relaxed(&heard.nr) < nr + 2; i++)
		sleep_ns(10000000);
	EXPECT_TRUE(value_of(to.metrics, "weir_trace_holds", &value));
	EXPECT_GE((uint64_t)value, totals.holds);
	EXPECT_GE(wr_load_relaxed(&heard.holds), 9u);
	/* The registry has a lock of ours, which may be sampled before and meanwhile. */
	weir_trace_totals(trace, &totals);
	EXPECT_LE((uint64_t)value, totals.holds);
	EXPECT_LE(wr_load_relaxed(&heard.holds), totals.holds);
	EXPECT_NE(wr_load_relaxed(&heard.tid), (uint32_t)syscall(SYS_gettid));
	weir_trace_watch_stop(watch);
	nr = wr_load_relaxed(&heard.nr);
	sleep_ns(20000000);
	EXPECT_EQ(wr_load_relaxed(&heard.nr), nr);
	EXPECT_FALSE(value_of(to.metrics, "weir_trace_holds", &value));
	to.interval_ns = 1;
	EXPECT_EQ(weir_trace_watch_start(trace, &to, &watch), -ERANGE);
	weir_metrics_close(to.metrics);
	weir_trace_close(trace);
}

TEST_HARNESS_MAIN
