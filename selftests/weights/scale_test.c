/* SPDX-License-Identifier: MIT */
/*
 * Models of many tensors: headers longer than the window over them, and what opening costs. Times
 * are told, not asserted.
 */
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"

#include <weir/weights.h>

#include "base/util.h"
#include "weights/model_builder.h"

#define LAYERS	20u
#define EXPERTS 333u
#define PARTS	3u
#define NR	(LAYERS * EXPERTS * PARTS)

static const char *const parts[PARTS] = {"down_proj", "gate_proj", "up_proj"};

FIXTURE(scale)
{
	char *dir;
	struct weir_model *model;
};

FIXTURE_SETUP(scale)
{
	self->dir = mb_dir_make();
	self->model = NULL;
}

FIXTURE_TEARDOWN(scale)
{
	weir_model_close(self->model);
	mb_dir_remove(self->dir);
}

static void name_of(char name[96], uint32_t i)
{
	snprintf(name, 96, "model.layers.%u.mlp.experts.%u.%s.weight", i / PARTS / EXPERTS,
		 i / PARTS % EXPERTS, parts[i % PARTS]);
}

static int open_timed(const char *path, struct weir_model **ret)
{
	struct weir_error err = {0};
	uint64_t begin = wr_now_ns();
	int code = weir_model_open(path, ret, &err);

	if (code != 0)
		printf("# %s at %llu\n", err.message, (unsigned long long)err.offset);
	else
		printf("# %u tensors in %.2f ms\n", weir_model_nr_tensors(*ret),
		       (double)(wr_now_ns() - begin) / 1e6);
	fflush(stdout); /* the test leaves by _exit() */
	return code;
}

/* All there, each where it was put, experts of a layer by number. */
static bool all_there(const struct weir_model *m, uint64_t bytes_each)
{
	for (uint32_t i = 0; i < NR; i++) {
		const struct weir_tensor *t;
		char name[96];

		name_of(name, i);
		t = weir_model_find(m, name);
		if (t == NULL || t->bytes != bytes_each)
			return false;
	}
	for (uint32_t p = 0; p < NR; p++) {
		static const uint32_t use[PARTS] = {1, 2, 0}; /* gate, up, down */
		char name[96];

		name_of(name, p / PARTS * PARTS + use[p % PARTS]);
		if (strcmp(weir_model_at(m, p)->name, name) != 0)
			return false;
	}
	return weir_model_nr_groups(m) == LAYERS;
}

TEST_F(scale, twenty_thousand_tensors_of_a_safetensors_file)
{
	struct mb_bytes json = {0}, b = {0};

	mb_text(&json, "{");
	for (uint32_t i = 0; i < NR; i++) {
		char name[96];

		name_of(name, i);
		mb_text(&json, "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[2048,768],",
			i != 0 ? "," : "", name);
		mb_text(&json, "\"data_offsets\":[%llu,%llu]}", (unsigned long long)i * 3145728,
			(unsigned long long)(i + 1) * 3145728);
	}
	mb_text(&json, "}");
	mb_u64(&b, json.n);
	mb_put(&b, json.p, json.n);
	ASSERT_EQ(mb_file(self->dir, "model.safetensors", &b, b.n + NR * UINT64_C(3145728)), 0);
	for (int i = 0; i < 3; i++) {
		weir_model_close(self->model);
		self->model = NULL;
		ASSERT_EQ(open_timed(self->dir, &self->model), 0);
	}
	EXPECT_TRUE(all_there(self->model, 3145728));
	mb_free(&json);
	mb_free(&b);
}

TEST_F(scale, twenty_thousand_tensors_of_a_gguf_file_behind_a_tokenizer)
{
	static const uint64_t ne[] = {32, 3};
	struct mb_bytes b = {0};
	char *path = mb_path(self->dir, "m.gguf");

	mb_gguf_head(&b, 3, NR, 3);
	mb_gguf_pair_string(&b, "general.architecture", "qwen3moe");
	mb_gguf_key(&b, "tokenizer.ggml.tokens", 9);
	mb_u32(&b, 8);
	mb_u64(&b, 151936);
	for (uint32_t i = 0; i < 151936; i++) {
		char token[16];

		snprintf(token, sizeof(token), "t%u", i);
		mb_gguf_string(&b, token);
	}
	mb_gguf_key(&b, "tokenizer.ggml.token_type", 9);
	mb_u32(&b, 5);
	mb_u64(&b, 151936);
	mb_zeros(&b, 151936 * 4);
	for (uint32_t i = 0; i < NR; i++) {
		char name[96];

		name_of(name, i);
		mb_gguf_tensor(&b, name, 2, ne, 8, (uint64_t)i * 128);
	}
	mb_gguf_align(&b, 32);
	ASSERT_EQ(mb_file(self->dir, "m.gguf", &b, b.n + NR * UINT64_C(128)), 0);
	for (int i = 0; i < 3; i++) {
		weir_model_close(self->model);
		self->model = NULL;
		ASSERT_EQ(open_timed(path, &self->model), 0);
	}
	EXPECT_TRUE(all_there(self->model, 102));
	mb_free(&b);
	free(path);
}

TEST_HARNESS_MAIN
