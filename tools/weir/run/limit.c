/* SPDX-License-Identifier: MIT */
/*
 * limit.c - Memory cgroups of both versions, made for one child.
 *
 * Version 1 keeps a tree per controller: the child's group is made below our own.
 * Version 2 forbids a group with processes of its own to hand controllers to its
 * children (kernel: Documentation/admin-guide/cgroup-v2.rst, "No Internal Process
 * Constraint"), so the group is made beside ours, or below the root, which is exempt.
 */
#include "limit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "peak.h"

/* Names that differ between the versions. */
static const struct {
	const char *limit, *swap, *usage, *peak, *events;
} names[3] = {
	[1] = {"memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.usage_in_bytes",
	       "memory.max_usage_in_bytes", "memory.oom_control"},
	[2] = {"memory.max", "memory.swap.max", "memory.current", "memory.peak", "memory.events"},
};

struct group {
	int version;
	char path[512];
};

static int read_file(const struct group *g, const char *name, char *text, size_t size)
{
	char path[640];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", g->path, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, size - 1);
	close(fd);
	if (n < 0)
		return -EIO;
	text[n] = '\0';
	return 0;
}

static int write_file(const char *dir, const char *name, const char *text)
{
	char path[640];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return wr_peak_write(path, text);
}

static uint64_t read_u64(const struct group *g, const char *name)
{
	char text[64];

	return read_file(g, name, text, sizeof(text)) ? 0 : strtoull(text, NULL, 10);
}

/* The number behind "oom_kill " in the events of the group. */
static uint64_t oom_kills(const struct group *g)
{
	char text[1024];
	const char *p;

	if (read_file(g, names[g->version].events, text, sizeof(text)))
		return 0;
	for (p = text; p; p = strchr(p, '\n'), p = p ? p + 1 : NULL)
		if (!strncmp(p, "oom_kill ", 9))
			return strtoull(p + 9, NULL, 10);
	return 0;
}

/* Does the comma-separated @list have @word? */
static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = list; p; p = strchr(p, ','), p = p ? p + 1 : NULL)
		if (!strncmp(p, word, len) && (p[len] == ',' || !p[len]))
			return true;
	return false;
}

/* Where version @version with the memory controller is mounted. */
static int find_mount(int version, char *ret, size_t size)
{
	char device[64], dir[256], type[32], options[512];
	FILE *f = fopen("/proc/self/mounts", "re");
	int code = -ENOENT;

	if (!f)
		return -errno;
	while (code &&
	       fscanf(f, "%63s %255s %31s %511s %*d %*d", device, dir, type, options) == 4) {
		if (version == 1 ? !strcmp(type, "cgroup") && has_word(options, "memory")
				 : !strcmp(type, "cgroup2"))
			code = (size_t)snprintf(ret, size, "%s", dir) < size ? 0 : -ENAMETOOLONG;
	}
	fclose(f);
	return code;
}

/* Our own place in the tree of @version: "/" or "/a/b". */
static void own_path(int version, char *ret, size_t size)
{
	char line[512];
	FILE *f = fopen("/proc/self/cgroup", "re");

	snprintf(ret, size, "/");
	while (f && fgets(line, sizeof(line), f)) {
		char *controllers = strchr(line, ':');
		char *path = controllers ? strchr(controllers + 1, ':') : NULL;

		if (!path)
			continue;
		*path++ = '\0';
		path[strcspn(path, "\n")] = '\0';
		if (version == 1 ? has_word(controllers + 1, "memory") : !controllers[1])
			snprintf(ret, size, "%s", path);
	}
	if (f)
		fclose(f);
}

static int make_below(struct group *g, const char *parent)
{
	char controllers[256];

	if (g->version == 2) {
		struct group p = {2, ""};

		snprintf(p.path, sizeof(p.path), "%s", parent);
		if (read_file(&p, "cgroup.controllers", controllers, sizeof(controllers)) ||
		    !strstr(controllers, "memory"))
			return -ENOENT;
		if (read_file(&p, "cgroup.subtree_control", controllers, sizeof(controllers)) ||
		    !strstr(controllers, "memory")) {
			int code = write_file(parent, "cgroup.subtree_control", "+memory");

			if (code)
				return code;
		}
	}
	if ((size_t)snprintf(g->path, sizeof(g->path), "%s/weir-%d", parent, (int)getpid()) >=
	    sizeof(g->path))
		return -ENAMETOOLONG;
	return mkdir(g->path, 0755) ? -errno : 0;
}

/* Make an empty group of @version; the first place that works. */
static int make_group(int version, struct group *ret)
{
	char mount[256], own[256], parent[520];
	struct group g = {.version = version};
	char *slash;
	int code;

	code = find_mount(version, mount, sizeof(mount));
	if (code)
		return code;
	own_path(version, own, sizeof(own));
	slash = strrchr(own, '/');
	if (version == 2 && slash)
		*slash = '\0';
	snprintf(parent, sizeof(parent), "%s%s", mount, own);
	code = make_below(&g, parent);
	if (code)
		code = make_below(&g, mount);
	if (!code)
		*ret = g;
	return code;
}

/* Remove the group and all that runs in it. */
static void remove_group(const struct group *g)
{
	/* A child's charges go away some time after it does: try for a second. */
	for (int i = 0; i < 200; i++) {
		char pids[4096];
		char *end, *p = pids;
		long pid;

		if (!rmdir(g->path) || errno == ENOENT)
			return;
		if (read_file(g, "cgroup.procs", pids, sizeof(pids)))
			pids[0] = '\0';
		for (; (pid = strtol(p, &end, 10)) > 0 && end != p; p = end)
			kill((pid_t)pid, SIGKILL);
		usleep(5000);
	}
	fprintf(stderr, "weir: the cgroup %s could not be removed: %s\n", g->path, strerror(errno));
}

static int set_limit(const struct group *g, uint64_t bytes)
{
	char text[32];
	int code;

	snprintf(text, sizeof(text), "%" PRIu64, bytes);
	code = write_file(g->path, names[g->version].limit, text);
	/* Version 1 limits memory and swap together, version 2 swap alone; absent without swap. */
	if (!code)
		write_file(g->path, names[g->version].swap, g->version == 1 ? text : "0");
	return code;
}

static int open_group(uint64_t bytes, struct group *ret, struct weir_error *err)
{
	int v1 = make_group(1, ret);
	int v2 = v1 ? make_group(2, ret) : 0;
	int code;

	if (v1 && v2)
		return wr_error_set(err, -EOPNOTSUPP, NULL, WEIR_OFFSET_NONE,
				    "no memory cgroup can be made: version 1: %s, version 2: %s%s",
				    v1 == -ENOENT ? "no memory controller" : strerror(-v1),
				    v2 == -ENOENT ? "no memory controller" : strerror(-v2),
				    geteuid() ? "; try as root" : "");
	code = set_limit(ret, bytes);
	if (!code)
		return 0;
	remove_group(ret);
	return wr_error_set(err, -EOPNOTSUPP, ret->path, WEIR_OFFSET_NONE,
			    "the memory limit is refused: %s", strerror(-code));
}

struct child {
	int (*fn)(void *arg, void *result);
	void *arg;
	void *shared;
	size_t result_bytes;
};

static _Noreturn void child_main(const struct group *g, const struct child *c, pid_t parent,
				 const sigset_t *mask)
{
	/* Not to outlive a parent that is killed: nobody else would remove the group. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || (g->version && write_file(g->path, "cgroup.procs", "0")))
		_exit(127);
	pthread_sigmask(SIG_SETMASK, mask, NULL);
	exit(c->fn(c->arg, c->shared) & 0xff);
}

/* Wait for @pid; @ret_peak is the largest usage seen, for kernels that keep no peak. */
static int wait_child(const struct group *g, pid_t pid, uint64_t *ret_peak)
{
	bool keeps_peak = g->version != 2 || read_u64(g, names[2].peak) > 0;
	int status;
	pid_t got;

	*ret_peak = 0;
	while ((got = waitpid(pid, &status, keeps_peak ? 0 : WNOHANG)) != pid) {
		uint64_t now = keeps_peak ? 0 : read_u64(g, names[g->version].usage);

		if (now > *ret_peak)
			*ret_peak = now;
		if (got < 0 && errno != EINTR)
			return 127;
		if (!keeps_peak)
			usleep(2000);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run_in(const struct group *g, const struct child *c, struct wr_limit_report *ret,
		  const sigset_t *mask)
{
	struct wr_limit_report r = {.version = g->version};
	pid_t parent = getpid();
	uint64_t seen;
	pid_t pid;

	fflush(NULL); /* or the child prints it once more */
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid)
		child_main(g, c, parent, mask);
	r.status = wait_child(g, pid, &seen);
	if (!g->version) {
		*ret = r;
		return 0;
	}
	r.limit_bytes = read_u64(g, names[g->version].limit);
	r.peak_bytes = read_u64(g, names[g->version].peak);
	if (r.peak_bytes < seen)
		r.peak_bytes = seen;
	r.oom_kills = oom_kills(g);
	*ret = r;
	return 0;
}

int wr_limit_run(uint64_t bytes, int (*fn)(void *arg, void *result), void *arg, void *result,
		 size_t result_bytes, struct wr_limit_report *ret, struct weir_error *err)
{
	size_t shared_bytes = result_bytes ? result_bytes : 1;
	struct child c = {fn, arg, NULL, result_bytes};
	sigset_t held, before;
	struct group g = {0};
	int code;

	c.shared =
		mmap(NULL, shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (c.shared == MAP_FAILED)
		return wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE, "no memory");
	sigemptyset(&held);
	sigaddset(&held, SIGINT);
	sigaddset(&held, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &held, &before);
	code = bytes ? open_group(bytes, &g, err) : 0;
	if (!code) {
		code = run_in(&g, &c, ret, &before);
		if (code)
			wr_error_set(err, code, NULL, WEIR_OFFSET_NONE, "no further process: %s",
				     strerror(-code));
		else if (result_bytes)
			memcpy(result, c.shared, result_bytes);
		if (bytes)
			remove_group(&g);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	munmap(c.shared, shared_bytes);
	return code;
}
