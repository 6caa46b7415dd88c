/* SPDX-License-Identifier: MIT */
/* feature: optional tools pkg=zlib deb=zlib1g-dev */
/* Traces in .gz. */
#include <zlib.h>

int main(void)
{
	z_stream z = {0};

	return inflateInit2(&z, 15 + 32) != Z_OK || inflateEnd(&z) != Z_OK;
}
