/* SPDX-License-Identifier: MIT */
/*
 * weir bench predict - what foreseeing and reading ahead are worth, in simulated time.
 *
 * Each case runs twice, without and with prefetch, on a simulated cache and device; the numbers
 * are the same on every machine, but for what the predictor itself costs, which is measured.
 * PATH may be a recorded routing or any trace that weir replay reads.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ahead.h"
#include "base/random.h"
#include "bench.h"
#include "ui.h"

#define MAX_CASES  64
#define MAX_REFS   200000u
#define BLOCK	   ((uint64_t)64 << 10)
#define DEVICE_BPS 2000000000u

/* A device against what the host computes meanwhile. */
static const struct device {
	const char *name;
	double compute; /* of a visit, in reads of a mean object */
	uint64_t bps;
} devices[] = {
	{"ample", 16, DEVICE_BPS},	 /* all can be read while the host computes */
	{"even", 1, DEVICE_BPS},	 /* a read for each visit */
	{"starved", 0.0625, DEVICE_BPS}, /* the device is busy nearly all the time */
};

struct bench_case {
	char work[40];
	const char *policy;
	const struct device *device;
	uint32_t nr_refs;
	struct wr_ahead_result without, with;
};

struct predict_bench {
	const struct wr_bench_args *args;
	struct bench_case cases[MAX_CASES];
	size_t nr;
	struct wr_ahead_recall recall[2];
	const char *recall_of[2];
	size_t nr_recall;
	struct weir_error err;
};

static int run_case(struct predict_bench *b, const char *name, const struct wr_ahead_work *w,
		    const char *policy, const struct device *d, uint32_t permille)
{
	struct bench_case *c = &b->cases[b->nr];
	uint64_t mean = w->used_bytes / w->nr_used;
	struct wr_ahead_opts o = {
		.capacity = wr_max(w->used_bytes * permille / 1000, 16 * mean),
		.policy = policy,
		.device_bps = d->bps,
		.latency_ns = 100000,
		.chunk_bytes = (uint64_t)1 << 20,
	};
	int rc;

	if (b->nr == MAX_CASES)
		return 0;
	o.compute_ns =
		(uint64_t)(d->compute * (double)(o.latency_ns + mean * 1000000000 / o.device_bps));
	rc = wr_ahead_run(w, &o, &c->without);
	o.prefetch = true;
	if (!rc)
		rc = wr_ahead_run(w, &o, &c->with);
	if (rc)
		return wr_error_set(&b->err, rc, NULL, WEIR_OFFSET_NONE, "the simulation failed");
	snprintf(c->work, sizeof(c->work), "%s %u%%", name, permille / 10);
	c->policy = policy;
	c->device = d;
	c->nr_refs = w->nr_refs;
	b->nr++;
	return 0;
}

static int run_devices(struct predict_bench *b, const char *name, const struct wr_ahead_work *w,
		       const char *policy, uint32_t permille)
{
	int rc = 0;

	for (size_t d = 0; d < wr_array_size(devices) && !rc; d++)
		rc = run_case(b, name, w, policy, &devices[d], permille);
	return rc;
}

/* A routing under several policies, and what the predictor foresees of it. */
static int run_routing(struct predict_bench *b, const char *name, const struct wr_ahead_work *w)
{
	int rc = wr_ahead_measure_recall(w, &b->recall[b->nr_recall]);

	if (rc)
		return wr_error_set(&b->err, rc, NULL, WEIR_OFFSET_NONE, "the predictor failed");
	b->recall_of[b->nr_recall++] = name;
	rc = run_devices(b, name, w, "lru", 300);
	if (!rc)
		rc = run_devices(b, name, w, "auto", 300);
	if (!rc)
		rc = run_devices(b, name, w, "forecast", 300);
	if (!rc)
		rc = run_case(b, name, w, "lru", &devices[0], 100);
	return rc ? rc : run_case(b, name, w, "lru", &devices[0], 500);
}

static int generated_routing(struct predict_bench *b, const char *name, uint32_t follow)
{
	const struct wr_route_opts opts = {.follow_permille = follow, .nr_steps = 48, .seed = 1};
	struct wr_ahead_work w;
	struct wr_route r;
	int rc = wr_route_generate(&opts, &r);

	if (!rc) {
		rc = wr_ahead_from_route(&r, &w);
		wr_route_close(&r);
	}
	if (rc)
		return wr_error_set(&b->err, rc, NULL, WEIR_OFFSET_NONE, "no memory for a routing");
	if (follow == WR_ROUTE_NEVER)
		rc = run_devices(b, name, &w, "lru", 300);
	else
		rc = run_routing(b, name, &w);
	wr_ahead_work_close(&w);
	return rc;
}

/* Keys evenly at random: nothing can be foreseen. */
static int random_work(uint32_t nr_keys, uint32_t nr_refs, struct wr_ahead_work *ret)
{
	struct wr_trace t = {.format = "random"};
	uint64_t z = 1;
	int rc = 0;

	for (uint32_t i = 0; i < nr_refs && !rc; i++) {
		rc = wr_trace_add(&t, (struct weir_key){.lo = (wr_lcg64(&z) >> 33) % nr_keys},
				  WR_TRACE_OTHER, BLOCK);
	}
	if (!rc)
		rc = wr_ahead_from_trace(&t, nr_refs, ret);
	wr_trace_close(&t);
	return rc;
}

static int loop_work(uint32_t nr_keys, uint32_t nr_refs, struct wr_ahead_work *ret)
{
	struct wr_trace t = {.format = "loop"};
	int rc = 0;

	for (uint32_t i = 0; i < nr_refs && !rc; i++)
		rc = wr_trace_add(&t, (struct weir_key){.hi = 1, .lo = i % nr_keys},
				  WR_TRACE_WEIGHTS, BLOCK * 16);
	if (!rc)
		rc = wr_ahead_from_trace(&t, nr_refs, ret);
	wr_trace_close(&t);
	return rc;
}

static int plain_works(struct predict_bench *b)
{
	struct wr_ahead_work loop = {0}, random = {0}, both = {0};
	int rc = loop_work(640, 20000, &loop);

	if (!rc)
		rc = random_work(8000, 40000, &random);
	if (!rc)
		rc = wr_ahead_join(&loop, &random, &both);
	if (rc)
		wr_error_set(&b->err, rc, NULL, WEIR_OFFSET_NONE, "no memory for references");
	if (!rc)
		rc = run_devices(b, "loop", &loop, "lru", 500);
	if (!rc)
		rc = run_devices(b, "loop", &loop, "auto", 500);
	if (!rc)
		rc = run_devices(b, "random", &random, "lru", 300);
	if (!rc)
		rc = run_devices(b, "loop, then random", &both, "lru", 300);
	wr_ahead_work_close(&loop);
	wr_ahead_work_close(&random);
	wr_ahead_work_close(&both);
	return rc;
}

static int trace_work(struct predict_bench *b, const char *path, const char *name)
{
	struct wr_ahead_work w;
	struct wr_trace t;
	int rc = wr_trace_open(path, BLOCK, true, &t, &b->err);

	if (rc)
		return rc;
	rc = wr_ahead_from_trace(&t, MAX_REFS, &w);
	wr_trace_close(&t);
	if (rc)
		return wr_error_set(&b->err, rc, path, WEIR_OFFSET_NONE, "no memory for it");
	rc = run_devices(b, name, &w, "lru", 100);
	wr_ahead_work_close(&w);
	return rc;
}

static int given_work(struct predict_bench *b, const char *path)
{
	struct wr_ahead_work w;
	struct wr_route r;
	int rc = wr_route_open(path, WR_ROUTE_DECODE, &r, &b->err);

	if (rc == -EBADMSG)
		return trace_work(b, path, "trace");
	if (rc)
		return rc;
	rc = wr_ahead_from_route(&r, &w);
	wr_route_close(&r);
	if (rc)
		return wr_error_set(&b->err, rc, path, WEIR_OFFSET_NONE, "no memory for it");
	rc = run_routing(b, "recorded experts", &w);
	wr_ahead_work_close(&w);
	return rc;
}

static int run_all(struct predict_bench *b)
{
	int rc;

	if (b->args->path)
		return given_work(b, b->args->path);
	rc = generated_routing(b, "experts", 0);
	if (!rc)
		rc = generated_routing(b, "aloof experts", WR_ROUTE_NEVER);
	if (!rc)
		rc = plain_works(b);
	if (!rc)
		rc = trace_work(b, "gen:zipf80", "zipf 0.8");
	return rc ? rc : trace_work(b, "gen:zipf99", "zipf 0.99");
}

/* ---- output ----------------------------------------------------------------------------------- */

static double hits_of(const struct bench_case *c, const struct wr_ahead_result *r)
{
	return 100.0 * (double)r->hits / c->nr_refs;
}

/* After the first quarter, when the predictor has seen something. */
static double late_hits_of(const struct wr_ahead_result *r)
{
	return r->late_refs ? 100.0 * (double)r->late_hits / (double)r->late_refs : 0;
}

static double ratio(uint64_t a, uint64_t b)
{
	return b ? (double)a / (double)b : a ? 99.0 : 1.0;
}

static double precision_of(const struct wr_prefetch_stat *s)
{
	uint64_t judged = s->nr_useful + s->nr_late + s->nr_wasted;

	return judged ? 100.0 * (double)(s->nr_useful + s->nr_late) / (double)judged : 0;
}

static int print_text(const struct predict_bench *b)
{
	static const struct wr_ui_column columns[] = {
		{"work, cache", WR_UI_LEFT}, {"policy", WR_UI_LEFT},   {"device", WR_UI_LEFT},
		{"hits %", WR_UI_RIGHT},     {"gain", WR_UI_RIGHT},    {"reads", WR_UI_RIGHT},
		{"gain'", WR_UI_RIGHT},	     {"reads'", WR_UI_RIGHT},  {"time", WR_UI_RIGHT},
		{"p99", WR_UI_RIGHT},	     {"right %", WR_UI_RIGHT}, {"off at", WR_UI_RIGHT}};
	struct wr_ui_table *t = wr_ui_table_open(columns, wr_array_size(columns));
	int rc;

	for (size_t i = 0; i < b->nr; i++) {
		const struct bench_case *c = &b->cases[i];

		wr_ui_table_cell(t, "%s", c->work);
		wr_ui_table_cell(t, "%s", c->policy);
		wr_ui_table_cell(t, "%s", c->device->name);
		wr_ui_table_cell(t, "%.1f", hits_of(c, &c->with));
		wr_ui_table_cell(t, "%+.1f", hits_of(c, &c->with) - hits_of(c, &c->without));
		wr_ui_table_cell(t, "%.3f", ratio(c->with.read_bytes, c->without.read_bytes));
		wr_ui_table_cell(t, "%+.1f", late_hits_of(&c->with) - late_hits_of(&c->without));
		wr_ui_table_cell(t, "%.3f",
				 ratio(c->with.late_read_bytes, c->without.late_read_bytes));
		wr_ui_table_cell(t, "%.3f", ratio(c->with.total_ns, c->without.total_ns));
		wr_ui_table_cell(t, "%.2f", ratio(c->with.wait_p99_ns, c->without.wait_p99_ns));
		wr_ui_table_cell(t, "%.0f", precision_of(&c->with.stat));
		if (c->with.info.on)
			wr_ui_table_cell(t, "-");
		else
			wr_ui_table_cell(t, "%llu", (unsigned long long)c->with.stopped_after);
	}
	rc = wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	wr_ui_say("\nhits: references that were resident; gain: points more than without "
		  "prefetch; reads, time, p99 (of a visit's wait): with / without; gain', reads': "
		  "after the first quarter; off at: "
		  "references until it was off for good.");
	for (size_t i = 0; i < b->nr_recall; i++)
		wr_ui_say("%s: recall of the best k, 2k, 4k for the next layer %.3f %.3f %.3f; "
			  "observing and foreseeing a layer %.2f us",
			  b->recall_of[i], b->recall[i].recall[0], b->recall[i].recall[1],
			  b->recall[i].recall[2], b->recall[i].ns_visit / 1000);
	return rc ? WR_EXIT_FAILED : WR_EXIT_OK;
}

static json_t *case_json(const struct bench_case *c)
{
	const struct wr_prefetch_stat *s = &c->with.stat;

	return json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:I, "
			 "s:I, s:I, s:b, s:I}",
			 "work", c->work, "policy", c->policy, "device", c->device->name,
			 "hits_percent", hits_of(c, &c->with), "hits_percent_without",
			 hits_of(c, &c->without), "reads_ratio",
			 ratio(c->with.read_bytes, c->without.read_bytes), "late_hits_percent",
			 late_hits_of(&c->with), "late_hits_percent_without",
			 late_hits_of(&c->without), "late_reads_ratio",
			 ratio(c->with.late_read_bytes, c->without.late_read_bytes), "time_ratio",
			 ratio(c->with.total_ns, c->without.total_ns), "wait_p99_ratio",
			 ratio(c->with.wait_p99_ns, c->without.wait_p99_ns), "started",
			 (json_int_t)s->nr_started, "useful", (json_int_t)s->nr_useful, "late",
			 (json_int_t)s->nr_late, "wasted", (json_int_t)s->nr_wasted, "cancelled",
			 (json_int_t)s->nr_cancelled, "on", c->with.info.on, "on_until_reference",
			 (json_int_t)c->with.stopped_after);
}

static int print_json(const struct predict_bench *b)
{
	json_t *cases = json_array(), *recalls = json_array();

	for (size_t i = 0; i < b->nr; i++)
		json_array_append_new(cases, case_json(&b->cases[i]));
	for (size_t i = 0; i < b->nr_recall; i++)
		json_array_append_new(recalls,
				      json_pack("{s:s, s:[f, f, f], s:f}", "work", b->recall_of[i],
						"recall_k_2k_4k", b->recall[i].recall[0],
						b->recall[i].recall[1], b->recall[i].recall[2],
						"ns_layer", b->recall[i].ns_visit));
	return wr_ui_json_print(json_pack("{s:o, s:o}", "cases", cases, "recall", recalls));
}

int wr_bench_predict(const struct wr_bench_args *args)
{
	struct predict_bench *b = calloc(1, sizeof(*b));
	int rc;

	if (!b)
		return WR_EXIT_FAILED;
	b->args = args;
	rc = run_all(b);
	if (rc == -EINTR)
		rc = WR_EXIT_INTERRUPTED;
	else if (rc)
		rc = wr_ui_fail(args->json, "bench predict", &b->err);
	else
		rc = args->json ? print_json(b) : print_text(b);
	free(b);
	return rc;
}
