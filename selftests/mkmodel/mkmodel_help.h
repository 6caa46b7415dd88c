/* SPDX-License-Identifier: MIT */
/*
 * What the tests of `weir mkmodel` share: running the binary, a folder that goes away, whole files,
 * and plans of tiny models.
 */
#ifndef WR_SELFTESTS_MKMODEL_HELP_H
#define WR_SELFTESTS_MKMODEL_HELP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>

struct wr_mk_file;
struct wr_mk_plan;

/* Starts `weir mkmodel ARGS...` with stdout and stderr into *ret_fd; @args ends with NULL. */
pid_t mkt_start(const char *const *args, int *ret_fd);

/* Exit status of a child, 128 + signal when it was killed. */
int mkt_wait(pid_t pid);

/* Runs to the end; what was printed is dropped. */
int mkt_run(const char *const *args);

/* Runs with --json added and parses what was printed; NULL when that is no JSON. */
json_t *mkt_run_json(const char *const *args, int *ret_status);

/* Name of a new folder below the build folder. */
void mkt_make_dir(char *ret, size_t size);
void mkt_remove_dir(const char *dir);

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
