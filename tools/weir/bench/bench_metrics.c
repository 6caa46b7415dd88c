/* SPDX-License-Identifier: MIT */
/*
 * weir bench metrics - what counting costs, against prometheus-cpp and against nothing.
 *
 * Times are of the thread's own processor time, so that what else the machine does matters less.
 * Each round times both sides of a row one after the other; the ratio is of the two. The peer is a
 * shared object beside this command (tools/peers); without it its rows have weir's number only.
 * Then the promises that are no ratios: scrapes under writers, and threads that come and go.
 */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <weir/metrics.h>

#include "../../peers/prometheus.h"
#include "base/random.h"
#include "bench.h"
#include "bench_race.h"
#include "ui.h"

#define NR_OPS	   4000000u
#define NR_VALUES  4096u
#define NR_SERIES  10000u
#define NR_SCRAPES 1000000u
#define NR_BIRTHS  100000u

/* How the peer is called; all NULL without it. */
struct peer {
	void *library;
	struct wr_peer_prometheus *p;
	__typeof__(wr_peer_prometheus_open) *open;
	__typeof__(wr_peer_prometheus_close) *close;
	__typeof__(wr_peer_prometheus_add) *add;
	__typeof__(wr_peer_prometheus_observe) *observe;
	__typeof__(wr_peer_prometheus_export) *export;
};

/* One row: nanoseconds of ours and of what it is compared with. */
struct row {
	const char *name;
	double bar;
	struct wr_bench_series ours, theirs, ratio;
};

enum { CELL, CELL2, ADD, ADD2, OBSERVE, OBSERVE2, EXPORT, TIMED, NR_ROWS };

struct bench {
	struct weir_metrics *m, *many;
	uint32_t counter, hist;
	struct peer peer;
	uint64_t values[NR_VALUES];
	struct row rows[NR_ROWS];
	uint64_t scrapes, contradictions, births, wrong_totals;
	int64_t grown_bytes;
};

static int load_symbol(void *library, const char *name, void *ret)
{
	void *symbol = dlsym(library, name);

	memcpy(ret, &symbol, sizeof(symbol));
	return symbol ? 0 : -ENOENT;
}

/* build/peers/prometheus.so beside build/weir. */
static void open_peer(struct peer *peer)
{
	/* The bounds a host would take for times: 1, 2, 5 in each decade of ns. */
	double bounds[27];
	char path[PATH_MAX];
	ssize_t nr = readlink("/proc/self/exe", path, sizeof(path) - 32);
	char *slash;

	if (nr <= 0)
		return;
	path[nr] = '\0';
	slash = strrchr(path, '/');
	strcpy(slash, "/peers/prometheus.so");
	for (size_t i = 0; i < 27; i++)
		bounds[i] = pow(10, (double)(i / 3)) * (i % 3 == 0 ? 1 : i % 3 == 1 ? 2 : 5);
	peer->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!peer->library)
		return;
	if (load_symbol(peer->library, "wr_peer_prometheus_open", &peer->open) ||
	    load_symbol(peer->library, "wr_peer_prometheus_close", &peer->close) ||
	    load_symbol(peer->library, "wr_peer_prometheus_add", &peer->add) ||
	    load_symbol(peer->library, "wr_peer_prometheus_observe", &peer->observe) ||
	    load_symbol(peer->library, "wr_peer_prometheus_export", &peer->export))
		return;
	peer->p = peer->open(NR_SERIES, bounds, 27);
}

static void close_peer(struct peer *peer)
{
	if (peer->p)
		peer->close(peer->p);
	if (peer->library)
		dlclose(peer->library);
}

static int make_many(struct bench *b)
{
	struct weir_metric_desc desc = {WEIR_METRIC_COUNTER, "bench_many", "", "Many"};
	static const char *const names[] = {"series"};
	char text[16];
	const char *values[] = {text};
	uint32_t family, id;
	int rc = weir_metrics_register_labels(b->many, &desc, names, 1, NR_SERIES, &family);

	for (uint32_t i = 0; !rc && i < NR_SERIES; i++) {
		snprintf(text, sizeof(text), "%u", i);
		rc = weir_metrics_series(b->many, family, values, &id);
		if (!rc)
			weir_metrics_add(b->many, id, i);
	}
	return rc;
}

static int prepare(struct bench *b)
{
	struct weir_metric_desc c = {WEIR_METRIC_COUNTER, "bench_adds", "", "Adds"};
	struct weir_metric_desc h = {WEIR_METRIC_HISTOGRAM, "bench_values", "", "Values"};
	uint64_t random = 1;
	int rc = weir_metrics_open(&b->m);

	if (!rc)
		rc = weir_metrics_open(&b->many);
	if (!rc)
		rc = weir_metrics_register(b->m, &c, &b->counter);
	if (!rc)
		rc = weir_metrics_register(b->m, &h, &b->hist);
	if (!rc)
		rc = make_many(b);
	/* Times of 100 ns to some ms, the longer the rarer. */
	for (uint32_t i = 0; i < NR_VALUES; i++) {
		b->values[i] =
			(uint64_t)(100 * exp2((double)(wr_lcg64(&random) >> 40) / (1 << 24) * 15));
	}
	return rc;
}

/* ---- the sides ---- */

static void our_add(struct bench *b)
{
	for (uint32_t i = 0; i < NR_OPS; i++)
		weir_metrics_add(b->m, b->counter, 1);
}

static void our_cell_add(struct bench *b)
{
	int64_t *cell = weir_metrics_cell(b->m, b->counter);

	for (uint32_t i = 0; i < NR_OPS; i++)
		weir_cell_add(cell, 1);
}

static void our_observe(struct bench *b)
{
	for (uint32_t i = 0; i < NR_OPS; i++)
		weir_metrics_observe(b->m, b->hist, b->values[i % NR_VALUES]);
}

/* The peer is slower: a part of the work tells. */
#define PEER_OPS (NR_OPS / 8)

static void their_add(struct bench *b)
{
	b->peer.add(b->peer.p, PEER_OPS);
}

static void their_observe(struct bench *b)
{
	b->peer.observe(b->peer.p, b->values, NR_VALUES, PEER_OPS);
}

struct turn {
	struct bench *b;
	void (*work)(struct bench *b);
};

static void take_turn(void *arg, unsigned number)
{
	const struct turn *t = arg;

	(void)number;
	t->work(t->b);
}

/* Nanoseconds of one of @ops operations when @nr threads do them at once: the slowest thread's. */
static double time_work(struct bench *b, void (*work)(struct bench *b), unsigned nr, uint32_t ops)
{
	struct turn turn = {.b = b, .work = work};
	const struct wr_bench_race race = {.work = take_turn, .arg = &turn};

	return wr_bench_run_race(&race, nr) / ops;
}

static int count_bytes(void *arg, const char *text, size_t bytes)
{
	(void)text;
	*(size_t *)arg += bytes;
	return 0;
}

static double time_export(struct bench *b)
{
	uint64_t start = wr_bench_cpu_ns();
	size_t bytes = 0;

	/* A writer that counts returns 0. */
	(void)!weir_metrics_export(b->many, WEIR_METRICS_PROMETHEUS, count_bytes, &bytes);
	return (double)(wr_bench_cpu_ns() - start);
}

/* Two looks at the clock, and the same with the difference counted. */
static void time_timed(struct bench *b, double *ours, double *bare)
{
	uint64_t start = wr_bench_cpu_ns(), sum = 0;
	const uint32_t nr = NR_OPS / 16;

	for (uint32_t i = 0; i < nr; i++) {
		uint64_t from = wr_ui_now_ns();

		sum += wr_ui_now_ns() - from;
	}
	__asm__ volatile("" ::"r"(sum));
	*bare = (double)(wr_bench_cpu_ns() - start) / nr;
	start = wr_bench_cpu_ns();
	for (uint32_t i = 0; i < nr; i++) {
		uint64_t from = wr_ui_now_ns();

		weir_metrics_observe(b->m, b->hist, wr_ui_now_ns() - from);
	}
	*ours = (double)(wr_bench_cpu_ns() - start) / nr;
}

static void add_pair(struct row *row, double ours, double theirs)
{
	wr_bench_add(&row->ours, ours);
	if (isnan(theirs))
		return;
	wr_bench_add(&row->theirs, theirs);
	wr_bench_add(&row->ratio, ours / theirs);
}

static void measure_round(struct bench *b)
{
	bool peer = b->peer.p != NULL;
	uint64_t export_ns = 0;
	double ours, bare;

	for (unsigned nr = 1; nr <= 2; nr++) {
		ours = time_work(b, our_add, nr, NR_OPS);
		add_pair(&b->rows[ADD + nr - 1], ours,
			 peer ? time_work(b, their_add, nr, PEER_OPS) : (double)NAN);
		ours = time_work(b, our_cell_add, nr, NR_OPS);
		add_pair(&b->rows[CELL + nr - 1], ours,
			 peer ? time_work(b, their_add, nr, PEER_OPS) : (double)NAN);
		ours = time_work(b, our_observe, nr, NR_OPS);
		add_pair(&b->rows[OBSERVE + nr - 1], ours,
			 peer ? time_work(b, their_observe, nr, PEER_OPS) : (double)NAN);
	}
	ours = time_export(b);
	if (peer)
		b->peer.export(b->peer.p, &export_ns);
	add_pair(&b->rows[EXPORT], ours, peer ? (double)export_ns : (double)NAN);
	time_timed(b, &ours, &bare);
	add_pair(&b->rows[TIMED], ours, bare);
}

/* ---- promises ---- */

struct writer {
	struct bench *b;
	_Atomic bool stop;
};

static void *keep_writing(void *arg)
{
	struct writer *w = arg;

	for (uint32_t i = 0; !w->stop; i++) {
		weir_metrics_add(w->b->m, w->b->counter, 1);
		weir_metrics_observe(w->b->m, w->b->hist, w->b->values[i % NR_VALUES]);
	}
	return NULL;
}

/* A scrape contradicts itself when a count is not the sum of its buckets, or goes back. */
static void scrape(struct bench *b)
{
	struct writer writer = {.b = b};
	struct weir_histogram hist;
	uint64_t last_count = 0;
	int64_t last = 0, value;
	pthread_t threads[2];

	for (int i = 0; i < 2; i++) {
		if (pthread_create(&threads[i], NULL, keep_writing, &writer))
			abort();
	}
	for (; b->scrapes < NR_SCRAPES && !wr_ui_interrupted(); b->scrapes++) {
		uint64_t sum = 0;

		if (weir_metrics_read_sum(b->m, b->counter, &value) ||
		    weir_metrics_read_histogram(b->m, b->hist, &hist))
			abort();
		for (uint32_t i = 0; i < WEIR_HISTOGRAM_BUCKETS; i++)
			sum += hist.buckets[i];
		b->contradictions += sum != hist.count || hist.count < last_count || value < last;
		last_count = hist.count;
		last = value;
	}
	writer.stop = true;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

static void *live_and_die(void *arg)
{
	struct bench *b = arg;

	weir_metrics_add(b->m, b->counter, 1);
	weir_metrics_observe(b->m, b->hist, 1000);
	return NULL;
}

static int64_t resident_bytes(void)
{
	long pages = 0, resident = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	if (file && fscanf(file, "%ld %ld", &pages, &resident) != 2)
		resident = 0;
	if (file)
		fclose(file);
	return resident * sysconf(_SC_PAGESIZE);
}

static void bear_threads(struct bench *b)
{
	int64_t before, after, start = 0;
	pthread_t thread;

	if (weir_metrics_read_sum(b->m, b->counter, &before))
		abort();
	for (; b->births < NR_BIRTHS && !wr_ui_interrupted(); b->births++) {
		if (pthread_create(&thread, NULL, live_and_die, b))
			abort();
		pthread_join(thread, NULL);
		if (b->births == 1000)
			start = resident_bytes();
	}
	b->grown_bytes = resident_bytes() - start;
	if (weir_metrics_read_sum(b->m, b->counter, &after))
		abort();
	b->wrong_totals = (uint64_t)llabs(after - before - (int64_t)b->births);
}

/* ---- what is printed ---- */

static int print_json(const struct bench *b)
{
	json_t *rows = json_array();

	for (int i = 0; i < NR_ROWS; i++) {
		const struct row *r = &b->rows[i];

		json_array_append_new(rows, json_pack("{s:s, s:f, s:o, s:o, s:o}", "name", r->name,
						      "bar", r->bar, "ns", wr_bench_json(&r->ours),
						      "peer_ns", wr_bench_json(&r->theirs), "ratio",
						      wr_bench_json(&r->ratio)));
	}
	return wr_ui_json_print(
		json_pack("{s:o, s:s, s:b, s:o, s:I, s:I, s:I, s:I, s:I}", "conditions",
			  wr_bench_conditions(NULL), "bench", "metrics", "peer", b->peer.p != NULL,
			  "rows", rows, "scrapes", (json_int_t)b->scrapes, "contradictions",
			  (json_int_t)b->contradictions, "thread_births", (json_int_t)b->births,
			  "lost_counts", (json_int_t)b->wrong_totals, "grown_bytes",
			  (json_int_t)b->grown_bytes));
}

static int print_text(const struct bench *b)
{
	static const struct wr_ui_column cols[] = {{"what", WR_UI_LEFT},
						   {"ns", WR_UI_RIGHT},
						   {"peer ns", WR_UI_RIGHT},
						   {"ratio", WR_UI_RIGHT},
						   {"bar", WR_UI_RIGHT}};
	struct wr_ui_table *t = wr_ui_table_open(cols, 5);
	char text[WR_BENCH_TEXT];
	int code;

	wr_bench_print_conditions(NULL);
	if (!b->peer.p)
		wr_ui_say(
			"Without prometheus-cpp (make deps PEERS=1): no ratios but of the clock.");
	for (int i = 0; i < NR_ROWS; i++) {
		const struct row *r = &b->rows[i];
		int decimals = i == EXPORT ? 0 : 2;

		wr_ui_table_cell(t, "%s", r->name);
		wr_ui_table_cell(t, "%.*f", decimals, wr_bench_summary(&r->ours).median);
		if (r->theirs.nr)
			wr_ui_table_cell(t, "%.*f", decimals, wr_bench_summary(&r->theirs).median);
		else
			wr_ui_table_cell(t, "-");
		wr_ui_table_cell(t, "%s", wr_bench_text(text, &r->ratio, 3));
		wr_ui_table_cell(t, "%.2f", r->bar);
	}
	code = wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	printf("\n%lu scrapes under two writers, %lu contradictions (0)\n",
	       (unsigned long)b->scrapes, (unsigned long)b->contradictions);
	printf("%lu threads born and ended, %lu counts lost (0), memory grew by %ld KiB\n",
	       (unsigned long)b->births, (unsigned long)b->wrong_totals,
	       (long)(b->grown_bytes / 1024));
	return code ? wr_ui_fail_code(false, "bench", code, "no memory for the table") : WR_EXIT_OK;
}

static int run(struct bench *b, const struct wr_bench_args *args)
{
	double ours, bare;

	/* Once for nothing: pages, branches, the export's buffers. */
	time_work(b, our_observe, 2, NR_OPS);
	time_export(b);
	time_timed(b, &ours, &bare);
	for (uint32_t round = 0; round < args->rounds && !wr_ui_interrupted(); round++)
		measure_round(b);
	scrape(b);
	bear_threads(b);
	if (wr_ui_interrupted())
		return wr_ui_fail_interrupted(args->json, "bench metrics");
	return args->json ? print_json(b) : print_text(b);
}

int wr_bench_metrics(const struct wr_bench_args *args)
{
	static struct bench b = {
		.rows = {[CELL] = {.name = "add to a cell, 1 thread", .bar = 0.15},
			 [CELL2] = {.name = "add to a cell, 2 threads", .bar = 0.05},
			 [ADD] = {.name = "counter add, 1 thread", .bar = 0.15},
			 [ADD2] = {.name = "counter add, 2 threads", .bar = 0.05},
			 [OBSERVE] = {.name = "observe, 1 thread", .bar = 0.15},
			 [OBSERVE2] = {.name = "observe, 2 threads", .bar = 0.05},
			 [EXPORT] = {.name = "export of 10,000 series", .bar = 0.5},
			 [TIMED] = {.name = "timed operation, of two clocks", .bar = 1.2}}};
	int rc, status;

	wr_ui_interrupt_init();
	rc = prepare(&b);
	if (rc)
		status = wr_ui_fail_code(args->json, "bench", rc, "the registry: %s",
					 weir_strerror(rc));
	else {
		open_peer(&b.peer);
		status = run(&b, args);
		close_peer(&b.peer);
	}
	weir_metrics_close(b.m);
	weir_metrics_close(b.many);
	return status;
}
