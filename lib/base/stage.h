/* SPDX-License-Identifier: MIT */
/*
 * The probe of what a host's data does: weir:stage(kind, id, since) fires when a stage ends, since
 * being when it began (CLOCK_MONOTONIC). Nothing is timed while nobody looks; a stage that began
 * before somebody did is not told.
 */
#ifndef WR_BASE_STAGE_H
#define WR_BASE_STAGE_H

#include "base/probe.h"

/* The numbers of enum weir_event_kind, which says what they mean. */
enum wr_stage {
	WR_STAGE_READ = 6,
	WR_STAGE_WAIT = 7,
	WR_STAGE_COMPUTE = 8,
	WR_STAGE_FETCH = 9,
};

WR_PROBE_DECLARE(stage);

/* When it begins; 0: nobody looks. */
static inline uint64_t wr_stage_begin(void)
{
	return wr_probe_enabled(stage) ? wr_now_ns() : 0;
}

static inline void wr_stage_end(enum wr_stage kind, uint64_t id, uint64_t since)
{
	if (wr_probe_enabled(stage) && since != 0)
		wr_probe3(stage, kind, id, since);
}

#endif /* WR_BASE_STAGE_H */
