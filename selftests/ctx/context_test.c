/* SPDX-License-Identifier: MIT */
/* The context: what it opens, what it refuses, and that nothing of it remains. */
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <weir/weir.h>

#include "base/alloc.h"
#include "harness/holdings.h"
#include "harness/sanitized.h"
#include "io/io_help.h"
#include "io/io_internal.h"
#include "stream/testmodel.h"
#include "tier/store_help.h"

#define POOL_BYTES ((size_t)4 << 20)
#define NR_CYCLES  200

/* Nothing: these open many contexts, which takes long on a machine that others use too. */
FIXTURE(long_one){};

FIXTURE_SETUP(long_one)
{
}

FIXTURE_TEARDOWN(long_one)
{
}

static struct weir_opts options(void)
{
	return (struct weir_opts){.size = sizeof(struct weir_opts),
				  .budget_bytes = POOL_BYTES,
				  .page_kinds = 1u << WEIR_PAGE_4K};
}

TEST(a_context_without_a_budget_or_with_flags_of_the_future_is_refused)
{
	struct weir_opts opts = options();
	struct {
		struct weir_opts opts;
		uint64_t newer;
	} next = {.opts = options(), .newer = 1};
	struct weir *weir = NULL;
	struct weir_error err;

	EXPECT_EQ(weir_open(NULL, &weir, &err), -EINVAL);
	opts.budget_bytes = 0;
	EXPECT_EQ(weir_open(&opts, &weir, &err), -EINVAL);
	EXPECT_EQ(err.code, -EINVAL);
	EXPECT_NE(strstr(err.message, "budget_bytes"), NULL);
	opts = options();
	opts.flags = 1u << 31;
	EXPECT_EQ(weir_open(&opts, &weir, NULL), -EINVAL);
	next.opts.size = sizeof(next);
	EXPECT_EQ(weir_open(&next.opts, &weir, &err), -E2BIG);
	EXPECT_EQ(weir, NULL);
}

TEST(what_its_parts_refuse_it_refuses_with_their_reason)
{
	struct weir_opts opts = options();
	struct weir *weir = NULL;
	struct weir_error err;

	opts.io_backend = 77;
	EXPECT_EQ(weir_open(&opts, &weir, &err), -EINVAL);
	EXPECT_NE(strstr(err.message, "backend"), NULL);
	opts = options();
	opts.page_kinds = 1u << 30;
	EXPECT_EQ(weir_open(&opts, &weir, &err), -EINVAL);
	opts = options();
	opts.topo_synthetic = "no such machine";
	EXPECT_EQ(weir_open(&opts, &weir, &err), -EINVAL);
	opts = options();
	opts.node_mask = (uint64_t)1 << 60;
	EXPECT_EQ(weir_open(&opts, &weir, &err), -ENODEV);
	opts = options();
	opts.budget_bytes = (size_t)1 << 50;
	EXPECT_EQ(weir_open(&opts, &weir, &err), -ENOMEM);
	EXPECT_EQ(err.code, -ENOMEM);
	EXPECT_EQ(weir, NULL);
	weir_close(NULL);
}

TEST(its_pool_has_the_budget_and_its_engine_the_rung)
{
	for (uint32_t rung = WEIR_IO_FIXED; rung <= WEIR_IO_BUFFERED; rung++) {
		struct weir_opts opts = options();
		struct weir_pool_stats stats;
		struct weir *weir;
		int rc;

		opts.io_backend = rung;
		rc = weir_open(&opts, &weir, NULL);
		if (rc == -EOPNOTSUPP && rung <= WEIR_IO_URING)
			continue;
		ASSERT_EQ(rc, 0);
		weir_pool_stats(weir_get_pool(weir), &stats);
		EXPECT_EQ(stats.capacity_bytes, POOL_BYTES);
		EXPECT_EQ(stats.free_bytes, POOL_BYTES);
		EXPECT_EQ(weir_io_backend(weir_get_io(weir)), (int)rung);
		EXPECT_NE(weir_get_topo(weir), NULL);
		weir_close(weir);
	}
}

/* A budget that is no whole number of pages: the pool is smaller than what was asked for. */
TEST(a_plan_may_ask_for_all_of_the_contexts_budget)
{
	struct weir_opts opts = options();
	struct weir_plan plan = {.size = sizeof(plan)};
	struct weir_stream_info info;
	struct weir_stream *stream;
	struct test_model tm;
	struct weir *weir;

	ASSERT_TRUE(tm_open(&tm, TM_SINGLE, 4, false));
	opts.budget_bytes = POOL_BYTES - 100;
	ASSERT_EQ(weir_open(&opts, &weir, NULL), 0);
	plan.budget_bytes = opts.budget_bytes;
	plan.tile_bytes = 64 << 10;
	ASSERT_EQ(weir_stream_open(weir, tm.model, &plan, &stream, NULL), 0);
	weir_stream_info(stream, &info);
	EXPECT_LE(info.budget_bytes, opts.budget_bytes);
	weir_stream_close(stream);
	plan.budget_bytes = opts.budget_bytes + 8192;
	EXPECT_EQ(weir_stream_open(weir, tm.model, &plan, &stream, NULL), -ENOSPC);
	weir_close(weir);
	tm_close(&tm);
}

static int64_t number(struct weir *weir, const char *name)
{
	int64_t value = -1;
	uint32_t id;

	if (weir_metrics_find(weir_get_metrics(weir), name, &id) ||
	    weir_metrics_read_sum(weir_get_metrics(weir), id, &value))
		return -1;
	return value;
}

TEST(what_a_stream_does_is_counted_in_the_contexts_registry)
{
	struct weir_opts opts = options();
	struct weir_plan plan = {.size = sizeof(plan), .tile_bytes = 64 << 10, .passes = 1};
	struct weir_pass_stats pass;
	struct weir_stream *stream;
	struct test_model tm;
	struct weir_unit unit;
	struct weir *weir;
	uint32_t knob;
	int rc;

	ASSERT_TRUE(tm_open(&tm, TM_SINGLE, 4, false));
	ASSERT_EQ(weir_open(&opts, &weir, NULL), 0);
	EXPECT_EQ(number(weir, "weir_pool_capacity_bytes"), (int64_t)POOL_BYTES);
	EXPECT_EQ(number(weir, "weir_io_reads"), 0);
	ASSERT_EQ(weir_stream_open(weir, tm.model, &plan, &stream, NULL), 0);
	do
		rc = weir_stream_next(stream, &unit, NULL);
	while (rc == 1);
	ASSERT_EQ(rc, 0);
	weir_stream_pass(stream, &pass);
	EXPECT_EQ(number(weir, "weir_stream_units"), (int64_t)pass.nr_units);
	EXPECT_EQ(number(weir, "weir_stream_hits"), 0);
	EXPECT_EQ(number(weir, "weir_stream_read_bytes"), (int64_t)pass.bytes_read);
	EXPECT_EQ(number(weir, "weir_stream_stall_ns"), (int64_t)pass.nr_stalls);
	EXPECT_EQ(number(weir, "weir_io_reads"), (int64_t)pass.nr_units);
	EXPECT_EQ(weir_knob_find(weir_get_knobs(weir), "stream.ahead_bytes", &knob), 0);
	weir_stream_close(stream);
	weir_close(weir);
	tm_close(&tm);
}

TEST(how_many_reads_are_under_way_is_a_gauge)
{
	struct weir_opts opts = options();
	struct weir_io_req req[3];
	struct weir_io_file *file;
	struct io_wait wait[3];
	struct wr_io_fault fault;
	struct io_gate gate;
	struct weir *weir;
	char path[256];
	char *buf;

	io_scratch_path(path, sizeof(path), false, "ctx");
	ASSERT_EQ(io_file_make(path, 3 * 4096), 0);
	ASSERT_EQ(weir_open(&opts, &weir, NULL), 0);
	ASSERT_EQ(weir_io_file_open(weir_get_io(weir), path, &file, NULL), 0);
	buf = io_buffer(3 * 4096);
	io_gate_init(&gate, true);
	fault = (struct wr_io_fault){.filter = io_gate_filter, .arg = &gate};
	wr_io_set_fault(weir_get_io(weir), &fault);
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(number(weir, "weir_io_under_way"), i);
		io_wait_init(&wait[i]);
		req[i] = io_request(file, (uint64_t)i * 4096, 4096, buf + i * 4096, 4096,
				    WEIR_IO_DEMAND, &wait[i]);
		EXPECT_EQ(weir_io_read(weir_get_io(weir), &req[i], NULL), 0);
	}
	EXPECT_EQ(number(weir, "weir_io_under_way"), 3);
	io_gate_open(&gate);
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(io_wait_for(&wait[i]), 0);
	EXPECT_EQ(number(weir, "weir_io_under_way"), 0);
	weir_io_file_close(file);
	io_buffer_free(buf, 3 * 4096);
	weir_close(weir);
	unlink(path);
}

static void note_progress(void *arg, size_t done_bytes, size_t total_bytes)
{
	size_t *seen = arg;

	seen[0] = done_bytes;
	seen[1] = total_bytes;
}

TEST(what_its_cache_does_is_counted_in_the_contexts_registry)
{
	struct weir_cache_opts cache_opts = {.size = sizeof(cache_opts), .nr_entries = 64};
	struct weir_cache_item item = {.key = {1, 2}, .bytes = 100, .class_id = WEIR_CLASS_KV};
	struct weir_opts opts = options();
	struct weir *weir = NULL;
	struct weir_pin pin;
	char bytes[100] = {7};

	opts.flags = WEIR_OPEN_PRIVATE;
	ASSERT_EQ(weir_open(&opts, &weir, NULL), 0);
	EXPECT_EQ(weir_get_cache(weir), NULL);
	EXPECT_EQ(number(weir, "weir_cache_l2_hits"), -1);
	weir_close(weir);
	cache_opts.nr_entries = 1;
	opts.cache = &cache_opts;
	EXPECT_EQ(weir_open(&opts, &weir, NULL), -EINVAL);
	cache_opts.nr_entries = 64;
	ASSERT_EQ(weir_open(&opts, &weir, NULL), 0);
	ASSERT_EQ(weir_cache_insert(weir_get_cache(weir), &item, bytes), 0);
	ASSERT_EQ(weir_cache_get(weir_get_cache(weir), &item, 0, &pin), 0);
	EXPECT_EQ(memcmp(pin.data, bytes, sizeof(bytes)), 0);
	EXPECT_EQ(weir_cache_put(weir_get_cache(weir), &pin), 0);
	EXPECT_EQ(number(weir, "weir_cache_l2_hits"), 1);
	EXPECT_EQ(number(weir, "weir_cache_l2_kv_hits"), 1);
	EXPECT_EQ(number(weir, "weir_cache_l2_weights_hits"), 0);
	EXPECT_EQ(number(weir, "weir_cache_l2_inserts"), 1);
	EXPECT_EQ(number(weir, "weir_cache_l2_used_bytes"), 4096);
	EXPECT_EQ(number(weir, "weir_cache_l2_budget_bytes"), (int64_t)POOL_BYTES);
	EXPECT_EQ(number(weir, "weir_cache_l1_hits"), -1);
	weir_close(weir);
}

/* Waits for the thread that hears of gets: ten thousand times a millisecond at most. */
static int64_t wait_for(struct weir *weir, const char *name, int64_t least)
{
	for (int i = 0; i < 10000 && number(weir, name) < least; i++)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	return number(weir, name);
}

TEST(what_its_cache_fetches_ahead_is_counted_in_the_contexts_registry)
{
	struct weir_cache_opts cache_opts = {.size = sizeof(cache_opts), .nr_entries = 64};
	struct weir_cache_item item = {.key = {1, 2}, .bytes = 100, .class_id = WEIR_CLASS_KV};
	struct weir_opts opts = options();
	struct weir *weir = NULL;
	struct weir_pin pin;
	char bytes[100] = {7};

	opts.flags = WEIR_OPEN_PRIVATE;
	ASSERT_EQ(weir_open(&opts, &weir, NULL), 0);
	EXPECT_EQ(number(weir, "weir_ahead_references"), -1);
	weir_close(weir);
	opts.cache = &cache_opts;
	ASSERT_EQ(weir_open(&opts, &weir, NULL), 0);
	EXPECT_EQ(number(weir, "weir_ahead_references"), 0);
	EXPECT_EQ(number(weir, "weir_ahead_off"), WEIR_AHEAD_ON);
	ASSERT_EQ(weir_cache_ahead(weir_get_cache(weir), NULL, NULL), 0);
	ASSERT_EQ(weir_cache_insert(weir_get_cache(weir), &item, bytes), 0);
	for (int i = 0; i < 64; i++) {
		ASSERT_EQ(weir_cache_get(weir_get_cache(weir), &item, 0, &pin), 0);
		EXPECT_EQ(weir_cache_put(weir_get_cache(weir), &pin), 0);
	}
	EXPECT_GT(wait_for(weir, "weir_ahead_references", 1), 0);
	EXPECT_GT(wait_for(weir, "weir_ahead_spent_ns", 1), 0);
	EXPECT_EQ(number(weir, "weir_ahead_started"), 0);
	EXPECT_EQ(weir_cache_ahead_switch(weir_get_cache(weir), false), 0);
	EXPECT_EQ(number(weir, "weir_ahead_off"), WEIR_AHEAD_HOST);
	EXPECT_EQ(weir_cache_ahead_switch(weir_get_cache(weir), true), 0);
	EXPECT_NE(number(weir, "weir_ahead_off"), WEIR_AHEAD_HOST);
	weir_close(weir);
}

TEST(its_knobs_move_its_cache_and_outlive_it)
{
	struct weir_cache_opts cache_opts = {.size = sizeof(cache_opts), .nr_entries = 64};
	struct weir_cache_item item = {.key = {1, 2}, .bytes = 100, .class_id = WEIR_CLASS_KV};
	struct weir_opts opts = options();
	struct weir_cache_stats stats;
	struct weir *weir = NULL;
	char bytes[100] = {7};
	uint64_t budget;
	uint32_t id;

	opts.flags = WEIR_OPEN_PRIVATE;
	opts.cache = &cache_opts;
	ASSERT_EQ(weir_open(&opts, &weir, NULL), 0);
	ASSERT_EQ(weir_cache_stats(weir_get_cache(weir), WEIR_TIER_L2, WEIR_NR_CLASSES, &stats), 0);
	budget = stats.budget_bytes;
	ASSERT_EQ(weir_knob_find(weir_get_knobs(weir), "cache.l2_bytes", &id), 0);
	EXPECT_EQ(weir_knob_get(weir_get_knobs(weir), id), budget);
	EXPECT_EQ(weir_knob_set(weir_get_knobs(weir), id, budget / 2), 0);
	ASSERT_EQ(weir_cache_insert(weir_get_cache(weir), &item, bytes), 0);
	ASSERT_EQ(weir_cache_stats(weir_get_cache(weir), WEIR_TIER_L2, WEIR_NR_CLASSES, &stats), 0);
	EXPECT_EQ(stats.budget_bytes, budget / 2);
	EXPECT_EQ(weir_knob_find(weir_get_knobs(weir), "cache.ahead", &id), -ENOENT);
	ASSERT_EQ(weir_cache_ahead(weir_get_cache(weir), NULL, NULL), 0);
	ASSERT_EQ(weir_knob_set_text(weir_get_knobs(weir), "cache.ahead=0", NULL), 0);
	ASSERT_EQ(weir_cache_insert(weir_get_cache(weir), &item, bytes), 0);
	EXPECT_EQ(number(weir, "weir_ahead_off"), WEIR_AHEAD_HOST);
	ASSERT_EQ(weir_knob_set_text(weir_get_knobs(weir), "io.page_cache=2", NULL), 0);
	EXPECT_EQ(weir_io_page_cache(weir_get_io(weir)), WEIR_IO_CACHE_ALWAYS);
	ASSERT_EQ(weir_io_set_page_cache(weir_get_io(weir), WEIR_IO_CACHE_NEVER), 0);
	ASSERT_EQ(weir_knob_find(weir_get_knobs(weir), "io.page_cache", &id), 0);
	EXPECT_EQ(weir_knob_get(weir_get_knobs(weir), id), WEIR_IO_CACHE_NEVER);
	/* Its thread reads them to the end. */
	ASSERT_EQ(weir_knob_set_text(weir_get_knobs(weir), "cache.ahead=1", NULL), 0);
	weir_close(weir);
}

TEST(its_cache_keeps_what_leaves_memory_in_a_folder_and_counts_it)
{
	struct weir_cache_item item = {.key = {1, 2}, .bytes = 100, .class_id = WEIR_CLASS_KV};
	struct weir_cache_opts cache_opts = {.size = sizeof(cache_opts)};
	struct weir_opts opts = options();
	struct weir *weir = NULL;
	struct weir_pin pin;
	char bytes[100] = {7};
	char dir[256];

	st_dir(dir, sizeof(dir), "ctx");
	cache_opts.l3_dir = dir;
	cache_opts.l3_budget = 20 << 20;
	opts.flags = WEIR_OPEN_PRIVATE;
	opts.cache = &cache_opts;
	ASSERT_EQ(weir_open(&opts, &weir, NULL), 0);
	ASSERT_EQ(weir_cache_insert(weir_get_cache(weir), &item, bytes), 0);
	ASSERT_EQ(weir_cache_flush(weir_get_cache(weir)), 0);
	EXPECT_EQ(number(weir, "weir_cache_l3_fills"), 1);
	EXPECT_EQ(number(weir, "weir_cache_l3_entries"), 1);
	EXPECT_EQ(number(weir, "weir_cache_l3_budget_bytes"), 20 << 20);
	weir_close(weir);
	ASSERT_EQ(weir_open(&opts, &weir, NULL), 0);
	ASSERT_EQ(weir_cache_get(weir_get_cache(weir), &item, 0, &pin), 0);
	EXPECT_EQ(memcmp(pin.data, bytes, sizeof(bytes)), 0);
	EXPECT_EQ(weir_cache_put(weir_get_cache(weir), &pin), 0);
	EXPECT_EQ(number(weir, "weir_cache_l3_kv_hits"), 1);
	EXPECT_EQ(number(weir, "weir_cache_l3_misses"), 0);
	weir_close(weir);
	st_dir_remove(dir);
}

TEST(its_progress_reaches_the_whole_budget)
{
	struct weir_opts opts = options();
	size_t seen[2] = {0};
	struct weir *weir;

	opts.progress = note_progress;
	opts.progress_arg = seen;
	ASSERT_EQ(weir_open(&opts, &weir, NULL), 0);
	EXPECT_EQ(seen[0], POOL_BYTES);
	EXPECT_EQ(seen[1], POOL_BYTES);
	weir_close(weir);
}

TEST(a_described_machine_moves_no_thread)
{
	struct weir_opts opts = options();
	struct test_model tm;
	struct weir_loaded *loaded;
	struct weir *weir;

	ASSERT_TRUE(tm_open(&tm, TM_SINGLE, 1, false));
	/* More processors than there are here. */
	opts.topo_synthetic = "pack:4 core:64 pu:2";
	ASSERT_EQ(weir_open(&opts, &weir, NULL), 0);
	ASSERT_EQ(weir_load(weir, tm.model, NULL, &loaded, NULL), 0);
	weir_unload(loaded);
	weir_close(weir);
	opts = options();
	opts.flags = WEIR_OPEN_NO_PIN;
	ASSERT_EQ(weir_open(&opts, &weir, NULL), 0);
	weir_close(weir);
	tm_close(&tm);
}

TEST(two_contexts_do_not_know_of_each_other)
{
	struct weir_opts opts = options();
	struct weir_loaded *in_a, *in_b;
	struct weir *a, *b;
	struct test_model tm;
	struct weir_view view;

	ASSERT_TRUE(tm_open(&tm, TM_SINGLE, 1, false));
	ASSERT_EQ(weir_open(&opts, &a, NULL), 0);
	ASSERT_EQ(weir_open(&opts, &b, NULL), 0);
	ASSERT_EQ(weir_load(a, tm.model, NULL, &in_a, NULL), 0);
	ASSERT_EQ(weir_load(b, tm.model, NULL, &in_b, NULL), 0);
	weir_unload(in_a);
	weir_close(a);
	ASSERT_EQ(weir_loaded_view(in_b, weir_model_at(tm.model, 0), &view), 0);
	EXPECT_TRUE(tm_view_is_right(&tm, &view));
	weir_unload(in_b);
	weir_close(b);
	tm_close(&tm);
}

TEST_F_TIMEOUT(long_one, open_gives_up_cleanly_wherever_memory_runs_out, 300)
{
	struct weir_opts opts = options();
	int64_t live = wr_test_alloc_live();
	struct weir_error err;
	struct weir *weir = NULL;
	int nr_fds, nr_threads;
	uint64_t n;

	ASSERT_EQ(weir_open(&opts, &weir, NULL), 0);
	weir_close(weir);
	weir = NULL;
	nr_fds = nr_open_files();
	nr_threads = nr_living_threads();
	for (n = 1; n < 500; n++) {
		int rc;

		wr_test_alloc_fail_at(n);
		memset(&err, 0, sizeof(err));
		rc = weir_open(&opts, &weir, &err);
		if (!wr_test_alloc_failed())
			break;
		/* Some memory only says why; without it nothing fails. */
		EXPECT_TRUE(rc == 0 || rc == -ENOMEM);
		EXPECT_EQ(err.code, rc);
		if (rc == 0)
			weir_close(weir);
		else
			EXPECT_EQ(weir, NULL);
		weir = NULL;
		EXPECT_EQ(wr_test_alloc_live(), live);
		EXPECT_EQ(nr_open_files(), nr_fds);
		EXPECT_EQ(nr_living_threads(), nr_threads);
	}
	wr_test_alloc_fail_at(0);
	EXPECT_GT(n, 10u);
	weir_close(weir);
	EXPECT_EQ(wr_test_alloc_live(), live);
}

TEST_F_TIMEOUT(long_one, many_contexts_opened_and_closed_leave_nothing, 300)
{
	struct weir_opts opts = options();
	int nr_fds = 0, nr_threads = 0;
	int64_t live = 0;
	long rss = 0;

	for (int i = 0; i < NR_CYCLES; i++) {
		struct weir *weir;

		int rc;

		opts.io_backend = (uint32_t)i % (WEIR_IO_BUFFERED + 1);
		rc = weir_open(&opts, &weir, NULL);
		ASSERT_TRUE(rc == 0 || (rc == -EOPNOTSUPP && opts.io_backend <= WEIR_IO_URING));
		if (!rc)
			weir_close(weir);
		/* What the C library and hwloc keep for themselves they have by now. */
		if (i == NR_CYCLES / 4) {
			nr_fds = nr_open_files();
			nr_threads = nr_living_threads();
			live = wr_test_alloc_live();
			rss = io_status_kib("VmRSS");
		}
	}
	EXPECT_EQ(nr_open_files(), nr_fds);
	EXPECT_EQ(nr_living_threads(), nr_threads);
	EXPECT_EQ(wr_test_alloc_live(), live);
	if (!SANITIZED)
		EXPECT_LE(io_status_kib("VmRSS"), rss + 2048);
}

TEST_HARNESS_MAIN
