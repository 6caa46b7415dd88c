/* SPDX-License-Identifier: MIT */
/*
 * weir bench trace - what watching a process costs it.
 *
 * Each thing is done by turns without being watched, with it, and without again: the last shows the
 * noise. What is compared is the first quartile of batches: whatever disturbs makes a batch longer,
 * and no batch is shorter than the work. With the PATH of a model, also passes over it, in pairs.
 */
#include "bench_trace.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <weir/lock_trace.h>
#include <weir/trace.h>

#include "base/atomic.h"
#include "base/probe.h"
#include "base/util.h"
#include "lock/lock.h"
#include "ui.h"

#define NR_TURNS    10
#define MAX_BATCHES 200

WR_PROBE_DECLARE(bench_site);
WR_PROBE_DEFINE(bench_site);

enum work { SITE, TIMED, PROBED, LOCK, CALL, HAND_OVER, NR_WORKS };
enum arm { OFF, ON, OFF_AGAIN, NR_ARMS };

static const struct {
	const char *name;
	double bar;	/* ns more; 0: none */
	uint32_t parts; /* of a trace while it is on */
	unsigned per;	/* of these in one */
	unsigned in_batch, nr_batches;
} works[NR_WORKS] = {
	[SITE] = {"a probe site nobody looks at", 0.5, 0, 1, 10000, MAX_BATCHES},
	[TIMED] = {"weir's lock, timing itself, 1 in 64 (T0)", 3, 0, 1, 2000, MAX_BATCHES},
	[PROBED] = {"weir's lock, probed, 1 in 64 (T2)", 20, WEIR_TRACE_HOLDS, 1, 2000,
		    MAX_BATCHES},
	[LOCK] = {"a free pthread lock, traced (T1)", 2, WEIR_TRACE_LOCKS, 1, 1000, MAX_BATCHES},
	[CALL] = {"getppid(), traced (T1)", 2, WEIR_TRACE_LOCKS, 1, 1000, MAX_BATCHES},
	[HAND_OVER] = {"a wait for a thread, traced (T1)", 0, WEIR_TRACE_LOCKS, 2, 10, 20},
};

struct bench {
	struct wr_bench_series ns[NR_WORKS];   /* not watched */
	struct wr_bench_series more[NR_WORKS]; /* watched */
	struct wr_bench_series null[NR_WORKS]; /* not watched again */
	char missing[NR_WORKS][160];	       /* why it could not be had */
	struct wr_trace_pairs pairs;
};

/* 2: wait; as the C library's mutex has it, so that the wait counts as one for a lock. */
static _Atomic uint32_t go[2] = {2, 2};

static void wait_for(_Atomic uint32_t *word)
{
	while (wr_load_acquire(word) == 2)
		syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
	wr_store_release(word, 2);
}

static void let_go(_Atomic uint32_t *word)
{
	wr_store_release(word, 1);
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void *answer(void *arg)
{
	for (;;) {
		wait_for(&go[0]);
		let_go(&go[1]);
	}
	return arg;
}

/* The sum is what keeps both loops alike, and there. */
static void pass_site(unsigned nr, bool with)
{
	unsigned i;

	if (!with) {
		for (i = 0; i < nr; i++)
			__asm__ volatile("" ::: "memory");
		return;
	}
	for (i = 0; i < nr; i++) {
		__asm__ volatile("" ::: "memory");
		if (wr_probe_enabled(bench_site))
			wr_probe2(bench_site, i, nr);
	}
}

static void do_many(enum work work, bool on)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	static struct wr_mutex ours = WR_MUTEX_INIT(WR_RANK_LOAD, "bench");
	unsigned nr = works[work].in_batch;

	if (work == SITE)
		pass_site(nr, on);
	for (unsigned k = 0; k < nr && work != SITE; k++) {
		if (work == TIMED || work == PROBED) {
			wr_mutex_lock(&ours);
			wr_mutex_unlock(&ours);
		} else if (work == LOCK) {
			pthread_mutex_lock(&mutex);
			pthread_mutex_unlock(&mutex);
		} else if (work == CALL) {
			syscall(SYS_getppid);
		} else {
			let_go(&go[0]);
			wait_for(&go[1]);
		}
	}
}

static int by_size(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* The batches of one turn of an arm. */
static int turn(enum work work, enum arm arm, double *ret, struct weir_error *err)
{
	struct weir_trace_opts opts = {.size = sizeof(opts), .parts = works[work].parts};
	struct weir_trace *trace = NULL;
	bool on = arm == ON;
	int rc = on && opts.parts ? weir_trace_start(&opts, &trace, err) : 0;

	if (!rc && on && work == TIMED)
		rc = weir_lock_trace_start(WEIR_LOCK_SAMPLE_EVERY);
	for (unsigned i = 0; !rc && i < works[work].nr_batches; i++) {
		uint64_t start = wr_now_ns();

		do_many(work, on);
		ret[i] = (double)(wr_now_ns() - start) / works[work].in_batch / works[work].per;
	}
	if (on && work == TIMED)
		weir_lock_trace_stop();
	weir_trace_close(trace);
	return rc;
}

static int one_round(struct bench *b, enum work work, struct weir_error *err)
{
	static double all[NR_ARMS][NR_TURNS * MAX_BATCHES];
	size_t nr = NR_TURNS * works[work].nr_batches;
	double quartile[NR_ARMS];
	int rc = 0;

	for (unsigned t = 0; t < NR_TURNS && !rc && !wr_ui_interrupted(); t++)
		for (int i = 0; i < NR_ARMS && !rc; i++) {
			enum arm arm = (enum arm)(t % 2 ? NR_ARMS - 1 - i : i);

			rc = turn(work, arm, &all[arm][t * works[work].nr_batches], err);
		}
	if (rc || wr_ui_interrupted())
		return rc;
	for (int a = 0; a < NR_ARMS; a++) {
		qsort(all[a], nr, sizeof(double), by_size);
		quartile[a] = all[a][nr / 4];
	}
	wr_bench_add(&b->ns[work], quartile[OFF]);
	wr_bench_add(&b->more[work], quartile[ON] - quartile[OFF]);
	wr_bench_add(&b->null[work], quartile[OFF_AGAIN] - quartile[OFF]);
	return 0;
}

static int print_text(const struct bench *b)
{
	static const struct wr_ui_column columns[] = {{"ns", WR_UI_LEFT},
						      {"alone", WR_UI_RIGHT},
						      {"more when watched", WR_UI_RIGHT},
						      {"noise", WR_UI_RIGHT},
						      {"bar", WR_UI_RIGHT}};
	struct wr_ui_table *t = wr_ui_table_open(columns, 5);
	char text[WR_BENCH_TEXT];

	wr_bench_print_conditions(NULL);
	for (int w = 0; w < NR_WORKS; w++) {
		wr_ui_table_cell(t, "%s", works[w].name);
		wr_ui_table_cell(t, "%s", wr_bench_text(text, &b->ns[w], 1));
		wr_ui_table_cell(t, "%s", wr_bench_text(text, &b->more[w], 1));
		wr_ui_table_cell(t, "%s", wr_bench_text(text, &b->null[w], 1));
		if (works[w].bar > 0)
			wr_ui_table_cell(t, "<= %.1f", works[w].bar);
		else
			wr_ui_table_cell(t, "-");
	}
	(void)wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	for (int w = 0; w < NR_WORKS; w++)
		if (b->missing[w][0])
			wr_ui_say("%s: %s", works[w].name, b->missing[w]);
	wr_trace_pairs_print(&b->pairs);
	return WR_EXIT_OK;
}

static int print_json(const struct bench *b)
{
	json_t *list = json_array();

	for (int w = 0; w < NR_WORKS; w++)
		json_array_append_new(
			list,
			json_pack("{s:s, s:o, s:o, s:o, s:o}", "work", works[w].name, "alone_ns",
				  wr_bench_json(&b->ns[w]), "more_ns", wr_bench_json(&b->more[w]),
				  "noise_ns", wr_bench_json(&b->null[w]), "bar_ns",
				  works[w].bar > 0 ? json_real(works[w].bar) : json_null()));
	return wr_ui_json_print(json_pack("{s:o, s:s, s:o, s:o}", "conditions",
					  wr_bench_conditions(NULL), "bench", "trace", "works",
					  list, "stream", wr_trace_pairs_json(&b->pairs)));
}

/* A part that this machine lacks leaves the others; none at all is a failure. */
static int run_works(struct bench *b, uint32_t rounds, struct weir_error *err)
{
	unsigned nr = 0;
	int rc = 0;

	for (int w = 0; w < NR_WORKS && !wr_ui_interrupted(); w++) {
		int this_rc = 0;

		for (uint32_t r = 0; r < rounds && !this_rc && !wr_ui_interrupted(); r++)
			this_rc = one_round(b, (enum work)w, err);
		if (this_rc)
			snprintf(b->missing[w], sizeof(b->missing[w]), "%.159s", err->message);
		nr += !this_rc && works[w].parts != 0;
		rc = this_rc ? this_rc : rc;
	}
	return nr ? 0 : rc;
}

int wr_bench_trace(const struct wr_bench_args *args)
{
	static struct bench b;
	struct weir_error err = {0};
	pthread_t thread;
	int rc;

	wr_ui_interrupt_init();
	rc = -pthread_create(&thread, NULL, answer, NULL);
	if (rc)
		return wr_ui_fail_code(args->json, "bench trace", rc, "no second thread");
	rc = run_works(&b, args->rounds, &err);
	if (!rc && args->path && !wr_ui_interrupted())
		rc = wr_trace_pairs_run(args, &b.pairs, &err);
	if (wr_ui_interrupted())
		return wr_ui_fail_interrupted(args->json, "bench trace");
	if (rc)
		return wr_ui_fail(args->json, "bench trace", &err);
	return args->json ? print_json(&b) : print_text(&b);
}
