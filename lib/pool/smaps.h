/* SPDX-License-Identifier: MIT */
/*
 * pool/smaps.h - What the kernel says of a range of our own memory.
 */
#ifndef WR_POOL_SMAPS_H
#define WR_POOL_SMAPS_H

#include <stddef.h>
#include <stdint.h>

/*
 * Bytes of [base, base + bytes) that lie in transparent huge pages, from AnonHugePages
 * in /proc/self/smaps. The kernel walks the page tables of the whole process for it:
 * milliseconds for each GiB of small pages. Returns 0, or the error of open or read.
 */
int wr_smaps_anon_huge(const void *base, size_t bytes, uint64_t *ret);

#endif /* WR_POOL_SMAPS_H */
