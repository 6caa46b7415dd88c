/* SPDX-License-Identifier: MIT */
/*
 * replay_sim.c - A cache without bytes: a node per object of the trace, and a policy.
 */
#include "replay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "policy/policy.h"

/* References between two looks at ^C and the progress line. */
#define STRIDE 16384

struct object {
	struct wr_policy_node node;
	uint64_t last;	   /* clock of the last use, 0 for none */
	uint64_t interval; /* between the last two, 0 for none */
	bool is_resident;
};

struct sim {
	const struct wr_trace *t;
	const struct wr_replay_opts *opts;
	struct wr_policy *policy;
	struct object *objects;
	bool forecasts;
	struct wr_replay_result result;
};

/* After as long as the last two times, if these were alike. */
static uint64_t expected(struct object *o, uint64_t now)
{
	uint64_t before = o->interval;
	uint64_t latest = o->last ? now - o->last : 0;
	uint64_t differ = latest > before ? latest - before : before - latest;

	o->last = now;
	o->interval = latest;
	return before && differ <= before / 8 ? now + latest : WR_POLICY_UNKNOWN;
}

static void keep(struct sim *s, struct object *o)
{
	struct wr_policy *p = s->policy;

	while (wr_policy_bytes(p) > s->opts->capacity - o->node.bytes) {
		struct wr_policy_node *victim = wr_policy_victim(p, NULL, NULL);

		wr_policy_remove(p, victim, true);
		wr_container_of(victim, struct object, node)->is_resident = false;
		s->result.evictions++;
	}
	wr_policy_insert(p, &o->node);
	o->is_resident = true;
}

static void reference(struct sim *s, struct object *o)
{
	uint64_t now = wr_policy_clock(s->policy) + 1;
	uint64_t next_use = s->forecasts ? expected(o, now) : WR_POLICY_UNKNOWN;

	if (o->is_resident) {
		s->result.hits++;
		s->result.hit_bytes += o->node.bytes;
		wr_policy_hit(s->policy, &o->node);
		if (next_use != WR_POLICY_UNKNOWN)
			wr_policy_forecast(s->policy, &o->node, next_use);
	} else {
		wr_policy_miss(s->policy, o->node.key, o->node.bytes);
		o->node.next_use = next_use;
		if (wr_policy_admit(s->policy, o->node.key, o->node.bytes, next_use))
			keep(s, o);
		else
			s->result.passed++;
	}
}

static int run(struct sim *s)
{
	for (uint64_t i = 0; i < s->t->nr_refs; i++) {
		reference(s, &s->objects[s->t->refs[i]]);
		if (i % STRIDE)
			continue;
		if (wr_ui_interrupted())
			return -EINTR;
		if (s->opts->progress)
			wr_ui_progress_update(s->opts->progress, s->opts->done + i);
	}
	return 0;
}

static void finish(struct sim *s)
{
	struct wr_replay_result *r = &s->result;
	struct wr_policy_info info;

	wr_policy_info(s->policy, &info);
	r->nr_changes = info.nr_changes;
	r->cycle_bytes = info.cycle_bytes;
	r->below_cycle = info.below_cycle;
	snprintf(r->chosen, sizeof(r->chosen), "%s", info.chosen);
	snprintf(r->reason, sizeof(r->reason), "%s", info.reason);
}

int wr_replay_run(const struct wr_trace *t, const char *policy, const struct wr_replay_opts *opts,
		  struct wr_replay_result *ret)
{
	uint64_t fit = opts->capacity / wr_max(t->object_bytes / t->nr_objects, (uint64_t)1) + 1;
	const struct wr_policy_opts how = {.capacity_bytes = opts->capacity,
					   .nr_entries = wr_min(fit, t->nr_objects),
					   .seed = opts->seed,
					   .by_bytes = opts->by_bytes};
	struct sim s = {.t = t, .opts = opts, .forecasts = !strcmp(policy, "forecast")};
	int rc = wr_policy_open(policy, &how, &s.policy);

	if (rc)
		return rc;
	s.objects = calloc(t->nr_objects, sizeof(*s.objects));
	if (!s.objects) {
		wr_policy_close(s.policy);
		return -ENOMEM;
	}
	for (uint64_t i = 0; i < t->nr_objects; i++) {
		s.objects[i].node.key = t->objects[i].key;
		s.objects[i].node.bytes = t->objects[i].bytes;
	}
	rc = run(&s);
	if (!rc) {
		finish(&s);
		*ret = s.result;
	}
	wr_policy_close(s.policy);
	free(s.objects);
	return rc;
}
