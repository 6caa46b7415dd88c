/* SPDX-License-Identifier: MIT */
/*
 * A segment of any records. The input is cut into structures that stand on one page each; unless
 * its first byte says no, what a record needs to be looked at (magic, place, hash) is put right, so
 * that lengths, kinds, summaries and overlaps are what is fuzzed and not the hash.
 */
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "fuzz/fuzz.h"
#include "tier/format.h"

#define PAGES 96u

struct image {
	char *mem;
	uint64_t bytes;
	uint64_t end; /* of the item before */
	bool whole;
};

static int read_image(void *arg, uint64_t offset, void *buf, size_t bytes)
{
	const struct image *im = arg;

	must(offset % WR_STORE_PAGE == 0 && bytes % WR_STORE_PAGE == 0 && bytes != 0);
	must(offset <= im->bytes && bytes <= im->bytes - offset);
	memcpy(buf, im->mem + offset, bytes);
	return 0;
}

static int take(void *arg, const struct wr_store_item *item)
{
	struct image *im = arg;

	must(item->kind == WR_STORE_BLOCK || item->kind == WR_STORE_REMOVE);
	must(item->offset >= im->end && item->offset % WR_STORE_PAGE == 0);
	must((item->bytes != 0) == (item->kind == WR_STORE_BLOCK));
	must(item->bytes <= WR_STORE_MAX_SEGMENT);
	im->end = item->offset + wr_store_extent(item->bytes);
	must(im->end <= im->bytes);
	if (im->whole && item->bytes != 0)
		must(wr_store_hash(im->mem + item->offset + WR_STORE_PAGE, item->bytes) ==
		     item->data_hash);
	return 0;
}

/* Make the page a record of this place, with the hash of what follows it. */
static void put_right(struct image *im, uint64_t at, uint8_t how)
{
	struct wr_store_record r;
	uint64_t padded;

	memcpy(&r, im->mem + at, sizeof(r));
	r.magic = WR_STORE_RECORD_MAGIC;
	r.version = WR_STORE_VERSION;
	r.kind = r.kind % 4;
	r.store[0] = 1;
	r.store[1] = 2;
	r.segment = 3;
	r.offset = at;
	if (how & 2)
		r.bytes %= 5 * WR_STORE_PAGE;
	padded = wr_align_up(r.bytes, WR_STORE_PAGE);
	if (r.bytes > im->bytes)
		how = 0;
	if ((how & 4) && r.kind == WR_STORE_BLOCK && at + WR_STORE_PAGE + r.bytes <= im->bytes)
		r.data_hash = wr_store_hash(im->mem + at + WR_STORE_PAGE, r.bytes);
	if ((how & 4) && r.kind == WR_STORE_SEAL && padded <= at)
		r.data_hash = wr_store_hash(im->mem + at - padded, r.bytes);
	r.hash = wr_store_hash(&r, sizeof(r) - sizeof(r.hash));
	memcpy(im->mem + at, &r, sizeof(r));
}

static void scan(struct image *im, void *window, bool whole)
{
	const struct wr_store_source src = {.read = read_image, .arg = im};
	const struct wr_store_place place = {
		.store = {1, 2}, .segment = 3, .file_bytes = im->bytes};
	struct wr_store_scan found;

	im->end = WR_STORE_PAGE;
	im->whole = whole;
	must(wr_store_scan_segment(&src, &place, whole, window, take, im, &found) == 0);
	must(found.end <= im->bytes || im->bytes < WR_STORE_PAGE);
	must(found.nr_errors == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const size_t part = sizeof(struct wr_store_record);
	static char *window;
	struct image im = {0};
	uint8_t how = size != 0 ? data[0] : 0;
	size_t nr;

	if (window == NULL)
		window = aligned_alloc(WR_STORE_PAGE, WR_STORE_WINDOW);
	must(window != NULL);
	nr = wr_min((size + part - 1) / part + 1, (size_t)PAGES);
	im.bytes = nr * WR_STORE_PAGE;
	im.mem = aligned_alloc(WR_STORE_PAGE, im.bytes);
	must(im.mem != NULL);
	memset(im.mem, 0, im.bytes);
	for (size_t i = 1; i < nr; i++) {
		size_t at = (i - 1) * part;

		memcpy(im.mem + i * WR_STORE_PAGE, data + at, wr_min(part, size - at));
	}
	/* From the end, so that a block hashes what stands behind it; the seal once more. */
	for (size_t i = nr - 1; i >= 1 && (how & 1) == 0; i--)
		put_right(&im, i * WR_STORE_PAGE, how);
	if ((how & 1) == 0 && (how & 8) != 0 && nr > 2)
		put_right(&im, (nr - 1) * WR_STORE_PAGE, how);
	scan(&im, window, true);
	scan(&im, window, false);
	free(im.mem);
	return 0;
}
