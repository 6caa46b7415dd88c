/* SPDX-License-Identifier: MIT */
/*
 * From hwloc into our arrays. The live machine is cut down to what the calling thread may use:
 * hwloc leaves out what the cpuset forbids, and we leave out what the affinity does. A file is read
 * by us and parsed from memory, so that a path that cannot be read is told from a file that is no
 * topology. Machines without core, package or cache objects (some virtual ones) get one core per
 * hardware thread and one package.
 */
#include <errno.h>
#include <fcntl.h>
#include <hwloc.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/util.h"
#include "topo/machine.h"

#define MAX_XML_BYTES (64u << 20)

static int fail(struct weir_error *err, int code, const char *file, const char *what)
{
	return wr_error_set(err, code, file, WEIR_OFFSET_NONE, "%s", what);
}

/* The whole file with a NUL behind it. */
static int read_all(int fd, size_t bytes, char **ret)
{
	char *text = wr_malloc(bytes + 1);
	size_t have = 0;
	ssize_t got;

	if (text == NULL)
		return -ENOMEM;
	while (have < bytes) {
		got = read(fd, text + have, bytes - have);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			int rc = got < 0 ? -errno : -EIO;

			wr_free(text);
			return rc;
		}
		have += (size_t)got;
	}
	text[bytes] = '\0';
	*ret = text;
	return 0;
}

static int read_file(const char *path, char **ret, size_t *ret_bytes)
{
	/* A FIFO must not make us wait for a writer. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc = 0;
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) != 0)
		rc = -errno;
	else if (S_ISDIR(st.st_mode))
		rc = -EISDIR;
	else if (!S_ISREG(st.st_mode))
		rc = -EINVAL;
	else if (st.st_size > (off_t)MAX_XML_BYTES)
		rc = -EFBIG;
	else
		rc = read_all(fd, (size_t)st.st_size, ret);
	if (rc == 0)
		*ret_bytes = (size_t)st.st_size + 1;
	close(fd);
	return rc;
}

static int load_xml(hwloc_topology_t hw, const char *path, struct weir_error *err)
{
	size_t bytes = 0;
	char *text = NULL;
	int rc = read_file(path, &text, &bytes);

	if (rc != 0)
		return fail(err, rc, path, weir_strerror(rc));
	if (hwloc_topology_set_xmlbuffer(hw, text, (int)bytes) != 0 || hwloc_topology_load(hw) != 0)
		rc = fail(err, -EBADMSG, path, "not a topology that hwloc can read");
	wr_free(text);
	return rc;
}

static int load_synthetic(hwloc_topology_t hw, const char *text, struct weir_error *err)
{
	if (hwloc_topology_set_synthetic(hw, text) == 0 && hwloc_topology_load(hw) == 0)
		return 0;
	return wr_error_set(err, -EINVAL, NULL, WEIR_OFFSET_NONE,
			    "'%s' is not a description of a machine", text);
}

/* Leave out what this thread may not run on. */
static int restrict_to_affinity(hwloc_topology_t hw)
{
	hwloc_bitmap_t set = hwloc_bitmap_alloc();
	int rc = 0;

	if (set == NULL)
		return -ENOMEM;
	/* Without an answer, or with one that leaves nothing, the cpuset alone decides. */
	if (hwloc_get_cpubind(hw, set, HWLOC_CPUBIND_THREAD) == 0 &&
	    hwloc_bitmap_intersects(set, hwloc_topology_get_topology_cpuset(hw)) &&
	    hwloc_topology_restrict(hw, set, 0) != 0)
		rc = errno == ENOMEM ? -ENOMEM : -EIO;
	hwloc_bitmap_free(set);
	return rc;
}

static int load_this_machine(hwloc_topology_t hw, struct weir_error *err)
{
	int rc;

	if (hwloc_topology_load(hw) != 0)
		return fail(err, errno == ENOMEM ? -ENOMEM : -EIO, NULL,
			    "hwloc cannot read this machine's topology");
	if (!hwloc_topology_is_thissystem(hw))
		return fail(err, -EINVAL, NULL,
			    "the environment makes hwloc describe another machine: unset "
			    "HWLOC_XMLFILE, HWLOC_SYNTHETIC and HWLOC_FSROOT");
	rc = restrict_to_affinity(hw);
	return rc == 0 ? 0 : fail(err, rc, NULL, weir_strerror(rc));
}

static int load(hwloc_topology_t hw, const struct weir_topo_opts *opts, struct weir_error *err)
{
	if (opts->synthetic != NULL)
		return load_synthetic(hw, opts->synthetic, err);
	if (opts->xml_path != NULL)
		return load_xml(hw, opts->xml_path, err);
	return load_this_machine(hw, err);
}

static uint64_t largest_cache(hwloc_topology_t hw, hwloc_obj_type_t type, uint32_t *ret_nr)
{
	hwloc_obj_t cache = NULL;
	uint64_t largest = 0;

	*ret_nr = 0;
	while ((cache = hwloc_get_next_obj_by_type(hw, type, cache)) != NULL) {
		largest = wr_max(largest, (uint64_t)cache->attr->cache.size);
		(*ret_nr)++;
	}
	return largest;
}

static void copy_nodes(hwloc_topology_t hw, struct weir_topo *topo)
{
	hwloc_obj_t node = NULL;

	for (uint32_t i = 0; i < topo->counts.nr_nodes; i++) {
		node = hwloc_get_next_obj_by_type(hw, HWLOC_OBJ_NUMANODE, node);
		topo->nodes[i].node = node->os_index;
		topo->nodes[i].memory_bytes = node->attr->numanode.local_memory;
	}
}

/* Nodes come in hwloc's order: of several that are near, as HBM beside DRAM, the first is the
 * default one. Without any that is near, the first of the machine. */
static uint32_t nearest_node(hwloc_topology_t hw, hwloc_obj_t pu, struct weir_topo *topo)
{
	hwloc_obj_t node = NULL;
	uint32_t i = 0;

	while ((node = hwloc_get_next_obj_by_type(hw, HWLOC_OBJ_NUMANODE, node)) != NULL) {
		if (hwloc_bitmap_isset(node->cpuset, pu->os_index))
			break;
		i++;
	}
	if (node == NULL)
		i = 0;
	topo->nodes[i].nr_cpus++;
	return topo->nodes[i].node;
}

static uint32_t strength_of(hwloc_topology_t hw, hwloc_obj_t pu)
{
	int kind = hwloc_cpukinds_get_by_cpuset(hw, pu->cpuset, 0), efficiency = -1;

	/* hwloc's efficiency grows with performance; -1 is unknown. */
	if (kind < 0 ||
	    hwloc_cpukinds_get_info(hw, (unsigned)kind, NULL, &efficiency, NULL, NULL, 0) != 0)
		return 0;
	return efficiency > 0 ? (uint32_t)efficiency : 0;
}

static void copy_cpus(hwloc_topology_t hw, struct weir_topo *topo)
{
	hwloc_obj_t pu = NULL, core = NULL, package = NULL;
	uint32_t nr_cores = 0, nr_packages = 0;

	for (uint32_t i = 0; i < topo->counts.nr_cpus; i++) {
		struct weir_topo_cpu *cpu = &topo->cpus[i];
		hwloc_obj_t its_core, its_package;

		pu = hwloc_get_next_obj_by_type(hw, HWLOC_OBJ_PU, pu);
		its_core = hwloc_get_ancestor_obj_by_type(hw, HWLOC_OBJ_CORE, pu);
		its_package = hwloc_get_ancestor_obj_by_type(hw, HWLOC_OBJ_PACKAGE, pu);
		if (i == 0 || its_package != package)
			nr_packages++;
		if (i == 0 || its_core == NULL || its_core != core) {
			nr_cores++;
			cpu->sibling = 0;
		} else {
			cpu->sibling = topo->cpus[i - 1].sibling + 1;
		}
		core = its_core;
		package = its_package;
		cpu->cpu = pu->os_index;
		cpu->core = nr_cores - 1;
		cpu->package = nr_packages - 1;
		cpu->node = nearest_node(hw, pu, topo);
		cpu->strength = strength_of(hw, pu);
	}
	topo->counts.nr_cores = nr_cores;
	topo->counts.nr_packages = nr_packages;
}

static int copy_machine(hwloc_topology_t hw, struct weir_topo *topo, struct weir_error *err)
{
	int nr_cpus = hwloc_get_nbobjs_by_type(hw, HWLOC_OBJ_PU);
	int nr_nodes = hwloc_get_nbobjs_by_type(hw, HWLOC_OBJ_NUMANODE);

	if (nr_cpus <= 0 || nr_nodes <= 0)
		return fail(err, -EBADMSG, NULL, "a topology without processors or memory");
	topo->cpus = wr_calloc((size_t)nr_cpus, sizeof(topo->cpus[0]));
	topo->nodes = wr_calloc((size_t)nr_nodes, sizeof(topo->nodes[0]));
	if (topo->cpus == NULL || topo->nodes == NULL)
		return fail(err, -ENOMEM, NULL, weir_strerror(-ENOMEM));
	topo->counts.nr_cpus = (uint32_t)nr_cpus;
	topo->counts.nr_nodes = (uint32_t)nr_nodes;
	topo->counts.l2_bytes = largest_cache(hw, HWLOC_OBJ_L2CACHE, &topo->counts.nr_l2);
	topo->counts.l3_bytes = largest_cache(hw, HWLOC_OBJ_L3CACHE, &topo->counts.nr_l3);
	copy_nodes(hw, topo);
	copy_cpus(hw, topo);
	return 0;
}

int wr_topo_discover(struct weir_topo *topo, const struct weir_topo_opts *opts,
		     struct weir_error *err)
{
	hwloc_topology_t hw;
	int rc;

	if (hwloc_topology_init(&hw) != 0)
		return fail(err, -ENOMEM, NULL, weir_strerror(-ENOMEM));
	rc = load(hw, opts, err);
	if (rc == 0)
		rc = copy_machine(hw, topo, err);
	hwloc_topology_destroy(hw);
	return rc;
}
