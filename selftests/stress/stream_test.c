/* SPDX-License-Identifier: MIT */
/*
 * Threads that open, walk, cancel and close streams of one context, of all kinds and budgets, while
 * some reads fail. Every byte shown is compared. Meant for ThreadSanitizer above all.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"

#include <weir/weir.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/random.h"
#include "base/util.h"
#include "stream/fake_source.h"
#include "io/io_help.h"
#include "io/io_internal.h"
#include "stream/testmodel.h"

#define NR_THREADS 4
#define POOL_BYTES ((size_t)24 << 20)
#define RUN_NS	   1500000000ull

/* clang-format off */
FIXTURE(streams) {
	struct test_model tm;
	struct weir *weir;
	struct wr_io_fault fault;
	_Atomic uint32_t random;
};
/* clang-format on */

IO_EVERY_RUNG(streams)

/* One attempt in a hundred fails; twice in a row is an error of the read. */
static int64_t sometimes_fail(void *arg, uint64_t offset, size_t bytes, int64_t res)
{
	_Atomic uint32_t *random = arg;
	uint32_t x = wr_fetch_add_relaxed(random, 0x9e3779b9u);

	(void)offset;
	(void)bytes;
	x ^= x >> 15;
	x *= 0x2c1b3c6du;
	x ^= x >> 12;
	return x % 100 < 8 ? -EIO : res;
}

FIXTURE_SETUP(streams)
{
	IO_OPEN_WEIR(POOL_BYTES, &self->weir);
	ASSERT_TRUE(tm_open(&self->tm, TM_SHARDED, 3, variant->memory));
	self->fault = (struct wr_io_fault){.filter = sometimes_fail, .arg = &self->random};
	wr_io_set_fault(weir_get_io(self->weir), &self->fault);
}

FIXTURE_TEARDOWN(streams)
{
	weir_close(self->weir);
	tm_close(&self->tm);
	EXPECT_EQ(wr_test_alloc_live(), 0);
}

struct walker {
	struct test_model *tm;
	struct weir *weir;
	uint64_t until_ns;
	uint32_t random;
	uint64_t nr_units;
	uint64_t nr_streams;
	uint64_t nr_failed; /* -EIO, tried again */
	uint64_t nr_cancelled;
	uint64_t nr_refused; /* -ENOSPC */
	uint64_t nr_bad;
	struct weir_error err;
	pthread_mutex_t lock;	     /* keeps @current from going while it is cancelled */
	struct weir_stream *current; /* under the lock */
	struct fake_thread thread;
};

static void show(struct walker *walker, struct weir_stream *stream)
{
	pthread_mutex_lock(&walker->lock);
	walker->current = stream;
	pthread_mutex_unlock(&walker->lock);
}

static void walk(struct walker *walker, struct weir_stream *stream, struct weir_units *units)
{
	uint64_t left = wr_xorshift32(&walker->random) % (4 * weir_units_nr(units));
	struct tm_walk seen = {0};
	struct weir_unit unit;

	while (left-- && wr_now_ns() < walker->until_ns) {
		int rc = weir_stream_next(stream, &unit, NULL);

		if (rc > 0)
			tm_check_unit(walker->tm, stream, units, &unit, &seen);
		walker->nr_failed += rc == -EIO;
		walker->nr_cancelled += rc == -ECANCELED;
		walker->nr_bad += rc < 0 && rc != -EIO && rc != -ECANCELED;
		if (rc == -ECANCELED)
			break;
	}
	walker->nr_units += seen.nr_units;
	walker->nr_bad += seen.nr_wrong;
}

static void *walk_at_random(void *arg)
{
	struct walker *walker = arg;

	while (wr_now_ns() < walker->until_ns) {
		struct weir_plan plan = {
			.size = sizeof(plan),
			.unit = wr_xorshift32(&walker->random) % 3,
			.passes = wr_xorshift32(&walker->random) % 3,
			.tile_bytes = 5000 + wr_xorshift32(&walker->random) % 60000,
			.budget_bytes = 2400000 + wr_xorshift32(&walker->random) % 1000000};
		struct weir_stream *stream;
		struct weir_units *units = NULL;
		int rc;

		rc = weir_units_open(walker->tm->model, &plan, &units, &walker->err);
		if (!rc)
			rc = weir_stream_open(walker->weir, walker->tm->model, &plan, &stream,
					      &walker->err);
		if (rc) {
			/* There is always enough for one more, perhaps in too small pieces. */
			walker->nr_refused += rc == -ENOSPC;
			walker->nr_bad += rc != -ENOSPC;
			weir_units_close(units);
			continue;
		}
		walker->nr_streams++;
		show(walker, stream);
		walk(walker, stream, units);
		show(walker, NULL);
		weir_stream_close(stream);
		weir_units_close(units);
	}
	return NULL;
}

/* From a thread of its own, as a host's ^C would. */
static void cancel_at_random(struct walker *walkers)
{
	uint32_t random = 5;

	while (wr_now_ns() < walkers[0].until_ns) {
		struct walker *walker = &walkers[wr_xorshift32(&random) % NR_THREADS];

		usleep(5000);
		pthread_mutex_lock(&walker->lock);
		if (walker->current)
			weir_stream_cancel(walker->current);
		pthread_mutex_unlock(&walker->lock);
	}
}

TEST_F(streams, of_one_context_show_only_right_bytes_whatever_happens_to_the_others)
{
	static struct walker walkers[NR_THREADS];
	struct walker sum = {0};
	struct weir_pool_stats stats;

	for (uint32_t t = 0; t < NR_THREADS; t++) {
		walkers[t] = (struct walker){.tm = &self->tm,
					     .weir = self->weir,
					     .random = 11 + t,
					     .until_ns = wr_now_ns() + RUN_NS};
		pthread_mutex_init(&walkers[t].lock, NULL);
		ASSERT_TRUE(fake_thread_start(&walkers[t].thread, walk_at_random, &walkers[t]));
	}
	cancel_at_random(walkers);
	for (uint32_t t = 0; t < NR_THREADS; t++) {
		fake_thread_join(&walkers[t].thread);
		sum.nr_units += walkers[t].nr_units;
		sum.nr_streams += walkers[t].nr_streams;
		sum.nr_failed += walkers[t].nr_failed;
		sum.nr_cancelled += walkers[t].nr_cancelled;
		sum.nr_bad += walkers[t].nr_bad;
		sum.nr_refused += walkers[t].nr_refused;
	}
	EXPECT_EQ(sum.nr_bad, 0u);
	EXPECT_LT(sum.nr_refused, sum.nr_streams / 10 + 1);
	EXPECT_GT(sum.nr_units, 100u);
	EXPECT_GT(sum.nr_failed, 0u);
	EXPECT_GT(sum.nr_cancelled, 0u);
	weir_pool_stats(weir_get_pool(self->weir), &stats);
	EXPECT_EQ(stats.used_bytes, 0u);
	TH_LOG("%llu units of %llu streams, %llu failed, %llu cancelled, %llu streams refused",
	       (unsigned long long)sum.nr_units, (unsigned long long)sum.nr_streams,
	       (unsigned long long)sum.nr_failed, (unsigned long long)sum.nr_cancelled,
	       (unsigned long long)sum.nr_refused);
}

TEST_HARNESS_MAIN
