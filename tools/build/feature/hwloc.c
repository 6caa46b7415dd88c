/* SPDX-License-Identifier: MIT */
/* feature: required pkg=hwloc>=2.0 deb=libhwloc-dev */
/* The topology library, with the second version of its interface. */
#include <hwloc.h>

int main(void)
{
	hwloc_topology_t t;

	return hwloc_topology_init(&t) == 1;
}
