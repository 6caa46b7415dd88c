/* SPDX-License-Identifier: MIT */
/**
 * weir/topo.h - The machine: processors, nodes, caches, and which thread goes where.
 *
 * A topology is read once and never changes. It describes what this process may
 * use: processors outside of its cpuset or of the affinity of the opening thread
 * are not in it. Topologies can also be made from a text or an XML file, for
 * machines that are not there; plans for them can be read, not acted on.
 *
 * Processors are named by the number that the operating system gives them, the
 * one that weir_topo_bind_thread() and taskset take.
 */
#ifndef WEIR_TOPO_H
#define WEIR_TOPO_H

#include <weir/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir_topo;
struct weir_placement;

/**
 * struct weir_topo_opts - Where a topology comes from.
 * @size:      sizeof(struct weir_topo_opts).
 * @synthetic: An hwloc synthetic description, "pack:1 core:4 pu:2"; NULL for none.
 * @xml_path:  Path of a file written by hwloc (lstopo x.xml); NULL for none.
 *
 * At most one is given; with neither, the machine that runs this is read.
 *
 * Since: 0.1
 */
struct weir_topo_opts {
	size_t size;
	const char *synthetic;
	const char *xml_path;
};

/**
 * struct weir_topo_counts - How much there is of everything.
 * @nr_packages: Processor packages; at least 1.
 * @nr_cores:    Cores.
 * @nr_cpus:     Hardware threads that may be used.
 * @nr_nodes:    NUMA nodes with memory; at least 1.
 * @l2_bytes:    Size of the largest level-2 cache; 0 when unknown.
 * @l3_bytes:    Size of the largest level-3 cache; 0 when there is none.
 * @nr_l2:       Level-2 caches.
 * @nr_l3:       Level-3 caches.
 *
 * Since: 0.1
 */
struct weir_topo_counts {
	uint32_t nr_packages;
	uint32_t nr_cores;
	uint32_t nr_cpus;
	uint32_t nr_nodes;
	uint64_t l2_bytes;
	uint64_t l3_bytes;
	uint32_t nr_l2;
	uint32_t nr_l3;
};

/**
 * struct weir_topo_cpu - One hardware thread.
 * @cpu:      The operating system's number.
 * @core:     Its core: 0 for the first, counted over the whole machine.
 * @package:  Its package, counted likewise.
 * @node:     The operating system's number of the nearest NUMA node.
 * @sibling:  0 for the first thread of its core, 1 for the second, ...
 * @strength: Kind of core on machines that mix them: 0 is the weakest; 0 on others.
 *
 * Since: 0.1
 */
struct weir_topo_cpu {
	uint32_t cpu;
	uint32_t core;
	uint32_t package;
	uint32_t node;
	uint32_t sibling;
	uint32_t strength;
};

/**
 * struct weir_topo_node - One NUMA node.
 * @node:         The operating system's number.
 * @nr_cpus:      Hardware threads of the topology that are nearest to it; may be 0.
 * @memory_bytes: Memory of the node; 0 when unknown.
 *
 * Since: 0.1
 */
struct weir_topo_node {
	uint32_t node;
	uint32_t nr_cpus;
	uint64_t memory_bytes;
};

/**
 * weir_topo_open() - Read a topology.
 * @opts: Where from; NULL for this machine.
 * @ret:  The topology.
 * @err:  Filled on failure, when not NULL.
 *
 * Open it before binding the calling thread to anything: its affinity limits what
 * the topology holds.
 *
 * Context: Any thread. May block (reads files). Takes no lock.
 * Owner:   The caller, until weir_topo_close().
 * Return:  0, -EINVAL (both sources given, the text is no description, or the
 *          environment makes hwloc describe another machine), -E2BIG, -ENOENT or -EACCES
 *          (the file), -EBADMSG (the file is no topology), -EFBIG (the file is above
 *          64 MiB), -ENOMEM, -EIO.
 * Since:   0.1
 */
WEIR_API int weir_topo_open(const struct weir_topo_opts *opts, struct weir_topo **ret,
			    struct weir_error *err) WEIR_MUST_CHECK;

/**
 * weir_topo_close() - Give a topology back.
 * @topo: Topology or NULL. Plans made from it stay valid.
 *
 * Context: Any thread. Takes no lock.
 * Since:   0.1
 */
WEIR_API void weir_topo_close(struct weir_topo *topo);

/**
 * weir_topo_counts() - How much there is of everything.
 * @topo: Topology.
 * @ret:  The counts.
 *
 * Context: Any thread. Takes no lock.
 * Since:   0.1
 */
WEIR_API void weir_topo_counts(const struct weir_topo *topo, struct weir_topo_counts *ret);

/**
 * weir_topo_cpu_at() - One hardware thread.
 * @topo:  Topology.
 * @index: Below nr_cpus; in the order of packages, cores and siblings.
 * @ret:   The hardware thread.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -ENODEV (no such index).
 * Since:   0.1
 */
WEIR_API int weir_topo_cpu_at(const struct weir_topo *topo, uint32_t index,
			      struct weir_topo_cpu *ret) WEIR_MUST_CHECK;

/**
 * weir_topo_node_at() - One NUMA node.
 * @topo:  Topology.
 * @index: Below nr_nodes.
 * @ret:   The node.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -ENODEV (no such index).
 * Since:   0.1
 */
WEIR_API int weir_topo_node_at(const struct weir_topo *topo, uint32_t index,
			       struct weir_topo_node *ret) WEIR_MUST_CHECK;

/**
 * weir_topo_node_of() - The NUMA node nearest to a hardware thread.
 * @topo: Topology.
 * @cpu:  The operating system's number.
 * @ret:  The operating system's number of the node.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -ENODEV (no such hardware thread).
 * Since:   0.1
 */
WEIR_API int weir_topo_node_of(const struct weir_topo *topo, uint32_t cpu,
			       uint32_t *ret) WEIR_MUST_CHECK;

/**
 * weir_topo_io_cpu() - Where the default plan puts its I/O thread.
 * @topo: Topology.
 *
 * For a host that wants no plan of its own; see weir_placement_open().
 *
 * Context: Any thread. Takes no lock.
 * Return:  The hardware thread, by the operating system's number.
 * Since:   0.1
 */
WEIR_API uint32_t weir_topo_io_cpu(const struct weir_topo *topo);

/**
 * enum weir_role - What a thread does.
 * @WEIR_ROLE_COMPUTE:    Multiplies; wants a core of its own.
 * @WEIR_ROLE_IO:         Submits and reaps reads; mostly waits.
 * @WEIR_ROLE_BACKGROUND: Collects metrics, evicts, tunes; can wait.
 *
 * Since: 0.1
 */
enum weir_role {
	WEIR_ROLE_COMPUTE = 0,
	WEIR_ROLE_IO = 1,
	WEIR_ROLE_BACKGROUND = 2,
};

/**
 * struct weir_placement_opts - For how many threads to plan.
 * @size:          sizeof(struct weir_placement_opts).
 * @nr_compute:    Compute threads; 0 for one per core.
 * @nr_io:         I/O threads; 0 for one.
 * @nr_background: Background threads; 0 for one.
 * @io_node:       1 + the number of the node that the disk is attached to: I/O threads
 *                 go there if a hardware thread without compute threads is left; 0 for any.
 *
 * Since: 0.1
 */
struct weir_placement_opts {
	size_t size;
	uint32_t nr_compute;
	uint32_t nr_io;
	uint32_t nr_background;
	uint32_t io_node;
};

/* The most threads of one role that a plan covers. */
#define WEIR_PLACEMENT_THREADS_MAX 4096u

/**
 * weir_placement_open() - Decide which thread goes where.
 * @topo: Topology.
 * @opts: How many threads; NULL for the defaults.
 * @ret:  The plan.
 *
 * Compute threads get a core each, on its first sibling, strongest kind of core
 * first and nodes in turn, so that fewer threads than cores still draw on the memory
 * of all nodes; then second siblings; then they share. I/O and background threads
 * get hardware threads that no compute thread has, on the cores that have the least
 * to do; only when there is none do they share with compute threads, the last one
 * first. Every machine gives a plan, one with a single processor too.
 *
 * Context: Any thread. Takes no lock.
 * Owner:   The caller, until weir_placement_close().
 * Return:  0, -EINVAL (more than WEIR_PLACEMENT_THREADS_MAX), -ENODEV (no such node), -E2BIG,
 *          -ENOMEM.
 * Since:   0.1
 */
WEIR_API int weir_placement_open(const struct weir_topo *topo,
				 const struct weir_placement_opts *opts,
				 struct weir_placement **ret) WEIR_MUST_CHECK;

/**
 * weir_placement_close() - Give a plan back.
 * @plan: Plan or NULL.
 *
 * Context: Any thread. Takes no lock.
 * Since:   0.1
 */
WEIR_API void weir_placement_close(struct weir_placement *plan);

/**
 * weir_placement_count() - How many threads of a role are planned for.
 * @plan: Plan.
 * @role: One of enum weir_role.
 *
 * Context: Any thread. Takes no lock.
 * Return:  The count; 0 for a role that does not exist.
 * Since:   0.1
 */
WEIR_API uint32_t weir_placement_count(const struct weir_placement *plan, int role);

/**
 * weir_placement_cpu() - Where a thread goes.
 * @plan:  Plan.
 * @role:  One of enum weir_role.
 * @index: Which of them, below weir_placement_count().
 * @ret:   The hardware thread, by the operating system's number.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -ENODEV (no such thread in the plan).
 * Since:   0.1
 */
WEIR_API int weir_placement_cpu(const struct weir_placement *plan, int role, uint32_t index,
				uint32_t *ret) WEIR_MUST_CHECK;

/**
 * weir_placement_text() - A plan for people to read.
 * @plan:   Plan.
 * @buffer: Where to write, NUL-terminated; may be NULL when @bytes is 0.
 * @bytes:  Size of @buffer; what does not fit is cut.
 *
 * One line per role with its processors in order: "compute:    0 1 2 3",
 * "io:         4", "background: 5". A processor with more than one thread has a
 * star, which a last line explains.
 *
 * Context: Any thread. Takes no lock.
 * Return:  Bytes that the whole text takes, without the NUL.
 * Since:   0.1
 */
WEIR_API size_t weir_placement_text(const struct weir_placement *plan, char *buffer, size_t bytes);

/**
 * weir_topo_bind_thread() - Keep the calling thread on one hardware thread.
 * @cpu: The operating system's number.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -ENODEV (no such hardware thread, offline, or outside of this process's
 *          cpuset; nothing changed), -EPERM.
 * Since:   0.1
 */
WEIR_API int weir_topo_bind_thread(uint32_t cpu) WEIR_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif /* WEIR_TOPO_H */
