/* SPDX-License-Identifier: MIT */
/*
 * Trackers: a stack per thread of what it began. The stack belongs to the thread and not to a
 * registry; an element names its registry by generation, which is never used twice, so what a
 * thread left on the stack of a closed registry matches nothing.
 */
#include <weir/metrics_sample.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"
#include "metrics/registry.h"

/* The label is the name that the work was tracked under. */
#define TRACKER_METRICS(X)                                                                     \
	X(duration, SUMMARY, "weir_tracker_duration_ns", "ns", "Time of tracked work", "name") \
	X(memory, GAUGE, "weir_tracker_memory_delta_bytes", "bytes",                           \
	  "By how much resident memory grew over the latest tracked work", "name")

struct begun {
	uint64_t generation;
	uint64_t start_ns;
	uint64_t start_bytes;
	char name[WEIR_TRACKER_NAME_MAX + 1];
};

struct stack {
	uint32_t nr;
	struct begun begun[WEIR_TRACKERS_MAX];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool has_key;

static void free_stack(void *arg)
{
	struct stack *stack = arg;

	for (uint32_t i = 0; i < stack->nr; i++)
		wr_metrics_forget_tracker(stack->begun[i].generation);
	wr_free(stack);
}

static void make_key(void)
{
	has_key = pthread_key_create(&key, free_stack) == 0;
}

/* NULL without memory. */
static struct stack *own_stack(void)
{
	struct stack *stack;

	pthread_once(&once, make_key);
	if (!has_key)
		return NULL;
	stack = pthread_getspecific(key);
	if (stack != NULL)
		return stack;
	stack = wr_calloc(1, sizeof(*stack));
	if (stack != NULL && pthread_setspecific(key, stack) != 0) {
		wr_free(stack);
		return NULL;
	}
	return stack;
}

/* A thread that tracks nothing holds nothing; the main thread's keys are never cleaned up. */
static void drop_stack(struct stack *stack)
{
	pthread_setspecific(key, NULL);
	wr_free(stack);
}

/* Resident memory of the process; 0 where /proc does not say. */
static uint64_t resident_bytes(void)
{
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	char text[128];
	ssize_t nr;
	char *end;

	if (fd < 0)
		return 0;
	nr = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (nr <= 0)
		return 0;
	text[nr] = '\0';
	strtoull(text, &end, 10);
	return strtoull(end, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* What registries that are closed left behind makes room. */
static void forget_closed(struct stack *stack)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < stack->nr; i++) {
		if (wr_metrics_is_open(stack->begun[i].generation))
			stack->begun[kept++] = stack->begun[i];
	}
	stack->nr = kept;
}

int weir_tracker_begin(struct weir_metrics *metrics, const char *name)
{
	struct stack *stack;
	struct begun *begun;

	if (name == NULL || *name == '\0' || strlen(name) > WEIR_TRACKER_NAME_MAX ||
	    !wr_metrics_is_label_value(name))
		return -EINVAL;
	stack = own_stack();
	if (stack == NULL)
		return -ENOMEM;
	if (stack->nr == WEIR_TRACKERS_MAX)
		forget_closed(stack);
	if (stack->nr == WEIR_TRACKERS_MAX)
		return -ENOSPC;
	begun = &stack->begun[stack->nr++];
	begun->generation = metrics->generation;
	snprintf(begun->name, sizeof(begun->name), "%s", name);
	wr_fetch_add_relaxed(&metrics->nr_trackers, 1);
	begun->start_bytes = resident_bytes();
	begun->start_ns = metrics->now_ns();
	return 0;
}

/* Into the series of that name; what their limits refuse is counted there. */
static void count(struct weir_metrics *metrics, const char *name, const struct weir_tracked *t)
{
#define X(id, kind, name, unit, help, label) \
	static const struct weir_metric_desc id = {WEIR_METRIC_##kind, name, unit, help};
	TRACKER_METRICS(X)
#undef X
	static const char *const labels[] = {"name"};
	uint32_t family, id;

	if (weir_metrics_register_labels(metrics, &duration, labels, 1, 0, &family) == 0 &&
	    weir_metrics_series(metrics, family, &name, &id) == 0)
		weir_metrics_observe(metrics, id, t->duration_ns);
	if (weir_metrics_register_labels(metrics, &memory, labels, 1, 0, &family) == 0 &&
	    weir_metrics_series(metrics, family, &name, &id) == 0)
		weir_metrics_set(metrics, id, t->delta_bytes);
}

int weir_tracker_end(struct weir_metrics *metrics, const char *name, struct weir_tracked *ret)
{
	uint64_t now = metrics->now_ns();
	struct weir_tracked tracked;
	struct stack *stack;
	struct begun *begun;
	uint32_t at;

	pthread_once(&once, make_key);
	stack = has_key ? pthread_getspecific(key) : NULL;
	at = stack != NULL && name != NULL ? stack->nr : 0;

	while (at > 0 && (stack->begun[at - 1].generation != metrics->generation ||
			  strcmp(stack->begun[at - 1].name, name) != 0))
		at--;
	if (at == 0)
		return -ENOENT;
	begun = &stack->begun[at - 1];
	tracked.start_ns = begun->start_ns;
	tracked.duration_ns = now - begun->start_ns;
	tracked.start_bytes = begun->start_bytes;
	tracked.delta_bytes = (int64_t)(resident_bytes() - begun->start_bytes);
	memmove(begun, begun + 1, (stack->nr - at) * sizeof(*begun));
	if (--stack->nr == 0)
		drop_stack(stack);
	wr_fetch_add_relaxed(&metrics->nr_trackers, -1);
	count(metrics, name, &tracked);
	if (ret != NULL)
		*ret = tracked;
	return 0;
}
