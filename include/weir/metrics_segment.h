/* SPDX-License-Identifier: MIT */
/**
 * weir/metrics_segment.h - The numbers of another process: a running host, or one that crashed.
 *
 * A registry that was opened with WEIR_METRICS_SHARED keeps its numbers in a file in memory,
 * WEIR_SEGMENT_DIR/weir-<pid>-<n>, which its user alone may read. Reading costs the host
 * nothing: it is not asked and does not notice. Counters, histograms and gauges are as the
 * host's threads left them a moment ago; what the host itself pulls from elsewhere (the
 * engine's and the pool's numbers), and the quantiles of summaries, are as its collector saw
 * them last. weir_close() removes the file. When a host ends in another way it stays, and
 * can be read, until hosts that start later remove it: the latest eight are kept.
 *
 * What is in a file is not trusted: a damaged one has fewer series, or cannot be opened.
 */
#ifndef WEIR_METRICS_SEGMENT_H
#define WEIR_METRICS_SEGMENT_H

#include <weir/metrics_sample.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Where segments are, when nobody says otherwise. */
#define WEIR_SEGMENT_DIR "/dev/shm"

struct weir_segment;

/* The most segments of one export. */
#define WEIR_SEGMENTS_MAX 64u

/**
 * struct weir_segment_info - Whose numbers these are.
 * @path:       Of the file.
 * @command:    The host's name, at most 15 bytes; what is not printable ASCII is '?'.
 * @start_ms:   When the registry was opened, unix milliseconds.
 * @tick_ms:    When its collector was there last; 0 never.
 * @bytes:      Size of the file; most of it may be without memory.
 * @nr_outside: Parts for which the file had no room: some numbers are too low.
 * @pid:        The host.
 * @context:    Which of its registries: the second number of the name, 0 for the first.
 * @alive:      Whether it runs.
 *
 * Since: 0.1
 */
struct weir_segment_info {
	char path[256];
	char command[16];
	uint64_t start_ms;
	uint64_t tick_ms;
	uint64_t bytes;
	uint64_t nr_outside;
	uint32_t pid;
	uint32_t context;
	bool alive;
};

/**
 * weir_segments_find() - Look for the segments of this user.
 * @dir: Where; NULL means WEIR_SEGMENT_DIR.
 * @max: Room in @ret.
 * @ret: The paths' descriptions, those that are alive first, then the latest first.
 *
 * Context: Any thread. May block.
 * Return:  How many there are, which may be more than @max; -ENOENT, -ENOTDIR, -EACCES, -ENOMEM
 *          (the folder cannot be read).
 * Since:   0.1
 */
WEIR_API int weir_segments_find(const char *dir, uint32_t max,
				struct weir_segment_info *ret) WEIR_MUST_CHECK;

/**
 * weir_segment_open() - Map a segment for reading.
 * @path: Of the file.
 * @ret:  The segment.
 * @err:  On failure: why. May be NULL.
 *
 * Context: Any thread. May block.
 * Owner:   The caller, until weir_segment_close(). It stays readable when the host ends.
 * Return:  0, -ENOENT, -EACCES, -ELOOP, -ENOTDIR, -EMFILE, -ENFILE, -ENOMEM (it cannot be opened),
 *          -EPERM (it is another user's), -EBADMSG (it is no segment, or not of this version).
 * Since:   0.1
 */
WEIR_API int weir_segment_open(const char *path, struct weir_segment **ret,
			       struct weir_error *err) WEIR_MUST_CHECK;

/**
 * weir_segment_close() - Unmap it.
 * @segment: Segment or NULL.
 *
 * Context: Any thread, once.
 * Since:   0.1
 */
WEIR_API void weir_segment_close(struct weir_segment *segment);

/**
 * weir_segment_info() - Whose it is, and whether that host runs now.
 * @segment: Segment.
 * @ret:     The description.
 *
 * Context: Any thread.
 * Since:   0.1
 */
WEIR_API void weir_segment_info(struct weir_segment *segment, struct weir_segment_info *ret);

/**
 * weir_segment_for_each() - Show every series, as weir_metrics_for_each() does in the host.
 * @segment: Segment.
 * @fn:      Called once per series; @metric is valid during the call, its texts until the
 *           segment is closed. Another value than 0 ends the walk.
 * @arg:     Passed to @fn.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, or what @fn returned to end the walk.
 * Since:   0.1
 */
WEIR_API int weir_segment_for_each(struct weir_segment *segment,
				   int (*fn)(void *arg, const struct weir_metric *metric),
				   void *arg) WEIR_MUST_CHECK;

/**
 * weir_segment_find() - One series.
 * @segment: Segment.
 * @name:    As registered.
 * @labels:  As struct weir_metric has them; "" or NULL for none.
 * @ret:     The series as it is now.
 *
 * Context: Any thread. Takes no lock.
 * Cost:    A comparison per series.
 * Return:  0, -ENOENT.
 * Since:   0.1
 */
WEIR_API int weir_segment_find(struct weir_segment *segment, const char *name, const char *labels,
			       struct weir_metric *ret) WEIR_MUST_CHECK;

/**
 * weir_segment_read() - A series again.
 * @segment: Segment.
 * @id:      From struct weir_metric.
 * @ret:     The series as it is now.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -ENOENT.
 * Since:   0.1
 */
WEIR_API int weir_segment_read(struct weir_segment *segment, uint32_t id,
			       struct weir_metric *ret) WEIR_MUST_CHECK;

/**
 * weir_segment_read_histogram() - All buckets of a histogram or summary, of all time.
 * @segment: Segment.
 * @id:      From struct weir_metric.
 * @ret:     The histogram.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -ENOENT (no such id), -EINVAL (neither histogram nor summary).
 * Since:   0.1
 */
WEIR_API int weir_segment_read_histogram(struct weir_segment *segment, uint32_t id,
					 struct weir_histogram *ret) WEIR_MUST_CHECK;

/**
 * weir_segment_history() - What a series was, as weir_metrics_history() gives it in the host.
 * @segment: Segment.
 * @id:      From struct weir_metric.
 * @ring:    One of enum weir_history_ring.
 * @max:     How many points at most: the latest.
 * @ret:     Room for @max; the oldest first.
 *
 * Context: Any thread. Takes no lock.
 * Return:  How many there are in @ret; -ENOENT (no such id), -EINVAL (no such ring).
 * Since:   0.1
 */
WEIR_API int weir_segment_history(struct weir_segment *segment, uint32_t id, int ring, uint32_t max,
				  struct weir_point *ret) WEIR_MUST_CHECK;

#define WEIR_GRID_TEXT 24u

/**
 * struct weir_grid - A table of cells, such as which pieces of a pool are in use.
 * @name:     Of it; valid until the segment is closed.
 * @time_ms:  When the host's collector looked last, unix milliseconds; 0 never.
 * @full:     What a cell is when it is full; the last of a row may be smaller.
 * @nr_rows:  Rows.
 * @nr_cells: Cells of all rows.
 * @id:       For the calls below.
 *
 * Since: 0.1
 */
struct weir_grid {
	const char *name;
	uint64_t time_ms;
	uint32_t full;
	uint32_t nr_rows;
	uint32_t nr_cells;
	uint32_t id;
};

/**
 * struct weir_grid_row - Cells that belong together, such as those of one mapping.
 * @text:  What they are; what is not printable ASCII is '?'.
 * @total: What all of them are when they are full.
 * @first: The first of them.
 * @nr:    How many.
 *
 * Since: 0.1
 */
struct weir_grid_row {
	char text[WEIR_GRID_TEXT];
	uint64_t total;
	uint32_t first;
	uint32_t nr;
};

/**
 * weir_segment_grid() - Find a grid.
 * @segment: Segment.
 * @name:    As the host named it: "weir_pool" is the context's pool, with a row for each
 *           mapping and a cell for each 2 MiB, in bytes in use.
 * @ret:     The grid.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -ENOENT (there is none of that name, or it is damaged).
 * Since:   0.1
 */
WEIR_API int weir_segment_grid(struct weir_segment *segment, const char *name,
			       struct weir_grid *ret) WEIR_MUST_CHECK;

/**
 * weir_segment_grid_row() - Describe a row.
 * @segment: Segment.
 * @grid:    From weir_segment_grid().
 * @row:     Below its nr_rows.
 * @ret:     The row; its cells lie in the grid.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -ENOENT (there is no such row, or it is damaged).
 * Since:   0.1
 */
WEIR_API int weir_segment_grid_row(struct weir_segment *segment, const struct weir_grid *grid,
				   uint32_t row, struct weir_grid_row *ret) WEIR_MUST_CHECK;

/**
 * weir_segment_grid_cells() - Copy cells.
 * @segment: Segment.
 * @grid:    From weir_segment_grid().
 * @first:   The first to copy.
 * @nr:      How many; those behind the last cell of the grid are left out.
 * @ret:     Room for @nr; none is above @grid's full.
 *
 * The cells are of one round of the host, unless that host ended in the middle of one or
 * writes faster than this copies.
 *
 * Context: Any thread. Takes no lock.
 * Return:  How many were copied, or -ENOENT (the grid is damaged).
 * Since:   0.1
 */
WEIR_API int64_t weir_segment_grid_cells(struct weir_segment *segment, const struct weir_grid *grid,
					 uint32_t first, uint32_t nr,
					 uint32_t *ret) WEIR_MUST_CHECK;

/**
 * weir_segments_export() - Write the numbers of several hosts as one text.
 * @segments: The segments.
 * @nr:       Their number, at most WEIR_SEGMENTS_MAX.
 * @format:   As for weir_metrics_export(), history included.
 * @write:    As for weir_metrics_export().
 * @arg:      Passed to @write.
 *
 * Each series has the labels pid, context and command in front of its own, in JSON and CSV
 * too. A
 * family stands once, with the series of all hosts that have it with the same kind and unit.
 *
 * Context: Any thread. Takes no lock. Allocates nothing.
 * Return:  0, -EINVAL (no such format), or what @write returned to end it.
 * Since:   0.1
 */
WEIR_API int weir_segments_export(struct weir_segment *const *segments, uint32_t nr, int format,
				  int (*write)(void *arg, const char *text, size_t bytes),
				  void *arg) WEIR_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif /* WEIR_METRICS_SEGMENT_H */
