/* SPDX-License-Identifier: MIT */
/*
 * Several threads on one store while its budget moves: each owns some keys and knows what they
 * hold, reads those of others, and everything that was put and not removed is got.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "tier/store_help.h"

#define THREADS 8u
#define OWN	12u
#define STEPS	120
#define MOST	(60u << 10)

struct worker {
	pthread_t thread;
	struct wr_store *s;
	uint64_t first;
	unsigned seed;
	uint64_t version[OWN];
	uint64_t nr_missed, nr_wrong, nr_gets;
	int failed[4]; /* the last unexpected code of put, remove, get, find */
};

static void count(struct worker *w, int rc)
{
	w->nr_gets++;
	w->nr_missed += rc == -ENOENT;
	w->nr_wrong += rc == 1;
	if (rc != 0 && rc != -ENOENT && rc != 1)
		w->failed[2] = rc;
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (uint64_t step = 1; step <= STEPS; step++) {
		uint64_t i = (uint64_t)rand_r(&w->seed) % OWN, n = w->first + i;
		int what = rand_r(&w->seed) % 8, rc;

		if (what < 3) {
			rc = st_put(w->s, n, step, st_bytes(n, step, MOST));
			if (rc == 0)
				w->version[i] = step;
			else if (rc != -ENOSPC)
				w->failed[0] = rc;
		} else if (what == 3 && w->version[i] != 0) {
			rc = st_remove(w->s, n);
			if (rc == 0)
				w->version[i] = 0;
			else
				w->failed[1] = rc;
		} else if (w->version[i] != 0) {
			count(w, st_get(w->s, n, w->version[i], st_bytes(n, w->version[i], MOST)));
		} else {
			/* Another's: anything but torn, and it may go while it is looked at. */
			rc = wr_store_find(w->s, st_key((n + OWN) % (THREADS * OWN)), NULL);
			if (rc != 0 && rc != -ENOENT)
				w->failed[3] = rc;
		}
	}
	return NULL;
}

TEST(what_was_put_and_not_removed_is_got_by_eight_threads_under_a_moving_budget)
{
	struct worker workers[THREADS] = {0};
	struct wr_store_opts opts = st_opts(16);
	struct wr_store_stats stats;
	struct wr_store *s;
	unsigned seed = 3;
	char dir[256];

	st_dir(dir, sizeof(dir), "stress");
	ASSERT_EQ(wr_store_open(dir, &opts, &s, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i].s = s;
		workers[i].first = (uint64_t)i * OWN;
		workers[i].seed = i + 1;
		ASSERT_EQ(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (int i = 0; i < 40; i++) {
		uint64_t segments = 8 + (uint64_t)rand_r(&seed) % 9;
		int rc = wr_store_set_budget(s, (64u << 10) + (segments << 20));

		EXPECT_TRUE(rc == 0 || rc == -EINPROGRESS);
		wr_store_stats(s, &stats);
		EXPECT_LE(stats.disk_bytes, opts.budget_bytes);
		EXPECT_LE(st_dir_bytes(dir), opts.budget_bytes);
		usleep(5000);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	wr_store_close(s);
	ASSERT_EQ(wr_store_open(dir, &opts, &s, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		struct worker *w = &workers[i];

		for (uint64_t k = 0; k < OWN; k++) {
			uint64_t n = w->first + k, v = w->version[k];

			EXPECT_EQ(st_get(s, n, v, v != 0 ? st_bytes(n, v, MOST) : 0),
				  v != 0 ? 0 : -ENOENT);
		}
		EXPECT_EQ(w->nr_missed, 0);
		EXPECT_EQ(w->nr_wrong, 0);
		for (int k = 0; k < 4; k++)
			EXPECT_EQ(w->failed[k], 0);
		EXPECT_GT(w->nr_gets, 0);
	}
	wr_store_close(s);
	st_dir_remove(dir);
	EXPECT_EQ(wr_test_alloc_live(), 0);
	EXPECT_EQ(st_nr_fds_left(), 0);
}

TEST_HARNESS_MAIN
