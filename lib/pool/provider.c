/* SPDX-License-Identifier: MIT */
/*
 * The real providers: hugetlb pages of 1 GiB and 2 MiB, transparent huge pages, and
 * ordinary pages, all private anonymous memory of this process.
 *
 * - A range of addresses is reserved with a guard page before and after it, and mappings of
 *   different pages are put into it one behind the other. The guards stop a write that runs
 *   over the end, and keep the kernel from merging our mapping with a neighbour, so that
 *   what /proc/self/smaps says of it is about us alone.
 * - A mapping that the kernel could refuse is made elsewhere and moved to its place: one
 *   that is refused there would leave a hole in the range, for anybody to come into.
 * - A fork child does not get the pages (MADV_DONTFORK): a page that is shared for
 *   copy-on-write while the device writes into it would get the bytes in the wrong
 *   copy, and a hugetlb page that a child copies may not exist (SIGBUS).
 * - Pages are touched by MADV_POPULATE_WRITE (Linux 5.14), which reports a page that
 *   is not to be had as an error; touching such a hugetlb page by hand is SIGBUS.
 */
#include <errno.h>
#include <inttypes.h>
#include <numa.h>
#include <numaif.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/util.h"
#include "pool/procfile.h"
#include "pool/provider.h"
#include "pool/provider_real.h"
#include "pool/smaps.h"

/* From the kernel's interface; headers older than the kernel we run on lack them. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* include/uapi/asm-generic/mman-common.h, Linux 5.14 */
#endif
#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26 /* include/uapi/asm-generic/hugetlb_encode.h */
#endif

#define GUARD_BYTES 4096u

static size_t page_bytes_of(const void *arg)
{
	return ((const struct wr_pool_provider *)arg)->page_bytes;
}

/* --- hugetlb ---------------------------------------------------------------------- */

static int hugetlb_number(size_t page_bytes, int node, const char *name, uint64_t *ret)
{
	size_t kib = page_bytes / WR_POOL_KIB;

	if (node < 0)
		return wr_procfile_number(ret, "/sys/kernel/mm/hugepages/hugepages-%zukB/%s", kib,
					  name);
	return wr_procfile_number(ret,
				  "/sys/devices/system/node/node%d/hugepages/hugepages-%zukB/%s",
				  node, kib, name);
}

/*
 * Free pages of the node, of which the reservations of others (known only for the whole
 * machine) may take some; and surplus pages that the kernel may make when asked.
 */
int wr_real_hugetlb_info(void *arg, int node, struct wr_pool_supply *ret)
{
	size_t page = page_bytes_of(arg);
	uint64_t machine_free = 0, reserved = 0, allowed = 0, surplus = 0;
	uint64_t have;
	int rc;

	memset(ret, 0, sizeof(*ret));
	rc = hugetlb_number(page, node, "free_hugepages", &ret->free_pages);
	if (rc == 0)
		rc = hugetlb_number(page, node, "nr_hugepages", &ret->total_pages);
	if (rc != 0) {
		snprintf(ret->why, sizeof(ret->why), "the kernel has no such pages");
		return 0;
	}
	if (hugetlb_number(page, -1, "free_hugepages", &machine_free) ||
	    hugetlb_number(page, -1, "resv_hugepages", &reserved))
		machine_free = reserved = 0;
	have = machine_free > reserved ? machine_free - reserved : 0;
	have = wr_min(have, ret->free_pages);
	if (hugetlb_number(page, -1, "nr_overcommit_hugepages", &allowed) == 0 &&
	    hugetlb_number(page, -1, "surplus_hugepages", &surplus) == 0 && allowed > surplus)
		have += allowed - surplus;
	ret->free_bytes = have * page;
	return 0;
}

static int hugetlb_reserve(void *arg, void *at, size_t bytes, struct wr_pool_mapping *ret)
{
	int shift = __builtin_ctzll(page_bytes_of(arg));
	int rc = wr_real_place(
		at, bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (shift << MAP_HUGE_SHIFT),
		-1);

	if (rc == 0)
		*ret = (struct wr_pool_mapping){.base = at, .bytes = bytes, .fd = -1};
	return rc;
}

/* --- ordinary memory ---------------------------------------------------------------- */

/* Why the kernel would not back memory of this process with huge pages, or "". */
static void thp_obstacle(char *why, size_t size)
{
	char text[128];

	why[0] = '\0';
	if (wr_procfile_text(text, sizeof(text), "/sys/kernel/mm/transparent_hugepage/enabled"))
		snprintf(why, size, "this kernel has none");
	else if (strstr(text, "[never]"))
		snprintf(why, size, "/sys/kernel/mm/transparent_hugepage/enabled is never");
	else if (prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1)
		snprintf(why, size, "switched off for this process (PR_SET_THP_DISABLE)");
}

static int thp_info(void *arg, int node, struct wr_pool_supply *ret)
{
	(void)arg;
	(void)node;
	memset(ret, 0, sizeof(*ret));
	thp_obstacle(ret->why, sizeof(ret->why));
	ret->free_bytes = ret->why[0] ? 0 : UINT64_MAX;
	return 0;
}

int wr_real_small_info(void *arg, int node, struct wr_pool_supply *ret)
{
	(void)arg;
	(void)node;
	memset(ret, 0, sizeof(*ret));
	ret->free_bytes = UINT64_MAX;
	return 0;
}

static int plain_reserve(void *at, size_t bytes, int advice, struct wr_pool_mapping *ret)
{
	if (mprotect(at, bytes, PROT_READ | PROT_WRITE) != 0)
		return -errno;
	(void)madvise(at, bytes, MADV_DONTFORK);
	/* Refused only by a kernel without huge pages, where it changes nothing. */
	(void)madvise(at, bytes, advice);
	*ret = (struct wr_pool_mapping){.base = at, .bytes = bytes, .fd = -1};
	return 0;
}

static int thp_reserve(void *arg, void *at, size_t bytes, struct wr_pool_mapping *ret)
{
	(void)arg;
	return plain_reserve(at, bytes, MADV_HUGEPAGE, ret);
}

static int small_reserve(void *arg, void *at, size_t bytes, struct wr_pool_mapping *ret)
{
	(void)arg;
	return plain_reserve(at, bytes, MADV_NOHUGEPAGE, ret);
}

/* --- ranges ------------------------------------------------------------------------- */

int wr_real_get_range(void *arg, size_t bytes, size_t align, struct wr_pool_range *ret)
{
	size_t total, front;
	uint8_t *raw, *base;

	(void)arg;
	if (wr_add_overflow(bytes, align + 2 * GUARD_BYTES, &total))
		return -ENOMEM;
	raw = mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (raw == MAP_FAILED)
		return -errno;
	base = raw + GUARD_BYTES;
	base += wr_align_up((uintptr_t)base, align) - (uintptr_t)base;
	front = (size_t)(base - raw) - GUARD_BYTES;
	if (front > 0)
		munmap(raw, front);
	ret->outer = base - GUARD_BYTES;
	ret->outer_bytes = bytes + 2 * GUARD_BYTES;
	if (total > front + ret->outer_bytes)
		munmap(base + bytes + GUARD_BYTES, total - front - ret->outer_bytes);
	ret->base = base;
	ret->bytes = bytes;
	return 0;
}

void wr_real_put_range(void *arg, const struct wr_pool_range *range)
{
	(void)arg;
	munmap(range->outer, range->outer_bytes);
}

int wr_real_place(void *at, size_t bytes, int flags, int fd)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
	int rc;

	if (p == MAP_FAILED)
		return -errno;
	if (mremap(p, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, at) == MAP_FAILED) {
		rc = -errno;
		munmap(p, bytes);
		/* Hugetlb pages are moved by Linux 5.16 and newer; they were there just now. */
		p = MAP_FAILED;
		if (rc == -EINVAL)
			p = mmap(at, bytes, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0);
		if (p == MAP_FAILED)
			return rc;
	}
	(void)madvise(at, bytes, MADV_DONTFORK);
	return 0;
}

/* --- common to all ------------------------------------------------------------------ */

int wr_real_bind(void *arg, const struct wr_pool_mapping *map, int node, bool strict)
{
	unsigned long mask[WR_POOL_MAX_NODES / (8 * sizeof(unsigned long))] = {0};
	const size_t bits = 8 * sizeof(mask[0]);

	(void)arg;
	if (node < 0 || node >= WR_POOL_MAX_NODES)
		return -ENODEV;
	mask[(size_t)node / bits] = 1ul << ((size_t)node % bits);
	/* The kernel reads one bit less than it is told: mm/mempolicy.c, get_nodes(). */
	if (mbind(map->base, map->bytes, strict ? MPOL_BIND : MPOL_PREFERRED, mask,
		  WR_POOL_MAX_NODES + 1, 0) != 0)
		return -errno;
	return 0;
}

/* Pages that are looked at, spread over the mapping. */
#define LOOKS 512u

int wr_real_misplaced(void *arg, const struct wr_pool_mapping *map, int node, uint64_t *ret)
{
	size_t page = page_bytes_of(arg);
	size_t step = wr_max((size_t)wr_align_up(map->bytes / LOOKS, page), page);
	size_t nr = wr_min(map->bytes / step, (size_t)LOOKS);
	int status[LOOKS];
	void *at[LOOKS];
	uint64_t elsewhere = 0;
	size_t i;

	for (i = 0; i < nr; i++)
		at[i] = (uint8_t *)map->base + i * step;
	if (move_pages(0, nr, at, NULL, status, 0) != 0)
		return -errno;
	/* Negative: no page, or none that can be looked at. */
	for (i = 0; i < nr; i++)
		elsewhere += status[i] >= 0 && status[i] != node;
	*ret = elsewhere == nr ? map->bytes : elsewhere * step;
	return 0;
}

int wr_real_commit(void *arg, const struct wr_pool_mapping *map, size_t offset, size_t bytes)
{
	volatile uint8_t *p = (uint8_t *)map->base + offset;
	size_t step = page_bytes_of(arg);
	size_t at;

	while (madvise((uint8_t *)map->base + offset, bytes, MADV_POPULATE_WRITE) != 0) {
		if (errno == EINTR || errno == EAGAIN)
			continue;
		if (errno != EINVAL)
			return errno == EFAULT || errno == EHWPOISON ? -ENOMEM : -errno;
		/* A kernel before 5.14. The memory is fresh, so writing 0 changes nothing. */
		for (at = 0; at < bytes; at += wr_min(step, (size_t)4096))
			p[at] = 0;
		break;
	}
	return 0;
}

static int real_decommit(void *arg, const struct wr_pool_mapping *map, size_t offset, size_t bytes)
{
	size_t page = page_bytes_of(arg);

	/* Never a part of a huge page: the kernel would split it. */
	if (offset % page != 0 || bytes % page != 0)
		return -EINVAL;
	if (madvise((uint8_t *)map->base + offset, bytes, MADV_DONTNEED) != 0)
		return -errno;
	return 0;
}

int wr_real_no_huge_bytes(void *arg, const struct wr_pool_mapping *map, uint64_t *ret)
{
	(void)arg;
	(void)map;
	*ret = 0;
	return 0;
}

static int thp_huge_bytes(void *arg, const struct wr_pool_mapping *map, uint64_t *ret)
{
	(void)arg;
	return wr_smaps_anon_huge(map->base, map->bytes, ret);
}

void wr_real_release(void *arg, const struct wr_pool_mapping *map)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
	void *p;

	(void)arg;
	/* At once, so that nobody else comes into the range. */
	p = mmap(map->base, map->bytes, PROT_NONE, flags, -1, 0);
	/* Only the kernel's want of memory is a reason; the pages go with the range then. */
	if (p == MAP_FAILED)
		wr_log(WEIR_LOG_WARN, "pool", "%zu KiB stay mapped until the pool is closed: %s",
		       map->bytes >> 10, weir_strerror(-errno));
	/* cppcheck-suppress memleak ; what is mapped there now is the range's again */
}

/* Each is the argument of its own functions; nothing writes to it. */
#define COMMON(kind)                                                             \
	.arg = &providers[kind], .bind = wr_real_bind, .commit = wr_real_commit, \
	.misplaced = wr_real_misplaced, .decommit = real_decommit, .release = wr_real_release

static struct wr_pool_provider providers[WEIR_PAGE_KINDS] = {
	[WEIR_PAGE_4K] = {COMMON(WEIR_PAGE_4K), .page_bytes = 4 * WR_POOL_KIB,
			  .info = wr_real_small_info, .reserve = small_reserve,
			  .huge_bytes = wr_real_no_huge_bytes},
	[WEIR_PAGE_THP] = {COMMON(WEIR_PAGE_THP), .page_bytes = 2 * WR_POOL_MIB, .info = thp_info,
			   .reserve = thp_reserve, .huge_bytes = thp_huge_bytes},
	[WEIR_PAGE_2M] = {COMMON(WEIR_PAGE_2M), .page_bytes = 2 * WR_POOL_MIB, .eager = true,
			  .info = wr_real_hugetlb_info, .reserve = hugetlb_reserve,
			  .huge_bytes = wr_real_no_huge_bytes},
	[WEIR_PAGE_1G] = {COMMON(WEIR_PAGE_1G), .page_bytes = WR_POOL_GIB, .eager = true,
			  .info = wr_real_hugetlb_info, .reserve = hugetlb_reserve,
			  .huge_bytes = wr_real_no_huge_bytes},
};

const struct wr_pool_provider *wr_pool_provider_real(int kind)
{
	return kind >= 0 && kind < WEIR_PAGE_KINDS ? &providers[kind] : NULL;
}
