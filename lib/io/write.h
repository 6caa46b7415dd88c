/* SPDX-License-Identifier: MIT */
/*
 * Writing through an engine, for the modules of weir that own files. A write is a request like a
 * read: the same rungs, limits, classes, chunks, cancellation and tokens; a sync is one without
 * bytes. Nothing orders them: what must come first is awaited first.
 *
 * Results beside those of weir_io_done_fn: -EDQUOT (the file system or a quota on it is full),
 * -EROFS, -EFBIG. A device error of a write is tried once more, one of a sync is not: the kernel
 * reports each lost page once, so a second sync that succeeds would prove nothing.
 */
#ifndef WR_IO_WRITE_H
#define WR_IO_WRITE_H

#include <weir/io.h>

/*
 * Take over @fd, a regular file that only the caller writes: it is not compared with what was
 * opened, and reads may go as far as @bytes. @path is for messages. Any thread but the engine's;
 * may block. On failure @fd is still the caller's, else weir_io_file_close() closes it. Codes of
 * weir_io_file_open().
 */
int wr_io_file_adopt(struct weir_io *io, int fd, const char *path, uint64_t bytes,
		     struct weir_io_file **ret, struct weir_error *err) WEIR_MUST_CHECK;

/*
 * As weir_io_read(), the other way; nothing is written to @req->buf. Offset and bytes are
 * multiples of the file's alignment (-EINVAL); 4096 always suits.
 */
int wr_io_write(struct weir_io *io, const struct weir_io_req *req, uint64_t *ret) WEIR_MUST_CHECK;

/* fdatasync(): of the request only file, io_class, done and arg matter. */
int wr_io_sync(struct weir_io *io, const struct weir_io_req *req, uint64_t *ret) WEIR_MUST_CHECK;

#endif /* WR_IO_WRITE_H */
