/* SPDX-License-Identifier: MIT */
/*
 * What every module uses: checked arithmetic, alignment, asserts, options structs, the error
 * record, the clock and the log. Nothing here takes a lock, and nothing but wr_log() reaches
 * outside the caller's own memory.
 */
#ifndef WR_BASE_UTIL_H
#define WR_BASE_UTIL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <weir/base.h>
#include <weir/log.h>

/* 1 in the library that the tests link: asserts, lock validator, failing allocations. */
#ifndef WR_DEBUG
#define WR_DEBUG 0
#endif

/*
 * 0: nothing is counted, timed or probed where the library works: the arm that `weir bench
 * instrument` compares with. What a module needs to know of itself, it still knows.
 */
#ifndef WR_INSTRUMENT
#define WR_INSTRUMENT 1
#endif

#define WR_CACHE_LINE 64

#define WR_PASTE_(a, b) a##b
#define WR_PASTE(a, b)	WR_PASTE_(a, b)

/*
 * True when the exact result does not fit *r; *r then holds the wrapped value. Any integer types,
 * also mixed. Numbers that come from a file are added and multiplied with these only.
 */
#define wr_add_overflow(a, b, r) __builtin_add_overflow((a), (b), (r))
#define wr_sub_overflow(a, b, r) __builtin_sub_overflow((a), (b), (r))
#define wr_mul_overflow(a, b, r) __builtin_mul_overflow((a), (b), (r))

/* Each argument is evaluated once; both should have one type, the compiler warns about signs. */
#define WR_PICK_(op, a, b, x, y)       \
	__extension__({                \
		__typeof__(a) x = (a); \
		__typeof__(b) y = (b); \
		x op y ? x : y;        \
	})
#define WR_PICK(op, a, b, n) WR_PICK_(op, a, b, WR_PASTE(wr_x_, n), WR_PASTE(wr_y_, n))
#define wr_min(a, b)	     WR_PICK(<, a, b, __COUNTER__)
#define wr_max(a, b)	     WR_PICK(>, a, b, __COUNTER__)

#define wr_array_size(a) (sizeof(a) / sizeof((a)[0]))

/* The struct of @type whose @member is at @ptr. */
#define wr_container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline bool wr_is_pow2(uint64_t x)
{
	return x != 0 && (x & (x - 1)) == 0;
}

/* Down to a multiple of @pow2. */
static inline uint64_t wr_align_down(uint64_t x, uint64_t pow2)
{
	return x & ~(pow2 - 1);
}

/*
 * Up to a multiple of @pow2. Wraps to 0 within pow2 - 1 of 2^64: numbers from a file go through
 * wr_align_up_overflow().
 */
static inline uint64_t wr_align_up(uint64_t x, uint64_t pow2)
{
	return (x + (pow2 - 1)) & ~(pow2 - 1);
}

static inline bool wr_align_up_overflow(uint64_t x, uint64_t pow2, uint64_t *ret)
{
	uint64_t sum;
	bool wraps = wr_add_overflow(x, pow2 - 1, &sum);

	*ret = sum & ~(pow2 - 1);
	return wraps;
}

/*
 * For our own mistakes; everyone else's come back as a code. Debug builds print the place and
 * abort. Otherwise the condition is type-checked and not evaluated.
 */
#if WR_DEBUG
#define wr_assert(cond) ((cond) ? (void)0 : wr_assert_failed(#cond, __FILE__, __LINE__, __func__))
#else
#define wr_assert(cond) ((void)sizeof(!(cond)))
#endif

_Noreturn void wr_assert_failed(const char *cond, const char *file, int line, const char *func);

/*
 * Copy a caller's options struct into our newest form of it. Both start with `size_t size`.
 *
 * @dst:      Ours; what the caller did not supply becomes zero, dst->size becomes @dst_size.
 * @dst_size: sizeof(*dst).
 * @src:      The caller's, as long as its own size field says; NULL means all defaults.
 *
 * Returns 0, -EINVAL (size smaller than the size field itself), -E2BIG (the caller's struct is
 * newer and sets something we do not know). @dst is untouched on failure.
 */
int wr_opts_copy(void *dst, size_t dst_size, const void *src) WEIR_MUST_CHECK;

/*
 * Fill @err, when there is one, and return @code: `return wr_error_set(err, -EBADMSG, ...)`.
 *
 * @file:   Path concerned or NULL; of one that is too long the end is kept.
 * @offset: Byte offset of the fault or WEIR_OFFSET_NONE.
 * @fmt:    One sentence without a full stop. Bytes that are not printable ASCII, say from a
 *          hostile file, become '?'.
 */
int wr_error_set(struct weir_error *err, int code, const char *file, uint64_t offset,
		 const char *fmt, ...) WEIR_PRINTF(5, 6);

/*
 * Parse a whole text as a number of bytes or things: decimal digits, then nothing or one of
 * K M G T (powers of 1024; KiB, MiB, GiB, TiB mean the same, case is ignored). Returns 0, -EINVAL
 * (not such a text), -ERANGE (does not fit 64 bits).
 */
int wr_parse_size(const char *text, uint64_t *ret) WEIR_MUST_CHECK;

/* CLOCK_MONOTONIC in nanoseconds. */
static inline uint64_t wr_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/*
 * Tell the host, if it listens at @level (enum weir_log_level). @module is the module's name.
 * Costs one relaxed load when nobody listens. The host's function runs on this thread, so do not
 * call this with a lock of a NO_BLOCK rank held.
 */
#define wr_log(level, module, ...) \
	(wr_log_enabled(level) ? wr_log_write(level, module, __VA_ARGS__) : (void)0)

bool wr_log_enabled(int level);
void wr_log_write(int level, const char *module, const char *fmt, ...) WEIR_PRINTF(3, 4);

#endif /* WR_BASE_UTIL_H */
