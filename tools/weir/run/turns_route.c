/* SPDX-License-Identifier: MIT */
/* Which experts each token of a run uses: recorded, or generated. */
#include "turns_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/util.h"

uint32_t wr_turns_nr_experts(const struct weir_model *model, const struct weir_group *group)
{
	uint32_t most = 0;

	for (uint32_t p = group->first; p < group->first + group->nr; p++)
		most = wr_max(most, weir_tensor_experts(weir_model_at(model, p)));
	return most;
}

int wr_turns_is_mixture(const char *path, bool *ret, struct weir_error *err)
{
	struct weir_model *model;
	int rc = weir_model_open(path, &model, err);

	if (rc)
		return rc;
	*ret = false;
	for (uint32_t g = 0; g < weir_model_nr_groups(model); g++)
		*ret |= wr_turns_nr_experts(model, weir_model_group(model, g)) > 0;
	weir_model_close(model);
	return 0;
}

static int generate(const struct wr_turns *t, uint32_t nr_layers, uint32_t nr_experts,
		    struct wr_turns_routing *r, struct weir_error *err)
{
	struct wr_route_opts opts = {.nr_layers = nr_layers,
				     .nr_experts = nr_experts,
				     .nr_chosen = wr_min(t->nr_chosen, nr_experts),
				     .nr_turns = (uint32_t)strlen(t->pattern),
				     .nr_steps = t->arm.passes,
				     .seed = t->seed};
	int rc = wr_route_generate(&opts, &r->route);

	return rc ? wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
				 "a routing for %u layers of %u experts cannot be generated: %s",
				 nr_layers, nr_experts, weir_strerror(rc))
		  : 0;
}

/* A token begins where another step does, or where the layers begin anew. */
static int cut_into_tokens(struct wr_turns_routing *r, struct weir_error *err)
{
	const struct wr_route_visit *v = r->route.visits;

	r->tokens = calloc((size_t)r->route.nr_visits + 1, sizeof(*r->tokens));
	if (!r->tokens)
		return wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE,
				    "no memory for a routing");
	for (uint32_t i = 0; i < r->route.nr_visits; i++) {
		if (!i || v[i].step != v[i - 1].step || v[i].turn != v[i - 1].turn ||
		    v[i].layer <= v[i - 1].layer)
			r->tokens[r->nr_tokens++] = i;
	}
	r->tokens[r->nr_tokens] = r->route.nr_visits;
	return 0;
}

int wr_turns_routing_open(const struct wr_turns *t, uint32_t nr_layers, uint32_t nr_experts,
			  struct wr_turns_routing *ret, struct weir_error *err)
{
	struct wr_turns_routing r = {
		.nr_layers = nr_layers, .nr_experts = nr_experts, .random = t->seed};
	uint32_t chosen[WR_TURNS_MAX_CHOSEN];
	int rc;

	if (t->routing)
		rc = wr_route_open(t->routing, WR_ROUTE_DECODE, &r.route, err);
	else
		rc = generate(t, nr_layers, nr_experts, &r, err);
	if (!rc)
		rc = cut_into_tokens(&r, err);
	for (uint32_t token = 0; !rc && token < r.nr_tokens; token++)
		for (uint32_t layer = 0; layer < nr_layers; layer++)
			r.nr_chosen =
				wr_max(r.nr_chosen, wr_turns_chosen(&r, token, layer, chosen));
	if (!rc && !r.nr_chosen)
		rc = wr_error_set(err, -ENODATA, t->routing, WEIR_OFFSET_NONE,
				  "it names no layer that the model has");
	if (rc)
		wr_turns_routing_close(&r);
	else
		*ret = r;
	return rc;
}

void wr_turns_routing_close(struct wr_turns_routing *r)
{
	wr_route_close(&r->route);
	free(r->tokens);
	*r = (struct wr_turns_routing){0};
}

static bool is_among(const uint32_t *experts, uint32_t nr, uint32_t expert)
{
	for (uint32_t i = 0; i < nr; i++)
		if (experts[i] == expert)
			return true;
	return false;
}

uint32_t wr_turns_chosen(const struct wr_turns_routing *r, uint64_t token, uint32_t layer,
			 uint32_t *ret)
{
	uint32_t at = (uint32_t)(token % r->nr_tokens), nr = 0;

	for (uint32_t v = r->tokens[at]; v < r->tokens[at + 1]; v++) {
		const struct wr_route_visit *visit = &r->route.visits[v];

		if (visit->layer != layer)
			continue;
		for (uint32_t i = 0; i < visit->nr && nr < WR_TURNS_MAX_CHOSEN; i++) {
			uint32_t expert = r->route.experts[visit->first + i] % r->nr_experts;

			if (!is_among(ret, nr, expert))
				ret[nr++] = expert;
		}
	}
	return nr;
}

static uint32_t draw_below(struct wr_turns_routing *r, uint32_t n)
{
	return wr_random_below(wr_splitmix64(&r->random), n);
}

uint32_t wr_turns_foreseen(struct wr_turns_routing *r, uint64_t token, uint32_t layer,
			   uint32_t permille, uint32_t *ret)
{
	uint32_t chosen[WR_TURNS_MAX_CHOSEN];
	uint32_t nr = wr_turns_chosen(r, token, layer, chosen), nr_said = 0;

	for (uint32_t i = 0; i < nr; i++) {
		uint32_t expert = chosen[i];

		if (draw_below(r, 1000) >= permille)
			expert = draw_below(r, r->nr_experts);
		if (!is_among(ret, nr_said, expert))
			ret[nr_said++] = expert;
	}
	return nr_said;
}
