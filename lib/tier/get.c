/* SPDX-License-Identifier: MIT */
/*
 * Reading blocks back: straight into the caller's memory, then compared with the hash that the
 * index has. A get stays in the segment it found until it has ended, so that neither cleaning nor
 * a newer put takes the bytes away under it.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "tier/internal.h"

struct get {
	struct wr_store *store;
	struct wr_store_segment *segment;
	struct wr_store_item item;
	void *buf;
	wr_store_done_fn done;
	void *arg;
	bool again; /* the first time the hash was another one */
};

/* The block is other than it was put: it is not served again. */
static void note_corrupt(struct wr_store *s, const struct get *g) WR_REQUIRES(s->lock)
{
	struct wr_store_entry *e = wr_store_entry_find(s, g->item.key);

	if (e == NULL || e->state != WR_ENTRY_LIVE || e->segment != g->segment ||
	    e->item.offset != g->item.offset || e->corrupt)
		return;
	e->corrupt = true;
	s->stats.nr_corrupt++;
}

static void get_end(struct get *g, int result)
{
	struct wr_store *s = g->store;

	if (result == -EBADMSG || result == -EIO || result == -ENODATA)
		wr_log(result == -EBADMSG ? WEIR_LOG_ERROR : WEIR_LOG_WARN, "tier",
		       "%s: block %016llx%016llx in segment %llx at %llu cannot be got: %s", s->dir,
		       (unsigned long long)g->item.key.hi, (unsigned long long)g->item.key.lo,
		       (unsigned long long)g->segment->number, (unsigned long long)g->item.offset,
		       weir_strerror(result));
	wr_mutex_lock(&s->lock);
	if (result == -EBADMSG)
		note_corrupt(s, g);
	s->stats.nr_gets += result == 0;
	s->stats.nr_failed += result != 0;
	wr_store_segment_leave(s, g->segment);
	wr_mutex_unlock(&s->lock);
	wr_lock_assert_none_held("the callback of a store");
	g->done(g->arg, result);
	wr_free(g);
	wr_mutex_lock(&s->lock);
	if (--s->nr_ops == 0)
		wr_cond_broadcast(&s->changed);
	wr_mutex_unlock(&s->lock);
}

static void read_done(void *arg, int result, void *data);

static int get_submit(struct get *g)
{
	size_t bytes = (size_t)wr_align_up(g->item.bytes, WR_STORE_PAGE);
	struct weir_io_req req = {
		.file = g->segment->file,
		.offset = g->item.offset + WR_STORE_PAGE,
		.bytes = bytes,
		.buf = g->buf,
		.buf_bytes = bytes,
		.io_class = WEIR_IO_DEMAND,
		.done = read_done,
		.arg = g,
	};

	return weir_io_read(g->store->io, &req, NULL);
}

static void read_done(void *arg, int result, void *data)
{
	struct get *g = arg;

	if (result == 0 && wr_store_hash(data, g->item.bytes) != g->item.data_hash) {
		result = -EBADMSG;
		if (!g->again) {
			/* What was wrong may have been the way here. */
			g->again = true;
			result = get_submit(g);
			if (result == 0)
				return;
		}
	}
	get_end(g, result);
}

int wr_store_get(struct wr_store *s, struct weir_key key, void *buf, size_t cap,
		 wr_store_done_fn done, void *arg)
{
	struct wr_store_entry *e;
	struct get *g;
	int rc = 0;

	if (buf == NULL || ((uintptr_t)buf & (WR_STORE_ALIGN - 1)) != 0 || done == NULL)
		return -EINVAL;
	g = wr_calloc(1, sizeof(*g));
	if (g == NULL)
		return -ENOMEM;
	wr_mutex_lock(&s->lock);
	e = wr_store_entry_find(s, key);
	if (s->closing)
		rc = -ESHUTDOWN;
	else if (e == NULL || e->state != WR_ENTRY_LIVE)
		rc = -ENOENT;
	else if (e->corrupt)
		rc = -EBADMSG;
	else if (cap < wr_align_up(e->item.bytes, WR_STORE_PAGE))
		rc = -EINVAL;
	if (rc == 0) {
		*g = (struct get){
			.store = s,
			.segment = e->segment,
			.item = e->item,
			.buf = buf,
			.done = done,
			.arg = arg,
		};
		e->segment->nr_refs++;
		s->nr_ops++;
	}
	wr_mutex_unlock(&s->lock);
	if (rc == 0) {
		rc = get_submit(g);
		if (rc == 0)
			return 0;
		wr_mutex_lock(&s->lock);
		wr_store_segment_leave(s, g->segment);
		if (--s->nr_ops == 0)
			wr_cond_broadcast(&s->changed);
		wr_mutex_unlock(&s->lock);
	}
	wr_free(g);
	return rc;
}
