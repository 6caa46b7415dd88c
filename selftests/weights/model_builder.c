/* SPDX-License-Identifier: MIT */
/*
 * Bytes, pieces of both formats, and files in a temporary directory. See model_builder.h.
 */
#include "weights/model_builder.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void room_for(struct mb_bytes *b, size_t n)
{
	if (b->n + n <= b->room)
		return;
	b->room = (b->n + n) * 2 + 256;
	b->p = realloc(b->p, b->room);
	if (b->p == NULL)
		abort();
}

void mb_put(struct mb_bytes *b, const void *p, size_t n)
{
	room_for(b, n + 1);
	memcpy(b->p + b->n, p, n);
	b->n += n;
}

void mb_text(struct mb_bytes *b, const char *fmt, ...)
{
	char text[4096];
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (n < 0 || (size_t)n >= sizeof(text))
		abort();
	mb_put(b, text, (size_t)n);
}

void mb_u32(struct mb_bytes *b, uint32_t v)
{
	uint8_t p[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};

	mb_put(b, p, 4);
}

void mb_u64(struct mb_bytes *b, uint64_t v)
{
	mb_u32(b, (uint32_t)v);
	mb_u32(b, (uint32_t)(v >> 32));
}

void mb_zeros(struct mb_bytes *b, size_t n)
{
	room_for(b, n + 1);
	memset(b->p + b->n, 0, n);
	b->n += n;
}

void mb_free(struct mb_bytes *b)
{
	free(b->p);
	*b = (struct mb_bytes){0};
}

void mb_st(struct mb_bytes *b, const char *header, size_t data_bytes)
{
	mb_u64(b, strlen(header));
	mb_put(b, header, strlen(header));
	mb_zeros(b, data_bytes);
}

void mb_gguf_head(struct mb_bytes *b, uint32_t version, uint64_t nr_tensors, uint64_t nr_pairs)
{
	mb_put(b, "GGUF", 4);
	mb_u32(b, version);
	mb_u64(b, nr_tensors);
	mb_u64(b, nr_pairs);
}

void mb_gguf_string(struct mb_bytes *b, const char *text)
{
	mb_u64(b, strlen(text));
	mb_put(b, text, strlen(text));
}

void mb_gguf_key(struct mb_bytes *b, const char *key, uint32_t type)
{
	mb_gguf_string(b, key);
	mb_u32(b, type);
}

void mb_gguf_pair_u32(struct mb_bytes *b, const char *key, uint32_t v)
{
	mb_gguf_key(b, key, 4);
	mb_u32(b, v);
}

void mb_gguf_pair_u16(struct mb_bytes *b, const char *key, uint16_t v)
{
	uint8_t p[2] = {(uint8_t)v, (uint8_t)(v >> 8)};

	mb_gguf_key(b, key, 2);
	mb_put(b, p, 2);
}

void mb_gguf_pair_string(struct mb_bytes *b, const char *key, const char *v)
{
	mb_gguf_key(b, key, 8);
	mb_gguf_string(b, v);
}

void mb_gguf_tensor(struct mb_bytes *b, const char *name, uint32_t nr_dims, const uint64_t *ne,
		    uint32_t type, uint64_t offset)
{
	mb_gguf_string(b, name);
	mb_u32(b, nr_dims);
	for (uint32_t i = 0; i < nr_dims; i++)
		mb_u64(b, ne[i]);
	mb_u32(b, type);
	mb_u64(b, offset);
}

void mb_gguf_align(struct mb_bytes *b, size_t align)
{
	mb_zeros(b, (align - b->n % align) % align);
}

char *mb_dir_make(void)
{
	const char *base = getenv("TMPDIR");
	char *dir = mb_path(base != NULL ? base : "/tmp", "weir-weights-XXXXXX");

	if (mkdtemp(dir) == NULL)
		abort();
	return dir;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void mb_dir_remove(char *dir)
{
	nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(dir);
}

char *mb_path(const char *dir, const char *name)
{
	char *path;

	if (asprintf(&path, "%s/%s", dir, name) < 0)
		abort();
	return path;
}

int mb_file(const char *dir, const char *name, const struct mb_bytes *b, uint64_t file_bytes)
{
	char *path = mb_path(dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), code = 0;

	free(path);
	if (fd < 0)
		return -errno;
	for (size_t done = 0; done < b->n;) {
		ssize_t n = write(fd, b->p + done, b->n - done);

		if (n <= 0) {
			code = -EIO;
			break;
		}
		done += (size_t)n;
	}
	if (code == 0 && file_bytes > b->n && ftruncate(fd, (off_t)file_bytes) != 0)
		code = -errno;
	close(fd);
	return code;
}

int mb_file_text(const char *dir, const char *name, const char *text)
{
	struct mb_bytes b = {0};
	int code;

	mb_put(&b, text, strlen(text));
	code = mb_file(dir, name, &b, 0);
	mb_free(&b);
	return code;
}
