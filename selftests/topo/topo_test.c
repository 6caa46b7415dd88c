/* SPDX-License-Identifier: MIT */
/* What is read of described, recorded and present machines, and binding to the present one. */
#include <errno.h>
#include <hwloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <weir/topo.h>

#include "base/util.h"

static int open_text(const char *text, struct weir_topo **ret, struct weir_error *err)
{
	struct weir_topo_opts opts = {.size = sizeof(opts), .synthetic = text};

	return weir_topo_open(&opts, ret, err);
}

static int open_file(const char *path, struct weir_topo **ret, struct weir_error *err)
{
	struct weir_topo_opts opts = {.size = sizeof(opts), .xml_path = path};

	return weir_topo_open(&opts, ret, err);
}

TEST(a_described_machine_is_counted)
{
	struct weir_topo_counts counts;
	struct weir_topo *topo;

	ASSERT_EQ(open_text("pack:1 l3:1(size=6MB) core:4 pu:2", &topo, NULL), 0);
	weir_topo_counts(topo, &counts);
	EXPECT_EQ(counts.nr_packages, 1u);
	EXPECT_EQ(counts.nr_cores, 4u);
	EXPECT_EQ(counts.nr_cpus, 8u);
	EXPECT_EQ(counts.nr_nodes, 1u);
	EXPECT_EQ(counts.nr_l3, 1u);
	/* hwloc's MB is 10^6; MiB is 2^20. */
	EXPECT_EQ(counts.l3_bytes, 6000000u);
	EXPECT_EQ(counts.nr_l2, 0u);
	EXPECT_EQ(counts.l2_bytes, 0u);
	weir_topo_close(topo);
}

TEST(siblings_cores_packages_and_nodes_are_told_apart)
{
	struct weir_topo_counts counts;
	struct weir_topo_cpu cpu;
	struct weir_topo_node node;
	struct weir_topo *topo;
	uint32_t number = 99;

	ASSERT_EQ(open_text("pack:2 node:2(memory=8GiB) core:8 pu:2", &topo, NULL), 0);
	weir_topo_counts(topo, &counts);
	EXPECT_EQ(counts.nr_packages, 2u);
	EXPECT_EQ(counts.nr_nodes, 4u);
	EXPECT_EQ(counts.nr_cores, 32u);
	EXPECT_EQ(counts.nr_cpus, 64u);
	for (uint32_t i = 0; i < 64; i++) {
		ASSERT_EQ(weir_topo_cpu_at(topo, i, &cpu), 0);
		EXPECT_EQ(cpu.cpu, i);
		EXPECT_EQ(cpu.core, i / 2);
		EXPECT_EQ(cpu.sibling, i % 2);
		EXPECT_EQ(cpu.node, i / 16);
		EXPECT_EQ(cpu.package, i / 32);
		EXPECT_EQ(cpu.strength, 0u);
	}
	for (uint32_t i = 0; i < 4; i++) {
		ASSERT_EQ(weir_topo_node_at(topo, i, &node), 0);
		EXPECT_EQ(node.node, i);
		EXPECT_EQ(node.nr_cpus, 16u);
		EXPECT_EQ(node.memory_bytes, UINT64_C(8) << 30);
	}
	ASSERT_EQ(weir_topo_node_of(topo, 40, &number), 0);
	EXPECT_EQ(number, 2u);
	EXPECT_EQ(weir_topo_node_of(topo, 64, &number), -ENODEV);
	EXPECT_EQ(weir_topo_cpu_at(topo, 64, &cpu), -ENODEV);
	EXPECT_EQ(weir_topo_node_at(topo, 4, &node), -ENODEV);
	EXPECT_EQ(number, 2u);
	weir_topo_close(topo);
	weir_topo_close(NULL);
}

TEST(a_machine_without_cores_has_one_per_hardware_thread)
{
	struct weir_topo_counts counts;
	struct weir_topo *topo;

	ASSERT_EQ(open_text("pu:3", &topo, NULL), 0);
	weir_topo_counts(topo, &counts);
	EXPECT_EQ(counts.nr_cores, 3u);
	EXPECT_EQ(counts.nr_cpus, 3u);
	EXPECT_EQ(counts.nr_packages, 1u);
	EXPECT_EQ(counts.nr_nodes, 1u);
	weir_topo_close(topo);
}

/* A file as hwloc writes it for a machine of two kinds of cores. */
static bool write_hybrid(const char *path)
{
	hwloc_topology_t hw;
	hwloc_bitmap_t strong = hwloc_bitmap_alloc(), weak = hwloc_bitmap_alloc();
	bool ok;

	if (hwloc_topology_init(&hw) != 0)
		return false;
	/* Processors 0-1 are the weak cores. */
	ok = hwloc_topology_set_synthetic(hw, "pack:1 l2:4(size=1MiB) core:1 pu:1") == 0 &&
	     hwloc_topology_load(hw) == 0;
	hwloc_bitmap_set_range(weak, 0, 1);
	hwloc_bitmap_set_range(strong, 2, 3);
	ok = ok && hwloc_cpukinds_register(hw, weak, 0, 0, NULL, 0) == 0 &&
	     hwloc_cpukinds_register(hw, strong, 1, 0, NULL, 0) == 0 &&
	     hwloc_topology_export_xml(hw, path, 0) == 0;
	hwloc_topology_destroy(hw);
	hwloc_bitmap_free(strong);
	hwloc_bitmap_free(weak);
	return ok;
}

TEST(a_recorded_machine_with_two_kinds_of_cores_computes_on_the_strong_first)
{
	char path[] = "/tmp/weir-topo-XXXXXX", text[256];
	struct weir_placement_opts want = {.size = sizeof(want), .nr_compute = 2};
	struct weir_topo_counts counts;
	struct weir_topo_cpu cpu;
	struct weir_topo *topo;
	struct weir_placement *plan;
	struct weir_error err;
	int fd = mkstemp(path);

	ASSERT_GE(fd, 0);
	close(fd);
	ASSERT_TRUE(write_hybrid(path));
	EXPECT_EQ(open_file(path, &topo, &err), 0)
	{
		TH_LOG("%s", err.message);
	}
	unlink(path);
	weir_topo_counts(topo, &counts);
	EXPECT_EQ(counts.nr_l2, 4u);
	EXPECT_EQ(counts.l2_bytes, 1u << 20);
	ASSERT_EQ(weir_topo_cpu_at(topo, 0, &cpu), 0);
	EXPECT_EQ(cpu.strength, 0u);
	ASSERT_EQ(weir_topo_cpu_at(topo, 2, &cpu), 0);
	EXPECT_EQ(cpu.strength, 1u);
	ASSERT_EQ(weir_placement_open(topo, &want, &plan), 0);
	weir_placement_text(plan, text, sizeof(text));
	EXPECT_STREQ(text, "compute:    2 3\nio:         0\nbackground: 1\n");
	weir_placement_close(plan);
	weir_topo_close(topo);
}

static void write_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	if (file == NULL)
		abort();
	fputs(text, file);
	fclose(file);
}

TEST(what_is_no_topology_is_refused_with_the_reason)
{
	char folder[] = "/tmp/weir-topo-XXXXXX", path[64];
	struct weir_topo_opts both = {.size = sizeof(both), .synthetic = "pu:1", .xml_path = "x"};
	struct weir_topo *topo = NULL;
	struct weir_error err;

	ASSERT_NE(mkdtemp(folder), NULL);
	snprintf(path, sizeof(path), "%s/x", folder);
	EXPECT_EQ(weir_topo_open(&both, &topo, &err), -EINVAL);
	EXPECT_EQ(open_text("four cores, please", &topo, &err), -EINVAL);
	EXPECT_NE(strstr(err.message, "four cores, please"), NULL);
	EXPECT_EQ(open_text("", &topo, &err), -EINVAL);
	EXPECT_EQ(open_file(path, &topo, &err), -ENOENT);
	EXPECT_STREQ(err.file, path);
	EXPECT_EQ(open_file(folder, &topo, &err), -EISDIR);
	write_text(path, "");
	EXPECT_EQ(open_file(path, &topo, &err), -EBADMSG);
	write_text(path, "not a topology");
	EXPECT_EQ(open_file(path, &topo, &err), -EBADMSG);
	write_text(path, "<?xml version=\"1.0\"?><topology version=\"2.0\"><object");
	EXPECT_EQ(open_file(path, &topo, &err), -EBADMSG);
	ASSERT_EQ(truncate(path, (64 << 20) + 1), 0);
	EXPECT_EQ(open_file(path, &topo, &err), -EFBIG);
	unlink(path);
	ASSERT_EQ(mkfifo(path, 0600), 0);
	EXPECT_EQ(open_file(path, &topo, &err), -EINVAL);
	unlink(path);
	rmdir(folder);
	EXPECT_EQ(topo, NULL);
}

static int nr_allowed(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : -1;
}

static uint32_t an_allowed_cpu(void)
{
	cpu_set_t set;
	uint32_t cpu = 0;

	CPU_ZERO(&set);
	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		abort();
	while (!CPU_ISSET(cpu, &set))
		cpu++;
	return cpu;
}

TEST(this_machine_has_what_this_thread_may_use)
{
	struct weir_topo_counts counts;
	struct weir_topo_cpu cpu;
	struct weir_topo *topo;
	struct weir_error err;
	cpu_set_t set;

	ASSERT_EQ(weir_topo_open(NULL, &topo, &err), 0)
	{
		TH_LOG("%s", err.message);
	}
	weir_topo_counts(topo, &counts);
	EXPECT_EQ((int)counts.nr_cpus, nr_allowed());
	EXPECT_GE(counts.nr_cpus, counts.nr_cores);
	EXPECT_GE(counts.nr_cores, counts.nr_packages);
	EXPECT_GE(counts.nr_nodes, 1u);
	ASSERT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
	for (uint32_t i = 0; i < counts.nr_cpus; i++) {
		ASSERT_EQ(weir_topo_cpu_at(topo, i, &cpu), 0);
		EXPECT_TRUE(CPU_ISSET(cpu.cpu, &set));
	}
	weir_topo_close(topo);
}

TEST(a_thread_with_one_processor_sees_and_plans_for_one)
{
	struct weir_topo_counts counts;
	struct weir_topo *topo;
	struct weir_placement *plan;
	uint32_t only = an_allowed_cpu(), cpu;

	ASSERT_EQ(weir_topo_bind_thread(only), 0);
	EXPECT_EQ(nr_allowed(), 1);
	ASSERT_EQ(weir_topo_open(NULL, &topo, NULL), 0);
	weir_topo_counts(topo, &counts);
	EXPECT_EQ(counts.nr_cpus, 1u);
	EXPECT_EQ(weir_topo_io_cpu(topo), only);
	ASSERT_EQ(weir_placement_open(topo, NULL, &plan), 0);
	for (int role = WEIR_ROLE_COMPUTE; role <= WEIR_ROLE_BACKGROUND; role++) {
		ASSERT_EQ(weir_placement_cpu(plan, role, 0, &cpu), 0);
		EXPECT_EQ(cpu, only);
	}
	weir_placement_close(plan);
	weir_topo_close(topo);
}

TEST(an_environment_that_describes_another_machine_is_refused)
{
	struct weir_topo *topo;
	struct weir_error err;

	ASSERT_EQ(setenv("HWLOC_SYNTHETIC", "pack:1 core:4 pu:2", 1), 0);
	EXPECT_EQ(weir_topo_open(NULL, &topo, &err), -EINVAL);
	EXPECT_NE(strstr(err.message, "HWLOC_SYNTHETIC"), NULL);
}

static void *bind_it(void *arg)
{
	int rc = weir_topo_bind_thread(*(uint32_t *)arg);

	return (void *)(intptr_t)(rc == 0 ? nr_allowed() : rc);
}

TEST(binding_moves_the_calling_thread_and_no_other)
{
	int before = nr_allowed();
	uint32_t cpu = an_allowed_cpu();
	pthread_t thread;
	void *result;

	ASSERT_EQ(pthread_create(&thread, NULL, bind_it, &cpu), 0);
	pthread_join(thread, &result);
	EXPECT_EQ((intptr_t)result, 1);
	EXPECT_EQ(nr_allowed(), before);
}

TEST(a_processor_that_is_not_there_cannot_be_bound_to)
{
	int before = nr_allowed();

	EXPECT_EQ(weir_topo_bind_thread(8191), -ENODEV);
	EXPECT_EQ(weir_topo_bind_thread(1000000), -ENODEV);
	EXPECT_EQ(weir_topo_bind_thread(UINT32_MAX), -ENODEV);
	EXPECT_EQ(nr_allowed(), before);
}

TEST_HARNESS_MAIN
