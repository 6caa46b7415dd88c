/* SPDX-License-Identifier: MIT */
/* See trace/sites.h. */
#include "trace/sites.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "trace/maps.h"
#include "trace/notes.h"

/* A process with more files of code than this has the rest left out. */
#define MAX_FILES 4096u

struct seen {
	unsigned int major, minor;
	uint64_t ino;
};

struct walk {
	int pid;
	int (*fn)(void *arg, int fd);
	void *arg;
	struct seen *seen; /* nr of them */
	size_t nr;
};

/* True the first time. */
static bool is_new(struct walk *w, const struct wr_mapping *m)
{
	for (size_t i = 0; i < w->nr; i++)
		if (w->seen[i].ino == m->ino && w->seen[i].major == m->major &&
		    w->seen[i].minor == m->minor)
			return false;
	if (w->nr == MAX_FILES)
		return false;
	w->seen[w->nr++] = (struct seen){m->major, m->minor, m->ino};
	return true;
}

static int one_mapping(void *arg, const struct wr_mapping *m)
{
	struct walk *w = arg;
	int fd, rc;

	if (!m->is_code || !is_new(w, m))
		return 0;
	fd = wr_mapping_open(w->pid, m);
	if (fd < 0)
		return 0;
	rc = w->fn(w->arg, fd);
	close(fd);
	return rc;
}

int wr_sites_each_file(int pid, int (*fn)(void *arg, int fd), void *arg)
{
	struct walk w = {.pid = pid, .fn = fn, .arg = arg};
	int rc;

	w.seen = wr_calloc(MAX_FILES, sizeof(*w.seen));
	if (!w.seen)
		return -ENOMEM;
	rc = wr_mapping_each(pid, one_mapping, &w);
	wr_free(w.seen);
	return rc;
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
	struct wr_elf_file file;
	int rc;

	ret->nr = 0;
	rc = wr_elf_file_of(&fd, &file, NULL);
	if (!rc)
		rc = wr_sites_of(&file, look, &s);
	return rc == -ENOMEM ? rc : 0;
}
