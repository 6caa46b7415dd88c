/* SPDX-License-Identifier: MIT */
/*
 * pool/prefault.h - Touching the pages of several mappings at once.
 */
#ifndef WR_POOL_PREFAULT_H
#define WR_POOL_PREFAULT_H

#include <stddef.h>

#include "pool/provider.h"

/* For a mapping, when nothing else is said. */
#define WR_PREFAULT_THREADS 8u

/**
 * struct wr_prefault_job - One mapping to touch.
 * @provider:   Who commits it.
 * @map:        The mapping.
 * @node:       Node whose processors do it, -1 any.
 * @nr_threads: How many threads; 0 is as many as the node has processors, at most 8.
 * @rc:         Out: 0, or the first error; the rest of the mapping was then not touched.
 */
struct wr_prefault_job {
	const struct wr_pool_provider *provider;
	const struct wr_pool_mapping *map;
	int node;
	size_t nr_threads;
	int rc;
};

/**
 * wr_prefault() - Touch all mappings, each from its own node, all at the same time.
 * @system:    The machine.
 * @jobs:      The mappings; @rc of each is set.
 * @nr_jobs:   How many.
 * @progress:  As in struct weir_pool_opts; called from this thread, may be NULL.
 * @arg:       For @progress.
 *
 * Starts threads and joins them; where none can be started this thread does the work.
 *
 * Return: 0 (see @rc of each job), -ENOMEM (nothing was touched).
 */
int wr_prefault(const struct wr_pool_system *system, struct wr_prefault_job *jobs, size_t nr_jobs,
		void (*progress)(void *arg, size_t done_bytes, size_t total_bytes), void *arg);

#endif /* WR_POOL_PREFAULT_H */
