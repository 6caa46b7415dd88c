/* SPDX-License-Identifier: MIT */
/* The segment: what another process sees, while the host runs, after it crashed, when it is damaged. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <weir/metrics_segment.h>
#include <weir/metrics_system.h>

#include "base/alloc.h"
#include "base/random.h"
#include "base/util.h"
#include "harness/run_weir.h"
#include "harness/skip.h"
#include "metrics/grid.h"
#include "metrics/segment.h"

/* clang-format off */
FIXTURE(segment) {
	char dir[256];
	struct weir_metrics *m;
	struct weir_segment *seg;
	char path[300];
	int64_t live;
};
/* clang-format on */

static struct weir_metrics *open_shared(const char *dir, size_t bytes)
{
	struct weir_metrics_opts opts = {.size = sizeof(opts),
					 .segment_dir = dir,
					 .segment_bytes = bytes,
					 .flags = WEIR_METRICS_SHARED};
	struct weir_metrics *m;

	return weir_metrics_open_opts(&opts, &m, NULL) == 0 ? m : NULL;
}

FIXTURE_SETUP(segment)
{
	if (access("/dev/shm", W_OK) != 0)
		SKIP_SETUP("there is no /dev/shm");
	wt_dir_make(self->dir, sizeof(self->dir), "/dev/shm");
	self->live = wr_test_alloc_live();
	self->m = open_shared(self->dir, 0);
	ASSERT_NE(self->m, NULL);
	snprintf(self->path, sizeof(self->path), "%s/weir-%d-0", self->dir, (int)getpid());
	ASSERT_EQ(weir_segment_open(self->path, &self->seg, NULL), 0);
}

FIXTURE_TEARDOWN(segment)
{
	if (self->dir[0] == '\0')
		return;
	weir_segment_close(self->seg);
	weir_metrics_close(self->m);
	EXPECT_NE(access(self->path, F_OK), 0);
	EXPECT_EQ(wr_test_alloc_live(), self->live);
	wt_dir_remove(self->dir);
}

static uint32_t counter(struct weir_metrics *m, const char *name)
{
	struct weir_metric_desc desc = {WEIR_METRIC_COUNTER, name, "", "A counter"};
	uint32_t id = UINT32_MAX;

	return weir_metrics_register(m, &desc, &id) == 0 ? id : UINT32_MAX;
}

static int64_t seen(struct weir_segment *seg, const char *name, const char *labels)
{
	struct weir_metric shown;

	return weir_segment_find(seg, name, labels, &shown) == 0 ? shown.value : -1;
}

struct adder {
	struct weir_metrics *m;
	uint32_t id;
};

static void *add_seven(void *arg)
{
	struct adder *a = arg;

	weir_metrics_add(a->m, a->id, 7);
	return NULL;
}

TEST_F(segment, every_kind_is_seen_from_outside_as_it_is_inside)
{
	struct weir_metric_desc g = {WEIR_METRIC_GAUGE, "test_depth", "", "Depth"};
	struct weir_metric_desc f = {WEIR_METRIC_FLOAT, "test_ratio", "", "Ratio"};
	struct weir_metric_desc h = {WEIR_METRIC_HISTOGRAM, "test_bytes", "", "Sizes"};
	struct weir_metric_desc s = {WEIR_METRIC_SUMMARY, "test_time_ns", "ns", "Times"};
	static const char *const names[] = {"node"};
	const char *values[] = {"a\"b"};
	struct weir_histogram hist, inside;
	struct weir_metric shown;
	struct adder adder = {self->m, counter(self->m, "test_reads")};
	uint32_t gauge, level, sizes, times, family, id;
	pthread_t thread;

	ASSERT_EQ(weir_metrics_register(self->m, &g, &gauge), 0);
	ASSERT_EQ(weir_metrics_register(self->m, &f, &level), 0);
	ASSERT_EQ(weir_metrics_register(self->m, &h, &sizes), 0);
	ASSERT_EQ(weir_metrics_register(self->m, &s, &times), 0);
	g.name = "test_labelled";
	ASSERT_EQ(weir_metrics_register_labels(self->m, &g, names, 1, 0, &family), 0);
	ASSERT_EQ(weir_metrics_series(self->m, family, values, &id), 0);
	weir_metrics_set(self->m, id, 9);
	weir_metrics_add(self->m, adder.id, 5);
	ASSERT_EQ(pthread_create(&thread, NULL, add_seven, &adder), 0);
	pthread_join(thread, NULL);
	weir_metrics_set(self->m, gauge, -4);
	for (uint64_t i = 0; i < 1000; i++) {
		weir_metrics_observe(self->m, sizes, i * i);
		weir_metrics_observe(self->m, times, i);
	}
	EXPECT_EQ(seen(self->seg, "test_reads", NULL), 12);
	EXPECT_EQ(seen(self->seg, "test_depth", ""), -4);
	EXPECT_EQ(seen(self->seg, "test_labelled", "node=\"a\\\"b\""), 9);
	EXPECT_EQ(seen(self->seg, "test_labelled", ""), -1);
	ASSERT_EQ(weir_segment_find(self->seg, "test_ratio", "", &shown), 0);
	EXPECT_FALSE(shown.available);
	ASSERT_EQ(weir_metrics_set_float(self->m, level, 0.5), 0);
	ASSERT_EQ(weir_segment_read(self->seg, shown.id, &shown), 0);
	EXPECT_TRUE(shown.available);
	EXPECT_EQ(shown.number, 0.5);
	ASSERT_EQ(weir_segment_read_histogram(self->seg, sizes, &hist), 0);
	ASSERT_EQ(weir_metrics_read_histogram(self->m, sizes, &inside), 0);
	EXPECT_EQ(memcmp(&hist, &inside, sizeof(hist)), 0);
	EXPECT_EQ(weir_segment_read_histogram(self->seg, gauge, &hist), -EINVAL);
	/* Quantiles of a summary come with a round. */
	weir_collector_round(self->m);
	ASSERT_EQ(weir_segment_find(self->seg, "test_time_ns", "", &shown), 0);
	EXPECT_EQ(shown.value, 1000);
	EXPECT_GE(shown.p50, 490u);
	EXPECT_LE(shown.p50, 510u);
	ASSERT_EQ(weir_metrics_reset(self->m), 0);
	EXPECT_EQ(seen(self->seg, "test_reads", NULL), 0);
	ASSERT_EQ(weir_segment_read_histogram(self->seg, sizes, &hist), 0);
	EXPECT_EQ(hist.count, 0u);
}

static int64_t forty_two(void *arg)
{
	(void)arg;
	return 42;
}

TEST_F(segment, what_the_host_pulls_is_seen_after_a_round_and_the_history_with_it)
{
	struct weir_metric_desc desc = {WEIR_METRIC_COUNTER, "test_pulled", "", "Elsewhere"};
	struct weir_segment_info info;
	struct weir_point points[4];
	struct weir_metric shown;
	uint32_t id;

	ASSERT_EQ(weir_metrics_register_read(self->m, &desc, forty_two, NULL, &id), 0);
	EXPECT_EQ(seen(self->seg, "test_pulled", ""), 0);
	weir_segment_info(self->seg, &info);
	EXPECT_EQ(info.tick_ms, 0u);
	weir_collector_round(self->m);
	ASSERT_EQ(weir_segment_find(self->seg, "test_pulled", "", &shown), 0);
	EXPECT_EQ(shown.value, 42);
	ASSERT_EQ(weir_segment_history(self->seg, shown.id, WEIR_HISTORY_1S, 4, points), 1);
	EXPECT_EQ(points[0].value, 42.0);
	EXPECT_EQ(weir_segment_history(self->seg, 999, WEIR_HISTORY_1S, 4, points), -ENOENT);
	EXPECT_EQ(weir_segment_history(self->seg, shown.id, 7, 4, points), -EINVAL);
	weir_segment_info(self->seg, &info);
	EXPECT_GT(info.tick_ms, info.start_ms - 1);
	EXPECT_EQ(info.pid, (uint32_t)getpid());
	EXPECT_TRUE(info.alive);
}

TEST_F(segment, only_this_user_can_read_it)
{
	struct stat st;

	ASSERT_EQ(stat(self->path, &st), 0);
	EXPECT_EQ(st.st_mode & 07777, 0600u);
}

TEST_F(segment, a_crashed_host_leaves_what_it_counted)
{
	struct weir_segment_info infos[4], info;
	struct weir_segment *seg;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct weir_metrics *m = open_shared(self->dir, 0);

		weir_metrics_add(m, counter(m, "test_crashed"), 77);
		kill(getpid(), SIGKILL);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	ASSERT_TRUE(WIFSIGNALED(status));
	ASSERT_EQ(weir_segments_find(self->dir, 4, infos), 2);
	EXPECT_EQ(infos[0].pid, (uint32_t)getpid());
	EXPECT_TRUE(infos[0].alive);
	EXPECT_EQ(infos[1].pid, (uint32_t)pid);
	EXPECT_FALSE(infos[1].alive);
	ASSERT_EQ(weir_segment_open(infos[1].path, &seg, NULL), 0);
	EXPECT_EQ(seen(seg, "test_crashed", ""), 77);
	weir_segment_info(seg, &info);
	EXPECT_FALSE(info.alive);
	weir_segment_close(seg);
}

TEST_F(segment, a_child_counts_for_itself)
{
	uint32_t id = counter(self->m, "test_reads");
	int64_t value;
	int status;
	pid_t pid;

	weir_metrics_add(self->m, id, 1);
	pid = fork();
	if (pid == 0) {
		uint32_t more;

		weir_metrics_add(self->m, id, 100);
		more = counter(self->m, "test_of_the_child");
		weir_metrics_add(self->m, more, 5);
		status = weir_metrics_read_sum(self->m, id, &value) == 0 && value == 101 &&
			 weir_metrics_read_sum(self->m, more, &value) == 0 && value == 5;
		weir_metrics_close(self->m);
		(_exit)(status ? 0 : 1);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	/* Neither its numbers nor its names nor its close are the parent's. */
	EXPECT_EQ(seen(self->seg, "test_reads", ""), 1);
	EXPECT_EQ(seen(self->seg, "test_of_the_child", ""), -1);
	EXPECT_EQ(access(self->path, F_OK), 0);
}

static void make_ended(const char *dir, int pid)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/weir-%d-0", dir, pid);
	close(open(path, O_WRONLY | O_CREAT, 0600));
}

static int nr_ended(const char *dir)
{
	char path[300];
	int nr = 0;

	for (int pid = 900001; pid <= 900003; pid++) {
		snprintf(path, sizeof(path), "%s/weir-%d-0", dir, pid);
		nr += access(path, F_OK) == 0;
	}
	return nr;
}

TEST_F(segment, cleaning_keeps_the_latest_the_young_the_living_and_what_is_not_ours)
{
	char other[300], half[300];

	for (int pid = 900001; pid <= 900003; pid++)
		make_ended(self->dir, pid);
	snprintf(other, sizeof(other), "%s/other", self->dir);
	close(open(other, O_WRONLY | O_CREAT, 0600));
	snprintf(half, sizeof(half), "%s/.weir-new-900004-0", self->dir);
	close(open(half, O_WRONLY | O_CREAT, 0600));
	wr_segment_clean(self->dir, 0, 60);
	EXPECT_EQ(nr_ended(self->dir), 3);
	wr_segment_clean(self->dir, 2, 0);
	EXPECT_EQ(nr_ended(self->dir), 2);
	wr_segment_clean(self->dir, 0, 0);
	EXPECT_EQ(nr_ended(self->dir), 0);
	EXPECT_NE(access(half, F_OK), 0);
	EXPECT_EQ(access(other, F_OK), 0);
	EXPECT_EQ(access(self->path, F_OK), 0);
}

TEST_F(segment, a_full_segment_loses_nothing_inside_and_says_so_outside)
{
	struct weir_metrics *m = open_shared(self->dir, WR_SEGMENT_LEAST_BYTES);
	struct weir_segment_info infos[4];
	char name[32];
	uint32_t id;
	int64_t value;

	ASSERT_NE(m, NULL);
	for (int i = 0; i < 400; i++) {
		snprintf(name, sizeof(name), "test_full_%d", i);
		id = counter(m, name);
		weir_metrics_add(m, id, i);
	}
	/* Each has 15 KiB of history. */
	weir_collector_round(m);
	for (int i = 0; i < 400; i++) {
		snprintf(name, sizeof(name), "test_full_%d", i);
		ASSERT_EQ(weir_metrics_find(m, name, &id), 0);
		ASSERT_EQ(weir_metrics_read_sum(m, id, &value), 0);
		EXPECT_EQ(value, i);
	}
	ASSERT_EQ(weir_segments_find(self->dir, 4, infos), 2);
	EXPECT_GT(infos[0].nr_outside + infos[1].nr_outside, 0u);
	weir_metrics_close(m);
}

TEST_F(segment, opening_says_why_not)
{
	struct weir_metrics_opts opts = {.size = sizeof(opts), .flags = WEIR_METRICS_SHARED};
	struct weir_segment *seg = NULL;
	struct weir_metrics *m = NULL;
	struct weir_error err;
	char path[300];
	int fd;

	opts.segment_dir = "/nonexistent";
	EXPECT_EQ(weir_metrics_open_opts(&opts, &m, &err), -ENOENT);
	EXPECT_STREQ(err.file, "/nonexistent");
	opts.segment_dir = self->dir;
	opts.segment_bytes = 1000;
	EXPECT_EQ(weir_metrics_open_opts(&opts, &m, &err), -EINVAL);
	opts.flags = 2;
	EXPECT_EQ(weir_metrics_open_opts(&opts, &m, &err), -EINVAL);
	EXPECT_EQ(weir_segments_find("/nonexistent", 0, NULL), -ENOENT);
	snprintf(path, sizeof(path), "%s/weir-5-0", self->dir);
	EXPECT_EQ(weir_segment_open(path, &seg, &err), -ENOENT);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	EXPECT_EQ(weir_segment_open(path, &seg, &err), -EBADMSG);
	EXPECT_EQ(ftruncate(fd, 8192), 0);
	EXPECT_EQ(weir_segment_open(path, &seg, &err), -EBADMSG);
	close(fd);
	EXPECT_EQ(m, NULL);
	EXPECT_EQ(seg, NULL);
}

static int swallow(void *arg, const char *text, size_t bytes)
{
	(void)text;
	*(size_t *)arg += bytes;
	return 0;
}

static int look(void *arg, const struct weir_metric *metric)
{
	*(size_t *)arg += strlen(metric->name) + strlen(metric->labels) + strlen(metric->help);
	return 0;
}

/* Cell k of row r is 100 * r + k, or all of what a cell can be when *arg says so. */
static void read_grid(void *arg, uint32_t row, uint32_t nr, uint32_t *ret)
{
	for (uint32_t k = 0; k < nr; k++)
		ret[k] = *(bool *)arg ? UINT32_MAX : 100 * row + k;
}

static const struct wr_grid_row grid_rows[] = {{"thp, node 0", 10 * 4096}, {"4k\x01", 4097}};

static int add_grid(struct weir_metrics *m, const char *name, uint32_t nr, bool *arg)
{
	struct wr_grid_desc desc = {.name = name,
				    .full = 4096,
				    .nr = nr,
				    .rows = grid_rows,
				    .read = read_grid,
				    .arg = arg};

	return wr_metrics_add_grid(m, &desc);
}

TEST_F(segment, a_grid_is_seen_as_the_last_round_left_it)
{
	static bool over;
	struct weir_grid_row row;
	struct weir_grid grid;
	uint32_t cells[16];

	EXPECT_EQ(weir_segment_grid(self->seg, "test_grid", &grid), -ENOENT);
	EXPECT_EQ(add_grid(self->m, "test_grid", 0, &over), -EINVAL);
	EXPECT_EQ(add_grid(self->m, "Not a name", 2, &over), -EINVAL);
	ASSERT_EQ(add_grid(self->m, "test_grid", 2, &over), 0);
	EXPECT_EQ(add_grid(self->m, "test_grid", 2, &over), -EEXIST);
	ASSERT_EQ(add_grid(self->m, "test_other", 1, &over), 0);
	ASSERT_EQ(weir_segment_grid(self->seg, "test_grid", &grid), 0);
	EXPECT_EQ(grid.time_ms, 0u);
	EXPECT_EQ(grid.nr_rows, 2u);
	EXPECT_EQ(grid.nr_cells, 12u);
	weir_collector_round(self->m);
	ASSERT_EQ(weir_segment_grid(self->seg, "test_grid", &grid), 0);
	EXPECT_GT(grid.time_ms, 0u);
	ASSERT_EQ(weir_segment_grid_row(self->seg, &grid, 1, &row), 0);
	EXPECT_STREQ(row.text, "4k?");
	EXPECT_EQ(row.first, 10u);
	EXPECT_EQ(row.nr, 2u);
	EXPECT_EQ(row.total, 4097u);
	EXPECT_EQ(weir_segment_grid_row(self->seg, &grid, 2, &row), -ENOENT);
	EXPECT_EQ(weir_segment_grid_cells(self->seg, &grid, 8, 16, cells), 4);
	EXPECT_EQ(cells[1], 9u);
	EXPECT_EQ(cells[3], 101u);
	EXPECT_EQ(weir_segment_grid_cells(self->seg, &grid, 12, 16, cells), 0);
	over = true;
	weir_collector_round(self->m);
	EXPECT_EQ(weir_segment_grid_cells(self->seg, &grid, 0, 1, cells), 1);
	EXPECT_EQ(cells[0], 4096u);
}

TEST_F(segment, a_grid_that_is_too_large_or_has_no_room_is_refused)
{
	const struct wr_grid_row huge = {"huge", (uint64_t)4096 << 18 | 1};
	struct weir_metrics *small = open_shared(self->dir, WR_SEGMENT_LEAST_BYTES), *private;
	struct wr_grid_desc desc = {.name = "test_huge", .full = 4096, .nr = 1, .rows = &huge};
	const struct wr_grid_row fits = {"fits", (uint64_t)4096 << 18};
	static bool over;
	int rc = 0;

	ASSERT_NE(small, NULL);
	EXPECT_EQ(wr_metrics_add_grid(small, &desc), -E2BIG);
	desc.rows = &fits;
	desc.read = read_grid;
	desc.arg = &over;
	for (int i = 0; i < 5 && rc == 0; i++) {
		desc.name = (const char *[]){"a", "b", "c", "d", "e"}[i];
		rc = wr_metrics_add_grid(small, &desc);
	}
	EXPECT_EQ(rc, -ENOSPC);
	weir_collector_round(small);
	weir_metrics_close(small);
	/* Nobody can look: nothing is kept. */
	ASSERT_EQ(weir_metrics_open(&private), 0);
	EXPECT_EQ(add_grid(private, "test_grid", 2, &over), 0);
	EXPECT_EQ(add_grid(private, "test_grid", 2, &over), 0);
	weir_metrics_close(private);
	for (int n = 1; n <= 1; n++) {
		wr_test_alloc_fail_at(n);
		EXPECT_EQ(add_grid(self->m, "test_grid", 2, &over), -ENOMEM);
		wr_test_alloc_fail_at(0);
	}
}

struct rounds {
	struct weir_metrics *m;
	_Atomic bool stop;
	uint32_t level;
};

/* All cells of a round are the same. */
static void read_level(void *arg, uint32_t row, uint32_t nr, uint32_t *ret)
{
	struct rounds *r = arg;

	r->level += row == 0;
	for (uint32_t k = 0; k < nr; k++)
		ret[k] = r->level % 4096;
}

static void *keep_rounding(void *arg)
{
	struct rounds *r = arg;

	while (!r->stop) {
		weir_collector_round(r->m);
		usleep(200);
	}
	return NULL;
}

TEST_F(segment, the_cells_of_a_look_are_of_one_round)
{
	struct rounds rounds = {.m = self->m};
	struct wr_grid_desc desc = {.name = "test_grid",
				    .full = 4096,
				    .nr = 2,
				    .rows = grid_rows,
				    .read = read_level,
				    .arg = &rounds};
	uint32_t cells[12], mixed = 0;
	struct weir_grid grid;
	pthread_t thread;

	ASSERT_EQ(wr_metrics_add_grid(self->m, &desc), 0);
	weir_collector_round(self->m);
	ASSERT_EQ(weir_segment_grid(self->seg, "test_grid", &grid), 0);
	ASSERT_EQ(pthread_create(&thread, NULL, keep_rounding, &rounds), 0);
	for (int i = 0; i < 20000; i++) {
		EXPECT_EQ(weir_segment_grid_cells(self->seg, &grid, 0, 12, cells), 12);
		for (int k = 1; k < 12; k++)
			mixed += cells[k] != cells[0];
	}
	rounds.stop = true;
	pthread_join(thread, NULL);
	EXPECT_EQ(mixed, 0u);
}

/* A segment with some of everything, as bytes. */
static char *make_bytes(const char *dir, const char *path, size_t bytes)
{
	struct weir_metrics *m = open_shared(dir, bytes);
	struct weir_metric_desc h = {WEIR_METRIC_HISTOGRAM, "test_bytes", "", "Sizes"};
	struct weir_metric_desc s = {WEIR_METRIC_SUMMARY, "test_time_ns", "ns", "Times"};
	static const char *const names[] = {"node"};
	const char *values[] = {"0"};
	static bool over;
	char *copy = malloc(bytes);
	uint32_t id, family;
	int fd;

	weir_metrics_add(m, counter(m, "test_reads"), 1);
	if (weir_metrics_register(m, &h, &id) == 0)
		weir_metrics_observe(m, id, 1000);
	if (weir_metrics_register_labels(m, &s, names, 1, 0, &family) == 0 &&
	    weir_metrics_series(m, family, values, &id) == 0)
		weir_metrics_observe(m, id, 1000);
	if (add_grid(m, "test_grid", 2, &over) != 0 || add_grid(m, "test_other", 1, &over) != 0)
		abort();
	weir_collector_round(m);
	if (weir_metrics_reset(m) != 0)
		abort();
	fd = open(path, O_RDONLY);
	if (copy == NULL || fd < 0 || pread(fd, copy, bytes, 0) != (ssize_t)bytes)
		abort();
	close(fd);
	weir_metrics_close(m);
	return copy;
}

static void look_at_grids(struct weir_segment *seg)
{
	struct weir_grid_row row;
	struct weir_grid grid;
	uint32_t *cells;

	if (weir_segment_grid(seg, "test_grid", &grid) != 0)
		return;
	if (strlen(grid.name) > 63 || grid.nr_cells > WR_GRID_CELLS_MAX)
		abort();
	cells = calloc(grid.nr_cells, sizeof(*cells));
	if (cells == NULL ||
	    weir_segment_grid_cells(seg, &grid, 0, grid.nr_cells, cells) > (int64_t)grid.nr_cells)
		abort();
	for (uint32_t i = 0; i < grid.nr_rows; i++) {
		if (weir_segment_grid_row(seg, &grid, i, &row) == 0 &&
		    (uint64_t)row.first + row.nr > grid.nr_cells)
			abort();
	}
	free(cells);
}

TEST_F(segment, a_damaged_one_never_leads_outside)
{
	size_t bytes = WR_SEGMENT_LEAST_BYTES, used = 0, opened = 0;
	struct weir_histogram hist;
	struct weir_point points[4];
	struct weir_segment *seg;
	uint64_t random = 12345;
	char path[300], *good, *map;
	int fd;

	snprintf(path, sizeof(path), "%s/weir-%d-1", self->dir, (int)getpid());
	good = make_bytes(self->dir, path, bytes);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	ASSERT_EQ(ftruncate(fd, (off_t)bytes), 0);
	map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(map, MAP_FAILED);
	for (int i = 0; i < 400; i++) {
		memcpy(map, good, bytes);
		for (int k = 0; k < 1 + i % 7; k++) {
			/* Words of the head, of the first entries, or of the parts behind the table. */
			size_t from = i % 3 == 0 ? 0 : i % 3 == 1 ? 128 : 1441920;
			size_t range = i % 3 == 0 ? 96 : i % 3 == 1 ? 600 : 60000;
			size_t at;

			at = from + (wr_lcg64(&random) >> 33) % range / 4 * 4;
			(void)wr_lcg64(&random);
			*(uint32_t *)(void *)(map + at) =
				(uint32_t)(random >> 60 ? random >> 40 : UINT64_MAX);
		}
		if (weir_segment_open(path, &seg, NULL) != 0)
			continue;
		opened++;
		EXPECT_EQ(weir_segment_for_each(seg, look, &used), 0);
		look_at_grids(seg);
		for (uint32_t id = 0; id < 6; id++) {
			(void)!weir_segment_read_histogram(seg, id, &hist);
			(void)!weir_segment_history(seg, id, WEIR_HISTORY_1S, 4, points);
		}
		EXPECT_EQ(weir_segments_export(&seg, 1, WEIR_METRICS_OPENMETRICS, swallow, &used),
			  0);
		EXPECT_EQ(weir_segments_export(&seg, 1, WEIR_METRICS_JSON, swallow, &used), 0);
		weir_segment_close(seg);
	}
	EXPECT_GT(opened, 100u);
	munmap(map, bytes);
	close(fd);
	free(good);
}

struct text {
	size_t used;
	char bytes[65536];
};

static int keep(void *arg, const char *bytes, size_t nr)
{
	struct text *t = arg;

	if (nr >= sizeof(t->bytes) - t->used)
		return -EIO;
	memcpy(t->bytes + t->used, bytes, nr);
	t->used += nr;
	t->bytes[t->used] = '\0';
	return 0;
}

TEST_F(segment, an_export_of_two_hosts_has_each_family_once)
{
	static struct text text;
	struct weir_metrics *other = open_shared(self->dir, 0);
	struct weir_metric_desc wrong = {WEIR_METRIC_GAUGE, "test_b", "", "Another kind"};
	struct weir_segment *segs[2] = {self->seg};
	char path[300], expected[1024];
	struct weir_segment_info info;
	uint32_t id;

	ASSERT_NE(other, NULL);
	snprintf(path, sizeof(path), "%s/weir-%d-1", self->dir, (int)getpid());
	ASSERT_EQ(weir_segment_open(path, &segs[1], NULL), 0);
	weir_metrics_add(self->m, counter(self->m, "test_a"), 1);
	weir_metrics_add(self->m, counter(self->m, "test_b"), 2);
	weir_metrics_add(other, counter(other, "test_c"), 3);
	weir_metrics_add(other, counter(other, "test_a"), 4);
	ASSERT_EQ(weir_metrics_register(other, &wrong, &id), 0);
	weir_segment_info(self->seg, &info);
	ASSERT_EQ(weir_segments_export(segs, 2, WEIR_METRICS_PROMETHEUS, keep, &text), 0);
	snprintf(expected, sizeof(expected),
		 "# TYPE test_a_total counter\n# HELP test_a_total A counter\n"
		 "test_a_total{pid=\"%1$u\",context=\"0\",command=\"%2$s\"} 1\n"
		 "test_a_total{pid=\"%1$u\",context=\"1\",command=\"%2$s\"} 4\n"
		 "# TYPE test_b_total counter\n# HELP test_b_total A counter\n"
		 "test_b_total{pid=\"%1$u\",context=\"0\",command=\"%2$s\"} 2\n"
		 "# TYPE test_c_total counter\n# HELP test_c_total A counter\n"
		 "test_c_total{pid=\"%1$u\",context=\"1\",command=\"%2$s\"} 3\n",
		 info.pid, info.command);
	EXPECT_STREQ(text.bytes, expected);
	EXPECT_EQ(weir_segments_export(segs, 65, WEIR_METRICS_PROMETHEUS, keep, &text), -EINVAL);
	weir_segment_close(segs[1]);
	weir_metrics_close(other);
}

TEST_HARNESS_MAIN
