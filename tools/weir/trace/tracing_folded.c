/* SPDX-License-Identifier: MIT */
/*
 * Stacks for flame graphs: a line for each, from the thread's name to the innermost function, and
 * the nanoseconds or events that it stands for. What had no stack is a line of its thread alone.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "tracing.h"

/* A semicolon separates frames. */
static void put(const char *text, size_t size)
{
	for (size_t i = 0; i < size && text[i]; i++)
		putchar(text[i] == ';' ? ':' : text[i] < ' ' || text[i] > '~' ? '?' : text[i]);
}

static void put_line(const struct wr_tracing *t, const char *comm, int32_t stack_id,
		     uint64_t caller, const char *last, uint64_t number)
{
	uint64_t frames[WEIR_TRACE_FRAMES + 1];
	int nr = wr_tracing_frames(t, stack_id, caller, frames);
	char text[WR_TRACING_NAME];

	if (comm[0] == '\0')
		put("?", 1);
	put(comm, WEIR_COMM_BYTES);
	while (nr-- > 0) {
		putchar(';');
		put(wr_tracing_frame(t, frames, nr, text), WR_TRACING_NAME);
	}
	if (last) {
		putchar(';');
		put(last, WR_TRACING_NAME);
	}
	printf(" %" PRIu64 "\n", number);
}

static const char *lock_of(const struct wr_tracing *t, uint64_t addr,
			   char text[static WR_TRACING_NAME])
{
	const char *name = "";
	char lock[WR_TRACING_NAME];

	for (size_t i = 0; i < t->nr_locks; i++)
		if (t->locks[i].addr == addr)
			name = t->locks[i].name;
	snprintf(text, WR_TRACING_NAME, "[%.150s]", wr_tracing_lock(t, addr, name, lock));
	return text;
}

static void put_sites(const struct wr_tracing *t, const struct wr_tracing_holder *sites, size_t nr)
{
	char text[WR_TRACING_NAME];

	for (size_t i = 0; i < nr; i++)
		put_line(t, sites[i].site.comm, sites[i].key.stack_id, sites[i].key.caller,
			 lock_of(t, sites[i].key.addr, text), sites[i].site.ns);
}

static bool is_fault(enum weir_miss_source source)
{
	return source == WEIR_MISS_FAULT_MAJOR || source == WEIR_MISS_FAULT_MINOR;
}

static void put_misses(const struct wr_tracing *t, bool faults)
{
	for (size_t i = 0; i < t->nr_miss_sites; i++) {
		const struct wr_tracing_miss_site *m = &t->miss_sites[i];

		if (is_fault(m->key.source) == faults)
			put_line(t, m->miss.comm, m->key.stack_id, 0,
				 faults ? wr_tracing_miss_source((int)m->key.source) : NULL,
				 m->miss.events);
	}
}

static uint32_t part_of(enum wr_tracing_folded what)
{
	return what == WR_TRACING_FAULTS ? 3 : what == WR_TRACING_CPU_MISSES ? 4 : 0;
}

int wr_tracing_folded(const struct wr_tracing *t, enum wr_tracing_folded what,
		      struct weir_error *err)
{
	const char *name, *reason;
	int rc = weir_trace_part(t->trace, part_of(what), &name, &reason);

	/* No line would look like no misses. */
	if (rc)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "no %s to fold: %s", name,
				    reason);
	if (what == WR_TRACING_WAITS)
		put_sites(t, t->waiters, t->nr_waiters);
	else if (what == WR_TRACING_HOLDERS)
		put_sites(t, t->let_go, t->nr_let_go);
	else
		put_misses(t, what == WR_TRACING_FAULTS);
	return 0;
}
