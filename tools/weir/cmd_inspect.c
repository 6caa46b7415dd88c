/* SPDX-License-Identifier: MIT */
/*
 * weir inspect: show the index of a model, or the exact reason why there is none.
 *
 * Reads headers only, so it is fast on any size. The JSON carries everything; the
 * text is a summary with tables on request.
 */
#include "commands.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <weir/weights.h>

#include "ui.h"

struct request {
	bool tensors, groups, json;
	const char *path;
};

/* "[151936, 2048]", "[]" for a scalar. */
static const char *shape_text(const struct weir_tensor *t, char *text, size_t size)
{
	size_t used = (size_t)snprintf(text, size, "[");

	for (uint32_t i = 0; i < t->nr_dims && used < size; i++)
		used += (size_t)snprintf(text + used, size - used, "%s%" PRIu64, i ? ", " : "",
					 t->dims[i]);
	if (used < size)
		snprintf(text + used, size - used, "]");
	return text;
}

static uint64_t total_bytes(const struct weir_model *m)
{
	uint64_t sum = 0;

	for (uint32_t g = 0; g < weir_model_nr_groups(m); g++)
		sum += weir_model_group(m, g)->bytes;
	return sum;
}

/* ---- JSON ---- */

static json_t *tensor_json(const struct weir_model *m, const struct weir_tensor *t)
{
	json_t *shape = json_array();

	for (uint32_t i = 0; i < t->nr_dims; i++)
		json_array_append_new(shape, wr_ui_json_u64(t->dims[i]));
	return json_pack("{s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:i, s:o, s:i}", "name",
			 wr_ui_json_text(t->name), "dtype", weir_dtype_name((int)t->dtype), "shape",
			 shape, "file", wr_ui_json_text(weir_model_file(m, t->file)->path),
			 "offset", wr_ui_json_u64(t->offset), "bytes", wr_ui_json_u64(t->bytes),
			 "group", wr_ui_json_text(weir_model_group(m, t->group)->name), "slices",
			 (int)t->nr_slices, "expert",
			 t->expert < 0 ? json_null() : json_integer(t->expert), "position",
			 (int)t->position);
}

static json_t *group_json(const struct weir_group *g)
{
	return json_pack("{s:o, s:s, s:o, s:i, s:o}", "name", wr_ui_json_text(g->name), "kind",
			 weir_group_kind_name((int)g->kind), "layer",
			 g->layer < 0 ? json_null() : json_integer(g->layer), "tensors", (int)g->nr,
			 "bytes", wr_ui_json_u64(g->bytes));
}

static int print_json(const struct request *r, const struct weir_model *m)
{
	json_t *files = json_array(), *tensors = json_array(), *groups = json_array();

	for (uint32_t i = 0; i < weir_model_nr_files(m); i++) {
		const struct weir_model_file *f = weir_model_file(m, i);

		json_array_append_new(files,
				      json_pack("{s:o, s:o}", "path", wr_ui_json_text(f->path),
						"bytes", wr_ui_json_u64(f->bytes)));
	}
	for (uint32_t i = 0; i < weir_model_nr_tensors(m); i++)
		json_array_append_new(tensors, tensor_json(m, weir_model_tensor(m, i)));
	for (uint32_t i = 0; i < weir_model_nr_groups(m); i++)
		json_array_append_new(groups, group_json(weir_model_group(m, i)));
	return wr_ui_json_print(json_pack(
		"{s:o, s:s, s:o, s:o, s:o, s:o}", "path", wr_ui_json_text(r->path), "format",
		weir_format_name(weir_model_format(m)), "bytes", wr_ui_json_u64(total_bytes(m)),
		"files", files, "tensors", tensors, "groups", groups));
}

/* ---- text ---- */

/* "BF16 4.26 GB, F32 12.0 kB": the types that occur, in the order of their first tensor. */
static void print_types(const struct weir_model *m)
{
	uint64_t bytes[WEIR_DTYPE_COUNT] = {0};
	uint32_t nr[WEIR_DTYPE_COUNT] = {0};
	char text[WR_UI_TEXT];

	for (uint32_t i = 0; i < weir_model_nr_tensors(m); i++) {
		const struct weir_tensor *t = weir_model_tensor(m, i);

		bytes[t->dtype] += t->bytes;
		nr[t->dtype]++;
	}
	for (int d = 0; d < WEIR_DTYPE_COUNT; d++)
		if (nr[d])
			printf("  %-9s %s in %" PRIu32 " tensors\n", weir_dtype_name(d),
			       wr_ui_bytes(text, bytes[d]), nr[d]);
}

static void print_summary(const struct request *r, const struct weir_model *m)
{
	char text[WR_UI_TEXT];
	uint32_t nr = weir_model_nr_files(m);

	printf("%s: %s, %" PRIu32 " tensors, %s, %" PRIu32 " groups, %" PRIu32 " file%s\n", r->path,
	       weir_format_name(weir_model_format(m)), weir_model_nr_tensors(m),
	       wr_ui_bytes(text, total_bytes(m)), weir_model_nr_groups(m), nr, nr == 1 ? "" : "s");
	print_types(m);
}

static int print_groups(const struct weir_model *m)
{
	static const struct wr_ui_column columns[] = {{"group", WR_UI_CUT},
						      {"kind", WR_UI_LEFT},
						      {"tensors", WR_UI_RIGHT},
						      {"bytes", WR_UI_RIGHT}};
	struct wr_ui_table *t = wr_ui_table_open(columns, 4);
	char text[WR_UI_TEXT];
	int code;

	for (uint32_t i = 0; i < weir_model_nr_groups(m); i++) {
		const struct weir_group *g = weir_model_group(m, i);

		wr_ui_table_cell(t, "%s", g->name);
		wr_ui_table_cell(t, "%s", weir_group_kind_name((int)g->kind));
		wr_ui_table_cell(t, "%" PRIu32, g->nr);
		wr_ui_table_cell(t, "%s", wr_ui_bytes(text, g->bytes));
	}
	printf("\n");
	code = wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	return code;
}

static int print_tensors(const struct weir_model *m)
{
	static const struct wr_ui_column columns[] = {{"tensor", WR_UI_CUT},
						      {"type", WR_UI_LEFT},
						      {"shape", WR_UI_LEFT},
						      {"file", WR_UI_RIGHT},
						      {"offset", WR_UI_RIGHT}};
	struct wr_ui_table *t = wr_ui_table_open(columns, 5);
	char shape[192];
	int code;

	for (uint32_t i = 0; i < weir_model_nr_tensors(m); i++) {
		const struct weir_tensor *x = weir_model_at(m, i);

		wr_ui_table_cell(t, "%s", x->name);
		wr_ui_table_cell(t, "%s", weir_dtype_name((int)x->dtype));
		wr_ui_table_cell(t, "%s", shape_text(x, shape, sizeof(shape)));
		wr_ui_table_cell(t, "%" PRIu32, x->file);
		wr_ui_table_cell(t, "%" PRIu64, x->offset);
	}
	printf("\n");
	for (uint32_t i = 0; i < weir_model_nr_files(m); i++)
		printf("file %" PRIu32 ": %s\n", i, weir_model_file(m, i)->path);
	code = wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	return code;
}

static int print_text(const struct request *r, const struct weir_model *m)
{
	int code = 0;

	print_summary(r, m);
	if (r->groups)
		code = print_groups(m);
	if (!code && r->tensors)
		code = print_tensors(m);
	return code ? wr_ui_fail_code(false, "inspect", code, "no memory for the table")
		    : WR_EXIT_OK;
}

int cmd_inspect(int argc, char **argv)
{
	struct request r = {0};
	const struct wr_ui_option options[] = {
		{"tensors", WR_UI_FLAG, NULL, "every tensor, in execution order", &r.tensors, 0, 0},
		{"groups", WR_UI_FLAG, NULL, "every group, in execution order", &r.groups, 0, 0},
		{"json", WR_UI_FLAG, NULL, "print one JSON object, with everything", &r.json, 0, 0},
	};
	const struct wr_ui_usage usage = {
		.name = "inspect",
		.args = "PATH",
		.summary = "Show the tensors and groups of the model in PATH: a safetensors or "
			   "GGUF file,\n"
			   "one of several, an index, or a directory.",
		.options = options,
		.nr_options = sizeof(options) / sizeof(options[0]),
		.min_args = 1,
		.max_args = 1,
	};
	struct weir_model *model;
	struct weir_error err;
	int nr, status;

	status = wr_ui_parse(&usage, argc, argv, &nr);
	if (status != WR_UI_RUN)
		return status;
	r.path = argv[1];
	if (weir_model_open(r.path, &model, &err))
		return wr_ui_fail(r.json, "inspect", &err);
	status = r.json ? print_json(&r, model) : print_text(&r, model);
	weir_model_close(model);
	return status;
}
