/* SPDX-License-Identifier: MIT */
/*
 * What streams take and give back: each allocation refused in turn, thousands opened and closed,
 * and the most memory a streaming process ever has.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <weir/weir.h>

#include "base/alloc.h"
#include "base/util.h"
#include "harness/holdings.h"
#include "harness/sanitized.h"
#include "io/io_help.h"
#include "stream/testmodel.h"

#define POOL_BYTES ((size_t)8 << 20)
#define TILE_BYTES 40000
#define NR_CYCLES  2000
/* A histogram takes a block for each power of two it meets, the engine's table grows now and then:
 * far fewer than there are cycles. */
#define KEPT_BLOCKS 64

/* clang-format off */
FIXTURE(limits) {
	struct test_model tm;
	struct weir *weir;
	struct weir_plan plan;
	struct weir_units *units;
	struct weir_stream *stream;
	struct weir_error err;
};
/* clang-format on */

IO_EVERY_RUNG(limits)

FIXTURE_SETUP(limits)
{
	IO_OPEN_WEIR(POOL_BYTES, &self->weir);
	ASSERT_TRUE(tm_open(&self->tm, TM_SHARDED, 2, variant->memory));
	self->plan = (struct weir_plan){
		.size = sizeof(self->plan), .tile_bytes = TILE_BYTES, .budget_bytes = 500000};
	ASSERT_EQ(weir_units_open(self->tm.model, &self->plan, &self->units, NULL), 0);
}

FIXTURE_TEARDOWN(limits)
{
	weir_stream_close(self->stream);
	weir_units_close(self->units);
	weir_close(self->weir);
	tm_close(&self->tm);
}

static int begin_stream(FIXTURE_DATA(limits) * self)
{
	return weir_stream_open(self->weir, self->tm.model, &self->plan, &self->stream, &self->err);
}

static uint64_t bytes_in_use(struct weir *weir)
{
	struct weir_pool_stats stats;

	weir_pool_stats(weir_get_pool(weir), &stats);
	return stats.used_bytes;
}

/* What a process can leak. */
struct holdings {
	int64_t live;
	int nr_fds;
	int nr_threads;
	uint64_t pool_bytes;
	long rss_kib;
};

static struct holdings holdings(FIXTURE_DATA(limits) * self)
{
	return (struct holdings){.live = wr_test_alloc_live(),
				 .nr_fds = nr_open_files(),
				 .nr_threads = nr_living_threads(),
				 .pool_bytes = bytes_in_use(self->weir),
				 .rss_kib = io_status_kib("VmRSS")};
}

static bool are_equal(const struct holdings *a, const struct holdings *b, int64_t slack)
{
	return b->live >= a->live && b->live <= a->live + slack && a->nr_fds == b->nr_fds &&
	       a->nr_threads == b->nr_threads && a->pool_bytes == b->pool_bytes;
}

/* Once, so that engine and registry have what they keep. */
static bool warm_up(FIXTURE_DATA(limits) * self)
{
	struct tm_walk walk = {0};

	if (begin_stream(self))
		return false;
	(void)tm_walk_pass(&self->tm, self->stream, self->units, &walk);
	weir_stream_close(self->stream);
	self->stream = NULL;
	return walk.rc == 0 && !walk.nr_wrong;
}

TEST_F(limits, open_gives_up_cleanly_wherever_memory_runs_out)
{
	struct holdings before, after;
	uint64_t n;

	ASSERT_TRUE(warm_up(self));
	before = holdings(self);
	for (n = 1; n < 300; n++) {
		int rc;

		wr_test_alloc_fail_at(n);
		memset(&self->err, 0, sizeof(self->err));
		rc = begin_stream(self);
		if (!wr_test_alloc_failed())
			break;
		EXPECT_EQ(rc, -ENOMEM);
		EXPECT_EQ(self->err.code, -ENOMEM);
		EXPECT_NE(self->err.message[0], '\0');
		EXPECT_EQ(self->stream, NULL);
		after = holdings(self);
		EXPECT_TRUE(are_equal(&before, &after, 0));
	}
	wr_test_alloc_fail_at(0);
	EXPECT_GT(n, 10u);
	EXPECT_NE(self->stream, NULL);
}

TEST_F(limits, a_walk_takes_no_memory_or_fails_for_one_unit_and_goes_on)
{
	struct tm_walk walk = {0};
	struct weir_unit unit;
	uint64_t n = 1;
	int nr_passes = 0, nr_failed = 0, rc;

	ASSERT_EQ(begin_stream(self), 0);
	while (nr_passes < 3) {
		wr_test_alloc_fail_at(n++ % 3 + 1);
		rc = weir_stream_next(self->stream, &unit, &self->err);
		if (rc > 0)
			tm_check_unit(&self->tm, self->stream, self->units, &unit, &walk);
		nr_passes += rc == 0;
		nr_failed += rc < 0;
		ASSERT_TRUE(rc >= 0 || rc == -ENOMEM);
		ASSERT_LT(nr_failed, 1000);
	}
	wr_test_alloc_fail_at(0);
	EXPECT_EQ(walk.nr_wrong, 0u);
	EXPECT_EQ(walk.nr_units, 3 * weir_units_nr(self->units));
}

TEST_F(limits, thousands_of_streams_opened_and_closed_leave_nothing)
{
	int nr_cycles = SANITIZED ? NR_CYCLES / 20 : NR_CYCLES;
	struct holdings before = {0}, after;
	struct weir_unit unit;

	for (int i = 0; i < nr_cycles; i++) {
		struct tm_walk walk = {0};

		ASSERT_EQ(begin_stream(self), 0);
		/* Nothing, a few units with reads under way behind them, now and then a pass. */
		for (int u = 0; u < i % 4; u++) {
			ASSERT_EQ(weir_stream_next(self->stream, &unit, NULL), 1);
			tm_check_unit(&self->tm, self->stream, self->units, &unit, &walk);
		}
		if (i % 50 == 0)
			ASSERT_EQ(tm_walk_pass(&self->tm, self->stream, self->units, &walk), 0);
		ASSERT_EQ(walk.nr_wrong, 0u);
		weir_stream_close(self->stream);
		self->stream = NULL;
		if (i == nr_cycles / 4)
			before = holdings(self);
	}
	after = holdings(self);
	EXPECT_TRUE(are_equal(&before, &after, KEPT_BLOCKS))
	{
		TH_LOG("blocks %lld then %lld, descriptors %d, %d, threads %d, %d",
		       (long long)before.live, (long long)after.live, before.nr_fds, after.nr_fds,
		       before.nr_threads, after.nr_threads);
	}
	EXPECT_EQ(after.pool_bytes, 0u);
	if (!SANITIZED) {
		EXPECT_LE(after.rss_kib, before.rss_kib + 1024);
	}
}

/* Of the whole process, so what the test itself holds counts too. */
TEST_F(limits, the_most_memory_is_the_budget_and_a_small_fixed_part)
{
	const size_t budget = (size_t)96 << 20;
	struct weir_opts opts = {
		.size = sizeof(opts), .budget_bytes = budget, .io_backend = variant->backend};
	struct tm_walk walk = {0};
	long before, most;

	if (SANITIZED)
		SKIP(return, "a build without sanitizers");
	weir_close(self->weir);
	self->weir = NULL;
	before = io_status_kib("VmRSS");
	ASSERT_EQ(weir_open(&opts, &self->weir, NULL), 0);
	ASSERT_EQ(begin_stream(self), 0);
	for (int p = 0; p < 3; p++)
		ASSERT_EQ(tm_walk_pass(&self->tm, self->stream, self->units, &walk), 0);
	EXPECT_EQ(walk.nr_wrong, 0u);
	most = io_status_kib("VmHWM") + io_status_kib("HugetlbPages");
	EXPECT_LE(most, (long)((budget + (80u << 20)) >> 10));
	TH_LOG("budget %zu KiB, most %ld KiB, of these %ld KiB before the context", budget >> 10,
	       most, before);
}

TEST_HARNESS_MAIN
