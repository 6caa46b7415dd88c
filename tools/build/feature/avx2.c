/* SPDX-License-Identifier: MIT */
/* feature: optional */
/* flags: -mavx2 -mfma -mf16c */
/* The compiler makes AVX2 code; whether the machine runs it is asked at run time. */
#include <immintrin.h>

int main(void)
{
	volatile float x = 1.0f;
	__m256 v = _mm256_fmadd_ps(_mm256_set1_ps(x), _mm256_set1_ps(x),
				   _mm256_cvtph_ps(_mm_set1_epi16(0)));

	return _mm256_cvtss_f32(v) > 2.0f;
}
