/* SPDX-License-Identifier: MIT */
/*
 * Reading /proc/self/smaps line by line through a small buffer: the file is as long as
 * the process has mappings, and nothing is allocated for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "pool/smaps.h"

struct scan {
	uintptr_t first; /* the range asked for */
	uintptr_t end;
	uint64_t overlap; /* bytes of it in the mapping that the lines speak of */
	uint64_t huge;
};

static void take_line(struct scan *s, const char *line)
{
	uintptr_t from, to;
	uint64_t kib;

	if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2) {
		from = wr_max(from, s->first);
		to = wr_min(to, s->end);
		s->overlap = to > from ? to - from : 0;
	} else if (s->overlap > 0 && sscanf(line, "AnonHugePages: %" SCNu64, &kib) == 1) {
		s->huge += wr_min(kib * 1024, s->overlap);
	}
}

/* Hand over the whole lines in text[0..have) and keep the rest at the front. */
static size_t take_lines(struct scan *s, char *text, size_t have, size_t size)
{
	char *line = text;
	char *end;

	text[have] = '\0';
	while ((end = memchr(line, '\n', have - (size_t)(line - text))) != NULL) {
		*end = '\0';
		take_line(s, line);
		line = end + 1;
	}
	have -= (size_t)(line - text);
	memmove(text, line, have);
	/* A line longer than the buffer is a path: its end says nothing. */
	return have < size - 1 ? have : 0;
}

int wr_smaps_anon_huge(const void *base, size_t bytes, uint64_t *ret)
{
	struct scan s = {.first = (uintptr_t)base, .end = (uintptr_t)base + bytes};
	char text[8192];
	size_t have = 0;
	ssize_t got;
	int fd, rc = 0;

	fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while ((got = read(fd, text + have, sizeof(text) - 1 - have)) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			rc = -errno;
			break;
		}
		have = take_lines(&s, text, have + (size_t)got, sizeof(text));
	}
	close(fd);
	if (rc == 0)
		*ret = s.huge;
	return rc;
}
