/* SPDX-License-Identifier: MIT */
/*
 * workload.h - What a pass does with the bytes: the host's arithmetic, and the proof.
 *
 * Every view a pass yields goes through here, whoever brought its bytes. The checksum of a
 * pass depends on the model and on the kind of compute only: not on budget, order of
 * arrival, unit, backend or threads.
 */
#ifndef WR_TOOLS_WORKLOAD_H
#define WR_TOOLS_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/stream.h>

struct weir_topo;
struct wr_workload;

enum wr_compute {
	WR_COMPUTE_TOUCH, /* read every byte */
	WR_COMPUTE_GEMV,  /* multiply matrices of BF16, F16, F32 with a vector; touch the rest */
};

/**
 * wr_workload_open() - Get ready to compute.
 * @compute:    What to do.
 * @nr_threads: Threads, 0 for one per core of @topo.
 * @topo:       Where to pin them, or NULL: not pinned, and 0 threads means 1.
 * @units:      The units whose views will come.
 * @ret:        Untouched on failure.
 *
 * Return: 0, -ENOMEM, -EAGAIN, -EINVAL, -ENODEV.
 */
int wr_workload_open(enum wr_compute compute, unsigned int nr_threads, struct weir_topo *topo,
		     const struct weir_units *units, struct wr_workload **ret);
void wr_workload_close(struct wr_workload *work);

/* Threads in use, the caller's included, and the name of the variant. */
unsigned int wr_workload_threads(const struct wr_workload *work);
const char *wr_workload_variant(const struct wr_workload *work);

/* Begin a pass: checksum and time at zero. */
void wr_workload_begin(struct wr_workload *work);

/* Compute on one view. */
void wr_workload_view(struct wr_workload *work, const struct weir_view *view);

/* Of the pass so far. */
uint64_t wr_workload_checksum(const struct wr_workload *work);
uint64_t wr_workload_ns(const struct wr_workload *work);

#endif /* WR_TOOLS_WORKLOAD_H */
