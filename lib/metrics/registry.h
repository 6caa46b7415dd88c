/* SPDX-License-Identifier: MIT */
/*
 * What the files of this module share: the registry, and the cells of a thread, called a shard.
 *
 * Which operations may run at once: everything with everything, except weir_metrics_close(), which
 * runs alone but for threads that end. The lists only grow while the registry lives, so readers
 * take no lock:
 *
 *   writer                                   reader
 *   A1  entry written, nr_metrics released   nr_metrics acquired, entry read
 *   A2  chunk zeroed, pointer released       pointer acquired, cells read
 *   A3  shard zeroed, head of list released  head acquired, list walked
 *
 * A cell has one writer at a time, the shard's owner. Ownership passes from a thread that ends to
 * one that starts under the lock METRICS, with the counts left in place.
 */
#ifndef WR_METRICS_REGISTRY_H
#define WR_METRICS_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/metrics.h>

#include "lock/lock.h"

#define CHUNK_CELLS 64u
#define NR_CHUNKS   (WEIR_METRICS_MAX / CHUNK_CELLS)

/* Row 0 counts values below 32, row r from 2^(r+4) below 2^(r+5), each in 32 steps. */
#define ROW_BUCKETS 32u
#define NR_ROWS	    (WEIR_HISTOGRAM_BUCKETS / ROW_BUCKETS)

struct row {
	_Atomic uint64_t buckets[ROW_BUCKETS]; /* [thread] writes, all read */
};

/* A histogram's part in one shard. Rows come when a value first falls into them. */
struct hist {
	_Atomic uint64_t sum; /* [thread] writes, all read */
	_Atomic(struct row *) rows[NR_ROWS];
};

struct chunk {
	_Atomic int64_t cells[CHUNK_CELLS]; /* [thread] writes, all read */
};

struct hist_chunk {
	_Atomic(struct hist *) hists[CHUNK_CELLS];
};

struct shard {
	struct shard *next;	 /* [const] once in the registry's list */
	struct shard *next_free; /* [METRICS] */
	_Atomic(struct chunk *) chunks[NR_CHUNKS];
	_Atomic(struct hist_chunk *) hist_chunks[NR_CHUNKS];
};

struct entry {
	char *name, *unit, *help;   /* [const] */
	int kind;		    /* [const] */
	int64_t (*read)(void *arg); /* [const] NULL: the cells are read */
	void *arg;		    /* [const] */
	_Atomic int64_t base;	    /* [atomic] what a gauge was set to; adds that found no cell */
	_Atomic int64_t last_sum;   /* [atomic] */
};

struct weir_metrics {
	uint32_t slot;				 /* [const] */
	uint64_t generation;			 /* [const] never used twice in a process */
	_Atomic uint32_t nr_metrics;		 /* [atomic] A1 */
	_Atomic uint64_t nr_dropped;		 /* [atomic] */
	_Atomic(struct shard *) shards;		 /* [atomic] A3 */
	struct shard *free_shards;		 /* [METRICS] of threads that ended */
	struct entry *entries[WEIR_METRICS_MAX]; /* [METRICS] to change; A1 to read */
};

/* The lists of registries, free shards and entries. */
extern struct wr_mutex wr_metrics_mutex;

/* Keeps what runs once per thread out of what runs always. */
#define WR_COLD __attribute__((noinline, cold))

void wr_metrics_free_entry(struct entry *entry);

/* NULL when there is no such id. */
struct entry *wr_metrics_entry(struct weir_metrics *metrics, uint32_t id);

/* Sum of what all threads added. */
int64_t wr_metrics_sum_cells(struct weir_metrics *metrics, uint32_t id);

/* The bucket that counts @value: values below 32 fill row 0; 2^e to 2^(e+1) fill row e - 4. */
static inline uint32_t wr_histogram_bucket(uint64_t value)
{
	uint32_t exponent;

	if (value < ROW_BUCKETS)
		return (uint32_t)value;
	exponent = 63u - (uint32_t)__builtin_clzll(value);
	return (exponent - 4) * ROW_BUCKETS + (uint32_t)(value >> (exponent - 5)) % ROW_BUCKETS;
}

#endif /* WR_METRICS_REGISTRY_H */
