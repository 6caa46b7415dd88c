/* SPDX-License-Identifier: MIT */
/*
 * Making, filling and removing segments. A segment is a sparse file in /dev/shm of a fixed largest
 * size; the system gives memory for a part before the part is used, so a full /dev/shm is a refusal
 * here and not a signal later. The file gets its name when its head is complete and locked, so
 * nobody sees half of one, and no cleaner takes it for one whose host has ended.
 *
 * Alive means: the owner holds a lock on the file. Unlike a process number the lock cannot be
 * taken over by another process, and it goes when the owner goes, however that happens. Tried and
 * dropped: $XDG_RUNTIME_DIR, which a service, a shell and sudo see differently, so that a host and
 * its reader would miss each other.
 */
#include "metrics/segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"

/* Memory is asked for in steps, so that small parts do not each cost a system call. */
#define BACK_STEP ((uint64_t)64 << 10)

#define TEMPORARY ".weir-new-"

bool wr_segment_parse_name(const char *name, uint32_t *ret_pid, uint32_t *ret_nr)
{
	unsigned long pid, nr;
	char *end;

	if (strncmp(name, "weir-", 5) != 0 || name[5] < '1' || name[5] > '9')
		return false;
	pid = strtoul(name + 5, &end, 10);
	if (*end != '-' || end[1] < '0' || end[1] > '9' || pid > INT32_MAX)
		return false;
	nr = strtoul(end + 1, &end, 10);
	if (*end != '\0' || nr > INT32_MAX)
		return false;
	*ret_pid = (uint32_t)pid;
	*ret_nr = (uint32_t)nr;
	return true;
}

bool wr_segment_is_live(int fd)
{
	if (flock(fd, LOCK_SH | LOCK_NB) != 0)
		return true;
	flock(fd, LOCK_UN);
	return false;
}

/* Seconds since 1970 when the file last changed, or -1 when it is alive or none of ours. */
static int64_t ended_at(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	int64_t at = -1;
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
	    !wr_segment_is_live(fd))
		at = st.st_ctim.tv_sec;
	close(fd);
	return at;
}

struct ended {
	int64_t at;
	char name[40];
};

static int latest_first(const void *a, const void *b)
{
	const struct ended *x = a, *y = b;

	return x->at < y->at ? 1 : x->at > y->at ? -1 : strcmp(x->name, y->name);
}

void wr_segment_clean(const char *path, unsigned keep, unsigned age_seconds)
{
	struct ended ended[256];
	unsigned nr = 0, whole = 0;
	DIR *dir = opendir(path);
	int64_t now = time(NULL);
	struct dirent *d;
	uint32_t pid, number;

	if (dir == NULL)
		return;
	while (nr < wr_array_size(ended) && (d = readdir(dir)) != NULL) {
		bool temporary = strncmp(d->d_name, TEMPORARY, strlen(TEMPORARY)) == 0;

		if ((!temporary && !wr_segment_parse_name(d->d_name, &pid, &number)) ||
		    strlen(d->d_name) >= sizeof(ended[0].name))
			continue;
		ended[nr].at = ended_at(dirfd(dir), d->d_name);
		if (ended[nr].at < 0 || now - ended[nr].at < age_seconds)
			continue;
		strcpy(ended[nr++].name, d->d_name);
	}
	qsort(ended, nr, sizeof(ended[0]), latest_first);
	for (unsigned i = 0; i < nr; i++) {
		bool temporary = strncmp(ended[i].name, TEMPORARY, strlen(TEMPORARY)) == 0;

		if (temporary || whole++ >= keep)
			unlinkat(dirfd(dir), ended[i].name, 0);
	}
	closedir(dir);
}

/* Ask the system for memory below @end. */
static bool back(struct wr_segment *segment, uint64_t end)
{
	uint64_t backed = wr_load_relaxed(&segment->backed);

	while (backed < end) {
		uint64_t wanted = wr_min(wr_align_up(end, BACK_STEP), (uint64_t)segment->bytes);
		int rc;

		do {
			rc = fallocate(segment->fd, 0, (off_t)backed, (off_t)(wanted - backed));
		} while (rc != 0 && errno == EINTR);
		if (rc != 0)
			return false;
		wr_cas_relaxed(&segment->backed, &backed, wanted);
	}
	return true;
}

void *wr_segment_alloc(struct wr_segment *segment, size_t bytes, uint32_t *ret_offset)
{
	uint64_t at, size = wr_align_up(bytes, WR_CACHE_LINE);

	if (segment->fd < 0)
		return NULL;
	at = wr_load_relaxed(&segment->used);
	do {
		if (size > segment->bytes - at)
			goto full;
	} while (!wr_cas_relaxed(&segment->used, &at, at + size));
	/* What the system refuses is lost to us: it refuses what comes after, too. */
	if (!back(segment, at + size))
		goto full;
	*ret_offset = (uint32_t)at;
	return segment->base + at;
full:
	wr_fetch_add_relaxed(&segment->head->nr_outside, 1);
	return NULL;
}

static void fill_head(struct wr_segment *segment)
{
	struct wr_segment_head *head = segment->head;
	struct timespec now;
	int fd;

	clock_gettime(CLOCK_REALTIME, &now);
	memcpy(head->magic, WR_SEGMENT_MAGIC, sizeof(head->magic));
	head->version = WR_SEGMENT_VERSION;
	head->head_bytes = sizeof(*head);
	head->bytes = segment->bytes;
	head->pid = (uint32_t)getpid();
	head->nr_max = WEIR_METRICS_MAX;
	head->start_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	fd = open("/proc/self/comm", O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		ssize_t nr = read(fd, head->command, sizeof(head->command) - 1);

		close(fd);
		for (ssize_t i = 0; i < nr; i++) {
			if (head->command[i] == '\n')
				head->command[i] = '\0';
		}
	}
}

static int map(struct wr_segment *segment, size_t bytes)
{
	uint64_t table = wr_align_up(sizeof(struct wr_segment_head), WR_CACHE_LINE);
	uint64_t end = table + sizeof(struct wr_segment_entry) * WEIR_METRICS_MAX;
	void *base;

	if (ftruncate(segment->fd, (off_t)bytes) != 0)
		return -errno;
	base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, segment->fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	segment->base = base;
	segment->head = base;
	segment->bytes = bytes;
	/* The table of entries is backed whole: 1.4 MiB. */
	if (!back(segment, end))
		return -ENOSPC;
	wr_store_relaxed(&segment->used, wr_align_up(end, WR_CACHE_LINE));
	fill_head(segment);
	segment->head->entries = (uint32_t)table;
	return 0;
}

/* Give the complete file its name: the first number that is free. */
static int name_it(struct wr_segment *segment, const char *dir, const char *temporary)
{
	int nr = 0, rc;

	do {
		rc = snprintf(segment->path, sizeof(segment->path), "%s/weir-%d-%d", dir,
			      (int)getpid(), nr);
		if (rc < 0 || (size_t)rc >= sizeof(segment->path))
			return -ENAMETOOLONG;
		rc = link(temporary, segment->path) == 0 ? 0 : -errno;
	} while (rc == -EEXIST && nr++ < 1000);
	return rc;
}

static int create_file(struct wr_segment *segment, const char *dir, size_t bytes)
{
	static _Atomic unsigned last;
	char temporary[sizeof(segment->path)];
	int rc;

	rc = snprintf(temporary, sizeof(temporary), "%s/" TEMPORARY "%d-%u", dir, (int)getpid(),
		      wr_fetch_add_relaxed(&last, 1u));
	if (rc < 0 || (size_t)rc >= sizeof(temporary))
		return -ENAMETOOLONG;
	/* One left by a process of this number that ended in between. */
	unlink(temporary);
	segment->fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
			   S_IRUSR | S_IWUSR);
	if (segment->fd < 0)
		return -errno;
	rc = flock(segment->fd, LOCK_EX) == 0 ? 0 : -errno;
	if (rc == 0)
		rc = map(segment, bytes);
	if (rc == 0)
		rc = name_it(segment, dir, temporary);
	unlink(temporary);
	return rc;
}

int wr_segment_create(const char *dir, size_t bytes, struct wr_segment **ret,
		      struct weir_error *err)
{
	struct wr_segment *segment;
	int rc;

	if (bytes < WR_SEGMENT_LEAST_BYTES || bytes > UINT32_MAX)
		return wr_error_set(err, -EINVAL, NULL, WEIR_OFFSET_NONE,
				    "a segment has 4 MiB to 4 GiB");
	segment = wr_calloc(1, sizeof(*segment));
	if (segment == NULL)
		return wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE,
				    "no memory for a segment");
	segment->fd = -1;
	rc = create_file(segment, dir, wr_align_up(bytes, 4096));
	if (rc != 0) {
		segment->path[0] = '\0';
		wr_segment_destroy(segment);
		return wr_error_set(err, rc, dir, WEIR_OFFSET_NONE,
				    "no segment for metrics can be made here: %s",
				    weir_strerror(rc));
	}
	*ret = segment;
	return 0;
}

void wr_segment_destroy(struct wr_segment *segment)
{
	if (segment == NULL)
		return;
	/* In a child the name belongs to the parent. */
	if (segment->fd >= 0 && segment->path[0] != '\0')
		unlink(segment->path);
	if (segment->base != NULL)
		munmap(segment->base, segment->bytes);
	if (segment->fd >= 0)
		close(segment->fd);
	wr_free(segment);
}

void wr_segment_forked(struct wr_segment *segment)
{
	void *map;

	if (segment->fd < 0)
		return;
	/* If this fails the child must not write what the parent owns: it gets empty numbers. */
	map = mmap(segment->base, segment->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
		   segment->fd, 0);
	if (map == MAP_FAILED)
		map = mmap(segment->base, segment->bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		abort();
	close(segment->fd);
	segment->fd = -1;
	/* cppcheck-suppress memleak ; it lies where segment->base points */
}
