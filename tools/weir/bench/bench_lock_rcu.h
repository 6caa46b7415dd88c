/* SPDX-License-Identifier: MIT */
/*
 * bench_lock_rcu.h - The part of weir bench lock that looks keys up in an index.
 */
#ifndef WR_TOOLS_BENCH_LOCK_RCU_H
#define WR_TOOLS_BENCH_LOCK_RCU_H

#include <stdbool.h>

#include "bench.h"

enum wr_br_arm {
	WR_BR_RCU,    /* the library's table in a read section */
	WR_BR_LFHT,   /* liburcu's cds_lfht in one */
	WR_BR_RWLOCK, /* the library's table under a pthread rwlock */
	WR_BR_ARMS
};

#define WR_BR_SIZES   2 /* 1,000 and 100,000 nodes */
#define WR_BR_THREADS 2 /* one, two at once */

/* A look-up in ns, by the thread's own processor time; of two threads the slower one's. */
struct wr_br {
	struct wr_bench_series ns[WR_BR_SIZES][WR_BR_THREADS][WR_BR_ARMS];
};

/* 0, -ENOMEM, -EAGAIN. */
int wr_br_open(void);
void wr_br_close(void);
void wr_br_round(struct wr_br *br);

void wr_br_print(const struct wr_br *br);
json_t *wr_br_json(const struct wr_br *br);

#endif /* WR_TOOLS_BENCH_LOCK_RCU_H */
