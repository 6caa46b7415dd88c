/* SPDX-License-Identifier: MIT */
/*
 * gemv_test.c - Every variant gives the bits of the scalar definition.
 *
 * Tiles end at an unmapped page, so that a kernel which reads one byte behind its
 * input dies. Shapes cover every remainder of every vector width.
 */
#include "kselftest_harness.h"

#include <math.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "base/random.h"
#include "gemv.h"

#define AREA (1u << 20)

static uint64_t random_state = 1;

static uint64_t random64(void)
{
	return wr_splitmix64(&random_state);
}

/* @AREA bytes behind which nothing is mapped; their end, from which to count back. */
static unsigned char *guarded_end(void)
{
	unsigned char *p =
		mmap(NULL, AREA + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || mprotect(p + AREA, 4096, PROT_NONE))
		return NULL;
	return p + AREA;
}

/* One weight: ordinary, denormal, zero of either sign; not a number only if @wild. */
static uint32_t random_bits(enum wr_gemv_type type, bool wild)
{
	uint32_t r = (uint32_t)random64();
	uint32_t kind = (uint32_t)random64() % 16;

	if (type == WR_GEMV_F32 && kind == 0)
		return r & 0x807fffff;
	if (type == WR_GEMV_F32)
		return wild && kind == 1 ? (r | 0x7f800000)
					 : (r & 0x807fffff) | (100 + (r >> 23) % 40) << 23;
	r &= 0xffff;
	if (type == WR_GEMV_F16 && kind == 0)
		return r & 0x83ff;
	if (type == WR_GEMV_F16)
		return wild && kind == 1 ? (r | 0x7c00) : (r & 0x83ff) | (1 + (r >> 10) % 20) << 10;
	if (kind == 0)
		return r & 0x807f;
	return wild && kind == 1 ? (r | 0x7f80) : (r & 0x807f) | (100 + (r >> 7) % 40) << 7;
}

static void fill(void *to, enum wr_gemv_type type, size_t nr, bool wild)
{
	unsigned char *p = to;

	for (size_t i = 0; i < nr; i++, p += wr_gemv_elem_bytes(type)) {
		uint32_t bits = random_bits(type, wild);

		memcpy(p, &bits, wr_gemv_elem_bytes(type)); /* little endian */
	}
}

static double value(const void *from, enum wr_gemv_type type, size_t i)
{
	const unsigned char *p = (const unsigned char *)from + i * wr_gemv_elem_bytes(type);
	uint32_t bits = 0;
	float f;

	memcpy(&bits, p, wr_gemv_elem_bytes(type));
	if (type == WR_GEMV_F16) {
		int exponent = (bits >> 10) & 31;
		double m = exponent ? 1024 + (bits & 1023) : bits & 1023;

		return ldexp(bits & 0x8000 ? -m : m, (exponent ? exponent : 1) - 25);
	}
	if (type == WR_GEMV_BF16)
		bits <<= 16;
	memcpy(&f, &bits, sizeof(f));
	return f;
}

FIXTURE(variant)
{
	const struct wr_gemv_ops *ops;
	unsigned char *w_end, *x_end;
	float *x;
};

FIXTURE_VARIANT(variant)
{
	const char *name;
};

FIXTURE_VARIANT_ADD(variant, scalar){
	.name = "scalar",
};

FIXTURE_VARIANT_ADD(variant, avx2){
	.name = "avx2",
};

FIXTURE_VARIANT_ADD(variant, avx512){
	.name = "avx512",
};

FIXTURE_SETUP(variant)
{
	self->ops = wr_gemv_find(variant->name);
	self->w_end = guarded_end();
	self->x_end = guarded_end();
	ASSERT_NE(NULL, self->w_end);
	ASSERT_NE(NULL, self->x_end);
}

FIXTURE_TEARDOWN(variant)
{
	munmap(self->w_end - AREA, AREA + 4096);
	munmap(self->x_end - AREA, AREA + 4096);
}

/* A tile and an x that end where memory does, the tile @shift bytes before. */
static struct wr_gemv_tile make(struct _test_data_variant *self, enum wr_gemv_type type,
				size_t nr_rows, size_t nr_cols, size_t shift, bool wild)
{
	size_t bytes = nr_rows * nr_cols * wr_gemv_elem_bytes(type);
	struct wr_gemv_tile tile = {self->w_end - bytes - shift, type, nr_rows, nr_cols};

	fill(self->w_end - bytes - shift, type, nr_rows * nr_cols, wild);
	self->x = (float *)(void *)self->x_end - nr_cols;
	fill(self->x, WR_GEMV_F32, nr_cols, false);
	return tile;
}

TEST_F(variant, equals_the_scalar_one_bit_for_bit_in_every_shape)
{
	float y[20], expected[20];

	if (!self->ops)
		SKIP(return, "this CPU or compiler lacks %s", variant->name);
	for (size_t cols = 1; cols <= 200; cols++) {
		enum wr_gemv_type type = (enum wr_gemv_type)(cols % 3);
		size_t nr = 1 + random64() % 20;
		struct wr_gemv_tile tile =
			make(self, type, nr, cols, random64() % 9, random64() % 4 == 0);

		wr_gemv_scalar.rows(&tile, self->x, expected);
		self->ops->rows(&tile, self->x, y);
		ASSERT_EQ(0, memcmp(y, expected, nr * sizeof(*y)))
		{
			TH_LOG("type %d, %zu rows, %zu cols", type, nr, cols);
		}
	}
}

TEST_F(variant, equals_the_scalar_one_in_rows_longer_than_a_block_of_columns)
{
	static const size_t cols[] = {4096, 8192, 8193, 8256, 12288, 12289, 16391, 25600};
	float y[7], expected[7];

	if (!self->ops)
		SKIP(return, "this CPU or compiler lacks %s", variant->name);
	for (size_t i = 0; i < sizeof(cols) / sizeof(cols[0]); i++) {
		for (int type = 0; type < 3; type++) {
			struct wr_gemv_tile tile =
				make(self, (enum wr_gemv_type)type, 7, cols[i], i % 4, false);

			wr_gemv_scalar.rows(&tile, self->x, expected);
			self->ops->rows(&tile, self->x, y);
			ASSERT_EQ(0, memcmp(y, expected, sizeof(y)));
		}
	}
}

TEST_F(variant, lies_within_the_stated_bound_of_exact_arithmetic)
{
	float y[5];

	if (!self->ops)
		SKIP(return, "this CPU or compiler lacks %s", variant->name);
	for (size_t n = 0; n < 150; n++) {
		enum wr_gemv_type type = (enum wr_gemv_type)(n % 3);
		size_t cols = 1 + random64() % 3000;
		struct wr_gemv_tile tile = make(self, type, 5, cols, 0, false);

		self->ops->rows(&tile, self->x, y);
		for (size_t r = 0; r < 5; r++) {
			double sum = 0, absolute = 0, bound;

			for (size_t i = 0; i < cols; i++) {
				double p = value(tile.w, type, r * cols + i) * self->x[i];

				sum += p;
				absolute += fabs(p);
			}
			bound = (double)(cols / 64 + 7) * 0x1p-24 * absolute;
			ASSERT_LE(fabs(y[r] - sum), bound * 1.001 + 0x1p-140);
		}
	}
}

TEST_F(variant, gives_one_nan_for_every_kind_of_nan)
{
	uint32_t w[3] = {0x7f800001, 0xffc12345, 0x7fc00000}, bits;
	float x[3] = {1, 1, 1}, y[3];
	struct wr_gemv_tile tile = {w, WR_GEMV_F32, 3, 1};

	if (!self->ops)
		SKIP(return, "this CPU or compiler lacks %s", variant->name);
	self->ops->rows(&tile, x, y);
	for (int i = 0; i < 3; i++) {
		memcpy(&bits, &y[i], sizeof(bits));
		EXPECT_EQ(0x7fc00000, bits);
	}
}

TEST_F(variant, keeps_the_sign_of_a_sum_that_underflows_to_zero)
{
	/* Every product rounds to -0; lanes behind the end of the row must not add +0. */
	struct wr_gemv_tile tile = make(self, WR_GEMV_F32, 1, 67, 0, false);
	uint32_t least = 1, bits;
	float y;

	if (!self->ops)
		SKIP(return, "this CPU or compiler lacks %s", variant->name);
	for (size_t i = 0; i < 67; i++) {
		memcpy(&self->x[i], &least, sizeof(least));
		memcpy(self->w_end - 67 * 4 + i * 4, &(uint32_t){0x80000001}, 4);
	}
	self->ops->rows(&tile, self->x, &y);
	memcpy(&bits, &y, sizeof(bits));
	EXPECT_EQ(0x80000000, bits);
}

TEST_F(variant, touches_any_cut_of_the_bytes_to_the_same_sum)
{
	const size_t bytes = 5003;
	unsigned char *data = self->w_end - bytes;
	uint64_t key = wr_gemv_key("a"), whole;

	if (!self->ops)
		SKIP(return, "this CPU or compiler lacks %s", variant->name);
	for (size_t i = 0; i < bytes; i++)
		data[i] = (unsigned char)random64();
	whole = wr_gemv_touch(&wr_gemv_scalar, key, 0, data, bytes);
	EXPECT_EQ(whole, wr_gemv_touch(self->ops, key, 0, data, bytes));
	for (int n = 0; n < 200; n++) {
		uint64_t sum = 0;
		size_t at = 0;

		while (at < bytes) {
			size_t part = random64() % (n % 2 ? 1000 : 12);

			if (part > bytes - at)
				part = bytes - at;
			sum += wr_gemv_touch(self->ops, key, at, data + at, part);
			at += part;
		}
		ASSERT_EQ(whole, sum);
	}
}

TEST(a_touch_sees_flipped_bits_exchanged_words_other_places_and_other_tensors)
{
	const struct wr_gemv_ops *ops = wr_gemv_find(NULL);
	uint64_t key = wr_gemv_key("a"), sum, data[512], other;

	for (size_t i = 0; i < 512; i++)
		data[i] = random64();
	sum = wr_gemv_touch(ops, key, 0, data, sizeof(data));
	for (size_t bit = 0; bit < 512 * 64; bit++) {
		data[bit / 64] ^= 1ull << bit % 64;
		ASSERT_NE(sum, wr_gemv_touch(ops, key, 0, data, sizeof(data)));
		data[bit / 64] ^= 1ull << bit % 64;
	}
	/* Sign bits of two words at once, which a plain sum of products would lose. */
	for (size_t i = 1; i < 512; i++) {
		data[0] ^= 1ull << 63;
		data[i] ^= 1ull << 63;
		ASSERT_NE(sum, wr_gemv_touch(ops, key, 0, data, sizeof(data)));
		data[0] ^= 1ull << 63;
		data[i] ^= 1ull << 63;
	}
	for (size_t i = 1; i < 512; i++) {
		other = data[i];
		data[i] = data[i - 1];
		data[i - 1] = other;
		ASSERT_NE(sum, wr_gemv_touch(ops, key, 0, data, sizeof(data)));
		data[i - 1] = data[i];
		data[i] = other;
	}
	EXPECT_NE(sum, wr_gemv_touch(ops, key, 8, data, sizeof(data)));
	EXPECT_NE(sum, wr_gemv_touch(ops, wr_gemv_key("b"), 0, data, sizeof(data)));
	memset(data, 0, sizeof(data));
	EXPECT_NE(0, wr_gemv_touch(ops, key, 0, data, sizeof(data)));
}

TEST(results_and_checksums_are_the_same_for_every_tiling_and_number_of_threads)
{
	enum { ROWS = 300, COLS = 77 };
	static uint16_t w[ROWS * COLS];
	static float x[COLS], y[ROWS], part[ROWS];
	struct wr_gemv_tile tile = {w, WR_GEMV_BF16, ROWS, COLS};
	uint64_t key = wr_gemv_key("model.layers.0.mlp.up_proj.weight"), all, sum, touched;

	fill(w, WR_GEMV_BF16, ROWS * COLS, false);
	wr_gemv_input(x, COLS);
	wr_gemv_scalar.rows(&tile, x, y);
	all = wr_gemv_checksum(key, 0, y, ROWS);
	touched = wr_gemv_touch(&wr_gemv_scalar, key, 0, w, sizeof(w));
	for (unsigned int threads = 1; threads <= 5; threads++) {
		struct wr_gemv_pool *pool = NULL;

		ASSERT_EQ(0, wr_gemv_pool_open(threads, NULL, &pool));
		for (int n = 0; n < 100; n++) {
			size_t nr;

			sum = 0;
			for (size_t r = 0; r < ROWS; r += nr) {
				nr = 1 + random64() % (n % 2 ? 300 : 7);
				if (nr > ROWS - r)
					nr = ROWS - r;
				tile.w = w + r * COLS;
				tile.nr_rows = nr;
				wr_gemv_pool_rows(pool, wr_gemv_find(NULL), &tile, x, part);
				ASSERT_EQ(0, memcmp(part, y + r, nr * sizeof(*y)));
				sum += wr_gemv_checksum(key, r, part, nr);
			}
			ASSERT_EQ(all, sum);
			ASSERT_EQ(touched, wr_gemv_pool_touch(pool, wr_gemv_find(NULL), key, 0, w,
							      sizeof(w)));
		}
		wr_gemv_pool_close(pool);
	}
}

TEST(a_checksum_sees_other_values_rows_and_tensors)
{
	float y[4] = {1, 2, 3, 4}, swapped[4] = {2, 1, 3, 4}, signs[4] = {1, 2, 3, -4};
	uint64_t key = wr_gemv_key("a"), sum = wr_gemv_checksum(key, 0, y, 4);

	EXPECT_EQ(sum, wr_gemv_checksum(key, 3, y + 3, 1) + wr_gemv_checksum(key, 0, y, 3));
	EXPECT_NE(sum, wr_gemv_checksum(key, 0, swapped, 4));
	EXPECT_NE(sum, wr_gemv_checksum(key, 0, signs, 4));
	EXPECT_NE(sum, wr_gemv_checksum(key, 1, y, 4));
	EXPECT_NE(sum, wr_gemv_checksum(wr_gemv_key("b"), 0, y, 4));
	EXPECT_EQ(0, wr_gemv_checksum(key, 0, y, 0));
}

TEST(a_pool_of_no_threads_or_on_no_cpu_is_refused)
{
	int nowhere[2] = {0, 100000};
	struct wr_gemv_pool *pool = NULL;

	EXPECT_EQ(-EINVAL, wr_gemv_pool_open(0, NULL, &pool));
	EXPECT_EQ(-EINVAL, wr_gemv_pool_open(100000, NULL, &pool));
	EXPECT_EQ(-ENODEV, wr_gemv_pool_open(2, nowhere, &pool));
	EXPECT_EQ(NULL, pool);
	wr_gemv_pool_close(NULL);
}

TEST(an_unknown_variant_is_not_found)
{
	EXPECT_EQ(NULL, wr_gemv_find("neon"));
	EXPECT_EQ(&wr_gemv_scalar, wr_gemv_find("scalar"));
	EXPECT_NE(NULL, wr_gemv_find(NULL));
}

TEST(the_input_is_within_one_and_not_constant)
{
	float x[1000];

	wr_gemv_input(x, 1000);
	for (int i = 0; i < 1000; i++) {
		ASSERT_LE(-1.0f, x[i]);
		ASSERT_GT(1.0f, x[i]);
	}
	EXPECT_NE(x[0], x[1]);
}

TEST_HARNESS_MAIN
