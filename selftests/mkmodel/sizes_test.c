/* SPDX-License-Identifier: MIT */
/*
 * The files of all five sizes against what was published, asked of the binary without writing.
 *
 * Sizes, counts and totals: the Qwen/Qwen3-VL-*-Instruct repositories and, for the sizes of GGUF data
 * sections, published files less their keys. The shards of 30B-A3B are predicted, not published; only
 * their number, their tensors and the placement are known.
 */
#include <stdio.h>
#include <string.h>

#include "kselftest_harness.h"

#include "mkmodel/mkmodel_help.h"

FIXTURE(model)
{
	json_t *root;
	json_t *files;
};

FIXTURE_VARIANT(model)
{
	const char *name;
	int nr_shards;
	long long shards[14];
	long long tensors[14];
	long long index_bytes;
	long long config_bytes;
	long long tensor_bytes;
	long long all_tensors;
	/* Data sections of GGUF: text as F16, text as Q8_0, mmproj as F16, mmproj as BF16. */
	long long gguf[4];
	long long gguf_tensors[2];
};

FIXTURE_VARIANT_ADD(model, m2b){
	.name = "qwen3-vl-2b",
	.nr_shards = 1,
	.shards = {4255140312},
	.tensors = {625},
	.config_bytes = 1505,
	.tensor_bytes = 4255064064,
	.all_tensors = 625,
	.gguf = {3441397760, 1828474880, 819376128, 822521856},
	.gguf_tensors = {310, 316},
};

FIXTURE_VARIANT_ADD(model, m4b){
	.name = "qwen3-vl-4b",
	.nr_shards = 2,
	.shards = {4967229296, 3908490048},
	.tensors = {231, 482},
	.index_bytes = 64742,
	.config_bytes = 1505,
	.tensor_bytes = 8875631616,
	.all_tensors = 713,
	.gguf = {8045328384, 4274448384, 836161536, 839307264},
	.gguf_tensors = {398, 316},
};

FIXTURE_VARIANT_ADD(model, m8b){
	.name = "qwen3-vl-8b",
	.nr_shards = 4,
	.shards = {4902275944, 4915962496, 4999831048, 2716270024},
	.tensors = {109, 142, 137, 362},
	.index_bytes = 67759,
	.config_bytes = 1474,
	.tensor_bytes = 17534247392,
	.all_tensors = 750,
	.gguf = {16382087168, 8703561728, 1159009216, 1162548160},
	.gguf_tensors = {399, 352},
};

FIXTURE_VARIANT_ADD(model, m32b){
	.name = "qwen3-vl-32b",
	.nr_shards = 14,
	.shards = {4932328944, 4875990528, 4875990552, 4875990584, 4875990584, 4875990584,
		   4875990584, 4875990584, 4875990584, 4875990584, 4875990584, 4875990584,
		   4875990584, 3270697008},
	.tensors = {43, 55, 55, 55, 55, 55, 55, 55, 55, 55, 55, 55, 55, 355},
	.index_bytes = 97831,
	.config_bytes = 1474,
	.tensor_bytes = 66714780128,
	.all_tensors = 1058,
	.gguf = {65525600256, 34811744256, 1196774336, 1200313280},
	.gguf_tensors = {707, 352},
};

FIXTURE_VARIANT_ADD(model, m30b){
	.name = "qwen3-vl-30b-a3b",
	.nr_shards = 13,
	.shards = {4399341032, 4984970880, 4984970888, 4984970928, 4984970928, 4984970928,
		   4984970928, 4984970928, 4984970928, 4984970928, 4984970928, 4984970928,
		   2907596864},
	.tensors = {43, 44, 44, 44, 44, 44, 44, 44, 44, 44, 44, 44, 355},
	.index_bytes = 80743,
	.config_bytes = 1661,
	.tensor_bytes = 62141508064,
	.all_tensors = 882,
	.gguf = {61089832960, 32477962240, 1083478976, 1087017920},
	.gguf_tensors = {579, 352},
};

FIXTURE_SETUP(model)
{
	const char *args[] = {"--model", variant->name, "--dry-run", "nowhere", NULL};
	int status;

	self->root = mkt_run_json(args, &status);
	ASSERT_EQ(status, 0);
	ASSERT_NE(self->root, NULL);
	self->files = json_object_get(self->root, "files");
}

FIXTURE_TEARDOWN(model)
{
	json_decref(self->root);
}

static long long number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static const json_t *find(const json_t *files, const char *name)
{
	size_t i;
	json_t *file;

	json_array_foreach(files, i, file) {
		if (!strcmp(json_string_value(json_object_get(file, "name")), name))
			return file;
	}
	return NULL;
}

TEST_F(model, shards_have_the_published_sizes_and_tensors)
{
	long long data = 0, total = 0;

	for (int i = 0; i < variant->nr_shards; i++) {
		char name[64] = "model.safetensors";
		const json_t *file;

		if (variant->nr_shards > 1)
			snprintf(name, sizeof(name), "model-%05d-of-%05d.safetensors", i + 1,
				 variant->nr_shards);
		file = find(self->files, name);
		ASSERT_NE(file, NULL) TH_LOG("%s is missing", name);
		EXPECT_EQ(number(file, "bytes"), variant->shards[i]);
		EXPECT_EQ(number(file, "tensors"), variant->tensors[i]);
		EXPECT_EQ(number(file, "header_bytes") % 8, 0);
		data += number(file, "bytes") - number(file, "header_bytes");
		total += number(file, "tensors");
	}
	EXPECT_EQ(data, variant->tensor_bytes);
	EXPECT_EQ(total, variant->all_tensors);
	EXPECT_EQ(number(self->root, "tensors"), variant->all_tensors);
}

TEST_F(model, small_files_have_the_published_sizes)
{
	const json_t *index = find(self->files, "model.safetensors.index.json");

	EXPECT_EQ(index == NULL, variant->nr_shards == 1);
	EXPECT_EQ(number(index, "bytes"), variant->index_bytes);
	EXPECT_EQ(number(find(self->files, "config.json"), "bytes"), variant->config_bytes);
	EXPECT_EQ(number(find(self->files, "preprocessor_config.json"), "bytes"), 390);
	EXPECT_EQ(number(find(self->files, "video_preprocessor_config.json"), "bytes"), 385);
	EXPECT_EQ(number(find(self->files, "generation_config.json"), "bytes"), 269);
	EXPECT_EQ(json_array_size(self->files), (size_t)variant->nr_shards + 4 + (index != NULL));
}

TEST_F(model, gguf_data_sections_have_the_published_sizes)
{
	static const struct {
		const char *type;
		int text, mmproj;
	} kinds[] = {{"f16", 0, 2}, {"q8_0", 1, -1}, {"bf16", 0, 3}};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const char *args[] = {"--model",   variant->name, "--format",
				      "gguf",	   "--gguf-type", kinds[i].type,
				      "--dry-run", "nowhere",	  NULL};
		int status;
		json_t *root = mkt_run_json(args, &status);
		json_t *files = json_object_get(root, "files");
		const json_t *text = json_array_get(files, 0), *mmproj = json_array_get(files, 1);

		ASSERT_EQ(status, 0);
		ASSERT_EQ(json_array_size(files), 2);
		EXPECT_EQ(number(text, "bytes") - number(text, "header_bytes"),
			  variant->gguf[kinds[i].text]);
		EXPECT_EQ(number(text, "tensors"), variant->gguf_tensors[0]);
		if (kinds[i].mmproj >= 0) {
			EXPECT_EQ(number(mmproj, "bytes") - number(mmproj, "header_bytes"),
				  variant->gguf[kinds[i].mmproj]);
		}
		EXPECT_EQ(number(mmproj, "tensors"), variant->gguf_tensors[1]);
		json_decref(root);
	}
}

TEST(a_dry_run_writes_nothing)
{
	const char *args[] = {"--model", "2b", "--dry-run", "mkmodel-dry-run", NULL};

	EXPECT_EQ(mkt_run(args), 0);
	EXPECT_EQ(mkt_count_files("mkmodel-dry-run"), -1);
}

TEST_HARNESS_MAIN
