/* SPDX-License-Identifier: MIT */
/*
 * Threads that get, put and read ahead at random while fills end late, in any order, or fail. The
 * bytes each reader holds are checked when it gets them and again when it puts them; a read that
 * two fills share, a place outside the slots or a wake-up that is lost shows as a wrong call, wrong
 * bytes or a test that never ends. Meant for ThreadSanitizer above all.
 */
#include <errno.h>
#include <sched.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/random.h"
#include "base/util.h"
#include "stream/residency.h"
#include "stream/fake_source.h"

#define NR_THREADS     8
#define NR_ENTRIES     200u
#define RESIDENT_EVERY 3u
#define SLOT_BYTES     16384u
#define RUN_NS	       2000000000ull
#define FAIL_SHARE     50 /* permille */

struct reader {
	struct fake *fake;
	uint32_t random;
	uint64_t until_ns;
	uint64_t nr_good;
	uint64_t nr_hits;
	uint64_t nr_failed;  /* -EIO or -ENOMEM */
	uint64_t nr_stopped; /* -ECANCELED */
	uint64_t nr_bad;     /* any other code, or wrong bytes */
	struct fake_thread thread;
};

static void use(struct reader *reader, uint32_t index, const struct wr_residency_get *g)
{
	uint32_t first, second;
	bool good = fake_bytes_are(reader->fake, index, g->mem, &first);

	if (wr_xorshift32(&reader->random) % 8 == 0)
		sched_yield();
	good = good && fake_bytes_are(reader->fake, index, g->mem, &second) && first == second;
	reader->nr_good += good;
	reader->nr_bad += !good;
	reader->nr_hits += g->was_hit;
	wr_residency_put(reader->fake->residency, index);
}

static void *read_at_random(void *arg)
{
	struct reader *reader = arg;
	struct wr_residency *residency = reader->fake->residency;

	while (wr_now_ns() < reader->until_ns) {
		uint32_t index = wr_xorshift32(&reader->random) % NR_ENTRIES;
		struct wr_residency_get g;
		int rc;

		if (wr_xorshift32(&reader->random) % 4 == 0) {
			rc = wr_residency_prefetch(residency, index);
			if (rc != 0 && rc != 1 && rc != -EAGAIN && rc != -ENOMEM &&
			    rc != -ECANCELED)
				reader->nr_bad++;
			continue;
		}
		wr_residency_get_begin(residency, index, &g);
		if (wr_xorshift32(&reader->random) % 4 == 0)
			(void)wr_residency_prefetch(residency, (index + 1) % NR_ENTRIES);
		rc = wr_residency_get_wait(residency, &g);
		if (rc == 0)
			use(reader, index, &g);
		else if (rc == -EIO || rc == -ENOMEM)
			reader->nr_failed++;
		else if (rc == -ECANCELED)
			reader->nr_stopped++;
		else
			reader->nr_bad++;
	}
	return NULL;
}

static bool open_random(struct fake *fake, enum fake_mode mode)
{
	static size_t bytes[NR_ENTRIES];
	static bool resident[NR_ENTRIES];
	uint32_t random = 88172645u;

	for (uint32_t i = 0; i < NR_ENTRIES; i++) {
		bytes[i] = 8 * (1 + wr_xorshift32(&random) % (SLOT_BYTES / 8));
		resident[i] = i % RESIDENT_EVERY == 0;
	}
	return fake_open(fake, mode, bytes, resident, NR_ENTRIES, SLOT_BYTES);
}

static bool start_readers(struct reader *readers, struct fake *fake, uint64_t run_ns)
{
	for (uint32_t t = 0; t < NR_THREADS; t++) {
		readers[t] = (struct reader){
			.fake = fake, .random = 77u + 13u * t, .until_ns = wr_now_ns() + run_ns};
		if (!fake_thread_start(&readers[t].thread, read_at_random, &readers[t]))
			return false;
	}
	return true;
}

/* The sum over all, in *sum. */
static void join_readers(struct reader *readers, struct reader *sum)
{
	*sum = (struct reader){0};
	for (uint32_t t = 0; t < NR_THREADS; t++) {
		fake_thread_join(&readers[t].thread);
		sum->nr_good += readers[t].nr_good;
		sum->nr_hits += readers[t].nr_hits;
		sum->nr_failed += readers[t].nr_failed;
		sum->nr_stopped += readers[t].nr_stopped;
		sum->nr_bad += readers[t].nr_bad;
	}
}

TEST(many_readers_at_random_always_see_their_own_bytes)
{
	static struct reader readers[NR_THREADS];
	static struct fake fake;
	struct reader sum;

	ASSERT_TRUE(open_random(&fake, FAKE_WORKERS));
	fake.fail_permille = FAIL_SHARE;
	ASSERT_TRUE(start_readers(readers, &fake, RUN_NS));
	join_readers(readers, &sum);
	fake_close(&fake);
	EXPECT_EQ(wr_test_alloc_live(), 0);
	EXPECT_EQ(sum.nr_bad, 0u);
	EXPECT_EQ(sum.nr_stopped, 0u);
	EXPECT_EQ(wr_load_relaxed(&fake.nr_wrong), 0u);
	EXPECT_GT(sum.nr_good, 1000u);
	EXPECT_GT(sum.nr_hits, 0u);
	EXPECT_GT(sum.nr_failed, 0u);
	TH_LOG("%llu gets, of these %llu hits; %llu failed as they should",
	       (unsigned long long)sum.nr_good, (unsigned long long)sum.nr_hits,
	       (unsigned long long)sum.nr_failed);
}

TEST(many_readers_stop_at_once_when_the_cache_is_cancelled)
{
	static struct reader readers[NR_THREADS];
	static struct fake fake;
	struct reader sum;

	ASSERT_TRUE(open_random(&fake, FAKE_WORKERS));
	ASSERT_TRUE(start_readers(readers, &fake, RUN_NS / 10));
	while (wr_now_ns() < readers[0].until_ns - RUN_NS / 20)
		usleep(1000);
	wr_residency_cancel(fake.residency);
	join_readers(readers, &sum);
	fake_close(&fake);
	EXPECT_EQ(wr_test_alloc_live(), 0);
	EXPECT_EQ(sum.nr_bad, 0u);
	EXPECT_GT(sum.nr_stopped, 0u);
	EXPECT_EQ(wr_load_relaxed(&fake.nr_wrong), 0u);
}

TEST_HARNESS_MAIN
