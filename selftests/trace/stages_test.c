/* SPDX-License-Identifier: MIT */
/*
 * Stages of streams and caches, as their probe tells them to a trace: against what stream and cache
 * count themselves, and as lanes of `weir trace --perfetto`.
 */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <weir/weir.h>

#include "base/stage.h"
#include "cache/rig.h"
#include "harness/run_weir.h"
#include "stream/testmodel.h"
#include "trace/start.h"

#define NR_LAYERS 4

/* A stream of a small model. */
struct host {
	struct test_model tm;
	struct weir *weir;
	struct weir_stream *stream;
};

static bool open_host(struct host *h)
{
	struct weir_opts opts = {
		.size = sizeof(opts), .budget_bytes = 16u << 20, .page_kinds = 1u << WEIR_PAGE_4K};
	struct weir_plan plan = {.size = sizeof(plan)};

	return tm_open(&h->tm, TM_SINGLE, NR_LAYERS, false) &&
	       weir_open(&opts, &h->weir, NULL) == 0 &&
	       weir_stream_open(h->weir, h->tm.model, &plan, &h->stream, NULL) == 0;
}

static void close_host(struct host *h)
{
	weir_stream_close(h->stream);
	weir_close(h->weir);
	tm_close(&h->tm);
}

/* One pass, each unit used for a millisecond. */
static bool walk(struct host *h, struct weir_pass_stats *ret)
{
	struct weir_unit unit;
	int rc;

	while ((rc = weir_stream_next(h->stream, &unit, NULL)) == 1)
		sleep_ns(1000000);
	weir_stream_pass(h->stream, ret);
	return rc == 0;
}

struct told {
	uint64_t nr[WEIR_EVENT_STAGE_FETCH + 1];
	uint64_t ns[WEIR_EVENT_STAGE_FETCH + 1];
	uint64_t last_id;
	uint64_t nr_wrong; /* ends before it begins */
};

static int look(void *arg, const struct weir_trace_event *e)
{
	struct told *t = arg;

	t->nr[e->kind]++;
	t->ns[e->kind] += e->end_ns - e->start_ns;
	t->last_id = e->addr;
	t->nr_wrong += e->start_ns > e->end_ns || e->start_ns == 0;
	return 0;
}

TEST(a_stream_tells_what_it_counts)
{
	struct weir_trace_opts opts = {.size = sizeof(opts), .parts = WEIR_TRACE_STAGES};
	struct weir_trace_totals totals;
	struct weir_pass_stats pass;
	struct weir_trace *trace;
	struct told told = {0};
	struct host h = {0};

	ASSERT_TRUE(open_host(&h));
	START(opts, trace);
	ASSERT_TRUE(walk(&h, &pass));
	ASSERT_EQ(weir_trace_each_event(trace, look, &told), 0);
	weir_trace_totals(trace, &totals);
	EXPECT_EQ(told.nr_wrong, 0u);
	EXPECT_EQ(told.nr[WEIR_EVENT_STAGE_COMPUTE], pass.nr_units);
	EXPECT_GE(told.ns[WEIR_EVENT_STAGE_COMPUTE], pass.nr_units * 1000000);
	EXPECT_EQ(told.nr[WEIR_EVENT_STAGE_WAIT], pass.nr_stalls);
	EXPECT_GE(told.ns[WEIR_EVENT_STAGE_WAIT], pass.stall_ns);
	/* Each unit once, and the first ones of the pass that follows where they do not stay. */
	EXPECT_GE(told.nr[WEIR_EVENT_STAGE_READ], pass.nr_units);
	EXPECT_LE(told.nr[WEIR_EVENT_STAGE_READ], 2 * pass.nr_units);
	EXPECT_GE(totals.stages, told.nr[WEIR_EVENT_STAGE_COMPUTE] +
					 told.nr[WEIR_EVENT_STAGE_WAIT] +
					 told.nr[WEIR_EVENT_STAGE_READ]);
	weir_trace_close(trace);
	EXPECT_FALSE(wr_probe_enabled(stage));
	close_host(&h);
}

TEST(a_cache_tells_its_fetches)
{
	enum { KEYS = 16, BYTES = 4096 };
	struct weir_trace_opts opts = {.size = sizeof(opts), .parts = WEIR_TRACE_STAGES};
	struct weir_cache_opts cache = {0};
	struct weir_trace *trace;
	struct told told = {0};
	struct weir_pin pin;
	static struct rig r;

	ASSERT_EQ(rig_open(&r, &cache, 2 * KEYS * BYTES), 0);
	START(opts, trace);
	for (uint32_t i = 0; i < 2 * KEYS; i++) {
		ASSERT_EQ(rig_get(&r, i % KEYS, BYTES, &pin), 0);
		ASSERT_EQ(weir_cache_put(r.cache, &pin), 0);
	}
	ASSERT_EQ(weir_trace_each_event(trace, look, &told), 0);
	EXPECT_EQ(told.nr[WEIR_EVENT_STAGE_FETCH], KEYS);
	EXPECT_EQ(told.nr_wrong, 0u);
	weir_trace_close(trace);
	EXPECT_TRUE(rig_close(&r));
}

/* Streams until it is killed; says when it begins. */
static pid_t make_host(int ready)
{
	static struct host h;
	struct weir_pass_stats pass;
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	if (!open_host(&h) || write(ready, "x", 1) != 1)
		(_exit)(1);
	while (walk(&h, &pass))
		;
	(_exit)(1);
}

static unsigned nr_slices(json_t *root, const char *name)
{
	json_t *list = wt_at(root, "traceEvents"), *e;
	unsigned nr = 0;
	size_t i;

	json_array_foreach(list, i, e)
		nr += !strcmp(wt_text(e, "cat"), "stage") && !strcmp(wt_text(e, "ph"), "X") &&
		      !strncmp(wt_text(e, "name"), name, strlen(name)) && wt_real(e, "dur") >= 0;
	return nr;
}

static bool has_lane(json_t *root, const char *name)
{
	json_t *list = wt_at(root, "traceEvents"), *e;
	bool found = false;
	size_t i;

	json_array_foreach(list, i, e)
		found |= !strcmp(wt_text(e, "ph"), "M") && !strcmp(wt_text(e, "args.name"), name);
	return found;
}

/* Of two slices of one lane, in the order of their beginning, the first ends first. */
static unsigned nr_overlaps(json_t *root)
{
	json_t *list = wt_at(root, "traceEvents"), *e, *before = NULL;
	unsigned nr = 0;
	size_t i;

	json_array_foreach(list, i, e) {
		if (strcmp(wt_text(e, "cat"), "stage") || strncmp(wt_text(e, "name"), "compute", 7))
			continue;
		/* Three digits behind the point: a nanosecond, and what adding rounds. */
		nr += before &&
		      wt_real(before, "ts") + wt_real(before, "dur") > wt_real(e, "ts") + 0.01;
		before = e;
	}
	return nr;
}

TEST(stages_are_lanes_of_a_chrome_trace)
{
	struct weir_trace_opts opts = {.size = sizeof(opts), .parts = WEIR_TRACE_STAGES};
	struct weir_trace *trace;
	struct wt_run run = {0};
	char dir[256], path[300], pid_text[16], byte;
	json_t *root;
	int ready[2];
	pid_t pid;

	START(opts, trace);
	weir_trace_close(trace);
	wt_dir_make(dir, sizeof(dir), NULL);
	ASSERT_EQ(pipe(ready), 0);
	pid = make_host(ready[1]);
	ASSERT_GT(pid, 0);
	close(ready[1]);
	ASSERT_EQ(read(ready[0], &byte, 1), 1);
	snprintf(pid_text, sizeof(pid_text), "%d", (int)pid);
	snprintf(path, sizeof(path), "%s/lanes.json", dir);
	EXPECT_EQ(wt_weir(&run, "trace", "--pid", pid_text, "--seconds", "1", "--parts", "stages",
			  "--perfetto", path, NULL),
		  0);
	wt_run_fini(&run);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(ready[0]);
	root = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
	wt_dir_remove(dir);
	ASSERT_NE(root, NULL);
	EXPECT_TRUE(has_lane(root, "stages"));
	EXPECT_TRUE(has_lane(root, "compute"));
	EXPECT_GT(nr_slices(root, "compute "), 5u);
	EXPECT_EQ(nr_overlaps(root), 0u);
	json_decref(root);
}

TEST_HARNESS_MAIN
