/* SPDX-License-Identifier: MIT */
/*
 * arm.h - Passes over a model, run one way or another, with the same compute.
 *
 * An arm is weir on one rung of its ladder, or a plain mapping of the files, which is what
 * hosts do today. Both walk the same units in the same order and give the same numbers, in a
 * struct without pointers, so that an arm can run in a process of its own and send it home.
 */
#ifndef WR_TOOLS_ARM_H
#define WR_TOOLS_ARM_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/weir.h>

#include "workload.h"

#define WR_ARM_MAX_PASSES 64

/* Passed as the backend: a mapping instead of weir. */
#define WR_ARM_MMAP 100u

/**
 * struct wr_arm - What to run.
 * @path:         The model.
 * @backend:      enum weir_io_backend, or WR_ARM_MMAP.
 * @budget_bytes: For weir: landing memory. The mapping has none; a limit is set outside.
 * @page_kinds:   As in struct weir_opts.
 * @page_cache:   enum weir_io_page_cache.
 * @plan:         Unit, tile size, flags; its budget and passes are set from here.
 * @passes:       1 to WR_ARM_MAX_PASSES.
 * @compute:      enum wr_compute.
 * @threads:      Compute threads, 0 for one per core.
 * @pool_map:     Record weir's pool into this file, or NULL.
 * @progress:     Show progress on a terminal.
 */
struct wr_arm {
	const char *path;
	uint32_t backend;
	uint32_t page_kinds;
	uint32_t page_cache;
	uint64_t budget_bytes;
	struct weir_plan plan;
	uint32_t passes;
	enum wr_compute compute;
	unsigned int threads;
	const char *pool_map;
	bool progress;
};

struct wr_arm_pass {
	uint64_t ns;
	uint64_t stall_ns;
	uint64_t compute_ns;
	uint64_t bytes_read; /* weir: by its own count; mapping: what the kernel read for us */
	uint64_t bytes_hit;
	uint64_t checksum;
};

/**
 * struct wr_arm_result - What came of it; plain bytes.
 * @rc:       0 or a negative errno, then @err says why. -EINTR: ^C between two units.
 * @open_ns:  Opening context and stream: above all, touching the memory.
 * @cpu_ns:   User and system time of the process over the passes.
 * @peak_bytes: Largest memory of the process so far, huge pages included.
 */
struct wr_arm_result {
	int32_t rc;
	uint32_t nr_passes;
	uint32_t backend;
	uint32_t page_kind;
	uint32_t threads;
	uint32_t interrupted;
	uint64_t model_bytes;
	uint64_t nr_tensors;
	uint64_t nr_groups;
	uint64_t open_ns;
	uint64_t cpu_ns;
	uint64_t peak_bytes;
	struct weir_stream_info info;
	struct wr_arm_pass passes[WR_ARM_MAX_PASSES];
	char reason[512];
	char page_reason[512];
	char variant[16];
	struct weir_error err;
};

/* Run it in this process. Returns ret->rc. */
int wr_arm_run(const struct wr_arm *arm, struct wr_arm_result *ret);

/* Progress of opening a context; @arg is the struct wr_ui_progress. Ends the process after ^C. */
void wr_arm_touching(void *arg, size_t done_bytes, size_t total_bytes);

/* "fixed", ..., or "mmap". */
const char *wr_arm_backend_name(uint32_t backend);

/* Bytes of all tensors; bytes of all units of a pass. */
uint64_t wr_model_bytes(const struct weir_model *model);
uint64_t wr_units_total(const struct weir_units *units);

#endif /* WR_TOOLS_ARM_H */
