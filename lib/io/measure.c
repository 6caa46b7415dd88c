/* SPDX-License-Identifier: MIT */
/*
 * The rates of direct reads and of reads from the page cache, by trying. What cannot be had stays 0,
 * "not known".
 */
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/util.h"
#include "io/choice.h"
#include "io/io_internal.h"

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

uint64_t wr_io_measure_device(int fd, uint64_t file_bytes)
{
	void *buf = wr_calloc_aligned(WR_IO_BUF_ALIGN, PROBE_BYTES);
	uint64_t bps = 0;

	if (buf) {
		memset(buf, 1, PROBE_BYTES);
		bps = rate(fd, file_bytes, buf);
	}
	wr_free(buf);
	return bps;
}

uint64_t wr_io_measure_cache(int fd, uint64_t file_bytes)
{
	uint64_t step = wr_align_down(file_bytes / NR_PROBES, PROBE_BYTES), got = 0, begin;
	struct iovec iov = {.iov_len = PROBE_BYTES};
	void *buf = wr_calloc_aligned(WR_IO_BUF_ALIGN, PROBE_BYTES);

	if (!buf || file_bytes < NR_PROBES * PROBE_BYTES) {
		wr_free(buf);
		return 0;
	}
	memset(buf, 1, PROBE_BYTES);
	iov.iov_base = buf;
	begin = wr_now_ns();
	for (uint32_t i = 0; i < NR_PROBES; i++) {
		ssize_t n = preadv2(fd, &iov, 1, (off_t)(i * step), RWF_NOWAIT);

		got += n > 0 ? (uint64_t)n : 0;
	}
	wr_free(buf);
	return (uint64_t)((double)got * 1e9 / (double)wr_max(wr_now_ns() - begin, (uint64_t)1));
}
