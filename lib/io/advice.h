/* SPDX-License-Identifier: MIT */
/* What modules above know of how a file will be read. Hints: they change no result. */
#ifndef WR_IO_ADVICE_H
#define WR_IO_ADVICE_H

#include <weir/io.h>

/*
 * From now on reads of @file leave parts of it out, and what lies behind one is not read next.
 * Where it is read through the page cache the kernel then reads nothing ahead: with a large
 * read_ahead_kb that would be all that is left out, kept in the cache where no read would ever
 * drop it. What is there by now is dropped, if the file was not in the cache when it was opened.
 * May be called again. Any thread; does not block.
 */
void wr_io_file_expect_gaps(struct weir_io_file *file);

#endif /* WR_IO_ADVICE_H */
