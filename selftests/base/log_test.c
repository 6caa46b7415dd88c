/* SPDX-License-Identifier: MIT */
/* The log: silent at first, levels, one function at a time, no call after it was replaced. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "kselftest_harness.h"

#include <weir/log.h>

#include "base/atomic.h"
#include "base/util.h"

struct heard {
	_Atomic int nr;
	_Atomic bool closed;
	_Atomic int after_close;
	int level;
	int set_inside;
	char module[16];
	char text[600];
};

static void listen(void *arg, int level, const char *module, const char *text)
{
	struct heard *h = arg;

	h->level = level;
	snprintf(h->module, sizeof(h->module), "%s", module);
	snprintf(h->text, sizeof(h->text), "%s", text);
	wr_fetch_add_relaxed(&h->nr, 1);
}

TEST(nobody_listens_at_first)
{
	EXPECT_FALSE(wr_log_enabled(WEIR_LOG_ERROR));
	wr_log(WEIR_LOG_ERROR, "test", "into the void %d", 1);
}

TEST(a_message_arrives_with_its_level_module_and_text)
{
	struct heard h = {0};

	ASSERT_EQ(weir_log_set(listen, &h, WEIR_LOG_INFO), 0);
	wr_log(WEIR_LOG_WARN, "pool", "only %s: %d", "4 KiB pages", -1);
	EXPECT_EQ(wr_load_relaxed(&h.nr), 1);
	EXPECT_EQ(h.level, WEIR_LOG_WARN);
	EXPECT_STREQ(h.module, "pool");
	EXPECT_STREQ(h.text, "only 4 KiB pages: -1");
}

TEST(what_is_less_important_than_the_limit_stays_unsaid)
{
	struct heard h = {0};

	ASSERT_EQ(weir_log_set(listen, &h, WEIR_LOG_WARN), 0);
	wr_log(WEIR_LOG_INFO, "test", "no");
	wr_log(WEIR_LOG_DEBUG, "test", "no");
	EXPECT_EQ(wr_load_relaxed(&h.nr), 0);
	wr_log(WEIR_LOG_WARN, "test", "yes");
	EXPECT_EQ(wr_load_relaxed(&h.nr), 1);
	ASSERT_EQ(weir_log_set(NULL, NULL, WEIR_LOG_DEBUG), 0);
	wr_log(WEIR_LOG_ERROR, "test", "no");
	EXPECT_EQ(wr_load_relaxed(&h.nr), 1);
}

TEST(a_long_message_is_cut_not_overrun)
{
	struct heard h = {0};

	ASSERT_EQ(weir_log_set(listen, &h, WEIR_LOG_DEBUG), 0);
	wr_log(WEIR_LOG_ERROR, "test", "%0700d", 1);
	EXPECT_EQ(strlen(h.text), 511u);
}

TEST(a_level_that_does_not_exist_is_refused)
{
	EXPECT_EQ(weir_log_set(listen, NULL, WEIR_LOG_DEBUG + 1), -EINVAL);
	EXPECT_EQ(weir_log_set(listen, NULL, -1), -EINVAL);
	EXPECT_FALSE(wr_log_enabled(WEIR_LOG_ERROR));
}

static void speak_again(void *arg, int level, const char *module, const char *text)
{
	struct heard *h = arg;

	(void)level;
	(void)module;
	(void)text;
	wr_fetch_add_relaxed(&h->nr, 1);
	wr_log(WEIR_LOG_ERROR, "test", "again");
	h->set_inside = weir_log_set(NULL, NULL, WEIR_LOG_NONE);
}

TEST(a_listener_that_makes_weir_speak_is_not_called_again_and_cannot_set)
{
	struct heard h = {0};

	ASSERT_EQ(weir_log_set(speak_again, &h, WEIR_LOG_DEBUG), 0);
	wr_log(WEIR_LOG_ERROR, "test", "once");
	EXPECT_EQ(wr_load_relaxed(&h.nr), 1);
	EXPECT_EQ(h.set_inside, -EDEADLK);
	wr_log(WEIR_LOG_ERROR, "test", "still set");
	EXPECT_EQ(wr_load_relaxed(&h.nr), 2);
}

static void count_late_calls(void *arg, int level, const char *module, const char *text)
{
	struct heard *h = arg;

	(void)level;
	(void)module;
	(void)text;
	wr_fetch_add_relaxed(&h->nr, 1);
	if (wr_load_seq_cst(&h->closed))
		wr_fetch_add_relaxed(&h->after_close, 1);
}

static _Atomic bool enough;

static void *talk(void *arg)
{
	(void)arg;
	while (!wr_load_relaxed(&enough))
		wr_log(WEIR_LOG_INFO, "test", "x");
	return NULL;
}

TEST(a_replaced_listener_is_never_called_again)
{
	enum { NR = 50 };
	static struct heard h[NR];
	pthread_t threads[3];
	int late = 0, calls = 0;

	for (size_t i = 0; i < wr_array_size(threads); i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, talk, NULL), 0);
	for (int i = 0; i < NR; i++) {
		ASSERT_EQ(weir_log_set(count_late_calls, &h[i], WEIR_LOG_DEBUG), 0);
		if (i > 0)
			wr_store_seq_cst(&h[i - 1].closed, true);
		while (wr_load_relaxed(&h[i].nr) == 0)
			sched_yield();
	}
	ASSERT_EQ(weir_log_set(NULL, NULL, WEIR_LOG_NONE), 0);
	wr_store_seq_cst(&h[NR - 1].closed, true);
	wr_store_relaxed(&enough, true);
	for (size_t i = 0; i < wr_array_size(threads); i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < NR; i++) {
		late += wr_load_relaxed(&h[i].after_close);
		calls += wr_load_relaxed(&h[i].nr);
	}
	EXPECT_EQ(late, 0);
	EXPECT_GE(calls, NR);
}

TEST_HARNESS_MAIN
