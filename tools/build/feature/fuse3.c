/* SPDX-License-Identifier: MIT */
/* feature: optional test pkg=fuse3>=3.10 deb=libfuse3-dev */
/* The file system that fails on request, for the tests of the store. */
#define FUSE_USE_VERSION 35
#include <fuse.h>

int main(void)
{
	return fuse_version() == 0;
}
