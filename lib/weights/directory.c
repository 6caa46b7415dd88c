/* SPDX-License-Identifier: MIT */
/*
 * Which files of a directory are a model. Decided by name here, since a name is what people choose
 * with; what is in them is decided by content when they are opened.
 */
#include "weights/directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"

/* Model files in one directory; the rest of its files do not count. */
#define NAMES_MOST 4096u

static const char tail_gguf[] = ".gguf";
static const char tail_st[] = ".safetensors";
static const char tail_index[] = ".safetensors.index.json";

const char *wr_path_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

static char *concat(const char *head, size_t head_bytes, const char *between, const char *name)
{
	size_t bytes = head_bytes + strlen(between) + strlen(name) + 1;
	char *path = wr_malloc(bytes);

	if (path != NULL)
		snprintf(path, bytes, "%.*s%s%s", (int)head_bytes, head, between, name);
	return path;
}

char *wr_path_beside(const char *path, const char *name)
{
	return concat(path, (size_t)(wr_path_name(path) - path), "", name);
}

char *wr_path_join(const char *dir, const char *name)
{
	size_t bytes = strlen(dir);

	return concat(dir, bytes, bytes != 0 && dir[bytes - 1] == '/' ? "" : "/", name);
}

static bool five_digits(const char *p, uint64_t *ret)
{
	uint64_t value = 0;

	for (int i = 0; i < 5; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		value = value * 10 + (uint64_t)(p[i] - '0');
	}
	*ret = value;
	return true;
}

bool wr_split_name(const char *path, uint64_t *ret_no, uint64_t *ret_count)
{
	size_t bytes = strlen(path), tail = WR_SPLIT_TAIL_BYTES;
	uint64_t no, count;
	const char *p;

	if (bytes <= tail)
		return false;
	p = path + bytes - tail;
	if (p[0] != '-' || memcmp(p + 6, "-of-", 4) != 0 || strcmp(p + 15, tail_gguf) != 0)
		return false;
	if (!five_digits(p + 1, &no) || !five_digits(p + 10, &count) || no == 0 || no > count)
		return false;
	*ret_no = no - 1;
	*ret_count = count;
	return true;
}

static bool ends(const char *name, const char *tail)
{
	size_t n = strlen(name), m = strlen(tail);

	return n > m && strcmp(name + n - m, tail) == 0;
}

static int add(struct wr_listing *list, const char *name)
{
	if (list->nr == NAMES_MOST)
		return -EFBIG;
	if (list->nr == list->room) {
		size_t room = list->room != 0 ? list->room * 2 : 8;
		char **names = wr_reallocarray(list->name, room, sizeof(*names));

		if (names == NULL)
			return -ENOMEM;
		list->name = names;
		list->room = room;
	}
	list->name[list->nr] = wr_strdup(name);
	if (list->name[list->nr] == NULL)
		return -ENOMEM;
	list->nr++;
	return 0;
}

void wr_listing_fini(struct wr_listing *list)
{
	for (size_t i = 0; i < list->nr; i++)
		wr_free(list->name[i]);
	wr_free(list->name);
	*list = (struct wr_listing){0};
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Keep names for which @keep says so. */
static void filter(struct wr_listing *list, bool (*keep)(const char *))
{
	size_t kept = 0;

	for (size_t i = 0; i < list->nr; i++) {
		if (keep(list->name[i]))
			list->name[kept++] = list->name[i];
		else
			wr_free(list->name[i]);
	}
	list->nr = kept;
}

static bool has(const struct wr_listing *list, bool (*is)(const char *))
{
	for (size_t i = 0; i < list->nr; i++) {
		if (is(list->name[i]))
			return true;
	}
	return false;
}

static bool is_single(const char *name)
{
	return strcmp(name, "model.safetensors") == 0;
}

static bool is_the_index(const char *name)
{
	return strcmp(name, "model.safetensors.index.json") == 0;
}

static bool is_index(const char *name)
{
	return ends(name, tail_index);
}

static bool is_st(const char *name)
{
	return ends(name, tail_st);
}

/* Of one split model, the first part that is there stands for all. The list is sorted. */
static bool is_lead(const struct wr_listing *list, const char *name)
{
	uint64_t no, count, other_no, other_count;
	size_t stem;

	if (!wr_split_name(name, &no, &count))
		return true;
	stem = strlen(name) - WR_SPLIT_TAIL_BYTES;
	for (size_t i = 0; i < list->nr && list->name[i] != name; i++) {
		if (strlen(list->name[i]) == strlen(name) &&
		    wr_split_name(list->name[i], &other_no, &other_count) && other_count == count &&
		    memcmp(list->name[i], name, stem) == 0)
			return false;
	}
	return true;
}

/* Drop what loses to a better name. */
static void choose(struct wr_listing *list)
{
	static bool (*const better[])(const char *) = {is_single, is_the_index, is_index, is_st};

	for (size_t i = 0; i < wr_array_size(better); i++) {
		if (has(list, better[i])) {
			filter(list, better[i]);
			return;
		}
	}
	list->gguf = true;
}

static int read_names(struct wr_listing *list, DIR *dir)
{
	struct dirent *entry;

	while ((errno = 0, entry = readdir(dir)) != NULL) {
		const char *name = entry->d_name;
		int code = 0;

		if (ends(name, tail_st) || ends(name, tail_index) || ends(name, tail_gguf))
			code = add(list, name);
		if (code != 0)
			return code;
	}
	return errno != 0 ? -EIO : 0;
}

/* is_lead() looks at the names before the one it is asked about: mark first, drop then. */
static int drop_parts(struct wr_listing *list)
{
	size_t kept = 0;
	bool *lead = wr_calloc(list->nr, sizeof(*lead));

	if (lead == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < list->nr; i++)
		lead[i] = is_lead(list, list->name[i]);
	for (size_t i = 0; i < list->nr; i++) {
		if (lead[i])
			list->name[kept++] = list->name[i];
		else
			wr_free(list->name[i]);
	}
	list->nr = kept;
	wr_free(lead);
	return 0;
}

int wr_listing_read(struct wr_listing *list, struct wr_src *src)
{
	int fd = fcntl(src->fd, F_DUPFD_CLOEXEC, 0);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	int code;

	*list = (struct wr_listing){0};
	if (dir == NULL) {
		code = errno;
		if (fd >= 0)
			close(fd);
		return wr_src_fail(src, code == ENOMEM ? -ENOMEM : -EIO, WEIR_OFFSET_NONE,
				   "the directory cannot be read: %s", strerror(code));
	}
	code = read_names(list, dir);
	closedir(dir);
	if (code == 0) {
		if (list->nr > 1)
			qsort(list->name, list->nr, sizeof(*list->name), by_name);
		choose(list);
		if (list->gguf)
			code = drop_parts(list);
	}
	if (code == 0)
		return 0;
	wr_listing_fini(list);
	return wr_src_fail(src, code, WEIR_OFFSET_NONE, "the directory cannot be listed (%s)",
			   weir_strerror(code));
}
