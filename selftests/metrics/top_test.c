/* SPDX-License-Identifier: MIT */
/* `weir top`: a host's numbers as they are, in 80 columns, also after it was killed. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <weir/metrics_segment.h>
#include <weir/metrics_system.h>
#include <weir/weir.h>

#include "base/util.h"
#include "harness/run_weir.h"
#include "harness/skip.h"
#include "top.h"

/* clang-format off */
FIXTURE(top) {
	char dir[256];
	struct wt_run run;
	pid_t host;
	char pid[16];
};
/* clang-format on */

static int64_t ever_more(void *arg)
{
	return *(int64_t *)arg += 1000000;
}

/* A host whose engine reads a megabyte from one look of its collector to the next. */
static void be_host(const char *dir, int ready)
{
	struct weir_metrics_opts opts = {
		.size = sizeof(opts), .flags = WEIR_METRICS_SHARED, .segment_dir = dir};
	struct weir_collector_opts every = {.size = sizeof(every), .interval_ms = 1000};
	struct weir_metric_desc read = {WEIR_METRIC_COUNTER, "weir_io_read_bytes", "bytes", ""};
	struct weir_metric_desc wait = {WEIR_METRIC_COUNTER, "weir_lock_io_wait_ns", "ns", ""};
	struct weir_metric_desc took = {WEIR_METRIC_COUNTER, "weir_lock_io_contended", "", ""};
	struct weir_metric_desc pool = {WEIR_METRIC_GAUGE, "weir_pool_used_bytes", "bytes", ""};
	struct weir_metric_desc depth = {WEIR_METRIC_GAUGE, "weir_io_under_way", "", ""};
	static int64_t bytes;
	struct weir_metrics *m;
	uint32_t id;

	if (weir_metrics_open_opts(&opts, &m, NULL) != 0 ||
	    weir_metrics_register_read(m, &read, ever_more, &bytes, &id) != 0 ||
	    weir_metrics_register(m, &wait, &id) != 0 || weir_metrics_register(m, &pool, &id) != 0)
		(_exit)(1);
	weir_metrics_set(m, id, 3 << 20);
	if (weir_metrics_register(m, &took, &id) != 0)
		(_exit)(1);
	weir_metrics_add(m, id, 7);
	if (weir_metrics_register(m, &depth, &id) != 0)
		(_exit)(1);
	weir_metrics_set(m, id, 19);
	weir_collector_round(m);
	if (weir_collector_start(m, &every, NULL) != 0)
		(_exit)(1);
	usleep(2500000);
	(void)!write(ready, "x", 1);
	pause();
}

FIXTURE_SETUP(top)
{
	char byte = '\0';
	int ready[2];

	if (access("/dev/shm", W_OK) != 0)
		SKIP_SETUP("there is no /dev/shm");
	wt_dir_make(self->dir, sizeof(self->dir), "/dev/shm");
	ASSERT_EQ(pipe(ready), 0);
	self->host = fork();
	if (self->host == 0)
		be_host(self->dir, ready[1]);
	close(ready[1]);
	EXPECT_EQ(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	snprintf(self->pid, sizeof(self->pid), "%d", (int)self->host);
}

FIXTURE_TEARDOWN(top)
{
	if (self->dir[0] == '\0')
		return;
	if (self->host > 0) {
		kill(self->host, SIGKILL);
		waitpid(self->host, NULL, 0);
	}
	wt_run_fini(&self->run);
	wt_dir_remove(self->dir);
}

TEST_F(top, one_look_has_rates_and_what_is_not_there_is_null)
{
	ASSERT_EQ(wt_weir(&self->run, "top", "--json", "--segments", self->dir, NULL), 0);
	EXPECT_EQ(wt_int(self->run.json, "pid"), self->host);
	EXPECT_TRUE(json_is_true(wt_at(self->run.json, "alive")));
	EXPECT_GT(wt_real(self->run.json, "read_bytes_per_second"), 0.0);
	EXPECT_EQ(wt_real(self->run.json, "pool_used_bytes"), 3145728.0);
	EXPECT_EQ(wt_real(self->run.json, "requests_under_way"), 19.0);
	EXPECT_GT(wt_real(self->run.json, "resident_bytes"), 0.0);
	EXPECT_TRUE(json_is_null(wt_at(self->run.json, "hit_ratio")));
	EXPECT_TRUE(json_is_null(wt_at(self->run.json, "pool_capacity_bytes")));
	EXPECT_STREQ(wt_text(self->run.json, "locks.0.name"), "io");
	EXPECT_EQ(wt_real(self->run.json, "locks.0.waits"), 7.0);
}

TEST_F(top, lines_fit_80_columns_and_24_rows_are_enough)
{
	unsigned lines = 0;

	ASSERT_EQ(wt_weir(&self->run, "top", "--batch", "--count", "2", "--interval", "100",
			  "--segments", self->dir, "--pid", self->pid, NULL),
		  0);
	for (char *line = strtok(self->run.out, "\n"); line; line = strtok(NULL, "\n")) {
		EXPECT_LE(strlen(line), 80u);
		lines++;
	}
	EXPECT_GT(lines, 20u);
	EXPECT_LE(lines, 48u);
}

TEST_F(top, a_host_that_was_killed_is_shown_as_it_was)
{
	char text[8192];

	EXPECT_EQ(wt_shell(text, sizeof(text), "top --post-mortem %s --segments %s 2>&1", self->pid,
			   self->dir),
		  1);
	kill(self->host, SIGKILL);
	ASSERT_EQ(waitpid(self->host, NULL, 0), self->host);
	self->host = 0;
	EXPECT_EQ(wt_shell(text, sizeof(text), "top --pid %s --batch --segments %s 2>&1", self->pid,
			   self->dir),
		  1);
	ASSERT_EQ(wt_shell(text, sizeof(text), "top --post-mortem %s --segments %s", self->pid,
			   self->dir),
		  0);
	EXPECT_NE(strstr(text, "ENDED after"), NULL);
	EXPECT_NE(strstr(text, "3.00 MiB"), NULL);
	EXPECT_EQ(strstr(text, "not heard of"), NULL);
}

TEST_F(top, wrong_usage_is_told)
{
	char text[4096];

	EXPECT_EQ(wt_shell(text, sizeof(text), "top --pid 1 --post-mortem 1 2>&1"), 2);
	EXPECT_EQ(wt_shell(text, sizeof(text), "top --json --count 2 2>&1"), 2);
	EXPECT_EQ(wt_shell(text, sizeof(text), "top --interval 5 2>&1"), 2);
	EXPECT_EQ(wt_shell(text, sizeof(text), "top --batch --segments /nonexistent 2>&1"), 1);
}

/* A host with a pool of which every other 2 MiB of the first quarter is in use. */
static void be_pool(int ready)
{
	struct weir_opts opts = {.size = sizeof(opts),
				 .budget_bytes = (size_t)64 << 20,
				 .page_kinds = 1u << WEIR_PAGE_4K,
				 .flags = WEIR_OPEN_NO_PIN};
	struct weir_span span[8];
	struct weir *weir;

	if (weir_open(&opts, &weir, NULL) != 0)
		(_exit)(1);
	for (int i = 0; i < 8; i++) {
		if (weir_pool_alloc(weir_get_pool(weir), 2 << 20, WEIR_NODE_ANY, &span[i]) != 0)
			(_exit)(1);
	}
	for (int i = 1; i < 8; i += 2)
		(void)weir_pool_free(weir_get_pool(weir), span[i]);
	weir_collector_round(weir_get_metrics(weir));
	(void)!write(ready, "x", 1);
	pause();
}

/* Which of the first line's marks are full, as text of '#' and others. */
static void read_marks(const char *text, char ret[static 80])
{
	const char *at = strstr(text, "\nmap ");

	snprintf(ret, 80, "%.32s", at ? at + 1 + WR_TOP_INDENT : "");
}

TEST(the_map_shows_which_pieces_are_in_use_also_after_the_host_was_killed)
{
	char text[8192], marks[80], path[64];
	struct wt_run run = {0};
	char byte = '\0', pid[16];
	int ready[2];
	pid_t host;

	if (access("/dev/shm", W_OK) != 0)
		SKIP(return, "there is no /dev/shm");
	ASSERT_EQ(pipe(ready), 0);
	host = fork();
	if (host == 0)
		be_pool(ready[1]);
	close(ready[1]);
	EXPECT_EQ(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	snprintf(pid, sizeof(pid), "%d", (int)host);
	EXPECT_EQ(wt_weir(&run, "top", "--json", "--pid", pid, NULL), 0);
	EXPECT_EQ(wt_real(run.json, "pool_map.mappings.0.bytes"), 67108864.0);
	EXPECT_EQ(wt_real(run.json, "pool_map.mappings.0.cell_bytes"), 2097152.0);
	EXPECT_EQ(json_array_size(wt_at(run.json, "pool_map.mappings.0.used_ratio")), 32u);
	EXPECT_STREQ(wt_text(run.json, "pool_map.mappings.0.pages"), "4k, node 0");
	EXPECT_GT(wt_real(run.json, "pool_fragmentation_ratio"), 0.0);
	wt_run_fini(&run);
	EXPECT_EQ(wt_shell(text, sizeof(text), "top --pid %s --batch --count 1", pid), 0);
	read_marks(text, marks);
	EXPECT_STREQ(marks, "#.#.#.#.........................");
	EXPECT_NE(strstr(text, ". free -+* in part # full; pages 4k, node 0; broken up "), NULL);
	kill(host, SIGKILL);
	EXPECT_EQ(waitpid(host, NULL, 0), host);
	EXPECT_EQ(wt_shell(text, sizeof(text), "top --post-mortem %s", pid), 0);
	read_marks(text, marks);
	EXPECT_STREQ(marks, "#.#.#.#.........................");
	snprintf(path, sizeof(path), "/dev/shm/weir-%s-0", pid);
	EXPECT_EQ(unlink(path), 0);
}

static const char *line_with(const struct wr_top_page *page, const char *begin)
{
	for (unsigned i = 0; i < page->nr; i++) {
		if (!strncmp(page->line[i], begin, strlen(begin)))
			return page->line[i];
	}
	return "";
}

TEST(a_page_obeys_its_height_and_draws_points_by_their_share)
{
	struct wr_top_host host = {
		.info = {.command = "test", .pid = 5, .alive = true, .tick_ms = 1000},
		.now_ms = 1500,
		.nr_points = 3,
		.points = {0, 50, 100},
		.pool_used = 1,
		.pool_capacity = 2,
		.nr_locks = 20};
	static struct wr_top_page page = {.max = 16, .width = 80};

	wr_top_draw(&host, 1, 1, &page);
	EXPECT_EQ(page.nr, 16u);
	EXPECT_NE(strstr(line_with(&page, "read "), " -#"), NULL);
	EXPECT_NE(strstr(line_with(&page, "           #"), "##########################....."),
		  NULL);
	host.now_ms = 5000;
	wr_top_draw(&host, 1, 1, &page);
	EXPECT_NE(strstr(page.line[1], "not heard of for 4"), NULL);
}

TEST(mappings_share_the_lines_of_a_map_and_no_mark_hides_what_is_in_use)
{
	static struct wr_top_map map = {
		.bytes = 3072,
		.nr_rows = 2,
		.row = {{.text = "2m", .bytes = 2048, .cell_bytes = 2, .nr = 1024},
			{.text = "4k", .bytes = 1024, .cell_bytes = 2, .nr = 512}}};
	struct wr_top_map_line line[8];
	unsigned bytes;

	map.row[0].share[1023] = 0.001f;
	map.row[1].share[0] = 1;
	map.row[1].share[1] = 0.999f;
	ASSERT_EQ(wr_top_map_draw(&map, 3, 64, false, line), 3u);
	EXPECT_EQ(line[0].row, 0u);
	EXPECT_EQ(line[2].row, 1u);
	EXPECT_EQ(strspn(line[0].text, "."), 64u);
	EXPECT_EQ(strspn(line[1].text, "."), 63u);
	EXPECT_STREQ(line[1].text + 63, "-");
	EXPECT_EQ(line[2].text[0], '-');
	/* One line, and the second mapping has no room. */
	EXPECT_EQ(wr_top_map_draw(&map, 1, 64, false, line), 1u);
	/* As many marks as cells: what is nearly full is not full. */
	map.row[1].nr = 4;
	ASSERT_EQ(wr_top_map_draw(&map, 3, 64, true, line), 3u);
	EXPECT_EQ(wr_top_map_level(line[2].text, &bytes), 4);
	EXPECT_EQ(wr_top_map_level(line[2].text + bytes, &bytes), 3);
	EXPECT_EQ(wr_top_map_level("x", &bytes), -1);
}

TEST_HARNESS_MAIN
