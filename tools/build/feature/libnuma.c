/* SPDX-License-Identifier: MIT */
/* feature: required pkg=numa deb=libnuma-dev */
/* Memory policy: binding of a range, asking where pages lie. */
#include <numa.h>
#include <numaif.h>

int main(void)
{
	return numa_available() == -2 || move_pages(0, 0, NULL, NULL, NULL, 0) == 1;
}
