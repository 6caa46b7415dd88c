/* SPDX-License-Identifier: MIT */
/*
 * Reading what is on disk without believing it: hashes, bounds and the scan of a segment. No state,
 * no system calls: bytes come through a function, so tests and the fuzzer feed it from memory.
 */
#include <errno.h>
#include <string.h>

#include <xxhash.h>

#include "base/alloc.h"
#include "base/util.h"
#include "tier/format.h"

uint64_t wr_store_hash(const void *data, size_t bytes)
{
	return XXH3_64bits(data, bytes);
}

int wr_store_check_manifest(const struct wr_store_manifest *m)
{
	if (m->magic != WR_STORE_MANIFEST_MAGIC)
		return -EBADMSG;
	/* Of another version not even the place of the hash is known. */
	if (m->version != WR_STORE_VERSION)
		return -EOPNOTSUPP;
	if (m->bytes != sizeof(*m) || m->hash != wr_store_hash(m, sizeof(*m) - sizeof(m->hash)))
		return -EBADMSG;
	if (!wr_is_pow2(m->segment_bytes) || m->segment_bytes < WR_STORE_MIN_SEGMENT ||
	    m->segment_bytes > WR_STORE_MAX_SEGMENT)
		return -EBADMSG;
	return 0;
}

int wr_store_check_head(const struct wr_store_segment_head *h)
{
	if (h->magic != WR_STORE_SEGMENT_MAGIC)
		return -EBADMSG;
	if (h->version != WR_STORE_VERSION)
		return -EOPNOTSUPP;
	if (h->bytes != sizeof(*h) || h->hash != wr_store_hash(h, sizeof(*h) - sizeof(h->hash)))
		return -EBADMSG;
	return wr_is_pow2(h->segment_bytes) ? 0 : -EBADMSG;
}

/* Is this a record written for @offset of this segment, with all of its data inside the file? */
static bool record_is_here(const struct wr_store_record *r, const struct wr_store_place *p,
			   uint64_t offset)
{
	uint64_t end;

	if (r->magic != WR_STORE_RECORD_MAGIC || r->version != WR_STORE_VERSION)
		return false;
	if (r->hash != wr_store_hash(r, sizeof(*r) - sizeof(r->hash)))
		return false;
	if (r->store[0] != p->store[0] || r->store[1] != p->store[1] || r->segment != p->segment ||
	    r->offset != offset)
		return false;
	if (r->kind == WR_STORE_SEAL)
		return r->bytes <= offset && r->bytes % sizeof(struct wr_store_item) == 0;
	if (r->kind != WR_STORE_BLOCK && r->kind != WR_STORE_REMOVE)
		return false;
	if ((r->kind == WR_STORE_BLOCK) != (r->bytes != 0) || r->bytes > WR_STORE_MAX_SEGMENT)
		return false;
	return !wr_add_overflow(offset, wr_store_extent(r->bytes), &end) && end <= p->file_bytes;
}

/* ---- the summary ---------------------------------------------------------------------------- */

static bool item_is_sound(const struct wr_store_item *i, uint64_t begin, uint64_t end)
{
	uint64_t after;

	if (i->offset < begin || i->offset % WR_STORE_PAGE != 0 || i->class > UINT8_MAX)
		return false;
	if (i->kind == WR_STORE_REMOVE)
		return i->bytes == 0 && i->offset < end;
	return i->kind == WR_STORE_BLOCK && i->bytes != 0 && i->bytes <= WR_STORE_MAX_SEGMENT &&
	       !wr_add_overflow(i->offset, wr_store_extent(i->bytes), &after) && after <= end;
}

/* @begin: of the summary. The items stand in the order of their offsets and do not overlap. */
static bool items_are_sound(const struct wr_store_item *items, size_t nr, uint64_t begin)
{
	uint64_t at = WR_STORE_PAGE;

	for (size_t i = 0; i < nr; i++) {
		if (!item_is_sound(&items[i], at, begin))
			return false;
		at = items[i].offset + wr_store_extent(items[i].bytes);
	}
	return true;
}

/* The items of a sealed segment, in memory from wr_calloc_aligned(); NULL: it has no sound seal. */
static int read_summary(const struct wr_store_source *src, const struct wr_store_place *place,
			struct wr_store_record *seal, struct wr_store_item **ret, size_t *ret_nr,
			uint64_t *ret_end)
{
	uint64_t at, padded;
	struct wr_store_item *items;

	*ret = NULL;
	if (place->file_bytes < 3 * WR_STORE_PAGE || place->file_bytes % WR_STORE_PAGE != 0)
		return 0;
	at = place->file_bytes - WR_STORE_PAGE;
	if (src->read(src->arg, at, seal, WR_STORE_PAGE) != 0 || !record_is_here(seal, place, at) ||
	    seal->kind != WR_STORE_SEAL || seal->bytes == 0)
		return 0;
	padded = wr_align_up(seal->bytes, WR_STORE_PAGE);
	if (padded > at - WR_STORE_PAGE)
		return 0;
	/* No more than the file has: what it declares is not what is allocated. */
	items = wr_calloc_aligned(WR_STORE_PAGE, padded);
	if (items == NULL)
		return -ENOMEM;
	*ret_nr = seal->bytes / sizeof(*items);
	*ret_end = at - padded;
	if (src->read(src->arg, at - padded, items, padded) != 0 ||
	    wr_store_hash(items, seal->bytes) != seal->data_hash ||
	    !items_are_sound(items, *ret_nr, at - padded)) {
		wr_free(items);
		return 0;
	}
	*ret = items;
	return 0;
}

/* ---- reading all of it ------------------------------------------------------------------------ */

struct reader {
	const struct wr_store_source *src;
	const struct wr_store_place *place;
	char *window;
	uint64_t begin, end; /* what the window holds */
	struct wr_store_scan *found;
};

/* The page at @offset, which is inside the file; NULL when it cannot be read. */
static const char *page_at(struct reader *r, uint64_t offset)
{
	uint64_t bytes;

	if (offset >= r->begin && offset + WR_STORE_PAGE <= r->end)
		return r->window + (offset - r->begin);
	bytes = wr_min((uint64_t)WR_STORE_WINDOW, r->place->file_bytes - offset);
	bytes = wr_align_down(bytes, WR_STORE_PAGE);
	r->begin = r->end = offset;
	if (r->src->read(r->src->arg, offset, r->window, bytes) != 0) {
		/* One bad page must not hide its neighbours. */
		bytes = WR_STORE_PAGE;
		if (r->src->read(r->src->arg, offset, r->window, bytes) != 0) {
			r->found->nr_errors++;
			return NULL;
		}
	}
	r->end = offset + bytes;
	return r->window;
}

/* 1: the data is what its header says; 0: it is not; -EIO: it cannot be read. */
static int data_is_whole(struct reader *r, uint64_t offset, uint64_t bytes, uint64_t hash,
			 XXH3_state_t *state)
{
	if (bytes == 0)
		return 1;
	if (XXH3_64bits_reset(state) != XXH_OK)
		return 0;
	while (bytes != 0) {
		size_t part = wr_min(bytes, (uint64_t)WR_STORE_PAGE);
		const char *page = page_at(r, offset);

		if (page == NULL)
			return -EIO;
		if (XXH3_64bits_update(state, page, part) != XXH_OK)
			return 0;
		offset += WR_STORE_PAGE;
		bytes -= part;
	}
	return XXH3_64bits_digest(state) == hash;
}

static struct wr_store_item item_of(const struct wr_store_record *r)
{
	return (struct wr_store_item){
		.key = r->key,
		.seq = r->seq,
		.offset = r->offset,
		.bytes = r->bytes,
		.data_hash = r->data_hash,
		.horizon = r->horizon,
		.kind = r->kind,
		.class = r->class,
	};
}

static int scan_all(struct reader *r, XXH3_state_t *state,
		    int (*emit)(void *arg, const struct wr_store_item *item), void *arg)
{
	uint64_t offset = WR_STORE_PAGE;
	int rc;

	while (offset + WR_STORE_PAGE <= r->place->file_bytes) {
		const struct wr_store_record *head = (const void *)page_at(r, offset);
		struct wr_store_item item;

		if (head == NULL || !record_is_here(head, r->place, offset) ||
		    head->kind == WR_STORE_SEAL) {
			offset += WR_STORE_PAGE;
			continue;
		}
		item = item_of(head);
		rc = data_is_whole(r, offset + WR_STORE_PAGE, item.bytes, item.data_hash, state);
		offset += wr_store_extent(item.bytes);
		r->found->end = offset;
		if (rc == 0)
			r->found->nr_torn++;
		/* What cannot be read now may be read later: it is known, and checked then. */
		rc = rc == 0 ? 0 : emit(arg, &item);
		if (rc != 0)
			return rc;
	}
	return 0;
}

int wr_store_scan_segment(const struct wr_store_source *src, const struct wr_store_place *place,
			  bool whole, void *window,
			  int (*item)(void *arg, const struct wr_store_item *item), void *arg,
			  struct wr_store_scan *ret)
{
	struct reader r = {.src = src, .place = place, .window = window, .found = ret};
	struct wr_store_item *items = NULL;
	XXH3_state_t *state;
	uint64_t end = 0;
	size_t nr = 0;
	int rc;

	*ret = (struct wr_store_scan){.end = WR_STORE_PAGE};
	rc = read_summary(src, place, window, &items, &nr, &end);
	if (rc != 0)
		return rc;
	ret->sealed = items != NULL;
	if (items != NULL && !whole) {
		ret->end = end;
		for (size_t i = 0; i < nr && rc == 0; i++)
			rc = item(arg, &items[i]);
		wr_free(items);
		return rc;
	}
	wr_free(items);
	state = XXH3_createState();
	if (state == NULL)
		return -ENOMEM;
	rc = scan_all(&r, state, item, arg);
	XXH3_freeState(state);
	return rc;
}
