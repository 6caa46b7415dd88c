/* SPDX-License-Identifier: MIT */
/* What `weir trace` gathers of a trace, and the forms it is shown in. */
#ifndef WR_TOOLS_TRACING_H
#define WR_TOOLS_TRACING_H

#include <jansson.h>
#include <weir/trace_symbol.h>

/* A thread at a lock, and from where in the code: who waited, or who let go. */
struct wr_tracing_holder {
	struct weir_site_key key;
	struct weir_site site;
};

struct wr_tracing_file {
	struct weir_file_key key;
	struct weir_file file;
};

struct wr_tracing_io {
	struct weir_io_key key;
	struct weir_io_times times;
};

struct wr_tracing_miss {
	struct weir_miss_key key;
	struct weir_miss miss;
};

struct wr_tracing_miss_site {
	struct weir_miss_site_key key;
	struct weir_miss miss;
};

struct wr_tracing_cache {
	struct weir_cache_key key;
	struct weir_cache_events events;
};

/* A copy of everything, at about one moment. */
struct wr_tracing {
	struct weir_trace_meta meta;
	struct weir_trace_totals totals;
	struct weir_trace_lock *locks; /* the longest waited for first */
	struct weir_trace_hold *holds; /* the longest held first */
	struct weir_trace_deep_lock *deeps;
	struct wr_tracing_holder *holders; /* who let go, by lock and thread */
	struct wr_tracing_holder *let_go;  /* the same, by place in the code, too */
	struct wr_tracing_holder *waiters; /* who waited; the longest first */
	struct wr_tracing_file *files;
	struct wr_tracing_io *ios;
	struct wr_tracing_miss *misses;
	struct wr_tracing_miss_site *miss_sites;
	struct wr_tracing_cache *caches;
	size_t nr_locks, nr_holds, nr_deeps, nr_holders, nr_let_go, nr_waiters;
	size_t nr_files, nr_ios, nr_misses, nr_miss_sites, nr_caches;
	const struct weir_trace *trace;
	struct weir_trace_symbols *symbols;
};

int wr_tracing_read(struct weir_trace *trace, struct wr_tracing *ret);
void wr_tracing_fini(struct wr_tracing *t);

/* The thread that kept others waiting at @addr longest, or NULL. */
const struct wr_tracing_holder *wr_tracing_worst(const struct wr_tracing *t, uint64_t addr);

/* Words for the enums of weir/trace_abi.h. */
const char *wr_tracing_wait(int kind);
const char *wr_tracing_miss_source(int source);

/* ---- names (tracing_name.c) ---- */

#define WR_TRACING_NAME 160

/*
 * What an address is called: a function or variable and how far into it, a file and the address in
 * it, or the address. C++ names are made readable where the system can. Printable, returns @text.
 */
const char *wr_tracing_name(const struct wr_tracing *t, uint64_t address,
			    char text[static WR_TRACING_NAME]);
/* The same of the function that a frame of a stack is in, @index being 0 for the innermost. */
const char *wr_tracing_frame(const struct wr_tracing *t, const uint64_t *frames, int index,
			     char text[static WR_TRACING_NAME]);
/* Of a lock: its own name, or that of its address. */
const char *wr_tracing_lock(const struct wr_tracing *t, uint64_t address, const char *name,
			    char text[static WR_TRACING_NAME]);
/* The stack of a place, its caller of the C library put where it belongs; their number, 0 for none. */
int wr_tracing_frames(const struct wr_tracing *t, int32_t stack_id, uint64_t caller,
		      uint64_t frames[static WEIR_TRACE_FRAMES + 1]);
/* A stack as a list of {addr, name, file, file_addr}, the innermost first; null without one. */
json_t *wr_tracing_stack_json(const struct wr_tracing *t, int32_t stack_id, uint64_t caller);

/* ---- forms ---- */

void wr_tracing_print(const struct weir_trace *trace, const struct wr_tracing *t);
json_t *wr_tracing_json(const struct weir_trace *trace, const struct wr_tracing *t);

/* The last events in the format of Chrome's tracing, which Perfetto reads. */
int wr_tracing_perfetto(struct weir_trace *trace, const struct wr_tracing *t, const char *path,
			struct weir_error *err);

/* What --folded may show, words separated by '|'. */
#define WR_TRACING_FOLDED "waits|holders|faults|cpu-misses"
enum wr_tracing_folded {
	WR_TRACING_WAITS,
	WR_TRACING_HOLDERS,
	WR_TRACING_FAULTS,
	WR_TRACING_CPU_MISSES
};

/* Stacks on stdout as flame graphs are made of: "thread;outer;inner NUMBER". */
int wr_tracing_folded(const struct wr_tracing *t, enum wr_tracing_folded what,
		      struct weir_error *err);

/* A heat map of holds: time to the right, their length upwards, their number as colour. */
int wr_tracing_heat(struct weir_trace *trace, const struct wr_tracing *t, const char *path,
		    struct weir_error *err);

#endif /* WR_TOOLS_TRACING_H */
