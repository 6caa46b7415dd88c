/* SPDX-License-Identifier: MIT */
/*
 * The codes and their one meaning each. docs/errors.md shows this table to people; a test compares
 * the two. Adding a code means adding it in both, with a meaning that no other code has.
 */
#include <weir/base.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"

#define CODES(X)                                                                    \
	X(EINVAL, "the call is wrong: an argument is out of its rules")             \
	X(E2BIG, "the options set something that this version does not know")       \
	X(ERANGE, "the number is outside its bounds")                               \
	X(EEXIST, "the name is taken")                                              \
	X(EDEADLK, "the call would wait for itself")                                \
	X(ENOMEM, "the system gives no memory, or none that may be locked")         \
	X(ENOSPC, "no room in the budget, pool or table: free something and retry") \
	X(EAGAIN, "nothing was done: take what is finished and retry")              \
	X(EBUSY, "it is pinned or in use")                                          \
	X(EALREADY, "it is done or being done already")                             \
	X(EINPROGRESS, "it is not ready yet")                                       \
	X(ECANCELED, "it was cancelled before it was done")                         \
	X(EINTR, "the wait was interrupted by a signal")                            \
	X(ETIMEDOUT, "the time given ran out")                                      \
	X(ESHUTDOWN, "it is being closed and takes nothing new")                    \
	X(ENOENT, "there is no such file, tensor or name")                          \
	X(ENOTDIR, "a part of the path is not a directory")                         \
	X(EISDIR, "a directory stands where a file is needed")                      \
	X(ELOOP, "the path leads out of the model's directory or round in links")   \
	X(ENAMETOOLONG, "the name is too long")                                     \
	X(EACCES, "the file's permissions forbid it")                               \
	X(EPERM, "this system or its administrator forbids it")                     \
	X(EMFILE, "the process has too many open files")                            \
	X(ENFILE, "the system has too many open files")                             \
	X(EROFS, "the file system is read-only")                                    \
	X(EDQUOT, "the file system or the user's quota on it is full")              \
	X(EFBIG, "the file or a part of it is above a stated limit")                \
	X(EBADMSG, "the file is malformed")                                         \
	X(EOVERFLOW, "the file's numbers wrap or point outside it")                 \
	X(ENODATA, "the file ends before the bytes that are needed")                \
	X(ESTALE, "it is no longer what it was: a file changed, a span freed")      \
	X(EOPNOTSUPP, "this system or build lacks it")                              \
	X(ENODEV, "there is no such device, node or processor")                     \
	X(EIO, "the device failed")

const char *weir_version(void)
{
#define TEXT_(x) #x
#define TEXT(x)	 TEXT_(x)
	return TEXT(WEIR_VERSION_MAJOR) "." TEXT(WEIR_VERSION_MINOR) "." TEXT(WEIR_VERSION_PATCH);
#undef TEXT
#undef TEXT_
}

const char *weir_strerror(int code)
{
	switch (code) {
	case 0:
		return "success";
#define CASE(name, text) \
	case -name:      \
		return text;
		CODES(CASE)
#undef CASE
	default:
		return "a code that weir does not use";
	}
}

static void printable_only(char *text)
{
	for (; *text != '\0'; text++) {
		if (*text < ' ' || *text > '~')
			*text = '?';
	}
}

/* The end of a path is what tells files apart. */
static void set_file(struct weir_error *err, const char *file)
{
	size_t length = strlen(file), room = sizeof(err->file) - 1;

	if (length <= room) {
		memmove(err->file, file, length + 1);
		return;
	}
	memmove(err->file + 3, file + length - (room - 3), room - 3 + 1);
	memcpy(err->file, "...", 3);
}

int wr_error_set(struct weir_error *err, int code, const char *file, uint64_t offset,
		 const char *fmt, ...)
{
	va_list args;

	if (err == NULL)
		return code;
	err->code = code;
	err->offset = offset;
	/* @file may be err->file itself, when a caller refines what it got from below. */
	set_file(err, file != NULL ? file : "");
	va_start(args, fmt);
	vsnprintf(err->message, sizeof(err->message), fmt, args);
	va_end(args);
	printable_only(err->message);
	return code;
}
