/* SPDX-License-Identifier: MIT */
/*
 * The values: the same for any way of asking, finite, spread as promised, and the same in both
 * formats - each GGUF element looked up in the checkpoint by an index computed here, on its own.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"

#include "mkmodel/mkmodel_help.h"
#include "mkmodel_priv.h"

static const char *const some_models[] = {"2b", "8b", "30b-a3b"};

#define NR_MODELS (sizeof(some_models) / sizeof(some_models[0]))

static float bf16_at(const unsigned char *data, uint64_t i)
{
	uint16_t bits;
	uint32_t wide;
	float f;

	memcpy(&bits, data + 2 * i, sizeof(bits));
	wide = (uint32_t)bits << 16;
	memcpy(&f, &wide, sizeof(f));
	return f;
}

/* Written from the definition of the format, with ldexp. */
static double f16_value(uint16_t bits)
{
	int exponent = bits >> 10 & 31;
	double fraction = bits & 1023;
	double magnitude = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);

	return bits & 0x8000 ? -magnitude : magnitude;
}

TEST(any_range_of_a_file_is_the_same_bytes)
{
	static const size_t steps[] = {1, 2, 3, 33, 34, 1000, 4097, 65536};

	for (int kind = 0; kind < MKT_NR_KINDS; kind++) {
		struct wr_mk_plan p;

		ASSERT_EQ(mkt_plan("30b-a3b", (enum mkt_kind)kind, 1, &p), 0);
		for (size_t i = 0; i < p.nr_files; i++) {
			const struct wr_mk_file *f = &p.files[i];
			unsigned char *whole = mkt_render(f), *part = malloc(65536);

			ASSERT_NE(whole, NULL);
			for (size_t s = 0; s < sizeof(steps) / sizeof(steps[0]); s++) {
				/* Small steps over the whole file would take long: a window then. */
				uint64_t end =
					f->bytes < steps[s] * 5000 ? f->bytes : steps[s] * 5000;
				uint64_t start = f->bytes - end;

				for (uint64_t at = start; at < f->bytes; at += steps[s]) {
					size_t len = steps[s];

					if (len > f->bytes - at)
						len = f->bytes - at;
					wr_mk_render(f, at, len, part);
					ASSERT_EQ(memcmp(part, whole + at, len), 0)
					TH_LOG("%s at %llu", f->name, (unsigned long long)at);
				}
			}
			free(whole);
			free(part);
		}
		wr_mk_plan_fini(&p);
	}
}

TEST(weights_are_small_and_finite_and_norms_are_near_one)
{
	for (size_t i = 0; i < NR_MODELS; i++) {
		struct wr_mk_plan p;
		unsigned char *data;
		double sum = 0, squares = 0;
		uint64_t nr = 0;

		ASSERT_EQ(mkt_plan(some_models[i], MKT_SAFETENSORS, 1, &p), 0);
		data = mkt_render(&p.files[0]);
		for (size_t k = 0; k < p.files[0].tensors.nr; k++) {
			const struct wr_mk_tensor *t = &p.files[0].tensors.v[k];
			bool norm = t->nr_dims == 1 && strstr(t->name, "norm") &&
				    !strstr(t->name, "bias");

			for (uint64_t e = 0; e < t->elems; e++) {
				float x = bf16_at(data + t->offset, e);

				ASSERT_TRUE(isfinite(x));
				ASSERT_LT(fabsf(norm ? x - 1 : x), norm ? 0.07f : 0.05f)
				TH_LOG("%s", t->name);
				sum += norm ? 0 : x;
				squares += norm ? 0 : x * x;
				nr += !norm;
			}
		}
		EXPECT_LT(fabs(sum / (double)nr), 0.0002);
		EXPECT_LT(fabs(sqrt(squares / (double)nr) - 0.02), 0.0002);
		free(data);
		wr_mk_plan_fini(&p);
	}
}

TEST(the_seed_changes_every_tensor_and_nothing_else)
{
	struct wr_mk_plan a, b;
	unsigned char *da, *db;

	ASSERT_EQ(mkt_plan("2b", MKT_SAFETENSORS, 1, &a), 0);
	ASSERT_EQ(mkt_plan("2b", MKT_SAFETENSORS, 2, &b), 0);
	da = mkt_render(&a.files[0]);
	db = mkt_render(&b.files[0]);
	ASSERT_EQ(a.files[0].bytes, b.files[0].bytes);
	EXPECT_EQ(memcmp(da, db, a.files[0].head.len), 0);
	for (size_t k = 0; k < a.files[0].tensors.nr; k++) {
		const struct wr_mk_tensor *t = &a.files[0].tensors.v[k];
		uint64_t same = 0;

		for (uint64_t e = 0; e < t->elems; e++)
			same += !memcmp(da + t->offset + 2 * e, db + t->offset + 2 * e, 2);
		/* 16 values of a norm, 511 of a weight: chance is a sixteenth at most. */
		EXPECT_LT(same, t->elems / 4) TH_LOG("%s", t->name);
	}
	free(da);
	free(db);
	wr_mk_plan_fini(&a);
	wr_mk_plan_fini(&b);
}

TEST(tensors_of_one_shape_differ)
{
	struct wr_mk_plan p;
	const struct wr_mk_tensors *l;
	unsigned char *data;

	ASSERT_EQ(mkt_plan("2b", MKT_SAFETENSORS, 1, &p), 0);
	data = mkt_render(&p.files[0]);
	l = &p.files[0].tensors;
	for (size_t a = 0; a < l->nr; a++) {
		for (size_t b = 0; b < a; b++) {
			bool same = l->v[a].bytes == l->v[b].bytes &&
				    !memcmp(data + l->v[a].offset, data + l->v[b].offset,
					    l->v[a].bytes);

			EXPECT_FALSE(same) TH_LOG("%s and %s", l->v[a].name, l->v[b].name);
		}
	}
	free(data);
	wr_mk_plan_fini(&p);
}

/* Recorded once; a machine without AVX2 or another compiler has to come to the same. */
TEST(values_are_those_of_every_other_machine)
{
	static const uint64_t wanted[MKT_NR_KINDS] = {
		[MKT_SAFETENSORS] = UINT64_C(0xe401da0336df0a65),
		[MKT_GGUF_F16] = UINT64_C(0xf490373216d6db38),
		[MKT_GGUF_BF16] = UINT64_C(0x9e055a4b8651fde8),
		[MKT_GGUF_F32] = UINT64_C(0x0de0b83f8ecacb90),
		[MKT_GGUF_Q8_0] = UINT64_C(0x527ac1b7cd428848),
	};

	for (int kind = 0; kind < MKT_NR_KINDS; kind++) {
		struct wr_mk_plan p;
		uint64_t hash = 0;

		ASSERT_EQ(mkt_plan("30b-a3b", (enum mkt_kind)kind, 1, &p), 0);
		for (size_t i = 0; i < p.nr_files; i++) {
			unsigned char *data = mkt_render(&p.files[i]);
			const struct wr_mk_tensor *first = &p.files[i].tensors.v[0];

			hash ^= mkt_hash(data + first->offset, p.files[i].bytes - first->offset);
			free(data);
		}
		EXPECT_EQ(hash, wanted[kind])
		TH_LOG("kind %d: %#llx", kind, (unsigned long long)hash);
		wr_mk_plan_fini(&p);
	}
}

/* Where element @i of a GGUF tensor stands in the checkpoint's. */
static uint64_t source_index(const struct wr_mk_tensor *t, const struct wr_mk_tensor *src,
			     uint64_t i)
{
	if (src->conv == WR_MK_CONV_SPLIT_TIME) {
		uint64_t time = strstr(t->name, ".weight.1") ? 1 : 0;

		return (i / 256 * 2 + time) * 256 + i % 256;
	}
	if (src->conv == WR_MK_CONV_SPLIT_EXPERTS || src->conv == WR_MK_CONV_TRANSPOSE) {
		uint64_t inner = t->shape[2], middle = t->shape[1], cols = src->shape[2];
		uint64_t expert = i / (inner * middle), m = i / inner % middle, k = i % inner;
		uint64_t half = strstr(t->name, "ffn_up_exps") ? cols / 2 : 0;

		return (expert * inner + k) * cols + half + m;
	}
	return i;
}

static const struct wr_mk_tensor *source_of(const struct wr_mk_plan *st,
					    const struct wr_mk_tensor *t)
{
	for (size_t i = 0; i < st->files[0].tensors.nr; i++)
		if (st->files[0].tensors.v[i].key == t->key)
			return &st->files[0].tensors.v[i];
	return NULL;
}

/* Element @i of a tensor's data as a number; for Q8_0 also how far it may be off. */
static double element(const struct wr_mk_tensor *t, const unsigned char *data, uint64_t i,
		      double *slack)
{
	uint16_t half;
	float f;

	*slack = 0;
	switch (t->dtype) {
	case WR_MK_F32:
		memcpy(&f, data + 4 * i, sizeof(f));
		return f;
	case WR_MK_F16:
		memcpy(&half, data + 2 * i, sizeof(half));
		return f16_value(half);
	case WR_MK_Q8_0:
		memcpy(&half, data + i / 32 * 34, sizeof(half));
		/* Half a step, and the error of the scale in half precision on 127 of them. */
		*slack = f16_value(half) * (0.5 + 127.0 / 2048);
		return f16_value(half) * (signed char)data[i / 32 * 34 + 2 + i % 32];
	default:
		return bf16_at(data, i);
	}
}

TEST(a_tensor_is_the_same_in_both_formats)
{
	for (size_t i = 0; i < NR_MODELS; i++) {
		for (int kind = MKT_GGUF_F16; kind < MKT_NR_KINDS; kind++) {
			struct wr_mk_plan st, p;
			unsigned char *source;
			uint64_t compared = 0;

			ASSERT_EQ(mkt_plan(some_models[i], MKT_SAFETENSORS, 7, &st), 0);
			ASSERT_EQ(mkt_plan(some_models[i], (enum mkt_kind)kind, 7, &p), 0);
			source = mkt_render(&st.files[0]);
			for (size_t k = 0; k < p.nr_files; k++) {
				unsigned char *data = mkt_render(&p.files[k]);

				for (size_t n = 0; n < p.files[k].tensors.nr; n++) {
					const struct wr_mk_tensor *t = &p.files[k].tensors.v[n];
					const struct wr_mk_tensor *src = source_of(&st, t);

					ASSERT_NE(src, NULL);
					for (uint64_t e = 0; e < t->elems; e++) {
						double slack, got = element(t, data + t->offset, e,
									    &slack);
						float want = bf16_at(source + src->offset,
								     source_index(t, src, e));

						ASSERT_LE(fabs(got - want), slack)
						TH_LOG("%s[%llu]", t->name, (unsigned long long)e);
					}
					compared += t->elems;
				}
				free(data);
			}
			/* Nothing is lost on the way: each element of the checkpoint has its place. */
			EXPECT_EQ(compared, (st.files[0].bytes - st.files[0].head.len) / 2);
			free(source);
			wr_mk_plan_fini(&p);
			wr_mk_plan_fini(&st);
		}
	}
}

TEST_HARNESS_MAIN
