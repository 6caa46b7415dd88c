/* SPDX-License-Identifier: MIT */
/*
 * Eight lanes at a time, in the compilers' own vector types: -O2 alone may not vectorise.
 *
 * A loop is written once as an ALWAYS_INLINE function and compiled twice, into a plain function and
 * one for AVX2, which adds the 32-bit multiplications and wide conversions that SSE2 lacks. Vectors
 * are passed by address: by value, the way they travel would depend on what the caller is compiled
 * for.
 */
#ifndef MKMODEL_VECTOR_H
#define MKMODEL_VECTOR_H

#include <stdbool.h>
#include <stdint.h>

#define LANES 8

typedef uint32_t v8u __attribute__((vector_size(4 * LANES)));
typedef int32_t v8i __attribute__((vector_size(4 * LANES)));
typedef float v8f __attribute__((vector_size(4 * LANES)));
typedef uint16_t v8h __attribute__((vector_size(2 * LANES)));

#define ALWAYS_INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__)
#define WR_MK_AVX2 __attribute__((target("avx2")))
static inline bool wr_mk_has_avx2(void)
{
	return __builtin_cpu_supports("avx2");
}
#else
#define WR_MK_AVX2
static inline bool wr_mk_has_avx2(void)
{
	return false;
}
#endif

#endif /* MKMODEL_VECTOR_H */
