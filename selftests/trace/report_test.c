/* SPDX-License-Identifier: MIT */
/* The forms of a report: each is what its readers expect, and says the same. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <weir/lock_trace.h>
#include <weir/trace.h>

#include "harness/run_weir.h"
#include "harness/sanitized.h"
#include "lock/lock.h"
#include "trace/pinned_host.h"

static char text[1 << 20];
static pthread_mutex_t contended_lock = PTHREAD_MUTEX_INITIALIZER;
static struct wr_mutex host_lock WR_RANKED(METRICS);

__attribute__((noinline)) static void take_and_hold(void)
{
	pthread_mutex_lock(&contended_lock);
	usleep(2000);
	pthread_mutex_unlock(&contended_lock);
}

__attribute__((noinline)) static void take_and_hold_its_own(void)
{
	wr_mutex_lock(&host_lock);
	usleep(2000);
	wr_mutex_unlock(&host_lock);
}

/* Those with an argument take turns at the one lock, the others at the other. */
static void *take_turns(void *arg)
{
	for (;;) {
		if (arg)
			take_and_hold();
		else
			take_and_hold_its_own();
		usleep(100);
	}
	return arg;
}

/* A host with threads that wait for each other at a lock of no name and at one of weir's. */
static pid_t make_host(void)
{
	pid_t pid = fork();
	pthread_t thread;

	if (pid != 0)
		return pid;
	wr_mutex_init(&host_lock, WR_RANK_METRICS, "lock of the host");
	if (weir_lock_trace_start(1) != 0)
		(_exit)(1);
	for (int i = 0; i < 3; i++)
		if (pthread_create(&thread, NULL, take_turns, i < 2 ? &host_lock : NULL))
			(_exit)(1);
	take_turns(NULL);
	(_exit)(0);
}

FIXTURE(host)
{
	pid_t pid;
	char pid_text[16], dir[256];
	const char *missing;
};

FIXTURE_SETUP(host)
{
	struct weir_trace_opts opts = {.size = sizeof(opts), .parts = WEIR_TRACE_LOCKS};
	struct weir_trace *trace;
	int rc;

	wt_dir_make(self->dir, sizeof(self->dir), NULL);
	self->pid = make_host();
	ASSERT_GT(self->pid, 0);
	snprintf(self->pid_text, sizeof(self->pid_text), "%d", (int)self->pid);
	opts.pid = self->pid;
	rc = weir_trace_start(&opts, &trace, NULL);
	if (rc == 0)
		weir_trace_close(trace);
	else if (getenv("WEIR_REQUIRE_BPF"))
		ASSERT_EQ(rc, 0);
	self->missing = rc ? NO_BPF : NULL;
}

FIXTURE_TEARDOWN(host)
{
	kill(self->pid, SIGKILL);
	waitpid(self->pid, NULL, 0);
	wt_dir_remove(self->dir);
}

/* Whether a stack in @list of sites of a lock contains @function. */
static bool is_in_a_stack(json_t *list, const char *function)
{
	size_t i, k;
	json_t *site, *frame;

	json_array_foreach(list, i, site) {
		json_array_foreach(wt_at(site, "stack"), k, frame) {
			if (!strcmp(wt_text(frame, "name"), function))
				return true;
		}
	}
	return false;
}

static json_t *lock_of_name(json_t *root, const char *key, const char *name)
{
	size_t i;
	json_t *lock;

	json_array_foreach(wt_at(root, "locks"), i, lock) {
		if (!strcmp(wt_text(lock, key), name))
			return lock;
	}
	return NULL;
}

TEST_F_TIMEOUT(host, is_named_in_json, 120)
{
	struct wt_run run = {0};

	if (self->missing)
		SKIP(return, "%s", self->missing);
	ASSERT_EQ(wt_weir(&run, "trace", "--pid", self->pid_text, "--seconds", "1", "--stacks",
			  "--json", NULL),
		  0);
	EXPECT_NE(lock_of_name(run.json, "symbol", "contended_lock"), NULL);
	EXPECT_NE(lock_of_name(run.json, "name", "lock of the host"), NULL);
#if defined(__x86_64__)
	/* The function that called into the C library, which keeps no frame pointers: a sanitizer's own may. */
	if (!SANITIZED) {
		EXPECT_TRUE(is_in_a_stack(wt_at(run.json, "waiters"), "take_and_hold"));
		EXPECT_TRUE(is_in_a_stack(wt_at(run.json, "let_go"), "take_and_hold"));
	}
#endif
	wt_run_fini(&run);
}

TEST_F_TIMEOUT(host, has_a_number_or_is_unavailable_in_every_form, 120)
{
	struct wt_run run = {0};
	char svg[300];
	bool available;

	if (self->missing)
		SKIP(return, "%s", self->missing);
	snprintf(svg, sizeof(svg), "%s/heat.svg", self->dir);
	ASSERT_EQ(wt_weir(&run, "trace", "--pid", self->pid_text, "--seconds", "1", "--parts",
			  "locks,cpu-misses", "--svg", svg, "--json", NULL),
		  0);
	available = json_is_true(wt_at(run.json, "cpu_misses_available"));
	EXPECT_EQ(json_is_null(wt_at(run.json, "totals.cpu_misses")), !available);
	EXPECT_EQ(json_is_string(wt_at(run.json, "cpu_misses_reason")), !available);
	wt_run_fini(&run);
	if (available)
		SKIP(return, "a machine without hardware counters");
	EXPECT_EQ(wt_shell(text, sizeof(text),
			   "trace --pid %s --seconds 1 --parts locks,cpu-misses", self->pid_text),
		  0);
	EXPECT_NE(strstr(text, "CPU cache misses: unavailable"), NULL);
	EXPECT_EQ(wt_weir(&run, "trace", "--pid", self->pid_text, "--seconds", "1", "--parts",
			  "locks,cpu-misses", "--folded", "cpu-misses", NULL),
		  1);
	EXPECT_STREQ(run.out, "");
	EXPECT_NE(strstr(run.err, "unavailable"), NULL);
	wt_run_fini(&run);
	EXPECT_EQ(wt_shell(text, sizeof(text), "--version >/dev/null; cat %s", svg), 0);
	EXPECT_NE(strstr(text, "CPU cache misses: unavailable"), NULL);
}

TEST_F_TIMEOUT(host, is_a_heat_map_of_eighty_columns_at_most_and_a_picture_of_finite_numbers, 120)
{
	struct wt_run run = {0};
	char svg[300];
	const char *line;

	if (self->missing)
		SKIP(return, "%s", self->missing);
	snprintf(svg, sizeof(svg), "%s/heat.svg", self->dir);
	ASSERT_EQ(wt_weir(&run, "trace", "--pid", self->pid_text, "--seconds", "1", "--stacks",
			  "--svg", svg, NULL),
		  0);
	for (line = run.out; *line; line += strcspn(line, "\n") + 1)
		EXPECT_LE(strcspn(line, "\n"), 80u);
	EXPECT_NE(strstr(run.out, "contended_lock"), NULL);
	wt_run_fini(&run);
	EXPECT_EQ(wt_shell(text, sizeof(text), "--version >/dev/null; cat %s", svg), 0);
	EXPECT_EQ(strncmp(text, "<svg ", 5), 0);
	EXPECT_NE(strstr(text, "Holds while somebody waited"), NULL);
	EXPECT_NE(strstr(text, "<title>"), NULL);
	EXPECT_NE(strstr(text, "</svg>\n"), NULL);
	EXPECT_EQ(strstr(text, "nan"), NULL);
	EXPECT_EQ(strstr(text, "inf"), NULL);
}

TEST_F_TIMEOUT(host, is_folded_into_lines_of_frames_and_a_number, 120)
{
	char *line, *next, *number, *end;
	unsigned nr = 0;

	if (self->missing)
		SKIP(return, "%s", self->missing);
	ASSERT_EQ(wt_shell(text, sizeof(text), "trace --pid %s --seconds 1 --folded waits",
			   self->pid_text),
		  0);
	EXPECT_NE(strstr(text, "\nreport_test;"), NULL);
	EXPECT_NE(strstr(text, ";[contended_lock] "), NULL);
	EXPECT_NE(strstr(text, ";[lock of the host] "), NULL);
	for (line = text; *line; line = next, nr++) {
		next = line + strcspn(line, "\n");
		ASSERT_EQ(*next, '\n');
		*next++ = '\0';
		number = strrchr(line, ' ');
		ASSERT_NE(number, NULL);
		EXPECT_GT(strtoull(number, &end, 10), 0u);
		EXPECT_EQ(*end, '\0');
		EXPECT_NE(line[0], ';');
		EXPECT_EQ(strstr(line, ";;"), NULL);
	}
	EXPECT_GT(nr, 1u);
}

/* The rules of the Trace Event Format for the kinds of events that are written. */
static void check_event(struct __test_metadata *_metadata, json_t *e, unsigned *nr_by_kind)
{
	const char *kind = wt_text(e, "ph");

	ASSERT_EQ(strlen(kind), 1u);
	ASSERT_NE(strchr("XbeM", kind[0]), NULL);
	nr_by_kind[(unsigned char)kind[0]]++;
	EXPECT_TRUE(json_is_string(wt_at(e, "name")));
	EXPECT_GT(wt_int(e, "pid"), 0);
	EXPECT_GE(wt_int(e, "tid"), 0);
	if (kind[0] == 'M') {
		EXPECT_TRUE(json_is_string(wt_at(e, "args.name")));
		return;
	}
	EXPECT_GT(wt_real(e, "ts"), 0);
	EXPECT_TRUE(json_is_string(wt_at(e, "cat")));
	EXPECT_TRUE(kind[0] == 'X' ? wt_real(e, "dur") >= 0 : json_is_integer(wt_at(e, "id")));
}

/* Slices of one lane follow each other. */
static bool overlap(json_t *a, json_t *b)
{
	if (strcmp(wt_text(a, "ph"), "X") || strcmp(wt_text(b, "ph"), "X") ||
	    wt_int(a, "pid") != wt_int(b, "pid") || wt_int(a, "tid") != wt_int(b, "tid"))
		return false;
	/* Three digits behind the point: a nanosecond, and what adding rounds. */
	return wt_real(a, "ts") + wt_real(a, "dur") > wt_real(b, "ts") + 0.01 &&
	       wt_real(b, "ts") + wt_real(b, "dur") > wt_real(a, "ts") + 0.01;
}

TEST_F_TIMEOUT(host, is_a_chrome_trace_with_lanes_that_do_not_overlap, 120)
{
	unsigned nr_by_kind[256] = {0}, nr_kept = 0, nr_overlaps = 0;
	struct wt_run run = {0};
	json_t *root, *list, *e;
	char path[300];
	size_t i;

	if (self->missing)
		SKIP(return, "%s", self->missing);
	snprintf(path, sizeof(path), "%s/lanes.json", self->dir);
	ASSERT_EQ(wt_weir(&run, "trace", "--pid", self->pid_text, "--seconds", "1", "--perfetto",
			  path, NULL),
		  0);
	wt_run_fini(&run);
	root = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
	ASSERT_NE(root, NULL);
	list = wt_at(root, "traceEvents");
	ASSERT_GT(json_array_size(list), 20u);
	json_array_foreach(list, i, e) {
		check_event(_metadata, e, nr_by_kind);
		nr_kept += !strcmp(wt_text(e, "cat"), "lock") &&
			   !strncmp(wt_text(e, "name"), "kept by ", 8);
		for (size_t k = i > 40 ? i - 40 : 0; k < i; k++)
			nr_overlaps += overlap(json_array_get(list, k), e);
	}
	EXPECT_EQ(nr_overlaps, 0u);
	EXPECT_EQ(nr_by_kind['b'], nr_by_kind['e']);
	EXPECT_GT(nr_by_kind['X'], 10u);
	EXPECT_GE(nr_by_kind['M'], 4u);
	EXPECT_GT(nr_kept, 5u);
	json_decref(root);
}

struct search {
	const char *name;
	bool found;
};

static int look(void *arg, const struct weir_trace_lock *lock)
{
	struct search *s = arg;

	s->found |= !strcmp(lock->name, s->name);
	return 0;
}

TEST_F_TIMEOUT(host, keeps_the_names_of_its_locks_when_it_has_ended, 120)
{
	struct weir_trace_opts opts = {.size = sizeof(opts), .parts = WEIR_TRACE_LOCKS};
	struct search s = {"lock of the host", false};
	struct weir_trace *trace;

	if (self->missing)
		SKIP(return, "%s", self->missing);
	opts.pid = self->pid;
	ASSERT_EQ(weir_trace_start(&opts, &trace, NULL), 0);
	for (int i = 0; i < 100 && !s.found; i++) {
		usleep(100000);
		ASSERT_EQ(weir_trace_each_lock(trace, look, &s), 0);
	}
	EXPECT_TRUE(s.found);
	s.found = false;
	kill(self->pid, SIGKILL);
	waitpid(self->pid, NULL, 0);
	EXPECT_EQ(weir_trace_each_lock(trace, look, &s), 0);
	EXPECT_TRUE(s.found);
	weir_trace_close(trace);
}

TEST_F_TIMEOUT(host, is_told_what_deep_costs_before_it_is_done, 120)
{
	struct weir_trace_deep_plan plan;
	struct wt_run run = {0};

	if (self->missing)
		SKIP(return, "%s", self->missing);
	if (weir_trace_deep_plan(self->pid, &plan) != 0 || plan.is_refused)
		SKIP(return, "a C library with cheap places for breakpoints");
	wt_weir(&run, "trace", "--pid", self->pid_text, "--seconds", "1", "--parts", "locks",
		"--deep", "--json", NULL);
	EXPECT_NE(strstr(run.err, "for each lock and unlock"), NULL);
	EXPECT_NE(strstr(run.err, "pthread_mutex_lock+"), NULL);
	EXPECT_GT(json_array_size(wt_at(run.json, "deep")), 0u);
	wt_run_fini(&run);
}

TEST_HARNESS_MAIN
