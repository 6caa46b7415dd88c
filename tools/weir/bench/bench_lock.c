/* SPDX-License-Identifier: MIT */
/*
 * weir bench lock - what the library's locks cost beside pthread's.
 *
 * The work is a nest of two locks that nobody else wants, the usual case. Arms take turns of a
 * millisecond; of each the fastest turn of a round counts, because everything that disturbs makes
 * a turn slower. A second thread exists and sleeps: in a process of one thread the C library
 * leaves locked instructions out, and no host of ours is such a process.
 */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include <weir/lock_trace.h>

#include "base/util.h"
#include "bench.h"
#include "bench_lock.h"
#include "bench_lock_rcu.h"
#include "ui.h"

#define NR_TURNS 30
#define NR_NESTS 20000

enum arm { PLAIN, WEIR, TIMED, RANK, GRAPH, TSAN, NR_ARMS };

static const char *const arm_names[NR_ARMS] = {
	[PLAIN] = "pthread",	     [WEIR] = "weir",	      [TIMED] = "weir, times 1/64",
	[RANK] = "weir, rank check", [GRAPH] = "weir, graph", [TSAN] = "ThreadSanitizer",
};

/* What is set against what, and the bar. */
static const struct {
	const char *what;
	enum arm arm, against;
	double bar; /* 0: none */
} ratios[] = {
	{"weir / pthread", WEIR, PLAIN, 0},
	{"rank check / pthread", RANK, PLAIN, 1.5},
	{"graph / pthread", GRAPH, PLAIN, 2.5},
	{"graph / ThreadSanitizer", GRAPH, TSAN, 0.2},
};

#define NR_RATIOS (sizeof(ratios) / sizeof(ratios[0]))
#define TIMES_BAR 3.0

struct bench {
	struct wr_bench_series ns[NR_ARMS];
	struct wr_bench_series ratio[NR_RATIOS];
	struct wr_bench_series times_ns; /* a lock, over weir without times */
	struct wr_br lookups;
	char tsan_path[64];
	char tsan_reason[128]; /* empty: it is there */
};

static double turn(enum arm arm)
{
	uint64_t start = wr_now_ns();

	if (arm == PLAIN)
		wr_nest_plain(NR_NESTS);
	else if (arm == RANK || arm == GRAPH)
		wr_nest_checked(NR_NESTS);
	else
		wr_nest_weir(NR_NESTS);
	return (double)(wr_now_ns() - start) / NR_NESTS;
}

static int prepare(enum arm arm)
{
	if (arm == RANK || arm == GRAPH)
		wr_nest_check_graph(arm == GRAPH);
	return arm == TIMED ? weir_lock_trace_start(WEIR_LOCK_SAMPLE_EVERY) : 0;
}

static int one_round(struct bench *b)
{
	double best[NR_ARMS];

	for (int arm = 0; arm < NR_ARMS; arm++)
		best[arm] = INFINITY;
	for (int t = 0; t < NR_TURNS && !wr_ui_interrupted(); t++) {
		for (int i = 0; i < TSAN; i++) {
			enum arm arm = (enum arm)(t % 2 ? TSAN - 1 - i : i);
			int rc = prepare(arm);
			double ns = turn(arm);

			weir_lock_trace_stop();
			if (rc)
				return rc;
			best[arm] = ns < best[arm] ? ns : best[arm];
		}
	}
	if (!b->tsan_reason[0])
		best[TSAN] = wr_nest_tsan_run(b->tsan_path, NR_TURNS, NR_NESTS);
	if (best[TSAN] <= 0)
		best[TSAN] = INFINITY;
	for (int arm = 0; arm < NR_ARMS; arm++)
		wr_bench_add(&b->ns[arm], best[arm]);
	for (size_t i = 0; i < NR_RATIOS; i++)
		if (isfinite(best[ratios[i].against]))
			wr_bench_add(&b->ratio[i], best[ratios[i].arm] / best[ratios[i].against]);
	wr_bench_add(&b->times_ns, (best[TIMED] - best[WEIR]) / 2);
	wr_br_round(&b->lookups);
	return 0;
}

static void print_tables(const struct bench *b)
{
	static const struct wr_ui_column arms[] = {{"arm", WR_UI_LEFT},
						   {"ns a nest of two", WR_UI_RIGHT}};
	static const struct wr_ui_column against[] = {
		{"ratio", WR_UI_LEFT}, {"", WR_UI_RIGHT}, {"bar", WR_UI_RIGHT}};
	struct wr_ui_table *t = wr_ui_table_open(arms, 2);
	char text[WR_BENCH_TEXT];

	for (int arm = 0; arm < NR_ARMS; arm++) {
		wr_ui_table_cell(t, "%s", arm_names[arm]);
		wr_ui_table_cell(t, "%s", wr_bench_text(text, &b->ns[arm], 1));
	}
	(void)wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	printf("\n");
	t = wr_ui_table_open(against, 3);
	for (size_t i = 0; i < NR_RATIOS; i++) {
		if (ratios[i].bar > 0)
			snprintf(text, sizeof(text), "%.2f", ratios[i].bar);
		else
			snprintf(text, sizeof(text), "-");
		wr_bench_row(t, ratios[i].what, &b->ratio[i], 2, text);
	}
	snprintf(text, sizeof(text), "%.2f ns", TIMES_BAR);
	wr_bench_row(t, "times 1/64, ns a lock", &b->times_ns, 2, text);
	(void)wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
}

static int print_text(const struct bench *b)
{
	wr_bench_print_conditions(NULL);
	printf("One thread, uncontended; another thread exists and sleeps.\n\n");
	print_tables(b);
	printf("\n");
	wr_br_print(&b->lookups);
	if (b->tsan_reason[0])
		wr_ui_say("ThreadSanitizer: %s", b->tsan_reason);
	if (wr_nest_is_checked_build())
		wr_ui_say("this build has the validator everywhere: weir is not the plain one");
	return WR_EXIT_OK;
}

static int print_json(const struct bench *b)
{
	json_t *arms = json_array(), *list = json_array();

	for (int arm = 0; arm < NR_ARMS; arm++)
		json_array_append_new(arms, json_pack("{s:s, s:o}", "arm", arm_names[arm], "ns",
						      wr_bench_json(&b->ns[arm])));
	for (size_t i = 0; i < NR_RATIOS; i++)
		json_array_append_new(
			list,
			json_pack("{s:s, s:s, s:o, s:o}", "arm", arm_names[ratios[i].arm],
				  "against", arm_names[ratios[i].against], "ratio",
				  wr_bench_json(&b->ratio[i]), "bar",
				  ratios[i].bar > 0 ? json_real(ratios[i].bar) : json_null()));
	return wr_ui_json_print(
		json_pack("{s:o, s:s, s:o, s:o, s:o, s:f, s:o, s:s, s:b}", "conditions",
			  wr_bench_conditions(NULL), "bench", "lock", "arms", arms, "ratios", list,
			  "times_ns_per_lock", wr_bench_json(&b->times_ns), "times_bar", TIMES_BAR,
			  "lookups", wr_br_json(&b->lookups), "tsan_reason", b->tsan_reason,
			  "checked_build", wr_nest_is_checked_build()));
}

static void *sleep_on(void *arg)
{
	for (;;)
		pause();
	return arg;
}

int wr_bench_lock(const struct wr_bench_args *args)
{
	static struct bench b;
	pthread_t sleeper;
	int rc;

	wr_ui_interrupt_init();
	rc = -pthread_create(&sleeper, NULL, sleep_on, NULL);
	if (rc)
		return wr_ui_fail_code(args->json, "bench lock", rc, "no second thread");
	rc = wr_br_open();
	if (rc) {
		wr_br_close();
		return wr_ui_fail_code(args->json, "bench lock", rc, "no memory for an index");
	}
	(void)wr_nest_tsan_build(b.tsan_path, b.tsan_reason);
	for (uint32_t r = 0; r < args->rounds && !rc && !wr_ui_interrupted(); r++)
		rc = one_round(&b);
	if (!b.tsan_reason[0])
		unlink(b.tsan_path);
	wr_br_close();
	if (rc)
		return wr_ui_fail_code(args->json, "bench lock", rc, "no memory for lock times");
	if (wr_ui_interrupted())
		return wr_ui_fail_interrupted(args->json, "bench lock");
	return args->json ? print_json(&b) : print_text(&b);
}
