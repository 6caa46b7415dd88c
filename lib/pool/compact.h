/* SPDX-License-Identifier: MIT */
/*
 * pool/compact.h - Between a compaction and the maintenance thread.
 */
#ifndef WR_POOL_COMPACT_H
#define WR_POOL_COMPACT_H

#include "pool/handle.h"

#define WR_COMPACT_TARGET_BYTES (2ull << 20)

/* The bytes of a pool as a compaction sees them. */
struct wr_compact_state {
	uint64_t capacity_bytes;
	uint64_t free_bytes;
	uint64_t free_target_bytes; /* in free blocks of the target size */
	bool has_gain;		    /* some range could be emptied; only when asked for */
};

/* Whether @bytes is a size that a free block of this pool can have. */
bool wr_compact_is_target(const struct wr_handles *hs, uint64_t bytes);

/* Look, move nothing. 0, -ENOMEM (for @ask_gain). */
int wr_compact_look(struct wr_handles *hs, uint64_t target_bytes, uint64_t max_pause_ns,
		    bool ask_gain, struct wr_compact_state *ret);

/*
 * weir_pool_compact() with options that are copied and checked. Ends between two blocks when
 * *@stop becomes true; @stop may be NULL.
 */
int wr_compact_run(struct wr_handles *hs, const struct weir_compact_opts *o,
		   const _Atomic bool *stop, struct weir_compact_report *ret);

#endif /* WR_POOL_COMPACT_H */
