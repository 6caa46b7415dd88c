/* SPDX-License-Identifier: MIT */
/* The tests' way to the binary and to plans; see the header. */
#include "mkmodel_help.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mkmodel_priv.h"

#define MAX_ARGS 32

/* "mkmodel" and @args, and @last when it is not NULL. */
static void with_command(const char **all, const char *const *args, const char *last)
{
	int nr = 0;

	all[nr++] = "mkmodel";
	while (*args && nr < MAX_ARGS - 2)
		all[nr++] = *args++;
	all[nr++] = last;
	all[nr] = NULL;
}

int mkt_start(struct wt_run *run, const char *const *args)
{
	const char *all[MAX_ARGS];

	with_command(all, args, NULL);
	return wt_start(run, all);
}

int mkt_run(const char *const *args)
{
	struct wt_run run = {0};
	int status = mkt_start(&run, args) ? -1 : wt_wait(&run);

	wt_run_fini(&run);
	return status;
}

json_t *mkt_run_json(const char *const *args, int *ret_status)
{
	const char *all[MAX_ARGS];
	struct wt_run run = {0};
	json_t *root;

	with_command(all, args, "--json");
	*ret_status = wt_start(&run, all) ? -1 : wt_wait(&run);
	root = json_incref(run.json);
	wt_run_fini(&run);
	return root;
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
