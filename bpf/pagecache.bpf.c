// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Hits and misses of the page cache: the pages that the process's reads look up, and those that are
 * brought in for them.
 *
 * Attached to: tp_btf/mm_filemap_add_to_page_cache, mm_filemap_get_pages, mm_filemap_map_pages and
 *   mm_filemap_fault.
 * Oldest kernel: 5.16 (folios) for misses; 6.13 for lookups, maps and faults.
 * Cost: 0.2 us for each call of the process; a comparison for others.
 * Missing: on a kernel without the three later tracepoints there are misses and no ratio.
 *
 * Pages are counted to the thread that brings them in, so what another process reads ahead is not
 * here. Reads with O_DIRECT pass the page cache by and are not here either.
 */
#include "kern.h"

#include <linux/bpf.h>
#include <weir/trace_abi.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "common.bpf.h"

/* Rare to be shared by threads, often by calls: a value for each CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct weir_file_key);
	__type(value, struct weir_file);
} page_cache SEC(".maps");

static __always_inline struct weir_file *file_of(struct address_space *mapping)
{
	struct weir_file_key key = {};
	struct inode *inode = BPF_CORE_READ(mapping, host);
	struct weir_file fresh = {};

	key.ino = BPF_CORE_READ(inode, i_ino);
	key.dev = BPF_CORE_READ(inode, i_sb, s_dev);
	return get_or_add(&page_cache, &key, &fresh);
}

static __always_inline __u64 pages_of(struct folio *folio)
{
	struct folio___6_18 *newer = (struct folio___6_18 *)folio;
	unsigned long flags;

	if (bpf_core_field_exists(newer->flags.f))
		flags = BPF_CORE_READ(newer, flags.f);
	else
		flags = BPF_CORE_READ(folio, flags);
	if (!(flags & 1ul << bpf_core_enum_value(enum pageflags, PG_head)))
		return 1;
	/* The order of a large folio. */
	return 1ull << (BPF_CORE_READ(folio, _flags_1) & 0x1f);
}

SEC("tp_btf/mm_filemap_add_to_page_cache")
int BPF_PROG(on_add, struct folio *folio)
{
	struct weir_trace_totals *t;
	struct weir_file *v;
	__u64 nr;

	if (!wanted(WEIR_TRACE_PAGE_CACHE))
		return 0;
	v = file_of(BPF_CORE_READ(folio, mapping));
	t = sums();
	if (!v || !t)
		return 0;
	nr = pages_of(folio);
	v->miss_pages += nr;
	add(t->miss_pages, nr);
	return 0;
}

SEC("tp_btf/mm_filemap_get_pages")
int BPF_PROG(on_get, struct address_space *mapping, unsigned long first, unsigned long last)
{
	struct weir_trace_totals *t;
	struct weir_file *v;

	if (!wanted(WEIR_TRACE_PAGE_CACHE))
		return 0;
	v = file_of(mapping);
	t = sums();
	if (!v || !t)
		return 0;
	v->lookup_pages += last - first + 1;
	add(t->lookup_pages, last - first + 1);
	return 0;
}

SEC("tp_btf/mm_filemap_map_pages")
int BPF_PROG(on_map, struct address_space *mapping, unsigned long first, unsigned long last)
{
	struct weir_file *v;

	if (!wanted(WEIR_TRACE_PAGE_CACHE))
		return 0;
	v = file_of(mapping);
	if (v)
		v->map_pages += last - first + 1;
	return 0;
}

SEC("tp_btf/mm_filemap_fault")
int BPF_PROG(on_fault, struct address_space *mapping)
{
	struct weir_file *v;

	if (!wanted(WEIR_TRACE_PAGE_CACHE))
		return 0;
	v = file_of(mapping);
	if (v)
		v->faults++;
	return 0;
}

const char programs_license[] SEC("license") = "Dual MIT/GPL";
