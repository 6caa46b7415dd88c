/* SPDX-License-Identifier: MIT */
/*
 * Names of files: beside each other, in a directory, parts of a split model.
 */
#ifndef WR_WEIGHTS_DIRECTORY_H
#define WR_WEIGHTS_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weights/window.h"

/* The last component of a path. */
const char *wr_path_name(const char *path);

/* New strings, wr_free() them: @name in the directory of @path; @name in @dir. NULL: no memory. */
char *wr_path_beside(const char *path, const char *name);
char *wr_path_join(const char *dir, const char *name);

/* "-00001-of-00003.gguf", as written by llama.cpp's gguf-split. */
#define WR_SPLIT_TAIL_BYTES 20u

/* Does @path end with "-00002-of-00003.gguf"? Then *ret_no is 1 and *ret_count 3. */
bool wr_split_name(const char *path, uint64_t *ret_no, uint64_t *ret_count);

/* What a directory could be opened by, sorted by name. */
struct wr_listing {
	char **name;
	size_t nr;
	size_t room;
	bool gguf; /* they are GGUF files; of a split model its first part that is there */
};

/*
 * Read the directory that @src is. Names that lose to a better one are dropped: see model.c.
 * Returns 0, -EFBIG, -EIO, -ENOMEM.
 */
int wr_listing_read(struct wr_listing *list, struct wr_src *src);
void wr_listing_fini(struct wr_listing *list);

#endif /* WR_WEIGHTS_DIRECTORY_H */
