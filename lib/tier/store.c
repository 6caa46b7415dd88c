/* SPDX-License-Identifier: MIT */
/*
 * What any thread calls, and the life of an op: into its key's line, to a place in a segment,
 * written, synced together with others, into the index, called back.
 *
 * The record's page and the page the data ends in are the op's own memory, what lies between is
 * written from the caller's: nothing is copied but the last part of a page. These writes are
 * independent: a record without its data is recognised by its hash, so nothing need be ordered
 * but the sync after them.
 */
#include "tier/store.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "tier/internal.h"

void wr_store_fill_record(const struct wr_store *s, uint64_t segment,
			  const struct wr_store_item *item, void *page)
{
	struct wr_store_record *r = page;

	r->magic = WR_STORE_RECORD_MAGIC;
	r->version = WR_STORE_VERSION;
	r->kind = item->kind;
	r->class = item->class;
	r->store[0] = s->id[0];
	r->store[1] = s->id[1];
	r->segment = segment;
	r->offset = item->offset;
	r->key = item->key;
	r->seq = item->seq;
	r->bytes = item->bytes;
	r->data_hash = item->data_hash;
	r->horizon = item->horizon;
	r->hash = wr_store_hash(r, sizeof(*r) - sizeof(r->hash));
}

void wr_store_todo_init(struct wr_store_todo *todo)
{
	STAILQ_INIT(&todo->submit);
	STAILQ_INIT(&todo->done);
	todo->sync = NULL;
}

static void op_free(struct wr_store_op *op)
{
	wr_free(op->pages);
	wr_free(op);
}

void wr_store_wake(struct wr_store *s)
{
	s->is_woken = true;
	wr_cond_signal(&s->work);
}

void wr_store_segment_leave(struct wr_store *s, struct wr_store_segment *seg)
{
	/* The last one out lets the keeper seal it or give it back. */
	if (--seg->nr_refs == 0 && seg->state != WR_SEGMENT_OPEN)
		wr_store_wake(s);
}

/* Tell a test, of a block or of a remove. */
static void step(const struct wr_store_op *op, enum wr_store_step of_put,
		 enum wr_store_step of_remove)
{
	wr_store_step(op->item.kind == WR_STORE_BLOCK ? of_put : of_remove);
}

/* ---- to a place ----------------------------------------------------------------------------------- */

static void close_active(struct wr_store *s) WR_REQUIRES(s->lock)
{
	if (s->active == NULL)
		return;
	s->active->state = WR_SEGMENT_FULL;
	s->active = NULL;
	wr_store_wake(s);
}

static struct wr_store_op_list *line_of(struct wr_store *s, const struct wr_store_op *op)
	WR_REQUIRES(s->lock)
{
	return op->item.kind == WR_STORE_REMOVE ? &s->leaving : &s->waiting;
}

/* 0, -EAGAIN (no room: a new segment is needed), -ENOMEM. */
static int place(struct wr_store *s, struct wr_store_op *op) WR_REQUIRES(s->lock)
{
	struct wr_store_segment *seg = s->active;

	if (seg == NULL || (seg->spare && op->item.kind == WR_STORE_BLOCK))
		return -EAGAIN;
	if (wr_store_segment_reserve(seg) != 0)
		return -ENOMEM;
	if (!wr_store_segment_place(seg, wr_store_extent(op->item.bytes), &op->item.offset)) {
		seg->nr_planned--;
		close_active(s);
		return -EAGAIN;
	}
	op->segment = seg;
	op->item.seq = s->next_seq++;
	/* Any segment there is may hold an older block of the key, and none made from here on. */
	op->item.horizon = op->item.kind == WR_STORE_REMOVE ? s->next_number - 1 : 0;
	seg->nr_refs++;
	return 0;
}

static void place_list(struct wr_store *s, struct wr_store_op_list *list,
		       struct wr_store_todo *todo) WR_REQUIRES(s->lock)
{
	struct wr_store_op *op;

	while ((op = STAILQ_FIRST(list)) != NULL) {
		int rc = place(s, op);

		if (rc == -EAGAIN)
			return;
		STAILQ_REMOVE_HEAD(list, link);
		if (rc == 0)
			STAILQ_INSERT_TAIL(&todo->submit, op, link);
		else
			wr_store_op_end(s, op, rc, todo);
	}
}

void wr_store_place_waiting(struct wr_store *s, struct wr_store_todo *todo)
{
	place_list(s, &s->leaving, todo);
	place_list(s, &s->waiting, todo);
}

/* It is first in its line. 0: it is under way; else it has failed. */
static int begin(struct wr_store *s, struct wr_store_op *op, struct wr_store_todo *todo)
	WR_REQUIRES(s->lock)
{
	int rc = -EAGAIN;

	if (op->item.kind == WR_STORE_REMOVE && op->entry->state != WR_ENTRY_LIVE)
		return -ENOENT;
	if (STAILQ_EMPTY(line_of(s, op)))
		rc = place(s, op);
	if (rc == 0)
		STAILQ_INSERT_TAIL(&todo->submit, op, link);
	if (rc != -EAGAIN)
		return rc;
	STAILQ_INSERT_TAIL(line_of(s, op), op, link);
	wr_store_wake(s);
	return 0;
}

/* ---- the end -------------------------------------------------------------------------------------- */

static void end_one(struct wr_store *s, struct wr_store_op *op, int result,
		    struct wr_store_todo *todo) WR_REQUIRES(s->lock)
{
	struct wr_store_entry *e = op->entry;

	wr_assert(STAILQ_FIRST(&e->line) == op);
	STAILQ_REMOVE_HEAD(&e->line, in_line);
	if (op->item.kind == WR_STORE_BLOCK)
		s->pending_bytes -= wr_store_extent(op->item.bytes);
	/* What it kept from being copied can be now, or is gone. */
	if (e->state != WR_ENTRY_NONE && e->segment->stuck) {
		e->segment->stuck = false;
		wr_store_wake(s);
	}
	if (result == 0) {
		wr_store_segment_add(op->segment, &op->item);
		wr_store_entry_set(s, e, op->segment, &op->item);
		s->stats.nr_puts += op->item.kind == WR_STORE_BLOCK;
		s->stats.nr_removes += op->item.kind == WR_STORE_REMOVE;
	} else {
		s->stats.nr_failed++;
	}
	if (op->segment != NULL) {
		/* The last of the room is being used: is there something to clean by now? */
		if (op->segment->spare)
			wr_store_wake(s);
		wr_store_segment_leave(s, op->segment);
	}
	wr_store_relaxed(&op->result, result);
	STAILQ_INSERT_TAIL(&todo->done, op, link);
}

void wr_store_op_end(struct wr_store *s, struct wr_store_op *op, int result,
		     struct wr_store_todo *todo)
{
	struct wr_store_entry *e = op->entry;

	end_one(s, op, result, todo);
	while ((op = STAILQ_FIRST(&e->line)) != NULL) {
		result = begin(s, op, todo);
		if (result == 0)
			return;
		end_one(s, op, result, todo);
	}
	wr_store_entry_put(s, e);
}

/* ---- synced --------------------------------------------------------------------------------------- */

static void start_sync(struct wr_store *s, struct wr_store_segment *seg, struct wr_store_todo *todo)
	WR_REQUIRES(s->lock)
{
	if (seg->syncing || STAILQ_EMPTY(&seg->unsynced))
		return;
	wr_assert(todo->sync == NULL);
	seg->syncing = true;
	STAILQ_CONCAT(&seg->batch, &seg->unsynced);
	s->stats.nr_syncs++;
	todo->sync = seg;
}

/* What failed once is not appended to again: the next op gets another file. */
static void give_up_segment(struct wr_store *s, struct wr_store_segment *seg) WR_REQUIRES(s->lock)
{
	if (s->active == seg)
		close_active(s);
}

static void synced(void *arg, int result, void *data)
{
	struct wr_store_segment *seg = arg;
	struct wr_store *s = seg->store;
	struct wr_store_todo todo;
	struct wr_store_op_list batch = STAILQ_HEAD_INITIALIZER(batch);
	struct wr_store_op *op;

	(void)data;
	wr_store_todo_init(&todo);
	wr_mutex_lock(&s->lock);
	STAILQ_CONCAT(&batch, &seg->batch);
	if (!STAILQ_EMPTY(&batch))
		step(STAILQ_FIRST(&batch), WR_STORE_STEP_PUT_SYNCED, WR_STORE_STEP_REMOVE_SYNCED);
	seg->syncing = false;
	if (result != 0)
		give_up_segment(s, seg);
	start_sync(s, seg, &todo);
	while ((op = STAILQ_FIRST(&batch)) != NULL) {
		STAILQ_REMOVE_HEAD(&batch, link);
		wr_store_op_end(s, op, result, &todo);
	}
	wr_mutex_unlock(&s->lock);
	wr_store_todo_run(s, &todo);
}

/* ---- written -------------------------------------------------------------------------------------- */

/* All parts of @op have ended. */
static void written(struct wr_store_op *op)
{
	struct wr_store *s = op->store;
	struct wr_store_todo todo;
	int result = wr_load_relaxed(&op->result);

	step(op, WR_STORE_STEP_PUT_WRITTEN, WR_STORE_STEP_REMOVE_WRITTEN);
	wr_store_todo_init(&todo);
	wr_mutex_lock(&s->lock);
	if (result != 0) {
		give_up_segment(s, op->segment);
		wr_store_op_end(s, op, result, &todo);
	} else {
		s->stats.written_bytes += wr_store_extent(op->item.bytes);
		if (s->sync == WR_STORE_SYNC_NONE) {
			wr_store_op_end(s, op, 0, &todo);
		} else {
			STAILQ_INSERT_TAIL(&op->segment->unsynced, op, link);
			start_sync(s, op->segment, &todo);
		}
	}
	wr_mutex_unlock(&s->lock);
	wr_store_todo_run(s, &todo);
}

static void note_failure(struct wr_store_op *op, int result)
{
	int none = 0;

	if (result != 0)
		(void)wr_cas_acq_rel(&op->result, &none, result);
}

static void part_written(void *arg, int result, void *data)
{
	struct wr_store_op *op = arg;

	(void)data;
	note_failure(op, result);
	if (wr_fetch_sub_acq_rel(&op->nr_parts, 1u) == 1)
		written(op);
}

static int write_part(struct wr_store_op *op, uint64_t offset, const char *mem, size_t bytes)
{
	struct weir_io_req req = {
		.file = op->segment->file,
		.offset = offset,
		.bytes = bytes,
		.buf_bytes = bytes,
		.io_class = op->io_class,
		.done = part_written,
		.arg = op,
	};

	/* The engine takes reads and writes in one form; of a write it only reads. */
	memcpy(&req.buf, &mem, sizeof(req.buf));
	return wr_io_write(op->store->io, &req, NULL);
}

static void submit(struct wr_store_op *op)
{
	struct wr_store *s = op->store;
	uint64_t body = wr_align_down(op->item.bytes, WR_STORE_PAGE);
	uint64_t tail = op->item.bytes - body, at = op->item.offset;
	size_t first = body == 0 && tail != 0 ? 2 * WR_STORE_PAGE : WR_STORE_PAGE;
	uint32_t nr_parts = 1u + (body != 0) + (body != 0 && tail != 0), nr_asked = 0;
	int rc;

	wr_store_fill_record(s, op->segment->number, &op->item, op->pages);
	wr_store_relaxed(&op->result, 0);
	wr_store_release(&op->nr_parts, nr_parts + 1);
	rc = write_part(op, at, op->pages, first);
	nr_asked += rc == 0;
	step(op, WR_STORE_STEP_PUT_BEGINS, WR_STORE_STEP_REMOVE_BEGINS);
	if (rc == 0 && body != 0) {
		rc = write_part(op, at + WR_STORE_PAGE, op->buf, body);
		nr_asked += rc == 0;
	}
	if (rc == 0 && body != 0 && tail != 0) {
		rc = write_part(op, at + WR_STORE_PAGE + body, op->pages + WR_STORE_PAGE,
				WR_STORE_PAGE);
		nr_asked += rc == 0;
	}
	note_failure(op, rc);
	/* Ours, and those that nobody will call back for. */
	if (wr_fetch_sub_acq_rel(&op->nr_parts, 1u + nr_parts - nr_asked) !=
	    1u + nr_parts - nr_asked)
		return;
	if (rc == 0) {
		written(op);
		return;
	}
	/* This may be a caller's thread, on which nobody is called back. */
	wr_mutex_lock(&s->lock);
	STAILQ_INSERT_TAIL(&s->late, op, link);
	wr_store_wake(s);
	wr_mutex_unlock(&s->lock);
}

/* Which block it is about; what of the disk failed, the engine has said. */
static void say_failed(const struct wr_store *s, const struct wr_store_op *op)
{
	const struct wr_store_record *record = (const void *)op->pages;
	int rc = wr_load_relaxed(&op->result);

	if (rc != -EIO && rc != -EDQUOT && rc != -EROFS)
		return;
	wr_log(WEIR_LOG_WARN, "tier", "%s: block %016llx%016llx %s could not be %s: %s", s->dir,
	       (unsigned long long)op->item.key.hi, (unsigned long long)op->item.key.lo,
	       record->name, op->item.kind == WR_STORE_BLOCK ? "put" : "removed",
	       weir_strerror(rc));
}

void wr_store_todo_run(struct wr_store *s, struct wr_store_todo *todo)
{
	struct wr_store_op *op;
	uint64_t nr = 0;

	if (todo->sync != NULL) {
		struct weir_io_req req = {
			.file = todo->sync->file,
			.io_class = WEIR_IO_DEMAND,
			.done = synced,
			.arg = todo->sync,
		};
		int rc = wr_io_sync(s->io, &req, NULL);

		if (rc != 0)
			synced(todo->sync, rc, NULL);
	}
	while ((op = STAILQ_FIRST(&todo->submit)) != NULL) {
		STAILQ_REMOVE_HEAD(&todo->submit, link);
		submit(op);
	}
	while ((op = STAILQ_FIRST(&todo->done)) != NULL) {
		STAILQ_REMOVE_HEAD(&todo->done, link);
		say_failed(s, op);
		wr_lock_assert_none_held("the callback of a store");
		op->done(op->arg, wr_load_relaxed(&op->result));
		op_free(op);
		nr++;
	}
	if (nr == 0)
		return;
	wr_mutex_lock(&s->lock);
	s->nr_ops -= nr;
	if (s->nr_ops == 0)
		wr_cond_broadcast(&s->changed);
	wr_mutex_unlock(&s->lock);
}

/* ---- put and remove --------------------------------------------------------------------------------- */

size_t wr_store_max_bytes(const struct wr_store *s)
{
	/* The segment's first page, the record's, and the seal of one item. */
	return (size_t)(s->segment_bytes - 2 * WR_STORE_PAGE - 2 * WR_STORE_PAGE);
}

uint64_t wr_store_cost(size_t bytes)
{
	return wr_store_extent(bytes);
}

uint64_t wr_store_capacity(const struct wr_store *s)
{
	uint64_t nr = (s->stats.budget_bytes - WR_STORE_OVERHEAD) / s->segment_bytes;

	return (nr - 2) * (s->segment_bytes / 8 * 7);
}

static struct wr_store_op *op_alloc(struct wr_store *s, struct weir_key key, uint16_t kind,
				    wr_store_done_fn done, void *arg)
{
	struct wr_store_op *op = wr_calloc(1, sizeof(*op));

	if (op == NULL)
		return NULL;
	op->pages = wr_calloc_aligned(WR_STORE_PAGE, 2 * WR_STORE_PAGE);
	if (op->pages == NULL) {
		wr_free(op);
		return NULL;
	}
	op->store = s;
	op->item.key = key;
	op->item.kind = kind;
	op->done = done;
	op->arg = arg;
	return op;
}

/* Into its line. */
static int enter(struct wr_store *s, struct wr_store_op *op, struct wr_store_entry *e,
		 struct wr_store_todo *todo) WR_REQUIRES(s->lock)
{
	int rc = 0;

	op->entry = e;
	if (STAILQ_EMPTY(&e->line))
		rc = begin(s, op, todo);
	if (rc != 0) {
		wr_store_entry_put(s, e);
		return rc;
	}
	STAILQ_INSERT_TAIL(&e->line, op, in_line);
	if (op->item.kind == WR_STORE_BLOCK)
		s->pending_bytes += wr_store_extent(op->item.bytes);
	s->nr_ops++;
	return 0;
}

static int enter_put(struct wr_store *s, struct wr_store_op *op, struct wr_store_todo *todo)
	WR_REQUIRES(s->lock)
{
	struct wr_store_entry *e;

	if (s->closing)
		return -ESHUTDOWN;
	if (s->stats.disk_bytes > s->stats.budget_bytes ||
	    s->stats.live_bytes + s->pending_bytes + wr_store_extent(op->item.bytes) >
		    wr_store_capacity(s))
		return -ENOSPC;
	e = wr_store_entry_get(s, op->item.key);
	return e == NULL ? -ENOMEM : enter(s, op, e, todo);
}

int wr_store_put(struct wr_store *s, const struct wr_store_put_req *req)
{
	struct wr_store_record *record;
	struct wr_store_todo todo;
	struct wr_store_op *op;
	uint64_t body;
	int rc;

	if (req->buf == NULL || ((uintptr_t)req->buf & (WR_STORE_ALIGN - 1)) != 0 ||
	    req->bytes == 0 || req->done == NULL || req->class > UINT8_MAX)
		return -EINVAL;
	if (req->bytes > wr_store_max_bytes(s))
		return -EFBIG;
	op = op_alloc(s, req->key, WR_STORE_BLOCK, req->done, req->arg);
	if (op == NULL)
		return -ENOMEM;
	op->item.class = (uint16_t)req->class;
	op->io_class = req->ahead ? WEIR_IO_SPECULATIVE : WEIR_IO_DEMAND;
	op->item.bytes = req->bytes;
	op->item.data_hash = wr_store_hash(req->buf, req->bytes);
	op->buf = req->buf;
	record = (void *)op->pages;
	if (req->name != NULL)
		memcpy(record->name, req->name, strnlen(req->name, sizeof(record->name) - 1));
	body = wr_align_down(req->bytes, WR_STORE_PAGE);
	memcpy(op->pages + WR_STORE_PAGE, op->buf + body, req->bytes - body);
	wr_store_todo_init(&todo);
	wr_mutex_lock(&s->lock);
	rc = enter_put(s, op, &todo);
	wr_mutex_unlock(&s->lock);
	if (rc != 0) {
		op_free(op);
		return rc;
	}
	wr_store_todo_run(s, &todo);
	return 0;
}

int wr_store_remove(struct wr_store *s, struct weir_key key, wr_store_done_fn done, void *arg)
{
	struct wr_store_todo todo;
	struct wr_store_entry *e;
	struct wr_store_op *op;
	int rc;

	op = op_alloc(s, key, WR_STORE_REMOVE, done, arg);
	if (op == NULL)
		return -ENOMEM;
	wr_store_todo_init(&todo);
	wr_mutex_lock(&s->lock);
	e = wr_store_entry_find(s, key);
	if (s->closing)
		rc = -ESHUTDOWN;
	else if (e == NULL || (STAILQ_EMPTY(&e->line) && e->state != WR_ENTRY_LIVE))
		rc = -ENOENT;
	else
		rc = enter(s, op, e, &todo);
	wr_mutex_unlock(&s->lock);
	if (rc != 0) {
		op_free(op);
		return rc;
	}
	wr_store_todo_run(s, &todo);
	return 0;
}

int wr_store_find(struct wr_store *s, struct weir_key key, struct wr_store_info *ret)
{
	struct wr_store_entry *e;
	int rc = -ENOENT;

	wr_mutex_lock(&s->lock);
	e = wr_store_entry_find(s, key);
	if (e != NULL && e->state == WR_ENTRY_LIVE)
		rc = e->corrupt ? -EBADMSG : 0;
	if (rc == 0 && ret != NULL)
		*ret = (struct wr_store_info){
			.bytes = e->item.bytes, .seq = e->item.seq, .class = e->item.class};
	wr_mutex_unlock(&s->lock);
	return rc;
}

void wr_store_stats(struct wr_store *s, struct wr_store_stats *ret)
{
	wr_mutex_lock(&s->lock);
	*ret = s->stats;
	wr_mutex_unlock(&s->lock);
}

void wr_store_settle(struct wr_store *s)
{
	if (s->stats.disk_bytes + s->segment_bytes <= s->stats.budget_bytes)
		s->ceiling = s->stats.budget_bytes;
}

int wr_store_set_budget(struct wr_store *s, uint64_t budget_bytes)
{
	int rc;

	if (budget_bytes < WR_STORE_OVERHEAD + 4 * s->segment_bytes)
		return -EINVAL;
	wr_mutex_lock(&s->lock);
	s->ceiling = wr_max(s->ceiling, budget_bytes);
	s->stats.budget_bytes = budget_bytes;
	wr_store_settle(s);
	rc = s->ceiling > budget_bytes ? -EINPROGRESS : 0;
	/* What the budget allows now may be tried again. */
	wr_store_wake(s);
	wr_mutex_unlock(&s->lock);
	return rc;
}
