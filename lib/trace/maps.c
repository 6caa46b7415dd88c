/* SPDX-License-Identifier: MIT */
/* See trace/maps.h. */
#include "trace/maps.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/util.h"

bool wr_mapping_line(const char *line, struct wr_mapping *ret)
{
	char perms[5];
	int at = 0;
	size_t length;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %n",
		   &ret->begin, &ret->end, perms, &ret->offset, &ret->major, &ret->minor, &ret->ino,
		   &at) < 7 ||
	    at == 0 || ret->ino == 0 || line[at] != '/' || ret->begin >= ret->end)
		return false;
	ret->is_code = perms[0] && perms[1] && perms[2] == 'x';
	length = strcspn(line + at, "\n");
	if (length >= sizeof(ret->path))
		return false;
	memcpy(ret->path, line + at, length);
	ret->path[length] = '\0';
	return true;
}

int wr_mapping_each(int pid, int (*fn)(void *arg, const struct wr_mapping *m), void *arg)
{
	struct wr_mapping *m = wr_malloc(sizeof(*m));
	char name[32], *line = NULL;
	size_t room = 0;
	FILE *f = NULL;
	int rc = m ? 0 : -ENOMEM;

	snprintf(name, sizeof(name), "/proc/%d/maps", pid);
	if (!rc) {
		f = fopen(name, "re");
		rc = f ? 0 : -errno;
	}
	while (!rc && getline(&line, &room, f) >= 0)
		if (wr_mapping_line(line, m))
			rc = fn(arg, m);
	/* What getline() allocated. */
	free(line);
	if (f)
		fclose(f);
	wr_free(m);
	return rc;
}

/* It may be a pipe by now. */
static int open_regular(const char *path, uint64_t ino)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0)
		return -errno;
	/* Some file systems show another device here, all the same inode. */
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (ino == 0 || st.st_ino == ino))
		return fd;
	close(fd);
	return -ENOENT;
}

static int open_either(int pid, const char *path, uint64_t ino)
{
	char inside[PATH_MAX + 32];
	int fd;

	snprintf(inside, sizeof(inside), "/proc/%d/root%s", pid, path);
	fd = open_regular(inside, ino);
	return fd >= 0 ? fd : open_regular(path, ino);
}

int wr_mapping_open(int pid, const struct wr_mapping *m)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, pid, m->begin,
		 m->end);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		fd = open_either(pid, m->path, m->ino);
	return fd;
}

int wr_mapping_open_path(int pid, const char *path)
{
	return open_either(pid, path, 0);
}
