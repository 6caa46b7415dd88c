/* SPDX-License-Identifier: MIT */
/*
 * What the choice between direct reads and the page cache is made of, from the kernel's own
 * counters, and the rates of both by trying. What cannot be had stays 0, "not known".
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/util.h"
#include "io/choice.h"
#include "io/io_internal.h"

/* The number behind @name at the beginning of a line of a /proc file; 0 if it is not there. */
static uint64_t number_of(const char *path, const char *name)
{
	size_t len = strlen(name);
	uint64_t value = 0;
	char line[256];
	FILE *f = fopen(path, "re");

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, name, len)) {
			value = strtoull(line + len, NULL, 10);
			break;
		}
	fclose(f);
	return value;
}

/* "some avg10=0.12 avg60=...", as hundredths of a percent. */
static uint64_t stall_permyriad(void)
{
	unsigned int whole = 0, hundredths = 0;
	FILE *f = fopen("/proc/pressure/memory", "re");

	if (!f)
		return 0;
	if (fscanf(f, "some avg10=%u.%2u", &whole, &hundredths) != 2)
		whole = hundredths = 0;
	fclose(f);
	return whole * 100 + hundredths;
}

/* Shorter, and a rate is chance. */
#define LEAST_NS 50000000u

static uint64_t refault_bps(struct wr_io_refaults *since)
{
	uint64_t pages = number_of("/proc/vmstat", "workingset_refault_file ");
	uint64_t now = wr_now_ns(), ns = now - since->at_ns;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), bps = 0;

	if (since->at_ns && ns < LEAST_NS)
		return 0;
	if (since->at_ns && pages > since->pages)
		bps = (uint64_t)((double)(pages - since->pages) * (double)page * 1e9 / (double)ns);
	since->pages = pages;
	since->at_ns = now;
	return bps;
}

void wr_io_measure(int fd, uint64_t file_bytes, struct wr_io_refaults *since,
		   struct wr_io_facts *facts)
{
	facts->file_bytes = file_bytes;
	facts->cached_bytes = wr_io_probe_cached(fd);
	facts->spare_bytes = number_of("/proc/meminfo", "MemAvailable:") << 10;
	facts->total_bytes = number_of("/proc/meminfo", "MemTotal:") << 10;
	facts->stall_permyriad = stall_permyriad();
	facts->refault_bps = refault_bps(since);
}

/* ---- rates ---- */

#define PROBE_BYTES ((size_t)1 << 20)
#define NR_PROBES   4u

/* Bytes a second of some reads spread over the file; 0: it is too small, or one failed. */
static uint64_t rate(int fd, uint64_t file_bytes, void *buf)
{
	uint64_t step = wr_align_down(file_bytes / NR_PROBES, PROBE_BYTES), begin = wr_now_ns();

	if (file_bytes < NR_PROBES * PROBE_BYTES)
		return 0;
	for (uint32_t i = 0; i < NR_PROBES; i++)
		if (pread(fd, buf, PROBE_BYTES, (off_t)(i * step)) != (ssize_t)PROBE_BYTES)
			return 0;
	return NR_PROBES * PROBE_BYTES * 1000000000u / wr_max(wr_now_ns() - begin, (uint64_t)1);
}

void wr_io_measure_rates(int fd, struct wr_io_facts *facts)
{
	int flags = fcntl(fd, F_GETFL);
	void *buf = wr_calloc_aligned(WR_IO_BUF_ALIGN, PROBE_BYTES);

	if (!buf || flags < 0) {
		wr_free(buf);
		return;
	}
	memset(buf, 1, PROBE_BYTES); /* fresh pages would count against the first of both */
	facts->device_bps = rate(fd, facts->file_bytes, buf);
	if (fcntl(fd, F_SETFL, flags & ~O_DIRECT) == 0) {
		facts->cache_bps = rate(fd, facts->file_bytes, buf);
		(void)fcntl(fd, F_SETFL, flags);
	}
	wr_free(buf);
}
