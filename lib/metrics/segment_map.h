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

#endif /* WR_METRICS_SEGMENT_MAP_H */
