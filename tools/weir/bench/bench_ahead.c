/* SPDX-License-Identifier: MIT */
/*
 * weir bench ahead - a cache that fetches ahead, against the same without, in time.
 *
 * A host visits layers: it says which experts it needs, gets them all, and then computes, which
 * here is a sleep, as of one who computes on a device. The experts lie in a file that the engine
 * reads past the page cache; the cache holds a part of them. Arms alternate, so a ratio is of two
 * runs of one round. How long a visit computes is set from what its reads take without prefetch.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <weir/cache.h>
#include <weir/cache_ahead.h>
#include <weir/io.h>
#include <weir/pool.h>

#include "ahead.h"
#include "base/random.h"
#include "base/util.h"
#include "bench.h"
#include "ui.h"

#define OBJECT_BYTES ((size_t)64 << 10)
#define MAX_VISIT    64u
#define MAX_VISITS   4096u
#define RANDOM_KEYS  4096u
#define RANDOM_REFS  6000u

/* How long the host computes, in times of a visit's reads without prefetch. */
static const struct pace {
	const char *name;
	double compute;
} paces[] = {{"reads only", 0}, {"a quarter", 0.25}, {"as long", 1}, {"four times", 4}};

struct fetch {
	struct bench *b;
	uint64_t token;	   /* of the cache */
	uint64_t io_token; /* written before the read can end */
};

struct run {
	double seconds, p99_us, hits, read_bytes, spent_us_visit;
	struct weir_cache_ahead_stats ahead;
};

struct cell {
	char work[32];
	const struct pace *pace;
	struct wr_bench_series time, p99, reads, gain, hits;
	struct run last;
	uint32_t nr_refs;
};

struct bench {
	const struct wr_bench_args *args;
	char file[4200];
	struct wr_ahead_work work;
	struct weir_io *io;
	struct weir_io_file *f;
	struct weir_pool *pool;
	struct weir_cache *cache;
	struct fetch *fetches; /* by object */
	uint64_t *waits;
	pthread_mutex_t lock;
	uint32_t nr_wrong;
	bool is_direct;
	struct cell cells[2 * wr_array_size(paces)];
	size_t nr;
	struct weir_error err;
};

/* ---- the source ---- */

static void read_done(void *arg, int result, void *data)
{
	struct fetch *f = arg;
	struct bench *b = f->b;
	uint64_t token;

	pthread_mutex_lock(&b->lock);
	token = f->token;
	f->token = 0;
	pthread_mutex_unlock(&b->lock);
	/* Objects lie on blocks, so the first byte is where the buffer begins. */
	(void)data;
	weir_cache_filled(b->cache, token, result, 0);
}

static int fill(void *arg, const struct weir_cache_fill *fill)
{
	struct bench *b = arg;
	uint64_t object = (uint64_t)(uintptr_t)fill->cookie;
	struct fetch *f = &b->fetches[object];
	const struct weir_io_req req = {
		.file = b->f,
		.offset = object * OBJECT_BYTES,
		.bytes = fill->bytes,
		.buf = fill->mem,
		.buf_bytes = fill->mem_bytes,
		.io_class = fill->demand ? WEIR_IO_DEMAND : WEIR_IO_SPECULATIVE,
		.done = read_done,
		.arg = f,
	};

	pthread_mutex_lock(&b->lock);
	f->b = b;
	f->token = fill->token;
	pthread_mutex_unlock(&b->lock);
	return weir_io_read(b->io, &req, &f->io_token);
}

/* The read of a fetch; 0: it has ended. */
static uint64_t find_read(struct bench *b, uint64_t token)
{
	uint64_t io_token = 0;

	pthread_mutex_lock(&b->lock);
	for (uint32_t i = 0; i < b->work.nr_objects && !io_token; i++)
		if (b->fetches[i].token == token)
			io_token = b->fetches[i].io_token;
	pthread_mutex_unlock(&b->lock);
	return io_token;
}

static void promote(void *arg, uint64_t token)
{
	struct bench *b = arg;
	uint64_t io_token = find_read(b, token);

	if (io_token)
		weir_io_promote(b->io, io_token);
}

static void cancel(void *arg, uint64_t token)
{
	struct bench *b = arg;
	uint64_t io_token = find_read(b, token);

	if (io_token)
		weir_io_cancel(b->io, io_token);
}

/* ---- a run ---- */

static struct weir_cache_item item_of(const struct bench *b, uint32_t object)
{
	const struct wr_ahead_object *o = &b->work.objects[object];

	return (struct weir_cache_item){
		.key = {.hi = o->layer == WR_PREDICT_NONE ? (uint64_t)1 << 63 : o->layer + 1u,
			.lo = object},
		.bytes = OBJECT_BYTES,
		.class_id = WEIR_CLASS_EXPERTS,
		.cookie = (void *)(uintptr_t)object};
}

static int open_cache(struct bench *b, uint64_t budget, bool ahead)
{
	struct weir_cache_opts opts = {.size = sizeof(opts), .pool = b->pool, .l2_budget = budget};
	struct weir_cache_ahead_opts ahead_opts = {.size = sizeof(ahead_opts),
						   .nr_items = b->work.nr_objects + 64,
						   .nr_layers = b->work.nr_layers,
						   .nr_experts = b->work.nr_experts};
	int rc;

	opts.classes[WEIR_CLASS_EXPERTS] = (struct weir_cache_class_opts){
		.policy = "lru",
		.share_permille = 1000,
		.source = {.fill = fill, .promote = promote, .cancel = cancel, .arg = b}};
	rc = weir_cache_open(&opts, &b->cache, &b->err);
	if (rc || !ahead)
		return rc;
	rc = weir_cache_ahead(b->cache, &ahead_opts, &b->err);
	for (uint32_t i = 0; i < b->work.nr_objects && !rc && b->work.nr_layers; i++) {
		struct weir_cache_item item = item_of(b, i);

		rc = weir_cache_declare(b->cache, &item, b->work.objects[i].layer,
					b->work.objects[i].expert);
	}
	return rc;
}

static void sleep_until(uint64_t ns)
{
	struct timespec t = {.tv_sec = (time_t)(ns / 1000000000),
			     .tv_nsec = (long)(ns % 1000000000)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR &&
	       !wr_ui_interrupted())
		;
}

/* Needs, gets, and looks at what came. */
static int visit(struct bench *b, uint32_t v)
{
	const uint32_t from = b->work.visits[v], nr = b->work.visits[v + 1] - from;
	struct weir_cache_item items[MAX_VISIT] = {0};
	struct weir_pin pins[MAX_VISIT];
	uint32_t nr_pins = 0;
	int rc = 0;

	for (uint32_t i = 0; i < nr; i++)
		items[i] = item_of(b, b->work.refs[from + i]);
	if (weir_cache_need(b->cache, items, nr) < 0)
		return -EINVAL;
	for (rc = 0; nr_pins < nr && !rc; nr_pins += !rc)
		rc = weir_cache_get(b->cache, &items[nr_pins], 0, &pins[nr_pins]);
	for (uint32_t i = 0; i < nr_pins; i++) {
		uint64_t object;

		memcpy(&object, pins[i].data, sizeof(object));
		b->nr_wrong += object != b->work.refs[from + i];
		weir_cache_put(b->cache, &pins[i]);
	}
	return rc;
}

/* References that were there: not begun to be read for a need, nor under way. */
static double hits_of(struct bench *b)
{
	struct weir_cache_stats s;
	uint64_t missed;

	if (weir_cache_stats(b->cache, WEIR_TIER_L2, WEIR_NR_CLASSES, &s))
		return 0;
	missed = s.nr_fills + s.nr_failed - s.nr_prefetches + s.nr_late;
	return 100.0 * (1.0 - (double)missed / b->work.nr_refs);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int run_once(struct bench *b, uint64_t budget, uint64_t compute_ns, bool ahead,
		    struct run *ret)
{
	struct weir_io_stats before, after;
	uint64_t began, now;
	int rc = open_cache(b, budget, ahead);

	if (rc)
		return rc;
	weir_io_stats(b->io, &before);
	began = wr_now_ns();
	for (uint32_t v = 0; v < b->work.nr_visits && !rc; v++) {
		now = wr_now_ns();
		rc = visit(b, v);
		b->waits[v] = wr_now_ns() - now;
		if (compute_ns)
			sleep_until(now + b->waits[v] + compute_ns);
		if (wr_ui_interrupted())
			rc = -EINTR;
	}
	ret->seconds = (double)(wr_now_ns() - began) / 1e9;
	ret->hits = hits_of(b);
	if (ahead && weir_cache_ahead_stats(b->cache, &ret->ahead))
		rc = -EINVAL;
	weir_cache_close(b->cache);
	b->cache = NULL;
	weir_io_stats(b->io, &after);
	qsort(b->waits, b->work.nr_visits, sizeof(*b->waits), compare);
	ret->p99_us = (double)b->waits[(uint64_t)b->work.nr_visits * 99 / 100] / 1e3;
	ret->read_bytes = (double)(after.bytes_read - before.bytes_read);
	ret->spent_us_visit = (double)ret->ahead.spent_ns / 1e3 / b->work.nr_visits;
	return rc;
}

/* Without and with, in turn; the reads alone of the first run say how long a visit computes. */
static int run_cell(struct bench *b, const char *work, const struct pace *pace, uint64_t budget,
		    double read_seconds)
{
	struct cell *c = &b->cells[b->nr];
	uint64_t compute_ns = (uint64_t)(pace->compute * read_seconds * 1e9 / b->work.nr_visits);
	int rc = 0;

	snprintf(c->work, sizeof(c->work), "%s", work);
	c->pace = pace;
	c->nr_refs = b->work.nr_refs;
	for (uint32_t r = 0; r < b->args->rounds && !rc; r++) {
		struct run without = {0}, with = {0};

		rc = run_once(b, budget, compute_ns, false, &without);
		if (!rc)
			rc = run_once(b, budget, compute_ns, true, &with);
		if (rc)
			break;
		wr_bench_add(&c->time, with.seconds / without.seconds);
		wr_bench_add(&c->p99, with.p99_us / without.p99_us);
		wr_bench_add(&c->reads, with.read_bytes / without.read_bytes);
		wr_bench_add(&c->hits, with.hits);
		wr_bench_add(&c->gain, with.hits - without.hits);
		c->last = with;
	}
	b->nr += !rc;
	return rc;
}

/* ---- works ---- */

/* Written once, and out of the page cache before anything is timed. */
static int make_file(struct bench *b)
{
	uint64_t *buf = calloc(1, OBJECT_BYTES);
	int fd = open(b->file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), rc = 0;

	if (fd < 0 || !buf)
		rc = fd < 0 ? -errno : -ENOMEM;
	for (uint32_t i = 0; i < b->work.nr_objects && !rc; i++) {
		buf[0] = i;
		if (pwrite(fd, buf, OBJECT_BYTES, (off_t)(i * OBJECT_BYTES)) !=
		    (ssize_t)OBJECT_BYTES)
			rc = errno ? -errno : -EIO;
	}
	if (!rc && fsync(fd))
		rc = -errno;
	if (fd >= 0) {
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		close(fd);
	}
	free(buf);
	return rc ? wr_error_set(&b->err, rc, b->file, WEIR_OFFSET_NONE, "cannot be written: %s",
				 weir_strerror(rc))
		  : 0;
}

static int open_parts(struct bench *b, uint64_t budget)
{
	const struct weir_pool_opts pool = {.size = sizeof(pool),
					    .capacity_bytes = budget + ((size_t)8 << 20)};
	const struct weir_io_opts io = {.size = sizeof(io)};
	struct weir_io_file_info info;
	int rc = make_file(b);

	if (!rc)
		rc = weir_io_open(&io, &b->io, &b->err);
	if (!rc)
		rc = weir_io_file_open(b->io, b->file, &b->f, &b->err);
	if (rc)
		return rc;
	weir_io_file_info(b->f, &info);
	b->is_direct = info.direct;
	b->fetches = calloc(b->work.nr_objects, sizeof(*b->fetches));
	b->waits = calloc(b->work.nr_visits, sizeof(*b->waits));
	if (!b->fetches || !b->waits)
		return wr_error_set(&b->err, -ENOMEM, NULL, WEIR_OFFSET_NONE, "no memory");
	return weir_pool_open(&pool, &b->pool, &b->err);
}

static void close_parts(struct bench *b)
{
	weir_io_file_close(b->f);
	weir_io_close(b->io);
	weir_pool_close(b->pool);
	b->f = NULL;
	b->io = NULL;
	b->pool = NULL;
	free(b->fetches);
	free(b->waits);
	b->fetches = NULL;
	b->waits = NULL;
	unlink(b->file);
}

/* Three tenths of what is used, at every pace. Ends with the work. */
static int run_work(struct bench *b, const char *name)
{
	uint64_t budget = (uint64_t)b->work.nr_used * OBJECT_BYTES * 3 / 10;
	struct run reads = {0};
	int rc = open_parts(b, budget);

	if (!rc)
		rc = run_once(b, budget, 0, false, &reads);
	for (size_t i = 0; i < wr_array_size(paces) && !rc; i++)
		rc = run_cell(b, name, &paces[i], budget, reads.seconds);
	close_parts(b);
	wr_ahead_work_close(&b->work);
	return rc;
}

static int routing(struct bench *b, bool is_given)
{
	const struct wr_route_opts opts = {.nr_steps = 24, .seed = 1};
	struct wr_route r;
	int rc = is_given ? wr_route_open(b->args->path, WR_ROUTE_DECODE, &r, &b->err)
			  : wr_route_generate(&opts, &r);

	if (rc)
		return rc;
	rc = wr_ahead_from_route(&r, &b->work);
	wr_route_close(&r);
	for (uint32_t v = 0; v < b->work.nr_visits && !rc; v++)
		if (b->work.visits[v + 1] - b->work.visits[v] > MAX_VISIT)
			rc = wr_error_set(&b->err, -EFBIG, b->args->path, WEIR_OFFSET_NONE,
					  "a visit of more than %u experts", MAX_VISIT);
	if (!rc && b->work.nr_visits > MAX_VISITS) {
		b->work.nr_visits = MAX_VISITS;
		b->work.nr_refs = b->work.visits[MAX_VISITS];
	}
	return rc ? rc : run_work(b, is_given ? "recorded experts" : "experts");
}

static int random_keys(struct bench *b)
{
	struct wr_trace t = {.format = "random"};
	uint64_t z = 1;
	int rc = 0;

	for (uint32_t i = 0; i < RANDOM_REFS && !rc; i++) {
		rc = wr_trace_add(&t, (struct weir_key){.lo = (wr_lcg64(&z) >> 33) % RANDOM_KEYS},
				  WR_TRACE_OTHER, OBJECT_BYTES);
	}
	if (!rc)
		rc = wr_ahead_from_trace(&t, RANDOM_REFS, &b->work);
	wr_trace_close(&t);
	return rc ? rc : run_work(b, "random");
}

/* ---- output ---- */

static json_t *cell_json(const struct cell *c)
{
	const struct weir_cache_ahead_stats *s = &c->last.ahead;

	return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:f, s:I, s:I, s:I, s:I, s:I, s:s}",
			 "work", c->work, "compute", c->pace->name, "time_ratio",
			 wr_bench_json(&c->time), "p99_ratio", wr_bench_json(&c->p99),
			 "reads_ratio", wr_bench_json(&c->reads), "hits_percent",
			 wr_bench_json(&c->hits), "gain_points", wr_bench_json(&c->gain),
			 "spent_us_visit", c->last.spent_us_visit, "started",
			 (json_int_t)s->nr_started, "useful", (json_int_t)s->nr_useful, "late",
			 (json_int_t)s->nr_late, "wasted", (json_int_t)s->nr_wasted, "stopped_at",
			 (json_int_t)s->stopped_at, "off", weir_cache_ahead_off_name(s->off_why));
}

static int print_json(const struct bench *b)
{
	json_t *cells = json_array();

	for (size_t i = 0; i < b->nr; i++)
		json_array_append_new(cells, cell_json(&b->cells[i]));
	return wr_ui_json_print(json_pack("{s:o, s:b, s:o}", "cells", cells, "direct", b->is_direct,
					  "conditions", wr_bench_conditions(NULL)));
}

static int print_text(const struct bench *b)
{
	static const struct wr_ui_column columns[] = {
		{"work", WR_UI_LEFT},  {"computes", WR_UI_LEFT}, {"hits %", WR_UI_RIGHT},
		{"gain", WR_UI_RIGHT}, {"reads", WR_UI_RIGHT},	 {"time", WR_UI_RIGHT},
		{"p99", WR_UI_RIGHT},  {"late", WR_UI_RIGHT},	 {"us/visit", WR_UI_RIGHT},
		{"off", WR_UI_RIGHT}};
	struct wr_ui_table *t = wr_ui_table_open(columns, wr_array_size(columns));
	char text[WR_BENCH_TEXT];
	int rc;

	for (size_t i = 0; i < b->nr; i++) {
		const struct cell *c = &b->cells[i];

		wr_ui_table_cell(t, "%s", c->work);
		wr_ui_table_cell(t, "%s", c->pace->name);
		wr_ui_table_cell(t, "%s", wr_bench_text(text, &c->hits, 1));
		wr_ui_table_cell(t, "%s", wr_bench_text(text, &c->gain, 1));
		wr_ui_table_cell(t, "%s", wr_bench_text(text, &c->reads, 3));
		wr_ui_table_cell(t, "%s", wr_bench_text(text, &c->time, 3));
		wr_ui_table_cell(t, "%s", wr_bench_text(text, &c->p99, 2));
		wr_ui_table_cell(t, "%llu", (unsigned long long)c->last.ahead.nr_late);
		wr_ui_table_cell(t, "%.1f", c->last.spent_us_visit);
		wr_ui_table_cell(t, "%s", weir_cache_ahead_off_name(c->last.ahead.off_why));
	}
	rc = wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	wr_ui_say(
		"\nreads, time, p99 (of a visit's wait): with / without fetching ahead, median "
		"[least-most] of the rounds; computes: how long a visit computes, in times of "
		"its reads without; us/visit: processor time of the thread that foresees. Read %s.",
		b->is_direct ? "past the page cache" : "through the page cache, dropped behind");
	if (b->nr_wrong)
		wr_ui_say("%u objects had the wrong bytes", b->nr_wrong);
	return rc || b->nr_wrong ? WR_EXIT_FAILED : WR_EXIT_OK;
}

int wr_bench_ahead(const struct wr_bench_args *args)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct stat st;
	bool is_dir;
	int rc = 0;

	if (!b)
		return WR_EXIT_FAILED;
	b->args = args;
	pthread_mutex_init(&b->lock, NULL);
	if (stat(args->path, &st))
		rc = wr_error_set(&b->err, -errno, args->path, WEIR_OFFSET_NONE,
				  "cannot be looked at: %s", strerror(errno));
	is_dir = !rc && S_ISDIR(st.st_mode);
	snprintf(b->file, sizeof(b->file), "%.4000s/weir-bench-ahead-%ld",
		 is_dir ? args->path : ".", (long)getpid());
	if (!rc)
		rc = routing(b, !is_dir);
	if (!rc)
		rc = random_keys(b);
	if (rc == -EINTR)
		rc = WR_EXIT_INTERRUPTED;
	else if (rc)
		rc = wr_ui_fail(args->json, "bench ahead", &b->err);
	else
		rc = args->json ? print_json(b) : print_text(b);
	pthread_mutex_destroy(&b->lock);
	free(b);
	return rc;
}
