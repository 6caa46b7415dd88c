/* SPDX-License-Identifier: MIT */
/*
 * The manager against a host that counts: what is started, cancelled, and what it may cost.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/random.h"
#include "prefetch/prefetch.h"

#define NR_KEYS 512u
#define BYTES	((uint64_t)1 << 20)

enum { OUT, READING, RESIDENT };

struct host {
	uint8_t where[NR_KEYS];
	uint32_t started[NR_KEYS]; /* keys in the order of their start */
	uint32_t nr_started;
	uint32_t nr_cancelled;
	uint32_t nr_unwanted;
	int refuse;
	uint64_t ahead;
	uint64_t now;
};

static int host_start(void *ctx, struct weir_key key, uint64_t bytes, uint64_t deadline_ns)
{
	struct host *h = ctx;

	(void)bytes;
	(void)deadline_ns;
	if (h->refuse)
		return h->refuse;
	h->where[key.lo] = READING;
	h->started[h->nr_started++ % NR_KEYS] = (uint32_t)key.lo;
	return 0;
}

static void host_cancel(void *ctx, struct weir_key key)
{
	struct host *h = ctx;

	(void)key;
	h->nr_cancelled++;
}

static bool host_resident(void *ctx, struct weir_key key)
{
	const struct host *h = ctx;

	return h->where[key.lo] == RESIDENT;
}

static void host_unwanted(void *ctx, struct weir_key key)
{
	struct host *h = ctx;

	(void)key;
	h->nr_unwanted++;
}

static const struct wr_prefetch_ops ops = {.start = host_start,
					   .cancel = host_cancel,
					   .resident = host_resident,
					   .unwanted = host_unwanted};

static struct wr_prefetch *open_manager(struct host *h, uint64_t ahead_bytes)
{
	const struct wr_prefetch_opts opts = {.ops = &ops, .ctx = h, .ahead_bytes = ahead_bytes};
	struct wr_prefetch *m = NULL;

	memset(h, 0, sizeof(*h));
	return wr_prefetch_open(&opts, &m) ? NULL : m;
}

static struct wr_forecast forecast(uint32_t key, uint32_t prob, uint32_t distance, uint32_t source)
{
	return (struct wr_forecast){.key = {.lo = key},
				    .bytes = BYTES,
				    .prob = prob,
				    .confidence = prob,
				    .distance = distance,
				    .source = source};
}

/* A reference; what was not there is there afterwards. */
static void use(struct wr_prefetch *m, struct host *h, uint32_t key)
{
	enum wr_prefetch_outcome outcome = h->where[key] == RESIDENT  ? WR_PREFETCH_HIT
					   : h->where[key] == READING ? WR_PREFETCH_LATE
								      : WR_PREFETCH_MISS;

	h->now += 1000000;
	wr_prefetch_reference(m, h->now, (struct weir_key){.lo = key}, BYTES, outcome, BYTES / 2);
}

static void fill(struct wr_prefetch *m, struct host *h, uint32_t key, int result)
{
	h->where[key] = result ? OUT : RESIDENT;
	wr_prefetch_filled(m, h->now, (struct weir_key){.lo = key}, result, 0);
}

TEST(what_is_sure_is_read_and_what_is_not_is_not)
{
	const struct wr_forecast list[] = {forecast(1, 60000, 1, WR_PREDICT_SEQUENCE),
					   forecast(2, 600, 2, WR_PREDICT_SEQUENCE),
					   forecast(3, WR_PREDICT_SURE, 3, WR_PREDICT_NEED)};
	struct wr_prefetch_stat stat;
	struct host h;
	struct wr_prefetch *m = open_manager(&h, 0);

	ASSERT_NE(NULL, m);
	use(m, &h, 100);
	use(m, &h, 101);
	wr_prefetch_forecast(m, h.now, list, 3);
	ASSERT_EQ(2, h.nr_started);
	EXPECT_EQ(1, h.started[0]);
	EXPECT_EQ(3, h.started[1]);
	/* The same once more begins nothing twice. */
	wr_prefetch_forecast(m, h.now, list, 3);
	EXPECT_EQ(2, h.nr_started);
	fill(m, &h, 1, 0);
	use(m, &h, 1);
	use(m, &h, 3);
	wr_prefetch_stat(m, WR_PREDICT_NR_SOURCES, &stat);
	EXPECT_EQ(2, stat.nr_started);
	EXPECT_EQ(1, stat.nr_useful);
	EXPECT_EQ(1, stat.nr_late);
	wr_prefetch_close(m);
}

TEST(the_earliest_deadline_is_first_and_the_rest_waits_for_room)
{
	const struct wr_forecast list[] = {forecast(5, 60000, 9, WR_PREDICT_SEQUENCE),
					   forecast(6, 59000, 3, WR_PREDICT_SEQUENCE),
					   forecast(7, 58000, 6, WR_PREDICT_SEQUENCE)};
	struct wr_prefetch_info info;
	struct host h;
	struct wr_prefetch *m = open_manager(&h, 2 * BYTES);

	ASSERT_NE(NULL, m);
	use(m, &h, 100);
	use(m, &h, 101);
	wr_prefetch_forecast(m, h.now, list, 3);
	ASSERT_EQ(2, h.nr_started);
	EXPECT_EQ(6, h.started[0]);
	EXPECT_EQ(7, h.started[1]);
	wr_prefetch_info(m, &info);
	EXPECT_EQ(2 * BYTES, info.ahead_bytes);
	/* Read and not used yet is still ahead. */
	fill(m, &h, 6, 0);
	wr_prefetch_run(m, h.now);
	EXPECT_EQ(2, h.nr_started);
	use(m, &h, 6);
	wr_prefetch_run(m, h.now);
	ASSERT_EQ(3, h.nr_started);
	EXPECT_EQ(5, h.started[2]);
	wr_prefetch_close(m);
}

TEST(a_changed_forecast_drops_what_waits_and_cancels_what_is_over)
{
	const struct wr_forecast before[] = {forecast(1, 60000, 1, WR_PREDICT_EXPERT),
					     forecast(2, 60000, 7, WR_PREDICT_EXPERT)};
	const struct wr_forecast after[] = {forecast(9, 60000, 1, WR_PREDICT_EXPERT)};
	struct wr_prefetch_stat stat;
	struct host h;
	struct wr_prefetch *m = open_manager(&h, BYTES);

	ASSERT_NE(NULL, m);
	use(m, &h, 100);
	wr_prefetch_forecast(m, h.now, before, 2);
	ASSERT_EQ(1, h.nr_started);
	wr_prefetch_forecast(m, h.now, after, 1);
	EXPECT_EQ(1, h.nr_cancelled);
	wr_prefetch_stat(m, WR_PREDICT_EXPERT, &stat);
	EXPECT_EQ(1, stat.nr_dropped);
	fill(m, &h, 1, -ECANCELED);
	wr_prefetch_run(m, h.now);
	ASSERT_EQ(2, h.nr_started);
	EXPECT_EQ(9, h.started[1]);
	wr_prefetch_stat(m, WR_PREDICT_EXPERT, &stat);
	EXPECT_EQ(1, stat.nr_cancelled);
	EXPECT_EQ(BYTES, stat.started_bytes);
	wr_prefetch_close(m);
}

TEST(what_is_not_used_in_time_is_wasted_and_may_leave)
{
	const struct wr_forecast list[] = {forecast(1, 60000, 1, WR_PREDICT_SEQUENCE)};
	struct wr_prefetch_stat stat;
	struct host h;
	struct wr_prefetch *m = open_manager(&h, 0);

	ASSERT_NE(NULL, m);
	use(m, &h, 100);
	wr_prefetch_forecast(m, h.now, list, 1);
	fill(m, &h, 1, 0);
	for (uint32_t i = 0; i < 32; i++)
		use(m, &h, 200 + i);
	wr_prefetch_stat(m, WR_PREDICT_SEQUENCE, &stat);
	EXPECT_EQ(1, stat.nr_wasted);
	EXPECT_EQ(BYTES, stat.wasted_bytes);
	EXPECT_EQ(1, h.nr_unwanted);
	/* Used after all. */
	use(m, &h, 1);
	wr_prefetch_stat(m, WR_PREDICT_SEQUENCE, &stat);
	EXPECT_EQ(0, stat.nr_wasted);
	EXPECT_EQ(1, stat.nr_useful);
	wr_prefetch_close(m);
}

TEST(a_host_that_refuses_is_asked_again_only_for_eagain)
{
	const struct wr_forecast list[] = {forecast(1, 60000, 1, WR_PREDICT_SEQUENCE)};
	struct wr_prefetch_stat stat;
	struct host h;
	struct wr_prefetch *m = open_manager(&h, 0);

	ASSERT_NE(NULL, m);
	use(m, &h, 100);
	h.refuse = -EAGAIN;
	wr_prefetch_forecast(m, h.now, list, 1);
	h.refuse = 0;
	wr_prefetch_run(m, h.now);
	EXPECT_EQ(1, h.nr_started);
	fill(m, &h, 1, 0);
	use(m, &h, 1);
	h.where[1] = OUT;
	h.refuse = -EIO;
	wr_prefetch_forecast(m, h.now, list, 1);
	h.refuse = 0;
	wr_prefetch_run(m, h.now);
	EXPECT_EQ(1, h.nr_started);
	wr_prefetch_stat(m, WR_PREDICT_SEQUENCE, &stat);
	EXPECT_EQ(1, stat.nr_failed);
	wr_prefetch_close(m);
}

TEST(forecasts_that_never_come_true_switch_it_off_within_a_thousand_references)
{
	struct wr_prefetch_info info;
	struct host h;
	struct wr_prefetch *m = open_manager(&h, 0);
	uint32_t nr;

	ASSERT_NE(NULL, m);
	for (uint32_t i = 0; i < 1000; i++) {
		const struct wr_forecast list[] = {
			forecast(i % 200, 60000, 1, WR_PREDICT_SEQUENCE)};

		use(m, &h, 300 + i % 200);
		if (wr_prefetch_wants(m))
			wr_prefetch_forecast(m, h.now, list, 1);
		if (h.where[i % 200] == READING)
			fill(m, &h, i % 200, 0);
	}
	wr_prefetch_info(m, &info);
	EXPECT_FALSE(info.on);
	EXPECT_LT(info.stopped_at, 1000);
	EXPECT_EQ(1, info.nr_stops);
	/* Off: it asks for one forecast in four, and starts nothing. */
	nr = h.nr_started;
	EXPECT_EQ(250, ({
			  uint32_t asked = 0;

			  for (uint32_t i = 0; i < 1000; i++)
				  asked += wr_prefetch_wants(m);
			  asked;
		  }));
	EXPECT_EQ(nr, h.nr_started);
	wr_prefetch_close(m);
}

TEST(forecasts_that_come_true_switch_it_on_again)
{
	struct wr_prefetch_info info;
	struct host h;
	struct wr_prefetch *m = open_manager(&h, 0);

	ASSERT_NE(NULL, m);
	for (uint32_t i = 0; i < 1000; i++)
		use(m, &h, 300 + i % 200);
	wr_prefetch_info(m, &info);
	ASSERT_FALSE(info.on);
	for (uint32_t i = 0; i < 2000 && !info.on; i++) {
		const struct wr_forecast list[] = {
			forecast((i + 1) % 100, 60000, 1, WR_PREDICT_SEQUENCE)};

		use(m, &h, i % 100);
		if (wr_prefetch_wants(m))
			wr_prefetch_forecast(m, h.now, list, 1);
		wr_prefetch_info(m, &info);
	}
	EXPECT_TRUE(info.on);
	wr_prefetch_close(m);
}

/* What may have been started, by the rule at the head of prefetch.h. */
static uint64_t allowance(uint64_t demand, uint64_t useful)
{
	return (demand + useful) * 240 / 1000 + 64 * BYTES;
}

TEST(the_budget_is_kept_whatever_comes)
{
	uint64_t state = 99, demand = 0;
	struct wr_prefetch_stat s;
	struct host h;
	struct wr_prefetch *m = open_manager(&h, (uint64_t)64 << 20);

	ASSERT_NE(NULL, m);
	for (uint32_t i = 0; i < 100000; i++) {
		struct wr_forecast list[8];
		uint32_t r, key;

		r = (uint32_t)(wr_lcg64(&state) >> 33);
		key = r % NR_KEYS;
		for (uint32_t k = 0; k < 8; k++)
			list[k] = forecast((key + k * 7 + 1) % NR_KEYS, WR_PREDICT_SURE - k * 8192,
					   1 + r % 90, (r >> 8) % WR_PREDICT_NR_SOURCES);
		switch (r >> 24 & 7) {
		case 0:
			wr_prefetch_forecast(m, h.now, list, 8);
			break;
		case 1:
		case 2:
			if (h.where[key] == READING)
				fill(m, &h, key, r & 256 ? 0 : -ECANCELED);
			break;
		case 3:
			if (h.where[key] == RESIDENT) {
				h.where[key] = OUT;
				wr_prefetch_evicted(m, (struct weir_key){.lo = key}, false);
			}
			break;
		default:
			demand += h.where[key] == OUT ? BYTES : 0;
			use(m, &h, key);
			h.where[key] = h.where[key] == OUT ? RESIDENT : h.where[key];
			wr_prefetch_run(m, h.now);
		}
		wr_prefetch_stat(m, WR_PREDICT_NR_SOURCES, &s);
		ASSERT_LE(s.started_bytes - s.useful_bytes, allowance(demand, s.useful_bytes));
	}
	EXPECT_GT(s.nr_started, 100);
	wr_prefetch_close(m);
}

TEST(every_allocation_that_fails_is_reported_and_nothing_leaks)
{
	const struct wr_prefetch_opts opts = {.ops = &ops};
	const struct wr_prefetch_opts none = {.ops = NULL};
	int64_t live = wr_test_alloc_live();
	struct wr_prefetch *m;
	int rc = -ENOMEM;

	EXPECT_EQ(-EINVAL, wr_prefetch_open(&none, &m));
	for (uint32_t n = 1; rc; n++) {
		wr_test_alloc_fail_at(n);
		rc = wr_prefetch_open(&opts, &m);
		wr_test_alloc_fail_at(0);
		if (rc) {
			ASSERT_EQ(-ENOMEM, rc);
			ASSERT_EQ(live, wr_test_alloc_live());
		}
		ASSERT_LT(n, 100);
	}
	wr_prefetch_close(m);
	EXPECT_EQ(live, wr_test_alloc_live());
}

TEST_HARNESS_MAIN
