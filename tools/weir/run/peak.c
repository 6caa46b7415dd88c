/* SPDX-License-Identifier: MIT */
/*
 * peak.c - Numbers of the kernel about this process, a file and its device.
 *
 * The page cache is asked with cachestat() (Linux 6.5), else with mincore() over a mapping that is
 * never touched.
 */
#include "peak.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/util.h"

int wr_peak_memory(struct wr_peak_memory *ret)
{
	struct wr_peak_memory m = {0};
	FILE *f = fopen("/proc/self/status", "re");
	char line[256];

	if (!f)
		return -EIO;
	while (fgets(line, sizeof(line), f)) {
		uint64_t kb;

		if (sscanf(line, "VmHWM: %" SCNu64, &kb) == 1)
			m.high_water_bytes = kb << 10;
		else if (sscanf(line, "RssAnon: %" SCNu64, &kb) == 1)
			m.anon_bytes = kb << 10;
		else if (sscanf(line, "RssFile: %" SCNu64, &kb) == 1)
			m.file_bytes = kb << 10;
		else if (sscanf(line, "HugetlbPages: %" SCNu64, &kb) == 1)
			m.hugetlb_bytes = kb << 10;
	}
	fclose(f);
	*ret = m;
	return 0;
}

int wr_peak_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int code = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		code = -errno;
	close(fd);
	return code;
}

uint64_t wr_peak_bytes(void)
{
	struct wr_peak_memory m;

	return wr_peak_memory(&m) ? 0 : m.high_water_bytes + m.hugetlb_bytes;
}

uint64_t wr_peak_read_bytes(void)
{
	FILE *f = fopen("/proc/self/io", "re");
	uint64_t bytes = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "read_bytes: %" SCNu64, &bytes) == 1)
			break;
	if (f)
		fclose(f);
	return bytes;
}

void wr_peak_drop_cache(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return;
	/* Only clean pages go: whoever wrote the file may have left it to the kernel. */
	(void)fsync(fd);
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	close(fd);
}

double wr_peak_cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* ---- page cache ---- */

/* linux/mman.h of Linux 6.5; the number is the same on every architecture. */
#define NR_CACHESTAT 451

struct cachestat_range {
	uint64_t off, len;
};

struct cachestat {
	uint64_t nr_cache, nr_dirty, nr_writeback, nr_evicted, nr_recently_evicted;
};

static int cached_mincore(int fd, uint64_t bytes, uint64_t *ret)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE), window = (size_t)64 << 20;
	unsigned char *present = malloc(window / page);
	uint64_t pages = 0;
	int code = present ? 0 : -ENOMEM;

	for (uint64_t at = 0; !code && at < bytes; at += window) {
		size_t len = bytes - at < window ? (size_t)(bytes - at) : window;
		void *map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, (off_t)at);

		if (map == MAP_FAILED || mincore(map, len, present))
			code = -errno;
		for (size_t i = 0; !code && i < (len + page - 1) / page; i++)
			pages += present[i] & 1;
		if (map != MAP_FAILED)
			munmap(map, len);
	}
	free(present);
	if (!code)
		*ret = pages * page;
	return code;
}

int wr_peak_cached(const char *path, uint64_t *ret)
{
	struct cachestat_range range = {0, 0}; /* len 0: to the end */
	struct cachestat counts;
	struct stat st;
	int code = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st))
		code = -errno;
	else if (!S_ISREG(st.st_mode))
		code = -EINVAL;
	else if (!syscall(NR_CACHESTAT, fd, &range, &counts, 0))
		*ret = counts.nr_cache * (uint64_t)sysconf(_SC_PAGESIZE);
	else
		code = cached_mincore(fd, (uint64_t)st.st_size, ret);
	close(fd);
	return code;
}

/* ---- the device ---- */

/* One line of the file @dir/@name, without its end. */
static int read_line(const char *dir, const char *name, char *ret, size_t size)
{
	char path[400];
	FILE *f;
	int code = 0;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	if (!fgets(ret, (int)size, f))
		code = -EIO;
	else
		ret[strcspn(ret, "\n")] = '\0';
	fclose(f);
	return code;
}

/* The word in brackets: "none [mq-deadline] kyber". */
static void chosen_word(const char *list, char *ret, size_t size)
{
	const char *open = strchr(list, '[');
	const char *close = open ? strchr(open, ']') : NULL;

	if (close)
		snprintf(ret, size, "%.*s", (int)(close - open - 1), open + 1);
	else
		snprintf(ret, size, "%.*s", (int)size - 1, list);
}

int wr_peak_device_find(const char *path, struct wr_peak_device *ret)
{
	struct wr_peak_device d = {0};
	char link[64], text[256];
	struct stat st;
	char *dir;

	if (stat(path, &st))
		return -errno;
	snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", major(st.st_dev), minor(st.st_dev));
	dir = realpath(link, NULL);
	if (!dir)
		return -ENODEV;
	snprintf(d.name, sizeof(d.name), "%s", strrchr(dir, '/') + 1);
	/* A partition is a folder in its disk's and has no queue of its own. */
	snprintf(d.queue, sizeof(d.queue), "%s/queue", dir);
	if (access(d.queue, F_OK))
		snprintf(d.queue, sizeof(d.queue), "%.*s/queue", (int)(strrchr(dir, '/') - dir),
			 dir);
	if (access(d.queue, F_OK))
		d.queue[0] = '\0';
	free(dir);
	if (!read_line(d.queue, "read_ahead_kb", text, sizeof(text)))
		d.read_ahead_kb = strtoull(text, NULL, 10);
	if (!read_line(d.queue, "scheduler", text, sizeof(text)))
		chosen_word(text, d.scheduler, sizeof(d.scheduler));
	*ret = d;
	return 0;
}

static int write_read_ahead(const struct wr_peak_device *dev, uint64_t kb)
{
	char path[400], text[32];

	if (!dev->queue[0])
		return -EOPNOTSUPP;
	snprintf(path, sizeof(path), "%s/read_ahead_kb", dev->queue);
	snprintf(text, sizeof(text), "%" PRIu64, kb);
	return wr_peak_write(path, text);
}

int wr_peak_device_set_read_ahead(struct wr_peak_device *dev, uint64_t kb)
{
	int code = write_read_ahead(dev, kb);

	if (!code)
		dev->changed = true;
	return code;
}

void wr_peak_device_restore(struct wr_peak_device *dev)
{
	if (dev && dev->changed && !write_read_ahead(dev, dev->read_ahead_kb))
		dev->changed = false;
}
