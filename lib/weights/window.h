/* SPDX-License-Identifier: MIT */
/*
 * Bytes of a file, a window at a time, for parsers that must not care whether they read memory or
 * a disk. A parser asks for n contiguous bytes at an offset; what lies beyond the end is an error
 * here, so that no parser compares pointers itself.
 */
#ifndef WR_WEIGHTS_WINDOW_H
#define WR_WEIGHTS_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <weir/base.h>

#include "base/util.h"

/* The most that one call of wr_src_get() may ask for. */
#define WR_SRC_MOST 65536u

struct wr_src {
	const char *path;	/* for errors */
	struct weir_error *err; /* may be NULL */
	int fd;			/* -1: all of it is in memory */
	uint64_t bytes;		/* of the whole file */
	const uint8_t *win;	/* bytes [win_at, win_at + win_bytes) of the file */
	uint64_t win_at;
	size_t win_bytes;
	uint8_t *buf; /* where the window lies when it is read from a file */
	size_t buf_bytes;
};

/*
 * The first @len bytes of a file of @file_bytes. What lies behind @len counts as cut off. @buf
 * stays the caller's, until wr_src_fini().
 */
void wr_src_mem(struct wr_src *src, const char *path, const void *buf, size_t len,
		uint64_t file_bytes, struct weir_error *err);

/*
 * Open a regular file or a directory; never waits for a writer of a FIFO. For a directory @src has
 * no bytes, and src->fd is the directory. @path must live as long as @src.
 *
 * Returns 0, -EINVAL (another kind of file), or what weir_model_open() lists for opening.
 */
int wr_src_open(struct wr_src *src, const char *path, struct stat *st, struct weir_error *err);
void wr_src_fini(struct wr_src *src);

/*
 * @n bytes at @at, contiguous, valid until the next call; @n is at most WR_SRC_MOST. More may
 * follow them: up to src->win + src->win_bytes.
 *
 * Returns 0, -ENODATA (the file ends before; the offset in the error is @at), -EIO, -ENOMEM.
 */
int wr_src_get(struct wr_src *src, uint64_t at, size_t n, const uint8_t **ret);

int wr_src_u32(struct wr_src *src, uint64_t at, uint32_t *ret);
int wr_src_u64(struct wr_src *src, uint64_t at, uint64_t *ret);

/* Fill the error of @src and give @code back. */
#define wr_src_fail(src, code, at, ...) wr_error_set((src)->err, code, (src)->path, at, __VA_ARGS__)

#endif /* WR_WEIGHTS_WINDOW_H */
