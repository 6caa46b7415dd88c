/* SPDX-License-Identifier: MIT */
/* The units of a plan; the public half is in weir/stream.h. */
#ifndef WR_STREAM_UNITS_H
#define WR_STREAM_UNITS_H

#include <weir/stream.h>

/* Unit i consists of parts[first[i]] to parts[first[i + 1] - 1]. All [const]. */
struct weir_units {
	uint32_t nr;
	uint32_t nr_parts;
	uint32_t *first;
	struct weir_part *parts;
	uint8_t *wishes;     /* one a unit: enum weir_tensor_rule */
	uint64_t plan_bytes; /* sum of all parts */
	uint64_t unit_bytes; /* largest unit */
};

/* Sum of a unit's parts. */
uint64_t wr_units_bytes(const struct weir_units *units, uint32_t index);

/* wr_opts_copy() and the checks of a plan's fields. 0, -EINVAL, -E2BIG. */
int wr_plan_copy(struct weir_plan *dst, const struct weir_plan *src, struct weir_error *err);

#endif /* WR_STREAM_UNITS_H */
