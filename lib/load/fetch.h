/* SPDX-License-Identifier: MIT */
/*
 * Extents into memory: neighbouring extents of a file become one run, a run becomes one
 * read, and any number of runs is one fetch with one completion.
 */
#ifndef WR_LOAD_FETCH_H
#define WR_LOAD_FETCH_H

#include <stdatomic.h>

#include "load/files.h"

/* Extents of one file this close together are read in one go. */
#define WR_RUN_GAP_BYTES 4096

/* Bytes wanted, and where they will stand. */
struct wr_extent {
	uint32_t file;
	uint64_t offset;
	uint64_t bytes;
	size_t place; /* out: of its first byte, relative to the landing memory */
};

/*
 * One read. It begins at a page of the file, so that bytes stand in memory as aligned as they
 * are in the file, whatever the engine's own alignment: 512 for many devices, 1 when buffered.
 */
struct wr_run {
	uint32_t file;
	uint32_t lead; /* bytes read before the first one wanted */
	uint64_t offset;
	uint64_t bytes;
	size_t landing; /* of its buffer, relative to the landing memory */
	size_t landing_bytes;
	size_t head; /* of the first byte wanted, relative to the buffer */
};

/* Sort by file and offset, as wr_runs_plan() needs it. */
void wr_extents_sort(struct wr_extent **extents, uint32_t nr);

/*
 * Merge extents, sorted by file and offset and not overlapping, into runs of at most
 * @max_run_bytes (an extent larger than that is a run of its own), and fill in their
 * places. @runs has room for @nr runs; @ret is the landing memory the runs need together.
 * Number of runs, or -EOVERFLOW.
 */
int wr_runs_plan(const struct wr_files *files, struct wr_extent **extents, uint32_t nr,
		 uint64_t max_run_bytes, struct wr_run *runs, size_t *ret);

struct wr_fetch;

/* All runs of the fetch have ended. Context: as weir_io_done_fn. */
typedef void (*wr_fetch_done_fn)(struct wr_fetch *fetch, int result);

/* One run of a fetch on its way. */
struct wr_fetch_read {
	struct wr_fetch *fetch;
	_Atomic(uint64_t) token; /* [atomic] so that a late promotion may read it; 0: none */
};

/* Caller's memory, which must stay until @done was called; @reads has @nr_runs places. */
struct wr_fetch {
	const struct wr_files *files; /* [const] while in flight, as all down to @arg */
	const struct wr_run *runs;
	uint32_t nr_runs;
	char *mem;
	struct wr_fetch_read *reads;
	wr_fetch_done_fn done;
	void *arg;
	/* [atomic] Runs not ended. The last decrement (acq_rel) sees all other runs' data. */
	_Atomic(uint32_t) remaining;
	/* [atomic] First error, 0 while there is none; ordered by @remaining, as @failed. */
	_Atomic(int) result;
	_Atomic(uint32_t) failed; /* [atomic] which run that was */
};

/*
 * Read all runs. 0: @done will be called exactly once, perhaps before this returns when
 * a later run could not be submitted. Otherwise it is not called, and nothing is in
 * flight: weir_io_read()'s codes. Tokens are set when this returns.
 */
int wr_fetch_start(struct wr_fetch *fetch, int io_class);

/* Hints; the fetch must have been started. What has ended is ignored. */
void wr_fetch_promote(struct wr_fetch *fetch);
void wr_fetch_cancel(struct wr_fetch *fetch);

#endif /* WR_LOAD_FETCH_H */
