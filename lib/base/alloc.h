/* SPDX-License-Identifier: MIT */
/*
 * The library's own small memory: everything in lib/ that is not weights comes from here, so that
 * a test can refuse any single allocation and count what is left at the end. A size of 0 gives a
 * block too: NULL always means that there is no memory.
 */
#ifndef WR_BASE_ALLOC_H
#define WR_BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

#include "base/util.h"

void wr_free(void *ptr);
void *wr_malloc(size_t bytes) WEIR_MUST_CHECK;

/* Zeroed; NULL also when @count * @bytes wraps. */
void *wr_calloc(size_t count, size_t bytes) WEIR_MUST_CHECK;

/* On NULL the old block is as it was. */
void *wr_realloc(void *ptr, size_t bytes) WEIR_MUST_CHECK;
void *wr_reallocarray(void *ptr, size_t count, size_t bytes) WEIR_MUST_CHECK;

/* @align is a power of two of at least sizeof(void *). Zeroed: used for what threads share. */
void *wr_calloc_aligned(size_t align, size_t bytes) WEIR_MUST_CHECK;

char *wr_strdup(const char *text) WEIR_MUST_CHECK;

/* At most @bytes of @text, NUL-terminated. */
char *wr_strndup(const char *text, size_t bytes) WEIR_MUST_CHECK;

#if WR_DEBUG
/* The @n-th allocation from now, of any thread, gives NULL, once; 0 takes the order back. */
void wr_test_alloc_fail_at(uint64_t n);

/* Whether the order above was carried out: a test loops over n until it is not. */
bool wr_test_alloc_failed(void);

/* Blocks handed out and not freed, of the whole process. */
int64_t wr_test_alloc_live(void);
#endif

#endif /* WR_BASE_ALLOC_H */
