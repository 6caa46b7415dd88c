/* SPDX-License-Identifier: MIT */
/*
 * fio.h - What the disk gives to fio, the limit that weir is held against.
 *
 * Sequential reads through io_uring past the page cache, one file after the other.
 * fio is a peer, not a dependency: without it there is no number.
 */
#ifndef WR_TOOLS_FIO_H
#define WR_TOOLS_FIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/base.h>

/**
 * struct wr_fio_opts - What to let fio read.
 * @files:       Paths of regular files.
 * @nr_files:    At least 1.
 * @block_bytes: Size of one read; 0 is 1 MiB.
 * @depth:       Reads in flight; 0 is 16.
 * @file_bytes:  Read at most this much of every file; 0 is all of it.
 * @huge_pages:  Land in 2 MiB pages (--mem=mmaphuge) when the machine gives enough of
 *               them; as root they are reserved for the run and given back after it.
 *               Otherwise in fio's default buffers.
 * @write:       Write over the files instead, and sync each at its end.
 */
struct wr_fio_opts {
	const char *const *files;
	size_t nr_files;
	size_t block_bytes;
	uint32_t depth;
	uint64_t file_bytes;
	bool huge_pages;
	bool write;
};

/**
 * struct wr_fio_result - What fio said.
 * @bytes:            Read, or written.
 * @seconds:          Sum over the files; fio counts milliseconds.
 * @bytes_per_second: Their quotient.
 * @cpu_seconds:      User and system time of fio's jobs.
 * @huge_pages:       The buffers were 2 MiB pages.
 * @page_reason:      Why not, when they were asked for; "" otherwise.
 * @version:          "fio-3.33".
 */
struct wr_fio_result {
	uint64_t bytes;
	double seconds;
	double bytes_per_second;
	double cpu_seconds;
	bool huge_pages;
	char page_reason[128];
	char version[32];
};

/**
 * wr_fio_read() - Run fio.
 * @opts: What to read.
 * @ret:  Untouched on failure.
 * @err:  On failure; may be NULL.
 *
 * SIGINT and SIGTERM are held back while fio runs (fio itself gets the former from the
 * terminal and stops), so that reserved pages are always given back.
 *
 * Return: 0, -ENOENT (fio is not installed), -EINVAL (no file, or not a regular one),
 *         -EIO (fio failed or said what we do not understand), -ENOMEM, -EINTR (stopped
 *         by a signal).
 */
int wr_fio_read(const struct wr_fio_opts *opts, struct wr_fio_result *ret, struct weir_error *err);

#endif /* WR_TOOLS_FIO_H */
