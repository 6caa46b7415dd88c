/* SPDX-License-Identifier: MIT */
/* Topologies: opening, looking, and binding the calling thread. */
#include <weir/topo.h>

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "lock/lock.h"
#include "topo/machine.h"

/* Far above what Linux can be built for. */
#define MAX_CPU (1u << 20)

static int set_io_cpu(struct weir_topo *topo)
{
	struct weir_placement *plan;
	int rc = weir_placement_open(topo, NULL, &plan);

	if (rc != 0)
		return rc;
	rc = weir_placement_cpu(plan, WEIR_ROLE_IO, 0, &topo->io_cpu);
	weir_placement_close(plan);
	return rc;
}

int weir_topo_open(const struct weir_topo_opts *opts, struct weir_topo **ret,
		   struct weir_error *err)
{
	struct weir_topo_opts copy;
	struct weir_topo *topo;
	int rc = wr_opts_copy(&copy, sizeof(copy), opts);

	static_assert(sizeof(copy) == 3 * sizeof(void *), "a new field is handled below");
	wr_might_block("reading the topology");
	if (rc != 0)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "weir_topo_opts: %s",
				    weir_strerror(rc));
	if (copy.synthetic != NULL && copy.xml_path != NULL)
		return wr_error_set(err, -EINVAL, copy.xml_path, WEIR_OFFSET_NONE,
				    "a topology comes from a description or a file, not both");
	topo = wr_calloc(1, sizeof(*topo));
	if (topo == NULL)
		return wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE, "%s",
				    weir_strerror(-ENOMEM));
	rc = wr_topo_discover(topo, &copy, err);
	if (rc != 0)
		goto close_topo;
	rc = set_io_cpu(topo);
	if (rc != 0) {
		wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "%s", weir_strerror(rc));
		goto close_topo;
	}
	*ret = topo;
	return 0;
close_topo:
	weir_topo_close(topo);
	return rc;
}

void weir_topo_close(struct weir_topo *topo)
{
	if (topo == NULL)
		return;
	wr_free(topo->cpus);
	wr_free(topo->nodes);
	wr_free(topo);
}

void weir_topo_counts(const struct weir_topo *topo, struct weir_topo_counts *ret)
{
	*ret = topo->counts;
}

int weir_topo_cpu_at(const struct weir_topo *topo, uint32_t index, struct weir_topo_cpu *ret)
{
	if (index >= topo->counts.nr_cpus)
		return -ENODEV;
	*ret = topo->cpus[index];
	return 0;
}

int weir_topo_node_at(const struct weir_topo *topo, uint32_t index, struct weir_topo_node *ret)
{
	if (index >= topo->counts.nr_nodes)
		return -ENODEV;
	*ret = topo->nodes[index];
	return 0;
}

int weir_topo_node_of(const struct weir_topo *topo, uint32_t cpu, uint32_t *ret)
{
	for (uint32_t i = 0; i < topo->counts.nr_cpus; i++) {
		if (topo->cpus[i].cpu == cpu) {
			*ret = topo->cpus[i].node;
			return 0;
		}
	}
	return -ENODEV;
}

uint32_t weir_topo_io_cpu(const struct weir_topo *topo)
{
	return topo->io_cpu;
}

int weir_topo_bind_thread(uint32_t cpu)
{
	cpu_set_t *set;
	size_t bytes;
	int rc = 0;

	if (cpu >= MAX_CPU)
		return -ENODEV;
	bytes = CPU_ALLOC_SIZE(cpu + 1);
	set = wr_calloc(1, bytes);
	if (set == NULL)
		return -ENOMEM;
	CPU_SET_S(cpu, bytes, set);
	if (sched_setaffinity(0, bytes, set) != 0)
		rc = -errno;
	wr_free(set);
	/* What the kernel says when no processor of the set may be used. */
	return rc == -EINVAL ? -ENODEV : rc;
}
