/* SPDX-License-Identifier: MIT */
/*
 * pool/ladder.h - Which pages a pool gets, and the text that says why.
 *
 * For each node the largest page kind is tried first. A rung is left when the provider
 * has too little, when it refuses, or when a page cannot be touched; each time one line
 * with the numbers is added to the reasons. All nodes are touched at the same time.
 */
#ifndef WR_POOL_LADDER_H
#define WR_POOL_LADDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/pool.h>

#include "pool/provider.h"

/* Lines of text that grow. A missing allocation is remembered until it is asked for. */
struct wr_reasons {
	char *text; /* NULL while empty */
	size_t length;
	bool no_memory;
};

void wr_reasons_add(struct wr_reasons *r, const char *fmt, ...) WEIR_PRINTF(2, 3);
void wr_reasons_fini(struct wr_reasons *r);

/**
 * struct wr_rung - Where one node stands.
 * @node:        The node, -1 when the machine has none.
 * @share_bytes: What it should give.
 * @kind:        In: WEIR_PAGE_KINDS. Out: the kind obtained.
 * @map:         Out: the memory; @map.bytes is at most @share_bytes.
 * @is_mapped:   Out: @map is to be released through the provider of @kind.
 * @is_registered: Out: where the provider has register_map(), it was called for @map.
 * @is_done:     Out: all that can be done for this node is done.
 * @thp_bytes:   Out: of @map, backed by transparent huge pages.
 */
struct wr_rung {
	int node;
	size_t share_bytes;
	int kind;
	struct wr_pool_mapping map;
	bool is_mapped;
	bool is_registered;
	bool is_done;
	uint64_t thp_bytes;
};

/**
 * wr_ladder_descend() - Get memory for all nodes.
 * @system:  The machine.
 * @opts:    Checked, with defaults filled in.
 * @rungs:   The nodes.
 * @nr:      How many.
 * @reasons: Lines are added, also on failure.
 * @ret_ns:  Time spent touching.
 *
 * Return: 0, -ENOMEM, -EOPNOTSUPP; on failure nothing stays mapped.
 */
int wr_ladder_descend(const struct wr_pool_system *system, const struct weir_pool_opts *opts,
		      struct wr_rung *rungs, size_t nr, struct wr_reasons *reasons,
		      uint64_t *ret_ns);

/* Release what the rungs hold. */
void wr_ladder_release(const struct wr_pool_system *system, struct wr_rung *rungs, size_t nr);

#endif /* WR_POOL_LADDER_H */
