/* SPDX-License-Identifier: MIT */
/*
 * Running the binary; see the header. Both streams go to files without a name, so that no amount of
 * output can block the child, and so that it can be read after a crash.
 */
#include "run_weir.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_ARGS 48

const char *wt_binary(void)
{
	const char *path = getenv("WEIR_BIN");

	return path ? path : WR_TEST_WEIR;
}

static _Noreturn void child_main(const struct wt_run *run, char **argv)
{
	/* Opened before @prepare may give up the right to walk to it. */
	int binary = open(wt_binary(), O_RDONLY | O_CLOEXEC);
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (run->group)
		setpgid(0, 0);
	if (binary < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(run->out_fd, STDOUT_FILENO) < 0 ||
	    dup2(run->err_fd, STDERR_FILENO) < 0)
		(_exit)(124);
	if (run->prepare && run->prepare(run->arg))
		(_exit)(125);
	fexecve(binary, argv, environ);
	(_exit)(126);
}

int wt_start(struct wt_run *run, const char *const *args)
{
	static char name[] = "weir";
	char *argv[MAX_ARGS] = {name};

	wt_run_fini(run);
	for (int i = 0; args[i] && i < MAX_ARGS - 2; i++)
		argv[i + 1] = (char *)(uintptr_t)args[i];
	run->out_fd = memfd_create("stdout", MFD_CLOEXEC);
	run->err_fd = memfd_create("stderr", MFD_CLOEXEC);
	fflush(NULL);
	run->pid = fork();
	if (!run->pid)
		child_main(run, argv);
	if (run->pid > 0 && run->group)
		setpgid(run->pid, run->pid); /* whoever comes first */
	return run->pid < 0 ? -1 : 0;
}

/* A whole file as a string. */
static char *take(int fd)
{
	struct stat st;
	char *text = NULL;
	ssize_t n;

	if (!fstat(fd, &st))
		text = malloc((size_t)st.st_size + 1);
	if (text) {
		n = pread(fd, text, (size_t)st.st_size, 0);
		text[n > 0 ? n : 0] = '\0';
	}
	close(fd);
	return text;
}

int wt_wait(struct wt_run *run)
{
	int status = 0;

	run->status = -1;
	if (waitpid(run->pid, &status, 0) == run->pid)
		run->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	run->killed = WIFSIGNALED(status);
	run->pid = 0;
	run->out = take(run->out_fd);
	run->err = take(run->err_fd);
	run->json = run->out ? json_loads(run->out, JSON_REJECT_DUPLICATES, NULL) : NULL;
	if (!json_is_object(run->json)) {
		json_decref(run->json);
		run->json = NULL;
	}
	return run->status;
}

int wt_weir(struct wt_run *run, ...)
{
	const char *args[MAX_ARGS] = {NULL};
	va_list ap;

	va_start(ap, run);
	for (int i = 0; i < MAX_ARGS - 1; i++) {
		args[i] = va_arg(ap, const char *);
		if (!args[i])
			break;
	}
	va_end(ap);
	run->status = -1;
	return wt_start(run, args) ? -1 : wt_wait(run);
}

void wt_run_fini(struct wt_run *run)
{
	free(run->out);
	free(run->err);
	json_decref(run->json);
	run->out = NULL;
	run->err = NULL;
	run->json = NULL;
}

int wt_shell(char *ret, size_t size, const char *fmt, ...)
{
	char arguments[2048], command[4096];
	va_list ap;
	size_t n = 0;
	FILE *p;
	int status;

	va_start(ap, fmt);
	vsnprintf(arguments, sizeof(arguments), fmt, ap);
	va_end(ap);
	snprintf(command, sizeof(command), "'%s' %s", wt_binary(), arguments);
	p = popen(command, "re");
	while (p && n + 1 < size && !feof(p) && !ferror(p))
		n += fread(ret + n, 1, size - 1 - n, p);
	ret[n] = '\0';
	status = p ? pclose(p) : -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

json_t *wt_at(json_t *root, const char *path)
{
	char key[128];

	while (root && *path) {
		size_t len = strcspn(path, ".");

		snprintf(key, sizeof(key), "%.*s", (int)len, path);
		root = json_is_array(root) ? json_array_get(root, (size_t)atoi(key))
					   : json_object_get(root, key);
		path += len + (path[len] == '.');
	}
	return root;
}

int64_t wt_int(json_t *root, const char *path)
{
	json_t *value = wt_at(root, path);

	return json_is_integer(value) ? json_integer_value(value) : -1;
}

double wt_real(json_t *root, const char *path)
{
	return json_number_value(wt_at(root, path));
}

const char *wt_text(json_t *root, const char *path)
{
	const char *text = json_string_value(wt_at(root, path));

	return text ? text : "";
}

void wt_dir_make(char *ret, size_t size, const char *parent)
{
	snprintf(ret, size, "%s/weir-test-XXXXXX", parent ? parent : WR_TEST_BUILD);
	if (!mkdtemp(ret)) {
		perror(ret);
		(_exit)(1);
	}
}

void wt_dir_remove(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	char path[4096];

	if (!d)
		return;
	while ((e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (unlink(path))
			wt_dir_remove(path);
	}
	closedir(d);
	rmdir(dir);
}
