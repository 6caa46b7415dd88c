/* SPDX-License-Identifier: MIT */
/*
 * What the pool takes from the real machine: pages of the kind it says, on the node it
 * says, as many as it says, and all of them given back.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <numa.h>
#include <numaif.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <weir/pool.h>

#include "base/alloc.h"
#include "base/util.h"
#include "harness/holdings.h"
#include "harness/sanitized.h"
#include "pool/procfile.h"
#include "pool/provider.h"
#include "pool/smaps.h"

#define MIB (1ull << 20)

#define HUGE_PAGES "/proc/sys/vm/nr_hugepages"

static int open_pool(size_t bytes, uint32_t kinds, uint32_t flags, struct weir_pool **ret)
{
	struct weir_pool_opts opts = {
		.size = sizeof(opts), .capacity_bytes = bytes, .page_kinds = kinds, .flags = flags};

	return weir_pool_open(&opts, ret, NULL);
}

static uint64_t resident_bytes(void)
{
	unsigned long all = 0, resident = 0;
	char text[128];

	if (wr_procfile_text(text, sizeof(text), "/proc/self/statm") ||
	    sscanf(text, "%lu %lu", &all, &resident) != 2)
		return 0;
	return (uint64_t)resident * 4096;
}

static unsigned nr_mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned nr = 0;
	int c;

	while (f && (c = getc(f)) != EOF)
		nr += c == '\n';
	if (f)
		fclose(f);
	return nr;
}

static int write_number(const char *path, uint64_t number)
{
	FILE *f = fopen(path, "we");
	int rc;

	if (!f)
		return -errno;
	rc = fprintf(f, "%llu\n", (unsigned long long)number) < 0 ? -EIO : 0;
	if (fclose(f) != 0 && rc == 0)
		rc = -errno;
	return rc;
}

FIXTURE(hugetlb)
{
	uint64_t before;
	bool have;
};

/* Sixteen pages more than there are; put back at the end. */
FIXTURE_SETUP(hugetlb)
{
	uint64_t now = 0;

	self->have = false;
	if (wr_procfile_number(&self->before, HUGE_PAGES) != 0 ||
	    write_number(HUGE_PAGES, self->before + 16) != 0)
		return;
	self->have = wr_procfile_number(&now, HUGE_PAGES) == 0 && now == self->before + 16;
	if (!self->have)
		(void)write_number(HUGE_PAGES, self->before);
}

FIXTURE_TEARDOWN(hugetlb)
{
	if (self->have)
		EXPECT_EQ(0, write_number(HUGE_PAGES, self->before));
}

static uint64_t free_huge_pages(void)
{
	uint64_t nr = 0;

	(void)wr_procfile_number(&nr, "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
	return nr;
}

TEST_F(hugetlb, pages_that_are_free_are_taken_and_given_back)
{
	uint64_t before = free_huge_pages();
	struct weir_pool_region region;
	struct weir_pool *pool = NULL;
	struct weir_span span;

	if (!self->have)
		SKIP(return, "root, and memory for 16 huge pages of 2 MiB");
	ASSERT_EQ(0, open_pool(32 * MIB, 1u << WEIR_PAGE_2M | 1u << WEIR_PAGE_4K, 0, &pool));
	EXPECT_EQ(WEIR_PAGE_2M, weir_pool_page_kind(pool));
	EXPECT_STREQ("", weir_pool_page_reason(pool));
	EXPECT_EQ(before - 16, free_huge_pages());
	ASSERT_EQ(0, weir_pool_region(pool, 0, &region));
	EXPECT_EQ(2 * MIB, region.page_bytes);
	EXPECT_EQ(0u, (uintptr_t)region.base % (2 * MIB));
	ASSERT_EQ(0, weir_pool_alloc(pool, 3 * MIB, WEIR_NODE_ANY, &span));
	memset(span.base, 1, span.bytes);
	EXPECT_EQ(0, weir_pool_free(pool, span));
	weir_pool_close(pool);
	EXPECT_EQ(before, free_huge_pages());
}

TEST_F(hugetlb, the_pages_that_there_are_are_used_and_smaller_ones_for_the_rest)
{
	uint64_t before = free_huge_pages();
	struct weir_pool_region region[2];
	struct weir_pool *pool = NULL;
	struct weir_pool_stats stats;
	struct weir_page_step step;
	struct weir_span span;
	char expected[64];
	size_t i;

	if (!self->have)
		SKIP(return, "root, and memory for 16 huge pages of 2 MiB");
	ASSERT_EQ(0, open_pool((before + 3) * 2 * MIB, 1u << WEIR_PAGE_2M | 1u << WEIR_PAGE_4K, 0,
			       &pool));
	EXPECT_EQ(0u, free_huge_pages());
	EXPECT_EQ(WEIR_PAGE_4K, weir_pool_page_kind(pool));
	snprintf(expected, sizeof(expected), "2 MiB pages for a part only: %llu needed, ",
		 (unsigned long long)before + 3);
	EXPECT_EQ(0, strncmp(weir_pool_page_reason(pool), expected, strlen(expected)));
	ASSERT_EQ(1u, weir_pool_nr_page_steps(pool));
	ASSERT_EQ(0, weir_pool_page_step(pool, 0, &step));
	EXPECT_EQ(6 * MIB, step.bytes);
	ASSERT_EQ(2u, weir_pool_nr_regions(pool));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, weir_pool_region(pool, i, &region[i]));
	EXPECT_EQ(WEIR_PAGE_2M, (int)region[0].page_kind);
	EXPECT_EQ(before * 2 * MIB, region[0].bytes);
	EXPECT_EQ(WEIR_PAGE_4K, (int)region[1].page_kind);
	EXPECT_EQ((void *)((uint8_t *)region[0].base + region[0].bytes), region[1].base);
	/* One span over both kinds. */
	ASSERT_EQ(0, weir_pool_alloc(pool, (before + 3) * 2 * MIB, WEIR_NODE_ANY, &span));
	memset(span.base, 1, span.bytes);
	EXPECT_EQ(0, weir_pool_free(pool, span));
	weir_pool_stats(pool, &stats);
	EXPECT_EQ(before * 2 * MIB, stats.pages_2m_bytes);
	EXPECT_EQ(6 * MIB, stats.pages_4k_bytes);
	EXPECT_EQ(stats.capacity_bytes, stats.largest_free_bytes);
	weir_pool_close(pool);
	EXPECT_EQ(before, free_huge_pages());
}

TEST(transparent_huge_pages_are_really_there_or_the_reason_says_so)
{
	struct weir_pool_stats stats;
	struct weir_pool *pool = NULL;

	ASSERT_EQ(0, open_pool(64 * MIB, 1u << WEIR_PAGE_THP | 1u << WEIR_PAGE_4K, 0, &pool));
	weir_pool_stats(pool, &stats);
	if (weir_pool_page_reason(pool)[0] == '\0') {
		EXPECT_EQ(WEIR_PAGE_THP, weir_pool_page_kind(pool));
		EXPECT_EQ(64 * MIB, stats.thp_bytes);
	} else {
		EXPECT_LT(stats.thp_bytes, 64 * MIB);
	}
	weir_pool_close(pool);
}

TEST(without_transparent_huge_pages_small_ones_serve)
{
	struct weir_pool_stats stats;
	struct weir_pool *pool = NULL;

	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0)
		SKIP(return, "a kernel with PR_SET_THP_DISABLE");
	ASSERT_EQ(0, open_pool(8 * MIB, 1u << WEIR_PAGE_THP | 1u << WEIR_PAGE_4K, 0, &pool));
	EXPECT_EQ(WEIR_PAGE_4K, weir_pool_page_kind(pool));
	EXPECT_EQ(0, strncmp("no transparent huge pages: ", weir_pool_page_reason(pool), 27));
	weir_pool_stats(pool, &stats);
	EXPECT_EQ(0u, stats.thp_bytes);
	weir_pool_close(pool);
}

TEST(small_pages_alone_stay_small)
{
	struct weir_pool_region region;
	struct weir_pool *pool = NULL;
	uint64_t huge = 1;

	ASSERT_EQ(0, open_pool(8 * MIB, 1u << WEIR_PAGE_4K, 0, &pool));
	ASSERT_EQ(0, weir_pool_region(pool, 0, &region));
	EXPECT_EQ(4096u, region.page_bytes);
	ASSERT_EQ(0, wr_smaps_anon_huge(region.base, region.bytes, &huge));
	EXPECT_EQ(0u, huge);
	weir_pool_close(pool);
}

TEST(huge_bytes_are_counted_for_the_range_asked_only)
{
	char enabled[128];
	uint64_t huge = 0;
	uint8_t *p, *base;

	if (wr_procfile_text(enabled, sizeof(enabled),
			     "/sys/kernel/mm/transparent_hugepage/enabled") ||
	    strstr(enabled, "[never]"))
		SKIP(return, "transparent huge pages");
	p = mmap(NULL, 16 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)p);
	base = p + (wr_align_up((uintptr_t)p, 2 * MIB) - (uintptr_t)p);
	ASSERT_EQ(0, madvise(base, 4 * MIB, MADV_HUGEPAGE));
	ASSERT_EQ(0, madvise(base + 4 * MIB, 4 * MIB, MADV_NOHUGEPAGE));
	memset(base, 1, 8 * MIB);
	ASSERT_EQ(0, wr_smaps_anon_huge(base + 4 * MIB, 4 * MIB, &huge));
	EXPECT_EQ(0u, huge);
	ASSERT_EQ(0, wr_smaps_anon_huge(base, 8 * MIB, &huge));
	if (huge == 0)
		SKIP(return, "a free huge page");
	EXPECT_EQ(0u, huge % (2 * MIB));
	munmap(p, 16 * MIB);
}

TEST(pages_lie_on_the_node_that_the_region_names)
{
	struct weir_pool_region region;
	struct weir_pool *pool = NULL;
	size_t i, at, nr = 0;
	int status = -1;
	void *page;

	if (numa_available() < 0)
		SKIP(return, "a kernel with NUMA support");
	ASSERT_EQ(0, open_pool(64 * MIB, 0, 0, &pool));
	for (i = 0; i < weir_pool_nr_regions(pool); i++) {
		ASSERT_EQ(0, weir_pool_region(pool, i, &region));
		for (at = 0; at < region.bytes; at += 512 * 1024) {
			page = (uint8_t *)region.base + at;
			if (move_pages(0, 1, &page, NULL, &status, 0) != 0)
				SKIP(return, "permission for move_pages");
			ASSERT_EQ(region.node, status);
			nr++;
		}
	}
	EXPECT_EQ(128u, nr);
	weir_pool_close(pool);
}

TEST(a_look_at_pages_tells_which_lie_elsewhere)
{
	const struct wr_pool_system *s = wr_pool_system_real();
	const struct wr_pool_provider *p = wr_pool_provider_real(WEIR_PAGE_4K);
	uint64_t nodes = s->nodes(s->arg);
	struct wr_pool_mapping map;
	struct wr_pool_range range;
	uint64_t bytes = 7;
	int node = -1;
	int rc;

	if (nodes == 0)
		SKIP(return, "a kernel with NUMA support");
	ASSERT_EQ(0, s->get_range(s->arg, 5 * MIB, 4096, &range));
	ASSERT_EQ(0, p->reserve(p->arg, range.base, 5 * MIB, &map));
	/* Pages that are not there lie nowhere. */
	rc = p->misplaced(p->arg, &map, 0, &bytes);
	if (rc != 0)
		SKIP(return, "permission for move_pages");
	EXPECT_EQ(0u, bytes);
	ASSERT_EQ(0, p->commit(p->arg, &map, 0, 5 * MIB));
	ASSERT_EQ(0, get_mempolicy(&node, NULL, 0, map.base, MPOL_F_NODE | MPOL_F_ADDR));
	if ((nodes & (nodes - 1)) == 0) {
		ASSERT_EQ(0, p->misplaced(p->arg, &map, node, &bytes));
		EXPECT_EQ(0u, bytes);
	}
	ASSERT_EQ(0, p->misplaced(p->arg, &map, WR_POOL_MAX_NODES, &bytes));
	EXPECT_EQ(5 * MIB, bytes);
	p->release(p->arg, &map);
	s->put_range(s->arg, &range);
}

TEST(resident_memory_is_capacity_and_metadata_and_does_not_grow)
{
	const uint64_t slack = 256 * 1024; /* stacks of the threads that touch */
	const size_t nr = 64 * MIB / 4096;
	struct weir_span *spans = calloc(nr, sizeof(*spans));
	struct weir_pool *pool = NULL;
	uint64_t before, full;
	size_t i, round;

	if (SANITIZED)
		SKIP(free(spans); return, "a build without sanitizers");
	ASSERT_NE(NULL, spans);
	memset(spans, 0xff, nr * sizeof(*spans));
	/* What the first pool of a process loads stays: libraries, the stack of a thread. */
	ASSERT_EQ(0, open_pool(4 * MIB, 1u << WEIR_PAGE_THP | 1u << WEIR_PAGE_4K, 0, &pool));
	weir_pool_close(pool);
	before = resident_bytes();
	ASSERT_EQ(0, open_pool(64 * MIB, 1u << WEIR_PAGE_THP | 1u << WEIR_PAGE_4K, 0, &pool));
	EXPECT_LE(64 * MIB, resident_bytes() - before + slack);
	EXPECT_GE(64 * MIB + 64 * MIB / 400 + slack, resident_bytes() - before);
	for (round = 0; round < 4; round++) {
		for (i = 0; i < nr; i++)
			ASSERT_EQ(0, weir_pool_alloc(pool, 4096, WEIR_NODE_ANY, &spans[i]));
		full = resident_bytes();
		EXPECT_GE(64 * MIB + 64 * MIB / 400 + slack, full - before);
		for (i = 0; i < nr; i++)
			ASSERT_EQ(0, weir_pool_free(pool, spans[i]));
		EXPECT_GE(full + 64 * 1024, resident_bytes());
	}
	weir_pool_close(pool);
	EXPECT_GE(before + slack, resident_bytes());
	free(spans);
}

TEST(a_lazy_pool_takes_no_memory_until_it_is_used)
{
	uint64_t before = resident_bytes();
	struct weir_pool *pool = NULL;
	struct weir_pool_stats stats;

	if (SANITIZED)
		SKIP(return, "a build without sanitizers");
	ASSERT_EQ(0, open_pool(256 * MIB, 1u << WEIR_PAGE_4K, WEIR_POOL_LAZY, &pool));
	EXPECT_GE(before + 2 * MIB, resident_bytes());
	weir_pool_stats(pool, &stats);
	EXPECT_EQ(256 * MIB, stats.capacity_bytes);
	weir_pool_close(pool);
}

TEST(two_thousand_openings_leave_nothing_behind)
{
	int fds = 0, threads = 0;
	unsigned mappings = 0;
	struct weir_pool *pool = NULL;
	struct weir_span span;
	uint64_t resident = 0;
	int i;

	for (i = 0; i < 2000; i++) {
		/* One in eight is touched, with threads and all. */
		ASSERT_EQ(0, open_pool(4 * MIB, 1u << WEIR_PAGE_THP | 1u << WEIR_PAGE_4K,
				       i % 8 ? WEIR_POOL_LAZY : 0, &pool));
		ASSERT_EQ(0, weir_pool_alloc(pool, 5000, WEIR_NODE_ANY, &span));
		ASSERT_EQ(0, weir_pool_free(pool, span));
		weir_pool_close(pool);
		if (i != 100)
			continue;
		mappings = nr_mappings();
		fds = nr_open_files();
		threads = nr_living_threads();
		resident = resident_bytes();
	}
	if (!SANITIZED) {
		EXPECT_GE(mappings + 2, nr_mappings());
		EXPECT_GE(resident + 512 * 1024, resident_bytes());
	}
	EXPECT_EQ(fds, nr_open_files());
	EXPECT_EQ(threads, nr_living_threads());
	EXPECT_EQ(0, wr_test_alloc_live());
}

TEST_HARNESS_MAIN
