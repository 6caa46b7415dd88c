/* SPDX-License-Identifier: MIT */
/**
 * weir/stream.h - A model's weights in execution order, pass after pass, in a budget.
 *
 * A plan says what a pass visits and in which unit the host wants it. From the plan
 * follow the units, a list in execution order that is the same in every pass. A stream
 * walks that list: weir_stream_next() releases the unit before, waits for the next one if
 * it must, pins it, and starts the reads of what comes after. What the budget can hold
 * beside two units stays resident from pass to pass, spread evenly over the order so that
 * the device and the host's arithmetic work at the same time; the rest is read again in
 * every pass. For a known cyclic order no policy reads less (Belady); LRU would read all.
 *
 * The whole of it, for a host with one compute thread:
 *
 *	while ((rc = weir_stream_next(stream, &unit, NULL)) > 0)
 *		for (i = 0; i < unit.nr_views; i++)
 *			if (weir_stream_view(stream, i, &view) == 0)
 *				compute(view.tensor, view.first_row, view.data, view.bytes);
 *
 * rc is 0 at the end of a pass; calling again begins the next one.
 */
#ifndef WEIR_STREAM_H
#define WEIR_STREAM_H

#include <weir/base.h>
#include <weir/load.h>
#include <weir/weights.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir;
struct weir_units;
struct weir_stream;

/* What a unit is. */
enum weir_unit_kind {
	WEIR_UNIT_TILE = 0,   /* whole rows of one tensor, at most tile_bytes */
	WEIR_UNIT_TENSOR = 1, /* one tensor */
	WEIR_UNIT_GROUP = 2,  /* all tensors of a group: a layer, a vision block */
};

/* Visit the groups of the vision tower too, before the text groups. */
#define WEIR_PLAN_VISION (1u << 0)
/* Leave out everything but the vision tower. */
#define WEIR_PLAN_VISION_ONLY (1u << 1)
/* Leave out the experts of a mixture: they come one by one, see weir/experts.h. */
#define WEIR_PLAN_NO_EXPERTS (1u << 2)

/* How a tensor is kept whose name matches. */
enum weir_tensor_rule {
	WEIR_TENSOR_NORMAL = 0, /* as the plan finds best */
	WEIR_TENSOR_PIN = 1,	/* in memory from pass to pass, before all else */
	WEIR_TENSOR_STREAM = 2, /* read in every pass */
	WEIR_TENSOR_ROWS = 3,	/* in no pass: its rows come one by one, see weir/rows.h */
};

/* Of a plan at most. */
#define WEIR_PLAN_RULES_MAX 64u

/**
 * struct weir_plan_rule - How tensors are kept.
 * @glob: Pattern of names with * ? and [...]: "*.mlp.*".
 * @kind: enum weir_tensor_rule.
 */
struct weir_plan_rule {
	const char *glob;
	uint64_t kind;
};

/**
 * struct weir_plan - What a pass visits, and how. Zero means the default.
 * @size:         sizeof(struct weir_plan).
 * @budget_bytes: Landing memory the stream may use, out of the context's. Default: as
 *                much of the context's budget as is free, which the context's whole
 *                budget_bytes means too. It is never exceeded.
 * @unit:         enum weir_unit_kind.
 * @flags:        WEIR_PLAN_*.
 * @tile_bytes:   Largest tile; a row larger than this is a tile of its own. Default: the
 *                128th part of the plan, at least 4 MiB, at most 16 MiB.
 * @passes:       How many passes the host will make, so that nothing is read for a pass
 *                that never comes. Default: it does not say.
 * @visit:        Called once per tensor while the plan is made; 0 leaves it out.
 *                NULL: all tensors that @flags admit.
 * @visit_arg:    Handed to @visit.
 * @rules:        Array of @nr_rules; of a tensor the first that matches counts. Only during the
 *                call. A unit of several tensors stays when one of them is to, and is read in
 *                every pass when all of them are. What is to stay must fit beside two units.
 * @nr_rules:     At most WEIR_PLAN_RULES_MAX.
 */
struct weir_plan {
	size_t size;
	size_t budget_bytes;
	uint32_t unit;
	uint32_t flags;
	size_t tile_bytes;
	uint64_t passes;
	int (*visit)(void *arg, const struct weir_tensor *tensor);
	void *visit_arg;
	const struct weir_plan_rule *rules;
	uint64_t nr_rules;
};

/**
 * struct weir_unit - What weir_stream_next() has pinned.
 * @index:    Place in the pass, from 0.
 * @group:    Index of its group in the model.
 * @pass:     Number of the pass, from 0.
 * @nr_views: Views it consists of; see weir_stream_view().
 * @was_hit:  1 when its bytes were in memory from an earlier pass.
 * @bytes:    Sum over its views.
 */
struct weir_unit {
	uint32_t index;
	uint32_t group;
	uint64_t pass;
	uint32_t nr_views;
	uint32_t was_hit;
	uint64_t bytes;
};

/**
 * struct weir_stream_info - What a stream made of its plan.
 * @plan_bytes:     Bytes a pass visits (M).
 * @unit_bytes:     Largest unit (u).
 * @budget_bytes:   Landing memory in use (at most B).
 * @window_bytes:   Of these, the two slots that streamed units pass through; 0 when
 *                  everything stays resident.
 * @resident_bytes: Bytes of the plan that stay in memory from pass to pass.
 * @ideal_bytes:    max(0, M - (B - 2 u)): what a pass after the first must read at least
 *                  when two units are kept free.
 * @min_budget_bytes: Smallest budget with which this plan can be opened.
 * @nr_units:       Units in a pass.
 * @nr_resident:    Of these, how many stay resident.
 */
struct weir_stream_info {
	uint64_t plan_bytes;
	uint64_t unit_bytes;
	uint64_t budget_bytes;
	uint64_t window_bytes;
	uint64_t resident_bytes;
	uint64_t ideal_bytes;
	uint64_t min_budget_bytes;
	uint32_t nr_units;
	uint32_t nr_resident;
};

/**
 * struct weir_pass_stats - One pass.
 * @pass:       Its number, from 0.
 * @elapsed_ns: From its first weir_stream_next() to its end (or to now).
 * @stall_ns:   Of this, waiting for bytes inside weir_stream_next().
 * @bytes_read: Bytes read from files for units consumed in this pass, over-read included.
 * @bytes_hit:  Bytes of units that were in memory already.
 * @nr_units:   Units delivered.
 * @nr_hits:    Units that were in memory from an earlier pass.
 * @nr_stalls:  Units that had to be waited for.
 * @complete:   1 when the pass has ended.
 */
struct weir_pass_stats {
	uint64_t pass;
	uint64_t elapsed_ns;
	uint64_t stall_ns;
	uint64_t bytes_read;
	uint64_t bytes_hit;
	uint32_t nr_units;
	uint32_t nr_hits;
	uint32_t nr_stalls;
	uint32_t complete;
};

/**
 * weir_plan_rule() - How a plan wants a tensor to be kept.
 * @plan:   The plan, or NULL.
 * @tensor: Of any model.
 *
 * Context: Any thread. Takes no lock.
 * Return:  enum weir_tensor_rule.
 * Since:   0.1
 */
WEIR_API uint32_t weir_plan_rule(const struct weir_plan *plan, const struct weir_tensor *tensor);

/**
 * weir_units_open() - The units of a plan, without reading anything.
 * @model: The model; must outlive the list.
 * @plan:  The plan, or NULL for all defaults; its budget is not looked at.
 * @ret:   The list; untouched on failure.
 * @err:   On failure: why. May be NULL.
 *
 * Context: Any thread. Calls @plan->visit.
 * Owner:   The caller, until weir_units_close().
 * Return:  0, -EINVAL (an option is out of range, or the plan visits nothing), -E2BIG
 *          (newer options than this library knows), -EFBIG (more units than an index
 *          can number), -ENOMEM.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_units_open(const struct weir_model *model,
					     const struct weir_plan *plan, struct weir_units **ret,
					     struct weir_error *err);

/**
 * weir_units_close() - Forget a list.
 * @units: The list, or NULL.
 *
 * Context: Any thread.
 * Since:   0.1
 */
WEIR_API void weir_units_close(struct weir_units *units);

/**
 * weir_units_nr() - How many units a pass has.
 * @units: The list.
 *
 * Context: Any thread. Takes no lock; a list is immutable.
 * Return:  The number, at least 1.
 * Since:   0.1
 */
WEIR_API uint32_t weir_units_nr(const struct weir_units *units);

/**
 * weir_units_parts() - The parts of one unit.
 * @units: The list.
 * @index: 0 to weir_units_nr() - 1.
 * @ret:   First of the parts, in execution order; owned by the list.
 *
 * Context: Any thread. Takes no lock.
 * Return:  Number of parts, at least 1; -EINVAL (no such index).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_units_parts(const struct weir_units *units, uint32_t index,
					      const struct weir_part **ret);

/**
 * weir_stream_open() - Lay a plan out in memory.
 * @weir:  The context whose memory and engine are used; must outlive the stream.
 * @model: The model; must outlive the stream.
 * @plan:  The plan, or NULL for all defaults.
 * @ret:   The stream; untouched on failure.
 * @err:   On failure: why; for -ENOSPC the smallest budget that would do. May be NULL.
 *
 * Opens the model's files, checks that they are the ones that were indexed, takes the
 * landing memory, and reads nothing yet.
 *
 * Context: Any thread. May block.
 * Owner:   The caller, until weir_stream_close().
 * Return:  0, -EINVAL (an option is out of range, or the plan visits nothing), -E2BIG
 *          (newer options than this library knows), -EFBIG (more units than an index can
 *          number), -ENOSPC (the budget is below two units, or the context has not that
 *          much free), -ESTALE (a file changed since the model was opened), -ENOENT,
 *          -EACCES, -EMFILE, -ENOMEM, -EIO, -EOPNOTSUPP (see weir_io_file_open()).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_stream_open(struct weir *weir, const struct weir_model *model,
					      const struct weir_plan *plan,
					      struct weir_stream **ret, struct weir_error *err);

/**
 * weir_stream_close() - End a stream.
 * @stream: The stream, or NULL. Views of it become invalid.
 *
 * Cancels what is being read and waits for it.
 *
 * Context: Any thread, when no other uses the stream. May block.
 * Since:   0.1
 */
WEIR_API void weir_stream_close(struct weir_stream *stream);

/**
 * weir_stream_next() - Release the unit before and pin the next one.
 * @stream: The stream.
 * @ret:    The unit; untouched when the result is not 1.
 * @err:    On failure: file, offset, reason. May be NULL.
 *
 * On failure nothing is pinned and the place in the pass is kept: calling again tries
 * the same unit again. Other units are not affected.
 *
 * Context: One thread at a time. May block, until the bytes are there.
 * Return:  1 (a unit is pinned), 0 (the pass has ended; the next call begins another),
 *          -EIO (the device failed), -ENODATA (the file became shorter), -ESTALE (it
 *          was changed or replaced), -ECANCELED (weir_stream_cancel()), -ENOMEM.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_stream_next(struct weir_stream *stream, struct weir_unit *ret,
					      struct weir_error *err);

/**
 * weir_stream_view() - The bytes of one part of the pinned unit.
 * @stream: The stream.
 * @index:  0 to the unit's nr_views - 1.
 * @ret:    The view; untouched on failure. Valid until the next weir_stream_next().
 *
 * Context: Any thread, while the unit is pinned. Takes no lock.
 * Return:  0, -EINVAL (no unit is pinned, or no such index).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_stream_view(const struct weir_stream *stream, uint32_t index,
					      struct weir_view *ret);

/**
 * weir_stream_cancel() - Wake a waiting weir_stream_next() for good.
 * @stream: The stream. Every later weir_stream_next() fails with -ECANCELED.
 *
 * Context: Any thread, not a signal handler. Takes CACHE. Does not block.
 * Since:   0.1
 */
WEIR_API void weir_stream_cancel(struct weir_stream *stream);

/**
 * weir_stream_info() - What the stream made of its plan.
 * @stream: The stream.
 * @ret:    Filled.
 *
 * Context: Any thread. Takes no lock; constant while the stream is open.
 * Since:   0.1
 */
WEIR_API void weir_stream_info(const struct weir_stream *stream, struct weir_stream_info *ret);

/**
 * weir_stream_pass() - Statistics of the pass that runs, or ended last.
 * @stream: The stream.
 * @ret:    Filled; all zero before the first weir_stream_next().
 *
 * Context: The thread that calls weir_stream_next(). Takes no lock.
 * Since:   0.1
 */
WEIR_API void weir_stream_pass(const struct weir_stream *stream, struct weir_pass_stats *ret);

/**
 * weir_load() - Read everything a plan visits into memory, once.
 * @weir:  The context; must outlive the result.
 * @model: The model; must outlive the result.
 * @plan:  The plan, or NULL for all tensors, the vision tower included. Only its budget,
 *         flags and visit are looked at.
 * @ret:   The loaded tensors; untouched on failure.
 * @err:   On failure: file, offset, reason. May be NULL.
 *
 * Reads in file order, neighbouring tensors together.
 *
 * Context: Any thread. May block.
 * Owner:   The caller, until weir_unload().
 * Return:  0, and the codes of weir_stream_open() and weir_stream_next().
 *          -ENOSPC when the budget does not hold it all.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_load(struct weir *weir, const struct weir_model *model,
				       const struct weir_plan *plan, struct weir_loaded **ret,
				       struct weir_error *err);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_STREAM_H */
