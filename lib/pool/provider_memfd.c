/* SPDX-License-Identifier: MIT */
/*
 * Providers of memory that other processes can map: a file without a name for each mapping
 * (memfd_create), of ordinary pages or of hugetlb pages.
 *
 * - The file's size is sealed before anybody else can have it: a process that makes it
 *   shorter would kill the others at their next touch (SIGBUS).
 * - Pages are given back by a hole in the file, for all processes at once; MADV_DONTNEED
 *   would only forget where they are.
 * - A fork child does not get the mapping, as with private memory. It has the descriptor.
 * - No transparent huge pages: whether a file gets them is a setting of the machine
 *   (shmem_enabled) that is off nearly everywhere.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "pool/provider_real.h"

/* From the kernel's interface; headers older than the kernel we run on lack them. */
#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26 /* include/uapi/linux/memfd.h */
#endif

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static size_t page_bytes_of(const void *arg)
{
	return ((const struct wr_pool_provider *)arg)->page_bytes;
}

/* A file of that size, which nobody can change any more. */
static int sealed_file(size_t bytes, unsigned flags, int *ret)
{
	int fd = memfd_create("weir-pool", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
	int rc;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)bytes) != 0 || fcntl(fd, F_ADD_SEALS, SEALS) != 0) {
		rc = -errno;
		close(fd);
		return rc;
	}
	*ret = fd;
	return 0;
}

static int reserve(void *at, size_t bytes, unsigned flags, struct wr_pool_mapping *ret)
{
	int fd = -1;
	int rc;

	rc = sealed_file(bytes, flags, &fd);
	if (rc != 0)
		return rc;
	rc = wr_real_place(at, bytes, MAP_SHARED, fd);
	if (rc != 0) {
		close(fd);
		return rc;
	}
	*ret = (struct wr_pool_mapping){.base = at, .bytes = bytes, .fd = fd};
	return 0;
}

static int memfd_reserve(void *arg, void *at, size_t bytes, struct wr_pool_mapping *ret)
{
	(void)arg;
	return reserve(at, bytes, 0, ret);
}

static int memfd_hugetlb_reserve(void *arg, void *at, size_t bytes, struct wr_pool_mapping *ret)
{
	unsigned shift = (unsigned)__builtin_ctzll(page_bytes_of(arg));

	return reserve(at, bytes, MFD_HUGETLB | shift << MFD_HUGE_SHIFT, ret);
}

static int memfd_decommit(void *arg, const struct wr_pool_mapping *map, size_t offset, size_t bytes)
{
	size_t page = page_bytes_of(arg);

	if (offset % page != 0 || bytes % page != 0)
		return -EINVAL;
	if (fallocate(map->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
		      (off_t)bytes) != 0)
		return -errno;
	return 0;
}

static int memfd_share(void *arg, const struct wr_pool_mapping *map)
{
	(void)arg;
	return map->fd;
}

static void memfd_release(void *arg, const struct wr_pool_mapping *map)
{
	wr_real_release(arg, map);
	close(map->fd);
}

/* Each is the argument of its own functions; nothing writes to it. */
#define COMMON(kind)                                                             \
	.arg = &providers[kind], .bind = wr_real_bind, .commit = wr_real_commit, \
	.misplaced = wr_real_misplaced, .decommit = memfd_decommit,              \
	.huge_bytes = wr_real_no_huge_bytes, .share = memfd_share, .release = memfd_release

static struct wr_pool_provider providers[WEIR_PAGE_KINDS] = {
	[WEIR_PAGE_4K] = {COMMON(WEIR_PAGE_4K), .page_bytes = 4 * WR_POOL_KIB,
			  .info = wr_real_small_info, .reserve = memfd_reserve},
	[WEIR_PAGE_2M] = {COMMON(WEIR_PAGE_2M), .page_bytes = 2 * WR_POOL_MIB, .eager = true,
			  .info = wr_real_hugetlb_info, .reserve = memfd_hugetlb_reserve},
	[WEIR_PAGE_1G] = {COMMON(WEIR_PAGE_1G), .page_bytes = WR_POOL_GIB, .eager = true,
			  .info = wr_real_hugetlb_info, .reserve = memfd_hugetlb_reserve},
};

const struct wr_pool_provider *wr_pool_provider_memfd(int kind)
{
	if (kind < 0 || kind >= WEIR_PAGE_KINDS || kind == WEIR_PAGE_THP)
		return NULL;
	return &providers[kind];
}
