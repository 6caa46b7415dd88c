/* SPDX-License-Identifier: MIT */
/*
 * Everything a plan visits, into memory, once.
 *
 * Reads go in file order, with neighbouring tensors in one read: a checkpoint's file is then
 * read from its beginning to its end, and the engine keeps the device's queue full. Tensors
 * stand in memory in file order too.
 */
#include "load/loading.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"
#include "load/area.h"
#include "load/fetch.h"
#include "load/files.h"
#include "lock/lock.h"

/* Small enough that memory in several pieces, one a node, is filled to within a little. */
#define LOAD_RUN_BYTES ((uint64_t)64 << 20)

struct weir_loaded {
	const struct weir_model *model; /* [const], as all here once it is loaded */
	struct wr_files files;
	struct wr_area area;
	const char **data; /* by weir_tensor.position; NULL: not loaded */
	uint64_t read_bytes;
};

/* What is needed while reading. A fetch per run, since runs may lie in different spans. */
struct loading {
	struct wr_mutex lock WR_RANKED(LOAD);
	struct wr_cond changed;
	uint32_t remaining; /* [LOAD] fetches not ended */
	int result;	    /* [LOAD] of the first run that failed */
	uint32_t failed;    /* [LOAD] that run */
	uint32_t nr;	    /* [const], as all below while reads are in flight */
	const struct weir_part *parts;
	uint32_t nr_runs;
	struct wr_extent *extents;
	struct wr_extent **sorted;
	struct wr_run *runs;
	struct wr_fetch *fetches;
	struct wr_fetch_read *reads;
};

static void fetch_done(struct wr_fetch *fetch, int result)
{
	struct loading *loading = fetch->arg;

	wr_mutex_lock(&loading->lock);
	if (result && !loading->result) {
		loading->result = result;
		loading->failed = (uint32_t)(fetch - loading->fetches);
	}
	loading->remaining--;
	wr_cond_signal(&loading->changed);
	wr_mutex_unlock(&loading->lock);
}

static int loading_init(struct loading *loading, const struct weir_part *parts, uint32_t nr)
{
	*loading = (struct loading){.parts = parts, .nr = nr};
	wr_mutex_init(&loading->lock, WR_RANK_LOAD, "load");
	wr_cond_init(&loading->changed);
	loading->extents = wr_calloc(nr, sizeof(*loading->extents));
	loading->sorted = wr_calloc(nr, sizeof(*loading->sorted));
	loading->runs = wr_calloc(nr, sizeof(*loading->runs));
	loading->fetches = wr_calloc(nr, sizeof(*loading->fetches));
	loading->reads = wr_calloc(nr, sizeof(*loading->reads));
	if (!loading->extents || !loading->sorted || !loading->runs || !loading->fetches ||
	    !loading->reads)
		return -ENOMEM;
	for (uint32_t i = 0; i < nr; i++) {
		loading->extents[i] = (struct wr_extent){.file = parts[i].tensor->file,
							 .offset = parts[i].offset,
							 .bytes = parts[i].bytes};
		loading->sorted[i] = &loading->extents[i];
	}
	wr_extents_sort(loading->sorted, nr);
	return 0;
}

static void loading_fini(struct loading *loading)
{
	wr_free(loading->extents);
	wr_free(loading->sorted);
	wr_free(loading->runs);
	wr_free(loading->fetches);
	wr_free(loading->reads);
	wr_cond_fini(&loading->changed);
	wr_mutex_fini(&loading->lock);
}

/*
 * Where the tensors of a run stand. Runs and sorted extents are in one order: @next is the first
 * extent behind those of the runs before; the first behind those of this run is returned.
 */
static uint32_t note_data(struct weir_loaded *loaded, const struct loading *loading, uint32_t next,
			  const struct wr_run *run, const char *mem)
{
	for (; next < loading->nr; next++) {
		const struct wr_extent *ext = loading->sorted[next];
		size_t place = ext->place - run->landing;

		if (place >= run->landing_bytes)
			break;
		loaded->data[loading->parts[ext - loading->extents].tensor->position] = mem + place;
	}
	return next;
}

/* Memory for all runs; then each run has its own place, and its fetch. */
static int place_runs(struct weir_loaded *loaded, struct loading *loading, struct weir_pool *pool,
		      uint64_t budget, size_t total, struct weir_error *err)
{
	struct weir_pool_stats stats;
	uint32_t next = 0;
	int rc = 0;

	weir_pool_stats(pool, &stats);
	budget = wr_min(budget ? budget : stats.free_bytes, stats.free_bytes);
	if (total <= budget)
		rc = wr_area_init(&loaded->area, pool, total);
	if (total > budget || rc)
		return wr_error_set(err, rc ? rc : -ENOSPC, NULL, WEIR_OFFSET_NONE,
				    "loading needs %llu bytes of memory and %llu are to be had; "
				    "stream the model instead, or raise the budget",
				    (unsigned long long)total, (unsigned long long)budget);
	for (uint32_t r = 0; r < loading->nr_runs; r++) {
		struct wr_run *run = &loading->runs[r];
		char *mem = wr_area_take(&loaded->area, run->landing_bytes);

		if (!mem)
			return wr_error_set(err, -ENOSPC, NULL, WEIR_OFFSET_NONE,
					    "the pool's free memory is in pieces too small");
		next = note_data(loaded, loading, next, run, mem);
		/* It no longer stands behind the others, but in memory of its own. */
		run->landing = 0;
		loading->fetches[r] = (struct wr_fetch){.files = &loaded->files,
							.runs = run,
							.nr_runs = 1,
							.mem = mem,
							.reads = &loading->reads[r],
							.done = fetch_done,
							.arg = loading};
		loaded->read_bytes += run->landing_bytes;
	}
	return 0;
}

static int read_runs(struct loading *loading)
{
	uint32_t started = 0;
	int rc = 0;

	loading->remaining = loading->nr_runs;
	for (; !rc && started < loading->nr_runs; started++)
		rc = wr_fetch_start(&loading->fetches[started], WEIR_IO_DEMAND);
	wr_mutex_lock(&loading->lock);
	if (rc) {
		loading->remaining -= loading->nr_runs - (started - 1);
		loading->result = rc;
		loading->failed = started - 1;
	}
	while (loading->remaining && !loading->result)
		wr_cond_wait(&loading->changed, &loading->lock);
	if (loading->remaining) {
		wr_mutex_unlock(&loading->lock);
		for (uint32_t r = 0; r < loading->nr_runs; r++)
			wr_fetch_cancel(&loading->fetches[r]);
		wr_mutex_lock(&loading->lock);
	}
	while (loading->remaining)
		wr_cond_wait(&loading->changed, &loading->lock);
	rc = loading->result;
	wr_mutex_unlock(&loading->lock);
	return rc;
}

static int load_parts(struct weir_loaded *loaded, struct loading *loading, struct weir_pool *pool,
		      uint64_t budget, struct weir_error *err)
{
	const struct wr_run *run;
	size_t total = 0;
	int rc;

	rc = wr_runs_plan(&loaded->files, loading->sorted, loading->nr, LOAD_RUN_BYTES,
			  loading->runs, &total);
	if (rc < 0)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "the sizes overflow");
	loading->nr_runs = (uint32_t)rc;
	rc = place_runs(loaded, loading, pool, budget, total, err);
	if (rc)
		return rc;
	rc = read_runs(loading);
	if (rc) {
		run = &loading->runs[loading->failed];
		return wr_error_set(err, rc, weir_model_file(loaded->model, run->file)->path,
				    run->offset, "reading %llu bytes: %s",
				    (unsigned long long)run->bytes, weir_strerror(rc));
	}
	/* A file written to meanwhile gave some bytes from before and some from after. */
	return wr_files_check(&loaded->files, err);
}

int wr_load_open(struct weir_io *io, struct weir_pool *pool, uint64_t budget_bytes,
		 const struct weir_model *model, const struct weir_part *parts, uint32_t nr,
		 struct weir_loaded **ret, struct weir_error *err)
{
	struct weir_loaded *loaded = wr_calloc(1, sizeof(*loaded));
	struct loading loading;
	int rc;

	if (!loaded)
		return wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE, "no memory for a load");
	loaded->model = model;
	rc = loading_init(&loading, parts, nr);
	loaded->data = wr_calloc(weir_model_nr_tensors(model), sizeof(*loaded->data));
	if (rc || !loaded->data)
		rc = wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE, "no memory for a load");
	else
		rc = wr_files_init(&loaded->files, io, model, err);
	if (!rc)
		rc = load_parts(loaded, &loading, pool, budget_bytes, err);
	loading_fini(&loading);
	if (rc)
		weir_unload(loaded);
	else
		*ret = loaded;
	return rc;
}

void weir_unload(struct weir_loaded *loaded)
{
	if (!loaded)
		return;
	wr_files_fini(&loaded->files);
	wr_area_fini(&loaded->area);
	wr_free(loaded->data);
	wr_free(loaded);
}

int weir_loaded_view(const struct weir_loaded *loaded, const struct weir_tensor *tensor,
		     struct weir_view *ret)
{
	if (weir_model_at(loaded->model, tensor->position) != tensor)
		return -EINVAL;
	if (!loaded->data[tensor->position])
		return -ENOENT;
	*ret = (struct weir_view){.tensor = tensor,
				  .nr_rows = tensor->nr_rows,
				  .data = loaded->data[tensor->position],
				  .bytes = tensor->bytes};
	return 0;
}

uint64_t weir_loaded_bytes(const struct weir_loaded *loaded)
{
	return loaded->read_bytes;
}
