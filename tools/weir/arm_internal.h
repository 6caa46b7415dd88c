/* SPDX-License-Identifier: MIT */
/* What the two arms share with each other only. */
#ifndef WR_TOOLS_ARM_INTERNAL_H
#define WR_TOOLS_ARM_INTERNAL_H

#include "arm.h"

/* Fill ret->err; returns @rc. */
int wr_arm_fail(struct wr_arm_result *ret, int rc, const char *what);

/* The passes over a mapping (arm_mmap.c). */
int wr_arm_run_mmap(const struct wr_arm *arm, const struct weir_model *model,
		    const struct weir_units *units, struct wr_arm_result *ret);

#endif /* WR_TOOLS_ARM_INTERNAL_H */
