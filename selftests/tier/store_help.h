/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the store share: folders, blocks whose bytes follow from key and version, and
 * calls that are waited for.
 */
#ifndef WR_TEST_STORE_HELP_H
#define WR_TEST_STORE_HELP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tier/store.h"

/* A fresh folder's name in the build folder; it is not made. */
void st_dir(char *ret, size_t size, const char *name);
void st_dir_remove(const char *dir);
/* Bytes of all files in it, as allocated. */
uint64_t st_dir_bytes(const char *dir);

/* Descriptors that were not open when the program began. */
int st_nr_fds_left(void);

struct weir_key st_key(uint64_t n);
/* Length and contents of block @n in version @version: 1 byte to @most. */
size_t st_bytes(uint64_t n, uint64_t version, size_t most);
void st_fill(void *buf, size_t bytes, uint64_t n, uint64_t version);
bool st_is(const void *buf, size_t bytes, uint64_t n, uint64_t version);

/* Aligned memory; aborts when there is none. free() gives it back. */
void *st_mem(size_t bytes);

/* Small segments, a budget of @segments of them. */
struct wr_store_opts st_opts(uint64_t segments);

/* Each waits for the end and gives whichever result failed. */
int st_put(struct wr_store *s, uint64_t n, uint64_t version, size_t bytes);
int st_remove(struct wr_store *s, uint64_t n);
/* 0 when block @n is there with the contents of @version; 1 when they are others. */
int st_get(struct wr_store *s, uint64_t n, uint64_t version, size_t bytes);

#endif /* WR_TEST_STORE_HELP_H */
