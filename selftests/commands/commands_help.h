/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the commands share: tiny models of every kind, files that are no models, what
 * JSON must have, and how wide text is.
 */
#ifndef WR_SELFTESTS_COMMANDS_HELP_H
#define WR_SELFTESTS_COMMANDS_HELP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "harness/run_weir.h"

#define CT_PATH 600

/* Long enough for a folder and a file below a folder's name. */
struct ct_path {
	char text[CT_PATH];
};

/* "@dir/@name". */
struct ct_path ct_join(const char *dir, const char *name);

enum ct_model {
	CT_SINGLE,  /* safetensors, one file */
	CT_SHARDED, /* safetensors, the same bytes in seven files and an index */
	CT_GGUF,    /* text model and vision tower */
	CT_MOE,	    /* 30B-A3B, safetensors */
	CT_OTHER,   /* CT_SINGLE with another seed */
	CT_BIG,	    /* safetensors, a pass visits more than 100 MB */
	CT_NR_MODELS,
};

extern const char *const ct_model_names[CT_NR_MODELS];

/* Write that model into the new folder @dir. Returns the status of mkmodel. */
int ct_make(enum ct_model kind, const char *dir);

/* Write a file. Returns 0 or -1. */
int ct_write(const char *path, const void *data, size_t bytes);

/* Write a safetensors file of that header, its length before and @tail zeros behind it. */
int ct_write_header(const char *path, const char *header, size_t tail);

/* Copy a folder of files. Returns 0 or -1. */
int ct_copy(const char *from, const char *to);

/* In the file at @path replace the first @old by @new; -1 when it is not there. */
int ct_replace(const char *path, const char *old, const char *new);

/**
 * ct_lacks() - What @root lacks of @members.
 * @root:    An object.
 * @members: "path:type", ended by NULL: path as for wt_at(), where "[]" stands for every element
 *           of an array, of which there is at least one. The type is s(tring), i(nteger),
 *           r(eal), b(oolean), o(bject), a(rray) or n(ull); several letters allow each.
 *
 * Return: The first member that is not there or of another type, or NULL.
 */
const char *ct_lacks(json_t *root, const char *const *members);

/**
 * ct_undocumented() - A member that a manual page does not name.
 * @root: An object.
 * @page: "weir-load".
 * @ret:  Its name, when one was found.
 *
 * Return: Whether one was found. True with "?" when the page cannot be read.
 */
bool ct_undocumented(json_t *root, const char *page, char *ret, size_t size);

/* The first line above 80 columns, to be freed, or NULL. @path, printed whole, does not count. */
char *ct_wide_line(const char *text, const char *path);

/* The smallest budget that the error of @run names; 0 when it names none. */
uint64_t ct_least_budget(const struct wt_run *run);

#endif /* WR_SELFTESTS_COMMANDS_HELP_H */
