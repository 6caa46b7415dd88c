/* SPDX-License-Identifier: MIT */
/*
 * The tests' way to the binary `weir`: run it as a shell would, look at what it printed, and have a
 * folder that goes away.
 */
#ifndef WR_SELFTESTS_RUN_WEIR_H
#define WR_SELFTESTS_RUN_WEIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>

/**
 * struct wt_run - One run; all zero before the first, and after wt_run_fini().
 * @prepare: Called in the child before the binary is executed; not 0 ends it with status 125.
 * @arg:     For @prepare.
 * @group:   The child leads a process group of its own, so that it can be sent a ^C.
 * @pid:     Of the child, while it runs.
 * @status:  Its exit status, or 128 + the signal that ended it.
 * @killed:  A signal ended it: 128 + SIGINT is 130, too.
 * @out:     What it printed on stdout.
 * @err:     What it printed on stderr.
 * @json:    @out as JSON; NULL when that is not exactly one object.
 */
struct wt_run {
	int (*prepare)(void *arg);
	void *arg;
	bool group;
	pid_t pid;
	int status;
	bool killed;
	char *out;
	char *err;
	json_t *json;
	int out_fd, err_fd;
};

/* The first arguments of wt_weir() are the command's; NULL ends them. */
#define WT_SENTINEL __attribute__((sentinel))

/* Run the binary with these arguments and wait for it. Returns @run->status. */
int wt_weir(struct wt_run *run, ...) WT_SENTINEL;

/* The two halves: @args ends with NULL. Returns 0, or -1 when there is no further process. */
int wt_start(struct wt_run *run, const char *const *args);
int wt_wait(struct wt_run *run);

/* Forget what was printed; the rest of @run stays as it is. */
void wt_run_fini(struct wt_run *run);

/* Run the binary with @fmt through the shell; its stdout, ended by NUL, into @ret; the status. */
__attribute__((format(printf, 3, 4))) int wt_shell(char *ret, size_t size, const char *fmt, ...);

/*
 * What stands at "a.b" or "a.3.b" in @root; NULL when it is not there. wt_int() is -1 and
 * wt_text() "" for what is no integer, no string.
 */
json_t *wt_at(json_t *root, const char *path);
int64_t wt_int(json_t *root, const char *path);
double wt_real(json_t *root, const char *path);
const char *wt_text(json_t *root, const char *path);

/* Name of a new folder in @parent, NULL for the build folder. Does not fail: ends the process. */
void wt_dir_make(char *ret, size_t size, const char *parent);
/* Remove it with what is in it. */
void wt_dir_remove(const char *dir);

/* The path of the binary under test. */
const char *wt_binary(void);

#endif /* WR_SELFTESTS_RUN_WEIR_H */
