/* SPDX-License-Identifier: MIT */
/*
 * The window over a file that the parsers look through.
 *
 * Guarantees: (a) no more memory than one buffer of 256 KiB per file, whatever the file declares;
 * (b) every byte handed out lies inside the file as it was when it was opened; (c) a file that has
 * become shorter since is -ENODATA, not a signal: it is read, never mapped; (d) opening never
 * waits, also not for the other end of a FIFO.
 */
#include "weights/window.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"

#define WINDOW_BYTES (256u * 1024)
_Static_assert(WINDOW_BYTES >= WR_SRC_MOST, "one request fits the window");

void wr_src_mem(struct wr_src *src, const char *path, const void *buf, size_t len,
		uint64_t file_bytes, struct weir_error *err)
{
	*src = (struct wr_src){
		.path = path,
		.err = err,
		.fd = -1,
		.bytes = wr_max(file_bytes, (uint64_t)len),
		.win = buf != NULL ? buf : (const void *)"",
		.win_bytes = len,
	};
}

/* Codes with a meaning of their own stay; what is no device's fault is not called one. */
static int open_code(int error)
{
	switch (error) {
	case ENOENT:
	case ENOTDIR:
	case ELOOP:
	case ENAMETOOLONG:
	case EACCES:
	case EPERM:
	case EMFILE:
	case ENFILE:
	case ENOMEM:
		return -error;
	case ENXIO: /* a socket, or a device without a driver */
	case ENODEV:
		return -EINVAL;
	default:
		return -EIO;
	}
}

int wr_src_open(struct wr_src *src, const char *path, struct stat *st, struct weir_error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int code;

	if (fd < 0) {
		code = errno;
		return wr_error_set(err, open_code(code), path, WEIR_OFFSET_NONE,
				    "cannot be opened: %s", strerror(code));
	}
	if (fstat(fd, st) != 0) {
		code = errno;
		close(fd);
		return wr_error_set(err, -EIO, path, WEIR_OFFSET_NONE, "cannot be examined: %s",
				    strerror(code));
	}
	if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode)) {
		close(fd);
		return wr_error_set(err, -EINVAL, path, WEIR_OFFSET_NONE,
				    "is neither a regular file nor a directory");
	}
	*src = (struct wr_src){
		.path = path,
		.err = err,
		.fd = fd,
		.bytes = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0,
	};
	return 0;
}

void wr_src_fini(struct wr_src *src)
{
	if (src->fd >= 0)
		close(src->fd);
	wr_free(src->buf);
	src->fd = -1;
	src->buf = NULL;
}

static int reserve(struct wr_src *src)
{
	if (src->buf != NULL)
		return 0;
	src->buf_bytes = wr_min((uint64_t)WINDOW_BYTES, src->bytes);
	src->buf = wr_malloc(src->buf_bytes);
	if (src->buf == NULL)
		return wr_src_fail(src, -ENOMEM, WEIR_OFFSET_NONE, "no memory to read it");
	return 0;
}

/* Read the window that begins at @at. */
static int slide(struct wr_src *src, uint64_t at)
{
	size_t want, have = 0;
	int code = reserve(src);

	if (code != 0)
		return code;
	want = wr_min((uint64_t)src->buf_bytes, src->bytes - at);
	while (have < want) {
		ssize_t n = pread(src->fd, src->buf + have, want - have, (off_t)(at + have));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			code = errno;
			return wr_src_fail(src, -EIO, at + have, "cannot be read: %s",
					   strerror(code));
		}
		if (n == 0)
			break;
		have += (size_t)n;
	}
	src->win = src->buf;
	src->win_at = at;
	src->win_bytes = have;
	return 0;
}

static bool inside(const struct wr_src *src, uint64_t at, size_t n)
{
	uint64_t from;

	if (at < src->win_at)
		return false;
	from = at - src->win_at;
	return from <= src->win_bytes && n <= src->win_bytes - from;
}

int wr_src_get(struct wr_src *src, uint64_t at, size_t n, const uint8_t **ret)
{
	wr_assert(n <= WR_SRC_MOST);
	if (at > src->bytes || n > src->bytes - at)
		return wr_src_fail(src, -ENODATA, at,
				   "%zu bytes are needed at %" PRIu64 ", the file has %" PRIu64, n,
				   at, src->bytes);
	if (!inside(src, at, n) && src->fd >= 0) {
		int code = slide(src, at);

		if (code != 0)
			return code;
	}
	if (!inside(src, at, n))
		return wr_src_fail(src, -ENODATA, at,
				   "%zu bytes at %" PRIu64
				   " are not there although the file had %" PRIu64,
				   n, at, src->bytes);
	*ret = src->win + (at - src->win_at);
	return 0;
}

int wr_src_u32(struct wr_src *src, uint64_t at, uint32_t *ret)
{
	const uint8_t *p;
	int code = wr_src_get(src, at, 4, &p);

	if (code == 0)
		*ret = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
		       (uint32_t)p[3] << 24;
	return code;
}

int wr_src_u64(struct wr_src *src, uint64_t at, uint64_t *ret)
{
	const uint8_t *p;
	uint64_t value = 0;
	int code = wr_src_get(src, at, 8, &p);

	if (code != 0)
		return code;
	for (int i = 7; i >= 0; i--)
		value = value << 8 | p[i];
	*ret = value;
	return 0;
}
