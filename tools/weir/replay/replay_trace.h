/* SPDX-License-Identifier: MIT */
/*
 * replay_trace.h - A recorded trace in memory: objects, and references to them in order.
 *
 * Traces come from files, of formats that replay_formats.c knows, or from generators. Whatever a
 * file says, memory stays within WR_TRACE_MAX_REFS references and WR_TRACE_MAX_OBJECTS objects.
 */
#ifndef WR_TOOLS_REPLAY_TRACE_H
#define WR_TOOLS_REPLAY_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/base.h>
#include <weir/key.h>

#define WR_TRACE_MAX_REFS    ((uint64_t)1 << 27)
#define WR_TRACE_MAX_OBJECTS ((uint64_t)1 << 23)
#define WR_TRACE_MAX_LINE    ((size_t)16 << 20)
#define WR_TRACE_MAX_BYTES   ((uint64_t)1 << 48)

enum wr_trace_class {
	WR_TRACE_WEIGHTS,
	WR_TRACE_EXPERTS,
	WR_TRACE_KV,
	WR_TRACE_FEATURES,
	WR_TRACE_OTHER,
	WR_TRACE_CLASSES,
};

struct wr_trace_object {
	struct weir_key key;
	uint64_t bytes; /* as first seen, at least 1 */
	uint32_t kind;
	uint32_t chain;
};

struct wr_trace {
	const char *format;
	struct wr_trace_object *objects;
	uint64_t nr_objects;
	uint32_t *refs; /* indices of objects */
	uint64_t nr_refs;
	uint64_t object_bytes; /* of all objects together */
	uint64_t ref_bytes;    /* of all references together */
	uint64_t nr_resized;   /* references that gave another size than the first */
	bool is_uniform;       /* all objects have one size */
	/* private */
	uint64_t max_refs; /* 0: WR_TRACE_MAX_REFS */
	uint64_t room_objects;
	uint64_t room_refs;
	uint32_t *buckets;
	uint64_t mask;
};

/* In the order of enum wr_trace_class; NULL past the last. */
const char *wr_trace_class_name(uint32_t kind);

/**
 * wr_trace_open() - Read a trace.
 * @path:        A file, plain or in gzip or zstd, or "gen:NAME" for a generator.
 * @block_bytes: Size of an object in formats that state none.
 * @quiet:       No progress line.
 * @ret:         Close it with wr_trace_close().
 * @err:         Says the line of the fault.
 *
 * Return: 0, -EBADMSG, -EFBIG (above a limit), -EOVERFLOW, -ENODATA, -EOPNOTSUPP (built without
 *         what decompresses it), -ENOENT, -EINTR or what reading the file failed with, -ENOMEM.
 */
int wr_trace_open(const char *path, uint64_t block_bytes, bool quiet, struct wr_trace *ret,
		  struct weir_error *err);

/* The same from memory, for which @path is only a name; at most @max_refs references, 0: the limit. */
int wr_trace_open_mem(const char *path, const void *data, size_t size, uint64_t block_bytes,
		      uint64_t max_refs, struct wr_trace *ret, struct weir_error *err);

void wr_trace_close(struct wr_trace *t);

/* For formats and generators. 0, -ENOMEM, -EFBIG, -EOVERFLOW. */
int wr_trace_add(struct wr_trace *t, struct weir_key key, uint32_t kind, uint64_t bytes);

/* A generator's trace; -ENOENT when there is none of that name. */
int wr_trace_generate(const char *name, uint64_t block_bytes, struct wr_trace *t);
/* Names of the generators; NULL past the last. */
const char *wr_trace_generator(size_t index);

/* ---- lines of a file (replay_read.c) ---- */

struct wr_trace_lines;

int wr_trace_lines_open(const char *path, bool quiet, struct wr_trace_lines **ret,
			struct weir_error *err);
int wr_trace_lines_open_mem(const char *path, const void *data, size_t size,
			    struct wr_trace_lines **ret, struct weir_error *err);
void wr_trace_lines_close(struct wr_trace_lines *lines);

/*
 * The next line without its end, terminated by a NUL that is not counted: 1, 0 at the end, or why
 * not. A line may hold NULs. Valid until the next call.
 */
int wr_trace_lines_next(struct wr_trace_lines *lines, char **ret, size_t *ret_size,
			struct weir_error *err);
/* Of the line given last, from 1. */
uint64_t wr_trace_lines_number(const struct wr_trace_lines *lines);

/* Fill @t from lines (replay_formats.c). @name is for errors. */
int wr_trace_parse(struct wr_trace_lines *lines, const char *name, uint64_t block_bytes,
		   struct wr_trace *t, struct weir_error *err);

#endif /* WR_TOOLS_REPLAY_TRACE_H */
