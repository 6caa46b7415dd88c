/* SPDX-License-Identifier: MIT */
/*
 * Probe sites: a tracer finds and counts them, nothing is done while nobody looks, and a hit leaves
 * alone what a leaf function keeps below the stack pointer.
 */
#include <errno.h>
#include <string.h>

#include "kselftest_harness.h"

#include "base/probe.h"
#include "base/probe_notes.h"
#include "lock/lock.h"
#include "lock/timing.h"

WR_PROBE_DECLARE(canary);
WR_PROBE_DEFINE(canary);

#if WR_PROBES && defined(__x86_64__)

/* Around @at: data 8 and 16 bytes below the stack pointer, and afterwards what became of it. */
#define WITH_RED_ZONE(at)                                            \
	"movq -8(%%rsp), %%r8\n"                                     \
	"movq -16(%%rsp), %%r9\n"                                    \
	"movq %[value], -8(%%rsp)\n"                                 \
	"movq %[value], -16(%%rsp)\n" at "movq -8(%%rsp), %[near]\n" \
	"movq -16(%%rsp), %[far]\n"                                  \
	"movq %%r8, -8(%%rsp)\n"                                     \
	"movq %%r9, -16(%%rsp)\n"

#define RUN_WITH_RED_ZONE(at, value_, near_, far_)                \
	__asm__ volatile(WITH_RED_ZONE(at)                        \
			 : [near] "=&r"(near_), [far] "=&r"(far_) \
			 : [value] "r"(value_)                    \
			 : "r8", "r9", "memory")

__attribute__((noinline)) static bool site_keeps_red_zone(uint64_t value)
{
	uint64_t near, far;

	RUN_WITH_RED_ZONE(WR_PROBE_SITE(canary, "8@%[value]"), value, near, far);
	return near == value && far == value;
}

/* What a kernel makes of a nop of five bytes. */
__attribute__((noinline)) static bool call_keeps_red_zone(uint64_t value)
{
	uint64_t near, far;

	RUN_WITH_RED_ZONE("call 1f\njmp 2f\n1: ret\n2:\n", value, near, far);
	return near == value && far == value;
}

TEST(the_canary_sees_a_call)
{
	EXPECT_FALSE(call_keeps_red_zone(0x1122334455667788));
	EXPECT_TRUE(site_keeps_red_zone(0x1122334455667788));
}
#else
static bool site_keeps_red_zone(uint64_t value)
{
	wr_probe2(canary, value, value);
	return true;
}
#endif

static int attach(const char *name, unsigned nr_wanted)
{
	struct probe_site sites[PROBE_MAX_SITES];
	unsigned nr = probe_find(name, sites);

	return nr == nr_wanted ? probe_attach(&sites[0]) : -ENOEXEC;
}

static unsigned nr_of(const char *text, char c)
{
	unsigned nr = 0;

	for (; *text != '\0'; text++)
		nr += *text == c;
	return nr;
}

TEST(sites_are_described_in_the_file)
{
	struct probe_site sites[PROBE_MAX_SITES];

	if (!WR_PROBES)
		SKIP(return, "probe sites for this machine type");
	ASSERT_EQ(probe_find("canary", sites), 1u);
	EXPECT_NE(sites[0].offset, 0u);
	EXPECT_NE(sites[0].semaphore_offset, 0u);
	ASSERT_EQ(probe_find("lock_release", sites), 1u);
	EXPECT_EQ(nr_of(sites[0].args, '@'), 3u);
	ASSERT_EQ(probe_find("lock_contended", sites), 1u);
	EXPECT_EQ(nr_of(sites[0].args, '@'), 2u);
	EXPECT_EQ(probe_find("no_such_probe", sites), 0u);
}

TEST(an_attached_site_counts_and_leaves_the_red_zone_alone)
{
	int fd = attach("canary", 1);
	unsigned nr_kept = 0;

	if (fd == -ENOENT || fd == -EACCES || fd == -EPERM)
		SKIP(return, "permission for uprobes: root, and a kernel with them");
	ASSERT_GE(fd, 0);
	EXPECT_TRUE(wr_probe_enabled(canary));
	for (uint64_t i = 0; i < 1000; i++)
		nr_kept += site_keeps_red_zone(0x0123456789abcdef * (i + 1));
	EXPECT_EQ(nr_kept, 1000u);
	EXPECT_EQ(probe_hits(fd), 1000u);
	close(fd);
	EXPECT_FALSE(wr_probe_enabled(canary));
}

TEST(a_tracer_sees_releases_without_lock_timing_and_none_when_it_is_gone)
{
	enum { ROUNDS = 64000 };
	struct wr_mutex m;
	uint64_t hits;
	int fd = attach("lock_release", 1);

	if (fd == -ENOENT || fd == -EACCES || fd == -EPERM)
		SKIP(return, "permission for uprobes: root, and a kernel with them");
	ASSERT_GE(fd, 0);
	wr_mutex_init(&m, WR_RANK_LOAD, "traced");
	for (int i = 0; i < ROUNDS; i++) {
		wr_mutex_lock(&m);
		wr_mutex_unlock(&m);
	}
	/* One in 64; of 1000 samples, within a fifth. */
	hits = probe_hits(fd);
	EXPECT_GT(hits, ROUNDS / WEIR_LOCK_SAMPLE_EVERY * 4 / 5);
	EXPECT_LT(hits, ROUNDS / WEIR_LOCK_SAMPLE_EVERY * 6 / 5);
	ASSERT_EQ(weir_lock_trace_start(1), 0);
	for (int i = 0; i < 1000; i++) {
		wr_mutex_lock(&m);
		wr_mutex_unlock(&m);
	}
	EXPECT_EQ(probe_hits(fd), hits + 1000);
	weir_lock_trace_stop();
	close(fd);
	EXPECT_FALSE(wr_probe_enabled(lock_release));
	m.lock.sample_in = 0;
	for (int i = 0; i < ROUNDS; i++) {
		wr_mutex_lock(&m);
		EXPECT_EQ(m.lock.since_ns, 0u);
		wr_mutex_unlock(&m);
	}
	wr_mutex_fini(&m);
}

TEST_HARNESS_MAIN
