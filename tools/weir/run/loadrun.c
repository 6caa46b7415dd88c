/* SPDX-License-Identifier: MIT */
/* Cold loads of a model, timed; see loadrun.h. */
#include "loadrun.h"

#include <string.h>

#include "arm.h"
#include "peak.h"
#include "ui.h"

int wr_loadrun_open(struct wr_loadrun *run, const char *path, uint32_t backend, uint32_t page_kinds,
		    bool quiet, struct weir_error *err)
{
	struct wr_ui_progress progress;
	struct weir_opts opts = {.size = sizeof(opts),
				 .io_backend = backend,
				 .page_kinds = page_kinds,
				 .progress = wr_arm_touching,
				 .progress_arg = &progress};
	uint64_t begin = wr_ui_now_ns();
	int rc;

	memset(run, 0, sizeof(*run));
	rc = weir_model_open(path, &run->model, err);
	if (rc)
		return rc;
	/* Every tensor may need a block before and one behind its bytes, at the most. */
	opts.budget_bytes =
		(size_t)(wr_model_bytes(run->model) +
			 (uint64_t)weir_model_nr_tensors(run->model) * 8192 + ((uint64_t)2 << 20));
	wr_ui_progress_start(&progress, "touching memory", opts.budget_bytes, quiet);
	rc = weir_open(&opts, &run->weir, err);
	wr_ui_progress_end(&progress);
	run->open_ns = wr_ui_now_ns() - begin;
	if (rc)
		wr_loadrun_close(run);
	return rc;
}

void wr_loadrun_close(struct wr_loadrun *run)
{
	weir_close(run->weir);
	weir_model_close(run->model);
	memset(run, 0, sizeof(*run));
}

static uint64_t cached(const struct wr_loadrun *run)
{
	uint64_t sum = 0, bytes;

	for (uint32_t i = 0; i < weir_model_nr_files(run->model); i++)
		if (!wr_peak_cached(weir_model_file(run->model, i)->path, &bytes))
			sum += bytes;
	return sum;
}

int wr_loadrun_once(struct wr_loadrun *run, struct wr_loadrun_result *ret, struct weir_error *err)
{
	struct weir_loaded *loaded;
	uint64_t begin, before;
	double cpu;
	int rc;

	for (uint32_t i = 0; i < weir_model_nr_files(run->model); i++)
		wr_peak_drop_cache(weir_model_file(run->model, i)->path);
	before = cached(run);
	cpu = wr_peak_cpu_seconds();
	begin = wr_ui_now_ns();
	rc = weir_load(run->weir, run->model, NULL, &loaded, err);
	if (rc)
		return rc;
	ret->ns = wr_ui_now_ns() - begin;
	ret->cpu_ns = (uint64_t)((wr_peak_cpu_seconds() - cpu) * 1e9);
	ret->bytes = wr_model_bytes(run->model);
	ret->bytes_read = weir_loaded_bytes(loaded);
	weir_unload(loaded);
	ret->cache_growth = (int64_t)cached(run) - (int64_t)before;
	return 0;
}
