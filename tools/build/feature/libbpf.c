/* SPDX-License-Identifier: MIT */
/* feature: optional pkg=libbpf>=1.0 deb=libbpf-dev */
/* The loader of BPF programs. */
#include <bpf/libbpf.h>

int main(void)
{
	return libbpf_major_version() == 0;
}
