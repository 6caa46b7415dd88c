/* SPDX-License-Identifier: MIT */
/*
 * weir bench trace - what watching the locks of a process costs it.
 *
 * Three things are done by turns without a trace, with one, and without one again: the last shows
 * the noise. What is compared is the first quartile of batches: whatever disturbs
 * makes a batch longer, and no batch is shorter than the work.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <weir/trace.h>

#include "base/atomic.h"
#include "base/util.h"
#include "bench.h"
#include "ui.h"

#define NR_TURNS    10
#define MAX_BATCHES 200

enum work { LOCK, CALL, HAND_OVER, NR_WORKS };
enum arm { OFF, ON, OFF_AGAIN, NR_ARMS };

static const struct {
	const char *name;
	double bar;   /* ns more; 0: none */
	unsigned per; /* of these in one */
	unsigned in_batch, nr_batches;
} works[NR_WORKS] = {
	[LOCK] = {"a lock that is free", 2, 1, 1000, MAX_BATCHES},
	[CALL] = {"getppid()", 2, 1, 1000, MAX_BATCHES},
	[HAND_OVER] = {"a wait for another thread", 0, 2, 10, 20},
};

struct bench {
	struct wr_bench_series ns[NR_WORKS];   /* without a trace */
	struct wr_bench_series more[NR_WORKS]; /* with one */
	struct wr_bench_series null[NR_WORKS]; /* without one again */
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

static void do_one(enum work work)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

	if (work == LOCK) {
		pthread_mutex_lock(&mutex);
		pthread_mutex_unlock(&mutex);
	} else if (work == CALL) {
		syscall(SYS_getppid);
	} else {
		let_go(&go[0]);
		wait_for(&go[1]);
	}
}

static int by_size(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void batches(enum work work, double *ret)
{
	unsigned nr = works[work].in_batch;

	for (unsigned i = 0; i < works[work].nr_batches; i++) {
		uint64_t start = wr_now_ns();

		for (unsigned k = 0; k < nr; k++)
			do_one(work);
		ret[i] = (double)(wr_now_ns() - start) / nr / works[work].per;
	}
}

static int turn(enum arm arm, unsigned t, double all[NR_WORKS][NR_ARMS][NR_TURNS * MAX_BATCHES],
		struct weir_error *err)
{
	struct weir_trace_opts opts = {.size = sizeof(opts), .parts = WEIR_TRACE_LOCKS};
	struct weir_trace *trace = NULL;
	int rc = arm == ON ? weir_trace_start(&opts, &trace, err) : 0;

	for (int w = 0; !rc && w < NR_WORKS; w++)
		batches((enum work)w, &all[w][arm][t * works[w].nr_batches]);
	weir_trace_close(trace);
	return rc;
}

static int one_round(struct bench *b, struct weir_error *err)
{
	static double all[NR_WORKS][NR_ARMS][NR_TURNS * MAX_BATCHES];
	int rc = 0;

	for (unsigned t = 0; t < NR_TURNS && !rc && !wr_ui_interrupted(); t++)
		for (int i = 0; i < NR_ARMS && !rc; i++)
			rc = turn((enum arm)(t % 2 ? NR_ARMS - 1 - i : i), t, all, err);
	if (rc || wr_ui_interrupted())
		return rc;
	for (int w = 0; w < NR_WORKS; w++) {
		double quartile[NR_ARMS];

		for (int a = 0; a < NR_ARMS; a++) {
			size_t nr = NR_TURNS * works[w].nr_batches;

			qsort(all[w][a], nr, sizeof(double), by_size);
			quartile[a] = all[w][a][nr / 4];
		}
		wr_bench_add(&b->ns[w], quartile[OFF]);
		wr_bench_add(&b->more[w], quartile[ON] - quartile[OFF]);
		wr_bench_add(&b->null[w], quartile[OFF_AGAIN] - quartile[OFF]);
	}
	return 0;
}

static int print_text(const struct bench *b)
{
	static const struct wr_ui_column columns[] = {{"ns", WR_UI_LEFT},
						      {"alone", WR_UI_RIGHT},
						      {"more when traced", WR_UI_RIGHT},
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
			wr_ui_table_cell(t, "%.0f", works[w].bar);
		else
			wr_ui_table_cell(t, "-");
	}
	(void)wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
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
	return wr_ui_json_print(json_pack("{s:o, s:s, s:o}", "conditions",
					  wr_bench_conditions(NULL), "bench", "trace", "works",
					  list));
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
	for (uint32_t r = 0; r < args->rounds && !rc && !wr_ui_interrupted(); r++)
		rc = one_round(&b, &err);
	if (rc)
		return wr_ui_fail(args->json, "bench trace", &err);
	if (wr_ui_interrupted())
		return wr_ui_fail_interrupted(args->json, "bench trace");
	return args->json ? print_json(&b) : print_text(&b);
}
