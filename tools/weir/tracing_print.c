/* SPDX-License-Identifier: MIT */
/* A trace as tables and as JSON; see tracing.h. */
#include <inttypes.h>
#include <stdio.h>

#include "base/util.h"
#include "tracing.h"
#include "ui.h"

#define MAX_ROWS 20

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
	char text[WR_UI_TEXT];

	if (lock->name[0])
		wr_ui_table_cell(t, "%s", lock->name);
	else
		wr_ui_table_cell(t, "0x%" PRIx64, lock->addr);
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
		{"futex", WR_UI_LEFT},	  {"kind", WR_UI_LEFT},	 {"waits", WR_UI_RIGHT},
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
	print_files(t);
	print_io(t);
	print_misses(trace, t);
}

/* ---- JSON ---- */

static json_t *parts_json(const struct weir_trace *trace)
{
	json_t *list = json_array();
	const char *name, *reason;

	for (uint32_t i = 0; i < WEIR_TRACE_NR_PARTS; i++) {
		int rc = weir_trace_part(trace, i, &name, &reason);

		json_array_append_new(list, json_pack("{s:s, s:b, s:i, s:s}", "part", name, "on",
						      rc == 0, "errno", -rc, "reason", reason));
	}
	return list;
}

static json_t *histogram_json(const __u32 *counts)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < WEIR_LOCK_BUCKETS; i++)
		json_array_append_new(list, json_integer(counts[i]));
	return list;
}

static json_t *lock_json(const struct wr_tracing *t, const struct weir_trace_lock *lock)
{
	const struct wr_tracing_holder *h = wr_tracing_worst(t, lock->addr);
	const struct weir_lock_waits *w = &lock->waits;
	json_t *holder = json_null();

	if (h) {
		char comm[WEIR_COMM_BYTES + 1];

		snprintf(comm, sizeof(comm), "%.*s", (int)sizeof(h->site.comm), h->site.comm);
		holder = json_pack("{s:i, s:o, s:o, s:o}", "tid", (int)h->key.tid, "thread",
				   wr_ui_json_text(comm), "wakes", wr_ui_json_u64(h->site.times),
				   "blamed_ns", wr_ui_json_u64(h->site.ns));
	}
	return json_pack(
		"{s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "addr",
		wr_ui_json_u64(lock->addr), "name",
		lock->name[0] ? wr_ui_json_text(lock->name) : json_null(), "kind",
		wr_tracing_wait((int)w->kind), "waits", wr_ui_json_u64(w->waits), "no_waker",
		wr_ui_json_u64(w->no_waker), "wait_ns", wr_ui_json_u64(w->wait_ns), "held_ns",
		wr_ui_json_u64(w->held_ns), "runq_ns", wr_ui_json_u64(w->runq_ns), "max_wait_ns",
		wr_ui_json_u64(w->max_wait_ns), "max_held_ns", wr_ui_json_u64(w->max_held_ns),
		"wait_log2_ns", histogram_json(w->wait_log2_ns), "held_log2_ns",
		histogram_json(w->held_log2_ns), "holder", holder);
}

static json_t *files_json(const struct wr_tracing *t)
{
	json_t *list = json_array();

	for (size_t i = 0; i < t->nr_files; i++) {
		const struct wr_tracing_file *f = &t->files[i];

		json_array_append_new(list,
				      json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "dev",
						wr_ui_json_u64(f->key.dev), "ino",
						wr_ui_json_u64(f->key.ino), "lookup_pages",
						wr_ui_json_u64(f->file.lookup_pages), "miss_pages",
						wr_ui_json_u64(f->file.miss_pages), "map_pages",
						wr_ui_json_u64(f->file.map_pages), "faults",
						wr_ui_json_u64(f->file.faults)));
	}
	return list;
}

static json_t *ios_json(const struct wr_tracing *t)
{
	json_t *list = json_array();

	for (size_t i = 0; i < t->nr_ios; i++) {
		const struct wr_tracing_io *io = &t->ios[i];
		bool block = io->key.source == WEIR_IO_SOURCE_BLOCK;

		json_array_append_new(
			list, json_pack("{s:s, s:i, s:o, s:o, s:o, s:o, s:o}", "source",
					block ? "block" : "io_uring", "op", (int)io->key.op,
					"requests", wr_ui_json_u64(io->times.requests), "ns",
					wr_ui_json_u64(io->times.ns), "max_ns",
					wr_ui_json_u64(io->times.max_ns), "bytes",
					block ? wr_ui_json_u64(io->times.bytes) : json_null(),
					"log2_ns", histogram_json(io->times.log2_ns)));
	}
	return list;
}

static json_t *misses_json(const struct wr_tracing *t)
{
	json_t *list = json_array();

	for (size_t i = 0; i < t->nr_misses; i++) {
		const struct wr_tracing_miss *m = &t->misses[i];

		json_array_append_new(list, json_pack("{s:i, s:s, s:o, s:o}", "tid",
						      (int)m->key.tid, "source",
						      wr_tracing_miss_source((int)m->key.source),
						      "samples", wr_ui_json_u64(m->miss.samples),
						      "events", wr_ui_json_u64(m->miss.events)));
	}
	return list;
}

/* Only what a part that is on has counted: of the others there is no number. */
static json_t *totals_json(const struct wr_tracing *t)
{
	const struct weir_trace_totals *s = &t->totals;
	uint32_t on = t->meta.parts;
	json_t *o = json_object();

#define PUT(part, field) \
	json_object_set_new(o, #field, on &(part) ? wr_ui_json_u64(s->field) : json_null())
	PUT(WEIR_TRACE_LOCKS, lock_waits);
	PUT(WEIR_TRACE_LOCKS, maybe_waits);
	PUT(WEIR_TRACE_LOCKS, other_waits);
	PUT(WEIR_TRACE_LOCKS, lock_wait_ns);
	PUT(WEIR_TRACE_LOCKS, lock_held_ns);
	PUT(WEIR_TRACE_LOCKS, lock_runq_ns);
	PUT(WEIR_TRACE_LOCKS, other_wait_ns);
	PUT(WEIR_TRACE_PAGE_CACHE, lookup_pages);
	PUT(WEIR_TRACE_PAGE_CACHE, miss_pages);
	PUT(WEIR_TRACE_IO, io_requests);
	PUT(WEIR_TRACE_IO, io_ns);
	PUT(WEIR_TRACE_IO, block_requests);
	PUT(WEIR_TRACE_IO, block_ns);
	PUT(WEIR_TRACE_IO, block_bytes);
	PUT(WEIR_TRACE_FAULTS, minor_faults);
	PUT(WEIR_TRACE_FAULTS, major_faults);
	PUT(WEIR_TRACE_CPU_MISSES, cpu_misses);
#undef PUT
	return o;
}

json_t *wr_tracing_json(const struct weir_trace *trace, const struct wr_tracing *t)
{
	json_t *locks = json_array();

	for (size_t i = 0; i < t->nr_locks; i++)
		json_array_append_new(locks, lock_json(t, &t->locks[i]));
	return json_pack(
		"{s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "pid",
		(int)t->meta.tgid, "started_ns", wr_ui_json_u64(t->meta.started_ns), "ended_ns",
		t->meta.ended_ns ? wr_ui_json_u64(t->meta.ended_ns) : json_null(), "execs",
		wr_ui_json_u64(t->meta.nr_execs), "dropped", wr_ui_json_u64(t->meta.nr_dropped),
		"parts", parts_json(trace), "totals", totals_json(t), "locks", locks, "files",
		files_json(t), "io", ios_json(t), "misses", misses_json(t), "cpu_misses_available",
		json_boolean(t->meta.cpu_miss_available));
}
