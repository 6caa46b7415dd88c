/* SPDX-License-Identifier: MIT */
/* What the arms share with each other only. */
#ifndef WR_TOOLS_ARM_INTERNAL_H
#define WR_TOOLS_ARM_INTERNAL_H

#include "arm.h"

/* A model's files, mapped. */
struct wr_mapping {
	void *base;
	size_t bytes;
};

struct wr_maps {
	struct wr_mapping *maps;
	uint32_t nr;
};

/* 0, or what mapping *ret_failed ended with. */
int wr_maps_open(const struct weir_model *model, struct wr_maps *ret, const char **ret_failed);
void wr_maps_close(struct wr_maps *maps);

/* Of a context that is to have so much memory: its budget, in whole pages of all nodes. */
size_t wr_arm_context_bytes(uint64_t budget);

/* Fill ret->err; returns @rc. */
int wr_arm_fail(struct wr_arm_result *ret, int rc, const char *what);

/* The passes over a mapping (arm_mmap.c). */
int wr_arm_run_mmap(const struct wr_arm *arm, const struct weir_model *model,
		    const struct weir_units *units, struct wr_arm_result *ret);

#endif /* WR_TOOLS_ARM_INTERNAL_H */
