/* SPDX-License-Identifier: MIT */
/*
 * A segment of a store, of any bytes. As they are, the scanner sees little but wrong checksums; so
 * most inputs are a program that lays out records, damages them and puts the checksums right
 * again. Whatever is reported must lie inside the file, in order, and be what its checksum says.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "fuzz/fuzz.h"
#include "tier/format.h"

#define MAX_PAGES 64u
#define NUMBER	  7u

struct image {
	unsigned char *bytes;
	uint64_t size;
	size_t last; /* offset of the record that was laid last */
	uint64_t seq;
	uint64_t bad_page; /* cannot be read; 0: none */
	uint64_t at;	   /* end of the last item that was reported */
	bool whole;
};

static const uint64_t store_id[2] = {1, 2};

static struct wr_store_record *record_at(struct image *im, size_t at)
{
	return (struct wr_store_record *)(void *)(im->bytes + at);
}

static void rehash(struct image *im, size_t at)
{
	struct wr_store_record *r = record_at(im, at);

	r->hash = wr_store_hash(r, sizeof(*r) - sizeof(r->hash));
}

/* A record of @bytes of data behind the last one, if there is room. */
static void lay(struct image *im, uint32_t kind, uint64_t bytes, unsigned char fill)
{
	uint64_t extent = wr_store_extent(bytes);
	struct wr_store_record *r;

	if (im->size + extent > (uint64_t)MAX_PAGES * WR_STORE_PAGE)
		return;
	im->last = im->size;
	r = record_at(im, im->last);
	memset(im->bytes + im->last + WR_STORE_PAGE, fill, bytes);
	*r = (struct wr_store_record){
		.magic = WR_STORE_RECORD_MAGIC,
		.version = WR_STORE_VERSION,
		.kind = (uint16_t)kind,
		.class = fill,
		.store = {store_id[0], store_id[1]},
		.segment = NUMBER,
		.offset = im->last,
		.key = {.hi = fill % 4u, .lo = 1},
		.seq = ++im->seq,
		.bytes = bytes,
		.data_hash = wr_store_hash(im->bytes + im->last + WR_STORE_PAGE, bytes),
	};
	rehash(im, im->last);
	im->size += extent;
}

/* A seal whose summary has @nr items, made of the input. */
static void seal(struct image *im, size_t nr, const uint8_t *from, size_t size)
{
	uint64_t bytes = nr * sizeof(struct wr_store_item), at = im->size;
	struct wr_store_item item;
	struct wr_store_record *r;

	if (at + wr_store_extent(bytes) > (uint64_t)MAX_PAGES * WR_STORE_PAGE)
		return;
	for (size_t i = 0; i < nr; i++) {
		uint8_t c = size ? from[i % size] : 0;

		item = (struct wr_store_item){.seq = i,
					      .offset = (c & 63u) * (uint64_t)WR_STORE_PAGE,
					      .bytes = c & 64 ? (uint64_t)c * 100 : 0,
					      .kind = c & 64 ? WR_STORE_BLOCK : WR_STORE_REMOVE};
		if (c & 128)
			memcpy(&item.offset, from, wr_min(size, sizeof(item.offset)));
		memcpy(im->bytes + at + i * sizeof(item), &item, sizeof(item));
	}
	im->last = at + wr_align_up(bytes, WR_STORE_PAGE);
	r = record_at(im, im->last);
	*r = (struct wr_store_record){.magic = WR_STORE_RECORD_MAGIC,
				      .version = WR_STORE_VERSION,
				      .kind = WR_STORE_SEAL,
				      .store = {store_id[0], store_id[1]},
				      .segment = NUMBER,
				      .offset = im->last,
				      .bytes = bytes,
				      .data_hash = wr_store_hash(im->bytes + at, bytes)};
	rehash(im, im->last);
	im->size = im->last + WR_STORE_PAGE;
}

/* Eight bytes somewhere in the last record's header become others; with a right checksum. */
static void twist(struct image *im, const uint8_t *p, bool fix)
{
	size_t at = p[0] % (sizeof(struct wr_store_record) / 8) * 8;

	memcpy(im->bytes + im->last + at, p + 1, 8);
	if (fix)
		rehash(im, im->last);
}

static void run_program(struct image *im, const uint8_t *p, size_t size)
{
	while (size >= 10) {
		uint64_t bytes = p[1] | (uint64_t)p[2] << 8;

		switch (p[0] % 8) {
		case 0:
		case 1:
			lay(im, WR_STORE_BLOCK, bytes, p[3]);
			break;
		case 2:
			lay(im, WR_STORE_REMOVE, 0, p[3]);
			break;
		case 3:
			seal(im, p[1], p + 2, 8);
			break;
		case 4:
			twist(im, p + 1, true);
			break;
		case 5:
			twist(im, p + 1, false);
			break;
		case 6: /* a byte anywhere */
			im->bytes[bytes * 16 % im->size] ^= p[3];
			break;
		default:
			im->bad_page = bytes % MAX_PAGES * WR_STORE_PAGE;
			break;
		}
		p += 10;
		size -= 10;
	}
}

static int read_image(void *arg, uint64_t offset, void *buf, size_t bytes)
{
	struct image *im = arg;

	must(offset <= im->size && bytes <= im->size - offset);
	if (im->bad_page && im->bad_page >= offset && im->bad_page < offset + bytes)
		return -EIO;
	memcpy(buf, im->bytes + offset, bytes);
	return 0;
}

static int see(void *arg, const struct wr_store_item *item)
{
	struct image *im = arg;

	must(item->kind == WR_STORE_BLOCK || item->kind == WR_STORE_REMOVE);
	must((item->kind == WR_STORE_BLOCK) == (item->bytes != 0));
	must(item->offset % WR_STORE_PAGE == 0 && item->offset >= im->at);
	must(item->offset < im->size && item->bytes <= im->size);
	im->at = item->offset + wr_store_extent(item->bytes);
	must(im->at <= im->size);
	if (im->whole && item->bytes && !im->bad_page)
		must(wr_store_hash(im->bytes + item->offset + WR_STORE_PAGE, item->bytes) ==
		     item->data_hash);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static unsigned char window[1u << 20] __attribute__((aligned(4096)));
	struct image im = {.size = WR_STORE_PAGE};
	struct wr_store_source source = {.read = read_image, .arg = &im};
	struct wr_store_place place = {.store = {store_id[0], store_id[1]}, .segment = NUMBER};
	struct wr_store_scan found;

	if (size < 2)
		return 0;
	im.bytes = aligned_alloc(WR_STORE_PAGE, (size_t)MAX_PAGES * WR_STORE_PAGE);
	memset(im.bytes, 0, (size_t)MAX_PAGES * WR_STORE_PAGE);
	if (data[0] & 1) {
		im.size = wr_min(size - 1, (size_t)MAX_PAGES * WR_STORE_PAGE);
		memcpy(im.bytes, data + 1, im.size);
	} else {
		run_program(&im, data + 1, size - 1);
		im.size -= data[0] & 2 ? im.size % 977 : 0; /* cut */
	}
	place.file_bytes = im.size;
	for (int whole = 0; whole < 2; whole++) {
		im.at = WR_STORE_PAGE;
		im.whole = whole;
		must(wr_store_scan_segment(&source, &place, whole, window, see, &im, &found) == 0);
		must(found.end <= wr_max(im.size, (uint64_t)WR_STORE_PAGE));
	}
	(void)wr_store_check_manifest((const void *)im.bytes);
	(void)wr_store_check_head((const void *)im.bytes);
	free(im.bytes);
	return 0;
}
