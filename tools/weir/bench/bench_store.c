/* SPDX-License-Identifier: MIT */
/*
 * weir bench store - the store of owned blocks against fio on the same disk.
 *
 * One file of blocks, filled through the store with so many puts under way, then read back with as
 * many gets. fio reads that very file with the same block size and depth, and writes one of its
 * own, allocated before it starts as a segment is. All of it goes past the page cache.
 */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "bench.h"
#include "tier/store.h"
#include "ui.h"

#define DATA_BYTES    ((size_t)256 << 20)
#define SEGMENT_BYTES ((uint64_t)512 << 20)
#define MAX_DEPTH     32u
#define HUGE_BYTES    ((size_t)2 << 20)

static const struct cell_kind {
	const char *name;
	size_t block;
	uint32_t depth;
} kinds[] = {
	{"64 KiB, 8 at a time", 64 << 10, 8},
	{"64 KiB, 32 at a time", 64 << 10, 32},
	{"1 MiB, 8 at a time", 1 << 20, 8},
	{"1 MiB, 32 at a time", 1 << 20, 32},
};

struct cell {
	struct wr_bench_series get, fio_read, read_ratio; /* GB/s, GB/s, per round */
	struct wr_bench_series put, fio_write, write_ratio;
};

struct bench {
	char dir[4000], segment[4096], fio_file[4096];
	char *mem;
	size_t mem_bytes;
	struct weir_io *io;
	struct wr_store *store;
	const struct cell_kind *kind;
	struct cell cells[sizeof(kinds) / sizeof(kinds[0])];
	struct wr_bench_spill spill;
	char fio[32], no_fio[128], page_reason[128];
};

/* ---- puts and gets, so many at a time ---------------------------------------------------------- */

struct run;

struct slot {
	struct run *run;
	char *mem;
};

struct run {
	struct bench *b;
	bool put;
	uint32_t nr_blocks;
	_Atomic uint32_t next, nr_ended;
	_Atomic int code;
	sem_t done;
	struct slot slots[MAX_DEPTH];
};

static struct weir_key key_of(uint32_t i)
{
	return (struct weir_key){.hi = (i + 1) * 0x9e3779b97f4a7c15ull, .lo = i};
}

static void next_block(struct slot *slot);

static void ended(void *arg, int result)
{
	struct slot *slot = arg;
	struct run *r = slot->run;

	if (result)
		atomic_store(&r->code, result);
	if (atomic_fetch_add(&r->nr_ended, 1) + 1 == r->nr_blocks)
		sem_post(&r->done);
	else
		next_block(slot);
}

static void next_block(struct slot *slot)
{
	struct run *r = slot->run;
	uint32_t i = atomic_fetch_add(&r->next, 1);
	struct wr_store_put_req req = {
		.key = key_of(i),
		.name = "weir bench store",
		.buf = slot->mem,
		.bytes = r->b->kind->block,
		.done = ended,
		.arg = slot,
	};
	int rc;

	if (i >= r->nr_blocks)
		return;
	if (r->put)
		rc = wr_store_put(r->b->store, &req);
	else
		rc = wr_store_get(r->b->store, req.key, slot->mem, req.bytes, ended, slot);
	/* It ends here; the others go on to their end. */
	if (rc)
		ended(slot, rc);
}

static int run_once(struct bench *b, bool put, double *ret, struct weir_error *err)
{
	static struct run r;
	uint64_t begin;

	r = (struct run){.b = b, .put = put, .nr_blocks = (uint32_t)(DATA_BYTES / b->kind->block)};
	sem_init(&r.done, 0, 0);
	for (uint32_t i = 0; i < b->kind->depth; i++)
		r.slots[i] = (struct slot){.run = &r, .mem = b->mem + i * b->kind->block};
	begin = wr_now_ns();
	for (uint32_t i = 0; i < b->kind->depth; i++)
		next_block(&r.slots[i]);
	while (sem_wait(&r.done))
		;
	*ret = (double)DATA_BYTES / (double)(wr_now_ns() - begin);
	sem_destroy(&r.done);
	if (r.code)
		return wr_error_set(err, r.code, b->dir, WEIR_OFFSET_NONE, "a %s failed: %s",
				    put ? "put" : "get", weir_strerror(r.code));
	return 0;
}

/* ---- the store and fio --------------------------------------------------------------------------- */

static int store_open(struct bench *b, struct weir_error *err)
{
	const struct wr_store_opts opts = {
		.size = sizeof(opts),
		.budget_bytes = 5 * SEGMENT_BYTES,
		.segment_bytes = SEGMENT_BYTES,
		.io = b->io,
	};

	return wr_store_open(b->dir, &opts, &b->store, err);
}

void wr_bench_store_remove(const char *dir)
{
	char path[4200];

	for (int i = 0; i < 64; i++) {
		snprintf(path, sizeof(path), "%s/seg-%016x", dir, i);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/MANIFEST", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/LOCK", dir);
	unlink(path);
	rmdir(dir);
}

static void store_remove(struct bench *b)
{
	wr_store_close(b->store);
	b->store = NULL;
	wr_bench_store_remove(b->dir);
}

static int fio_once(struct bench *b, bool put, double *ret, struct weir_error *err)
{
	const char *const file = put ? b->fio_file : b->segment;
	const struct wr_fio_opts opts = {
		.files = &file,
		.nr_files = 1,
		.block_bytes = b->kind->block,
		.depth = b->kind->depth,
		.file_bytes = DATA_BYTES,
		.huge_pages = true,
		.write = put,
	};
	struct wr_fio_result res;
	int fd, rc = 0;

	*ret = 0;
	if (put) {
		fd = open(file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (fd < 0)
			return wr_error_set(err, -errno, file, WEIR_OFFSET_NONE,
					    "cannot be made: %s", strerror(errno));
		rc = posix_fallocate(fd, 0, (off_t)DATA_BYTES);
		close(fd);
	}
	if (!rc)
		rc = wr_fio_read(&opts, &res, err);
	/* Huge pages that others take away at that moment end fio by a signal that nobody sent. */
	for (int i = 0; i < 3 && rc == -EINTR && !wr_ui_interrupted(); i++)
		rc = wr_fio_read(&opts, &res, err);
	if (put)
		unlink(file);
	/* fio is a peer: where it does not run, weir's own numbers remain. */
	if (rc && rc != -EINTR) {
		snprintf(b->no_fio, sizeof(b->no_fio), "%.120s",
			 rc > 0 ? strerror(rc) : err->message);
		return 0;
	}
	if (rc)
		return rc;
	snprintf(b->fio, sizeof(b->fio), "%s", res.version);
	snprintf(b->page_reason, sizeof(b->page_reason), "%s", res.page_reason);
	*ret = res.bytes_per_second / 1e9;
	return 0;
}

/* Both arms of one kind, @first weir or fio. */
static int pair(struct bench *b, bool put, bool fio_first, struct cell *c, struct weir_error *err)
{
	double ours = 0, theirs = 0;
	int rc = 0;

	if (fio_first)
		rc = fio_once(b, put, &theirs, err);
	if (!rc)
		rc = run_once(b, put, &ours, err);
	if (!rc && !fio_first)
		rc = fio_once(b, put, &theirs, err);
	if (rc)
		return rc;
	wr_bench_add(put ? &c->put : &c->get, ours);
	if (theirs > 0) {
		wr_bench_add(put ? &c->fio_write : &c->fio_read, theirs);
		wr_bench_add(put ? &c->write_ratio : &c->read_ratio, ours / theirs);
	}
	return 0;
}

static int one_cell(struct bench *b, uint32_t round, struct cell *c, struct weir_error *err)
{
	int rc = store_open(b, err);

	if (!rc)
		rc = pair(b, true, round % 2, c, err);
	/* Sealed and opened again: what is read is a file like any other. */
	wr_store_close(b->store);
	b->store = NULL;
	if (!rc)
		rc = store_open(b, err);
	if (!rc)
		rc = pair(b, false, round % 2, c, err);
	store_remove(b);
	return rc;
}

static int setup(struct bench *b, const char *path, struct weir_error *err)
{
	const struct weir_io_opts io = {
		.size = sizeof(io), .demand_bytes = (size_t)64 << 20, .depth = 128};
	int rc;

	snprintf(b->dir, sizeof(b->dir), "%s/weir-bench-store-%d", path, (int)getpid());
	snprintf(b->segment, sizeof(b->segment), "%s/seg-%016x", b->dir, 1);
	snprintf(b->fio_file, sizeof(b->fio_file), "%s-fio", b->dir);
	b->mem_bytes = MAX_DEPTH << 20;
	b->mem = mmap(NULL, b->mem_bytes + HUGE_BYTES, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (b->mem == MAP_FAILED)
		return wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE, "no memory");
	b->mem += -(uintptr_t)b->mem % HUGE_BYTES;
	(void)madvise(b->mem, b->mem_bytes, MADV_HUGEPAGE);
	for (size_t i = 0; i < b->mem_bytes; i += 8)
		memcpy(b->mem + i, &(uint64_t){i * 0x9e3779b97f4a7c15ull}, 8);
	rc = weir_io_open(&io, &b->io, err);
	if (!rc)
		rc = weir_io_register(b->io, b->mem, b->mem_bytes);
	if (rc && b->io)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
				    "memory cannot be registered: %s", weir_strerror(rc));
	return rc;
}

/* ---- printing -------------------------------------------------------------------------------------- */

static int print_text(const struct bench *b)
{
	static const struct wr_ui_column columns[] = {
		{"store", WR_UI_LEFT}, {"median [range]", WR_UI_RIGHT}, {"bar", WR_UI_LEFT}};
	struct wr_ui_table *t = wr_ui_table_open(columns, 3);
	int rc;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const struct cell *c = &b->cells[i];
		const struct {
			const char *what, *bar;
			const struct wr_bench_series *series;
		} rows[] = {
			{"gets, GB/s", "", &c->get},
			{"fio reads, GB/s", "", &c->fio_read},
			{"gets / fio reads", ">= 0.9", &c->read_ratio},
			{"puts, durable, GB/s", "", &c->put},
			{"fio writes, GB/s", "", &c->fio_write},
			{"puts / fio writes", "", &c->write_ratio},
		};

		for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
			char what[96];

			snprintf(what, sizeof(what), "%s: %s", kinds[i].name, rows[k].what);
			wr_bench_row(t, what, rows[k].series, 2, rows[k].bar);
		}
	}
	wr_bench_row(t, "demand p99, us: alone", &b->spill.alone, 0, "");
	wr_bench_row(t, "with inserts that are taken out, us", &b->spill.inserts, 0, "");
	wr_bench_row(t, "with inserts that go down, us", &b->spill.spill, 0, "");
	wr_bench_row(t, "inserts / alone", &b->spill.inserts_ratio, 2, "");
	wr_bench_row(t, "going down / taken out", &b->spill.spill_ratio, 2, "<= 1.1");
	wr_bench_row(t, "written meanwhile, MB", &b->spill.spill_mb, 0, "");
	rc = wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	wr_ui_say("weir: io %s; %s", weir_io_backend_name(weir_io_backend(b->io)),
		  b->fio[0] ? b->fio : b->no_fio);
	if (b->page_reason[0])
		wr_ui_say("fio had no huge pages: %s", b->page_reason);
	return rc ? WR_EXIT_FAILED : WR_EXIT_OK;
}

static int print_json(const struct bench *b, const char *path)
{
	json_t *cells = json_array();

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const struct cell *c = &b->cells[i];

		json_array_append_new(
			cells, json_pack("{s:I, s:i, s:o, s:o, s:o, s:o, s:o, s:o}", "block_bytes",
					 (json_int_t)kinds[i].block, "depth", (int)kinds[i].depth,
					 "get_gb_per_second", wr_bench_json(&c->get),
					 "fio_read_gb_per_second", wr_bench_json(&c->fio_read),
					 "get_per_fio", wr_bench_json(&c->read_ratio),
					 "put_gb_per_second", wr_bench_json(&c->put),
					 "fio_write_gb_per_second", wr_bench_json(&c->fio_write),
					 "put_per_fio", wr_bench_json(&c->write_ratio)));
	}
	return wr_ui_json_print(json_pack(
		"{s:o, s:o, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "conditions",
		wr_bench_conditions(path), "path", wr_ui_json_text(path), "backend",
		weir_io_backend_name(weir_io_backend(b->io)), "fio", b->fio, "fio_page_reason",
		b->page_reason, "cells", cells, "demand_p99_us", wr_bench_json(&b->spill.alone),
		"inserts_p99_us", wr_bench_json(&b->spill.inserts), "spill_p99_us",
		wr_bench_json(&b->spill.spill), "spill_per_inserts",
		wr_bench_json(&b->spill.spill_ratio)));
}

int wr_bench_store(const struct wr_bench_args *args)
{
	static struct bench b;
	const uint32_t nr = sizeof(kinds) / sizeof(kinds[0]);
	struct wr_ui_progress progress;
	struct weir_error err;
	int rc = setup(&b, args->path, &err);

	wr_ui_interrupt_init();
	wr_ui_progress_start(&progress, "runs", args->rounds * nr, args->json);
	for (uint32_t i = 0; !rc && i < args->rounds * nr; i++) {
		b.kind = &kinds[i % nr];
		rc = one_cell(&b, i / nr, &b.cells[i % nr], &err);
		if (!rc && i % nr == 0)
			rc = wr_bench_spill_round(args->path, &b.spill, &err);
		wr_ui_progress_update(&progress, i + 1);
		if (!rc && wr_ui_interrupted())
			rc = -EINTR;
	}
	wr_ui_progress_end(&progress);
	if (!rc)
		rc = args->json ? print_json(&b, args->path) : print_text(&b);
	else if (rc != -EINTR)
		rc = wr_ui_fail(args->json, "bench store", &err);
	else
		rc = wr_ui_fail_interrupted(args->json, "bench store");
	weir_io_close(b.io);
	return rc;
}
