/* SPDX-License-Identifier: MIT */
/*
 * poolmap.h - A recording of a pool, read and drawn.
 *
 * The recording is the text that weir_pool_record_start() describes. It comes from a file, so
 * nothing in it is believed: sizes are bounded, and what does not fit is -EBADMSG.
 */
#ifndef WR_TOOLS_POOLMAP_H
#define WR_TOOLS_POOLMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/base.h>

/* More than these is refused: a pool of 64 TiB, and what a picture can use. */
#define WR_POOLMAP_MAX_PIECES  ((uint64_t)1 << 25)
#define WR_POOLMAP_MAX_REGIONS 256
#define WR_POOLMAP_MAX_CELLS   ((uint64_t)1 << 28)

/* One mapping of the pool. */
struct wr_poolmap_region {
	uint64_t bytes;
	int node;
	char page_kind[8];
	uint64_t first_piece; /* among all pieces of a sample */
	uint64_t nr_pieces;
};

struct wr_poolmap_sample {
	uint64_t t_ns;
	uint64_t used_bytes;
	uint64_t requested_bytes;
	uint64_t largest_free_bytes;
	uint64_t nr_live;
	uint16_t *kib; /* taken of each piece, all regions in a row */
};

/**
 * struct wr_poolmap - A recording.
 * @piece_bytes: What a number speaks for; at most 32 MiB.
 * @regions:     At least one.
 * @samples:     At least one; t_ns never falls.
 * @was_cut:     The file ends within a line, as that of a process that was killed.
 */
struct wr_poolmap {
	uint64_t piece_bytes;
	uint64_t interval_ns;
	uint32_t nr_regions;
	struct wr_poolmap_region *regions;
	uint64_t nr_pieces;
	size_t nr_samples;
	struct wr_poolmap_sample *samples;
	bool was_cut;
};

/**
 * wr_poolmap_read() - Read a recording.
 * @path: File, "-" for the standard input.
 * @ret:  Untouched on failure.
 * @err:  On failure; may be NULL.
 *
 * Return: 0, -EBADMSG (no recording, or a wrong one), -ENOMEM, or the file system's error.
 */
int wr_poolmap_read(const char *path, struct wr_poolmap *ret, struct weir_error *err);

/* From memory, for tests; @name is for messages. */
int wr_poolmap_parse(const char *text, size_t bytes, const char *name, struct wr_poolmap *ret,
		     struct weir_error *err);

void wr_poolmap_fini(struct wr_poolmap *map);

/**
 * wr_poolmap_draw() - Draw one region.
 * @map:    The recording.
 * @region: Which.
 * @title:  Above the picture.
 * @path:   Written whole under another name first, then renamed.
 * @err:    On failure; may be NULL.
 *
 * Return: 0, -EINVAL (no such region), -ENOMEM, or the file system's error.
 */
int wr_poolmap_draw(const struct wr_poolmap *map, uint32_t region, const char *title,
		    const char *path, struct weir_error *err);

#endif /* WR_TOOLS_POOLMAP_H */
