/* SPDX-License-Identifier: MIT */
/*
 * Small files of the kernel. stdio is avoided: it allocates behind our back, and these
 * are read while a test refuses allocations.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "pool/procfile.h"

static int read_text(const char *path, char *text, size_t size)
{
	size_t have = 0;
	ssize_t got;
	int fd, rc = 0;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (have < size - 1) {
		got = read(fd, text + have, size - 1 - have);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			rc = -errno;
		if (got <= 0)
			break;
		have += (size_t)got;
	}
	close(fd);
	text[have] = '\0';
	return rc;
}

WEIR_PRINTF(3, 0)
static int read_of(char *text, size_t size, const char *fmt, va_list ap)
{
	char path[256];
	int n = vsnprintf(path, sizeof(path), fmt, ap);

	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	return read_text(path, text, size);
}

int wr_procfile_text(char *text, size_t size, const char *fmt, ...)
{
	va_list ap;
	int rc;

	va_start(ap, fmt);
	rc = read_of(text, size, fmt, ap);
	va_end(ap);
	return rc;
}

int wr_procfile_number(uint64_t *ret, const char *fmt, ...)
{
	char text[64];
	va_list ap;
	int rc;

	va_start(ap, fmt);
	rc = read_of(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (rc < 0)
		return rc;
	return sscanf(text, "%" SCNu64, ret) == 1 ? 0 : -EBADMSG;
}

int wr_procfile_field(const char *text, const char *label, uint64_t *ret)
{
	const char *at = strstr(text, label);

	if (!at)
		return -ENOENT;
	return sscanf(at + strlen(label), "%" SCNu64, ret) == 1 ? 0 : -EBADMSG;
}
