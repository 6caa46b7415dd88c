/* SPDX-License-Identifier: MIT */
/* A segment as it is mapped for reading, for the files that open and read it. */
#ifndef WR_METRICS_SEGMENT_MAP_H
#define WR_METRICS_SEGMENT_MAP_H

#include <weir/metrics_segment.h>

#include "metrics/segment.h"

/* All [const] once it is open. */
struct weir_segment {
	const char *base;
	uint64_t bytes;
	uint32_t nr_max;  /* checked: that many entries fit */
	uint32_t entries; /* likewise */
	int fd;
	char path[256];
};

/* The part at @offset when it lies inside, else NULL. */
static inline const void *wr_segment_part(const struct weir_segment *segment, uint64_t offset,
					  uint64_t bytes)
{
	if (offset < sizeof(struct wr_segment_head) || offset % 8 != 0 || offset > segment->bytes ||
	    bytes > segment->bytes - offset)
		return NULL;
	return segment->base + offset;
}

#endif /* WR_METRICS_SEGMENT_MAP_H */
