/* SPDX-License-Identifier: MIT */
/*
 * pool/provider.h - Where a pool's memory comes from, as tables of functions.
 *
 * A provider gives memory of one page kind; a system is the providers of a machine
 * and what it says of its nodes. The real ones call the kernel, those of the tests
 * fail on demand, are tiny, and have nodes that the machine does not have. All
 * functions return 0 or a negative errno, and none is called with a lock held.
 */
#ifndef WR_POOL_PROVIDER_H
#define WR_POOL_PROVIDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/pool.h>

#define WR_POOL_KIB 1024ull
#define WR_POOL_MIB (1024 * WR_POOL_KIB)
#define WR_POOL_GIB (1024 * WR_POOL_MIB)

/* Nodes are bits of a 64-bit mask. */
#define WR_POOL_MAX_NODES 64

/**
 * struct wr_pool_range - Addresses that nobody else has, for mappings of several providers.
 * @base:        First byte, aligned as asked.
 * @bytes:       How many were asked for.
 * @outer:       What put_range() gives back: alignment and guard pages included.
 * @outer_bytes: Its size.
 */
struct wr_pool_range {
	void *base;
	size_t bytes;
	void *outer;
	size_t outer_bytes;
};

/**
 * struct wr_pool_mapping - Part of a range that a provider filled.
 * @base:  First byte.
 * @bytes: How many.
 * @fd:    What share() tells; not for others to look at.
 */
struct wr_pool_mapping {
	void *base;
	size_t bytes;
	int fd;
};

/**
 * struct wr_pool_supply - What a provider has for one node.
 * @free_bytes:  Bytes that can be had now, UINT64_MAX when only trying tells.
 * @free_pages:  For the report.
 * @total_pages: For the report.
 * @why:         When nothing can be had: the reason, for example a setting that is
 *               off. Else empty.
 */
struct wr_pool_supply {
	uint64_t free_bytes;
	uint64_t free_pages;
	uint64_t total_pages;
	char why[128];
};

/**
 * struct wr_pool_provider - Memory of one page kind.
 * @page_bytes: Size of a page, to which sizes are rounded and addresses aligned.
 * @eager:      A page that is missing kills at first touch, so commit() always.
 * @arg:        Handed to every function.
 * @info:       What could be had on a node (-1: no such notion).
 * @reserve:    Put a mapping of @bytes at @at, which is part of a range and aligned to the page;
 *              no pages. On failure the range is as it was.
 * @bind:       Pages of the mapping come from @node; strict: and from nowhere else.
 *              Called before commit().
 * @commit:     Touch a part so that every page is there. Several threads at once.
 * @decommit:   Give the pages of a part back, keep the address space.
 * @huge_bytes: Bytes of the mapping that the kernel backs with huge pages now.
 * @misplaced:  Bytes of the mapping, whose pages are there, that lie on other nodes than
 *              @node, as far as a look at some hundred pages tells.
 * @register_map: Make the mapping known to those who reach its pages by themselves (pin it,
 *              tell a driver). Called once, after commit() where that is called. NULL: nobody.
 * @unregister_map: Undo that; before release(). NULL where @register_map is.
 * @share:      A file descriptor with which another process can map the same pages; it
 *              stays the provider's. NULL: the pages are of this process alone.
 * @release:    Undo reserve(), pages and all; the addresses stay part of the range.
 */
struct wr_pool_provider {
	size_t page_bytes;
	bool eager;
	void *arg;
	int (*info)(void *arg, int node, struct wr_pool_supply *ret);
	int (*reserve)(void *arg, void *at, size_t bytes, struct wr_pool_mapping *ret);
	int (*bind)(void *arg, const struct wr_pool_mapping *map, int node, bool strict);
	int (*commit)(void *arg, const struct wr_pool_mapping *map, size_t offset, size_t bytes);
	int (*decommit)(void *arg, const struct wr_pool_mapping *map, size_t offset, size_t bytes);
	int (*huge_bytes)(void *arg, const struct wr_pool_mapping *map, uint64_t *ret);
	int (*misplaced)(void *arg, const struct wr_pool_mapping *map, int node, uint64_t *ret);
	int (*register_map)(void *arg, const struct wr_pool_mapping *map);
	void (*unregister_map)(void *arg, const struct wr_pool_mapping *map);
	int (*share)(void *arg, const struct wr_pool_mapping *map);
	void (*release)(void *arg, const struct wr_pool_mapping *map);
};

/**
 * struct wr_pool_system - A machine as the pool sees it.
 * @arg:          Handed to every function.
 * @kinds:        The provider of each enum weir_page_kind, NULL when there is none.
 * @nodes:        Mask of the nodes with memory that this process may use; 0 when the
 *                machine has no notion of nodes.
 * @nr_cpus:      Processors of a node (-1: of the process); at least 1.
 * @run_on:       Bind the calling thread to a node's processors, as far as possible.
 * @current_node: The node that the calling thread runs on, -1 unknown. Hot.
 * @distance:     Between two nodes; 10 is local.
 * @available:    Bytes that can be touched without anything being killed, UINT64_MAX
 *                when unknown; @node -1: on the whole machine.
 * @get_range:    Addresses of @bytes, aligned to @align, that nobody may touch.
 * @put_range:    Give them back, when no provider has a mapping there.
 */
struct wr_pool_system {
	void *arg;
	const struct wr_pool_provider *kinds[WEIR_PAGE_KINDS];
	uint64_t (*nodes)(void *arg);
	size_t (*nr_cpus)(void *arg, int node);
	void (*run_on)(void *arg, int node);
	int (*current_node)(void *arg);
	int (*distance)(void *arg, int from, int to);
	uint64_t (*available)(void *arg, int node);
	int (*get_range)(void *arg, size_t bytes, size_t align, struct wr_pool_range *ret);
	void (*put_range)(void *arg, const struct wr_pool_range *range);
};

/* The machine we run on. */
const struct wr_pool_system *wr_pool_system_real(void);

/* The providers it uses, indexed by kind. */
const struct wr_pool_provider *wr_pool_provider_real(int kind);

/* The same for memory that other processes can map; of transparent huge pages there is none. */
const struct wr_pool_provider *wr_pool_provider_memfd(int kind);

/* The machine we run on, with the memfd providers. */
const struct wr_pool_system *wr_pool_system_shared(void);

/* weir_pool_open() on a given machine, which must outlive the pool. */
int wr_pool_open_on(const struct wr_pool_system *system, const struct weir_pool_opts *opts,
		    struct weir_pool **ret, struct weir_error *err);

#endif /* WR_POOL_PROVIDER_H */
