/* SPDX-License-Identifier: MIT */
/* A trace as one JSON object; see tracing.h and weir-trace(1). */
#include <inttypes.h>
#include <stdio.h>

#include "base/util.h"
#include "tracing.h"
#include "ui.h"

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

/* Of a lock with a name of its own among the program's variables. */
static json_t *symbol_json(const struct wr_tracing *t, uint64_t addr)
{
	struct weir_trace_symbol symbol;
	char text[WR_TRACING_NAME];

	if (weir_trace_symbol(t->symbols, addr, &symbol) != 0 || !symbol.name)
		return json_null();
	return wr_ui_json_text(wr_tracing_name(t, addr, text));
}

static json_t *comm_json(const char comm[static WEIR_COMM_BYTES])
{
	char text[WEIR_COMM_BYTES + 1];

	snprintf(text, sizeof(text), "%.*s", (int)WEIR_COMM_BYTES, comm);
	return wr_ui_json_text(text);
}

static json_t *sites_json(const struct wr_tracing *t, const struct wr_tracing_holder *sites,
			  size_t nr)
{
	json_t *list = json_array();

	for (size_t i = 0; i < nr; i++) {
		const struct wr_tracing_holder *h = &sites[i];

		json_array_append_new(
			list,
			json_pack("{s:o, s:i, s:o, s:o, s:o, s:o}", "addr",
				  wr_ui_json_u64(h->key.addr), "tid", (int)h->key.tid, "thread",
				  comm_json(h->site.comm), "times", wr_ui_json_u64(h->site.times),
				  "ns", wr_ui_json_u64(h->site.ns), "stack",
				  wr_tracing_stack_json(t, h->key.stack_id, h->key.caller)));
	}
	return list;
}

static json_t *holds_json(const struct wr_tracing *t)
{
	json_t *list = json_array();

	for (size_t i = 0; i < t->nr_holds; i++) {
		const struct weir_trace_hold *each = &t->holds[i];
		const struct weir_lock_holds *h = &each->holds;

		json_array_append_new(
			list,
			json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:o}", "addr",
				  wr_ui_json_u64(each->addr), "name",
				  each->name[0] ? wr_ui_json_text(each->name) : json_null(),
				  "samples", wr_ui_json_u64(h->samples), "contended",
				  wr_ui_json_u64(h->contended), "hold_ns",
				  wr_ui_json_u64(h->hold_ns), "wait_ns", wr_ui_json_u64(h->wait_ns),
				  "max_hold_ns", wr_ui_json_u64(h->max_hold_ns), "max_wait_ns",
				  wr_ui_json_u64(h->max_wait_ns), "last_holder",
				  (int)h->last_holder, "hold_log2_ns",
				  histogram_json(h->hold_log2_ns)));
	}
	return list;
}

static json_t *deeps_json(const struct wr_tracing *t)
{
	json_t *list = json_array();

	for (size_t i = 0; i < t->nr_deeps; i++) {
		const struct weir_trace_deep_lock *each = &t->deeps[i];
		const struct weir_lock_deep *d = &each->deep;

		json_array_append_new(
			list,
			json_pack(
				"{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:o, s:o}",
				"addr", wr_ui_json_u64(each->addr), "name",
				each->name[0] ? wr_ui_json_text(each->name) : json_null(), "symbol",
				symbol_json(t, each->addr), "takes", wr_ui_json_u64(d->takes),
				"holds", wr_ui_json_u64(d->holds), "wait_ns",
				wr_ui_json_u64(d->wait_ns), "hold_ns", wr_ui_json_u64(d->hold_ns),
				"max_wait_ns", wr_ui_json_u64(d->max_wait_ns), "max_hold_ns",
				wr_ui_json_u64(d->max_hold_ns), "unknown",
				wr_ui_json_u64(d->unknown), "last_holder", (int)d->last_holder,
				"wait_log2_ns", histogram_json(d->wait_log2_ns), "hold_log2_ns",
				histogram_json(d->hold_log2_ns)));
	}
	return list;
}

static json_t *caches_json(const struct wr_tracing *t)
{
	static const char *const words[] = {"none", "hit", "miss", "evict"};
	json_t *list = json_array();

	for (size_t i = 0; i < t->nr_caches; i++) {
		const struct wr_tracing_cache *c = &t->caches[i];

		json_array_append_new(list, json_pack("{s:i, s:i, s:s, s:o, s:o, s:o}", "tid",
						      (int)c->key.tid, "tier", (int)c->key.tier,
						      "event", words[c->key.event & 3], "samples",
						      wr_ui_json_u64(c->events.samples), "events",
						      wr_ui_json_u64(c->events.events), "bytes",
						      wr_ui_json_u64(c->events.bytes)));
	}
	return list;
}

static json_t *miss_sites_json(const struct wr_tracing *t)
{
	json_t *list = json_array();

	for (size_t i = 0; i < t->nr_miss_sites; i++) {
		const struct wr_tracing_miss_site *m = &t->miss_sites[i];

		json_array_append_new(list,
				      json_pack("{s:s, s:o, s:o, s:o}", "source",
						wr_tracing_miss_source((int)m->key.source),
						"samples", wr_ui_json_u64(m->miss.samples),
						"events", wr_ui_json_u64(m->miss.events), "stack",
						wr_tracing_stack_json(t, m->key.stack_id, 0)));
	}
	return list;
}

static json_t *lock_json(const struct wr_tracing *t, const struct weir_trace_lock *lock)
{
	const struct wr_tracing_holder *h = wr_tracing_worst(t, lock->addr);
	const struct weir_lock_waits *w = &lock->waits;
	json_t *holder = json_null();

	if (h) {
		holder = json_pack("{s:i, s:o, s:o, s:o}", "tid", (int)h->key.tid, "thread",
				   comm_json(h->site.comm), "wakes", wr_ui_json_u64(h->site.times),
				   "blamed_ns", wr_ui_json_u64(h->site.ns));
	}
	return json_pack("{s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
			 "addr", wr_ui_json_u64(lock->addr), "name",
			 lock->name[0] ? wr_ui_json_text(lock->name) : json_null(), "symbol",
			 symbol_json(t, lock->addr), "kind", wr_tracing_wait((int)w->kind), "waits",
			 wr_ui_json_u64(w->waits), "no_waker", wr_ui_json_u64(w->no_waker),
			 "wait_ns", wr_ui_json_u64(w->wait_ns), "held_ns",
			 wr_ui_json_u64(w->held_ns), "runq_ns", wr_ui_json_u64(w->runq_ns),
			 "max_wait_ns", wr_ui_json_u64(w->max_wait_ns), "max_held_ns",
			 wr_ui_json_u64(w->max_held_ns), "wait_log2_ns",
			 histogram_json(w->wait_log2_ns), "held_log2_ns",
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
	PUT(WEIR_TRACE_DEEP, deep_takes);
	PUT(WEIR_TRACE_DEEP, deep_wait_ns);
	PUT(WEIR_TRACE_DEEP, deep_holds);
	PUT(WEIR_TRACE_DEEP, deep_hold_ns);
	PUT(WEIR_TRACE_STAGES, stages);
#undef PUT
	return o;
}

json_t *wr_tracing_json(const struct weir_trace *trace, const struct wr_tracing *t)
{
	const char *name, *reason;
	json_t *locks = json_array(), *cpu;
	json_t *root;

	for (size_t i = 0; i < t->nr_locks; i++)
		json_array_append_new(locks, lock_json(t, &t->locks[i]));
	root = json_pack(
		"{s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "pid",
		(int)t->meta.tgid, "started_ns", wr_ui_json_u64(t->meta.started_ns), "ended_ns",
		t->meta.ended_ns ? wr_ui_json_u64(t->meta.ended_ns) : json_null(), "execs",
		wr_ui_json_u64(t->meta.nr_execs), "dropped", wr_ui_json_u64(t->meta.nr_dropped),
		"parts", parts_json(trace), "totals", totals_json(t), "locks", locks, "files",
		files_json(t), "io", ios_json(t), "misses", misses_json(t), "cpu_misses_available",
		json_boolean(t->meta.cpu_miss_available));
	cpu = weir_trace_part(trace, 4, &name, &reason) ? json_string(reason) : json_null();
	/* json_object_set_new() drops what cannot be kept: a NULL root is reported at the end. */
	json_object_set_new(root, "cpu_misses_reason", cpu);
	json_object_set_new(root, "holds", holds_json(t));
	json_object_set_new(root, "deep", deeps_json(t));
	json_object_set_new(root, "cache", caches_json(t));
	json_object_set_new(root, "waiters", sites_json(t, t->waiters, t->nr_waiters));
	json_object_set_new(root, "let_go", sites_json(t, t->let_go, t->nr_let_go));
	json_object_set_new(root, "miss_sites", miss_sites_json(t));
	return root;
}
