/* SPDX-License-Identifier: MIT */
/*
 * replay_read.c - Lines of a file that may be packed with gzip or zstd.
 *
 * A file is known by its first bytes, not by its name. What comes out of a few bytes may be
 * endless, so nothing is kept but one line, and that has a limit.
 */
#include "replay_trace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#if HAVE_ZLIB
#include <zlib.h>
#endif
#if HAVE_ZSTD
#include <zstd.h>
#endif

#include "base/util.h"
#include "ui.h"

#define CHUNK ((size_t)256 << 10)

enum packing { PLAIN, GZIP, ZSTD };

struct wr_trace_lines {
	const char *name;
	FILE *file; /* NULL: from memory */
	const uint8_t *mem;
	size_t mem_left;
	enum packing packing;
	uint8_t *in; /* CHUNK bytes as they are in the file */
	size_t in_from, in_to;
	uint64_t in_offset; /* of in[0] in the file */
	uint8_t *out;	    /* CHUNK bytes unpacked */
	size_t out_from, out_to;
	bool is_over;	/* no more input */
	bool in_stream; /* between the head and the end of a packed stream */
	char *line;
	size_t room;
	uint64_t number;
	struct wr_ui_progress progress;
#if HAVE_ZLIB
	z_stream gzip;
#endif
#if HAVE_ZSTD
	ZSTD_DStream *zstd;
#endif
};

static int refill(struct wr_trace_lines *l, struct weir_error *err)
{
	l->in_offset += l->in_to;
	l->in_from = l->in_to = 0;
	if (l->file) {
		l->in_to = fread(l->in, 1, CHUNK, l->file);
		if (ferror(l->file))
			return wr_error_set(err, -EIO, l->name, l->in_offset, "it cannot be read");
	} else {
		l->in_to = wr_min(l->mem_left, CHUNK);
		memcpy(l->in, l->mem, l->in_to);
		l->mem += l->in_to;
		l->mem_left -= l->in_to;
	}
	l->is_over = l->in_to == 0;
	wr_ui_progress_update(&l->progress, l->in_offset);
	return 0;
}

#if HAVE_ZLIB
static int unpack_gzip(struct wr_trace_lines *l)
{
	int rc;

	if (!l->in_stream && inflateReset(&l->gzip) != Z_OK)
		return -EBADMSG;
	l->gzip.next_in = l->in + l->in_from;
	l->gzip.avail_in = (uInt)(l->in_to - l->in_from);
	l->gzip.next_out = l->out;
	l->gzip.avail_out = CHUNK;
	rc = inflate(&l->gzip, Z_NO_FLUSH);
	l->in_from = l->in_to - l->gzip.avail_in;
	l->out_to = CHUNK - l->gzip.avail_out;
	l->in_stream = rc != Z_STREAM_END;
	return rc == Z_OK || rc == Z_STREAM_END || rc == Z_BUF_ERROR ? 0 : -EBADMSG;
}
#endif

#if HAVE_ZSTD
static int unpack_zstd(struct wr_trace_lines *l)
{
	ZSTD_inBuffer in = {l->in, l->in_to, l->in_from};
	ZSTD_outBuffer out = {l->out, CHUNK, 0};
	size_t rc = ZSTD_decompressStream(l->zstd, &out, &in);

	l->in_from = in.pos;
	l->out_to = out.pos;
	l->in_stream = rc != 0;
	return ZSTD_isError(rc) ? -EBADMSG : 0;
}
#endif

static int unpack(struct wr_trace_lines *l)
{
#if HAVE_ZLIB
	if (l->packing == GZIP)
		return unpack_gzip(l);
#endif
#if HAVE_ZSTD
	if (l->packing == ZSTD)
		return unpack_zstd(l);
#endif
	l->out_to = l->in_to - l->in_from;
	memcpy(l->out, l->in + l->in_from, l->out_to);
	l->in_from = l->in_to;
	return 0;
}

/* More unpacked bytes, unless the end is reached. */
static int more(struct wr_trace_lines *l, struct weir_error *err)
{
	int rc;

	l->out_from = l->out_to = 0;
	while (!l->out_to) {
		if (wr_ui_interrupted())
			return wr_error_set(err, -EINTR, l->name, WEIR_OFFSET_NONE, "interrupted");
		if (l->in_from == l->in_to) {
			rc = refill(l, err);
			if (rc)
				return rc;
		}
		if (l->is_over && !l->in_stream)
			return 0;
		rc = unpack(l);
		if (rc)
			return wr_error_set(err, rc, l->name, l->in_offset + l->in_from,
					    "the packed data are damaged");
		if (l->is_over && !l->out_to)
			return wr_error_set(err, -ENODATA, l->name, l->in_offset,
					    "the packed data end too early");
	}
	return 0;
}

static int start_unpacking(struct wr_trace_lines *l, struct weir_error *err)
{
	bool can = true;

	if (l->in_to >= 2 && l->in[0] == 0x1f && l->in[1] == 0x8b)
		l->packing = GZIP;
	else if (l->in_to >= 4 && !memcmp(l->in, "\x28\xb5\x2f\xfd", 4))
		l->packing = ZSTD;
	if (l->packing == GZIP) {
#if HAVE_ZLIB
		if (inflateInit2(&l->gzip, 15 + 16) != Z_OK)
			return -ENOMEM;
#else
		can = false;
#endif
	} else if (l->packing == ZSTD) {
#if HAVE_ZSTD
		l->zstd = ZSTD_createDStream();
		if (!l->zstd)
			return -ENOMEM;
		/* What a window may take of our memory, whatever the file asks for. */
		ZSTD_DCtx_setParameter(l->zstd, ZSTD_d_windowLogMax, 27);
#else
		can = false;
#endif
	}
	if (!can)
		return wr_error_set(err, -EOPNOTSUPP, l->name, 0,
				    "this build cannot unpack it; unpack it with %s first",
				    l->packing == GZIP ? "gzip" : "zstd");
	return 0;
}

static int start(struct wr_trace_lines *l, struct wr_trace_lines **ret, struct weir_error *err)
{
	int rc = -ENOMEM;

	l->in = malloc(CHUNK);
	l->out = malloc(CHUNK);
	if (l->in && l->out) {
		rc = refill(l, err);
		if (!rc)
			rc = start_unpacking(l, err);
	}
	if (rc == -ENOMEM)
		wr_error_set(err, rc, l->name, WEIR_OFFSET_NONE, "no memory to read it");
	if (rc)
		wr_trace_lines_close(l);
	else
		*ret = l;
	return rc;
}

int wr_trace_lines_open(const char *path, bool quiet, struct wr_trace_lines **ret,
			struct weir_error *err)
{
	struct wr_trace_lines *l = calloc(1, sizeof(*l));
	struct stat st;
	int rc;

	if (!l)
		return wr_error_set(err, -ENOMEM, path, WEIR_OFFSET_NONE, "no memory to read it");
	l->name = path;
	l->file = fopen(path, "rbe");
	if (!l->file) {
		rc = -errno;
		free(l);
		return wr_error_set(err, rc, path, WEIR_OFFSET_NONE, "it cannot be opened");
	}
	if (fstat(fileno(l->file), &st) == 0 && st.st_size > 0)
		wr_ui_progress_start(&l->progress, "reading", (uint64_t)st.st_size, quiet);
	return start(l, ret, err);
}

int wr_trace_lines_open_mem(const char *path, const void *data, size_t size,
			    struct wr_trace_lines **ret, struct weir_error *err)
{
	struct wr_trace_lines *l = calloc(1, sizeof(*l));

	if (!l)
		return wr_error_set(err, -ENOMEM, path, WEIR_OFFSET_NONE, "no memory to read it");
	l->name = path;
	l->mem = data;
	l->mem_left = size;
	return start(l, ret, err);
}

void wr_trace_lines_close(struct wr_trace_lines *l)
{
	if (!l)
		return;
	wr_ui_progress_end(&l->progress);
	if (l->file)
		fclose(l->file);
#if HAVE_ZLIB
	if (l->packing == GZIP)
		inflateEnd(&l->gzip);
#endif
#if HAVE_ZSTD
	ZSTD_freeDStream(l->zstd);
#endif
	free(l->in);
	free(l->out);
	free(l->line);
	free(l);
}

static int append(struct wr_trace_lines *l, size_t used, const uint8_t *from, size_t bytes,
		  struct weir_error *err)
{
	size_t need = used + bytes + 1;
	char *grown;

	if (need > WR_TRACE_MAX_LINE)
		return wr_error_set(err, -EFBIG, l->name, WEIR_OFFSET_NONE,
				    "line %llu is longer than %zu MiB",
				    (unsigned long long)l->number + 1, WR_TRACE_MAX_LINE >> 20);
	if (need > l->room) {
		grown = realloc(l->line, need * 2);
		if (!grown)
			return wr_error_set(err, -ENOMEM, l->name, WEIR_OFFSET_NONE,
					    "no memory for a line");
		l->line = grown;
		l->room = need * 2;
	}
	memcpy(l->line + used, from, bytes);
	l->line[used + bytes] = '\0';
	return 0;
}

int wr_trace_lines_next(struct wr_trace_lines *l, char **ret, size_t *ret_size,
			struct weir_error *err)
{
	bool has_any = false;
	size_t used = 0;

	for (;;) {
		const uint8_t *from = l->out + l->out_from;
		size_t left = l->out_to - l->out_from;
		const uint8_t *end = left ? memchr(from, '\n', left) : NULL;
		size_t bytes = end ? (size_t)(end - from) : left;
		int rc = append(l, used, from, bytes, err);

		if (rc)
			return rc;
		has_any |= left > 0;
		used += bytes;
		l->out_from += bytes + (end != NULL);
		if (end)
			break;
		rc = more(l, err);
		if (rc)
			return rc;
		if (l->out_to)
			continue;
		if (!has_any)
			return 0;
		break;
	}
	if (used && l->line[used - 1] == '\r')
		l->line[--used] = '\0';
	l->number++;
	*ret = l->line;
	*ret_size = used;
	return 1;
}

uint64_t wr_trace_lines_number(const struct wr_trace_lines *l)
{
	return l->number;
}
