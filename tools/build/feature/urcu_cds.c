/* SPDX-License-Identifier: MIT */
/* feature: optional tools pkg=liburcu-cds,liburcu-bp deb=liburcu-dev */
/* The hash table that `weir bench lock` compares the library's own with. */
#include <urcu/urcu-bp.h>

#include <urcu/rculfhash.h>

int main(void)
{
	return cds_lfht_new_flavor(1, 1, 0, 0, &urcu_bp_flavor, NULL) == NULL;
}
