/* SPDX-License-Identifier: MIT */
/* feature: optional */
/* The kernel tells the alignment O_DIRECT needs (Linux 6.1, glibc 2.37 or the kernel headers). */
#include <sys/stat.h>

int main(void)
{
	struct statx st = {0};

	return (STATX_DIOALIGN & 1) + (int)st.stx_dio_mem_align;
}
