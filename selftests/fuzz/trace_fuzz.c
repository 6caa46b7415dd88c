/* SPDX-License-Identifier: MIT */
/* A recorded trace of any bytes, of any format, packed or not; what is accepted can be replayed. */
#include <stdint.h>

#include "fuzz/fuzz.h"
#include "replay.h"

/* What a run may hold: the input says how much it wants. */
#define MAX_REFS 20000

static void must_trace(const struct wr_trace *t)
{
	uint64_t object_bytes = 0, ref_bytes = 0;

	must(t->nr_refs > 0 && t->nr_refs <= MAX_REFS && t->nr_objects > 0);
	for (uint64_t i = 0; i < t->nr_objects; i++) {
		must(t->objects[i].bytes > 0 && t->objects[i].kind < WR_TRACE_CLASSES);
		object_bytes += t->objects[i].bytes;
	}
	for (uint64_t i = 0; i < t->nr_refs; i++) {
		must(t->refs[i] < t->nr_objects);
		ref_bytes += t->objects[t->refs[i]].bytes;
	}
	must(object_bytes == t->object_bytes && ref_bytes == t->ref_bytes);
}

static void must_replay(const struct wr_trace *t)
{
	const struct wr_replay_opts opts = {.capacity = t->object_bytes / 3 + 1};
	struct wr_replay_result opt, r;

	must(wr_replay_opt(t, &opts, &opt) == 0);
	must(wr_replay_run(t, "auto", &opts, &r) == 0);
	must(r.hits <= t->nr_refs && r.hit_bytes <= t->ref_bytes);
	must(!t->is_uniform || r.hits <= opt.hits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct weir_error err = {0};
	struct wr_trace t = {0};
	int code = wr_trace_open_mem("fuzz", data, size, 4096, MAX_REFS, &t, &err);

	if (code) {
		must(code < 0 && err.message[0] && !t.refs && !t.objects);
		return 0;
	}
	must_trace(&t);
	if (t.nr_refs < 2000)
		must_replay(&t);
	wr_trace_close(&t);
	return 0;
}
