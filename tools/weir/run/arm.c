/* SPDX-License-Identifier: MIT */
/* Passes through weir, and what both arms share; see arm.h. */
#include "arm.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <weir/pool_map.h>
#include <weir/topo.h>

#include "arm_internal.h"
#include "peak.h"
#include "rung.h"
#include "ui.h"

uint64_t wr_model_bytes(const struct weir_model *model)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < weir_model_nr_tensors(model); i++)
		bytes += weir_model_tensor(model, i)->bytes;
	return bytes;
}

uint64_t wr_units_total(const struct weir_units *units)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < weir_units_nr(units); i++) {
		const struct weir_part *parts;
		int nr = weir_units_parts(units, i, &parts);

		for (int p = 0; p < nr; p++)
			bytes += parts[p].bytes;
	}
	return bytes;
}

const char *wr_arm_backend_name(uint32_t backend)
{
	return backend == WR_ARM_MMAP ? "mmap" : weir_io_backend_name((int)backend);
}

/* Everything a weir arm holds. */
struct weir_arm {
	struct weir *weir;
	struct weir_stream *stream;
	struct wr_workload *work;
	struct weir_pool_recorder *rec;
	struct wr_ui_progress progress;
};

/* Opening cannot be stopped half-way, and there is nothing yet to put back in order. */
void wr_arm_touching(void *arg, size_t done_bytes, size_t total_bytes)
{
	(void)total_bytes;
	wr_ui_progress_update(arg, done_bytes);
	if (wr_ui_interrupted()) {
		wr_ui_progress_end(arg);
		_exit(WR_EXIT_INTERRUPTED);
	}
}

/*
 * A budget beyond what the plan can use is not touched: every part needs at most one block
 * before and one behind its bytes.
 */
static uint64_t useful_budget(const struct weir_units *units, uint64_t budget)
{
	uint64_t most = (uint64_t)2 << 20;

	for (uint32_t i = 0; i < weir_units_nr(units); i++) {
		const struct weir_part *parts;
		int nr = weir_units_parts(units, i, &parts);

		for (int p = 0; p < nr; p++)
			most += parts[p].bytes + 2 * 4096;
	}
	return budget < most ? budget : most;
}

static uint32_t nr_nodes(void)
{
	struct weir_topo_opts opts = {.size = sizeof(opts)};
	struct weir_topo_counts counts = {0};
	struct weir_topo *topo;

	if (!weir_topo_open(&opts, &topo, NULL)) {
		weir_topo_counts(topo, &counts);
		weir_topo_close(topo);
	}
	return counts.nr_nodes ? counts.nr_nodes : 1;
}

/*
 * The budget is the plan's, to the byte. The context's is rounded up: the pool rounds it down
 * to a 2 MiB page on every node, and a budget that is just enough would be so no longer; and
 * one that is too small for any page, 0 among them, must come as far as the stream, which
 * refuses it and knows how much would do.
 */
size_t wr_arm_context_bytes(uint64_t budget)
{
	const uint64_t page = budget < (2u << 20) ? 4096 : 2u << 20;
	const uint64_t pages = (budget + page - 1) / page, nodes = nr_nodes();

	return (size_t)((pages ? (pages + nodes - 1) / nodes : 1) * nodes * page);
}

static void share_budget(uint64_t budget, struct weir_opts *opts, struct weir_plan *plan)
{
	plan->budget_bytes = budget ? (size_t)budget : 1;
	opts->budget_bytes = wr_arm_context_bytes(budget);
}

static int open_weir(struct weir_arm *w, const struct wr_arm *arm, const struct weir_model *model,
		     const struct weir_units *units, struct wr_arm_result *ret)
{
	struct weir_opts opts = {.size = sizeof(opts),
				 .io_backend = arm->backend,
				 .page_kinds = arm->page_kinds,
				 .io_page_cache = arm->page_cache,
				 .progress = wr_arm_touching,
				 .progress_arg = &w->progress};
	struct weir_plan plan = arm->plan;
	uint64_t begin = wr_ui_now_ns();
	int rc;

	share_budget(useful_budget(units, arm->budget_bytes), &opts, &plan);
	wr_ui_progress_start(&w->progress, "touching memory", opts.budget_bytes, !arm->progress);
	rc = weir_open(&opts, &w->weir, &ret->err);
	wr_ui_progress_end(&w->progress);
	if (rc)
		return rc;
	if (arm->pool_map)
		rc = weir_pool_record_start(weir_get_pool(w->weir), arm->pool_map, NULL, &w->rec,
					    &ret->err);
	if (rc)
		return rc;
	plan.size = sizeof(plan);
	plan.passes = arm->passes;
	rc = weir_stream_open(w->weir, model, &plan, &w->stream, &ret->err);
	if (rc)
		return rc;
	weir_stream_info(w->stream, &ret->info);
	ret->open_ns = wr_ui_now_ns() - begin;
	rc = wr_workload_open(arm->compute, arm->threads, weir_get_topo(w->weir), units, &w->work);
	return rc ? wr_arm_fail(ret, rc, "starting the compute threads") : 0;
}

/* One unit; -EINTR between two of them after ^C. */
static int do_unit(struct weir_arm *w, const struct weir_unit *unit)
{
	struct weir_view view;
	int rc = 0;

	for (uint32_t i = 0; !rc && i < unit->nr_views; i++) {
		rc = weir_stream_view(w->stream, i, &view);
		if (!rc)
			wr_workload_view(w->work, &view);
	}
	return rc ? rc : wr_ui_interrupted() ? -EINTR : 1;
}

static int do_pass(struct weir_arm *w, const struct wr_arm *arm, uint32_t number,
		   struct wr_arm_result *ret)
{
	struct wr_arm_pass *pass = &ret->passes[number];
	struct weir_pass_stats stats;
	struct weir_unit unit;
	uint64_t done = 0;
	char what[48];
	int rc;

	snprintf(what, sizeof(what), "pass %u of %u", number + 1, arm->passes);
	wr_ui_progress_start(&w->progress, what, ret->info.plan_bytes, !arm->progress);
	wr_workload_begin(w->work);
	do {
		rc = weir_stream_next(w->stream, &unit, &ret->err);
		if (rc > 0) {
			done += unit.bytes;
			rc = do_unit(w, &unit);
			wr_ui_progress_update(&w->progress, done);
		}
	} while (rc > 0);
	wr_ui_progress_end(&w->progress);
	if (rc)
		return rc;
	weir_stream_pass(w->stream, &stats);
	*pass = (struct wr_arm_pass){.ns = stats.elapsed_ns,
				     .stall_ns = stats.stall_ns,
				     .compute_ns = wr_workload_ns(w->work),
				     .bytes_read = stats.bytes_read,
				     .bytes_hit = stats.bytes_hit,
				     .checksum = wr_workload_checksum(w->work)};
	ret->nr_passes++;
	return 0;
}

static int run_weir(const struct wr_arm *arm, const struct weir_model *model,
		    const struct weir_units *units, struct wr_arm_result *ret)
{
	struct weir_arm w = {0};
	double cpu;
	int rc;

	rc = open_weir(&w, arm, model, units, ret);
	cpu = wr_peak_cpu_seconds();
	for (uint32_t p = 0; !rc && p < arm->passes; p++)
		rc = do_pass(&w, arm, p, ret);
	ret->cpu_ns = (uint64_t)((wr_peak_cpu_seconds() - cpu) * 1e9);
	ret->peak_bytes = wr_peak_bytes();
	if (w.work) {
		ret->threads = wr_workload_threads(w.work);
		snprintf(ret->variant, sizeof(ret->variant), "%s", wr_workload_variant(w.work));
	}
	if (w.weir) {
		struct wr_rung rung;

		wr_rung_of(weir_get_io(w.weir), model, &rung);
		ret->backend = rung.backend;
		snprintf(ret->reason, sizeof(ret->reason), "%s", rung.reason);
		ret->page_kind = (uint32_t)weir_pool_page_kind(weir_get_pool(w.weir));
		snprintf(ret->page_reason, sizeof(ret->page_reason), "%s",
			 weir_pool_page_reason(weir_get_pool(w.weir)));
	}
	wr_workload_close(w.work);
	weir_stream_close(w.stream);
	weir_pool_record_stop(w.rec);
	weir_close(w.weir);
	return rc;
}

int wr_arm_fail(struct wr_arm_result *ret, int rc, const char *what)
{
	ret->err = (struct weir_error){.code = rc, .offset = WEIR_OFFSET_NONE};
	snprintf(ret->err.message, sizeof(ret->err.message), "%s: %s", what, weir_strerror(rc));
	return rc;
}

int wr_arm_run(const struct wr_arm *arm, struct wr_arm_result *ret)
{
	struct weir_model *model = NULL;
	struct weir_units *units = NULL;
	struct weir_plan plan = arm->plan;
	int rc;

	memset(ret, 0, sizeof(*ret));
	plan.size = sizeof(plan);
	rc = weir_model_open(arm->path, &model, &ret->err);
	if (!rc)
		rc = weir_units_open(model, &plan, &units, &ret->err);
	if (!rc) {
		ret->model_bytes = wr_model_bytes(model);
		ret->nr_tensors = weir_model_nr_tensors(model);
		ret->nr_groups = weir_model_nr_groups(model);
		rc = arm->backend == WR_ARM_MMAP ? wr_arm_run_mmap(arm, model, units, ret)
						 : run_weir(arm, model, units, ret);
	}
	ret->interrupted = rc == -EINTR && wr_ui_interrupted();
	ret->rc = rc;
	weir_units_close(units);
	weir_model_close(model);
	return rc;
}
