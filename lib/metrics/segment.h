/* SPDX-License-Identifier: MIT */
/*
 * The segment: a file in memory that holds a registry's numbers, so that other processes read them
 * without asking and what a host counted outlives its end. This is its layout, version 2, and what
 * the owner does with it. Offsets are in bytes from the start, 0 for none; all integers are in the
 * machine's order. Readers take everything here for hostile: segment_read.c.
 *
 * Who writes: the owner's threads, their own cells; the owner under METRICS, names; its collector,
 * history. Memory comes from one end and is never given back, so what was published stays:
 *
 *   S1  entry written, nr_entries released         nr_entries acquired, entry read
 *   S2  part zeroed by the system, offset released offset acquired, part read
 *   S3  point written, nr released                 nr acquired, points read
 */
#ifndef WR_METRICS_SEGMENT_H
#define WR_METRICS_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <weir/metrics.h>

#define WR_SEGMENT_MAGIC   "weirseg"
#define WR_SEGMENT_VERSION 2u

#define WR_SEGMENT_LEAST_BYTES ((size_t)4 << 20)
#define WR_SEGMENT_BYTES       ((size_t)64 << 20)

#define CHUNK_CELLS 64u
#define NR_CHUNKS   (WEIR_METRICS_MAX / CHUNK_CELLS)

/* Row 0 counts values below 32, row r from 2^(r+4) below 2^(r+5), each in 32 steps. */
#define ROW_BUCKETS 32u
#define NR_ROWS	    (WEIR_HISTOGRAM_BUCKETS / ROW_BUCKETS)

/* History: 2 minutes by the second, an hour by 10 seconds, a day by the minute. */
#define NR_RINGS    3u
#define RING_POINTS 1920u
/* clang-format off */
#define WR_RINGS(X) \
	X(0, 1000, 0, 120) \
	X(1, 10000, 120, 360) \
	X(2, 60000, 480, 1440)
/* clang-format on */

/* The values of one metric that all threads share. */
struct live {
	_Atomic int64_t base;	    /* [atomic] what a gauge was set to; adds that found no cell; a
				   * FLOAT's bits, NaN when it is unavailable */
	_Atomic int64_t last_sum;   /* [atomic] what the last exact read gave */
	_Atomic uint64_t window[4]; /* [atomic] a summary's p50, p90, p99, max at the last round */
};

struct wr_segment_entry {
	uint32_t name, unit, help, labels; /* texts; no name: there was no room for it */
	uint32_t kind;
	uint32_t family;
	uint32_t flags;
	uint32_t padding;
	_Atomic uint32_t history;  /* S2 */
	_Atomic uint32_t baseline; /* S2 */
	struct live live;
};

#define WR_ENTRY_PULLED 1u /* last_sum is the value */
#define WR_ENTRY_FAMILY 2u /* has labels, has no value */

/* One row of a histogram, and one cell line: the same in the segment and outside of it. */
struct row {
	_Atomic uint64_t sum;		       /* [thread] writes, all read */
	_Atomic uint64_t buckets[ROW_BUCKETS]; /* [thread] writes, all read */
};

struct chunk {
	_Atomic int64_t cells[CHUNK_CELLS]; /* [thread] writes, all read */
};

/* What a histogram held when it was reset. Odd @seq: being written. */
struct baseline {
	_Atomic uint64_t seq;
	_Atomic uint64_t sum;
	_Atomic uint64_t buckets[WEIR_HISTOGRAM_BUCKETS];
};

/* Offsets only, beside the pointers of struct shard, struct hist_chunk and struct hist. */
struct wr_segment_shard {
	uint32_t next; /* [const] once it is in the list */
	_Atomic uint32_t chunks[NR_CHUNKS];
	_Atomic uint32_t hist_chunks[NR_CHUNKS];
};

struct wr_segment_hist_chunk {
	_Atomic uint32_t hists[CHUNK_CELLS];
};

struct wr_segment_hist {
	_Atomic uint32_t rows[NR_ROWS];
};

/* Times of the points of all series, unix milliseconds, and how many points there ever were. */
struct history_times {
	_Atomic uint64_t nr[NR_RINGS]; /* S3 */
	_Atomic uint64_t times[RING_POINTS];
};

/* One series: which was its first point, and the points; NaN where there was no value. */
struct history {
	_Atomic uint64_t first[NR_RINGS];
	_Atomic uint64_t points[RING_POINTS];
};

/* A table of cells: grid.c writes in rounds, grid_read.c reads. Odd @seq: being written. */
struct wr_segment_grid {
	char name[64];	   /* [const] */
	uint32_t next;	   /* [const] once it is in the list */
	uint32_t full;	   /* [const] of a cell */
	uint32_t nr_rows;  /* [const] */
	uint32_t nr_cells; /* [const] */
	uint32_t rows;	   /* [const] struct wr_segment_grid_row, nr_rows of them */
	uint32_t cells;	   /* [const] 32-bit numbers */
	_Atomic uint64_t seq;
	_Atomic uint64_t time_ms; /* unix: of the last round; 0: never */
};

struct wr_segment_grid_row {
	char text[24];	/* [const] */
	uint64_t total; /* [const] of all its cells when they are full */
	uint32_t first; /* [const] cell of the grid */
	uint32_t nr;	/* [const] */
};

struct wr_segment_head {
	char magic[8];
	uint32_t version;
	uint32_t head_bytes;
	uint64_t bytes;
	uint32_t pid;
	uint32_t nr_max;
	uint64_t start_ms; /* unix */
	char command[16];
	uint32_t entries;
	_Atomic uint32_t nr_entries; /* S1 */
	_Atomic uint32_t shards;     /* S2 */
	_Atomic uint32_t times;	     /* S2 */
	_Atomic uint64_t tick_ms;    /* unix: the last round of the collector */
	_Atomic uint64_t nr_outside; /* parts that found no room here */
	_Atomic uint32_t grids;	     /* S2 */
	uint32_t padding;
};

_Static_assert(sizeof(struct live) == 48, "layout of version 2");
_Static_assert(sizeof(struct wr_segment_entry) == 88, "layout of version 2");
_Static_assert(sizeof(struct row) == 264, "layout of version 2");
_Static_assert(sizeof(struct chunk) == 512, "layout of version 2");
_Static_assert(sizeof(struct baseline) == 15376, "layout of version 2");
_Static_assert(sizeof(struct wr_segment_shard) == 2052, "layout of version 2");
_Static_assert(sizeof(struct wr_segment_hist_chunk) == 256, "layout of version 2");
_Static_assert(sizeof(struct wr_segment_hist) == 240, "layout of version 2");
_Static_assert(sizeof(struct history_times) == 15384, "layout of version 2");
_Static_assert(sizeof(struct history) == 15384, "layout of version 2");
_Static_assert(sizeof(struct wr_segment_grid) == 104, "layout of version 2");
_Static_assert(sizeof(struct wr_segment_grid_row) == 40, "layout of version 2");
_Static_assert(sizeof(struct wr_segment_head) == 96, "layout of version 2");
_Static_assert(sizeof(_Atomic uint64_t) == 8, "atomics have no lock inside");

struct wr_segment {
	char *base; /* [const] */
	struct wr_segment_head *head;
	size_t bytes;		 /* [const] */
	int fd;			 /* -1 in a child: nothing more goes in */
	_Atomic uint64_t used;	 /* [atomic] */
	_Atomic uint64_t backed; /* [atomic] the system has given memory below this */
	char path[256];		 /* [const] */
};

/* Make one for this process in @dir. Codes of weir_metrics_open_opts(). */
int wr_segment_create(const char *dir, size_t bytes, struct wr_segment **ret,
		      struct weir_error *err) WEIR_MUST_CHECK;

/* Remove it; in a child, forget it. NULL is nothing. */
void wr_segment_destroy(struct wr_segment *segment);

/* Zeroed, on a cache line. NULL, and counted, when there is no room or no memory. Lock-free. */
void *wr_segment_alloc(struct wr_segment *segment, size_t bytes, uint32_t *ret_offset);

/* Called in a child after fork(): what was there becomes the child's own copy. */
void wr_segment_forked(struct wr_segment *segment);

static inline bool wr_segment_has(const struct wr_segment *segment, const void *ptr)
{
	const char *at = ptr;

	return segment != NULL && at >= segment->base && at < segment->base + segment->bytes;
}

/*
 * Remove the segments in @dir of this user's hosts that have ended, but for the latest @keep and
 * for those that changed in the last @age_seconds.
 */
void wr_segment_clean(const char *dir, unsigned keep, unsigned age_seconds);

/* Whether the host that made the open file @fd is alive: it holds a lock while it is. */
bool wr_segment_is_live(int fd);

/* Names are "weir-<pid>-<n>". False for any other. */
bool wr_segment_parse_name(const char *name, uint32_t *ret_pid, uint32_t *ret_nr);

#endif /* WR_METRICS_SEGMENT_H */
