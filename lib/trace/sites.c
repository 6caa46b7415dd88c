/* SPDX-License-Identifier: MIT */
/*
 * See trace/sites.h. A file is opened as what is mapped, not by a name that may have come to mean
 * another: through map_files, or, where the rights for that are missing, by the name when the inode
 * is the one that is mapped.
 */
#include "trace/sites.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/util.h"
#include "trace/notes.h"

/* A process with more files of code than this has the rest left out. */
#define MAX_FILES 4096u

struct mapped {
	uint64_t start, end;
	unsigned int major, minor;
	uint64_t ino;
	char path[PATH_MAX];
};

struct seen {
	unsigned int major, minor;
	uint64_t ino;
};

/* One line of /proc/PID/maps: of a file, to be run. */
static bool read_line(const char *line, struct mapped *ret)
{
	char perms[5];
	int at = 0;
	size_t length;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %x:%x %" SCNu64 " %n", &ret->start,
		   &ret->end, perms, &ret->major, &ret->minor, &ret->ino, &at) < 6 ||
	    at == 0 || ret->ino == 0 || perms[2] != 'x' || line[at] != '/')
		return false;
	length = strcspn(line + at, "\n");
	if (length >= sizeof(ret->path))
		return false;
	memcpy(ret->path, line + at, length);
	ret->path[length] = '\0';
	return true;
}

/* Under its name, seen from @root. */
static int open_named(const struct mapped *m, const char *root)
{
	char path[PATH_MAX + 32];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s%s", root, m->path);
	/* It may be a pipe by now. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	/* Some file systems show another device here, all the same inode. */
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_ino == m->ino)
		return fd;
	close(fd);
	return -ENOENT;
}

static int open_mapped(int pid, const struct mapped *m)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, pid, m->start,
		 m->end);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	snprintf(path, sizeof(path), "/proc/%d/root", pid);
	fd = open_named(m, path);
	return fd >= 0 ? fd : open_named(m, "");
}

/* True the first time. */
static bool is_new(struct seen *seen, size_t *nr, const struct mapped *m)
{
	for (size_t i = 0; i < *nr; i++)
		if (seen[i].ino == m->ino && seen[i].major == m->major && seen[i].minor == m->minor)
			return false;
	if (*nr == MAX_FILES)
		return false;
	seen[(*nr)++] = (struct seen){m->major, m->minor, m->ino};
	return true;
}

int wr_sites_each_file(int pid, int (*fn)(void *arg, int fd), void *arg)
{
	char name[32], *line = NULL;
	struct mapped *m = wr_malloc(sizeof(*m));
	struct seen *seen = wr_calloc(MAX_FILES, sizeof(*seen));
	size_t nr = 0, room = 0;
	int rc = m && seen ? 0 : -ENOMEM;
	FILE *f = NULL;

	snprintf(name, sizeof(name), "/proc/%d/maps", pid);
	if (!rc) {
		f = fopen(name, "re");
		rc = f ? 0 : -errno;
	}
	while (!rc && getline(&line, &room, f) >= 0) {
		int fd = read_line(line, m) && is_new(seen, &nr, m) ? open_mapped(pid, m) : -ENOENT;

		if (fd < 0)
			continue;
		rc = fn(arg, fd);
		close(fd);
	}
	free(line); /* what getline() allocated */
	if (f)
		fclose(f);
	wr_free(seen);
	wr_free(m);
	return rc;
}

static int read_at(void *arg, void *to, size_t bytes, uint64_t offset)
{
	size_t done = 0;

	if (offset > INT64_MAX - bytes)
		return -EBADMSG;
	while (done < bytes) {
		ssize_t n = pread(*(const int *)arg, (char *)to + done, bytes - done,
				  (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EBADMSG;
		done += (size_t)n;
	}
	return 0;
}

struct search {
	const char *probe;
	struct wr_sites *sites;
};

static int look(void *arg, const struct wr_site *site)
{
	const struct search *s = arg;
	struct wr_sites *to = s->sites;
	uint64_t cookie = 0;

	if (strcmp(site->name, s->probe) != 0 || to->nr == WR_SITES_MAX)
		return 0;
	for (unsigned i = 0; i < site->nr_args; i++)
		cookie |= (uint64_t)site->reg[i] << i * 8;
	to->offset[to->nr] = site->offset;
	to->semaphore[to->nr] = site->semaphore;
	to->cookie[to->nr++] = cookie;
	return 0;
}

int wr_sites_find(int fd, const char *probe, struct wr_sites *ret)
{
	struct search s = {probe, ret};
	const struct wr_site_file file = {read_at, &fd};
	int rc;

	ret->nr = 0;
	rc = wr_sites_of(&file, look, &s);
	return rc == -ENOMEM ? rc : 0;
}
