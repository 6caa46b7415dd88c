/* SPDX-License-Identifier: MIT */
/* The plan of files: order, layout, what shrinking does to names, and memory that runs out. */
#include <errno.h>
#include <string.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "mkmodel/mkmodel_help.h"
#include "mkmodel_priv.h"

static const char *const all_models[] = {"2b", "4b", "8b", "32b", "30b-a3b"};

#define NR_MODELS (sizeof(all_models) / sizeof(all_models[0]))

TEST(a_model_is_found_by_its_long_and_its_short_name)
{
	EXPECT_EQ(wr_mk_model_find("qwen3-vl-30b-a3b"), wr_mk_model_find("30b-a3b"));
	EXPECT_STREQ(wr_mk_model_find("8b")->name, "qwen3-vl-8b");
	EXPECT_EQ(wr_mk_model_find("7b"), NULL);
	EXPECT_EQ(wr_mk_model_find(""), NULL);
	EXPECT_EQ(wr_mk_model_find("qwen3-vl-"), NULL);
}

TEST(deepstack_blocks_stay_within_the_depth_and_apart)
{
	for (size_t i = 0; i < NR_MODELS; i++) {
		const struct wr_mk_model *full = wr_mk_model_find(all_models[i]);

		for (uint32_t depth = 1; depth <= full->v_depth; depth++) {
			struct wr_mk_shrink s = {.vision_blocks = depth};
			struct wr_mk_model m = *full;

			ASSERT_EQ(wr_mk_model_shrink(&m, &s), NULL);
			EXPECT_EQ(m.nr_deepstack, depth < 3 ? depth : 3);
			for (uint32_t j = 0; j < m.nr_deepstack; j++) {
				EXPECT_LT(m.deepstack[j], depth);
				EXPECT_LE(m.deepstack[j], full->deepstack[j]);
				if (j) {
					EXPECT_LT(m.deepstack[j - 1], m.deepstack[j]);
				}
			}
			if (depth == full->v_depth) {
				EXPECT_EQ(memcmp(m.deepstack, full->deepstack, sizeof(m.deepstack)),
					  0);
			}
		}
	}
}

TEST(more_than_the_model_has_is_refused)
{
	static const struct wr_mk_shrink wrong[] = {{.layers = 29},
						    {.vision_blocks = 25},
						    {.vocab = 151937},
						    {.divisor = 3},
						    {.divisor = 32}};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct wr_mk_model m = *wr_mk_model_find("2b");

		EXPECT_NE(wr_mk_model_shrink(&m, &wrong[i]), NULL);
	}
}

TEST(safetensors_data_lies_in_the_order_of_names_without_gaps)
{
	for (size_t i = 0; i < NR_MODELS; i++) {
		struct wr_mk_plan p;
		const struct wr_mk_file *f;
		uint64_t end, header = 0;

		ASSERT_EQ(mkt_plan(all_models[i], MKT_SAFETENSORS, 1, &p), 0);
		f = &p.files[0];
		memcpy(&header, f->head.data, 8);
		EXPECT_EQ(header + 8, f->head.len);
		EXPECT_EQ(f->head.len % 8, 0);
		end = f->head.len;
		for (size_t k = 0; k < f->tensors.nr; k++) {
			EXPECT_EQ(f->tensors.v[k].offset, end);
			end += f->tensors.v[k].bytes;
			if (k)
				EXPECT_LT(strcmp(f->tensors.v[k - 1].name, f->tensors.v[k].name),
					  0);
		}
		EXPECT_EQ(end, f->bytes);
		wr_mk_plan_fini(&p);
	}
}

TEST(gguf_tensors_are_aligned_and_their_names_differ)
{
	for (size_t i = 0; i < NR_MODELS; i++) {
		for (int kind = MKT_GGUF_F16; kind < MKT_NR_KINDS; kind++) {
			struct wr_mk_plan p;

			ASSERT_EQ(mkt_plan(all_models[i], (enum mkt_kind)kind, 1, &p), 0);
			ASSERT_EQ(p.nr_files, 2);
			for (size_t k = 0; k < 2; k++) {
				const struct wr_mk_file *f = &p.files[k];

				EXPECT_EQ(f->bytes % WR_MK_GGUF_ALIGN, 0);
				for (size_t t = 0; t < f->tensors.nr; t++) {
					EXPECT_EQ(f->tensors.v[t].offset % WR_MK_GGUF_ALIGN, 0);
					EXPECT_LT(strlen(f->tensors.v[t].name), 64);
					EXPECT_EQ(strchr(f->tensors.v[t].name, '#'), NULL);
					for (size_t o = 0; o < t; o++) {
						EXPECT_NE(strcmp(f->tensors.v[o].name,
								 f->tensors.v[t].name),
							  0);
					}
				}
			}
			wr_mk_plan_fini(&p);
		}
	}
}

TEST(a_shard_limit_below_a_tensor_gives_that_tensor_a_file_of_its_own)
{
	struct wr_mk_model m = *wr_mk_model_find("2b");
	struct wr_mk_shrink s = {.layers = 1, .vision_blocks = 1, .vocab = 16, .divisor = 16};
	struct wr_mk_tensors all;
	struct wr_mk_plan p = {0};

	ASSERT_EQ(wr_mk_model_shrink(&m, &s), NULL);
	ASSERT_EQ(wr_mk_shapes(&m, 1, &all), 0);
	ASSERT_EQ(wr_mk_st_plan(&all, 1, &p), 0);
	EXPECT_EQ(p.nr_files, all.nr + 1);
	for (size_t i = 0; i < all.nr; i++) {
		EXPECT_EQ(p.files[i].tensors.nr, 1);
	}
	EXPECT_STREQ(p.files[all.nr].name, "model.safetensors.index.json");
	wr_mk_tensors_fini(&all);
	wr_mk_plan_fini(&p);
}

TEST(every_allocation_that_fails_is_reported_and_leaves_nothing)
{
	for (int kind = 0; kind < MKT_NR_KINDS; kind++) {
		int64_t live = wr_test_alloc_live();
		int refused = 0;

		for (uint64_t n = 1;; n++) {
			struct wr_mk_plan p = {0};
			int err;

			wr_test_alloc_fail_at(n);
			err = mkt_plan("8b", (enum mkt_kind)kind, 1, &p);
			if (!wr_test_alloc_failed()) {
				wr_test_alloc_fail_at(0);
				EXPECT_EQ(err, 0);
				wr_mk_plan_fini(&p);
				break;
			}
			EXPECT_EQ(err, -ENOMEM) TH_LOG("allocation %d", (int)n);
			EXPECT_EQ(wr_test_alloc_live(), live);
			refused++;
		}
		EXPECT_GT(refused, 5);
		EXPECT_EQ(wr_test_alloc_live(), live);
	}
}

TEST_HARNESS_MAIN
