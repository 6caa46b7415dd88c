/* SPDX-License-Identifier: MIT */
/* A run of turns; see turns.h. */
#include "turns_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <weir/topo.h>

#include "arm_internal.h"
#include "base/util.h"
#include "peak.h"
#include "rung.h"
#include "ui.h"

/* Of the vision tower, unless asked for otherwise: its slots are kept free also when it is not used. */
#define VISION_TILE ((size_t)2 << 20)

/* Everything a run holds. */
struct run {
	const struct wr_turns *t;
	struct wr_turns_result *ret;
	struct weir_model *model;
	struct weir_units *units; /* of a token, without experts */
	struct weir_units *all;	  /* of the whole model, by tensor: what the compute prepares for */
	int *layers;		  /* with experts, by group; -1: none */
	struct wr_turns_routing routing;
	struct weir *weir; /* NULL: over a mapping */
	struct weir_stream *stream;
	struct weir_experts *experts;
	struct wr_maps maps;
	struct weir_topo *topo; /* of a mapping */
	struct wr_workload *work;
	struct wr_turns_trace trace;
	struct wr_turns_blocks blocks;
	struct wr_turns_tables tables;
	struct wr_ui_progress progress;
	uint64_t token; /* over all turns */
	uint64_t done;	/* bytes of this turn */
	uint64_t *waits;
	uint64_t nr_waits;
	uint64_t wait_ns; /* of the group that is being worked on */
	uint32_t nr_together;
	struct wr_turn *turn;
};

static int fail(struct run *r, int rc, const char *what)
{
	r->ret->err = (struct weir_error){.code = rc, .offset = WEIR_OFFSET_NONE};
	(void)snprintf(r->ret->err.message, sizeof(r->ret->err.message), "%s: %s", what,
		       weir_strerror(rc));
	return rc;
}

/* ---- opening ---- */

static int number_layers(struct run *r)
{
	uint32_t nr = weir_model_nr_groups(r->model);

	r->layers = calloc(nr, sizeof(*r->layers));
	if (!r->layers)
		return fail(r, -ENOMEM, "numbering the layers");
	for (uint32_t g = 0; g < nr; g++) {
		uint32_t experts = wr_turns_nr_experts(r->model, weir_model_group(r->model, g));

		r->layers[g] = experts ? (int)r->ret->experts.nr_layers++ : -1;
		r->ret->experts.nr_experts = wr_max(r->ret->experts.nr_experts, experts);
	}
	return 0;
}

static struct weir_plan vision_plan(const struct run *r)
{
	struct weir_plan plan = r->t->arm.plan;

	plan.size = sizeof(plan);
	plan.flags = WEIR_PLAN_VISION_ONLY;
	plan.passes = 1;
	plan.nr_rules = 0; /* what is read in some turns only stays in none */
	plan.budget_bytes = r->ret->vision_bytes / 2;
	if (!plan.tile_bytes)
		plan.tile_bytes = VISION_TILE;
	return plan;
}

/*
 * Two slots for the largest unit of the vision tower, if a turn needs it, and as much again: what the
 * stream and the cache leave of the pool is in pieces.
 */
static int measure_vision(struct run *r)
{
	struct weir_plan plan = vision_plan(r);
	struct weir_units *units;
	uint64_t most = 0;
	int rc;

	if (!strchr(r->t->pattern, 'i'))
		return 0;
	rc = weir_units_open(r->model, &plan, &units, &r->ret->err);
	if (rc == -EINVAL)
		return wr_error_set(&r->ret->err, -ENODATA, r->t->arm.path, WEIR_OFFSET_NONE,
				    "a turn has an image, and the model has no vision tower");
	if (rc)
		return rc;
	for (uint32_t i = 0; i < weir_units_nr(units); i++) {
		const struct weir_part *parts;
		int nr = weir_units_parts(units, i, &parts);
		uint64_t bytes = 0;

		for (int p = 0; p < nr; p++)
			bytes += parts[p].bytes + 2 * 4096;
		most = wr_max(most, bytes);
	}
	weir_units_close(units);
	r->ret->vision_bytes = 4 * wr_align_up(most, (uint64_t)4096);
	return 0;
}

/* A budget beyond what the model and the KV blocks can use is not touched. */
static uint64_t useful_budget(const struct run *r)
{
	uint64_t most = r->ret->vision_bytes + ((uint64_t)4 << 20) +
			r->t->kv_blocks * wr_align_up(r->t->kv_bytes, (uint64_t)4096) * 9 / 8;

	for (uint32_t i = 0; i < weir_model_nr_tensors(r->model); i++) {
		const struct weir_tensor *tensor = weir_model_tensor(r->model, i);
		uint64_t pieces = tensor->nr_slices + tensor->bytes / (4u << 20);

		most += tensor->bytes + pieces * 2 * 4096;
	}
	return wr_min(r->t->arm.budget_bytes, most);
}

/*
 * The classes that have something; what of L2 is the KV blocks' while the experts want it too. What
 * rows need is little, and theirs.
 */
static void set_classes(const struct run *r, struct weir_cache_opts *opts)
{
	uint64_t kv = r->t->kv_blocks * r->t->kv_bytes;
	uint64_t share = kv ? 125 : 0;
	uint64_t rows = wr_turns_rows_bytes(&r->tables, r->ret->budget_bytes) * 1000;

	rows = wr_min((uint64_t)900, (rows + opts->l2_budget) / (opts->l2_budget + 1));
	if (kv && !r->ret->experts.nr_layers)
		share = 1000;
	else if (kv && !r->t->l3_dir)
		share = wr_min((uint64_t)900, kv * 1000 / (opts->l2_budget + 1) + 1);
	share = wr_min(share, 1000 - rows);
	opts->classes[WEIR_CLASS_KV].share_permille = share;
	opts->classes[WEIR_CLASS_WEIGHTS].share_permille = rows;
	opts->classes[WEIR_CLASS_EXPERTS].share_permille = 1000 - share - rows;
	opts->classes[WEIR_CLASS_KV].policy = r->t->policy;
	opts->classes[WEIR_CLASS_EXPERTS].policy = r->t->policy;
}

static uint64_t nr_things(const struct run *r)
{
	uint64_t nr =
		r->t->kv_blocks + wr_turns_rows_bytes(&r->tables, r->ret->budget_bytes) / 4096;

	for (uint32_t g = 0; g < weir_model_nr_groups(r->model); g++)
		nr += wr_turns_nr_experts(r->model, weir_model_group(r->model, g));
	return nr;
}

/* The budget is divided: vision tower, stream, cache. */
static int divide(struct run *r)
{
	struct wr_turns_result *ret = r->ret;
	uint64_t kv = r->t->kv_blocks ? 4 * wr_align_up(r->t->kv_bytes, (uint64_t)4096) : 0;
	uint64_t others = ret->vision_bytes + kv;
	int rc;

	ret->budget_bytes = useful_budget(r);
	others += wr_turns_rows_bytes(&r->tables, ret->budget_bytes);
	rc = weir_experts_share(r->model, &r->t->arm.plan,
				ret->budget_bytes - wr_min(ret->budget_bytes, others),
				wr_max(r->routing.nr_chosen, 1u), &ret->share, &ret->err);
	ret->share.min_bytes += others;
	if (rc == -ENOSPC)
		return wr_error_set(
			&ret->err, rc, NULL, WEIR_OFFSET_NONE,
			"a budget of %llu bytes is too small for this; the smallest "
			"that does is %llu bytes",
			(unsigned long long)ret->budget_bytes,
			(unsigned long long)wr_align_up(ret->share.min_bytes, (uint64_t)2 << 20));
	if (rc)
		return rc;
	if (!ret->experts.nr_layers && r->t->kv_blocks)
		ret->share.stream_bytes -=
			wr_min(ret->share.stream_bytes / 4, r->t->kv_blocks * r->t->kv_bytes);
	ret->share.cache_bytes = ret->budget_bytes - ret->vision_bytes - ret->share.stream_bytes;
	r->nr_together = wr_max(ret->share.nr_together, 1u);
	if (r->t->nr_together)
		r->nr_together = wr_min(r->nr_together, r->t->nr_together);
	return 0;
}

static bool needs_cache(const struct run *r)
{
	return r->ret->experts.nr_layers || r->t->kv_blocks || r->tables.nr;
}

static int open_context(struct run *r)
{
	struct weir_cache_opts cache = {.size = sizeof(cache),
					.l2_budget = r->ret->share.cache_bytes,
					.l2_packed = 1,
					.nr_entries = wr_max(nr_things(r) * 5 / 4, (uint64_t)64),
					.l3_dir = r->t->l3_dir,
					.l3_budget = r->t->l3_dir ? r->t->l3_bytes : 0,
					.l3_no_sync = 1};
	struct weir_opts opts = {.size = sizeof(opts),
				 .budget_bytes = wr_arm_context_bytes(r->ret->budget_bytes),
				 .io_backend = r->t->arm.backend,
				 .page_kinds = r->t->arm.page_kinds,
				 .io_page_cache = r->t->arm.page_cache,
				 .progress = wr_arm_touching,
				 .progress_arg = &r->progress,
				 .cache = needs_cache(r) ? &cache : NULL};
	int rc;

	set_classes(r, &cache);
	wr_ui_progress_start(&r->progress, "touching memory", opts.budget_bytes,
			     !r->t->arm.progress);
	rc = weir_open(&opts, &r->weir, &r->ret->err);
	wr_ui_progress_end(&r->progress);
	return rc;
}

/* The rules hold for experts too, under the names that they have in the cache. */
static int keep_by_name(struct run *r)
{
	const struct weir_plan *plan = &r->t->arm.plan;
	int rc = 0;

	for (uint64_t i = 0; r->experts && !rc && i < plan->nr_rules; i++) {
		uint64_t kind = plan->rules[i].kind;

		if (kind == WEIR_TENSOR_PIN || kind == WEIR_TENSOR_STREAM)
			rc = weir_cache_rule(weir_get_cache(r->weir), plan->rules[i].glob,
					     kind == WEIR_TENSOR_PIN ? WEIR_RULE_PIN
								     : WEIR_RULE_STREAM);
	}
	return rc ? fail(r, rc, "a rule") : 0;
}

static int open_weir(struct run *r)
{
	struct weir_plan plan = r->t->arm.plan;
	uint64_t begin = wr_ui_now_ns();
	int rc = divide(r);

	if (!rc)
		rc = open_context(r);
	if (rc)
		return rc;
	plan.size = sizeof(plan);
	plan.flags = WEIR_PLAN_NO_EXPERTS;
	plan.passes = (uint64_t)r->t->arm.passes * strlen(r->t->pattern);
	plan.budget_bytes = r->ret->share.stream_bytes;
	rc = weir_stream_open(r->weir, r->model, &plan, &r->stream, &r->ret->err);
	if (!rc && r->ret->experts.nr_layers)
		rc = weir_experts_open(r->weir, r->model, &r->experts, &r->ret->err);
	if (!rc && r->experts && r->t->ahead)
		rc = weir_experts_foresee(r->experts, &r->ret->err);
	if (!rc)
		rc = keep_by_name(r);
	if (rc)
		return rc;
	weir_stream_info(r->stream, &r->ret->stream);
	if (r->experts)
		weir_experts_info(r->experts, &r->ret->experts);
	r->ret->open_ns = wr_ui_now_ns() - begin;
	return wr_turns_blocks_open(r->t, weir_get_cache(r->weir), &r->trace, &r->ret->kv,
				    &r->blocks, &r->ret->err);
}

static int open_mapping(struct run *r)
{
	struct weir_topo_opts opts = {.size = sizeof(opts)};
	const char *failed;
	int rc = wr_maps_open(r->model, &r->maps, &failed);

	if (rc)
		return fail(r, rc, failed);
	return weir_topo_open(&opts, &r->topo, &r->ret->err);
}

static int open_units(struct run *r)
{
	struct weir_plan plan = r->t->arm.plan;
	int rc;

	plan.size = sizeof(plan);
	plan.flags = WEIR_PLAN_NO_EXPERTS;
	rc = weir_units_open(r->model, &plan, &r->units, &r->ret->err);
	plan.flags = WEIR_PLAN_VISION;
	plan.unit = WEIR_UNIT_TENSOR;
	plan.nr_rules = 0;
	return rc ? rc : weir_units_open(r->model, &plan, &r->all, &r->ret->err);
}

static int open_run(struct run *r)
{
	struct wr_turns_result *ret = r->ret;
	bool mapped = r->t->arm.backend == WR_ARM_MMAP;
	int rc = weir_model_open(r->t->arm.path, &r->model, &ret->err);

	if (rc)
		return rc;
	ret->model_bytes = wr_model_bytes(r->model);
	ret->nr_tensors = weir_model_nr_tensors(r->model);
	ret->nr_groups = weir_model_nr_groups(r->model);
	rc = number_layers(r);
	if (!rc && ret->experts.nr_layers)
		rc = wr_turns_routing_open(r->t, ret->experts.nr_layers, ret->experts.nr_experts,
					   &r->routing, &ret->err);
	ret->nr_chosen = r->routing.nr_chosen;
	if (!rc)
		rc = open_units(r);
	if (!rc)
		rc = measure_vision(r);
	if (!rc)
		rc = wr_turns_rows_find(r->t, r->model, &r->tables, &ret->err);
	if (!rc)
		rc = wr_turns_trace_open(r->t->trace_out, &r->trace, &ret->err);
	if (!rc)
		rc = mapped ? open_mapping(r) : open_weir(r);
	if (!rc)
		rc = wr_turns_rows_open(&r->tables, r->weir, r->model, &ret->err);
	if (rc)
		return rc;
	r->waits = calloc((size_t)ret->nr_groups * r->t->arm.passes + 1, sizeof(*r->waits));
	if (!r->waits)
		return fail(r, -ENOMEM, "noting times");
	rc = wr_workload_open(r->t->arm.compute, r->t->arm.threads,
			      mapped ? r->topo : weir_get_topo(r->weir), r->all, &r->work);
	return rc ? fail(r, rc, "starting the compute threads") : 0;
}

/* ---- a token ---- */

static void compute(struct run *r, const struct weir_view *view)
{
	wr_workload_view(r->work, view);
	r->done += view->bytes;
}

static void end_wait(struct run *r, uint64_t begin)
{
	uint64_t ns = wr_ui_now_ns() - begin;

	r->wait_ns += ns;
	r->turn->stall_ns += ns;
}

/* One expert that is there. */
static int use_expert(struct run *r, uint32_t layer, uint32_t expert, struct weir_pin *pin)
{
	struct weir_cache_item item;
	struct weir_view view;
	int rc = weir_experts_item(r->experts, layer, expert, &item);

	if (rc)
		return fail(r, rc, "an expert");
	wr_turns_trace_add(&r->trace, WEIR_CLASS_EXPERTS, item.name,
			   wr_align_up(item.bytes, (size_t)4096));
	for (uint32_t v = 0; !weir_experts_view(r->experts, layer, expert, pin, v, &view); v++)
		compute(r, &view);
	return weir_cache_put(weir_get_cache(r->weir), pin);
}

/*
 * The experts of a layer, as many at once as there is room for. Where there is no room after all,
 * fewer, down to one.
 */
static int use_experts(struct run *r, uint32_t layer)
{
	uint32_t chosen[WR_TURNS_MAX_CHOSEN];
	struct weir_pin pins[WR_TURNS_MAX_CHOSEN];
	uint32_t nr = wr_turns_chosen(&r->routing, r->token, layer, chosen), at = 0;

	r->turn->nr_refs += nr;
	while (at < nr) {
		uint32_t n = wr_min(nr - at, r->nr_together);
		uint64_t begin = wr_ui_now_ns();
		int64_t hits =
			weir_experts_get(r->experts, layer, &chosen[at], n, pins, &r->ret->err);
		int rc = 0;

		end_wait(r, begin);
		if (hits == -ENOSPC && n > 1) {
			r->nr_together = n / 2;
			continue;
		}
		if (hits < 0)
			return (int)hits;
		r->turn->nr_hits += (uint64_t)hits;
		for (uint32_t i = 0; i < n; i++)
			rc = rc ? rc : use_expert(r, layer, chosen[at + i], &pins[i]);
		if (rc)
			return rc;
		at += n;
	}
	return 0;
}

/* What the router of the next layer would choose, as far as can be told now. */
static void foresee(struct run *r, uint32_t layer)
{
	uint32_t said[WR_TURNS_MAX_CHOSEN];
	bool is_last = layer + 1 == r->ret->experts.nr_layers;
	uint32_t nr;

	if (!r->t->foresee_permille)
		return;
	layer = is_last ? 0 : layer + 1;
	nr = wr_turns_foreseen(&r->routing, r->token + is_last, layer, r->t->foresee_permille,
			       said);
	if (nr)
		(void)weir_experts_likely(r->experts, layer, said, nr, r->t->foresee_permille);
}

/* The same over the mapping: where they lie. */
static void use_mapped(struct run *r, const struct weir_group *group, uint32_t layer)
{
	uint32_t chosen[WR_TURNS_MAX_CHOSEN];
	uint32_t nr = wr_turns_chosen(&r->routing, r->token, layer, chosen);

	r->turn->nr_refs += nr;
	for (uint32_t i = 0; i < nr; i++)
		for (uint32_t p = group->first; p < group->first + group->nr; p++) {
			const struct weir_tensor *tensor = weir_model_at(r->model, p);
			uint64_t rows = tensor->nr_rows / tensor->nr_slices;
			bool is_stack = tensor->nr_slices > 1;
			struct weir_view view = {.tensor = tensor,
						 .first_row = is_stack ? chosen[i] * rows : 0,
						 .nr_rows = rows,
						 .bytes = rows * tensor->row_bytes};

			if (chosen[i] >= weir_tensor_experts(tensor) ||
			    (!is_stack && tensor->expert != (int32_t)chosen[i]))
				continue;
			view.data = (char *)r->maps.maps[tensor->file].base + tensor->offset +
				    view.first_row * tensor->row_bytes;
			compute(r, &view);
		}
}

/* All of a group's attention is done: its experts, then its wait is noted. */
static int end_group(struct run *r, uint32_t group)
{
	int layer = r->layers[group];
	int rc = 0;

	if (layer >= 0 && r->weir) {
		foresee(r, (uint32_t)layer);
		rc = use_experts(r, (uint32_t)layer);
	} else if (layer >= 0) {
		use_mapped(r, weir_model_group(r->model, group), (uint32_t)layer);
	}
	r->waits[r->nr_waits++] = r->wait_ns;
	r->wait_ns = 0;
	wr_ui_progress_update(&r->progress, r->done);
	return rc ? rc : wr_ui_interrupted() ? -EINTR : 0;
}

/* The next unit of a pass of @stream: 1, 0, or why not; the time it took is a wait. */
static int next_unit(struct run *r, struct weir_stream *stream, struct weir_unit *ret)
{
	uint64_t begin = wr_ui_now_ns();
	int rc = weir_stream_next(stream, ret, &r->ret->err);

	end_wait(r, begin);
	return rc;
}

/* Of a dense model the trace has the units: what a cache of them would be asked for. */
static void trace_unit(struct run *r, const struct weir_stream *stream,
		       const struct weir_unit *unit)
{
	char name[512];
	struct weir_view view;

	if (r->experts || !r->trace.file || weir_stream_view(stream, 0, &view))
		return;
	(void)snprintf(name, sizeof(name), "%.480s:%llu", view.tensor->name,
		       (unsigned long long)view.first_row);
	wr_turns_trace_add(&r->trace, WEIR_CLASS_WEIGHTS, name, unit->bytes);
}

static int use_unit(struct run *r, struct weir_stream *stream, const struct weir_unit *unit)
{
	struct weir_view view;
	int rc = 0;

	trace_unit(r, stream, unit);

	for (uint32_t i = 0; !rc && i < unit->nr_views; i++) {
		rc = weir_stream_view(stream, i, &view);
		if (!rc)
			compute(r, &view);
	}
	return rc;
}

/* What @nr tokens look up. */
static int use_rows(struct run *r, uint32_t nr)
{
	for (uint32_t i = 0; i < r->tables.nr; i++) {
		const struct weir_tensor *tensor = r->tables.tensors[i];
		const char *base =
			r->weir ? NULL
				: (const char *)r->maps.maps[tensor->file].base + tensor->offset;
		uint64_t begin = wr_ui_now_ns();
		int rc = wr_turns_rows_draw(&r->tables, i, nr, &r->ret->err);

		end_wait(r, begin);
		r->tables.ns += wr_ui_now_ns() - begin;
		if (rc)
			return rc;
		for (uint32_t n = 0; n < nr; n++) {
			struct weir_view view = wr_turns_rows_view(&r->tables, i, n, base);

			compute(r, &view);
		}
	}
	return 0;
}

static int streamed_token(struct run *r)
{
	struct weir_pass_stats pass;
	struct weir_unit unit;
	int64_t group = -1;
	int rc;

	while ((rc = next_unit(r, r->stream, &unit)) > 0) {
		if (group >= 0 && unit.group != group)
			rc = end_group(r, (uint32_t)group);
		group = unit.group;
		if (rc >= 0)
			rc = use_unit(r, r->stream, &unit);
		if (rc < 0)
			return rc;
	}
	if (!rc)
		rc = end_group(r, (uint32_t)group);
	weir_stream_pass(r->stream, &pass);
	r->turn->dense_read += pass.bytes_read;
	return rc;
}

/* Units of a list over the mapping. */
static int mapped_units(struct run *r, const struct weir_units *units, bool has_groups)
{
	int64_t group = -1;
	int rc = 0;

	for (uint32_t i = 0; !rc && i < weir_units_nr(units); i++) {
		const struct weir_part *parts;
		int nr = weir_units_parts(units, i, &parts);

		for (int p = 0; !rc && p < nr; p++) {
			const struct weir_tensor *tensor = parts[p].tensor;
			struct weir_view view = {.tensor = tensor,
						 .first_row = parts[p].first_row,
						 .nr_rows = parts[p].nr_rows,
						 .bytes = parts[p].bytes};

			if (has_groups && group >= 0 && tensor->group != group)
				rc = end_group(r, (uint32_t)group);
			group = tensor->group;
			view.data = (char *)r->maps.maps[tensor->file].base + parts[p].offset;
			compute(r, &view);
		}
	}
	return has_groups && !rc ? end_group(r, (uint32_t)group) : rc;
}

/* ---- a turn ---- */

static int see_image(struct run *r)
{
	struct weir_plan plan = vision_plan(r);
	struct weir_stream *stream = NULL;
	struct weir_units *units = NULL;
	struct weir_pass_stats pass;
	struct weir_unit unit;
	int rc;

	if (!r->weir) {
		rc = weir_units_open(r->model, &plan, &units, &r->ret->err);
		rc = rc ? rc : mapped_units(r, units, false);
		weir_units_close(units);
		return rc;
	}
	rc = weir_stream_open(r->weir, r->model, &plan, &stream, &r->ret->err);
	if (rc)
		return rc;
	while ((rc = next_unit(r, stream, &unit)) > 0) {
		rc = use_unit(r, stream, &unit);
		if (rc < 0)
			break;
	}
	weir_stream_pass(stream, &pass);
	r->turn->vision_read = pass.bytes_read;
	weir_stream_close(stream);
	r->wait_ns = 0;
	return rc;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* All 0 where there is no such tier. */
static void read_stats(const struct run *r, uint32_t tier, uint32_t class_id,
		       struct weir_cache_stats *ret)
{
	*ret = (struct weir_cache_stats){0};
	if (weir_cache_stats(weir_get_cache(r->weir), tier, class_id, ret))
		return;
}

static uint64_t experts_read(const struct run *r)
{
	struct weir_cache_stats stats = {0};

	if (r->experts)
		read_stats(r, WEIR_TIER_L2, WEIR_CLASS_EXPERTS, &stats);
	return stats.fill_bytes;
}

static void end_turn(struct run *r, uint64_t begin, uint64_t read, uint64_t mapped_read)
{
	struct wr_turn *turn = r->turn;

	turn->ns = wr_ui_now_ns() - begin;
	turn->compute_ns = wr_workload_ns(r->work);
	turn->checksum = wr_workload_checksum(r->work);
	turn->expert_read = experts_read(r) - read;
	if (!r->weir) {
		turn->dense_read = wr_peak_read_bytes() - mapped_read;
		turn->stall_ns = turn->ns - wr_min(turn->ns, turn->compute_ns);
	}
	qsort(r->waits, r->nr_waits, sizeof(*r->waits), by_size);
	turn->wait_p50_ns = r->waits[r->nr_waits / 2];
	turn->wait_p99_ns = r->waits[r->nr_waits * 99 / 100];
	r->ret->nr_turns++;
}

static int do_turn(struct run *r, uint32_t number)
{
	uint64_t all = (uint64_t)r->t->arm.passes * strlen(r->t->pattern);
	uint64_t begin = wr_ui_now_ns(), read = experts_read(r);
	uint64_t mapped_read = wr_peak_read_bytes(), put_before = r->blocks.nr_put;
	char what[48];
	int rc = 0;

	r->turn = &r->ret->turns[number];
	*r->turn = (struct wr_turn){.has_image = r->t->pattern[number] == 'i'};
	r->nr_waits = 0;
	r->done = 0;
	(void)snprintf(what, sizeof(what), "turn %u of %zu", number + 1, strlen(r->t->pattern));
	wr_ui_progress_start(&r->progress, what, r->ret->share.cycle_bytes * r->t->arm.passes,
			     !r->t->arm.progress);
	wr_workload_begin(r->work);
	if (r->turn->has_image)
		rc = see_image(r);
	if (!rc)
		rc = use_rows(r, r->t->nr_prompt);
	for (uint32_t i = 0; !rc && i < r->t->arm.passes; i++, r->token++) {
		rc = use_rows(r, 1);
		if (rc)
			break;
		rc = r->weir ? streamed_token(r) : mapped_units(r, r->units, true);
		if (!rc && r->weir)
			rc = wr_turns_blocks_put(&r->blocks, r->token + 1, all, &r->ret->err);
		r->turn->nr_tokens += !rc;
	}
	wr_ui_progress_end(&r->progress);
	if (rc)
		return rc;
	end_turn(r, begin, read, mapped_read);
	/* The conversation goes on: what was said before is looked at again. */
	return r->weir ? wr_turns_blocks_check(&r->blocks, 0, put_before, &r->ret->err) : 0;
}

/* ---- the run ---- */

static void note(struct run *r)
{
	struct wr_turns_result *ret = r->ret;
	struct wr_rung rung;

	ret->backend = WR_ARM_MMAP;
	ret->peak_bytes = wr_peak_bytes();
	ret->trace_refs = r->trace.nr;
	if (r->work) {
		ret->threads = wr_workload_threads(r->work);
		(void)snprintf(ret->variant, sizeof(ret->variant), "%s",
			       wr_workload_variant(r->work));
	}
	wr_turns_rows_note(&r->tables, &ret->rows);
	ret->rows.ns = r->tables.ns;
	if (!r->weir)
		return;
	wr_rung_of(weir_get_io(r->weir), r->model, &rung);
	ret->backend = rung.backend;
	(void)snprintf(ret->reason, sizeof(ret->reason), "%s", rung.reason);
	ret->page_kind = (uint32_t)weir_pool_page_kind(weir_get_pool(r->weir));
	(void)snprintf(ret->page_reason, sizeof(ret->page_reason), "%s",
		       weir_pool_page_reason(weir_get_pool(r->weir)));
	if (!weir_get_cache(r->weir))
		return;
	if (r->t->ahead && weir_cache_ahead_stats(weir_get_cache(r->weir), &ret->ahead))
		ret->ahead = (struct weir_cache_ahead_stats){0};
	while (r->t->ahead && ret->nr_sources < WR_TURNS_SOURCES &&
	       !weir_cache_ahead_source(weir_get_cache(r->weir), ret->nr_sources,
					&ret->sources[ret->nr_sources]))
		ret->nr_sources++;
	for (uint32_t c = 0; c < WEIR_NR_CLASSES; c++)
		read_stats(r, WEIR_TIER_L2, c, &ret->classes[c]);
	read_stats(r, WEIR_TIER_L3, WEIR_CLASS_KV, &ret->stored);
	if (weir_cache_policy(weir_get_cache(r->weir), WEIR_TIER_L2, WEIR_CLASS_EXPERTS,
			      &ret->policy))
		return;
}

static void close_run(struct run *r)
{
	wr_turns_blocks_close(&r->blocks);
	wr_workload_close(r->work);
	wr_turns_rows_close(&r->tables);
	weir_experts_close(r->experts);
	weir_stream_close(r->stream);
	weir_close(r->weir);
	weir_topo_close(r->topo);
	wr_maps_close(&r->maps);
	wr_turns_routing_close(&r->routing);
	weir_units_close(r->units);
	weir_units_close(r->all);
	weir_model_close(r->model);
	free(r->layers);
	free(r->waits);
}

int wr_turns_run(const struct wr_turns *t, struct wr_turns_result *ret)
{
	struct run r = {.t = t, .ret = ret};
	struct weir_error err;
	double cpu;
	int rc;

	memset(ret, 0, sizeof(*ret));
	rc = open_run(&r);
	cpu = wr_peak_cpu_seconds();
	if (!rc && ret->share.below_cycle)
		fprintf(stderr,
			"weir: stream: a token uses more than the budget; what is always "
			"used stays\nas far as there is room, and the rest passes through\n");
	for (uint32_t i = 0; !rc && t->pattern[i]; i++)
		rc = do_turn(&r, i);
	if (!rc && r.weir)
		rc = wr_turns_blocks_check(&r.blocks, 0, r.blocks.nr_put, &ret->err);
	ret->cpu_ns = (uint64_t)((wr_peak_cpu_seconds() - cpu) * 1e9);
	note(&r);
	if (wr_turns_trace_close(&r.trace, &err) && !rc) {
		ret->err = err;
		rc = err.code;
	}
	close_run(&r);
	ret->interrupted = rc == -EINTR && wr_ui_interrupted();
	return rc;
}
