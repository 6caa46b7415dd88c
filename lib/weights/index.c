/* SPDX-License-Identifier: MIT */
/*
 * The index of an open model: what parsers and order.c put together, and the questions about it.
 * Nothing changes after wr_model_finish(), so any thread reads it without a lock.
 */
#include <weir/weights.h>

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "weights/weights_internal.h"

static int grow_files(struct weir_model *model)
{
	uint32_t room = model->room_files != 0 ? model->room_files * 2 : 4;
	struct weir_model_file *file = wr_reallocarray(model->file, room, sizeof(*file));

	if (file == NULL)
		return -ENOMEM;
	model->file = file;
	model->room_files = room;
	return 0;
}

int wr_model_add_file(struct weir_model *model, const char *path, const struct stat *st,
		      uint64_t data_offset)
{
	char *copy;

	if (model->nr_files == model->room_files) {
		int code = grow_files(model);

		if (code != 0)
			return code;
	}
	copy = wr_strdup(path);
	if (copy == NULL)
		return -ENOMEM;
	model->file[model->nr_files++] = (struct weir_model_file){
		.path = copy,
		.bytes = (uint64_t)st->st_size,
		.dev = st->st_dev,
		.ino = st->st_ino,
		.mtime_ns =
			(uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec,
		.data_offset = data_offset,
	};
	return 0;
}

int wr_model_finish(struct weir_model *model, const struct wr_config *config)
{
	struct wr_table *table = &model->table;

	if (table->nr == 0)
		return 0;
	wr_table_sort(table);
	model->by_name = wr_calloc(table->names.nr, sizeof(*model->by_name));
	if (model->by_name == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < table->nr; i++) {
		struct wr_entry *e = &table->entry[i];

		e->t.name = wr_names_text(&table->names, e->name);
		model->by_name[e->name] = i;
	}
	return wr_order_model(model, config);
}

void weir_model_close(struct weir_model *model)
{
	if (model == NULL)
		return;
	for (uint32_t i = 0; i < model->nr_files; i++)
		wr_free((void *)(uintptr_t)model->file[i].path);
	wr_free(model->file);
	wr_free(model->order);
	wr_free(model->by_name);
	wr_free(model->group);
	wr_free(model->group_text);
	wr_table_fini(&model->table);
	wr_free(model);
}

int weir_model_format(const struct weir_model *model)
{
	return model->format;
}

const char *weir_format_name(int format)
{
	switch (format) {
	case WEIR_FORMAT_SAFETENSORS:
		return "safetensors";
	case WEIR_FORMAT_GGUF:
		return "gguf";
	default:
		return "unknown";
	}
}

uint32_t weir_model_nr_files(const struct weir_model *model)
{
	return model->nr_files;
}

const struct weir_model_file *weir_model_file(const struct weir_model *model, uint32_t index)
{
	return index < model->nr_files ? &model->file[index] : NULL;
}

uint32_t weir_model_nr_tensors(const struct weir_model *model)
{
	return model->table.nr;
}

const struct weir_tensor *weir_model_tensor(const struct weir_model *model, uint32_t index)
{
	return index < model->table.nr ? &model->table.entry[index].t : NULL;
}

const struct weir_tensor *weir_model_at(const struct weir_model *model, uint32_t position)
{
	return position < model->table.nr ? &model->table.entry[model->order[position]].t : NULL;
}

const struct weir_tensor *weir_model_find(const struct weir_model *model, const char *name)
{
	uint32_t number = wr_names_find(&model->table.names, name, strlen(name));

	return number != WR_NAMES_NONE ? &model->table.entry[model->by_name[number]].t : NULL;
}

uint32_t weir_model_nr_groups(const struct weir_model *model)
{
	return model->nr_groups;
}

const struct weir_group *weir_model_group(const struct weir_model *model, uint32_t index)
{
	return index < model->nr_groups ? &model->group[index] : NULL;
}

const char *weir_group_kind_name(int kind)
{
	static const char *const names[] = {
		[WEIR_GROUP_OTHER] = "other", [WEIR_GROUP_VISION] = "vision",
		[WEIR_GROUP_EMBED] = "embed", [WEIR_GROUP_LAYER] = "layer",
		[WEIR_GROUP_NORM] = "norm",   [WEIR_GROUP_HEAD] = "head",
	};

	return kind >= 0 && kind < (int)wr_array_size(names) ? names[kind] : "unknown";
}
