/* SPDX-License-Identifier: MIT */
/**
 * weir/base.h - What every weir header needs: export marks, version, errors.
 *
 * Conventions of the whole interface, stated once:
 *
 * - Functions that can fail return 0 or a negative errno; functions that count
 *   return a count >= 0 or a negative errno. `errno` itself is not part of the
 *   interface. The meaning of each code is listed in docs/errors.md.
 * - Out parameters come last, are named @ret, and are written only on success.
 * - Structs are opaque unless the caller fills or reads them. An options struct
 *   starts with `size_t size`, which the caller sets to sizeof(the struct); a
 *   field of zero means "default". Fields are only ever added at the end: a
 *   newer caller on an older library gets -E2BIG if it sets what that library
 *   does not know.
 * - The second function of a pair (close, free, put, stop) returns void and
 *   accepts NULL.
 * - Sizes of memory are size_t; file offsets and everything stored is uint64_t.
 */
#ifndef WEIR_BASE_H
#define WEIR_BASE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of these headers; weir_version() is that of the loaded library. */
#define WEIR_VERSION_MAJOR 0
#define WEIR_VERSION_MINOR 1
#define WEIR_VERSION_PATCH 0

#if defined(__GNUC__)
/* Visible outside the shared object; everything else is hidden. */
#define WEIR_API __attribute__((visibility("default")))
/* Ignoring the return value is a compile-time warning. */
#define WEIR_MUST_CHECK	       __attribute__((warn_unused_result))
#define WEIR_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define WEIR_API
#define WEIR_MUST_CHECK
#define WEIR_PRINTF(fmt, args)
#endif

/* A NUMA node argument that leaves the choice to weir. */
#define WEIR_NODE_ANY (-1)

/* Marks an offset in struct weir_error that has no meaning for the failure. */
#define WEIR_OFFSET_NONE UINT64_MAX

/**
 * struct weir_error - Why a call that reads files or the system refused.
 * @code:    The same negative errno that the call returned.
 * @offset:  Byte offset in @file where the fault was found, or WEIR_OFFSET_NONE.
 * @file:    Path of the file concerned, "" when none; cut at the front when long,
 *           so that the name of the file itself is always there.
 * @message: One sentence without a full stop: what is wrong and, where it can be
 *           said, what to do about it. Always NUL-terminated, ASCII.
 *
 * Filled by the callee only when it fails. The caller owns the memory; there is
 * nothing to free. Passing NULL where a function takes one is allowed.
 *
 * Since: 0.1
 */
struct weir_error {
	int code;
	uint64_t offset;
	char file[256];
	char message[256];
};

/**
 * weir_version() - The version of the library that is loaded.
 *
 * Context: Any thread. Takes no lock.
 * Return:  "MAJOR.MINOR.PATCH", static storage.
 * Since:   0.1
 */
WEIR_API const char *weir_version(void);

/**
 * weir_strerror() - What a code returned by weir means in weir's terms.
 * @code: A negative errno as returned by any weir function, or 0.
 *
 * The texts are those of docs/errors.md: -ENOSPC is "no room in the budget or
 * pool", not "No space left on device".
 *
 * Context: Any thread. Takes no lock.
 * Return:  Static text; never NULL, also for codes weir does not use.
 * Since:   0.1
 */
WEIR_API const char *weir_strerror(int code);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_BASE_H */
