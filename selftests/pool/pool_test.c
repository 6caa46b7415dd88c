/* SPDX-License-Identifier: MIT */
/*
 * The public interface on the machine at hand, with any pages it gives.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weir/log.h>
#include <weir/pool.h>

#include "base/alloc.h"
#include "base/random.h"
#include "base/util.h"
#include "pool/state.h"

#define MIB  (1ull << 20)
#define MANY 4096

static struct weir_pool *open_pool(size_t bytes, size_t block_bytes, uint32_t flags)
{
	struct weir_pool_opts opts = {.size = sizeof(opts),
				      .capacity_bytes = bytes,
				      .block_bytes = block_bytes,
				      .flags = flags,
				      .node_mask = 0};
	struct weir_pool *pool = NULL;

	/* One arena, also where there are more nodes. */
	opts.node_mask = wr_pool_system_real()->nodes(NULL);
	opts.node_mask &= ~opts.node_mask + 1;
	return weir_pool_open(&opts, &pool, NULL) == 0 ? pool : NULL;
}

static uint64_t used_bytes(struct weir_pool *pool)
{
	struct weir_pool_stats s;

	weir_pool_stats(pool, &s);
	return s.used_bytes;
}

static uint64_t largest_free(struct weir_pool *pool)
{
	struct weir_pool_stats s;

	weir_pool_trim(pool, 0);
	weir_pool_stats(pool, &s);
	return s.largest_free_bytes;
}

FIXTURE(pool)
{
	struct weir_pool *pool;
	uint64_t random;
};

FIXTURE_VARIANT(pool)
{
	uint32_t flags;
};

FIXTURE_VARIANT_ADD(pool, with_magazines){
	.flags = 0,
};
FIXTURE_VARIANT_ADD(pool, without_magazines){
	.flags = WEIR_POOL_NO_MAGAZINES,
};

FIXTURE_SETUP(pool)
{
	self->random = 0x2545f4914f6cdd1dull;
	self->pool = open_pool(64 * MIB, 0, variant->flags);
	ASSERT_NE(NULL, self->pool);
}

FIXTURE_TEARDOWN(pool)
{
	weir_pool_close(self->pool);
	EXPECT_EQ(0, wr_test_alloc_live());
}

TEST_F(pool, a_span_occupies_its_size_in_blocks_and_no_more)
{
	static const size_t sizes[] = {1,     4095,  4096,	  4097,
				       12345, 65537, 3 * MIB + 1, 20 * MIB + 5000};
	struct weir_span span;
	size_t i, rounded;

	for (i = 0; i < wr_array_size(sizes); i++) {
		rounded = wr_align_up(sizes[i], 4096);
		weir_pool_trim(self->pool, 0);
		ASSERT_EQ(0, weir_pool_alloc(self->pool, sizes[i], WEIR_NODE_ANY, &span));
		EXPECT_EQ(rounded, span.bytes);
		EXPECT_EQ(rounded, used_bytes(self->pool));
		EXPECT_EQ(0u, (uintptr_t)span.base % 4096);
		memset(span.base, 0x5a, span.bytes);
		EXPECT_EQ(64 * MIB - rounded, largest_free(self->pool));
		ASSERT_EQ(0, weir_pool_free(self->pool, span));
		EXPECT_EQ(0u, used_bytes(self->pool));
	}
}

TEST_F(pool, the_tail_of_a_span_is_the_next_span)
{
	struct weir_span a, b;

	ASSERT_EQ(0, weir_pool_alloc(self->pool, 5 * 4096, WEIR_NODE_ANY, &a));
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 4096, WEIR_NODE_ANY, &b));
	EXPECT_EQ((uint8_t *)a.base + 5 * 4096, (uint8_t *)b.base);
	EXPECT_EQ(0, weir_pool_free(self->pool, a));
	EXPECT_EQ(0, weir_pool_free(self->pool, b));
}

TEST_F(pool, spans_do_not_overlap_and_keep_their_bytes)
{
	static struct weir_span spans[MANY];
	static uint8_t stamp[MANY];
	size_t live = 0, pick, step;

	for (step = 0; step < 20000; step++) {
		size_t bytes = 1 + wr_xorshift64(&self->random) % (64 * 1024);

		if (live < MANY && wr_xorshift64(&self->random) % 2 == 0 &&
		    weir_pool_alloc(self->pool, bytes, WEIR_NODE_ANY, &spans[live]) == 0) {
			stamp[live] = (uint8_t)step;
			memset(spans[live].base, stamp[live], spans[live].bytes);
			live++;
		} else if (live > 0) {
			const uint8_t *p;

			pick = wr_xorshift64(&self->random) % live;
			p = spans[pick].base;
			ASSERT_EQ(stamp[pick], p[0]);
			ASSERT_EQ(0, memcmp(p, p + 1, spans[pick].bytes - 1));
			ASSERT_EQ(0, weir_pool_free(self->pool, spans[pick]));
			spans[pick] = spans[--live];
			stamp[pick] = stamp[live];
		}
	}
	while (live > 0)
		ASSERT_EQ(0, weir_pool_free(self->pool, spans[--live]));
	EXPECT_EQ(64 * MIB, largest_free(self->pool));
}

TEST_F(pool, sizes_out_of_range_are_refused_and_fullness_can_be_retried)
{
	struct weir_span all, more;

	memset(&more, 0x77, sizeof(more));
	EXPECT_EQ(-EINVAL, weir_pool_alloc(self->pool, 0, WEIR_NODE_ANY, &more));
	EXPECT_EQ(-EINVAL, weir_pool_alloc(self->pool, 64 * MIB + 1, WEIR_NODE_ANY, &more));
	EXPECT_EQ(-EINVAL, weir_pool_alloc(self->pool, SIZE_MAX, WEIR_NODE_ANY, &more));
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 64 * MIB, WEIR_NODE_ANY, &all));
	EXPECT_EQ(-ENOSPC, weir_pool_alloc(self->pool, 1, WEIR_NODE_ANY, &more));
	EXPECT_EQ(0x7777777777777777ull, more.id); /* untouched */
	EXPECT_EQ(0, weir_pool_free(self->pool, all));
	EXPECT_EQ(0, weir_pool_alloc(self->pool, 1, WEIR_NODE_ANY, &more));
	EXPECT_EQ(0, weir_pool_free(self->pool, more));
}

TEST_F(pool, freeing_twice_is_stale_and_changes_nothing)
{
	struct weir_span first, second;

	ASSERT_EQ(0, weir_pool_alloc(self->pool, 10000, WEIR_NODE_ANY, &first));
	ASSERT_EQ(0, weir_pool_free(self->pool, first));
	EXPECT_EQ(-ESTALE, weir_pool_free(self->pool, first));
	/* The same place, lived in by another: the old span must not free it. */
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 10000, WEIR_NODE_ANY, &second));
	ASSERT_EQ(first.base, second.base);
	EXPECT_EQ(-ESTALE, weir_pool_free(self->pool, first));
	EXPECT_EQ(12288u, used_bytes(self->pool));
	EXPECT_EQ(0, weir_pool_free(self->pool, second));
	EXPECT_EQ(64 * MIB, largest_free(self->pool));
}

TEST_F(pool, a_span_inside_a_later_one_is_stale)
{
	struct weir_span inner[8], outer;
	size_t i;

	for (i = 0; i < 8; i++)
		ASSERT_EQ(0, weir_pool_alloc(self->pool, 4096, WEIR_NODE_ANY, &inner[i]));
	for (i = 0; i < 8; i++)
		ASSERT_EQ(0, weir_pool_free(self->pool, inner[i]));
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 8 * 4096, WEIR_NODE_ANY, &outer));
	for (i = 0; i < 8; i++)
		EXPECT_EQ(-ESTALE, weir_pool_free(self->pool, inner[i]));
	EXPECT_EQ(0, weir_pool_free(self->pool, outer));
}

TEST_F(pool, a_span_that_was_never_given_is_invalid)
{
	struct weir_span span, forged;
	unsigned bit;

	ASSERT_EQ(0, weir_pool_alloc(self->pool, 10000, WEIR_NODE_ANY, &span));
	for (bit = 0; bit < 64; bit++) {
		forged = span;
		forged.id ^= 1ull << bit;
		EXPECT_EQ(-EINVAL, weir_pool_free(self->pool, forged));
	}
	forged = span;
	forged.generation++;
	EXPECT_EQ(-EINVAL, weir_pool_free(self->pool, forged));
	forged.generation++;
	EXPECT_EQ(-EINVAL, weir_pool_free(self->pool, forged));
	forged = span;
	forged.bytes += 4096;
	EXPECT_EQ(-EINVAL, weir_pool_free(self->pool, forged));
	forged = span;
	forged.base = (uint8_t *)span.base + 4096;
	EXPECT_EQ(-EINVAL, weir_pool_free(self->pool, forged));
	forged = span;
	forged.node += 1;
	EXPECT_EQ(-EINVAL, weir_pool_free(self->pool, forged));
	EXPECT_EQ(12288u, used_bytes(self->pool));
	EXPECT_EQ(0, weir_pool_free(self->pool, span));
}

/* The size is one that threads keep ready: other code looks at these. */
TEST_F(pool, a_changed_span_of_a_ready_size_is_invalid_however_it_is_named)
{
	struct weir_span span, forged[8];
	struct weir_pool_stats s;
	size_t i;

	ASSERT_EQ(0, weir_pool_alloc(self->pool, 8192, WEIR_NODE_ANY, &span));
	for (i = 0; i < wr_array_size(forged); i++)
		forged[i] = span;
	forged[0].id++;
	forged[1].id ^= 1ull << 50;
	forged[2].generation++;
	forged[3].generation += 2;
	forged[4].bytes = 4096;
	forged[5].bytes += 1ull << 32;
	forged[6].base = (uint8_t *)span.base + 1;
	forged[7].node++;
	for (i = 0; i < wr_array_size(forged); i++) {
		EXPECT_EQ(-EINVAL, weir_pool_free(self->pool, forged[i]));
		EXPECT_EQ(-EINVAL, weir_pool_span_free(self->pool, &forged[i]));
	}
	weir_pool_stats(self->pool, &s);
	EXPECT_EQ(2 * wr_array_size(forged), s.nr_bad_frees);
	EXPECT_EQ(1u, s.nr_live);
	EXPECT_EQ(0, weir_pool_span_free(self->pool, &span));
	EXPECT_EQ(-ESTALE, weir_pool_span_free(self->pool, &span));
	EXPECT_EQ(0, weir_pool_span_free(self->pool, NULL));
}

TEST_F(pool, a_span_of_another_pool_is_invalid)
{
	struct weir_pool *other = open_pool(64 * MIB, 0, WEIR_POOL_LAZY);
	struct weir_span mine, theirs;

	ASSERT_NE(NULL, other);
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 4096, WEIR_NODE_ANY, &mine));
	ASSERT_EQ(0, weir_pool_alloc(other, 4096, WEIR_NODE_ANY, &theirs));
	EXPECT_EQ(-EINVAL, weir_pool_free(other, mine));
	EXPECT_EQ(-EINVAL, weir_pool_free(self->pool, theirs));
	EXPECT_EQ(0, weir_pool_free(other, theirs));
	EXPECT_EQ(0, weir_pool_free(self->pool, mine));
	weir_pool_close(other);
}

TEST_F(pool, no_span_is_freed_by_doing_nothing)
{
	struct weir_span none = {0};

	EXPECT_EQ(0, weir_pool_free(self->pool, none));
	EXPECT_EQ(0, weir_pool_free(NULL, none));
}

TEST_F(pool, generations_survive_their_wrap)
{
	struct wr_pool_cell *cell = &self->pool->zones[0].cells[0];
	struct weir_span old, span;
	unsigned i;

	wr_cell_store(cell, (uint64_t)(UINT32_MAX - 3) << 32); /* even: not live */
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, weir_pool_alloc(self->pool, 4096, WEIR_NODE_ANY, &span));
		ASSERT_EQ(1u, span.generation % 2);
		if (i > 0) {
			EXPECT_EQ(-ESTALE, weir_pool_free(self->pool, old));
		}
		ASSERT_EQ(0, weir_pool_free(self->pool, span));
		EXPECT_EQ(-ESTALE, weir_pool_free(self->pool, span));
		old = span;
	}
	EXPECT_EQ(4u, wr_cell_generation(wr_cell_load(cell)));
}

TEST_F(pool, metadata_is_at_most_a_quarter_percent)
{
	struct weir_pool_stats s;

	weir_pool_stats(self->pool, &s);
	EXPECT_LE(s.metadata_bytes * 400, s.capacity_bytes);
	EXPECT_LT(0u, s.metadata_bytes);
}

TEST_F(pool, statistics_follow_each_call)
{
	struct weir_pool_stats s;
	struct weir_span a, b, none;

	ASSERT_EQ(0, weir_pool_alloc(self->pool, 5000, WEIR_NODE_ANY, &a));
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 100000, WEIR_NODE_ANY, &b));
	ASSERT_EQ(-ENOSPC, weir_pool_alloc(self->pool, 64 * MIB, WEIR_NODE_ANY, &none));
	ASSERT_EQ(0, weir_pool_free(self->pool, a));
	weir_pool_stats(self->pool, &s);
	EXPECT_EQ(64 * MIB, s.capacity_bytes);
	EXPECT_EQ(102400u, s.used_bytes);
	EXPECT_EQ(64 * MIB - 102400, s.free_bytes + s.cached_bytes);
	EXPECT_EQ(variant->flags == 0, s.cached_bytes > 0);
	EXPECT_EQ(100000u, s.requested_bytes);
	EXPECT_LE(102400u + 8192, s.peak_used_bytes);
	if (variant->flags != 0)
		EXPECT_EQ(102400u + 8192, s.peak_used_bytes);
	EXPECT_EQ(1u, s.nr_live);
	EXPECT_EQ(2u, s.nr_allocs);
	EXPECT_EQ(1u, s.nr_frees);
	EXPECT_EQ(1u, s.nr_failed);
	ASSERT_EQ(0, weir_pool_free(self->pool, b));
	weir_pool_stats(self->pool, &s);
	EXPECT_EQ(0u, s.requested_bytes);
}

TEST_F(pool, a_fork_child_gets_nothing_and_harms_nobody)
{
	struct weir_span span, other;
	int status;
	pid_t pid;

	ASSERT_EQ(0, weir_pool_alloc(self->pool, MIB, WEIR_NODE_ANY, &span));
	memset(span.base, 0x11, span.bytes);
	pid = fork();
	ASSERT_LE(0, pid);
	if (pid == 0) {
		struct weir_pool_stats s;

		if (weir_pool_alloc(self->pool, 4096, WEIR_NODE_ANY, &other) != -EINVAL)
			_exit(2);
		if (weir_pool_free(self->pool, span) != -EINVAL)
			_exit(3);
		weir_pool_stats(self->pool, &s);
		if (s.capacity_bytes != 0)
			_exit(4);
		weir_pool_close(self->pool);
		/* A pool of its own works. */
		self->pool = open_pool(4 * MIB, 0, 0);
		if (!self->pool || weir_pool_alloc(self->pool, MIB, WEIR_NODE_ANY, &other))
			_exit(5);
		memset(other.base, 0x22, other.bytes);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0x11, *(uint8_t *)span.base);
	EXPECT_EQ(MIB, used_bytes(self->pool));
	EXPECT_EQ(0, weir_pool_free(self->pool, span));
}

TEST(a_whole_arena_that_is_no_power_of_two_is_one_span)
{
	struct weir_pool *pool = open_pool(778 * MIB, 0, WEIR_POOL_LAZY);
	struct weir_span all;

	ASSERT_NE(NULL, pool);
	EXPECT_EQ(778 * MIB, largest_free(pool));
	ASSERT_EQ(0, weir_pool_alloc(pool, 778 * MIB, WEIR_NODE_ANY, &all));
	EXPECT_EQ(778 * MIB, all.bytes);
	EXPECT_EQ(0u, largest_free(pool));
	ASSERT_EQ(0, weir_pool_free(pool, all));
	weir_pool_close(pool);
}

TEST(spans_begin_at_any_power_of_two_that_is_asked_for)
{
	static const uint32_t flags[] = {0, WEIR_POOL_DEBUG, WEIR_POOL_NO_MAGAZINES};
	struct weir_pool_opts opts = {
		.size = sizeof(opts), .capacity_bytes = 24 * MIB, .page_kinds = 1u << WEIR_PAGE_4K};
	uint64_t x = 88172645463325252ull;
	struct weir_pool *pool = NULL;
	struct weir_span span[32];
	size_t i, k, align, bytes;
	int rc;

	for (i = 0; i < wr_array_size(flags); i++) {
		opts.flags = flags[i];
		opts.block_bytes = i == 2 ? 256 : 4096;
		ASSERT_EQ(0, weir_pool_open(&opts, &pool, NULL));
		memset(span, 0, sizeof(span));
		for (k = 0; k < 4000; k++) {
			struct weir_span *s = &span[wr_xorshift64(&x) % 32];

			ASSERT_EQ(0, weir_pool_free(pool, *s));
			memset(s, 0, sizeof(*s));
			align = (size_t)1 << (wr_xorshift64(&x) >> 16) % 23;
			bytes = 1 + (wr_xorshift64(&x) >> 16) % 300000;
			rc = weir_pool_alloc_aligned(pool, bytes, align, WEIR_NODE_ANY, s);
			if (rc == -ENOSPC)
				continue;
			ASSERT_EQ(0, rc);
			ASSERT_EQ(0u, (uintptr_t)s->base % align);
			ASSERT_LE(bytes, s->bytes);
		}
		for (k = 0; k < 32; k++)
			EXPECT_EQ(0, weir_pool_free(pool, span[k]));
		/* The largest that such a pool can promise, and what it cannot. */
		EXPECT_EQ(0, weir_pool_alloc_aligned(pool, 1, 16 * MIB, WEIR_NODE_ANY, &span[0]));
		EXPECT_EQ(0u, (uintptr_t)span[0].base % (16 * MIB));
		EXPECT_EQ(0, weir_pool_free(pool, span[0]));
		EXPECT_EQ(-EINVAL, weir_pool_alloc_aligned(pool, 1, 0, WEIR_NODE_ANY, &span[0]));
		EXPECT_EQ(-EINVAL,
			  weir_pool_alloc_aligned(pool, 1, 12288, WEIR_NODE_ANY, &span[0]));
		EXPECT_EQ(-EINVAL, weir_pool_alloc_aligned(pool, 1, (size_t)1 << 62, WEIR_NODE_ANY,
							   &span[0]));
		weir_pool_close(pool);
		pool = NULL;
	}
}

TEST(blocks_may_be_small_or_large)
{
	static const size_t blocks[] = {256, 512, 4096, 65536, 2 * MIB};
	struct weir_pool *pool;
	struct weir_span a, b;
	size_t i;

	for (i = 0; i < wr_array_size(blocks); i++) {
		pool = open_pool(64 * MIB, blocks[i], WEIR_POOL_LAZY);
		ASSERT_NE(NULL, pool);
		ASSERT_EQ(0, weir_pool_alloc(pool, 1, WEIR_NODE_ANY, &a));
		EXPECT_EQ(blocks[i], a.bytes);
		EXPECT_EQ(0u, (uintptr_t)a.base % blocks[i]);
		/* Direct I/O lands at pages, whatever the block. */
		ASSERT_EQ(0, weir_pool_alloc(pool, 5000, WEIR_NODE_ANY, &b));
		EXPECT_EQ(wr_align_up(5000, blocks[i]), b.bytes);
		EXPECT_EQ(0u, (uintptr_t)b.base % 4096);
		EXPECT_EQ(0, weir_pool_free(pool, a));
		EXPECT_EQ(0, weir_pool_free(pool, b));
		EXPECT_EQ(64 * MIB, largest_free(pool));
		weir_pool_close(pool);
	}
}

TEST(options_out_of_range_are_refused_with_the_name_of_the_option)
{
	static const struct {
		struct weir_pool_opts opts;
		int rc;
		const char *text;
	} cases[] = {
		{{.size = sizeof(struct weir_pool_opts)}, -EINVAL, "capacity_bytes"},
		{{.size = sizeof(struct weir_pool_opts), .capacity_bytes = 100},
		 -EINVAL,
		 "capacity_bytes"},
		{{.size = sizeof(struct weir_pool_opts), .capacity_bytes = MIB, .block_bytes = 128},
		 -EINVAL,
		 "block_bytes"},
		{{.size = sizeof(struct weir_pool_opts),
		  .capacity_bytes = MIB,
		  .block_bytes = 4 * MIB},
		 -EINVAL,
		 "block_bytes"},
		{{.size = sizeof(struct weir_pool_opts),
		  .capacity_bytes = MIB,
		  .block_bytes = 5000},
		 -EINVAL,
		 "block_bytes"},
		{{.size = sizeof(struct weir_pool_opts), .capacity_bytes = MIB, .page_kinds = 16},
		 -EINVAL,
		 "page_kinds"},
		{{.size = sizeof(struct weir_pool_opts), .capacity_bytes = MIB, .flags = 1u << 31},
		 -EINVAL,
		 "flags"},
		{{.size = sizeof(struct weir_pool_opts),
		  .capacity_bytes = MIB,
		  .prefault_threads = 9999},
		 -EINVAL,
		 "prefault_threads"},
		{{.size = sizeof(struct weir_pool_opts),
		  .capacity_bytes = MIB,
		  .node_mask = 1ull << 63},
		 -ENODEV,
		 "node 63"},
		{{.size = 1}, -EINVAL, ""},
	};
	struct weir_pool *pool = NULL;
	struct weir_error err;
	size_t i;

	for (i = 0; i < wr_array_size(cases); i++) {
		EXPECT_EQ(cases[i].rc, weir_pool_open(&cases[i].opts, &pool, &err));
		EXPECT_EQ(cases[i].rc, err.code);
		EXPECT_NE(NULL, strstr(err.message, cases[i].text));
		EXPECT_EQ(NULL, pool);
		EXPECT_EQ(cases[i].rc, weir_pool_open(&cases[i].opts, &pool, NULL));
	}
	EXPECT_EQ(-EINVAL, weir_pool_open(NULL, &pool, &err));
}

TEST(more_memory_than_the_machine_has_is_an_error_not_a_killed_process)
{
	struct weir_pool_opts opts = {.size = sizeof(opts), .capacity_bytes = 1ull << 44};
	struct weir_pool *pool = NULL;
	struct weir_error err;

	ASSERT_EQ(-ENOMEM, weir_pool_open(&opts, &pool, &err));
	EXPECT_NE(NULL, strstr(err.message, "MiB"));
}

static char logged[256];

static void keep_log(void *arg, int level, const char *module, const char *text)
{
	if (level == WEIR_LOG_ERROR && strcmp(module, "pool") == 0)
		snprintf(logged, sizeof(logged), "%s", text);
}

TEST(spans_not_freed_at_close_are_reported)
{
	struct weir_pool *pool = open_pool(4 * MIB, 0, 0);
	struct weir_span span;

	ASSERT_NE(NULL, pool);
	ASSERT_EQ(0, weir_log_set(keep_log, NULL, WEIR_LOG_DEBUG));
	ASSERT_EQ(0, weir_pool_alloc(pool, 5000, WEIR_NODE_ANY, &span));
	weir_pool_close(pool);
	EXPECT_STREQ("closed with 1 spans of 8192 bytes not freed", logged);
	weir_pool_close(NULL);
}

TEST(page_kinds_have_names)
{
	EXPECT_STREQ("4k", weir_page_kind_name(WEIR_PAGE_4K));
	EXPECT_STREQ("thp", weir_page_kind_name(WEIR_PAGE_THP));
	EXPECT_STREQ("2m", weir_page_kind_name(WEIR_PAGE_2M));
	EXPECT_STREQ("1g", weir_page_kind_name(WEIR_PAGE_1G));
	EXPECT_STREQ("unknown", weir_page_kind_name(-1));
	EXPECT_STREQ("unknown", weir_page_kind_name(WEIR_PAGE_KINDS));
}

TEST_HARNESS_MAIN
