/* SPDX-License-Identifier: MIT */
/* feature: optional tools pkg=libzstd>=1.4 deb=libzstd-dev */
/* Traces in .zst. */
#include <zstd.h>

int main(void)
{
	ZSTD_DStream *z = ZSTD_createDStream();

	return !z || ZSTD_isError(ZSTD_freeDStream(z));
}
