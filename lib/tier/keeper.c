/* SPDX-License-Identifier: MIT */
/*
 * The keeper: the store's own thread, for all that takes a while and nobody waits for. It makes
 * segments, seals them, gives back those that nothing points to, and cleans: it copies what is
 * live out of the segment with the least of it, so that this one can be given back.
 *
 * Why a copy cannot bring back what was removed meanwhile: an entry is not copied while an op of its
 * line is being written; a REMOVE that gets its place later has a horizon that covers the segment
 * copied to, which exists by then; and the index is changed only where it still says what was
 * copied. Ops that wait for a place must not keep it from being copied: that may be what makes it.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "tier/internal.h"

#define COPY_BATCH	 32u
#define COPY_BATCH_BYTES ((uint64_t)8 << 20)
/* Dead bytes that make cleaning a segment worth its copies: an eighth of it. */
#define WORTH 8
/* What the disk refused is tried again at most so often. */
#define RETRY_NS 100000000u

/* ---- segments ------------------------------------------------------------------------------------- */

/* Charged before it is allocated. */
static int make_segment(struct wr_store *s, uint64_t bytes, struct wr_store_segment **ret)
	WR_REQUIRES(s->lock)
{
	struct wr_store_segment *seg = NULL;
	uint64_t number = s->next_number++;
	int rc;

	s->stats.disk_bytes += bytes;
	wr_mutex_unlock(&s->lock);
	rc = wr_store_segment_make(s, number, bytes, &seg);
	if (rc != 0)
		wr_log(WEIR_LOG_WARN, "tier", "%s: no new segment: %s", s->dir, weir_strerror(rc));
	wr_mutex_lock(&s->lock);
	if (rc != 0) {
		s->stats.disk_bytes -= bytes;
		return rc;
	}
	TAILQ_INSERT_TAIL(&s->segments, seg, link);
	s->stats.nr_segments++;
	*ret = seg;
	return 0;
}

/* No whole segment fits any more. */
static bool is_tight(const struct wr_store *s) WR_REQUIRES(s->lock)
{
	return s->stats.disk_bytes + s->segment_bytes > s->ceiling;
}

/*
 * What a segment for removes and copies may have. Less than a whole one where the one that was kept
 * for them was in use when the store was closed or its process died, and has been cut to what was
 * in it. 0: not worth making.
 */
static uint64_t spare_bytes(const struct wr_store *s) WR_REQUIRES(s->lock)
{
	uint64_t left = s->ceiling - wr_min(s->stats.disk_bytes, s->ceiling);

	left = wr_min(wr_align_down(left, WR_STORE_PAGE), s->segment_bytes);
	return left >= WR_STORE_SHORT ? left : 0;
}

/* The disk did not let it become what comes next. */
static void is_refused(struct wr_store *s, struct wr_store_segment *seg) WR_REQUIRES(s->lock)
{
	seg->again = seg->state;
	seg->state = WR_SEGMENT_BAD;
	s->stats.nr_bad_segments++;
}

/* Room is wanted: what was refused may work by now. Not all the time, for it may not. */
static bool try_again(struct wr_store *s) WR_REQUIRES(s->lock)
{
	struct wr_store_segment *seg;
	bool any = false;

	if (wr_now_ns() < s->retry_ns)
		return false;
	TAILQ_FOREACH(seg, &s->segments, link) {
		if (seg->state != WR_SEGMENT_BAD || seg->again == WR_SEGMENT_OPEN)
			continue;
		seg->state = seg->again;
		seg->again = WR_SEGMENT_OPEN;
		s->stats.nr_bad_segments--;
		any = true;
	}
	s->retry_ns = wr_now_ns() + RETRY_NS;
	return any;
}

static void seal(struct wr_store *s, struct wr_store_segment *seg) WR_REQUIRES(s->lock)
{
	uint64_t end = seg->used + wr_store_extent(seg->nr_items * sizeof(*seg->items));
	int rc = 0;

	/* One that nothing points to is given back as it is. */
	if (!TAILQ_EMPTY(&seg->entries)) {
		wr_mutex_unlock(&s->lock);
		rc = wr_store_segment_seal(s, seg);
		wr_mutex_lock(&s->lock);
		if (rc == 0) {
			s->stats.disk_bytes -= seg->file_bytes - end;
			s->stats.written_bytes += end - seg->used;
			seg->file_bytes = seg->used = end;
		} else {
			wr_log(WEIR_LOG_WARN, "tier", "%s: segment %llx stays without a seal: %s",
			       s->dir, (unsigned long long)seg->number, weir_strerror(rc));
		}
	}
	if (rc != 0) {
		is_refused(s, seg);
		return;
	}
	seg->state = WR_SEGMENT_SEALED;
	wr_free(seg->items);
	seg->items = NULL;
	seg->nr_items = seg->nr_planned = seg->room_items = 0;
}

static void give_back(struct wr_store *s, struct wr_store_segment *seg) WR_REQUIRES(s->lock)
{
	uint64_t bytes = seg->file_bytes;
	int rc;

	/* Nobody finds it in the index and nobody is in it. */
	wr_mutex_unlock(&s->lock);
	rc = wr_store_segment_unlink(s, seg);
	wr_mutex_lock(&s->lock);
	if (rc != 0) {
		wr_log(WEIR_LOG_WARN, "tier",
		       "%s: segment %llx, of which nothing is needed, cannot be deleted: %s",
		       s->dir, (unsigned long long)seg->number, weir_strerror(rc));
		is_refused(s, seg);
		return;
	}
	TAILQ_REMOVE(&s->segments, seg, link);
	s->stats.nr_segments--;
	s->stats.nr_cleaned++;
	wr_mutex_unlock(&s->lock);
	wr_store_segment_free(seg);
	wr_mutex_lock(&s->lock);
	/* Bytes are free when the file is closed. */
	s->stats.disk_bytes -= bytes;
	wr_store_settle(s);
}

/* A REMOVE is needed as long as another segment may hold what it is about. */
static bool grave_is_needed(struct wr_store *s, const struct wr_store_entry *e) WR_REQUIRES(s->lock)
{
	const struct wr_store_segment *seg;

	TAILQ_FOREACH(seg, &s->segments, link) {
		if (seg != e->segment && seg->number <= e->item.horizon)
			return true;
	}
	return false;
}

static void drop_graves(struct wr_store *s, struct wr_store_segment *seg) WR_REQUIRES(s->lock)
{
	struct wr_store_entry *e, *next;

	for (e = TAILQ_FIRST(&seg->entries); e != NULL; e = next) {
		next = TAILQ_NEXT(e, link);
		if (e->state != WR_ENTRY_GRAVE || grave_is_needed(s, e))
			continue;
		wr_store_entry_set(s, e, NULL, NULL);
		wr_store_entry_put(s, e);
	}
}

/* Seal or give back one segment that is ready for it. */
static bool tidy(struct wr_store *s) WR_REQUIRES(s->lock)
{
	struct wr_store_segment *seg;

	TAILQ_FOREACH(seg, &s->segments, link) {
		if (seg->nr_refs != 0)
			continue;
		if (seg->state == WR_SEGMENT_FULL) {
			seal(s, seg);
			return true;
		}
		if (seg->state != WR_SEGMENT_SEALED || seg->nr_live != 0)
			continue;
		drop_graves(s, seg);
		if (!TAILQ_EMPTY(&seg->entries))
			continue;
		give_back(s, seg);
		return true;
	}
	return false;
}

/* ---- cleaning --------------------------------------------------------------------------------------- */

struct copy {
	struct wr_store_item from, to;
	bool whole;
};

/* Room that the live bytes of @seg take elsewhere, the lines in the summary included. */
static uint64_t room_for(const struct wr_store_segment *seg)
{
	return seg->live_bytes + WR_STORE_PAGE +
	       wr_align_up(seg->live_bytes / WR_STORE_PAGE * sizeof(struct wr_store_item),
			   WR_STORE_PAGE);
}

static uint64_t room_in(const struct wr_store_segment *seg)
{
	return seg == NULL ? 0 : seg->file_bytes - seg->used;
}

/* Cleaning it gives back enough for what it copies. */
static bool is_worth_it(const struct wr_store_segment *seg)
{
	uint64_t dead = seg->file_bytes - seg->live_bytes;

	/* Small ones are what crashes leave of spare ones: they are put together. */
	if (seg->file_bytes < WR_STORE_SHORT && 2 * dead >= seg->file_bytes)
		return true;
	return dead >= wr_max(seg->file_bytes / WORTH, 4 * (uint64_t)WR_STORE_PAGE);
}

static struct wr_store_segment *choose(struct wr_store *s) WR_REQUIRES(s->lock)
{
	struct wr_store_segment *seg, *best = NULL;
	uint64_t room = wr_max(room_in(s->copy_to), room_in(s->active)), spare = spare_bytes(s);

	/* A whole one has room for what one had; of a short one the first page is none. */
	if (spare != 0)
		room = wr_max(room, is_tight(s) ? spare - WR_STORE_PAGE : spare);
	TAILQ_FOREACH(seg, &s->segments, link) {
		uint64_t dead = seg->file_bytes - seg->live_bytes;

		if (seg->state != WR_SEGMENT_SEALED || seg->stuck || TAILQ_EMPTY(&seg->entries) ||
		    room_for(seg) > room || !is_worth_it(seg))
			continue;
		if (best == NULL || dead > best->file_bytes - best->live_bytes)
			best = seg;
	}
	return best;
}

static void fill_up(struct wr_store_segment **at)
{
	if (*at != NULL)
		(*at)->state = WR_SEGMENT_FULL;
	*at = NULL;
}

/* Somewhere to copy to, with room for @bytes. */
static bool have_copy_to(struct wr_store *s, uint64_t bytes) WR_REQUIRES(s->lock)
{
	uint64_t spare = spare_bytes(s);

	if (room_in(s->copy_to) >= bytes)
		return true;
	if (is_tight(s) && room_in(s->active) < bytes) {
		if (spare < bytes + WR_STORE_PAGE)
			return false;
		fill_up(&s->copy_to);
		return make_segment(s, spare, &s->copy_to) == 0;
	}
	if (is_tight(s)) {
		/* Removes have taken what was left for this: go on in their segment. */
		fill_up(&s->copy_to);
		s->copy_to = s->active;
		s->copy_to->spare = false;
		s->active = NULL;
		return true;
	}
	/* What no longer fits it goes to the next one; the segment is given back after that. */
	if (room_in(s->copy_to) >= s->segment_bytes / WORTH)
		return true;
	fill_up(&s->copy_to);
	return make_segment(s, s->segment_bytes, &s->copy_to) == 0;
}

/* The first of its line has a place, and is being written or synced. */
static bool is_changing(const struct wr_store_entry *e)
{
	const struct wr_store_op *op = STAILQ_FIRST(&e->line);

	return op != NULL && op->segment != NULL;
}

static uint32_t gather(struct wr_store *s, struct wr_store_segment *seg,
		       struct copy copies[COPY_BATCH], bool *full) WR_REQUIRES(s->lock)
{
	struct wr_store_entry *e;
	uint64_t bytes = 0;
	uint32_t nr = 0;

	*full = false;
	TAILQ_FOREACH(e, &seg->entries, link) {
		struct copy *c = &copies[nr];

		if (is_changing(e) || e->corrupt)
			continue;
		if (nr == COPY_BATCH || (nr != 0 && bytes >= COPY_BATCH_BYTES))
			break;
		*c = (struct copy){.from = e->item, .to = e->item};
		if (wr_store_segment_reserve(s->copy_to) != 0)
			break;
		if (!wr_store_segment_place(s->copy_to, wr_store_extent(e->item.bytes),
					    &c->to.offset)) {
			s->copy_to->nr_planned--;
			*full = true;
			break;
		}
		bytes += wr_store_extent(e->item.bytes);
		nr++;
	}
	return nr;
}

/* No lock held. 0; -EBADMSG: the block is not what it was; other codes: it cannot be copied. */
static int copy_one(struct wr_store *s, struct wr_store_segment *seg, struct wr_store_segment *to,
		    const struct copy *c)
{
	uint64_t bytes = wr_store_extent(c->from.bytes);
	char *mem = wr_calloc_aligned(WR_STORE_PAGE, bytes);
	int rc;

	if (mem == NULL)
		return -ENOMEM;
	/* The record's page comes along: the name stands only there. */
	rc = wr_store_io_now(s, WR_STORE_IO_READ, seg->file, c->from.offset, mem, bytes);
	if (rc == 0 && c->from.bytes != 0 &&
	    wr_store_hash(mem + WR_STORE_PAGE, c->from.bytes) != c->from.data_hash)
		rc = -EBADMSG;
	wr_store_step(WR_STORE_STEP_COPY_READ);
	if (rc == 0) {
		wr_store_fill_record(s, to->number, &c->to, mem);
		rc = wr_store_io_now(s, WR_STORE_IO_WRITE, to->file, c->to.offset, mem, bytes);
	}
	wr_store_step(WR_STORE_STEP_COPY_WRITTEN);
	wr_free(mem);
	return rc;
}

static struct wr_store_entry *still_there(struct wr_store *s, struct wr_store_segment *seg,
					  const struct wr_store_item *item) WR_REQUIRES(s->lock)
{
	struct wr_store_entry *e = wr_store_entry_find(s, item->key);

	if (e == NULL || e->state == WR_ENTRY_NONE || e->segment != seg ||
	    e->item.offset != item->offset)
		return NULL;
	return e;
}

static void ignore(void *arg, int result)
{
	(void)arg;
	(void)result;
}

/* What is lost is removed for good, so that an older block of the key does not take its place. */
static void bury(struct wr_store *s, struct wr_store_segment *seg, struct weir_key key)
	WR_REQUIRES(s->lock)
{
	struct wr_store_entry *e = wr_store_entry_find(s, key);
	int rc;

	if (e != NULL && e->state == WR_ENTRY_LIVE && e->segment == seg && !e->corrupt) {
		e->corrupt = true;
		s->stats.nr_corrupt++;
	}
	wr_mutex_unlock(&s->lock);
	wr_log(WEIR_LOG_ERROR, "tier", "%s: block %016llx%016llx is corrupt", s->dir,
	       (unsigned long long)key.hi, (unsigned long long)key.lo);
	rc = wr_store_remove(s, key, ignore, NULL);
	(void)rc;
	wr_mutex_lock(&s->lock);
}

/* Copy a batch out of @seg. True when something was achieved. */
static bool copy_batch(struct wr_store *s, struct wr_store_segment *seg) WR_REQUIRES(s->lock)
{
	struct copy copies[COPY_BATCH];
	struct wr_store_segment *to = s->copy_to;
	bool full;
	uint32_t nr = gather(s, seg, copies, &full), nr_moved = 0;
	int rc = 0;

	if (nr == 0 && full && to->used != WR_STORE_PAGE) {
		/* The first block is larger than the room: the next segment has it. */
		fill_up(&s->copy_to);
		return to->nr_items != 0;
	}

	wr_mutex_unlock(&s->lock);
	wr_store_step(WR_STORE_STEP_COPY_BEGINS);
	for (uint32_t i = 0; i < nr && rc == 0; i++) {
		rc = copy_one(s, seg, to, &copies[i]);
		copies[i].whole = rc == 0;
		if (rc == -EBADMSG) {
			wr_mutex_lock(&s->lock);
			bury(s, seg, copies[i].from.key);
			wr_mutex_unlock(&s->lock);
			rc = 0;
		}
	}
	if (nr != 0 && wr_store_io_now(s, WR_STORE_IO_SYNC, to->file, 0, NULL, 0) != 0)
		rc = nr = 0;
	wr_store_step(WR_STORE_STEP_COPY_SYNCED);
	wr_mutex_lock(&s->lock);
	for (uint32_t i = 0; i < nr; i++) {
		struct wr_store_entry *e;

		e = copies[i].whole ? still_there(s, seg, &copies[i].from) : NULL;
		if (e == NULL)
			continue;
		wr_store_segment_add(to, &copies[i].to);
		wr_store_entry_set(s, e, to, &copies[i].to);
		s->stats.copied_bytes += wr_store_extent(copies[i].to.bytes);
		s->stats.written_bytes += wr_store_extent(copies[i].to.bytes);
		nr_moved++;
	}
	wr_store_step(WR_STORE_STEP_COPY_DONE);
	return nr_moved != 0;
}

/* One batch of cleaning. False: nothing is worth it. */
static bool clean(struct wr_store *s) WR_REQUIRES(s->lock)
{
	struct wr_store_segment *seg;

	while ((seg = choose(s)) != NULL) {
		drop_graves(s, seg);
		if (TAILQ_EMPTY(&seg->entries)) {
			/* Given back at once, or by the last one who reads it. */
			if (seg->nr_refs == 0)
				return true;
			continue;
		}
		if (!have_copy_to(s, room_for(seg)))
			return false;
		if (copy_batch(s, seg))
			return true;
		seg->stuck = true;
	}
	return false;
}

static uint64_t cut_bytes(const struct wr_store_segment *seg)
{
	return seg == NULL ? 0
			   : room_in(seg) - wr_store_extent(seg->nr_planned * sizeof(*seg->items));
}

/* End the segments that are open, if what is free in them is what is above a lowered budget. */
static bool cut_open(struct wr_store *s) WR_REQUIRES(s->lock)
{
	uint64_t cut = cut_bytes(s->active) + cut_bytes(s->copy_to);

	if (s->stats.disk_bytes <= s->stats.budget_bytes ||
	    s->stats.disk_bytes > s->stats.budget_bytes + cut)
		return false;
	fill_up(&s->active);
	fill_up(&s->copy_to);
	return true;
}

/* ---- what waits --------------------------------------------------------------------------------------- */

static void fail(struct wr_store *s, struct wr_store_op_list *list, int rc) WR_REQUIRES(s->lock)
{
	struct wr_store_todo todo;
	struct wr_store_op_list failed = STAILQ_HEAD_INITIALIZER(failed);
	struct wr_store_op *op;

	wr_store_todo_init(&todo);
	/* What stands behind these in its line comes to wait anew. */
	STAILQ_CONCAT(&failed, list);
	while ((op = STAILQ_FIRST(&failed)) != NULL) {
		STAILQ_REMOVE_HEAD(&failed, link);
		wr_store_op_end(s, op, rc, &todo);
	}
	wr_mutex_unlock(&s->lock);
	wr_store_todo_run(s, &todo);
	wr_mutex_lock(&s->lock);
}

static bool has_changing(const struct wr_store_segment *seg)
{
	const struct wr_store_entry *e;

	TAILQ_FOREACH(e, &seg->entries, link) {
		if (is_changing(e))
			return true;
	}
	return false;
}

/* Bytes will come back when somebody leaves a segment, or the ops end that keep it from being cleaned. */
static bool more_will_come(struct wr_store *s) WR_REQUIRES(s->lock)
{
	const struct wr_store_segment *seg;

	TAILQ_FOREACH(seg, &s->segments, link) {
		if (seg->stuck && has_changing(seg))
			return true;
		if (seg->nr_refs != 0 &&
		    (seg->state == WR_SEGMENT_FULL ||
		     (seg->state == WR_SEGMENT_SEALED && TAILQ_EMPTY(&seg->entries))))
			return true;
	}
	return false;
}

/* No segment can be made: -EAGAIN when one may be had later or something was achieved, else -ENOSPC. */
static int wait_for_room(struct wr_store *s, bool *achieved) WR_REQUIRES(s->lock)
{
	*achieved = clean(s) || try_again(s);
	return *achieved || more_will_come(s) ? -EAGAIN : -ENOSPC;
}

/*
 * A segment that removes can go to. One is left for them, and for cleaning, which is how the others
 * come back: whichever needs it first has it, and the other follows into it.
 */
static int open_for_removes(struct wr_store *s, bool *achieved) WR_REQUIRES(s->lock)
{
	bool is_last = s->stats.disk_bytes + 2 * s->segment_bytes > s->ceiling;
	int rc = 0;

	*achieved = true;
	if (!is_tight(s)) {
		rc = make_segment(s, s->segment_bytes, &s->active);
		/* The file system may have room for little, which is all that a remove needs. */
		if (rc == -EDQUOT)
			rc = make_segment(s, WR_STORE_SHORT, &s->active);
	} else if (clean(s)) {
		/* Before removes take the room that cleaning needs. */
		return -EAGAIN;
	} else if (room_in(s->copy_to) >= 4 * (uint64_t)WR_STORE_PAGE) {
		s->active = s->copy_to;
		s->copy_to = NULL;
	} else if (spare_bytes(s) != 0) {
		rc = make_segment(s, spare_bytes(s), &s->active);
	} else {
		return wait_for_room(s, achieved);
	}
	if (rc == 0)
		s->active->spare = is_last;
	return rc;
}

/* Two are needed, so that one is left. What is above a lowered budget is for cleaning alone. */
static int open_for_puts(struct wr_store *s, bool *achieved) WR_REQUIRES(s->lock)
{
	uint64_t need = (s->active == NULL ? 2 : 1) * s->segment_bytes;

	*achieved = true;
	if (s->stats.disk_bytes + need > s->stats.budget_bytes)
		return wait_for_room(s, achieved);
	if (s->active == NULL)
		return make_segment(s, s->segment_bytes, &s->active);
	s->active->spare = false;
	return 0;
}

static bool serve_waiting(struct wr_store *s) WR_REQUIRES(s->lock)
{
	struct wr_store_op_list *list = &s->leaving;
	struct wr_store_todo todo;
	bool achieved = true;
	int rc = 0;

	if (STAILQ_EMPTY(list))
		list = &s->waiting;
	if (STAILQ_EMPTY(list))
		return false;
	if (list == &s->leaving && s->active == NULL)
		rc = open_for_removes(s, &achieved);
	else if (list == &s->waiting && (s->active == NULL || s->active->spare))
		rc = open_for_puts(s, &achieved);
	if (rc == -EAGAIN)
		return achieved;
	if (rc != 0) {
		fail(s, list, rc);
		return true;
	}
	wr_store_todo_init(&todo);
	wr_store_place_waiting(s, &todo);
	wr_mutex_unlock(&s->lock);
	wr_store_todo_run(s, &todo);
	wr_mutex_lock(&s->lock);
	return true;
}

static bool end_late(struct wr_store *s) WR_REQUIRES(s->lock)
{
	struct wr_store_op *op = STAILQ_FIRST(&s->late);
	struct wr_store_todo todo;

	if (op == NULL)
		return false;
	STAILQ_REMOVE_HEAD(&s->late, link);
	wr_store_todo_init(&todo);
	wr_store_op_end(s, op, wr_load_relaxed(&op->result), &todo);
	wr_mutex_unlock(&s->lock);
	wr_store_todo_run(s, &todo);
	wr_mutex_lock(&s->lock);
	return true;
}

void *wr_store_keeper_main(void *arg) WR_NO_THREAD_SAFETY
{
	struct wr_store *s = arg;

	wr_mutex_lock(&s->lock);
	for (;;) {
		s->is_woken = false;
		if (s->stop) {
			fill_up(&s->active);
			fill_up(&s->copy_to);
		}
		if (end_late(s) || tidy(s) || serve_waiting(s))
			continue;
		if (s->stop)
			break;
		/* Room is made again as soon as the last of it is used. */
		if ((s->ceiling > s->stats.budget_bytes ||
		     (s->active != NULL && s->active->spare)) &&
		    (clean(s) || cut_open(s)))
			continue;
		/* Cleaning lets the lock go, also where it comes to nothing. */
		if (!s->is_woken)
			wr_cond_wait(&s->work, &s->lock);
	}
	wr_mutex_unlock(&s->lock);
	return NULL;
}
