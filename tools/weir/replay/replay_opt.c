/* SPDX-License-Identifier: MIT */
/*
 * replay_opt.c - Belady's order over a recorded trace: a heap of what is resident by its next use.
 *
 * Passing through is allowed, as it is to every policy here, so with objects of one size this is
 * the most hits that any of them can have. With several sizes the latest next use still goes
 * first, whatever its size, which is an approximation: finding the best is NP-hard.
 */
#include "replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define NEVER  UINT32_MAX
#define ABSENT UINT32_MAX
#define STRIDE 16384

struct opt {
	const struct wr_trace *t;
	uint32_t *next;	 /* per reference: the next one of the same object */
	uint32_t *use;	 /* per object: its next reference */
	uint32_t *place; /* per object: where in the heap */
	uint32_t *heap;
	uint32_t nr;
	uint64_t bytes;
};

static void set(struct opt *o, uint32_t at, uint32_t object)
{
	o->heap[at] = object;
	o->place[object] = at;
}

static void up(struct opt *o, uint32_t at)
{
	uint32_t object = o->heap[at];

	while (at && o->use[o->heap[(at - 1) / 2]] < o->use[object]) {
		set(o, at, o->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	set(o, at, object);
}

static void down(struct opt *o, uint32_t at)
{
	uint32_t object = o->heap[at];

	for (;;) {
		uint32_t child = 2 * at + 1;

		if (child >= o->nr)
			break;
		if (child + 1 < o->nr && o->use[o->heap[child + 1]] > o->use[o->heap[child]])
			child++;
		if (o->use[o->heap[child]] <= o->use[object])
			break;
		set(o, at, o->heap[child]);
		at = child;
	}
	set(o, at, object);
}

static void drop(struct opt *o, uint32_t object)
{
	uint32_t at = o->place[object];
	uint32_t last = o->heap[--o->nr];

	o->place[object] = ABSENT;
	o->bytes -= o->t->objects[object].bytes;
	if (at == o->nr)
		return;
	set(o, at, last);
	up(o, at);
	down(o, o->place[last]);
}

static void miss(struct opt *o, uint32_t object, uint64_t capacity, struct wr_replay_result *ret)
{
	uint64_t bytes = o->t->objects[object].bytes;

	if (o->use[object] == NEVER || bytes > capacity) {
		ret->passed++;
		return;
	}
	while (o->bytes > capacity - bytes && o->use[o->heap[0]] > o->use[object]) {
		drop(o, o->heap[0]);
		ret->evictions++;
	}
	if (o->bytes > capacity - bytes) {
		ret->passed++;
		return;
	}
	o->heap[o->nr] = object;
	o->bytes += bytes;
	up(o, o->nr++);
}

static int run(struct opt *o, const struct wr_replay_opts *opts, struct wr_replay_result *ret)
{
	for (uint64_t i = 0; i < o->t->nr_refs; i++) {
		uint32_t object = o->t->refs[i];

		o->use[object] = o->next[i];
		if (o->place[object] == ABSENT) {
			miss(o, object, opts->capacity, ret);
		} else {
			ret->hits++;
			ret->hit_bytes += o->t->objects[object].bytes;
			if (o->next[i] == NEVER)
				drop(o, object);
			else
				up(o, o->place[object]);
		}
		if (i % STRIDE)
			continue;
		if (wr_ui_interrupted())
			return -EINTR;
		if (opts->progress)
			wr_ui_progress_update(
				opts->progress,
				opts->done + (uint64_t)((double)o->t->ref_bytes * (double)i /
							(double)o->t->nr_refs));
	}
	return 0;
}

/* From the end: where each object is used next. */
static void link_uses(struct opt *o)
{
	memset(o->use, 0xff, o->t->nr_objects * sizeof(*o->use));
	for (uint64_t i = o->t->nr_refs; i-- > 0;) {
		uint32_t object = o->t->refs[i];

		o->next[i] = o->use[object];
		o->use[object] = (uint32_t)i;
	}
}

int wr_replay_opt(const struct wr_trace *t, const struct wr_replay_opts *opts,
		  struct wr_replay_result *ret)
{
	struct opt o = {.t = t};
	struct wr_replay_result result = {.policy = "opt", .chosen = "opt"};
	int rc = -ENOMEM;

	_Static_assert(WR_TRACE_MAX_REFS < NEVER, "references have 32 bits");
	o.next = malloc(t->nr_refs * sizeof(*o.next));
	o.use = malloc(t->nr_objects * sizeof(*o.use));
	o.place = malloc(t->nr_objects * sizeof(*o.place));
	o.heap = malloc(t->nr_objects * sizeof(*o.heap));
	if (o.next && o.use && o.place && o.heap) {
		memset(o.place, 0xff, t->nr_objects * sizeof(*o.place));
		link_uses(&o);
		rc = run(&o, opts, &result);
	}
	if (!rc)
		*ret = result;
	free(o.next);
	free(o.use);
	free(o.place);
	free(o.heap);
	return rc;
}
