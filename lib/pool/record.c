/* SPDX-License-Identifier: MIT */
/*
 * Recording what a pool looks like; the format is described in weir/pool_map.h.
 *
 * All memory is taken at the start: the thread only looks, writes and sleeps. It ends by a
 * condition that it waits for with a deadline, so stopping does not wait for an interval.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <weir/pool_map.h>

#include "base/alloc.h"
#include "base/util.h"
#include "lock/lock.h"
#include "pool/state.h"

#define DEFAULT_INTERVAL_NS (10 * 1000000ull)
#define LEAST_INTERVAL_NS   100000ull
/* The longest pair, "4194304,2048,", and brackets. */
#define PAIR_CHARS 14u

struct weir_pool_recorder {
	struct weir_pool *pool; /* [const] */
	FILE *file;		/* [thread] the recorder's, between start and stop */
	char *path;		/* [const] */
	uint64_t interval_ns;	/* [const] */
	uint64_t begin_ns;	/* [const] */
	size_t nr_regions;	/* [const] */
	size_t most_pieces;	/* [const] of a region */
	uint32_t *pieces;	/* [thread] */
	char *text, *before;	/* [thread] the regions of this sample and of the last one */
	size_t text_size;	/* [const] */
	int rc;			/* [thread] the first failure to write */
	pthread_t thread;
	struct wr_mutex lock WR_RANKED(POOL);
	struct wr_cond wake;
	bool stop; /* [POOL] */
};

_Static_assert(sizeof(struct weir_pool_record_opts) == 16 || sizeof(void *) != 8,
	       "a field was added to the options: check it here");

/* "[1,2048,1,1024,510,0]" at @at; returns where it ends. */
static char *write_region(const uint32_t *pieces, size_t nr, char *at, const char *end)
{
	size_t i, run;

	*at++ = '[';
	for (i = 0; i < nr; i += run) {
		for (run = 1; i + run < nr && pieces[i + run] == pieces[i];)
			run++;
		at += snprintf(at, (size_t)(end - at), "%s%zu,%" PRIu32, i ? "," : "", run,
			       (uint32_t)((pieces[i] + 1023) / 1024));
	}
	*at++ = ']';
	return at;
}

static void look_at_regions(struct weir_pool_recorder *rec)
{
	const char *end = rec->text + rec->text_size;
	char *at = rec->text;
	int64_t nr;
	size_t i;

	for (i = 0; i < rec->nr_regions; i++) {
		nr = weir_pool_map(rec->pool, i, rec->most_pieces, rec->pieces);
		if (i > 0)
			*at++ = ',';
		at = write_region(rec->pieces, nr > 0 ? (size_t)nr : 0, at, end);
	}
	*at = '\0';
}

/* @always: though nothing changed. */
static void take_sample(struct weir_pool_recorder *rec, bool always)
{
	struct weir_pool_stats stats;
	char *swap;

	look_at_regions(rec);
	weir_pool_stats(rec->pool, &stats);
	if (!always && !strcmp(rec->text, rec->before))
		return;
	if (fprintf(rec->file,
		    "{\"t_ns\":%" PRIu64 ",\"used_bytes\":%" PRIu64 ",\"requested_bytes\":%" PRIu64
		    ",\"largest_free_bytes\":%" PRIu64 ",\"nr_live\":%" PRIu64
		    ",\"regions\":[%s]}\n",
		    wr_now_ns() - rec->begin_ns, stats.used_bytes, stats.requested_bytes,
		    stats.largest_free_bytes, stats.nr_live, rec->text) < 0 &&
	    !rec->rc)
		rec->rc = -errno;
	swap = rec->before;
	rec->before = rec->text;
	rec->text = swap;
}

static void write_head(struct weir_pool_recorder *rec)
{
	struct weir_pool_region region;
	size_t i;

	fprintf(rec->file,
		"{\"weir_pool_recording\":1,\"piece_bytes\":%u,\"interval_ns\":%" PRIu64
		",\"regions\":[",
		WEIR_POOL_PIECE_BYTES, rec->interval_ns);
	for (i = 0; i < rec->nr_regions; i++)
		if (weir_pool_region(rec->pool, i, &region) == 0)
			fprintf(rec->file,
				"%s{\"bytes\":%zu,\"node\":%" PRId32 ",\"page_kind\":\"%s\"}",
				i ? "," : "", region.bytes, region.node,
				weir_page_kind_name((int)region.page_kind));
	fprintf(rec->file, "]}\n");
}

static void *recorder_main(void *arg)
{
	struct weir_pool_recorder *rec = arg;
	uint64_t next = rec->begin_ns;
	bool stop = false;

	while (!stop) {
		/* A look that came late does not make the next ones come in a rush. */
		next = wr_max(next + rec->interval_ns, wr_now_ns());
		wr_mutex_lock(&rec->lock);
		while (!rec->stop && wr_cond_timedwait(&rec->wake, &rec->lock, next) == 0)
			;
		stop = rec->stop;
		wr_mutex_unlock(&rec->lock);
		take_sample(rec, stop);
	}
	return NULL;
}

static void free_recorder(struct weir_pool_recorder *rec)
{
	wr_free(rec->pieces);
	wr_free(rec->text);
	wr_free(rec->before);
	wr_free(rec->path);
	wr_free(rec);
}

/* Room for the longest sample. */
static int new_recorder(struct weir_pool *pool, const char *path, struct weir_pool_recorder **ret)
{
	struct weir_pool_recorder *rec = wr_calloc(1, sizeof(*rec));
	size_t i, all = 0;
	int64_t nr;

	if (!rec)
		return -ENOMEM;
	rec->pool = pool;
	rec->nr_regions = weir_pool_nr_regions(pool);
	for (i = 0; i < rec->nr_regions; i++) {
		nr = weir_pool_map(pool, i, 0, NULL);
		if (nr < 0) {
			free_recorder(rec);
			return (int)nr;
		}
		all += (size_t)nr;
		rec->most_pieces = wr_max(rec->most_pieces, (size_t)nr);
	}
	rec->text_size = PAIR_CHARS * (all + rec->nr_regions) + 1;
	rec->pieces = wr_calloc(rec->most_pieces, sizeof(*rec->pieces));
	rec->text = wr_calloc(1, rec->text_size);
	rec->before = wr_calloc(1, rec->text_size);
	rec->path = wr_strdup(path);
	if (!rec->pieces || !rec->text || !rec->before || !rec->path) {
		free_recorder(rec);
		return -ENOMEM;
	}
	*ret = rec;
	return 0;
}

/* Signals of the host belong to its own threads. */
static int start_thread(struct weir_pool_recorder *rec)
{
	sigset_t every, before;
	int rc;

	sigfillset(&every);
	pthread_sigmask(SIG_SETMASK, &every, &before);
	rc = -pthread_create(&rec->thread, NULL, recorder_main, rec);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

static int begin_recording(struct weir_pool_recorder *rec, struct weir_error *err)
{
	int rc;

	rec->file = fopen(rec->path, "we");
	if (!rec->file) {
		rc = -errno;
		return wr_error_set(err, rc, rec->path, WEIR_OFFSET_NONE,
				    "the recording cannot be written: %s", weir_strerror(rc));
	}
	wr_mutex_init(&rec->lock, WR_RANK_POOL, "pool.record");
	wr_cond_init(&rec->wake);
	rec->begin_ns = wr_now_ns();
	write_head(rec);
	take_sample(rec, true);
	rc = start_thread(rec);
	if (rc == 0)
		return 0;
	wr_cond_fini(&rec->wake);
	wr_mutex_fini(&rec->lock);
	fclose(rec->file);
	return wr_error_set(err, rc, rec->path, WEIR_OFFSET_NONE, "no thread to record: %s",
			    weir_strerror(rc));
}

int weir_pool_record_start(struct weir_pool *pool, const char *path,
			   const struct weir_pool_record_opts *opts,
			   struct weir_pool_recorder **ret, struct weir_error *err)
{
	struct weir_pool_record_opts none = {.size = sizeof(none)};
	struct weir_pool_recorder *rec = NULL;
	struct weir_pool_record_opts o;
	int rc;

	wr_might_block("starting a recording");
	rc = wr_opts_copy(&o, sizeof(o), opts ? opts : &none);
	if (rc == 0 && (!pool || !path || !ret))
		rc = -EINVAL;
	if (rc == 0 && o.interval_ns == 0)
		o.interval_ns = DEFAULT_INTERVAL_NS;
	if (rc == 0 && o.interval_ns < LEAST_INTERVAL_NS)
		rc = -EINVAL;
	if (rc == 0)
		rc = new_recorder(pool, path, &rec);
	if (rc != 0)
		return wr_error_set(err, rc, path, WEIR_OFFSET_NONE, "no recording: %s",
				    weir_strerror(rc));
	rec->interval_ns = o.interval_ns;
	rc = begin_recording(rec, err);
	if (rc != 0) {
		free_recorder(rec);
		return rc;
	}
	*ret = rec;
	return 0;
}

void weir_pool_record_stop(struct weir_pool_recorder *rec)
{
	if (!rec)
		return;
	wr_might_block("stopping a recording");
	wr_mutex_lock(&rec->lock);
	rec->stop = true;
	wr_cond_signal(&rec->wake);
	wr_mutex_unlock(&rec->lock);
	pthread_join(rec->thread, NULL);
	if (fclose(rec->file) != 0 && !rec->rc)
		rec->rc = -errno;
	if (rec->rc)
		wr_log(WEIR_LOG_ERROR, "pool", "%s could not be written to its end: %s", rec->path,
		       weir_strerror(rec->rc));
	wr_cond_fini(&rec->wake);
	wr_mutex_fini(&rec->lock);
	free_recorder(rec);
}
