/* SPDX-License-Identifier: MIT */
/* feature: required pkg=libxxhash>=0.8 deb=libxxhash-dev */
/* XXH3, 64 bits, streaming and at once. */
#include <xxhash.h>

int main(void)
{
	return XXH3_64bits("", 0) == 1;
}
