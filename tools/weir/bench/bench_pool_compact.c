/* SPDX-License-Identifier: MIT */
/*
 * Compaction: a pool full of small blocks, of which seven in eight go at random, made to give
 * large ones again. Each block that stays carries its number and is looked at afterwards: a
 * compaction that loses bytes is no result.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <weir/pool_handle.h>
#include <weir/pool_map.h>

#include "base/random.h"
#include "base/util.h"
#include "bench_pool.h"
#include "bench_race.h"
#include "poolmap.h"
#include "ui.h"

#define MIB	   ((size_t)1 << 20)
#define DRAW_BYTES ((size_t)65536) /* blocks of the picture */

struct scene {
	struct weir_pool *pool;
	size_t block_bytes;
	size_t nr_blocks;
	struct weir_handle *handles; /* zero where freed or never had */
	uint32_t *piece;	     /* room for a map */
	size_t nr_pieces;
	uint64_t random;
	bool slowly; /* so that somebody can watch */
};

static void wait_a_little(const struct scene *s, size_t step, size_t every)
{
	const struct timespec ts = {.tv_nsec = 1000000};

	if (s->slowly && step % every == 0)
		nanosleep(&ts, NULL);
}

/* Write or compare the number of a block, at its begin and its end. */
static int stamp(struct scene *s, size_t i, bool write)
{
	uint64_t *first, *last;
	void *p;
	int rc = weir_handle_pin(s->pool, s->handles[i], &p);

	if (rc)
		return rc;
	first = p;
	last = (uint64_t *)(void *)((uint8_t *)p + s->block_bytes) - 1;
	if (write)
		*first = *last = i;
	else if (*first != i || *last != i)
		rc = -EIO;
	weir_handle_unpin(s->pool, s->handles[i]);
	return rc;
}

static int fill_up(struct scene *s)
{
	int rc = 0;

	for (size_t i = 0; i < s->nr_blocks; i++) {
		rc = weir_handle_alloc(s->pool, s->block_bytes, WEIR_NODE_ANY, WEIR_HANDLE_MOVABLE,
				       "bench", &s->handles[i]);
		if (rc)
			break;
		rc = stamp(s, i, true);
		if (rc)
			return rc;
		wait_a_little(s, i, 64);
	}
	return rc == -ENOSPC ? 0 : rc;
}

static void free_most(struct scene *s)
{
	for (size_t i = 0; i < s->nr_blocks; i++) {
		wait_a_little(s, i, 64);
		if ((wr_xorshift64(&s->random) >> 32) % 8 == 0 || !s->handles[i].generation)
			continue;
		weir_handle_free(s->pool, s->handles[i]);
		s->handles[i] = (struct weir_handle){0};
	}
}

static int check_and_free_rest(struct scene *s)
{
	int rc = 0;

	for (size_t i = 0; i < s->nr_blocks; i++) {
		if (!s->handles[i].generation)
			continue;
		if (!rc)
			rc = stamp(s, i, false);
		weir_handle_free(s->pool, s->handles[i]);
		s->handles[i] = (struct weir_handle){0};
		wait_a_little(s, i, 64);
	}
	return rc;
}

/* Per cent of the free bytes that lie in free pieces of 2 MiB. */
static double share_in_pieces(const struct scene *s)
{
	struct weir_pool_stats stats;
	uint64_t free_bytes = 0;
	int64_t nr;

	for (size_t r = 0; r < weir_pool_nr_regions(s->pool); r++) {
		nr = weir_pool_map(s->pool, r, s->nr_pieces, s->piece);
		for (int64_t i = 0; i < nr; i++)
			free_bytes += s->piece[i] ? 0 : WEIR_POOL_PIECE_BYTES;
	}
	weir_pool_stats(s->pool, &stats);
	/* What threads keep ready is in no span either. */
	return 100 * (double)free_bytes / (double)(stats.capacity_bytes - stats.used_bytes);
}

/* Bytes a second when @bytes are copied in blocks, from here and there to one after another. */
static double copy_rate(struct scene *s, const struct weir_pool_region *region, uint64_t bytes)
{
	size_t block = s->block_bytes;
	size_t half = region->bytes / 2 / block;
	uint64_t nr = bytes / block, begin;

	begin = wr_bench_cpu_ns();
	for (uint64_t i = 0; i < nr; i++) {
		size_t from = half + (size_t)(wr_xorshift64(&s->random) >> 32) % half;

		memcpy((uint8_t *)region->base + i % half * block,
		       (const uint8_t *)region->base + from * block, block);
	}
	return (double)(nr * block) * 1e9 / (double)wr_max(wr_bench_cpu_ns() - begin, (uint64_t)1);
}

/*
 * By the processor that was used: a compaction takes some milliseconds, in which other work on the
 * machine may take the processor away.
 */
static int run_round(struct scene *s, struct wr_pb_compact *ret)
{
	struct weir_compact_opts opts = {.size = sizeof(opts), .nr_wanted = WEIR_COMPACT_ALL};
	struct weir_compact_report report = {0};
	struct weir_pool_region region;
	uint64_t ns;
	double rate;
	int rc = fill_up(s);

	if (rc)
		return rc;
	free_most(s);
	wr_bench_add(&ret->before, share_in_pieces(s));
	ns = wr_bench_cpu_ns();
	rc = weir_pool_compact(s->pool, &opts, &report);
	ns = wr_max(wr_bench_cpu_ns() - ns, (uint64_t)1);
	if (rc)
		return rc;
	wr_bench_add(&ret->after, share_in_pieces(s));
	wr_bench_add(&ret->moved, (double)report.moved_bytes / (double)report.bound_bytes);
	wr_bench_add(&ret->median_us, (double)report.median_pause_ns / 1e3);
	wr_bench_add(&ret->p99_us, (double)report.p99_pause_ns / 1e3);
	wr_bench_add(&ret->longest_us, (double)report.longest_pause_ns / 1e3);
	rc = check_and_free_rest(s);
	if (rc)
		return rc;
	/* Nobody's bytes are in the pool now. */
	rc = weir_pool_region(s->pool, 0, &region);
	if (rc)
		return rc;
	rate = copy_rate(s, &region, report.moved_bytes);
	wr_bench_add(&ret->gb_per_second, (double)report.moved_bytes / (double)ns);
	wr_bench_add(&ret->per_memcpy, (double)report.moved_bytes * 1e9 / (double)ns / rate);
	wr_bench_add(&ret->over_us,
		     (double)report.p99_pause_ns / 1e3 -
			     (double)wr_max(s->block_bytes, (size_t)WR_PB_GROUP_BYTES) * 1e6 /
				     rate);
	return 0;
}

static void close_scene(struct scene *s)
{
	for (size_t i = 0; s->handles && i < s->nr_blocks; i++)
		if (s->handles[i].generation)
			weir_handle_free(s->pool, s->handles[i]);
	weir_pool_close(s->pool);
	free(s->handles);
	free(s->piece);
}

static int open_scene(struct scene *s, size_t bytes, size_t block_bytes, struct weir_error *err)
{
	struct weir_pool_opts opts = {.size = sizeof(opts), .capacity_bytes = bytes};
	int rc;

	s->random = 88172645463325252ull;
	s->block_bytes = block_bytes;
	s->nr_blocks = bytes / block_bytes;
	s->nr_pieces = bytes / WEIR_POOL_PIECE_BYTES + 1;
	s->handles = calloc(s->nr_blocks, sizeof(*s->handles));
	s->piece = calloc(s->nr_pieces, sizeof(*s->piece));
	if (!s->handles || !s->piece)
		rc = wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE, "no memory");
	else
		rc = weir_pool_open(&opts, &s->pool, err);
	if (rc)
		close_scene(s);
	return rc;
}

static int failed(int rc, struct weir_error *err)
{
	return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "%s",
			    rc == -EIO ? "a block that was moved has lost its bytes"
				       : weir_strerror(rc));
}

int wr_pb_compact(size_t bytes, size_t block_bytes, uint32_t rounds, struct wr_pb_compact *ret,
		  struct weir_error *err)
{
	struct scene s = {0};
	int rc;

	memset(ret, 0, sizeof(*ret));
	rc = open_scene(&s, bytes, block_bytes, err);
	/* No room for a pool of that size: not measured, and no failure. */
	if (rc == -ENOMEM)
		return 0;
	if (rc)
		return rc;
	for (uint32_t r = 0; r < rounds && !rc; r++)
		rc = run_round(&s, ret);
	close_scene(&s);
	return rc ? failed(rc, err) : 0;
}

/* ---- for the eye ---- */

/* A few blocks at a time, until nothing is gained. */
static int compact_slowly(struct scene *s)
{
	struct weir_compact_opts opts = {
		.size = sizeof(opts), .nr_wanted = WEIR_COMPACT_ALL, .max_bytes = MIB};
	struct weir_compact_report report = {.reason = WEIR_COMPACT_LIMIT};
	int rc = 0;

	while (!rc && report.reason == WEIR_COMPACT_LIMIT) {
		rc = weir_pool_compact(s->pool, &opts, &report);
		wait_a_little(s, 0, 1);
		wait_a_little(s, 0, 1);
		if (!report.nr_emptied && !report.nr_moves)
			break;
	}
	for (int i = 0; i < 50; i++)
		wait_a_little(s, 0, 1);
	return rc;
}

static int watch(struct scene *s, const char *recording, struct weir_error *err)
{
	struct weir_pool_record_opts opts = {.size = sizeof(opts), .interval_ns = 1000000};
	struct weir_pool_recorder *rec;
	int rc = weir_pool_record_start(s->pool, recording, &opts, &rec, err);

	if (rc)
		return rc;
	s->slowly = true;
	rc = fill_up(s);
	if (!rc) {
		free_most(s);
		rc = compact_slowly(s);
	}
	if (!rc)
		rc = check_and_free_rest(s);
	weir_pool_record_stop(rec);
	return rc ? failed(rc, err) : 0;
}

int wr_pb_compact_draw(size_t bytes, const char *path, struct weir_error *err)
{
	struct scene s = {0};
	struct wr_poolmap map;
	char *recording;
	int rc;

	if (asprintf(&recording, "%s.recording", path) < 0)
		return wr_error_set(err, -ENOMEM, path, WEIR_OFFSET_NONE, "no memory");
	rc = open_scene(&s, bytes, DRAW_BYTES, err);
	if (!rc) {
		rc = watch(&s, recording, err);
		close_scene(&s);
	}
	if (!rc)
		rc = wr_poolmap_read(recording, &map, err);
	if (!rc) {
		rc = wr_poolmap_draw(&map, 0, "Filled, seven of eight blocks freed, compacted",
				     path, err);
		wr_poolmap_fini(&map);
	}
	unlink(recording);
	free(recording);
	return rc;
}
