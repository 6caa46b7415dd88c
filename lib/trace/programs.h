/* SPDX-License-Identifier: MIT */
/* The BPF objects that the library carries, and which parts of a trace each of them serves. */
#ifndef WR_TRACE_PROGRAMS_H
#define WR_TRACE_PROGRAMS_H

#include <weir/trace_abi.h>

/* Both are needed: one compiles the programs, the other loads them. */
#define WR_TRACE_BPF (HAVE_LIBBPF && HAVE_BPF_CLANG)

/* Parts that need the probe sites of weir's library. */
#define WR_TRACE_SITES (WEIR_TRACE_HOLDS | WEIR_TRACE_CACHE | WEIR_TRACE_STAGES)

/* name of bpf/NAME.bpf.c, parts */
#define WR_TRACE_PROGRAMS(X)                               \
	X(sched, WEIR_TRACE_LOCKS)                         \
	X(pagecache, WEIR_TRACE_PAGE_CACHE)                \
	X(io, WEIR_TRACE_IO)                               \
	X(miss, WEIR_TRACE_FAULTS | WEIR_TRACE_CPU_MISSES) \
	X(usdt, WR_TRACE_SITES)                            \
	X(deep, WEIR_TRACE_DEEP)

enum {
#define COUNT(name, parts) WR_TRACE_PROGRAM_##name,
	WR_TRACE_PROGRAMS(COUNT)
#undef COUNT
		WR_TRACE_NR_PROGRAMS
};

struct wr_trace_program {
	const char *name;
	__u32 parts;
	const char *begin, *end; /* an ELF file */
};

extern const struct wr_trace_program wr_trace_programs[WR_TRACE_NR_PROGRAMS];

#endif /* WR_TRACE_PROGRAMS_H */
