/* SPDX-License-Identifier: MIT */
/*
 * weir mkmodel: write a checkpoint of a Qwen3-VL model's names, shapes, sizes and file order, with
 * values that are made up. For tests, measurements and the demo, where a real one is too large to
 * fetch or may not be passed on.
 */
#include "commands.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "mkmodel_priv.h"
#include "ui.h"

enum format {
	FORMAT_SAFETENSORS,
	FORMAT_GGUF,
};

/* The words of --gguf-type, in the order of gguf_types[]. */
#define GGUF_TYPE_WORDS "f16|bf16|q8_0|f32"
static const enum wr_mk_dtype gguf_types[] = {WR_MK_F16, WR_MK_BF16, WR_MK_Q8_0, WR_MK_F32};

struct request {
	const char *model_name;
	const char *dir;
	struct wr_mk_shrink shrink;
	int format;
	int gguf_type;
	struct wr_ui_size shard_size;
	uint64_t seed;
	uint32_t threads;
	bool force;
	bool dry_run;
	bool json;
	struct wr_mk_model model;
	double seconds;
};

static unsigned int nr_cpus(void)
{
	cpu_set_t set;
	int nr = sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);

	return nr > 0 ? (unsigned int)nr : 1;
}

static int plan_model(const struct request *r, struct wr_mk_plan *ret)
{
	struct wr_mk_tensors all = {0};
	struct wr_mk_plan plan = {0};
	int err = wr_mk_shapes(&r->model, r->seed, &all);

	if (!err && r->format == FORMAT_GGUF)
		err = wr_mk_gguf_plan(&r->model, &all, gguf_types[r->gguf_type], &plan);
	else if (!err)
		err = wr_mk_st_plan(&all, wr_ui_size_bytes(&r->shard_size, WR_MK_SHARD_BYTES),
				    &plan);
	if (!err && r->format == FORMAT_SAFETENSORS)
		err = wr_mk_config_plan(&r->model, &plan);
	wr_mk_tensors_fini(&all);
	if (err) {
		wr_mk_plan_fini(&plan);
		return err;
	}
	wr_mk_plan_total(&plan);
	*ret = plan;
	return 0;
}

static void print_table(const struct request *r, const struct wr_mk_plan *p)
{
	static const struct wr_ui_column columns[] = {
		{"file", WR_UI_LEFT},
		{"bytes", WR_UI_RIGHT},
		{"tensors", WR_UI_RIGHT},
	};
	struct wr_ui_table *t = wr_ui_table_open(columns, wr_array_size(columns));
	char bytes[WR_UI_TEXT], rate[WR_UI_TEXT], time[WR_UI_TEXT];

	for (size_t i = 0; i < p->nr_files; i++) {
		const struct wr_mk_file *f = &p->files[i];

		wr_ui_table_cell(t, "%s", f->name);
		wr_ui_table_cell(t, "%llu", (unsigned long long)f->bytes);
		if (f->tensors.nr)
			wr_ui_table_cell(t, "%zu", f->tensors.nr);
		else
			wr_ui_table_cell(t, "-");
	}
	wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	printf("%s, %llu tensors, %zu files", wr_ui_bytes(bytes, p->bytes),
	       (unsigned long long)p->nr_tensors, p->nr_files);
	if (r->dry_run)
		printf("; nothing was written\n");
	else
		printf(" in %s, %s\n", wr_ui_duration(time, r->seconds),
		       wr_ui_rate(rate, (double)p->bytes / r->seconds));
}

static json_t *file_object(const struct request *r, const struct wr_mk_file *f)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", r->dir, f->name);
	return json_pack("{s:o, s:s, s:o, s:o, s:o}", "path", wr_ui_json_text(path), "name",
			 f->name, "bytes", wr_ui_json_u64(f->bytes), "header_bytes",
			 wr_ui_json_u64(f->tensors.nr ? f->head.len : 0), "tensors",
			 wr_ui_json_u64(f->tensors.nr));
}

static int print_json(const struct request *r, const struct wr_mk_plan *p)
{
	json_t *files = json_array();

	for (size_t i = 0; i < p->nr_files; i++)
		json_array_append_new(files, file_object(r, &p->files[i]));
	return wr_ui_json_print(json_pack(
		"{s:s, s:s, s:o, s:o, s:o, s:o, s:b, s:f, s:f}", "model", r->model.name, "format",
		r->format == FORMAT_GGUF ? "gguf" : "safetensors", "seed", wr_ui_json_u64(r->seed),
		"files", files, "bytes", wr_ui_json_u64(p->bytes), "tensors",
		wr_ui_json_u64(p->nr_tensors), "dry_run", r->dry_run, "seconds", r->seconds,
		"bytes_per_second", r->seconds > 0 ? (double)p->bytes / r->seconds : 0.0));
}

static void show_progress(void *arg, uint64_t done)
{
	wr_ui_progress_update(arg, done);
}

static int run(struct request *r)
{
	struct weir_error err = {.offset = WEIR_OFFSET_NONE};
	struct wr_ui_progress progress;
	struct wr_mk_write_opts opts = {
		.dir = r->dir,
		.threads = r->threads ? r->threads : nr_cpus(),
		.force = r->force,
		.progress = show_progress,
		.stop = wr_ui_interrupted,
		.arg = &progress,
	};
	struct wr_mk_plan plan;
	uint64_t start;
	int ret = plan_model(r, &plan), status;

	if (ret)
		return wr_ui_fail_code(r->json, "mkmodel", ret, "cannot lay out the model");
	if (!r->dry_run) {
		wr_ui_interrupt_init();
		wr_ui_progress_start(&progress, "mkmodel", plan.bytes, r->json);
		start = wr_ui_now_ns();
		ret = wr_mk_write(&plan, &opts, &err);
		r->seconds = (double)(wr_ui_now_ns() - start) / 1e9;
		wr_ui_progress_end(&progress);
	}
	if (ret) {
		status = wr_ui_fail(r->json, "mkmodel", &err);
		status = ret == -EINTR ? WR_EXIT_INTERRUPTED : status;
	} else if (r->json) {
		status = print_json(r, &plan);
	} else {
		print_table(r, &plan);
		status = WR_EXIT_OK;
	}
	wr_mk_plan_fini(&plan);
	return status;
}

static int choose_model(const struct wr_ui_usage *usage, struct request *r)
{
	const struct wr_mk_model *m = r->model_name ? wr_mk_model_find(r->model_name) : NULL;
	const char *why;

	if (!r->model_name)
		return wr_ui_usage_error(usage, "--model is missing");
	if (!m)
		return wr_ui_usage_error(usage, "there is no model '%s'", r->model_name);
	r->model = *m;
	why = wr_mk_model_shrink(&r->model, &r->shrink);
	return why ? wr_ui_usage_error(usage, "%s", why) : WR_UI_RUN;
}

int cmd_mkmodel(int argc, char **argv)
{
	struct request r = {.seed = 1, .shard_size.bytes = WR_MK_SHARD_BYTES};
	const struct wr_ui_option options[] = {
		{"model", WR_UI_STRING, "NAME", "qwen3-vl-2b, -4b, -8b, -32b or -30b-a3b",
		 &r.model_name, 0, 0},
		{"layers", WR_UI_U32, "N", "only the first N decoder layers", &r.shrink.layers, 1,
		 0},
		{"vision-blocks", WR_UI_U32, "N", "only the first N vision blocks",
		 &r.shrink.vision_blocks, 1, 0},
		{"vocab", WR_UI_U32, "N", "only N rows in embedding and head", &r.shrink.vocab, 1,
		 0},
		{"shrink", WR_UI_U32, "D", "divide every width by 1, 2, 4, 8 or 16",
		 &r.shrink.divisor, 1, 16},
		{"shard-bytes", WR_UI_SIZE, "SIZE", "largest file of weights (default: 5GB)",
		 &r.shard_size, 0, 0},
		{"format", WR_UI_CHOICE, "safetensors|gguf", "container (default: safetensors)",
		 &r.format, 0, 0},
		{"gguf-type", WR_UI_CHOICE, GGUF_TYPE_WORDS, "type of most tensors (default: f16)",
		 &r.gguf_type, 0, 0},
		{"seed", WR_UI_U64, "S", "values follow from it alone (default: 1)", &r.seed, 0, 0},
		{"threads", WR_UI_U32, "N", "threads that write (default: one per CPU)", &r.threads,
		 1, 64},
		{"force", WR_UI_FLAG, NULL, "replace a model that is in DIR", &r.force, 0, 0},
		{"dry-run", WR_UI_FLAG, NULL, "show the files, write nothing", &r.dry_run, 0, 0},
		{"json", WR_UI_FLAG, NULL, "print one JSON object", &r.json, 0, 0},
	};
	const struct wr_ui_usage usage = {
		.name = "mkmodel",
		.args = "DIR",
		.summary = "Write a Qwen3-VL-shaped checkpoint with pseudo-random values into DIR.",
		.options = options,
		.nr_options = wr_array_size(options),
		.min_args = 1,
		.max_args = 1,
	};
	int nr, status = wr_ui_parse(&usage, argc, argv, &nr);

	if (status == WR_UI_RUN)
		status = choose_model(&usage, &r);
	if (status != WR_UI_RUN)
		return status;
	r.dir = argv[1];
	return run(&r);
}
