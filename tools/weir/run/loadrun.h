/* SPDX-License-Identifier: MIT */
/*
 * loadrun.h - Cold loads of a model, timed: what `weir load` and `weir bench load` share.
 */
#ifndef WR_TOOLS_LOADRUN_H
#define WR_TOOLS_LOADRUN_H

#include <stdint.h>

#include <weir/weir.h>

/**
 * struct wr_loadrun - A context large enough for a model, its memory touched, and the model.
 * @weir:    The context.
 * @model:   The model.
 * @open_ns: How long opening took: above all, touching the memory.
 */
struct wr_loadrun {
	struct weir *weir;
	struct weir_model *model;
	uint64_t open_ns;
};

/**
 * struct wr_loadrun_result - One load.
 * @ns:           From nothing in memory to every tensor readable.
 * @cpu_ns:       User and system time of the process, all threads.
 * @bytes:        Bytes of the tensors.
 * @bytes_read:   Bytes that came from the files.
 * @cache_growth: Bytes of the model's files that the page cache gained.
 */
struct wr_loadrun_result {
	uint64_t ns;
	uint64_t cpu_ns;
	uint64_t bytes;
	uint64_t bytes_read;
	int64_t cache_growth;
};

/* Open model and context, with progress on stderr unless @quiet. 0, or the error in @err. */
int wr_loadrun_open(struct wr_loadrun *run, const char *path, uint32_t backend, uint32_t page_kinds,
		    bool quiet, struct weir_error *err);
void wr_loadrun_close(struct wr_loadrun *run);

/* Drop the files from the page cache, load, unload. */
int wr_loadrun_once(struct wr_loadrun *run, struct wr_loadrun_result *ret, struct weir_error *err);

#endif /* WR_TOOLS_LOADRUN_H */
