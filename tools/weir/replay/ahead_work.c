/* SPDX-License-Identifier: MIT */
/*
 * ahead_work.c - What a simulated host does, made of a routing, a trace, or two others.
 */
#include "ahead.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

void wr_ahead_work_close(struct wr_ahead_work *w)
{
	free(w->objects);
	free(w->refs);
	free(w->visits);
	*w = (struct wr_ahead_work){0};
}

static int take_room(struct wr_ahead_work *w)
{
	w->objects = calloc(w->nr_objects, sizeof(*w->objects));
	w->refs = calloc(w->nr_refs, sizeof(*w->refs));
	w->visits = calloc((size_t)w->nr_visits + 1, sizeof(*w->visits));
	if (w->objects && w->refs && w->visits)
		return 0;
	wr_ahead_work_close(w);
	return -ENOMEM;
}

static int count_used(struct wr_ahead_work *w)
{
	bool *used = calloc(w->nr_objects, sizeof(*used));

	if (!used)
		return -ENOMEM;
	for (uint32_t i = 0; i < w->nr_refs; i++) {
		if (used[w->refs[i]])
			continue;
		used[w->refs[i]] = true;
		w->nr_used++;
		w->used_bytes += w->objects[w->refs[i]].bytes;
	}
	free(used);
	return 0;
}

static int finish(struct wr_ahead_work *w, struct wr_ahead_work *ret)
{
	int rc = count_used(w);

	w->visits[w->nr_visits] = w->nr_refs;
	if (rc)
		wr_ahead_work_close(w);
	else
		*ret = *w;
	return rc;
}

int wr_ahead_from_route(const struct wr_route *r, struct wr_ahead_work *ret)
{
	struct wr_ahead_work w = {.nr_objects = r->nr_layers * r->nr_experts,
				  .nr_refs = r->nr_uses,
				  .nr_visits = r->nr_visits,
				  .nr_layers = r->nr_layers,
				  .nr_experts = r->nr_experts};
	int rc = take_room(&w);

	if (rc)
		return rc;
	for (uint32_t i = 0; i < w.nr_objects; i++) {
		uint32_t layer = i / r->nr_experts, expert = i % r->nr_experts;

		w.objects[i] = (struct wr_ahead_object){.key = {.hi = layer, .lo = expert},
							.bytes = r->layer_bytes[layer],
							.layer = layer,
							.expert = expert};
	}
	for (uint32_t v = 0; v < r->nr_visits; v++) {
		const struct wr_route_visit *visit = &r->visits[v];

		w.visits[v] = visit->first;
		for (uint32_t i = 0; i < visit->nr; i++)
			w.refs[visit->first + i] =
				visit->layer * r->nr_experts + r->experts[visit->first + i];
	}
	return finish(&w, ret);
}

int wr_ahead_from_trace(const struct wr_trace *t, uint32_t max, struct wr_ahead_work *ret)
{
	struct wr_ahead_work w = {.nr_objects = (uint32_t)t->nr_objects,
				  .nr_refs = (uint32_t)wr_min(t->nr_refs, (uint64_t)max)};
	int rc;

	w.nr_visits = w.nr_refs;
	rc = take_room(&w);
	if (rc)
		return rc;
	for (uint32_t i = 0; i < w.nr_objects; i++)
		w.objects[i] = (struct wr_ahead_object){.key = t->objects[i].key,
							.bytes = t->objects[i].bytes,
							.layer = WR_PREDICT_NONE,
							.expert = WR_PREDICT_NONE};
	for (uint32_t i = 0; i < w.nr_refs; i++) {
		w.refs[i] = t->refs[i];
		w.visits[i] = i;
	}
	return finish(&w, ret);
}

int wr_ahead_join(const struct wr_ahead_work *a, const struct wr_ahead_work *b,
		  struct wr_ahead_work *ret)
{
	struct wr_ahead_work w = {.nr_objects = a->nr_objects + b->nr_objects,
				  .nr_refs = a->nr_refs + b->nr_refs,
				  .nr_visits = a->nr_visits + b->nr_visits,
				  .nr_layers = a->nr_layers,
				  .nr_experts = a->nr_experts};
	int rc = take_room(&w);

	if (rc)
		return rc;
	memcpy(w.objects, a->objects, a->nr_objects * sizeof(*a->objects));
	memcpy(w.refs, a->refs, a->nr_refs * sizeof(*a->refs));
	memcpy(w.visits, a->visits, a->nr_visits * sizeof(*a->visits));
	for (uint32_t i = 0; i < b->nr_objects; i++) {
		w.objects[a->nr_objects + i] = b->objects[i];
		w.objects[a->nr_objects + i].key.hi ^= (uint64_t)1 << 63;
		w.objects[a->nr_objects + i].layer = WR_PREDICT_NONE;
		w.objects[a->nr_objects + i].expert = WR_PREDICT_NONE;
	}
	for (uint32_t i = 0; i < b->nr_refs; i++)
		w.refs[a->nr_refs + i] = a->nr_objects + b->refs[i];
	for (uint32_t i = 0; i < b->nr_visits; i++)
		w.visits[a->nr_visits + i] = a->nr_refs + b->visits[i];
	return finish(&w, ret);
}
