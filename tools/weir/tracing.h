/* SPDX-License-Identifier: MIT */
/* What `weir trace` gathers of a trace, and the forms it is shown in. */
#ifndef WR_TOOLS_TRACING_H
#define WR_TOOLS_TRACING_H

#include <jansson.h>
#include <weir/trace.h>

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

/* A copy of everything, at about one moment. */
struct wr_tracing {
	struct weir_trace_meta meta;
	struct weir_trace_totals totals;
	struct weir_trace_lock *locks; /* the longest waited for first */
	struct wr_tracing_holder *holders;
	struct wr_tracing_file *files;
	struct wr_tracing_io *ios;
	struct wr_tracing_miss *misses;
	size_t nr_locks, nr_holders, nr_files, nr_ios, nr_misses;
};

int wr_tracing_read(struct weir_trace *trace, struct wr_tracing *ret);
void wr_tracing_fini(struct wr_tracing *t);

/* The thread that kept others waiting at @addr longest, or NULL. */
const struct wr_tracing_holder *wr_tracing_worst(const struct wr_tracing *t, uint64_t addr);

/* Words for the enums of weir/trace_abi.h. */
const char *wr_tracing_wait(int kind);
const char *wr_tracing_miss_source(int source);

void wr_tracing_print(const struct weir_trace *trace, const struct wr_tracing *t);
json_t *wr_tracing_json(const struct weir_trace *trace, const struct wr_tracing *t);

/* The last events in the format of Chrome's tracing, which Perfetto reads. */
int wr_tracing_perfetto(struct weir_trace *trace, const char *path, struct weir_error *err);

#endif /* WR_TOOLS_TRACING_H */
