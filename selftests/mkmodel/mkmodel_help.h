/* SPDX-License-Identifier: MIT */
/*
 * What the tests of `weir mkmodel` share: running it, whole files, and plans of tiny models.
 */
#ifndef WR_SELFTESTS_MKMODEL_HELP_H
#define WR_SELFTESTS_MKMODEL_HELP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "harness/run_weir.h"

struct wr_mk_file;
struct wr_mk_plan;

/* Starts `weir mkmodel ARGS...`; @args ends with NULL. See wt_start(). */
int mkt_start(struct wt_run *run, const char *const *args);

/* Runs to the end; what was printed is dropped. */
int mkt_run(const char *const *args);

/* Runs with --json added and parses what was printed; NULL when that is no JSON. */
json_t *mkt_run_json(const char *const *args, int *ret_status);

/* Files in @dir, "." and ".." left out; -1 when it is not there. */
int mkt_count_files(const char *dir);
bool mkt_exists(const char *dir, const char *name);

/* A whole file, to be freed, or NULL. */
unsigned char *mkt_read(const char *dir, const char *name, size_t *ret_len);

/* FNV-1a: enough to notice a change. */
uint64_t mkt_hash(const void *data, size_t len);

enum mkt_kind {
	MKT_SAFETENSORS,
	MKT_GGUF_F16,
	MKT_GGUF_BF16,
	MKT_GGUF_F32,
	MKT_GGUF_Q8_0,
	MKT_NR_KINDS,
};

/* @name cut to 2 layers, 3 vision blocks, 96 tokens and a sixteenth of the width. */
int mkt_plan(const char *name, enum mkt_kind kind, uint64_t seed, struct wr_mk_plan *ret);

/* A whole file of a plan, rendered at once, to be freed. */
unsigned char *mkt_render(const struct wr_mk_file *f);

#endif /* WR_SELFTESTS_MKMODEL_HELP_H */
