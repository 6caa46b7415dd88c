/* SPDX-License-Identifier: MIT */
/* feature: optional pkg=liburcu-bp>=0.12 deb=liburcu-dev */
/* RCU whose readers need no registration. Without it lib/lock/rcu.c counts readers itself. */
#include <urcu/urcu-bp.h>

int main(void)
{
	urcu_bp_read_lock();
	urcu_bp_read_unlock();
	urcu_bp_synchronize_rcu();
	return 0;
}
