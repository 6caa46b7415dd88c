/* SPDX-License-Identifier: MIT */
/*
 * A machine for the pool's tests: as many nodes as wanted, pages as small as wanted, and
 * each step of getting memory fails, or takes its time, when told to.
 */
#ifndef FAKE_MACHINE_H
#define FAKE_MACHINE_H

#include <stdatomic.h>

#include "pool/provider.h"

#define FAKE_MAX_NODES 4

struct fake_machine;

/* One page kind of the machine. */
struct fake_kind {
	struct fake_machine *machine;
	struct wr_pool_provider provider;
	int kind;
	uint64_t free_pages[FAKE_MAX_NODES]; /* UINT64_MAX: only trying tells */
	uint64_t total_pages[FAKE_MAX_NODES];
	const char *why; /* info() says that there is none, and why */
	int info_rc;	 /* results of the functions */
	int reserve_rc;
	int bind_rc;
	int commit_rc;
	int commit_fail_node; /* commit() fails only on this node; -1: on each */
	int register_rc;
	int huge_rc;
	unsigned huge_percent; /* huge_bytes() as a part of the mapping */
	int misplaced_rc;
	unsigned misplaced_percent[FAKE_MAX_NODES]; /* misplaced(), the same */
	unsigned commit_delay_us;
	_Atomic size_t committed; /* what happened */
	_Atomic int nr_mapped;
	int nr_registered; /* now */
	size_t committed_when_registered;
	int nr_registrations;
	struct {
		const void *base;
		int node;
	} bound[FAKE_MAX_NODES];
	int nr_bound;
	bool bound_strict;
};

struct fake_machine {
	struct wr_pool_system system;
	struct fake_kind kinds[WEIR_PAGE_KINDS];
	uint64_t nodes;
	_Atomic int current_node;
	uint64_t available; /* on the machine */
	uint64_t node_available[FAKE_MAX_NODES];
	size_t nr_cpus[FAKE_MAX_NODES];
	int distance[FAKE_MAX_NODES][FAKE_MAX_NODES];
	_Atomic unsigned run_on[FAKE_MAX_NODES]; /* threads bound to each node */
	int range_rc;
	int nr_ranges;
};

/*
 * Every kind is there, with a page of 4, 16, 16 and 64 KiB and as many as wanted; nodes
 * 0 to nr_nodes - 1, none of them when nr_nodes is 0.
 */
void fake_machine_init(struct fake_machine *m, int nr_nodes);

/* The nodes, processors and distances of a hwloc synthetic topology. 0, or weir_topo_open()'s code. */
int fake_machine_init_topo(struct fake_machine *m, const char *synthetic);

/* The node that a mapping was bound to, -1 when it was not. */
int fake_kind_node_of(const struct fake_kind *k, const void *base);

/*
 * Open a pool on the machine with its first allocation failing, then its second, and so on,
 * until none is left to fail; what opens is closed. How many failed, or a negative number
 * when a failure had another code than -ENOMEM or left something behind.
 */
int fake_machine_fail_opens(struct fake_machine *m, const struct weir_pool_opts *opts);

/*
 * A pool of one region on a machine of one node, pages of 4 KiB that are brought in when they are
 * used; @block_bytes may be 0. NULL: it cannot be opened.
 */
struct weir_pool *fake_machine_pool(struct fake_machine *m, size_t capacity_bytes,
				    size_t block_bytes, uint8_t **ret_base);

/* Mappings and ranges not released. */
int fake_machine_nr_mapped(const struct fake_machine *m);

#endif /* FAKE_MACHINE_H */
