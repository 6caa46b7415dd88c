/* SPDX-License-Identifier: MIT */
/* A trace as tables; see tracing.h. */
#include <inttypes.h>
#include <stdio.h>

#include "base/util.h"
#include "tracing.h"
#include "ui.h"

#define MAX_ROWS  20
#define MAX_SITES 10

static const char *time_text(char text[static WR_UI_TEXT], uint64_t ns)
{
	if (ns < 10000)
		snprintf(text, WR_UI_TEXT, "%" PRIu64 " ns", ns);
	else if (ns < 10000000)
		snprintf(text, WR_UI_TEXT, "%.1f us", (double)ns / 1e3);
	else if (ns < 10000000000)
		snprintf(text, WR_UI_TEXT, "%.1f ms", (double)ns / 1e6);
	else
		snprintf(text, WR_UI_TEXT, "%.1f s", (double)ns / 1e9);
	return text;
}

static uint64_t mean(uint64_t ns, uint64_t nr)
{
	return nr ? ns / nr : 0;
}

static void print_parts(const struct weir_trace *trace)
{
	static const struct wr_ui_column columns[] = {
		{"part", WR_UI_LEFT}, {"", WR_UI_LEFT}, {"", WR_UI_WRAP}};
	struct wr_ui_table *t = wr_ui_table_open(columns, 3);
	const char *name, *reason;

	for (uint32_t i = 0; i < WEIR_TRACE_NR_PARTS; i++) {
		int rc = weir_trace_part(trace, i, &name, &reason);

		wr_ui_table_cell(t, "%s", name);
		wr_ui_table_cell(t, "%s", rc ? "off" : "on");
		wr_ui_table_cell(t, "%s", reason);
	}
	(void)wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
}

static void lock_row(struct wr_ui_table *t, const struct wr_tracing *all,
		     const struct weir_trace_lock *lock)
{
	const struct wr_tracing_holder *h = wr_tracing_worst(all, lock->addr);
	const struct weir_lock_waits *w = &lock->waits;
	char text[WR_UI_TEXT], name[WR_TRACING_NAME];

	wr_ui_table_cell(t, "%s", wr_tracing_lock(all, lock->addr, lock->name, name));
	wr_ui_table_cell(t, "%s", wr_tracing_wait((int)w->kind));
	wr_ui_table_cell(t, "%" PRIu64, (uint64_t)w->waits);
	wr_ui_table_cell(t, "%s", time_text(text, w->wait_ns));
	wr_ui_table_cell(t, "%s", time_text(text, mean(w->held_ns, w->waits)));
	wr_ui_table_cell(t, "%s", time_text(text, mean(w->runq_ns, w->waits)));
	if (h)
		wr_ui_table_cell(t, "%.*s %" PRIu32, (int)sizeof(h->site.comm), h->site.comm,
				 h->key.tid);
	else
		wr_ui_table_cell(t, "-");
}

/* Conditions are not waits for a lock: a table of their own. */
static void print_locks(const struct wr_tracing *all, bool conditions)
{
	static const struct wr_ui_column columns[] = {
		{"lock", WR_UI_CUT},	  {"kind", WR_UI_LEFT},	 {"waits", WR_UI_RIGHT},
		{"waited", WR_UI_RIGHT},  {"held", WR_UI_RIGHT}, {"no CPU", WR_UI_RIGHT},
		{"let go by", WR_UI_LEFT}};
	struct wr_ui_table *t = wr_ui_table_open(columns, 7);
	size_t nr = 0;

	for (size_t i = 0; i < all->nr_locks; i++) {
		if ((all->locks[i].waits.kind == WEIR_WAIT_OTHER) != conditions)
			continue;
		if (nr++ < MAX_ROWS)
			lock_row(t, all, &all->locks[i]);
	}
	if (nr) {
		printf("\n%s\n", conditions
					 ? "Waits for conditions and semaphores (no lock is "
					   "held against them)"
					 : "Waits for locks; held and no CPU are means of a wait");
		(void)wr_ui_table_print(t, stdout);
	}
	if (nr > MAX_ROWS)
		printf("and %zu more: --json has all\n", nr - MAX_ROWS);
	wr_ui_table_close(t);
}

static void print_holds(const struct wr_tracing *all)
{
	static const struct wr_ui_column columns[] = {
		{"lock", WR_UI_CUT},   {"sampled", WR_UI_RIGHT}, {"waited", WR_UI_RIGHT},
		{"mean", WR_UI_RIGHT}, {"longest", WR_UI_RIGHT}, {"last held by", WR_UI_RIGHT}};
	struct wr_ui_table *t = wr_ui_table_open(columns, 6);
	char text[WR_UI_TEXT], name[WR_TRACING_NAME];

	for (size_t i = 0; i < wr_min(all->nr_holds, (size_t)MAX_ROWS); i++) {
		const struct weir_lock_holds *h = &all->holds[i].holds;

		wr_ui_table_cell(
			t, "%s",
			wr_tracing_lock(all, all->holds[i].addr, all->holds[i].name, name));
		wr_ui_table_cell(t, "%" PRIu64, (uint64_t)h->samples);
		wr_ui_table_cell(t, "%" PRIu64, (uint64_t)h->contended);
		wr_ui_table_cell(t, "%s",
				 time_text(text, mean(h->hold_ns, h->samples + h->contended)));
		wr_ui_table_cell(t, "%s", time_text(text, h->max_hold_ns));
		wr_ui_table_cell(t, "%" PRIu32, h->last_holder);
	}
	if (all->nr_holds) {
		printf("\nHolds of weir's locks: a sample of the free takes, all that waited\n");
		(void)wr_ui_table_print(t, stdout);
	}
	if (all->nr_holds > MAX_ROWS)
		printf("and %zu more: --json has all\n", all->nr_holds - MAX_ROWS);
	wr_ui_table_close(t);
}

static void print_deep(const struct wr_tracing *all)
{
	static const struct wr_ui_column columns[] = {
		{"lock", WR_UI_CUT},	    {"takes", WR_UI_RIGHT},   {"call", WR_UI_RIGHT},
		{"mean hold", WR_UI_RIGHT}, {"longest", WR_UI_RIGHT}, {"unknown", WR_UI_RIGHT}};
	struct wr_ui_table *t = wr_ui_table_open(columns, 6);
	char text[WR_UI_TEXT], name[WR_TRACING_NAME];

	for (size_t i = 0; i < wr_min(all->nr_deeps, (size_t)MAX_ROWS); i++) {
		const struct weir_lock_deep *d = &all->deeps[i].deep;

		wr_ui_table_cell(
			t, "%s",
			wr_tracing_lock(all, all->deeps[i].addr, all->deeps[i].name, name));
		wr_ui_table_cell(t, "%" PRIu64, (uint64_t)d->takes);
		wr_ui_table_cell(t, "%s", time_text(text, mean(d->wait_ns, d->takes)));
		wr_ui_table_cell(t, "%s", time_text(text, mean(d->hold_ns, d->holds)));
		wr_ui_table_cell(t, "%s", time_text(text, d->max_hold_ns));
		wr_ui_table_cell(t, "%" PRIu64, (uint64_t)d->unknown);
	}
	if (all->nr_deeps) {
		printf("\nAll mutexes, by breakpoints: the call that took them, what the "
		       "breakpoints\ncost included; holds; unlocks that no take was seen of\n");
		(void)wr_ui_table_print(t, stdout);
	}
	if (all->nr_deeps > MAX_ROWS)
		printf("and %zu more: --json has all\n", all->nr_deeps - MAX_ROWS);
	wr_ui_table_close(t);
}

/* The chain of calls, outermost last; what belongs to the C library's start of threads is left. */
static void stack_cell(struct wr_ui_table *t, const struct wr_tracing *all, int32_t stack_id,
		       uint64_t caller)
{
	uint64_t frames[WEIR_TRACE_FRAMES + 1];
	int nr = wr_tracing_frames(all, stack_id, caller, frames);
	char line[512] = "", name[WR_TRACING_NAME];
	size_t n = 0;

	for (int i = 0; i < nr && i < 8 && n < sizeof(line) - WR_TRACING_NAME - 4; i++) {
		wr_tracing_frame(all, frames, i, name);
		n += (size_t)snprintf(line + n, sizeof(line) - n, "%s%s", i ? " < " : "", name);
	}
	wr_ui_table_cell(t, "%s", n ? line : "-");
}

static void print_sites(const struct wr_tracing *all, const char *title, const char *verb,
			const struct wr_tracing_holder *sites, size_t nr)
{
	const struct wr_ui_column columns[] = {{"lock", WR_UI_CUT},
					       {"thread", WR_UI_LEFT},
					       {"times", WR_UI_RIGHT},
					       {verb, WR_UI_RIGHT},
					       {"where, innermost first", WR_UI_WRAP}};
	struct wr_ui_table *t = wr_ui_table_open(columns, 5);
	char text[WR_UI_TEXT], name[WR_TRACING_NAME];
	size_t shown = 0;

	for (size_t i = 0; i < nr && shown < MAX_SITES; i++) {
		const struct wr_tracing_holder *h = &sites[i];
		const char *own = "";

		if (h->key.stack_id < 0 && h->key.caller == 0)
			continue;
		for (size_t k = 0; k < all->nr_locks; k++)
			if (all->locks[k].addr == h->key.addr)
				own = all->locks[k].name;
		wr_ui_table_cell(t, "%s", wr_tracing_lock(all, h->key.addr, own, name));
		wr_ui_table_cell(t, "%.*s", (int)sizeof(h->site.comm), h->site.comm);
		wr_ui_table_cell(t, "%" PRIu64, (uint64_t)h->site.times);
		wr_ui_table_cell(t, "%s", time_text(text, h->site.ns));
		stack_cell(t, all, h->key.stack_id, h->key.caller);
		shown++;
	}
	if (shown) {
		printf("\n%s\n", title);
		(void)wr_ui_table_print(t, stdout);
	}
	wr_ui_table_close(t);
}

/* Our own cache's misses are not the CPU's: a table of its own. */
static void print_caches(const struct wr_tracing *all)
{
	static const char *const words[] = {"?", "hits", "misses", "evictions"};

	for (uint32_t event = WEIR_CACHE_EVENT_HIT; event <= WEIR_CACHE_EVENT_EVICT; event++) {
		uint64_t events = 0, bytes = 0;
		char text[WR_UI_TEXT];

		for (size_t i = 0; i < all->nr_caches; i++) {
			if (all->caches[i].key.event != event)
				continue;
			events += all->caches[i].events.events;
			bytes += all->caches[i].events.bytes;
		}
		if (events)
			printf("weir's caches: %" PRIu64 " %s of %s\n", events, words[event],
			       wr_ui_bytes(text, bytes));
	}
}

static void print_files(const struct wr_tracing *all)
{
	static const struct wr_ui_column columns[] = {{"device", WR_UI_LEFT},
						      {"inode", WR_UI_RIGHT},
						      {"pages looked up", WR_UI_RIGHT},
						      {"missing", WR_UI_RIGHT},
						      {"mapped", WR_UI_RIGHT}};
	struct wr_ui_table *t = wr_ui_table_open(columns, 5);

	for (size_t i = 0; i < wr_min(all->nr_files, (size_t)MAX_ROWS); i++) {
		const struct wr_tracing_file *f = &all->files[i];

		wr_ui_table_cell(t, "%" PRIu32 ":%" PRIu32, f->key.dev >> 20, f->key.dev & 0xfffff);
		wr_ui_table_cell(t, "%" PRIu64, (uint64_t)f->key.ino);
		wr_ui_table_cell(t, "%" PRIu64, (uint64_t)f->file.lookup_pages);
		wr_ui_table_cell(t, "%" PRIu64, (uint64_t)f->file.miss_pages);
		wr_ui_table_cell(t, "%" PRIu64, (uint64_t)f->file.map_pages);
	}
	if (all->nr_files) {
		printf("\nPage cache, by file (reads with O_DIRECT pass it by)\n");
		(void)wr_ui_table_print(t, stdout);
	}
	wr_ui_table_close(t);
}

static void print_io(const struct wr_tracing *all)
{
	static const struct wr_ui_column columns[] = {
		{"I/O", WR_UI_LEFT},   {"operation", WR_UI_RIGHT}, {"requests", WR_UI_RIGHT},
		{"mean", WR_UI_RIGHT}, {"longest", WR_UI_RIGHT},   {"size", WR_UI_RIGHT}};
	struct wr_ui_table *t = wr_ui_table_open(columns, 6);
	char text[WR_UI_TEXT];

	for (size_t i = 0; i < all->nr_ios; i++) {
		const struct wr_tracing_io *io = &all->ios[i];
		bool block = io->key.source == WEIR_IO_SOURCE_BLOCK;

		wr_ui_table_cell(t, "%s", block ? "block device" : "io_uring");
		if (block && io->key.op < 2)
			wr_ui_table_cell(t, "%s", io->key.op ? "write" : "read");
		else
			wr_ui_table_cell(t, "%" PRIu32, io->key.op);
		wr_ui_table_cell(t, "%" PRIu64, (uint64_t)io->times.requests);
		wr_ui_table_cell(t, "%s", time_text(text, mean(io->times.ns, io->times.requests)));
		wr_ui_table_cell(t, "%s", time_text(text, io->times.max_ns));
		wr_ui_table_cell(t, "%s", block ? wr_ui_bytes(text, io->times.bytes) : "-");
	}
	if (all->nr_ios) {
		printf("\nI/O\n");
		(void)wr_ui_table_print(t, stdout);
	}
	wr_ui_table_close(t);
}

static void print_misses(const struct weir_trace *trace, const struct wr_tracing *all)
{
	const struct weir_trace_totals *s = &all->totals;
	const char *name, *reason;
	uint32_t on = all->meta.parts;

	printf("\n");
	if (on & WEIR_TRACE_FAULTS)
		printf("Page faults: %" PRIu64 " major, about %" PRIu64 " minor\n",
		       (uint64_t)s->major_faults, (uint64_t)s->minor_faults);
	if (on & WEIR_TRACE_CPU_MISSES)
		printf("CPU cache misses (%s): about %" PRIu64 "\n",
		       wr_tracing_miss_source((int)all->meta.cpu_miss_source),
		       (uint64_t)s->cpu_misses);
	else if (weir_trace_part(trace, 4, &name, &reason) != 0)
		printf("CPU cache misses: %s\n", reason);
	print_caches(all);
	if (all->meta.modules_errno)
		printf("Names of functions: none, the process's maps cannot be read: %s\n",
		       weir_strerror(-(int)all->meta.modules_errno));
	if (all->meta.nr_dropped)
		printf("%" PRIu64 " records found no room in their map\n",
		       (uint64_t)all->meta.nr_dropped);
	if (all->meta.nr_execs)
		printf("The process has run another program since: addresses may mean two "
		       "things\n");
	if (all->meta.ended_ns)
		printf("The process has ended.\n");
}

void wr_tracing_print(const struct weir_trace *trace, const struct wr_tracing *t)
{
	uint64_t end = t->meta.ended_ns ? t->meta.ended_ns : wr_now_ns();
	char text[WR_UI_TEXT];

	printf("process %" PRIu32 ", traced for %s\n\n", t->meta.tgid,
	       time_text(text, end - t->meta.started_ns));
	print_parts(trace);
	print_locks(t, false);
	print_locks(t, true);
	print_holds(t);
	print_deep(t);
	print_sites(t, "Where waits were longest", "waited", t->waiters, t->nr_waiters);
	print_sites(t, "Where locks were let go that others waited for", "they waited", t->let_go,
		    t->nr_let_go);
	print_files(t);
	print_io(t);
	print_misses(trace, t);
}
