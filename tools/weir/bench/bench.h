/* SPDX-License-Identifier: MIT */
/*
 * bench.h - What the benchmarks share: arms in limited children, paired ratios, medians.
 *
 * A claim is a ratio between two arms that ran in the same round on the same input; what is
 * printed is the median over the rounds with the least and the greatest.
 */
#ifndef WR_TOOLS_BENCH_H
#define WR_TOOLS_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "arm.h"
#include "fio.h"
#include "limit.h"
#include "ui.h"

/*
 * What a process may use beside its budget: 16 MiB that vary, and 64 MiB for program,
 * libraries, threads and vectors. See docs/tuning.md.
 */
#define WR_BENCH_OVERHEAD_BYTES ((uint64_t)80 << 20)

#define WR_BENCH_MAX_ROUNDS 64

/**
 * struct wr_bench_args - Options that several benchmarks take.
 * @path:    The model; NULL for a benchmark that needs none.
 * @rounds:  How often every arm runs.
 * @passes:  Passes of a run.
 * @compute: enum wr_compute.
 * @unit:    enum weir_unit_kind.
 * @svg:     Picture to write, or NULL.
 * @json:    One object instead of tables.
 * @budget:  Of what a pass visits.
 */
struct wr_bench_args {
	const char *path;
	uint32_t rounds;
	uint32_t passes;
	int compute;
	int unit;
	const char *svg;
	bool json;
	uint32_t budget_permille;
};

/* Numbers of one kind, one a round. */
struct wr_bench_series {
	uint32_t nr;
	double v[WR_BENCH_MAX_ROUNDS];
};

struct wr_bench_summary {
	double median, min, max;
};

void wr_bench_add(struct wr_bench_series *series, double v);

/* The least first. */
void wr_bench_sort(double *v, size_t nr);
/* All NAN for an empty series. */
struct wr_bench_summary wr_bench_summary(const struct wr_bench_series *series);

#define WR_BENCH_TEXT 64
/* "1.32 [1.29-1.40]" with @decimals; "-" for an empty series. Returns @text. */
const char *wr_bench_text(char text[static WR_BENCH_TEXT], const struct wr_bench_series *series,
			  int decimals);
/* A row of three cells: what it is, the text above, the bar. */
void wr_bench_row(struct wr_ui_table *t, const char *what, const struct wr_bench_series *series,
		  int decimals, const char *bar);
/* {"median":, "min":, "max":, "runs": n}; null for an empty series. */
json_t *wr_bench_json(const struct wr_bench_series *series);

/**
 * struct wr_bench_model - The model's files, for fio and for dropping them from the cache.
 */
struct wr_bench_model {
	struct weir_model *model;
	const char **files;
	size_t nr_files;
	uint64_t plan_bytes;
	uint64_t unit_bytes;
};

int wr_bench_model_open(struct wr_bench_model *m, const char *path, const struct weir_plan *plan,
			struct weir_error *err);
void wr_bench_model_close(struct wr_bench_model *m);

/**
 * wr_bench_arm() - Run an arm in a child.
 * @m:     The model, whose files are dropped from the page cache before.
 * @arm:   What to run.
 * @limit: Memory the child may use, 0 for no limit.
 * @ret:   Its result.
 * @peak:  Most memory it was charged with, huge pages included; 0 without a limit.
 * @err:   On failure.
 *
 * Return: 0, -EOPNOTSUPP (no limit can be set on this machine), -EINTR, or why it failed.
 */
int wr_bench_arm(const struct wr_bench_model *m, const struct wr_arm *arm, uint64_t limit,
		 struct wr_arm_result *ret, uint64_t *peak, struct weir_error *err);

/* fio on the model's files; huge: in 2 MiB pages. Bytes per second and CPU s per byte. */
int wr_bench_fio(const struct wr_bench_model *m, bool huge, struct wr_fio_result *ret,
		 struct weir_error *err);

/* Median of a run's passes after the first, of the field @get reads. */
double wr_bench_steady(const struct wr_arm_result *res, double (*get)(const struct wr_arm_pass *));
double wr_bench_pass_seconds(const struct wr_arm_pass *pass);
double wr_bench_pass_read(const struct wr_arm_pass *pass);

/* Half of a cache of 131,072 entries of 4 KiB goes back to the system: one round. */
struct wr_bench_pressure {
	struct wr_bench_series ms, cpu_ms;
};

int wr_bench_pressure_round(struct wr_bench_pressure *b);

/*
 * Gets on demand from a file, 99th percentile of their time in us: alone, while a thread inserts
 * and removes owned blocks, and while it inserts more than there is room for, so that they go down
 * to L3 in the same folder.
 */
struct wr_bench_spill {
	struct wr_bench_series alone, inserts, spill; /* us */
	struct wr_bench_series inserts_ratio, spill_ratio;
	struct wr_bench_series spill_mb; /* written to L3 meanwhile */
};

int wr_bench_spill_round(const char *folder, struct wr_bench_spill *b, struct weir_error *err);

/* The folder of a store that is closed, with what stores put into one. */
void wr_bench_store_remove(const char *dir);

/*
 * The machine and its settings, as measuring asks: kernel, transparent huge pages, and of the
 * disk under @path, unless that is NULL, read_ahead_kb, scheduler, ...
 */
json_t *wr_bench_conditions(const char *path);
void wr_bench_print_conditions(const char *path);

/* The benchmarks: exit status. */
int wr_bench_load(const struct wr_bench_args *args);
int wr_bench_stream(const struct wr_bench_args *args);
int wr_bench_ladder(const struct wr_bench_args *args);
int wr_bench_demo(const struct wr_bench_args *args);
/* args->path is a folder on the disk that is asked about. */
int wr_bench_store(const struct wr_bench_args *args);
/* Takes no model: args->path is not looked at. */
int wr_bench_gemv(const struct wr_bench_args *args);
int wr_bench_metrics(const struct wr_bench_args *args);
/* args->path may be NULL. */
int wr_bench_predict(const struct wr_bench_args *args);
/* args->path is a folder on the disk that is asked about, or a routing. */
int wr_bench_ahead(const struct wr_bench_args *args);
int wr_bench_pool(const struct wr_bench_args *args);
int wr_bench_instrument(const struct wr_bench_args *args);
int wr_bench_cache(const struct wr_bench_args *args);
int wr_bench_lock(const struct wr_bench_args *args);
/* args->path may be NULL. */
int wr_bench_trace(const struct wr_bench_args *args);

#endif /* WR_TOOLS_BENCH_H */
