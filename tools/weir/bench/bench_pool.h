/* SPDX-License-Identifier: MIT */
/*
 * bench_pool.h - The pool against general allocators: who takes part, and what is measured.
 *
 * Peers are the shared objects that distributions package, loaded beside each other into this
 * process and called through pointers, as is the pool, so that all arms run within the same
 * millisecond on the same machine. A peer that is not installed is said to be absent.
 *
 * Blocks are not touched by the benchmark: what is timed is the allocator.
 */
#ifndef WR_TOOLS_BENCH_POOL_H
#define WR_TOOLS_BENCH_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/pool.h>

#include "bench.h"

enum wr_pb_who {
	WR_PB_WEIR,
	WR_PB_NULL,  /* weir once more, in a pool of its own: what the noise is */
	WR_PB_COPY,  /* weir, each span copied for the call that ends it */
	WR_PB_FRONT, /* weir, blocks named by pointers as the peers' are */
	WR_PB_TCMALLOC,
	WR_PB_MIMALLOC,
	WR_PB_JEMALLOC,
	WR_PB_TBB,
	WR_PB_GLIBC,
	WR_PB_ARMS,
};

/* How an arm names its blocks. */
enum wr_pb_form { WR_PB_MALLOC, WR_PB_SPANS, WR_PB_COPIED_SPANS, WR_PB_POOL_POINTERS };

/**
 * struct wr_pb_arm - One allocator.
 * @name:    For tables.
 * @is_there: It takes part; else @note says why not.
 * @note:    File and version.
 * @pool:    Of weir, else NULL.
 * @form:    Which of the pairs below is used.
 * @take:    Spans.
 * @give:    Spans.
 * @give_copy: Copied spans.
 * @pool_alloc:   Pointers from the pool.
 * @pool_release: Pointers from the pool.
 * @alloc:   As malloc().
 * @release: As free().
 */
struct wr_pb_arm {
	const char *name;
	bool is_there;
	char note[96];
	struct weir_pool *pool;
	enum wr_pb_form form;
	int (*take)(struct weir_pool *pool, size_t bytes, int node, struct weir_span *ret);
	int (*give)(struct weir_pool *pool, const struct weir_span *span);
	int (*give_copy)(struct weir_pool *pool, struct weir_span span);
	void *(*pool_alloc)(struct weir_pool *pool, size_t bytes);
	int (*pool_release)(struct weir_pool *pool, void *p);
	void *(*alloc)(size_t bytes);
	void (*release)(void *p);
};

/**
 * wr_pb_arms_open() - Open the pools and load the peers.
 * @arms: WR_PB_ARMS of them.
 * @err:  On failure, which is that of a pool; a peer that is missing is none.
 */
int wr_pb_arms_open(struct wr_pb_arm *arms, struct weir_error *err);
/* Closes the pools; the peers stay loaded, for their threads' sake. */
void wr_pb_arms_close(struct wr_pb_arm *arms);

/*
 * Some peers want more room for thread-local variables than a program sets aside for
 * libraries loaded later. It is given when a program starts: true when it was.
 */
bool wr_pb_has_tls_room(void);
/* Start this program again, as `weir bench @bench`, with that room. Returns only on failure. */
int wr_pb_exec_with_tls_room(const char *bench, const struct wr_bench_args *args);

/* What sizes the blocks have. */
enum wr_pb_size {
	WR_PB_4K,
	WR_PB_64K,
	WR_PB_1M,
	WR_PB_MIX, /* powers of two from 4 KiB to 2 MiB, each as often */
	WR_PB_SIZES,
};

/* "4 KiB" */
const char *wr_pb_size_name(enum wr_pb_size size);

/* How blocks are taken and given back. */
enum wr_pb_way {
	WR_PB_PAIR, /* one thread, all arms in turns of microseconds */
	WR_PB_ONE,  /* one thread by itself, as base for the next */
	WR_PB_TWO,  /* two threads, each with its own blocks */
	WR_PB_FLOW, /* one thread takes, another gives back */
	WR_PB_WAYS,
};

const char *wr_pb_way_name(enum wr_pb_way way);

/**
 * wr_pb_pairs() - Time a free and an allocation with 64 blocks live, for all arms at once.
 * @arms: WR_PB_ARMS.
 * @size: Of the blocks.
 * @ret:  Nanoseconds for each arm, NAN for an absent one: of batches of 512 the one that a
 *        quarter were faster than.
 *
 * Return: 0, -ENOMEM, -ENOSPC (an arm gave no block).
 */
int wr_pb_pairs(const struct wr_pb_arm *arms, enum wr_pb_size size, double *ret);

/**
 * wr_pb_threads() - Time one way with threads of its own for one arm.
 * @arm:  Which.
 * @size: Of the blocks.
 * @way:  WR_PB_ONE, _TWO or _FLOW.
 * @ret:  Nanoseconds a thread needs for an allocation and a free; for _FLOW, what a block
 *        takes from hand to hand. NAN when other processes left too little time in which
 *        both threads ran, several times over.
 *
 * Return: 0, -ENOMEM, -ENOSPC (an arm gave no block).
 */
int wr_pb_threads(const struct wr_pb_arm *arm, enum wr_pb_size size, enum wr_pb_way way,
		  double *ret);

/**
 * struct wr_pb_loads - Dependent loads at random places of much memory.
 * @bytes:     Of each arm; 0: too little memory here.
 * @page_kind: Of the pool.
 * @pool_ns:   A load, once a round.
 * @malloc_ns: The same in memory from malloc() with 4 KiB pages.
 * @limit_ns:  The same in a mapping that asked for transparent huge pages and is used by
 *             nobody else: what the machine can do. Empty where it was not given any.
 * @ratio:     Pool / malloc.
 * @limit:     Mapping / malloc.
 * @metadata:  Metadata of that pool / its capacity.
 */
struct wr_pb_loads {
	uint64_t bytes;
	int page_kind;
	struct wr_bench_series pool_ns, malloc_ns, limit_ns, ratio, limit;
	double metadata;
};

int wr_pb_loads(uint32_t rounds, struct wr_pb_loads *ret, struct weir_error *err);

/**
 * struct wr_pb_tensors - Every tensor of a model as a span of its own.
 * @nr_tensors:  Of the model.
 * @bytes:       That they need.
 * @used_bytes:  That they took.
 * @rounds:      Times that all were taken and given back in random order.
 * @nr_regions:  Of the pool,
 * @nr_whole:    of which this many could be had in one piece afterwards.
 * @grown_bytes: By which the process grew in the second half of the rounds.
 */
struct wr_pb_tensors {
	uint64_t nr_tensors;
	uint64_t bytes;
	uint64_t used_bytes;
	uint32_t rounds;
	uint64_t nr_regions;
	uint64_t nr_whole;
	int64_t grown_bytes;
};

/* @model: as in weir mkmodel. @rounds 0: take all once and look at the waste. */
int wr_pb_tensors(const char *model, uint32_t rounds, struct wr_pb_tensors *ret,
		  struct weir_error *err);

/**
 * struct wr_pb_compact - A pool of small blocks, seven in eight freed at random, compacted.
 * @before:   Per cent of the free bytes that lay in free 2 MiB pieces.
 * @after:    The same, compacted.
 * @moved:    Bytes moved / the least that had to be moved.
 * @gb_per_second: Bytes moved / the processor time that the call took.
 * @per_memcpy: That rate / the rate of memcpy() over as many bytes in blocks of that size.
 * @median_us: Half of the moved blocks could not be pinned for at most so long,
 * @p99_us:   99 of 100 for at most so long,
 * @longest_us: and none for longer.
 * @over_us:  @p99_us less the time that memcpy() takes for the bytes that move at once: a
 *            block, or WR_PB_GROUP_BYTES of smaller ones.
 *
 * All empty where the machine has no room for the pool.
 */
struct wr_pb_compact {
	struct wr_bench_series before, after, moved, gb_per_second, per_memcpy;
	struct wr_bench_series median_us, p99_us, longest_us, over_us;
};

/* A pin waits for the copy of so many bytes, says weir/pool_handle.h, or of one block. */
#define WR_PB_GROUP_BYTES 32768u

/* 0, -EIO (a block lost its bytes), or what the pool said. */
int wr_pb_compact(size_t bytes, size_t block_bytes, uint32_t rounds, struct wr_pb_compact *ret,
		  struct weir_error *err);

/* The same once, slowly, as a picture. */
int wr_pb_compact_draw(size_t bytes, const char *path, struct weir_error *err);

#endif /* WR_TOOLS_BENCH_POOL_H */
