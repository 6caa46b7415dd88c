/* SPDX-License-Identifier: MIT */
/*
 * The C allocator behind one door. Plain builds pass through; debug builds refuse the allocation
 * that a test names and count the blocks that are live. Guarantees nothing beyond malloc() but
 * that 0 bytes is a block and that a product that wraps is a refusal.
 */
#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"

#if WR_DEBUG
static _Atomic uint64_t fail_at; /* [atomic] allocations left until the refusal; 0: none */
static _Atomic bool failed;	 /* [atomic] */
static _Atomic int64_t live;	 /* [atomic] */

void wr_test_alloc_fail_at(uint64_t n)
{
	wr_store_relaxed(&failed, false);
	wr_store_relaxed(&fail_at, n);
}

bool wr_test_alloc_failed(void)
{
	return wr_load_relaxed(&failed);
}

int64_t wr_test_alloc_live(void)
{
	return wr_load_relaxed(&live);
}

static bool refused(void)
{
	uint64_t left = wr_load_relaxed(&fail_at);

	while (left != 0) {
		if (!wr_cas_relaxed(&fail_at, &left, left - 1))
			continue;
		if (left > 1)
			return false;
		wr_store_relaxed(&failed, true);
		return true;
	}
	return false;
}

static void *counted(void *ptr)
{
	if (ptr != NULL)
		wr_fetch_add_relaxed(&live, 1);
	return ptr;
}

static void uncount(const void *ptr)
{
	if (ptr != NULL)
		wr_fetch_sub_relaxed(&live, 1);
}
#else
static inline bool refused(void)
{
	return false;
}

static inline void *counted(void *ptr)
{
	return ptr;
}

static inline void uncount(const void *ptr)
{
	(void)ptr;
}
#endif

static size_t at_least_one(size_t bytes)
{
	return bytes != 0 ? bytes : 1;
}

void wr_free(void *ptr)
{
	uncount(ptr);
	free(ptr);
}

void *wr_malloc(size_t bytes)
{
	return refused() ? NULL : counted(malloc(at_least_one(bytes)));
}

void *wr_calloc(size_t count, size_t bytes)
{
	size_t total;

	if (wr_mul_overflow(count, bytes, &total) || refused())
		return NULL;
	return counted(calloc(1, at_least_one(total)));
}

void *wr_realloc(void *ptr, size_t bytes)
{
	void *moved;

	if (refused())
		return NULL;
	moved = realloc(ptr, at_least_one(bytes));
	return ptr == NULL ? counted(moved) : moved;
}

void *wr_reallocarray(void *ptr, size_t count, size_t bytes)
{
	size_t total;

	if (wr_mul_overflow(count, bytes, &total))
		return NULL;
	return wr_realloc(ptr, total);
}

void *wr_calloc_aligned(size_t align, size_t bytes)
{
	void *ptr;

	wr_assert(wr_is_pow2(align) && align >= sizeof(void *));
	if (refused() || posix_memalign(&ptr, align, at_least_one(bytes)) != 0)
		return NULL;
	memset(ptr, 0, bytes);
	return counted(ptr);
}

char *wr_strndup(const char *text, size_t bytes)
{
	size_t length = strnlen(text, bytes);
	char *copy = wr_malloc(length + 1);

	if (copy == NULL)
		return NULL;
	memcpy(copy, text, length);
	copy[length] = '\0';
	return copy;
}

char *wr_strdup(const char *text)
{
	return wr_strndup(text, strlen(text));
}
