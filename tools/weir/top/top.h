/* SPDX-License-Identifier: MIT */
/*
 * top.h - What `weir top` shows: one host as lines of text, for the screen and for pipes.
 */
#ifndef WR_TOOLS_TOP_H
#define WR_TOOLS_TOP_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include <weir/metrics_segment.h>

#define WR_TOP_LINES 64
#define WR_TOP_WIDTH 256 /* bytes of a line; its columns are fewer */

/* What a line is, for colours. */
enum wr_top_style { WR_TOP_PLAIN, WR_TOP_TITLE, WR_TOP_MAP };

/**
 * struct wr_top_page - Lines as they are shown.
 * @nr:     How many there are.
 * @max:    How many there may be: the screen's.
 * @width:  Columns.
 * @blocks: Bars of eighths may be drawn: the terminal shows UTF-8.
 * @style:  Of each line; the marks of a map begin at WR_TOP_INDENT.
 */
struct wr_top_page {
	unsigned nr, max, width;
	bool blocks;
	enum wr_top_style style[WR_TOP_LINES];
	char line[WR_TOP_LINES][WR_TOP_WIDTH];
};

/**
 * struct wr_top_lock - A lock rank and how it was waited for.
 */
struct wr_top_lock {
	char name[24];
	double contended, wait_ns;	   /* a second */
	double all_contended, all_wait_ns; /* ever */
};

/* Mappings that are drawn, cells of each that are kept, and marks in a line. */
#define WR_TOP_ROWS	 16
#define WR_TOP_ROW_CELLS 2048
#define WR_TOP_MARKS	 80
#define WR_TOP_INDENT	 11

/* A mapping of the pool: its pieces from the lowest address on, several as one where it has many. */
struct wr_top_row {
	char text[WEIR_GRID_TEXT];
	double bytes, cell_bytes;
	uint32_t nr;
	float share[WR_TOP_ROW_CELLS]; /* in use, 0 to 1 */
};

struct wr_top_map {
	uint64_t time_ms;
	double bytes;	  /* of all rows here */
	uint32_t nr_rows; /* 0: there is no map */
	uint32_t nr_left_out;
	struct wr_top_row row[WR_TOP_ROWS];
};

struct wr_top_map_line {
	uint32_t row;
	char text[3 * WR_TOP_MARKS + 1];
};

/* The grid of that name, or none. */
void wr_top_map_read(struct weir_segment *segment, const char *name, struct wr_top_map *ret);

/* As at most @lines lines of marks. How many. */
unsigned wr_top_map_draw(const struct wr_top_map *map, unsigned lines, unsigned columns,
			 bool blocks, struct wr_top_map_line *ret);

/* What the marks mean. Only for a map that has rows. */
const char *wr_top_map_legend(char *text, size_t bytes, const struct wr_top_map *map, bool blocks);

/* How full the mark is that @text begins with: 0 to 4, or -1 for none; its bytes. */
int wr_top_map_level(const char *text, unsigned *ret_bytes);

/* {"time_ms":, "mappings": [...]}, or null. */
json_t *wr_top_map_json(const struct wr_top_map *map);

/* A tier of the cache. NAN: there is none. */
struct wr_top_tier {
	double hits, used, budget; /* a share of the last minute; bytes */
};

#define WR_TOP_LOCKS  32
#define WR_TOP_POINTS 60

/**
 * struct wr_top_host - One host, in numbers. A number that is not known is NAN.
 */
struct wr_top_host {
	struct weir_segment_info info;
	uint64_t now_ms;
	double cpus, cpu, memory_total, memory_used, swap_total, swap_used;
	double resident, threads, fds, process_cpus;
	double pressure[3]; /* cpu, memory, io: some */
	double temperature, gpu, gpu_memory_used, gpu_memory_total;
	double read_bytes, reads, under_way, failed, retries; /* the first two a second */
	double units, hits, stall; /* units/s; shares of the last minute */
	double stall_p99_ns;
	double pool_capacity, pool_used, pool_free, pool_peak, pool_largest;
	struct wr_top_map map;
	struct wr_top_tier tier[3];
	uint32_t nr_points;
	double points[WR_TOP_POINTS]; /* read bytes a second, the latest last */
	uint32_t nr_locks;
	struct wr_top_lock locks[WR_TOP_LOCKS]; /* those waited for most first */
};

/* Look at a host. @now_ms is the unix time. */
void wr_top_read(struct weir_segment *segment, uint64_t now_ms, struct wr_top_host *ret);

/* Write it as lines. @nr_hosts is how many run, @which which of them this is, from 1. */
void wr_top_draw(const struct wr_top_host *host, unsigned which, unsigned nr_hosts,
		 struct wr_top_page *page);

/* {"pid":, ..., "locks": [...]}; null for what is not known. */
json_t *wr_top_json(const struct wr_top_host *host);

/**
 * struct wr_top_args - What to watch.
 * @dir:         Of the segments, or NULL.
 * @pid:         Of the host; 0 for the one that started last.
 * @post_mortem: The host has ended.
 * @interval_ms: Between two looks.
 * @count:       How many looks; 0 for no end.
 * @json:        Objects instead of lines.
 */
struct wr_top_args {
	const char *dir;
	uint32_t pid;
	bool post_mortem;
	uint32_t interval_ms, count;
	bool json;
};

/**
 * wr_top_find() - The host to show.
 * @args:      What is wanted.
 * @skip:      How many after it, of those that would do; comes round at the end.
 * @ret_which: Which it is, from 1.
 * @ret_nr:    Of how many.
 * @ret:       Its segment.
 *
 * Return: 0, -ENOENT (there is none), or why it cannot be read.
 */
int wr_top_find(const struct wr_top_args *args, unsigned skip, unsigned *ret_which,
		unsigned *ret_nr, struct weir_segment **ret);

/* The screen, until q or ^C: exit status. Only where wr_top_has_screen(). */
int wr_top_screen(const struct wr_top_args *args);
bool wr_top_has_screen(void);

#endif /* WR_TOOLS_TOP_H */
