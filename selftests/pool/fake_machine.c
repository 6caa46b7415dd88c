/* SPDX-License-Identifier: MIT */
/*
 * The memory is ordinary anonymous memory; its node is the one it was bound to last.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <weir/topo.h>

#include "base/alloc.h"
#include "base/util.h"
#include "fake_machine.h"

static int fake_info(void *arg, int node, struct wr_pool_supply *ret)
{
	struct fake_kind *k = arg;
	size_t n = node < 0 ? 0 : (size_t)node;

	memset(ret, 0, sizeof(*ret));
	if (k->why)
		snprintf(ret->why, sizeof(ret->why), "%s", k->why);
	ret->free_pages = k->free_pages[n];
	ret->total_pages = k->total_pages[n];
	ret->free_bytes = k->free_pages[n];
	if (ret->free_bytes != UINT64_MAX)
		ret->free_bytes *= k->provider.page_bytes;
	return k->info_rc;
}

static int fake_reserve(void *arg, void *at, size_t bytes, struct wr_pool_mapping *ret)
{
	struct fake_kind *k = arg;

	if (k->reserve_rc)
		return k->reserve_rc;
	if (mprotect(at, bytes, PROT_READ | PROT_WRITE) != 0)
		return -errno;
	*ret = (struct wr_pool_mapping){.base = at, .bytes = bytes, .fd = -1};
	atomic_fetch_add(&k->nr_mapped, 1);
	return 0;
}

static int fake_bind(void *arg, const struct wr_pool_mapping *map, int node, bool strict)
{
	struct fake_kind *k = arg;

	k->bound[k->nr_bound].base = map->base;
	k->bound[k->nr_bound].node = node;
	k->nr_bound = (k->nr_bound + 1) % FAKE_MAX_NODES;
	k->bound_strict = strict;
	return k->bind_rc;
}

int fake_kind_node_of(const struct fake_kind *k, const void *base)
{
	int i;

	for (i = 0; i < FAKE_MAX_NODES; i++)
		if (k->bound[i].base == base)
			return k->bound[i].node;
	return -1;
}

static int fake_commit(void *arg, const struct wr_pool_mapping *map, size_t offset, size_t bytes)
{
	struct fake_kind *k = arg;

	(void)offset;
	if (k->commit_delay_us > 0)
		usleep(k->commit_delay_us);
	if (k->commit_rc &&
	    (k->commit_fail_node < 0 || k->commit_fail_node == fake_kind_node_of(k, map->base)))
		return k->commit_rc;
	atomic_fetch_add(&k->committed, bytes);
	return 0;
}

static int fake_misplaced(void *arg, const struct wr_pool_mapping *map, int node, uint64_t *ret)
{
	struct fake_kind *k = arg;

	*ret = map->bytes / 100 * k->misplaced_percent[node];
	return k->misplaced_rc;
}

static int fake_decommit(void *arg, const struct wr_pool_mapping *map, size_t offset, size_t bytes)
{
	(void)arg;
	return madvise((uint8_t *)map->base + offset, bytes, MADV_DONTNEED) ? -errno : 0;
}

static int fake_huge_bytes(void *arg, const struct wr_pool_mapping *map, uint64_t *ret)
{
	struct fake_kind *k = arg;

	if (k->huge_rc)
		return k->huge_rc;
	*ret = map->bytes / 100 * k->huge_percent;
	if (k->huge_percent == 100)
		*ret = map->bytes;
	return 0;
}

static int fake_register(void *arg, const struct wr_pool_mapping *map)
{
	struct fake_kind *k = arg;

	if (k->register_rc)
		return k->register_rc;
	(void)map;
	k->nr_registrations++;
	k->nr_registered++;
	k->committed_when_registered = atomic_load(&k->committed);
	return 0;
}

static void fake_unregister(void *arg, const struct wr_pool_mapping *map)
{
	struct fake_kind *k = arg;

	/* Still mapped: touching it would not kill. */
	*(volatile char *)map->base = 1;
	k->nr_registered--;
}

static void fake_release(void *arg, const struct wr_pool_mapping *map)
{
	struct fake_kind *k = arg;

	void *p = mmap(map->base, map->bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		       -1, 0);

	if (p == map->base)
		atomic_fetch_sub(&k->nr_mapped, 1);
}

static int fake_get_range(void *arg, size_t bytes, size_t align, struct wr_pool_range *ret)
{
	struct fake_machine *m = arg;
	uint8_t *p;

	if (m->range_rc)
		return m->range_rc;
	p = mmap(NULL, bytes + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	ret->outer = p;
	ret->outer_bytes = bytes + align;
	ret->base = p + (wr_align_up((uintptr_t)p, align) - (uintptr_t)p);
	ret->bytes = bytes;
	m->nr_ranges++;
	return 0;
}

static void fake_put_range(void *arg, const struct wr_pool_range *range)
{
	struct fake_machine *m = arg;

	munmap(range->outer, range->outer_bytes);
	m->nr_ranges--;
}

static uint64_t fake_nodes(void *arg)
{
	return ((struct fake_machine *)arg)->nodes;
}

static size_t fake_nr_cpus(void *arg, int node)
{
	return node < 0 ? 2 : ((struct fake_machine *)arg)->nr_cpus[node];
}

static void fake_run_on(void *arg, int node)
{
	struct fake_machine *m = arg;

	if (node >= 0)
		atomic_fetch_add(&m->run_on[node], 1);
}

static int fake_current_node(void *arg)
{
	return atomic_load(&((struct fake_machine *)arg)->current_node);
}

static int fake_distance(void *arg, int from, int to)
{
	return ((struct fake_machine *)arg)->distance[from][to];
}

static uint64_t fake_available(void *arg, int node)
{
	struct fake_machine *m = arg;

	return node < 0 ? m->available : m->node_available[node];
}

static void init_kind(struct fake_machine *m, int kind, size_t page_bytes)
{
	struct fake_kind *k = &m->kinds[kind];
	int node;

	k->machine = m;
	k->kind = kind;
	k->commit_fail_node = -1;
	k->huge_percent = 100;
	for (node = 0; node < FAKE_MAX_NODES; node++)
		k->free_pages[node] = k->total_pages[node] = UINT64_MAX;
	k->provider = (struct wr_pool_provider){
		.page_bytes = page_bytes,
		.eager = kind >= WEIR_PAGE_2M,
		.arg = k,
		.info = fake_info,
		.reserve = fake_reserve,
		.bind = fake_bind,
		.commit = fake_commit,
		.decommit = fake_decommit,
		.misplaced = fake_misplaced,
		.huge_bytes = fake_huge_bytes,
		.register_map = fake_register,
		.unregister_map = fake_unregister,
		.release = fake_release,
	};
	m->system.kinds[kind] = &k->provider;
}

void fake_machine_init(struct fake_machine *m, int nr_nodes)
{
	int from, to;

	memset(m, 0, sizeof(*m));
	m->nodes = (1ull << nr_nodes) - 1;
	m->available = UINT64_MAX;
	m->system = (struct wr_pool_system){
		.arg = m,
		.nodes = fake_nodes,
		.nr_cpus = fake_nr_cpus,
		.run_on = fake_run_on,
		.current_node = fake_current_node,
		.distance = fake_distance,
		.available = fake_available,
		.get_range = fake_get_range,
		.put_range = fake_put_range,
	};
	for (from = 0; from < FAKE_MAX_NODES; from++) {
		m->node_available[from] = UINT64_MAX;
		m->nr_cpus[from] = 2;
		for (to = 0; to < FAKE_MAX_NODES; to++)
			m->distance[from][to] = from == to ? 10 : 20;
	}
	init_kind(m, WEIR_PAGE_4K, 4096);
	init_kind(m, WEIR_PAGE_THP, 16384);
	init_kind(m, WEIR_PAGE_2M, 16384);
	init_kind(m, WEIR_PAGE_1G, 65536);
}

/* Processors of each node, and the package that the node is in. */
static void count_cpus(struct fake_machine *m, const struct weir_topo *topo, uint32_t nr_cpus,
		       uint32_t *package)
{
	struct weir_topo_cpu cpu;
	uint32_t i;

	memset(m->nr_cpus, 0, sizeof(m->nr_cpus));
	for (i = 0; i < nr_cpus; i++) {
		if (weir_topo_cpu_at(topo, i, &cpu) != 0 || cpu.node >= FAKE_MAX_NODES)
			continue;
		m->nr_cpus[cpu.node]++;
		package[cpu.node] = cpu.package;
	}
}

int fake_machine_init_topo(struct fake_machine *m, const char *synthetic)
{
	struct weir_topo_opts opts = {.size = sizeof(opts), .synthetic = synthetic};
	uint32_t package[FAKE_MAX_NODES] = {0};
	struct weir_topo_counts counts;
	struct weir_topo *topo;
	int from, to;
	int rc = weir_topo_open(&opts, &topo, NULL);

	if (rc != 0)
		return rc;
	weir_topo_counts(topo, &counts);
	fake_machine_init(m, (int)wr_min(counts.nr_nodes, (uint32_t)FAKE_MAX_NODES));
	count_cpus(m, topo, counts.nr_cpus, package);
	/* As firmware says it: far is 2.1 times local, the other die of a package 1.2 times. */
	for (from = 0; from < FAKE_MAX_NODES; from++)
		for (to = 0; to < FAKE_MAX_NODES; to++)
			if (from != to)
				m->distance[from][to] = package[from] == package[to] ? 12 : 21;
	weir_topo_close(topo);
	return 0;
}

int fake_machine_nr_mapped(const struct fake_machine *m)
{
	int nr = m->nr_ranges;
	int kind;

	for (kind = 0; kind < WEIR_PAGE_KINDS; kind++)
		nr += atomic_load(&m->kinds[kind].nr_mapped);
	return nr;
}

int fake_machine_fail_opens(struct fake_machine *m, const struct weir_pool_opts *opts)
{
	struct weir_pool *pool;
	bool failed = true;
	int n, rc;

	for (n = 0; failed; n++) {
		pool = NULL;
		wr_test_alloc_fail_at((uint64_t)n + 1);
		rc = wr_pool_open_on(&m->system, opts, &pool, NULL);
		failed = wr_test_alloc_failed();
		wr_test_alloc_fail_at(0);
		weir_pool_close(pool);
		if (rc != (pool ? 0 : -ENOMEM) || (!failed && !pool))
			return -1;
		if (wr_test_alloc_live() != 0 || fake_machine_nr_mapped(m) != 0)
			return -2;
	}
	return n - 1;
}

struct weir_pool *fake_machine_pool(struct fake_machine *m, size_t capacity_bytes,
				    size_t block_bytes, uint8_t **ret_base)
{
	struct weir_pool_opts opts = {.size = sizeof(opts),
				      .capacity_bytes = capacity_bytes,
				      .block_bytes = block_bytes,
				      .page_kinds = 1u << WEIR_PAGE_4K,
				      .flags = WEIR_POOL_LAZY};
	struct weir_pool_region region;
	struct weir_pool *pool;

	fake_machine_init(m, 1);
	if (wr_pool_open_on(&m->system, &opts, &pool, NULL) != 0)
		return NULL;
	if (weir_pool_region(pool, 0, &region) != 0) {
		weir_pool_close(pool);
		return NULL;
	}
	*ret_base = region.base;
	return pool;
}
