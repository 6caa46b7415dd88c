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

/* Bytes of the first @refs references, about. */
static uint64_t part(const struct wr_trace *t, uint64_t refs)
{
	return (uint64_t)((double)t->ref_bytes * (double)refs / (double)t->nr_refs);
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
			wr_ui_progress_update(s->opts->progress, s->opts->done + part(s->t, i));
	}
	return 0;
}

/* Reads one after another, each as long as the device takes. */
static double read_seconds(const struct wr_trace *t, const struct wr_replay_opts *opts,
			   const struct wr_replay_result *r)
{
	double reads = (double)(t->nr_refs - r->hits);

	if (!opts->device_bps)
		return 0;
	return reads * (double)opts->latency_ns / 1e9 +
	       (double)(t->ref_bytes - r->hit_bytes) / (double)opts->device_bps;
}

static void finish(struct sim *s)
{
	struct wr_replay_result *r = &s->result;
	struct wr_policy_info info;

	wr_policy_info(s->policy, &info);
	r->policy = info.name;
	r->nr_changes = info.nr_changes;
	r->cycle_bytes = info.cycle_bytes;
	r->below_cycle = info.below_cycle;
	snprintf(r->chosen, sizeof(r->chosen), "%s", info.chosen);
	snprintf(r->reason, sizeof(r->reason), "%s", info.reason);
	r->seconds = read_seconds(s->t, s->opts, r);
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

double wr_replay_hits(const struct wr_trace *t, const struct wr_replay_result *r)
{
	return (double)r->hits / (double)t->nr_refs;
}

double wr_replay_hit_bytes(const struct wr_trace *t, const struct wr_replay_result *r)
{
	return (double)r->hit_bytes / (double)t->ref_bytes;
}

static int fill_point(struct wr_replay_table *table, struct wr_replay_point *point,
		      struct wr_replay_opts *opts)
{
	int rc;

	opts->capacity = point->capacity;
	rc = wr_replay_opt(table->trace, opts, &point->results[0]);
	if (!rc)
		point->results[0].seconds = read_seconds(table->trace, opts, &point->results[0]);
	opts->done += table->trace->ref_bytes;
	for (size_t i = 0; !rc && i < table->nr_policies; i++) {
		rc = wr_replay_run(table->trace, table->policies[i], opts, &point->results[i + 1]);
		opts->done += table->trace->ref_bytes;
	}
	return rc;
}

int wr_replay_fill(struct wr_replay_table *table, const struct wr_replay_opts *opts)
{
	struct wr_replay_opts each = *opts;
	int rc = 0;

	for (size_t i = 0; !rc && i < table->nr_points; i++)
		rc = fill_point(table, &table->points[i], &each);
	return rc;
}
