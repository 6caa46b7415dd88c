/* SPDX-License-Identifier: MIT */
/*
 * For weir bench store: what it does to gets on demand that owned blocks go down meanwhile. One
 * thread gets pieces of a file, past the page cache, that mostly are not in memory; another hands
 * in blocks at a steady rate, and either takes each out again, or leaves it to the cache, whose L3
 * is in the same folder.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <weir/cache.h>
#include <weir/pool.h>

#include "base/random.h"
#include "base/util.h"
#include "bench.h"

#define FILE_BYTES  ((uint64_t)256 << 20)
#define PIECE_BYTES ((size_t)256 << 10)
#define NR_PIECES   ((uint32_t)(FILE_BYTES / PIECE_BYTES))
#define L2_BYTES    ((uint64_t)64 << 20)
#define L3_BYTES    ((uint64_t)1 << 30)
#define BLOCK_BYTES ((size_t)64 << 10)
#define PAUSE_NS    2000000u /* between two blocks: 32 MB/s */
#define NR_GETS	    1500u
#define NR_BEFORE   600u /* gets that are not timed, and blocks before the first get */

enum arm { ALONE, INSERTS, SPILL, NR_ARMS };

struct spill {
	char dir[4000], file[4096];
	int fd;
	struct weir_pool *pool;
	struct weir_cache *cache;
	enum arm arm;
	_Atomic bool stop;
	_Atomic int code;
	uint32_t nr_blocks;
	char block[BLOCK_BYTES];
	double us[NR_GETS];
};

static int fetch(void *arg, const struct weir_cache_fill *fill, size_t *ret_offset)
{
	struct spill *s = arg;
	ssize_t nr = pread(s->fd, fill->mem, fill->bytes, (off_t)(fill->key.lo * PIECE_BYTES));

	*ret_offset = 0;
	if (nr < 0)
		return -errno;
	return (size_t)nr == fill->bytes ? 0 : -EIO;
}

static struct weir_cache_item block_item(uint32_t n)
{
	return (struct weir_cache_item){
		.key = {2, n}, .bytes = BLOCK_BYTES, .class_id = WEIR_CLASS_KV};
}

static int insert_next(struct spill *s)
{
	struct weir_cache_item item = block_item(s->nr_blocks++);
	int rc;

	memcpy(s->block, &item.key, sizeof(item.key));
	rc = weir_cache_insert(s->cache, &item, s->block);
	if (!rc && s->arm == INSERTS)
		rc = weir_cache_remove(s->cache, item.key);
	return rc;
}

static void *inserts(void *arg)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	struct spill *s = arg;

	while (!atomic_load(&s->stop)) {
		int rc = insert_next(s);

		if (rc) {
			atomic_store(&s->code, rc);
			break;
		}
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static int get_one(struct spill *s, uint64_t *random, double *ret_us)
{
	struct weir_cache_item item = {.bytes = PIECE_BYTES};
	struct weir_pin pin;
	uint64_t begin;
	int rc;

	item.key = (struct weir_key){1, (wr_lcg64(random) >> 33) % NR_PIECES};
	begin = wr_now_ns();
	rc = weir_cache_get(s->cache, &item, 0, &pin);
	*ret_us = (double)(wr_now_ns() - begin) / 1e3;
	if (!rc)
		(void)weir_cache_put(s->cache, &pin);
	return rc;
}

/* 99th percentile of the arm. */
static int run_arm(struct spill *s, enum arm arm, double *ret)
{
	uint64_t random = 1;
	pthread_t thread;
	double unused;
	int rc = 0;

	s->arm = arm;
	atomic_store(&s->stop, false);
	/* Until there is no room any more. */
	for (uint32_t i = 0; !rc && i < NR_BEFORE; i++) {
		rc = get_one(s, &random, &unused);
		if (!rc && arm == SPILL)
			rc = insert_next(s);
	}
	if (rc)
		return rc;
	if (arm != ALONE && pthread_create(&thread, NULL, inserts, s))
		return -EAGAIN;
	for (uint32_t i = 0; !rc && i < NR_GETS; i++)
		rc = get_one(s, &random, &s->us[i]);
	atomic_store(&s->stop, true);
	if (arm != ALONE)
		pthread_join(thread, NULL);
	wr_bench_sort(s->us, NR_GETS);
	*ret = s->us[NR_GETS * 99 / 100];
	return rc ? rc : atomic_load(&s->code);
}

static int write_file(struct spill *s)
{
	char *piece = aligned_alloc(4096, PIECE_BYTES);
	int rc = piece ? 0 : -ENOMEM;

	for (uint32_t i = 0; !rc && i < NR_PIECES; i++) {
		memset(piece, (int)i + 1, PIECE_BYTES);
		if (pwrite(s->fd, piece, PIECE_BYTES, (off_t)(i * PIECE_BYTES)) !=
		    (ssize_t)PIECE_BYTES)
			rc = -EIO;
	}
	if (!rc && fsync(s->fd))
		rc = -errno;
	free(piece);
	return rc;
}

static int open_all(struct spill *s, const char *folder, struct weir_error *err)
{
	const struct weir_pool_opts pool_opts = {.size = sizeof(pool_opts),
						 .capacity_bytes = L2_BYTES + ((size_t)8 << 20)};
	struct weir_cache_opts opts = {.size = sizeof(opts),
				       .l2_budget = L2_BYTES,
				       .l3_dir = s->dir,
				       .l3_budget = L3_BYTES};
	int rc;

	snprintf(s->dir, sizeof(s->dir), "%s/weir-bench-spill-%d", folder, (int)getpid());
	snprintf(s->file, sizeof(s->file), "%s.data", s->dir);
	s->fd = open(s->file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_DIRECT, 0600);
	if (s->fd < 0)
		return wr_error_set(err, -errno, s->file, WEIR_OFFSET_NONE,
				    "cannot be made past the page cache: %s", strerror(errno));
	rc = write_file(s);
	if (rc)
		return wr_error_set(err, rc, s->file, WEIR_OFFSET_NONE, "cannot be written: %s",
				    weir_strerror(rc));
	rc = weir_pool_open(&pool_opts, &s->pool, err);
	opts.pool = s->pool;
	opts.classes[WEIR_CLASS_WEIGHTS].source.read = fetch;
	opts.classes[WEIR_CLASS_WEIGHTS].source.arg = s;
	opts.classes[WEIR_CLASS_KV].share_permille = 250;
	return rc ? rc : weir_cache_open(&opts, &s->cache, err);
}

static void close_all(struct spill *s)
{
	weir_cache_close(s->cache);
	weir_pool_close(s->pool);
	if (s->fd >= 0)
		close(s->fd);
	unlink(s->file);
	wr_bench_store_remove(s->dir);
	free(s);
}

int wr_bench_spill_round(const char *folder, struct wr_bench_spill *b, struct weir_error *err)
{
	struct spill *s = calloc(1, sizeof(*s));
	struct weir_cache_stats before = {0}, after = {0};
	double us[NR_ARMS];
	int rc;

	if (!s)
		return wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE, "no memory");
	rc = open_all(s, folder, err);
	if (!rc) {
		for (enum arm arm = ALONE; !rc && arm < NR_ARMS; arm++) {
			if (arm == SPILL)
				rc = weir_cache_stats(s->cache, WEIR_TIER_L3, WEIR_NR_CLASSES,
						      &before);
			if (!rc)
				rc = run_arm(s, arm, &us[arm]);
		}
		if (!rc)
			rc = weir_cache_stats(s->cache, WEIR_TIER_L3, WEIR_NR_CLASSES, &after);
		if (rc)
			wr_error_set(err, rc, s->dir, WEIR_OFFSET_NONE, "blocks cannot go down: %s",
				     weir_strerror(rc));
	}
	if (!rc) {
		wr_bench_add(&b->alone, us[ALONE]);
		wr_bench_add(&b->inserts, us[INSERTS]);
		wr_bench_add(&b->spill, us[SPILL]);
		wr_bench_add(&b->inserts_ratio, us[INSERTS] / us[ALONE]);
		wr_bench_add(&b->spill_ratio, us[SPILL] / us[INSERTS]);
		wr_bench_add(&b->spill_mb, (double)(after.fill_bytes - before.fill_bytes) / 1e6);
	}
	close_all(s);
	return rc;
}
