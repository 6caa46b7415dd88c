/* SPDX-License-Identifier: MIT */
/*
 * The machine we run on, through libnuma and /proc. Of libnuma only functions that do
 * not write to stderr are used. Where the kernel has no NUMA support there are no
 * nodes: one arena, no binding, and -1 wherever a node is named.
 */
#include <numa.h>
#include <pthread.h>
#include <sched.h>

#include "base/util.h"
#include "pool/procfile.h"
#include "pool/provider_real.h"

#define MAX_CPUS 4096

/* [const] after fill_topology() ran once. */
static struct {
	pthread_once_t once;
	uint64_t nodes;
	int16_t node_of_cpu[MAX_CPUS];
} topology = {.once = PTHREAD_ONCE_INIT};

static void fill_topology(void)
{
	struct bitmask *allowed;
	int cpu, node;

	for (cpu = 0; cpu < MAX_CPUS; cpu++)
		topology.node_of_cpu[cpu] = -1;
	if (numa_available() < 0)
		return;
	allowed = numa_get_mems_allowed();
	for (node = 0; allowed && node < WR_POOL_MAX_NODES; node++)
		if (numa_bitmask_isbitset(allowed, (unsigned)node) &&
		    numa_node_size64(node, NULL) > 0)
			topology.nodes |= 1ull << node;
	numa_bitmask_free(allowed);
	for (cpu = 0; cpu < wr_min(numa_num_possible_cpus(), MAX_CPUS); cpu++)
		topology.node_of_cpu[cpu] = (int16_t)numa_node_of_cpu(cpu);
}

static uint64_t real_nodes(void *arg)
{
	(void)arg;
	return topology.nodes;
}

static int node_of_cpu(int cpu)
{
	return cpu >= 0 && cpu < MAX_CPUS ? topology.node_of_cpu[cpu] : -1;
}

static int real_current_node(void *arg)
{
	(void)arg;
	return node_of_cpu(sched_getcpu());
}

/* The processors that this thread may use on a node; all of them for -1. */
static int allowed_cpus(int node, cpu_set_t *ret)
{
	cpu_set_t mine;
	int cpu;

	CPU_ZERO(ret);
	if (sched_getaffinity(0, sizeof(mine), &mine) != 0)
		return 0;
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &mine) && (node < 0 || node_of_cpu(cpu) == node))
			CPU_SET(cpu, ret);
	return CPU_COUNT(ret);
}

static size_t real_nr_cpus(void *arg, int node)
{
	cpu_set_t set;
	int n = allowed_cpus(node, &set);

	(void)arg;
	return n > 0 ? (size_t)n : 1;
}

/* A node without processors that we may use is touched from wherever we are. */
static void real_run_on(void *arg, int node)
{
	cpu_set_t set;

	(void)arg;
	if (allowed_cpus(node, &set) > 0)
		(void)sched_setaffinity(0, sizeof(set), &set);
}

static int real_distance(void *arg, int from, int to)
{
	int d = from >= 0 && to >= 0 ? numa_distance(from, to) : 0;

	(void)arg;
	return d > 0 ? d : 10;
}

/* Free memory of a node and what the kernel gives up for it without swapping. */
static uint64_t node_available(int node)
{
	static const char *const labels[] = {
		"MemFree:", "Active(file):", "Inactive(file):", "SReclaimable:"};
	uint64_t sum = 0;
	uint64_t kib;
	char text[4096];
	size_t i;

	if (wr_procfile_text(text, sizeof(text), "/sys/devices/system/node/node%d/meminfo", node))
		return UINT64_MAX;
	for (i = 0; i < wr_array_size(labels); i++)
		if (wr_procfile_field(text, labels[i], &kib) == 0)
			sum += kib * WR_POOL_KIB;
	return sum;
}

static uint64_t real_available(void *arg, int node)
{
	char text[4096];
	uint64_t kib;

	(void)arg;
	if (node >= 0)
		return node_available(node);
	if (wr_procfile_text(text, sizeof(text), "/proc/meminfo") ||
	    wr_procfile_field(text, "MemAvailable:", &kib))
		return UINT64_MAX;
	return kib * WR_POOL_KIB;
}

static struct wr_pool_system real_system = {
	.nodes = real_nodes,
	.nr_cpus = real_nr_cpus,
	.run_on = real_run_on,
	.current_node = real_current_node,
	.distance = real_distance,
	.available = real_available,
	.get_range = wr_real_get_range,
	.put_range = wr_real_put_range,
};

/* [const] after fill_system() ran once. */
static struct wr_pool_system shared_system;

static void fill_system(void)
{
	int kind;

	fill_topology();
	shared_system = real_system;
	for (kind = 0; kind < WEIR_PAGE_KINDS; kind++) {
		real_system.kinds[kind] = wr_pool_provider_real(kind);
		shared_system.kinds[kind] = wr_pool_provider_memfd(kind);
	}
}

const struct wr_pool_system *wr_pool_system_real(void)
{
	pthread_once(&topology.once, fill_system);
	return &real_system;
}

const struct wr_pool_system *wr_pool_system_shared(void)
{
	pthread_once(&topology.once, fill_system);
	return &shared_system;
}
