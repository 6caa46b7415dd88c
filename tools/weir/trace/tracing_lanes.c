/* SPDX-License-Identifier: MIT */
/*
 * Events of a trace in the format of Chrome's tracing ("Trace Event Format"), which Perfetto reads:
 * the threads of the process with their waits, its I/O, the stages of a weir host, and a lane for
 * each lock with who kept it while somebody waited. Slices of a lane never overlap: a stage that
 * runs several times at once has as many lanes. I/O is written as pairs of begin and end with a
 * number.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "tracing.h"

/* What runs at once beyond so many lanes of a stage is left out. */
#define STAGE_LANES 64u

struct lanes {
	FILE *f;
	bool comma;
	const struct wr_tracing *t;
	struct weir_trace_event *events; /* in the order of their beginning */
	size_t nr_events;
};

static int keep(void *arg, const struct weir_trace_event *e)
{
	struct lanes *l = arg;

	if (l->nr_events < WEIR_TRACE_EVENTS)
		l->events[l->nr_events++] = *e;
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct weir_trace_event *x = a, *y = b;

	return x->start_ns < y->start_ns ? -1 : x->start_ns > y->start_ns;
}

/* Names are bytes of the process's choosing. */
static void put_text(FILE *f, const char *text, size_t size)
{
	fputc('"', f);
	for (size_t i = 0; i < size && text[i] != '\0'; i++)
		fputc(text[i] < ' ' || text[i] > '~' || text[i] == '"' || text[i] == '\\' ? '?'
											  : text[i],
		      f);
	fputc('"', f);
}

static void next(struct lanes *l)
{
	fputs(l->comma ? ",\n" : "", l->f);
	l->comma = true;
}

/* The lanes of locks, of I/O and of stages are three more processes, beside the one that is traced. */
static uint32_t locks_pid(const struct lanes *l)
{
	return l->t->meta.tgid + 0x40000000u;
}

static uint32_t io_pid(const struct lanes *l)
{
	return l->t->meta.tgid + 0x20000000u;
}

static uint32_t stages_pid(const struct lanes *l)
{
	return l->t->meta.tgid + 0x60000000u;
}

static void name_lane(struct lanes *l, const char *what, uint32_t pid, uint32_t tid,
		      const char *name, size_t size)
{
	next(l);
	fprintf(l->f,
		"{\"ph\":\"M\",\"name\":\"%s\",\"pid\":%" PRIu32 ",\"tid\":%" PRIu32
		",\"args\":{\"name\":",
		what, pid, tid);
	put_text(l->f, name, size);
	fputs("}}", l->f);
}

static bool is_io(const struct weir_trace_event *e)
{
	return e->kind == WEIR_EVENT_IO_URING || e->kind == WEIR_EVENT_BLOCK_IO;
}

static bool is_wait(const struct weir_trace_event *e)
{
	return e->kind >= WEIR_EVENT_LOCK_WAIT && e->kind <= WEIR_EVENT_OTHER_WAIT;
}

/* A thread is named by its last event: it may have changed its name. */
static void name_threads(struct lanes *l)
{
	for (size_t i = 0; i < l->nr_events; i++) {
		const struct weir_trace_event *e = &l->events[i];
		bool is_last = true;

		for (size_t k = i + 1; is_last && k < l->nr_events; k++)
			is_last = l->events[k].tid != e->tid;
		if (is_last)
			name_lane(l, "thread_name", l->t->meta.tgid, e->tid, e->comm,
				  sizeof(e->comm));
	}
}

static void put_io(struct lanes *l, const struct weir_trace_event *e)
{
	const char *name = e->kind == WEIR_EVENT_IO_URING ? "io_uring" : "block";

	for (int end = 0; end < 2; end++) {
		next(l);
		fprintf(l->f,
			"{\"ph\":\"%c\",\"cat\":\"io\",\"name\":\"%s op %" PRIu32
			"\",\"id\":%" PRIu64 ",\"pid\":%" PRIu32 ",\"tid\":%" PRIu32
			",\"ts\":%.3f}",
			end ? 'e' : 'b', name, e->other, (uint64_t)e->seq, io_pid(l), e->tid,
			(double)(end ? e->end_ns : e->start_ns) / 1e3);
	}
}

static const char *lock_name(const struct lanes *l, uint64_t addr,
			     char text[static WR_TRACING_NAME])
{
	const char *name = "";

	for (size_t i = 0; i < l->t->nr_locks; i++)
		if (l->t->locks[i].addr == addr)
			name = l->t->locks[i].name;
	return wr_tracing_lock(l->t, addr, name, text);
}

static void put_wait(struct lanes *l, const struct weir_trace_event *e)
{
	char text[WR_TRACING_NAME];

	next(l);
	fprintf(l->f,
		"{\"ph\":\"X\",\"cat\":\"wait\",\"name\":\"%s\",\"pid\":%" PRIu32
		",\"tid\":%" PRIu32 ",\"ts\":%.3f,\"dur\":%.3f,\"args\":{\"futex\":\"0x%" PRIx64
		"\",\"woken_by\":%" PRIu32 ",\"held_us\":%.3f,\"cpu_wait_us\":%.3f,\"lock\":",
		wr_tracing_wait((int)e->kind), l->t->meta.tgid, e->tid, (double)e->start_ns / 1e3,
		(double)(e->end_ns - e->start_ns) / 1e3, (uint64_t)e->addr, e->other,
		(double)(e->woken_ns - e->start_ns) / 1e3, (double)(e->end_ns - e->woken_ns) / 1e3);
	put_text(l->f, lock_name(l, e->addr, text), WR_TRACING_NAME);
	fputs("}}", l->f);
}

/* Several may wait at once: each slice begins where the one before it ends. */
static void put_lock(struct lanes *l, uint64_t addr, uint32_t lane)
{
	char text[WR_TRACING_NAME];
	uint64_t end = 0;

	name_lane(l, "thread_name", locks_pid(l), lane, lock_name(l, addr, text), WR_TRACING_NAME);
	for (size_t i = 0; i < l->nr_events; i++) {
		const struct weir_trace_event *e = &l->events[i];
		uint64_t begin = wr_max((uint64_t)e->start_ns, end);

		if (e->addr != addr || !is_wait(e) || e->kind == WEIR_EVENT_OTHER_WAIT ||
		    e->woken_ns <= begin)
			continue;
		next(l);
		fprintf(l->f,
			"{\"ph\":\"X\",\"cat\":\"lock\",\"name\":\"kept by %" PRIu32
			"\",\"pid\":%" PRIu32 ",\"tid\":%" PRIu32
			",\"ts\":%.3f,\"dur\":%.3f,\"args\":{\"waiting\":%" PRIu32 "}}",
			e->other, locks_pid(l), lane, (double)begin / 1e3,
			(double)(e->woken_ns - begin) / 1e3, e->tid);
		end = e->woken_ns;
	}
}

static bool has_events(const struct lanes *l, uint64_t addr)
{
	for (size_t i = 0; i < l->nr_events; i++)
		if (l->events[i].addr == addr && is_wait(&l->events[i]))
			return true;
	return false;
}

/* Each slice goes to the first lane of its stage that is free when it begins. */
static void put_stage(struct lanes *l, enum weir_event_kind kind, uint32_t first, const char *name)
{
	uint64_t ends[STAGE_LANES] = {0};

	for (size_t i = 0; i < l->nr_events; i++) {
		const struct weir_trace_event *e = &l->events[i];
		uint32_t lane = 0;

		if (e->kind != kind)
			continue;
		while (lane < STAGE_LANES && ends[lane] > e->start_ns)
			lane++;
		if (lane == STAGE_LANES)
			continue;
		if (ends[lane] == 0)
			name_lane(l, "thread_name", stages_pid(l), first + lane, name, SIZE_MAX);
		ends[lane] = e->end_ns;
		next(l);
		fprintf(l->f,
			"{\"ph\":\"X\",\"cat\":\"stage\",\"name\":\"%s %" PRIu64
			"\",\"pid\":%" PRIu32 ",\"tid\":%" PRIu32
			",\"ts\":%.3f,\"dur\":%.3f,\"args\":{\"thread\":%" PRIu32 "}}",
			name, (uint64_t)e->addr, stages_pid(l), first + lane,
			(double)e->start_ns / 1e3, (double)(e->end_ns - e->start_ns) / 1e3, e->tid);
	}
}

static void put_stages(struct lanes *l)
{
	static const char *const names[] = {"read", "wait", "compute", "fetch"};
	uint32_t nr = wr_array_size(names);

	for (uint32_t i = 0; i < nr; i++)
		put_stage(l, (enum weir_event_kind)(WEIR_EVENT_STAGE_READ + i), 1 + i * STAGE_LANES,
			  names[i]);
}

static void put_all(struct lanes *l)
{
	uint32_t lane = 0;

	name_lane(l, "process_name", l->t->meta.tgid, 0, "threads", SIZE_MAX);
	name_lane(l, "process_name", io_pid(l), 0, "I/O", SIZE_MAX);
	name_lane(l, "process_name", locks_pid(l), 0, "locks", SIZE_MAX);
	name_lane(l, "process_name", stages_pid(l), 0, "stages", SIZE_MAX);
	name_threads(l);
	put_stages(l);
	for (size_t i = 0; i < l->nr_events; i++) {
		if (is_io(&l->events[i]))
			put_io(l, &l->events[i]);
		else if (is_wait(&l->events[i]))
			put_wait(l, &l->events[i]);
	}
	for (size_t i = 0; i < l->t->nr_locks; i++)
		if (l->t->locks[i].waits.kind != WEIR_WAIT_OTHER &&
		    has_events(l, l->t->locks[i].addr))
			put_lock(l, l->t->locks[i].addr, ++lane);
}

static void put_file(struct lanes *l)
{
	uint64_t nr = l->t->totals.events;
	const char *name, *reason;

	fprintf(l->f,
		"{\"displayTimeUnit\":\"ms\",\"otherData\":{\"pid\":%" PRIu32
		",\"events_lost\":%" PRIu64 ",\"cpu_cache_misses\":",
		l->t->meta.tgid, nr > WEIR_TRACE_EVENTS ? nr - WEIR_TRACE_EVENTS : (uint64_t)0);
	if (weir_trace_part(l->t->trace, 4, &name, &reason) == 0)
		fprintf(l->f, "%" PRIu64, (uint64_t)l->t->totals.cpu_misses);
	else
		put_text(l->f, reason, SIZE_MAX);
	fputs("},\"traceEvents\":[\n", l->f);
	put_all(l);
	fputs("\n]}\n", l->f);
}

int wr_tracing_perfetto(struct weir_trace *trace, const struct wr_tracing *t, const char *path,
			struct weir_error *err)
{
	struct lanes lanes = {.t = t};
	int rc;

	lanes.events = calloc(WEIR_TRACE_EVENTS, sizeof(*lanes.events));
	if (!lanes.events)
		return wr_error_set(err, -ENOMEM, path, WEIR_OFFSET_NONE, "no memory");
	rc = weir_trace_each_event(trace, keep, &lanes);
	qsort(lanes.events, lanes.nr_events, sizeof(*lanes.events), by_start);
	lanes.f = rc ? NULL : fopen(path, "we");
	if (!rc && !lanes.f)
		rc = -errno;
	if (!rc) {
		put_file(&lanes);
		rc = ferror(lanes.f) ? -EIO : 0;
	}
	if (lanes.f && fclose(lanes.f) != 0 && !rc)
		rc = -errno;
	free(lanes.events);
	return rc ? wr_error_set(err, rc, path, WEIR_OFFSET_NONE, "cannot write: %s",
				 weir_strerror(rc))
		  : 0;
}
