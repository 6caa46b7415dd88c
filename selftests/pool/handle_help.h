/* SPDX-License-Identifier: MIT */
/*
 * What the tests of handles, compaction and maintenance share: a pool on a made-up machine,
 * blocks with a pattern that says whose they are, and a listener for the log.
 */
#ifndef HANDLE_HELP_H
#define HANDLE_HELP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/pool_handle.h>

#include "fake_machine.h"

#define HELP_MIB (1ull << 20)

/* A block that a test has. bytes == 0: none. */
struct help_block {
	struct weir_handle handle;
	size_t bytes;
	uint64_t seed; /* of the pattern in it */
};

/* A pool with 4 KiB blocks on nodes of a made-up machine; NULL when that fails. */
struct weir_pool *help_open(struct fake_machine *m, int nr_nodes, size_t capacity_bytes);

/* Fill or compare memory with the pattern of a seed. */
void help_fill(void *p, size_t bytes, uint64_t seed);
bool help_is_filled(const void *p, size_t bytes, uint64_t seed);

/* Take a block and fill it; 0 or the code of weir_handle_alloc(). */
int help_take(struct weir_pool *pool, size_t bytes, int node, uint32_t flags, uint64_t seed,
	      struct help_block *ret);

/* Whether a block's content is there, by a pin. */
bool help_is_whole(struct weir_pool *pool, const struct help_block *b);

/* Where a block is now; NULL when it cannot be pinned. */
void *help_where(struct weir_pool *pool, const struct help_block *b);

/* Give a block back, if there is one. 0 or the code of weir_handle_free(). */
int help_drop(struct weir_pool *pool, struct help_block *b);

/* Fill a pool with movable blocks, then free seven of eight at random. The number of blocks. */
size_t help_fragment(struct weir_pool *pool, size_t bytes, uint64_t seed, struct help_block *blocks,
		     size_t max_blocks);

/* The last line of the log, and how many there were. */
struct help_log {
	int nr;
	char text[512];
};

/* Listen until the process ends. */
void help_listen(struct help_log *log);

#endif /* HANDLE_HELP_H */
