/* SPDX-License-Identifier: MIT */
/*
 * A cache whose third tier is a store of files: what does not fit in memory is on disk and comes
 * back, also for a cache of a later process.
 */
#include <errno.h>
#include <stdlib.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "cache/rig.h"
#include "tier/ops.h"
#include "tier/store_help.h"

#define NR_BLOCKS 200u
#define L2_BYTES  (1024u << 10)

FIXTURE(ops)
{
	char dir[256];
	struct wr_store *store;
	struct rig *rig;
};

static int open_both(FIXTURE_DATA(ops) * self)
{
	struct wr_store_opts store = st_opts(24);
	struct weir_cache_opts opts = {.l3 = &wr_store_ops};
	int rc = wr_store_open(self->dir, &store, &self->store, NULL);

	self->rig = calloc(1, sizeof(*self->rig));
	opts.l3_arg = self->store;
	return rc ? rc : rig_open(self->rig, &opts, L2_BYTES);
}

static bool close_both(FIXTURE_DATA(ops) * self)
{
	bool is_clean = rig_close(self->rig);

	free(self->rig);
	wr_store_close(self->store);
	return is_clean;
}

FIXTURE_SETUP(ops)
{
	st_dir(self->dir, sizeof(self->dir), "ops");
	ASSERT_EQ(open_both(self), 0);
}

FIXTURE_TEARDOWN(ops)
{
	EXPECT_TRUE(close_both(self));
	st_dir_remove(self->dir);
	EXPECT_EQ(wr_test_alloc_live(), 0);
}

static size_t bytes_of(uint32_t n)
{
	return 1000 + n * 397 % 60000;
}

static int look(struct rig *rig, uint32_t n, uint64_t *ret_version)
{
	return rig_look(rig, n, 0, bytes_of(n), ret_version);
}

TEST_F(ops, a_cache_spills_to_files_and_finds_it_again)
{
	struct wr_store_stats stats;
	uint64_t version;

	for (uint32_t n = 0; n < NR_BLOCKS; n++)
		ASSERT_EQ(rig_insert(self->rig, n, n + 5, bytes_of(n)), 0);
	wr_store_stats(self->store, &stats);
	EXPECT_GT(stats.nr_puts, NR_BLOCKS / 2);
	for (uint32_t n = 0; n < NR_BLOCKS; n += 3)
		ASSERT_EQ(weir_cache_remove(self->rig->cache, rig_key(n)), 0);
	ASSERT_EQ(weir_cache_flush(self->rig->cache), 0);
	for (int round = 0; round < 2; round++) {
		for (uint32_t n = 0; n < NR_BLOCKS; n++) {
			version = 0;
			ASSERT_EQ(look(self->rig, n, &version), n % 3 ? 0 : -ENOENT);
			ASSERT_EQ(version, n % 3 ? n + 5 : 0);
		}
		ASSERT_TRUE(close_both(self));
		ASSERT_EQ(open_both(self), 0);
	}
}

TEST_F(ops, says_what_a_store_says)
{
	struct weir_store_item item = {.key = st_key(1), .bytes = 1};

	ASSERT_EQ(st_put(self->store, 4, 1, 777), 0);
	ASSERT_EQ(wr_store_ops.find(self->store, st_key(4), &item), 0);
	EXPECT_EQ(item.bytes, 777);
	EXPECT_EQ(item.class_id, 4);
	EXPECT_EQ(wr_store_ops.find(self->store, st_key(5), NULL), -ENOENT);
	EXPECT_EQ(wr_store_ops.remove(self->store, st_key(5), NULL, NULL), -ENOENT);
	item.bytes = 0;
	EXPECT_EQ(wr_store_ops.put(self->store, &item, self, NULL, NULL), -EINVAL);
}

TEST_HARNESS_MAIN
