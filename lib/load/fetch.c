/* SPDX-License-Identifier: MIT */
/* Extents into memory; see fetch.h. */
#include "load/fetch.h"

#include <errno.h>
#include <stdlib.h>

#include "base/atomic.h"
#include "base/util.h"

/* A page: what the landing place of a read is aligned to, and where a run begins. */
#define RUN_ALIGN ((uint64_t)4096)

static bool joins(const struct wr_run *run, const struct wr_extent *ext, uint64_t max_run_bytes)
{
	uint64_t end = run->offset + run->bytes;

	return ext->file == run->file && ext->offset - end <= WR_RUN_GAP_BYTES &&
	       ext->offset + ext->bytes - run->offset <= max_run_bytes;
}

/* Close the run: give it a buffer behind those before it, and its extents their places. */
static int place_run(const struct wr_files *files, struct wr_run *run, struct wr_extent **first,
		     struct wr_extent **last, size_t *total)
{
	struct weir_io_file *file = files->files[run->file];
	struct weir_io_file_info info;
	uint64_t begin = wr_align_down(run->offset, RUN_ALIGN);
	size_t landing;

	weir_io_file_info(file, &info);
	run->lead = (uint32_t)(run->offset - begin);
	/* The engine begins at a block that suits both the file and the memory. */
	run->head = run->lead + (size_t)(begin % wr_max(info.offset_align, info.memory_align));
	run->landing = *total;
	run->landing_bytes = weir_io_landing_bytes(file, begin, run->lead + (size_t)run->bytes);
	landing = wr_align_up(run->landing_bytes, RUN_ALIGN);
	if (!run->landing_bytes || landing < run->landing_bytes ||
	    wr_add_overflow(*total, landing, total))
		return -EOVERFLOW;
	for (; first <= last; first++)
		(*first)->place =
			run->landing + run->head + (size_t)((*first)->offset - run->offset);
	return 0;
}

int wr_runs_plan(const struct wr_files *files, struct wr_extent **extents, uint32_t nr,
		 uint64_t max_run_bytes, struct wr_run *runs, size_t *ret)
{
	uint32_t nr_runs = 0, first = 0;
	size_t total = 0;
	int rc;

	for (uint32_t i = 0; i < nr; i++) {
		const struct wr_extent *ext = extents[i];
		struct wr_run *run = nr_runs ? &runs[nr_runs - 1] : NULL;

		if (run && joins(run, ext, max_run_bytes)) {
			run->bytes = ext->offset + ext->bytes - run->offset;
			continue;
		}
		if (run) {
			rc = place_run(files, run, &extents[first], &extents[i - 1], &total);
			if (rc)
				return rc;
		}
		first = i;
		runs[nr_runs++] = (struct wr_run){
			.file = ext->file, .offset = ext->offset, .bytes = ext->bytes};
	}
	if (nr_runs) {
		rc = place_run(files, &runs[nr_runs - 1], &extents[first], &extents[nr - 1],
			       &total);
		if (rc)
			return rc;
	}
	*ret = total;
	return (int)nr_runs;
}

static int by_file_offset(const void *pa, const void *pb)
{
	const struct wr_extent *a = *(struct wr_extent *const *)pa;
	const struct wr_extent *b = *(struct wr_extent *const *)pb;

	if (a->file != b->file)
		return a->file < b->file ? -1 : 1;
	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	return 0;
}

void wr_extents_sort(struct wr_extent **extents, uint32_t nr)
{
	qsort(extents, nr, sizeof(*extents), by_file_offset);
}

static void end_run(struct wr_fetch *fetch, uint32_t index, int result)
{
	int none = 0;

	if (result && wr_cas_relaxed(&fetch->result, &none, result))
		wr_store_relaxed(&fetch->failed, index);
	/* F1: acq_rel, so that whoever ends the fetch sees every run's bytes and result. */
	if (wr_fetch_sub_acq_rel(&fetch->remaining, 1) == 1)
		fetch->done(fetch, wr_load_relaxed(&fetch->result));
}

static void run_done(void *arg, int result, void *data)
{
	struct wr_fetch_read *read = arg;
	struct wr_fetch *fetch = read->fetch;
	uint32_t index = (uint32_t)(read - fetch->reads);
	const struct wr_run *run = &fetch->runs[index];

	/* Places are computed beforehand: they hold if the engine does what io.h says. */
	wr_assert(result || (char *)data + run->lead == fetch->mem + run->landing + run->head);
	(void)data;
	(void)run;
	end_run(fetch, index, result);
}

int wr_fetch_start(struct wr_fetch *fetch, int io_class)
{
	uint32_t nr = fetch->nr_runs;

	wr_store_relaxed(&fetch->result, 0);
	/* One more than there are runs: the fetch cannot end, and its memory cannot go, while
	 * this loop still submits and stores tokens. */
	wr_store_relaxed(&fetch->remaining, nr + 1);
	for (uint32_t i = 0; i < nr; i++) {
		const struct wr_run *run = &fetch->runs[i];
		struct weir_io_req req = {.file = fetch->files->files[run->file],
					  .offset = run->offset - run->lead,
					  .bytes = run->lead + (size_t)run->bytes,
					  .buf = fetch->mem + run->landing,
					  .buf_bytes = run->landing_bytes,
					  .io_class = (uint32_t)io_class,
					  .done = run_done,
					  .arg = &fetch->reads[i]};
		uint64_t token = 0;
		int rc;

		fetch->reads[i].fetch = fetch;
		rc = weir_io_read(fetch->files->io, &req, &token);
		if (rc && i == 0)
			return rc;
		wr_store_relaxed(&fetch->reads[i].token, token);
		if (rc)
			end_run(fetch, i, rc);
	}
	end_run(fetch, 0, 0);
	return 0;
}

void wr_fetch_promote(struct wr_fetch *fetch)
{
	for (uint32_t i = 0; i < fetch->nr_runs; i++)
		weir_io_promote(fetch->files->io, wr_load_relaxed(&fetch->reads[i].token));
}

void wr_fetch_cancel(struct wr_fetch *fetch)
{
	for (uint32_t i = 0; i < fetch->nr_runs; i++)
		weir_io_cancel(fetch->files->io, wr_load_relaxed(&fetch->reads[i].token));
}
