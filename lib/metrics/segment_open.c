/* SPDX-License-Identifier: MIT */
/*
 * Finding and opening the segments of this user. A file is looked at only when it belongs to this
 * user and is a regular one; what its head says is checked once, here, for all that reads it later.
 */
#include <weir/metrics_segment.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"
#include "metrics/registry.h"
#include "metrics/segment_map.h"

static int check_head(struct weir_segment *segment, const struct wr_segment_head *head,
		      struct weir_error *err)
{
	uint32_t entries = head->entries, nr_max = head->nr_max;

	if (memcmp(head->magic, WR_SEGMENT_MAGIC, sizeof(head->magic)) != 0)
		return wr_error_set(err, -EBADMSG, segment->path, 0, "this is no segment");
	if (head->version != WR_SEGMENT_VERSION)
		return wr_error_set(err, -EBADMSG, segment->path, 8,
				    "a segment of version %u; this library reads version %u",
				    head->version, WR_SEGMENT_VERSION);
	if (head->head_bytes != sizeof(*head) || nr_max == 0 || nr_max > WEIR_METRICS_MAX ||
	    entries < sizeof(*head) || entries % 8 != 0 ||
	    entries + (uint64_t)nr_max * sizeof(struct wr_segment_entry) > segment->bytes)
		return wr_error_set(err, -EBADMSG, segment->path, 12,
				    "the head of the segment is damaged");
	segment->entries = entries;
	segment->nr_max = nr_max;
	return 0;
}

static int map(struct weir_segment *segment, struct weir_error *err)
{
	struct stat st;
	void *base;

	segment->fd =
		open(segment->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (segment->fd < 0 || fstat(segment->fd, &st) != 0)
		return wr_error_set(err, -errno, segment->path, WEIR_OFFSET_NONE,
				    "the segment cannot be opened: %s", weir_strerror(-errno));
	if (st.st_uid != geteuid())
		return wr_error_set(err, -EPERM, segment->path, WEIR_OFFSET_NONE,
				    "this belongs to another user");
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < sizeof(struct wr_segment_head) ||
	    (uint64_t)st.st_size > UINT32_MAX)
		return wr_error_set(err, -EBADMSG, segment->path, WEIR_OFFSET_NONE,
				    "this is no segment");
	base = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, segment->fd, 0);
	if (base == MAP_FAILED)
		return wr_error_set(err, -ENOMEM, segment->path, WEIR_OFFSET_NONE,
				    "no memory to map the segment");
	segment->base = base;
	segment->bytes = (uint64_t)st.st_size;
	return check_head(segment, base, err);
}

int weir_segment_open(const char *path, struct weir_segment **ret, struct weir_error *err)
{
	struct weir_segment *segment = wr_calloc(1, sizeof(*segment));
	int rc;

	if (segment == NULL)
		return wr_error_set(err, -ENOMEM, path, WEIR_OFFSET_NONE,
				    "no memory for a segment");
	segment->fd = -1;
	rc = snprintf(segment->path, sizeof(segment->path), "%s", path);
	if (rc < 0 || (size_t)rc >= sizeof(segment->path))
		rc = wr_error_set(err, -ENOENT, path, WEIR_OFFSET_NONE, "the path is too long");
	else
		rc = map(segment, err);
	if (rc != 0) {
		weir_segment_close(segment);
		return rc;
	}
	*ret = segment;
	return 0;
}

void weir_segment_close(struct weir_segment *segment)
{
	if (segment == NULL)
		return;
	if (segment->base != NULL)
		munmap((void *)(uintptr_t)segment->base, segment->bytes);
	if (segment->fd >= 0)
		close(segment->fd);
	wr_free(segment);
}

void weir_segment_info(struct weir_segment *segment, struct weir_segment_info *ret)
{
	const struct wr_segment_head *head = (const void *)segment->base;
	const char *name = strrchr(segment->path, '/');
	uint32_t pid;

	*ret = (struct weir_segment_info){
		.start_ms = head->start_ms,
		.tick_ms = wr_load_relaxed(&head->tick_ms),
		.bytes = segment->bytes,
		.nr_outside = wr_load_relaxed(&head->nr_outside),
		.pid = head->pid,
		.alive = wr_segment_is_live(segment->fd),
	};
	if (!wr_segment_parse_name(name != NULL ? name + 1 : segment->path, &pid, &ret->context))
		ret->context = 0;
	snprintf(ret->path, sizeof(ret->path), "%s", segment->path);
	memcpy(ret->command, head->command, sizeof(ret->command) - 1);
	for (char *c = ret->command; *c != '\0'; c++) {
		if (!isascii((unsigned char)*c) || !isprint((unsigned char)*c))
			*c = '?';
	}
}

static int living_then_latest(const void *a, const void *b)
{
	const struct weir_segment_info *x = a, *y = b;

	if (x->alive != y->alive)
		return x->alive ? -1 : 1;
	if (x->start_ms != y->start_ms)
		return x->start_ms > y->start_ms ? -1 : 1;
	return strcmp(x->path, y->path);
}

/* Describe the segment of that name; false when it is none that can be read. */
static bool describe(const char *dir, const char *name, struct weir_segment_info *ret)
{
	struct weir_segment *segment;
	char path[sizeof(ret->path)];
	uint32_t pid, number;
	int nr;

	if (!wr_segment_parse_name(name, &pid, &number))
		return false;
	nr = snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (nr < 0 || (size_t)nr >= sizeof(path) || weir_segment_open(path, &segment, NULL) != 0)
		return false;
	weir_segment_info(segment, ret);
	weir_segment_close(segment);
	return true;
}

/* One more into @all of @nr, which grows. */
static int append(struct weir_segment_info **all, uint32_t *nr, uint32_t *room,
		  const struct weir_segment_info *info)
{
	if (*nr == *room) {
		uint32_t more = *room != 0 ? 2 * *room : 16;
		struct weir_segment_info *grown = wr_reallocarray(*all, more, sizeof(**all));

		if (grown == NULL)
			return -ENOMEM;
		*all = grown;
		*room = more;
	}
	(*all)[(*nr)++] = *info;
	return 0;
}

int weir_segments_find(const char *path, uint32_t max, struct weir_segment_info *ret)
{
	struct weir_segment_info *all = NULL, info;
	uint32_t nr = 0, room = 0;
	struct dirent *d;
	int rc = 0;
	DIR *dir;

	path = path != NULL ? path : WEIR_SEGMENT_DIR;
	dir = opendir(path);
	if (dir == NULL)
		return -errno;
	while (rc == 0 && (d = readdir(dir)) != NULL) {
		if (describe(path, d->d_name, &info))
			rc = append(&all, &nr, &room, &info);
	}
	closedir(dir);
	if (rc == 0 && nr > 0) {
		qsort(all, nr, sizeof(*all), living_then_latest);
		memcpy(ret, all, wr_min(nr, max) * sizeof(*all));
	}
	wr_free(all);
	return rc != 0 ? rc : (int)nr;
}
