/* SPDX-License-Identifier: MIT */
/* A trace, for the files of this module. */
#ifndef WR_TRACE_SESSION_H
#define WR_TRACE_SESSION_H

#include <weir/trace.h>

#include "trace/programs.h"

struct btf;
struct bpf_link;
struct bpf_object;

/* name, bytes of a key, bytes of a value: a map that is found pinned must be so */
#define WR_TRACE_MAPS(X)                                                                     \
	X(config, 4, sizeof(struct weir_trace_config))                                       \
	X(totals, 4, sizeof(struct weir_trace_totals))                                       \
	X(events, 4, sizeof(struct weir_trace_event))                                        \
	X(stacks, 4, 256)                                                                    \
	X(modules, 4, sizeof(struct weir_module))                                            \
	X(lock_names, sizeof(struct weir_addr_key), sizeof(struct weir_lock_name))           \
	X(waiting, 4, sizeof(struct weir_waiting))                                           \
	X(lock_waits, sizeof(struct weir_addr_key), sizeof(struct weir_lock_waits))          \
	X(lock_holders, sizeof(struct weir_site_key), sizeof(struct weir_site))              \
	X(lock_waiters, sizeof(struct weir_site_key), sizeof(struct weir_site))              \
	X(timeline, 4, sizeof(struct weir_trace_slot))                                       \
	X(cache_misses, sizeof(struct weir_miss_key), sizeof(struct weir_miss))              \
	X(miss_sites, sizeof(struct weir_miss_site_key), sizeof(struct weir_miss))           \
	X(page_cache, sizeof(struct weir_file_key), sizeof(struct weir_file))                \
	X(io_times, sizeof(struct weir_io_key), sizeof(struct weir_io_times))                \
	X(lock_holds, sizeof(struct weir_addr_key), sizeof(struct weir_lock_holds))          \
	X(hold_timeline, 4, sizeof(struct weir_trace_slot))                                  \
	X(cache_events, sizeof(struct weir_cache_key), sizeof(struct weir_cache_events))     \
	X(cache_sites, sizeof(struct weir_cache_site_key), sizeof(struct weir_cache_events)) \
	X(lock_deep, sizeof(struct weir_addr_key), sizeof(struct weir_lock_deep))            \
	X(deep_timeline, 4, sizeof(struct weir_trace_slot))                                  \
	X(lock_meta, 4, sizeof(struct weir_lock_meta))                                       \
	X(lock_ranks, 4, sizeof(struct weir_lock_rank))                                      \
	X(lock_self, 4, sizeof(struct weir_lock_self))                                       \
	X(meta, 4, sizeof(struct weir_trace_meta))

enum wr_trace_map {
#define MAP(name, key, value) WR_MAP_##name,
	WR_TRACE_MAPS(MAP)
#undef MAP
		WR_TRACE_NR_MAPS
};

/* What keeps a program attached: libbpf's link, or a descriptor of one that libbpf does not know. */
struct wr_trace_link {
	struct bpf_link *link;
	int fd;
	char name[40];
};

/* All [const] between start or find and close, but what the maps contain. */
struct weir_trace {
	int pid;
	int map[WR_TRACE_NR_MAPS]; /* descriptors, -1: none */
	struct weir_trace_meta *meta;
	struct weir_trace_config *config;
	struct weir_trace_totals *totals;
	struct weir_trace_event *events;
	struct bpf_object *object[WR_TRACE_NR_PROGRAMS];
	struct wr_trace_link *links;
	size_t nr_links;
	bool pinned;
	struct btf *btf;    /* the kernel's, while programs are attached */
	bool may_step;	    /* breakpoints where single steps are needed */
	bool without_multi; /* this kernel has no links of many places */
	char dir[256];	    /* of its own pins */
};

extern const char *const wr_trace_map_names[WR_TRACE_NR_MAPS];

/* attach.c: load what @parts need and attach it; the parts that work, in *ret_on. */
int wr_trace_attach(struct weir_trace *t, uint32_t parts, struct weir_error *err);
void wr_trace_detach(struct weir_trace *t);
/* Takes over @link, or @fd where that is NULL, also on failure; pinned as link_NAME. 0, -ENOMEM. */
int wr_trace_keep(struct weir_trace *t, struct bpf_link *link, int fd, const char *name);
/* Cut the links from the one of number @first on. */
void wr_trace_drop(struct weir_trace *t, size_t first);

/* usdt.c: before the object is loaded; attach one part's programs to the process's sites. */
void wr_trace_sites_prepare(const struct weir_trace *t, struct bpf_object *object);
int wr_trace_attach_sites(struct weir_trace *t, uint32_t part, struct bpf_object *object);

/* deep.c: -EOPNOTSUPP: refused because of single steps. */
int wr_trace_attach_deep(struct weir_trace *t, struct bpf_object *object);

/* pin.c */
int wr_trace_pin_name(char dir[static 256], const char *pin_dir, int pid);
int wr_trace_pin_make(struct weir_trace *t, const char *pin_dir, struct weir_error *err);
int wr_trace_pin_all(struct weir_trace *t);
int wr_trace_pin_open(struct weir_trace *t, const char *pin_dir, struct weir_error *err);
int wr_trace_pin_remove(const char *dir);
void wr_trace_pin_sweep(const char *pin_dir);

/*
 * modules.c: note the files that the process runs code of, and the names of its locks, while it is
 * there to be asked. What cannot be had is left out; why, in meta.
 */
void wr_trace_note_modules(struct weir_trace *t);
void wr_trace_note_lock_names(struct weir_trace *t);
/* Whether the process that is traced is still there. */
bool wr_trace_is_alive(const struct weir_trace *t);

/* trace.c: map the shared arrays of whose maps there are descriptors. */
int wr_trace_map_arrays(struct weir_trace *t);
/* Field 22 of /proc/PID/stat; 0: there is no such process. */
uint64_t wr_trace_start_ticks(int pid);

#endif /* WR_TRACE_SESSION_H */
