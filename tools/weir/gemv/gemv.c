/* SPDX-License-Identifier: MIT */
/*
 * gemv.c - The choice of variant, and what does not depend on it.
 *
 * The CPU is asked at run time, with the operating system's consent to the wider
 * registers (__builtin_cpu_supports() looks at XCR0 too).
 */
#include "gemv_kernel.h"

#include <stdbool.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "base/random.h"

#if defined(__x86_64__)
/* clang 14 does not know this one in __builtin_cpu_supports(). */
static bool has_f16c(void)
{
	unsigned int a, b, c = 0, d;

	return __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
}
#endif

static bool runs(const char *name)
{
#if defined(__x86_64__)
	if (!strcmp(name, "avx2"))
		return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
		       has_f16c();
	if (!strcmp(name, "avx512"))
		return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
		       __builtin_cpu_supports("avx512vl");
#endif
	return !strcmp(name, "scalar");
}

const struct wr_gemv_ops *wr_gemv_find(const char *name)
{
	/* Fastest first. */
	static const struct wr_gemv_ops *const variants[] = {
#if HAVE_AVX512
		&wr_gemv_avx512,
#endif
#if HAVE_AVX2
		&wr_gemv_avx2,
#endif
		&wr_gemv_scalar,
	};

	for (size_t i = 0; i < sizeof(variants) / sizeof(variants[0]); i++)
		if ((!name || !strcmp(name, variants[i]->name)) && runs(variants[i]->name))
			return variants[i];
	return NULL;
}

uint64_t wr_gemv_key(const char *name)
{
	uint64_t key = wr_mix64(strlen(name) + 1);

	for (; *name; name++)
		key = wr_mix64(key ^ (unsigned char)*name);
	return key;
}

uint64_t wr_gemv_checksum(uint64_t key, uint64_t first_row, const float *y, size_t nr_rows)
{
	uint64_t sum = 0;

	for (size_t r = 0; r < nr_rows; r++) {
		uint32_t bits;

		memcpy(&bits, &y[r], sizeof(bits));
		sum += wr_mix64(key + (first_row + r) * WR_GEMV_KEY_STEP + wr_mix64(bits));
	}
	return sum;
}

/* At most 8 bytes that lie in one word of the tensor. */
static uint64_t touch_partial(uint64_t key, uint64_t offset, const unsigned char *data,
			      size_t bytes)
{
	unsigned char place[8] = {0};
	uint64_t word;

	for (size_t i = 0; i < bytes; i++)
		place[offset % 8 + i] = data[i] ^ (unsigned char)WR_GEMV_FLIP;
	memcpy(&word, place, sizeof(word));
	return wr_gemv_word(word, key + offset / 8 * WR_GEMV_KEY_STEP);
}

uint64_t wr_gemv_touch(const struct wr_gemv_ops *ops, uint64_t key, uint64_t offset,
		       const void *data, size_t bytes)
{
	const unsigned char *p = data;
	size_t head = (size_t)(-offset % 8);
	uint64_t sum = 0;
	size_t whole;

	if (head > bytes)
		head = bytes;
	if (head)
		sum = touch_partial(key, offset, p, head);
	whole = (bytes - head) / 8;
	if (whole)
		sum += ops->words(key, (offset + head) / 8, p + head, whole);
	head += whole * 8;
	if (head < bytes)
		sum += touch_partial(key, offset + head, p + head, bytes - head);
	return sum;
}

void wr_gemv_input(float *x, size_t nr)
{
	/* 24 bits: exact in a float. */
	for (size_t i = 0; i < nr; i++)
		x[i] = (float)(int32_t)(wr_mix64(i + 1) >> 40) * 0x1p-23f - 1.0f;
}
