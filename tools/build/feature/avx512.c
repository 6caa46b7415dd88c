/* SPDX-License-Identifier: MIT */
/* feature: optional */
/* flags: -mavx512f -mavx512bw -mavx512vl -mfma */
/* The compiler makes AVX-512 code; whether the machine runs it is asked at run time. */
#include <immintrin.h>

int main(void)
{
	volatile float x = 1.0f;
	__m512 v = _mm512_fmadd_ps(_mm512_set1_ps(x), _mm512_set1_ps(x), _mm512_set1_ps(x));

	return _mm512_reduce_add_ps(_mm512_mask_mov_ps(v, 1, v)) > 64.0f;
}
