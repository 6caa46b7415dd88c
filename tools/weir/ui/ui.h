/* SPDX-License-Identifier: MIT */
/*
 * ui.h - What every command of `weir` does alike: options, units, tables, errors.
 *
 * One table of options per command gives the parsing, the checks and the --help
 * text. Output for people goes to stdout in at most 80 columns; progress goes to
 * stderr and only when that is a terminal; with --json stdout carries exactly one
 * object. Sizes of files and rates are printed in powers of ten (GB, GB/s), sizes
 * of memory in powers of two (GiB); the unit is always printed.
 */
#ifndef WR_TOOLS_UI_H
#define WR_TOOLS_UI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>
#include <weir/base.h>

#include "commands.h"

/* ---- options (ui_option.c) ---- */

/**
 * struct wr_ui_size - A size as typed: bytes, or a share of something.
 * @given:     Whether the option was on the command line.
 * @relative:  @permyriad of a base is meant, not @bytes.
 * @bytes:     The size when not relative.
 * @permyriad: Hundredths of a per cent when relative; may exceed 10000.
 */
struct wr_ui_size {
	bool given;
	bool relative;
	uint32_t permyriad;
	uint64_t bytes;
};

enum wr_ui_type {
	WR_UI_FLAG,   /* bool; takes no value */
	WR_UI_STRING, /* const char *, points into argv */
	WR_UI_U32,    /* uint32_t within [min, max] */
	WR_UI_U64,    /* uint64_t within [min, max] */
	WR_UI_SIZE,   /* struct wr_ui_size: "512MiB", "1.5GB", "60%" */
	WR_UI_CHOICE, /* int: index of the word in @value, words separated by '|' */
};

/**
 * struct wr_ui_option - One long option.
 * @name:  Without the dashes.
 * @type:  What @ret points to.
 * @value: What the help calls the value; for a choice the words it may be.
 * @help:  One line, at most 54 characters or broken by '\n'.
 * @ret:   Written when the option is given; holds the default before.
 * @min:   Least number, for U32 and U64.
 * @max:   Greatest number, 0 for no limit.
 */
struct wr_ui_option {
	const char *name;
	enum wr_ui_type type;
	const char *value;
	const char *help;
	void *ret;
	uint64_t min, max;
};

/**
 * struct wr_ui_usage - How a command is called.
 * @name:       The command.
 * @args:       Its positional arguments as the help shows them, "" for none.
 * @summary:    One sentence.
 * @options:    --help need not be among them.
 * @nr_options: Their number.
 * @min_args:   Fewest positional arguments.
 * @max_args:   Most of them, -1 for no limit.
 */
struct wr_ui_usage {
	const char *name;
	const char *args;
	const char *summary;
	const struct wr_ui_option *options;
	size_t nr_options;
	int min_args, max_args;
};

/* wr_ui_parse() returns this when the command should run. */
#define WR_UI_RUN (-1)

/**
 * wr_ui_parse() - Read a command's arguments.
 * @usage: What it takes.
 * @argc:  As the command got them.
 * @argv:  As the command got them; reordered: positional arguments move to the
 *         front, argv[1] being the first.
 * @ret_nr: Number of positional arguments.
 *
 * `--name value` and `--name=value` are the same; `--` ends the options. A wrong
 * option is reported on stderr together with the nearest right one.
 *
 * Return: WR_UI_RUN, or the exit status with which the command returns at once.
 */
int wr_ui_parse(const struct wr_ui_usage *usage, int argc, char **argv, int *ret_nr);

/* Report wrong usage found by the command itself. Returns WR_EXIT_USAGE. */
int wr_ui_usage_error(const struct wr_ui_usage *usage, const char *fmt, ...) WEIR_PRINTF(2, 3);

/* ---- units (ui_unit.c) ---- */

/**
 * wr_ui_parse_size() - Read "1.5G", "512MiB", "100MB", "4096" or "60%".
 * @text: K M G T and KiB MiB GiB TiB are powers of 1024, KB MB GB TB powers of
 *        1000; upper or lower case; at most six digits after the point.
 * @ret:  Untouched on failure.
 *
 * Return: 0, -EINVAL (not a size), -EOVERFLOW.
 */
int wr_ui_parse_size(const char *text, struct wr_ui_size *ret);

/**
 * wr_ui_parse_u64() - Read a number in base 10.
 *
 * Return: 0, -EINVAL (anything but digits), -EOVERFLOW.
 */
int wr_ui_parse_u64(const char *text, uint64_t *ret);

/* The bytes meant by @size when a percentage refers to @base; saturates. */
uint64_t wr_ui_size_bytes(const struct wr_ui_size *size, uint64_t base);

/* Long enough for every text the functions below write. */
#define WR_UI_TEXT 32

/* These write into @text and return it. "1.29 GB", "768 MiB", "2.31 GB/s", "1 min 02 s". */
const char *wr_ui_bytes(char text[static WR_UI_TEXT], uint64_t bytes);
const char *wr_ui_memory(char text[static WR_UI_TEXT], uint64_t bytes);
const char *wr_ui_rate(char text[static WR_UI_TEXT], double bytes_per_second);
const char *wr_ui_duration(char text[static WR_UI_TEXT], double seconds);

/* ---- tables (ui_table.c) ---- */

enum wr_ui_column_kind {
	WR_UI_LEFT,
	WR_UI_RIGHT,
	WR_UI_CUT,  /* left; loses its front when the table is too wide */
	WR_UI_WRAP, /* left; goes on in the next line when the table is too wide */
};

struct wr_ui_column {
	const char *title;
	enum wr_ui_column_kind kind;
};

struct wr_ui_table;

/**
 * wr_ui_table_open() - Start a table.
 * @columns: Kept, not copied; at most 16. At most one WR_UI_CUT and one WR_UI_WRAP.
 * @nr:      Their number.
 *
 * Return: The table, or NULL without memory; every function here accepts NULL.
 */
struct wr_ui_table *wr_ui_table_open(const struct wr_ui_column *columns, size_t nr);

/* Add the next cell; after the last column a new row begins. */
void wr_ui_table_cell(struct wr_ui_table *t, const char *fmt, ...) WEIR_PRINTF(2, 3);

/**
 * wr_ui_table_print() - Print what was added, 80 columns wide at most.
 *
 * Return: 0, or -ENOMEM when a cell was lost for want of memory (nothing printed).
 */
int wr_ui_table_print(const struct wr_ui_table *t, FILE *out);

void wr_ui_table_close(struct wr_ui_table *t);

/* Print a sentence or more on stdout, broken where the line of 80 columns ends. */
void wr_ui_say(const char *fmt, ...) WEIR_PRINTF(1, 2);

/* A row of two cells: @name, and "CHOICE: REASON"; lines of the reason become one. */
void wr_ui_reason(struct wr_ui_table *t, const char *name, const char *choice, const char *reason);

/* ---- messages (ui.c) ---- */

/**
 * wr_ui_fail() - Report why a command failed.
 * @json: Print `{"error": {...}}` on stdout instead of a line on stderr.
 * @what: The command or the step.
 * @err:  The error; its code alone is enough.
 *
 * The line is `weir: WHAT: MESSAGE (FILE at offset N)`.
 *
 * Return: WR_EXIT_FAILED.
 */
int wr_ui_fail(bool json, const char *what, const struct weir_error *err);

/* The same from a code and a text of the caller's. */
int wr_ui_fail_code(bool json, const char *what, int code, const char *fmt, ...) WEIR_PRINTF(4, 5);

/* Say that ^C ended the command, as the error EINTR. Returns WR_EXIT_INTERRUPTED. */
int wr_ui_fail_interrupted(bool json, const char *what);

/* A JSON string of a path or a name; bytes that are no UTF-8 become '?'. */
json_t *wr_ui_json_text(const char *text);
/* A JSON integer; null above INT64_MAX, as WEIR_OFFSET_NONE is. */
json_t *wr_ui_json_u64(uint64_t value);

/**
 * wr_ui_json_print() - Print one object on stdout and drop the reference.
 * @root: NULL (an allocation failed on the way) is reported as such.
 *
 * Return: WR_EXIT_OK or WR_EXIT_FAILED.
 */
int wr_ui_json_print(json_t *root);

/**
 * struct wr_ui_progress - A line on the terminal that says how far it is.
 * @on:    stderr is a terminal and the caller wants it.
 */
struct wr_ui_progress {
	bool on;
	const char *what;
	uint64_t total_bytes;
	uint64_t start_ns, shown_ns;
};

/* @quiet (with --json, say) switches it off; so does a stderr that is no terminal. */
void wr_ui_progress_start(struct wr_ui_progress *p, const char *what, uint64_t total_bytes,
			  bool quiet);
/* Cheap enough for every tile: shows at most ten times a second. */
void wr_ui_progress_update(struct wr_ui_progress *p, uint64_t done_bytes);
/* Clear the line. */
void wr_ui_progress_end(struct wr_ui_progress *p);

/**
 * wr_ui_interrupt_init() - From here on the first ^C (or SIGTERM) only sets a flag.
 *
 * The command looks at wr_ui_interrupted(), cleans up and returns
 * WR_EXIT_INTERRUPTED. A second ^C finds the default action and kills.
 */
void wr_ui_interrupt_init(void);
bool wr_ui_interrupted(void);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t wr_ui_now_ns(void);

#endif /* WR_TOOLS_UI_H */
