/* SPDX-License-Identifier: MIT */
/*
 * A walk over a plan's units, pass after pass, in fixed memory.
 *
 * Everything is decided at open: which units stay, where each will stand, which reads bring
 * it. What is left for a pass is to pin the next unit, and to have the reads of those that
 * follow on their way. Reading ahead goes through the end of a pass into the next one, and
 * stops where no slot is free, or where enough is on its way to keep the device busy.
 *
 * One thread walks. The residency below is shared with the engine's thread, which fills it.
 */
#include "stream/streaming.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/stage.h"
#include "base/util.h"
#include "stream/residency.h"
#include "load/area.h"
#include "load/fetch.h"
#include "load/files.h"
#include "metrics/set.h"
#include "stream/layout.h"
#include "stream/units.h"

/* Over all streams of a context. */
#define STREAM_METRICS(X)                                                                       \
	X(STREAM_UNITS, COUNTER, "weir_stream_units", "", "Units handed to hosts")              \
	X(STREAM_HITS, COUNTER, "weir_stream_hits", "", "Units in memory from an earlier pass") \
	X(STREAM_READ, COUNTER, "weir_stream_read_bytes", "bytes",                              \
	  "Bytes read for units handed out")                                                    \
	X(STREAM_STALL, HISTOGRAM, "weir_stream_stall_ns", "ns", "Waits for a unit's bytes")
WR_METRICS_LIST(stream, STREAM_METRICS)

/* Matters only for units with places of their own: the slots hold less than this. */
static const struct weir_knob_desc ahead_knob = {
	.name = "stream.ahead_bytes",
	.unit = "bytes",
	.help = "bytes read ahead and not used, beyond which nothing more is read ahead",
	.default_value = (uint64_t)64 << 20,
	.min = (uint64_t)1 << 20,
	.max = (uint64_t)1 << 40};

/* Reads of one unit are not cut by us: the engine does that. */
#define RUN_MAX_BYTES ((uint64_t)1 << 30)

/* How a unit gets into memory. [const] after open, but for the fetch. */
struct stream_unit {
	size_t landing_bytes;
	uint64_t read_bytes; /* what the device moves for it */
	uint32_t first_run;
	uint32_t nr_runs;
	bool resident;
	bool ahead; /* [thread] counted in ahead_bytes */
	struct wr_fetch fetch;
	uint64_t read_since; /* of the running read, for who looks at stages; its reader's */
};

struct weir_stream {
	struct wr_stream_parts parts;	  /* [const] */
	struct wr_metrics_set metrics;	  /* [const] */
	uint32_t ahead_knob;		  /* [const] id */
	struct weir_units *units;	  /* [const] */
	struct weir_plan plan;		  /* [const] */
	struct wr_files files;		  /* [const] */
	struct wr_area area;		  /* [const] */
	struct wr_residency *residency;	  /* [const] */
	struct stream_unit *stream_units; /* [const] */
	struct wr_run *runs;		  /* [const] */
	struct wr_fetch_read *reads;	  /* one a run, of its unit's fetch */
	size_t *places;			  /* [const] one a part: its first byte in the landing */
	struct weir_stream_info info;	  /* [const] */

	/* [thread] All below: whoever calls weir_stream_next(). */
	uint64_t cursor;      /* units begun so far, over all passes */
	uint64_t ahead;	      /* first of that count that reading ahead has not come to */
	uint64_t ahead_bytes; /* landing bytes read ahead and not used */
	bool pinned;	      /* unit cursor - 1 is pinned, at mem */
	bool in_pass;
	bool checked; /* the files were looked at in this pass */
	char *mem;
	uint64_t compute_since; /* for who looks at stages */
	uint64_t pass_begin_ns;
	struct weir_pass_stats pass;
};

static void unit_fetched(struct wr_fetch *fetch, int result)
{
	struct weir_stream *stream = fetch->arg;
	struct stream_unit *unit = wr_container_of(fetch, struct stream_unit, fetch);

	wr_stage_end(WR_STAGE_READ, (uint64_t)(unit - stream->stream_units), unit->read_since);
	wr_residency_filled(stream->residency, (uint32_t)(unit - stream->stream_units), result);
}

static int fill_unit(void *ctx, uint32_t index, void *mem, bool demand)
{
	struct weir_stream *stream = ctx;
	struct stream_unit *unit = &stream->stream_units[index];

	unit->fetch.mem = mem;
	unit->read_since = wr_stage_begin();
	return wr_fetch_start(&unit->fetch, demand ? WEIR_IO_DEMAND : WEIR_IO_SPECULATIVE);
}

static void promote_unit(void *ctx, uint32_t index)
{
	struct weir_stream *stream = ctx;

	wr_fetch_promote(&stream->stream_units[index].fetch);
}

static void cancel_unit(void *ctx, uint32_t index)
{
	struct weir_stream *stream = ctx;

	wr_fetch_cancel(&stream->stream_units[index].fetch);
}

static const struct wr_residency_ops stream_residency_ops = {
	.fill = fill_unit, .promote = promote_unit, .cancel = cancel_unit};

/* Scratch for planning one unit after the other; room for the parts of the largest. */
struct unit_plan {
	struct wr_extent *extents;
	struct wr_extent **sorted;
	uint32_t nr_runs; /* runs planned so far, over all units */
};

/* The reads of one unit, and where its parts will stand. */
static int plan_unit(struct weir_stream *stream, uint32_t index, struct unit_plan *scratch)
{
	struct weir_units *units = stream->units;
	struct stream_unit *unit = &stream->stream_units[index];
	uint32_t first = units->first[index], nr = units->first[index + 1] - first;
	int nr_runs;

	for (uint32_t p = 0; p < nr; p++) {
		const struct weir_part *part = &units->parts[first + p];

		scratch->extents[p] = (struct wr_extent){
			.file = part->tensor->file, .offset = part->offset, .bytes = part->bytes};
		scratch->sorted[p] = &scratch->extents[p];
	}
	wr_extents_sort(scratch->sorted, nr);
	nr_runs = wr_runs_plan(&stream->files, scratch->sorted, nr, RUN_MAX_BYTES,
			       &stream->runs[scratch->nr_runs], &unit->landing_bytes);
	if (nr_runs < 0)
		return nr_runs;
	for (uint32_t p = 0; p < nr; p++)
		stream->places[first + p] = scratch->extents[p].place;
	unit->first_run = scratch->nr_runs;
	unit->nr_runs = (uint32_t)nr_runs;
	for (uint32_t r = 0; r < unit->nr_runs; r++)
		unit->read_bytes += stream->runs[unit->first_run + r].landing_bytes;
	unit->fetch = (struct wr_fetch){.files = &stream->files,
					.runs = &stream->runs[unit->first_run],
					.nr_runs = unit->nr_runs,
					.reads = &stream->reads[unit->first_run],
					.done = unit_fetched,
					.arg = stream};
	scratch->nr_runs += unit->nr_runs;
	return 0;
}

static int plan_units(struct weir_stream *stream)
{
	struct weir_units *units = stream->units;
	struct unit_plan scratch = {0};
	uint32_t most = 0;
	int rc = 0;

	for (uint32_t i = 0; i < units->nr; i++)
		most = wr_max(most, units->first[i + 1] - units->first[i]);
	stream->stream_units = wr_calloc(units->nr, sizeof(*stream->stream_units));
	stream->runs = wr_calloc(units->nr_parts, sizeof(*stream->runs));
	stream->reads = wr_calloc(units->nr_parts, sizeof(*stream->reads));
	stream->places = wr_calloc(units->nr_parts, sizeof(*stream->places));
	scratch.extents = wr_calloc(most, sizeof(*scratch.extents));
	scratch.sorted = wr_calloc(most, sizeof(*scratch.sorted));
	if (!stream->stream_units || !stream->runs || !stream->reads || !stream->places ||
	    !scratch.extents || !scratch.sorted)
		rc = -ENOMEM;
	for (uint32_t i = 0; !rc && i < units->nr; i++)
		rc = plan_unit(stream, i, &scratch);
	wr_free(scratch.extents);
	wr_free(scratch.sorted);
	return rc;
}

/*
 * The smallest budget, of a context too: a pool on huge pages gives whole ones on each node. (On
 * 1 GiB pages only where nothing is lost by it.)
 */
static unsigned long long least_budget(const struct wr_layout *layout, const struct weir_pool *pool)
{
	uint64_t step = (uint64_t)weir_pool_nr_regions(pool) << 21;

	return (layout->min_budget_bytes + step - 1) / step * step;
}

/* Sizes become the choice of resident units, kept in @stream->stream_units. */
static int choose_residents(struct weir_stream *stream, const struct weir_pool *pool,
			    uint64_t budget, struct wr_layout *layout, struct weir_error *err)
{
	uint32_t nr = stream->units->nr;
	uint64_t *bytes = wr_calloc(nr, sizeof(*bytes));
	bool *resident = wr_calloc(nr, sizeof(*resident));
	int rc = bytes && resident ? 0 : -ENOMEM;

	for (uint32_t i = 0; !rc && i < nr; i++)
		bytes[i] = stream->stream_units[i].landing_bytes;
	if (!rc)
		rc = wr_layout_choose(bytes, stream->units->wishes, nr, budget, resident, layout);
	for (uint32_t i = 0; !rc && i < nr; i++)
		stream->stream_units[i].resident = resident[i];
	wr_free(bytes);
	wr_free(resident);
	if (rc == -ENOSPC)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
				    "a budget of %llu bytes does not hold two units of this plan; "
				    "the smallest that does is %llu bytes",
				    (unsigned long long)budget, least_budget(layout, pool));
	if (rc)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
				    "no memory for choosing what stays in memory");
	return 0;
}

/*
 * Memory for the slots and the resident units, and the residency over it. Memory may be in several
 * pieces: what is larger than a slot must have a place, so it is placed while they are whole.
 */
static int place_units(struct weir_stream *stream, const struct wr_layout *layout, void **places)
{
	struct wr_residency_opts opts = {.nr_entries = stream->units->nr,
					 .ops = &stream_residency_ops,
					 .ctx = stream,
					 .slot_bytes = (size_t)layout->slot_bytes};
	int rc;

	for (uint32_t i = 0; i < stream->units->nr; i++) {
		size_t bytes = stream->stream_units[i].landing_bytes;

		if (bytes <= layout->slot_bytes)
			continue;
		places[i] = wr_area_take(&stream->area, bytes);
		if (!places[i])
			return -ENOSPC;
	}
	for (unsigned int s = 0; layout->slot_bytes && s < 2; s++) {
		opts.slots[s] = wr_area_take(&stream->area, opts.slot_bytes);
		if (!opts.slots[s])
			return -ENOSPC;
	}
	rc = wr_residency_open(&opts, &stream->residency);
	if (rc)
		return rc;
	for (uint32_t i = 0; i < stream->units->nr; i++) {
		struct stream_unit *unit = &stream->stream_units[i];

		/* Where the last bytes of a piece do not fit a unit that was to stay, that one is
		 * streamed. */
		if (unit->resident && !places[i])
			places[i] = wr_area_take(&stream->area, unit->landing_bytes);
		wr_residency_place(stream->residency, i, unit->landing_bytes, places[i]);
		unit->resident = places[i];
		stream->info.nr_resident += unit->resident;
		if (unit->resident)
			stream->info.resident_bytes += wr_units_bytes(stream->units, i);
	}
	return 0;
}

static int lay_out(struct weir_stream *stream, struct weir_pool *pool, struct weir_error *err)
{
	struct weir_stream_info *info = &stream->info;
	struct weir_pool_stats stats;
	struct wr_layout layout = {0};
	void **places;
	uint64_t budget;
	int rc;

	weir_pool_stats(pool, &stats);
	budget = stream->plan.budget_bytes ? stream->plan.budget_bytes : stats.free_bytes;
	budget = wr_align_down(budget, WR_AREA_ALIGN);
	rc = choose_residents(stream, pool, budget, &layout, err);
	info->min_budget_bytes = layout.min_budget_bytes;
	if (rc)
		return rc;
	if (budget > stats.free_bytes)
		return wr_error_set(err, -ENOSPC, NULL, WEIR_OFFSET_NONE,
				    "the plan wants %llu bytes and the context has %llu free; the "
				    "smallest budget that would do is %llu bytes",
				    (unsigned long long)budget,
				    (unsigned long long)stats.free_bytes,
				    least_budget(&layout, pool));
	places = wr_calloc(stream->units->nr, sizeof(*places));
	rc = places ? wr_area_init(&stream->area, pool,
				   (size_t)(2 * layout.slot_bytes + layout.resident_bytes))
		    : -ENOMEM;
	if (!rc)
		rc = place_units(stream, &layout, places);
	wr_free(places);
	if (rc)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "%s",
				    rc == -ENOMEM ? "no memory for the places of units"
						  : "the context's free memory is taken by others "
						    "now, or in pieces too small for this plan");
	info->plan_bytes = stream->units->plan_bytes;
	info->unit_bytes = stream->units->unit_bytes;
	info->budget_bytes = stream->area.bytes;
	info->window_bytes = 2 * layout.slot_bytes;
	info->nr_units = stream->units->nr;
	if (info->plan_bytes + 2 * info->unit_bytes > budget)
		info->ideal_bytes = info->plan_bytes + 2 * info->unit_bytes - budget;
	return 0;
}

static int register_names(struct weir_stream *stream)
{
	int rc = wr_metrics_join(stream->parts.metrics, stream_metrics, stream_nr_metrics,
				 &stream->metrics);

	if (!rc && stream->parts.knobs)
		rc = weir_knob_register(stream->parts.knobs, &ahead_knob, &stream->ahead_knob);
	return rc;
}

int wr_stream_open(const struct wr_stream_parts *parts, const struct weir_model *model,
		   const struct weir_plan *plan, struct weir_stream **ret, struct weir_error *err)
{
	struct weir_stream *stream = wr_calloc(1, sizeof(*stream));
	int rc;

	if (!stream)
		return wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE, "no memory for a stream");
	stream->parts = *parts;
	rc = wr_plan_copy(&stream->plan, plan, err);
	if (!rc)
		rc = weir_units_open(model, plan, &stream->units, err);
	stream->plan.rules = NULL; /* the caller's */
	stream->plan.nr_rules = 0;
	if (!rc)
		rc = wr_files_init(&stream->files, parts->io, model, err);
	if (rc)
		goto close;
	rc = register_names(stream);
	if (!rc)
		rc = plan_units(stream);
	if (rc)
		wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "preparing the plan's reads: %s",
			     weir_strerror(rc));
	else
		rc = lay_out(stream, parts->pool, err);
close:
	if (rc)
		weir_stream_close(stream);
	else
		*ret = stream;
	return rc;
}

/* The unit of a count over all passes. */
static uint32_t unit_of(const struct weir_stream *stream, uint64_t count)
{
	return (uint32_t)(count % stream->units->nr);
}

static void release(struct weir_stream *stream)
{
	if (stream->pinned) {
		uint32_t index = unit_of(stream, stream->cursor - 1);

		wr_stage_end(WR_STAGE_COMPUTE, index, stream->compute_since);
		wr_residency_put(stream->residency, index);
	}
	stream->pinned = false;
	stream->mem = NULL;
}

void weir_stream_close(struct weir_stream *stream)
{
	if (!stream)
		return;
	if (stream->residency)
		release(stream);
	wr_residency_close(stream->residency);
	wr_files_fini(&stream->files);
	wr_area_fini(&stream->area);
	weir_units_close(stream->units);
	wr_free(stream->stream_units);
	wr_free(stream->runs);
	wr_free(stream->reads);
	wr_free(stream->places);
	wr_free(stream);
}

/* Start the reads of what comes, @from on: the first unit that is not being got already. */
static void read_ahead(struct weir_stream *stream, uint64_t from)
{
	uint64_t nr = stream->units->nr;
	uint64_t end = stream->cursor + nr, last;
	uint64_t limit = ahead_knob.default_value;

	if (stream->plan.passes && !wr_mul_overflow(stream->plan.passes, nr, &last))
		end = wr_min(end, last);
	if (stream->parts.knobs)
		limit = weir_knob_get(stream->parts.knobs, stream->ahead_knob);
	/* Two units at least, whatever their size. */
	limit = wr_max(limit, stream->info.window_bytes);
	stream->ahead = wr_max(stream->ahead, from);
	for (; stream->ahead < end && stream->ahead_bytes < limit; stream->ahead++) {
		struct stream_unit *unit = &stream->stream_units[unit_of(stream, stream->ahead)];
		int rc = wr_residency_prefetch(stream->residency, unit_of(stream, stream->ahead));

		/* No slot, or no memory: later. A failing read is found by who needs it. */
		if (rc < 0)
			return;
		if (rc && !unit->ahead) {
			unit->ahead = true;
			stream->ahead_bytes += unit->landing_bytes;
		}
	}
}

static void end_ahead(struct weir_stream *stream, struct stream_unit *unit)
{
	if (unit->ahead)
		stream->ahead_bytes -= unit->landing_bytes;
	unit->ahead = false;
}

static void begin_pass(struct weir_stream *stream)
{
	uint64_t number = stream->cursor / stream->units->nr;

	stream->pass = (struct weir_pass_stats){.pass = number};
	stream->pass_begin_ns = wr_now_ns();
	stream->in_pass = true;
	stream->checked = false;
}

static void end_pass(struct weir_stream *stream)
{
	/* The first pass reads everything, those after it leave out what stays. */
	wr_files_expect_gaps(&stream->files);
	stream->pass.elapsed_ns = wr_now_ns() - stream->pass_begin_ns;
	stream->pass.complete = 1;
	stream->in_pass = false;
}

static void count(struct weir_stream *stream, const struct stream_unit *unit, uint64_t bytes,
		  const struct wr_residency_get *get)
{
	struct weir_pass_stats *pass = &stream->pass;

	pass->nr_units++;
	pass->nr_hits += get->was_hit;
	pass->nr_stalls += get->waited;
	pass->stall_ns += get->wait_ns;
	if (get->was_hit)
		pass->bytes_hit += bytes;
	else
		pass->bytes_read += unit->read_bytes;
	wr_metrics_count(&stream->metrics, STREAM_UNITS, 1);
	wr_metrics_count(&stream->metrics, STREAM_HITS, get->was_hit);
	if (!get->was_hit)
		wr_metrics_count(&stream->metrics, STREAM_READ, (int64_t)unit->read_bytes);
	if (get->waited)
		wr_metrics_value(&stream->metrics, STREAM_STALL, get->wait_ns);
}

/* What failed is the first run of the unit that did, unless no read was started at all. */
static int unit_failed(struct weir_stream *stream, uint32_t index, int rc, struct weir_error *err)
{
	struct stream_unit *unit = &stream->stream_units[index];
	const struct weir_part *part = &stream->units->parts[stream->units->first[index]];
	const struct wr_run *run = &stream->runs[unit->first_run];

	/* To make room for it again, what was read ahead may have to go: look at all of it anew. */
	stream->ahead = stream->cursor;
	if (rc == -ECANCELED)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "the stream was cancelled");
	if (wr_load_relaxed(&unit->fetch.result))
		run += wr_load_relaxed(&unit->fetch.failed);
	return wr_error_set(err, rc, weir_model_file(stream->files.model, run->file)->path,
			    run->offset, "reading %llu bytes for %s: %s",
			    (unsigned long long)run->bytes, part->tensor->name, weir_strerror(rc));
}

int weir_stream_next(struct weir_stream *stream, struct weir_unit *ret, struct weir_error *err)
{
	uint32_t index = unit_of(stream, stream->cursor);
	struct stream_unit *unit = &stream->stream_units[index];
	struct wr_residency_get get;
	uint64_t since;
	int rc;

	release(stream);
	if (wr_residency_is_cancelled(stream->residency))
		return unit_failed(stream, index, -ECANCELED, err);
	if (stream->in_pass && index == 0 && stream->pass.nr_units) {
		/* What was written to during the pass gave some bytes from before, some from after. */
		rc = wr_files_check(&stream->files, err);
		if (rc)
			return rc;
		end_pass(stream);
		/* The host does something else now: the device need not wait for it. */
		read_ahead(stream, stream->cursor);
		return 0;
	}
	if (!stream->in_pass)
		begin_pass(stream);
	if (!stream->checked) {
		rc = wr_files_check(&stream->files, err);
		if (rc)
			return rc;
		stream->checked = true;
	}
	wr_residency_get_begin(stream->residency, index, &get);
	read_ahead(stream, stream->cursor + 1);
	since = get.waited ? wr_stage_begin() : 0;
	rc = wr_residency_get_wait(stream->residency, &get);
	wr_stage_end(WR_STAGE_WAIT, index, since);
	end_ahead(stream, unit);
	if (rc)
		return unit_failed(stream, index, rc, err);
	stream->cursor++;
	stream->pinned = true;
	stream->mem = get.mem;
	*ret = (struct weir_unit){
		.index = index,
		.group = stream->units->parts[stream->units->first[index]].tensor->group,
		.pass = stream->pass.pass,
		.nr_views = stream->units->first[index + 1] - stream->units->first[index],
		.was_hit = get.was_hit,
		.bytes = wr_units_bytes(stream->units, index)};
	count(stream, unit, ret->bytes, &get);
	stream->compute_since = wr_stage_begin();
	return 1;
}

int weir_stream_view(const struct weir_stream *stream, uint32_t index, struct weir_view *ret)
{
	uint32_t unit, part;

	if (!stream->pinned)
		return -EINVAL;
	unit = unit_of(stream, stream->cursor - 1);
	part = stream->units->first[unit] + index;
	if (index >= stream->units->first[unit + 1] - stream->units->first[unit])
		return -EINVAL;
	*ret = (struct weir_view){.tensor = stream->units->parts[part].tensor,
				  .first_row = stream->units->parts[part].first_row,
				  .nr_rows = stream->units->parts[part].nr_rows,
				  .data = stream->mem + stream->places[part],
				  .bytes = stream->units->parts[part].bytes};
	return 0;
}

void weir_stream_cancel(struct weir_stream *stream)
{
	wr_residency_cancel(stream->residency);
}

void weir_stream_info(const struct weir_stream *stream, struct weir_stream_info *ret)
{
	*ret = stream->info;
}

void weir_stream_pass(const struct weir_stream *stream, struct weir_pass_stats *ret)
{
	*ret = stream->pass;
	if (stream->in_pass)
		ret->elapsed_ns = wr_now_ns() - stream->pass_begin_ns;
}
