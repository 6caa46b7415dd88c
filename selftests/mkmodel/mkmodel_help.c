/* SPDX-License-Identifier: MIT */
/* The tests' way to the binary and to plans; see the header. */
#include "mkmodel_help.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mkmodel_priv.h"

#define MAX_ARGS 32

static const char *weir_binary(void)
{
	const char *path = getenv("WEIR_BIN");

	return path ? path : WR_TEST_WEIR;
}

pid_t mkt_start(const char *const *args, int *ret_fd)
{
	char *argv[MAX_ARGS] = {(char *)(uintptr_t)weir_binary(), (char *)(uintptr_t) "mkmodel"};
	int pipe_fds[2], nr = 2;
	pid_t pid;

	while (*args && nr < MAX_ARGS - 1)
		argv[nr++] = (char *)(uintptr_t)*args++;
	if (pipe(pipe_fds))
		return -1;
	pid = fork();
	if (pid == 0) {
		dup2(pipe_fds[1], STDOUT_FILENO);
		dup2(pipe_fds[1], STDERR_FILENO);
		close(pipe_fds[0]);
		close(pipe_fds[1]);
		execv(argv[0], argv);
		_exit(127);
	}
	close(pipe_fds[1]);
	*ret_fd = pipe_fds[0];
	return pid;
}

int mkt_wait(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Everything up to the end of file as a string, to be freed. */
static char *drain(int fd)
{
	size_t len = 0, cap = 1 << 20;
	char *text = malloc(cap);
	ssize_t n;

	while (text && len < cap - 1 && (n = read(fd, text + len, cap - 1 - len)) > 0)
		len += (size_t)n;
	if (text)
		text[len] = '\0';
	close(fd);
	return text;
}

int mkt_run(const char *const *args)
{
	int fd;
	pid_t pid = mkt_start(args, &fd);

	free(drain(fd));
	return mkt_wait(pid);
}

json_t *mkt_run_json(const char *const *args, int *ret_status)
{
	const char *all[MAX_ARGS] = {0};
	int fd, nr = 0;
	json_t *root;
	char *text;
	pid_t pid;

	while (args[nr] && nr < MAX_ARGS - 4) {
		all[nr] = args[nr];
		nr++;
	}
	all[nr] = "--json";
	pid = mkt_start(all, &fd);
	text = drain(fd);
	*ret_status = mkt_wait(pid);
	root = text ? json_loads(text, 0, NULL) : NULL;
	free(text);
	return root;
}

void mkt_make_dir(char *ret, size_t size)
{
	snprintf(ret, size, "%s/mkmodel-test-XXXXXX", WR_TEST_BUILD);
	if (!mkdtemp(ret)) {
		perror(ret);
		_exit(1);
	}
}

void mkt_remove_dir(const char *dir)
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
			mkt_remove_dir(path);
	}
	closedir(d);
	rmdir(dir);
}

int mkt_count_files(const char *dir)
{
	DIR *d = opendir(dir);
	int nr = -2;

	if (!d)
		return -1;
	while (readdir(d))
		nr++;
	closedir(d);
	return nr;
}

bool mkt_exists(const char *dir, const char *name)
{
	char path[4096];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return !lstat(path, &st);
}

unsigned char *mkt_read(const char *dir, const char *name, size_t *ret_len)
{
	char path[4096];
	struct stat st;
	unsigned char *data = NULL;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "rb");
	if (!f)
		return NULL;
	if (!fstat(fileno(f), &st))
		data = malloc((size_t)st.st_size + 1);
	*ret_len = data ? fread(data, 1, (size_t)st.st_size, f) : 0;
	fclose(f);
	return data;
}

uint64_t mkt_hash(const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * UINT64_C(0x100000001b3);
	return h;
}

int mkt_plan(const char *name, enum mkt_kind kind, uint64_t seed, struct wr_mk_plan *ret)
{
	static const enum wr_mk_dtype types[MKT_NR_KINDS] = {
		[MKT_GGUF_F16] = WR_MK_F16,
		[MKT_GGUF_BF16] = WR_MK_BF16,
		[MKT_GGUF_F32] = WR_MK_F32,
		[MKT_GGUF_Q8_0] = WR_MK_Q8_0,
	};
	struct wr_mk_shrink shrink = {.layers = 2, .vision_blocks = 3, .vocab = 96, .divisor = 16};
	struct wr_mk_model model = *wr_mk_model_find(name);
	struct wr_mk_tensors all = {0};
	struct wr_mk_plan plan = {0};
	int err = wr_mk_model_shrink(&model, &shrink) ? -1 : wr_mk_shapes(&model, seed, &all);

	if (!err && kind == MKT_SAFETENSORS)
		err = wr_mk_st_plan(&all, WR_MK_SHARD_BYTES, &plan);
	else if (!err)
		err = wr_mk_gguf_plan(&model, &all, types[kind], &plan);
	wr_mk_tensors_fini(&all);
	if (err) {
		wr_mk_plan_fini(&plan);
		return err;
	}
	wr_mk_plan_total(&plan);
	*ret = plan;
	return 0;
}

unsigned char *mkt_render(const struct wr_mk_file *f)
{
	unsigned char *data = malloc(f->bytes);

	if (data)
		wr_mk_render(f, 0, f->bytes, data);
	return data;
}
