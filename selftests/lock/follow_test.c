/* SPDX-License-Identifier: MIT */
/*
 * Lock times go into the maps of a trace that is pinned, and back, and nothing is lost on the way.
 * Each test has a BPF file system of its own, and makes the maps as a trace does.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <weir/lock_trace.h>

#include "base/atomic.h"
#include "base/process.h"
#include "harness/skip.h"
#include "lock/lock.h"
#include "trace/pinned_host.h"

#if defined(__clang__)
#pragma clang diagnostic ignored "-Wthread-safety-analysis"
#endif

static const struct {
	const char *name;
	uint32_t value_bytes, nr;
} tables[] = {
	{"lock_ranks", sizeof(struct weir_lock_rank), WEIR_LOCK_RANKS},
	{"lock_self", sizeof(struct weir_lock_self), WEIR_LOCK_SLOTS},
	{"lock_meta", sizeof(struct weir_lock_meta), 1},
};

static int bpf(int command, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static int make_map(uint32_t value_bytes, uint32_t nr)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_ARRAY;
	attr.key_size = 4;
	attr.value_size = value_bytes;
	attr.max_entries = nr;
	attr.map_flags = BPF_F_MMAPABLE;
	return bpf(BPF_MAP_CREATE, &attr);
}

static int set_meta(int fd, uint64_t start_ticks)
{
	struct weir_lock_meta meta = {.tgid = (uint32_t)getpid(), .start_ticks = start_ticks};
	union bpf_attr attr;
	uint32_t zero = 0;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)fd;
	attr.key = (uintptr_t)&zero;
	attr.value = (uintptr_t)&meta;
	return bpf(BPF_MAP_UPDATE_ELEM, &attr);
}

static void folder(char ret[static 64])
{
	snprintf(ret, 64, WEIR_TRACE_PIN_DIR "/%d", (int)getpid());
}

/* As a trace of the process that began at @start_ticks. */
static bool pin(uint64_t start_ticks, uint32_t slot_bytes)
{
	char dir[64], path[128];
	bool done = true;

	folder(dir);
	if (mkdir(dir, 0700) != 0)
		return false;
	for (size_t i = 0; done && i < 3; i++) {
		union bpf_attr attr;
		int fd = make_map(i == 1 ? slot_bytes : tables[i].value_bytes, tables[i].nr);

		snprintf(path, sizeof(path), "%s/%s", dir, tables[i].name);
		memset(&attr, 0, sizeof(attr));
		attr.pathname = (uintptr_t)path;
		attr.bpf_fd = (uint32_t)fd;
		done = fd >= 0 && (i != 2 || set_meta(fd, start_ticks) == 0) &&
		       bpf(BPF_OBJ_PIN, &attr) == 0;
		close(fd);
	}
	return done;
}

static bool pin_right(void)
{
	return pin(wr_process_start_ticks(0), sizeof(struct weir_lock_self));
}

static void unpin(void)
{
	char dir[64], path[128];

	folder(dir);
	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, tables[i].name);
		unlink(path);
	}
	rmdir(dir);
}

/* clang-format off */
FIXTURE(follow) {
	struct wr_mutex mutex;
	bool ready;
};
/* clang-format on */

FIXTURE_SETUP(follow)
{
	wr_mutex_init(&self->mutex, WR_RANK_LOAD, "a mutex");
	if (!bpf_fs_mount() || mkdir(WEIR_TRACE_PIN_DIR, 01777) != 0)
		SKIP_SETUP(NO_BPF_FS);
	if (!pin_right())
		SKIP_SETUP("BPF: root, and a kernel that maps BPF arrays");
	unpin();
	self->ready = true;
}

FIXTURE_TEARDOWN(follow)
{
	if (self->ready)
		unpin();
	weir_lock_trace_stop();
	wr_mutex_fini(&self->mutex);
}

static void hold(struct wr_mutex *m, unsigned times)
{
	while (times-- > 0) {
		wr_mutex_lock(m);
		wr_mutex_unlock(m);
	}
}

static struct weir_lock_meta meta_of(struct weir_lock_reader *r)
{
	struct weir_lock_meta meta;

	weir_lock_reader_meta(r, &meta);
	return meta;
}

/* How often the times say that it was taken; ~0: they say nothing. */
static uint64_t seen(const struct wr_mutex *m, bool *ret_in_maps)
{
	struct weir_lock_reader *reader;
	struct weir_lock_self got;
	uint64_t n = UINT64_MAX;

	if (weir_lock_reader_open(0, &reader) != 0)
		return n;
	if (weir_lock_reader_find(reader, (uintptr_t)m, &got) == 0)
		n = got.acquisitions;
	*ret_in_maps = meta_of(reader).slots_at == 0;
	weir_lock_reader_close(reader);
	return n;
}

TEST_F(follow, what_was_counted_moves_into_the_maps_and_back)
{
	struct weir_lock_reader *before;
	struct weir_lock_self got;
	bool in_maps;

	ASSERT_EQ(weir_lock_trace_start(1), 0);
	hold(&self->mutex, 3);
	ASSERT_EQ(weir_lock_reader_open(0, &before), 0);
	ASSERT_EQ(weir_lock_trace_follow(NULL), 0);
	EXPECT_EQ(meta_of(before).moved, 0u);
	ASSERT_TRUE(pin_right());
	ASSERT_EQ(weir_lock_trace_follow(NULL), 0);
	ASSERT_EQ(weir_lock_trace_follow(NULL), 0);
	EXPECT_EQ(meta_of(before).moved, 1u);
	EXPECT_EQ(meta_of(before).sample_every, 0u);
	ASSERT_EQ(weir_lock_reader_find(before, (uintptr_t)&self->mutex, &got), 0);
	EXPECT_EQ(got.acquisitions, 3u);
	weir_lock_reader_close(before);
	EXPECT_EQ(seen(&self->mutex, &in_maps), 3u);
	EXPECT_TRUE(in_maps);
	hold(&self->mutex, 2);
	ASSERT_EQ(weir_lock_reader_open(0, &before), 0);
	EXPECT_STREQ(got.name, "a mutex");
	unpin();
	ASSERT_EQ(weir_lock_trace_follow(NULL), 0);
	EXPECT_EQ(meta_of(before).moved, 1u);
	weir_lock_reader_close(before);
	EXPECT_EQ(seen(&self->mutex, &in_maps), 5u);
	EXPECT_FALSE(in_maps);
}

TEST_F(follow, another_trace_takes_over_from_one_that_was_ended)
{
	bool in_maps;

	ASSERT_TRUE(pin_right());
	/* Maps that are there when timing begins. */
	ASSERT_EQ(weir_lock_trace_start(1), 0);
	hold(&self->mutex, 3);
	EXPECT_EQ(seen(&self->mutex, &in_maps), 3u);
	EXPECT_TRUE(in_maps);
	unpin();
	ASSERT_TRUE(pin_right());
	EXPECT_EQ(seen(&self->mutex, &in_maps), UINT64_MAX);
	ASSERT_EQ(weir_lock_trace_follow(NULL), 0);
	hold(&self->mutex, 1);
	EXPECT_EQ(seen(&self->mutex, &in_maps), 4u);
	EXPECT_TRUE(in_maps);
}

TEST_F(follow, who_does_not_time_does_so_while_it_is_traced)
{
	bool in_maps;

	ASSERT_TRUE(pin_right());
	ASSERT_EQ(weir_lock_trace_follow(NULL), 0);
	hold(&self->mutex, 20 * WEIR_LOCK_SAMPLE_EVERY);
	EXPECT_GT(seen(&self->mutex, &in_maps), 0u);
	EXPECT_TRUE(in_maps);
	unpin();
	ASSERT_EQ(weir_lock_trace_follow(NULL), 0);
	EXPECT_EQ(seen(&self->mutex, &in_maps), UINT64_MAX);
	/* Who stops it in spite of a trace is left alone by that trace. */
	ASSERT_TRUE(pin_right());
	ASSERT_EQ(weir_lock_trace_follow(NULL), 0);
	weir_lock_trace_stop();
	ASSERT_EQ(weir_lock_trace_follow(NULL), 0);
	hold(&self->mutex, 20 * WEIR_LOCK_SAMPLE_EVERY);
	EXPECT_EQ(seen(&self->mutex, &in_maps), UINT64_MAX);
}

TEST_F(follow, maps_of_others_are_left_alone)
{
	char dir[64], long_name[300];
	bool in_maps;

	ASSERT_EQ(weir_lock_trace_start(1), 0);
	hold(&self->mutex, 1);
	folder(dir);
	/* Of an earlier process of this number. */
	ASSERT_TRUE(pin(wr_process_start_ticks(0) - 1, sizeof(struct weir_lock_self)));
	EXPECT_EQ(weir_lock_trace_follow(NULL), 0);
	EXPECT_EQ(seen(&self->mutex, &in_maps), 1u);
	EXPECT_FALSE(in_maps);
	unpin();
	/* Of another layout. */
	ASSERT_TRUE(pin(wr_process_start_ticks(0), 320));
	EXPECT_EQ(weir_lock_trace_follow(NULL), 0);
	EXPECT_FALSE(seen(&self->mutex, &in_maps) != 1 || in_maps);
	unpin();
	/* In the folder of another user, and one that others may write to. */
	ASSERT_TRUE(pin_right());
	ASSERT_EQ(chown(dir, 12345, 12345), 0);
	EXPECT_EQ(weir_lock_trace_follow(NULL), 0);
	EXPECT_FALSE(seen(&self->mutex, &in_maps) != 1 || in_maps);
	ASSERT_EQ(chown(dir, 0, 0), 0);
	ASSERT_EQ(chmod(dir, 0777), 0);
	EXPECT_EQ(weir_lock_trace_follow(NULL), 0);
	EXPECT_FALSE(seen(&self->mutex, &in_maps) != 1 || in_maps);
	ASSERT_EQ(chmod(dir, 0700), 0);
	/* Elsewhere, from now on. */
	EXPECT_EQ(weir_lock_trace_follow("/nowhere"), 0);
	EXPECT_EQ(weir_lock_trace_follow(NULL), 0);
	EXPECT_FALSE(seen(&self->mutex, &in_maps) != 1 || in_maps);
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	EXPECT_EQ(weir_lock_trace_follow(long_name), -ENAMETOOLONG);
	EXPECT_EQ(weir_lock_trace_follow(WEIR_TRACE_PIN_DIR), 0);
	EXPECT_EQ(seen(&self->mutex, &in_maps), 1u);
	EXPECT_TRUE(in_maps);
}

enum { NR_THREADS = 3, NR_ROUNDS = 20000, NR_MUTEXES = 40 };

struct fight {
	struct wr_mutex mutex[NR_MUTEXES];
};

/* Common locks, and locks of its own that come and go, each with a slot to find and to give back. */
static void *take_all(void *arg)
{
	struct fight *f = arg;

	for (unsigned i = 0; i < NR_ROUNDS; i++) {
		struct wr_mutex own;

		hold(&f->mutex[i % NR_MUTEXES], 1);
		if (i % 16 != 0)
			continue;
		wr_mutex_init(&own, WR_RANK_POOL, "short-lived");
		hold(&own, 2);
		wr_mutex_fini(&own);
	}
	return NULL;
}

TEST_F(follow, no_take_is_lost_while_threads_fight_and_the_tables_move)
{
	static struct fight fight;
	pthread_t thread[NR_THREADS];
	struct weir_lock_reader *reader;
	struct weir_lock_self got;
	struct weir_lock_rank rank;
	struct weir_lock_meta meta;
	uint64_t takes = 0, counted;

	for (int i = 0; i < NR_MUTEXES; i++)
		wr_mutex_init(&fight.mutex[i], WR_RANK_LOAD, "fought for");
	ASSERT_EQ(weir_lock_trace_start(1), 0);
	for (int i = 0; i < NR_THREADS; i++)
		ASSERT_EQ(pthread_create(&thread[i], NULL, take_all, &fight), 0);
	for (int i = 0; i < 30; i++) {
		if (i % 2 != 0)
			unpin();
		ASSERT_TRUE(i % 2 != 0 || pin_right());
		ASSERT_EQ(weir_lock_trace_follow(NULL), 0);
		usleep(2000);
	}
	for (int i = 0; i < NR_THREADS; i++)
		pthread_join(thread[i], NULL);
	ASSERT_EQ(weir_lock_reader_open(0, &reader), 0);
	for (int i = 0; i < NR_MUTEXES; i++) {
		ASSERT_EQ(weir_lock_reader_find(reader, (uintptr_t)&fight.mutex[i], &got), 0);
		takes += got.acquisitions;
		EXPECT_EQ(got.sampled + got.contended, got.acquisitions);
		counted = 0;
		for (unsigned k = 0; k < WEIR_LOCK_BUCKETS; k++)
			counted += got.hold_log2_ns[k];
		EXPECT_EQ(counted, got.acquisitions);
	}
	/* A take with rate 1 is each timed, but for the first of a lock, which starts the countdown. */
	EXPECT_EQ(takes, (uint64_t)NR_THREADS * NR_ROUNDS);
	ASSERT_EQ(weir_lock_reader_rank(reader, WR_RANK_POOL, &rank), 0);
	EXPECT_EQ(rank.nr_ended, NR_THREADS * NR_ROUNDS / 16u);
	EXPECT_EQ(rank.acquisitions, 2ull * NR_THREADS * NR_ROUNDS / 16);
	weir_lock_reader_meta(reader, &meta);
	EXPECT_EQ(meta.nr_dropped, 0u);
	weir_lock_reader_close(reader);
	for (int i = 0; i < NR_MUTEXES; i++)
		wr_mutex_fini(&fight.mutex[i]);
}

TEST_HARNESS_MAIN
