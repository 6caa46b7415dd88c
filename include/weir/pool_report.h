/* SPDX-License-Identifier: MIT */
/**
 * weir/pool_report.h - What a pool looks like, for people and for programs.
 */
#ifndef WEIR_POOL_REPORT_H
#define WEIR_POOL_REPORT_H

#include <weir/pool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Sizes by powers of two: 256 bytes, 512, ... up to 1 TiB. */
#define WEIR_POOL_CLASSES 33

/**
 * struct weir_pool_shape - Sizes of what is live and of what is free.
 * @live:                   Live spans by size: [k] counts those above 256 << (k - 1) and up
 *                          to 256 << k bytes.
 * @free:                   Free blocks by size: [k] counts those of 256 << k bytes, each
 *                          at a multiple of its size and as large as it could be.
 * @fragmentation_permille: Of the free bytes, the part that lies in no free block of
 *                          2 MiB. 0 when nothing is free.
 */
struct weir_pool_shape {
	uint64_t live[WEIR_POOL_CLASSES];
	uint64_t free[WEIR_POOL_CLASSES];
	uint64_t fragmentation_permille;
};

/**
 * weir_pool_shape() - Count sizes.
 * @pool: The pool.
 * @ret:  Filled. What threads keep ready is neither live nor free.
 *
 * Context: Any thread. Takes POOL_CLAIM, and POOL_ZONE of each node in turn for a pass over
 *          its bits (20 us a GiB of 4 KiB blocks); not for hot paths.
 * Since:   0.1
 */
WEIR_API void weir_pool_shape(struct weir_pool *pool, struct weir_pool_shape *ret);

/* How to write it down. */
enum weir_dump_format {
	WEIR_DUMP_TEXT = 0, /* lines for a terminal */
	WEIR_DUMP_JSON = 1, /* one object; members are only ever added */
};

/**
 * weir_pool_dump() - Statistics, sizes and regions as text.
 * @pool:   The pool.
 * @format: enum weir_dump_format.
 * @text:   Filled, and ended by a NUL when @size is not 0. May be NULL when @size is 0.
 * @size:   Room at @text.
 *
 * Context: As weir_pool_shape().
 * Return:  Bytes that the whole text has, without its NUL: not less than @size means that
 *          it was cut. Or -EINVAL (no such format, no pool, or one from before a fork).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int64_t weir_pool_dump(struct weir_pool *pool, int format, char *text,
						size_t size);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_POOL_REPORT_H */
