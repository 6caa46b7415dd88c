/* SPDX-License-Identifier: MIT */
/*
 * pool/ladder.h - Which pages a pool gets, and what is said of each step down.
 *
 * Each node has a range of addresses as large as its share. The largest page kind fills
 * it from the front, as far as it has pages; what is left goes to the next kind, and so
 * on. A rung is left, for a part of the share or all of it, when the provider has too
 * little, when it refuses, or when a page cannot be touched; then the place is filled
 * from the next rung. All nodes are touched at the same time.
 */
#ifndef WR_POOL_LADDER_H
#define WR_POOL_LADDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/pool.h>

#include "pool/provider.h"
#include "pool/zone.h"

/*
 * What was said on the way down. Text grows line by line; a missing allocation is
 * remembered until it is asked for.
 */
struct wr_reasons {
	char *text; /* NULL while empty */
	size_t length;
	bool no_memory;
	struct weir_page_step *steps;
	size_t nr_steps;
};

void wr_reasons_add(struct wr_reasons *r, const char *fmt, ...) WEIR_PRINTF(2, 3);
void wr_reasons_fini(struct wr_reasons *r);

/**
 * struct wr_piece - A part of a node's range, of one page kind.
 * @kind:          The kind.
 * @map:           The memory.
 * @is_registered: Where the provider has register_map(), it was called for @map.
 * @is_done:       All that can be done is done.
 * @thp_bytes:     Of @map, backed by transparent huge pages.
 */
struct wr_piece {
	int kind;
	struct wr_pool_mapping map;
	bool is_registered;
	bool is_done;
	uint64_t thp_bytes;
};

/**
 * struct wr_rung - Where one node stands.
 * @node:        The node, -1 when the machine has none.
 * @share_bytes: What it should give.
 * @range:       Out: where the pieces lie; @range.outer is NULL while there is none.
 * @nr_pieces:   Out: how many.
 * @pieces:      Out: by address, without a gap; less than a page of the share may be missing.
 */
struct wr_rung {
	int node;
	size_t share_bytes;
	struct wr_pool_range range;
	size_t nr_pieces;
	struct wr_piece pieces[WR_POOL_MAX_REGIONS];
};

/**
 * wr_ladder_descend() - Get memory for all nodes.
 * @system:  The machine.
 * @opts:    Checked, with defaults filled in.
 * @rungs:   The nodes.
 * @nr:      How many.
 * @reasons: Lines and steps are added, also on failure.
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
