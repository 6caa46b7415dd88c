/* SPDX-License-Identifier: MIT */
/*
 * What a store's folder holds on disk, format 1. All numbers are little-endian; every structure
 * stands at the start of a page of 4096 bytes whose rest is zero.
 *
 *   LOCK          locked (OFD) while a store is open; the text is the owner's process number
 *   MANIFEST      struct wr_store_manifest: which store this is. Published by rename
 *   seg-%016x     a segment, named by its number. Published by rename, with its first page written
 *   *.tmp         what was not published: removed when a store is opened
 *
 *   segment       page 0      struct wr_store_segment_head
 *                 records     each a page with struct wr_store_record, then its data, padded
 *                 summary     in a sealed segment, at its very end: the data of a SEAL record (an
 *                             array of struct wr_store_item), then the page of that record
 *
 * Records need not be contiguous: one whose write did not happen leaves pages of anything. A record
 * counts when all of its header is what it should be: hash, store, segment and offset say that it
 * was written for this place, so that no data can pass for a record. Its data counts when its hash
 * is right. Of several records of a key that with the highest sequence number counts, and it may
 * say that there is nothing (REMOVE). The seal and the manifest save work and are believed only
 * as far as they check; a segment without a seal is read from end to end.
 */
#ifndef WR_TIER_FORMAT_H
#define WR_TIER_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "tier/store.h"

#define WR_STORE_VERSION 1u
#define WR_STORE_PAGE	 4096u

#define WR_STORE_MANIFEST_MAGIC 0x314e414d52494557ull /* "WEIRMAN1" */
#define WR_STORE_SEGMENT_MAGIC	0x3147455352494557ull /* "WEIRSEG1" */
#define WR_STORE_RECORD_MAGIC	0x3143455252494557ull /* "WEIRREC1" */

#define WR_STORE_MIN_SEGMENT ((uint64_t)1 << 20)
#define WR_STORE_MAX_SEGMENT ((uint64_t)1 << 30)

enum wr_store_kind {
	WR_STORE_BLOCK = 1,  /* data of a key */
	WR_STORE_REMOVE = 2, /* from here on there is nothing under the key */
	WR_STORE_SEAL = 3,   /* the summary */
};

/* @hash is XXH3, 64 bits, of the structure's bytes before it. */
struct wr_store_manifest {
	uint64_t magic;
	uint32_t version;
	uint32_t bytes; /* of this structure */
	uint64_t store[2];
	uint64_t segment_bytes;
	uint64_t hash;
};

struct wr_store_segment_head {
	uint64_t magic;
	uint32_t version;
	uint32_t bytes;
	uint64_t store[2];
	uint64_t number;
	uint64_t segment_bytes;
	uint64_t hash;
};

struct wr_store_record {
	uint64_t magic;
	uint32_t version;
	uint16_t kind;
	uint16_t class;
	uint64_t store[2];
	uint64_t segment; /* where this was written: number of the file ... */
	uint64_t offset;  /* ... and of the record's page in it */
	struct weir_key key;
	uint64_t seq;
	uint64_t bytes;	    /* of data, without padding */
	uint64_t data_hash; /* XXH3 of them */
	/* REMOVE: segments up to this number may hold older data of the key. */
	uint64_t horizon;
	char name[WR_STORE_NAME_BYTES];
	uint64_t hash;
};

/* One line of a summary. */
struct wr_store_item {
	struct weir_key key;
	uint64_t seq;
	uint64_t offset;
	uint64_t bytes;
	uint64_t data_hash;
	uint64_t horizon;
	uint16_t kind;
	uint16_t class;
	uint32_t zero;
};

_Static_assert(sizeof(struct wr_store_manifest) == 48, "format 1");
_Static_assert(sizeof(struct wr_store_segment_head) == 56, "format 1");
_Static_assert(sizeof(struct wr_store_record) == 296, "format 1");
_Static_assert(sizeof(struct wr_store_item) == 64, "format 1");

/* What a record of @bytes of data takes in its segment. */
static inline uint64_t wr_store_extent(uint64_t bytes)
{
	return WR_STORE_PAGE + ((bytes + WR_STORE_PAGE - 1) & ~(uint64_t)(WR_STORE_PAGE - 1));
}

/* Which store, which segment, how long its file is: what a record is compared with. */
struct wr_store_place {
	uint64_t store[2];
	uint64_t segment;
	uint64_t file_bytes;
};

/* Where a scanner reads. 0 or -errno; all of the range is inside the file. */
struct wr_store_source {
	int (*read)(void *arg, uint64_t offset, void *buf, size_t bytes);
	void *arg;
};

/* What a scan met beside records. */
struct wr_store_scan {
	uint64_t end;	    /* after the last record */
	uint64_t nr_torn;   /* headers whose data is not what they say */
	uint64_t nr_errors; /* windows that could not be read */
	bool sealed;	    /* the summary was there and whole */
};

/* XXH3, 64 bits. */
uint64_t wr_store_hash(const void *data, size_t bytes);

/*
 * Find the records of a segment: from its summary if there is one and @whole is false, else by
 * reading all of it. @item is called for each, in file order; not 0 ends the scan with that.
 * Hostile bytes give fewer items, never others than were written, never a read outside the file.
 * @window: memory of WR_STORE_WINDOW bytes, aligned to a page. 0, -ENOMEM, or what @item gave.
 */
#define WR_STORE_WINDOW ((size_t)1 << 20)
int wr_store_scan_segment(const struct wr_store_source *src, const struct wr_store_place *place,
			  bool whole, void *window,
			  int (*item)(void *arg, const struct wr_store_item *item), void *arg,
			  struct wr_store_scan *ret) WEIR_MUST_CHECK;

/*
 * Identity pages. 0, -EBADMSG (not one, or damaged), -EOPNOTSUPP (another version). Little-endian
 * machines only: others are refused when a store is opened.
 */
int wr_store_check_manifest(const struct wr_store_manifest *m) WEIR_MUST_CHECK;
int wr_store_check_head(const struct wr_store_segment_head *h) WEIR_MUST_CHECK;

#endif /* WR_TIER_FORMAT_H */
