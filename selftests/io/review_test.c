/* SPDX-License-Identifier: MIT */
/*
 * Looking again how open files are best read: what makes a choice change and what does not, memory
 * as made-up files of /proc and /sys tell of it, and files that change while they are read.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "io/choice.h"
#include "io/io_help.h"
#include "io/io_internal.h"

#define GB	   ((uint64_t)1000000000)
#define MIB	   ((uint64_t)1 << 20)
#define S	   ((uint64_t)1000000000)
#define FILE_BYTES (16 * MIB)

/* ---- the choice ---- */

static struct wr_io_facts warm(void)
{
	return (struct wr_io_facts){.file_bytes = 4 * GB,
				    .cached_bytes = 4 * GB,
				    .spare_bytes = 20 * GB,
				    .total_bytes = 24 * GB,
				    .device_bps = GB + GB / 2,
				    .cache_bps = 6 * GB};
}

TEST(what_speaks_for_a_change_must_be_said_twice)
{
	struct wr_io_standing s = {0};
	struct wr_io_facts f = warm(), cold = warm();
	char why[WR_IO_CHOICE_BYTES] = "";

	cold.cached_bytes = 0;
	EXPECT_FALSE(wr_io_choose_again(&s, &f, S, why));
	EXPECT_FALSE(wr_io_choose_again(&s, &cold, 2 * S, why));
	EXPECT_FALSE(wr_io_choose_again(&s, &f, 3 * S, why));
	EXPECT_TRUE(wr_io_choose_again(&s, &f, 4 * S, why));
	EXPECT_EQ(s.now, WR_IO_FROM_CACHE);
	EXPECT_EQ(strncmp(why, "page cache: 100 %", 17), 0);
	EXPECT_FALSE(wr_io_choose_again(&s, &f, 5 * S, why));
}

TEST(one_that_was_made_stays_for_a_time_and_longer_each_time_it_changes)
{
	struct wr_io_standing s = {0};
	struct wr_io_facts f = warm(), cold = warm();
	char why[WR_IO_CHOICE_BYTES];
	uint64_t t = 0, last = 0, held = 0;

	cold.cached_bytes = 0;
	for (int i = 0; i < 8; i++) {
		while (!wr_io_choose_again(&s, i % 2 ? &cold : &f, t, why))
			t += S;
		if (i > 1)
			EXPECT_GE(t - last, held * 2 - S);
		held = t - last;
		last = t;
	}
	EXPECT_GE(held, 300 * S);
	EXPECT_EQ(s.nr_changes, 8u);
}

TEST(some_of_the_file_may_go_before_it_is_left)
{
	struct wr_io_standing s = {.now = WR_IO_FROM_CACHE};
	struct wr_io_facts f = warm();
	char why[WR_IO_CHOICE_BYTES];

	f.cached_bytes = f.file_bytes / 100 * 80;
	f.cache_bps = f.device_bps = 0; /* nobody measured: it is not asked for */
	for (int i = 0; i < 10; i++)
		EXPECT_FALSE(wr_io_choose_again(&s, &f, i * S, why));
	f.cached_bytes = f.file_bytes / 2;
	EXPECT_FALSE(wr_io_choose_again(&s, &f, 20 * S, why));
	EXPECT_TRUE(wr_io_choose_again(&s, &f, 21 * S, why));
	EXPECT_EQ(s.now, WR_IO_DIRECT);
}

TEST(shortness_is_heeded_at_once_and_not_forgotten_at_once)
{
	struct wr_io_standing s = {.now = WR_IO_FROM_CACHE};
	struct wr_io_facts f = warm(), strained = warm();
	char why[WR_IO_CHOICE_BYTES];
	uint64_t t = 100 * S;

	strained.stall_permyriad = 900;
	EXPECT_TRUE(wr_io_choose_again(&s, &strained, t, why));
	EXPECT_EQ(s.now, WR_IO_DIRECT);
	EXPECT_NE(strstr(why, "memory is short"), NULL);
	while (!wr_io_choose_again(&s, &f, t, why)) {
		EXPECT_FALSE(t < 130 * S && wr_io_wants_rates(&s, &f, t));
		t += S;
	}
	EXPECT_GE(t, 130 * S);
	EXPECT_EQ(s.now, WR_IO_FROM_CACHE);
}

TEST(what_the_host_asks_for_is_done_at_once)
{
	struct wr_io_standing s = {.now = WR_IO_FROM_CACHE};
	struct wr_io_facts f = warm();
	char why[WR_IO_CHOICE_BYTES];

	f.mode = WEIR_IO_CACHE_NEVER;
	EXPECT_TRUE(wr_io_choose_again(&s, &f, S, why));
	EXPECT_STREQ(why, "direct: asked for");
	EXPECT_FALSE(wr_io_choose_again(&s, &f, 2 * S, why));
	f.mode = WEIR_IO_CACHE_ALWAYS;
	f.stall_permyriad = 5000;
	EXPECT_TRUE(wr_io_choose_again(&s, &f, 3 * S, why));
	EXPECT_EQ(s.now, WR_IO_THROUGH);
	EXPECT_FALSE(wr_io_choose_again(&s, &f, 4 * S, why));
}

/* ---- memory as files tell of it ---- */

/* clang-format off */
FIXTURE(made_up) {
	char root[64];
};
/* clang-format on */

static void put(const char *root, const char *path, const char *text)
{
	char full[256];
	FILE *f;

	snprintf(full, sizeof(full), "%s%s", root, path);
	for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		(void)mkdir(full, 0700);
		*p = '/';
	}
	f = fopen(full, "w");
	if (!f)
		abort();
	fputs(text, f);
	fclose(f);
}

static void machine(const char *root, unsigned int available_mib, const char *psi)
{
	char text[128];

	snprintf(text, sizeof(text), "MemTotal: %u kB\nMemFree: 1 kB\nMemAvailable: %u kB\n",
		 24u << 20, available_mib << 10);
	put(root, "/proc/meminfo", text);
	snprintf(text, sizeof(text), "some avg10=%s avg60=0.00 avg300=0.00 total=1\n", psi);
	put(root, "/proc/pressure/memory", text);
	put(root, "/proc/vmstat", "nr_free_pages 1\nworkingset_refault_file 100\n");
	put(root, "/proc/self/cgroup", "0::/\n");
}

FIXTURE_SETUP(made_up)
{
	snprintf(self->root, sizeof(self->root), "/tmp/weir-review-XXXXXX");
	ASSERT_NE(mkdtemp(self->root), NULL);
	machine(self->root, 16384, "0.12");
}

static void remove_all(const char *root)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -r %s", root);
	if (system(command))
		abort();
}

FIXTURE_TEARDOWN(made_up)
{
	remove_all(self->root);
}

static struct wr_io_facts facts_of(const char *root)
{
	struct wr_io_refaults since = {0};
	struct wr_io_facts f = {0};

	wr_io_measure_system(root, &since, &f);
	return f;
}

TEST_F(made_up, a_machine_without_limits_is_what_it_says)
{
	struct wr_io_facts f = facts_of(self->root);

	EXPECT_EQ(f.spare_bytes, 16384 * MIB);
	EXPECT_EQ(f.total_bytes, (uint64_t)24 << 30);
	EXPECT_EQ(f.stall_permyriad, 12u);
}

TEST_F(made_up, a_cgroup_of_version_2_has_what_is_left_of_its_limit)
{
	struct wr_io_facts f;

	put(self->root, "/proc/self/cgroup", "0::/a/b\n");
	put(self->root, "/sys/fs/cgroup/a/b/memory.max", "1073741824\n");
	put(self->root, "/sys/fs/cgroup/a/b/memory.current", "1000000000\n");
	put(self->root, "/sys/fs/cgroup/a/b/memory.stat",
	    "anon 5\ninactive_file 1000\nactive_file 24\n");
	put(self->root, "/sys/fs/cgroup/a/b/memory.pressure", "some avg10=7.50 avg60=0\n");
	f = facts_of(self->root);
	EXPECT_EQ(f.spare_bytes, 73741824u + 1024u);
	EXPECT_EQ(f.total_bytes, 1073741824u);
	EXPECT_EQ(f.stall_permyriad, 750u);
}

TEST_F(made_up, the_tightest_of_those_above_counts)
{
	struct wr_io_facts f;

	put(self->root, "/proc/self/cgroup", "0::/a/b\n");
	put(self->root, "/sys/fs/cgroup/a/b/memory.max", "max\n");
	put(self->root, "/sys/fs/cgroup/a/b/memory.current", "5\n");
	put(self->root, "/sys/fs/cgroup/a/memory.max", "2147483648\n");
	put(self->root, "/sys/fs/cgroup/a/memory.current", "2147483648\n");
	f = facts_of(self->root);
	EXPECT_EQ(f.spare_bytes, 0u);
	EXPECT_EQ(f.total_bytes, 2147483648u);
}

TEST_F(made_up, version_1_keeps_memory_where_it_names_it)
{
	struct wr_io_facts f;

	put(self->root, "/proc/self/cgroup", "5:cpu:/x\n4:memory:/x/y\n0::/\n");
	put(self->root, "/sys/fs/cgroup/memory/x/y/memory.limit_in_bytes", "536870912\n");
	put(self->root, "/sys/fs/cgroup/memory/x/y/memory.usage_in_bytes", "36870912\n");
	put(self->root, "/sys/fs/cgroup/memory/x/y/memory.stat",
	    "inactive_file 7\ntotal_inactive_file 4096\ntotal_active_file 4096\n");
	put(self->root, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
	f = facts_of(self->root);
	EXPECT_EQ(f.spare_bytes, 500000000u + 8192u);
	EXPECT_EQ(f.total_bytes, 536870912u);
}

TEST_F(made_up, in_a_container_what_is_mounted_counts)
{
	struct wr_io_facts f;

	put(self->root, "/proc/self/cgroup", "4:memory:/docker/0123\n");
	put(self->root, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n");
	put(self->root, "/sys/fs/cgroup/memory/memory.usage_in_bytes", "436870912\n");
	f = facts_of(self->root);
	EXPECT_EQ(f.spare_bytes, 100000000u);
}

TEST_F(made_up, nothing_that_can_be_read_is_nothing_known)
{
	struct wr_io_facts f = facts_of("/nowhere");

	EXPECT_EQ(f.spare_bytes + f.total_bytes + f.stall_permyriad + f.refault_bps, 0u);
}

/* ---- files that are open ---- */

/* clang-format off */
FIXTURE(live) {
	char path[4096], root[64];
	struct weir_io *io;
	struct weir_io_file *file;
	char *mem;
};
FIXTURE_VARIANT(live) {
	uint32_t backend;
};
FIXTURE_VARIANT_ADD(live, ring) { .backend = WEIR_IO_URING };
FIXTURE_VARIANT_ADD(live, threads) { .backend = WEIR_IO_PREAD };
/* clang-format on */

FIXTURE_SETUP(live)
{
	struct weir_io_opts opts = {.size = sizeof(opts), .page_cache = WEIR_IO_CACHE_SPARE};
	struct weir_error err;

	io_scratch_path(self->path, sizeof(self->path), false, "review");
	ASSERT_EQ(io_file_make(self->path, FILE_BYTES), 0);
	snprintf(self->root, sizeof(self->root), "/tmp/weir-review-XXXXXX");
	ASSERT_NE(mkdtemp(self->root), NULL);
	machine(self->root, 16384, "0.00");
	opts.backend = variant->backend;
	IO_OR_SKIP(weir_io_open(&opts, &self->io, &err), self->path, err);
	self->io->by_name = false; /* as if each were the best there is */
	wr_io_set_root(self->io, self->root);
	self->mem = io_buffer(MIB);
}

FIXTURE_TEARDOWN(live)
{
	weir_io_file_close(self->file);
	weir_io_close(self->io);
	io_buffer_free(self->mem, MIB);
	unlink(self->path);
	remove_all(self->root);
}

/* Whether the bytes are right; meanwhile it is looked again. */
static bool read_and_look(struct weir_io *io, struct weir_io_file *file, char *mem)
{
	void *data = NULL;

	wr_io_review_soon(io);
	for (uint64_t at = 100; at + MIB / 2 < FILE_BYTES; at += MIB)
		if (io_read_now(io, file, at, MIB / 2, mem, MIB, &data) ||
		    io_first_wrong(data, at, MIB / 2) != at + MIB / 2)
			return false;
	return true;
}

/* Until it has been looked so many times more. */
static bool look_again(struct weir_io *io, struct weir_io_file *file, char *mem, uint64_t times)
{
	struct weir_io_stats stats;
	uint64_t before;

	weir_io_stats(io, &stats);
	before = stats.nr_looks;
	for (int i = 0; i < 1000; i++) {
		if (!read_and_look(io, file, mem))
			return false;
		weir_io_stats(io, &stats);
		if (stats.nr_looks >= before + times)
			return true;
	}
	return false;
}

static bool is_direct(struct weir_io_file *file)
{
	struct weir_io_file_info info;

	weir_io_file_info(file, &info);
	return info.direct;
}

TEST_F(live, a_file_follows_memory_that_gets_short_and_comes_back_no_sooner_than_it_should)
{
	struct weir_io_stats stats;
	const char *first;

	ASSERT_EQ(weir_io_file_open(self->io, self->path, &self->file, NULL), 0);
	ASSERT_FALSE(is_direct(self->file));
	first = weir_io_file_reason(self->file);
	EXPECT_EQ(strncmp(first, "page cache: ", 12), 0);
	EXPECT_TRUE(look_again(self->io, self->file, self->mem, 3));
	EXPECT_FALSE(is_direct(self->file));
	machine(self->root, 16384, "33.00");
	EXPECT_TRUE(look_again(self->io, self->file, self->mem, 1));
	EXPECT_TRUE(is_direct(self->file));
	EXPECT_NE(strstr(weir_io_file_reason(self->file), "33.0 %"), NULL);
	/* What somebody still reads stays what it was. */
	EXPECT_EQ(strncmp(first, "page cache: ", 12), 0);
	machine(self->root, 16384, "0.00");
	EXPECT_TRUE(look_again(self->io, self->file, self->mem, 5));
	EXPECT_TRUE(is_direct(self->file));
	weir_io_stats(self->io, &stats);
	EXPECT_EQ(stats.nr_turned, 1u);
}

TEST_F(live, a_small_cgroup_is_no_room_for_a_page_cache)
{
	ASSERT_EQ(weir_io_file_open(self->io, self->path, &self->file, NULL), 0);
	ASSERT_FALSE(is_direct(self->file));
	put(self->root, "/proc/self/cgroup", "0::/small\n");
	put(self->root, "/sys/fs/cgroup/small/memory.max", "104857600\n");
	put(self->root, "/sys/fs/cgroup/small/memory.current", "104857600\n");
	EXPECT_TRUE(look_again(self->io, self->file, self->mem, 3));
	/* What is in the page cache by now may be used from there; more is not put there. */
	EXPECT_TRUE(is_direct(self->file) || self->file->standing.now == WR_IO_FROM_CACHE);
	EXPECT_NE(self->file->standing.now, WR_IO_THROUGH);
}

TEST_F(live, what_the_host_asks_for_open_files_follow_both_ways)
{
	ASSERT_EQ(weir_io_set_page_cache(self->io, WEIR_IO_CACHE_NEVER), 0);
	ASSERT_EQ(weir_io_file_open(self->io, self->path, &self->file, NULL), 0);
	ASSERT_TRUE(is_direct(self->file));
	for (int i = 0; i < 6; i++) {
		uint32_t mode = i % 2 ? WEIR_IO_CACHE_NEVER : WEIR_IO_CACHE_ALWAYS;

		ASSERT_EQ(weir_io_set_page_cache(self->io, mode), 0);
		ASSERT_TRUE(look_again(self->io, self->file, self->mem, 1));
		EXPECT_EQ(is_direct(self->file), i % 2);
		EXPECT_TRUE(read_and_look(self->io, self->file, self->mem));
	}
}

TEST_F(live, what_is_under_way_ends_as_it_began)
{
	struct io_gate gate;
	struct wr_io_fault fault = {.filter = io_gate_filter, .arg = &gate};
	struct weir_io_req req;
	struct io_wait wait;
	char *mem = io_buffer(2 * MIB);

	io_gate_init(&gate, false);
	wr_io_set_fault(self->io, &fault);
	ASSERT_EQ(weir_io_set_page_cache(self->io, WEIR_IO_CACHE_NEVER), 0);
	ASSERT_EQ(weir_io_file_open(self->io, self->path, &self->file, NULL), 0);
	gate.shut = true;
	io_wait_init(&wait);
	req = io_request(self->file, 5, MIB, mem, 2 * MIB, WEIR_IO_DEMAND, &wait);
	ASSERT_EQ(weir_io_read(self->io, &req, NULL), 0);
	io_gate_await(&gate, 1);
	ASSERT_EQ(weir_io_set_page_cache(self->io, WEIR_IO_CACHE_ALWAYS), 0);
	/* The ring's thread is held up: it is we who look. */
	wr_io_review_soon(self->io);
	wr_io_review(self->io, UINT64_MAX / 2, true);
	EXPECT_FALSE(is_direct(self->file));
	io_gate_open(&gate);
	EXPECT_EQ(io_wait_for(&wait), 0);
	EXPECT_EQ(io_first_wrong(wait.data, 5, MIB), 5 + MIB);
	io_buffer_free(mem, 2 * MIB);
}

TEST_F(live, a_path_that_is_another_file_by_now_leaves_it_as_it_is)
{
	ASSERT_EQ(weir_io_set_page_cache(self->io, WEIR_IO_CACHE_NEVER), 0);
	ASSERT_EQ(weir_io_file_open(self->io, self->path, &self->file, NULL), 0);
	unlink(self->path);
	ASSERT_EQ(weir_io_set_page_cache(self->io, WEIR_IO_CACHE_ALWAYS), 0);
	EXPECT_TRUE(look_again(self->io, self->file, self->mem, 2));
	EXPECT_TRUE(is_direct(self->file));
}

TEST_HARNESS_MAIN
