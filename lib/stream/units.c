/* SPDX-License-Identifier: MIT */
/*
 * A plan becomes units: what a host works on at a time, in execution order.
 *
 * Tiles of a tensor are made equal to within a row, rather than full ones and a rest: the
 * memory kept free is that of the largest, and a small rest would cost a read of its own.
 */
#include "stream/units.h"

#include <errno.h>
#include <fnmatch.h>

#include "base/alloc.h"
#include "base/util.h"

#define TILE_MIN_BYTES ((uint64_t)4 << 20)
#define TILE_MAX_BYTES ((uint64_t)16 << 20)
/* A default tile is this part of the plan, so that what does not fill the budget is small. */
#define TILES_PER_PLAN 128

static int check_rules(const struct weir_plan *plan, struct weir_error *err)
{
	bool good = plan->nr_rules <= WEIR_PLAN_RULES_MAX && (plan->rules || !plan->nr_rules);

	for (uint64_t i = 0; good && i < plan->nr_rules; i++)
		good = plan->rules[i].glob && plan->rules[i].kind <= WEIR_TENSOR_ROWS;
	return good ? 0
		    : wr_error_set(err, -EINVAL, NULL, WEIR_OFFSET_NONE,
				   "the plan has more than %u rules, or one that does not exist",
				   WEIR_PLAN_RULES_MAX);
}

int wr_plan_copy(struct weir_plan *dst, const struct weir_plan *src, struct weir_error *err)
{
	uint32_t known = WEIR_PLAN_VISION | WEIR_PLAN_VISION_ONLY | WEIR_PLAN_NO_EXPERTS;
	int rc = wr_opts_copy(dst, sizeof(*dst), src);

	if (rc)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
				    "the plan's size field does not fit this library");
	if (dst->unit > WEIR_UNIT_GROUP || (dst->flags & ~known))
		return wr_error_set(err, -EINVAL, NULL, WEIR_OFFSET_NONE,
				    "the plan has unit kind %u and flags %#x, which do not exist",
				    dst->unit, dst->flags);
	return check_rules(dst, err);
}

uint32_t weir_plan_rule(const struct weir_plan *plan, const struct weir_tensor *tensor)
{
	for (uint64_t i = 0; plan && i < plan->nr_rules; i++)
		if (!fnmatch(plan->rules[i].glob, tensor->name, 0))
			return (uint32_t)plan->rules[i].kind;
	return WEIR_TENSOR_NORMAL;
}

static bool visits(const struct weir_model *model, const struct weir_plan *plan,
		   const struct weir_tensor *tensor)
{
	bool vision = weir_model_group(model, tensor->group)->kind == WEIR_GROUP_VISION;

	if (!tensor->bytes)
		return false;
	if (vision && !(plan->flags & (WEIR_PLAN_VISION | WEIR_PLAN_VISION_ONLY)))
		return false;
	if (!vision && (plan->flags & WEIR_PLAN_VISION_ONLY))
		return false;
	if (weir_tensor_experts(tensor) && (plan->flags & WEIR_PLAN_NO_EXPERTS))
		return false;
	if (weir_plan_rule(plan, tensor) == WEIR_TENSOR_ROWS)
		return false;
	return !plan->visit || plan->visit(plan->visit_arg, tensor);
}

static uint64_t nr_tiles(const struct weir_plan *plan, const struct weir_tensor *tensor)
{
	uint64_t rows;

	if (plan->unit != WEIR_UNIT_TILE || tensor->bytes <= plan->tile_bytes)
		return 1;
	rows = plan->tile_bytes / tensor->row_bytes;
	rows = rows ? rows : 1;
	return (tensor->nr_rows + rows - 1) / rows;
}

/* Of a unit of several: one that is to stay is enough, to be read every time takes all. */
static void add_wish(struct weir_units *units, bool is_first, uint32_t wish)
{
	uint8_t *of_unit = &units->wishes[units->nr - 1];

	if (is_first || wish == WEIR_TENSOR_PIN)
		*of_unit = (uint8_t)wish;
	else if (*of_unit == WEIR_TENSOR_STREAM && wish != WEIR_TENSOR_STREAM)
		*of_unit = WEIR_TENSOR_NORMAL;
}

static void add_tensor(struct weir_units *units, const struct weir_plan *plan,
		       const struct weir_tensor *tensor, uint32_t *last_group)
{
	uint64_t tiles = nr_tiles(plan, tensor), row = 0;
	uint32_t wish = weir_plan_rule(plan, tensor);

	for (uint64_t t = 0; t < tiles; t++) {
		/* The first nr_rows % tiles tiles are one row longer. */
		uint64_t rows = tensor->nr_rows / tiles + (t < tensor->nr_rows % tiles);

		bool is_first =
			plan->unit != WEIR_UNIT_GROUP || !units->nr || *last_group != tensor->group;

		if (is_first)
			units->first[units->nr++] = units->nr_parts;
		add_wish(units, is_first, wish);
		*last_group = tensor->group;
		units->parts[units->nr_parts++] =
			(struct weir_part){.tensor = tensor,
					   .first_row = row,
					   .nr_rows = rows,
					   .offset = tensor->offset + row * tensor->row_bytes,
					   .bytes = rows * tensor->row_bytes};
		row += rows;
	}
}

uint64_t wr_units_bytes(const struct weir_units *units, uint32_t index)
{
	uint64_t bytes = 0;

	for (uint32_t p = units->first[index]; p < units->first[index + 1]; p++)
		bytes += units->parts[p].bytes;
	return bytes;
}

/* Which tensors are visited, how many bytes and parts that is; asks plan->visit once each. */
static int measure(const struct weir_model *model, struct weir_plan *plan, bool *visited,
		   uint64_t *ret_bytes, uint64_t *ret_parts)
{
	uint32_t nr = weir_model_nr_tensors(model);
	uint64_t bytes = 0, parts = 0;

	for (uint32_t p = 0; p < nr; p++) {
		const struct weir_tensor *tensor = weir_model_at(model, p);

		visited[p] = visits(model, plan, tensor);
		if (visited[p] && wr_add_overflow(bytes, tensor->bytes, &bytes))
			return -EFBIG;
	}
	if (!plan->tile_bytes)
		plan->tile_bytes = (size_t)wr_min(wr_max(bytes / TILES_PER_PLAN, TILE_MIN_BYTES),
						  TILE_MAX_BYTES);
	for (uint32_t p = 0; p < nr; p++)
		if (visited[p] && (parts += nr_tiles(plan, weir_model_at(model, p))) >= UINT32_MAX)
			return -EFBIG;
	*ret_bytes = bytes;
	*ret_parts = parts;
	return 0;
}

static int build(struct weir_units *units, const struct weir_model *model,
		 const struct weir_plan *plan, const bool *visited, uint64_t nr_parts)
{
	uint32_t last_group = 0;

	units->first = wr_calloc(nr_parts + 1, sizeof(*units->first));
	units->parts = wr_calloc(nr_parts, sizeof(*units->parts));
	units->wishes = wr_calloc(nr_parts, sizeof(*units->wishes));
	if (!units->first || !units->parts || !units->wishes)
		return -ENOMEM;
	for (uint32_t p = 0; p < weir_model_nr_tensors(model); p++)
		if (visited[p])
			add_tensor(units, plan, weir_model_at(model, p), &last_group);
	units->first[units->nr] = units->nr_parts;
	for (uint32_t i = 0; i < units->nr; i++)
		units->unit_bytes = wr_max(units->unit_bytes, wr_units_bytes(units, i));
	return 0;
}

static const char *build_error(int rc)
{
	switch (rc) {
	case -EINVAL:
		return "the plan visits no tensor; see the flags for the vision tower";
	case -EFBIG:
		return "the plan has more units than can be numbered; choose larger tiles";
	default:
		return "no memory for the list of units";
	}
}

int weir_units_open(const struct weir_model *model, const struct weir_plan *plan_arg,
		    struct weir_units **ret, struct weir_error *err)
{
	struct weir_units *units;
	struct weir_plan plan;
	uint64_t nr_parts = 0;
	bool *visited;
	int rc;

	rc = wr_plan_copy(&plan, plan_arg, err);
	if (rc)
		return rc;
	units = wr_calloc(1, sizeof(*units));
	visited = wr_calloc((size_t)weir_model_nr_tensors(model) + 1, sizeof(*visited));
	rc = units && visited ? 0 : -ENOMEM;
	if (!rc)
		rc = measure(model, &plan, visited, &units->plan_bytes, &nr_parts);
	if (!rc)
		rc = nr_parts ? build(units, model, &plan, visited, nr_parts) : -EINVAL;
	wr_free(visited);
	if (rc) {
		weir_units_close(units);
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "%s", build_error(rc));
	}
	*ret = units;
	return 0;
}

void weir_units_close(struct weir_units *units)
{
	if (!units)
		return;
	wr_free(units->first);
	wr_free(units->parts);
	wr_free(units->wishes);
	wr_free(units);
}

uint32_t weir_units_nr(const struct weir_units *units)
{
	return units->nr;
}

int weir_units_parts(const struct weir_units *units, uint32_t index, const struct weir_part **ret)
{
	if (index >= units->nr)
		return -EINVAL;
	*ret = &units->parts[units->first[index]];
	return (int)(units->first[index + 1] - units->first[index]);
}
