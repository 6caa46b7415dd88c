/* SPDX-License-Identifier: MIT */
/*
 * One budget for what is always used and for what is sometimes.
 *
 * A byte of the attention that stays saves a byte of reading with every token; a byte of an expert
 * that stays saves one with each token that chooses it, which is less. So the attention stays as
 * far as the budget goes, but for what the experts of a layer need while they are used, and those
 * of the next while they are read.
 */
#include <weir/experts.h>

#include <errno.h>

#include "base/alloc.h"
#include "base/util.h"
#include "stream/layout.h"
#include "stream/units.h"

/* What reads begin before and end behind the bytes that are wanted, at most. */
#define READ_AROUND ((uint64_t)2 * 4096)

/* Of one expert, what it is and what is read for it. */
struct one {
	uint64_t bytes;
	uint64_t around;
};

static void add_part(struct one *one, uint64_t bytes)
{
	one->bytes += bytes;
	one->around += bytes + READ_AROUND;
}

/* Experts of one group: the largest, all, those of a token. */
static void add_group(const struct weir_model *model, const struct weir_group *group,
		      uint32_t nr_chosen, struct weir_experts_share *s)
{
	struct one stacked = {0}, single = {0}, most = {0};
	uint64_t all = 0;
	uint32_t nr = 0;
	int32_t last = -1;

	for (uint32_t p = group->first; p < group->first + group->nr; p++) {
		const struct weir_tensor *tensor = weir_model_at(model, p);

		if (!weir_tensor_experts(tensor))
			continue;
		all += tensor->bytes;
		nr = wr_max(nr, weir_tensor_experts(tensor));
		if (tensor->nr_slices > 1) {
			add_part(&stacked, tensor->bytes / tensor->nr_slices);
			continue;
		}
		if (tensor->expert != last)
			single = (struct one){0};
		last = tensor->expert;
		add_part(&single, tensor->bytes);
		most.bytes = wr_max(most.bytes, single.bytes);
		most.around = wr_max(most.around, single.around);
	}
	s->expert_bytes =
		wr_max(s->expert_bytes, wr_align_up(stacked.around + most.around, (uint64_t)4096));
	s->all_bytes += all;
	s->cycle_bytes += (stacked.bytes + most.bytes) * wr_min(nr_chosen, nr);
}

/* What the stream needs at least, and all it can use. */
static int measure_stream(const struct weir_units *units, uint64_t *ret_min, uint64_t *ret_all)
{
	uint64_t *bytes = wr_calloc(units->nr, sizeof(*bytes));
	bool *resident = wr_calloc(units->nr, sizeof(*resident));
	struct wr_layout layout = {0};
	int rc = bytes && resident ? 0 : -ENOMEM;

	*ret_all = 0;
	for (uint32_t i = 0; i < units->nr && !rc; i++) {
		uint64_t around = (units->first[i + 1] - units->first[i]) * READ_AROUND;

		bytes[i] = wr_align_up(wr_units_bytes(units, i) + around, (uint64_t)4096);
		*ret_all += bytes[i];
	}
	/* Twice: two slots, if all of it is to be read every time. */
	if (!rc)
		rc = wr_layout_choose(bytes, units->wishes, units->nr, 2 * *ret_all, resident,
				      &layout);
	*ret_min = layout.min_budget_bytes;
	wr_free(bytes);
	wr_free(resident);
	return rc;
}

static int divide(uint64_t budget, uint32_t nr_chosen, uint64_t stream_min, uint64_t stream_all,
		  struct weir_experts_share *s)
{
	uint64_t least = s->expert_bytes ? 2 * s->expert_bytes : 0;
	uint64_t good = s->expert_bytes * 2 * nr_chosen;
	uint64_t stream;

	s->min_bytes = stream_min + least;
	s->below_cycle = budget < s->cycle_bytes;
	if (budget < s->min_bytes)
		return -ENOSPC;
	stream = budget - wr_min(budget, good);
	stream = wr_max(wr_min(stream, stream_all), stream_min);
	stream = wr_min(stream, budget - least);
	if (!s->expert_bytes)
		stream = budget;
	s->stream_bytes = wr_align_down(stream, (uint64_t)4096);
	s->cache_bytes = s->expert_bytes ? wr_align_down(budget - stream, (uint64_t)4096) : 0;
	if (s->expert_bytes)
		s->nr_together =
			(uint32_t)wr_min((uint64_t)nr_chosen, s->cache_bytes / s->expert_bytes);
	return 0;
}

int weir_experts_share(const struct weir_model *model, const struct weir_plan *plan_arg,
		       uint64_t budget_bytes, uint32_t nr_chosen, struct weir_experts_share *ret,
		       struct weir_error *err)
{
	struct weir_experts_share s = {0};
	struct weir_units *units;
	struct weir_plan plan;
	uint64_t stream_min, stream_all;
	int rc = wr_plan_copy(&plan, plan_arg, err);

	if (rc)
		return rc;
	if (!nr_chosen)
		return wr_error_set(err, -EINVAL, NULL, WEIR_OFFSET_NONE,
				    "a token uses at least one expert of a layer");
	plan.flags |= WEIR_PLAN_NO_EXPERTS;
	rc = weir_units_open(model, &plan, &units, err);
	if (rc)
		return rc;
	s.dense_bytes = s.cycle_bytes = s.all_bytes = units->plan_bytes;
	rc = measure_stream(units, &stream_min, &stream_all);
	weir_units_close(units);
	if (rc)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
				    "no memory for dividing a budget");
	for (uint32_t g = 0; g < weir_model_nr_groups(model); g++)
		add_group(model, weir_model_group(model, g), nr_chosen, &s);
	rc = divide(budget_bytes, nr_chosen, stream_min, stream_all, &s);
	*ret = s;
	if (rc)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
				    "a budget of %llu bytes holds neither two units nor two "
				    "experts beside them; the smallest that does is %llu bytes",
				    (unsigned long long)budget_bytes,
				    (unsigned long long)s.min_bytes);
	return 0;
}
