/* SPDX-License-Identifier: MIT */
/*
 * pool/procfile.h - Numbers out of /proc and /sys.
 *
 * Files are read whole, into the caller's buffer; a number that is not there is an
 * error code, never a guess.
 */
#ifndef WR_POOL_PROCFILE_H
#define WR_POOL_PROCFILE_H

#include <stddef.h>
#include <stdint.h>

#include <weir/base.h>

/* The beginning of a file as text, NUL-terminated. 0 or the error of open or read. */
int wr_procfile_text(char *text, size_t size, const char *fmt, ...) WEIR_PRINTF(3, 4);

/* A file that is one decimal number. 0, -EBADMSG, or the error of open or read. */
int wr_procfile_number(uint64_t *ret, const char *fmt, ...) WEIR_PRINTF(2, 3);

/* The number after a label such as "MemAvailable:". 0, -ENOENT, -EBADMSG. */
int wr_procfile_field(const char *text, const char *label, uint64_t *ret);

#endif /* WR_POOL_PROCFILE_H */
