/* SPDX-License-Identifier: MIT */
/*
 * fio.c - Run fio and read its JSON.
 *
 * One job per file, each waiting for the one before (stonewall): files of different
 * sizes are read whole and in order, which a single job over several files does not
 * do. fio drops a file's cached pages before it reads, so every run is cold.
 */
#include "fio.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "base/util.h"

extern char **environ;

#define HUGE_BYTES	 (2u << 20)
#define OUTPUT_MAX_BYTES (16u << 20)

/* ---- huge pages ---- */

static const char pool_dir[] = "/sys/kernel/mm/hugepages/hugepages-2048kB/";

static int read_number(const char *name, uint64_t *ret)
{
	char path[128];
	FILE *f;
	int nr;

	snprintf(path, sizeof(path), "%s%s", pool_dir, name);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	nr = fscanf(f, "%" SCNu64, ret);
	fclose(f);
	return nr == 1 ? 0 : -EIO;
}

static int write_number(const char *name, uint64_t value)
{
	char path[128];
	int code = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s%s", pool_dir, name);
	f = fopen(path, "we");
	if (!f)
		return -errno;
	if (fprintf(f, "%" PRIu64 "\n", value) < 0)
		code = -EIO;
	if (fclose(f) && !code)
		code = -errno;
	return code;
}

/* Pages that were added to the machine's reserve and how many there were before. */
struct reserve {
	bool changed;
	uint64_t before;
};

static void reserve_put(const struct reserve *r)
{
	/* Failing to give back is worth a word: the machine keeps less memory than before. */
	if (r->changed && write_number("nr_hugepages", r->before))
		fprintf(stderr, "weir: nr_hugepages could not be set back to %" PRIu64 "\n",
			r->before);
}

/* Make @need pages free. On failure says why in @reason and leaves everything as it was. */
static int reserve_get(uint64_t need, struct reserve *ret, char *reason, size_t size)
{
	uint64_t available = 0;
	int code;

	*ret = (struct reserve){0};
	if (read_number("free_hugepages", &available) ||
	    read_number("nr_hugepages", &ret->before)) {
		snprintf(reason, size, "this kernel has no 2 MiB hugetlb pages");
		return -EOPNOTSUPP;
	}
	if (available >= need)
		return 0;
	code = write_number("nr_hugepages", ret->before + need - available);
	if (code) {
		snprintf(reason, size, "%" PRIu64 " of %" PRIu64 " 2 MiB pages are free: %s",
			 available, need, strerror(-code));
		return code;
	}
	ret->changed = true;
	if (!read_number("free_hugepages", &available) && available >= need)
		return 0;
	snprintf(reason, size, "the kernel found %" PRIu64 " of %" PRIu64 " 2 MiB pages", available,
		 need);
	reserve_put(ret);
	ret->changed = false;
	return -ENOMEM;
}

/* ---- running it ---- */

/* "--filename=" with the colons of the path escaped, which separate names in fio. */
static char *filename_option(const char *path)
{
	char *option = malloc(strlen("--filename=") + 2 * strlen(path) + 1);
	char *p = option;

	if (!option)
		return NULL;
	p = stpcpy(p, "--filename=");
	for (; *path; path++) {
		if (*path == ':' || *path == '\\')
			*p++ = '\\';
		*p++ = *path;
	}
	*p = '\0';
	return option;
}

static void free_arguments(char **argv)
{
	for (char **a = argv; a && *a; a++)
		free(*a);
	free(argv);
}

/* fio's argument vector; NULL without memory. */
static char **make_arguments(const struct wr_fio_opts *o, bool huge)
{
	size_t room = 12 + 4 * o->nr_files, nr = 0;
	char **argv = calloc(room, sizeof(*argv));
	bool lost = false;
	char text[64];

#define ADD(string) (lost = lost || !(argv[nr++] = (string)))
	if (!argv)
		return NULL;
	ADD(strdup("fio"));
	ADD(strdup("--output-format=json"));
	ADD(strdup("--ioengine=io_uring"));
	ADD(strdup("--direct=1"));
	ADD(strdup(o->write ? "--rw=write" : "--rw=read"));
	ADD(strdup(o->write ? "--end_fsync=1" : "--readonly"));
	ADD(strdup("--thread"));
	ADD(strdup(huge ? "--mem=mmaphuge" : "--mem=malloc"));
	snprintf(text, sizeof(text), "--bs=%zu", o->block_bytes ? o->block_bytes : (size_t)1 << 20);
	ADD(strdup(text));
	snprintf(text, sizeof(text), "--iodepth=%u", o->depth ? o->depth : 16);
	ADD(strdup(text));
	for (size_t i = 0; i < o->nr_files; i++) {
		snprintf(text, sizeof(text), "--name=file%zu", i);
		ADD(strdup(text));
		ADD(filename_option(o->files[i]));
		ADD(strdup("--stonewall"));
		if (o->file_bytes) {
			snprintf(text, sizeof(text), "--size=%" PRIu64, o->file_bytes);
			ADD(strdup(text));
		}
	}
#undef ADD
	if (lost) {
		free_arguments(argv);
		return NULL;
	}
	return argv;
}

static int spawn(char **argv, const sigset_t *mask, int *ret_fd, pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	int fds[2], code;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDERR_FILENO);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, mask);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	code = -posix_spawnp(ret_pid, argv[0], &actions, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	if (code)
		close(fds[0]);
	else
		*ret_fd = fds[0];
	return code;
}

/* All that comes from @fd, NUL-terminated; NULL without memory or when it is too much. */
static char *read_all(int fd)
{
	size_t room = 1 << 16, used = 0;
	char *text = malloc(room);

	while (text) {
		ssize_t n = read(fd, text + used, room - used - 1);
		char *larger;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			text[used] = '\0';
			return text;
		}
		used += (size_t)n;
		if (room - used > 1)
			continue;
		larger = room < OUTPUT_MAX_BYTES ? realloc(text, room *= 2) : NULL;
		if (!larger)
			free(text);
		text = larger;
	}
	return NULL;
}

/* Run @argv; its output goes to @ret, which the caller frees. */
static int run(char **argv, const sigset_t *mask, char **ret, struct weir_error *err)
{
	char *output;
	int fd = -1, status, code;
	pid_t pid;

	code = spawn(argv, mask, &fd, &pid);
	if (code == -ENOENT)
		return wr_error_set(err, code, NULL, WEIR_OFFSET_NONE,
				    "fio is not installed: apt install fio");
	if (code)
		return wr_error_set(err, code, NULL, WEIR_OFFSET_NONE,
				    "fio could not be started: %s", strerror(-code));
	output = read_all(fd);
	close(fd);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!output)
		return wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE,
				    "no memory for fio's output");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		*ret = output;
		return 0;
	}
	if (WIFSIGNALED(status) || WEXITSTATUS(status) == 128 + SIGINT)
		code = wr_error_set(err, -EINTR, NULL, WEIR_OFFSET_NONE, "fio was stopped");
	else
		code = wr_error_set(err, -EIO, NULL, WEIR_OFFSET_NONE, "fio failed: %.*s",
				    (int)strcspn(output, "\n"), output);
	free(output);
	return code;
}

/* ---- its answer ---- */

static double number(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

static int parse(const char *output, struct wr_fio_result *r, struct weir_error *err)
{
	const char *start = strchr(output, '{'); /* warnings may come first */
	json_t *root = start ? json_loads(start, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
	json_t *jobs = json_object_get(root, "jobs"), *job;
	const char *version = json_string_value(json_object_get(root, "fio version"));
	int failed = 0;
	size_t i;

	snprintf(r->version, sizeof(r->version), "%s", version ? version : "fio");
	json_array_foreach(jobs, i, job) {
		/* What a job does not do is there with zeroes. */
		const json_t *rd = json_object_get(job, "read");
		const json_t *wr = json_object_get(job, "write");

		failed |= (int)number(job, "error");
		r->bytes += (uint64_t)(number(rd, "io_bytes") + number(wr, "io_bytes"));
		r->seconds += (number(rd, "runtime") + number(wr, "runtime")) / 1e3;
		r->cpu_seconds += (number(job, "usr_cpu") + number(job, "sys_cpu")) / 100 *
				  number(job, "job_runtime") / 1e3;
	}
	json_decref(root);
	if (failed)
		return wr_error_set(err, -EIO, NULL, WEIR_OFFSET_NONE, "fio failed: %s",
				    strerror(failed));
	if (!r->bytes)
		return wr_error_set(err, -EIO, NULL, WEIR_OFFSET_NONE,
				    "fio's output tells no bytes");
	/* A file that is read within a millisecond has a runtime of 0. */
	if (r->seconds < 1e-3)
		r->seconds = 1e-3;
	r->bytes_per_second = (double)r->bytes / r->seconds;
	return 0;
}

static int run_and_parse(const struct wr_fio_opts *opts, const sigset_t *mask,
			 struct wr_fio_result *r, struct weir_error *err)
{
	char **argv = make_arguments(opts, r->huge_pages);
	char *output = NULL;
	int code;

	if (!argv)
		return wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE, "no memory");
	code = run(argv, mask, &output, err);
	free_arguments(argv);
	if (code)
		return code;
	code = parse(output, r, err);
	free(output);
	return code;
}

/* fio makes folders and files that are not there, so it must not see such names. */
static int check_files(const struct wr_fio_opts *opts, struct weir_error *err)
{
	struct stat st;

	if (!opts->nr_files)
		return wr_error_set(err, -EINVAL, NULL, WEIR_OFFSET_NONE,
				    "no file for fio to read");
	for (size_t i = 0; i < opts->nr_files; i++)
		if (stat(opts->files[i], &st) || !S_ISREG(st.st_mode))
			return wr_error_set(err, -EINVAL, opts->files[i], WEIR_OFFSET_NONE,
					    "not a regular file");
	return 0;
}

int wr_fio_read(const struct wr_fio_opts *opts, struct wr_fio_result *ret, struct weir_error *err)
{
	size_t block = opts->block_bytes ? opts->block_bytes : (size_t)1 << 20;
	/* Every job takes its buffers at the start, also those that wait for the one before. */
	uint64_t pages = ((uint64_t)block * (opts->depth ? opts->depth : 16) / HUGE_BYTES + 2) *
			 opts->nr_files;
	struct wr_fio_result r = {0};
	struct reserve reserve = {0};
	sigset_t held, before;
	int code = check_files(opts, err);

	if (code)
		return code;
	sigemptyset(&held);
	sigaddset(&held, SIGINT);
	sigaddset(&held, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &held, &before);
	if (opts->huge_pages)
		r.huge_pages = !reserve_get(pages, &reserve, r.page_reason, sizeof(r.page_reason));
	code = run_and_parse(opts, &before, &r, err);
	reserve_put(&reserve);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!code)
		*ret = r;
	return code;
}
