/* SPDX-License-Identifier: MIT */
/*
 * What is purged is gone and comes back as zeroes; what is in use, or kept, stays.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include <weir/pool.h>

#include "base/alloc.h"
#include "base/util.h"
#include "pool/state.h"

#define MIB (1ull << 20)

FIXTURE(purge)
{
	struct weir_pool *pool;
	struct weir_pool_region region;
};

FIXTURE_VARIANT(purge)
{
	uint32_t page_kind;
	size_t block_bytes;
};

FIXTURE_VARIANT_ADD(purge, of_small_pages){
	.page_kind = WEIR_PAGE_4K,
	.block_bytes = 4096,
};
FIXTURE_VARIANT_ADD(purge, of_large_blocks){
	.page_kind = WEIR_PAGE_4K,
	.block_bytes = 2 * MIB,
};

FIXTURE_SETUP(purge)
{
	struct weir_pool_opts opts = {.size = sizeof(opts),
				      .capacity_bytes = 64 * MIB,
				      .block_bytes = variant->block_bytes,
				      .page_kinds = 1u << variant->page_kind,
				      .flags = WEIR_POOL_MAY_PURGE};

	opts.node_mask = wr_pool_system_real()->nodes(NULL);
	opts.node_mask &= ~opts.node_mask + 1;
	ASSERT_EQ(0, weir_pool_open(&opts, &self->pool, NULL));
	ASSERT_EQ(0, weir_pool_region(self->pool, 0, &self->region));
}

FIXTURE_TEARDOWN(purge)
{
	weir_pool_close(self->pool);
	EXPECT_EQ(0, wr_test_alloc_live());
}

static uint64_t resident(const struct weir_pool_region *r)
{
	static unsigned char there[64 * MIB / 4096];
	uint64_t nr = 0;
	size_t i;

	if (mincore(r->base, r->bytes, there) != 0)
		return UINT64_MAX;
	for (i = 0; i < r->bytes / 4096; i++)
		nr += there[i] & 1;
	return nr * 4096;
}

TEST_F(purge, free_units_go_and_others_stay)
{
	struct weir_span low, high;
	struct weir_pool_stats s;

	ASSERT_EQ(0, weir_pool_alloc(self->pool, 5 * MIB, -1, &low));
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 50 * MIB, -1, &high));
	memset(low.base, 0x11, low.bytes);
	memset(high.base, 0x22, high.bytes);
	EXPECT_EQ(64 * MIB, resident(&self->region));
	ASSERT_EQ(0, weir_pool_free(self->pool, high));
	/* Of 58 or 59 free MiB, 20 are to stay. */
	EXPECT_EQ(38 * MIB, (uint64_t)weir_pool_purge(self->pool, 20 * MIB));
	EXPECT_EQ(26 * MIB, resident(&self->region));
	EXPECT_LE(58 * MIB - MIB, (uint64_t)weir_pool_purge(self->pool, 0) + MIB);
	EXPECT_GE(6 * MIB + 2 * MIB, resident(&self->region));
	EXPECT_EQ(0x11, ((uint8_t *)low.base)[low.bytes - 1]);
	weir_pool_stats(self->pool, &s);
	EXPECT_EQ(s.capacity_bytes, s.free_bytes + s.used_bytes + s.cached_bytes);
	EXPECT_EQ(low.bytes, s.used_bytes);
	/* It is there again when it is touched, and zero. */
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 50 * MIB, -1, &high));
	EXPECT_EQ(0, ((uint8_t *)high.base)[high.bytes - 1]);
	memset(high.base, 0x33, high.bytes);
	EXPECT_EQ(0, weir_pool_free(self->pool, high));
	EXPECT_EQ(0, weir_pool_free(self->pool, low));
}

static _Atomic bool stop;

static void *purge_on(void *arg)
{
	while (!atomic_load(&stop))
		if (weir_pool_purge(arg, 0) < 0)
			return arg;
	return NULL;
}

TEST_F(purge, nobody_finds_a_pool_full_that_is_not)
{
	struct weir_span span;
	pthread_t thread;
	void *failed;
	int i;

	ASSERT_EQ(0, pthread_create(&thread, NULL, purge_on, self->pool));
	for (i = 0; i < 60; i++) {
		/* All there is, though units are set aside at any moment. */
		ASSERT_EQ(0, weir_pool_alloc(self->pool, 64 * MIB, -1, &span));
		((uint8_t *)span.base)[(size_t)i * MIB] = 1;
		ASSERT_EQ(1, ((uint8_t *)span.base)[(size_t)i * MIB]);
		ASSERT_EQ(0, weir_pool_free(self->pool, span));
	}
	atomic_store(&stop, true);
	pthread_join(thread, &failed);
	EXPECT_EQ(NULL, failed);
}

TEST(a_pool_that_was_not_opened_for_it_is_not_purged)
{
	struct weir_pool_opts opts = {
		.size = sizeof(opts), .capacity_bytes = 8 * MIB, .flags = WEIR_POOL_LAZY};
	struct weir_pool *pool = NULL;

	ASSERT_EQ(0, weir_pool_open(&opts, &pool, NULL));
	EXPECT_EQ(-EINVAL, weir_pool_purge(pool, 0));
	EXPECT_EQ(-EINVAL, weir_pool_purge(NULL, 0));
	weir_pool_close(pool);
}

TEST_HARNESS_MAIN
